/* site.c: see site.h. */
#include "compile/site.h"

#include <string.h>

enum { MAX_WEIGHTS = 16 };

ll_code cc_packing_of(const te_tensor *w, const ll_target *t, cc_packing *out, ll_error *err)
{
    if (w->ndim != 2 || w->shape[0]->op != TE_INT || w->shape[1]->op != TE_INT)
        return ll_fail(err, LL_UNSUPPORTED, "%s: only matrices of fixed size are packed", w->name);
    ll_code rc = cc_packing_make(w->quant, (ll_dtype)w->dtype, w->shape[0]->u.i, w->shape[1]->u.i, t, out, err);
    if (rc != LL_OK) ll_error_prefix(err, "%s: ", w->name);
    return rc;
}

typedef struct weight_list { te_tensor **t; int n, max; } weight_list;

static bool add_weight(te_ref e, void *p)
{
    weight_list *l = p;
    if (e->op != TE_LOAD) return true;
    te_tensor *t = e->u.t->kind == TE_PLANE ? e->u.t->base : e->u.t;
    if (!t->weight || t->ndim != 2) return true;
    for (int i = 0; i < l->n; i++)
        if (l->t[i] == t) return true;
    if (l->n < l->max) l->t[l->n++] = t;
    return true;
}

int cc_kernel_weights(const cc_kernel *k, te_tensor **out, int max)
{
    weight_list l = {out, 0, max};
    for (int i = 0; i < k->n_stage; i++) te_walk(k->stage[i].t->body, add_weight, &l);
    return l.n;
}

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

static ll_code describe_weight(te_graph *g, te_tensor *t, const cc_site_options *o, rule_weight *w, ll_error *err)
{
    cc_packing p;
    LL_TRY(cc_packing_of(t, o->target, &p, err));
    *w = (rule_weight){.t = t, .panel = p.rows, .lanes = p.lanes, .unit = p.unit, .super = p.super, .super_bytes = p.super_bytes, .streams = p.super > p.unit};
    for (int i = 0; i < p.n_plane; i++) {
        ll_str text = {0};
        lp_layout_print(&text, cc_packing_layout(&p, g, i));
        w->layout[i] = ll_strdup(te_arena(g), ll_str_cstr(&text));
        ll_str_finish(&text);
        w->streams += p.plane[i].cover == 1;
        if (p.plane[i].cover > 1) w->granule = w->granule ? gcd(w->granule, p.plane[i].cover) : p.plane[i].cover;
    }
    if (w->granule && o->act_block) w->granule = gcd(w->granule, o->act_block);
    return LL_OK;
}

sch *cc_site_schedule(te_graph *g, const cc_kernel *k, const char *name, const cc_site_options *o, ll_error *err)
{
    sch *s = sch_create_given(g, name, k->root, k->n_root, k->given, k->n_given, o->target, err);
    if (!s) return NULL;
    te_graph *before = te_graph_use(s->g);
    ll_arena *a = te_arena(s->g);
    te_tensor *list[MAX_WEIGHTS];
    rule_kernel r = {.class = (rule_class)k->class, .n_stage = k->n_stage, .tile = k->tile, .n_group = k->n_group, .one_row = o->one_row,
                     .min_rows = o->min_rows, .max_rows = o->max_rows, .items = o->items, .page = o->page};
    r.stage = LL_NEW_N(a, rule_stage, k->n_stage + 1);
    for (int i = 0; i < k->n_stage; i++) {
        const cc_stage *c = &k->stage[i];
        bool root = false;
        for (int j = 0; j < k->n_root; j++) root |= k->root[j] == c->t;
        r.stage[i] = (rule_stage){.t = c->t, .contraction = c->contraction, .prologue = c->prologue, .root = root, .group = c->group};
    }
    r.n_weight = cc_kernel_weights(k, list, MAX_WEIGHTS);
    r.weight = LL_NEW_N(a, rule_weight, r.n_weight + 1);
    ll_code rc = LL_OK;
    for (int i = 0; i < r.n_weight && rc == LL_OK; i++) rc = describe_weight(s->g, list[i], o, &r.weight[i], err);
    s->verify_later = true; /* the rule verifies the whole */
    for (int i = 0; i < o->n_pool && rc == LL_OK; i++)
        if (rule_has_stage(s, o->pool[i].name)) rc = rule_do(s, err, "layout %s %s", o->pool[i].name, o->pool[i].layout);
    if (rc == LL_OK) rc = rule_apply(s, &r, &o->knobs, err);
    te_graph_use(before);
    if (rc == LL_OK) return s;
    sch_destroy(s);
    return NULL;
}

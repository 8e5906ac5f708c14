/* unique.c: see unique.h. */
#include "compile/unique.h"

#include "te/quant.h"

#include <ctype.h>
#include <string.h>

typedef struct numbering {
    te_graph *g;
    te_tensor **t;
    int n, cap;
} numbering;

static te_tensor *whole(te_tensor *t) { return t->kind == TE_PLANE ? t->base : t; }

static void number(numbering *w, te_tensor *t)
{
    t = whole(t);
    for (int i = 0; i < w->n; i++)
        if (w->t[i] == t) return;
    if (w->n == w->cap) {
        int cap = w->cap ? w->cap * 2 : 32;
        te_tensor **v = LL_NEW_N(te_arena(w->g), te_tensor *, cap);
        if (w->n) memcpy(v, w->t, sizeof *v * (size_t)w->n);
        w->t = v;
        w->cap = cap;
    }
    w->t[w->n++] = t;
}

static bool number_loads(te_ref e, void *p)
{
    if (e->op == TE_AXIS) {
        te_walk(e->u.axis->extent, number_loads, p);
        return true;
    }
    if (e->op == TE_LOAD) number(p, e->u.t);
    return true;
}

static bool in_name(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '\''; }

/* `name` of length n stands for tensor number i, or for one of its planes ("W.q"). */
static int find_name(const numbering *w, const char *name, size_t n, size_t *used)
{
    int best = -1;
    *used = 0;
    for (int i = 0; i < w->n; i++) {
        size_t len = strlen(w->t[i]->name);
        if (len > n || len <= *used || strncmp(w->t[i]->name, name, len)) continue;
        if (len < n && !(w->t[i]->quant && name[len] == '.')) continue;
        best = i;
        *used = len;
    }
    return best;
}

/* Copies text with tensor names replaced by numbers. */
static void add_renamed(ll_str *out, const numbering *w, const char *text)
{
    while (*text) {
        if (!isalpha((unsigned char)*text) && *text != '_') {
            ll_str_addc(out, *text++);
            continue;
        }
        size_t n = 0, used;
        while (in_name(text[n])) n++;
        int i = find_name(w, text, n, &used);
        if (i >= 0) ll_str_addf(out, "b%d%.*s", i, (int)(n - used), text + used);
        else ll_str_addn(out, text, n);
        text += n;
    }
}

cc_instance cc_instance_of(te_graph *g, const cc_kernel *k)
{
    numbering w = {.g = g};
    for (int i = 0; i < k->n_stage; i++) {
        te_tensor *t = k->stage[i].t;
        number(&w, t);
        te_walk(t->body, number_loads, &w);
        if (t->base) number(&w, t->base);
        for (int d = 0; t->kind == TE_UPDATE && d < t->ndim; d++) te_walk(t->at[d], number_loads, &w);
        for (int d = 0; d < t->n_axis; d++) te_walk(t->axis[d]->u.axis->extent, number_loads, &w);
        if (te_is_reduce(t->body))
            for (int d = 1; d < t->body->n; d++) te_walk(t->body->src[d]->u.axis->extent, number_loads, &w);
    }
    for (int i = 0; i < k->n_given; i++) {
        number(&w, k->given[i]);
        if (k->given[i]->base) number(&w, k->given[i]->base);
    }
    ll_str out = {0}, line = {0};
    ll_str_addf(&out, "class %d tiles", (int)k->class);
    for (int i = 0; i < k->n_group; i++) ll_str_addf(&out, " %lld", (long long)k->tile[i]);
    ll_str_addc(&out, '\n');
    for (int i = 0; i < w.n; i++) { /* inputs and given definitions: type and shape; stages: their text */
        int stage = -1;
        for (int j = 0; j < k->n_stage; j++)
            if (k->stage[j].t == w.t[i]) stage = j;
        ll_str_clear(&line);
        if (stage >= 0) {
            const cc_stage *s = &k->stage[stage];
            ll_str_addf(&out, "%s%s%s g%d ", s->prologue ? "prologue " : "", s->contraction ? "contraction " : "", s->root ? "root" : "inner", s->group);
            te_print_tensor(&line, w.t[i]);
        } else {
            const te_tensor *t = w.t[i];
            ll_str_addf(&line, "in %s b%d[", t->quant ? t->quant->name : ll_dtype_name((ll_dtype)t->dtype), i);
            for (int d = 0; d < t->ndim; d++) {
                if (d) ll_str_add(&line, ", ");
                te_print_expr(&line, t->shape[d]);
            }
            ll_str_addf(&line, "]%s", t->weight ? " weight" : "");
        }
        add_renamed(&out, &w, ll_str_cstr(&line));
        ll_str_addc(&out, '\n');
    }
    cc_instance r = {.text = ll_strdup(te_arena(g), ll_str_cstr(&out)), .n = w.n, .tensor = w.t};
    ll_str_finish(&out);
    ll_str_finish(&line);
    return r;
}

int cc_instance_find(const cc_instance *i, const char *name)
{
    for (int k = 0; k < i->n; k++)
        if (!strcmp(i->tensor[k]->name, name)) return k;
    return -1;
}

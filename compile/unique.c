/* unique.c: see unique.h. */
#include "compile/unique.h"

#include "te/print.h"
#include "te/quant.h"

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

/* Tensors print as their numbers, planes behind the number of their whole: b3, b3.q. */
static const char *numbered(const te_tensor *t, void *p)
{
    const numbering *w = p;
    const te_tensor *of = t->kind == TE_PLANE ? t->base : t;
    for (int i = 0; i < w->n; i++)
        if (w->t[i] == of) return ll_sprintf(te_arena(w->g), "b%d%s", i, of == t ? "" : strrchr(t->name, '.'));
    return NULL;
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
    ll_str out = {0};
    te_print_style style = {.tensor = numbered, .ctx = &w};
    ll_str_addf(&out, "class %d tiles", (int)k->class);
    for (int i = 0; i < k->n_group; i++) ll_str_addf(&out, " %lld", (long long)k->tile[i]);
    ll_str_addc(&out, '\n');
    for (int i = 0; i < w.n; i++) { /* inputs and given definitions: type and shape; stages: their text */
        const cc_stage *s = cc_stage_of(k, w.t[i]);
        if (s) ll_str_addf(&out, "%s%s%s g%d ", s->prologue ? "prologue " : "", s->contraction ? "contraction " : "", s->root ? "root" : "inner", s->group);
        if (s) te_print_tensor_as(&out, w.t[i], &style);
        else te_print_input_as(&out, w.t[i], &style);
        ll_str_addc(&out, '\n');
    }
    cc_instance r = {.text = ll_strdup(te_arena(g), ll_str_cstr(&out)), .n = w.n, .tensor = w.t};
    ll_str_finish(&out);
    return r;
}

int cc_instance_find(const cc_instance *i, const char *name)
{
    for (int k = 0; k < i->n; k++)
        if (!strcmp(i->tensor[k]->name, name)) return k;
    return -1;
}

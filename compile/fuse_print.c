/* fuse_print.c: a fusion as text, for people and tests. One stage a line:
 *
 *   kernel 2: matmul, tiles 32 64
 *       before   norm                    each thread computes it in front of its parts
 *       0 sum    up                      group 0: a sum over rows of a constant matrix
 *       0 local  act -> out              and what is local to its tiles; `out`: others read it
 *       reads    x                       made by kernels before this one */
#include "compile/fuse.h"

#include <string.h>

#include "base/map.h"
#include "te/print.h"

static const char *const class_name[] = {"matmul", "ragged", "rows"};

static void print_stage(ll_str *out, const cc_kernel *k, const cc_stage *s) {
    bool root = false;
    for (int i = 0; i < k->n_root; i++) root |= k->root[i] == s->t;
    if (s->prologue)
        ll_str_add(out, "    before   ");
    else if (s->group < 0)
        ll_str_addf(out, "    %-8s ", s->contraction ? "sum" : "");
    else
        ll_str_addf(out, "    %d %-6s ", s->group, s->contraction ? "sum" : "local");
    ll_str_addf(out, "%s%s\n", s->t->name, root ? " -> out" : "");
}

static void print_tiles(ll_str *out, const cc_kernel *k) {
    ll_str_add(out, class_name[k->class]);
    for (int i = 0; i < k->n_group; i++)
        ll_str_addf(out, "%s%lld",
                    i                ? " "
                    : k->n_group > 1 ? ", tiles "
                                     : ", tile ",
                    (long long)k->tile[i]);
    ll_str_addc(out, '\n');
}

static void print_kernel(ll_str *out, const cc_kernel *k, int number) {
    ll_str_addf(out, "kernel %d: ", number);
    print_tiles(out, k);
    for (int i = 0; i < k->n_stage; i++) print_stage(out, k, &k->stage[i]);
    for (int i = 0; i < k->n_given; i++)
        ll_str_addf(out, "%s%s", i ? " " : "    reads    ", k->given[i]->name);
    if (k->n_given) ll_str_addc(out, '\n');
}

void cc_fusion_print(ll_str *out, const cc_fusion *f) {
    for (int i = 0; i < f->n_kernel; i++) print_kernel(out, f->kernel[i], i);
}

const cc_stage *cc_stage_of(const cc_kernel *k, const te_tensor *t) {
    for (int i = 0; i < k->n_stage; i++)
        if (k->stage[i].t == t) return &k->stage[i];
    return NULL;
}

typedef struct dims { ll_str *out; ll_map seen; } dims;

static bool print_new_dim(te_ref e, void *p) {
    dims *d = p;
    if (e->op == TE_AXIS) te_walk(e->u.axis->extent, print_new_dim, d);
    if (e->op == TE_AXIS && e->u.axis->max) te_walk(e->u.axis->max, print_new_dim, d);
    if (e->op != TE_DIM || ll_map_has(&d->seen, e->u.dim->name, strlen(e->u.dim->name))) return true;
    ll_map_set_str(&d->seen, e->u.dim->name, (void *)(uintptr_t)e);
    te_print_dim(d->out, e);
    ll_str_addc(d->out, '\n');
    return true;
}

static void print_dims(ll_str *out, te_tensor *const *tensor, int n) {
    dims d = {.out = out};
    for (int i = 0; i < n; i++) {
        const te_tensor *t = tensor[i];
        for (int k = 0; k < t->ndim; k++) te_walk(t->shape[k], print_new_dim, &d);
        for (int k = 0; k < t->n_axis; k++) te_walk(t->axis[k], print_new_dim, &d);
        const te_ref more[] = {t->lo, t->hi, t->body};
        for (int k = 0; k < 3; k++)
            if (more[k]) te_walk(more[k], print_new_dim, &d);
    }
    ll_map_finish(&d.seen);
}

void cc_kernel_print_te(ll_str *out, const cc_kernel *k, te_tensor *const *tensor, int n) {
    ll_str_add(out, "# ");
    print_tiles(out, k);
    print_dims(out, tensor, n);
    for (int i = 0; i < n; i++) {
        if (cc_stage_of(k, tensor[i])) continue;
        te_print_input_as(out, tensor[i], NULL);
        ll_str_addc(out, '\n');
    }
    for (int i = 0; i < k->n_stage; i++) {
        const cc_stage *s = &k->stage[i];
        te_print_tensor(out, s->t);
        if (s->prologue) ll_str_add(out, " # before the parts");
        else if (s->group >= 0) ll_str_addf(out, " # group %d", s->group);
        ll_str_add(out, s->root ? s->prologue || s->group >= 0 ? ", out\n" : " # out\n" : "\n");
    }
}

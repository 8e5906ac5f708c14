/* fuse_print.c: a fusion as text, for people and tests. One stage a line:
 *
 *   kernel 2: matmul, tiles 32 64
 *       before   norm                    each thread computes it in front of its parts
 *       0 sum    up                      group 0: a sum over rows of a constant matrix
 *       0 local  act -> out              and what is local to its tiles; `out`: others read it
 *       reads    x                       made by kernels before this one */
#include "compile/fuse.h"

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

static void print_kernel(ll_str *out, const cc_kernel *k, int number) {
    ll_str_addf(out, "kernel %d: %s", number, class_name[k->class]);
    for (int i = 0; i < k->n_group; i++)
        ll_str_addf(out, "%s%lld",
                    i                ? " "
                    : k->n_group > 1 ? ", tiles "
                                     : ", tile ",
                    (long long)k->tile[i]);
    ll_str_addc(out, '\n');
    for (int i = 0; i < k->n_stage; i++) print_stage(out, k, &k->stage[i]);
    for (int i = 0; i < k->n_given; i++)
        ll_str_addf(out, "%s%s", i ? " " : "    reads    ", k->given[i]->name);
    if (k->n_given) ll_str_addc(out, '\n');
}

void cc_fusion_print(ll_str *out, const cc_fusion *f) {
    for (int i = 0; i < f->n_kernel; i++) print_kernel(out, f->kernel[i], i);
}

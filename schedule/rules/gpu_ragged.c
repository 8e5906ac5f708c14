/* gpu_ragged.c: reductions over data-dependent ranges on a GPU: a block for each work item (or row
 * and part of its range) and each row axis that rows do not share:
 *
 *   for item @block.x { for head @block.y {
 *     for tile of the range {
 *       scores, maxima, weights, running sums: one statement after the other, elements over
 * threads, values in shared memory, barriers between them } } }
 *
 * With one row the parts of the range are an axis of the definitions already (see splitk). */
#include "schedule/prim.h"
#include "schedule/rules/rules.h"

enum { MAX_BLOCK = 3 };

static bool runs_once(sch *s, const char *loop) {
    te_ref v = rule_loop_var(s, "%s", loop);
    return v && te_is_int(v->u.axis->extent, 1);
}

/* What the pass keeps in registers of one thread belongs to all threads of the block. */
static ll_code share_values(gpu *u) {
    sch *s = u->s;
    for (int i = 0; i < s->fn->n_buf; i++) {
        const lp_buf *b = s->fn->buf[i];
        if (b->param < 0 && b->scope == LP_REG && !b->layout)
            LL_TRY(rule_do(s, u->err, "scope %s shared", b->t->name));
    }
    return gpu_settle(u);
}

/* The loops round the pass, outermost first, become blocks; what is too many for three is fused. */
static ll_code bind_blocks(gpu *u, const char **loop, int n) {
    static const char *const how[MAX_BLOCK] = {"block.x", "block.y", "block.z"};
    sch *s = u->s;
    while (n > MAX_BLOCK) {
        const char *both = ll_sprintf(te_arena(s->g), "%s.b%d", loop[n - 2], n);
        LL_TRY(rule_do(s, u->err, "fuse %s %s %s", loop[n - 2], loop[n - 1], both));
        loop[--n - 1] = both;
    }
    for (int i = 0; i < n; i++) LL_TRY(rule_do(s, u->err, "bind %s %s", loop[i], how[i]));
    return LL_OK;
}

ll_code gpu_ragged(gpu *u) {
    sch *s = u->s;
    const char *outer[TE_MAX_DIM];
    int n = 0, kept = 0;
    LL_TRY(rule_ragged_pass(s, u->k, u->knobs, outer, &n, u->err));
    for (int i = 0; i < n; i++) {
        bool last = i + 1 == n && !kept; /* one loop over blocks there must be */
        if (runs_once(s, outer[i]) && !last)
            LL_TRY(rule_do(s, u->err, "unit %s", outer[i]));
        else
            outer[kept++] = outer[i];
    }
    if (!kept) return ll_fail(u->err, LL_UNSUPPORTED, "%s: every row axis is shared", s->fn->name);
    LL_TRY(share_values(u));
    gpu_nests(u, outer[kept - 1]);
    return bind_blocks(u, outer, kept);
}

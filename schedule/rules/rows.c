/* rows.c: kernels of light definitions: embeddings, norms, blockwise quantisation, angles. Every output of such a kernel is
 * over the same rows; a part is a run of rows, and everything of a row is computed in it.
 *
 *   for p.t @claim { a stage after the other, vectors over columns, in thread scratch }
 *
 * With one row there is nothing to share out: the columns of each output become the parts where outputs are independent,
 * otherwise the kernel is one part. */
#include <stdio.h>
#include <string.h>

#include "schedule/prim.h"
#include "schedule/rules/rules.h"

/* The row loop of each output becomes one loop; everything else moves into it. */
static ll_code many_rows(sch *s, const rule_kernel *k, ll_error *err)
{
    const char *outer = NULL;
    for (int i = 0; i < k->n_stage; i++) {
        if (!k->stage[i].root) continue;
        const char *loop = rule_axis_loop(s, k->stage[i].t, 0);
        if (!outer) outer = loop;
        else LL_TRY(rule_do(s, err, "merge %s %s", outer, loop));
    }
    if (!outer) return ll_fail(err, LL_FAILED, "%s: a kernel without outputs", s->fn->name);
    for (int i = k->n_stage - 1; i >= 0; i--)
        if (!k->stage[i].root) LL_TRY(rule_do(s, err, "at %s %s thread", k->stage[i].t->name, outer));
    for (int i = 0; i < k->n_stage; i++) LL_TRY(rule_vectorize_stage(s, k->stage[i].t, outer, err));
    return rule_do(s, err, "claim %s", outer);
}

static ll_code one_row(sch *s, const rule_kernel *k, ll_error *err)
{
    for (int i = 0; i < k->n_stage; i++) LL_TRY(rule_vectorize_stage(s, k->stage[i].t, NULL, err));
    return LL_OK;
}

ll_code rule_rows(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err)
{
    for (int i = 0; i < k->n_weight; i++) LL_TRY(rule_pack(s, &k->weight[i], err));
    return k->one_row ? one_row(s, k, err) : many_rows(s, k, err);
}

static ll_code dispatch(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err)
{
    switch (k->class) {
    case RULE_MATMUL: return rule_matmul(s, k, knobs, err);
    case RULE_RAGGED: return rule_ragged(s, k, knobs, err);
    case RULE_ROWS: return rule_rows(s, k, knobs, err);
    }
    return LL_FAILED;
}

/* Each line checks its own legality; the whole is verified once, at the end. */
ll_code rule_apply(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err)
{
    static const rule_knobs none;
    bool later = s->verify_later;
    s->verify_later = true;
    if (!knobs) knobs = &none;
    bool on_gpu = s->target->kind == LL_CUDA;
    ll_code rc = on_gpu ? rule_gpu(s, k, knobs, err) : dispatch(s, k, knobs, err);
    if (rc == LL_OK && !on_gpu) rc = rule_settle_registers(s, err);
    s->verify_later = later;
    if (rc == LL_OK) {
        rc = lp_verify(s->fn, err);
        if (rc != LL_OK) ll_error_prefix(err, "%s: ", s->fn->name);
    }
    return rc;
}

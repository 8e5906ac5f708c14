/* verify.h: what the files of the verifier share: the walk's state, the facts in force at a
 * statement, proofs under those facts. verify.c walks and checks scoping, types and structure;
 * verify_bounds.c proves accesses; verify_race.c iterations apart; verify_intrin.c instruction
 * nests; verify_run.c runs small cases. */
#ifndef LLMIR_SCHEDULE_VERIFY_H
#define LLMIR_SCHEDULE_VERIFY_H

#include "schedule/loop.h"

enum { VF_MAX_FACT = 64, VF_MAX_SCOPE = 256 };

/* lo + gap <= hi (s64), as long as the fact stands. */
typedef struct vf_fact { te_ref lo, hi; int64_t gap; te_affine f; } vf_fact; /* f: lo - hi */

/* A goal that was tried without facts. */
typedef struct vf_tried { te_ref lo, hi; int64_t gap; bool yes; } vf_tried;

typedef struct vf {
    const lp_func *f;
    te_graph *g; /* for terms of proofs: dropped at the end */
    ll_error *err;
    ll_code code;
    vf_fact fact[VF_MAX_FACT]; int n_fact;
    const lp_stmt *loop[VF_MAX_SCOPE]; int n_loop;
    te_ref leaf[VF_MAX_SCOPE]; int n_leaf;         /* loop and let variables in scope */
    /* What proofs put in place of variables: a let's value; for values that are loaded, and for
     * loops whose extent depends on such, an axis that has their range. */
    te_ref let_var[VF_MAX_SCOPE], let_value[VF_MAX_SCOPE]; int n_let;
    const lp_buf *buf[VF_MAX_SCOPE]; int n_buf;    /* allocated buffers in scope      */
    vf_tried *tried; size_t n_tried, cap_tried;    /* open addressing                 */
    int work;                                      /* attempts left for this goal     */
    bool has_claim, in_claim, has_sync, has_threads, spmd;
    int n_roles;
} vf;

/* Records the first violation: "FUNC: sentence; in: STATEMENT". Returns false. */
bool vf_fail(vf *v, const lp_stmt *s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* verify_bounds.c */
void vf_assume(vf *v, te_ref cond,
               bool holds); /* pushes what cond (or its negation) says; n_fact is the mark */
void vf_assume_le(vf *v, te_ref lo, te_ref hi, int64_t gap);
bool vf_prove(vf *v, te_ref lo, te_ref hi, int64_t gap); /* lo + gap <= hi under the facts */
te_ref vf_terms(vf *v, te_ref e);                    /* e in terms of proofs */
bool vf_bounds(vf *v, const lp_stmt *s);             /* every access of one statement */

/* verify_race.c */
bool vf_races(vf *v, const lp_stmt *loop);
/* verify_intrin.c */
bool vf_intrin(vf *v, const lp_stmt *loop);
/* verify_run.c */
bool vf_small_runs(vf *v);

static inline bool lp_is_parallel(lp_how how)
{
    return how == LP_VECTOR || how == LP_PARALLEL || how == LP_CLAIM || how >= LP_BLOCK_X;
}
static inline bool lp_is_thread(lp_how how) { return how >= LP_THREAD_X && how <= LP_THREAD_Z; }

#endif

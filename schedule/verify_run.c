/* verify_run.c: the part of legality that is decided by running. The function runs on made-up
 * values with a few choices of small dims; what depends on control alone then shows: reads of
 * scratch that nothing wrote, missing waits, barriers and arrivals, reuse of a ring's slot too
 * early, deadlock of roles.
 *
 * For functions with barriers or copies the run takes all iterations of loops that hold barriers
 * and the first and last of the others (a skeleton), for trip counts around the depths of their
 * rings: dims take their least values, and 1, 2, 3... times what makes loops over them go around.
 * Functions without run in full, up to a number of steps; a function that is longer than that even
 * for its least dims is not run to its end, and what lies behind stays unchecked here: the
 * evaluator's tests are where initialisation is seen in full. */
#include "schedule/loop_eval.h"
#include "schedule/verify.h"

enum { MAX_DIMS = 16, CASES = 8, STEPS = 200000, SKELETON_STEPS = 20000000 };

/* Case k: every dim at its least value plus k steps; rotating, so that dims differ. */
static void choose_dims(const lp_func *f, int k, int64_t *dim)
{
    for (int i = 0; i < f->n_dim; i++) {
        const te_dim_info *d = f->dim[i]->u.dim;
        int64_t step = d->multiple > 1 ? d->multiple : 1, first = (d->lo + step - 1) / step * step;
        int64_t v = first + (k + (k > 3 ? i : 0)) % CASES * step;
        if (k == CASES - 1 && d->hi > 64 && step == 1) v = 33 + i; /* past the small tiles */
        dim[i] = v > d->hi ? d->hi / step * step : v;
    }
}

bool vf_small_runs(vf *v)
{
    int64_t dim[MAX_DIMS] = {0};
    if (v->f->n_dim > MAX_DIMS) return vf_fail(v, NULL, "more than %d dims", MAX_DIMS);
    int cases = v->has_sync || v->has_threads ? CASES : v->f->n_dim ? 2 : 1;
    for (int k = 0; k < cases; k++) {
        choose_dims(v->f, k, dim);
        ll_error err = {0};
        ev_trial t = {.dim = dim, .seed = v->has_sync || v->has_threads ? (uint64_t)k : 0, .skeleton = v->has_sync,
                      .steps = v->has_sync ? SKELETON_STEPS : STEPS};
        if (ev_try(v->f, &t, &err) == LL_OK) continue;
        v->code = LL_NOT_LEGAL;
        ll_fail(v->err, LL_NOT_LEGAL, "%s", err.msg);
        return false;
    }
    return true;
}

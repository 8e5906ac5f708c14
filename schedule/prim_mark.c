/* prim_mark.c: how loops run and where buffers live: primitives that annotate and move nothing.
 *
 *   unroll L        constant extent                        for L < 4 @unroll
 *   vectorize L     constant extent, at most 256 lanes with the vector loops round and in it; lanes
 *                   do not meet (reduces with one operator may: a horizontal reduction)
 *   parallel L      iterations touch different elements
 *   claim L         the same, at the top of the function, the last statement; what stands before it
 *                   is computed by every thread for itself, so it may write only buffers of thread
 *                   or reg scope
 *   bind L block.x  the same, for the GPU
 *   rotate L N      the body N times with the ring index constant in each
 *   opaque L        the extent stays an argument
 *   scope S reg     the buffer of stage S lives in registers
 *   prologue S      every thread computes S before the claimed loop: scope thread, checked
 *
 * Independence is decided by access.c; where it cannot be shown the sentence shows the two
 * statements. */
#include <string.h>

#include "schedule/prim.h"

enum { MAX_UNROLL = 1024, MAX_LANES = 256, MAX_ROTATE = 16 };

static lp_stmt *plain_loop(sch *s, int argc, const char *const *argv, ll_code *rc, ll_error *err)
{
    lp_stmt *loop = argc ? sch_find_loop(s, argv[0], err) : NULL;
    if (!argc) ll_fail(err, LL_USAGE, "wanted LOOP");
    *rc = LL_USAGE;
    if (!loop) return NULL;
    if (loop->u.loop.how == LP_SERIAL && !loop->u.loop.intrin) return loop;
    *rc = ll_fail(err, LL_NOT_LEGAL, "%s is mapped already: `%.60s`; wanted a plain loop", argv[0],
                  sch_text(s, loop));
    return NULL;
}

static ll_code constant(sch *s, lp_stmt *loop, int64_t most, ll_error *err)
{
    te_ref e = loop->u.loop.var->u.axis->extent;
    if (e->op != TE_INT || e->u.i > most)
        return ll_fail(err, LL_NOT_LEGAL,
                       "the extent of %s is %s; wanted a constant of at most %lld",
                       loop->u.loop.var->u.axis->name, sch_expr_text(s, e), (long long)most);
    return LL_OK;
}

static ll_code one_loop(int argc, ll_error *err)
{
    return argc == 1 ? LL_OK : ll_fail(err, LL_USAGE, "wanted LOOP and nothing else");
}

ll_code sch_unroll(sch *s, int argc, const char *const *argv, ll_error *err)
{
    ll_code rc;
    LL_TRY(one_loop(argc, err));
    lp_stmt *loop = plain_loop(s, argc, argv, &rc, err);
    if (!loop) return rc;
    LL_TRY(constant(s, loop, MAX_UNROLL, err));
    loop->u.loop.how = LP_UNROLL;
    return LL_OK;
}

/* The greatest product of nested vector extents below. */
static int64_t lanes_below(lp_stmt *list)
{
    int64_t most = 1;
    for (lp_stmt *st = list; st; st = st->next) {
        lp_stmt **below[SCH_MAX_CHILD];
        int n = sch_children(st, below);
        for (int i = 0; i < n; i++) {
            int64_t in = lanes_below(*below[i]);
            if (st->kind == LP_FOR && st->u.loop.how == LP_VECTOR)
                in *= st->u.loop.var->u.axis->extent->u.i;
            if (in > most) most = in;
        }
    }
    return most;
}

static bool has_intrin(lp_stmt *st, void *p)
{
    if (st->kind == LP_FOR && st->u.loop.intrin) *(lp_stmt **)p = st;
    return true;
}

/* Vector loops may be nested: the inner one runs fastest over the lanes of one vector. */
ll_code sch_vectorize(sch *s, int argc, const char *const *argv, ll_error *err)
{
    ll_code rc;
    LL_TRY(one_loop(argc, err));
    lp_stmt *loop = plain_loop(s, argc, argv, &rc, err), *row = NULL;
    if (!loop) return rc;
    LL_TRY(constant(s, loop, MAX_LANES, err));
    lp_walk(loop->u.loop.body, has_intrin, &row);
    lp_stmt *path[SCH_MAX_DEPTH];
    int64_t total = loop->u.loop.var->u.axis->extent->u.i * lanes_below(loop->u.loop.body);
    for (int i = sch_path(s, loop, path) - 1; i >= 0; i--) {
        if (path[i]->kind != LP_FOR) continue;
        if (path[i]->u.loop.intrin) row = path[i];
        if (path[i]->u.loop.how == LP_VECTOR) total *= path[i]->u.loop.var->u.axis->extent->u.i;
    }
    if (row)
        return ll_fail(err, LL_NOT_LEGAL, "%s is an instruction: its lanes are its own",
                       row->u.loop.var->u.axis->name);
    if (total > MAX_LANES)
        return ll_fail(
            err, LL_NOT_LEGAL,
            "%s and the vector loops round it and in it make %lld lanes; wanted at most %d",
            argv[0], (long long)total, MAX_LANES);
    LL_TRY(sch_independent(s, loop, false, err));
    loop->u.loop.how = LP_VECTOR;
    return LL_OK;
}

ll_code sch_parallel(sch *s, int argc, const char *const *argv, ll_error *err)
{
    ll_code rc;
    LL_TRY(one_loop(argc, err));
    lp_stmt *loop = plain_loop(s, argc, argv, &rc, err);
    if (!loop) return rc;
    LL_TRY(sch_independent(s, loop, true, err));
    loop->u.loop.how = LP_PARALLEL;
    return LL_OK;
}

/* ---- claim ----------------------------------------------------------------------------------- */

static bool is_claimed(lp_stmt *st, void *p)
{
    if (st->kind == LP_FOR && st->u.loop.how == LP_CLAIM) *(lp_stmt **)p = st;
    return true;
}

/* Everything before the loop is run by each thread: it may write only what is the thread's own. */
static ll_code prologue_is_private(sch *s, lp_stmt *loop, ll_error *err)
{
    lp_stmt *block[256];
    int n = sch_block_of(s, loop, block, 256), at = 0;
    const char *name = loop->u.loop.var->u.axis->name;
    while (at < n && block[at] != loop) at++;
    if (at + 1 < n)
        return ll_fail(err, LL_NOT_LEGAL,
                       "`%.80s` follows %s; the claimed loop is the last statement (`at` moves "
                       "stages into it, `union` joins loops)",
                       sch_text(s, block[at + 1]), name);
    for (int i = 0; i < at; i++) {
        sch_accesses a = {0};
        const lp_buf *bad = NULL;
        sch_collect(s, block[i], &a);
        for (int j = 0; j < a.n; j++)
            if (a.v[j].kind != SCH_READ && a.v[j].buf->scope != LP_THREAD &&
                a.v[j].buf->scope != LP_REG)
                bad = a.v[j].buf;
        sch_accesses_finish(&a);
        if (bad)
            return ll_fail(err, LL_NOT_LEGAL,
                           "%s is written before %s and every thread would write it: its scope is "
                           "%s, wanted thread or reg",
                           bad->t->name, name, sch_scope_name(bad->scope));
    }
    return LL_OK;
}

/* Claims a loop whose iterations are known to be independent. */
ll_code sch_claim_independent(sch *s, lp_stmt *loop, ll_error *err)
{
    lp_stmt *other = NULL;
    lp_walk(s->fn->body, is_claimed, &other);
    if (other)
        return ll_fail(err, LL_NOT_LEGAL,
                       "%s is claimed already; wanted one claimed loop (`union` joins several)",
                       other->u.loop.var->u.axis->name);
    lp_stmt *path[SCH_MAX_DEPTH];
    int depth = sch_path(s, loop, path);
    for (int i = 0; i < depth; i++)
        if (path[i]->kind != LP_ALLOC && path[i]->kind != LP_LET)
            return ll_fail(
                err, LL_NOT_LEGAL,
                "%s is inside `%.60s`; wanted a loop at the top (`reorder` moves it out)",
                loop->u.loop.var->u.axis->name, sch_text(s, path[i]));
    LL_TRY(prologue_is_private(s, loop, err));
    loop->u.loop.how = LP_CLAIM;
    return LL_OK;
}

ll_code sch_claim(sch *s, int argc, const char *const *argv, ll_error *err)
{
    ll_code rc;
    LL_TRY(one_loop(argc, err));
    lp_stmt *loop = plain_loop(s, argc, argv, &rc, err);
    if (!loop) return rc;
    LL_TRY(sch_independent(s, loop, true, err));
    return sch_claim_independent(s, loop, err);
}

/* ---- GPU ------------------------------------------------------------------------------------- */

ll_code sch_bind(sch *s, int argc, const char *const *argv, ll_error *err)
{
    static const struct {
        const char *name;
        lp_how how;
    } hows[] = {
        {"block.x", LP_BLOCK_X},   {"block.y", LP_BLOCK_Y},   {"block.z", LP_BLOCK_Z},
        {"thread.x", LP_THREAD_X}, {"thread.y", LP_THREAD_Y}, {"thread.z", LP_THREAD_Z},
        {"warp", LP_WARP},
    };
    ll_code rc;
    if (argc != 2)
        return ll_fail(err, LL_USAGE, "wanted LOOP and one of block.x|y|z, thread.x|y|z, warp");
    lp_stmt *loop = plain_loop(s, 1, argv, &rc, err);
    if (!loop) return rc;
    for (size_t i = 0; i < sizeof hows / sizeof *hows; i++) {
        if (strcmp(argv[1], hows[i].name)) continue;
        LL_TRY(sch_independent(s, loop, true, err));
        loop->u.loop.how = hows[i].how;
        return LL_OK;
    }
    return ll_fail(err, LL_USAGE, "'%s': wanted block.x|y|z, thread.x|y|z or warp", argv[1]);
}

ll_code sch_rotate(sch *s, int argc, const char *const *argv, ll_error *err)
{
    ll_code rc;
    int64_t n;
    if (argc != 2 || !sch_arg_int(argv[1], &n) || n < 2 || n > MAX_ROTATE)
        return ll_fail(err, LL_USAGE, "wanted LOOP and a number of copies, 2..%d", MAX_ROTATE);
    lp_stmt *loop = plain_loop(s, 1, argv, &rc, err);
    if (!loop) return rc;
    loop->u.loop.how = LP_ROTATE;
    loop->u.loop.rotate = (int)n;
    return LL_OK;
}

ll_code sch_opaque(sch *s, int argc, const char *const *argv, ll_error *err)
{
    LL_TRY(one_loop(argc, err));
    lp_stmt *loop = sch_find_loop(s, argv[0], err);
    if (!loop) return LL_USAGE;
    if (loop->u.loop.how == LP_UNROLL || loop->u.loop.how == LP_VECTOR || loop->u.loop.intrin)
        return ll_fail(err, LL_NOT_LEGAL, "%s is copied or made vectors: its extent must be known",
                       argv[0]);
    loop->u.loop.opaque = true;
    return LL_OK;
}

/* ---- buffers --------------------------------------------------------------------------------- */

static lp_buf *own_buffer(sch *s, const char *name, ll_code *rc, ll_error *err)
{
    te_tensor *t = sch_find_stage(s, name, err);
    *rc = LL_USAGE;
    if (!t) return NULL;
    lp_buf *b = lp_buf_of(s->fn, t);
    if (b->param < 0) return b;
    *rc = ll_fail(
        err, LL_NOT_LEGAL,
        "%s is a parameter of the function: it lives in global memory (`cache_write` first)", name);
    return NULL;
}

ll_code sch_scope(sch *s, int argc, const char *const *argv, ll_error *err)
{
    ll_code rc;
    lp_scope scope;
    if (argc != 2 || !sch_scope_parse(argv[1], &scope))
        return ll_fail(err, LL_USAGE, "wanted STAGE reg|thread|shared|warp|global");
    lp_buf *b = own_buffer(s, argv[0], &rc, err);
    if (!b) return rc;
    for (int i = 0; scope == LP_REG && i < b->t->ndim; i++)
        if (b->t->shape[i]->op != TE_INT)
            return ll_fail(err, LL_NOT_LEGAL,
                           "%s has %s elements in dimension %d; registers want constant sizes",
                           argv[0], sch_expr_text(s, b->t->shape[i]), i);
    b->scope = scope;
    return LL_OK;
}

ll_code sch_prologue(sch *s, int argc, const char *const *argv, ll_error *err)
{
    ll_code rc;
    if (argc != 1) return ll_fail(err, LL_USAGE, "wanted STAGE");
    lp_buf *b = own_buffer(s, argv[0], &rc, err);
    if (!b) return rc;
    lp_stmt *group[64], *path[SCH_MAX_DEPTH];
    int n;
    LL_TRY(sch_stage_group(s, b, group, 64, &n, err));
    for (int i = 0; i < n; i++) {
        int depth = sch_path(s, group[i], path);
        for (int d = 0; d < depth; d++)
            if (path[d]->kind != LP_ALLOC && path[d]->kind != LP_LET)
                return ll_fail(
                    err, LL_NOT_LEGAL,
                    "%s is computed inside `%.60s`; wanted its nest at the top of the function",
                    argv[0], sch_text(s, path[d]));
    }
    b->scope = LP_THREAD;
    return LL_OK;
}

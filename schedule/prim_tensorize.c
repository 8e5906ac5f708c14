/* prim_tensorize.c: `tensorize LOOP ROW`: a nest becomes an instruction of intrin.def. The nest
 * stays (it is the meaning); the outer loop carries the row's name.
 *
 *   for l < 16 { for r < 4 { dot[l] += s32(q[..]) * s32(xq[..]) } }
 *   ->  for l < 16 @vector @vpdpbusd.512 { for r < 4 { ... } }
 *
 * Checked: the two extents, one sum of a product whose operands are exact in the row's types and
 * lie in the ranges for which the instruction is exact, lanes that do not meet, the accumulator
 * the same for every r, and that the target has the instruction. Each refusal names what differs. */
#include <stdlib.h>
#include <string.h>

#include "schedule/intrin.h"
#include "schedule/prim.h"

static bool target_has_all(const ll_target *t, const char *requires, char *missing, size_t n)
{
    char word[64];
    while (*requires) {
        size_t len = strcspn(requires, " ");
        ll_cpu_feature f;
        if (len >= sizeof word) return false;
        memcpy(word, requires, len);
        word[len] = 0;
        bool sm = strncmp(word, "sm_", 3) == 0;
        if (sm ? t->kind != LL_CUDA || t->sm < atoi(word + 3) :
            !ll_cpu_feature_parse(word, &f) || t->kind != LL_CPU || !ll_target_has(t, f)) {
            if (len < n) memcpy(missing, word, len + 1);
            return false;
        }
        requires += len + strspn(requires + len, " ");
    }
    return true;
}

/* The operand without casts that keep every value. */
static te_ref strip(te_ref e)
{
    while (e->op == TE_CAST) {
        ll_dtype to = (ll_dtype)e->dtype, from = (ll_dtype)e->src[0]->dtype;
        if (ll_dtype_is_float(to) != ll_dtype_is_float(from)) break;
        if (ll_dtype_is_float(to)) {
            if (ll_dtype_bits(to) < ll_dtype_bits(from)) break;
        } else {
            int64_t lo, hi;
            te_range r = te_range_of(e->src[0]);
            ll_dtype_int_range(to, &lo, &hi);
            if (r.lo < lo || r.hi > hi) break;
        }
        e = e->src[0];
    }
    return e;
}

static bool fits(te_ref e, ll_dtype t, int64_t lo, int64_t hi)
{
    if (ll_dtype_is_float(t)) return strip(e)->dtype == t;
    if (ll_dtype_is_float((ll_dtype)e->dtype)) return false;
    int64_t tlo, thi;
    te_range r = te_range_of(e);
    ll_dtype_int_range(t, &tlo, &thi);
    if (lo == 0 && hi == 0) lo = tlo, hi = thi;
    return r.lo >= lo && r.hi <= hi;
}

static const char *range_text(sch *s, te_ref e)
{
    te_range r = te_range_of(e);
    return ll_dtype_is_float((ll_dtype)e->dtype)
               ? ll_sprintf(te_arena(s->g), "%s (%s)", sch_expr_text(s, e),
                            ll_dtype_name((ll_dtype)strip(e)->dtype))
               : ll_sprintf(te_arena(s->g), "%s (%lld..%lld)", sch_expr_text(s, e), (long long)r.lo,
                            (long long)r.hi);
}

static ll_code check_extent(sch *s, const lp_stmt *loop, int64_t want, const char *row,
                            ll_error *err)
{
    te_ref e = loop->u.loop.var->u.axis->extent;
    if (te_is_int(e, want)) return LL_OK;
    return ll_fail(err, LL_NOT_LEGAL, "%s has %s values, %s wants %lld",
                   loop->u.loop.var->u.axis->name, sch_expr_text(s, e), row, (long long)want);
}

static ll_code check_operands(sch *s, const lp_intrin *row, const lp_stmt *red, ll_error *err)
{
    te_ref v = red->u.reduce.value;
    if (red->u.reduce.op != TE_SUM || red->u.reduce.buf->t->dtype != row->acc || v->op != TE_MUL)
        return ll_fail(err, LL_NOT_LEGAL, "`%s` is not a %s sum of a product", sch_text(s, red),
                       ll_dtype_name(row->acc));
    te_ref x = v->src[0], y = v->src[1];
    bool direct = fits(x, row->a, row->a_lo, row->a_hi) && fits(y, row->b, row->b_lo, row->b_hi);
    bool swapped = fits(y, row->a, row->a_lo, row->a_hi) && fits(x, row->b, row->b_lo, row->b_hi);
    if (!direct && !swapped)
        return ll_fail(
            err, LL_NOT_LEGAL,
            "%s multiplies %s in %lld..%lld by %s in %lld..%lld (0..0: all); found %s and %s",
            row->name, ll_dtype_name(row->a), (long long)row->a_lo, (long long)row->a_hi,
            ll_dtype_name(row->b), (long long)row->b_lo, (long long)row->b_hi, range_text(s, x),
            range_text(s, y));
    return LL_OK;
}

/* Three loops round one sum. Where the tiles must lie is asked when code is made (threads_mma.c). */
static ll_code tensorize_tile(sch *s, lp_stmt *loop, const lp_intrin *row, ll_error *err)
{
    lp_stmt *at = loop;
    int want[3] = {row->m, row->n, row->k};
    for (int i = 0; i < 3; i++) {
        if (!at || at->kind != LP_FOR || (i && at->next) || at->u.loop.how != LP_SERIAL)
            return ll_fail(err, LL_NOT_LEGAL, "%s wants three plain loops inside each other round one sum",
                           row->name);
        LL_TRY(check_extent(s, at, want[i], row->name, err));
        at = at->u.loop.body;
    }
    if (!at || at->kind != LP_REDUCE || at->next)
        return ll_fail(err, LL_NOT_LEGAL, "%s wants three plain loops inside each other round one sum",
                       row->name);
    LL_TRY(check_operands(s, row, at, err));
    loop->u.loop.intrin = row;
    return LL_OK;
}

ll_code sch_tensorize(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc != 2) return ll_fail(err, LL_USAGE, "wanted LOOP ROW");
    lp_stmt *loop = sch_find_loop(s, argv[0], err);
    if (!loop) return LL_USAGE;
    const lp_intrin *row = lp_intrin_by_name(argv[1]);
    if (!row) {
        ll_str all = {0};
        for (int i = 0; i < lp_n_intrins(); i++)
            ll_str_addf(&all, "%s%s", i ? " " : "", lp_intrin_at(i)->name);
        ll_fail(err, LL_USAGE, "there is no instruction '%s'; instructions: %.700s", argv[1],
                ll_str_cstr(&all));
        ll_str_finish(&all);
        return LL_USAGE;
    }
    char missing[64] = "?";
    if (!target_has_all(s->target, row->requires, missing, sizeof missing))
        return ll_fail(err, LL_NOT_LEGAL, "%s needs %s, which %s does not have", row->name, missing,
                       s->target->name);
    if (loop->u.loop.intrin || (loop->u.loop.how != LP_SERIAL && loop->u.loop.how != LP_VECTOR))
        return ll_fail(err, LL_NOT_LEGAL, "%s is mapped already; wanted a plain or vector loop",
                       argv[0]);
    lp_stmt *path[SCH_MAX_DEPTH];
    for (int i = sch_path(s, loop, path) - 1; i >= 0; i--)
        if (path[i]->kind == LP_FOR && path[i]->u.loop.how == LP_VECTOR)
            return ll_fail(err, LL_NOT_LEGAL, "%s is inside the vector loop %s", argv[0],
                           path[i]->u.loop.var->u.axis->name);
    if (row->fragment[0]) return tensorize_tile(s, loop, row, err);
    if (row->m != 1)
        return ll_fail(err, LL_NOT_LEGAL, "%s is a tile of %d x %d lanes; wanted a row of lanes",
                       row->name, row->m, row->n);
    LL_TRY(check_extent(s, loop, row->n, row->name, err));
    lp_stmt *inner = loop->u.loop.body;
    if (inner->kind != LP_FOR || inner->next || inner->u.loop.body->kind != LP_REDUCE ||
        inner->u.loop.body->next)
        return ll_fail(err, LL_NOT_LEGAL, "%s holds `%s`; wanted one loop with one sum", argv[0],
                       sch_text(s, inner));
    if (inner->u.loop.how > LP_UNROLL)
        return ll_fail(err, LL_NOT_LEGAL, "%s is mapped already; wanted a plain loop",
                       inner->u.loop.var->u.axis->name);
    LL_TRY(check_extent(s, inner, row->k, row->name, err));
    lp_stmt *red = inner->u.loop.body;
    LL_TRY(check_operands(s, row, red, err));
    for (int d = 0; d < red->u.reduce.buf->t->ndim; d++)
        if (te_uses(red->u.reduce.idx[d], inner->u.loop.var))
            return ll_fail(err, LL_NOT_LEGAL, "the accumulator `%s` moves with %s",
                           sch_text(s, red), inner->u.loop.var->u.axis->name);
    te_ref fixed[SCH_MAX_DEPTH], var = loop->u.loop.var;
    sch_accesses a = {0};
    bool same = false;
    sch_collect(s, red, &a);
    int n_fixed = sch_fixed_vars(s, loop, fixed);
    for (int i = 0; i < a.n; i++)
        if (a.v[i].kind == SCH_REDUCE)
            (void)sch_alias(s, &a.v[i], &a.v[i], fixed, n_fixed, &var, 1, &same);
    sch_accesses_finish(&a);
    if (!same)
        return ll_fail(err, LL_NOT_LEGAL,
                       "lanes of %s are added into one element; wanted one element a lane",
                       argv[0]);
    loop->u.loop.how = LP_VECTOR;
    loop->u.loop.intrin = row;
    return LL_OK;
}

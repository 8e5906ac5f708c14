/* verify_intrin.c: a nest that is annotated with an instruction must be what the instruction does:
 *
 *     for l < n @NAME { for r < k { acc[.. l ..] += ACC(a) * ACC(b) } }         (m = 1)
 *
 * with the row's extents and types, and operands proved inside the row's ranges. A code of less
 * than 8 bits counts as u8. Which operand is a and which b is decided by their types; where both
 * would do, by the ranges. */
#include "schedule/intrin.h"
#include "schedule/verify.h"

/* The operand below casts that keep its value, and its type as the instruction sees it. */
static te_ref operand(te_ref e)
{
    while (e->op == TE_CAST) {
        ll_dtype to = (ll_dtype)e->dtype, from = (ll_dtype)e->src[0]->dtype;
        int64_t lo, hi;
        if (ll_dtype_is_float(to)) {
            if (!ll_dtype_is_float(from) || ll_dtype_bits(from) >= ll_dtype_bits(to)) break;
        } else {
            te_range r = te_range_of(e->src[0]);
            ll_dtype_int_range(to, &lo, &hi);
            if (ll_dtype_is_float(from) || r.lo < lo || r.hi > hi) break;
        }
        e = e->src[0];
    }
    return e;
}

/* Can e be given to the instruction as `want`? */
static bool is_operand(te_ref e, ll_dtype want, int64_t lo, int64_t hi)
{
    if (ll_dtype_is_float(want)) return operand(e)->dtype == want;
    int64_t least, most;
    ll_dtype_int_range(want, &least, &most);
    if (lo || hi) least = lo, most = hi;
    te_ref x = operand(e);
    te_range r = te_range_of(x), whole = te_range_of(e);
    if (r.lo == INT64_MIN || r.hi == INT64_MAX) r = whole;
    return !ll_dtype_is_float((ll_dtype)x->dtype) && r.lo >= least && r.hi <= most;
}

static bool check_update(vf *v, const lp_stmt *loop, const lp_intrin *x, const lp_stmt *s)
{
    if (!s || s->next || s->kind != LP_REDUCE || s->u.reduce.op != TE_SUM)
        return vf_fail(v, loop, "@%s: the nest does not end in one sum", x->name);
    te_ref value = s->u.reduce.value;
    if (s->u.reduce.buf->t->dtype != x->acc)
        return vf_fail(v, s, "@%s accumulates in %s", x->name, ll_dtype_name(x->acc));
    if (value->op != TE_MUL) return vf_fail(v, s, "@%s: the summand is no product", x->name);
    te_ref p = value->src[0], q = value->src[1];
    bool straight = is_operand(p, x->a, x->a_lo, x->a_hi) && is_operand(q, x->b, x->b_lo, x->b_hi);
    bool swapped = is_operand(q, x->a, x->a_lo, x->a_hi) && is_operand(p, x->b, x->b_lo, x->b_hi);
    if (!straight && !swapped)
        return vf_fail(v, s, "@%s wants operands %s and %s inside its ranges", x->name,
                       ll_dtype_name(x->a), ll_dtype_name(x->b));
    return true;
}

bool vf_intrin(vf *v, const lp_stmt *loop)
{
    const lp_intrin *x = loop->u.loop.intrin;
    int want[3], n = 0;
    if (x->m > 1) want[n++] = x->m;
    if (x->n > 1) want[n++] = x->n;
    if (x->k > 1) want[n++] = x->k;
    const lp_stmt *s = loop;
    for (int i = 0; i < n; i++) {
        if (!s || s->kind != LP_FOR || (i && s->next) ||
            !te_is_int(s->u.loop.var->u.axis->extent, want[i]))
            return vf_fail(v, loop, "@%s: loop %d of the nest does not have %d iterations", x->name,
                           i, want[i]);
        s = s->u.loop.body;
    }
    return check_update(v, loop, x, s);
}

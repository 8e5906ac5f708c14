/* facts.c: what is known of one integer node from its sources: an interval and a congruence.
 *
 * s64 is the type of indices and is taken never to overflow: a bound that leaves int64 becomes
 * "unknown" on that side. Other integer types wrap, so a result that may leave its type has the
 * type's whole range. u64 values above INT64_MAX are negative int64 here, so u64 keeps an
 * interval only while it is inside [0, INT64_MAX]. */
#include "base/ckd.h"
#include "te/internal.h"

typedef __int128 wide;

static const te_range all = {INT64_MIN, INT64_MAX};

static int64_t sat(wide v)
{
    return v > INT64_MAX ? INT64_MAX : v < INT64_MIN ? INT64_MIN : (int64_t)v;
}
static bool known(te_range r) { return r.lo != INT64_MIN && r.hi != INT64_MAX; }

static te_range type_range(ll_dtype t)
{
    te_range r = all;
    if (t != LL_U64 && t != LL_S64) ll_dtype_int_range(t, &r.lo, &r.hi);
    return r;
}

te_range te_range_of(te_ref a) { return te_has_facts(a) ? te_facts_of(a)->range : all; }
te_cong te_cong_of(te_ref a) { return te_has_facts(a) ? te_facts_of(a)->cong : (te_cong){1, 0}; }

/* A result before wrapping, clipped to what the type can say. */
static te_range fit(ll_dtype t, wide lo, wide hi)
{
    te_range full = type_range(t);
    if (t == LL_S64) return (te_range){sat(lo), sat(hi)};
    if (t == LL_U64 && (lo < 0 || hi > INT64_MAX)) return all;
    if (lo < full.lo || hi > full.hi) return full;
    return (te_range){(int64_t)lo, (int64_t)hi};
}

/* INT64_MIN / INT64_MAX stand for the infinities in interval arithmetic of s64. */
static wide ext(int64_t v)
{
    return v == INT64_MAX ? (wide)1 << 100 : v == INT64_MIN ? -((wide)1 << 100) : v;
}
static wide wmul(wide a, wide b)
{
    const wide inf = (wide)1 << 100;
    if (a == 0 || b == 0) return 0;
    bool neg = (a < 0) != (b < 0);
    if (a >= inf || a <= -inf || b >= inf || b <= -inf) return neg ? -inf : inf;
    return a * b;
}
static wide min4(wide a, wide b, wide c, wide d)
{
    wide x = a < b ? a : b, y = c < d ? c : d;
    return x < y ? x : y;
}
static wide max4(wide a, wide b, wide c, wide d) { return -min4(-a, -b, -c, -d); }

static te_range mul_range(ll_dtype t, te_range a, te_range b)
{
    wide p = wmul(ext(a.lo), ext(b.lo)), q = wmul(ext(a.lo), ext(b.hi));
    wide r = wmul(ext(a.hi), ext(b.lo)), s = wmul(ext(a.hi), ext(b.hi));
    return fit(t, min4(p, q, r, s), max4(p, q, r, s));
}

static int64_t div_end(int64_t v, int64_t d)
{
    return v == INT64_MAX || v == INT64_MIN ? v : ll_floordiv(v, d);
}

static te_range div_range(ll_dtype t, te_range a, te_range b)
{
    if (t == LL_U64 && !(a.lo >= 0 && b.lo > 0)) return all;
    if (b.lo <= 0) return type_range(t);
    int64_t lo = div_end(a.lo, a.lo < 0 ? b.lo : b.hi), hi = div_end(a.hi, a.hi < 0 ? b.hi : b.lo);
    return (te_range){lo, hi};
}

static te_range mod_range(ll_dtype t, te_range a, te_range b)
{
    if (t == LL_U64 && !(a.lo >= 0 && b.lo > 0)) return all;
    if (b.lo <= 0) return type_range(t);
    if (b.lo == b.hi && known(a) && ll_floordiv(a.lo, b.lo) == ll_floordiv(a.hi, b.lo))
        return (te_range){ll_floormod(a.lo, b.lo), ll_floormod(a.hi, b.lo)};
    int64_t hi = b.hi == INT64_MAX ? INT64_MAX : b.hi - 1;
    if (a.lo >= 0 && a.hi < hi) hi = a.hi;
    return (te_range){0, hi};
}

static te_range join(te_range a, te_range b)
{
    return (te_range){a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
}

static te_range bit_range(te_op op, ll_dtype t, te_range a, te_range b)
{
    if (a.lo < 0 || b.lo < 0) {
        bool masked = op == TE_AND && (a.lo >= 0 || b.lo >= 0); /* a mask clears the sign */
        return masked ? (te_range){0, a.lo >= 0 ? a.hi : b.hi} : type_range(t);
    }
    if (op == TE_AND) return (te_range){0, a.hi < b.hi ? a.hi : b.hi};
    uint64_t m = (uint64_t)a.hi | (uint64_t)b.hi;
    while (m & (m + 1)) m |= m >> 1;
    return (te_range){op == TE_OR ? (a.lo > b.lo ? a.lo : b.lo) : 0, (int64_t)m};
}

/* 1: a < b (or a <= b) always; 0: never; -1: it depends. */
static int decide(te_op op, te_range a, te_range b)
{
    switch (op) {
    case TE_LT: return a.hi < b.lo ? 1 : a.lo >= b.hi ? 0 : -1;
    case TE_LE: return a.hi <= b.lo ? 1 : a.lo > b.hi ? 0 : -1;
    case TE_EQ:
        return a.lo == a.hi && b.lo == b.hi && a.lo == b.lo ? 1
               : a.hi < b.lo || b.hi < a.lo                 ? 0
                                                            : -1;
    default:
        return a.lo == a.hi && b.lo == b.hi && a.lo == b.lo ? 0
               : a.hi < b.lo || b.hi < a.lo                 ? 1
                                                            : -1;
    }
}

static te_range compare_range(te_ref a)
{
    ll_dtype t = (ll_dtype)a->src[0]->dtype;
    if (ll_dtype_is_float(t) || t == LL_U64) return (te_range){0, 1};
    int d = decide((te_op)a->op, te_range_of(a->src[0]), te_range_of(a->src[1]));
    return d < 0 ? (te_range){0, 1} : (te_range){d, d};
}

static te_range shift_range(te_op op, ll_dtype t, te_range a, te_range b)
{
    if (b.lo != b.hi || b.lo < 0 || b.lo > 62)
        return op == TE_SHR && a.lo >= 0 ? (te_range){0, a.hi} : type_range(t);
    te_range c = {(int64_t)1 << b.lo, (int64_t)1 << b.lo};
    return op == TE_SHL ? mul_range(t, a, c) : div_range(t, a, c);
}

static te_range tensor_range(const te_tensor *t)
{
    te_range r = type_range((ll_dtype)t->dtype);
    if (t->kind == TE_INPUT && t->lo) {
        int64_t lo = te_range_of(t->lo).lo, hi = te_range_of(t->hi).hi;
        r.lo = lo > r.lo ? lo : r.lo;
        r.hi = hi != INT64_MAX && hi - 1 < r.hi ? hi - 1 : r.hi;
        return r.lo <= r.hi ? r : (te_range){r.lo, r.lo};
    }
    if (t->kind == TE_DEF && !te_is_reduce(t->body)) return te_range_of(t->body);
    if (t->kind == TE_DEF && t->body->op == TE_ARGMAX) {
        wide n = 1;
        for (int i = 1; i < t->body->n; i++) {
            te_range x = te_range_of(t->body->src[i]);
            n = wmul(n, ext(x.hi) + 1);
        }
        return (te_range){0, sat(n - 1)};
    }
    if (t->kind == TE_UPDATE) return join(tensor_range(t->base), te_range_of(t->body));
    return r;
}

static te_range axis_range(const te_axis_info *x)
{
    int64_t hi = te_range_of(x->extent).hi;
    if (x->max && te_range_of(x->max).hi < hi) hi = te_range_of(x->max).hi;
    return (te_range){0, hi == INT64_MAX ? hi : hi > 0 ? hi - 1 : 0};
}

static te_range range_of(te_ref a)
{
    ll_dtype t = (ll_dtype)a->dtype;
    te_range x = a->n > 0 ? te_range_of(a->src[0]) : all,
             y = a->n > 1 ? te_range_of(a->src[1]) : all;
    switch (a->op) {
    case TE_INT: return (te_range){a->u.i, a->u.i};
    case TE_DIM: return (te_range){a->u.dim->lo, a->u.dim->hi};
    case TE_AXIS: return axis_range(a->u.axis);
    case TE_LOAD: return tensor_range(a->u.t);
    case TE_ADD: return fit(t, ext(x.lo) + ext(y.lo), ext(x.hi) + ext(y.hi));
    case TE_SUB: return fit(t, ext(x.lo) - ext(y.hi), ext(x.hi) - ext(y.lo));
    case TE_MUL: return mul_range(t, x, y);
    case TE_DIV: return div_range(t, x, y);
    case TE_MOD: return mod_range(t, x, y);
    case TE_MIN:
        if (t == LL_U64 && (x.lo < 0 || y.lo < 0)) return all;
        return (te_range){x.lo < y.lo ? x.lo : y.lo, x.hi < y.hi ? x.hi : y.hi};
    case TE_MAX:
        if (t == LL_U64 && (x.lo < 0 || y.lo < 0)) return all;
        return (te_range){x.lo > y.lo ? x.lo : y.lo, x.hi > y.hi ? x.hi : y.hi};
    case TE_NEG: return fit(t, -ext(x.hi), -ext(x.lo));
    case TE_ABS:
        if (x.lo >= 0) return x;
        if (x.hi <= 0) return fit(t, -ext(x.hi), -ext(x.lo));
        return fit(t, 0, -ext(x.lo) > ext(x.hi) ? -ext(x.lo) : ext(x.hi));
    case TE_AND: case TE_OR: case TE_XOR: return bit_range((te_op)a->op, t, x, y);
    case TE_SHL: case TE_SHR:
        if (t == LL_U64 && x.lo < 0) return all;
        return shift_range((te_op)a->op, t, x, y);
    case TE_NOT:
        if (t == LL_BOOL) return (te_range){1 - x.hi, 1 - x.lo};
        if (t == LL_U64) return all;
        if (ll_dtype_is_signed(t)) return fit(t, -1 - ext(x.hi), -1 - ext(x.lo));
        return (te_range){type_range(t).hi - x.hi, type_range(t).hi - x.lo};
    case TE_LT: case TE_LE: case TE_EQ: case TE_NE: return compare_range(a);
    case TE_SELECT:
        return x.lo == 1 ? y : x.hi == 0 ? te_range_of(a->src[2]) : join(y, te_range_of(a->src[2]));
    case TE_CAST: return te_has_facts(a->src[0]) ? fit(t, ext(x.lo), ext(x.hi)) : type_range(t);
    default: return type_range(t);
    }
}

/* ---- congruences -------------------------------------------------------------------------- */

static wide wgcd(wide a, wide b)
{
    if (a < 0) a = -a;
    if (b < 0) b = -b;
    while (b) {
        wide r = a % b;
        a = b;
        b = r;
    }
    return a;
}

static const te_cong anything = {1, 0};

/* value = rem (mod `mod`), in any representation, as a te_cong. */
static te_cong cong_make(wide mod, wide rem)
{
    if (mod < 0) mod = -mod;
    if (mod == 0)
        return rem >= INT64_MIN && rem <= INT64_MAX ? (te_cong){0, (int64_t)rem} : anything;
    if (mod > INT64_MAX) return anything;
    rem %= mod;
    return (te_cong){(int64_t)mod, (int64_t)(rem < 0 ? rem + mod : rem)};
}

static te_cong cong_join(te_cong a, te_cong b)
{
    return cong_make(wgcd(wgcd(a.mod, b.mod), (wide)a.rem - b.rem), a.rem);
}

static te_cong cong_add(te_cong a, te_cong b, int sign)
{
    return cong_make(wgcd(a.mod, b.mod), (wide)a.rem + sign * (wide)b.rem);
}

static te_cong cong_mul(te_cong a, te_cong b)
{
    const wide big = (wide)1 << 60;
    if (a.mod > big || b.mod > big || a.rem > big || b.rem > big || a.rem < -big || b.rem < -big)
        return anything;
    wide m = wgcd(wgcd((wide)a.mod * b.mod, (wide)a.mod * b.rem), (wide)b.mod * a.rem);
    return cong_make(m, (wide)a.rem * b.rem);
}

static te_cong cong_div(te_cong a, te_cong b)
{
    if (b.mod != 0 || b.rem <= 0) return anything;
    if (a.mod == 0) return (te_cong){0, ll_floordiv(a.rem, b.rem)};
    if (a.mod % b.rem != 0) return anything;
    return cong_make(a.mod / b.rem, ll_floordiv(a.rem, b.rem));
}

static te_cong cong_mod(te_cong a, te_cong b)
{
    if (b.mod != 0 || b.rem <= 0) return anything;
    if (a.mod == 0 || a.mod % b.rem == 0) return (te_cong){0, ll_floormod(a.rem, b.rem)};
    return cong_make(wgcd(a.mod, b.rem), a.rem);
}

static te_cong cong_of(te_ref a)
{
    te_cong x = a->n > 0 ? te_cong_of(a->src[0]) : anything,
            y = a->n > 1 ? te_cong_of(a->src[1]) : anything;
    switch (a->op) {
    case TE_INT: return (te_cong){0, a->u.i};
    case TE_DIM: return (te_cong){a->u.dim->multiple, 0};
    case TE_ADD: return cong_add(x, y, 1);
    case TE_SUB: return cong_add(x, y, -1);
    case TE_NEG: return cong_add((te_cong){0, 0}, x, -1);
    case TE_MUL: return cong_mul(x, y);
    case TE_DIV: return cong_div(x, y);
    case TE_MOD: return cong_mod(x, y);
    case TE_MIN: case TE_MAX: return cong_join(x, y);
    case TE_SELECT: return cong_join(y, te_cong_of(a->src[2]));
    case TE_CAST: return te_has_facts(a->src[0]) ? x : anything;
    case TE_SHL:
        if (y.mod != 0 || y.rem < 0 || y.rem > 60) return anything;
        return cong_mul(x, (te_cong){0, (int64_t)1 << y.rem});
    case TE_AND: /* with 2^k - 1 */
        if (y.mod != 0 || y.rem < 0 || y.rem == INT64_MAX || (y.rem & (y.rem + 1)) != 0)
            return anything;
        return cong_mod(x, (te_cong){0, y.rem + 1});
    default: return anything;
    }
}

void te_facts_make(te_node *a)
{
    te_facts *f = te_facts_of(a);
    ll_dtype t = (ll_dtype)a->dtype;
    f->range = range_of(a);
    f->cong = t == LL_BOOL ? anything : cong_of(a);
    if (t != LL_S64) {
        /* A type that wraps keeps a congruence only modulo its own 2^bits. */
        int bits = ll_dtype_bits(t) < 62 ? ll_dtype_bits(t) : 62;
        bool exact = a->op == TE_INT || a->op == TE_LOAD;
        if (!exact) f->cong = cong_make(wgcd(f->cong.mod, (wide)1 << bits), f->cong.rem);
        if (f->cong.mod == (int64_t)1 << bits && f->range.lo >= 0 && bits < 62)
            f->cong = (te_cong){0, f->cong.rem};
    }
    if (f->range.lo == f->range.hi) f->cong = (te_cong){0, f->range.lo};
    if (f->cong.mod == 0 && t != LL_BOOL) f->range = (te_range){f->cong.rem, f->cong.rem};
}

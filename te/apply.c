/* apply.c: what one operator does to evaluated sources, with its rounding: the single definition
 * of the numbers of te, used by literal folding, te_eval and the loop evaluator. Also rounding,
 * wrapping and dense typed memory. Refuses (returns false) what has no meaning: division by
 * zero, a shift past the width, an operator on types it is not defined for. */
#include <math.h>
#include <string.h>

#include "base/ckd.h"
#include "base/half.h"
#include "te/te.h"

double te_round_to(ll_dtype t, double v)
{
    switch (t) {
    case LL_F32: return (double)(float)v;
    case LL_F16: return (double)ll_f16_to(ll_f16_from(v));
    case LL_BF16: return (double)ll_bf16_to(ll_bf16_from(v));
    case LL_E4M3: return (double)ll_e4m3_to(ll_e4m3_from(v));
    case LL_E5M2: return (double)ll_e5m2_to(ll_e5m2_from(v));
    default: return v;
    }
}

int64_t te_wrap_to(ll_dtype t, int64_t v)
{
    int bits = ll_dtype_bits(t);
    if (bits == 64) return v;
    uint64_t u = (uint64_t)v << (64 - bits);
    return ll_dtype_is_signed(t) ? (int64_t)u >> (64 - bits) : (int64_t)(u >> (64 - bits));
}

void te_value_load(ll_dtype t, const void *mem, size_t i, te_value *out)
{
    int bits = ll_dtype_bits(t);
    const unsigned char *p = mem;
    uint64_t raw = 0;
    if (bits >= 8) {
        memcpy(&raw, p + i * (size_t)(bits / 8), (size_t)(bits / 8));
    } else {
        size_t at = i * (size_t)bits;
        raw = p[at / 8] >> at % 8;
        if ((at % 8) + (size_t)bits > 8) raw |= (uint64_t)p[at / 8 + 1] << (8 - at % 8);
        raw &= ((uint64_t)1 << bits) - 1;
    }
    float f;
    uint32_t w = (uint32_t)raw;
    switch (t) {
    case LL_F64: memcpy(&out->f, &raw, 8); break;
    case LL_F32:
        memcpy(&f, &w, 4);
        out->f = (double)f;
        break;
    case LL_F16: out->f = (double)ll_f16_to((uint16_t)raw); break;
    case LL_BF16: out->f = (double)ll_bf16_to((uint16_t)raw); break;
    case LL_E4M3: out->f = (double)ll_e4m3_to((uint8_t)raw); break;
    case LL_E5M2: out->f = (double)ll_e5m2_to((uint8_t)raw); break;
    default: out->i = te_wrap_to(t, (int64_t)raw); break;
    }
}

void te_value_store(ll_dtype t, void *mem, size_t i, te_value v)
{
    int bits = ll_dtype_bits(t);
    unsigned char *p = mem;
    uint64_t raw = 0;
    uint32_t w;
    float f;
    switch (t) {
    case LL_F64: memcpy(&raw, &v.f, 8); break;
    case LL_F32:
        f = (float)v.f;
        memcpy(&w, &f, 4);
        raw = w;
        break;
    case LL_F16: raw = ll_f16_from(v.f); break;
    case LL_BF16: raw = ll_bf16_from(v.f); break;
    case LL_E4M3: raw = ll_e4m3_from(v.f); break;
    case LL_E5M2: raw = ll_e5m2_from(v.f); break;
    default: raw = (uint64_t)v.i; break;
    }
    if (bits >= 8) {
        memcpy(p + i * (size_t)(bits / 8), &raw, (size_t)(bits / 8));
        return;
    }
    size_t at = i * (size_t)bits;
    unsigned mask = ((1u << bits) - 1) << at % 8, val = ((unsigned)raw & ((1u << bits) - 1))
                                                        << at % 8;
    p[at / 8] = (unsigned char)((p[at / 8] & ~mask) | val);
    if (mask >> 8) p[at / 8 + 1] = (unsigned char)((p[at / 8 + 1] & ~(mask >> 8)) | val >> 8);
}

/* An int64 as a double that still rounds once when rounded further: the bits that double cannot
 * hold are folded into its last bit ("round to odd"). */
static double sticky(int64_t v, bool is_unsigned)
{
    uint64_t m = !is_unsigned && v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    int drop = 0;
    while (m >> drop > (uint64_t)1 << 53) drop++;
    uint64_t low = drop ? m & (((uint64_t)1 << drop) - 1) : 0;
    double d = ldexp((double)(m >> drop | (low != 0)), drop);
    return !is_unsigned && v < 0 ? -d : d;
}

static bool cast(ll_dtype to, ll_dtype from, te_value a, te_value *out)
{
    bool uns = from == LL_U64;
    if (to == LL_BOOL) return false;
    if (ll_dtype_is_float(to)) {
        if (ll_dtype_is_float(from)) out->f = te_round_to(to, a.f);
        else if (to == LL_F64) out->f = uns ? (double)(uint64_t)a.i : (double)a.i;
        else out->f = te_round_to(to, sticky(a.i, uns));
        return true;
    }
    if (!ll_dtype_is_float(from)) {
        out->i = te_wrap_to(to, a.i);
        return true;
    }
    double v = trunc(a.f);
    int64_t lo, hi;
    ll_dtype_int_range(to, &lo, &hi);
    if (isnan(v)) out->i = 0;
    else if (v < (double)lo) out->i = lo;
    else if (to == LL_U64) out->i = v >= 0x1p64 ? -1 : (int64_t)(uint64_t)v;
    else out->i = v >= (double)hi ? hi : (int64_t)v;
    return true;
}

static bool float_op(te_op op, ll_dtype t, const te_value *s, te_value *out)
{
    double a = s[0].f, b = s[1].f, r;
    switch (op) {
    case TE_ADD: r = a + b; break;
    case TE_SUB: r = a - b; break;
    case TE_MUL: r = a * b; break;
    case TE_DIV: r = a / b; break;
    case TE_MIN: r = isnan(a) ? b : isnan(b) ? a : a < b ? a : b; break;
    case TE_MAX: r = isnan(a) ? b : isnan(b) ? a : a > b ? a : b; break;
    case TE_NEG: r = -a; break;
    case TE_ABS: r = fabs(a); break;
    case TE_SQRT: r = sqrt(a); break;
    case TE_RSQRT: r = 1 / sqrt(a); break;
    case TE_EXP: r = exp(a); break;
    case TE_EXP2: r = exp2(a); break;
    case TE_LOG: r = log(a); break;
    case TE_SIN: r = sin(a); break;
    case TE_COS: r = cos(a); break;
    case TE_TANH: r = tanh(a); break;
    case TE_ROUND: r = rint(a); break;
    case TE_FLOOR: r = floor(a); break;
    case TE_LT: out->i = a < b; return true;
    case TE_LE: out->i = a <= b; return true;
    case TE_EQ: out->i = a == b; return true;
    case TE_NE: out->i = a != b; return true;
    default: return false;
    }
    out->f = te_round_to(t, r);
    return true;
}

static bool int_op(te_op op, ll_dtype t, ll_dtype from, const te_value *s, te_value *out)
{
    int64_t a = s[0].i, b = s[1].i, r;
    uint64_t ua = (uint64_t)a, ub = (uint64_t)b;
    bool big = from == LL_U64;
    switch (op) {
    case TE_ADD: r = (int64_t)(ua + ub); break;
    case TE_SUB: r = (int64_t)(ua - ub); break;
    case TE_MUL: r = (int64_t)(ua * ub); break;
    case TE_DIV:
        if (b == 0) return false;
        r = big ? (int64_t)(ua / ub) : ll_floordiv(a, b);
        break;
    case TE_MOD:
        if (b == 0) return false;
        r = big ? (int64_t)(ua % ub) : ll_floormod(a, b);
        break;
    case TE_MIN: r = (big ? ua < ub : a < b) ? a : b; break;
    case TE_MAX: r = (big ? ua > ub : a > b) ? a : b; break;
    case TE_NEG: r = (int64_t)(0 - ua); break;
    case TE_ABS: r = !big && a < 0 ? (int64_t)(0 - ua) : a; break;
    case TE_AND: r = a & b; break;
    case TE_OR: r = a | b; break;
    case TE_XOR: r = a ^ b; break;
    case TE_SHL:
        if (ub >= (uint64_t)ll_dtype_bits(from)) return false;
        r = (int64_t)(ua << ub);
        break;
    case TE_SHR:
        if (ub >= (uint64_t)ll_dtype_bits(from)) return false;
        r = big ? (int64_t)(ua >> ub) : a >> ub;
        break;
    case TE_NOT: r = ~a; break;
    case TE_LT: r = big ? ua < ub : a < b; break;
    case TE_LE: r = big ? ua <= ub : a <= b; break;
    case TE_EQ: r = a == b; break;
    case TE_NE: r = a != b; break;
    default: return false;
    }
    out->i = te_wrap_to(t, r);
    return true;
}

bool te_apply(te_op op, ll_dtype result, ll_dtype source, const te_value *src, te_value *out)
{
    switch (op) {
    case TE_SELECT:
        *out = src[0].i ? src[1] : src[2];
        return true;
    case TE_CAST: return cast(result, source, src[0], out);
    case TE_BITS: {
        unsigned char mem[8] = {0};
        te_value_store(source, mem, 0, src[0]);
        te_value_load(result, mem, 0, out);
        return true;
    }
    default: break;
    }
    te_value two[2] = {src[0], {.i = 0}};
    bool binary = op >= TE_ADD && op <= TE_MAX;
    binary = binary || (op >= TE_AND && op <= TE_SHR) || (op >= TE_LT && op <= TE_NE);
    if (binary) two[1] = src[1];
    return ll_dtype_is_float(source) ? float_op(op, result, two, out)
                                     : int_op(op, result, source, two, out);
}

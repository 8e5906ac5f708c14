/* decode_alu.c: which handler runs an arithmetic instruction. Types and modifiers are checked
 * against what the PTX ISA has for the opcode; everything else is refused by name and position. */
#include "ptxsim/decode.h"
#include "ptxsim/num.h"
#include "ptxsim/num_int.h"

#include <string.h>

/* The handler of a family by width and signedness: {u16, s16, u32, s32, u64, s64}. */
static ptx_hid by_int(ptx_type t, const ptx_hid h[6])
{
    unsigned bits = ptx_type_bits(t);
    if (ptx_types[t].kind == 'F' || ptx_types[t].n != 1) return PTX_H_NONE;
    int w = bits == 16 ? 0 : bits == 32 ? 2 : bits == 64 ? 4 : -1;
    return w < 0 ? PTX_H_NONE : h[w + ptx_is_signed(t)];
}
#define INT6(n)                                                                                    \
    ((const ptx_hid[6]){ PTX_H_##n##_u16, PTX_H_##n##_s16, PTX_H_##n##_u32, PTX_H_##n##_s32,       \
                         PTX_H_##n##_u64, PTX_H_##n##_s64 })
#define INT3(n)                                                                                    \
    ((const ptx_hid[6]){ PTX_H_##n##_16, PTX_H_##n##_16, PTX_H_##n##_32, PTX_H_##n##_32,           \
                         PTX_H_##n##_64, PTX_H_##n##_64 })

static ptxsim_code bad_type(ptx_dec *d, ptx_type t)
{
    return ptx_dec_fail(d, d->st->pos, "%s: .%s does not fit here", d->st->op, ptx_type_name(t));
}

static ptxsim_code use(ptx_dec *d, ptx_inst *in, ptx_type t, ptx_hid h)
{
    if (h == PTX_H_NONE) return bad_type(d, t);
    in->fn = ptx_hfn(d, h);
    return PTXSIM_OK;
}

static bool is(const ptx_stmt *st, const char *op) { return !strcmp(st->op, op); }
static bool is_half(ptx_type t)
{
    return t == PTX_F16 || t == PTX_F16X2 || t == PTX_BF16 || t == PTX_BF16X2;
}
static bool is_bits(ptx_type t, unsigned bits)
{
    return ptx_types[t].kind == 'B' && ptx_type_bits(t) == bits;
}
static bool is_int(ptx_type t) { return ptx_types[t].kind == 'U' || ptx_types[t].kind == 'S'; }

static ptx_round take_round(ptx_dec *d)
{
    if (ptx_take(d, "rn")) return PTX_RN;
    if (ptx_take(d, "rz")) return PTX_RZ;
    if (ptx_take(d, "rm")) return PTX_RM;
    if (ptx_take(d, "rp")) return PTX_RP;
    return PTX_RND_NONE;
}

/* ---- f16, bf16 ---- */

static ptxsim_code dec_half(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, ptx_type t,
                            ptx_half_op op, uint32_t n_src)
{
    bool bf = t == PTX_BF16 || t == PTX_BF16X2;
    uint32_t f = 0;
    if (ptx_take(d, "ftz")) f |= 1;
    if (ptx_take(d, "sat")) f |= 2;
    if (ptx_take(d, "relu")) f |= 4;
    if (ptx_take(d, "NaN")) f |= 8;
    if (ptx_take(d, "xorsign") && ptx_take(d, "abs")) f |= 16;
    take_round(d);
    in->u0 = op;
    in->u1 = (uint32_t)t | f << 8;
    in->fn = ptx_hfn(d, PTX_H_half);
    in->cls = op == PTX_H_EX2 || op == PTX_H_TANH ? PTXSIM_C_SFU : PTXSIM_C_F16;
    if (bf && (op == PTX_H_ADD || op == PTX_H_SUB || op == PTX_H_MUL))
        PTX_RET(ptx_dec_needs_sm(d, 90));
    if (bf && op == PTX_H_FMA) PTX_RET(ptx_dec_needs_sm(d, 80));
    return ptx_dec_regs(d, st, in, t, n_src);
}

/* ---- f32, f64: the plain form where nothing asks for more ---- */

static ptxsim_code dec_float(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, ptx_type t, char op,
                             uint32_t n_src)
{
    static const struct { char op; ptx_hid f32, ftz, f64;
    } plain[] = {
        { '+', PTX_H_add_f32, PTX_H_add_ftz_f32, PTX_H_add_f64 },
        { '-', PTX_H_sub_f32, PTX_H_sub_ftz_f32, PTX_H_sub_f64 },
        { '*', PTX_H_mul_f32, PTX_H_mul_ftz_f32, PTX_H_mul_f64 },
        { 'f', PTX_H_fma_f32, PTX_H_fma_ftz_f32, PTX_H_fma_f64 },
    };
    ptx_round r = take_round(d);
    bool ftz = t == PTX_F32 && ptx_take(d, "ftz"), sat = t == PTX_F32 && ptx_take(d, "sat");
    in->cls = t == PTX_F64 ? PTXSIM_C_F64 : PTXSIM_C_F32;
    if (op == 'f' && r == PTX_RND_NONE)
        return ptx_dec_fail(d, st->pos, "%s: a rounding modifier is missing", st->text);
    if (r == PTX_RND_NONE) r = PTX_RN;
    d->x->fma = op == 'f' && t == PTX_F32;
    in->u0 = (uint32_t)op;
    in->u1 = (uint32_t)r | (uint32_t)ftz << 8 | (uint32_t)sat << 9;
    in->fn = ptx_hfn(d, t == PTX_F64 ? PTX_H_arith_f64 : PTX_H_arith_f32);
    for (size_t k = 0; k < 4; k++)
        if (plain[k].op == op && r == PTX_RN && !sat)
            in->fn = ptx_hfn(d, t == PTX_F64 ? plain[k].f64 : ftz ? plain[k].ftz : plain[k].f32);
    return ptx_dec_regs(d, st, in, t, n_src);
}

static ptxsim_code dec_approx(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, ptx_type t,
                              ptx_approx_op op, uint32_t n_src)
{
    in->cls = PTXSIM_C_SFU;
    in->u0 = op;
    if (ptx_take(d, "ftz")) in->u1 |= 1;
    if (ptx_take(d, "sat")) in->u1 |= 2;
    if (t != PTX_F32 && t != PTX_F64) return bad_type(d, t);
    in->fn = ptx_hfn(d, t == PTX_F64 ? PTX_H_approx_f64 : PTX_H_approx_f32);
    return ptx_dec_regs(d, st, in, t, n_src);
}

/* ---- add sub mul mad fma ---- */

static ptxsim_code carry(ptx_dec *d, ptx_inst *in, bool cin, bool cout)
{
    if (!ptx_dec_reg_slot(d, &d->carry, &in->u1)) return PTXSIM_NO_MEMORY;
    if (cin && !ptx_push_src(d, in->u1)) return PTXSIM_NO_MEMORY;
    in->u0 |= (uint32_t)cin << 1 | (uint32_t)cout << 2;
    return PTXSIM_OK;
}

/* add.cc, addc, sub.cc, subc: the carry register is one more destination. */
static ptxsim_code dec_carry(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    bool cin = st->op[3] == 'c', cout = ptx_take(d, "cc");
    PTX_RET(ptx_want_type(d, &t));
    if (!is_int(t) || (ptx_type_bits(t) != 32 && ptx_type_bits(t) != 64)) return bad_type(d, t);
    in->u0 = st->op[0] == 's';
    PTX_RET(ptx_want_opnds(d, 3, 3));
    PTX_RET(ptx_dst(d, &st->opnd[0], ptx_type_bits(t), &in->d));
    uint32_t slot;
    if (!ptx_dec_reg_slot(d, &d->carry, &slot) || (cout && !ptx_push_dst(d, slot)))
        return PTXSIM_NO_MEMORY;
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    PTX_RET(ptx_src(d, &st->opnd[2], t, &in->b));
    in->fn = ptx_hfn(d, ptx_type_bits(t) == 64 ? PTX_H_addc_64 : PTX_H_addc_32);
    return carry(d, in, cin, cout);
}

static ptxsim_code dec_add(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    bool sub = is(st, "sub");
    ptx_type t;
    for (uint32_t i = 0; i < st->n_mod; i++)
        if (!strcmp(st->mod[i].s, "cc")) return dec_carry(d, st, in);
    PTX_RET(ptx_want_type(d, &t));
    if (is_half(t)) return dec_half(d, st, in, t, sub ? PTX_H_SUB : PTX_H_ADD, 2);
    if (t == PTX_F32 || t == PTX_F64) return dec_float(d, st, in, t, sub ? '-' : '+', 2);
    if (t == PTX_S32 && ptx_take(d, "sat"))
        PTX_RET(use(d, in, t, sub ? PTX_H_sub_sat_s32 : PTX_H_add_sat_s32));
    else if (!sub && (t == PTX_U16X2 || t == PTX_S16X2)) PTX_RET(use(d, in, t, PTX_H_add_x2));
    else if (!is_int(t)) return bad_type(d, t);
    else PTX_RET(use(d, in, t, by_int(t, sub ? INT3(sub) : INT3(add))));
    return ptx_dec_regs(d, st, in, t, 2);
}

static ptxsim_code dec_mul(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const ptx_hid wide[6] = { PTX_H_mulwide_u16, PTX_H_mulwide_s16, PTX_H_mulwide_u32,
                                     PTX_H_mulwide_s32, PTX_H_NONE,        PTX_H_NONE };
    ptx_type t;
    bool lo = ptx_take(d, "lo"), hi = ptx_take(d, "hi"), w = ptx_take(d, "wide");
    PTX_RET(ptx_want_type(d, &t));
    if (is_half(t)) return dec_half(d, st, in, t, PTX_H_MUL, 2);
    if (t == PTX_F32 || t == PTX_F64) return dec_float(d, st, in, t, '*', 2);
    if (!is_int(t)) return bad_type(d, t);
    if (lo + hi + w != 1)
        return ptx_dec_fail(d, st->pos, "%s: one of .lo, .hi, .wide is wanted", st->text);
    PTX_RET(use(d, in, t, by_int(t, lo ? INT3(mullo) : hi ? INT6(mulhi) : wide)));
    PTX_RET(ptx_want_opnds(d, 3, 3));
    PTX_RET(ptx_dst(d, &st->opnd[0], ptx_type_bits(t) * (w ? 2 : 1), &in->d));
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    return ptx_src(d, &st->opnd[2], t, &in->b);
}

static ptxsim_code dec_mad(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const ptx_hid wide[6] = { PTX_H_madwide_u16, PTX_H_madwide_s16, PTX_H_madwide_u32,
                                     PTX_H_madwide_s32, PTX_H_NONE,        PTX_H_NONE };
    ptx_type t;
    bool lo = ptx_take(d, "lo"), hi = ptx_take(d, "hi"), w = ptx_take(d, "wide"),
         cout = ptx_take(d, "cc"), cin = is(st, "madc");
    PTX_RET(ptx_want_type(d, &t));
    if (t == PTX_F32 || t == PTX_F64) return dec_float(d, st, in, t, 'f', 3);
    if (!is_int(t)) return bad_type(d, t);
    if (lo + hi + w != 1)
        return ptx_dec_fail(d, st->pos, "%s: one of .lo, .hi, .wide is wanted", st->text);
    bool sat = hi && t == PTX_S32 && ptx_take(d, "sat"), with_carry = cin || cout;
    if (with_carry && (w || ptx_type_bits(t) == 16)) return bad_type(d, t);
    PTX_RET(use(d, in, t,
                with_carry ? ptx_type_bits(t) == 64 ? PTX_H_madc_64 : PTX_H_madc_32
                : sat      ? PTX_H_madhi_sat_s32
                           : by_int(t, lo   ? INT3(madlo)
                                       : hi ? INT6(madhi)
                                            : wide)));
    PTX_RET(ptx_want_opnds(d, 4, 4));
    unsigned bits = ptx_type_bits(t) * (w ? 2 : 1);
    PTX_RET(ptx_dst(d, &st->opnd[0], bits, &in->d));
    uint32_t slot;
    if (cout && (!ptx_dec_reg_slot(d, &d->carry, &slot) || !ptx_push_dst(d, slot)))
        return PTXSIM_NO_MEMORY;
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    PTX_RET(ptx_src(d, &st->opnd[2], t, &in->b));
    PTX_RET(ptx_src(d, &st->opnd[3],
                    bits == 64   ? PTX_U64
                    : bits == 32 ? PTX_U32
                                 : PTX_U16,
                    &in->c));
    if (!with_carry) return PTXSIM_OK;
    in->u0 = (uint32_t)hi << 3 | (uint32_t)ptx_is_signed(t) << 4;
    return carry(d, in, cin, cout);
}

static ptxsim_code dec_fma(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (is_half(t)) return dec_half(d, st, in, t, PTX_H_FMA, 3);
    if (t != PTX_F32 && t != PTX_F64) return bad_type(d, t);
    return dec_float(d, st, in, t, 'f', 3);
}

static ptxsim_code dec_div(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (t == PTX_F32 && ptx_take(d, "approx")) return dec_approx(d, st, in, t, PTX_A_DIV, 2);
    if (t == PTX_F32 && ptx_take(d, "full")) return dec_approx(d, st, in, t, PTX_A_DIV_FULL, 2);
    if (t == PTX_F32 || t == PTX_F64) return dec_float(d, st, in, t, '/', 2);
    if (!is_int(t)) return bad_type(d, t);
    PTX_RET(use(d, in, t, by_int(t, is(st, "rem") ? INT6(rem) : INT6(div))));
    return ptx_dec_regs(d, st, in, t, 2);
}

static ptxsim_code dec_rem(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (!is_int(t)) return bad_type(d, t);
    PTX_RET(use(d, in, t, by_int(t, INT6(rem))));
    return ptx_dec_regs(d, st, in, t, 2);
}

static ptxsim_code dec_minmax(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    bool max = is(st, "max");
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (is_half(t)) return dec_half(d, st, in, t, max ? PTX_H_MAX : PTX_H_MIN, 2);
    if (t == PTX_F64) {
        in->cls = PTXSIM_C_F64;
        PTX_RET(use(d, in, t, max ? PTX_H_max_f64 : PTX_H_min_f64));
    } else if (t == PTX_F32) {
        bool ftz = ptx_take(d, "ftz"), nan = ptx_take(d, "NaN"), x = ptx_take(d, "xorsign");
        if (x && !ptx_take(d, "abs"))
            return ptx_dec_fail(d, st->pos, "%s: .xorsign needs .abs", st->text);
        in->cls = PTXSIM_C_F32;
        in->u0 = (uint32_t)max | (uint32_t)nan << 1 | (uint32_t)x << 2 | (uint32_t)ftz << 3;
        bool three = st->n_opnd == 4;
        if (three) {
            PTX_RET(ptx_dec_needs_sm(d, 100));
            in->u0 |= 16;
        }
        in->fn = ptx_hfn(d, in->u0 & ~1u ? PTX_H_minmax_f32 : max ? PTX_H_max_f32 : PTX_H_min_f32);
        return ptx_dec_regs(d, st, in, t, three ? 3 : 2);
    } else if (t == PTX_U16X2 || t == PTX_S16X2) {
        in->u0 =
            (uint32_t)max | (uint32_t)(t == PTX_S16X2) << 1 | (uint32_t)ptx_take(d, "relu") << 2;
        in->fn = ptx_hfn(d, PTX_H_minmax_x2);
    } else if (t == PTX_S32 && ptx_take(d, "relu")) {
        PTX_RET(use(d, in, t, max ? PTX_H_relu_max_s32 : PTX_H_relu_min_s32));
    } else {
        if (!is_int(t)) return bad_type(d, t);
        PTX_RET(use(d, in, t, by_int(t, max ? INT6(max) : INT6(min))));
    }
    return ptx_dec_regs(d, st, in, t, 2);
}

static ptxsim_code dec_absneg(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    bool neg = is(st, "neg");
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (is_half(t)) return dec_half(d, st, in, t, neg ? PTX_H_NEG : PTX_H_ABS, 1);
    if (t == PTX_F32) {
        in->u0 = ptx_take(d, "ftz");
        in->cls = PTXSIM_C_F32;
        PTX_RET(use(d, in, t, neg ? PTX_H_neg_f32 : PTX_H_abs_f32));
    } else if (t == PTX_F64) {
        in->cls = PTXSIM_C_F64;
        PTX_RET(use(d, in, t, neg ? PTX_H_neg_f64 : PTX_H_abs_f64));
    } else {
        if (!ptx_is_signed(t)) return bad_type(d, t);
        PTX_RET(use(d, in, t, by_int(t, neg ? INT3(neg) : INT3(abs))));
    }
    return ptx_dec_regs(d, st, in, t, 1);
}

/* ---- functions ---- */

static ptxsim_code dec_root(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    bool sqrt = is(st, "sqrt");
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (ptx_take(d, "approx")) return dec_approx(d, st, in, t, sqrt ? PTX_A_SQRT : PTX_A_RCP, 1);
    if (t != PTX_F32 && t != PTX_F64) return bad_type(d, t);
    if (sqrt) return dec_float(d, st, in, t, 'q', 1);
    /* rcp.rn: 1 / x, rounded once. */
    ptx_round r = take_round(d);
    bool ftz = t == PTX_F32 && ptx_take(d, "ftz");
    if (r == PTX_RND_NONE)
        return ptx_dec_fail(d, st->pos, "%s: a rounding modifier or .approx is missing", st->text);
    in->u0 = '/';
    in->u1 = (uint32_t)r | (uint32_t)ftz << 8;
    in->cls = t == PTX_F64 ? PTXSIM_C_F64 : PTXSIM_C_SFU;
    in->fn = ptx_hfn(d, t == PTX_F64 ? PTX_H_arith_f64 : PTX_H_arith_f32);
    PTX_RET(ptx_want_opnds(d, 2, 2));
    PTX_RET(ptx_dst(d, &st->opnd[0], ptx_type_bits(t), &in->d));
    in->a = ptx_const_slot(d, t == PTX_F64 ? 0x3ff0000000000000ull : 0x3f800000u, ptx_type_bits(t));
    return ptx_src(d, &st->opnd[1], t, &in->b);
}

static ptxsim_code dec_function(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const struct { const char *name; ptx_approx_op op;
    } ops[] = {
        { "ex2", PTX_A_EX2 }, { "lg2", PTX_A_LG2 }, { "rsqrt", PTX_A_RSQRT },
        { "sin", PTX_A_SIN }, { "cos", PTX_A_COS }, { "tanh", PTX_A_TANH },
    };
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (!ptx_take(d, "approx")) return ptx_dec_fail(d, st->pos, "%s: .approx is missing", st->text);
    if (is_half(t)) {
        if (!is(st, "ex2") && !is(st, "tanh")) return bad_type(d, t);
        if (t == PTX_BF16 || t == PTX_BF16X2) PTX_RET(ptx_dec_needs_sm(d, 90));
        return dec_half(d, st, in, t, is(st, "ex2") ? PTX_H_EX2 : PTX_H_TANH, 1);
    }
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        if (is(st, ops[k].name)) {
            if (t != PTX_F32 && !(t == PTX_F64 && ops[k].op == PTX_A_RSQRT)) return bad_type(d, t);
            return dec_approx(d, st, in, t, ops[k].op, 1);
        }
    return ptx_dec_fail(d, st->pos, "unknown instruction '%s'", st->op);
}

static ptxsim_code dec_copysign(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    PTX_RET(use(d, in, t,
                t == PTX_F32   ? PTX_H_copysign_f32
                : t == PTX_F64 ? PTX_H_copysign_f64
                               : PTX_H_NONE));
    return ptx_dec_regs(d, st, in, t, 2);
}

static ptxsim_code dec_testp(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const char *const ops[] = { "finite",     "infinite", "number",
                                       "notanumber", "normal",   "subnormal" };
    ptx_type t;
    in->u0 = UINT32_MAX;
    for (uint32_t k = 0; k < 6; k++)
        if (ptx_take(d, ops[k])) in->u0 = k;
    PTX_RET(ptx_want_type(d, &t));
    if (in->u0 > 5) return ptx_dec_fail(d, st->pos, "%s: the property is missing", st->text);
    PTX_RET(use(d, in, t,
                t == PTX_F32   ? PTX_H_testp_f32
                : t == PTX_F64 ? PTX_H_testp_f64
                               : PTX_H_NONE));
    PTX_RET(ptx_want_opnds(d, 2, 2));
    PTX_RET(ptx_dst_pred(d, &st->opnd[0], &in->d));
    return ptx_src(d, &st->opnd[1], t, &in->a);
}

/* ---- bits ---- */

static ptxsim_code dec_logic(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    char op = st->op[0];
    uint32_t n_src = op == 'n' ? 1 : 2;
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (t == PTX_PRED) {
        bool na = false, nb = false;
        PTX_RET(ptx_want_opnds(d, 1 + n_src, 1 + n_src));
        PTX_RET(ptx_dst_pred(d, &st->opnd[0], &in->d));
        PTX_RET(ptx_src_pred(d, &st->opnd[1], &in->a, &na));
        if (n_src == 2) PTX_RET(ptx_src_pred(d, &st->opnd[2], &in->b, &nb));
        in->u0 = na ? PTX_FULL : 0;
        in->u1 = nb ? PTX_FULL : 0;
        if (op == 'a' || op == 'o') in->flags |= PTX_V_DECIDE_PRED;
        in->imm = op == 'o';
        return use(d, in, t,
                   op == 'a'   ? PTX_H_and_pred
                   : op == 'o' ? PTX_H_or_pred
                   : op == 'x' ? PTX_H_xor_pred
                               : PTX_H_not_pred);
    }
    unsigned bits = ptx_type_bits(t);
    if (!is_bits(t, 16) && !is_bits(t, 32) && !is_bits(t, 64)) return bad_type(d, t);
    bool w = bits == 64;
    in->flags |= op == 'a' || op == 'o' ? PTX_V_DECIDE : PTX_V_BITS;
    in->imm = op == 'o';
    in->u0 = bits / 8;
    if (op == 'n')
        PTX_RET(use(d, in, t, bits == 16 ? PTX_H_not_16 : w ? PTX_H_not_64 : PTX_H_not_32));
    else
        PTX_RET(use(d, in, t,
                    op == 'a'   ? w ? PTX_H_and_64 : PTX_H_and_32
                    : op == 'o' ? w ? PTX_H_or_64 : PTX_H_or_32
                    : w         ? PTX_H_xor_64
                                : PTX_H_xor_32));
    return ptx_dec_regs(d, st, in, t, n_src);
}

static ptxsim_code dec_cnot(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (!is_bits(t, 16) && !is_bits(t, 32) && !is_bits(t, 64)) return bad_type(d, t);
    PTX_RET(use(d, in, t, by_int(t, INT3(cnot))));
    return ptx_dec_regs(d, st, in, t, 1);
}

static ptxsim_code dec_shift(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (ptx_is_float(t) || t == PTX_PRED) return bad_type(d, t);
    PTX_RET(use(d, in, t, by_int(t, is(st, "shl") ? INT3(shl) : INT6(shr))));
    in->flags |= PTX_V_SHIFT;
    in->imm = (is(st, "shl") ? 1 : 0) | (int64_t)(ptx_type_bits(t) / 8) << 8;
    PTX_RET(ptx_want_opnds(d, 3, 3));
    PTX_RET(ptx_dst(d, &st->opnd[0], ptx_type_bits(t), &in->d));
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    return ptx_src(d, &st->opnd[2], PTX_U32, &in->b);
}

static ptxsim_code dec_shf(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    bool l = ptx_take(d, "l"), wrap = ptx_take(d, "wrap");
    if (!l && !ptx_take(d, "r")) return ptx_dec_fail(d, st->pos, "shf: .l or .r is wanted");
    if (!wrap && !ptx_take(d, "clamp"))
        return ptx_dec_fail(d, st->pos, "shf: .wrap or .clamp is wanted");
    if (!ptx_take(d, "b32")) return ptx_dec_fail(d, st->pos, "shf: .b32 is wanted");
    in->fn = ptx_hfn(d, l      ? wrap ? PTX_H_shf_l_wrap : PTX_H_shf_l_clamp
                        : wrap ? PTX_H_shf_r_wrap
                               : PTX_H_shf_r_clamp);
    return ptx_dec_regs(d, st, in, PTX_B32, 3);
}

static ptxsim_code dec_bfe(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    PTX_RET(use(d, in, t,
                t == PTX_U32   ? PTX_H_bfe_u32
                : t == PTX_S32 ? PTX_H_bfe_s32
                : t == PTX_U64 ? PTX_H_bfe_u64
                : t == PTX_S64 ? PTX_H_bfe_s64
                               : PTX_H_NONE));
    PTX_RET(ptx_want_opnds(d, 4, 4));
    PTX_RET(ptx_dst(d, &st->opnd[0], ptx_type_bits(t), &in->d));
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    PTX_RET(ptx_src(d, &st->opnd[2], PTX_U32, &in->b));
    return ptx_src(d, &st->opnd[3], PTX_U32, &in->c);
}

static ptxsim_code dec_bfi(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    PTX_RET(use(d, in, t,
                is_bits(t, 32)   ? PTX_H_bfi_32
                : is_bits(t, 64) ? PTX_H_bfi_64
                                 : PTX_H_NONE));
    PTX_RET(ptx_want_opnds(d, 5, 5));
    PTX_RET(ptx_dst(d, &st->opnd[0], ptx_type_bits(t), &in->d));
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    PTX_RET(ptx_src(d, &st->opnd[2], t, &in->b));
    PTX_RET(ptx_src(d, &st->opnd[3], PTX_U32, &in->c));
    return ptx_src(d, &st->opnd[4], PTX_U32, &in->u0);
}

/* bfind brev clz popc: the result has 32 bits but for brev. */
static ptxsim_code dec_count(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    bool bfind = is(st, "bfind"), brev = is(st, "brev");
    PTX_RET(ptx_want_type(d, &t));
    unsigned bits = ptx_type_bits(t);
    bool w = bits == 64;
    if ((bits != 32 && !w) || (bfind ? !is_int(t) : ptx_types[t].kind != 'B'))
        return bad_type(d, t);
    if (bfind) in->u0 = (uint32_t)ptx_is_signed(t) | (uint32_t)ptx_take(d, "shiftamt") << 1;
    ptx_hid h = bfind           ? w ? PTX_H_bfind_64 : PTX_H_bfind_32
                : brev          ? w ? PTX_H_brev_64 : PTX_H_brev_32
                : is(st, "clz") ? w ? PTX_H_clz_64 : PTX_H_clz_32
                : w             ? PTX_H_popc_64
                                : PTX_H_popc_32;
    in->fn = ptx_hfn(d, h);
    PTX_RET(ptx_want_opnds(d, 2, 2));
    PTX_RET(ptx_dst(d, &st->opnd[0], brev ? bits : 32, &in->d));
    return ptx_src(d, &st->opnd[1], t, &in->a);
}

static ptxsim_code dec_prmt(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const struct { const char *name; ptx_prmt_mode mode;
    } modes[] = {
        { "f4e", PTX_PRMT_F4E }, { "b4e", PTX_PRMT_B4E }, { "rc8", PTX_PRMT_RC8 },
        { "ecl", PTX_PRMT_ECL }, { "ecr", PTX_PRMT_ECR }, { "rc16", PTX_PRMT_RC16 },
    };
    if (!ptx_take(d, "b32")) return ptx_dec_fail(d, st->pos, "prmt: .b32 is wanted");
    in->fn = ptx_hfn(d, PTX_H_prmt);
    in->flags |= PTX_V_PRMT;
    for (size_t k = 0; k < sizeof modes / sizeof *modes; k++)
        if (ptx_take(d, modes[k].name)) {
            in->fn = ptx_hfn(d, PTX_H_prmt_mode);
            in->u0 = modes[k].mode;
            in->flags &= (uint8_t)~PTX_V_MASK_;
        }
    return ptx_dec_regs(d, st, in, PTX_B32, 3);
}

static ptxsim_code dec_lop3(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    int64_t lut;
    if (!ptx_take(d, "b32")) return ptx_dec_fail(d, st->pos, "lop3: .b32 is wanted");
    PTX_RET(ptx_want_opnds(d, 5, 5));
    PTX_RET(ptx_const_int(d, &st->opnd[4], &lut));
    if (lut < 0 || lut > 255)
        return ptx_dec_fail(d, st->opnd[4].pos, "lop3: the table is a number from 0 to 255");
    in->u0 = (uint32_t)lut;
    in->flags |= PTX_V_BITS;
    in->fn = ptx_hfn(d, PTX_H_lop3);
    PTX_RET(ptx_dst(d, &st->opnd[0], 32, &in->d));
    PTX_RET(ptx_src(d, &st->opnd[1], PTX_B32, &in->a));
    PTX_RET(ptx_src(d, &st->opnd[2], PTX_B32, &in->b));
    return ptx_src(d, &st->opnd[3], PTX_B32, &in->c);
}

static ptxsim_code dec_fields(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    if (is(st, "fns")) {
        if (!ptx_take(d, "b32")) return ptx_dec_fail(d, st->pos, "fns: .b32 is wanted");
        in->fn = ptx_hfn(d, PTX_H_fns);
        return ptx_dec_regs(d, st, in, PTX_B32, 3);
    }
    bool clamp = ptx_take(d, "clamp");
    if (!clamp && !ptx_take(d, "wrap"))
        return ptx_dec_fail(d, st->pos, "%s: .clamp or .wrap is wanted", st->op);
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (ptx_type_bits(t) != 32 || ptx_is_float(t)) return bad_type(d, t);
    in->u0 = (uint32_t)ptx_is_signed(t) | (uint32_t)clamp << 1;
    in->fn = ptx_hfn(d, is(st, "szext") ? PTX_H_szext : PTX_H_bmsk);
    return ptx_dec_regs(d, st, in, t, 2);
}

static ptxsim_code dec_sad(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    PTX_RET(ptx_want_type(d, &t));
    if (!is_int(t)) return bad_type(d, t);
    PTX_RET(use(d, in, t, by_int(t, INT6(sad))));
    return ptx_dec_regs(d, st, in, t, 3);
}

static ptxsim_code dec_dot(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    bool two = is(st, "dp2a");
    ptx_type ta, tb;
    if (two && ptx_take(d, "hi")) in->u0 |= 4;
    else if (two && !ptx_take(d, "lo"))
        return ptx_dec_fail(d, st->pos, "dp2a: .lo or .hi is wanted");
    PTX_RET(ptx_want_type(d, &ta));
    PTX_RET(ptx_want_type(d, &tb));
    if ((ta != PTX_U32 && ta != PTX_S32) || (tb != PTX_U32 && tb != PTX_S32))
        return bad_type(d, ta);
    in->u0 |= (uint32_t)(ta == PTX_S32) | (uint32_t)(tb == PTX_S32) << 1;
    in->fn = ptx_hfn(d, two ? PTX_H_dp2a : PTX_H_dp4a);
    return ptx_dec_regs(d, st, in, PTX_B32, 3);
}

static ptxsim_code dec_24(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    bool mad = is(st, "mad24");
    ptx_type t;
    if (ptx_take(d, "hi")) in->u0 |= 4;
    else if (!ptx_take(d, "lo"))
        return ptx_dec_fail(d, st->pos, "%s: .lo or .hi is wanted", st->op);
    PTX_RET(ptx_want_type(d, &t));
    if (t != PTX_U32 && t != PTX_S32) return bad_type(d, t);
    in->u0 |= t == PTX_S32;
    in->fn = ptx_hfn(d, mad ? PTX_H_mad24 : PTX_H_mul24);
    return ptx_dec_regs(d, st, in, t, mad ? 3 : 2);
}

/* vadd2 vsub2 vavrg2 vabsdiff2 vmin2 vmax2 and the 4 forms, without lane selection. */
static ptxsim_code dec_simd(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const struct { const char *name; ptx_simd_op op;
    } ops[] = {
        { "vadd", PTX_SIMD_ADD },         { "vsub", PTX_SIMD_SUB }, { "vavrg", PTX_SIMD_AVRG },
        { "vabsdiff", PTX_SIMD_ABSDIFF }, { "vmin", PTX_SIMD_MIN }, { "vmax", PTX_SIMD_MAX },
    };
    size_t n = strlen(st->op) - 1;
    ptx_type td, ta, tb;
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        if (strlen(ops[k].name) == n && !memcmp(ops[k].name, st->op, n)) in->u0 = ops[k].op;
    bool sat = ptx_take(d, "sat"), add = ptx_take(d, "add");
    PTX_RET(ptx_want_type(d, &td));
    PTX_RET(ptx_want_type(d, &ta));
    PTX_RET(ptx_want_type(d, &tb));
    if (ptx_type_bits(td) != 32 || !is_int(td)) return bad_type(d, td);
    in->u0 |= (st->op[n] == '4' ? 1u : 2u) << 8 | (uint32_t)ptx_is_signed(ta) << 16 |
              (uint32_t)ptx_is_signed(tb) << 17 | (uint32_t)ptx_is_signed(td) << 18 |
              (uint32_t)sat << 19 | (uint32_t)add << 20;
    in->fn = ptx_hfn(d, PTX_H_simd);
    return ptx_dec_regs(d, st, in, PTX_B32, 3);
}

const ptx_op ptx_ops_alu[] = {
    { "add", dec_add, PTXSIM_C_INT },
    { "sub", dec_add, PTXSIM_C_INT },
    { "addc", dec_carry, PTXSIM_C_INT },
    { "subc", dec_carry, PTXSIM_C_INT },
    { "mul", dec_mul, PTXSIM_C_INT },
    { "mad", dec_mad, PTXSIM_C_INT },
    { "madc", dec_mad, PTXSIM_C_INT },
    { "fma", dec_fma, PTXSIM_C_F32 },
    { "div", dec_div, PTXSIM_C_INT },
    { "rem", dec_rem, PTXSIM_C_INT },
    { "min", dec_minmax, PTXSIM_C_INT },
    { "max", dec_minmax, PTXSIM_C_INT },
    { "abs", dec_absneg, PTXSIM_C_INT },
    { "neg", dec_absneg, PTXSIM_C_INT },
    { "sqrt", dec_root, PTXSIM_C_SFU },
    { "rcp", dec_root, PTXSIM_C_SFU },
    { "rsqrt", dec_function, PTXSIM_C_SFU },
    { "ex2", dec_function, PTXSIM_C_SFU },
    { "lg2", dec_function, PTXSIM_C_SFU },
    { "sin", dec_function, PTXSIM_C_SFU },
    { "cos", dec_function, PTXSIM_C_SFU },
    { "tanh", dec_function, PTXSIM_C_SFU },
    { "copysign", dec_copysign, PTXSIM_C_F32 },
    { "testp", dec_testp, PTXSIM_C_COMPARE },
    { "and", dec_logic, PTXSIM_C_INT },
    { "or", dec_logic, PTXSIM_C_INT },
    { "xor", dec_logic, PTXSIM_C_INT },
    { "not", dec_logic, PTXSIM_C_INT },
    { "cnot", dec_cnot, PTXSIM_C_INT },
    { "shl", dec_shift, PTXSIM_C_INT },
    { "shr", dec_shift, PTXSIM_C_INT },
    { "shf", dec_shf, PTXSIM_C_INT },
    { "bfe", dec_bfe, PTXSIM_C_INT },
    { "bfi", dec_bfi, PTXSIM_C_INT },
    { "bfind", dec_count, PTXSIM_C_INT },
    { "brev", dec_count, PTXSIM_C_INT },
    { "clz", dec_count, PTXSIM_C_INT },
    { "popc", dec_count, PTXSIM_C_INT },
    { "prmt", dec_prmt, PTXSIM_C_INT },
    { "lop3", dec_lop3, PTXSIM_C_INT },
    { "fns", dec_fields, PTXSIM_C_INT },
    { "szext", dec_fields, PTXSIM_C_INT },
    { "bmsk", dec_fields, PTXSIM_C_INT },
    { "sad", dec_sad, PTXSIM_C_INT },
    { "dp4a", dec_dot, PTXSIM_C_INT },
    { "dp2a", dec_dot, PTXSIM_C_INT },
    { "mul24", dec_24, PTXSIM_C_INT },
    { "mad24", dec_24, PTXSIM_C_INT },
    { "vadd2", dec_simd, PTXSIM_C_INT },
    { "vsub2", dec_simd, PTXSIM_C_INT },
    { "vavrg2", dec_simd, PTXSIM_C_INT },
    { "vabsdiff2", dec_simd, PTXSIM_C_INT },
    { "vmin2", dec_simd, PTXSIM_C_INT },
    { "vmax2", dec_simd, PTXSIM_C_INT },
    { "vadd4", dec_simd, PTXSIM_C_INT },
    { "vsub4", dec_simd, PTXSIM_C_INT },
    { "vavrg4", dec_simd, PTXSIM_C_INT },
    { "vabsdiff4", dec_simd, PTXSIM_C_INT },
    { "vmin4", dec_simd, PTXSIM_C_INT },
    { "vmax4", dec_simd, PTXSIM_C_INT },
    { NULL, NULL, 0 },
};

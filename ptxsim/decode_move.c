/* decode_move.c: comparisons, selection, moves, conversions, address conversions. */
#include "ptxsim/decode.h"
#include "ptxsim/num.h"

#include <string.h>

static ptxsim_code bad_type(ptx_dec *d, ptx_type t)
{
    return ptx_dec_fail(d, d->st->pos, "%s: .%s does not fit here", d->st->op, ptx_type_name(t));
}
static bool is_half(ptx_type t)
{
    return t == PTX_F16 || t == PTX_F16X2 || t == PTX_BF16 || t == PTX_BF16X2;
}

/* ---- setp, set ---- */

static const char *const cmp_names[] = {
    [PTX_EQ] = "eq",   [PTX_NE] = "ne",   [PTX_LT] = "lt",   [PTX_LE] = "le",   [PTX_GT] = "gt",
    [PTX_GE] = "ge",   [PTX_LO] = "lo",   [PTX_LS] = "ls",   [PTX_HI] = "hi",   [PTX_HS] = "hs",
    [PTX_EQU] = "equ", [PTX_NEU] = "neu", [PTX_LTU] = "ltu", [PTX_LEU] = "leu", [PTX_GTU] = "gtu",
    [PTX_GEU] = "geu", [PTX_NUM] = "num", [PTX_NAN] = "nan",
};

static ptxsim_code take_cmp(ptx_dec *d, ptx_cmp *out)
{
    for (int k = PTX_EQ; k <= PTX_NAN; k++)
        if (ptx_take(d, cmp_names[k])) {
            *out = (ptx_cmp)k;
            return PTXSIM_OK;
        }
    return ptx_dec_fail(d, d->st->pos, "%s: the comparison is missing", d->st->text);
}

static ptxsim_code check_cmp(ptx_dec *d, ptx_cmp op, ptx_type t)
{
    bool ok;
    if (ptx_is_float(t)) ok = op <= PTX_GE || op >= PTX_EQU;
    else if (ptx_is_signed(t)) ok = op <= PTX_GE;
    else if (ptx_is_unsigned(t)) ok = op <= PTX_HS;
    else ok = op == PTX_EQ || op == PTX_NE;
    if (t == PTX_PRED || (ptx_types[t].n > 1 && !is_half(t)) || ptx_type_bits(t) < 16)
        return bad_type(d, t);
    return ok ? PTXSIM_OK
              : ptx_dec_fail(d, d->st->pos, "%s: .%s does not compare .%s", d->st->op,
                             cmp_names[op], ptx_type_name(t));
}

static void take_bool(ptx_dec *d, ptx_inst *in)
{
    if (ptx_take(d, "and")) in->u0 |= 1;
    else if (ptx_take(d, "or")) in->u0 |= 2;
    else if (ptx_take(d, "xor")) in->u0 |= 3;
}

static ptx_hid setp_handler(ptx_cmp op, ptx_type t)
{
    static const ptx_hid eq[2][2] = { { PTX_H_setp_eq_32, PTX_H_setp_ne_32 },
                                      { PTX_H_setp_eq_64, PTX_H_setp_ne_64 } };
    static const ptx_hid order[2][2][4] = {
        { { PTX_H_setp_lt_u32, PTX_H_setp_le_u32, PTX_H_setp_gt_u32, PTX_H_setp_ge_u32 },
          { PTX_H_setp_lt_s32, PTX_H_setp_le_s32, PTX_H_setp_gt_s32, PTX_H_setp_ge_s32 } },
        { { PTX_H_setp_lt_u64, PTX_H_setp_le_u64, PTX_H_setp_gt_u64, PTX_H_setp_ge_u64 },
          { PTX_H_setp_lt_s64, PTX_H_setp_le_s64, PTX_H_setp_gt_s64, PTX_H_setp_ge_s64 } },
    };
    unsigned bits = ptx_type_bits(t);
    if (t == PTX_F32) return PTX_H_setp_f32;
    if (ptx_is_float(t)) return PTX_H_setp_any;
    if (op == PTX_EQ || op == PTX_NE) return eq[bits == 64][op == PTX_NE];
    if (bits == 16)
        return ptx_is_signed(t) ? PTX_H_setp_any
                                : order[0][0][(op >= PTX_LO ? op - PTX_LO : op - PTX_LT)];
    return order[bits == 64][ptx_is_signed(t)][op >= PTX_LO ? op - PTX_LO : op - PTX_LT];
}

static ptxsim_code compare_operands(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, ptx_type t)
{
    uint32_t want = in->u0 & 3 ? 4 : 3;
    bool neg = false;
    PTX_RET(ptx_want_opnds(d, want, want));
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    PTX_RET(ptx_src(d, &st->opnd[2], t, &in->b));
    if (want == 4) PTX_RET(ptx_src_pred(d, &st->opnd[3], &in->c, &neg));
    in->u1 |= neg;
    return PTXSIM_OK;
}

static ptxsim_code dec_setp(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_cmp op = PTX_EQ;
    ptx_type t;
    PTX_RET(take_cmp(d, &op));
    take_bool(d, in);
    PTX_RET(ptx_want_type(d, &t));
    PTX_RET(check_cmp(d, op, t));
    bool ftz = (t == PTX_F32 || t == PTX_F16 || t == PTX_F16X2) && ptx_take(d, "ftz");
    in->u0 |= (uint32_t)op << 8 | (uint32_t)ftz << 16 | (uint32_t)t << 17;
    if ((in->u0 & 3) == 1 || (in->u0 & 3) == 2) in->flags |= PTX_V_COMPARE;
    in->fn = ptx_hfn(d, setp_handler(op, t));
    if (!st->n_opnd) return ptx_want_opnds(d, 3, 4);
    const ptx_opnd *p = &st->opnd[0];
    if (p->kind == PTX_O_PAIR) {
        uint32_t q;
        PTX_RET(ptx_dst_pred(d, &p->sub[0], &in->d));
        PTX_RET(ptx_dst_pred(d, &p->sub[1], &q));
        in->imm = q;
    } else {
        PTX_RET(ptx_dst_pred(d, p, &in->d));
    }
    return compare_operands(d, st, in, t);
}

static ptxsim_code dec_set(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_cmp op = PTX_EQ;
    ptx_type dt, t;
    PTX_RET(take_cmp(d, &op));
    take_bool(d, in);
    bool ftz = ptx_take(d, "ftz");
    PTX_RET(ptx_want_type(d, &dt));
    PTX_RET(ptx_want_type(d, &t));
    PTX_RET(check_cmp(d, op, t));
    if (ptx_type_bits(dt) > 32 || dt == PTX_PRED) return bad_type(d, dt);
    in->u0 |= (uint32_t)op << 8 | (uint32_t)ftz << 16 | (uint32_t)t << 17;
    in->u1 = (uint32_t)dt << 8;
    in->fn = ptx_hfn(d, PTX_H_set_any);
    if (!st->n_opnd) return ptx_want_opnds(d, 3, 4);
    PTX_RET(ptx_dst(d, &st->opnd[0], ptx_type_bits(dt), &in->d));
    return compare_operands(d, st, in, t);
}

static ptxsim_code dec_selp(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    bool neg;
    PTX_RET(ptx_want_type(d, &t));
    unsigned bits = ptx_type_bits(t);
    if (t == PTX_PRED || (bits != 16 && bits != 32 && bits != 64)) return bad_type(d, t);
    PTX_RET(ptx_want_opnds(d, 4, 4));
    PTX_RET(ptx_dst(d, &st->opnd[0], bits, &in->d));
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    PTX_RET(ptx_src(d, &st->opnd[2], t, &in->b));
    PTX_RET(ptx_src_pred(d, &st->opnd[3], &in->c, &neg));
    in->u0 = neg ? PTX_FULL : 0;
    in->flags |= PTX_V_SELECT;
    in->fn = ptx_hfn(d, bits == 64 ? PTX_H_selp_64 : PTX_H_selp_32);
    return PTXSIM_OK;
}

static ptxsim_code dec_slct(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t, ct;
    in->u1 = ptx_take(d, "ftz");
    PTX_RET(ptx_want_type(d, &t));
    PTX_RET(ptx_want_type(d, &ct));
    if (ct != PTX_S32 && ct != PTX_F32) return bad_type(d, ct);
    in->u0 = ct == PTX_F32;
    PTX_RET(ptx_want_opnds(d, 4, 4));
    PTX_RET(ptx_dst(d, &st->opnd[0], ptx_type_bits(t), &in->d));
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    PTX_RET(ptx_src(d, &st->opnd[2], t, &in->b));
    PTX_RET(ptx_src(d, &st->opnd[3], ct, &in->c));
    in->fn = ptx_hfn(d, ptx_type_bits(t) == 64 ? PTX_H_slct_64 : PTX_H_slct_32);
    return PTXSIM_OK;
}

/* ---- mov ---- */

static ptxsim_code dec_pack(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, unsigned bits)
{
    const ptx_opnd *v = &st->opnd[1];
    uint32_t slot, part = v->n_sub ? bits / v->n_sub : 0;
    ptx_type t = part == 64 ? PTX_B64 : part == 32 ? PTX_B32 : part == 16 ? PTX_B16 : PTX_B8;
    if ((v->n_sub != 2 && v->n_sub != 4 && v->n_sub != 8) || part < 8)
        return ptx_dec_fail(d, v->pos, "mov: %u parts do not make .b%u", v->n_sub, bits);
    PTX_RET(ptx_dst(d, &st->opnd[0], bits, &in->d));
    for (uint32_t k = 0; k < v->n_sub; k++) {
        PTX_RET(ptx_src(d, &v->sub[k], t, &slot));
        if (k == 0) in->a = slot;
        if (k == 1) in->b = slot;
    }
    in->u0 = part;
    in->u1 = bits;
    in->flags |= PTX_V_PACK;
    in->fn = ptx_hfn(d, part == 16 && bits == 32   ? PTX_H_pack_16
                        : part == 32 && bits == 64 ? PTX_H_pack_32
                                                   : PTX_H_pack);
    return PTXSIM_OK;
}

static ptxsim_code dec_unpack(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, ptx_type t)
{
    const ptx_opnd *v = &st->opnd[0];
    unsigned bits = ptx_type_bits(t);
    uint32_t slot, part = v->n_sub ? bits / v->n_sub : 0;
    if ((v->n_sub != 2 && v->n_sub != 4 && v->n_sub != 8) || part < 8)
        return ptx_dec_fail(d, v->pos, "mov: .b%u has no %u parts", bits, v->n_sub);
    for (uint32_t k = 0; k < v->n_sub; k++) {
        PTX_RET(ptx_dst(d, &v->sub[k], part, &slot));
        if (k == 0) in->d = slot;
        if (k == 1) in->u0 = slot;
    }
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    in->u1 = bits;
    in->imm = part;
    in->flags |= PTX_V_UNPACK;
    if (part == 16 && bits == 32) in->fn = ptx_hfn(d, PTX_H_unpack_16);
    else if (part == 32 && bits == 64) in->fn = ptx_hfn(d, PTX_H_unpack_32);
    else in->fn = ptx_hfn(d, PTX_H_unpack), in->u0 = part;
    return PTXSIM_OK;
}

static ptxsim_code dec_clock(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, ptx_type t)
{
    const char *n = st->opnd[1].name;
    bool hi = !strcmp(n, "%clock_hi") || !strcmp(n, "%globaltimer_hi");
    bool w = !strcmp(n, "%clock64") || !strcmp(n, "%globaltimer");
    if (ptx_type_bits(t) != (w ? 64u : 32u)) return bad_type(d, t);
    in->u0 = w;
    in->u1 = hi ? 32 : 0;
    in->fn = ptx_hfn(d, PTX_H_clock);
    return ptx_dst(d, &st->opnd[0], ptx_type_bits(t), &in->d);
}

static bool is_clock(const ptx_opnd *o)
{
    return o->kind == PTX_O_SPECIAL &&
           (!strncmp(o->name, "%clock", 6) || !strncmp(o->name, "%globaltimer", 12));
}

static ptxsim_code dec_mov(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t;
    bool neg;
    PTX_RET(ptx_want_type(d, &t));
    PTX_RET(ptx_want_opnds(d, 2, 2));
    unsigned bits = ptx_type_bits(t);
    const ptx_opnd *to = &st->opnd[0], *from = &st->opnd[1];
    if (t == PTX_PRED) {
        PTX_RET(ptx_dst_pred(d, to, &in->d));
        PTX_RET(ptx_src_pred(d, from, &in->a, &neg));
        in->u0 = neg ? PTX_FULL : 0;
        in->fn = ptx_hfn(d, PTX_H_mov_pred);
        return PTXSIM_OK;
    }
    if (bits != 16 && bits != 32 && bits != 64 && bits != 128) return bad_type(d, t);
    if (to->kind == PTX_O_VEC && from->kind == PTX_O_VEC)
        return ptx_dec_fail(d, st->pos, "mov: vectors on both sides");
    if (from->kind == PTX_O_VEC) return dec_pack(d, st, in, bits);
    if (to->kind == PTX_O_VEC) return dec_unpack(d, st, in, t);
    if (is_clock(from)) return dec_clock(d, st, in, t);
    PTX_RET(ptx_dst(d, to, bits, &in->d));
    PTX_RET(ptx_src(d, from, t, &in->a));
    in->flags |= bits == 128 ? 0 : PTX_V_COPY;
    in->fn = ptx_hfn(d, bits == 128 ? PTX_H_mov_128 : bits == 64 ? PTX_H_mov_64 : PTX_H_mov_32);
    return PTXSIM_OK;
}

/* ---- cvt ---- */

static ptx_round take_cvt_round(ptx_dec *d)
{
    static const struct { const char *name; ptx_round r;
    } names[] = {
        { "rn", PTX_RN },   { "rz", PTX_RZ },   { "rm", PTX_RM },   { "rp", PTX_RP },
        { "rna", PTX_RNA }, { "rs", PTX_RS },   { "rni", PTX_RNI }, { "rzi", PTX_RZI },
        { "rmi", PTX_RMI }, { "rpi", PTX_RPI },
    };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (ptx_take(d, names[k].name)) return names[k].r;
    return PTX_RND_NONE;
}

/* Conversions that have a handler of their own. */
static ptx_hid fast_cvt(const ptx_cvt *c)
{
    bool plain = !c->ftz && !c->sat && !c->relu && !c->satfinite;
    unsigned db = ptx_type_bits(c->dst), sb = ptx_type_bits(c->src);
    if (!plain) return PTX_H_NONE;
    if (!ptx_is_float(c->dst) && !ptx_is_float(c->src) && c->rnd == PTX_RND_NONE) {
        if (db == 64 && sb == 32)
            return ptx_is_signed(c->src) ? PTX_H_sext_32_64 : PTX_H_zext_32_64;
        if (db == 32 && sb == 64) return PTX_H_trunc_64_32;
        if (db == 32 && sb == 16)
            return ptx_is_signed(c->src) ? PTX_H_sext_16_32 : PTX_H_zext_16_32;
        if (db == 16 && sb == 32) return PTX_H_trunc_32_16;
        if (db == sb && db == 32) return PTX_H_mov_32;
        if (db == sb && db == 64) return PTX_H_mov_64;
        return PTX_H_NONE;
    }
    if (c->dst == PTX_F32 && c->src == PTX_F16) return PTX_H_f16_f32;
    if (c->dst == PTX_F32 && c->src == PTX_BF16) return PTX_H_bf16_f32;
    if (c->rnd != PTX_RN) return PTX_H_NONE;
    if (c->dst == PTX_F16 && c->src == PTX_F32) return PTX_H_f32_f16;
    if (c->dst == PTX_BF16 && c->src == PTX_F32) return PTX_H_f32_bf16;
    if (c->dst == PTX_F16X2 && c->src == PTX_F32) return PTX_H_f32x2_f16x2;
    if (c->dst == PTX_BF16X2 && c->src == PTX_F32) return PTX_H_f32x2_bf16x2;
    if (c->dst == PTX_F32 && c->src == PTX_S32) return PTX_H_f32_s32;
    if (c->dst == PTX_F32 && c->src == PTX_U32) return PTX_H_f32_u32;
    return PTX_H_NONE;
}

/* cvt.pack.sat.T.s32[.b32] d, a, b[, c] */
static ptxsim_code dec_cvt_pack(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_type t, s;
    if (!ptx_take(d, "sat")) return ptx_dec_fail(d, st->pos, "cvt.pack: .sat is wanted");
    PTX_RET(ptx_want_type(d, &t));
    PTX_RET(ptx_want_type(d, &s));
    bool three = ptx_type_bits(t) < 16;
    if (s != PTX_S32 || !(ptx_is_signed(t) || ptx_is_unsigned(t)) || ptx_type_bits(t) > 16)
        return bad_type(d, t);
    if (three && ptx_mod_type(d) != PTX_B32)
        return ptx_dec_fail(d, st->pos, "cvt.pack: .b32 is wanted");
    in->u0 = ptx_type_bits(t);
    in->u1 = ptx_is_signed(t);
    in->c = three ? 0 : ptx_const_slot(d, 0, 32);
    in->fn = ptx_hfn(d, PTX_H_cvt_pack);
    return ptx_dec_regs(d, st, in, PTX_B32, three ? 3 : 2);
}

static ptxsim_code dec_cvt(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    if (ptx_take(d, "pack")) return dec_cvt_pack(d, st, in);
    ptx_cvt c = { .rnd = take_cvt_round(d) };
    c.ftz = ptx_take(d, "ftz");
    c.relu = ptx_take(d, "relu");
    c.satfinite = ptx_take(d, "satfinite");
    c.sat = ptx_take(d, "sat");
    PTX_RET(ptx_want_type(d, &c.dst));
    PTX_RET(ptx_want_type(d, &c.src));
    if (!ptx_cvt_valid(&c))
        return ptx_dec_fail(d, st->pos, "%s: there is no such conversion", st->text);
    if (ptx_type_bits(c.src) == 8 || ptx_types[c.dst].n == 2) {
        bool fp8 = c.dst == PTX_E4M3X2 || c.dst == PTX_E5M2X2 || c.src == PTX_E4M3X2 ||
                   c.src == PTX_E5M2X2;
        if (fp8) PTX_RET(ptx_dec_needs_sm(d, 89));
    }
    bool two = ptx_cvt_two_sources(&c);
    unsigned db = ptx_type_bits(c.dst), have;
    PTX_RET(ptx_want_opnds(d, two ? 3 : 2, two ? 3 : 2));
    bool float_pair = ptx_is_float(c.dst);
    PTX_RET(ptx_dst_any(d, &st->opnd[0], db, !float_pair, &in->d, &have));
    PTX_RET(ptx_src_any(d, &st->opnd[1], c.src, !ptx_is_float(c.src), &in->a, NULL));
    if (two) PTX_RET(ptx_src(d, &st->opnd[2], c.src, &in->b));
    bool src_wider = st->opnd[1].kind == PTX_O_REG &&
                     ptx_type_bits(st->opnd[1].reg->type) > ptx_type_bits(c.src) &&
                     ptx_type_bits(st->opnd[1].reg->type) == 64;
    bool ints = !ptx_is_float(c.dst) && !ptx_is_float(c.src);
    if (!ptx_is_float(c.src)) {
        uint32_t sb = ptx_type_bits(c.src), kept = ints && !c.sat && db < sb ? db : sb;
        in->flags |= PTX_V_CONVERT;
        bool sign = ptx_is_signed(kept < sb ? c.dst : c.src);
        in->imm = (int64_t)kept / 8 | (sign ? 1 << 8 : 0) |
                  (ints && !c.sat ? 0 : 1 << 9);
    }
    ptx_hid h = have == (db < 16 ? 16 : db) && !src_wider ? fast_cvt(&c) : PTX_H_NONE;
    in->cls = PTXSIM_C_CVT;
    if (h != PTX_H_NONE) {
        in->fn = ptx_hfn(d, h);
        return PTXSIM_OK;
    }
    ptx_cvt *own = ptx_dec_alloc(d, sizeof *own);
    if (!own) return d->err->code;
    *own = c;
    d->x->own = own;
    in->u0 = have == 64 ? 64 : have;
    in->u1 = db | (uint32_t)src_wider << 8;
    in->fn = ptx_hfn(d, PTX_H_cvt);
    return PTXSIM_OK;
}

/* ---- addresses ---- */

static bool take_window(ptx_dec *d, uint64_t *win, bool *cluster)
{
    *cluster = false;
    if (ptx_take(d, "global") || ptx_take(d, "const")) *win = 0;
    else if (ptx_take(d, "shared") || ptx_take(d, "shared::cta")) *win = PTX_WIN_SHARED;
    else if (ptx_take(d, "shared::cluster")) *win = PTX_WIN_SHARED, *cluster = true;
    else if (ptx_take(d, "local")) *win = PTX_WIN_LOCAL;
    else if (ptx_take(d, "param") || ptx_take(d, "param::entry")) *win = PTX_WIN_PARAM;
    else return false;
    return true;
}

static ptxsim_code dec_cvta(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    uint64_t win;
    bool cluster;
    ptx_type t;
    in->u0 = ptx_take(d, "to");
    if (!take_window(d, &win, &cluster))
        return ptx_dec_fail(d, st->pos, "cvta: the state space is missing");
    PTX_RET(ptx_want_type(d, &t));
    if (t != PTX_U64) return bad_type(d, t);
    in->imm = (int64_t)win;
    in->fn = ptx_hfn(d, PTX_H_cvta);
    return ptx_dec_regs(d, st, in, t, 1);
}

static ptxsim_code dec_isspacep(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    uint64_t win;
    bool cluster;
    if (!take_window(d, &win, &cluster))
        return ptx_dec_fail(d, st->pos, "isspacep: the state space is missing");
    in->imm = (int64_t)win;
    in->u0 = cluster;
    in->fn = ptx_hfn(d, PTX_H_isspacep);
    PTX_RET(ptx_want_opnds(d, 2, 2));
    PTX_RET(ptx_dst_pred(d, &st->opnd[0], &in->d));
    return ptx_src(d, &st->opnd[1], PTX_B64, &in->a);
}

/* mapa[.shared::cluster].u32/u64 d, a, rank; getctarank[.shared::cluster].u32/u64 d, a */
static ptxsim_code dec_mapa(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    bool rank = st->op[0] == 'g';
    ptx_type t;
    bool shared = ptx_take(d, "shared::cluster");
    PTX_RET(ptx_want_type(d, &t));
    if (t != PTX_U32 && t != PTX_U64) return bad_type(d, t);
    PTX_RET(ptx_dec_needs_sm(d, 90));
    PTX_RET(ptx_want_opnds(d, rank ? 2 : 3, rank ? 2 : 3));
    d->code->uses_cluster = true;
    d->code->simple_sync = false;
    in->u0 = t == PTX_U64;
    in->u1 = !shared;
    in->fn = ptx_hfn(d, rank ? PTX_H_getctarank : PTX_H_mapa);
    PTX_RET(ptx_dst(d, &st->opnd[0], rank ? 32 : ptx_type_bits(t), &in->d));
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    return rank ? PTXSIM_OK : ptx_src(d, &st->opnd[2], PTX_U32, &in->b);
}

const ptx_op ptx_ops_move[] = {
    { "setp", dec_setp, PTXSIM_C_COMPARE },
    { "set", dec_set, PTXSIM_C_COMPARE },
    { "selp", dec_selp, PTXSIM_C_MOVE },
    { "slct", dec_slct, PTXSIM_C_MOVE },
    { "mov", dec_mov, PTXSIM_C_MOVE },
    { "cvt", dec_cvt, PTXSIM_C_CVT },
    { "cvta", dec_cvta, PTXSIM_C_MOVE },
    { "isspacep", dec_isspacep, PTXSIM_C_COMPARE },
    { "mapa", dec_mapa, PTXSIM_C_MOVE },
    { "getctarank", dec_mapa, PTXSIM_C_MOVE },
    { NULL, NULL, 0 },
};

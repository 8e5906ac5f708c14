/* valid.c: validity of registers, a byte mask per lane (bit b: byte b was computed from written
 * data; 0xff: everything). One more byte per slot says "all lanes valid", so that the usual case
 * costs a few loads.
 *
 * Most instructions make a result valid in a lane when all its sources are valid there. Moves,
 * packing, selection, bitwise logic, whole-byte shifts, byte permutations and conversions between
 * integers follow the bytes instead: code that loads a word of which only a half was written, and
 * then uses that half, is right. So is code that loads behind the end of its data and then asks
 * whether it should have: `false and x` is known whatever x is. */
#include "ptxsim/valid.h"

#include <string.h>

static uint8_t *lanes(const ptx_warp *w, uint32_t slot) { return w->valid + slot / 4; }
static uint8_t *summary(const ptx_warp *w, uint32_t slot) { return &w->all_valid[slot / PTX_SLOT]; }

static bool all_ones(const uint8_t v[PTX_LANES])
{
    uint64_t a[4];
    memcpy(a, v, 32);
    return (a[0] & a[1] & a[2] & a[3]) == ~0ull;
}

void ptx_val_get(const ptx_warp *w, uint32_t slot, uint8_t out[PTX_LANES])
{
    if (!w->valid || *summary(w, slot)) memset(out, 0xff, PTX_LANES);
    else memcpy(out, lanes(w, slot), PTX_LANES);
}

void ptx_val_set(ptx_warp *w, uint32_t slot, ptx_mask m, const uint8_t v[PTX_LANES])
{
    if (!w->valid) return;
    if (all_ones(v)) {
        ptx_val_fill(w, slot, m, true);
        return;
    }
    uint8_t *d = lanes(w, slot);
    if (*summary(w, slot)) memset(d, 0xff, PTX_LANES);
    for (int i = 0; i < PTX_LANES; i++) d[i] = m >> i & 1 ? v[i] : d[i];
    *summary(w, slot) = all_ones(d);
}

void ptx_val_fill(ptx_warp *w, uint32_t slot, ptx_mask m, bool is_valid)
{
    if (!w->valid) return;
    uint8_t *d = lanes(w, slot);
    if (is_valid) {
        if (*summary(w, slot)) return;
        if (m != PTX_FULL) {
            for (int i = 0; i < PTX_LANES; i++) d[i] = m >> i & 1 ? 0xff : d[i];
            *summary(w, slot) = all_ones(d);
            return;
        }
        *summary(w, slot) = 1;
        return;
    }
    if (*summary(w, slot)) memset(d, 0xff, PTX_LANES);
    for (int i = 0; i < PTX_LANES; i++) d[i] = m >> i & 1 ? 0 : d[i];
    *summary(w, slot) = m == 0;
}

static void whole(uint8_t v[PTX_LANES]) /* partly valid counts as invalid */
{
    for (int i = 0; i < PTX_LANES; i++) v[i] = v[i] == 0xff ? 0xff : 0;
}

static void meet(uint8_t v[PTX_LANES], const uint8_t o[PTX_LANES])
{
    for (int i = 0; i < PTX_LANES; i++) v[i] &= o[i];
}

/* v: what destination 0 gets, by the rule. */
static void by_select(ptx_warp *w, const ptx_inst *in, uint8_t v[PTX_LANES])
{
    uint8_t a[PTX_LANES], b[PTX_LANES], c[PTX_LANES];
    ptx_mask p = *ptx_rpred(w, in->c) ^ in->u0;
    ptx_val_get(w, in->a, a);
    ptx_val_get(w, in->b, b);
    ptx_val_get(w, in->c, c);
    for (int i = 0; i < PTX_LANES; i++) v[i] = c[i] != 0xff ? 0 : p >> i & 1 ? a[i] : b[i];
}

/* imm: bit 0 left; bits 8..: bytes of the register. The bytes shifted in are valid. */
static void by_shift(ptx_warp *w, const ptx_inst *in, uint8_t v[PTX_LANES])
{
    uint8_t a[PTX_LANES], b[PTX_LANES];
    const uint32_t *n = ptx_r32(w, in->b);
    uint32_t bytes = (uint32_t)in->imm >> 8, ones = (1u << bytes) - 1;
    ptx_val_get(w, in->a, a);
    ptx_val_get(w, in->b, b);
    for (int i = 0; i < PTX_LANES; i++) {
        uint32_t have = a[i] & ones, k = n[i] / 8;
        v[i] = 0xff;
        if (b[i] != 0xff) v[i] = 0;
        else if (have == ones || n[i] >= 8 * bytes) continue;
        else if (n[i] % 8) v[i] = 0;
        else if (in->imm & 1) v[i] = (uint8_t)((have << k | ((1u << k) - 1)) | ~ones);
        else v[i] = (uint8_t)((have | ~ones) >> k | ~(ones >> k));
    }
}

static void by_prmt(ptx_warp *w, const ptx_inst *in, uint8_t v[PTX_LANES])
{
    uint8_t a[PTX_LANES], b[PTX_LANES], c[PTX_LANES];
    const uint32_t *sel = ptx_r32(w, in->c);
    ptx_val_get(w, in->a, a);
    ptx_val_get(w, in->b, b);
    ptx_val_get(w, in->c, c);
    for (int i = 0; i < PTX_LANES; i++) {
        uint32_t have = (a[i] & 15u) | (uint32_t)(b[i] & 15u) << 4, r = 0xf0;
        for (int k = 0; k < 4; k++) r |= (have >> (sel[i] >> (4 * k) & 7) & 1) << k;
        v[i] = c[i] == 0xff ? (uint8_t)r : 0;
    }
}

/* Integers to anything. imm: bytes of the source that count; bit 8: bytes above are copies of its
 * sign; bit 9: the result needs them all. */
enum { SIGNED = 1 << 8, WHOLE = 1 << 9 };
static void by_convert(ptx_warp *w, const ptx_inst *in, uint8_t v[PTX_LANES])
{
    uint32_t n = in->imm & 255, kept = (1u << n) - 1;
    ptx_val_get(w, in->a, v);
    for (int i = 0; i < PTX_LANES; i++) {
        uint32_t have = v[i] & kept, above = ~kept;
        if (in->imm & WHOLE) have = have == kept ? kept : 0, above = have ? ~kept : 0;
        if (in->imm & SIGNED && !(have >> (n - 1))) above = 0;
        v[i] = (uint8_t)(have | above);
    }
}

/* imm: 1 or, 0 and; u0: bytes of the register. */
static void by_decision(ptx_warp *w, const ptx_inst *in, uint8_t v[PTX_LANES])
{
    uint8_t a[PTX_LANES], b[PTX_LANES];
    ptx_val_get(w, in->a, a);
    ptx_val_get(w, in->b, b);
    for (int i = 0; i < PTX_LANES; i++) {
        uint64_t x = in->u0 > 4 ? ptx_r64(w, in->a)[i] : ptx_r32(w, in->a)[i],
                 y = in->u0 > 4 ? ptx_r64(w, in->b)[i] : ptx_r32(w, in->b)[i];
        v[i] = a[i] & b[i];
        for (uint32_t k = 0; k < in->u0; k++) {
            uint32_t deciding = in->imm ? 0xff : 0, bit = 1u << k;
            if (((x >> 8 * k & 255) == deciding && a[i] & bit) ||
                ((y >> 8 * k & 255) == deciding && b[i] & bit))
                v[i] |= (uint8_t)bit;
        }
    }
}

/* p decides where its value (flipped) is `deciding` and known. */
static void decide(ptx_warp *w, uint32_t slot, ptx_mask flip, bool deciding, uint8_t v[PTX_LANES])
{
    uint8_t p[PTX_LANES];
    ptx_mask x = *ptx_rpred(w, slot) ^ flip;
    ptx_val_get(w, slot, p);
    for (int i = 0; i < PTX_LANES; i++)
        if (p[i] == 0xff && (x >> i & 1) == deciding) v[i] = 0xff;
}

/* Parts into one register: u0 bits a part, u1 the register. */
static void by_pack(ptx_warp *w, const ptx_inst *in, uint8_t v[PTX_LANES])
{
    uint32_t bytes = in->u0 / 8, ones = (1u << bytes) - 1, total = in->u1 / 8;
    uint8_t s[PTX_LANES];
    if (total > 8) {
        memset(v, 0xff, PTX_LANES);
        for (uint32_t k = 0; k < in->n_src; k++) {
            ptx_val_get(w, in->x->slot[in->n_dst + k], s);
            meet(v, s);
        }
        whole(v);
        return;
    }
    memset(v, total >= 8 ? 0 : (uint8_t)~((1u << total) - 1), PTX_LANES);
    for (uint32_t k = 0; k < in->n_src; k++) {
        ptx_val_get(w, in->x->slot[in->n_dst + k], s);
        for (int i = 0; i < PTX_LANES; i++) v[i] |= (uint8_t)((s[i] & ones) << (k * bytes));
    }
}

static void unpack(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    uint32_t bytes = (uint32_t)in->imm / 8, ones = bytes >= 8 ? 0xff : (1u << bytes) - 1;
    uint8_t a[PTX_LANES], v[PTX_LANES];
    ptx_val_get(w, in->a, a);
    for (uint32_t k = 0; k < in->n_dst; k++) {
        for (int i = 0; i < PTX_LANES; i++)
            v[i] = in->u1 > 64 ? (a[i] == 0xff ? 0xff : 0)
                               : (uint8_t)((a[i] >> (k * bytes) & ones) | ~ones);
        ptx_val_set(w, in->x->slot[k], m, v);
    }
}

static void slow_flow(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    uint8_t v[PTX_LANES], s[PTX_LANES];
    uint32_t rule = in->flags & PTX_V_MASK_;
    if (rule == PTX_V_UNPACK) {
        unpack(w, in, m);
        return;
    }
    switch (rule) {
    case PTX_V_SELECT: by_select(w, in, v); break;
    case PTX_V_SHIFT: by_shift(w, in, v); break;
    case PTX_V_PRMT: by_prmt(w, in, v); break;
    case PTX_V_PACK: by_pack(w, in, v); break;
    case PTX_V_CONVERT: by_convert(w, in, v); break;
    case PTX_V_DECIDE: by_decision(w, in, v); break;
    default:
        memset(v, 0xff, PTX_LANES);
        for (uint32_t k = 0; k < in->n_src; k++) {
            ptx_val_get(w, in->x->slot[in->n_dst + k], s);
            meet(v, s);
        }
        if (rule != PTX_V_COPY && rule != PTX_V_BITS) whole(v);
        if (rule == PTX_V_DECIDE_PRED) {
            decide(w, in->a, in->u0, in->imm, v);
            decide(w, in->b, in->u1, in->imm, v);
        }
        if (rule == PTX_V_COMPARE)
            decide(w, in->c, in->u1 & 1 ? PTX_FULL : 0, (in->u0 & 3) == 2, v);
    }
    if (in->guard) { /* whether it was written depends on the guard */
        ptx_val_get(w, in->guard, s);
        for (int i = 0; i < PTX_LANES; i++)
            if (s[i] != 0xff) v[i] = 0;
    }
    for (uint32_t k = 0; k < in->n_dst; k++) ptx_val_set(w, in->x->slot[k], m, v);
}

void ptx_val_flow(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const uint32_t *slot = in->x->slot;
    uint8_t ok = *summary(w, in->guard);
    for (uint32_t k = in->n_dst; k < (uint32_t)in->n_dst + in->n_src; k++)
        ok &= *summary(w, slot[k]);
    if (!ok) {
        slow_flow(w, in, m);
        return;
    }
    for (uint32_t k = 0; k < in->n_dst; k++) ptx_val_fill(w, slot[k], m, true);
}

void ptx_val_branch(ptx_warp *w, const ptx_inst *in, ptx_mask active)
{
    uint8_t v[PTX_LANES];
    if (*summary(w, in->guard)) return;
    ptx_val_get(w, in->guard, v);
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(active >> i & 1) || v[i] == 0xff) continue;
        ptx_report(w, in, i, PTXSIM_R_UNINIT, 0, 0, "a branch depends on never-written data");
        return;
    }
}

/* matrix.c: the warp-wide matrix instructions mma, ldmatrix, stmatrix and movmatrix: decoding and
 * handlers. The arithmetic and the fragment maps are in mma.c; wmma and wgmma have files of their
 * own. Sparse forms (mma.sp) are refused. */
#include "ptxsim/matrix.h"

#include <stdio.h>
#include <string.h>

typedef struct mma_own {
    ptx_mma s;
    uint32_t d[8], a[8], b[8], c[8];
    uint8_t nd, na, nb, nc;
} mma_own;

/* ---- shared by the three files ---- */

ptxsim_code ptx_take_shape(ptx_dec *d, const ptx_stmt *st, uint16_t *m, uint16_t *n, uint16_t *k)
{
    static const char *const prefix[] = {"m8n", "m16n", "m32n", "m64n"};
    for (size_t i = 0; i < sizeof prefix / sizeof *prefix; i++) {
        const char *s = ptx_mod_prefix(d, prefix[i]);
        if (!s) continue;
        unsigned x, y, z = 0;
        char rest;
        int got = sscanf(s, "m%3un%3uk%3u%c", &x, &y, &z, &rest);
        if (got < 2 || got > 3)
            return ptx_dec_fail(d, st->pos, "%s: \".%s\" is not a matrix shape", st->text, s);
        *m = (uint16_t)x, *n = (uint16_t)y, *k = (uint16_t)z;
        return PTXSIM_OK;
    }
    return ptx_dec_fail(d, st->pos, "%s: the matrix shape (.mMnNkK) is missing", st->text);
}

ptxsim_code ptx_take_layout(ptx_dec *d, const ptx_stmt *st, bool *is_col)
{
    for (uint32_t i = 0; i < st->n_mod; i++) {
        if (st->mod[i].used) continue;
        bool row = !strcmp(st->mod[i].s, "row"), col = !strcmp(st->mod[i].s, "col");
        if (!row && !col) continue;
        ptx_take(d, st->mod[i].s);
        *is_col = col;
        return PTXSIM_OK;
    }
    return ptx_dec_fail(d, st->pos, "%s: a layout (.row or .col) is missing", st->text);
}

ptxsim_code ptx_take_sync_aligned(ptx_dec *d, const ptx_stmt *st)
{
    if (!ptx_take(d, "sync"))
        return ptx_dec_fail(d, st->pos, "%s: \".sync\" is required", st->text);
    if (!ptx_take(d, "aligned"))
        return ptx_dec_fail(d, st->pos, "%s: \".aligned\" is required", st->text);
    return PTXSIM_OK;
}

ptxsim_code ptx_want_operands(ptx_dec *d, const ptx_stmt *st, uint32_t n)
{
    if (st->n_opnd == n) return PTXSIM_OK;
    return ptx_dec_fail(d, st->pos, "%s takes %u operands, %u given", st->text, n, st->n_opnd);
}

ptx_mma_model ptx_model_of(const ptx_warp *w)
{
    const ptx_options *o = ptx_opts(w);
    return (ptx_mma_model){.hw = o->mma_model == PTXSIM_MMA_HW, .sm = o->sm};
}

bool ptx_whole_warp(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    if (m == PTX_FULL) return true;
    if (ptx_opts(w)->checks & PTXSIM_CHECK_SYNC)
        ptx_report(w, in, PTX_LANES, PTXSIM_R_MASK, 0, 0,
                   "%s needs all 32 lanes of the warp, lanes %08x are here", in->x->st->text, m);
    return false;
}

bool ptx_slot_valid(const ptx_warp *w, uint32_t slot)
{
    return !w->valid || w->all_valid[slot / PTX_SLOT];
}

void ptx_put32(ptx_warp *w, uint32_t slot, ptx_mask m, const uint32_t v[PTX_LANES])
{
    uint32_t *r = ptx_r32(w, slot);
    if (m == PTX_FULL) {
        memcpy(r, v, PTX_SLOT);
        return;
    }
    for (int i = 0; i < PTX_LANES; i++)
        if (m >> i & 1) r[i] = v[i];
}

/* ---- mma ---- */

/* Lanes whose every byte of `bits`-wide data is initialised. */
static ptx_mask valid_lanes(const ptx_warp *w, uint32_t slot, unsigned bits)
{
    if (ptx_slot_valid(w, slot)) return PTX_FULL;
    uint8_t v[PTX_LANES], need = bits == 64 ? 0xff : 0x0f;
    ptx_mask m = 0;
    ptx_val_get(w, slot, v);
    for (int i = 0; i < PTX_LANES; i++)
        if ((v[i] & need) == need) m |= 1u << i;
    return m;
}

/* A result element is initialised when its row of A, its column of B and its own addend are. */
static void mma_validity(ptx_warp *w, const mma_own *o, ptx_mask m)
{
    unsigned bits = o->s.a == PTX_F64 ? 64 : 32;
    ptx_mask rows[2] = {PTX_FULL, PTX_FULL},
             cols = PTX_FULL; /* by g = lane / 4, spread over its lanes */
    ptx_mask acc[8];
    bool clean = true;
    for (unsigned i = 0; i < o->na; i++) {
        ptx_mask v = valid_lanes(w, o->a[i], bits);
        rows[o->s.m == 16 ? i & 1 : 0] &= v;
        clean &= v == PTX_FULL;
    }
    for (unsigned i = 0; i < o->nb; i++) {
        cols &= valid_lanes(w, o->b[i], bits);
        clean &= cols == PTX_FULL;
    }
    for (unsigned i = 0; i < o->nc; i++) {
        acc[i] = valid_lanes(w, o->c[i], o->s.c == PTX_F64 ? 64 : 32);
        clean &= acc[i] == PTX_FULL;
    }
    for (unsigned i = 0; i < o->nd; i++) {
        uint8_t v[PTX_LANES];
        if (clean) {
            ptx_val_fill(w, o->d[i], m, true);
            continue;
        }
        ptx_mask own = o->nc == o->nd ? acc[i] : PTX_FULL;
        for (unsigned l = 0; l < PTX_LANES; l++) {
            unsigned half = o->s.m == 16 ? (o->s.d == PTX_F16 ? i : i >> 1) : 0;
            bool ok = own >> l & 1 && (rows[half] >> (l & 28) & 15) == 15;
            for (unsigned e = 0; e < 2 && ok;
                 e++) { /* columns 2t and 2t + 1 (f16: both; else i & 1) */
                if (o->s.d != PTX_F16 && e != (i & 1)) continue;
                ok = (cols >> (4 * (2 * (l & 3) + e)) & 15) == 15;
            }
            v[l] = ok ? 0xff : 0;
        }
        ptx_val_set(w, o->d[i], m, v);
    }
}

static int run_mma(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const mma_own *o = in->x->own;
    void *d[8];
    const void *a[8], *b[8], *c[8];
    for (unsigned i = 0; i < o->na; i++) a[i] = w->regs + o->a[i];
    for (unsigned i = 0; i < o->nb; i++) b[i] = w->regs + o->b[i];
    for (unsigned i = 0; i < o->nc; i++) c[i] = w->regs + o->c[i];
    for (unsigned i = 0; i < o->nd; i++) d[i] = w->regs + o->d[i];
    if (w->valid) mma_validity(w, o, m);
    if (ptx_whole_warp(w, in, m)) {
        ptx_mma_run(&o->s, ptx_model_of(w), d, a, b, c);
    } else { /* undefined on hardware; lanes that are not here keep their registers */
        uint64_t tmp[8][PTX_LANES];
        void *t[8];
        unsigned bytes = o->s.d == PTX_F64 ? 8 : 4;
        for (unsigned i = 0; i < o->nd; i++) t[i] = tmp[i];
        ptx_mma_run(&o->s, ptx_model_of(w), t, a, b, c);
        for (unsigned i = 0; i < o->nd; i++)
            for (unsigned l = 0; l < PTX_LANES; l++)
                if (m >> l & 1)
                    memcpy((uint8_t *)d[i] + l * bytes, (uint8_t *)t[i] + l * bytes, bytes);
    }
    ptx_count_mma(w, in, (uint64_t)o->s.m * o->s.n * o->s.k);
    return PTX_GO;
}

static ptxsim_code decode_mma(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    mma_own *o = ptx_dec_alloc(d, sizeof *o);
    bool a_col, b_col;
    ptxsim_code rc;
    if (!o) return ptx_dec_fail(d, st->pos, "out of memory");
    if (ptx_take(d, "sp") || ptx_take(d, "sp::ordered_metadata"))
        return ptx_dec_fail(d, st->pos, "%s: sparse matrix instructions are not supported",
                            st->text);
    if ((rc = ptx_take_sync_aligned(d, st)) ||
        (rc = ptx_take_shape(d, st, &o->s.m, &o->s.n, &o->s.k)) ||
        (rc = ptx_take_layout(d, st, &a_col)) || (rc = ptx_take_layout(d, st, &b_col)))
        return rc;
    o->s.a_col = a_col, o->s.b_row = !b_col;
    o->s.sat = ptx_take(d, "satfinite");
    o->s.d = ptx_mod_type(d), o->s.a = ptx_mod_type(d), o->s.b = ptx_mod_type(d),
    o->s.c = ptx_mod_type(d);
    if (o->s.c == PTX_NOTYPE)
        return ptx_dec_fail(d, st->pos, "%s: four types are needed (d, a, b, c)", st->text);
    if (o->s.a == PTX_B1) {
        bool x = ptx_take(d, "xor"), y = ptx_take(d, "and");
        if (x == y || !ptx_take(d, "popc"))
            return ptx_dec_fail(d, st->pos, "%s: .b1 needs .xor.popc or .and.popc", st->text);
        o->s.b1 = y ? PTX_B1_AND : PTX_B1_XOR;
    }
    if (o->s.a == PTX_F64) ptx_take(d, "rn");
    unsigned sm = ptx_mma_min_sm(&o->s);
    if (!sm)
        return ptx_dec_fail(d, st->pos, "%s: no such combination of shape, layouts and types",
                            st->text);
    if ((rc = ptx_dec_needs_sm(d, sm)) || (rc = ptx_want_operands(d, st, 4))) return rc;
    unsigned ib = o->s.a == PTX_F64 ? 64 : 32, cb = o->s.c == PTX_F64 ? 64 : 32;
    o->na = (uint8_t)ptx_mma_a_regs(&o->s), o->nb = (uint8_t)ptx_mma_b_regs(&o->s);
    o->nc = (uint8_t)ptx_mma_acc_regs(&o->s, o->s.c),
    o->nd = (uint8_t)ptx_mma_acc_regs(&o->s, o->s.d);
    if ((rc = ptx_dst_vec(d, &st->opnd[0], cb, o->nd, o->d)) ||
        (rc = ptx_src_vec(d, &st->opnd[1], ib, o->na, o->a)) ||
        (rc = ptx_src_vec(d, &st->opnd[2], ib, o->nb, o->b)) ||
        (rc = ptx_src_vec(d, &st->opnd[3], cb, o->nc, o->c)))
        return rc;
    in->fn = run_mma;
    in->flags = PTX_I_WARP | PTX_I_OWN_VALID;
    in->cls = PTXSIM_C_MMA;
    ((ptx_ext *)in->x)->own = o;
    return PTXSIM_OK;
}

/* ---- ldmatrix, stmatrix, movmatrix ---- */

typedef struct mat_own {
    ptx_mem mem;
    uint32_t reg[4];
    uint8_t n;
    bool trans;
} mat_own;

/* Registers <-> rows: matrix i's row r is 16 bytes at row[8 i + r]; four lanes of a row hold them
 * in order. */
static void transpose8(uint32_t out[PTX_LANES], const uint32_t in[PTX_LANES])
{
    uint16_t m[64], t[64];
    memcpy(m, in, sizeof m);
    for (int r = 0; r < 8; r++)
        for (int c = 0; c < 8; c++) t[c * 8 + r] = m[r * 8 + c];
    memcpy(out, t, sizeof t);
}

static uint8_t spread(uint16_t bytes,
                      unsigned word) /* validity of one 32-bit word of a 16-byte row */
{
    unsigned v = bytes >> (4 * word) & 15;
    return v == 15 ? 0xff : (uint8_t)v;
}

static void ldmatrix_validity(ptx_warp *w, const mat_own *o, ptx_mask m,
                              const uint16_t valid[PTX_LANES])
{
    for (unsigned i = 0; i < o->n; i++) {
        uint8_t v[PTX_LANES];
        for (unsigned l = 0; l < PTX_LANES; l++) {
            if (!o->trans) {
                v[l] = spread(valid[8 * i + l / 4], l % 4);
                continue;
            }
            unsigned c = l / 4, r = 2 * (l % 4), lo = valid[8 * i + r] >> (2 * c) & 3,
                     hi = valid[8 * i + r + 1] >> (2 * c) & 3;
            v[l] = (lo | hi << 2) == 15 ? 0xff : (uint8_t)(lo | hi << 2);
        }
        ptx_val_set(w, o->reg[i], m, v);
    }
}

static int run_ldmatrix(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const mat_own *o = in->x->own;
    ptx_mask rows = o->n == 4 ? PTX_FULL : (1u << (8 * o->n)) - 1;
    uint64_t addr[PTX_LANES];
    uint32_t data[PTX_LANES][4], t[PTX_LANES];
    uint16_t valid[PTX_LANES];
    if (!ptx_whole_warp(w, in, m) && !(m & rows)) return PTX_GO;
    ptx_addr(w, &o->mem, addr);
    if (m != PTX_FULL) memset(data, 0, sizeof data);
    memset(valid, 0xff, sizeof valid);
    if (!ptx_warp_read(w, in, o->mem.space, addr, 16, m & rows, data, w->valid ? valid : NULL))
        return PTX_FAULT;
    for (unsigned i = 0; i < o->n; i++) {
        if (o->trans)
            transpose8(t, data[8 * i]);
        else
            memcpy(t, data[8 * i], sizeof t);
        ptx_put32(w, o->reg[i], m, t);
    }
    if (w->valid) ldmatrix_validity(w, o, m, valid);
    return PTX_GO;
}

static int run_stmatrix(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const mat_own *o = in->x->own;
    ptx_mask rows = o->n == 4 ? PTX_FULL : (1u << (8 * o->n)) - 1;
    uint64_t addr[PTX_LANES];
    uint32_t data[PTX_LANES][4];
    uint16_t valid[PTX_LANES];
    memset(valid, 0xff, sizeof valid);
    if (!ptx_whole_warp(w, in, m) && !(m & rows)) return PTX_GO;
    for (unsigned i = 0; i < o->n; i++) {
        const uint32_t *r = ptx_r32(w, o->reg[i]);
        if (o->trans)
            transpose8(data[8 * i], r);
        else
            memcpy(data[8 * i], r, PTX_SLOT);
        if (ptx_slot_valid(w, o->reg[i])) continue;
        uint8_t v[PTX_LANES];
        uint16_t row[8] = {0};
        ptx_val_get(w, o->reg[i], v);
        for (unsigned l = 0; l < PTX_LANES; l++)
            for (unsigned e = 0; e < 2; e++) {
                ptx_at p = ptx_ldmatrix_at(l, e, o->trans);
                row[p.row] |= (uint16_t)((v[l] >> (2 * e) & 3) << (2 * p.col));
            }
        memcpy(&valid[8 * i], row, sizeof row);
    }
    ptx_addr(w, &o->mem, addr);
    return ptx_warp_write(w, in, o->mem.space, addr, 16, m & rows, data, w->valid ? valid : NULL)
               ? PTX_GO
               : PTX_FAULT;
}

static int run_movmatrix(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    uint32_t t[PTX_LANES];
    ptx_whole_warp(w, in, m);
    transpose8(t, ptx_r32(w, in->a));
    if (w->valid) {
        uint8_t v[PTX_LANES], x[PTX_LANES];
        ptx_val_get(w, in->a, v);
        for (unsigned l = 0; l < PTX_LANES;
             l++) { /* element e of lane l comes from row 2t+e, column g */
            unsigned g = l / 4, r = 2 * (l % 4), lo = v[4 * r + g / 2] >> (2 * (g & 1)) & 3,
                     hi = v[4 * (r + 1) + g / 2] >> (2 * (g & 1)) & 3;
            x[l] = (lo | hi << 2) == 15 ? 0xff : (uint8_t)(lo | hi << 2);
        }
        ptx_val_set(w, in->d, m, x);
    }
    ptx_put32(w, in->d, m, t);
    return PTX_GO;
}

static bool take_shared(ptx_dec *d) { return ptx_take(d, "shared") || ptx_take(d, "shared::cta"); }

static ptxsim_code decode_ldst(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, bool store)
{
    mat_own *o = ptx_dec_alloc(d, sizeof *o);
    ptxsim_code rc;
    if (!o) return ptx_dec_fail(d, st->pos, "out of memory");
    if ((rc = ptx_take_sync_aligned(d, st))) return rc;
    if (!ptx_take(d, "m8n8"))
        return ptx_dec_fail(d, st->pos, "%s: only the shape .m8n8 is supported", st->text);
    o->n = ptx_take(d, "x1") ? 1 : ptx_take(d, "x2") ? 2 : ptx_take(d, "x4") ? 4 : 0;
    if (!o->n) return ptx_dec_fail(d, st->pos, "%s: .x1, .x2 or .x4 is needed", st->text);
    o->trans = ptx_take(d, "trans");
    ptx_space space = take_shared(d) ? PTX_SHARED : PTX_GENERIC;
    if (ptx_mod_type(d) != PTX_B16)
        return ptx_dec_fail(d, st->pos, "%s: only .b16 elements are supported", st->text);
    if ((rc = ptx_dec_needs_sm(d, store ? 90 : 75)) || (rc = ptx_want_operands(d, st, 2)))
        return rc;
    if (store) {
        if ((rc = ptx_mem_opnd(d, &st->opnd[0], space, &o->mem)) ||
            (rc = ptx_src_vec(d, &st->opnd[1], 32, o->n, o->reg)))
            return rc;
    } else {
        if ((rc = ptx_dst_vec(d, &st->opnd[0], 32, o->n, o->reg)) ||
            (rc = ptx_mem_opnd(d, &st->opnd[1], space, &o->mem)))
            return rc;
    }
    in->fn = store ? run_stmatrix : run_ldmatrix;
    in->flags = PTX_I_WARP | PTX_I_OWN_VALID;
    in->cls = PTXSIM_C_MATRIX_LOAD;
    ((ptx_ext *)in->x)->own = o;
    return PTXSIM_OK;
}

static ptxsim_code decode_movmatrix(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptxsim_code rc;
    if ((rc = ptx_take_sync_aligned(d, st))) return rc;
    if (!ptx_take(d, "m8n8") || !ptx_take(d, "trans") || ptx_mod_type(d) != PTX_B16)
        return ptx_dec_fail(d, st->pos, "%s: only movmatrix.sync.aligned.m8n8.trans.b16 exists",
                            st->text);
    if ((rc = ptx_dec_needs_sm(d, 75)) || (rc = ptx_want_operands(d, st, 2))) return rc;
    if ((rc = ptx_dst(d, &st->opnd[0], 32, &in->d)) ||
        (rc = ptx_src(d, &st->opnd[1], PTX_B32, &in->a)))
        return rc;
    in->fn = run_movmatrix;
    in->flags = PTX_I_WARP | PTX_I_OWN_VALID;
    in->cls = PTXSIM_C_SHUFFLE;
    return PTXSIM_OK;
}

/* ---- entry points ---- */

bool ptx_matrix_owns(const ptx_stmt *st)
{
    static const char *const ops[] = {"mma", "wmma", "wgmma", "ldmatrix", "stmatrix", "movmatrix"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(st->op, ops[i])) return true;
    return false;
}

ptxsim_code ptx_matrix_decode(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    if (!strcmp(st->op, "mma")) return decode_mma(d, st, in);
    if (!strcmp(st->op, "ldmatrix")) return decode_ldst(d, st, in, false);
    if (!strcmp(st->op, "stmatrix")) return decode_ldst(d, st, in, true);
    if (!strcmp(st->op, "movmatrix")) return decode_movmatrix(d, st, in);
    return !strcmp(st->op, "wmma") ? ptx_wmma_decode(d, st, in) : ptx_wgmma_decode_inst(d, st, in);
}

/* wmma.c: wmma.load, wmma.mma and wmma.store. The layout of a fragment belongs to the
 * implementation; ours is ptx_wmma_at (mma.h). Register counts per lane are those of the PTX
 * ISA. */
#include <string.h>

#include "ptxsim/matrix.h"
#include "ptxsim/num.h"

typedef struct frag {
    ptx_type t;
    uint16_t rows, cols; /* of the matrix */
    uint8_t regs, per;   /* registers a lane; elements a register */
} frag;

typedef struct wmma_own {
    frag f[4]; /* d, a, b, c (load and store use f[0]) */
    uint32_t reg[4][8];
    uint16_t m, n, k;
    bool col; /* load and store: column-major in memory */
    bool sat;
    ptx_b1_op b1;
    ptx_mem mem;
    uint32_t ld; /* slot of the leading dimension, 0: none */
} wmma_own;

enum { MAX_ELEMENTS = 1024 }; /* 8 x 128 bits is the largest */

/* Registers of a fragment of role 'a', 'b' or 'c' of shape m n k: 0 when there is no such
 * fragment. */
static bool frag_of(frag *f, char role, ptx_type t, unsigned m, unsigned n, unsigned k)
{
    bool big = m * n == 256 && (m == 16 || m == 8 || m == 32);
    unsigned bits = t == PTX_TF32 ? 32 : ptx_types[t].bits;
    f->t = t;
    f->rows = (uint16_t)(role == 'b' ? k : m), f->cols = (uint16_t)(role == 'a' ? k : n);
    if (role == 'c') {
        f->per = t == PTX_F16 ? 2 : 1;
        f->regs = (uint8_t)(f->rows * f->cols / 32 / f->per);
        if (big)
            return k == 8 ? m == 16 && t == PTX_F32
                          : k == 16 && (t == PTX_F16 || t == PTX_F32 || t == PTX_S32);
        return m == 8 && n == 8 &&
               ((k == 4 && t == PTX_F64) || ((k == 32 || k == 128) && t == PTX_S32));
    }
    f->per = (uint8_t)(t == PTX_F64 ? 1 : 32 / bits);
    f->regs = (uint8_t)(f->rows * f->cols / 32 / f->per);
    switch (t) {
    case PTX_F16:
        f->regs = 8;
        return big && k == 16; /* every shape: 8 registers, elements repeated */
    case PTX_BF16:
    case PTX_S8:
    case PTX_U8: return big && k == 16;
    case PTX_TF32: return m == 16 && n == 16 && k == 8;
    case PTX_F64: return m == 8 && n == 8 && k == 4;
    case PTX_S4:
    case PTX_U4: return m == 8 && n == 8 && k == 32;
    case PTX_B1: return m == 8 && n == 8 && k == 128;
    default: return false;
    }
}

static unsigned reg_bits(const frag *f) { return f->t == PTX_F64 ? 64 : 32; }
static unsigned elem_bits(const frag *f)
{
    return f->t == PTX_TF32 || f->t == PTX_F32 || f->t == PTX_S32 ? 32 : ptx_types[f->t].bits;
}

static bool all_valid(const ptx_warp *w, const frag *f, const uint32_t *reg)
{
    for (unsigned r = 0; r < f->regs; r++)
        if (!ptx_slot_valid(w, reg[r])) return false;
    return true;
}

/* ---- wmma.mma: fragments -> plain matrices -> product ---- */

static uint64_t element(ptx_warp *w, const frag *f, const uint32_t *reg, unsigned lane, unsigned r,
                        unsigned e)
{
    if (f->t == PTX_F64) return ptx_r64(w, reg[r])[lane];
    unsigned bits = elem_bits(f);
    uint32_t v = ptx_r32(w, reg[r])[lane];
    return bits == 32 ? v : v >> (e * bits) & ((1u << bits) - 1);
}

/* Packed elements in row-major order, ready for ptx_unpack_*. */
static void pack_matrix(ptx_warp *w, const frag *f, const uint32_t *reg, uint8_t *out)
{
    unsigned bits = elem_bits(f), count = f->rows * f->cols;
    memset(out, 0, (size_t)count * bits / 8);
    for (unsigned r = 0; r < f->regs; r++)
        for (unsigned l = 0; l < PTX_LANES; l++)
            for (unsigned e = 0; e < f->per; e++) {
                unsigned i = ptx_wmma_at(count, f->per, l, r, e);
                uint64_t v = element(w, f, reg, l, r, e);
                if (bits >= 8)
                    memcpy(out + (size_t)i * bits / 8, &v, bits / 8);
                else
                    out[i * bits / 8] =
                        (uint8_t)((out[i * bits / 8] & ~(((1u << bits) - 1) << (i * bits % 8))) |
                                  v << (i * bits % 8));
            }
}

static void unpack_result(ptx_warp *w, const frag *f, const uint32_t *reg, ptx_mask m,
                          const void *acc)
{
    for (unsigned r = 0; r < f->regs; r++) {
        uint32_t v[PTX_LANES];
        for (unsigned l = 0; l < PTX_LANES; l++) {
            v[l] = 0;
            for (unsigned e = 0; e < f->per; e++) {
                unsigned i = ptx_wmma_at(f->rows * f->cols, f->per, l, r, e);
                if (f->t == PTX_F64) {
                    if (m >> l & 1) ptx_rf64(w, reg[r])[l] = ((const double *)acc)[i];
                } else if (f->t == PTX_F16) {
                    v[l] |= ptx_small_from_f64(PTX_F16, ((const float *)acc)[i], PTX_RN,
                                               (ptx_fmt_opts){0})
                            << (16 * e);
                } else {
                    memcpy(&v[l], (const uint32_t *)acc + i, 4);
                }
            }
        }
        if (f->t != PTX_F64) ptx_put32(w, reg[r], m, v);
    }
}

static void mul_float(ptx_warp *w, const wmma_own *o, ptx_mask m)
{
    uint32_t words[MAX_ELEMENTS];
    float a[MAX_ELEMENTS], b[MAX_ELEMENTS], c[MAX_ELEMENTS];
    ptx_mma_model model = ptx_model_of(w);
    pack_matrix(w, &o->f[1], o->reg[1], (uint8_t *)words);
    ptx_unpack_f32(o->f[1].t, words, o->m * o->k, a);
    pack_matrix(w, &o->f[2], o->reg[2], (uint8_t *)words);
    ptx_unpack_f32(o->f[2].t, words, o->k * o->n, b);
    pack_matrix(w, &o->f[3], o->reg[3], (uint8_t *)words);
    ptx_unpack_f32(o->f[3].t, words, o->m * o->n, c);
    if (model.hw)
        ptx_matmul_hw(model.sm, o->f[1].t, o->f[0].t, o->m, o->n, o->k, c, a, b, c);
    else
        ptx_matmul_f32(o->m, o->n, o->k, c, a, b, c);
    unpack_result(w, &o->f[0], o->reg[0], m, c);
}

static void mul_int(ptx_warp *w, const wmma_own *o, ptx_mask m)
{
    uint32_t words[MAX_ELEMENTS];
    int32_t a[MAX_ELEMENTS], b[MAX_ELEMENTS], t[MAX_ELEMENTS], c[MAX_ELEMENTS];
    pack_matrix(w, &o->f[1], o->reg[1], (uint8_t *)words);
    ptx_unpack_s32(o->f[1].t, words, o->m * o->k, a);
    pack_matrix(w, &o->f[2], o->reg[2], (uint8_t *)words);
    ptx_unpack_s32(o->f[2].t, words, o->k * o->n, b);
    if (elem_bits(&o->f[2]) < 8) { /* held as n rows of k */
        memcpy(t, b, sizeof t);
        for (unsigned j = 0; j < o->n; j++)
            for (unsigned x = 0; x < o->k; x++) b[x * o->n + j] = t[j * o->k + x];
    }
    pack_matrix(w, &o->f[3], o->reg[3], (uint8_t *)c);
    if (o->f[1].t == PTX_B1 && o->b1 == PTX_B1_XOR) {
        for (unsigned i = 0; i < o->m; i++)
            for (unsigned j = 0; j < o->n; j++)
                for (unsigned x = 0; x < o->k; x++)
                    c[i * o->n + j] += a[i * o->k + x] ^ b[x * o->n + j];
    } else {
        ptx_matmul_s32(o->m, o->n, o->k, c, a, b, c, o->sat);
    }
    unpack_result(w, &o->f[0], o->reg[0], m, c);
}

static void mul_f64(ptx_warp *w, const wmma_own *o, ptx_mask m)
{
    double a[32], b[32], c[64];
    pack_matrix(w, &o->f[1], o->reg[1], (uint8_t *)a);
    pack_matrix(w, &o->f[2], o->reg[2], (uint8_t *)b);
    pack_matrix(w, &o->f[3], o->reg[3], (uint8_t *)c);
    ptx_matmul_f64(8, 8, 4, c, a, b, c);
    unpack_result(w, &o->f[0], o->reg[0], m, c);
}

static int run_mma(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const wmma_own *o = in->x->own;
    ptx_whole_warp(w, in, m);
    bool ok =
        true; /* one unknown element makes the whole result unknown: fragments are only used whole */
    for (int i = 1; i < 4; i++) ok &= all_valid(w, &o->f[i], o->reg[i]);
    if (o->f[1].t == PTX_F64)
        mul_f64(w, o, m);
    else if (ptx_types[o->f[1].t].kind == 'F')
        mul_float(w, o, m);
    else
        mul_int(w, o, m);
    for (unsigned r = 0; r < o->f[0].regs; r++) ptx_val_fill(w, o->reg[0][r], m, ok);
    ptx_count_mma(w, in, (uint64_t)o->m * o->n * o->k);
    return PTX_GO;
}

/* ---- load and store ---- */

/* Byte offset of register r of `lane` from the matrix' start, or of one of its elements. */
static uint64_t offset_of(const wmma_own *o, unsigned lane, unsigned r, unsigned e, uint64_t ld)
{
    const frag *f = &o->f[0];
    unsigned i = ptx_wmma_at(f->rows * f->cols, f->per, lane, r, e), row = i / f->cols,
             col = i % f->cols;
    return (o->col ? col * ld + row : row * ld + col) * elem_bits(f) / 8;
}

static void addresses(ptx_warp *w, const wmma_own *o, const uint64_t base[], unsigned r, unsigned e,
                      uint64_t addr[])
{
    unsigned along = o->col ? o->f[0].rows : o->f[0].cols;
    for (unsigned l = 0; l < PTX_LANES; l++) {
        uint64_t ld = o->ld ? ptx_r32(w, o->ld)[l] : along;
        addr[l] = base[l] + offset_of(o, l, r, e, ld);
    }
}

/* Whether a register's elements are neighbours in memory (then it moves in one piece). */
static bool whole(const wmma_own *o) { return o->f[0].per == 1 || !o->col; }

static int run_load(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const wmma_own *o = in->x->own;
    const frag *f = &o->f[0];
    uint64_t base[PTX_LANES], addr[PTX_LANES];
    unsigned bits = elem_bits(f),
             piece = whole(o)   ? reg_bits(f) / 8
                     : bits < 8 ? 1
                                : bits / 8,
             n = reg_bits(f) / 8 / piece;
    ptx_whole_warp(w, in, m);
    ptx_addr(w, &o->mem, base);
    for (unsigned r = 0; r < f->regs; r++) {
        uint64_t out[PTX_LANES] = {0};
        uint8_t v[PTX_LANES], full = reg_bits(f) == 64 ? 0xff : 0x0f;
        memset(v, 0, sizeof v);
        for (unsigned p = 0; p < n; p++) {
            uint8_t data[PTX_LANES * 8];
            uint16_t valid[PTX_LANES];
            memset(valid, 0xff, sizeof valid);
            addresses(w, o, base, r, p * piece * 8 / bits, addr);
            if (!ptx_warp_read(w, in, o->mem.space, addr, piece, m, data, w->valid ? valid : NULL))
                return PTX_FAULT;
            for (unsigned l = 0; l < PTX_LANES; l++) {
                uint64_t x = 0;
                memcpy(&x, data + l * piece, piece);
                out[l] |= x << (8 * p * piece);
                v[l] |= (uint8_t)((valid[l] & ((1u << piece) - 1)) << (p * piece));
            }
        }
        for (unsigned l = 0; l < PTX_LANES; l++) {
            if (v[l] == full) v[l] = 0xff;
            if (!(m >> l & 1)) continue;
            if (reg_bits(f) == 64)
                ptx_r64(w, o->reg[0][r])[l] = out[l];
            else
                ptx_r32(w, o->reg[0][r])[l] = (uint32_t)out[l];
        }
        ptx_val_set(w, o->reg[0][r], m, v);
    }
    return PTX_GO;
}

static int run_store(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const wmma_own *o = in->x->own;
    const frag *f = &o->f[0];
    uint64_t base[PTX_LANES], addr[PTX_LANES];
    unsigned bits = elem_bits(f), piece = whole(o) ? reg_bits(f) / 8 : bits / 8,
             n = reg_bits(f) / 8 / piece;
    ptx_whole_warp(w, in, m);
    ptx_addr(w, &o->mem, base);
    for (unsigned r = 0; r < f->regs; r++)
        for (unsigned p = 0; p < n; p++) {
            uint8_t data[PTX_LANES * 8], v[PTX_LANES];
            uint16_t valid[PTX_LANES];
            ptx_val_get(w, o->reg[0][r], v);
            for (unsigned l = 0; l < PTX_LANES; l++) {
                uint64_t x =
                    reg_bits(f) == 64 ? ptx_r64(w, o->reg[0][r])[l] : ptx_r32(w, o->reg[0][r])[l];
                x >>= 8 * p * piece;
                memcpy(data + l * piece, &x, piece);
                valid[l] = (uint16_t)(v[l] >> (p * piece));
            }
            addresses(w, o, base, r, p * piece * 8 / bits, addr);
            if (!ptx_warp_write(w, in, o->mem.space, addr, piece, m, data, w->valid ? valid : NULL))
                return PTX_FAULT;
        }
    return PTX_GO;
}

/* ---- decoding ---- */

static ptx_space take_space(ptx_dec *d)
{
    if (ptx_take(d, "global")) return PTX_GLOBAL;
    return ptx_take(d, "shared") || ptx_take(d, "shared::cta") ? PTX_SHARED : PTX_GENERIC;
}

static ptxsim_code no_frag(ptx_dec *d, const ptx_stmt *st)
{
    return ptx_dec_fail(d, st->pos, "%s: no such combination of shape and types", st->text);
}

static unsigned sm_of(ptx_type t)
{
    return t == PTX_BF16 || t == PTX_TF32 || t == PTX_F64 ? 80 : t == PTX_F16 ? 70 : 75;
}

static ptxsim_code decode_move(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, wmma_own *o,
                               bool store)
{
    char role = store              ? 'c'
                : ptx_take(d, "a") ? 'a'
                : ptx_take(d, "b") ? 'b'
                : ptx_take(d, "c") ? 'c'
                                   : 0;
    ptxsim_code rc;
    if (!role || (store && !ptx_take(d, "d")))
        return ptx_dec_fail(d, st->pos, "%s: which fragment (.a .b .c, or .d)?", st->text);
    if ((rc = ptx_take_sync_aligned(d, st)) || (rc = ptx_take_layout(d, st, &o->col)) ||
        (rc = ptx_take_shape(d, st, &o->m, &o->n, &o->k)))
        return rc;
    ptx_space space = take_space(d);
    ptx_type t = ptx_mod_type(d);
    if (!frag_of(&o->f[0], role, t, o->m, o->n, o->k)) return no_frag(d, st);
    if (elem_bits(&o->f[0]) < 8 && o->col != (role == 'b'))
        return ptx_dec_fail(d, st->pos, "%s: sub-byte A is row-major, B column-major", st->text);
    if (elem_bits(&o->f[0]) < 8 &&
        role == 'b') { /* held transposed, so that a register's elements are neighbours */
        uint16_t r = o->f[0].rows;
        o->f[0].rows = o->f[0].cols, o->f[0].cols = r, o->col = false;
    }
    if ((rc = ptx_dec_needs_sm(d, sm_of(t)))) return rc;
    if (st->n_opnd != 2 && st->n_opnd != 3)
        return ptx_dec_fail(d, st->pos, "%s takes 2 or 3 operands", st->text);
    unsigned bits = reg_bits(&o->f[0]);
    if (store) {
        if ((rc = ptx_mem_opnd(d, &st->opnd[0], space, &o->mem)) ||
            (rc = ptx_src_vec(d, &st->opnd[1], bits, o->f[0].regs, o->reg[0])))
            return rc;
    } else {
        if ((rc = ptx_dst_vec(d, &st->opnd[0], bits, o->f[0].regs, o->reg[0])) ||
            (rc = ptx_mem_opnd(d, &st->opnd[1], space, &o->mem)))
            return rc;
    }
    if (st->n_opnd == 3 && (rc = ptx_src(d, &st->opnd[2], PTX_B32, &o->ld))) return rc;
    in->fn = store ? run_store : run_load;
    in->cls = PTXSIM_C_MATRIX_LOAD;
    return PTXSIM_OK;
}

static ptxsim_code decode_mul(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, wmma_own *o)
{
    bool col_a, col_b;
    ptxsim_code rc;
    bool x = ptx_take(d, "xor"), y = ptx_take(d, "and");
    if (x || y) ptx_take(d, "popc");
    o->b1 = y ? PTX_B1_AND : PTX_B1_XOR;
    if ((rc = ptx_take_sync_aligned(d, st)) || (rc = ptx_take_layout(d, st, &col_a)) ||
        (rc = ptx_take_layout(d, st, &col_b)) || (rc = ptx_take_shape(d, st, &o->m, &o->n, &o->k)))
        return rc;
    ptx_take(d, "rn");
    o->sat = ptx_take(d, "satfinite");
    ptx_type t[4] = {ptx_mod_type(d), ptx_mod_type(d), ptx_mod_type(d), ptx_mod_type(d)};
    if (t[2] == PTX_NOTYPE)
        t[3] = t[1], t[1] = t[2] = PTX_F16; /* .dtype.ctype alone: f16 factors */
    static const char roles[4] = {'c', 'a', 'b', 'c'};
    for (int i = 0; i < 4; i++)
        if (!frag_of(&o->f[i], roles[i], t[i], o->m, o->n, o->k)) return no_frag(d, st);
    bool ints = ptx_types[t[1]].kind != 'F';
    bool pair = t[1] == t[2] || (ints && ptx_types[t[1]].bits == ptx_types[t[2]].bits);
    if (!pair || (t[1] == PTX_B1) != (x || y) || (ints && (t[0] != PTX_S32 || t[3] != PTX_S32)) ||
        (!ints && (t[0] == PTX_S32 || t[3] == PTX_S32)) ||
        ((t[1] == PTX_BF16) && (t[0] != PTX_F32 || t[3] != PTX_F32)))
        return no_frag(d, st);
    if (ptx_types[t[1]].bits < 8) { /* B is held transposed */
        if (col_a || !col_b) return no_frag(d, st);
    }
    if ((rc = ptx_dec_needs_sm(d, sm_of(t[1]))) || (rc = ptx_want_operands(d, st, 4))) return rc;
    if ((rc = ptx_dst_vec(d, &st->opnd[0], reg_bits(&o->f[0]), o->f[0].regs, o->reg[0]))) return rc;
    for (int i = 1; i < 4; i++)
        if ((rc = ptx_src_vec(d, &st->opnd[i], reg_bits(&o->f[i]), o->f[i].regs, o->reg[i])))
            return rc;
    in->fn = run_mma;
    in->cls = PTXSIM_C_MMA;
    return PTXSIM_OK;
}

ptxsim_code ptx_wmma_decode(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    wmma_own *o = ptx_dec_alloc(d, sizeof *o);
    if (!o) return ptx_dec_fail(d, st->pos, "out of memory");
    in->flags = PTX_I_WARP | PTX_I_OWN_VALID;
    ((ptx_ext *)in->x)->own = o;
    if (ptx_take(d, "load")) return decode_move(d, st, in, o, false);
    if (ptx_take(d, "store")) return decode_move(d, st, in, o, true);
    if (ptx_take(d, "mma")) return decode_mul(d, st, in, o);
    return ptx_dec_fail(d, st->pos, "%s: wmma.load, wmma.store or wmma.mma", st->text);
}

/* wgmma.c: the asynchronous warpgroup products of sm_90a.
 *
 * Each warp of a warpgroup (four warps, the first a multiple of four) computes its own 16 rows.
 * Values are computed when the instruction is issued; what makes them asynchronous is kept beside
 * them:
 *
 *     issue        operand ranges of shared memory count as "still being read" (ptx_span_begin), and the
 *                  accumulators as not initialised, so that a use before the wait is reported where
 *                  it
 *                  reaches a store, an address or a branch
 *     commit       closes a group
 *     wait N       ends the groups but the newest N: ranges are released, accumulators become valid, and so
 *                  do registers they were only moved to (compilers move accumulators round a loop
 *                  and rely
 *                  on the assembler to remove the moves)
 *
 * A warp that waits is held until the other three have issued as much: on hardware the four act as
 * one. Reported: a first wgmma without wgmma.fence, accumulators changed since the last wait
 * without a fence, groups that nobody waits for, shared operands out of range. */
#include <stdlib.h>
#include <string.h>

#include "ptxsim/matrix.h"
#include "ptxsim/num.h"

enum { MAX_N = 256, MAX_ACC = 128, MAX_SPANS = 512 };

typedef struct wg_own {
    uint16_t n, k;
    ptx_type d, a, b;
    bool a_reg, sat, trans_a, trans_b, neg_a, neg_b;
    uint8_t n_acc, n_a;
    uint32_t acc[MAX_ACC], src[4], desc_a, desc_b; /* slots; desc: 64-bit */
    uint32_t scale_d;                              /* predicate slot, 0: constant */
    bool scale_d_on;
} wg_own;

typedef struct span {
    uint64_t addr;
    uint32_t n;
    uint64_t group;
} span;

typedef struct flight { /* accumulators of one chain of products */
    const wg_own *o;
    uint64_t group;              /* newest group that writes them */
    bool done, known;            /* known: made of initialised data */
    uint32_t (*seen)[PTX_LANES]; /* what the products left behind */
} flight;

typedef struct wg_state {
    uint64_t issued, committed, ended; /* products; groups closed; groups waited for */
    uint64_t open;                     /* products in the group being built */
    bool fenced;
    const ptx_inst *last;              /* product issued last */
    span *span;
    size_t n_span, cap_span;
    flight *flight;
    size_t n_flight, cap_flight;
} wg_state;

static wg_state *state_of(ptx_warp *w)
{
    if (!w->matrix) w->matrix = calloc(1, sizeof(wg_state));
    return w->matrix;
}

static bool grow(void **p, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap) return true;
    size_t c = *cap ? 2 * *cap : 64;
    void *q = realloc(*p, c * size);
    if (!q) return false;
    *p = q, *cap = c;
    return true;
}

static int no_memory(ptx_warp *w, const ptx_inst *in)
{
    return ptx_fault(w, in, PTX_LANES, PTXSIM_R_OTHER, 0, "out of host memory");
}

/* ---- shared operands ---- */

/* Notes [lo, hi) as being read; neighbours of one row group arrive together and are joined here. */
static bool hold(ptx_warp *w, const ptx_inst *in, wg_state *s, uint32_t lo, uint32_t hi)
{
    ptx_who who = {.w = w, .in = in, .lane = PTX_LANES, .async = true};
    if (!grow((void **)&s->span, &s->cap_span, s->n_span + 1, sizeof *s->span)) return false;
    if (!ptx_span_begin(&who, PTX_SHARED, lo, hi - lo, false)) return false;
    s->span[s->n_span++] = (span){lo, hi - lo, s->committed + 1};
    return true;
}

typedef struct piece {
    uint32_t lo, hi;
} piece;

static int by_address(const void *a, const void *b)
{
    const piece *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/* 16 bytes of shared memory holding elements (mn, k..) or (mn.., k), checked. */
static const uint8_t *chunk(ptx_warp *w, const ptx_inst *in, uint32_t addr, uint8_t *tmp,
                            bool checked, bool *known)
{
    if ((uint64_t)addr + 16 > w->cta->shared_bytes) {
        ptx_fault(
            w, in, PTX_LANES, PTXSIM_R_OUT_OF_BOUNDS, addr,
            "%s: the matrix descriptor leads to shared address 0x%x, the block has 0x%x bytes",
            in->x->st->text, addr, w->cta->shared_bytes);
        return NULL;
    }
    if (!checked) return w->cta->shared + addr;
    ptx_who who = {.w = w, .in = in, .lane = PTX_LANES, .async = true};
    uint8_t init[16];
    memset(init, 1, sizeof init);
    if (!ptx_span_read(&who, PTX_SHARED, addr, 16, tmp, init)) return NULL;
    *known &= !memchr(init, 0, sizeof init);
    return tmp;
}

/* Rows [0, count) of a shared operand as floats or s32: out[row * k + x]. */
static bool load_operand(ptx_warp *w, const ptx_inst *in, wg_state *s, uint64_t desc, ptx_type t,
                         bool mn_major, unsigned row0, unsigned count, unsigned k, void *out,
                         bool *known)
{
    ptx_wgmma_desc d = ptx_wgmma_decode(desc);
    unsigned bits = t == PTX_TF32 ? 32 : ptx_types[t].bits, per = 128 / bits;
    bool is_float = ptx_types[t].kind == 'F', checked = w->cta->shadow != NULL;
    static _Thread_local piece pieces[MAX_SPANS];
    unsigned n = 0, outer = mn_major ? k : count, inner = mn_major ? count : k;
    for (unsigned i = 0; i < outer; i++)
        for (unsigned j = 0; j < inner; j += per) {
            unsigned mn = mn_major ? row0 + j : row0 + i, x = mn_major ? i : j;
            uint32_t addr = ptx_wgmma_addr(&d, bits, mn_major, mn, x);
            uint8_t tmp[16];
            uint32_t val[128];
            const uint8_t *p = chunk(w, in, addr, tmp, checked, known);
            if (!p) return false;
            if (is_float)
                ptx_unpack_f32(t, p, per, (float *)val);
            else
                ptx_unpack_s32(t, p, per, (int32_t *)val);
            for (unsigned e = 0; e < per; e++) {
                unsigned at = mn_major ? (j + e) * k + i : i * k + j + e;
                ((uint32_t *)out)[at] = val[e];
            }
            if (checked && n < MAX_SPANS) pieces[n++] = (piece){addr, addr + 16};
        }
    qsort(pieces, n, sizeof *pieces, by_address);
    for (unsigned i = 0; i < n;) {
        unsigned j = i + 1;
        while (j < n && pieces[j].lo <= pieces[j - 1].hi) j++;
        if (!hold(w, in, s, pieces[i].lo, pieces[j - 1].hi)) return false;
        i = j;
    }
    return true;
}

/* ---- accumulators ---- */

static void acc_load(ptx_warp *w, const wg_own *o, float *c)
{
    for (unsigned r = 0; r < o->n_acc; r++) {
        const uint32_t *v = ptx_r32(w, o->acc[r]);
        for (unsigned l = 0; l < PTX_LANES; l++)
            for (unsigned e = 0; e < (o->d == PTX_F16 ? 2u : 1u); e++) {
                ptx_at p = ptx_wgmma_acc_at(l, o->d == PTX_F16 ? 2 * r + e : r);
                float f;
                if (o->d == PTX_F16)
                    f = ptx_small_to_f32(PTX_F16, v[l] >> (16 * e) & 0xffff);
                else
                    memcpy(&f, &v[l], 4);
                c[p.row * o->n + p.col] = f;
            }
    }
}

static void acc_store(ptx_warp *w, const wg_own *o, ptx_mask m, const float *c, flight *f)
{
    for (unsigned r = 0; r < o->n_acc; r++) {
        uint32_t v[PTX_LANES];
        for (unsigned l = 0; l < PTX_LANES; l++) {
            v[l] = 0;
            if (o->d == PTX_F16) {
                for (unsigned e = 0; e < 2; e++) {
                    ptx_at p = ptx_wgmma_acc_at(l, 2 * r + e);
                    v[l] |= ptx_small_from_f64(PTX_F16, c[p.row * o->n + p.col], PTX_RN,
                                               (ptx_fmt_opts){0})
                            << (16 * e);
                }
            } else {
                ptx_at p = ptx_wgmma_acc_at(l, r);
                memcpy(&v[l], &c[p.row * o->n + p.col], 4);
            }
        }
        ptx_put32(w, o->acc[r], m, v);
        memcpy(f->seen[r], ptx_r32(w, o->acc[r]), PTX_SLOT);
        ptx_val_fill(w, o->acc[r], m, false);
    }
}

/* Registers joined by plain moves share a class, so that accumulators are known again after a
 * move. */
static uint32_t class_of(ptx_warp *w, uint32_t slot) { return ptx_move_class(w, slot); }

/* The chain of products that these accumulators belong to: by their registers, or while in flight
 * by registers that they were moved to (classes may join more than one chain, so that only comes
 * second). */
static flight *flight_of(ptx_warp *w, wg_state *s, const wg_own *o)
{
    for (size_t i = 0; i < s->n_flight; i++)
        if (s->flight[i].o->n_acc == o->n_acc && s->flight[i].o->acc[0] == o->acc[0])
            return &s->flight[i];
    for (size_t i = 0; i < s->n_flight; i++) {
        const flight *f = &s->flight[i];
        bool same = !f->done && f->o->n_acc == o->n_acc;
        for (unsigned r = 0; same && r < o->n_acc; r++)
            same = class_of(w, f->o->acc[r]) == class_of(w, o->acc[r]);
        if (same) return &s->flight[i];
    }
    if (!grow((void **)&s->flight, &s->cap_flight, s->n_flight + 1, sizeof *s->flight)) return NULL;
    flight *f = &s->flight[s->n_flight];
    *f = (flight){.o = o, .done = true, .seen = malloc(sizeof(uint32_t[MAX_ACC][PTX_LANES]))};
    if (!f->seen) return NULL;
    s->n_flight++;
    for (unsigned r = 0; r < o->n_acc; r++) memcpy(f->seen[r], ptx_r32(w, o->acc[r]), PTX_SLOT);
    return f;
}

static void check_fence(ptx_warp *w, const ptx_inst *in, wg_state *s, const wg_own *o, flight *f,
                        bool reads_acc)
{
    if (s->fenced || !(ptx_opts(w)->checks & PTXSIM_CHECK_PENDING)) return;
    if (!s->issued) {
        ptx_report(w, in, PTX_LANES, PTXSIM_R_PENDING, 0, 0, "%s without a wgmma.fence before it",
                   in->x->st->text);
        return;
    }
    if (!f->done || !reads_acc) return;
    for (unsigned r = 0; r < o->n_acc; r++)
        if (memcmp(f->seen[r], ptx_r32(w, o->acc[r]), PTX_SLOT)) {
            ptx_report(w, in, PTX_LANES, PTXSIM_R_PENDING, 0, 0,
                       "%s: accumulators were changed since the last product, and no wgmma.fence "
                       "orders that",
                       in->x->st->text);
            return;
        }
}

/* ---- the product ---- */

static bool load_a(ptx_warp *w, const ptx_inst *in, wg_state *s, const wg_own *o, float *a,
                   bool *known)
{
    if (!o->a_reg)
        return load_operand(w, in, s, ptx_r64(w, o->desc_a)[0], o->a, o->trans_a,
                            16 * (w->index % 4), 16, o->k, a, known);
    unsigned per = 32 / (o->a == PTX_TF32 ? 32 : ptx_types[o->a].bits);
    for (unsigned r = 0; r < 4; r++)
        for (unsigned l = 0; l < PTX_LANES; l++) {
            float v[32];
            uint32_t word = ptx_r32(w, o->src[r])[l];
            if (ptx_types[o->a].kind == 'F')
                ptx_unpack_f32(o->a, &word, per, v);
            else
                ptx_unpack_s32(o->a, &word, per, (int32_t *)v);
            unsigned row = l / 4 + 8 * (r & 1), col = (l % 4 + 4 * (r >> 1)) * per;
            memcpy(&a[row * o->k + col], v, per * sizeof *v);
        }
    return true;
}

static bool inputs_valid(ptx_warp *w, const wg_own *o, const flight *f, bool reads_acc)
{
    bool ok = true;
    if (o->a_reg)
        for (unsigned r = 0; r < 4; r++) ok &= ptx_slot_valid(w, o->src[r]);
    if (reads_acc && f->done)
        for (unsigned r = 0; r < o->n_acc; r++) ok &= ptx_slot_valid(w, o->acc[r]);
    return ok;
}

static int run_mma(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    static _Thread_local float a[16 * 256], bt[MAX_N * 256], b[256 * MAX_N], c[16 * MAX_N];
    const wg_own *o = in->x->own;
    wg_state *s = state_of(w);
    if (!s) return no_memory(w, in);
    ptx_whole_warp(w, in, m);
    if (w->index / 4 * 4 + 4 > w->cta->n_warp)
        return ptx_fault(w, in, PTX_LANES, PTXSIM_R_BARRIER, 0,
                         "%s: the warpgroup of warp %u is not complete", in->x->st->text, w->index);
    bool add = o->scale_d ? *ptx_rpred(w, o->scale_d) & m : o->scale_d_on;
    flight *f = flight_of(w, s, o);
    if (!f) return no_memory(w, in);
    check_fence(w, in, s, o, f, add);
    bool known = inputs_valid(w, o, f, add);
    if (!load_a(w, in, s, o, a, &known) || !load_operand(w, in, s, ptx_r64(w, o->desc_b)[0], o->b,
                                                         o->trans_b, 0, o->n, o->k, bt, &known))
        return PTX_FAULT;
    for (unsigned j = 0; j < o->n; j++)
        for (unsigned x = 0; x < o->k; x++) b[x * o->n + j] = bt[j * o->k + x];
    if (o->neg_a != o->neg_b)
        for (unsigned i = 0; i < 16u * o->k; i++) a[i] = -a[i];
    if (add)
        acc_load(w, o, c);
    else
        memset(c, 0, sizeof(float) * 16 * o->n);
    ptx_mma_model model = ptx_model_of(w);
    if (ptx_types[o->a].kind != 'F')
        ptx_matmul_s32(16, o->n, o->k, (int32_t *)c, (int32_t *)a, (int32_t *)b, (int32_t *)c,
                       o->sat);
    else if (model.hw)
        ptx_matmul_hw(model.sm, o->a, o->d, 16, o->n, o->k, c, a, b, c);
    else
        ptx_matmul_f32(16, o->n, o->k, c, a, b, c);
    acc_store(w, o, m, c, f);
    f->known = known && (f->done || !add || f->known);
    f->o = o, f->group = s->committed + 1, f->done = false;
    s->issued++, s->open++, s->last = in;
    ptx_group_issue(w);
    ptx_count_mma(w, in, (uint64_t)16 * o->n * o->k);
    return PTX_GO;
}

/* ---- fence, commit, wait ---- */

static int run_fence(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    wg_state *s = state_of(w);
    if (!s) return no_memory(w, in);
    s->fenced = true;
    return PTX_GO;
}

static int run_commit(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    wg_state *s = state_of(w);
    if (!s) return no_memory(w, in);
    s->committed++, s->open = 0;
    ptx_group_commit(w, s->committed);
    return PTX_GO;
}

/* The operand reads of groups up to `upto` are over for the whole warpgroup (a collective
 * operation). */
static void end_spans(ptx_warp *w, const ptx_inst *in, uint64_t upto)
{
    for (uint32_t i = w->index / 4 * 4; i < w->index / 4 * 4 + 4 && i < w->cta->n_warp; i++) {
        ptx_who who = {.w = &w->cta->warp[i], .in = in, .lane = PTX_LANES, .async = true};
        wg_state *s = who.w->matrix;
        size_t keep = 0;
        for (size_t k = 0; s && k < s->n_span; k++) {
            if (s->span[k].group <= upto)
                ptx_span_end(&who, PTX_SHARED, s->span[k].addr, s->span[k].n, false);
            else
                s->span[keep++] = s->span[k];
        }
        if (s) s->n_span = keep;
    }
}

static void end_groups(ptx_warp *w, const ptx_inst *in, wg_state *s, uint64_t upto)
{
    end_spans(w, in, upto);
    ptx_group_wait(w, upto);
    for (size_t i = 0; i < s->n_flight; i++) {
        flight *f = &s->flight[i];
        if (f->done || f->group > upto) continue;
        f->done = true;
        s->fenced = false;
        for (unsigned r = 0; f->known && r < f->o->n_acc; r++)
            ptx_move_class_validate(w, f->o->acc[r]);
    }
    s->ended = upto;
}

static int run_wait(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    wg_state *s = state_of(w);
    if (!s) return no_memory(w, in);
    uint64_t n = (uint64_t)in->imm, upto = s->committed > n ? s->committed - n : 0;
    for (uint32_t i = w->index / 4 * 4; i < w->index / 4 * 4 + 4 && i < w->cta->n_warp; i++) {
        const ptx_warp *o = &w->cta->warp[i];
        const wg_state *t = o->matrix;
        if (!o->live || o == w) continue;
        if (!t || t->issued < s->issued || t->committed < upto) return PTX_RETRY;
    }
    if (upto > s->ended) end_groups(w, in, s, upto);
    return PTX_GO;
}

void ptx_matrix_reset(ptx_warp *w)
{
    wg_state *s = w->matrix;
    if (!s) return;
    for (size_t i = 0; i < s->n_flight; i++) free(s->flight[i].seen);
    free(s->flight);
    free(s->span);
    free(s);
    w->matrix = NULL;
}

void ptx_matrix_finish(ptx_warp *w)
{
    const wg_state *s = w->matrix;
    if (s && s->last && (s->open || s->ended < s->committed) &&
        (ptx_opts(w)->checks & PTXSIM_CHECK_PENDING))
        ptx_report(w, s->last, PTX_LANES, PTXSIM_R_PENDING, 0, 0,
                   "%s: the block ended before this product was waited for",
                   s->last->x->st->text);
    ptx_matrix_reset(w);
}

/* ---- decoding ---- */

static ptxsim_code bad(ptx_dec *d, const ptx_stmt *st, const char *what)
{
    return ptx_dec_fail(d, st->pos, "%s: %s", st->text, what);
}

static bool types_fit(const wg_own *o)
{
    bool fp8 = (o->a == PTX_E4M3 || o->a == PTX_E5M2) && (o->b == PTX_E4M3 || o->b == PTX_E5M2);
    bool i8 = (o->a == PTX_S8 || o->a == PTX_U8) && (o->b == PTX_S8 || o->b == PTX_U8);
    if (o->n % 8 || o->n < 8 || o->n > 256) return false;
    if (i8) return o->k == 32 && o->d == PTX_S32 && (o->n <= 32 || o->n % 16 == 0);
    if (fp8) return o->k == 32 && (o->d == PTX_F32 || o->d == PTX_F16);
    if (o->a != o->b) return false;
    switch (o->a) {
    case PTX_F16: return o->k == 16 && (o->d == PTX_F32 || o->d == PTX_F16);
    case PTX_BF16: return o->k == 16 && o->d == PTX_F32;
    case PTX_TF32: return o->k == 8 && o->d == PTX_F32;
    case PTX_B1: return o->k == 256 && o->d == PTX_S32;
    default: return false;
    }
}

/* An immediate that must be one of two values; gives whether it is the second. */
static ptxsim_code flag(ptx_dec *d, const ptx_stmt *st, uint32_t i, int64_t off, int64_t on,
                        bool *out)
{
    int64_t v;
    ptxsim_code rc = ptx_const_int(d, &st->opnd[i], &v);
    if (rc) return rc;
    if (v != off && v != on)
        return ptx_dec_fail(d, st->opnd[i].pos, "%s: %lld or %lld is wanted here", st->text,
                            (long long)off, (long long)on);
    *out = v == on;
    return PTXSIM_OK;
}

static ptxsim_code decode_product(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    wg_own *o = ptx_dec_alloc(d, sizeof *o);
    uint16_t m;
    ptxsim_code rc;
    if (!o) return bad(d, st, "out of memory");
    if (ptx_take(d, "sp")) return bad(d, st, "sparse matrix instructions are not supported");
    if ((rc = ptx_take_sync_aligned(d, st)) || (rc = ptx_take_shape(d, st, &m, &o->n, &o->k)))
        return rc;
    o->sat = ptx_take(d, "satfinite");
    o->d = ptx_mod_type(d), o->a = ptx_mod_type(d), o->b = ptx_mod_type(d);
    if (o->a == PTX_B1 && (!ptx_take(d, "and") || !ptx_take(d, "popc")))
        return bad(d, st, ".b1 needs .and.popc");
    if (m != 64 || !types_fit(o) || (o->sat && o->d != PTX_S32))
        return bad(d, st, "no such combination of shape and types");
    bool is_float = ptx_types[o->a].kind == 'F', can_trans = o->a == PTX_F16 || o->a == PTX_BF16;
    if (st->n_opnd < 4) return bad(d, st, "too few operands");
    o->a_reg = st->opnd[1].kind == PTX_O_VEC;
    uint32_t n_flags = is_float ? 2 + (can_trans ? (o->a_reg ? 1 : 2) : 0) : 0;
    if ((rc = ptx_want_operands(d, st, 4 + n_flags))) return rc;
    o->n_acc = (uint8_t)(o->d == PTX_F16 ? o->n / 4 : o->n / 2);
    if ((rc = ptx_dst_vec(d, &st->opnd[0], 32, o->n_acc, o->acc))) return rc;
    if (o->a_reg)
        rc = ptx_src_vec(d, &st->opnd[1], 32, 4, o->src);
    else
        rc = ptx_src(d, &st->opnd[1], PTX_B64, &o->desc_a);
    if (rc || (rc = ptx_src(d, &st->opnd[2], PTX_B64, &o->desc_b))) return rc;
    if (st->opnd[3].kind == PTX_O_INT) {
        if ((rc = flag(d, st, 3, 0, 1, &o->scale_d_on))) return rc;
    } else if ((rc = ptx_src(d, &st->opnd[3], PTX_PRED, &o->scale_d))) {
        return rc;
    }
    uint32_t x = 4;
    if (is_float &&
        ((rc = flag(d, st, x++, 1, -1, &o->neg_a)) || (rc = flag(d, st, x++, 1, -1, &o->neg_b))))
        return rc;
    if (can_trans && !o->a_reg && (rc = flag(d, st, x++, 0, 1, &o->trans_a))) return rc;
    if (can_trans && (rc = flag(d, st, x++, 0, 1, &o->trans_b))) return rc;
    in->fn = run_mma;
    ((ptx_ext *)in->x)->own = o;
    return PTXSIM_OK;
}

ptxsim_code ptx_wgmma_decode_inst(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptxsim_code rc;
    if ((rc = ptx_dec_needs_sm(d, 90))) return rc;
    in->flags = PTX_I_WARP | PTX_I_OWN_VALID;
    in->cls = PTXSIM_C_MMA;
    if (ptx_take(d, "mma_async")) return decode_product(d, st, in);
    in->cls = PTXSIM_C_BARRIER;
    bool fence = ptx_take(d, "fence"), commit = !fence && ptx_take(d, "commit_group"),
         wait = !fence && !commit && ptx_take(d, "wait_group");
    if (!fence && !commit && !wait)
        return bad(d, st, "wgmma.mma_async, .fence, .commit_group or .wait_group");
    if ((rc = ptx_take_sync_aligned(d, st)) || (rc = ptx_want_operands(d, st, wait ? 1 : 0)))
        return rc;
    if (wait && (rc = ptx_const_int(d, &st->opnd[0], &in->imm))) return rc;
    if (wait && (in->imm < 0 || in->imm > 7))
        return ptx_dec_fail(d, st->opnd[0].pos, "%s: 0 to 7 is wanted here", st->text);
    in->fn = fence ? run_fence : commit ? run_commit : run_wait;
    return PTXSIM_OK;
}

/* mem.c: loads and stores of the lanes of a place. Lanes that follow each other in memory are one
 * access; lanes in some order inside a short span are a wide access and a shuffle; lanes in runs
 * are one access a run; else one each.
 *
 * Codes of fewer than 8 bits: the bytes that hold the lanes are loaded as bytes, shifted and masked
 * as bytes,
 *
 *     nibble plane, 64 lanes in 64 bytes:  load <64 x i8>, then lshr by 4 or and 15
 *
 * and the byte vector is kept, so the low and high nibbles share one load. A code across two bytes
 * takes both.
 *
 * Under a mask nothing outside the active lanes is touched. */
#include "codegen/cg.h"

#include <string.h>

#define B (c->b)

static cg_v finish_load(cg *c, const cg_place *p, cg_v v, int align)
{
    LLVMSetAlignment(v, (unsigned)(align < 1 ? 1 : align));
    if (p->buf->constant) {
        cg_v none = LLVMMetadataAsValue(c->ctx, LLVMMDNodeInContext2(c->ctx, NULL, 0));
        LLVMSetMetadata(v, LLVMGetMDKindIDInContext(c->ctx, "invariant.load", 14), none);
    }
    return v;
}

/* `n` neighbours of type `elt` at byte `at` from lane 0. */
static cg_v load_run(cg *c, const cg_place *p, cg_t elt, int64_t at, int n)
{
    cg_v v = LLVMBuildLoad2(B, cg_wide(elt, n), cg_place_ptr(c, p, at), "");
    return finish_load(c, p, v, cg_place_align(p, at));
}

typedef struct wide_key {
    cg_v base;
    te_ref key;
    int64_t at, n;
    cg_t elt;
} wide_key;

/* The same, kept: several expressions read parts of it (nibbles of one byte, windows of a shuffle).
 */
static cg_v load_kept(cg *c, const cg_place *p, cg_t elt, int64_t at, int n)
{
    wide_key key;
    memset(&key, 0, sizeof key);
    key.base = p->ptr;
    key.key = p->key;
    key.at = p->byte + at;
    key.n = n;
    key.elt = elt;
    cg_val old;
    if (cg_recall(c, &key, sizeof key, &old)) return old.v;
    cg_v v = load_run(c, p, elt, at, n);
    cg_remember(c, &key, sizeof key, (cg_val){v, 0}, false, !p->buf->constant);
    return v;
}

/* ---- unmasked loads of whole bytes ---- */

static bool consecutive(const int64_t *off, int n, int64_t step)
{
    for (int i = 0; i < n; i++)
        if (off[i] - off[0] != i * step) return false;
    return true;
}

/* Longest power of two R such that the lanes fall into runs of R neighbours. */
static int run_length(const int64_t *off, int lanes, int64_t step)
{
    int r = lanes;
    for (; r > 1; r /= 2) {
        bool ok = true;
        for (int i = 0; ok && i < lanes; i += r) ok = consecutive(off + i, r, step);
        if (ok) break;
    }
    return r;
}

static void span_of(const int64_t *off, int lanes, int64_t *lo, int64_t *hi)
{
    *lo = *hi = off[0];
    for (int i = 1; i < lanes; i++) {
        if (off[i] < *lo) *lo = off[i];
        if (off[i] > *hi) *hi = off[i];
    }
}

/* All lanes lie in [lo, lo + span) elements: one load, or two that overlap, and a shuffle. */
static cg_v load_span(cg *c, const cg_place *p, cg_t elt, const int64_t *byte, int64_t lo,
                      int64_t span, int size)
{
    int w = 1, lane[CG_MAX_LANES];
    while (w * 2 < span) w *= 2;
    if (span == 1) return cg_splat(c, load_kept(c, p, elt, lo, 1), p->lanes);
    if (w * 2 == span) {
        for (int i = 0; i < p->lanes; i++) lane[i] = (int)((byte[i] - lo) / size);
        return cg_shuffle(c, load_kept(c, p, elt, lo, w * 2), NULL, lane, p->lanes);
    }
    int64_t second = span - w;
    for (int i = 0; i < p->lanes; i++) {
        int64_t e = (byte[i] - lo) / size;
        lane[i] = (int)(e < w ? e : w + (e - second));
    }
    return cg_shuffle(c, load_kept(c, p, elt, lo, w), load_kept(c, p, elt, lo + second * size, w),
                      lane, p->lanes);
}

static cg_v load_runs(cg *c, const cg_place *p, cg_t elt, const int64_t *byte, int size, int run)
{
    cg_v part[CG_MAX_LANES];
    int n = p->lanes / run;
    cg_t as = elt;
    if (run > 1 && run * size <= 8) as = LLVMIntTypeInContext(c->ctx, (unsigned)(run * size * 8));
    for (int i = 0; i < n; i++) {
        int64_t at = byte[i * run];
        part[i] = as == elt ? load_run(c, p, elt, at, run) : load_run(c, p, as, at, 1);
    }
    cg_v v;
    if (run > 1 && as == elt) {
        v = cg_concat(c, part, n);
    } else {
        v = LLVMGetPoison(cg_wide(as, n));
        for (int i = 0; i < n; i++) v = n > 1 ? cg_insert(c, v, part[i], i) : part[i];
    }
    return as == elt ? v : LLVMBuildBitCast(B, v, cg_wide(elt, p->lanes), "");
}

static cg_v load_bytes(cg *c, const cg_place *p, cg_t elt, const int64_t *byte, int size)
{
    if (consecutive(byte, p->lanes, size)) return load_run(c, p, elt, byte[0], p->lanes);
    int64_t lo, hi;
    span_of(byte, p->lanes, &lo, &hi);
    int64_t span = (hi - lo) / size + 1;
    bool on_grid = true;
    for (int i = 0; i < p->lanes; i++) on_grid = on_grid && (byte[i] - lo) % size == 0;
    if (on_grid && span <= 2 * p->lanes && span <= CG_MAX_LANES)
        return load_span(c, p, elt, byte, lo, span, size);
    return load_runs(c, p, elt, byte, size, run_length(byte, p->lanes, size));
}

/* ---- masks ---- */

/* Addresses of all lanes as one vector (the scalar address for one lane). */
static cg_v lane_ptrs(cg *c, const cg_place *p, int64_t more)
{
    cg_v off;
    if (p->dyn) {
        off = LLVMBuildAShr(B, p->dyn, cg_int(c, LLVMTypeOf(p->dyn), 3), "");
        if (more) off = LLVMBuildAdd(B, off, cg_int(c, LLVMTypeOf(off), more), "");
        return LLVMBuildInBoundsGEP2(B, c->i8, p->buf->base, &off, 1, "");
    }
    if (p->lanes == 1) return cg_place_ptr(c, p, more);
    cg_v e[CG_MAX_LANES];
    for (int i = 0; i < p->lanes; i++)
        e[i] = cg_int(c, c->i64, ((p->bit + p->off[i]) >> 3) + p->byte + more);
    off = LLVMConstVector(e, (unsigned)p->lanes);
    return LLVMBuildInBoundsGEP2(B, c->i8, p->ptr, &off, 1, "");
}

/* 64 zero bytes that a load with no active lane reads instead. */
static cg_v zero_page(cg *c)
{
    if (c->zero_page) return c->zero_page;
    cg_t t = LLVMArrayType2(c->i8, 64);
    c->zero_page = LLVMAddGlobal(c->mod, t, "nothing");
    LLVMSetInitializer(c->zero_page, LLVMConstNull(t));
    LLVMSetGlobalConstant(c->zero_page, 1);
    LLVMSetLinkage(c->zero_page, LLVMPrivateLinkage);
    LLVMSetAlignment(c->zero_page, 64);
    return c->zero_page;
}

static cg_v load_masked(cg *c, const cg_place *p, cg_t elt, int64_t more, cg_v mask, bool row)
{
    int n = p->lanes;
    if (c->gpu)
        return cg_gpu_load(c, p, elt, lane_ptrs(c, p, more), p->dyn ? 0 : cg_place_align(p, more),
                           mask);
    if (n == 1) {
        cg_v at = LLVMBuildSelect(B, mask, lane_ptrs(c, p, more), zero_page(c), "");
        return finish_load(c, p, LLVMBuildLoad2(B, elt, at, ""),
                           p->dyn ? 1 : cg_place_align(p, more));
    }
    cg_t vt = cg_wide(elt, n), over[2] = {vt, cg_wide(c->ptr, n)};
    cg_v align = LLVMConstInt(c->i32, (unsigned)(row ? cg_place_align(p, more) : 1), 0);
    if (row) {
        over[1] = c->ptr;
        return cg_call(c, "llvm.masked.load", over, 2,
                       (cg_v[]){cg_place_ptr(c, p, more), align, mask, LLVMConstNull(vt)}, 4);
    }
    return cg_call(c, "llvm.masked.gather", over, 2,
                   (cg_v[]){lane_ptrs(c, p, more), align, mask, LLVMConstNull(vt)}, 4);
}

/* One access per lane at run-time addresses, nothing masked. */
static cg_v load_each(cg *c, const cg_place *p, cg_t elt, int64_t more)
{
    int align = p->bits < 8 ? 1 : p->bits / 8; /* elements lie at multiples of their size */
    cg_v at = lane_ptrs(c, p, more), v = LLVMGetPoison(cg_wide(elt, p->lanes));
    for (int i = 0; i < p->lanes; i++) {
        cg_v one = LLVMBuildLoad2(B, elt, cg_extract(c, at, i), "");
        finish_load(c, p, one, c->gpu ? align : 1);
        v = p->lanes == 1 ? one : cg_insert(c, v, one, i);
    }
    return v;
}

static cg_v load_whole(cg *c, cg_place *p, cg_t elt, int size, cg_v mask)
{
    int64_t byte[CG_MAX_LANES] = {0};
    if (p->dyn) return mask ? load_masked(c, p, elt, 0, mask, false) : load_each(c, p, elt, 0);
    for (int i = 0; i < p->lanes; i++) byte[i] = p->off[i] / 8;
    if (!mask) return load_bytes(c, p, elt, byte, size);
    return load_masked(c, p, elt, 0, mask, consecutive(byte, p->lanes, size));
}

/* ---- codes of fewer than 8 bits ---- */

static cg_v shift_const(cg *c, const int *sh, int lanes)
{
    cg_v e[CG_MAX_LANES];
    for (int i = 0; i < lanes; i++) e[i] = cg_int(c, c->i8, sh[i]);
    return lanes == 1 ? e[0] : LLVMConstVector(e, (unsigned)lanes);
}

static cg_v bytes_of(cg *c, const cg_place *p, const int64_t *byte, cg_v mask)
{
    if (mask) {
        cg_place q = *p;
        q.bit = 0;
        q.byte += byte[0];
        for (int i = 0; i < p->lanes; i++) q.off[i] = (byte[i] - byte[0]) * 8;
        return load_masked(c, &q, c->i8, 0, mask, consecutive(byte, p->lanes, 1));
    }
    if (consecutive(byte, p->lanes, 1)) return load_kept(c, p, c->i8, byte[0], p->lanes);
    return load_bytes(c, p, c->i8, byte, 1);
}

static cg_v load_bits_dyn(cg *c, cg_place *p, cg_v mask, bool straddle)
{
    cg_v v = mask ? load_masked(c, p, c->i8, 0, mask, false) : load_each(c, p, c->i8, 0);
    cg_v sh = LLVMBuildAnd(B, p->dyn, cg_int(c, LLVMTypeOf(p->dyn), 7), "");
    cg_t i8 = LLVMTypeOf(v), i16 = cg_retype(v, c->i16);
    sh = LLVMBuildTrunc(B, sh, i16, "");
    cg_v w = LLVMBuildZExt(B, v, i16, "");
    if (straddle) { /* the next byte, when bits of the code lie in it (else the same byte again:
                       always readable) */
        cg_v next = LLVMBuildICmp(B, LLVMIntUGT, sh, cg_int(c, i16, 8 - p->bits), "");
        cg_place q = *p;
        q.dyn = LLVMBuildAdd(B, p->dyn,
                             LLVMBuildSelect(B, next, cg_int(c, LLVMTypeOf(p->dyn), 8),
                                             cg_int(c, LLVMTypeOf(p->dyn), 0), ""),
                             "");
        cg_v hi = mask ? load_masked(c, &q, c->i8, 0, mask, false) : load_each(c, &q, c->i8, 0);
        hi = LLVMBuildShl(B, LLVMBuildZExt(B, hi, i16, ""), cg_int(c, i16, 8), "");
        w = LLVMBuildOr(B, w, hi, "");
    }
    w = LLVMBuildTrunc(B, LLVMBuildLShr(B, w, sh, ""), i8, "");
    return LLVMBuildAnd(B, w, cg_int(c, i8, (1 << p->bits) - 1), "");
}

static cg_v load_bits(cg *c, cg_place *p, cg_v mask)
{
    bool straddle = 8 % p->bits != 0;
    if (p->dyn) return load_bits_dyn(c, p, mask, straddle);
    int64_t byte[CG_MAX_LANES] = {0}, byte2[CG_MAX_LANES] = {0};
    int sh[CG_MAX_LANES] = {0}, sh2[CG_MAX_LANES] = {0}, over_mask[CG_MAX_LANES] = {0};
    bool same = true, two = false, low = false;
    for (int i = 0; i < p->lanes; i++) {
        int64_t at = p->bit + p->off[i];
        byte[i] = at >> 3;
        sh[i] = (int)(at & 7);
        bool over = sh[i] + p->bits > 8;
        byte2[i] = byte[i] + over;
        sh2[i] = over ? 8 - sh[i] : 0;
        over_mask[i] = over ? 255 : 0;
        two = two || over;
        low = low || sh[i] + p->bits < 8 || over;
        same = same && sh[i] == sh[0];
    }
    cg_v v = bytes_of(c, p, byte, mask);
    if (!same || sh[0]) v = LLVMBuildLShr(B, v, shift_const(c, sh, p->lanes), "");
    if (two) {
        cg_v hi = LLVMBuildShl(B, bytes_of(c, p, byte2, mask), shift_const(c, sh2, p->lanes), "");
        v = LLVMBuildOr(B, v, LLVMBuildAnd(B, hi, shift_const(c, over_mask, p->lanes), ""), "");
    }
    return low ? LLVMBuildAnd(B, v, cg_int(c, LLVMTypeOf(v), (1 << p->bits) - 1), "") : v;
}

cg_v cg_mem_load(cg *c, cg_place *p, ll_dtype t, cg_v mask)
{
    if (p->bits < 8) {
        cg_v v = load_bits(c, p, mask);
        return t == LL_BOOL ? LLVMBuildTrunc(B, v, cg_retype(v, c->i1), "") : v;
    }
    bool bytes = p->dyn || p->bit == 0;
    for (int i = 0; !p->dyn && i < p->lanes; i++) bytes = bytes && p->off[i] % 8 == 0;
    if (!bytes)
        cg_fail(c, LL_NOT_LEGAL,
                "codegen: elements of '%s' do not begin at whole bytes in its layout",
                p->buf->lp->t->name);
    return load_whole(c, p, cg_elt(c, t), p->bits / 8, mask);
}

/* ---- stores ---- */

static void store_at(cg *c, cg_v v, cg_v ptr, int align)
{
    LLVMSetAlignment(LLVMBuildStore(B, v, ptr), (unsigned)(align < 1 ? 1 : align));
}

/* A place of the stack that stores without an active lane go to. */
static cg_v sink(cg *c, cg_t elt)
{
    cg_bb at = LLVMGetInsertBlock(B), entry = LLVMGetEntryBasicBlock(c->fnv);
    cg_v first = LLVMGetFirstInstruction(entry);
    if (first) LLVMPositionBuilderBefore(B, first);
    cg_v slot = LLVMBuildAlloca(B, elt, "sink");
    cg_return_from(c, (cg_spot){c->cur, at});
    return slot;
}

static void store_masked(cg *c, const cg_place *p, cg_t elt, cg_v v, cg_v mask, bool row)
{
    int n = p->lanes;
    if (c->gpu) {
        cg_gpu_store(c, v, lane_ptrs(c, p, 0), p->dyn ? 0 : cg_place_align(p, 0), mask);
        return;
    }
    if (n == 1) {
        store_at(c, v, LLVMBuildSelect(B, mask, lane_ptrs(c, p, 0), sink(c, elt), ""), 1);
        return;
    }
    cg_t over[2] = {LLVMTypeOf(v), row ? c->ptr : cg_wide(c->ptr, n)};
    cg_v align = LLVMConstInt(c->i32, (unsigned)(row ? cg_place_align(p, 0) : 1), 0);
    if (row)
        cg_call(c, "llvm.masked.store", over, 2, (cg_v[]){v, cg_place_ptr(c, p, 0), align, mask},
                4);
    else
        cg_call(c, "llvm.masked.scatter", over, 2, (cg_v[]){v, lane_ptrs(c, p, 0), align, mask}, 4);
}

static void store_runs(cg *c, const cg_place *p, cg_v v, const int64_t *byte, int size)
{
    int run = run_length(byte, p->lanes, size), lane[CG_MAX_LANES];
    for (int i = 0; i < p->lanes; i += run) {
        for (int k = 0; k < run; k++) lane[k] = i + k;
        cg_v part = run == 1 ? cg_extract(c, v, i) : cg_shuffle(c, v, NULL, lane, run);
        store_at(c, part, cg_place_ptr(c, p, byte[i]), cg_place_align(p, byte[i]));
    }
}

/* Lanes in any order that fill a span of memory: sorted by a shuffle first. */
static bool fills_span(const cg_place *p, const int64_t *byte, int size, int *lane)
{
    int64_t lo, hi;
    span_of(byte, p->lanes, &lo, &hi);
    if ((hi - lo) / size + 1 != p->lanes) return false;
    for (int i = 0; i < p->lanes; i++) lane[i] = -1;
    for (int i = 0; i < p->lanes; i++) {
        int64_t e = (byte[i] - lo) / size;
        if ((byte[i] - lo) % size || lane[e] >= 0) return false;
        lane[e] = i;
    }
    return true;
}

static void store_whole(cg *c, cg_place *p, cg_t elt, int size, cg_v v, cg_v mask)
{
    int64_t byte[CG_MAX_LANES] = {0}, lo, hi;
    int lane[CG_MAX_LANES];
    if (p->dyn) {
        if (mask) {
            store_masked(c, p, elt, v, mask, false);
            return;
        }
        cg_v at = lane_ptrs(c, p, 0);
        for (int i = 0; i < p->lanes; i++)
            store_at(c, cg_extract(c, v, i), cg_extract(c, at, i), c->gpu ? size : 1);
        return;
    }
    for (int i = 0; i < p->lanes; i++) byte[i] = p->off[i] / 8;
    span_of(byte, p->lanes, &lo, &hi);
    if (mask)
        store_masked(c, p, elt, v, mask, consecutive(byte, p->lanes, size));
    else if (consecutive(byte, p->lanes, size))
        store_at(c, v, cg_place_ptr(c, p, byte[0]), cg_place_align(p, byte[0]));
    else if (fills_span(p, byte, size, lane))
        store_at(c, cg_shuffle(c, v, NULL, lane, p->lanes), cg_place_ptr(c, p, lo),
                 cg_place_align(p, lo));
    else
        store_runs(c, p, v, byte, size);
}

/* Codes that lie in a row of bytes: those of each position in a byte are shifted there together.
 * Bits that are not covered keep their value. False: not such a row. */
static bool store_bit_row(cg *c, cg_place *p, cg_v v)
{
    int64_t byte[CG_MAX_LANES] = {0}, lo, hi;
    int at[8][CG_MAX_LANES], cover[CG_MAX_LANES] = {0};
    if (p->lanes == 1) return false;
    for (int i = 0; i < p->lanes; i++) byte[i] = (p->bit + p->off[i]) >> 3;
    span_of(byte, p->lanes, &lo, &hi);
    int64_t n = hi - lo + 1;
    if (n < 2 || n > p->lanes || (n & (n - 1))) return false;
    for (int s = 0; s < 8; s++)
        for (int64_t b = 0; b < n; b++) at[s][b] = p->lanes; /* a zero */
    for (int i = 0; i < p->lanes; i++) {
        int s = (int)((p->bit + p->off[i]) & 7), b = (int)(byte[i] - lo),
            field = ((1 << p->bits) - 1) << s;
        if (s + p->bits > 8 || cover[b] & field) return false;
        cover[b] |= field;
        at[s][b] = i;
    }
    cg_v all = NULL, zero = LLVMConstNull(LLVMTypeOf(v));
    bool whole = true;
    for (int64_t b = 0; b < n; b++) whole = whole && cover[b] == 255;
    for (int s = 0; s < 8; s++) {
        bool used = false;
        for (int64_t b = 0; b < n; b++) used = used || at[s][b] < p->lanes;
        if (!used) continue;
        cg_v part = cg_shuffle(c, v, zero, at[s], (int)n);
        if (s) part = LLVMBuildShl(B, part, cg_int(c, LLVMTypeOf(part), s), "");
        all = all ? LLVMBuildOr(B, all, part, "") : part;
    }
    if (!whole) {
        cg_v old = LLVMBuildLoad2(B, LLVMTypeOf(all), cg_place_ptr(c, p, lo), "");
        LLVMSetAlignment(old, 1);
        for (int64_t b = 0; b < n; b++) cover[b] = ~cover[b];
        all = LLVMBuildOr(B, all, LLVMBuildAnd(B, old, shift_const(c, cover, (int)n), ""), "");
    }
    store_at(c, all, cg_place_ptr(c, p, lo), cg_place_align(p, lo));
    return true;
}

/* Codes of fewer than 8 bits: byte by byte, the neighbours' bits kept. */
static void store_bits(cg *c, cg_place *p, cg_v v, cg_v mask)
{
    if (!mask && !p->dyn && store_bit_row(c, p, v)) return;
    if (c->gpu)
        cg_fail(c, LL_UNSUPPORTED,
                "codegen: codes of '%s' are stored without their neighbours in the byte, which "
                "other threads may store",
                p->buf->lp->t->name);
    cg_v ptrs = lane_ptrs(c, p, 0), spare = mask ? sink(c, c->i16) : NULL;
    for (int i = 0; i < p->lanes; i++) {
        cg_v one = LLVMBuildZExt(B, cg_extract(c, v, i), c->i16, ""), at = cg_extract(c, ptrs, i),
             sh;
        cg_v at2 = LLVMBuildGEP2(B, c->i8, at, (cg_v[]){cg_int(c, c->i64, 1)}, 1, "");
        bool two = 8 % p->bits != 0;
        if (p->dyn) {
            sh = LLVMBuildAnd(B, cg_extract(c, p->dyn, i), cg_int(c, c->i64, 7), "");
            sh = LLVMBuildTrunc(B, sh, c->i16, "");
            cg_v over = LLVMBuildICmp(B, LLVMIntUGT, sh, cg_int(c, c->i16, 8 - p->bits), "");
            if (two)
                at2 = LLVMBuildSelect(B, over, at2, spare ? spare : (spare = sink(c, c->i16)), "");
        } else {
            int s = (int)((p->bit + p->off[i]) & 7);
            two = s + p->bits > 8;
            sh = cg_int(c, c->i16, s);
        }
        if (mask) {
            cg_v m = cg_extract(c, mask, i);
            at = LLVMBuildSelect(B, m, at, spare, "");
            at2 = LLVMBuildSelect(B, m, at2, spare, "");
        }
        cg_v field = LLVMBuildShl(B, cg_int(c, c->i16, (1 << p->bits) - 1), sh, ""),
             bits = LLVMBuildShl(B, one, sh, "");
        for (int half = 0; half < (two ? 2 : 1); half++) {
            cg_v to = half ? at2 : at, keep, old = LLVMBuildLoad2(B, c->i8, to, "");
            cg_v f = half ? LLVMBuildLShr(B, field, cg_int(c, c->i16, 8), "") : field;
            cg_v b = half ? LLVMBuildLShr(B, bits, cg_int(c, c->i16, 8), "") : bits;
            LLVMSetAlignment(old, 1);
            keep = LLVMBuildAnd(B, old, LLVMBuildNot(B, LLVMBuildTrunc(B, f, c->i8, ""), ""), "");
            store_at(c, LLVMBuildOr(B, keep, LLVMBuildTrunc(B, b, c->i8, ""), ""), to, 1);
        }
    }
}

void cg_mem_store(cg *c, cg_place *p, ll_dtype t, cg_v v, cg_v mask)
{
    if (p->bits < 8) {
        if (t == LL_BOOL) v = LLVMBuildZExt(B, v, cg_retype(v, c->i8), "");
        store_bits(c, p, v, mask);
        return;
    }
    bool bytes = p->dyn || p->bit == 0;
    for (int i = 0; !p->dyn && i < p->lanes; i++) bytes = bytes && p->off[i] % 8 == 0;
    if (!bytes)
        cg_fail(c, LL_NOT_LEGAL,
                "codegen: elements of '%s' do not begin at whole bytes in its layout",
                p->buf->lp->t->name);
    store_whole(c, p, cg_elt(c, t), p->bits / 8, v, mask);
}

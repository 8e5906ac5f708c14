/* gpu.c: what the threads of a GPU do that a CPU's do not: their numbers, shared memory, barriers,
 * shuffles, asynchronous copies, and functions that the machine computes.
 *
 *   exp2    ex2.approx.ftz: 2 ulp; results below 2^-126 are 0
 *   exp     ex2 of x * log2(e) in two parts: 3 ulp; results below 2^-126 are 0
 *   rsqrt   rsqrt.approx: 2^-22.9 relative
 *
 * Everything else is math.c's. Division and square root are exact (div.rn, sqrt.rn).
 *
 * A copy becomes cp.async where its piece lies side by side in both memories, in 4, 8 or 16 aligned
 * bytes, and the target has it (sm_80); else a load and a store, which are complete even earlier
 * than the `wait` that they do not need. Masked accesses are branches: registers have no
 * address that idle lanes could use instead. */
#include <stdio.h>
#include <string.h>

#include "codegen/cg.h"

#define B (c->b)

/* ---- numbers --------------------------------------------------------------------------------- */

static cg_v special(cg *c, const char *name) { return cg_call(c, name, NULL, 0, NULL, 0); }

static void block_loop(cg *c, lp_stmt *s) {
    static const char *const reg[] = {"llvm.nvvm.read.ptx.sreg.ctaid.x",
                                      "llvm.nvvm.read.ptx.sreg.ctaid.y",
                                      "llvm.nvvm.read.ptx.sreg.ctaid.z"};
    te_ref var = s->u.loop.var, n = cg_prep(c, var->u.axis->extent);
    cg_v at = LLVMBuildZExt(B, special(c, reg[s->u.loop.how - LP_BLOCK_X]), c->i64, "block");
    if (n->op != TE_INT) { /* the grid may be larger: it was made for the largest dims of a graph */
        cg_bb work = cg_block(c, "work");
        cg_v more = LLVMBuildICmp(B, LLVMIntSLT, at, cg_eval(c, n).v, "");
        LLVMBuildCondBr(B, more, work, c->leave);
        LLVMPositionBuilderAtEnd(B, work);
    }
    cg_push_bind(c, var, (cg_val){at, 0}, c->cur);
    cg_touch(c);
    cg_block_of(c, s->u.loop.body);
}

void cg_gpu_loop(cg *c, lp_stmt *s) {
    if (s->u.loop.how != LP_SPMD) {
        block_loop(c, s);
        return;
    }
    c->threads = (int)s->u.loop.var->u.axis->extent->u.i;
    c->tid = special(c, "llvm.nvvm.read.ptx.sreg.tid.x");
    cg_push_bind(c, s->u.loop.var, (cg_val){LLVMBuildZExt(B, c->tid, c->i64, "tid"), 0}, c->cur);
    cg_touch(c);
    cg_block_of(c, s->u.loop.body);
}

/* ---- shared memory --------------------------------------------------------------------------- */

/* Each buffer has a place of its own for the whole kernel; a warp's buffer one for every warp. */
void cg_alloc_shared(cg *c, cg_buf *b) {
    const te_tensor *t = b->lp->t;
    int bits = ll_dtype_bits((ll_dtype)t->dtype);
    const lp_layout *l =
        b->lp->layout ? b->lp->layout : lp_layout_dense(c->g, t->shape, t->ndim, bits);
    te_ref size = cg_prep(c, lp_layout_bits(c->g, l, t->shape, t->ndim, bits));
    if (size->op != TE_INT)
        cg_fail(c, LL_NOT_LEGAL, "codegen: shared buffer '%s' has no constant size", t->name);
    int64_t align = b->lp->align > 16 ? b->lp->align : 16;
    int64_t bytes = ((size->u.i + 7) / 8 + align - 1) / align * align;
    uintptr_t at = (uintptr_t)ll_map_get_ptr(&c->placed, b->lp);
    if (!at) {
        int64_t first = (c->shared_used + align - 1) / align * align;
        c->shared_used = first + bytes * (b->lp->scope == LP_WARPSH ? c->threads / 32 : 1);
        at = (uintptr_t)first + 1;
        ll_map_set_ptr(&c->placed, b->lp, (void *)at);
    }
    b->align = (int)align;
    cg_v off = cg_int(c, c->i64, (int64_t)at - 1);
    if (b->lp->scope == LP_WARPSH) {
        cg_v warp = LLVMBuildLShr(B, c->tid, cg_int(c, c->i32, 5), "");
        warp = LLVMBuildMul(B, LLVMBuildZExt(B, warp, c->i64, ""), cg_int(c, c->i64, bytes), "");
        off = LLVMBuildAdd(B, off, warp, "");
    }
    b->base = LLVMBuildInBoundsGEP2(B, c->i8, c->shared, &off, 1, t->name);
}

/* ---- masked accesses ------------------------------------------------------------------------- */

static void begin_lane(cg *c, cg_v on, cg_bb *from, cg_bb *join) {
    cg_bb yes = cg_block(c, "active");
    *join = cg_block(c, "lane");
    *from = LLVMGetInsertBlock(B);
    LLVMBuildCondBr(B, on, yes, *join);
    LLVMPositionBuilderAtEnd(B, yes);
}

cg_v cg_gpu_load(cg *c, const cg_place *p, cg_t elt, cg_v ptrs, int align, cg_v mask) {
    cg_v all = p->lanes > 1 ? LLVMConstNull(cg_wide(elt, p->lanes)) : NULL;
    unsigned size = p->bits < 8 ? 1 : (unsigned)p->bits / 8;
    for (int i = 0; i < p->lanes; i++) {
        cg_bb from, join, end;
        begin_lane(c, cg_extract(c, mask, i), &from, &join);
        cg_v one = LLVMBuildLoad2(B, elt, cg_extract(c, ptrs, i), "");
        LLVMSetAlignment(one, !i && (unsigned)align > size ? (unsigned)align : size);
        end = LLVMGetInsertBlock(B);
        LLVMBuildBr(B, join);
        LLVMPositionBuilderAtEnd(B, join);
        cg_v v = LLVMBuildPhi(B, elt, ""), in[2] = {one, LLVMConstNull(elt)};
        LLVMAddIncoming(v, in, (cg_bb[]){end, from}, 2);
        all = all ? cg_insert(c, all, v, i) : v;
    }
    return all;
}

void cg_gpu_store(cg *c, cg_v v, cg_v ptrs, int align, cg_v mask) {
    int n = cg_width(v);
    for (int i = 0; i < n; i++) {
        cg_bb from, join;
        cg_v one = cg_extract(c, v, i), at = cg_extract(c, ptrs, i);
        begin_lane(c, cg_extract(c, mask, i), &from, &join);
        cg_v s = LLVMBuildStore(B, one, at);
        if (!i && align > 0) LLVMSetAlignment(s, (unsigned)align);
        LLVMBuildBr(B, join);
        LLVMPositionBuilderAtEnd(B, join);
    }
}

/* ---- shuffles -------------------------------------------------------------------------------- */

static cg_v exchange(cg *c, cg_v v, const char *how, cg_v with) {
    cg_v arg[4] = {cg_int(c, c->i32, -1), v, with, cg_int(c, c->i32, 31)};
    return cg_call(c, how, NULL, 0, arg, 4);
}

/* A value of any width, in 32-bit words. */
static cg_v shuffled(cg *c, cg_v v, const char *how, cg_v with) {
    cg_t t = LLVMTypeOf(v);
    unsigned bits = t == c->f16                                 ? 16
                    : t == c->f32                               ? 32
                    : t == c->f64                               ? 64
                    : LLVMGetTypeKind(t) == LLVMIntegerTypeKind ? LLVMGetIntTypeWidth(t)
                                                                : 0;
    cg_t word = LLVMIntTypeInContext(c->ctx, bits);
    cg_v w = LLVMBuildBitCast(B, v, word, "");
    if (bits == 64) {
        cg_v half[2];
        for (int i = 0; i < 2; i++) {
            half[i] =
                LLVMBuildTrunc(B, LLVMBuildLShr(B, w, cg_int(c, word, 32 * i), ""), c->i32, "");
            half[i] = LLVMBuildZExt(B, exchange(c, half[i], how, with), word, "");
        }
        w = LLVMBuildOr(B, half[0], LLVMBuildShl(B, half[1], cg_int(c, word, 32), ""), "");
    } else {
        if (bits < 32) w = LLVMBuildZExt(B, w, c->i32, "");
        w = exchange(c, w, how, with);
        if (bits < 32) w = LLVMBuildTrunc(B, w, word, "");
    }
    return LLVMBuildBitCast(B, w, t, "");
}

static void shuffle_stmt(cg *c, lp_stmt *s) {
    cg_buf *dst = cg_buf_of(c, s->u.shuffle.dst->t), *src = cg_buf_of(c, s->u.shuffle.src->t);
    te_ref from[TE_MAX_DIM], to[TE_MAX_DIM];
    for (int i = 0; i < src->lp->t->ndim; i++) from[i] = cg_prep(c, s->u.shuffle.src_at[i]);
    for (int i = 0; i < dst->lp->t->ndim; i++) to[i] = cg_prep(c, s->u.shuffle.dst_at[i]);
    if (c->n_vec || c->mask.v || !dst->e || !src->e)
        cg_fail(c, LL_NOT_LEGAL, "codegen: a shuffle of lanes of a vector: %s", lp_show(s));
    int64_t at, into;
    cg_reg_place(c, src, from, 0, true, &at);
    cg_reg_place(c, dst, to, 0, false, &into);
    cg_v v = cg_reg_get(c, src, &at, 1), with = cg_int(c, c->i32, s->u.shuffle.mask);
    const char *how = "llvm.nvvm.shfl.sync.bfly.i32";
    if (s->u.shuffle.lane) {
        with = LLVMBuildTrunc(B, cg_eval(c, cg_prep(c, s->u.shuffle.lane)).v, c->i32, "");
        how = "llvm.nvvm.shfl.sync.idx.i32";
    }
    cg_reg_put(c, dst, &into, 1, shuffled(c, v, how, with));
}

/* ---- copies ---------------------------------------------------------------------------------- */

static bool side_by_side(const cg_place *p) {
    for (int i = 0; i < p->lanes; i++)
        if (p->dyn || p->off[i] != (int64_t)i * p->bits) return false;
    return p->bit == 0;
}

/* The place of the piece that starts at idx[] and walks dimension `dim` over the lanes. */
static void piece_place(cg *c, cg_buf *b, const te_ref *at, int dim, te_ref lane, cg_place *p) {
    te_ref idx[TE_MAX_DIM];
    for (int i = 0; i < b->lp->t->ndim; i++) idx[i] = cg_prep(c, at[i]);
    if (lane) idx[dim] = cg_prep(c, te_add(idx[dim], lane));
    cg_place_of(c, b, idx, p);
}

static void async_copy(cg *c, const cg_place *to, const cg_place *from, int bytes, cg_v valid) {
    char name[64];
    snprintf(name, sizeof name, "llvm.nvvm.cp.async.%s.shared.global.%d%s",
             bytes == 16 ? "cg" : "ca", bytes, valid ? ".s" : "");
    cg_v arg[3] = {cg_place_ptr(c, to, 0), cg_place_ptr(c, from, 0), NULL};
    if (valid) {
        arg[2] = LLVMBuildTrunc(B, valid, c->i32, "");
        arg[2] = LLVMBuildMul(B, arg[2], cg_int(c, c->i32, from->bits / 8), "");
    }
    cg_call(c, name, NULL, 0, arg, valid ? 3 : 2);
}

static void copy_stmt(cg *c, lp_stmt *s) {
    cg_buf *dst = cg_buf_of(c, s->u.copy.dst->t), *src = cg_buf_of(c, s->u.copy.src->t);
    ll_dtype t = (ll_dtype)dst->lp->t->dtype;
    int dim = -1;
    for (int i = 0; i < dst->lp->t->ndim; i++)
        if (s->u.copy.src_dim[i] >= 0) dim = i;
    if (dim < 0 || s->u.copy.mbar || c->n_vec)
        cg_fail(c, LL_UNSUPPORTED, "codegen: no such copy for a thread: %s", lp_show(s));
    int n = (int)s->u.copy.extent[dim];
    cg_v valid = s->u.copy.valid ? cg_eval(c, cg_prep(c, s->u.copy.valid)).v : NULL;
    te_ref lane = n > 1 ? te_axis(c->g, "piece", te_int(c->g, n)) : NULL;
    if (lane) cg_push_vec(c, lane, n);
    cg_place to, from;
    piece_place(c, dst, s->u.copy.dst_at, dim, lane, &to);
    piece_place(c, src, s->u.copy.src_at, s->u.copy.src_dim[dim], lane, &from);
    int bytes = n * to.bits / 8;
    bool fits = bytes == 4 || bytes == 8 || bytes == 16;
    if (fits && c->target->sm >= 80 && side_by_side(&to) && side_by_side(&from) && to.lanes == n &&
        from.lanes == n && cg_place_align(&to, 0) >= bytes && cg_place_align(&from, 0) >= bytes &&
        src->lp->scope == LP_GLOBAL) {
        async_copy(c, &to, &from, bytes, valid);
    } else {
        cg_v mask = NULL;
        if (valid) {
            cg_v e[CG_MAX_LANES];
            for (int i = 0; i < n; i++)
                e[i] = LLVMBuildICmp(B, LLVMIntSGT, valid, cg_int(c, c->i64, i), "");
            mask = n == 1 ? e[0] : LLVMGetPoison(cg_wide(c->i1, n));
            for (int i = 0; n > 1 && i < n; i++) mask = cg_insert(c, mask, e[i], i);
        }
        cg_mem_store(c, &to, t, cg_mem_load(c, &from, t, mask), NULL);
    }
    if (lane) c->n_vec--;
    cg_touch(c);
}

/* ---- matrix instructions --------------------------------------------------------------------- */

/* n registers from `first` on, as 32-bit words of two (or four) elements. */
static int fragment_words(cg *c, cg_buf *b, te_ref first, int n, cg_t word, cg_v *out) {
    int64_t at[8], reg;
    int bits = ll_dtype_bits((ll_dtype)b->lp->t->dtype), each = 32 / bits, count = 0;
    te_ref idx[1] = {cg_prep(c, first)};
    cg_reg_place(c, b, idx, 0, true, &reg);
    if (reg + n > b->n)
        cg_fail(c, LL_NOT_LEGAL, "codegen: a fragment of %d registers begins at %lld of '%s'", n,
                (long long)reg, b->lp->t->name);
    for (int i = 0; i < n; i += each) {
        for (int k = 0; k < each; k++) at[k] = reg + i + k;
        cg_v v = cg_reg_get(c, b, at, each);
        out[count++] = LLVMTypeOf(v) == word ? v : LLVMBuildBitCast(B, v, word, "");
    }
    return count;
}

/* What one lane holds of a tile of m x n elements. */
static int of_a_lane(int m, int n) { return m * n / 32; }

static void mma_stmt(cg *c, lp_stmt *s) {
    const lp_intrin *row = s->u.mma.intrin;
    cg_buf *b[3];
    cg_v arg[16];
    const char *name = strchr(row->llvm, ' ');
    for (int i = 0; i < 3; i++) b[i] = cg_buf_of(c, s->u.mma.buf[i]->t);
    if (!name || strncmp(row->llvm, "mma ", 4) || c->n_vec || c->mask.v || !b[0]->e || !b[1]->e ||
        !b[2]->e)
        cg_fail(c, LL_NOT_LEGAL, "codegen: %s is not emitted here", row->name);
    cg_t word = row->a == LL_F16 ? cg_wide(c->f16, 2) : c->i32;
    int n = fragment_words(c, b[1], s->u.mma.at[1], of_a_lane(row->m, row->k), word, arg);
    n += fragment_words(c, b[2], s->u.mma.at[2], of_a_lane(row->n, row->k), word, arg + n);
    cg_t held = row->acc == LL_F32 ? c->f32 : c->i32;
    int sums = of_a_lane(row->m, row->n);
    n += fragment_words(c, b[0], s->u.mma.at[0], sums, held, arg + n);
    cg_v r = cg_call(c, name + 1, NULL, 0, arg, n);
    te_ref idx[1] = {cg_prep(c, s->u.mma.at[0])};
    int64_t at;
    cg_reg_place(c, b[0], idx, 0, false, &at);
    for (int i = 0; i < sums; i++) {
        int64_t to = at + i;
        cg_reg_put(c, b[0], &to, 1, LLVMBuildExtractValue(B, r, (unsigned)i, ""));
    }
}

static void ldmatrix_stmt(cg *c, lp_stmt *s) {
    cg_buf *dst = cg_buf_of(c, s->u.ldmatrix.dst->t), *src = cg_buf_of(c, s->u.ldmatrix.src->t);
    te_ref idx[TE_MAX_DIM], to[1] = {cg_prep(c, s->u.ldmatrix.dst_at)};
    int n = s->u.ldmatrix.n;
    for (int i = 0; i < src->lp->t->ndim; i++) idx[i] = cg_prep(c, s->u.ldmatrix.src_at[i]);
    cg_place p;
    cg_place_of(c, src, idx, &p);
    if (p.dyn || p.lanes != 1 || cg_place_align(&p, 0) < 16 || src->lp->scope < LP_SHARED ||
        !dst->e)
        cg_fail(c, LL_NOT_LEGAL, "codegen: rows of matrices that are not 16 aligned bytes: %s",
                lp_show(s));
    char name[80];
    snprintf(name, sizeof name, "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x%d%s.b16", n,
             s->u.ldmatrix.trans ? ".trans" : "");
    cg_v at = cg_place_ptr(c, &p, 0);
    cg_t over = LLVMTypeOf(at), pair = cg_wide(cg_elt(c, (ll_dtype)dst->lp->t->dtype), 2);
    cg_v r = cg_call(c, name, &over, 1, &at, 1);
    int64_t first, two[2];
    cg_reg_place(c, dst, to, 0, false, &first);
    for (int i = 0; i < n; i++) {
        cg_v w = n > 1 ? LLVMBuildExtractValue(B, r, (unsigned)i, "") : r;
        two[0] = first + 2 * i;
        two[1] = two[0] + 1;
        cg_reg_put(c, dst, two, 2, LLVMBuildBitCast(B, w, pair, ""));
    }
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void sync_stmt(cg *c, lp_stmt *s) {
    cg_v all = cg_int(c, c->i32, -1);
    if (s->u.sync.id || s->u.sync.scope == LP_GLOBAL)
        cg_fail(c, LL_UNSUPPORTED, "codegen: no such barrier yet: %s", lp_show(s));
    if (s->u.sync.scope == LP_WARPSH)
        cg_call(c, "llvm.nvvm.bar.warp.sync", NULL, 0, &all, 1);
    else
        cg_call(c, "llvm.nvvm.barrier0", NULL, 0, NULL, 0);
    cg_touch(c);
}

void cg_gpu_stmt(cg *c, lp_stmt *s) {
    cg_v n;
    switch (s->kind) {
    case LP_SYNC:
        sync_stmt(c, s);
        return;
    case LP_SHUFFLE:
        shuffle_stmt(c, s);
        return;
    case LP_MMA:
        mma_stmt(c, s);
        return;
    case LP_LDMATRIX:
        ldmatrix_stmt(c, s);
        return;
    case LP_COPY:
        copy_stmt(c, s);
        return;
    case LP_COMMIT:
        if (c->target->sm >= 80) cg_call(c, "llvm.nvvm.cp.async.commit.group", NULL, 0, NULL, 0);
        return;
    case LP_WAIT:
        n = cg_int(c, c->i32, s->u.wait.pending);
        if (c->target->sm >= 80) cg_call(c, "llvm.nvvm.cp.async.wait.group", NULL, 0, &n, 1);
        cg_touch(c);
        return;
    default:
        cg_fail(c, LL_UNSUPPORTED, "codegen: kernel '%s': no code for this yet: %s", c->fn->name,
                lp_show(s));
    }
}

/* ---- functions ------------------------------------------------------------------------------- */

static cg_v each_lane(cg *c, const char *name, cg_v v) {
    int n = cg_width(v);
    if (n == 1) return cg_call(c, name, NULL, 0, &v, 1);
    cg_v r = LLVMGetPoison(LLVMTypeOf(v));
    for (int i = 0; i < n; i++) {
        cg_v one = cg_extract(c, v, i);
        r = cg_insert(c, r, cg_call(c, name, NULL, 0, &one, 1), i);
    }
    return r;
}

/* 2^t * (1 + error of t * ln 2): t is x * log2(e) rounded, its error is known from fused steps. The
 * bounds keep infinities out of the difference; NaN goes through. */
static cg_v exp_of(cg *c, cg_v x) {
    cg_t t = LLVMTypeOf(x);
    cg_v lo = cg_real(c, t, -104), hi = cg_real(c, t, 89);
    x = LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOGT, lo, x, ""), lo, x, "");
    x = LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOLT, hi, x, ""), hi, x, "");
    cg_v k = cg_real(c, t, 0x1.715476p+0), rest = cg_real(c, t, 0x1.4ae0bf85ddf44p-26);
    cg_v y = LLVMBuildFMul(B, x, k, "");
    cg_v err = cg_fma(c, x, rest, cg_fma(c, x, k, LLVMBuildFNeg(B, y, "")));
    cg_v one = cg_fma(c, err, cg_real(c, t, 0.693147180559945309), cg_real(c, t, 1));
    return LLVMBuildFMul(B, each_lane(c, "llvm.nvvm.ex2.approx.ftz.f", y), one, "");
}

cg_v cg_gpu_math(cg *c, te_op op, cg_v x) {
    switch (op) {
    case TE_EXP:
        return exp_of(c, x);
    case TE_EXP2:
        return each_lane(c, "llvm.nvvm.ex2.approx.ftz.f", x);
    case TE_RSQRT:
        return each_lane(c, "llvm.nvvm.rsqrt.approx.f", x);
    default:
        cg_fail(c, LL_UNSUPPORTED, "codegen: operator %d is not a function", op);
    }
}

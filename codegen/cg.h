/* cg.h: what the files of the emitter share, for CPUs and for the threads of a GPU. An lp_func is walked once; every statement becomes
 * explicit vector IR. The parts, each of which knows only those above it:
 *
 *   llvm.c    types, constants, shuffles, intrinsics
 *   arith.c   one te operator on LLVM values;  math.c: exp, log, sin ... as polynomials
 *   reg.c     register buffers as tables of SSA values
 *   place.c   index -> address: affine lanes, induction variables, alignment
 *   mem.c     loads and stores of lanes at a place
 *   eval.c    expressions: which vector axes and loops they depend on, memo, hoisting, masks
 *   dot.c     nests that are one instruction
 *   promote.c thread buffers that are registers while a loop runs
 *   loop.c    loops and branches;  stmt.c: the other statements
 *   x86.c     the two functions of a CPU kernel, object files
 *   gpu.c     statements of GPU threads: barriers, copies, shuffles;  nvptx.c: a kernel, its PTX
 *
 * Values. Inside @vector loops an expression is an LLVM vector over exactly the vector axes it
 * depends on; `axes` has bit i for the i-th open vector loop (outermost is 0). The innermost axis
 * runs fastest over the lanes:
 *
 *     for l < 4 @vector { for r < 2 @vector { ... a[l] + b[r] ... } }
 *     a: <4>, axes 01   b: <2>, axes 10   sum: <8>, axes 11, lane = l * 2 + r
 *
 * Broadcasts happen where values meet.
 *
 * Scopes. A scope is a region that code enters in one place: the function, the body of a loop, a
 * branch. Each has a memo of the expressions computed in it; integer expressions that need only
 * outer scopes are computed in front of the construct that leads inside (`opener`), so index
 * arithmetic is always as far out as its operands allow.
 *
 * Refusals leave through cg_fail, which does not return (a jump to the entry of the compile). */
#ifndef LLMIR_CODEGEN_CG_H
#define LLMIR_CODEGEN_CG_H

#include <llvm-c/Core.h>
#include <setjmp.h>

#include "base/map.h"
#include "codegen/codegen.h"
#include "schedule/intrin.h"

typedef LLVMValueRef cg_v;
typedef LLVMTypeRef cg_t;
typedef LLVMBasicBlockRef cg_bb;

enum {
    CG_MAX_VEC = 6,
    CG_MAX_LANES = 256,
    CG_MAX_SCOPE = 64,
    CG_MAX_ENV = 64,
    CG_MAX_SCALED = 16,
    CG_MAX_BIND = 128
};

typedef struct cg_val {
    cg_v v;
    unsigned axes;
} cg_val;

/* One element of a register buffer: lane `lane` of `v` (-1: `v` is a scalar). `store` numbers the
 * store that made it, so lanes that were stored together are found again. `pend`: lanes that are
 * still to be combined into it. */
typedef struct cg_elem {
    cg_v v, pend;
    int lane;
    uint32_t store;
} cg_elem;

typedef struct cg_buf {
    const lp_buf *lp;
    bool constant; /* never written by this kernel: its loads may move and be shared */
    cg_elem *e;    /* registers: n elements                                           */
    int64_t n;
    te_op pend_op;
    unsigned inside; /* vector loops round its alloc: every lane has elements of its own  */
    int64_t scratch; /* offset in the thread's scratch                                  */
    cg_v base;       /* memory: first byte                                              */
    int align;
} cg_buf;

typedef struct cg_loop {
    cg_v iv;
    cg_bb pre, head;
    int n_scaled;
    struct {
        int64_t step;
        cg_v phi;
    } scaled[CG_MAX_SCALED]; /* iv * step, kept as induction variables of their own */
    int n_cursor;
    struct {
        int64_t step;
        cg_v phi;
    } cursor[CG_MAX_SCALED]; /* pointers that advance by `step` bytes a turn */
} cg_loop;

typedef struct cg_scope {
    ll_map memo;
    cg_v opener; /* the terminator that leads into this scope */
    bool guard;  /* entered under a condition: loads must not leave it */
    cg_loop *loop;
} cg_scope;

typedef struct cg_bind { /* AXIS of an open loop or VAR of an open let */
    te_ref node;
    cg_val val;
    int scope;
} cg_bind;

typedef struct cg_info { /* what an expression depends on */
    unsigned axes;
    int level;     /* innermost scope it needs                       */
    bool reg, mem; /* reads registers / memory that may change       */
    bool load;     /* reads memory                                   */
    bool risky;    /* divides by what may be zero                    */
} cg_info;

typedef struct cg {
    ll_arena arena;
    jmp_buf fail;
    ll_error *err;
    te_graph *g;
    const lp_func *fn;
    const ll_target *target;
    LLVMContextRef ctx;
    LLVMModuleRef mod;
    LLVMBuilderRef b;
    cg_v fnv, args, scratch, args_buf, args_dim, zero_page;
    cg_t i1, i8, i16, i32, i64, f16, f32, f64, ptr, none;
    struct {
        te_ref axis;
        int extent;
    } vec[CG_MAX_VEC];
    int n_vec;
    te_ref env_from[CG_MAX_ENV], env_to[CG_MAX_ENV];
    int n_env;
    cg_bind bind[CG_MAX_BIND];
    int n_bind;
    cg_scope scope[CG_MAX_SCOPE];
    int cur;     /* innermost scope, or the outer one that hoisted code is made for */
    int top;     /* innermost open scope                                           */
    cg_val mask; /* v == NULL: every lane is active */
    int masked;  /* depth of selects whose branches may fault */
    uint32_t reg_epoch, mem_epoch, n_store;
    ll_map bufs;  /* lp_buf -> cg_buf */
    ll_map info;  /* te node -> cg_info, of the statement at hand */
    ll_map chunk; /* (axis, width) -> axis of the lanes of one piece */
    int64_t scratch_used, scratch_max;
    bool gpu;     /* the thread-level function of a kernel for NVPTX */
    int threads;  /* of a block                                      */
    cg_v tid;     /* i32, warp-uniform number of the warp            */
    cg_v warp, shared;      /* shared: the block's memory            */
    cg_bb leave;            /* where surplus blocks go               */
    ll_map placed;          /* shared lp_buf -> its offset + 1       */
    int64_t shared_used;
    bool claimed; /* the claim loop was emitted */
    /* the running claim loop */
    cg_v team, thread, first_part;
} cg;

_Noreturn void cg_fail(cg *c, ll_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- llvm.c ---- */
cg_t cg_elt(cg *c, ll_dtype t);    /* how a value of this type is held                 */
cg_t cg_wide(cg_t elt, int lanes); /* vector type, or elt for one lane                 */
int cg_width(cg_v v);              /* lanes of a value (1: scalar)                     */
cg_t cg_scalar_type(cg_v v);
cg_v cg_int(cg *c, cg_t like, int64_t x); /* constant of a scalar or vector type              */
cg_v cg_real(cg *c, cg_t like, double x);
cg_t cg_retype(cg_v v, cg_t elt); /* elt with as many lanes as v                      */
cg_v cg_splat(cg *c, cg_v v, int lanes);
cg_v cg_shuffle(cg *c, cg_v a, cg_v b, const int *lane, int n);
cg_v cg_extract(cg *c, cg_v v, int lane);
cg_v cg_insert(cg *c, cg_v v, cg_v x, int lane);
cg_v cg_concat(cg *c, cg_v *part, int n); /* equal widths, n a power of two                   */
cg_v cg_call(cg *c, const char *intrinsic, cg_t *over, int n_over, cg_v *arg, int n);
cg_v cg_call1(cg *c, const char *intrinsic, cg_v a); /* overloaded on the operand          */
cg_v cg_call2(cg *c, const char *intrinsic, cg_v a, cg_v b);
cg_v cg_fma(cg *c, cg_v a, cg_v b, cg_v acc);
cg_v cg_flags(cg_v v, LLVMFastMathFlags f);
cg_bb cg_block(cg *c, const char *name);
bool cg_has(const cg *c, ll_cpu_feature f);

/* ---- arith.c, math.c ---- */
cg_v cg_apply(cg *c, te_ref e, cg_v *src); /* sources are held values of equal width */
cg_v cg_to_f32(cg *c, ll_dtype from, cg_v v);
cg_v cg_from_f32(cg *c, ll_dtype to, cg_v v);
cg_v cg_combine(cg *c, te_op op, ll_dtype t, cg_v a, cg_v b); /* one step of a reduction */
cg_v cg_identity(cg *c, te_op op, ll_dtype t, int lanes);
cg_v cg_across(cg *c, te_op op, ll_dtype t, cg_v v); /* all lanes to one scalar */
cg_v cg_math(cg *c, te_op op, cg_v x);               /* f32 functions of te     */

/* ---- reg.c ---- */
cg_v cg_reg_get(cg *c, cg_buf *b, const int64_t *at, int lanes);
void cg_reg_put(cg *c, cg_buf *b, const int64_t *at, int lanes, cg_v v);
void cg_reg_flush(cg *c, cg_buf *b);
/* Values of `b` that a loop carries: phis at the head, or values merged after branches. */
typedef struct cg_group {
    int64_t *at;
    int n;
    cg_v phi;
    bool pend;
} cg_group;
typedef struct cg_groups {
    cg_buf *b;
    int n;
    cg_group *group;
} cg_groups;
cg_groups cg_reg_groups(cg *c, cg_buf *b);
cg_v cg_group_value(cg *c, cg_buf *b, const cg_group *g, cg_t type);
void cg_group_set(cg *c, cg_buf *b, const cg_group *g, cg_v v);

/* ---- place.c ---- */
typedef struct cg_place {
    cg_buf *buf;
    unsigned axes;
    int lanes, bits;
    cg_v ptr;                  /* run-time part of the address of lane 0...                     */
    int64_t byte;              /* ...and its constant part                                      */
    int bit;                   /* bit inside that byte where lane 0 begins                      */
    int64_t off[CG_MAX_LANES]; /* bits from lane 0                                    */
    cg_v dyn;                  /* not NULL: run-time bit addresses of the lanes from buf->base  */
    int align;                 /* of ptr, proved                                                */
    te_ref key;                /* interned run-time part: equal keys, equal ptr                 */
} cg_place;
void cg_place_of(cg *c, cg_buf *b, const te_ref *idx, cg_place *p);
cg_v cg_place_ptr(cg *c, const cg_place *p, int64_t more_bytes);
int cg_place_align(const cg_place *p, int64_t more_bytes);
/* The axes over which an access at idx[] has lanes. */
unsigned cg_access_axes(cg *c, const cg_buf *b, const te_ref *idx);
/* idx[] of a register buffer as element numbers of the lanes over `axes`. A read may name
 * elements that are not there in lanes whose value is not used (select): any element will do. */
void cg_reg_place(cg *c, cg_buf *b, const te_ref *idx, unsigned axes, bool read, int64_t *at);
cg_v cg_scaled(cg *c, cg_loop *l, int64_t step);
/* e = *rest + off[lane]: false when a lane's part is known at run time only. */
bool cg_lane_split(cg *c, te_ref e, unsigned axes, int64_t *off, te_ref *rest);

/* ---- mem.c ---- */
cg_v cg_mem_load(cg *c, cg_place *p, ll_dtype t, cg_v mask);
void cg_mem_store(cg *c, cg_place *p, ll_dtype t, cg_v v, cg_v mask);

/* ---- eval.c ---- */
/* Values that are worth keeping in the scope at hand, under any key. mem, reg: gone once memory,
 * registers change. */
bool cg_recall(cg *c, const void *key, size_t n, cg_val *out);
void cg_remember(cg *c, const void *key, size_t n, cg_val v, bool reg, bool mem);
cg_info cg_info_of(cg *c, te_ref e);
cg_val cg_eval(cg *c, te_ref e);
te_ref cg_prep(cg *c, te_ref e); /* loop constants put in, simplified */
int cg_lanes(const cg *c, unsigned axes);
cg_v cg_spread(cg *c, cg_val v, unsigned axes); /* over more axes */
/* Digits of a lane: value of vector axis i (a bit of `axes`). */
int cg_lane_digit(const cg *c, unsigned axes, int lane, int i);
cg_val cg_and_mask(cg *c, cg_val a, cg_val b);
cg_v cg_mask_for(cg *c, unsigned axes); /* NULL: all; any lane of other axes counts */
cg_buf *cg_buf_of(cg *c, const te_tensor *t);
cg_bind *cg_bound(cg *c, te_ref node);
void cg_open(cg *c, cg_v opener, bool guard, cg_loop *loop);
void cg_shut(cg *c);
void cg_touch(cg *c); /* memory and registers may have changed */
typedef struct cg_spot {
    int cur;
    cg_bb at;
} cg_spot;
cg_spot cg_goto_scope(cg *c, int level);
void cg_return_from(cg *c, cg_spot s);

/* ---- dot.c ---- */
void cg_dot(cg *c, lp_stmt *nest);

/* ---- gpu.c ---- */
void cg_gpu_stmt(cg *c, lp_stmt *s);
void cg_gpu_loop(cg *c, lp_stmt *s); /* @block.x .y .z, @spmd */
void cg_alloc_shared(cg *c, cg_buf *b);
cg_v cg_gpu_load(cg *c, const cg_place *p, cg_t elt, cg_v ptrs, int align, cg_v mask);
void cg_gpu_store(cg *c, cg_v v, cg_v ptrs, int align, cg_v mask);
/* f32 functions that the machine has: exp, exp2, rsqrt (errors: gpu.c). NULL: not this one. */
cg_v cg_gpu_math(cg *c, te_op op, cg_v x);

/* ---- nvptx.c ---- */
ll_code cg_build_ptx(cg *c, cg_job *job, ll_error *err);

/* ---- x86.c ---- */
void cg_fresh_scope(cg *c);
bool cg_writes_storage(const cg *c, const lp_buf *b);
int cg_whole_align(const lp_buf *b);
cg_v cg_constant_load(cg *c, cg_t type, cg_v p, int64_t index, const char *name);

/* ---- promote.c ---- */
enum { CG_MAX_PROMOTED = 8 };
typedef struct cg_promoted {
    int n;
    cg_buf *b[CG_MAX_PROMOTED];
    bool *used[CG_MAX_PROMOTED];
} cg_promoted;
/* In front of a loop over `body`: thread buffers that become registers until cg_demote. */
cg_promoted cg_promote(cg *c, lp_stmt *body);
void cg_demote(cg *c, const cg_promoted *p);

/* ---- loop.c ---- */
typedef struct cg_writes { /* register buffers that a piece of code writes and that live outside of
                              it */
    cg *c;
    int n;
    cg_buf *b[64];
} cg_writes;

typedef struct cg_fork { /* an open branch: cg_fork_begin, then, cg_fork_else, otherwise,
                            cg_fork_end */
    cg_writes w;
    cg_elem *before[64];
    cg_groups after[64];
    cg_v *value[64];
    cg_bb then_end, other, join;
} cg_fork;
void cg_fork_begin(cg *c, cg_fork *f, cg_v cond, lp_stmt *then, lp_stmt *otherwise);
void cg_fork_else(cg *c, cg_fork *f);
void cg_fork_end(cg *c, cg_fork *f);
void cg_for(cg *c, lp_stmt *s);
cg_v cg_claim(cg *c); /* the next part, or -1 */
cg_bind *cg_push_bind(cg *c, te_ref node, cg_val v, int scope);
/* `body` with `value` in place of var. */
void cg_with_constant(cg *c, te_ref var, te_ref value, lp_stmt *body);
void cg_push_vec(cg *c, te_ref axis, int extent);

/* ---- stmt.c ---- */
void cg_block_of(cg *c, lp_stmt *s);

#endif

/* loop.h: the loop IR: what a schedule rewrites and what the code generators read.
 *
 * A function is a list of statements over buffers. Expressions inside statements are te
 * expressions: loop variables are AXIS nodes (their extent is the trip count, they start at 0),
 * `let` variables are VAR nodes, and a LOAD names the buffer's tensor. Loop names are "stage.axis"
 * and unique in a function, so a trace can name them; a stage is the definition that a nest
 * computes.
 *
 *   kernel gemv(in f32 x[T, 576], in q4_1 W[..] .., out f32 y[T, 576]) {
 *     alloc thread s8 xq[576]                   # before the claimed loop: every thread, for itself
 *     ...
 *     for y.n.o < 18 @claim {                   # parts of the kernel
 *       alloc reg f32 y.acc[2, 16]
 *       for y.b < 18 { ...
 *         for y.l < 16 @vector @vpdpbusd.512 {  # an instruction is an annotation: the nest
 *           for y.r.i < 4 {                     # below is its meaning
 *             y.dot[y.s, y.l] += s32(W.q[..]) * s32(xq[..]) } } } } }
 *
 * GPU code is written at block level: `for @thread.x` loops are data-parallel statements, `sync`
 * stands between them, and register tiles shared by a warp or block are buffers with a distributed
 * layout. threads.c turns that into what one thread does: one loop `@spmd` over the threads.
 *
 * The tree is plain data in the function's graph arena; rewriting makes new nodes or edits in
 * place. The invariants are in verify.c; what a statement means is in loop_eval.c. */
#ifndef LLMIR_SCHEDULE_LOOP_H
#define LLMIR_SCHEDULE_LOOP_H

#include "schedule/layout.h"
#include "te/te.h"

typedef enum lp_scope {
    LP_GLOBAL, /* memory of the device; parameters are global                            */
    LP_THREAD, /* scratch of a CPU thread (not zeroed); per GPU thread: local            */
    LP_REG,    /* registers: every index must be constant after unrolling, or vector     */
    LP_SHARED, /* shared memory of a block                                               */
    LP_WARPSH, /* shared memory that one warp uses alone                                 */
} lp_scope;

typedef struct lp_buf {
    te_tensor *t;           /* name, dtype, shape; loads name it                          */
    lp_scope scope;
    const lp_layout *layout; /* NULL: dense row-major                                     */
    struct lp_buf *within;  /* lies in another buffer's bytes, by layout: a packed plane     */
    int param;              /* position in the parameter list, or -1                      */
    bool written;           /* the function stores to it (parameters)                     */
    bool given;             /* parameters: contents are defined at entry; an output that
                               is not given starts unwritten                          */
    int align;              /* bytes guaranteed for the start; 0: element size            */
} lp_buf;

typedef enum lp_kind {
    LP_FOR, LP_ALLOC, LP_STORE, LP_REDUCE, LP_IF, LP_LET,
    LP_SYNC, LP_COPY, LP_COMMIT, LP_WAIT, LP_MBAR, LP_ROLES, LP_PREFETCH, LP_SHUFFLE,
    LP_MMA, LP_LDMATRIX,
} lp_kind;

typedef enum lp_how { /* how a loop runs */
    LP_SERIAL, LP_UNROLL, LP_VECTOR, LP_PARALLEL,
    LP_CLAIM,  /* parts of a CPU kernel: own range first, then stealing; one, at top level */
    LP_ROTATE, /* serial, body copied `rotate` times: the ring index is constant in each */
    LP_BLOCK_X, LP_BLOCK_Y, LP_BLOCK_Z, LP_THREAD_X, LP_THREAD_Y, LP_THREAD_Z, LP_WARP,
    LP_SPMD, /* the threads of a block, which may meet at barriers: only threads.c makes it */
    LP_N_HOW
} lp_how;

struct lp_intrin; /* intrin.h: a row of intrin.def */

typedef struct lp_stmt lp_stmt;
struct lp_stmt {
    lp_kind kind;
    lp_stmt *next; /* the following statement in the same block */
    union {
        struct {
            te_ref var; /* AXIS: name and extent */
            lp_how how;
            int rotate;      /* LP_ROTATE: copies */
            bool opaque;     /* the extent comes from an argument and is never folded */
            const struct lp_intrin *intrin; /* this nest is one instruction, or NULL */
            lp_stmt *body;
        } loop;
        struct { lp_buf *buf; lp_stmt *body; } alloc; /* lives in body; prints flat */
        struct { lp_buf *buf; te_ref idx[TE_MAX_DIM]; te_ref value; } store;
        struct { /* buf[idx] op= value: TE_SUM, TE_MAXR, TE_MINR */
            lp_buf *buf;
            te_ref idx[TE_MAX_DIM], value;
            te_op op;
        } reduce;
        struct { te_ref cond; bool uniform; lp_stmt *then, *otherwise; } guard;
        struct { te_ref var, value; bool uniform; lp_stmt *body; } let;
        struct { lp_scope scope; int id; } sync; /* SHARED: block, WARPSH: warp, GLOBAL: cluster */
        struct { /* asynchronous copy of a box; rows behind `valid` are zero-filled, not read */
            lp_buf *dst, *src, *mbar; /* mbar: completes there (TMA); NULL: by commit groups */
            te_ref dst_at[TE_MAX_DIM], src_at[TE_MAX_DIM], mbar_at;
            int64_t extent[TE_MAX_DIM]; /* over the destination's dimensions, each >= 1 */
            int8_t src_dim[TE_MAX_DIM]; /* the source dimension that destination dimension i walks;
                                           -1: none (extent 1). Increasing where it is not -1 */
            te_ref valid; /* NULL: all; else how many steps of the first walked dimension copy */
        } copy;
        struct { int pending; bool warp; } wait; /* at most `pending` commit groups in flight */
        struct { /* lp_mbar_op; arg: INIT arrivals, EXPECT bytes (and arrives), WAIT parity */
            lp_buf *buf;
            te_ref at, arg;
            int op;
        } mbar;
        struct { int n; const char *name[4]; int warps[4], regs[4]; lp_stmt *body[4]; } roles;
        struct { /* the line of that element; any index is legal */
            lp_buf *buf;
            te_ref idx[TE_MAX_DIM];
            int level;
        } prefetch;
        struct { /* dst = src of another lane of the warp; all lanes take part. Inside @spmd */
            lp_buf *dst, *src;
            te_ref dst_at[TE_MAX_DIM], src_at[TE_MAX_DIM];
            te_ref lane; /* number of that lane, or... */
            int mask;    /* ...with lane NULL: own number ^ mask */
        } shuffle;
        struct { /* a warp's matrix product; registers of a fragment lie side by side from at[] on */
            const struct lp_intrin *intrin;
            lp_buf *buf[3]; /* acc, a, b */
            te_ref at[3];
        } mma;
        struct { /* n 8x8 matrices of 2-byte elements; lane l names row l % 8 of matrix l / 8 */
            lp_buf *dst, *src;
            te_ref dst_at, src_at[TE_MAX_DIM];
            int n;      /* 1, 2 or 4 */
            bool trans; /* a lane gets elements of a column */
        } ldmatrix;
    } u;
};

typedef enum lp_mbar_op { LP_MBAR_INIT, LP_MBAR_EXPECT, LP_MBAR_ARRIVE, LP_MBAR_WAIT } lp_mbar_op;

typedef struct lp_func {
    const char *name;
    te_graph *g;
    lp_buf **param; int n_param;
    lp_buf **buf;   int n_buf, cap_buf;   /* every buffer, parameters first */
    te_ref *dim;    int n_dim;            /* DIM nodes used...               */
    int *dim_slot;                        /* ...and their index in llmir_args.dim: position, or
                                             what compile/ filled in */
    lp_stmt *body;
    int min_ctas, max_regs;               /* GPU launch bounds; 0: none      */
} lp_func;

/* ---- building (loop.c) ----------------------------------------------------------------------- */
lp_func *lp_func_create(te_graph *g, const char *name);
lp_buf *lp_buf_add(lp_func *f, te_tensor *t, lp_scope scope, const lp_layout *layout);
lp_buf *lp_buf_new(lp_func *f, const char *name, ll_dtype t, lp_scope scope, const te_ref *shape,
                   int ndim);
lp_buf *lp_buf_of(const lp_func *f, const te_tensor *t); /* NULL when absent */
/* Two buffers inside one memory: true when it is proved that no element of one shares a bit with one of the other. */
bool lp_bufs_apart(const lp_func *f, const lp_buf *a, const lp_buf *b);
lp_buf *lp_param_add(lp_func *f, te_tensor *t, bool written);
lp_stmt *lp_for(lp_func *f, te_ref var, lp_how how, lp_stmt *body);
lp_stmt *lp_alloc(lp_func *f, lp_buf *b, lp_stmt *body);
lp_stmt *lp_store(lp_func *f, lp_buf *b, const te_ref *idx, te_ref value);
lp_stmt *lp_reduce(lp_func *f, te_op op, lp_buf *b, const te_ref *idx, te_ref value);
lp_stmt *lp_if(lp_func *f, te_ref cond, lp_stmt *then, lp_stmt *otherwise);
lp_stmt *lp_let(lp_func *f, te_ref var, te_ref value, lp_stmt *body);
lp_stmt *lp_seq(lp_stmt *a, lp_stmt *b); /* appends b after the end of a; either may be NULL */
lp_stmt *lp_clone(lp_func *f, const lp_stmt *s); /* deep; shares expressions and buffers */
/* Deep, with loop variables, let variables and allocated buffers of its own (names made unique). */
lp_stmt *lp_clone_fresh(lp_func *f, const lp_stmt *s);
/* `want`, or want.2, want.3...: the first that no loop, variable or buffer of f and no tensor of
 * its graph has. */
const char *lp_fresh_name(lp_func *f, const char *want);
/* Fills dim[] (and dim_slot[]: position) from what f uses, in order of first use. */
void lp_collect_dims(lp_func *f);
/* Replaces variables in all expressions below s (statement list), in place. A loop whose extent
 * changes gets a new variable of the same name. */
void lp_subst(lp_func *f, lp_stmt *s, const te_ref *from, const te_ref *to, int n);
/* Makes everything below s use buffer `to` (same rank) instead of `from`: loads, stores, copies,
 * allocs. */
void lp_rebuf(lp_func *f, lp_stmt *s, lp_buf *from, lp_buf *to);
/* Pre-order over all statements of a list; fn returns false to skip what is below. */
void lp_walk(lp_stmt *s, bool (*fn)(lp_stmt *s, void *ctx), void *ctx);
/* Every expression of one statement (not below it), rewritable. Of a loop: its extent (and its
 * bound); when fn changes one, the loop gets a new variable, also below. Elements read or written
 * through buf/idx are not loads: only their indices are visited. */
void lp_each_expr(lp_stmt *s, te_ref (*fn)(te_ref e, void *ctx), void *ctx);
void lp_simplify(lp_func *f); /* te_simplify on all expressions; drops dead ifs and empty loops */

/* ---- from definitions (lower.c): one plain nest per definition, in order --------------------- */
/* `roots` become written parameters, inputs become parameters (`params` fixes the order, may be
 * NULL). A definition among `params` is given from outside: an earlier kernel made it, here it is
 * read. */
lp_func *lp_lower(te_graph *g, const char *name, te_tensor *const *roots, int n_roots,
                  te_tensor *const *params, int n_params, ll_error *err);
/* What a reduction starts at: adding it (TE_SUM), or taking the maximum or minimum with it, changes nothing. */
te_ref lp_identity(te_graph *g, te_op op, ll_dtype t);
/* The nest of one definition: for axes { buf = init; for reduction axes { buf op= body } }. */
lp_stmt *lp_nest(lp_func *f, te_tensor *def, ll_error *err);

/* ---- block level to thread level (threads.c) ---------------------------------------------------- */
/* f's body becomes what each thread of a block does. LL_UNSUPPORTED with a sentence for what has no
 * such form yet. `max_threads`: limit of the target (1024). */
ll_code lp_threads(lp_func *f, int max_threads, ll_error *err);

/* ---- text (loop_print.c, loop_parse.c) ------------------------------------------------------- */
void lp_print(ll_str *out, const lp_func *f);
void lp_print_stmt(ll_str *out, const lp_stmt *s, int indent);
const char *lp_show(const lp_stmt *s); /* for the debugger */
lp_func *lp_parse(te_graph *g, const char *text, const char *file, ll_error *err);

/* ---- legality (verify.c) --------------------------------------------------------------------- */
/* Scoping and types, bounds of every access, initialisation before use, races between iterations of
 * parallel, claimed, vector, block and thread loops, one writer per element, waits and barriers of
 * asynchronous copies (by commits and phases), ring reuse, uniform conditions round barriers,
 * intrinsic nests against their rows. The first violation is reported as LL_NOT_LEGAL with the
 * statement's text. */
ll_code lp_verify(const lp_func *f, ll_error *err);

/* ---- meaning (loop_eval.c) ------------------------------------------------------------------- */
/* Runs f on raw memory: arg[i] is parameter i (laid out as its layout says; params that lie
 * `within` another need none: NULL). dim(name) gives dims. Parallel loops run in a seeded shuffled
 * order. Out-of-bounds accesses, reads of never-written memory, unfinished copies and deadlocks of
 * roles are errors. */
typedef struct lp_run {
    void *const *arg;
    const size_t *arg_bytes;
    int64_t (*dim)(void *ctx, const char *name);
    void *ctx;
    uint64_t seed; /* 0: in order */
} lp_run;
ll_code lp_eval(const lp_func *f, const lp_run *run, ll_error *err);

#endif

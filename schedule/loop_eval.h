/* loop_eval.h: the machine behind lp_eval, shared by its files. A function is compiled once into a
 * flat program over value slots (loop_eval_code.c: expressions, loops and branches become jumps),
 * then run by one or more strands (loop_eval_run.c; a strand is the block itself or one role of a
 * warp-specialised block). loop_eval_mem.c holds buffers, addresses and the checks of every access,
 * loop_eval_sync.c barriers, asynchronous copies and mbarriers.
 *
 * Slots are written once per execution of the statement that owns them and never shared between
 * statements, so a strand that waits can be left and entered again without saving anything. */
#ifndef LLMIR_SCHEDULE_LOOP_EVAL_H
#define LLMIR_SCHEDULE_LOOP_EVAL_H

#include "base/map.h"
#include "schedule/loop.h"

enum {
    EV_MAX_STRAND = 5,
    EV_ASYNC = EV_MAX_STRAND,
    EV_N_CLOCK = EV_MAX_STRAND + 1,
    EV_MAX_SRC = 3
};

typedef enum ev_code {
    EV_ADD, EV_SUB, EV_MUL, EV_DIV, EV_MOD, EV_LT, EV_LE, EV_EQ,   /* s64 */
    EV_FADD, EV_FMUL, EV_F32ADD, EV_F32MUL,                        /* f64 and f32 */
    EV_APPLY, EV_MOV, EV_JZ, EV_JMP, EV_LOAD,
    EV_LOOP, EV_NEXT, EV_ALLOC, EV_STORE, EV_REDUCE,
    EV_SYNC, EV_COPY, EV_COMMIT, EV_WAIT, EV_MBAR, EV_ROLES, EV_END,
} ev_code;

typedef struct ev_op {
    uint8_t code, op, dtype, source; /* ev_code; te_op and dtypes of EV_APPLY and EV_REDUCE */
    int32_t out, a, b, c;            /* slots; jump target in a; index into a table in c      */
    const lp_stmt *stmt;             /* for messages                                          */
} ev_op;

/* A buffer access: index slots, and for copies the box. */
typedef struct ev_access {
    struct ev_buf *buf;
    int32_t idx[TE_MAX_DIM];
} ev_access;

typedef struct ev_loop {
    const lp_stmt *stmt;
    int32_t var, extent, max; /* slots; max -1: none */
    int32_t exit;             /* program counter behind the loop */
    bool shuffled, is_agent, claim, block, outer; /* outer: iterations are blocks or parts */
    bool pure; /* no barrier, copy or wait inside: a skeleton run takes the first and the last */
    int64_t n, i, at, step; /* of the running loop: trips, trips done, iteration */
    uint32_t saved_thread, saved_warp;
} ev_loop;

/* Who executes a statement: the whole block (0, 0), a warp (w, 0) or one thread (w, t). */
typedef struct ev_agent { uint32_t warp, thread; } ev_agent;

typedef struct ev_mark { /* an access to one element of shared memory */
    uint32_t clock;      /* of the strand; 0: none    */
    uint32_t epoch;      /* of its barriers           */
    ev_agent by;
} ev_mark;

typedef struct ev_cell { /* one element that several threads reach */
    const struct ev_op *by; /* the statement of the last write */
    uint8_t pending;     /* asynchronous copies in flight to it */
    uint8_t writer;      /* strand, or EV_ASYNC                 */
    ev_mark wrote, read[EV_MAX_STRAND];
} ev_cell;

typedef struct ev_mbar {
    bool ready;
    int64_t count, pending, bytes; /* arrivals of a phase, arrivals and bytes outstanding */
    uint32_t phase, epoch;         /* completed phases; of the strand that initialised it */
    uint32_t clock[EV_N_CLOCK], done[EV_N_CLOCK];
} ev_mbar;

typedef struct ev_digit { int dim; bool last; int64_t size, stride; } ev_digit;

typedef struct ev_buf {
    lp_buf *b;
    ll_dtype dtype;
    int ndim, bits;
    char *mem;            /* own or the caller's             */
    bool owned, ready;    /* ready: shape and memory are set */
    bool by_copy;         /* only copies write it: a skeleton run writes all of it too */
    size_t bytes;
    int64_t shape[TE_MAX_DIM], n_elem;
    bool affine;          /* address = sum idx * stride */
    int64_t stride[TE_MAX_DIM], offset;
    int n_digit;
    ev_digit digit[LP_MAX_DIGIT];
    uint32_t *written;    /* per element: == life when written; NULL: contents are given */
    uint32_t life;
    ev_cell *cell;        /* shared memory; global memory that a kernel with threads writes */
    ev_mbar *mbar;        /* per element, for barriers */
    size_t cap_mem, cap_elem;
    bool has_range;
    int64_t lo, hi;
} ev_buf;

typedef struct ev_copy { /* in flight */
    const lp_stmt *stmt;
    ev_buf *dst, *bar;
    int64_t bar_at;
    ev_agent by;     /* who issued it                          */
    ev_agent owner;  /* who committed it                       */
    int strand;
    int64_t group;   /* -1: not committed (or by mbarrier)     */
    int64_t n;       /* elements                               */
    int64_t *elem;   /* element numbers of the destination     */
    int64_t *bit;    /* their addresses                        */
    te_value *value;
} ev_copy;

typedef struct ev_strand {
    int32_t pc;
    bool live, blocked;
    const char *name;
    ev_agent agent;
    uint32_t block_epoch, warp_epoch;
    uint32_t clock[EV_N_CLOCK];
    uint32_t synced;    /* its own clock at its last block barrier            */
    const ev_op *waits; /* the mbarrier wait it is blocked at, NULL: none    */
    uint64_t seen;      /* ev.events when it looked                           */
} ev_strand;

typedef struct ev_group { ev_agent owner; int strand; int64_t n; } ev_group;

typedef struct ev_roles { int32_t n, start[4]; const char *name[4]; } ev_roles;

typedef struct ev_box { ev_access dst, src; int32_t valid, bar_at; ev_buf *bar; } ev_box;

typedef struct ev {
    const lp_func *f;
    const lp_run *run;
    ll_error *err;
    ll_arena arena;
    bool trial, skeleton; /* made-up values; a part of the iterations */
    int64_t steps;        /* left, of a trial                          */
    uint64_t rng;
    uint64_t events; /* changes of mbarriers     */
    uint32_t landed; /* copies by mbarrier: the asynchronous unit's clock */

    ev_buf *buf; int n_buf;
    ev_op *op; int n_op, cap_op;
    te_value *slot; int n_slot, cap_slot;
    ev_access *access; int n_access, cap_access;
    ev_loop *loop; int n_loop, cap_loop;
    ev_box *box; int n_box, cap_box;
    ev_roles roles; /* one roles statement a function */
    ll_map leaf;    /* constants, dims, loop and let variables: node -> slot + 1 */

    ev_strand strand[EV_MAX_STRAND]; int n_strand;
    ev_copy *copy; int n_copy, cap_copy;
    ev_group *group; int n_group, cap_group;
    int thread, n_thread; /* of the team that a claim loop is run by */
    bool has_claim, has_agents; /* has_agents: loops over threads or warps */
} ev;

/* loop_eval_code.c */
ll_code ev_compile(ev *m);
/* The value of an expression over dims (and outer variables whose slots are set). */
ll_code ev_const(ev *m, te_ref e, int64_t *out);
/* loop_eval_mem.c */
ll_code ev_setup(ev *m);                     /* parameters */
ll_code ev_enter(ev *m, ev_buf *b);          /* a fresh buffer for an alloc */
ev_buf *ev_buf_of(ev *m, const te_tensor *t);
/* Bounds, then the element's number and bit address. */
ll_code ev_locate(ev *m, const ev_op *op, const ev_buf *b, const int64_t *idx, int64_t *elem,
                  int64_t *bit);
ll_code ev_load(ev *m, ev_strand *s, const ev_op *op, te_value *out);
ll_code ev_store(ev *m, ev_strand *s, const ev_op *op, te_value v);
ll_code ev_reduce(ev *m, ev_strand *s, const ev_op *op, te_value v);
void ev_get(const ev_buf *b, int64_t bit, te_value *out);
void ev_put(ev_buf *b, int64_t bit, te_value v);
ll_code ev_fail(ev *m, const lp_stmt *s, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* loop_eval_sync.c */
ll_code ev_may_read(ev *m, ev_strand *s, const ev_op *op, ev_buf *b, int64_t elem);
ll_code ev_may_write(ev *m, ev_strand *s, const ev_op *op, ev_buf *b, int64_t elem);
ll_code ev_do_sync(ev *m, ev_strand *s, const ev_op *op);
ll_code ev_do_copy(ev *m, ev_strand *s, const ev_op *op);
ll_code ev_do_commit(ev *m, ev_strand *s, const ev_op *op);
ll_code ev_do_wait(ev *m, ev_strand *s, const ev_op *op);
ll_code ev_do_mbar(ev *m, ev_strand *s, const ev_op *op, bool *blocked);
ll_code ev_check_done(ev *m); /* nothing may be in flight at the end */
bool ev_land_one(ev *m);      /* completes one copy by mbarrier; false: none in flight */
/* loop_eval_run.c */
ll_code ev_run(ev *m);

static inline uint64_t ev_random(ev *m)
{
    uint64_t z = (m->rng += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* A run on made-up values (verify_run.c): parameters have no memory; loads from them give 0, or
 * some value of an index tensor's range; what is stored to them is dropped. Skeleton: see
 * ev_loop.pure. Blocks, parts and parallel loops run their first and last iteration. Ends, without
 * an error, after `steps` operations. */
typedef struct ev_trial {
    const int64_t *dim; /* by lp_func.dim */
    uint64_t seed;
    bool skeleton;
    int64_t steps;
} ev_trial;
ll_code ev_try(const lp_func *f, const ev_trial *t, ll_error *err);

#endif

/* launch.h: code, launches, clusters and the private parts of warps and blocks: what sched.c,
 * mem*.c, check*.c and decode.c share. Files with handlers only need machine.h. */
#ifndef PTXSIM_LAUNCH_H
#define PTXSIM_LAUNCH_H

#include <pthread.h>
#include <stdatomic.h>

#include "ptxsim/machine.h"

/* -- code -- */
/* How validity flows through an instruction (upper bits of ptx_inst.flags). */
enum ptx_vrule {
    PTX_V_ALL = 0 << 4,    /* valid when every source is (a lane at a time) */
    PTX_V_COPY = 1 << 4,   /* byte by byte from source a */
    PTX_V_BITS = 2 << 4,   /* byte by byte, both sources */
    PTX_V_SELECT = 3 << 4, /* from the source that predicate c chooses */
    PTX_V_PACK = 4 << 4,
    PTX_V_UNPACK = 5 << 4,
    PTX_V_CONVERT = 6 << 4, /* integers: imm bytes of a count; see valid.c */
    PTX_V_SHIFT = 7 << 4, /* whole bytes move with a uniform shift by a multiple of 8 */
    PTX_V_PRMT = 8 << 4,  /* bytes picked by a valid selector */
    PTX_V_DECIDE = 9 << 4, /* and, or of integers: a byte 0 (and) or 0xff (or) decides alone */
    PTX_V_DECIDE_PRED = 10 << 4, /* the same of predicates: false, true */
    PTX_V_COMPARE = 11 << 4,     /* setp: the combined predicate may decide alone */
    PTX_V_MASK_ = 0xf << 4,
};

typedef enum ptx_special {
    PTX_SR_TID_X,
    PTX_SR_TID_Y,
    PTX_SR_TID_Z,
    PTX_SR_NTID_X,
    PTX_SR_NTID_Y,
    PTX_SR_NTID_Z,
    PTX_SR_CTAID_X,
    PTX_SR_CTAID_Y,
    PTX_SR_CTAID_Z,
    PTX_SR_NCTAID_X,
    PTX_SR_NCTAID_Y,
    PTX_SR_NCTAID_Z,
    PTX_SR_LANEID,
    PTX_SR_WARPID,
    PTX_SR_NWARPID,
    PTX_SR_SMID,
    PTX_SR_NSMID,
    PTX_SR_GRIDID,
    PTX_SR_MASK_EQ,
    PTX_SR_MASK_LE,
    PTX_SR_MASK_LT,
    PTX_SR_MASK_GE,
    PTX_SR_MASK_GT,
    PTX_SR_DYN_SMEM,
    PTX_SR_TOTAL_SMEM,
    PTX_SR_AGGR_SMEM,
    PTX_SR_RESERVED_0,
    PTX_SR_RESERVED_SIZE,
    PTX_SR_CLUSTERID_X,
    PTX_SR_CLUSTERID_Y,
    PTX_SR_CLUSTERID_Z,
    PTX_SR_NCLUSTERID_X,
    PTX_SR_NCLUSTERID_Y,
    PTX_SR_NCLUSTERID_Z,
    PTX_SR_CL_CTAID_X,
    PTX_SR_CL_CTAID_Y,
    PTX_SR_CL_CTAID_Z,
    PTX_SR_CL_NCTAID_X,
    PTX_SR_CL_NCTAID_Y,
    PTX_SR_CL_NCTAID_Z,
    PTX_SR_CL_CTARANK,
    PTX_SR_CL_NCTARANK,
    PTX_SR_ENVREG_1, /* high and low half of the address of the grid workspace */
    PTX_SR_ENVREG_2,
    PTX_SR_COUNT_
} ptx_special;

typedef struct ptx_fixed { uint32_t slot; uint8_t bits; bool special; uint64_t value; } ptx_fixed;

typedef struct ptx_code {
    ptx_inst *inst;
    uint32_t n;
    uint32_t arena_bytes;    /* of one warp's registers */
    ptx_fixed *fixed;        /* constants and special registers */
    uint32_t n_fixed;
    uint32_t *slot_class; /* by slot / PTX_SLOT: move class + 1 of accumulators in flight, or 0; may
                             be NULL */
    uint32_t local_bytes;    /* per thread, calls included */
    uint32_t shared_base, shared_static,
        dyn_offset;                      /* first byte; end of static; start of dynamic */
    uint32_t shared_grain, global_grain; /* smallest store or load: granule of the shadows */
    bool simple_sync; /* every barrier is a whole-block bar.sync 0: no named barriers, mbarriers */
    bool fences;             /* memory fences, acquire or release: flags in memory may order */
    bool grid_sync; /* fences, volatile or acquire/release on global memory: blocks may wait */
    bool uses_cluster;
} ptx_code;

/* Decodes an entry (and inlines what it calls). Lives in the module's arena. */
ptxsim_code ptx_decode(ptxsim *m, ptx_module *mod, ptx_func *entry, ptxsim_error *err);

/* -- device memory -- */
typedef struct ptx_alloc {
    uint64_t base, size;
    uint8_t *host;
    uint64_t *init;          /* one bit per byte; NULL: everything counts as written */
    uint64_t *writer; /* per granule: (block + 1) << 32 | its fences so far, of the last write in
                         this launch; NULL: not tracked */
    uint8_t *touched;        /* per 32-byte sector: counters; NULL: not counted */
    size_t map_bytes;        /* of host; 0: not ours */
    bool freed, user;        /* user: made by ptxsim_alloc (leaks are counted) */
} ptx_alloc;

typedef struct ptx_memory {
    ptx_alloc **alloc;       /* sorted by base */
    size_t n, cap;
    uint64_t next, used, total;
} ptx_memory;

struct ptxsim {
    pthread_mutex_t lock;
    ptxsim_limits limits;
    unsigned threads;
    ptx_memory mem;
    ptx_alloc *workspace;     /* of cooperative launches; NULL before the first */
    ptxsim_module *modules;
};
struct ptxsim_module {
    ptxsim *m;
    ptx_module ast;
    ptxsim_kernel *kernel;
    size_t n_kernel;
    ptxsim_module *next;
};
struct ptxsim_kernel {
    ptxsim_module *mod;
    ptx_func *func;
    ptx_code *code;
    ptxsim_kernel_info info;
};

/* Zeroed pages that cost memory only where they are touched; NULL is fine for ptx_unmap. */
void *ptx_map_zero(size_t n);
void ptx_unmap(void *p, size_t n);
void ptx_memory_finish(ptx_memory *mem);
void ptx_memory_drop(ptx_alloc *a); /* frees the memory, keeps the entry */
ptxsim_code ptx_memory_new(ptx_memory *mem, uint64_t bytes, uint64_t align, ptx_alloc **out,
                           ptxsim_error *err);
ptx_alloc *ptx_memory_find(const ptx_memory *mem,
                           uint64_t addr); /* the one with base <= addr, nearest; may not hold it */
void ptx_init_set(ptx_alloc *a, uint64_t off, uint64_t n, bool value);
bool ptx_init_all(const ptx_alloc *a, uint64_t off, uint64_t n);
/* 16 bits at most: bit i = byte off + i is initialised. */
uint32_t ptx_init_bits(const ptx_alloc *a, uint64_t off, uint32_t n);
void ptx_init_put(ptx_alloc *a, uint64_t off, uint32_t n, uint32_t bits);

/* -- launches -- */
typedef struct ptx_run {
    ptxsim *m;
    const ptxsim_kernel *kernel;
    const ptx_code *code;
    ptx_options opt;
    ptx_memory *mem;
    uint8_t *params;
    uint32_t param_bytes;
    uint32_t grid[3], block[3], cluster[3], n_threads, n_warp, cluster_size;
    uint32_t shared_bytes;    /* end of shared memory of a block, dynamic part included */
    uint32_t dyn_shared;
    uint64_t workspace;       /* of a cooperative launch: see run.c; else 0 */
    uint64_t n_cluster, max_steps;
    atomic_uint_fast64_t next, steps, global_tick;
    atomic_int stop;          /* ptxsim_code that ended the launch early */
    pthread_mutex_t lock;     /* log, error, sync table of check.c */
    ptxsim_log *log;
    ptxsim_error *err;
    struct ptx_gsync *gsync;  /* check_global.c */
} ptx_run;

/* Counters of one worker, added up at the end. */
typedef struct ptx_tally {
    ptxsim_counters c;
    ll_map mma;               /* text -> count */
} ptx_tally;

enum { PTX_MEMO = 64 };
typedef struct ptx_worker {
    ptx_run *run;
    ptxsim_report *memo[PTX_MEMO]; /* findings of this worker by a hash of their place */
    ptx_tally tally;
    uint64_t clock, rng;
} ptx_worker;

/* -- groups of lanes -- */
typedef enum ptx_gstate {
    PTX_G_RUN,
    PTX_G_WARP /* parked: other lanes of the warp */,
    PTX_G_BAR,
    PTX_G_CLUSTER,
    PTX_G_SPIN
} ptx_gstate;
typedef struct ptx_group {
    uint32_t pc;
    ptx_mask m;
    uint8_t state;
    uint8_t bar;              /* PTX_G_BAR: which barrier */
    bool force; /* runs the instruction at pc whether or not the other lanes are there */
} ptx_group;

typedef struct ptx_warp_sched {
    ptx_group g[PTX_LANES + 1];
    uint32_t n;
    uint32_t target;          /* set by control handlers for PTX_JUMP */
    uint8_t park_state, park_bar; /* and for PTX_PARK */
    bool forced;
    ptx_mask cut;             /* lanes that a handler moved to a group of their own (PTX_CUT) */
    uint32_t fuel, cluster_phase, waits;
    ptx_mask cluster_arrived; /* lanes between barrier.cluster.arrive and wait */
    ptx_alloc *hot[4];        /* allocations used last */
    uint32_t n_hot;
    /* cp.async: groups of copies, oldest first; see copy.c */
    struct ptx_copies *copies;
    uint8_t *local;           /* local memory: lane l at l * local_bytes */
    uint8_t *local_init;      /* one byte per byte; NULL: not checked */
    uint32_t fence_vc[PTX_MAX_WARPS + 2],
        heard_vc[PTX_MAX_WARPS + 2]; /* flags in memory: check.c */
    uint32_t vc[PTX_MAX_WARPS + 2]; /* what happened before: see check.c */
    uint32_t tick;            /* own time */
    uint32_t wg_issued, wg_stamp[64], wg_at_commit[64]; /* warpgroup operations: check.c */
    uint32_t seen_min;        /* least of vc over the block's live actors */
} ptx_warp_sched;

enum { PTX_BARRIERS = 16 };
typedef struct ptx_barrier {
    uint32_t expected;        /* threads; 0: all of the block */
    uint32_t arrived;
    uint32_t red_popc, red_and, red_or;
    ptx_mask by_warp[PTX_MAX_WARPS];
    uint32_t line;            /* of the first arrival */
    uint32_t vc[PTX_MAX_WARPS + 2];
} ptx_barrier;

typedef struct ptx_cta_sched {
    ptx_barrier bar[PTX_BARRIERS];
    uint32_t live_threads;
    ll_map mbar_vc;           /* offset of an mbarrier -> its two stamps (mbar.c) */
} ptx_cta_sched;

typedef struct ptx_cluster {
    ptx_run *run;
    ptx_worker *worker;
    ptx_cta *cta;
    uint32_t n_cta;
    uint64_t index;
    uint64_t events;          /* grows with everything that may wake a waiting thread */
    uint32_t arrived;         /* barrier.cluster: threads of the current phase */
    uint32_t phase, tick;
    size_t memory_bytes;
    uint64_t steps;
    void *tma;
    uint8_t *memory;          /* registers, validity, shared and local memory of all blocks */
    struct ptx_cluster *next;
    uint32_t idle_rounds;
} ptx_cluster;

typedef enum ptx_progress { PTX_DONE, PTX_RUNNING, PTX_STOPPED } ptx_progress;

/* cluster.c: making and resetting; sched.c: running. */
ptx_cluster *ptx_cluster_new(ptx_worker *wk); /* NULL: no memory */
void ptx_cluster_start(ptx_cluster *c, uint64_t index);
void ptx_cluster_free(ptx_cluster *c);
ptx_progress ptx_cluster_run(ptx_cluster *c);

static inline ptx_worker *ptx_worker_of(const ptx_warp *w) { return w->cta->cluster->worker; }
static inline uint64_t ptx_clock(const ptx_warp *w) { return ptx_worker_of(w)->clock; }
static inline uint32_t ptx_cluster_size(const ptx_warp *w) { return w->cta->cluster->n_cta; }
static inline ptxsim_counters *ptx_tally_of(const ptx_warp *w)
{
    return w->run->opt.counters ? &ptx_worker_of(w)->tally.c : NULL;
}
static inline void ptx_event(ptx_warp *w) { w->cta->cluster->events++; }
uint32_t ptx_random(ptx_worker *wk);

/* control.c: handlers that change the flow (not built per instruction-set level). */
ptx_handler ptx_h_bra, ptx_h_fall, ptx_h_exit, ptx_h_trap, ptx_h_gate, ptx_h_barrier,
    ptx_h_cluster_arrive, ptx_h_cluster_wait, ptx_h_nanosleep, ptx_h_nop, ptx_h_brx,
    ptx_h_warp_barrier, ptx_h_builtin_call;
/* sched.c: a barrier may be complete after an arrival or an exit. */
void ptx_barrier_settle(ptx_cta *c, uint32_t id);
void ptx_cluster_settle(ptx_cluster *cl);

/* log.c */
ptxsim_log *ptx_log_new(const char *kernel, uint32_t max);
void ptx_log_add_tally(ptxsim_log *log, const ptx_tally *t);

#endif

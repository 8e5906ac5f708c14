/* machine.h: the inside of the PTX machine: decoded instructions, warps, blocks, and how a handler
 * in any file reads registers, touches memory with all checks, and stops a warp.
 *
 *   parse.c  -> ptx_func (statements)  -> decode.c -> ptx_code (ptx_inst[] in reverse post-order)
 *   sched.c runs ptx_inst[] for warps (groups of lanes), CTAs, clusters; handlers live in
 *     exec_*.c   scalar and vector instructions, shuffles, votes             \
 *     mem.c      ld st atom red cp.async mbarrier; ptx_warp_read/_write       | one owner
 *     check.c    shadow state: races, pending copies, uninitialised data      |
 *     matrix.c   mma wmma wgmma ldmatrix stmatrix movmatrix                  \  another
 *     tma.c      cp.async.bulk[.tensor], cp.reduce.async.bulk, prefetch.tensormap, tensormap.*
 *     num*.c     pure functions on numbers (num.h)                           /
 *
 * Register arena of a warp: each register is a slot of 32 lanes, a byte offset from warp->regs.
 *
 *     type            lane      slot
 *     pred            1 bit     one uint32_t mask (slot of 128 bytes, the first 4 used)
 *     b8 b16 b32 f32  4 bytes   128 bytes; narrow types are zero-extended, always
 *     b64 f64         8 bytes   256 bytes
 *     b128            16 bytes  512 bytes (low 64-bit half of all lanes, then the high half)
 *
 * Immediates, symbol addresses and special registers are slots too (filled when a warp is set up),
 * so every source of every instruction is a slot. Slot 0 is a predicate that is true in all lanes.
 */
#ifndef PTXSIM_MACHINE_H
#define PTXSIM_MACHINE_H

#include "ptxsim/parse.h"

enum { PTX_LANES = 32, PTX_SLOT = 128, PTX_MAX_WARPS = 32, PTX_MAX_CLUSTER = 16 };
typedef uint32_t ptx_mask; /* bit i: lane i */
#define PTX_FULL 0xffffffffu

typedef struct ptx_warp ptx_warp;
typedef struct ptx_cta ptx_cta;
typedef struct ptx_inst ptx_inst;
typedef struct ptx_dec ptx_dec;

/* -- instructions --------------------------------------------------------------------------------
 */
/* What a handler returns. PTX_FAULT: it has called ptx_fault. PTX_RETRY: nothing was done, call it
 * again after other warps have run (a deadlock when all that is left are retries). */
typedef enum ptx_stop {
    PTX_GO = 0,
    PTX_FAULT,
    PTX_JUMP,
    PTX_PARK,
    PTX_YIELD,
    PTX_EXIT,
    PTX_RETRY,
    PTX_CUT /* sched.c: some lanes were moved to a group of their own, the rest comes again */
} ptx_stop;

/* Executes `in` for the lanes of `m` (never 0; guard already applied). Lanes outside keep their
 * destination. */
typedef int ptx_handler(ptx_warp *w, const ptx_inst *in, ptx_mask m);

enum ptx_inst_flag {
    PTX_I_CONTROL = 1, /* changes the flow: sched.c */
    PTX_I_WARP = 2, /* .sync.aligned: called only when all live lanes of the warp are here */
    PTX_I_MASK =
        4, /* .sync with membermask in slot `mask_slot`: called when all its live lanes are here */
    PTX_I_OWN_VALID = 8, /* the handler itself keeps validity (ptx_val_*); otherwise sched.c applies
                            "every destination lane is valid when that lane of every source is" */
};

struct ptx_inst {
    ptx_handler *fn;
    uint32_t d, a, b, c;  /* slots: first destination, first three sources; 0 when absent */
    uint32_t guard, gxor; /* mask &= *(guard) ^ gxor */
    int64_t imm; /* address offset, lut, ... : the handler's choice */
    const struct ptx_ext *x; /* never NULL */
    uint32_t pc;        /* own index in ptx_code */
    uint32_t u0, u1;    /* the handler's choice (sizes, modes, branch target) */
    uint8_t flags, cls; /* PTX_I_*, ptxsim_class */
    uint8_t n_dst, n_src; /* of x->slot: destinations first */
};

/* The cold part of an instruction. */
typedef struct ptx_ext {
    const ptx_stmt *st;      /* position and text */
    const uint32_t *slot;    /* all register operands: n_dst destinations, then n_src sources */
    uint32_t mask_slot; /* PTX_I_MASK */
    ptx_handler
        *real; /* PTX_I_WARP, PTX_I_MASK: what runs once the lanes are together (set by decode.c) */
    bool fma;                /* counts as a 32-bit multiply-add */
    const void *own; /* what the owner's decode function attached (arena memory) */
} ptx_ext;

/* -- decoding an opcode (files other than decode.c) -- */
/* decode.c calls these for the opcodes they own; false: not theirs. Each consumes every modifier
 * (ptx_take, ptx_mod_*) and operand, sets fn, flags, cls, operands, and returns PTXSIM_OK or
 * ptx_dec_fail(...). decode.c then refuses modifiers nobody took. */
bool ptx_matrix_owns(const ptx_stmt *st); /* matrix.c: mma wmma wgmma ldmatrix stmatrix movmatrix */
ptxsim_code ptx_matrix_decode(ptx_dec *d, const ptx_stmt *st, ptx_inst *in);
bool ptx_tma_owns(
    const ptx_stmt *st); /* tma.c: cp.async.bulk* cp.reduce* prefetch.tensormap tensormap.* */
ptxsim_code ptx_tma_decode(ptx_dec *d, const ptx_stmt *st, ptx_inst *in);

/* Modifiers may come in any order; each is taken once. */
bool ptx_take(ptx_dec *d, const char *name); /* takes .name if it is there */
ptx_type ptx_mod_type(ptx_dec *d);           /* takes the next type; PTX_NOTYPE: none left */
const char *ptx_mod_prefix(ptx_dec *d,
                           const char *prefix); /* takes the next that starts so; NULL: none */
/* Errors carry the position of the statement, or of a modifier or operand. */
ptxsim_code ptx_dec_fail(ptx_dec *d, ptx_pos pos, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Refuses a statement that needs a higher sm than the machine's. */
ptxsim_code ptx_dec_needs_sm(ptx_dec *d, unsigned sm);
void *ptx_dec_alloc(ptx_dec *d, size_t n); /* zeroed, lives as long as the module */
unsigned ptx_dec_sm(const ptx_dec *d);
/* Operands -> slots. They check class and width (bits) and append to the instruction's slot list:
 * destinations must be taken before sources. `out` receives the slot. */
ptxsim_code ptx_dst(ptx_dec *d, const ptx_opnd *o, unsigned bits,
                    uint32_t *out); /* _ gives a scratch slot */
ptxsim_code ptx_src(ptx_dec *d, const ptx_opnd *o, ptx_type t,
                    uint32_t *out); /* reg, immediate, special, symbol */
/* {r0, r1, ...} or a single register: exactly n elements of `bits` bits. */
ptxsim_code ptx_dst_vec(ptx_dec *d, const ptx_opnd *o, unsigned bits, uint32_t n, uint32_t *out);
ptxsim_code ptx_src_vec(ptx_dec *d, const ptx_opnd *o, unsigned bits, uint32_t n, uint32_t *out);
/* [base + imm]: the slot of the 64-bit (wide) or 32-bit base, widened at run time by ptx_addr. */
typedef struct ptx_mem { uint32_t base; bool wide; int64_t off; ptx_space space; } ptx_mem;
ptxsim_code ptx_mem_opnd(ptx_dec *d, const ptx_opnd *o, ptx_space space, ptx_mem *out);
ptxsim_code ptx_const_int(ptx_dec *d, const ptx_opnd *o,
                          int64_t *out); /* an immediate and nothing else */
/* A slot that holds `v` in all lanes. */
uint32_t ptx_const_slot(ptx_dec *d, uint64_t v, unsigned bits);

/* -- registers ------------------------------------------------------------------------------------
 */
struct ptx_warp {
    uint8_t *regs;           /* 64-byte aligned */
    uint8_t *valid; /* slot s, lane l: valid[s / 4 + l], bit b = byte b is initialised, 0xff = all;
                       NULL when uninitialised data is not checked. Use ptx_val_*. */
    uint8_t *all_valid; /* slot s: all_valid[s / PTX_SLOT]: the lanes need not be looked at */
    ptx_cta *cta;
    struct ptx_run *run;     /* the launch: options, code, counters */
    uint32_t index;          /* in the block */
    ptx_mask born, live;     /* lanes that exist; that have not exited */
    void *matrix;            /* state of matrix.c (wgmma groups), NULL at start */
    void *tma;               /* state of tma.c (bulk groups), NULL at start */
    struct ptx_warp_sched *s;/* sched.c */
};

static inline uint32_t *ptx_r32(ptx_warp *w, uint32_t slot)
{
    return (uint32_t *)(void *)(w->regs + slot);
}
static inline uint64_t *ptx_r64(ptx_warp *w, uint32_t slot)
{
    return (uint64_t *)(void *)(w->regs + slot);
}
static inline float *ptx_rf32(ptx_warp *w, uint32_t slot)
{
    return (float *)(void *)(w->regs + slot);
}
static inline double *ptx_rf64(ptx_warp *w, uint32_t slot)
{
    return (double *)(void *)(w->regs + slot);
}
static inline ptx_mask *ptx_rpred(ptx_warp *w, uint32_t slot)
{
    return (ptx_mask *)(void *)(w->regs + slot);
}

/* Validity of one register: per lane a byte mask (0xff = everything). All are cheap no-ops giving
 * "valid" when the check is off. */
void ptx_val_get(const ptx_warp *w, uint32_t slot, uint8_t out[PTX_LANES]);
void ptx_val_set(ptx_warp *w, uint32_t slot, ptx_mask m, const uint8_t v[PTX_LANES]);
void ptx_val_fill(ptx_warp *w, uint32_t slot, ptx_mask m, bool is_valid);

/* Registers of the running kernel that plain `mov`s join share a class (any number, equal for equal
 * classes); and marks every register of the class of `slot` as initialised in all live lanes. For
 * accumulators in flight (wgmma.c), which compilers move round loops. */
uint32_t ptx_move_class(ptx_warp *w, uint32_t slot);
void ptx_move_class_validate(ptx_warp *w, uint32_t slot);

/* -- memory ---------------------------------------------------------------------------------------
 */
/* Windows of the generic address space. Global addresses are generic addresses. A shared::cluster
 * address of another block is (rank + 1) << 24 | offset; of the own block, the plain offset. */
#define PTX_GLOBAL_BASE 0x0000020000000000ull
#define PTX_WIN_SHARED  0x0001000000000000ull
#define PTX_WIN_LOCAL   0x0002000000000000ull
#define PTX_WIN_PARAM   0x0003000000000000ull
#define PTX_WIN_MASK    0xffff000000000000ull

/* Addresses of a memory operand for all lanes (base + offset). */
void ptx_addr(ptx_warp *w, const ptx_mem *mem, uint64_t out[PTX_LANES]);

/* `size` bytes (1, 2, 4, 8, 16) per lane of `m`, lane l at data + l * size, with bounds, alignment,
 * race, pending and initialisation checks and memory counters. `valid`: per lane, bit b = byte b
 * initialised; may be NULL. False: fault recorded, return PTX_FAULT. */
bool ptx_warp_read(ptx_warp *w, const ptx_inst *in, ptx_space space, const uint64_t addr[PTX_LANES],
                   uint32_t size, ptx_mask m, void *data, uint16_t *valid);
bool ptx_warp_write(ptx_warp *w, const ptx_inst *in, ptx_space space,
                    const uint64_t addr[PTX_LANES], uint32_t size, ptx_mask m, const void *data,
                    const uint16_t *valid);

/* Contiguous pieces, for copies and descriptors. `who`: one thread, or the asynchronous proxy on
 * its behalf (its accesses are ordered for others only through an mbarrier or a bulk group wait).
 */
typedef struct ptx_who {
    ptx_warp *w;             /* the issuing warp */
    const ptx_inst *in;
    uint32_t lane;           /* issuing lane; PTX_LANES: the whole warp together (wgmma operands) */
    bool async;
} ptx_who;
/* A generic, global or shared::cluster address -> memory; validity bytes (0/1 each) may be NULL. */
bool ptx_span_read(const ptx_who *who, ptx_space space, uint64_t addr, uint64_t n, void *out,
                   uint8_t *init);
bool ptx_span_write(const ptx_who *who, ptx_space space, uint64_t addr, uint64_t n, const void *src,
                    const uint8_t *init);
/* Combines n bytes of global memory with `src`, element by element, atomically. */
typedef uint64_t ptx_combine_fn(const void *user, uint64_t old, uint64_t v);
bool ptx_span_reduce(const ptx_who *who, uint64_t addr, uint64_t n, const void *src, unsigned elem,
                     ptx_combine_fn *fn, const void *user);
/* A copy that will write (or still reads) [addr, addr + n) of shared memory is in flight from now
 * on: touching it before ptx_span_end is reported. Checks races at issue. */
bool ptx_span_begin(const ptx_who *who, ptx_space space, uint64_t addr, uint64_t n,
                    bool will_write);
void ptx_span_end(const ptx_who *who, ptx_space space, uint64_t addr, uint64_t n, bool will_write);
/* The block of a shared or shared::cluster address seen from `w` (offset in *off); NULL: no such
 * block. */
ptx_cta *ptx_cta_of(ptx_warp *w, uint64_t addr, uint32_t *off);

/* Warpgroup operations are collective: when one warp has waited for a group, the operand reads of
 * all four are over. Called at each issue, at each commit (number of the group, from 1), and when
 * groups up to `upto` end. */
void ptx_group_issue(ptx_warp *w);
void ptx_group_commit(ptx_warp *w, uint64_t group);
void ptx_group_wait(ptx_warp *w, uint64_t upto);

/* Parameter bytes of the launch (tensor maps live there): kernel parameter space. */
const uint8_t *ptx_param_bytes(const ptx_warp *w, uint64_t off,
                               uint64_t n); /* NULL: out of bounds */

/* -- asynchronous copies and mbarriers (mem.c calls tma.c and back) -- */
/* `bytes` of an asynchronous copy have arrived: the phase of the mbarrier at `off` of `cta` may
 * end. */
void ptx_mbar_complete_tx(const ptx_who *who, ptx_cta *cta, uint32_t off, uint32_t bytes);
/* Performs queued copies of the cluster: those signalling the mbarrier at (cta, off); all when cta
 * is NULL. Called before an mbarrier is tested and when nothing else can run. tma.c. True:
 * something was done. */
bool ptx_tma_progress(ptx_cta *any_of_cluster, ptx_cta *cta, uint32_t off);
/* Life of the private states: tma.c, wgmma.c. reset: what is there is forgotten. finish: the block
 * has ended; what is still in flight is reported and, for copies, performed. */
void ptx_tma_reset(ptx_warp *w);
void ptx_matrix_reset(ptx_warp *w);
void ptx_tma_finish(ptx_warp *w);
void ptx_matrix_finish(ptx_warp *w);
void *ptx_cta_tma(ptx_cta *c); /* one pointer per cluster for the queue of tma.c, NULL at start */
void ptx_cta_set_tma(ptx_cta *c, void *p);

/* -- blocks and launches -- */
struct ptx_cta {
    struct ptx_run *run;
    struct ptx_cluster *cluster;
    uint32_t id[3], rank;    /* in the grid; in the cluster */
    uint8_t *shared;
    uint32_t shared_bytes;
    ptx_warp *warp;
    uint32_t n_warp;
    struct ptx_shadow *shadow; /* check.c; NULL when nothing is checked */
    struct ptx_cta_sched *s;
};

/* Options of the launch as handlers need them. */
typedef struct ptx_options {
    unsigned sm;
    uint32_t checks, perturb_ulp;
    uint64_t seed;
    ptxsim_mma_model mma_model;
    bool counters;
} ptx_options;
const ptx_options *ptx_opts(const ptx_warp *w);

/* -- findings and counters -- */
/* Records a finding at `in` for lane `lane` (PTX_LANES: the lowest of the warp). Never stops the
 * warp. */
void ptx_report(ptx_warp *w, const ptx_inst *in, uint32_t lane, ptxsim_kind kind, uint64_t addr,
                uint32_t other_line, const char *fmt, ...) __attribute__((format(printf, 7, 8)));
/* Records a finding that stops the launch; returns PTX_FAULT. */
int ptx_fault(ptx_warp *w, const ptx_inst *in, uint32_t lane, ptxsim_kind kind, uint64_t addr,
              const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* One executed matrix instruction of `fma` multiply-adds. */
void ptx_count_mma(ptx_warp *w, const ptx_inst *in, uint64_t fma);
void ptx_count_tensor_bytes(ptx_warp *w, uint64_t bytes);

#endif

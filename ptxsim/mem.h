/* mem.h: one warp-wide memory access, from addresses to host pointers, and the hooks of the checks
 * and counters. exec_mem.c has the fast cases inline; mem.c everything else. */
#ifndef PTXSIM_MEM_H
#define PTXSIM_MEM_H

#include "ptxsim/launch.h"

enum ptx_akind {
    PTX_READ = 1,
    PTX_WRITE = 2,
    PTX_ATOMIC = 4,
    PTX_STRONG = 8 /* volatile, relaxed, acquire, release */,
    PTX_SYNC = 16 /* acquire or release */,
    PTX_INVAL = 32 /* an mbarrier is taken down */
};

typedef struct ptx_access {
    uint32_t size, kind;      /* bytes per lane; PTX_READ ... */
    ptx_mask m;
    uint8_t *p[PTX_LANES];    /* inactive lanes: some valid pointer */
    ptx_mask shared, remote, global, local,
        param;                /* lanes by where they go; remote: another block's shared */
    uint32_t off[PTX_LANES];  /* shared, local, param: offset */
    ptx_alloc *alloc;         /* of all global lanes, or NULL: see each */
    ptx_alloc *each[PTX_LANES];
    uint64_t addr[PTX_LANES]; /* as given */
} ptx_access;

/* Fills m lanes of `ac` (size, kind, m, addr set). False: fault recorded. */
bool ptx_access_resolve(ptx_warp *w, const ptx_inst *in, ptx_space space, ptx_access *ac);
/* Races, pending copies, counters; `data`: what a write will store (lane-major, size bytes), or
 * NULL. */
void ptx_access_check(ptx_warp *w, const ptx_inst *in, ptx_access *ac, const void *data);
/* Per lane: bit b = byte b is initialised. */
void ptx_access_valid(ptx_warp *w, const ptx_access *ac, uint32_t valid[PTX_LANES]);
void ptx_access_mark(ptx_warp *w, const ptx_inst *in, const ptx_access *ac, const uint32_t *valid);
/* Reports address lanes that are not initialised. */
void ptx_address_valid(ptx_warp *w, const ptx_inst *in, uint32_t slot, ptx_mask m);

/* ld, st, atom, red: what decode_mem.c attaches. */
typedef struct ptx_ldst {
    ptx_mem mem;
    uint32_t elem, n, total;  /* bytes of an element; elements; elem * n */
    uint32_t slot[8];
    uint32_t reg_bits[8];
    uint32_t kind;
    bool sign, param_const;   /* sign-extend; [param + constant] */
    ptx_type type;
    uint32_t op;              /* atom */
    uint32_t b[8], c[8];      /* atom: sources */
} ptx_ldst;

typedef enum ptx_atom_op {
    PTX_AT_ADD,
    PTX_AT_MIN,
    PTX_AT_MAX,
    PTX_AT_AND,
    PTX_AT_OR,
    PTX_AT_XOR,
    PTX_AT_EXCH,
    PTX_AT_CAS,
    PTX_AT_INC,
    PTX_AT_DEC
} ptx_atom_op;
/* old -> new for one element of at most 64 bits. */
uint64_t ptx_atom_apply(ptx_atom_op op, ptx_type t, uint64_t old, uint64_t b, uint64_t c);
/* Atomically *p = apply(*p, b, c); returns the old value. bits: 16, 32, 64. */
uint64_t ptx_atom_combine(void *p, unsigned bits, ptx_combine_fn *fn, const void *user, uint64_t v);
uint64_t ptx_atom_at(void *p, unsigned bits, ptx_atom_op op, ptx_type t, uint64_t b, uint64_t c);

/* check.c: shadow of shared memory. Offsets are of `c`; lanes of w in m. */
typedef struct ptx_shadow ptx_shadow;
ptx_shadow *ptx_shadow_new(ptx_run *run, uint32_t bytes);
void ptx_shadow_reset(ptx_shadow *s);
void ptx_shadow_forget(ptx_shadow *s);
void ptx_shadow_free(ptx_shadow *s);
void ptx_shadow_access(ptx_warp *w, const ptx_inst *in, ptx_cta *c, const uint32_t off[PTX_LANES],
                       uint32_t size, ptx_mask m, uint32_t kind, const void *data);
bool ptx_shadow_init_all(const ptx_cta *c, uint32_t off, uint32_t n);
void ptx_shadow_put(ptx_cta *c, uint32_t off, uint32_t size, uint32_t bits);
/* Copies in flight: the thread (w, lane) or the asynchronous proxy. */
void ptx_shadow_begin(const ptx_who *who, ptx_cta *c, uint32_t off, uint64_t n, bool will_write);
void ptx_shadow_end(const ptx_who *who, ptx_cta *c, uint32_t off, uint64_t n, bool will_write);
void ptx_shadow_span(const ptx_who *who, ptx_cta *c, uint32_t off, uint64_t n, uint32_t kind,
                     const void *data);

/* Order between warps: time stamps. */
void ptx_sync_start(ptx_warp *w);
void ptx_sync_block(ptx_cta *c, const uint32_t *vc); /* a whole-block barrier is complete */
void ptx_sync_warp_barrier(ptx_warp *w, ptx_mask m);                 /* bar.warp.sync of lanes m */
void ptx_sync_release(ptx_warp *w, uint32_t *vc);                    /* w's past into vc */
void ptx_sync_acquire(ptx_warp *w, const uint32_t *vc);              /* vc into w's past */
enum { PTX_VC = PTX_MAX_WARPS + 2 };
void ptx_sync_all(ptx_warp *w); /* everything in the cluster so far */

void ptx_sync_release_to(ptx_warp *w, ptx_cta *c, uint32_t *vc);     /* into a barrier of block c */
void ptx_sync_release_async(ptx_cta *c, uint32_t *vc);               /* of the asynchronous proxy */
void ptx_sync_proxy(ptx_warp *w, bool mbarriers_only); /* fence.proxy.async, fence.mbarrier_init */
bool ptx_sync_proxied(const ptx_cta *c, uint32_t actor,
                      uint32_t time); /* an mbarrier initialised then */
void ptx_sync_fence(ptx_warp *w);                                    /* fence, membar */
void ptx_global_fence(ptx_warp *w);

/* check_global.c: blocks of one launch against each other. */
void ptx_global_access(ptx_warp *w, const ptx_inst *in, const ptx_access *ac, const void *data);
/* The same for `n` bytes at `off` of one allocation, touched by an asynchronous copy. */
void ptx_global_piece(ptx_warp *w, const ptx_inst *in, uint32_t lane, ptx_alloc *a, uint64_t off,
                      uint64_t n, bool write, const void *data);

bool ptx_global_start(ptx_run *r);
void ptx_global_finish(ptx_run *r);

/* counters.c */
void ptx_count_shared(ptx_warp *w, const ptx_access *ac);
void ptx_count_global(ptx_warp *w, const ptx_access *ac);
void ptx_count_atomic(ptx_warp *w, const ptx_access *ac);
void ptx_count_touched(ptx_warp *w, ptx_alloc *a, uint64_t off, uint64_t n);

/* mbar.c, copy.c: what a block and a warp keep there */
void ptx_mbar_forget(ptx_cta *c);
void ptx_copies_reset(ptx_warp *w);
void ptx_copies_free(ptx_warp *w);
void ptx_copies_finish(ptx_warp *w, ptx_mask m);

/* mbar.c / copy.c: handlers shared by all levels */
ptx_handler ptx_h_mbar, ptx_h_cp_async, ptx_h_cp_commit, ptx_h_cp_wait, ptx_h_cp_mbar_arrive,
    ptx_h_fence, ptx_h_st_async;

#endif

/* check.h: the shadow of one block's shared memory, see check.c. */
#ifndef PTXSIM_CHECK_H
#define PTXSIM_CHECK_H

#include <stdio.h>
#include <string.h>

#include "ptxsim/mem.h"

enum { PTX_ASYNC = PTX_MAX_WARPS, PTX_REMOTE = PTX_MAX_WARPS + 1 };

struct ptx_shadow {
    uint32_t shift, n, n_warp, bytes;
    bool races;
    uint8_t *init;                 /* a bit per byte */
    uint64_t *w, *r; /* last write and last read of each granule: records, see below */
    uint32_t *rclk;  /* warp k: time of its last read of granule g at k * n + g; NULL: only
                        whole-block barriers, where one reader record is enough */
    uint8_t *pend;                 /* 1: a copy in flight will write it; 2: one still reads it */
    uint64_t *pi;                  /* of a copy in flight: its record */
    ll_map flags;                  /* granule of strong accesses -> stamps published through it */
    uint32_t n_pend;
    uint32_t actors; /* bit 0: the asynchronous proxy was here; bit 1: another block */
    uint32_t start;                /* time at which the block started */
    uint32_t
        proxy_mbar[PTX_VC]; /* the same for initialised mbarriers (fence.mbarrier_init as well) */
    uint32_t proxy[PTX_VC]; /* what fence.proxy.async has made visible to the asynchronous proxy */
};

/* The bits of at most 32 bytes. */
static inline uint32_t ptx_shadow_init(const ptx_cta *c, uint32_t off, uint32_t size)
{
    uint64_t v;
    if (!c->shadow) return ~0u;
    memcpy(&v, c->shadow->init + off / 8, 8);
    v >>= off % 8;
    return (uint32_t)v & (size >= 32 ? ~0u : (1u << size) - 1);
}

/* A record: time << 32 | instruction << 14 | several warps << 13 | strong << 12 | lane << 6 |
 * actor. Lane 63: more than one. "Several warps" (reads): warps other than the actor's have read
 * since all earlier reads were over. */
enum { PTX_REC_STRONG = 1 << 12, PTX_REC_SEVERAL = 1 << 13, PTX_REC_LANES = 63 };
static inline uint64_t ptx_rec(uint32_t time, uint32_t actor, uint32_t lane, bool strong,
                               uint32_t pc)
{
    return (uint64_t)time << 32 | (uint32_t)(pc << 14) | (uint32_t)strong << 12 | lane << 6 | actor;
}
static inline uint32_t ptx_rec_time(uint64_t r) { return (uint32_t)(r >> 32); }
static inline uint32_t ptx_rec_actor(uint64_t r) { return r & 63; }
static inline uint32_t ptx_rec_lane(uint64_t r) { return r >> 6 & 63; }

/* The record of a read over the one before. */
static inline uint64_t ptx_rec_read(uint64_t old, uint64_t rec, uint32_t seen)
{
    bool mine = ((old ^ rec) & 63) == 0;
    if (old >> 32 == rec >> 32 && mine && ((old ^ rec) >> 6 & 63)) rec |= PTX_REC_LANES << 6;
    if (old >> 32 > seen && (!mine || (old & PTX_REC_SEVERAL))) rec |= PTX_REC_SEVERAL;
    return rec;
}

/* Lanes of one store that meet on a granule with different values are a race. */
void ptx_shadow_meet(ptx_warp *w, const ptx_inst *in, ptx_cta *c, const uint32_t off[PTX_LANES],
                     uint32_t size, ptx_mask m, const uint8_t *data);

#endif

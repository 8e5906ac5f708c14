/* check.h: the shadow of one block's shared memory, see check.c. */
#ifndef PTXSIM_CHECK_H
#define PTXSIM_CHECK_H

#include <stdio.h>

#include "ptxsim/mem.h"

enum { PTX_ASYNC = PTX_MAX_WARPS, PTX_REMOTE = PTX_MAX_WARPS + 1 };

struct ptx_shadow {
    uint32_t shift, n, n_warp, bytes;
    bool races;
    uint8_t *init;                 /* a bit per byte */
    uint32_t *wt, *wi;             /* last write of a granule: time; actor, lane, strong, instruction */
    uint32_t *rt, *ri, *rw;        /* last read; warps that read since all earlier reads were over */
    uint32_t *rclk;                /* last read by each warp; NULL: only whole-block barriers */
    uint8_t *pend;                 /* 1: a copy in flight will write it; 2: one still reads it */
    uint32_t *pi;                  /* of a copy in flight: as wi */
    uint32_t n_pend;
    uint32_t actors;               /* bit 0: the asynchronous proxy was here; bit 1: another block */
    uint32_t start;                /* time at which the block started */
    uint32_t proxy[PTX_VC];        /* what fence.proxy.async has made visible to the asynchronous proxy */
};

#endif

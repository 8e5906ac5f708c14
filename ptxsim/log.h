/* log.h: findings and counters of one launch. */
#ifndef PTXSIM_LOG_H
#define PTXSIM_LOG_H

#include "ptxsim/launch.h"

typedef struct ptx_mma_count { char *text; uint64_t times; } ptx_mma_count;

struct ptxsim_log {
    ll_arena arena;
    const char *kernel;
    ptxsim_report **report;
    size_t n, cap, max;
    uint64_t dropped;         /* distinct findings beyond max */
    ptxsim_counters c;
    ptx_mma_count *mma;
    size_t n_mma, cap_mma;
    bool counted;
};

#endif

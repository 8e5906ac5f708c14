/* clock.h: seconds on a clock that only goes forward. */
#ifndef LLMIR_BASE_CLOCK_H
#define LLMIR_BASE_CLOCK_H

#include <time.h>

static inline double ll_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif

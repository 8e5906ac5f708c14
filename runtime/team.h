/* team.h: the threads that run a program of kernels together.
 *
 * A run is a list of steps. A step has a number of parts that depends on its arguments only; each
 * thread of the team owns a contiguous range of them, walks it in order and steals from the others
 * at the end. There is no barrier of threads: whoever finishes the last part of a step opens the
 * next one with one store, so a thread that lost its core holds up the part in its hands and
 * nothing else.
 *
 *     gate      {step number : 40 | parts : 24}   the step that is open; parts = 0: no run
 *     range[i]  {step number : 40 | next  : 24}   how far thread i's range of that step is claimed;
 *                                                 an older step number means: not yet begun
 *     done      parts finished of the open step, added once per thread and step
 *
 * A thread claims its first part BEFORE it looks at the step's kernel: from then on the step cannot
 * end, so nothing it reads can change under it. A thread that slept through steps (or runs) fails
 * to claim and looks at the gate again. Step numbers never repeat, so a stale compare-and-swap
 * cannot succeed.
 *
 * Waiting is 2000 pauses of spinning, then a futex on the gate's low half. */
#ifndef LLMIR_RUNTIME_TEAM_H
#define LLMIR_RUNTIME_TEAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llmir/module_abi.h>

#include "base/status.h"

enum { RT_TEAM_MAX = 256, RT_PARTS_MAX = (1 << 24) - 1 };

typedef struct rt_team rt_team;

typedef struct rt_step {
    llmir_kernel_code code;
    llmir_args args;
} rt_step;

typedef struct rt_run {
    const rt_step *step;
    size_t n_step;
    bool (*stop)(void *user); /* asked between steps, from any thread of the team; NULL: never */
    void *user;
    double *seconds; /* NULL, or one per step: wall time is added */
} rt_run;

/* n threads, the caller of rt_team_run being the first; n - 1 are started here. Scratch is per
 * thread. */
ll_code rt_team_create(uint32_t n, size_t scratch, rt_team **out, ll_error *err);
void rt_team_destroy(rt_team *t); /* NULL is fine */
uint32_t rt_team_size(const rt_team *t);
/* Runs all steps. One call at a time. LL_CANCELLED when stop() said so, LL_FAILED in a forked child
 * or when a kernel reports too many parts. */
ll_code rt_team_run(rt_team *t, const rt_run *run, ll_error *err);
/* The number of CPUs this process may use. */
uint32_t rt_cpu_count(void);

#endif

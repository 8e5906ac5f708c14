/* pick.h: what a device's name means, and which target of a module is used on it.
 *
 *     cpu               the most capable CPU target that this machine has everything for: the
 *                       widest vectors, then the most features, then the first in the module
 *     cuda, cuda:N      GPU N (0): the target of the highest compute capability that it runs; code
 *                       for one capability exactly (sm_90a) goes before code for it and later ones
 *     sim, sim:sm_80    the same on our simulator, which then is an sm_80
 *     cpu:x86-64-v3     that target of the module, and no other; on the GPU, number 0
 *     cuda:sm_80
 *     (none)            cpu where a CPU target runs, else cuda:0 */
#ifndef LLMIR_RUNTIME_PICK_H
#define LLMIR_RUNTIME_PICK_H

#include "base/status.h"
#include "runtime/blob.h"
#include "runtime/gpu.h"

enum { RT_MISSING = 64 };

typedef struct rt_spec {
    const char *text;               /* as it was given; NULL: not */
    bool cpu, cuda;                 /* which kinds will do; the CPU goes first */
    char target[LLMIR_TARGET_NAME]; /* this one only; "": the best */
    rt_gpu_want gpu;
} rt_spec;

/* LL_USAGE when `device` is no device. */
ll_code rt_spec_parse(const char *device, rt_spec *out, ll_error *err);

typedef struct rt_machine {
    uint64_t cpu;     /* bits of ll_cpu_feature */
    uint32_t sm;      /* of the GPU in question; 0: none is there, or none was looked for */
    char no_gpu[600]; /* why not */
} rt_machine;

/* The CPU's side of this machine; with a module that has CUDA targets and `look`, the GPU's, too.
 */
void rt_machine_here(const rt_blob *b, const rt_spec *s, bool look, rt_machine *out);
/* What a machine lacks for a target; "" when nothing. */
void rt_missing(const rt_blob *b, const llmir_target_rec *t, const rt_machine *m,
                char out[RT_MISSING]);

/* LL_NO_DEVICE lists what the module has and what the machine lacks for each. `file` starts
 * every message. */
ll_code rt_pick_target(const rt_blob *b, const rt_spec *s, const rt_machine *m, const char *file,
                       uint32_t *out, ll_error *err);

#endif

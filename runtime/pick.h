/* pick.h: which target of a module a model uses.
 *
 * The device is named as "cpu", or as a target of the module ("cpu:x86-64-v3"), which forces that
 * one. "cpu" (and NULL) takes the most capable target that this machine has everything for: the
 * widest vectors, then the most features, then the first in the module. CUDA targets are never
 * taken: this library runs modules on the CPU. */
#ifndef LLMIR_RUNTIME_PICK_H
#define LLMIR_RUNTIME_PICK_H

#include "base/status.h"
#include "runtime/blob.h"

enum { RT_MISSING = 64 };

/* What a machine with the CPU features `have` (bits of ll_cpu_feature) lacks for a target; ""
 * when nothing. */
void rt_missing(const rt_blob *b, const llmir_target_rec *t, uint64_t have, char out[RT_MISSING]);

/* LL_NO_DEVICE lists what the module has and what the machine lacks for each; LL_USAGE when
 * `device` is no device. `file` starts every message. */
ll_code rt_pick_target(const rt_blob *b, const char *device, uint64_t have, const char *file,
                       uint32_t *out, ll_error *err);

#endif

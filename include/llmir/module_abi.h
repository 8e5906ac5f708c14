/* module_abi.h: what a model.so holds and how its kernels are called.
 *
 * A module has one exported symbol, `llmir_module_v1`, a const `llmir_module`. Everything that can be
 * checked before code is mapped lies in the *blob*: a flat, relocation-free byte string (sections of
 * fixed records, offsets from its start, little-endian) that the loader reads with bounded `pread` and
 * validates in full BEFORE `dlopen`. `dlopen` then only supplies the function pointers. Weights follow the
 * ELF image, page-aligned, already packed for the target, and are mapped lazily.
 *
 *     +-----------+---------------------------+----------+-------------+ page aligned +-----------+
 *     | ELF head  | .text .rodata (blob) note | .dynamic | section hdr |  ........... | weights   |
 *     +-----------+---------------------------+----------+-------------+              +-----------+
 *
 * Kernels on the CPU. A step of the program runs one kernel on the whole team:
 *
 *     uint64_t parts(const llmir_args *a);                        // how many parts this call has
 *     void     run(const llmir_args *a, llmir_team *t, uint32_t thread, void *scratch);
 *
 * `run` is entered by every thread of the team. It asks `t->claim(t, thread)` for a part (its own
 * contiguous range first, then stealing); -1 means no part is left. With the first part in hand it runs
 * its per-thread prologue into `scratch`, then part after part. A call of `claim` also reports the part
 * claimed before as finished, so results of a part must be stored by then. The number of parts depends on
 * the arguments only, never on the thread count: results have the same bits for any team. */
#ifndef LLMIR_MODULE_ABI_H
#define LLMIR_MODULE_ABI_H

#include <stdint.h>

#define LLMIR_MODULE_MAGIC 0x314d524d4c4cu /* "LLMRM1" */
#define LLMIR_MODULE_ABI 1u

typedef struct llmir_args {
    void *const *buf;   /* the kernel's buffers, in the order of its parameter list        */
    const int64_t *dim; /* the module's symbolic dimensions (T, S, R, W, ...), by their index */
} llmir_args;

typedef struct llmir_team llmir_team;
struct llmir_team {
    int64_t (*claim)(llmir_team *team, uint32_t thread);
    uint32_t n_threads;
};

typedef uint64_t (*llmir_parts_fn)(const llmir_args *args);
typedef void (*llmir_run_fn)(const llmir_args *args, llmir_team *team, uint32_t thread, void *scratch);

typedef struct llmir_kernel_code {
    llmir_parts_fn parts;
    llmir_run_fn run;
} llmir_kernel_code;

typedef struct llmir_module {
    uint64_t magic;
    uint32_t abi, size; /* of this struct */
    const llmir_kernel_code *kernel;
    const uint8_t *blob;
    uint64_t n_kernel, blob_size;
} llmir_module;

#endif

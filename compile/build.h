/* build.h: a model file becomes a module: expressions -> kernels -> schedules -> code -> programs -> model.so.
 *
 * For each kind of KV cache and each range of step sizes (one token; many) the model is written as one graph, cut into
 * kernels (fuse.h), and each distinct kernel is scheduled and compiled once (unique.h). The program is the list of
 * kernels with what each is bound to; activations share one arena by lifetimes. All of this is done for each target;
 * weights are packed once for each packing that a target wants.
 *
 * Same input and options give the same bytes, with any cache. Errors leave no file. Refused: a target that is given twice (LL_USAGE, by
 * its canonical name), one that no code is made for. */
#ifndef LLMIR_COMPILE_BUILD_H
#define LLMIR_COMPILE_BUILD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

enum { CC_DUMP_TE = 1, CC_DUMP_SCHED = 2, CC_DUMP_LOOP = 4, CC_DUMP_LLVM = 8, CC_DUMP_ASM = 16 };

typedef struct cc_options {
    const char *const *target; /* "cpu", "cpu:x86-64-v3", ...: each once; none: "cpu"         */
    int n_target;
    bool f32_activations;      /* contractions read f32 instead of 8-bit activations          */
    int64_t max_tokens;        /* longest step; 0: 512                                        */
    const int64_t *kv_block;   /* tokens per page of the KV caches to build; NULL: all          */
    int n_kv_block;
    int jobs;                  /* compile jobs at once; 0: one per core                        */
    const char *cache;         /* folder of kernels made before (cache.h); NULL: none           */
    uint64_t cache_limit;      /* bytes; 0: cache.h's                                          */
    unsigned dump;             /* CC_DUMP_*                                                    */
    const char *dump_dir;      /* a file for each kernel and level; NULL: dump_file            */
    FILE *dump_file;           /* all of them, one after the other                             */
    const char *version;       /* of the tool, for provenance                                  */
    /* what is being done and how far it is (0..1); may be NULL */
    void (*progress)(void *user, const char *phase, double fraction);
    void *user;
} cc_options;

typedef struct cc_report {
    char name[128], arch[32], quant[32];
    char targets[512];          /* their names, as far as there is room */
    int64_t layers, parameters;
    int kernels, kernel_calls;  /* distinct; steps of all programs: of all targets */
    int decode_steps;           /* steps of the last one-token program             */
    int cache_hits, cache_misses; /* kernels found in the cache and not; 0 without one */
    char no_cache[256];         /* why the folder given is not used; "": it is         */
    uint64_t file_bytes, weight_bytes;
    double seconds_graph, seconds_schedule, seconds_code, seconds_weights, seconds_link;
} cc_report;

ll_code cc_build(const char *model, const char *out, const cc_options *o, cc_report *report, ll_error *err);

#endif

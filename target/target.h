/* target.h: descriptions of devices that code is made for. Text form: "cpu" (this machine), "cpu:x86-64-v3",
 * "cpu:x86-64-v4", "cpu:x86-64-v4+avx512vnni+gfni", "cuda:sm_80". */
#ifndef LLMIR_TARGET_TARGET_H
#define LLMIR_TARGET_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum ll_target_kind { LL_CPU, LL_CUDA } ll_target_kind;

typedef struct ll_target {
    ll_target_kind kind;
    char name[160];        /* canonical text form; equal targets have equal names               */
    /* CPU */
    uint64_t features;     /* bit set of ll_cpu_feature                                         */
    int vector_bytes;      /* 16, 32 or 64; CUDA: the widest access of a thread                 */
    int n_vector_regs;     /* 16 or 32                                                          */
    int64_t l1_bytes, l2_bytes, l3_bytes; /* data caches as found, or a modest default          */
    int cores;
    /* CUDA */
    int sm;                /* 75, 80, 86, 89, 90                                                */
    bool sm_a;             /* sm_90a                                                            */
    int max_threads, max_regs, sms;
    int64_t max_shared;    /* per block, opt-in                                                 */
    /* both: as probed or described; 0 when unknown */
    double read_gbs;       /* memory read bandwidth, GB/s                                       */
    double int8_gops, f32_gflops;
} ll_target;

/* X(NAME, llvm feature name, bit of x86-64-v3, bit of x86-64-v4) */
#define LL_CPU_FEATURES(X)                                                                         \
    X(SSE42, sse4.2, 1, 1) X(AVX, avx, 1, 1) X(AVX2, avx2, 1, 1) X(FMA, fma, 1, 1)                 \
    X(F16C, f16c, 1, 1) X(BMI, bmi, 1, 1) X(BMI2, bmi2, 1, 1) X(LZCNT, lzcnt, 1, 1)                \
    X(MOVBE, movbe, 1, 1) X(POPCNT, popcnt, 1, 1)                                                  \
    X(AVX512F, avx512f, 0, 1) X(AVX512BW, avx512bw, 0, 1) X(AVX512CD, avx512cd, 0, 1)              \
    X(AVX512DQ, avx512dq, 0, 1) X(AVX512VL, avx512vl, 0, 1)                                        \
    X(AVX512VNNI, avx512vnni, 0, 0) X(AVX512VBMI, avx512vbmi, 0, 0) X(AVX512BF16, avx512bf16, 0, 0) \
    X(GFNI, gfni, 0, 0) X(AVXVNNI, avxvnni, 0, 0)
typedef enum ll_cpu_feature {
#define X(NAME, llvm, v3, v4) LL_FEAT_##NAME,
    LL_CPU_FEATURES(X)
#undef X
        LL_N_FEATURES
} ll_cpu_feature;

static inline bool ll_target_has(const ll_target *t, ll_cpu_feature f) { return t->features >> f & 1; }
const char *ll_cpu_feature_name(ll_cpu_feature f); /* LLVM's spelling */
/* By LLVM's name; false when unknown. */
bool ll_cpu_feature_parse(const char *name, ll_cpu_feature *out);
/* LL_USAGE "target 'x': ..." listing the forms understood. */
ll_code ll_target_parse(const char *text, ll_target *out, ll_error *err);
/* A CPU target with these features (and what they imply), its name, and defaults for the rest. */
void ll_target_of_features(ll_target *t, uint64_t features);
/* This machine: cpuid and /sys; never fails (x86-64 baseline at worst). */
void ll_target_native(ll_target *out);
/* Can code for `need` run on `have`? When not, *missing names the first feature that lacks. */
bool ll_target_runs(const ll_target *need, const ll_target *have, const char **missing);
/* "+avx2,+fma,...,-..." for LLVM; the caller's buffer. */
void ll_target_llvm_features(const ll_target *t, char *out, size_t n);

#endif

/* fake.h: a model small enough to compute by hand, written as a module with the real writer.
 * Its kernels are in fake_kernels.c. */
#ifndef LLMIR_TESTS_FAKE_H
#define LLMIR_TESTS_FAKE_H

#include <stdint.h>

#include <llmir/module_abi.h>

#include "base/status.h"
#include "tests/unit/runtime/seal.h"

enum { FAKE_T, FAKE_S, FAKE_R, FAKE_W, FAKE_PAGES, FAKE_N_DIM };
enum {
    FAKE_VOCAB = 300,
    FAKE_MOD = 8191,
    FAKE_TILE = 4,
    FAKE_SPLIT = 48,
    FAKE_CONTEXT = 200,
    FAKE_T_MAX = 64,
    FAKE_POISON = 8190 /* state whose logits hold a NaN */,
    FAKE_POISON_TOKEN = 299
};

#define FAKE_KERNELS(X)                                                                          \
    X(embed)                                                                                     \
    X(append_f32_16) X(append_f32_64) X(append_f16_16) X(sum_f32_16) X(sum_f32_64) X(sum_f16_16) \
        X(combine) X(head) X(best)
#define X(name)                                        \
    uint64_t fake_##name##_parts(const llmir_args *a); \
    void fake_##name##_run(const llmir_args *a, llmir_team *t, uint32_t thread, void *scratch);
FAKE_KERNELS(X)
#undef X

typedef struct fake_options {
    const char *features;  /* of target cpu:x86-64; NULL: none */
    /* a second CPU target, cpu:x86-64-v3, that needs these and is the same code with factors of its
     * own; NULL: none. A CUDA target, cuda:sm_80, is always there, behind the CPU's. */
    const char *wide;
    int no_best;           /* without the candidate kernel */
    const void *tokenizer; /* section bytes, or NULL */
    size_t n_tokenizer;
    uint64_t pad_weights;                   /* extra bytes of weights */
    void (*spoil)(uint8_t *blob, size_t n); /* changes the tables before they are written */
} fake_options;

/* `object`: path of the compiled fake_kernels.c. */
ll_code fake_write(const char *path, const char *object, const fake_options *o, ll_error *err);
int32_t fake_embedding(int32_t token);
/* State after each of the n tokens; tokens[i] for i < n. */
void fake_states(const int32_t *tokens, int n, int32_t *state);

#endif

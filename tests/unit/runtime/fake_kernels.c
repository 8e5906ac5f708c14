/* fake_kernels.c: kernels of a model that can be computed by hand, in integers below MOD.
 *
 *     x[t] = emb[token[t]]
 *     two layers:  pool[layer][pos] = x[t]
 *                  x[t] = (x[t] + (layer + 2) * sum_{j <= pos} pool[layer][j]) % MOD
 *     logits[r][v] = -|v - x[row r] % vocab|          (so the next token is x % vocab)
 *
 * The sum goes through a plan: partial sums per item and row, then a combine. Every KV layout has
 * its own append and sum, as real kernels have: block size and storage type are constants. */
#include <math.h>
#include <string.h>

#include <llmir/module_abi.h>

#include "tests/unit/runtime/fake.h"

#define PART(i) for (int64_t i = t->claim(t, thread); i >= 0; i = t->claim(t, thread))

uint64_t fake_embed_parts(const llmir_args *a) { return (uint64_t)(a->dim[FAKE_T] + 2) / 3; }
void fake_embed_run(const llmir_args *a, llmir_team *t, uint32_t thread, void *scratch)
{
    const int32_t *token = a->buf[0], *emb = a->buf[1];
    int32_t *x = a->buf[2];
    PART(p)
    for (int64_t i = 3 * p; i < 3 * p + 3 && i < a->dim[FAKE_T]; i++) x[i] = emb[token[i]];
}

#define LAYOUT(name, type, block)                                                                  \
    uint64_t fake_append_##name##_parts(const llmir_args *a);                                      \
    void fake_append_##name##_run(const llmir_args *a, llmir_team *t, uint32_t thread,             \
                                  void *scratch);                                                  \
    uint64_t fake_sum_##name##_parts(const llmir_args *a);                                         \
    void fake_sum_##name##_run(const llmir_args *a, llmir_team *t, uint32_t thread,                \
                               void *scratch);                                                     \
    uint64_t fake_append_##name##_parts(const llmir_args *a) { return (uint64_t)a->dim[FAKE_T]; }  \
    void fake_append_##name##_run(const llmir_args *a, llmir_team *t, uint32_t thread,             \
                                  void *scratch)                                                   \
    {                                                                                              \
        const int32_t *x = a->buf[0], *pos = a->buf[1], *seg = a->buf[2], *table = a->buf[3];      \
        type *pool = a->buf[4];                                                                    \
        PART(i)                                                                                    \
        {                                                                                          \
            int64_t b = table[seg[i] * a->dim[FAKE_PAGES] + pos[i] / (block)];                     \
            pool[b * (block) + pos[i] % (block)] = (type)x[i];                                     \
        }                                                                                          \
    }                                                                                              \
    uint64_t fake_sum_##name##_parts(const llmir_args *a) { return (uint64_t)a->dim[FAKE_W]; }     \
    void fake_sum_##name##_run(const llmir_args *a, llmir_team *t, uint32_t thread, void *scratch) \
    {                                                                                              \
        const llmir_item *item = a->buf[0];                                                        \
        const int32_t *pos = a->buf[1], *table = a->buf[2];                                        \
        const type *pool = a->buf[3];                                                              \
        int64_t *partial = a->buf[4];                                                              \
        PART(w)                                                                                    \
        for (int32_t r = 0; r < item[w].rows; r++) {                                               \
            int64_t sum = 0;                                                                       \
            for (int32_t j = item[w].lo; j < item[w].hi; j++) {                                    \
                int64_t b = table[item[w].seg * a->dim[FAKE_PAGES] + j / (block)];                 \
                if (j < item[w].mask_from || j <= pos[item[w].row0 + r])                           \
                    sum += pool[b * (block) + j % (block)];                                        \
            }                                                                                      \
            partial[w * FAKE_TILE + r] = sum;                                                      \
        }                                                                                          \
    }
LAYOUT(f32_16, int32_t, 16)
LAYOUT(f32_64, int32_t, 64)
LAYOUT(f16_16, uint16_t, 16)

uint64_t fake_combine_parts(const llmir_args *a) { return (uint64_t)a->dim[FAKE_T]; }
void fake_combine_run(const llmir_args *a, llmir_team *t, uint32_t thread, void *scratch)
{
    const llmir_item *item = a->buf[0];
    const int32_t *first = a->buf[1], *factor = a->buf[3];
    const int64_t *partial = a->buf[2];
    int32_t *x = a->buf[4];
    PART(i)
    {
        int64_t sum = 0, w = first[i];
        if (w < 0) continue; /* only fills the step up */
        for (int32_t k = 0; k < item[w].parts; k++)
            sum += partial[(w + k) * FAKE_TILE + i - item[w].row0];
        x[i] = (int32_t)((x[i] + factor[0] * sum) % FAKE_MOD);
    }
}

uint64_t fake_head_parts(const llmir_args *a) { return (uint64_t)a->dim[FAKE_R] * 4; }
void fake_head_run(const llmir_args *a, llmir_team *t, uint32_t thread, void *scratch)
{
    const int32_t *x = a->buf[0], *rows = a->buf[1];
    float *logits = a->buf[2];
    PART(p)
    {
        int64_t r = p / 4, lo = FAKE_VOCAB * (p % 4) / 4, hi = FAKE_VOCAB * (p % 4 + 1) / 4;
        for (int64_t v = lo; v < hi; v++)
            logits[r * FAKE_VOCAB + v] = -fabsf((float)(v - x[rows[r]] % FAKE_VOCAB));
        if (x[rows[r]] == FAKE_POISON) logits[r * FAKE_VOCAB + lo] = NAN;
    }
}

uint64_t fake_best_parts(const llmir_args *a) { return (uint64_t)a->dim[FAKE_R]; }
void fake_best_run(const llmir_args *a, llmir_team *t, uint32_t thread, void *scratch)
{
    const float *logits = a->buf[0];
    float *max = a->buf[1], *best = a->buf[3], *lse = a->buf[4];
    int32_t *id = a->buf[2];
    unsigned char *used = scratch;
    PART(r)
    {
        const float *row = logits + r * FAKE_VOCAB;
        double sum = 0;
        memset(used, 0, FAKE_VOCAB);
        for (int k = 0; k < LLMIR_CANDIDATES; k++) {
            int top = -1;
            for (int v = 0; v < FAKE_VOCAB; v++)
                if (!used[v] && (top < 0 || row[v] > row[top])) top = v;
            used[top] = 1;
            id[r * LLMIR_CANDIDATES + k] = top;
            best[r * LLMIR_CANDIDATES + k] = row[top];
        }
        for (int v = 0; v < FAKE_VOCAB; v++)
            sum += exp((double)row[v] - (double)best[r * LLMIR_CANDIDATES]);
        max[r] = best[r * LLMIR_CANDIDATES];
        lse[r] = (float)(max[r] + log(sum));
    }
}

/* fake_cuda.c: the kernels of fake_kernels.c for a GPU, as test data for the runtime. The PTX made
 * from this file is kept beside it (fake_cuda.ptx), so that tests need no compiler for GPUs:
 *
 *     clang-19 --target=nvptx64-nvidia-cuda -Xclang -target-cpu -Xclang sm_75 -O2 \
 *         -fno-unroll-loops -ffreestanding -nostdlib -S fake_cuda.c -o fake_cuda.ptx
 *
 * As the ABI wants it, parameters are addresses of buffers and then of the dims, extents are read
 * from the dims, and surplus blocks do nothing. Results are those of the CPU kernels, but for the
 * last bits of best's log of a sum. */
typedef int int32_t;
typedef unsigned uint32_t;
typedef long int64_t;
typedef unsigned short uint16_t;

enum { T, S, R, W, PAGES };
enum { VOCAB = 300, MOD = 8191, TILE = 4, POISON = 8190, CANDIDATES = 256 };
typedef struct item {
    int32_t seg, row0, rows, lo, hi, mask_from, part, parts;
} item;

#define KERNEL __attribute__((nvptx_kernel)) void
#define GLOBAL __attribute__((address_space(1)))
#define BLOCK __nvvm_read_ptx_sreg_ctaid_x()
#define THREAD __nvvm_read_ptx_sreg_tid_x()
#define FLAT (BLOCK * __nvvm_read_ptx_sreg_ntid_x() + THREAD)

KERNEL embed(const int32_t *token, const int32_t *emb, int32_t *x, const int64_t *dim)
{
    if (FLAT < dim[T]) x[FLAT] = emb[token[FLAT]];
}

#define LAYOUT(name, type, block)                                                                 \
    KERNEL append_##name(const int32_t *x, const int32_t *pos, const int32_t *seg,                \
                         const int32_t *table, type *pool, const int64_t *dim)                    \
    {                                                                                             \
        int64_t i = FLAT;                                                                         \
        if (i >= dim[T]) return;                                                                  \
        int64_t b = table[seg[i] * dim[PAGES] + pos[i] / (block)];                                \
        pool[b * (block) + pos[i] % (block)] = (type)x[i];                                        \
    }                                                                                             \
    KERNEL sum_##name(const item *it, const int32_t *pos, const int32_t *table, const type *pool, \
                      int64_t *partial, const int64_t *dim)                                       \
    {                                                                                             \
        int64_t w = BLOCK, r = THREAD, sum = 0;                                                   \
        if (w >= dim[W] || r >= it[w].rows) return;                                               \
        for (int32_t j = it[w].lo; j < it[w].hi; j++) {                                           \
            int64_t b = table[it[w].seg * dim[PAGES] + j / (block)];                              \
            if (j < it[w].mask_from || j <= pos[it[w].row0 + r])                                  \
                sum += pool[b * (block) + j % (block)];                                           \
        }                                                                                         \
        partial[w * TILE + r] = sum;                                                              \
    }
LAYOUT(f32_16, int32_t, 16)
LAYOUT(f32_64, int32_t, 64)
LAYOUT(f16_16, uint16_t, 16)

KERNEL combine(const item *it, const int32_t *first, const int64_t *partial, const int32_t *factor,
               int32_t *x, const int64_t *dim)
{
    int64_t i = FLAT, sum = 0;
    if (i >= dim[T] || first[i] < 0) return; /* only fills the step up */
    const item *mine = it + first[i];
    for (int32_t k = 0; k < mine->parts; k++)
        sum += partial[(first[i] + k) * (int64_t)TILE + i - mine->row0];
    x[i] = (int32_t)((x[i] + factor[0] * sum) % MOD);
}

KERNEL head(const int32_t *x, const int32_t *rows, float *logits, const int64_t *dim)
{
    int64_t r = BLOCK;
    if (r >= dim[R]) return;
    int32_t state = x[rows[r]];
    for (int32_t v = (int32_t)THREAD; v < VOCAB; v += 128) {
        int32_t d = v - state % VOCAB;
        float y = (float)(d < 0 ? d : -d);
        logits[r * VOCAB + v] = state == POISON && v % 75 == 0 ? __builtin_nanf("") : y;
    }
}

/* Order of floats as integers; a NaN is the largest. */
static uint32_t key(float f)
{
    uint32_t u = __builtin_bit_cast(uint32_t, f);
    return u >> 31 ? ~u : u | 0x80000000u;
}

extern __attribute__((address_space(3))) float row[];

KERNEL best(const float *logits, float *max, int32_t *id, float *value, float *lse,
            const int64_t *dim)
{
    int64_t r = BLOCK;
    int32_t v = (int32_t)THREAD, rank = 0;
    if (r >= dim[R]) return;
    if (v < VOCAB) row[v] = logits[r * VOCAB + v];
    __nvvm_bar_sync(0);
    if (v >= VOCAB) return;
    for (int32_t k = 0; k < VOCAB; k++)
        rank += key(row[k]) > key(row[v]) || (key(row[k]) == key(row[v]) && k < v);
    if (rank < CANDIDATES) id[r * CANDIDATES + rank] = v, value[r * CANDIDATES + rank] = row[v];
    if (rank) return;
    float sum = 0;
    for (int32_t k = 0; k < VOCAB; k++)
        sum += __nvvm_ex2_approx_f((row[k] - row[v]) * 1.4426950408889634f);
    max[r] = row[v];
    lse[r] = row[v] + __nvvm_lg2_approx_f(sum) * 0.6931471805599453f;
}

/* Test data of failures: reads behind every buffer. */
KERNEL wild(const int32_t *token, const int32_t *emb, int32_t *x, const int64_t *dim)
{
    if (FLAT < dim[T]) x[FLAT] = emb[token[FLAT] + (1l << 40)];
}

/* Right results and a finding: what is stored depends on what was never written. */
KERNEL untidy(const int32_t *token, const int32_t *emb, int32_t *x, const int64_t *dim)
{
    if (FLAT < dim[T]) x[FLAT] = x[FLAT] == -77 ? -77 : emb[token[FLAT]];
}

/* ops.h: the operators of language models, each a few lines of tensor expressions. Rows are
 * flat: activations are [t, n] with t over the tokens of the step, heads side by side in n.
 * Every accumulation is in f32 and in the text. Names of definitions start with `name`; the last
 * one made is returned. Wrong shapes are errors of the graph. */
#ifndef LLMIR_TE_OPS_H
#define LLMIR_TE_OPS_H

#include "te/quant.h"
#include "te/te.h"

/* x[t, k] = table[token[t], k], f32; the table is plain or quantised. */
te_tensor *op_embedding(te_graph *g, const char *name, te_tensor *table, te_tensor *token);
/* y[r, k] = x[row[r], k] */
te_tensor *op_gather_rows(te_graph *g, const char *name, te_tensor *x, te_tensor *row);
/* y[t, n] = sum(k: x[t, k] * w[n, k]) (+ bias[n]): w plain or quantised, x f32. */
te_tensor *op_linear(te_graph *g, const char *name, te_tensor *x, te_tensor *w, te_tensor *bias);

/* x in blocks of 8-bit integers: x[t, k] ~ d[t, k / block] * q[t, k]; sums[t, c] = sum of the
 * `granule` codes from c * granule on (minima and offsets of weights need them). d = max|x| /
 * 127 over the block. */
typedef struct op_q8 {
    te_tensor *q, *d, *sums;
    int64_t block, granule;
} op_q8;
op_q8 op_quantise(te_graph *g, const char *name, te_tensor *x, int64_t block, int64_t granule);
/* The same contraction from quantised activations. */
te_tensor *op_linear_q8(te_graph *g, const char *name, const op_q8 *x, te_tensor *w,
                        te_tensor *bias);

/* y = x * rsqrt(mean(x^2) + eps) * weight */
te_tensor *op_rmsnorm(te_graph *g, const char *name, te_tensor *x, te_tensor *weight, double eps);

/* cos and sin of pos[t] * inv_freq[i]: one definition each, [t, n_rot / 2]. */
typedef struct op_angles { te_tensor *cos, *sin; } op_angles;
op_angles op_rope_angles(te_graph *g, const char *name, te_tensor *pos, te_tensor *inv_freq,
                         double scale);
typedef enum op_rope_pairs { OP_ROPE_INTERLEAVED, OP_ROPE_HALVES } op_rope_pairs;
/* Rotates the first n_rot elements of every head of head_dim: pairs (2i, 2i + 1), or (i, i +
 * n_rot / 2). */
te_tensor *op_rope(te_graph *g, const char *name, te_tensor *x, const op_angles *a,
                   int64_t head_dim, int64_t n_rot, op_rope_pairs pairs);
/* gate / (1 + exp(-gate)) * up */
te_tensor *op_silu_mul(te_graph *g, const char *name, te_tensor *gate, te_tensor *up);
te_tensor *op_add(te_graph *g, const char *name, te_tensor *a, te_tensor *b);

/* The paged cache of one layer: pool [pages, block, heads, head_dim], a page table [segments,
 * pages of one]. */
typedef struct op_cache {
    te_tensor *pool;   /* f16 or f32                                              */
    te_tensor *table;  /* s32 [S, MP], values in 0..pages                          */
    int64_t block;
} op_cache;
/* pool[table[seg[t], pos[t] / block], pos[t] % block, h, d] = x[t, h * head_dim + d]: the new
 * version of the pool. */
te_tensor *op_kv_append(te_graph *g, const char *name, const op_cache *c, te_tensor *x,
                        te_tensor *seg, te_tensor *pos);
/* Causal attention of each token over its segment's keys 0..pos[t], written plainly:
 *   x = scale * q.k;  m = max_j x;  e = exp(x - m);  l = sum_j e;  o = sum_j e*v;
 *   out = l == 0 ? 0 : o / l
 * q [t, heads * head_dim]; query head h reads cache head h / (heads / cache heads). `k` and `v`
 * are pools after their append. */
te_tensor *op_attention(te_graph *g, const char *name, te_tensor *q, const op_cache *k,
                        const op_cache *v, te_tensor *seg, te_tensor *pos, double scale);

/* Per row r of logits: the maximum and log(sum(exp(x - max))) for sampling. */
typedef struct op_row_stats { te_tensor *max, *lse; } op_row_stats;
op_row_stats op_sample_stats(te_graph *g, const char *name, te_tensor *logits);

#endif

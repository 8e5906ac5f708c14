/* sample.h: picks a token from a row of logits (the chain is documented at llmir_sample_params).
 *
 * A row of a real model has 10^5 entries and almost all of the probability in a few. Everything
 * below works on a short sorted list (the 256 best that a module's kernel reports, or else found
 * here in one pass) with a `bound` that no token outside it exceeds, and only when a filter reaches
 * past the list is the row read again, with a lower bound:
 *
 *     list  ->  filters  ->  past the end?  ->  all logits > max - 6T  ->  filters  ->  ... 12T, 24T, all
 *
 * No allocation: all scratch is in rt_sampler, made once for a vocabulary size. */
#ifndef LLMIR_RUNTIME_SAMPLE_H
#define LLMIR_RUNTIME_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llmir/llmir.h>

#include "base/status.h"

typedef struct rt_row {
    float *logit; /* n values; penalties are written into it */
    uint32_t n;
    const float *max, *lse; /* NULL, or the maximum and the log of the sum of exponentials */
    const int32_t
        *best_id; /* NULL, or the n_best largest: best first, equal ones by ascending id */
    const float *best_logit;
    uint32_t n_best;
} rt_row;

typedef struct rt_sampler {
    uint32_t n;     /* vocabulary size */
    uint64_t *key;  /* sort keys, n */
    double *weight; /* of the kept tokens, n */
    int32_t *id;    /* of the kept tokens, ascending, n */
    uint32_t *seen; /* stamp of the last call whose history held the token, n */
    uint32_t stamp;
    uint32_t n_kept;
    double total; /* sum of weights of the kept */
} rt_sampler;

ll_code rt_sampler_init(rt_sampler *s, uint32_t n, ll_error *err);
void rt_sampler_finish(rt_sampler *s); /* a zeroed one is fine */

/* LL_USAGE naming the field that is out of range. */
ll_code rt_sample_check(const llmir_sample_params *p, ll_error *err);

/* The kept tokens with their weights (not normalised) into s->id, weight, n_kept, total. Greedy
 * keeps one. */
ll_code rt_sample_keep(rt_sampler *s, const llmir_sample_params *p, rt_row *row,
                       const int32_t *history, size_t n_history, ll_error *err);
/* The kept token at u in [0, 1). */
int32_t rt_sample_draw(const rt_sampler *s, double u);
/* Output number `position` (from 0) of SplitMix64 seeded with `seed`, as a number in [0, 1). */
double rt_sample_random(uint64_t seed, uint64_t position);

#endif

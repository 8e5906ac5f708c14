/* plan.c: see plan.h. */
#include "runtime/plan.h"

#include <stdbool.h>

static bool serves(const llmir_plan_rec *p, uint32_t rows, uint32_t keys)
{
    return rows >= p->rows_min && rows <= p->rows_max && keys >= p->keys_min && keys <= p->keys_max;
}

/* A cell of the (rows, keys) quadrant is described by its lowest corner; classes are boxes, so a
 * group partitions the quadrant when every combination of lower edges is covered exactly once.
 * Edges are where a box begins, and just behind where one ends. */
static ll_code check_group(const llmir_plan_rec *plan, size_t n, uint32_t group, const char *name,
                           ll_error *err)
{
    for (size_t i = 0; i <= 2 * n; i++)
        for (size_t j = 0; j <= 2 * n; j++) {
            const llmir_plan_rec *a = i ? &plan[(i - 1) / 2] : NULL,
                                 *b = j ? &plan[(j - 1) / 2] : NULL;
            uint64_t rows = !a ? 1 : i & 1 ? a->rows_min : (uint64_t)a->rows_max + 1;
            uint64_t keys = !b ? 1 : j & 1 ? b->keys_min : (uint64_t)b->keys_max + 1;
            if (rows > UINT32_MAX || keys > UINT32_MAX) continue;
            rows += !rows; /* a limit of 0 is none: nothing has less than one */
            keys += !keys;
            size_t hits = 0;
            for (size_t k = 0; k < n; k++)
                hits += plan[k].group == group && serves(&plan[k], (uint32_t)rows, (uint32_t)keys);
            if (hits != 1)
                return ll_fail(err, LL_BAD_INPUT,
                               "%s: plan group %u serves a segment of %u rows and %u keys %zu "
                               "times, wanted once",
                               name, group, (uint32_t)rows, (uint32_t)keys, hits);
        }
    return LL_OK;
}

ll_code rt_plan_check(const llmir_plan_rec *plan, size_t n, const char *name, ll_error *err)
{
    if (n > RT_PLAN_MAX)
        return ll_fail(err, LL_BAD_INPUT, "%s: %zu plans, at most %d are possible", name, n,
                       RT_PLAN_MAX);
    for (size_t i = 0; i < n; i++) {
        const llmir_plan_rec *p = &plan[i];
        if (!p->row_tile || p->row_tile > 1 << 20 || p->key_split > 1 << 30)
            return ll_fail(err, LL_BAD_INPUT,
                           "%s: plan %zu: row_tile %u, key_split %u: out of range", name, i,
                           p->row_tile, p->key_split);
        if (!p->rows_max || !p->keys_max || p->rows_min > p->rows_max || p->keys_min > p->keys_max)
            return ll_fail(err, LL_BAD_INPUT, "%s: plan %zu: empty class", name, i);
        if (p->causal > 1 || (p->window && !p->causal))
            return ll_fail(err, LL_BAD_INPUT, "%s: plan %zu: causal %u with window %u", name, i,
                           p->causal, p->window);
    }
    for (size_t i = 0; i < n; i++) LL_TRY(check_group(plan, n, plan[i].group, name, err));
    return LL_OK;
}

uint64_t rt_plan_bound(const llmir_plan_rec *p, uint64_t t, uint64_t s, uint64_t keys)
{
    uint64_t tiles = t / p->row_tile + s, parts = p->key_split ? keys / p->key_split + 2 : 1;
    return (tiles < t ? tiles : t) * parts;
}

static uint32_t cut_keys(const llmir_plan_rec *p, llmir_item whole, llmir_item *item)
{
    int64_t split = p->key_split, lo = whole.lo, hi = whole.hi;
    int64_t from = split ? lo / split : 0, parts = split ? (hi + split - 1) / split - from : 1;
    for (int64_t k = 0; k < parts; k++) {
        llmir_item it = whole;
        if (split) {
            int64_t a = (from + k) * split, b = a + split;
            it.lo = (int32_t)(a > lo ? a : lo);
            it.hi = (int32_t)(b < hi ? b : hi);
        }
        it.mask_from = whole.mask_from < it.lo   ? it.lo
                       : whole.mask_from > it.hi ? it.hi
                                                 : whole.mask_from;
        it.part = (int32_t)k;
        it.parts = (int32_t)parts;
        item[k] = it;
    }
    return (uint32_t)parts;
}

uint32_t rt_plan_make(const llmir_plan_rec *p, const int32_t *start, const int32_t *len, uint32_t s,
                      llmir_item *item, int32_t *first)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s; i++) {
        int32_t rows = start[i + 1] - start[i], keys = len[i];
        bool mine = serves(p, (uint32_t)rows, (uint32_t)keys);
        for (int32_t r = 0; r < rows; r += (int32_t)p->row_tile) {
            int32_t m = rows - r < (int32_t)p->row_tile ? rows - r : (int32_t)p->row_tile;
            for (int32_t k = 0; k < m; k++) first[start[i] + r + k] = mine ? (int32_t)n : -1;
            if (!mine) continue;
            int32_t pos = keys - rows + r; /* position of the tile's first row */
            int32_t lo = p->window && pos >= (int32_t)p->window ? pos + 1 - (int32_t)p->window : 0;
            int32_t hi = p->causal ? pos + m : keys;
            n += cut_keys(p,
                          (llmir_item){.seg = (int32_t)i,
                                       .row0 = start[i] + r,
                                       .rows = m,
                                       .lo = lo,
                                       .hi = hi,
                                       .mask_from = p->causal ? pos + 1 : hi},
                          item + n);
        }
    }
    return n;
}

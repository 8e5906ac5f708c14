/* plan.h: cuts the ragged work of a step into items (see <llmir/module_abi.h>, "plans").
 *
 * Key ranges are cut at absolute multiples of key_split, so a cut never falls into a page whose
 * size divides it, and the parts of a row depend on that row's own context only: a sequence gets
 * the same bits alone and in any batch. */
#ifndef LLMIR_RUNTIME_PLAN_H
#define LLMIR_RUNTIME_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include <llmir/module_abi.h>

#include "base/status.h"

enum { RT_PLAN_MAX = 32 };

/* Field values and the partition of every group. `name` starts the message. */
ll_code rt_plan_check(const llmir_plan_rec *plan, size_t n, const char *name, ll_error *err);

/* No batch of t tokens in s segments with at most `keys` keys each has more items. */
uint64_t rt_plan_bound(const llmir_plan_rec *p, uint64_t t, uint64_t s, uint64_t keys);

/* Items of the segments [start[i], start[i + 1]) with len[i] keys. first[r] becomes the first item
 * of flat row r, -1 for rows that this plan does not serve. Returns the number of items (at most
 * the bound). */
uint32_t rt_plan_make(const llmir_plan_rec *p, const int32_t *start, const int32_t *len, uint32_t s,
                      llmir_item *item, int32_t *first);

#endif

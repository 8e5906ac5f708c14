/* plan.h: work items of a flat axis of ragged segments, as expressions: shared by `plan` and `rolling`. */
#ifndef LLMIR_SCHEDULE_PLAN_H
#define LLMIR_SCHEDULE_PLAN_H

#include "schedule/sch.h"

typedef struct plan_item {
    te_graph *g;
    te_ref w;                 /* loop over items                                  */
    te_ref total;             /* number of flat rows (a dim)                      */
    te_ref row0, surplus, hi; /* first row, rows - 1, end of the item's elements  */
    te_ref first;             /* row0, bounded by the last row                    */
} plan_item;

/* For the flat axis `row`: adds the parameter ITEMS (s32 [W, 8]) when it is new. Refuses an axis that is not a whole dim. */
ll_code plan_item_make(sch *s, plan_item *out, te_ref row, const char *items, const char *stage, ll_error *err);
/* Row number r of the item (r NULL: its first): surplus rows repeat the last one. */
te_ref plan_row(const plan_item *i, te_ref r);
/* Loads of 1-d index tensors at a row of the item that name a segment: the same for all rows of the item, so at its first. */
te_ref plan_uniform(const plan_item *i, te_ref e);

#endif

/* guard.h: the values that a loop variable may have where a statement stands, by the conditions
 * round it:
 *
 *   for i < 5 { if i < 1 { A }               A: i is 0 alone
 *               else { if i < 4 { B } } }    B: 1 <= i < 4
 *
 * Statements where it has one and the same value never run in two different iterations. */
#ifndef LLMIR_SCHEDULE_GUARD_H
#define LLMIR_SCHEDULE_GUARD_H

#include "te/te.h"

typedef struct lp_values {
    te_ref lo, hi;
} lp_values; /* lo <= i < hi */

lp_values lp_values_all(te_graph *g, te_ref i);
/* Where `cond` holds (or does not). Conditions of another form leave the values as they are. */
void lp_values_narrow(te_graph *g, lp_values *v, te_ref i, te_ref cond, bool holds);
/* The one value that is left, or NULL. */
te_ref lp_values_one(te_graph *g, const lp_values *v);

#endif

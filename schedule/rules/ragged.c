/* ragged.c: kernels of reductions over data-dependent ranges: a maximum, and sums weighted by exp(x - maximum).
 *
 * All members go through one pass over tiles of the range (`rolling`); scores of a tile are computed in it, lanes over the
 * elements of the tile; sums have lanes over their own last axis. */
#include <stdio.h>
#include <string.h>

#include "schedule/prim.h"
#include "schedule/rules/rules.h"

ll_code rule_ragged(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err)
{
    (void)k;
    (void)knobs;
    return ll_fail(err, LL_UNSUPPORTED, "%s: no schedule for this form", s->fn->name);
}

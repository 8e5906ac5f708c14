/* programs.h: the loop-IR programs that are no tensor expressions, all of them, made with the same
 * builder as what schedules make. What a program computes is tested by lp_eval against a reference.
 *
 *   lp_best_of   the best k of each row: a selection by rank is no sum, maximum or argmax over
 *                independent terms
 */
#ifndef LLMIR_SCHEDULE_PROGRAMS_H
#define LLMIR_SCHEDULE_PROGRAMS_H

#include "schedule/loop.h"

/* The k greatest elements of each row of x, best first, equal ones by ascending column; a row of
 * fewer columns is filled up with column -1 and value -inf. A NaN is never among them.
 *
 * `part` cuts each row into `parts` runs of columns, a part of the kernel each, and keeps the best
 * k of every run in a heap with the worst on top; `merge`, a kernel behind it, walks the runs'
 * lists together.
 *
 *     part(in x[R, n], out value[R, parts, k], out column[R, parts, k])
 *     merge(in value, in column, out best_column[R, k], out best_value[R, k])
 *
 * x: f32 [R, n], sizes of any kind; k and parts from 1 to 65536. Names start with `name`. Same bits
 * for any number of threads and for any `parts`. LL_USAGE: anything else. */
typedef struct lp_best {
    lp_func *part, *merge;
} lp_best;
ll_code lp_best_of(te_tensor *x, const char *name, int64_t k, int64_t parts, lp_best *out,
                   ll_error *err);

#endif

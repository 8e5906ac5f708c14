/* stage.h: the nest of a stage as its definition: what algebraic primitives (factor, rolling, splitk) read and write.
 * They work on a *plain* nest, before it was split or reordered: for axes { init; for reduction axes { update } }. */
#ifndef LLMIR_SCHEDULE_STAGE_H
#define LLMIR_SCHEDULE_STAGE_H

#include "schedule/prim.h"

typedef struct stage_nest {
    te_tensor *stage;   /* as named: its buffer is what the nest writes                                       */
    te_tensor *as_def;  /* a view of the nest as a definition: axis[] are the loop variables of the tree       */
    lp_buf *buf;
    lp_stmt *top;       /* outermost statement; the list that holds it holds nothing else of this stage        */
    te_op reduce_op;    /* TE_SUM..., or TE_N_OPS when it is no reduction                                      */
    int n_axis, n_red;
    te_ref axis[TE_MAX_DIM], red[TE_MAX_DIM];
    te_ref init, value; /* over axis[] and red[]                                                              */
} stage_nest;

/* Reads the nest of `stage` when it is plain; LL_NOT_LEGAL otherwise. */
ll_code stage_plain_nest(sch *s, te_tensor *stage, stage_nest *out, ll_error *err);
/* Adds a buffer for a new definition and returns its plain nest (not yet in the tree), or NULL. */
lp_stmt *stage_add_nest(sch *s, te_tensor *def, ll_error *err);
/* Allocates the function's buffers from number `first_buf` on (made since) around a statement list. */
lp_stmt *stage_alloc_from(sch *s, int first_buf, lp_stmt *list);
/* Forgets a buffer that nothing uses any more, and its allocation. */
void stage_drop_buffer(sch *s, const lp_buf *b);
/* Puts `before` (statements, may be NULL) where the nest stood, followed by a new plain nest of the same stage with this
 * value and these reduction axes (same operator; `init` kept), all inside allocations of the buffers from `first_buf` on. */
ll_code stage_replace(sch *s, stage_nest *n, lp_stmt *before, int first_buf, te_ref value, const te_ref *red, int n_red,
                      ll_error *err);
/* A load that equals sum(r: body) over axis[]: of a definition in the function that computes exactly this, or NULL. */
te_ref stage_equal_sum(sch *s, te_ref body, te_ref r, const te_ref *axis, int n);
/* Is `name` this axis's full name or its part after the stage? */
bool stage_axis_is(te_ref axis, const char *name);

#endif

/* sch.h: schedules: small checked rewrites of a loop function. Every call rewrites the tree at once or refuses
 * (LL_NOT_LEGAL, one sentence) and leaves it untouched; a call that succeeds appends one line to the trace. The
 * trace is the schedule: `sch_replay` on the same definitions gives the same tree.
 *
 *     sch *s = sch_create(g, "gemv", roots, n, target, &err);
 *     sch_do(s, "split y.n 16 n.o n.i");              // the text form, or the C function of the same name
 *     sch_do(s, "vectorize y.n.i");
 *     sch_do(s, "claim y.n.o");
 *
 * Loops are named "stage.loop"; stages and buffers by their definition's name. docs/schedule.md describes every
 * primitive with its rewrite before -> after and its refusals. */
#ifndef LLMIR_SCHEDULE_SCH_H
#define LLMIR_SCHEDULE_SCH_H

#include "schedule/loop.h"
#include "target/target.h"

typedef struct sch {
    te_graph *g;             /* child of the definitions' graph; owned */
    lp_func *fn;
    const ll_target *target;
    ll_str trace;            /* one line a call, "\n" ended */
    ll_error error;          /* of the last refused call */
    te_tensor **root; int n_root;
    bool verify_later;       /* lines are not verified one by one: the caller runs lp_verify on the result */
    const char *approx;      /* NULL, or why results may differ from te_eval beyond re-association */
} sch;

sch *sch_create(te_graph *g, const char *name, te_tensor *const *roots, int n_roots, const ll_target *target, ll_error *err);
/* The same, where the definitions given[] come from outside (an earlier kernel made them): here they are parameters. */
sch *sch_create_given(te_graph *g, const char *name, te_tensor *const *roots, int n_roots, te_tensor *const *given, int n_given,
                      const ll_target *target, ll_error *err);
void sch_destroy(sch *s);
/* One trace line. LL_OK, LL_NOT_LEGAL (s->error says why), LL_USAGE (unknown primitive, stage or loop: the sentence
 * lists those that exist). */
ll_code sch_do(sch *s, const char *line);
ll_code sch_dof(sch *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
ll_code sch_replay(sch *s, const char *trace, ll_error *err);

/* One primitive: parses its arguments, checks, rewrites s->fn. The driver (sch.c) has cloned the tree before and
 * restores it on failure, runs lp_simplify and (in checked builds and tests) lp_verify after, and appends the line. */
typedef ll_code (*sch_prim_fn)(sch *s, int argc, const char *const *argv, ll_error *err);
typedef struct sch_prim {
    const char *name, *usage, *help;
    sch_prim_fn run;
} sch_prim;
int sch_n_prims(void);
const sch_prim *sch_prim_at(int i); /* the table is in prims.def: one row a primitive */

/* ---- for primitives and rules (find.c) ---- */
lp_stmt *sch_find_loop(sch *s, const char *name, ll_error *err);   /* LP_FOR; LL_USAGE lists the loops that exist */
te_tensor *sch_find_stage(sch *s, const char *name, ll_error *err);
lp_stmt **sch_slot_of(sch *s, const lp_stmt *stmt);                  /* the pointer that points at it */
lp_stmt *sch_parent_loop(sch *s, const lp_stmt *stmt);               /* innermost enclosing LP_FOR, or NULL */

#endif

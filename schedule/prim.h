/* prim.h: what schedule primitives share: walking the tree, accesses and dependences, symbolic
 * regions.
 *
 * A primitive works on a private copy of the tree (the driver made it), so it may edit first and
 * refuse later. It refuses with one sentence that names what was found and what was wanted. */
#ifndef LLMIR_SCHEDULE_PRIM_H
#define LLMIR_SCHEDULE_PRIM_H

#include "schedule/sch.h"

/* ---- the table ------------------------------------------------------------------------------- */
#define SCH_PRIM(name, fn, usage, help)                                                            \
    ll_code fn(sch *s, int argc, const char *const *argv, ll_error *err);
#include "schedule/prims.def"
#undef SCH_PRIM

/* ---- arguments ------------------------------------------------------------------------------- */
bool sch_arg_int(const char *text, int64_t *out);
/* Takes "key=value" out of argv[0..*argc): the value, or NULL. The array is shortened in place. */
const char *sch_arg_key(const char **argv, int *argc, const char *key);
/* A modifiable copy of argv for sch_arg_key (in the graph's arena). */
const char **sch_args(sch *s, int argc, const char *const *argv);
/* "reg", "thread", "global", "shared", "warp". */
bool sch_scope_parse(const char *text, lp_scope *out);
const char *sch_scope_name(lp_scope scope);
/* Printed on one line, cut to fit a sentence; memory from the graph's arena. */
const char *sch_text(sch *s, const lp_stmt *st);
const char *sch_expr_text(sch *s, te_ref e);

/* ---- the tree (find.c) ----------------------------------------------------------------------- */
enum { SCH_MAX_CHILD = 4, SCH_MAX_DEPTH = 96 };
/* The lists directly below a statement. */
int sch_children(lp_stmt *st, lp_stmt **list[SCH_MAX_CHILD]);
/* Statements on the way from the top of the function to `target`, outermost first, without it.
 * Includes allocs and lets, whose bodies continue their list. -1 when absent. */
int sch_path(sch *s, const lp_stmt *target, lp_stmt *path[SCH_MAX_DEPTH]);
bool sch_inside(lp_stmt *root,
                const lp_stmt *target); /* target is root or below it (not after it) */
/* Takes one statement out of its list. */
void sch_detach(sch *s, lp_stmt *st);
void sch_insert_before(sch *s, lp_stmt *anchor, lp_stmt *list);
void sch_replace(sch *s, lp_stmt *st, lp_stmt *list);
lp_stmt *sch_find_loop_quiet(sch *s, const char *name);
/* A loop name that the function does not use yet: LL_USAGE otherwise. */
ll_code sch_name_free(sch *s, const char *name, ll_error *err);
lp_buf *sch_find_buf(sch *s, const char *name, ll_error *err);
void sch_drop_buf(sch *s, lp_buf *b);
lp_buf *sch_buf_new(sch *s, const char *name, ll_dtype t, lp_scope scope, const te_ref *shape,
                    int n);
lp_buf *sch_buf_like(sch *s, const te_tensor *old, const char *name, lp_scope scope,
                     const te_ref *shape);
void sch_swap_buf(sch *s, lp_buf *from, lp_buf *to);
/* Loops named "FROM.x" below (and including) st become "TO.x"; names stay unique. */
void sch_rename_stage(sch *s, lp_stmt *st, const char *from, const char *to);
/* Replaces a loop's variable everywhere in its body. */
void sch_replace_var(sch *s, lp_stmt *loop, te_ref var);
/* Takes all allocs out and puts each just before the first use in the innermost list that holds
 * all uses. */
void sch_place_allocs(sch *s);
/* The block (list, through allocs and lets) in which `st` stands: its statements in order. */
int sch_block_of(sch *s, const lp_stmt *st, lp_stmt **out, int max);
bool sch_writes(lp_stmt *st, const lp_buf *b); /* the statement or what is below it */
bool sch_reads(lp_stmt *st, const lp_buf *b);  /* by a load (a reduce into b does not count) */
/* The statements that compute b: one run of neighbours in one block, *n of them. */
ll_code sch_stage_group(sch *s, lp_buf *b, lp_stmt **out, int max, int *n, ll_error *err);
/* Replaces loads (of buffer `from`) by fn's expression everywhere below the statement. */
typedef te_ref (*sch_load_fn)(te_ref load, void *ctx);
void sch_map_loads(sch *s, lp_stmt *st, const lp_buf *from, sch_load_fn fn, void *ctx);

/* ---- accesses and dependences (access.c) ----------------------------------------------------- */
typedef enum sch_access_kind { SCH_READ, SCH_WRITE, SCH_REDUCE } sch_access_kind;
typedef struct sch_access {
    lp_stmt *stmt;
    lp_buf *buf;
    sch_access_kind kind;
    te_op op;   /* SCH_REDUCE                                                              */
    bool whole; /* anywhere in the buffer (asynchronous copies)                           */
    int n;
    te_ref idx[TE_MAX_DIM]; /* with the values of `let`s inside the collected tree        */
} sch_access;
typedef struct sch_accesses {
    sch_access *v;
    int n, cap;
    lp_buf **local; /* buffers allocated inside                                           */
    int n_local, cap_local;
    bool ordered; /* a barrier or asynchronous statement: nothing moves across it       */
} sch_accesses;
/* Everything one statement (not what follows it) touches. */
void sch_collect(sch *s, lp_stmt *st, sch_accesses *out);
void sch_collect_list(sch *s, lp_stmt *list, sch_accesses *out);
void sch_accesses_finish(sch_accesses *a);
bool sch_is_local(const sch_accesses *a, const lp_buf *b);
/* Do the kinds conflict (same buffer, one of them changes it)? Reduces with one operator commute,
 * except when `strict`. */
bool sch_conflict(const sch_access *a, const sch_access *b, bool strict);
/* May a and b touch the same element, in different iterations of the loops that `fixed` does not
 * list? var[i].. are loop variables of interest: same[i] tells that only equal values of it can.
 * False: never. */
bool sch_alias(sch *s, const sch_access *a, const sch_access *b, const te_ref *fixed, int n_fixed,
               const te_ref *var, int n_var, bool *same);
/* Variables of the loops round `st` (outside it). */
int sch_fixed_vars(sch *s, const lp_stmt *st, te_ref out[SCH_MAX_DEPTH]);
/* Are the iterations of the loop independent? strict: reduces must not meet either. */
ll_code sch_independent(sch *s, lp_stmt *loop, bool strict, ll_error *err);
/* Claims a loop at the top whose iterations the caller knows to be independent. */
ll_code sch_claim_independent(sch *s, lp_stmt *loop, ll_error *err);
/* May statement `a` be exchanged with `b` (adjacent, any order)? */
bool sch_commute(sch *s, lp_stmt *a, lp_stmt *b);
/* Running `loop`'s body twice for one value leaves what running it once does. */
ll_code sch_idempotent(sch *s, lp_stmt *loop, ll_error *err);

/* ---- regions (span.c) ------------------------------------------------------------------------ */
typedef struct sch_span {
    te_ref lo, hi;
} sch_span; /* inclusive, over variables outside */
/* Bounds of e while the axes not in fixed[] take all their values. */
bool sch_span_of(te_graph *g, te_ref e, const te_ref *fixed, int n_fixed, sch_span *out);
typedef struct sch_region {
    int n;
    te_ref base[TE_MAX_DIM],
        extent[TE_MAX_DIM]; /* extents free of axes; constant where they can be */
} sch_region;
/* The box that the accesses of b cover; false (with a sentence) when it is not proved. kinds: bit
 * mask. */
ll_code sch_region_of(sch *s, const sch_accesses *a, const lp_buf *b, unsigned kinds,
                      const te_ref *fixed, int n_fixed, sch_region *out, ll_error *err);

#endif

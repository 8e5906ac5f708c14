/* eval.h: what cells.c and eval.c share. For te/ only. */
#ifndef LLMIR_TE_EVAL_H
#define LLMIR_TE_EVAL_H

#include "te/internal.h"

enum { TE_MAX_LEVEL = 2 * TE_MAX_DIM + 1 };

typedef struct te_run te_run;
typedef struct te_cell te_cell;

/* Values of one tensor under the bound dims. Dense, or raw memory of the caller, or known point
 * by point. */
typedef struct te_store {
    te_tensor *t;
    int64_t shape[TE_MAX_DIM];
    size_t n;
    te_value *v;               /* all elements, or (partly) those with known[i]   */
    unsigned char *known;      /* small tensors, point by point                   */
    struct te_point *point;    /* large ones: a hash table of known elements      */
    size_t n_point, cap_point;
    const void *mem;           /* bound typed memory                              */
    te_run *run;               /* its program, once needed                        */
    struct te_writes *writes;  /* TE_UPDATE, point by point                       */
    unsigned char *reached;    /* whole, ragged: elements that have a value        */
    bool whole;                /* v holds every element                           */
} te_store;

/* One node of a program. Its value is valid while stamp == *clock: the clock of the innermost
 * axis that it depends on, so what an inner loop does not change is not computed again; and what
 * a `select` does not take is not computed at all. */
struct te_cell {
    te_value v;
    uint64_t stamp;
    const uint64_t *clock;
    void (*fn)(te_cell *c);
    te_ref a;
    te_run *r;
    te_store *st; /* LOAD */
    int level;
    te_cell *src[];
};

struct te_run {
    te_env *e;
    te_tensor *t;
    te_memo cells;
    uint64_t clock[TE_MAX_LEVEL + 1], tick;
    int n_own, n_axis; /* own axes, then those of the root reduction */
    te_cell *axis[TE_MAX_LEVEL], *extent[TE_MAX_LEVEL];
    te_cell *body, *init, *at[TE_MAX_DIM];
    te_op reduce; /* TE_INT: none */
};

struct te_env {
    te_graph *g;
    ll_arena arena;
    te_memo stores; /* te_tensor -> te_store */
    ll_map dims;    /* name -> int64_t *     */
    bool failed;
    ll_error err;
};

/* Builds the program of `t`; NULL with e->err set. */
te_run *te_run_make(te_env *e, te_tensor *t);
/* A program of one expression of dims. */
bool te_run_scalar(te_env *e, te_ref a, int64_t *out);
te_store *te_store_of(te_env *e, te_tensor *t); /* NULL with e->err set */
/* Element `at` (linear index `lin`) of a store that is not whole. An element that ragged axes do
 * not reach has no value: an error. */
te_value te_point_value(te_env *e, te_store *s, const int64_t *at, size_t lin);
void te_env_fail(te_env *e, ll_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static inline te_value te_cell_get(te_cell *c)
{
    if (c->stamp != *c->clock) {
        c->fn(c);
        c->stamp = *c->clock;
    }
    return c->v;
}

static inline void te_axis_set(te_run *r, int axis, int64_t v)
{
    r->axis[axis]->v.i = v;
    for (int l = axis + 1; l <= r->n_axis; l++) r->clock[l] = ++r->tick;
}

#endif

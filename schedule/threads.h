/* threads.h: what the files of the pass from block level to thread level share. threads.c walks the
 * statements, threads_nest.c gives the elements of a nest to the threads that hold them,
 * threads_copy.c the pieces of a copied box. */
#ifndef LLMIR_SCHEDULE_THREADS_H
#define LLMIR_SCHEDULE_THREADS_H

#include "schedule/loop.h"

enum { TH_WARP = 32, TH_MAX_BUF = 128 };

typedef struct th_buf { /* a distributed buffer and the registers that each thread has of it */
    const lp_buf *from;
    lp_buf *to;
} th_buf;

typedef struct th {
    lp_func *f;
    te_graph *g;
    ll_error *err;
    ll_code code;
    te_ref tid;   /* the thread: axis of the loop @spmd                                      */
    int threads;  /* of a block                                                              */
    int group;    /* threads that execute the statement at hand together: a block's, a warp's, 1 */
    te_ref me;    /* number in the group                                                     */
    bool in_loop; /* the statement at hand runs more than once                               */
    int n_name;
    th_buf buf[TH_MAX_BUF];
    int n_buf;
} th;

/* Records the first refusal; returns NULL. */
lp_stmt *th_fail(th *t, const lp_stmt *s, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A digit of a dimension, as lp_digit, with its size known and `base`: the product of the sizes
 * before it. */
typedef struct th_digit {
    int dim, place;
    int64_t size, stride, base;
    bool last; /* of its dimension */
} th_digit;

bool th_distributed(const lp_buf *b);
/* The digits of a distributed layout; -1 when sizes or strides are not constant. */
int th_digits(th *t, const lp_buf *b, th_digit *out);
te_ref th_own_digit(th *t, const th_digit *d);               /* of this thread                */
te_ref th_index_digit(th *t, const th_digit *d, te_ref idx); /* of an index of its dimension  */
/* a == b for every thread of the block. */
bool th_prove_eq(th *t, te_ref a, te_ref b);
lp_buf *th_registers(th *t, const lp_buf *b); /* of a distributed buffer in scope */
te_ref th_axis(th *t, const char *stem, te_ref extent);
lp_buf *th_temp(th *t, const char *stem, ll_dtype type, lp_scope scope, const te_ref *shape,
                int ndim);

/* s: one statement without barriers, copies and loops over threads. */
lp_stmt *th_nest(th *t, lp_stmt *s);
/* Inside a loop over threads: every distributed element must be this thread's own. */
lp_stmt *th_private(th *t, lp_stmt *s);
lp_stmt *th_copy(th *t, const lp_stmt *s);

#endif

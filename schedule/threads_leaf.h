/* threads_leaf.h: one store or sum of a nest on its way to the threads: what threads_nest.c (which
 * takes nests apart), threads_leaf.c (who executes what) and threads_mma.c (matrix instructions)
 * share. */
#ifndef LLMIR_SCHEDULE_THREADS_LEAF_H
#define LLMIR_SCHEDULE_THREADS_LEAF_H

#include "schedule/threads.h"

enum { MAX_PATH = 24, MAX_COND = 24, MAX_READ = 32 };

typedef struct step {
    const lp_stmt *s;
    bool negate;
} step; /* a loop, condition or let round a leaf */

typedef struct nest {
    th *t;
    const lp_stmt *root;
    step path[MAX_PATH];
    int n;
} nest;

/* What a step of the path becomes for one leaf. */
typedef struct piece {
    const lp_stmt *s;
    te_ref loop[8]; /* loops that are left of a loop, outermost first */
    bool over_regs; /* they run over registers */
    int n_loop;
    te_ref cond;       /* of a condition       */
    te_ref var, value; /* of a let          */
    bool reduced;      /* part of the reduction over lanes */
} piece;

typedef struct leaf {
    nest *w;
    th *t;
    const lp_stmt *s;
    lp_buf *b;
    te_ref idx[TE_MAX_DIM], value;
    piece piece[MAX_PATH];
    int n;
    te_ref from[2 * MAX_PATH], to[2 * MAX_PATH]; /* substitutions made */
    int n_sub;
    unsigned lanes, warps;     /* bits of the numbers that loops of the target were given to */
    unsigned r_lanes, r_warps; /* ... loops of the reduction                                  */
    lp_stmt *pre;              /* shuffles                                                    */
    lp_buf *tmp[MAX_READ];
    int n_tmp;
    int matrices; /* loads of so many 8x8 matrices at once; 0: none, elements are the lanes' own */
    bool trans;
    te_ref first[TE_MAX_DIM]; /* idx of the first element that a load of matrices brings */
    te_ref guard[MAX_COND];
    int n_guard;
} leaf;

/* threads_leaf.c */
leaf *th_leaf_begin(nest *w, const lp_stmt *s);
/* Binds every loop of the target (or, with `reduction`, every other loop) by element idx of b. */
void th_bind_loops(leaf *l, const lp_buf *b, const te_ref *idx, bool reduction);
/* Loops that are left as they are get a variable of their own (the nest may be emitted in parts).
 */
void th_free_loops(leaf *l);
/* Wraps `body` into the loops, lets and uniform conditions of the pieces that are (not) reduced. */
lp_stmt *th_wrapped(leaf *l, lp_stmt *body, bool reduced);
/* The conditions that differ between threads, and the guards; NULL: none. */
te_ref th_varying(leaf *l, bool all);
const lp_buf *th_distributed_load(const th *t, te_ref a);
te_ref th_register_of(th *t, const lp_buf *b, const te_ref *idx);
/* What e grows by with var; 0: not by the same for each step. */
int64_t th_coefficient(th *t, te_ref e, te_ref var);
lp_stmt *th_leaf(nest *w, const lp_stmt *s);

/* threads_mma.c: s is a loop with a matrix instruction. */
lp_stmt *th_tile(nest *w, const lp_stmt *s);
/* Store s as loads of 8x8 matrices from shared memory; NULL: it is none. */
lp_stmt *th_ldmatrix(nest *w, const lp_stmt *s);
/* In a load of matrices: what digit d of the target is in the address that this lane names; NULL: a
 * loop runs over it. */
te_ref th_matrix_digit(leaf *l, const th_digit *d);

#endif

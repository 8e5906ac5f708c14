/* poly.h: integer polynomials over s64 atoms, the working form of analysis and simplification.
 *
 *     p = c + sum_i coef[i] * f[i][0] * f[i][1] ...
 *
 * Monomials are sorted and distinct, coefficients non-zero. A polynomial lives in its context's
 * scratch memory and never changes. NULL stands for "too large or overflowing": the caller then
 * keeps the node. */
#ifndef LLMIR_TE_POLY_H
#define LLMIR_TE_POLY_H

#include "te/internal.h"

enum { TE_MAX_FACTOR = 4, TE_MAX_MONO = 64 };

typedef struct te_mono {
    int64_t coef;
    int nf;
    te_ref f[TE_MAX_FACTOR]; /* by id */
} te_mono;

typedef struct te_poly {
    int64_t c;
    int n;
    te_mono t[];
} te_poly;

typedef struct te_polys {
    te_graph *g;    /* where new nodes go; NULL: none may be made       */
    te_memo of;     /* node -> its polynomial                           */
    int budget;     /* steps left for a proof                           */
    void *block;    /* scratch memory beyond `few`                      */
    size_t used, size;
    _Alignas(16) unsigned char few[6144];
} te_polys;

void te_polys_init(te_polys *s, te_graph *g);
void te_polys_finish(te_polys *s);
const te_poly *te_poly_const(te_polys *s, int64_t c);
const te_poly *te_poly_atom(te_polys *s, te_ref a);
/* p + k * q */
const te_poly *te_poly_add(te_polys *s, const te_poly *p, const te_poly *q, int64_t k);
const te_poly *te_poly_scale(te_polys *s, const te_poly *p, int64_t k);
const te_poly *te_poly_mul(te_polys *s, const te_poly *p, const te_poly *q);
const te_poly *te_poly_of(te_polys *s, te_ref a);
/* As an expression in s->g: greatest coefficients first, the constant last. */
te_ref te_poly_expr(te_polys *s, const te_poly *p);
bool te_poly_equal(const te_poly *p, const te_poly *q);
te_range te_poly_range(const te_poly *p);
te_range te_mono_range(const te_mono *m); /* without its coefficient */
te_cong te_mono_cong(const te_mono *m);   /* without its coefficient */
int64_t te_gcd(int64_t a, int64_t b);
/* p >= 0 for all values of its atoms: true only when proved. */
bool te_poly_ge0(te_polys *s, const te_poly *p);

#endif

/* layout_apart.c: do two buffers inside one memory keep apart? A proof, not a sample.
 *
 * Take a number S of bits. Digits whose stride is a multiple of S do not change an address mod S,
 * so they drop out, however often they step. What is left of each layout (digits with a number of
 * steps and a stride that are known) is enumerated, with its offset and its swizzle, and its bits
 * are marked mod S: when no bit is marked by both, no two elements meet. Tried for S = every stride
 * of the two that is a number, the smallest first, and for one S past everything, with which
 * nothing drops out:
 *
 *   d layout(32@16 | ...@4608)                               S = 4608: bits 0..511 of each panel
 *   q layout(16@32 2@2048 | 4@8 ... ...@4608; offset 512)               bits 512..4607
 *
 * No answer (false) does not say that they overlap: outer strides that are no multiples of each
 * other, or more elements in one period than LIMIT. */
#include <stdlib.h>
#include <string.h>

#include "base/ckd.h"
#include "schedule/layout.h"

enum { LIMIT = 1 << 22, MAX_TRY = 2 * LP_MAX_DIGIT + 1 };

/* What remains of a layout mod S. */
typedef struct rest {
    const lp_layout *l;
    int n, bits;
    int64_t size[LP_MAX_DIGIT], stride[LP_MAX_DIGIT], count;
} rest;

static bool divides(int64_t k, te_ref e) {
    te_cong c = te_cong_of(e); /* mod 0: the number rem itself */
    return c.mod % k == 0 && c.rem % k == 0;
}

/* A swizzle moves bits below `top` only, and reads them only: periods must be multiples of that. */
static bool swizzle_fits(const lp_layout *l, int64_t period) {
    for (int i = 0; i < l->n_swizzle; i++) {
        const lp_swizzle *w = &l->swizzle[i];
        int top = (w->from > w->to ? w->from : w->to) + w->n;
        if (top > 40 || period % (INT64_C(1) << top)) return false;
    }
    return true;
}

/* Keeps the digits that S does not divide; false when one has no known stride or number of steps.
 */
static bool reduce(const lp_view *v, int64_t period, rest *out) {
    const lp_layout *l = v->layout;
    *out = (rest){.l = l, .bits = v->elem_bits, .count = 1};
    int64_t left = 0;
    for (int i = 0; i < l->n_digit; i++) {
        const lp_digit *d = &l->digit[i];
        bool last = i + 1 == l->n_digit || l->digit[i + 1].dim != d->dim;
        if (d->place != LP_AT_ADDR || d->dim >= v->ndim) return false;
        if (i == 0 || l->digit[i - 1].dim != d->dim) left = te_range_of(v->shape[d->dim]).hi;
        int64_t size = last || left < d->size ? left : d->size;
        if (!last) left = left / d->size + (left % d->size != 0);
        if (size <= 1 || divides(period, d->stride)) continue;
        if (d->stride->op != TE_INT || d->stride->u.i < 0 || size > LIMIT) return false;
        if (!ll_mul_i64(out->count, size, &out->count) || out->count > LIMIT) return false;
        out->size[out->n] = size;
        out->stride[out->n++] = d->stride->u.i;
    }
    return l->offset >= 0 && swizzle_fits(l, period);
}

/* The address of element number i of what remains. */
static int64_t place_of(const rest *r, int64_t i) {
    int64_t at = r->l->offset;
    for (int k = 0; k < r->n; k++) {
        at += i % r->size[k] * r->stride[k];
        i /= r->size[k];
    }
    for (int k = 0; k < r->l->n_swizzle; k++) {
        const lp_swizzle *w = &r->l->swizzle[k];
        at ^= (at >> w->from & ((INT64_C(1) << w->n) - 1)) << w->to;
    }
    return at;
}

static bool apart_mod(const rest *a, const rest *b, int64_t period) {
    unsigned char *marked = calloc((size_t)(period + 7) / 8, 1);
    bool apart = marked != NULL;
    for (int64_t i = 0; apart && i < a->count; i++)
        for (int64_t at = place_of(a, i), k = at; k < at + a->bits; k++)
            marked[k % period / 8] |= (unsigned char)(1u << k % period % 8);
    for (int64_t i = 0; apart && i < b->count; i++)
        for (int64_t at = place_of(b, i), k = at; apart && k < at + b->bits; k++)
            apart = !(marked[k % period / 8] >> k % period % 8 & 1);
    free(marked);
    return apart;
}

static void add_period(int64_t *s, int *n, int64_t period) {
    int at = 0;
    while (at < *n && s[at] < period) at++;
    if (period < 2 || period > (int64_t)LIMIT * 64 || (at < *n && s[at] == period)) return;
    memmove(s + at + 1, s + at, sizeof *s * (size_t)(*n - at));
    s[at] = period;
    ++*n;
}

/* Past the last bit of both, as a power of two; 0 when there is no such number. */
static int64_t past_all(te_graph *g, const lp_view *a, const lp_view *b) {
    int64_t end = 1;
    if (!a->ndim || !b->ndim) return 0;
    for (const lp_view *v = a; v; v = v == a ? b : NULL) {
        te_ref bits = lp_layout_bits(g, v->layout, v->shape, v->ndim, v->elem_bits);
        int64_t hi = te_range_of(bits).hi;
        if (hi > (int64_t)LIMIT * 64) return 0;
        while (end < hi) end *= 2;
    }
    return end;
}

bool lp_layout_apart(te_graph *g, const lp_view *a, const lp_view *b) {
    int64_t period[MAX_TRY + 1];
    int n = 0;
    for (const lp_view *v = a; v; v = v == a ? b : NULL)
        for (int i = 0; i < v->layout->n_digit; i++) {
            te_ref e = v->layout->digit[i].stride;
            if (e->op == TE_INT) add_period(period, &n, e->u.i);
        }
    add_period(period, &n, past_all(g, a, b));
    for (int i = 0; i < n; i++) {
        rest x, y;
        if (reduce(a, period[i], &x) && reduce(b, period[i], &y) && apart_mod(&x, &y, period[i]))
            return true;
    }
    return false;
}

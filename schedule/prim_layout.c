/* prim_layout.c: `layout BUF LAYOUT` and `pack BUF WHOLE LAYOUT`: where the elements of a buffer
 * lie.
 *
 *   layout xq layout(... | 32@8 ...@320)         any buffer, in its own memory
 *   pack W.q W.bytes layout(16@32 ... | 4@8 ...; offset 512)
 *                                                the plane lies inside the bytes of W.bytes, a u8
 *                                                parameter that the first `pack` adds; it grows
 *                                                to hold every plane
 *
 * Nothing is computed differently: indices stay, addresses change. Who fills the memory (a packing
 * program, the host) must use the same layout; the trace names it.
 *
 * Refused: a layout that sends two elements to one place or is not proved not to; planes that
 * overlap inside WHOLE; `pack` of a buffer that the function writes. */
#include <stdlib.h>
#include <string.h>

#include "base/ckd.h"
#include "schedule/prim.h"

static const char *join(sch *s, int argc, const char *const *argv)
{
    ll_str text = {0};
    for (int i = 0; i < argc; i++) ll_str_addf(&text, "%s%s", i ? " " : "", argv[i]);
    const char *out = ll_strdup(te_arena(s->g), ll_str_cstr(&text));
    ll_str_finish(&text);
    return out;
}

/* ---- do elements lie apart? ------------------------------------------------------------------ */

enum { MAX_TEST = 1 << 22 };

/* Extents that show every digit at work and three steps of the outermost: overlaps repeat with
 * those. */
static bool sample_extents(const lp_buf *b, int64_t *extent, int64_t *count)
{
    *count = 1;
    for (int d = 0; d < b->t->ndim; d++) {
        int64_t inner = 1;
        for (int i = 0; i < b->layout->n_digit; i++)
            if (b->layout->digit[i].dim == d && b->layout->digit[i].size)
                inner *= b->layout->digit[i].size;
        extent[d] = inner * 3;
        te_ref full = b->t->shape[d];
        if (full->op == TE_INT && full->u.i < extent[d]) extent[d] = full->u.i;
        if (!ll_mul_i64(*count, extent[d], count) || *count > MAX_TEST) return false;
    }
    return true;
}

typedef struct bitmap {
    unsigned char *bit;
    int64_t n;
} bitmap;

static int64_t no_dims(te_ref e, void *ctx)
{
    *(bool *)ctx = true;
    return 0;
}

/* Marks the bits of the sampled elements; false when one is marked already, or cannot be. */
static bool mark(const lp_buf *b, bitmap *m)
{
    int64_t extent[TE_MAX_DIM], idx[TE_MAX_DIM] = {0}, count,
                                bits = ll_dtype_bits((ll_dtype)b->t->dtype);
    bool symbolic = false;
    if (!sample_extents(b, extent, &count)) return false;
    for (int64_t i = 0; i < count; i++) {
        int64_t rest = i;
        for (int d = b->t->ndim - 1; d >= 0; d--) {
            idx[d] = rest % extent[d];
            rest /= extent[d];
        }
        int64_t at = lp_layout_at_const(b->layout, LP_AT_ADDR, idx, no_dims, &symbolic);
        if (symbolic || at < 0) return false;
        if (at + bits > m->n) {
            int64_t n = (at + bits) * 2;
            if (n > (int64_t)MAX_TEST * 4096) return false;
            unsigned char *more = realloc(m->bit, (size_t)n);
            if (!more) return false;
            memset(more + m->n, 0, (size_t)(n - m->n));
            m->bit = more;
            m->n = n;
        }
        for (int64_t k = at; k < at + bits; k++)
            if (m->bit[k]++) return false;
    }
    return true;
}

static ll_code parse(sch *s, const lp_buf *b, int argc, const char *const *argv, lp_layout **out,
                     ll_error *err)
{
    *out = lp_layout_parse(s->g, join(s, argc, argv), b->t->ndim, err);
    if (!*out) return LL_USAGE;
    if (!lp_layout_injective(*out, b->t->shape, b->t->ndim, ll_dtype_bits((ll_dtype)b->t->dtype)))
        return ll_fail(err, LL_NOT_LEGAL, "elements of %s are not proved to lie apart", b->t->name);
    return LL_OK;
}

ll_code sch_layout(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc < 2) return ll_fail(err, LL_USAGE, "wanted BUF LAYOUT");
    lp_buf *b = sch_find_buf(s, argv[0], err);
    if (!b) return LL_USAGE;
    if (b->within)
        return ll_fail(err, LL_NOT_LEGAL, "%s lies inside %s already", argv[0], b->within->t->name);
    lp_layout *l;
    LL_TRY(parse(s, b, argc - 1, argv + 1, &l, err));
    b->layout = l;
    return LL_OK;
}

/* ---- planes inside one buffer ---------------------------------------------------------------- */

static ll_code planes_are_apart(sch *s, const lp_buf *whole, ll_error *err)
{
    bitmap m = {0};
    ll_code rc = LL_OK;
    for (int i = 0; i < s->fn->n_buf && rc == LL_OK; i++)
        if (s->fn->buf[i]->within == whole && !mark(s->fn->buf[i], &m))
            rc = ll_fail(err, LL_NOT_LEGAL,
                         "%s is not shown to lie apart from the other planes of %s",
                         s->fn->buf[i]->t->name, whole->t->name);
    free(m.bit);
    return rc;
}

static te_ref bytes_for(sch *s, const lp_buf *b)
{
    te_ref bits = lp_layout_bits(s->g, b->layout, b->t->shape, b->t->ndim,
                                 ll_dtype_bits((ll_dtype)b->t->dtype));
    return te_simplify(s->g, te_divi(te_addi(bits, 7), 8));
}

/* The u8 parameter `name`, made when there is none. */
static lp_buf *whole_named(sch *s, const char *name, te_ref bytes, ll_error *err)
{
    for (int i = 0; i < s->fn->n_buf; i++) {
        lp_buf *b = s->fn->buf[i];
        if (strcmp(b->t->name, name)) continue;
        if (b->param >= 0 && !b->written && b->t->dtype == LL_U8 && b->t->ndim == 1) return b;
        ll_fail(err, LL_NOT_LEGAL, "%s is not a u8 parameter of one dimension", name);
        return NULL;
    }
    lp_buf *b = sch_buf_new(s, name, LL_U8, LP_GLOBAL, &bytes, 1), *p;
    te_tensor *t = b->t;
    sch_drop_buf(s, b);
    t->weight = true;
    p = lp_param_add(s->fn, t, false);
    p->align = 64;
    return p;
}

ll_code sch_pack(sch *s, int argc, const char *const *argv, ll_error *err)
{
    if (argc < 3) return ll_fail(err, LL_USAGE, "wanted BUF WHOLE LAYOUT");
    lp_buf *b = sch_find_buf(s, argv[0], err);
    if (!b) return LL_USAGE;
    if (b->param < 0 || b->written)
        return ll_fail(err, LL_NOT_LEGAL, "%s is not an input of the function", argv[0]);
    if (b->within || b->layout)
        return ll_fail(err, LL_NOT_LEGAL, "%s has a layout already", argv[0]);
    lp_layout *l;
    LL_TRY(parse(s, b, argc - 2, argv + 2, &l, err));
    b->layout = l;
    te_ref bytes = bytes_for(s, b);
    lp_buf *whole = whole_named(s, argv[1], bytes, err);
    if (!whole) return LL_NOT_LEGAL;
    b->within = whole;
    te_ref now = whole->t->shape[0];
    if (now != bytes) { /* a buffer is as long as its longest plane */
        te_tensor *t = LL_NEW(te_arena(s->g), te_tensor);
        *t = *whole->t;
        t->shape[0] = te_prove_le(bytes, now)   ? now
                      : te_prove_le(now, bytes) ? bytes
                                                : te_simplify(s->g, te_max(now, bytes));
        whole->t = t;
    }
    return planes_are_apart(s, whole, err);
}

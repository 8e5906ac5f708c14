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
#include <string.h>

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

static ll_code planes_are_apart(sch *s, const lp_buf *plane, ll_error *err)
{
    for (int i = 0; i < s->fn->n_buf; i++) {
        const lp_buf *b = s->fn->buf[i];
        if (b != plane && b->within == plane->within && !lp_bufs_apart(s->fn, plane, b))
            return ll_fail(err, LL_NOT_LEGAL, "%s is not proved to lie apart from %s in %s",
                           plane->t->name, b->t->name, b->within->t->name);
    }
    return LL_OK;
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
    return planes_are_apart(s, b, err);
}

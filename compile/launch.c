/* launch.c: see launch.h. */
#include "compile/launch.h"

#include <stdio.h>
#include <string.h>

#include "base/ckd.h"

typedef struct reader {
    int (*index_of)(void *, const char *);
    void *ctx;
    bool fits; /* no number became too large */
} reader;

/* a + k * b, coefficient by coefficient. */
static cc_bytes plus(reader *r, const cc_bytes *a, const cc_bytes *b, int64_t k)
{
    cc_bytes s = *a;
    int64_t x;
    r->fits = r->fits && ll_mul_i64(b->base, k, &x) && ll_add_i64(s.base, x, &s.base);
    for (int i = 0; i < CC_MAX_DIM; i++)
        r->fits = r->fits && ll_mul_i64(b->coef[i], k, &x) && ll_add_i64(s.coef[i], x, &s.coef[i]);
    return s;
}

static bool constant(const cc_extent *e)
{
    static const cc_bytes zero;
    return e->div == 1 && !memcmp(e->n.coef, zero.coef, sizeof zero.coef);
}

static bool times(reader *r, const cc_extent *a, const cc_extent *k, cc_extent *out)
{
    static const cc_bytes zero;
    if (a->div != 1) return false;
    *out = (cc_extent){plus(r, &zero, &a->n, k->n.base), 1};
    return true;
}

/* e = floor(out->n / out->div). */
static bool read(reader *r, te_ref e, cc_extent *out)
{
    cc_extent a, b;
    *out = (cc_extent){.div = 1};
    switch (e->op) {
    case TE_INT: out->n.base = e->u.i; return true;
    case TE_DIM: {
        int d = r->index_of(r->ctx, e->u.dim->name);
        if (d < 0 || d >= CC_MAX_DIM) return false;
        out->n.coef[d] = 1;
        return true;
    }
    case TE_ADD:
    case TE_SUB:
        if (!read(r, e->src[0], &a) || !read(r, e->src[1], &b)) return false;
        if (e->op == TE_ADD && a.div == 1) {
            cc_extent t = a;
            a = b;
            b = t;
        }
        if (b.div != 1) return false;
        *out = (cc_extent){plus(r, &a.n, &b.n, e->op == TE_ADD ? a.div : -a.div), a.div};
        return true;
    case TE_MUL:
        if (!read(r, e->src[0], &a) || !read(r, e->src[1], &b)) return false;
        return constant(&b) ? times(r, &a, &b, out) : constant(&a) && times(r, &b, &a, out);
    case TE_DIV:
        if (!read(r, e->src[0], &a) || !read(r, e->src[1], &b) || !constant(&b) || b.n.base < 1)
            return false;
        out->n = a.n;
        r->fits = r->fits && ll_mul_i64(a.div, b.n.base, &out->div);
        return true;
    default: return false;
    }
}

ll_code cc_extent_of(te_ref e, int (*index_of)(void *, const char *), void *ctx, cc_extent *out,
                     ll_error *err)
{
    reader r = {index_of, ctx, true};
    if (!read(&r, e, out))
        return ll_fail(err, LL_UNSUPPORTED,
                       "a grid of %s blocks: not a linear form of the step's sizes divided by a "
                       "number",
                       te_show(e));
    r.fits = r.fits && out->div <= UINT32_MAX &&
             ll_add_i64(out->n.base, 1 - out->div, &out->n.base);
    return r.fits ? LL_OK
                  : ll_fail(err, LL_UNSUPPORTED, "a grid of %s blocks: numbers too large",
                            te_show(e));
}

ll_code cc_launch_of(const cg_launch *l, const char *kernel,
                     int (*index_of)(void *, const char *), void *ctx, cc_launch *out,
                     ll_error *err)
{
    *out = (cc_launch){.shared = l->shared};
    memcpy(out->entry, l->entry, sizeof out->entry);
    memcpy(out->block, l->block, sizeof out->block);
    for (int i = 0; i < 3; i++) {
        ll_error why = {0};
        out->grid[i] = (cc_extent){.n.base = 1, .div = 1};
        if (l->grid[i] && cc_extent_of(l->grid[i], index_of, ctx, &out->grid[i], &why) != LL_OK)
            return ll_fail(err, why.code, "%s: %s", kernel, why.msg);
    }
    return LL_OK;
}

uint32_t cc_launch_add(cc_blob *b, const cc_launch *l, const char *ptx, size_t bytes)
{
    llmir_launch_rec r = {.ptx = cc_blob_bytes(b, LLMIR_SEC_PTX, ptx, bytes),
                          .ptx_size = bytes,
                          .entry = cc_blob_str(b, l->entry),
                          .block = {l->block[0], l->block[1], l->block[2]},
                          .shared = l->shared};
    for (int i = 0; i < 3; i++)
        r.grid[i] = (llmir_extent){.n = cc_linear(b, l->grid[i].n.base, l->grid[i].n.coef,
                                                  CC_MAX_DIM),
                                   .div = (uint32_t)l->grid[i].div};
    return cc_blob_add(b, LLMIR_SEC_LAUNCH, &r);
}

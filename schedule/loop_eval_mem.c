/* loop_eval_mem.c: buffers of the evaluator: their memory, where an element lies in it, and the
 * checks of every access: indices inside the shape, contents written before they are read, index
 * tensors inside their range. A distributed buffer (register tiles spread over lanes and warps) is
 * kept dense: which thread holds an element has no influence on its value. */
#include <stdlib.h>
#include <string.h>

#include "base/ckd.h"
#include "schedule/loop_eval.h"

ev_buf *ev_buf_of(ev *m, const te_tensor *t)
{
    const lp_buf *b = lp_buf_of(m->f, t);
    for (int i = 0; b && i < m->n_buf; i++)
        if (m->buf[i].b == b) return &m->buf[i];
    return NULL;
}

/* ---- where ----------------------------------------------------------------------------------- */

static void set_dense(ev_buf *b)
{
    int64_t stride = b->bits;
    b->affine = true;
    b->offset = 0;
    for (int i = b->ndim - 1; i >= 0; i--) {
        b->stride[i] = stride;
        stride *= b->shape[i];
    }
    b->bytes = (size_t)(stride + 7) / 8;
}

static bool is_distributed(const lp_layout *l)
{
    for (int i = 0; i < l->n_digit; i++)
        if (l->digit[i].place != LP_AT_ADDR) return true;
    return false;
}

/* How far the digits reach, in bits. */
static int64_t reach(const ev_buf *b, const lp_layout *l)
{
    int64_t end = l->offset + b->bits, rest[TE_MAX_DIM];
    memcpy(rest, b->shape, sizeof rest);
    for (int i = 0; i < b->n_digit; i++) {
        const ev_digit *d = &b->digit[i];
        int64_t size = d->last || rest[d->dim] < d->size ? rest[d->dim] : d->size;
        if (!d->last) rest[d->dim] = (rest[d->dim] + d->size - 1) / d->size;
        if (size > 0) end += (size - 1) * d->stride;
    }
    for (int i = 0; i < l->n_swizzle; i++) {
        int top = (l->swizzle[i].from > l->swizzle[i].to ? l->swizzle[i].from : l->swizzle[i].to) +
                  l->swizzle[i].n;
        end = (end + (INT64_C(1) << top) - 1) >> top << top;
    }
    return end;
}

static ll_code set_layout(ev *m, ev_buf *b)
{
    const lp_layout *l = b->b->layout;
    if (!l || is_distributed(l)) {
        set_dense(b);
        return LL_OK;
    }
    bool one_each = l->n_swizzle == 0;
    memset(b->stride, 0, sizeof b->stride);
    b->n_digit = l->n_digit;
    for (int i = 0; i < l->n_digit; i++) {
        const lp_digit *d = &l->digit[i];
        ev_digit *e = &b->digit[i];
        *e = (ev_digit){d->dim, i + 1 == l->n_digit || l->digit[i + 1].dim != d->dim, d->size, 0};
        LL_TRY(ev_const(m, d->stride, &e->stride));
        one_each = one_each && e->last && (i == 0 || l->digit[i - 1].dim != d->dim);
        b->stride[d->dim] = e->stride;
    }
    b->affine = one_each;
    b->offset = l->offset;
    b->bytes = (size_t)(reach(b, l) + 7) / 8;
    return LL_OK;
}

static int64_t by_digits(const ev_buf *b, const int64_t *idx)
{
    const lp_layout *l = b->b->layout;
    int64_t at = b->offset, rest = 0;
    int dim = -1;
    for (int i = 0; i < b->n_digit; i++) {
        const ev_digit *d = &b->digit[i];
        if (d->dim != dim) rest = idx[dim = d->dim];
        if (d->last) {
            at += rest * d->stride;
        } else {
            at += rest % d->size * d->stride;
            rest /= d->size;
        }
    }
    for (int i = 0; i < l->n_swizzle; i++)
        at ^= ((at >> l->swizzle[i].from) & ((INT64_C(1) << l->swizzle[i].n) - 1))
              << l->swizzle[i].to;
    return at;
}

static ll_code out_of_bounds(ev *m, const ev_op *op, const ev_buf *b, const int64_t *idx, int dim)
{
    ll_str at = {0};
    for (int i = 0; i < b->ndim; i++) ll_str_addf(&at, "%s%lld", i ? ", " : "", (long long)idx[i]);
    ll_code c = ev_fail(m, op->stmt, "%s[%s]: index %d is outside 0..%lld", b->b->t->name,
                        ll_str_cstr(&at), dim, (long long)b->shape[dim]);
    ll_str_finish(&at);
    return c;
}

ll_code ev_locate(ev *m, const ev_op *op, const ev_buf *b, const int64_t *idx, int64_t *elem,
                  int64_t *bit)
{
    if (!b->ready) return ev_fail(m, op->stmt, "%s is used outside of its alloc", b->b->t->name);
    int64_t e = 0, at = b->offset;
    for (int i = 0; i < b->ndim; i++) {
        if ((uint64_t)idx[i] >= (uint64_t)b->shape[i]) return out_of_bounds(m, op, b, idx, i);
        e = e * b->shape[i] + idx[i];
        at += idx[i] * b->stride[i];
    }
    *elem = e;
    *bit = b->affine ? at : by_digits(b, idx);
    return LL_OK;
}

/* The same for an access of the program. What happens for every element stands here in line; all
 * else (errors, places by digits) is ev_locate's. */
static inline ll_code locate(ev *m, const ev_op *op, ev_buf **out, int64_t *elem, int64_t *bit)
{
    const ev_access *a = &m->access[op->c];
    ev_buf *b = *out = a->buf;
    int64_t idx[TE_MAX_DIM], e = 0, at = b->offset;
    bool ok = b->ready && b->affine;
    for (int i = 0; i < b->ndim; i++) {
        idx[i] = m->slot[a->idx[i]].i;
        ok = ok && (uint64_t)idx[i] < (uint64_t)b->shape[i];
        e = e * b->shape[i] + idx[i];
        at += idx[i] * b->stride[i];
    }
    *elem = e;
    *bit = at;
    return ok ? LL_OK : ev_locate(m, op, b, idx, elem, bit);
}

/* ---- values ---------------------------------------------------------------------------------- */

void ev_get(const ev_buf *b, int64_t bit, te_value *out)
{
    const char *p = b->mem + (bit >> 3);
    float f;
    int32_t w;
    switch (b->dtype) {
    case LL_F64: case LL_S64: case LL_U64: memcpy(out, p, 8); return;
    case LL_F32:
        memcpy(&f, p, 4);
        out->f = (double)f;
        return;
    case LL_S32:
        memcpy(&w, p, 4);
        out->i = w;
        return;
    default: break;
    }
    int shift = (int)(bit & 7);
    if (shift == 0) {
        te_value_load(b->dtype, p, 0, out);
        return;
    }
    unsigned raw = (unsigned char)p[0]; /* a code of less than 8 bits, inside two bytes */
    if (shift + b->bits > 8) raw |= (unsigned)(unsigned char)p[1] << 8;
    out->i = (int64_t)((raw >> shift) & ((1u << b->bits) - 1));
}

void ev_put(ev_buf *b, int64_t bit, te_value v)
{
    unsigned char *p = (unsigned char *)b->mem + (bit >> 3);
    int shift = (int)(bit & 7);
    if (shift == 0) {
        te_value_store(b->dtype, p, 0, v);
        return;
    }
    unsigned mask = ((1u << b->bits) - 1) << shift, raw = ((unsigned)v.i << shift) & mask;
    p[0] = (unsigned char)((p[0] & ~mask) | raw);
    if (mask >> 8) p[1] = (unsigned char)((p[1] & ~(mask >> 8)) | raw >> 8);
}

/* What a trial finds in a parameter: 0, or some value of an index tensor's range. */
static te_value made_up(ev *m, const ev_buf *b, int64_t elem)
{
    te_value v = {0};
    if (!b->has_range || b->hi <= b->lo) return v;
    uint64_t h = ((uint64_t)elem + m->run->seed) * 0x9E3779B97F4A7C15u;
    v.i = b->lo + (int64_t)((h >> 33) % (uint64_t)(b->hi - b->lo));
    return v;
}

/* ---- accesses -------------------------------------------------------------------------------- */

static ll_code not_written(ev *m, const ev_op *op, const ev_buf *b, int64_t elem)
{
    ll_str at = {0};
    for (int i = 0; i < b->ndim; i++) {
        int64_t step = 1;
        for (int k = i + 1; k < b->ndim; k++) step *= b->shape[k];
        ll_str_addf(&at, "%s%lld", i ? ", " : "", (long long)(elem / step % b->shape[i]));
    }
    ll_code c = ev_fail(m, op->stmt, "%s[%s] is read and was never written", b->b->t->name,
                        ll_str_cstr(&at));
    ll_str_finish(&at);
    return c;
}

static ll_code read_check(ev *m, ev_strand *s, const ev_op *op, ev_buf *b, int64_t elem)
{
    if (b->cell) LL_TRY(ev_may_read(m, s, op, b, elem));
    if (b->written && b->written[elem] != b->life && (!m->skeleton || b->by_copy))
        return not_written(m, op, b, elem);
    return LL_OK;
}

static ll_code write_check(ev *m, ev_strand *s, const ev_op *op, ev_buf *b, int64_t elem)
{
    if (b->cell) LL_TRY(ev_may_write(m, s, op, b, elem));
    if (b->written) b->written[elem] = b->life;
    return LL_OK;
}

ll_code ev_load(ev *m, ev_strand *s, const ev_op *op, te_value *out)
{
    ev_buf *b;
    int64_t elem, bit;
    LL_TRY(locate(m, op, &b, &elem, &bit));
    if (b->cell || b->written) LL_TRY(read_check(m, s, op, b, elem));
    if (!b->mem) {
        *out = made_up(m, b, elem);
        return LL_OK;
    }
    if (b->dtype == LL_F32) {
        float f;
        memcpy(&f, b->mem + (bit >> 3), 4);
        out->f = (double)f;
        return LL_OK;
    }
    ev_get(b, bit, out);
    if (b->has_range && (out->i < b->lo || out->i >= b->hi))
        return ev_fail(m, op->stmt, "%s holds %lld, outside its range %lld..%lld", b->b->t->name,
                       (long long)out->i, (long long)b->lo, (long long)b->hi);
    return LL_OK;
}

ll_code ev_store(ev *m, ev_strand *s, const ev_op *op, te_value v)
{
    ev_buf *b;
    int64_t elem, bit;
    LL_TRY(locate(m, op, &b, &elem, &bit));
    if (b->cell || b->written) LL_TRY(write_check(m, s, op, b, elem));
    if (!b->mem) return LL_OK;
    if (b->dtype == LL_F32) {
        float f = (float)v.f;
        memcpy(b->mem + (bit >> 3), &f, 4);
        return LL_OK;
    }
    ev_put(b, bit, v);
    return LL_OK;
}

ll_code ev_reduce(ev *m, ev_strand *s, const ev_op *op, te_value v)
{
    ev_buf *b;
    int64_t elem, bit;
    LL_TRY(locate(m, op, &b, &elem, &bit));
    if (b->cell || b->written) {
        LL_TRY(read_check(m, s, op, b, elem));
        LL_TRY(write_check(m, s, op, b, elem));
    }
    if (!b->mem) return LL_OK;
    if (b->dtype == LL_F32 && op->op == TE_ADD) {
        float f;
        memcpy(&f, b->mem + (bit >> 3), 4);
        f = (float)((double)f + v.f);
        memcpy(b->mem + (bit >> 3), &f, 4);
        return LL_OK;
    }
    te_value src[EV_MAX_SRC] = {{0}, v}, out = {0};
    ev_get(b, bit, &src[0]);
    if (!te_apply((te_op)op->op, b->dtype, b->dtype, src, &out))
        return ev_fail(m, op->stmt, "the reduction has no value");
    ev_put(b, bit, out);
    return LL_OK;
}

/* ---- lives of buffers ------------------------------------------------------------------------ */

static ll_code set_shape(ev *m, ev_buf *b)
{
    const te_tensor *t = b->b->t;
    b->n_elem = 1;
    for (int i = 0; i < b->ndim; i++) {
        LL_TRY(ev_const(m, t->shape[i], &b->shape[i]));
        if (b->shape[i] < 0 || !ll_mul_i64(b->n_elem, b->shape[i], &b->n_elem) ||
            b->n_elem > INT64_C(1) << 40)
            return ll_fail(m->err, LL_FAILED, "%s: %s has an impossible size %lld", m->f->name,
                           t->name, (long long)b->shape[i]);
    }
    b->has_range = t->lo && t->hi;
    if (b->has_range) {
        LL_TRY(ev_const(m, t->lo, &b->lo));
        LL_TRY(ev_const(m, t->hi, &b->hi));
    }
    return set_layout(m, b);
}

enum { MAX_TRIAL = 1 << 22, MAX_FOLLOWED = 1 << 18 };

static ll_code need_elems(ev *m, ev_buf *b, bool shared)
{
    size_t n = (size_t)b->n_elem + 1;
    if (n <= b->cap_elem) return LL_OK;
    free(b->written);
    free(b->cell);
    free(b->mbar);
    b->written = calloc(n, sizeof *b->written);
    b->cell = shared ? calloc(n, sizeof *b->cell) : NULL;
    b->mbar = NULL;
    b->cap_elem = n;
    b->life = 0;
    if (!b->written || (shared && !b->cell))
        return ll_fail(m->err, LL_NO_SPACE, "%s: no memory", b->b->t->name);
    return LL_OK;
}

ll_code ev_enter(ev *m, ev_buf *b)
{
    LL_TRY(set_shape(m, b));
    if (m->trial && (b->n_elem > MAX_TRIAL || b->bytes > 8 * MAX_TRIAL))
        return LL_CANCELLED; /* too large to try */
    bool shared = b->b->scope == LP_SHARED || b->b->scope == LP_WARPSH;
    LL_TRY(need_elems(m, b, shared));
    if (b->bytes + 8 > b->cap_mem) {
        free(b->mem);
        b->cap_mem = b->bytes + 8;
        b->owned = true;
        if (!(b->mem = calloc(1, b->cap_mem)))
            return ll_fail(m->err, LL_NO_SPACE, "%s: no memory", b->b->t->name);
    }
    b->ready = true;
    if (++b->life == 0) { /* after 2^32 lives the marks start again */
        memset(b->written, 0, b->cap_elem * sizeof *b->written);
        b->life = 1;
    }
    if (shared) memset(b->cell, 0, (size_t)b->n_elem * sizeof *b->cell);
    if (b->mbar) memset(b->mbar, 0, (size_t)b->n_elem * sizeof *b->mbar);
    return LL_OK;
}

/* Threads meet in global memory too. Not followed: buffers of more than MAX_FOLLOWED elements. */
static ll_code follow(ev *m, ev_buf *b)
{
    if (!m->has_agents || !b->b->written || b->b->within || b->n_elem > MAX_FOLLOWED) return LL_OK;
    b->cell = calloc((size_t)b->n_elem + 1, sizeof *b->cell);
    return b->cell ? LL_OK
                   : ll_fail(m->err, LL_NO_SPACE, "%s: %s: no memory", m->f->name, b->b->t->name);
}

static ll_code setup_param(ev *m, int i)
{
    lp_buf *p = m->f->param[i];
    ev_buf *b = ev_buf_of(m, p->t);
    LL_TRY(set_shape(m, b));
    b->ready = true;
    bool whole = p->t->quant != NULL; /* the bytes of a packed weight: only its planes are read */
    if (!m->trial && !p->within) {
        b->mem = m->run->arg[i];
        size_t have = m->run->arg_bytes[i];
        if (!whole && b->bytes > have)
            return ll_fail(m->err, LL_USAGE,
                           "%s: parameter %s has %zu bytes, its elements reach %zu", m->f->name,
                           p->t->name, have, b->bytes);
        if (whole) b->bytes = have;
        if (!b->mem && b->bytes)
            return ll_fail(m->err, LL_USAGE, "%s: parameter %s has no memory", m->f->name,
                           p->t->name);
    }
    if (m->trial) b->mem = NULL;
    if (!p->given && !m->trial) {
        LL_TRY(need_elems(m, b, false));
        b->life = 1;
    }
    return follow(m, b);
}

static ll_code setup_within(ev *m, ev_buf *b)
{
    ev_buf *outer = ev_buf_of(m, b->b->within->t);
    if (!b->ready) LL_TRY(set_shape(m, b));
    b->ready = true;
    if (m->trial) return LL_OK;
    if (b->bytes > outer->bytes)
        return ll_fail(m->err, LL_USAGE, "%s: %s reaches %zu bytes into %s, which has %zu",
                       m->f->name, b->b->t->name, b->bytes, outer->b->t->name, outer->bytes);
    b->mem = outer->mem;
    return LL_OK;
}

ll_code ev_setup(ev *m)
{
    for (int i = 0; i < m->f->n_param; i++) LL_TRY(setup_param(m, i));
    for (int i = 0; i < m->n_buf; i++)
        if (m->buf[i].b->within) LL_TRY(setup_within(m, &m->buf[i]));
    return LL_OK;
}

/* sched_check.c: see sched_check.h. */
#include "tests/support/sched_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t chk_next(chk_rng *r) /* splitmix64 */
{
    uint64_t z = r->s += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

typedef struct dims {
    const chk_dim *dim;
    int n;
} dims;

static int64_t dim_value(void *ctx, const char *name) {
    const dims *d = ctx;
    for (int i = 0; i < d->n; i++)
        if (!strcmp(d->dim[i].name, name)) return d->dim[i].value;
    return 0;
}

/* A size: constants, dims and arithmetic. */
static int64_t size_of(te_ref e, dims *d) {
    switch (e->op) {
    case TE_INT:
        return e->u.i;
    case TE_DIM:
        return dim_value(d, e->u.dim->name);
    default:
        break;
    }
    te_value v[3] = {0}, out = {0};
    for (int i = 0; i < e->n && i < 3; i++) v[i].i = size_of(e->src[i], d);
    te_apply((te_op)e->op, (ll_dtype)e->dtype, e->n ? (ll_dtype)e->src[0]->dtype : LL_S64, v, &out);
    return out.i;
}

static int64_t size_eval(te_ref e, void *ctx) { return size_of(e, ctx); }

typedef struct place {
    const lp_buf *b;
    int64_t shape[TE_MAX_DIM], n;
    int bits;
    dims *d;
} place;

static place place_of(const lp_buf *b, dims *d) {
    place p = {.b = b, .n = 1, .bits = ll_dtype_bits((ll_dtype)b->t->dtype), .d = d};
    for (int i = 0; i < b->t->ndim; i++) p.n *= p.shape[i] = size_of(b->t->shape[i], d);
    return p;
}

/* The bit address of flat element i. */
static int64_t address(const place *p, int64_t i) {
    int64_t idx[TE_MAX_DIM];
    if (!p->b->layout) return i * p->bits;
    for (int d = p->b->t->ndim - 1; d >= 0; d--) {
        idx[d] = i % p->shape[d];
        i /= p->shape[d];
    }
    return lp_layout_at_const(p->b->layout, LP_AT_ADDR, idx, size_eval, p->d);
}

/* Up to the end of what its digits reach, as a caller of the kernel provides it. */
static size_t bytes_of(const lp_func *f, const place *p) {
    if (!p->b->layout) return (size_t)(p->n * p->bits + 7) / 8;
    te_graph *before = te_graph_use(f->g);
    te_ref end = lp_layout_bits(f->g, p->b->layout, p->b->t->shape, p->b->t->ndim, p->bits);
    te_graph_use(before);
    return (size_t)(size_of(end, p->d) + 7) / 8;
}

static bool get_bit(const unsigned char *m, int64_t at) { return m[at / 8] >> (at % 8) & 1; }
static void put_bit(unsigned char *m, int64_t at, bool v) {
    m[at / 8] = (unsigned char)((m[at / 8] & ~(1 << at % 8)) | v << at % 8);
}

/* Elements go through 8 bytes of their own. */
static void move_elem(unsigned char *mem, int64_t at, int bits, unsigned char *elem, bool in) {
    if (bits % 8 == 0 && at % 8 == 0) {
        memcpy(in ? elem : mem + at / 8, in ? mem + at / 8 : elem, (size_t)bits / 8);
        return;
    }
    for (int i = 0; i < bits; i++)
        if (in)
            put_bit(elem, i, get_bit(mem, at + i));
        else
            put_bit(mem, at + i, get_bit(elem, i));
}

/* What a plane that `bias` made unsigned is stored with: the caller says it as a dim "bias.NAME".
 */
static int64_t bias_of(const te_tensor *t, dims *d) {
    char name[64];
    snprintf(name, sizeof name, "bias.%s", t->name);
    return dim_value(d, name);
}

static te_value random_value(const te_tensor *t, chk_rng *r, dims *d) {
    ll_dtype k = (ll_dtype)t->dtype;
    int64_t bias = k == LL_U8 ? bias_of(t, d) : 0; /* 0: as it was */
    if (bias) k = LL_S8;
    te_value v;
    if (ll_dtype_is_float(k)) {
        v.f = te_round_to(k, (double)chk_below(r, 2001) / 500.0 - 2.0);
        return v;
    }
    int64_t lo, hi;
    if (t->lo && t->hi)
        lo = size_of(t->lo, d), hi = size_of(t->hi, d) - 1;
    else {
        ll_dtype_int_range(k, &lo, &hi);
        if (lo < -100) lo = -100;
        if (hi > 100) hi = 100;
    }
    v.i = bias + (hi < lo ? lo : lo + chk_below(r, hi - lo + 1));
    return v;
}

typedef struct memory {
    void **arg;
    size_t *bytes;
    int n;
} memory;

static void memory_finish(memory *m) {
    for (int i = 0; i < m->n; i++) free(m->arg[i]);
    free(m->arg);
    free(m->bytes);
}

static int param_of(const lp_func *f, const lp_buf *b) {
    for (int p = 0; p < f->n_param; p++)
        if (f->param[p] == b) return p;
    return -1;
}

/* Work items of `plan` (prim_plan.c says what their words are): the parameter items_DIM cuts DIM
 * rows of one segment into equal pieces, the last one shorter, as its own number of items says. */
static bool fill_items(unsigned char *mem, const place *at) {
    const char *name = at->b->t->name;
    if (strncmp(name, "items_", 6) || at->b->t->ndim != 2 || at->shape[1] != 8) return false;
    int64_t total = dim_value(at->d, name + 6), n = at->shape[0],
            each = n ? (total + n - 1) / n : 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t left = total - i * each, rows = left < each ? left : each;
        const int32_t item[8] = {0, (int32_t)(i * each), (int32_t)rows, 0, 1 << 20, 0, 0, 1};
        memcpy(mem + i * sizeof item, item, sizeof item);
    }
    return true;
}

/* Equal values for equal parameter positions, whatever the layout. */
static bool memory_fill(memory *m, const lp_func *f, dims *d, uint64_t seed) {
    m->n = f->n_param;
    m->arg = calloc((size_t)m->n + 1, sizeof *m->arg);
    m->bytes = calloc((size_t)m->n + 1, sizeof *m->bytes);
    if (!m->arg || !m->bytes) return false;
    for (int p = 0; p < m->n; p++) {
        place at = place_of(f->param[p], d);
        if (f->param[p]->within) continue;
        m->bytes[p] = bytes_of(f, &at);
        m->arg[p] = calloc(1, m->bytes[p] + 16);
        if (!m->arg[p]) return false;
    }
    for (int p = 0; p < m->n; p++) {
        place at = place_of(f->param[p], d);
        chk_rng r = {seed * 77 + (uint64_t)p};
        int to = f->param[p]->within ? param_of(f, f->param[p]->within) : p;
        bool holds_planes = false;
        for (int i = 0; i < m->n; i++)
            holds_planes = holds_planes || f->param[i]->within == f->param[p];
        if (m->arg[p] && fill_items(m->arg[p], &at)) continue;
        for (int64_t i = 0; !holds_planes && to >= 0 && i < at.n; i++) {
            unsigned char elem[16] = {0};
            te_value_store((ll_dtype)f->param[p]->t->dtype, elem, 0,
                           random_value(f->param[p]->t, &r, d));
            if (address(&at, i) + at.bits <= (int64_t)m->bytes[to] * 8)
                move_elem(m->arg[to], address(&at, i), at.bits, elem, false);
        }
    }
    return true;
}

int64_t chk_elements(const lp_func *f, const chk_dim *dim, int n_dim) {
    dims d = {dim, n_dim};
    int64_t n = 0;
    for (int p = 0; p < f->n_param; p++) n += place_of(f->param[p], &d).n;
    return n;
}

static te_value value_at(const memory *m, int p, const place *at, int64_t i) {
    unsigned char elem[16] = {0};
    te_value v;
    move_elem(m->arg[p], address(at, i), at->bits, elem, true);
    te_value_load((ll_dtype)at->b->t->dtype, elem, 0, &v);
    return v;
}

static ll_code compare(const lp_func *f, const memory *a, const lp_func *g, const memory *b,
                       dims *d, double tol, ll_error *err) {
    for (int p = 0; p < f->n_param; p++) {
        if (!f->param[p]->written) continue;
        place x = place_of(f->param[p], d), y = place_of(g->param[p], d);
        bool fl = ll_dtype_is_float((ll_dtype)f->param[p]->t->dtype);
        double most = 1e-30;
        for (int64_t i = 0; fl && i < y.n; i++) {
            double v = fabs(value_at(b, p, &y, i).f);
            if (v < INFINITY && v > most) most = v;
        }
        for (int64_t i = 0; i < x.n; i++) {
            te_value u = value_at(a, p, &x, i), v = value_at(b, p, &y, i);
            bool same =
                fl ? u.f == v.f || (isnan(u.f) && isnan(v.f)) || fabs(u.f - v.f) <= tol * most
                   : u.i == v.i;
            if (same) continue;
            if (fl)
                return ll_fail(err, LL_FAILED, "%s, element %lld: got %.17g, wanted %.17g",
                               f->param[p]->t->name, (long long)i, u.f, v.f);
            return ll_fail(err, LL_FAILED, "%s, element %lld: got %lld, wanted %lld",
                           f->param[p]->t->name, (long long)i, (long long)u.i, (long long)v.i);
        }
    }
    return LL_OK;
}

static ll_code run(const lp_func *f, memory *m, dims *d, uint64_t seed, ll_error *err) {
    lp_run r = {.arg = m->arg, .arg_bytes = m->bytes, .dim = dim_value, .ctx = d, .seed = seed};
    return lp_eval(f, &r, err);
}

ll_code chk_equal(const lp_func *got, const lp_func *want, const chk_dim *dim, int n_dim,
                  uint64_t seed, double tol, ll_error *err) {
    dims d = {dim, n_dim};
    memory a = {0}, b = {0};
    ll_code rc = LL_OK;
    if (!memory_fill(&a, got, &d, seed) || !memory_fill(&b, want, &d, seed))
        rc = ll_fail(err, LL_NO_SPACE, "no memory for parameters");
    if (rc == LL_OK && (rc = run(want, &b, &d, 0, err)) != LL_OK)
        ll_error_prefix(err, "the plain function: ");
    if (rc == LL_OK && (rc = run(got, &a, &d, seed, err)) != LL_OK)
        ll_error_prefix(err, "the scheduled function: ");
    if (rc == LL_OK) rc = compare(got, &a, want, &b, &d, tol, err);
    memory_finish(&a);
    memory_finish(&b);
    return rc;
}

/* ---- the oracle ------------------------------------------------------------------------------ */

static ll_code bind_inputs(te_env *env, const lp_func *plain, const memory *m, dims *d,
                           ll_error *err) {
    for (int i = 0; i < plain->n_dim; i++) {
        const char *name = plain->dim[i]->u.dim->name;
        LL_TRY(te_env_dim(env, name, dim_value(d, name), err));
    }
    for (int p = 0; p < plain->n_param; p++) {
        place at = place_of(plain->param[p], d);
        if (!plain->param[p]->given) continue;
        te_value *v = calloc((size_t)at.n + 1, sizeof *v);
        if (!v) return ll_fail(err, LL_NO_SPACE, "no memory for inputs");
        for (int64_t i = 0; i < at.n; i++) v[i] = value_at(m, p, &at, i);
        ll_code rc = te_env_bind(env, plain->param[p]->t, v, (size_t)at.n, err);
        free(v);
        LL_TRY(rc);
    }
    return LL_OK;
}

static const te_tensor *storage(const te_tensor *t) {
    while (t->kind == TE_UPDATE) t = t->base;
    return t;
}

static ll_code against(te_env *env, te_tensor *root, const lp_func *got, const lp_func *plain,
                       const memory *m, dims *d, double tol, ll_error *err) {
    const te_value *want;
    size_t n;
    LL_TRY(te_eval(env, root, &want, &n, err));
    for (int p = 0; p < plain->n_param; p++) {
        if (plain->param[p]->t != storage(root)) continue;
        place at = place_of(got->param[p], d);
        bool fl = ll_dtype_is_float((ll_dtype)root->dtype);
        double most = 1e-30;
        for (size_t i = 0; fl && i < n; i++)
            if (fabs(want[i].f) < INFINITY && fabs(want[i].f) > most) most = fabs(want[i].f);
        for (size_t i = 0; i < n; i++) {
            te_value u = value_at(m, p, &at, (int64_t)i);
            bool same = fl ? u.f == want[i].f || (isnan(u.f) && isnan(want[i].f)) ||
                                 fabs(u.f - want[i].f) <= tol * most
                           : u.i == want[i].i;
            if (same) continue;
            if (fl)
                return ll_fail(err, LL_FAILED, "%s, element %zu: got %.17g, te_eval says %.17g",
                               root->name, i, u.f, want[i].f);
            return ll_fail(err, LL_FAILED, "%s, element %zu: got %lld, te_eval says %lld",
                           root->name, i, (long long)u.i, (long long)want[i].i);
        }
        return LL_OK;
    }
    return ll_fail(err, LL_FAILED, "%s is no parameter", root->name);
}

ll_code chk_oracle(const lp_func *got, const lp_func *plain, te_tensor *const *root, int n_root,
                   const chk_dim *dim, int n_dim, uint64_t seed, double tol, ll_error *err) {
    dims d = {dim, n_dim};
    memory a = {0}, b = {0};
    te_env *env = te_env_create(plain->g);
    ll_code rc = LL_OK;
    if (!env || !memory_fill(&a, got, &d, seed) || !memory_fill(&b, plain, &d, seed))
        rc = ll_fail(err, LL_NO_SPACE, "no memory for parameters");
    if (rc == LL_OK) rc = bind_inputs(env, plain, &b, &d, err);
    if (rc == LL_OK && (rc = run(got, &a, &d, seed, err)) != LL_OK)
        ll_error_prefix(err, "the scheduled function: ");
    for (int i = 0; i < n_root && rc == LL_OK; i++)
        rc = against(env, root[i], got, plain, &a, &d, tol, err);
    te_env_destroy(env);
    memory_finish(&a);
    memory_finish(&b);
    return rc;
}

/* oracle.c: see oracle.h. */
#include "oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/quant_file.h"

ll_code oracle_collect(void *user, const void *p, size_t n, ll_error *err) {
    oracle_bytes *b = user;
    b->p = realloc(b->p, b->n + n);
    assert_non_null(b->p);
    memcpy(b->p + b->n, p, n);
    b->n += n;
    return LL_OK;
}

void oracle_ok(ll_code rc, const ll_error *e) {
    if (rc != LL_OK) fail_msg("%s: %s", ll_code_name(rc), e->msg);
}

void oracle_bind_quant(te_env *env, te_tensor *w, const unsigned char *mem, size_t n_bytes) {
    ll_error e = {0};
    oracle_ok(quant_file_bind(env, w, mem, n_bytes, &e), &e);
}

/* ---- memory of a kernel -------------------------------------------------------------------- */

typedef struct param {
    const lp_buf *b;
    te_tensor *t; /* of the graph: what the memory holds at entry; NULL: packed weight, items */
    int64_t shape[TE_MAX_DIM], n;
    int bits;
    unsigned char *p;
    size_t bytes;
} param;

static int64_t size_eval(te_ref e, void *ctx) {
    if (e->op == TE_INT) return e->u.i;
    const oracle *s = ctx;
    if (e->op == TE_DIM) return s->dim(s->user, e->u.dim->name);
    te_value v[3] = {0}, out = {0};
    for (int i = 0; i < e->n && i < 3; i++) v[i].i = size_eval(e->src[i], ctx);
    te_apply((te_op)e->op, (ll_dtype)e->dtype, e->n ? (ll_dtype)e->src[0]->dtype : LL_S64, v, &out);
    return out.i;
}

static int64_t address(const oracle *s, const param *p, int64_t i) {
    int64_t idx[TE_MAX_DIM];
    if (!p->b->layout) return i * p->bits;
    for (int d = p->b->t->ndim - 1; d >= 0; d--) {
        idx[d] = i % p->shape[d];
        i /= p->shape[d];
    }
    return lp_layout_at_const(p->b->layout, LP_AT_ADDR, idx, size_eval, (void *)(uintptr_t)s);
}

static te_value value_at(const oracle *s, const param *p, int64_t i) {
    int64_t at = address(s, p, i);
    te_value v;
    assert_int_equal(at % 8, 0);
    te_value_load((ll_dtype)p->b->t->dtype, p->p + at / 8, 0, &v);
    return v;
}

static const te_tensor *storage(const te_tensor *t) {
    while (t->kind == TE_UPDATE) t = t->base;
    return t;
}

/* What a parameter holds at entry: a tensor of the graph, in the version that an earlier kernel
 * left. */
static te_tensor *tensor_named(const oracle *s, const cc_kernel *c, const char *name) {
    te_tensor *t = te_find(s->g, name);
    for (int i = 0; t && i < c->n_given; i++)
        if (c->given[i]->kind == TE_UPDATE && storage(c->given[i]) == t) return c->given[i];
    return t;
}

static void fill_plain(const oracle *s, param *p) {
    const te_value *v;
    size_t n;
    ll_error e = {0};
    for (int i = 0; i < p->b->t->ndim; i++)
        p->n = (i ? p->n : 1) * (p->shape[i] = size_eval(p->b->t->shape[i], (void *)(uintptr_t)s));
    int64_t end = 0;
    for (int64_t i = 0; i < p->n; i++)
        end = address(s, p, i) + p->bits > end ? address(s, p, i) + p->bits : end;
    p->bytes = (size_t)(end + 7) / 8;
    p->p = malloc(p->bytes + 8);
    memset(p->p, 0xa5, p->bytes);
    if (!p->b->given) return;
    oracle_ok(te_eval(s->env, p->t, &v, &n, &e), &e);
    assert_int_equal(n, p->n);
    for (int64_t i = 0; i < p->n; i++)
        te_value_store((ll_dtype)p->t->dtype, p->p + address(s, p, i) / 8, 0, v[i]);
}

static void fill(const oracle *s, const cc_kernel *c, param *p, const lp_buf *b) {
    static const char tail[] = ".packed";
    char name[256];
    snprintf(name, sizeof name, "%s", b->t->name);
    *p = (param){.b = b, .n = 1, .bits = ll_dtype_bits((ll_dtype)b->t->dtype)};
    size_t n = strlen(name);
    if (b->within) return;
    if (n > sizeof tail - 1 && !strcmp(name + n - (sizeof tail - 1), tail)) {
        name[n - (sizeof tail - 1)] = 0;
        const te_tensor *w = te_find(s->g, name);
        if (!w) fail_msg("no constant %s", name);
        s->packed(s->user, w, &p->p, &p->bytes);
    } else if (!strcmp(name, "items")) {
        p->bytes = (size_t)s->n_item * sizeof s->item[0];
        p->p = malloc(p->bytes + 1);
        memcpy(p->p, s->item, p->bytes);
    } else {
        p->t = tensor_named(s, c, name);
        if (!p->t) fail_msg("parameter %s is no tensor of the graph", name);
        fill_plain(s, p);
    }
}

/* ---- comparing ----------------------------------------------------------------------------- */

/* The least finite number stands for a maximum over nothing (see `rolling`). */
static bool close_enough(double got, double want, double room) {
    if (isinf(want) && want < 0 && got <= -65504) return true;
    return got == want || (isnan(got) && isnan(want)) || fabs(got - want) <= room;
}

static double eps_of(ll_dtype t) { return t == LL_F16 ? 0x1p-10 : t == LL_BF16 ? 0x1p-7 : 0; }

static bool compare_floats(const oracle *s, const param *p, const te_tensor *root,
                           const te_value *want, double relative, ll_error *err) {
    int64_t row = 1;
    for (int i = 1; i < p->b->t->ndim; i++) row *= p->shape[i];
    for (int64_t r = 0; r < p->n; r += row) {
        double most = 0;
        for (int64_t i = r; i < r + row; i++)
            if (isfinite(want[i].f) && fabs(want[i].f) > most) most = fabs(want[i].f);
        for (int64_t i = r; i < r + row; i++) {
            double got = value_at(s, p, i).f,
                   room = relative * most + eps_of((ll_dtype)root->dtype) * fabs(want[i].f);
            if (close_enough(got, want[i].f, room)) continue;
            ll_fail(err, LL_FAILED,
                    "%s, element %lld of %lld: got %.9g, te_eval says %.9g (room %.3g)", root->name,
                    (long long)i, (long long)p->n, got, want[i].f, room);
            return false;
        }
    }
    return true;
}

static bool compare_ints(const oracle *s, const param *p, const te_tensor *root,
                         const te_value *want, int codes, ll_error *err) {
    int64_t off = 0;
    for (int64_t i = 0; i < p->n; i++) {
        int64_t got = value_at(s, p, i).i, d = got - want[i].i;
        off += d != 0;
        if ((d < -1 || d > 1) || off * 1000 > codes * p->n) {
            ll_fail(err, LL_FAILED,
                    "%s, element %lld of %lld: got %lld, te_eval says %lld (%lld differ)",
                    root->name, (long long)i, (long long)p->n, (long long)got, (long long)want[i].i,
                    (long long)off);
            return false;
        }
    }
    return true;
}

static bool compare_root(const oracle *s, const param *p, int n_param, te_tensor *root,
                         const oracle_tolerance *tol, ll_error *err) {
    const te_value *want;
    size_t n;
    ll_error e = {0};
    oracle_ok(te_eval(s->env, root, &want, &n, &e), &e);
    for (int i = 0; i < n_param; i++) {
        if (!p[i].t || storage(p[i].t) != storage(root)) continue;
        assert_int_equal(n, p[i].n);
        if (ll_dtype_is_float((ll_dtype)root->dtype))
            return compare_floats(s, &p[i], root, want, tol->relative, err);
        return compare_ints(s, &p[i], root, want, tol->codes, err);
    }
    ll_fail(err, LL_FAILED, "%s is no parameter", root->name);
    return false;
}

int64_t oracle_size(const oracle *s, te_ref e) { return size_eval(e, (void *)(uintptr_t)s); }

static bool by_lp_eval(const oracle *s, const lp_func *f, void **arg, const size_t *bytes, void *unused,
                       ll_error *err) {
    lp_run run = {.arg = arg, .arg_bytes = bytes, .dim = s->dim, .ctx = s->user, .seed = 7};
    return lp_eval(f, &run, err) == LL_OK;
}

bool oracle_check(const oracle *s, const cc_kernel *c, const sch *k, const oracle_tolerance *tol,
                  ll_error *err) {
    return oracle_check_by(s, c, k, tol, by_lp_eval, NULL, err);
}

bool oracle_check_by(const oracle *s, const cc_kernel *c, const sch *k, const oracle_tolerance *tol,
                     oracle_run_fn run, void *user, ll_error *err) {
    const lp_func *f = k->fn;
    param *p = calloc((size_t)f->n_param + 1, sizeof *p);
    void **arg = calloc((size_t)f->n_param + 1, sizeof *arg);
    size_t *bytes = calloc((size_t)f->n_param + 1, sizeof *bytes);
    for (int i = 0; i < f->n_param; i++) {
        fill(s, c, &p[i], f->param[i]);
        arg[i] = p[i].p;
        bytes[i] = p[i].bytes;
    }
    bool ok = run(s, f, arg, bytes, user, err);
    for (int i = 0; ok && i < k->n_root; i++)
        ok = compare_root(s, p, f->n_param, k->root[i], tol, err);
    for (int i = 0; i < f->n_param; i++) free(p[i].p);
    free(p);
    free(arg);
    free(bytes);
    return ok;
}

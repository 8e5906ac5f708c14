/* eval.c: te_eval and te_eval_point: the meaning of definitions, over programs of cells
 * (cells.c).
 *
 * te_eval computes whole tensors, each once, dependencies first; te_eval_point computes one
 * element and only what it needs, remembering elements of definitions on the way. Sums
 * accumulate in double (integers modulo 2^64) and round once. Elements that a definition with
 * dependent extents does not reach are 0 when it is computed whole. A failed call leaves inputs
 * and finished tensors as they were. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "te/eval.h"

void te_env_fail(te_env *e, ll_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (!e->failed) {
        e->err.code = LL_OK;
        ll_vfail(&e->err, code, fmt, ap);
    }
    va_end(ap);
    e->failed = true;
}

te_env *te_env_create(te_graph *g)
{
    te_env *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->g = g;
    ll_arena_init(&e->arena);
    e->arena.oom = te_arena(g)->oom;
    return e;
}

void te_env_destroy(te_env *e)
{
    if (!e) return;
    for (size_t i = 0; i < e->stores.cap; i++) {
        te_store *s = e->stores.slot[i].key ? e->stores.slot[i].value : NULL;
        if (!s) continue;
        free(s->v);
        free(s->known);
        free(s->reached);
        free(s->point);
    }
    te_memo_finish(&e->stores);
    ll_map_finish(&e->dims);
    ll_arena_finish(&e->arena);
    free(e);
}

/* The end of a public call: programs that failed half-way hold values that are none, so they are
 * dropped. */
static ll_code done(te_env *e, ll_error *err)
{
    if (!e->failed) return LL_OK;
    for (size_t i = 0; i < e->stores.cap; i++)
        if (e->stores.slot[i].key && e->stores.slot[i].value)
            ((te_store *)e->stores.slot[i].value)->run = NULL;
    e->failed = false;
    return ll_fail(err, e->err.code, "%s", e->err.msg);
}

ll_code te_env_dim(te_env *e, const char *name, int64_t v, ll_error *err)
{
    const te_node *d = te_find_dim(e->g, name);
    if (!d) return ll_fail(err, LL_USAGE, "no dim %s", name);
    const te_dim_info *i = d->u.dim;
    if (v < i->lo || v > i->hi || v % i->multiple != 0)
        return ll_fail(err, LL_USAGE, "dim %s = %lld: wanted %lld..%lld, multiple %lld", name,
                       (long long)v, (long long)i->lo, (long long)i->hi, (long long)i->multiple);
    int64_t *old = ll_map_get_str(&e->dims, name);
    if (old && *old != v)
        return ll_fail(err, LL_USAGE, "dim %s is %lld already", name, (long long)*old);
    int64_t *p = LL_NEW(&e->arena, int64_t);
    *p = v;
    return ll_map_set_str(&e->dims, name, p)
               ? LL_OK
               : ll_fail(err, LL_NO_SPACE, "no memory for dim %s", name);
}

te_store *te_store_of(te_env *e, te_tensor *t)
{
    bool found;
    te_store *s = te_memo_get(&e->stores, t);
    if (s) return s;
    s = LL_NEW(&e->arena, te_store);
    s->t = t;
    s->n = 1;
    for (int i = 0; i < t->ndim; i++) {
        if (!te_run_scalar(e, t->shape[i], &s->shape[i])) return NULL;
        if (s->shape[i] < 0 || __builtin_mul_overflow(s->n, (size_t)s->shape[i], &s->n)) {
            te_env_fail(e, LL_FAILED, "%s: size %d is %lld", t->name, i, (long long)s->shape[i]);
            return NULL;
        }
    }
    *te_memo_at(&e->stores, t, &found) = s;
    return s;
}

/* ---- binding ------------------------------------------------------------------------------ */

static bool in_bounds(te_env *e, te_tensor *t, int64_t lo, int64_t hi, int64_t v, size_t i)
{
    if (v >= lo && v < hi) return true;
    te_env_fail(e, LL_BAD_INPUT, "%s: element %zu is %lld, wanted %lld <= value < %lld", t->name, i,
                (long long)v, (long long)lo, (long long)hi);
    return false;
}

static bool check_bounds(te_env *e, te_store *s)
{
    int64_t lo, hi;
    te_value v;
    if (!s->t->lo) return true;
    if (!te_run_scalar(e, s->t->lo, &lo) || !te_run_scalar(e, s->t->hi, &hi)) return false;
    for (size_t i = 0; i < s->n; i++) {
        if (s->mem) te_value_load((ll_dtype)s->t->dtype, s->mem, i, &v);
        if (!in_bounds(e, s->t, lo, hi, s->mem ? v.i : s->v[i].i, i)) return false;
    }
    return true;
}

static te_store *bindable(te_env *e, te_tensor *t)
{
    if (t->quant || t->kind == TE_PAGED) {
        te_env_fail(e, LL_USAGE, "%s has no storage of its own: bind its %s", t->name,
                    t->quant ? "planes" : "pool");
        return NULL;
    }
    te_store *s = te_store_of(e, t);
    if (!s || !(s->v || s->mem || s->known || s->point)) return s;
    te_env_fail(e, LL_USAGE, "%s has values already", t->name);
    return NULL;
}

ll_code te_env_bind(te_env *e, te_tensor *t, const te_value *v, size_t n, ll_error *err)
{
    te_store *s = bindable(e, t);
    if (!s) return done(e, err);
    if (n != s->n)
        return ll_fail(err, LL_USAGE, "%s: %zu values given, its shape has %zu", t->name, n, s->n);
    s->v = malloc((n + !n) * sizeof *v);
    if (!s->v) return ll_fail(err, LL_NO_SPACE, "no memory for %zu values of %s", n, t->name);
    ll_dtype d = (ll_dtype)t->dtype;
    bool f = ll_dtype_is_float(d);
    for (size_t i = 0; i < n; i++) {
        if (f) s->v[i].f = te_round_to(d, v[i].f);
        else s->v[i].i = te_wrap_to(d, v[i].i);
    }
    s->whole = check_bounds(e, s);
    if (!s->whole) {
        free(s->v);
        s->v = NULL;
    }
    return done(e, err);
}

ll_code te_env_bind_mem(te_env *e, te_tensor *t, const void *mem, size_t bytes, ll_error *err)
{
    te_store *s = bindable(e, t);
    if (!s) return done(e, err);
    size_t bits = (size_t)ll_dtype_bits((ll_dtype)t->dtype),
           want = bits >= 8 ? s->n * (bits / 8) : (s->n * bits + 7) / 8;
    if (bytes != want)
        return ll_fail(err, LL_USAGE, "%s: %zu bytes given, its shape has %zu", t->name, bytes,
                       want);
    s->mem = mem;
    if (!check_bounds(e, s)) s->mem = NULL;
    return done(e, err);
}

/* ---- elements ----------------------------------------------------------------------------- */

typedef struct acc {
    te_op op;
    bool is_float, any;
    double f, abs;
    int64_t i, n, flat;
} acc;

static void acc_init(acc *a, te_op op, ll_dtype t)
{
    *a = (acc){.op = op, .is_float = ll_dtype_is_float(t)};
    int64_t lo, hi;
    if (!a->is_float) ll_dtype_int_range(t, &lo, &hi);
    if (op == TE_MAXR) a->f = (double)-INFINITY;
    if (op == TE_MINR) a->f = (double)INFINITY;
    if (op == TE_MAXR && !a->is_float) a->i = lo;
    if (op == TE_MINR && !a->is_float) a->i = t == LL_U64 ? -1 : hi;
}

static bool acc_less(const acc *a, te_value x, te_value y, bool u64)
{
    if (a->is_float) return x.f < y.f;
    return u64 ? (uint64_t)x.i < (uint64_t)y.i : x.i < y.i;
}

/* One more term; `flat` is its number in the whole range of the reduction. */
static void acc_add(acc *a, te_value v, int64_t flat, bool u64)
{
    te_value best = {.i = 0};
    if (a->is_float) best.f = a->f;
    else best.i = a->i;
    a->n++;
    a->abs += a->is_float ? fabs(v.f) : fabs((double)v.i);
    switch (a->op) {
    case TE_SUM:
        if (a->is_float) a->f += v.f;
        else a->i = (int64_t)((uint64_t)a->i + (uint64_t)v.i);
        return;
    case TE_MAXR:
        if (!acc_less(a, best, v, u64)) return;
        break;
    case TE_MINR:
        if (!acc_less(a, v, best, u64)) return;
        break;
    default: /* ARGMAX */
        if (a->is_float && isnan(v.f)) return;
        if (a->any && !acc_less(a, best, v, u64)) return;
        a->any = true;
        a->flat = flat;
        break;
    }
    if (a->is_float) a->f = v.f;
    else a->i = v.i;
}

static void accumulate(te_run *r, int level, int64_t flat, acc *a, bool u64)
{
    if (level == r->n_axis) {
        acc_add(a, te_cell_get(r->body), flat, u64);
        return;
    }
    int64_t n = te_cell_get(r->extent[level]).i;
    for (int64_t i = 0; i < n && !r->e->failed; i++) {
        te_axis_set(r, level, i);
        accumulate(r, level + 1, flat * n + i, a, u64);
    }
}

/* The element at the values that the own axes have now. */
static te_value element(te_run *r, double *abs_sum, int64_t *n_terms)
{
    ll_dtype t = (ll_dtype)r->t->dtype;
    if (r->reduce == TE_INT) {
        te_value v = te_cell_get(r->body);
        if (abs_sum) *abs_sum = ll_dtype_is_float(t) ? fabs(v.f) : fabs((double)v.i);
        if (n_terms) *n_terms = 1;
        return v;
    }
    acc a;
    ll_dtype of = (ll_dtype)r->body->a->dtype;
    acc_init(&a, r->reduce, of);
    if (r->init) {
        acc_add(&a, te_cell_get(r->init), 0, of == LL_U64);
        a.any = false;
    }
    accumulate(r, r->n_own, 0, &a, of == LL_U64);
    if (abs_sum) *abs_sum = a.abs;
    if (n_terms) *n_terms = a.n;
    if (r->reduce == TE_ARGMAX) return (te_value){.i = a.flat};
    return a.is_float ? (te_value){.f = te_round_to(t, a.f)} : (te_value){.i = te_wrap_to(t, a.i)};
}

static te_run *run_of(te_env *e, te_store *s)
{
    if (!s->run && (s->t->kind == TE_DEF || s->t->kind == TE_UPDATE)) s->run = te_run_make(e, s->t);
    else if (!s->run) te_env_fail(e, LL_USAGE, "%s is not bound", s->t->name);
    return s->run;
}

/* ---- whole tensors ------------------------------------------------------------------------ */

static bool whole(te_env *e, te_store *s);

static bool extent_ok(te_run *r, const te_store *s, int level, int64_t n)
{
    if (r->t->kind != TE_DEF || n <= s->shape[level]) return true;
    te_env_fail(r->e, LL_FAILED, "%s: the extent of axis %s is %lld, its bound %lld", r->t->name,
                r->t->axis[level]->u.axis->name, (long long)n, (long long)s->shape[level]);
    return false;
}

static void fill(te_run *r, te_store *s, int level, size_t lin)
{
    if (level == r->n_own) {
        s->v[lin] = element(r, NULL, NULL);
        if (s->reached) s->reached[lin] = 1;
        return;
    }
    int64_t n = te_cell_get(r->extent[level]).i;
    if (!extent_ok(r, s, level, n)) return;
    for (int64_t i = 0; i < n && !r->e->failed; i++) {
        te_axis_set(r, level, i);
        fill(r, s, level + 1, lin * (size_t)s->shape[level] + (size_t)i);
    }
}

/* Where the current iteration of an update writes. */
static bool target(te_run *r, const te_store *s, size_t *lin)
{
    *lin = 0;
    for (int d = 0; d < s->t->ndim; d++) {
        int64_t at = te_cell_get(r->at[d]).i;
        if ((uint64_t)at >= (uint64_t)s->shape[d]) {
            te_env_fail(r->e, LL_FAILED, "%s: writes index %d of %s at %lld, its size is %lld",
                        s->t->name, d, s->t->base->name, (long long)at, (long long)s->shape[d]);
            return false;
        }
        *lin = *lin * (size_t)s->shape[d] + (size_t)at;
    }
    return !r->e->failed;
}

static void write_all(te_run *r, te_store *s, int level, unsigned char *written)
{
    size_t lin;
    if (level < r->n_own) {
        int64_t n = te_cell_get(r->extent[level]).i;
        for (int64_t i = 0; i < n && !r->e->failed; i++) {
            te_axis_set(r, level, i);
            write_all(r, s, level + 1, written);
        }
        return;
    }
    if (!target(r, s, &lin)) return;
    if (written[lin])
        te_env_fail(r->e, LL_FAILED, "%s: two iterations write element %zu", s->t->name, lin);
    written[lin] = 1;
    s->v[lin] = te_cell_get(r->body);
}

static bool need_whole(te_ref a, void *ctx)
{
    te_env *e = ctx;
    if (a->op == TE_AXIS) return te_walk(a->u.axis->extent, need_whole, e);
    if (a->op != TE_LOAD) return true;
    te_store *s = te_store_of(e, a->u.t);
    return s && (s->mem || whole(e, s));
}

static bool dependencies(te_env *e, te_tensor *t)
{
    bool ok = te_walk(t->body, need_whole, e) && (!t->init || te_walk(t->init, need_whole, e));
    for (int i = 0; i < t->n_axis && ok; i++) ok = te_walk(t->axis[i], need_whole, e);
    for (int i = 0; i < t->ndim && ok && t->kind == TE_UPDATE; i++)
        ok = te_walk(t->at[i], need_whole, e);
    return ok;
}

static bool whole_update(te_env *e, te_store *s)
{
    te_store *b = te_store_of(e, s->t->base);
    if (!b || !whole(e, b)) return false;
    unsigned char *written = calloc(s->n + 1, 1);
    if (!written) {
        te_env_fail(e, LL_NO_SPACE, "no memory for %s", s->t->name);
        return false;
    }
    memcpy(s->v, b->v, s->n * sizeof *s->v);
    write_all(s->run, s, 0, written);
    free(written);
    return !e->failed;
}

static bool ragged(const te_tensor *t)
{
    for (int i = 0; i < t->n_axis && t->kind == TE_DEF; i++)
        if (t->axis[i]->u.axis->max) return true;
    return false;
}

/* Makes s->v hold every element. */
static bool whole(te_env *e, te_store *s)
{
    if (s->whole) return true;
    if (!s->mem && !run_of(e, s)) return false;
    if (!s->mem && !dependencies(e, s->t)) return false;
    te_value *v = calloc(s->n + 1, sizeof *v), *partial = s->v;
    if (!s->mem && ragged(s->t)) s->reached = calloc(s->n + 1, 1);
    if (!v || (!s->mem && ragged(s->t) && !s->reached)) {
        free(v);
        te_env_fail(e, LL_NO_SPACE, "no memory for %zu values of %s", s->n, s->t->name);
        return false;
    }
    s->v = v;
    if (s->mem)
        for (size_t i = 0; i < s->n; i++) te_value_load((ll_dtype)s->t->dtype, s->mem, i, &v[i]);
    else if (s->t->kind == TE_UPDATE) whole_update(e, s);
    else fill(s->run, s, 0, 0);
    if (e->failed) {
        s->v = partial;
        free(v);
        free(s->reached);
        s->reached = NULL;
        return false;
    }
    free(partial);
    s->whole = true;
    return true;
}

ll_code te_eval(te_env *e, te_tensor *t, const te_value **out, size_t *n, ll_error *err)
{
    te_store *s = t->quant || t->kind == TE_PAGED ? NULL : te_store_of(e, t);
    if (t->quant || t->kind == TE_PAGED)
        te_env_fail(e, LL_USAGE, "%s has no storage of its own", t->name);
    if (s && whole(e, s)) {
        *out = s->v;
        *n = s->n;
    }
    return done(e, err);
}

/* ---- single elements ---------------------------------------------------------------------- */

struct te_point { size_t key; te_value v; }; /* key: linear index + 1 */

enum { SMALL = 1 << 20 }; /* elements for which a flag each is cheap */

static struct te_point *slot(struct te_point *p, size_t cap, size_t key)
{
    size_t i = (size_t)((uint64_t)key * 0x9E3779B97F4A7C15u >> 20) & (cap - 1);
    while (p[i].key && p[i].key != key) i = (i + 1) & (cap - 1);
    return &p[i];
}

static bool recall(const te_store *s, size_t lin, te_value *out)
{
    if (s->known && s->known[lin]) {
        *out = s->v[lin];
        return true;
    }
    if (!s->cap_point) return false;
    struct te_point *p = slot(s->point, s->cap_point, lin + 1);
    *out = p->v;
    return p->key != 0;
}

static void remember(te_env *e, te_store *s, size_t lin, te_value v)
{
    if (s->n <= SMALL) {
        if (!s->known) {
            s->known = calloc(s->n + 1, 1);
            s->v = calloc(s->n + 1, sizeof *s->v);
            if (!s->known || !s->v) {
                te_env_fail(e, LL_NO_SPACE, "no memory for %s", s->t->name);
                return;
            }
        }
        s->known[lin] = 1;
        s->v[lin] = v;
        return;
    }
    if (s->n_point * 2 >= s->cap_point) {
        size_t cap = s->cap_point ? s->cap_point * 2 : 64;
        struct te_point *p = calloc(cap, sizeof *p);
        if (!p) {
            te_env_fail(e, LL_NO_SPACE, "no memory for points of %s", s->t->name);
            return;
        }
        for (size_t i = 0; i < s->cap_point; i++)
            if (s->point[i].key) *slot(p, cap, s->point[i].key) = s->point[i];
        free(s->point);
        s->point = p;
        s->cap_point = cap;
    }
    *slot(s->point, s->cap_point, lin + 1) = (struct te_point){lin + 1, v};
    s->n_point++;
}

/* Which iteration of an update writes an element: all places are computed once. */
struct te_writes {
    size_t n, cap;
    struct te_write { size_t key; int64_t axis[TE_MAX_DIM]; } *w;
};

static struct te_write *write_slot(struct te_write *w, size_t cap, size_t key)
{
    size_t i = (size_t)((uint64_t)key * 0x9E3779B97F4A7C15u >> 20) & (cap - 1);
    while (w[i].key && w[i].key != key) i = (i + 1) & (cap - 1);
    return &w[i];
}

static void note_write(te_env *e, te_store *s, size_t lin)
{
    struct te_writes *x = s->writes;
    if (x->n * 2 >= x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 64;
        struct te_write *w = LL_NEW_N(&e->arena, struct te_write, cap);
        for (size_t i = 0; i < x->cap; i++)
            if (x->w[i].key) *write_slot(w, cap, x->w[i].key) = x->w[i];
        x->w = w;
        x->cap = cap;
    }
    struct te_write *w = write_slot(x->w, x->cap, lin + 1);
    if (w->key) te_env_fail(e, LL_FAILED, "%s: two iterations write element %zu", s->t->name, lin);
    w->key = lin + 1;
    for (int i = 0; i < s->run->n_own; i++) w->axis[i] = s->run->axis[i]->v.i;
    x->n++;
}

static void find_writes(te_run *r, te_store *s, int level)
{
    size_t lin;
    if (level == r->n_own) {
        if (target(r, s, &lin)) note_write(r->e, s, lin);
        return;
    }
    int64_t n = te_cell_get(r->extent[level]).i;
    for (int64_t i = 0; i < n && !r->e->failed; i++) {
        te_axis_set(r, level, i);
        find_writes(r, s, level + 1);
    }
}

static te_value point_of_update(te_env *e, te_store *s, const int64_t *at, size_t lin)
{
    te_run *r = s->run;
    if (!s->writes) {
        s->writes = LL_NEW(&e->arena, struct te_writes);
        find_writes(r, s, 0);
        if (e->failed) s->writes = NULL;
        if (e->failed) return (te_value){.i = 0};
    }
    struct te_write *w = s->writes->cap ? write_slot(s->writes->w, s->writes->cap, lin + 1) : NULL;
    if (w && w->key) {
        for (int i = 0; i < r->n_own; i++) te_axis_set(r, i, w->axis[i]);
        return te_cell_get(r->body);
    }
    te_store *b = te_store_of(e, s->t->base);
    te_value v = {.i = 0};
    if (!b) return v;
    if (b->whole) return b->v[lin];
    if (!b->mem) return te_point_value(e, b, at, lin);
    te_value_load((ll_dtype)b->t->dtype, b->mem, lin, &v);
    return v;
}

/* Sets the own axes to `at`; false when they do not reach it. */
static bool reach(te_run *r, const te_store *s, const int64_t *at)
{
    for (int i = 0; i < r->n_own; i++) {
        int64_t n = te_cell_get(r->extent[i]).i;
        if (!extent_ok(r, s, i, n) || at[i] >= n) return false;
        te_axis_set(r, i, at[i]);
    }
    return true;
}

static te_value point(te_env *e, te_store *s, const int64_t *at, double *abs_sum, int64_t *n_terms)
{
    te_run *r = run_of(e, s);
    if (r && !reach(r, s, at))
        te_env_fail(e, LL_FAILED, "reads an element of %s which its axes do not reach", s->t->name);
    return r && !e->failed ? element(r, abs_sum, n_terms) : (te_value){.i = 0};
}

te_value te_point_value(te_env *e, te_store *s, const int64_t *at, size_t lin)
{
    te_value v = {.i = 0};
    if (e->failed || recall(s, lin, &v)) return v;
    if (s->t->kind == TE_UPDATE) v = run_of(e, s) ? point_of_update(e, s, at, lin) : v;
    else v = point(e, s, at, NULL, NULL);
    if (!e->failed) remember(e, s, lin, v);
    return v;
}

static bool linear(te_env *e, const te_store *s, const int64_t *idx, size_t *lin)
{
    *lin = 0;
    for (int i = 0; i < s->t->ndim; i++) {
        if ((uint64_t)idx[i] >= (uint64_t)s->shape[i]) {
            te_env_fail(e, LL_USAGE, "%s: index %d is %lld, its size is %lld", s->t->name, i,
                        (long long)idx[i], (long long)s->shape[i]);
            return false;
        }
        *lin = *lin * (size_t)s->shape[i] + (size_t)idx[i];
    }
    return true;
}

ll_code te_eval_bound(te_env *e, te_tensor *t, const int64_t *idx, te_value *out, double *abs_sum,
                      int64_t *n_terms, ll_error *err)
{
    te_store *s = t->quant || t->kind == TE_PAGED ? NULL : te_store_of(e, t);
    size_t lin;
    if (t->quant || t->kind == TE_PAGED)
        te_env_fail(e, LL_USAGE, "%s has no storage of its own", t->name);
    if (!s || !linear(e, s, idx, &lin)) return done(e, err);
    bool computed = abs_sum || (!s->whole && !s->mem);
    bool hole = computed && ragged(t) && run_of(e, s) && !reach(s->run, s, idx);
    if (hole) {
        *out = (te_value){.i = 0};
        if (abs_sum) *abs_sum = 0;
        if (abs_sum) *n_terms = 0;
        return done(e, err);
    }
    if (s->whole) *out = s->v[lin];
    else if (s->mem) te_value_load((ll_dtype)t->dtype, s->mem, lin, out);
    else if (!abs_sum) *out = te_point_value(e, s, idx, lin);
    if (abs_sum && t->kind == TE_DEF && run_of(e, s)) {
        *out = point(e, s, idx, abs_sum, n_terms);
    } else if (abs_sum) {
        if (!s->whole && !s->mem) *out = te_point_value(e, s, idx, lin);
        *abs_sum = ll_dtype_is_float((ll_dtype)t->dtype) ? fabs(out->f) : fabs((double)out->i);
        *n_terms = 1;
    }
    return done(e, err);
}

ll_code te_eval_point(te_env *e, te_tensor *t, const int64_t *idx, te_value *out, ll_error *err)
{
    return te_eval_bound(e, t, idx, out, NULL, NULL, err);
}

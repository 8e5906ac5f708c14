/* prim_cache.c: `cache_write` and `cache_read`: a stage or a source goes through a buffer that is
 * nearer.
 *
 *   cache_write y reg                 for y.n { y[y.n] = 0; for y.k { y[y.n] += e } }
 *     ->  for y.c.n { y.c[y.c.n] = 0; for y.c.k { y.c[y.c.n] += e } }
 *         for y.n { y[y.n] = y.c[y.n] }                          # then: split y.n, at y.c y.n.o
 *
 *   cache_read x y y.n.o thread       for y.n.o { for y.n.i { y[..] = f(x[y.n.o*16 + y.n.i]) } }
 *     ->  for y.n.o { for y.x.i0 < 16 { y.x[y.x.i0] = x[y.n.o*16 + y.x.i0] }
 *                     for y.n.i { y[..] = f(y.x[y.n.i]) } }
 *
 * `cache_read W STAGE LOOP SCOPE` of a quantised W keeps what STAGE makes of W's planes: the
 * greatest expressions that read nothing but planes of W, one element per value of the loops below
 * LOOP that they use. (A GEMM decodes a panel once this way and then runs over its rows.) With
 * `value` the same is done for one buffer: f32(W.d[..]) is kept as f32.
 *
 * Refused: parameters that keep elements from before, sources that LOOP's body writes, boxes of
 * unknown size. */
#include <string.h>

#include "schedule/prim.h"

static void rebuf_one(sch *s, lp_stmt *st, lp_buf *from, lp_buf *to)
{
    lp_stmt *rest = st->next;
    st->next = NULL;
    lp_rebuf(s->fn, st, from, to);
    st->next = rest;
}

static const char *axis_name(const te_tensor *t, int d, sch *s)
{
    bool named = t->body && t->n_axis == t->ndim && t->kind != TE_UPDATE;
    return named ? t->axis[d]->u.axis->name : ll_sprintf(te_arena(s->g), "i%d", d);
}

static lp_stmt *wrap(sch *s, const te_ref *var, int n, lp_stmt *body)
{
    for (int i = n - 1; i >= 0; i--) body = lp_for(s->fn, var[i], LP_SERIAL, body);
    return body;
}

static const char *free_loop_name(sch *s, const char *stage, const char *axis)
{
    return lp_fresh_name(s->fn, ll_sprintf(te_arena(s->g), "%s.%s", stage, axis));
}

/* ---- cache_write ----------------------------------------------------------------------------- */

static bool note_bound(lp_stmt *st, void *p)
{
    if (st->kind == LP_FOR && (st->u.loop.how == LP_PARALLEL || st->u.loop.how >= LP_CLAIM) &&
        st->u.loop.how != LP_ROTATE)
        *(lp_stmt **)p = st;
    return true;
}

ll_code sch_cache_write(sch *s, int argc, const char *const *argv, ll_error *err)
{
    lp_scope scope;
    if (argc != 2 || !sch_scope_parse(argv[1], &scope))
        return ll_fail(err, LL_USAGE, "wanted STAGE reg|thread|shared|warp|global");
    te_tensor *t = sch_find_stage(s, argv[0], err);
    if (!t) return LL_USAGE;
    lp_buf *b = lp_buf_of(s->fn, t);
    if (b->given || t->kind == TE_UPDATE)
        return ll_fail(err, LL_NOT_LEGAL,
                       "%s keeps elements that its nest does not write; wanted a definition",
                       argv[0]);
    const char *name = ll_sprintf(te_arena(s->g), "%s.c", argv[0]);
    for (int i = 0; i < s->fn->n_buf; i++)
        if (!strcmp(s->fn->buf[i]->t->name, name))
            return ll_fail(err, LL_USAGE, "there is a buffer %s already", name);
    lp_stmt *group[64];
    int n;
    LL_TRY(sch_stage_group(s, b, group, 64, &n, err));
    for (int i = 0; i < n; i++) {
        lp_stmt *bound = NULL, *rest = group[i]->next;
        group[i]->next = NULL;
        lp_walk(group[i], note_bound, &bound);
        group[i]->next = rest;
        if (bound)
            return ll_fail(err, LL_NOT_LEGAL, "%s is bound already; cache first, then bind",
                           bound->u.loop.var->u.axis->name);
    }
    lp_buf *c = sch_buf_like(s, t, name, scope, t->shape);
    for (int i = 0; i < n; i++) {
        rebuf_one(s, group[i], b, c);
        sch_rename_stage(s, group[i], argv[0], name);
    }
    te_ref var[TE_MAX_DIM];
    for (int d = 0; d < t->ndim; d++)
        var[d] = te_axis(s->g, free_loop_name(s, argv[0], axis_name(t, d, s)), t->shape[d]);
    lp_stmt *copy = wrap(s, var, t->ndim, lp_store(s->fn, b, var, te_load(c->t, var, t->ndim)));
    copy->next = group[n - 1]->next;
    group[n - 1]->next = copy;
    sch_place_allocs(s);
    return LL_OK;
}

/* ---- cache_read of a buffer ------------------------------------------------------------------ */

typedef struct reading {
    sch *s;
    lp_buf *from, *to;      /* from: NULL for an expression                             */
    const te_tensor *whole; /* the quantised tensor, or NULL                          */
    const lp_buf *stage;    /* only statements that write it                            */
    lp_stmt *loop;
    sch_region box;
    bool shifted[TE_MAX_DIM];
    const char *name;
    /* expression: */
    te_ref value, var[TE_MAX_DIM];
    int n_var;
    te_ref fixed[SCH_MAX_DEPTH + 1];
    int n_fixed;
    bool differs;
    lp_stmt *reader; /* the statement that uses it */
    int n_reader;
} reading;

static te_ref to_cache(te_ref e, void *p)
{
    reading *r = p;
    te_ref idx[TE_MAX_DIM];
    for (int d = 0; d < e->n; d++)
        idx[d] =
            r->shifted[d] ? te_simplify(r->s->g, te_sub(e->src[d], r->box.base[d])) : e->src[d];
    return te_load(r->to->t, idx, e->n);
}

static bool is_stage_leaf(const lp_stmt *st, const lp_buf *b)
{
    return (st->kind == LP_STORE && st->u.store.buf == b) ||
           (st->kind == LP_REDUCE && st->u.reduce.buf == b);
}

static bool redirect(lp_stmt *st, void *p)
{
    reading *r = p;
    if (is_stage_leaf(st, r->stage)) sch_map_loads(r->s, st, r->from, to_cache, r);
    return true;
}

/* Puts the filling nest in front of the first statement of the loop's body that reads the cache. */
static void put_fill(reading *r, lp_stmt *fill)
{
    lp_stmt *at = r->loop->u.loop.body;
    for (;;) {
        while (at->next && !sch_reads(at, r->to)) at = at->next;
        if (at->kind == LP_ALLOC)
            at = at->u.alloc.body;
        else if (at->kind == LP_LET)
            at = at->u.let.body;
        else
            break;
    }
    sch_insert_before(r->s, at, fill);
}

static ll_code read_box(reading *r, lp_scope scope, ll_error *err)
{
    sch *s = r->s;
    sch_accesses all = {0}, mine = {0};
    sch_collect_list(s, r->loop->u.loop.body, &all);
    ll_code rc = LL_OK;
    mine.v = all.v; /* the reads of the stage's statements, moved to the front */
    for (int i = 0; i < all.n && rc == LL_OK; i++) {
        if (all.v[i].buf != r->from) continue;
        if (all.v[i].kind != SCH_READ)
            rc = ll_fail(err, LL_NOT_LEGAL, "`%.120s` writes %s inside %s",
                         sch_text(s, all.v[i].stmt), r->from->t->name,
                         r->loop->u.loop.var->u.axis->name);
        else if (is_stage_leaf(all.v[i].stmt, r->stage))
            mine.v[mine.n++] = all.v[i];
    }
    if (rc == LL_OK)
        rc = sch_region_of(s, &mine, r->from, 1u << SCH_READ, r->fixed, r->n_fixed, &r->box, err);
    sch_accesses_finish(&all);
    if (rc != LL_OK) return rc;
    const te_tensor *t = r->from->t;
    r->to = sch_buf_new(s, r->name, (ll_dtype)t->dtype, scope, r->box.extent, t->ndim);
    r->to->t->lo = t->lo;
    r->to->t->hi = t->hi;
    te_ref var[TE_MAX_DIM], at[TE_MAX_DIM], cond = NULL;
    for (int d = 0; d < t->ndim; d++) {
        if (scope == LP_REG && r->box.extent[d]->op != TE_INT)
            return ll_fail(err, LL_NOT_LEGAL,
                           "%s needs %s elements in dimension %d; registers want constant sizes",
                           r->name, sch_expr_text(s, r->box.extent[d]), d);
        var[d] = te_axis(s->g, free_loop_name(s, r->name, axis_name(t, d, s)), r->box.extent[d]);
        r->shifted[d] = !te_is_int(r->box.base[d], 0);
        at[d] = te_simplify(s->g, te_add(r->box.base[d], var[d]));
        te_ref in = te_prove_lt(at[d], t->shape[d]) ? NULL : te_lt(at[d], t->shape[d]);
        if (in) cond = cond ? te_binary(TE_AND, cond, in) : in;
        in = te_prove_le(te_int(s->g, 0), r->box.base[d]) ? NULL : te_le(te_int(s->g, 0), at[d]);
        if (in) cond = cond ? te_binary(TE_AND, cond, in) : in;
    }
    lp_stmt *fill = lp_store(s->fn, r->to, var, te_load(r->from->t, at, t->ndim));
    if (cond) fill = lp_if(s->fn, cond, fill, NULL);
    lp_walk(r->loop->u.loop.body, redirect, r);
    put_fill(r, wrap(s, var, t->ndim, fill));
    return LL_OK;
}

/* ---- cache_read of an expression over planes ------------------------------------------------- */

typedef struct only_planes {
    const te_tensor *whole;
    bool some, others;
} only_planes;

static bool note_load(te_ref e, void *p)
{
    only_planes *o = p;
    if (e->op != TE_LOAD) return true;
    if (e->u.t == o->whole || (e->u.t->kind == TE_PLANE && e->u.t->base == o->whole))
        o->some = true;
    else
        o->others = true;
    return true;
}

static bool is_decoded(te_ref e, const te_tensor *whole)
{
    only_planes o = {.whole = whole};
    te_walk(e, note_load, &o);
    return o.some && !o.others;
}

static te_ref find_value(reading *r, te_ref e)
{
    if (e->op == TE_AXIS || te_is_const(e)) return e;
    if (is_decoded(e, r->whole)) {
        if (!r->value) r->value = e;
        r->differs = r->differs || r->value != e;
        return e;
    }
    for (int i = 0; i < e->n; i++) find_value(r, e->src[i]);
    return e;
}

static bool find_in_stage(lp_stmt *st, void *p)
{
    reading *r = p;
    bool store = st->kind == LP_STORE && st->u.store.buf == r->stage;
    bool reduce = st->kind == LP_REDUCE && st->u.reduce.buf == r->stage;
    if (!store && !reduce) return true;
    te_ref value = store ? st->u.store.value : st->u.reduce.value;
    find_value(r, value);
    if (r->value && te_uses(value, r->value)) r->reader = st, r->n_reader++;
    return true;
}

static bool is_known(te_ref e, void *p)
{
    reading *r = p;
    if (e->op != TE_AXIS) return true;
    for (int i = 0; i < r->n_fixed; i++)
        if (r->fixed[i] == e) return true;
    for (int i = 0; i < r->n_var; i++)
        if (r->var[i] == e) return true;
    return false;
}

/* The conditions under which the one statement that uses the value runs, as far as they are about
 * the cache's own indices: elements behind an edge are not read. */
static te_ref condition(reading *r)
{
    lp_stmt *path[SCH_MAX_DEPTH];
    te_ref all = NULL;
    int depth = r->n_reader == 1 ? sch_path(r->s, r->reader, path) : 0;
    for (int i = 0; i < depth; i++) {
        if (path[i]->kind != LP_IF || path[i]->u.guard.otherwise || !sch_inside(r->loop, path[i])) continue;
        te_ref c = path[i]->u.guard.cond;
        bool own = false;
        for (int k = 0; k < r->n_var; k++) own = own || te_uses(c, r->var[k]);
        if (own && te_walk(c, is_known, r)) all = all ? te_binary(TE_AND, all, c) : c;
    }
    return all;
}

static bool list_vars(te_ref e, void *p)
{
    reading *r = p;
    if (e->op != TE_AXIS) return true;
    for (int i = 0; i < r->n_fixed; i++)
        if (r->fixed[i] == e) return true;
    if (r->n_var == TE_MAX_DIM) return false;
    r->var[r->n_var++] = e;
    return true;
}

static bool put_cached(lp_stmt *st, void *p)
{
    reading *r = p;
    te_ref cached = te_cast((ll_dtype)r->value->dtype, te_load(r->to->t, r->var, r->n_var));
    te_ref *v = is_stage_leaf(st, r->stage)
                    ? st->kind == LP_STORE ? &st->u.store.value : &st->u.reduce.value
                    : NULL;
    if (v) *v = te_subst(r->s->g, *v, &r->value, &cached, 1);
    return true;
}

typedef struct nest_order {
    reading *r;
    int rank[TE_MAX_DIM], next;
} nest_order;

static bool rank_loop(lp_stmt *st, void *p)
{
    nest_order *o = p;
    if (st->kind != LP_FOR) return true;
    for (int i = 0; i < o->r->n_var; i++)
        if (o->r->var[i] == st->u.loop.var) o->rank[i] = o->next++;
    return true;
}

/* Dimensions of the cache in the order of the loops, outermost first. */
static void order_vars(reading *r)
{
    nest_order o = {.r = r};
    lp_walk(r->loop->u.loop.body, rank_loop, &o);
    for (int i = 1; i < r->n_var; i++)
        for (int j = i; j > 0 && o.rank[j] < o.rank[j - 1]; j--) {
            te_ref v = r->var[j];
            int k = o.rank[j];
            r->var[j] = r->var[j - 1];
            o.rank[j] = o.rank[j - 1];
            r->var[j - 1] = v;
            o.rank[j - 1] = k;
        }
}

static te_ref strip_cast(te_ref e) /* a wider integer of the same values is not worth storing */
{
    while (e->op == TE_CAST && ll_dtype_is_int((ll_dtype)e->dtype) &&
           ll_dtype_is_int((ll_dtype)e->src[0]->dtype)) {
        int64_t lo, hi;
        te_range v = te_range_of(e->src[0]);
        ll_dtype_int_range((ll_dtype)e->dtype, &lo, &hi);
        if (v.lo < lo || v.hi > hi ||
            ll_dtype_bits((ll_dtype)e->src[0]->dtype) > ll_dtype_bits((ll_dtype)e->dtype))
            break;
        e = e->src[0];
    }
    return e;
}

/* The narrowest byte-sized integer type that holds the value. */
static ll_dtype storage_of(te_ref e)
{
    static const ll_dtype small[] = {LL_U8, LL_S8, LL_U16, LL_S16};
    te_range r = te_range_of(e);
    if (!ll_dtype_is_int((ll_dtype)e->dtype)) return (ll_dtype)e->dtype;
    for (int i = 0; i < 4; i++) {
        int64_t lo, hi;
        ll_dtype_int_range(small[i], &lo, &hi);
        if (r.lo >= lo && r.hi <= hi) return small[i];
    }
    return (ll_dtype)e->dtype;
}

static ll_code read_value(reading *r, lp_scope scope, ll_error *err)
{
    sch *s = r->s;
    te_graph *g = s->g;
    lp_walk(r->loop->u.loop.body, find_in_stage, r);
    const char *stage = r->stage->t->name, *what = r->whole->name;
    if (!r->value)
        return ll_fail(err, LL_NOT_LEGAL, "%s reads nothing of %s inside %s", stage, what,
                       r->loop->u.loop.var->u.axis->name);
    if (r->differs)
        return ll_fail(err, LL_NOT_LEGAL,
                       "%s uses several expressions over planes of %s; wanted one", stage, what);
    te_ref stored = strip_cast(r->value);
    te_walk(r->value, list_vars, r);
    order_vars(r);
    te_ref shape[TE_MAX_DIM], fresh[TE_MAX_DIM];
    for (int i = 0; i < r->n_var; i++) {
        te_ref e = r->var[i]->u.axis->extent;
        if (e->op != TE_INT && (scope == LP_REG || r->var[i]->u.axis->max))
            return ll_fail(err, LL_NOT_LEGAL, "%s has %s values; wanted a constant for a cache",
                           r->var[i]->u.axis->name, sch_expr_text(s, e));
        shape[i] = e;
        const char *full = r->var[i]->u.axis->name;
        size_t n = strlen(stage);
        const char *axis = !strncmp(full, stage, n) && full[n] == '.' ? full + n + 1 : full;
        fresh[i] = te_axis(g, free_loop_name(s, r->name, axis), e);
    }
    if (!r->n_var)
        return ll_fail(err, LL_NOT_LEGAL,
                       "what %s reads of %s is one value inside %s; `hoist` keeps it", stage, what,
                       r->loop->u.loop.var->u.axis->name);
    ll_dtype as = storage_of(stored);
    r->to = sch_buf_new(s, r->name, as, scope, shape, r->n_var);
    if (ll_dtype_is_int(as)) {
        te_range v = te_range_of(stored);
        r->to->t->lo = te_int(g, v.lo);
        r->to->t->hi = te_int(g, v.hi + 1);
    }
    te_ref filled = te_cast(as, te_subst(g, stored, r->var, fresh, r->n_var));
    lp_stmt *fill = lp_store(s->fn, r->to, fresh, filled);
    te_ref when = condition(r);
    if (when) fill = lp_if(s->fn, te_subst(g, when, r->var, fresh, r->n_var), fill, NULL);
    lp_walk(r->loop->u.loop.body, put_cached, r);
    put_fill(r, wrap(s, fresh, r->n_var, fill));
    return LL_OK;
}

ll_code sch_cache_read(sch *s, int argc, const char *const *argv_in, ll_error *err)
{
    const char **argv = sch_args(s, argc, argv_in);
    const char *name = sch_arg_key(argv, &argc, "name"),
               *layout = sch_arg_key(argv, &argc, "layout");
    lp_scope scope;
    bool value = argc == 5 && !strcmp(argv[4], "value");
    if (argc != 4 + value || !sch_scope_parse(argv[3], &scope))
        return ll_fail(err, LL_USAGE,
                       "wanted BUF STAGE LOOP reg|thread|shared|warp|global [value] [name=NAME] "
                       "[layout=LAYOUT]");
    te_tensor *stage = sch_find_stage(s, argv[1], err), *whole = te_find(s->g, argv[0]);
    if (!stage) return LL_USAGE;
    reading r = {.s = s, .stage = lp_buf_of(s->fn, stage)};
    r.loop = sch_find_loop(s, argv[2], err);
    if (!r.loop) return LL_USAGE;
    if (whole && whole->n_plane)
        r.whole = whole;
    else
        r.from = sch_find_buf(s, argv[0], err);
    if (!r.whole && !r.from) return LL_USAGE;
    if (value && r.from) {
        if (r.from->param < 0 || r.from->written)
            return ll_fail(err, LL_NOT_LEGAL, "%s is written by the function; its value may change",
                           argv[0]);
        r.whole = r.from->t;
    }
    r.name = name ? ll_strdup(te_arena(s->g), name)
                  : ll_sprintf(te_arena(s->g), "%s.%s", argv[1], argv[0]);
    for (int i = 0; i < s->fn->n_buf; i++)
        if (!strcmp(s->fn->buf[i]->t->name, r.name))
            return ll_fail(err, LL_USAGE, "there is a buffer %s already: name= gives another",
                           r.name);
    r.n_fixed = sch_fixed_vars(s, r.loop, r.fixed);
    r.fixed[r.n_fixed++] = r.loop->u.loop.var;
    LL_TRY(r.whole ? read_value(&r, scope, err) : read_box(&r, scope, err));
    if (layout) {
        r.to->layout = lp_layout_parse(s->g, layout, r.to->t->ndim, err);
        if (!r.to->layout) return LL_USAGE;
    }
    sch_place_allocs(s);
    return LL_OK;
}

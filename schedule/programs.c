/* programs.c: see programs.h. */
#include "schedule/programs.h"

#include <math.h>

enum { MOST = 65536 };

typedef struct best {
    te_graph *g;
    lp_func *f;
    const char *stage; /* starts the names of its loops and variables */
    te_ref rows, columns, k;
    int64_t n_kept, n_parts;
    te_tensor *x, *value, *column;    /* a row, and the lists of its runs */
    lp_buf *heap_value, *heap_column; /* the worst on top */
    lp_buf *at;                       /* where the heap has a gap */
} best;

/* ---- short forms -------------------- */
static te_ref get(const lp_buf *b, te_ref i) { return te_at(b->t, i); }
static lp_stmt *set(best *p, lp_buf *b, te_ref i, te_ref v) { return lp_store(p->f, b, &i, v); }
static te_ref s32(te_ref e) { return te_cast(LL_S32, e); }
static te_ref s64(te_ref e) { return te_cast(LL_S64, e); }
static te_ref nothing(const best *p) { return te_fconst(p->g, LL_F32, -INFINITY); }
static te_ref no_column(const best *p) { return s32(p->columns); } /* behind every other */

static const char *named(const best *p, const char *name)
{
    return ll_sprintf(te_arena(p->g), "%s.%s", p->stage, name);
}

static te_ref var(const best *p, const char *name, ll_dtype t)
{
    return te_var(p->g, named(p, name), t);
}

static te_ref loop_var(const best *p, const char *name, te_ref extent)
{
    return te_axis(p->g, named(p, name), extent);
}

static lp_buf *scratch(best *p, const char *name, ll_dtype t, te_ref n)
{
    return lp_buf_new(p->f, name, t, LP_THREAD, &n, 1);
}

/* Scratch for numbers in 0..end. */
static lp_buf *index_scratch(best *p, const char *name, te_ref end, te_ref n)
{
    te_tensor *t = te_input_index(p->g, lp_fresh_name(p->f, name), LL_S32, te_int(p->g, 0), end,
                                  &n, 1);
    return lp_buf_add(p->f, t, LP_THREAD, NULL);
}

/* Does a come behind b? */
static te_ref worse(te_ref av, te_ref ac, te_ref bv, te_ref bc)
{
    return te_binary(TE_OR, te_lt(av, bv), te_binary(TE_AND, te_eq(av, bv), te_lt(bc, ac)));
}

/* ---- the heap -------------------- */
static int64_t levels(int64_t n)
{
    int64_t l = 0;
    while (n >>= 1) l++;
    return l;
}

/* One level: the worse child of the gap moves up where it is worse than (v, c). */
static lp_stmt *sift_level(best *p, te_ref v, te_ref c, te_ref size)
{
    lp_buf *hv = p->heap_value, *hc = p->heap_column;
    te_ref zero = te_int(p->g, 0), gap = var(p, "gap", LL_S64), left = var(p, "left", LL_S64),
           right = var(p, "right", LL_S64), child = var(p, "child", LL_S64);
    te_ref is_worse = worse(get(hv, right), get(hc, right), get(hv, left), get(hc, left));
    lp_stmt *up = lp_seq(set(p, hv, gap, get(hv, child)),
                         lp_seq(set(p, hc, gap, get(hc, child)), set(p, p->at, zero, s32(child))));
    up = lp_if(p->f, worse(get(hv, child), get(hc, child), v, c), up, NULL);
    te_ref last = te_addi(size, -1), second = te_select(is_worse, te_int(p->g, 1), zero);
    up = lp_let(p->f, child, te_min(te_add(left, second), last), up);
    up = lp_let(p->f, right, te_min(te_addi(left, 1), last), up);
    up = lp_let(p->f, left, te_addi(te_muli(gap, 2), 1), lp_if(p->f, te_lt(left, size), up, NULL));
    return lp_let(p->f, gap, s64(get(p->at, zero)), up);
}

/* Puts (v, c) into the first `size` elements in place of the top. */
static lp_stmt *replace_top(best *p, te_ref v, te_ref c, te_ref size)
{
    te_ref zero = te_int(p->g, 0), depth = te_int(p->g, levels(p->n_kept));
    lp_stmt *s = set(p, p->at, zero, te_iconst(p->g, LL_S32, 0));
    if (levels(p->n_kept))
        lp_seq(s, lp_for(p->f, loop_var(p, "level", depth), LP_SERIAL, sift_level(p, v, c, size)));
    te_ref end = var(p, "end", LL_S64);
    lp_stmt *put = lp_seq(set(p, p->heap_value, end, v), set(p, p->heap_column, end, c));
    return lp_seq(s, lp_let(p->f, end, s64(get(p->at, zero)), put));
}

static lp_stmt *fill_heap(best *p)
{
    p->stage = "fill";
    te_ref z = loop_var(p, "z", p->k);
    return lp_for(p->f, z, LP_SERIAL,
                  lp_seq(set(p, p->heap_value, z, nothing(p)),
                         set(p, p->heap_column, z, no_column(p))));
}

/* ---- a part: the best of a run of columns -------------------- */
static lp_stmt *scan(best *p, te_ref row, te_ref run)
{
    p->stage = "scan";
    te_ref zero = te_int(p->g, 0);
    te_ref length = te_simplify(p->g, te_divi(te_addi(p->columns, p->n_parts - 1), p->n_parts));
    te_ref e = loop_var(p, "e", length), i = var(p, "i", LL_S64), v = var(p, "v", LL_F32);
    te_ref top_v = get(p->heap_value, zero), top_c = get(p->heap_column, zero);
    lp_stmt *s = lp_if(p->f, worse(top_v, top_c, v, s32(i)), replace_top(p, v, s32(i), p->k), NULL);
    s = lp_if(p->f, te_lt(i, p->columns), lp_let(p->f, v, te_at(p->x, row, i), s), NULL);
    return lp_for(p->f, e, LP_SERIAL, lp_let(p->f, i, te_add(te_mul(run, length), e), s));
}

/* The top goes behind the rest, again and again. */
static lp_stmt *sort(best *p)
{
    if (p->n_kept == 1) return NULL;
    p->stage = "sort";
    te_ref m = loop_var(p, "m", te_int(p->g, p->n_kept - 1)), zero = te_int(p->g, 0);
    te_ref last = te_sub(te_int(p->g, p->n_kept - 1), m);
    te_ref v = var(p, "v", LL_F32), c = var(p, "c", LL_S32);
    lp_stmt *s = lp_seq(set(p, p->heap_value, last, get(p->heap_value, zero)),
                        set(p, p->heap_column, last, get(p->heap_column, zero)));
    lp_seq(s, replace_top(p, v, c, last));
    s = lp_let(p->f, v, get(p->heap_value, last), lp_let(p->f, c, get(p->heap_column, last), s));
    return lp_for(p->f, m, LP_SERIAL, s);
}

static lp_func *make_part(best *p, const char *name)
{
    lp_func *f = p->f = lp_func_create(p->g, name);
    lp_param_add(f, p->x, false);
    lp_buf *value = lp_param_add(f, p->value, true), *column = lp_param_add(f, p->column, true);
    value->given = column->given = false;
    p->heap_value = scratch(p, "heap_value", LL_F32, p->k);
    p->heap_column = scratch(p, "heap_column", LL_S32, p->k);
    p->at = index_scratch(p, "at", p->k, te_int(p->g, 1));
    p->stage = "part";
    te_ref w = loop_var(p, "w", te_simplify(p->g, te_muli(p->rows, p->n_parts)));
    te_ref row = te_divi(w, p->n_parts), run = te_modi(w, p->n_parts), o = loop_var(p, "o", p->k);
    te_ref to[3] = {row, run, o};
    lp_stmt *s = lp_seq(lp_seq(fill_heap(p), scan(p, row, run)), sort(p));
    lp_seq(s, lp_for(f, o, LP_SERIAL, lp_seq(lp_store(f, value, to, get(p->heap_value, o)),
                                             lp_store(f, column, to, get(p->heap_column, o)))));
    s = lp_alloc(f, p->heap_value, lp_alloc(f, p->heap_column, lp_alloc(f, p->at, s)));
    f->body = lp_for(f, w, LP_CLAIM, s);
    lp_collect_dims(f);
    return f;
}

/* ---- the merge -------------------- */
typedef struct front { /* the best of the lists' heads */
    lp_buf *head, *value, *column, *of;
} front;

static lp_stmt *find_front(best *p, const front *t, te_ref row)
{
    te_ref zero = te_int(p->g, 0), l = loop_var(p, "l", te_int(p->g, p->n_parts));
    te_ref h = var(p, "h", LL_S64), v = var(p, "v", LL_F32), c = var(p, "c", LL_S32);
    lp_stmt *s = lp_seq(set(p, t->value, zero, v),
                        lp_seq(set(p, t->column, zero, c), set(p, t->of, zero, s32(l))));
    s = lp_if(p->f, worse(get(t->value, zero), get(t->column, zero), v, c), s, NULL);
    s = lp_let(p->f, v, te_at(p->value, row, l, h),
               lp_let(p->f, c, te_at(p->column, row, l, h), s));
    s = lp_if(p->f, te_lt(h, p->k), s, NULL);
    return lp_for(p->f, l, LP_SERIAL, lp_let(p->f, h, s64(get(t->head, l)), s));
}

static lp_func *make_merge(best *p, const char *name, const char *column, const char *value)
{
    lp_func *f = p->f = lp_func_create(p->g, name);
    p->stage = "merge";
    te_ref shape[2] = {p->rows, p->k}, one = te_int(p->g, 1), zero = te_int(p->g, 0);
    te_ref n_parts = te_int(p->g, p->n_parts);
    lp_param_add(f, p->value, false);
    lp_param_add(f, p->column, false);
    lp_buf *to_c = lp_param_add(f, te_input_(p->g, column, LL_S32, shape, 2), true);
    lp_buf *to_v = lp_param_add(f, te_input_(p->g, value, LL_F32, shape, 2), true);
    to_c->given = to_v->given = false;
    front t = {.head = index_scratch(p, "head", te_addi(p->k, 1), n_parts),
               .value = scratch(p, "front_value", LL_F32, one),
               .column = scratch(p, "front_column", LL_S32, one),
               .of = index_scratch(p, "front_of", n_parts, one)};
    te_ref r = loop_var(p, "r", p->rows), o = loop_var(p, "o", p->k), z = loop_var(p, "z", n_parts);
    te_ref to[2] = {r, o}, of = var(p, "of", LL_S64), c = get(t.column, zero);
    te_ref next = te_min(te_addi(s64(get(t.head, of)), 1), p->k), found = te_lt(c, no_column(p));
    lp_stmt *s = lp_seq(set(p, t.value, zero, nothing(p)), set(p, t.column, zero, no_column(p)));
    lp_seq(s, set(p, t.of, zero, te_iconst(p->g, LL_S32, 0)));
    lp_seq(s, find_front(p, &t, r));
    lp_seq(s, lp_store(f, to_c, to, te_select(found, c, te_iconst(p->g, LL_S32, -1))));
    lp_seq(s, lp_store(f, to_v, to, get(t.value, zero)));
    lp_seq(s, lp_let(f, of, s64(get(t.of, zero)), set(p, t.head, of, s32(next))));
    s = lp_for(f, o, LP_SERIAL, s);
    s = lp_seq(lp_for(f, z, LP_SERIAL, set(p, t.head, z, te_iconst(p->g, LL_S32, 0))), s);
    s = lp_alloc(f, t.head, lp_alloc(f, t.value, lp_alloc(f, t.column, lp_alloc(f, t.of, s))));
    f->body = lp_for(f, r, LP_CLAIM, s);
    lp_collect_dims(f);
    return f;
}

ll_code lp_best_of(te_tensor *x, const char *name, int64_t k, int64_t parts, lp_best *out,
                   ll_error *err)
{
    te_graph *g = x->shape[0]->g;
    ll_arena *a = te_arena(g);
    if (x->ndim != 2 || x->dtype != LL_F32)
        return ll_fail(err, LL_USAGE, "%s: the best of %s, wanted a matrix of f32", name, x->name);
    if (k < 1 || k > MOST || parts < 1 || parts > MOST)
        return ll_fail(err, LL_USAGE, "%s: the best %lld of %lld parts, wanted 1 to %d of each",
                       name, (long long)k, (long long)parts, MOST);
    te_graph *before = te_graph_use(g);
    best p = {.g = g, .rows = x->shape[0], .columns = x->shape[1], .k = te_int(g, k), .n_kept = k,
              .n_parts = parts, .x = x};
    te_ref shape[3] = {p.rows, te_int(g, parts), p.k};
    p.value = te_input_(g, ll_sprintf(a, "%s.part_value", name), LL_F32, shape, 3);
    p.column = te_input_(g, ll_sprintf(a, "%s.part_column", name), LL_S32, shape, 3);
    out->part = make_part(&p, ll_sprintf(a, "%s.part", name));
    out->merge = make_merge(&p, ll_sprintf(a, "%s.merge", name), ll_sprintf(a, "%s.column", name),
                            ll_sprintf(a, "%s.value", name));
    te_graph_use(before);
    const ll_error *e = te_error(g);
    if (e) return ll_fail(err, e->code, "%s", e->msg);
    LL_TRY(lp_verify(out->part, err));
    return lp_verify(out->merge, err);
}

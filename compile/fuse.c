/* fuse.c: see fuse.h. */
#include "compile/fuse.h"

#include <stdlib.h>
#include <string.h>

enum { NONE = -1, WAITING = -2, MAX_TILE = 1024 };

typedef struct def {
    te_tensor *t;
    bool contraction, ragged, wanted;
    bool placed;           /* it was its turn: it has a home, or waits for its readers */
    bool from_inputs;      /* no contraction or ragged definition behind it          */
    int home;              /* kernel that makes it, or WAITING                       */
    int group;             /* inside its home                                        */
    int64_t cols, tile;    /* columns of its group's contraction; least local block of them */
    bool companion;        /* nothing reads it yet, a schedule may (sums of codes)   */
    int n_src;
    int *src;              /* definitions it reads                                   */
} def;

typedef struct fuser {
    te_graph *g;
    ll_arena *a;
    bool one_row;
    int64_t panel;
    int n, cap;
    def *d;
    cc_fusion *out;
    ll_error *err;
} fuser;

/* ---- what a definition is -------------------------------------------------------------------------------- */

typedef struct weight_search { te_tensor *found; te_ref k; } weight_search;

static bool find_weight(te_ref e, void *p)
{
    weight_search *w = p;
    if (e->op != TE_LOAD || e->n != 2 || !te_uses(e->src[1], w->k) || te_uses(e->src[0], w->k)) return true;
    te_tensor *t = e->u.t->kind == TE_PLANE ? e->u.t->base : e->u.t;
    if (t->weight && t->kind == TE_INPUT) w->found = t;
    return !w->found;
}

te_tensor *cc_contraction_weight(const te_tensor *t)
{
    if (t->kind != TE_DEF || !t->body || t->body->op != TE_SUM || t->body->n != 2) return NULL;
    weight_search w = {NULL, t->body->src[1]};
    te_walk(t->body->src[0], find_weight, &w);
    return w.found;
}

bool cc_is_ragged(const te_tensor *t)
{
    for (int i = 0; i < t->n_axis; i++)
        if (t->axis[i]->u.axis->max) return true;
    if (t->body && te_is_reduce(t->body))
        for (int i = 1; i < t->body->n; i++)
            if (t->body->src[i]->u.axis->max) return true;
    return false;
}

static bool made_here(const te_tensor *t) { return t->kind == TE_DEF || t->kind == TE_UPDATE; }

static int find_def(const fuser *f, const te_tensor *t)
{
    for (int i = 0; i < f->n; i++)
        if (f->d[i].t == t) return i;
    return NONE;
}

typedef struct collect { fuser *f; te_tensor **t; int n, cap; } collect;

static bool collect_load(te_ref e, void *p)
{
    collect *c = p;
    if (e->op == TE_AXIS) return te_walk(e->u.axis->extent, collect_load, p);
    if (e->op != TE_LOAD || !made_here(e->u.t)) return true;
    for (int i = 0; i < c->n; i++)
        if (c->t[i] == e->u.t) return true;
    if (c->n == c->cap) {
        te_tensor **v = LL_NEW_N(c->f->a, te_tensor *, c->cap * 2);
        memcpy(v, c->t, sizeof *v * (size_t)c->n);
        c->t = v;
        c->cap *= 2;
    }
    c->t[c->n++] = e->u.t;
    return true;
}

static void sources(fuser *f, te_tensor *t, collect *c)
{
    *c = (collect){.f = f, .t = LL_NEW_N(f->a, te_tensor *, 16), .cap = 16};
    te_walk(t->body, collect_load, c);
    if (t->init) te_walk(t->init, collect_load, c);
    for (int i = 0; t->kind == TE_UPDATE && i < t->ndim; i++) te_walk(t->at[i], collect_load, c);
    if (t->kind == TE_UPDATE && made_here(t->base)) collect_load(te_load(t->base, t->at, t->ndim), c);
}

static int visit(fuser *f, te_tensor *t)
{
    int at = find_def(f, t);
    if (at != NONE) return at;
    collect c;
    sources(f, t, &c);
    int *src = LL_NEW_N(f->a, int, c.n + 1);
    for (int i = 0; i < c.n; i++) src[i] = visit(f, c.t[i]);
    if (f->n == f->cap) {
        int cap = f->cap ? f->cap * 2 : 256;
        def *d = LL_NEW_N(f->a, def, cap);
        if (f->n) memcpy(d, f->d, sizeof *d * (size_t)f->n);
        f->d = d;
        f->cap = cap;
    }
    def *d = &f->d[f->n];
    *d = (def){.t = t, .home = WAITING, .group = NONE, .n_src = c.n, .src = src, .from_inputs = true};
    d->contraction = cc_contraction_weight(t) != NULL;
    d->ragged = cc_is_ragged(t);
    d->from_inputs = !d->contraction && !d->ragged;
    for (int i = 0; i < c.n; i++) d->from_inputs &= f->d[src[i]].from_inputs;
    return f->n++;
}

/* ---- locality ------------------------------------------------------------------------------------------------ */

/* Columns of a tensor: everything behind the row dimension, flattened. */
static int64_t columns(const te_ref *extent, int n)
{
    int64_t c = 1;
    for (int i = 1; i < n; i++) {
        if (extent[i]->op != TE_INT) return 0;
        c *= extent[i]->u.i;
    }
    return c;
}

static int64_t def_columns(const te_tensor *t)
{
    te_ref e[TE_MAX_DIM];
    for (int i = 0; i < t->n_axis; i++) e[i] = t->axis[i]->u.axis->extent;
    return columns(e, t->n_axis);
}

typedef struct locality {
    fuser *f;
    const te_tensor *src;
    te_ref row, tile_no;
    int64_t tile;
    const te_ref *from, *to;
    int n_sub;
    bool local;
} locality;

static bool check_load(te_ref e, void *p)
{
    locality *l = p;
    if (e->op != TE_LOAD || e->u.t != l->src) return true;
    te_graph *g = l->f->g;
    te_ref flat = te_int(g, 0);
    for (int i = 1; i < e->n; i++) flat = te_add(te_mul(flat, l->src->shape[i]), e->src[i]);
    te_ref no = te_simplify(g, te_div(te_subst(g, flat, l->from, l->to, l->n_sub), te_int(g, l->tile)));
    l->local = e->src[0] == l->row && (no == l->tile_no || te_prove_eq(no, l->tile_no));
    return l->local;
}

/* Does d reduce over as many elements as a row of its source has columns? */
static bool reduces_rows(const te_tensor *d, int64_t cols)
{
    int64_t n = 1;
    for (int i = 1; i < d->body->n; i++) {
        te_ref e = d->body->src[i]->u.axis->extent;
        if (e->op != TE_INT) return true;
        n *= e->u.i;
    }
    return n >= cols;
}

/* With both cut into `tiles` equal blocks of columns: does block number b of `src` suffice for block b of d? */
static bool is_local(fuser *f, const te_tensor *d, const te_tensor *src, int64_t tiles)
{
    int64_t nd = def_columns(d), ns = columns(src->shape, src->ndim);
    if (!nd || !ns || ns % tiles || nd % tiles || d->n_axis < 1) return false;
    if (te_is_reduce(d->body) && reduces_rows(d, ns)) return false; /* a whole row is no block, however short */
    te_graph *g = f->g;
    int64_t per = nd / tiles;
    te_ref no = te_axis(g, "no", te_int(g, tiles)), ni = te_axis(g, "ni", te_int(g, per));
    te_ref flat = te_add(te_muli(no, per), ni), from[TE_MAX_DIM], to[TE_MAX_DIM];
    int n = 0;
    int64_t below = 1;
    for (int i = d->n_axis - 1; i >= 1; i--) {
        int64_t ext = d->axis[i]->u.axis->extent->u.i;
        from[n] = d->axis[i];
        to[n++] = te_simplify(g, i == 1 ? te_divi(flat, below) : te_modi(te_divi(flat, below), ext));
        below *= ext;
    }
    locality l = {.f = f, .src = src, .row = d->axis[0], .tile_no = no, .tile = ns / tiles, .from = from, .to = to, .n_sub = n, .local = true};
    te_walk(d->body, check_load, &l);
    for (int i = 0; d->kind == TE_UPDATE && i < d->ndim && l.local; i++) te_walk(d->at[i], check_load, &l);
    return l.local;
}

/* The least tile, in columns of the contraction (it has `cols`), for which d is local to src; 0: none. */
static int64_t local_tile(fuser *f, const te_tensor *d, const te_tensor *src, int64_t cols)
{
    for (int64_t tile = f->panel; tile <= MAX_TILE && tile <= cols; tile *= 2)
        if (cols % tile == 0 && is_local(f, d, src, cols / tile)) return tile;
    return 0;
}

/* ---- kernels --------------------------------------------------------------------------------------------------- */

static cc_kernel *new_kernel(fuser *f, cc_class class)
{
    cc_fusion *o = f->out;
    if (o->n_kernel == o->cap) {
        int cap = o->cap ? o->cap * 2 : 64;
        cc_kernel **k = LL_NEW_N(f->a, cc_kernel *, cap);
        if (o->n_kernel) memcpy(k, o->kernel, sizeof *k * (size_t)o->n_kernel);
        o->kernel = k;
        o->cap = cap;
    }
    cc_kernel *k = LL_NEW(f->a, cc_kernel);
    k->class = class;
    o->kernel[o->n_kernel++] = k;
    return k;
}

static void add_stage(fuser *f, cc_kernel *k, cc_stage s)
{
    if (k->n_stage == k->cap) {
        int cap = k->cap ? k->cap * 2 : 16;
        cc_stage *v = LL_NEW_N(f->a, cc_stage, cap);
        if (k->n_stage) memcpy(v, k->stage, sizeof *v * (size_t)k->n_stage);
        k->stage = v;
        k->cap = cap;
    }
    k->stage[k->n_stage++] = s;
}

/* Marks d and what waits behind it (definitions without a home). */
static void waiting_behind(const fuser *f, int d, bool *mark)
{
    if (f->d[d].home != WAITING || mark[d]) return;
    mark[d] = true;
    for (int i = 0; i < f->d[d].n_src; i++) waiting_behind(f, f->d[d].src[i], mark);
}

static bool reaches(const fuser *f, int from_kernel, int d)
{
    if (f->d[d].home == from_kernel) return true;
    if (f->d[d].home != WAITING && f->d[d].home < from_kernel) return false;
    for (int i = 0; i < f->d[d].n_src; i++)
        if (reaches(f, from_kernel, f->d[d].src[i])) return true;
    return false;
}

/* Many rows: what waits behind definition d becomes a kernel of its own. */
static void flush(fuser *f, int d)
{
    bool *mark = LL_NEW_N(f->a, bool, f->n);
    bool any = false;
    for (int i = 0; i < f->d[d].n_src; i++) waiting_behind(f, f->d[d].src[i], mark);
    for (int i = 0; i < f->n; i++) any |= mark[i];
    if (!any) return;
    new_kernel(f, CC_ROWS);
    for (int i = 0; i < f->n; i++)
        if (mark[i]) f->d[i].home = f->out->n_kernel - 1;
}

static bool same_prologue(const fuser *f, int k, const bool *mine)
{
    bool *theirs = LL_NEW_N(f->a, bool, f->n);
    for (int i = 0; i < f->n; i++)
        if (f->d[i].home == k && f->d[i].contraction)
            for (int s = 0; s < f->d[i].n_src; s++) {
                int q = f->d[i].src[s];
                waiting_behind(f, q, theirs);
            }
    return !memcmp(theirs, mine, sizeof *mine * (size_t)f->n);
}

/* The same inputs outside the kernel: definitions with a home, by pointer. */
static bool same_sources(const fuser *f, int a, int b)
{
    if (f->d[a].n_src != f->d[b].n_src) return false;
    for (int i = 0; i < f->d[a].n_src; i++) {
        bool found = false;
        for (int j = 0; j < f->d[b].n_src; j++) found |= f->d[a].src[i] == f->d[b].src[j];
        if (!found) return false;
    }
    return true;
}

static void place_contraction(fuser *f, int i)
{
    if (!f->one_row) flush(f, i);
    bool *mine = LL_NEW_N(f->a, bool, f->n);
    for (int s = 0; s < f->d[i].n_src; s++) waiting_behind(f, f->d[i].src[s], mine);
    for (int k = f->out->n_kernel - 1; k >= 0; k--) {
        if (f->out->kernel[k]->class != CC_MATMUL) continue;
        int first = NONE;
        for (int j = 0; j < i && first == NONE; j++)
            if (f->d[j].home == k && f->d[j].contraction) first = j;
        if (first == NONE || !same_sources(f, first, i) || !same_prologue(f, k, mine) || reaches(f, k, i)) continue;
        f->d[i].home = k;
        f->d[i].group = f->out->kernel[k]->n_group++;
        f->d[i].tile = f->panel;
        f->d[i].cols = def_columns(f->d[i].t);
        return;
    }
    cc_kernel *k = new_kernel(f, CC_MATMUL);
    f->d[i].home = f->out->n_kernel - 1;
    f->d[i].group = k->n_group++;
    f->d[i].tile = f->panel;
    f->d[i].cols = def_columns(f->d[i].t);
}

static void join_groups(fuser *f, int kernel, int a, int b)
{
    for (int i = 0; i < f->n; i++)
        if (f->d[i].home == kernel && f->d[i].group == b) f->d[i].group = a;
}

/* A light definition: local to one matmul kernel, part of a ragged one, or waiting. */
static void place_light(fuser *f, int i)
{
    def *d = &f->d[i];
    int k = NONE;
    int64_t tile = f->panel;
    for (int s = 0; s < d->n_src; s++) {
        const def *q = &f->d[d->src[s]];
        if (q->home == WAITING) {
            if (q->from_inputs) continue; /* gets a kernel before everything that reads it */
            return;
        }
        if (f->out->kernel[q->home]->class == CC_ROWS) continue;
        if (q->home > k) k = q->home;
    }
    for (int s = 0; s < d->n_src; s++) /* rows made after that kernel are not there yet when it runs */
        if (f->d[d->src[s]].home > k) return;
    if (k == NONE || f->out->kernel[k]->class == CC_ROWS) return;
    cc_kernel *kernel = f->out->kernel[k];
    if (kernel->class == CC_RAGGED) return; /* its results are put together by whoever reads them */
    int group = NONE;
    for (int s = 0; s < d->n_src; s++) {
        def *q = &f->d[d->src[s]];
        if (q->home != k) continue;
        if (!d->cols) d->cols = q->cols;
        int64_t need = q->cols == d->cols ? local_tile(f, d->t, q->t, d->cols) : 0;
        if (!need) return;
        if (need > tile) tile = need;
    }
    for (int s = 0; s < d->n_src; s++) {
        def *q = &f->d[d->src[s]];
        if (q->home != k) continue;
        if (group == NONE) group = q->group;
        else if (group != q->group) join_groups(f, k, group, q->group);
    }
    d->home = k;
    d->group = group;
    d->tile = tile;
}

/* A ragged kernel has no prologue: what it reads was made before. That holds for the definitions that will join it, too;
 * which those are is not known yet, so what is ready and any ragged definition reads is made now. */
static void flush_for_ragged(fuser *f)
{
    bool *mark = LL_NEW_N(f->a, bool, f->n), any = false;
    for (int i = 0; i < f->n; i++)
        for (int s = 0; f->d[i].ragged && s < f->d[i].n_src; s++) {
            const def *q = &f->d[f->d[i].src[s]];
            if (q->placed && !q->ragged) waiting_behind(f, f->d[i].src[s], mark);
        }
    for (int i = 0; i < f->n; i++) any |= mark[i];
    if (!any) return;
    new_kernel(f, CC_ROWS);
    for (int i = 0; i < f->n; i++)
        if (mark[i]) f->d[i].home = f->out->n_kernel - 1;
}

static void place_ragged(fuser *f, int i)
{
    for (int s = 0; s < f->d[i].n_src; s++) {
        const def *q = &f->d[f->d[i].src[s]];
        if (q->home != WAITING && f->out->kernel[q->home]->class == CC_RAGGED) {
            f->d[i].home = q->home;
            return;
        }
    }
    flush_for_ragged(f);
    new_kernel(f, CC_RAGGED);
    f->d[i].home = f->out->n_kernel - 1;
}

/* ---- groups and their tiles, in columns of their contractions --------------------------------------------------------- */

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

static void finish_groups(fuser *f, cc_kernel *k, int home)
{
    int *map = LL_NEW_N(f->a, int, k->n_group + 1), n = 0;
    for (int i = 0; i < k->n_group; i++) map[i] = NONE;
    k->tile = LL_NEW_N(f->a, int64_t, k->n_group + 1);
    for (int i = 0; i < f->n; i++) {
        def *d = &f->d[i];
        if (d->home != home || d->group < 0) continue;
        if (map[d->group] < 0) {
            k->tile[n] = f->panel;
            map[d->group] = n++;
        }
        d->group = map[d->group];
    }
    k->n_group = n;
    for (int i = 0; i < f->n; i++) {
        def *d = &f->d[i];
        if (d->home != home || d->group < 0) continue;
        int64_t *t = &k->tile[d->group];
        *t = *t / gcd(*t, d->tile) * d->tile;
    }
}

static bool is_marked(const cc_kernel *k, const te_tensor *t)
{
    for (int i = 0; i < k->n_stage; i++)
        if (k->stage[i].t == t) return true;
    return false;
}

static void add_unique(ll_arena *a, te_tensor ***list, int *n, te_tensor *t)
{
    for (int i = 0; i < *n; i++)
        if ((*list)[i] == t) return;
    te_tensor **v = LL_NEW_N(a, te_tensor *, *n + 1);
    if (*n) memcpy(v, *list, sizeof *v * (size_t)*n);
    v[(*n)++] = t;
    *list = v;
}

/* Definitions that nothing reads, over definitions that are made here: factoring a contraction finds them (the sums of
 * an activation's codes), so they are made where their source is made. */
static void place_companions(fuser *f)
{
    size_t n = te_n_tensors(f->g);
    for (size_t i = 0; i < n; i++) {
        te_tensor *t = te_tensor_at(f->g, i);
        if (t->kind != TE_DEF || !t->body || t->body->op != TE_SUM || find_def(f, t) != NONE || cc_is_ragged(t) || cc_contraction_weight(t)) continue;
        collect c;
        sources(f, t, &c);
        if (c.n != 1 || find_def(f, c.t[0]) == NONE) continue;
        const def *q = &f->d[find_def(f, c.t[0])];
        if (q->home == WAITING || f->out->kernel[q->home]->class == CC_RAGGED) continue;
        int at = visit(f, t);
        def *d = &f->d[at];
        d->companion = true;
        q = &f->d[d->src[0]];
        if (f->out->kernel[q->home]->class == CC_ROWS) {
            d->home = q->home;
        } else if ((d->tile = local_tile(f, t, q->t, q->cols))) {
            d->home = q->home;
            d->group = q->group;
            d->cols = q->cols;
        }
    }
}

/* A kernel that reads codes may read their sums. */
static void give_companions(fuser *f, cc_kernel *c)
{
    for (int i = 0; i < f->n; i++) {
        const def *d = &f->d[i];
        if (!d->companion || d->home < 0 || is_marked(c, d->t)) continue;
        bool reads = false;
        for (int j = 0; j < c->n_given; j++) reads |= c->given[j] == f->d[d->src[0]].t;
        if (!reads) continue;
        add_unique(f->a, &c->given, &c->n_given, d->t);
        cc_kernel *maker = f->out->kernel[d->home];
        for (int j = 0; j < maker->n_stage; j++)
            if (maker->stage[j].t == d->t) maker->stage[j].root = true;
    }
}

static void fill_kernels(fuser *f)
{
    place_companions(f);
    int nk = f->out->n_kernel;
    for (int k = 0; k < nk; k++) {
        cc_kernel *c = f->out->kernel[k];
        if (c->class == CC_MATMUL) finish_groups(f, c, k);
        bool *mark = LL_NEW_N(f->a, bool, f->n);
        if (c->class == CC_MATMUL && f->one_row)
            for (int i = 0; i < f->n; i++)
                if (f->d[i].home == k)
                    for (int s = 0; s < f->d[i].n_src; s++) waiting_behind(f, f->d[i].src[s], mark);
        for (int i = 0; i < f->n; i++)
            if (mark[i]) add_stage(f, c, (cc_stage){.t = f->d[i].t, .prologue = true, .group = NONE});
        for (int i = 0; i < f->n; i++)
            if (f->d[i].home == k) add_stage(f, c, (cc_stage){.t = f->d[i].t, .contraction = f->d[i].contraction, .group = f->d[i].group, .root = f->d[i].wanted});
    }
    for (int k = 0; k < nk; k++) { /* who reads what of whom */
        cc_kernel *c = f->out->kernel[k];
        for (int i = 0; i < c->n_stage; i++) {
            const def *d = &f->d[find_def(f, c->stage[i].t)];
            for (int s = 0; s < d->n_src; s++) {
                const def *q = &f->d[d->src[s]];
                if (is_marked(c, q->t)) continue;
                add_unique(f->a, &c->given, &c->n_given, q->t);
                cc_kernel *maker = f->out->kernel[q->home];
                for (int j = 0; j < maker->n_stage; j++)
                    if (maker->stage[j].t == q->t) maker->stage[j].root = true;
            }
        }
        if (c->class == CC_MATMUL) give_companions(f, c);
    }
    for (int k = 0; k < nk; k++) {
        cc_kernel *c = f->out->kernel[k];
        for (int i = 0; i < c->n_stage; i++)
            if (c->stage[i].t->kind == TE_UPDATE || (c->stage[i].root && !c->stage[i].prologue)) {
                c->stage[i].root = true;
                add_unique(f->a, &c->root, &c->n_root, c->stage[i].t);
            }
    }
}

/* One more kernel over rows, which makes definition `i` and all that still waits behind it. */
static void rows_now(fuser *f, int i)
{
    bool *mark = LL_NEW_N(f->a, bool, f->n);
    waiting_behind(f, i, mark);
    new_kernel(f, CC_ROWS);
    for (int j = 0; j < f->n; j++)
        if (mark[j]) f->d[j].home = f->out->n_kernel - 1;
}

static bool ready(const fuser *f, int i)
{
    for (int s = 0; s < f->d[i].n_src; s++)
        if (!f->d[f->d[i].src[s]].placed) return false;
    return !f->d[i].placed;
}

/* Whose turn it is: ragged definitions last, so that a ragged kernel finds made what any of its definitions reads. */
static int next(const fuser *f)
{
    int ragged = NONE;
    for (int i = 0; i < f->n; i++) {
        if (!ready(f, i)) continue;
        if (!f->d[i].ragged) return i;
        if (ragged == NONE) ragged = i;
    }
    return ragged;
}

static void place(fuser *f, int i)
{
    def *d = &f->d[i];
    d->placed = true;
    if (d->home != WAITING) return;
    if (d->contraction) place_contraction(f, i);
    else if (d->ragged) place_ragged(f, i);
    else place_light(f, i);
    /* Results and updates of state are made where they stand: a later kernel may read them. */
    if (d->home == WAITING && (d->wanted || d->t->kind == TE_UPDATE)) rows_now(f, i);
}

/* Everything that a kernel reads is made by a kernel before it, or in front of its parts. */
static ll_code check_order(const fuser *f)
{
    for (int i = 0; i < f->n; i++) {
        const def *d = &f->d[i];
        for (int s = 0; d->home >= 0 && s < d->n_src; s++) {
            const def *q = &f->d[d->src[s]];
            bool in_front = q->home == WAITING && f->one_row && f->out->kernel[d->home]->class == CC_MATMUL;
            if (!in_front && (q->home == WAITING || q->home > d->home))
                return ll_fail(f->err, LL_UNSUPPORTED, "%s: %s, which it reads, can only be made after the kernel that %s is part of", d->t->name, q->t->name, d->t->name);
        }
    }
    return LL_OK;
}

ll_code cc_fuse(te_graph *g, te_tensor *const *wanted, int n_wanted, bool one_row, int64_t panel, cc_fusion *out, ll_error *err)
{
    *out = (cc_fusion){0};
    fuser f = {.g = g, .a = te_arena(g), .one_row = one_row, .panel = panel, .out = out, .err = err};
    for (int i = 0; i < n_wanted; i++) {
        if (!made_here(wanted[i])) return ll_fail(err, LL_USAGE, "%s is an input, not a definition", wanted[i]->name);
        int at = visit(&f, wanted[i]); /* may move f.d */
        f.d[at].wanted = true;
    }
    /* what depends on inputs only (positions, embeddings) is made once, first */
    for (int i = 0; i < f.n; i++) {
        def *d = &f.d[i];
        if (d->from_inputs) {
            /* only what is not recomputed in front of contractions needs a home here */
            bool read = d->wanted;
            for (int j = 0; j < f.n && !read; j++)
                for (int s = 0; s < f.d[j].n_src; s++)
                    read |= f.d[j].src[s] == i && !f.d[j].from_inputs && !f.d[j].contraction;
            if (!read) continue;
            if (!out->n_kernel) new_kernel(&f, CC_ROWS);
            d->home = 0;
        }
    }
    for (int i = 0; i < f.n; i++) /* and what those need */
        if (f.d[i].from_inputs && f.d[i].home == 0) {
            bool *mark = LL_NEW_N(f.a, bool, f.n);
            for (int s = 0; s < f.d[i].n_src; s++) waiting_behind(&f, f.d[i].src[s], mark);
            for (int j = 0; j < f.n; j++)
                if (mark[j]) f.d[j].home = 0;
        }
    for (int i = next(&f); i != NONE; i = next(&f)) place(&f, i);
    LL_TRY(check_order(&f));
    fill_kernels(&f);
    const ll_error *e = te_error(g);
    return e ? ll_fail(err, e->code, "%s", e->msg) : LL_OK;
}

/* find.c: names and places in the tree: loops, stages and buffers by name; paths, lists and blocks.
 *
 * `alloc` and `let` hold the rest of their list as their body. A *block* is such a list seen flat:
 *
 *     S1; alloc a { S2; let v { S3; S4 } }      is the block  S1 S2 S3 S4
 *
 * A stage is what one definition computes: the statements of one block that write its buffer. */
#include <stdlib.h>
#include <string.h>

#include "schedule/prim.h"

/* ---- children, paths, slots ------------------------------------------------------------------ */

int sch_children(lp_stmt *st, lp_stmt **list[SCH_MAX_CHILD])
{
    switch (st->kind) {
    case LP_FOR: list[0] = &st->u.loop.body; return 1;
    case LP_ALLOC: list[0] = &st->u.alloc.body; return 1;
    case LP_LET: list[0] = &st->u.let.body; return 1;
    case LP_IF:
        list[0] = &st->u.guard.then;
        list[1] = &st->u.guard.otherwise;
        return 2;
    case LP_ROLES:
        for (int i = 0; i < st->u.roles.n; i++) list[i] = &st->u.roles.body[i];
        return st->u.roles.n;
    default: return 0;
    }
}

static lp_stmt **slot_in(lp_stmt **at, const lp_stmt *target)
{
    for (; *at; at = &(*at)->next) {
        if (*at == target) return at;
        lp_stmt **list[SCH_MAX_CHILD];
        int n = sch_children(*at, list);
        for (int i = 0; i < n; i++) {
            lp_stmt **found = slot_in(list[i], target);
            if (found) return found;
        }
    }
    return NULL;
}

lp_stmt **sch_slot_of(sch *s, const lp_stmt *stmt) { return slot_in(&s->fn->body, stmt); }

static int path_in(lp_stmt *list, const lp_stmt *target, lp_stmt **path, int depth)
{
    for (lp_stmt *st = list; st; st = st->next) {
        if (st == target) return depth;
        lp_stmt **below[SCH_MAX_CHILD];
        int n = sch_children(st, below);
        if (n && depth == SCH_MAX_DEPTH) return -1;
        for (int i = 0; i < n; i++) {
            path[depth] = st;
            int d = path_in(*below[i], target, path, depth + 1);
            if (d >= 0) return d;
        }
    }
    return -1;
}

int sch_path(sch *s, const lp_stmt *target, lp_stmt *path[SCH_MAX_DEPTH])
{
    return path_in(s->fn->body, target, path, 0);
}

lp_stmt *sch_parent_loop(sch *s, const lp_stmt *stmt)
{
    lp_stmt *path[SCH_MAX_DEPTH];
    for (int i = sch_path(s, stmt, path) - 1; i >= 0; i--)
        if (path[i]->kind == LP_FOR) return path[i];
    return NULL;
}

bool sch_inside(lp_stmt *root, const lp_stmt *target)
{
    if (root == target) return true;
    lp_stmt **below[SCH_MAX_CHILD];
    int n = sch_children(root, below);
    for (int i = 0; i < n; i++)
        if (slot_in(below[i], target)) return true;
    return false;
}

void sch_detach(sch *s, lp_stmt *st)
{
    lp_stmt **slot = sch_slot_of(s, st);
    if (slot) *slot = st->next;
    st->next = NULL;
}

void sch_insert_before(sch *s, lp_stmt *anchor, lp_stmt *list)
{
    lp_stmt **slot = sch_slot_of(s, anchor);
    if (slot) *slot = lp_seq(list, anchor);
}

void sch_replace(sch *s, lp_stmt *st, lp_stmt *list)
{
    lp_stmt **slot = sch_slot_of(s, st);
    if (!slot) return;
    lp_stmt *rest = st->next;
    st->next = NULL;
    *slot = lp_seq(list, rest);
}

/* ---- by name --------------------------------------------------------------------------------- */

typedef struct loop_search {
    const char *name;
    lp_stmt *found;
    ll_str *names;
} loop_search;

static bool match_loop(lp_stmt *st, void *p)
{
    loop_search *q = p;
    if (st->kind != LP_FOR) return true;
    const char *name = st->u.loop.var->u.axis->name;
    if (q->names) ll_str_addf(q->names, "%s%s", q->names->n ? ", " : "", name);
    if (q->name && !q->found && !strcmp(name, q->name)) q->found = st;
    return true;
}

lp_stmt *sch_find_loop_quiet(sch *s, const char *name)
{
    loop_search q = {.name = name};
    lp_walk(s->fn->body, match_loop, &q);
    return q.found;
}

lp_stmt *sch_find_loop(sch *s, const char *name, ll_error *err)
{
    lp_stmt *found = sch_find_loop_quiet(s, name);
    if (found) return found;
    ll_str names = {0};
    loop_search q = {.names = &names};
    lp_walk(s->fn->body, match_loop, &q);
    ll_fail(err, LL_USAGE, "there is no loop '%s'; loops: %.700s", name,
            names.n ? names.s : "none");
    ll_str_finish(&names);
    return NULL;
}

ll_code sch_name_free(sch *s, const char *name, ll_error *err)
{
    if (!*name ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") !=
            strlen(name))
        return ll_fail(err, LL_USAGE, "'%s' is not a loop name: letters, digits, '_' and '.'",
                       name);
    if (sch_find_loop_quiet(s, name))
        return ll_fail(err, LL_USAGE, "there is a loop '%s' already", name);
    return LL_OK;
}

static lp_buf *find_buf(sch *s, const char *name)
{
    for (int i = 0; i < s->fn->n_buf; i++)
        if (!strcmp(s->fn->buf[i]->t->name, name)) return s->fn->buf[i];
    return NULL;
}

lp_buf *sch_find_buf(sch *s, const char *name, ll_error *err)
{
    lp_buf *b = find_buf(s, name);
    if (b) return b;
    ll_str names = {0};
    for (int i = 0; i < s->fn->n_buf; i++)
        ll_str_addf(&names, "%s%s", i ? ", " : "", s->fn->buf[i]->t->name);
    ll_fail(err, LL_USAGE, "there is no buffer '%s'; buffers: %.700s", name,
            names.n ? names.s : "none");
    ll_str_finish(&names);
    return NULL;
}

te_tensor *sch_find_stage(sch *s, const char *name, ll_error *err)
{
    lp_buf *b = find_buf(s, name);
    ll_str names = {0};
    for (int i = 0; i < s->fn->n_buf; i++) {
        lp_buf *c = s->fn->buf[i];
        bool stage = false;
        for (lp_stmt *st = s->fn->body; st && !stage; st = st->next) stage = sch_writes(st, c);
        if (stage && c == b) {
            ll_str_finish(&names);
            return b->t;
        }
        if (stage) ll_str_addf(&names, "%s%s", names.n ? ", " : "", c->t->name);
    }
    ll_fail(err, LL_USAGE, "there is no stage '%s'; stages: %.700s", name,
            names.n ? names.s : "none");
    ll_str_finish(&names);
    return NULL;
}

/* ---- buffers --------------------------------------------------------------------------------- */

void sch_drop_buf(sch *s, lp_buf *b)
{
    lp_func *f = s->fn;
    int n = 0;
    for (int i = 0; i < f->n_buf; i++)
        if (f->buf[i] != b) f->buf[n++] = f->buf[i];
    f->n_buf = n;
}

/* Not through te_input: the name may be taken by a tensor of the graph whose buffer this one
 * replaces. */
lp_buf *sch_buf_new(sch *s, const char *name, ll_dtype t, lp_scope scope, const te_ref *shape,
                    int n)
{
    te_tensor *x = LL_NEW(te_arena(s->g), te_tensor);
    x->name = ll_strdup(te_arena(s->g), name);
    x->kind = TE_INPUT;
    x->dtype = (uint8_t)t;
    x->ndim = (uint8_t)n;
    x->g = s->g;
    x->id = (uint32_t)te_n_tensors(s->g);
    for (int i = 0; i < n; i++) x->shape[i] = shape[i];
    return lp_buf_add(s->fn, x, scope, NULL);
}

/* What it computes stays known (body, axes): rules ask. It is no TE_DEF any more: its shape may be
 * a part of the definition's. */
lp_buf *sch_buf_like(sch *s, const te_tensor *old, const char *name, lp_scope scope,
                     const te_ref *shape)
{
    te_tensor *x = LL_NEW(te_arena(s->g), te_tensor);
    *x = *old;
    x->name = ll_strdup(te_arena(s->g), name);
    x->kind = TE_INPUT;
    x->weight = false;
    for (int i = 0; i < x->ndim; i++) x->shape[i] = shape[i];
    return lp_buf_add(s->fn, x, scope, NULL);
}

/* `to`, the newest buffer, takes the place of `from` in the list. */
void sch_swap_buf(sch *s, lp_buf *from, lp_buf *to)
{
    lp_func *f = s->fn;
    for (int i = 0; i < f->n_buf; i++)
        if (f->buf[i] == from) f->buf[i] = to;
    f->n_buf--;
}

void sch_replace_var(sch *s, lp_stmt *loop, te_ref var)
{
    lp_subst(s->fn, loop->u.loop.body, &loop->u.loop.var, &var, 1);
    loop->u.loop.var = var;
}

static void rename_in(sch *s, lp_stmt *st, const char *from, const char *to)
{
    lp_stmt **below[SCH_MAX_CHILD];
    int n = sch_children(st, below);
    for (int i = 0; i < n; i++)
        for (lp_stmt *c = *below[i]; c; c = c->next) rename_in(s, c, from, to);
    if (st->kind != LP_FOR) return;
    const te_axis_info *ax = st->u.loop.var->u.axis;
    size_t len = strlen(from);
    if (strncmp(ax->name, from, len) || ax->name[len] != '.') return;
    const char *name = ll_sprintf(te_arena(s->g), "%s%s", to, ax->name + len);
    sch_replace_var(s, st,
                    ax->max ? te_axis_upto(s->g, name, ax->extent, ax->max)
                            : te_axis(s->g, name, ax->extent));
}

void sch_rename_stage(sch *s, lp_stmt *st, const char *from, const char *to)
{
    rename_in(s, st, from, to);
}

/* ---- who touches what ------------------------------------------------------------------------ */

typedef struct touch {
    const lp_buf *buf;
    bool yes;
    sch_load_fn map;
    void *ctx;
    te_graph *g;
} touch;

static te_ref load_seen(te_ref e, void *p)
{
    touch *t = p;
    if (te_loads(e, t->buf->t)) t->yes = true;
    return e;
}

static bool stmt_reads(lp_stmt *st, void *p)
{
    touch *t = p;
    lp_each_expr(st, load_seen, t);
    if (st->kind == LP_COPY && st->u.copy.src == t->buf) t->yes = true;
    return true;
}

static bool stmt_writes(lp_stmt *st, void *p)
{
    touch *t = p;
    const lp_buf *b = st->kind == LP_STORE    ? st->u.store.buf
                      : st->kind == LP_REDUCE ? st->u.reduce.buf
                      : st->kind == LP_COPY   ? st->u.copy.dst
                                              : NULL;
    if (b == t->buf) t->yes = true;
    return true;
}

static bool one(lp_stmt *st, bool (*fn)(lp_stmt *, void *), touch *t)
{
    lp_stmt *rest = st->next;
    st->next = NULL;
    lp_walk(st, fn, t);
    st->next = rest;
    return t->yes;
}

bool sch_writes(lp_stmt *st, const lp_buf *b) { return one(st, stmt_writes, &(touch){.buf = b}); }
bool sch_reads(lp_stmt *st, const lp_buf *b) { return one(st, stmt_reads, &(touch){.buf = b}); }

static te_ref map_node(te_ref e, void *p)
{
    touch *t = p;
    return e->op == TE_LOAD && e->u.t == t->buf->t ? t->map(e, t->ctx) : e;
}

static te_ref map_expr(te_ref e, void *p)
{
    touch *t = p;
    return te_loads(e, t->buf->t) ? te_rewrite(t->g, e, map_node, t) : e;
}

static bool map_stmt(lp_stmt *st, void *p)
{
    lp_each_expr(st, map_expr, p);
    return true;
}

void sch_map_loads(sch *s, lp_stmt *st, const lp_buf *from, sch_load_fn fn, void *ctx)
{
    touch t = {.buf = from, .map = fn, .ctx = ctx, .g = s->g};
    one(st, map_stmt, &t);
}

/* ---- blocks and stages ----------------------------------------------------------------------- */

static bool continues(const lp_stmt *st) { return st->kind == LP_ALLOC || st->kind == LP_LET; }

static int flatten(lp_stmt *list, lp_stmt **out, int n, int max)
{
    for (lp_stmt *st = list; st; st = st->next) {
        if (continues(st))
            n = flatten(st->kind == LP_ALLOC ? st->u.alloc.body : st->u.let.body, out, n, max);
        else if (n < max)
            out[n++] = st;
    }
    return n;
}

/* The list that starts the block of st: below the innermost statement that is neither alloc nor
 * let. */
static lp_stmt *block_start(sch *s, const lp_stmt *st)
{
    lp_stmt *path[SCH_MAX_DEPTH];
    int n = sch_path(s, st, path);
    while (n > 0 && continues(path[n - 1])) n--;
    if (n <= 0) return s->fn->body;
    lp_stmt **below[SCH_MAX_CHILD];
    int k = sch_children(path[n - 1], below);
    for (int i = 0; i < k; i++)
        if (slot_in(below[i], st)) return *below[i];
    return NULL;
}

int sch_block_of(sch *s, const lp_stmt *st, lp_stmt **out, int max)
{
    return flatten(block_start(s, st), out, 0, max);
}

/* The innermost block in which several statements, or one leaf, write b. */
static int writers(lp_stmt *list, const lp_buf *b, lp_stmt **out, int max)
{
    lp_stmt *flat[256];
    int n = flatten(list, flat, 0, 256), found = 0;
    for (int i = 0; i < n; i++)
        if (sch_writes(flat[i], b) && found < max) out[found++] = flat[i];
    return found;
}

/* Does the statement write anything that lives beyond it, except b? */
static bool writes_others(sch *s, lp_stmt *st, const lp_buf *b)
{
    sch_accesses a = {0};
    sch_collect(s, st, &a);
    bool yes = a.ordered;
    for (int i = 0; i < a.n; i++)
        if (a.v[i].kind != SCH_READ && a.v[i].buf != b && !sch_is_local(&a, a.v[i].buf)) yes = true;
    sch_accesses_finish(&a);
    return yes;
}

ll_code sch_stage_group(sch *s, lp_buf *b, lp_stmt **out, int max, int *n, ll_error *err)
{
    lp_stmt *list = s->fn->body;
    for (;;) {
        *n = writers(list, b, out, max);
        if (!*n) return ll_fail(err, LL_NOT_LEGAL, "nothing writes %s", b->t->name);
        bool mixed = false;
        for (int i = 0; i < *n; i++) mixed = mixed || writes_others(s, out[i], b);
        if (!mixed) return LL_OK;
        lp_stmt **below[SCH_MAX_CHILD];
        lp_stmt *inner = NULL;
        int k = *n == 1 ? sch_children(out[0], below) : 0, hits = 0;
        for (int i = 0; i < k; i++) {
            lp_stmt *tmp[1];
            if (writers(*below[i], b, tmp, 1)) inner = *below[i], hits++;
        }
        if (hits != 1)
            return ll_fail(err, LL_NOT_LEGAL,
                           "the loops of %s compute other stages too: wanted loops of its own",
                           b->t->name);
        list = inner;
    }
}

/* ---- where buffers are allocated ------------------------------------------------------------- */

static void strip_allocs(lp_stmt **at)
{
    while (*at) {
        lp_stmt *st = *at;
        if (st->kind == LP_ALLOC) {
            *at = lp_seq(st->u.alloc.body, st->next);
            continue;
        }
        lp_stmt **below[SCH_MAX_CHILD];
        int n = sch_children(st, below);
        for (int i = 0; i < n; i++) strip_allocs(below[i]);
        at = &st->next;
    }
}

typedef struct uses {
    const lp_buf *buf;
    bool yes;
} uses;

static te_ref use_in_expr(te_ref e, void *p)
{
    uses *u = p;
    if (te_loads(e, u->buf->t)) u->yes = true;
    return e;
}

/* Does the statement itself, not what is below it, use the buffer? */
static bool uses_here(lp_stmt *st, const lp_buf *b)
{
    uses u = {.buf = b};
    lp_each_expr(st, use_in_expr, &u);
    if (st->kind == LP_FOR && te_loads(st->u.loop.var->u.axis->extent, b->t)) u.yes = true;
    switch (st->kind) {
    case LP_STORE: return u.yes || st->u.store.buf == b;
    case LP_REDUCE: return u.yes || st->u.reduce.buf == b;
    case LP_COPY:
        return u.yes || st->u.copy.dst == b || st->u.copy.src == b || st->u.copy.mbar == b;
    case LP_MBAR: return u.yes || st->u.mbar.buf == b;
    case LP_PREFETCH: return u.yes || st->u.prefetch.buf == b;
    case LP_SHUFFLE: return u.yes || st->u.shuffle.dst == b || st->u.shuffle.src == b;
    default: return u.yes;
    }
}

static bool uses_below(lp_stmt *st, const lp_buf *b)
{
    if (uses_here(st, b)) return true;
    lp_stmt **below[SCH_MAX_CHILD];
    int n = sch_children(st, below);
    for (int i = 0; i < n; i++)
        for (lp_stmt *c = *below[i]; c; c = c->next)
            if (uses_below(c, b)) return true;
    return false;
}

/* Barriers have an identity per buffer phase and several roles share them: they stay outside what
 * uses them. */
static bool may_enter(const lp_stmt *st) { return st->kind != LP_ROLES; }

static void place(lp_func *f, lp_stmt **list, lp_buf *b)
{
    lp_stmt **first = NULL, *only = NULL;
    int n = 0;
    for (lp_stmt **at = list; *at; at = &(*at)->next) {
        if (!uses_below(*at, b)) continue;
        if (!first) first = at;
        only = *at;
        n++;
    }
    if (!n) return;
    lp_stmt **inner = NULL, **below[SCH_MAX_CHILD];
    int hits = 0;
    if (n == 1 && !uses_here(only, b) && may_enter(only)) {
        int k = sch_children(only, below);
        for (int i = 0; i < k; i++)
            for (lp_stmt *c = *below[i]; c; c = c->next)
                if (uses_below(c, b)) {
                    inner = below[i];
                    hits++;
                    break;
                }
    }
    if (hits == 1)
        place(f, inner, b);
    else
        *first = lp_alloc(f, b, *first);
}

void sch_place_allocs(sch *s)
{
    strip_allocs(&s->fn->body);
    for (int i = 0; i < s->fn->n_buf; i++) {
        lp_buf *b = s->fn->buf[i];
        if (b->param < 0 && !b->within) place(s->fn, &s->fn->body, b);
    }
}

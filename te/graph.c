/* graph.c: graphs, interning, leaves and errors of te.h.
 *
 * A graph is an arena, an open-addressed table of its nodes, its tensors by number and by name,
 * and its dims by name. A child graph looks a node up in its whole chain before it makes one, so
 * equal expressions are one pointer across the chain. Axes and variables are not interned: each
 * is itself. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "te/internal.h"

static _Thread_local te_graph *current;

te_graph *te_graph_use(te_graph *g)
{
    te_graph *old = current;
    current = g;
    return old;
}

static te_graph *graph_new(te_graph *parent)
{
    te_graph *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    ll_arena_init(&g->arena);
    g->parent = parent;
    if (parent) {
        g->arena.oom = parent->arena.oom;
        g->depth = parent->depth + 1;
        g->next_id = parent->next_id;
        g->first_tensor = te_n_tensors(parent);
    }
    return g;
}

te_graph *te_graph_create(void) { return graph_new(NULL); }

te_graph *te_graph_child(te_graph *parent)
{
    te_graph *g = graph_new(parent);
    if (g) te_graph_use(g);
    return g;
}

void te_graph_destroy(te_graph *g)
{
    if (!g) return;
    if (current == g) current = g->parent;
    ll_map_finish(&g->by_name);
    ll_map_finish(&g->suffix);
    ll_map_finish(&g->dims);
    free(g->slot);
    free(g->tensor);
    ll_arena_finish(&g->arena);
    free(g);
}

ll_arena *te_arena(te_graph *g) { return &g->arena; }

te_graph *te_younger(te_graph *a, te_graph *b)
{
    if (a == b) return a;
    te_graph *deep = a->depth >= b->depth ? a : b, *other = deep == a ? b : a, *p = deep;
    while (p->depth > other->depth) p = p->parent;
    return p == other ? deep : NULL;
}

te_graph *te_home(te_graph *g)
{
    if (!current || current == g || current->depth <= g->depth) return g;
    return te_younger(current, g) == current ? current : g;
}

/* ---- errors ------------------------------------------------------------------------------- */

const ll_error *te_error(const te_graph *g)
{
    for (; g; g = g->parent)
        if (g->err.code != LL_OK) return &g->err;
    return NULL;
}

static te_node *node_new(te_graph *g, te_op op, ll_dtype t, int n)
{
    size_t size = sizeof(te_node) + sizeof(te_ref) * (size_t)n;
    te_node *a = ll_alloc(&g->arena, size + (ll_dtype_is_float(t) ? 0 : sizeof(te_facts)));
    a->op = (uint8_t)op;
    a->dtype = (uint8_t)t;
    a->n = (uint16_t)n;
    a->id = g->next_id++;
    a->g = g;
    return a;
}

static te_ref poison(te_graph *g)
{
    if (!g->poison) {
        g->poison = node_new(g, TE_VAR, LL_BOOL, 0);
        g->poison->u.name = "poison";
        te_facts_make(g->poison);
    }
    return g->poison;
}

bool te_is_poison(te_ref a) { return !a || (a->op == TE_VAR && a == a->g->poison); }

te_ref te_fail(te_graph *g, ll_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (!te_error(g)) ll_vfail(&g->err, code, fmt, ap);
    va_end(ap);
    return poison(g);
}

te_tensor *te_poison_tensor(te_graph *g)
{
    if (!g->poison_tensor) {
        te_tensor *t = LL_NEW(&g->arena, te_tensor);
        t->name = "poison";
        t->g = g;
        t->id = UINT32_MAX;
        for (int i = 0; i < TE_MAX_DIM; i++) t->shape[i] = t->axis[i] = t->at[i] = poison(g);
        t->body = poison(g);
        g->poison_tensor = t;
    }
    return g->poison_tensor;
}

/* ---- interning ---------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 32;
}

static uint64_t node_hash(te_op op, ll_dtype t, int64_t payload, const te_ref *src, int n)
{
    uint64_t h = mix((uint64_t)op << 32 | (uint64_t)t << 16 | (uint64_t)n, (uint64_t)payload);
    for (int i = 0; i < n; i++) h = mix(h, (uint64_t)(uintptr_t)src[i]);
    return h;
}

static te_node *find(const te_graph *g, uint64_t h, te_op op, ll_dtype t, int64_t payload,
                     const te_ref *src, int n)
{
    if (!g->n_slot) return NULL;
    for (size_t i = (size_t)h & (g->n_slot - 1); g->slot[i].a; i = (i + 1) & (g->n_slot - 1)) {
        te_node *a = g->slot[i].a;
        if (g->slot[i].hash == h && a->op == op && a->dtype == t && a->n == n &&
            a->u.i == payload && (n == 0 || memcmp(a->src, src, sizeof *src * (size_t)n) == 0))
            return a;
    }
    return NULL;
}

static void put(te_graph *g, uint64_t h, te_node *a)
{
    size_t k = (size_t)h & (g->n_slot - 1);
    while (g->slot[k].a) k = (k + 1) & (g->n_slot - 1);
    g->slot[k] = (struct te_slot){h, a};
}

static bool grow(te_graph *g)
{
    size_t n = g->n_slot, cap = n ? n * 2 : 64;
    struct te_slot *old = g->slot, *s = calloc(cap, sizeof *s);
    if (!s) return false;
    g->slot = s;
    g->n_slot = cap;
    for (size_t i = 0; i < n; i++)
        if (old[i].a) put(g, old[i].hash, old[i].a);
    free(old);
    return true;
}

te_ref te_intern(te_graph *g, te_op op, ll_dtype t, int64_t payload, const te_ref *src, int n)
{
    uint64_t h = node_hash(op, t, payload, src, n);
    for (const te_graph *p = g; p; p = p->parent) {
        te_node *a = find(p, h, op, t, payload, src, n);
        if (a) return a;
    }
    if (g->n_used * 2 >= g->n_slot && !grow(g)) {
        if (g->arena.oom) g->arena.oom(&g->arena);
        return te_fail(g, LL_NO_SPACE, "no memory for the node table");
    }
    te_node *a = node_new(g, op, t, n);
    a->u.i = payload;
    if (n) memcpy(a->src, src, sizeof *src * (size_t)n);
    if (te_has_facts(a)) te_facts_make(a);
    put(g, h, a);
    g->n_used++;
    return a;
}

/* ---- names -------------------------------------------------------------------------------- */

bool te_is_word(const char *s)
{
    static const char *const words[] = {"in",   "def",   "update", "paged", "dim",
                                        "true", "false", "inf",    "nan"};
    ll_dtype t;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(s, words[i]) == 0) return true;
    for (int op = 0; op < TE_N_OPS; op++)
        if (strcmp(s, te_op_spelling((te_op)op)) == 0) return true;
    return ll_dtype_parse(s, &t);
}

bool te_is_name(const char *s)
{
    if (!s || !*s || (*s >= '0' && *s <= '9') || *s == '.') return false;
    for (const char *p = s; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        if (!letter && !(*p >= '0' && *p <= '9') && *p != '_' && *p != '.') return false;
    }
    return strncmp(s, "bits.", 5) != 0 && !te_is_word(s);
}

size_t te_n_tensors(const te_graph *g) { return g->first_tensor + g->n_tensor; }

te_tensor *te_tensor_at(const te_graph *g, size_t i)
{
    for (; g; g = g->parent)
        if (i >= g->first_tensor)
            return i < te_n_tensors(g) ? g->tensor[i - g->first_tensor] : NULL;
    return NULL;
}

te_tensor *te_find(const te_graph *g, const char *name)
{
    for (; g; g = g->parent) {
        te_tensor *t = ll_map_get_str(&g->by_name, name);
        if (t) return t;
    }
    return NULL;
}

const te_node *te_find_dim(const te_graph *g, const char *name)
{
    for (; g; g = g->parent) {
        const te_node *a = ll_map_get_str(&g->dims, name);
        if (a) return a;
    }
    return NULL;
}

static const char *free_name(te_graph *g, const char *name)
{
    if (!te_find(g, name)) return ll_strdup(&g->arena, name);
    uintptr_t last = 0;
    for (const te_graph *p = g; p && !last; p = p->parent)
        last = (uintptr_t)ll_map_get_str(&p->suffix, name);
    for (uintptr_t i = last + 1;; i++) {
        char *s = ll_sprintf(&g->arena, "%s.%zu", name, (size_t)i + 1);
        if (te_find(g, s)) continue;
        ll_map_set_str(&g->suffix, name, (void *)i);
        return s;
    }
}

te_tensor *te_tensor_new(te_graph *g, te_tensor_kind kind, const char *name, ll_dtype t, int ndim)
{
    if (!te_is_name(name)) {
        te_fail(g, LL_USAGE, "`%s` cannot name a tensor: letters, digits, `_`, `.`",
                name ? name : "");
        return te_poison_tensor(g);
    }
    if (kind == TE_INPUT && te_find(g, name)) {
        te_fail(g, LL_USAGE, "input %s: the graph has a tensor of that name", name);
        return te_poison_tensor(g);
    }
    if (ndim < 0 || ndim > TE_MAX_DIM) {
        te_fail(g, LL_USAGE, "tensor %s: %d dimensions, at most %d", name, ndim, TE_MAX_DIM);
        return te_poison_tensor(g);
    }
    if (g->n_tensor == g->cap_tensor) {
        size_t cap = g->cap_tensor ? g->cap_tensor * 2 : 16;
        te_tensor **v = realloc(g->tensor, cap * sizeof *v);
        if (!v) {
            te_fail(g, LL_NO_SPACE, "no memory for tensor %s", name);
            return te_poison_tensor(g);
        }
        g->tensor = v;
        g->cap_tensor = cap;
    }
    te_tensor *x = LL_NEW(&g->arena, te_tensor);
    x->name = free_name(g, name);
    x->kind = kind;
    x->dtype = (uint8_t)t;
    x->ndim = (uint8_t)ndim;
    x->g = g;
    x->id = (uint32_t)te_n_tensors(g);
    g->tensor[g->n_tensor++] = x;
    ll_map_set_str(&g->by_name, x->name, x);
    return x;
}

/* ---- leaves ------------------------------------------------------------------------------- */

te_ref te_int(te_graph *g, int64_t v) { return te_intern(te_home(g), TE_INT, LL_S64, v, NULL, 0); }

te_ref te_iconst(te_graph *g, ll_dtype t, int64_t v)
{
    if (ll_dtype_is_float(t))
        return te_fail(g, LL_USAGE, "te_iconst: %s is not an integer type", ll_dtype_name(t));
    if (te_wrap_to(t, v) != v)
        return te_fail(g, LL_USAGE, "%lld does not fit %s", (long long)v, ll_dtype_name(t));
    return te_intern(te_home(g), TE_INT, t, v, NULL, 0);
}

te_ref te_fconst(te_graph *g, ll_dtype t, double v)
{
    if (!ll_dtype_is_float(t))
        return te_fail(g, LL_USAGE, "te_fconst: %s is not a floating type", ll_dtype_name(t));
    v = te_round_to(t, v);
    int64_t bits;
    if (isnan(v)) v = (double)NAN; /* one NaN */
    memcpy(&bits, &v, 8);
    return te_intern(te_home(g), TE_FLT, t, bits, NULL, 0);
}

te_ref te_dim_multiple(te_graph *g, const char *name, int64_t lo, int64_t hi, int64_t multiple)
{
    const te_node *old = te_is_name(name) ? te_find_dim(g, name) : NULL;
    if (!te_is_name(name)) return te_fail(g, LL_USAGE, "`%s` cannot name a dim", name ? name : "");
    if (lo < 0 || hi < lo || multiple < 1)
        return te_fail(
            g, LL_USAGE,
            "dim %s: bounds %lld..%lld, multiple %lld: wanted 0 <= lo <= hi and multiple >= 1",
            name, (long long)lo, (long long)hi, (long long)multiple);
    if (old) {
        const te_dim_info *d = old->u.dim;
        if (d->lo == lo && d->hi == hi && d->multiple == multiple) return old;
        return te_fail(g, LL_USAGE,
                       "dim %s: declared in %lld..%lld multiple %lld, now %lld..%lld multiple %lld",
                       name, (long long)d->lo, (long long)d->hi, (long long)d->multiple,
                       (long long)lo, (long long)hi, (long long)multiple);
    }
    te_dim_info *d = LL_NEW(&g->arena, te_dim_info);
    *d = (te_dim_info){ll_strdup(&g->arena, name), lo, hi, multiple};
    te_node *a = node_new(g, TE_DIM, LL_S64, 0);
    a->u.dim = d;
    te_facts_make(a);
    ll_map_set_str(&g->dims, d->name, a);
    return a;
}

te_ref te_dim(te_graph *g, const char *name, int64_t lo, int64_t hi)
{
    return te_dim_multiple(g, name, lo, hi, 1);
}

te_ref te_axis_upto(te_graph *g, const char *name, te_ref extent, te_ref max)
{
    if (te_is_poison(extent))
        return extent ? extent : te_fail(g, LL_USAGE, "axis %s: no extent", name);
    if (max && te_is_poison(max)) return max;
    if (!te_is_name(name))
        return te_fail(g, LL_USAGE, "`%s` cannot name an axis", name ? name : "");
    if (extent->dtype != LL_S64 || (max && max->dtype != LL_S64))
        return te_fail(g, LL_USAGE, "axis %s: its extent is %s, wanted s64", name,
                       ll_dtype_name((ll_dtype)extent->dtype));
    if (max && te_range_of(max).lo < 0)
        return te_fail(g, LL_USAGE, "axis %s: its bound may be negative", name);
    te_axis_info *x = LL_NEW(&g->arena, te_axis_info);
    *x = (te_axis_info){ll_strdup(&g->arena, name), extent, max};
    te_node *a = node_new(g, TE_AXIS, LL_S64, 0);
    a->u.axis = x;
    te_facts_make(a);
    return a;
}

te_ref te_axis(te_graph *g, const char *name, te_ref extent)
{
    return te_axis_upto(g, name, extent, NULL);
}

te_ref te_var(te_graph *g, const char *name, ll_dtype t)
{
    if (!te_is_name(name))
        return te_fail(g, LL_USAGE, "`%s` cannot name a variable", name ? name : "");
    te_node *a = node_new(g, TE_VAR, t, 0);
    a->u.name = ll_strdup(&g->arena, name);
    if (te_has_facts(a)) te_facts_make(a);
    return a;
}

/* ---- operator table ----------------------------------------------------------------------- */

static const struct {
    const char *name, *spelling;
    int arity;
} ops[] = {
#define TE_OP(NAME, arity, spelling, meaning) [TE_##NAME] = {#NAME, spelling, arity},
#include "te/ops.def"
#undef TE_OP
};

const char *te_op_spelling(te_op op) { return ops[op].spelling; }
const char *te_op_name(te_op op) { return ops[op].name; }
int te_op_arity(te_op op) { return ops[op].arity; }
bool te_op_infix(te_op op)
{
    char c = ops[op].spelling[0];
    return c && !(c >= 'a' && c <= 'z');
}

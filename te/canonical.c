/* canonical.c: the text that says what `roots` compute and nothing else: tensors b0, b1... in
 * the order in which a walk from the roots needs them, axes i0, i1... per definition, dims (by
 * name, with bounds) in order of use. Names and the order of creation leave no trace; it parses
 * like any te text, but for its last line. */
#include <string.h>

#include "te/internal.h"
#include "te/print.h"

typedef struct canon {
    ll_str *out;
    te_memo tensor; /* te_tensor -> its name (arena) */
    te_memo expr;   /* nodes seen                    */
    ll_map dims;
    ll_arena arena;
    size_t n;
    te_print_style style;
    ll_str body;
} canon;

static void need(canon *c, const te_tensor *t);

/* In reading order: an expression may be deep, and is a graph. */
static bool visit(te_ref a, void *ctx)
{
    canon *c = ctx;
    if (a->op == TE_LOAD) need(c, a->u.t);
    if (a->op == TE_DIM && !ll_map_has(&c->dims, a->u.dim->name, strlen(a->u.dim->name))) {
        ll_map_set_str(&c->dims, a->u.dim->name, (void *)(uintptr_t)a);
        te_print_dim(c->out, a);
        ll_str_addc(c->out, '\n');
    }
    if (a->op == TE_AXIS) {
        bool found;
        te_memo_at(&c->expr, a, &found);
        if (!found) {
            te_walk(a->u.axis->extent, visit, c);
            if (a->u.axis->max) te_walk(a->u.axis->max, visit, c);
        }
    }
    return true;
}

static void visit_all(canon *c, const te_ref *v, int n)
{
    for (int i = 0; i < n; i++)
        if (v[i]) te_walk(v[i], visit, c);
}

static void need(canon *c, const te_tensor *t)
{
    bool found;
    if (t->kind == TE_PLANE) t = t->base;
    if (te_memo_get(&c->tensor, t)) return;
    if (t->kind == TE_UPDATE) need(c, t->base);
    visit_all(c, t->shape, t->ndim);
    visit_all(c, t->axis, t->n_axis);
    visit_all(c, (te_ref[]){t->body, t->init, t->lo, t->hi}, 4);
    if (t->kind == TE_UPDATE) visit_all(c, t->at, t->ndim);
    const char *name = ll_sprintf(&c->arena, "b%zu", c->n++);
    *te_memo_at(&c->tensor, t, &found) = (void *)(uintptr_t)name;
    for (int i = 0; i < t->n_plane; i++) {
        char *p = ll_sprintf(&c->arena, "%s.%s", name, strrchr(t->plane[i]->name, '.') + 1);
        *te_memo_at(&c->tensor, t->plane[i], &found) = p;
    }
    te_print_tensor_as(&c->body, t, &c->style);
    ll_str_addc(&c->body, '\n');
}

static const char *name_of(const te_tensor *t, void *ctx)
{
    return te_memo_get(&((canon *)ctx)->tensor, t);
}

void te_canonical(ll_str *out, te_tensor *const *roots, int n)
{
    canon c = {.out = out};
    c.style = (te_print_style){.axis_prefix = "i", .tensor = name_of, .ctx = &c};
    ll_arena_init(&c.arena);
    for (int i = 0; i < n; i++) need(&c, roots[i]);
    ll_str_addn(out, ll_str_cstr(&c.body), c.body.n);
    ll_str_add(out, "out");
    for (int i = 0; i < n; i++) ll_str_addf(out, "%s %s", i ? "," : "", name_of(roots[i], &c));
    ll_str_addc(out, '\n');
    out->oom |= c.body.oom;
    te_memo_finish(&c.tensor);
    te_memo_finish(&c.expr);
    ll_map_finish(&c.dims);
    ll_str_finish(&c.body);
    ll_arena_finish(&c.arena);
}

ll_hash te_hash(te_tensor *const *roots, int n)
{
    ll_str s = {0};
    te_canonical(&s, roots, n);
    ll_hash h = ll_hash_bytes(ll_str_cstr(&s), s.n);
    ll_str_finish(&s);
    return h;
}

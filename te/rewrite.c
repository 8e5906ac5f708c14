/* rewrite.c: walks and rewrites that visit each distinct node once, with their own stack:
 * expressions may be deeper than the C stack, and shared nodes must not be visited once per
 * path. */
#include <stdlib.h>
#include <string.h>

#include "te/internal.h"

/* ---- the pointer map ---------------------------------------------------------------------- */

static struct te_memo_slot *memo_slot(const te_memo *m, const void *key)
{
    size_t i = te_ptr_hash(key) & (m->cap - 1);
    while (m->slot[i].key && m->slot[i].key != key) i = (i + 1) & (m->cap - 1);
    return &m->slot[i];
}

static void memo_grow(te_memo *m)
{
    te_memo big = {calloc(m->cap ? m->cap * 2 : 64, sizeof *m->slot), m->n,
                   m->cap ? m->cap * 2 : 64};
    if (!big.slot)
        abort(); /* as an arena without memory does: te is the compiler's, never the runtime's */
    for (size_t i = 0; i < m->cap; i++)
        if (m->slot[i].key) *memo_slot(&big, m->slot[i].key) = m->slot[i];
    free(m->slot);
    *m = big;
}

void **te_memo_at(te_memo *m, const void *key, bool *found)
{
    if (m->n * 2 >= m->cap) memo_grow(m);
    struct te_memo_slot *s = memo_slot(m, key);
    *found = s->key != NULL;
    if (!s->key) {
        s->key = key;
        m->n++;
    }
    return &s->value;
}

void *te_memo_get(const te_memo *m, const void *key)
{
    if (!m->cap) return NULL;
    struct te_memo_slot *s = memo_slot(m, key);
    return s->key ? s->value : NULL;
}

void te_memo_finish(te_memo *m)
{
    free(m->slot);
    *m = (te_memo){0};
}

/* ---- walking ------------------------------------------------------------------------------ */

typedef struct frame {
    te_ref a;
    int next; /* source to visit next */
} frame;

typedef struct stack {
    frame *f;
    size_t n, cap;
    frame few[64];
} stack;

static void push(stack *s, te_ref a)
{
    if (s->n == s->cap) {
        size_t cap = s->cap * 2;
        frame *f = malloc(cap * sizeof *f);
        if (!f) abort(); /* as above */
        memcpy(f, s->f, s->n * sizeof *f);
        if (s->f != s->few) free(s->f);
        s->f = f;
        s->cap = cap;
    }
    s->f[s->n++] = (frame){a, 0};
}

static void stack_init(stack *s)
{
    s->f = s->few;
    s->n = 0;
    s->cap = sizeof s->few / sizeof *s->few;
}

static void stack_finish(stack *s)
{
    if (s->f != s->few) free(s->f);
}

bool te_walk(te_ref a, bool (*fn)(te_ref a, void *ctx), void *ctx)
{
    if (a->n == 0) return fn(a, ctx);
    te_memo seen = {0};
    stack st;
    bool go = true, found;
    stack_init(&st);
    te_memo_at(&seen, a, &found);
    push(&st, a);
    while (go && st.n) {
        frame *f = &st.f[st.n - 1];
        if (f->next < f->a->n) {
            te_ref s = f->a->src[f->next++];
            te_memo_at(&seen, s, &found);
            if (!found) push(&st, s);
        } else {
            go = fn(f->a, ctx);
            st.n--;
        }
    }
    stack_finish(&st);
    te_memo_finish(&seen);
    return go;
}

static bool not_leaf(te_ref a, void *leaf) { return a != (te_ref)leaf; }
bool te_uses(te_ref a, te_ref leaf) { return !te_walk(a, not_leaf, (void *)(uintptr_t)leaf); }

static bool not_from(te_ref a, void *t) { return !(a->op == TE_LOAD && a->u.t == (te_tensor *)t); }
bool te_loads(te_ref a, const te_tensor *t) { return !te_walk(a, not_from, (void *)(uintptr_t)t); }

/* ---- rewriting ---------------------------------------------------------------------------- */

static te_ref rebuilt(te_graph *g, te_ref a, const te_memo *done)
{
    te_ref few[8], *src = a->n > 8 ? malloc(a->n * sizeof *src) : few;
    if (!src) abort(); /* as above */
    for (int i = 0; i < a->n; i++) src[i] = te_memo_get(done, a->src[i]);
    te_ref b = a->n ? te_with_src(g, a, src) : a;
    if (src != few) free(src);
    return b;
}

/* Sources first. What `done` holds already is neither rewritten nor entered; fn may be NULL. */
static te_ref rewritten(te_graph *g, te_ref a, te_memo *done, te_rewrite_fn fn, void *ctx)
{
    te_graph *before = te_graph_use(g);
    stack st;
    bool found;
    stack_init(&st);
    if (!te_memo_get(done, a)) push(&st, a);
    while (st.n) {
        frame *f = &st.f[st.n - 1];
        if (f->next < f->a->n) {
            te_ref s = f->a->src[f->next++];
            if (!te_memo_get(done, s)) push(&st, s);
            continue;
        }
        if (!te_memo_get(done, f->a)) { /* a node can be pushed twice before it is done */
            te_ref b = rebuilt(g, f->a, done);
            b = !fn || te_is_poison(b) ? b : fn(b, ctx);
            *te_memo_at(done, f->a, &found) = (void *)(uintptr_t)b;
        }
        st.n--;
    }
    te_ref out = te_memo_get(done, a);
    stack_finish(&st);
    te_graph_use(before);
    return out;
}

te_ref te_rewrite(te_graph *g, te_ref a, te_rewrite_fn fn, void *ctx)
{
    if (te_is_poison(a)) return a;
    te_memo done = {0};
    te_ref out = rewritten(g, a, &done, fn, ctx);
    te_memo_finish(&done);
    return out;
}

/* What is replaced counts as done: it is matched before its sources are looked at. */
te_ref te_subst(te_graph *g, te_ref a, const te_ref *from, const te_ref *to, int n)
{
    if (te_is_poison(a)) return a;
    te_memo done = {0};
    bool found;
    for (int i = 0; i < n; i++) *te_memo_at(&done, from[i], &found) = (void *)(uintptr_t)to[i];
    te_ref out = rewritten(g, a, &done, NULL, NULL);
    te_memo_finish(&done);
    return out;
}

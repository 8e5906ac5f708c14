/* bpe.c: the merge loop. A piece starts as one symbol a byte; again and again the neighbours
 * whose merge has the smallest rank (of equal ones the leftmost) become one symbol, until no
 * neighbours merge.
 *
 * Short pieces, nearly all of them, look at every pair each time. Long ones keep the pairs in a
 * heap keyed by (rank, position), so time is O(n log n); an entry is stale, and dropped, when
 * the symbol at its position no longer has that rank (a rank is one pair, so an equal rank is
 * the same pair). */
#include "runtime/text/bpe.h"

#include <stdlib.h>

enum { SHORT = 32, NO_RANK = UINT32_MAX };

struct rt_bpe_sym {
    uint32_t id;
    uint32_t rank, to; /* of the merge with the next symbol */
    uint32_t prev, next;
};

static void look_up(const rt_bpe *b, rt_bpe_sym *s, uint32_t right)
{
    for (uint32_t i = llmir_tok_mix(s->id, right);; i++) {
        const llmir_tok_merge *m = &b->merge[i & b->mask];
        if (m->left == s->id && m->right == right) {
            s->rank = m->rank;
            s->to = m->to;
            return;
        }
        if (m->left == LLMIR_TOK_NONE) {
            s->rank = NO_RANK;
            return;
        }
    }
}

/* One symbol a byte; returns their number. */
static uint32_t symbols(const rt_bpe *b, const char *s, size_t n, rt_bpe_sym *sym)
{
    uint32_t k = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = b->byte[(unsigned char)s[i]];
        if (id == LLMIR_TOK_NONE) id = b->unk;
        if (id != LLMIR_TOK_NONE) sym[k++].id = id;
    }
    return k;
}

static void merge_short(const rt_bpe *b, rt_bpe_work *w, const char *s, size_t n)
{
    rt_bpe_sym sym[SHORT];
    uint32_t k = symbols(b, s, n, sym);
    for (uint32_t i = 0; i + 1 < k; i++) look_up(b, &sym[i], sym[i + 1].id);
    while (k > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < k; i++)
            if (sym[i].rank < sym[best].rank) best = i;
        if (sym[best].rank == NO_RANK) break;
        sym[best].id = sym[best].to;
        k--;
        for (uint32_t i = best + 1; i < k; i++) sym[i] = sym[i + 1];
        if (best + 1 < k) look_up(b, &sym[best], sym[best + 1].id);
        if (best) look_up(b, &sym[best - 1], sym[best].id);
    }
    for (uint32_t i = 0; i < k; i++) rt_bpe_put(w, sym[i].id);
}

/* ---- the heap: smallest first, 4 children a node ---- */

static void heap_push(uint64_t *h, size_t *n, uint64_t v)
{
    size_t i = (*n)++;
    for (; i && h[(i - 1) / 4] > v; i = (i - 1) / 4) h[i] = h[(i - 1) / 4];
    h[i] = v;
}

static uint64_t heap_pop(uint64_t *h, size_t *n)
{
    uint64_t top = h[0], v = h[--*n];
    size_t i = 0;
    for (;;) {
        size_t c = 4 * i + 1, m = c;
        if (c >= *n) break;
        for (size_t k = c + 1; k < c + 4 && k < *n; k++)
            if (h[k] < h[m]) m = k;
        if (h[m] >= v) break;
        h[i] = h[m];
        i = m;
    }
    h[i] = v;
    return top;
}

static uint64_t key(const rt_bpe_sym *sym, uint32_t at)
{
    return (uint64_t)sym[at].rank << 32 | at;
}

static void pair(const rt_bpe *b, rt_bpe_work *w, size_t *n_heap, uint32_t at)
{
    rt_bpe_sym *s = &w->sym[at];
    if (s->next == NO_RANK) s->rank = NO_RANK;
    else look_up(b, s, w->sym[s->next].id);
    if (s->rank != NO_RANK) heap_push(w->heap, n_heap, key(w->sym, at));
}

static void merge_long(const rt_bpe *b, rt_bpe_work *w, const char *s, size_t n)
{
    rt_bpe_sym *sym = w->sym;
    uint32_t k = symbols(b, s, n, sym);
    size_t n_heap = 0;
    for (uint32_t i = 0; i < k; i++) {
        sym[i].prev = i ? i - 1 : NO_RANK;
        sym[i].next = i + 1 < k ? i + 1 : NO_RANK;
    }
    for (uint32_t i = 0; i < k; i++) pair(b, w, &n_heap, i);
    while (n_heap) {
        uint64_t top = heap_pop(w->heap, &n_heap);
        uint32_t at = (uint32_t)top, gone;
        if (sym[at].rank != (uint32_t)(top >> 32)) continue;
        gone = sym[at].next;
        sym[at].id = sym[at].to;
        sym[at].next = sym[gone].next;
        if (sym[at].next != NO_RANK) sym[sym[at].next].prev = at;
        sym[gone].rank = NO_RANK;
        pair(b, w, &n_heap, at);
        if (sym[at].prev != NO_RANK) pair(b, w, &n_heap, sym[at].prev);
    }
    for (uint32_t i = 0; k && i != NO_RANK; i = sym[i].next) rt_bpe_put(w, sym[i].id);
}

ll_code rt_bpe_piece(const rt_bpe *b, rt_bpe_work *w, const char *s, size_t n, ll_error *err)
{
    if (n <= SHORT) return merge_short(b, w, s, n), LL_OK;
    if (n > w->cap) {
        size_t cap = n > 2 * w->cap ? n : 2 * w->cap;
        /* a merge takes one entry out of the heap and puts at most two in: never more than 2 cap */
        rt_bpe_work_finish(w);
        w->sym = malloc(cap * sizeof *w->sym);
        w->heap = malloc(2 * cap * sizeof *w->heap);
        if (!w->sym || !w->heap)
            return ll_fail(err, LL_NO_SPACE, "no memory to encode a piece of %zu bytes", n);
        w->cap = cap;
    }
    merge_long(b, w, s, n);
    return LL_OK;
}

void rt_bpe_work_finish(rt_bpe_work *w)
{
    free(w->sym);
    free(w->heap);
    w->sym = NULL;
    w->heap = NULL;
    w->cap = 0;
}

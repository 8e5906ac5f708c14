/* arena.c: see arena.h. */
#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ll_arena_block {
    ll_arena_block *next;
    size_t size, used;
    _Alignas(16) unsigned char data[];
};

enum { BLOCK_MIN = 64 * 1024 };

void ll_arena_init(ll_arena *a) { *a = (ll_arena){0}; }

void ll_arena_finish(ll_arena *a)
{
    for (ll_arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    *a = (ll_arena){.oom = a->oom};
}

void *ll_try_alloc(ll_arena *a, size_t size)
{
    if (size > SIZE_MAX / 2) return NULL;
    size = (size + 15) & ~(size_t)15;
    ll_arena_block *b = a->head;
    if (!b || b->size - b->used < size) {
        size_t want = size > BLOCK_MIN ? size : a->total / 4 > BLOCK_MIN ? a->total / 4 : BLOCK_MIN;
        if (want > ((size_t)8 << 20) && want > size) want = size > ((size_t)8 << 20) ? size : (size_t)8 << 20;
        b = calloc(1, sizeof *b + want);
        if (!b) return NULL;
        b->size = want;
        a->total += want;
        if (a->head && size > BLOCK_MIN) { /* a big one-off: keep filling the current block */
            b->next = a->head->next;
            a->head->next = b;
        } else {
            b->next = a->head;
            a->head = b;
        }
    }
    void *p = b->data + b->used;
    b->used += size;
    a->used += size;
    return p;
}

void *ll_alloc(ll_arena *a, size_t size)
{
    void *p = ll_try_alloc(a, size);
    if (!p) {
        if (a->oom) a->oom(a);
        abort();
    }
    return p;
}

char *ll_strndup(ll_arena *a, const char *s, size_t n)
{
    char *p = ll_alloc(a, n + 1);
    memcpy(p, s, n);
    return p;
}

char *ll_strdup(ll_arena *a, const char *s) { return ll_strndup(a, s, strlen(s)); }

char *ll_sprintf(ll_arena *a, const char *fmt, ...)
{
    va_list ap, aq;
    va_start(ap, fmt);
    va_copy(aq, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = ll_alloc(a, (size_t)(n < 0 ? 0 : n) + 1);
    vsnprintf(p, (size_t)(n < 0 ? 0 : n) + 1, fmt, aq);
    va_end(aq);
    return p;
}

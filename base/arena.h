/* arena.h: bump allocation for the compiler's graphs. Memory is zeroed, 16-byte aligned, and freed all
 * at once. `ll_alloc` never returns NULL: when memory ends it calls `oom`, which must not return (tools
 * print one sentence and exit 6; with no handler set the process aborts).
 * The runtime and the PTX machine use `ll_try_alloc` or malloc, and check. Not thread-safe: one arena,
 * one thread. */
#ifndef LLMIR_BASE_ARENA_H
#define LLMIR_BASE_ARENA_H

#include <stddef.h>
#include <stdarg.h>

typedef struct ll_arena_block ll_arena_block;
typedef struct ll_arena {
    ll_arena_block *head;
    size_t used, total;           /* bytes handed out; bytes taken from malloc */
    void (*oom)(struct ll_arena *); /* NULL: abort */
} ll_arena;

void ll_arena_init(ll_arena *a);
void ll_arena_finish(ll_arena *a); /* frees everything; a zeroed arena is fine */
void *ll_alloc(ll_arena *a, size_t size);
void *ll_try_alloc(ll_arena *a, size_t size); /* NULL when out of memory */
char *ll_strdup(ll_arena *a, const char *s);
char *ll_strndup(ll_arena *a, const char *s, size_t n);
char *ll_sprintf(ll_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define LL_NEW(arena, type) ((type *)ll_alloc((arena), sizeof(type)))
#define LL_NEW_N(arena, type, n) ((type *)ll_alloc((arena), sizeof(type) * (size_t)(n)))

#endif

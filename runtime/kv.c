/* kv.c: see kv.h. */
#include "runtime/kv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/ckd.h"

static ll_code map_pools(rt_kv *kv, const uint64_t *block_bytes, ll_error *err)
{
    size_t total = 0, one;
    bool fits = true;
    for (uint32_t i = 0; i < kv->n_pool; i++) {
        fits = fits && ll_mul_size(kv->n_blocks, block_bytes[i], &one) &&
               ll_add_size(one, 4095, &one) && ll_add_size(total, one & ~(size_t)4095, &total);
        if (fits)
            kv->pool[i] = (rt_kv_pool){(char *)(total - (one & ~(size_t)4095)), block_bytes[i]};
    }
    if (fits && ll_add_size(total, 4096, &kv->map_bytes))
        kv->map = mmap(NULL, kv->map_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!kv->map || kv->map == MAP_FAILED) {
        kv->map = NULL;
        return ll_fail(err, LL_NO_SPACE,
                       "KV cache: no memory for %u blocks of %u tokens (%zu bytes)", kv->n_blocks,
                       kv->block, total);
    }
    /* in small pages, also where huge ones are the system's default: one per pool would count, and be cleared, for the
     * first token */
    madvise(kv->map, kv->map_bytes, MADV_NOHUGEPAGE);
    for (uint32_t i = 0; i < kv->n_pool; i++)
        kv->pool[i].base = kv->map + (uintptr_t)kv->pool[i].base;
    return LL_OK;
}

ll_code rt_kv_create(rt_kv *kv, uint32_t block, uint32_t usable, const uint64_t *block_bytes,
                     uint32_t n_pool, ll_error *err)
{
    *kv = (rt_kv){.block = block, .n_blocks = usable + 1, .n_pool = n_pool};
    if (!usable || usable >= INT32_MAX)
        return ll_fail(err, LL_USAGE, "KV cache: %u blocks: out of range", usable);
    kv->ref = calloc(kv->n_blocks, sizeof *kv->ref);
    kv->leaving = calloc(kv->n_blocks, sizeof *kv->leaving);
    kv->free_list = malloc(usable * sizeof *kv->free_list);
    kv->pool = calloc(n_pool ? n_pool : 1, sizeof *kv->pool);
    ll_code rc =
        kv->ref && kv->leaving && kv->free_list && kv->pool
            ? map_pools(kv, block_bytes, err)
            : ll_fail(err, LL_NO_SPACE, "KV cache: no memory for the table of %u blocks", usable);
    if (rc != LL_OK) return rt_kv_destroy(kv), rc;
    kv->ref[0] = 1;
    kv->n_free = usable;
    for (uint32_t i = 0; i < usable; i++)
        kv->free_list[i] = (int32_t)(usable - i); /* low ids first */
    return LL_OK;
}

void rt_kv_destroy(rt_kv *kv)
{
    if (kv->map) munmap(kv->map, kv->map_bytes);
    free(kv->ref);
    free(kv->leaving);
    free(kv->free_list);
    free(kv->pool);
    *kv = (rt_kv){0};
}

static int32_t take(rt_kv *kv)
{
    int32_t id = kv->free_list[--kv->n_free];
    kv->ref[id] = 1;
    return id;
}

static void drop(rt_kv *kv, int32_t id)
{
    if (--kv->ref[id] == 0) kv->free_list[kv->n_free++] = id;
}

/* A write at `len` falls into an existing block only when len is inside it; that block is the last.
 */
static int32_t written_block(const rt_kv *kv, const rt_kv_seq *s, uint64_t len)
{
    uint64_t i = len / kv->block;
    return len % kv->block && i < s->n ? s->block[i] : 0;
}

uint32_t rt_kv_count(rt_kv *kv, const rt_kv_seq *s, uint64_t len, uint64_t n)
{
    uint32_t end = (uint32_t)((len + n + kv->block - 1) / kv->block),
             need = end > s->n ? end - s->n : 0;
    int32_t id = written_block(kv, s, len);
    if (id &&
        kv->ref[id] - kv->leaving[id] > 1) { /* the last owner that writes keeps the original */
        kv->leaving[id]++;
        need++;
    }
    return need;
}

void rt_kv_uncount(rt_kv *kv, const rt_kv_seq *s, uint64_t len)
{
    kv->leaving[written_block(kv, s, len)] = 0;
}

void rt_kv_grow(rt_kv *kv, rt_kv_seq *s, uint64_t len, uint64_t n)
{
    uint32_t end = (uint32_t)((len + n + kv->block - 1) / kv->block);
    int32_t old = written_block(kv, s, len);
    if (old && kv->ref[old] > 1) {
        int32_t copy = take(kv);
        for (uint32_t p = 0; p < kv->n_pool; p++) {
            const rt_kv_pool *pool = &kv->pool[p];
            memcpy(pool->base + (size_t)copy * pool->block_bytes,
                   pool->base + (size_t)old * pool->block_bytes, pool->block_bytes);
        }
        drop(kv, old);
        s->block[len / kv->block] = copy;
    }
    while (s->n < end) s->block[s->n++] = take(kv);
}

void rt_kv_truncate(rt_kv *kv, rt_kv_seq *s, uint64_t len)
{
    uint32_t keep = (uint32_t)((len + kv->block - 1) / kv->block);
    while (s->n > keep) drop(kv, s->block[--s->n]);
}

void rt_kv_share(rt_kv *kv, const rt_kv_seq *from, rt_kv_seq *to)
{
    for (uint32_t i = 0; i < from->n; i++) {
        to->block[i] = from->block[i];
        kv->ref[from->block[i]]++;
    }
    to->n = from->n;
}

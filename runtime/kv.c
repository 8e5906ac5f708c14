/* kv.c: see kv.h. */
#include "runtime/kv.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/ckd.h"

static ll_code place_pools(rt_kv *kv, const uint64_t *block_bytes, ll_error *err)
{
    char what[64];
    uint64_t total = 0, one;
    bool fits = true;
    for (uint32_t i = 0; i < kv->n_pool && fits; i++) {
        kv->pool[i].block_bytes = block_bytes[i];
        fits = ll_mul_u64(kv->n_blocks, block_bytes[i], &one) && ll_add_u64(total, one, &total) &&
               ll_align_u64(total, 4096, &total);
    }
    fits = fits && ll_add_u64(total, 4096, &total) && total < (uint64_t)1 << 46;
    snprintf(what, sizeof what, "%u KV blocks of %u tokens", kv->n_blocks, kv->block);
    if (!fits) return ll_fail(err, LL_NO_SPACE, "no memory for %s", what);
    LL_TRY(kv->device->ops->alloc(kv->device, RT_KV, total, what, &kv->memory, err));
    char *at = kv->memory.at;
    for (uint32_t i = 0; i < kv->n_pool; i++) {
        kv->pool[i].base = at;
        at += (kv->n_blocks * block_bytes[i] + 4095) & ~(uint64_t)4095;
    }
    return LL_OK;
}

ll_code rt_kv_create(rt_kv *kv, const rt_kv_params *p, ll_error *err)
{
    uint32_t usable = p->usable;
    *kv = (rt_kv){.block = p->block,
                  .n_blocks = usable + 1,
                  .n_pool = p->n_pool,
                  .device = p->device,
                  .queue = p->queue};
    if (!usable || usable >= INT32_MAX)
        return ll_fail(err, LL_USAGE, "KV cache: %u blocks: out of range", usable);
    kv->ref = calloc(kv->n_blocks, sizeof *kv->ref);
    kv->leaving = calloc(kv->n_blocks, sizeof *kv->leaving);
    kv->free_list = malloc(usable * sizeof *kv->free_list);
    kv->pool = calloc(kv->n_pool ? kv->n_pool : 1, sizeof *kv->pool);
    ll_code rc =
        kv->ref && kv->leaving && kv->free_list && kv->pool
            ? place_pools(kv, p->block_bytes, err)
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
    if (kv->device) kv->device->ops->free(kv->device, &kv->memory);
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
            kv->queue->ops->copy(kv->queue, pool->base + (size_t)copy * pool->block_bytes,
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

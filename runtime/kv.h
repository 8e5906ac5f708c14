/* kv.h: the paged KV cache: a fixed number of blocks in every pool, counted by reference.
 *
 * A block id stands for the same block of every pool (layer, keys and values). Block 0 is the spare
 * one: never handed out, always valid; page tables are padded with it, and tokens that only fill up
 * a step write there. A sequence holds a list of block ids; sequences that share a prefix share
 * blocks, and a block with more than one owner is copied before it is written (copy on write).
 * The memory is the device's, and so is the copying. Not thread-safe: the engine's lock covers it. */
#ifndef LLMIR_RUNTIME_KV_H
#define LLMIR_RUNTIME_KV_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "runtime/device.h"

typedef struct rt_kv_pool {
    char *base;
    uint64_t block_bytes;
} rt_kv_pool;

typedef struct rt_kv {
    uint32_t block;    /* tokens per block */
    uint32_t n_blocks; /* with the spare one */
    uint32_t n_free;
    uint32_t *ref;
    uint32_t *leaving;  /* per block: sequences counted as about to copy it */
    int32_t *free_list; /* a stack: [0, n_free) */
    uint32_t n_pool;
    rt_kv_pool *pool;
    rt_device *device;
    rt_queue *queue; /* orders copies before the next run */
    rt_memory memory;
} rt_kv;

/* The blocks of one sequence. */
typedef struct rt_kv_seq {
    int32_t *block; /* room for `cap` ids */
    uint32_t n, cap;
} rt_kv_seq;

typedef struct rt_kv_params {
    rt_device *device;
    rt_queue *queue;
    uint32_t block, usable; /* tokens per block; blocks besides the spare one */
    uint32_t n_pool;
    const uint64_t *block_bytes; /* of each pool */
} rt_kv_params;
ll_code rt_kv_create(rt_kv *kv, const rt_kv_params *p, ll_error *err);
void rt_kv_destroy(rt_kv *kv); /* a zeroed one is fine */

/* Making tokens [len, len + n) of several sequences writable, all or nothing, in two passes: count
 * each (the sum is what they take together: new blocks, and copies of blocks that stay shared),
 * uncount each; then, when n_free allows, grow each in the same order. */
uint32_t rt_kv_count(rt_kv *kv, const rt_kv_seq *s, uint64_t len, uint64_t n);
void rt_kv_grow(rt_kv *kv, rt_kv_seq *s, uint64_t len, uint64_t n);
void rt_kv_uncount(rt_kv *kv, const rt_kv_seq *s, uint64_t len);
/* Gives back the blocks behind the first `len` tokens. */
void rt_kv_truncate(rt_kv *kv, rt_kv_seq *s, uint64_t len);
/* `to` (empty) shares all blocks of `from`. */
void rt_kv_share(rt_kv *kv, const rt_kv_seq *from, rt_kv_seq *to);

#endif

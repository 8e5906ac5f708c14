/* blob.h: the tables of a module, validated once and read in place.
 *
 * rt_blob_parse checks everything that later code relies on: section bounds, every string, every
 * index, every range, PTX texts and launch rules, plan groups, and that the programs of each
 * target and KV layout cover T without gap or overlap. After it returned LL_OK the accessors below need no checks of their own. It never
 * executes anything and reads only the bytes given. */
#ifndef LLMIR_RUNTIME_BLOB_H
#define LLMIR_RUNTIME_BLOB_H

#include <stddef.h>
#include <stdint.h>

#include <llmir/module_abi.h>

#include "base/status.h"

typedef struct rt_table {
    const unsigned char *p;
    uint32_t n, record;
    uint64_t bytes;
} rt_table;

typedef struct rt_blob {
    const unsigned char *bytes; /* 8-byte aligned; owned by the caller */
    size_t size;
    rt_table table[LLMIR_SEC_END_];
} rt_blob;

/* `weights_size` bounds the weight records; `file` starts every message. */
ll_code rt_blob_parse(rt_blob *b, const void *bytes, size_t size, uint64_t weights_size,
                      const char *file, ll_error *err);

static inline uint32_t rt_blob_n(const rt_blob *b, enum llmir_section_kind kind)
{
    return b->table[kind].n;
}
static inline const char *rt_blob_str(const rt_blob *b, llmir_str s)
{
    return (const char *)b->table[LLMIR_SEC_STRINGS].p + s;
}
#define RT_REC(name, type, kind)                                                                   \
    static inline const type *rt_blob_##name(const rt_blob *b, uint32_t i)                         \
    {                                                                                              \
        return (const type *)(const void *)(b->table[kind].p + (size_t)i * b->table[kind].record); \
    }
RT_REC(dim, llmir_dim_rec, LLMIR_SEC_DIM)
RT_REC(term, llmir_term, LLMIR_SEC_TERM)
RT_REC(target, llmir_target_rec, LLMIR_SEC_TARGET)
RT_REC(launch, llmir_launch_rec, LLMIR_SEC_LAUNCH)
RT_REC(kernel, llmir_kernel_rec, LLMIR_SEC_KERNEL)
RT_REC(site, llmir_site_rec, LLMIR_SEC_SITE)
RT_REC(variant, llmir_variant_rec, LLMIR_SEC_VARIANT)
RT_REC(kv, llmir_kv_rec, LLMIR_SEC_KV)
RT_REC(pool, llmir_pool_rec, LLMIR_SEC_POOL)
RT_REC(plan, llmir_plan_rec, LLMIR_SEC_PLAN)
RT_REC(weight, llmir_weight_rec, LLMIR_SEC_WEIGHT)
RT_REC(program, llmir_program_rec, LLMIR_SEC_PROGRAM)
RT_REC(step, llmir_step_rec, LLMIR_SEC_STEP)
RT_REC(binding, llmir_binding_rec, LLMIR_SEC_BINDING)
RT_REC(fact, llmir_pair_rec, LLMIR_SEC_PROVENANCE)
#undef RT_REC
static inline const char *rt_blob_ptx(const rt_blob *b, const llmir_launch_rec *l)
{
    return (const char *)b->table[LLMIR_SEC_PTX].p + l->ptx;
}
static inline const llmir_model_rec *rt_blob_model(const rt_blob *b)
{
    return (const llmir_model_rec *)(const void *)b->table[LLMIR_SEC_MODEL].p;
}

/* Kernels of a kind of device. */
uint32_t rt_blob_n_kernel_on(const rt_blob *b, enum llmir_on kind);

/* The value of a linear form for the given dims; LL_BAD_INPUT when it is negative or above 2^62. */
ll_code rt_linear(const rt_blob *b, const llmir_linear *l, const int64_t *dim, const char *what,
                  uint64_t *out, ll_error *err);
/* Blocks of a grid's extent for the given dims. */
ll_code rt_extent(const rt_blob *b, const llmir_extent *x, const int64_t *dim, const char *what,
                  uint64_t *out, ll_error *err);

#endif

/* ckd.h: checked arithmetic for every number that comes from a file. Each returns true when the exact
 * result fits *out; on false *out is unspecified and must not be used. */
#ifndef LLMIR_BASE_CKD_H
#define LLMIR_BASE_CKD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool ll_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool ll_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool ll_add_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool ll_mul_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool ll_add_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool ll_sub_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_sub_overflow(a, b, out); }
static inline bool ll_mul_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }

/* Smallest multiple of `align` (a power of two) that is >= v. */
static inline bool ll_align_u64(uint64_t v, uint64_t align, uint64_t *out)
{
    if (!ll_add_u64(v, align - 1, out)) return false;
    *out &= ~(align - 1);
    return true;
}

/* Division and remainder that round toward -inf (b != 0): the integer `/` and `%` of expressions. */
static inline int64_t ll_floordiv(int64_t a, int64_t b)
{
    if (b == -1) return (int64_t)(0 - (uint64_t)a);
    int64_t q = a / b;
    return q - (a % b != 0 && (a % b < 0) != (b < 0));
}
static inline int64_t ll_floormod(int64_t a, int64_t b)
{
    if (b == -1) return 0;
    int64_t r = a % b;
    return r + (r != 0 && (r < 0) != (b < 0) ? b : 0);
}

#endif

/* dtype.h: element types. Sub-byte codes (u1..u7) exist in memory as bit fields; a loaded value
 * of any integer type is its exact integer. `s64` is also the type of axes, dims and index
 * arithmetic. */
#ifndef LLMIR_TE_DTYPE_H
#define LLMIR_TE_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

/* X(NAME, name, bits, kind: b bool, u unsigned, s signed, f float) */
#define LL_DTYPES(X)                                                                               \
    X(BOOL, bool, 1, 'b') X(U1, u1, 1, 'u') X(U2, u2, 2, 'u') X(U3, u3, 3, 'u') X(U4, u4, 4, 'u')  \
    X(U5, u5, 5, 'u') X(U6, u6, 6, 'u') X(U7, u7, 7, 'u') X(U8, u8, 8, 'u') X(S8, s8, 8, 's')      \
    X(U16, u16, 16, 'u') X(S16, s16, 16, 's') X(U32, u32, 32, 'u') X(S32, s32, 32, 's')            \
    X(U64, u64, 64, 'u') X(S64, s64, 64, 's') X(E4M3, e4m3, 8, 'f') X(E5M2, e5m2, 8, 'f')          \
    X(F16, f16, 16, 'f') X(BF16, bf16, 16, 'f') X(F32, f32, 32, 'f') X(F64, f64, 64, 'f')

typedef enum ll_dtype {
#define X(NAME, name, bits, kind) LL_##NAME,
    LL_DTYPES(X)
#undef X
        LL_N_DTYPES
} ll_dtype;

const char *ll_dtype_name(ll_dtype t);
bool ll_dtype_parse(const char *name, ll_dtype *out); /* exact name */
int ll_dtype_bits(ll_dtype t);
bool ll_dtype_is_float(ll_dtype t);
bool ll_dtype_is_int(ll_dtype t); /* any integer, not bool */
bool ll_dtype_is_signed(ll_dtype t);
/* Least and greatest value of an integer type or bool; u64 is clamped to INT64_MAX. */
void ll_dtype_int_range(ll_dtype t, int64_t *lo, int64_t *hi);

#endif

/* num_int.c: the byte-wise SIMD instructions of num_int.h that are too long to inline. */
#include "ptxsim/num_int.h"

static int64_t lane_of(uint32_t v, unsigned bits, unsigned i, bool is_signed)
{
    uint32_t x = v >> (bits * i) & ((1u << bits) - 1);
    return is_signed && x >> (bits - 1) ? (int64_t)x - ((int64_t)1 << bits) : (int64_t)x;
}

static int64_t simd_lane(ptx_simd_op op, int64_t x, int64_t y)
{
    switch (op) {
    case PTX_SIMD_ADD: return x + y;
    case PTX_SIMD_SUB: return x - y;
    case PTX_SIMD_AVRG: return (x + y + (x + y >= 0)) >> 1; /* rounds away from zero at one half */
    case PTX_SIMD_ABSDIFF: return x > y ? x - y : y - x;
    case PTX_SIMD_MIN: return x < y ? x : y;
    default: return x > y ? x : y;
    }
}

uint32_t ptx_simd(ptx_simd_op op, unsigned bytes, uint32_t a, uint32_t b, uint32_t c, bool a_signed,
                  bool b_signed, bool d_signed, bool sat, bool add)
{
    unsigned bits = 8 * bytes, n = 4 / bytes;
    int64_t lo = d_signed ? -((int64_t)1 << (bits - 1)) : 0,
            hi = ((int64_t)1 << (d_signed ? bits - 1 : bits)) - 1;
    uint32_t d = 0, sum = c;
    for (unsigned i = 0; i < n; i++) {
        int64_t v = simd_lane(op, lane_of(a, bits, i, a_signed), lane_of(b, bits, i, b_signed));
        if (sat) v = v < lo ? lo : v > hi ? hi : v;
        d |= ((uint32_t)v & ((1u << bits) - 1)) << (bits * i);
        sum += (uint32_t)v;
    }
    return add ? sum : d;
}

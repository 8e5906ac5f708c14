/* atom.c: what atomic operations do to one word, and doing it while other CPU threads may do the
 * same. */
#include "ptxsim/mem.h"
#include "ptxsim/num.h"

#include <string.h>

static uint64_t add_float(ptx_type t, uint64_t a, uint64_t b)
{
    if (t == PTX_F32)
        return ptx_f32_bits(ptx_add_f32(ptx_f32((uint32_t)a), ptx_f32((uint32_t)b), PTX_RN));
    if (t == PTX_F64) return ptx_f64_bits(ptx_f64(a) + ptx_f64(b));
    return ptx_half_one(PTX_H_ADD, t, (ptx_half_opts){ 0 }, (uint32_t)a, (uint32_t)b, 0);
}

static uint64_t minmax(ptx_type t, bool max, uint64_t a, uint64_t b)
{
    if (t == PTX_F16 || t == PTX_F16X2 || t == PTX_BF16 || t == PTX_BF16X2)
        return ptx_half_one(max ? PTX_H_MAX : PTX_H_MIN, t, (ptx_half_opts){ 0 }, (uint32_t)a,
                            (uint32_t)b, 0);
    int64_t x = (int64_t)a, y = (int64_t)b;
    if (t == PTX_S32) x = (int32_t)a, y = (int32_t)b;
    bool less = ptx_is_signed(t) ? x < y : a < b;
    return less != max ? a : b;
}

uint64_t ptx_atom_apply(ptx_atom_op op, ptx_type t, uint64_t old, uint64_t b, uint64_t c)
{
    switch (op) {
    case PTX_AT_ADD: return ptx_is_float(t) ? add_float(t, old, b) : old + b;
    case PTX_AT_MIN: return minmax(t, false, old, b);
    case PTX_AT_MAX: return minmax(t, true, old, b);
    case PTX_AT_AND: return old & b;
    case PTX_AT_OR: return old | b;
    case PTX_AT_XOR: return old ^ b;
    case PTX_AT_EXCH: return b;
    case PTX_AT_CAS: return old == b ? c : old;
    case PTX_AT_INC: return (uint32_t)old >= (uint32_t)b ? 0 : old + 1;
    default: return old == 0 || (uint32_t)old > (uint32_t)b ? b : old - 1;
    }
}

#define EXCHANGE(T, expr)                                                                          \
    do {                                                                                           \
        T old = __atomic_load_n((T *)p, __ATOMIC_RELAXED);                                         \
        while (!__atomic_compare_exchange_n((T *)p, &old, (T)(expr), true, __ATOMIC_SEQ_CST,       \
                                            __ATOMIC_RELAXED)) {}                                  \
        return old;                                                                                \
    } while (0)

uint64_t ptx_atom_at(void *p, unsigned bits, ptx_atom_op op, ptx_type t, uint64_t b, uint64_t c)
{
    if (bits == 64) EXCHANGE(uint64_t, ptx_atom_apply(op, t, old, b, c));
    if (bits == 32) EXCHANGE(uint32_t, ptx_atom_apply(op, t, old, b, c));
    EXCHANGE(uint16_t, ptx_atom_apply(op, t, old, (uint16_t)b, (uint16_t)c));
}

uint64_t ptx_atom_combine(void *p, unsigned bits, ptx_combine_fn *fn, const void *user, uint64_t v)
{
    if (bits == 64) EXCHANGE(uint64_t, fn(user, old, v));
    if (bits == 32) EXCHANGE(uint32_t, fn(user, old, v));
    EXCHANGE(uint16_t, fn(user, old, v));
}

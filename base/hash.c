/* hash.c: see hash.h. */
#include "base/hash.h"

#include <stdio.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

ll_hash ll_hash_bytes(const void *p, size_t n)
{
    XXH128_hash_t h = XXH3_128bits(p, n);
    return (ll_hash){h.low64, h.high64};
}

ll_hash ll_hash_combine(ll_hash a, ll_hash b)
{
    ll_hash both[2] = {a, b};
    return ll_hash_bytes(both, sizeof both);
}

void ll_hash_hex(ll_hash h, char out[LL_HASH_HEX])
{
    snprintf(out, LL_HASH_HEX, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
}

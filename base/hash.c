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

ll_hash ll_hash_pieces(const void *p, size_t n, size_t piece)
{
    ll_hash h = {0, 0};
    for (size_t at = 0; at < n; at += piece) {
        size_t m = n - at < piece ? n - at : piece;
        h = ll_hash_combine(h, ll_hash_bytes((const char *)p + at, m));
    }
    return h;
}

void ll_hash_hex(ll_hash h, char out[LL_HASH_HEX])
{
    snprintf(out, LL_HASH_HEX, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
}

/* dtype.c: the table of element types; see dtype.h. */
#include "te/dtype.h"

#include <string.h>

static const struct {
    const char *name;
    int bits;
    char kind;
} table[] = {
#define X(NAME, name, bits, kind) [LL_##NAME] = {#name, bits, kind},
    LL_DTYPES(X)
#undef X
};

const char *ll_dtype_name(ll_dtype t) { return (unsigned)t < LL_N_DTYPES ? table[t].name : "?"; }

bool ll_dtype_parse(const char *name, ll_dtype *out)
{
    for (int i = 0; i < LL_N_DTYPES; i++)
        if (strcmp(name, table[i].name) == 0) {
            *out = (ll_dtype)i;
            return true;
        }
    return false;
}

int ll_dtype_bits(ll_dtype t) { return table[t].bits; }
bool ll_dtype_is_float(ll_dtype t) { return table[t].kind == 'f'; }
bool ll_dtype_is_int(ll_dtype t) { return table[t].kind == 'u' || table[t].kind == 's'; }
bool ll_dtype_is_signed(ll_dtype t) { return table[t].kind == 's' || table[t].kind == 'f'; }

void ll_dtype_int_range(ll_dtype t, int64_t *lo, int64_t *hi)
{
    int bits = table[t].bits;
    bool s = table[t].kind == 's';
    *lo = !s ? 0 : bits == 64 ? INT64_MIN : -((int64_t)1 << (bits - 1));
    *hi = bits == 64 ? INT64_MAX : ((int64_t)1 << (s ? bits - 1 : bits)) - 1;
}

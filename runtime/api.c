/* api.c: the boundary: error records, versioned structs, names. */
#include <string.h>

#include "runtime/rt.h"

_Static_assert(sizeof(llmir_error) == sizeof(ll_error) &&
                   sizeof(((llmir_error *)0)->msg) == LL_MSG_MAX,
               "llmir_error is the public name of ll_error");
_Static_assert((int)LLMIR_KV_FULL == (int)LL_KV_FULL && (int)LLMIR_BUSY == (int)LL_BUSY &&
                   (int)LLMIR_CANCELLED == (int)LL_CANCELLED &&
                   (int)LLMIR_NO_SPACE == (int)LL_NO_SPACE &&
                   (int)LLMIR_NO_DEVICE == (int)LL_NO_DEVICE &&
                   (int)LLMIR_BAD_INPUT == (int)LL_BAD_INPUT &&
                   (int)LLMIR_UNSUPPORTED == (int)LL_UNSUPPORTED &&
                   (int)LLMIR_USAGE == (int)LL_USAGE,
               "llmir_status and ll_code agree");

ll_error *rt_err(llmir_error *err)
{
    ll_error *e = (ll_error *)(void *)err;
    if (e) {
        e->code = LL_OK;
        e->msg[0] = 0;
    }
    return e;
}

ll_code rt_known(const void *src, size_t known, size_t size, const char *what, ll_error *err)
{
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)src)[i])
            return ll_fail(err, LL_UNSUPPORTED,
                           "%s: byte %zu is set, this library knows %zu bytes: it is older than "
                           "the header you compiled with",
                           what, i, known);
    return LL_OK;
}

ll_code rt_params(void *dst, size_t known, size_t least, const void *src, const char *what,
                  ll_error *err)
{
    size_t size;
    memset(dst, 0, known);
    memcpy(dst, &known, sizeof known);
    if (!src) return LL_OK;
    memcpy(&size, src, sizeof size);
    if (size < least || size > 1 << 16)
        return ll_fail(err, LL_USAGE,
                       "%s.size is %zu, this library's struct has %zu: set it to sizeof", what,
                       size, known);
    LL_TRY(rt_known(src, known, size, what, err));
    memcpy(dst, src, size < known ? size : known);
    memcpy(dst, &known, sizeof known);
    return LL_OK;
}

void rt_results(void *dst, const void *src, size_t known)
{
    size_t size;
    memcpy(&size, dst, sizeof size);
    if (size > known) size = known;
    memcpy((char *)dst + sizeof size, (const char *)src + sizeof size, size - sizeof size);
}

const char *llmir_version(void) { return LLMIR_VERSION; }
uint32_t llmir_api_version(void) { return LLMIR_API_VERSION; }

const char *llmir_status_name(int status)
{
    switch (status) {
    case LLMIR_OK: return "ok";
    case LLMIR_FAILED: return "failed";
    case LLMIR_USAGE: return "wrong use";
    case LLMIR_UNSUPPORTED: return "unsupported";
    case LLMIR_BAD_INPUT: return "bad input";
    case LLMIR_NO_DEVICE: return "no device";
    case LLMIR_NO_SPACE: return "out of memory or disk";
    case LLMIR_BUSY: return "busy";
    case LLMIR_CANCELLED: return "cancelled";
    case LLMIR_KV_FULL: return "KV cache full";
    default: return "unknown status";
    }
}

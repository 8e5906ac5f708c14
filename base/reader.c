/* reader.c: see reader.h. */
#include "base/reader.h"

#include <stdio.h>
#include <string.h>

void ll_rd_init(ll_rd *r, const void *p, size_t n, const char *file, ll_error *err)
{
    *r = (ll_rd){.p = p, .n = n, .file = file, .err = err, .ok = true};
}

const void *ll_rd_bytes(ll_rd *r, uint64_t len, const char *field)
{
    if (!r->ok) return NULL;
    if (len > ll_rd_left(r)) {
        ll_rd_fail(r, LL_BAD_INPUT, "%s: wanted %llu bytes at offset %zu, the file has %zu left", field,
                   (unsigned long long)len, r->pos, ll_rd_left(r));
        return NULL;
    }
    const void *p = r->p + r->pos;
    r->pos += (size_t)len;
    return p;
}

#define READ(name, type)                                                                           \
    type ll_rd_##name(ll_rd *r, const char *field)                                                 \
    {                                                                                              \
        type v = 0;                                                                                \
        const void *p = ll_rd_bytes(r, sizeof v, field);                                           \
        if (p) memcpy(&v, p, sizeof v);                                                            \
        return v;                                                                                  \
    }
READ(u8, uint8_t)
READ(u16, uint16_t)
READ(u32, uint32_t)
READ(u64, uint64_t)
READ(f32, float)
READ(f64, double)
#undef READ

bool ll_rd_seek(ll_rd *r, uint64_t pos, const char *field)
{
    if (!r->ok) return false;
    if (pos > r->n) {
        ll_rd_fail(r, LL_BAD_INPUT, "%s: offset %llu is past the end (%zu bytes)", field,
                   (unsigned long long)pos, r->n);
        return false;
    }
    r->pos = (size_t)pos;
    return true;
}

ll_code ll_rd_fail(ll_rd *r, ll_code code, const char *fmt, ...)
{
    if (!r->ok) return r->err && r->err->code ? r->err->code : code;
    r->ok = false;
    char msg[LL_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return ll_fail(r->err, code, "%s: %s", r->file, msg);
}

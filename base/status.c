/* status.c: see status.h. */
#include "base/status.h"

#include <stdio.h>
#include <string.h>

ll_code ll_vfail(ll_error *e, ll_code code, const char *fmt, va_list ap)
{
    if (e && e->code == LL_OK) {
        e->code = code;
        vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    }
    return code;
}

ll_code ll_fail(ll_error *e, ll_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    ll_vfail(e, code, fmt, ap);
    va_end(ap);
    return code;
}

void ll_error_prefix(ll_error *e, const char *fmt, ...)
{
    if (!e || e->code == LL_OK) return;
    char old[LL_MSG_MAX];
    memcpy(old, e->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && n < LL_MSG_MAX) snprintf(e->msg + n, sizeof e->msg - (size_t)n, "%s", old);
}

const char *ll_code_name(ll_code code)
{
    static const char *const names[] = {
        "ok",        "failed",  "wrong use",      "unsupported", "bad input", "no device",
        "no space",  "not legal", "busy",         "cancelled",   "kv full",
    };
    return (size_t)code < sizeof names / sizeof *names ? names[code] : "unknown";
}

/* status.h: result codes and the one error record of the whole project.
 *
 * Every fallible function returns an `ll_code`; LL_OK is 0. The codes below LL_NOT_LEGAL are also the
 * exit codes of the tools. The sentence that goes with a code is written into an `ll_error` that the
 * caller owns (it may be NULL), so reporting works with no memory left. The first error wins: a later
 * failure on the same record does not overwrite the cause. */
#ifndef LLMIR_BASE_STATUS_H
#define LLMIR_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum ll_code {
    LL_OK = 0,
    LL_FAILED = 1,      /* an internal step failed (a child died, a check did not hold)   */
    LL_USAGE = 2,       /* wrong call or command line                                     */
    LL_UNSUPPORTED = 3, /* well-formed, but an architecture, type or feature we lack      */
    LL_BAD_INPUT = 4,   /* a file or text that is not what it claims to be                */
    LL_NO_DEVICE = 5,   /* no such device, or this device cannot run it                   */
    LL_NO_SPACE = 6,    /* out of memory or disk                                          */
    LL_NOT_LEGAL = 7,   /* a schedule step refused; the tree is untouched                 */
    LL_BUSY = 8,        /* the object is in use by another thread                         */
    LL_CANCELLED = 9,   /* a callback asked to stop                                       */
    LL_KV_FULL = 10,    /* no free KV block; state unchanged                              */
} ll_code;

enum { LL_MSG_MAX = 1024 };

typedef struct ll_error {
    ll_code code;
    char msg[LL_MSG_MAX];
} ll_error;

/* Records the first failure (code, sentence) in `e` (may be NULL) and returns `code`. */
ll_code ll_fail(ll_error *e, ll_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
ll_code ll_vfail(ll_error *e, ll_code code, const char *fmt, va_list ap);
/* Prefixes the message already in `e` ("FILE: " ...); no effect when e is NULL or LL_OK. */
void ll_error_prefix(ll_error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *ll_code_name(ll_code code);

#define LL_TRY(expr)                                                                               \
    do {                                                                                           \
        ll_code ll_try_code_ = (expr);                                                             \
        if (ll_try_code_ != LL_OK) return ll_try_code_;                                            \
    } while (0)

#endif

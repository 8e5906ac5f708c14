/* str.h: a growing byte string, always NUL-terminated, on malloc. A failed growth sets `oom` and later
 * appends do nothing, so a writer checks once, at the end. A zeroed ll_str is empty and valid. */
#ifndef LLMIR_BASE_STR_H
#define LLMIR_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct ll_str {
    char *s; /* NULL while empty: use ll_str_cstr */
    size_t n, cap;
    bool oom;
} ll_str;

void ll_str_finish(ll_str *b);
void ll_str_clear(ll_str *b); /* length 0, memory kept */
bool ll_str_reserve(ll_str *b, size_t extra);
void ll_str_add(ll_str *b, const char *s);
void ll_str_addn(ll_str *b, const void *s, size_t n);
void ll_str_addc(ll_str *b, char c);
void ll_str_addf(ll_str *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ll_str_vaddf(ll_str *b, const char *fmt, va_list ap);
void ll_str_indent(ll_str *b, int levels); /* two spaces a level */
static inline const char *ll_str_cstr(const ll_str *b) { return b->s ? b->s : ""; }

#endif

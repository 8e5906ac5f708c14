/* str.c: see str.h. */
#include "base/str.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ll_str_finish(ll_str *b)
{
    free(b->s);
    *b = (ll_str){0};
}

void ll_str_clear(ll_str *b)
{
    b->n = 0;
    if (b->s) b->s[0] = 0;
}

bool ll_str_reserve(ll_str *b, size_t extra)
{
    if (b->oom) return false;
    if (extra > SIZE_MAX / 2 || b->n > SIZE_MAX / 2 - extra - 1) return b->oom = true, false;
    size_t need = b->n + extra + 1;
    if (need <= b->cap) return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need) cap *= 2;
    char *s = realloc(b->s, cap);
    if (!s) return b->oom = true, false;
    if (!b->s) s[0] = 0;
    b->s = s;
    b->cap = cap;
    return true;
}

void ll_str_addn(ll_str *b, const void *s, size_t n)
{
    if (!ll_str_reserve(b, n)) return;
    if (n) memcpy(b->s + b->n, s, n);
    b->n += n;
    b->s[b->n] = 0;
}

void ll_str_add(ll_str *b, const char *s) { ll_str_addn(b, s, strlen(s)); }
void ll_str_addc(ll_str *b, char c) { ll_str_addn(b, &c, 1); }

void ll_str_vaddf(ll_str *b, const char *fmt, va_list ap)
{
    va_list aq;
    va_copy(aq, ap);
    int n = vsnprintf(NULL, 0, fmt, aq);
    va_end(aq);
    if (n < 0 || !ll_str_reserve(b, (size_t)n)) return;
    vsnprintf(b->s + b->n, (size_t)n + 1, fmt, ap);
    b->n += (size_t)n;
}

void ll_str_addf(ll_str *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    ll_str_vaddf(b, fmt, ap);
    va_end(ap);
}

void ll_str_indent(ll_str *b, int levels)
{
    for (int i = 0; i < levels; i++) ll_str_add(b, "  ");
}

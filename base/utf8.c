/* utf8.c: see utf8.h. */
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

size_t ll_utf8_char(const void *text, size_t n, uint32_t *cp, size_t *broken, bool *cut)
{
    const unsigned char *p = text;
    unsigned c = p[0], lo = 0x80, hi = 0xbf;
    size_t len, i = 1;
    uint32_t v;
    if (cut) *cut = false;
    if (broken) *broken = 1;
    if (c < 0x80) {
        if (cp) *cp = c;
        return 1;
    }
    if (c >= 0xc2 && c <= 0xdf) len = 2, v = c & 0x1f;
    else if (c >= 0xe0 && c <= 0xef) len = 3, v = c & 0x0f;
    else if (c >= 0xf0 && c <= 0xf4) len = 4, v = c & 0x07;
    else return 0;
    /* the second byte excludes long forms, surrogates and what is above U+10FFFF */
    if (c == 0xe0) lo = 0xa0;
    if (c == 0xed) hi = 0x9f;
    if (c == 0xf0) lo = 0x90;
    if (c == 0xf4) hi = 0x8f;
    for (; i < len && i < n && p[i] >= lo && p[i] <= hi; i++) {
        v = v << 6 | (p[i] & 0x3f);
        lo = 0x80, hi = 0xbf;
    }
    if (i == len) {
        if (cp) *cp = v;
        return len;
    }
    if (broken) *broken = i;
    if (cut) *cut = i == n;
    return 0;
}

size_t ll_utf8_valid(const void *text, size_t n)
{
    const unsigned char *p = text;
    size_t i = 0;
    while (i < n) {
        uint64_t w;
        if (i + 8 <= n && (memcpy(&w, p + i, 8), (w & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        size_t len = ll_utf8_char(p + i, n - i, NULL, NULL, NULL);
        if (!len) break;
        i += len;
    }
    return i;
}

size_t ll_utf8_put(uint32_t cp, char out[4])
{
    if (cp < 0x80) return out[0] = (char)cp, 1;
    if (cp < 0x800) return out[0] = (char)(0xc0 | cp >> 6), out[1] = (char)(0x80 | (cp & 0x3f)), 2;
    size_t len = cp < 0x10000 ? 3 : 4;
    for (size_t i = len; --i > 0; cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3f));
    out[0] = (char)((len == 3 ? 0xe0 : 0xf0) | cp);
    return len;
}

const char *ll_printable(const void *text, size_t n, char *out, size_t cap)
{
    const unsigned char *p = text;
    size_t o = 0, i = 0, mark = 0; /* mark: the last place where "..." still fits */
    if (!cap) return "";
    while (i < n) {
        uint32_t cp = 0;
        size_t len = ll_utf8_char(p + i, n - i, &cp, NULL, NULL);
        bool plain = len && cp >= 0x20 && cp != 0x7f && !(cp >= 0x80 && cp < 0xa0);
        size_t need = plain ? len : 4;
        if (o + 3 < cap) mark = o;
        if (o + need >= cap) {
            o = mark;
            for (int d = 0; d < 3 && o + 1 < cap; d++) out[o++] = '.';
            break;
        }
        if (plain) memcpy(out + o, p + i, len);
        else snprintf(out + o, 5, "\\x%02x", p[i]);
        o += need;
        i += plain ? len : 1;
    }
    out[o] = 0;
    return out;
}

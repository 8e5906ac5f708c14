/* utf8.h: UTF-8 as Unicode defines it (shortest form, no surrogates, at most U+10FFFF). */
#ifndef LLMIR_BASE_UTF8_H
#define LLMIR_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length (1..4) of the character at p[0 .. n), n > 0; 0 when it is not one. Then *broken
 * (may be NULL) is the length of the longest start of a character that is there (at least 1),
 * and *cut tells that the text ended where the character could still have gone on. */
size_t ll_utf8_char(const void *p, size_t n, uint32_t *cp, size_t *broken, bool *cut);
/* Bytes of the longest valid start of p[0 .. n): n when all of it is valid. */
size_t ll_utf8_valid(const void *p, size_t n);
/* Writes a character (cp <= 0x10ffff); returns its length. */
size_t ll_utf8_put(uint32_t cp, char out[4]);
/* A printable, NUL-terminated excerpt for messages: control bytes and broken UTF-8 as \xNN, at most
 * cap - 1 bytes, "..." where it was cut. Returns out. */
const char *ll_printable(const void *p, size_t n, char *out, size_t cap);

#endif

/* reader.h: the one bounded reader for bytes that came from a file. It never reads past [p, p + n); the
 * first failed read records "FILE: FIELD: wanted ..., N bytes left at offset X" in `err`, and every later read
 * returns zero, so a parser may read a whole record and check `ok` once. All integers little-endian. */
#ifndef LLMIR_BASE_READER_H
#define LLMIR_BASE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct ll_rd {
    const unsigned char *p;
    size_t n, pos;
    const char *file; /* for messages */
    ll_error *err;
    bool ok;
} ll_rd;

void ll_rd_init(ll_rd *r, const void *p, size_t n, const char *file, ll_error *err);
static inline size_t ll_rd_left(const ll_rd *r) { return r->n - r->pos; }
/* A pointer to `len` bytes inside the buffer, or NULL (recorded). */
const void *ll_rd_bytes(ll_rd *r, uint64_t len, const char *field);
uint8_t ll_rd_u8(ll_rd *r, const char *field);
uint16_t ll_rd_u16(ll_rd *r, const char *field);
uint32_t ll_rd_u32(ll_rd *r, const char *field);
uint64_t ll_rd_u64(ll_rd *r, const char *field);
float ll_rd_f32(ll_rd *r, const char *field);
double ll_rd_f64(ll_rd *r, const char *field);
bool ll_rd_seek(ll_rd *r, uint64_t pos, const char *field);
/* Records a failure of the parser's own ("FILE: " is put in front) and makes later reads fail. */
ll_code ll_rd_fail(ll_rd *r, ll_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif

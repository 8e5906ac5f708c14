/* gguf.h: reader for GGUF v2 and v3 files.
 *
 *     +-------------------------------------+--------+--------------+---------+------------+
 *     | "GGUF" version n_tensors n_kv        | kv ... | tensor infos | padding | data       |
 *     +-------------------------------------+--------+--------------+---------+------------+
 *
 * Everything before the data is read by bounded `pread` into one buffer that never grows past
 * the file's size; tensor data only by mdl_gguf_read (also pread: a file that shrinks is an
 * error, not a signal). Nothing is mapped. After a successful open every offset, size, type and
 * name has been checked: alignment a power of two, names and keys unique, rows whole blocks,
 * tensors inside the file, aligned, not overlapping. It refuses: other versions, big-endian
 * files, types without a row (LL_UNSUPPORTED, with the list of those that have one), anything
 * beyond model/limits.h.
 *
 * An open file is constant: threads may read tensors at once. */
#ifndef LLMIR_MODEL_GGUF_H
#define LLMIR_MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/map.h"
#include "base/status.h"
#include "model/limits.h"
#include "model/types.h"

typedef enum mdl_kv_type {
    MDL_KV_U8, MDL_KV_I8, MDL_KV_U16, MDL_KV_I16, MDL_KV_U32, MDL_KV_I32, MDL_KV_F32, MDL_KV_BOOL,
    MDL_KV_STRING, MDL_KV_ARRAY, MDL_KV_U64, MDL_KV_I64, MDL_KV_F64,
    MDL_KV_TYPES
} mdl_kv_type;

typedef struct mdl_kv {
    size_t key, key_len; /* where in mdl_gguf.head */
    mdl_kv_type type, item; /* item: of an array */
    uint64_t n;          /* array: items; string: bytes; otherwise 1 */
    size_t at, size;     /* the value's bytes in mdl_gguf.head (strings: without the length) */
} mdl_kv;

typedef struct mdl_gtensor {
    const char *name; /* NUL-terminated */
    const mdl_type *type;
    uint32_t n_dims;
    uint64_t dim[MDL_MAX_DIMS]; /* as in the file: dim[0] is the contiguous one; 1 beyond n_dims */
    uint64_t n_rows, row_bytes, size, at; /* at: absolute position in the file */
} mdl_gtensor;

typedef struct mdl_gguf {
    char *file; /* for messages */
    int fd;
    uint64_t file_size;
    uint32_t version, alignment;
    unsigned char *head; /* the bytes before the data */
    size_t head_n, head_cap;
    mdl_kv *kv;
    size_t n_kv;
    mdl_gtensor *tensor; /* in file order of their infos */
    size_t n_tensor;
    char *names;
    ll_map by_key, by_name;
} mdl_gguf;

ll_code mdl_gguf_open(const char *path, mdl_gguf **out, ll_error *err);
/* The same on an open descriptor, which is closed with the file, or at once on failure. */
ll_code mdl_gguf_open_fd(int fd, uint64_t size, const char *name, mdl_gguf **out, ll_error *err);
void mdl_gguf_close(mdl_gguf *g); /* NULL is fine */

/* Bytes [off, off + n) of a tensor's data. */
ll_code mdl_gguf_read(const mdl_gguf *g, const mdl_gtensor *t, uint64_t off, void *buf, size_t n,
                      ll_error *err);
const mdl_gtensor *mdl_gguf_tensor(const mdl_gguf *g, const char *name); /* NULL when absent */

const mdl_kv *mdl_gguf_find(const mdl_gguf *g, const char *key); /* NULL when absent */
/* Typed values. An absent key leaves *out as it is and returns LL_OK when `must` is false.
 * Integers of any width are accepted when the value lies in [lo, hi]; floats when f32 or f64.
 * Everything else is LL_BAD_INPUT naming file, key, what was found and what was wanted. */
ll_code mdl_gguf_int(const mdl_gguf *g, const char *key, int64_t lo, int64_t hi, bool must,
                     int64_t *out, ll_error *err);
ll_code mdl_gguf_float(const mdl_gguf *g, const char *key, bool must, double *out, ll_error *err);
ll_code mdl_gguf_bool(const mdl_gguf *g, const char *key, bool must, bool *out, ll_error *err);
/* Bytes inside the header (no NUL behind them); *out is NULL when absent. */
ll_code mdl_gguf_str(const mdl_gguf *g, const char *key, bool must, const char **out, size_t *n,
                     ll_error *err);

/* An array of strings, walked: zero `pos`, then each call gives the next one; false at the end. */
typedef struct mdl_str_iter {
    const mdl_gguf *g;
    const mdl_kv *kv;
    size_t pos, i;
} mdl_str_iter;
bool mdl_str_next(mdl_str_iter *it, const char **s, size_t *n);
/* Item i of an array of integers (any width) as int64; the caller has checked type and count. */
int64_t mdl_kv_int_at(const mdl_gguf *g, const mdl_kv *kv, uint64_t i);
bool mdl_kv_is_int(mdl_kv_type t);
const char *mdl_kv_type_name(mdl_kv_type t);

#endif

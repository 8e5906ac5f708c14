/* gguf_make.h: GGUF files written byte by byte, right ones and wrong ones, for the reader's
 * tests. */
#ifndef LLMIR_TESTS_GGUF_MAKE_H
#define LLMIR_TESTS_GGUF_MAKE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/str.h"
#include "model/gguf.h"

static inline void put_u8(ll_str *s, uint8_t v) { ll_str_addn(s, &v, sizeof v); }
static inline void put_u32(ll_str *s, uint32_t v) { ll_str_addn(s, &v, sizeof v); }
static inline void put_u64(ll_str *s, uint64_t v) { ll_str_addn(s, &v, sizeof v); }
static inline void put_f32(ll_str *s, float v) { ll_str_addn(s, &v, sizeof v); }
static inline void put_strn(ll_str *s, const void *t, size_t n)
{
    put_u64(s, n);
    ll_str_addn(s, t, n);
}
static inline void put_str(ll_str *s, const char *t) { put_strn(s, t, strlen(t)); }
static inline void put_head(ll_str *s, uint32_t version, uint64_t n_tensor, uint64_t n_kv)
{
    ll_str_addn(s, "GGUF", 4);
    put_u32(s, version);
    put_u64(s, n_tensor);
    put_u64(s, n_kv);
}
static inline void put_kv_u32(ll_str *s, const char *key, uint32_t v)
{
    put_str(s, key);
    put_u32(s, MDL_KV_U32);
    put_u32(s, v);
}
static inline void put_kv_str(ll_str *s, const char *key, const char *v)
{
    put_str(s, key);
    put_u32(s, MDL_KV_STRING);
    put_str(s, v);
}
static inline void put_tensor(ll_str *s, const char *name, uint32_t n_dims, const uint64_t *dim,
                              uint32_t type, uint64_t at)
{
    put_str(s, name);
    put_u32(s, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) put_u64(s, dim[i]);
    put_u32(s, type);
    put_u64(s, at);
}
static inline void pad_to(ll_str *s, size_t multiple)
{
    while (s->n % multiple) ll_str_addc(s, 0);
}
static inline int make_file(const void *p, size_t n)
{
    int fd = memfd_create("gguf", MFD_CLOEXEC);
    if (fd < 0 || write(fd, p, n) != (ssize_t)n) abort();
    return fd;
}
static inline ll_code open_bytes(const void *p, size_t n, mdl_gguf **g, ll_error *err)
{
    memset(err, 0, sizeof *err);
    return mdl_gguf_open_fd(make_file(p, n), n, "t.gguf", g, err);
}

#endif

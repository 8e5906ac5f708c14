/* gguf.c: see gguf.h. */
#include "model/gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ckd.h"
#include "base/file.h"
#include "base/reader.h"
#include "base/str.h"
#include "base/utf8.h"

enum { FIRST_READ = 64 << 10, LABEL = 96, DEFAULT_ALIGNMENT = 32 };

static const struct {
    const char *name;
    uint8_t size; /* bytes of a value; 0: has a length of its own */
    bool is_int;
} kv_types[MDL_KV_TYPES] = {
    [MDL_KV_U8] = {"u8", 1, true},          [MDL_KV_I8] = {"i8", 1, true},
    [MDL_KV_U16] = {"u16", 2, true},        [MDL_KV_I16] = {"i16", 2, true},
    [MDL_KV_U32] = {"u32", 4, true},        [MDL_KV_I32] = {"i32", 4, true},
    [MDL_KV_F32] = {"f32", 4, false},       [MDL_KV_BOOL] = {"bool", 1, false},
    [MDL_KV_STRING] = {"string", 0, false}, [MDL_KV_ARRAY] = {"array", 0, false},
    [MDL_KV_U64] = {"u64", 8, true},        [MDL_KV_I64] = {"i64", 8, true},
    [MDL_KV_F64] = {"f64", 8, false},
};

bool mdl_kv_is_int(mdl_kv_type t) { return (unsigned)t < MDL_KV_TYPES && kv_types[t].is_int; }
const char *mdl_kv_type_name(mdl_kv_type t)
{
    return (unsigned)t < MDL_KV_TYPES ? kv_types[t].name : "unknown";
}

/* ---- reading the part before the data ----
 * `r` reads from g->head, which `want` grows by pread just ahead of it. */

typedef struct parse {
    mdl_gguf *g;
    ll_rd r;
    ll_error *err;
    uint64_t n_kv, n_tensor;
    size_t cap_kv, cap_tensor;
} parse;

#define FAIL(p, ...) ll_rd_fail(&(p)->r, LL_BAD_INPUT, __VA_ARGS__)

/* Makes the next n bytes readable, or records that the file does not have them. */
static bool want(parse *p, uint64_t n, const char *field)
{
    mdl_gguf *g = p->g;
    if (!p->r.ok) return false;
    if (n <= ll_rd_left(&p->r)) return true;
    uint64_t left = g->file_size - p->r.pos;
    if (n > left) {
        FAIL(p, "%s: wanted %llu bytes at offset %zu, the file has %llu left", field,
             (unsigned long long)n, p->r.pos, (unsigned long long)left);
        return false;
    }
    uint64_t end = p->r.pos + n, grow = g->head_n ? 2 * (uint64_t)g->head_n : FIRST_READ;
    if (grow > g->file_size) grow = g->file_size;
    if (end < grow) end = grow;
    unsigned char *head = realloc(g->head, (size_t)end);
    if (!head) {
        ll_rd_fail(&p->r, LL_NO_SPACE, "no memory for %llu bytes of metadata",
                   (unsigned long long)end);
        return false;
    }
    g->head = head;
    if (ll_file_pread(g->fd, g->file, head + g->head_n, (size_t)end - g->head_n, g->head_n,
                      p->err)) {
        p->r.ok = false;
        return false;
    }
    g->head_n = (size_t)end;
    p->r.p = head;
    p->r.n = g->head_n;
    return true;
}

static uint32_t get_u32(parse *p, const char *field)
{
    return want(p, 4, field) ? ll_rd_u32(&p->r, field) : 0;
}
static uint64_t get_u64(parse *p, const char *field)
{
    return want(p, 8, field) ? ll_rd_u64(&p->r, field) : 0;
}

/* A length and as many bytes; gives their position (the buffer may move). */
static bool get_string(parse *p, uint64_t max, const char *field, size_t *at, size_t *n)
{
    uint64_t len = get_u64(p, field);
    if (!p->r.ok) return false;
    if (len > max) {
        FAIL(p, "%s: a string of %llu bytes at offset %zu, at most %llu are accepted", field,
             (unsigned long long)len, p->r.pos, (unsigned long long)max);
        return false;
    }
    if (!want(p, len, field)) return false;
    *at = p->r.pos;
    *n = (size_t)len;
    return ll_rd_bytes(&p->r, len, field) != NULL;
}

/* Text that people and C strings meet: UTF-8 without NUL. */
static bool check_text(parse *p, const char *field, size_t at, size_t n)
{
    const unsigned char *s = p->g->head + at;
    size_t ok = ll_utf8_valid(s, n);
    if (ok < n) FAIL(p, "%s: byte 0x%02x at offset %zu is not UTF-8", field, s[ok], at + ok);
    else if (memchr(s, 0, n)) FAIL(p, "%s: a NUL byte inside the string at offset %zu", field, at);
    return p->r.ok;
}

/* The items of an array are skipped, and so checked; `depth` counts arrays around it. */
static bool skip_items(parse *p, const char *field, uint32_t type, uint64_t n, int depth);

static bool array_head(parse *p, const char *field, uint32_t *item, uint64_t *n)
{
    *item = get_u32(p, field);
    *n = get_u64(p, field);
    if (!p->r.ok) return false;
    if (*item >= MDL_KV_TYPES)
        FAIL(p, "%s: array of type number %u, wanted 0..%d", field, *item, MDL_KV_TYPES - 1);
    else if (*n > MDL_MAX_ARRAY)
        FAIL(p, "%s: array of %llu items, at most %d are accepted", field, (unsigned long long)*n,
             MDL_MAX_ARRAY);
    return p->r.ok;
}

static bool skip_items(parse *p, const char *field, uint32_t type, uint64_t n, int depth)
{
    uint64_t bytes;
    if (kv_types[type].size) {
        if (!ll_mul_u64(n, kv_types[type].size, &bytes))
            return FAIL(p, "%s: %llu items overflow", field, (unsigned long long)n), false;
        return want(p, bytes, field) && ll_rd_bytes(&p->r, bytes, field);
    }
    for (uint64_t i = 0; i < n && p->r.ok; i++) {
        size_t at, len;
        uint32_t item;
        uint64_t m;
        if (type == MDL_KV_STRING) get_string(p, MDL_MAX_STRING, field, &at, &len);
        else if (depth >= MDL_MAX_DEPTH)
            FAIL(p, "%s: arrays nested deeper than %d", field, MDL_MAX_DEPTH);
        else if (array_head(p, field, &item, &m)) skip_items(p, field, item, m, depth + 1);
    }
    return p->r.ok;
}

static void *grow(parse *p, void *items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) return items;
    size_t c = *cap ? 2 * *cap : 32;
    void *q = realloc(items, c * size);
    if (!q) return ll_rd_fail(&p->r, LL_NO_SPACE, "no memory for %zu records", c), NULL;
    *cap = c;
    return q;
}

static void read_kv(parse *p, uint64_t i)
{
    mdl_gguf *g = p->g;
    char field[LABEL + 32], text[LABEL];
    mdl_kv kv = {.n = 1};
    snprintf(field, sizeof field, "key %llu", (unsigned long long)i);
    if (!get_string(p, MDL_MAX_KEY, field, &kv.key, &kv.key_len)) return;
    if (!kv.key_len) return (void)FAIL(p, "%s: the name is empty (offset %zu)", field, kv.key);
    if (!check_text(p, field, kv.key, kv.key_len)) return;
    snprintf(field, sizeof field, "key '%s'",
             ll_printable(g->head + kv.key, kv.key_len, text, sizeof text));

    uint32_t type = get_u32(p, field);
    if (!p->r.ok) return;
    if (type >= MDL_KV_TYPES)
        return (void)FAIL(p, "%s: value type number %u, wanted 0..%d", field, type,
                          MDL_KV_TYPES - 1);
    kv.type = (mdl_kv_type)type;
    if (type == MDL_KV_STRING) {
        if (!get_string(p, MDL_MAX_STRING, field, &kv.at, &kv.size) ||
            !check_text(p, field, kv.at, kv.size))
            return;
        kv.n = kv.size;
    } else if (type == MDL_KV_ARRAY) {
        uint32_t item;
        if (!array_head(p, field, &item, &kv.n)) return;
        kv.item = (mdl_kv_type)item;
        kv.at = p->r.pos;
        if (!skip_items(p, field, item, kv.n, 1)) return;
        kv.size = p->r.pos - kv.at;
    } else {
        kv.at = p->r.pos;
        kv.size = kv_types[type].size;
        if (!skip_items(p, field, type, 1, 0)) return;
        if (type == MDL_KV_BOOL && g->head[kv.at] > 1)
            return (void)FAIL(p, "%s: a bool of value %u, wanted 0 or 1", field, g->head[kv.at]);
    }
    if (ll_map_has(&g->by_key, g->head + kv.key, kv.key_len))
        return (void)FAIL(p, "%s: appears twice", field);
    mdl_kv *all = grow(p, g->kv, g->n_kv, &p->cap_kv, sizeof *all);
    if (!all) return;
    g->kv = all;
    /* the map holds index + 1: the array moves while it grows */
    if (!ll_map_set(&g->by_key, g->head + kv.key, kv.key_len, (void *)(uintptr_t)(g->n_kv + 1)))
        return (void)ll_rd_fail(&p->r, LL_NO_SPACE, "no memory for the keys");
    g->kv[g->n_kv++] = kv;
}

/* ---- tensor infos ---- */

static void check_type(parse *p, const char *field, uint32_t id, mdl_gtensor *t)
{
    t->type = mdl_type_info(id);
    if (t->type && t->type->block) return;
    ll_str list = {0};
    mdl_type_list(&list);
    if (t->type)
        ll_rd_fail(&p->r, LL_UNSUPPORTED, "%s: type %s is not supported (supported: %s)", field,
                   t->type->name, ll_str_cstr(&list));
    else
        FAIL(p, "%s: no tensor type has the number %u (supported: %s)", field, id,
             ll_str_cstr(&list));
    ll_str_finish(&list);
}

static void check_size(parse *p, const char *field, mdl_gtensor *t)
{
    t->n_rows = 1;
    for (uint32_t d = 1; d < t->n_dims; d++)
        if (!ll_mul_u64(t->n_rows, t->dim[d], &t->n_rows))
            return (void)FAIL(p, "%s: the product of its dimensions overflows", field);
    if (t->dim[0] % t->type->block)
        return (void)FAIL(p, "%s: rows of %llu elements, type %s wants a multiple of %u", field,
                          (unsigned long long)t->dim[0], t->type->name, t->type->block);
    uint64_t all;
    if (!ll_mul_u64(t->dim[0] / t->type->block, t->type->bytes, &t->row_bytes) ||
        !ll_mul_u64(t->row_bytes, t->n_rows, &t->size) || !ll_mul_u64(t->dim[0], t->n_rows, &all))
        FAIL(p, "%s: the product of its dimensions overflows", field);
}

static void read_tensor(parse *p, uint64_t i)
{
    mdl_gguf *g = p->g;
    char field[LABEL + 32], text[LABEL];
    mdl_gtensor t = {.dim = {1, 1, 1, 1}};
    size_t at, n;
    snprintf(field, sizeof field, "tensor %llu", (unsigned long long)i);
    if (!get_string(p, MDL_MAX_NAME, field, &at, &n)) return;
    if (!n) return (void)FAIL(p, "%s: the name is empty (offset %zu)", field, at);
    if (!check_text(p, field, at, n)) return;
    snprintf(field, sizeof field, "tensor '%s'", ll_printable(g->head + at, n, text, sizeof text));

    t.n_dims = get_u32(p, field);
    if (p->r.ok && (t.n_dims < 1 || t.n_dims > MDL_MAX_DIMS))
        FAIL(p, "%s: %u dimensions, wanted 1..%d", field, t.n_dims, MDL_MAX_DIMS);
    for (uint32_t d = 0; p->r.ok && d < t.n_dims; d++) {
        t.dim[d] = get_u64(p, field);
        if (p->r.ok && (!t.dim[d] || t.dim[d] > INT64_MAX))
            FAIL(p, "%s: dimension %u is %lld, wanted 1 or more", field, d, (long long)t.dim[d]);
    }
    uint32_t id = get_u32(p, field);
    t.at = get_u64(p, field); /* in the data; place_tensors adds where that starts */
    if (p->r.ok) check_type(p, field, id, &t);
    if (p->r.ok) check_size(p, field, &t);
    if (!p->r.ok) return;
    if (ll_map_has(&g->by_name, g->head + at, n)) return (void)FAIL(p, "%s: appears twice", field);
    mdl_gtensor *all = grow(p, g->tensor, g->n_tensor, &p->cap_tensor, sizeof *all);
    if (!all) return;
    g->tensor = all;
    if (!ll_map_set(&g->by_name, g->head + at, n, (void *)(uintptr_t)(g->n_tensor + 1)))
        return (void)ll_rd_fail(&p->r, LL_NO_SPACE, "no memory for the tensor names");
    g->tensor[g->n_tensor++] = t;
}

/* The map's copies of the names are given to the tensors, NUL-terminated. */
static void name_tensors(parse *p)
{
    mdl_gguf *g = p->g;
    size_t total = 0;
    for (size_t i = 0; i < g->n_tensor; i++) total += g->by_name.entry[i].key_len + 1;
    char *s = g->names = malloc(total + 1);
    if (!s) return (void)ll_rd_fail(&p->r, LL_NO_SPACE, "no memory for the tensor names");
    for (size_t i = 0; i < g->n_tensor; i++) { /* nothing is deleted: entries are in file order */
        const ll_map_entry *e = &g->by_name.entry[i];
        memcpy(s, e->key, e->key_len);
        s[e->key_len] = 0;
        g->tensor[i].name = s;
        s += e->key_len + 1;
    }
}

static int by_position(const void *a, const void *b)
{
    const mdl_gtensor *x = *(const mdl_gtensor *const *)a, *y = *(const mdl_gtensor *const *)b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void check_overlap(parse *p)
{
    mdl_gguf *g = p->g;
    const mdl_gtensor **t = malloc((g->n_tensor + 1) * sizeof *t);
    if (!t) return (void)ll_rd_fail(&p->r, LL_NO_SPACE, "no memory for %zu tensors", g->n_tensor);
    for (size_t i = 0; i < g->n_tensor; i++) t[i] = &g->tensor[i];
    qsort(t, g->n_tensor, sizeof *t, by_position);
    for (size_t i = 1; i < g->n_tensor && p->r.ok; i++)
        if (t[i - 1]->at + t[i - 1]->size > t[i]->at)
            FAIL(p, "tensor '%s' (bytes %llu to %llu) overlaps tensor '%s' (from %llu)",
                 t[i - 1]->name, (unsigned long long)t[i - 1]->at,
                 (unsigned long long)(t[i - 1]->at + t[i - 1]->size), t[i]->name,
                 (unsigned long long)t[i]->at);
    free(t);
}

static void place_tensors(parse *p)
{
    mdl_gguf *g = p->g;
    uint64_t base, end;
    if (!ll_align_u64(p->r.pos, g->alignment, &base))
        return (void)FAIL(p, "the data starts past 2^64");
    for (size_t i = 0; i < g->n_tensor; i++) {
        mdl_gtensor *t = &g->tensor[i];
        if (t->at % g->alignment)
            return (void)FAIL(p, "tensor '%s': offset %llu is not a multiple of the alignment %u",
                              t->name, (unsigned long long)t->at, g->alignment);
        if (!ll_add_u64(base, t->at, &t->at) || !ll_add_u64(t->at, t->size, &end) ||
            end > g->file_size)
            return (void)FAIL(p,
                              "tensor '%s': %llu bytes at offset %llu reach past the end (the file "
                              "has %llu bytes)",
                              t->name, (unsigned long long)t->size, (unsigned long long)t->at,
                              (unsigned long long)g->file_size);
    }
    check_overlap(p);
}

static void read_header(parse *p)
{
    mdl_gguf *g = p->g;
    if (!want(p, 4, "magic")) return;
    const void *magic = ll_rd_bytes(&p->r, 4, "magic");
    if (memcmp(magic, "GGUF", 4)) {
        char text[LABEL];
        FAIL(p, "magic: '%s', wanted 'GGUF'", ll_printable(magic, 4, text, sizeof text));
        return;
    }
    g->version = get_u32(p, "version");
    if (p->r.ok && g->version != 2 && g->version != 3) {
        if (g->version == 0x02000000 || g->version == 0x03000000)
            FAIL(p, "version: this is a big-endian file, only little-endian ones are read");
        else FAIL(p, "version: %u, wanted 2 or 3", g->version);
    }
    p->n_tensor = get_u64(p, "tensor count");
    p->n_kv = get_u64(p, "metadata count");
    if (!p->r.ok) return;
    if (p->n_tensor > MDL_MAX_TENSORS)
        FAIL(p, "tensor count: %llu, at most %d are accepted", (unsigned long long)p->n_tensor,
             MDL_MAX_TENSORS);
    else if (p->n_kv > MDL_MAX_KV)
        FAIL(p, "metadata count: %llu, at most %d are accepted", (unsigned long long)p->n_kv,
             MDL_MAX_KV);
}

static void read_alignment(parse *p)
{
    int64_t a = DEFAULT_ALIGNMENT;
    if (mdl_gguf_int(p->g, "general.alignment", 8, MDL_MAX_ALIGNMENT, false, &a, p->err))
        p->r.ok = false;
    else if (a & (a - 1))
        FAIL(p, "key 'general.alignment': %lld, wanted a power of two", (long long)a);
    p->g->alignment = (uint32_t)a;
}

/* ---- opening ---- */

ll_code mdl_gguf_open_fd(int fd, uint64_t size, const char *name, mdl_gguf **out, ll_error *err)
{
    ll_error own = {0};
    if (!err) err = &own;
    *out = NULL;
    mdl_gguf *g = calloc(1, sizeof *g);
    if (!g || !(g->file = strdup(name))) {
        free(g);
        close(fd);
        return ll_fail(err, LL_NO_SPACE, "%s: no memory to open it", name);
    }
    g->fd = fd;
    g->file_size = size;
    parse p = {.g = g, .err = err};
    ll_rd_init(&p.r, NULL, 0, g->file, err);
    read_header(&p);
    for (uint64_t i = 0; p.r.ok && i < p.n_kv; i++) read_kv(&p, i);
    if (p.r.ok) read_alignment(&p);
    for (uint64_t i = 0; p.r.ok && i < p.n_tensor; i++) read_tensor(&p, i);
    if (p.r.ok) name_tensors(&p);
    if (p.r.ok) place_tensors(&p);
    if (!p.r.ok) {
        mdl_gguf_close(g);
        return err->code ? err->code : ll_fail(err, LL_BAD_INPUT, "%s: unreadable", name);
    }
    *out = g;
    return LL_OK;
}

ll_code mdl_gguf_open(const char *path, mdl_gguf **out, ll_error *err)
{
    int fd;
    uint64_t size;
    *out = NULL;
    LL_TRY(ll_file_open(path, &fd, &size, err));
    return mdl_gguf_open_fd(fd, size, path, out, err);
}

void mdl_gguf_close(mdl_gguf *g)
{
    if (!g) return;
    close(g->fd);
    ll_map_finish(&g->by_key);
    ll_map_finish(&g->by_name);
    free(g->head);
    free(g->kv);
    free(g->tensor);
    free(g->names);
    free(g->file);
    free(g);
}

ll_code mdl_gguf_read(const mdl_gguf *g, const mdl_gtensor *t, uint64_t off, void *buf, size_t n,
                      ll_error *err)
{
    if (off > t->size || n > t->size - off)
        return ll_fail(err, LL_USAGE, "%s: tensor '%s' has %llu bytes, %zu were asked for at %llu",
                       g->file, t->name, (unsigned long long)t->size, n, (unsigned long long)off);
    return ll_file_pread(g->fd, g->file, buf, n, t->at + off, err);
}

const mdl_gtensor *mdl_gguf_tensor(const mdl_gguf *g, const char *name)
{
    uintptr_t i = (uintptr_t)ll_map_get_str(&g->by_name, name);
    return i ? &g->tensor[i - 1] : NULL;
}

/* ---- values ---- */

const mdl_kv *mdl_gguf_find(const mdl_gguf *g, const char *key)
{
    uintptr_t i = (uintptr_t)ll_map_get_str(&g->by_key, key);
    return i ? &g->kv[i - 1] : NULL;
}

static ll_code absent(const mdl_gguf *g, const char *key, bool must, ll_error *err)
{
    return must ? ll_fail(err, LL_BAD_INPUT, "%s: key '%s' is missing", g->file, key) : LL_OK;
}

static ll_code wrong_type(const mdl_gguf *g, const char *key, const mdl_kv *kv, const char *wanted,
                          ll_error *err)
{
    return ll_fail(err, LL_BAD_INPUT, "%s: key '%s': the value is of type %s, wanted %s", g->file,
                   key, mdl_kv_type_name(kv->type), wanted);
}

static int64_t int_at(const unsigned char *p, mdl_kv_type type)
{
    uint64_t v = 0;
    memcpy(&v, p, kv_types[type].size);
    switch (type) {
    case MDL_KV_I8: return (int8_t)v;
    case MDL_KV_I16: return (int16_t)v;
    case MDL_KV_I32: return (int32_t)v;
    case MDL_KV_U64: return v > INT64_MAX ? INT64_MAX : (int64_t)v; /* out of any accepted range */
    default: return (int64_t)v;
    }
}

static double float_at(const unsigned char *p, mdl_kv_type type)
{
    float f;
    double d;
    if (type == MDL_KV_F64) return memcpy(&d, p, sizeof d), d;
    memcpy(&f, p, sizeof f);
    return f;
}

ll_code mdl_gguf_int(const mdl_gguf *g, const char *key, int64_t lo, int64_t hi, bool must,
                     int64_t *out, ll_error *err)
{
    const mdl_kv *kv = mdl_gguf_find(g, key);
    if (!kv) return absent(g, key, must, err);
    if (!mdl_kv_is_int(kv->type)) return wrong_type(g, key, kv, "an integer", err);
    int64_t v = int_at(g->head + kv->at, kv->type);
    if (v < lo || v > hi)
        return ll_fail(err, LL_BAD_INPUT, "%s: key '%s': %lld, wanted %lld..%lld", g->file, key,
                       (long long)v, (long long)lo, (long long)hi);
    *out = v;
    return LL_OK;
}

ll_code mdl_gguf_float(const mdl_gguf *g, const char *key, bool must, double *out, ll_error *err)
{
    const mdl_kv *kv = mdl_gguf_find(g, key);
    if (!kv) return absent(g, key, must, err);
    if (kv->type != MDL_KV_F32 && kv->type != MDL_KV_F64)
        return wrong_type(g, key, kv, "f32 or f64", err);
    *out = float_at(g->head + kv->at, kv->type);
    return LL_OK;
}

ll_code mdl_gguf_bool(const mdl_gguf *g, const char *key, bool must, bool *out, ll_error *err)
{
    const mdl_kv *kv = mdl_gguf_find(g, key);
    if (!kv) return absent(g, key, must, err);
    if (kv->type != MDL_KV_BOOL) return wrong_type(g, key, kv, "bool", err);
    *out = g->head[kv->at] != 0;
    return LL_OK;
}

ll_code mdl_gguf_str(const mdl_gguf *g, const char *key, bool must, const char **out, size_t *n,
                     ll_error *err)
{
    const mdl_kv *kv = mdl_gguf_find(g, key);
    *out = NULL;
    *n = 0;
    if (!kv) return absent(g, key, must, err);
    if (kv->type != MDL_KV_STRING) return wrong_type(g, key, kv, "string", err);
    *out = (const char *)g->head + kv->at;
    *n = kv->size;
    return LL_OK;
}

bool mdl_str_next(mdl_str_iter *it, const char **s, size_t *n)
{
    if (!it->kv || it->i >= it->kv->n) return false;
    ll_rd r; /* lengths were checked at open; the reader stays inside the value anyway */
    ll_rd_init(&r, it->g->head + it->kv->at, it->kv->size, it->g->file, NULL);
    ll_rd_seek(&r, it->pos, "string");
    uint64_t len = ll_rd_u64(&r, "string");
    *s = ll_rd_bytes(&r, len, "string");
    if (!r.ok) return false;
    *n = (size_t)len;
    it->pos = r.pos;
    it->i++;
    return true;
}

int64_t mdl_kv_int_at(const mdl_gguf *g, const mdl_kv *kv, uint64_t i)
{
    return int_at(g->head + kv->at + i * kv_types[kv->item].size, kv->item);
}

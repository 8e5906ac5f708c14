/* test_gguf.c: what the GGUF reader takes and what it refuses, one family of bad input a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <sys/resource.h>
#include <cmocka.h>

#include "gguf_make.h"

enum { T_F32 = 0, T_Q4_0 = 2, T_Q2_K = 10, T_Q4_K = 12 };

/* Two tensors (2 x 4 F32; 2 rows of one Q4_0 block), three keys. */
static ll_str good_file(void)
{
    ll_str s = {0};
    put_head(&s, 3, 2, 3);
    put_kv_str(&s, "general.architecture", "toy");
    put_kv_u32(&s, "toy.width", 4);
    put_str(&s, "toy.list");
    put_u32(&s, MDL_KV_ARRAY);
    put_u32(&s, MDL_KV_STRING);
    put_u64(&s, 2);
    put_str(&s, "one");
    put_str(&s, "\xc4\xa0zwei");
    put_tensor(&s, "a", 2, (uint64_t[]){4, 2}, T_F32, 0);
    put_tensor(&s, "b", 2, (uint64_t[]){32, 2}, T_Q4_0, 32);
    pad_to(&s, 32);
    for (int i = 0; i < 8; i++) put_f32(&s, (float)i);
    for (int i = 0; i < 36; i++) put_u8(&s, (uint8_t)i);
    return s;
}

/* The bytes are refused with this code and a sentence that names the file and holds `part`. */
static void refused(const ll_str *s, ll_code code, const char *part)
{
    mdl_gguf *g = (mdl_gguf *)1;
    ll_error e;
    ll_code rc = open_bytes(s->s ? s->s : "", s->n, &g, &e);
    if (rc != code || !strstr(e.msg, part) || strncmp(e.msg, "t.gguf: ", 8)) {
        print_error("got %s '%s', wanted %s with '%s'\n", ll_code_name(rc), e.msg,
                    ll_code_name(code), part);
        fail();
    }
    assert_null(g);
}

static void a_good_file_gives_its_keys_and_data(void **st)
{
    ll_str s = good_file();
    mdl_gguf *g;
    ll_error e;
    assert_int_equal(open_bytes(s.s, s.n, &g, &e), LL_OK);
    assert_int_equal(g->n_kv, 3);
    assert_int_equal(g->n_tensor, 2);
    int64_t w = 0;
    assert_int_equal(mdl_gguf_int(g, "toy.width", 1, 10, true, &w, &e), LL_OK);
    assert_int_equal(w, 4);
    const char *t;
    size_t n;
    assert_int_equal(mdl_gguf_str(g, "general.architecture", true, &t, &n, &e), LL_OK);
    assert_int_equal(n, 3);
    assert_memory_equal(t, "toy", 3);
    mdl_str_iter it = {.g = g, .kv = mdl_gguf_find(g, "toy.list")};
    assert_true(mdl_str_next(&it, &t, &n));
    assert_memory_equal(t, "one", n);
    assert_true(mdl_str_next(&it, &t, &n));
    assert_int_equal(n, 6);
    assert_false(mdl_str_next(&it, &t, &n));

    const mdl_gtensor *a = mdl_gguf_tensor(g, "a"), *b = mdl_gguf_tensor(g, "b");
    assert_non_null(a);
    assert_int_equal(a->size, 32);
    assert_int_equal(a->n_rows, 2);
    assert_int_equal(b->row_bytes, 18);
    float f[8];
    assert_int_equal(mdl_gguf_read(g, a, 0, f, sizeof f, &e), LL_OK);
    assert_true(f[7] == 7.0f);
    unsigned char q[2];
    assert_int_equal(mdl_gguf_read(g, b, 34, q, 2, &e), LL_OK);
    assert_int_equal(q[1], 35);
    assert_int_equal(mdl_gguf_read(g, b, 35, q, 2, &e), LL_USAGE);
    assert_non_null(strstr(e.msg, "tensor 'b' has 36 bytes"));
    assert_null(mdl_gguf_tensor(g, "c"));
    mdl_gguf_close(g);
    ll_str_finish(&s);
}

static void values_of_another_type_or_range_are_named(void **st)
{
    ll_str s = good_file();
    mdl_gguf *g;
    ll_error e;
    assert_int_equal(open_bytes(s.s, s.n, &g, &e), LL_OK);
    int64_t v;
    double d;
    bool b;
    const char *t;
    size_t n;
    assert_int_equal(mdl_gguf_int(g, "toy.width", 5, 10, true, &v, &e), LL_BAD_INPUT);
    assert_string_equal(e.msg, "t.gguf: key 'toy.width': 4, wanted 5..10");
    e.code = LL_OK;
    assert_int_equal(mdl_gguf_int(g, "toy.list", 5, 10, false, &v, &e), LL_BAD_INPUT);
    assert_string_equal(e.msg,
                        "t.gguf: key 'toy.list': the value is of type array, wanted an integer");
    e.code = LL_OK;
    assert_int_equal(mdl_gguf_float(g, "toy.width", true, &d, &e), LL_BAD_INPUT);
    e.code = LL_OK;
    assert_int_equal(mdl_gguf_bool(g, "toy.width", true, &b, &e), LL_BAD_INPUT);
    e.code = LL_OK;
    assert_int_equal(mdl_gguf_str(g, "toy.width", true, &t, &n, &e), LL_BAD_INPUT);
    e.code = LL_OK;
    assert_int_equal(mdl_gguf_int(g, "toy.none", 0, 1, true, &v, &e), LL_BAD_INPUT);
    assert_string_equal(e.msg, "t.gguf: key 'toy.none' is missing");
    assert_int_equal(mdl_gguf_int(g, "toy.none", 0, 1, false, &v, NULL), LL_OK);
    mdl_gguf_close(g);
    ll_str_finish(&s);
}

static void every_width_of_number_is_read(void **st)
{
    static const struct { mdl_kv_type type; int64_t v; } c[] = {
        {MDL_KV_U8, 200}, {MDL_KV_I8, -100}, {MDL_KV_U16, 60000}, {MDL_KV_I16, -30000},
        {MDL_KV_U32, 4000000000}, {MDL_KV_I32, -2000000000}, {MDL_KV_U64, INT64_MAX - 1},
        {MDL_KV_I64, INT64_MIN + 1}, {MDL_KV_U64, -1}};
    ll_str s = {0};
    mdl_gguf *g;
    ll_error e;
    put_head(&s, 3, 0, 9 + 2);
    for (int i = 0; i < 9; i++) {
        static const int size[] = {1, 1, 2, 2, 4, 4, 8, 8, 8};
        put_str(&s, (char[]){'k', (char)('0' + i), 0});
        put_u32(&s, c[i].type);
        ll_str_addn(&s, &c[i].v, (size_t)size[i]);
    }
    put_str(&s, "f");
    put_u32(&s, MDL_KV_F32), put_f32(&s, 0.5f);
    put_str(&s, "d");
    double d = 0.1;
    put_u32(&s, MDL_KV_F64), ll_str_addn(&s, &d, 8);
    if (open_bytes(s.s, s.n, &g, &e)) fail_msg("%s", e.msg);
    for (int i = 0; i < 8; i++) {
        int64_t v = 0;
        char key[] = {'k', (char)('0' + i), 0};
        assert_int_equal(mdl_gguf_int(g, key, INT64_MIN, INT64_MAX, true, &v, &e), LL_OK);
        assert_true(v == c[i].v);
    }
    int64_t v = 5; /* 2^64 - 1 fits no range of int64 that has an end */
    assert_int_equal(mdl_gguf_int(g, "k8", 0, INT64_MAX - 1, true, &v, &e), LL_BAD_INPUT);
    double f = 0;
    assert_int_equal(mdl_gguf_float(g, "f", true, &f, &e), LL_OK);
    assert_true(f == 0.5);
    assert_int_equal(mdl_gguf_float(g, "d", true, &f, &e), LL_OK);
    assert_true(f == 0.1);
    mdl_gguf_close(g);
    ll_str_finish(&s);
}

static void g1_every_cut_of_a_file_is_refused(void **st)
{
    ll_str s = good_file();
    for (size_t n = 0; n < s.n; n++) {
        ll_str cut = {.s = s.s, .n = n};
        refused(&cut, LL_BAD_INPUT, "");
    }
    ll_str_finish(&s);
}

static void g1_a_file_that_shrinks_is_an_error(void **st)
{
    ll_str s = good_file();
    mdl_gguf *g;
    ll_error e = {0};
    int fd = make_file(s.s, s.n);
    assert_int_equal(mdl_gguf_open_fd(fd, s.n, "t.gguf", &g, &e), LL_OK);
    assert_int_equal(ftruncate(fd, (off_t)s.n - 1), 0);
    char q[36];
    assert_int_equal(mdl_gguf_read(g, mdl_gguf_tensor(g, "b"), 0, q, 36, &e), LL_BAD_INPUT);
    assert_non_null(strstr(e.msg, "t.gguf: ends at byte"));
    mdl_gguf_close(g);
    /* and one that shrank between fstat and the first read */
    e.code = LL_OK;
    fd = make_file(s.s, 10);
    assert_int_equal(mdl_gguf_open_fd(fd, s.n, "t.gguf", &g, &e), LL_BAD_INPUT);
    ll_str_finish(&s);
}

static void g1_paths_that_are_no_regular_file_are_refused(void **st)
{
    mdl_gguf *g;
    ll_error e = {0};
    assert_int_equal(mdl_gguf_open("/nonexistent/x.gguf", &g, &e), LL_BAD_INPUT);
    assert_non_null(strstr(e.msg, "/nonexistent/x.gguf: cannot open: No such file"));
    e.code = LL_OK;
    assert_int_equal(mdl_gguf_open("/", &g, &e), LL_BAD_INPUT);
    assert_string_equal(e.msg, "/: not a regular file");
    assert_int_equal(mdl_gguf_open("/dev/zero", &g, NULL), LL_BAD_INPUT);
}

static void g2_magic_version_and_counts(void **st)
{
    ll_str s = {0};
    ll_str_addn(&s, "GGML\3\0\0\0", 8);
    pad_to(&s, 64);
    refused(&s, LL_BAD_INPUT, "magic: 'GGML', wanted 'GGUF'");
    static const uint32_t version[] = {0, 1, 4, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < sizeof version / sizeof *version; i++) {
        ll_str_clear(&s);
        put_head(&s, version[i], 0, 0);
        refused(&s, LL_BAD_INPUT, "version: ");
    }
    ll_str_clear(&s);
    put_head(&s, 0x03000000, 0, 0);
    refused(&s, LL_BAD_INPUT, "big-endian");
    static const uint64_t count[] = {65536, 65537, 1u << 31, 1ull << 32, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof count / sizeof *count; i++) {
        ll_str_clear(&s);
        put_head(&s, 3, count[i], 0);
        refused(&s, LL_BAD_INPUT,
                i ? "tensor count: "
                  : "tensor 0: wanted 8 bytes at offset 24, the file has 0 left");
        ll_str_clear(&s);
        put_head(&s, 3, 0, count[i]);
        refused(&s, LL_BAD_INPUT, i ? "metadata count: " : "key 0: wanted 8 bytes");
    }
    for (uint32_t v = 2; v <= 3; v++) { /* nothing in it, but well-formed */
        mdl_gguf *g;
        ll_error e;
        ll_str_clear(&s);
        put_head(&s, v, 0, 0);
        assert_int_equal(open_bytes(s.s, s.n, &g, &e), LL_OK);
        mdl_gguf_close(g);
    }
    ll_str_finish(&s);
}

static void g3_strings(void **st)
{
    static const uint64_t len[] = {65536, 1u << 31, 1ull << 32, UINT64_MAX, UINT64_MAX - 24};
    ll_str s = {0};
    for (size_t i = 0; i < sizeof len / sizeof *len; i++) {
        ll_str_clear(&s);
        put_head(&s, 3, 0, 1);
        put_u64(&s, len[i]);
        pad_to(&s, 70000);
        refused(&s, LL_BAD_INPUT, "key 0: a string of");
        ll_str_clear(&s); /* as a value 65,536 is a fine length, but the file is short */
        put_head(&s, 3, 0, 1);
        put_str(&s, "k");
        put_u32(&s, MDL_KV_STRING);
        put_u64(&s, len[i]);
        refused(&s, LL_BAD_INPUT, i ? "key 'k': a string of" : "key 'k': wanted 65536 bytes");
    }
    static const struct {
        const char *key;
        size_t n;
        const char *part;
    } bad[] = {{"", 0, "key 0: the name is empty"},
               {"a\0b", 3, "key 0: a NUL byte"},
               {"a\xff", 2, "key 0: byte 0xff at offset 33 is not UTF-8"},
               {"\xed\xa0\x80", 3, "is not UTF-8"},
               {"\xc0\x80", 2, "is not UTF-8"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ll_str_clear(&s);
        put_head(&s, 3, 0, 1);
        put_strn(&s, bad[i].key, bad[i].n);
        put_u32(&s, MDL_KV_BOOL);
        put_u8(&s, 1);
        refused(&s, LL_BAD_INPUT, bad[i].part);
        if (!bad[i].n) continue;
        ll_str_clear(&s); /* as a value */
        put_head(&s, 3, 0, 1);
        put_str(&s, "k");
        put_u32(&s, MDL_KV_STRING);
        put_strn(&s, bad[i].key, bad[i].n);
        refused(&s, LL_BAD_INPUT, "key 'k': ");
    }
    ll_str_clear(&s);
    put_head(&s, 3, 0, 2);
    put_kv_u32(&s, "twice", 1);
    put_kv_str(&s, "twice", "x");
    refused(&s, LL_BAD_INPUT, "key 'twice': appears twice");
    mdl_gguf *g;
    ll_error e;
    ll_str_clear(&s);
    put_head(&s, 3, 0, 1);
    put_kv_str(&s, "sch\xc3\xb6n", "\xf0\x9f\x99\x82 frei");
    assert_int_equal(open_bytes(s.s, s.n, &g, &e), LL_OK);
    mdl_gguf_close(g);
    ll_str_finish(&s);
}

static void g4_arrays(void **st)
{
    ll_str s = {0};
    put_head(&s, 3, 0, 1);
    put_str(&s, "deep");
    put_u32(&s, MDL_KV_ARRAY);
    for (int i = 0; i < 1000; i++) put_u32(&s, MDL_KV_ARRAY), put_u64(&s, 1);
    put_u32(&s, MDL_KV_U8), put_u64(&s, 1), put_u8(&s, 7);
    refused(&s, LL_BAD_INPUT, "key 'deep': arrays nested deeper than 8");

    static const uint32_t type[] = {13, 99, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        ll_str_clear(&s);
        put_head(&s, 3, 0, 1);
        put_str(&s, "k");
        put_u32(&s, MDL_KV_ARRAY);
        put_u32(&s, type[i]);
        put_u64(&s, 1);
        pad_to(&s, 128);
        refused(&s, LL_BAD_INPUT, "key 'k': array of type number");
        ll_str_clear(&s);
        put_head(&s, 3, 0, 1);
        put_str(&s, "k");
        put_u32(&s, type[i]);
        pad_to(&s, 128);
        refused(&s, LL_BAD_INPUT, "key 'k': value type number");
    }
    static const uint64_t count[] = {1000, 16 << 20, 1ull << 61, 1ull << 62, UINT64_MAX};
    for (size_t i = 0; i < 5; i++)
        for (int t = 0; t < MDL_KV_TYPES; t++) {
            ll_str_clear(&s);
            put_head(&s, 3, 0, 1);
            put_str(&s, "k");
            put_u32(&s, MDL_KV_ARRAY);
            put_u32(&s, (uint32_t)t);
            put_u64(&s, count[i]);
            for (int z = 0; z < 64; z++) put_u8(&s, 0);
            refused(&s, LL_BAD_INPUT, i < 2 ? "key 'k': wanted" : "key 'k': array of");
        }
    ll_str_clear(&s);
    put_head(&s, 3, 0, 1);
    put_str(&s, "k");
    put_u32(&s, MDL_KV_BOOL);
    put_u8(&s, 2);
    refused(&s, LL_BAD_INPUT, "key 'k': a bool of value 2");
    ll_str_finish(&s);
}

static void g5_alignment(void **st)
{
    static const uint32_t bad[] = {0, 3, 4, 13, 48, 1u << 21, 1u << 31};
    ll_str s = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ll_str_clear(&s);
        put_head(&s, 3, 0, 1);
        put_kv_u32(&s, "general.alignment", bad[i]);
        refused(&s, LL_BAD_INPUT, "key 'general.alignment': ");
    }
    ll_str_clear(&s);
    put_head(&s, 3, 0, 1);
    put_kv_str(&s, "general.alignment", "32");
    refused(&s, LL_BAD_INPUT,
            "key 'general.alignment': the value is of type string, wanted an integer");
    ll_str_finish(&s);
}

static ll_str one_tensor(uint32_t n_dims, const uint64_t *dim, uint32_t type, uint64_t at,
                         size_t data)
{
    ll_str s = {0};
    put_head(&s, 3, 1, 0);
    put_tensor(&s, "w", n_dims, dim, type, at);
    pad_to(&s, 32);
    for (size_t i = 0; i < data; i++) put_u8(&s, 0);
    return s;
}

static void g6_shapes_and_types(void **st)
{
    static const struct {
        uint32_t n;
        uint64_t dim[6];
        uint32_t type;
        ll_code code;
        const char *part;
    } bad[] = {
        {0, {0}, T_F32, LL_BAD_INPUT, "tensor 'w': 0 dimensions, wanted 1..4"},
        {5, {1, 1, 1, 1, 1}, T_F32, LL_BAD_INPUT, "tensor 'w': 5 dimensions"},
        {UINT32_MAX, {1}, T_F32, LL_BAD_INPUT, "dimensions, wanted 1..4"},
        {2, {4, 0}, T_F32, LL_BAD_INPUT, "tensor 'w': dimension 1 is 0"},
        {1, {UINT64_MAX}, T_F32, LL_BAD_INPUT, "tensor 'w': dimension 0 is -1"},
        {2, {1ull << 33, 1ull << 33}, T_F32, LL_BAD_INPUT, "overflows"},
        {4, {1ull << 32, 1ull << 31, 2, 1}, T_F32, LL_BAD_INPUT, "overflows"},
        {1, {1ull << 62}, T_F32, LL_BAD_INPUT, "overflows"},
        {3, {32, 1ull << 62, 16}, T_Q4_0, LL_BAD_INPUT, "overflows"},
        {2, {1ull << 30, 1ull << 30}, T_F32, LL_BAD_INPUT, "reach past the end"},
        {1, {33}, T_Q4_0, LL_BAD_INPUT, "rows of 33 elements, type Q4_0 wants a multiple of 32"},
        {1, {128}, T_Q4_K, LL_BAD_INPUT, "type Q4_K wants a multiple of 256"},
        {1,
         {32},
         T_Q2_K,
         LL_UNSUPPORTED,
         "tensor 'w': type Q2_K is not supported (supported: F32, F16, "},
        {1, {32}, 4, LL_BAD_INPUT, "no tensor type has the number 4"},
        {1, {32}, 5, LL_BAD_INPUT, "number 5"},
        {1, {32}, 31, LL_BAD_INPUT, "number 31"},
        {1, {32}, 33, LL_BAD_INPUT, "number 33"},
        {1, {32}, 1000, LL_BAD_INPUT, "number 1000"},
        {1, {32}, UINT32_MAX, LL_BAD_INPUT, "no tensor type has the number"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ll_str s = one_tensor(bad[i].n > 6 ? 6 : bad[i].n, bad[i].dim, bad[i].type, 0, 4096);
        if (bad[i].n > 6) memcpy(s.s + 24 + 8 + 1, &bad[i].n, 4);
        refused(&s, bad[i].code, bad[i].part);
        ll_str_finish(&s);
    }
}

static void g7_places(void **st)
{
    ll_str s = one_tensor(1, (uint64_t[]){8}, T_F32, 8, 64);
    refused(&s, LL_BAD_INPUT, "tensor 'w': offset 8 is not a multiple of the alignment 32");
    ll_str_finish(&s);
    s = one_tensor(1, (uint64_t[]){8}, T_F32, 32, 63);
    refused(&s, LL_BAD_INPUT,
            "tensor 'w': 32 bytes at offset 96 reach past the end (the file has 127 bytes)");
    ll_str_finish(&s);
    s = one_tensor(1, (uint64_t[]){8}, T_F32, UINT64_MAX - 31, 64);
    refused(&s, LL_BAD_INPUT, "reach past the end");
    ll_str_finish(&s);

    memset(&s, 0, sizeof s);
    put_head(&s, 3, 2, 0);
    put_tensor(&s, "x", 1, (uint64_t[]){16}, T_F32, 32);
    put_tensor(&s, "y", 1, (uint64_t[]){9}, T_F32, 0);
    pad_to(&s, 32);
    for (int i = 0; i < 128; i++) put_u8(&s, 0);
    refused(&s, LL_BAD_INPUT, "tensor 'y' (bytes 96 to 132) overlaps tensor 'x' (from 128)");
    ll_str_clear(&s);
    put_head(&s, 3, 2, 0);
    put_tensor(&s, "x", 1, (uint64_t[]){8}, T_F32, 0);
    put_tensor(&s, "x", 1, (uint64_t[]){8}, T_F32, 32);
    pad_to(&s, 128);
    refused(&s, LL_BAD_INPUT, "tensor 'x': appears twice");
    /* the sum of both sizes wraps */
    ll_str_clear(&s);
    put_head(&s, 3, 2, 0);
    put_tensor(&s, "x", 1, (uint64_t[]){0x7fffffffffffffc0 / 4}, T_F32, 0);
    put_tensor(&s, "y", 1, (uint64_t[]){0x7fffffffffffffc0 / 4}, T_F32, 0x7fffffffffffffc0);
    pad_to(&s, 128);
    refused(&s, LL_BAD_INPUT, "reach past the end");
    ll_str_clear(&s);
    put_head(&s, 3, 1, 0);
    put_tensor(&s, "", 1, (uint64_t[]){8}, T_F32, 0);
    pad_to(&s, 256);
    refused(&s, LL_BAD_INPUT, "tensor 0: the name is empty");
    ll_str_finish(&s);
}

/* Every byte of the header, set to values that wrap, cut or flip: no crash, and whatever opens
 * can be read. */
static void every_changed_byte_is_refused_or_harmless(void **st)
{
    static const unsigned char v[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    ll_str s = good_file();
    for (size_t i = 0; i < s.n - 68; i++)
        for (size_t k = 0; k < sizeof v; k++) {
            char was = s.s[i];
            s.s[i] = (char)v[k];
            mdl_gguf *g;
            ll_error e;
            if (open_bytes(s.s, s.n, &g, &e) == LL_OK) {
                char buf[256];
                for (size_t t = 0; t < g->n_tensor; t++)
                    assert_int_equal(
                        mdl_gguf_read(g, &g->tensor[t], 0, buf, (size_t)g->tensor[t].size, &e),
                        LL_OK);
                mdl_gguf_close(g);
            } else assert_int_equal(strncmp(e.msg, "t.gguf: ", 8), 0);
            s.s[i] = was;
        }
    ll_str_finish(&s);
}

/* A 4 GiB hole behind a header that claims the largest of everything: refused without memory or
 * time. */
static void big_claims_cost_neither_memory_nor_time(void **st)
{
    ll_str s = {0};
    struct rusage a, b;
    struct timespec t0, t1;
    put_head(&s, 3, 65536, 65536);
    put_str(&s, "k");
    put_u32(&s, MDL_KV_ARRAY);
    put_u32(&s, MDL_KV_F64);
    put_u64(&s, 1ull << 28);
    int fd = make_file(s.s, s.n);
    assert_int_equal(ftruncate(fd, 1ll << 32), 0);
    getrusage(RUSAGE_SELF, &a);
    clock_gettime(CLOCK_MONOTONIC, &t0);
    mdl_gguf *g;
    ll_error e = {0};
    assert_int_equal(mdl_gguf_open_fd(fd, 1ull << 32, "t.gguf", &g, &e), LL_BAD_INPUT);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    getrusage(RUSAGE_SELF, &b);
    assert_non_null(strstr(e.msg, "key 'k': array of 268435456 items"));
    assert_true((double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec) < 1.0);
    assert_true(b.ru_maxrss - a.ru_maxrss < 16 << 10);
    ll_str_finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_gives_its_keys_and_data),
        cmocka_unit_test(values_of_another_type_or_range_are_named),
        cmocka_unit_test(every_width_of_number_is_read),
        cmocka_unit_test(g1_every_cut_of_a_file_is_refused),
        cmocka_unit_test(g1_a_file_that_shrinks_is_an_error),
        cmocka_unit_test(g1_paths_that_are_no_regular_file_are_refused),
        cmocka_unit_test(g2_magic_version_and_counts),
        cmocka_unit_test(g3_strings),
        cmocka_unit_test(g4_arrays),
        cmocka_unit_test(g5_alignment),
        cmocka_unit_test(g6_shapes_and_types),
        cmocka_unit_test(g7_places),
        cmocka_unit_test(every_changed_byte_is_refused_or_harmless),
        cmocka_unit_test(big_claims_cost_neither_memory_nor_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

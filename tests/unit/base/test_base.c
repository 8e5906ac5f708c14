/* test_base.c: the containers, conversions and bounded reading everything else stands on. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/ckd.h"
#include "base/file.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/reader.h"
#include "base/str.h"

static void f16_round_trips_every_pattern(void **s)
{
    (void)s;
    for (uint32_t i = 0; i < 65536; i++) {
        float f = ll_f16_to((uint16_t)i), b = ll_bf16_to((uint16_t)i);
        if (!isnan(f)) assert_int_equal(ll_f16_from(f), i);
        else assert_true(isnan(ll_f16_to(ll_f16_from(f))));
        if (!isnan(b)) assert_int_equal(ll_bf16_from(b), i);
        else assert_true(isnan(ll_bf16_to(ll_bf16_from(b))));
    }
    for (uint32_t i = 0; i < 256; i++) {
        float f = ll_e4m3_to((uint8_t)i), b = ll_e5m2_to((uint8_t)i);
        if (!isnan(f)) assert_int_equal(ll_e4m3_from(f), i);
        if (!isnan(b)) assert_int_equal(ll_e5m2_from(b), i);
    }
}

/* Midpoints go to the even neighbour, and a hair more or less goes to the nearer one. */
static void f16_rounds_midpoints_to_even_and_once(void **s)
{
    (void)s;
    for (uint32_t i = 0; i < 0x7bff; i++) {
        double a = ll_f16_to((uint16_t)i), b = ll_f16_to((uint16_t)(i + 1)), mid = (a + b) / 2;
        assert_int_equal(ll_f16_from(mid), i & 1 ? i + 1 : i);
        assert_int_equal(ll_f16_from(nextafter(mid, 0)), i);
        assert_int_equal(ll_f16_from(nextafter(mid, INFINITY)), i + 1);
    }
    assert_int_equal(ll_f16_from(65519.999), 0x7bff);
    assert_int_equal(ll_f16_from(65520.0), 0x7c00);
    assert_int_equal(ll_e4m3_from(1e9), 0x7e);
    assert_int_equal(ll_e4m3_from(-INFINITY), 0xfe);
    assert_int_equal(ll_e5m2_from(1e9), 0x7c);
}

static void map_keeps_insertion_order_and_survives_deletion(void **s)
{
    (void)s;
    ll_map m = {0};
    for (uint64_t i = 0; i < 5000; i++) assert_true(ll_map_set_u64(&m, i * 7919, (void *)(uintptr_t)(i + 1)));
    for (uint64_t i = 0; i < 5000; i += 3) {
        uint64_t k = i * 7919;
        assert_true(ll_map_del(&m, &k, sizeof k));
        assert_false(ll_map_del(&m, &k, sizeof k));
    }
    for (uint64_t i = 0; i < 5000; i++)
        assert_ptr_equal(ll_map_get_u64(&m, i * 7919), i % 3 ? (void *)(uintptr_t)(i + 1) : NULL);
    for (uint64_t i = 0; i < 5000; i += 3) assert_true(ll_map_set_u64(&m, i * 7919, &m));
    assert_int_equal(m.live, 5000);
    assert_true(ll_map_set_str(&m, "name", &m));
    assert_ptr_equal(ll_map_get_str(&m, "name"), &m);
    assert_null(ll_map_get_str(&m, "nam"));
    ll_map_finish(&m);
}

static void reader_stops_at_the_end_and_says_where(void **s)
{
    (void)s;
    ll_error e = {0};
    ll_rd r;
    ll_rd_init(&r, "\1\0\0\0xy", 6, "x.bin", &e);
    assert_int_equal(ll_rd_u32(&r, "version"), 1);
    assert_int_equal(ll_rd_u64(&r, "count"), 0);
    assert_false(r.ok);
    assert_int_equal(e.code, LL_BAD_INPUT);
    assert_string_equal(e.msg, "x.bin: count: wanted 8 bytes at offset 4, the file has 2 left");
    assert_null(ll_rd_bytes(&r, 1, "more"));
    assert_string_equal(e.msg, "x.bin: count: wanted 8 bytes at offset 4, the file has 2 left");
}

static void floor_division_rounds_toward_minus_infinity(void **s)
{
    (void)s;
    for (int a = -20; a <= 20; a++)
        for (int b = -5; b <= 5; b++) {
            if (!b) continue;
            assert_int_equal(ll_floordiv(a, b), (int64_t)floor((double)a / b));
            assert_int_equal(ll_floordiv(a, b) * b + ll_floormod(a, b), a);
        }
}

static void arena_memory_is_zeroed_and_aligned(void **s)
{
    (void)s;
    ll_arena a;
    ll_arena_init(&a);
    for (size_t n = 1; n < 300000; n = n * 3 + 1) {
        unsigned char *p = ll_alloc(&a, n);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    assert_string_equal(ll_sprintf(&a, "%s.%d", "acc", 3), "acc.3");
    ll_arena_finish(&a);
}

static void written_file_reads_back_and_replaces(void **s)
{
    (void)s;
    char path[] = "/tmp/llmir-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    ll_error e = {0};
    assert_int_equal(ll_file_write(path, "first", 5, &e), LL_OK);
    assert_int_equal(ll_file_write(path, "second", 6, &e), LL_OK);
    void *p;
    size_t n;
    assert_int_equal(ll_file_read(path, 5, &p, &n, &e), LL_BAD_INPUT);
    e.code = LL_OK;
    assert_int_equal(ll_file_read(path, 6, &p, &n, &e), LL_OK);
    assert_memory_equal(p, "second", 7);
    free(p);
    unlink(path);
    assert_int_equal(ll_file_read("/tmp", 6, &p, &n, &e), LL_BAD_INPUT);
    assert_int_equal(ll_file_write("/nonexistent/x", "a", 1, NULL), LL_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_round_trips_every_pattern),
        cmocka_unit_test(f16_rounds_midpoints_to_even_and_once),
        cmocka_unit_test(map_keeps_insertion_order_and_survives_deletion),
        cmocka_unit_test(reader_stops_at_the_end_and_says_where),
        cmocka_unit_test(floor_division_rounds_toward_minus_infinity),
        cmocka_unit_test(arena_memory_is_zeroed_and_aligned),
        cmocka_unit_test(written_file_reads_back_and_replaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

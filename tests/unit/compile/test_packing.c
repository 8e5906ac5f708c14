/* test_packing.c [--update] FILE: where weights lie. The layouts of some types as text (FILE); and
 * for every type: elements do not overlap, stay inside, and leave no gap but rows beyond the
 * matrix; a lane's four columns are neighbours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "compile/packing.h"

static const char *golden;
static bool update;
static const char *const targets[] = {"cpu:x86-64-v3", "cpu:x86-64-v4"};

static ll_target target_of(const char *name) {
    ll_target t;
    ll_error err = {0};
    if (ll_target_parse(name, &t, &err) != LL_OK) fail_msg("%s", err.msg);
    return t;
}

static cc_packing packing_of(const te_quant *q, int64_t rows, int64_t cols, const ll_target *t) {
    cc_packing p;
    ll_error err = {0};
    ll_code rc =
        cc_packing_make(q->block == 1 ? NULL : q, q->plane[0].dtype, rows, cols, t, &p, &err);
    if (rc != LL_OK) fail_msg("%s: %s", q->name, err.msg);
    return p;
}

/* ---- text ---------------------------------------------------------------------------------- */

static void print_type(ll_str *out, const te_quant *q, const ll_target *t) {
    te_graph *g = te_graph_create();
    int64_t cols = q->block > 1 ? 2 * q->block : 64;
    cc_packing p = packing_of(q, 64, cols, t);
    ll_str_addf(out, "%s 64 x %lld: %s, superblock %lld bytes, panel %lld, whole %lld\n", q->name,
                (long long)cols, p.name, (long long)p.super_bytes, (long long)p.panel_bytes,
                (long long)p.bytes);
    for (int i = 0; i < p.n_plane; i++) {
        ll_str_addf(out, "    %d-bit %s ", ll_dtype_bits(q->plane[i].dtype), q->plane[i].name);
        lp_layout_print(out, cc_packing_layout(&p, g, i));
        ll_str_addc(out, '\n');
    }
    te_graph_destroy(g);
}

static void layouts_are_as_recorded(void **state) {
    static const char *const types[] = {"q4_1", "q8_0", "q5_0", "q4_k", "q6_k", "f16"};
    ll_str out = {0};
    for (int t = 0; t < 2; t++) {
        ll_target target = target_of(targets[t]);
        ll_str_addf(&out, "%s\n", targets[t]);
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            print_type(&out, te_quant_by_name(types[i]), &target);
    }
    ll_error err = {0};
    void *want = NULL;
    size_t n = 0;
    if (update) assert_int_equal(ll_file_write(golden, out.s, out.n, &err), LL_OK);
    if (ll_file_read(golden, 1 << 20, &want, &n, &err) != LL_OK) fail_msg("%s", err.msg);
    assert_string_equal(ll_str_cstr(&out), want);
    free(want);
    ll_str_finish(&out);
}

/* ---- geometry ------------------------------------------------------------------------------ */

static int64_t no_dims(te_ref e, void *ctx) {
    fail_msg("a layout of fixed sizes asks for %s", te_show(e));
    return 0;
}

static int64_t at(const lp_layout *l, int64_t row, int64_t i) {
    return lp_layout_at_const(l, LP_AT_ADDR, (int64_t[]){row, i}, no_dims, NULL);
}

/* Marks the bits of all elements of `rows` rows; gives how many. */
static int64_t mark(const te_quant *q, const cc_packing *p, int64_t rows, unsigned char *bit) {
    te_graph *g = te_graph_create();
    int64_t marked = 0;
    for (int k = 0; k < p->n_plane; k++) {
        const lp_layout *l = cc_packing_layout(p, g, k);
        int bits = p->plane[k].bits;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < p->n_cols / p->plane[k].cover; i++) {
                int64_t a = at(l, r, i);
                if (a < 0 || a + bits > p->bytes * 8)
                    fail_msg("%s: %s[%lld, %lld] lies outside", q->name, q->plane[k].name,
                             (long long)r, (long long)i);
                for (int b = 0; b < bits; b++, marked++)
                    if (bit[a + b]++)
                        fail_msg("%s: %s[%lld, %lld] lies on another element", q->name,
                                 q->plane[k].name, (long long)r, (long long)i);
            }
    }
    te_graph_destroy(g);
    return marked;
}

static void check_geometry(const te_quant *q, int64_t cols) {
    for (int t = 0; t < 2; t++) {
        ll_target target = target_of(targets[t]);
        cc_packing p = packing_of(q, 2 * (t ? 32 : 16), cols, &target);
        unsigned char *bit = calloc(1, (size_t)p.bytes * 8);
        int64_t marked = mark(q, &p, p.n_rows, bit);
        int64_t spare = 0; /* codes that do not fill their bytes: groups that are no multiple of
                              what a byte holds */
        for (int k = 0; k < p.n_plane; k++)
            if (p.plane[k].cover == 1 && p.plane[k].bits < 8)
                spare += p.n_rows * p.n_cols * (8 - p.plane[k].bits * p.plane[k].per_byte) /
                         p.plane[k].per_byte;
        assert_int_equal(marked + spare, p.bytes * 8);
        free(bit);
        p = packing_of(q, p.rows + 3, cols, &target); /* a second panel that holds 3 rows */
        assert_int_equal(p.bytes, 2 * p.panel_bytes);
        bit = calloc(1, (size_t)p.bytes * 8);
        mark(q, &p, p.n_rows, bit);
        free(bit);
    }
}

static void elements_lie_apart_and_leave_no_gaps(void **state) {
    for (int i = 0; i < te_n_quants(); i++) {
        const te_quant *q = te_quant_at(i);
        check_geometry(q, q->block > 1 ? 2 * q->block : 12);
    }
    check_geometry(te_quant_by_name("f16"), 7);
}

static const char *const halves = "d = bits.f16(u16(b[0]) | u16(b[1]) << 8:u16);";

static const te_quant *make(ll_arena *a, int block, int bytes, const char *planes, const char *rest,
                            const char *value) {
    ll_error err = {0};
    const char *from = ll_sprintf(a, "%s%s", strstr(planes, "f16 d[") ? halves : "", rest);
    const te_quant *q = te_quant_make(a, "made_up", block, bytes, planes, from, value, &err);
    if (!q) fail_msg("%s", err.msg);
    return q;
}

static void types_that_no_file_has_have_a_place_too(void **state) {
    ll_arena a;
    ll_arena_init(&a);
    check_geometry(make(&a, 24, 13, "f16 d[1]; f16 m[1]; u2 q[24]; u1 h[24]",
                        "m = bits.f16(u16(b[2]) | u16(b[3]) << 8:u16); q = u2(b[4 + i / 4] >> u8(i "
                        "% 4 * 2)); h = u1(b[10 + i / 8] >> u8(i % 8))",
                        "f32(d) * f32(u8(q) + u8(h) * 4:u8) + f32(m)"),
                   72);
    check_geometry(make(&a, 48, 26, "s8 sc[2]; u4 q[48]",
                        "sc = bits.s8(b[24 + i]); q = u4(b[i / 2] >> u8(i % 2 * 4))",
                        "f32(sc) * f32(q)"),
                   96);
    check_geometry(make(&a, 6, 5, "f16 d[1]; u4 q[6]", "q = u4(b[2 + i / 2] >> u8(i % 2 * 4))",
                        "f32(d) * f32(q)"),
                   18);
    check_geometry(make(&a, 64, 66, "f16 d[1]; u8 q[64]", "q = b[2 + i]", "f32(d) * f32(q)"), 64);
    /* scales in no unit of 32; scales over more than 32; scales of which none holds the others */
    check_geometry(make(&a, 96, 102, "f16 d[1]; u8 sc[4]; u8 q[96]", "sc = b[2 + i]; q = b[6 + i]",
                        "f32(d) * f32(sc) * f32(q)"),
                   192);
    check_geometry(make(&a, 256, 262, "f16 d[1]; u8 sc[4]; u8 q[256]",
                        "sc = b[2 + i]; q = b[6 + i]", "f32(d) * f32(sc) * f32(q)"),
                   256);
    check_geometry(make(&a, 96, 101, "u8 sc[3]; u8 mn[2]; u8 q[96]",
                        "sc = b[i]; mn = b[3 + i]; q = b[5 + i]", "f32(sc) * f32(q) - f32(mn)"),
                   96);
    ll_arena_finish(&a);
}

/* What an integer dot instruction takes: lane = row, its bytes = four neighbouring columns. */
static void a_vector_of_codes_is_rows_by_four_columns(void **state) {
    static const char *const types[] = {"q4_0", "q4_1", "q5_0", "q8_0", "q4_k", "q6_k"};
    for (int t = 0; t < 2; t++)
        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
            ll_target target = target_of(targets[t]);
            const te_quant *q = te_quant_by_name(types[i]);
            cc_packing p = packing_of(q, 64, 2 * q->block, &target);
            te_graph *g = te_graph_create();
            assert_int_equal(p.lanes, t ? 16 : 8);
            for (int k = 0; k < p.n_plane; k++) {
                if (p.plane[k].cover > 1) continue;
                const lp_layout *l = cc_packing_layout(&p, g, k);
                for (int64_t r = 0; r < p.n_rows; r++)
                    for (int64_t c = 0; c < p.n_cols; c++)
                        assert_int_equal(at(l, r, c), at(l, r - r % p.lanes, c - c % 4) +
                                                          r % p.lanes * 32 + c % 4 * 8);
            }
            te_graph_destroy(g);
        }
}

/* GPUs: a row's codes are one run of 16-byte pieces, unit by unit; its scales another, side by side. */
static void a_row_of_a_gpu_weight_is_runs_of_16_byte_pieces(void **state) {
    static const char *const types[] = {"q4_0", "q4_1", "q5_0", "q8_0", "q4_k", "q6_k"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        ll_target target = target_of("cuda:sm_80");
        const te_quant *q = te_quant_by_name(types[i]);
        cc_packing p = packing_of(q, 5, 3 * (q->block < 64 ? 64 : q->block), &target);
        te_graph *g = te_graph_create();
        for (int k = 0; k < p.n_plane; k++) {
            const lp_layout *l = cc_packing_layout(&p, g, k);
            int bits = p.plane[k].bits;
            int64_t n = p.n_cols / p.plane[k].cover, first = at(l, 0, 0);
            assert_int_equal(first % 128, 0);
            for (int64_t r = 0; r < p.n_rows; r++)
                assert_int_equal(at(l, r, 0), first + r * p.super_bytes * 8);
            for (int64_t c = 0; c < n; c++) {
                if (p.plane[k].cover > 1) assert_int_equal(at(l, 0, c), first + c * bits);
                else assert_int_equal((at(l, 0, c) - first) / (p.unit * bits), c / p.unit);
            }
        }
        assert_int_equal(p.super_bytes % 16, 0);
        te_graph_destroy(g);
    }
}

static void what_does_not_fit_is_refused(void **state) {
    ll_target t = target_of(targets[0]);
    cc_packing p;
    ll_error err = {0}, err2 = {0};
    assert_int_equal(cc_packing_make(te_quant_by_name("q4_k"), LL_F32, 64, 320, &t, &p, &err),
                     LL_BAD_INPUT);
    assert_string_equal(err.msg, "a row of 320 elements is not a multiple of the block of 256");
    assert_int_equal(cc_packing_make(NULL, LL_F32, INT64_MAX / 8, 1 << 20, &t, &p, &err2),
                     LL_BAD_INPUT);
    assert_non_null(strstr(err2.msg, "is too large"));
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--update"))
            update = true;
        else
            golden = argv[i];
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_are_as_recorded),
        cmocka_unit_test(elements_lie_apart_and_leave_no_gaps),
        cmocka_unit_test(types_that_no_file_has_have_a_place_too),
        cmocka_unit_test(a_vector_of_codes_is_rows_by_four_columns),
        cmocka_unit_test(a_row_of_a_gpu_weight_is_runs_of_16_byte_pieces),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Quantised types: from_file and value give exactly the numbers of other software; a type no
 * file has works like the others; damaged rows are refused with a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "te/quant.h"
#include "tests/support/ref.h"

/* Planes of a [rows, cols] weight from file bytes [rows, bytes of a row], by te_eval, bound into
 * e. */
static void planes_from_file(te_graph *g, te_env *e, te_tensor *w, const te_quant *q,
                             const unsigned char *bytes, int64_t rows, int64_t cols)
{
    int64_t blocks = cols / q->block;
    te_tensor *file =
        te_input(g, "file", LL_U8, te_int(g, rows), te_int(g, blocks), te_int(g, q->bytes));
    ll_error err = {0};
    size_t n_bytes = (size_t)(rows * blocks * q->bytes);
    if (te_env_bind_mem(e, file, bytes, n_bytes, &err) != LL_OK) fail_msg("%s", err.msg);
    for (int p = 0; p < q->n_plane; p++) {
        te_ref n = te_axis(g, "n", te_int(g, rows)),
               i = te_axis(g, "i", te_int(g, blocks * q->plane[p].count));
        te_tensor *d = te_def(g, "plane", te_quant_from_file(g, q, p, file, n, i), n, i);
        const te_value *v;
        size_t n_v;
        if (te_error(g)) fail_msg("%s", te_error(g)->msg);
        if (te_eval(e, d, &v, &n_v, &err) != LL_OK) fail_msg("%s", err.msg);
        if (te_env_bind(e, w->plane[p], v, n_v, &err) != LL_OK) fail_msg("%s", err.msg);
    }
}

static const te_value *logical(te_graph *g, te_env *e, te_tensor *w, int64_t rows, int64_t cols)
{
    te_ref n = te_axis(g, "n", te_int(g, rows)), k = te_axis(g, "k", te_int(g, cols));
    te_tensor *d = te_def(g, "values", te_at(w, n, k), n, k);
    const te_value *v = NULL;
    size_t count;
    ll_error err = {0};
    if (te_error(g)) fail_msg("%s", te_error(g)->msg);
    if (te_eval(e, d, &v, &count, &err) != LL_OK) fail_msg("%s", err.msg);
    return v;
}

static void check_type(const char *file)
{
    char path[64];
    snprintf(path, sizeof path, "gguf_blocks/%s", file);
    ref_case *c = ref_open(path);
    const te_quant *q = te_quant_by_gguf((int)ref_number(c, "ggml_type_id"));
    if (!q) fail_msg("%s: no row", file);
    assert_int_equal(q->block, (int)ref_number(c, "block_size"));
    assert_int_equal(q->bytes, (int)ref_number(c, "block_bytes"));
    int64_t rows = (int64_t)ref_number(c, "rows"), cols = (int64_t)ref_number(c, "cols");
    te_graph *g = te_graph_create();
    te_env *e = te_env_create(g);
    te_tensor *w = te_input_quant(g, "w", q, te_int(g, rows), te_int(g, cols));
    planes_from_file(g, e, w, q, ref_tensor_of(c, "blocks")->p, rows, cols);
    const te_value *v = logical(g, e, w, rows, cols);
    const ref_tensor *want = ref_tensor_of(c, "values");
    for (size_t i = 0; i < want->n; i++)
        if (v[i].f != ref_f(want, i))
            fail_msg("%s: element %zu is %.9g, wanted %.9g", file, i, v[i].f, ref_f(want, i));
    te_env_destroy(e);
    te_graph_destroy(g);
    ref_close(c);
}

static void blocks_of_files_have_their_values_exactly(void **state)
{
    static const char *const files[] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1",
                                        "Q8_0", "Q4_K", "Q5_K", "Q6_K"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) check_type(files[i]);
}

static void plain_types_are_rows_of_block_one(void **state)
{
    static const struct {
        int id;
        ll_dtype type;
    } plain[] = {{0, LL_F32}, {1, LL_F16}, {30, LL_BF16}};
    for (int i = 0; i < 3; i++) {
        const te_quant *q = te_quant_by_gguf(plain[i].id);
        assert_non_null(q);
        assert_int_equal(q->block, 1);
        assert_int_equal(q->plane[0].dtype, plain[i].type);
        unsigned char mem[12];
        for (size_t k = 0; k < 3; k++)
            te_value_store(plain[i].type, mem, k, (te_value){.f = 1.5 - (double)k});
        te_graph *g = te_graph_create();
        te_env *e = te_env_create(g);
        te_tensor *w = te_input_quant(g, "w", q, te_int(g, 1), te_int(g, 3));
        assert_int_equal(w->dtype, plain[i].type);
        te_tensor *file =
            te_input(g, "file", LL_U8, te_int(g, 1), te_int(g, 3), te_int(g, q->bytes));
        ll_error err = {0};
        assert_int_equal(te_env_bind_mem(e, file, mem, (size_t)q->bytes * 3, &err), LL_OK);
        te_ref k = te_axis(g, "k", te_int(g, 3));
        te_tensor *d = te_def(g, "plane", te_quant_from_file(g, q, 0, file, te_int(g, 0), k), k);
        const te_value *v;
        size_t n;
        assert_int_equal(te_eval(e, d, &v, &n, &err), LL_OK);
        for (int c = 0; c < 3; c++) assert_true(v[c].f == 1.5 - c);
        te_env_destroy(e);
        te_graph_destroy(g);
    }
}

static void every_row_of_the_table_reads(void **state)
{
    assert_true(te_n_quants() >= 9);
    for (int i = 0; i < te_n_quants(); i++) {
        const te_quant *q = te_quant_at(i);
        assert_non_null(q);
        assert_ptr_equal(te_quant_by_name(q->name), q);
        assert_ptr_equal(te_quant_by_gguf(q->gguf_id), q);
    }
    assert_null(te_quant_by_name("q3_zz"));
    assert_null(te_quant_by_gguf(-7));
}

/* A type no file has: 3-bit codes in two planes, a scale per 24, a minimum; 12 bytes a block of 24:
 *     bytes 0..1 scale, 2 minimum (s8, in scales), 3..8 low two bits, 9..11 high bits */
static void a_made_up_type_is_one_row(void **state)
{
    ll_arena arena = {0};
    ll_error err = {0};
    const te_quant *q =
        te_quant_make(&arena, "t3", 24, 12, "f16 d[1]; s8 m[1]; u2 lo[24]; u1 hi[24]",
                      "d = bits.f16(u16(b[0]) | u16(b[1]) << 8:u16); m = bits.s8(b[2]);"
                      "lo = u2(b[3 + i / 4] >> u8(i % 4 * 2)); hi = u1(b[9 + i / 8] >> u8(i % 8))",
                      "f32(d) * (f32(u8(lo) + u8(hi) * 4:u8) + f32(m))", &err);
    if (!q) fail_msg("%s", err.msg);
    enum { ROWS = 3, BLOCKS = 2 };
    unsigned char bytes[ROWS * BLOCKS * 12] = {0};
    double want[ROWS * BLOCKS * 24];
    for (int b = 0; b < ROWS * BLOCKS; b++) {
        unsigned char *p = bytes + 12 * b;
        double d = 0.25 * (b + 1);
        te_value_store(LL_F16, p, 0, (te_value){.f = d});
        p[2] = (unsigned char)(-b);
        for (int i = 0; i < 24; i++) {
            int code = (i * 5 + b * 3) % 8;
            p[3 + i / 4] |= (unsigned char)((code & 3) << i % 4 * 2);
            p[9 + i / 8] |= (unsigned char)((code >> 2) << i % 8);
            want[b * 24 + i] = d * (code - b);
        }
    }
    te_graph *g = te_graph_create();
    te_env *e = te_env_create(g);
    te_tensor *w = te_input_quant(g, "w", q, te_int(g, ROWS), te_int(g, BLOCKS * 24));
    planes_from_file(g, e, w, q, bytes, ROWS, BLOCKS * 24);
    const te_value *v = logical(g, e, w, ROWS, BLOCKS * 24);
    for (int i = 0; i < ROWS * BLOCKS * 24; i++) assert_true(v[i].f == want[i]);
    te_ref n = te_axis(g, "n", te_int(g, ROWS)), k = te_axis(g, "k", te_int(g, BLOCKS * 24));
    assert_string_equal(te_show(te_at(w, n, k)), "f32(w.d[n, k / 24]) * (f32(u8(w.lo[n, k]) + "
                                                 "u8(w.hi[n, k]) * 4:u8) + f32(w.m[n, k / 24]))");
    te_env_destroy(e);
    te_graph_destroy(g);
    ll_arena_finish(&arena);
}

static void damaged_rows_are_refused(void **state)
{
    static const struct { const char *planes, *from_file, *value, *want;
    } bad[] = {
        {"f16 d[1]; u4 q[5]", "d = bits.f16(u16(b[0])); q = u4(b[2 + i])", "f32(d)",
         "count a divisor of 8"},
        {"f17 d[1]", "d = bits.f16(u16(b[0]))", "f32(d)", "no type `f17`"},
        {"f16 d[1]", "e = bits.f16(u16(b[0]))", "f32(d)", "no plane `e`"},
        {"f16 d[1]; u4 q[8]", "d = bits.f16(u16(b[0]))", "f32(d)", "says nothing of plane q"},
        {"f16 d[1]", "d = u16(b[0])", "f32(d)", "from_file of plane d is u16, wanted f16"},
        {"f16 d[1]", "d = bits.f16(u16(b[0]))", "d", "value is f16, wanted f32"},
        {"f16 d[1]", "d = bits.f16(u16(b[0]))", "f32(d) * q", "no axis, variable or dim q"},
        {"", "", "1.0", "no planes"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ll_arena arena = {0};
        ll_error err = {0};
        assert_null(te_quant_make(&arena, "bad", 8, 4, bad[i].planes, bad[i].from_file,
                                  bad[i].value, &err));
        if (!strstr(err.msg, bad[i].want)) fail_msg("%s, wanted: %s", err.msg, bad[i].want);
        ll_arena_finish(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_files_have_their_values_exactly),
        cmocka_unit_test(plain_types_are_rows_of_block_one),
        cmocka_unit_test(every_row_of_the_table_reads),
        cmocka_unit_test(a_made_up_type_is_one_row),
        cmocka_unit_test(damaged_rows_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

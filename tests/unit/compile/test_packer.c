/* Packing: what lies at each element's place in the packed bytes is the element that the file had,
 * bit for bit; every other bit is zero; and the bytes do not depend on threads or on how the file
 * is cut into chunks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "compile/pack.h"
#include "compile/pack_program.h"
#include "compile/site.h"

static const char *models;

/* ---- memory as file and as sink ------------------------------------------------------------ */

typedef struct memory {
    unsigned char *p;
    size_t n, cap;
    int calls, fail_at; /* the call that fails; 0: none */
} memory;

static ll_code put(void *user, const void *p, size_t n, ll_error *err) {
    memory *m = user;
    if (++m->calls == m->fail_at) return ll_fail(err, LL_NO_SPACE, "the disk is full");
    if (m->n + n > m->cap) {
        m->cap = 2 * (m->n + n);
        m->p = realloc(m->p, m->cap);
        assert_non_null(m->p);
    }
    memcpy(m->p + m->n, p, n);
    m->n += n;
    return LL_OK;
}

static ll_code get(void *user, uint64_t off, void *buf, size_t n, ll_error *err) {
    const memory *m = user;
    if (off + n > m->n) return ll_fail(err, LL_BAD_INPUT, "the file ends at %zu", m->n);
    memcpy(buf, m->p + off, n);
    return LL_OK;
}

static memory random_file(size_t n, uint64_t seed) {
    memory m = {.p = malloc(n), .n = n};
    assert_non_null(m.p);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        m.p[i] = (unsigned char)(seed >> 40);
    }
    return m;
}

/* ---- unpacking, by the layout alone -------------------------------------------------------- */

static int64_t no_dims(te_ref e, void *ctx) {
    fail_msg("a layout of fixed sizes asks for %s", te_show(e));
    return 0;
}

static uint64_t take_bits(unsigned char *p, int64_t at, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++, at++) {
        v |= (uint64_t)(p[at / 8] >> at % 8 & 1) << i;
        p[at / 8] &= (unsigned char)~(1u << at % 8);
    }
    return v;
}

static uint64_t bits_of(ll_dtype t, te_value v) {
    unsigned char mem[9] = {0};
    uint64_t bits;
    te_value_store(t, mem, 0, v);
    memcpy(&bits, mem, 8);
    return ll_dtype_bits(t) == 64 ? bits : bits & ((UINT64_C(1) << ll_dtype_bits(t)) - 1);
}

static bool is_nan(ll_dtype t, uint64_t bits) {
    te_value v = {0};
    if (ll_dtype_is_float(t)) te_value_load(t, &bits, 0, &v);
    return ll_dtype_is_float(t) && v.f != v.f;
}

typedef struct weight {
    const te_quant *q;
    int64_t rows, cols;
    memory file;
    te_graph *g;
    te_env *e;
    const te_value *plane[TE_MAX_PLANE]; /* [rows, elements of a row], by the evaluator */
} weight;

static weight weight_of(const te_quant *q, int64_t rows, int64_t cols) {
    weight w = {.q = q, .rows = rows, .cols = cols, .g = te_graph_create()};
    ll_error err = {0};
    int64_t blocks = cols / q->block;
    w.file = random_file((size_t)(rows * blocks * q->bytes), (uint64_t)(rows * 31 + q->bytes));
    w.e = te_env_create(w.g);
    te_tensor *bytes = te_input(w.g, "bytes", LL_U8, te_int(w.g, rows), te_int(w.g, blocks),
                                te_int(w.g, q->bytes));
    if (te_env_bind_mem(w.e, bytes, w.file.p, w.file.n, &err) != LL_OK) fail_msg("%s", err.msg);
    for (int p = 0; p < q->n_plane; p++) {
        te_ref n = te_axis(w.g, "n", te_int(w.g, rows)),
               i = te_axis(w.g, "i", te_int(w.g, blocks * q->plane[p].count));
        te_tensor *d = te_def(w.g, "plane", te_quant_from_file(w.g, q, p, bytes, n, i), n, i);
        size_t count;
        if (te_error(w.g)) fail_msg("%s", te_error(w.g)->msg);
        if (te_eval(w.e, d, &w.plane[p], &count, &err) != LL_OK) fail_msg("%s", err.msg);
    }
    return w;
}

static void weight_finish(weight *w) {
    te_env_destroy(w->e);
    te_graph_destroy(w->g);
    free(w->file.p);
}

static void check_plane(const weight *w, const cc_packing *pk, int p, unsigned char *packed) {
    const lp_layout *l = cc_packing_layout(pk, w->g, p);
    ll_dtype t = w->q->plane[p].dtype;
    int64_t per_row = w->cols / w->q->block * w->q->plane[p].count;
    for (int64_t n = 0; n < w->rows; n++)
        for (int64_t i = 0; i < per_row; i++) {
            int64_t at = lp_layout_at_const(l, LP_AT_ADDR, (int64_t[]){n, i}, no_dims, NULL);
            assert_in_range((uint64_t)at + (uint64_t)ll_dtype_bits(t), 1, (uint64_t)pk->bytes * 8);
            uint64_t got = take_bits(packed, at, ll_dtype_bits(t)),
                     want = bits_of(t, w->plane[p][n * per_row + i]);
            if (is_nan(t, got) && is_nan(t, want)) continue;
            if (got != want)
                fail_msg("%s (%s): %s[%lld, %lld] is %llx, wanted %llx", w->q->name, pk->name,
                         w->q->plane[p].name, (long long)n, (long long)i, (unsigned long long)got,
                         (unsigned long long)want);
        }
}

/* Takes every element out of the packed bytes; what is left must be zero. */
static void check_packed(const weight *w, const cc_packing *pk, const memory *m) {
    assert_int_equal(m->n, pk->bytes);
    unsigned char *copy = malloc(m->n);
    memcpy(copy, m->p, m->n);
    for (int p = 0; p < w->q->n_plane; p++) check_plane(w, pk, p, copy);
    for (size_t i = 0; i < m->n; i++)
        if (copy[i])
            fail_msg("%s (%s): byte %zu holds %02x that is no element's", w->q->name, pk->name, i,
                     copy[i]);
    free(copy);
}

static cc_packing packing_of(const te_quant *q, int64_t rows, int64_t cols, const ll_target *t) {
    cc_packing pk;
    ll_error err = {0};
    bool plain = q->block == 1;
    if (cc_packing_make(plain ? NULL : q, q->plane[0].dtype, rows, cols, t, &pk, &err) != LL_OK)
        fail_msg("%s", err.msg);
    return pk;
}

static void check_type(const te_quant *q, int64_t rows, int64_t cols) {
    static const char *const targets[] = {"cpu:x86-64-v3", "cpu:x86-64-v4"};
    weight w = weight_of(q, rows, cols);
    for (int i = 0; i < 2; i++) {
        ll_target t;
        ll_error err = {0};
        assert_int_equal(ll_target_parse(targets[i], &t, &err), LL_OK);
        cc_packing pk = packing_of(q, rows, cols, &t);
        cc_packer *p = cc_packer_create(&t, 2, &err);
        memory out = {0};
        if (!p || cc_packer_matrix(p, &pk, q, (cc_source){get, &w.file}, put, &out, &err) != LL_OK)
            fail_msg("%s", err.msg);
        check_packed(&w, &pk, &out);
        cc_packer_destroy(p);
        free(out.p);
    }
    weight_finish(&w);
}

static void what_was_packed_unpacks_bit_for_bit_for_every_type(void **state) {
    for (int i = 0; i < te_n_quants(); i++) {
        const te_quant *q = te_quant_at(i);
        check_type(q, 37, 3 * (q->block > 1 ? q->block : 8));
        check_type(q, 70, q->block > 1 ? q->block : 4);
    }
}

static void plain_rows_of_odd_length_are_packed(void **state) {
    for (int i = 0; i < te_n_quants(); i++)
        if (te_quant_at(i)->block == 1) check_type(te_quant_at(i), 37, 7);
}

/* Types that no file has. Their codes of zero bytes are not zero, so rows beyond the matrix cannot
 * be zero by chance. */
static const struct {
    int block, bytes;
    const char *planes, *from_file, *value;
} made_up[] = {
    /* 3-bit codes in two planes, a scale and a minimum for 24 */
    {24, 13, "f16 d[1]; f16 m[1]; u2 q[24]; u1 h[24]",
     "d = bits.f16(u16(b[0]) | u16(b[1]) << 8:u16); m = bits.f16(u16(b[2]) | u16(b[3]) << 8:u16);"
     "q = u2((b[4 + i / 4] >> u8(i % 4 * 2)) + 3:u8); h = u1((b[10 + i % 3] >> u8(i / 3)) + 1:u8)",
     "f32(d) * f32(u8(q) + u8(h) * 4:u8) + f32(m)"},
    /* scales cover half a block: superblocks smaller than blocks of the file */
    {48, 26, "s8 sc[2]; u4 q[48]",
     "sc = bits.s8(b[24 + i] + 7:u8); q = u4((b[i / 2] >> u8(i % 2 * 4)) + 9:u8)",
     "f32(sc) * f32(q)"},
    /* codes across bytes in the file, of a width that takes a byte in memory */
    {16, 9, "f16 d[1]; u3 q[16]",
     "d = bits.f16(u16(b[0]) | u16(b[1]) << 8:u16);"
     "q = u3(u8(((u16(b[2 + i * 3 / 8]) | u16(b[3 + i * 3 / 8]) << 8:u16) >> u16(i * 3 % 8)) + "
     "5:u16))",
     "f32(d) * f32(q)"},
    /* columns that are no multiple of four: one column in a cell, nothing shares a byte but its
       neighbours */
    {6, 5, "f16 d[1]; u4 q[6]",
     "d = bits.f16(u16(b[0]) | u16(b[1]) << 8:u16); q = u4((b[2 + i / 2] >> u8(i % 2 * 4)) + 1:u8)",
     "f32(d) * f32(q)"},
};

static const te_quant *made_up_type(ll_arena *a, size_t i) {
    ll_error err = {0};
    const te_quant *q =
        te_quant_make(a, "made_up", made_up[i].block, made_up[i].bytes, made_up[i].planes,
                      made_up[i].from_file, made_up[i].value, &err);
    if (!q) fail_msg("%s", err.msg);
    return q;
}

static void what_was_packed_unpacks_for_types_that_no_file_has(void **state) {
    ll_arena a;
    ll_arena_init(&a);
    for (size_t i = 0; i < sizeof made_up / sizeof *made_up; i++) {
        const te_quant *q = made_up_type(&a, i);
        check_type(q, 37, 3 * q->block);
        check_type(q, 70, q->block);
        check_type(q, 1, 5 * q->block);
    }
    ll_arena_finish(&a);
}

/* ---- streaming ----------------------------------------------------------------------------- */

enum { ROWS = 1100, COLS = 1024 }; /* q8_0: 1.2 MB, several chunks; the last panel is not full */

static void the_bytes_do_not_depend_on_threads(void **state) {
    static const int threads[] = {1, 2, 7};
    ll_target t;
    ll_error err = {0};
    ll_target_parse("cpu:x86-64-v4", &t, &err);
    const te_quant *q = te_quant_by_name("q8_0");
    cc_packing pk = packing_of(q, ROWS, COLS, &t);
    memory file = random_file((size_t)ROWS * COLS / 32 * 34, 5), out[3] = {0};
    for (int i = 0; i < 3; i++) {
        cc_packer *p = cc_packer_create(&t, threads[i], &err);
        if (cc_packer_matrix(p, &pk, q, (cc_source){get, &file}, put, &out[i], &err) != LL_OK)
            fail_msg("%s", err.msg);
        assert_true(out[i].calls > 3);
        assert_int_equal(out[i].n, pk.bytes);
        assert_memory_equal(out[i].p, out[0].p, out[0].n);
        cc_packer_destroy(p);
    }
    /* rows of panel 20 without the ones around it: the same bytes at its place */
    memory part = {.p = file.p + (size_t)20 * 32 * COLS / 32 * 34,
                   .n = (size_t)32 * COLS / 32 * 34},
           alone = {0};
    cc_packing one = packing_of(q, 32, COLS, &t);
    cc_packer *p = cc_packer_create(&t, 1, &err);
    if (cc_packer_matrix(p, &one, q, (cc_source){get, &part}, put, &alone, &err) != LL_OK)
        fail_msg("%s", err.msg);
    assert_memory_equal(alone.p, out[0].p + 20 * pk.panel_bytes, (size_t)one.bytes);
    cc_packer_destroy(p);
    free(alone.p);
    for (int i = 0; i < 3; i++) free(out[i].p);
    free(file.p);
}

static void failures_of_file_and_sink_end_it_with_their_words(void **state) {
    ll_target t;
    ll_error err = {0};
    ll_target_parse("cpu:x86-64-v3", &t, &err);
    const te_quant *q = te_quant_by_name("q8_0");
    cc_packing pk = packing_of(q, ROWS, COLS, &t);
    cc_packer *p = cc_packer_create(&t, 3, &err);
    memory file = random_file((size_t)ROWS * COLS / 32 * 34, 6), out = {.fail_at = 2};
    assert_int_equal(cc_packer_matrix(p, &pk, q, (cc_source){get, &file}, put, &out, &err),
                     LL_NO_SPACE);
    assert_string_equal(err.msg, "the disk is full");
    memory cut = {.p = file.p, .n = file.n - 1}, rest = {0};
    ll_error err2 = {0};
    assert_int_equal(cc_packer_matrix(p, &pk, q, (cc_source){get, &cut}, put, &rest, &err2),
                     LL_BAD_INPUT);
    assert_non_null(strstr(err2.msg, "the file ends at"));
    memory whole = {0};
    ll_error err3 = {0};
    if (cc_packer_matrix(p, &pk, q, (cc_source){get, &file}, put, &whole, &err3) != LL_OK)
        fail_msg("%s", err3.msg);
    assert_int_equal(whole.n, pk.bytes);
    cc_packer_destroy(p);
    free(out.p);
    free(rest.p);
    free(whole.p);
    free(file.p);
}

/* ---- models -------------------------------------------------------------------------------- */

typedef struct opened {
    mdl_model *m;
    mdl_graph *mg;
} opened;

static opened open_model(const char *name) {
    opened o = {0};
    char path[512];
    ll_error err = {0};
    snprintf(path, sizeof path, "%s/%s/model.gguf", models, name);
    if (mdl_open(path, &o.m, &err) != LL_OK ||
        mdl_build_graph(o.m, &(mdl_options){.kv = LL_F16, .kv_block = 32}, &o.mg, &err) != LL_OK)
        fail_msg("%s", err.msg);
    return o;
}

static void close_model(opened *o) {
    mdl_graph_destroy(o->mg);
    mdl_close(o->m);
}

static void check_dense(const opened *o, const mdl_weight *w, const memory *m) {
    size_t n = w->data ? (size_t)w->data->size : w->n_values * sizeof *w->values;
    unsigned char *want = malloc(n + 1);
    ll_error err = {0};
    if (w->data)
        assert_int_equal(mdl_gguf_read(o->m->file, w->data, 0, want, n, &err), LL_OK);
    else
        memcpy(want, w->values, n);
    assert_true(m->n >= n && m->n - n < CC_PACK_ALIGN);
    assert_memory_equal(m->p, want, n);
    for (size_t i = n; i < m->n; i++) assert_int_equal(m->p[i], 0);
    free(want);
}

static void every_constant_of_a_model_has_the_bytes_it_says(void **state) {
    static const char *const name[] = {"qwen2_q4_0_tied", "llama_q8_0", "llama_f16"};
    int dense = 0, computed = 0, packed = 0;
    for (int k = 0; k < 3; k++) {
        opened o = open_model(name[k]);
        ll_target t;
        ll_error err = {0};
        ll_target_parse("cpu:x86-64-v3", &t, &err);
        cc_packer *p = cc_packer_create(&t, 2, &err);
        for (size_t i = 0; i < o.mg->n_weight; i++) {
            const mdl_weight *w = &o.mg->weight[i];
            memory out = {0};
            uint64_t bytes;
            if (cc_packer_weight(p, o.m->file, w, put, &out, &err) != LL_OK)
                fail_msg("%s", err.msg);
            if (cc_packed_bytes(w->t, &t, &bytes, &err) != LL_OK) fail_msg("%s", err.msg);
            assert_int_equal(out.n, bytes);
            assert_int_equal(bytes % CC_PACK_ALIGN, 0);
            if (w->t->ndim != 2) check_dense(&o, w, &out);
            dense += w->t->ndim != 2 && w->data;
            computed += w->t->ndim != 2 && !w->data;
            packed += w->t->ndim == 2;
            free(out.p);
        }
        cc_packer_destroy(p);
        close_model(&o);
    }
    assert_true(dense > 0 && computed > 0 && packed > 0);
}

static void a_file_tensor_that_is_not_the_constant_is_refused(void **state) {
    opened o = open_model("qwen2_q4_0_tied"), other = open_model("llama_q8_0");
    ll_target t;
    ll_error err = {0}, err2 = {0}, err3 = {0};
    ll_target_parse("cpu:x86-64-v3", &t, &err);
    cc_packer *p = cc_packer_create(&t, 1, &err);
    const mdl_weight *m4 = NULL, *m8 = NULL, *v4 = NULL;
    for (size_t i = 0; i < o.mg->n_weight; i++) {
        if (o.mg->weight[i].t->quant)
            m4 = &o.mg->weight[i];
        else if (o.mg->weight[i].data)
            v4 = &o.mg->weight[i];
    }
    for (size_t i = 0; i < other.mg->n_weight; i++)
        if (other.mg->weight[i].t->quant) m8 = &other.mg->weight[i];
    assert_true(m4 && m8 && v4);
    memory out = {0};
    mdl_weight mixed = {.t = m4->t, .data = m8->data};
    assert_int_equal(cc_packer_weight(p, other.m->file, &mixed, put, &out, &err), LL_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "Q8_0"));
    mdl_weight absent = {.t = m4->t};
    assert_int_equal(cc_packer_weight(p, o.m->file, &absent, put, &out, &err2), LL_UNSUPPORTED);
    mdl_gtensor cut = *v4->data;
    cut.size -= 4;
    mdl_weight shorter = {.t = v4->t, .data = &cut};
    assert_int_equal(cc_packer_weight(p, o.m->file, &shorter, put, &out, &err3), LL_BAD_INPUT);
    assert_int_equal(out.n, 0);
    cc_packer_destroy(p);
    close_model(&o);
    close_model(&other);
}

/* ---- the program itself -------------------------------------------------------------------- */

static int64_t dim_value(void *ctx, const char *name) {
    const int64_t *v = ctx;
    return !strcmp(name, "PANELS") ? v[0] : !strcmp(name, "SUPERS") ? v[1] : v[2];
}

/* Host code and loop evaluator agree: the program itself is what is right. */
static void the_program_says_the_same_to_the_evaluator(void **state) {
    ll_target t;
    ll_error err = {0};
    ll_arena a;
    ll_arena_init(&a);
    ll_target_parse("cpu:x86-64-v3", &t, &err);
    const te_quant *q = made_up_type(&a, 0);
    weight w = weight_of(q, 21, 2 * q->block);
    cc_packing pk = packing_of(q, w.rows, w.cols, &t);
    te_graph *g;
    sch *s = cc_pack_program(&pk, q, &t, &g, &err);
    if (!s) fail_msg("%s", err.msg);
    if (lp_verify(s->fn, &err) != LL_OK) fail_msg("%s", err.msg);
    int64_t panels = pk.bytes / pk.panel_bytes, dims[3] = {panels, w.cols / pk.super, w.rows};
    size_t in_bytes = (size_t)(panels * pk.rows * 2 * q->bytes), bytes[TE_MAX_PLANE + 1];
    unsigned char *in = calloc(1, in_bytes);
    memory out = {.p = calloc(1, (size_t)pk.bytes), .n = (size_t)pk.bytes};
    memcpy(in, w.file.p, w.file.n);
    void *arg[TE_MAX_PLANE + 1];
    assert_int_equal(s->fn->n_param, q->n_plane + 1);
    for (int i = 0; i < s->fn->n_param; i++) {
        arg[i] = s->fn->param[i]->written ? out.p : in;
        bytes[i] = s->fn->param[i]->written ? out.n : in_bytes;
    }
    lp_run run = {.arg = arg, .arg_bytes = bytes, .dim = dim_value, .ctx = dims, .seed = 3};
    if (lp_eval(s->fn, &run, &err) != LL_OK) fail_msg("%s", err.msg);
    check_packed(&w, &pk, &out);
    free(in);
    free(out.p);
    sch_destroy(s);
    te_graph_destroy(g);
    weight_finish(&w);
    ll_arena_finish(&a);
}

int main(int argc, char **argv) {
    models = argc > 1 ? argv[1] : "tests/data/models";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_packed_unpacks_bit_for_bit_for_every_type),
        cmocka_unit_test(plain_rows_of_odd_length_are_packed),
        cmocka_unit_test(what_was_packed_unpacks_for_types_that_no_file_has),
        cmocka_unit_test(the_bytes_do_not_depend_on_threads),
        cmocka_unit_test(failures_of_file_and_sink_end_it_with_their_words),
        cmocka_unit_test(every_constant_of_a_model_has_the_bytes_it_says),
        cmocka_unit_test(a_file_tensor_that_is_not_the_constant_is_refused),
        cmocka_unit_test(the_program_says_the_same_to_the_evaluator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

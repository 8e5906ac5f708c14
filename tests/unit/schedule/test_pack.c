/* One packing per weight: packing programs are loop functions over the planes' layouts inside the
 * packed bytes, and unpack(pack(W)) = W for every plane and for the logical value, for types of
 * files and for one that no file has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compile/packing.h"
#include "schedule/loop.h"
#include "te/quant.h"

enum { ROWS = 37 };

typedef struct weight {
    te_graph *g;
    const te_quant *q;
    cc_packing p;
    te_tensor *file, *w, *plane[TE_MAX_PLANE]; /* planes as definitions over the file's bytes */
    te_env *env;
    uint8_t *bytes, *packed;
    size_t n_bytes;
} weight;

static uint64_t rng = 99;
static unsigned byte(void)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(rng >> 40) & 0xff;
}

static weight make(const te_quant *q, int blocks, const char *target)
{
    weight v = {.g = te_graph_create(), .q = q};
    te_graph *g = v.g;
    ll_target t;
    ll_error err = {0};
    te_ref rows = te_int(g, ROWS), n_blocks = te_int(g, blocks);
    assert_int_equal(ll_target_parse(target, &t, &err), LL_OK);
    if (cc_packing_make(q, LL_F32, ROWS, (int64_t)blocks * q->block, &t, &v.p, &err))
        fail_msg("%s", err.msg);
    v.file = te_input(g, "file", LL_U8, rows, n_blocks, te_int(g, q->bytes));
    v.w = te_input_quant(g, "W", q, rows, te_int(g, (int64_t)blocks * q->block));
    v.n_bytes = (size_t)ROWS * (size_t)blocks * (size_t)q->bytes;
    v.bytes = malloc(v.n_bytes);
    for (size_t i = 0; i < v.n_bytes; i++)
        v.bytes[i] = (uint8_t)(byte() & 0xbf); /* no f16 infinity or NaN */
    for (int i = 0; i < q->n_plane; i++) {
        te_ref n = te_axis(g, "n", rows),
               k = te_axis(g, "k", te_int(g, (int64_t)blocks * q->plane[i].count));
        char name[40];
        snprintf(name, sizeof name, "P.%s", q->plane[i].name);
        v.plane[i] = te_def(g, name, te_quant_from_file(g, q, i, v.file, n, k), n, k);
    }
    assert_null(te_error(g));
    v.env = te_env_create(g);
    assert_int_equal(te_env_bind_mem(v.env, v.file, v.bytes, v.n_bytes, &err), LL_OK);
    for (int i = 0; i < q->n_plane; i++) { /* for te_eval, W's planes are those of the file */
        const te_value *planes;
        size_t n;
        assert_int_equal(te_eval(v.env, v.plane[i], &planes, &n, &err), LL_OK);
        if (te_env_bind(v.env, v.w->plane[i], planes, n, &err)) fail_msg("%s", err.msg);
    }
    v.packed = calloc(1, (size_t)v.p.bytes);
    return v;
}

static void finish(weight *v)
{
    te_env_destroy(v->env);
    te_graph_destroy(v->g);
    free(v->bytes);
    free(v->packed);
}

/* Puts the buffers of the planes inside a parameter of the packed bytes. */
static void place(weight *v, lp_func *f, te_tensor *const *plane, bool written)
{
    te_ref size = te_int(v->g, v->p.bytes);
    const char *name = written ? "packed.out" : "packed";
    te_tensor *t = te_find(v->g, name);
    lp_buf *whole = lp_param_add(f, t ? t : te_input_(v->g, name, LL_U8, &size, 1), written);
    whole->given = !written;
    whole->align = 64;
    for (int i = 0; i < v->q->n_plane; i++) {
        lp_buf *b = lp_buf_of(f, plane[i]);
        if (!b) continue;
        lp_layout *l = cc_packing_layout(&v->p, v->g, i);
        assert_true(lp_layout_injective(l, b->t->shape, 2, ll_dtype_bits((ll_dtype)b->t->dtype)));
        b->layout = l;
        b->within = whole;
    }
}

static ll_code run(const lp_func *f, void *const *arg, const size_t *bytes, ll_error *err)
{
    lp_run r = {arg, bytes, NULL, NULL, 5};
    return lp_eval(f, &r, err);
}

/* Memory by parameter name: file, packed bytes (both names), one output. */
static void run_with(weight *v, const lp_func *f, void *out, size_t n_out)
{
    void *arg[32] = {0};
    size_t bytes[32] = {0};
    ll_error err = {0};
    for (int i = 0; i < f->n_param; i++) {
        const lp_buf *b = f->param[i];
        if (b->within) continue;
        bool file = b->t == v->file, packed = strncmp(b->t->name, "packed", 6) == 0;
        arg[i] = file ? (void *)v->bytes : packed ? (void *)v->packed : out;
        bytes[i] = file ? v->n_bytes : packed ? (size_t)v->p.bytes : n_out;
    }
    if (lp_verify(f, &err) != LL_OK) fail_msg("%s", err.msg);
    if (run(f, arg, bytes, &err) != LL_OK) fail_msg("%s", err.msg);
}

static void pack(weight *v)
{
    ll_error err = {0};
    lp_func *f = lp_lower(v->g, "pack", v->plane, v->q->n_plane, NULL, 0, &err);
    if (!f) fail_msg("%s", err.msg);
    place(v, f, v->plane, true);
    run_with(v, f, NULL, 0);
}

/* A definition over the planes of W, run on the packed bytes, against the same over the planes of
 * the file. */
static void check_reader(weight *v, te_tensor *def)
{
    ll_error err = {0};
    lp_func *f = lp_lower(v->g, "unpack", &def, 1, NULL, 0, &err);
    if (!f) fail_msg("%s", err.msg);
    place(v, f, v->w->plane, false);
    const te_value *want;
    size_t n;
    if (te_eval(v->env, def, &want, &n, &err)) fail_msg("%s", err.msg);
    size_t size = (n * (size_t)ll_dtype_bits((ll_dtype)def->dtype) + 7) / 8;
    void *got = calloc(1, size + 8);
    run_with(v, f, got, size);
    for (size_t i = 0; i < n; i++) {
        te_value x;
        te_value_load((ll_dtype)def->dtype, got, i, &x);
        bool same = ll_dtype_is_float((ll_dtype)def->dtype) ? x.f == want[i].f : x.i == want[i].i;
        if (!same) fail_msg("%s: element %zu of %s differs", v->q->name, i, def->name);
    }
    free(got);
}

static void check_type(const te_quant *q, int blocks, const char *target)
{
    weight v = make(q, blocks, target);
    te_graph *g = v.g;
    pack(&v);
    for (int i = 0; i < q->n_plane; i++) {
        te_ref n = te_axis(g, "n", v.w->plane[i]->shape[0]),
               k = te_axis(g, "k", v.w->plane[i]->shape[1]);
        te_ref idx[] = {n, k};
        char name[40];
        snprintf(name, sizeof name, "U.%s", q->plane[i].name);
        check_reader(&v, te_def(g, name, te_load(v.w->plane[i], idx, 2), n, k));
    }
    te_ref n = te_axis(g, "n", v.w->shape[0]), k = te_axis(g, "k", v.w->shape[1]);
    check_reader(&v, te_def(g, "value", te_at(v.w, n, k), n, k));
    finish(&v);
}

static void types_of_files_unpack_to_what_was_packed(void **state)
{
    const char *name[] = {"q4_1", "q8_0", "q4_k", "q5_0", "q6_k"};
    for (int i = 0; i < 5; i++) {
        const te_quant *q = te_quant_by_name(name[i]);
        assert_non_null(q);
        check_type(q, q->block == 256 ? 2 : 6, "cpu:x86-64-v4");
        check_type(q, q->block == 256 ? 1 : 3, "cpu:x86-64-v3");
    }
}

/* 3-bit codes in two planes, blocks of 24 with a scale and a minimum. */
static void a_type_that_no_file_has_unpacks_too(void **state)
{
    ll_arena a;
    ll_error err = {0};
    ll_arena_init(&a);
    const te_quant *q =
        te_quant_make(&a, "q3_24", 24, 13, "f16 d[1]; f16 m[1]; u2 lo[24]; u1 hi[24]",
                      "d = bits.f16(u16(b[0]) | u16(b[1]) << 8:u16); m = bits.f16(u16(b[2]) | "
                      "u16(b[3]) << 8:u16);"
                      "lo = u2(b[4 + i / 4] >> u8(i % 4 * 2)); hi = u1(b[10 + i / 8] >> u8(i % 8))",
                      "f32(d) * f32(u8(lo) + u8(hi) * 4:u8) + f32(m)", &err);
    if (!q) fail_msg("%s", err.msg);
    check_type(q, 4, "cpu:x86-64-v4");
    check_type(q, 1, "cpu:x86-64-v3");
    ll_arena_finish(&a);
}

static void a_plane_that_reaches_beyond_the_packed_bytes_is_refused(void **state)
{
    weight v = make(te_quant_by_name("q8_0"), 2, "cpu:x86-64-v3");
    ll_error err = {0};
    lp_func *f = lp_lower(v.g, "pack", v.plane, v.q->n_plane, NULL, 0, &err);
    place(&v, f, v.plane, true);
    void *arg[8] = {0};
    size_t bytes[8] = {0};
    for (int i = 0; i < f->n_param; i++) {
        if (f->param[i]->within) continue;
        arg[i] = f->param[i]->t == v.file ? v.bytes : v.packed;
        bytes[i] = f->param[i]->t == v.file ? v.n_bytes : (size_t)v.p.bytes - 64;
    }
    assert_int_equal(run(f, arg, bytes, &err), LL_USAGE);
    assert_non_null(strstr(err.msg, "bytes"));
    finish(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_of_files_unpack_to_what_was_packed),
        cmocka_unit_test(a_type_that_no_file_has_unpacks_too),
        cmocka_unit_test(a_plane_that_reaches_beyond_the_packed_bytes_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

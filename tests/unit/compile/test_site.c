/* test_site.c FOLDER: every kernel that fusion and rules make of tiny models says what the
 * definitions say: the scheduled loops, run on packed weights, beside te_eval. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compile/splitk.h"
#include "compile/wants.h"
#include "step.h"

static const char *models;

enum { PARTS = 4, MAX_TOKENS = 24 };

typedef struct setting {
    const char *model;
    int act_block;
    bool one_row;
    ll_dtype kv;
    int kv_block;
    bool heads_apart; /* pools keep the keys of a head in groups of lanes */
} setting;

typedef struct site_run {
    const setting *c;
    const char *target_name;
    ll_target target;
    cc_wants wants;
    mdl_model *m;
    mdl_graph *mg;
    te_tensor **wanted;
    int n_wanted;
    cc_packer *packer;
    int kernels, bad;
    bool ptx; /* run as PTX, too */
} site_run;

/* Of a kind of device, of which `target` is one: it decides which results are wanted. */
static void open_graph(site_run *r, const setting *c, const char *target) {
    ll_error err = {0};
    ll_target t;
    oracle_ok(ll_target_parse(target, &t, &err), &err);
    *r = (site_run){.c = c, .m = step_model(models, c->model)};
    mdl_options o = {.kv = c->kv,
                     .kv_block = c->kv_block,
                     .max_tokens = c->one_row ? 1 : MAX_TOKENS,
                     .max_seqs = 8,
                     .multiple = c->one_row ? 1 : CC_PLAN_ROWS,
                     .act_block = c->act_block,
                     .act_granule = c->act_block};
    oracle_ok(mdl_build_graph(r->m, &o, &r->mg, &err), &err);
    r->wanted = calloc(2 * r->mg->n_layer + 3, sizeof *r->wanted);
    for (size_t i = 0; i < r->mg->n_layer; i++) {
        r->wanted[r->n_wanted++] = r->mg->layer[i].k_new;
        r->wanted[r->n_wanted++] = r->mg->layer[i].v_new;
    }
    r->wanted[r->n_wanted++] = r->mg->logits;
    if (cc_wants_of(&t, !c->act_block).row_stats) {
        r->wanted[r->n_wanted++] = r->mg->max;
        r->wanted[r->n_wanted++] = r->mg->lse;
    }
    if (c->one_row)
        oracle_ok(cc_splitk(r->mg->g, r->wanted, r->n_wanted, PARTS, c->kv_block, &err), &err);
}

static void close_graph(site_run *r) {
    free(r->wanted);
    mdl_graph_destroy(r->mg);
    mdl_close(r->m);
}

/* A packer keeps its programs: one for each target is enough. */
static struct {
    ll_target target;
    cc_packer *packer;
} packers[6];

static void set_target(site_run *r, const char *name) {
    ll_error err = {0};
    int i = 0;
    oracle_ok(ll_target_parse(name, &r->target, &err), &err);
    while (packers[i].packer && strcmp(packers[i].target.name, r->target.name) != 0) i++;
    assert_in_range(i, 0, 5);
    if (!packers[i].packer) {
        packers[i].target = r->target;
        packers[i].packer = cc_packer_create(&packers[i].target, 1, &err);
    }
    r->packer = packers[i].packer;
    r->ptx = r->target.kind == LL_CUDA;
    r->wants = cc_wants_of(&r->target, !r->c->act_block);
    r->target_name = name;
    assert_non_null(r->packer);
}

/* Keys in groups of lanes, so that scores come as vectors; values row by row within a head. */
static int pool_layouts(site_run *r, cc_pool_layout *out) {
    ll_arena *a = te_arena(r->mg->g);
    long long B = r->c->kv_block, b = ll_dtype_bits(r->c->kv),
              L = r->wants.key_lanes;
    int n = 0;
    for (size_t i = 0; i < r->mg->n_layer && r->c->heads_apart; i++) {
        te_tensor *k = r->mg->layer[i].k_pool, *v = r->mg->layer[i].v_pool;
        long long H = k->shape[2]->u.i, D = k->shape[3]->u.i;
        out[n++] = (cc_pool_layout){
            k->name, ll_sprintf(a, "layout(...@%lld | %lld@%lld ...@%lld | ...@%lld | ...@%lld)",
                                H * B * D * b, L, b, L * D * b, B * D * b, L * b)};
        out[n++] = (cc_pool_layout){
            v->name, ll_sprintf(a, "layout(...@%lld | ...@%lld | ...@%lld | ...@%lld)",
                                H * B * D * b, D * b, B * D * b, b)};
    }
    return n;
}

static void complain(site_run *r, const char *what, int k, const ll_error *err, const sch *s) {
    r->bad++;
    print_error("%s, activations %d, %s, %s, kernel %d: %s: %s\n", r->c->model, r->c->act_block,
                r->c->one_row ? "one row" : "many rows", r->target_name, k, what, err->msg);
    if (getenv("SHOW") && s) {
        ll_str text = {0};
        lp_print(&text, s->fn);
        print_error("%s\n%s\n", ll_str_cstr(&s->trace), ll_str_cstr(&text));
        ll_str_finish(&text);
    }
}

static void check_kernel(site_run *r, step *st, const cc_fusion *f, int k) {
    ll_error err = {0};
    oracle_tolerance tol = {.relative = 3e-5, .codes = 5}, gpu_tol = {.relative = 1e-4, .codes = 5};
    cc_site_options o = {.target = &r->target,
                         .act_block = r->c->act_block,
                         .one_row = r->c->one_row,
                         .min_rows = 1,
                         .max_rows = r->c->one_row ? 1 : MAX_TOKENS,
                         .page = r->c->kv_block,
                         .items = r->c->one_row ? NULL : "items"};
    cc_pool_layout pool[2 * 8];
    assert_in_range(r->mg->n_layer, 1, 8);
    o.pool = pool;
    o.n_pool = pool_layouts(r, pool);
    st->packer = r->packer;
    oracle meaning = step_oracle(st);
    sch *s = cc_site_schedule(r->mg->g, f->kernel[k], ll_sprintf(te_arena(r->mg->g), "k%d", k), &o,
                              &err);
    r->kernels++;
    if (!s)
        complain(r, "not scheduled", k, &err, NULL);
    else if (!oracle_check(&meaning, f->kernel[k], s, &tol, &err))
        complain(r, "wrong", k, &err, s);
    else if (r->ptx && !oracle_check_by(&meaning, f->kernel[k], s, &gpu_tol, oracle_by_ptx, &r->target, &err))
        complain(r, "wrong as PTX", k, &err, s);
    sch_destroy(s);
}

static void fuse(site_run *r, cc_fusion *f) {
    ll_error err = {0};
    oracle_ok(cc_fuse(r->mg->g, r->wanted, r->n_wanted, r->c->one_row,
                      r->wants.panel, f, &err),
              &err);
}

static void check_all_on(const setting *c, const step_shape *shape, const char *const *targets,
                         int n_target) {
    site_run r;
    step st;
    open_graph(&r, c, targets[0]);
    step_open(&st, r.m, r.mg, shape, CC_PLAN_ROWS);
    for (int t = 0; t < n_target; t++) {
        cc_fusion f;
        set_target(&r, targets[t]);
        fuse(&r, &f);
        for (int k = 0; k < f.n_kernel; k++) check_kernel(&r, &st, &f, k);
    }
    step_close(&st);
    close_graph(&r);
    if (r.bad) fail_msg("%d of %d kernels", r.bad, r.kernels);
    assert_true(r.kernels > 8);
}

static void check_all(const setting *c, const step_shape *shape) {
    static const char *const targets[] = {"cpu:x86-64-v3", "cpu:x86-64-v4+avx512vnni"};
    check_all_on(c, shape, targets, 2);
}

static const step_shape one = {1, {37}, {1}}, several = {3, {5, 20, 41}, {5, 1, 6}};

#define MODEL_TEST(name, ...)                                                                      \
    static void name(void **state) {                                                               \
        static const setting c = {__VA_ARGS__};                                                    \
        check_all(&c, c.one_row ? &one : &several);                                                \
    }
MODEL_TEST(one_row_of_8_bit_weights, "llama_q8_0", 0, true, LL_F16, 16)
MODEL_TEST(one_row_of_8_bit_weights_and_activations, "llama_q8_0", 32, true, LL_F16, 16, true)
MODEL_TEST(one_row_of_4_bit_weights_with_biases, "qwen2_q4_0_tied", 0, true, LL_F16, 32, true)
MODEL_TEST(one_row_of_4_bit_weights_and_8_bit_activations, "qwen2_q4_0_tied", 32, true, LL_F32, 16)
MODEL_TEST(one_row_of_half_weights, "llama_f16", 0, true, LL_F32, 32)
MODEL_TEST(many_rows_of_8_bit_weights, "llama_q8_0", 0, false, LL_F16, 16)
MODEL_TEST(many_rows_of_8_bit_weights_and_activations, "llama_q8_0", 32, false, LL_F16, 16, true)
MODEL_TEST(many_rows_of_4_bit_weights_with_biases, "qwen2_q4_0_tied", 0, false, LL_F16, 32, true)
MODEL_TEST(many_rows_of_4_bit_weights_and_8_bit_activations, "qwen2_q4_0_tied", 32, false, LL_F32,
           16)
MODEL_TEST(many_rows_of_half_weights, "llama_f16", 0, false, LL_F32, 32)

/* GPUs: blocks and threads, activations are float. */
static void check_on_gpu(const setting *c, const step_shape *shape) {
    static const char *const targets[] = {"cuda:sm_80"};
    check_all_on(c, shape, targets, 1);
}

#define GPU_TEST(name, ...)                                                                        \
    static void name(void **state) {                                                               \
        static const setting c = {__VA_ARGS__};                                                    \
        check_on_gpu(&c, c.one_row ? &one : &several);                                             \
    }
GPU_TEST(gpu_one_row_of_8_bit_weights, "llama_q8_0", 0, true, LL_F16, 16)
GPU_TEST(gpu_one_row_of_4_bit_weights_with_biases, "qwen2_q4_0_tied", 0, true, LL_F16, 32, true)
GPU_TEST(gpu_one_row_of_half_weights, "llama_f16", 0, true, LL_F32, 32)
GPU_TEST(gpu_many_rows_of_8_bit_weights, "llama_q8_0", 0, false, LL_F16, 16)
GPU_TEST(gpu_many_rows_of_4_bit_weights_with_biases, "qwen2_q4_0_tied", 0, false, LL_F16, 32, true)
GPU_TEST(gpu_many_rows_of_half_weights, "llama_f16", 0, false, LL_F32, 32)

/* The first ragged kernel and the one behind it, which puts its parts together, at lengths round
 * the edges of pages and parts; what is behind the end is NaN. */
static void check_lengths(const setting *c, const char *target) {
    static const int lens[] = {1, 2, 15, 16, 17, 33, 63, 64, 65, 129, 200};
    site_run r;
    open_graph(&r, c, target);
    set_target(&r, target);
    cc_fusion f;
    fuse(&r, &f);
    int k = 0;
    while (k < f.n_kernel && f.kernel[k]->class != CC_RAGGED) k++;
    assert_true(k + 1 < f.n_kernel);
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        step st;
        step_shape shape = {1, {lens[i]}, {1}};
        if (!c->one_row) shape = (step_shape){2, {lens[i] + 3, lens[i] + 3}, {3, 1}};
        step_open(&st, r.m, r.mg, &shape, CC_PLAN_ROWS);
        check_kernel(&r, &st, &f, k);
        check_kernel(&r, &st, &f, k + 1);
        step_close(&st);
    }
    close_graph(&r);
    if (r.bad) fail_msg("%d of %d", r.bad, r.kernels);
}

#define LENGTH_TEST(name, target, ...)                                                             \
    static void name(void **state) {                                                               \
        static const setting c = {__VA_ARGS__};                                                    \
        check_lengths(&c, target);                                                                 \
    }
LENGTH_TEST(one_row_keeps_to_every_length, "cpu:x86-64-v4", "llama_q8_0", 32, true, LL_F16, 16,
            false)
LENGTH_TEST(one_row_keeps_to_every_length_with_heads_apart, "cpu:x86-64-v3", "llama_q8_0", 0, true,
            LL_F16, 64, true)
LENGTH_TEST(many_rows_keep_to_every_length, "cpu:x86-64-v3", "qwen2_q4_0_tied", 0, false, LL_F32,
            16, false)
LENGTH_TEST(many_rows_keep_to_every_length_with_heads_apart, "cpu:x86-64-v4", "llama_q8_0", 32,
            false, LL_F16, 32, true)

int main(int argc, char **argv) {
    models = argc > 1 ? argv[1] : "tests/data/models";
    if (argc > 2) cmocka_set_test_filter(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_row_of_8_bit_weights),
        cmocka_unit_test(one_row_of_8_bit_weights_and_activations),
        cmocka_unit_test(one_row_of_4_bit_weights_with_biases),
        cmocka_unit_test(one_row_of_4_bit_weights_and_8_bit_activations),
        cmocka_unit_test(one_row_of_half_weights),
        cmocka_unit_test(many_rows_of_8_bit_weights),
        cmocka_unit_test(many_rows_of_8_bit_weights_and_activations),
        cmocka_unit_test(many_rows_of_4_bit_weights_with_biases),
        cmocka_unit_test(many_rows_of_4_bit_weights_and_8_bit_activations),
        cmocka_unit_test(many_rows_of_half_weights),
        cmocka_unit_test(gpu_one_row_of_8_bit_weights),
        cmocka_unit_test(gpu_one_row_of_4_bit_weights_with_biases),
        cmocka_unit_test(gpu_one_row_of_half_weights),
        cmocka_unit_test(gpu_many_rows_of_8_bit_weights),
        cmocka_unit_test(gpu_many_rows_of_4_bit_weights_with_biases),
        cmocka_unit_test(gpu_many_rows_of_half_weights),
        cmocka_unit_test(one_row_keeps_to_every_length),
        cmocka_unit_test(one_row_keeps_to_every_length_with_heads_apart),
        cmocka_unit_test(many_rows_keep_to_every_length),
        cmocka_unit_test(many_rows_keep_to_every_length_with_heads_apart),
    };
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < 6; i++) cc_packer_destroy(packers[i].packer);
    return bad;
}

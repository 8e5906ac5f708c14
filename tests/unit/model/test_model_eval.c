/* test_model_eval.c FOLDER: what the model's expressions mean, by te_eval alone (no compiler
 * yet): logits of tiny models against those recorded from other software, in one step, in a
 * batch of two sequences whose pages lie in any order among stale ones, and in two steps through
 * the cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include <cmocka.h>

#include "base/file.h"
#include "model/model.h"
#include "te/quant.h"
#include "tests/support/quant_file.h"

static const char *folder;

enum { BLOCK = 16, BLOCKS = 4, PAGES = 2 };

/* ---- the recorded numbers ---- */

typedef struct ref {
    json_t *json;
    char *bin;
} ref;

static ref ref_load(const char *model)
{
    char path[4096];
    json_error_t je;
    size_t n;
    void *p;
    ref r;
    ll_error e = {0};
    snprintf(path, sizeof path, "%s/%s/ref.json", folder, model);
    r.json = json_load_file(path, 0, &je);
    if (!r.json) fail_msg("%s: %s", path, je.text);
    snprintf(path, sizeof path, "%s/%s/ref.bin", folder, model);
    if (ll_file_read(path, 1 << 24, &p, &n, &e)) fail_msg("%s", e.msg);
    r.bin = p;
    return r;
}

static const void *ref_get(const ref *r, const char *name)
{
    size_t i;
    json_t *t;
    json_array_foreach(json_object_get(r->json, "tensors"), i, t)
        if (!strcmp(json_string_value(json_object_get(t, "name")), name))
            return r->bin + json_integer_value(json_object_get(t, "offset"));
    fail_msg("no %s", name);
    return NULL;
}

/* ---- weights ---- */

static void ok(ll_code rc, const ll_error *e)
{
    if (rc != LL_OK) fail_msg("%s: %s", ll_code_name(rc), e->msg);
}

static void bind_plain(te_env *env, te_tensor *t, ll_dtype type, const void *mem, size_t n)
{
    te_value *v = malloc((n + 1) * sizeof *v);
    ll_error e = {0};
    for (size_t i = 0; i < n; i++) te_value_load(type, mem, i, &v[i]);
    ok(te_env_bind(env, t, v, n, &e), &e);
    free(v);
}

static void bind_weights(te_env *env, const mdl_model *m, const mdl_graph *mg)
{
    ll_error e = {0};
    for (size_t i = 0; i < mg->n_weight; i++) {
        const mdl_weight *w = &mg->weight[i];
        if (!w->data) {
            bind_plain(env, w->t, LL_F32, w->values, w->n_values);
            continue;
        }
        unsigned char *mem = malloc((size_t)w->data->size);
        ok(mdl_gguf_read(m->file, w->data, 0, mem, (size_t)w->data->size, &e), &e);
        if (w->t->quant) ok(quant_file_bind(env, w->t, mem, (size_t)w->data->size, &e), &e);
        else
            bind_plain(env, w->t, w->data->type->dtype, mem,
                       (size_t)(w->data->size / w->data->type->bytes));
        free(mem);
    }
}

/* ---- a step ---- */

typedef struct step { /* tokens of the sequences behind each other */
    int n_seq;
    int first[4], count[4];          /* positions of this step's tokens */
    const int32_t *ids[4];           /* of the whole sequence */
    int table[4][PAGES];
} step;

static void bind_ints(te_env *env, te_tensor *t, const int64_t *v, size_t n)
{
    te_value x[256];
    ll_error e = {0};
    for (size_t i = 0; i < n; i++) x[i].i = v[i];
    ok(te_env_bind(env, t, x, n, &e), &e);
}

/* Binds everything but the pools; asks for the logits of every token. */
static te_env *start_step(const mdl_model *m, const mdl_graph *mg, const step *s)
{
    te_env *env = te_env_create(mg->g);
    int64_t tokens[128], pos[128], seg[128], row[128], start[8] = {0}, len[8], table[16], n = 0;
    ll_error e = {0};
    for (int q = 0; q < s->n_seq; q++) {
        for (int i = 0; i < s->count[q]; i++, n++) {
            pos[n] = s->first[q] + i;
            tokens[n] = s->ids[q][pos[n]];
            seg[n] = q;
            row[n] = n;
        }
        start[q + 1] = n;
        len[q] = s->first[q] + s->count[q];
        for (int p = 0; p < PAGES; p++) table[q * PAGES + p] = s->table[q][p];
    }
    ok(te_env_dim(env, "T", n, &e), &e);
    ok(te_env_dim(env, "S", s->n_seq, &e), &e);
    ok(te_env_dim(env, "R", n, &e), &e);
    ok(te_env_dim(env, "PAGES", PAGES, &e), &e);
    ok(te_env_dim(env, "BLOCKS", BLOCKS, &e), &e);
    bind_ints(env, mg->tokens, tokens, (size_t)n);
    bind_ints(env, mg->pos, pos, (size_t)n);
    bind_ints(env, mg->seg, seg, (size_t)n);
    bind_ints(env, mg->rows, row, (size_t)n);
    bind_ints(env, mg->start, start, (size_t)s->n_seq + 1);
    bind_ints(env, mg->len, len, (size_t)s->n_seq);
    bind_ints(env, mg->table, table, (size_t)s->n_seq * PAGES);
    bind_weights(env, m, mg);
    return env;
}

/* Pools from another step, or NaN everywhere: what is stale is never read. */
static void bind_pools(te_env *env, const mdl_graph *mg, te_env *before)
{
    ll_error e = {0};
    for (size_t l = 0; l < mg->n_layer; l++)
        for (int k = 0; k < 2; k++) {
            te_tensor *pool = k ? mg->layer[l].v_pool : mg->layer[l].k_pool;
            size_t n = BLOCKS * BLOCK * (size_t)(pool->shape[2]->u.i * pool->shape[3]->u.i);
            const te_value *v;
            if (before) {
                ok(te_eval(before, k ? mg->layer[l].v_new : mg->layer[l].k_new, &v, &n, &e), &e);
                ok(te_env_bind(env, pool, v, n, &e), &e);
                continue;
            }
            te_value *stale = malloc(n * sizeof *stale);
            for (size_t i = 0; i < n; i++) stale[i].f = NAN;
            ok(te_env_bind(env, pool, stale, n, &e), &e);
            free(stale);
        }
}

/* The logits from row `at` on equal `want` [n, vocab]; returns the largest difference. */
static double compare(te_env *env, const mdl_graph *mg, size_t at, const float *want, size_t n)
{
    const te_value *v;
    size_t count, vocab = (size_t)mg->logits->shape[1]->u.i;
    double worst = 0;
    ll_error e = {0};
    ok(te_eval(env, mg->logits, &v, &count, &e), &e);
    assert_true(count >= (at + n) * vocab);
    for (size_t i = 0; i < n * vocab; i++) {
        double d = fabs(v[at * vocab + i].f - (double)want[i]);
        if (!(d <= worst)) worst = d; /* NaN too */
    }
    return worst;
}

/* The largest difference lies in least..limit: a coarser number format must be seen, and not
 * more than it. */
static void check(const char *model, mdl_options options, double least, double limit)
{
    char path[4096];
    mdl_model *m;
    mdl_graph *mg;
    ll_error e = {0};
    ref r = ref_load(model);
    const int32_t *one = ref_get(&r, "ids_1"), *seven = ref_get(&r, "ids_7");
    const float *l1 = ref_get(&r, "logits_1"), *l7 = ref_get(&r, "logits_7");
    snprintf(path, sizeof path, "%s/%s/model.gguf", folder, model);
    ok(mdl_open(path, &m, &e), &e);
    options.kv_block = BLOCK;
    ok(mdl_build_graph(m, &options, &mg, &e), &e);

    step both = {.n_seq = 2, .count = {7, 1}, .ids = {seven, one}, .table = {{2, 0}, {1, 3}}};
    te_env *env = start_step(m, mg, &both);
    bind_pools(env, mg, NULL);
    double d7 = compare(env, mg, 0, l7, 7), d1 = compare(env, mg, 7, l1, 1);
    te_env_destroy(env);

    step first = {.n_seq = 1, .count = {6}, .ids = {seven}, .table = {{3, 1}}};
    step second = {.n_seq = 1, .first = {6}, .count = {1}, .ids = {seven}, .table = {{3, 1}}};
    te_env *a = start_step(m, mg, &first), *b = start_step(m, mg, &second);
    bind_pools(a, mg, NULL);
    bind_pools(b, mg, a);
    size_t vocab = (size_t)m->config.vocab;
    double d6 = compare(b, mg, 0, l7 + 6 * vocab, 1);
    te_env_destroy(a);
    te_env_destroy(b);
    print_message("%s: %.2g in a batch of two, %.2g in two steps\n", model, d7 > d1 ? d7 : d1, d6);
    if (!(d7 <= limit && d1 <= limit && d6 <= limit && d7 >= least))
        fail_msg("%s: logits differ by %g, %g, %g", model, d7, d1, d6);

    mdl_graph_destroy(mg);
    mdl_close(m);
    json_decref(r.json);
    free(r.bin);
}

static const mdl_options plain = {.kv = LL_F32}, f16_cache = {.kv = LL_F16},
                         q8 = {.kv = LL_F32, .act_block = 32, .act_granule = 16};

static void llama_with_plain_weights(void **st) { check("llama_f16", plain, 0, 3e-5); }
static void llama_with_quantised_weights(void **st) { check("llama_q8_0", plain, 0, 3e-5); }
static void qwen2_with_biases_and_a_tied_head(void **st)
{
    check("qwen2_q4_0_tied", plain, 0, 3e-5);
}
static void a_cache_of_f16_rounds_keys_and_values(void **st)
{
    check("llama_f16", f16_cache, 1e-4, 1e-2);
}

static void activations_of_8_bits_meet_quantised_weights_only(void **st)
{
    check("llama_q8_0", q8, 1e-3, 0.3);
    check("qwen2_q4_0_tied", q8, 1e-3, 0.6);
    check("llama_f16", q8, 0, 3e-5);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    folder = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_with_plain_weights),
        cmocka_unit_test(llama_with_quantised_weights),
        cmocka_unit_test(qwen2_with_biases_and_a_tied_head),
        cmocka_unit_test(a_cache_of_f16_rounds_keys_and_values),
        cmocka_unit_test(activations_of_8_bits_meet_quantised_weights_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_sample.c: the sampling chain against probabilities from other software, and its edges. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <jansson.h>

#include "base/file.h"
#include "runtime/sample.h"

static const char *data_dir;

typedef struct ref {
    json_t *json;
    char *bin;
} ref;

static ref open_ref(const char *name)
{
    char path[512];
    size_t n;
    void *bin;
    ll_error e = {0};
    snprintf(path, sizeof path, "%s/%s.json", data_dir, name);
    ref r = {.json = json_load_file(path, 0, NULL)};
    assert_non_null(r.json);
    snprintf(path, sizeof path, "%s/%s.bin", data_dir, name);
    if (ll_file_read(path, 1 << 24, &bin, &n, &e) != LL_OK) fail_msg("%s", e.msg);
    r.bin = bin;
    return r;
}

static void *tensor(const ref *r, const char *name, size_t *n)
{
    json_t *list = json_object_get(r->json, "tensors"), *t;
    size_t i;
    json_array_foreach(list, i, t) if (!strcmp(json_string_value(json_object_get(t, "name")), name))
    {
        if (n) *n = (size_t)json_integer_value(json_array_get(json_object_get(t, "shape"), 0));
        return r->bin + json_integer_value(json_object_get(t, "offset"));
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

static const struct {
    const char *name;
    llmir_sample_params p;
} cases[] = {
    {"temp_0.7", {.temperature = 0.7f}},
    {"temp_1.6", {.temperature = 1.6f}},
    {"top_k_1", {.temperature = 1, .top_k = 1}},
    {"top_k_5", {.temperature = 1, .top_k = 5}},
    {"top_k_40", {.temperature = 1, .top_k = 40}},
    {"top_p_0.1", {.temperature = 1, .top_p = 0.1f}},
    {"top_p_0.5", {.temperature = 1, .top_p = 0.5f}},
    {"top_p_0.9", {.temperature = 1, .top_p = 0.9f}},
    {"top_p_0.99", {.temperature = 1, .top_p = 0.99f}},
    {"min_p_0.02", {.temperature = 1, .min_p = 0.02f}},
    {"min_p_0.1", {.temperature = 1, .min_p = 0.1f}},
    {"min_p_0.5", {.temperature = 1, .min_p = 0.5f}},
    {"rep_1.3", {.temperature = 1, .repeat_penalty = 1.3f}},
    {"rep_0.8", {.temperature = 1, .repeat_penalty = 0.8f}},
    {"chain_a", {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .repeat_penalty = 1.1f}},
    {"chain_b",
     {.temperature = 1.3f, .top_k = 20, .top_p = 0.9f, .min_p = 0.05f, .repeat_penalty = 1.2f}},
    {"chain_c", {.temperature = 0.6f, .top_p = 0.8f, .min_p = 0.1f}},
};
enum { N_CASE = sizeof cases / sizeof *cases };

/* What a module's kernel would report about the row. */
typedef struct kernel_view {
    float stats[2], logit[256];
    int32_t id[256];
} kernel_view;

static void look(const float *row, uint32_t n, kernel_view *v)
{
    double sum = 0;
    char *used = calloc(n, 1);
    for (int k = 0; k < 256; k++) {
        int32_t top = -1;
        for (uint32_t i = 0; i < n; i++)
            if (!used[i] && (top < 0 || row[i] > row[top])) top = (int32_t)i;
        v->id[k] = top;
        v->logit[k] = top < 0 ? -INFINITY : row[top];
        if (top >= 0) used[top] = 1;
    }
    for (uint32_t i = 0; i < n; i++) sum += exp((double)row[i] - (double)v->logit[0]);
    v->stats[0] = v->logit[0];
    v->stats[1] = (float)((double)v->logit[0] + log(sum));
    free(used);
}

static void chains_leave_the_probabilities_of_the_reference(void **st)
{
    (void)st;
    static const char *const names[] = {"v64", "v333", "v1000_flat"};
    for (int f = 0; f < 3; f++) {
        ref r = open_ref(names[f]);
        size_t n, n_history;
        const float *logits = tensor(&r, "logits", &n);
        const int32_t *history = tensor(&r, "history", &n_history);
        rt_sampler s;
        kernel_view view;
        float *row = malloc(n * sizeof *row);
        assert_int_equal(rt_sampler_init(&s, (uint32_t)n, NULL), LL_OK);
        look(logits, (uint32_t)n, &view);
        for (int c = 0; c < N_CASE; c++)
            for (int with_kernel = 0; with_kernel < 2; with_kernel++) {
                const double *want = tensor(&r, cases[c].name, NULL);
                memcpy(row, logits, n * sizeof *row);
                rt_row x = {.logit = row, .n = (uint32_t)n};
                if (with_kernel)
                    x = (rt_row){row,        (uint32_t)n, &view.stats[0], &view.stats[1], view.id,
                                 view.logit, 256};
                assert_int_equal(rt_sample_keep(&s, &cases[c].p, &x, history, n_history, NULL),
                                 LL_OK);
                uint32_t k = 0;
                for (uint32_t i = 0; i < n; i++) {
                    double got = 0;
                    if (k < s.n_kept && s.id[k] == (int32_t)i) got = s.weight[k++] / s.total;
                    if (fabs(got - want[i]) > 2e-7 + 1e-5 * want[i] || (got == 0) != (want[i] == 0))
                        fail_msg("%s %s id %u: %.9g, wanted %.9g", names[f], cases[c].name, i, got,
                                 want[i]);
                }
                assert_int_equal(k, s.n_kept);
            }
        rt_sampler_finish(&s);
        free(row);
        json_decref(r.json);
        free(r.bin);
    }
}

static void draws_are_those_of_the_reference(void **st)
{
    (void)st;
    ref r = open_ref("v333");
    size_t n, n_history, n_u;
    const float *logits = tensor(&r, "logits", &n);
    const int32_t *history = tensor(&r, "history", &n_history);
    const double *u = tensor(&r, "u", &n_u);
    rt_sampler s;
    float *row = malloc(n * sizeof *row);
    assert_int_equal(rt_sampler_init(&s, (uint32_t)n, NULL), LL_OK);
    static const int which[] = {0, 14};
    for (int c = 0; c < 2; c++) {
        char name[64];
        snprintf(name, sizeof name, "draw_%s", cases[which[c]].name);
        const int32_t *want = tensor(&r, name, NULL);
        memcpy(row, logits, n * sizeof *row);
        rt_row x = {.logit = row, .n = (uint32_t)n};
        assert_int_equal(rt_sample_keep(&s, &cases[which[c]].p, &x, history, n_history, NULL),
                         LL_OK);
        for (size_t i = 0; i < n_u; i++) assert_int_equal(rt_sample_draw(&s, u[i]), want[i]);
    }
    rt_sampler_finish(&s);
    free(row);
    json_decref(r.json);
    free(r.bin);
}

/* Random rows and parameters: the short list gives exactly what the whole row gives. */
static void short_lists_never_change_the_result(void **st)
{
    (void)st;
    enum { N = 5000 };
    static float row[N], a[N], b[N];
    int32_t history[300];
    rt_sampler s, t;
    assert_int_equal(rt_sampler_init(&s, N, NULL), LL_OK);
    assert_int_equal(rt_sampler_init(&t, N, NULL), LL_OK);
    srand(5);
    for (int round = 0; round < 300; round++) {
        float spread = (float)(1 << rand() % 6) / 4;
        for (int i = 0; i < N; i++)
            row[i] = spread * (float)(rand() % 4001 - 2000) / 1000; /* many ties */
        for (int i = 0; i < 300; i++) history[i] = rand() % N;
        llmir_sample_params p = {.temperature = round % 7 ? 0.2f + (float)(rand() % 20) / 10 : 0};
        if (rand() % 2) p.top_k = 1 + (uint32_t)(rand() % (rand() % 2 ? 20 : N));
        if (rand() % 2) p.top_p = (float)(1 + rand() % 99) / 100;
        if (rand() % 2) p.min_p = (float)(rand() % 50) / 100;
        if (rand() % 2) p.repeat_penalty = rand() % 2 ? 1.3f : 0.7f;
        kernel_view v;
        look(row, N, &v);
        memcpy(a, row, sizeof a);
        memcpy(b, row, sizeof b);
        rt_row x = {a, N, &v.stats[0], &v.stats[1], v.id, v.logit, 256};
        assert_int_equal(rt_sample_keep(&s, &p, &x, history, 300, NULL), LL_OK);
        /* the whole row, sorted at once */
        static int32_t all_id[N];
        static float all_logit[N];
        char *used = calloc(N, 1);
        rt_row whole = {.logit = b, .n = N};
        if (p.repeat_penalty > 0)
            for (int i = 0; i < 300; i++) {
                if (used[history[i]]++) continue;
                float *l = &b[history[i]];
                *l = *l > 0 ? *l / p.repeat_penalty : *l * p.repeat_penalty;
            }
        free(used);
        for (int i = 0; i < N; i++) all_id[i] = i;
        for (int gap = N / 2; gap > 0; gap /= 2) /* shell sort, best first, ties by id */
            for (int i = gap; i < N; i++)
                for (int j = i - gap; j >= 0; j -= gap) {
                    int32_t y = all_id[j], z = all_id[j + gap];
                    if (b[y] > b[z] || (b[y] == b[z] && y < z)) break;
                    all_id[j] = z, all_id[j + gap] = y;
                }
        for (int i = 0; i < N; i++) all_logit[i] = b[all_id[i]];
        whole.best_id = all_id;
        whole.best_logit = all_logit;
        whole.n_best = N;
        llmir_sample_params q = p;
        q.repeat_penalty = 0;
        assert_int_equal(rt_sample_keep(&t, &q, &whole, NULL, 0, NULL), LL_OK);
        assert_int_equal(s.n_kept, t.n_kept);
        assert_memory_equal(s.id, t.id, s.n_kept * sizeof *s.id);
        for (uint32_t i = 0; i < s.n_kept; i++) assert_true(s.weight[i] == t.weight[i]);
    }
    rt_sampler_finish(&s);
    rt_sampler_finish(&t);
}

static int32_t pick(llmir_sample_params p, float *row, size_t n, uint64_t position)
{
    int32_t id = -1;
    llmir_error err;
    p.size = sizeof p;
    if (llmir_sample(&p, row, n, NULL, 0, position, &id, &err) != LLMIR_OK) fail_msg("%s", err.msg);
    return id;
}

static void greedy_takes_the_lowest_of_equal_ids(void **st)
{
    (void)st;
    float row[600];
    for (int i = 0; i < 600; i++) row[i] = (float)(i % 50);
    row[0] = -0.0f;
    assert_int_equal(pick((llmir_sample_params){0}, row, 600, 0), 49);
    assert_int_equal(pick((llmir_sample_params){.temperature = 1, .top_k = 1}, row, 600, 3), 49);
    float top = 49; /* the maximum is known: the same answer without a list */
    rt_sampler s;
    assert_int_equal(rt_sampler_init(&s, 600, NULL), LL_OK);
    for (uint32_t n = 50; n <= 600; n += 55) {
        rt_row x = {.logit = row, .n = n, .max = &top};
        assert_int_equal(rt_sample_keep(&s, &(llmir_sample_params){0}, &x, NULL, 0, NULL), LL_OK);
        assert_int_equal(rt_sample_draw(&s, 0), 49);
    }
    rt_sampler_finish(&s);
    float one = -INFINITY, two[2] = {-INFINITY, 3};
    assert_int_equal(pick((llmir_sample_params){.temperature = 2}, two, 2, 0), 1);
    int32_t id;
    assert_int_equal(llmir_sample(NULL, &one, 1, NULL, 0, 0, &id, NULL), LLMIR_FAILED);
    two[0] = NAN;
    assert_int_equal(llmir_sample(NULL, two, 2, NULL, 0, 0, &id, NULL), LLMIR_FAILED);
    two[0] = INFINITY;
    assert_int_equal(llmir_sample(NULL, two, 2, NULL, 0, 0, &id, NULL), LLMIR_FAILED);
    assert_int_equal(llmir_sample(NULL, two, 0, NULL, 0, 0, &id, NULL), LLMIR_USAGE);
}

static void equal_seeds_draw_equal_tokens(void **st)
{
    (void)st;
    float row[500];
    int same = 0;
    for (int i = 0; i < 200; i++) {
        for (int v = 0; v < 500; v++) row[v] = (float)(v * 7 % 31) / 10;
        int32_t a =
            pick((llmir_sample_params){.temperature = 1, .seed = 42}, row, 500, (uint64_t)i);
        int32_t b =
            pick((llmir_sample_params){.temperature = 1, .seed = 42}, row, 500, (uint64_t)i);
        int32_t c =
            pick((llmir_sample_params){.temperature = 1, .seed = 43}, row, 500, (uint64_t)i);
        assert_int_equal(a, b);
        same += a == c;
    }
    assert_true(same < 20);
    /* SplitMix64, seed 1234567: its published first outputs */
    assert_true(rt_sample_random(1234567, 0) == (double)(6457827717110365317u >> 11) * 0x1p-53);
    assert_true(rt_sample_random(1234567, 1) == (double)(3203168211198807973u >> 11) * 0x1p-53);
}

static void repeat_last_looks_back_that_far(void **st)
{
    (void)st;
    float row[3] = {5, 4, 3};
    int32_t history[] = {0, 1, 1, 1}, id;
    llmir_sample_params p = {.size = sizeof p, .repeat_penalty = 3, .repeat_last = 3};
    assert_int_equal(llmir_sample(&p, row, 3, history, 4, 0, &id, NULL), LLMIR_OK);
    assert_int_equal(id, 0);
    assert_true(fabsf(row[1] - 4.0f / 3) < 1e-6f && row[0] == 5);
    row[1] = 4;
    p.repeat_last = 0;
    assert_int_equal(llmir_sample(&p, row, 3, history, 4, 0, &id, NULL), LLMIR_OK);
    assert_int_equal(id, 2);
}

int main(int argc, char **argv)
{
    if (argc < 2) return fprintf(stderr, "usage: test_sample DATA\n"), 2;
    data_dir = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_leave_the_probabilities_of_the_reference),
        cmocka_unit_test(draws_are_those_of_the_reference),
        cmocka_unit_test(short_lists_never_change_the_result),
        cmocka_unit_test(greedy_takes_the_lowest_of_equal_ids),
        cmocka_unit_test(equal_seeds_draw_equal_tokens),
        cmocka_unit_test(repeat_last_looks_back_that_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

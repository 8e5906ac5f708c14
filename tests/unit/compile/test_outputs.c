/* test_outputs.c FOLDER: what a module's programs write beside the logits, against the logits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <unistd.h>

#include <cmocka.h>

#include "compile/build.h"
#include "runtime/rt.h"

enum { N = 5, MAX_VOCAB = 512 };

static const char *folder;
static char module[] = "/tmp/llmir-outputs-XXXXXX";

static int setup(void **state)
{
    char model[512];
    ll_error e = {0};
    cc_report report = {0};
    cc_options o = {.jobs = 2, .kv_block = (int64_t[]){16}, .n_kv_block = 1, .max_tokens = 32};
    snprintf(model, sizeof model, "%s/llama_q8_0/model.gguf", folder);
    close(mkstemp(module));
    if (cc_build(model, module, &o, &report, &e)) return fprintf(stderr, "%s\n", e.msg), -1;
    return 0;
}

static int teardown(void **state) { return unlink(module); }

static void check_row(const llmir_engine *e, uint32_t row, const float *logit, uint32_t vocab)
{
    const float *max = e->out[LLMIR_OUT_MAX], *lse = e->out[LLMIR_OUT_LSE];
    float top = -INFINITY;
    double sum = 0;
    assert_non_null(max);
    assert_non_null(lse);
    for (uint32_t i = 0; i < vocab; i++) top = logit[i] > top ? logit[i] : top;
    for (uint32_t i = 0; i < vocab; i++) sum += exp((double)logit[i] - (double)top);
    assert_true(max[row] == top);
    double want = log(sum) + (double)top, d = fabs((double)lse[row] - want);
    if (!(d <= 1e-6 * (1 + fabs(want)))) fail_msg("row %u: %g is off by %g", row, want, d);
}

/* A step of many tokens, then one of one; the log-sum-exp of every row goes to `lse`. */
static void run(uint32_t threads, float lse[N + 1])
{
    static float rows[(N + 1) * MAX_VOCAB];
    static const int32_t token[N + 1] = {1, 7, 3, 250, 31, 9};
    llmir_error err;
    llmir_model *m = NULL;
    llmir_engine *e = NULL;
    llmir_session *s = NULL;
    llmir_model_info info = LLMIR_INIT(llmir_model_info);
    llmir_engine_params p = {.size = sizeof p, .threads = threads, .context = 32, .max_rows = N};
    if (llmir_open(module, NULL, &m, &err) || llmir_model_get_info(m, &info, &err) ||
        llmir_engine_create(m, &p, &e, &err) || llmir_session_create(e, &s, &err))
        fail_msg("%s", err.msg);
    assert_in_range(info.vocab, 251, MAX_VOCAB);
    for (int one = 0; one < 2; one++) {
        llmir_feed f = {.size = sizeof f, .session = s, .tokens = token + (one ? N : 0),
                        .n_tokens = one ? 1 : N, .want = LLMIR_WANT_ALL, .logits = rows};
        if (llmir_step(e, &f, 1, NULL, &err)) fail_msg("%s", err.msg);
        for (uint32_t r = 0; r < f.n_tokens; r++) {
            check_row(e, r, rows + r * info.vocab, info.vocab);
            lse[one ? N : r] = ((const float *)e->out[LLMIR_OUT_LSE])[r];
        }
    }
    llmir_session_destroy(s);
    llmir_engine_destroy(e);
    llmir_close(m);
}

static void every_program_writes_maximum_and_log_sum_exp(void **state)
{
    float lse[N + 1];
    run(1, lse);
}

static void their_bits_do_not_depend_on_the_threads(void **state)
{
    float one[N + 1], three[N + 1];
    run(1, one);
    run(3, three);
    assert_memory_equal(one, three, sizeof one);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_program_writes_maximum_and_log_sum_exp),
        cmocka_unit_test(their_bits_do_not_depend_on_the_threads),
    };
    folder = argv[argc - 1];
    return cmocka_run_group_tests(tests, setup, teardown);
}

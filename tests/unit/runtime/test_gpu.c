/* test_gpu.c: GPUs as a device, on the simulator: finding one, choosing code for it, what is said
 * when that fails, graphs, faults. What a GPU computes is in test_engine.c.
 *
 * One process simulates one device, an sm_80 here. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <llmir/llmir.h>

#include "base/file.h"
#include "tests/unit/runtime/fake.h"

static const char *object;
static char *ptx;
static char path[] = "/tmp/llmir-fake-XXXXXX";

static int setup(void **s)
{
    (void)s;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **s)
{
    (void)s;
    return unlink(path);
}

static int open_as(const fake_options *o, const char *device, llmir_model **m, llmir_error *err)
{
    ll_error e = {0};
    llmir_open_params p = {.size = sizeof p, .device = device};
    if (fake_write(path, object, o, &e) != LL_OK) fail_msg("%s", e.msg);
    return llmir_open(path, &p, m, err);
}

#define SAYS(words)                                                                                \
    do {                                                                                           \
        if (!strstr(err.msg, words)) fail_msg("'%s' does not say '%s'", err.msg, words);           \
    } while (0)
#define OPEN_FAILS(want, device, words, ...)                                                       \
    do {                                                                                           \
        assert_int_equal(open_as(&(fake_options){__VA_ARGS__}, device, &m, &err), want);           \
        SAYS(words);                                                                               \
    } while (0)

static void target_in_use(const char *want, const char *device, const fake_options *o)
{
    llmir_model *m;
    llmir_error err;
    llmir_model_info i = LLMIR_INIT(llmir_model_info);
    if (open_as(o, device, &m, &err) != LLMIR_OK) fail_msg("%s", err.msg);
    assert_int_equal(llmir_model_get_info(m, &i, NULL), LLMIR_OK);
    assert_string_equal(i.target, want);
    llmir_close(m);
}

static void code_is_chosen_by_compute_capability(void **st)
{
    (void)st;
    llmir_model *m;
    llmir_error err;
    target_in_use("cuda:sm_80", "sim", &(fake_options){.ptx = ptx});
    target_in_use("cuda:sm_80", "sim:sm_80", &(fake_options){.ptx = ptx});
    target_in_use("cuda:sm_75", "sim", &(fake_options){.ptx = ptx, .cuda = "cuda:sm_75", .sm = 75});
    target_in_use("cpu:x86-64", NULL, &(fake_options){.ptx = ptx});
    OPEN_FAILS(LLMIR_NO_DEVICE, "sim",
               "cuda:sm_90 (lacking compute capability 9.0 or higher, it is 8.0)", .ptx = ptx,
               .cuda = "cuda:sm_90", .sm = 90);
    OPEN_FAILS(LLMIR_NO_DEVICE, "sim", "(lacking compute capability 7.5, it is 8.0)", .ptx = ptx,
               .cuda = "cuda:sm_75a", .sm = 75, .sm_exact = 1);
    OPEN_FAILS(LLMIR_NO_DEVICE, "sim:sm_90", "in use as another device", .ptx = ptx);
    OPEN_FAILS(LLMIR_USAGE, "sim:sm_12", "sim:sm_80", .ptx = ptx);
    OPEN_FAILS(LLMIR_USAGE, "sim:80", "sim:sm_80", .ptx = ptx);
    OPEN_FAILS(LLMIR_USAGE, "cuda:1x", "cuda:0", .ptx = ptx);
    OPEN_FAILS(LLMIR_USAGE, "cuda:999", "cuda:0", .ptx = ptx);
}

/* LLMIR_CUDA_LIBRARY names the simulator: what a machine with a driver does, the device included.
 */
static void the_driver_may_be_another_library(void **st)
{
    (void)st;
    llmir_model *m;
    llmir_engine *e;
    llmir_error err;
    llmir_engine_info i = LLMIR_INIT(llmir_engine_info);
    setenv("LLMIR_CUDA_LIBRARY", getenv("LLMIR_PTXSIM_LIBRARY"), 1);
    target_in_use("cuda:sm_80", "cuda", &(fake_options){.ptx = ptx});
    target_in_use("cuda:sm_80", "cuda:sm_80", &(fake_options){.ptx = ptx});
    target_in_use("cuda:sm_80", NULL, &(fake_options){.ptx = ptx, .no_cpu = 1});
    OPEN_FAILS(LLMIR_NO_DEVICE, "cuda:7", "no device cuda:7; found: cuda:0 ", .ptx = ptx);
    OPEN_FAILS(LLMIR_NO_DEVICE, "cuda:sm_90", "no code for cuda:sm_90", .ptx = ptx);
    assert_int_equal(open_as(&(fake_options){.ptx = ptx}, "cuda:0", &m, &err), LLMIR_OK);
    assert_int_equal(llmir_engine_create(m, NULL, &e, &err), LLMIR_OK);
    assert_int_equal(llmir_engine_get_info(e, &i, NULL), LLMIR_OK);
    assert_int_equal(i.simulated, 1);
    assert_non_null(strstr(i.device, "cuda:0 ("));
    assert_non_null(strstr(i.device, "simulator"));
    llmir_engine_destroy(e);
    llmir_close(m);
    llmir_device_info d = LLMIR_INIT(llmir_device_info);
    assert_int_equal(llmir_device(1, &d, NULL), LLMIR_OK);
    assert_string_equal(d.device, "cuda:0");
    assert_string_equal(d.missing, "");
    assert_int_equal(d.sm, 80);
    setenv("LLMIR_CUDA_LIBRARY", "/nonexistent/libcuda.so.1", 1);
    OPEN_FAILS(LLMIR_NO_DEVICE, "cuda:0", "no CUDA driver: /nonexistent/libcuda.so.1", .ptx = ptx);
    OPEN_FAILS(LLMIR_NO_DEVICE, "cuda:0", "it has code for cpu:x86-64, cuda:sm_80 (lacking a GPU)",
               .ptx = ptx);
    OPEN_FAILS(LLMIR_NO_DEVICE, NULL, "no code for this machine (no CUDA driver: ", .ptx = ptx,
               .no_cpu = 1);
    OPEN_FAILS(LLMIR_NO_DEVICE, "cuda:sm_80", "needs a GPU, which this machine lacks: no CUDA",
               .ptx = ptx);
    assert_int_equal(llmir_device(1, &d, NULL), LLMIR_OK);
    assert_string_equal(d.device, "cuda");
    assert_non_null(strstr(d.missing, "/nonexistent"));
    setenv("LLMIR_CUDA_LIBRARY", "libm.so.6", 1);
    OPEN_FAILS(LLMIR_NO_DEVICE, "cuda:0", "libm.so.6: no CUDA driver, or one older than CUDA 11.4",
               .ptx = ptx);
    setenv("LLMIR_CUDA_LIBRARY", "", 1);
    assert_int_equal(llmir_device(0, &d, NULL), LLMIR_OK);
    assert_string_equal(d.device, "cpu");
    assert_int_equal(llmir_device(99, &d, &err), LLMIR_USAGE);
}

static int engine_of(const fake_options *o, const llmir_engine_params *p, llmir_model **m,
                     llmir_engine **e, llmir_error *err)
{
    if (open_as(o, "sim", m, err) != LLMIR_OK) fail_msg("%s", err->msg);
    return llmir_engine_create(*m, p, e, err);
}

static void ptx_that_does_not_compile_is_told_in_the_compilers_words(void **st)
{
    (void)st;
    llmir_model *m;
    llmir_engine *e;
    llmir_error err;
    char *wrong = strdup(ptx), *at = strstr(wrong, "ld.global");
    memcpy(at, "ld.gobbal", 9);
    assert_int_equal(engine_of(&(fake_options){.ptx = wrong}, NULL, &m, &e, &err), LLMIR_BAD_INPUT);
    SAYS("does not take the PTX of embed: ");
    SAYS("gobbal");
    SAYS("CUDA_ERROR_INVALID_PTX");
    llmir_close(m);
    free(wrong);
    assert_int_equal(engine_of(&(fake_options){.ptx = ptx, .embed = "nobody"}, NULL, &m, &e, &err),
                     LLMIR_BAD_INPUT);
    SAYS("no entry nobody");
    llmir_close(m);
    assert_int_equal(engine_of(&(fake_options){.ptx = ptx, .embed = "best"}, NULL, &m, &e, &err),
                     LLMIR_BAD_INPUT);
    SAYS("kernel embed: its PTX takes other parameters than 3 addresses");
    llmir_close(m);
    assert_int_equal(engine_of(&(fake_options){.ptx = ptx, .shared = 200000}, NULL, &m, &e, &err),
                     LLMIR_NO_DEVICE);
    SAYS("embed wants 200000 bytes of shared memory, a block has at most 166912");
    llmir_close(m);
}

static void memory_that_is_not_there_is_told_with_numbers(void **st)
{
    (void)st;
    llmir_model *m;
    llmir_engine *e;
    llmir_error err;
    llmir_engine_params p = {.size = sizeof p, .kv_tokens = UINT64_C(1) << 34};
    assert_int_equal(engine_of(&(fake_options){.ptx = ptx}, &p, &m, &e, &err), LLMIR_NO_SPACE);
    SAYS("sim (simulator of sm_80): no memory for 1073741825 KV blocks");
    SAYS("are free");
    p.kv_tokens = 100;
    assert_int_equal(llmir_engine_create(m, &p, &e, &err), LLMIR_OK); /* nothing is broken */
    llmir_engine_destroy(e);
    llmir_close(m);
}

static int step(llmir_engine *e, llmir_session *s, const int32_t *t, size_t n, int32_t *next,
                llmir_error *err)
{
    llmir_feed f = {.size = sizeof f, .session = s, .tokens = t, .n_tokens = n};
    int rc = llmir_step(e, &f, 1, NULL, err);
    *next = f.next;
    return rc;
}

/* Three programs, three graphs, however many steps: of 1, of 2 to 8, of 9 to 64 tokens. */
static void every_run_launches_a_graph_made_before(void **st)
{
    (void)st;
    llmir_model *m;
    llmir_engine *e;
    llmir_session *s;
    llmir_error err;
    int32_t t[FAKE_CONTEXT], state[FAKE_CONTEXT], next;
    static const size_t lengths[] = {30, 1, 1, 5, 1, 64, 3, 1, 40};
    llmir_engine_params p = {.size = sizeof p, .max_batch = 64};
    assert_int_equal(engine_of(&(fake_options){.ptx = ptx}, &p, &m, &e, &err), LLMIR_OK);
    assert_int_equal(llmir_session_create(e, &s, NULL), LLMIR_OK);
    for (int i = 0; i < FAKE_CONTEXT; i++) t[i] = (i * 31 + 5) % (FAKE_VOCAB - 1);
    fake_states(t, FAKE_CONTEXT, state);
    size_t n = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        if (step(e, s, t + n, lengths[i], &next, &err) != LLMIR_OK) fail_msg("%s", err.msg);
        n += lengths[i];
        assert_int_equal(next, state[n - 1] % FAKE_VOCAB);
    }
    llmir_engine_info i = LLMIR_INIT(llmir_engine_info);
    assert_int_equal(llmir_engine_get_info(e, &i, NULL), LLMIR_OK);
    assert_int_equal(i.graphs, 3);
    assert_int_equal(i.graph_runs, sizeof lengths / sizeof *lengths);
    assert_int_equal(i.findings, 0);
    assert_string_equal(i.device, "sim (simulator of sm_80)");
    llmir_session_destroy(s);
    llmir_engine_destroy(e);
    llmir_close(m);
}

static void a_fork_is_refused_and_does_no_harm(void **st)
{
    (void)st;
    llmir_model *m;
    llmir_engine *e;
    llmir_session *s;
    llmir_error err;
    int32_t next, status = 0;
    assert_int_equal(engine_of(&(fake_options){.ptx = ptx}, NULL, &m, &e, &err), LLMIR_OK);
    assert_int_equal(llmir_session_create(e, &s, NULL), LLMIR_OK);
    pid_t child = fork();
    if (child == 0) {
        int rc = step(e, s, (int32_t[]){1}, 1, &next, &err);
        _exit(rc == LLMIR_FAILED && strstr(err.msg, "forked") ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(step(e, s, (int32_t[]){1}, 1, &next, &err), LLMIR_OK);
    llmir_session_destroy(s);
    llmir_engine_destroy(e);
    llmir_close(m);
}

/* Memory is used before it is written: an error where LLMIR_PTXSIM_FATAL is 1, else counted. */
static void what_the_checks_find_is_counted_or_an_error(void **st)
{
    (void)st;
    llmir_model *m;
    llmir_engine *e;
    llmir_session *s;
    llmir_error err;
    llmir_engine_info before = LLMIR_INIT(llmir_engine_info), after = before;
    int32_t t[64], next, state[64];
    bool fatal = !strcmp(getenv("LLMIR_PTXSIM_FATAL"), "1");
    for (int i = 0; i < 64; i++) t[i] = (i * 7 + 1) % FAKE_VOCAB;
    assert_int_equal(engine_of(&(fake_options){.ptx = ptx, .embed = "untidy"}, NULL, &m, &e, &err),
                     LLMIR_OK);
    assert_int_equal(llmir_session_create(e, &s, NULL), LLMIR_OK);
    assert_int_equal(llmir_engine_get_info(e, &before, NULL), LLMIR_OK);
    assert_int_equal(step(e, s, t, 64, &next, &err), fatal ? LLMIR_FAILED : LLMIR_OK);
    if (fatal) {
        SAYS("(the simulator: ");
        SAYS("kernel untidy");
    } else {
        fake_states(t, 64, state);
        assert_int_equal(next, state[63] % FAKE_VOCAB);
    }
    assert_int_equal(llmir_engine_get_info(e, &after, NULL), LLMIR_OK);
    assert_true(after.findings > before.findings);
    llmir_session_destroy(s);
    llmir_engine_destroy(e);
    llmir_close(m);
}

typedef struct maker {
    llmir_model *m;
    int wrong;
} maker;

static void *make_and_use(void *user)
{
    maker *w = user;
    llmir_engine *e;
    llmir_session *s;
    llmir_error err;
    int32_t next, state, t = 7;
    fake_states(&t, 1, &state);
    for (int i = 0; i < 5; i++) {
        if (llmir_engine_create(w->m, NULL, &e, &err) != LLMIR_OK) return w->wrong++, NULL;
        w->wrong += llmir_session_create(e, &s, NULL) != LLMIR_OK;
        w->wrong += step(e, s, &t, 1, &next, &err) != LLMIR_OK || next != state % FAKE_VOCAB;
        llmir_session_destroy(s);
        llmir_engine_destroy(e);
    }
    return NULL;
}

static void engines_are_made_by_several_threads_at_once(void **st)
{
    (void)st;
    llmir_error err;
    pthread_t t[4];
    maker w[4] = {{NULL, 0}};
    if (open_as(&(fake_options){.ptx = ptx}, "sim", &w[0].m, &err) != LLMIR_OK)
        fail_msg("%s", err.msg);
    for (int i = 0; i < 4; i++) {
        w[i].m = w[0].m;
        assert_int_equal(pthread_create(&t[i], NULL, make_and_use, &w[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(w[i].wrong, 0);
    }
    llmir_close(w[0].m);
}

/* After it nothing of the model works, and a model opened anew does. */
static void a_fault_ends_the_device_with_a_sentence(void **st)
{
    (void)st;
    llmir_model *m;
    llmir_engine *e, *other;
    llmir_session *s;
    llmir_error err;
    int32_t next;
    assert_int_equal(engine_of(&(fake_options){.ptx = ptx, .embed = "wild"}, NULL, &m, &e, &err),
                     LLMIR_OK);
    assert_int_equal(llmir_session_create(e, &s, NULL), LLMIR_OK);
    assert_int_equal(step(e, s, (int32_t[]){1, 2}, 2, &next, &err), LLMIR_FAILED);
    SAYS("CUDA_ERROR_ILLEGAL_ADDRESS");
    SAYS("(the simulator: module:");
    SAYS("kernel wild");
    assert_int_equal(next, -1);
    assert_int_equal(llmir_session_length(s), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(step(e, s, (int32_t[]){1}, 1, &next, &err), LLMIR_FAILED);
        SAYS("a kernel failed before");
        SAYS("CUDA_ERROR_ILLEGAL_ADDRESS");
    }
    assert_int_equal(llmir_engine_create(m, NULL, &other, &err), LLMIR_FAILED);
    SAYS("close all models on it");
    llmir_session_destroy(s);
    llmir_engine_destroy(e);
    llmir_close(m);
    assert_int_equal(engine_of(&(fake_options){.ptx = ptx}, NULL, &m, &e, &err), LLMIR_OK);
    assert_int_equal(llmir_session_create(e, &s, NULL), LLMIR_OK);
    if (step(e, s, (int32_t[]){1}, 1, &next, &err) != LLMIR_OK) fail_msg("%s", err.msg);
    llmir_session_destroy(s);
    llmir_engine_destroy(e);
    llmir_close(m);
}

static int stop_at_once(void *user, uint64_t done, uint64_t total)
{
    uint64_t *seen = user;
    seen[0]++;
    seen[1] = done;
    seen[2] = total;
    return seen[3] != 0;
}

/* Several pieces of staging, so that buffers are used again; the last word arrives. */
static void weights_are_uploaded_once_with_progress(void **st)
{
    (void)st;
    llmir_model *m;
    llmir_error err;
    ll_error e = {0};
    uint64_t seen[4] = {0}, total = (40 << 20) + FAKE_VOCAB * 4 + 8;
    llmir_open_params p = {
        .size = sizeof p, .device = "sim", .progress = stop_at_once, .user = seen};
    fake_options o = {.ptx = ptx, .pad_weights = 40 << 20, .wide = "avx512vnni"};
    assert_int_equal(fake_write(path, object, &o, &e), LL_OK);
    if (llmir_open(path, &p, &m, &err) != LLMIR_OK) fail_msg("%s", err.msg);
    assert_int_equal(seen[0], 1 + 6);
    assert_int_equal(seen[1], total); /* without the CPU targets' own */
    assert_int_equal(seen[2], total);
    llmir_close(m);
    seen[3] = 1;
    assert_int_equal(llmir_open(path, &p, &m, &err), LLMIR_CANCELLED);
}

int main(int argc, char **argv)
{
    size_t n;
    void *text;
    if (argc != 3) return fprintf(stderr, "usage: test_gpu KERNELS.o KERNELS.ptx\n"), 2;
    object = argv[1];
    if (ll_file_read(argv[2], 1 << 24, &text, &n, NULL) != LL_OK) return 2;
    ptx = text;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_is_chosen_by_compute_capability),
        cmocka_unit_test(the_driver_may_be_another_library),
        cmocka_unit_test(ptx_that_does_not_compile_is_told_in_the_compilers_words),
        cmocka_unit_test(memory_that_is_not_there_is_told_with_numbers),
        cmocka_unit_test(every_run_launches_a_graph_made_before),
        cmocka_unit_test(a_fork_is_refused_and_does_no_harm),
        cmocka_unit_test(weights_are_uploaded_once_with_progress),
        cmocka_unit_test(engines_are_made_by_several_threads_at_once),
        cmocka_unit_test(what_the_checks_find_is_counted_or_an_error),
        cmocka_unit_test(a_fault_ends_the_device_with_a_sentence),
    };
    int rc = cmocka_run_group_tests(tests, setup, teardown);
    free(ptx);
    return rc;
}

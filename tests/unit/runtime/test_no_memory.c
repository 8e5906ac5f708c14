/* test_no_memory.c: every allocation of open, engine, session and step fails in turn, once and from
 * then on: a status with a sentence, and nothing lost. Steps themselves allocate nothing. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include <llmir/llmir.h>

#include "base/file.h"
#include "tests/unit/runtime/fake.h"

static _Atomic long calls; /* allocations so far */
static _Atomic long fail_at = -1;
static bool for_ever;

static bool fails(void)
{
    long n = calls++;
    return fail_at >= 0 && (n == fail_at || (for_ever && n > fail_at));
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t m);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t a, size_t n);
char *__real_strdup(const char *s);
void *__real_mmap64(void *a, size_t n, int p, int f, int fd, off64_t o);
int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t m);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t a, size_t n);
char *__wrap_strdup(const char *s);
void *__wrap_mmap64(void *a, size_t n, int p, int f, int fd, off64_t o);
void *__wrap_mmap(void *a, size_t n, int p, int f, int fd, off64_t o);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x);

void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t m) { return fails() ? NULL : __real_calloc(n, m); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }
void *__wrap_aligned_alloc(size_t a, size_t n)
{
    return fails() ? NULL : __real_aligned_alloc(a, n);
}
char *__wrap_strdup(const char *s) { return fails() ? NULL : __real_strdup(s); }
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x)
{
    return fails() ? EAGAIN : __real_pthread_create(t, a, f, x);
}
void *__wrap_mmap64(void *a, size_t n, int p, int f, int fd, off64_t o)
{
    if (!fails()) return __real_mmap64(a, n, p, f, fd, o);
    errno = ENOMEM;
    return MAP_FAILED;
}
void *__wrap_mmap(void *a, size_t n, int p, int f, int fd, off64_t o)
{
    return __wrap_mmap64(a, n, p, f, fd, o);
}

static const char *object, *device = "cpu"; /* or a GPU; a driver's own allocations do not count */
static char *ptx;
static char path[] = "/tmp/llmir-fake-XXXXXX";

static int setup(void **s)
{
    (void)s;
    ll_error e = {0};
    close(mkstemp(path));
    return fake_write(path, object, &(fake_options){.ptx = ptx}, &e) != LL_OK;
}

static int teardown(void **s)
{
    (void)s;
    return unlink(path);
}

/* All of a life; the first status that is not LLMIR_OK. */
static int life(llmir_error *err)
{
    llmir_model *m = NULL;
    llmir_engine *e = NULL;
    llmir_session *s = NULL, *f = NULL;
    llmir_engine_params p = {.size = sizeof p, .threads = 3, .profile = 1};
    int32_t ids[] = {1, 2, 3, 4};
    int rc = llmir_open(path,
                        &(llmir_open_params){.size = sizeof(llmir_open_params),
                                             .verify = 1,
                                             .device = device,
                                             .weights = LLMIR_WEIGHTS_COPIED},
                        &m, err);
    if (!rc) rc = llmir_engine_create(m, &p, &e, err);
    if (!rc) rc = llmir_session_create(e, &s, err);
    if (!rc) rc = llmir_session_fork(s, &f, err);
    llmir_feed feed = {.size = sizeof feed, .session = f, .tokens = ids, .n_tokens = 4};
    if (!rc) rc = llmir_step(e, &feed, 1, NULL, err);
    llmir_session_destroy(f);
    llmir_session_destroy(s);
    llmir_engine_destroy(e);
    llmir_close(m);
    return rc;
}

static int open_files(void)
{
    int n = 0;
    for (int fd = 0; fd < 64; fd++) n += lseek(fd, 0, SEEK_CUR) >= 0 || errno == ESPIPE;
    return n;
}

static void every_allocation_may_fail(void **st)
{
    (void)st;
    llmir_error err;
    assert_int_equal(life(&err), LLMIR_OK);
    int files = open_files();
    for (int sticky = 0; sticky < 2; sticky++) {
        for_ever = sticky;
        for (long i = 0;; i++) {
            calls = 0;
            fail_at = i;
            int rc = life(&err);
            fail_at = -1;
            if (calls <= i) break; /* the whole life has fewer */
            if (rc != LLMIR_NO_SPACE || !err.msg[0])
                fail_msg("allocation %ld: status %d '%s'", i, rc, err.msg);
            if (open_files() != files) fail_msg("allocation %ld: a file stays open", i);
        }
    }
    assert_int_equal(life(&err), LLMIR_OK);
}

static void steps_allocate_nothing(void **st)
{
    (void)st;
    llmir_model *m;
    llmir_engine *e;
    llmir_session *s;
    int32_t ids[60] = {1, 2, 3};
    llmir_open_params open = {.size = sizeof open, .device = device};
    assert_int_equal(llmir_open(path, &open, &m, NULL), LLMIR_OK);
    assert_int_equal(llmir_engine_create(m, NULL, &e, NULL), LLMIR_OK);
    assert_int_equal(llmir_session_create(e, &s, NULL), LLMIR_OK);
    llmir_sample_params p[] =
        {{.size = sizeof *p},
         {.size = sizeof *p, .temperature = 1, .top_p = 0.9f, .repeat_penalty = 1.1f},
         {.size = sizeof *p, .temperature = 9, .top_k = 290}};
    calls = 0;
    for (int i = 0; i < 9; i++) {
        llmir_feed f = {.size = sizeof f,
                        .session = s,
                        .tokens = ids,
                        .n_tokens = i == 0 ? 60 : 1,
                        .sample = &p[i % 3]};
        assert_int_equal(llmir_step(e, &f, 1, NULL, NULL), LLMIR_OK);
    }
    assert_int_equal(calls, 0);
    llmir_session_destroy(s);
    llmir_engine_destroy(e);
    llmir_close(m);
}

static void *life_of_thread(void *rc)
{
    llmir_error err;
    *(int *)rc = life(&err);
    return NULL;
}

static void a_stack_of_64_kib_and_three_files_are_enough(void **st)
{
    (void)st;
    pthread_attr_t a;
    pthread_t t;
    int rc = -1;
    struct rlimit was, few;
    getrlimit(RLIMIT_NOFILE, &was);
    few = was;
    few.rlim_cur = (rlim_t)open_files() + 3;
    setrlimit(RLIMIT_NOFILE, &few);
    pthread_attr_init(&a);
    assert_int_equal(pthread_attr_setstacksize(&a, 64 << 10), 0);
    assert_int_equal(pthread_create(&t, &a, life_of_thread, &rc), 0);
    pthread_join(t, NULL);
    pthread_attr_destroy(&a);
    setrlimit(RLIMIT_NOFILE, &was);
    assert_int_equal(rc, LLMIR_OK);
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 4)
        return fprintf(stderr, "usage: test_no_memory KERNELS.o [DEVICE KERNELS.ptx]\n"), 2;
    object = argv[1];
    size_t n;
    void *text;
    if (argc == 4) {
        device = argv[2];
        if (ll_file_read(argv[3], 1 << 24, &text, &n, NULL) != LL_OK) return 2;
        ptx = text;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(steps_allocate_nothing),
        cmocka_unit_test(a_stack_of_64_kib_and_three_files_are_enough),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

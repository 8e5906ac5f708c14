/* test_engine.c: whole steps of the fake model: batches, sessions, KV, cancelling, threads, misuse.
 * On the CPU, or with the same results on a GPU or its simulator. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include <llmir/llmir.h>

#include "base/file.h"
#include "tests/unit/runtime/fake.h"

/* A sanitizer keeps freed memory for a while (and looks for leaks itself). */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static const char *object, *device = "cpu";
static char *ptx;
static char path[] = "/tmp/llmir-fake-XXXXXX";
static llmir_model *model;

static int setup(void **s)
{
    (void)s;
    ll_error e = {0};
    llmir_error err;
    int fd = mkstemp(path);
    if (fd < 0) return -1;
    close(fd);
    if (fake_write(path, object, &(fake_options){.ptx = ptx, .sm = 75}, &e) != LL_OK)
        return fprintf(stderr, "%s\n", e.msg), -1;
    llmir_open_params p = {.size = sizeof p, .device = device};
    if (llmir_open(path, &p, &model, &err) != LLMIR_OK)
        return fprintf(stderr, "%s\n", err.msg), -1;
    return 0;
}

static int teardown(void **s)
{
    (void)s;
    llmir_close(model);
    unlink(path);
    return 0;
}

static llmir_engine *engine(llmir_engine_params p)
{
    llmir_engine *e = NULL;
    llmir_error err;
    p.size = sizeof p;
    if (llmir_engine_create(model, &p, &e, &err) != LLMIR_OK) fail_msg("%s", err.msg);
    return e;
}

static llmir_session *session(llmir_engine *e)
{
    llmir_session *s = NULL;
    assert_int_equal(llmir_session_create(e, &s, NULL), LLMIR_OK);
    return s;
}

static int32_t token_at(int i) { return (i * 53 + 7) % (FAKE_VOCAB - 1); }

static void fill_tokens(int32_t *t, int n, int seed)
{
    for (int i = 0; i < n; i++) t[i] = token_at(i + seed);
}

static int32_t expect_next(const int32_t *t, int n)
{
    int32_t state[FAKE_CONTEXT];
    fake_states(t, n, state);
    return state[n - 1] % FAKE_VOCAB;
}

static llmir_feed feed_of(llmir_session *s, const int32_t *t, size_t n)
{
    return (llmir_feed){.size = sizeof(llmir_feed), .session = s, .tokens = t, .n_tokens = n};
}

/* Prompt lengths around every program's T range and block edge; then decode, on each KV layout. */
static void prompts_and_decode_equal_the_hand_computation(void **st)
{
    (void)st;
    static const struct {
        const char *dtype;
        uint32_t block;
    } layout[] = {{"f32", 16}, {"f32", 64}, {"f16", 16}};
    for (int l = 0; l < 3; l++)
        for (uint32_t threads = 1; threads <= 3; threads++) {
            llmir_engine *e = engine((llmir_engine_params){.threads = threads,
                                                           .kv_dtype = layout[l].dtype,
                                                           .kv_block = layout[l].block,
                                                           .max_batch = threads == 2 ? 8 : 0});
            static const int lengths[] = {1, 2, 8, 9, 15, 16, 17, 63, 64, 65, 130, 190};
            for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
                int32_t t[FAKE_CONTEXT];
                int n = lengths[k];
                llmir_session *s = session(e);
                fill_tokens(t, n, l);
                llmir_feed f = feed_of(s, t, (size_t)n);
                assert_int_equal(llmir_step(e, &f, 1, NULL, NULL), LLMIR_OK);
                for (int i = 0; i < 8; i++) {
                    assert_int_equal(f.next, expect_next(t, n));
                    assert_int_equal(llmir_session_length(s), n);
                    t[n++] = f.next;
                    f = feed_of(s, &t[n - 1], 1);
                    assert_int_equal(llmir_step(e, &f, 1, NULL, NULL), LLMIR_OK);
                }
                llmir_session_destroy(s);
            }
            llmir_engine_info info = LLMIR_INIT(llmir_engine_info);
            assert_int_equal(llmir_engine_get_info(e, &info, NULL), LLMIR_OK);
            assert_int_equal(info.kv_blocks, info.kv_blocks_free);
            assert_int_equal(info.threads, ptx ? 1 : threads);
            assert_int_equal(info.findings, 0);
            llmir_engine_destroy(e);
        }
}

/* Prefill and decode of several sessions in one call, cut into runs in every way max_batch allows.
 */
static void mixed_batch_equals_sessions_alone(void **st)
{
    (void)st;
    for (uint32_t batch = 3; batch <= 64; batch = batch * 2 + 1) {
        llmir_engine *e = engine((llmir_engine_params){.threads = 2,
                                                       .max_batch = batch,
                                                       .max_sequences = 4,
                                                       .kv_tokens = 2000,
                                                       .max_rows = 2});
        llmir_session *s[6];
        int32_t t[6][FAKE_CONTEXT];
        int n[6] = {1, 40, 1, 17, 100, 2};
        llmir_feed f[6];
        for (int i = 0; i < 6; i++) {
            s[i] = session(e);
            fill_tokens(t[i], n[i], 100 * i);
            f[i] = feed_of(s[i], t[i], (size_t)n[i]);
        }
        for (int round = 0; round < 3; round++) {
            assert_int_equal(llmir_step(e, f, 6, NULL, NULL), LLMIR_OK);
            for (int i = 0; i < 6; i++) {
                assert_int_equal(f[i].next, expect_next(t[i], n[i]));
                t[i][n[i]++] = f[i].next;
                if (i == 3 && round == 0) /* one session gets a longer continuation */
                    for (int k = 0; k < 20; k++) t[i][n[i]++] = token_at(k);
                size_t fresh = (size_t)n[i] - llmir_session_length(s[i]);
                f[i] = feed_of(s[i], t[i] + n[i] - fresh, fresh);
            }
        }
        for (int i = 0; i < 6; i++) llmir_session_destroy(s[i]);
        llmir_engine_destroy(e);
    }
}

static void wanted_logits_are_those_of_every_token(void **st)
{
    (void)st;
    llmir_engine *e = engine((llmir_engine_params){.threads = 2, .max_rows = 7, .max_batch = 20});
    llmir_session *s = session(e);
    int32_t t[50], state[50];
    static float logits[50 * FAKE_VOCAB], one[FAKE_VOCAB];
    fill_tokens(t, 50, 9);
    fake_states(t, 50, state);
    llmir_feed f = feed_of(s, t, 49);
    f.want = LLMIR_WANT_ALL;
    f.logits = logits;
    assert_int_equal(llmir_step(e, &f, 1, NULL, NULL), LLMIR_OK);
    for (int i = 0; i < 49; i++)
        for (int v = 0; v < FAKE_VOCAB; v++)
            assert_true(logits[i * FAKE_VOCAB + v] == -fabsf((float)(v - state[i] % FAKE_VOCAB)));
    assert_int_equal(f.next, state[48] % FAKE_VOCAB);
    f = feed_of(s, t + 49, 1);
    f.logits = one;
    assert_int_equal(llmir_step(e, &f, 1, NULL, NULL), LLMIR_OK);
    assert_true(one[state[49] % FAKE_VOCAB] == 0);
    f = feed_of(s, t, 3);
    f.want = LLMIR_WANT_NONE;
    f.next = 5;
    assert_int_equal(llmir_step(e, &f, 1, NULL, NULL), LLMIR_OK);
    assert_int_equal(f.next, -1);
    llmir_session_destroy(s);
    llmir_engine_destroy(e);
}

static uint64_t free_blocks(llmir_engine *e)
{
    llmir_engine_info info = LLMIR_INIT(llmir_engine_info);
    assert_int_equal(llmir_engine_get_info(e, &info, NULL), LLMIR_OK);
    return info.kv_blocks_free;
}

static void forks_share_blocks_until_one_writes(void **st)
{
    (void)st;
    llmir_engine *e = engine(
        (llmir_engine_params){.threads = 1, .kv_dtype = "f32", .kv_block = 16, .kv_tokens = 160});
    llmir_session *a = session(e), *b, *c;
    int32_t t[60], u[60];
    fill_tokens(t, 40, 0);
    memcpy(u, t, sizeof u);
    llmir_feed f[2] = {feed_of(a, t, 40)};
    assert_int_equal(llmir_step(e, f, 1, NULL, NULL), LLMIR_OK);
    assert_int_equal(free_blocks(e), 10 - 3);
    assert_int_equal(llmir_session_fork(a, &b, NULL), LLMIR_OK);
    assert_int_equal(free_blocks(e), 10 - 3);
    t[40] = 5, u[40] = 77;
    f[0] = feed_of(a, t + 40, 1), f[1] = feed_of(b, u + 40, 1);
    assert_int_equal(llmir_step(e, f, 2, NULL, NULL), LLMIR_OK); /* one copy serves both */
    assert_int_equal(free_blocks(e), 10 - 4);
    assert_int_equal(f[0].next, expect_next(t, 41));
    assert_int_equal(f[1].next, expect_next(u, 41));
    assert_int_equal(llmir_session_truncate(b, 32, NULL), LLMIR_OK);
    assert_int_equal(free_blocks(e), 10 - 3);
    assert_int_equal(llmir_session_fork(b, &c, NULL), LLMIR_OK);
    memcpy(u + 32, t, 3 * sizeof *u);
    f[0] = feed_of(c, u + 32, 3); /* a fork at a block edge copies nothing */
    assert_int_equal(llmir_step(e, f, 1, NULL, NULL), LLMIR_OK);
    assert_int_equal(free_blocks(e), 10 - 4);
    assert_int_equal(f[0].next, expect_next(u, 35));
    assert_int_equal(llmir_session_truncate(a, 100, NULL), LLMIR_USAGE);
    llmir_session_destroy(b);
    f[0] = feed_of(a, t, 2);
    t[41] = t[0], t[42] = t[1];
    assert_int_equal(llmir_step(e, f, 1, NULL, NULL), LLMIR_OK);
    assert_int_equal(f[0].next, expect_next(t, 43));
    llmir_session_destroy(a);
    llmir_session_destroy(c);
    assert_int_equal(free_blocks(e), 10);
    llmir_engine_destroy(e);
}

static void full_cache_changes_nothing_and_tells_the_numbers(void **st)
{
    (void)st;
    llmir_engine *e =
        engine((llmir_engine_params){.threads = 2, .kv_dtype = "f16", .kv_tokens = 80});
    llmir_session *a = session(e), *b = session(e);
    int32_t t[100];
    llmir_error err;
    fill_tokens(t, 100, 0);
    llmir_feed f[2] = {feed_of(a, t, 50)};
    assert_int_equal(llmir_step(e, f, 1, NULL, NULL), LLMIR_OK);
    llmir_step_params p = LLMIR_INIT(llmir_step_params);
    f[0] = feed_of(a, t + 50, 1), f[1] = feed_of(b, t, 20);
    assert_int_equal(llmir_step(e, f, 2, &p, &err), LLMIR_KV_FULL);
    assert_int_equal(p.kv_needed, 2);
    assert_int_equal(p.kv_free, 1);
    assert_non_null(strstr(err.msg, "2 blocks"));
    assert_int_equal(free_blocks(e), 1);
    assert_int_equal(llmir_session_length(a), 50);
    assert_int_equal(llmir_session_length(b), 0);
    assert_int_equal(llmir_step(e, f, 1, &p, &err), LLMIR_OK);
    assert_int_equal(f[0].next, expect_next(t, 51));
    llmir_session_destroy(a);
    llmir_session_destroy(b);
    llmir_engine_destroy(e);
}

typedef struct watch {
    int calls, stop_at;
    llmir_engine *e;
    llmir_session *s;
    int status;
} watch;

static int on_progress(void *user, uint64_t done, uint64_t total)
{
    watch *w = user;
    assert_true(done <= total);
    if (w->e) {
        llmir_feed f = feed_of(w->s, &(int32_t){1}, 1);
        w->status = llmir_step(w->e, &f, 1, NULL, NULL);
    }
    return ++w->calls == w->stop_at;
}

static void cancelled_call_leaves_the_session_as_it_was(void **st)
{
    (void)st;
    llmir_engine *e = engine((llmir_engine_params){.threads = 2, .max_batch = 10});
    llmir_session *s = session(e), *other = session(e);
    int32_t t[100];
    fill_tokens(t, 100, 0);
    uint64_t before = free_blocks(e);
    watch w = {.stop_at = 3};
    llmir_step_params p = {.size = sizeof p, .progress = on_progress, .user = &w};
    llmir_feed f = feed_of(s, t, 60);
    assert_int_equal(llmir_step(e, &f, 1, &p, NULL), LLMIR_CANCELLED);
    assert_int_equal(w.calls, 3);
    assert_int_equal(llmir_session_length(s), 0);
    assert_int_equal(free_blocks(e), before);
    llmir_session_cancel(s); /* before a call: taken by the next one, once */
    f = feed_of(s, t, 60);
    assert_int_equal(llmir_step(e, &f, 1, NULL, NULL), LLMIR_CANCELLED);
    f = feed_of(s, t, 60);
    w = (watch){.e = e, .s = other};
    assert_int_equal(llmir_step(e, &f, 1, &p, NULL), LLMIR_OK);
    assert_int_equal(w.status, LLMIR_BUSY); /* called back into the engine */
    assert_int_equal(w.calls, 6);
    w = (watch){.e = e, .s = s};
    f = feed_of(other, t, 60);
    assert_int_equal(llmir_step(e, &f, 1, NULL, NULL), LLMIR_OK);
    assert_int_equal(f.next, expect_next(t, 60));
    llmir_session_destroy(s);
    llmir_session_destroy(other);
    llmir_engine_destroy(e);
}

static void non_finite_logits_are_an_error(void **st)
{
    (void)st;
    llmir_engine *e = engine((llmir_engine_params){.threads = 1});
    llmir_session *s = session(e);
    llmir_error err;
    /* one token whose state ends at FAKE_POISON is hard to find; the embedding of this one, times
     * (1+2)(1+3) mod 8191, is: x -> 3x -> 12x; so x = FAKE_POISON / 12 in the ring */
    int32_t t = -1, state;
    for (int32_t v = 0; v < FAKE_VOCAB; v++) {
        fake_states(&v, 1, &state);
        if (state == FAKE_POISON) t = v;
    }
    int32_t two[2];
    for (int32_t a = 0; a < FAKE_VOCAB && t < 0; a++)
        for (int32_t b = 0; b < FAKE_VOCAB; b++) {
            int32_t both[2] = {a, b}, st2[2];
            fake_states(both, 2, st2);
            if (st2[1] == FAKE_POISON) t = 0, two[0] = a, two[1] = b;
        }
    assert_true(t >= 0);
    llmir_feed f = feed_of(s, two, 2);
    assert_int_equal(llmir_step(e, &f, 1, NULL, &err), LLMIR_FAILED);
    assert_non_null(strstr(err.msg, "position 1: logits are not finite"));
    assert_int_equal(llmir_session_length(s), 0);
    llmir_session_destroy(s);
    llmir_engine_destroy(e);
}

#define REFUSED(call, want, words)                                                       \
    do {                                                                                 \
        assert_int_equal((call), (want));                                                \
        if (!strstr(err.msg, words)) fail_msg("'%s' does not say '%s'", err.msg, words); \
    } while (0)

static void misuse_is_refused_with_a_sentence(void **st)
{
    (void)st;
    llmir_error err;
    llmir_engine *e = engine((llmir_engine_params){.threads = 1}),
                 *other = engine((llmir_engine_params){.threads = 1});
    llmir_session *s = session(e), *foreign = session(other);
    int32_t t[FAKE_CONTEXT + 1] = {0};
    llmir_feed f[2] = {feed_of(s, t, 1), feed_of(s, t, 1)};
    REFUSED(llmir_open(NULL, NULL, &model, &err), LLMIR_USAGE, "path");
    REFUSED(llmir_open("x", NULL, NULL, &err), LLMIR_USAGE, "out");
    REFUSED(llmir_engine_create(NULL, NULL, &e, &err), LLMIR_USAGE, "model");
    REFUSED(llmir_session_create(NULL, &s, &err), LLMIR_USAGE, "engine");
    REFUSED(llmir_session_fork(NULL, &s, &err), LLMIR_USAGE, "from");
    REFUSED(llmir_step(NULL, f, 1, NULL, &err), LLMIR_USAGE, "engine");
    REFUSED(llmir_step(e, NULL, 1, NULL, &err), LLMIR_USAGE, "feeds");
    REFUSED(llmir_step(e, f, 0, NULL, &err), LLMIR_USAGE, "0 feeds");
    REFUSED(llmir_step(e, f, 2, NULL, &err), LLMIR_USAGE, "one session");
    REFUSED(llmir_generate(NULL, "x", 1, NULL, NULL, &err), LLMIR_USAGE, "session");
    REFUSED(llmir_generate(s, "x", 1, NULL, NULL, &err), LLMIR_UNSUPPORTED, "tokenizer");
    REFUSED(llmir_tokenize(model, NULL, 3, 0, NULL, NULL, &err), LLMIR_USAGE, "n_ids");
    static const int32_t bad[] = {-1, FAKE_VOCAB, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 4; i++) {
        f[0] = feed_of(s, &bad[i], 1);
        REFUSED(llmir_step(e, f, 1, NULL, &err), LLMIR_USAGE, "vocabulary");
    }
    f[0] = feed_of(s, t, FAKE_CONTEXT + 1);
    REFUSED(llmir_step(e, f, 1, NULL, &err), LLMIR_USAGE, "context");
    f[0] = feed_of(s, t, SIZE_MAX);
    REFUSED(llmir_step(e, f, 1, NULL, &err), LLMIR_USAGE, "context");
    f[0] = feed_of(s, t, 0);
    REFUSED(llmir_step(e, f, 1, NULL, &err), LLMIR_USAGE, "no tokens");
    f[0] = feed_of(foreign, t, 1);
    REFUSED(llmir_step(e, f, 1, NULL, &err), LLMIR_USAGE, "another engine");
    f[0] = feed_of(s, t, 1);
    f[0].want = 9;
    REFUSED(llmir_step(e, f, 1, NULL, &err), LLMIR_USAGE, "want");
    f[0].want = LLMIR_WANT_ALL;
    REFUSED(llmir_step(e, f, 1, NULL, &err), LLMIR_USAGE, "room");
    f[0] = feed_of(s, t, 1);
    f[0].size = 8;
    REFUSED(llmir_step(e, f, 1, NULL, &err), LLMIR_USAGE, "size");
    static const llmir_sample_params wrong[] = {{.temperature = -1},
                                                {.temperature = NAN},
                                                {.top_p = 2},
                                                {.top_p = -1},
                                                {.min_p = 1.5f},
                                                {.repeat_penalty = -1},
                                                {.temperature = INFINITY},
                                                {.repeat_penalty = NAN}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        llmir_sample_params w = wrong[i];
        w.size = sizeof w;
        f[0] = feed_of(s, t, 1);
        f[0].sample = &w;
        REFUSED(llmir_step(e, f, 1, NULL, &err), LLMIR_USAGE, "wanted");
    }
    struct {
        llmir_sample_params p;
        uint64_t newer;
    } sample = {{.size = sizeof sample}, 0};
    struct {
        llmir_feed f;
        uint64_t newer;
    } wide[2] = {{feed_of(s, t, 1), 0}, {feed_of(s, t, 1), 1}};
    wide[0].f.size = wide[1].f.size = sizeof *wide;
    REFUSED(llmir_step(e, &wide[0].f, 2, NULL, &err), LLMIR_UNSUPPORTED, "older");
    wide[0].f.sample = &sample.p;
    assert_int_equal(llmir_step(e, &wide[0].f, 1, NULL, &err), LLMIR_OK);
    sample.newer = 1;
    REFUSED(llmir_step(e, &wide[0].f, 1, NULL, &err), LLMIR_UNSUPPORTED, "older");
    assert_int_equal(llmir_session_truncate(s, 0, NULL), LLMIR_OK);
    f[0] = feed_of(s, t, FAKE_CONTEXT); /* exactly the context is fine, one more is not */
    assert_int_equal(llmir_step(e, f, 1, NULL, &err), LLMIR_OK);
    f[0] = feed_of(s, t, 1);
    REFUSED(llmir_step(e, f, 1, NULL, &err), LLMIR_USAGE, "context");
    llmir_engine *none = NULL;
    llmir_engine_params p = {.size = sizeof p, .kv_dtype = "f8"};
    REFUSED(llmir_engine_create(model, &p, &none, &err), LLMIR_UNSUPPORTED,
            "f32/16, f32/64, f16/16");
    p = (llmir_engine_params){.size = sizeof p, .kv_block = 17};
    REFUSED(llmir_engine_create(model, &p, &none, &err), LLMIR_UNSUPPORTED, "17");
    p = (llmir_engine_params){.size = sizeof p, .context = FAKE_CONTEXT + 1};
    REFUSED(llmir_engine_create(model, &p, &none, &err), LLMIR_USAGE, "context");
    p = (llmir_engine_params){.size = sizeof p, .threads = 100000};
    if (!ptx) REFUSED(llmir_engine_create(model, &p, &none, &err), LLMIR_USAGE, "threads");
    p = (llmir_engine_params){.size = sizeof p, .kv_tokens = UINT64_MAX};
    assert_int_not_equal(llmir_engine_create(model, &p, &none, &err), LLMIR_OK);
    p = (llmir_engine_params){.size = 0};
    REFUSED(llmir_engine_create(model, &p, &none, &err), LLMIR_USAGE, "size");
    assert_null(none);
    struct {
        llmir_engine_params p;
        uint64_t newer;
    } future = {{.size = sizeof future, .threads = 1}, 0};
    assert_int_equal(llmir_engine_create(model, &future.p, &none, &err), LLMIR_OK);
    llmir_engine_destroy(none);
    future.newer = 1;
    REFUSED(llmir_engine_create(model, &future.p, &none, &err), LLMIR_UNSUPPORTED, "older");
    llmir_session_destroy(s);
    llmir_session_destroy(foreign);
    llmir_engine_destroy(e);
    llmir_engine_destroy(other);
    llmir_close(NULL), llmir_engine_destroy(NULL), llmir_session_destroy(NULL),
        llmir_session_cancel(NULL);
}

static void model_and_engine_live_as_long_as_their_users(void **st)
{
    (void)st;
    llmir_model *m;
    llmir_engine *e;
    llmir_session *s;
    assert_int_equal(llmir_open(path,
                                &(llmir_open_params){.size = sizeof(llmir_open_params),
                                                     .verify = 1,
                                                     .weights = LLMIR_WEIGHTS_COPIED,
                                                     .device = device},
                                &m, NULL),
                     LLMIR_OK);
    assert_int_equal(llmir_engine_create(m, NULL, &e, NULL), LLMIR_OK);
    llmir_close(m);
    assert_int_equal(llmir_session_create(e, &s, NULL), LLMIR_OK);
    llmir_engine_destroy(e);
    int32_t t[30];
    fill_tokens(t, 30, 3);
    llmir_feed f = feed_of(s, t, 30);
    assert_int_equal(llmir_step(e, &f, 1, NULL, NULL), LLMIR_OK);
    assert_int_equal(f.next, expect_next(t, 30));
    llmir_session_destroy(s);
}

/* ---- many threads ----------------------------------------------------------------------- */
typedef struct user {
    llmir_engine *e;
    int no, wrong;
} user;

static void *eight_sessions(void *arg)
{
    user *u = arg;
    llmir_session *s[8];
    int32_t t[8][FAKE_CONTEXT];
    int n[8];
    for (int i = 0; i < 8; i++) {
        if (llmir_session_create(u->e, &s[i], NULL) != LLMIR_OK) u->wrong++;
        n[i] = 1 + (u->no * 8 + i) % 40;
        fill_tokens(t[i], n[i], u->no * 8 + i);
    }
    for (int round = 0; round < 10; round++)
        for (int i = 0; i < 8; i++) {
            size_t fresh = (size_t)n[i] - llmir_session_length(s[i]);
            llmir_feed f = feed_of(s[i], t[i] + n[i] - fresh, fresh);
            if (llmir_step(u->e, &f, 1, NULL, NULL) != LLMIR_OK ||
                f.next != expect_next(t[i], n[i]))
                u->wrong++;
            t[i][n[i]++] = f.next;
        }
    for (int i = 0; i < 8; i++) llmir_session_destroy(s[i]);
    return NULL;
}

static void sixty_four_sessions_on_eight_threads(void **st)
{
    (void)st;
    llmir_engine *e = engine((llmir_engine_params){.threads = 2, .kv_tokens = 64 * 64});
    pthread_t th[8];
    user u[8];
    for (int i = 0; i < 8; i++) {
        u[i] = (user){e, i, 0};
        assert_int_equal(pthread_create(&th[i], NULL, eight_sessions, &u[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(th[i], NULL);
        assert_int_equal(u[i].wrong, 0);
    }
    assert_int_equal(free_blocks(e), 64 * 64 / 16);
    llmir_engine_destroy(e);
}

static void thousand_open_and_close_cycles_stay_flat(void **st)
{
    (void)st;
    long first = 0;
    llmir_open_params open = {.size = sizeof open, .device = device};
    for (int i = 0; i < (ptx ? 200 : 1000); i++) {
        llmir_model *m;
        llmir_engine *e;
        llmir_session *s;
        llmir_error err;
        if (llmir_open(path, &open, &m, &err) != LLMIR_OK) fail_msg("%s", err.msg);
        llmir_engine_params p = {.size = sizeof p, .threads = 2};
        assert_int_equal(llmir_engine_create(m, &p, &e, NULL), LLMIR_OK);
        assert_int_equal(llmir_session_create(e, &s, NULL), LLMIR_OK);
        llmir_feed f = feed_of(s, &(int32_t){1}, 1);
        assert_int_equal(llmir_step(e, &f, 1, NULL, NULL), LLMIR_OK);
        llmir_session_destroy(s);
        llmir_engine_destroy(e);
        llmir_close(m);
        FILE *st_file = fopen("/proc/self/statm", "r");
        long size, rss;
        assert_int_equal(fscanf(st_file, "%ld %ld", &size, &rss), 2);
        fclose(st_file);
        if (i == 100) first = rss;
        if (i > 100 && !SANITIZED) assert_true(rss < first + 512); /* pages: 2 MiB */
    }
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += lseek(fd, 0, SEEK_CUR) >= 0 || access("/dev/null", F_OK) != 0;
    assert_true(n < 30);
}

static void profile_counts_every_call(void **st)
{
    (void)st;
    llmir_engine *e = engine((llmir_engine_params){.threads = 2, .profile = 1});
    llmir_session *s = session(e);
    int32_t t[30];
    fill_tokens(t, 30, 3);
    for (int i = 0; i < 3; i++) {
        llmir_feed f = feed_of(s, t + 10 * i, 10);
        assert_int_equal(llmir_step(e, &f, 1, NULL, NULL), LLMIR_OK);
    }
    int seen = 0;
    llmir_profile_row r = LLMIR_INIT(llmir_profile_row);
    for (uint32_t i = 0; llmir_engine_profile(e, i, &r, NULL) == LLMIR_OK; i++) {
        if (strcmp(r.kernel, "combine")) continue;
        seen++;
        assert_string_equal(r.site, "sum");
        assert_int_equal(r.calls, 6); /* two layers, three runs */
        assert_true(r.bytes == 6 * 180 && r.ops == 6 * 7 && r.seconds > 0);
    }
    assert_int_equal(seen, 1);
    llmir_engine_profile_reset(e);
    assert_int_equal(llmir_engine_profile(e, 0, &r, NULL), LLMIR_OK);
    assert_int_equal(r.calls, 0);
    llmir_session_destroy(s);
    llmir_engine_destroy(e);
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 4)
        return fprintf(stderr, "usage: test_engine KERNELS.o [DEVICE KERNELS.ptx]\n"), 2;
    object = argv[1];
    size_t n;
    void *text;
    if (argc == 4) {
        device = argv[2];
        if (ll_file_read(argv[3], 1 << 24, &text, &n, NULL) != LL_OK) return 2;
        ptx = text; /* ends in a NUL */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_and_decode_equal_the_hand_computation),
        cmocka_unit_test(mixed_batch_equals_sessions_alone),
        cmocka_unit_test(wanted_logits_are_those_of_every_token),
        cmocka_unit_test(forks_share_blocks_until_one_writes),
        cmocka_unit_test(full_cache_changes_nothing_and_tells_the_numbers),
        cmocka_unit_test(cancelled_call_leaves_the_session_as_it_was),
        cmocka_unit_test(non_finite_logits_are_an_error),
        cmocka_unit_test(misuse_is_refused_with_a_sentence),
        cmocka_unit_test(model_and_engine_live_as_long_as_their_users),
        cmocka_unit_test(sixty_four_sessions_on_eight_threads),
        cmocka_unit_test(thousand_open_and_close_cycles_stay_flat),
        cmocka_unit_test(profile_counts_every_call),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

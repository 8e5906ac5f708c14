/* test_generate.c: llmir_generate and the text functions on the fake model with a tokenizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <llmir/llmir.h>

#include "tests/unit/runtime/fake_text.h"

static const char *object;
static char path[] = "/tmp/llmir-fake-XXXXXX";
static llmir_model *model;
static llmir_engine *engine;

static int setup(void **s)
{
    (void)s;
    ll_error e = {0};
    llmir_error err;
    close(mkstemp(path));
    if (fake_write_text(path, object, NULL, &e) != LL_OK) return fprintf(stderr, "%s\n", e.msg), -1;
    if (llmir_open(path, NULL, &model, &err) || llmir_engine_create(model, NULL, &engine, &err))
        return fprintf(stderr, "%s\n", err.msg), -1;
    return 0;
}

static int teardown(void **s)
{
    (void)s;
    llmir_engine_destroy(engine);
    llmir_close(model);
    unlink(path);
    return 0;
}

typedef struct seen {
    int32_t id[300];
    char text[2000];
    size_t n_id, n_text;
    int stop_after;
    llmir_session *s;
    int again; /* status of a call from inside */
} seen;

static int on_token(void *user, int32_t id, const char *text, size_t n)
{
    seen *x = user;
    if (id >= 0) x->id[x->n_id++] = id;
    assert_int_equal(text[n], 0);
    memcpy(x->text + x->n_text, text, n + 1);
    x->n_text += n;
    if (x->s) x->again = llmir_generate(x->s, "x", 1, NULL, NULL, NULL);
    return x->stop_after && (int)x->n_id == x->stop_after;
}

/* The ids that greedy generation gives, to the end token or n. */
static size_t expect(int32_t *t, int n_prompt, int n, int ignore_end)
{
    int32_t state[FAKE_CONTEXT];
    int m = n_prompt;
    while (m < n_prompt + n && m <= FAKE_CONTEXT) {
        fake_states(t, m, state);
        t[m] = state[m - 1] % FAKE_VOCAB;
        if (t[m] == FAKE_END && !ignore_end) break;
        m++;
    }
    return (size_t)(m - n_prompt);
}

static void generates_the_hand_computed_tokens_as_utf8(void **st)
{
    (void)st;
    for (int k = 0; k < 20; k++) {
        char prompt[32];
        int32_t t[FAKE_CONTEXT + 2];
        int n = snprintf(prompt, sizeof prompt, "prompt %d", k);
        for (int i = 0; i < n; i++) t[i] = (unsigned char)prompt[i];
        llmir_session *s;
        seen x = {.n_id = 0};
        llmir_generate_params p = {.size = sizeof p,
                                   .max_tokens = 60,
                                   .on_token = on_token,
                                   .user = &x};
        llmir_generate_result r = LLMIR_INIT(llmir_generate_result);
        assert_int_equal(llmir_session_create(engine, &s, NULL), LLMIR_OK);
        assert_int_equal(llmir_generate(s, prompt, (size_t)n, &p, &r, NULL), LLMIR_OK);
        size_t m = expect(t, n, 60, 0);
        assert_int_equal(r.n_generated, m);
        assert_int_equal(r.n_prompt, n);
        assert_int_equal(r.stop, m < 60 ? LLMIR_STOP_END : LLMIR_STOP_LENGTH);
        assert_int_equal(x.n_id, m);
        assert_memory_equal(x.id, t + n, m * sizeof *t);
        for (size_t i = 0; i < x.n_text;
             i++) /* what came out is UTF-8: no lone continuation or lead byte */
            if ((unsigned char)x.text[i] >= 0xf8) fail_msg("byte %02x", (unsigned char)x.text[i]);
        assert_true(r.prefill_seconds > 0 && r.decode_seconds >= 0);
        llmir_session_destroy(s);
    }
}

static void callbacks_stop_and_cannot_reenter(void **st)
{
    (void)st;
    llmir_session *s;
    llmir_error err;
    assert_int_equal(llmir_session_create(engine, &s, NULL), LLMIR_OK);
    seen x = {.stop_after = 3, .s = s};
    llmir_generate_params p = {.size = sizeof p, .ignore_end = 1, .on_token = on_token, .user = &x};
    assert_int_equal(llmir_generate(s, "ab", 2, &p, NULL, &err), LLMIR_CANCELLED);
    assert_int_equal(x.n_id, 3);
    assert_int_equal(x.again, LLMIR_BUSY);
    assert_int_equal(llmir_session_length(s), 4); /* the third token was not computed */
    int32_t ids[8];
    size_t n = 8;
    assert_int_equal(llmir_session_tokens(s, ids, &n, NULL), LLMIR_OK);
    assert_int_equal(n, 4);
    assert_int_equal(ids[0], 'a');
    assert_int_equal(ids[2], x.id[0]);
    x = (seen){.n_id = 0};
    llmir_generate_result r = LLMIR_INIT(llmir_generate_result);
    p = (llmir_generate_params){.size = sizeof p,
                                .ignore_end = 1,
                                .on_token = on_token,
                                .user = &x};
    assert_int_equal(llmir_generate(s, "c", 1, &p, &r, &err),
                     LLMIR_OK); /* to the end of the context */
    assert_int_equal(r.stop, LLMIR_STOP_CONTEXT);
    assert_int_equal(llmir_session_length(s), FAKE_CONTEXT);
    assert_int_equal(llmir_generate(s, "c", 1, &p, &r, &err), LLMIR_USAGE);
    llmir_session_truncate(s, 0, NULL);
    assert_int_equal(llmir_generate(s, "", 0, NULL, NULL, &err),
                     LLMIR_USAGE); /* nothing to go on from */
    llmir_session_destroy(s);
}

static void text_functions_follow_the_rule_for_room(void **st)
{
    (void)st;
    int32_t ids[16];
    size_t n = 0;
    char text[16];
    assert_int_equal(llmir_tokenize(model, "ab<end>", 7, LLMIR_TEXT_PARSE_SPECIAL, NULL, &n, NULL),
                     LLMIR_OK);
    assert_int_equal(n, 3);
    n = 2;
    assert_int_equal(llmir_tokenize(model, "ab<end>", 7, LLMIR_TEXT_PARSE_SPECIAL, ids, &n, NULL),
                     LLMIR_USAGE);
    assert_int_equal(n, 3);
    n = 16;
    assert_int_equal(llmir_tokenize(model, "ab<end>", 7, LLMIR_TEXT_PARSE_SPECIAL, ids, &n, NULL),
                     LLMIR_OK);
    assert_true(n == 3 && ids[2] == FAKE_END);
    size_t m = sizeof text;
    assert_int_equal(llmir_detokenize(model, ids, n, LLMIR_TEXT_SHOW_SPECIAL, text, &m, NULL),
                     LLMIR_OK);
    assert_true(m == 7 && !memcmp(text, "ab<end>", 7));
    m = sizeof text;
    assert_int_equal(llmir_detokenize(model, ids, n, 0, text, &m, NULL), LLMIR_OK);
    assert_int_equal(m, 2);
    assert_int_equal(llmir_tokenize(model, "a", 1, 64, ids, &n, NULL), LLMIR_USAGE);
    assert_int_equal(llmir_token_is_end(model, FAKE_END), 1);
    assert_int_equal(llmir_token_is_end(model, 'a'), 0);
    assert_int_equal(llmir_token_is_end(model, -5), 0);
    assert_int_equal(llmir_token_is_end(model, 1 << 30), 0);
}

int main(int argc, char **argv)
{
    if (argc < 2) return fprintf(stderr, "usage: test_generate KERNELS.o\n"), 2;
    object = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generates_the_hand_computed_tokens_as_utf8),
        cmocka_unit_test(callbacks_stop_and_cannot_reenter),
        cmocka_unit_test(text_functions_follow_the_rule_for_room),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

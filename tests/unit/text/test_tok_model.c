/* test_tok_model.c MODEL.gguf REFERENCE.json: the tokenizer of a real model, through its
 * serialised form, against ids recorded from other software: plain, with special tokens parsed,
 * and back to text. Also the time that opening takes. The model lies in $LLMIR_MODELS or where
 * quickstart.sh puts it; exit 77 when it is in neither. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "model/tokenizer.h"
#include "runtime/text/tokenizer.h"

static int failures;

static void fail_item(const char *what, const char *text, const int32_t *got, size_t n,
                      const json_t *want)
{
    char *w = want ? json_dumps(want, JSON_COMPACT) : NULL;
    fprintf(stderr, "%s of '%s': got [", what, text);
    for (size_t i = 0; i < n; i++) fprintf(stderr, "%s%d", i ? "," : "", got[i]);
    fprintf(stderr, "], wanted %s\n", w ? w : "the text");
    free(w);
    failures++;
}

static void check_ids(const rt_tok *t, const char *text, size_t len, unsigned flags,
                      const json_t *want)
{
    int32_t ids[8192];
    size_t n = 8192, query = 0;
    ll_error e = {0};
    if (rt_tok_encode(t, text, len, flags, ids, &n, &e) ||
        rt_tok_encode(t, text, len, flags, NULL, &query, &e) || query != n) {
        fprintf(stderr, "'%s': %s\n", text, e.msg);
        failures++;
        return;
    }
    bool same = n == json_array_size(want);
    for (size_t i = 0; same && i < n; i++)
        same = ids[i] == json_integer_value(json_array_get(want, i));
    if (!same) fail_item(flags ? "ids with special tokens" : "ids", text, ids, n, want);
}

static void check_text(const rt_tok *t, const json_t *ids, const char *want, size_t len)
{
    int32_t id[8192];
    char out[65536], streamed[65536];
    size_t n = json_array_size(ids), n_out = sizeof out, s_len = 0;
    ll_error e = {0};
    rt_tok_stream s = {0};
    for (size_t i = 0; i < n; i++) {
        id[i] = (int32_t)json_integer_value(json_array_get(ids, i));
        if (rt_tok_stream_add(t, &s, id[i], 0, &e)) break;
        memcpy(streamed + s_len, s.out, s.n_out);
        s_len += s.n_out;
    }
    if (rt_tok_decode(t, id, n, 0, out, &n_out, &e) || n_out != len || memcmp(out, want, len))
        fail_item("text", want, id, n, NULL);
    if (s_len != len || memcmp(streamed, want, len)) fail_item("streamed text", want, id, n, NULL);
    rt_tok_stream_finish(&s);
}

static size_t from_hex(const char *h, char *out)
{
    size_t n = strlen(h) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned v;
        sscanf(h + 2 * i, "%2x", &v);
        out[i] = (char)v;
    }
    return n;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static rt_tok *open_model(const char *path, ll_str *bytes)
{
    ll_error e = {0};
    mdl_gguf *g;
    mdl_vocab v = {0};
    rt_tok *t = NULL;
    double t0 = now();
    if (mdl_gguf_open(path, &g, &e) == LL_OK && mdl_vocab_from_gguf(g, &v, &e) == LL_OK &&
        mdl_vocab_write(&v, bytes, &e) == LL_OK) {
        double t1 = now(), best = 1;
        for (int i = 0; i < 5; i++) {
            rt_tok_close(t);
            double t2 = now();
            if (rt_tok_open(bytes->s, bytes->n, path, &t, &e)) break;
            if (now() - t2 < best) best = now() - t2;
        }
        printf("serialised in %.0f ms, %zu bytes; opens in %.2f ms\n", 1e3 * (t1 - t0), bytes->n,
               1e3 * best);
        if (best > 0.05) fprintf(stderr, "opening takes more than 50 ms\n"), failures++;
    }
    if (e.code) fprintf(stderr, "%s\n", e.msg), failures++;
    mdl_vocab_finish(&v);
    mdl_gguf_close(g);
    return t;
}

static bool find_model(const char *name, char *path, size_t n)
{
    static const struct { const char *variable, *below; } place[] = {
        {"LLMIR_MODELS", ""}, {"XDG_CACHE_HOME", "/llmir"}, {"HOME", "/.cache/llmir"}};
    for (size_t i = 0; i < sizeof place / sizeof *place; i++) {
        const char *folder = getenv(place[i].variable);
        snprintf(path, n, "%s%s/%s", folder ? folder : "", place[i].below, name);
        if (folder && access(path, R_OK) == 0) return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    char path[4096];
    if (!find_model(argv[1], path, sizeof path)) {
        printf("skipped: %s is neither in $LLMIR_MODELS nor where quickstart.sh puts it\n", argv[1]);
        return 77;
    }
    json_error_t je;
    json_t *ref = json_load_file(argv[2], 0, &je), *item;
    if (!ref) return fprintf(stderr, "%s: %s\n", argv[2], je.text), 1;
    ll_str bytes = {0};
    rt_tok *t = open_model(path, &bytes);
    if (!t) return 1;
    if (rt_tok_get_info(t)->n_vocab != json_integer_value(json_object_get(ref, "n_vocab")))
        failures++;
    size_t i, n_items = 0;
    json_array_foreach(json_object_get(ref, "items"), i, item) {
        json_t *text = json_object_get(item, "t"), *ids = json_object_get(item, "ids"),
               *sp = json_object_get(item, "sp");
        const char *s = json_string_value(text),
                   *hex = json_string_value(json_object_get(item, "det_hex"));
        char det[65536];
        size_t len = json_string_length(text);
        check_ids(t, s, len, 0, ids);
        check_ids(t, s, len, RT_TOK_PARSE_SPECIAL, sp ? sp : ids);
        if (hex) check_text(t, ids, det, from_hex(hex, det));
        else check_text(t, ids, s, len);
        n_items++;
    }
    printf("%zu strings, %d failures\n", n_items, failures);
    if (n_items < 300) failures++;
    rt_tok_close(t);
    ll_str_finish(&bytes);
    json_decref(ref);
    return failures ? 1 : 0;
}

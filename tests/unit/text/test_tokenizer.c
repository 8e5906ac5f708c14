/* test_tokenizer.c: the tokenizer on vocabularies that no model has, against a plain quadratic
 * one written here, and everything that a damaged module can hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <pthread.h>
#include <cmocka.h>

#include <llmir/tokenizer_abi.h>

#include "vocab_make.h"

static uint32_t rng_state = 1;
static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(rng_state >> 8) * n >> 24);
}

static size_t encode(const rt_tok *t, const char *s, size_t n, unsigned flags, int32_t *ids,
                     size_t room)
{
    ll_error e = {0};
    size_t k = room;
    if (rt_tok_encode(t, s, n, flags, ids, &k, &e)) fail_msg("%s", e.msg);
    return k;
}

static void ids_are_(const rt_tok *t, const char *s, size_t n, unsigned flags, const int32_t *want,
                     size_t n_want)
{
    int32_t got[256];
    size_t k = encode(t, s, n, flags, got, 256);
    assert_int_equal(k, n_want);
    assert_memory_equal(got, want, k * sizeof *got);
}
#define ids_are(t, s, flags, ...)                                                                  \
    ids_are_(t, s, strlen(s), flags, (int32_t[]){__VA_ARGS__},                                     \
             sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void decodes_to(const rt_tok *t, const int32_t *ids, size_t n, unsigned flags,
                       const void *want, size_t n_want)
{
    char out[8192];
    size_t k = sizeof out;
    ll_error e = {0};
    assert_int_equal(rt_tok_decode(t, ids, n, flags, out, &k, &e), LL_OK);
    assert_int_equal(k, n_want);
    assert_memory_equal(out, want, k);
}

/* ---- merges against the plain rule ---- */

/* 60 random merges over the letters a..d; token texts are remembered for the plain tokenizer. */
typedef struct toy_merge { char l[64], r[64]; } toy_merge;
static toy_merge toy[60];

static vocab *random_vocab(void)
{
    vocab *v = vocab_of_bytes("gpt-2");
    char known[64][64] = {"a", "b", "c", "d"};
    int n = 4;
    for (int i = 0; i < 60;) {
        const char *l = known[rnd((uint32_t)n)], *r = known[rnd((uint32_t)n)];
        if (strlen(l) + strlen(r) > 40) continue;
        bool twice = false;
        for (int k = 0; k < i; k++) twice |= !strcmp(toy[k].l, l) && !strcmp(toy[k].r, r);
        if (twice) continue;
        strcpy(toy[i].l, l);
        strcpy(toy[i].r, r);
        vocab_merge(v, l, strlen(l), r, strlen(r));
        if (n < 64) strcat(strcpy(known[n++], toy[i].l), toy[i].r);
        i++;
    }
    return v;
}

/* Texts of the symbols of s, the quadratic way, as strings. */
static int plain_bpe(const char *s, char sym[][64])
{
    int n = 0;
    for (; *s; s++, n++) sym[n][0] = *s, sym[n][1] = 0;
    for (int m = 0; m < 60; m++) /* the smallest rank anywhere, leftmost first; then start over */
        for (int i = 0; i + 1 < n; i++)
            if (!strcmp(sym[i], toy[m].l) && !strcmp(sym[i + 1], toy[m].r)) {
                strcat(sym[i], sym[i + 1]);
                memmove(sym[i + 1], sym[i + 2], (size_t)(n - i - 2) * sizeof *sym);
                n--;
                m = -1;
                break;
            }
    return n;
}

static void merges_equal_the_plain_rule_for_short_and_long_pieces(void **st)
{
    static char sym[300][64];
    for (int round = 0; round < 40; round++) {
        vocab *v = random_vocab();
        rt_tok *t = vocab_open(v);
        for (int k = 0; k < 60; k++) {
            char s[201];
            int32_t ids[256];
            size_t len = k < 45 ? (size_t)k + 1 : 60 + rnd(140), at = 0;
            for (size_t i = 0; i < len; i++) s[i] = (char)('a' + rnd(rnd(2) ? 2 : 4));
            s[len] = 0;
            size_t n = encode(t, s, len, 0, ids, 256);
            assert_int_equal(n, plain_bpe(s, sym));
            for (size_t i = 0; i < n; i++) {
                size_t tn;
                const char *text = rt_tok_text(t, ids[i], &tn);
                assert_int_equal(tn, strlen(sym[i]));
                assert_memory_equal(text, sym[i], tn);
                at += tn;
            }
            assert_int_equal(at, len);
        }
        rt_tok_close(t);
        vocab_destroy(v);
    }
}

/* ---- pieces ---- */

static void each_pre_tokeniser_cuts_where_its_expressions_say(void **st)
{
    /* merges for every neighbour pair of these texts: what stays apart was cut by the
     * pre-tokeniser */
    static const struct { const char *pre, *text, *want; } c[] = {
        {"gpt-2", "ab12 x", "ab|12| x"},
        {"smollm", "ab12 x", "ab|1|2| x"},
        {"qwen2", "ab12 x", "ab|1|2| x"},
        {"gpt-2", "it's IT'S", "it|'s| IT|'|S"},
        {"qwen2", "it's IT'S", "it|'s| IT|'S"},
        {"gpt-2", "a  b", "a| | b"},
        {"qwen2", "a\n\nb", "a|\n\n|b"},
        {"gpt-2", "a!\n", "a|!|\n"},
        {"qwen2", "a!\n", "a|!\n"},
        {"gpt-2", "(ab", "(|ab"},
        {"qwen2", "(ab", "(ab"},
        {"gpt-2", "a   ", "a|   "},
        {"gpt-2", "\xc3\xa4\xc3\xb6 \xe2\x82\xac", "\xc3\xa4\xc3\xb6| \xe2\x82\xac"},
        {"gpt-2", "a\xe1\xa0\x8e" "b", "a|\xe1\xa0\x8e|b"}, /* U+180E is no space */
        {"gpt-2", "\xe1\xa0\x8e!", "\xe1\xa0\x8e!"},
        {"smollm", "1a2", "1|a|2"},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        vocab *v = vocab_of_bytes(c[i].pre);
        size_t len = strlen(c[i].text);
        for (size_t a = 0; a < len; a++) /* left to right: token [a, e) grows by the byte at e */
            for (size_t e = a + 1; e < len; e++)
                vocab_merge(v, c[i].text + a, e - a, c[i].text + e, 1);
        rt_tok *t = vocab_open(v);
        int32_t ids[64];
        size_t n = encode(t, c[i].text, len, 0, ids, 64);
        char got[256] = "";
        for (size_t k = 0; k < n; k++) {
            size_t tn;
            const char *s = rt_tok_text(t, ids[k], &tn);
            strncat(strcat(got, k ? "|" : ""), s, tn);
        }
        assert_string_equal(got, c[i].want);
        rt_tok_close(t);
        vocab_destroy(v);
    }
}

/* ---- special tokens ---- */

static vocab *special_vocab(int32_t *ctl, int32_t *longer, int32_t *user, int32_t *unused)
{
    vocab *v = vocab_of_bytes("gpt-2");
    *ctl = (int32_t)vocab_add(v, "<c>", 3, MDL_TOKEN_CONTROL);
    *longer = (int32_t)vocab_add(v, "<c>>", 4, MDL_TOKEN_CONTROL);
    *user = (int32_t)vocab_add(v, "  ", 2, MDL_TOKEN_USER);
    *unused = (int32_t)vocab_add(v, "[PAD]", 5, MDL_TOKEN_UNUSED);
    vocab_add(v, "</s>", 4, MDL_TOKEN_NORMAL); /* control by its text, whatever the file says */
    return v;
}

static void special_tokens_are_found_when_asked_for(void **st)
{
    int32_t ctl, longer, user, unused;
    vocab *v = special_vocab(&ctl, &longer, &user, &unused);
    v->v.bos = ctl;
    v->v.eos = longer;
    v->v.add_bos = true;
    rt_tok *t = vocab_open(v);
    ids_are(t, "a<c>b", 0, 'a', '<', 'c', '>', 'b');
    ids_are(t, "a<c>b", RT_TOK_PARSE_SPECIAL, 'a', ctl, 'b');
    ids_are(t, "<c>><c><c", RT_TOK_PARSE_SPECIAL, longer, ctl, '<', 'c');
    ids_are(t, "a  b", 0, 'a', user, 'b'); /* user-defined: always */
    ids_are(t, "[PAD]", RT_TOK_PARSE_SPECIAL, '[', 'P', 'A', 'D', ']');
    ids_are(t, "</s>", RT_TOK_PARSE_SPECIAL, unused + 1);
    ids_are(t, "a", RT_TOK_ADD_SPECIAL, ctl, 'a');
    assert_int_equal(encode(t, "", 0, 0, NULL, 0), 0);
    assert_int_equal(encode(t, "", 0, RT_TOK_ADD_SPECIAL, NULL, 0), 1);
    const int32_t ids[] = {'a', ctl, user, unused, unused + 1, 'b'};
    decodes_to(t, ids, 6, 0, "a  b", 4);
    decodes_to(t, ids, 6, RT_TOK_SHOW_SPECIAL, "a<c>  [PAD]</s>b", 16);
    assert_true(rt_tok_is_eog(t, longer) && rt_tok_is_eog(t, unused + 1) &&
                !rt_tok_is_eog(t, ctl) && !rt_tok_is_eog(t, -1));
    const rt_tok_info *info = rt_tok_get_info(t);
    assert_int_equal(info->bos, ctl);
    assert_int_equal(info->pad, RT_TOK_NO_ID);
    assert_int_equal(info->n_special, 4);
    assert_true(info->add_bos && !info->add_eos);
    rt_tok_close(t);
    vocab_destroy(v);
}

/* ---- bytes ---- */

static void any_bytes_come_back(void **st)
{
    vocab *v = random_vocab();
    rt_tok *t = vocab_open(v);
    for (int round = 0; round < 2000; round++) {
        char s[200];
        int32_t ids[200];
        size_t n = rnd(200);
        for (size_t i = 0; i < n; i++) s[i] = (char)(rnd(3) ? 'a' + rnd(4) : rnd(256));
        size_t k = encode(t, s, n, 0, ids, 200);
        decodes_to(t, ids, k, 0, s, n);
    }
    rt_tok_close(t);
    vocab_destroy(v);
}

static void a_byte_without_a_token_is_unk_or_nothing(void **st)
{
    for (int with_unk = 0; with_unk < 2; with_unk++) {
        vocab *v = vocab_create("gpt-2");
        vocab_add(v, "<unk>", 5, MDL_TOKEN_UNKNOWN);
        vocab_add(v, "a", 1, MDL_TOKEN_NORMAL);
        vocab_add(v, "<0x62>", 6, MDL_TOKEN_BYTE);
        v->v.unk = with_unk ? 0 : -1;
        rt_tok *t = vocab_open(v);
        if (with_unk) ids_are(t, "axb", 0, 1, 0, 2);
        else ids_are(t, "axb", 0, 1, 2);
        decodes_to(t, (int32_t[]){1, 2}, 2, 0, "ab", 2);
        rt_tok_close(t);
        vocab_destroy(v);
    }
}

static void the_room_is_asked_for_and_kept_to(void **st)
{
    vocab *v = vocab_of_bytes("gpt-2");
    rt_tok *t = vocab_open(v);
    ll_error e = {0};
    int32_t ids[4] = {-7, -7, -7, -7};
    char out[4] = "....";
    size_t n = 99;
    assert_int_equal(rt_tok_encode(t, "abcd", 4, 0, NULL, &n, &e), LL_OK);
    assert_int_equal(n, 4);
    n = 3;
    assert_int_equal(rt_tok_encode(t, "abcd", 4, 0, ids, &n, &e), LL_USAGE);
    assert_int_equal(n, 4);
    assert_int_equal(ids[2], 'c');
    assert_int_equal(ids[3], -7);
    assert_string_equal(e.msg, "the text has 4 tokens, there is room for 3");
    e.code = LL_OK;
    n = 3;
    assert_int_equal(rt_tok_decode(t, (int32_t[]){'a', 'b', 'c', 'd'}, 4, 0, out, &n, &e),
                     LL_USAGE);
    assert_int_equal(n, 4);
    assert_memory_equal(out, "abc.", 4);
    e.code = LL_OK;
    static const int32_t outside[] = {-1, 256, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 4; i++) {
        rt_tok_stream s = {0};
        e.code = LL_OK;
        n = 4;
        assert_int_equal(rt_tok_decode(t, &outside[i], 1, 0, out, &n, &e), LL_USAGE);
        assert_non_null(strstr(e.msg, "the vocabulary has 256"));
        assert_int_equal(rt_tok_stream_add(t, &s, outside[i], 0, NULL), LL_USAGE);
    }
    n = 0;
    e.code = LL_OK;
    assert_int_equal(rt_tok_encode(t, "", (size_t)INT32_MAX + 1, 0, NULL, &n, &e), LL_USAGE);
    rt_tok_close(t);
    vocab_destroy(v);
}

static void streaming_gives_whole_characters(void **st)
{
    static const struct {
        const char *bytes;    /* one token a byte */
        const char *pieces;   /* what each gives, '|' behind each; the end last */
    } c[] = {
        {"a\xc3\xa4z", "a||\xc3\xa4|z||"},
        {"\xf0\x9f\x99\x82", "|||\xf0\x9f\x99\x82||"},
        {"\xf0\x9f\x99", "|||\xef\xbf\xbd|"},            /* cut: one for the sequence */
        {"\xf0\x9f" "a", "||\xef\xbf\xbd" "a||"},
        {"\xe2\xe2\x82\xac", "|\xef\xbf\xbd||\xe2\x82\xac||"},
        {"\xff\x80", "\xef\xbf\xbd|\xef\xbf\xbd||"},
        {"\xed\xa0\x80", "|\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd||"},
        {"", "|"},
    };
    vocab *v = vocab_of_bytes("gpt-2");
    rt_tok *t = vocab_open(v);
    rt_tok_stream s = {0};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        ll_str got = {0};
        for (const char *p = c[i].bytes; *p; p++) {
            assert_int_equal(rt_tok_stream_add(t, &s, (unsigned char)*p, 0, NULL), LL_OK);
            assert_int_equal(strlen(s.out), s.n_out);
            ll_str_addf(&got, "%s|", s.out);
        }
        assert_int_equal(rt_tok_stream_end(&s, NULL), LL_OK);
        ll_str_addf(&got, "%s|", s.out);
        assert_string_equal(got.s, c[i].pieces);
        ll_str_finish(&got);
    }
    rt_tok_stream_finish(&s);
    rt_tok_close(t);
    /* one token that ends a character, holds two, and starts another */
    uint32_t id = vocab_add(v, "\xa4xy\xc3", 4, MDL_TOKEN_NORMAL);
    t = vocab_open(v);
    rt_tok_stream_add(t, &s, 0xc3, 0, NULL);
    assert_string_equal(s.out, "");
    rt_tok_stream_add(t, &s, (int32_t)id, 0, NULL);
    assert_string_equal(s.out, "\xc3\xa4xy");
    rt_tok_stream_add(t, &s, 0xb6, 0, NULL);
    assert_string_equal(s.out, "\xc3\xb6");
    rt_tok_stream_finish(&s);
    rt_tok_close(t);
    vocab_destroy(v);
}

/* ---- time ---- */

static double seconds_to_encode(const rt_tok *t, const char *s, size_t n, unsigned flags)
{
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    encode(t, s, n, flags, NULL, 0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    return (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
}

static void a_mebibyte_of_anything_takes_under_a_second(void **st)
{
    static const char *const pattern[] = {"a",    " ",   "ab", "a ", "<c>",         "abacabad",
                                          "\xff", "\n ", "1",  "<",  "\xe2\x82\xac"};
    static const char *const pre[] = {"gpt-2", "smollm", "qwen2"};
    size_t n = 1 << 20;
    char *s = malloc(n);
    assert_non_null(s);
    for (size_t p = 0; p < 3; p++) {
        vocab *v = random_vocab();
        v->v.pre = (mdl_span){pre[p], strlen(pre[p])};
        vocab_merge(v, " ", 1, " ", 1);
        vocab_merge(v, "  ", 2, "  ", 2);
        vocab_merge(v, "    ", 4, "    ", 4);
        vocab_add(v, "<c>", 3, MDL_TOKEN_CONTROL);
        rt_tok *t = vocab_open(v);
        for (size_t k = 0; k < sizeof pattern / sizeof *pattern; k++) {
            size_t len = strlen(pattern[k]);
            for (size_t i = 0; i < n; i++) s[i] = pattern[k][i % len];
            double sec = seconds_to_encode(t, s, n, RT_TOK_PARSE_SPECIAL);
            if (sec > 1.0) fail_msg("1 MiB of '%s' took %.2f s with %s", pattern[k], sec, pre[p]);
        }
        for (size_t i = 0; i < n; i++) s[i] = (char)('a' + rnd(4)); /* every merge at work */
        double sec = seconds_to_encode(t, s, n, 0);
        if (sec > 1.0) fail_msg("1 MiB of letters took %.2f s with %s", sec, pre[p]);
        rt_tok_close(t);
        vocab_destroy(v);
    }
    free(s);
}

/* ---- what a module may not hold ---- */

typedef struct patched { uint64_t *p; size_t n; } patched; /* 8-byte aligned copy */

static patched copy_of(const vocab *v)
{
    patched c = {malloc(v->bytes.n + 64), v->bytes.n};
    memcpy(c.p, v->bytes.s, v->bytes.n);
    return c;
}

static void refused(const patched *c, ll_code code, const char *part)
{
    rt_tok *t = (rt_tok *)1;
    ll_error e = {0};
    ll_code rc = rt_tok_open(c->p, c->n, "m.so", &t, &e);
    if (rc != code || !strstr(e.msg, part) || strncmp(e.msg, "tokenizer of m.so: ", 19))
        fail_msg("got %s '%s', wanted '%s'", ll_code_name(rc), e.msg, part);
    assert_null(t);
}

/* Gives the tables another list of expressions (they are the last section). */
static void set_split(patched *c, const char *list, size_t n, uint32_t count)
{
    llmir_tok_header *h = (llmir_tok_header *)c->p;
    char *last = (char *)c->p + c->n - (h->n_split_bytes + 7) / 8 * 8;
    assert_true(n <= 64);
    memcpy(last, list, n);
    h->n_split = count;
    h->n_split_bytes = (uint32_t)n;
    c->n = h->size = (size_t)(last + (n + 7) / 8 * 8 - (char *)c->p);
}

static void damaged_tables_are_refused_by_name(void **st)
{
    int32_t ids[4];
    vocab *v = special_vocab(&ids[0], &ids[1], &ids[2], &ids[3]);
    vocab_merge(v, "a", 1, "b", 1);
    rt_tok_close(vocab_open(v));
#define HEADER(field, value, code, part)                                                           \
    do {                                                                                           \
        patched c = copy_of(v);                                                                    \
        ((llmir_tok_header *)c.p)->field = (value);                                                \
        refused(&c, code, part);                                                                   \
        free(c.p);                                                                                 \
    } while (0)
    HEADER(magic, 1, LL_BAD_INPUT, "magic: not a tokenizer");
    HEADER(abi, 2, LL_UNSUPPORTED, "abi: 2, this runtime reads 1");
    HEADER(flags, 4, LL_UNSUPPORTED, "flags: 0x4");
    HEADER(size, UINT64_MAX, LL_BAD_INPUT, "size: ");
    HEADER(size, 0, LL_BAD_INPUT, "byte: offset 72 is past the end (0 bytes)");
    HEADER(n_vocab, 0, LL_BAD_INPUT, "n_vocab: 0, wanted 1..");
    HEADER(n_vocab, UINT32_MAX, LL_BAD_INPUT, "n_vocab: ");
    HEADER(n_vocab, 1u << 21, LL_BAD_INPUT, "text: wanted");
    HEADER(n_vocab, 200, LL_BAD_INPUT, "byte: token 200");
    HEADER(n_slot, 0, LL_BAD_INPUT, "n_slot: 0");
    HEADER(n_slot, 17, LL_BAD_INPUT, "n_slot: 17");
    HEADER(n_slot, 1u << 31, LL_BAD_INPUT, "merge: wanted");
    HEADER(n_merge, 16, LL_BAD_INPUT, "n_slot: 16");
    HEADER(n_merge, 2, LL_BAD_INPUT, "merge: 1 entries, the header says 2");
    HEADER(n_merge, 0, LL_BAD_INPUT, "merge: an entry names");
    HEADER(n_bytes, UINT32_MAX, LL_BAD_INPUT, "bytes: wanted");
    HEADER(n_special, UINT32_MAX, LL_BAD_INPUT, "special: wanted");
    HEADER(n_eog, UINT32_MAX, LL_BAD_INPUT, "eog: wanted");
    HEADER(n_split, 9, LL_BAD_INPUT, "n_split: 9, at most 8");
    HEADER(n_split, 2, LL_BAD_INPUT, "split: expression 1 has no end");
    HEADER(n_split_bytes, UINT32_MAX, LL_BAD_INPUT, "split: wanted");
    HEADER(bos, 262, LL_BAD_INPUT, "bos: token 262, the vocabulary has 262");
    HEADER(eos, UINT32_MAX - 1, LL_BAD_INPUT, "eos: ");
    HEADER(pad, 262, LL_BAD_INPUT, "pad: ");
    HEADER(unk, 262, LL_BAD_INPUT, "unk: ");
    for (size_t n = 0; n < v->bytes.n; n++) {
        patched c = copy_of(v);
        c.n = n;
        refused(&c, LL_BAD_INPUT, n < sizeof(llmir_tok_header) ? "header: wanted" : "size: ");
        free(c.p);
    }
    patched c = copy_of(v);
    set_split(&c, "(", 2, 1);
    refused(&c, LL_BAD_INPUT, "split: expression 0: missing closing parenthesis at byte 1");
    set_split(&c, "ab", 2, 1);
    refused(&c, LL_BAD_INPUT, "split: expression 0 has no end");
    ll_error e = {0};
    rt_tok *t;
    assert_int_equal(rt_tok_open((char *)c.p + 4, c.n - 4, "m.so", &t, &e), LL_USAGE);
    free(c.p);
    vocab_destroy(v);
}

/* Every byte changed in five ways: refused, or it opens and then encodes and decodes within its
 * bounds. */
static void every_changed_byte_is_refused_or_harmless(void **st)
{
    static const unsigned char x[] = {0x01, 0x80, 0xff, 0x10, 0x7f};
    int32_t ids[4], out[64];
    vocab *v = special_vocab(&ids[0], &ids[1], &ids[2], &ids[3]);
    vocab_merge(v, "a", 1, "b", 1);
    vocab_merge(v, "ab", 2, "a", 1);
    rt_tok_close(vocab_open(v));
    patched c = copy_of(v);
    char text[64];
    for (size_t i = 0; i < c.n; i++)
        for (size_t k = 0; k < sizeof x; k++) {
            unsigned char *p = (unsigned char *)c.p + i;
            *p ^= x[k];
            rt_tok *t;
            ll_error e = {0};
            if (rt_tok_open(c.p, c.n, "m.so", &t, &e) == LL_OK) {
                size_t n = 64, n_text = 64;
                if (!rt_tok_encode(t, "ab<c>aba  </s>ab1", 17, RT_TOK_PARSE_SPECIAL, out, &n, NULL))
                    rt_tok_decode(t, out, n, RT_TOK_SHOW_SPECIAL, text, &n_text, NULL);
                rt_tok_close(t);
            } else assert_int_equal(strncmp(e.msg, "tokenizer of m.so: ", 19), 0);
            *p ^= x[k];
        }
    free(c.p);
    vocab_destroy(v);
}

static void an_expression_that_explodes_is_an_error_soon(void **st)
{
    static const struct {
        const char *re;
        unsigned n;
    } bad[] = {{"(a+)+$", 7}, {"(a|aa)+$", 9}, {"(a|a)+$", 8}};
    vocab *v = vocab_of_bytes("qwen2");
    rt_tok_close(vocab_open(v));
    char text[4096];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 'c';
    for (size_t i = 0; i < 3; i++) {
        patched c = copy_of(v);
        rt_tok *t;
        ll_error e = {0};
        size_t n = 7;
        struct timespec a, b;
        set_split(&c, bad[i].re, bad[i].n, 1);
        assert_int_equal(rt_tok_open(c.p, c.n, "m.so", &t, &e), LL_OK);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        ll_code rc = rt_tok_encode(t, text, sizeof text, 0, NULL, &n, &e);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        if (rc != LL_BAD_INPUT || !strstr(e.msg, "gave up on the text at byte 0: "))
            fail_msg("%s: %s '%s'", bad[i].re, ll_code_name(rc), e.msg);
        assert_true(b.tv_sec - a.tv_sec < 2);
        assert_int_equal(n, 7); /* outputs are untouched */
        rt_tok_close(t);
        free(c.p);
    }
    vocab_destroy(v);
}

/* Expressions that match nothing, or claim a match that starts after it ends, cannot loop. */
static void expressions_without_progress_end(void **st)
{
    static const struct { const char *re; unsigned n; ll_code code;
    } c[] = {{"x*", 3, LL_OK},
             {"(?=a)", 6, LL_OK},
             {"", 1, LL_OK},
             {"(?=ab\\K)", 9, LL_BAD_INPUT},
             {"a\\Kb", 5, LL_OK}};
    vocab *v = vocab_of_bytes("qwen2");
    rt_tok_close(vocab_open(v));
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        patched p = copy_of(v);
        rt_tok *t;
        size_t n = 0;
        ll_error e = {0};
        set_split(&p, c[i].re, c[i].n, 1);
        ll_code opened = rt_tok_open(p.p, p.n, "m.so", &t, &e);
        if (opened == LL_OK) {
            ll_code rc = rt_tok_encode(t, "aabb", 4, 0, NULL, &n, &e);
            if (rc == LL_OK) assert_int_equal(n, 4);
            else assert_int_equal(c[i].code, rc);
            rt_tok_close(t);
        } else assert_int_equal(c[i].code, opened);
        free(p.p);
    }
    vocab_destroy(v);
}

/* ---- threads ---- */

static void *encode_much(void *arg)
{
    const rt_tok *t = arg;
    static const char text[] = "abcdabcd 12 ab<c>d  aabbccdd";
    int32_t first[64], ids[64];
    size_t n = 64, k = 64;
    if (rt_tok_encode(t, text, sizeof text - 1, 1, first, &n, NULL)) return (void *)1;
    for (int i = 0; i < 2000; i++, k = 64)
        if (rt_tok_encode(t, text, sizeof text - 1, 1, ids, &k, NULL) || k != n ||
            memcmp(ids, first, n * sizeof *ids))
            return (void *)1;
    return NULL;
}

static void many_threads_use_one_tokenizer(void **st)
{
    vocab *v = random_vocab();
    vocab_add(v, "<c>", 3, MDL_TOKEN_CONTROL);
    rt_tok *t = vocab_open(v);
    pthread_t th[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&th[i], NULL, encode_much, t), 0);
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(th[i], &bad);
        assert_null(bad);
    }
    rt_tok_close(t);
    vocab_destroy(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_equal_the_plain_rule_for_short_and_long_pieces),
        cmocka_unit_test(each_pre_tokeniser_cuts_where_its_expressions_say),
        cmocka_unit_test(special_tokens_are_found_when_asked_for),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(a_byte_without_a_token_is_unk_or_nothing),
        cmocka_unit_test(the_room_is_asked_for_and_kept_to),
        cmocka_unit_test(streaming_gives_whole_characters),
        cmocka_unit_test(a_mebibyte_of_anything_takes_under_a_second),
        cmocka_unit_test(damaged_tables_are_refused_by_name),
        cmocka_unit_test(every_changed_byte_is_refused_or_harmless),
        cmocka_unit_test(an_expression_that_explodes_is_an_error_soon),
        cmocka_unit_test(expressions_without_progress_end),
        cmocka_unit_test(many_threads_use_one_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* vocab_make.h: small vocabularies made in memory, serialised and opened. Text is given as
 * bytes; the printable alphabet of GPT-2 is applied here, by its definition. */
#ifndef LLMIR_TESTS_VOCAB_MAKE_H
#define LLMIR_TESTS_VOCAB_MAKE_H

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/tokenizer.h"
#include "runtime/text/tokenizer.h"

enum { VOCAB_CAP = 4096 };

typedef struct vocab {
    mdl_vocab v;
    mdl_span token[VOCAB_CAP], merge[VOCAB_CAP];
    uint8_t type[VOCAB_CAP];
    ll_str bytes; /* the serialised form */
} vocab;

static inline void add_printable(ll_str *out, const void *p, size_t n)
{
    const unsigned char *s = p;
    for (size_t i = 0; i < n; i++) {
        uint32_t cp = s[i], k = 0;
        char c[4];
        if (!((cp > 32 && cp < 127) || (cp >= 0xa1 && cp != 0xad))) { /* the k-th that does not */
            for (uint32_t b = 0; b < cp; b++)
                k += !((b > 32 && b < 127) || (b >= 0xa1 && b != 0xad));
            cp = 256 + k;
        }
        ll_str_addn(out, c, ll_utf8_put(cp, c));
    }
}

static inline mdl_span span_of(ll_str s) { return (mdl_span){s.s, s.n}; }

static inline uint32_t vocab_add(vocab *v, const char *text, size_t n, unsigned type)
{
    ll_str s = {0};
    if (type == MDL_TOKEN_NORMAL) add_printable(&s, text, n);
    else ll_str_addn(&s, text, n);
    v->type[v->v.n] = (uint8_t)type;
    v->token[v->v.n] = span_of(s);
    return v->v.n++;
}

/* The merge of two tokens' bytes; adds the joined token when it is new. */
static inline void vocab_merge(vocab *v, const char *l, size_t nl, const char *r, size_t nr)
{
    ll_str m = {0}, joined = {0};
    add_printable(&m, l, nl);
    ll_str_addn(&joined, m.s, m.n);
    ll_str_addc(&m, ' ');
    add_printable(&m, r, nr);
    ll_str_addn(&joined, m.s + joined.n + 1, m.n - joined.n - 1);
    v->merge[v->v.n_merge++] = span_of(m);
    for (uint32_t i = 0; i < v->v.n; i++)
        if (v->token[i].n == joined.n && !memcmp(v->token[i].s, joined.s, joined.n)) {
            ll_str_finish(&joined);
            return;
        }
    v->type[v->v.n] = MDL_TOKEN_NORMAL;
    v->token[v->v.n++] = span_of(joined);
}

static inline vocab *vocab_create(const char *pre)
{
    vocab *v = calloc(1, sizeof *v);
    if (!v) abort();
    v->v = (mdl_vocab){.file = "toy",
                       .pre = {pre, strlen(pre)},
                       .token = v->token,
                       .type = v->type,
                       .merge = v->merge,
                       .bos = -1,
                       .eos = -1,
                       .eot = -1,
                       .pad = -1,
                       .unk = -1};
    return v;
}

/* Token b is byte b. */
static inline vocab *vocab_of_bytes(const char *pre)
{
    vocab *v = vocab_create(pre);
    for (int b = 0; b < 256; b++) vocab_add(v, &(char){(char)b}, 1, MDL_TOKEN_NORMAL);
    return v;
}

static inline rt_tok *vocab_open(vocab *v)
{
    rt_tok *t;
    ll_error e = {0};
    ll_str_clear(&v->bytes);
    if (mdl_vocab_write(&v->v, &v->bytes, &e) ||
        rt_tok_open(v->bytes.s, v->bytes.n, "toy", &t, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        abort();
    }
    return t;
}

static inline void vocab_destroy(vocab *v)
{
    for (uint32_t i = 0; i < v->v.n; i++) free((char *)(uintptr_t)v->token[i].s);
    for (size_t i = 0; i < v->v.n_merge; i++) free((char *)(uintptr_t)v->merge[i].s);
    ll_str_finish(&v->bytes);
    free(v);
}

#endif

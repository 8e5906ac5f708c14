/* fake_text.h: the fake model with a tokenizer: token b < 256 is byte b; 256 "<end>" ends a text;
 * 257 "<user>" is another control token; 258 is a long word. */
#ifndef LLMIR_TESTS_FAKE_TEXT_H
#define LLMIR_TESTS_FAKE_TEXT_H

#include <stdio.h>

#include "tests/unit/runtime/fake.h"
#include "tests/unit/text/vocab_make.h"

enum { FAKE_END = 256, FAKE_USER = 257 };

/* `ptx`: of fake_cuda.c; NULL: the CUDA target's launches are there to be read, not made. */
static inline ll_code fake_write_text(const char *path, const char *object, const char *ptx,
                                      ll_error *err)
{
    vocab *v = vocab_of_bytes("gpt-2");
    vocab_add(v, "<end>", 5, MDL_TOKEN_CONTROL);
    vocab_add(v, "<user>", 6, MDL_TOKEN_CONTROL);
    char word[600];
    memset(word, 'L', sizeof word);
    vocab_add(v, word, sizeof word, MDL_TOKEN_NORMAL);
    for (char name[8]; v->v.n < FAKE_VOCAB - 2;) /* the last two only pad */
        vocab_add(v, name, (size_t)snprintf(name, sizeof name, "u%u", v->v.n), MDL_TOKEN_UNUSED);
    v->v.eos = FAKE_END;
    ll_code rc = mdl_vocab_write(&v->v, &v->bytes, err);
    fake_options o = {.tokenizer = v->bytes.s, .n_tokenizer = v->bytes.n, .ptx = ptx};
    if (rc == LL_OK) rc = fake_write(path, object, &o, err);
    vocab_destroy(v);
    return rc;
}

#endif

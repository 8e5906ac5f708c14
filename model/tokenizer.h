/* tokenizer.h: a vocabulary as files give it, and its serialised form for a module
 * (<llmir/tokenizer_abi.h>). Byte-level BPE only; anything else is LL_UNSUPPORTED with its name. */
#ifndef LLMIR_MODEL_TOKENIZER_H
#define LLMIR_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "model/gguf.h"

typedef struct mdl_span { /* bytes owned by someone else */
    const char *s;
    size_t n;
} mdl_span;

/* token types of GGUF files */
enum mdl_token_type {
    MDL_TOKEN_NORMAL = 1,
    MDL_TOKEN_UNKNOWN,
    MDL_TOKEN_CONTROL,
    MDL_TOKEN_USER,
    MDL_TOKEN_UNUSED,
    MDL_TOKEN_BYTE
};

typedef struct mdl_vocab {
    const char *file;     /* for messages */
    mdl_span pre;         /* name of the pre-tokeniser: model/pretok.def */
    mdl_span *token;      /* normal tokens in GPT-2's printable alphabet for bytes, others as is */
    uint8_t *type;        /* NULL: all normal */
    uint32_t n;
    mdl_span *merge;      /* "left right", best first */
    size_t n_merge;
    int64_t bos, eos, eot, pad, unk; /* -1: none */
    bool add_bos, add_eos;
} mdl_vocab;

/* The vocabulary of a file; its spans point into `g`. LL_UNSUPPORTED for another kind of
 * tokenizer. */
ll_code mdl_vocab_from_gguf(const mdl_gguf *g, mdl_vocab *out, ll_error *err);
void mdl_vocab_finish(mdl_vocab *v); /* frees the arrays; a zeroed one is fine */
/* Appends the serialised tokenizer to `out` (which is empty or a multiple of 8 bytes long).
 * Checks that tokens are distinct, merges name tokens, special ids exist. */
ll_code mdl_vocab_write(const mdl_vocab *v, ll_str *out, ll_error *err);

#endif

/* tokenizer.h: text to token ids and back: byte-level BPE over the tables of
 * <llmir/tokenizer_abi.h>.
 *
 * An open tokenizer is constant: any number of threads may call it at once, each call with its
 * own buffers. Text is bytes; it should be UTF-8, and bytes that are not UTF-8 still survive a
 * round trip (they become pieces of their own). Time is O(n log n) whatever the text. */
#ifndef LLMIR_RUNTIME_TEXT_TOKENIZER_H
#define LLMIR_RUNTIME_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct rt_tok rt_tok;

enum { RT_TOK_NO_ID = -1 };

typedef struct rt_tok_info {
    uint32_t n_vocab, n_special;
    int32_t bos, eos, pad, unk; /* RT_TOK_NO_ID where there is none */
    bool add_bos, add_eos;      /* what RT_TOK_ADD_SPECIAL does */
} rt_tok_info;

enum rt_tok_flag {
    /* encode: "<|im_end|>" in the text is the control token (never for what users write) */
    RT_TOK_PARSE_SPECIAL = 1,
    /* encode: bos in front, eos behind, where the model wants them */
    RT_TOK_ADD_SPECIAL = 2,
    /* decode: control tokens print as their text; without it as nothing */
    RT_TOK_SHOW_SPECIAL = 4,
};

/* Opens the tokenizer in `bytes`, which must stay valid and unchanged until close. Everything is
 * checked here: LL_BAD_INPUT names `name` (for messages) and the field. */
ll_code rt_tok_open(const void *bytes, size_t n, const char *name, rt_tok **out, ll_error *err);
void rt_tok_close(rt_tok *t); /* NULL is fine */

const rt_tok_info *rt_tok_get_info(const rt_tok *t);
/* True for a token that ends a generation. */
bool rt_tok_is_eog(const rt_tok *t, int32_t id);
/* The bytes of a token inside the tables, or NULL for an id outside the vocabulary. */
const char *rt_tok_text(const rt_tok *t, int32_t id, size_t *n);

/* In: *n_ids is the room in `ids`. Out: the number of ids of the whole text, of which the first
 * min(room, number) are stored. LL_USAGE when the room was too small, except with ids == NULL,
 * which asks for the number only. */
ll_code rt_tok_encode(const rt_tok *t, const char *text, size_t n, unsigned flags, int32_t *ids,
                      size_t *n_ids, ll_error *err);

/* The exact bytes of the ids, with the same rule for `out` and *n_out (no NUL is added). */
ll_code rt_tok_decode(const rt_tok *t, const int32_t *ids, size_t n_ids, unsigned flags, char *out,
                      size_t *n_out, ll_error *err);

/* Streaming decode: gives complete UTF-8 only. The start of a character waits for its other
 * bytes; a sequence that turns out not to be UTF-8 becomes U+FFFD (one per longest broken
 * sequence). Zero the struct to start. The text is in `out` until the next call. */
typedef struct rt_tok_stream {
    unsigned char held[4];
    unsigned n_held;
    char *out; /* NUL-terminated */
    size_t n_out, cap;
} rt_tok_stream;

ll_code rt_tok_stream_add(const rt_tok *t, rt_tok_stream *s, int32_t id, unsigned flags,
                          ll_error *err);
ll_code rt_tok_stream_end(rt_tok_stream *s, ll_error *err); /* what was held becomes U+FFFD */
void rt_tok_stream_finish(rt_tok_stream *s); /* frees; the struct may be used again */

#endif

/* tokenizer_abi.h: the tokenizer as it lies in a module: one relocation-free byte string,
 * little-endian, written once at build time (model/tokenizer.h) and used in place by the runtime
 * (runtime/text/tokenizer.h). Nothing is decoded or copied at load: the merge rules are already
 * a hash table, token texts one blob with offsets.
 *
 *     +--------+------+-------+----------+--------+-------+---------+-----+-------+
 *     | header | byte | text  | kind     | merge  | bytes | special | eog | split |
 *     +--------+------+-------+----------+--------+-------+---------+-----+-------+
 *       byte     u32[256]          the token of each single byte, or LLMIR_TOK_NONE
 *       text     u32[n_vocab + 1]  token i is bytes[text[i] .. text[i + 1])
 *       kind     u8[n_vocab]       LLMIR_TOK_NORMAL, ...
 *       merge    llmir_tok_merge[n_slot]  open addressing, linear probing from llmir_tok_mix
 *       bytes    u8[n_bytes]       what tokens stand for, as bytes (no "G with dot" encoding)
 *       special  u32[n_special]    tokens that are found in text, sorted by their bytes
 *       eog      u32[n_eog]        tokens that end a generation
 *       split    u8[n_split_bytes] n_split NUL-terminated regular expressions (PCRE2, UTF and UCP)
 *
 * Every section starts at a multiple of 8 from the start of the header, in the order above.
 *
 * Splitting. Text between special tokens goes through the expressions in turn: each cuts every
 * piece of the one before into its matches and the gaps between them. A byte-pair merge never
 * crosses a piece. */
#ifndef LLMIR_TOKENIZER_ABI_H
#define LLMIR_TOKENIZER_ABI_H

#include <stdint.h>

#define LLMIR_TOK_MAGIC 0x314b4f544d4c4cu /* "LLMTOK1" */
#define LLMIR_TOK_ABI 1u
#define LLMIR_TOK_NONE 0xffffffffu

enum {
    LLMIR_TOK_MAX_VOCAB = 1 << 21,
    LLMIR_TOK_MAX_TEXT = 1 << 16, /* bytes of one token */
    LLMIR_TOK_MAX_SPLIT = 8,
};

enum llmir_tok_kind {
    LLMIR_TOK_NORMAL = 0,
    LLMIR_TOK_CONTROL = 1, /* found in text only when special tokens are parsed; prints nothing */
    LLMIR_TOK_USER = 2,    /* always found in text, and printed */
    LLMIR_TOK_UNUSED = 3,  /* never made from text, prints nothing */
    LLMIR_TOK_KINDS
};

enum llmir_tok_flag {
    LLMIR_TOK_ADD_BOS = 1,
    LLMIR_TOK_ADD_EOS = 2,
    LLMIR_TOK_FLAGS = 3, /* all that are known: others are refused */
};

typedef struct llmir_tok_header {
    uint64_t magic;
    uint32_t abi, flags;
    uint64_t size; /* of everything, header included */
    uint32_t n_vocab, n_slot, n_merge, n_special, n_eog, n_split;
    uint32_t n_bytes, n_split_bytes;
    uint32_t bos, eos, pad, unk; /* LLMIR_TOK_NONE where there is none */
} llmir_tok_header;

/* `left` and `right` side by side become `to`; of all pairs in a piece the smallest rank goes
 * first, and of equal ranks the leftmost. An empty slot has left == LLMIR_TOK_NONE. n_slot is a
 * power of two. */
typedef struct llmir_tok_merge {
    uint32_t left, right, rank, to;
} llmir_tok_merge;

static inline uint32_t llmir_tok_mix(uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32);
}

#endif

/* bpe.h: byte-pair merges inside one piece of text. */
#ifndef LLMIR_RUNTIME_TEXT_BPE_H
#define LLMIR_RUNTIME_TEXT_BPE_H

#include <stddef.h>
#include <stdint.h>

#include <llmir/tokenizer_abi.h>

#include "base/status.h"

typedef struct rt_bpe { /* tables in the module, checked */
    const uint32_t *byte;         /* [256] */
    const llmir_tok_merge *merge; /* [mask + 1] */
    uint32_t mask, unk;
} rt_bpe;

typedef struct rt_bpe_sym rt_bpe_sym;
typedef struct rt_bpe_work { /* of one call: where ids go, and memory kept from piece to piece */
    int32_t *ids;
    size_t room, n_ids; /* n_ids counts on beyond the room */
    rt_bpe_sym *sym;
    uint64_t *heap;
    size_t cap;
} rt_bpe_work;

static inline void rt_bpe_put(rt_bpe_work *w, uint32_t id)
{
    if (w->n_ids < w->room) w->ids[w->n_ids] = (int32_t)id;
    w->n_ids++;
}

/* Appends the ids of s[0, n), 0 < n < 2^31. A byte that has no token gives `unk`, or nothing
 * where the vocabulary has none. */
ll_code rt_bpe_piece(const rt_bpe *b, rt_bpe_work *w, const char *s, size_t n, ll_error *err);
void rt_bpe_work_finish(rt_bpe_work *w);

#endif

/* arena.h: where activations live: one arena a program, places reused when nobody reads what was there. Sizes are linear in
 * the step's dims (T tokens, R wanted rows ...), so offsets are too: base + sum coef[d] * dim[d]. */
#ifndef LLMIR_COMPILE_ARENA_H
#define LLMIR_COMPILE_ARENA_H

#include <stdint.h>

#include "base/status.h"
#include "te/te.h"

enum { CC_MAX_DIM = 32 };

typedef struct cc_bytes { int64_t base, coef[CC_MAX_DIM]; } cc_bytes;

/* Bytes of a dense tensor: shape entries are literals and at most one dim. index_of gives a dim's number (-1: unknown). */
ll_code cc_tensor_bytes(const te_tensor *t, int (*index_of)(void *, const char *), void *ctx, cc_bytes *out, ll_error *err);

typedef struct cc_arena cc_arena;
cc_arena *cc_arena_create(void);
void cc_arena_destroy(cc_arena *a);
/* A tensor is made by step `from` and last read by step `to`. Call in order of `from`. */
ll_code cc_arena_add(cc_arena *a, const te_tensor *t, const cc_bytes *size, int from, int to, ll_error *err);
/* Where it is; false when it was never added. */
bool cc_arena_find(const cc_arena *a, const te_tensor *t, cc_bytes *at);
cc_bytes cc_arena_size(const cc_arena *a);

#endif

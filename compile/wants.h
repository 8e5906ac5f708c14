/* wants.h: what a target wants of the programs made for it: the numbers by which model graphs, the
 * KV cache, fusion and plans differ from one kind of device to another. */
#ifndef LLMIR_COMPILE_WANTS_H
#define LLMIR_COMPILE_WANTS_H

#include <stdbool.h>

#include "target/target.h"

typedef struct cc_wants {
    int64_t act_block; /* columns that share a scale of quantised activations; 0: they are float */
    int64_t key_lanes; /* keys that lie side by side in a block of the K cache */
    int64_t panel;     /* columns of a tile of light definitions: rows of a weight panel */
    int64_t plan_rows; /* rows of a work item */
    int64_t multiple;  /* T and R of programs for many tokens are rounded up to this */
    int64_t parts;     /* attention of one row: the keys are cut into these many parts ... */
    int64_t part_page; /* ... of pages of at most this many tokens */
    bool row_stats;    /* programs also give the maximum and log-sum-exp of each row of logits */
} cc_wants;

cc_wants cc_wants_of(const ll_target *t, bool f32_activations);

#endif

/* types.h: the tensor types of GGUF files: number -> name and block. A supported type has a
 * block; one that is only known by name (for the message that refuses it) has block == 0. */
#ifndef LLMIR_MODEL_TYPES_H
#define LLMIR_MODEL_TYPES_H

#include <stdint.h>

#include "base/str.h"
#include "te/dtype.h"

typedef struct mdl_type {
    const char *name;
    uint32_t id;
    uint32_t block; /* elements a block; 0: not supported */
    uint32_t bytes; /* bytes a block */
    ll_dtype dtype; /* of plain elements; LL_N_DTYPES: a row of te/quant.def with this number */
} mdl_type;

/* NULL for a number that no type has (removed ones too). */
const mdl_type *mdl_type_info(uint32_t id);
/* "F32, F16, ..." for messages. */
void mdl_type_list(ll_str *out);

#endif

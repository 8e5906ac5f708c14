/* config.h: the numbers of a decoder-only transformer, read from GGUF metadata under an
 * architecture's prefix ("llama.block_count") and checked: each is in range, they fit each
 * other, and nothing in the file asks for what these numbers cannot say (a window, experts,
 * another rope scaling: LL_UNSUPPORTED by name). */
#ifndef LLMIR_MODEL_CONFIG_H
#define LLMIR_MODEL_CONFIG_H

#include "model/gguf.h"

typedef struct mdl_config {
    char arch[32];
    int64_t layers, width, ff; /* width: of the residual stream; ff: of the MLP */
    int64_t heads, kv_heads, head_dim;
    int64_t rope_dim;          /* the first rope_dim of a head are rotated */
    double rope_base, rope_scale; /* angle = pos / rope_scale * rope_base^(-2 i / rope_dim) */
    double norm_eps;
    int64_t vocab, context;
} mdl_config;

ll_code mdl_config_read(const mdl_gguf *g, const char *arch, mdl_config *out, ll_error *err);

#endif

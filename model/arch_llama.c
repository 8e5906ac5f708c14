/* arch_llama.c: llama: pre-norm attention and gated MLP. Files of this architecture have the
 * rows of q and k permuted so that the two elements that turn together are neighbours. Biases
 * are rare but legal. */
#include "model/build.h"

void mdl_arch_llama(mdl_build *b)
{
    const mdl_config *c = b->c;
    int64_t q_rows = c->heads * c->head_dim, kv_rows = c->kv_heads * c->head_dim;
    te_tensor *x = mdl_embed(b);
    while (mdl_next_layer(b)) {
        te_tensor *h = mdl_norm(b, x, "attn_norm");
        te_tensor *q = mdl_project(b, h, "attn_q", q_rows, MDL_MAYBE_BIAS);
        te_tensor *k = mdl_project(b, h, "attn_k", kv_rows, MDL_MAYBE_BIAS);
        te_tensor *v = mdl_project(b, h, "attn_v", kv_rows, MDL_MAYBE_BIAS);
        q = mdl_rotate(b, q, "q_rope", OP_ROPE_INTERLEAVED);
        k = mdl_rotate(b, k, "k_rope", OP_ROPE_INTERLEAVED);
        te_tensor *o =
            mdl_project(b, mdl_attend(b, q, k, v), "attn_output", c->width, MDL_MAYBE_BIAS);
        x = mdl_add(b, "attn_out", x, o);

        h = mdl_norm(b, x, "ffn_norm");
        te_tensor *gate = mdl_project(b, h, "ffn_gate", c->ff, MDL_MAYBE_BIAS);
        te_tensor *up = mdl_project(b, h, "ffn_up", c->ff, MDL_MAYBE_BIAS);
        te_tensor *down =
            mdl_project(b, mdl_silu_mul(b, gate, up), "ffn_down", c->width, MDL_MAYBE_BIAS);
        mdl_layer_out(b, x = mdl_add(b, "ffn_out", x, down));
    }
    mdl_head(b, x);
}

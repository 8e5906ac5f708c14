/* arch_decoder.c: decoders of pre-norm attention and a gated MLP: LLaMA, Qwen2. What differs between
 * them is in their rows of arch.def. */
#include "model/build.h"

void mdl_write_decoder(mdl_build *b)
{
    const mdl_config *c = b->c;
    const mdl_arch *a = b->m->arch;
    int64_t q_rows = c->heads * c->head_dim, kv_rows = c->kv_heads * c->head_dim;
    te_tensor *x = mdl_embed(b);
    while (mdl_next_layer(b)) {
        te_tensor *h = mdl_norm(b, x, "attn_norm");
        te_tensor *q = mdl_project(b, h, "attn_q", q_rows, a->qkv_bias);
        te_tensor *k = mdl_project(b, h, "attn_k", kv_rows, a->qkv_bias);
        te_tensor *v = mdl_project(b, h, "attn_v", kv_rows, a->qkv_bias);
        q = mdl_rotate(b, q, "q_rope", a->pairs);
        k = mdl_rotate(b, k, "k_rope", a->pairs);
        te_tensor *o =
            mdl_project(b, mdl_attend(b, q, k, v), "attn_output", c->width, a->rest_bias);
        x = mdl_add(b, "attn_out", x, o);

        h = mdl_norm(b, x, "ffn_norm");
        te_tensor *gate = mdl_project(b, h, "ffn_gate", c->ff, a->rest_bias);
        te_tensor *up = mdl_project(b, h, "ffn_up", c->ff, a->rest_bias);
        te_tensor *down =
            mdl_project(b, mdl_silu_mul(b, gate, up), "ffn_down", c->width, a->rest_bias);
        mdl_layer_out(b, x = mdl_add(b, "ffn_out", x, down));
    }
    mdl_head(b, x);
}

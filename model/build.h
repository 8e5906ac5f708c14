/* build.h: what an architecture file writes a model with. The file reads top down like the
 * model: every helper makes the definitions of one step of the current layer (names
 * "blk.3.attn_q") and gives the last one. Weights are found by their names in the file and
 * checked against the shape that the place wants: the first mismatch sticks in the graph as a
 * sentence with tensor, got and wanted, and the rest is poison. */
#ifndef LLMIR_MODEL_BUILD_H
#define LLMIR_MODEL_BUILD_H

#include "model/model.h"
#include "te/ops/ops.h"

typedef struct mdl_build {
    te_graph *g;
    const mdl_model *m;
    const mdl_config *c;
    mdl_graph *out;
    int64_t layer;       /* -1 before the first */
    op_angles angles;
    bool *used;          /* by tensor of the file */
    size_t cap_weight;
    te_tensor *q8_of;    /* the activations that q8 holds in 8 bits */
    op_q8 q8;
} mdl_build;

typedef enum mdl_bias { MDL_NO_BIAS, MDL_BIAS, MDL_MAYBE_BIAS } mdl_bias;

struct mdl_arch { /* a row of arch.def */
    const char *name;
    void (*write)(mdl_build *b);
    op_rope_pairs pairs;
    mdl_bias qkv_bias, rest_bias;
};
#define ARCH(name, writer, ...) void mdl_write_##writer(mdl_build *b);
#include "model/arch.def"

te_tensor *mdl_embed(mdl_build *b);         /* [T, width] */
bool mdl_next_layer(mdl_build *b);          /* false behind the last one, and after an error */
void mdl_layer_out(mdl_build *b, te_tensor *x);
void mdl_head(mdl_build *b, te_tensor *x);  /* rows, final norm, logits, their statistics */

te_tensor *mdl_norm(mdl_build *b, te_tensor *x, const char *what);
/* x times the weight `what` ([rows, columns of x]). */
te_tensor *mdl_project(mdl_build *b, te_tensor *x, const char *what, int64_t rows, mdl_bias bias);
te_tensor *mdl_rotate(mdl_build *b, te_tensor *x, const char *what, op_rope_pairs pairs);
/* Adds k and v to this layer's cache and attends from q to it. */
te_tensor *mdl_attend(mdl_build *b, te_tensor *q, te_tensor *k, te_tensor *v);
te_tensor *mdl_silu_mul(mdl_build *b, te_tensor *gate, te_tensor *up);
te_tensor *mdl_add(mdl_build *b, const char *what, te_tensor *x, te_tensor *y);

#endif

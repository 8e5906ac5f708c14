/* model.h: a model file as tensor expressions: what compile/ works from.
 *
 *     mdl_model *m;
 *     LL_TRY(mdl_open("x.gguf", &m, err));                 // file, config, tokenizer: checked
 *     mdl_graph *mg;
 *     LL_TRY(mdl_build_graph(m, &(mdl_options){.kv = LL_F16, .kv_block = 32}, &mg, err));
 *
 * One graph is one whole step over symbolic sizes: T tokens of S sequences, the logits of R of
 * them. It reads the engine's inputs and per layer a pool of K and of V pages, and gives the new
 * versions of the pools and the logits. Prefill, decode and mixed batches are the same graph.
 *
 * Architectures that have no row in arch.def are LL_UNSUPPORTED with the list of those that
 * have; so is every key or tensor whose meaning the expressions would miss. */
#ifndef LLMIR_MODEL_MODEL_H
#define LLMIR_MODEL_MODEL_H

#include "base/str.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "te/te.h"

typedef struct mdl_arch mdl_arch;

typedef struct mdl_model {
    mdl_gguf *file;
    const mdl_arch *arch;
    mdl_config config;
    mdl_span name;     /* "SmolLM2 135M Instruct"; may be empty */
    mdl_span chat;     /* the chat template's text; .s NULL: none */
    ll_str tokenizer;  /* serialised (<llmir/tokenizer_abi.h>); empty: no_tokenizer says why */
    ll_error no_tokenizer;
} mdl_model;

ll_code mdl_open(const char *path, mdl_model **out, ll_error *err);
ll_code mdl_open_gguf(mdl_gguf *g, mdl_model **out, ll_error *err); /* takes g, also on failure */
void mdl_close(mdl_model *m); /* NULL is fine */
/* The most frequent quantised type by bytes, for people: "Q4_1". */
const char *mdl_quant_name(const mdl_model *m);
/* "llama, qwen2", for messages. */
void mdl_arch_list(ll_str *out);

/* ---- the graph ---- */

typedef struct mdl_options {
    ll_dtype kv;           /* LL_F16 or LL_F32: what K and V are kept in              */
    int64_t kv_block;      /* tokens per page: a power of two, 16..256                */
    int64_t max_tokens;    /* bound of T; 0: 8192. 1: T, S and R are the literal 1     */
    int64_t multiple;      /* T and R are multiples of it (the runtime fills up); 0: 1 */
    int64_t max_seqs;      /* bound of S; 0: 1024                                     */
    /* 0: f32 activations. Otherwise contractions with quantised weights read 8-bit ones, with a
     * scale for each act_block columns (where that divides the columns). */
    int64_t act_block;
    int64_t act_granule;   /* columns a sum of codes covers: a divisor of act_block   */
} mdl_options;

/* A constant of the model: an input with `weight` set, shaped [rows, cols] or [n]. Its values
 * are a tensor of the file, or (data NULL) numbers that the reader worked out. */
typedef struct mdl_weight {
    te_tensor *t;
    const mdl_gtensor *data;
    const float *values;
    size_t n_values;
} mdl_weight;

typedef struct mdl_layer {
    te_tensor *k_pool, *v_pool; /* inputs [BLOCKS, kv_block, kv_heads, head_dim] of type kv */
    te_tensor *k_new, *v_new;   /* the pools with this step's K and V added (updates)        */
    te_tensor *out;             /* f32 [T, width]: the residual stream behind the layer      */
} mdl_layer;

typedef struct mdl_graph {
    te_graph *g;
    mdl_options options;
    te_ref T, S, R, PAGES, BLOCKS; /* dims, by those names                      */
    te_tensor *tokens, *pos, *seg; /* s32 [T]                                   */
    te_tensor *start;              /* s32 [S + 1]                               */
    te_tensor *len;                /* s32 [S]                                   */
    te_tensor *table;              /* s32 [S, PAGES]                            */
    te_tensor *rows;               /* s32 [R]                                   */
    mdl_layer *layer;
    size_t n_layer;
    mdl_weight *weight;            /* each once, in order of first use          */
    size_t n_weight;
    te_tensor *logits;             /* f32 [R, vocab]                            */
    te_tensor *max, *lse;          /* f32 [R]: a row's maximum, log of its sum of exponentials */
} mdl_graph;

ll_code mdl_build_graph(const mdl_model *m, const mdl_options *o, mdl_graph **out, ll_error *err);
void mdl_graph_destroy(mdl_graph *mg); /* NULL is fine; before the model is closed */

#endif

/* tables.c: the module's tables but for programs: dims, plans, KV layouts, targets with their
 * kernels, weights, the model. Sites are the distinct kernels: one variant each. */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/str.h"
#include "compile/program.h"

uint32_t cc_add_kv(cc_builder *b, ll_dtype kv, int64_t block)
{
    const mdl_config *c = &b->model->config;
    llmir_kv_rec r = {.dtype = cc_blob_str(b->blob, ll_dtype_name(kv)),
                      .block = (uint32_t)block,
                      .pool = cc_blob_count(b->blob, LLMIR_SEC_POOL),
                      .n_pool = (uint32_t)(2 * c->layers)};
    for (int64_t l = 0; l < c->layers; l++)
        for (int i = 0; i < 2; i++) {
            llmir_pool_rec q = {.name = cc_blob_str(b->blob, i ? "v" : "k"), .layer = (uint32_t)l};
            int64_t bits = block * c->kv_heads * c->head_dim * ll_dtype_bits(kv);
            q.block_bytes = (uint64_t)(bits / 8);
            cc_blob_add(b->blob, LLMIR_SEC_POOL, &q);
        }
    return cc_blob_add(b->blob, LLMIR_SEC_KV, &r);
}

static void add_dim(cc_builder *b, const char *name, enum llmir_dim_kind kind, uint32_t arg)
{
    llmir_dim_rec r = {.name = cc_blob_str(b->blob, name), .kind = kind, .arg = arg};
    cc_blob_add(b->blob, LLMIR_SEC_DIM, &r);
}

void cc_add_dims(cc_builder *b)
{
    static const enum llmir_dim_kind kind[CC_W] = {
        LLMIR_DIM_T,      LLMIR_DIM_S,    LLMIR_DIM_R,    LLMIR_DIM_PAGES,
        LLMIR_DIM_BLOCKS, LLMIR_DIM_KEYS, LLMIR_DIM_PAIRS};
    for (int i = 0; i < CC_W; i++) add_dim(b, cc_dim_name[i], kind[i], 0);
}

/* Each plan serves all work alone, so each is a group. */
ll_code cc_add_plan(cc_builder *b, int64_t rows, uint32_t *out)
{
    for (int i = 0; i < b->n_plan; i++)
        if (b->plan_rows[i] == rows) return *out = (uint32_t)i, LL_OK;
    if (b->n_plan == CC_MAX_PLAN)
        return ll_fail(b->err, LL_UNSUPPORTED, "the targets want more than %d plans", CC_MAX_PLAN);
    char name[32], dim[40];
    snprintf(name, sizeof name, "items%lld", (long long)rows);
    snprintf(dim, sizeof dim, "W.%s", name);
    llmir_plan_rec plan = {.name = cc_blob_str(b->blob, name),
                           .group = (uint32_t)b->n_plan,
                           .row_tile = (uint32_t)rows,
                           .rows_min = 1,
                           .rows_max = UINT32_MAX,
                           .keys_min = 1,
                           .keys_max = UINT32_MAX,
                           .causal = 1};
    *out = cc_blob_add(b->blob, LLMIR_SEC_PLAN, &plan);
    add_dim(b, dim, LLMIR_DIM_W, *out); /* number CC_W + plan: nothing else adds dims */
    b->plan_rows[b->n_plan++] = rows;
    return LL_OK;
}

/* ---- targets ------------------------------------------------------------------------------ */
static uint32_t kind_of(const cc_target_build *t)
{
    return t->target.kind == LL_CUDA ? LLMIR_ON_CUDA : LLMIR_ON_CPU;
}

static void add_kernel(cc_builder *b, const cc_target_build *t, uint32_t i)
{
    const cc_built *k = &t->kernel[i];
    const char *target = t->target.name;
    ll_hash text = ll_hash_bytes(k->te, strlen(k->te));
    ll_hash full = ll_hash_combine(text, ll_hash_bytes(k->trace, strlen(k->trace)));
    full = ll_hash_combine(full, ll_hash_bytes(target, strlen(target)));
    llmir_kernel_rec r = {.name = cc_blob_str(b->blob, k->name),
                          .te = cc_blob_str(b->blob, k->te),
                          .trace = cc_blob_str(b->blob, k->trace),
                          .target = t->number,
                          .kind = kind_of(t),
                          .code = t->first_code + i,
                          .hash = {full.lo, full.hi},
                          .scratch = k->code.scratch_bytes};
    if (r.kind == LLMIR_ON_CUDA)
        r.code = cc_launch_add(b->blob, &k->launch, k->code.object, k->code.object_bytes);
    llmir_variant_rec v = {.kernel = cc_blob_add(b->blob, LLMIR_SEC_KERNEL, &r)};
    llmir_site_rec s = {.name = r.name,
                        .te = r.te,
                        .klass = cc_blob_str(b->blob, "default"),
                        .hash = {text.lo, text.hi},
                        .variant = cc_blob_add(b->blob, LLMIR_SEC_VARIANT, &v),
                        .n_variant = 1};
    cc_blob_add(b->blob, LLMIR_SEC_SITE, &s);
}

ll_code cc_add_target(cc_builder *b, cc_target_build *t)
{
    ll_str features = {0};
    for (int f = 0; f < LL_N_FEATURES; f++)
        if (ll_target_has(&t->target, (ll_cpu_feature)f))
            ll_str_addf(&features, "%s%s", features.n ? "," : "",
                        ll_cpu_feature_name((ll_cpu_feature)f));
    llmir_target_rec r = {.name = cc_blob_str(b->blob, t->target.name),
                          .features = cc_blob_str(b->blob, ll_str_cstr(&features)),
                          .kind = kind_of(t),
                          .sm = (uint32_t)t->target.sm,
                          .sm_exact = t->target.sm_a,
                          .program = t->program,
                          .n_program = t->n_program};
    bool oom = features.oom;
    ll_str_finish(&features);
    if (oom) return ll_fail(b->err, LL_NO_SPACE, "no memory for the module's tables");
    cc_blob_add(b->blob, LLMIR_SEC_TARGET, &r);
    for (int i = 0; i < t->n_kernel; i++) add_kernel(b, t, (uint32_t)i);
    return LL_OK;
}

/* ---- weights and the model ---------------------------------------------------------------- */
ll_code cc_add_weights(cc_builder *b)
{
    uint64_t at = 0;
    for (int i = 0; i < b->n_weight; i++) {
        cc_stored *s = &b->weight[i];
        LL_TRY(cc_packed_bytes(s->w->t, &s->of->target, &s->bytes, b->err));
        llmir_weight_rec r = {.name = cc_blob_str(b->blob, s->w->t->name),
                              .packing = cc_blob_str(b->blob, s->packing),
                              .offset = at,
                              .size = s->bytes};
        cc_blob_add(b->blob, LLMIR_SEC_WEIGHT, &r);
        at = (at + s->bytes + 63) & ~(uint64_t)63;
    }
    b->report->weight_bytes = at;
    return LL_OK;
}

static void pair(cc_builder *b, const char *key, const char *value)
{
    llmir_pair_rec r = {cc_blob_str(b->blob, key), cc_blob_str(b->blob, value)};
    cc_blob_add(b->blob, LLMIR_SEC_PROVENANCE, &r);
}

void cc_add_model(cc_builder *b)
{
    const mdl_model *m = b->model;
    cc_report *r = b->report;
    snprintf(r->name, sizeof r->name, "%.*s", m->name.s ? (int)m->name.n : 0,
             m->name.s ? m->name.s : "");
    snprintf(r->arch, sizeof r->arch, "%s", m->config.arch);
    snprintf(r->quant, sizeof r->quant, "%s", mdl_quant_name(m));
    r->layers = m->config.layers;
    uint64_t bytes = 0, parameters = 0;
    for (size_t i = 0; i < m->file->n_tensor; i++) {
        bytes += m->file->tensor[i].size;
        parameters += m->file->tensor[i].n_rows * m->file->tensor[i].dim[0];
    }
    r->parameters = (int64_t)parameters;
    r->file_bytes = m->file->file_size;
    llmir_model_rec rec = {.name = cc_blob_str(b->blob, r->name),
                           .arch = cc_blob_str(b->blob, r->arch),
                           .quant = cc_blob_str(b->blob, r->quant),
                           .vocab = (uint32_t)m->config.vocab,
                           .layers = (uint32_t)m->config.layers,
                           .context = (uint32_t)m->config.context,
                           .parameters = parameters,
                           .model_bytes = bytes};
    cc_blob_add(b->blob, LLMIR_SEC_MODEL, &rec);
    if (m->tokenizer.n)
        cc_blob_bytes(b->blob, LLMIR_SEC_TOKENIZER, m->tokenizer.s, m->tokenizer.n);
    if (m->chat.s) cc_blob_bytes(b->blob, LLMIR_SEC_CHAT, m->chat.s, m->chat.n);
    pair(b, "llmir", b->o->version ? b->o->version : "");
    pair(b, "llvm", cg_llvm_version());
    pair(b, "activations", b->o->f32_activations ? "f32" : "int8");
}

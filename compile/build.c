/* build.c: see build.h. The order: open the model; programs (graphs, kernels, bindings) for every KV kind and step range;
 * code in child processes; tables; image with the weights streamed through the packer. */
#include "compile/build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "compile/image.h"
#include "compile/pack.h"
#include "compile/program.h"

enum { DEFAULT_MAX_TOKENS = 512 };
static const int64_t all_blocks[] = {16, 32, 64, 128, 256};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void tell(const cc_builder *b, const char *phase, double fraction)
{
    if (b->o->progress) b->o->progress(b->o->user, phase, fraction);
}

/* ---- programs ------------------------------------------------------------------------------------------------ */

static uint32_t add_kv(cc_builder *b, ll_dtype kv, int64_t block)
{
    const mdl_config *c = &b->model->config;
    llmir_kv_rec r = {.dtype = cc_blob_str(b->blob, ll_dtype_name(kv)), .block = (uint32_t)block, .n_pool = (uint32_t)(2 * c->layers)};
    r.pool = cc_blob_count(b->blob, LLMIR_SEC_POOL);
    for (int64_t l = 0; l < c->layers; l++)
        for (int i = 0; i < 2; i++) {
            llmir_pool_rec q = {.name = cc_blob_str(b->blob, i ? "v" : "k"), .layer = (uint32_t)l};
            q.block_bytes = (uint64_t)(block * c->kv_heads * c->head_dim * ll_dtype_bits(kv) / 8);
            cc_blob_add(b->blob, LLMIR_SEC_POOL, &q);
        }
    return cc_blob_add(b->blob, LLMIR_SEC_KV, &r);
}

static void add_dims(cc_builder *b)
{
    static const uint32_t kind[CC_N_DIM] = {LLMIR_DIM_T, LLMIR_DIM_S, LLMIR_DIM_R, LLMIR_DIM_PAGES, LLMIR_DIM_BLOCKS, LLMIR_DIM_KEYS, LLMIR_DIM_PAIRS, LLMIR_DIM_W};
    for (int i = 0; i < CC_N_DIM; i++) {
        llmir_dim_rec r = {.name = cc_blob_str(b->blob, cc_dim_name[i]), .kind = kind[i]};
        cc_blob_add(b->blob, LLMIR_SEC_DIM, &r);
    }
    llmir_plan_rec plan = {.name = cc_blob_str(b->blob, "items"), .row_tile = CC_PLAN_ROWS, .rows_min = 1, .rows_max = UINT32_MAX, .keys_min = 1, .keys_max = UINT32_MAX, .causal = 1};
    cc_blob_add(b->blob, LLMIR_SEC_PLAN, &plan);
}

static ll_code add_programs(cc_builder *b)
{
    const int64_t *block = b->o->kv_block ? b->o->kv_block : all_blocks;
    int n_block = b->o->kv_block ? b->o->n_kv_block : (int)(sizeof all_blocks / sizeof *all_blocks);
    int64_t max_tokens = b->o->max_tokens ? b->o->max_tokens : DEFAULT_MAX_TOKENS;
    static const ll_dtype kinds[] = {LL_F16, LL_F32};
    double t0 = now();
    int total = 2 * n_block, done = 0;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < n_block; i++) {
            tell(b, "scheduling", (double)done++ / total);
            uint32_t kv = add_kv(b, kinds[k], block[i]);
            LL_TRY(cc_add_program(b, kinds[k], block[i], kv, 1, 1));
            if (max_tokens > 1) LL_TRY(cc_add_program(b, kinds[k], block[i], kv, 2, max_tokens));
        }
    b->report->seconds_schedule = now() - t0;
    return LL_OK;
}

/* ---- code -------------------------------------------------------------------------------------------------------- */

static ll_code dump_text(cc_builder *b, const char *kernel, const char *level, const char *text)
{
    if (!text || (!b->o->dump_dir && !b->o->dump_file)) return LL_OK;
    if (!b->o->dump_dir) {
        if (fprintf(b->o->dump_file, "---- %s %s\n%s\n", kernel, level, text) < 0) return ll_fail(b->err, LL_NO_SPACE, "the dump cannot be written");
        return LL_OK;
    }
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s.%s", b->o->dump_dir, kernel, level) >= (int)sizeof path) return ll_fail(b->err, LL_USAGE, "%s: path too long", b->o->dump_dir);
    return ll_file_write(path, text, strlen(text), b->err);
}

static ll_code dump_kernel(cc_builder *b, const cc_built *k)
{
    ll_str s = {0};
    ll_code rc = LL_OK;
    cc_kernel_print_te(&s, k->of, k->in->tensor, k->in->n);
    if (b->o->dump & CC_DUMP_TE) rc = dump_text(b, k->name, "te", ll_str_cstr(&s));
    ll_str_clear(&s);
    lp_print(&s, k->s->fn);
    if (rc == LL_OK && b->o->dump & CC_DUMP_SCHED) rc = dump_text(b, k->name, "sched", k->trace);
    if (rc == LL_OK && b->o->dump & CC_DUMP_LOOP) rc = dump_text(b, k->name, "loop", ll_str_cstr(&s));
    ll_str_finish(&s);
    LL_TRY(rc);
    if (b->o->dump & CC_DUMP_LLVM) LL_TRY(dump_text(b, k->name, "ll", k->code.llvm_ir));
    if (b->o->dump & CC_DUMP_ASM) LL_TRY(dump_text(b, k->name, "s", k->code.assembly));
    return LL_OK;
}

ll_code cc_make_code(cc_builder *b)
{
    double t0 = now();
    tell(b, "compiling", 0);
    cg_job *job = calloc((size_t)b->n_kernel + 1, sizeof *job);
    if (!job) return ll_fail(b->err, LL_NO_SPACE, "no memory for %d compile jobs", b->n_kernel);
    unsigned want = (b->o->dump & CC_DUMP_LLVM ? CG_WANT_LLVM : 0) | (b->o->dump & CC_DUMP_ASM ? CG_WANT_ASM : 0);
    for (int i = 0; i < b->n_kernel; i++) job[i] = (cg_job){.fn = b->kernel[i].s->fn, .target = &b->target, .want = want};
    ll_code rc = cg_compile(job, b->n_kernel, b->o->jobs, b->err);
    for (int i = 0; i < b->n_kernel; i++) {
        if (rc != LL_OK && job[i].error.code && b->err && !b->err->code) ll_fail(b->err, job[i].error.code, "%s: %s", b->kernel[i].name, job[i].error.msg);
        b->kernel[i].code = job[i].code;
    }
    free(job);
    for (int i = 0; i < b->n_kernel && rc == LL_OK && b->o->dump; i++) rc = dump_kernel(b, &b->kernel[i]);
    b->report->seconds_code = now() - t0;
    return rc;
}

/* ---- tables ------------------------------------------------------------------------------------------------------- */

static void add_kernels(cc_builder *b)
{
    for (int i = 0; i < b->n_kernel; i++) {
        const cc_built *k = &b->kernel[i];
        ll_hash h = ll_hash_bytes(k->te, strlen(k->te));
        ll_hash full = ll_hash_combine(ll_hash_combine(h, ll_hash_bytes(k->trace, strlen(k->trace))), ll_hash_bytes(b->target.name, strlen(b->target.name)));
        llmir_kernel_rec r = {.name = cc_blob_str(b->blob, k->name), .te = cc_blob_str(b->blob, k->te), .trace = cc_blob_str(b->blob, k->trace),
                              .code = (uint32_t)i, .hash = {full.lo, full.hi}, .scratch = k->code.scratch_bytes};
        cc_blob_add(b->blob, LLMIR_SEC_KERNEL, &r);
        llmir_variant_rec v = {.kernel = (uint32_t)i};
        uint32_t variant = cc_blob_add(b->blob, LLMIR_SEC_VARIANT, &v);
        llmir_site_rec s = {.name = r.name, .te = r.te, .klass = cc_blob_str(b->blob, "default"), .hash = {h.lo, h.hi}, .variant = variant, .n_variant = 1};
        cc_blob_add(b->blob, LLMIR_SEC_SITE, &s);
    }
}

static ll_code add_weights(cc_builder *b)
{
    uint64_t at = 0;
    for (int i = 0; i < b->n_weight; i++) {
        cc_stored *s = &b->weight[i];
        LL_TRY(cc_packed_bytes(s->w->t, &b->target, &s->bytes, b->err));
        llmir_weight_rec r = {.name = cc_blob_str(b->blob, s->w->t->name), .packing = cc_blob_str(b->blob, s->packing), .offset = at, .size = s->bytes};
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

static void add_target(cc_builder *b)
{
    ll_str features = {0};
    for (int f = 0; f < LL_N_FEATURES; f++)
        if (ll_target_has(&b->target, (ll_cpu_feature)f)) ll_str_addf(&features, "%s%s", features.n ? "," : "", ll_cpu_feature_name((ll_cpu_feature)f));
    llmir_target_rec r = {.name = cc_blob_str(b->blob, b->target.name), .features = cc_blob_str(b->blob, ll_str_cstr(&features)),
                          .n_program = cc_blob_count(b->blob, LLMIR_SEC_PROGRAM)};
    cc_blob_add(b->blob, LLMIR_SEC_TARGET, &r);
    ll_str_finish(&features);
}

static void add_model(cc_builder *b)
{
    const mdl_model *m = b->model;
    cc_report *r = b->report;
    snprintf(r->name, sizeof r->name, "%.*s", m->name.s ? (int)m->name.n : 0, m->name.s ? m->name.s : "");
    snprintf(r->arch, sizeof r->arch, "%s", m->config.arch);
    snprintf(r->quant, sizeof r->quant, "%s", mdl_quant_name(m));
    snprintf(r->target, sizeof r->target, "%s", b->target.name);
    r->layers = m->config.layers;
    uint64_t bytes = 0, parameters = 0;
    for (size_t i = 0; i < m->file->n_tensor; i++) {
        bytes += m->file->tensor[i].size;
        parameters += m->file->tensor[i].n_rows * m->file->tensor[i].dim[0];
    }
    r->parameters = (int64_t)parameters;
    r->file_bytes = m->file->file_size;
    llmir_model_rec rec = {.name = cc_blob_str(b->blob, r->name), .arch = cc_blob_str(b->blob, r->arch), .quant = cc_blob_str(b->blob, r->quant),
                           .vocab = (uint32_t)m->config.vocab, .layers = (uint32_t)m->config.layers, .context = (uint32_t)m->config.context,
                           .parameters = parameters, .model_bytes = bytes};
    cc_blob_add(b->blob, LLMIR_SEC_MODEL, &rec);
    if (m->tokenizer.n) cc_blob_bytes(b->blob, LLMIR_SEC_TOKENIZER, m->tokenizer.s, m->tokenizer.n);
    if (m->chat.s) cc_blob_bytes(b->blob, LLMIR_SEC_CHAT, m->chat.s, m->chat.n);
    pair(b, "llmir", b->o->version ? b->o->version : "");
    pair(b, "llvm", cg_llvm_version());
    pair(b, "activations", b->o->f32_activations ? "f32" : "int8");
}

/* ---- image ---------------------------------------------------------------------------------------------------------- */

typedef struct weight_writer { cc_builder *b; cc_packer *packer; cc_sink *sink; } weight_writer;

static ll_code to_sink(void *user, const void *p, size_t n, ll_error *err) { return cc_sink_write(((weight_writer *)user)->sink, p, n, err); }

static ll_code write_weight(void *user, uint32_t i, cc_sink *sink, ll_error *err)
{
    weight_writer *w = user;
    w->sink = sink;
    tell(w->b, "packing weights", (double)i / w->b->n_weight);
    return cc_packer_weight(w->packer, w->b->model->file, w->b->weight[i].w, to_sink, w, err);
}

static ll_code write_image(cc_builder *b, const char *out)
{
    double t0 = now();
    uint8_t *blob = NULL;
    size_t blob_size = 0;
    LL_TRY(cc_blob_finish(b->blob, &blob, &blob_size, b->err));
    cc_object *object = calloc((size_t)b->n_kernel + 1, sizeof *object);
    cc_kernel_symbols *symbol = calloc((size_t)b->n_kernel + 1, sizeof *symbol);
    char(*names)[2][96] = calloc((size_t)b->n_kernel + 1, sizeof *names);
    weight_writer w = {.b = b};
    ll_code rc = object && symbol && names ? LL_OK : ll_fail(b->err, LL_NO_SPACE, "no memory for the module's tables");
    if (rc == LL_OK) {
        w.packer = cc_packer_create(&b->target, b->o->jobs, b->err);
        if (!w.packer) rc = b->err ? b->err->code : LL_FAILED;
    }
    for (int i = 0; i < b->n_kernel && rc == LL_OK; i++) {
        object[i] = (cc_object){b->kernel[i].code.object, b->kernel[i].code.object_bytes};
        snprintf(names[i][0], sizeof names[i][0], "%s.parts", b->kernel[i].name);
        snprintf(names[i][1], sizeof names[i][1], "%s.run", b->kernel[i].name);
        symbol[i] = (cc_kernel_symbols){names[i][0], names[i][1]};
    }
    if (rc == LL_OK) {
        cc_image image = {.object = object, .n_object = (size_t)b->n_kernel, .kernel = symbol, .n_kernel = (uint32_t)b->n_kernel, .blob = blob, .blob_size = blob_size,
                          .weight = write_weight, .user = &w};
        rc = cc_image_write(out, &image, b->err);
    }
    cc_packer_destroy(w.packer);
    free(object);
    free(symbol);
    free(names);
    free(blob);
    b->report->seconds_weights = now() - t0;
    return rc;
}

/* ---- the whole --------------------------------------------------------------------------------------------------------- */

static void finish(cc_builder *b)
{
    for (int i = 0; i < b->n_kernel; i++) {
        sch_destroy(b->kernel[i].s);
        cg_code_finish(&b->kernel[i].code);
        free(b->kernel[i].param);
        free(b->kernel[i].te);
        free(b->kernel[i].trace);
    }
    free(b->kernel);
    free(b->weight);
    for (int i = 0; i < b->n_graph; i++) mdl_graph_destroy(b->graph[i]);
    free(b->graph);
    ll_map_finish(&b->by_text);
    ll_map_finish(&b->by_weight);
    cc_blob_destroy(b->blob);
    mdl_close(b->model);
}

static ll_code steps(cc_builder *b, const char *model, const char *out)
{
    LL_TRY(ll_target_parse(b->o->target ? b->o->target : "cpu", &b->target, b->err));
    if (b->target.kind != LL_CPU) return ll_fail(b->err, LL_UNSUPPORTED, "target '%s': this build makes CPU code", b->target.name);
    tell(b, "reading", 0);
    double t0 = now();
    LL_TRY(mdl_open(model, &b->model, b->err));
    b->report->seconds_graph = now() - t0;
    b->blob = cc_blob_create();
    if (!b->blob) return ll_fail(b->err, LL_NO_SPACE, "no memory for the module's tables");
    add_dims(b);
    LL_TRY(add_programs(b));
    b->report->kernels = b->n_kernel;
    LL_TRY(cc_make_code(b));
    add_target(b);
    add_kernels(b);
    LL_TRY(add_weights(b));
    add_model(b);
    return write_image(b, out);
}

ll_code cc_build(const char *model, const char *out, const cc_options *o, cc_report *report, ll_error *err)
{
    cc_report own;
    cc_builder b = {.o = o, .err = err, .report = report ? report : &own};
    *b.report = (cc_report){0};
    ll_code rc = steps(&b, model, out);
    finish(&b);
    return rc;
}

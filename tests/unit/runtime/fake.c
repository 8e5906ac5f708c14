/* fake.c: see fake.h. Also the shortest complete use of the module writer. */
#include "tests/unit/runtime/fake.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "compile/blob.h"
#include "compile/image.h"

enum { N_LAYER = 2 };
enum kernel {
#define X(name) K_##name,
    FAKE_KERNELS(X)
#undef X
        N_KERNEL
};

int32_t fake_embedding(int32_t token)
{
    return token == FAKE_POISON_TOKEN ? FAKE_POISON : (token * 37 + 11) % FAKE_MOD;
}

void fake_states(const int32_t *tokens, int n, int32_t *state)
{
    int64_t sum[N_LAYER] = {0};
    for (int i = 0; i < n; i++) {
        int64_t x = fake_embedding(tokens[i]);
        for (int l = 0; l < N_LAYER; l++) {
            sum[l] += x;
            x = (x + (l + 2) * sum[l]) % FAKE_MOD;
        }
        state[i] = (int32_t)x;
    }
}

static llmir_binding_rec arena(cc_blob *b, int64_t base, const int64_t *per_dim, int64_t size,
                               const int64_t *size_per)
{
    return (llmir_binding_rec){LLMIR_SPACE_ARENA, 0, cc_linear(b, base, per_dim, FAKE_N_DIM),
                               cc_linear(b, size, size_per, FAKE_N_DIM)};
}

static llmir_binding_rec plain(enum llmir_space space, uint32_t index)
{
    return (llmir_binding_rec){.space = space, .index = index};
}

static void add_step(cc_blob *b, uint32_t kernel, uint32_t site, const llmir_binding_rec *x,
                     uint32_t n)
{
    const int64_t per_t[FAKE_N_DIM] = {[FAKE_T] = 8};
    llmir_step_rec s = {cc_blob_count(b, LLMIR_SEC_KERNEL) - N_KERNEL + kernel, /* the target's */
                        site,
                        cc_blob_count(b, LLMIR_SEC_BINDING),
                        n,
                        cc_linear(b, 100, per_t, FAKE_N_DIM),
                        cc_const(7)};
    for (uint32_t i = 0; i < n; i++) cc_blob_add(b, LLMIR_SEC_BINDING, &x[i]);
    cc_blob_add(b, LLMIR_SEC_STEP, &s);
}

#define STEP(kernel, site, ...)                                       \
    add_step(b, (kernel), (site), (llmir_binding_rec[]){__VA_ARGS__}, \
             sizeof((llmir_binding_rec[]){__VA_ARGS__}) / sizeof(llmir_binding_rec))
#define IN(i) plain(LLMIR_SPACE_INPUT, LLMIR_IN_##i)
#define OUT(i) plain(LLMIR_SPACE_OUTPUT, LLMIR_OUT_##i)

static void add_program(cc_blob *b, uint32_t kv, uint32_t append, uint32_t sum, uint32_t t_min,
                        uint32_t t_max, uint32_t factors, int best)
{
    const int64_t none[FAKE_N_DIM] = {0}, t4[FAKE_N_DIM] = {[FAKE_T] = 4},
                  w[FAKE_N_DIM] = {[FAKE_W] = 8 * FAKE_TILE},
                  all[FAKE_N_DIM] = {[FAKE_T] = 4, [FAKE_W] = 8 * FAKE_TILE};
    llmir_binding_rec x = arena(b, 0, none, 0, t4), partial = arena(b, 64, t4, 0, w);
    llmir_program_rec p = {cc_blob_str(b, "step"), kv, t_min, t_max, cc_blob_count(b, LLMIR_SEC_STEP), 0,
                           cc_linear(b, 128, all, FAKE_N_DIM), .multiple = t_min < 9 ? 1 : 8};
    STEP(K_embed, 0, IN(TOKENS), plain(LLMIR_SPACE_WEIGHT, 0), x);
    for (uint32_t l = 0; l < N_LAYER; l++) {
        llmir_binding_rec pool = plain(LLMIR_SPACE_KV, l),
                          factor = plain(LLMIR_SPACE_WEIGHT, factors);
        factor.at = cc_const(4 * l);
        STEP(append, UINT32_MAX, x, IN(POS), IN(SEG), IN(TABLE), pool);
        STEP(sum, 1, IN(PLAN), IN(POS), IN(TABLE), pool, partial);
        STEP(K_combine, 1, IN(PLAN), plain(LLMIR_SPACE_INPUT, LLMIR_IN_PLAN + 1), partial, factor,
             x);
    }
    STEP(K_head, 0, x, IN(ROWS), OUT(LOGITS));
    if (best)
        STEP(K_best, UINT32_MAX, OUT(LOGITS), OUT(MAX), OUT(CAND_ID), OUT(CAND_LOGIT), OUT(LSE));
    p.n_step = cc_blob_count(b, LLMIR_SEC_STEP) - p.step;
    cc_blob_add(b, LLMIR_SEC_PROGRAM, &p);
}

static void add_layout(cc_blob *b, const char *dtype, uint32_t block, uint32_t bytes)
{
    llmir_kv_rec kv = {cc_blob_str(b, dtype), block, cc_blob_count(b, LLMIR_SEC_POOL), N_LAYER};
    for (uint32_t l = 0; l < N_LAYER; l++)
        cc_blob_add(b, LLMIR_SEC_POOL, &(llmir_pool_rec){cc_blob_str(b, "x"), l, bytes});
    cc_blob_add(b, LLMIR_SEC_KV, &kv);
}

static const struct {
    uint32_t threads, dim, shared; /* one block for `div` of a dim */
    uint32_t div;
} rule[N_KERNEL] = {
    [K_embed] = {32, FAKE_T, 0, 32},
    [K_append_f32_16] = {32, FAKE_T, 0, 32},
    [K_append_f32_64] = {32, FAKE_T, 0, 32},
    [K_append_f16_16] = {32, FAKE_T, 0, 32},
    [K_sum_f32_16] = {32, FAKE_W, 0, 1},
    [K_sum_f32_64] = {32, FAKE_W, 0, 1},
    [K_sum_f16_16] = {32, FAKE_W, 0, 1},
    [K_combine] = {32, FAKE_T, 0, 32},
    [K_head] = {128, FAKE_R, 0, 1},
    [K_best] = {320, FAKE_R, 4 * FAKE_VOCAB, 1},
};

/* Launches that nobody makes, with a bit of everything. */
static void add_unused_launch(cc_blob *b, const char *name)
{
    static const char ptx[] = ".version 8.0\n.target sm_80\n";
    const int64_t t[FAKE_N_DIM] = {[FAKE_T] = 1};
    llmir_launch_rec l = {.ptx = cc_blob_bytes(b, LLMIR_SEC_PTX, ptx, sizeof ptx),
                          .ptx_size = sizeof ptx,
                          .entry = cc_blob_str(b, name),
                          .block = {32, 4, 1},
                          .shared = 1024,
                          .grid = {{cc_linear(b, 0, t, FAKE_N_DIM), 16, 0},
                                   {cc_const(2), 1, 0},
                                   {cc_const(1), 1, 0}}};
    cc_blob_add(b, LLMIR_SEC_LAUNCH, &l);
}

static void add_launch(cc_blob *b, const fake_options *o, uint32_t k, const char *name)
{
    const char *ptx = o->ptx;
    if (!ptx) return add_unused_launch(b, name);
    uint64_t size = strlen(ptx) + 1, at = size;
    int64_t per[FAKE_N_DIM] = {0};
    per[rule[k].dim] = 1;
    if (k < 2) at = cc_blob_bytes(b, LLMIR_SEC_PTX, ptx, size);
    llmir_launch_rec l = {.ptx = at,
                          .ptx_size = size,
                          .entry = cc_blob_str(b, k == K_embed && o->embed ? o->embed : name),
                          .block = {rule[k].threads, 1, 1},
                          .shared = k == K_embed ? o->shared : rule[k].shared,
                          .grid = {{cc_linear(b, 0, per, FAKE_N_DIM), rule[k].div, 0},
                                   {cc_const(1), 1, 0},
                                   {cc_const(1), 1, 0}}};
    cc_blob_add(b, LLMIR_SEC_LAUNCH, &l);
}

/* A target, its kernels and its programs for every KV layout. */
static void add_target(cc_blob *b, const fake_options *o, const llmir_target_rec *target,
                       uint32_t factors)
{
    int best = !o->no_best;
    static const char *const names[] = {
#define X(name) #name,
        FAKE_KERNELS(X)
#undef X
    };
    static const uint32_t append[] = {K_append_f32_16, K_append_f32_64, K_append_f16_16},
                          sum[] = {K_sum_f32_16, K_sum_f32_64, K_sum_f16_16};
    llmir_target_rec r = *target;
    uint32_t no = cc_blob_count(b, LLMIR_SEC_TARGET);
    for (uint32_t i = 0; i < N_KERNEL; i++) {
        if (r.kind == LLMIR_ON_CUDA) add_launch(b, o, i, names[i]);
        cc_blob_add(b, LLMIR_SEC_KERNEL,
                    &(llmir_kernel_rec){.name = cc_blob_str(b, names[i]),
                                        .te = cc_blob_str(b, "def x"),
                                        .trace = cc_blob_str(b, "split i 3"),
                                        .target = no,
                                        .kind = r.kind,
                                        .code = r.kind == LLMIR_ON_CUDA ? i : no * N_KERNEL + i,
                                        .hash = {i, 1},
                                        .scratch = FAKE_VOCAB});
    }
    r.program = cc_blob_count(b, LLMIR_SEC_PROGRAM);
    for (uint32_t kv = 0; kv < cc_blob_count(b, LLMIR_SEC_KV); kv++) {
        add_program(b, kv, append[kv], sum[kv], 1, 1, factors, best);
        add_program(b, kv, append[kv], sum[kv], 2, 8, factors, best);
        add_program(b, kv, append[kv], sum[kv], 9, FAKE_T_MAX, factors, best);
    }
    r.n_program = cc_blob_count(b, LLMIR_SEC_PROGRAM) - r.program;
    cc_blob_add(b, LLMIR_SEC_TARGET, &r);
}

static void add_targets(cc_blob *b, const fake_options *o)
{
    const char *name = o->cuda ? o->cuda : "cuda:sm_80";
    llmir_target_rec plain_cpu = {.name = cc_blob_str(b, "cpu:x86-64"),
                                  .features = cc_blob_str(b, o->features)},
                     wide = {.name = cc_blob_str(b, "cpu:x86-64-v3"),
                             .features = cc_blob_str(b, o->wide)},
                     cuda = {.name = cc_blob_str(b, name),
                             .kind = LLMIR_ON_CUDA,
                             .sm = o->sm ? o->sm : 80,
                             .sm_exact = o->sm_exact};
    if (!o->no_cpu) add_target(b, o, &plain_cpu, 1);
    if (o->wide) add_target(b, o, &wide, 2);
    add_target(b, o, &cuda, 1);
}

static void add_tables(cc_blob *b, const fake_options *o)
{
    static const char *const dims[] = {"T", "S", "R", "W", "pages"};
    static const uint32_t kinds[] = {LLMIR_DIM_T, LLMIR_DIM_S, LLMIR_DIM_R, LLMIR_DIM_W,
                                     LLMIR_DIM_PAGES};
    llmir_model_rec m = {.name = cc_blob_str(b, "fake"),
                         .arch = cc_blob_str(b, "sums"),
                         .quant = cc_blob_str(b, "S32"),
                         .vocab = FAKE_VOCAB,
                         .layers = N_LAYER,
                         .context = FAKE_CONTEXT,
                         .parameters = FAKE_VOCAB,
                         .model_bytes = 1208};
    cc_blob_add(b, LLMIR_SEC_MODEL, &m);
    for (uint32_t i = 0; i < FAKE_N_DIM; i++)
        cc_blob_add(b, LLMIR_SEC_DIM, &(llmir_dim_rec){cc_blob_str(b, dims[i]), kinds[i], 0, 0});
    cc_blob_add(b, LLMIR_SEC_VARIANT, &(llmir_variant_rec){K_head, 0});
    cc_blob_add(b, LLMIR_SEC_VARIANT,
                &(llmir_variant_rec){K_sum_f32_16, cc_blob_str(b, "any rows")});
    cc_blob_add(b, LLMIR_SEC_SITE,
                &(llmir_site_rec){cc_blob_str(b, "head"),
                                  cc_blob_str(b, "def y"),
                                  cc_blob_str(b, "gemv"),
                                  0,
                                  {7, 8},
                                  0,
                                  1});
    cc_blob_add(b, LLMIR_SEC_SITE,
                &(llmir_site_rec){cc_blob_str(b, "sum"),
                                  cc_blob_str(b, "def z"),
                                  cc_blob_str(b, "attention"),
                                  0,
                                  {9, 1},
                                  1,
                                  1});
    cc_blob_add(b, LLMIR_SEC_PLAN,
                &(llmir_plan_rec){.name = cc_blob_str(b, "rows"),
                                  .row_tile = FAKE_TILE,
                                  .key_split = FAKE_SPLIT,
                                  .rows_min = 1,
                                  .rows_max = UINT32_MAX,
                                  .keys_min = 1,
                                  .keys_max = UINT32_MAX,
                                  .causal = 1});
    cc_blob_add(b, LLMIR_SEC_WEIGHT,
                &(llmir_weight_rec){cc_blob_str(b, "emb"), 0, 0, FAKE_VOCAB * 4});
    cc_blob_add(b, LLMIR_SEC_WEIGHT,
                &(llmir_weight_rec){cc_blob_str(b, "factor"), 0, 1216,
                                    4 * N_LAYER + o->pad_weights});
    if (o->wide) {
        uint64_t at = (1216 + 4 * N_LAYER + o->pad_weights + 63) & ~(uint64_t)63;
        cc_blob_add(b, LLMIR_SEC_WEIGHT,
                    &(llmir_weight_rec){cc_blob_str(b, "factor"), cc_blob_str(b, "wide"), at,
                                        4 * N_LAYER});
    }
    cc_blob_add(b, LLMIR_SEC_PROVENANCE,
                &(llmir_pair_rec){cc_blob_str(b, "input"), cc_blob_str(b, "none")});
    if (o->tokenizer) cc_blob_bytes(b, LLMIR_SEC_TOKENIZER, o->tokenizer, o->n_tokenizer);
    add_layout(b, "f32", 16, 64);
    add_layout(b, "f32", 64, 256);
    add_layout(b, "f16", 16, 64);
    add_targets(b, o);
}

static ll_code put_weight(void *user, uint32_t i, cc_sink *sink, ll_error *err)
{
    const fake_options *o = user;
    static const unsigned char zero[4096];
    if (i == 0)
        for (int32_t v = 0; v < FAKE_VOCAB; v++) {
            int32_t x = fake_embedding(v);
            LL_TRY(cc_sink_write(sink, &x, sizeof x, err));
        }
    else {
        for (int32_t l = 0; l < N_LAYER; l++) {
            int32_t f = l + 2;
            LL_TRY(cc_sink_write(sink, &f, sizeof f, err));
        }
        for (uint64_t n = i == 1 ? o->pad_weights : 0; n;) {
            size_t m = n < sizeof zero ? (size_t)n : sizeof zero;
            LL_TRY(cc_sink_write(sink, zero, m, err));
            n -= m;
        }
    }
    return LL_OK;
}

ll_code fake_write(const char *path, const char *object, const fake_options *o, ll_error *err)
{
    static const cc_kernel_symbols symbols[] = {
#define X(name) {"fake_" #name "_parts", "fake_" #name "_run"},
        FAKE_KERNELS(X) FAKE_KERNELS(X) /* of the second CPU target */
#undef X
    };
    void *bytes = NULL;
    uint8_t *blob = NULL;
    size_t n, n_blob = 0;
    LL_TRY(ll_file_read(object, 1 << 24, &bytes, &n, err));
    cc_blob *b = cc_blob_create();
    add_tables(b, o);
    ll_code rc = cc_blob_finish(b, &blob, &n_blob, err);
    cc_blob_destroy(b);
    if (rc == LL_OK && o->spoil) o->spoil(blob, n_blob);
    cc_object object_file = {bytes, n};
    cc_image im = {.object = &object_file,
                   .n_object = 1,
                   .kernel = symbols,
                   .n_kernel = o->wide ? 2 * N_KERNEL : o->no_cpu ? 0 : N_KERNEL,
                   .blob = blob,
                   .blob_size = n_blob,
                   .weight = put_weight,
                   .user = (void *)(uintptr_t)o};
    if (rc == LL_OK) rc = cc_image_write(path, &im, err);
    free(blob);
    free(bytes);
    return rc;
}

/* program.c: one program: graph -> kernels -> steps with their bindings. See program.h. */
#include "compile/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "compile/splitk.h"

const char *const cc_dim_name[CC_W] = {"T", "S", "R", "PAGES", "BLOCKS", "KEYS", "PAIRS"};

enum { MAX_WEIGHTS = 16 };

int cc_dim_index(void *target, const char *name)
{
    const cc_target_build *t = target;
    for (int i = 0; i < CC_W; i++)
        if (!strcmp(cc_dim_name[i], name)) return i;
    return strcmp(name, "W.items") ? -1 : CC_W + (int)t->plan;
}

typedef struct program {
    cc_builder *b;
    cc_target_build *t;
    mdl_graph *mg;
    te_graph *g;
    cc_fusion fusion;
    cc_instance *instance; /* per kernel */
    int *built;            /* per kernel: index into t->kernel */
    cc_arena *arena;
    te_tensor *result[LLMIR_OUT_END_]; /* by enum llmir_output; NULL: no tensor of the graph */
    uint32_t kv_index;
    ll_dtype kv;
    int64_t block, t_min, t_max;
} program;

/* ---- KV pools: K in groups of lanes so that scores come as vectors; V as it is ------------------------------------- */

static const char *pool_layout(const program *p, const te_tensor *pool, bool keys)
{
    long long B = p->block, H = pool->shape[2]->u.i, D = pool->shape[3]->u.i, b = ll_dtype_bits(p->kv);
    long long L = p->t->wants.key_lanes;
    ll_arena *a = te_arena(p->g);
    if (keys) return ll_sprintf(a, "layout(...@%lld | %lld@%lld ...@%lld | ...@%lld | ...@%lld)", H * B * D * b, L, b, L * D * b, B * D * b, L * b);
    return ll_sprintf(a, "layout(...@%lld | ...@%lld | ...@%lld | ...@%lld)", H * B * D * b, D * b, B * D * b, b);
}

/* Layout lines for the pools among the instance's tensors. */
static int pool_layouts(const program *p, const cc_instance *in, cc_pool_layout *out, int max)
{
    int n = 0;
    for (size_t l = 0; l < p->mg->n_layer; l++)
        for (int i = 0; i < in->n && n < max; i++) {
            if (in->tensor[i] == p->mg->layer[l].k_pool) out[n++] = (cc_pool_layout){in->tensor[i]->name, pool_layout(p, in->tensor[i], true)};
            else if (in->tensor[i] == p->mg->layer[l].v_pool) out[n++] = (cc_pool_layout){in->tensor[i]->name, pool_layout(p, in->tensor[i], false)};
        }
    return n;
}

/* ---- distinct kernels ------------------------------------------------------------------------------------------------ */

static ll_code grow(void **v, int n, int *cap, size_t size, ll_error *err)
{
    if (n < *cap) return LL_OK;
    int c = *cap ? *cap * 2 : 32;
    void *q = realloc(*v, size * (size_t)c);
    if (!q) return ll_fail(err, LL_NO_SPACE, "no memory for the build's tables");
    *v = q;
    *cap = c;
    return LL_OK;
}

/* The number, in the instance, of the tensor that a parameter of the scheduled function stands for. */
static ll_code param_number(const cc_builder *b, const cc_instance *in, const char *name, int *out)
{
    char base[512];
    snprintf(base, sizeof base, "%s", name);
    size_t n = strlen(base), tail = strlen(".packed");
    if (n > tail && !strcmp(base + n - tail, ".packed")) base[n - tail] = 0;
    int at = cc_instance_find(in, base);
    if (at < 0) { /* a plane: its whole */
        char *dot = strrchr(base, '.');
        if (dot) *dot = 0;
        at = cc_instance_find(in, base);
        if (at >= 0 && !in->tensor[at]->quant) at = -1;
    }
    if (at < 0) return ll_fail(b->err, LL_FAILED, "a parameter '%s' belongs to no tensor of its kernel", name);
    *out = at;
    return LL_OK;
}

static ll_code fill_params(cc_builder *b, cc_built *k, const cc_instance *in)
{
    lp_func *f = k->s->fn;
    k->param = calloc((size_t)f->n_param + 1, sizeof *k->param);
    if (!k->param) return ll_fail(b->err, LL_NO_SPACE, "no memory for the build's tables");
    for (int i = 0; i < f->n_param; i++) {
        if (!strcmp(f->param[i]->t->name, "items")) k->param[i].number = -1;
        else LL_TRY(param_number(b, in, f->param[i]->t->name, &k->param[i].number));
    }
    return LL_OK;
}

static const char *class_name(cc_class c) { return c == CC_MATMUL ? "matmul" : c == CC_RAGGED ? "ragged" : "rows"; }

/* Code is cached by what it is made from, its name included, so the name must not depend on what
 * else is built. No two kernels of the module have one name: more digits where that takes them. */
static void name_kernel(const cc_builder *b, const cc_target_build *t, cc_built *k)
{
    char hex[LL_HASH_HEX];
    ll_hash h = ll_hash_bytes(k->text, strlen(k->text));
    ll_hash_hex(ll_hash_combine(h, ll_hash_bytes(t->target.name, strlen(t->target.name))), hex);
    bool taken = true;
    for (int digits = 8; taken && digits < LL_HASH_HEX; digits++) {
        snprintf(k->name, sizeof k->name, "llmir_%s_%.*s", class_name(k->of->class), digits, hex);
        taken = false;
        for (const cc_target_build *o = b->target; o <= t; o++)
            for (int i = 0; i < o->n_kernel; i++)
                taken = taken || (&o->kernel[i] != k && !strcmp(o->kernel[i].name, k->name));
    }
}

static ll_code build_kernel(program *p, int at)
{
    cc_builder *b = p->b;
    cc_target_build *t = p->t;
    cc_kernel *ck = p->fusion.kernel[at];
    const cc_instance *in = &p->instance[at];
    const char *text = ll_sprintf(te_arena(p->g), "T %lld..%lld\n%s", (long long)p->t_min, (long long)p->t_max, in->text);
    intptr_t known = (intptr_t)ll_map_get_str(&t->by_text, text);
    if (known) {
        p->built[at] = (int)known - 1;
        return LL_OK;
    }
    LL_TRY(grow((void **)&t->kernel, t->n_kernel, &t->cap_kernel, sizeof *t->kernel, b->err));
    cc_built *k = &t->kernel[t->n_kernel];
    *k = (cc_built){.text = text, .of = ck, .in = in};
    name_kernel(b, t, k);
    cc_pool_layout pools[4];
    cc_site_options o = {.target = &t->target, .act_block = t->wants.act_block, .one_row = p->t_max == 1, .min_rows = p->t_min,
                         .max_rows = p->t_max, .page = p->block, .items = p->t_max == 1 ? NULL : "items"};
    o.pool = pools;
    o.n_pool = pool_layouts(p, in, pools, 4);
    k->s = cc_site_schedule(p->g, ck, k->name, &o, b->err);
    if (!k->s) return b->err->code;
    t->n_kernel++;
    p->built[at] = t->n_kernel - 1;
    k->te = strdup(in->text);
    k->trace = strdup(ll_str_cstr(&k->s->trace));
    if (!k->te || !k->trace || !ll_map_set_str(&t->by_text, text, (void *)(intptr_t)t->n_kernel)) return ll_fail(b->err, LL_NO_SPACE, "no memory for the build's tables");
    return fill_params(b, k, in);
}

/* ---- weights ------------------------------------------------------------------------------------------------------------ */

static const mdl_weight *constant(const cc_builder *b, const char *name)
{
    for (size_t i = 0; i < b->constants->n_weight; i++)
        if (!strcmp(b->constants->weight[i].t->name, name)) return &b->constants->weight[i];
    return NULL;
}

/* A constant is stored once for each packing that some target wants. */
static ll_code weight_index(program *p, const te_tensor *t, uint32_t *out)
{
    cc_builder *b = p->b;
    cc_stored s = {.w = constant(b, t->name), .of = p->t};
    if (!s.w) return ll_fail(b->err, LL_FAILED, "%s is no constant of the model", t->name);
    cc_packing pk = {.name = "dense"};
    if (t->ndim == 2) LL_TRY(cc_packing_of(t, &p->t->target, &pk, b->err));
    snprintf(s.packing, sizeof s.packing, "%s", pk.name);
    const char *key = ll_sprintf(te_arena(p->g), "%s\n%s", t->name, s.packing);
    intptr_t known = (intptr_t)ll_map_get_str(&b->by_weight, key);
    if (!known) {
        LL_TRY(grow((void **)&b->weight, b->n_weight, &b->cap_weight, sizeof *b->weight, b->err));
        b->weight[b->n_weight++] = s;
        known = b->n_weight;
        if (!ll_map_set_str(&b->by_weight, key, (void *)known))
            return ll_fail(b->err, LL_NO_SPACE, "no memory for the build's tables");
    }
    *out = (uint32_t)known - 1;
    return LL_OK;
}

/* ---- bindings ------------------------------------------------------------------------------------------------------------ */

static llmir_linear linear(cc_builder *b, const cc_bytes *v) { return cc_linear(b->blob, v->base, v->coef, CC_MAX_DIM); }

static bool input_of(const program *p, const te_tensor *t, uint32_t *index)
{
    const mdl_graph *m = p->mg;
    const struct { const te_tensor *t; uint32_t index; } known[] = {
        {m->tokens, LLMIR_IN_TOKENS}, {m->pos, LLMIR_IN_POS}, {m->seg, LLMIR_IN_SEG}, {m->start, LLMIR_IN_START},
        {m->len, LLMIR_IN_LEN}, {m->table, LLMIR_IN_TABLE}, {m->rows, LLMIR_IN_ROWS}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].t == t) return *index = known[i].index, true;
    return false;
}

static bool pool_of(const program *p, const te_tensor *t, uint32_t *index)
{
    for (size_t l = 0; l < p->mg->n_layer; l++) {
        if (p->mg->layer[l].k_pool == t) return *index = (uint32_t)(2 * l), true;
        if (p->mg->layer[l].v_pool == t) return *index = (uint32_t)(2 * l + 1), true;
    }
    return false;
}

static bool result_of(const program *p, const te_tensor *t, uint32_t *index)
{
    for (uint32_t i = 0; i < LLMIR_OUT_END_; i++)
        if (p->result[i] == t) return *index = i, true;
    return false;
}

static ll_code bind(program *p, const te_tensor *t, llmir_binding_rec *out)
{
    *out = (llmir_binding_rec){0};
    cc_bytes at, size;
    if (t->weight) {
        out->space = LLMIR_SPACE_WEIGHT;
        return weight_index(p, t, &out->index);
    }
    if (result_of(p, t, &out->index)) return out->space = LLMIR_SPACE_OUTPUT, LL_OK;
    if (input_of(p, t, &out->index)) return out->space = LLMIR_SPACE_INPUT, LL_OK;
    if (pool_of(p, t, &out->index)) return out->space = LLMIR_SPACE_KV, LL_OK;
    if (!cc_arena_find(p->arena, t, &at)) return ll_fail(p->b->err, LL_FAILED, "%s has no place in memory", t->name);
    LL_TRY(cc_tensor_bytes(t, cc_dim_index, p->t, &size, p->b->err));
    out->space = LLMIR_SPACE_ARENA;
    out->at = linear(p->b, &at);
    out->size = linear(p->b, &size);
    return LL_OK;
}

/* ---- the arena -------------------------------------------------------------------------------------------------------------- */

static int last_reader(const program *p, const te_tensor *t, int from)
{
    int last = from;
    for (int k = from; k < p->fusion.n_kernel; k++)
        for (int i = 0; i < p->fusion.kernel[k]->n_given; i++)
            if (p->fusion.kernel[k]->given[i] == t) last = k;
    return last;
}

static ll_code plan_arena(program *p)
{
    p->arena = cc_arena_create();
    if (!p->arena) return ll_fail(p->b->err, LL_NO_SPACE, "no memory for the buffer plan");
    for (int k = 0; k < p->fusion.n_kernel; k++)
        for (int i = 0; i < p->fusion.kernel[k]->n_root; i++) {
            te_tensor *t = p->fusion.kernel[k]->root[i];
            cc_bytes size;
            uint32_t index;
            if (t->kind == TE_UPDATE || result_of(p, t, &index)) continue;
            LL_TRY(cc_tensor_bytes(t, cc_dim_index, p->t, &size, p->b->err));
            LL_TRY(cc_arena_add(p->arena, t, &size, k, last_reader(p, t, k), p->b->err));
        }
    return LL_OK;
}

/* ---- what a step must move and do ---------------------------------------------------------------------------------------------- */

static ll_code estimate(program *p, const cc_kernel *k, cc_bytes *bytes, cc_bytes *ops)
{
    *bytes = *ops = (cc_bytes){0};
    te_tensor *w[MAX_WEIGHTS];
    int n = cc_kernel_weights(k, w, MAX_WEIGHTS);
    bool one = p->t_max == 1;
    for (int i = 0; i < n; i++) {
        cc_packing pk;
        LL_TRY(cc_packing_of(w[i], &p->t->target, &pk, p->b->err));
        if (k->class == CC_MATMUL) bytes->base += pk.bytes;
        else bytes->coef[CC_T] += pk.panel_bytes / pk.rows;
    }
    for (int i = 0; i < k->n_stage; i++) {
        const te_tensor *t = k->stage[i].t;
        if (k->stage[i].contraction) {
            int64_t flops = 2 * t->shape[1]->u.i * t->body->src[1]->u.axis->extent->u.i;
            te_ref rows = t->shape[0];
            if (one || rows->op != TE_DIM) ops->base += flops;
            else ops->coef[cc_dim_index(p->t, rows->u.dim->name)] += flops;
        }
    }
    if (k->class == CC_RAGGED) {
        const te_tensor *pool = p->mg->layer[0].k_pool;
        int64_t row = pool->shape[2]->u.i * pool->shape[3]->u.i, q = 0;
        for (int i = 0; i < k->n_given; i++)
            if (k->given[i]->kind == TE_DEF && k->given[i]->ndim == 2 && k->given[i]->shape[1]->op == TE_INT) q = k->given[i]->shape[1]->u.i;
        bytes->coef[CC_KEYS] += 2 * row * ll_dtype_bits(p->kv) / 8;
        ops->coef[CC_PAIRS] += 4 * q;
    }
    return LL_OK;
}

static ll_code add_step(program *p, int at, uint32_t *first)
{
    cc_builder *b = p->b;
    const cc_built *k = &p->t->kernel[p->built[at]];
    const cc_instance *in = &p->instance[at];
    lp_func *f = k->s->fn;
    cc_bytes bytes, ops;
    LL_TRY(estimate(p, p->fusion.kernel[at], &bytes, &ops));
    uint32_t number = p->t->first_kernel + (uint32_t)p->built[at];
    llmir_step_rec step = {.kernel = number, .site = number, .n_binding = (uint32_t)f->n_param};
    step.binding = cc_blob_count(b->blob, LLMIR_SEC_BINDING);
    for (int i = 0; i < f->n_param; i++) {
        llmir_binding_rec r = {0};
        if (k->param[i].number < 0) r = (llmir_binding_rec){.space = LLMIR_SPACE_INPUT, .index = LLMIR_IN_PLAN + 2 * p->t->plan};
        else LL_TRY(bind(p, in->tensor[k->param[i].number], &r));
        cc_blob_add(b->blob, LLMIR_SEC_BINDING, &r);
    }
    step.bytes = linear(b, &bytes);
    step.ops = linear(b, &ops);
    uint32_t index = cc_blob_add(b->blob, LLMIR_SEC_STEP, &step);
    if (at == 0) *first = index;
    return LL_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------ */

static ll_code cut(program *p)
{
    cc_builder *b = p->b;
    mdl_graph *m = p->mg;
    int n = 0;
    te_tensor **wanted = LL_NEW_N(te_arena(p->g), te_tensor *, 2 * m->n_layer + LLMIR_OUT_END_);
    for (size_t i = 0; i < m->n_layer; i++) {
        wanted[n++] = m->layer[i].k_new;
        wanted[n++] = m->layer[i].v_new;
    }
    te_tensor *made[LLMIR_OUT_END_] = {[LLMIR_OUT_LOGITS] = m->logits};
    if (p->t->wants.row_stats) made[LLMIR_OUT_MAX] = m->max, made[LLMIR_OUT_LSE] = m->lse;
    const int first = n;
    for (int i = 0; i < LLMIR_OUT_END_; i++)
        if (made[i]) wanted[n++] = made[i];
    const cc_wants *w = &p->t->wants;
    int64_t page = p->block < w->part_page ? p->block : w->part_page;
    if (p->t_max == 1) LL_TRY(cc_splitk(p->g, wanted, n, w->parts, page, b->err));
    for (int i = 0, at = first; i < LLMIR_OUT_END_; i++)
        if (made[i]) p->result[i] = wanted[at++];
    return cc_fuse(p->g, wanted, n, p->t_max == 1, w->panel, &p->fusion, b->err);
}

static ll_code run(program *p)
{
    cc_builder *b = p->b;
    LL_TRY(cut(p));
    int n = p->fusion.n_kernel;
    p->instance = LL_NEW_N(te_arena(p->g), cc_instance, n + 1);
    p->built = LL_NEW_N(te_arena(p->g), int, n + 1);
    for (int k = 0; k < n; k++) {
        p->instance[k] = cc_instance_of(p->g, p->fusion.kernel[k]);
        LL_TRY(build_kernel(p, k));
    }
    LL_TRY(plan_arena(p));
    uint32_t first = 0;
    for (int k = 0; k < n; k++) LL_TRY(add_step(p, k, &first));
    cc_bytes arena = cc_arena_size(p->arena);
    llmir_program_rec r = {.kv = p->kv_index, .t_min = (uint32_t)p->t_min, .t_max = (uint32_t)p->t_max, .step = first, .n_step = (uint32_t)n,
                           .multiple = p->t_max == 1 ? 1 : (uint32_t)p->t->wants.multiple};
    r.name = cc_blob_str(b->blob, p->t_max == 1 ? "one" : "many");
    r.arena = linear(b, &arena);
    cc_blob_add(b->blob, LLMIR_SEC_PROGRAM, &r);
    b->report->kernel_calls += n;
    p->t->n_program++;
    if (p->t_max == 1) b->report->decode_steps = n;
    return LL_OK;
}

/* The graph lives until the target's code is made; the first of the build to its end. */
static ll_code keep_graph(cc_builder *b, cc_target_build *t, mdl_graph *mg)
{
    if (!b->constants) return b->constants = mg, LL_OK;
    mdl_graph **v = realloc(t->graph, sizeof *v * (size_t)(t->n_graph + 1));
    if (!v) {
        mdl_graph_destroy(mg);
        return ll_fail(b->err, LL_NO_SPACE, "no memory for the build's tables");
    }
    t->graph = v;
    v[t->n_graph++] = mg;
    return LL_OK;
}

ll_code cc_add_program(cc_builder *b, cc_target_build *t, ll_dtype kv, int64_t block, uint32_t kv_index, int64_t t_min, int64_t t_max)
{
    mdl_options mo = {.kv = kv, .kv_block = block, .max_tokens = t_max, .multiple = t_max == 1 ? 1 : t->wants.multiple, .act_block = t->wants.act_block, .act_granule = 32};
    mdl_graph *mg;
    LL_TRY(mdl_build_graph(b->model, &mo, &mg, b->err));
    LL_TRY(keep_graph(b, t, mg));
    program p = {.b = b, .t = t, .mg = mg, .g = mg->g, .kv_index = kv_index, .kv = kv, .block = block, .t_min = t_min, .t_max = t_max};
    te_graph *before = te_graph_use(mg->g);
    ll_code rc = run(&p);
    te_graph_use(before);
    cc_arena_destroy(p.arena);
    return rc;
}

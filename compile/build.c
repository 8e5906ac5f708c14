/* build.c: see build.h. The order: open the model; for each target its programs (graphs, kernels,
 * bindings for every KV kind and step range), code in child processes and tables; then the image,
 * with the weights streamed through the packers. */
#include "compile/build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "compile/image.h"
#include "compile/program.h"

enum { DEFAULT_MAX_TOKENS = 512 };

static void tell(const cc_builder *b, const char *phase, double fraction)
{
    if (b->o->progress) b->o->progress(b->o->user, phase, fraction);
}

/* ---- targets ------------------------------------------------------------------------------ */
static ll_code parse_targets(cc_builder *b)
{
    static const char *const here[] = {"cpu"};
    const char *const *text = b->o->n_target ? b->o->target : here;
    int n = b->o->n_target ? b->o->n_target : 1;
    b->target = calloc((size_t)n, sizeof *b->target);
    if (!b->target) return ll_fail(b->err, LL_NO_SPACE, "no memory for %d targets", n);
    for (int i = 0; i < n; i++) {
        cc_target_build *t = &b->target[i];
        LL_TRY(ll_target_parse(text[i], &t->target, b->err));
        for (int k = 0; k < i; k++)
            if (!strcmp(b->target[k].target.name, t->target.name))
                return ll_fail(b->err, LL_USAGE, "target '%s' was given twice: '%s' and '%s'",
                               t->target.name, text[k], text[i]);
        t->wants = cc_wants_of(&t->target, b->o->f32_activations);
        t->number = (uint32_t)i;
        b->n_target = i + 1;
        size_t at = strlen(b->report->targets), room = sizeof b->report->targets - at;
        snprintf(b->report->targets + at, room, "%s%s", i ? ", " : "", t->target.name);
    }
    return LL_OK;
}

static const int64_t all_blocks[] = {16, 32, 64, 128, 256};
static const ll_dtype kv_kinds[] = {LL_F16, LL_F32};
enum { N_KIND = sizeof kv_kinds / sizeof *kv_kinds };

typedef struct layout {
    ll_dtype kv;
    int64_t block;
} layout;

static int n_layouts(const cc_builder *b)
{
    int n = b->o->kv_block ? b->o->n_kv_block : (int)(sizeof all_blocks / sizeof *all_blocks);
    return N_KIND * n;
}

static layout layout_of(const cc_builder *b, int i)
{
    const int64_t *block = b->o->kv_block ? b->o->kv_block : all_blocks;
    int n = n_layouts(b) / N_KIND;
    return (layout){kv_kinds[i / n], block[i % n]};
}

static ll_code add_programs(cc_builder *b, cc_target_build *t)
{
    int64_t max = b->o->max_tokens ? b->o->max_tokens : DEFAULT_MAX_TOKENS;
    int n = n_layouts(b);
    /* rows come in multiples: of at most one of them the number of rows would be no size any more */
    if (max > 1 && max < 2 * t->wants.multiple) max = 2 * t->wants.multiple;
    double start = ll_now();
    t->program = cc_blob_count(b->blob, LLMIR_SEC_PROGRAM);
    for (int i = 0; i < n; i++) {
        layout l = layout_of(b, i);
        tell(b, "scheduling", (double)((int)t->number * n + i) / (b->n_target * n));
        LL_TRY(cc_add_program(b, t, l.kv, l.block, (uint32_t)i, 1, 1));
        if (max > 1) LL_TRY(cc_add_program(b, t, l.kv, l.block, (uint32_t)i, 2, max));
    }
    b->report->seconds_schedule += ll_now() - start;
    return LL_OK;
}

static ll_code build_target(cc_builder *b, cc_target_build *t)
{
    t->first_kernel = cc_blob_count(b->blob, LLMIR_SEC_KERNEL);
    t->first_code = b->n_code;
    LL_TRY(cc_add_plan(b, t->wants.plan_rows, &t->plan));
    LL_TRY(add_programs(b, t));
    tell(b, "compiling", (double)t->number / b->n_target);
    LL_TRY(cc_make_code(b, t));
    b->report->kernels += t->n_kernel;
    if (t->target.kind == LL_CPU) b->n_code += (uint32_t)t->n_kernel;
    ll_code rc = cc_add_target(b, t);
    cc_end_code(t);
    return rc;
}

static void open_cache(cc_builder *b)
{
    ll_hash revision;
    if (!b->o->cache) return;
    if (cc_cache_revision(&revision))
        b->cache = cc_cache_open(b->o->cache, revision, b->o->cache_limit, b->report->no_cache);
    else
        snprintf(b->report->no_cache, sizeof b->report->no_cache, "/proc/self/exe: unreadable");
}

/* ---- image -------------------------------------------------------------------------------- */
typedef struct weight_writer {
    cc_builder *b;
    cc_sink *sink;
} weight_writer;

static ll_code to_sink(void *user, const void *p, size_t n, ll_error *err)
{
    return cc_sink_write(((weight_writer *)user)->sink, p, n, err);
}

static ll_code write_weight(void *user, uint32_t i, cc_sink *sink, ll_error *err)
{
    weight_writer *w = user;
    const cc_stored *s = &w->b->weight[i];
    w->sink = sink;
    tell(w->b, "packing weights", (double)i / w->b->n_weight);
    if (!s->of->packer) s->of->packer = cc_packer_create(&s->of->target, w->b->o->jobs, err);
    if (!s->of->packer) return err ? err->code : LL_NO_SPACE;
    return cc_packer_weight(s->of->packer, w->b->model->file, s->w, to_sink, w, err);
}

typedef struct code_list { /* of all CPU targets, by llmir_kernel_rec.code */
    cc_object *object;
    cc_kernel_symbols *symbol;
    char (*name)[2][96];
    uint32_t n;
} code_list;

static ll_code list_code(const cc_builder *b, code_list *l)
{
    size_t n = b->n_code + (size_t)1;
    l->object = calloc(n, sizeof *l->object);
    l->symbol = calloc(n, sizeof *l->symbol);
    l->name = calloc(n, sizeof *l->name);
    if (!l->object || !l->symbol || !l->name)
        return ll_fail(b->err, LL_NO_SPACE, "no memory for the module's tables");
    for (int i = 0; i < b->n_target; i++)
        for (int k = 0; b->target[i].target.kind == LL_CPU && k < b->target[i].n_kernel; k++) {
            const cc_built *u = &b->target[i].kernel[k];
            char(*name)[96] = l->name[l->n];
            l->object[l->n] = (cc_object){u->code.object, u->code.object_bytes};
            snprintf(name[0], sizeof name[0], "%s.parts", u->name);
            snprintf(name[1], sizeof name[1], "%s.run", u->name);
            l->symbol[l->n++] = (cc_kernel_symbols){name[0], name[1]};
        }
    return LL_OK;
}

static ll_code write_image(cc_builder *b, const char *out)
{
    double start = ll_now();
    uint8_t *blob = NULL;
    size_t blob_size = 0;
    code_list l = {0};
    weight_writer w = {.b = b};
    ll_code rc = list_code(b, &l);
    if (rc == LL_OK) rc = cc_blob_finish(b->blob, &blob, &blob_size, b->err);
    cc_image image = {.object = l.object,
                      .n_object = l.n,
                      .kernel = l.symbol,
                      .n_kernel = l.n,
                      .blob = blob,
                      .blob_size = blob_size,
                      .weight = write_weight,
                      .user = &w};
    if (rc == LL_OK) rc = cc_image_write(out, &image, b->err);
    free(l.object);
    free(l.symbol);
    free(l.name);
    free(blob);
    b->report->seconds_weights = ll_now() - start;
    return rc;
}

/* ---- the whole ---------------------------------------------------------------------------- */
static void finish(cc_builder *b)
{
    for (int i = 0; i < b->n_target; i++) {
        cc_target_build *t = &b->target[i];
        cc_end_code(t);
        cc_packer_destroy(t->packer);
        for (int k = 0; k < t->n_kernel; k++) {
            cg_code_finish(&t->kernel[k].code);
            free(t->kernel[k].te);
            free(t->kernel[k].trace);
        }
        free(t->kernel);
    }
    cc_cache_close(b->cache);
    free(b->target);
    free(b->weight);
    mdl_graph_destroy(b->constants);
    ll_map_finish(&b->by_weight);
    cc_blob_destroy(b->blob);
    mdl_close(b->model);
}

static ll_code steps(cc_builder *b, const char *model, const char *out)
{
    LL_TRY(parse_targets(b));
    tell(b, "reading", 0);
    double start = ll_now();
    LL_TRY(mdl_open(model, &b->model, b->err));
    b->report->seconds_graph = ll_now() - start;
    b->blob = cc_blob_create();
    if (!b->blob) return ll_fail(b->err, LL_NO_SPACE, "no memory for the module's tables");
    cc_add_dims(b);
    for (int i = 0; i < n_layouts(b); i++)
        cc_add_kv(b, layout_of(b, i).kv, layout_of(b, i).block);
    open_cache(b);
    for (int i = 0; i < b->n_target; i++) LL_TRY(build_target(b, &b->target[i]));
    LL_TRY(cc_add_weights(b));
    cc_add_model(b);
    return write_image(b, out);
}

ll_code cc_build(const char *model, const char *out, const cc_options *o, cc_report *report,
                 ll_error *err)
{
    cc_report own;
    cc_builder b = {.o = o, .err = err, .report = report ? report : &own};
    *b.report = (cc_report){0};
    ll_code rc = steps(&b, model, out);
    finish(&b);
    return rc;
}

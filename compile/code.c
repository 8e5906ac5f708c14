/* code.c: the kernels of a target become code: from the cache, or in child processes; dumps of
 * every level. For dumps of what LLVM makes everything is compiled anew. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "compile/program.h"

/* ---- dumps -------------------------------------------------------------------------------- */
static ll_code dump_text(cc_builder *b, const char *kernel, const char *level, const char *text)
{
    const cc_options *o = b->o;
    if (!text || (!o->dump_dir && !o->dump_file)) return LL_OK;
    if (!o->dump_dir)
        return fprintf(o->dump_file, "---- %s %s\n%s\n", kernel, level, text) >= 0
                   ? LL_OK
                   : ll_fail(b->err, LL_NO_SPACE, "the dump cannot be written");
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s.%s", o->dump_dir, kernel, level) >= (int)sizeof path)
        return ll_fail(b->err, LL_USAGE, "%s: path too long", o->dump_dir);
    return ll_file_write(path, text, strlen(text), b->err);
}

static ll_code dump_kernel(cc_builder *b, const cc_built *k)
{
    ll_str te = {0}, loop = {0};
    ll_code rc = LL_OK;
    unsigned dump = b->o->dump;
    cc_kernel_print_te(&te, k->of, k->in->tensor, k->in->n);
    lp_print(&loop, k->s->fn);
    const struct {
        unsigned bit;
        const char *level, *text;
    } level[] = {{CC_DUMP_TE, "te", ll_str_cstr(&te)},
                 {CC_DUMP_SCHED, "sched", k->trace},
                 {CC_DUMP_LOOP, "loop", ll_str_cstr(&loop)},
                 {CC_DUMP_LLVM, "ll", k->code.llvm_ir},
                 {CC_DUMP_ASM, "s", k->code.assembly}};
    for (size_t i = 0; i < sizeof level / sizeof *level && rc == LL_OK; i++)
        if (dump & level[i].bit) rc = dump_text(b, k->name, level[i].level, level[i].text);
    ll_str_finish(&te);
    ll_str_finish(&loop);
    return rc;
}

/* ---- code --------------------------------------------------------------------------------- */
/* A hash of everything that decides the code of a kernel but the compiler itself. */
static ll_code key_of(const cc_target_build *t, const cc_built *k, ll_hash *out, ll_error *err)
{
    ll_str s = {0};
    const lp_func *f = k->s->fn;
    char features[512];
    ll_target_llvm_features(&t->target, features, sizeof features);
    ll_str_addf(&s, "%s\n%s\n%s\n%s\n%s\n", t->target.name, features, k->text, k->te, k->trace);
    lp_print(&s, f);
    for (int i = 0; i < f->n_dim; i++) ll_str_addf(&s, " %d", f->dim_slot[i]);
    *out = ll_hash_bytes(s.s, s.n);
    bool oom = s.oom;
    ll_str_finish(&s);
    return oom ? ll_fail(err, LL_NO_SPACE, "%s: no memory for its text", k->name) : LL_OK;
}

typedef struct work { /* what the cache did not have */
    cg_job *job;
    cc_built **kernel;
    ll_hash *key;
    int n;
} work;

static ll_code find_work(cc_builder *b, cc_target_build *t, work *w)
{
    unsigned want = (b->o->dump & CC_DUMP_LLVM ? CG_WANT_LLVM : 0) |
                    (b->o->dump & CC_DUMP_ASM ? CG_WANT_ASM : 0);
    for (int i = 0; i < t->n_kernel; i++) {
        cc_built *k = &t->kernel[i];
        if (b->cache) LL_TRY(key_of(t, k, &w->key[w->n], b->err));
        if (!want && cc_cache_get(b->cache, w->key[w->n], &k->code, &k->launch)) {
            b->report->cache_hits++;
            continue;
        }
        b->report->cache_misses += b->cache != NULL;
        w->kernel[w->n] = k;
        w->job[w->n++] = (cg_job){.fn = k->s->fn, .target = &t->target, .want = want};
    }
    return LL_OK;
}

static ll_code do_work(cc_builder *b, cc_target_build *t, work *w)
{
    ll_code rc = cg_compile(w->job, w->n, b->o->jobs, b->err);
    for (int i = 0; i < w->n; i++) {
        cc_built *k = w->kernel[i];
        k->code = w->job[i].code;
        if (rc == LL_OK && t->target.kind == LL_CUDA)
            rc = cc_launch_of(&k->code.launch, k->name, cc_dim_index, t, &k->launch, b->err);
        if (rc == LL_OK) cc_cache_put(b->cache, w->key[i], &k->code, &k->launch);
    }
    return rc;
}

static ll_code compile(cc_builder *b, cc_target_build *t)
{
    size_t n = (size_t)t->n_kernel + 1;
    work w = {calloc(n, sizeof *w.job), calloc(n, sizeof *w.kernel), calloc(n, sizeof *w.key), 0};
    ll_code rc = LL_OK;
    if (!w.job || !w.kernel || !w.key)
        rc = ll_fail(b->err, LL_NO_SPACE, "no memory for %d compile jobs", t->n_kernel);
    if (rc == LL_OK) rc = find_work(b, t, &w);
    if (rc == LL_OK && w.n) rc = do_work(b, t, &w);
    free(w.job);
    free(w.kernel);
    free(w.key);
    return rc;
}

ll_code cc_make_code(cc_builder *b, cc_target_build *t)
{
    double start = ll_now();
    LL_TRY(compile(b, t));
    for (int i = 0; i < t->n_kernel && b->o->dump; i++) LL_TRY(dump_kernel(b, &t->kernel[i]));
    b->report->seconds_code += ll_now() - start;
    return LL_OK;
}

void cc_end_code(cc_target_build *t)
{
    for (int i = 0; i < t->n_kernel; i++) {
        cc_built *k = &t->kernel[i];
        sch_destroy(k->s);
        free(k->param);
        k->s = NULL;
        k->param = NULL;
        k->text = NULL;
        k->of = NULL;
        k->in = NULL;
    }
    for (int i = 0; i < t->n_graph; i++) mdl_graph_destroy(t->graph[i]);
    free(t->graph);
    t->graph = NULL;
    t->n_graph = 0;
    ll_map_finish(&t->by_text);
}

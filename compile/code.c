/* code.c: the kernels of a target become code: from the cache, or from the text of their loops in
 * child processes; dumps of every level. For dumps of what LLVM makes everything is compiled anew. */
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
typedef struct work { /* a kernel that the cache did not have */
    cc_built *kernel;
    ll_hash key;
    te_graph *g; /* of the function read back */
} work;

typedef struct work_list {
    work *w;
    cg_job *job; /* per work */
    int n;
} work_list;

/* Where the function's sizes lie in llmir_args.dim. */
static ll_code place_dims(cc_target_build *t, lp_func *f, ll_error *err)
{
    f->dim_slot = LL_NEW_N(te_arena(f->g), int, f->n_dim + 1);
    for (int i = 0; i < f->n_dim; i++) {
        const char *name = f->dim[i]->u.dim->name;
        f->dim_slot[i] = cc_dim_index(t, name);
        if (f->dim_slot[i] < 0)
            return ll_fail(err, LL_FAILED, "kernel %s reads an unknown size %s", f->name, name);
    }
    return LL_OK;
}

/* What is compiled is read back from the text: a function's expressions remember the order in which
 * they were made, and code depends on it. So the code depends on the text alone, and what the cache
 * finds by the text is what would be made. */
static ll_code read_back(cc_target_build *t, const char *loop, work *w, cg_job *job, ll_error *err)
{
    w->g = te_graph_create();
    if (!w->g) return ll_fail(err, LL_NO_SPACE, "%s: no memory for its loops", w->kernel->name);
    te_graph *before = te_graph_use(w->g);
    lp_func *f = lp_parse(w->g, loop, w->kernel->name, err);
    ll_code rc = f ? place_dims(t, f, err) : LL_FAILED;
    te_graph_use(before);
    job->fn = f;
    return rc;
}

/* A hash of everything that decides the code of a kernel but the compiler itself. */
static ll_code key_of(const cc_target_build *t, const cc_built *k, const ll_str *loop, ll_hash *out,
                      ll_error *err)
{
    ll_str s = {0};
    char features[512];
    ll_target_llvm_features(&t->target, features, sizeof features);
    ll_str_addf(&s, "%s\n%s\n", t->target.name, features);
    ll_str_addf(&s, "W.items %u\n%s\n%s\n%s\n", t->plan, k->text, k->te, k->trace);
    ll_str_addn(&s, loop->s, loop->n);
    *out = ll_hash_bytes(s.s, s.n);
    bool oom = s.oom || loop->oom;
    ll_str_finish(&s);
    return oom ? ll_fail(err, LL_NO_SPACE, "%s: no memory for its text", k->name) : LL_OK;
}

static ll_code find(cc_builder *b, cc_target_build *t, cc_built *k, work_list *l)
{
    ll_str loop = {0};
    work *w = &l->w[l->n];
    cg_job *job = &l->job[l->n];
    unsigned dump = b->o->dump;
    *w = (work){.kernel = k};
    *job = (cg_job){.target = &t->target};
    job->want = (dump & CC_DUMP_LLVM ? CG_WANT_LLVM : 0) | (dump & CC_DUMP_ASM ? CG_WANT_ASM : 0);
    lp_print(&loop, k->s->fn);
    ll_code rc = key_of(t, k, &loop, &w->key, b->err);
    bool found = rc == LL_OK && !job->want && cc_cache_get(b->cache, w->key, &k->code, &k->launch);
    if (rc == LL_OK && !found) {
        l->n++;
        rc = read_back(t, ll_str_cstr(&loop), w, job, b->err);
    }
    b->report->cache_hits += found;
    b->report->cache_misses += b->cache && !found;
    ll_str_finish(&loop);
    return rc;
}

static ll_code make(cc_builder *b, cc_target_build *t, work_list *l)
{
    ll_code rc = cg_compile(l->job, l->n, b->o->jobs, b->err);
    for (int i = 0; i < l->n; i++) {
        cc_built *k = l->w[i].kernel;
        k->code = l->job[i].code;
        if (rc == LL_OK && t->target.kind == LL_CUDA)
            rc = cc_launch_of(&k->code.launch, k->name, cc_dim_index, t, &k->launch, b->err);
        if (rc == LL_OK) cc_cache_put(b->cache, l->w[i].key, &k->code, &k->launch);
    }
    return rc;
}

static ll_code compile(cc_builder *b, cc_target_build *t)
{
    size_t n = (size_t)t->n_kernel + 1;
    work_list l = {calloc(n, sizeof *l.w), calloc(n, sizeof *l.job), 0};
    ll_code rc = l.w && l.job ? LL_OK
                              : ll_fail(b->err, LL_NO_SPACE, "no memory for %d compile jobs",
                                        t->n_kernel);
    for (int i = 0; i < t->n_kernel && rc == LL_OK; i++) rc = find(b, t, &t->kernel[i], &l);
    if (rc == LL_OK && l.n) rc = make(b, t, &l);
    for (int i = 0; i < l.n; i++) te_graph_destroy(l.w[i].g);
    free(l.w);
    free(l.job);
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

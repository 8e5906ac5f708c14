/* harness.c: see harness.h. */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

int random_u8_max = 255;
static uint64_t state = 88172645463325252ull;

uint32_t random_bits(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

bool kernel_compile(kernel *k, const char *text, const char *target, unsigned want, ll_error *err)
{
    memset(k, 0, sizeof *k);
    k->g = te_graph_create();
    k->f = lp_parse(k->g, text, "test", err);
    ll_code r = k->f ? LL_OK : LL_FAILED;
    if (r == LL_OK) r = ll_target_parse(target ? target : "cpu", &k->target, err);
    k->job = (cg_job){.fn = k->f, .target = &k->target, .want = want};
    if (r == LL_OK) r = cg_compile_here(&k->job, err);
    if (r == LL_OK) return true;
    cg_code_finish(&k->job.code);
    te_graph_destroy(k->g);
    return false;
}

void kernel_open(kernel *k, const char *text, const char *target)
{
    ll_error err = {0};
    unsigned want = getenv("SHOW") ? CG_WANT_LLVM | CG_WANT_ASM : 0;
    if (!kernel_compile(k, text, target, want, &err)) fail_msg("%s", err.msg);
    if (want) fprintf(stderr, "%s\n%s\n", k->job.code.llvm_ir, k->job.code.assembly);
    void *object[2] = {k->job.code.object, NULL};
    size_t bytes[2] = {k->job.code.object_bytes, 0};
    char path[] = "/tmp/llmir-codegen-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    if (cg_table_object(&k->target, &k->f->name, 1, "blob", 4, &object[1], &bytes[1], &err) !=
        LL_OK)
        fail_msg("%s", err.msg);
    if (cg_link(path, object, bytes, 2, &err) != LL_OK) fail_msg("%s", err.msg);
    free(object[1]);
    k->lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!k->lib) fail_msg("%s", dlerror());
    unlink(path);
    const llmir_module *m = dlsym(k->lib, LLMIR_MODULE_SYMBOL);
    assert_non_null(m);
    assert_true(m->magic == LLMIR_MODULE_MAGIC);
    assert_int_equal(m->n_kernel, 1);
    k->code = m->kernel[0];
    k->scratch = aligned_alloc(64, (k->job.code.scratch_bytes + 127) & ~(size_t)63);
    memset(k->scratch, 0xa5, (k->job.code.scratch_bytes + 127) & ~(size_t)63);
}

void kernel_close(kernel *k)
{
    if (k->lib) dlclose(k->lib);
    for (int i = 0; i < MAX_ARG; i++) {
        free(k->arg[i]);
        free(k->want[i]);
    }
    free(k->scratch);
    cg_code_finish(&k->job.code);
    te_graph_destroy(k->g);
}

static int64_t dim_of(void *ctx, const char *name)
{
    kernel *k = ctx;
    for (int i = 0; i < k->f->n_dim; i++)
        if (!strcmp(k->f->dim[i]->u.dim->name, name)) return k->dim[i];
    return -1;
}

/* A size over dims, as a number. */
static int64_t number(kernel *k, te_ref e)
{
    te_ref to[MAX_ARG];
    for (int i = 0; i < k->f->n_dim; i++) to[i] = te_int(k->g, k->dim[i]);
    e = te_simplify(k->g, te_subst(k->g, e, k->f->dim, to, k->f->n_dim));
    assert_int_equal(e->op, TE_INT);
    return e->u.i;
}

static void fill(const te_tensor *t, kernel *k, void *mem, size_t bytes)
{
    ll_dtype d = (ll_dtype)t->dtype;
    size_t n = bytes * 8 / (size_t)ll_dtype_bits(d);
    int64_t lo, hi;
    if (ll_dtype_is_float(d)) {
        for (size_t i = 0; i < n; i++)
            te_value_store(d, mem, i,
                           (te_value){.f = ((double)(random_bits() % 4001) - 2000) / 1000});
        return;
    }
    ll_dtype_int_range(d, &lo, &hi);
    if (d == LL_U8) hi = random_u8_max;
    if (t->lo) lo = number(k, t->lo);
    if (t->hi) hi = number(k, t->hi) - 1;
    uint64_t span = (uint64_t)hi - (uint64_t)lo + 1;
    for (size_t i = 0; i < n; i++) {
        uint64_t r = (uint64_t)random_bits() << 32 | random_bits();
        te_value_store(d, mem, i, (te_value){.i = (int64_t)((uint64_t)lo + (span ? r % span : r))});
    }
}

static int64_t no_dims(te_ref e, void *ctx) { return number(ctx, e); }

/* Floats that lie inside another buffer's bytes get values of a modest size. */
static void fill_within(kernel *k, const lp_buf *b)
{
    const lp_buf *outer = b;
    while (outer->within) outer = outer->within;
    ll_dtype d = (ll_dtype)b->t->dtype;
    int64_t n[2] = {1, 1}, idx[2];
    if (!ll_dtype_is_float(d) || b->t->ndim > 2) return;
    for (int i = 0; i < b->t->ndim; i++) n[i] = number(k, b->t->shape[i]);
    for (idx[0] = 0; idx[0] < n[0]; idx[0]++)
        for (idx[1] = 0; idx[1] < n[1]; idx[1]++) {
            size_t at = (size_t)(lp_layout_at_const(b->layout, LP_AT_ADDR, idx, no_dims, k) /
                                 ll_dtype_bits(d));
            te_value v = {.f = ((double)(random_bits() % 4001) - 2000) / 1000};
            te_value_store(d, k->arg[outer->param], at, v);
            te_value_store(d, k->want[outer->param], at, v);
        }
}

void kernel_fill(kernel *k, const int64_t *dim, uint64_t seed)
{
    state = 88172645463325252ull + seed * 977;
    for (int i = 0; i < k->f->n_dim; i++) k->dim[i] = dim[i];
    for (int i = 0; i < k->f->n_param; i++) {
        const lp_buf *b = k->f->param[i];
        if (b->within) continue;
        int bits = ll_dtype_bits((ll_dtype)b->t->dtype);
        const lp_layout *l =
            b->layout ? b->layout : lp_layout_dense(k->g, b->t->shape, b->t->ndim, bits);
        int64_t all = number(k, lp_layout_bits(k->g, l, b->t->shape, b->t->ndim, bits));
        k->bytes[i] = (size_t)((all + 7) / 8);
        size_t room = (k->bytes[i] + 127) & ~(size_t)63;
        k->arg[i] = aligned_alloc(64, room);
        k->want[i] = aligned_alloc(64, room);
        memset(k->arg[i], 0, room);
        if (b->given) fill(b->t, k, k->arg[i], k->bytes[i]);
        memcpy(k->want[i], k->arg[i], room);
    }
    for (int i = 0; i < k->f->n_param; i++)
        if (k->f->param[i]->within) fill_within(k, k->f->param[i]);
}

typedef struct team {
    llmir_team t;
    int64_t next, parts;
} team;

static int64_t claim(llmir_team *t, uint32_t thread)
{
    team *m = (team *)t;
    return m->next < m->parts ? m->next++ : -1;
}

void kernel_run(kernel *k)
{
    llmir_args a = {k->arg, k->dim};
    team m = {.t = {claim, 1}};
    m.parts = (int64_t)k->code.parts(&a);
    k->code.run(&a, &m.t, 0, k->scratch);
    assert_int_equal(m.next, m.parts);
}

static void compare(kernel *k, int i, double tol)
{
    const lp_buf *b = k->f->param[i];
    ll_dtype d = (ll_dtype)b->t->dtype;
    if (!ll_dtype_is_float(d)) {
        for (size_t at = 0; at < k->bytes[i]; at++) {
            int got = ((uint8_t *)k->arg[i])[at], want = ((uint8_t *)k->want[i])[at];
            if (got != want)
                fail_msg("%s: %s: byte %zu is %02x, wanted %02x", k->target.name, b->t->name, at,
                         got, want);
        }
        return;
    }
    size_t n = k->bytes[i] * 8 / (size_t)ll_dtype_bits(d);
    for (size_t at = 0; at < n; at++) {
        te_value got, want;
        te_value_load(d, k->arg[i], at, &got);
        te_value_load(d, k->want[i], at, &want);
        bool same = got.f == want.f || (isnan(got.f) && isnan(want.f)) ||
                    fabs(got.f - want.f) <= tol * (1 + fabs(want.f));
        if (!same)
            fail_msg("%s: %s: element %zu is %.9g, wanted %.9g", k->target.name, b->t->name, at,
                     got.f, want.f);
    }
}

ll_code kernel_eval(kernel *k, ll_error *err)
{
    lp_run run = {k->want, k->bytes, dim_of, k, 0};
    return lp_eval(k->f, &run, err);
}

void kernel_compare(kernel *k, double tol)
{
    for (int i = 0; i < k->f->n_param; i++)
        if (k->arg[i]) compare(k, i, tol);
}

int64_t kernel_number(kernel *k, te_ref e) { return number(k, e); }

bool kernel_try_check(kernel *k, double tol, ll_error *err)
{
    if (kernel_eval(k, err) != LL_OK) return false;
    kernel_run(k);
    kernel_compare(k, tol);
    return true;
}

void kernel_check(kernel *k, double tol)
{
    ll_error err = {0};
    if (!kernel_try_check(k, tol, &err)) fail_msg("lp_eval: %s", err.msg);
}

void same_as_eval(const char *text, const int64_t *dim, double tol)
{
    static const char *const target[] = {NULL, "cpu:x86-64-v3", "cpu:x86-64-v4"};
    ll_target here;
    ll_target_native(&here);
    for (int i = 0; i < 3; i++) {
        kernel k;
        ll_target t;
        const char *missing;
        if (target[i] &&
            (ll_target_parse(target[i], &t, NULL) != LL_OK || !ll_target_runs(&t, &here, &missing)))
            continue;
        kernel_open(&k, text, target[i]);
        kernel_fill(&k, dim, (uint64_t)i);
        kernel_check(&k, tol);
        kernel_close(&k);
    }
}

void refused(const char *text, const char *target, const char *part)
{
    kernel k;
    ll_error err = {0};
    assert_false(kernel_compile(&k, text, target, 0, &err));
    if (!strstr(err.msg, part)) fail_msg("\"%s\" lacks \"%s\"", err.msg, part);
}

/* operator.c: an operator of your own, from its expression to a call, with every level printed.
 *
 *     operator [TRACE_LINE...]      for instance: operator "split far.k 8" "vectorize far.k.i"
 *
 * The operator is the squared distance of a vector to each row of a table, which no model uses. The result of the
 * machine code is compared with te_eval, which computes the expression itself. It uses the compiler's own folders
 * (te, schedule, codegen); a program that only runs models needs <llmir/llmir.h> alone: see generate.c. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "codegen/codegen.h"
#include "schedule/sch.h"
#include "te/te.h"
#include <llmir/module_abi.h>

enum { ROWS = 1000, COLS = 192 };
static float x[COLS] __attribute__((aligned(64))), table[ROWS][COLS] __attribute__((aligned(64))), far[ROWS] __attribute__((aligned(64)));
static char scratch[1 << 16] __attribute__((aligned(64)));

/* A team of one thread: parts n-1 .. 0, then -1. The runtime has a team of all threads. */
static int64_t parts_left;
static int64_t claim(llmir_team *team, uint32_t thread) { return parts_left > 0 ? --parts_left : -1; }

static void show(const char *title, const char *text) { printf("---- %s\n%s\n", title, text); }

static ll_code compile(sch *s, llmir_kernel_code *out, ll_error *err)
{
    const char *name = s->fn->name;
    char path[] = "/tmp/operator-XXXXXX.so";
    int fd = mkstemps(path, 3);
    if (fd < 0) return ll_fail(err, LL_FAILED, "%s cannot be made", path);
    close(fd);
    cg_job job = {.fn = s->fn, .target = s->target, .want = CG_WANT_ASM};
    ll_code rc = cg_compile(&job, 1, 1, err);
    if (rc) *err = job.error;
    void *object[2] = {job.code.object};
    size_t bytes[2] = {job.code.object_bytes};
    if (!rc && job.code.scratch_bytes > sizeof scratch) rc = ll_fail(err, LL_FAILED, "a thread needs %zu bytes of scratch, there are %zu", job.code.scratch_bytes, sizeof scratch);
    if (!rc) show("machine code", job.code.assembly);
    if (!rc) rc = cg_table_object(s->target, &name, 1, "", 1, &object[1], &bytes[1], err);
    if (!rc) rc = cg_link(path, object, bytes, 2, err);
    void *so = rc ? NULL : dlopen(path, RTLD_NOW);
    const llmir_module *m = so ? dlsym(so, "llmir_module_v1") : NULL;
    if (!rc && !m) rc = ll_fail(err, LL_FAILED, "%s", dlerror());
    if (!rc) *out = m->kernel[0];
    unlink(path);
    free(object[1]);
    cg_code_finish(&job.code);
    return rc;
}

static ll_code run(int n_line, char **line, ll_error *err)
{
    te_graph *g = te_graph_create();
    te_tensor *in = te_input(g, "x", LL_F32, te_int(g, COLS)), *rows = te_weight(te_input(g, "table", LL_F32, te_int(g, ROWS), te_int(g, COLS)));
    te_ref i = te_axis(g, "i", te_int(g, ROWS)), k = te_axis(g, "k", te_int(g, COLS));
    te_ref d = te_sub(te_at(rows, i, k), te_at(in, k));
    te_tensor *out = te_def(g, "far", te_sum(te_mul(d, d), k), i);
    if (te_error(g)) return *err = *te_error(g), err->code;
    ll_str text = {0};
    te_print(&text, g);
    show("expression", ll_str_cstr(&text));

    ll_target target;
    ll_target_native(&target);
    sch *s = sch_create(g, "distance", &out, 1, &target, err);
    if (!s) return err->code;
    static char *usual[] = {"split far.k 16", "vectorize far.k.i", "split far.i 64", "claim far.i.o"};
    if (!n_line) line = usual, n_line = 4;
    for (int l = 0; l < n_line; l++)
        if (sch_do(s, line[l]) != LL_OK) return ll_fail(err, s->error.code, "%s: %s", line[l], s->error.msg);
    show("trace", ll_str_cstr(&s->trace));
    ll_str_finish(&text);
    lp_print(&text, s->fn);
    show("loops", ll_str_cstr(&text));
    ll_str_finish(&text);

    llmir_kernel_code kernel = {0};
    if (compile(s, &kernel, err)) return err->code;
    void *buf[] = {x, table, far}; /* in the order that the loops print */
    llmir_args args = {.buf = buf};
    llmir_team team = {claim, 1};
    parts_left = (int64_t)kernel.parts(&args);
    kernel.run(&args, &team, 0, scratch);

    te_env *e = te_env_create(g);
    const te_value *want;
    size_t n;
    ll_code rc = te_env_bind_mem(e, in, x, sizeof x, err);
    if (!rc) rc = te_env_bind_mem(e, rows, table, sizeof table, err);
    if (!rc) rc = te_eval(e, out, &want, &n, err);
    double worst = 0;
    for (size_t r = 0; !rc && r < n; r++) worst = fmax(worst, fabs(far[r] - want[r].f) / (1 + fabs(want[r].f)));
    if (!rc) printf("---- result\n%zu rows; largest relative difference to te_eval %.1e\n", n, worst);
    te_env_destroy(e);
    sch_destroy(s);
    te_graph_destroy(g);
    return rc ? rc : worst < 1e-5 ? LL_OK : ll_fail(err, LL_FAILED, "the result is wrong");
}

int main(int argc, char **argv)
{
    for (int k = 0; k < COLS; k++) x[k] = (float)(k % 7) - 3;
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < COLS; k++) table[i][k] = (float)((i * 31 + k * 17) % 101) / 50 - 1;
    ll_error err = {0};
    if (run(argc - 1, argv + 1, &err) == LL_OK) return 0;
    fprintf(stderr, "operator: %s\n", err.msg);
    return 1;
}

/* kernel.c: times one kernel of loop text (measure.h).
 *
 *     kernel FILE.loop [--target T] [--mb N] [--threads N] [--reps N] [--ops N] [--asm]
 *            [--llvm] [DIM=VALUE...]
 *
 * Prints microseconds of a call (best and median), GB/s of the weight beside reading it by the same
 * threads, and operations per second when --ops says how many a call makes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "measure.h"

enum { MAX_ARG = 64, MAX_REPS = 1000 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct options {
    const char *file, *target;
    int mb, reps, threads;
    double ops;
    unsigned want;
    int n_dim;
    const char *dim[MAX_ARG];
    int64_t value[MAX_ARG];
} options;

static options read_options(int argc, char **argv)
{
    options o = {.target = "cpu", .mb = 512, .reps = 7, .threads = 1};
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        char *eq = strchr(argv[i], '=');
        if (!strcmp(argv[i], "--target"))
            o.target = next, i++;
        else if (!strcmp(argv[i], "--mb"))
            o.mb = atoi(next), i++;
        else if (!strcmp(argv[i], "--reps"))
            o.reps = atoi(next), i++;
        else if (!strcmp(argv[i], "--threads"))
            o.threads = atoi(next), i++;
        else if (!strcmp(argv[i], "--ops"))
            o.ops = atof(next), i++;
        else if (!strcmp(argv[i], "--asm"))
            o.want |= CG_WANT_ASM;
        else if (!strcmp(argv[i], "--llvm"))
            o.want |= CG_WANT_LLVM;
        else if (eq)
            *eq = 0, o.dim[o.n_dim] = argv[i], o.value[o.n_dim++] = atoll(eq + 1);
        else
            o.file = argv[i];
    }
    if (!o.file || o.reps < 1 || o.reps > MAX_REPS)
        bench_die("usage: kernel FILE.loop [--target T] [--mb N] [--threads N] [--reps N] "
                  "[--ops N] [--asm] [--llvm] [DIM=VALUE...]");
    return o;
}

static int64_t dim_value(void *user, const char *name)
{
    const options *o = user;
    for (int i = 0; i < o->n_dim; i++)
        if (!strcmp(o->dim[i], name)) return o->value[i];
    return 0;
}

int main(int argc, char **argv)
{
    options o = read_options(argc, argv);
    ll_error err = {0};
    void *text;
    size_t n_text;
    if (ll_file_read(o.file, 1 << 24, &text, &n_text, &err) != LL_OK) bench_die(err.msg);
    lp_func *f = lp_parse(te_graph_create(), text, o.file, &err);
    if (!f) bench_die(err.msg);
    ll_target target;
    if (ll_target_parse(o.target, &target, &err) != LL_OK) bench_die(err.msg);
    bench_threads(o.threads);
    bench_kernel *k = bench_open(&(bench_call){
        .fn = f, .target = &target, .want = o.want, .mb = o.mb, .dim = dim_value, .user = &o});
    double t[MAX_REPS], read = 0;
    for (int r = 0; r < o.reps; r++) {
        t[r] = bench_round(k);
        double one = bench_read(k);
        if (one > read) read = one;
    }
    qsort(t, (size_t)o.reps, sizeof *t, ascending);
    double rate = (double)bench_weight(k) / t[0];
    printf("%s %s threads %d: %.2f us (median %.2f)", f->name, target.name, o.threads, t[0] * 1e6,
           t[o.reps / 2] * 1e6);
    if (rate > 0) printf("  %.1f GB/s", rate / 1e9);
    if (read > 0) printf(" of read %.1f = %.0f%%", read / 1e9, 100 * rate / read);
    if (o.ops > 0) printf("  %.0f Gop/s", o.ops / t[0] / 1e9);
    printf("  scratch %zu, compiled in %.1f ms\n", bench_scratch(k),
           bench_compile_seconds(k) * 1e3);
    bench_close(k);
    return 0;
}

/* kernel.c: times one kernel of loop text. The largest `weight` parameter is rotated over copies,
 * so it comes from memory; with --mb 0 there is one copy and it stays in the cache.
 *
 *     kernel FILE.loop [--target T] [--mb N] [--threads N] [--reps N] [--ops N] [--asm]
 *            [--llvm] [DIM=VALUE...]
 *
 * Prints microseconds of a call (best and median), GB/s of the weight beside reading it by the same
 * threads, and operations per second when --ops says how many a call makes. */
#include <dlfcn.h>
#include <immintrin.h>
#include <llmir/module_abi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "codegen/codegen.h"

enum { MAX_ARG = 64, MAX_THREAD = 64, PIECE = 1 << 18 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

_Noreturn static void die(const char *msg)
{
    fprintf(stderr, "kernel: %s\n", msg);
    exit(1);
}

static void *pages(size_t n)
{
    n = (n + (4u << 20)) & ~(size_t)((2u << 20) - 1);
    char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("out of memory");
    p = (char *)(((uintptr_t)p + (2u << 20) - 1) & ~(uintptr_t)((2u << 20) - 1));
    madvise(p, n - (2u << 20), MADV_HUGEPAGE);
    return p;
}

/* ---- a team: own contiguous range first, then the other ranges ---- */

typedef struct range {
    _Alignas(128) atomic_long next;
    long end;
} range;

typedef struct team {
    llmir_team t;
    range r[MAX_THREAD];
} team;

static int64_t claim(llmir_team *lt, uint32_t thread)
{
    team *t = (team *)lt;
    for (uint32_t i = 0; i < t->t.n_threads; i++) {
        range *r = &t->r[(thread + i) % t->t.n_threads];
        if (atomic_load_explicit(&r->next, memory_order_relaxed) >= r->end) continue;
        long v = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);
        if (v < r->end) return v;
    }
    return -1;
}

static void deal(team *t, long parts)
{
    long n = t->t.n_threads;
    for (long i = 0; i < n; i++) {
        atomic_store(&t->r[i].next, parts * i / n);
        t->r[i].end = parts * (i + 1) / n;
    }
}

typedef struct call {
    team team;
    void *buf[MAX_ARG];
    llmir_args args;
} call;

static struct {
    llmir_kernel_code code;
    call *call;
    int n_call, threads, n_buf;
    const uint8_t *data;
    size_t bytes;
    void *scratch[MAX_THREAD];
    _Alignas(128) atomic_int go;
    _Alignas(128) atomic_int done;
    _Alignas(128) atomic_int at_call;
    _Alignas(128) atomic_int arrived;
    bool reading;
} g;

static void barrier(int c)
{
    if (g.threads == 1) return;
    if (atomic_fetch_add(&g.arrived, 1) + 1 == g.threads) {
        atomic_store(&g.arrived, 0);
        atomic_store(&g.at_call, c + 1);
    } else {
        while (atomic_load_explicit(&g.at_call, memory_order_acquire) <= c) _mm_pause();
    }
}

static volatile uint8_t sinkhole;

__attribute__((target("avx2"))) static void read_share(int thread)
{
    size_t n = g.bytes / (size_t)g.threads & ~(size_t)255;
    const uint8_t *p = g.data + n * (size_t)thread;
    __m256i a = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 64) {
        _mm_prefetch((const char *)p + i + 4096, _MM_HINT_T0);
        a = _mm256_or_si256(a, _mm256_or_si256(_mm256_load_si256((const __m256i *)(p + i)),
                                               _mm256_load_si256((const __m256i *)(p + i + 32))));
    }
    sinkhole = (uint8_t)_mm256_extract_epi8(a, 0);
}

static void work(int thread)
{
    if (g.reading) {
        read_share(thread);
        return;
    }
    for (int c = 0; c < g.n_call; c++) {
        g.code.run(&g.call[c].args, &g.call[c].team.t, (uint32_t)thread, g.scratch[thread]);
        barrier(c);
    }
}

static void *worker(void *arg)
{
    int id = (int)(intptr_t)arg;
    for (int turn = 1;; turn++) {
        while (atomic_load_explicit(&g.go, memory_order_acquire) < turn) _mm_pause();
        work(id);
        atomic_fetch_add(&g.done, 1);
    }
    return NULL;
}

static double round_trip(void)
{
    for (int c = 0; c < g.n_call; c++) deal(&g.call[c].team, (long)g.code.parts(&g.call[c].args));
    atomic_store(&g.at_call, 0);
    atomic_store(&g.done, 0);
    double t = now();
    atomic_fetch_add(&g.go, 1);
    work(0);
    while (atomic_load(&g.done) < g.threads - 1) _mm_pause();
    return now() - t;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- the kernel ---- */

typedef struct options {
    const char *file, *target;
    int mb, reps;
    double ops;
    unsigned want;
    int n_dim;
    const char *dim[MAX_ARG];
    int64_t value[MAX_ARG];
} options;

static options read_options(int argc, char **argv)
{
    options o = {.target = "cpu", .mb = 512, .reps = 7};
    g.threads = 1;
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
            g.threads = atoi(next), i++;
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
    if (!o.file || g.threads < 1 || g.threads > MAX_THREAD || o.reps < 1 || o.reps > 1000)
        die("usage: kernel FILE.loop [--target T] [--mb N] [--threads N] [--reps N] [--ops N] "
            "[--asm] [--llvm] [DIM=VALUE...]");
    return o;
}

static int64_t number(const lp_func *f, te_ref e, const int64_t *dim)
{
    te_ref to[MAX_ARG];
    for (int i = 0; i < f->n_dim; i++) to[i] = te_int(f->g, dim[i]);
    e = te_simplify(f->g, te_subst(f->g, e, f->dim, to, f->n_dim));
    return e->op == TE_INT ? e->u.i : 0;
}

static void load(cg_job *job, ll_error *err)
{
    void *object[2] = {job->code.object, NULL};
    size_t bytes[2] = {job->code.object_bytes, 0};
    char path[] = "/tmp/llmir-kernel-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 ||
        cg_table_object(job->target, &job->fn->name, 1, "", 0, &object[1], &bytes[1], err) !=
            LL_OK ||
        cg_link(path, object, bytes, 2, err) != LL_OK)
        die(err->msg);
    close(fd);
    void *lib = dlopen(path, RTLD_NOW);
    unlink(path);
    if (!lib) die(dlerror());
    g.code = ((const llmir_module *)dlsym(lib, LLMIR_MODULE_SYMBOL))->kernel[0];
}

/* Small numbers; indices inside their range. */
static void fill(const lp_func *f, const te_tensor *t, const int64_t *dim, uint8_t *p, size_t n)
{
    uint64_t s = 88172645463325252ull;
    if (t->hi) {
        int64_t lo = t->lo ? number(f, t->lo, dim) : 0, hi = number(f, t->hi, dim);
        size_t count = n * 8 / (size_t)ll_dtype_bits((ll_dtype)t->dtype);
        for (size_t i = 0; i < count; i++) {
            s = s * 6364136223846793005ull + 1442695040888963407ull;
            te_value_store((ll_dtype)t->dtype, p, i,
                           (te_value){.i = lo + (int64_t)((s >> 33) % (uint64_t)(hi - lo))});
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        p[i] = t->dtype == LL_F32 || t->dtype == LL_F16 ? (i % 2 ? 0x2c : (uint8_t)(s >> 20))
                                                        : (uint8_t)(s >> 20);
    }
}

int main(int argc, char **argv)
{
    options o = read_options(argc, argv);
    ll_error err = {0};
    void *text;
    size_t n_text;
    if (ll_file_read(o.file, 1 << 24, &text, &n_text, &err) != LL_OK) die(err.msg);
    te_graph *graph = te_graph_create();
    lp_func *f = lp_parse(graph, text, o.file, &err);
    if (!f) die(err.msg);
    ll_target target;
    if (ll_target_parse(o.target, &target, &err) != LL_OK) die(err.msg);
    cg_job job = {.fn = f, .target = &target, .want = o.want};
    if (cg_compile_here(&job, &err) != LL_OK) die(err.msg);
    if (job.code.llvm_ir) puts(job.code.llvm_ir);
    if (job.code.assembly) puts(job.code.assembly);
    load(&job, &err);
    int64_t dim[MAX_ARG] = {0};
    for (int i = 0; i < f->n_dim; i++)
        for (int k = 0; k < o.n_dim; k++)
            if (!strcmp(f->dim[i]->u.dim->name, o.dim[k])) dim[i] = o.value[k];
    size_t size[MAX_ARG] = {0}, heavy = 0;
    int weight = -1;
    for (int i = 0; i < f->n_param; i++) {
        const lp_buf *b = f->param[i];
        if (b->within) continue;
        int bits = ll_dtype_bits((ll_dtype)b->t->dtype);
        const lp_layout *l =
            b->layout ? b->layout : lp_layout_dense(graph, b->t->shape, b->t->ndim, bits);
        size[i] =
            (size_t)(number(f, lp_layout_bits(graph, l, b->t->shape, b->t->ndim, bits), dim) + 7) /
            8;
        if (b->t->weight && size[i] > heavy) heavy = size[i], weight = i;
    }
    int copies = weight < 0 || !o.mb ? 1 : (int)(((size_t)o.mb << 20) / heavy) + 1;
    uint8_t *data = weight < 0 ? NULL : pages(heavy * (size_t)copies + 65536);
    g.call = aligned_alloc(128, sizeof *g.call * (size_t)copies);
    g.n_call = copies;
    void *arg[MAX_ARG] = {NULL};
    for (int i = 0; i < f->n_param; i++) {
        if (f->param[i]->within) continue;
        arg[i] = i == weight ? data : pages(size[i] + 65536);
        fill(f, f->param[i]->t, dim, arg[i], size[i]);
    }
    for (int c = 0; c < copies; c++) {
        call *k = &g.call[c];
        memset(k, 0, sizeof *k);
        k->team.t = (llmir_team){claim, (uint32_t)g.threads};
        memcpy(k->buf, arg, sizeof k->buf);
        if (weight >= 0) k->buf[weight] = data + heavy * (size_t)c;
        if (c) memcpy(k->buf[weight], data, heavy);
        k->args = (llmir_args){k->buf, dim};
    }
    for (int i = 0; i < g.threads; i++) g.scratch[i] = pages(job.code.scratch_bytes + 4096);
    pthread_t id;
    for (int i = 1; i < g.threads; i++) pthread_create(&id, NULL, worker, (void *)(intptr_t)i);
    double t[1000], read = 0;
    g.data = data;
    g.bytes = heavy * (size_t)copies;
    int inner = copies == 1 ? 200 : 1;
    for (int r = 0; r < o.reps; r++) {
        t[r] = 1e9;
        for (int k = 0; k < inner; k++) {
            double one = round_trip() / copies;
            if (one < t[r]) t[r] = one;
        }
        if (weight < 0 || copies == 1) continue;
        g.reading = true;
        double one = round_trip();
        g.reading = false;
        if ((double)g.bytes / one > read) read = (double)g.bytes / one;
    }
    qsort(t, (size_t)o.reps, sizeof *t, ascending);
    printf("%s %s threads %d: %.2f us (median %.2f)", f->name, target.name, g.threads, t[0] * 1e6,
           t[o.reps / 2] * 1e6);
    if (weight >= 0) printf("  %.1f GB/s", (double)heavy / t[0] / 1e9);
    if (read > 0) printf(" of read %.1f = %.0f%%", read / 1e9, 100 * (double)heavy / t[0] / read);
    if (o.ops > 0) printf("  %.0f Gop/s", o.ops / t[0] / 1e9);
    printf("  scratch %zu, compiled in %.1f ms\n", job.code.scratch_bytes, job.code.seconds * 1e3);
    return 0;
}

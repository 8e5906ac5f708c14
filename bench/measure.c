/* measure.c: see measure.h. */
#include "measure.h"

#include <dlfcn.h>
#include <errno.h>
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

enum { MAX_ARG = 64, MAX_THREAD = 64, HUGE_PAGE = 2 << 20, MAX_CALLS = 200 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

_Noreturn void bench_die(const char *msg)
{
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, msg);
    exit(1);
}

/* ---- memory in huge pages ---- */

typedef struct block {
    void *p;
    size_t n;
} block;

static block pages(size_t n)
{
    n = (n + HUGE_PAGE - 1) & ~(size_t)(HUGE_PAGE - 1);
    char *p = mmap(NULL, n + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) bench_die("out of memory");
    char *at = (char *)(((uintptr_t)p + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    if (at > p) munmap(p, (size_t)(at - p));
    if (p + HUGE_PAGE > at) munmap(at + n, (size_t)(p + HUGE_PAGE - at));
    madvise(at, n, MADV_HUGEPAGE);
    return (block){at, n};
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

struct bench_kernel {
    void *lib;
    llmir_kernel_code code;
    call *call;
    int n_call, weight; /* parameter that is rotated, or -1 */
    block data, arg[MAX_ARG], scratch[MAX_THREAD];
    size_t heavy, bytes, scratch_bytes;
    int64_t dim[MAX_ARG];
    double compile_seconds;
};

static struct {
    int threads;
    bench_kernel *k; /* whose turn it is */
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
    size_t n = (g.k->heavy * (size_t)g.k->n_call) / (size_t)g.threads & ~(size_t)255;
    const uint8_t *p = (const uint8_t *)g.k->data.p + n * (size_t)thread;
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
    for (int c = 0; c < g.k->n_call; c++) {
        call *one = &g.k->call[c];
        g.k->code.run(&one->args, &one->team.t, (uint32_t)thread, g.k->scratch[thread].p);
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
    for (int c = 0; c < g.k->n_call; c++)
        deal(&g.k->call[c].team, (long)g.k->code.parts(&g.k->call[c].args));
    atomic_store(&g.at_call, 0);
    atomic_store(&g.done, 0);
    double t = now();
    atomic_fetch_add(&g.go, 1);
    work(0);
    while (atomic_load(&g.done) < g.threads - 1) _mm_pause();
    return now() - t;
}

void bench_threads(int n)
{
    pthread_t id;
    if (n < 1 || n > MAX_THREAD) bench_die("1 to 64 threads are wanted");
    g.threads = n;
    for (int i = 1; i < n; i++)
        if (pthread_create(&id, NULL, worker, (void *)(intptr_t)i)) bench_die("no thread");
}

/* ---- a kernel ---- */

static int64_t number(const lp_func *f, te_ref e, const int64_t *dim)
{
    te_ref to[MAX_ARG];
    for (int i = 0; i < f->n_dim; i++) to[i] = te_int(f->g, dim[i]);
    e = te_simplify(f->g, te_subst(f->g, e, f->dim, to, f->n_dim));
    return e->op == TE_INT ? e->u.i : 0;
}

static void load(bench_kernel *k, cg_job *job, ll_error *err)
{
    void *object[2] = {job->code.object, NULL};
    size_t bytes[2] = {job->code.object_bytes, 0};
    char path[] = "/tmp/llmir-kernel-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 ||
        cg_table_object(job->target, &job->fn->name, 1, "", 0, &object[1], &bytes[1], err) !=
            LL_OK ||
        cg_link(path, object, bytes, 2, err) != LL_OK)
        bench_die(err->msg);
    close(fd);
    k->lib = dlopen(path, RTLD_NOW);
    unlink(path);
    if (!k->lib) bench_die(dlerror());
    k->code = ((const llmir_module *)dlsym(k->lib, LLMIR_MODULE_SYMBOL))->kernel[0];
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

static size_t param_bytes(const lp_func *f, const lp_buf *b, const int64_t *dim)
{
    int bits = ll_dtype_bits((ll_dtype)b->t->dtype);
    const lp_layout *l =
        b->layout ? b->layout : lp_layout_dense(f->g, b->t->shape, b->t->ndim, bits);
    te_ref n = lp_layout_bits(f->g, l, b->t->shape, b->t->ndim, bits);
    return (size_t)(number(f, n, dim) + 7) / 8;
}

/* Memory of the parameters; the largest weight gets room for its copies. */
static void make_buffers(bench_kernel *k, const bench_call *c)
{
    const lp_func *f = c->fn;
    size_t size[MAX_ARG] = {0};
    for (int i = 0; i < f->n_param; i++) {
        if (f->param[i]->within) continue;
        size[i] = param_bytes(f, f->param[i], k->dim);
        k->bytes += size[i];
        if (f->param[i]->t->weight && size[i] > k->heavy) k->heavy = size[i], k->weight = i;
    }
    if (k->weight >= 0 && c->mb) k->n_call = (int)(((size_t)c->mb << 20) / k->heavy) + 1;
    for (int i = 0; i < f->n_param; i++) {
        if (f->param[i]->within) continue;
        k->arg[i] = pages(size[i] * (size_t)(i == k->weight ? k->n_call : 1) + 65536);
        const te_tensor *t = f->param[i]->t;
        if (!c->fill || !c->fill(c->user, t, k->arg[i].p, size[i]))
            fill(f, t, k->dim, k->arg[i].p, size[i]);
    }
    if (k->weight >= 0) k->data = k->arg[k->weight];
}

static void make_calls(bench_kernel *k)
{
    k->call = aligned_alloc(128, sizeof *k->call * (size_t)k->n_call);
    if (!k->call) bench_die("out of memory");
    for (int n = 0; n < k->n_call; n++) {
        call *one = &k->call[n];
        memset(one, 0, sizeof *one);
        one->team.t = (llmir_team){claim, (uint32_t)g.threads};
        for (int i = 0; i < MAX_ARG; i++) one->buf[i] = k->arg[i].p;
        if (k->weight >= 0) one->buf[k->weight] = (char *)k->data.p + k->heavy * (size_t)n;
        if (n) memcpy(one->buf[k->weight], k->data.p, k->heavy);
        one->args = (llmir_args){one->buf, k->dim};
    }
}

bench_kernel *bench_open(const bench_call *c)
{
    ll_error err = {0};
    bench_kernel *k = calloc(1, sizeof *k);
    if (!k) bench_die("out of memory");
    if (c->fn->n_param > MAX_ARG || c->fn->n_dim > MAX_ARG) bench_die("too many parameters");
    k->weight = -1, k->n_call = 1;
    cg_job job = {.fn = c->fn, .target = c->target, .want = c->want};
    if (cg_compile_here(&job, &err) != LL_OK) bench_die(err.msg);
    if (job.code.llvm_ir) puts(job.code.llvm_ir);
    if (job.code.assembly) puts(job.code.assembly);
    load(k, &job, &err);
    k->scratch_bytes = job.code.scratch_bytes, k->compile_seconds = job.code.seconds;
    cg_code_finish(&job.code);
    for (int i = 0; i < c->fn->n_dim; i++) k->dim[i] = c->dim(c->user, c->fn->dim[i]->u.dim->name);
    make_buffers(k, c);
    make_calls(k);
    for (int i = 0; i < g.threads; i++) k->scratch[i] = pages(k->scratch_bytes + 4096);
    return k;
}

double bench_round(bench_kernel *k)
{
    double best = 1e9, start = now();
    g.k = k;
    for (int i = 0; i < MAX_CALLS && (!i || now() - start < 0.05); i++) {
        double one = round_trip() / k->n_call;
        if (one < best) best = one;
    }
    return best;
}

double bench_read(bench_kernel *k)
{
    if (k->n_call == 1) return 0;
    g.k = k;
    g.reading = true;
    double one = round_trip();
    g.reading = false;
    return (double)k->heavy * k->n_call / one;
}

size_t bench_weight(const bench_kernel *k) { return k->heavy; }
size_t bench_bytes(const bench_kernel *k) { return k->bytes; }
size_t bench_scratch(const bench_kernel *k) { return k->scratch_bytes; }
double bench_compile_seconds(const bench_kernel *k) { return k->compile_seconds; }

void bench_close(bench_kernel *k)
{
    for (int i = 0; i < MAX_ARG; i++)
        if (k->arg[i].n) munmap(k->arg[i].p, k->arg[i].n);
    for (int i = 0; i < MAX_THREAD; i++)
        if (k->scratch[i].n) munmap(k->scratch[i].p, k->scratch[i].n);
    dlclose(k->lib);
    free(k->call);
    free(k);
}

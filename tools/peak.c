/* peak.c: see peak.h. Each thread reads its own part of a buffer (192 MiB: larger than the caches of most machines, but
 * not of all), then runs chains of independent multiply-adds. Of reading, the slowest thread's time counts. */
#include "tools/peak.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/tool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MAX_THREADS = 256, ROUNDS = 4, CHAINS = 12 };

typedef struct gate { /* holds the threads of a round until all are there */
    atomic_uint waiting;
    atomic_int go; /* 1: work, -1: go home, some could not be made */
} gate;

typedef struct job {
    const uint64_t *from;
    size_t n;
    double (*work)(const struct job *);
    double result;
    gate *gate;
} job;

static volatile uint64_t sink;

/* Without it the chains are an array in memory, and the rate is that of storing and loading it. */
#define UNROLLED _Pragma("GCC unroll 16")

/* 64 bytes at a time; the compiler makes vector loads of it. */
static double read_job(const job *j)
{
    uint64_t s[8] = {0};
    double t = tool_now();
    for (size_t i = 0; i + 8 <= j->n; i += 8)
        UNROLLED for (int k = 0; k < 8; k++) s[k] += j->from[i + (size_t)k];
    t = tool_now() - t;
    UNROLLED for (int k = 0; k < 8; k++) sink += s[k];
    return t;
}

#if defined(__x86_64__)
enum { LOOPS = 400000 };

__attribute__((target("avx512f,avx512vnni"))) static double dot_512(const job *j)
{
    (void)j;
    __m512i acc[CHAINS], a = _mm512_set1_epi32(0x01020304), b = _mm512_set1_epi32(0x01010101);
    UNROLLED for (int k = 0; k < CHAINS; k++) acc[k] = _mm512_set1_epi32(k);
    double t = tool_now();
    for (int i = 0; i < LOOPS; i++) {
        UNROLLED for (int k = 0; k < CHAINS; k++) acc[k] = _mm512_dpbusd_epi32(acc[k], a, b);
        __asm__ volatile("" ::: "memory");
    }
    t = tool_now() - t;
    UNROLLED for (int k = 0; k < CHAINS; k++) sink += (uint64_t)_mm512_reduce_add_epi32(acc[k]);
    return 128.0 * CHAINS * LOOPS / t; /* 64 multiplies and adds each */
}

__attribute__((target("avx512f"))) static double fma_512(const job *j)
{
    (void)j;
    __m512 acc[CHAINS], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
    UNROLLED for (int k = 0; k < CHAINS; k++) acc[k] = _mm512_set1_ps((float)k);
    double t = tool_now();
    for (int i = 0; i < LOOPS; i++) {
        UNROLLED for (int k = 0; k < CHAINS; k++) acc[k] = _mm512_fmadd_ps(acc[k], a, b);
        __asm__ volatile("" ::: "memory");
    }
    t = tool_now() - t;
    UNROLLED for (int k = 0; k < CHAINS; k++) sink += (uint64_t)_mm512_reduce_add_ps(acc[k]);
    return 32.0 * CHAINS * LOOPS / t;
}

__attribute__((target("avx2,fma"))) static double fma_256(const job *j)
{
    (void)j;
    __m256 acc[CHAINS], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    float out[8];
    UNROLLED for (int k = 0; k < CHAINS; k++) acc[k] = _mm256_set1_ps((float)k);
    double t = tool_now();
    for (int i = 0; i < LOOPS; i++) {
        UNROLLED for (int k = 0; k < CHAINS; k++) acc[k] = _mm256_fmadd_ps(acc[k], a, b);
        __asm__ volatile("" ::: "memory");
    }
    t = tool_now() - t;
    UNROLLED for (int k = 0; k < CHAINS; k++) _mm256_storeu_ps(out, acc[k]), sink += (uint64_t)out[k % 8];
    return 16.0 * CHAINS * LOOPS / t;
}
#endif

static void *run_job(void *arg)
{
    job *j = arg;
    int go;
    atomic_fetch_add(&j->gate->waiting, 1);
    while (!(go = atomic_load(&j->gate->go))) sched_yield();
    if (go > 0) j->result = j->work(j);
    return NULL;
}

/* Runs one job per thread, started together; false when a thread cannot be made. */
static bool together(job *j, unsigned n)
{
    pthread_t th[MAX_THREADS];
    gate g = {0};
    unsigned made = 1;
    for (unsigned i = 0; i < n; i++) j[i].gate = &g;
    while (made < n && pthread_create(&th[made], NULL, run_job, &j[made]) == 0) made++;
    while (made == n && atomic_load(&g.waiting) < n - 1) sched_yield();
    atomic_store(&g.go, made == n ? 1 : -1);
    if (made == n) j[0].result = j[0].work(&j[0]);
    for (unsigned i = 1; i < made; i++) pthread_join(th[i], NULL);
    return made == n;
}

/* More than the last cache holds, so that memory is read; at most an eighth of memory. */
static size_t read_bytes(void)
{
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE), pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t want = cache > 0 ? (size_t)cache * 2 : 0, most = pages > 0 && page > 0 ? (size_t)pages / 8 * (size_t)page : 0;
    if (want < (192 << 20)) want = 192 << 20;
    return want > most && most ? most : want;
}

static double measure_read(unsigned n)
{
    size_t bytes = read_bytes();
    uint64_t *p =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return 0;
    madvise(p, bytes, MADV_HUGEPAGE);
    memset(p, 1, bytes);
    job j[MAX_THREADS];
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double slowest = 0;
        for (unsigned i = 0; i < n; i++)
            j[i] = (job){.from = p + bytes / 8 / n * i,
                         .n = bytes / 8 / n,
                         .work = read_job};
        if (!together(j, n)) break;
        for (unsigned i = 0; i < n; i++) slowest = j[i].result > slowest ? j[i].result : slowest;
        if (slowest > 0 && (double)bytes / slowest > best) best = (double)bytes / slowest;
    }
    munmap(p, bytes);
    return best / 1e9;
}

static double measure_ops(unsigned n, double (*work)(const job *))
{
    job j[MAX_THREADS];
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double sum = 0;
        for (unsigned i = 0; i < n; i++) j[i] = (job){.work = work};
        if (!together(j, n)) break;
        for (unsigned i = 0; i < n; i++) sum += j[i].result;
        if (sum > best) best = sum;
    }
    return best / 1e9;
}

void tool_measure_limits(unsigned threads, tool_limits *out)
{
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    *out = (tool_limits){.read_gbs = measure_read(threads)};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vnni")) out->int8_gops = measure_ops(threads, dot_512);
    if (__builtin_cpu_supports("avx512f"))
        out->f32_gops = measure_ops(threads, fma_512);
    else if (__builtin_cpu_supports("fma"))
        out->f32_gops = measure_ops(threads, fma_256);
#endif
}

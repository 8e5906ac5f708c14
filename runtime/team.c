/* team.c: see team.h. */
#include "runtime/team.h"

#include <errno.h>
#include <fenv.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPIN = 2000, PART_BITS = 24, LINE = 128 };
#define PART_MASK (((uint64_t)1 << PART_BITS) - 1)

/* What a thread knows about the step it is in. Only that thread touches it, except `range`. */
typedef struct slot {
    _Alignas(LINE) _Atomic uint64_t range;
    _Alignas(LINE) uint64_t seq, parts;
    int64_t first;     /* the part claimed before the kernel was entered, -1 when handed out */
    uint64_t finished; /* parts finished and not yet added to `done` */
    bool inside;
    char *scratch;
    pthread_t thread;
    rt_team *team;
} slot;

struct rt_team {
    llmir_team pub; /* first: kernels get a pointer to it */
    uint32_t n_started;
    pid_t pid;
    char *scratch;
    size_t scratch_bytes;
    rt_run run;    /* written before a run opens, constant during it */
    uint64_t base; /* step number of run.step[0] */
    double opened; /* when the open step was opened (profiling) */
    ll_code outcome;
    size_t bad_step;
    uint64_t bad_parts;
    _Alignas(LINE) _Atomic uint64_t gate;
    _Alignas(LINE) _Atomic uint64_t done;
    _Alignas(LINE) _Atomic uint32_t sleepers;
    _Atomic bool quit;
    slot slot[];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* ---- the gate --------------------------------------------------------------------------- */
static long futex(rt_team *t, int op, uint32_t value)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the futex word is the gate's low half, which is taken to come first"
#endif
    return syscall(SYS_futex, (uint32_t *)(void *)&t->gate, op, value, NULL, NULL, 0);
}

static void open_gate(rt_team *t, uint64_t seq, uint64_t parts)
{
    atomic_store(&t->gate, seq << PART_BITS | parts);
    if (atomic_load(&t->sleepers)) futex(t, FUTEX_WAKE_PRIVATE, RT_TEAM_MAX);
}

/* Returns when the gate is no longer `seen`. */
static void wait_gate(rt_team *t, uint64_t seen)
{
    for (int i = 0; i < SPIN; i++) {
        if (atomic_load_explicit(&t->gate, memory_order_acquire) != seen) return;
        relax();
    }
    atomic_fetch_add(&t->sleepers, 1);
    while (atomic_load(&t->gate) == seen && !atomic_load(&t->quit))
        futex(t, FUTEX_WAIT_PRIVATE, (uint32_t)seen);
    atomic_fetch_sub(&t->sleepers, 1);
}

/* Opens step `at` of the run, or the first one after it that has parts, or ends the run. */
static void advance(rt_team *t, size_t at)
{
    for (; at < t->run.n_step; at++) {
        if (t->run.stop && t->run.stop(t->run.user)) {
            t->outcome = LL_CANCELLED;
            break;
        }
        const rt_step *s = &t->run.step[at];
        uint64_t parts = s->code.parts(&s->args);
        if (parts > RT_PARTS_MAX) {
            t->outcome = LL_FAILED;
            t->bad_step = at;
            t->bad_parts = parts;
            break;
        }
        if (!parts) continue;
        if (t->run.seconds) t->opened = now();
        open_gate(t, t->base + at, parts);
        return;
    }
    open_gate(t, t->base + t->run.n_step, 0);
}

/* ---- parts ------------------------------------------------------------------------------ */
/* The next part of step `seq` for this thread, or -1. Depends on nothing but the ranges. */
static int64_t take(rt_team *t, uint64_t seq, uint64_t parts, uint32_t thread)
{
    uint32_t n = t->pub.n_threads;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = thread + k < n ? thread + k : thread + k - n;
        uint64_t lo = parts * i / n, hi = parts * (i + 1) / n;
        if (lo == hi) continue;
        _Atomic uint64_t *range = &t->slot[i].range;
        uint64_t v = atomic_load_explicit(range, memory_order_relaxed);
        for (;;) {
            uint64_t step = v >> PART_BITS, next = step == seq ? v & PART_MASK : lo;
            if (step > seq) return -1; /* that step is long over */
            if (next >= hi) break;
            if (atomic_compare_exchange_weak_explicit(range, &v, seq << PART_BITS | (next + 1),
                                                      memory_order_acq_rel, memory_order_relaxed))
                return (int64_t)next;
        }
    }
    return -1;
}

/* Adds what this thread finished; the thread that completes the step opens the next one. */
static void report(rt_team *t, slot *me)
{
    uint64_t mine = me->finished;
    me->finished = 0;
    me->inside = false;
    if (atomic_fetch_add_explicit(&t->done, mine, memory_order_acq_rel) + mine != me->parts) return;
    size_t at = (size_t)(me->seq - t->base);
    if (t->run.seconds) t->run.seconds[at] += now() - t->opened;
    atomic_store_explicit(&t->done, 0, memory_order_relaxed);
    advance(t, at + 1);
}

static int64_t claim(llmir_team *pub, uint32_t thread)
{
    rt_team *t = (rt_team *)pub;
    slot *me = &t->slot[thread];
    if (!me->inside) return -1;
    int64_t part = me->first;
    if (part >= 0) {
        me->first = -1;
        return part;
    }
    me->finished++;
    part = take(t, me->seq, me->parts, thread);
    if (part < 0) report(t, me);
    return part;
}

/* Helps with the step that the gate value `v` shows, if a part of it is left. */
static void help(rt_team *t, uint32_t thread, uint64_t v)
{
    slot *me = &t->slot[thread];
    uint64_t seq = v >> PART_BITS, parts = v & PART_MASK;
    int64_t first = take(t, seq, parts, thread);
    if (first < 0) return;
    me->seq = seq;
    me->parts = parts;
    me->first = first;
    me->inside = true;
    const rt_step *s = &t->run.step[seq - t->base];
    s->code.run(&s->args, &t->pub, thread, me->scratch);
}

static void *worker(void *arg)
{
    slot *me = arg;
    rt_team *t = me->team;
    uint32_t thread = (uint32_t)(me - t->slot);
    char name[16];
    snprintf(name, sizeof name, "llmir-%u", thread);
    pthread_setname_np(pthread_self(), name);
    fesetenv(FE_DFL_ENV); /* a new thread inherits its maker's rounding and flush modes */
    while (!atomic_load_explicit(&t->quit, memory_order_acquire)) {
        uint64_t v = atomic_load_explicit(&t->gate, memory_order_acquire);
        if (v & PART_MASK) help(t, thread, v);
        wait_gate(t, v);
    }
    return NULL;
}

ll_code rt_team_run(rt_team *t, const rt_run *run, ll_error *err)
{
    if (t->pid != getpid())
        return ll_fail(err, LL_FAILED,
                       "the process forked after this engine was created: its worker threads "
                       "do not exist here; create an engine in the child");
    fenv_t env;
    fegetenv(&env);
    fesetenv(FE_DFL_ENV);
    uint64_t gate = atomic_load_explicit(&t->gate, memory_order_relaxed);
    t->run = *run;
    t->base = (gate >> PART_BITS) + 1;
    t->outcome = LL_OK;
    advance(t, 0);
    for (;;) {
        uint64_t v = atomic_load_explicit(&t->gate, memory_order_acquire);
        if (!(v & PART_MASK)) break;
        help(t, 0, v);
        wait_gate(t, v);
    }
    fesetenv(&env);
    if (t->outcome == LL_CANCELLED) return ll_fail(err, LL_CANCELLED, "cancelled");
    if (t->outcome != LL_OK)
        return ll_fail(err, LL_FAILED, "step %zu has %llu parts, at most %d are possible",
                       t->bad_step, (unsigned long long)t->bad_parts, RT_PARTS_MAX);
    return LL_OK;
}

/* ---- life ------------------------------------------------------------------------------- */
uint32_t rt_team_size(const rt_team *t) { return t->pub.n_threads; }

uint32_t rt_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int n = CPU_COUNT(&set);
        if (n > 0) return n > RT_TEAM_MAX ? RT_TEAM_MAX : (uint32_t)n;
    }
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > RT_TEAM_MAX ? RT_TEAM_MAX : (uint32_t)n;
}

static ll_code start_workers(rt_team *t, ll_error *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the host's business */
    int e = 0;
    for (t->n_started = 1; t->n_started < t->pub.n_threads && !e; t->n_started += !e)
        e = pthread_create(&t->slot[t->n_started].thread, NULL, worker, &t->slot[t->n_started]);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!e) return LL_OK;
    return ll_fail(err, LL_NO_SPACE, "cannot start thread %u of %u: %s", t->n_started + 1,
                   t->pub.n_threads, strerror(e));
}

ll_code rt_team_create(uint32_t n, size_t scratch, rt_team **out, ll_error *err)
{
    if (n < 1 || n > RT_TEAM_MAX)
        return ll_fail(err, LL_USAGE, "threads: %u, wanted 1 to %d", n, RT_TEAM_MAX);
    size_t each = (scratch + 4095) / 4096 * 4096 + 4096, bytes = sizeof(rt_team) + n * sizeof(slot);
    rt_team *t = aligned_alloc(LINE, (bytes + LINE - 1) / LINE * LINE);
    char *mem = mmap(NULL, each * n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!t || mem == MAP_FAILED) {
        free(t);
        if (mem != MAP_FAILED) munmap(mem, each * n);
        return ll_fail(err, LL_NO_SPACE, "no memory for %u threads with %zu bytes of scratch each",
                       n, scratch);
    }
    memset(t, 0, bytes);
    t->pub = (llmir_team){claim, n};
    t->pid = getpid();
    t->scratch = mem;
    t->scratch_bytes = each * n;
    for (uint32_t i = 0; i < n; i++) {
        t->slot[i].team = t;
        t->slot[i].scratch = mem + each * i;
        t->slot[i].first = -1;
    }
    ll_code rc = start_workers(t, err);
    if (rc != LL_OK) return rt_team_destroy(t), rc;
    *out = t;
    return LL_OK;
}

void rt_team_destroy(rt_team *t)
{
    if (!t) return;
    atomic_store(&t->quit, true);
    if (t->pid == getpid()) {
        uint64_t gate = atomic_load(&t->gate);
        open_gate(t, (gate >> PART_BITS) + 1, 0); /* a new value, so that waiters look */
        for (uint32_t i = 1; i < t->n_started; i++) pthread_join(t->slot[i].thread, NULL);
    }
    munmap(t->scratch, t->scratch_bytes);
    free(t);
}

/* device_cpu.c: the host's processor as a device: memory by mmap, a team of threads as the queue.
 * Memory is reserved at once and there when it is touched. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/device.h"
#include "runtime/team.h"

typedef struct cpu {
    rt_device base;
    const llmir_module *module;
} cpu;

typedef struct program {
    rt_step *step;
    size_t n;
} program;

typedef struct cpu_queue {
    rt_queue base;
    const llmir_module *module;
    rt_team *team;
    uint32_t n_program;
    program program[];
} cpu_queue;

/* ---- the queue -------------------------------------------------------------------------- */
static ll_code bind(rt_queue *base, const rt_code *c, ll_error *err)
{
    cpu_queue *q = (cpu_queue *)base;
    void *const *buf = c->buf;
    rt_step *step = calloc(c->rec->n_step + (size_t)1, sizeof *step);
    if (!step) return ll_fail(err, LL_NO_SPACE, "no memory for %u steps", c->rec->n_step);
    q->program[q->n_program++] = (program){step, c->rec->n_step};
    for (uint32_t i = 0; i < c->rec->n_step; i++) {
        const llmir_step_rec *s = rt_blob_step(c->blob, c->rec->step + i);
        uint32_t code = rt_blob_kernel(c->blob, s->kernel)->code;
        step[i] = (rt_step){q->module->kernel[code], {buf, buf[s->n_binding]}};
        buf += s->n_binding + 1;
    }
    return LL_OK;
}

static ll_code run(rt_queue *base, const rt_job *job, ll_error *err)
{
    cpu_queue *q = (cpu_queue *)base;
    const program *p = &q->program[job->program];
    rt_run r = {p->step, p->n, job->stop, job->user, job->seconds};
    return rt_team_run(q->team, &r, err);
}

static void copy(rt_queue *q, void *to, const void *from, uint64_t n)
{
    (void)q;
    memcpy(to, from, (size_t)n);
}

static void facts(const rt_queue *base, rt_queue_facts *out)
{
    *out = (rt_queue_facts){.threads = rt_team_size(((const cpu_queue *)base)->team)};
}

static void queue_destroy(rt_queue *base)
{
    cpu_queue *q = (cpu_queue *)base;
    rt_team_destroy(q->team);
    for (uint32_t i = 0; i < q->n_program; i++) free(q->program[i].step);
    free(q);
}

static ll_code queue(rt_device *d, const rt_queue_params *p, rt_queue **out, ll_error *err)
{
    static const rt_queue_ops ops = {bind, run, copy, facts, queue_destroy};
    cpu_queue *q = calloc(1, sizeof *q + p->n_program * sizeof *q->program);
    if (!q) return ll_fail(err, LL_NO_SPACE, "no memory for %u programs", p->n_program);
    q->base.ops = &ops;
    q->module = ((cpu *)d)->module;
    ll_code rc =
        rt_team_create(p->threads ? p->threads : rt_cpu_count(), p->scratch, &q->team, err);
    if (rc != LL_OK) return free(q), rc;
    *out = &q->base;
    return LL_OK;
}

/* ---- memory ----------------------------------------------------------------------------- */
static ll_code alloc(rt_device *d, enum rt_use use, uint64_t bytes, const char *what,
                     rt_memory *out, ll_error *err)
{
    (void)d;
    void *p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return ll_fail(err, LL_NO_SPACE, "no memory for %s (%llu bytes)", what,
                       (unsigned long long)bytes);
    /* the cache in small pages, also where huge ones are the system's default: one per pool would
     * count, and be cleared, for the first token */
    if (use == RT_KV) madvise(p, (size_t)bytes, MADV_NOHUGEPAGE);
    *out = (rt_memory){p, bytes, use};
    return LL_OK;
}

static void release(rt_device *d, rt_memory *m)
{
    (void)d;
    if (m->bytes) munmap(m->at, (size_t)m->bytes);
    *m = (rt_memory){0};
}

static void shut(rt_device *d) { free(d); }

ll_code rt_cpu_open(const llmir_module *module, rt_device **out, ll_error *err)
{
    static const rt_device_ops ops = {
        .close = shut, .alloc = alloc, .free = release, .queue = queue};
    cpu *c = calloc(1, sizeof *c);
    if (!c) return ll_fail(err, LL_NO_SPACE, "no memory for a device");
    c->base = (rt_device){.ops = &ops, .kind = LLMIR_ON_CPU, .shared = true, .name = "cpu"};
    c->module = module;
    *out = &c->base;
    return LL_OK;
}

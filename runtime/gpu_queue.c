/* gpu_queue.c: the queue of a GPU: one stream, and a graph for each program.
 *
 * A graph is the copy of the program's stage (dims and inputs), then its kernels, captured once
 * when the engine is made. Grids are those of the largest dims; kernels read the dims and surplus
 * blocks exit, so every run of a program is one launch of the same graph. Kernels' parameters are
 * packed addresses, taken from the engine's list as it stands. With a profile the same calls are
 * made one by one, with an event after each.
 *
 * Cancelling is seen before a run, not in the middle of one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/gpu.h"

typedef struct step {
    CUfunction function; /* NULL: no blocks, nothing to launch */
    unsigned grid[3], block[3], shared;
    void *const *arg;
    size_t arg_bytes;
} step;

typedef struct program {
    step *step;
    uint32_t n;
    CUgraphExec graph;
    const void *in;
    CUdeviceptr in_device;
    size_t in_bytes;
} program;

typedef struct gpu_queue {
    rt_queue base;
    rt_gpu *gpu;
    CUstream stream;
    CUevent *event; /* one more than steps; made when a profile is first asked for */
    uint32_t n_event, most_steps;
    CUresult copied; /* of the copies since the last run */
    rt_queue_facts facts;
    uint32_t n_program;
    program program[];
} gpu_queue;

/* ---- launching -------------------------------------------------------------------------- */
static CUresult launch(gpu_queue *q, const step *s)
{
    const rt_cuda *cu = &q->gpu->cu;
    size_t bytes = s->arg_bytes;
    void *packed[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)(uintptr_t)s->arg,
                      CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
    if (!s->function) return CUDA_SUCCESS;
    return cu->LaunchKernel(s->function, s->grid[0], s->grid[1], s->grid[2], s->block[0],
                            s->block[1], s->block[2], s->shared, q->stream, NULL, packed);
}

/* All of a program, onto the stream. `event`: NULL, or recorded before and after each step. */
static CUresult submit(gpu_queue *q, const program *p, CUevent *event)
{
    const rt_cuda *cu = &q->gpu->cu;
    CUresult rc = CUDA_SUCCESS;
    if (p->in_bytes) rc = cu->MemcpyHtoDAsync(p->in_device, p->in, p->in_bytes, q->stream);
    if (!rc && event) rc = cu->EventRecord(event[0], q->stream);
    for (uint32_t i = 0; i < p->n && !rc; i++) {
        rc = launch(q, &p->step[i]);
        if (!rc && event) rc = cu->EventRecord(event[i + 1], q->stream);
    }
    return rc;
}

/* ---- binding ---------------------------------------------------------------------------- */
/* Every parameter is one address; a driver that can tell is asked. */
static ll_code check_params(gpu_queue *q, const rt_code *c, const llmir_step_rec *s, CUfunction f,
                            ll_error *err)
{
    size_t n = 0, offset, size;
    bool right = true;
    if (!q->gpu->cu.FuncGetParamInfo) return LL_OK;
    while (n <= s->n_binding + (size_t)1 && !q->gpu->cu.FuncGetParamInfo(f, n, &offset, &size))
        right = right && offset == n++ * 8 && size == 8;
    if (right && n == s->n_binding + (size_t)1) return LL_OK;
    return ll_fail(err, LL_BAD_INPUT,
                   "kernel %s: its PTX takes other parameters than %u addresses of buffers and one "
                   "of the dims",
                   rt_blob_str(c->blob, rt_blob_kernel(c->blob, s->kernel)->name), s->n_binding);
}

static ll_code bind_step(gpu_queue *q, const rt_code *c, const llmir_step_rec *s, void *const *arg,
                         step *out, ll_error *err)
{
    const llmir_kernel_rec *k = rt_blob_kernel(c->blob, s->kernel);
    const llmir_launch_rec *l = rt_blob_launch(c->blob, k->code);
    const char *name = rt_blob_str(c->blob, k->name);
    CUfunction f;
    LL_TRY(rt_gpu_function(q->gpu, k->code, &f, err));
    LL_TRY(check_params(q, c, s, f, err));
    *out = (step){f,         {0}, {l->block[0], l->block[1], l->block[2]},
                  l->shared, arg, (s->n_binding + (size_t)1) * sizeof *arg};
    for (int d = 0; d < 3; d++) {
        uint64_t blocks;
        LL_TRY(rt_extent(c->blob, &l->grid[d], c->largest, name, &blocks, err));
        if (blocks > (uint64_t)q->gpu->max_grid[d])
            return ll_fail(err, LL_NO_DEVICE,
                           "%s: kernel %s wants a grid of %llu in direction %d, at most %d there",
                           q->gpu->base.name, name, (unsigned long long)blocks, d,
                           q->gpu->max_grid[d]);
        out->grid[d] = (unsigned)blocks;
        if (!blocks) out->function = NULL;
    }
    return LL_OK;
}

static ll_code capture(gpu_queue *q, program *p, ll_error *err)
{
    rt_cuda *cu = &q->gpu->cu;
    CUgraph graph = NULL;
    CUresult rc = cu->StreamBeginCapture(q->stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    if (!rc) {
        rc = submit(q, p, NULL);
        CUresult end = cu->StreamEndCapture(q->stream, &graph);
        if (!rc) rc = end;
    }
    if (!rc) rc = cu->GraphInstantiateWithFlags(&p->graph, graph, 0);
    if (graph) cu->GraphDestroy(graph);
    if (rc) p->graph = NULL;
    if (rc) return rt_gpu_fail(q->gpu, rc, err, "cannot make a graph of a program");
    q->facts.graphs++;
    return LL_OK;
}

static ll_code bind_program(gpu_queue *q, const rt_code *c, ll_error *err)
{
    program *p = &q->program[q->n_program++];
    void *const *arg = c->buf;
    *p = (program){.n = c->rec->n_step,
                   .in = c->in,
                   .in_device = (CUdeviceptr)(uintptr_t)c->in_device,
                   .in_bytes = c->in_bytes};
    p->step = calloc(p->n + (size_t)1, sizeof *p->step);
    if (!p->step) return ll_fail(err, LL_NO_SPACE, "no memory for %u steps", p->n);
    for (uint32_t i = 0; i < p->n; i++) {
        const llmir_step_rec *s = rt_blob_step(c->blob, c->rec->step + i);
        LL_TRY(bind_step(q, c, s, arg, &p->step[i], err));
        arg += s->n_binding + 1;
    }
    return capture(q, p, err);
}

static ll_code bind(rt_queue *base, const rt_code *c, ll_error *err)
{
    gpu_queue *q = (gpu_queue *)base;
    LL_TRY(rt_gpu_enter(q->gpu, err));
    ll_code rc = bind_program(q, c, err);
    rt_gpu_leave(q->gpu);
    return rc;
}

/* ---- running ---------------------------------------------------------------------------- */
static void copy(rt_queue *base, void *to, const void *from, uint64_t n)
{
    gpu_queue *q = (gpu_queue *)base;
    ll_error ignored = {0};
    if (q->copied || rt_gpu_enter(q->gpu, &ignored) != LL_OK) return;
    q->copied = q->gpu->cu.MemcpyDtoDAsync((CUdeviceptr)(uintptr_t)to, (CUdeviceptr)(uintptr_t)from,
                                           (size_t)n, q->stream);
    rt_gpu_leave(q->gpu);
}

static CUresult make_events(gpu_queue *q)
{
    CUresult rc = CUDA_SUCCESS;
    for (; q->n_event <= q->most_steps && !rc; q->n_event += !rc)
        rc = q->gpu->cu.EventCreate(&q->event[q->n_event], 0);
    return rc;
}

static CUresult run_profiled(gpu_queue *q, const program *p, double *seconds)
{
    const rt_cuda *cu = &q->gpu->cu;
    CUresult rc = make_events(q);
    if (!rc) rc = submit(q, p, q->event);
    if (!rc) rc = cu->StreamSynchronize(q->stream);
    for (uint32_t i = 0; i < p->n && !rc; i++) {
        float ms = 0;
        rc = cu->EventElapsedTime(&ms, q->event[i], q->event[i + 1]);
        seconds[i] += (double)ms * 1e-3;
    }
    return rc;
}

static CUresult run_once(gpu_queue *q, const rt_job *job)
{
    const rt_cuda *cu = &q->gpu->cu;
    const program *p = &q->program[job->program];
    CUresult rc = q->copied;
    q->copied = CUDA_SUCCESS;
    if (!rc && job->seconds)
        rc = run_profiled(q, p, job->seconds);
    else if (!rc) {
        rc = cu->GraphLaunch(p->graph, q->stream);
        q->facts.graph_runs += !rc;
    }
    for (uint32_t i = 0; i < job->n_read && !rc; i++)
        rc = cu->MemcpyDtoHAsync(job->read[i].to, (CUdeviceptr)(uintptr_t)job->read[i].from,
                                 (size_t)job->read[i].bytes, q->stream);
    CUresult end =
        cu->StreamSynchronize(q->stream); /* after a failure, too: nothing is in flight */
    return rc ? rc : end;
}

static ll_code run(rt_queue *base, const rt_job *job, ll_error *err)
{
    gpu_queue *q = (gpu_queue *)base;
    if (job->stop && job->stop(job->user)) return ll_fail(err, LL_CANCELLED, "cancelled");
    LL_TRY(rt_gpu_enter(q->gpu, err));
    CUresult rc = run_once(q, job);
    ll_code code = rc ? rt_gpu_fail(q->gpu, rc, err, "a step failed") : LL_OK;
    rt_gpu_leave(q->gpu);
    return code;
}

/* ---- life ------------------------------------------------------------------------------- */
static void get_facts(const rt_queue *base, rt_queue_facts *out)
{
    const gpu_queue *q = (const gpu_queue *)base;
    *out = q->facts;
    out->threads = 1;
    if (q->gpu->cu.findings) out->findings = q->gpu->cu.findings(NULL, 0);
}

static void destroy(rt_queue *base)
{
    gpu_queue *q = (gpu_queue *)base;
    const rt_cuda *cu = &q->gpu->cu;
    bool entered = rt_gpu_enter_to_free(q->gpu);
    if (entered && q->stream) cu->StreamSynchronize(q->stream);
    for (uint32_t i = 0; i < q->n_program; i++) {
        if (entered && q->program[i].graph) cu->GraphExecDestroy(q->program[i].graph);
        free(q->program[i].step);
    }
    for (uint32_t i = 0; entered && i < q->n_event; i++) cu->EventDestroy(q->event[i]);
    if (entered && q->stream) cu->StreamDestroy(q->stream);
    if (entered) rt_gpu_leave(q->gpu);
    free(q->event);
    free(q);
}

ll_code rt_gpu_queue(rt_device *d, const rt_queue_params *p, rt_queue **out, ll_error *err)
{
    static const rt_queue_ops ops = {bind, run, copy, get_facts, destroy};
    gpu_queue *q = calloc(1, sizeof *q + p->n_program * sizeof *q->program);
    if (!q) return ll_fail(err, LL_NO_SPACE, "no memory for %u programs", p->n_program);
    q->base.ops = &ops;
    q->gpu = (rt_gpu *)d;
    q->most_steps = p->most_steps;
    q->event = calloc(p->most_steps + (size_t)1, sizeof *q->event);
    ll_code rc = q->event ? rt_gpu_enter(q->gpu, err)
                          : ll_fail(err, LL_NO_SPACE, "no memory for %u events", p->most_steps);
    if (rc == LL_OK) {
        CUresult cu = q->gpu->cu.StreamCreate(&q->stream, CU_STREAM_NON_BLOCKING);
        rt_gpu_leave(q->gpu);
        if (cu) q->stream = NULL, rc = rt_gpu_fail(q->gpu, cu, err, "cannot make a stream");
    }
    if (rc != LL_OK) return destroy(&q->base), rc;
    *out = &q->base;
    return LL_OK;
}

/* cuda_stream.c: streams, events, capture, and what a unit of work does when it runs. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ptxsim/cuda_state.h"

#define ENTER(c)                                                                                   \
    CUcontext c;                                                                                   \
    do {                                                                                           \
        CUresult enter_rc = cu_enter(&c);                                                          \
        if (enter_rc != CUDA_SUCCESS) return enter_rc;                                             \
    } while (0)

/* ---- running ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static CUresult copy_row(const cu_op *op, size_t row)
{
    ptxsim_error e = {0};
    size_t so = row * op->src_pitch, d_o = row * op->dst_pitch;
    if (op->dst_host && op->src_host) {
        memmove((char *)op->dst_host + d_o, (const char *)op->src_host + so, op->n);
        return CUDA_SUCCESS;
    }
    if (op->src_host)
        return cu_code(
            ptxsim_write(cu_g.machine, op->dst + d_o, (const char *)op->src_host + so, op->n, &e));
    if (op->dst_host)
        return cu_code(
            ptxsim_read(cu_g.machine, (char *)op->dst_host + d_o, op->src + so, op->n, &e));
    return cu_code(ptxsim_copy(cu_g.machine, op->dst + d_o, op->src + so, op->n, &e));
}

CUresult cu_run(CUcontext ctx, const cu_op *op)
{
    CUresult rc = CUDA_SUCCESS;
    ptxsim_error e = {0};
    switch (op->kind) {
    case CU_OP_KERNEL: return cu_launch(ctx, op);
    case CU_OP_COPY:
        for (size_t i = 0; !rc && i < op->rows; i++) rc = copy_row(op, i);
        return rc;
    case CU_OP_SET:
        return cu_code(ptxsim_fill(cu_g.machine, op->dst, op->value, op->width, op->n, &e));
    case CU_OP_HOST:
        cu_unlock();
        op->fn(op->user);
        cu_lock();
        return CUDA_SUCCESS;
    case CU_OP_EVENT:
        op->event->recorded = true;
        op->event->when = now();
        return CUDA_SUCCESS;
    default: return CUDA_SUCCESS;
    }
}

static bool set_tail(CUgraphNode **tail, size_t *n, CUgraphNode const *from, size_t n_from)
{
    CUgraphNode *t = malloc((n_from ? n_from : 1) * sizeof *t);
    if (!t) return false;
    if (n_from) memcpy(t, from, n_from * sizeof *t);
    free(*tail);
    *tail = t, *n = n_from;
    return true;
}

CUresult cu_submit(CUcontext ctx, CUstream s, cu_op *op)
{
    CUresult rc;
    if (s->cap) {
        rc = s->cap->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
        if (!rc && op->kind == CU_OP_KERNEL) rc = cu_check_launch(op);
        if (!rc) {
            CUgraphNode n = cu_graph_add(s->cap->graph, op, s->tail, s->n_tail);
            if (!n || !set_tail(&s->tail, &s->n_tail, &n, 1)) rc = CUDA_ERROR_OUT_OF_MEMORY;
        }
    } else if (s == ctx->legacy &&
               cu_g.captures) { /* the legacy stream waits for blocking streams */
        rc = CUDA_SUCCESS;
        for (CUstream t = ctx->streams; t; t = t->next)
            if (t->cap && !(t->flags & CU_STREAM_NON_BLOCKING)) {
                t->cap->invalid = true;
                rc = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
            }
        if (!rc) rc = cu_run(ctx, op);
    } else {
        rc = cu_run(ctx, op);
    }
    cu_op_free(op);
    return rc;
}

CUresult cu_unsafe_in_capture(CUcontext ctx)
{
    CUresult rc = CUDA_SUCCESS;
    for (cu_capture *c = cu_g.captures; c; c = c->next)
        if (c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && c->origin->ctx == ctx) {
            c->invalid = true;
            rc = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    return rc;
}

/* ---- streams ---- */

static CUstream stream_new(CUcontext c, unsigned flags, int priority)
{
    CUstream s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->kind = CU_K_STREAM, s->ctx = c, s->flags = flags, s->priority = priority;
    s->next = c->streams;
    return c->streams = s;
}

CUresult cu_stream_of(CUcontext ctx, CUstream handle, CUstream *out)
{
    CUstream *slot = !handle || handle == CU_STREAM_LEGACY ? &ctx->legacy
                     : handle == CU_STREAM_PER_THREAD      ? &ctx->per_thread
                                                           : NULL;
    if (slot) {
        if (!*slot) *slot = stream_new(ctx, 0, 0);
        *out = *slot;
        return *slot ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    }
    for (CUstream s = ctx->streams; s; s = s->next)
        if (s == handle) {
            *out = s;
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority)
{
    ENTER(c);
    if (!stream || flags > CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
    priority = priority > 0 ? 0 : priority < -5 ? -5 : priority;
    cu_lock();
    *stream = stream_new(c, flags, priority);
    cu_unlock();
    return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuStreamCreate(CUstream *stream, unsigned int flags)
{
    return cuStreamCreateWithPriority(stream, flags, 0);
}

/* Locks, finds the stream; unlocks again when that fails. */
static CUresult hold(CUcontext *c, CUstream handle, CUstream *s)
{
    CUresult rc = cu_enter(c);
    if (rc != CUDA_SUCCESS) return rc;
    cu_lock();
    rc = cu_stream_of(*c, handle, s);
    if (rc != CUDA_SUCCESS) cu_unlock();
    return rc;
}

CUresult cuStreamDestroy_v2(CUstream stream)
{
    CUcontext c;
    CUstream s;
    CUresult rc = hold(&c, stream, &s);
    if (rc) return rc;
    if (s->cap && s->cap->origin == s) cu_capture_drop(s->cap);
    CU_UNLINK(c->streams, s);
    if (c->legacy == s) c->legacy = NULL;
    if (c->per_thread == s) c->per_thread = NULL;
    s->kind = 0;
    free(s->tail), free(s);
    cu_unlock();
    return CUDA_SUCCESS;
}

static CUresult idle(CUstream stream)
{
    CUcontext c;
    CUstream s;
    CUresult rc = hold(&c, stream, &s);
    if (rc) return rc;
    if (s->cap) s->cap->invalid = true, rc = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    cu_unlock();
    return rc;
}
CUresult cuStreamSynchronize(CUstream stream) { return idle(stream); }
CUresult cuStreamQuery(CUstream stream) { return idle(stream); }
CUresult cuStreamGetFlags(CUstream stream, unsigned int *flags)
{
    CUcontext c;
    CUstream s;
    CUresult rc = flags ? hold(&c, stream, &s) : CUDA_ERROR_INVALID_VALUE;
    if (rc) return rc;
    *flags = s->flags;
    cu_unlock();
    return CUDA_SUCCESS;
}
CUresult cuStreamGetPriority(CUstream stream, int *priority)
{
    CUcontext c;
    CUstream s;
    CUresult rc = priority ? hold(&c, stream, &s) : CUDA_ERROR_INVALID_VALUE;
    if (rc) return rc;
    *priority = s->priority;
    cu_unlock();
    return CUDA_SUCCESS;
}
CUresult cuStreamGetCtx(CUstream stream, CUcontext *pctx)
{
    CUcontext c;
    CUstream s;
    CUresult rc = pctx ? hold(&c, stream, &s) : CUDA_ERROR_INVALID_VALUE;
    if (rc) return rc;
    *pctx = s->ctx;
    cu_unlock();
    return CUDA_SUCCESS;
}

static CUresult submit(CUstream stream, cu_op op)
{
    CUcontext c;
    CUstream s;
    CUresult rc = hold(&c, stream, &s);
    if (rc) return rc;
    rc = cu_submit(c, s, &op);
    cu_unlock();
    return rc;
}
CUresult cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *user)
{
    return fn ? submit(stream, (cu_op){.kind = CU_OP_HOST, .fn = fn, .user = user})
              : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuStreamAddCallback(CUstream stream, CUstreamCallback callback, void *user,
                             unsigned int flags)
{
    if (!callback || flags) return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = idle(stream);
    if (rc == CUDA_SUCCESS) callback(stream, CUDA_SUCCESS, user);
    return rc;
}

/* ---- events ---- */

static bool is_event(CUcontext c, CUevent e)
{
    for (CUevent x = c->events; x; x = x->next)
        if (x == e) return true;
    return false;
}

CUresult cuEventCreate(CUevent *event, unsigned int flags)
{
    ENTER(c);
    if (!event || flags > 7) return CUDA_ERROR_INVALID_VALUE;
    CUevent e = calloc(1, sizeof *e);
    if (!e) return CUDA_ERROR_OUT_OF_MEMORY;
    cu_lock();
    e->kind = CU_K_EVENT, e->ctx = c, e->flags = flags, e->next = c->events;
    c->events = *event = e;
    cu_unlock();
    return CUDA_SUCCESS;
}
CUresult cuEventDestroy_v2(CUevent event)
{
    ENTER(c);
    cu_lock();
    bool found = CU_UNLINK(c->events, event);
    if (found) free(event->tail), free(event);
    cu_unlock();
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned int flags)
{
    CUcontext c;
    CUstream s;
    CUresult rc = hold(&c, stream, &s);
    if (rc) return rc;
    if (!is_event(c, event) || flags > 1) {
        rc = CUDA_ERROR_INVALID_HANDLE;
    } else if (s->cap && !flags) {
        event->cap = s->cap;
        if (!set_tail(&event->tail, &event->n_tail, s->tail, s->n_tail))
            rc = CUDA_ERROR_OUT_OF_MEMORY;
    } else {
        cu_op op = {.kind = CU_OP_EVENT, .event = event};
        event->cap = NULL;
        rc = cu_submit(c, s, &op);
    }
    cu_unlock();
    return rc;
}
CUresult cuEventRecord(CUevent event, CUstream stream)
{
    return cuEventRecordWithFlags(event, stream, 0);
}

static CUresult event_state(CUevent event)
{
    ENTER(c);
    cu_lock();
    CUresult rc = !is_event(c, event) ? CUDA_ERROR_INVALID_HANDLE
                  : event->cap        ? CUDA_ERROR_CAPTURED_EVENT
                                      : CUDA_SUCCESS;
    cu_unlock();
    return rc;
}
CUresult cuEventQuery(CUevent event) { return event_state(event); }
CUresult cuEventSynchronize(CUevent event) { return event_state(event); }

/* Times are of the simulator: they say nothing about a GPU. */
CUresult cuEventElapsedTime_v2(float *ms, CUevent start, CUevent end)
{
    CUresult rc = event_state(start);
    if (rc == CUDA_SUCCESS) rc = event_state(end);
    if (rc != CUDA_SUCCESS || !ms) return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    if ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) return CUDA_ERROR_INVALID_HANDLE;
    if (!start->recorded || !end->recorded) return CUDA_ERROR_INVALID_HANDLE;
    *ms = (float)(end->when - start->when);
    return CUDA_SUCCESS;
}

#ifndef PTXSIM_WITH_CUDA_H /* where the name stands for the one above */
CU_EXPORT CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end); /* of drivers before 12.8 */
CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
    return cuEventElapsedTime_v2(ms, start, end);
}
#endif

/* The stream joins the capture of the event; what comes next depends on both. */
static CUresult join(CUstream s, CUevent e)
{
    if (s->cap && s->cap != e->cap) return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    size_t n = s->n_tail + e->n_tail, k = s->n_tail;
    CUgraphNode *t = malloc((n ? n : 1) * sizeof *t);
    if (!t) return CUDA_ERROR_OUT_OF_MEMORY;
    if (k) memcpy(t, s->tail, k * sizeof *t);
    for (size_t i = 0; i < e->n_tail; i++) {
        bool have = false;
        for (size_t j = 0; j < k; j++) have |= t[j] == e->tail[i];
        if (!have) t[k++] = e->tail[i];
    }
    free(s->tail);
    s->tail = t, s->n_tail = k, s->cap = e->cap;
    return CUDA_SUCCESS;
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags)
{
    CUcontext c;
    CUstream s;
    CUresult rc = hold(&c, stream, &s);
    if (rc) return rc;
    if (!is_event(c, event))
        rc = CUDA_ERROR_INVALID_HANDLE;
    else if (event->cap)
        rc = join(s, event);
    else if (s->cap && event->recorded)
        rc = CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    cu_unlock();
    return rc;
}

/* ---- capture ---- */

static void leave_capture(cu_capture *c)
{
    CU_UNLINK(cu_g.captures, c);
    for (CUstream s = c->origin->ctx->streams; s; s = s->next)
        if (s->cap == c) s->cap = NULL, s->n_tail = 0;
    for (CUevent e = c->origin->ctx->events; e; e = e->next)
        if (e->cap == c) e->cap = NULL, e->n_tail = 0, e->recorded = false;
    free(c);
}

void cu_capture_drop(cu_capture *c)
{
    cu_graph_free(c->graph);
    leave_capture(c);
}

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)
{
    CUcontext c;
    CUstream s;
    CUresult rc = hold(&c, stream, &s);
    if (rc) return rc;
    cu_capture *k = NULL;
    if (s == c->legacy)
        rc = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    else if (s->cap)
        rc = CUDA_ERROR_ILLEGAL_STATE;
    else if (!(k = calloc(1, sizeof *k)) || cuGraphCreate(&k->graph, 0) != CUDA_SUCCESS)
        free(k), rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (!rc) {
        k->origin = s, k->mode = mode, k->id = ++cu_g.next_id, k->next = cu_g.captures;
        cu_g.captures = s->cap = k;
        s->n_tail = 0;
    }
    cu_unlock();
    return rc;
}

/* Every node must lead to where the origin stream stands: others have to be joined again. */
static bool joined(const cu_capture *c)
{
    size_t n = c->graph->n_node;
    bool *has_child = calloc(n ? n : 1, sizeof *has_child), ok = true;
    if (!has_child) return false;
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < c->graph->node[i]->n_dep; d++)
            has_child[c->graph->node[i]->dep[d]->index] = true;
    for (size_t i = 0; i < c->origin->n_tail; i++) has_child[c->origin->tail[i]->index] = true;
    for (size_t i = 0; i < n; i++) ok &= has_child[i];
    free(has_child);
    return ok;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    CUcontext c;
    CUstream s;
    CUresult rc = graph ? hold(&c, stream, &s) : CUDA_ERROR_INVALID_VALUE;
    if (rc) return rc;
    *graph = NULL;
    cu_capture *k = s->cap;
    if (!k)
        rc = CUDA_ERROR_ILLEGAL_STATE;
    else if (k->origin != s)
        rc = CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    else if (k->invalid)
        rc = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    else if (!joined(k))
        rc = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    if (k && k->origin == s) {
        if (rc)
            cu_graph_free(k->graph);
        else
            *graph = k->graph;
        leave_capture(k);
    }
    cu_unlock();
    return rc;
}

static CUstreamCaptureStatus status_of(CUstream s)
{
    return !s->cap           ? CU_STREAM_CAPTURE_STATUS_NONE
           : s->cap->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                             : CU_STREAM_CAPTURE_STATUS_ACTIVE;
}
CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status)
{
    CUcontext c;
    CUstream s;
    CUresult rc = status ? hold(&c, stream, &s) : CUDA_ERROR_INVALID_VALUE;
    if (rc) return rc;
    *status = status_of(s);
    cu_unlock();
    return CUDA_SUCCESS;
}
CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                   CUgraph *graph, const CUgraphNode **deps,
                                   const CUgraphEdgeData **edges, size_t *n_deps)
{
    CUcontext c;
    CUstream s;
    CUresult rc = status ? hold(&c, stream, &s) : CUDA_ERROR_INVALID_VALUE;
    if (rc) return rc;
    *status = status_of(s);
    if (id) *id = s->cap ? s->cap->id : 0;
    if (graph) *graph = s->cap ? s->cap->graph : NULL;
    if (deps) *deps = s->tail;
    if (edges) *edges = NULL;
    if (n_deps) *n_deps = s->cap ? s->n_tail : 0;
    cu_unlock();
    return CUDA_SUCCESS;
}
CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                   CUgraph *graph, const CUgraphNode **deps, size_t *n_deps)
{
    return cuStreamGetCaptureInfo_v3(stream, status, id, graph, deps, NULL, n_deps);
}
CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    static _Thread_local CUstreamCaptureMode own = CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!mode) return CUDA_ERROR_INVALID_VALUE;
    CUstreamCaptureMode old = own;
    own = *mode, *mode = old;
    return CUDA_SUCCESS;
}

CU_TWIN(cuStreamSynchronize)
CU_TWIN(cuStreamQuery)
CU_TWIN(cuStreamWaitEvent)
CU_TWIN(cuStreamGetFlags)
CU_TWIN(cuStreamGetPriority)
CU_TWIN(cuStreamGetCtx)
CU_TWIN(cuStreamAddCallback)
CU_TWIN(cuLaunchHostFunc)
CU_TWIN(cuStreamBeginCapture_v2)
CU_TWIN(cuStreamEndCapture)
CU_TWIN(cuStreamIsCapturing)
CU_TWIN(cuStreamGetCaptureInfo_v2)
CU_TWIN(cuStreamGetCaptureInfo_v3)
CU_TWIN(cuEventRecord)
CU_TWIN(cuEventRecordWithFlags)

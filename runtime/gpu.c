/* gpu.c: see gpu.h. Memory, uploads, kernels of a GPU.
 *
 * One context (the primary one, shared with whatever else the host does on the GPU), current only
 * for the length of each call. Weights go through two pinned buffers in turn, so that reading the
 * file and copying overlap. PTX is compiled once for each text, when an engine first needs it.
 *
 * A fault of a kernel (an illegal address, a trap) ends the context for all models of the
 * process on that GPU, until the last of them is closed: `fault` remembers it, later calls say so.
 */
#include "runtime/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { JIT_LOG = 2048, SHOWN_LOG = 480 };

/* ---- finding ---------------------------------------------------------------------------- */
static CUresult describe(const rt_cuda *cu, CUdevice d, rt_gpu_facts *out)
{
    int major = 0, minor = 0;
    size_t bytes = 0;
    *out = (rt_gpu_facts){.simulated = cu->findings != NULL};
    CUresult rc = cu->DeviceGetName(out->name, sizeof out->name, d);
    if (!rc) rc = cu->DeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, d);
    if (!rc) rc = cu->DeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, d);
    if (!rc) rc = cu->DeviceTotalMem(&bytes, d);
    out->sm = (uint32_t)(10 * major + minor);
    out->bytes = bytes;
    return rc;
}

static void list_all(const rt_cuda *cu, int n, char *out, size_t room)
{
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < n && at < room; i++) {
        CUdevice d;
        rt_gpu_facts f;
        if (cu->DeviceGet(&d, i) || describe(cu, d, &f)) continue;
        int k =
            snprintf(out + at, room - at, "%scuda:%d %s (sm_%u)", at ? ", " : "", i, f.name, f.sm);
        at += k > 0 ? (size_t)k : room;
    }
}

static ll_code find(const rt_cuda *cu, const rt_gpu_want *want, CUdevice *d, rt_gpu_facts *out,
                    ll_error *err)
{
    char list[480];
    int n = 0;
    CUresult rc = cu->DeviceGetCount(&n);
    if (!rc && want->ordinal >= (uint32_t)n) {
        list_all(cu, n, list, sizeof list);
        return ll_fail(err, LL_NO_DEVICE, "no device cuda:%u; found: %s", want->ordinal,
                       n ? list : "none");
    }
    if (!rc) rc = cu->DeviceGet(d, (int)want->ordinal);
    if (!rc) rc = describe(cu, *d, out);
    return rc ? rt_cuda_fail(cu, rc, err, "cuda:%u: the driver does not describe it", want->ordinal)
              : LL_OK;
}

ll_code rt_gpu_count(uint32_t *n, ll_error *err)
{
    rt_cuda cu;
    int count = 0;
    ll_code rc = rt_cuda_load(&cu, false, 0, err);
    if (rc == LL_OK && cu.DeviceGetCount(&count))
        rc = ll_fail(err, LL_NO_DEVICE, "%s: the driver does not count its devices", cu.path);
    if (rc == LL_OK && !count)
        rc = ll_fail(err, LL_NO_DEVICE, "%s: the driver finds no GPU", cu.path);
    rt_cuda_unload(&cu);
    if (rc == LL_OK) *n = (uint32_t)count;
    return rc;
}

ll_code rt_gpu_find(const rt_gpu_want *want, rt_gpu_facts *out, ll_error *err)
{
    rt_cuda cu;
    CUdevice d;
    ll_code rc = rt_cuda_load(&cu, want->sim, want->sim_sm, err);
    if (rc == LL_OK) rc = find(&cu, want, &d, out, err);
    rt_cuda_unload(&cu);
    return rc;
}

/* ---- the context ------------------------------------------------------------------------ */
static ll_code lost(const rt_gpu *g, ll_error *err)
{
    return rt_cuda_fail(&g->cu, (CUresult)g->fault, err,
                        "%s: a kernel failed before, so this process can run nothing there; close "
                        "all models on it and open them again",
                        g->base.name);
}

ll_code rt_gpu_enter(rt_gpu *g, ll_error *err)
{
    if (g->pid != getpid())
        return ll_fail(err, LL_FAILED,
                       "%s: the process forked after the model was opened, and a GPU does not "
                       "follow: open it in the child",
                       g->base.name);
    if (atomic_load(&g->fault)) return lost(g, err);
    CUresult rc = g->cu.CtxPushCurrent(g->context);
    return rc ? rt_gpu_fail(g, rc, err, "cannot use the context") : LL_OK;
}

bool rt_gpu_enter_to_free(rt_gpu *g)
{
    return g->context && g->pid == getpid() && !g->cu.CtxPushCurrent(g->context);
}

void rt_gpu_leave(rt_gpu *g)
{
    CUcontext c;
    g->cu.CtxPopCurrent(&c);
}

/* The last line of the simulator's findings, "" without. */
static void last_finding(const rt_gpu *g, char *out, size_t room)
{
    enum { TEXT = 1 << 16 };
    out[0] = 0;
    char *text = g->cu.findings ? malloc(TEXT) : NULL;
    if (!text) return;
    if (g->cu.findings(text, TEXT)) {
        size_t n = strlen(text);
        if (n && text[n - 1] == '\n') text[n - 1] = 0;
        const char *line = strrchr(text, '\n');
        snprintf(out, room, " (the simulator: %s)", line ? line + 1 : text);
    }
    free(text);
}

/* From 700 on up to here they are the kernel's doing, and last. */
static bool is_fault(CUresult rc)
{
    return rc == CUDA_ERROR_ILLEGAL_ADDRESS || rc == CUDA_ERROR_LAUNCH_TIMEOUT ||
           (rc >= CUDA_ERROR_ASSERT && rc <= CUDA_ERROR_LAUNCH_FAILED);
}

ll_code rt_gpu_fail(rt_gpu *g, CUresult rc, ll_error *err, const char *what)
{
    char found[400] = "";
    if (is_fault(rc)) {
        int none = 0;
        atomic_compare_exchange_strong(&g->fault, &none, (int)rc);
        last_finding(g, found, sizeof found);
    }
    return rt_cuda_fail(&g->cu, rc, err, "%s: %s%s", g->base.name, what, found);
}

/* ---- memory ----------------------------------------------------------------------------- */
static ll_code alloc(rt_device *d, enum rt_use use, uint64_t bytes, const char *what,
                     rt_memory *out, ll_error *err)
{
    rt_gpu *g = (rt_gpu *)d;
    void *at = NULL;
    CUdeviceptr on_device = 0;
    size_t free_bytes = 0, total = 0;
    LL_TRY(rt_gpu_enter(g, err));
    CUresult rc =
        use == RT_HOST ? g->cu.MemHostAlloc(&at, bytes, 0) : g->cu.MemAlloc(&on_device, bytes);
    if (rc && use != RT_HOST) g->cu.MemGetInfo(&free_bytes, &total);
    rt_gpu_leave(g);
    if (rc == CUDA_ERROR_OUT_OF_MEMORY)
        return ll_fail(err, LL_NO_SPACE, "%s: no %smemory for %s: %llu bytes, %zu of %zu are free",
                       d->name, use == RT_HOST ? "page-locked " : "", what,
                       (unsigned long long)bytes, free_bytes, total);
    if (rc) return rt_gpu_fail(g, rc, err, "cannot allocate");
    *out = (rt_memory){use == RT_HOST ? at : (void *)(uintptr_t)on_device, bytes, use};
    return LL_OK;
}

static void release(rt_device *d, rt_memory *m)
{
    rt_gpu *g = (rt_gpu *)d;
    if (!m->bytes || !rt_gpu_enter_to_free(g)) return;
    if (m->use == RT_HOST)
        g->cu.MemFreeHost(m->at);
    else
        g->cu.MemFree((CUdeviceptr)(uintptr_t)m->at);
    rt_gpu_leave(g);
    *m = (rt_memory){0};
}

/* ---- uploads ---------------------------------------------------------------------------- */
static CUresult make_staging(rt_gpu *g)
{
    CUresult rc = g->cu.StreamCreate(&g->uploads, CU_STREAM_NON_BLOCKING);
    for (int i = 0; i < RT_STAGING && !rc; i++) {
        rc = g->cu.MemHostAlloc(&g->staging[i], RT_STAGING_BYTES, 0);
        if (!rc) rc = g->cu.EventCreate(&g->staged[i], CU_EVENT_DISABLE_TIMING);
    }
    return rc;
}

static void drop_staging(rt_gpu *g)
{
    for (int i = 0; i < RT_STAGING; i++) {
        if (g->staged[i]) g->cu.EventDestroy(g->staged[i]);
        if (g->staging[i]) g->cu.MemFreeHost(g->staging[i]);
        g->staged[i] = NULL, g->staging[i] = NULL;
    }
    if (g->uploads) g->cu.StreamDestroy(g->uploads);
    g->uploads = NULL;
}

static ll_code upload_piece(rt_gpu *g, int fd, const char *path, uint64_t from, CUdeviceptr to,
                            size_t n, ll_error *err)
{
    uint32_t i = g->next_staging++ % RT_STAGING;
    CUresult rc = g->uploads ? CUDA_SUCCESS : make_staging(g);
    if (!rc) rc = g->cu.EventSynchronize(g->staged[i]);
    if (rc) return rt_gpu_fail(g, rc, err, "cannot upload weights");
    LL_TRY(ll_file_pread(fd, path, g->staging[i], n, from, err));
    rc = g->cu.MemcpyHtoDAsync(to, g->staging[i], n, g->uploads);
    if (!rc) rc = g->cu.EventRecord(g->staged[i], g->uploads);
    return rc ? rt_gpu_fail(g, rc, err, "cannot upload weights") : LL_OK;
}

static ll_code upload(rt_device *d, int fd, const char *path, uint64_t from, void *to, uint64_t n,
                      ll_error *err)
{
    rt_gpu *g = (rt_gpu *)d;
    ll_code rc = LL_OK;
    LL_TRY(rt_gpu_enter(g, err));
    for (uint64_t at = 0, k; rc == LL_OK && at < n; at += k) {
        k = n - at < RT_STAGING_BYTES ? n - at : RT_STAGING_BYTES;
        rc = upload_piece(g, fd, path, from + at, (CUdeviceptr)(uintptr_t)to + at, (size_t)k, err);
    }
    rt_gpu_leave(g);
    return rc;
}

static ll_code finish(rt_device *d, ll_error *err)
{
    rt_gpu *g = (rt_gpu *)d;
    LL_TRY(rt_gpu_enter(g, err));
    CUresult rc = g->uploads ? g->cu.StreamSynchronize(g->uploads) : CUDA_SUCCESS;
    drop_staging(g);
    rt_gpu_leave(g);
    return rc ? rt_gpu_fail(g, rc, err, "cannot upload weights") : LL_OK;
}

/* ---- kernels ---------------------------------------------------------------------------- */
static ll_code compile(rt_gpu *g, const llmir_launch_rec *l, CUmodule *out, ll_error *err)
{
    char log[JIT_LOG] = "", what[SHOWN_LOG + 160];
    CUjit_option option[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *value[] = {log, (void *)(uintptr_t)sizeof log};
    CUresult rc = g->cu.ModuleLoadDataEx(out, rt_blob_ptx(g->blob, l), 2, option, value);
    if (!rc) return LL_OK;
    for (char *p = log; (p = strchr(p, '\n'));) *p = ' ';
    snprintf(what, sizeof what, "the driver (%d.%d) does not take the PTX of %s%s%.*s",
             g->cu.version / 1000, g->cu.version % 1000 / 10, rt_blob_str(g->blob, l->entry),
             log[0] ? ": " : "", SHOWN_LOG, log);
    *out = NULL;
    return rt_gpu_fail(g, rc, err, what);
}

static ll_code grant_shared(rt_gpu *g, const llmir_launch_rec *l, CUfunction f, ll_error *err)
{
    const char *name = rt_blob_str(g->blob, l->entry);
    if (l->shared > (uint32_t)g->max_shared)
        return ll_fail(err, LL_NO_DEVICE,
                       "%s: %s wants %u bytes of shared memory, a block has at most %d there",
                       g->base.name, name, l->shared, g->max_shared);
    if (!l->shared) return LL_OK;
    CUresult rc =
        g->cu.FuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)l->shared);
    return rc ? rt_gpu_fail(g, rc, err, name) : LL_OK;
}

static ll_code load(rt_gpu *g, uint32_t i, ll_error *err)
{
    const llmir_launch_rec *l = rt_blob_launch(g->blob, i);
    char what[200];
    uint32_t first = i;
    while (first && rt_blob_launch(g->blob, first - 1)->ptx == l->ptx) first--;
    if (!g->module[first]) LL_TRY(compile(g, l, &g->module[first], err));
    const char *name = rt_blob_str(g->blob, l->entry);
    CUfunction f;
    CUresult rc = g->cu.ModuleGetFunction(&f, g->module[first], name);
    if (rc == CUDA_ERROR_NOT_FOUND)
        return ll_fail(err, LL_BAD_INPUT, "%s: launch %u: its PTX has no entry %s", g->base.name, i,
                       name);
    snprintf(what, sizeof what, "cannot get kernel %.100s", name);
    if (rc) return rt_gpu_fail(g, rc, err, what);
    LL_TRY(grant_shared(g, l, f, err));
    g->function[i] = f;
    return LL_OK;
}

ll_code rt_gpu_function(rt_gpu *g, uint32_t i, CUfunction *out, ll_error *err)
{
    pthread_mutex_lock(&g->lock);
    ll_code rc = g->function[i] ? LL_OK : load(g, i, err);
    *out = g->function[i];
    pthread_mutex_unlock(&g->lock);
    return rc;
}

/* ---- life ------------------------------------------------------------------------------- */
static void shut(rt_device *d)
{
    rt_gpu *g = (rt_gpu *)d;
    if (rt_gpu_enter_to_free(g)) {
        drop_staging(g);
        for (uint32_t i = 0; g->module && i < rt_blob_n(g->blob, LLMIR_SEC_LAUNCH); i++)
            if (g->module[i]) g->cu.ModuleUnload(g->module[i]);
        rt_gpu_leave(g);
    }
    if (g->context && g->pid == getpid()) g->cu.DevicePrimaryCtxRelease(g->device);
    rt_cuda_unload(&g->cu);
    pthread_mutex_destroy(&g->lock);
    free(g->module);
    free(g->function);
    free(g);
}

static void name_it(rt_gpu *g, const rt_gpu_want *want, const rt_gpu_facts *f)
{
    if (want->sim)
        snprintf(g->base.name, sizeof g->base.name, "sim (simulator of sm_%u)", f->sm);
    else
        snprintf(g->base.name, sizeof g->base.name, "cuda:%u (%s, %ssm_%u)", want->ordinal, f->name,
                 f->simulated ? "simulator of " : "", f->sm);
    g->base.sm = f->sm;
    g->base.simulated = f->simulated;
}

static CUresult make_context(rt_gpu *g)
{
    static const int grid[] = {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X,
                               CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y,
                               CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z};
    CUresult rc = g->cu.DeviceGetAttribute(
        &g->max_shared, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, g->device);
    for (int i = 0; i < 3 && !rc; i++)
        rc = g->cu.DeviceGetAttribute(&g->max_grid[i], (CUdevice_attribute)grid[i], g->device);
    return rc ? rc : g->cu.DevicePrimaryCtxRetain(&g->context, g->device);
}

ll_code rt_gpu_open(const rt_gpu_want *want, const rt_blob *blob, rt_device **out, ll_error *err)
{
    static const rt_device_ops ops = {shut, alloc, release, upload, finish, rt_gpu_queue};
    rt_gpu *g = calloc(1, sizeof *g);
    rt_gpu_facts f;
    uint32_t n = rt_blob_n(blob, LLMIR_SEC_LAUNCH);
    if (!g) return ll_fail(err, LL_NO_SPACE, "no memory for a device");
    g->base.ops = &ops;
    g->base.kind = LLMIR_ON_CUDA;
    g->blob = blob;
    g->pid = getpid();
    pthread_mutex_init(&g->lock, NULL);
    g->module = calloc(n + (size_t)1, sizeof *g->module);
    g->function = calloc(n + (size_t)1, sizeof *g->function);
    ll_code rc = g->module && g->function
                     ? rt_cuda_load(&g->cu, want->sim, want->sim_sm, err)
                     : ll_fail(err, LL_NO_SPACE, "no memory for a list of %u kernels", n);
    if (rc == LL_OK) rc = find(&g->cu, want, &g->device, &f, err);
    if (rc == LL_OK) {
        name_it(g, want, &f);
        CUresult cu = make_context(g);
        if (cu) rc = rt_gpu_fail(g, cu, err, "cannot make a context");
    }
    if (rc != LL_OK) return shut(&g->base), rc;
    *out = &g->base;
    return LL_OK;
}

/* cuda_ctx.c: initialisation, the device, contexts, error names, cuGetProcAddress, findings. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptxsim/cuda_state.h"
#include <llmir/ptxsim_cuda.h>

cu_globals cu_g;

static pthread_mutex_t lock;
static pthread_once_t lock_once = PTHREAD_ONCE_INIT;
enum { STACK = 64 };
static _Thread_local struct {
    CUcontext ctx[STACK];
    int n;
} stack;

static void make_lock(void)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &a);
    pthread_mutexattr_destroy(&a);
}
void cu_lock(void)
{
    pthread_once(&lock_once, make_lock);
    pthread_mutex_lock(&lock);
}
void cu_unlock(void) { pthread_mutex_unlock(&lock); }

static bool alive(CUcontext c)
{
    for (CUcontext x = cu_g.contexts; x; x = x->next)
        if (x == c) return true;
    return false;
}

CUcontext cu_current(void) { return stack.n ? stack.ctx[stack.n - 1] : NULL; }

CUresult cu_enter(CUcontext *out)
{
    if (!cu_g.init) return CUDA_ERROR_NOT_INITIALIZED;
    *out = cu_current();
    if (!*out) return CUDA_ERROR_INVALID_CONTEXT;
    if (!alive(*out)) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    return (*out)->sticky;
}

bool cu_is(const void *handle, cu_kind kind) { return handle && *(const cu_kind *)handle == kind; }

CUresult cu_code(ptxsim_code c)
{
    switch (c) {
    case PTXSIM_OK: return CUDA_SUCCESS;
    case PTXSIM_BAD_PTX: return CUDA_ERROR_INVALID_PTX;
    case PTXSIM_UNSUPPORTED: return CUDA_ERROR_NOT_SUPPORTED;
    case PTXSIM_NO_MEMORY: return CUDA_ERROR_OUT_OF_MEMORY;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

/* ---- initialisation ---- */

static uint32_t checks_of(const char *s)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } names[] = {
        {"race", PTXSIM_CHECK_RACE},     {"pending", PTXSIM_CHECK_PENDING},
        {"uninit", PTXSIM_CHECK_UNINIT}, {"sync", PTXSIM_CHECK_SYNC},
        {"global", PTXSIM_CHECK_GLOBAL},
    };
    if (!s || !*s || !strcmp(s, "all")) return PTXSIM_CHECK_ALL;
    uint32_t bits = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strstr(s, names[i].name)) bits |= names[i].bit;
    return bits;
}

static void copy_env(const char *name, const char *otherwise, char *out, size_t n)
{
    const char *v = getenv(name);
    snprintf(out, n, "%s", v ? v : otherwise);
}

CUresult cuInit(unsigned int flags)
{
    if (flags) return CUDA_ERROR_INVALID_VALUE;
    cu_lock();
    CUresult rc = CUDA_SUCCESS;
    if (!cu_g.init) {
        const char *sm = getenv("LLMIR_PTXSIM_SM"), *seed = getenv("LLMIR_PTXSIM_SEED"),
                   *fatal = getenv("LLMIR_PTXSIM_FATAL"), *mma = getenv("LLMIR_PTXSIM_MMA");
        ptxsim_config c = {.sm = cu_g.wanted_sm ? cu_g.wanted_sm : sm ? (unsigned)atoi(sm) : 0};
        ptxsim_error e = {0};
        if (ptxsim_create(&c, &cu_g.machine, &e) != PTXSIM_OK)
            rc = CUDA_ERROR_NO_DEVICE;
        else {
            ptxsim_get_limits(cu_g.machine, &cu_g.lim);
            cu_g.checks = checks_of(getenv("LLMIR_PTXSIM_CHECKS"));
            cu_g.seed = seed ? strtoull(seed, NULL, 0) : 0;
            cu_g.fatal = fatal && *fatal == '1';
            cu_g.mma = mma && !strcmp(mma, "hw") ? PTXSIM_MMA_HW : PTXSIM_MMA_F32;
            copy_env("LLMIR_PTXSIM_LOG", "", cu_g.log_path, sizeof cu_g.log_path);
            copy_env("LLMIR_PTXSIM_PTXAS", "ptxas", cu_g.ptxas, sizeof cu_g.ptxas);
            cu_g.init = true;
        }
    }
    cu_unlock();
    return rc;
}

CUresult cuDriverGetVersion(int *version)
{
    if (!version) return CUDA_ERROR_INVALID_VALUE;
    *version = 13000;
    return CUDA_SUCCESS;
}

/* ---- errors ---- */

typedef struct error_row {
    CUresult code;
    const char *name, *text;
} error_row;
#define E(code, text) {code, #code, text}
static const error_row errors[] = {
    E(CUDA_SUCCESS, "no error"),
    E(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    E(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    E(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    E(CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
    E(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    E(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    E(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    E(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    E(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
    E(CUDA_ERROR_UNSUPPORTED_LIMIT, "limit is not supported on this architecture"),
    E(CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed"),
    E(CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
      "the provided PTX was compiled with an unsupported toolchain."),
    E(CUDA_ERROR_INVALID_SOURCE, "device kernel image is invalid"),
    E(CUDA_ERROR_FILE_NOT_FOUND, "file not found"),
    E(CUDA_ERROR_OPERATING_SYSTEM, "OS call failed or operation not supported on this OS"),
    E(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    E(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
    E(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    E(CUDA_ERROR_NOT_READY, "device not ready"),
    E(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    E(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    E(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    E(CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE, "cannot set while device is active in this process"),
    E(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    E(CUDA_ERROR_ASSERT, "device-side assert triggered"),
    E(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED,
      "part or all of the requested memory range is already mapped"),
    E(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED,
      "pointer does not correspond to a registered memory region"),
    E(CUDA_ERROR_ILLEGAL_INSTRUCTION, "an illegal instruction was encountered"),
    E(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    E(CUDA_ERROR_INVALID_ADDRESS_SPACE, "operation not supported on global/shared address space"),
    E(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    E(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "too many blocks in cooperative launch"),
    E(CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
    E(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    E(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
    E(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
      "operation failed due to a previous error during capture"),
    E(CUDA_ERROR_STREAM_CAPTURE_MERGE,
      "operation would result in a merge of separate capture sequences"),
    E(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not ended in the same stream as it began"),
    E(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
    E(CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
      "dependency created on uncaptured work in another stream"),
    E(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
      "operation would make the legacy stream depend on a capturing blocking stream"),
    E(CUDA_ERROR_CAPTURED_EVENT,
      "operation not permitted on an event last recorded in a capturing stream"),
    E(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE,
      "the graph update was not performed because it included changes which violated constraints "
      "specific to instantiated graph update"),
    E(CUDA_ERROR_INVALID_CLUSTER_SIZE, "invalid cluster size"),
    E(CUDA_ERROR_UNKNOWN, "unknown error"),
};
#undef E

static CUresult error_text(CUresult code, const char **out, bool name)
{
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code) {
            *out = name ? errors[i].name : errors[i].text;
            return CUDA_SUCCESS;
        }
    *out = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}
CUresult cuGetErrorName(CUresult error, const char **str) { return error_text(error, str, true); }
CUresult cuGetErrorString(CUresult error, const char **str)
{
    return error_text(error, str, false);
}

/* ---- the device ---- */

static CUresult device_ok(CUdevice d)
{
    return !cu_g.init ? CUDA_ERROR_NOT_INITIALIZED : d ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}
#define NEED(x)                                                                                    \
    do {                                                                                           \
        CUresult need_rc = (x);                                                                    \
        if (need_rc != CUDA_SUCCESS) return need_rc;                                               \
    } while (0)
#define NEED_PTR(p)                                                                                \
    do {                                                                                           \
        if (!(p)) return CUDA_ERROR_INVALID_VALUE;                                                 \
    } while (0)

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    if (!cu_g.init) return CUDA_ERROR_NOT_INITIALIZED;
    NEED_PTR(device);
    if (ordinal) return CUDA_ERROR_INVALID_DEVICE;
    *device = 0;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetCount(int *count)
{
    if (!cu_g.init) return CUDA_ERROR_NOT_INITIALIZED;
    NEED_PTR(count);
    *count = 1;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char *name, int len, CUdevice dev)
{
    NEED(device_ok(dev));
    if (!name || len < 1) return CUDA_ERROR_INVALID_VALUE;
    snprintf(name, (size_t)len, "LLMIR PTX simulator (sm_%u)", cu_g.lim.sm);
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
    NEED(device_ok(dev));
    NEED_PTR(uuid);
    memset(uuid->bytes, 0, sizeof uuid->bytes);
    memcpy(uuid->bytes, "LLMIR-PTXSIM", 12);
    return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
    NEED(device_ok(dev));
    NEED_PTR(bytes);
    *bytes = cu_g.lim.memory_bytes;
    return CUDA_SUCCESS;
}
CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
    NEED(device_ok(dev));
    NEED_PTR(major);
    NEED_PTR(minor);
    *major = (int)cu_g.lim.sm / 10, *minor = (int)cu_g.lim.sm % 10;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetPCIBusId(char *id, int len, CUdevice dev)
{
    NEED(device_ok(dev));
    if (!id || len < 13) return CUDA_ERROR_INVALID_VALUE;
    snprintf(id, (size_t)len, "0000:00:00.0");
    return CUDA_SUCCESS;
}
CUresult cuDeviceCanAccessPeer(int *can, CUdevice dev, CUdevice peer)
{
    NEED(device_ok(dev));
    NEED_PTR(can);
    *can = 0;
    return peer ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

static bool attribute(CUdevice_attribute a, int *v)
{
    const ptxsim_limits *l = &cu_g.lim;
    switch ((int)a) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *v = (int)l->max_threads_per_block; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X: *v = (int)l->max_block[0]; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *v = (int)l->max_block[1]; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *v = (int)l->max_block[2]; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *v = (int)l->max_grid[0]; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y: *v = (int)l->max_grid[1]; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *v = (int)l->max_grid[2]; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *v = (int)l->shared_per_block; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        *v = (int)l->shared_per_block_optin;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
        *v = (int)l->shared_per_sm;
        break;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: *v = (int)l->shared_reserved; break;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: *v = 65536; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *v = (int)l->warp_size; break;
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH: *v = 0x7fffffff; break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK: *v = (int)l->registers_per_block; break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: *v = (int)l->registers_per_sm; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *v = (int)l->sm_count; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *v = (int)l->max_threads_per_sm; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: *v = (int)l->max_blocks_per_sm; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *v = (int)l->sm / 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *v = (int)l->sm % 10; break;
    case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED: *v = l->sm >= 90; break;
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *v = 1; break;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: *v = 1; break;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT: *v = 512; break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: /* a simulator has no speed and no caches to speak of */
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *v = 0; break;
    default: *v = 0; return (int)a > 0 && (int)a < 148;
    }
    return true;
}

CUresult cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev)
{
    NEED(device_ok(dev));
    NEED_PTR(pi);
    return attribute(attrib, pi) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* ---- contexts ---- */

static CUcontext context_new(unsigned flags)
{
    CUcontext c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->kind = CU_K_CTX, c->flags = flags, c->refs = 1;
    c->limit[0] = 1024, c->limit[1] = 1 << 20, c->limit[2] = 8 << 20;
    c->next = cu_g.contexts;
    cu_g.contexts = c;
    return c;
}

static void context_free(CUcontext c)
{
    CU_UNLINK(cu_g.contexts, c);
    for (CUmodule m = c->modules, n; m; m = n) n = m->next, cu_module_free(m);
    for (CUstream s = c->streams, n; s; s = n) {
        n = s->next;
        if (s->cap && s->cap->origin == s) cu_capture_drop(s->cap);
        free(s->tail), free(s);
    }
    for (CUevent e = c->events, n; e; e = n) n = e->next, free(e->tail), free(e);
    for (size_t i = 0; i < c->n_alloc; i++) ptxsim_free(cu_g.machine, c->alloc[i], NULL);
    free(c->alloc);
    c->kind = 0;
    free(c);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice dev)
{
    NEED(device_ok(dev));
    NEED_PTR(ctx);
    cu_lock();
    if (cu_g.primary)
        cu_g.primary->refs++;
    else if ((cu_g.primary = context_new(0)))
        cu_g.primary->primary = true;
    *ctx = cu_g.primary;
    cu_unlock();
    return *ctx ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
    NEED(device_ok(dev));
    cu_lock();
    CUresult rc = cu_g.primary ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
    if (!rc && !--cu_g.primary->refs) {
        context_free(cu_g.primary);
        cu_g.primary = NULL;
    }
    cu_unlock();
    return rc;
}
CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
    NEED(device_ok(dev));
    cu_lock();
    if (cu_g.primary) context_free(cu_g.primary);
    cu_g.primary = NULL;
    cu_unlock();
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags) { return device_ok(dev); }
CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
    NEED(device_ok(dev));
    if (flags) *flags = 0;
    if (active) *active = cu_g.primary != NULL;
    return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
    NEED(device_ok(dev));
    NEED_PTR(pctx);
    cu_lock();
    *pctx = context_new(flags);
    cu_unlock();
    return *pctx ? cuCtxPushCurrent_v2(*pctx) : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuCtxCreate_v4(CUcontext *pctx, CUctxCreateParams *params, unsigned int flags,
                        CUdevice dev)
{
    return params ? CUDA_ERROR_NOT_SUPPORTED : cuCtxCreate_v2(pctx, flags, dev);
}
CUresult cuCtxDestroy_v2(CUcontext ctx)
{
    if (!cu_g.init) return CUDA_ERROR_NOT_INITIALIZED;
    cu_lock();
    CUresult rc = !alive(ctx) || ctx->primary ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
    if (!rc) context_free(ctx);
    cu_unlock();
    if (!rc && cu_current() == ctx) stack.n--;
    return rc;
}
CUresult cuCtxPushCurrent_v2(CUcontext ctx)
{
    if (!cu_g.init) return CUDA_ERROR_NOT_INITIALIZED;
    if (stack.n == STACK || (ctx && !alive(ctx))) return CUDA_ERROR_INVALID_CONTEXT;
    stack.ctx[stack.n++] = ctx;
    return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent_v2(CUcontext *pctx)
{
    if (!cu_g.init) return CUDA_ERROR_NOT_INITIALIZED;
    if (!stack.n) return CUDA_ERROR_INVALID_CONTEXT;
    stack.n--;
    if (pctx) *pctx = stack.ctx[stack.n];
    return CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext ctx)
{
    if (!cu_g.init) return CUDA_ERROR_NOT_INITIALIZED;
    if (ctx && !alive(ctx)) return CUDA_ERROR_INVALID_CONTEXT;
    if (stack.n) stack.n--;
    if (ctx) stack.ctx[stack.n++] = ctx;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext *pctx)
{
    if (!cu_g.init) return CUDA_ERROR_NOT_INITIALIZED;
    NEED_PTR(pctx);
    *pctx = cu_current();
    return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice *device)
{
    if (!cu_g.init) return CUDA_ERROR_NOT_INITIALIZED;
    NEED_PTR(device);
    if (!cu_current()) return CUDA_ERROR_INVALID_CONTEXT;
    *device = 0;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetFlags(unsigned int *flags)
{
    CUcontext c;
    NEED(cu_enter(&c));
    NEED_PTR(flags);
    *flags = c->flags;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int *version)
{
    NEED_PTR(version);
    *version = 3020;
    return CUDA_SUCCESS;
}
CUresult cuCtxSynchronize(void)
{
    CUcontext c;
    NEED(cu_enter(&c));
    cu_lock();
    CUresult rc = cu_unsafe_in_capture(c);
    cu_unlock();
    return rc;
}
CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
    CUcontext c;
    NEED(cu_enter(&c));
    if ((unsigned)limit > 2) return CUDA_ERROR_UNSUPPORTED_LIMIT;
    c->limit[limit] = value;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetLimit(size_t *pvalue, CUlimit limit)
{
    CUcontext c;
    NEED(cu_enter(&c));
    NEED_PTR(pvalue);
    if ((unsigned)limit > 2) return CUDA_ERROR_UNSUPPORTED_LIMIT;
    *pvalue = c->limit[limit];
    return CUDA_SUCCESS;
}
CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    CUcontext c;
    NEED(cu_enter(&c));
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return CUDA_SUCCESS;
}
CUresult cuProfilerStart(void) { return CUDA_SUCCESS; }
CUresult cuProfilerStop(void) { return CUDA_SUCCESS; }

/* ---- cuGetProcAddress ---- */

typedef struct proc {
    const char *name;
    int since;
    void *fn, *ptsz;
} proc;
static const proc *procs(size_t *n)
{
#define CU_FN(symbol, name, since, params) {name, since, (void *)symbol, (void *)symbol},
#ifdef PTXSIM_WITH_CUDA_H
#define CU_PT(symbol, name, since, params) {name, since, (void *)symbol, (void *)symbol},
#else
#define CU_PT(symbol, name, since, params) {name, since, (void *)symbol, (void *)symbol##_ptsz},
#endif
    static const proc all[] = {
#include "ptxsim/cuda_api.def"
    };
#undef CU_FN
#undef CU_PT
    *n = sizeof all / sizeof *all;
    return all;
}

CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *status)
{
    NEED_PTR(symbol);
    NEED_PTR(pfn);
    size_t n;
    const proc *p = procs(&n), *best = NULL;
    bool known = false;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(p[i].name, symbol)) continue;
        known = true;
        if (p[i].since <= version && (!best || p[i].since > best->since)) best = &p[i];
    }
    *pfn = best ? (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM ? best->ptsz : best->fn)
                : NULL;
    if (status)
        *status = best    ? CU_GET_PROC_ADDRESS_SUCCESS
                  : known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                          : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return best || status ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

/* ---- findings and counters ---- */

CU_EXPORT size_t llmir_ptxsim_findings(char *out, size_t n)
{
    cu_lock();
    size_t count = cu_g.n_findings;
    if (out && n) snprintf(out, n, "%s", ll_str_cstr(&cu_g.findings));
    cu_unlock();
    return count;
}
CU_EXPORT void llmir_ptxsim_clear(void)
{
    cu_lock();
    ll_str_clear(&cu_g.findings);
    cu_g.n_findings = 0;
    cu_unlock();
}
CU_EXPORT bool llmir_ptxsim_device(unsigned sm)
{
    static const unsigned known[] = {75, 80, 86, 89, 90};
    bool ok = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) ok = ok || known[i] == sm;
    cu_lock();
    if (cu_g.init) ok = cu_g.lim.sm == sm;
    else if (ok) cu_g.wanted_sm = sm;
    cu_unlock();
    return ok;
}
CU_EXPORT void llmir_ptxsim_count(bool on) { cu_g.counters = on; }
CU_EXPORT char *llmir_ptxsim_counters(bool json)
{
    cu_lock();
    char *s = cu_g.counter_text[json] ? strdup(cu_g.counter_text[json]) : NULL;
    cu_unlock();
    return s;
}

/* The shared library as a program sees libcuda.so.1: dlopen, cuGetProcAddress, then contexts,
 * modules, launches, streams, capture and graphs, limits, occupancy, tensor maps. argv[1]: the
 * library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "ptxsim/cuda_abi.h"
#include <llmir/ptxsim_cuda.h>

static void *lib;
static const char ptx[] =
    ".version 7.0\n.target sm_75\n.address_size 64\n"
    ".visible .global .align 4 .u32 counter = 7;\n"
    ".visible .entry scale(.param .u64 p, .param .f32 f, .param .u32 n)\n{\n"
    " .reg .pred %q; .reg .b32 %r<8>; .reg .f32 %f<4>; .reg .b64 %d<6>;\n"
    " ld.param.u64 %d1, [p]; ld.param.f32 %f1, [f]; ld.param.u32 %r1, [n];\n"
    " mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.s32 %r5, %r2, %r3, "
    "%r4;\n"
    " setp.ge.u32 %q, %r5, %r1; @%q bra END;\n"
    " mul.wide.u32 %d2, %r5, 4; add.s64 %d3, %d1, %d2; ld.global.f32 %f2, [%d3]; mul.f32 %f2, %f2, "
    "%f1; st.global.f32 [%d3], %f2;\n"
    "END: ret;\n}\n"
    ".visible .entry bad(.param .u64 p)\n{ .reg .b64 %d<2>; .reg .b32 %r<2>; ld.param.u64 %d1, "
    "[p]; mov.u32 %r1, 1; st.global.u32 [%d1], %r1; ret; }\n"
    ".visible .entry odd(.param .u64 p)\n{ .reg .b64 %d<3>; .reg .b32 %r<2>; ld.param.u64 %d1, "
    "[p]; add.s64 %d1, %d1, 2; mov.u32 %r1, 1; st.global.u32 [%d1], %r1; ret; }\n"
    ".visible .entry stop()\n{ trap; }\n"
    ".visible .entry shared(.param .u64 p)\n.maxntid 64, 1, 1\n{ .reg .b32 %r<6>; .reg .b64 %d<4>; "
    ".shared .align 4 .b8 s[1024];\n"
    " mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, s; add.s32 %r3, %r3, %r2; "
    "st.shared.u32 [%r3], %r1; bar.sync 0; ld.shared.u32 %r4, [%r3];\n"
    " ld.param.u64 %d1, [p]; mul.wide.u32 %d2, %r1, 4; add.s64 %d1, %d1, %d2; st.global.u32 [%d1], "
    "%r4; ret; }\n"
    ".visible .entry race(.param .u64 p)\n{ .reg .b32 %r<6>; .reg .b64 %d<4>; .shared .align 4 .b8 "
    "t[4];\n"
    " mov.u32 %r1, %tid.x; mov.u32 %r3, t; st.shared.u32 [%r3], %r1; bar.sync 0; ld.shared.u32 "
    "%r4, [%r3]; ld.param.u64 %d1, [p]; st.global.u32 [%d1], %r4; ret; }\n";

/* Every function by its name, as a program that never links libcuda does. */
static void *proc(const char *name, int version, int flags)
{
    static __typeof__(CUresult(const char *, void **, int, cuuint64_t,
                               CUdriverProcAddressQueryResult *)) *get;
    void *p = NULL;
    CUdriverProcAddressQueryResult r;
    if (!get) *(void **)&get = dlsym(lib, "cuGetProcAddress_v2");
    assert_non_null(get);
    assert_int_equal(get(name, &p, version, (cuuint64_t)flags, &r), CUDA_SUCCESS);
    if (!p) assert_int_not_equal(r, CU_GET_PROC_ADDRESS_SUCCESS);
    return p;
}

#define CU_FN(symbol, name, since, params) static CUresult(*symbol) params;
#define CU_PT(symbol, name, since, params) CU_FN(symbol, name, since, params)
#include "ptxsim/cuda_api.def"
#undef CU_FN
#undef CU_PT

#define OK(call) assert_int_equal(call, CUDA_SUCCESS)

static CUcontext ctx;
static CUmodule mod;

static int setup(void **s)
{
#define CU_FN(symbol, name, since, params) *(void **)&symbol = proc(name, since, 0);
#define CU_PT(symbol, name, since, params) CU_FN(symbol, name, since, params)
#include "ptxsim/cuda_api.def"
#undef CU_FN
#undef CU_PT
    return 0;
}

static void names_resolve_by_version_and_twins_exist(void **s)
{
    assert_ptr_equal(proc("cuMemAlloc", 12000, 0), dlsym(lib, "cuMemAlloc_v2"));
    assert_ptr_equal(proc("cuCtxCreate", 12000, 0), dlsym(lib, "cuCtxCreate_v2"));
    assert_ptr_equal(proc("cuCtxCreate", 13000, 0), dlsym(lib, "cuCtxCreate_v4"));
    assert_null(proc("cuCtxCreate", 1000, 0));
    assert_null(proc("cuNoSuchThing", 13000, 0));
    assert_ptr_equal(
        proc("cuMemcpyHtoDAsync", 13000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM),
        dlsym(lib, "cuMemcpyHtoDAsync_v2_ptsz"));
    assert_non_null(dlsym(lib, "cuLaunchKernel_ptsz"));
    CUresult (*old)(const char *, void **, int, cuuint64_t);
    void *fn = NULL;
    *(void **)&old = dlsym(lib, "cuGetProcAddress"); /* of CUDA 11.3 */
    OK(old("cuMemFree", &fn, 11030, 0));
    assert_ptr_equal(fn, dlsym(lib, "cuMemFree_v2"));
    assert_int_equal(old("cuNoSuchThing", &fn, 11030, 0), CUDA_ERROR_NOT_FOUND);
    assert_non_null(dlsym(lib, "cuDevicePrimaryCtxRelease"));
    assert_null(dlsym(lib, "ll_fail")); /* insides stay inside */
}

static void nothing_works_before_init(void **s)
{
    int n;
    CUdeviceptr p;
    assert_int_equal(cuDeviceGetCount(&n), CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(cuMemAlloc_v2(&p, 4), CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(cuInit(1), CUDA_ERROR_INVALID_VALUE);
    OK(cuInit(0));
    assert_int_equal(cuMemAlloc_v2(&p, 4), CUDA_ERROR_INVALID_CONTEXT);
}

static void the_device_says_that_it_is_a_simulator(void **s)
{
    CUdevice d;
    char name[100];
    int v, n;
    const char *e;
    OK(cuDeviceGetCount(&n));
    OK(cuDeviceComputeCapability(&v, &n, 0));
    assert_int_equal(v * 10 + n, 80);
    OK(cuDeviceGetCount(&n));
    assert_int_equal(n, 1);
    assert_int_equal(cuDeviceGet(&d, 1), CUDA_ERROR_INVALID_DEVICE);
    OK(cuDeviceGet(&d, 0));
    OK(cuDeviceGetName(name, sizeof name, d));
    assert_non_null(strstr(name, "simulator"));
    OK(cuDeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, d));
    assert_int_equal(v, 8);
    OK(cuDeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, d));
    assert_int_equal(v, 163 * 1024);
    OK(cuDeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, d));
    assert_int_equal(v, 1024);
    assert_int_equal(cuDeviceGetAttribute(&v, (CUdevice_attribute)100000, d),
                     CUDA_ERROR_INVALID_VALUE);
    OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &e));
    assert_string_equal(e, "CUDA_ERROR_ILLEGAL_ADDRESS");
    assert_int_equal(cuGetErrorName((CUresult)12345, &e), CUDA_ERROR_INVALID_VALUE);
    OK(cuDriverGetVersion(&v));
    assert_true(v >= 12000);
}

static void contexts_stack(void **s)
{
    CUcontext c, old;
    OK(cuDevicePrimaryCtxRetain(&ctx, 0));
    OK(cuCtxSetCurrent(ctx));
    OK(cuCtxCreate_v2(&c, 0, 0));
    OK(cuCtxGetCurrent(&old));
    assert_ptr_equal(old, c);
    OK(cuCtxPopCurrent_v2(&old));
    assert_ptr_equal(old, c);
    OK(cuCtxDestroy_v2(c));
    assert_int_equal(cuCtxSetCurrent(c), CUDA_ERROR_INVALID_CONTEXT);
    OK(cuCtxGetCurrent(&old));
    assert_ptr_equal(old, ctx);
}

static void modules_give_functions_globals_and_positions_of_errors(void **s)
{
    CUmodule m;
    CUfunction f;
    CUdeviceptr p;
    size_t n;
    unsigned v;
    char log[256] = "";
    CUjit_option opt[2] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *val[2] = {log, (void *)sizeof log};
    OK(cuModuleLoadData(&mod, ptx));
    OK(cuModuleGetFunction(&f, mod, "scale"));
    assert_int_equal(cuModuleGetFunction(&f, mod, "nothing"), CUDA_ERROR_NOT_FOUND);
    OK(cuModuleGetGlobal_v2(&p, &n, mod, "counter"));
    assert_int_equal(n, 4);
    OK(cuMemcpyDtoH_v2(&v, p, 4));
    assert_int_equal(v, 7);
    assert_int_equal(cuModuleLoadDataEx(&m,
                                        ".version 7.0\n.target sm_80\n.address_size 64\n.visible "
                                        ".entry k()\n{ frobnicate.u32 1; }\n",
                                        2, opt, val),
                     CUDA_ERROR_INVALID_PTX);
    assert_non_null(strstr(log, ":5:"));
    assert_int_equal((uintptr_t)val[1], strlen(log)); /* how much of the buffer was filled */
    log[0] = 'x', val[1] = (void *)sizeof log;
    OK(cuModuleLoadDataEx(&m, ptx, 2, opt, val));
    assert_int_equal((uintptr_t)val[1], 0);
    assert_string_equal(log, "");
    OK(cuModuleUnload(m));
    assert_int_equal(cuModuleLoadData(&m, "\x7f"
                                          "ELF and so on"),
                     CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_int_equal(cuModuleLoad(&m, "/no/such/file.ptx"), CUDA_ERROR_FILE_NOT_FOUND);
}

static void kernels_run_through_both_forms_of_arguments(void **s)
{
    CUfunction f;
    CUdeviceptr p;
    float x[100], factor = 3;
    unsigned n = 100;
    OK(cuModuleGetFunction(&f, mod, "scale"));
    OK(cuMemAlloc_v2(&p, sizeof x));
    for (int i = 0; i < 100; i++) x[i] = (float)i;
    OK(cuMemcpyHtoD_v2(p, x, sizeof x));
    void *args[] = {&p, &factor, &n};
    OK(cuLaunchKernel(f, 2, 1, 1, 64, 1, 1, 0, NULL, args, NULL));
    struct {
        CUdeviceptr p;
        float f;
        unsigned n;
    } packed = {p, 2, 50};
    size_t size = sizeof packed;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
                     CU_LAUNCH_PARAM_END};
    OK(cuLaunchKernel(f, 2, 1, 1, 64, 1, 1, 0, NULL, NULL, extra));
    OK(cuCtxSynchronize());
    OK(cuMemcpyDtoH_v2(x, p, sizeof x));
    for (int i = 0; i < 100; i++) assert_true(x[i] == (float)i * (i < 50 ? 6.0f : 3.0f));
    assert_int_equal(cuLaunchKernel(f, 2, 1, 1, 64, 1, 1, 0, NULL, NULL, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    OK(cuMemFree_v2(p));
    assert_int_equal(cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemcpyHtoD_v2(p, x, 4), CUDA_ERROR_INVALID_VALUE);
}

static void limits_refuse_with_the_codes_of_hardware(void **s)
{
    CUfunction f, g;
    CUdeviceptr p;
    float factor = 1;
    unsigned n = 0;
    int v;
    OK(cuModuleGetFunction(&f, mod, "scale"));
    OK(cuModuleGetFunction(&g, mod, "shared"));
    OK(cuMemAlloc_v2(&p, 4096));
    void *args[] = {&p, &factor, &n};
    assert_int_equal(cuLaunchKernel(f, 1, 1, 1, 1025, 1, 1, 0, NULL, args, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(f, 1, 1, 1, 32, 64, 1, 0, NULL, args, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(f, 0, 1, 1, 32, 1, 1, 0, NULL, args, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(f, 1, 65536, 1, 32, 1, 1, 0, NULL, args, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(f, 1, 1, 1, 1, 1, 65, 0, NULL, args, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(g, 1, 1, 1, 96, 1, 1, 0, NULL, args, NULL),
                     CUDA_ERROR_INVALID_VALUE); /* .maxntid */
    assert_int_equal(cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 49153, NULL, args, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(
        cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 163 * 1024 + 1),
        CUDA_ERROR_INVALID_VALUE);
    OK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 100000));
    OK(cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 100000, NULL, args, NULL));
    OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, g));
    assert_int_equal(v, 1024);
    OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, g));
    assert_int_equal(v, 64);
    OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_PTX_VERSION, g));
    assert_int_equal(v, 70);
    CUlaunchAttribute a = {.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE};
    a.value.cooperative = 1;
    CUlaunchConfig c = {.gridDimX = 1000000,
                        .gridDimY = 1,
                        .gridDimZ = 1,
                        .blockDimX = 32,
                        .blockDimY = 1,
                        .blockDimZ = 1,
                        .attrs = &a,
                        .numAttrs = 1};
    assert_int_equal(cuLaunchKernelEx(&c, f, args, NULL), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    c.gridDimX = 4;
    OK(cuLaunchKernelEx(&c, f, args, NULL));
    a.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, a.value.clusterDim.x = 2,
    a.value.clusterDim.y = a.value.clusterDim.z = 1;
    assert_int_equal(cuLaunchKernelEx(&c, f, args, NULL),
                     CUDA_ERROR_INVALID_VALUE); /* clusters need sm_90 */
    OK(cuMemFree_v2(p));
}

static void occupancy_counts_threads_and_shared_memory(void **s)
{
    CUfunction g;
    int n, grid, block;
    size_t room;
    OK(cuModuleGetFunction(&g, mod, "shared"));
    OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&n, g, 64, 0));
    assert_int_equal(n, 32);
    OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&n, g, 64,
                                                   39 * 1024)); /* 39 + 1 + 1 KiB of 164 */
    assert_int_equal(n, 4);
    OK(cuOccupancyMaxPotentialBlockSize(&grid, &block, g, NULL, 0, 0));
    assert_int_equal(block, 64);
    assert_true(grid > 0);
    OK(cuOccupancyAvailableDynamicSMemPerBlock(&room, g, 2, 64));
    assert_int_equal(room, 82 * 1024 - 2048);
}

static void streams_events_and_host_functions_run_in_order(void **s)
{
    CUstream st;
    CUevent a, b;
    CUdeviceptr p;
    float ms;
    unsigned v[4];
    OK(cuStreamCreate(&st, CU_STREAM_NON_BLOCKING));
    OK(cuEventCreate(&a, 0));
    OK(cuEventCreate(&b, 0));
    OK(cuMemAlloc_v2(&p, 16));
    OK(cuEventRecord(a, st));
    OK(cuMemsetD32Async(p, 0x01020304, 4, st));
    OK(cuMemsetD8Async(p + 4, 9, 1, st));
    OK(cuMemcpyDtoHAsync_v2(v, p, 16, st));
    OK(cuEventRecord(b, st));
    OK(cuStreamWaitEvent(NULL, b, 0));
    OK(cuStreamSynchronize(st));
    assert_int_equal(v[0], 0x01020304);
    assert_int_equal(v[1], 0x01020309);
    OK(cuEventElapsedTime_v2(&ms, a, b));
    assert_true(ms >= 0);
    OK(cuEventQuery(b));
    OK(cuEventDestroy_v2(a));
    assert_int_equal(cuEventQuery(a), CUDA_ERROR_INVALID_HANDLE);
    OK(cuEventDestroy_v2(b));
    OK(cuStreamDestroy_v2(st));
    assert_int_equal(cuStreamSynchronize(st), CUDA_ERROR_INVALID_HANDLE);
    OK(cuMemFree_v2(p));
}

static void add_one(void *user) { ++*(int *)user; }

static void captured_work_runs_when_its_graph_is_launched(void **s)
{
    CUstream st, side;
    CUevent fork, back;
    CUgraph g;
    CUgraphExec x;
    CUfunction f;
    CUdeviceptr p;
    CUstreamCaptureStatus status;
    float in[64], out[64], factor = 2;
    unsigned n = 64;
    int calls = 0;
    size_t nodes = 0;
    OK(cuModuleGetFunction(&f, mod, "scale"));
    OK(cuStreamCreate(&st, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&side, CU_STREAM_NON_BLOCKING));
    OK(cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
    OK(cuEventCreate(&back, CU_EVENT_DISABLE_TIMING));
    OK(cuMemAlloc_v2(&p, sizeof in));
    void *args[] = {&p, &factor, &n};
    OK(cuStreamBeginCapture_v2(st, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    OK(cuMemcpyHtoDAsync_v2(p, in, sizeof in, st));
    OK(cuEventRecord(fork, st));
    OK(cuStreamWaitEvent(side, fork, 0));
    OK(cuStreamIsCapturing(side, &status));
    assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    OK(cuLaunchHostFunc(side, add_one, &calls));
    OK(cuEventRecord(back, side));
    OK(cuLaunchKernel(f, 1, 1, 1, 64, 1, 1, 0, st, args, NULL));
    factor = 100; /* arguments are taken when captured */
    OK(cuStreamWaitEvent(st, back, 0));
    OK(cuMemcpyDtoHAsync_v2(out, p, sizeof out, st));
    OK(cuStreamEndCapture(st, &g));
    OK(cuGraphGetNodes(g, NULL, &nodes));
    assert_int_equal(nodes, 4);
    assert_int_equal(calls, 0);
    OK(cuGraphInstantiateWithFlags(&x, g, 0));
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < 64; i++) in[i] = (float)(i * round), out[i] = -1;
        OK(cuGraphLaunch(x, st));
        OK(cuStreamSynchronize(st));
        assert_int_equal(calls, round);
        for (int i = 0; i < 64; i++) assert_true(out[i] == (float)(2 * i * round));
    }
    /* another factor for the kernel's node */
    CUgraphNode all[4];
    CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
    OK(cuGraphGetNodes(g, all, &nodes));
    CUDA_KERNEL_NODE_PARAMS k = {.func = f,
                                 .gridDimX = 1,
                                 .gridDimY = 1,
                                 .gridDimZ = 1,
                                 .blockDimX = 64,
                                 .blockDimY = 1,
                                 .blockDimZ = 1,
                                 .kernelParams = args};
    for (size_t i = 0; i < nodes; i++) {
        OK(cuGraphNodeGetType(all[i], &type));
        if (type == CU_GRAPH_NODE_TYPE_KERNEL) OK(cuGraphExecKernelNodeSetParams_v2(x, all[i], &k));
    }
    OK(cuGraphLaunch(x, st));
    assert_true(out[3] == in[3] * 100);
    CUgraphExecUpdateResultInfo info;
    OK(cuGraphExecUpdate_v2(x, g, &info));
    OK(cuGraphLaunch(x, st));
    assert_true(out[3] == in[3] * 2);
    OK(cuGraphExecDestroy(x));
    OK(cuGraphDestroy(g));
    /* the same nodes with other edges are no update */
    CUgraph chain, fan;
    CUgraphNode a, b;
    OK(cuGraphCreate(&chain, 0));
    OK(cuGraphAddKernelNode_v2(&a, chain, NULL, 0, &k));
    OK(cuGraphAddKernelNode_v2(&b, chain, &a, 1, &k));
    OK(cuGraphCreate(&fan, 0));
    OK(cuGraphAddKernelNode_v2(&a, fan, NULL, 0, &k));
    OK(cuGraphAddKernelNode_v2(&b, fan, NULL, 0, &k));
    OK(cuGraphInstantiateWithFlags(&x, chain, 0));
    OK(cuGraphExecUpdate_v2(x, chain, &info));
    assert_int_equal(cuGraphExecUpdate_v2(x, fan, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    OK(cuGraphExecDestroy(x));
    OK(cuGraphDestroy(chain));
    OK(cuGraphDestroy(fan));
    /* mistakes of capture */
    OK(cuStreamBeginCapture_v2(st, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CUdeviceptr q;
    assert_int_equal(cuMemAlloc_v2(&q, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(cuStreamEndCapture(st, &g), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    OK(cuStreamBeginCapture_v2(st, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cuEventRecord(fork, st));
    OK(cuStreamWaitEvent(side, fork, 0));
    OK(cuLaunchHostFunc(side, add_one, &calls));
    assert_int_equal(cuStreamEndCapture(side, &g), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    assert_int_equal(cuStreamEndCapture(st, &g), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    assert_int_equal(cuStreamEndCapture(st, &g), CUDA_ERROR_ILLEGAL_STATE);
    assert_int_equal(cuStreamBeginCapture_v2(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL),
                     CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    OK(cuStreamDestroy_v2(side));
    OK(cuStreamDestroy_v2(st));
    OK(cuMemFree_v2(p));
}

static void host_memory_is_mapped_and_plain_pointers_are_not(void **s)
{
    CUfunction f;
    CUdeviceptr d;
    float *h, factor = 4, plain[4] = {1, 2, 3, 4};
    unsigned n = 4, type;
    OK(cuModuleGetFunction(&f, mod, "scale"));
    OK(cuMemHostAlloc((void **)&h, 64, CU_MEMHOSTALLOC_DEVICEMAP));
    for (int i = 0; i < 4; i++) h[i] = (float)i;
    OK(cuMemHostGetDevicePointer_v2(&d, h, 0));
    void *args[] = {&d, &factor, &n};
    OK(cuLaunchKernel(f, 1, 1, 1, 4, 1, 1, 0, NULL, args, NULL));
    OK(cuCtxSynchronize());
    assert_true(h[3] == 12);
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, d));
    assert_int_equal(type, CU_MEMORYTYPE_HOST);
    OK(cuMemFreeHost(h));
    assert_int_equal(cuMemHostGetDevicePointer_v2(&d, plain, 0), CUDA_ERROR_INVALID_VALUE);
    OK(cuMemAlloc_v2(&d, 64));
    assert_true(d != (CUdeviceptr)(uintptr_t)plain);
    OK(cuMemFree_v2(d));
}

static void tensor_maps_follow_the_rules_of_the_driver(void **s)
{
    CUtensorMap m;
    cuuint64_t dim[2] = {64, 128}, stride[1] = {128};
    cuuint32_t box[2] = {64, 64}, one[2] = {1, 1};
    void *addr = (void *)0x10000;
#define ENCODE(...)                                                                                \
    cuTensorMapEncodeTiled(&m, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, __VA_ARGS__,                    \
                           CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
    OK(ENCODE(addr, dim, stride, box, one, CU_TENSOR_MAP_INTERLEAVE_NONE,
              CU_TENSOR_MAP_SWIZZLE_128B));
    assert_int_equal(ENCODE((void *)0x10008, dim, stride, box, one, CU_TENSOR_MAP_INTERLEAVE_NONE,
                            CU_TENSOR_MAP_SWIZZLE_128B),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(ENCODE(addr, dim, stride, box, one, CU_TENSOR_MAP_INTERLEAVE_NONE,
                            CU_TENSOR_MAP_SWIZZLE_64B),
                     CUDA_ERROR_INVALID_VALUE);
    stride[0] = 120;
    assert_int_equal(ENCODE(addr, dim, stride, box, one, CU_TENSOR_MAP_INTERLEAVE_NONE,
                            CU_TENSOR_MAP_SWIZZLE_128B),
                     CUDA_ERROR_INVALID_VALUE);
    stride[0] = 128, box[1] = 257;
    assert_int_equal(ENCODE(addr, dim, stride, box, one, CU_TENSOR_MAP_INTERLEAVE_NONE,
                            CU_TENSOR_MAP_SWIZZLE_128B),
                     CUDA_ERROR_INVALID_VALUE);
}

static void findings_are_kept_for_the_caller(void **s)
{
    CUfunction f;
    CUdeviceptr p;
    char text[1000];
    llmir_ptxsim_findings_fn *findings;
    llmir_ptxsim_clear_fn *clear;
    *(void **)&findings = dlsym(lib, "llmir_ptxsim_findings");
    *(void **)&clear = dlsym(lib, "llmir_ptxsim_clear");
    assert_int_equal(findings(NULL, 0), 0);
    OK(cuModuleGetFunction(&f, mod, "race"));
    OK(cuMemAlloc_v2(&p, 4));
    void *args[] = {&p};
    OK(cuLaunchKernel(f, 1, 1, 1, 64, 1, 1, 0, NULL, args, NULL));
    OK(cuCtxSynchronize());
    assert_true(findings(text, sizeof text) > 0);
    assert_non_null(strstr(text, "race"));
    clear();
    assert_int_equal(findings(NULL, 0), 0);
    OK(cuMemFree_v2(p));
}

static void failed_kernels_break_the_context_as_on_hardware(void **s)
{
    static const struct {
        const char *name;
        CUresult want;
    } cases[] = {
        {"bad", CUDA_ERROR_ILLEGAL_ADDRESS},
        {"odd", CUDA_ERROR_MISALIGNED_ADDRESS},
        {"stop", CUDA_ERROR_LAUNCH_FAILED},
    };
    unsigned plain[4];
    for (size_t i = 0; i < 3; i++) {
        CUcontext c;
        CUmodule m;
        CUfunction f;
        CUdeviceptr p;
        OK(cuCtxCreate_v2(&c, 0, 0));
        OK(cuModuleLoadData(&m, ptx));
        OK(cuModuleGetFunction(&f, m, cases[i].name));
        OK(cuMemAlloc_v2(&p, 64));
        CUdeviceptr arg = i == 0 ? (CUdeviceptr)(uintptr_t)plain : p;
        void *args[] = {&arg};
        OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, args,
                          NULL)); /* told later, as by a driver */
        assert_int_equal(cuCtxSynchronize(), cases[i].want);
        assert_int_equal(cuMemAlloc_v2(&p, 64), cases[i].want);
        OK(cuCtxDestroy_v2(c));
    }
    CUdeviceptr p;
    OK(cuCtxSetCurrent(ctx));
    OK(cuMemAlloc_v2(&p, 64));
    OK(cuMemFree_v2(p));
}

static void everything_can_be_given_back(void **s)
{
    CUfunction f;
    CUcontext c;
    OK(cuModuleUnload(mod));
    assert_int_equal(cuModuleGetFunction(&f, mod, "scale"), CUDA_ERROR_INVALID_HANDLE);
    OK(cuDevicePrimaryCtxRelease_v2(0));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    OK(cuDevicePrimaryCtxRetain(&c, 0));
    OK(cuCtxSetCurrent(c));
    OK(cuCtxSynchronize());
    OK(cuDevicePrimaryCtxReset_v2(0));
}

int main(int argc, char **argv)
{
    setenv("LLMIR_PTXSIM_PTXAS", "",
           1); /* register counts would make results depend on the machine */
    lib = dlopen(argc > 1 ? argv[1] : "libllmir_ptxsim.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        print_error("%s\n", dlerror());
        return 1;
    }
    const struct CMUnitTest t[] = {
        cmocka_unit_test(names_resolve_by_version_and_twins_exist),
        cmocka_unit_test(nothing_works_before_init),
        cmocka_unit_test(the_device_says_that_it_is_a_simulator),
        cmocka_unit_test(contexts_stack),
        cmocka_unit_test(modules_give_functions_globals_and_positions_of_errors),
        cmocka_unit_test(kernels_run_through_both_forms_of_arguments),
        cmocka_unit_test(limits_refuse_with_the_codes_of_hardware),
        cmocka_unit_test(occupancy_counts_threads_and_shared_memory),
        cmocka_unit_test(streams_events_and_host_functions_run_in_order),
        cmocka_unit_test(captured_work_runs_when_its_graph_is_launched),
        cmocka_unit_test(host_memory_is_mapped_and_plain_pointers_are_not),
        cmocka_unit_test(tensor_maps_follow_the_rules_of_the_driver),
        cmocka_unit_test(findings_are_kept_for_the_caller),
        cmocka_unit_test(failed_kernels_break_the_context_as_on_hardware),
        cmocka_unit_test(everything_can_be_given_back),
    };
    return cmocka_run_group_tests(t, setup, NULL);
}

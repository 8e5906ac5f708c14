/* cuda_driver.h: the CUDA driver's interface as a table of pointers, loaded with dlopen: our
 * own prototypes, so that no CUDA Toolkit is needed. Where one is found, cuda_prototypes.c
 * compiles this header on top of cuda.h, which proves every prototype and constant of the list,
 * cuda_driver.def.
 *
 * The library is libcuda.so.1, or the one that LLMIR_CUDA_LIBRARY names; for the device "sim" it is
 * libllmir_ptxsim.so.1, looked for where LLMIR_PTXSIM_LIBRARY says, beside this library, in the
 * folder ../ptxsim from there (a build tree), and by the loader. */
#ifndef LLMIR_RUNTIME_CUDA_DRIVER_H
#define LLMIR_RUNTIME_CUDA_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llmir/ptxsim_cuda.h>

#include "base/status.h"

#ifdef RT_WITH_CUDA_H
#include <cuda.h>
#else
typedef int CUresult, CUdevice, CUdevice_attribute, CUfunction_attribute, CUjit_option,
    CUstreamCaptureMode;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUevent_st *CUevent;
typedef struct CUstream_st *CUstream;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
enum {
#define CU_FN(name, symbol, params)
#define CU_MAY(name, symbol, params)
#define CU_VALUE(name, value) name = value,
#include "runtime/cuda_driver.def"
#undef CU_FN
#undef CU_MAY
#undef CU_VALUE
};
#define CU_LAUNCH_PARAM_END ((void *)0)
#define CU_LAUNCH_PARAM_BUFFER_POINTER ((void *)1)
#define CU_LAUNCH_PARAM_BUFFER_SIZE ((void *)2)
#endif

typedef struct rt_cuda {
    void *lib;
    char path[512]; /* as it was found, for messages */
    int version;    /* 12040 for 12.4 */
    /* NULL: not our simulator */
    llmir_ptxsim_findings_fn *findings;
#define CU_FN(name, symbol, params) CUresult(*name) params;
#define CU_MAY CU_FN
#define CU_VALUE(name, value)
#include "runtime/cuda_driver.def"
#undef CU_FN
#undef CU_MAY
#undef CU_VALUE
} rt_cuda;

/* Loads it; `sim`: our simulator. LL_NO_DEVICE: no such library, or too old. */
ll_code rt_cuda_open(rt_cuda *cu, bool sim, ll_error *err);
/* The same, and initialises it, the simulator as compute capability sim_sm (0: its default).
 * LL_NO_DEVICE: no GPU. */
ll_code rt_cuda_load(rt_cuda *cu, bool sim, uint32_t sim_sm, ll_error *err);
void rt_cuda_unload(rt_cuda *cu); /* the code stays; also after a failure */

/* The status that goes with a failed call, and "WHAT: CUDA_ERROR_X (its text)". Takes a sentence
 * without an end. */
ll_code rt_cuda_fail(const rt_cuda *cu, CUresult rc, ll_error *err, const char *what, ...)
    __attribute__((format(printf, 4, 5)));

#endif

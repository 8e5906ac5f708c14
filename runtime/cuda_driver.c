/* cuda_driver.c: see cuda_driver.h. */
#include "runtime/cuda_driver.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIM "libllmir_ptxsim.so.1"

/* The code must stay when the handle goes: threads of a driver may still be in it. */
static bool open_at(rt_cuda *cu, const char *path)
{
    cu->lib = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (cu->lib) snprintf(cu->path, sizeof cu->path, "%s", path);
    return cu->lib;
}

/* Beside this library, then in a build tree, then where the loader looks. */
static bool open_sim(rt_cuda *cu)
{
    static const char *const places[] = {"/" SIM, "/../ptxsim/" SIM};
    char path[512];
    Dl_info self;
    if (dladdr((const void *)(uintptr_t)rt_cuda_load, &self) && self.dli_fname) {
        const char *slash = strrchr(self.dli_fname, '/');
        int n = slash ? (int)(slash - self.dli_fname) : 0;
        for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
            snprintf(path, sizeof path, "%.*s%s", n, self.dli_fname, places[i]);
            if (open_at(cu, path)) return true;
        }
    }
    return open_at(cu, SIM);
}

static ll_code find_symbols(rt_cuda *cu, ll_error *err)
{
    const char *missing = NULL;
#define CU_FN(name, symbol, params)                                                                \
    *(void **)(void *)&cu->name = dlsym(cu->lib, symbol);                                          \
    if (!cu->name && !missing) missing = symbol;
#define CU_MAY(name, symbol, params) *(void **)(void *)&cu->name = dlsym(cu->lib, symbol);
#define CU_VALUE(name, value)
#include "runtime/cuda_driver.def"
#undef CU_FN
#undef CU_MAY
#undef CU_VALUE
    *(void **)(void *)&cu->findings = dlsym(cu->lib, "llmir_ptxsim_findings");
    if (!missing) return LL_OK;
    return ll_fail(err, LL_NO_DEVICE,
                   "%s: no CUDA driver, or one older than CUDA 11.4: it lacks %s", cu->path,
                   missing);
}

static ll_code choose_sm(rt_cuda *cu, uint32_t sm, ll_error *err)
{
    llmir_ptxsim_device_fn *device;
    *(void **)(void *)&device = dlsym(cu->lib, "llmir_ptxsim_device");
    if (!device)
        return ll_fail(err, LL_NO_DEVICE, "%s: not the simulator, or an older one", cu->path);
    if (device(sm)) return LL_OK;
    return ll_fail(err, LL_NO_DEVICE,
                   "%s: it does not simulate sm_%u, or is in use as another device in this process",
                   cu->path, sm);
}

ll_code rt_cuda_open(rt_cuda *cu, bool sim, ll_error *err)
{
    const char *named = getenv(sim ? "LLMIR_PTXSIM_LIBRARY" : "LLMIR_CUDA_LIBRARY");
    *cu = (rt_cuda){0};
    bool found = named && *named ? open_at(cu, named)
                 : sim           ? open_sim(cu)
                                 : open_at(cu, "libcuda.so.1");
    if (!found) {
        const char *why = dlerror();
        return ll_fail(err, LL_NO_DEVICE, "no %s: %s", sim ? "simulator" : "CUDA driver",
                       why ? why : "it does not load");
    }
    return find_symbols(cu, err);
}

ll_code rt_cuda_load(rt_cuda *cu, bool sim, uint32_t sim_sm, ll_error *err)
{
    LL_TRY(rt_cuda_open(cu, sim, err));
    if (sim && sim_sm) LL_TRY(choose_sm(cu, sim_sm, err));
    CUresult rc = cu->Init(0);
    if (rc == CUDA_ERROR_NO_DEVICE)
        return ll_fail(err, LL_NO_DEVICE, "%s: the driver finds no GPU", cu->path);
    if (rc) {
        rt_cuda_fail(cu, rc, err, "%s: the driver does not start", cu->path);
        if (err) err->code = LL_NO_DEVICE;
        return LL_NO_DEVICE;
    }
    cu->DriverGetVersion(&cu->version);
    return LL_OK;
}

void rt_cuda_unload(rt_cuda *cu)
{
    if (cu->lib) dlclose(cu->lib);
    cu->lib = NULL;
}

static ll_code code_of(CUresult rc)
{
    switch ((int)rc) {
    case CUDA_ERROR_OUT_OF_MEMORY: return LL_NO_SPACE;
    case CUDA_ERROR_INVALID_PTX: return LL_BAD_INPUT;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION: return LL_NO_DEVICE;
    default: return LL_FAILED;
    }
}

ll_code rt_cuda_fail(const rt_cuda *cu, CUresult rc, ll_error *err, const char *what, ...)
{
    char sentence[640];
    const char *name = NULL, *text = NULL;
    va_list ap;
    va_start(ap, what);
    vsnprintf(sentence, sizeof sentence, what, ap);
    va_end(ap);
    cu->GetErrorName(rc, &name);
    cu->GetErrorString(rc, &text);
    return ll_fail(err, code_of(rc), "%s: %s (%s)", sentence, name ? name : "an unknown error",
                   text ? text : "?");
}

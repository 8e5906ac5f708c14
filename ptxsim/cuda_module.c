/* cuda_module.c: modules, libraries, functions and their attributes. Only PTX text loads; cubins
 * and fat binaries are refused as a device without a matching image would. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "ptxsim/cuda_state.h"

#define ENTER(c)                                                                                   \
    CUcontext c;                                                                                   \
    do {                                                                                           \
        CUresult enter_rc = cu_enter(&c);                                                          \
        if (enter_rc != CUDA_SUCCESS) return enter_rc;                                             \
    } while (0)

/* ---- loading ---- */

/* Where the caller wants the compiler's words (CU_JIT_*_LOG_BUFFER); the option that gave the size
 * of a buffer receives how much of it was filled. */
typedef struct jit_log {
    char *error, *info;
    size_t error_n, info_n;
    void **error_filled, **info_filled;
} jit_log;

static jit_log log_of(unsigned n, const CUjit_option *options, void **values)
{
    jit_log l = {0};
    for (unsigned i = 0; i < n; i++) switch ((int)options[i]) {
        case CU_JIT_ERROR_LOG_BUFFER: l.error = values[i]; break;
        case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
            l.error_n = (unsigned)(uintptr_t)values[i], l.error_filled = &values[i];
            break;
        case CU_JIT_INFO_LOG_BUFFER: l.info = values[i]; break;
        case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
            l.info_n = (unsigned)(uintptr_t)values[i], l.info_filled = &values[i];
            break;
        default: break;
        }
    return l;
}

static void tell(char *buffer, size_t n, void **filled, const char *words)
{
    size_t size = strlen(words);
    if (buffer && n) snprintf(buffer, n, "%s", words);
    else n = 0;
    if (filled) *filled = (void *)(uintptr_t)(size < n ? size : n ? n - 1 : 0);
}

static int ptx_version_of(const char *text)
{
    const char *v = strstr(text, ".version");
    int major = 0, minor = 0;
    return v && sscanf(v, ".version %d.%d", &major, &minor) == 2 ? major * 10 + minor : 0;
}

static CUresult load(CUcontext c, const char *text, size_t n, const char *name, const jit_log *log,
                     CUmodule *out)
{
    ptxsim_error e = {0};
    unsigned char head[4] = {0};
    memcpy(head, text, n < 4 ? n : 4);
    if (!memcmp(head,
                "\x7f"
                "ELF",
                4) ||
        !memcmp(head, "\x50\xed\x55\xba", 4))
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    CUmodule m = calloc(1, sizeof *m);
    if (!m || !(m->text = strndup(text, n))) {
        free(m);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult rc = cu_code(ptxsim_load(cu_g.machine, text, n, name, &m->mod, &e));
    tell(log->info, log->info_n, log->info_filled, "");
    tell(log->error, log->error_n, log->error_filled, rc ? e.msg : "");
    if (rc) {
        if (cu_g.log_path[0]) {
            FILE *f = fopen(cu_g.log_path, "a");
            if (f) fprintf(f, "%s\n", e.msg), fclose(f);
        }
        free(m->text), free(m);
        return rc;
    }
    m->kind = CU_K_MODULE, m->ctx = c, m->ptx_version = ptx_version_of(m->text),
    m->next = c->modules;
    c->modules = *out = m;
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int n,
                            CUjit_option *options, void **values)
{
    ENTER(c);
    if (!module || !image || (n && (!options || !values))) return CUDA_ERROR_INVALID_VALUE;
    jit_log log = log_of(n, options, values);
    cu_lock();
    CUresult rc = load(c, image, strlen(image), "module", &log, module);
    cu_unlock();
    return rc;
}
CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}
CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image)
{
    return module && image ? CUDA_ERROR_NO_BINARY_FOR_GPU : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuModuleLoad(CUmodule *module, const char *fname)
{
    ENTER(c);
    void *p;
    size_t n;
    if (!module || !fname) return CUDA_ERROR_INVALID_VALUE;
    ll_code lc = ll_file_read(fname, (size_t)1 << 30, &p, &n, NULL);
    if (lc != LL_OK)
        return lc == LL_NO_SPACE ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_FILE_NOT_FOUND;
    const char *slash = strrchr(fname, '/');
    jit_log log = {0};
    cu_lock();
    CUresult rc = load(c, p, n, slash ? slash + 1 : fname, &log, module);
    cu_unlock();
    free(p);
    return rc;
}

void cu_module_free(CUmodule m)
{
    for (CUfunction f = m->funcs, n; f; f = n) n = f->next, f->kind = 0, free(f);
    ptxsim_unload(m->mod);
    m->kind = 0;
    free(m->text), free(m);
}

static CUmodule find_module(CUcontext c, CUmodule handle)
{
    for (CUmodule m = c->modules; m; m = m->next)
        if (m == handle) return m;
    return NULL;
}

CUresult cuModuleUnload(CUmodule hmod)
{
    ENTER(c);
    cu_lock();
    bool found = CU_UNLINK(c->modules, hmod);
    if (found) cu_module_free(hmod);
    cu_unlock();
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
    if (!mode) return CUDA_ERROR_INVALID_VALUE;
    *mode = CU_MODULE_EAGER_LOADING;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name)
{
    ENTER(c);
    if (!hfunc || !name) return CUDA_ERROR_INVALID_VALUE;
    cu_lock();
    CUresult rc = find_module(c, hmod) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    const ptxsim_kernel *k = rc ? NULL : ptxsim_find(hmod->mod, name);
    if (!rc && !k) rc = CUDA_ERROR_NOT_FOUND;
    CUfunction f = rc ? NULL : hmod->funcs;
    while (f && f->kernel != k) f = f->next;
    if (!rc && !f) {
        if (!(f = calloc(1, sizeof *f))) {
            rc = CUDA_ERROR_OUT_OF_MEMORY;
        } else {
            f->kind = CU_K_FUNC, f->mod = hmod, f->kernel = k, f->info = ptxsim_info(k),
            f->carveout = -1;
            int room = (int)cu_g.lim.shared_per_block - (int)f->info->static_shared;
            f->max_dynamic = room > 0 ? room : 0;
            f->next = hmod->funcs;
            hmod->funcs = f;
        }
    }
    *hfunc = f;
    cu_unlock();
    return rc;
}
CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule mod)
{
    ENTER(c);
    if (!count || !find_module(c, mod)) return CUDA_ERROR_INVALID_VALUE;
    *count = (unsigned)ptxsim_kernel_count(mod->mod);
    return CUDA_SUCCESS;
}
CUresult cuModuleGetGlobal_v2(CUdeviceptr *dptr, size_t *bytes, CUmodule hmod, const char *name)
{
    ENTER(c);
    uint64_t addr, size;
    ptxsim_error e = {0};
    if (!name || (!dptr && !bytes)) return CUDA_ERROR_INVALID_VALUE;
    if (!find_module(c, hmod)) return CUDA_ERROR_INVALID_HANDLE;
    if (ptxsim_symbol(hmod->mod, name, &addr, &size, &e) != PTXSIM_OK) return CUDA_ERROR_NOT_FOUND;
    if (dptr) *dptr = addr;
    if (bytes) *bytes = size;
    return CUDA_SUCCESS;
}

/* A library is a module, a kernel of it a function. */
CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *options,
                           void **values, unsigned int n, CUlibraryOption *lib_options,
                           void **lib_values, unsigned int n_lib)
{
    return cuModuleLoadDataEx((CUmodule *)library, code, n, options, values);
}
CUresult cuLibraryUnload(CUlibrary library) { return cuModuleUnload((CUmodule)library); }
CUresult cuLibraryGetModule(CUmodule *mod, CUlibrary library)
{
    if (!mod || !cu_is(library, CU_K_MODULE)) return CUDA_ERROR_INVALID_VALUE;
    *mod = (CUmodule)library;
    return CUDA_SUCCESS;
}
CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
    return cuModuleGetFunction((CUfunction *)kernel, (CUmodule)library, name);
}
CUresult cuKernelGetFunction(CUfunction *func, CUkernel kernel)
{
    if (!func || !cu_is(kernel, CU_K_FUNC)) return CUDA_ERROR_INVALID_HANDLE;
    *func = (CUfunction)kernel;
    return CUDA_SUCCESS;
}

/* ---- functions ---- */

CUfunction cu_func_of(CUfunction f) { return cu_is(f, CU_K_FUNC) ? f : NULL; }

/* Registers a thread, from `ptxas -v`, asked once per function and only when somebody needs to
 * know. */
static int ask_ptxas(CUfunction f)
{
    char dir[] = "/tmp/llmir-ptxas-XXXXXX", cmd[2048], line[512];
    int regs = -1;
    if (!cu_g.ptxas[0] || strchr(cu_g.ptxas, '\'') || !mkdtemp(dir)) return -1;
    snprintf(cmd, sizeof cmd, "%s/m.ptx", dir);
    if (ll_file_write(cmd, f->mod->text, strlen(f->mod->text), NULL) == LL_OK) {
        const char *suffix = cu_g.lim.sm == 90 && strstr(f->mod->text, "sm_90a") ? "a" : "";
        snprintf(cmd, sizeof cmd, "'%s' -v -arch=sm_%u%s -o %s/m.cubin %s/m.ptx 2>&1", cu_g.ptxas,
                 cu_g.lim.sm, suffix, dir, dir);
        FILE *p = popen(cmd, "r");
        bool here = false;
        while (p && fgets(line, sizeof line,
                          p)) { /* "Compiling entry function 'NAME'" ... "Used N registers" */
            char *q = strstr(line, "entry function '"), *u = strstr(line, "Used ");
            size_t len = strlen(f->info->name);
            if (q) here = !strncmp(q + 16, f->info->name, len) && q[16 + len] == '\'';
            if (u && here) regs = atoi(u + 5), here = false;
        }
        if (p) pclose(p);
    }
    snprintf(cmd, sizeof cmd, "%s/m.cubin", dir);
    remove(cmd);
    snprintf(cmd, sizeof cmd, "%s/m.ptx", dir);
    remove(cmd);
    remove(dir);
    return regs > 0 ? regs : -1;
}

int cu_func_regs(CUfunction f)
{
    if (!f->regs) f->regs = ask_ptxas(f);
    return f->regs;
}

CUresult cuFuncGetAttribute(int *pi, CUfunction_attribute attrib, CUfunction hfunc)
{
    ENTER(c);
    CUfunction f = cu_func_of(hfunc);
    if (!pi) return CUDA_ERROR_INVALID_VALUE;
    if (!f) return CUDA_ERROR_INVALID_HANDLE;
    const ptxsim_kernel_info *k = f->info;
    cu_lock();
    switch ((int)attrib) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *pi = k->max_threads ? (int)k->max_threads : (int)cu_g.lim.max_threads_per_block;
        break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *pi = (int)k->static_shared; break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: *pi = 0; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *pi = (int)k->local_bytes; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *pi = cu_func_regs(f) > 0 ? f->regs : 0; break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION: *pi = f->mod->ptx_version; break;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *pi = (int)cu_g.lim.sm; break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *pi = f->max_dynamic; break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *pi = f->carveout; break;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET: *pi = 0; break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH: *pi = (int)k->reqcluster[0]; break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT: *pi = (int)k->reqcluster[1]; break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH: *pi = (int)k->reqcluster[2]; break;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: *pi = f->non_portable_cluster; break;
    default: *pi = 0;
    }
    cu_unlock();
    return (int)attrib >= 0 && (int)attrib <= 15 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value)
{
    ENTER(c);
    CUfunction f = cu_func_of(hfunc);
    if (!f) return CUDA_ERROR_INVALID_HANDLE;
    switch ((int)attrib) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        if (value < 0 || (uint64_t)value + f->info->static_shared > cu_g.lim.shared_per_block_optin)
            return CUDA_ERROR_INVALID_VALUE;
        f->max_dynamic = value;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        if (value < -1 || value > 100) return CUDA_ERROR_INVALID_VALUE;
        f->carveout = value;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
        f->non_portable_cluster = value != 0;
        return CUDA_SUCCESS;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}
CUresult cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config)
{
    return cu_func_of(hfunc) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUresult cuFuncGetModule(CUmodule *hmod, CUfunction hfunc)
{
    CUfunction f = cu_func_of(hfunc);
    if (!hmod || !f) return CUDA_ERROR_INVALID_VALUE;
    *hmod = f->mod;
    return CUDA_SUCCESS;
}
CUresult cuFuncGetName(const char **name, CUfunction hfunc)
{
    CUfunction f = cu_func_of(hfunc);
    if (!name || !f) return CUDA_ERROR_INVALID_VALUE;
    *name = f->info->name;
    return CUDA_SUCCESS;
}
CUresult cuFuncGetParamInfo(CUfunction func, size_t index, size_t *offset, size_t *size)
{
    CUfunction f = cu_func_of(func);
    if (!f || !offset || index >= f->info->n_param) return CUDA_ERROR_INVALID_VALUE;
    *offset = f->info->param[index].offset;
    if (size) *size = f->info->param[index].size;
    return CUDA_SUCCESS;
}

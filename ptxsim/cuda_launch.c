/* cuda_launch.c: launches with the limits of hardware, and occupancy. A launch that a GPU would
 * refuse is refused with the same code; a kernel that would fail makes the context fail, told by
 * the next call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptxsim/cuda_state.h"

#define ENTER(c)                                                                                   \
    CUcontext c;                                                                                   \
    do {                                                                                           \
        CUresult enter_rc = cu_enter(&c);                                                          \
        if (enter_rc != CUDA_SUCCESS) return enter_rc;                                             \
    } while (0)

/* ---- parameters ---- */

CUresult cu_pack_params(CUfunction f, void **params, void **extra, uint8_t **out)
{
    const ptxsim_kernel_info *k = f->info;
    const void *buffer = NULL;
    size_t size = 0;
    for (size_t i = 0; extra && extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
        if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = extra[i + 1];
        else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
            size = *(const size_t *)extra[i + 1];
        else
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (k->n_param && !params && !buffer) return CUDA_ERROR_INVALID_VALUE;
    if (params && buffer) return CUDA_ERROR_INVALID_VALUE;
    uint8_t *p = calloc(1, k->param_bytes ? k->param_bytes : 1);
    if (!p) return CUDA_ERROR_OUT_OF_MEMORY;
    if (buffer) {
        const ptxsim_param *last = k->n_param ? &k->param[k->n_param - 1] : NULL;
        if (last && size < last->offset + last->size) {
            free(p);
            return CUDA_ERROR_INVALID_VALUE;
        }
        memcpy(p, buffer, size < k->param_bytes ? size : k->param_bytes);
    } else {
        for (uint32_t i = 0; i < k->n_param; i++) {
            if (!params[i]) {
                free(p);
                return CUDA_ERROR_INVALID_VALUE;
            }
            memcpy(p + k->param[i].offset, params[i], k->param[i].size);
        }
    }
    *out = p;
    return CUDA_SUCCESS;
}

/* ---- limits ---- */

/* Registers of a block: granted per warp in units of 256. */
static bool registers_fit(CUfunction f, uint32_t threads)
{
    uint32_t warps = (threads + 31) / 32, limit = cu_g.lim.registers_per_block;
    if (warps * 256 * 32 <= limit) return true; /* even 255 registers a thread fit */
    int regs = cu_func_regs(f);
    return regs <= 0 || warps * (((uint32_t)regs * 32 + 255) / 256 * 256) <= limit;
}

static CUresult check_cluster(const cu_op *op)
{
    const ptxsim_kernel_info *k = op->func->info;
    uint32_t n = 1;
    for (int i = 0; i < 3; i++) {
        uint32_t c = op->cluster[i] ? op->cluster[i] : k->reqcluster[i] ? k->reqcluster[i] : 1;
        if (k->reqcluster[i] && op->cluster[i] && op->cluster[i] != k->reqcluster[i])
            return CUDA_ERROR_INVALID_CLUSTER_SIZE;
        if (op->grid[i] % c) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
        n *= c;
    }
    if (n > 1 && cu_g.lim.sm < 90) return CUDA_ERROR_INVALID_VALUE;
    return n > (op->func->non_portable_cluster ? cu_g.lim.max_cluster : 8)
               ? CUDA_ERROR_INVALID_CLUSTER_SIZE
               : CUDA_SUCCESS;
}

static int max_blocks(CUfunction f, uint32_t threads, size_t shared);

CUresult cu_check_launch(const cu_op *op)
{
    const ptxsim_limits *l = &cu_g.lim;
    const ptxsim_kernel_info *k = op->func->info;
    uint64_t threads = (uint64_t)op->block[0] * op->block[1] * op->block[2];
    for (int i = 0; i < 3; i++) {
        if (!op->grid[i] || op->grid[i] > l->max_grid[i] || !op->block[i] ||
            op->block[i] > l->max_block[i])
            return CUDA_ERROR_INVALID_VALUE;
        if (k->reqntid[0] && op->block[i] != (k->reqntid[i] ? k->reqntid[i] : 1))
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (threads > l->max_threads_per_block || (k->max_threads && threads > k->max_threads))
        return CUDA_ERROR_INVALID_VALUE;
    if ((uint64_t)op->shared > (uint64_t)op->func->max_dynamic) return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = check_cluster(op);
    if (rc != CUDA_SUCCESS) return rc;
    if (!registers_fit(op->func, (uint32_t)threads)) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    if (op->cooperative) {
        uint64_t grid = (uint64_t)op->grid[0] * op->grid[1] * op->grid[2];
        if (grid > (uint64_t)max_blocks(op->func, (uint32_t)threads, op->shared) * l->sm_count)
            return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    }
    return CUDA_SUCCESS;
}

/* ---- running ---- */

static CUresult failure(ptxsim_code c, const ptxsim_log *log)
{
    if (c == PTXSIM_DEADLOCK || c == PTXSIM_STEP_LIMIT) return CUDA_ERROR_LAUNCH_TIMEOUT;
    if (c != PTXSIM_FAULT) return cu_code(c);
    for (size_t i = ptxsim_log_count(log); i-- > 0;) switch (ptxsim_log_at(log, i)->kind) {
        case PTXSIM_R_OUT_OF_BOUNDS:
        case PTXSIM_R_USE_AFTER_FREE:
        case PTXSIM_R_HOST_POINTER: return CUDA_ERROR_ILLEGAL_ADDRESS;
        case PTXSIM_R_MISALIGNED: return CUDA_ERROR_MISALIGNED_ADDRESS;
        case PTXSIM_R_TRAP: return CUDA_ERROR_LAUNCH_FAILED;
        default: break;
        }
    return CUDA_ERROR_LAUNCH_FAILED;
}

static void keep_findings(const ptxsim_log *log)
{
    size_t n = ptxsim_log_count(log);
    FILE *f = n && cu_g.log_path[0] ? fopen(cu_g.log_path, "a") : NULL;
    for (size_t i = 0; i < n; i++) {
        ll_str_addf(&cu_g.findings, "%s\n", ptxsim_log_at(log, i)->text);
        if (f) fprintf(f, "%s\n", ptxsim_log_at(log, i)->text);
    }
    cu_g.n_findings += n;
    if (f) fclose(f);
    for (int json = 0; cu_g.counters && json < 2; json++) {
        free(cu_g.counter_text[json]);
        cu_g.counter_text[json] = ptxsim_log_text(log, json);
    }
}

CUresult cu_launch(CUcontext ctx, const cu_op *op)
{
    CUresult rc = cu_check_launch(op);
    ptxsim_log *log = NULL;
    ptxsim_error e = {0};
    if (rc != CUDA_SUCCESS) return rc;
    ptxsim_launch l = {.kernel = op->func->kernel,
                       .shared_bytes = op->shared,
                       .params = op->params,
                       .params_bytes = op->func->info->param_bytes,
                       .checks = cu_g.checks,
                       .seed = cu_g.seed,
                       .mma_model = cu_g.mma,
                       .counters = cu_g.counters,
                       .cooperative = op->cooperative,
                       .carveout_optin = cu_g.lim.shared_per_block_optin};
    memcpy(l.grid, op->grid, sizeof l.grid), memcpy(l.block, op->block, sizeof l.block),
        memcpy(l.cluster, op->cluster, sizeof l.cluster);
    ptxsim_code c = ptxsim_run(cu_g.machine, &l, &log, &e);
    if (log) keep_findings(log);
    bool found = ptxsim_log_count(log) > 0;
    if (c == PTXSIM_FAULT || c == PTXSIM_DEADLOCK || c == PTXSIM_STEP_LIMIT)
        ctx->sticky = failure(c, log);
    else if (c == PTXSIM_TOO_LARGE)
        rc = CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    else if (c != PTXSIM_OK)
        rc = cu_code(c);
    else if (found && cu_g.fatal)
        ctx->sticky = CUDA_ERROR_LAUNCH_FAILED;
    ptxsim_log_destroy(log);
    return rc;
}

static CUresult submit(CUfunction func, cu_op *op, CUstream stream, void **params, void **extra)
{
    ENTER(c);
    CUstream s;
    CUfunction f = cu_func_of(func);
    if (!f) return CUDA_ERROR_INVALID_HANDLE;
    op->kind = CU_OP_KERNEL, op->func = f;
    CUresult rc = cu_pack_params(f, params, extra, &op->params);
    if (rc != CUDA_SUCCESS) return rc;
    cu_lock();
    rc = cu_stream_of(c, stream, &s);
    if (rc)
        cu_op_free(op);
    else
        rc = cu_submit(c, s, op);
    cu_unlock();
    return rc;
}

CUresult cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
                        unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
                        CUstream stream, void **params, void **extra)
{
    cu_op op = {.grid = {gx, gy, gz}, .block = {bx, by, bz}, .shared = shared};
    return submit(f, &op, stream, params, extra);
}
CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
                                   unsigned int bx, unsigned int by, unsigned int bz,
                                   unsigned int shared, CUstream stream, void **params)
{
    cu_op op = {.grid = {gx, gy, gz}, .block = {bx, by, bz}, .shared = shared, .cooperative = true};
    return submit(f, &op, stream, params, NULL);
}

static CUresult op_of_config(const CUlaunchConfig *config, cu_op *op)
{
    if (!config || (config->numAttrs && !config->attrs)) return CUDA_ERROR_INVALID_VALUE;
    *op = (cu_op){.grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
                  .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
                  .shared = config->sharedMemBytes};
    for (unsigned i = 0; i < config->numAttrs; i++) {
        const CUlaunchAttribute *a = &config->attrs[i];
        if (a->id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) op->cooperative = a->value.cooperative != 0;
        if (a->id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
            continue; /* the others are hints here */
        op->cluster[0] = a->value.clusterDim.x, op->cluster[1] = a->value.clusterDim.y,
        op->cluster[2] = a->value.clusterDim.z;
        if (!op->cluster[0] || !op->cluster[1] || !op->cluster[2]) return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}
CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **params, void **extra)
{
    cu_op op;
    CUresult rc = op_of_config(config, &op);
    return rc ? rc : submit(f, &op, config->hStream, params, extra);
}

CU_TWIN(cuLaunchKernel)
CU_TWIN(cuLaunchKernelEx)
CU_TWIN(cuLaunchCooperativeKernel)

/* ---- occupancy ---- */

static int min_int(int a, int b) { return a < b ? a : b; }

static int max_blocks(CUfunction f, uint32_t threads, size_t shared)
{
    const ptxsim_limits *l = &cu_g.lim;
    uint32_t warps = (threads + 31) / 32;
    size_t per_block = shared + f->info->static_shared + l->shared_reserved;
    int n = min_int((int)l->max_blocks_per_sm, (int)(l->max_threads_per_sm / (warps * 32)));
    per_block = (per_block + 127) / 128 * 128;
    if (per_block > l->shared_reserved) n = min_int(n, (int)(l->shared_per_sm / per_block));
    int regs = cu_func_regs(f);
    if (regs > 0)
        n = min_int(n,
                    (int)(l->registers_per_sm / (((uint32_t)regs * 32 + 255) / 256 * 256) / warps));
    return n;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction func,
                                                              int block_size, size_t shared,
                                                              unsigned int flags)
{
    ENTER(c);
    CUfunction f = cu_func_of(func);
    if (!blocks || block_size < 1) return CUDA_ERROR_INVALID_VALUE;
    if (!f) return CUDA_ERROR_INVALID_HANDLE;
    cu_lock();
    bool fits = (uint32_t)block_size <= cu_g.lim.max_threads_per_block &&
                shared + f->info->static_shared <= cu_g.lim.shared_per_block_optin;
    *blocks = fits ? max_blocks(f, (uint32_t)block_size, shared) : 0;
    cu_unlock();
    return CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction func, int block_size,
                                                     size_t shared)
{
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, func, block_size, shared,
                                                                0);
}
CUresult cuOccupancyMaxPotentialBlockSize(int *min_grid, int *block_size, CUfunction func,
                                          CUoccupancyB2DSize to_shared, size_t shared, int limit)
{
    ENTER(c);
    CUfunction f = cu_func_of(func);
    int top, best = 0, best_threads = 0;
    if (!min_grid || !block_size) return CUDA_ERROR_INVALID_VALUE;
    if (!f) return CUDA_ERROR_INVALID_HANDLE;
    top = f->info->max_threads ? (int)f->info->max_threads : (int)cu_g.lim.max_threads_per_block;
    if (limit > 0) top = min_int(top, limit);
    for (int b = (top + 31) / 32 * 32; b > 0; b -= 32) {
        int n, size = min_int(b, top);
        CUresult rc = cuOccupancyMaxActiveBlocksPerMultiprocessor(
            &n, f, size, to_shared ? to_shared(size) : shared);
        if (rc) return rc;
        if (n * size > best * best_threads) best = n, best_threads = size;
    }
    *block_size = best_threads;
    *min_grid = best * (int)cu_g.lim.sm_count;
    return CUDA_SUCCESS;
}
CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *shared, CUfunction func, int blocks,
                                                 int block_size)
{
    ENTER(c);
    CUfunction f = cu_func_of(func);
    if (!shared || blocks < 1 || block_size < 1) return CUDA_ERROR_INVALID_VALUE;
    if (!f) return CUDA_ERROR_INVALID_HANDLE;
    size_t each = cu_g.lim.shared_per_sm / (size_t)blocks / 128 * 128,
           used = f->info->static_shared + cu_g.lim.shared_reserved;
    size_t room = each > used ? each - used : 0,
           top = cu_g.lim.shared_per_block_optin - f->info->static_shared;
    *shared = room < top ? room : top;
    return CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveClusters(int *clusters, CUfunction func, const CUlaunchConfig *config)
{
    ENTER(c);
    cu_op op;
    CUfunction f = cu_func_of(func);
    CUresult rc = op_of_config(config, &op);
    if (rc || !clusters) return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    if (!f) return CUDA_ERROR_INVALID_HANDLE;
    uint32_t size = 1;
    for (int i = 0; i < 3; i++)
        size *= op.cluster[i] ? op.cluster[i] : f->info->reqcluster[i] ? f->info->reqcluster[i] : 1;
    cu_lock();
    *clusters = max_blocks(f, op.block[0] * op.block[1] * op.block[2], op.shared) *
                (int)cu_g.lim.sm_count / (int)size;
    cu_unlock();
    return CUDA_SUCCESS;
}

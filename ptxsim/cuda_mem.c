/* cuda_mem.c: device and page-locked memory, copies, fills, pointer queries, tensor maps. */
#include <stdlib.h>
#include <string.h>

#include "ptxsim/cuda_state.h"
#include "ptxsim/tensormap.h"

#define ENTER(c)                                                                                   \
    CUcontext c;                                                                                   \
    do {                                                                                           \
        CUresult enter_rc = cu_enter(&c);                                                          \
        if (enter_rc != CUDA_SUCCESS) return enter_rc;                                             \
    } while (0)

/* ---- device memory ---- */

static CUresult allocate(CUcontext c, CUdeviceptr *out, size_t bytes)
{
    ptxsim_error e = {0};
    uint64_t a = 0;
    if (!out || !bytes) return CUDA_ERROR_INVALID_VALUE;
    if (c->n_alloc == c->cap_alloc) {
        size_t cap = c->cap_alloc ? 2 * c->cap_alloc : 64;
        CUdeviceptr *p = realloc(c->alloc, cap * sizeof *p);
        if (!p) return CUDA_ERROR_OUT_OF_MEMORY;
        c->alloc = p, c->cap_alloc = cap;
    }
    CUresult rc = cu_code(ptxsim_alloc(cu_g.machine, bytes, &a, &e));
    if (rc != CUDA_SUCCESS) return rc;
    c->alloc[c->n_alloc++] = *out = a;
    return CUDA_SUCCESS;
}

static CUresult release(CUcontext c, CUdeviceptr p)
{
    if (!p) return CUDA_SUCCESS;
    for (size_t i = 0; i < c->n_alloc; i++)
        if (c->alloc[i] == p) {
            c->alloc[i] = c->alloc[--c->n_alloc];
            return cu_code(ptxsim_free(cu_g.machine, p, NULL));
        }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytes)
{
    ENTER(c);
    cu_lock();
    CUresult rc = cu_unsafe_in_capture(c);
    if (!rc) rc = allocate(c, dptr, bytes);
    cu_unlock();
    return rc;
}
CUresult cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pitch, size_t width, size_t height,
                            unsigned int elem)
{
    if (!pitch || !width || !height || (elem != 4 && elem != 8 && elem != 16))
        return CUDA_ERROR_INVALID_VALUE;
    *pitch = (width + 511) / 512 * 512;
    return cuMemAlloc_v2(dptr, *pitch * height);
}
CUresult cuMemFree_v2(CUdeviceptr dptr)
{
    ENTER(c);
    cu_lock();
    CUresult rc = cu_unsafe_in_capture(c);
    if (!rc) rc = release(c, dptr);
    cu_unlock();
    return rc;
}
CUresult cuMemAllocAsync(CUdeviceptr *dptr, size_t bytes, CUstream stream)
{
    CUstream s;
    ENTER(c);
    cu_lock();
    CUresult rc = cu_stream_of(c, stream, &s);
    if (!rc && s->cap) rc = CUDA_ERROR_NOT_SUPPORTED; /* allocation nodes */
    if (!rc) rc = allocate(c, dptr, bytes);
    cu_unlock();
    return rc;
}
CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream stream)
{
    CUstream s;
    ENTER(c);
    cu_lock();
    CUresult rc = cu_stream_of(c, stream, &s);
    if (!rc && s->cap) rc = CUDA_ERROR_NOT_SUPPORTED;
    if (!rc) rc = release(c, dptr);
    cu_unlock();
    return rc;
}
CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    ENTER(c);
    uint64_t f, t;
    ptxsim_mem_info(cu_g.machine, &f, &t);
    if (free_bytes) *free_bytes = f;
    if (total) *total = t;
    return CUDA_SUCCESS;
}
CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr dptr)
{
    ENTER(c);
    uint64_t b, n;
    if (!ptxsim_range(cu_g.machine, dptr, &b, &n)) return CUDA_ERROR_NOT_FOUND;
    if (base) *base = b;
    if (size) *size = n;
    return CUDA_SUCCESS;
}

/* ---- page-locked host memory: kernels may use the same address ---- */

bool cu_is_host_range(const void *p, size_t n, size_t *index)
{
    for (size_t i = 0; i < cu_g.n_host; i++) {
        const char *a = cu_g.host[i];
        if ((const char *)p >= a && (const char *)p + n <= a + cu_g.host_n[i]) {
            if (index) *index = i;
            return true;
        }
    }
    return false;
}

static CUresult note_host(void *p, size_t n, unsigned flags, bool owned)
{
    ptxsim_error e = {0};
    if (cu_g.n_host == cu_g.cap_host) {
        size_t cap = cu_g.cap_host ? 2 * cu_g.cap_host : 32;
        void **a = realloc(cu_g.host, cap * sizeof *a);
        if (a) cu_g.host = a;
        size_t *b = realloc(cu_g.host_n, cap * sizeof *b);
        if (b) cu_g.host_n = b;
        unsigned *f = realloc(cu_g.host_flags, cap * sizeof *f);
        if (f) cu_g.host_flags = f;
        bool *o = realloc(cu_g.host_owned, cap * sizeof *o);
        if (o) cu_g.host_owned = o;
        if (!a || !b || !f || !o) return CUDA_ERROR_OUT_OF_MEMORY;
        cu_g.cap_host = cap;
    }
    CUresult rc = cu_code(ptxsim_map_host(cu_g.machine, p, n, &e));
    if (rc != CUDA_SUCCESS) return rc;
    size_t i = cu_g.n_host++;
    cu_g.host[i] = p, cu_g.host_n[i] = n, cu_g.host_flags[i] = flags, cu_g.host_owned[i] = owned;
    return CUDA_SUCCESS;
}

static CUresult forget_host(void *p, bool owned)
{
    for (size_t i = 0; i < cu_g.n_host; i++) {
        if (cu_g.host[i] != p || cu_g.host_owned[i] != owned) continue;
        ptxsim_unmap_host(cu_g.machine, p, NULL);
        size_t last = --cu_g.n_host;
        cu_g.host[i] = cu_g.host[last], cu_g.host_n[i] = cu_g.host_n[last];
        cu_g.host_flags[i] = cu_g.host_flags[last], cu_g.host_owned[i] = cu_g.host_owned[last];
        return CUDA_SUCCESS;
    }
    return owned ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

CUresult cuMemHostAlloc(void **pp, size_t bytes, unsigned int flags)
{
    ENTER(c);
    if (!pp || !bytes || flags > 7) return CUDA_ERROR_INVALID_VALUE;
    *pp = NULL;
    if (posix_memalign(pp, 4096, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
    cu_lock();
    CUresult rc = note_host(*pp, bytes, flags, true);
    cu_unlock();
    if (rc != CUDA_SUCCESS) free(*pp), *pp = NULL;
    return rc;
}
CUresult cuMemAllocHost_v2(void **pp, size_t bytes)
{
    return cuMemHostAlloc(pp, bytes, CU_MEMHOSTALLOC_DEVICEMAP);
}
CUresult cuMemFreeHost(void *p)
{
    ENTER(c);
    cu_lock();
    CUresult rc = forget_host(p, true);
    cu_unlock();
    if (!rc) free(p);
    return rc;
}
CUresult cuMemHostRegister_v2(void *p, size_t bytes, unsigned int flags)
{
    ENTER(c);
    if (!p || !bytes) return CUDA_ERROR_INVALID_VALUE;
    cu_lock();
    CUresult rc = cu_is_host_range(p, 1, NULL) ? CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED
                                               : note_host(p, bytes, flags, false);
    cu_unlock();
    return rc;
}
CUresult cuMemHostUnregister(void *p)
{
    ENTER(c);
    cu_lock();
    CUresult rc = forget_host(p, false);
    cu_unlock();
    return rc;
}
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *dptr, void *p, unsigned int flags)
{
    ENTER(c);
    if (!dptr || flags || !cu_is_host_range(p, 1, NULL)) return CUDA_ERROR_INVALID_VALUE;
    *dptr = (CUdeviceptr)(uintptr_t)p;
    return CUDA_SUCCESS;
}
CUresult cuMemHostGetFlags(unsigned int *flags, void *p)
{
    ENTER(c);
    size_t i;
    if (!flags || !cu_is_host_range(p, 1, &i)) return CUDA_ERROR_INVALID_VALUE;
    *flags = cu_g.host_flags[i];
    return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
    ENTER(c);
    uint64_t base = 0, size = 0;
    size_t i = 0;
    bool device = ptxsim_range(cu_g.machine, ptr, &base, &size),
         host = cu_is_host_range((void *)(uintptr_t)ptr, 1, &i);
    if (!data || (!device && !host)) return CUDA_ERROR_INVALID_VALUE;
    if (host) base = (uintptr_t)cu_g.host[i], size = cu_g.host_n[i];
    switch ((int)attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: memcpy(data, &c, sizeof c); return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)data = host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *(CUdeviceptr *)data = ptr; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (!host) return CUDA_ERROR_INVALID_VALUE;
        *(CUdeviceptr *)data = ptr;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: *(unsigned *)data = 0; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)data = 0; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: *(CUdeviceptr *)data = base; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: *(size_t *)data = size; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MAPPED: *(unsigned *)data = 1; return CUDA_SUCCESS;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

/* ---- copies and fills ---- */

static bool is_device(CUdeviceptr p)
{
    uint64_t b, n;
    return ptxsim_range(cu_g.machine, p, &b, &n);
}

/* Synchronous calls on the legacy stream are not allowed while a blocking stream is being
 * captured. */
static CUresult submit(CUcontext c, CUstream stream, cu_op *op, bool sync)
{
    CUstream s;
    cu_lock();
    CUresult rc = sync ? cu_unsafe_in_capture(c) : CUDA_SUCCESS;
    if (!rc) rc = cu_stream_of(c, stream, &s);
    if (!rc) rc = cu_submit(c, s, op);
    cu_unlock();
    return rc;
}

static CUresult copy(CUcontext c, CUstream s, cu_op op, bool sync)
{
    op.kind = CU_OP_COPY;
    if (!op.rows) op.rows = 1;
    if (!op.n) return CUDA_SUCCESS;
    return submit(c, s, &op, sync);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t n, CUstream stream)
{
    ENTER(c);
    return copy(c, stream, (cu_op){.dst = dst, .src_host = src, .n = n}, false);
}
CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t n, CUstream stream)
{
    ENTER(c);
    return copy(c, stream, (cu_op){.dst_host = dst, .src = src, .n = n}, false);
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream stream)
{
    ENTER(c);
    return copy(c, stream, (cu_op){.dst = dst, .src = src, .n = n}, false);
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t n)
{
    ENTER(c);
    return copy(c, NULL, (cu_op){.dst = dst, .src_host = src, .n = n}, true);
}
CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t n)
{
    ENTER(c);
    return copy(c, NULL, (cu_op){.dst_host = dst, .src = src, .n = n}, true);
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t n)
{
    ENTER(c);
    return copy(c, NULL, (cu_op){.dst = dst, .src = src, .n = n}, true);
}

/* Unified addresses: each side is device memory or, failing that, the host's own. */
static cu_op unified(CUdeviceptr dst, CUdeviceptr src, size_t n)
{
    cu_op op = {.dst = dst, .src = src, .n = n};
    if (!is_device(dst)) op.dst_host = (void *)(uintptr_t)dst;
    if (!is_device(src)) op.src_host = (const void *)(uintptr_t)src;
    return op;
}
CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t n)
{
    ENTER(c);
    return copy(c, NULL, unified(dst, src, n), true);
}
CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream stream)
{
    ENTER(c);
    return copy(c, stream, unified(dst, src, n), false);
}

static CUresult op_2d(const CUDA_MEMCPY2D *p, cu_op *op)
{
    if (!p) return CUDA_ERROR_INVALID_VALUE;
    size_t sp = p->srcPitch ? p->srcPitch : p->WidthInBytes,
           dp = p->dstPitch ? p->dstPitch : p->WidthInBytes;
    size_t so = p->srcY * sp + p->srcXInBytes, d_o = p->dstY * dp + p->dstXInBytes;
    *op = (cu_op){.n = p->WidthInBytes, .rows = p->Height, .src_pitch = sp, .dst_pitch = dp};
    if (p->srcMemoryType == CU_MEMORYTYPE_HOST)
        op->src_host = (const char *)p->srcHost + so;
    else
        op->src = p->srcDevice + so;
    if (p->dstMemoryType == CU_MEMORYTYPE_HOST)
        op->dst_host = (char *)p->dstHost + d_o;
    else
        op->dst = p->dstDevice + d_o;
    bool arrays =
        p->srcMemoryType == CU_MEMORYTYPE_ARRAY || p->dstMemoryType == CU_MEMORYTYPE_ARRAY;
    return arrays ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}
CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *p)
{
    ENTER(c);
    cu_op op;
    CUresult rc = op_2d(p, &op);
    return rc || !op.rows ? rc : copy(c, NULL, op, true);
}
CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *p, CUstream stream)
{
    ENTER(c);
    cu_op op;
    CUresult rc = op_2d(p, &op);
    return rc || !op.rows ? rc : copy(c, stream, op, false);
}

static CUresult fill(CUdeviceptr dst, uint32_t v, unsigned width, size_t n, CUstream stream,
                     bool sync)
{
    ENTER(c);
    cu_op op = {.kind = CU_OP_SET, .dst = dst, .value = v, .width = width, .n = n};
    if (dst % width) return CUDA_ERROR_INVALID_VALUE;
    return n ? submit(c, stream, &op, sync) : CUDA_SUCCESS;
}
CUresult cuMemsetD8_v2(CUdeviceptr dst, unsigned char v, size_t n)
{
    return fill(dst, v, 1, n, NULL, true);
}
CUresult cuMemsetD16_v2(CUdeviceptr dst, unsigned short v, size_t n)
{
    return fill(dst, v, 2, n, NULL, true);
}
CUresult cuMemsetD32_v2(CUdeviceptr dst, unsigned int v, size_t n)
{
    return fill(dst, v, 4, n, NULL, true);
}
CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char v, size_t n, CUstream s)
{
    return fill(dst, v, 1, n, s, false);
}
CUresult cuMemsetD16Async(CUdeviceptr dst, unsigned short v, size_t n, CUstream s)
{
    return fill(dst, v, 2, n, s, false);
}
CUresult cuMemsetD32Async(CUdeviceptr dst, unsigned int v, size_t n, CUstream s)
{
    return fill(dst, v, 4, n, s, false);
}

CU_TWIN(cuMemAllocAsync)
CU_TWIN(cuMemFreeAsync)
CU_TWIN(cuMemcpy)
CU_TWIN(cuMemcpyAsync)
CU_TWIN(cuMemcpyHtoD_v2)
CU_TWIN(cuMemcpyDtoH_v2)
CU_TWIN(cuMemcpyDtoD_v2)
CU_TWIN(cuMemcpyHtoDAsync_v2)
CU_TWIN(cuMemcpyDtoHAsync_v2)
CU_TWIN(cuMemcpyDtoDAsync_v2)
CU_TWIN(cuMemcpy2D_v2)
CU_TWIN(cuMemcpy2DAsync_v2)
CU_TWIN(cuMemsetD8_v2)
CU_TWIN(cuMemsetD16_v2)
CU_TWIN(cuMemsetD32_v2)
CU_TWIN(cuMemsetD8Async)
CU_TWIN(cuMemsetD16Async)
CU_TWIN(cuMemsetD32Async)

/* ---- tensor maps ---- */

CUresult cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank,
                                void *addr, const cuuint64_t *dim, const cuuint64_t *strides,
                                const cuuint32_t *box, const cuuint32_t *elem_strides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion l2, CUtensorMapFloatOOBfill oob)
{
    static const uint8_t width[4] = {0, 32, 64, 128};
    if (!map || (uintptr_t)map % 64 || !dim || !box || !elem_strides || (rank > 1 && !strides))
        return CUDA_ERROR_INVALID_VALUE;
    if (rank < 1 || rank > PTX_MAP_RANK || (unsigned)swizzle > 3 || !ptx_tensormap_elem_bytes(type))
        return CUDA_ERROR_INVALID_VALUE;
    ptx_tensormap m = {.addr = (uintptr_t)addr,
                       .rank = (uint8_t)rank,
                       .type = (uint8_t)type,
                       .swizzle = width[swizzle],
                       .nan_fill = oob != 0};
    m.elem_bytes = (uint8_t)ptx_tensormap_elem_bytes(type);
    for (unsigned d = 0; d < rank; d++) {
        if (box[d] > 256 || elem_strides[d] > 8) return CUDA_ERROR_INVALID_VALUE;
        m.dim[d] = dim[d], m.box[d] = (uint16_t)box[d], m.step[d] = (uint8_t)elem_strides[d];
        m.stride[d] = d ? strides[d - 1] : m.elem_bytes;
    }
    if (ptx_tensormap_check(&m, (unsigned)interleave, (unsigned)swizzle))
        return CUDA_ERROR_INVALID_VALUE;
    ptx_tensormap_pack(&m, (uint8_t *)map);
    return CUDA_SUCCESS;
}

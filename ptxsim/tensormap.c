/* tensormap.c: see tensormap.h. Interleaved layouts and im2col maps are refused. */
#include "ptxsim/tensormap.h"

#include <string.h>

static const uint32_t magic = 0x50414d54; /* "TMAP" */

unsigned ptx_tensormap_elem_bytes(unsigned type)
{
    static const uint8_t bytes[PTX_MAP_N_TYPES] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
    return type < PTX_MAP_N_TYPES ? bytes[type] : 0;
}

const char *ptx_tensormap_check(const ptx_tensormap *m, unsigned interleave_code,
                                unsigned swizzle_code)
{
    if (!ptx_tensormap_elem_bytes(m->type)) return "the element type is unknown";
    if (m->rank < 1 || m->rank > PTX_MAP_RANK) return "the rank must be 1 to 5";
    if (interleave_code) return "interleaved layouts are not supported";
    if (swizzle_code > 3) return "the swizzle mode is unknown";
    if (!m->addr || m->addr % 16) return "the global address must be a multiple of 16";
    if (m->nan_fill && (m->type < PTX_MAP_F16)) return "NaN fill needs a floating-point type";
    for (unsigned d = 0; d < m->rank; d++) {
        if (m->dim[d] < 1 || m->dim[d] > (uint64_t)1 << 32) return "a dimension must be 1 to 2^32";
        if (m->box[d] < 1 || m->box[d] > 256) return "a box dimension must be 1 to 256";
        if (m->step[d] < 1 || m->step[d] > 8) return "an element stride must be 1 to 8";
        if (d && (m->stride[d] % 16 || !m->stride[d] || m->stride[d] >= (uint64_t)1 << 40))
            return "a stride must be a multiple of 16 below 2^40";
    }
    uint32_t inner = m->box[0] * m->elem_bytes;
    if (inner % 16) return "the inner box dimension must be a multiple of 16 bytes";
    if (m->swizzle && inner > m->swizzle)
        return "the inner box dimension is wider than the swizzle";
    return NULL;
}

typedef struct packed {
    uint32_t magic;
    uint8_t rank, type, swizzle, nan_fill;
    uint64_t addr, stride[4];
    uint32_t dim[5]; /* less 1 */
    uint16_t box[5];
    uint8_t step[5];
} packed;

void ptx_tensormap_pack(const ptx_tensormap *m, uint8_t out[PTX_MAP_BYTES])
{
    packed p = {.magic = magic,
                .rank = m->rank,
                .type = m->type,
                .swizzle = m->swizzle,
                .nan_fill = m->nan_fill,
                .addr = m->addr};
    for (unsigned d = 0; d < m->rank; d++) {
        p.dim[d] = (uint32_t)(m->dim[d] - 1), p.box[d] = m->box[d], p.step[d] = m->step[d];
        if (d) p.stride[d - 1] = m->stride[d];
    }
    memset(out, 0, PTX_MAP_BYTES);
    memcpy(out, &p, sizeof p);
}

bool ptx_tensormap_unpack(const uint8_t in[PTX_MAP_BYTES], ptx_tensormap *m)
{
    packed p;
    memcpy(&p, in, sizeof p);
    unsigned bytes = ptx_tensormap_elem_bytes(p.type);
    if (p.magic != magic || p.rank < 1 || p.rank > PTX_MAP_RANK || !bytes) return false;
    *m = (ptx_tensormap){.addr = p.addr,
                         .rank = p.rank,
                         .type = p.type,
                         .elem_bytes = (uint8_t)bytes,
                         .swizzle = p.swizzle,
                         .nan_fill = p.nan_fill};
    for (unsigned d = 0; d < p.rank; d++) {
        m->dim[d] = (uint64_t)p.dim[d] + 1, m->box[d] = p.box[d], m->step[d] = p.step[d];
        m->stride[d] = d ? p.stride[d - 1] : bytes;
        if (!m->box[d] || !m->step[d]) return false;
    }
    return true;
}

uint32_t ptx_tensormap_box_bytes(const ptx_tensormap *m)
{
    uint32_t n = m->elem_bytes;
    for (unsigned d = 0; d < m->rank; d++) n *= ptx_tensormap_count(m, d);
    return n;
}

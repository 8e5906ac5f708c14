/* tensormap.h: tensor maps (CUtensorMap, 128 opaque bytes): made by cuTensorMapEncodeTiled or
 * ptxsim_tensor_map, read by the tensor copies of tma.c. The bytes are this machine's own
 * format. */
#ifndef PTXSIM_TENSORMAP_H
#define PTXSIM_TENSORMAP_H

#include <stdbool.h>
#include <stdint.h>

enum { PTX_MAP_BYTES = 128, PTX_MAP_RANK = 5 };

/* Element types, numbered as CUtensorMapDataType. */
enum {
    PTX_MAP_U8,
    PTX_MAP_U16,
    PTX_MAP_U32,
    PTX_MAP_S32,
    PTX_MAP_U64,
    PTX_MAP_S64,
    PTX_MAP_F16,
    PTX_MAP_F32,
    PTX_MAP_F64,
    PTX_MAP_BF16,
    PTX_MAP_F32_FTZ,
    PTX_MAP_TF32,
    PTX_MAP_TF32_FTZ,
    PTX_MAP_N_TYPES,
};

typedef struct ptx_tensormap {
    uint64_t addr;                 /* of element 0, 16-byte aligned                             */
    uint64_t dim[PTX_MAP_RANK];    /* elements, innermost first                                 */
    uint64_t stride[PTX_MAP_RANK]; /* bytes; stride[0] is the element's size                    */
    uint16_t box[PTX_MAP_RANK];    /* elements of one copy                                      */
    uint8_t step[PTX_MAP_RANK];    /* every step-th element of the box                          */
    uint8_t rank, type, elem_bytes;
    uint8_t swizzle; /* 0, 32, 64 or 128 bytes                                    */
    bool nan_fill;   /* out of bounds reads give NaN instead of 0                 */
} ptx_tensormap;

/* NULL, or what is wrong with the map (a static sentence); the rules are those of the driver.
 * `swizzle_code` and `interleave_code` are the driver's enumerators. */
const char *ptx_tensormap_check(const ptx_tensormap *m, unsigned interleave_code,
                                unsigned swizzle_code);
unsigned ptx_tensormap_elem_bytes(unsigned type); /* 0: no such type */
void ptx_tensormap_pack(const ptx_tensormap *m, uint8_t out[PTX_MAP_BYTES]);
bool ptx_tensormap_unpack(const uint8_t in[PTX_MAP_BYTES],
                          ptx_tensormap *m); /* false: not a tensor map */
/* Bytes that one copy moves (out of bounds elements included). */
uint32_t ptx_tensormap_box_bytes(const ptx_tensormap *m);
/* Elements along dimension d of one copy. */
static inline uint32_t ptx_tensormap_count(const ptx_tensormap *m, unsigned d)
{
    return (m->box[d] + m->step[d] - 1u) / m->step[d];
}

#endif

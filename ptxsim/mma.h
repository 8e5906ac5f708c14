/* mma.h: tensor-core arithmetic as pure functions: which matrix element each register of each lane
 * holds, and what mma, wmma and wgmma compute from them. No machine state.
 *
 * Every mma.sync shape except m8n8k4.f16 shares one layout. With g = lane >> 2, t = lane & 3 and
 * 32-bit words (f64: 64-bit) that hold consecutive k:
 *
 *     A register r:  row g + 8 (r & 1), word t + 4 (r >> 1)     (8-row shapes: row g, word t + 4 r)
 *     B register r:  column g,          word t + 4 r
 *     C, D value i:  row g + 8 (i >> 1), column 2 t + (i & 1)   (f16: value pairs share a register)
 */
#ifndef LLMIR_PTXSIM_MMA_H
#define LLMIR_PTXSIM_MMA_H

#include <stdbool.h>
#include <stdint.h>

#include "ptxsim/types.h"

typedef enum ptx_b1_op { PTX_B1_XOR, PTX_B1_AND } ptx_b1_op;

typedef struct ptx_mma {
    uint16_t m, n, k;
    ptx_type a, b, c,
        d; /* element types: F16 BF16 TF32 E4M3 E5M2 F64 S8 U8 S4 U4 B1; c, d: F16 F32 S32 F64 */
    bool a_col, b_row; /* layouts other than row.col: only m8n8k4.f16 has them */
    bool sat;          /* integers: the sum saturates */
    bool neg_a, neg_b; /* wgmma's scale of -1 */
    ptx_b1_op b1;
} ptx_mma;

/* How f32 sums of tensor cores are modelled. */
typedef struct ptx_mma_model {
    bool hw;     /* false: exact products, f32 additions in k order */
    unsigned sm; /* generation of the truncating model */
} ptx_mma_model;

/* Whether mma.sync has this shape with these types, and from which sm on (0: no such
 * instruction). */
unsigned ptx_mma_min_sm(const ptx_mma *s);
/* Registers of one lane (32-bit, or 64-bit for f64). */
unsigned ptx_mma_a_regs(const ptx_mma *s), ptx_mma_b_regs(const ptx_mma *s);
unsigned ptx_mma_acc_regs(const ptx_mma *s, ptx_type acc);

typedef struct ptx_at {
    uint16_t row, col;
} ptx_at;
/* Element e (low bits first) of register r in `lane`: A as (m, k), B as (k, n), accumulators as (m,
 * n). m8n8k4.f16 computes four products at once; its coordinates carry the product in row / 8 (of
 * 32 rows). */
ptx_at ptx_mma_a_at(const ptx_mma *s, unsigned lane, unsigned r, unsigned e);
ptx_at ptx_mma_b_at(const ptx_mma *s, unsigned lane, unsigned r, unsigned e);
ptx_at ptx_mma_acc_at(const ptx_mma *s, ptx_type acc, unsigned lane, unsigned r, unsigned e);

/* D = A B + C for one warp; each pointer is a register of 32 lanes. d may be c. */
void ptx_mma_run(const ptx_mma *s, ptx_mma_model model, void *const d[], const void *const a[],
                 const void *const b[], const void *const c[]);

/* ---- plain matrices, for wmma and wgmma ---- */

/* D[m][n] = A[m][k] B[k][n] + C[m][n], row-major; n is a multiple of 8. A and B hold decoded
 * values; each row of A is read before its row of D is written, and d may be c. Integers: s32
 * values. */
void ptx_matmul_f32(unsigned m, unsigned n, unsigned k, float *d, const float *a, const float *b,
                    const float *c);
void ptx_matmul_s32(unsigned m, unsigned n, unsigned k, int32_t *d, const int32_t *a,
                    const int32_t *b, const int32_t *c, bool sat);
void ptx_matmul_f64(unsigned m, unsigned n, unsigned k, double *d, const double *a, const double *b,
                    const double *c);
/* The truncating model of `sm` for inputs of type `a` (b likewise) and results of type `d`. */
void ptx_matmul_hw(unsigned sm, ptx_type in, ptx_type out, unsigned m, unsigned n, unsigned k,
                   float *d, const float *a, const float *b, const float *c);
/* `count` packed elements of a type, low bits first, as floats or integers. */
void ptx_unpack_f32(ptx_type t, const void *words, unsigned count, float *out);
void ptx_unpack_s32(ptx_type t, const void *words, unsigned count, int32_t *out);

/* wmma: the layout of a fragment is the implementation's own; ours spreads the row-major matrix
 * over the lanes register by register and repeats it where the fragment has room. Gives the
 * row-major index. */
unsigned ptx_wmma_at(unsigned elements, unsigned per_reg, unsigned lane, unsigned r, unsigned e);

/* ---- wgmma ---- */

typedef struct ptx_wgmma_desc {
    uint32_t start, leading, stride; /* bytes */
    uint8_t base, swizzle;           /* swizzle: 0 none, 1 128 B, 2 64 B, 3 32 B */
} ptx_wgmma_desc;
ptx_wgmma_desc ptx_wgmma_decode(uint64_t desc);
/* Shared-memory byte address of element (mn, k) of `bits`-bit elements. mn_major: the "transposed"
 * form. */
uint32_t ptx_wgmma_addr(const ptx_wgmma_desc *d, unsigned bits, bool mn_major, unsigned mn,
                        unsigned k);
/* The XOR of a swizzle mode on a byte address; width 0 (none), 32, 64 or 128 bytes. */
static inline uint32_t ptx_swizzle(uint32_t addr, unsigned width)
{
    return width ? addr ^ (addr >> 7 & (width / 16 - 1)) << 4 : addr;
}
/* Accumulator value i of lane `lane` (0-127 in the warpgroup). */
static inline ptx_at ptx_wgmma_acc_at(unsigned lane, unsigned i)
{
    unsigned l = lane & 31;
    return (ptx_at){(uint16_t)(16 * (lane >> 5) + (l >> 2) + 8 * (i >> 1 & 1)),
                    (uint16_t)(8 * (i >> 2) + 2 * (l & 3) + (i & 1))};
}

/* ---- ldmatrix / stmatrix / movmatrix: element e of the pair that lane holds of an 8x8 matrix of
 * b16 ---- */
static inline ptx_at ptx_ldmatrix_at(unsigned lane, unsigned e, bool trans)
{
    unsigned r = lane >> 2, c = 2 * (lane & 3) + e;
    return trans ? (ptx_at){(uint16_t)c, (uint16_t)r} : (ptx_at){(uint16_t)r, (uint16_t)c};
}

#endif

/* mma_hw.c: the truncating arithmetic of tensor cores, per generation, and wgmma's shared-memory
 * layouts.
 *
 * Model (after MMA-Sim, arXiv 2511.10909): the products of one step are exact; products and the
 * addend are aligned to the largest exponent among them, cut (toward zero) to F fractional bits and
 * added as integers; an f32 result is rounded toward zero, an f16 result to nearest even. A
 * product's exponent is the sum of its factors' exponents, so its significand lies in [1, 4).
 *
 *      generation      inputs       F    k of one step (the result of one is the addend of the next)
 *      sm_75           f16          24   the whole instruction
 *      sm_80 86 89     f16 bf16     24   half of it where a row of A is 32 bytes, else the whole
 *                      tf32         24   the same
 *      sm_89           fp8          13   the same; f32 results keep 13 fractional bits
 *      sm_90           all but fp8  25   the whole instruction
 *                      fp8          13   the whole instruction; f32 results keep 13 fractional bits
 *
 * Zeros count as exponent -126, subnormals as their format's smallest exponent.
 */
#include <math.h>

#include "ptxsim/mma.h"
#include "ptxsim/num.h"

typedef struct rule {
    int f;
    unsigned step;
    int keep;
} rule; /* keep: fractional bits of the f32 result */

static rule rule_of(unsigned sm, ptx_type in, unsigned k)
{
    bool fp8 = in == PTX_E4M3 || in == PTX_E5M2;
    unsigned bits = in == PTX_TF32 ? 32 : ptx_types[in].bits;
    unsigned len = sm >= 80 && sm < 90 && k * bits == 256 ? k / 2 : k;
    int f = fp8 ? 13 : sm >= 90 ? 25 : 24;
    return (rule){f, len, fp8 ? 13 : 23};
}

static int min_exp(ptx_type t)
{
    switch (t) {
    case PTX_F16:
    case PTX_E5M2: return -14;
    case PTX_E4M3: return -6;
    default: return -126;
    }
}

static int exp_of(float x, int emin)
{
    if (x == 0) return -126;
    int e = ilogbf(x);
    return e < emin ? emin : e;
}

/* The sum of non-finite terms, or 0 when all are finite. */
static bool special(const float *a, const float *b, unsigned ldb, unsigned n, float c, float *out)
{
    float s = c;
    bool any = !isfinite(c);
    for (unsigned i = 0; i < n; i++)
        if (!isfinite(a[i]) || !isfinite(b[i * ldb])) any = true, s += a[i] * b[i * ldb];
    if (any) *out = isnan(s) ? ptx_f32(0x7fffffffu) : s;
    return any;
}

static float to_f32(double v, int keep)
{
    uint32_t u = ptx_small_from_f64(PTX_F32, v, PTX_RZ, (ptx_fmt_opts){0});
    return ptx_f32(keep < 23 ? u & ~0u << (23 - keep) : u);
}

static double step(rule r, int emin, int cmin, const float *a, const float *b, unsigned ldb,
                   unsigned n, float c)
{
    int top = exp_of(c, cmin);
    for (unsigned i = 0; i < n; i++) {
        int e = exp_of(a[i], emin) + exp_of(b[i * ldb], emin);
        if (e > top) top = e;
    }
    int64_t sum = (int64_t)ldexp((double)c, r.f - top);
    for (unsigned i = 0; i < n; i++) sum += (int64_t)ldexp((double)a[i] * b[i * ldb], r.f - top);
    return ldexp((double)sum, top - r.f);
}

void ptx_matmul_hw(unsigned sm, ptx_type in, ptx_type out, unsigned m, unsigned n, unsigned k,
                   float *d, const float *a, const float *b, const float *c)
{
    rule r = rule_of(sm, in, k);
    int emin = min_exp(in), cmin = min_exp(out);
    for (unsigned i = 0; i < m; i++)
        for (unsigned j = 0; j < n; j++) {
            float acc = c[i * n + j];
            for (unsigned x = 0; x < k; x += r.step) {
                unsigned len = k - x < r.step ? k - x : r.step;
                if (special(&a[i * k + x], &b[x * n + j], n, len, acc, &acc)) continue;
                double v = step(r, emin, cmin, &a[i * k + x], &b[x * n + j], n, len, acc);
                acc = out == PTX_F16
                          ? ptx_small_to_f32(
                                PTX_F16, ptx_small_from_f64(PTX_F16, v, PTX_RN, (ptx_fmt_opts){0}))
                          : to_f32(v, r.keep);
            }
            d[i * n + j] = acc;
        }
}

/* ---- wgmma ---- */

ptx_wgmma_desc ptx_wgmma_decode(uint64_t d)
{
    return (ptx_wgmma_desc){.start = (uint32_t)(d & 0x3fff) << 4,
                            .leading = (uint32_t)(d >> 16 & 0x3fff) << 4,
                            .stride = (uint32_t)(d >> 32 & 0x3fff) << 4,
                            .base = d >> 49 & 7,
                            .swizzle = d >> 62 & 3};
}

/* The canonical layouts, in 16-byte chunks (T elements); w chunks make a row of the swizzle atom:
 *
 *     K-major    none:  row r, chunk c:  (r % 8) 16 + (r / 8) stride + c leading
 *                w:                      (r % 8) 16w + (r / 8) stride + c 16
 *     MN-major   none:  chunk q, k:      q stride + (k % 8) 16 + (k / 8) leading
 *                w:                      (q % w) 16 + (q / w) leading + (k % 8) 16w + (k / 8) stride
 *
 * and the swizzle XORs address bits 4.. with bits 7.. of the absolute address (less the base
 * offset). */
uint32_t ptx_wgmma_addr(const ptx_wgmma_desc *d, unsigned bits, bool mn_major, unsigned mn,
                        unsigned k)
{
    static const uint8_t chunks[4] = {1, 8, 4, 2};
    uint32_t w = chunks[d->swizzle], at = d->start;
    unsigned run = mn_major ? mn : k, byte = run * bits / 8, c = byte / 16;
    if (!mn_major) {
        at += mn % 8 * 16 * w + mn / 8 * d->stride + (d->swizzle ? c * 16 : c * d->leading);
    } else if (!d->swizzle) {
        at += c * d->stride + k % 8 * 16 + k / 8 * d->leading;
    } else {
        at += c % w * 16 + c / w * d->leading + k % 8 * 16 * w + k / 8 * d->stride;
    }
    uint32_t rows = (at - ((uint32_t)d->base << 7)) >> 7 & (w - 1);
    return (at ^ rows << 4) + byte % 16;
}

/* mma.c: fragment maps and products; see mma.h. The common path copies registers into row-major
 * words (four lanes of a row are 16 contiguous bytes), decodes whole rows and multiplies with
 * 8-wide vectors. */
#include "ptxsim/mma.h"

#include <string.h>

#include "ptxsim/num.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

enum { MAX_K = 256 };

static unsigned bits_of(ptx_type t) { return t == PTX_TF32 ? 32 : ptx_types[t].bits; }
static bool volta(const ptx_mma *s)
{
    return s->m == 8 && s->n == 8 && s->k == 4 && s->a == PTX_F16;
}

/* ---- which instructions exist ---- */

typedef struct form {
    uint8_t m, n;
    uint16_t k;
    const char *kind;
    uint8_t sm;
} form;

/* kind: h f16, b bf16, t tf32, d f64, 8 s8/u8, 4 s4/u4, 1 b1, q fp8 */
static const form forms[] = {
    {8, 8, 4, "h", 70},   {16, 8, 8, "h", 75},  {16, 8, 16, "h", 80},  {16, 8, 8, "b", 80},
    {16, 8, 16, "b", 80}, {16, 8, 4, "t", 80},  {16, 8, 8, "t", 80},   {8, 8, 4, "d", 80},
    {16, 8, 4, "d", 90},  {16, 8, 8, "d", 90},  {16, 8, 16, "d", 90},  {8, 8, 16, "8", 75},
    {16, 8, 16, "8", 80}, {16, 8, 32, "8", 80}, {8, 8, 32, "4", 75},   {16, 8, 32, "4", 80},
    {16, 8, 64, "4", 80}, {8, 8, 128, "1", 75}, {16, 8, 128, "1", 80}, {16, 8, 256, "1", 80},
    {16, 8, 32, "q", 89}, {16, 8, 16, "q", 89},
};

static char kind_of(ptx_type t)
{
    switch (t) {
    case PTX_F16: return 'h';
    case PTX_BF16: return 'b';
    case PTX_TF32: return 't';
    case PTX_F64: return 'd';
    case PTX_S8:
    case PTX_U8: return '8';
    case PTX_S4:
    case PTX_U4: return '4';
    case PTX_B1: return '1';
    case PTX_E4M3:
    case PTX_E5M2: return 'q';
    default: return 0;
    }
}

static bool types_fit(const ptx_mma *s, char kind)
{
    switch (kind) {
    case 'h':
        return s->a == s->b && (s->c == PTX_F16 || s->c == PTX_F32) &&
               (s->d == s->c || (volta(s) && (s->d == PTX_F16 || s->d == PTX_F32)));
    case 'q': return (s->d == PTX_F32 || s->d == PTX_F16) && s->c == s->d;
    case 'b':
    case 't': return s->a == s->b && s->d == PTX_F32 && s->c == PTX_F32;
    case 'd': return s->b == PTX_F64 && s->d == PTX_F64 && s->c == PTX_F64;
    default: return s->d == PTX_S32 && s->c == PTX_S32;
    }
}

unsigned ptx_mma_min_sm(const ptx_mma *s)
{
    char k = kind_of(s->a);
    if (!k || kind_of(s->b) != k || !types_fit(s, k)) return 0;
    if ((s->a_col || s->b_row) && !volta(s)) return 0;
    if (s->sat && k != '8' && k != '4') return 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (forms[i].m == s->m && forms[i].n == s->n && forms[i].k == s->k && forms[i].kind[0] == k)
            return k == '1' && s->b1 == PTX_B1_AND && forms[i].sm < 80 ? 80 : forms[i].sm;
    return 0;
}

/* ---- fragment maps ---- */

unsigned ptx_mma_a_regs(const ptx_mma *s)
{
    return volta(s) ? 2 : (unsigned)s->m * s->k * bits_of(s->a) / (s->a == PTX_F64 ? 64 : 32) / 32;
}
unsigned ptx_mma_b_regs(const ptx_mma *s)
{
    return volta(s) ? 2 : (unsigned)s->n * s->k * bits_of(s->b) / (s->b == PTX_F64 ? 64 : 32) / 32;
}
unsigned ptx_mma_acc_regs(const ptx_mma *s, ptx_type acc)
{
    unsigned n = volta(s) ? 8 : (unsigned)s->m * s->n / 32;
    return acc == PTX_F16 ? n / 2 : n;
}

static ptx_at at(unsigned row, unsigned col) { return (ptx_at){(uint16_t)row, (uint16_t)col}; }
static unsigned per_word(ptx_type t) { return t == PTX_F64 ? 1 : 32 / bits_of(t); }

/* m8n8k4.f16: lanes 4q..4q+3 and 16+4q..16+4q+3 share product q. */
static unsigned quad(unsigned lane) { return lane >> 2 & 3; }
static unsigned high(unsigned lane) { return lane >> 4 ? 4 : 0; }

ptx_at ptx_mma_a_at(const ptx_mma *s, unsigned lane, unsigned r, unsigned e)
{
    if (volta(s)) {
        unsigned i = 2 * r + e, l = lane & 3;
        return s->a_col ? at(8 * quad(lane) + i + high(lane), l)
                        : at(8 * quad(lane) + l + high(lane), i);
    }
    unsigned p = per_word(s->a), row = lane >> 2, word = lane & 3;
    if (s->m == 16)
        row += 8 * (r & 1), word += 4 * (r >> 1);
    else
        word += 4 * r;
    return at(row, word * p + e);
}

ptx_at ptx_mma_b_at(const ptx_mma *s, unsigned lane, unsigned r, unsigned e)
{
    if (volta(s)) {
        unsigned i = 2 * r + e, l = lane & 3;
        return s->b_row ? at(8 * quad(lane) + l, i + high(lane))
                        : at(8 * quad(lane) + i, l + high(lane));
    }
    return at(((lane & 3) + 4 * r) * per_word(s->b) + e, lane >> 2);
}

ptx_at ptx_mma_acc_at(const ptx_mma *s, ptx_type acc, unsigned lane, unsigned r, unsigned e)
{
    unsigned i = acc == PTX_F16 ? 2 * r + e : r;
    if (volta(s)) {
        if (acc == PTX_F16) return at(8 * quad(lane) + (lane & 3) + high(lane), i);
        return at(8 * quad(lane) + (lane & 1) + (i & 2) + high(lane),
                  (i & 4) + (lane & 2) + (i & 1));
    }
    return at((lane >> 2) + 8 * (i >> 1), 2 * (lane & 3) + (i & 1));
}

/* ---- decoding packed elements ---- */

CLONES static void halves(const uint16_t *w, unsigned n, float *out)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t h = w[i], mag = h & 0x7fff, sign = (h & 0x8000) << 16;
        uint32_t normal = (mag << 13) + (112u << 23), special = (mag << 13) | 0x7f800000u;
        uint32_t sub = ptx_f32_bits((float)(int32_t)mag * 0x1p-24f);
        out[i] = ptx_f32(sign | (mag >= 0x7c00 ? special : mag < 0x400 ? sub : normal));
    }
}

static void bytes_f8(ptx_type t, const uint8_t *w, unsigned n, float *out)
{
    for (unsigned i = 0; i < n; i++) out[i] = ptx_small_to_f32(t, w[i]);
}

void ptx_unpack_f32(ptx_type t, const void *words, unsigned n, float *out)
{
    const uint16_t *h = words;
    const uint32_t *w = words;
    switch (t) {
    case PTX_F16: halves(h, n, out); break;
    case PTX_BF16:
        for (unsigned i = 0; i < n; i++) out[i] = ptx_f32((uint32_t)h[i] << 16);
        break;
    case PTX_TF32:
        for (unsigned i = 0; i < n; i++) out[i] = ptx_f32(w[i] & 0xffffe000u);
        break;
    case PTX_E4M3:
    case PTX_E5M2: bytes_f8(t, words, n, out); break;
    default: memcpy(out, words, n * sizeof *out); break;
    }
}

void ptx_unpack_s32(ptx_type t, const void *words, unsigned n, int32_t *out)
{
    const uint8_t *u = words;
    switch (t) {
    case PTX_U8:
        for (unsigned i = 0; i < n; i++) out[i] = u[i];
        break;
    case PTX_S8:
        for (unsigned i = 0; i < n; i++) out[i] = (int8_t)u[i];
        break;
    case PTX_U4:
        for (unsigned i = 0; i < n; i++) out[i] = u[i / 2] >> (4 * (i & 1)) & 15;
        break;
    case PTX_S4:
        for (unsigned i = 0; i < n; i++)
            out[i] = (int8_t)(uint8_t)((u[i / 2] >> (4 * (i & 1))) << 4) >> 4;
        break;
    case PTX_B1:
        for (unsigned i = 0; i < n; i++) out[i] = u[i / 8] >> (i & 7) & 1;
        break;
    default: memcpy(out, words, n * sizeof *out); break;
    }
}

/* ---- products ---- */

typedef float v8f __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t v8i __attribute__((vector_size(32), aligned(4), may_alias));

CLONES void ptx_matmul_f32(unsigned m, unsigned n, unsigned k, float *d, const float *a,
                           const float *b, const float *c)
{
    for (unsigned j = 0; j < n; j += 8)
        for (unsigned i = 0; i < m; i += 4) {
            v8f s0 = *(const v8f *)&c[i * n + j], s1 = *(const v8f *)&c[(i + 1) * n + j],
                s2 = *(const v8f *)&c[(i + 2) * n + j], s3 = *(const v8f *)&c[(i + 3) * n + j];
            const float *r = &a[i * k];
            for (unsigned x = 0; x < k; x++) {
                v8f y = *(const v8f *)&b[x * n + j];
                s0 += r[x] * y;
                s1 += r[x + k] * y;
                s2 += r[x + 2 * k] * y;
                s3 += r[x + 3 * k] * y;
            }
            *(v8f *)&d[i * n + j] = s0;
            *(v8f *)&d[(i + 1) * n + j] = s1;
            *(v8f *)&d[(i + 2) * n + j] = s2;
            *(v8f *)&d[(i + 3) * n + j] = s3;
        }
}

static int32_t clamp_s32(int64_t v)
{
    return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
}

CLONES void ptx_matmul_s32(unsigned m, unsigned n, unsigned k, int32_t *d, const int32_t *a,
                           const int32_t *b, const int32_t *c, bool sat)
{
    for (unsigned i = 0; i < m; i++)
        for (unsigned j = 0; j < n; j += 8) {
            v8i s = {0}; /* at most 256 products below 2^16: no overflow */
            for (unsigned x = 0; x < k; x++) s += a[i * k + x] * *(const v8i *)&b[x * n + j];
            for (unsigned q = 0; q < 8; q++) {
                int64_t v = (int64_t)c[i * n + j + q] + s[q];
                d[i * n + j + q] = sat ? clamp_s32(v) : (int32_t)(uint32_t)(uint64_t)v;
            }
        }
}

void ptx_matmul_f64(unsigned m, unsigned n, unsigned k, double *d, const double *a, const double *b,
                    const double *c)
{
    for (unsigned i = 0; i < m; i++)
        for (unsigned j = 0; j < n; j++) {
            double s = c[i * n + j];
            for (unsigned x = 0; x < k; x++) s = __builtin_fma(a[i * k + x], b[x * n + j], s);
            d[i * n + j] = s;
        }
}

/* ---- one warp's mma ---- */

/* Registers -> row-major words (see mma.h). rows: 8 or 16; B passes its columns as rows. */
static void gather32(uint32_t *out, const void *const reg[], unsigned nreg, unsigned rows)
{
    unsigned chunks = rows == 16 ? nreg / 2 : nreg; /* 16-byte pieces of a row */
    for (unsigned r = 0; r < nreg; r++) {
        unsigned row0 = rows == 16 ? 8 * (r & 1) : 0, piece = rows == 16 ? r >> 1 : r;
        const uint32_t *x = reg[r];
        for (unsigned g = 0; g < 8; g++)
            memcpy(&out[((row0 + g) * chunks + piece) * 4], &x[4 * g], 16);
    }
}

static void gather64(double *out, const void *const reg[], unsigned nreg, unsigned rows)
{
    unsigned chunks = rows == 16 ? nreg / 2 : nreg;
    for (unsigned r = 0; r < nreg; r++) {
        unsigned row0 = rows == 16 ? 8 * (r & 1) : 0, piece = rows == 16 ? r >> 1 : r;
        const double *x = reg[r];
        for (unsigned g = 0; g < 8; g++)
            memcpy(&out[((row0 + g) * chunks + piece) * 4], &x[4 * g], 32);
    }
}

static void acc_load(const ptx_mma *s, float *c, const void *const reg[])
{
    unsigned pairs = s->m / 8;
    for (unsigned h = 0; h < pairs; h++) {
        if (s->c == PTX_F16) {
            halves(reg[h], 64, &c[64 * h]); /* lane l holds values 2l and 2l + 1 of these 8 rows */
            continue;
        }
        const float *x = reg[2 * h], *y = reg[2 * h + 1];
        for (unsigned l = 0; l < 32; l++) c[64 * h + 2 * l] = x[l], c[64 * h + 2 * l + 1] = y[l];
    }
}

static void acc_store(const ptx_mma *s, void *const reg[], const float *c)
{
    for (unsigned h = 0; h < s->m / 8u; h++) {
        uint32_t lo[32], hi[32];
        for (unsigned l = 0; l < 32; l++)
            lo[l] = ptx_f32_bits(c[64 * h + 2 * l]), hi[l] = ptx_f32_bits(c[64 * h + 2 * l + 1]);
        if (s->d == PTX_F16) {
            uint32_t *d = reg[h];
            ptx_f32_to_f16_lanes(lo, lo);
            ptx_f32_to_f16_lanes(hi, hi);
            for (unsigned l = 0; l < 32; l++) d[l] = hi[l] << 16 | lo[l];
            continue;
        }
        memcpy(reg[2 * h], lo, sizeof lo);
        memcpy(reg[2 * h + 1], hi, sizeof hi);
    }
}

static void product(const ptx_mma *s, ptx_mma_model model, unsigned m, float *d, const float *a,
                    const float *b, const float *c)
{
    if (model.hw)
        ptx_matmul_hw(model.sm, s->a, s->d, m, s->n, s->k, d, a, b, c);
    else
        ptx_matmul_f32(m, s->n, s->k, d, a, b, c);
}

CLONES static void run_float(const ptx_mma *s, ptx_mma_model model, void *const d[],
                             const void *const a[], const void *const b[], const void *const c[])
{
    uint32_t words[16 * 8];
    float av[16 * 32], bt[8 * 32], bv[32 * 8], acc[16 * 8];
    gather32(words, a, ptx_mma_a_regs(s), s->m);
    ptx_unpack_f32(s->a, words, s->m * s->k, av);
    gather32(words, b, ptx_mma_b_regs(s), 8);
    ptx_unpack_f32(s->b, words, 8u * s->k, bt);
    for (unsigned x = 0; x < s->k; x++)
        for (unsigned j = 0; j < 8; j++) bv[x * 8 + j] = bt[j * s->k + x];
    acc_load(s, acc, c);
    product(s, model, s->m, acc, av, bv, acc);
    acc_store(s, d, acc);
}

static void run_int(const ptx_mma *s, void *const d[], const void *const a[], const void *const b[],
                    const void *const c[])
{
    uint32_t words[16 * 8];
    int32_t av[16 * MAX_K], bt[8 * MAX_K], bv[MAX_K * 8], acc[16 * 8];
    gather32(words, a, ptx_mma_a_regs(s), s->m);
    ptx_unpack_s32(s->a, words, s->m * s->k, av);
    gather32(words, b, ptx_mma_b_regs(s), 8);
    ptx_unpack_s32(s->b, words, 8u * s->k, bt);
    for (unsigned x = 0; x < s->k; x++)
        for (unsigned j = 0; j < 8; j++) bv[x * 8 + j] = bt[j * s->k + x];
    for (unsigned h = 0; h < s->m / 8u; h++) {
        const int32_t *x = c[2 * h], *y = c[2 * h + 1];
        for (unsigned l = 0; l < 32; l++)
            acc[64 * h + 2 * l] = x[l], acc[64 * h + 2 * l + 1] = y[l];
    }
    if (s->a == PTX_B1 &&
        s->b1 == PTX_B1_XOR) { /* popc(a ^ b) = popc(a) + popc(b) - 2 popc(a & b) */
        for (unsigned i = 0; i < s->m; i++)
            for (unsigned j = 0; j < 8; j++)
                for (unsigned x = 0; x < s->k; x++)
                    acc[i * 8 + j] += av[i * s->k + x] ^ bv[x * 8 + j];
    } else {
        ptx_matmul_s32(s->m, 8, s->k, acc, av, bv, acc, s->sat);
    }
    for (unsigned h = 0; h < s->m / 8u; h++) {
        int32_t *x = d[2 * h], *y = d[2 * h + 1];
        for (unsigned l = 0; l < 32; l++)
            x[l] = acc[64 * h + 2 * l], y[l] = acc[64 * h + 2 * l + 1];
    }
}

static void run_double(const ptx_mma *s, void *const d[], const void *const a[],
                       const void *const b[], const void *const c[])
{
    double av[16 * 16], bt[8 * 16], bv[16 * 8], acc[16 * 8];
    gather64(av, a, ptx_mma_a_regs(s), s->m);
    gather64(bt, b, ptx_mma_b_regs(s), 8);
    for (unsigned x = 0; x < s->k; x++)
        for (unsigned j = 0; j < 8; j++) bv[x * 8 + j] = bt[j * s->k + x];
    for (unsigned h = 0; h < s->m / 8u; h++) {
        const double *x = c[2 * h], *y = c[2 * h + 1];
        for (unsigned l = 0; l < 32; l++)
            acc[64 * h + 2 * l] = x[l], acc[64 * h + 2 * l + 1] = y[l];
    }
    ptx_matmul_f64(s->m, 8, s->k, acc, av, bv, acc);
    for (unsigned h = 0; h < s->m / 8u; h++) {
        double *x = d[2 * h], *y = d[2 * h + 1];
        for (unsigned l = 0; l < 32; l++)
            x[l] = acc[64 * h + 2 * l], y[l] = acc[64 * h + 2 * l + 1];
    }
}

/* m8n8k4.f16: four products, element by element through the maps. */
static void run_volta(const ptx_mma *s, ptx_mma_model model, void *const d[], const void *const a[],
                      const void *const b[], const void *const c[])
{
    float av[32 * 4], bv[4][4 * 8], acc[32 * 8];
    for (unsigned l = 0; l < 32; l++)
        for (unsigned r = 0; r < 2; r++)
            for (unsigned e = 0; e < 2; e++) {
                ptx_at p = ptx_mma_a_at(s, l, r, e), q = ptx_mma_b_at(s, l, r, e);
                av[p.row * 4 + p.col] =
                    ptx_small_to_f32(PTX_F16, ((const uint32_t *)a[r])[l] >> (16 * e) & 0xffff);
                bv[q.row / 8][q.row % 8 * 8 + q.col] =
                    ptx_small_to_f32(PTX_F16, ((const uint32_t *)b[r])[l] >> (16 * e) & 0xffff);
            }
    unsigned cr = ptx_mma_acc_regs(s, s->c), dr = ptx_mma_acc_regs(s, s->d);
    for (unsigned l = 0; l < 32; l++)
        for (unsigned i = 0; i < 8; i++) {
            unsigned r = cr == 4 ? i / 2 : i, e = cr == 4 ? i & 1 : 0;
            ptx_at p = ptx_mma_acc_at(s, s->c, l, r, e);
            uint32_t w = ((const uint32_t *)c[r])[l];
            acc[p.row * 8 + p.col] =
                s->c == PTX_F16 ? ptx_small_to_f32(PTX_F16, w >> (16 * e) & 0xffff) : ptx_f32(w);
        }
    for (unsigned q = 0; q < 4; q++)
        product(s, model, 8, &acc[64 * q], &av[32 * q], bv[q], &acc[64 * q]);
    for (unsigned l = 0; l < 32; l++)
        for (unsigned r = 0; r < dr; r++) {
            uint32_t w = 0;
            for (unsigned e = 0; e < 8 / dr; e++) {
                ptx_at p = ptx_mma_acc_at(s, s->d, l, r, e);
                float v = acc[p.row * 8 + p.col];
                w |= s->d == PTX_F16
                         ? ptx_small_from_f64(PTX_F16, v, PTX_RN, (ptx_fmt_opts){0}) << (16 * e)
                         : ptx_f32_bits(v);
            }
            ((uint32_t *)d[r])[l] = w;
        }
}

void ptx_mma_run(const ptx_mma *s, ptx_mma_model model, void *const d[], const void *const a[],
                 const void *const b[], const void *const c[])
{
    if (volta(s))
        run_volta(s, model, d, a, b, c);
    else if (s->a == PTX_F64)
        run_double(s, d, a, b, c);
    else if (ptx_types[s->a].kind == 'F')
        run_float(s, model, d, a, b, c);
    else
        run_int(s, d, a, b, c);
}

unsigned ptx_wmma_at(unsigned elements, unsigned per_reg, unsigned lane, unsigned r, unsigned e)
{
    return ((r * 32 + lane) * per_reg + e) % elements;
}

/* matrix_tests.c: host references of wmma gemm tensor_forms mbarrier. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "foreign.h"

static float half_to(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    float v = e == 31 ? (m ? NAN : INFINITY)
              : e     ? ldexpf((float)(1024 + m), e - 25)
                      : ldexpf((float)m, -24);
    return h & 0x8000 ? -v : v;
}
/* Small multiples of 1/8: products and sums stay exact in f32. */
static uint16_t half_small(float *v)
{
    static uint16_t of[17];
    int k = (int)(next_u32() >> 20) % 33 - 16, mag = k < 0 ? -k : k;
    for (uint32_t b = 0; mag && !of[mag] && b < 0x7c00; b++)
        if (half_to((uint16_t)b) == (float)mag / 8) of[mag] = (uint16_t)b;
    *v = (float)k / 8;
    return (uint16_t)(of[mag] | (k < 0 ? 0x8000 : 0));
}
static void *get(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p) abort();
    return p;
}

static void wmma_f16(run *r)
{
    enum { M = 32, N = 48, K = 64 };
    static uint16_t a[M * K], b[N * K];
    static float fa[M * K], fb[N * K], c[M * N];
    static double want[M * N];
    int m = M, n = N, k = K;
    for (int i = 0; i < M * K; i++) a[i] = half_small(&fa[i]);
    for (int i = 0; i < N * K; i++) b[i] = half_small(&fb[i]);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            want[i * N + j] = 0;
            for (int x = 0; x < K; x++) want[i * N + j] += 0.5 * fa[i * K + x] * fb[j * K + x];
        }
    uint64_t da = up(r, a, sizeof a), db = up(r, b, sizeof b), dc = room(r, sizeof c);
    LAUNCH(r, "wmma_f16", D2(N / 16, M / 16), D1(32), 0, &da, &db, &dc, &m, &n, &k);
    down(r, c, dc, sizeof c);
    near_f32(r, "wmma_f16", c, want, M * N, 0, 0);
}

static void wmma_s8(run *r)
{
    enum { M = 16, N = 32, K = 48 };
    static int8_t a[M * K], b[K * N];
    static uint32_t c[M * N], want[M * N];
    int n = N, k = K;
    for (int i = 0; i < M * K; i++) a[i] = (int8_t)(next_u32() >> 24);
    for (int i = 0; i < K * N; i++) b[i] = (int8_t)(next_u32() >> 24);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            int s = 7;
            for (int x = 0; x < K; x++) s += a[i * K + x] * b[x * N + j];
            want[i * N + j] = (uint32_t)s;
        }
    uint64_t da = up(r, a, sizeof a), db = up(r, b, sizeof b), dc = room(r, sizeof c);
    LAUNCH(r, "wmma_s8", D2(N / 16, 1), D1(32), 0, &da, &db, &dc, &n, &k);
    down(r, c, dc, sizeof c);
    same_u32(r, "wmma_s8", c, want, M * N);
}

static void wmma_shapes(run *r)
{
    static uint16_t a[512], b[512], c[512];
    static float fa[512], fb[512], got[512];
    static double want[512];
    for (int i = 0; i < 512; i++) a[i] = half_small(&fa[i]), b[i] = half_small(&fb[i]);
    for (int i = 0; i < 256; i++) want[i] = want[256 + i] = 1;
    for (int x = 0; x < 16; x++) {
        for (int i = 0; i < 32; i++)
            for (int j = 0; j < 8; j++)
                want[j * 32 + i] += fa[x * 32 + i] * fb[x * 8 + j]; /* A and C by columns */
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < 32; j++) want[256 + i * 32 + j] += fa[i * 16 + x] * fb[x * 32 + j];
    }
    uint64_t da = up(r, a, sizeof a), db = up(r, b, sizeof b), dc = room(r, sizeof c);
    LAUNCH(r, "wmma_shapes", D1(2), D1(32), 0, &da, &db, &dc);
    down(r, c, dc, sizeof c);
    for (int i = 0; i < 512; i++) got[i] = half_to(c[i]);
    near_f32(r, "wmma_shapes", got, want, 512, 1e-3, 0);
}

static void gemm(run *r)
{
    static const int shapes[][3] = {{64, 64, 96}, {100, 70, 136}, {33, 129, 8}, {20, 20, 0}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        uint16_t *a = get((size_t)(m * k) * 2), *b = get((size_t)(n * k) * 2),
                 *c = get((size_t)(m * n) * 2);
        float *fa = get((size_t)(m * k) * 4), *fb = get((size_t)(n * k) * 4),
              *got = get((size_t)(m * n) * 4);
        double *want = get((size_t)(m * n) * 8);
        for (int i = 0; i < m * k; i++) a[i] = half_small(&fa[i]);
        for (int i = 0; i < n * k; i++) b[i] = half_small(&fb[i]);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++)
                for (int x = 0; x < k; x++) want[i * n + j] += fa[i * k + x] * fb[j * k + x];
        uint64_t da = up(r, a, (size_t)(m * k) * 2 + !k), db = up(r, b, (size_t)(n * k) * 2 + !k),
                 dc = room(r, (size_t)(m * n) * 2);
        LAUNCH(r, "gemm", D2((uint32_t)(n + 63) / 64, (uint32_t)(m + 63) / 64), D1(128),
               3 * 128 * 64, &da, &db, &dc, &m, &n, &k);
        down(r, c, dc, (size_t)(m * n) * 2);
        for (int i = 0; i < m * n; i++) got[i] = half_to(c[i]);
        near_f32(r, "gemm", got, want, (size_t)(m * n), 1e-3, 1e-6);
        free(a), free(b), free(c), free(fa), free(fb), free(got), free(want);
    }
}

/* The ISA's fragments written once more: element (row, col) of A and B as 32 / bits values a
 * word. */
typedef struct ab {
    double a[16][256], b[256][8];
} ab;
static double bits_value(uint32_t w, int bits, int e,
                         int kind) /* kind: 0 unsigned, 1 signed, 2 bf16, 3 tf32, 4 f16 */
{
    uint32_t v = bits == 32 ? w : w >> (bits * e) & ((1u << bits) - 1);
    float f;
    switch (kind) {
    case 0: return v;
    case 1: return v >> (bits - 1) ? (double)v - ldexp(1, bits) : v;
    case 2:
        v <<= 16;
        memcpy(&f, &v, 4);
        return f;
    case 3:
        v &= 0xffffe000u;
        memcpy(&f, &v, 4);
        return f;
    default: return half_to((uint16_t)v);
    }
}
static void fragments(ab *x, const uint32_t *in, uint32_t keep, int na, int nb, int bits, int ka,
                      int kb)
{
    int per = 32 / bits;
    for (int l = 0; l < 32; l++)
        for (int e = 0; e < per; e++) {
            for (int r = 0; r < na; r++)
                x->a[l / 4 + 8 * (r & 1)][(l % 4 + 4 * (r >> 1)) * per + e] =
                    bits_value(in[r * 32 + l] & keep, bits, e, ka);
            for (int r = 0; r < nb; r++)
                x->b[(l % 4 + 4 * r) * per + e][l / 4] =
                    bits_value(in[(4 + r) * 32 + l] & keep, bits, e, kb);
        }
}

static void tensor_forms(run *r)
{
    static uint32_t in[6 * 32], out[25 * 32];
    static ab x;
    double acc[4][32];
    for (int i = 0; i < 6 * 32; i++) in[i] = next_u32();
    for (int i = 0; i < 32; i++)
        in[i] = (in[i] & 0x800fffffu) | 0x3f000000u,
        in[128 + i] = (in[128 + i] & 0x800fffffu) | 0x3f000000u;
    for (int i = 32; i < 6 * 32; i++)
        in[i] &= 0xc7ffc7ffu; /* keeps bf16, f16 and tf32 views finite */
    uint64_t di = up(r, in, sizeof in), dy = room(r, sizeof out);
    LAUNCH(r, "mma_forms", D1(1), D1(32), 0, &di, &dy);
    down(r, out, dy, sizeof out);
    static const struct {
        int at, bits, na, nb, ka, kb, k;
    } f[] = {
        {0, 8, 4, 2, 1, 0, 32},   {4, 4, 4, 2, 0, 1, 64},  {8, 1, 4, 2, 0, 0, 256},
        {12, 16, 4, 2, 2, 2, 16}, {16, 32, 4, 2, 3, 3, 8},
    };
    for (int i = 0; i < 4; i++)
        for (int l = 0; l < 32; l++) acc[i][l] = i + 1;
    for (size_t q = 0; q < sizeof f / sizeof *f; q++) {
        fragments(&x, in, f[q].at >= 12 ? 0xbfffbfffu : ~0u, f[q].na, f[q].nb, f[q].bits, f[q].ka,
                  f[q].kb);
        for (int i = 0; i < 4; i++)
            for (int l = 0; l < 32; l++) {
                double s = f[q].at == 12 ? i + 1 : f[q].at == 16 ? i : acc[i][l], mag = fabs(s);
                for (int k = 0; k < f[q].k; k++) {
                    double p = x.a[l / 4 + 8 * (i >> 1)][k] * x.b[k][2 * (l % 4) + (i & 1)];
                    s += p, mag += fabs(p);
                }
                acc[i][l] = s;
                uint32_t w = out[(f[q].at + i) * 32 + l];
                float g;
                memcpy(&g, &w, 4);
                bool ok =
                    f[q].at < 12 ? (int32_t)w == (int32_t)(int64_t)s : fabs(g - s) <= mag * 4e-6;
                if (!ok) {
                    mistake(r, "form %zu value %d lane %d: %08x, want %g", q, i, l, w, s);
                    return;
                }
            }
    }
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 2; i++) {
            double s = i ? -0.5 : 0.5;
            for (int k = 0; k < 4; k++)
                s += (double)(int32_t)in[l / 4 * 4 + k] *
                     (double)(int32_t)in[128 + (2 * (l % 4) + i) * 4 + k];
            float g, w = (float)s;
            memcpy(&g, &out[(20 + i) * 32 + l], 4);
            if (fabsf(g - w) > fabsf(w) * 1e-6f) {
                mistake(r, "f64 lane %d: %g, want %g", l, g, w);
                return;
            }
        }
    fragments(&x, in, 0x37ff37ffu, 2, 1, 16, 4, 4);
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            double s = i < 2 ? 1 : 0;
            for (int k = 0; k < 8; k++)
                s += x.a[l / 4 + 8 * (i >> 1)][k] * x.b[k][2 * (l % 4) + (i & 1)];
            float g = half_to((uint16_t)(out[(22 + i / 2) * 32 + l] >> (16 * (i & 1))));
            if (fabs(g - s) > 1e-3 * fabs(s) + 1e-6) {
                mistake(r, "f16 value %d lane %d: %g, want %g", i, l, g, s);
                return;
            }
        }
    for (int l = 0; l < 32; l++) {
        uint32_t w = 0;
        for (int e = 0; e < 2; e++) {
            int row = l / 4,
                col = 2 * (l % 4) + e; /* of the result: element (col, row) of the source */
            w |= (in[col * 4 + row / 2] >> (16 * (row & 1)) & 0xffff) << (16 * e);
        }
        if (out[24 * 32 + l] != w) {
            mistake(r, "movmatrix lane %d: %08x, want %08x", l, out[24 * 32 + l], w);
            return;
        }
    }
}

static void mbarriers(run *r)
{
    static const int sizes[] = {1000, 50, 100, 370, 0};
    uint32_t out[96], want[96];
    for (int c = 0; c < 5; c++) {
        static int x[1000];
        int n = sizes[c];
        memset(want, 0, sizeof want);
        for (int i = 0; i < n; i++)
            x[i] = (int)next_u32() >> 8, want[i % 96] += (uint32_t)x[i] * (uint32_t)(i / 96 + 1);
        uint64_t dx = up(r, x, (size_t)n * 4 + !n), dy = room(r, sizeof out);
        LAUNCH(r, "ring_sum", D1(1), D1(128), 0, &dx, &dy, &n);
        down(r, out, dy, sizeof out);
        same_u32(r, "ring", out, want, 96);
    }
    uint64_t dy = room(r, 64 * 4);
    LAUNCH(r, "phases", D1(1), D1(64), 0, &dy);
    down(r, out, dy, 64 * 4);
    for (uint32_t i = 0; i < 64; i++) want[i] = (i + 10) % 64;
    same_u32(r, "phases", out, want, 64);
}

const test matrix_tests[] = {
    {"wmma", "wmma_f16", wmma_f16},
    {"wmma", "wmma_s8", wmma_s8},
    {"wmma", "wmma_shapes", wmma_shapes},
    {"gemm", "gemm", gemm},
    {"tensor_forms", "tensor_forms", tensor_forms},
    {"mbarrier", "mbarriers", mbarriers},
    {0},
};

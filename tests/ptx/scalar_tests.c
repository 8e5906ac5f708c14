/* scalar_tests.c: host references of reduce scan transpose histogram sort softmax warp bits convert
 * fp64 diverge call brx. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "foreign.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
static void *get(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p) abort();
    return p;
}

/* ---- reductions ---- */

/* Sizes below and above the number of threads; buffers end where the data ends. */
static void reduce_tree(run *r)
{
    static const int sizes[] = {4987, 300, 1793};
    for (int c = 0; c < 3; c++) {
        int n = sizes[c];
        static float x[5000], out[7];
        double want[7] = {0};
        for (int i = 0; i < n; i++) x[i] = (float)(int)(next_u32() % 1000) / 8; /* sums are exact */
        for (int i = 0; i < n; i++) want[i / 256 % 7] += x[i];
        uint64_t dx = up(r, x, (size_t)n * 4), dy = room(r, sizeof out);
        LAUNCH(r, "reduce_tree", D1(7), D1(256), 0, &dx, &dy, &n);
        down(r, out, dy, sizeof out);
        near_f32(r, "sum", out, want, 7, 0, 0);
    }
}

static void reduce_shuffle(run *r)
{
    static const int sizes[] = {4321, 200};
    for (int c = 0; c < 2; c++) {
        static int x[5000];
        static double d[1000];
        uint32_t want = 0, got = 0;
        int n = sizes[c];
        for (int i = 0; i < n; i++) x[i] = (int)next_u32(), want += (uint32_t)x[i];
        uint64_t dx = up(r, x, (size_t)n * 4), dy = up(r, &got, 4);
        LAUNCH(r, "reduce_shuffle", D1(3), D1(96), 0, &dx, &dy, &n);
        down(r, &got, dy, 4);
        same_u32(r, "sum", &got, &want, 1);
        static const uint32_t warps[] = {1, 4, 7, 16}; /* the largest in each warp once */
        for (int b = 0; b < 4; b++)
            for (uint32_t peak = 0; peak < warps[b]; peak++) {
                double m = -INFINITY, g;
                n = c ? 20 : 777;
                for (int i = 0; i < n; i++) d[i] = next_f32() * 1e8, m = fmax(m, d[i]);
                if (peak * 32 + 5 < (uint32_t)n) d[peak * 32 + 5] = m = 1e15;
                dx = up(r, d, (size_t)n * 8), dy = room(r, 8);
                LAUNCH(r, "reduce_max_f64", D1(1), D1(warps[b] * 32), 0, &dx, &dy, &n);
                down(r, &g, dy, 8);
                near_f64(r, "max", &g, &m, 1, 0, 0);
            }
    }
}

/* ---- scans ---- */

static void scans(run *r)
{
    enum { B = 3 };
    static uint32_t x[4096], y[4096], want[4096];
    static const int sizes[] = {200, 31};
    for (int i = 0; i < 4096; i++) x[i] = next_u32();
    for (int c = 0; c < 2; c++) {
        int n = sizes[c];
        for (int b = 0; b < B; b++)
            for (int i = 0; i < n; i++)
                want[b * n + i] = x[b * n + i] + (i ? want[b * n + i - 1] : 0);
        uint64_t dx = up(r, x, (size_t)(B * n) * 4), dy = room(r, (size_t)(B * n) * 4);
        uint32_t block = c ? 1 + (uint32_t)n : 256;
        LAUNCH(r, "scan_shared", D1(B), D1(block), 2 * block * 4, &dx, &dy, &n);
        down(r, y, dy, (size_t)(B * n) * 4);
        same_u32(r, "shared", y, want, (size_t)(B * n));
    }
    { /* one thread: no step at all */
        int n = 1;
        uint64_t dx = up(r, x, 4), dy = room(r, 4);
        LAUNCH(r, "scan_shared", D1(1), D1(1), 8, &dx, &dy, &n);
        down(r, y, dy, 4);
        same_u32(r, "shared", y, x, 1);
    }
    static const int lengths[] = {1000, 65, 0};
    for (int c = 0; c < 3; c++) {
        int n = lengths[c];
        for (int i = 0; i < n; i++) want[i] = x[i] + (i ? want[i - 1] : 0);
        uint64_t dx = up(r, x, (size_t)n * 4 + !n), dy = room(r, (size_t)n * 4 + !n);
        LAUNCH(r, "scan_shuffle", D1(1), D1(c == 1 ? 32 : 128), 0, &dx, &dy, &n);
        down(r, y, dy, (size_t)n * 4);
        same_u32(r, "shuffle", y, want, (size_t)n);
    }
}

/* ---- transposes ---- */

static void transposes(run *r)
{
    int rows = 75, cols = 50, n = 100;
    float *x = get(75 * 50 * 4), *y = get(75 * 50 * 4);
    double *want = get(75 * 50 * 8);
    for (int i = 0; i < rows * cols; i++)
        x[i] = next_f32(), want[i % cols * rows + i / cols] = x[i];
    uint64_t dx = up(r, x, 75 * 50 * 4), dy = room(r, 75 * 50 * 4);
    LAUNCH(r, "transpose_f32", D2(2, 3), D2(32, 8), 0, &dx, &dy, &rows, &cols);
    down(r, y, dy, 75 * 50 * 4);
    near_f32(r, "f32", y, want, 75 * 50, 0, 0);
    free(x), free(y), free(want);
    static uint16_t h[100 * 100], g[100 * 100];
    for (int i = 0; i < n * n; i++) h[i] = (uint16_t)next_u32();
    dx = up(r, h, sizeof h), dy = room(r, sizeof g);
    LAUNCH(r, "transpose_u16", D2(2, 2), D1(128), 0, &dx, &dy, &n);
    down(r, g, dy, sizeof g);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            if (g[i * n + j] != h[j * n + i]) {
                mistake(r, "u16[%d][%d] = %u, want %u", i, j, g[i * n + j], h[j * n + i]);
                return;
            }
}

/* ---- atomics ---- */

static void histograms(run *r)
{
    static const int sizes[] = {10000, 100};
    for (int c = 0; c < 2; c++) {
        static uint8_t x[10000];
        uint32_t bins[256] = {0}, want[256] = {0}, block = c ? 320 : 160;
        int n = sizes[c];
        for (int i = 0; i < n; i++)
            x[i] = (uint8_t)(next_u32() >> 24 & next_u32() >> 16), want[x[i]]++;
        uint64_t dx = up(r, x, (size_t)n), db = up(r, bins, sizeof bins);
        LAUNCH(r, "histogram", D1(4), D1(block), 0, &dx, &db, &n);
        down(r, bins, db, sizeof bins);
        same_u32(r, "bin", bins, want, 256);
    }
}

static void atomics(run *r)
{
    enum { N = 300 };
    static int x[N];
    uint32_t u[16] = {0, 0, 0, 0xffffffffu, 0, 0xffffffffu, 0, 0, 0, 0, 5, 0, 0, 0}, w[16];
    uint64_t l[2] = {1, 0}, lw[2];
    float f = 2, fw = 2;
    double d = 1, dw = 1;
    int n = N;
    memcpy(w, u, sizeof w), memcpy(lw, l, sizeof l);
    uint32_t exch = 0, last_max = 0;
    for (int i = 0; i < N; i++) {
        int v = x[i] = (int)next_u32() >> (i % 20);
        uint32_t q = (uint32_t)v, inc = w[8];
        w[0] += q;
        if (v < (int)w[1]) w[1] = q;
        if (v > (int)w[2]) w[2] = q;
        if (q < w[3]) w[3] = q;
        if (q > w[4]) w[4] = q;
        w[5] &= q | 0xff, w[6] |= q & 0xffff, w[7] ^= q;
        w[8] = inc >= 100 ? 0 : inc + 1;
        w[9] += inc;
        w[10] = w[10] == 0 || w[10] > 37 ? 37 : w[10] - 1;
        w[11] += q & 7;
        exch += (q & 255) + 1;
        if ((q & 255) + 1 > last_max) last_max = (q & 255) + 1;
        lw[0] += (uint64_t)(int64_t)v;
        if ((uint64_t)q * 3 > lw[1]) lw[1] = (uint64_t)q * 3;
        fw += 1, dw += 0.5 * (v & 15);
    }
    uint64_t dx = up(r, x, sizeof x), du = up(r, u, sizeof u), dl = up(r, l, sizeof l),
             df = up(r, &f, 4), dd = up(r, &d, 8);
    LAUNCH(r, "atomics", D1(3), D1(128), 0, &dx, &du, &dl, &df, &dd, &n);
    down(r, u, du, sizeof u), down(r, l, dl, sizeof l), down(r, &f, df, 4), down(r, &d, dd, 8);
    same_u32(r, "u", u, w, 12);
    if (u[12] + u[13] != exch) mistake(r, "exchanged values: %u + %u, want %u", u[12], u[13], exch);
    if (l[0] != lw[0] || l[1] != lw[1])
        mistake(r, "u64: %llx %llx, want %llx %llx", (long long)l[0], (long long)l[1],
                (long long)lw[0], (long long)lw[1]);
    if (f != fw || d != dw) mistake(r, "floats: %g %g, want %g %g", f, d, fw, dw);
}

/* ---- sorts ---- */

static int by_float(const void *a, const void *b)
{
    return *(const float *)a < *(const float *)b ? -1 : *(const float *)a > *(const float *)b;
}
static uint32_t sort_keys[1024];
static int by_key(const void *a, const void *b)
{
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    return sort_keys[i] != sort_keys[j] ? (sort_keys[i] < sort_keys[j] ? -1 : 1) : i < j ? -1 : 1;
}

static void sorts(run *r)
{
    static const int sizes[] = {512, 64, 1}; /* more and fewer elements than threads */
    for (int c = 0; c < 3; c++) {
        static float x[3 * 512], y[3 * 512];
        static double want[3 * 512];
        int n = sizes[c], all = 3 * n;
        for (int i = 0; i < all; i++) x[i] = next_f32() * (float)(1 + i % 7);
        uint64_t dx = up(r, x, (size_t)all * 4);
        LAUNCH(r, "sort_bitonic", D1(3), D1(128), (uint32_t)n * 4, &dx, &n);
        down(r, y, dx, (size_t)all * 4);
        for (int b = 0; b < 3; b++) qsort(x + b * n, (size_t)n, 4, by_float);
        for (int i = 0; i < all; i++) want[i] = x[i];
        near_f32(r, "bitonic", y, want, (size_t)all, 0, 0);
    }
    static const uint32_t counts[][2] = {{300, 320}, {20, 32}, {350, 352}};
    for (int c = 0; c < 3; c++) {
        static uint32_t k[400], v[400], order[400], wk[400], wv[400];
        uint32_t n = counts[c][0];
        for (uint32_t i = 0; i < n; i++)
            k[i] = sort_keys[i] = next_u32() >> (i % 3 * 12), v[i] = i * 10, order[i] = i;
        uint64_t dk = up(r, k, n * 4), dv = up(r, v, n * 4);
        LAUNCH(r, "sort_radix", D1(1), D1(counts[c][1]), 0, &dk, &dv, &n);
        down(r, k, dk, n * 4), down(r, v, dv, n * 4);
        qsort(order, n, 4, by_key);
        for (uint32_t i = 0; i < n; i++) wk[i] = sort_keys[order[i]], wv[i] = order[i] * 10;
        same_u32(r, "keys", k, wk, n);
        same_u32(r, "values", v, wv, n);
    }
}

/* ---- softmax ---- */

static float half_to(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    float v = e == 31 ? (m ? NAN : INFINITY)
              : e     ? ldexpf((float)(1024 + m), e - 25)
                      : ldexpf((float)m, -24);
    return h & 0x8000 ? -v : v;
}

/* One row a block, as many rows as warps; the peak of row b lies with warp b and is so high that
 * any other maximum overflows. */
static void softmax_rows(run *r, int cols, int warps)
{
    static float x[16 * 800], y[16 * 800];
    static double want[16 * 800];
    size_t all = (size_t)(warps * cols);
    for (size_t i = 0; i < all; i++) x[i] = next_f32() * 20;
    for (int b = 0; b < warps; b++) {
        double m = -INFINITY, s = 0;
        int peak = b * 32 + (int)(next_u32() >> 28);
        if (peak < cols) x[b * cols + peak] = 150;
        for (int i = 0; i < cols; i++) m = fmax(m, x[b * cols + i]);
        for (int i = 0; i < cols; i++) s += want[b * cols + i] = exp(x[b * cols + i] - m);
        for (int i = 0; i < cols; i++) want[b * cols + i] /= s;
    }
    uint64_t dx = up(r, x, all * 4), dy = room(r, all * 4);
    LAUNCH(r, "softmax_f32", D1((uint32_t)warps), D1((uint32_t)warps * 32), (uint32_t)cols * 4, &dx,
           &dy, &cols);
    down(r, y, dy, all * 4);
    near_f32(r, "f32", y, want, all, 1e-5, 1e-12);
}

static void softmaxes(run *r)
{
    enum { ROWS = 3 };
    softmax_rows(r, 777, 4);
    softmax_rows(r, 300, 7);
    softmax_rows(r, 20, 1);
    softmax_rows(r, 40, 2);
    static const int sizes[] = {100, 10};
    for (int c = 0; c < 2; c++) {
        static uint16_t h[ROWS * 200], g[ROWS * 200];
        int pairs = sizes[c], n = 2 * pairs;
        for (int i = 0; i < ROWS * n; i++)
            h[i] = (uint16_t)((next_u32() & 0x83ff) | (12 + next_u32() % 6) << 10);
        uint64_t dx = up(r, h, (size_t)(ROWS * n) * 2), dy = room(r, (size_t)(ROWS * n) * 2);
        LAUNCH(r, "softmax_f16", D1(ROWS), D1(32), 0, &dx, &dy, &pairs);
        down(r, g, dy, (size_t)(ROWS * n) * 2);
        for (int b = 0; b < ROWS; b++) {
            double m = -INFINITY, s = 0, w[200];
            float o[200];
            for (int i = 0; i < n; i++) m = fmax(m, half_to(h[b * n + i]));
            for (int i = 0; i < n; i++) s += w[i] = exp(half_to(h[b * n + i]) - m);
            for (int i = 0; i < n; i++) w[i] /= s, o[i] = half_to(g[b * n + i]);
            near_f32(r, "f16", o, w, (size_t)n, 1e-3, 1e-7);
        }
    }
}

/* ---- warp operations ---- */

static uint32_t mask_where(const int *x, uint32_t among, int and_, int value)
{
    uint32_t m = 0;
    for (int l = 0; l < 32; l++)
        if (among >> l & 1 && (x[l] & and_) == value) m |= 1u << l;
    return m;
}

static void warp_ops(run *r)
{
    enum { T = 64 };
    static int x[T];
    static uint32_t out[T * 16], want[T * 16];
    for (int i = 0; i < T; i++) x[i] = (int)next_u32() >> (i & 15);
    x[5] = 7;
    for (int t = 0; t < T; t++) {
        const int *w = x + t / 32 * 32;
        uint32_t l = (uint32_t)t & 31, *o = want + 16 * t, odd = mask_where(w, ~0u, 1, 1), any = 0,
                 all = 1, same = 1;
        int v = x[t];
        for (int i = 0; i < 32; i++)
            any |= w[i] == 7, all &= w[i] >= 0, same &= w[i] >> 31 == w[0] >> 31;
        o[0] = odd;
        o[1] = any | all << 1;
        o[2] = mask_where(w, ~0u, 3, v & 3);
        o[3] = same ? ~0u : 0, o[4] = same;
        o[5] = (uint32_t)w[(l * 7 + 3) & 31];
        o[6] = (uint32_t)w[l % 8 >= 3 ? l - 3 : l];
        o[7] = (uint32_t)w[l % 16 + 5 < 16 ? l + 5 : l];
        o[8] = (uint32_t)w[(l ^ 9)];
        if (v & 1)
            o[9] = mask_where(w, odd, 6, v & 6), o[10] = mask_where(w, odd, 2, 2);
        else
            o[9] = 0x80000000u | (uint32_t)__builtin_popcount(~odd),
            o[10] = mask_where(w, ~odd, 4, 4);
        uint32_t rev = 0, q = (uint32_t)v;
        for (int i = 0; i < 32; i++) rev |= (q >> i & 1) << (31 - i);
        o[11] = rev ^ (uint32_t)__builtin_ffs(v) ^ (q ? (uint32_t)__builtin_clz(q) : 32);
        o[12] = (uint32_t)__builtin_popcount(q) +
                100 * (uint32_t)__builtin_popcountll((uint64_t)(int64_t)v * 0x123456789ull);
        o[13] = (uint32_t)(((uint64_t)(uint32_t)w[31 - l] << 20 | (31 - l)) >> 8);
        o[14] = l, o[15] = (uint32_t)t / 32;
    }
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof out);
    LAUNCH(r, "warp_ops", D1(1), D1(T), 0, &dx, &dy);
    down(r, out, dy, sizeof out);
    same_u32(r, "warp_ops", out, want, T * 16);
    if (r->sm < 80) return;
    static uint32_t red[T * 8], rw[T * 8];
    for (int t = 0; t < T; t++) {
        const int *w = x + t / 32 * 32;
        uint32_t *o = rw + 8 * t;
        uint32_t a[8] = {0, 0x7fffffff, 0x80000000u, ~0u, 0, ~0u, 0, 0};
        for (int i = 0; i < 32; i++) {
            uint32_t q = (uint32_t)w[i];
            a[0] += q;
            if (w[i] < (int)a[1]) a[1] = q;
            if (w[i] > (int)a[2]) a[2] = q;
            if (q < a[3]) a[3] = q;
            if (q > a[4]) a[4] = q;
            a[5] &= q, a[6] |= q, a[7] ^= q;
        }
        memcpy(o, a, sizeof a);
    }
    dy = room(r, sizeof red);
    LAUNCH(r, "warp_redux", D1(1), D1(T), 0, &dx, &dy);
    down(r, red, dy, sizeof red);
    same_u32(r, "redux", red, rw, T * 8);
}

/* ---- bits ---- */

static uint32_t byte_of(uint32_t x, uint32_t y, uint32_t s)
{
    uint32_t v = (s & 4 ? y : x) >> (8 * (s & 3)) & 255;
    return s & 8 ? (v & 128 ? 255 : 0) : v;
}
static uint32_t perm(uint32_t x, uint32_t y, uint32_t s)
{
    return byte_of(x, y, s & 15) | byte_of(x, y, s >> 4 & 15) << 8 |
           byte_of(x, y, s >> 8 & 15) << 16 | byte_of(x, y, s >> 12 & 15) << 24;
}
static int sx(uint32_t v, int i) { return (int8_t)(v >> (8 * i)); }
static uint32_t ux(uint32_t v, int i) { return v >> (8 * i) & 255; }
static int mini(int a, int b) { return a < b ? a : b; }
static int maxi(int a, int b) { return a > b ? a : b; }

static void bits_one(uint32_t x, uint32_t y, uint32_t z, uint32_t *o)
{
    uint32_t p = y & 63, q = z & 63;
    o[0] = perm(x, y, z & 0x7777); /* __byte_perm masks the sign bits away */
    o[1] = (x & y) | (x & z) | (y & z);
    o[2] = o[3] = 0;
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t top = p + q - 1 < 31 ? p + q - 1 : 31, sign = q ? x >> top & 1 : 0;
        uint32_t bit = i < q && p + i < 32 ? x >> (p + i) & 1 : 0;
        o[2] |= bit << i;
        o[3] |= (i < q && p + i < 32 ? bit : sign) << i;
    }
    o[4] = y;
    for (uint32_t i = 0; i < (z >> 8 & 63); i++)
        if (q + i < 32) o[4] = (o[4] & ~(1u << (q + i))) | (x >> i & 1) << (q + i);
    uint64_t f = (uint64_t)y << 32 | x;
    o[5] = (uint32_t)(f << (z & 31) >> 32);
    o[6] = (uint32_t)(q >= 32 ? f >> 32 : f >> q);
    o[7] = z, o[8] = z;
    for (int i = 0; i < 4; i++)
        o[7] += (uint32_t)(sx(x, i) * sx(y, i)), o[8] += ux(x, i) * ux(y, i);
    o[9] = z + (uint32_t)((int16_t)x * sx(y, 0) + (int16_t)(x >> 16) * sx(y, 1));
    o[10] = z + (x & 0xffff) * ux(y, 2) + (x >> 16) * ux(y, 3);
    o[11] = o[12] = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t a = ux(x, i), b = ux(y, i);
        o[11] |= (a > b ? a - b : b - a) << (8 * i);
        o[12] |= ((a + b) & 255) << (8 * i);
    }
    int64_t d = (int64_t)(int)x - (int)y;
    o[13] = z + (uint32_t)(d < 0 ? -d : d);
    o[14] = (uint32_t)((uint64_t)x * y >> 32) ^ (uint32_t)((int64_t)(int)x * (int)y >> 32);
    o[15] = (x + y) ^ (z + (x + y < x));
    uint64_t w = (uint64_t)x << 32 | y;
    o[16] = (uint32_t)(w / (z | 1)) ^ (uint32_t)(w % (z | 1));
    int64_t zs = (int)z | 1;
    o[17] = (uint32_t)((int64_t)w / zs);
    int ys = (int)y | 1;
    o[18] = ys == -1 ? 0u - x : (uint32_t)((int)x / ys) + (uint32_t)((int)x % ys);
    o[19] = (uint32_t)(f >> (8 * (z & 3)));
    uint32_t half = z & 1 ? x >> 16 : x & 0xffff;
    o[20] = half | half << 16;
    uint32_t m = (int)x < 0 ? ~x : x;
    o[21] = m ? 31 - (uint32_t)__builtin_clz(m) : ~0u;
    o[22] = (x & 255) * (y & 0xffff) + (uint32_t)(int)(int8_t)z;
    uint32_t mx = y > z ? y : z;
    o[23] = (uint32_t)mini(maxi((int)x, (int)y), (int)z) ^ (x < mx ? x : mx) ^
            ((int)z < 0 ? 0u - z : z);
}

static void bit_ops(run *r)
{
    enum { N = 500 };
    static uint32_t a[N], b[N], c[N], out[N * 24], want[N * 24];
    int n = N;
    for (int i = 0; i < N; i++) {
        a[i] = next_u32() >> (i % 4 * 8), b[i] = next_u32() >> (i % 5 * 6),
        c[i] = next_u32() >> (i % 3 * 8);
        if (i % 16 == 0) a[i] = 0x80000000u;
        if (i % 48 == 0) b[i] = ~0u;
        bits_one(a[i], b[i], c[i], want + 24 * i);
    }
    uint64_t da = up(r, a, sizeof a), db = up(r, b, sizeof b), dc = up(r, c, sizeof c),
             dy = room(r, sizeof out);
    LAUNCH(r, "bit_ops", D1(4), D1(128), 0, &da, &db, &dc, &dy, &n);
    down(r, out, dy, sizeof out);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 24; k++)
            if (out[24 * i + k] != want[24 * i + k]) {
                mistake(r, "operation %d of (%08x, %08x, %08x) = %08x, want %08x", k, a[i], b[i],
                        c[i], out[24 * i + k], want[24 * i + k]);
                return;
            }
}

/* ---- control flow ---- */

static void collatz(run *r)
{
    enum { N = 333 };
    static uint32_t x[N], out[N], want[N];
    int n = N;
    for (int i = 0; i < N; i++) {
        x[i] = 1 + next_u32() % (i < 200 ? 1000u : 4000000000u);
        uint64_t v = x[i];
        uint32_t k = 0;
        while (v != 1) {
            if (k == 500) {
                k = ~0u;
                break;
            }
            v = v & 1 ? 3 * v + 1 : v / 2;
            k++;
            if (v > 1ull << 40) break;
        }
        want[i] = k;
    }
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof out);
    LAUNCH(r, "collatz", D1(3), D1(128), 0, &dx, &dy, &n);
    down(r, out, dy, sizeof out);
    same_u32(r, "steps", out, want, N);
}

static int walk(int v)
{
    int acc = 0;
    for (int k = 0; k < (v & 7); k++) {
        if ((v + k) % 3 == 0) continue;
        for (int j = 0; j < (v >> 3 & 3); j++) {
            if (j == 2 && k == 3) return acc;
            acc += k * j + (v & 15);
        }
    }
    return acc;
}

static void nested(run *r)
{
    enum { N = 200 };
    static int x[256], acc[256];
    static uint32_t out[N], want[N];
    int n = N;
    for (int i = 0; i < N; i++) x[i] = (int)next_u32() >> 8;
    for (int i = 0; i < 256; i++) acc[i] = walk(x[i]);
    for (int i = 0; i < N; i++) {
        int t = i & 127, b = i & ~127, a = acc[i];
        if (t < 64) a = x[i] & 1 ? a + acc[b + t + 64] : a - acc[b + 127 - t];
        want[i] = (uint32_t)(a + acc[b + (t ^ 1)]);
    }
    uint64_t dx = up(r, x, N * 4), dy = room(r, sizeof out);
    LAUNCH(r, "nested", D1(2), D1(128), 0, &dx, &dy, &n);
    down(r, out, dy, sizeof out);
    same_u32(r, "nested", out, want, N);
    static uint32_t e[128], ew[128];
    for (uint32_t i = 0; i < 128; i++) ew[i] = i < 32 ? i : ~0u;
    dy = room(r, sizeof e);
    LAUNCH(r, "early", D1(1), D1(128), 0, &dy);
    down(r, e, dy, sizeof e);
    same_u32(r, "early", e, ew, 128);
}

static void interp(run *r)
{
    static const uint32_t program[6] = {3, 0, 2, 1, 4, 9};
    enum { N = 100 };
    uint32_t x[N], y[N], want[N];
    int n = N;
    for (int i = 0; i < N; i++) {
        uint32_t v = x[i] = next_u32();
        for (int k = 0; k < 6; k++) switch ((program[k] + v) & 3) {
            case 0: v += 17; break;
            case 1: v ^= 0x55; break;
            case 2: v *= 3; break;
            default: v >>= 1; break;
            }
        want[i] = v;
    }
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof y);
    LAUNCH(r, "interp", D1(2), D1(64), 0, &dx, &dy, &n);
    down(r, y, dy, sizeof y);
    same_u32(r, "interp", y, want, N);
}

static int pick(int op, int x, int y)
{
    switch (op) {
    case 0: return (int)((uint32_t)x + (uint32_t)y);
    case 1: return (int)((uint32_t)x - (uint32_t)y);
    case 2: return (int)((uint32_t)x * (uint32_t)y);
    case 3: return x & y;
    case 4: return x | y;
    case 5: return x ^ y;
    case 6: return (int)((uint32_t)x << (y & 7));
    case 7: return x >> (y & 7);
    case 8: return y ? x / y : -1;
    case 9: return y ? x % y : -2;
    default: return 1000 + op;
    }
}

static void calls(run *r)
{
    static const int table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
    struct {
        int scale;
        float bias;
        int16_t pad[5];
        double d;
    } g = {3, 0.5f, {1, 2, 3, 44, 5}, 100.25};
    enum { N = 150 };
    static int x[N];
    static uint32_t out[N], want[N];
    static float outf[N];
    static double wantf[N];
    int n = N;
    for (int i = 0; i < N; i++) {
        x[i] = (int)(next_u32() >> 8);
        int a = x[i], at = x[i] & 15, sum = 0;
        float b = (float)i;
        for (int k = 0; k < (i & 3); k++)
            a = (int)((uint32_t)a * (uint32_t)(k + 1) + (uint32_t)table[(k + 1) & 7]),
            b -= (float)(k + 1);
        for (int k = 0; k < 4; k++) {
            int e = (at + k * 5) & 15;
            sum += (x[i] >> e) * (e + 1);
        }
        want[i] = (uint32_t)pick(x[i] % 12, a, sum) * 3;
        wantf[i] = b * 0.5f + 100.25f + 44;
    }
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof out), df = room(r, sizeof outf);
    LAUNCH(r, "calls", D1(3), D1(64), 0, &dx, &dy, &df, &g, &n);
    down(r, out, dy, sizeof out), down(r, outf, df, sizeof outf);
    same_u32(r, "calls", out, want, N);
    near_f32(r, "floats", outf, wantf, N, 1e-6, 0);
    uint64_t addr, size, v = 0;
    ptxsim_error e = {0};
    if (ptxsim_symbol(r->mod, "counter", &addr, &size, &e) != PTXSIM_OK || size != 8)
        mistake(r, "symbol: %s", e.msg);
    else
        down(r, &v, addr, 8);
    if (v != 42) mistake(r, "counter = %llu, want 42", (unsigned long long)v);
}

/* ---- conversions ---- */

static uint16_t half_from(double x, int mode) /* 0 nearest, 1 zero, 2 up, 3 down */
{
    double ax = fabs(x);
    int e;
    if (isnan(x)) return 0x7fff;
    frexp(ax, &e);
    if (e < -13) e = -13;
    double ulp = ldexp(1, e - 11), n = ax / ulp, f = floor(n), d = n - f;
    bool up = mode == 0   ? d > 0.5 || (d == 0.5 && fmod(f, 2) == 1)
              : mode == 1 ? false
                          : d > 0 && (mode == 2) == (x > 0);
    double v = (f + up) * ulp;
    uint16_t s = signbit(x) ? 0x8000 : 0;
    if (v > 65504)
        return s | (mode == 1 || (mode == 2 && x < 0) || (mode == 3 && x > 0) ? 0x7bff : 0x7c00);
    if (v < 0x1p-14) return s | (uint16_t)(v * 0x1p24);
    frexp(v, &e);
    return s | (uint16_t)((e + 14) << 10) | (uint16_t)((uint32_t)ldexp(v, 11 - e) & 1023);
}
static uint32_t fbits(float f)
{
    uint32_t b;
    memcpy(&b, &f, 4);
    return b;
}
static int32_t clamp_i(double v)
{
    return v >= 2147483647.0    ? 2147483647
           : v <= -2147483648.0 ? (int32_t)-2147483648ll
                                : (int32_t)v;
}
static uint32_t clamp_u(double v) { return v >= 4294967295.0 ? ~0u : v <= 0 ? 0 : (uint32_t)v; }
static float toward(double d, bool up) /* rounds a double to float upward */
{
    float f = (float)d;
    return up && f < d ? nextafterf(f, INFINITY) : f;
}
static uint32_t pair(uint16_t lo, uint16_t hi) { return lo | (uint32_t)hi << 16; }
static uint16_t bf_from(float f)
{
    uint32_t b = fbits(f);
    return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

static void converts(run *r)
{
    enum { N = 256 };
    static float x[N];
    static int k[N];
    static uint32_t out[N * 16], want[N * 16];
    int n = N;
    for (int i = 0; i < N; i++) {
        float v = x[i] = ldexpf(next_f32(), (int)(next_u32() % 36) - 18) + (i % 5 == 0 ? 0.5f : 0);
        int q = k[i] = (int)next_u32() >> (i % 24);
        uint32_t *o = want + 16 * i;
        o[0] = pair(half_from(v, 0), half_from(v, 1));
        o[1] = pair(half_from(v, 2), half_from(v, 3));
        o[2] = (uint32_t)clamp_i(nearbyint(v)) ^ clamp_u(trunc(v));
        o[3] = (uint32_t)clamp_i(ceil(v)) + 3 * (uint32_t)clamp_i(floor(v));
        float rz = (float)(uint32_t)q;
        if ((double)rz > (uint32_t)q) rz = nextafterf(rz, 0);
        o[4] = fbits((float)q) ^ fbits(rz);
        o[5] = fbits((float)(int64_t)((uint64_t)(int64_t)q * 1234567891011ull));
        o[6] = (uint32_t)(uint64_t)(int64_t)truncf(v * 1e6f);
        o[7] = fbits(rintf(v)) ^ fbits(floorf(v) + ceilf(v)) ^ fbits(truncf(v));
        double d = (double)v * 1.000000001;
        o[8] = fbits((float)d) ^ fbits(toward(d, true)) << 1;
        o[9] = (uint32_t)(uint64_t)(int64_t)nearbyint(d * 65536.0) ^ clamp_u(trunc(d));
        float g = 0.75f;
        uint16_t h[2] = {half_from(v, 0), half_from(v * 0.5f, 0)};
        for (int c = 0; c < 2; c++) {
            double a = half_to(h[c]);
            h[c] = half_from(a * g + a, 0);
            a = half_to(h[c]);
            h[c] = half_from(a + half_to(half_from(a * g, 0)), 0);
        }
        o[10] = pair(h[0], h[1]);
        o[11] = (uint32_t)clamp_i(trunc(half_to(h[0]))) + clamp_u(nearbyint(half_to(h[1])));
        o[12] = pair(half_from(q, 0), half_from((uint16_t)q, 0));
        o[13] = bf_from(v);
        o[14] = (uint32_t)q << 16;
        bool b_nan = ((uint32_t)q & 0x7fff) > 0x7f80;
        if (b_nan) o[14] = 0; /* compared below */
        float a = half_to(h[0]), b = half_to(h[1]);
        o[15] = pair(a > b || (a == b && !(h[0] & 0x8000)) ? h[0] : h[1], h[0] ^ 0x8000);
    }
    uint64_t dx = up(r, x, sizeof x), dk = up(r, k, sizeof k), dy = room(r, sizeof out);
    LAUNCH(r, "convert", D1(2), D1(128), 0, &dx, &dk, &dy, &n);
    down(r, out, dy, sizeof out);
    for (int i = 0; i < N; i++)
        for (int c = 0; c < 16; c++) {
            if (c == 14 && ((uint32_t)k[i] & 0x7fff) > 0x7f80) continue;
            if (out[16 * i + c] != want[16 * i + c]) {
                mistake(r, "conversion %d of (%.9g, %d) = %08x, want %08x", c, x[i], k[i],
                        out[16 * i + c], want[16 * i + c]);
                return;
            }
        }
}

static uint8_t fp8_from(float x, int e, int m, uint32_t max)
{
    int bias = (1 << (e - 1)) - 1;
    uint32_t best = 0;
    double bd = INFINITY, ax = fabs(x);
    for (uint32_t i = 0; i <= max; i++) {
        uint32_t ex = i >> m, fr = i & ((1u << m) - 1);
        double v = ex ? ldexp(1 + ldexp(fr, -m), (int)ex - bias) : ldexp(fr, 1 - bias - m),
               d = fabs(v - ax);
        if (d < bd || (d == bd && !(i & 1))) bd = d, best = i;
    }
    return (uint8_t)(best | (signbit(x) ? 0x80 : 0));
}

static void converts_fp8(run *r)
{
    if (r->sm < 89) return;
    enum { N = 128 };
    static float x[2 * N];
    static uint32_t out[4 * N];
    int n = N;
    for (int i = 0; i < 2 * N; i++) x[i] = ldexpf(next_f32(), (int)(next_u32() % 30) - 15);
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof out);
    LAUNCH(r, "convert_fp8", D1(1), D1(N), 0, &dx, &dy, &n);
    down(r, out, dy, sizeof out);
    for (int i = 0; i < N; i++)
        for (int c = 0; c < 2; c++) {
            uint8_t a = fp8_from(x[2 * i + c], 4, 3, 0x7e), b = fp8_from(x[2 * i + c], 5, 2, 0x7b);
            uint8_t ga = (uint8_t)(out[4 * i] >> (8 * c)),
                    gb = (uint8_t)(out[4 * i] >> (16 + 8 * c));
            if (ga != a || gb != b) {
                mistake(r, "fp8 of %g: %02x %02x, want %02x %02x", x[2 * i + c], ga, gb, a, b);
                return;
            }
            float ha = half_to((uint16_t)(out[4 * i + 1] >> (16 * c))),
                  hb = half_to((uint16_t)(out[4 * i + 2] >> (16 * c)));
            uint8_t back = fp8_from(ha, 5, 2, 0x7b), gc = (uint8_t)(out[4 * i + 3] >> (8 * c));
            if (fp8_from(ha, 4, 3, 0x7e) != a ||
                half_from(ha, 0) != (uint16_t)(out[4 * i + 1] >> (16 * c)) ||
                fp8_from(hb, 5, 2, 0x7b) != b || gc != back) {
                mistake(r, "fp8 round trip of %g fails", x[2 * i + c]);
                return;
            }
        }
}

static void converts_bf16(run *r)
{
    if (r->sm < 80) return;
    enum { N = 128 };
    static float x[2 * N];
    static uint32_t out[4 * N], want[4 * N];
    int n = N;
    for (int i = 0; i < 2 * N; i++) x[i] = ldexpf(next_f32(), (int)(next_u32() % 60) - 30);
    for (int i = 0; i < N; i++) {
        uint32_t *o = want + 4 * i;
        for (int c = 0; c < 2; c++) {
            uint16_t a = bf_from(x[2 * i + c]);
            uint32_t w = (uint32_t)a << 16;
            float f;
            memcpy(&f, &w, 4);
            o[0] |= (uint32_t)a << (16 * c);
            o[1] |= (uint32_t)bf_from(f * 1.25f + f) << (16 * c); /* exact in f32 */
            o[2] |= (uint32_t)(a & 0x7fff) << (16 * c);
        }
        o[3] = (fbits(x[2 * i]) + 0x1000) & 0xffffe000u;
    }
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof out);
    LAUNCH(r, "convert_bf16", D1(1), D1(N), 0, &dx, &dy, &n);
    down(r, out, dy, sizeof out);
    same_u32(r, "bf16", out, want, 4 * N);
}

/* ---- float functions ---- */

static double next64(double a, double to) { return nextafter(a, to); }

static void doubles(run *r)
{
    enum { N = 128 };
    static double a[N], b[N], out[12 * N], want[12 * N];
    int n = N;
    for (int i = 0; i < N; i++) {
        double x = a[i] = (next_f32() + next_f32() * 1e-9) * 10,
               y = b[i] = (next_f32() + next_f32() * 1e-9) * 7, *o = want + 12 * i;
        o[0] = x + y;
        long double s = (long double)x + y;
        double lo = (double)s > s ? next64((double)s, -INFINITY) : (double)s,
               hi = (double)s < s ? next64((double)s, INFINITY) : (double)s;
        o[1] = hi - lo;
        double p = x * y, err = fma(x, y, -p);
        o[2] = (err < 0 && p > 0) || (err > 0 && p < 0) ? next64(p, 0) : p;
        o[3] = fma(x, y, x);
        o[4] = x / y, o[5] = sqrt(fabs(x)), o[6] = fmin(x, y) + 2 * fmax(x, y);
        o[7] = exp(x * 0.125), o[8] = log(fabs(y) + 1.0), o[9] = sin(x) * cos(y);
        o[10] = rint(x * 100) + floor(y * 10) + trunc(x);
        o[11] = x < y ? copysign(x, y) : fma(x, x, -y);
    }
    uint64_t da = up(r, a, sizeof a), db = up(r, b, sizeof b), dy = room(r, sizeof out);
    LAUNCH(r, "doubles", D1(2), D1(64), 0, &da, &db, &dy, &n);
    down(r, out, dy, sizeof out);
    for (int i = 0; i < 12 * N; i++) {
        int c = i % 12;
        near_f64(r, "doubles", out + i, want + i, 1, c >= 7 && c <= 9 ? 1e-14 : 0,
                 c == 9 ? 1e-15 : 0);
        if (r->failed) {
            mistake(r, "column %d", c);
            return;
        }
    }
}

static void floats(run *r)
{
    enum { N = 128 };
    static float a[N], b[N], out[12 * N];
    static double want[12 * N];
    int n = N;
    for (int i = 0; i < N; i++) {
        float x = a[i] = next_f32() * 4, y = b[i] = next_f32() * 3;
        double *o = want + 12 * i, s = (double)x + y, p = (double)x * y;
        float f = (float)s;
        o[0] = fabs((double)f) > fabs(s) ? nextafterf(f, 0) : f;
        float up_ = toward(p, true), dn = -toward(-p, true);
        o[1] = up_ - dn;
        o[2] = fmaf(x, y, 1.0f);
        o[3] = x / y, o[4] = sqrtf(fabsf(x)), o[5] = 1 / sqrt(fabs((double)y) + 0.5);
        o[6] = exp((double)x) + exp2((double)y);
        o[7] = log(fabs((double)x) + 0.1f) + log2(fabs((double)y) + 1.5);
        o[8] = sin((double)(x * 3.0f)) + cos((double)(y * 5.0f));
        o[9] = tanh((double)x) + erf((double)y);
        o[10] = fminf(x, y) + pow(fabs((double)x) + 0.5, (double)y);
        o[11] = (x < 0 ? 0 : x > 1 ? 1 : x) + fmodf(y * 10.0f, 0.7f);
    }
    uint64_t da = up(r, a, sizeof a), db = up(r, b, sizeof b), dy = room(r, sizeof out);
    LAUNCH(r, "floats", D1(2), D1(64), 0, &da, &db, &dy, &n);
    down(r, out, dy, sizeof out);
    for (int i = 0; i < 12 * N; i++) {
        int c = i % 12;
        near_f32(r, "floats", out + i, want + i, 1, c < 5 ? 0 : 1e-5, c < 5 ? 0 : 2e-6);
        if (r->failed) {
            mistake(r, "column %d", c);
            return;
        }
    }
}

const test scalar_tests[] = {
    {"reduce", "reduce_tree", reduce_tree},
    {"reduce", "reduce_shuffle", reduce_shuffle},
    {"scan", "scans", scans},
    {"transpose", "transposes", transposes},
    {"histogram", "histograms", histograms},
    {"histogram", "atomics", atomics},
    {"sort", "sorts", sorts},
    {"softmax", "softmaxes", softmaxes},
    {"warp", "warp_ops", warp_ops},
    {"bits", "bit_ops", bit_ops},
    {"diverge", "collatz", collatz},
    {"diverge", "nested", nested},
    {"brx", "interp", interp},
    {"call", "calls", calls},
    {"convert", "converts", converts},
    {"convert", "converts_fp8", converts_fp8},
    {"convert", "converts_bf16", converts_bf16},
    {"fp64", "doubles", doubles},
    {"fp64", "floats", floats},
    {0},
};

/* spike_tests.c: kernels emitted through LLVM by hand (tests/data/ptx): GEMM, attention, paged
 * decode, W4A16 and GEMV for sm_80, TMA + wgmma GEMM and attention for sm_90a. All on ragged
 * shapes, against references in double. What the sm_90a ones got wrong is told in
 * docs/ptxsim.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "foreign.h"
#include "ptxsim/tensormap.h"

static float half_to(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    float v = e ? ldexpf((float)(1024 + m), e - 25) : ldexpf((float)m, -24);
    return h & 0x8000 ? -v : v;
}
static float bf_to(uint16_t b)
{
    uint32_t w = (uint32_t)b << 16;
    float f;
    memcpy(&f, &w, 4);
    return f;
}
static void *get(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p) abort();
    return p;
}
/* Random halves of magnitude 2^-4 .. 1. */
static uint16_t *halves(size_t n)
{
    uint16_t *p = get(n * 2);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint16_t)((next_u32() & 0x83ff) | (11 + next_u32() % 4) << 10);
    return p;
}

/* ---- GEMMs: C = A B^T ---- */

static void check_gemm(run *r, const uint16_t *a, const uint16_t *b, const uint16_t *c, int m,
                       int n, int k)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double s = 0, mag = 0;
            for (int x = 0; x < k; x++) {
                double p = (double)half_to(a[i * k + x]) * half_to(b[j * k + x]);
                s += p, mag += fabs(p);
            }
            if (fabs(half_to(c[i * n + j]) - s) > fabs(s) * 0x1p-10 + mag * k * 0x1p-24) {
                mistake(r, "C[%d][%d] = %g, want %g", i, j, half_to(c[i * n + j]), s);
                return;
            }
        }
}

static void g80(run *r)
{
    static const int shapes[][3] = {{128, 128, 96}, {200, 250, 128}, {130, 72, 160}};
    for (size_t s = 0; s < 3; s++) {
        int m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        uint16_t *a = halves((size_t)(m * k)), *b = halves((size_t)(n * k)),
                 *c = get((size_t)(m * n) * 2);
        uint64_t da = up(r, a, (size_t)(m * k) * 2), db = up(r, b, (size_t)(n * k) * 2),
                 dc = room(r, (size_t)(m * n) * 2);
        LAUNCH(r, "gemm", D2((uint32_t)(m + 127) / 128, (uint32_t)(n + 127) / 128), D1(128),
               4 * 16384, &da, &db, &dc, &m, &n, &k);
        down(r, c, dc, (size_t)(m * n) * 2);
        check_gemm(r, a, b, c, m, n, k);
        free(a), free(b), free(c);
    }
}

typedef struct map {
    _Alignas(64) uint8_t b[PTX_MAP_BYTES];
} map;
static uint64_t tensor_map(run *r, uint64_t addr, unsigned rank, const uint64_t *dim,
                           const uint64_t *stride, const uint16_t *box)
{
    map m;
    ptx_tensormap t = {
        .addr = addr, .rank = (uint8_t)rank, .type = PTX_MAP_F16, .elem_bytes = 2, .swizzle = 128};
    for (unsigned d = 0; d < rank; d++)
        t.dim[d] = dim[d], t.stride[d] = d ? stride[d - 1] : 2, t.box[d] = box[d], t.step[d] = 1;
    const char *wrong = ptx_tensormap_check(&t, 0, 3);
    if (wrong) mistake(r, "tensor map: %s", wrong);
    ptx_tensormap_pack(&t, m.b);
    return up(r, m.b, sizeof m.b);
}

static void w90_shape(run *r, int m, int n, int k)
{
    uint16_t *a = halves((size_t)(m * k)), *b = halves((size_t)(n * k)),
             *c = get((size_t)(m * n) * 2);
    uint64_t da = up(r, a, (size_t)(m * k) * 2), db = up(r, b, (size_t)(n * k) * 2),
             dc = room(r, (size_t)(m * n) * 2);
    uint64_t ta = tensor_map(r, da, 2, (uint64_t[]){(uint64_t)k, (uint64_t)m},
                             (uint64_t[]){(uint64_t)k * 2}, (uint16_t[]){64, 128});
    uint64_t tb = tensor_map(r, db, 2, (uint64_t[]){(uint64_t)k, (uint64_t)n},
                             (uint64_t[]){(uint64_t)k * 2}, (uint16_t[]){64, 256});
    LAUNCH(r, "gemm90", D2((uint32_t)(m + 127) / 128, (uint32_t)(n + 255) / 256), D1(384),
           4 * 49152 + 128, &ta, &tb, &dc, &m, &n, &k);
    down(r, c, dc, (size_t)(m * n) * 2);
    check_gemm(r, a, b, c, m, n, k);
    free(a), free(b), free(c);
}
static void w90(run *r)
{
    w90_shape(r, 128, 256, 64);
    w90_shape(r, 150, 264, 448);
}
static void w90_unrolled(run *r) /* k in whole rings of 4 x 64 */ { w90_shape(r, 100, 136, 512); }

/* Its consumers take whole rings: with 7 tiles of k they wait for one that nobody loads. */
static void w90_unrolled_mistake(run *r)
{
    run q = *r;
    q.quiet = true;
    w90_shape(&q, 128, 256, 448);
    if (!q.reports) mistake(r, "a tile that never comes is not reported");
    r->n_buf = q.n_buf;
}

/* ---- attention ---- */

typedef struct kv {
    uint16_t *k, *v;
    int rows, heads, d;
} kv;

/* softmax(scale q k) v over keys [lo, hi) up to `last`, rows of keys through row_of. */
static double attend(const uint16_t *q, const kv *c, const int *row_of, int head, int lo, int last,
                     double scale, double *o)
{
    double m = -INFINITY, l = 0, *s = get((size_t)(last + 1 - lo + 1) * 8);
    for (int j = lo; j <= last; j++) {
        double x = 0;
        for (int d = 0; d < c->d; d++)
            x += (double)half_to(q[d]) *
                 half_to(c->k[((size_t)row_of[j] * (size_t)c->heads + (size_t)head) * (size_t)c->d +
                              (size_t)d]);
        s[j - lo] = x * scale;
        m = fmax(m, s[j - lo]);
    }
    for (int d = 0; d < c->d; d++) o[d] = 0;
    for (int j = lo; j <= last; j++) {
        double p = exp(s[j - lo] - m);
        l += p;
        for (int d = 0; d < c->d; d++)
            o[d] +=
                p *
                half_to(c->v[((size_t)row_of[j] * (size_t)c->heads + (size_t)head) * (size_t)c->d +
                             (size_t)d]);
    }
    for (int d = 0; d < c->d; d++) o[d] /= l;
    free(s);
    return (m + log(l)) / M_LN2;
}

/* A pool of pages in shuffled order, NaN where no key lies. table: entries, row_of: pool row of
 * every key. */
static kv make_pool(int keys, int page, int pages, int heads, int d, int *table, int *row_of)
{
    kv c = {.rows = pages * page, .heads = heads, .d = d};
    size_t n = (size_t)c.rows * (size_t)heads * (size_t)d;
    uint16_t *k = halves(n), *v = halves(n);
    c.k = get(n * 2), c.v = get(n * 2);
    for (size_t i = 0; i < n; i++) c.k[i] = c.v[i] = 0x7e00;
    for (int p = 0; p < pages; p++) table[p] = p;
    for (int p = pages - 1; p > 0; p--) {
        int q = (int)(next_u32() % (uint32_t)(p + 1)), t = table[p];
        table[p] = table[q], table[q] = t;
    }
    for (int j = 0; j < keys; j++) {
        size_t row = (size_t)(row_of[j] = table[j / page] * page + j % page),
               w = (size_t)heads * (size_t)d;
        memcpy(c.k + row * w, k + row * w, w * 2);
        memcpy(c.v + row * w, v + row * w, w * 2);
    }
    free(k), free(v);
    return c;
}

/* One segment: `t` new tokens behind `ctx - t` old ones, G query heads for each of `heads` kv
 * heads. */
static void prefill(run *r, int t, int ctx, int g, int heads, int d, int page, const char *kernel,
                    uint32_t shared)
{
    int bm = 128, hq = g * heads, tile = 64, unit = page ? page : tile,
        pages = (ctx + tile - 1) / tile * tile / unit + 1;
    int *table = get((size_t)pages * 4), *row_of = get((size_t)(ctx + 1) * 4);
    kv c = make_pool(ctx, unit, pages, heads, d, table, row_of);
    if (!page) { /* contiguous: rows in order, exactly ctx of them */
        for (int j = 0; j < ctx; j++) row_of[j] = j;
        free(c.k), free(c.v);
        c.rows = ctx, c.k = halves((size_t)(ctx * heads * d)),
        c.v = halves((size_t)(ctx * heads * d));
    }
    size_t nq = (size_t)(t * hq * d), nkv = (size_t)(c.rows * heads * d);
    uint16_t *q = halves(nq), *o = get(nq * 2);
    int items = (t * g + bm - 1) / bm, *item = get((size_t)items * 32);
    for (int i = 0; i < items; i++) {
        int rows = t * g - i * bm < bm ? t * g - i * bm : bm;
        int v[8] = {i * bm, rows, ctx - t, 0, ctx, 0, 0, 0};
        memcpy(item + 8 * i, v, sizeof v);
    }
    uint64_t dq = up(r, q, nq * 2), dk = up(r, c.k, nkv * 2), dv = up(r, c.v, nkv * 2),
             d_o = room(r, nq * 2), di = up(r, item, (size_t)items * 32),
             dt = up(r, table, (size_t)pages * 4), dl = room(r, 256);
    int rs = heads * d * 2;
    double scale = 1 / sqrt(d);
    float s2 = (float)(scale / M_LN2);
    LAUNCH(r, kernel, D2((uint32_t)items, (uint32_t)heads), D1(128), shared, &dq, &dk, &dv, &d_o,
           &di, &dt, &rs, &s2, &hq, &dl);
    down(r, o, d_o, nq * 2);
    double want[128];
    for (int i = 0; i < t && !r->failed; i++)
        for (int h = 0; h < hq; h++) {
            attend(q + (size_t)(i * hq + h) * (size_t)d, &c, row_of, h / g, 0, i + ctx - t, scale,
                   want);
            for (int x = 0; x < d; x++) {
                float got = half_to(o[(i * hq + h) * d + x]);
                if (fabs(got - want[x]) > 2e-3) {
                    mistake(r, "O[token %d][head %d][%d] = %g, want %g", i, h, x, got, want[x]);
                    goto out;
                }
            }
        }
out:
    free(q), free(o), free(item), free(table), free(row_of), free(c.k), free(c.v);
}

static void fa64(run *r)
{
    prefill(r, 130, 130, 1, 2, 64, 0, "fa", 49152);
    prefill(r, 70, 333, 1, 1, 64, 0, "fa", 49152);
    prefill(r, 1, 65, 1, 1, 64, 0, "fa", 49152);
}
static void fa64_paged(run *r)
{
    prefill(r, 100, 210, 2, 2, 64, 16, "fa", 49152);
    prefill(r, 5, 5, 2, 1, 64, 16, "fa", 49152);
}

static void dec128(run *r)
{
    enum { G = 4, HEADS = 2, D = 128, PAGE = 16, BN = 32, SEQ = 3, ITEMS = 4 };
    static const int len[SEQ] = {200, 33, 5};
    static const int part[ITEMS][4] = {
        {0, 0, 96, 0}, {0, 96, 200, 1}, {1, 0, 33, 2}, {2, 0, 5, 3}}; /* sequence, lo, hi, slot */
    int table[64], row_of[SEQ][256], first[SEQ], n_table = 0, pool_rows = 0;
    kv c[SEQ];
    for (int s = 0; s < SEQ; s++) {
        int pages = (len[s] + BN - 1) / BN * BN / PAGE, local[64];
        c[s] = make_pool(len[s], PAGE, pages, HEADS, D, local, row_of[s]);
        first[s] = n_table;
        for (int p = 0; p < pages; p++) table[n_table++] = local[p] + pool_rows / PAGE;
        pool_rows += c[s].rows;
    }
    size_t w = (size_t)HEADS * D, at = 0;
    uint16_t *k = get((size_t)pool_rows * w * 2), *v = get((size_t)pool_rows * w * 2),
             *q = halves((size_t)SEQ * G * HEADS * D);
    for (int s = 0; s < SEQ; s++) {
        memcpy(k + at * w, c[s].k, (size_t)c[s].rows * w * 2);
        memcpy(v + at * w, c[s].v, (size_t)c[s].rows * w * 2);
        at += (size_t)c[s].rows;
    }
    int item[ITEMS][8] = {{0}};
    for (int i = 0; i < ITEMS; i++) {
        int s = part[i][0];
        int x[8] = {s * G, G, 100000, part[i][1], part[i][2], first[s], part[i][3], 0};
        memcpy(item[i], x, sizeof x);
    }
    size_t no = (size_t)ITEMS * HEADS * 16 * D;
    float *o = get(no * 4), *lse = get((size_t)ITEMS * HEADS * 16 * 4);
    uint64_t dq = up(r, q, (size_t)SEQ * G * HEADS * D * 2),
             dk = up(r, k, (size_t)pool_rows * w * 2), dv = up(r, v, (size_t)pool_rows * w * 2),
             d_o = room(r, no * 4), di = up(r, item, sizeof item),
             dt = up(r, table, (size_t)n_table * 4), dl = room(r, (size_t)ITEMS * HEADS * 16 * 4);
    int rs = HEADS * D * 2, hq = G * HEADS;
    double scale = 1 / sqrt(D), want[D];
    float s2 = (float)(scale / M_LN2);
    LAUNCH(r, "fa", D2(ITEMS, HEADS), D1(128), 135168, &dq, &dk, &dv, &d_o, &di, &dt, &rs, &s2, &hq,
           &dl);
    for (int i = 0; i < ITEMS && !r->failed; i++)
        for (int h = 0; h < HEADS; h++)
            for (int g = 0; g < G; g++) {
                int s = part[i][0];
                size_t row = (size_t)((part[i][3] * HEADS + h) * 16 + g);
                down(r, o, d_o + row * D * 4, D * 4);
                down(r, lse, dl + row * 4, 4);
                double l = attend(q + (size_t)((s * HEADS * G) + h * G + g) * D, &c[s], row_of[s],
                                  h, part[i][1], part[i][2] - 1, scale, want);
                if (fabs(lse[0] - l) > 1e-3)
                    mistake(r, "lse of item %d head %d row %d = %g, want %g", i, h, g, lse[0], l);
                for (int x = 0; x < D; x++)
                    if (fabs(o[x] - want[x]) > 1e-3) {
                        mistake(r, "O of item %d head %d row %d [%d] = %g, want %g", i, h, g, x,
                                o[x], want[x]);
                        return;
                    }
            }
    for (int s = 0; s < SEQ; s++) free(c[s].k), free(c[s].v);
    free(k), free(v), free(q), free(o), free(lse);
}

/* ---- W4A16: weights (code - 8) * scale per 128, packed as the kernels read them ---- */

typedef struct w4 {
    uint8_t *code;
    uint16_t *scale;
    int n, k;
} w4;

/* k that register a_r, half e of lane q holds in k16 step s of a 64-wide block: mma order, or that
 * of x read straight from global memory (16 bytes a lane). */
static int k_of(bool direct, int s, int q, int r, int e)
{
    int hi = r >> 1;
    return direct ? 32 * (s / 2) + 8 * q + 4 * (s & 1) + 2 * hi + e : 16 * s + 2 * q + 8 * hi + e;
}

static uint32_t *pack_w4(const w4 *w, bool direct)
{
    uint32_t *out = get((size_t)w->n * (size_t)w->k / 2);
    size_t at = 0;
    for (int p = 0; p < w->n / 64; p++)
        for (int kb = 0; kb < w->k / 64; kb++)
            for (int mr = 0; mr < 4; mr++)
                for (int l = 0; l < 32; l++)
                    for (int s = 0; s < 4; s++, at++)
                        for (int r = 0; r < 4; r++)
                            for (int e = 0; e < 2; e++) {
                                int row = p * 64 + mr * 16 + l / 4 + 8 * (r & 1),
                                    k = kb * 64 + k_of(direct, s, l % 4, r, e);
                                out[at] |=
                                    (uint32_t)w->code[row * w->k + k]
                                        << ((2 + 4 * r + 16 * e) & 31) |
                                    (r == 3 && e ? (uint32_t)w->code[row * w->k + k] >> 2 : 0);
                            }
    return out;
}

static void w4_case(run *r, int mt, int m, int k, int parts)
{
    enum { N = 256 };
    bool direct = mt == 8;
    int n = N, groups = k / 128;
    w4 w = {get((size_t)N * (size_t)k), get((size_t)N * (size_t)groups * 2), N, k};
    for (int i = 0; i < N * k; i++) w.code[i] = next_u32() >> 28;
    for (int i = 0; i < N * groups; i++) w.scale[i] = (uint16_t)(0x2000 + (next_u32() & 0x7ff));
    uint16_t *x = halves((size_t)(m * k)), *sc = get((size_t)N * (size_t)groups * 2);
    float *xs = get((size_t)groups * (size_t)mt * 8), *out = get((size_t)(parts * m * N) * 4);
    for (int p = 0; p < N / 64; p++)
        for (int gr = 0; gr < groups; gr++)
            for (int g = 0; g < 8; g++)
                for (int mr = 0; mr < 4; mr++)
                    for (int h = 0; h < 2; h++)
                        sc[((p * groups + gr) * 8 + g) * 8 + mr * 2 + h] =
                            w.scale[(p * 64 + mr * 16 + g + 8 * h) * groups + gr];
    for (int gr = 0; gr < groups; gr++)
        for (int t = 0; t < mt; t++) {
            double s = 0;
            for (int i = 0; i < 128 && t < m; i++) s += half_to(x[t * k + gr * 128 + i]);
            float *p = xs + ((gr * mt / 8 + t / 8) * 4 + t % 8 / 2) * 4 + (t & 1);
            p[0] = (float)(-264 * s), p[2] = (float)(-24 * s);
        }
    uint32_t *packed = pack_w4(&w, direct);
    uint64_t dx = up(r, x, (size_t)(m * k) * 2), dw = up(r, packed, (size_t)N * (size_t)k / 2),
             ds = up(r, sc, (size_t)N * (size_t)groups * 2),
             dc = up(r, xs, (size_t)groups * (size_t)mt * 8), none = 0,
             d_o = room(r, (size_t)(parts * m * N) * 4);
    LAUNCH(r, "w4", D2(1, (uint32_t)parts), D1(128), direct ? 0 : 12288, &dx, &dw, &ds, &dc, &none,
           &none, &d_o, &k, &n, &m);
    down(r, out, d_o, (size_t)(parts * m * N) * 4);
    for (int t = 0; t < m && !r->failed; t++)
        for (int j = 0; j < N; j++) {
            double s = 0, mag = 0, got = 0;
            for (int i = 0; i < k; i++) {
                double p = (double)half_to(x[t * k + i]) * (w.code[j * k + i] - 8) *
                           half_to(w.scale[j * groups + i / 128]);
                s += p, mag += fabs(p);
            }
            for (int p = 0; p < parts; p++) got += out[(p * m + t) * N + j];
            if (fabs(got - s) > mag * 2e-4) {
                mistake(r, "out[%d][%d] = %g, want %g", t, j, got, s);
                break;
            }
        }
    free(w.code), free(w.scale), free(x), free(sc), free(xs), free(out), free(packed);
}
static void w4_16(run *r)
{
    w4_case(r, 16, 13, 512, 1);
    w4_case(r, 16, 16, 1024, 3);
}
static void w4_gemv(run *r)
{
    w4_case(r, 8, 3, 512, 1);
    w4_case(r, 8, 8, 1024, 2);
}

static void gemv(run *r)
{
    static const int ms[3] = {1, 3, 4};
    for (int c = 0; c < 3; c++) {
        int m = ms[c], n = 48, k = 512 + 512 * c;
        uint16_t *x = get((size_t)(m * k) * 2), *w = get((size_t)(n * k) * 2);
        float *y = get((size_t)(m * n) * 4);
        for (int i = 0; i < m * k; i++)
            x[i] = (uint16_t)((next_u32() & 0x807f) | (124 + next_u32() % 4) << 7);
        for (int i = 0; i < n * k; i++)
            w[i] = (uint16_t)((next_u32() & 0x807f) | (124 + next_u32() % 4) << 7);
        uint64_t dx = up(r, x, (size_t)(m * k) * 2), dw = up(r, w, (size_t)(n * k) * 2),
                 dy = room(r, (size_t)(m * n) * 4);
        uint32_t shared = (uint32_t)(m * (2 * k + 16));
        LAUNCH(r, "gemv", D1((uint32_t)n / 16), D1(128), shared > 2048 ? shared : 2048, &dx, &dw,
               &dy, &k, &n, &m);
        down(r, y, dy, (size_t)(m * n) * 4);
        for (int t = 0; t < m && !r->failed; t++)
            for (int j = 0; j < n; j++) {
                double s = 0, mag = 0;
                for (int i = 0; i < k; i++) {
                    double p = (double)bf_to(x[t * k + i]) * bf_to(w[j * k + i]);
                    s += p, mag += fabs(p);
                }
                if (fabs(y[t * n + j] - s) > mag * 1e-5) {
                    mistake(r, "y[%d][%d] = %g, want %g", t, j, y[t * n + j], s);
                    break;
                }
            }
        free(x), free(w), free(y);
    }
}

/* ---- attention of sm_90a: tokens in whole tiles of 128 (its stores are not guarded) ---- */

/* extra: rows of NaN behind the context, as stale cache rows are. */
static void fa90_case(run *r, int t, int ctx, int heads, int extra, bool keys)
{
    enum { D = 128 };
    int hq = heads, rs = hq * D * 2, items = (t + 127) / 128, *row_of = get((size_t)ctx * 4);
    for (int j = 0; j < ctx; j++) row_of[j] = j;
    size_t nq = (size_t)(t * hq * D), nk = (size_t)((ctx + extra) * heads * D);
    uint16_t *q = halves(nq), *o = get(nq * 2);
    kv c = {halves(nk), halves(nk), ctx + extra, heads, D};
    for (size_t i = (size_t)(ctx * heads * D); i < nk; i++) c.k[i] = c.v[i] = 0x7e00;
    int *item = get((size_t)items * 16);
    for (int i = 0; i < items; i++)
        item[4 * i] = i * 128, item[4 * i + 1] = 0, item[4 * i + 2] = keys ? ctx : 0,
                 item[4 * i + 3] = ctx - t;
    uint64_t dq = up(r, q, nq * 2), dk = up(r, c.k, nk * 2), dv = up(r, c.v, nk * 2),
             d_o = room(r, nq * 2), di = up(r, item, (size_t)items * 16);
    uint64_t dims_q[3] = {D, (uint64_t)hq, (uint64_t)t},
             dims_k[3] = {D, (uint64_t)heads, (uint64_t)(ctx + extra)},
             st[2] = {D * 2, (uint64_t)rs};
    uint64_t tq = tensor_map(r, dq, 3, dims_q, st, (uint16_t[]){64, 1, 64}),
             tk = tensor_map(r, dk, 3, dims_k, st, (uint16_t[]){64, 1, 128}),
             tv = tensor_map(r, dv, 3, dims_k, st, (uint16_t[]){64, 1, 128});
    double scale = 1 / sqrt(D), want[D];
    float s2 = (float)(scale / M_LN2);
    LAUNCH(r, "fa90", D2((uint32_t)items, (uint32_t)heads), D1(384), 165024, &tq, &tk, &tv, &d_o,
           &di, &s2, &rs);
    down(r, o, d_o, nq * 2);
    for (int i = 0; i < t && !r->failed; i++)
        for (int h = 0; h < hq; h++) {
            attend(q + (size_t)(i * hq + h) * D, &c, row_of, h, 0, i + ctx - t, scale, want);
            for (int x = 0; x < D; x++) {
                float got = half_to(o[(i * hq + h) * D + x]);
                if (fabs(got - want[x]) > 2e-3) {
                    mistake(r, "O[token %d][head %d][%d] = %g, want %g", i, h, x, got, want[x]);
                    goto out;
                }
            }
        }
out:
    free(q), free(o), free(c.k), free(c.v), free(item), free(row_of);
}
static void fa90(run *r)
{
    fa90_case(r, 128, 128, 1, 0, true);
    fa90_case(r, 256, 300, 2, 0, true);
}

/* What is wrong in it, as the machine and the reference tell it (docs/ptxsim.md). */
static void fa90_mistakes(run *r)
{
    run q = *r;
    q.quiet = true;
    fa90_case(&q, 100, 128, 1, 0, true); /* rows behind the last token are stored */
    if (!q.reports) mistake(r, "stores behind the last token are not reported");
    q.failed = q.reports = 0;
    fa90_case(&q, 128, 200, 1, 40, true); /* probability 0 times NaN of a row that is not in use */
    if (!q.failed || q.reports)
        mistake(r, "stale rows of V: %d wrong, %d reports", q.failed, q.reports);
    q.failed = q.reports = 0;
    fa90_case(&q, 128, 128, 1, 0, false); /* waits for a first tile of keys in any case */
    if (!q.reports) mistake(r, "an item without keys is not reported");
    r->n_buf = q.n_buf;
}

const test spike_tests[] = {
    {"g80", "g80", g80},
    {"fa64", "fa64", fa64},
    {"fa64_paged", "fa64_paged", fa64_paged},
    {"dec128", "dec128", dec128},
    {"w4", "w4_16", w4_16},
    {"w4_gemv", "w4_gemv", w4_gemv},
    {"gemv", "gemv", gemv},
    {"w90", "w90", w90},
    {"w90_unrolled", "w90_unrolled", w90_unrolled},
    {"w90_unrolled", "w90_unrolled_mistake", w90_unrolled_mistake},
    {"fa90", "fa90", fa90},
    {"fa90", "fa90_mistakes", fa90_mistakes},
    {0},
};

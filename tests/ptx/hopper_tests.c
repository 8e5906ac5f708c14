/* hopper_tests.c: host references of hopper (TMA, wgmma, clusters, bulk copies). */
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

typedef struct map {
    _Alignas(64) uint8_t b[PTX_MAP_BYTES];
} map;

static map map2d(run *r, uint64_t addr, unsigned type, uint64_t cols, uint64_t rows, uint64_t pitch,
                 unsigned bc, unsigned br, unsigned swizzle)
{
    map m;
    unsigned bytes = ptx_tensormap_elem_bytes(type);
    ptx_tensormap t = {.addr = addr,
                       .dim = {cols, rows},
                       .stride = {bytes, pitch},
                       .box = {(uint16_t)bc, (uint16_t)br},
                       .step = {1, 1},
                       .rank = 2,
                       .type = (uint8_t)type,
                       .elem_bytes = (uint8_t)bytes,
                       .swizzle = (uint8_t)swizzle};
    const char *wrong = ptx_tensormap_check(&t, 0, 0);
    if (wrong) mistake(r, "tensor map: %s", wrong);
    ptx_tensormap_pack(&t, m.b);
    return m;
}

static void tma_gemm(run *r)
{
    static const int shapes[][3] = {
        {64, 64, 64}, {128, 64, 192}, {100, 72, 136}, {1, 8, 8}, {64, 64, 328}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        static uint16_t a[128 * 328], b[128 * 328], c[128 * 128];
        static float got[128 * 128];
        static double want[128 * 128];
        for (int i = 0; i < m * k; i++) a[i] = (uint16_t)((next_u32() & 0x8300) | 0x3800);
        for (int i = 0; i < n * k; i++) b[i] = (uint16_t)((next_u32() & 0x8300) | 0x3800);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) {
                want[i * n + j] = 0;
                for (int x = 0; x < k; x++)
                    want[i * n + j] += half_to(a[i * k + x]) * half_to(b[j * k + x]);
            }
        int kk = k ? k : 8; /* of the tensor maps */
        uint64_t da = up(r, a, (size_t)(m * kk) * 2), db = up(r, b, (size_t)(n * kk) * 2),
                 dc = room(r, (size_t)(m * n) * 2);
        map ta =
                map2d(r, da, PTX_MAP_F16, (uint64_t)kk, (uint64_t)m, (uint64_t)kk * 2, 64, 64, 128),
            tb =
                map2d(r, db, PTX_MAP_F16, (uint64_t)kk, (uint64_t)n, (uint64_t)kk * 2, 64, 64, 128),
            tc = map2d(r, dc, PTX_MAP_F16, (uint64_t)n, (uint64_t)m, (uint64_t)n * 2, 64, 64, 0);
        LAUNCH(r, "tma_gemm", D2((uint32_t)(n + 63) / 64, (uint32_t)(m + 63) / 64), D1(128), 32768,
               &ta, &tb, &tc, &k);
        down(r, c, dc, (size_t)(m * n) * 2);
        for (int i = 0; i < m * n; i++) got[i] = half_to(c[i]);
        near_f32(r, "tma_gemm", got, want, (size_t)(m * n), 1e-3, 1e-6);
    }
}

static void cluster(run *r)
{
    static int x[20 * 40];
    static uint32_t out[4 * 256], want[4 * 256];
    for (int i = 0; i < 20 * 40; i++) x[i] = i + 1;
    for (int b = 0; b < 4; b++)
        for (int t = 0; t < 256; t++) {
            int row = b / 2 * 8 + t / 32,
                col = t % 32 - 3; /* boxes start three columns before the matrix */
            uint32_t v = row < 19 && col >= 0 && col < 37 ? (uint32_t)x[row * 40 + col] : 0;
            want[b * 256 + t] = v * 1000 + 100 + ((uint32_t)b & 1 ? 0 : 1);
        }
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof out);
    map tx = map2d(r, dx, PTX_MAP_S32, 37, 19, 160, 32, 8, 0);
    LAUNCH(r, "cluster_exchange", D1(4), D1(256), 0, &tx, &dy);
    down(r, out, dy, sizeof out);
    same_u32(r, "cluster", out, want, 4 * 256);
}

static void bulk(run *r)
{
    static const int sizes[] = {500, 20}; /* more and fewer words than threads */
    for (int c = 0; c < 2; c++) {
        static int x[500];
        static uint32_t y[500], want[500];
        int n = sizes[c];
        for (int i = 0; i < n; i++)
            x[i] = (int)next_u32(), want[i] = (uint32_t)x[i] * 3 + (uint32_t)i;
        uint64_t dx = up(r, x, (size_t)n * 4), dy = room(r, (size_t)n * 4);
        LAUNCH(r, "bulk", D1(1), D1(64), 0, &dx, &dy, &n);
        down(r, y, dy, (size_t)n * 4);
        same_u32(r, "bulk", y, want, (size_t)n);
    }
}

const test hopper_tests[] = {{"hopper", "tma_gemm", tma_gemm},
                             {"hopper", "cluster", cluster},
                             {"hopper", "bulk", bulk},
                             {0}};

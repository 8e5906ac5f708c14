/* library_tests.c: host references of groups.cu (cooperative groups, libcu++) and blocks.cu (CUB),
 * idioms that arrive in a kernel through the vendor's headers, and of idioms.cu. */
#include "foreign.h"

#include <stdlib.h>
#include <string.h>

/* ---- groups.cu ---- */

static void tiles(run *r)
{
    enum { T = 128 };
    int n = 119, x[T], v[T];
    uint32_t y[4 * T], want[4 * T];
    for (int i = 0; i < T; i++) x[i] = (int)next_u32() >> 20, v[i] = i < n ? x[i] : 0;
    for (int i = 0; i < T; i++) {
        int w = i / 32 * 32, e = i / 8 * 8, sum = 0, most = v[e], before = 0, upto = 0;
        for (int k = w; k < w + 32; k++) sum += v[k], upto += k <= i ? v[k] : 0;
        for (int k = e; k < e + 8; k++)
            most = v[k] > most ? v[k] : most, before += k < i ? v[k] : 0;
        want[4 * i] = (uint32_t)sum, want[4 * i + 1] = (uint32_t)most;
        want[4 * i + 2] = (uint32_t)before, want[4 * i + 3] = (uint32_t)upto;
    }
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof y);
    LAUNCH(r, "tiles", D1(1), D1(T), 0, &dx, &dy, &n);
    down(r, y, dy, sizeof y);
    same_u32(r, "tiles", y, want, 4 * T);
}

static int by_value(const void *a, const void *b)
{
    int32_t x, y;
    memcpy(&x, a, 4), memcpy(&y, b, 4);
    return (x > y) - (x < y);
}

static void pick_odd(run *r)
{
    enum { T = 160 };
    uint32_t x[T], y[T], want[T], n = 0, zero = 0, count;
    for (int i = 0; i < T; i++) {
        x[i] = next_u32() >> 8;
        if (x[i] & 1) want[n++] = x[i];
    }
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof y), dc = up(r, &zero, 4);
    LAUNCH(r, "pick_odd", D1(1), D1(T), 0, &dx, &dy, &dc);
    down(r, &count, dc, 4);
    same_u32(r, "count", &count, &n, 1);
    down(r, y, dy, n * 4);
    qsort(y, n, 4, by_value), qsort(want, n, 4, by_value);
    same_u32(r, "odd", y, want, n);
}

static void labels(run *r)
{
    enum { T = 64 };
    uint32_t x[T], y[2 * T], want[2 * T];
    for (int i = 0; i < T; i++) x[i] = next_u32() % 100;
    for (int i = 0; i < T; i++) {
        uint32_t sum = 0, size = 0, rank = 0;
        for (int k = i / 32 * 32; k < i / 32 * 32 + 32; k++) {
            bool same = (x[k] & 1) == (x[i] & 1);
            if (x[k] % 5 == x[i] % 5) sum += x[k];
            size += same, rank += same && k < i;
        }
        want[2 * i] = sum, want[2 * i + 1] = size * 100 + rank;
    }
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof y);
    LAUNCH(r, "labels", D1(1), D1(T), 0, &dx, &dy);
    down(r, y, dy, sizeof y);
    same_u32(r, "labels", y, want, 2 * T);
}

static void rounds(run *r)
{
    enum { N = 500 };
    uint32_t x[5 * N] = {0}, want[5 * N];
    int n = N;
    for (int i = 0; i < N; i++) x[i] = want[i] = next_u32() >> 8;
    for (int k = 1; k < 5; k++)
        for (int i = 0; i < N; i++) want[k * N + i] = want[(k - 1) * N + (i * 7 + 3) % N] + 1;
    uint64_t dx = up(r, x, sizeof x);
    r->cooperative = true;
    LAUNCH(r, "rounds", D1(7), D1(64), 0, &dx, &n);
    r->cooperative = false;
    down(r, x, dx, sizeof x);
    same_u32(r, "rounds", x, want, 5 * N);
}

static void pipes(run *r)
{
    static const int lengths[] = {8, 1, 3};
    float x[1024], y[128];
    double want[128];
    for (int i = 0; i < 1024; i++) x[i] = next_f32();
    for (int c = 0; c < 6; c++) {
        bool roles = c % 2;
        int n = lengths[c / 2], w = roles ? 64 : 128;
        for (int i = 0; i < w; i++) {
            float sum = 0;
            for (int k = 0; k < n; k++) sum += x[k * w + w - 1 - i];
            want[i] = sum;
        }
        uint64_t dx = up(r, x, (size_t)(n * w) * 4), dy = room(r, sizeof y);
        LAUNCH(r, roles ? "pipe_roles" : "pipe_block", D1(1), D1(128), 0, &dx, &dy, &n);
        down(r, y, dy, (size_t)w * 4);
        near_f32(r, roles ? "roles" : "block", y, want, (size_t)w, 0, 0);
    }
}

static void split_barrier(run *r)
{
    uint32_t x[128], want[128], sum = 0;
    for (int i = 0; i < 128; i++) x[i] = next_u32(), want[127 - i] = sum += x[i];
    uint64_t dx = up(r, x, sizeof x);
    LAUNCH(r, "split_barrier", D1(1), D1(128), 0, &dx);
    down(r, x, dx, sizeof x);
    same_u32(r, "sums", x, want, 128);
}

static void atomics64(run *r)
{
    enum { T = 96, B = 2 };
    uint64_t a[4] = {5, 0, 0, 1}, want[4] = {5, (T - 1) * 0x100000001ull, 0, 1};
    int64_t low = 0, want_low = -(T - 1);
    double d = 1, want_d = 1 + B * T * 0.5;
    for (uint64_t i = 0; i < B * T; i++) want[0] += i % T + 1, want[3] = want[3] * 3 + 1;
    uint64_t da = up(r, a, sizeof a), dd = up(r, &d, 8), dl = up(r, &low, 8);
    LAUNCH(r, "atomics64", D1(B), D1(T), 0, &da, &dd, &dl);
    down(r, a, da, sizeof a), down(r, &d, dd, 8), down(r, &low, dl, 8);
    if (memcmp(a, want, sizeof a)) mistake(r, "64-bit atomics");
    if (low != want_low) mistake(r, "minimum %lld", (long long)low);
    near_f64(r, "double", &d, &want_d, 1, 0, 0);
}

static void between_blocks(run *r)
{
    enum { N = 2000 };
    uint32_t lock = 0, count = 0, want = 12, x[N], sum = 0, got;
    uint64_t dl = up(r, &lock, 4), dc = up(r, &count, 4);
    int n = N;
    LAUNCH(r, "spin_lock", D1(3), D1(128), 0, &dl, &dc);
    down(r, &got, dc, 4);
    same_u32(r, "behind the lock", &got, &want, 1);
    for (int i = 0; i < N; i++) sum += x[i] = next_u32();
    uint64_t dx = up(r, x, sizeof x), dp = room(r, 5 * 4), dd = up(r, &lock, 4), dy = room(r, 4);
    LAUNCH(r, "last_block", D1(5), D1(128), 0, &dx, &dp, &dd, &dy, &n);
    down(r, &got, dy, 4);
    same_u32(r, "last block", &got, &sum, 1);
}

/* ---- blocks.cu ---- */

static void cub_scan(run *r)
{
    int n = 1000;
    uint32_t x[1000], y[1000], want[1000];
    for (int i = 0; i < n; i++) x[i] = next_u32();
    for (int i = 0; i < n; i++) want[i] = i % 512 ? want[i - 1] + x[i - 1] : 0;
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof y);
    LAUNCH(r, "cub_scan", D1(2), D1(128), 0, &dx, &dy, &n);
    down(r, y, dy, sizeof y);
    same_u32(r, "scan", y, want, 1000);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x, y;
    memcpy(&x, a, 4), memcpy(&y, b, 4);
    return (x > y) - (x < y);
}

static void cub_sorts(run *r)
{
    static uint32_t x[2048], y[2048];
    for (int i = 0; i < 2048; i++) x[i] = next_u32();
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof y);
    LAUNCH(r, "cub_sort", D1(2), D1(128), 0, &dx, &dy);
    down(r, y, dy, sizeof y);
    for (int b = 0; b < 2; b++) qsort(x + b * 1024, 1024, 4, by_size);
    same_u32(r, "radix", y, x, 2048);
    for (int i = 0; i < 256; i++) x[i] = next_u32();
    dx = up(r, x, 1024), dy = room(r, 1024);
    LAUNCH(r, "cub_merge", D1(1), D1(64), 0, &dx, &dy);
    down(r, y, dy, 1024);
    for (int b = 0; b < 2; b++) qsort(x + b * 128, 128, 4, by_value);
    same_u32(r, "merge", y, x, 256);
}

static void cub_order(run *r)
{
    float x[777];
    uint32_t y[256], want[256], best = 0;
    int n = 777;
    for (int i = 0; i < n; i++) x[i] = (float)((int)next_u32() >> 24);
    for (int i = 0; i < 256; i++) {
        int at = 0; /* how many come before */
        for (int k = 0; k < 256; k++) at += x[k] > x[i] || (x[k] == x[i] && k < i);
        want[at] = (uint32_t)i;
    }
    for (int i = 0; i < n; i++)
        if (x[i] > x[best]) best = (uint32_t)i;
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof y), db = room(r, 4);
    LAUNCH(r, "cub_top", D1(1), D1(64), 0, &dx, &dy);
    LAUNCH(r, "cub_argmax", D1(1), D1(160), 0, &dx, &db, &n);
    down(r, y, dy, sizeof y);
    same_u32(r, "top", y, want, 256);
    down(r, y, db, 4);
    same_u32(r, "argmax", y, &best, 1);
}

static void cub_segments(run *r)
{
    uint32_t head[192];
    float x[192], y[192];
    double want[192];
    for (int i = 0; i < 192; i++) {
        head[i] = next_u32() % 10 == 0, x[i] = (float)(next_u32() % 19) - 9;
        want[i] = (double)x[i] + (i && !head[i] ? want[i - 1] : 0);
    }
    uint64_t dh = up(r, head, sizeof head), dx = up(r, x, sizeof x), dy = room(r, sizeof y);
    LAUNCH(r, "cub_segments", D1(1), D1(192), 0, &dh, &dx, &dy);
    down(r, y, dy, sizeof y);
    near_f32(r, "segments", y, want, 192, 0, 0);
}

/* ---- idioms.cu ---- */

static void constants(run *r)
{
    float y[64];
    double want[64];
    int k = 3, seen;
    for (int i = 0; i < 64; i++) {
        int at = i * k & 63;
        want[i] = (at < 8 ? at + 1 : 0) + 2 * (i % 3 + 1);
        want[i] += (i & 7) == 0 ? .5 : (i & 7) == 1 ? .25 : 0;
    }
    uint64_t dy = room(r, sizeof y), ds = room(r, 4);
    for (int call = 0; call < 2; call++) {
        LAUNCH(r, "constants", D1(1), D1(64), 0, &dy, &ds, &k);
        down(r, y, dy, sizeof y), down(r, &seen, ds, 4);
        near_f32(r, "constants", y, want, 64, 0, 0);
        if (seen != call * k) mistake(r, "a module's variable does not keep its value");
    }
}

static void stack(run *r)
{
    enum { T = 40, N = 20 };
    uint32_t x[T * N], y[T * N], want[T * N];
    for (int t = 0; t < T; t++) {
        uint32_t s[16], top = 0;
        for (int i = t * N; i < t * N + N; i++) {
            x[i] = next_u32() % 3 ? next_u32() >> 8 : UINT32_MAX;
            if (x[i] == UINT32_MAX && top) want[i] = s[--top];
            else s[top & 15] = x[i], top = top < 16 ? top + 1 : 16, want[i] = top;
        }
    }
    int n = N;
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof y);
    LAUNCH(r, "stack", D1(1), D1(T), 0, &dx, &dy, &n);
    down(r, y, dy, sizeof y);
    same_u32(r, "stack", y, want, T * N);
}

static void by_value_struct(run *r)
{
    struct {
        int32_t a;
        double b;
        int16_t c[5];
        _Alignas(16) float f[4];
    } p = {7, 2.5, {1, -2, 3, -4, 5}, {0, 0, .25f, 0}};
    double y[10], want[10];
    for (int i = 0; i < 10; i++) want[i] = 9.75 + p.c[i % 5];
    uint64_t dy = room(r, sizeof y);
    LAUNCH(r, "by_value", D1(1), D1(10), 0, &p, &dy);
    down(r, y, dy, sizeof y);
    near_f64(r, "by value", y, want, 10, 0, 0);
}

static void wide(run *r)
{
    uint64_t x[64], y[64], want[64];
    for (int i = 0; i < 64; i++) x[i] = (uint64_t)next_u32() << 32 | next_u32();
    for (int i = 0; i < 64; i += 2) {
        unsigned __int128 a = (unsigned __int128)x[i] << 64 | x[i + 1],
                          b = a * a + (unsigned __int128)((__int128)a >> 3);
        want[i] = (uint64_t)(b >> 64) ^ (uint64_t)((unsigned __int128)x[i] * x[i + 1] >> 64);
        want[i + 1] = (uint64_t)b;
    }
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof y);
    LAUNCH(r, "wide", D1(1), D1(32), 0, &dx, &dy);
    down(r, y, dy, sizeof y);
    if (memcmp(y, want, sizeof y)) mistake(r, "128-bit integers");
}

static void hints(run *r)
{
    float x[128], y[96];
    double want[96];
    for (int i = 0; i < 128; i++) x[i] = (float)(next_u32() % 64);
    for (int i = 0; i < 32; i++) {
        want[i] = (double)x[4 * i] + x[4 * i + 1] + x[4 * i + 2] + x[4 * i + 3];
        want[32 + i] = (double)x[i] + x[5] + x[3] + x[2], want[64 + i] = x[i];
    }
    uint64_t dx = up(r, x, sizeof x), dy = room(r, sizeof y);
    LAUNCH(r, "hints", D1(1), D1(32), 0, &dx, &dy);
    down(r, y, dy, sizeof y);
    near_f32(r, "hints", y, want, 96, 0, 0);
}

const test library_tests[] = {
    {"groups", "tiles", tiles},
    {"groups", "pick_odd", pick_odd},
    {"groups", "labels", labels},
    {"groups", "rounds", rounds},
    {"groups", "pipes", pipes},
    {"groups", "split_barrier", split_barrier},
    {"groups", "atomics64", atomics64},
    {"groups", "between_blocks", between_blocks},
    {"blocks", "cub_scan", cub_scan},
    {"blocks", "cub_sorts", cub_sorts},
    {"blocks", "cub_order", cub_order},
    {"blocks", "cub_segments", cub_segments},
    {"idioms", "constants", constants},
    {"idioms", "stack", stack},
    {"idioms", "by_value", by_value_struct},
    {"idioms", "wide", wide},
    {"idioms", "hints", hints},
    {0},
};

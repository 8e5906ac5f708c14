/* The loop texts of tests/golden/room: they print back as they stand, verify, compute what te_eval
 * says for trip counts around the depth of their rings, and are refused when any wait, barrier,
 * arrival or guard is taken out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/half.h"
#include "schedule/loop.h"

/* ---- texts ----------------------------------------------------------------------------------- */

static char *text_of(const char *name)
{
    char path[512];
    ll_error err = {0};
    void *all;
    size_t n;
    snprintf(path, sizeof path, "%s/%s.txt", ROOM_DIR, name);
    if (ll_file_read(path, 1 << 20, &all, &n, &err) != LL_OK) fail_msg("%s", err.msg);
    char *s = all;
    *strstr(s, "# ---\n") = 0;
    char *start = s;
    while (*start == '#') start = strchr(start, '\n') + 1;
    char *out = strdup(start);
    free(all);
    return out;
}

static lp_func *parsed(te_graph *g, const char *text)
{
    ll_error err = {0};
    lp_func *f = lp_parse(g, text, "room", &err);
    if (!f) fail_msg("%s", err.msg);
    return f;
}

/* ---- mutants --------------------------------------------------------------------------------- */

typedef struct victim { int want, seen; lp_stmt *s; } victim;

static bool find_victim(lp_stmt *s, void *ctx)
{
    victim *w = ctx;
    bool is = s->kind == LP_SYNC || s->kind == LP_WAIT || s->kind == LP_IF || s->kind == LP_MBAR ||
              s->kind == LP_COMMIT;
    if (is && w->seen++ == w->want) w->s = s;
    return true;
}

/* Takes s out of the list *at: a guard leaves its body. */
static bool cut(lp_stmt **at, lp_stmt *s);

static bool cut_below(lp_stmt *p, lp_stmt *s)
{
    switch (p->kind) {
    case LP_FOR: return cut(&p->u.loop.body, s);
    case LP_ALLOC: return cut(&p->u.alloc.body, s);
    case LP_LET: return cut(&p->u.let.body, s);
    case LP_IF: return cut(&p->u.guard.then, s) || cut(&p->u.guard.otherwise, s);
    case LP_ROLES:
        for (int i = 0; i < p->u.roles.n; i++)
            if (cut(&p->u.roles.body[i], s)) return true;
        return false;
    default: return false;
    }
}

static bool cut(lp_stmt **at, lp_stmt *s)
{
    for (; *at; at = &(*at)->next) {
        if (*at == s) {
            lp_stmt *next = s->next;
            *at = s->kind == LP_IF ? lp_seq(s->u.guard.then, next) : next;
            return true;
        }
        if (cut_below(*at, s)) return true;
    }
    return false;
}

static void check_text_and_mutants(const char *name, int at_least)
{
    char *text = text_of(name);
    te_graph *g = te_graph_create();
    lp_func *f = parsed(g, text);
    ll_error err = {0};
    ll_str s = {0};
    lp_print(&s, f);
    assert_string_equal(ll_str_cstr(&s), text);
    ll_str_finish(&s);
    if (lp_verify(f, &err) != LL_OK) fail_msg("%s", err.msg);
    int n = 0, missed = 0;
    for (;; n++) {
        lp_stmt *body = lp_clone(f, f->body), *kept = f->body;
        victim w = {.want = n};
        lp_walk(body, find_victim, &w);
        if (!w.s) break;
        char what[200];
        snprintf(what, sizeof what, "%.199s", lp_show(w.s));
        assert_true(cut(&body, w.s));
        f->body = body;
        err = (ll_error){0};
        ll_code code = lp_verify(f, &err);
        f->body = kept;
        if (code != LL_OK) continue;
        missed++;
        print_error("%s: accepted without: %s\n", name, what);
    }
    assert_int_equal(missed, 0);
    assert_true(n >= at_least);
    te_graph_destroy(g);
    free(text);
}

static void ring_gemm_and_its_mutants(void **state) { check_text_and_mutants("gemm_ring", 11); }
static void role_gemm_and_its_mutants(void **state) { check_text_and_mutants("gemm_roles", 9); }
static void flash_and_its_mutants(void **state) { check_text_and_mutants("flash_paged", 10); }
static void decode_and_its_mutants(void **state) { check_text_and_mutants("decode_warps", 8); }
static void grouped_gemm_and_its_mutants(void **state)
{
    check_text_and_mutants("gemm_grouped", 8);
}

/* ---- values ---------------------------------------------------------------------------------- */

typedef struct dims { const char *name[8]; int64_t value[8]; int n; } dims;

static int64_t dim_of(void *ctx, const char *name)
{
    const dims *d = ctx;
    for (int i = 0; i < d->n; i++)
        if (strcmp(d->name[i], name) == 0) return d->value[i];
    return 0;
}

static uint64_t rng_state = 1;
static double noise(void)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (double)((int)(rng_state >> 40) % 64 - 32) /
           32; /* exact in f16, sums of products exact in f32 */
}

static uint16_t *halves(size_t n)
{
    uint16_t *p = malloc(n * 2);
    for (size_t i = 0; i < n; i++) p[i] = ll_f16_from(noise());
    return p;
}

/* The definitions of `te`, evaluated for the given inputs. */
static const te_value *expected(te_graph *g, te_env **env, const char *te, const dims *d, int n,
                                const char *const *name, void *const *mem, const size_t *bytes,
                                const char *root)
{
    ll_error err = {0};
    if (te_parse(g, te, "te", &err) != LL_OK) fail_msg("%s", err.msg);
    *env = te_env_create(g);
    for (int i = 0; i < d->n; i++)
        if (te_env_dim(*env, d->name[i], d->value[i], &err) != LL_OK) fail_msg("%s", err.msg);
    for (int i = 0; i < n; i++)
        if (te_env_bind_mem(*env, te_find(g, name[i]), mem[i], bytes[i], &err) != LL_OK)
            fail_msg("%s", err.msg);
    const te_value *v;
    size_t count;
    if (te_eval(*env, te_find(g, root), &v, &count, &err) != LL_OK) fail_msg("%s", err.msg);
    return v;
}

static void run_room(const char *name, const dims *d, void *const *arg, const size_t *bytes,
                     uint64_t seed)
{
    char *text = text_of(name);
    te_graph *g = te_graph_create();
    lp_func *f = parsed(g, text);
    ll_error err = {0};
    lp_run run = {arg, bytes, dim_of, (void *)(uintptr_t)d, seed};
    if (lp_eval(f, &run, &err) != LL_OK) fail_msg("%s", err.msg);
    te_graph_destroy(g);
    free(text);
}

static void check_gemm(const char *name, int64_t tile, int tiles)
{
    int64_t M = 67, N = 35, K = tile * tiles;
    dims d = {{"M", "N", "K"}, {M, N, K}, 3};
    uint16_t *a = halves((size_t)(M * K)), *b = halves((size_t)(N * K));
    float *c = malloc((size_t)(M * N) * 4);
    void *arg[] = {a, b, c};
    size_t bytes[] = {(size_t)(M * K) * 2, (size_t)(N * K) * 2, (size_t)(M * N) * 4};
    char te[600];
    snprintf(te, sizeof te,
             "dim M in 1..4096\ndim N in 1..4096\ndim K in %d..16384 multiple %d\nin f16 A[M, "
             "K]\nin f16 B[N, K]\n"
             "def f32 C[m, n] = sum(k: f32(A[m, k]) * f32(B[n, k]))\n",
             (int)tile, (int)tile);
    te_graph *g = te_graph_create();
    te_env *env;
    const te_value *want =
        expected(g, &env, te, &d, 2, (const char *[]){"A", "B"}, arg, bytes, "C");
    run_room(name, &d, arg, bytes, (uint64_t)tiles);
    for (int64_t i = 0; i < M * N; i++)
        if ((double)c[i] != want[i].f)
            fail_msg("%s, %d tiles: element %d is %g, wanted %g", name, tiles, (int)i, (double)c[i],
                     want[i].f);
    te_env_destroy(env);
    te_graph_destroy(g);
    free(a), free(b), free(c);
}

static void ring_gemm_is_the_contraction(void **state)
{
    const int tiles[] = {1, 2, 3, 5};
    for (int i = 0; i < 4; i++) check_gemm("gemm_ring", 32, tiles[i]);
}

static void role_gemm_is_the_contraction(void **state)
{
    const int tiles[] = {1, 2, 3, 5, 9};
    for (int i = 0; i < 5; i++) check_gemm("gemm_roles", 64, tiles[i]);
}

/* Items over `n` groups of the given row counts, in pieces of at most `most` rows. */
static int items_of(const int *rows, const int *first, int n, int most, int32_t *group,
                    int32_t *row0, int32_t *count, int32_t *pos)
{
    int k = 0, row = 0;
    for (int i = 0; i < n; i++)
        for (int r = 0; r < rows[i]; r += most, k++) {
            group[k] = i;
            row0[k] = row + r;
            count[k] = rows[i] - r < most ? rows[i] - r : most;
            if (pos) pos[k] = first[i] + r;
            if (r + most >= rows[i]) row += rows[i];
        }
    return k;
}

static void check_grouped(int tiles)
{
    enum { E = 4, T = 80 };
    const int rows[E] = {33, 0, 1, 46};
    int64_t K = 32 * tiles;
    int32_t perm[T], expert_of[T], group[16], row0[16], count[16];
    int W = items_of(rows, NULL, E, 32, group, row0, count, NULL), t = 0;
    for (int i = 0; i < T; i++) perm[i] = (i * 37 + 5) % T;
    for (int e = 0; e < E; e++)
        for (int i = 0; i < rows[e]; i++) expert_of[t++] = e;
    dims d = {{"T", "E", "K", "W"}, {T, E, K, W}, 4};
    uint16_t *x = halves((size_t)(T * K)), *b = halves((size_t)(E * 48 * K));
    float *y = malloc(T * 48 * 4);
    void *arg[] = {x, perm, b, group, row0, count, y};
    size_t bytes[] = {(size_t)(T * K) * 2, sizeof perm,   (size_t)(E * 48 * K) * 2,
                      (size_t)W * 4,       (size_t)W * 4, (size_t)W * 4,
                      T * 48 * 4};
    te_graph *g = te_graph_create();
    te_env *env;
    const te_value *want =
        expected(g, &env,
                 "dim T in 1..4096\ndim E in 1..64\ndim K in 32..4096 multiple 32\ndim W in "
                 "1..4096\nin f16 X[T, K]\n"
                 "in s32 perm[T] in 0..T\nin s32 of[T] in 0..E\nin f16 B[E, 48, K]\n"
                 "def f32 Y[t, n] = sum(k: f32(X[s64(perm[t]), k]) * f32(B[s64(of[t]), n, k]))\n",
                 &d, 4, (const char *[]){"X", "perm", "of", "B"}, (void *[]){x, perm, expert_of, b},
                 (size_t[]){bytes[0], bytes[1], sizeof expert_of, bytes[2]}, "Y");
    run_room("gemm_grouped", &d, arg, bytes, (uint64_t)tiles);
    for (int i = 0; i < T * 48; i++) assert_true((double)y[i] == want[i].f);
    te_env_destroy(env);
    te_graph_destroy(g);
    free(x), free(b), free(y);
}

static void grouped_gemm_is_the_gathered_contraction(void **state)
{
    const int tiles[] = {1, 2, 4};
    for (int i = 0; i < 3; i++) check_grouped(tiles[i]);
}

static const char attention[] =
    "dim T in 1..4096\ndim P in 1..65536\ndim S in 1..256\ndim W in 1..4096\nin f16 Q[T, 2, "
    "16]\nin f16 K[P, 16, 16]\n"
    "in f16 V[P, 16, 16]\nin s32 table[S, 10] in 0..P\nin s32 seg[T] in 0..S\nin s32 pos[T] in "
    "0..128\n"
    "paged f16 k = K by table, block 16\npaged f16 v = V by table, block 16\n"
    "def f32 x[t, h < 2, j < 128] = sum(d: f32(Q[t, h, d]) * f32(k[s64(seg[t]), j, d]))\n"
    "def f32 top[t, h < 2] = max(j < s64(pos[t]) + 1 <= 128: x[t, h, j] * 0.25)\n"
    "def f32 l[t, h < 2] = sum(j < s64(pos[t]) + 1 <= 128: exp(x[t, h, j] * 0.25 - top[t, h]))\n"
    "def f32 o[t, h < 2, e < 16] = sum(j < s64(pos[t]) + 1 <= 128: exp(x[t, h, j] * 0.25 - top[t, "
    "h]) * f32(v[s64(seg[t]), j, e]))\n"
    "def f32 O[t, h, e] = o[t, h, e] / l[t, h]\n";

/* Pages in a shuffled order; everything behind a sequence's keys is NaN. */
static void flash_is_causal_attention_over_pages(void **state)
{
    enum { S = 5, T = 1 + 16 + 17 + 33 + 5, P = 64 };
    const int rows[S] = {1, 16, 17, 33, 5}, first[S] = {0, 31, 0, 79, 62};
    int32_t table[S][10], seg[T], pos[T], group[16], row0[16], count[16], from[16];
    int W = items_of(rows, first, S, 16, group, row0, count, from), t = 0;
    uint16_t *q = halves(T * 32), *k = halves(P * 256), *v = halves(P * 256),
             nan = ll_f16_from(NAN);
    float o[T * 32];
    for (int s = 0; s < S; s++) {
        int keys = first[s] + rows[s];
        for (int p = 0; p < 10; p++) table[s][p] = p * 16 < keys ? (s * 12 + p) * 29 % 61 : 63;
        for (int i = 0; i < rows[s]; i++, t++) seg[t] = s, pos[t] = first[s] + i;
    }
    for (int i = 0; i < 256; i++) k[63 * 256 + i] = v[63 * 256 + i] = nan;
    for (int s = 0; s < S; s++)
        for (int j = first[s] + rows[s]; j % 16; j++)
            for (int e = 0; e < 16; e++)
                k[table[s][j / 16] * 256 + j % 16 * 16 + e] =
                    v[table[s][j / 16] * 256 + j % 16 * 16 + e] = nan;
    dims d = {{"T", "P", "S", "W"}, {T, P, S, W}, 4};
    void *arg[] = {q, k, v, table, group, row0, count, from, o};
    size_t n = (size_t)W * 4,
           bytes[] = {T * 64, P * 512, P * 512, sizeof table, n, n, n, n, sizeof o};
    te_graph *g = te_graph_create();
    te_env *env;
    const te_value *want =
        expected(g, &env, attention, &d, 6, (const char *[]){"Q", "K", "V", "table", "seg", "pos"},
                 (void *[]){q, k, v, table, seg, pos},
                 (size_t[]){T * 64, P * 512, P * 512, sizeof table, sizeof seg, sizeof pos}, "O");
    run_room("flash_paged", &d, arg, bytes, 3);
    for (int i = 0; i < T * 32; i++)
        if (!(fabs((double)o[i] - want[i].f) < 1e-5))
            fail_msg("element %d is %g, wanted %g", i, (double)o[i], want[i].f);
    te_env_destroy(env);
    te_graph_destroy(g);
    free(q), free(k), free(v);
}

static const char decoding[] =
    "dim P in 1..65536\ndim S in 1..256\nin f16 Q[S, 16]\nin f16 K[P, 16, 16]\nin f16 V[P, 16, "
    "16]\nin s32 table[S, 32] in 0..P\n"
    "in s32 len[S] in 1..513\npaged f16 k = K by table, block 16\npaged f16 v = V by table, block "
    "16\n"
    "def f32 x[s, j < 512] = sum(d: f32(Q[s, d]) * f32(k[s, j, d]))\n"
    "def f32 top[s] = max(j < s64(len[s]) <= 512: x[s, j] * 0.25)\n"
    "def f32 l[s] = sum(j < s64(len[s]) <= 512: exp(x[s, j] * 0.25 - top[s]))\n"
    "def f32 o[s, e < 16] = sum(j < s64(len[s]) <= 512: exp(x[s, j] * 0.25 - top[s]) * f32(v[s, j, "
    "e]))\n"
    "def f32 O[s, e] = o[s, e] / l[s]\n";

/* Warps without a tile, with one, two and three of their ring of two; stale rows are NaN. */
static void decode_merges_what_its_warps_found(void **state)
{
    enum { S = 6, P = 80 };
    const int32_t len[S] = {1, 16, 17, 64, 131, 190};
    int32_t table[S][32];
    uint16_t *q = halves(S * 16), *k = halves(P * 256), *v = halves(P * 256),
             nan = ll_f16_from(NAN);
    float o[S * 16];
    for (int i = 0; i < 256; i++) k[79 * 256 + i] = v[79 * 256 + i] = nan;
    for (int s = 0, page = 0; s < S; s++) {
        for (int p = 0; p < 32; p++) table[s][p] = p * 16 < len[s] ? page++ * 31 % 79 : 79;
        for (int j = len[s]; j % 16; j++)
            for (int e = 0; e < 16; e++)
                k[table[s][j / 16] * 256 + j % 16 * 16 + e] =
                    v[table[s][j / 16] * 256 + j % 16 * 16 + e] = nan;
    }
    dims d = {{"P", "S"}, {P, S}, 2};
    void *arg[] = {q, k, v, table, (void *)(uintptr_t)len, o};
    size_t bytes[] = {S * 32, P * 512, P * 512, sizeof table, sizeof len, sizeof o};
    te_graph *g = te_graph_create();
    te_env *env;
    const te_value *want = expected(
        g, &env, decoding, &d, 5, (const char *[]){"Q", "K", "V", "table", "len"}, arg, bytes, "O");
    run_room("decode_warps", &d, arg, bytes, 11);
    for (int i = 0; i < S * 16; i++)
        if (!(fabs((double)o[i] - want[i].f) < 1e-5))
            fail_msg("element %d is %g, wanted %g", i, (double)o[i], want[i].f);
    te_env_destroy(env);
    te_graph_destroy(g);
    free(q), free(k), free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_gemm_and_its_mutants),
        cmocka_unit_test(role_gemm_and_its_mutants),
        cmocka_unit_test(flash_and_its_mutants),
        cmocka_unit_test(grouped_gemm_and_its_mutants),
        cmocka_unit_test(decode_and_its_mutants),
        cmocka_unit_test(ring_gemm_is_the_contraction),
        cmocka_unit_test(role_gemm_is_the_contraction),
        cmocka_unit_test(grouped_gemm_is_the_gathered_contraction),
        cmocka_unit_test(flash_is_causal_attention_over_pages),
        cmocka_unit_test(decode_merges_what_its_warps_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_made_up.c FOLDER [CASE]: expressions that no model has (cases.h), cut into kernels,
 * scheduled by the rules and run on packed weights, say what te_eval says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"
#include "compile/pack.h"
#include "compile/site.h"
#include "compile/splitk.h"
#include "compile/wants.h"
#include "oracle.h"

enum { MAX_WEIGHTS = 8, MAX_ITEMS = 16, ROWS = 8, PARTS = 4, PAGE = 16, ITEM_ROWS = CC_PLAN_ROWS };

static const char *folder, *only;
static ll_arena types; /* a type that no file has */

/* A packer keeps its programs: one for each target is enough. */
static struct {
    const char *name;
    ll_target target;
    cc_packer *packer;
} targets[] = {{.name = "cpu:x86-64-v3"}, {.name = "cpu:x86-64-v4+avx512vnni"},
             {.name = "cuda:sm_80"}};
enum { N_TARGETS = sizeof targets / sizeof *targets };

typedef struct random_weight {
    const te_tensor *t;
    unsigned char *p;
    size_t n;
} random_weight;

typedef struct world {
    const char *file;
    bool one_row, must_dot; /* must_dot: on a CPU, an integer dot instruction has to be used */
    int64_t granule;        /* columns that share a scale of codes */
    te_graph *g;
    te_env *env;
    ll_target target;
    cc_packer *packer;
    random_weight weight[MAX_WEIGHTS];
    int n_weight, bad, kernels;
    int32_t item[MAX_ITEMS][8];
    int64_t n_item;
    uint64_t seed;
} world;

static uint32_t next(world *w) {
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->seed >> 33);
}

/* ---- inputs -------------------------------------------------------------------------------- */

static int64_t dim(void *user, const char *name) {
    const world *w = user;
    if (!strcmp(name, "T")) return ROWS;
    if (!strcmp(name, "W.items")) return w->n_item;
    fail_msg("%s: a kernel reads a dim %s", w->file, name);
    return 0;
}

static int64_t size(world *w, te_ref e) {
    if (e->op == TE_INT) return e->u.i;
    if (e->op == TE_DIM) return dim(w, e->u.dim->name);
    if (e->op == TE_ADD) return size(w, e->src[0]) + size(w, e->src[1]);
    fail_msg("%s: a size %s", w->file, te_show(e));
    return 0;
}

static const te_quant *type_of(const te_tensor *t) {
    const te_quant *q = t->quant ? t->quant : te_quant_by_name(ll_dtype_name((ll_dtype)t->dtype));
    if (!q) fail_msg("%s: no type for its file", t->name);
    return q;
}

/* Bytes as a file would have them; numbers of 16 and 32 bits made of them are below 2. */
static void bind_weight(world *w, te_tensor *t) {
    const te_quant *q = type_of(t);
    random_weight *r = &w->weight[w->n_weight++];
    assert_in_range(w->n_weight, 1, MAX_WEIGHTS);
    size_t elements = (size_t)(size(w, t->shape[0]) * size(w, t->shape[1]));
    *r = (random_weight){t, NULL, elements / (size_t)q->block * (size_t)q->bytes};
    r->p = malloc(r->n);
    for (size_t i = 0; i < r->n; i++) r->p[i] = (unsigned char)(next(w) & 0xbf);
    if (t->quant) {
        oracle_bind_quant(w->env, t, r->p, r->n);
        return;
    }
    te_value *v = malloc(elements * sizeof *v);
    ll_error err = {0};
    for (size_t i = 0; i < elements; i++) te_value_load((ll_dtype)t->dtype, r->p, i, &v[i]);
    oracle_ok(te_env_bind(w->env, t, v, elements, &err), &err);
    free(v);
}

static void bind_values(world *w, te_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= size(w, t->shape[i]);
    te_value *v = malloc((size_t)n * sizeof *v);
    ll_error err = {0};
    for (int64_t i = 0; i < n; i++) {
        if (ll_dtype_is_float((ll_dtype)t->dtype))
            v[i].f = ((double)(next(w) % 4001) - 2000) / 1000;
        else
            v[i].i = t->hi ? next(w) % (uint64_t)size(w, t->hi) : next(w) % 16;
    }
    oracle_ok(te_env_bind(w->env, t, v, (size_t)n, &err), &err);
    free(v);
}

/* Rows of one segment, in items; a row sees the elements up to its own position. */
static void make_items(world *w) {
    te_tensor *pos = te_find(w->g, "pos");
    const te_value *v;
    size_t n;
    ll_error err = {0};
    if (!pos || w->one_row) return;
    oracle_ok(te_eval(w->env, pos, &v, &n, &err), &err);
    for (int r = 0; r < ROWS; r += ITEM_ROWS) {
        int64_t hi = 0, lo = INT32_MAX;
        for (int i = r; i < r + ITEM_ROWS; i++) {
            if (v[i].i + 1 > hi) hi = v[i].i + 1;
            if (v[i].i < lo) lo = v[i].i;
        }
        int32_t item[8] = {0, r, ITEM_ROWS, 0, (int32_t)hi, (int32_t)lo, 0, 1};
        memcpy(w->item[w->n_item++], item, sizeof item);
    }
}

static void bind_all(world *w) {
    ll_error err = {0};
    w->env = te_env_create(w->g);
    if (!w->one_row) oracle_ok(te_env_dim(w->env, "T", ROWS, &err), &err);
    for (size_t i = 0; i < te_n_tensors(w->g); i++) {
        te_tensor *t = te_tensor_at(w->g, i);
        if (t->kind != TE_INPUT) continue;
        if (t->weight && t->ndim == 2)
            bind_weight(w, t);
        else
            bind_values(w, t);
    }
    make_items(w);
}

/* ---- packed weights ------------------------------------------------------------------------ */

static ll_code read_bytes(void *user, uint64_t off, void *buf, size_t n, ll_error *err) {
    const random_weight *r = user;
    if (off + n > r->n) return ll_fail(err, LL_BAD_INPUT, "beyond the end of %s", r->t->name);
    memcpy(buf, r->p + off, n);
    return LL_OK;
}

static void packed(void *user, const te_tensor *t, unsigned char **out, size_t *n) {
    world *w = user;
    ll_error err = {0};
    oracle_bytes b = {0};
    for (int i = 0; i < w->n_weight; i++) {
        if (w->weight[i].t != t) continue;
        cc_packing pk;
        oracle_ok(cc_packing_of(t, &w->target, &pk, &err), &err);
        oracle_ok(cc_packer_matrix(w->packer, &pk, type_of(t),
                                   (cc_source){read_bytes, &w->weight[i]}, oracle_collect, &b,
                                   &err),
                  &err);
        *out = b.p, *n = b.n;
        return;
    }
    fail_msg("%s: no weight %s", w->file, t->name);
}

/* ---- kernels ------------------------------------------------------------------------------- */

static void complain(world *w, int k, const char *what, const ll_error *err, const sch *s) {
    w->bad++;
    print_error("%s, %s, %s, kernel %d: %s: %s\n", w->file, w->one_row ? "one row" : "many rows",
                w->target.name, k, what, err->msg);
    if (!getenv("SHOW") || !s) return;
    ll_str text = {0};
    lp_print(&text, s->fn);
    print_error("%s\n%s\n", ll_str_cstr(&s->trace), ll_str_cstr(&text));
    ll_str_finish(&text);
}

static void check_kernel(world *w, const cc_kernel *c, int k) {
    ll_error err = {0};
    oracle meaning = {w->g, w->env, dim, packed, w, (const int32_t(*)[8])w->item, w->n_item};
    oracle_tolerance tol = {.relative = 3e-5, .codes = 5};
    cc_site_options o = {.target = &w->target,
                         .act_block = w->granule,
                         .one_row = w->one_row,
                         .min_rows = 1,
                         .max_rows = w->one_row ? 1 : 64,
                         .page = PAGE,
                         .items = w->one_row ? NULL : "items"};
    sch *s = cc_site_schedule(w->g, c, ll_sprintf(te_arena(w->g), "k%d", k), &o, &err);
    w->kernels++;
    if (!s)
        complain(w, k, "not scheduled", &err, NULL);
    else if (!oracle_check(&meaning, c, s, &tol, &err))
        complain(w, k, "wrong", &err, s);
    else if (w->must_dot && w->target.kind == LL_CPU && !strstr(ll_str_cstr(&s->trace), "tensorize ")) {
        (void)ll_fail(&err, LL_FAILED, "no integer dot instruction in its trace");
        complain(w, k, "slow", &err, s);
    }
    sch_destroy(s);
}

static void check_cut(world *w, te_tensor *const *wanted, int n, int target) {
    ll_error err = {0};
    cc_fusion f;
    cc_wants wants;
    w->target = targets[target].target;
    w->packer = targets[target].packer;
    wants = cc_wants_of(&w->target, true);
    oracle_ok(cc_fuse(w->g, wanted, n, w->one_row, wants.panel, &f, &err), &err);
    for (int k = 0; k < f.n_kernel; k++) check_kernel(w, f.kernel[k], k);
}

static int check_case(const graph_case *c, const char *file, bool one_row) {
    world w = {.file = file, .one_row = one_row, .granule = 32, .g = te_graph_create(), .seed = 11};
    te_tensor *wanted[CASE_MAX_WANTED];
    ll_error err = {0};
    int n = case_graph(c, w.g, one_row, file, wanted);
    if (one_row) oracle_ok(cc_splitk(w.g, wanted, n, PARTS, PAGE, &err), &err);
    bind_all(&w);
    for (int i = 0; i < N_TARGETS; i++) check_cut(&w, wanted, n, i);
    for (int i = 0; i < w.n_weight; i++) free(w.weight[i].p);
    te_env_destroy(w.env);
    te_graph_destroy(w.g);
    assert_true(w.kernels >= 2);
    return w.bad;
}

static void check_cases(bool one_row) {
    char *name[CASE_MAX_FILES];
    int n = case_list(folder, name), bad = 0, run = 0;
    for (int i = 0; i < n; i++) {
        graph_case c;
        case_open(&c, folder, name[i]);
        if ((!only || strstr(name[i], only)) && !(one_row && c.many_only))
            bad += check_case(&c, name[i], one_row), run++;
        case_close(&c);
        free(name[i]);
    }
    if (bad) fail_msg("%d kernels", bad);
    assert_true(only || run > 5);
}

/* ---- every type of weights, and some that no file has --------------------------------------- */

#define HALF "d = bits.f16(u16(b[0]) | u16(b[1]) << 8:u16);"
static const struct {
    int block, bytes;
    const char *planes, *from_file, *value;
} made_up[] = {
    /* 3-bit codes in two planes, a scale and a minimum for 24 */
    {24, 13, "f16 d[1]; f16 m[1]; u2 q[24]; u1 h[24]",
     HALF "m = bits.f16(u16(b[2]) | u16(b[3]) << 8:u16);"
          "q = u2(b[4 + i / 4] >> u8(i % 4 * 2)); h = u1(b[10 + i / 8] >> u8(i % 8))",
     "f32(d) * f32(u8(q) + u8(h) * 4:u8) + f32(m)"},
    /* the same with a scale for 24 in blocks of 96: in no unit of 32 */
    {96, 42, "f16 d[1]; u8 sc[4]; u2 q[96]; u1 h[96]",
     HALF "sc = b[2 + i]; q = u2(b[6 + i / 4] >> u8(i % 4 * 2)); h = u1(b[30 + i / 8] >> u8(i % 8))",
     "f32(d) * f32(sc) * f32(u8(q) + u8(h) * 4:u8)"},
    /* a scale that covers more than 32, and not the block */
    {128, 68, "f16 d[1]; s8 sc[2]; u4 q[128]",
     HALF "sc = bits.s8(b[2 + i]); q = u4(b[4 + i / 2] >> u8(i % 2 * 4))",
     "f32(d) * (f32(sc) * f32(q))"},
    /* scales for 40 and minima for 20 in blocks of 120 */
    {120, 71, "f16 d[1]; u8 sc[3]; u8 mn[6]; u4 q[120]",
     HALF "sc = b[2 + i]; mn = b[5 + i]; q = u4(b[11 + i / 2] >> u8(i % 2 * 4))",
     "f32(d) * f32(sc) * f32(q) - f32(d) * f32(mn)"},
    /* scales for 32 and minima for 48: neither holds the other */
    {96, 53, "u8 sc[3]; u8 mn[2]; u4 q[96]",
     "sc = b[i]; mn = b[3 + i]; q = u4(b[5 + i / 2] >> u8(i % 2 * 4))",
     "f32(sc) * f32(q) - f32(mn)"},
};
enum { N_MADE_UP = sizeof made_up / sizeof *made_up };

static const te_quant *made_up_type(ll_arena *a, int i) {
    ll_error err = {0};
    const te_quant *q =
        te_quant_make(a, ll_sprintf(a, "made_up%d", i), made_up[i].block, made_up[i].bytes,
                      made_up[i].planes, made_up[i].from_file, made_up[i].value, &err);
    if (!q) fail_msg("%s", err.msg);
    return q;
}

/* y[t, o] = sum(k: x[t, k] * W[o, k]) for `out` rows of W; x of f32, or of codes with a scale for
 * `granule` columns. */
static te_tensor *product(te_graph *g, const te_quant *q, bool one_row, int64_t granule,
                          int64_t out) {
    int64_t cols = q->block == 1 ? 24 : q->block < 64 ? 2 * q->block : q->block;
    te_ref rows = one_row ? te_int(g, 1) : te_dim_multiple(g, "T", CASE_ROWS, 64, CASE_ROWS);
    te_tensor *w = te_weight(te_input_quant(g, "W", q, te_int(g, out), te_int(g, cols)));
    te_ref t = te_axis(g, "t", rows), o = te_axis(g, "o", te_int(g, out)),
           k = te_axis(g, "k", te_int(g, cols)), x;
    if (granule) {
        te_tensor *code = te_input(g, "x", LL_S8, rows, te_int(g, cols)),
                  *scale = te_input(g, "s", LL_F32, rows, te_int(g, cols / granule));
        x = te_mul(te_at(scale, t, te_divi(k, granule)), te_cast(LL_F32, te_at(code, t, k)));
    } else {
        x = te_at(te_input(g, "x", LL_F32, rows, te_int(g, cols)), t, k);
    }
    te_ref v = te_at(w, o, k);
    return te_def(g, "y", te_sum(te_mul(x, te_cast(LL_F32, v)), k), t, o);
}

/* Of 40 rows of W, which fill no whole panels; of 64, which do. */
enum { RAGGED_OUT = 40, WHOLE_OUT = 64 };

static int check_type(const te_quant *q, bool one_row, int64_t granule, int64_t out) {
    world w = {.file = q->name,
               .one_row = one_row,
               .must_dot = granule && out == WHOLE_OUT,
               .granule = granule,
               .g = te_graph_create(),
               .seed = 5};
    te_tensor *y = product(w.g, q, one_row, granule, out);
    if (te_error(w.g)) fail_msg("%s", te_error(w.g)->msg);
    bind_all(&w);
    for (int i = 0; i < N_TARGETS; i++) check_cut(&w, &y, 1, i);
    for (int i = 0; i < w.n_weight; i++) free(w.weight[i].p);
    te_env_destroy(w.env);
    te_graph_destroy(w.g);
    return w.bad;
}

static void check_types(bool one_row) {
    static const te_quant *own[N_MADE_UP];
    int bad = 0, n = te_n_quants();
    for (int i = 0; i < n + N_MADE_UP; i++) {
        if (i >= n && !own[i - n]) own[i - n] = made_up_type(&types, i - n);
        const te_quant *q = i < n ? te_quant_at(i) : own[i - n];
        if (only && !strstr(q->name, only)) continue;
        int64_t granule = q->block % 32 ? q->block : 32;
        bad += check_type(q, one_row, 0, RAGGED_OUT) + check_type(q, one_row, 0, WHOLE_OUT);
        if (q->block == 1) continue;
        bad += check_type(q, one_row, granule, RAGGED_OUT);
        bad += check_type(q, one_row, granule, WHOLE_OUT);
    }
    if (bad) fail_msg("%d kernels", bad);
}

static void one_row_times_every_type(void **state) { check_types(true); }
static void many_rows_times_every_type(void **state) { check_types(false); }

static void one_row_of_made_up_graphs(void **state) { check_cases(true); }
static void many_rows_of_made_up_graphs(void **state) { check_cases(false); }

int main(int argc, char **argv) {
    folder = argc > 1 ? argv[1] : "tests/golden/fusion";
    only = argc > 2 ? argv[2] : NULL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_row_times_every_type),
        cmocka_unit_test(many_rows_times_every_type),
        cmocka_unit_test(one_row_of_made_up_graphs),
        cmocka_unit_test(many_rows_of_made_up_graphs),
    };
    ll_error err = {0};
    ll_arena_init(&types);
    for (int i = 0; i < N_TARGETS; i++) {
        if (ll_target_parse(targets[i].name, &targets[i].target, &err) == LL_OK)
            targets[i].packer = cc_packer_create(&targets[i].target, 1, &err);
        if (targets[i].packer) continue;
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < N_TARGETS; i++) cc_packer_destroy(targets[i].packer);
    ll_arena_finish(&types);
    return bad;
}

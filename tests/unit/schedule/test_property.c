/* test_property.c: random definitions x random traces. Every line of a trace is either refused,
 * and then nothing changed, or the function still computes what te_eval says. Traces are made by
 * choosing primitives and arguments from the loops and stages that exist, so most are near the
 * border of what is legal; mutated traces (a line dropped, doubled, moved, a number changed) are
 * replayed too: refused or right.
 *
 *     test_property [--cases N] [--seed S] [--verbose]       defaults: 6000 pairs, seed 1
 *
 * What single draws would not hit (a maximum and its sums, blocks with scales, panels,
 * instructions) comes with the lines that open its trace. Each primitive must have been done and
 * refused: the counts are printed.
 *
 * A failure prints the seed of its case: --cases 1 --seed that repeats it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support/gen_expr.h"
#include "tests/support/sched_check.h"

enum { MAX_ELEMENTS = 100000, MAX_LINES = 24, MAX_NAMES = 96, LINE = 160 };

static long n_cases = 6000;
static uint64_t first_seed = 1;
static bool verbose;

/* ---- definitions ----------------------------------------------------------------------------- */

typedef struct maker {
    chk_rng r;
    ll_str text;
    ll_str opening; /* lines that the trace begins with: what single draws would not hit */
    const char *target;
} maker;

static int pick(maker *m, int lo, int hi) { return lo + (int)chk_below(&m->r, hi - lo + 1); }

static const char *type_of(maker *m) { return chk_below(&m->r, 3) ? "f64" : "s32"; }

/* Each writes definitions; the last (or `roots`) are the outputs. Sizes are small, often prime,
 * sometimes a dim. */
static const char *matmul(maker *m) {
    int M = pick(m, 1, 5), N = pick(m, 1, 17), K = pick(m, 1, 9);
    const char *t = type_of(m);
    ll_str_addf(&m->text,
                "in %s x[%d, %d]\nin %s w[%d, %d]\ndef %s y[m, n] = sum(k: x[m, k] * w[n, k])\n", t,
                M, K, t, N, K, t);
    return "y";
}

static const char *matmul_dim(maker *m) {
    int N = pick(m, 1, 17), K = pick(m, 1, 9);
    ll_str_addf(&m->text, "dim T in 1..9\nin f64 x[T, %d]\nin f64 w[%d, %d]\nin f64 r[T, %d]\n", K,
                N, K, N);
    ll_str_addf(&m->text, "def f64 acc[t, n] = sum(k: x[t, k] * w[n, k])\ndef f64 y[t, n] = acc[t, "
                          "n] * 0.5:f64 + r[t, n]\n");
    return "y";
}

static const char *batched(maker *m) {
    int B = pick(m, 1, 3), M = pick(m, 1, 4), N = pick(m, 1, 9), K = pick(m, 1, 7);
    ll_str_addf(&m->text,
                "in s32 x[%d, %d, %d]\nin s32 w[%d, %d, %d]\ndef s32 y[b, m, n] = sum(k: x[b, m, "
                "k] * w[b, n, k])\n",
                B, M, K, B, N, K);
    return "y";
}

static const char *norm_matmul(maker *m) {
    int T = pick(m, 1, 4), N = pick(m, 1, 17), K = pick(m, 1, 9);
    ll_str_addf(&m->text, "in f64 x[%d, %d]\nin f64 w[%d, %d]\n", T, K, N, K);
    ll_str_addf(&m->text, "def f64 ss[t] = sum(k: x[t, k] * x[t, k])\ndef f64 xn[t, k] = x[t, k] * "
                          "rsqrt(ss[t] + 1.0:f64)\n");
    ll_str_addf(&m->text, "def f64 acc[t, n] = sum(k: xn[t, k] * w[n, k])\ndef f64 y[t, n] = "
                          "acc[t, n] / (1.0:f64 + abs(acc[t, n]))\n");
    return "y";
}

static const char *softmax(maker *m) {
    int T = pick(m, 1, 5), K = pick(m, 1, 13);
    ll_str_addf(
        &m->text,
        "in f64 x[%d, %d]\ndef f64 m[t] = max(k: x[t, k])\ndef f64 e[t, k] = exp(x[t, k] - m[t])\n",
        T, K);
    ll_str_addf(&m->text, "def f64 l[t] = sum(k: e[t, k])\ndef f64 y[t, k] = e[t, k] / l[t]\n");
    return "y";
}

static const char *chain(maker *m) {
    int A = pick(m, 1, 6), B = pick(m, 1, 13);
    ll_str_addf(&m->text,
                "in s32 x[%d, %d]\nin s32 r[%d]\ndef s32 a[i, j] = x[i, j] * 3:s32 + r[j]\n", A, B,
                B);
    ll_str_addf(
        &m->text,
        "def s32 b[i, j] = max(a[i, j], a[i, %d - j])\ndef s32 c[i, j] = b[i, j] - x[i, j]\n",
        B - 1);
    return chk_below(&m->r, 2) ? "c" : "b c";
}

static const char *contraction3(maker *m) {
    int A = pick(m, 1, 4), B = pick(m, 1, 5), C = pick(m, 1, 4), D = pick(m, 1, 6);
    ll_str_addf(&m->text, "in s32 p[%d, %d]\nin s32 q[%d, %d]\nin s32 r[%d, %d]\n", A, B, B, C, C,
                D);
    ll_str_addf(&m->text, "def s32 y[a, d] = sum(b, c: p[a, b] * q[b, c] * r[c, d])\n");
    return "y";
}

static const char *conv(maker *m) {
    int O = pick(m, 1, 17), W = pick(m, 1, 4), C = pick(m, 1, 3), H = pick(m, 1, 4);
    ll_str_addf(
        &m->text,
        "in f64 x[%d, %d]\nin f64 f[%d, %d, %d]\ndef f64 s[c, i < %d] = x[c, i] * 2.0:f64\n", C,
        O + W - 1, H, C, W, O + W - 1);
    ll_str_addf(&m->text, "def f64 y[h, o < %d] = sum(c, w: s[c, o + w] * f[h, c, w])\n", O);
    return "y";
}

static const char *padded(maker *m) {
    int N = pick(m, 2, 19);
    ll_str_addf(&m->text, "in f64 x[%d]\ndef f64 s[i < %d] = x[i] * 2.0:f64\n", N, N);
    ll_str_addf(&m->text, "def f64 y[o < %d] = select(o < 1, 0.0:f64, s[o - 1]) + s[o]\n", N);
    return "y";
}

static const char *ragged(maker *m) {
    int H = pick(m, 1, 4), K = pick(m, 1, 9);
    ll_str_addf(&m->text, "dim S in 1..5\nin s32 len[S] in 0..%d\nin f64 x[S, %d]\nin f64 q[%d]\n",
                K + 1, K, H);
    ll_str_addf(&m->text, "def f64 y[s, h] = sum(j < s64(len[s]) <= %d: x[s, j] * q[h])\n", K);
    return "y";
}

static const char *gather(maker *m) {
    int V = pick(m, 1, 9), D = pick(m, 1, 9), T = pick(m, 1, 7);
    ll_str_addf(&m->text,
                "in s32 id[%d] in 0..%d\nin f64 e[%d, %d]\ndef f64 x[t, d] = e[s64(id[t]), d]\n", T,
                V, V, D);
    ll_str_addf(&m->text, "def f64 y[t, d] = x[t, d] * 2.0:f64\ndef f64 z[d] = sum(t: y[t, d])\n");
    return "y z";
}

static const char *blocks(maker *m) {
    int B = pick(m, 1, 4), E = pick(m, 1, 5), N = pick(m, 1, 9);
    ll_str_addf(&m->text, "in f64 x[%d]\nin f64 d[%d, %d]\nin s8 q[%d, %d]\n", B * E, N, B, N,
                B * E);
    ll_str_addf(&m->text,
                "def f64 y[n] = sum(k: x[k] * d[n, k / %d] * f64(q[n, k]))\ndef f64 a[b < %d] = "
                "max(k < %d: abs(x[b * %d + k]))\n",
                E, B, E, E);
    return "y a";
}

/* Blocks with a scale and perhaps a minimum each: `factor`, perhaps after `bias`. */
static const char *scaled_blocks(maker *m) {
    int B = pick(m, 1, 4), E = pick(m, 1, 8), N = pick(m, 1, 9);
    bool minimum = chk_below(&m->r, 2);
    ll_str_addf(
        &m->text,
        "in s8 x[%d]\nin f64 xd[%d]\nin s8 q[%d, %d] weight\nin f64 d[%d, %d]\nin f64 o[%d, %d]\n",
        B * E, B, N, B * E, N, B, N, B);
    ll_str_addf(&m->text,
                "def f64 y[n] = sum(k: xd[k / %d] * f64(x[k]) * (d[n, k / %d] * f64(q[n, k])", E,
                E);
    if (minimum) ll_str_addf(&m->text, " + o[n, k / %d]", E);
    ll_str_add(&m->text, "))\n");
    if (chk_below(&m->r, 3) == 0)
        ll_str_addf(&m->opening, "bias q %d\n", chk_below(&m->r, 4) ? 128 : 1 << pick(m, 3, 7));
    ll_str_addf(&m->opening, "factor y k %d\n", chk_below(&m->r, 5) ? E : pick(m, 1, 9));
    return "y";
}

/* A maximum and the sums behind it. */
static const char *attention(maker *m) {
    int T = pick(m, 1, 4), K = pick(m, 1, 13), D = pick(m, 1, 3);
    ll_str_addf(&m->text, "in f64 q[%d, %d]\nin f64 c[%d, %d]\nin f64 v[%d, %d]\n", T, D, K, D, K,
                D);
    ll_str_addf(&m->text,
                "def f64 s[t, j] = sum(d: q[t, d] * c[j, d])\ndef f64 m[t] = max(j: s[t, j])\n");
    ll_str_addf(&m->text,
                "def f64 e[t, j] = exp(s[t, j] - m[t])\ndef f64 l[t] = sum(j: e[t, j])\n"
                "def f64 o[t, d] = sum(j: e[t, j] * v[j, d])\ndef f64 y[t, d] = o[t, d] / l[t]\n");
    ll_str_addf(&m->opening, "rolling m e l o j %d%s\n", pick(m, 1, 6),
                chk_below(&m->r, 2) ? " score=s" : "");
    return "y";
}

/* Flat rows of ragged segments as work items. */
static const char *items(maker *m) {
    int K = pick(m, 1, 9), N = pick(m, 1, 5);
    ll_str_addf(&m->text, "dim T in 1..9\nin f64 x[T, %d]\nin f64 w[%d, %d]\n", K, N, K);
    ll_str_addf(&m->text, "def f64 y[t, n] = sum(k: x[t, k] * w[n, k])\n");
    if (chk_below(&m->r, 2)) ll_str_addf(&m->opening, "split y.n %d\n", pick(m, 1, 4));
    ll_str_addf(&m->opening, "plan y.t items_T %d\n", pick(m, 1, 4));
    return "y";
}

/* Products of bytes that are an instruction: 4 in a lane, 16, 8 or 4 lanes. */
static const char *dots(maker *m) {
    static const char *const row[] = {"vpdpbusd.512",   "vpdpbusd.256", "vpdpbusd.128",
                                      "vpmaddubsw.512", "vpmaddwd.256", "vpdpbusd.s8.512"};
    static const int lanes[] = {16, 8, 4, 16, 8, 16};
    int i = pick(m, 0, 5), N = lanes[i] * pick(m, 1, 2), K = 4 * pick(m, 1, 3);
    ll_str_addf(&m->text, "in s8 x[%d]\nin %s w[%d, %d]\n", K,
                i == 3   ? "u4"
                : i == 5 ? "s8"
                         : "u8",
                N, K);
    ll_str_addf(&m->text, "def s32 y[n] = sum(k: s32(w[n, k]) * s32(x[k]))\n");
    ll_str_addf(&m->opening,
                "split y.n %d\nsplit y.k 4\nreorder y.n.o y.k.o y.n.i y.k.i\ntensorize y.n.i %s\n",
                lanes[i], row[i]);
    m->target = "cpu:x86-64-v4+avx512vnni";
    return "y";
}

/* Planes of one packed weight, and buffers in panels. */
static const char *packed(maker *m) {
    int B = pick(m, 1, 3), E = 4, P = pick(m, 1, 3), N = 4 * P;
    ll_str_addf(&m->text, "in f64 x[%d]\nin u8 q[%d, %d]\nin f64 d[%d, %d]\n", B * E, N, B * E, N,
                B);
    ll_str_addf(&m->text, "def f64 y[n] = sum(k: x[k] * f64(q[n, k]) * d[n, k / %d])\n", E);
    int panel = B * (4 * 64 + 4 * E * 8);
    ll_str_addf(&m->opening, "pack d W layout(4@64 ...@%d | ...@%d)\n", panel, 4 * 64 + 4 * E * 8);
    ll_str_addf(&m->opening, "pack q W layout(4@%d ...@%d | 4@8 ...@%d; offset %d)\n", 8 * E, panel,
                4 * 64 + 4 * E * 8, chk_below(&m->r, 4) ? 256 : 8 * pick(m, 0, 64));
    ll_str_addf(&m->opening, "layout x layout(%d@%d ...@64)\n", E,
                chk_below(&m->r, 4) ? 64 * B : 64 * pick(m, 1, 3));
    return "y";
}

/* Blocks, threads and warps of a GPU. */
static const char *bound(maker *m) {
    static const char *const where[] = {"block.x", "block.y", "thread.x", "thread.y", "warp"};
    int M = pick(m, 1, 5), N = pick(m, 1, 17), K = pick(m, 1, 9);
    ll_str_addf(&m->text,
                "in f64 x[%d, %d]\nin f64 w[%d, %d]\ndef f64 y[m, n] = sum(k: x[m, k] * w[n, k])\n"
                "def f64 z[m, n] = y[m, n] * 2.0:f64\n",
                M, K, N, K);
    if (chk_below(&m->r, 2))
        ll_str_addf(&m->opening, "split y.n %d\nbind y.n.i thread.x\n", pick(m, 1, 5));
    ll_str_addf(&m->opening, "bind y.m %s\nbind z.m %s\n", where[pick(m, 0, 4)],
                where[pick(m, 0, 4)]);
    m->target = "cuda:sm_80";
    return "z";
}

/* Loops side by side of one extent: `merge`, or `union` of claimed parts. */
static const char *side_by_side(maker *m) {
    int A = pick(m, 1, 9), B = pick(m, 1, 9);
    ll_str_addf(
        &m->text,
        "in s32 x[%d, %d]\ndef s32 a[i, j] = x[i, j] * 3:s32\ndef s32 b[i, j] = x[i, j] + 1:s32\n",
        A, B);
    ll_str_addf(&m->opening, "%s a.i b.i\n", chk_below(&m->r, 2) ? "merge" : "union");
    return "a b";
}

/* Anything: quantised, ragged, gathered, several definitions. */
static const char *generated(maker *m) {
    te_graph *g = te_graph_create();
    uint64_t seed = chk_next(&m->r);
    int size = pick(m, 1, 16);
    gen_graph(g, seed, size, GEN_QUANT | GEN_RAGGED | GEN_SYMBOLIC | GEN_F64);
    te_print(&m->text, g);
    static char root[64];
    snprintf(root, sizeof root, "%s", te_tensor_at(g, te_n_tensors(g) - 1)->name);
    te_graph_destroy(g);
    return root;
}

static const char *(*const makers[])(maker *) = {
    matmul,       matmul_dim, batched,   norm_matmul,   softmax,   chain,
    contraction3, conv,       padded,    ragged,        gather,    blocks,
    generated,    generated,  generated, scaled_blocks, attention, items,
    dots,         packed,     bound,     side_by_side,
};
enum { N_MAKERS = sizeof makers / sizeof *makers };

/* ---- traces ---------------------------------------------------------------------------------- */

typedef struct names {
    const char *loop[MAX_NAMES], *stage[MAX_NAMES], *buf[MAX_NAMES];
    int n_loop, n_stage, n_buf;
} names;

static bool note_loop(lp_stmt *st, void *p) {
    names *n = p;
    if (st->kind == LP_FOR && n->n_loop < MAX_NAMES)
        n->loop[n->n_loop++] = st->u.loop.var->u.axis->name;
    const lp_buf *b = st->kind == LP_STORE ? st->u.store.buf : NULL;
    bool known = !b;
    for (int i = 0; b && i < n->n_stage; i++) known = known || !strcmp(n->stage[i], b->t->name);
    if (!known && n->n_stage < MAX_NAMES) n->stage[n->n_stage++] = b->t->name;
    return true;
}

static void names_of(const sch *s, names *n) {
    *n = (names){.n_loop = 0};
    lp_walk(s->fn->body, note_loop, n);
    for (int i = 0; i < s->fn->n_buf && i < MAX_NAMES; i++)
        n->buf[n->n_buf++] = s->fn->buf[i]->t->name;
}

static const char *any(maker *m, const char *const *list, int n) {
    return n ? list[chk_below(&m->r, n)] : "none";
}

/* Loops below or round a random loop; loops that read a stage: arguments that have a chance. */
typedef struct near {
    const te_tensor *stage;
    const char *loop[MAX_NAMES];
    int n;
    lp_stmt *from;
} near;

static te_ref see(te_ref e, void *p) {
    near *q = p;
    if (te_loads(e, q->stage)) q->stage = NULL;
    return e;
}

static bool reads_below(lp_stmt *st, void *p) {
    lp_each_expr(st, see, p);
    return true;
}

static bool note_reader(lp_stmt *st, void *p) {
    near *q = p, inner = {.stage = q->stage};
    if (st->kind != LP_FOR) return true;
    if (q->stage) {
        lp_walk(st->u.loop.body, reads_below, &inner);
        if (inner.stage) return true;
    }
    if (q->n < MAX_NAMES) q->loop[q->n++] = st->u.loop.var->u.axis->name;
    return true;
}

static bool find_loop(lp_stmt *st, void *p) {
    near *q = p;
    if (st->kind == LP_FOR && !strcmp(st->u.loop.var->u.axis->name, q->loop[0])) q->from = st;
    return true;
}

static const char *below(maker *m, const sch *s, const char *loop) {
    near q = {.loop = {loop}}, in = {.n = 0};
    lp_walk(s->fn->body, find_loop, &q);
    if (q.from) lp_walk(q.from->u.loop.body, note_reader, &in);
    return in.n ? in.loop[chk_below(&m->r, in.n < 3 ? in.n : 3)] : loop;
}

/* The dim that a loop runs over. */
static const char *dim_of(const sch *s, const char *loop) {
    near q = {.loop = {loop}};
    lp_walk(s->fn->body, find_loop, &q);
    te_ref e = q.from ? q.from->u.loop.var->u.axis->extent : NULL;
    return e && e->op == TE_DIM ? e->u.dim->name : "T";
}

static const char *reader(maker *m, const sch *s, const char *stage) {
    near q = {.n = 0};
    for (int i = 0; i < s->fn->n_buf; i++)
        if (!strcmp(s->fn->buf[i]->t->name, stage)) q.stage = s->fn->buf[i]->t;
    if (q.stage) lp_walk(s->fn->body, note_reader, &q);
    return q.n ? q.loop[chk_below(&m->r, q.n)] : "none";
}

static void random_line(maker *m, const sch *s, char *out) {
    static const char *const tails[] = {"", "", "", " tail=clamp", " tail=exact"};
    static const char *const scopes[] = {"reg", "thread", "thread"};
    names n;
    names_of(s, &n);
    const char *a = any(m, n.loop, n.n_loop),
               *b = chk_below(&m->r, 4) ? below(m, s, a) : any(m, n.loop, n.n_loop);
    const char *st = any(m, n.stage, n.n_stage), *by = chk_below(&m->r, 8) ? reader(m, s, st) : a;
    switch (pick(m, 0, 33)) {
    case 29:
        snprintf(out, LINE, "factor %s %s %d", st,
                 a[0] ? strrchr(a, '.') ? strrchr(a, '.') + 1 : a : a, pick(m, 1, 8));
        break;
    case 30: {
        static const char *const where[] = {"block.x", "thread.x", "thread.y", "warp"};
        if (m->target && chk_below(&m->r, 2)) snprintf(out, LINE, "sync");
        else snprintf(out, LINE, "bind %s %s", a, where[pick(m, 0, 3)]);
        break;
    }
    case 31: {
        const lp_buf *buf = s->fn->buf[chk_below(&m->r, s->fn->n_buf)];
        int bits = ll_dtype_bits((ll_dtype)buf->t->dtype), f = pick(m, 1, 4);
        if (buf->t->ndim == 1)
            snprintf(out, LINE, "layout %s layout(%d@%d ...@%d)", buf->t->name, f,
                     bits * pick(m, 1, 2), bits * f * pick(m, 1, 2));
        else
            snprintf(out, LINE, "layout %s layout(...@%d | ...@%d)", buf->t->name,
                     bits * pick(m, 1, 2), bits * pick(m, 1, 20));
        break;
    }
    case 32:
        if (chk_below(&m->r, 3) == 0) { /* 3 does not make signed codes unsigned */
            snprintf(out, LINE, "bias %s 3", any(m, n.buf, n.n_buf));
            break;
        }
        snprintf(out, LINE, "plan %s items_%s %d", a, dim_of(s, a), pick(m, 1, 3));
        break;
    case 33:
        snprintf(out, LINE, "tensorize %s %s", a,
                 chk_below(&m->r, 2) ? "vpdpbusd.512" : "vpmaddwd.256");
        break;
    case 0:
    case 1:
    case 2:
    case 3:
        snprintf(out, LINE, "split %s %d%s", a, pick(m, 1, 6), tails[pick(m, 0, 4)]);
        break;
    case 4:
        snprintf(out, LINE, "fuse %s %s", a, b);
        break;
    case 5:
    case 6:
    case 7:
        snprintf(out, LINE, "reorder %s %s", b, a);
        break;
    case 8: {
        const char *c = below(m, s, b);
        snprintf(out, LINE, "reorder %s %s %s", c, a, b);
        break;
    }
    case 25:
        snprintf(out, LINE, chk_below(&m->r, 2) ? "prologue %s" : "scope %s thread", st);
        break;
    case 26:
        snprintf(out, LINE, "prefetch %s %s %d", any(m, n.buf, n.n_buf), a, 64 * pick(m, 0, 4));
        break;
    case 27:
        snprintf(out, LINE, "opaque %s", a);
        break;
    case 28:
        snprintf(out, LINE, "cache_read %s %s %s thread value", any(m, n.buf, n.n_buf), st, a);
        break;
    case 9:
        snprintf(out, LINE, "fission %s %s.a %s.b", a, a, a);
        break;
    case 10:
    case 24: {
        const char *c = any(m, n.loop, n.n_loop);
        snprintf(out, LINE, "merge %s %s", a, c);
        break;
    }
    case 11:
        snprintf(out, LINE, "vectorize %s", a);
        break;
    case 12:
        snprintf(out, LINE, chk_below(&m->r, 2) ? "parallel %s" : "claim %s", a);
        break;
    case 13:
    case 14:
    case 15:
        snprintf(out, LINE, "at %s %s %s", st, by, scopes[pick(m, 0, 2)]);
        break;
    case 16:
        snprintf(out, LINE, "inline %s", st);
        break;
    case 17:
        snprintf(out, LINE, "cache_write %s %s", st, scopes[pick(m, 0, 2)]);
        break;
    case 18:
        snprintf(out, LINE, "cache_read %s %s %s thread", any(m, n.buf, n.n_buf), st, a);
        break;
    case 19:
        snprintf(out, LINE, "rfactor %s", a);
        break;
    case 20: {
        const char *c = any(m, n.loop, n.n_loop);
        snprintf(out, LINE, "union %s %s", a, c);
        break;
    }
    case 21:
        snprintf(out, LINE, "unswitch %s", a);
        break;
    case 22:
        snprintf(out, LINE, chk_below(&m->r, 2) ? "unit %s" : "unroll %s", a);
        break;
    default:
        snprintf(out, LINE, chk_below(&m->r, 2) ? "rotate %s 2" : "sink %s", a);
        break;
    }
}

/* ---- one case -------------------------------------------------------------------------------- */

typedef struct result {
    long pairs, done, refused, failed, mutated, mutated_refused;
} result;

static long per_prim[64][2]; /* accepted, refused */

static void count(const char *line, bool ok) {
    size_t n = strcspn(line, " ");
    for (int i = 0; i < sch_n_prims() && i < 64; i++)
        if (strlen(sch_prim_at(i)->name) == n && !strncmp(line, sch_prim_at(i)->name, n))
            per_prim[i][ok ? 0 : 1]++;
}

typedef struct bench {
    te_graph *g;
    te_tensor *root[4];
    int n_root;
    lp_func *plain;
    te_graph *plain_graph;
    ll_target target;
} bench;

static const chk_dim dims[] = {{"T", 3}, {"S", 4}, {"U", 8}};
enum { N_DIMS = sizeof dims / sizeof *dims };

static void complain(uint64_t seed, const bench *b, const sch *s, const char *line,
                     const char *what) {
    ll_str text = {0};
    te_print(&text, b->g);
    ll_str_add(&text, "--- trace\n");
    ll_str_add(&text, ll_str_cstr(&s->trace));
    ll_str_addf(&text, "--- `%s`: %s\n", line, what);
    lp_print(&text, s->fn);
    print_error("case --seed %llu\n%s\n", (unsigned long long)seed, ll_str_cstr(&text));
    ll_str_finish(&text);
}

/* As many items for DIM as its rows need when none has more than any `plan` of the trace says. */
static int64_t items_for(const sch *s, const chk_dim *d) {
    char word[32];
    long least = 1 << 20;
    snprintf(word, sizeof word, " items_%s ", d->name);
    for (const char *p = ll_str_cstr(&s->trace); (p = strstr(p, word)); p++) {
        long rows = atol(p + strlen(word));
        if (rows >= 1 && rows < least) least = rows;
    }
    return (d->value + least - 1) / least;
}

static bool right(const bench *b, const sch *s, uint64_t seed, ll_error *err) {
    char name[N_DIMS][32];
    chk_dim all[2 * N_DIMS + 1];
    const char *bias = strstr(ll_str_cstr(&s->trace), "bias q ");
    int n = 2 * N_DIMS;
    if (bias) all[n++] = (chk_dim){"bias.q", atol(bias + 7)};
    for (int i = 0; i < N_DIMS; i++) {
        snprintf(name[i], sizeof name[i], "W.items_%s", dims[i].name);
        all[i] = dims[i];
        all[N_DIMS + i] = (chk_dim){name[i], items_for(s, &dims[i])};
    }
    return chk_oracle(s->fn, b->plain, b->root, b->n_root, all, n, seed, 1e-12, err) == LL_OK;
}

static bool build(bench *b, maker *m, ll_error *err) {
    const char *roots = makers[chk_below(&m->r, N_MAKERS)](m);
    b->g = te_graph_create();
    if (ll_target_parse(m->target ? m->target : "cpu:x86-64-v4", &b->target, err) ||
        te_parse(b->g, ll_str_cstr(&m->text), "case", err))
        return false;
    char copy[32], *save = NULL;
    snprintf(copy, sizeof copy, "%s", roots);
    for (char *r = strtok_r(copy, " ", &save); r; r = strtok_r(NULL, " ", &save))
        b->root[b->n_root++] = te_find(b->g, r);
    b->plain_graph = te_graph_child(b->g);
    b->plain = lp_lower(b->plain_graph, "plain", b->root, b->n_root, NULL, 0, err);
    return b->plain != NULL;
}

/* Replays a trace with one change. */
static bool mutated(const bench *b, maker *m, const char *trace, uint64_t seed, result *out) {
    char line[MAX_LINES][LINE];
    int n = 0;
    ll_error err = {0};
    for (const char *p = trace; *p && n < MAX_LINES; n++) {
        size_t len = strcspn(p, "\n");
        snprintf(line[n], LINE, "%.*s", (int)len, p);
        p += len + (p[len] == '\n');
    }
    if (!n) return true;
    int at = (int)chk_below(&m->r, n), with = (int)chk_below(&m->r, n),
        how = (int)chk_below(&m->r, 4);
    sch *s = sch_create(b->g, "k", b->root, b->n_root, &b->target, &err);
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        const char *now = line[i];
        char edited[LINE];
        if (i == at && how == 0) continue;                                       /* dropped  */
        if (how == 1 && (i == at || i == with)) now = line[i == at ? with : at]; /* exchanged */
        if (i == at && how == 2) { /* a digit changed */
            memcpy(edited, line[i], LINE);
            for (char *c = edited; *c; c++)
                if (*c >= '1' && *c <= '8' && c > edited && c[-1] == ' ') *c = (char)(*c + 1);
            now = edited;
        }
        out->mutated++;
        if (sch_do(s, now))
            out->mutated_refused++;
        else if (!right(b, s, seed, &err)) {
            complain(seed, b, s, now, err.msg);
            out->failed++;
            ok = false;
        }
        if (ok && i == at && how == 3 && sch_do(s, now) == LL_OK &&
            !right(b, s, seed, &err)) { /* doubled */
            complain(seed, b, s, now, err.msg);
            out->failed++;
            ok = false;
        }
    }
    sch_destroy(s);
    return ok;
}

static void next_of(const char **lines, char *out) {
    size_t n = strcspn(*lines, "\n");
    snprintf(out, LINE, "%.*s", (int)n, *lines);
    *lines += n + ((*lines)[n] == '\n');
}

static bool one_case(uint64_t seed, result *out) {
    maker m = {.r = {seed}};
    bench b = {.g = NULL};
    ll_error err = {0};
    bool ok = true;
    if (!build(&b, &m, &err)) {
        print_error("case --seed %llu: %s\n%s", (unsigned long long)seed, err.msg,
                    ll_str_cstr(&m.text));
        out->failed++;
        return false;
    }
    /* Large is correct and slow; definitions that read where a ragged one has no elements mean
     * nothing. */
    if (chk_elements(b.plain, dims, 3) > MAX_ELEMENTS || lp_verify(b.plain, NULL) != LL_OK) {
        ll_str_finish(&m.text);
        ll_str_finish(&m.opening);
        te_graph_destroy(b.plain_graph);
        te_graph_destroy(b.g);
        return true;
    }
    sch *s = sch_create(b.g, "k", b.root, b.n_root, &b.target, &err);
    ll_str before = {0}, after = {0};
    int n = pick(&m, 3, 16);
    const char *opening = ll_str_cstr(&m.opening);
    for (int i = 0; i < n && ok; i++) {
        char line[LINE];
        if (*opening && chk_below(&m.r, 6))
            next_of(&opening, line); /* in order, others between */
        else
            random_line(&m, s, line);
        ll_str_clear(&before);
        lp_print(&before, s->fn);
        ll_code rc = sch_do(s, line);
        out->pairs++;
        count(line, rc == LL_OK);
        if (verbose) print_message("%s: %s\n", line, rc ? s->error.msg : "ok");
        if (rc == LL_OK) {
            out->done++;
            err = (ll_error){0};
            if (right(&b, s, seed, &err)) continue;
            complain(seed, &b, s, line, err.msg);
            ok = false;
        } else {
            out->refused++;
            ll_str_clear(&after);
            lp_print(&after, s->fn);
            ok = rc == LL_NOT_LEGAL || rc == LL_USAGE;
            if (!ok) complain(seed, &b, s, line, s->error.msg);
            if (strcmp(ll_str_cstr(&before), ll_str_cstr(&after))) {
                complain(seed, &b, s, line, "refused, but the tree changed");
                ok = false;
            }
        }
    }
    if (!ok) out->failed++;
    if (ok) {
        sch *again = sch_create(b.g, "k", b.root, b.n_root, &b.target, &err);
        err = (ll_error){0};
        ll_str_clear(&before);
        ll_str_clear(&after);
        ok = sch_replay(again, ll_str_cstr(&s->trace), &err) == LL_OK;
        lp_print(&before, s->fn);
        lp_print(&after, again->fn);
        if (!ok || strcmp(ll_str_cstr(&before), ll_str_cstr(&after))) {
            complain(seed, &b, again, "replay",
                     ok ? "a replayed trace gives another tree" : err.msg);
            out->failed++;
            ok = false;
        }
        sch_destroy(again);
    }
    if (ok) ok = mutated(&b, &m, ll_str_cstr(&s->trace), seed, out);
    ll_str_finish(&before);
    ll_str_finish(&after);
    ll_str_finish(&m.text);
    ll_str_finish(&m.opening);
    sch_destroy(s);
    te_graph_destroy(b.plain_graph);
    te_graph_destroy(b.g);
    return ok;
}

static void random_traces_are_refused_or_right(void **state) {
    result r = {0};
    for (uint64_t seed = first_seed; r.pairs < n_cases && r.failed < 5; seed++) one_case(seed, &r);
    print_message("%ld pairs: %ld done, %ld refused, %ld wrong; mutated: %ld, %ld refused\n",
                  r.pairs, r.done, r.refused, r.failed, r.mutated, r.mutated_refused);
    for (int i = 0; i < sch_n_prims() && i < 64; i++)
        print_message("  %-12s %6ld done %6ld refused\n", sch_prim_at(i)->name, per_prim[i][0],
                      per_prim[i][1]);
    assert_int_equal(r.failed, 0);
    for (int i = 0; n_cases >= 2000 && i < sch_n_prims() && i < 64; i++)
        if (!per_prim[i][0] || !per_prim[i][1])
            fail_msg("%s was never %s", sch_prim_at(i)->name, per_prim[i][0] ? "refused" : "done");
    assert_true(n_cases < 2000 ||
                r.done * 6 > r.pairs); /* the generator must not only produce refusals */
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--cases") && i + 1 < argc)
            n_cases = atol(argv[++i]);
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            first_seed = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--verbose"))
            verbose = true;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_traces_are_refused_or_right)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

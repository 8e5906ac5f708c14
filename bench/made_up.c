/* made_up.c: the speed of expressions that no model has, beside the nearest that models have.
 *
 *     made_up FOLDER [--target T] [--mb N] [--threads N] [--rounds N] [--only WORD] [--loops]
 *
 * FOLDER (bench/made_up) holds one file a pair:
 *
 *     what it is
 *     --- rows N          rows where there are many (T); there is also one row, but for an
 *                         expression whose rows read their neighbours ("[T +")
 *     --- keys NAME       a pool of keys, laid out as a module lays out its K cache; `--- values`
 *     --- made up y z     definitions that follow, and the results wanted of them
 *     --- shipped y z     the same for what models have
 *
 * Both are cut by the fusion, scheduled by the rules and packed as a model's are. A round calls
 * every kernel of one, then every kernel of the other, so that both see the same machine. A line
 * gives the best round of each: the time of all its kernels, operations per second (two for each
 * term of each sum in its text, ranges to their bound) and bytes per second (every parameter of
 * every kernel once), the kernels' classes, and the ratio of operations per second. Weights come
 * from memory with one row and from the cache with many; index inputs count up to their end. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "compile/site.h"
#include "compile/splitk.h"
#include "measure.h"

enum { MAX_WANTED = 8, MAX_POOLS = 4, MAX_FILES = 64, MAX_KERNELS = 8, MAX_ITEMS = 256 };
enum { PARTS = 4, PAGE = 32, ACT_BLOCK = 32, MOST_ROWS = 512, WANTED_PERCENT = 50 };

typedef struct options {
    const char *folder, *target_name, *only;
    ll_target target;
    int mb, threads, rounds;
    bool loops;
} options;

typedef struct pool {
    char name[64];
    bool keys;
} pool;

typedef struct pair {
    char *text;
    int64_t rows;
    pool pool[MAX_POOLS];
    int n_pool;
    char *te[2], *wanted[2]; /* made up, shipped */
} pair;

typedef struct side {
    const options *o;
    const pair *p;
    bool one_row;
    te_graph *g;
    bench_kernel *k[MAX_KERNELS];
    int n, items;
    int32_t item[MAX_ITEMS][8];
    char classes[128];
    double ops, best;
    size_t bytes;
} side;

/* ---- files ---- */

static char *line_end(char *p)
{
    char *e = strchr(p, '\n');
    if (!e) bench_die("a line without an end");
    *e = 0;
    return e + 1;
}

static void read_pair(pair *p, const char *path)
{
    void *text;
    size_t n;
    ll_error err = {0};
    if (ll_file_read(path, 1 << 16, &text, &n, &err) != LL_OK) bench_die(err.msg);
    *p = (pair){.text = text};
    for (char *at = line_end(text), *next; (at = strstr(at, "--- ")); at = next) {
        at[-1] = 0; /* the end of definitions before */
        next = line_end(at);
        pool *q = &p->pool[p->n_pool];
        if (sscanf(at, "--- rows %ld", &p->rows) == 1) continue;
        if (p->n_pool < MAX_POOLS && (sscanf(at, "--- keys %63s", q->name) == 1 ||
                                      sscanf(at, "--- values %63s", q->name) == 1)) {
            q->keys = at[4] == 'k';
            p->n_pool++;
        } else if (!strncmp(at, "--- made up ", 12)) {
            p->te[0] = next, p->wanted[0] = at + 12;
        } else if (!strncmp(at, "--- shipped ", 12)) {
            p->te[1] = next, p->wanted[1] = at + 12;
        } else {
            bench_die("rows, keys, values, made up and shipped are what a file of pairs has");
        }
    }
    if (!p->te[0] || !p->te[1] || p->rows < 1 || p->rows > MOST_ROWS)
        bench_die("a file of pairs wants rows (1 to 512), a made up and a shipped side");
}

/* Every word T becomes 1. */
static char *with_one_row(char *text)
{
    for (char *p = text; *p; p++) {
        bool before = p > text && (isalnum((unsigned char)p[-1]) || p[-1] == '_');
        if (*p == 'T' && !before && !isalnum((unsigned char)p[1])) *p = '1';
    }
    return text;
}

/* ---- sizes and contents ---- */

static int64_t dim(void *user, const char *name)
{
    const side *s = user;
    return !strcmp(name, "W.items") ? s->items : s->p->rows;
}

/* Index inputs count up: the last values of their range, so that every row sees most keys. */
static bool fill(void *user, const te_tensor *t, void *p, size_t n)
{
    const side *s = user;
    if (!strcmp(t->name, "items")) {
        memcpy(p, s->item, sizeof s->item[0] * (size_t)s->items);
        return true;
    }
    if (!t->hi || t->hi->op != TE_INT) return false;
    int64_t count = (int64_t)(n * 8) / ll_dtype_bits((ll_dtype)t->dtype), hi = t->hi->u.i;
    for (int64_t i = 0; i < count; i++) {
        int64_t v = count <= hi ? hi - count + i : i % hi;
        te_value_store((ll_dtype)t->dtype, p, (size_t)i, (te_value){.i = v});
    }
    return true;
}

/* Rows of one sequence in work items, as the engine makes them. */
static void make_items(side *s)
{
    te_tensor *pos = te_find(s->g, "pos");
    if (s->one_row || !pos) return;
    int64_t first = pos->hi->u.i - s->p->rows;
    for (int r = 0; r < s->p->rows; r += CC_PLAN_ROWS) {
        int lo = (int)first + r;
        int32_t item[8] = {0, r, CC_PLAN_ROWS, 0, lo + CC_PLAN_ROWS, lo, 0, 1};
        memcpy(s->item[s->items++], item, sizeof item);
    }
}

static double extent(const side *s, te_ref axis)
{
    te_ref e = axis->u.axis->max ? axis->u.axis->max : axis->u.axis->extent;
    if (e->op == TE_INT) return (double)e->u.i;
    if (e->op == TE_DIM) return (double)s->p->rows;
    bench_die("an axis is wanted whose size is a number or T");
}

static double operations(const side *s)
{
    double all = 0;
    for (size_t i = 0; i < te_n_tensors(s->g); i++) {
        te_tensor *t = te_tensor_at(s->g, i);
        if (t->kind != TE_DEF || t->body->op != TE_SUM) continue;
        double n = 2;
        for (int a = 0; a < t->n_axis; a++) n *= extent(s, t->axis[a]);
        for (int a = 1; a < t->body->n; a++) n *= extent(s, t->body->src[a]);
        all += n;
    }
    return all;
}

/* ---- kernels ---- */

static const char *pool_layout(side *s, const pool *p, te_tensor *t)
{
    long long B = t->shape[1]->u.i, H = t->shape[2]->u.i, D = t->shape[3]->u.i,
              b = ll_dtype_bits((ll_dtype)t->dtype), L = cc_lanes(&s->o->target);
    ll_arena *a = te_arena(s->g);
    if (p->keys)
        return ll_sprintf(a, "layout(...@%lld | %lld@%lld ...@%lld | ...@%lld | ...@%lld)",
                          H * B * D * b, L, b, L * D * b, B * D * b, L * b);
    return ll_sprintf(a, "layout(...@%lld | ...@%lld | ...@%lld | ...@%lld)", H * B * D * b, D * b,
                      B * D * b, b);
}

static bool reads(const cc_kernel *c, const te_tensor *t)
{
    for (int i = 0; i < c->n_stage; i++)
        if (te_loads(c->stage[i].t->body, t)) return true;
    return false;
}

static void add_kernel(side *s, const cc_kernel *c)
{
    static const char *const class[] = {"matmul", "ragged", "rows"};
    ll_error err = {0};
    cc_pool_layout layout[MAX_POOLS];
    cc_site_options o = {.target = &s->o->target,
                         .act_block = ACT_BLOCK,
                         .one_row = s->one_row,
                         .min_rows = s->one_row ? 1 : CC_PLAN_ROWS,
                         .max_rows = s->one_row ? 1 : MOST_ROWS,
                         .page = PAGE,
                         .items = s->one_row ? NULL : "items",
                         .pool = layout};
    for (int i = 0; i < s->p->n_pool; i++) {
        te_tensor *t = te_find(s->g, s->p->pool[i].name);
        if (t && reads(c, t))
            layout[o.n_pool++] = (cc_pool_layout){t->name, pool_layout(s, &s->p->pool[i], t)};
    }
    if (s->n == MAX_KERNELS) bench_die("more than 8 kernels");
    sch *k = cc_site_schedule(s->g, c, ll_sprintf(te_arena(s->g), "k%d", s->n), &o, &err);
    if (!k) bench_die(err.msg);
    if (s->o->loops) {
        ll_str text = {0};
        lp_print(&text, k->fn);
        printf("%s\n", ll_str_cstr(&text));
        ll_str_finish(&text);
    }
    s->k[s->n] = bench_open(&(bench_call){.fn = k->fn,
                                          .target = &s->o->target,
                                          .mb = s->one_row ? s->o->mb : 0,
                                          .dim = dim,
                                          .fill = fill,
                                          .user = s});
    s->bytes += bench_bytes(s->k[s->n++]);
    size_t at = strlen(s->classes);
    snprintf(s->classes + at, sizeof s->classes - at, "%s%s", at ? " " : "", class[c->class]);
    sch_destroy(k);
}

static void open_side(side *s, const options *o, const pair *p, int which, bool one_row)
{
    *s = (side){.o = o, .p = p, .one_row = one_row, .g = te_graph_create(), .best = 1e9};
    ll_arena *a = te_arena(s->g);
    ll_error err = {0};
    const char *text = one_row ? with_one_row(ll_strdup(a, p->te[which]))
                               : ll_sprintf(a, "dim T in %d..%d multiple %d\n%s", CC_PLAN_ROWS,
                                            MOST_ROWS, CC_PLAN_ROWS, p->te[which]);
    if (te_parse(s->g, text, p->text, &err) != LL_OK) bench_die(err.msg);
    te_tensor *wanted[MAX_WANTED];
    char word[64];
    int n = 0, used;
    for (const char *w = p->wanted[which]; sscanf(w, " %63s%n", word, &used) == 1; w += used) {
        if (n == MAX_WANTED || !(wanted[n++] = te_find(s->g, word)))
            bench_die("a result is wanted that is not defined");
    }
    s->ops = operations(s);
    make_items(s);
    cc_fusion f;
    if ((one_row && cc_splitk(s->g, wanted, n, PARTS, PAGE, &err) != LL_OK) ||
        cc_fuse(s->g, wanted, n, one_row, CC_PANEL_VECTORS * cc_lanes(&o->target), &f, &err) !=
            LL_OK)
        bench_die(err.msg);
    for (int i = 0; i < f.n_kernel; i++) add_kernel(s, f.kernel[i]);
}

static void close_side(side *s)
{
    for (int i = 0; i < s->n; i++) bench_close(s->k[i]);
    te_graph_destroy(s->g);
}

static void round_of(side *s)
{
    double t = 0;
    for (int i = 0; i < s->n; i++) t += bench_round(s->k[i]);
    if (t < s->best) s->best = t;
}

/* ---- the table ---- */

static void print_side(const char *name, const side *s)
{
    printf("%-22s %4ld  %-9.1f %7.1f Gop/s %6.1f GB/s", name, s->one_row ? 1 : (long)s->p->rows,
           s->best * 1e6, s->ops / s->best / 1e9, (double)s->bytes / s->best / 1e9);
}

static bool run_pair(const options *o, const pair *p, const char *name, bool one_row)
{
    side s[2];
    for (int i = 0; i < 2; i++) open_side(&s[i], o, p, i, one_row);
    for (int r = 0; r < o->rounds; r++)
        for (int i = 0; i < 2; i++) round_of(&s[i]);
    double ratio = s[0].ops / s[0].best / (s[1].ops / s[1].best);
    bool enough = ratio * 100 >= WANTED_PERCENT;
    print_side(name, &s[0]);
    printf("  ratio %.2f%s  %s\n", ratio, enough ? "" : " LOW", s[0].classes);
    print_side("  shipped", &s[1]);
    printf("              %s\n", s[1].classes);
    fflush(stdout);
    for (int i = 0; i < 2; i++) close_side(&s[i]);
    return enough;
}

static options read_options(int argc, char **argv)
{
    options o = {.target_name = "cpu", .mb = 128, .threads = 2, .rounds = 7};
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--target"))
            o.target_name = next, i++;
        else if (!strcmp(argv[i], "--mb"))
            o.mb = atoi(next), i++;
        else if (!strcmp(argv[i], "--threads"))
            o.threads = atoi(next), i++;
        else if (!strcmp(argv[i], "--rounds"))
            o.rounds = atoi(next), i++;
        else if (!strcmp(argv[i], "--only"))
            o.only = next, i++;
        else if (!strcmp(argv[i], "--loops"))
            o.loops = true;
        else
            o.folder = argv[i];
    }
    ll_error err = {0};
    if (!o.folder || o.rounds < 1 || o.mb < 0)
        bench_die("usage: made_up FOLDER [--target T] [--mb N] [--threads N] [--rounds N] "
                  "[--only WORD] [--loops]");
    if (ll_target_parse(o.target_name, &o.target, &err) != LL_OK) bench_die(err.msg);
    return o;
}

static int a_case(const struct dirent *e) { return strstr(e->d_name, ".txt") != NULL; }

int main(int argc, char **argv)
{
    options o = read_options(argc, argv);
    struct dirent **file;
    int n = scandir(o.folder, &file, a_case, alphasort);
    bool enough = true;
    if (n < 1) bench_die("no pairs in the folder");
    bench_threads(o.threads);
    printf("%s, %d threads\n%-22s rows  us\n", o.target.name, o.threads, "expression");
    for (int i = 0; i < n; i++) {
        char path[4096];
        const char *name = file[i]->d_name;
        snprintf(path, sizeof path, "%s/%s", o.folder, name);
        if (o.only && !strstr(name, o.only)) continue;
        pair p;
        read_pair(&p, path);
        if (!strstr(p.te[0], "[T +")) enough = run_pair(&o, &p, name, true) && enough;
        enough = run_pair(&o, &p, name, false) && enough;
        free(p.text);
    }
    return enough ? 0 : 1;
}

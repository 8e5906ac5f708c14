/* quant.c: reads the rows of quant.def, and rows made at run time, into te_quant, and builds
 * their expressions. A row is checked when it is made: planes that cover the block, texts that
 * parse, types. */
#include "te/quant.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "te/internal.h"

/* ---- texts -------------------------------------------------------------------------------- */

static const char *skip(const char *s)
{
    while (*s == ' ' || *s == '\n' || *s == ';') s++;
    return s;
}

static size_t word(const char *s)
{
    size_t n = 0;
    while ((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= 'A' && s[n] <= 'Z') ||
           (s[n] >= '0' && s[n] <= '9') || s[n] == '_')
        n++;
    return n;
}

/* "f16 d[1]; u4 q[32]" */
static ll_code read_planes(ll_arena *a, te_quant *q, const char *text, ll_error *err)
{
    for (const char *s = skip(text); *s; s = skip(s)) {
        te_plane *p = &q->plane[q->n_plane];
        if (q->n_plane == TE_MAX_PLANE)
            return ll_fail(err, LL_BAD_INPUT, "%s: more than %d planes", q->name, TE_MAX_PLANE);
        size_t n = word(s);
        const char *type = ll_strndup(a, s, n);
        if (!ll_dtype_parse(type, &p->dtype))
            return ll_fail(err, LL_BAD_INPUT, "%s: plane %d: no type `%s`", q->name, q->n_plane,
                           type);
        s = skip(s + n);
        n = word(s);
        p->name = ll_strndup(a, s, n);
        char *end;
        long count = s[n] == '[' ? strtol(s + n + 1, &end, 10) : 0;
        if (!te_is_name(p->name) || count < 1 || *end != ']' || q->block % count != 0)
            return ll_fail(err, LL_BAD_INPUT,
                           "%s: plane %d: wanted `type name[count]`, count a divisor of %d",
                           q->name, q->n_plane, q->block);
        p->count = (int)count;
        q->n_plane++;
        s = end + 1;
    }
    return q->n_plane ? LL_OK : ll_fail(err, LL_BAD_INPUT, "%s: no planes", q->name);
}

/* "d = ...; q = ..." */
static ll_code read_from_file(ll_arena *a, te_quant *q, const char *text, ll_error *err)
{
    for (const char *s = skip(text); *s; s = skip(s)) {
        size_t n = word(s), len = strcspn(s, ";");
        const char *eq = memchr(s, '=', len);
        int i = 0;
        while (i < q->n_plane &&
               (strlen(q->plane[i].name) != n || memcmp(q->plane[i].name, s, n) != 0))
            i++;
        if (i == q->n_plane || !eq)
            return ll_fail(err, LL_BAD_INPUT, "%s: from_file: no plane `%.*s`", q->name, (int)n, s);
        q->from_file[i] = ll_strndup(a, eq + 1, len - (size_t)(eq + 1 - s));
        s += len;
    }
    for (int i = 0; i < q->n_plane; i++)
        if (!q->from_file[i])
            return ll_fail(err, LL_BAD_INPUT, "%s: from_file says nothing of plane %s", q->name,
                           q->plane[i].name);
    return LL_OK;
}

/* Builds every expression once, in a graph of its own. */
static ll_code check(const te_quant *q, ll_error *err)
{
    te_graph *before = te_graph_use(NULL), *g = te_graph_create();
    if (!g) return ll_fail(err, LL_NO_SPACE, "no memory for a graph");
    te_tensor *bytes = te_input(g, "bytes", LL_U8, te_int(g, 1), te_int(g, 2), te_int(g, q->bytes));
    te_tensor *w = te_input_quant(g, "w", q, te_int(g, 1), te_int(g, 2 * (int64_t)q->block));
    te_ref zero = te_int(g, 0), k = te_axis(g, "k", te_int(g, 2 * (int64_t)q->block));
    ll_code code = LL_OK;
    for (int i = 0; i < q->n_plane && !te_error(g); i++) {
        te_ref at = te_axis(g, "i", te_int(g, 2 * (int64_t)q->plane[i].count));
        te_ref v = te_quant_from_file(g, q, i, bytes, zero, at);
        if (!te_is_poison(v) && v->dtype != q->plane[i].dtype)
            te_fail(g, LL_BAD_INPUT, "from_file of plane %s is %s, wanted %s", q->plane[i].name,
                    ll_dtype_name((ll_dtype)v->dtype), ll_dtype_name(q->plane[i].dtype));
    }
    te_ref v = te_error(g) || q->block == 1 ? NULL : te_quant_value(w, zero, k);
    if (v && !te_is_poison(v) && v->dtype != LL_F32)
        te_fail(g, LL_BAD_INPUT, "value is %s, wanted f32", ll_dtype_name((ll_dtype)v->dtype));
    if (te_error(g)) code = ll_fail(err, LL_BAD_INPUT, "%s: %s", q->name, te_error(g)->msg);
    te_graph_destroy(g);
    te_graph_use(before);
    return code;
}

static ll_code read_row(ll_arena *a, te_quant *q, const char *planes, const char *from_file,
                        ll_error *err)
{
    if (q->block < 1 || q->bytes < 1)
        return ll_fail(err, LL_BAD_INPUT, "%s: block %d of %d bytes", q->name, q->block, q->bytes);
    LL_TRY(read_planes(a, q, planes, err));
    LL_TRY(read_from_file(a, q, from_file, err));
    return check(q, err);
}

const te_quant *te_quant_make(ll_arena *arena, const char *name, int block, int bytes,
                              const char *planes, const char *from_file, const char *value,
                              ll_error *err)
{
    te_quant *q = LL_NEW(arena, te_quant);
    *q = (te_quant){.name = ll_strdup(arena, name), .gguf_id = -1, .block = block, .bytes = bytes};
    q->value = ll_strdup(arena, value);
    return read_row(arena, q, planes, from_file, err) == LL_OK ? q : NULL;
}

/* ---- the table ---------------------------------------------------------------------------- */

static te_quant rows[] = {
#define QUANT(name_, id, block_, bytes_, planes, from_file_, value_) \
    {.name = #name_, .gguf_id = id, .block = block_, .bytes = bytes_, .value = value_},
#include "te/quant.def"
#undef QUANT
};
enum { N_ROWS = sizeof rows / sizeof *rows };
static const struct { const char *planes, *from_file; } texts[] = {
#define QUANT(name, id, block, bytes, planes_, from_file_, value) {planes_, from_file_},
#include "te/quant.def"
#undef QUANT
};

static ll_arena table_arena;
static ll_error table_error;

static void read_table(void)
{
    ll_arena_init(&table_arena);
    for (int i = 0; i < N_ROWS; i++)
        if (read_row(&table_arena, &rows[i], texts[i].planes, texts[i].from_file, &table_error) !=
            LL_OK)
            rows[i].n_plane = 0;
}

static void ready(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_table);
}

int te_n_quants(void) { return N_ROWS; }

const te_quant *te_quant_at(int i)
{
    ready();
    return i >= 0 && i < N_ROWS && rows[i].n_plane ? &rows[i] : NULL;
}

const te_quant *te_quant_by_name(const char *name)
{
    for (int i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].name, name) == 0) return te_quant_at(i);
    return NULL;
}

const te_quant *te_quant_by_gguf(int id)
{
    for (int i = 0; i < N_ROWS; i++)
        if (rows[i].gguf_id == id) return te_quant_at(i);
    return NULL;
}

/* ---- expressions -------------------------------------------------------------------------- */

te_ref te_quant_value(te_tensor *w, te_ref n, te_ref k)
{
    te_scope scope[TE_MAX_PLANE];
    ll_error err = {0};
    te_graph *g = te_younger(te_younger(w->g, n->g), k->g);
    const te_quant *q = w->quant;
    if (!g || !q) return te_fail(w->g, LL_USAGE, "%s: no quantised input of this graph", w->name);
    g = te_home(g);
    for (int i = 0; i < q->n_plane; i++) {
        te_ref at[2] = {n, te_divi(k, q->block / q->plane[i].count)};
        scope[i] = (te_scope){q->plane[i].name, te_load(w->plane[i], at, 2)};
        if (te_is_poison(scope[i].value)) return scope[i].value;
    }
    te_ref v = te_parse_expr(g, q->value, scope, q->n_plane, &err);
    return v ? v : te_fail(g, LL_BAD_INPUT, "%s: value: %s", q->name, err.msg);
}

te_ref te_quant_from_file(te_graph *g, const te_quant *q, int plane, te_tensor *bytes, te_ref n,
                          te_ref i)
{
    int64_t count = q->plane[plane].count;
    te_scope scope = {"i", te_modi(i, count)};
    te_bytes b = {.name = "b", .t = bytes, .row = {n, te_divi(i, count)}};
    ll_error err = {0};
    te_ref v = te_parse_with(g, q->from_file[plane], &scope, 1, &b, &err);
    return v ? v
             : te_fail(g, LL_BAD_INPUT, "%s: from_file of %s: %s", q->name, q->plane[plane].name,
                       err.msg);
}

/* loop_parse.c: the text of loop_print.c back to the same tree. One pass over the text: statements
 * are told by their first word, expressions are cut out up to the next mark that cannot stand in
 * one and read by te.
 *
 * Tensors are found in the graph by name when type and shape agree (so a text can be read into the
 * graph of its definitions), otherwise made as inputs of it. Everything that the printer cannot
 * have written is refused with LL_BAD_INPUT "FILE:LINE:COLUMN: sentence"; the text may also hold
 * comments (# to the end of the line) and any white space between marks. Nesting is limited to
 * MAX_DEPTH. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "schedule/intrin.h"
#include "schedule/loop.h"
#include "schedule/loop_text.h"
#include "te/quant.h"

enum { MAX_DEPTH = 200, MAX_NAME = 200, MAX_PARAM = 512 };

typedef struct parser {
    te_graph *g;
    lp_func *f;
    const char *all, *p, *file;
    ll_error *err;
    bool ok;
    int depth;
    const char
        *whole[MAX_PARAM]; /* of parameters that lie within another: its name's place in the text */
    te_scope *scope;
    int n_scope, cap_scope;
} parser;

/* ---- characters and words -------------------------------------------------------------------- */

static void fail_at(parser *w, const char *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void fail_at(parser *w, const char *at, const char *fmt, ...)
{
    if (!w->ok) return;
    w->ok = false;
    int line = 1, column = 1;
    for (const char *c = w->all; c < at; c++) {
        column = *c == '\n' ? 1 : column + 1;
        line += *c == '\n';
    }
    ll_error e = {0};
    va_list ap;
    va_start(ap, fmt);
    ll_vfail(&e, LL_BAD_INPUT, fmt, ap);
    va_end(ap);
    ll_fail(w->err, LL_BAD_INPUT, "%s:%d:%d: %.900s", w->file, line, column, e.msg);
}

static void skip(parser *w)
{
    for (;;) {
        while (isspace((unsigned char)*w->p)) w->p++;
        if (*w->p != '#') return;
        while (*w->p && *w->p != '\n') w->p++;
    }
}

static bool name_char(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.'; }

/* Takes the mark or word `s` when it is next. */
static bool take(parser *w, const char *s)
{
    skip(w);
    size_t n = strlen(s);
    if (!w->ok || strncmp(w->p, s, n) != 0) return false;
    if (isalnum((unsigned char)s[n - 1]) && name_char(w->p[n])) return false;
    w->p += n;
    return true;
}

static void want(parser *w, const char *s)
{
    if (!take(w, s)) fail_at(w, w->p, "wanted \"%s\", found \"%.20s\"", s, w->p);
}

static const char *name(parser *w)
{
    skip(w);
    const char *start = w->p;
    while (name_char(*w->p)) w->p++;
    size_t n = (size_t)(w->p - start);
    if (n == 0 || n > MAX_NAME) fail_at(w, start, "wanted a name, found \"%.20s\"", start);
    return ll_strndup(te_arena(w->g), start, n);
}

static int64_t number(parser *w, int64_t lo, int64_t hi)
{
    skip(w);
    char *end;
    long long v = strtoll(w->p, &end, 10);
    if (end == w->p || v < lo || v > hi) {
        fail_at(w, w->p, "wanted a number in %lld..%lld", (long long)lo, (long long)hi);
        return lo;
    }
    w->p = end;
    return v;
}

/* ---- expressions ----------------------------------------------------------------------------- */

static bool stops(const char *p, const char *const *stop)
{
    for (; stop && *stop; stop++)
        if (strncmp(p, *stop, strlen(*stop)) == 0) return true;
    return false;
}

/* The expression up to one of `stop` outside of brackets, a brace, a comment, an annotation or the
 * line's end. */
static te_ref expr(parser *w, const char *const *stop)
{
    while (*w->p == ' ' || *w->p == '\n') w->p++;
    const char *start = w->p;
    int depth = 0;
    for (; *w->p && !strchr("{}#\n@", *w->p); w->p++) {
        if (depth == 0 && stops(w->p, stop)) break;
        if (*w->p == '(' || *w->p == '[') depth++;
        if ((*w->p == ')' || *w->p == ']') && depth-- == 0) break;
    }
    char *text = ll_strndup(te_arena(w->g), start, (size_t)(w->p - start));
    ll_error e = {0};
    te_ref v = w->ok ? te_parse_expr(w->g, text, w->scope, w->n_scope, &e) : NULL;
    if (v && !te_is_poison(v)) return v;
    fail_at(w, start, "\"%.100s\" is no expression: %.300s", text, e.msg);
    return te_int(w->g, 0);
}

static const char *const index_ends[] = {",", "]", " +:", NULL};

/* `[a, b, c]` with n entries. */
static void indices(parser *w, te_ref *idx, int n)
{
    want(w, "[");
    for (int i = 0; i < n && w->ok; i++) {
        if (i) want(w, ",");
        idx[i] = expr(w, index_ends);
    }
    want(w, "]");
}

static void push(parser *w, const char *s, te_ref value)
{
    if (w->n_scope == w->cap_scope) {
        int cap = w->cap_scope ? w->cap_scope * 2 : 32;
        te_scope *more = LL_NEW_N(te_arena(w->g), te_scope, cap);
        if (w->n_scope) memcpy(more, w->scope, sizeof *more * (size_t)w->n_scope);
        w->scope = more;
        w->cap_scope = cap;
    }
    w->scope[w->n_scope++] = (te_scope){s, value};
}

/* ---- buffers --------------------------------------------------------------------------------- */

static lp_buf *buf_named(parser *w, const char *s)
{
    for (int i = 0; i < w->f->n_buf; i++)
        if (strcmp(w->f->buf[i]->t->name, s) == 0) return w->f->buf[i];
    return NULL;
}

static lp_buf *buf(parser *w)
{
    skip(w);
    const char *at = w->p, *s = name(w);
    lp_buf *b = w->ok ? buf_named(w, s) : NULL;
    if (!b) fail_at(w, at, "no buffer is called \"%.60s\"", s);
    return b;
}

typedef struct shape {
    ll_dtype t;
    const te_quant *q;
    const char *name;
    te_ref dim[TE_MAX_DIM];
    int n;
} shape;

static void read_shape(parser *w, shape *s)
{
    skip(w);
    const char *at = w->p, *type = name(w);
    if (w->ok && !ll_dtype_parse(type, &s->t) && !(s->q = te_quant_by_name(type)))
        fail_at(w, at, "no type is called \"%.60s\"", type);
    skip(w);
    at = w->p;
    s->name = name(w);
    if (w->ok && buf_named(w, s->name)) fail_at(w, at, "a second buffer called %s", s->name);
    want(w, "[");
    while (w->ok && !take(w, "]")) {
        if (s->n == TE_MAX_DIM) fail_at(w, w->p, "more than %d dimensions", TE_MAX_DIM);
        else if (s->n) want(w, ",");
        if (w->ok) s->dim[s->n++] = expr(w, index_ends);
    }
}

static bool fits(const te_tensor *t, const shape *s)
{
    if (t->ndim != s->n || t->quant != s->q || (!s->q && t->dtype != s->t)) return false;
    for (int i = 0; i < s->n; i++)
        if (!te_prove_eq(t->shape[i], s->dim[i])) return false;
    return true;
}

static te_tensor *tensor_of(parser *w, const shape *s, te_ref lo, te_ref hi)
{
    te_tensor *t = te_find(w->g, s->name);
    if (t && fits(t, s)) return t;
    if (t) {
        fail_at(w, w->p, "the graph has another tensor called %s", s->name);
        return NULL;
    }
    if (s->q) return te_input_quant(w->g, s->name, s->q, s->dim[0], s->dim[1]);
    if (lo) return te_input_index(w->g, s->name, s->t, lo, hi, s->dim, s->n);
    return te_input_(w->g, s->name, s->t, s->dim, s->n);
}

static const lp_layout *layout(parser *w, int ndim)
{
    const char *start = w->p - strlen("layout(");
    for (int depth = 1; *w->p && depth; w->p++) depth += (*w->p == '(') - (*w->p == ')');
    char *text = ll_strndup(te_arena(w->g), start, (size_t)(w->p - start));
    ll_error e = {0};
    const lp_layout *l = lp_layout_parse(w->g, text, ndim, &e);
    if (!l) fail_at(w, start, "%s", e.msg);
    return l;
}

/* The whole may be a parameter that comes later: resolve_within finds it. */
static void read_within(parser *w, lp_buf *b)
{
    if (b->param < 0) {
        b->within = buf(w);
        return;
    }
    skip(w);
    w->whole[b->param] = w->p;
    name(w);
}

static void resolve_within(parser *w)
{
    const char *end = w->p;
    for (int i = 0; i < w->f->n_param && w->ok; i++) {
        if (!w->whole[i]) continue;
        w->p = w->whole[i];
        w->f->param[i]->within = buf(w);
        if (w->ok && w->f->param[i]->within == w->f->param[i])
            fail_at(w, w->p, "a buffer within itself");
    }
    w->p = end;
}

static const char *const range_dots[] = {"..", NULL};
static const char *const range_ends[] = {" within ", " align ", " layout(", ",", " weight", NULL};

/* `f16 A[M, K] in lo..hi within W align 16 layout(...)`; param: how it is passed, or NULL for an
 * alloc. */
static lp_buf *buffer(parser *w, const char *way, lp_scope scope)
{
    shape s = {0};
    read_shape(w, &s);
    te_ref lo = NULL, hi = NULL;
    if (take(w, "in ")) {
        lo = expr(w, range_dots);
        want(w, "..");
        hi = expr(w, range_ends);
    }
    if (!w->ok) return NULL;
    if (s.q && s.n != 2) fail_at(w, w->p, "%s is quantised: it has 2 dimensions", s.name);
    te_tensor *t = w->ok ? tensor_of(w, &s, lo, hi) : NULL;
    const ll_error *e = te_error(w->g);
    if (e) fail_at(w, w->p, "%s: %.400s", s.name, e->msg);
    if (!w->ok || !t) return NULL;
    lp_buf *b;
    if (way) {
        bool out = strcmp(way, "out") == 0, both = strcmp(way, "inout") == 0;
        if (strcmp(way, "weight") == 0) te_weight(t);
        b = lp_param_add(w->f, t, out || both);
        b->given = !out;
    } else {
        b = lp_buf_add(w->f, t, scope, NULL);
    }
    if (take(w, "within")) read_within(w, b);
    if (take(w, "align")) b->align = (int)number(w, 1, 1 << 20);
    if (take(w, "layout(")) b->layout = layout(w, t->ndim);
    return b;
}

/* ---- statements ------------------------------------------------------------------------------ */

static lp_stmt *list(parser *w);

static lp_stmt *new_stmt(parser *w, lp_kind kind)
{
    lp_stmt *s = LL_NEW(te_arena(w->g), lp_stmt);
    s->kind = kind;
    return s;
}

/* What stands behind `{`, up to and with its `}`. */
static lp_stmt *block(parser *w)
{
    int scope = w->n_scope;
    want(w, "{");
    if (++w->depth > MAX_DEPTH) fail_at(w, w->p, "nested deeper than %d", MAX_DEPTH);
    lp_stmt *s = w->ok ? list(w) : NULL;
    w->depth--;
    want(w, "}");
    w->n_scope = scope;
    return s;
}

static void annotation(parser *w, lp_stmt *s)
{
    skip(w);
    const char *at = w->p, *a = name(w);
    if (!w->ok) return;
    if (strcmp(a, "opaque") == 0) {
        s->u.loop.opaque = true;
        return;
    }
    for (int i = 1; i < LP_N_HOW; i++)
        if (strcmp(a, lp_how_text[i]) == 0) {
            s->u.loop.how = (lp_how)i;
            if (i != LP_ROTATE) return;
            want(w, "(");
            s->u.loop.rotate = (int)number(w, 2, 64);
            want(w, ")");
            return;
        }
    s->u.loop.intrin = lp_intrin_by_name(a);
    if (!s->u.loop.intrin) fail_at(w, at, "no annotation or instruction is called \"%.60s\"", a);
}

static lp_stmt *parse_for(parser *w)
{
    static const char *const ends[] = {" max ", NULL};
    lp_stmt *s = new_stmt(w, LP_FOR);
    const char *v = name(w);
    want(w, "<");
    te_ref extent = expr(w, ends), max = NULL;
    if (take(w, "max")) max = expr(w, NULL);
    if (!w->ok) return s;
    s->u.loop.var = max ? te_axis_upto(w->g, v, extent, max) : te_axis(w->g, v, extent);
    while (take(w, "@")) annotation(w, s);
    int scope = w->n_scope;
    push(w, v, s->u.loop.var);
    s->u.loop.body = block(w);
    w->n_scope = scope;
    return s;
}

static lp_stmt *parse_if(parser *w)
{
    lp_stmt *s = new_stmt(w, LP_IF);
    s->u.guard.cond = expr(w, NULL);
    if (w->ok && s->u.guard.cond->dtype != LL_BOOL) fail_at(w, w->p, "the condition is no bool");
    s->u.guard.uniform = take(w, "@uniform");
    s->u.guard.then = block(w);
    if (take(w, "else")) s->u.guard.otherwise = block(w);
    return s;
}

static lp_scope scope_named(parser *w, const char *const *table, const char *what)
{
    skip(w);
    const char *at = w->p, *s = name(w);
    for (int i = 0; i < LP_N_SCOPE; i++)
        if (table[i] && strcmp(table[i], s) == 0) return (lp_scope)i;
    fail_at(w, at, "no %s is called \"%.60s\"", what, s);
    return LP_GLOBAL;
}

static lp_stmt *parse_alloc(parser *w)
{
    lp_stmt *s = new_stmt(w, LP_ALLOC);
    lp_scope scope = scope_named(w, lp_scope_text, "kind of memory");
    s->u.alloc.buf = w->ok ? buffer(w, NULL, scope) : NULL;
    s->u.alloc.body = w->ok ? list(w) : NULL;
    return s;
}

static lp_stmt *parse_let(parser *w)
{
    lp_stmt *s = new_stmt(w, LP_LET);
    skip(w);
    const char *at = w->p, *type = name(w);
    ll_dtype t = LL_S64;
    if (w->ok && !ll_dtype_parse(type, &t)) fail_at(w, at, "no type is called \"%.60s\"", type);
    const char *v = name(w);
    want(w, "=");
    s->u.let.value = expr(w, NULL);
    if (w->ok && s->u.let.value->dtype != t)
        fail_at(w, at, "%s is %s, its value is %s", v, type,
                ll_dtype_name((ll_dtype)s->u.let.value->dtype));
    s->u.let.uniform = take(w, "@uniform");
    if (!w->ok) return s;
    s->u.let.var = te_var(w->g, v, t);
    push(w, v, s->u.let.var);
    s->u.let.body = list(w);
    return s;
}

/* `A[m, k +: 32]`: count[i] is 0 where dimension i is a single index. */
static lp_buf *box(parser *w, te_ref *at, int64_t *count)
{
    lp_buf *b = buf(w);
    want(w, "[");
    for (int i = 0; w->ok && i < b->t->ndim; i++) {
        if (i) want(w, ",");
        at[i] = expr(w, index_ends);
        count[i] = take(w, "+:") ? number(w, 1, INT64_MAX) : 0;
    }
    want(w, "]");
    return b;
}

static void match_boxes(parser *w, lp_stmt *s, const int64_t *to, const int64_t *from)
{
    int k = 0, n_src = s->u.copy.src->t->ndim;
    for (int i = 0; i < s->u.copy.dst->t->ndim; i++) {
        s->u.copy.extent[i] = to[i] ? to[i] : 1;
        s->u.copy.src_dim[i] = -1;
        if (!to[i]) continue;
        while (k < n_src && !from[k]) k++;
        if (k == n_src || from[k] != to[i]) fail_at(w, w->p, "the boxes of a copy differ");
        s->u.copy.src_dim[i] = (int8_t)k++;
    }
    while (k < n_src && !from[k]) k++;
    if (k < n_src) fail_at(w, w->p, "the boxes of a copy differ");
}

static lp_stmt *parse_copy(parser *w)
{
    static const char *const ends[] = {" ->", NULL};
    lp_stmt *s = new_stmt(w, LP_COPY);
    int64_t to[TE_MAX_DIM] = {0}, from[TE_MAX_DIM] = {0};
    s->u.copy.dst = box(w, s->u.copy.dst_at, to);
    want(w, "<-");
    s->u.copy.src = box(w, s->u.copy.src_at, from);
    if (!w->ok) return s;
    match_boxes(w, s, to, from);
    if (take(w, "valid")) s->u.copy.valid = expr(w, ends);
    if (take(w, "->")) {
        s->u.copy.mbar = buf(w);
        indices(w, &s->u.copy.mbar_at, 1);
    }
    return s;
}

static lp_stmt *parse_mbar(parser *w)
{
    lp_stmt *s = new_stmt(w, LP_MBAR);
    skip(w);
    const char *at = w->p, *op = name(w);
    s->u.mbar.op = -1;
    for (int i = 0; i < 4; i++)
        if (strcmp(op, lp_mbar_text[i]) == 0) s->u.mbar.op = i;
    if (s->u.mbar.op < 0) fail_at(w, at, "no mbarrier operation is called \"%.60s\"", op);
    s->u.mbar.buf = buf(w);
    indices(w, &s->u.mbar.at, 1);
    if (w->ok && s->u.mbar.op != LP_MBAR_ARRIVE) s->u.mbar.arg = expr(w, NULL);
    return s;
}

static lp_stmt *parse_roles(parser *w)
{
    lp_stmt *s = new_stmt(w, LP_ROLES);
    want(w, "{");
    while (w->ok && !take(w, "}")) {
        int i = s->u.roles.n;
        if (i == 4) {
            fail_at(w, w->p, "more than 4 roles");
            break;
        }
        s->u.roles.name[i] = name(w);
        want(w, "warps");
        s->u.roles.warps[i] = (int)number(w, 1, 64);
        if (take(w, "regs")) s->u.roles.regs[i] = (int)number(w, 1, 255);
        s->u.roles.body[i] = block(w);
        s->u.roles.n++;
    }
    return s;
}

static lp_stmt *parse_shuffle(parser *w)
{
    lp_stmt *s = new_stmt(w, LP_SHUFFLE);
    s->u.shuffle.dst = buf(w);
    if (w->ok) indices(w, s->u.shuffle.dst_at, s->u.shuffle.dst->t->ndim);
    want(w, "<-");
    s->u.shuffle.src = buf(w);
    if (w->ok) indices(w, s->u.shuffle.src_at, s->u.shuffle.src->t->ndim);
    if (take(w, "lane")) {
        s->u.shuffle.lane = expr(w, NULL);
    } else {
        want(w, "xor");
        s->u.shuffle.mask = (int)number(w, 1, 31);
    }
    return s;
}

static lp_buf *row_of_registers(parser *w)
{
    lp_buf *b = buf(w);
    if (w->ok && (b->scope != LP_REG || b->t->ndim != 1))
        fail_at(w, w->p, "%s is no row of registers", b->t->name);
    return b;
}

static lp_stmt *parse_mma(parser *w)
{
    lp_stmt *s = new_stmt(w, LP_MMA);
    skip(w);
    const char *at = w->p, *row = name(w);
    s->u.mma.intrin = w->ok ? lp_intrin_by_name(row) : NULL;
    if (!s->u.mma.intrin || !s->u.mma.intrin->fragment[0])
        fail_at(w, at, "no matrix instruction is called \"%.60s\"", row);
    for (int i = 0; w->ok && i < 3; i++) {
        s->u.mma.buf[i] = row_of_registers(w);
        indices(w, &s->u.mma.at[i], 1);
    }
    return s;
}

static lp_stmt *parse_ldmatrix(parser *w)
{
    lp_stmt *s = new_stmt(w, LP_LDMATRIX);
    s->u.ldmatrix.n = (int)number(w, 1, 4);
    s->u.ldmatrix.trans = take(w, "trans");
    s->u.ldmatrix.dst = row_of_registers(w);
    indices(w, &s->u.ldmatrix.dst_at, 1);
    want(w, "<-");
    s->u.ldmatrix.src = buf(w);
    if (w->ok) indices(w, s->u.ldmatrix.src_at, s->u.ldmatrix.src->t->ndim);
    return s;
}

static lp_stmt *parse_small(parser *w)
{
    lp_stmt *s = NULL;
    if (take(w, "sync")) {
        s = new_stmt(w, LP_SYNC);
        s->u.sync.scope = scope_named(w, lp_sync_text, "barrier");
        while (*w->p == ' ') w->p++;
        if (isdigit((unsigned char)*w->p)) s->u.sync.id = (int)number(w, 1, 15);
    } else if (take(w, "commit")) {
        s = new_stmt(w, LP_COMMIT);
    } else if (take(w, "wait")) {
        s = new_stmt(w, LP_WAIT);
        s->u.wait.pending = (int)number(w, 0, 64);
        s->u.wait.warp = take(w, "warp");
    } else if (take(w, "prefetch")) {
        s = new_stmt(w, LP_PREFETCH);
        s->u.prefetch.buf = buf(w);
        if (w->ok) indices(w, s->u.prefetch.idx, s->u.prefetch.buf->t->ndim);
        if (take(w, "level")) s->u.prefetch.level = (int)number(w, 0, 3);
    } else if (take(w, "shuffle")) {
        s = parse_shuffle(w);
    } else if (take(w, "mma")) {
        s = parse_mma(w);
    } else if (take(w, "ldmatrix")) {
        s = parse_ldmatrix(w);
    }
    return s;
}

static lp_stmt *parse_assignment(parser *w)
{
    lp_buf *b = buf(w);
    te_ref idx[TE_MAX_DIM];
    if (!w->ok) return NULL;
    indices(w, idx, b->t->ndim);
    skip(w);
    const char *at = w->p;
    te_op op = take(w, "+=")     ? TE_SUM
               : take(w, "max=") ? TE_MAXR
               : take(w, "min=") ? TE_MINR
                                 : TE_LOAD;
    if (op == TE_LOAD) want(w, "=");
    te_ref v = w->ok ? expr(w, NULL) : NULL;
    if (!w->ok) return NULL;
    if (v->dtype != b->t->dtype)
        fail_at(w, at, "%s is %s, the value is %s", b->t->name,
                ll_dtype_name((ll_dtype)b->t->dtype), ll_dtype_name((ll_dtype)v->dtype));
    return op == TE_LOAD ? lp_store(w->f, b, idx, v) : lp_reduce(w->f, op, b, idx, v);
}

/* Does the statement reach to the end of its block? */
static bool reaches_end(const lp_stmt *s)
{
    return s && (s->kind == LP_ALLOC || s->kind == LP_LET);
}

static lp_stmt *statement(parser *w, bool *last)
{
    if (*w->p == '{') {
        const char *at = w->p;
        lp_stmt *s = block(w);
        if (w->ok && (!reaches_end(s) || s->next))
            fail_at(w, at, "a block of its own holds one alloc or let");
        return s;
    }
    lp_stmt *s = NULL;
    if (take(w, "for")) s = parse_for(w);
    else if (take(w, "if")) s = parse_if(w);
    else if (take(w, "alloc")) s = parse_alloc(w);
    else if (take(w, "let")) s = parse_let(w);
    else if (take(w, "copy")) s = parse_copy(w);
    else if (take(w, "mbar")) s = parse_mbar(w);
    else if (take(w, "roles")) s = parse_roles(w);
    else if (!(s = parse_small(w))) s = parse_assignment(w);
    *last = reaches_end(s);
    return s;
}

/* Statements up to the closing brace, which stays. */
static lp_stmt *list(parser *w)
{
    lp_stmt *head = NULL, **at = &head;
    bool last = false;
    for (skip(w); w->ok && !last && *w->p && *w->p != '}'; skip(w)) {
        lp_stmt *s = statement(w, &last);
        if (!s) {
            if (w->ok) fail_at(w, w->p, "an empty block");
            break;
        }
        *at = s;
        while (*at) at = &(*at)->next;
    }
    return w->ok ? head : NULL;
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static void parse_dims(parser *w)
{
    while (w->ok && take(w, "dim")) {
        const char *n = name(w);
        want(w, "in");
        int64_t lo = number(w, INT64_MIN, INT64_MAX);
        want(w, "..");
        int64_t hi = number(w, lo, INT64_MAX), multiple = 1;
        if (take(w, "multiple")) multiple = number(w, 1, INT64_MAX);
        te_ref d = w->ok ? te_dim_multiple(w->g, n, lo, hi, multiple) : NULL;
        if (d) push(w, n, d);
    }
}

static void parse_params(parser *w)
{
    static const char *const way[] = {"inout", "in", "out", "weight"};
    want(w, "(");
    while (w->ok && !take(w, ")")) {
        if (w->f->n_param) want(w, ",");
        int k = 0;
        while (k < 4 && !take(w, way[k])) k++;
        if (k == 4) fail_at(w, w->p, "wanted in, out, inout or weight");
        else if (w->f->n_param == MAX_PARAM) fail_at(w, w->p, "more than %d parameters", MAX_PARAM);
        else buffer(w, way[k], LP_GLOBAL);
    }
    resolve_within(w);
}

static void parse_kernel(parser *w)
{
    parse_dims(w);
    want(w, "kernel");
    w->f = lp_func_create(w->g, name(w));
    parse_params(w);
    if (take(w, "minctas")) w->f->min_ctas = (int)number(w, 1, 32);
    if (take(w, "maxregs")) w->f->max_regs = (int)number(w, 1, 255);
    w->f->body = block(w);
    skip(w);
    if (*w->p) fail_at(w, w->p, "text behind the kernel: \"%.20s\"", w->p);
    const ll_error *e = te_error(w->g);
    if (e) fail_at(w, w->p, "%.900s", e->msg);
    if (w->ok) lp_collect_dims(w->f);
}

lp_func *lp_parse(te_graph *g, const char *text, const char *file, ll_error *err)
{
    parser w = {.g = g, .all = text, .p = text, .file = file, .err = err, .ok = true};
    parse_kernel(&w);
    return w.ok ? w.f : NULL;
}

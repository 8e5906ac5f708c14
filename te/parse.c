/* parse.c: the reader of te texts.
 *
 *     dim T in 1..512 multiple 4
 *     in f32 x[T, 576]                        in q4_1 W[576, 1536] weight
 *     in s32 seg[T] in 0..S                   # 0 <= every value < S
 *     paged f16 K = pool by table, block 32
 *     def f32 acc[t, n < 576] = sum(k: x[t, k] * W[n, k]) from 0.0
 *     update f16 pool2[t, d] = f16(x[t, d]) into pool[s64(page[t]), d]
 *
 * A text becomes tokens, a statement a small tree, the tree nodes of the graph. The tree stands
 * between because an axis may be used before its extent is known: `acc[t, n]` takes the size of
 * the first dimension that the axis indexes alone, in reading order. Types are checked by the
 * builders; their sentence is given with the place in the text, and the graph's own error state
 * is left as it was. `#` starts a comment. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "te/internal.h"
#include "te/quant.h"

enum { MAX_NEST = 200, MAX_DEPTH = 20000 };

typedef enum tok_kind { T_END, T_NAME, T_INT, T_FLT, T_PUNCT } tok_kind;
typedef struct tok {
    tok_kind kind;
    size_t at, n;
    char p[3];     /* PUNCT: its characters       */
    ll_dtype type; /* INT, FLT                    */
    double f;
    uint64_t i;    /* INT: magnitude              */
} tok;

typedef enum ast_kind { A_INT, A_FLT, A_NAME, A_INDEX, A_CALL, A_INFIX, A_REDUCE } ast_kind;
typedef struct ast ast;
typedef struct axis_decl {
    const char *name;
    ast *extent, *max;
    size_t at;
} axis_decl;
struct ast {
    ast_kind kind;
    size_t at;
    int n, n_axis, depth;
    te_op op;         /* INFIX, REDUCE */
    const char *name; /* NAME, INDEX, CALL */
    ll_dtype type;
    int64_t i;
    double f;
    ast **arg;
    axis_decl *axis;
};

typedef struct parser {
    te_graph *g;
    const char *text, *file;
    tok *t;
    size_t n_tok, pos;
    ll_arena arena; /* tokens' names and trees */
    ll_error *err;
    ll_code code;
    te_scope *scope;
    int n_scope, cap_scope;
    const te_scope *given; /* te_parse_expr's */
    int n_given;
    const te_bytes *bytes; /* te_parse_with */
    int nest;
} parser;

/* ---- errors ------------------------------------------------------------------------------- */

static bool fail(parser *p, size_t at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static bool fail(parser *p, size_t at, const char *fmt, ...)
{
    int line = 1, column = 1;
    va_list ap;
    if (p->code != LL_OK) return false;
    for (size_t i = 0; i < at && p->text[i]; i++) {
        column = p->text[i] == '\n' ? 1 : column + 1;
        line += p->text[i] == '\n';
    }
    ll_error e = {0};
    va_start(ap, fmt);
    ll_vfail(&e, LL_BAD_INPUT, fmt, ap);
    va_end(ap);
    p->code = ll_fail(p->err, LL_BAD_INPUT, "%s:%d:%d: %s", p->file, line, column, e.msg);
    return false;
}

/* ---- tokens ------------------------------------------------------------------------------- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_name_char(char c) { return is_letter(c) || is_digit(c) || c == '.'; }

/* `:dtype` behind a literal, not followed by `(`: sum(k < 64:f32(x)) is no literal of type f32. */
static size_t suffix(const char *s, ll_dtype *type)
{
    char name[8];
    size_t n = 1;
    if (s[0] != ':' || !is_letter(s[1])) return 0;
    while (is_name_char(s[n])) n++;
    if (n - 1 >= sizeof name || s[n] == '(' || s[n] == '[') return 0;
    memcpy(name, s + 1, n - 1);
    name[n - 1] = 0;
    return ll_dtype_parse(name, type) ? n : 0;
}

static bool lex_number(parser *p, size_t *at, tok *t)
{
    const char *s = p->text + *at, *e = s;
    bool real = false;
    while (is_digit(*e)) e++;
    if (*e == '.' && e[1] != '.') {
        real = true;
        for (e++; is_digit(*e);) e++;
    }
    if ((*e == 'e' || *e == 'E') &&
        (is_digit(e[1]) || ((e[1] == '-' || e[1] == '+') && is_digit(e[2])))) {
        real = true;
        for (e += 2; is_digit(*e);) e++;
    }
    if (is_name_char(*e) && !(e[0] == '.' && e[1] == '.'))
        return fail(p, *at, "a number runs into a name");
    t->kind = real ? T_FLT : T_INT;
    t->type = real ? LL_F32 : LL_S64;
    t->f = strtod(s, NULL);
    size_t more = suffix(e, &t->type);
    if (!real) {
        errno = 0;
        t->i = strtoull(s, NULL, 10);
        if (errno == ERANGE && !ll_dtype_is_float(t->type))
            return fail(p, *at, "an integer beyond 64 bits");
        if (ll_dtype_is_float(t->type)) t->kind = T_FLT;
    } else if (!ll_dtype_is_float(t->type)) {
        return fail(p, *at, "a literal with a fraction cannot have type %s",
                    ll_dtype_name(t->type));
    }
    t->n = (size_t)(e - s) + more;
    *at += t->n;
    return true;
}

static bool lex_name(parser *p, size_t *at, tok *t)
{
    size_t n = 0;
    const char *s = p->text + *at;
    while (is_name_char(s[n]) && !(s[n] == '.' && s[n + 1] == '.')) n++;
    t->kind = T_NAME;
    t->n = n;
    bool inf = n == 3 && memcmp(s, "inf", 3) == 0, nan = n == 3 && memcmp(s, "nan", 3) == 0;
    if (inf || nan) {
        t->kind = T_FLT;
        t->type = LL_F32;
        t->f = inf ? (double)INFINITY : (double)NAN;
        t->n += suffix(s + 3, &t->type);
        if (!ll_dtype_is_float(t->type))
            return fail(p, *at, "%.3s cannot have type %s", s, ll_dtype_name(t->type));
    }
    *at += t->n;
    return true;
}

static bool lex_punct(parser *p, size_t *at, tok *t)
{
    static const char *const two[] = {"<=", "==", "!=", "<<", ">>", ".."};
    const char *s = p->text + *at;
    t->kind = T_PUNCT;
    t->n = 1;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (s[0] == two[i][0] && s[1] == two[i][1]) t->n = 2;
    if (t->n == 1 && !strchr("+-*/%&|^<()[],:=", s[0])) {
        if ((unsigned char)s[0] < 32 || (unsigned char)s[0] > 126)
            return fail(p, *at, "byte 0x%02x has no meaning here", (unsigned char)s[0]);
        return fail(p, *at, "`%c` has no meaning here", s[0]);
    }
    memcpy(t->p, s, t->n);
    *at += t->n;
    return true;
}

static bool lex(parser *p)
{
    size_t at = 0, cap = 0;
    for (;;) {
        while (p->text[at] == ' ' || p->text[at] == '\n' || p->text[at] == '\t' ||
               p->text[at] == '\r')
            at++;
        if (p->text[at] == '#') {
            while (p->text[at] && p->text[at] != '\n') at++;
            continue;
        }
        if (p->n_tok == cap) {
            tok *old = p->t;
            cap = cap ? cap * 2 : 64;
            p->t = LL_NEW_N(&p->arena, tok, cap);
            if (p->n_tok) memcpy(p->t, old, p->n_tok * sizeof *old);
        }
        tok *t = &p->t[p->n_tok++];
        t->at = at;
        char c = p->text[at];
        if (!c) return true;
        if (!(is_digit(c)    ? lex_number(p, &at, t)
              : is_letter(c) ? lex_name(p, &at, t)
                             : lex_punct(p, &at, t)))
            return false;
    }
}

static const tok *peek(const parser *p) { return &p->t[p->pos]; }
static size_t here(const parser *p) { return peek(p)->at; }

static bool is_punct(const tok *t, const char *s)
{
    return t->kind == T_PUNCT && strcmp(t->p, s) == 0;
}
static bool is_word(const parser *p, const tok *t, const char *s)
{
    return t->kind == T_NAME && t->n == strlen(s) && memcmp(p->text + t->at, s, t->n) == 0;
}

static bool take(parser *p, const char *s)
{
    if (!is_punct(peek(p), s) && !is_word(p, peek(p), s)) return false;
    p->pos++;
    return true;
}

static bool expect(parser *p, const char *s)
{
    if (take(p, s)) return true;
    const tok *t = peek(p);
    if (t->kind == T_END) return fail(p, t->at, "wanted `%s`, the text ends", s);
    return fail(p, t->at, "wanted `%s`, got `%.*s`", s, (int)(t->n < 60 ? t->n : 60),
                p->text + t->at);
}

static const char *name(parser *p, const char *what)
{
    const tok *t = peek(p);
    if (t->kind != T_NAME) {
        fail(p, t->at, "wanted %s", what);
        return NULL;
    }
    p->pos++;
    return ll_strndup(&p->arena, p->text + t->at, t->n);
}

/* ---- expressions to trees ----------------------------------------------------------------- */

static ast *expr(parser *p, int level);

static ast *ast_new(parser *p, ast_kind kind, size_t at)
{
    ast *a = LL_NEW(&p->arena, ast);
    a->kind = kind;
    a->at = at;
    return a;
}

static bool arg_add(parser *p, ast *a, ast *x)
{
    if (!x) return false;
    if ((a->n & (a->n - 1)) == 0) { /* grows at powers of two */
        ast **v = LL_NEW_N(&p->arena, ast *, a->n ? a->n * 2 : 1);
        if (a->n) memcpy(v, a->arg, sizeof *v * (size_t)a->n);
        a->arg = v;
    }
    a->arg[a->n++] = x;
    if (x->depth >= a->depth) a->depth = x->depth + 1;
    return a->depth <= MAX_DEPTH || fail(p, a->at, "an expression deeper than %d", MAX_DEPTH);
}

/* expr, expr, ... up to the closing bracket */
static bool args(parser *p, ast *a, const char *close)
{
    if (take(p, close)) return true;
    do
        if (!arg_add(p, a, expr(p, 1))) return false;
    while (take(p, ","));
    return expect(p, close);
}

static bool axis_decls(parser *p, axis_decl **out, int *n, const char *close)
{
    axis_decl v[TE_MAX_DIM];
    *n = 0;
    if (!take(p, close)) {
        do {
            axis_decl d = {.at = here(p)};
            if (*n == TE_MAX_DIM) return fail(p, d.at, "more than %d axes", TE_MAX_DIM);
            if (!(d.name = name(p, "an axis"))) return false;
            if (take(p, "<") && !(d.extent = expr(p, 2))) return false;
            if (d.extent && take(p, "<=") && !(d.max = expr(p, 2))) return false;
            v[(*n)++] = d;
        } while (take(p, ","));
        if (!expect(p, close)) return false;
    }
    *out = LL_NEW_N(&p->arena, axis_decl, *n + 1);
    memcpy(*out, v, sizeof *v * (size_t)*n);
    return true;
}

/* Behind `max(`: is there a `:` before the closing bracket? */
static bool binds_axes(const parser *p)
{
    int depth = 0;
    for (size_t i = p->pos; p->t[i].kind != T_END; i++) {
        const tok *t = &p->t[i];
        if (t->kind != T_PUNCT) continue;
        if (t->p[0] == '(' || t->p[0] == '[') depth++;
        if (t->p[0] == ')' || t->p[0] == ']') {
            if (depth-- == 0) return false;
        }
        if (t->p[0] == ':' && depth == 0) return true;
    }
    return false;
}

static ast *reduction(parser *p, te_op op, size_t at)
{
    ast *a = ast_new(p, A_REDUCE, at);
    a->op = op;
    if (!axis_decls(p, &a->axis, &a->n_axis, ":")) return NULL;
    if (a->n_axis == 0) {
        fail(p, at, "a reduction without axes");
        return NULL;
    }
    return arg_add(p, a, expr(p, 1)) && expect(p, ")") ? a : NULL;
}

static ast *call(parser *p, const char *f, size_t at)
{
    static const te_op reductions[] = {TE_SUM, TE_MAXR, TE_MINR, TE_ARGMAX};
    for (int i = 0; i < 4; i++) {
        if (strcmp(f, te_op_spelling(reductions[i])) != 0) continue;
        bool only = i == 0 || i == 3; /* max and min are operators, too */
        if (p->nest > 1 && only) {
            fail(p, at, "%s: a reduction is the root of a definition, not an operand", f);
            return NULL;
        }
        if (only || (p->nest == 1 && binds_axes(p))) return reduction(p, reductions[i], at);
    }
    ast *a = ast_new(p, A_CALL, at);
    a->name = f;
    return args(p, a, ")") ? a : NULL;
}

static ast *number(parser *p, bool negative)
{
    const tok *t = peek(p);
    ast *a = ast_new(p, t->kind == T_INT ? A_INT : A_FLT, t->at);
    a->type = t->type;
    a->f = negative ? -t->f : t->f;
    p->pos++;
    if (t->kind != T_INT) return a;
    uint64_t limit = t->type == LL_U64 ? UINT64_MAX : (uint64_t)INT64_MAX + negative;
    a->i = (int64_t)(negative ? 0 - t->i : t->i);
    if (t->i > limit || te_wrap_to(t->type, a->i) != a->i) {
        fail(p, t->at, "%s%llu does not fit %s", negative ? "-" : "", (unsigned long long)t->i,
             ll_dtype_name(t->type));
        return NULL;
    }
    return a;
}

static ast *primary(parser *p)
{
    const tok *t = peek(p);
    if (t->kind == T_INT || t->kind == T_FLT) return number(p, false);
    if (take(p, "-")) {
        if (peek(p)->kind == T_INT || peek(p)->kind == T_FLT) return number(p, true);
        ast *a = ast_new(p, A_CALL, t->at);
        a->name = "neg";
        return arg_add(p, a, expr(p, 8)) ? a : NULL;
    }
    if (take(p, "(")) {
        ast *a = expr(p, 1);
        return a && expect(p, ")") ? a : NULL;
    }
    const char *s = name(p, "an expression");
    if (!s) return NULL;
    if (take(p, "(")) return call(p, s, t->at);
    ast *a = ast_new(p, A_NAME, t->at);
    a->name = s;
    if (!take(p, "[")) return a;
    a->kind = A_INDEX;
    return args(p, a, "]") ? a : NULL;
}

static int infix_level(const parser *p, te_op *op)
{
    static const struct { char s[3]; te_op op; int level; } table[] = {
        {"<", TE_LT, 1}, {"<=", TE_LE, 1}, {"==", TE_EQ, 1}, {"!=", TE_NE, 1}, {"|", TE_OR, 2},
        {"^", TE_XOR, 3}, {"&", TE_AND, 4}, {"<<", TE_SHL, 5}, {">>", TE_SHR, 5}, {"+", TE_ADD, 6},
        {"-", TE_SUB, 6}, {"*", TE_MUL, 7}, {"/", TE_DIV, 7}, {"%", TE_MOD, 7},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (is_punct(peek(p), table[i].s)) {
            *op = table[i].op;
            return table[i].level;
        }
    return 0;
}

/* Infix operators of at least this level: 1 comparisons, 2 |, 3 ^, 4 &, 5 shifts, 6 + -, 7 * /
 * %, 8 none. */
static ast *expr(parser *p, int level)
{
    te_op op = TE_ADD;
    int l;
    if (p->nest >= MAX_NEST) {
        fail(p, here(p), "brackets nested deeper than %d", MAX_NEST);
        return NULL;
    }
    p->nest++;
    ast *a = primary(p);
    while (a && (l = infix_level(p, &op)) >= level && l > 0) {
        ast *b = ast_new(p, A_INFIX, here(p));
        b->op = op;
        p->pos++;
        if (!arg_add(p, b, a) || !arg_add(p, b, expr(p, l + 1))) a = NULL;
        else a = b;
        if (a && l == 1 && infix_level(p, &op) == 1) {
            fail(p, here(p), "comparisons do not chain");
            a = NULL;
        }
    }
    p->nest--;
    return a;
}

/* ---- trees to nodes ----------------------------------------------------------------------- */

static te_ref build(parser *p, const ast *a);

/* A builder's result, or its sentence with this place in the text. */
static te_ref checked(parser *p, const ast *a, te_ref r)
{
    if (r && !te_is_poison(r)) return r;
    const ll_error *e = te_error(p->g);
    fail(p, a->at, "%s", e ? e->msg : "no value");
    return NULL;
}

static te_ref lookup(const parser *p, const char *s)
{
    for (int i = p->n_scope; i-- > 0;)
        if (strcmp(p->scope[i].name, s) == 0) return p->scope[i].value;
    for (int i = p->n_given; i-- > 0;)
        if (strcmp(p->given[i].name, s) == 0) return p->given[i].value;
    return te_find_dim(p->g, s);
}

static bool scope_push(parser *p, const char *s, te_ref value)
{
    if (p->n_scope == p->cap_scope) {
        int cap = p->cap_scope ? p->cap_scope * 2 : 16;
        te_scope *v = LL_NEW_N(&p->arena, te_scope, cap);
        if (p->n_scope) memcpy(v, p->scope, sizeof *v * (size_t)p->n_scope);
        p->scope = v;
        p->cap_scope = cap;
    }
    p->scope[p->n_scope++] = (te_scope){s, value};
    return true;
}

/* The size of the first dimension that `s` indexes alone. */
static te_ref inferred(const parser *p, const ast *a, const char *s)
{
    const te_tensor *t = a->kind == A_INDEX ? te_find(p->g, a->name) : NULL;
    for (int i = 0; i < a->n; i++) {
        if (t && i < t->ndim && a->arg[i]->kind == A_NAME && strcmp(a->arg[i]->name, s) == 0)
            return t->shape[i];
        te_ref r = inferred(p, a->arg[i], s);
        if (r) return r;
    }
    return NULL;
}

static bool make_axes(parser *p, const axis_decl *d, int n, ast *const *where, int n_where,
                      te_ref *out)
{
    for (int i = 0; i < n; i++) {
        te_ref extent = NULL, max = NULL;
        if (d[i].extent && !(extent = build(p, d[i].extent))) return false;
        if (d[i].max && !(max = build(p, d[i].max))) return false;
        for (int j = 0; j < n_where && !extent; j++) extent = inferred(p, where[j], d[i].name);
        if (!extent)
            return fail(
                p, d[i].at,
                "the extent of axis %s: give it as `%s < N`, or use the axis alone as an index",
                d[i].name, d[i].name);
        out[i] = te_axis_upto(p->g, d[i].name, extent, max);
        if (te_is_poison(out[i]))
            return fail(p, d[i].at, "%s", te_error(p->g) ? te_error(p->g)->msg : "no axis");
        scope_push(p, d[i].name, out[i]);
    }
    return true;
}

static te_ref build_reduce(parser *p, const ast *a)
{
    te_ref axes[TE_MAX_DIM];
    int depth = p->n_scope;
    if (!make_axes(p, a->axis, a->n_axis, a->arg, 1, axes)) return NULL;
    te_ref body = build(p, a->arg[0]);
    p->n_scope = depth;
    return body ? checked(p, a, te_reduce_(NULL, 0, a->op, body, axes, a->n_axis)) : NULL;
}

static te_ref build_call(parser *p, const ast *a)
{
    te_ref v[3];
    ll_dtype t;
    bool bits = strncmp(a->name, "bits.", 5) == 0;
    if (a->n < 1 || a->n > 3) {
        fail(p, a->at, "%s of %d operands", a->name, a->n);
        return NULL;
    }
    for (int i = 0; i < a->n; i++)
        if (!(v[i] = build(p, a->arg[i]))) return NULL;
    if (ll_dtype_parse(bits ? a->name + 5 : a->name, &t)) {
        if (a->n == 1) return checked(p, a, bits ? te_bits(t, v[0]) : te_cast(t, v[0]));
        fail(p, a->at, "%s of %d operands, wanted 1", a->name, a->n);
        return NULL;
    }
    for (int op = TE_ADD; op < TE_N_OPS; op++) {
        if (te_op_infix((te_op)op) || strcmp(a->name, te_op_spelling((te_op)op)) != 0) continue;
        if (te_op_arity((te_op)op) != a->n) {
            fail(p, a->at, "%s of %d operands, wanted %d", a->name, a->n, te_op_arity((te_op)op));
            return NULL;
        }
        if (op == TE_SELECT) return checked(p, a, te_select(v[0], v[1], v[2]));
        return checked(p, a,
                       a->n == 1 ? te_unary((te_op)op, v[0]) : te_binary((te_op)op, v[0], v[1]));
    }
    fail(p, a->at, "no operator %s", a->name);
    return NULL;
}

static te_ref build_index(parser *p, const ast *a)
{
    te_ref v[TE_MAX_DIM];
    te_tensor *t = te_find(p->g, a->name);
    if (p->bytes && a->n == 1 && strcmp(a->name, p->bytes->name) == 0) {
        v[0] = p->bytes->row[0];
        v[1] = p->bytes->row[1];
        v[2] = build(p, a->arg[0]);
        return v[2] ? checked(p, a, te_load(p->bytes->t, v, 3)) : NULL;
    }
    if (!t) {
        fail(p, a->at, "no tensor %s", a->name);
        return NULL;
    }
    if (a->n != t->ndim) {
        fail(p, a->at, "%s has %d dimensions, %d indices given", a->name, t->ndim, a->n);
        return NULL;
    }
    for (int i = 0; i < a->n; i++)
        if (!(v[i] = build(p, a->arg[i]))) return NULL;
    return checked(p, a, te_at_(NULL, 0, t, v, a->n));
}

static te_ref build(parser *p, const ast *a)
{
    te_ref x, y;
    switch (a->kind) {
    case A_INT: return te_iconst(p->g, a->type, a->i);
    case A_FLT: return te_fconst(p->g, a->type, a->f);
    case A_NAME:
        if ((x = lookup(p, a->name))) return x;
        if (strcmp(a->name, "true") == 0 || strcmp(a->name, "false") == 0)
            return te_iconst(p->g, LL_BOOL, a->name[0] == 't');
        fail(p, a->at, "no axis, variable or dim %s", a->name);
        return NULL;
    case A_INDEX: return build_index(p, a);
    case A_CALL: return build_call(p, a);
    case A_REDUCE: return build_reduce(p, a);
    case A_INFIX:
        if (!(x = build(p, a->arg[0])) || !(y = build(p, a->arg[1]))) return NULL;
        return checked(p, a, te_binary(a->op, x, y));
    }
    return NULL;
}

/* ---- statements --------------------------------------------------------------------------- */

static bool integer(parser *p, int64_t *out)
{
    ast *a = expr(p, 8);
    if (!a) return false;
    if (a->kind != A_INT) return fail(p, a->at, "wanted a number");
    *out = a->i;
    return true;
}

static bool made(parser *p, size_t at, const te_tensor *t)
{
    if (t && t->id != UINT32_MAX) return true;
    const ll_error *e = te_error(p->g);
    return fail(p, at, "%s", e ? e->msg : "no tensor");
}

static bool dim_line(parser *p)
{
    int64_t lo = 0, hi = 0, multiple = 1;
    size_t at = here(p);
    const char *s = name(p, "a name");
    if (!s || !expect(p, "in") || !integer(p, &lo) || !expect(p, "..") || !integer(p, &hi))
        return false;
    if (take(p, "multiple") && !integer(p, &multiple)) return false;
    if (!te_is_poison(te_dim_multiple(p->g, s, lo, hi, multiple))) return true;
    return fail(p, at, "%s", te_error(p->g)->msg);
}

/* The sizes or indices in brackets. */
static bool list(parser *p, te_ref *v, int *n)
{
    ast a = {.kind = A_INDEX, .at = here(p)};
    if (!expect(p, "[") || !args(p, &a, "]")) return false;
    if (a.n > TE_MAX_DIM) return fail(p, a.at, "%d dimensions, at most %d", a.n, TE_MAX_DIM);
    for (int i = 0; i < a.n; i++)
        if (!(v[i] = build(p, a.arg[i]))) return false;
    *n = a.n;
    return true;
}

static bool input_line(parser *p)
{
    te_ref v[TE_MAX_DIM], lo = NULL, hi = NULL;
    ll_dtype type = LL_F32;
    int n = 0;
    size_t at = here(p);
    const char *tn = name(p, "a type"), *s;
    if (!tn || !(s = name(p, "a name")) || !list(p, v, &n)) return false;
    const te_quant *q = ll_dtype_parse(tn, &type) ? NULL : te_quant_by_name(tn);
    if (!q && !ll_dtype_parse(tn, &type)) return fail(p, at, "no type %s", tn);
    /* `in 0..S`, or the next statement `in f32 y[...]`? T_END is last, so there is a next token */
    bool next = is_word(p, peek(p), "in") && peek(p)[1].kind == T_NAME && peek(p)[2].kind == T_NAME;
    if (!next && take(p, "in")) {
        ast *a = expr(p, 2), *b = a && expect(p, "..") ? expr(p, 2) : NULL;
        if (!b || !(lo = build(p, a)) || !(hi = build(p, b))) return false;
    }
    te_tensor *t;
    if (q && (n != 2 || lo))
        return fail(p, at, "%s: a quantised input has two dimensions and no bounds", s);
    if (q) t = te_input_quant(p->g, s, q, v[0], v[1]);
    else t = lo ? te_input_index(p->g, s, type, lo, hi, v, n) : te_input_(p->g, s, type, v, n);
    if (!made(p, at, t)) return false;
    if (take(p, "weight")) te_weight(t);
    return true;
}

static bool paged_line(parser *p)
{
    ll_dtype type;
    int64_t block = 0;
    size_t at = here(p);
    const char *tn = name(p, "a type"), *s, *pool, *table;
    if (!tn || !(s = name(p, "a name")) || !expect(p, "=") || !(pool = name(p, "a pool")) ||
        !expect(p, "by") || !(table = name(p, "a table")) || !expect(p, ",") ||
        !expect(p, "block") || !integer(p, &block))
        return false;
    te_tensor *x = te_find(p->g, pool), *y = te_find(p->g, table);
    if (!x || !y) return fail(p, at, "no tensor %s", x ? table : pool);
    if (!ll_dtype_parse(tn, &type) || type != x->dtype)
        return fail(p, at, "%s: type %s, its pool holds %s", s, tn,
                    ll_dtype_name((ll_dtype)x->dtype));
    return made(p, at, te_paged(p->g, s, x, y, block));
}

/* def and update share their head and body: TYPE NAME[AXES] = BODY, then `from INIT` or `into
 * BASE[AT]`. */
static bool body_line(parser *p, bool update)
{
    axis_decl *decl;
    te_ref axes[TE_MAX_DIM], at_v[TE_MAX_DIM], body, init = NULL;
    ast *where[2];
    int n, n_where = 1;
    ll_dtype type;
    size_t at = here(p);
    const char *tn = name(p, "a type"), *s;
    if (!tn || !(s = name(p, "a name")) || !expect(p, "[") || !axis_decls(p, &decl, &n, "]") ||
        !expect(p, "="))
        return false;
    if (!ll_dtype_parse(tn, &type)) return fail(p, at, "no type %s", tn);
    if (!(where[0] = expr(p, 1))) return false;
    bool more = take(p, update ? "into" : "from");
    if (update && !more && !expect(p, "into")) return false;
    if (more && !(where[n_where++] = expr(p, 1))) return false;
    if (!make_axes(p, decl, n, where, n_where, axes)) return false;
    if (!(body = build(p, where[0]))) return false;
    if (more && !update && !(init = build(p, where[1]))) return false;
    if (body->dtype != type)
        return fail(p, at, "%s is declared %s, its body is %s", s, tn,
                    ll_dtype_name((ll_dtype)body->dtype));
    if (init) return made(p, at, te_def_init(p->g, s, body, init, axes, n));
    if (!update) return made(p, at, te_def_(NULL, 0, p->g, s, body, axes, n));
    te_tensor *base = where[1]->kind == A_INDEX ? te_find(p->g, where[1]->name) : NULL;
    if (!base) return fail(p, where[1]->at, "wanted a tensor and its indices behind `into`");
    if (where[1]->n > TE_MAX_DIM) return fail(p, where[1]->at, "%d indices", where[1]->n);
    for (int i = 0; i < where[1]->n; i++)
        if (!(at_v[i] = build(p, where[1]->arg[i]))) return false;
    return made(p, at, te_update(p->g, s, base, at_v, where[1]->n, body, axes, n));
}

static bool statement(parser *p)
{
    if (take(p, "dim")) return dim_line(p);
    if (take(p, "in")) return input_line(p);
    if (take(p, "paged")) return paged_line(p);
    if (take(p, "def")) return body_line(p, false);
    if (take(p, "update")) return body_line(p, true);
    return fail(p, here(p), "wanted dim, in, paged, def or update");
}

static void parser_init(parser *p, te_graph *g, const char *text, const char *file, ll_error *err)
{
    *p = (parser){.g = g, .text = text, .file = file, .err = err};
    ll_arena_init(&p->arena);
    p->arena.oom = g->arena.oom;
}

/* A refused text does not make the graph unusable. */
static ll_code parser_finish(parser *p, ll_error saved, te_graph *before)
{
    if (p->code != LL_OK) p->g->err = saved;
    ll_arena_finish(&p->arena);
    te_graph_use(before);
    return p->code;
}

ll_code te_parse(te_graph *g, const char *text, const char *file, ll_error *err)
{
    parser p;
    ll_error saved = g->err;
    te_graph *before = te_graph_use(g);
    if (te_error(g)) {
        te_graph_use(before);
        return ll_fail(err, te_error(g)->code, "%s", te_error(g)->msg);
    }
    parser_init(&p, g, text, file, err);
    bool ok = lex(&p);
    while (ok && peek(&p)->kind != T_END) {
        p.n_scope = 0;
        ok = statement(&p);
    }
    return parser_finish(&p, saved, before);
}

te_ref te_parse_expr(te_graph *g, const char *text, const te_scope *scope, int n, ll_error *err)
{
    return te_parse_with(g, text, scope, n, NULL, err);
}

te_ref te_parse_with(te_graph *g, const char *text, const te_scope *scope, int n, const te_bytes *b,
                     ll_error *err)
{
    parser p;
    ll_error saved = g->err;
    te_graph *before = te_graph_use(g);
    if (te_error(g)) {
        te_graph_use(before);
        ll_fail(err, te_error(g)->code, "%s", te_error(g)->msg);
        return NULL;
    }
    parser_init(&p, g, text, "expression", err);
    p.bytes = b;
    p.given = scope;
    p.n_given = n;
    ast *a = lex(&p) ? expr(&p, 1) : NULL;
    te_ref r = NULL;
    if (a && peek(&p)->kind != T_END) fail(&p, here(&p), "text behind the expression");
    else if (a) r = build(&p, a);
    return parser_finish(&p, saved, before) == LL_OK ? r : NULL;
}

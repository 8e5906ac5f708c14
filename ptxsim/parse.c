/* parse.c: the structure of PTX: module directives, functions, scopes, statements and operands,
 * with recursive descent. Registers and variables are resolved as they are read; labels at the end
 * of their function. Debug sections, .loc, .file and .pragma are read and dropped. What the opcodes
 * mean is not known here. Refused: texture and surface variables, .alias, unknown directives. */
#include "ptxsim/parser.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_NESTING = 64, MAX_ARENA = 1 << 30 };

ptxsim_code ptx_fail(ptxsim_error *err, ptxsim_code code, const char *file, ptx_pos pos,
                     const char *fmt, ...)
{
    if (!err || err->code != PTXSIM_OK) return code;
    *err = (ptxsim_error){ .code = code, .line = pos.line, .column = pos.col };
    int n = 0;
    if (pos.line)
        n = snprintf(err->msg, sizeof err->msg, "%s:%u:%u: ", file ? file : "ptx", pos.line,
                     pos.col);
    if (n < 0 || (size_t)n >= sizeof err->msg) return code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg + n, sizeof err->msg - (size_t)n, fmt, ap);
    va_end(ap);
    return code;
}

bool ptx_p_fail(ptx_parser *p, ptx_pos pos, const char *fmt, ...)
{
    char msg[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    ptx_fail(p->err, PTXSIM_BAD_PTX, p->mod->name, pos, "%s", msg);
    return false;
}

void *ptx_p_alloc(ptx_parser *p, size_t n)
{
    void *r = p->mod->arena.total < MAX_ARENA ? ll_try_alloc(&p->mod->arena, n) : NULL;
    if (!r)
        ptx_fail(p->err, PTXSIM_NO_MEMORY, p->mod->name, p->t.pos,
                 "no memory left for this module");
    return r;
}

char *ptx_p_str(ptx_parser *p, const ptx_token *t)
{
    char *s = ptx_p_alloc(p, t->n + 1);
    if (s) memcpy(s, t->s, t->n);
    return s;
}

bool ptx_p_grow(ptx_parser *p, void **array, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap) return true;
    uint32_t bigger = *cap ? *cap * 2 : 4;
    void *a = ptx_p_alloc(p, bigger * size);
    if (!a) return false;
    if (n) memcpy(a, *array, n * size);
    *array = a;
    *cap = bigger;
    return true;
}

void ptx_p_next(ptx_parser *p) { ptx_lex_next(&p->lex, &p->t); }
bool ptx_p_is(const ptx_parser *p, char c) { return p->t.kind == PTX_TOK_PUNCT && p->t.c == c; }
bool ptx_p_dot(const ptx_parser *p, const char *name)
{
    return p->t.kind == PTX_TOK_DOT && strlen(name) == p->t.n && !memcmp(p->t.s, name, p->t.n);
}
bool ptx_p_take(ptx_parser *p, char c)
{
    if (!ptx_p_is(p, c)) return false;
    ptx_p_next(p);
    return true;
}

const char *ptx_p_show(const ptx_parser *p, char buf[64])
{
    if (p->t.kind == PTX_TOK_END) snprintf(buf, 64, "the end of the text");
    else if (p->t.kind == PTX_TOK_BAD) snprintf(buf, 64, "%s", p->t.why);
    else
        snprintf(buf, 64, "'%s%.*s'", p->t.kind == PTX_TOK_DOT ? "." : "",
                 p->t.n < 48 ? (int)p->t.n : 48, p->t.s);
    return buf;
}

bool ptx_p_want(ptx_parser *p, char c)
{
    char buf[64];
    if (ptx_p_take(p, c)) return true;
    return ptx_p_fail(p, p->t.pos, "'%c' is wanted, got %s", c, ptx_p_show(p, buf));
}

/* ---- integer expressions: sums and products of literals and WARP_SZ ---- */

static bool int_term(ptx_parser *p, uint64_t *out, const char *what)
{
    char buf[64];
    if (++p->nesting > MAX_NESTING) return ptx_p_fail(p, p->t.pos, "expression nested too deeply");
    bool ok = true;
    if (ptx_p_take(p, '-')) {
        ok = int_term(p, out, what);
        *out = 0 - *out;
    } else if (ptx_p_take(p, '~')) {
        ok = int_term(p, out, what);
        *out = ~*out;
    } else if (p->t.kind == PTX_TOK_INT) {
        *out = p->t.i;
        ptx_p_next(p);
    } else if (p->t.kind == PTX_TOK_NAME && p->t.n == 7 && !memcmp(p->t.s, "WARP_SZ", 7)) {
        *out = 32;
        ptx_p_next(p);
    } else {
        ok = ptx_p_fail(p, p->t.pos, "%s: an integer is wanted, got %s", what, ptx_p_show(p, buf));
    }
    p->nesting--;
    return ok;
}

bool ptx_p_want_int(ptx_parser *p, uint64_t max, uint64_t *out, const char *what)
{
    ptx_pos pos = p->t.pos;
    if (!int_term(p, out, what)) return false;
    for (;;) {
        uint64_t v;
        bool mul = ptx_p_is(p, '*');
        if (!mul && !ptx_p_is(p, '+')) break;
        ptx_p_next(p);
        if (!int_term(p, &v, what)) return false;
        *out = mul ? *out * v : *out + v;
    }
    if (*out > max)
        return ptx_p_fail(p, pos, "%s %llu is larger than %llu", what, (unsigned long long)*out,
                          (unsigned long long)max);
    return true;
}

/* ---- scopes ---- */

bool ptx_p_open_scope(ptx_parser *p)
{
    ptx_scope *s = ptx_p_alloc(p, sizeof *s);
    if (!s) return false;
    *s = (ptx_scope){ .parent = p->scope,
                      .next_made = p->made,
                      .depth = p->scope ? p->scope->depth + 1 : 0 };
    if (s->depth > MAX_NESTING)
        return ptx_p_fail(p, p->t.pos, "blocks nested deeper than %d", MAX_NESTING);
    p->made = p->scope = s;
    return true;
}

bool ptx_p_declare(ptx_parser *p, ptx_pos pos, const char *name, const ptx_symbol *s)
{
    if (ll_map_get_str(&p->scope->names, name))
        return ptx_p_fail(p, pos, "%s is declared twice", name);
    ptx_symbol *copy = ptx_p_alloc(p, sizeof *copy);
    if (!copy) return false;
    *copy = *s;
    if (!ll_map_set_str(&p->scope->names, name, copy)) {
        ptx_fail(p->err, PTXSIM_NO_MEMORY, p->mod->name, pos, "no memory left for this module");
        return false;
    }
    return true;
}

/* %r12 out of `.reg .b32 %r<40>` of this scope. */
static ptx_symbol *from_range(ptx_parser *p, ptx_scope *scope, const char *name)
{
    size_t n = strlen(name);
    for (ptx_range *r = scope->ranges; r; r = r->next) {
        size_t k = strlen(r->prefix);
        if (k >= n || n - k > 8 || memcmp(r->prefix, name, k) || (name[k] == '0' && n - k > 1))
            continue;
        uint32_t i = 0;
        const char *q = name + k;
        for (; *q >= '0' && *q <= '9'; q++) i = i * 10 + (uint32_t)(*q - '0');
        if (*q || i >= r->count) continue;
        ptx_symbol s = { .kind = PTX_SYM_REG };
        ptx_scope *inner = p->scope;
        char *own = ptx_p_alloc(p, n + 1);
        if (!own) return NULL;
        memcpy(own, name, n);
        if (!ptx_p_reg_new(p, own, r->type, r->n_vec, &s.reg)) return NULL;
        p->scope = scope;
        bool ok = ptx_p_declare(p, p->t.pos, name, &s);
        p->scope = inner;
        return ok ? ll_map_get_str(&scope->names, name) : NULL;
    }
    return NULL;
}

ptx_symbol *ptx_p_lookup(ptx_parser *p, const char *name)
{
    for (ptx_scope *s = p->scope; s; s = s->parent) {
        ptx_symbol *found = ll_map_get_str(&s->names, name);
        if (!found && s->ranges) found = from_range(p, s, name);
        if (found) return found;
    }
    return NULL;
}

/* ---- operands ---- */

static bool operand(ptx_parser *p, ptx_opnd *o);

static bool sub_list(ptx_parser *p, ptx_opnd *o, char close)
{
    uint32_t cap = 0;
    if (++p->nesting > MAX_NESTING) return ptx_p_fail(p, p->t.pos, "operands nested too deeply");
    while (!ptx_p_is(p, close)) {
        if (!ptx_p_grow(p, (void **)&o->sub, o->n_sub, &cap, sizeof *o->sub)) return false;
        if (!operand(p, &o->sub[o->n_sub++])) return false;
        if (!ptx_p_take(p, ',')) break;
    }
    p->nesting--;
    return ptx_p_want(p, close);
}

/* Behind a register: .x .y .z .w (or .r .g .b .a) of a vector register. */
static bool component(ptx_parser *p, ptx_opnd *o)
{
    static const char names[] = "xyzwrgba";
    if (p->t.kind != PTX_TOK_DOT || !p->t.glued || p->t.n != 1) return true;
    const char *c = strchr(names, p->t.s[0]);
    if (!c) return true;
    uint32_t i = (uint32_t)(c - names) % 4;
    if (i >= o->reg->n_vec)
        return ptx_p_fail(p, p->t.pos, "%s has no component .%c", o->reg->name, p->t.s[0]);
    o->reg = &o->reg->vec[i];
    ptx_p_next(p);
    return true;
}

static bool special_name(ptx_parser *p, ptx_opnd *o, const char *name)
{
    o->kind = PTX_O_SPECIAL;
    o->name = name;
    if (p->t.kind == PTX_TOK_DOT && p->t.glued && p->t.n == 1) {
        size_t n = strlen(name);
        char *both = ptx_p_alloc(p, n + 3);
        if (!both) return false;
        memcpy(both, name, n);
        both[n] = '.';
        both[n + 1] = p->t.s[0];
        o->name = both;
        ptx_p_next(p);
    }
    return true;
}

/* A vector register used whole is {x, y, ...}. */
static bool whole_vector(ptx_parser *p, ptx_opnd *o)
{
    ptx_reg *r = o->reg;
    o->kind = PTX_O_VEC;
    o->n_sub = r->n_vec;
    if (!(o->sub = ptx_p_alloc(p, r->n_vec * sizeof *o->sub))) return false;
    for (uint32_t i = 0; i < r->n_vec; i++)
        o->sub[i] = (ptx_opnd){ .kind = PTX_O_REG, .pos = o->pos, .reg = &r->vec[i] };
    return true;
}

static bool plus_offset(ptx_parser *p, ptx_opnd *o)
{
    bool neg = ptx_p_is(p, '-');
    if (!neg && !ptx_p_is(p, '+')) return true;
    ptx_p_next(p);
    uint64_t v;
    if (!int_term(p, &v, "offset")) return false;
    o->imm += (int64_t)(neg ? 0 - v : v);
    return plus_offset(p, o);
}

static bool name_operand(ptx_parser *p, ptx_opnd *o)
{
    char *name = ptx_p_str(p, &p->t);
    if (!name) return false;
    ptx_p_next(p);
    if (!strcmp(name, "_")) {
        o->kind = PTX_O_SINK;
        return true;
    }
    ptx_symbol *s = ptx_p_lookup(p, name);
    if (!s && p->err && p->err->code != PTXSIM_OK) return false;
    if (!s && name[0] == '%') return special_name(p, o, name);
    if (!s || s->kind == PTX_SYM_FUNC) {
        o->kind = PTX_O_LABEL;
        o->name = name;
        o->imm = -1;
        return true;
    }
    o->name = name;
    if (s->kind == PTX_SYM_VAR) {
        o->kind = PTX_O_VAR;
        o->var = s->var;
        return plus_offset(p, o);
    }
    o->kind = PTX_O_REG;
    o->reg = s->reg;
    if (!component(p, o)) return false;
    return !o->reg->n_vec || whole_vector(p, o);
}

static bool memory_operand(ptx_parser *p, ptx_opnd *o)
{
    o->kind = PTX_O_MEM;
    if (!sub_list(p, o, ']')) return false;
    if (!o->n_sub) return ptx_p_fail(p, o->pos, "an address is wanted between [ and ]");
    ptx_opnd *base = &o->sub[0];
    if (base->kind == PTX_O_VAR || base->kind == PTX_O_INT) {
        o->imm = base->imm;
        base->imm = 0;
    } else if (base->kind == PTX_O_REG) {
        o->imm = base->imm;
        base->imm = 0;
    } else if (base->kind == PTX_O_LABEL) {
        return ptx_p_fail(p, base->pos, "%s is not declared", base->name);
    } else {
        return ptx_p_fail(p, base->pos,
                          "a register, a variable or an integer is wanted as address");
    }
    return true;
}

static bool number_operand(ptx_parser *p, ptx_opnd *o, bool neg)
{
    if (p->t.kind == PTX_TOK_INT) {
        uint64_t v;
        o->kind = PTX_O_INT;
        if (!ptx_p_want_int(p, UINT64_MAX, &v, "operand")) return false;
        o->imm = (int64_t)(neg ? 0 - v : v);
        return true;
    }
    o->kind = p->t.kind == PTX_TOK_F32 ? PTX_O_F32 : PTX_O_F64;
    o->imm = (int64_t)p->t.i;
    if (neg) o->imm ^= (int64_t)(o->kind == PTX_O_F32 ? 0x80000000u : 1ull << 63);
    ptx_p_next(p);
    return true;
}

static bool simple_operand(ptx_parser *p, ptx_opnd *o)
{
    char buf[64];
    *o = (ptx_opnd){ .pos = p->t.pos };
    if (ptx_p_take(p, '!')) {
        if (!simple_operand(p, o)) return false;
        o->negated = !o->negated;
        return true;
    }
    if (ptx_p_take(p, '{')) {
        o->kind = PTX_O_VEC;
        return sub_list(p, o, '}');
    }
    if (ptx_p_take(p, '[')) return memory_operand(p, o);
    if (ptx_p_take(p, '(')) {
        o->kind = PTX_O_LIST;
        return sub_list(p, o, ')');
    }
    bool neg = ptx_p_take(p, '-');
    if (p->t.kind == PTX_TOK_INT || p->t.kind == PTX_TOK_F32 || p->t.kind == PTX_TOK_F64)
        return number_operand(p, o, neg);
    if (p->t.kind == PTX_TOK_NAME) {
        if (!name_operand(p, o)) return false;
        o->negated = neg;
        return true;
    }
    if (ptx_p_is(p, '~')) {
        uint64_t v;
        o->kind = PTX_O_INT;
        if (!ptx_p_want_int(p, UINT64_MAX, &v, "operand")) return false;
        o->imm = (int64_t)v;
        return true;
    }
    return ptx_p_fail(p, p->t.pos, "an operand is wanted, got %s", ptx_p_show(p, buf));
}

static bool operand(ptx_parser *p, ptx_opnd *o)
{
    if (++p->nesting > MAX_NESTING) return ptx_p_fail(p, p->t.pos, "operands nested too deeply");
    if (!simple_operand(p, o)) return false;
    if (o->kind == PTX_O_REG && !plus_offset(p, o)) return false;
    if (ptx_p_take(p, '|')) {
        ptx_opnd *pair = ptx_p_alloc(p, 2 * sizeof *pair);
        if (!pair) return false;
        pair[0] = *o;
        if (!simple_operand(p, &pair[1])) return false;
        *o = (ptx_opnd){ .kind = PTX_O_PAIR, .pos = pair[0].pos, .sub = pair, .n_sub = 2 };
    }
    p->nesting--;
    return true;
}

/* ---- statements ---- */

static bool guard(ptx_parser *p, ptx_stmt *st)
{
    if (!ptx_p_take(p, '@')) return true;
    st->guard_not = ptx_p_take(p, '!');
    ptx_opnd o = { .pos = p->t.pos };
    if (!simple_operand(p, &o)) return false;
    if (o.kind != PTX_O_REG || o.reg->type != PTX_PRED)
        return ptx_p_fail(p, o.pos, "a predicate is wanted behind @");
    st->guard = o.reg;
    return true;
}

static bool modifiers(ptx_parser *p, ptx_stmt *st)
{
    uint32_t cap = 0;
    while (p->t.kind == PTX_TOK_DOT && p->t.glued) {
        if (!ptx_p_grow(p, (void **)&st->mod, st->n_mod, &cap, sizeof *st->mod)) return false;
        ptx_mod *m = &st->mod[st->n_mod++];
        *m = (ptx_mod){ .s = ptx_p_str(p, &p->t), .pos = p->t.pos };
        if (!m->s) return false;
        ptx_p_next(p);
    }
    return true;
}

/* Remembers the names that may be labels. Operand arrays do not move any more. */
static bool note_uses(ptx_parser *p, ptx_opnd *o, uint32_t n)
{
    for (; n; n--, o++) {
        if (o->n_sub && !note_uses(p, o->sub, o->n_sub)) return false;
        if (o->kind != PTX_O_LABEL) continue;
        if (!ptx_p_grow(p, (void **)&p->use, p->n_use, &p->cap_use, sizeof *p->use)) return false;
        p->use[p->n_use++] = (ptx_use){ o, p->scope };
    }
    return true;
}

static bool instruction(ptx_parser *p, ptx_stmt *st)
{
    char buf[64];
    uint32_t cap = 0;
    if (p->t.kind != PTX_TOK_NAME)
        return ptx_p_fail(p, p->t.pos, "an instruction is wanted, got %s", ptx_p_show(p, buf));
    st->pos = p->t.pos;
    const char *from = p->t.s;
    if (!(st->op = ptx_p_str(p, &p->t))) return false;
    ptx_token text = p->t;
    ptx_p_next(p);
    if (!modifiers(p, st)) return false;
    text.s = from;
    const ptx_mod *last = st->n_mod ? &st->mod[st->n_mod - 1] : NULL;
    if (last) text.n = last->pos.col - st->pos.col + strlen(last->s) + 1;
    if (!(st->text = ptx_p_str(p, &text))) return false;
    while (!ptx_p_is(p, ';')) {
        if (!ptx_p_grow(p, (void **)&st->opnd, st->n_opnd, &cap, sizeof *st->opnd)) return false;
        if (!operand(p, &st->opnd[st->n_opnd++])) return false;
        if (!ptx_p_take(p, ',')) break;
    }
    return note_uses(p, st->opnd, st->n_opnd) && ptx_p_want(p, ';');
}

static bool add_statement(ptx_parser *p)
{
    ptx_func *f = p->func;
    ptx_stmt *st = ptx_p_alloc(p, sizeof *st);
    if (!st || !guard(p, st) || !instruction(p, st)) return false;
    if (!ptx_p_grow(p, (void **)&f->stmt, f->n_stmt, &p->cap_stmt, sizeof *f->stmt)) return false;
    st->index = f->n_stmt;
    f->stmt[f->n_stmt++] = st;
    return true;
}

/* .branchtargets A, B, ...; .calltargets f, g, ...; .callprototype ...; */
static bool label_directive(ptx_parser *p, ptx_label *l)
{
    uint32_t cap = 0;
    if (ptx_p_dot(p, "callprototype")) {
        while (!ptx_p_is(p, ';') && p->t.kind != PTX_TOK_END && p->t.kind != PTX_TOK_BAD)
            ptx_p_next(p);
        return ptx_p_want(p, ';');
    }
    if (!ptx_p_dot(p, "branchtargets") && !ptx_p_dot(p, "calltargets")) return true;
    do {
        ptx_p_next(p);
        if (p->t.kind != PTX_TOK_NAME) return ptx_p_fail(p, p->t.pos, "a label is wanted");
        if (!ptx_p_grow(p, (void **)&l->target, l->n_target, &cap, sizeof *l->target)) return false;
        if (!(l->target[l->n_target++] = ptx_p_str(p, &p->t))) return false;
        ptx_p_next(p);
    } while (ptx_p_is(p, ','));
    return ptx_p_want(p, ';');
}

static bool add_label(ptx_parser *p, const char *name, ptx_pos pos)
{
    ptx_func *f = p->func;
    if (ll_map_get_str(&p->scope->labels, name))
        return ptx_p_fail(p, pos, "label %s stands twice", name);
    if (!ptx_p_grow(p, (void **)&f->label, f->n_label, &p->cap_label, sizeof *f->label))
        return false;
    ptx_label *l = &f->label[f->n_label++];
    *l = (ptx_label){ .name = name, .stmt = f->n_stmt, .pos = pos, .scope = p->scope };
    if (!ll_map_set_str(&p->scope->labels, name, (void *)(uintptr_t)f->n_label))
        return ptx_p_fail(p, pos, "no memory left");
    return label_directive(p, l);
}

/* .loc f l c [, function_name X[+n], inlined_at f l c] */
static bool skip_loc(ptx_parser *p)
{
    uint64_t v;
    ptx_p_next(p);
    for (int i = 0; i < 3; i++)
        if (!int_term(p, &v, ".loc")) return false;
    while (ptx_p_take(p, ',')) {
        if (p->t.kind != PTX_TOK_NAME)
            return ptx_p_fail(p, p->t.pos, ".loc: a word is wanted behind ','");
        bool inlined = p->t.n == 10 && !memcmp(p->t.s, "inlined_at", 10);
        ptx_p_next(p);
        for (int i = 0; i < 3 && inlined; i++)
            if (!int_term(p, &v, ".loc")) return false;
        if (!inlined) {
            ptx_p_next(p); /* the name */
            if (ptx_p_take(p, '+') && !int_term(p, &v, ".loc")) return false;
        }
    }
    return true;
}

static bool skip_file(ptx_parser *p)
{
    uint64_t v;
    ptx_p_next(p);
    if (!int_term(p, &v, ".file")) return false;
    if (p->t.kind != PTX_TOK_STRING) return ptx_p_fail(p, p->t.pos, ".file: a string is wanted");
    ptx_p_next(p);
    while (ptx_p_take(p, ','))
        if (!int_term(p, &v, ".file")) return false;
    return true;
}

static bool skip_pragma(ptx_parser *p)
{
    do {
        ptx_p_next(p);
        if (p->t.kind != PTX_TOK_STRING)
            return ptx_p_fail(p, p->t.pos, ".pragma: a string is wanted");
        ptx_p_next(p);
    } while (ptx_p_is(p, ','));
    return ptx_p_want(p, ';');
}

static bool space_named(const ptx_parser *p, ptx_space *out)
{
    static const struct { const char *s; ptx_space space; } names[] = {
        { "global", PTX_GLOBAL }, { "const", PTX_CONST }, { "shared", PTX_SHARED },
        { "shared::cta", PTX_SHARED }, { "local", PTX_LOCAL }, { "param", PTX_PARAM },
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ptx_p_dot(p, names[i].s)) {
            *out = names[i].space;
            return true;
        }
    return false;
}

static bool body_item(ptx_parser *p)
{
    char buf[64];
    ptx_space space;
    if (ptx_p_is(p, '@')) return add_statement(p);
    if (p->t.kind == PTX_TOK_NAME) {
        ptx_lexer save = p->lex;
        ptx_token name = p->t;
        ptx_p_next(p);
        if (ptx_p_take(p, ':')) {
            char *s = ptx_p_str(p, &name);
            return s && add_label(p, s, name.pos);
        }
        p->lex = save;
        p->t = name;
        return add_statement(p);
    }
    if (ptx_p_dot(p, "loc")) return skip_loc(p);
    if (ptx_p_dot(p, "pragma")) return skip_pragma(p);
    if (ptx_p_dot(p, "file")) return skip_file(p);
    if (ptx_p_dot(p, "reg")) {
        ptx_p_next(p);
        return ptx_p_reg_decl(p);
    }
    if (space_named(p, &space)) {
        ptx_p_next(p);
        return ptx_p_var_decl(p, space, false);
    }
    if (p->t.kind == PTX_TOK_DOT &&
        (ptx_p_dot(p, "callprototype") || ptx_p_dot(p, "branchtargets")))
        return ptx_p_fail(p, p->t.pos, "%s needs a label in front", ptx_p_show(p, buf));
    return ptx_p_fail(p, p->t.pos, "a statement is wanted, got %s", ptx_p_show(p, buf));
}

static bool settle_labels(ptx_parser *p)
{
    for (uint32_t i = 0; i < p->n_use; i++) {
        ptx_opnd *o = p->use[i].opnd;
        for (ptx_scope *s = p->use[i].scope; s && o->imm < 0; s = s->parent) {
            uintptr_t v = (uintptr_t)ll_map_get_str(&s->labels, o->name);
            if (v) o->imm = (int64_t)v - 1;
        }
    }
    p->n_use = 0;
    return true;
}

static bool body(ptx_parser *p)
{
    uint32_t depth = p->scope->depth;
    while (p->scope->depth >= depth) {
        if (p->t.kind == PTX_TOK_END)
            return ptx_p_fail(p, p->t.pos, "%s: '}' is missing at the end of the text",
                              p->func->name);
        if (p->t.kind == PTX_TOK_BAD) return ptx_p_fail(p, p->t.pos, "%s", p->t.why);
        if (ptx_p_take(p, '{')) {
            if (!ptx_p_open_scope(p)) return false;
        } else if (ptx_p_is(p, '}')) {
            p->scope = p->scope->parent;
            ptx_p_next(p);
        } else if (ptx_p_take(p, ';')) {
            continue;
        } else if (!body_item(p)) {
            return false;
        }
    }
    return settle_labels(p);
}

/* ---- functions ---- */

static bool three(ptx_parser *p, uint32_t out[3])
{
    uint64_t v;
    ptx_p_next(p);
    for (int i = 0; i < 3; i++) {
        if (!ptx_p_want_int(p, UINT32_MAX, &v, "directive")) return false;
        out[i] = (uint32_t)v;
        if (i == 2 || !ptx_p_take(p, ',')) {
            for (i++; i < 3; i++) out[i] = 1;
            break;
        }
    }
    return true;
}

static bool tuning_directive(ptx_parser *p, ptx_func *f, bool *found)
{
    uint64_t v;
    *found = true;
    if (ptx_p_dot(p, "maxntid")) return three(p, f->maxntid);
    if (ptx_p_dot(p, "reqntid")) return three(p, f->reqntid);
    if (ptx_p_dot(p, "reqnctapercluster")) return three(p, f->reqcluster);
    static const char *const one[] = { "minnctapersm", "maxnreg", "maxnctapersm",
                                       "maxclusterrank" };
    for (int i = 0; i < 4; i++) {
        if (!ptx_p_dot(p, one[i])) continue;
        ptx_p_next(p);
        if (!ptx_p_want_int(p, UINT32_MAX, &v, one[i])) return false;
        if (i == 0 || i == 2) f->min_blocks = (uint32_t)v;
        if (i == 1) f->max_registers = (uint32_t)v;
        return true;
    }
    if (ptx_p_dot(p, "noreturn") || ptx_p_dot(p, "explicitcluster") ||
        ptx_p_dot(p, "blocksareclusters") || ptx_p_dot(p, "unique")) {
        ptx_p_next(p);
        return true;
    }
    if (ptx_p_dot(p, "pragma")) return skip_pragma(p);
    *found = false;
    return true;
}

static bool param_list(ptx_parser *p, ptx_func *f, bool is_ret)
{
    if (!ptx_p_take(p, '(')) return true;
    while (!ptx_p_is(p, ')')) {
        if (!ptx_p_param(p, f, is_ret)) return false;
        if (!ptx_p_take(p, ',')) break;
    }
    return ptx_p_want(p, ')');
}

/* A definition behind a declaration replaces it: calls find functions by name. */
static bool keep_func(ptx_parser *p, ptx_func *f)
{
    ptx_module *m = p->mod;
    for (uint32_t i = 0; i < m->n_func; i++) {
        ptx_func *old = m->func[i];
        if (strcmp(old->name, f->name)) continue;
        if (old->defined && f->defined)
            return ptx_p_fail(p, f->pos, "%s is defined twice", f->name);
        if (f->defined) m->func[i] = f;
        return true;
    }
    if (!ptx_p_grow(p, (void **)&m->func, m->n_func, &p->cap_func, sizeof *m->func)) return false;
    m->func[m->n_func++] = f;
    return true;
}

static bool function(ptx_parser *p, bool is_entry, bool external)
{
    char buf[64];
    ptx_func *f = ptx_p_alloc(p, sizeof *f);
    if (!f) return false;
    *f = (ptx_func){ .is_entry = is_entry, .external = external, .module = p->mod };
    p->func = f;
    p->cap_stmt = p->cap_label = p->cap_reg = 0;
    ptx_scope *outer = p->scope;
    if (!ptx_p_open_scope(p)) return false;
    if (!is_entry && !param_list(p, f, true)) return false;
    f->pos = p->t.pos;
    if (p->t.kind != PTX_TOK_NAME)
        return ptx_p_fail(p, p->t.pos, "a function name is wanted, got %s", ptx_p_show(p, buf));
    if (!(f->name = ptx_p_str(p, &p->t))) return false;
    ptx_p_next(p);
    if (!param_list(p, f, false)) return false;
    for (bool found = true; found;)
        if (!tuning_directive(p, f, &found)) return false;
    if (!ptx_p_take(p, ';')) {
        if (!ptx_p_want(p, '{') || !body(p)) return false;
        f->defined = true;
    }
    p->scope = outer;
    p->func = NULL;
    if (!ll_map_get_str(&outer->names, f->name)) {
        ptx_symbol s = { .kind = PTX_SYM_FUNC, .func = f };
        if (!ptx_p_declare(p, f->pos, f->name, &s)) return false;
    }
    return keep_func(p, f);
}

/* ---- module ---- */

static bool version(ptx_parser *p)
{
    /* "7.8" reads as a decimal float: take the text. */
    ptx_p_next(p);
    unsigned major = 0, minor = 0;
    char text[16] = "";
    if (p->t.kind == PTX_TOK_F64) {
        size_t n = (size_t)(p->lex.p - p->t.s);
        memcpy(text, p->t.s, n < 15 ? n : 15);
    }
    if (sscanf(text, "%u.%u", &major, &minor) != 2)
        return ptx_p_fail(p, p->t.pos, ".version: a number like 8.0 is wanted");
    p->mod->version_major = major;
    p->mod->version_minor = minor;
    ptx_p_next(p);
    return true;
}

static bool target(ptx_parser *p)
{
    char buf[64];
    do {
        ptx_p_next(p);
        char name[32] = "", tail = 0;
        if (p->t.kind == PTX_TOK_NAME && p->t.n < sizeof name) memcpy(name, p->t.s, p->t.n);
        unsigned sm;
        int n = sscanf(name, "sm_%u%c", &sm, &tail);
        if (n >= 1 && (n == 1 || tail == 'a' || tail == 'f')) {
            p->mod->sm = sm;
            p->mod->arch_specific = n == 2;
        } else if (strcmp(name, "debug") && strcmp(name, "texmode_independent") &&
                   strcmp(name, "texmode_unified")) {
            return ptx_p_fail(p, p->t.pos, ".target: unknown target %s", ptx_p_show(p, buf));
        }
        ptx_p_next(p);
    } while (ptx_p_is(p, ','));
    return true;
}

static bool skip_section(ptx_parser *p)
{
    ptx_p_next(p);
    ptx_p_next(p); /* its name */
    if (!ptx_p_want(p, '{')) return false;
    for (unsigned depth = 1; depth;) {
        if (p->t.kind == PTX_TOK_END) return ptx_p_fail(p, p->t.pos, ".section is not closed");
        if (p->t.kind == PTX_TOK_BAD) return ptx_p_fail(p, p->t.pos, "%s", p->t.why);
        if (ptx_p_is(p, '{')) depth++;
        if (ptx_p_is(p, '}')) depth--;
        ptx_p_next(p);
    }
    return true;
}

static bool module_item(ptx_parser *p)
{
    char buf[64];
    ptx_space space;
    bool external = false;
    if (ptx_p_dot(p, "version")) return version(p);
    if (ptx_p_dot(p, "target")) return target(p);
    if (ptx_p_dot(p, "address_size")) {
        uint64_t v;
        ptx_pos pos = p->t.pos;
        ptx_p_next(p);
        if (!int_term(p, &v, ".address_size")) return false;
        return v == 64 ||
               ptx_p_fail(p, pos, ".address_size %llu: only 64 is accepted", (unsigned long long)v);
    }
    if (ptx_p_dot(p, "file")) return skip_file(p);
    if (ptx_p_dot(p, "loc")) return skip_loc(p);
    if (ptx_p_dot(p, "pragma")) return skip_pragma(p);
    if (ptx_p_dot(p, "section")) return skip_section(p);
    while (ptx_p_dot(p, "visible") || ptx_p_dot(p, "extern") || ptx_p_dot(p, "weak") ||
           ptx_p_dot(p, "common")) {
        external |= ptx_p_dot(p, "extern");
        ptx_p_next(p);
    }
    if (ptx_p_dot(p, "entry") || ptx_p_dot(p, "func")) {
        bool entry = ptx_p_dot(p, "entry");
        ptx_p_next(p);
        for (bool found = true; found && !entry;)
            if (!tuning_directive(p, &(ptx_func){ 0 }, &found)) return false;
        return function(p, entry, external);
    }
    if (space_named(p, &space) && space != PTX_LOCAL && space != PTX_PARAM) {
        ptx_p_next(p);
        return ptx_p_var_decl(p, space, external);
    }
    return ptx_p_fail(p, p->t.pos, "a directive is wanted, got %s", ptx_p_show(p, buf));
}

ptxsim_code ptx_parse(ptx_module *mod, const char *text, size_t n, const char *name,
                      ptxsim_error *err)
{
    ptxsim_error own = { 0 };
    ptx_parser p = { .mod = mod, .err = err ? err : &own };
    *p.err = (ptxsim_error){ 0 };
    ll_arena_init(&mod->arena);
    mod->name = name ? name : "ptx";
    ptx_lex_init(&p.lex, text, n);
    bool ok = ptx_p_open_scope(&p);
    if (ok) ptx_p_next(&p);
    while (ok && p.t.kind != PTX_TOK_END) {
        if (p.t.kind == PTX_TOK_BAD) ok = ptx_p_fail(&p, p.t.pos, "%s", p.t.why);
        else if (p.mod->version_major == 0 && !ptx_p_dot(&p, "version"))
            ok = ptx_p_fail(&p, p.t.pos, "this is no PTX: .version must come first");
        else ok = module_item(&p);
    }
    if (ok && !mod->sm)
        ok = ptx_p_fail(&p, p.t.pos,
                        mod->version_major ? ".target is missing"
                                           : "this is no PTX: the text is empty");
    for (ptx_scope *s = p.made; s; s = s->next_made) {
        ll_map_finish(&s->names);
        ll_map_finish(&s->labels);
    }
    return ok ? PTXSIM_OK : p.err->code;
}

/* parse_decl.c: declarations: registers, variables with initialisers, parameters. Variables get
 * their size and alignment here, parameters also their offset; addresses come later (module load,
 * decode). */
#include "ptxsim/parser.h"

#include <string.h>

enum { MAX_VAR_BYTES = 1 << 30, MAX_REGS = 1 << 24 };

bool ptx_p_reg_new(ptx_parser *p, const char *name, ptx_type type, uint32_t n_vec, ptx_reg **out)
{
    ptx_func *f = p->func;
    ptx_reg *r = ptx_p_alloc(p, sizeof *r);
    if (!r) return false;
    *r = (ptx_reg){ .name = name, .type = type, .n_vec = n_vec };
    if (n_vec) {
        if (!(r->vec = ptx_p_alloc(p, n_vec * sizeof *r->vec))) return false;
        for (uint32_t i = 0; i < n_vec; i++) r->vec[i] = (ptx_reg){ .name = name, .type = type };
    }
    for (uint32_t i = 0; i < (n_vec ? n_vec : 1); i++) {
        if (!ptx_p_grow(p, (void **)&f->reg, f->n_reg, &p->cap_reg, sizeof *f->reg)) return false;
        f->reg[f->n_reg++] = n_vec ? &r->vec[i] : r;
    }
    *out = r;
    return true;
}

static bool vector_prefix(ptx_parser *p, uint32_t *n)
{
    *n = 0;
    if (ptx_p_dot(p, "v2")) *n = 2;
    if (ptx_p_dot(p, "v4")) *n = 4;
    if (ptx_p_dot(p, "v8")) *n = 8;
    if (*n) ptx_p_next(p);
    return true;
}

static bool want_type(ptx_parser *p, ptx_type *out)
{
    char buf[64];
    if (p->t.kind == PTX_TOK_DOT) *out = ptx_type_named(p->t.s, (unsigned)p->t.n);
    if (p->t.kind != PTX_TOK_DOT || *out == PTX_NOTYPE)
        return ptx_p_fail(p, p->t.pos, "a type is wanted, got %s", ptx_p_show(p, buf));
    ptx_p_next(p);
    return true;
}

static bool want_name(ptx_parser *p, const char **out)
{
    char buf[64];
    if (p->t.kind != PTX_TOK_NAME)
        return ptx_p_fail(p, p->t.pos, "a name is wanted, got %s", ptx_p_show(p, buf));
    if (!(*out = ptx_p_str(p, &p->t))) return false;
    ptx_p_next(p);
    return true;
}

static bool reg_type_ok(ptx_type t)
{
    unsigned bits = ptx_type_bits(t);
    return t == PTX_PRED || bits == 8 || bits == 16 || bits == 32 || bits == 64 || bits == 128;
}

bool ptx_p_reg_decl(ptx_parser *p)
{
    uint32_t n_vec;
    ptx_type type = PTX_NOTYPE;
    ptx_pos pos = p->t.pos;
    if (!vector_prefix(p, &n_vec) || !want_type(p, &type)) return false;
    if (!n_vec && !vector_prefix(p, &n_vec)) return false;
    if (!reg_type_ok(type))
        return ptx_p_fail(p, pos, "no register has the type .%s", ptx_type_name(type));
    do {
        const char *name = NULL;
        pos = p->t.pos;
        if (!want_name(p, &name)) return false;
        if (ptx_p_take(p, '<')) {
            uint64_t count;
            ptx_range *r = ptx_p_alloc(p, sizeof *r);
            if (!r || !ptx_p_want_int(p, MAX_REGS, &count, "register count") || !ptx_p_want(p, '>'))
                return false;
            *r = (ptx_range){ .prefix = name,
                              .count = (uint32_t)count,
                              .type = type,
                              .n_vec = n_vec,
                              .next = p->scope->ranges };
            p->scope->ranges = r;
        } else {
            ptx_symbol s = { .kind = PTX_SYM_REG };
            if (!ptx_p_reg_new(p, name, type, n_vec, &s.reg) || !ptx_p_declare(p, pos, name, &s))
                return false;
        }
    } while (ptx_p_take(p, ','));
    return ptx_p_want(p, ';');
}

/* ---- initialisers ---- */

typedef struct init_ctx {
    ptx_var *var;
    ptx_init **tail;
    uint32_t elem;
    uint64_t off;
} init_ctx;

static uint64_t float_bits(const ptx_token *t, ptx_type type, bool neg)
{
    double d;
    float f;
    uint32_t u;
    if (t->kind == PTX_TOK_F32) return t->i ^ (neg ? 0x80000000u : 0);
    memcpy(&d, &t->i, 8);
    if (neg) d = -d;
    if (type == PTX_F32) {
        f = (float)d;
        memcpy(&u, &f, 4);
        return u;
    }
    uint64_t b;
    memcpy(&b, &d, 8);
    return b;
}

/* name, name+4, generic(name), mask(name): behind the opening word. */
static bool init_symbol(ptx_parser *p, init_ctx *c, ptx_init *in)
{
    const char *name = NULL;
    if (!want_name(p, &name)) return false;
    if (ptx_p_is(p, '(')) {
        if (!strcmp(name, "generic")) {
            ptx_p_next(p);
        } else if (!strcmp(name, "mask")) {
            return ptx_p_fail(p, in->pos, "mask() in an initialiser");
        } else {
            return ptx_p_fail(p, in->pos, "unknown operator %s in an initialiser", name);
        }
        if (!want_name(p, &in->symbol) || !ptx_p_want(p, ')')) return false;
    } else {
        in->symbol = name;
    }
    if (ptx_p_take(p, '+')) {
        uint64_t v;
        if (!ptx_p_want_int(p, UINT64_MAX, &v, "offset")) return false;
        in->value = v;
    }
    return true;
}

/* 0xff(name), 0xff00(name): one byte of an address. */
static bool init_byte_of(ptx_parser *p, ptx_init *in)
{
    uint64_t m = in->value;
    unsigned shift = m ? (unsigned)__builtin_ctzll(m) : 0;
    if (m >> shift != 0xff || shift % 8)
        return ptx_p_fail(p, in->pos, "a byte mask is wanted in front of (");
    const char *name = NULL;
    ptx_p_next(p);
    if (!want_name(p, &name)) return false;
    if (!strcmp(name, "generic") && ptx_p_take(p, '(')) {
        if (!want_name(p, &name) || !ptx_p_want(p, ')')) return false;
    }
    in->symbol = name;
    in->mask_shift = shift + 1;
    in->value = 0;
    if (ptx_p_take(p, '+') && !ptx_p_want_int(p, UINT64_MAX, &in->value, "offset")) return false;
    return ptx_p_want(p, ')');
}

static bool init_value(ptx_parser *p, init_ctx *c)
{
    char buf[64];
    ptx_init *in = ptx_p_alloc(p, sizeof *in);
    if (!in) return false;
    *in = (ptx_init){ .off = c->off, .size = c->elem, .pos = p->t.pos };
    bool neg = ptx_p_take(p, '-');
    if (p->t.kind == PTX_TOK_INT) {
        in->value = neg ? 0 - p->t.i : p->t.i;
        ptx_p_next(p);
        if (ptx_p_is(p, '(') && !neg && !init_byte_of(p, in)) return false;
        if (ptx_is_float(c->var->type) && !in->symbol) {
            double d = (double)(int64_t)in->value;
            ptx_token t = { .kind = PTX_TOK_F64 };
            memcpy(&t.i, &d, 8);
            in->value = float_bits(&t, c->var->type, false);
        }
    } else if (p->t.kind == PTX_TOK_F32 || p->t.kind == PTX_TOK_F64) {
        in->value = float_bits(&p->t, c->var->type, neg);
        ptx_p_next(p);
    } else if (p->t.kind == PTX_TOK_NAME && !neg) {
        if (!init_symbol(p, c, in)) return false;
    } else {
        return ptx_p_fail(p, p->t.pos, "a value is wanted, got %s", ptx_p_show(p, buf));
    }
    c->off += c->elem;
    *c->tail = in;
    c->tail = &in->next;
    return true;
}

static bool init_list(ptx_parser *p, init_ctx *c)
{
    if (!ptx_p_take(p, '{')) return init_value(p, c);
    if (++p->nesting > 16) return ptx_p_fail(p, p->t.pos, "initialiser nested too deeply");
    while (!ptx_p_is(p, '}')) {
        if (!init_list(p, c)) return false;
        if (!ptx_p_take(p, ',')) break;
    }
    p->nesting--;
    return ptx_p_want(p, '}');
}

/* ---- variables ---- */

static uint64_t align_up(uint64_t v, uint64_t a) { return (v + a - 1) / a * a; }

/* [n][m] or []: multiplies *size. */
static bool dims(ptx_parser *p, uint64_t *size, bool *open)
{
    *open = false;
    for (uint64_t n; ptx_p_take(p, '[');) {
        if (ptx_p_take(p, ']')) {
            *open = true;
            continue;
        }
        ptx_pos pos = p->t.pos;
        if (!ptx_p_want_int(p, MAX_VAR_BYTES, &n, "array size")) return false;
        if (!ptx_p_want(p, ']')) return false;
        if (__builtin_mul_overflow(*size, n, size) || *size > MAX_VAR_BYTES)
            return ptx_p_fail(p, pos, "variable larger than %d bytes", MAX_VAR_BYTES);
    }
    return true;
}

/* [.align N] [.ptr [.space] [.align N]] [.vN] .type, in any order that compilers use. */
static bool var_type(ptx_parser *p, ptx_type *type, uint32_t *align, uint32_t *n_vec)
{
    uint64_t v;
    bool is_ptr = false;
    *type = PTX_NOTYPE;
    *align = *n_vec = 0;
    while (p->t.kind == PTX_TOK_DOT) {
        ptx_pos pos = p->t.pos;
        if (ptx_p_dot(p, "align")) {
            ptx_p_next(p);
            if (!ptx_p_want_int(p, 1 << 20, &v, "alignment")) return false;
            if (!v || (v & (v - 1)))
                return ptx_p_fail(p, pos, "alignment %llu is no power of two",
                                  (unsigned long long)v);
            if (!is_ptr) *align = (uint32_t)v;
        } else if (ptx_p_dot(p, "ptr")) {
            is_ptr = true;
            ptx_p_next(p);
        } else if (is_ptr && (ptx_p_dot(p, "global") || ptx_p_dot(p, "shared") ||
                              ptx_p_dot(p, "local") || ptx_p_dot(p, "const"))) {
            ptx_p_next(p);
        } else if (ptx_p_dot(p, "attribute")) {
            ptx_p_next(p);
            if (!ptx_p_want(p, '(')) return false;
            while (p->t.kind == PTX_TOK_DOT || p->t.kind == PTX_TOK_INT || ptx_p_is(p, ','))
                ptx_p_next(p);
            if (!ptx_p_want(p, ')')) return false;
        } else if (ptx_p_dot(p, "v2") || ptx_p_dot(p, "v4")) {
            *n_vec = p->t.s[1] == '2' ? 2 : 4;
            ptx_p_next(p);
        } else if (*type == PTX_NOTYPE) {
            if (!want_type(p, type)) return false;
        } else {
            break;
        }
    }
    return *type != PTX_NOTYPE || want_type(p, type);
}

static ptx_var *new_var(ptx_parser *p, ptx_space space, ptx_type type, uint32_t align,
                        uint32_t n_vec)
{
    ptx_var *v = ptx_p_alloc(p, sizeof *v);
    if (!v) return NULL;
    *v = (ptx_var){ .space = space, .type = type, .pos = p->t.pos };
    v->size = (ptx_type_bits(type) + 7) / 8 * (n_vec ? n_vec : 1);
    v->align = align ? align : v->size ? (uint32_t)v->size : 1;
    return v;
}

static bool keep_var(ptx_parser *p, ptx_var *v)
{
    ptx_module *m = p->mod;
    if (v->space == PTX_LOCAL || v->space == PTX_PARAM) {
        if (!p->func)
            return ptx_p_fail(p, v->pos, "%s: this state space needs a function around it",
                              v->name);
        v->addr = align_up(p->func->local_bytes, v->align);
        if (v->addr + v->size > MAX_VAR_BYTES)
            return ptx_p_fail(p, v->pos, "%s: too much local memory", v->name);
        p->func->local_bytes = (uint32_t)(v->addr + v->size);
        return true;
    }
    if (!ptx_p_grow(p, (void **)&m->var, m->n_var, &p->cap_var, sizeof *m->var)) return false;
    m->var[m->n_var++] = v;
    return true;
}

bool ptx_p_var_decl(ptx_parser *p, ptx_space space, bool external)
{
    ptx_type type;
    uint32_t align, n_vec;
    if (!var_type(p, &type, &align, &n_vec)) return false;
    do {
        bool open;
        ptx_var *v = new_var(p, space, type, align, n_vec);
        if (!v || !want_name(p, &v->name)) return false;
        uint32_t elem = ptx_type_bits(type) / 8 ? ptx_type_bits(type) / 8 : 1;
        if (ptx_p_is(p, '<')) { /* .param .b32 p<3>: rarely written; each is a variable */
            return ptx_p_fail(p, p->t.pos, "parameterised variable names");
        }
        if (!dims(p, &v->size, &open)) return false;
        v->external = external;
        if (ptx_p_take(p, '=')) {
            init_ctx c = { .var = v, .tail = &v->init, .elem = elem };
            if (space != PTX_GLOBAL && space != PTX_CONST)
                return ptx_p_fail(
                    p, v->pos, "%s: only .global and .const variables have initialisers", v->name);
            if (!init_list(p, &c)) return false;
            if (open) v->size = c.off;
            if (c.off > v->size)
                return ptx_p_fail(p, v->pos, "%s: more initialisers than elements", v->name);
        } else if (open) {
            if (space == PTX_SHARED || external) v->external = true, v->size = 0;
            else return ptx_p_fail(p, v->pos, "%s: the array has no size", v->name);
        }
        ptx_symbol s = { .kind = PTX_SYM_VAR, .var = v };
        if (!keep_var(p, v) || !ptx_p_declare(p, v->pos, v->name, &s)) return false;
    } while (ptx_p_take(p, ','));
    return ptx_p_want(p, ';');
}

bool ptx_p_param(ptx_parser *p, ptx_func *f, bool is_ret)
{
    char buf[64];
    bool reg = ptx_p_dot(p, "reg");
    if (!reg && !ptx_p_dot(p, "param"))
        return ptx_p_fail(p, p->t.pos, ".param is wanted, got %s", ptx_p_show(p, buf));
    ptx_p_next(p);
    ptx_type type;
    uint32_t align, n_vec;
    if (!var_type(p, &type, &align, &n_vec)) return false;
    ptx_var *v = new_var(p, PTX_PARAM, type, align, n_vec);
    bool open;
    if (!v || !want_name(p, &v->name) || !dims(p, &v->size, &open)) return false;
    if (open) return ptx_p_fail(p, v->pos, "%s: the array has no size", v->name);
    ptx_symbol s = { .kind = PTX_SYM_VAR, .var = v };
    if (reg) {
        v->is_reg = true;
        s.kind = PTX_SYM_REG;
        if (!ptx_p_reg_new(p, v->name, type, 0, &v->reg)) return false;
        s.reg = v->reg;
    }
    uint64_t off = align_up(f->is_entry ? f->param_bytes : f->local_bytes, v->align);
    if (off + v->size > 1 << 20)
        return ptx_p_fail(p, v->pos, "%s: too many parameter bytes", v->name);
    v->addr = off;
    v->kernel_param = f->is_entry;
    *(f->is_entry ? &f->param_bytes : &f->local_bytes) = (uint32_t)(off + v->size);
    ptx_var ***list = is_ret ? &f->ret : &f->param;
    uint32_t *n = is_ret ? &f->n_ret : &f->n_param;
    if (!(*n & (*n - 1))) { /* a power of two: double */
        ptx_var **bigger = ptx_p_alloc(p, (*n ? *n * 2 : 1) * sizeof *bigger);
        if (!bigger) return false;
        if (*n) memcpy(bigger, *list, *n * sizeof *bigger);
        *list = bigger;
    }
    (*list)[(*n)++] = v;
    return ptx_p_declare(p, v->pos, v->name, &s);
}

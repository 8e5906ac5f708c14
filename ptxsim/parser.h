/* parser.h: what parse.c (structure, instructions) and parse_decl.c (declarations, initialisers)
 * share. */
#ifndef PTXSIM_PARSER_H
#define PTXSIM_PARSER_H

#include "ptxsim/lex.h"

/* `.reg .b32 %r<40>`: registers %r0..%r39, made when they are first named. */
typedef struct ptx_range {
    const char *prefix;
    uint32_t count;
    ptx_type type;
    uint32_t n_vec;
    struct ptx_range *next;
} ptx_range;

typedef struct ptx_symbol {
    enum { PTX_SYM_REG, PTX_SYM_VAR, PTX_SYM_FUNC } kind;
    ptx_reg *reg;
    ptx_var *var;
    ptx_func *func;
} ptx_symbol;

typedef struct ptx_scope {
    ll_map names;             /* -> ptx_symbol */
    ll_map labels;            /* -> index + 1 into func->label, as a pointer */
    ptx_range *ranges;
    struct ptx_scope *parent, *next_made;
    uint32_t depth;
} ptx_scope;

typedef struct ptx_use {      /* a name that may be a label: settled at the end of the function */
    ptx_opnd *opnd;
    ptx_scope *scope;
} ptx_use;

typedef struct ptx_parser {
    ptx_lexer lex;
    ptx_token t;              /* current token */
    ptx_module *mod;
    ptxsim_error *err;
    ptx_scope *scope, *made;  /* innermost; list of all */
    ptx_func *func;           /* being parsed, or NULL */
    uint32_t cap_stmt, cap_label, cap_reg, cap_var, cap_func;
    ptx_use *use;
    uint32_t n_use, cap_use;
    uint32_t nesting;
} ptx_parser;

bool ptx_p_fail(ptx_parser *p, ptx_pos pos, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void *ptx_p_alloc(ptx_parser *p, size_t n); /* NULL: recorded */
char *ptx_p_str(ptx_parser *p, const ptx_token *t);
/* Room for one more element in an arena array. */
bool ptx_p_grow(ptx_parser *p, void **array, uint32_t n, uint32_t *cap, size_t size);
void ptx_p_next(ptx_parser *p);
bool ptx_p_is(const ptx_parser *p, char c);
bool ptx_p_dot(const ptx_parser *p, const char *name); /* the current token is .name */
bool ptx_p_take(ptx_parser *p, char c);                /* if it is there */
bool ptx_p_want(ptx_parser *p, char c);                /* or a failure */
bool ptx_p_want_int(ptx_parser *p, uint64_t max, uint64_t *out, const char *what);
const char *ptx_p_show(const ptx_parser *p, char buf[64]); /* the current token, for messages */
bool ptx_p_open_scope(ptx_parser *p);
bool ptx_p_declare(ptx_parser *p, ptx_pos pos, const char *name, const ptx_symbol *s);
ptx_symbol *ptx_p_lookup(ptx_parser *p,
                         const char *name); /* NULL: not declared, or out of memory (recorded) */

/* parse_decl.c */
bool ptx_p_reg_decl(ptx_parser *p);                     /* behind ".reg" */
bool ptx_p_var_decl(ptx_parser *p, ptx_space space,
                    bool external); /* behind ".global" etc.; takes ';' */
bool ptx_p_param(ptx_parser *p, ptx_func *f, bool is_ret);
bool ptx_p_reg_new(ptx_parser *p, const char *name, ptx_type type, uint32_t n_vec, ptx_reg **out);

#endif

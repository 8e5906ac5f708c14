/* lex.h: PTX text -> tokens. The lexer never allocates; a token points into the text. */
#ifndef PTXSIM_LEX_H
#define PTXSIM_LEX_H

#include "ptxsim/parse.h"

typedef enum ptx_tok {
    PTX_TOK_END,
    PTX_TOK_NAME,   /* identifier, with % or $ or _ in front */
    PTX_TOK_DOT,    /* .name, :: included: directive, type, modifier */
    PTX_TOK_INT,    /* i */
    PTX_TOK_F32, PTX_TOK_F64, /* i holds the bits */
    PTX_TOK_STRING, /* s..n without the quotes */
    PTX_TOK_PUNCT,  /* c */
    PTX_TOK_BAD,    /* why */
} ptx_tok;

typedef struct ptx_token {
    ptx_tok kind;
    ptx_pos pos;
    const char *s;
    size_t n;
    uint64_t i;
    char c;
    bool glued;       /* no blank between this token and the one before */
    const char *why;
} ptx_token;

typedef struct ptx_lexer {
    const char *p, *end;
    ptx_pos pos;
} ptx_lexer;

void ptx_lex_init(ptx_lexer *l, const char *text, size_t n);
void ptx_lex_next(ptx_lexer *l, ptx_token *t);

#endif

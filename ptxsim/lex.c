/* lex.c: the tokens of PTX: names (with %, $, _), dotted words (a modifier may hold "::"), integers
 * in four bases with a U suffix, 0fXXXXXXXX and 0dXXXXXXXXXXXXXXXX, decimal floats (f64), strings,
 * punctuation. Comments of both kinds and blanks are skipped. Columns count bytes. */
#include "ptxsim/lex.h"

#include <stdlib.h>
#include <string.h>

void ptx_lex_init(ptx_lexer *l, const char *text, size_t n)
{
    const char *nul = memchr(text, 0, n);
    *l = (ptx_lexer){ .p = text, .end = nul ? nul : text + n, .pos = { 1, 1 } };
}

static bool name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}
static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool name_char(char c) { return (name_start(c) && c != '%') || digit(c); }
static int hex_value(char c)
{
    if (digit(c)) return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void step(ptx_lexer *l)
{
    if (*l->p++ == '\n') {
        l->pos.line++;
        l->pos.col = 1;
    } else {
        l->pos.col++;
    }
}

/* Blanks and comments; false when a comment is not closed. */
static bool skip_blanks(ptx_lexer *l, bool *skipped)
{
    *skipped = false;
    for (;;) {
        while (l->p < l->end && (*l->p == ' ' || (*l->p >= '\t' && *l->p <= '\r')))
            step(l), *skipped = true;
        if (l->end - l->p < 2 || *l->p != '/') return true;
        if (l->p[1] == '/') {
            while (l->p < l->end && *l->p != '\n') step(l);
        } else if (l->p[1] == '*') {
            ptx_pos open = l->pos;
            step(l), step(l);
            while (l->end - l->p >= 2 && !(l->p[0] == '*' && l->p[1] == '/')) step(l);
            if (l->end - l->p < 2) {
                l->pos = open;
                return false;
            }
            step(l), step(l);
        } else {
            return true;
        }
        *skipped = true;
    }
}

static void bad(ptx_token *t, const char *why)
{
    t->kind = PTX_TOK_BAD;
    t->why = why;
}

/* 0fXXXXXXXX, 0dXXXXXXXXXXXXXXXX. */
static void lex_hex_float(ptx_lexer *l, ptx_token *t, int digits)
{
    step(l), step(l);
    t->kind = digits == 8 ? PTX_TOK_F32 : PTX_TOK_F64;
    t->i = 0;
    for (int k = 0; k < digits; k++) {
        int v = l->p < l->end ? hex_value(*l->p) : -1;
        if (v < 0) {
            bad(t,
                digits == 8 ? "0f needs 8 hexadecimal digits" : "0d needs 16 hexadecimal digits");
            return;
        }
        t->i = t->i << 4 | (uint64_t)v;
        step(l);
    }
}

static void lex_integer(ptx_lexer *l, ptx_token *t, unsigned base)
{
    t->kind = PTX_TOK_INT;
    t->i = 0;
    bool any = false;
    for (; l->p < l->end; step(l)) {
        int v = hex_value(*l->p);
        if (v < 0 || (unsigned)v >= base) break;
        uint64_t next;
        if (__builtin_mul_overflow(t->i, (uint64_t)base, &next) ||
            __builtin_add_overflow(next, (uint64_t)v, &next)) {
            bad(t, "integer does not fit 64 bits");
            return;
        }
        t->i = next;
        any = true;
    }
    if (!any) bad(t, "digits missing in a number");
    if (l->p < l->end && (*l->p == 'U' || *l->p == 'u')) step(l);
}

/* Decimal floats: digits, a point or an exponent. Always f64. */
static bool lex_decimal_float(ptx_lexer *l, ptx_token *t)
{
    const char *q = l->p;
    while (q < l->end && digit(*q)) q++;
    bool is_float = q < l->end && *q == '.' && q + 1 < l->end && digit(q[1]);
    if (is_float) {
        q++;
        while (q < l->end && digit(*q)) q++;
    }
    if (q < l->end && (*q == 'e' || *q == 'E')) {
        const char *e = q + 1;
        if (e < l->end && (*e == '+' || *e == '-')) e++;
        if (e < l->end && digit(*e)) {
            is_float = true;
            while (e < l->end && digit(*e)) e++;
            q = e;
        }
    }
    if (!is_float) return false;
    char buf[64];
    size_t n = (size_t)(q - l->p);
    if (n >= sizeof buf) {
        bad(t, "number too long");
        return true;
    }
    memcpy(buf, l->p, n);
    buf[n] = 0;
    double v = strtod(buf, NULL);
    memcpy(&t->i, &v, 8);
    t->kind = PTX_TOK_F64;
    while (l->p < q) step(l);
    return true;
}

static void lex_number(ptx_lexer *l, ptx_token *t)
{
    char second = l->end - l->p > 1 ? (char)(l->p[1] | 32) : 0;
    if (*l->p == '0' && second == 'f') {
        lex_hex_float(l, t, 8);
    } else if (*l->p == '0' && second == 'd') {
        lex_hex_float(l, t, 16);
    } else if (*l->p == '0' && second == 'x') {
        step(l), step(l);
        lex_integer(l, t, 16);
    } else if (*l->p == '0' && second == 'b') {
        step(l), step(l);
        lex_integer(l, t, 2);
    } else if (!lex_decimal_float(l, t)) {
        lex_integer(l, t, *l->p == '0' ? 8 : 10);
    }
    if (t->kind != PTX_TOK_BAD && l->p < l->end && name_char(*l->p))
        bad(t, "letter behind a number");
}

static void lex_string(ptx_lexer *l, ptx_token *t)
{
    step(l);
    t->s = l->p;
    while (l->p < l->end && *l->p != '"' && *l->p != '\n') {
        if (*l->p == '\\' && l->end - l->p > 1) step(l);
        step(l);
    }
    t->n = (size_t)(l->p - t->s);
    t->kind = PTX_TOK_STRING;
    if (l->p >= l->end || *l->p != '"') bad(t, "string is not closed");
    else step(l);
}

static void lex_dotted(ptx_lexer *l, ptx_token *t)
{
    step(l);
    t->s = l->p;
    while (l->p < l->end) {
        if (name_char(*l->p)) {
            step(l);
        } else if (*l->p == ':' && l->end - l->p > 2 && l->p[1] == ':' && name_char(l->p[2])) {
            step(l), step(l);
        } else {
            break;
        }
    }
    t->n = (size_t)(l->p - t->s);
    t->kind = PTX_TOK_DOT;
}

void ptx_lex_next(ptx_lexer *l, ptx_token *t)
{
    bool skipped;
    *t = (ptx_token){ .kind = PTX_TOK_END };
    if (!skip_blanks(l, &skipped)) {
        t->pos = l->pos;
        bad(t, "comment is not closed");
        l->p = l->end;
        return;
    }
    t->glued = !skipped;
    t->pos = l->pos;
    t->s = l->p;
    if (l->p >= l->end) return;
    char c = *l->p;
    if (name_start(c)) {
        step(l);
        while (l->p < l->end && name_char(*l->p)) step(l);
        t->n = (size_t)(l->p - t->s);
        t->kind = PTX_TOK_NAME;
        if (c == '%' && t->n == 1) bad(t, "a name is missing behind %");
    } else if (digit(c)) {
        lex_number(l, t);
    } else if (c == '"') {
        lex_string(l, t);
    } else if (c == '.' && l->end - l->p > 1 && name_char(l->p[1])) {
        lex_dotted(l, t);
    } else if (strchr(",;:{}()[]|!+-*/@=<>~&^?.", c)) {
        step(l);
        t->kind = PTX_TOK_PUNCT;
        t->c = c;
        t->n = 1;
    } else {
        step(l);
        bad(t, "character that PTX does not have");
    }
}

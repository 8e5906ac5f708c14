/* layout_parse.c: reads the text of a layout (layout.c has its grammar) back. Refuses everything
 * that lp_layout_print cannot have written, naming the place. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "schedule/layout.h"

static const char *const place_name[] = {"", "reg.", "lane.", "warp."};

typedef struct text {
    te_graph *g;
    const char *all, *p;
    ll_error *err;
    bool ok;
} text;

static void fail(text *t, const char *wanted)
{
    if (t->ok)
        ll_fail(t->err, LL_BAD_INPUT, "layout: wanted %s at \"%.24s\" in \"%.200s\"", wanted, t->p,
                t->all);
    t->ok = false;
}

static void skip(text *t)
{
    while (isspace((unsigned char)*t->p)) t->p++;
}

static bool word(text *t, const char *w)
{
    skip(t);
    size_t n = strlen(w);
    if (strncmp(t->p, w, n) != 0) return false;
    t->p += n;
    return true;
}

static int64_t number(text *t, int64_t lo, int64_t hi)
{
    skip(t);
    char *end;
    long long v = strtoll(t->p, &end, 10);
    if (end == t->p || v < lo || v > hi) {
        fail(t, "a number in range");
        return lo;
    }
    t->p = end;
    return v;
}

/* A stride: a bare number, or an expression in parentheses or with calls; ends at a space outside
 * of them. */
static te_ref stride(text *t)
{
    const char *start = t->p;
    int depth = 0;
    while (*t->p && (depth || !strchr(" |;)", *t->p))) {
        depth += (*t->p == '(' || *t->p == '[') - (*t->p == ')' || *t->p == ']');
        t->p++;
    }
    ll_str s = {0};
    ll_str_addn(&s, start, (size_t)(t->p - start));
    ll_error err = {0};
    te_ref e = te_parse_expr(t->g, ll_str_cstr(&s), NULL, 0, &err);
    ll_str_finish(&s);
    if (!e || te_is_poison(e)) {
        t->p = start;
        fail(t, "a stride");
        return te_int(t->g, 0);
    }
    return e;
}

static void parse_digit(text *t, lp_layout *l, int dim)
{
    if (l->n_digit == LP_MAX_DIGIT) {
        fail(t, "fewer digits");
        return;
    }
    lp_digit *d = &l->digit[l->n_digit++];
    d->dim = (uint8_t)dim;
    d->size = word(t, "...") ? 0 : number(t, 1, INT64_MAX);
    if (!word(t, "@")) fail(t, "\"@\"");
    for (int i = LP_AT_REG; i <= LP_AT_WARP; i++)
        if (word(t, place_name[i])) d->place = (uint8_t)i;
    d->stride = stride(t);
}

static void parse_swizzle(text *t, lp_layout *l)
{
    if (l->n_swizzle == LP_MAX_SWIZZLE) {
        fail(t, "fewer swizzles");
        return;
    }
    lp_swizzle *w = &l->swizzle[l->n_swizzle++];
    w->n = (uint8_t)number(t, 1, 16);
    if (!word(t, "bits")) fail(t, "\"bits\"");
    w->from = (uint8_t)number(t, 0, 40);
    if (!word(t, "->")) fail(t, "\"->\"");
    w->to = (uint8_t)number(t, 0, 40);
}

static void parse_tail(text *t, lp_layout *l)
{
    while (t->ok && word(t, ";")) {
        if (word(t, "offset")) l->offset = number(t, 0, INT64_MAX);
        else if (word(t, "xor")) parse_swizzle(t, l);
        else fail(t, "\"offset\" or \"xor\"");
    }
    if (t->ok && !word(t, ")")) fail(t, "\")\"");
    skip(t);
    if (t->ok && *t->p) fail(t, "the end");
}

lp_layout *lp_layout_parse(te_graph *g, const char *in, int ndim, ll_error *err)
{
    text t = {g, in, in, err, true};
    lp_layout *l = LL_NEW(te_arena(g), lp_layout);
    if (!word(&t, "layout(")) fail(&t, "\"layout(\"");
    for (int dim = 0; t.ok && dim < ndim; dim++) {
        if (dim && !word(&t, "|")) break; /* the last dimensions may be left out */
        if (word(&t, "-")) continue;
        int before = l->n_digit;
        for (skip(&t); t.ok && *t.p && !strchr("|;)", *t.p); skip(&t)) {
            if (l->n_digit > before && l->digit[l->n_digit - 1].size == 0)
                fail(&t, "no digit behind \"...\"");
            else parse_digit(&t, l, dim);
        }
    }
    if (t.ok) parse_tail(&t, l);
    return t.ok ? l : NULL;
}

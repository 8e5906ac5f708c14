/* Loop texts: any bytes are refused with a place, or make a function that prints, parses back to the same text, and is
 * verified (which runs it on made-up values) without harm. */
#include "schedule/loop.h"
#include "tests/fuzz/reprint.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

/* What callers and the code generators read of a parameter. */
static bool same_param(const lp_buf *a, const lp_buf *b)
{
    return a->t->weight == b->t->weight && a->t->dtype == b->t->dtype && a->t->ndim == b->t->ndim &&
           a->written == b->written && a->given == b->given && a->align == b->align &&
           !a->layout == !b->layout && !a->within == !b->within;
}

static bool reprint(te_graph *g, const char *text, const void *was, ll_str *out)
{
    ll_error err = {0};
    const lp_func *f = lp_parse(g, text, "printed", &err), *o = was;
    if (!f || f->n_param != o->n_param || f->n_dim != o->n_dim) return false;
    for (int i = 0; i < f->n_param; i++)
        if (!same_param(f->param[i], o->param[i])) return false;
    lp_print(out, f);
    return true;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
    char *text = malloc(n + 1);
    ll_error err = {0}, why = {0};
    memcpy(text, data, n);
    text[n] = 0;
    te_graph *g = te_graph_create();
    lp_func *f = lp_parse(g, text, "text", &err);
    if (f) {
        ll_str printed = {0};
        lp_print(&printed, f);
        parses_back(&printed, reprint, f);
        if (lp_verify(f, &why) != LL_OK && !why.msg[0]) abort();
        lp_simplify(f);
    } else if (!err.msg[0]) {
        abort();
    }
    te_graph_destroy(g);
    free(text);
    return 0;
}

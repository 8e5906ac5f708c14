/* Tensor-expression texts: any bytes are refused with a place, or make a graph that prints, parses back to
 * the same text, and simplifies. */
#include "tests/fuzz/reprint.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

/* The n-th tensor of its kind, or NULL. */
static te_tensor *nth(te_graph *g, int kind, size_t n)
{
    for (size_t i = 0; i < te_n_tensors(g); i++)
        if ((int)te_tensor_at(g, i)->kind == kind && n-- == 0) return te_tensor_at(g, i);
    return NULL;
}

static bool same_inputs(te_graph *a, te_graph *b)
{
    for (size_t i = 0;; i++) {
        te_tensor *x = nth(a, TE_INPUT, i), *y = nth(b, TE_INPUT, i);
        if (!x || !y) return x == y;
        if (x->weight != y->weight || x->dtype != y->dtype || x->ndim != y->ndim) return false;
    }
}

/* The canonical text of a definition, and so its hash, knows no names: what it means. */
static bool same_definitions(te_graph *a, te_graph *b)
{
    for (size_t i = 0;; i++) {
        te_tensor *x = nth(a, TE_DEF, i), *y = nth(b, TE_DEF, i);
        if (!x || !y) return x == y;
        ll_hash h = te_hash(&x, 1), k = te_hash(&y, 1);
        if (h.lo != k.lo || h.hi != k.hi) return false;
    }
}

static bool reprint(te_graph *g, const char *text, const void *was, ll_str *out)
{
    ll_error err = {0};
    if (te_parse(g, text, "printed", &err) != LL_OK) return false;
    te_graph *before = (te_graph *)(uintptr_t)was;
    if (!same_inputs(g, before) || !same_definitions(g, before)) return false;
    te_print(out, g);
    return true;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
    char *text = malloc(n + 1);
    ll_error err = {0};
    memcpy(text, data, n);
    text[n] = 0;
    te_graph *g = te_graph_create();
    if (te_parse(g, text, "text", &err) == LL_OK) {
        ll_str printed = {0};
        te_print(&printed, g);
        parses_back(&printed, reprint, g);
        for (size_t i = 0; i < te_n_tensors(g); i++) {
            te_tensor *t = te_tensor_at(g, i);
            if (t->kind != TE_DEF) continue;
            te_simplify(g, t->body);
            te_hash(&t, 1);
        }
    } else if (!err.msg[0] || te_error(g)) {
        abort();
    }
    te_graph_destroy(g);
    free(text);
    return 0;
}

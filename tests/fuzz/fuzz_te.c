/* Tensor-expression texts: any bytes are refused with a place, or make a graph that prints, parses back to
 * the same text, and simplifies. */
#include <stdlib.h>
#include <string.h>

#include "te/te.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

static void parses_back(te_graph *g)
{
    te_graph *h = te_graph_create();
    ll_str a = {0}, b = {0};
    ll_error err = {0};
    te_print(&a, g);
    if (te_parse(h, ll_str_cstr(&a), "printed", &err) != LL_OK) abort();
    te_print(&b, h);
    if (strcmp(ll_str_cstr(&a), ll_str_cstr(&b)) != 0) abort();
    ll_str_finish(&a);
    ll_str_finish(&b);
    te_graph_destroy(h);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
    char *text = malloc(n + 1);
    ll_error err = {0};
    memcpy(text, data, n);
    text[n] = 0;
    te_graph *g = te_graph_create();
    if (te_parse(g, text, "text", &err) == LL_OK) {
        parses_back(g);
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

/* Tensor-expression texts: any bytes are refused with a place, or make a graph that prints, parses back to
 * the same text, and simplifies. */
#include "tests/fuzz/reprint.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

static bool reprint(te_graph *g, const char *text, ll_str *out)
{
    ll_error err = {0};
    if (te_parse(g, text, "printed", &err) != LL_OK) return false;
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
        parses_back(&printed, reprint);
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

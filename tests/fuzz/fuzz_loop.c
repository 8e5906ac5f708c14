/* Loop texts: any bytes are refused with a place, or make a function that prints, parses back to the same text, and is
 * verified (which runs it on made-up values) without harm. */
#include <stdlib.h>
#include <string.h>

#include "schedule/loop.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

static void parses_back(const lp_func *f)
{
    te_graph *h = te_graph_create();
    ll_str a = {0}, b = {0};
    ll_error err = {0};
    lp_print(&a, f);
    const lp_func *again = lp_parse(h, ll_str_cstr(&a), "printed", &err);
    if (!again) abort();
    lp_print(&b, again);
    if (strcmp(ll_str_cstr(&a), ll_str_cstr(&b)) != 0) abort();
    ll_str_finish(&a);
    ll_str_finish(&b);
    te_graph_destroy(h);
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
        parses_back(f);
        if (lp_verify(f, &why) != LL_OK && !why.msg[0]) abort();
        lp_simplify(f);
    } else if (!err.msg[0]) {
        abort();
    }
    te_graph_destroy(g);
    free(text);
    return 0;
}

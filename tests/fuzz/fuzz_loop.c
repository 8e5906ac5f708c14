/* Loop texts: any bytes are refused with a place, or make a function that prints, parses back to the same text, and is
 * verified (which runs it on made-up values) without harm. */
#include "schedule/loop.h"
#include "tests/fuzz/reprint.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

static bool reprint(te_graph *g, const char *text, ll_str *out)
{
    ll_error err = {0};
    const lp_func *f = lp_parse(g, text, "printed", &err);
    if (f) lp_print(out, f);
    return f != NULL;
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
        parses_back(&printed, reprint);
        if (lp_verify(f, &why) != LL_OK && !why.msg[0]) abort();
        lp_simplify(f);
    } else if (!err.msg[0]) {
        abort();
    }
    te_graph_destroy(g);
    free(text);
    return 0;
}

/* reprint.h: what prints must parse, mean what it meant, and print the same again. */
#ifndef LLMIR_TESTS_FUZZ_REPRINT_H
#define LLMIR_TESTS_FUZZ_REPRINT_H

#include <stdlib.h>
#include <string.h>

#include "te/te.h"

/* Parses text into g and prints what it finds; false: it does not parse, or is not what `was`
 * printed it. */
typedef bool (*reprint_fn)(te_graph *g, const char *text, const void *was, ll_str *out);

static inline void parses_back(ll_str *printed, reprint_fn reprint, const void *was)
{
    te_graph *g = te_graph_create();
    ll_str again = {0};
    if (!reprint(g, ll_str_cstr(printed), was, &again)) abort();
    if (strcmp(ll_str_cstr(printed), ll_str_cstr(&again)) != 0) abort();
    ll_str_finish(&again);
    ll_str_finish(printed);
    te_graph_destroy(g);
}

#endif

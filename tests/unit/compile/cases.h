/* cases.h: graphs that no model has (tests/golden/fusion), for tests of cutting them and of running
 * what was cut. A file:
 *
 *     what it shows, then definitions; the row dimension is T
 *     --- wanted y z            results
 *     (what test_fuse finds)
 *
 * Rows that read their neighbours ("[T + 2" in the text) exist as many rows only. */
#ifndef LLMIR_TESTS_COMPILE_CASES_H
#define LLMIR_TESTS_COMPILE_CASES_H

#include "te/te.h"

enum { CASE_MAX_WANTED = 8, CASE_MAX_FILES = 64, CASE_ROWS = 4 }; /* T is a multiple of CASE_ROWS */

typedef struct graph_case {
    char *text, *te, *wanted; /* the whole file; definitions; names of results */
    size_t head;              /* bytes of text before what was found           */
    bool many_only;
} graph_case;

/* Names of the case files, sorted; how many. */
int case_list(const char *folder, char *name[CASE_MAX_FILES]);
void case_open(graph_case *c, const char *folder, const char *file);
void case_close(graph_case *c);
/* The definitions with T = 1, or T a dim; results in wanted[]: how many. */
int case_graph(const graph_case *c, te_graph *g, bool one_row, const char *file,
               te_tensor *wanted[CASE_MAX_WANTED]);

#endif

/* cases.c: see cases.h. */
#include "cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int case_list(const char *folder, char *name[CASE_MAX_FILES]) {
    int n = 0;
    DIR *d = opendir(folder);
    if (!d) fail_msg("no folder %s", folder);
    for (struct dirent *e; (e = readdir(d)) && n < CASE_MAX_FILES;)
        if (strstr(e->d_name, ".txt")) name[n++] = strdup(e->d_name);
    closedir(d);
    qsort(name, (size_t)n, sizeof *name, by_name);
    return n;
}

void case_open(graph_case *c, const char *folder, const char *file) {
    char path[512];
    void *text;
    size_t n;
    ll_error err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, file);
    if (ll_file_read(path, 1 << 16, &text, &n, &err) != LL_OK) fail_msg("%s", err.msg);
    char *first = strchr(text, '\n'), *wanted = strstr(text, "--- wanted "),
         *end = wanted ? strchr(wanted, '\n') : NULL;
    if (!first || !end)
        fail_msg("%s: wanted a sentence, definitions and `--- wanted NAME...`", file);
    *c = (graph_case){.text = text, .head = (size_t)(end + 1 - (char *)text)};
    c->te = strndup(first + 1, (size_t)(wanted - first - 1));
    c->wanted = strndup(wanted + 11, (size_t)(end - wanted - 11));
    c->many_only = strstr(c->te, "[T +") != NULL;
}

void case_close(graph_case *c) {
    free(c->text);
    free(c->te);
    free(c->wanted);
}

/* Every word T becomes 1. */
static char *with_one_row(char *text) {
    for (char *p = text; *p; p++) {
        bool before = p > text && (isalnum((unsigned char)p[-1]) || p[-1] == '_');
        if (*p == 'T' && !before && !isalnum((unsigned char)p[1])) *p = '1';
    }
    return text;
}

int case_graph(const graph_case *c, te_graph *g, bool one_row, const char *file,
               te_tensor *wanted[CASE_MAX_WANTED]) {
    ll_arena *a = te_arena(g);
    ll_error err = {0};
    const char *text = one_row ? with_one_row(ll_strdup(a, c->te))
                               : ll_sprintf(a, "dim T in 4..64 multiple %d\n%s", CASE_ROWS, c->te);
    if (te_parse(g, text, file, &err) != LL_OK) fail_msg("%s", err.msg);
    char word[64];
    int n = 0, used;
    for (const char *p = c->wanted; n < CASE_MAX_WANTED && sscanf(p, " %63s%n", word, &used) == 1;
         p += used) {
        wanted[n] = te_find(g, word);
        if (!wanted[n++]) fail_msg("%s: no %s", file, word);
    }
    return n;
}

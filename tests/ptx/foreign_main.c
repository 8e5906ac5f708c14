/* foreign_main.c: runs every test on every architecture its file was compiled for, with the blocks
 * and warps in order and in two shuffled orders: foreign DIR_OF_COMPILED DIR_OF_EMITTED [TEST]. */
#include "foreign.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run_one(const test *t, const char *path)
{
    size_t n;
    char *text = slurp(path, &n);
    const char *arch = strstr(path, ".sm_"), *name = strrchr(path, '/') + 1;
    int failed = text == NULL;
    for (uint64_t seed = 0; !failed && seed < 3; seed++)
        failed = foreign_run(t, text, n, name, arch ? (unsigned)atoi(arch + 4) : 80, seed * 7919,
                             false, NULL);
    free(text);
    printf("%s %-24s %s\n", failed ? "FAILED" : "ok    ", t->name, name);
    return failed != 0;
}

int main(int argc, char **argv)
{
    /* PTX of compilers; PTX emitted through LLVM; one test or file */
    const char *dir = argc > 2 ? argv[1] : ".", *emitted = argc > 2 ? argv[2] : ".",
               *only = argc > 3 ? argv[3] : NULL;
    const test *const tables[] = {scalar_tests, matrix_tests, hopper_tests, wgmma_tests,
                                  library_tests, spike_tests};
    int bad = 0, total = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t k = 0; k < sizeof tables / sizeof *tables; k++)
        for (const test *t = tables[k]; t->name; t++) {
            char pattern[1024];
            glob_t g = {0};
            if (only && strcmp(only, t->name) && strcmp(only, t->file)) continue;
            snprintf(pattern, sizeof pattern, "%s/%s.sm_*.ptx",
                     tables[k] == spike_tests ? emitted : dir, t->file);
            if (glob(pattern, 0, NULL, &g) || !g.gl_pathc) {
                printf("FAILED %s: no file %s\n", t->name, pattern);
                bad++;
            }
            for (size_t i = 0; i < g.gl_pathc; i++) bad += run_one(t, g.gl_pathv[i]), total++;
            globfree(&g);
        }
    printf("%d of %d failed\n", bad, total);
    return bad != 0;
}

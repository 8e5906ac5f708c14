/* foreign.h: runs kernels of compiled PTX files on the PTX machine and holds them against host
 * references. */
#ifndef TESTS_PTX_FOREIGN_H
#define TESTS_PTX_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llmir/ptxsim.h>

typedef struct run {
    ptxsim *m;
    ptxsim_module *mod;
    unsigned sm;
    uint64_t seed;
    const char *file;
    bool cooperative; /* the next launches: all blocks resident at once */
    bool quiet;  /* nothing is printed: a mutant is expected to fail */
    int failed;  /* mistakes so far */
    int reports; /* of them found by the machine: reports, faults, deadlocks */
    uint64_t buf[256];
    int n_buf;
} run;

/* Device memory: a copy of host data, or never-written bytes. Freed when the test ends. */
uint64_t up(run *r, const void *host, size_t n);
uint64_t room(run *r, size_t n);
void down(run *r, void *host, uint64_t dev, size_t n);
typedef struct dims {
    uint32_t x, y, z;
} dims;
/* Launches with every check on; any report or failure counts as a mistake. args: pointers to
 * arguments. */
void launch(run *r, const char *kernel, dims grid, dims block, uint32_t shared, size_t n,
            const void *const *args);
#define LAUNCH(r, kernel, grid, block, shared, ...)                                                \
    launch(r, kernel, grid, block, shared, sizeof((const void *[]){__VA_ARGS__}) / sizeof(void *), \
           (const void *[]){__VA_ARGS__})
#define D1(a) ((dims){(a), 1, 1})
#define D2(a, b) ((dims){(a), (b), 1})

/* Comparison; the first difference of a call is printed. */
void same_u32(run *r, const char *what, const uint32_t *got, const uint32_t *want, size_t n);
void near_f32(run *r, const char *what, const float *got, const double *want, size_t n, double rel,
              double abs);
void near_f64(run *r, const char *what, const double *got, const double *want, size_t n, double rel,
              double abs);
void mistake(run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

uint32_t next_u32(void); /* one fixed sequence per test */
float next_f32(void);    /* [-1, 1) */

typedef void test_fn(run *r);
struct test;
/* One test on PTX text; the number of mistakes, *reports of them the machine's own. */
int foreign_run(const struct test *t, const char *text, size_t n, const char *name, unsigned sm,
                uint64_t seed, bool quiet, int *reports);
char *slurp(const char *path, size_t *n); /* a file, NUL behind it; NULL: cannot be read */
typedef struct test {
    const char *file, *name;
    test_fn *fn;
} test;
extern const test scalar_tests[], matrix_tests[], hopper_tests[], spike_tests[], wgmma_tests[],
    library_tests[];

#endif

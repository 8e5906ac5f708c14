/* foreign.c: the runner behind foreign.h. */
#include "foreign.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state;
uint32_t next_u32(void)
{
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    return state * 2654435769u;
}
float next_f32(void) { return (float)(int32_t)next_u32() * 0x1p-31f; }

void mistake(run *r, const char *fmt, ...)
{
    va_list ap;
    if (r->failed++ > 5 || r->quiet) return;
    va_start(ap, fmt);
    printf("    ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
}

static void must(run *r, ptxsim_code c, const ptxsim_error *e)
{
    if (c == PTXSIM_OK) return;
    r->reports++;
    mistake(r, "%s", e->msg);
}

uint64_t room(run *r, size_t n)
{
    ptxsim_error e = {0};
    uint64_t a = 0;
    must(r, ptxsim_alloc(r->m, n, &a, &e), &e);
    r->buf[r->n_buf++] = a;
    return a;
}

uint64_t up(run *r, const void *host, size_t n)
{
    ptxsim_error e = {0};
    uint64_t a = room(r, n);
    must(r, ptxsim_write(r->m, a, host, n, &e), &e);
    return a;
}

void down(run *r, void *host, uint64_t dev, size_t n)
{
    ptxsim_error e = {0};
    must(r, ptxsim_read(r->m, host, dev, n, &e), &e);
}

void launch(run *r, const char *kernel, dims g, dims b, uint32_t shared, size_t n,
            const void *const *args)
{
    ptxsim_error e = {0};
    ptxsim_log *log = NULL;
    const ptxsim_kernel *k = ptxsim_find(r->mod, kernel);
    if (!k) {
        mistake(r, "no kernel %s", kernel);
        return;
    }
    ptxsim_launch l = {.kernel = k,
                       .grid = {g.x, g.y, g.z},
                       .block = {b.x, b.y, b.z},
                       .shared_bytes = shared,
                       .args = args,
                       .n_args = n,
                       .checks = PTXSIM_CHECK_ALL,
                       .seed = r->seed,
                       .cooperative = r->cooperative,
                       .max_steps = r->quiet ? 1000000 : 200000000,
                       .carveout_optin = shared};
    must(r, ptxsim_run(r->m, &l, &log, &e), &e);
    for (size_t i = 0; i < ptxsim_log_count(log); i++) {
        r->reports++;
        mistake(r, "report: %s", ptxsim_log_at(log, i)->text);
    }
    ptxsim_log_destroy(log);
}

void same_u32(run *r, const char *what, const uint32_t *got, const uint32_t *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i]) {
            mistake(r, "%s[%zu] = 0x%08x, want 0x%08x", what, i, got[i], want[i]);
            return;
        }
}

static bool close_to(double got, double want, double rel, double abs)
{
    if (isnan(want)) return isnan(got);
    return got == want || fabs(got - want) <= abs + rel * fabs(want);
}

void near_f32(run *r, const char *what, const float *got, const double *want, size_t n, double rel,
              double abs)
{
    for (size_t i = 0; i < n; i++)
        if (!close_to(got[i], want[i], rel, abs)) {
            mistake(r, "%s[%zu] = %.9g, want %.9g", what, i, got[i], want[i]);
            return;
        }
}

void near_f64(run *r, const char *what, const double *got, const double *want, size_t n, double rel,
              double abs)
{
    for (size_t i = 0; i < n; i++)
        if (!close_to(got[i], want[i], rel, abs)) {
            mistake(r, "%s[%zu] = %.17g, want %.17g", what, i, got[i], want[i]);
            return;
        }
}

char *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *p = malloc(*n + 1);
    if (p && fread(p, 1, *n, f) != *n) *n = 0;
    if (p) p[*n] = 0;
    fclose(f);
    return p;
}

int foreign_run(const test *t, const char *text, size_t n, const char *name, unsigned sm,
                uint64_t seed, bool quiet, int *reports)
{
    run r = {.sm = sm, .seed = seed, .file = name, .quiet = quiet};
    ptxsim_error e = {0};
    must(&r, ptxsim_create(&(ptxsim_config){.sm = sm, .threads = 2}, &r.m, &e), &e);
    must(&r, r.m ? ptxsim_load(r.m, text, n, name, &r.mod, &e) : PTXSIM_USAGE, &e);
    state = 12345;
    if (r.mod) t->fn(&r);
    for (int i = 0; i < r.n_buf; i++) ptxsim_free(r.m, r.buf[i], NULL);
    ptxsim_destroy(r.m);
    if (reports) *reports = r.reports;
    return r.failed;
}

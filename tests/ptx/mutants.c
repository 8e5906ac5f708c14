/* mutants.c: fault injection. Each barrier, wait, fence and bounds predicate of the kernels below
 * is deleted, one at a time, and each offset of a shared-memory access is shifted once. A mutant is
 * killed when the machine reports it, or when the host reference sees a wrong result. Survivors are
 * printed; those that cannot change a result are listed with the reason in survivors.txt
 * ("FILE:LINE KIND reason"). The test fails below 98 % of the rest, or when an unmutated kernel
 * gives any report under any of four seeds.
 *
 *     mutants DIR_OF_COMPILED DIR_OF_EMITTED SURVIVORS [FILE] */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "foreign.h"

typedef struct subject {
    const char *file, *test;
    bool emitted;
} subject;
static const subject subjects[] = {
    {"reduce.sm_75", "reduce_tree", false},   {"reduce.sm_75", "reduce_shuffle", false},
    {"scan.sm_75", "scans", false},           {"transpose.sm_75", "transposes", false},
    {"histogram.sm_75", "histograms", false}, {"sort.sm_75", "sorts", false},
    {"softmax.sm_75", "softmaxes", false},    {"gemm.sm_80", "gemm", false},
    {"mbarrier.sm_80", "mbarriers", false},   {"hopper.sm_90a", "tma_gemm", false},
    {"hopper.sm_90a", "bulk", false},         {"w4.sm_80", "w4_16", true},
};
enum { N_SUBJECTS = sizeof subjects / sizeof *subjects };

typedef struct line {
    char *s;
    size_t n;
} line;
typedef struct text {
    line *l;
    size_t n;
} text;
typedef struct tally {
    int made, killed, reported, excused, survived;
} tally;

static text split(char *s)
{
    text t = {0};
    for (char *p = s; *p;) {
        size_t n = strcspn(p, "\n");
        t.l = realloc(t.l, (t.n + 1) * sizeof *t.l);
        if (!t.l) abort();
        t.l[t.n++] = (line){p, n};
        p += n + (p[n] == '\n');
    }
    return t;
}

static bool has(const line *l, const char *what)
{
    return memmem(l->s, l->n, what, strlen(what)) != NULL;
}

/* The text with line k replaced. */
static char *with(const text *t, size_t k, const char *repl, size_t *n)
{
    size_t total = strlen(repl) + 1;
    for (size_t i = 0; i < t->n; i++) total += t->l[i].n + 1;
    char *out = malloc(total + 1), *p = out;
    if (!out) abort();
    for (size_t i = 0; i < t->n; i++) {
        size_t len = i == k ? strlen(repl) : t->l[i].n;
        memcpy(p, i == k ? repl : t->l[i].s, len);
        p += len;
        *p++ = '\n';
    }
    *p = 0;
    *n = (size_t)(p - out);
    return out;
}

/* ---- what to mutate ---- */

static bool is_sync(const line *l)
{
    return has(l, "bar.sync") || has(l, "bar.warp.sync") || has(l, "barrier.sync") ||
           has(l, "barrier.cluster.");
}
static bool is_wait(const line *l) { return has(l, "wait_group") || has(l, "wait_all"); }
static bool is_fence(const line *l) { return has(l, "fence.") || has(l, "membar"); }
static bool target_is_ahead(const text *t, size_t k)
{
    const char *b = memmem(t->l[k].s, t->l[k].n, "bra", 3);
    char label[80];
    if (!b) return false;
    b += 3;
    while (*b == ' ' || *b == '\t' || !strncmp(b, ".uni", 4)) b += *b == '.' ? 4 : 1;
    size_t n = strcspn(b, "; \n");
    if (n + 2 > sizeof label) return false;
    memcpy(label, b, n), label[n] = ':', label[n + 1] = 0;
    for (size_t i = k + 1; i < t->n && !has(&t->l[i], ".entry"); i++)
        if (has(&t->l[i], label)) return true;
    return false;
}

/* The loop around an mbarrier wait: its backward branch. */
static bool is_wait_loop(const text *t, size_t k)
{
    if (!has(&t->l[k], "bra ") || !memchr(t->l[k].s, '@', t->l[k].n)) return false;
    if (target_is_ahead(t, k)) return false;
    for (size_t i = k > 6 ? k - 6 : 0; i < k; i++)
        if (has(&t->l[i], "mbarrier.try_wait") || has(&t->l[i], "mbarrier.test_wait")) return true;
    return false;
}

/* The predicate of a guarded line comes from an integer comparison by size. */
static bool compares_sizes(const text *t, size_t k)
{
    const char *at = memchr(t->l[k].s, '@', t->l[k].n);
    char name[40];
    at += 1 + (at[1] == '!');
    size_t n = strcspn(at, " \t");
    if (n >= sizeof name) return false;
    memcpy(name, at, n), name[n] = 0;
    for (size_t i = k; i-- > 0 && !has(&t->l[i], ".entry");) {
        const char *s = memmem(t->l[i].s, t->l[i].n, "setp.", 5),
                   *p = s ? memmem(s, t->l[i].n - (size_t)(s - t->l[i].s), name, n) : NULL;
        if (!p || (p[n] != ',' && p[n] != '|')) continue;
        bool order = !strncmp(s + 5, "lt.", 3) || !strncmp(s + 5, "le.", 3) ||
                     !strncmp(s + 5, "gt.", 3) || !strncmp(s + 5, "ge.", 3);
        return order && (s[8] == 's' || s[8] == 'u');
    }
    return false;
}

/* Shared-memory operand: the bracket to shift and the size of one access. */
static int shared_access(const line *l, size_t *open)
{
    static const struct {
        const char *op;
        int size;
    } ops[] = {
        {"ldmatrix", 16},  {"stmatrix", 16},  {"cp.async.cg", 16}, {"shared.v4", 16},
        {"shared.v2", 8},  {"shared.u64", 8}, {"shared.f64", 8},   {"shared.b64", 8},
        {"shared.u16", 2}, {"shared.b16", 2}, {"shared.u8", 1},    {"shared.b8", 1},
        {"shared.", 4},
    };
    if (has(l, "mbarrier") || has(l, "cp.async.bulk") || !memchr(l->s, '[', l->n)) return 0;
    bool ldst = has(l, "ld.") || has(l, "st.") || has(l, "atom.") || has(l, "red.") ||
                has(l, "matrix") || has(l, "cp.async.cg");
    for (size_t i = 0; ldst && i < sizeof ops / sizeof *ops; i++)
        if (has(l, ops[i].op)) {
            *open = (size_t)((char *)memchr(l->s, '[', l->n) - l->s);
            return ops[i].size;
        }
    return 0;
}

/* ---- running ---- */

static const test *find_test(const char *name)
{
    const test *const tables[] = {scalar_tests, matrix_tests, hopper_tests, spike_tests};
    for (int k = 0; k < 4; k++)
        for (const test *t = tables[k]; t->name; t++)
            if (!strcmp(t->name, name)) return t;
    return NULL;
}

static char *excuses; /* survivors.txt */
static const char *excuse_for(const char *file, size_t line_no, const char *kind)
{
    static char out[300];
    char key[120];
    snprintf(key, sizeof key, "%s:%zu %s ", file, line_no, kind);
    for (const char *p = excuses; p && (p = strstr(p, key)); p++)
        if (p == excuses || p[-1] == '\n') {
            size_t n = strcspn(p + strlen(key), "\n");
            snprintf(out, sizeof out, "%.*s", (int)n, p + strlen(key));
            return out;
        }
    return NULL;
}

static void try_mutant(const subject *s, const test *t, unsigned sm, const text *tx, size_t k,
                       const char *repl, const char *kind, tally *sum)
{
    size_t n;
    int reports = 0;
    char *m = with(tx, k, repl, &n);
    int failed = foreign_run(t, m, n, s->file, sm, 0, true, &reports);
    if (!failed) failed = foreign_run(t, m, n, s->file, sm, 4711, true, &reports);
    free(m);
    sum->made++;
    sum->killed += failed != 0;
    sum->reported += reports != 0;
    if (failed) return;
    const char *why = excuse_for(s->file, k + 1, kind);
    if (why)
        sum->excused++;
    else
        sum->survived++;
    printf("  %s %s:%zu %s: %.*s%s%s\n", why ? "equivalent" : "SURVIVED", s->file, k + 1, kind,
           (int)tx->l[k].n, tx->l[k].s, why ? "  -- " : "", why ? why : "");
}

static bool in_used_kernel(const text *t, size_t k, const subject *s)
{
    static const struct {
        const char *test, *kernels;
    } used[] = {
        {"reduce_tree", " reduce_tree "},
        {"reduce_shuffle", " reduce_shuffle reduce_max_f64 "},
        {"histograms", " histogram "},
        {"tma_gemm", " tma_gemm "},
        {"bulk", " bulk "},
    };
    const char *list = NULL;
    for (size_t i = 0; i < sizeof used / sizeof *used; i++)
        if (!strcmp(used[i].test, s->test)) list = used[i].kernels;
    for (size_t i = k + 1; list && i-- > 0;) {
        const char *e = memmem(t->l[i].s, t->l[i].n, ".entry ", 7);
        char name[80];
        if (!e) continue;
        snprintf(name, sizeof name, " %.*s ", (int)strcspn(e + 7, "("), e + 7);
        return strstr(list, name) != NULL;
    }
    return true;
}

static void mutate(const subject *s, const test *t, unsigned sm, const text *tx, tally *sum)
{
    for (size_t k = 0; k < tx->n; k++) {
        const line *l = &tx->l[k];
        size_t open;
        if (!in_used_kernel(tx, k, s) || !memchr(l->s, ';', l->n) || has(l, ".reg") ||
            has(l, ".pragma"))
            continue;
        bool guarded = memchr(l->s, '@', l->n) != NULL;
        if (is_sync(l))
            try_mutant(s, t, sm, tx, k, "", "barrier", sum);
        else if (is_wait(l) || is_wait_loop(tx, k))
            try_mutant(s, t, sm, tx, k, "", "wait", sum);
        else if (is_fence(l))
            try_mutant(s, t, sm, tx, k, "", "fence", sum);
        else if (guarded && has(l, "bra") && target_is_ahead(tx, k) && compares_sizes(tx, k))
            try_mutant(s, t, sm, tx, k, "", "predicate", sum);
        else if (guarded && !has(l, "bra") && compares_sizes(tx, k)) {
            const char *rest = memchr(l->s, '@', l->n);
            rest += strcspn(rest, " \t");
            char buf[400];
            snprintf(buf, sizeof buf, "%.*s", (int)(l->n - (size_t)(rest - l->s)), rest);
            try_mutant(s, t, sm, tx, k, buf, "predicate", sum);
        }
        int size = shared_access(l, &open);
        if (size) {
            char buf[600];
            const char *close = memchr(l->s + open, ']', l->n - open);
            const char *plus = memchr(l->s + open, '+', (size_t)(close - l->s - (ptrdiff_t)open));
            long off = plus ? strtol(plus + 1, NULL, 10) : 0;
            int head = (int)((plus ? plus : close) - l->s);
            snprintf(buf, sizeof buf, "%.*s+%ld%.*s", head, l->s, off + size,
                     (int)(l->n - (size_t)(close - l->s)), close);
            try_mutant(s, t, sm, tx, k, buf, "offset", sum);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    size_t n;
    int bad = 0;
    tally all = {0};
    excuses = slurp(argv[3], &n);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < N_SUBJECTS; i++) {
        const subject *s = &subjects[i];
        char path[1024];
        tally sum = {0};
        const test *t = find_test(s->test);
        if (argc > 4 && strncmp(argv[4], s->file, strlen(argv[4])) && strcmp(argv[4], s->test))
            continue;
        snprintf(path, sizeof path, "%s/%s.ptx", argv[s->emitted ? 2 : 1], s->file);
        char *p = slurp(path, &n);
        if (!p || !t) {
            printf("FAILED %s: no such file or test\n", path);
            bad++;
            continue;
        }
        unsigned sm = (unsigned)atoi(strstr(s->file, ".sm_") + 4);
        for (uint64_t seed = 0; seed < 4; seed++)
            if (foreign_run(t, p, n, s->file, sm, seed * 104729, false, NULL)) {
                printf("FAILED %s: false report or wrong result with seed %llu\n", s->test,
                       (unsigned long long)(seed * 104729));
                bad++;
                break;
            }
        text tx = split(p);
        mutate(s, t, sm, &tx, &sum);
        printf("%-16s %-16s %3d mutants, %3d killed (%d by the machine's own checks), %d "
               "equivalent, %d survived\n",
               s->file, s->test, sum.made, sum.killed, sum.reported, sum.excused, sum.survived);
        all.made += sum.made, all.killed += sum.killed, all.reported += sum.reported,
            all.excused += sum.excused, all.survived += sum.survived;
        free(tx.l), free(p);
    }
    int real = all.made - all.excused;
    double score = real ? 100.0 * all.killed / real : 100;
    printf("score: %d of %d mutants that can do harm were found (%.1f %%), %d by the machine's own "
           "checks; %d equivalent\n",
           all.killed, real, score, all.reported, all.excused);
    return bad || score < 98;
}

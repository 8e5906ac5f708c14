/* ptxrun: runs one kernel of a PTX file on the PTX machine, with all checks. See ptxsim/README.md.
 * Exit: 0 ok; 1 a check reported, the kernel failed, or a result could not be written; 2 wrong use; 4 a file cannot be
 * read or the PTX is not accepted; 6 out of memory or disk. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/half.h"
#include <llmir/ptxsim.h>

enum { OK, REPORTED, USAGE, BAD_INPUT = 4, NO_SPACE = 6, MAX_ARGS = 256 };

typedef struct arg {
    uint8_t value[8]; /* scalars and pointers */
    uint8_t *bytes;   /* by-value structures */
    uint64_t n;       /* bytes of value, structure or buffer */
    uint64_t dev;     /* buffer, or 0 */
    char *text;       /* a copy of the argument, cut into its parts */
    const char *save; /* file that the buffer is written to; in `text` */
} arg;

typedef struct options {
    const char *file, *kernel, *counters;
    uint32_t grid[3], block[3], cluster[3], shared, checks, perturb;
    uint32_t sm;
    uint64_t seed, steps;
    ptxsim_mma_model model;
    bool cooperative;
    const char *args[MAX_ARGS];
    int n_args;
} options;

static const char usage[] =
    "usage: ptxrun FILE.ptx --kernel NAME --grid X[,Y[,Z]] --block X[,Y[,Z]] [--shared BYTES] "
    "[--sm 80]\n"
    "              [--cluster X[,Y[,Z]]] [--checks all|none|LIST] [--counters text|json] [--seed "
    "N]\n"
    "              [--mma-model f32|hw] [--perturb ULP] [--max-steps N] [--cooperative] ARG...\n"
    "LIST: race,pending,uninit,sync,global. One ARG per kernel parameter, in order:\n"
    "  in:FILE  inout:FILE:OUT  out:BYTES:OUT  scratch:BYTES  null  bytes:FILE (a structure by "
    "value)\n"
    "  u32:N i32:N u64:N i64:N f32:X f64:X f16:X\n"
    "exit: 0 ok, 1 a check reported, 2 wrong use, 4 bad input file or PTX, 6 out of memory or disk\n";

static int wrong(const char *what, const char *arg_)
{
    fprintf(stderr, "ptxrun: %s%s%s\n", what, arg_ ? ": " : "", arg_ ? arg_ : "");
    return USAGE;
}

static int wrong_value(const char *name, const char *what, const char *value)
{
    fprintf(stderr, "ptxrun: %s %s: '%s'\n", name, what, value);
    return USAGE;
}

/* ---- command line ---- */

static bool number(const char *s, uint64_t *out)
{
    char *end;
    if (!*s) return false;
    errno = 0;
    *out = *s == '-' ? (uint64_t)strtoll(s, &end, 0) : strtoull(s, &end, 0);
    return !*end && !errno;
}

static bool triple(const char *s, uint32_t out[3])
{
    for (int i = 0; i < 3; i++) {
        char *end;
        unsigned long v = strtoul(s, &end, 10);
        if (end == s || v > UINT32_MAX || !v) return false;
        out[i] = (uint32_t)v;
        if (!*end) {
            for (int k = i + 1; k < 3; k++) out[k] = 1;
            return true;
        }
        if (*end != ',') return false;
        s = end + 1;
    }
    return false;
}

static bool checks_of(const char *s, uint32_t *out)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } names[] = {
        {"all", PTXSIM_CHECK_ALL},       {"none", 0},
        {"race", PTXSIM_CHECK_RACE},     {"pending", PTXSIM_CHECK_PENDING},
        {"uninit", PTXSIM_CHECK_UNINIT}, {"sync", PTXSIM_CHECK_SYNC},
        {"global", PTXSIM_CHECK_GLOBAL},
    };
    size_t len = strlen(s);
    *out = 0;
    if (!len || s[len - 1] == ',') return false;
    while (*s) {
        size_t n = strcspn(s, ","), i = 0;
        while (i < sizeof names / sizeof *names &&
               (strlen(names[i].name) != n || memcmp(names[i].name, s, n)))
            i++;
        if (i == sizeof names / sizeof *names) return false;
        *out |= names[i].bits;
        s += n + (s[n] == ',');
    }
    return true;
}

static int numeric(options *o, const char *name, const char *v)
{
    const struct {
        const char *name;
        uint32_t *small;
        uint64_t *large;
    } known[] = {{"--shared", &o->shared, NULL},   {"--sm", &o->sm, NULL},
                 {"--perturb", &o->perturb, NULL}, {"--seed", NULL, &o->seed},
                 {"--max-steps", NULL, &o->steps}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint64_t n;
        if (strcmp(known[i].name, name)) continue;
        if (*v == '-' || !number(v, &n)) return wrong_value(name, "wants a number", v);
        if (known[i].small && n > UINT32_MAX) return wrong_value(name, "does not fit in 32 bits", v);
        if (known[i].small) *known[i].small = (uint32_t)n;
        else *known[i].large = n;
        return OK;
    }
    return wrong("unknown option", name);
}

static int option(options *o, const char *name, const char *v)
{
    if (!strcmp(name, "--kernel"))
        o->kernel = v;
    else if (!strcmp(name, "--grid"))
        return triple(v, o->grid) ? OK : wrong("--grid wants X[,Y[,Z]]", v);
    else if (!strcmp(name, "--block"))
        return triple(v, o->block) ? OK : wrong("--block wants X[,Y[,Z]]", v);
    else if (!strcmp(name, "--cluster"))
        return triple(v, o->cluster) ? OK : wrong("--cluster wants X[,Y[,Z]]", v);
    else if (!strcmp(name, "--checks"))
        return checks_of(v, &o->checks)
                   ? OK
                   : wrong("--checks wants all, none or a list of race,pending,uninit,sync,global",
                           v);
    else if (!strcmp(name, "--counters")) {
        if (strcmp(v, "text") && strcmp(v, "json"))
            return wrong("--counters wants text or json", v);
        o->counters = v;
    } else if (!strcmp(name, "--mma-model")) {
        if (strcmp(v, "hw") && strcmp(v, "f32")) return wrong("--mma-model wants f32 or hw", v);
        o->model = *v == 'h' ? PTXSIM_MMA_HW : PTXSIM_MMA_F32;
    } else return numeric(o, name, v);
    return OK;
}

static int parse(options *o, int argc, char **argv)
{
    *o = (options){.sm = 80, .checks = PTXSIM_CHECK_ALL};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(usage, stdout);
            exit(OK);
        }
        if (!strcmp(argv[i], "--version")) {
            puts("ptxrun " LLMIR_VERSION);
            exit(OK);
        }
        if (!strcmp(argv[i], "--cooperative")) {
            o->cooperative = true;
        } else if (argv[i][0] == '-') {
            bool last = i + 1 == argc; /* an unknown option is unknown even without a value */
            int rc = option(o, argv[i], last ? "" : argv[i + 1]);
            if (rc) return rc;
            if (last) return wrong("a value is missing behind", argv[i]);
            i++;
        } else if (!o->file) {
            o->file = argv[i];
        } else if (o->n_args == MAX_ARGS) {
            return wrong("too many arguments", NULL);
        } else {
            o->args[o->n_args++] = argv[i];
        }
    }
    if (!o->file || !o->kernel || !o->grid[0] || !o->block[0]) {
        fputs(usage, stderr);
        return USAGE;
    }
    return OK;
}

/* ---- arguments ---- */

static int exit_code(ptxsim_code c)
{
    switch (c) {
    case PTXSIM_OK: return OK;
    case PTXSIM_FAULT:
    case PTXSIM_DEADLOCK:
    case PTXSIM_STEP_LIMIT: return REPORTED;
    case PTXSIM_BAD_PTX:
    case PTXSIM_UNSUPPORTED: return BAD_INPUT;
    case PTXSIM_NO_MEMORY: return NO_SPACE;
    default: return USAGE;
    }
}

static int say(const ptxsim_error *e)
{
    fprintf(stderr, "ptxrun: %s\n", e->msg);
    return exit_code(e->code);
}

static int no_memory(void)
{
    fputs("ptxrun: out of memory\n", stderr);
    return NO_SPACE;
}

static int buffer(ptxsim *m, arg *a, const void *from, uint64_t n)
{
    ptxsim_error e = {0};
    a->n = n;
    if (ptxsim_alloc(m, n ? n : 1, &a->dev, &e) != PTXSIM_OK) return say(&e);
    if ((from ? ptxsim_write(m, a->dev, from, n, &e) : ptxsim_poison(m, a->dev, n ? n : 1, &e)) !=
        PTXSIM_OK)
        return say(&e);
    memcpy(a->value, &a->dev, 8);
    return OK;
}

static int from_file(const char *path, void **p, size_t *n)
{
    ll_error e = {0};
    if (ll_file_read(path, (size_t)1 << 36, p, n, &e) == LL_OK) return OK;
    wrong(e.msg, NULL);
    return (int)e.code;
}

/* "REST" cut at its last colon: both halves must be there. */
static char *cut(char *s)
{
    char *c = strrchr(s, ':');
    if (!c || c == s || !c[1]) return NULL;
    *c = 0;
    return c + 1;
}

static int scalar(const char *kind, const char *v, arg *a)
{
    char *end;
    uint64_t n = 0;
    double x = strtod(v, &end);
    bool real = kind[0] == 'f';
    unsigned bits = (unsigned)atoi(kind + 1);
    if (real ? end == v || *end : !number(v, &n)) return wrong("this is no number", v);
    if (real && isinf(bits == 32 ? (double)strtof(v, NULL) : x) && !strpbrk(v, "iI"))
        return wrong("this number does not fit", v);
    a->n = bits / 8;
    if (real && bits == 32) {
        float f = strtof(v, NULL);
        memcpy(a->value, &f, 4);
    } else if (real && bits == 64) {
        memcpy(a->value, &x, 8);
    } else if (real) {
        uint16_t h = ll_f16_from(x);
        memcpy(a->value, &h, 2);
    } else {
        bool fits =
            bits == 64 ||
            (kind[0] == 'u' ? n <= UINT32_MAX : (int64_t)n >= INT32_MIN && (int64_t)n <= INT32_MAX);
        if (!fits) return wrong("this number does not fit", v);
        memcpy(a->value, &n, 8);
    }
    return OK;
}

static int make_arg(ptxsim *m, char *s, arg *a)
{
    static const char *const scalars[] = {"u32", "i32", "u64", "i64", "f32", "f64", "f16"};
    void *p = NULL;
    size_t n = 0;
    uint64_t bytes;
    int rc;
    if (!strcmp(s, "null")) {
        a->n = 8;
        return OK;
    }
    char *v = strchr(s, ':');
    if (!v) return wrong("an argument is KIND:VALUE", s);
    *v++ = 0;
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++)
        if (!strcmp(s, scalars[i])) return scalar(s, v, a);
    if (!strcmp(s, "scratch"))
        return number(v, &bytes) ? buffer(m, a, NULL, bytes) : wrong("scratch:BYTES", v);
    if (!strcmp(s, "out")) {
        a->save = cut(v);
        return a->save && number(v, &bytes) ? buffer(m, a, NULL, bytes) : wrong("out:BYTES:OUT", v);
    }
    if (!strcmp(s, "inout") && !(a->save = cut(v))) return wrong("inout:FILE:OUT", v);
    bool by_value = !strcmp(s, "bytes");
    if (strcmp(s, "in") && strcmp(s, "inout") && !by_value)
        return wrong("unknown kind of argument", s);
    if ((rc = from_file(v, &p, &n))) return rc;
    if (by_value) {
        a->bytes = p, a->n = n;
        return OK;
    }
    rc = buffer(m, a, p, n);
    free(p);
    return rc;
}

/* ---- the run ---- */

static int launch(ptxsim *m, const options *o, const ptxsim_kernel *k, arg *a)
{
    const void *ptr[MAX_ARGS];
    const ptxsim_kernel_info *info = ptxsim_info(k);
    ptxsim_error e = {0};
    ptxsim_log *log = NULL;
    ptxsim_limits lim;
    ptxsim_get_limits(m, &lim);
    if (info->n_param != (uint32_t)o->n_args) {
        fprintf(stderr, "ptxrun: %s takes %u arguments, %d given\n", o->kernel, info->n_param,
                o->n_args);
        return USAGE;
    }
    for (int i = 0; i < o->n_args; i++) {
        uint64_t have = a[i].dev ? 8 : a[i].n;
        ptr[i] = a[i].bytes ? a[i].bytes : a[i].value;
        if (have == info->param[i].size) continue;
        fprintf(stderr, "ptxrun: parameter %d (%s) has %u bytes, the argument %" PRIu64 "\n", i + 1,
                info->param[i].name, info->param[i].size, have);
        return USAGE;
    }
    ptxsim_launch l = {.kernel = k,
                       .shared_bytes = o->shared,
                       .args = ptr,
                       .n_args = (size_t)o->n_args,
                       .checks = o->checks,
                       .seed = o->seed,
                       .mma_model = o->model,
                       .perturb_ulp = o->perturb,
                       .max_steps = o->steps,
                       .counters = o->counters != NULL,
                       .cooperative = o->cooperative,
                       .carveout_optin = lim.shared_per_block_optin};
    memcpy(l.grid, o->grid, sizeof l.grid), memcpy(l.block, o->block, sizeof l.block),
        memcpy(l.cluster, o->cluster, sizeof l.cluster);
    ptxsim_code c = ptxsim_run(m, &l, &log, &e);
    size_t n = ptxsim_log_count(log);
    for (size_t i = 0; i < n; i++) {
        const ptxsim_report *r = ptxsim_log_at(log, i);
        printf("%s%s", r->text, r->times > 1 ? "" : "\n");
        if (r->times > 1) printf(" (%" PRIu64 " times)\n", r->times);
    }
    if (o->counters && log) {
        char *s = ptxsim_log_text(log, !strcmp(o->counters, "json"));
        if (s) puts(s);
        free(s);
    }
    ptxsim_log_destroy(log);
    if (c == PTXSIM_OK) return n ? REPORTED : OK;
    return say(&e);
}

static int save(ptxsim *m, const arg *a)
{
    ptxsim_error e = {0};
    ll_error fe = {0};
    void *p = malloc(a->n ? a->n : 1);
    int rc = OK;
    if (!p) return no_memory();
    if (ptxsim_read(m, p, a->dev, a->n, &e) != PTXSIM_OK)
        rc = say(&e);
    else if (ll_file_write(a->save, p, a->n, &fe) != LL_OK)
        wrong(fe.msg, NULL), rc = (int)fe.code;
    free(p);
    return rc;
}

static int run(const options *o, ptxsim *m, arg *a)
{
    ptxsim_error e = {0};
    ptxsim_module *mod;
    void *text;
    size_t n;
    int rc = from_file(o->file, &text, &n);
    if (rc) return rc;
    ptxsim_code c = ptxsim_load(m, text, n, o->file, &mod, &e);
    free(text);
    if (c != PTXSIM_OK) return say(&e);
    const ptxsim_kernel *k = ptxsim_find(mod, o->kernel);
    if (!k) {
        fprintf(stderr, "ptxrun: %s has no kernel \"%s\"; it has:", o->file, o->kernel);
        for (size_t i = 0; i < ptxsim_kernel_count(mod); i++)
            fprintf(stderr, " %s", ptxsim_info(ptxsim_kernel_at(mod, i))->name);
        fputc('\n', stderr);
        return USAGE;
    }
    for (int i = 0; i < o->n_args; i++) {
        a[i].text = strdup(o->args[i]);
        if (!a[i].text) return no_memory();
        if ((rc = make_arg(m, a[i].text, &a[i]))) return rc;
    }
    rc = launch(m, o, k, a);
    for (int i = 0; rc <= REPORTED && i < o->n_args; i++) {
        int src = a[i].save ? save(m, &a[i]) : OK;
        if (src) rc = src;
    }
    return rc;
}

int main(int argc, char **argv)
{
    static options o;
    static arg a[MAX_ARGS];
    ptxsim *m;
    ptxsim_error e = {0};
    int rc = parse(&o, argc, argv);
    if (rc) return rc;
    if (ptxsim_create(&(ptxsim_config){.sm = o.sm}, &m, &e) != PTXSIM_OK) return say(&e);
    rc = run(&o, m, a);
    for (int i = 0; i < o.n_args; i++) free(a[i].text), free(a[i].bytes);
    ptxsim_destroy(m);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "ptxrun: stdout: cannot write: %s\n", strerror(errno));
        return errno == ENOSPC ? NO_SPACE : REPORTED;
    }
    return rc;
}

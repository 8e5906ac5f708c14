/* llmir-bench: speed of a module, in the columns of llama-bench.
 *
 *     ppN        prefill: N tokens into an empty session (or behind -d tokens), logits of the last
 *     tgN        decode: N single tokens
 *     bB         decode of B sessions at once, N tokens each; t/s counts all of them
 *     ...@dD     behind D tokens
 * Each repetition is timed alone; mean and standard deviation are over repetitions. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/peak.h"
#include "tools/tool.h"

enum { MAX_LIST = 16, MAX_REPS = 1000, MAX_BATCH = 1024 };
enum { OPT_KV = 256, OPT_BLOCK, OPT_BATCH, OPT_PROFILE, OPT_COPY, OPT_DEVICE };
enum format { MD, CSV, JSON, JSONL, SQL };

typedef struct list {
    uint64_t v[MAX_LIST];
    size_t n;
} list;

typedef struct bench {
    const char *module;
    list prompt, gen, depth, batch;
    uint64_t reps;
    enum format format;
    bool profile;
    llmir_engine_params engine;
    llmir_open_params open;
    llmir_model *model;
    llmir_model_info info;
    llmir_engine_info run;
    llmir_engine *e;
    llmir_session **session;
    size_t n_session;
    llmir_error err;
    int n_rows; /* printed so far */
    tool_limits limits;
    uint32_t random;
} bench;

typedef struct result {
    char test[48];
    uint64_t n_prompt, n_gen, n_depth, n_batch;
    double sample_s[MAX_REPS], sample_ts[MAX_REPS];
    size_t n;
} result;

static const struct argp_option option_list[] =
    {{"prompt", 'p', "N,...", 0, "Prefill tests of N tokens; 0: none (512)", 1},
     {"gen", 'n', "N,...", 0, "Decode tests of N tokens; 0: none (128)", 1},
     {"depth", 'd', "N,...", 0, "Run each test behind N tokens (0)", 1},
     {"batch", 'b', "N,...", 0, "Decode N sessions at once (1)", 1},
     {"reps", 'r', "N", 0, "Repetitions of each test (5)", 1},
     {"threads", 't', "N", 0, "CPU threads (all)", 2},
     {"kv", OPT_KV, "f16|f32", 0, "Storage of keys and values (the module's first)", 2},
     {"kv-block", OPT_BLOCK, "N", 0, "Tokens per block of the KV cache (the module's first)", 2},
     {"max-batch", OPT_BATCH, "N", 0, "Prompt tokens computed at once (512)", 2},
     {"device", OPT_DEVICE, "cpu|TARGET", 0,
      "cpu: the best code of the module for this machine (default); TARGET: that code", 2},
     {"copy-weights", OPT_COPY, 0, 0,
      "Read the weights into huge pages instead of mapping the file", 2},
     {"output", 'o', "md|csv|json|jsonl|sql", 0, "Format of the rows (md)", 3},
     {"profile", OPT_PROFILE, 0, 0,
      "Time per kernel, beside what its bytes and operations take at least", 3},
     {0}};

static uint64_t largest(const list *l)
{
    uint64_t m = 0;
    for (size_t i = 0; i < l->n; i++) m = l->v[i] > m ? l->v[i] : m;
    return m;
}

static enum format parse_format(struct argp_state *state, const char *arg)
{
    static const char *const names[] = {"md", "csv", "json", "jsonl", "sql"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(arg, names[i])) return (enum format)i;
    argp_error(state, "-o: '%s' is none of md, csv, json, jsonl, sql", arg);
    return MD;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    bench *b = state->input;
    switch (key) {
    case 'p':
        b->prompt.n = tool_numbers(state, arg, "-p", 0, 1 << 28, b->prompt.v, MAX_LIST);
        break;
    case 'n': b->gen.n = tool_numbers(state, arg, "-n", 0, 1 << 28, b->gen.v, MAX_LIST); break;
    case 'd': b->depth.n = tool_numbers(state, arg, "-d", 0, 1 << 28, b->depth.v, MAX_LIST); break;
    case 'b':
        b->batch.n = tool_numbers(state, arg, "-b", 1, MAX_BATCH, b->batch.v, MAX_LIST);
        break;
    case 'r': b->reps = tool_number(state, arg, "-r", 1, MAX_REPS); break;
    case 't': b->engine.threads = (uint32_t)tool_number(state, arg, "-t", 1, 256); break;
    case OPT_KV: b->engine.kv_dtype = arg; break;
    case OPT_BLOCK:
        b->engine.kv_block = (uint32_t)tool_number(state, arg, "--kv-block", 16, 256);
        break;
    case OPT_BATCH:
        b->engine.max_batch = (uint32_t)tool_number(state, arg, "--max-batch", 1, 1 << 20);
        break;
    case OPT_DEVICE: b->open.device = arg; break;
    case OPT_COPY: b->open.weights = LLMIR_WEIGHTS_COPIED; break;
    case 'o': b->format = parse_format(state, arg); break;
    case OPT_PROFILE: b->profile = true; break;
    case ARGP_KEY_ARG:
        if (b->module) argp_error(state, "more than one module: '%s'", arg);
        b->module = arg;
        break;
    case ARGP_KEY_END:
        if (!b->module) argp_error(state, "no module given");
        if (!largest(&b->prompt) && !largest(&b->gen))
            argp_error(state, "no test: -p and -n are 0");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- numbers ---------------------------------------------------------------------------- */
static double mean(const double *v, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++) s += v[i];
    return n ? s / (double)n : 0;
}

static double deviation(const double *v, size_t n)
{
    double m = mean(v, n), s = 0;
    for (size_t i = 0; i < n; i++) s += (v[i] - m) * (v[i] - m);
    return n > 1 ? sqrt(s / (double)(n - 1)) : 0;
}

static void model_name(const bench *b, char out[160])
{
    snprintf(out, 160, "%.60s %.60s", b->info.arch, b->info.quant);
}

/* ---- rows ------------------------------------------------------------------------------- */
/* One field list serves csv, json and sql. X(name, is_text, format, value) */
#define FIELDS(X)                                                 \
    X("model_filename", 1, "%s", b->module)                       \
    X("model_type", 1, "%s", name)                                \
    X("model_size", 0, "%" PRIu64, b->info.model_bytes)           \
    X("model_n_params", 0, "%" PRIu64, b->info.parameters)        \
    X("backend", 1, "%s", "CPU")                                  \
    X("target", 1, "%s", b->info.target)                          \
    X("n_threads", 0, "%u", b->run.threads)                       \
    X("n_batch", 0, "%u", b->run.max_batch)                       \
    X("type_k", 1, "%s", b->run.kv_dtype)                         \
    X("type_v", 1, "%s", b->run.kv_dtype)                         \
    X("kv_block", 0, "%u", b->run.kv_block)                       \
    X("n_prompt", 0, "%" PRIu64, r->n_prompt)                     \
    X("n_gen", 0, "%" PRIu64, r->n_gen)                           \
    X("n_depth", 0, "%" PRIu64, r->n_depth)                       \
    X("n_seqs", 0, "%" PRIu64, r->n_batch)                        \
    X("test", 1, "%s", r->test)                                   \
    X("avg_ns", 0, "%.0f", mean(r->sample_s, r->n) * 1e9)         \
    X("stddev_ns", 0, "%.0f", deviation(r->sample_s, r->n) * 1e9) \
    X("avg_ts", 0, "%.6f", mean(r->sample_ts, r->n))              \
    X("stddev_ts", 0, "%.6f", deviation(r->sample_ts, r->n))      \
    X("t/s", 0, "%.2f", mean(r->sample_ts, r->n))

static void quoted(const char *s, char quote)
{
    putchar(quote);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (quote == '"' && (c == '"' || c == '\\')) putchar('\\');
        if (quote != '"' && c == (unsigned char)quote) putchar(quote);
        if (c < 0x20 && quote == '"')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar(quote);
}

static void csv_text(const char *s) /* quotes are doubled, nothing is escaped */
{
    putchar('"');
    for (; *s; s++) {
        if (*s == '"') putchar('"');
        putchar(*s);
    }
    putchar('"');
}

static void print_samples(const char *label, const double *v, size_t n, double scale,
                          const char *format)
{
    printf(", \"%s\": [", label);
    for (size_t i = 0; i < n; i++) {
        if (i) printf(", ");
        printf(format, v[i] * scale);
    }
    printf("]");
}

static void print_fields(const bench *b, const result *r, enum format f)
{
    char name[160], value[4200];
    int first = 1;
    model_name(b, name);
#define X(label, text, fmt, val)                            \
    snprintf(value, sizeof value, fmt, val);                \
    printf(first ? "" : f == CSV ? "," : ", ");             \
    first = 0;                                              \
    if (f == JSON || f == JSONL) printf("\"%s\": ", label); \
    if (f == CSV)                                           \
        csv_text(value);                                    \
    else if (text)                                          \
        quoted(value, f == SQL ? '\'' : '"');               \
    else                                                    \
        fputs(value, stdout);
    FIELDS(X)
#undef X
}

static void print_names(enum format f)
{
    int first = 1;
#define X(label, text, fmt, val)                \
    printf(first ? "" : f == CSV ? "," : ", "); \
    first = 0;                                  \
    printf(f == CSV ? "%s" : text ? "\"%s\" TEXT" : "\"%s\" REAL", label);
    FIELDS(X)
#undef X
}

static void print_md(const bench *b, const result *r)
{
    char name[160], ts[64];
    model_name(b, name);
    snprintf(ts, sizeof ts, "%.2f \302\261 %.2f", mean(r->sample_ts, r->n),
             deviation(r->sample_ts, r->n));
    if (!b->n_rows) {
        printf("| %-30s | %10s | %10s | %-10s | %7s | %15s | %20s |\n", "model", "size", "params",
               "backend", "threads", "test", "t/s");
        printf("| %.30s | %.9s: | %.9s: | %.10s | %.6s: | %.14s: | %.19s: |\n",
               "------------------------------", "---------", "---------", "----------", "------",
               "--------------", "-------------------");
    }
    printf("| %-30s | %6.2f MiB | %8.2f M | %-10s | %7u | %15s | %21s |\n", name,
           (double)b->info.model_bytes / 1048576, (double)b->info.parameters / 1e6, "CPU",
           b->run.threads, r->test, ts);
}

static int print_row(bench *b, const result *r)
{
    switch (b->format) {
    case MD: print_md(b, r); break;
    case CSV:
        if (!b->n_rows) print_names(CSV), putchar('\n');
        print_fields(b, r, CSV);
        putchar('\n');
        break;
    case SQL:
        if (!b->n_rows)
            printf("CREATE TABLE IF NOT EXISTS llmir_bench ("), print_names(SQL), puts(");");
        printf("INSERT INTO llmir_bench VALUES (");
        print_fields(b, r, SQL);
        puts(");");
        break;
    default:
        if (b->format == JSON) fputs(b->n_rows ? ",\n" : "[\n", stdout);
        printf("{");
        print_fields(b, r, b->format);
        print_samples("samples_ns", r->sample_s, r->n, 1e9, "%.0f");
        print_samples("samples_ts", r->sample_ts, r->n, 1, "%.4f");
        fputs(b->format == JSON ? "}" : "}\n", stdout);
    }
    b->n_rows++;
    return tool_flush();
}

/* ---- profile ---------------------------------------------------------------------------- */
static int by_time(const void *a, const void *b)
{
    double x = ((const llmir_profile_row *)a)->seconds, y = ((const llmir_profile_row *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void print_profile(bench *b, const char *test)
{
    llmir_profile_row *row = NULL, one = LLMIR_INIT(llmir_profile_row);
    size_t n = 0;
    double total = 0;
    for (uint32_t i = 0; llmir_engine_profile(b->e, i, &one, &b->err) == LLMIR_OK; i++) {
        llmir_profile_row *p = realloc(row, (n + 1) * sizeof *p);
        if (!p) break;
        row = p;
        if (one.calls) row[n++] = one, total += one.seconds;
    }
    if (n) qsort(row, n, sizeof *row, by_time);
    fprintf(stderr,
            "\n%s: time per kernel; limits now: read %.1f GB/s, int8 %.0f Gop/s, f32 %.0f Gop/s\n",
            test, b->limits.read_gbs, b->limits.int8_gops, b->limits.f32_gops);
    fprintf(stderr, "%-28s %-20s %9s %9s %6s %8s %6s %9s %6s\n", "kernel", "site", "calls",
            "us/call", "share", "GB/s", "read", "Gop/s", "int8");
    for (size_t i = 0; i < n; i++) {
        const llmir_profile_row *p = &row[i];
        double gbs = p->bytes / p->seconds / 1e9, gops = p->ops / p->seconds / 1e9;
        fprintf(stderr,
                "%-28.28s %-20.20s %9" PRIu64 " %9.2f %5.1f%% %8.1f %5.0f%% %9.1f %5.0f%%\n",
                p->kernel, p->site, p->calls, p->seconds / (double)p->calls * 1e6,
                100 * p->seconds / total, gbs,
                b->limits.read_gbs > 0 ? 100 * gbs / b->limits.read_gbs : 0, gops,
                b->limits.int8_gops > 0 ? 100 * gops / b->limits.int8_gops : 0);
    }
    free(row);
}

/* ---- tests ------------------------------------------------------------------------------ */
static int32_t random_token(bench *b)
{
    b->random = b->random * 1664525 + 1013904223;
    return (int32_t)((b->random >> 8) % b->info.vocab);
}

static int feed(bench *b, llmir_feed *f, size_t n)
{
    int rc = llmir_step(b->e, f, n, NULL, &b->err);
    return rc == LLMIR_OK ? 0 : tool_fail(rc, b->err.msg);
}

static int prefill(bench *b, llmir_session *s, uint64_t n, uint32_t want)
{
    if (!n) return 0;
    int32_t *ids = malloc(n * sizeof *ids);
    if (!ids) return tool_fail(LLMIR_NO_SPACE, "no memory");
    for (uint64_t i = 0; i < n; i++) ids[i] = random_token(b);
    llmir_feed f = {.size = sizeof f, .session = s, .tokens = ids, .n_tokens = n, .want = want};
    int rc = feed(b, &f, 1);
    free(ids);
    return rc;
}

static int decode(bench *b, uint64_t n_batch, uint64_t n)
{
    static llmir_feed f[MAX_BATCH];
    static int32_t id[MAX_BATCH];
    for (uint64_t k = 0; k < n; k++) {
        for (uint64_t i = 0; i < n_batch; i++) {
            id[i] = random_token(b);
            f[i] = (llmir_feed){.size = sizeof *f,
                                .session = b->session[i],
                                .tokens = &id[i],
                                .n_tokens = 1};
        }
        int rc = feed(b, f, n_batch);
        if (rc) return rc;
    }
    return 0;
}

static int truncate_all(bench *b, uint64_t n_batch, uint64_t depth)
{
    for (uint64_t i = 0; i < n_batch; i++) {
        size_t len = llmir_session_length(b->session[i]);
        int rc = llmir_session_truncate(b->session[i], len < depth ? len : depth, &b->err);
        if (rc != LLMIR_OK) return tool_fail(rc, b->err.msg);
        if (len < depth && (rc = prefill(b, b->session[i], depth - len, LLMIR_WANT_NONE)))
            return rc;
    }
    return 0;
}

static int once(bench *b, const result *r)
{
    if (r->n_prompt) return prefill(b, b->session[0], r->n_prompt, LLMIR_WANT_NEXT);
    return decode(b, r->n_batch, r->n_gen);
}

static int run_test(bench *b, result *r)
{
    char *p = r->test;
    size_t room = sizeof r->test;
    int n = r->n_prompt      ? snprintf(p, room, "pp%" PRIu64, r->n_prompt)
            : r->n_batch > 1 ? snprintf(p, room, "b%" PRIu64, r->n_batch)
                             : snprintf(p, room, "tg%" PRIu64, r->n_gen);
    if (r->n_depth) snprintf(p + n, room - (size_t)n, "@d%" PRIu64, r->n_depth);
    double tokens = (double)(r->n_prompt ? r->n_prompt : r->n_gen * r->n_batch);
    result warm = *r;
    if (warm.n_gen > 8) warm.n_gen = 8; /* pages touched, threads awake */
    int rc = truncate_all(b, r->n_batch, r->n_depth);
    if (!rc) rc = once(b, &warm);
    llmir_engine_profile_reset(b->e);
    for (uint64_t k = 0; k < b->reps && !rc; k++) {
        tool_progress(r->test, k, b->reps);
        if ((rc = truncate_all(b, r->n_batch, r->n_depth))) break;
        double t = tool_now();
        rc = once(b, r);
        t = tool_now() - t;
        r->sample_s[r->n] = t;
        r->sample_ts[r->n++] = tokens / t;
    }
    tool_progress(r->test, b->reps, b->reps);
    if (rc) return rc;
    rc = print_row(b, r);
    if (!rc && b->profile) print_profile(b, r->test);
    return rc;
}

static int run_tests(bench *b)
{
    static result r;
    for (size_t d = 0; d < b->depth.n; d++) {
        for (size_t i = 0; i < b->prompt.n; i++) {
            if (!b->prompt.v[i]) continue;
            r = (result){.n_prompt = b->prompt.v[i], .n_depth = b->depth.v[d], .n_batch = 1};
            int rc = run_test(b, &r);
            if (rc) return rc;
        }
        for (size_t i = 0; i < b->gen.n * b->batch.n; i++) {
            if (!b->gen.v[i / b->batch.n]) continue;
            r = (result){.n_gen = b->gen.v[i / b->batch.n],
                         .n_depth = b->depth.v[d],
                         .n_batch = b->batch.v[i % b->batch.n]};
            int rc = run_test(b, &r);
            if (rc) return rc;
        }
    }
    return 0;
}

/* ---- setting up ------------------------------------------------------------------------- */
static int start(bench *b)
{
    int rc = llmir_open(b->module, &b->open, &b->model, &b->err);
    if (rc == LLMIR_OK) rc = llmir_model_get_info(b->model, &b->info, &b->err);
    if (rc != LLMIR_OK) return tool_fail(rc, b->err.msg);
    uint64_t prompt = largest(&b->prompt), gen = largest(&b->gen),
             need = (prompt > gen ? prompt : gen) + largest(&b->depth);
    if (need > b->info.context) {
        char msg[160];
        snprintf(msg, sizeof msg, "the tests need %" PRIu64 " tokens of context, the model has %u",
                 need, b->info.context);
        return tool_fail(LLMIR_USAGE, msg);
    }
    b->n_session = largest(&b->batch);
    uint64_t context = need + 64 < b->info.context ? need + 64 : b->info.context;
    b->engine.context = (uint32_t)context;
    b->engine.kv_tokens = (context + 256) * b->n_session;
    b->engine.max_sequences = b->n_session > 64 ? (uint32_t)b->n_session : 0;
    b->engine.profile = b->profile;
    rc = llmir_engine_create(b->model, &b->engine, &b->e, &b->err);
    if (rc == LLMIR_OK) rc = llmir_engine_get_info(b->e, &b->run, &b->err);
    b->session = calloc(b->n_session, sizeof(llmir_session *));
    if (!b->session) return tool_fail(LLMIR_NO_SPACE, "no memory");
    for (size_t i = 0; i < b->n_session && rc == LLMIR_OK; i++)
        rc = llmir_session_create(b->e, &b->session[i], &b->err);
    if (rc != LLMIR_OK) return tool_fail(rc, b->err.msg);
    if (b->profile) tool_measure_limits(b->run.threads, &b->limits);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {option_list,
                                     parse,
                                     "MODULE.so",
                                     "Measures a module made by llmir-build.\v"
                                     "Tests: ppN prefill of N tokens, tgN decode of N tokens, bB "
                                     "decode of B sessions at once, @dD behind D tokens; "
                                     "t/s is tokens per second, mean and standard deviation over "
                                     "the repetitions. Rows go to stdout, profiles to "
                                     "stderr.\nExit codes: those of llmir-run.",
                                     0,
                                     0,
                                     0};
    static bench b = {.prompt = {{512}, 1},
                      .gen = {{128}, 1},
                      .depth = {{0}, 1},
                      .batch = {{1}, 1},
                      .reps = 5,
                      .random = 7};
    b.engine = LLMIR_INIT(llmir_engine_params);
    b.open = LLMIR_INIT(llmir_open_params);
    b.info = LLMIR_INIT(llmir_model_info);
    b.run = LLMIR_INIT(llmir_engine_info);
    tool_begin("llmir-bench");
    argp_parse(&argp, argc, argv, 0, NULL, &b);
    int rc = start(&b);
    if (!rc) rc = run_tests(&b);
    if (b.format == JSON && b.n_rows) puts("\n]");
    for (size_t i = 0; b.session && i < b.n_session; i++) llmir_session_destroy(b.session[i]);
    free(b.session);
    llmir_engine_destroy(b.e);
    llmir_close(b.model);
    if (!rc) rc = tool_flush();
    return rc;
}

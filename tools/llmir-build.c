/* llmir-build: a model file becomes a model.so. Flags and wiring only; compile/build.h does the work. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compile/build.h"
#include "compile/cache.h"
#include "tools/tool.h"

enum { MAX_BLOCKS = 8, MAX_TARGETS = 32, KEY_ACT = 256, KEY_DUMP, KEY_TIME, KEY_BLOCKS, KEY_TOKENS, KEY_TARGET, KEY_NO_CACHE };

typedef struct options {
    const char *model, *out;
    cc_options build;
    int64_t block[MAX_BLOCKS];
    const char *target[MAX_TARGETS];
    bool time_passes, verbose, no_cache;
} options;

static const struct argp_option option_list[] = {
    {"output", 'o', "FILE", 0, "Write the module here (required)", 0},
    {"target", KEY_TARGET, "TARGET", 0, "cpu (this machine, the default), cpu:x86-64-v3, cpu:x86-64-v4, cpu:x86-64-v4+avx512vnni+gfni; several give a module for each of them", 0},
    {"activations", KEY_ACT, "int8|f32", 0, "What matrix products read: 8-bit blocks (default) or floats", 0},
    {"kv-blocks", KEY_BLOCKS, "N,...", 0, "Tokens per KV block to build for (default 16,32,64,128,256)", 0},
    {"max-tokens", KEY_TOKENS, "N", 0, "Longest step in tokens (default 512)", 0},
    {"dump", KEY_DUMP, "LEVEL,..[:DIR]", 0, "Print te, sched, loop, llvm, asm of every kernel, or write them to DIR", 0},
    {"jobs", 'j', "N", 0, "Processes and threads at once (default: one per core)", 0},
    {"no-cache", KEY_NO_CACHE, 0, 0, "Compile every kernel, keep none for later builds", 0},
    {"time-passes", KEY_TIME, 0, 0, "Print where the time went", 0},
    {"verbose", 'v', 0, 0, "Print what is being done", 0},
    {0}};

static unsigned dump_level(struct argp_state *state, const char *name, size_t n)
{
    static const struct { const char *name; unsigned bit; } level[] = {
        {"te", CC_DUMP_TE}, {"sched", CC_DUMP_SCHED}, {"loop", CC_DUMP_LOOP}, {"llvm", CC_DUMP_LLVM}, {"asm", CC_DUMP_ASM}};
    for (size_t i = 0; i < sizeof level / sizeof *level; i++)
        if (strlen(level[i].name) == n && !strncmp(level[i].name, name, n)) return level[i].bit;
    argp_error(state, "--dump: '%.*s' is not te, sched, loop, llvm or asm", (int)n, name);
    return 0;
}

static void parse_dump(struct argp_state *state, options *o, const char *arg)
{
    const char *dir = strchr(arg, ':');
    size_t n = dir ? (size_t)(dir - arg) : strlen(arg);
    o->build.dump_dir = dir ? dir + 1 : NULL;
    o->build.dump_file = stdout;
    if (!n || (dir && !dir[1])) argp_error(state, "--dump: '%s' names no level or no folder", arg);
    for (size_t at = 0; at < n;) {
        size_t len = strcspn(arg + at, ",:");
        o->build.dump |= dump_level(state, arg + at, len);
        at += len + 1;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    options *o = state->input;
    switch (key) {
    case 'o': o->out = arg; break;
    case KEY_TARGET:
        if (o->build.n_target == MAX_TARGETS) argp_error(state, "more than %d targets", MAX_TARGETS);
        o->target[o->build.n_target++] = arg;
        o->build.target = o->target;
        break;
    case KEY_ACT:
        if (!strcmp(arg, "f32")) o->build.f32_activations = true;
        else if (strcmp(arg, "int8")) argp_error(state, "--activations: '%s' is not int8 or f32", arg);
        break;
    case KEY_BLOCKS: {
        uint64_t v[MAX_BLOCKS];
        size_t n = tool_numbers(state, arg, "--kv-blocks", 16, 256, v, MAX_BLOCKS);
        for (size_t i = 0; i < n; i++) {
            if (v[i] & (v[i] - 1)) argp_error(state, "--kv-blocks: %llu is not a power of two", (unsigned long long)v[i]);
            o->block[i] = (int64_t)v[i];
        }
        o->build.kv_block = o->block;
        o->build.n_kv_block = (int)n;
        break;
    }
    case KEY_TOKENS: o->build.max_tokens = (int64_t)tool_number(state, arg, "--max-tokens", 1, 8192); break;
    case KEY_DUMP: parse_dump(state, o, arg); break;
    case 'j': o->build.jobs = (int)tool_number(state, arg, "--jobs", 1, 1024); break;
    case KEY_NO_CACHE: o->no_cache = true; break;
    case KEY_TIME: o->time_passes = true; break;
    case 'v': o->verbose = true; break;
    case ARGP_KEY_ARG:
        if (o->model) argp_error(state, "more than one model: '%s'", arg);
        o->model = arg;
        break;
    case ARGP_KEY_END:
        if (!o->model) argp_error(state, "no model given");
        if (!o->out) argp_error(state, "no output given: -o FILE");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void progress(void *user, const char *phase, double fraction)
{
    const options *o = user;
    tool_progress(phase, (uint64_t)(fraction * 1000), 1000);
    static const char *last;
    if (o->verbose && phase != last) fprintf(stderr, "%s\n", phase);
    last = phase;
}

/* What would stop the writing is better said before the work. */
static int check_output(const char *path)
{
    struct stat st;
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    errno = EISDIR;
    bool ok = folder && (stat(path, &st) || !S_ISDIR(st.st_mode)) && access(folder, W_OK | X_OK) == 0;
    free(folder);
    return ok ? 0 : tool_fail_errno(path);
}

static double peak_mib(void)
{
    struct rusage self, child;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &child);
    return (double)(self.ru_maxrss > child.ru_maxrss ? self.ru_maxrss : child.ru_maxrss) / 1024;
}

int main(int argc, char **argv)
{
    tool_begin("llmir-build");
    static options o;
    static const struct argp parser = {option_list, parse, "MODEL", "Compiles a model (GGUF) to a module that libllmir runs.\v"
        "Kernels are kept in $LLMIR_CACHE_DIR/kernels, else llmir/kernels in $XDG_CACHE_HOME or ~/.cache, for builds that need them again.\n"
        "Prints one line: architecture, layers, quantisation, kernels (distinct / in all programs), seconds, peak memory.\n"
        "Exit codes: 0 ok, 1 failed, 2 wrong use, 3 unsupported model, 4 bad input file, 6 out of memory or disk.", 0, 0, 0};
    argp_parse(&parser, argc, argv, 0, 0, &o);
    o.build.progress = progress;
    o.build.user = &o;
    o.build.version = llmir_version();
    static char cache[4096];
    if (!o.no_cache && cc_cache_folder(cache, sizeof cache)) o.build.cache = cache;
    int bad = check_output(o.out);
    if (bad) return bad;
    double t0 = tool_now();
    cc_report r;
    ll_error e = {0};
    ll_code rc = cc_build(o.model, o.out, &o.build, &r, &e);
    tool_progress("", 1, 1);
    if (rc != LL_OK) return tool_fail((int)rc, e.msg);
    printf("%s: %s, %lld layers, %s, %s; kernels %d distinct / %d; weights %.1f MB; %.1f s, peak %.0f MiB\n", o.out, r.arch, (long long)r.layers, r.quant, r.targets,
           r.kernels, r.kernel_calls, (double)r.weight_bytes / 1e6, tool_now() - t0, peak_mib());
    if (o.time_passes)
        printf("read %.2f s, graph and schedule %.2f s, code %.2f s, weights and link %.2f s; %d steps a token\n", r.seconds_graph, r.seconds_schedule, r.seconds_code,
               r.seconds_weights, r.decode_steps);
    if (o.time_passes || o.verbose) {
        if (r.no_cache[0] || !o.build.cache) printf("no kernel cache: %s\n", r.no_cache[0] ? r.no_cache : o.no_cache ? "--no-cache" : "no folder for it");
        else printf("kernel cache %s: %d found, %d made\n", cache, r.cache_hits, r.cache_misses);
    }
    return tool_flush();
}

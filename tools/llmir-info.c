/* llmir-info: what this machine offers, and what is in a module. Never runs a module's code. */
#include <dlfcn.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/target.h"
#include "tools/tool.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

typedef struct options {
    const char *module;
    bool json, traces;
} options;

static const struct argp_option option_list[] = {{"json", 'j', 0, 0, "Print one JSON object", 0},
                                                 {"traces", 't', 0, 0,
                                                  "Print every kernel's expressions and schedule",
                                                  0},
                                                 {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    options *o = state->input;
    switch (key) {
    case 'j': o->json = true; break;
    case 't': o->traces = true; break;
    case ARGP_KEY_ARG:
        if (o->module) argp_error(state, "more than one module: '%s'", arg);
        o->module = arg;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Everything is collected as JSON; text is a view of it. Names and paths may be no UTF-8. */
static json_t *text(const char *s)
{
    size_t n = 0;
    char *clean = tool_utf8(s, strlen(s), &n);
    json_t *o = clean ? json_stringn_nocheck(clean, n) : NULL;
    free(clean);
    return o;
}

/* ---- devices ---------------------------------------------------------------------------- */
static void cpu_name(char out[64])
{
    uint32_t r[12] = {0};
#if defined(__x86_64__)
    for (uint32_t i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
#endif
    memcpy(out, r, 48);
    out[48] = 0;
    for (size_t n = strlen(out); n && out[n - 1] == ' ';) out[--n] = 0;
}

static json_t *cpu_device(void)
{
    ll_target t;
    char name[64];
    ll_target_native(&t);
    cpu_name(name);
    json_t *features = json_array();
    for (int i = 0; i < LL_N_FEATURES; i++)
        if (ll_target_has(&t, (ll_cpu_feature)i))
            json_array_append_new(features, text(ll_cpu_feature_name((ll_cpu_feature)i)));
    return json_pack("{s:s,s:o,s:s,s:i,s:I,s:I,s:I,s:o}", "device", "cpu", "name", text(name),
                     "target", t.name, "cores", t.cores, "l1_bytes", (json_int_t)t.l1_bytes,
                     "l2_bytes", (json_int_t)t.l2_bytes, "l3_bytes", (json_int_t)t.l3_bytes,
                     "features", features);
}

/* A device that is there, or why it is not. */
static json_t *cuda_device(void)
{
    const char *path = getenv("LLMIR_CUDA_LIBRARY");
    void *lib = dlopen(path ? path : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        char why[512];
        snprintf(why, sizeof why, "no driver library: %s", dlerror());
        return json_pack("{s:s,s:o}", "device", "cuda", "missing", text(why));
    }
    int (*init)(unsigned), (*count)(int *), (*get)(int *, int), (*attr)(int *, int, int), n = 0;
    *(void **)&init = dlsym(lib, "cuInit");
    *(void **)&count = dlsym(lib, "cuDeviceGetCount");
    *(void **)&get = dlsym(lib, "cuDeviceGet");
    *(void **)&attr = dlsym(lib, "cuDeviceGetAttribute");
    json_t *o;
    int rc = init && count && get && attr ? init(0) : -1;
    if (rc || count(&n) || n < 1)
        o = json_pack("{s:s,s:s}", "device", "cuda", "missing",
                      rc ? "the driver does not start" : "no GPU");
    else {
        int dev = 0, major = 0, minor = 0;
        get(&dev, 0);
        attr(&major, 75, dev);
        attr(&minor, 76, dev);
        o = json_pack("{s:s,s:i,s:i,s:s}", "device", "cuda", "count", n, "compute_capability",
                      10 * major + minor, "note",
                      "found; this version runs modules on the CPU only");
    }
    dlclose(lib);
    return o;
}

/* ---- module ----------------------------------------------------------------------------- */
static json_t *targets(const llmir_model *m, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++) {
        llmir_target_info t = LLMIR_INIT(llmir_target_info);
        if (llmir_model_target(m, i, &t, NULL) != LLMIR_OK) continue;
        json_array_append_new(list,
                              json_pack("{s:o,s:o,s:I,s:I,s:b,s:o}", "name", text(t.name),
                                        "features", text(t.features), "programs",
                                        (json_int_t)t.n_programs, "kernels",
                                        (json_int_t)t.n_kernels, "in_use", (int)t.in_use, "missing",
                                        *t.missing ? text(t.missing) : json_null()));
    }
    return list;
}

static json_t *kernels(const llmir_model *m, uint32_t n, bool traces)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++) {
        llmir_kernel_info k = LLMIR_INIT(llmir_kernel_info);
        if (llmir_model_kernel(m, i, &k, NULL) != LLMIR_OK) continue;
        json_t *o = json_pack("{s:o,s:s,s:I}", "name", text(k.name), "hash", k.hash, "target",
                              (json_int_t)k.target);
        if (traces)
            json_object_set_new(o, "te", text(k.te)),
                json_object_set_new(o, "trace", text(k.trace));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *sites(const llmir_model *m, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++) {
        llmir_site_info s = LLMIR_INIT(llmir_site_info);
        if (llmir_model_site(m, i, &s, NULL) != LLMIR_OK) continue;
        json_array_append_new(list, json_pack("{s:o,s:o,s:s,s:I,s:I,s:o}", "name", text(s.name),
                                              "class", text(s.klass), "hash", s.hash, "variants",
                                              (json_int_t)s.n_variants, "kernel",
                                              (json_int_t)s.kernel, "note", text(s.note)));
    }
    return list;
}

static json_t *kv_layouts(const llmir_model *m, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++) {
        llmir_kv_info k = LLMIR_INIT(llmir_kv_info);
        if (llmir_model_kv(m, i, &k, NULL) == LLMIR_OK)
            json_array_append_new(list, json_pack("{s:o,s:I,s:I}", "dtype", text(k.dtype), "block",
                                                  (json_int_t)k.block, "bytes_per_token",
                                                  (json_int_t)k.bytes_per_token));
    }
    return list;
}

static json_t *facts(const llmir_model *m, uint32_t n)
{
    json_t *o = json_object();
    for (uint32_t i = 0; i < n; i++) {
        const char *key, *value;
        if (llmir_model_fact(m, i, &key, &value, NULL) == LLMIR_OK)
            json_object_set_new_nocheck(o, key, text(value));
    }
    return o;
}

static int module_info(const options *opt, json_t *out)
{
    llmir_error err;
    llmir_model *m;
    llmir_model_info i = LLMIR_INIT(llmir_model_info);
    int rc = llmir_open_info(opt->module, &m, &err);
    if (rc != LLMIR_OK) return tool_fail(rc, err.msg);
    if ((rc = llmir_model_get_info(m, &i, &err)) == LLMIR_OK) {
        llmir_error why;
        int runs = llmir_check(opt->module, NULL, &why);
        json_t *o = json_pack("{s:o,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "name",
                              text(i.name), "arch", text(i.arch), "quant", text(i.quant), "vocab",
                              (json_int_t)i.vocab, "layers", (json_int_t)i.layers, "context",
                              (json_int_t)i.context, "parameters", (json_int_t)i.parameters,
                              "model_bytes", (json_int_t)i.model_bytes, "file_bytes",
                              (json_int_t)i.file_bytes, "weight_bytes", (json_int_t)i.weight_bytes);
        json_object_set_new(o, "file", text(opt->module));
        json_object_set_new(o, "runs_here", text(runs == LLMIR_OK ? "yes" : why.msg));
        json_object_set_new(o, "bos", i.bos < 0 ? json_null() : json_integer(i.bos));
        json_object_set_new(o, "eos", i.eos < 0 ? json_null() : json_integer(i.eos));
        json_object_set_new(o, "chat_template",
                            i.chat_template ? text(i.chat_template) : json_null());
        json_object_set_new(o, "targets", targets(m, i.n_targets));
        json_object_set_new(o, "kv", kv_layouts(m, i.n_kv));
        json_object_set_new(o, "kernels", kernels(m, i.n_kernels, opt->traces || opt->json));
        json_object_set_new(o, "sites", sites(m, i.n_sites));
        json_object_set_new(o, "provenance", facts(m, i.n_facts));
        json_object_set_new(out, "module", o);
    }
    llmir_close(m);
    return rc == LLMIR_OK ? 0 : tool_fail(rc, err.msg);
}

/* ---- text view -------------------------------------------------------------------------- */
static const char *str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "-";
}

static long long num(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void print_devices(const json_t *list)
{
    size_t i;
    json_t *d, *f;
    puts("devices");
    json_array_foreach(list, i, d)
    {
        if (json_object_get(d, "missing")) {
            printf("  %-5s not usable: %s\n", str(d, "device"), str(d, "missing"));
        } else if (json_object_get(d, "note")) {
            printf("  %-5s %lld, sm_%lld: %s\n", str(d, "device"), num(d, "count"),
                   num(d, "compute_capability"), str(d, "note"));
        } else {
            size_t k;
            printf("  %-5s %s, %lld cores, caches %lld KiB / %lld KiB / %lld MiB\n",
                   str(d, "device"), str(d, "name"), num(d, "cores"), num(d, "l1_bytes") >> 10,
                   num(d, "l2_bytes") >> 10, num(d, "l3_bytes") >> 20);
            printf("        %s:", str(d, "target"));
            json_array_foreach(json_object_get(d, "features"), k, f)
                printf(" %s", json_string_value(f));
            puts("");
        }
    }
}

static void print_lines(const char *indent, const char *s)
{
    for (const char *end; *s; s = *end ? end + 1 : end) {
        end = strchrnul(s, '\n');
        printf("%s%.*s\n", indent, (int)(end - s), s);
    }
}

static void print_module(const json_t *m, bool traces)
{
    size_t i;
    json_t *x, *kern = json_object_get(m, "kernels");
    const char *key;
    printf("module  %s\n  %s (%s, %s), %lld layers, vocabulary %lld, context %lld, %.2f M "
           "parameters\n",
           str(m, "file"), str(m, "name"), str(m, "arch"), str(m, "quant"), num(m, "layers"),
           num(m, "vocab"), num(m, "context"), (double)num(m, "parameters") / 1e6);
    printf("  %.1f MiB, of them weights %.1f MiB\n", (double)num(m, "file_bytes") / 1048576,
           (double)num(m, "weight_bytes") / 1048576);
    printf("  runs here: %s\n", str(m, "runs_here"));
    puts("targets (cpu takes the one with the widest vectors, then the most features)");
    json_array_foreach(json_object_get(m, "targets"), i, x)
    {
        const char *missing = json_string_value(json_object_get(x, "missing"));
        printf("  %-24s %lld kernels, %lld programs; %s%s\n", str(x, "name"), num(x, "kernels"),
               num(x, "programs"),
               missing                                      ? "not here: lacking "
               : json_is_true(json_object_get(x, "in_use")) ? "what this machine runs"
                                                            : "runs here, with --device",
               missing ? missing : "");
        if (*str(x, "features")) printf("      needs %s\n", str(x, "features"));
    }
    puts("KV cache layouts");
    json_array_foreach(json_object_get(m, "kv"), i, x)
        printf("  %-5s blocks of %3lld tokens, %lld bytes per token\n", str(x, "dtype"),
               num(x, "block"), num(x, "bytes_per_token"));
    puts("sites");
    json_array_foreach(json_object_get(m, "sites"), i, x)
        printf("  %-24s %-12s %lld variant%s, first: %s%s%s\n", str(x, "name"), str(x, "class"),
               num(x, "variants"), num(x, "variants") == 1 ? "" : "s",
               str(json_array_get(kern, (size_t)num(x, "kernel")), "name"),
               *str(x, "note") ? ", " : "", str(x, "note"));
    printf("kernels (%zu)\n", json_array_size(kern));
    json_array_foreach(kern, i, x)
    {
        printf("  %-40s %s %s\n", str(x, "name"), str(x, "hash"),
               str(json_array_get(json_object_get(m, "targets"), (size_t)num(x, "target")),
                   "name"));
        if (!traces) continue;
        print_lines("      ", str(x, "te"));
        print_lines("    | ", str(x, "trace"));
    }
    puts("made from");
    json_object_foreach(json_object_get(m, "provenance"), key, x)
        printf("  %-16s %s\n", key, json_string_value(x));
}

int main(int argc, char **argv)
{
    static const struct argp argp = {option_list,
                                     parse,
                                     "[MODULE.so]",
                                     "Shows the devices of this machine and, given a module made "
                                     "by llmir-build, what is in it.\v"
                                     "Exit codes: those of llmir-run.",
                                     0,
                                     0,
                                     0};
    options o = {0};
    tool_begin("llmir-info");
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    json_t *out = json_pack("{s:[o,o]}", "devices", cpu_device(), cuda_device());
    if (!out) return tool_fail(LLMIR_NO_SPACE, "no memory");
    int rc = o.module ? module_info(&o, out) : 0;
    if (!rc && o.json) {
        char *dump = json_dumps(out, JSON_INDENT(1));
        rc = dump ? 0 : tool_fail(LLMIR_NO_SPACE, "no memory");
        if (dump) puts(dump);
        free(dump);
    } else if (!rc) {
        print_devices(json_object_get(out, "devices"));
        if (o.module) print_module(json_object_get(out, "module"), o.traces);
    }
    if (!rc) rc = tool_flush();
    json_decref(out);
    return rc;
}

/* llmir-run: generates text from a module. Uses the public API only.
 *
 * The text (or one JSON object) goes to stdout, everything else to stderr. It drives llmir_step
 * itself rather than llmir_generate because it also writes logits. */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/tool.h"

enum {
    OPT_TOKENS = 256,
    OPT_KV,
    OPT_BLOCK,
    OPT_BATCH,
    OPT_TEMP,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_MIN_P,
    OPT_REPEAT,
    OPT_REPEAT_LAST,
    OPT_SEED,
    OPT_IGNORE_EOS,
    OPT_JSON,
    OPT_LOGITS,
    OPT_ALL_LOGITS,
    OPT_TOKENIZE,
    OPT_TOKENIZE_SPECIAL,
    OPT_DETOKENIZE,
    OPT_VERIFY,
    OPT_COPY,
    OPT_DEVICE
};

typedef struct options {
    const char *module, *prompt, *file, *tokens, *logits;
    uint64_t n;
    llmir_engine_params engine;
    llmir_open_params open;
    llmir_sample_params sample;
    bool ignore_end, json, all_logits;
    int text_mode; /* 0, or one of OPT_TOKENIZE... */
} options;

typedef struct run {
    options o;
    llmir_model *model;
    llmir_model_info info;
    llmir_engine *engine;
    llmir_session *session;
    llmir_error err;
    FILE *logits_file;
    float *logits;
    int32_t *prompt, *ids;
    size_t n_prompt, n_ids, cap_ids;
    const char *stop;
    double prefill, decode;
    size_t n_decoded; /* steps of one token */
} run;

static const struct argp_option option_list[] =
    {{0, 0, 0, 0, "Prompt (one of):", 1},
     {"prompt", 'p', "TEXT", 0, "Continue TEXT; special tokens written out in it are recognised",
      1},
     {"file", 'f', "FILE", 0, "Continue the text in FILE ('-': stdin)", 1},
     {"tokens", OPT_TOKENS, "1,2,3", 0, "Continue these token ids", 1},
     {0, 0, 0, 0, "Generation:", 2},
     {0, 'n', "N", 0, "Generate at most N tokens (128)", 2},
     {"ignore-eos", OPT_IGNORE_EOS, 0, 0, "Go on behind tokens that end a text", 2},
     {"temp", OPT_TEMP, "X", 0, "Temperature; 0 takes the most likely token (0)", 2},
     {"top-k", OPT_TOP_K, "K", 0, "Keep the K most likely tokens; 0: all (0)", 2},
     {"top-p", OPT_TOP_P, "P", 0, "Keep the most likely tokens up to probability P (1)", 2},
     {"min-p", OPT_MIN_P, "P", 0, "Keep tokens with at least P times the best probability (0)", 2},
     {"repeat-penalty", OPT_REPEAT, "X", 0, "Make tokens of the sequence less likely; 1: off (1)",
      2},
     {"repeat-last", OPT_REPEAT_LAST, "N", 0,
      "The repeat penalty looks at the last N tokens; 0: all (0)", 2},
     {"seed", OPT_SEED, "N", 0, "Random numbers; the same seed gives the same text (0)", 2},
     {0, 0, 0, 0, "Running:", 3},
     {"context", 'c', "N", 0, "Longest sequence in tokens (the model's)", 3},
     {"device", OPT_DEVICE, "cpu|TARGET", 0,
      "cpu: the best code of the module for this machine (default); TARGET, as llmir-info shows "
      "them (cpu:x86-64-v3): that code",
      3},
     {"threads", 't', "N", 0, "CPU threads (all); the text does not depend on it", 3},
     {"kv", OPT_KV, "f16|f32", 0, "Storage of keys and values (the module's first)", 3},
     {"kv-block", OPT_BLOCK, "N", 0, "Tokens per block of the KV cache (the module's first)", 3},
     {"batch", OPT_BATCH, "N", 0, "Prompt tokens computed at once (512)", 3},
     {"copy-weights", OPT_COPY, 0, 0,
      "Read the weights into huge pages instead of mapping the file", 3},
     {"verify", OPT_VERIFY, 0, 0, "Compare the digest of all weights first", 3},
     {0, 0, 0, 0, "Output:", 4},
     {"json", OPT_JSON, 0, 0,
      "Print {prompt_ids, ids, text, stop, prefill_tps, decode_tps} instead of text", 4},
     {"logits", OPT_LOGITS, "FILE", 0,
      "Write float32 logits of the last prompt position and of each generated one", 4},
     {"all-logits", OPT_ALL_LOGITS, 0, 0, "With --logits: of all other prompt positions, too", 4},
     {0, 0, 0, 0,
      "Text only (JSON strings or arrays of ids, one a line, from stdin to stdout):", 5},
     {"tokenize", OPT_TOKENIZE, 0, 0, "Strings to ids; special tokens are plain text", 5},
     {"tokenize-special", OPT_TOKENIZE_SPECIAL, 0, 0,
      "Strings to ids; special tokens are recognised", 5},
     {"detokenize", OPT_DETOKENIZE, 0, 0, "Ids to strings", 5},
     {0}};

static void check_options(struct argp_state *state, options *o)
{
    int prompts = (o->prompt != NULL) + (o->file != NULL) + (o->tokens != NULL);
    if (!o->module) argp_error(state, "no module given");
    if (o->text_mode && prompts)
        argp_error(state, "--tokenize and --detokenize read stdin: no -p, -f, --tokens with them");
    if (!o->text_mode && prompts != 1) argp_error(state, "give one of -p, -f, --tokens");
    if (o->all_logits && !o->logits) argp_error(state, "--all-logits needs --logits FILE");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    options *o = state->input;
    switch (key) {
    case 'p': o->prompt = arg; break;
    case 'f': o->file = arg; break;
    case OPT_TOKENS: o->tokens = arg; break;
    case 'n': o->n = tool_number(state, arg, "-n", 0, 1 << 28); break;
    case 'c': o->engine.context = (uint32_t)tool_number(state, arg, "-c", 1, 1 << 28); break;
    case 't': o->engine.threads = (uint32_t)tool_number(state, arg, "-t", 1, 256); break;
    case OPT_KV: o->engine.kv_dtype = arg; break;
    case OPT_BLOCK:
        o->engine.kv_block = (uint32_t)tool_number(state, arg, "--kv-block", 16, 256);
        break;
    case OPT_BATCH:
        o->engine.max_batch = (uint32_t)tool_number(state, arg, "--batch", 1, 1 << 20);
        break;
    case OPT_TEMP: o->sample.temperature = (float)tool_real(state, arg, "--temp", 0, 1e6); break;
    case OPT_TOP_K:
        o->sample.top_k = (uint32_t)tool_number(state, arg, "--top-k", 0, UINT32_MAX);
        break;
    case OPT_TOP_P: o->sample.top_p = (float)tool_real(state, arg, "--top-p", 0, 1); break;
    case OPT_MIN_P: o->sample.min_p = (float)tool_real(state, arg, "--min-p", 0, 1); break;
    case OPT_REPEAT:
        o->sample.repeat_penalty = (float)tool_real(state, arg, "--repeat-penalty", 1e-6, 1e6);
        break;
    case OPT_REPEAT_LAST:
        o->sample.repeat_last = (uint32_t)tool_number(state, arg, "--repeat-last", 0, UINT32_MAX);
        break;
    case OPT_SEED: o->sample.seed = tool_number(state, arg, "--seed", 0, UINT64_MAX); break;
    case OPT_IGNORE_EOS: o->ignore_end = true; break;
    case OPT_JSON: o->json = true; break;
    case OPT_LOGITS: o->logits = arg; break;
    case OPT_ALL_LOGITS: o->all_logits = true; break;
    case OPT_DEVICE: o->open.device = arg; break;
    case OPT_VERIFY: o->open.verify = 1; break;
    case OPT_COPY: o->open.weights = LLMIR_WEIGHTS_COPIED; break;
    case OPT_TOKENIZE:
    case OPT_TOKENIZE_SPECIAL:
    case OPT_DETOKENIZE: o->text_mode = key; break;
    case ARGP_KEY_ARG:
        if (o->module) argp_error(state, "more than one module: '%s'", arg);
        o->module = arg;
        break;
    case ARGP_KEY_END: check_options(state, o); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- text only -------------------------------------------------------------------------- */
static int out_of_memory(void) { return tool_fail(LLMIR_NO_SPACE, "no memory"); }

static int bad_line(size_t line, const char *why)
{
    char msg[256];
    snprintf(msg, sizeof msg, "stdin line %zu: %s", line, why);
    return tool_fail(LLMIR_BAD_INPUT, msg);
}

static int print_ids(run *r, const char *text, size_t n, uint32_t flags)
{
    size_t n_ids = n + 8;
    int32_t *ids = malloc(n_ids * sizeof *ids);
    if (!ids) return out_of_memory();
    int rc = llmir_tokenize(r->model, text, n, flags, ids, &n_ids, &r->err);
    if (rc == LLMIR_OK) {
        putchar('[');
        for (size_t i = 0; i < n_ids; i++) printf("%s%d", i ? ", " : "", ids[i]);
        puts("]");
    }
    free(ids);
    return rc == LLMIR_OK ? 0 : tool_fail(rc, r->err.msg);
}

/* ids -> bytes; malloc'ed. NULL: r->err.code says why, LLMIR_OK when memory ran out */
static char *bytes_of(run *r, const int32_t *ids, size_t n, uint32_t flags, size_t *out_n)
{
    *out_n = 0;
    if (llmir_detokenize(r->model, ids, n, flags, NULL, out_n, &r->err) != LLMIR_OK) return NULL;
    char *raw = malloc(*out_n + 1);
    if (raw) llmir_detokenize(r->model, ids, n, flags, raw, out_n, &r->err);
    return raw;
}

/* The same as JSON may hold it. */
static char *text_of(run *r, const int32_t *ids, size_t n, uint32_t flags, size_t *out_n)
{
    size_t n_raw;
    char *raw = bytes_of(r, ids, n, flags, &n_raw), *text = NULL;
    if (raw) text = tool_utf8(raw, n_raw, out_n);
    free(raw);
    return text;
}

static int print_text(run *r, const json_t *list, size_t line)
{
    size_t n = json_array_size(list), len;
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    if (!ids) return out_of_memory();
    for (size_t i = 0; i < n; i++) {
        json_int_t v = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || v < 0 || v >= (json_int_t)r->info.vocab)
            return free(ids), bad_line(line, "an id outside the vocabulary");
        ids[i] = (int32_t)v;
    }
    char *text = text_of(r, ids, n, LLMIR_TEXT_SHOW_SPECIAL, &len);
    free(ids);
    if (!text)
        return tool_fail(r->err.code ? r->err.code : LLMIR_NO_SPACE,
                         r->err.code ? r->err.msg : "no memory");
    json_t *s = json_stringn(text, len);
    char *dump = s ? json_dumps(s, JSON_ENCODE_ANY) : NULL;
    if (dump) puts(dump);
    free(dump);
    free(text);
    json_decref(s);
    return dump ? 0 : out_of_memory();
}

static int text_mode(run *r)
{
    char *line = NULL;
    size_t cap = 0, no = 0;
    ssize_t n;
    int rc = 0;
    while (!rc && (n = getline(&line, &cap, stdin)) > 0) {
        json_error_t e;
        no++;
        if (n == 1 && line[0] == '\n') continue;
        json_t *j = json_loadb(line, (size_t)n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
        if (!j)
            rc = bad_line(no, e.text);
        else if (r->o.text_mode == OPT_DETOKENIZE)
            rc = json_is_array(j) ? print_text(r, j, no) : bad_line(no, "wanted an array of ids");
        else if (!json_is_string(j))
            rc = bad_line(no, "wanted a JSON string");
        else
            rc = print_ids(r, json_string_value(j), json_string_length(j),
                           r->o.text_mode == OPT_TOKENIZE_SPECIAL ? LLMIR_TEXT_PARSE_SPECIAL : 0);
        json_decref(j);
        if (!rc) rc = tool_flush();
    }
    free(line);
    return rc;
}

/* ---- prompt ----------------------------------------------------------------------------- */
static int parse_tokens(run *r)
{
    const char *p = r->o.tokens;
    r->prompt = malloc((strlen(p) / 2 + 1) * sizeof *r->prompt);
    if (!r->prompt) return out_of_memory();
    for (char *end;; p = end + 1) {
        errno = 0;
        long v = strtol(p, &end, 10);
        if (end == p || errno || v < 0 || v >= (long)r->info.vocab || (*end && *end != ','))
            return tool_fail(LLMIR_USAGE,
                             "--tokens: wanted ids of the vocabulary, separated by commas");
        r->prompt[r->n_prompt++] = (int32_t)v;
        if (!*end) return 0;
    }
}

static int make_prompt(run *r)
{
    if (r->o.tokens) return parse_tokens(r);
    size_t n = r->o.prompt ? strlen(r->o.prompt) : 0;
    char *file = r->o.prompt ? NULL : tool_read(r->o.file, &n);
    if (!r->o.prompt && !file) return LLMIR_BAD_INPUT;
    r->n_prompt = n + 8;
    r->prompt = malloc(r->n_prompt * sizeof *r->prompt);
    int rc = LLMIR_NO_SPACE;
    snprintf(r->err.msg, sizeof r->err.msg, "no memory");
    if (r->prompt)
        rc = llmir_tokenize(r->model, file ? file : r->o.prompt, n,
                            LLMIR_TEXT_ADD_SPECIAL | LLMIR_TEXT_PARSE_SPECIAL, r->prompt,
                            &r->n_prompt, &r->err);
    free(file);
    if (rc != LLMIR_OK) return tool_fail(rc, r->err.msg);
    return r->n_prompt ? 0 : tool_fail(LLMIR_USAGE, "the prompt has no tokens");
}

/* ---- generation ------------------------------------------------------------------------- */
static llmir_session *interrupted_session;
static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
    llmir_session_cancel(interrupted_session);
}

static int on_prefill(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    tool_progress("prompt", done, total);
    return 0;
}

static int write_logits(run *r, size_t rows)
{
    size_t n = rows * r->info.vocab;
    if (!r->logits_file || fwrite(r->logits, sizeof *r->logits, n, r->logits_file) == n) return 0;
    return tool_fail_errno(r->o.logits);
}

/* A run that failed leaves no file of logits. */
static int close_logits(run *r, int rc)
{
    struct stat st;
    bool regular = fstat(fileno(r->logits_file), &st) == 0 && S_ISREG(st.st_mode);
    if (fclose(r->logits_file) && !rc) rc = tool_fail_errno(r->o.logits);
    if (rc && regular) unlink(r->o.logits);
    return rc;
}

/* Feeds n tokens; the next one, or -1 after a message (*rc). */
static int32_t feed(run *r, const int32_t *ids, size_t n, int *rc)
{
    llmir_step_params p = {.size = sizeof p, .progress = n > 1 ? on_prefill : NULL};
    llmir_feed f = {.size = sizeof f,
                    .session = r->session,
                    .tokens = ids,
                    .n_tokens = n,
                    .sample = &r->o.sample,
                    .logits = r->logits,
                    .want = n > 1 && r->o.all_logits ? LLMIR_WANT_ALL : LLMIR_WANT_NEXT};
    *rc = llmir_step(r->engine, &f, 1, &p, &r->err);
    if (*rc != LLMIR_OK) {
        *rc = interrupted ? TOOL_INTERRUPTED : tool_fail(*rc, r->err.msg);
        return -1;
    }
    *rc = write_logits(r, f.want == LLMIR_WANT_ALL ? n : 1);
    return *rc ? -1 : f.next;
}

static int keep(run *r, int32_t id)
{
    if (r->n_ids == r->cap_ids) {
        size_t cap = r->cap_ids ? 2 * r->cap_ids : 256;
        int32_t *p = realloc(r->ids, cap * sizeof *p);
        if (!p) return out_of_memory();
        r->ids = p;
        r->cap_ids = cap;
    }
    r->ids[r->n_ids++] = id;
    if (r->o.json) return 0;
    size_t n;
    char *text = bytes_of(r, &id, 1, r->o.ignore_end ? LLMIR_TEXT_SHOW_SPECIAL : 0, &n);
    if (!text) /* no tokenizer, or an id that only pads the vocabulary: nothing to print */
        return r->err.code ? 0 : out_of_memory();
    fwrite(text, 1, n, stdout);
    free(text);
    return tool_flush();
}

static int decode(run *r, int32_t next)
{
    int rc = 0;
    while (next >= 0) {
        if (r->n_ids >= r->o.n) return r->stop = "length", 0;
        if (llmir_token_is_end(r->model, next) && !r->o.ignore_end) return r->stop = "end", 0;
        if ((rc = keep(r, next))) return rc;
        /* the last one is computed only for its logits */
        if (r->n_ids >= r->o.n && !r->logits_file) return r->stop = "length", 0;
        if (r->n_prompt + r->n_ids > r->o.engine.context) return r->stop = "context", 0;
        next = feed(r, &r->ids[r->n_ids - 1], 1, &rc);
        r->n_decoded += rc == 0;
    }
    return rc;
}

static int generate(run *r)
{
    int rc;
    double t0 = tool_now();
    int32_t next = feed(r, r->prompt, r->n_prompt, &rc);
    double t1 = tool_now();
    r->prefill = t1 - t0;
    if (rc) return rc;
    rc = decode(r, next);
    r->decode = tool_now() - t1;
    return rc;
}

static int report(run *r)
{
    double prefill = (double)r->n_prompt / r->prefill,
           decode = r->n_decoded ? (double)r->n_decoded / r->decode : 0;
    if (!r->o.json) {
        fprintf(stderr,
                "\n%zu prompt tokens: %.1f/s, %zu generated: %.1f/s, stopped by %s; code for %s\n",
                r->n_prompt, prefill, r->n_ids, decode, r->stop, r->info.target);
        return 0;
    }
    size_t n = 0;
    char *text = text_of(r, r->ids, r->n_ids, r->o.ignore_end ? LLMIR_TEXT_SHOW_SPECIAL : 0, &n);
    json_t *prompt = json_array(), *ids = json_array();
    for (size_t i = 0; i < r->n_prompt; i++)
        json_array_append_new(prompt, json_integer(r->prompt[i]));
    for (size_t i = 0; i < r->n_ids; i++) json_array_append_new(ids, json_integer(r->ids[i]));
    json_t *o = json_pack("{s:o,s:o,s:o,s:s,s:f,s:f}", "prompt_ids", prompt, "ids", ids, "text",
                          text ? json_stringn(text, n) : json_null(), "stop", r->stop,
                          "prefill_tps", prefill, "decode_tps", decode);
    char *dump = o ? json_dumps(o, JSON_COMPACT) : NULL;
    if (dump) puts(dump);
    int rc = dump ? tool_flush() : out_of_memory();
    free(dump);
    json_decref(o);
    free(text);
    return rc;
}

static int start(run *r)
{
    llmir_engine_info info = LLMIR_INIT(llmir_engine_info);
    int rc = llmir_engine_create(r->model, &r->o.engine, &r->engine, &r->err);
    if (rc == LLMIR_OK) rc = llmir_engine_get_info(r->engine, &info, &r->err);
    if (rc == LLMIR_OK) rc = llmir_session_create(r->engine, &r->session, &r->err);
    if (rc != LLMIR_OK) return tool_fail(rc, r->err.msg);
    r->o.engine.context = info.context;
    if (r->n_prompt > info.context) {
        char msg[128];
        snprintf(msg, sizeof msg, "the prompt has %zu tokens, the context is %u", r->n_prompt,
                 info.context);
        return tool_fail(LLMIR_USAGE, msg);
    }
    if (!r->o.logits) return 0;
    r->logits =
        malloc((r->o.all_logits ? r->n_prompt : 1) * (size_t)r->info.vocab * sizeof *r->logits);
    if (!r->logits) return out_of_memory();
    r->logits_file = fopen(r->o.logits, "we");
    return r->logits_file ? 0 : tool_fail_errno(r->o.logits);
}

static int on_verify(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    tool_progress("weights", done, total);
    return 0;
}

static int run_all(run *r)
{
    r->o.open.progress = on_verify;
    int rc = r->o.text_mode ? llmir_open_info(r->o.module, &r->model, &r->err)
                            : llmir_open(r->o.module, &r->o.open, &r->model, &r->err);
    if (rc == LLMIR_OK) rc = llmir_model_get_info(r->model, &r->info, &r->err);
    if (rc != LLMIR_OK) return tool_fail(rc, r->err.msg);
    if (r->o.text_mode) return text_mode(r);
    if ((rc = make_prompt(r)) || (rc = start(r))) return rc;
    interrupted_session = r->session;
    signal(SIGINT, on_interrupt);
    rc = generate(r);
    signal(SIGINT, SIG_DFL); /* the session goes now */
    return rc ? rc : report(r);
}

int main(int argc, char **argv)
{
    static const struct argp argp =
        {option_list,
         parse,
         "MODULE.so",
         "Generates text from a module made by llmir-build.\v"
         "Text goes to stdout, everything else to stderr. Exit codes: 0 ok, 1 failed, 2 wrong use, "
         "3 unsupported module, "
         "4 bad input file, 5 no device, 6 out of memory or disk, 130 interrupted.",
         0,
         0,
         0};
    run r = {.o = {.n = 128,
                   .engine = LLMIR_INIT(llmir_engine_params),
                   .open = LLMIR_INIT(llmir_open_params),
                   .sample = LLMIR_INIT(llmir_sample_params)},
             .info = LLMIR_INIT(llmir_model_info),
             .stop = "error"};
    tool_begin("llmir-run");
    argp_parse(&argp, argc, argv, 0, NULL, &r.o);
    int rc = run_all(&r);
    if (r.logits_file) rc = close_logits(&r, rc);
    llmir_session_destroy(r.session);
    llmir_engine_destroy(r.engine);
    llmir_close(r.model);
    free(r.prompt);
    free(r.ids);
    free(r.logits);
    return rc;
}

/* sch.c: runs schedules: one trace line at a time, all or nothing.
 *
 * A line is `PRIMITIVE ARGUMENT ...`, separated by blanks. The driver gives the primitive a copy
 * of the tree (and keeps the buffers' records), so that a primitive may edit first and refuse
 * later:
 *
 *     copy -> primitive -> lp_simplify -> lp_verify -> append the line to the trace
 *                 `-- refused, or the result does not verify: the old tree is put back
 *
 * LLMIR_VERIFY=0 in the environment skips lp_verify, for replays of traces that were verified when
 * they were made. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schedule/prim.h"

enum { MAX_ARG = 64, MAX_LINE = 4096 };

static const sch_prim prims[] = {
#define SCH_PRIM(name, fn, usage, help) {name, usage, help, fn},
#include "schedule/prims.def"
#undef SCH_PRIM
};

int sch_n_prims(void) { return (int)(sizeof prims / sizeof *prims); }
const sch_prim *sch_prim_at(int i) { return &prims[i]; }

/* ---- life ------------------------------------------------------------------------------------ */

sch *sch_create(te_graph *g, const char *name, te_tensor *const *roots, int n_roots,
                const ll_target *target, ll_error *err)
{
    return sch_create_given(g, name, roots, n_roots, NULL, 0, target, err);
}

sch *sch_create_given(te_graph *g, const char *name, te_tensor *const *roots, int n_roots,
                      te_tensor *const *given, int n_given, const ll_target *target, ll_error *err)
{
    sch *s = calloc(1, sizeof *s);
    te_graph *child = s ? te_graph_child(g) : NULL;
    if (!child) {
        ll_fail(err, LL_NO_SPACE, "schedule of %s: no memory", name);
        free(s);
        return NULL;
    }
    s->g = child;
    s->target = target;
    te_graph *before = te_graph_use(child);
    s->n_root = n_roots;
    s->root = LL_NEW_N(te_arena(child), te_tensor *, n_roots);
    for (int i = 0; i < n_roots; i++) s->root[i] = roots[i];
    s->fn = lp_lower(child, name, roots, n_roots, given, n_given, err);
    te_graph_use(before);
    if (s->fn) return s;
    sch_destroy(s);
    return NULL;
}

void sch_destroy(sch *s)
{
    if (!s) return;
    ll_str_finish(&s->trace);
    te_graph_destroy(s->g);
    free(s);
}

/* ---- one line, all or nothing ---------------------------------------------------------------- */

typedef struct snapshot { /* what a primitive may change */
    lp_func fn;
    lp_buf **buf, **param;
    lp_buf *old; /* their contents */
    const char *approx;
} snapshot;

static void snapshot_take(sch *s, snapshot *k)
{
    ll_arena *a = te_arena(s->g);
    lp_func *f = s->fn;
    k->fn = *f;
    k->approx = s->approx;
    k->buf = LL_NEW_N(a, lp_buf *, f->n_buf + 1);
    k->param = LL_NEW_N(a, lp_buf *, f->n_param + 1);
    k->old = LL_NEW_N(a, lp_buf, f->n_buf + 1);
    for (int i = 0; i < f->n_buf; i++) {
        k->buf[i] = f->buf[i];
        k->old[i] = *f->buf[i];
    }
    for (int i = 0; i < f->n_param; i++) k->param[i] = f->param[i];
    f->body = lp_clone(f, f->body);
}

static void snapshot_restore(sch *s, const snapshot *k)
{
    *s->fn = k->fn;
    s->approx = k->approx;
    for (int i = 0; i < k->fn.n_buf; i++) {
        s->fn->buf[i] = k->buf[i];
        *k->buf[i] = k->old[i];
    }
    for (int i = 0; i < k->fn.n_param; i++) s->fn->param[i] = k->param[i];
}

static bool verifying(void)
{
    const char *v = getenv("LLMIR_VERIFY");
    return !v || strcmp(v, "0") != 0;
}

static const sch_prim *prim_named(const char *name, ll_error *err)
{
    for (int i = 0; i < sch_n_prims(); i++)
        if (!strcmp(prims[i].name, name)) return &prims[i];
    ll_str all = {0};
    for (int i = 0; i < sch_n_prims(); i++) ll_str_addf(&all, "%s%s", i ? " " : "", prims[i].name);
    ll_fail(err, LL_USAGE, "there is no primitive '%s'; primitives: %s", name, ll_str_cstr(&all));
    ll_str_finish(&all);
    return NULL;
}

static ll_code transact(sch *s, const sch_prim *p, int argc, const char *const *argv, ll_error *err)
{
    snapshot before;
    snapshot_take(s, &before);
    ll_code rc = p->run(s, argc, argv, err);
    const ll_error *te = te_error(s->g);
    if (rc == LL_OK && te) rc = ll_fail(err, LL_FAILED, "%s", te->msg);
    if (rc == LL_OK) {
        lp_simplify(s->fn);
        lp_collect_dims(s->fn);
        if (verifying() && !s->verify_later) rc = lp_verify(s->fn, err);
    }
    if (rc != LL_OK) snapshot_restore(s, &before);
    return rc;
}

static bool starts_with_word(const char *msg, const char *word)
{
    size_t n = strlen(word);
    return !strncmp(msg, word, n) && (msg[n] == ':' || msg[n] == ' ');
}

static ll_code run_line(sch *s, int argc, const char *const *argv, ll_error *err)
{
    const sch_prim *p = prim_named(argv[0], err);
    if (!p) return LL_USAGE;
    ll_code rc = transact(s, p, argc - 1, argv + 1, err);
    if (rc != LL_OK && !starts_with_word(err->msg, p->name)) ll_error_prefix(err, "%s: ", p->name);
    if (rc != LL_OK) return rc;
    for (int i = 0; i < argc; i++) ll_str_addf(&s->trace, "%s%s", i ? " " : "", argv[i]);
    ll_str_addc(&s->trace, '\n');
    return s->trace.oom ? ll_fail(err, LL_NO_SPACE, "%s: no memory for the trace", p->name) : LL_OK;
}

ll_code sch_do(sch *s, const char *line)
{
    const char *argv[MAX_ARG];
    int argc = 0;
    s->error = (ll_error){0};
    te_graph *before = te_graph_use(s->g);
    char *copy = ll_strdup(te_arena(s->g), line), *save = NULL;
    ll_code rc = LL_OK;
    for (char *w = strtok_r(copy, " \t\r\n", &save); w && *w != '#' && rc == LL_OK;
         w = strtok_r(NULL, " \t\r\n", &save)) {
        if (argc == MAX_ARG)
            rc = ll_fail(&s->error, LL_USAGE, "a trace line has at most %d words", MAX_ARG);
        else
            argv[argc++] = w;
    }
    if (rc == LL_OK && argc) rc = run_line(s, argc, argv, &s->error);
    te_graph_use(before);
    return rc;
}

ll_code sch_dof(sch *s, const char *fmt, ...)
{
    char line[MAX_LINE];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= MAX_LINE) {
        s->error = (ll_error){0};
        return ll_fail(&s->error, LL_USAGE, "a trace line has at most %d characters", MAX_LINE - 1);
    }
    return sch_do(s, line);
}

ll_code sch_replay(sch *s, const char *trace, ll_error *err)
{
    char line[MAX_LINE];
    for (int no = 1; *trace; no++) {
        size_t n = strcspn(trace, "\n");
        if (n >= sizeof line)
            return ll_fail(err, LL_USAGE, "line %d of the trace is longer than %d characters", no,
                           MAX_LINE - 1);
        memcpy(line, trace, n);
        line[n] = 0;
        ll_code rc = sch_do(s, line);
        if (rc != LL_OK)
            return ll_fail(err, rc, "line %d of the trace, `%s`: %s", no, line, s->error.msg);
        trace += n + (trace[n] == '\n');
    }
    return LL_OK;
}

/* ---- arguments and sentences ----------------------------------------------------------------- */

bool sch_arg_int(const char *text, int64_t *out)
{
    char *end;
    long long v = strtoll(text, &end, 10);
    *out = v;
    return end != text && !*end;
}

const char **sch_args(sch *s, int argc, const char *const *argv)
{
    const char **copy = LL_NEW_N(te_arena(s->g), const char *, argc + 1);
    for (int i = 0; i < argc; i++) copy[i] = argv[i];
    return copy;
}

const char *sch_arg_key(const char **argv, int *argc, const char *key)
{
    size_t n = strlen(key);
    for (int i = 0; i < *argc; i++) {
        if (strncmp(argv[i], key, n) || argv[i][n] != '=') continue;
        const char *value = argv[i] + n + 1;
        for (int j = i + 1; j < *argc; j++) argv[j - 1] = argv[j];
        --*argc;
        return value;
    }
    return NULL;
}

static const char *const scope_names[] = {
    [LP_GLOBAL] = "global", [LP_THREAD] = "thread", [LP_REG] = "reg",
    [LP_SHARED] = "shared", [LP_WARPSH] = "warp",
};

const char *sch_scope_name(lp_scope scope) { return scope_names[scope]; }

bool sch_scope_parse(const char *text, lp_scope *out)
{
    for (int i = LP_GLOBAL; i <= LP_WARPSH; i++)
        if (!strcmp(text, scope_names[i])) {
            *out = (lp_scope)i;
            return true;
        }
    return false;
}

enum { TEXT_MAX = 200 };

static const char *one_line(sch *s, ll_str *text)
{
    size_t n = 0;
    for (size_t i = 0; i < text->n; i++) { /* runs of blanks and line ends become one blank */
        char c = text->s[i] == '\n' ? ' ' : text->s[i];
        if (c != ' ' || (n && text->s[n - 1] != ' ')) text->s[n++] = c;
    }
    while (n && text->s[n - 1] == ' ') n--;
    if (text->s) text->s[text->n = n] = 0;
    const char *out = ll_sprintf(te_arena(s->g), "%.*s%s", TEXT_MAX, ll_str_cstr(text),
                                 text->n > TEXT_MAX ? " ..." : "");
    ll_str_finish(text);
    return out;
}

const char *sch_text(sch *s, const lp_stmt *st)
{
    ll_str text = {0};
    lp_stmt alone = *st;
    alone.next = NULL;
    lp_print_stmt(&text, &alone, 0);
    return one_line(s, &text);
}

const char *sch_expr_text(sch *s, te_ref e)
{
    ll_str text = {0};
    te_print_expr(&text, e);
    return one_line(s, &text);
}

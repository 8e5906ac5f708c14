/* test_prims.c: every file in tests/golden/prims: definitions, a trace, and what it must give.
 * Format:
 *
 *     --- te                       the definitions, as te prints them
 *     --- dims T=3 S=2 tol=1e-5    optional: values for the evaluation; noeval leaves it out
 *     --- roots y z                optional: the last definition
 *     --- target cpu:x86-64-v4     optional
 *     --- trace
 *     split y.n 16
 *     ? claim y.k                  must be refused, and leave the tree as it was
 *     --- result                   the sentences of refusals, then the loop text
 *
 * After every line the function is evaluated (three orders of its parallel loops) and compared
 * with the plain one, and at the end with te_eval of the definitions. `test_prims --update` writes
 * the results that it found; `test_prims NAME` runs one file. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support/sched_check.h"

enum { MAX_DIMS = 16, MAX_ROOTS = 16 };

static bool update;
static int wrong;

typedef struct golden {
    char *te, *trace, *result, *roots, *target;
    chk_dim dim[MAX_DIMS];
    int n_dim;
    double tol;
    bool eval;
} golden;

static void complain(const char *file, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void complain(const char *file, const char *fmt, ...)
{
    char msg[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    print_error("%s: %s\n", file, msg);
    wrong++;
}

/* Cuts the text at its "--- " lines. */
static void sections(char *text, golden *g)
{
    *g = (golden){.tol = 1e-12, .eval = true};
    char *save = NULL, **body = NULL;
    for (char *line = text; line && *line;) {
        char *next = strchr(line, '\n');
        if (next) *next++ = 0;
        if (!strncmp(line, "--- ", 4)) {
            *line = 0; /* ends the section before */
            char *word = strtok_r(line + 4, " ", &save);
            body = !strcmp(word, "te")       ? &g->te
                   : !strcmp(word, "trace")  ? &g->trace
                   : !strcmp(word, "result") ? &g->result
                                             : NULL;
            if (body) *body = next;
            if (!strcmp(word, "roots")) g->roots = save;
            if (!strcmp(word, "target")) g->target = save;
            if (!strcmp(word, "dims"))
                for (char *d = strtok_r(NULL, " ", &save); d; d = strtok_r(NULL, " ", &save)) {
                    char *eq = strchr(d, '=');
                    if (!eq) {
                        if (!strcmp(d, "noeval")) g->eval = false;
                        continue;
                    }
                    *eq = 0;
                    if (!strcmp(d, "tol"))
                        g->tol = atof(eq + 1);
                    else if (g->n_dim < MAX_DIMS)
                        g->dim[g->n_dim++] = (chk_dim){d, atoll(eq + 1)};
                }
        } else if (body && next) {
            next[-1] = '\n';
        }
        line = next;
    }
}

static int roots_of(te_graph *g, golden *t, te_tensor **out)
{
    int n = 0;
    char *save = NULL;
    for (char *r = t->roots ? strtok_r(t->roots, " ", &save) : NULL; r && n < MAX_ROOTS;
         r = strtok_r(NULL, " ", &save))
        if ((out[n] = te_find(g, r))) n++;
    if (!n && te_n_tensors(g)) out[n++] = te_tensor_at(g, te_n_tensors(g) - 1);
    return n;
}

static void text_of(sch *s, ll_str *out)
{
    ll_str_clear(out);
    lp_print(out, s->fn);
}

static bool equal_now(const char *file, const char *line, sch *s, const lp_func *plain,
                      const golden *t)
{
    for (uint64_t seed = 1; t->eval && seed <= 3; seed++) {
        ll_error err = {0};
        if (chk_equal(s->fn, plain, t->dim, t->n_dim, seed, t->tol, &err) == LL_OK) continue;
        ll_str now = {0};
        text_of(s, &now);
        complain(file, "after `%s`: %s\n%s", line, err.msg, ll_str_cstr(&now));
        ll_str_finish(&now);
        return false;
    }
    return true;
}

/* What the whole trace made against te_eval of the definitions. */
static void equal_to_te_eval(const char *file, sch *s, const lp_func *plain, te_tensor *const *root,
                             int n_root, const golden *t)
{
    ll_error err = {0};
    if (t->eval &&
        chk_oracle(s->fn, plain, root, n_root, t->dim, t->n_dim, 1, t->tol, &err) != LL_OK)
        complain(file, "at the end: %s", err.msg);
}

static void run_trace(const char *file, sch *s, const lp_func *plain, golden *t, ll_str *result)
{
    ll_str before = {0}, after = {0};
    char *save = NULL, *copy = strdup(t->trace);
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        bool refuse = *line == '?';
        const char *cmd = line + (refuse ? 1 + (line[1] == ' ') : 0);
        text_of(s, &before);
        ll_code rc = sch_do(s, cmd);
        if (!refuse && rc != LL_OK) {
            complain(file, "`%s` was refused: %s\n%s", cmd, s->error.msg, ll_str_cstr(&before));
            break;
        }
        if (!refuse) {
            if (!equal_now(file, cmd, s, plain, t)) break;
            continue;
        }
        ll_str_addf(result, "? %s\n  %s\n", cmd, s->error.msg);
        text_of(s, &after);
        if (rc != LL_NOT_LEGAL && rc != LL_USAGE)
            complain(file, "`%s` gave %s, wanted a refusal", cmd, ll_code_name(rc));
        if (strcmp(ll_str_cstr(&before), ll_str_cstr(&after)))
            complain(file, "`%s` was refused and changed the tree:\n%s", cmd, ll_str_cstr(&after));
    }
    text_of(s, &after);
    ll_str_add(result, ll_str_cstr(&after));
    ll_str_finish(&before);
    ll_str_finish(&after);
    free(copy);
}

/* Runs one case and compares; `result` holds what was found. False: the case itself is broken. */
static bool run_case(const char *name, char *text, ll_str *result)
{
    golden t;
    ll_error err = {0};
    sections(text, &t);
    te_graph *g = te_graph_create();
    te_tensor *root[MAX_ROOTS];
    ll_target target = {0};
    bool ran = false;
    if (!t.te || !t.trace)
        complain(name, "no definitions or no `--- trace`");
    else if (ll_target_parse(t.target ? t.target : "cpu:x86-64-v4+avx512vnni+gfni", &target,
                             &err) ||
             te_parse(g, t.te, name, &err))
        complain(name, "%s", err.msg);
    else {
        int n = roots_of(g, &t, root);
        sch *s = sch_create(g, "k", root, n, &target, &err);
        te_graph *other = te_graph_child(g);
        lp_func *plain = s ? lp_lower(other, "plain", root, n, NULL, 0, &err) : NULL;
        if (!plain)
            complain(name, "%s", err.msg);
        else {
            run_trace(name, s, plain, &t, result);
            equal_to_te_eval(name, s, plain, root, n, &t);
        }
        ran = plain != NULL;
        if (ran && !update && (!t.result || strcmp(t.result, ll_str_cstr(result))))
            complain(name, "the result differs; found\n%s", ll_str_cstr(result));
        te_graph_destroy(other);
        sch_destroy(s);
    }
    te_graph_destroy(g);
    return ran;
}

static bool read_text(const char *path, ll_str *out)
{
    FILE *in = fopen(path, "r");
    char part[4096];
    if (!in) return false;
    for (size_t n; (n = fread(part, 1, sizeof part, in)) > 0;) ll_str_addn(out, part, n);
    fclose(in);
    return true;
}

/* Everything up to and with the line "--- result", then the result. */
static void put_result(ll_str *out, const char *original, size_t n, const ll_str *result)
{
    const char *cut = strstr(original, "--- result\n");
    ll_str_addn(out, original, cut && cut < original + n ? (size_t)(cut - original) : n);
    ll_str_add(out, "--- result\n");
    ll_str_add(out, ll_str_cstr(result));
    if (out->n && out->s[out->n - 1] != '\n') ll_str_addc(out, '\n');
}

static void write_text(const char *path, const ll_str *text)
{
    FILE *f = fopen(path, "w");
    if (!f) return;
    fwrite(text->s, 1, text->n, f);
    fclose(f);
}

static void one_file(const char *dir, const char *file)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    ll_str text = {0}, result = {0}, fresh = {0};
    if (!read_text(path, &text))
        complain(file, "cannot be read");
    else {
        char *copy = strdup(text.s);
        if (run_case(file, copy, &result) && update) {
            put_result(&fresh, text.s, text.n, &result);
            write_text(path, &fresh);
        }
        free(copy);
    }
    ll_str_finish(&text);
    ll_str_finish(&result);
    ll_str_finish(&fresh);
}

/* The ```sched blocks of a page: cases whose definitions come first. */
static void one_page(const char *path)
{
    static const char open[] = "```sched\n";
    ll_str text = {0}, fresh = {0};
    int blocks = 0;
    assert_true(read_text(path, &text));
    const char *p = text.s;
    for (const char *at; (at = strstr(p, open)); blocks++) {
        const char *body = at + strlen(open), *end = strstr(body, "\n```");
        assert_non_null(end);
        end++;
        ll_str copy = {0}, result = {0};
        char name[64];
        snprintf(name, sizeof name, "schedule.md, block %d", blocks + 1);
        ll_str_addf(&copy, "--- te\n%.*s", (int)(end - body), body);
        run_case(name, copy.s, &result);
        ll_str_addn(&fresh, p, (size_t)(body - p));
        put_result(&fresh, body, (size_t)(end - body), &result);
        ll_str_finish(&copy);
        ll_str_finish(&result);
        p = end;
    }
    ll_str_add(&fresh, p);
    if (update) write_text(path, &fresh);
    assert_true(blocks > 10);
    ll_str_finish(&text);
    ll_str_finish(&fresh);
}

static void every_primitive_has_a_section_with_its_usage(void **state)
{
    ll_str text = {0};
    assert_true(read_text(SCHEDULE_DOC, &text));
    for (int i = 0; i < sch_n_prims(); i++) {
        char head[256];
        snprintf(head, sizeof head, "\n### `%s`\n", sch_prim_at(i)->usage);
        if (!strstr(text.s, head))
            complain("schedule.md", "no section%.*s", (int)strlen(head) - 1, head);
    }
    ll_str_finish(&text);
    assert_int_equal(wrong, 0);
}

static void snippets_of_the_page_do_what_it_says(void **state)
{
    one_page(SCHEDULE_DOC);
    assert_int_equal(wrong, 0);
}

static const char *only;

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void golden_traces_give_what_their_files_say(void **state)
{
    const char *dir = GOLDEN_DIR;
    char *name[512];
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) && n < 512;) {
        size_t len = strlen(e->d_name);
        if (len > 4 && !strcmp(e->d_name + len - 4, ".txt") &&
            (!only || !strncmp(e->d_name, only, strlen(only))))
            name[n++] = strdup(e->d_name);
    }
    closedir(d);
    qsort(name, (size_t)n, sizeof *name, by_name);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        one_file(dir, name[i]);
        free(name[i]);
    }
    assert_int_equal(wrong, 0);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--update"))
            update = true;
        else
            only = argv[i];
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_traces_give_what_their_files_say),
        cmocka_unit_test(snippets_of_the_page_do_what_it_says),
        cmocka_unit_test(every_primitive_has_a_section_with_its_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

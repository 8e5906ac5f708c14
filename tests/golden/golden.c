/* golden.c: text in, text out. A case is one file:
 *
 *     # what it shows                        comments in front are kept
 *     # target: cpu:x86-64-v4                optional; default cpu:x86-64-v3
 *     # name: gemv                           optional: the kernel's name, for definitions
 *     kernel ... { ... }                     the input: a loop function, or te definitions that
 *                                            are lowered (roots: those that nothing else reads)
 *     # run: split y.n 16 n.o n.i            trace lines, in order; a refused one changes nothing
 *     # threads: 1024                        then to thread level (lp_threads)
 *     # ---
 *     the result: refused lines with their sentence as comments, then the loop function
 *
 * Every result is also parsed back and printed again, which must give the same text, and verified;
 * a violation is part of the result (`# verify: ...`).
 *
 *     golden [--update] FILE|DIRECTORY...     exit code 0: all as expected;
 *                                             --update rewrites what differs */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "schedule/loop.h"
#include "schedule/sch.h"
#include "target/target.h"

static const char divider[] = "# ---\n";

typedef struct golden {
    const char *path;
    char *text;       /* the whole file       */
    size_t head;      /* bytes before divider */
    const char *want; /* behind the divider   */
    ll_str got;
    te_graph *g;
    sch *s;
    ll_target target;
} golden;

/* The rest of the next line that starts with `key`, from *p on; NULL: none before `end`. */
static char *directive(const char **p, const char *end, const char *key)
{
    size_t n = strlen(key);
    while (*p < end) {
        const char *line = *p, *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        *p = stop < end ? stop + 1 : end;
        if ((size_t)(stop - line) >= n && strncmp(line, key, n) == 0)
            return strndup(line + n, (size_t)(stop - line) - n);
    }
    return NULL;
}

static char *first_directive(const golden *c, const char *key, const char *otherwise)
{
    const char *p = c->text;
    char *v = directive(&p, c->text + c->head, key);
    return v ? v : strdup(otherwise);
}

static bool is_read(te_graph *g, te_tensor *t)
{
    for (size_t i = 0; i < te_n_tensors(g); i++) {
        te_tensor *u = te_tensor_at(g, i);
        if (u == t) continue;
        if (u->kind == TE_UPDATE && u->base == t) return true;
        if (u->body && te_loads(u->body, t)) return true;
    }
    return false;
}

static ll_code from_definitions(golden *c, const char *input, ll_error *err)
{
    LL_TRY(te_parse(c->g, input, c->path, err));
    te_tensor *root[64];
    int n = 0;
    for (size_t i = 0; i < te_n_tensors(c->g) && n < 64; i++) {
        te_tensor *t = te_tensor_at(c->g, i);
        if ((t->kind == TE_DEF || t->kind == TE_UPDATE) && !is_read(c->g, t)) root[n++] = t;
    }
    char *name = first_directive(c, "# name: ", "f");
    c->s = sch_create(c->g, name, root, n, &c->target, err);
    free(name);
    return c->s ? LL_OK : err->code;
}

static ll_code from_loops(golden *c, const char *input, ll_error *err)
{
    c->s = calloc(1, sizeof *c->s);
    if (!c->s) return ll_fail(err, LL_NO_SPACE, "no memory");
    c->s->g = te_graph_child(c->g);
    c->s->target = &c->target;
    c->s->fn = lp_parse(c->s->g, input, c->path, err);
    return c->s->fn ? LL_OK : err->code;
}

static bool has_kernel(const char *s)
{
    return strncmp(s, "kernel ", 7) == 0 || strstr(s, "\nkernel ") != NULL;
}

static void check_round_trip(golden *c)
{
    ll_str one = {0}, two = {0};
    ll_error err = {0};
    te_graph *g = te_graph_create();
    lp_print(&one, c->s->fn);
    lp_func *f = lp_parse(g, ll_str_cstr(&one), "printed", &err);
    if (f) lp_print(&two, f);
    if (!f) ll_str_addf(&c->got, "# does not parse: %s\n", err.msg);
    else if (strcmp(ll_str_cstr(&one), ll_str_cstr(&two)) != 0)
        ll_str_addf(&c->got, "# parses to something else:\n%s", ll_str_cstr(&two));
    ll_str_finish(&one);
    ll_str_finish(&two);
    te_graph_destroy(g);
}

/* "# threads: MOST": the result is what one thread does. */
static void to_threads(golden *c)
{
    ll_error err = {0};
    char *most = first_directive(c, "# threads: ", "");
    if (*most && lp_threads(c->s->fn, atoi(most), &err) != LL_OK)
        ll_str_addf(&c->got, "# refused: %s\n", err.msg);
    else if (*most && lp_verify(c->s->fn, &err) != LL_OK)
        ll_str_addf(&c->got, "# verify: %s\n", err.msg);
    free(most);
}

static void run_lines(golden *c)
{
    const char *p = c->text;
    for (char *line; (line = directive(&p, c->text + c->head, "# run: "));) {
        if (sch_do(c->s, line) != LL_OK)
            ll_str_addf(&c->got, "# refused: %s\n#   %s\n", line, c->s->error.msg);
        free(line);
    }
    if (c->s->approx) ll_str_addf(&c->got, "# approx: %s\n", c->s->approx);
    ll_error err = {0};
    if (lp_verify(c->s->fn, &err) != LL_OK) ll_str_addf(&c->got, "# verify: %s\n", err.msg);
    to_threads(c);
    check_round_trip(c);
    lp_print(&c->got, c->s->fn);
}

static ll_code produce(golden *c, ll_error *err)
{
    char *target = first_directive(c, "# target: ", "cpu:x86-64-v3");
    ll_code code = ll_target_parse(target, &c->target, err);
    free(target);
    LL_TRY(code);
    char *input = strndup(c->text, c->head);
    if (!input) return ll_fail(err, LL_NO_SPACE, "no memory");
    code = has_kernel(input) ? from_loops(c, input, err) : from_definitions(c, input, err);
    free(input);
    LL_TRY(code);
    run_lines(c);
    return LL_OK;
}

static ll_code load(golden *c, ll_error *err)
{
    void *text;
    size_t n;
    LL_TRY(ll_file_read(c->path, 1 << 20, &text, &n, err));
    c->text = text;
    const char *at = strstr(c->text, divider);
    c->head = at ? (size_t)(at - c->text) : n;
    c->want = at ? at + strlen(divider) : "";
    return LL_OK;
}

static void show_difference(const golden *c)
{
    const char *a = c->want, *b = ll_str_cstr(&c->got);
    int line = 1;
    while (*a && *a == *b) {
        line += *a == '\n';
        a++;
        b++;
    }
    printf("%s: line %d of the result differs\n---- wanted\n%s---- got\n%s----\n", c->path, line,
           c->want, ll_str_cstr(&c->got));
}

static bool rewrite(golden *c)
{
    ll_str all = {0};
    ll_error err = {0};
    ll_str_addn(&all, c->text, c->head);
    ll_str_add(&all, divider);
    ll_str_add(&all, ll_str_cstr(&c->got));
    bool ok = ll_file_write(c->path, all.s, all.n, &err) == LL_OK;
    printf(ok ? "%s: rewritten\n" : "%s: %s\n", c->path, err.msg);
    ll_str_finish(&all);
    return ok;
}

static bool run_file(const char *path, bool update)
{
    golden c = {.path = path};
    ll_error err = {0};
    c.g = te_graph_create();
    bool ok = load(&c, &err) == LL_OK;
    if (ok) {
        /* an input that cannot be read is a result too */
        if (produce(&c, &err) != LL_OK) ll_str_addf(&c.got, "# error: %s\n", err.msg);
        ok = strcmp(c.want, ll_str_cstr(&c.got)) == 0;
        if (!ok && update) ok = rewrite(&c);
        else if (!ok) show_difference(&c);
    } else {
        printf("%s\n", err.msg);
    }
    sch_destroy(c.s);
    te_graph_destroy(c.g);
    ll_str_finish(&c.got);
    free(c.text);
    return ok;
}

static int is_case(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 4 && strcmp(d->d_name + n - 4, ".txt") == 0;
}

static int run_path(const char *path, bool update, int *n_run)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        ++*n_run;
        return !run_file(path, update);
    }
    struct dirent **entry = NULL;
    int bad = 0, n = scandir(path, &entry, is_case, alphasort);
    if (n < 0) {
        printf("%s: cannot be read\n", path);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        char *file;
        if (asprintf(&file, "%s/%s", path, entry[i]->d_name) < 0) return bad + 1;
        ++*n_run;
        bad += !run_file(file, update);
        free(file);
        free(entry[i]);
    }
    free(entry);
    return bad;
}

int main(int argc, char **argv)
{
    int bad = 0, n = 0;
    bool update = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--update") == 0) update = true;
        else bad += run_path(argv[i], update, &n);
    }
    printf("%d cases, %d wrong\n", n, bad);
    return bad || n == 0;
}

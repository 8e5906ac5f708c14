/* loop_eval.c: lp_eval: gives a loop function its meaning on raw memory, and ev_try, the same
 * machine on made-up values, with which verify_run.c checks waits, barriers and ring reuse.
 *
 * What a run checks: bounds of every access, reads of memory that nothing wrote, ranges of index
 * tensors, bounds of data-dependent loops, races of threads in shared and global memory, copies that
 * are read before they are complete, mbarrier misuse, deadlock. What it does not check: races between
 * iterations of parallel, claimed and block loops (verify.c proves those away), the contents of a
 * kernel's own padding. Loops whose order does not matter run in an order drawn from the seed; with
 * seed 0 everything runs in the order of the text. A function with a claimed loop is run by 1 to 3
 * threads (of the seed), one after the other, each with scratch of its own. */
#include "schedule/loop_eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ll_code ev_fail(ev *m, const lp_stmt *s, const char *fmt, ...)
{
    char what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (!s) return ll_fail(m->err, LL_FAILED, "%s: %s", m->f->name, what);
    const char *text = lp_show(s);
    int line = (int)strcspn(text, "\n");
    return ll_fail(m->err, LL_FAILED, "%s: %s; in: %.*s", m->f->name, what, line > 200 ? 200 : line,
                   text);
}

static void finish(ev *m)
{
    for (int i = 0; i < m->n_buf; i++) {
        if (m->buf[i].owned) free(m->buf[i].mem);
        free(m->buf[i].written);
        free(m->buf[i].cell);
        free(m->buf[i].mbar);
    }
    for (int i = 0; i < m->n_copy; i++) free(m->copy[i].elem);
    free(m->copy);
    free(m->group);
    ll_map_finish(&m->leaf);
    ll_arena_finish(&m->arena);
}

static ll_code go(ev *m)
{
    ll_arena_init(&m->arena);
    m->n_buf = m->f->n_buf;
    m->buf = LL_NEW_N(&m->arena, ev_buf, m->n_buf + 1);
    for (int i = 0; i < m->n_buf; i++) {
        lp_buf *b = m->f->buf[i];
        m->buf[i].b = b;
        m->buf[i].dtype = (ll_dtype)b->t->dtype;
        m->buf[i].bits = ll_dtype_bits(m->buf[i].dtype);
        m->buf[i].ndim = b->t->ndim;
    }
    m->rng = m->run->seed;
    LL_TRY(ev_compile(m));
    LL_TRY(ev_setup(m));
    return ev_run(m);
}

ll_code lp_eval(const lp_func *f, const lp_run *run, ll_error *err)
{
    ev m = {.f = f, .run = run, .err = err};
    ll_code code = go(&m);
    finish(&m);
    return code;
}

typedef struct dims { const lp_func *f; const int64_t *value; } dims;

static int64_t dim_value(void *ctx, const char *name)
{
    const dims *d = ctx;
    for (int i = 0; i < d->f->n_dim; i++)
        if (strcmp(d->f->dim[i]->u.dim->name, name) == 0) return d->value[i];
    return 0;
}

ll_code ev_try(const lp_func *f, const ev_trial *t, ll_error *err)
{
    dims d = {f, t->dim};
    lp_run run = {.dim = dim_value, .ctx = &d, .seed = t->seed};
    ev m = {
        .f = f, .run = &run, .err = err, .trial = true, .skeleton = t->skeleton, .steps = t->steps};
    ll_code code = go(&m);
    finish(&m);
    return code == LL_CANCELLED ? LL_OK : code;
}

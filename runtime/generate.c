/* generate.c: llmir_generate: tokenize, prefill, then one token at a time until something ends it.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/rt.h"

typedef struct gen {
    llmir_session *s;
    llmir_generate_params p;
    llmir_generate_result r;
    rt_tok_stream text;
    int32_t *prompt;
    size_t n_prompt;
    ll_error *err;
} gen;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static ll_code tokenize(gen *g, const char *text, size_t n)
{
    const llmir_model *m = g->s->engine->model;
    if (!m->tok) return ll_fail(g->err, LL_UNSUPPORTED, "%s: the module has no tokenizer", m->path);
    LL_TRY(rt_tok_encode(m->tok, text, n, g->p.text_flags, NULL, &g->n_prompt, g->err));
    if (!g->n_prompt) return ll_fail(g->err, LL_USAGE, "the prompt has no tokens");
    g->prompt = malloc(g->n_prompt * sizeof *g->prompt);
    if (!g->prompt)
        return ll_fail(g->err, LL_NO_SPACE, "no memory for %zu prompt tokens", g->n_prompt);
    return rt_tok_encode(m->tok, text, n, g->p.text_flags, g->prompt, &g->n_prompt, g->err);
}

static ll_code feed(gen *g, const int32_t *ids, size_t n, llmir_progress_fn progress, int32_t *next)
{
    llmir_feed f = {.size = sizeof f,
                    .session = g->s,
                    .tokens = ids,
                    .n_tokens = n,
                    .sample = g->p.sample},
               *one = &f;
    llmir_step_params p = {.size = sizeof p, .progress = progress, .user = g->p.user};
    LL_TRY(rt_step_taken(g->s->engine, &one, 1, &p, g->err));
    *next = f.next;
    return LL_OK;
}

static ll_code tell(gen *g, int32_t id, const char *text, size_t n)
{
    if (!g->p.on_token || g->p.on_token(g->p.user, id, text, n) == 0) return LL_OK;
    return ll_fail(g->err, LL_CANCELLED, "cancelled");
}

static ll_code tokens(gen *g, int32_t next)
{
    const rt_tok *tok = g->s->engine->model->tok;
    unsigned flags = g->p.ignore_end ? RT_TOK_SHOW_SPECIAL : 0;
    for (;;) {
        if (rt_tok_is_eog(tok, next) && !g->p.ignore_end) return g->r.stop = LLMIR_STOP_END, LL_OK;
        g->r.n_generated++;
        if ((uint32_t)next < rt_tok_get_info(tok)->n_vocab)
            LL_TRY(rt_tok_stream_add(tok, &g->text, next, flags, g->err));
        else
            g->text.n_out = 0; /* a row that only pads the vocabulary has no text */
        LL_TRY(tell(g, next, g->text.n_out ? g->text.out : "", g->text.n_out));
        if (g->p.max_tokens && g->r.n_generated >= g->p.max_tokens)
            return g->r.stop = LLMIR_STOP_LENGTH, LL_OK;
        if (g->s->n >= g->s->engine->max.context) return g->r.stop = LLMIR_STOP_CONTEXT, LL_OK;
        LL_TRY(feed(g, &next, 1, NULL, &next));
    }
}

static ll_code run(gen *g, const char *prompt, size_t n)
{
    int32_t next = -1;
    LL_TRY(tokenize(g, prompt, n));
    double t0 = now();
    LL_TRY(feed(g, g->prompt, g->n_prompt, g->p.progress, &next));
    double t1 = now();
    g->r.n_prompt = (uint32_t)g->n_prompt;
    g->r.prefill_seconds = t1 - t0;
    ll_code rc = tokens(g, next);
    g->r.decode_seconds = now() - t1;
    if (rc != LL_OK) return rc;
    LL_TRY(rt_tok_stream_end(&g->text, g->err)); /* the start of a character that never came */
    return g->text.n_out ? tell(g, -1, g->text.out, g->text.n_out) : LL_OK;
}

llmir_status llmir_generate(llmir_session *session, const char *prompt, size_t n,
                            const llmir_generate_params *params, llmir_generate_result *result,
                            llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, session);
    if (n) RT_NOT_NULL(err, prompt);
    gen g = {.s = session, .err = err};
    RT_TRY(rt_params(&g.p, sizeof g.p, sizeof g.p, params, "llmir_generate_params", err));
    RT_TRY(rt_params(&g.r, sizeof g.r, sizeof g.r, result, "llmir_generate_result", err));
    if (g.p.text_flags & ~7u)
        return (llmir_status)ll_fail(err, LL_USAGE, "text_flags %#x: unknown bits", g.p.text_flags);
    g.r = (llmir_generate_result){.size = sizeof g.r};
    RT_TRY(rt_session_take(session, err));
    ll_code rc = run(&g, prompt, n);
    rt_session_give(session);
    if (result) rt_results(result, &g.r, sizeof g.r);
    rt_tok_stream_finish(&g.text);
    free(g.prompt);
    return (llmir_status)rc;
}

/* session.c: sequences of tokens: create, fork, truncate, cancel. */
#include <stdlib.h>
#include <string.h>

#include "runtime/rt.h"

ll_code rt_session_take(llmir_session *s, ll_error *err)
{
    if (!atomic_exchange(&s->busy, true)) return LL_OK;
    return ll_fail(err, LL_BUSY, "the session is in use by another call");
}

void rt_session_give(llmir_session *s) { atomic_store(&s->busy, false); }

static ll_code create(llmir_engine *e, llmir_session **out, ll_error *err)
{
    llmir_session *s = calloc(1, sizeof *s);
    uint32_t cap = (e->max.context + e->kv.block - 1) / e->kv.block;
    if (s) {
        s->token = malloc(e->max.context * sizeof *s->token);
        s->seq.block = malloc(cap * sizeof *s->seq.block);
        s->seq.cap = cap;
    }
    if (!s || !s->token || !s->seq.block) {
        if (s) free(s->token), free(s->seq.block);
        free(s);
        return ll_fail(err, LL_NO_SPACE, "no memory for a session of %u tokens", e->max.context);
    }
    s->engine = e;
    rt_engine_ref(e);
    *out = s;
    return LL_OK;
}

llmir_status llmir_session_create(llmir_engine *engine, llmir_session **out, llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, engine);
    RT_NOT_NULL(err, out);
    return (llmir_status)create(engine, out, err);
}

void llmir_session_destroy(llmir_session *s)
{
    if (!s) return;
    llmir_engine *e = s->engine;
    bool locked =
        pthread_mutex_lock(&e->lock) == 0; /* not when called from a callback, which holds it */
    rt_kv_truncate(&e->kv, &s->seq, 0);
    if (locked) pthread_mutex_unlock(&e->lock);
    free(s->token);
    free(s->seq.block);
    free(s);
    llmir_engine_destroy(e);
}

llmir_status llmir_session_fork(llmir_session *from, llmir_session **out, llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, from);
    RT_NOT_NULL(err, out);
    llmir_session *s;
    RT_TRY(rt_session_take(from, err));
    ll_code rc = create(from->engine, &s, err);
    if (rc == LL_OK) {
        rc = rt_engine_lock(from->engine, err);
        if (rc == LL_OK) {
            rt_kv_share(&from->engine->kv, &from->seq, &s->seq);
            pthread_mutex_unlock(&from->engine->lock);
            memcpy(s->token, from->token, from->n * sizeof *s->token);
            s->n = from->n;
            *out = s;
        } else
            llmir_session_destroy(s);
    }
    rt_session_give(from);
    return (llmir_status)rc;
}

size_t llmir_session_length(const llmir_session *s) { return s ? s->n : 0; }

llmir_status llmir_session_tokens(const llmir_session *session, int32_t *ids, size_t *n,
                                  llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, session);
    RT_NOT_NULL(err, n);
    if (*n) RT_NOT_NULL(err, ids);
    if (*n > session->n) *n = session->n;
    if (*n) memcpy(ids, session->token, *n * sizeof *ids);
    return LLMIR_OK;
}

llmir_status llmir_session_truncate(llmir_session *session, size_t n, llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, session);
    RT_TRY(rt_session_take(session, err));
    ll_code rc = LL_OK;
    if (n > session->n)
        rc = ll_fail(err, LL_USAGE, "truncate to %zu tokens: the session has %zu", n, session->n);
    if (rc == LL_OK) rc = rt_engine_lock(session->engine, err);
    if (rc == LL_OK) {
        rt_kv_truncate(&session->engine->kv, &session->seq, n);
        session->n = n;
        pthread_mutex_unlock(&session->engine->lock);
    }
    rt_session_give(session);
    return (llmir_status)rc;
}

void llmir_session_cancel(llmir_session *s)
{
    if (s) atomic_store(&s->cancel, true);
}

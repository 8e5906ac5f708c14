/* step.c: llmir_step: feeds of several sessions become runs of a program.
 *
 * A call is checked in full, its KV blocks are reserved, and then it is cut into runs: each run
 * takes tokens from the feeds in order until T, S or R is full, fills the inputs, makes the plans,
 * lets the queue run the program that serves T, and reads the rows it wanted. Lengths are committed
 * at the end; every failure before that gives the blocks back, so a failed call changes nothing. */
#include <math.h>
#include <string.h>

#include "base/ckd.h"
#include "runtime/plan.h"
#include "runtime/rt.h"

enum { MAX_FEEDS = 1024 }; /* a list of them is on the stack */

#define ULL(x) ((unsigned long long)(x))

/* ---- checking --------------------------------------------------------------------------- */
static ll_code check_feed(const llmir_engine *e, const llmir_feed *f, size_t i, ll_error *err)
{
    uint32_t vocab = rt_blob_model(&e->model->blob)->vocab;
    if (!f->session || f->session->engine != e)
        return ll_fail(err, LL_USAGE, "feed %zu: %s", i,
                       f->session ? "its session is of another engine" : "session is NULL");
    if (!f->n_tokens || !f->tokens) return ll_fail(err, LL_USAGE, "feed %zu: no tokens", i);
    if (f->n_tokens > e->max.context || f->session->n + f->n_tokens > e->max.context)
        return ll_fail(err, LL_USAGE, "feed %zu: %zu tokens behind %zu: the context is %u", i,
                       f->n_tokens, f->session->n, e->max.context);
    for (size_t k = 0; k < f->n_tokens; k++)
        if (f->tokens[k] < 0 || (uint32_t)f->tokens[k] >= vocab)
            return ll_fail(err, LL_USAGE, "feed %zu: token %zu is %d, the vocabulary has %u", i, k,
                           f->tokens[k], vocab);
    if (f->want > LLMIR_WANT_ALL)
        return ll_fail(err, LL_USAGE, "feed %zu: want is %u: unknown", i, f->want);
    if (f->want == LLMIR_WANT_ALL && !f->logits)
        return ll_fail(err, LL_USAGE, "feed %zu: LLMIR_WANT_ALL without room for logits", i);
    llmir_sample_params sample;
    LL_TRY(rt_params(&sample, sizeof sample, sizeof sample, f->sample, "llmir_sample_params", err));
    return rt_sample_check(&sample, err);
}

static ll_code reserve(llmir_engine *e, llmir_feed **feed, size_t n, llmir_step_params *params,
                       ll_error *err)
{
    uint64_t need = 0;
    for (size_t i = 0; i < n; i++)
        need += rt_kv_count(&e->kv, &feed[i]->session->seq, feed[i]->session->n, feed[i]->n_tokens);
    for (size_t i = 0; i < n; i++)
        rt_kv_uncount(&e->kv, &feed[i]->session->seq, feed[i]->session->n);
    if (need > e->kv.n_free) {
        params->kv_needed = need;
        params->kv_free = e->kv.n_free;
        return ll_fail(err, LL_KV_FULL,
                       "the KV cache is full: %llu blocks of %u tokens are needed, %u of %u are "
                       "free",
                       ULL(need), e->kv.block, e->kv.n_free, e->kv.n_blocks - 1);
    }
    for (size_t i = 0; i < n; i++)
        rt_kv_grow(&e->kv, &feed[i]->session->seq, feed[i]->session->n, feed[i]->n_tokens);
    return LL_OK;
}

/* ---- one run ---------------------------------------------------------------------------- */
typedef struct batch {
    rt_batch n;
    uint64_t keys, pairs;
    size_t first_feed; /* feed of segment 0; segment i is feed first_feed + i */
} batch;

/* Adds the next m tokens of a feed as a segment. */
static void add_segment(llmir_engine *e, batch *b, const llmir_feed *f, uint32_t m)
{
    llmir_session *s = f->session;
    int32_t at = (int32_t)(s->n + s->fed), *row = e->table + (size_t)b->n.s * e->max.pages;
    uint32_t len = (uint32_t)at + m, used = (len + e->kv.block - 1) / e->kv.block;
    for (uint32_t i = 0; i < m; i++) {
        e->tokens[b->n.t + i] = f->tokens[s->fed + i];
        e->pos[b->n.t + i] = at + (int32_t)i;
        e->seg[b->n.t + i] = (int32_t)b->n.s;
        bool last = s->fed + i + 1 == f->n_tokens;
        if (f->want == LLMIR_WANT_ALL || (f->want == LLMIR_WANT_NEXT && last))
            e->rows[b->n.r++] = (int32_t)(b->n.t + i);
    }
    e->start[b->n.s] = (int32_t)b->n.t;
    e->len[b->n.s] = (int32_t)len;
    memcpy(row, s->seq.block, used * sizeof *row);
    row[used] = 0; /* the spare block: prefetching reads one page ahead */
    b->keys += len;
    b->pairs += (uint64_t)len * m;
    b->n.t += m;
    b->n.s++;
    s->fed += m;
}

/* How many tokens of the feed still fit. */
static uint32_t room_for(const llmir_engine *e, const batch *b, const llmir_feed *f)
{
    size_t left = f->n_tokens - f->session->fed, m = e->max.batch - b->n.t, r = e->max.rows - b->n.r;
    if (b->n.s == e->max.sequences) return 0;
    if (m > left) m = left;
    if (f->want == LLMIR_WANT_ALL && m > r) m = r;
    if (f->want == LLMIR_WANT_NEXT && m == left && !r) m--;
    return (uint32_t)m;
}

/* Fills the inputs from feed *next on; false when nothing is left. */
static bool fill(llmir_engine *e, llmir_feed **feed, size_t n, size_t *next, batch *b)
{
    while (*next < n && feed[*next]->session->fed == feed[*next]->n_tokens) ++*next;
    *b = (batch){.first_feed = *next};
    for (size_t i = *next; i < n; i++) {
        uint32_t m = room_for(e, b, feed[i]);
        if (!m) break;
        add_segment(e, b, feed[i], m);
        if (feed[i]->session->fed < feed[i]->n_tokens) break;
    }
    e->start[b->n.s] = (int32_t)b->n.t;
    if (!b->n.r) e->rows[0] = 0; /* a program of one token may compute its row in any case */
    return b->n.t > 0;
}

/* Fills T and R up to what the program wants; the tokens are one more segment, over the spare
 * block. It is in the plans: what the program computes of it is defined. */
static void fill_up(llmir_engine *e, const llmir_program_rec *p, batch *b)
{
    uint32_t t = (uint32_t)rt_padded(p, b->n.t), r = (uint32_t)rt_padded(p, b->n.r);
    for (uint32_t i = b->n.r; i < r; i++) e->rows[i] = e->rows[0];
    if (t > b->n.t) {
        memset(e->table + (size_t)b->n.s * e->max.pages, 0, sizeof *e->table * e->max.pages);
        for (uint32_t i = b->n.t; i < t; i++) {
            e->tokens[i] = 0;
            e->pos[i] = (int32_t)(i - b->n.t);
            e->seg[i] = (int32_t)b->n.s;
        }
        e->len[b->n.s] = (int32_t)(t - b->n.t);
        b->n.s++;
        e->start[b->n.s] = (int32_t)t;
    }
    b->n.t = t;
    b->n.r = r;
}

static void set_dims(llmir_engine *e, const batch *b, const uint32_t *items)
{
    const rt_blob *blob = &e->model->blob;
    for (uint32_t i = 0; i < rt_blob_n(blob, LLMIR_SEC_DIM); i++) {
        const llmir_dim_rec *d = rt_blob_dim(blob, i);
        switch (d->kind) {
        case LLMIR_DIM_T: e->dim[i] = b->n.t; break;
        case LLMIR_DIM_S: e->dim[i] = b->n.s; break;
        case LLMIR_DIM_R: e->dim[i] = b->n.r; break;
        case LLMIR_DIM_W: e->dim[i] = items[d->arg]; break;
        case LLMIR_DIM_PAGES: e->dim[i] = e->max.pages; break;
        case LLMIR_DIM_BLOCKS: e->dim[i] = e->kv.n_blocks; break;
        case LLMIR_DIM_KEYS: e->dim[i] = (int64_t)b->keys; break;
        default: e->dim[i] = (int64_t)b->pairs; break;
        }
    }
}

static bool cancelled(void *user)
{
    const llmir_engine *e = user;
    for (size_t i = 0; i < e->n_call; i++)
        if (atomic_load_explicit(&e->call[i]->session->cancel, memory_order_relaxed)) return true;
    return false;
}

static void keep_profile(llmir_engine *e, rt_program *p)
{
    const rt_blob *b = &e->model->blob;
    for (uint32_t i = 0; i < p->rec->n_step; i++) {
        const llmir_step_rec *s = rt_blob_step(b, p->rec->step + i);
        rt_profile_row *row = &e->profile[p->row[i]];
        uint64_t bytes = 0, ops = 0;
        rt_linear(b, &s->bytes, e->dim, "", &bytes, NULL);
        rt_linear(b, &s->ops, e->dim, "", &ops, NULL);
        row->calls++;
        row->seconds += p->seconds[i];
        row->bytes += (double)bytes;
        row->ops += (double)ops;
        p->seconds[i] = 0;
    }
}

static ll_code run_queue(llmir_engine *e, const rt_program *p, uint32_t rows, ll_error *err)
{
    rt_read read[LLMIR_OUT_END_];
    uint32_t n = 0;
    for (uint32_t i = 0; e->stage && rows && i < LLMIR_OUT_END_; i++)
        if (e->out[i]) read[n++] = (rt_read){e->out[i], e->out_device[i], rows * e->row_bytes[i]};
    rt_job job = {(uint32_t)(p - e->program), read, n, cancelled, e, p->seconds};
    return e->queue->ops->run(e->queue, &job, err);
}

static ll_code run_program(llmir_engine *e, const batch *b, ll_error *err)
{
    const rt_blob *blob = &e->model->blob;
    rt_program *p = e->program;
    uint32_t items[RT_PLAN_MAX] = {0};
    for (uint32_t i = 0; i < e->n_program; i++)
        if (b->n.t >= e->program[i].rec->t_min && b->n.t <= e->program[i].rec->t_max)
            p = &e->program[i];
    batch full = *b;
    fill_up(e, p->rec, &full);
    for (uint32_t i = 0; i < rt_blob_n(blob, LLMIR_SEC_PLAN); i++)
        if (p->plans >> i & 1)
            items[i] = rt_plan_make(rt_blob_plan(blob, i), e->start, e->len, full.n.s, e->item[i],
                                    e->first[i]);
    set_dims(e, &full, items);
    rt_work_gather(e, p, &full.n, items);
    LL_TRY(run_queue(e, p, b->n.r, err));
    if (!e->profile) return LL_OK;
    set_dims(e, b, items); /* what was asked for, without the filling */
    keep_profile(e, p);
    return LL_OK;
}

/* ---- results ---------------------------------------------------------------------------- */
/* NULL when not every program writes it. */
static void *out_row(const llmir_engine *e, enum llmir_output o, uint32_t r)
{
    return e->out[o] ? (char *)e->out[o] + r * e->row_bytes[o] : NULL;
}

static ll_code sample_row(llmir_engine *e, llmir_feed *f, uint32_t r, ll_error *err)
{
    static const llmir_sample_params greedy = {.size = sizeof greedy};
    const llmir_sample_params *p = f->sample ? f->sample : &greedy;
    llmir_session *s = f->session;
    size_t n = e->sampler.n;
    rt_row row = {.logit = out_row(e, LLMIR_OUT_LOGITS, r),
                  .n = (uint32_t)n,
                  .max = out_row(e, LLMIR_OUT_MAX, r),
                  .lse = out_row(e, LLMIR_OUT_LSE, r),
                  .best_id = out_row(e, LLMIR_OUT_CAND_ID, r),
                  .best_logit = out_row(e, LLMIR_OUT_CAND_LOGIT, r)};
    if (row.best_id) row.n_best = LLMIR_CANDIDATES;
    ll_code rc = rt_sample_keep(&e->sampler, p, &row, s->token, s->n + s->fed, err);
    if (rc != LL_OK) {
        ll_error_prefix(err, "position %zu: ", s->n + s->fed - 1);
        return rc;
    }
    f->next = rt_sample_draw(&e->sampler, rt_sample_random(p->seed, s->n + s->fed));
    f->next_logit = row.logit[f->next];
    return LL_OK;
}

static ll_code read_rows(llmir_engine *e, llmir_feed **feed, const batch *b, ll_error *err)
{
    size_t n = e->sampler.n;
    for (uint32_t r = 0; r < b->n.r; r++) {
        int32_t t = e->rows[r], seg = e->seg[t];
        llmir_feed *f = feed[b->first_feed + (size_t)seg];
        size_t of_feed = (size_t)(e->pos[t]) - f->session->n; /* number of the token in its feed */
        if (f->logits)
            memcpy(f->logits + (f->want == LLMIR_WANT_ALL ? of_feed : 0) * n,
                   out_row(e, LLMIR_OUT_LOGITS, r), n * sizeof *f->logits);
        if (of_feed + 1 == f->n_tokens) LL_TRY(sample_row(e, f, r, err));
    }
    return LL_OK;
}

/* ---- the call --------------------------------------------------------------------------- */
static ll_code run_all(llmir_engine *e, llmir_feed **feed, size_t n, const llmir_step_params *p,
                       ll_error *err)
{
    uint64_t done = 0, total = 0;
    size_t next = 0;
    batch b;
    for (size_t i = 0; i < n; i++) {
        llmir_session *s = feed[i]->session;
        memcpy(s->token + s->n, feed[i]->tokens, feed[i]->n_tokens * sizeof *s->token);
        total += feed[i]->n_tokens;
    }
    if (cancelled(e)) return ll_fail(err, LL_CANCELLED, "cancelled");
    while (fill(e, feed, n, &next, &b)) {
        LL_TRY(run_program(e, &b, err));
        LL_TRY(read_rows(e, feed, &b, err));
        done += b.n.t;
        if (p->progress && p->progress(p->user, done, total))
            return ll_fail(err, LL_CANCELLED, "cancelled");
    }
    return LL_OK;
}

ll_code rt_step_taken(llmir_engine *e, llmir_feed **feed, size_t n, llmir_step_params *params,
                      ll_error *err)
{
    for (size_t i = 0; i < n; i++) {
        LL_TRY(check_feed(e, feed[i], i, err));
        feed[i]->session->fed = 0;
        feed[i]->next = -1;
        feed[i]->next_logit = 0;
    }
    LL_TRY(rt_engine_lock(e, err));
    ll_code rc = reserve(e, feed, n, params, err);
    e->call = feed;
    e->n_call = n;
    if (rc == LL_OK) rc = run_all(e, feed, n, params, err);
    for (size_t i = 0; i < n; i++) {
        llmir_session *s = feed[i]->session;
        if (rc == LL_OK)
            s->n += feed[i]->n_tokens;
        else if (rc != LL_KV_FULL)
            rt_kv_truncate(&e->kv, &s->seq, s->n);
        if (rc == LL_CANCELLED) atomic_store(&s->cancel, false);
        if (rc != LL_OK) feed[i]->next = -1;
    }
    e->n_call = 0;
    pthread_mutex_unlock(&e->lock);
    return rc;
}

static size_t take_sessions(llmir_feed **feed, size_t n, ll_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!feed[i]->session) continue; /* check_feed says so */
        for (size_t k = 0; k < i; k++)
            if (feed[k]->session == feed[i]->session) {
                ll_fail(err, LL_USAGE, "feeds %zu and %zu are of one session", k, i);
                return i;
            }
        if (rt_session_take(feed[i]->session, err) != LL_OK) return i;
    }
    return n;
}

llmir_status llmir_step(llmir_engine *engine, llmir_feed *feeds, size_t n,
                        llmir_step_params *params, llmir_error *error)
{
    ll_error local = {0}, *err = error ? rt_err(error) : &local;
    RT_NOT_NULL(err, engine);
    RT_NOT_NULL(err, feeds);
    llmir_step_params p;
    llmir_feed *feed[MAX_FEEDS];
    RT_TRY(rt_params(&p, sizeof p, sizeof p, params, "llmir_step_params", err));
    if (!n || n > MAX_FEEDS)
        return (llmir_status)ll_fail(err, LL_USAGE, "%zu feeds: wanted 1 to %d", n, MAX_FEEDS);
    size_t stride = feeds[0].size;
    if (stride < sizeof *feeds || stride > 4096 || stride % _Alignof(llmir_feed))
        return (llmir_status)ll_fail(err, LL_USAGE,
                                     "llmir_feed.size is %zu, this library's struct has %zu",
                                     stride, sizeof *feeds);
    for (size_t i = 0; i < n; i++) {
        feed[i] = (llmir_feed *)(void *)((char *)feeds + i * stride);
        RT_TRY(rt_known(feed[i], sizeof *feeds, stride, "llmir_feed", err));
    }
    size_t taken = take_sessions(feed, n, err);
    ll_code rc = taken == n ? rt_step_taken(engine, feed, n, &p, err) : err->code;
    for (size_t i = 0; i < taken; i++)
        if (feed[i]->session) rt_session_give(feed[i]->session);
    if (params) rt_results(params, &p, sizeof p);
    return (llmir_status)rc;
}

llmir_status llmir_sample(const llmir_sample_params *params, float *logits, size_t n,
                          const int32_t *history, size_t n_history, uint64_t position, int32_t *id,
                          llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, logits);
    RT_NOT_NULL(err, id);
    if (n_history) RT_NOT_NULL(err, history);
    if (n < 1 || n > 1 << 24)
        return (llmir_status)ll_fail(err, LL_USAGE, "%zu logits: wanted 1 to 2^24", n);
    llmir_sample_params p;
    RT_TRY(rt_params(&p, sizeof p, sizeof p, params, "llmir_sample_params", err));
    RT_TRY(rt_sample_check(&p, err));
    rt_sampler s;
    RT_TRY(rt_sampler_init(&s, (uint32_t)n, err));
    rt_row row = {.logit = logits, .n = (uint32_t)n};
    ll_code rc = rt_sample_keep(&s, &p, &row, history, n_history, err);
    if (rc == LL_OK) *id = rt_sample_draw(&s, rt_sample_random(p.seed, position));
    rt_sampler_finish(&s);
    return (llmir_status)rc;
}

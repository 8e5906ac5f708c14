/* loop_eval_sync.c: what barriers, asynchronous copies and mbarriers mean, and the checks that only
 * they can fail.
 *
 * Shared memory, and global memory that a kernel with threads writes (up to a number of elements):
 * every element remembers who wrote it and who read it last: which strand, at which
 * of its barrier epochs, and as whom (the whole block, a warp, one thread). Two accesses of which
 * one writes are in order when
 *   - they come from one strand and one thread, or a barrier of the buffer's scope lies between
 *     them, or
 *   - they come from two strands (roles) and a chain of mbarrier arrivals and waits leads from the
 *     first to the second (vector clocks).
 * A statement that the whole block executes is spread over its threads, so even its own earlier
 * accesses need a barrier. Another block is another epoch: that blocks keep apart is proved by
 * verify_race.c.
 *
 * Copies. The source is read when the copy is issued; the destination is in flight, and may be
 * neither read nor written, until the copy lands: at a `wait` of its owner for its commit group, or
 * when the phase of its mbarrier completes. A landed copy counts as a write of the thread that
 * issued it (group) or of the asynchronous unit (mbarrier), so a barrier or the phase's wait must
 * follow. */
#include <stdlib.h>
#include <string.h>

#include "schedule/loop_eval.h"

static bool same(ev_agent a, ev_agent b) { return a.warp == b.warp && a.thread == b.thread; }

/* Does a cover b: b is a, or a part of it? */
static bool covers(ev_agent a, ev_agent b)
{
    return (a.warp == 0 || a.warp == b.warp) && (a.thread == 0 || a.thread == b.thread);
}

static uint32_t epoch_of(const ev_strand *s, const ev_buf *b)
{
    return b->b->scope == LP_WARPSH ? s->warp_epoch : s->block_epoch;
}

static int strand_no(const ev *m, const ev_strand *s) { return (int)(s - m->strand); }

/* Is what `who` did at `mark` in order before what s does now? */
static bool ordered(const ev *m, const ev_strand *s, const ev_buf *b, int who, const ev_mark *mark)
{
    if (mark->clock == 0) return true;
    int me = strand_no(m, s);
    if (who != me) return s->clock[who] >= mark->clock;
    if (mark->epoch != epoch_of(s, b)) return true;
    return same(mark->by, s->agent) && s->agent.thread != 0;
}

static ll_code race(ev *m, const ev_op *op, const ev_buf *b, int64_t elem, const char *what)
{
    return ev_fail(m, op->stmt, "element %lld of %s %s", (long long)elem, b->b->t->name, what);
}

ll_code ev_may_read(ev *m, ev_strand *s, const ev_op *op, ev_buf *b, int64_t elem)
{
    ev_cell *c = &b->cell[elem];
    if (c->pending) return race(m, op, b, elem, "is read while a copy to it is in flight");
    if (!ordered(m, s, b, c->writer, &c->wrote))
        return race(m, op, b, elem, "is read with no barrier after the write");
    ev_mark *r = &c->read[strand_no(m, s)];
    uint32_t epoch = epoch_of(s, b), now = s->clock[strand_no(m, s)];
    if (r->clock && r->epoch == epoch && !same(r->by, s->agent))
        r->by = (ev_agent){0, 0}; /* several */
    else r->by = s->agent;
    r->clock = now;
    r->epoch = epoch;
    return LL_OK;
}

static ll_code may_overwrite(ev *m, ev_strand *s, const ev_op *op, ev_buf *b, int64_t elem)
{
    ev_cell *c = &b->cell[elem];
    if (c->pending) return race(m, op, b, elem, "is written while a copy to it is in flight");
    /* Iterations of one store: that they meet with one value only is for verify_race.c to prove. */
    if (!ordered(m, s, b, c->writer, &c->wrote) && !(c->by == op && b->b->scope == LP_GLOBAL))
        return race(m, op, b, elem, "is written twice with no barrier between");
    for (int i = 0; i < m->n_strand; i++)
        if (!ordered(m, s, b, i, &c->read[i]))
            return race(m, op, b, elem, "is overwritten with no barrier after the last read");
    return LL_OK;
}

ll_code ev_may_write(ev *m, ev_strand *s, const ev_op *op, ev_buf *b, int64_t elem)
{
    ev_cell *c = &b->cell[elem];
    int me = strand_no(m, s);
    /* A reduction reads and writes at once: its own read a moment ago is no conflict. */
    ev_mark own = c->read[me];
    if (op->code == EV_REDUCE) c->read[me].clock = 0;
    ll_code code = may_overwrite(m, s, op, b, elem);
    c->read[me] = own;
    if (code) return code;
    c->writer = (uint8_t)me;
    c->by = op;
    c->wrote = (ev_mark){s->clock[me], epoch_of(s, b), s->agent};
    return LL_OK;
}

ll_code ev_do_sync(ev *m, ev_strand *s, const ev_op *op)
{
    if (s->agent.thread) return ev_fail(m, op->stmt, "a barrier inside a loop over threads");
    if (op->a == LP_WARPSH) {
        s->warp_epoch++;
        return LL_OK;
    }
    if (s->agent.warp) return ev_fail(m, op->stmt, "a block barrier inside a loop over warps");
    s->warp_epoch++;
    s->block_epoch++;
    s->synced = s->clock[strand_no(m, s)]++;
    return LL_OK;
}

/* ---- copies ---------------------------------------------------------------------------------- */

static ev_copy *new_copy(ev *m, ev_strand *s, const ev_op *op, const ev_box *x)
{
    if (m->n_copy == m->cap_copy) {
        int cap = m->cap_copy ? m->cap_copy * 2 : 32;
        ev_copy *more = realloc(m->copy, sizeof *more * (size_t)cap);
        if (!more) return NULL;
        m->copy = more;
        m->cap_copy = cap;
    }
    const lp_stmt *st = op->stmt;
    ev_copy *c = &m->copy[m->n_copy];
    *c = (ev_copy){.stmt = st, .dst = x->dst.buf, .by = s->agent, .group = -1, .n = 1};
    c->strand = strand_no(m, s);
    for (int i = 0; i < x->dst.buf->ndim; i++) c->n *= st->u.copy.extent[i];
    c->elem = malloc(sizeof *c->elem * (size_t)c->n * 3);
    if (!c->elem) return NULL;
    c->bit = c->elem + c->n;
    c->value = (te_value *)(c->bit + c->n);
    m->n_copy++;
    return c;
}

static void drop_copy(ev *m, int i)
{
    free(m->copy[i].elem);
    m->copy[i] = m->copy[--m->n_copy];
}

typedef struct walk { /* over the elements of a box */
    int64_t base_dst[TE_MAX_DIM], base_src[TE_MAX_DIM], at[TE_MAX_DIM];
    int first; /* the dimension that `valid` counts */
    int64_t valid;
} walk;

static ll_code start_walk(ev *m, const ev_op *op, const ev_box *x, walk *w)
{
    const lp_stmt *st = op->stmt;
    for (int i = 0; i < x->dst.buf->ndim; i++) w->base_dst[i] = m->slot[x->dst.idx[i]].i;
    for (int i = 0; i < x->src.buf->ndim; i++) w->base_src[i] = m->slot[x->src.idx[i]].i;
    w->first = -1;
    for (int i = 0; i < x->dst.buf->ndim && w->first < 0; i++)
        if (st->u.copy.src_dim[i] >= 0) w->first = i;
    w->valid = INT64_MAX;
    if (x->valid < 0) return LL_OK;
    w->valid = m->slot[x->valid].i;
    if (w->valid < 0 || w->first < 0)
        return ev_fail(m, st, "%lld valid rows", (long long)w->valid);
    return LL_OK;
}

static ll_code copy_element(ev *m, ev_strand *s, const ev_op *op, const ev_box *x, const walk *w,
                            ev_copy *c, int64_t k)
{
    const lp_stmt *st = op->stmt;
    int64_t dst[TE_MAX_DIM], src[TE_MAX_DIM], elem, bit;
    memcpy(src, w->base_src, sizeof src);
    for (int i = 0; i < x->dst.buf->ndim; i++) {
        dst[i] = w->base_dst[i] + w->at[i];
        if (st->u.copy.src_dim[i] >= 0) src[st->u.copy.src_dim[i]] += w->at[i];
    }
    LL_TRY(ev_locate(m, op, x->dst.buf, dst, &c->elem[k], &c->bit[k]));
    LL_TRY(may_overwrite(m, s, op, x->dst.buf, c->elem[k]));
    c->value[k] = (te_value){0};
    if (w->first >= 0 && w->at[w->first] >= w->valid) return LL_OK;
    LL_TRY(ev_locate(m, op, x->src.buf, src, &elem, &bit));
    ev_buf *b = x->src.buf;
    if (b->cell) LL_TRY(ev_may_read(m, s, op, b, elem));
    if (b->written && b->written[elem] != b->life && !m->skeleton)
        return ev_fail(m, st, "element %lld of %s is copied and was never written", (long long)elem,
                       b->b->t->name);
    if (b->mem) ev_get(b, bit, &c->value[k]);
    return LL_OK;
}

/* Initialised, with a barrier after it. */
static ll_code mbar_ready(ev *m, const ev_strand *s, const ev_op *op, const ev_buf *b, int64_t at)
{
    if (at < 0 || at >= b->n_elem || !b->mbar || !b->mbar[at].ready)
        return ev_fail(m, op->stmt, "%s[%lld] is no initialised mbarrier", b->b->t->name,
                       (long long)at);
    if (b->mbar[at].epoch == s->block_epoch)
        return ev_fail(m, op->stmt, "%s[%lld] is used with no barrier after its initialisation",
                       b->b->t->name, (long long)at);
    return LL_OK;
}

ll_code ev_do_copy(ev *m, ev_strand *s, const ev_op *op)
{
    const ev_box *x = &m->box[op->c];
    if (!x->dst.buf->cell || x->dst.buf->b->scope == LP_GLOBAL)
        return ev_fail(m, op->stmt, "%s is not shared memory", x->dst.buf->b->t->name);
    walk w = {0};
    LL_TRY(start_walk(m, op, x, &w));
    ev_copy *c = new_copy(m, s, op, x);
    if (!c) return ll_fail(m->err, LL_NO_SPACE, "%s: no memory", m->f->name);
    for (int64_t k = 0; k < c->n; k++) {
        LL_TRY(copy_element(m, s, op, x, &w, c, k));
        for (int i = x->dst.buf->ndim - 1; i >= 0 && ++w.at[i] == op->stmt->u.copy.extent[i]; i--)
            w.at[i] = 0;
    }
    for (int64_t k = 0; k < c->n; k++) x->dst.buf->cell[c->elem[k]].pending++;
    if (!x->bar) return LL_OK;
    c->bar = x->bar;
    c->bar_at = m->slot[x->bar_at].i;
    return mbar_ready(m, s, op, c->bar, c->bar_at);
}

/* The data arrives. */
static void land(ev *m, int i, int writer, ev_mark mark)
{
    ev_copy *c = &m->copy[i];
    for (int64_t k = 0; k < c->n; k++) {
        ev_cell *cell = &c->dst->cell[c->elem[k]];
        cell->pending--;
        cell->writer = (uint8_t)writer;
        cell->wrote = mark;
        if (c->dst->written) c->dst->written[c->elem[k]] = c->dst->life;
        if (c->dst->mem) ev_put(c->dst, c->bit[k], c->value[k]);
    }
    drop_copy(m, i);
}

static int64_t *groups_of(ev *m, int strand, ev_agent a)
{
    for (int i = 0; i < m->n_group; i++)
        if (m->group[i].strand == strand && same(m->group[i].owner, a)) return &m->group[i].n;
    if (m->n_group == m->cap_group) {
        int cap = m->cap_group ? m->cap_group * 2 : 16;
        ev_group *more = realloc(m->group, sizeof *more * (size_t)cap);
        if (!more) return NULL;
        m->group = more;
        m->cap_group = cap;
    }
    m->group[m->n_group] = (ev_group){.owner = a, .strand = strand};
    return &m->group[m->n_group++].n;
}

ll_code ev_do_commit(ev *m, ev_strand *s, const ev_op *op)
{
    int me = strand_no(m, s);
    int64_t *n = groups_of(m, me, s->agent);
    if (!n) return ll_fail(m->err, LL_NO_SPACE, "%s: no memory", m->f->name);
    for (int i = 0; i < m->n_copy; i++) {
        ev_copy *c = &m->copy[i];
        if (c->bar || c->strand != me || c->group >= 0 || !covers(s->agent, c->by)) continue;
        c->group = *n;
        c->owner = s->agent;
    }
    ++*n;
    return LL_OK;
}

ll_code ev_do_wait(ev *m, ev_strand *s, const ev_op *op)
{
    int me = strand_no(m, s);
    for (int i = m->n_copy - 1; i >= 0; i--) {
        ev_copy *c = &m->copy[i];
        if (c->bar || c->strand != me || c->group < 0 || !covers(s->agent, c->owner)) continue;
        int64_t *n = groups_of(m, me, c->owner);
        if (n && c->group < *n - op->a)
            land(m, i, me, (ev_mark){s->clock[me], epoch_of(s, c->dst), c->by});
    }
    return LL_OK;
}

/* ---- mbarriers ------------------------------------------------------------------------------- */

static void join(uint32_t *to, const uint32_t *from)
{
    for (int i = 0; i < EV_N_CLOCK; i++)
        if (from[i] > to[i]) to[i] = from[i];
}

static void complete_phase(ev *m, ev_mbar *b)
{
    m->events++;
    if (b->pending > 0 || b->bytes != 0) return;
    b->phase++;
    b->pending = b->count;
    memcpy(b->done, b->clock, sizeof b->done);
}

static ll_code mbar_of(ev *m, const ev_strand *s, const ev_op *op, ev_mbar **out)
{
    ev_buf *b = m->access[op->c].buf;
    int64_t elem, bit, at = m->slot[op->a].i;
    LL_TRY(ev_locate(m, op, b, &at, &elem, &bit));
    if (!b->mbar && !(b->mbar = calloc((size_t)b->n_elem + 1, sizeof *b->mbar)))
        return ll_fail(m->err, LL_NO_SPACE, "%s: no memory", m->f->name);
    *out = &b->mbar[elem];
    if (op->op == LP_MBAR_INIT) return LL_OK;
    return mbar_ready(m, s, op, b, at);
}

static ll_code arrive(ev *m, ev_strand *s, const ev_op *op, ev_mbar *b, int64_t bytes)
{
    int me = strand_no(m, s);
    if (b->pending <= 0) return ev_fail(m, op->stmt, "more arrivals than the phase expects");
    b->pending--;
    b->bytes += bytes;
    join(b->clock, s->clock);
    s->clock[me]++;
    complete_phase(m, b);
    return LL_OK;
}

ll_code ev_do_mbar(ev *m, ev_strand *s, const ev_op *op, bool *blocked)
{
    ev_mbar *b = NULL;
    LL_TRY(mbar_of(m, s, op, &b));
    int64_t arg = op->b >= 0 ? m->slot[op->b].i : 0;
    switch (op->op) {
    case LP_MBAR_INIT:
        if (arg < 1) return ev_fail(m, op->stmt, "%lld arrivals", (long long)arg);
        *b = (ev_mbar){.ready = true, .count = arg, .pending = arg, .epoch = s->block_epoch};
        return LL_OK;
    case LP_MBAR_EXPECT: return arrive(m, s, op, b, arg);
    case LP_MBAR_ARRIVE: return arrive(m, s, op, b, 0);
    default: break;
    }
    *blocked = (int64_t)(b->phase & 1) == (arg & 1);
    if (!*blocked) join(s->clock, b->done);
    return LL_OK;
}

bool ev_land_one(ev *m)
{
    int n = 0, pick = -1;
    for (int i = 0; i < m->n_copy; i++) /* any of those in flight */
        if (m->copy[i].bar && (pick < 0 || ev_random(m) % (uint64_t)(n + 1) == 0)) pick = i, n++;
    if (pick < 0) return false;
    ev_copy *c = &m->copy[pick];
    ev_mbar *b = &c->bar->mbar[c->bar_at];
    uint32_t now = ++m->landed;
    b->bytes -= c->n * c->dst->bits / 8;
    if (now > b->clock[EV_ASYNC]) b->clock[EV_ASYNC] = now;
    land(m, pick, EV_ASYNC, (ev_mark){now, 0, {0, 0}});
    complete_phase(m, b);
    return true;
}

ll_code ev_check_done(ev *m)
{
    if (m->n_copy == 0) return LL_OK;
    return ev_fail(m, m->copy[0].stmt, "a copy is still in flight at the end");
}

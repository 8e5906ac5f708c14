/* reg.c: register buffers. A buffer of scope `reg` is a table of its elements; each says which lane
 * of which SSA value it is. Reading lanes that were stored together costs nothing, anything else is
 * a shuffle:
 *
 *     acc[2, 4] after two vector stores      0 1 2 3 | 4 5 6 7
 *                                            %a, lanes 0..3   %b, lanes 0..3
 *
 * A loop that writes a buffer carries its values as phis, one per store that made the values at its
 * entry (or per run of neighbours where those do not cover whole values). Sums over lanes are kept
 * as lanes (`pend`) until somebody reads the element, so a loop over vectors has no horizontal step
 * inside. */
#include "codegen/cg.h"

#include <string.h>

static cg_t elt(cg *c, const cg_buf *b) { return cg_elt(c, (ll_dtype)b->lp->t->dtype); }

static void flush_one(cg *c, cg_buf *b, cg_elem *e)
{
    if (!e->pend) return;
    ll_dtype t = (ll_dtype)b->lp->t->dtype;
    cg_v part = cg_across(c, b->pend_op, t, e->pend);
    cg_v old = e->v && e->lane >= 0 ? cg_extract(c, e->v, e->lane) : e->v;
    *e = (cg_elem){.v = old ? cg_combine(c, b->pend_op, t, old, part) : part,
                   .lane = -1,
                   .store = ++c->n_store};
    c->reg_epoch++;
}

void cg_reg_flush(cg *c, cg_buf *b)
{
    for (int64_t i = 0; i < b->n; i++) flush_one(c, b, &b->e[i]);
}

static bool same_vector(const cg_buf *b, const int64_t *at, int lanes)
{
    const cg_elem *first = &b->e[at[0]];
    if (!first->v || first->lane < 0) return false;
    for (int i = 1; i < lanes; i++)
        if (b->e[at[i]].v != first->v) return false;
    return true;
}

static bool same_scalar(const cg_buf *b, const int64_t *at, int lanes)
{
    for (int i = 0; i < lanes; i++)
        if (b->e[at[i]].lane >= 0 || b->e[at[i]].v != b->e[at[0]].v) return false;
    return b->e[at[0]].v != NULL;
}

/* One vector's share of the wanted lanes, in place; other lanes are left open. */
static cg_v share_of(cg *c, const cg_buf *b, const int64_t *at, int lanes, cg_v from)
{
    int lane[CG_MAX_LANES];
    for (int i = 0; i < lanes; i++)
        lane[i] = b->e[at[i]].v == from && b->e[at[i]].lane >= 0 ? b->e[at[i]].lane : -1;
    return cg_shuffle(c, from, NULL, lane, lanes);
}

static cg_v gather(cg *c, const cg_buf *b, const int64_t *at, int lanes)
{
    cg_v r = NULL;
    bool done[CG_MAX_LANES] = {false};
    int lane[CG_MAX_LANES];
    for (int i = 0; i < lanes; i++) {
        const cg_elem *e = &b->e[at[i]];
        if (done[i] || !e->v || e->lane < 0) continue;
        cg_v part = share_of(c, b, at, lanes, e->v);
        for (int k = 0; k < lanes; k++) {
            bool mine = b->e[at[k]].v == e->v && b->e[at[k]].lane >= 0;
            lane[k] = mine ? lanes + k : k;
            done[k] = done[k] || mine;
        }
        r = r ? cg_shuffle(c, r, part, lane, lanes) : part;
    }
    if (!r) r = LLVMGetPoison(cg_wide(elt(c, b), lanes));
    for (int i = 0; i < lanes; i++)
        if (b->e[at[i]].v && b->e[at[i]].lane < 0) r = cg_insert(c, r, b->e[at[i]].v, i);
    return r;
}

cg_v cg_reg_get(cg *c, cg_buf *b, const int64_t *at, int lanes)
{
    for (int i = 0; i < lanes; i++) flush_one(c, b, &b->e[at[i]]);
    const cg_elem *e = &b->e[at[0]];
    if (lanes == 1) {
        if (!e->v) return LLVMGetPoison(elt(c, b));
        return e->lane < 0 ? e->v : cg_extract(c, e->v, e->lane);
    }
    if (same_vector(b, at, lanes)) return share_of(c, b, at, lanes, e->v);
    if (same_scalar(b, at, lanes)) return cg_splat(c, e->v, lanes);
    return gather(c, b, at, lanes);
}

void cg_reg_put(cg *c, cg_buf *b, const int64_t *at, int lanes, cg_v v)
{
    uint32_t id = ++c->n_store;
    for (int i = 0; i < lanes; i++)
        b->e[at[i]] = (cg_elem){.v = v, .lane = lanes == 1 ? -1 : i, .store = id};
    c->reg_epoch++;
}

/* ---- groups: what crosses the edge of a loop or a branch ---- */

/* The whole store that element i came from, when all its lanes are still there. */
static bool whole_store(const cg_buf *b, int64_t i, int64_t *at, int *n)
{
    int w = cg_width(b->e[i].v), seen = 0;
    for (int64_t k = i; k < b->n; k++) {
        const cg_elem *e = &b->e[k];
        if (!e->v || e->lane < 0 || e->store != b->e[i].store || e->v != b->e[i].v) continue;
        if (e->lane >= w || seen == w) return false;
        at[e->lane] = k;
        seen++;
    }
    *n = w;
    return seen == w;
}

static cg_group group_at(cg *c, cg_buf *b, int64_t i, const bool *used)
{
    cg_group g = {.at = ll_alloc(&c->arena, sizeof(int64_t) * CG_MAX_LANES), .n = 1};
    const cg_elem *e = &b->e[i];
    g.at[0] = i;
    if (e->v && e->lane < 0) return g;
    if (e->v && whole_store(b, i, g.at, &g.n)) return g;
    int bits = ll_dtype_bits((ll_dtype)b->lp->t->dtype),
        most = c->target->vector_bytes * 8 / (bits < 8 ? 8 : bits);
    int run = 1;
    while (run < most && i + run < b->n && !used[i + run] &&
           !(b->e[i + run].v && b->e[i + run].lane < 0))
        run++;
    for (g.n = 1; g.n * 2 <= run;) g.n *= 2;
    for (int k = 0; k < g.n; k++) g.at[k] = i + k;
    return g;
}

cg_groups cg_reg_groups(cg *c, cg_buf *b)
{
    cg_groups r = {.b = b, .group = ll_alloc(&c->arena, sizeof(cg_group) * (size_t)(2 * b->n))};
    bool *used = ll_alloc(&c->arena, (size_t)b->n + 1);
    for (int64_t i = 0; i < b->n; i++) {
        if (!b->e[i].pend) continue;
        cg_group g = {.at = ll_alloc(&c->arena, sizeof(int64_t)), .n = 1, .pend = true};
        g.at[0] = i;
        r.group[r.n++] = g;
    }
    for (int64_t i = 0; i < b->n; i++) {
        if (used[i]) continue;
        cg_group g = group_at(c, b, i, used);
        for (int k = 0; k < g.n; k++) used[g.at[k]] = true;
        r.group[r.n++] = g;
    }
    return r;
}

/* The group's value now. Reading an element combines what is pending, so groups of pending lanes
 * hand out those and the plain group of the same element its value without them. `type`: of pending
 * lanes that are gone (identity). */
cg_v cg_group_value(cg *c, cg_buf *b, const cg_group *g, cg_t type)
{
    if (g->pend) {
        cg_v v = b->e[g->at[0]].pend;
        if (v) return v;
        return cg_identity(c, b->pend_op, (ll_dtype)b->lp->t->dtype, (int)LLVMGetVectorSize(type));
    }
    cg_v pend[CG_MAX_LANES];
    for (int i = 0; i < g->n; i++) {
        pend[i] = b->e[g->at[i]].pend;
        b->e[g->at[i]].pend = NULL;
    }
    cg_v v = cg_reg_get(c, b, g->at, g->n);
    for (int i = 0; i < g->n; i++) b->e[g->at[i]].pend = pend[i];
    return v;
}

void cg_group_set(cg *c, cg_buf *b, const cg_group *g, cg_v v)
{
    if (g->pend) {
        b->e[g->at[0]].pend = v;
        c->reg_epoch++;
        return;
    }
    cg_v pend[CG_MAX_LANES];
    for (int i = 0; i < g->n; i++) pend[i] = b->e[g->at[i]].pend;
    cg_reg_put(c, b, g->at, g->n, v);
    for (int i = 0; i < g->n; i++) b->e[g->at[i]].pend = pend[i];
}

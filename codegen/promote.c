/* promote.c: thread buffers that live in registers while a loop runs. A serial loop that sums into
 * elements whose numbers do not change from turn to turn,
 *
 *     for d { for r @unroll { for l @vector { s[r, j * 16 + l] += ... } } }      j constant here
 *
 * would load and store them each turn. When every access to the buffer inside the loop is of that
 * kind and the elements fit the register file, they are loaded before the loop, are registers
 * inside it (with all that reg.c does for those), and are stored behind it. */
#include "codegen/cg.h"

#include <string.h>

#define B (c->b)

enum { MAX_DEPTH = 16, MAX_POINTS = 4096 };

typedef struct scan {
    cg *c;
    cg_buf *b;
    te_ref axis[MAX_DEPTH]; /* loops inside, whose index becomes a constant or a lane */
    int64_t extent[MAX_DEPTH];
    int depth;
    bool *used;
    bool ok, summed;
} scan;

/* Marks the elements that idx[] names; false when they are not the same in every turn. */
static bool mark(scan *s, const te_ref *idx)
{
    cg *c = s->c;
    const te_tensor *t = s->b->lp->t;
    te_ref flat = te_int(c->g, 0);
    for (int i = 0; i < t->ndim; i++) flat = te_add(te_mul(flat, t->shape[i]), idx[i]);
    te_affine f = te_affine_of(c->g, cg_prep(c, flat));
    int64_t coef[MAX_DEPTH] = {0}, points = 1;
    for (int i = 0; i < f.n; i++) {
        int k = 0;
        while (k < s->depth && s->axis[k] != f.atom[i]) k++;
        if (k == s->depth) return false;
        coef[k] = f.coef[i];
        points *= s->extent[k];
        if (points > MAX_POINTS) return false;
    }
    for (int64_t p = 0; p < points; p++) {
        int64_t at = f.c, rest = p;
        for (int k = 0; k < s->depth; k++) {
            if (!coef[k]) continue;
            at += coef[k] * (rest % s->extent[k]);
            rest /= s->extent[k];
        }
        if (at < 0 || at >= s->b->n) return false;
        s->used[at] = true;
    }
    return true;
}

static bool mark_load(te_ref e, void *ctx)
{
    scan *s = ctx;
    if (e->op != TE_LOAD || e->u.t != s->b->lp->t) return true;
    return mark(s, e->src);
}

static te_ref see_loads(te_ref e, void *ctx)
{
    scan *s = ctx;
    if (s->ok && te_loads(e, s->b->lp->t)) s->ok = te_walk(e, mark_load, s);
    return e;
}

static void scan_list(scan *s, lp_stmt *l)
{
    for (; l && s->ok; l = l->next) {
        lp_each_expr(l, see_loads, s);
        switch (l->kind) {
        case LP_FOR: {
            te_ref n = cg_prep(s->c, l->u.loop.var->u.axis->extent);
            bool fixed = l->u.loop.how == LP_UNROLL || l->u.loop.how == LP_VECTOR ||
                         l->u.loop.intrin != NULL || te_is_int(n, 1);
            bool push = fixed && n->op == TE_INT && n->u.i > 0 && s->depth < MAX_DEPTH;
            if (push) {
                s->axis[s->depth] = l->u.loop.var;
                s->extent[s->depth++] = n->u.i;
            }
            scan_list(s, l->u.loop.body);
            s->depth -= push;
            break;
        }
        case LP_ALLOC: scan_list(s, l->u.alloc.body); break;
        case LP_LET: scan_list(s, l->u.let.body); break;
        case LP_IF:
            scan_list(s, l->u.guard.then);
            scan_list(s, l->u.guard.otherwise);
            break;
        case LP_STORE:
            if (l->u.store.buf == s->b->lp) s->ok = s->ok && mark(s, l->u.store.idx);
            break;
        case LP_REDUCE:
            if (l->u.reduce.buf != s->b->lp) break;
            s->ok = s->ok && mark(s, l->u.reduce.idx);
            s->summed = true;
            break;
        default: break;
        }
    }
}

typedef struct found {
    cg *c;
    cg_promoted *p;
} found;

static bool note(lp_stmt *s, void *ctx)
{
    found *f = ctx;
    if (s->kind != LP_REDUCE || s->u.reduce.buf->scope != LP_THREAD || s->u.reduce.buf->layout)
        return true;
    cg_buf *b = ll_map_get_ptr(&f->c->bufs, s->u.reduce.buf);
    if (!b || b->e || b->inside || ll_dtype_bits((ll_dtype)b->lp->t->dtype) < 8) return true;
    for (int i = 0; i < f->p->n; i++)
        if (f->p->b[i] == b) return true;
    if (f->p->n < CG_MAX_PROMOTED) f->p->b[f->p->n++] = b;
    return true;
}

static int64_t elements(cg *c, const cg_buf *b)
{
    int64_t n = 1;
    for (int i = 0; i < b->lp->t->ndim; i++) {
        te_ref d = cg_prep(c, b->lp->t->shape[i]);
        if (d->op != TE_INT || d->u.i < 1 || d->u.i > MAX_POINTS || (n *= d->u.i) > MAX_POINTS)
            return 0;
    }
    return n;
}

static cg_v address(cg *c, const cg_buf *b, int64_t at)
{
    cg_v off = cg_int(c, c->i64, at * ll_dtype_bits((ll_dtype)b->lp->t->dtype) / 8);
    return LLVMBuildInBoundsGEP2(B, c->i8, b->base, &off, 1, "");
}

/* Runs of used elements, as vectors; `out`: registers to memory, else memory to registers. */
static void move(cg *c, cg_buf *b, const bool *used, bool out)
{
    ll_dtype t = (ll_dtype)b->lp->t->dtype;
    int size = ll_dtype_bits(t) / 8, most = c->target->vector_bytes / size;
    int64_t at[CG_MAX_LANES];
    for (int64_t i = 0, w; i < b->n; i += w) {
        w = 1;
        if (!used[i]) continue;
        int64_t run = 1;
        while (run < most && i + run < b->n && used[i + run]) run++;
        while (w * 2 <= run) w *= 2;
        for (int64_t k = 0; k < w; k++) at[k] = i + k;
        int64_t byte = i * size, align = byte ? byte & -byte : 64;
        cg_v p = address(c, b, i), v;
        v = out ? LLVMBuildStore(B, cg_reg_get(c, b, at, (int)w), p)
                : LLVMBuildLoad2(B, cg_wide(cg_elt(c, t), (int)w), p, "");
        LLVMSetAlignment(v, (unsigned)(align > 64 ? 64 : align));
        if (!out) cg_reg_put(c, b, at, (int)w, v);
    }
}

cg_promoted cg_promote(cg *c, lp_stmt *body)
{
    cg_promoted p = {0}, kept = {0};
    if (c->n_vec || c->mask.v) return p;
    lp_walk(body, note, &(found){c, &p});
    int64_t room = (int64_t)c->target->vector_bytes * (c->target->n_vector_regs * 3 / 4);
    for (int i = 0; i < p.n; i++) {
        cg_buf *b = p.b[i];
        b->n = elements(c, b);
        scan s = {.c = c, .b = b, .ok = b->n > 0, .used = ll_alloc(&c->arena, (size_t)b->n + 1)};
        if (s.ok) scan_list(&s, body);
        int64_t bytes = 0;
        for (int64_t k = 0; k < b->n; k++)
            bytes += s.used[k] ? ll_dtype_bits((ll_dtype)b->lp->t->dtype) / 8 : 0;
        if (!s.ok || !s.summed || bytes > room) continue;
        room -= bytes;
        b->e = ll_alloc(&c->arena, sizeof *b->e * (size_t)b->n);
        move(c, b, s.used, false);
        kept.used[kept.n] = s.used;
        kept.b[kept.n++] = b;
    }
    if (kept.n) cg_touch(c);
    return kept;
}

void cg_demote(cg *c, const cg_promoted *p)
{
    for (int i = 0; i < p->n; i++) {
        move(c, p->b[i], p->used[i], true);
        p->b[i]->e = NULL;
    }
    if (p->n) cg_touch(c);
}

/* threads_leaf.c: who executes a store or a sum of a nest, and how: its loops over lanes and warps
 * become this thread's own digits, elements that other lanes hold come by shuffles, sums over lanes
 * and warps are combined (threads_nest.c tells the rules). The same localisation of elements serves
 * loops over threads, where every distributed element must be the thread's own. */
#include "schedule/threads_leaf.h"

#include <string.h>

/* ---- holders --------------------------------------------------------------------------------- */

static bool across(const th_digit *d) { return d->place == LP_AT_LANE || d->place == LP_AT_WARP; }

/* Is element idx of b this thread's own? *warp: false when a warp digit is not. */
static bool is_own(th *t, const lp_buf *b, const te_ref *idx, bool *warp) {
    th_digit d[LP_MAX_DIGIT];
    int n = th_digits(t, b, d);
    bool own = true;
    *warp = true;
    for (int i = 0; i < n; i++) {
        if (!across(&d[i]) || d[i].size == 1) continue;
        if (th_prove_eq(t, th_index_digit(t, &d[i], idx[d[i].dim]), th_own_digit(t, &d[i])))
            continue;
        own = false;
        if (d[i].place == LP_AT_WARP) *warp = false;
    }
    return own;
}

te_ref th_register_of(th *t, const lp_buf *b, const te_ref *idx) {
    return te_simplify(t->g, lp_layout_at(t->g, b->layout, LP_AT_REG, idx));
}

const lp_buf *th_distributed_load(const th *t, te_ref a) {
    if (a->op != TE_LOAD) return NULL;
    const lp_buf *b = lp_buf_of(t->f, a->u.t);
    return b && th_distributed(b) ? b : NULL;
}

typedef struct localise {
    th *t;
    const lp_stmt *s;
    leaf *l;
} localise;

static te_ref by_shuffle(localise *w, const lp_buf *b, te_ref load, te_ref reg) {
    th *t = w->t;
    leaf *l = w->l;
    if (l->n_tmp == MAX_READ) {
        th_fail(t, w->s, "more than %d elements of other lanes", MAX_READ);
        return load;
    }
    te_ref one = te_int(t->g, 1), zero = te_int(t->g, 0);
    lp_buf *tmp = th_temp(t, b->t->name, (ll_dtype)b->t->dtype, LP_REG, &one, 1);
    lp_stmt *s = LL_NEW(te_arena(t->g), lp_stmt);
    s->kind = LP_SHUFFLE;
    s->u.shuffle.dst = tmp;
    s->u.shuffle.dst_at[0] = zero;
    s->u.shuffle.src = th_registers(t, b);
    s->u.shuffle.src_at[0] = reg;
    s->u.shuffle.lane = te_simplify(t->g, lp_layout_at(t->g, b->layout, LP_AT_LANE, load->src));
    l->tmp[l->n_tmp++] = tmp;
    l->pre = lp_seq(l->pre, s);
    return te_load(tmp->t, &zero, 1);
}

/* A copy that every thread has, at a place that differs between threads: registers have no
 * addresses, so it is chosen among all that some thread asks for. */
static te_ref chosen(th *t, te_ref load) {
    int dim = -1;
    for (int i = 0; i < load->n && dim < 0; i++)
        if (te_uses(load->src[i], t->tid)) dim = i;
    if (dim < 0) return load;
    te_affine f = te_affine_of(t->g, te_simplify(t->g, load->src[dim]));
    te_ref mine = te_int(t->g, 0), rest = te_int(t->g, f.c), src[TE_MAX_DIM], r = NULL;
    for (int i = 0; i < f.n; i++) {
        te_ref *to = te_uses(f.atom[i], t->tid) ? &mine : &rest;
        *to = te_add(*to, te_muli(f.atom[i], f.coef[i]));
    }
    for (int i = 0; i < load->n; i++) src[i] = load->src[i];
    int64_t seen[TH_MAX_BUF];
    int n = 0;
    for (int i = 0; i < t->threads; i++) {
        te_ref at = te_int(t->g, i), v = te_simplify(t->g, te_subst(t->g, mine, &t->tid, &at, 1));
        bool new = v->op == TE_INT &&n < TH_MAX_BUF;
        if (!new) return load; /* code generation says that the place is not constant */
        for (int k = 0; k < n; k++) new = new && seen[k] != v->u.i;
        if (!new) continue;
        seen[n++] = v->u.i;
        src[dim] = te_simplify(t->g, te_add(rest, v));
        te_ref one = chosen(t, te_load(load->u.t, src, load->n));
        r = r ? te_select(te_eq(mine, v), one, r) : one;
    }
    return r;
}

static te_ref localise_load(te_ref a, void *ctx) {
    localise *w = ctx;
    th *t = w->t;
    const lp_buf *b = th_distributed_load(t, a);
    bool warp;
    if (t->code) return a;
    if (!b && a->op == TE_LOAD && w->l) {
        const lp_buf *plain = lp_buf_of(t->f, a->u.t);
        return plain && plain->scope == LP_REG ? chosen(t, a) : a;
    }
    if (!b) return a;
    te_ref reg = th_register_of(t, b, a->src);
    if (is_own(t, b, a->src, &warp)) return te_load(th_registers(t, b)->t, &reg, 1);
    if (!w->l) {
        th_fail(t, w->s, "an element of %s that another thread holds", b->t->name);
        return a;
    }
    if (!warp) {
        th_fail(t, w->s, "an element of %s that another warp holds", b->t->name);
        return a;
    }
    if (te_uses(reg, t->tid)) {
        th_fail(t, w->s, "the register of %s that is read differs between threads", b->t->name);
        return a;
    }
    return by_shuffle(w, b, a, reg);
}

static te_ref localised(th *t, te_ref e, const lp_stmt *s, leaf *l) {
    localise w = {t, s, l};
    return te_simplify(t->g, te_rewrite(t->g, te_simplify(t->g, e), localise_load, &w));
}

/* ---- inside loops over threads --------------------------------------------------------------- */

typedef struct private {
    th *t;
    const lp_stmt *s;
}
private;

static te_ref private_expr(te_ref e, void *ctx) {
    private *w = ctx;
    return w->t->code ? e : localised(w->t, e, w->s, NULL);
}

static void private_target(th *t, lp_stmt *s, lp_buf **b, te_ref *idx) {
    bool warp;
    if (!th_distributed(*b)) return;
    if (!is_own(t, *b, idx, &warp)) {
        th_fail(t, s, "an element of %s that another thread holds", (*b)->t->name);
        return;
    }
    idx[0] = th_register_of(t, *b, idx);
    *b = th_registers(t, *b);
}

static lp_stmt *private_list(th *t, lp_stmt *s);

static lp_stmt *private_one(th *t, lp_stmt *s) {
    if (s->kind == LP_COPY) return th_copy(t, s);
    if (s->kind == LP_ALLOC && (th_distributed(s->u.alloc.buf) || s->u.alloc.buf->scope != LP_REG))
        return th_fail(t, s, "only plain registers are allocated inside a loop over threads");
    if (s->kind == LP_FOR && s->u.loop.how >= LP_BLOCK_X)
        return th_fail(t, s, "a loop over blocks, warps or threads inside a loop over threads");
    if (s->kind == LP_STORE) private_target(t, s, &s->u.store.buf, s->u.store.idx);
    if (s->kind == LP_REDUCE) private_target(t, s, &s->u.reduce.buf, s->u.reduce.idx);
    lp_each_expr(s, private_expr, &(private){t, s});
    switch (s->kind) {
    case LP_FOR:
        s->u.loop.body = private_list(t, s->u.loop.body);
        break;
    case LP_ALLOC:
        s->u.alloc.body = private_list(t, s->u.alloc.body);
        break;
    case LP_LET:
        s->u.let.body = private_list(t, s->u.let.body);
        break;
    case LP_IF:
        s->u.guard.then = private_list(t, s->u.guard.then);
        s->u.guard.otherwise = private_list(t, s->u.guard.otherwise);
        break;
    default:
        break;
    }
    return s;
}

static lp_stmt *private_list(th *t, lp_stmt *s) {
    lp_stmt *all = NULL, *next;
    for (; s && !t->code; s = next) {
        next = s->next;
        s->next = NULL;
        all = lp_seq(all, private_one(t, s));
    }
    return t->code ? NULL : all;
}

lp_stmt *th_private(th *t, lp_stmt *s) { return private_list(t, s); }

/* ---- loops to digits ------------------------------------------------------------------------- */

/* Splits the digit of dimension `dim` that reaches across position `at`. */
static void cut_at(th_digit *d, int *n, int dim, int64_t at) {
    for (int i = 0; i < *n; i++) {
        int64_t low = at / (d[i].base ? d[i].base : 1);
        if (d[i].dim != dim || at <= d[i].base || at >= d[i].base * d[i].size) continue;
        if (at % d[i].base || d[i].size % low || *n == LP_MAX_DIGIT) return;
        memmove(&d[i + 1], &d[i], sizeof *d * (size_t)(*n - i));
        ++*n;
        d[i].size = low;
        d[i].last = false;
        d[i + 1].base = at;
        d[i + 1].size /= low;
        d[i + 1].stride *= low;
        return;
    }
}

int64_t th_coefficient(th *t, te_ref e, te_ref var) {
    te_affine a = te_affine_of(t->g, e);
    int64_t c = 0;
    for (int i = 0; i < a.n; i++) {
        if (a.atom[i] == var)
            c = a.coef[i];
        else if (te_uses(a.atom[i], var))
            return 0;
    }
    return c;
}

static unsigned bits_of(const th_digit *d) {
    if (d->size & (d->size - 1) || d->stride & (d->stride - 1) || d->stride * d->size > 1 << 20)
        return ~0u; /* no set of bits */
    return (unsigned)(d->stride * d->size - d->stride);
}

static void substitute(leaf *l, te_ref var, te_ref to) {
    th *t = l->t;
    for (int i = 0; i < l->b->t->ndim; i++)
        l->idx[i] = te_simplify(t->g, te_subst(t->g, l->idx[i], &var, &to, 1));
    l->value = te_subst(t->g, l->value, &var, &to, 1);
    l->from[l->n_sub] = var;
    l->to[l->n_sub++] = to;
}

/* The value of digit d for this thread; NULL: a loop over registers. */
static te_ref digit_value(leaf *l, const th_digit *d) {
    if (l->matrices) return th_matrix_digit(l, d);
    return across(d) ? th_own_digit(l->t, d) : NULL;
}

/* Pairs of registers are digits of their own, so that each is one matrix. */
static void cut_registers(th_digit *d, int *n) {
    for (int i = 0; i < *n; i++)
        if (d[i].place == LP_AT_REG && d[i].stride < 8 && d[i].size > 2)
            cut_at(d, n, d[i].dim, d[i].base * 2);
}

/* Gives the loop of piece p to the digits of b's layout that its index walks. `taken`: bits of the
 * lane and the warp that it must keep off. False: not this loop. */
static bool bind_loop(leaf *l, piece *p, const lp_buf *b, const te_ref *idx,
                      const unsigned taken[2], unsigned got[2]) {
    th *t = l->t;
    te_ref var = p->s->u.loop.var, extent = var->u.axis->extent, to = te_int(t->g, 0), first = to;
    th_digit d[LP_MAX_DIGIT];
    int n = th_digits(t, b, d), dim = -1;
    int64_t c = 0, covered = 1, run = 1, run_at = 1;
    unsigned bits[2] = {0, 0};
    for (int i = 0; i < b->t->ndim; i++)
        if (te_uses(idx[i], var)) c = dim < 0 ? th_coefficient(t, idx[i], var) : 0, dim = i;
    if (c <= 0 || extent->op != TE_INT || p->n_loop) return false;
    int64_t end = c * extent->u.i;
    if (l->matrices) cut_registers(d, &n);
    cut_at(d, &n, dim, c);
    cut_at(d, &n, dim, end);
    te_ref loop[8];
    int n_loop = 0;
    for (int i = 0; i <= n; i++) {
        bool in = i < n && d[i].dim == dim && d[i].base >= c && d[i].base * d[i].size <= end;
        if (i < n && !in) continue;
        te_ref value = i < n ? digit_value(l, &d[i]) : NULL;
        if (i < n && !value) {
            if (run == 1) run_at = d[i].base;
            run *= d[i].size;
            covered *= d[i].size;
            continue;
        }
        if (run > 1) {
            if (n_loop == 8) return false;
            loop[n_loop] = th_axis(t, var->u.axis->name, te_int(t->g, run));
            to = te_add(to, te_muli(loop[n_loop], run_at / c));
            first = te_add(first, te_muli(loop[n_loop++], run_at / c));
            run = 1;
        }
        if (i == n) break;
        covered *= d[i].size;
        to = te_add(to, te_muli(value, d[i].base / c));
        if (!across(&d[i])) continue;
        unsigned own = bits_of(&d[i]);
        int w = d[i].place == LP_AT_WARP;
        if (own == ~0u || own & (taken[w] | bits[w])) return false;
        bits[w] |= own;
        if (w) first = te_add(first, te_muli(value, d[i].base / c));
    }
    if (covered != extent->u.i || !(bits[0] | bits[1])) return false;
    if (t->group == TH_WARP && bits[1]) return false;
    memcpy(p->loop, loop, sizeof *loop * (size_t)n_loop);
    p->n_loop = n_loop;
    p->over_regs = true;
    p->var = te_simplify(t->g, to); /* marks it as bound */
    got[0] |= bits[0];
    got[1] |= bits[1];
    for (int i = 0; l->matrices && i < l->b->t->ndim; i++)
        l->first[i] = te_subst(t->g, l->first[i], &var, &first, 1);
    substitute(l, var, p->var);
    return true;
}

typedef struct first_read {
    th *t;
    te_ref load;
} first_read;

static bool note_read(te_ref a, void *ctx) {
    first_read *w = ctx;
    if (!th_distributed_load(w->t, a)) return true;
    if (!w->load || a->n > w->load->n) w->load = a;
    return true;
}

/* The distributed element that decides who executes a leaf whose target does not: the first of the
 * greatest rank. */
static te_ref leading_read(leaf *l) {
    first_read w = {l->t, NULL};
    te_walk(l->value, note_read, &w);
    return w.load;
}

static bool in_target(const leaf *l, te_ref var) {
    for (int i = 0; i < l->b->t->ndim; i++)
        if (te_uses(l->idx[i], var)) return true;
    return false;
}

static bool is_loop(const piece *p) { return p->s->kind == LP_FOR; }

void th_bind_loops(leaf *l, const lp_buf *b, const te_ref *idx, bool reduction) {
    unsigned taken[2] = {0, 0}, got[2] = {0, 0};
    te_ref at[TE_MAX_DIM];
    if (reduction) {
        taken[0] = l->lanes;
        taken[1] = l->warps;
    }
    for (int i = 0; i < b->t->ndim; i++) at[i] = idx[i];
    for (int i = 0; i < l->n; i++) {
        piece *p = &l->piece[i];
        if (!is_loop(p) || p->var) continue;
        te_ref var = p->s->u.loop.var;
        if (in_target(l, var) == reduction) continue;
        if (!bind_loop(l, p, b, at, taken, got)) continue;
        for (int k = 0; k < b->t->ndim; k++)
            at[k] = te_simplify(l->t->g, te_subst(l->t->g, at[k], &var, &p->var, 1));
        p->reduced = reduction;
    }
    if (reduction) {
        l->r_lanes = got[0];
        l->r_warps = got[1];
    } else {
        l->lanes |= got[0];
        l->warps |= got[1];
    }
}

/* ---- guards ---------------------------------------------------------------------------------- */

static void add_guard(leaf *l, te_ref cond) {
    cond = te_simplify(l->t->g, cond);
    if (cond->op == TE_INT && cond->u.i) return;
    if (l->n_guard == MAX_COND)
        th_fail(l->t, l->s, "too many conditions");
    else
        l->guard[l->n_guard++] = cond;
}

/* Only the holders of element idx of b; `once`: only the first of them. */
static void guard_holder(leaf *l, const lp_buf *b, const te_ref *idx, bool once) {
    th *t = l->t;
    th_digit d[LP_MAX_DIGIT];
    int n = th_digits(t, b, d);
    unsigned held[2] = {0, 0};
    for (int i = 0; i < n; i++) {
        if (!across(&d[i]) || d[i].size == 1) continue;
        unsigned bits = bits_of(&d[i]);
        if (bits == ~0u) {
            th_fail(t, l->s, "the layout of %s is not made of powers of two", b->t->name);
            return;
        }
        held[d[i].place == LP_AT_WARP] |= bits;
        te_ref at = th_index_digit(t, &d[i], idx[d[i].dim]), own = th_own_digit(t, &d[i]);
        if (!th_prove_eq(t, at, own)) add_guard(l, te_eq(at, own));
    }
    if (!once) return;
    unsigned free_lanes = ~held[0] & (TH_WARP - 1);
    te_ref lane = te_modi(t->tid, TH_WARP), warp = te_divi(t->tid, TH_WARP), zero = te_int(t->g, 0);
    for (int k = 0; k < 5; k++)
        if (free_lanes >> k & 1) add_guard(l, te_eq(te_modi(te_divi(lane, 1 << k), 2), zero));
    if (t->group == TH_WARP) return;
    for (int k = 0; 1 << k < t->threads / TH_WARP; k++)
        if (!(held[1] >> k & 1)) add_guard(l, te_eq(te_modi(te_divi(warp, 1 << k), 2), zero));
}

static te_ref all_of(th *t, const te_ref *cond, int n) {
    te_ref c = NULL;
    for (int i = 0; i < n; i++) c = c ? te_binary(TE_AND, c, cond[i]) : cond[i];
    return c;
}

/* ---- one leaf -------------------------------------------------------------------------------- */

static bool in_register_index(te_ref a, void *ctx) {
    const leaf *l = ((const localise *)ctx)->l;
    te_ref var = l->from[0];
    if (a->op != TE_LOAD) return true;
    const lp_buf *b = lp_buf_of(l->t->f, a->u.t);
    if (!b || b->scope != LP_REG) return true;
    for (int i = 0; i < a->n; i++)
        if (te_uses(a->src[i], var)) return false;
    return true;
}

/* Does a register's number depend on var? */
static bool numbers_registers(const leaf *l, te_ref var, te_ref value) {
    if (l->b->scope == LP_REG && in_target(l, var)) return true;
    leaf probe = {.t = l->t};
    probe.from[0] = var;
    if (!te_walk(value, in_register_index, &(localise){.l = &probe})) return true;
    for (lp_stmt *s = l->pre; s; s = s->next)
        if (te_uses(s->u.shuffle.src_at[0], var)) return true;
    return false;
}

void th_free_loops(leaf *l) {
    th *t = l->t;
    for (int i = 0; i < l->n; i++) {
        piece *p = &l->piece[i];
        if (p->s->kind == LP_LET) {
            p->value = te_subst(t->g, p->s->u.let.value, l->from, l->to, l->n_sub);
            p->var = te_var(t->g, p->s->u.let.var->u.name, (ll_dtype)p->s->u.let.var->dtype);
            substitute(l, p->s->u.let.var, p->var);
        }
        if (!is_loop(p) || p->var) continue;
        te_ref var = p->s->u.loop.var;
        te_ref n = te_subst(t->g, var->u.axis->extent, l->from, l->to, l->n_sub);
        te_ref name = th_axis(t, var->u.axis->name, n);
        if (var->u.axis->max) name = te_axis_upto(t->g, name->u.axis->name, n, var->u.axis->max);
        p->var = p->loop[p->n_loop++] = name;
        for (int k = 0; l->matrices && k < l->b->t->ndim; k++)
            l->first[k] = te_subst(t->g, l->first[k], &var, &name, 1);
        substitute(l, var, name);
    }
    for (int i = 0; i < l->n; i++) {
        piece *p = &l->piece[i];
        if (p->s->kind != LP_IF) continue;
        p->cond = te_subst(t->g, p->s->u.guard.cond, l->from, l->to, l->n_sub);
        if (l->w->path[i].negate) p->cond = te_unary(TE_NOT, p->cond);
        p->cond = localised(t, p->cond, l->s, NULL);
    }
}

static bool uses_reduced(const leaf *l, te_ref e) {
    for (int i = 0; i < l->n; i++) {
        const piece *p = &l->piece[i];
        if (!p->reduced) continue;
        for (int k = 0; k < p->n_loop; k++)
            if (te_uses(e, p->loop[k])) return true;
        if (is_loop(p) && p->var && !p->n_loop && te_uses(e, l->t->tid)) return true;
        if (p->s->kind == LP_LET && te_uses(e, p->var)) return true;
    }
    return false;
}

lp_stmt *th_wrapped(leaf *l, lp_stmt *body, bool reduced) {
    th *t = l->t;
    for (int i = l->n - 1; i >= 0 && body; i--) {
        piece *p = &l->piece[i];
        if (p->reduced != reduced) continue;
        if (p->s->kind == LP_LET) {
            body = lp_let(t->f, p->var, p->value, body);
            body->u.let.uniform = p->s->u.let.uniform && !te_uses(p->value, t->tid);
        } else if (p->s->kind == LP_IF) {
            if (!te_uses(p->cond, t->tid)) body = lp_if(t->f, p->cond, body, NULL);
        } else {
            for (int k = p->n_loop - 1; k >= 0; k--) {
                bool regs = p->over_regs || numbers_registers(l, p->loop[k], l->value);
                body = lp_for(t->f, p->loop[k], regs ? LP_UNROLL : p->s->u.loop.how, body);
                if (!regs) body->u.loop.opaque = p->s->u.loop.opaque;
                if (!regs) body->u.loop.rotate = p->s->u.loop.rotate;
            }
        }
    }
    return body;
}

te_ref th_varying(leaf *l, bool all) {
    te_ref c[MAX_PATH + MAX_COND];
    int n = 0;
    for (int i = 0; i < l->n; i++)
        if (l->piece[i].s->kind == LP_IF && te_uses(l->piece[i].cond, l->t->tid) &&
            (all || !l->piece[i].reduced))
            c[n++] = l->piece[i].cond;
    for (int i = 0; i < l->n_guard; i++) c[n++] = l->guard[i];
    return all_of(l->t, c, n);
}

static lp_stmt *with_shuffles(leaf *l, lp_stmt *s) {
    s = lp_seq(l->pre, s);
    for (int i = l->n_tmp - 1; i >= 0; i--) s = lp_alloc(l->t->f, l->tmp[i], s);
    return s;
}

static te_ref reg_at(lp_buf *b, te_ref at) { return te_load(b->t, &at, 1); }

static lp_stmt *butterfly(th *t, te_op op, lp_buf *part, unsigned lanes) {
    te_ref zero = te_int(t->g, 0), one = te_int(t->g, 1);
    lp_stmt *all = NULL;
    if (!lanes) return NULL;
    lp_buf *peer = th_temp(t, "peer", (ll_dtype)part->t->dtype, LP_REG, &one, 1);
    for (int k = 4; k >= 0; k--) {
        if (!(lanes >> k & 1)) continue;
        lp_stmt *s = LL_NEW(te_arena(t->g), lp_stmt);
        s->kind = LP_SHUFFLE;
        s->u.shuffle.dst = peer;
        s->u.shuffle.src = part;
        s->u.shuffle.dst_at[0] = s->u.shuffle.src_at[0] = zero;
        s->u.shuffle.mask = 1 << k;
        all = lp_seq(all, s);
        all = lp_seq(all, lp_reduce(t->f, op, part, &zero, reg_at(peer, zero)));
    }
    return lp_alloc(t->f, peer, all);
}

static lp_stmt *barrier(th *t) {
    lp_stmt *s = LL_NEW(te_arena(t->g), lp_stmt);
    s->kind = LP_SYNC;
    s->u.sync.scope = LP_SHARED;
    return s;
}

/* part = op over the warps whose numbers differ in `warps`: every lane through its own place of
 * shared memory (one place a warp when all lanes hold the same), read in the order of the warps. */
static lp_stmt *across_warps(th *t, te_op op, lp_buf *part, unsigned warps, bool same, bool again) {
    te_graph *g = t->g;
    te_ref zero = te_int(g, 0), lane = te_modi(t->tid, TH_WARP), warp = te_divi(t->tid, TH_WARP);
    int n_warp = t->threads / TH_WARP, n = 1;
    int64_t lanes = same ? 1 : TH_WARP;
    for (int k = 0; 1 << k < n_warp; k++) n <<= warps >> k & 1;
    te_ref size = te_int(g, n_warp * lanes), w = th_axis(t, "warp", te_int(g, n)),
           peer = te_int(g, 0);
    int at = 0;
    for (int k = 0; 1 << k < n_warp; k++) {
        te_ref bit =
            warps >> k & 1 ? te_modi(te_divi(w, 1 << at++), 2) : te_modi(te_divi(warp, 1 << k), 2);
        peer = te_add(peer, te_muli(bit, 1 << k));
    }
    lp_buf *place = th_temp(t, "warps", (ll_dtype)part->t->dtype, LP_SHARED, &size, 1);
    te_ref mine = same ? warp : te_add(te_muli(warp, lanes), lane);
    te_ref from = same ? peer : te_add(te_muli(peer, lanes), lane);
    mine = te_simplify(g, mine);
    lp_stmt *put = lp_store(t->f, place, &mine, reg_at(part, zero));
    if (same) put = lp_if(t->f, te_eq(lane, zero), put, NULL);
    lp_stmt *all = again ? lp_seq(barrier(t), put) : put;
    all = lp_seq(all, barrier(t));
    te_ref first = te_simplify(g, te_subst(g, from, &w, &zero, 1));
    all = lp_seq(all, lp_store(t->f, part, &zero, te_load(place->t, &first, 1)));
    te_ref w1 = th_axis(t, "warp", te_int(g, n - 1)), next = te_addi(w1, 1);
    from = te_simplify(g, te_subst(g, from, &w, &next, 1));
    lp_stmt *sum = lp_reduce(t->f, op, part, &zero, te_load(place->t, &from, 1));
    if (n > 1) all = lp_seq(all, lp_for(t->f, w1, LP_UNROLL, sum));
    return lp_alloc(t->f, place, all);
}

static te_ref identity_of(th *t, te_op op, ll_dtype type) {
    if (ll_dtype_is_float(type))
        return te_fconst(t->g, type,
                         op == TE_SUM    ? 0
                         : op == TE_MAXR ? -__builtin_inf()
                                         : __builtin_inf());
    int64_t lo, hi;
    ll_dtype_int_range(type, &lo, &hi);
    return te_iconst(t->g, type, op == TE_SUM ? 0 : op == TE_MAXR ? lo : hi);
}

static lp_stmt *update(leaf *l, te_ref value) {
    return l->s->kind == LP_STORE ? lp_store(l->t->f, l->b, l->idx, value)
                                  : lp_reduce(l->t->f, l->s->u.reduce.op, l->b, l->idx, value);
}

/* A reduction over lanes or warps: own elements, butterfly, warps, then into the target. */
static lp_stmt *reduction(leaf *l) {
    th *t = l->t;
    te_op op = l->s->u.reduce.op;
    te_ref one = te_int(t->g, 1), zero = te_int(t->g, 0);
    ll_dtype type = (ll_dtype)l->b->t->dtype;
    lp_buf *part = th_temp(t, l->b->t->name, type, LP_REG, &one, 1);
    int guards = l->n_guard;
    l->n_guard = 0; /* who owns the target is asked behind the shuffles */
    lp_stmt *own = lp_reduce(t->f, op, part, &zero, l->value);
    te_ref cond = th_varying(l, true);
    if (cond) own = lp_if(t->f, cond, own, NULL);
    l->n_guard = guards;
    bool looped = t->in_loop;
    for (int i = 0; i < l->n; i++)
        looped = looped || (is_loop(&l->piece[i]) && !l->piece[i].reduced && l->piece[i].n_loop);
    lp_stmt *all = lp_store(t->f, part, &zero, identity_of(t, op, type));
    all = lp_seq(all, th_wrapped(l, with_shuffles(l, own), true));
    all = lp_seq(all, butterfly(t, op, part, l->r_lanes));
    if (l->r_warps) {
        bool same = (l->r_lanes & (TH_WARP - 1)) == TH_WARP - 1;
        all = lp_seq(all, across_warps(t, op, part, l->r_warps, same, looped));
    }
    lp_stmt *into = update(l, reg_at(part, zero));
    cond = th_varying(l, false);
    if (cond) into = lp_if(t->f, cond, into, NULL);
    return th_wrapped(l, lp_alloc(t->f, part, lp_seq(all, into)), false);
}

static void mark_reduced(leaf *l) {
    for (int i = 0; i < l->n; i++) {
        piece *p = &l->piece[i];
        if (is_loop(p)) {
            bool target = false;
            for (int k = 0; k < p->n_loop; k++) target = target || in_target(l, p->loop[k]);
            if (!target && !(p->over_regs && !p->reduced)) p->reduced = true;
        } else {
            p->reduced = uses_reduced(l, p->s->kind == LP_LET ? p->value : p->cond);
        }
    }
}

leaf *th_leaf_begin(nest *w, const lp_stmt *s) {
    th *t = w->t;
    leaf *l = LL_NEW(te_arena(t->g), leaf);
    bool sum = s->kind == LP_REDUCE;
    *l = (leaf){.w = w, .t = t, .s = s, .b = sum ? s->u.reduce.buf : s->u.store.buf, .n = w->n};
    for (int i = 0; i < w->n; i++) l->piece[i].s = w->path[i].s;
    for (int i = 0; i < l->b->t->ndim; i++)
        l->idx[i] = te_simplify(t->g, sum ? s->u.reduce.idx[i] : s->u.store.idx[i]);
    l->value = te_simplify(t->g, sum ? s->u.reduce.value : s->u.store.value);
    return l;
}

lp_stmt *th_leaf(nest *w, const lp_stmt *s) {
    th *t = w->t;
    lp_stmt *matrices = th_ldmatrix(w, s);
    if (matrices) return matrices;
    leaf *l = th_leaf_begin(w, s);
    bool sum = s->kind == LP_REDUCE;
    bool held = th_distributed(l->b), memory = l->b->scope != LP_REG;
    te_ref lead = leading_read(l);
    if (held)
        th_bind_loops(l, l->b, l->idx, false);
    else if (memory && lead)
        th_bind_loops(l, lp_buf_of(t->f, lead->u.t), lead->src, false);
    if (sum && lead) {
        th_digit d[LP_MAX_DIGIT]; /* what the target's layout names is not free for the sum */
        int n = held ? th_digits(t, l->b, d) : 0;
        for (int i = 0; i < n; i++)
            if (across(&d[i]) && d[i].size > 1)
                *(d[i].place == LP_AT_WARP ? &l->warps : &l->lanes) |= bits_of(&d[i]);
        lead = leading_read(l);
        th_bind_loops(l, lp_buf_of(t->f, lead->u.t), lead->src, true);
    }
    th_free_loops(l);
    lead = leading_read(l);
    if (held)
        guard_holder(l, l->b, l->idx, false);
    else if (memory && lead)
        guard_holder(l, lp_buf_of(t->f, lead->u.t), lead->src, true);
    else if (memory)
        add_guard(l, te_eq(t->me, te_int(t->g, 0)));
    if (t->code) return NULL;
    mark_reduced(l);
    l->value = localised(t, l->value, s, l);
    for (int i = 0; i < w->n; i++)
        if (l->piece[i].s->kind == LP_LET)
            l->piece[i].value = localised(t, l->piece[i].value, s, NULL);
    if (held) {
        l->idx[0] = th_register_of(t, l->b, l->idx);
        l->b = th_registers(t, l->b);
        for (int i = 1; i < TE_MAX_DIM; i++) l->idx[i] = NULL;
    }
    if (t->code) return NULL;
    if (l->r_lanes || l->r_warps) return reduction(l);
    for (int i = 0; i < l->n; i++) l->piece[i].reduced = false;
    lp_stmt *body = update(l, l->value);
    te_ref cond = th_varying(l, true);
    if (cond) body = lp_if(t->f, cond, body, NULL);
    return th_wrapped(l, with_shuffles(l, body), false);
}

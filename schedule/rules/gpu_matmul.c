/* gpu_matmul.c: kernels round sums over rows of constant matrices, on a GPU. A block makes a tile
 * of columns.
 *
 * One row: the weights stream once. A warp has a share of the tile's columns; its lanes share out
 * the terms in pieces that lie side by side in memory. No barrier in the loop:
 *
 *   for tile @block.x {
 *     [what all blocks read, recomputed by each: norm ..., in shared memory]
 *     alloc reg acc.rf[32, tile] layout(32@lane.1 | 4@warp.1 ...@reg.1)
 *     for n { for lane { for k.o { for k.v { acc.rf[lane, n] += x * w } } } }
 *     for n { for lane { acc[n] += acc.rf[lane, n] } }                       shuffles
 *     [local stages, elements over threads] }
 *
 * Many rows: a tile of rows and columns, its sums in the registers of all threads, rows of x and of
 * the decoded weights in shared memory:
 *
 *   for row tile @block.y { for tile @block.x {
 *     for k.o { xs = ..; ws = ..; sync; for k.i { for m { for n { acc[m, n] += xs[m, k] * ws[n, k]
 * } } } } } } */
#include <stdio.h>
#include <string.h>

#include "schedule/prim.h"
#include "schedule/rules/rules.h"

enum { WARPS = 4, ROWS = 16, MAX_STEP = 32, MAX_GROUP = 64 };

static const char *row_name(const te_tensor *y) { return y->axis[0]->u.axis->name; }
static const char *col_name(const te_tensor *y) { return y->axis[1]->u.axis->name; }
static const char *sum_name(const te_tensor *y) { return y->body->src[1]->u.axis->name; }

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

/* ---- which matrix a sum reads, and what else
 * ----------------------------------------------------- */

typedef struct reads {
    const rule_kernel *k;
    const rule_weight *w;
    const te_tensor *other[8]; /* read along the sum: rows of x */
    int n_other;
    te_ref sum;
} reads;

static bool note_read(te_ref e, void *p) {
    reads *f = p;
    if (e->op != TE_LOAD) return true;
    const te_tensor *t = e->u.t->kind == TE_PLANE ? e->u.t->base : e->u.t;
    for (int i = 0; i < f->k->n_weight; i++)
        if (f->k->weight[i].t == t) {
            f->w = &f->k->weight[i];
            return false;
        }
    for (int i = 0; i < f->n_other; i++)
        if (f->other[i] == t) return true;
    if (te_uses(e, f->sum) && f->n_other < 8) f->other[f->n_other++] = t;
    return true;
}

static reads reads_of(const rule_kernel *k, const te_tensor *y) {
    reads f = {.k = k, .sum = y->body->src[1]};
    te_walk(y->body->src[0], note_read, &f);
    return f;
}

/* ---- one row
 * --------------------------------------------------------------------------------------- */

/* Columns that a lane takes at a time: what its codes' widest plane fills 16 bytes with, or a unit.
 */
static int64_t piece_of(gpu *u, const rule_weight *w, int64_t terms) {
    int bits = 1;
    for (int i = 0; i < (w->t->quant ? w->t->n_plane : 1); i++) {
        const te_tensor *p = w->t->quant ? w->t->plane[i] : w->t;
        bool codes = !w->t->quant || p->shape[1] == w->t->shape[1];
        if (codes && ll_dtype_bits((ll_dtype)p->dtype) > bits)
            bits = ll_dtype_bits((ll_dtype)p->dtype);
    }
    int64_t n = u->s->target->vector_bytes * 8 / bits;
    return gcd(n < MAX_STEP ? n : MAX_STEP, terms);
}

/* Columns of the tile that acc is placed for. */
static int64_t tile_columns(gpu *u, const te_tensor *y, const char *acc) {
    int64_t n = rule_const_extent(rule_loop_var(u->s, "%s.%s", acc, col_name(y)));
    return n ? n : 1;
}

static ll_code sum_one_row(gpu *u, const te_tensor *y, const char *acc, const char *outer) {
    sch *s = u->s;
    reads f = reads_of(u->k, y);
    if (!f.w)
        return ll_fail(u->err, LL_FAILED, "%s: no packing for the matrix of %s", s->fn->name, acc);
    const char *k = ll_sprintf(te_arena(s->g), "%s.%s", acc, sum_name(y));
    int64_t terms = rule_const_extent(y->body->src[1]), piece = piece_of(u, f.w, terms);
    LL_TRY(rule_do(s, u->err, "at %s %s reg", acc, outer));
    if (piece > 1) {
        LL_TRY(rule_do(s, u->err, "split %s %lld %s.c %s.v", k, (long long)piece, k, k));
    }
    const char *c = piece > 1 ? ll_sprintf(te_arena(s->g), "%s.c", k) : k;
    LL_TRY(rule_do(s, u->err, "split %s %d %s.o %s.l", c, GPU_WARP, k, k));
    LL_TRY(rule_do(s, u->err, "reorder %s.l %s.o", k, k));
    LL_TRY(rule_do(s, u->err, "rfactor %s.l", k));
    LL_TRY(rule_do(s, u->err, "scope %s.rf reg", acc));
    long long warps = gcd(WARPS, tile_columns(u, y, acc));
    LL_TRY(rule_do(s, u->err, "layout %s.rf layout(%d@lane.1 | - | %lld@warp.1 ...@reg.1)", acc,
                   GPU_WARP, warps));
    return rule_do(s, u->err, "layout %s layout(- | %lld@warp.1 ...@reg.1)", acc, warps);
}

/* ---- many rows
 * ------------------------------------------------------------------------------------- */

static ll_code sum_many_rows(gpu *u, const te_tensor *y, const char *acc, const char *outer) {
    sch *s = u->s;
    reads f = reads_of(u->k, y);
    if (!f.w)
        return ll_fail(u->err, LL_FAILED, "%s: no packing for the matrix of %s", s->fn->name, acc);
    const char *k = ll_sprintf(te_arena(s->g), "%s.%s", acc, sum_name(y));
    int64_t terms = rule_const_extent(y->body->src[1]), step = gcd(MAX_STEP, terms);
    if (step < 8 && terms <= 4 * MAX_STEP) step = terms;
    LL_TRY(rule_do(s, u->err, "at %s %s reg", acc, outer));
    LL_TRY(rule_do(s, u->err, "split %s %lld", k, (long long)step));
    LL_TRY(rule_do(s, u->err, "reorder %s.o %s.i %s.%s %s.%s", k, k, acc, row_name(y), acc,
                   col_name(y)));
    int64_t cols = tile_columns(u, y, acc), across = gcd(8, cols),
            warps = gcd(WARPS, cols / across);
    int64_t down = GPU_WARP / across < ROWS ? GPU_WARP / across : ROWS,
            regs = cols / (across * warps);
    LL_TRY(rule_do(
        s, u->err,
        "layout %s layout(%lld@lane.%lld ...@reg.%lld | %lld@lane.1 %lld@warp.1 ...@reg.1)", acc,
        (long long)down, (long long)across, (long long)regs, (long long)across, (long long)warps));
    LL_TRY(rule_do(s, u->err, "cache_read %s %s %s.o shared name=%s.w", f.w->t->name, acc, k, acc));
    gpu_stage(u, ll_sprintf(te_arena(s->g), "%s.w", acc), NULL);
    for (int i = 0; i < f.n_other; i++) {
        const char *name = ll_sprintf(te_arena(s->g), "%s.x%d", acc, i);
        if (!rule_try(s, "cache_read %s %s %s.o shared name=%s", f.other[i]->name, acc, k, name))
            continue;
        gpu_stage(u, name, NULL);
    }
    return LL_OK;
}

/* ---- groups
 * ------------------------------------------------------------------------------------------ */

/* Columns of a stage: its axes behind the row, as one loop; its name. */
static ll_code column_loop(gpu *u, te_tensor *t, const char **loop, int64_t *cols) {
    sch *s = u->s;
    const char *name = rule_axis_loop(s, t, 1);
    *cols = rule_const_extent(t->axis[1]);
    for (int i = 2; i < t->n_axis; i++) {
        const char *flat = ll_sprintf(te_arena(s->g), "%s.c%d", t->name, i);
        LL_TRY(rule_do(s, u->err, "fuse %s %s %s", name, rule_axis_loop(s, t, i), flat));
        *cols *= rule_const_extent(t->axis[i]);
        name = flat;
    }
    *loop = name;
    return LL_OK;
}

/* One output: its loop over tiles of columns, and with many rows the loop over row tiles round it.
 */
static ll_code tile_output(gpu *u, te_tensor *t, int64_t per, const char **cols,
                           const char **rows) {
    sch *s = u->s;
    const char *loop, *row = rule_axis_loop(s, t, 0);
    int64_t c;
    LL_TRY(column_loop(u, t, &loop, &c));
    if (per > c) per = c;
    LL_TRY(rule_do(s, u->err, "split %s %lld %s.to %s.ti", loop, (long long)per, t->name, t->name));
    *cols = ll_sprintf(te_arena(s->g), "%s.to", t->name);
    *rows = NULL;
    if (u->k->one_row) return LL_OK;
    LL_TRY(rule_do(s, u->err, "split %s %d", row, ROWS));
    *rows = ll_sprintf(te_arena(s->g), "%s.o", row);
    return rule_do(s, u->err, "reorder %s %s.i", *cols, row);
}

static int64_t group_columns(const rule_kernel *k, int g) {
    for (int i = 0; i < k->n_stage; i++)
        if (k->stage[i].group == g && k->stage[i].contraction)
            return rule_const_extent(k->stage[i].t->axis[1]);
    return 0;
}

static int64_t columns_of(const te_tensor *t) {
    int64_t n = 1;
    for (int i = 1; i < t->n_axis; i++) n *= rule_const_extent(t->axis[i]);
    return n;
}

/* The outputs of group g in one loop over tiles (cols) in one loop over row tiles (rows). */
static ll_code group_outputs(gpu *u, int g, const char **cols, const char **rows) {
    sch *s = u->s;
    const rule_kernel *k = u->k;
    int64_t all = group_columns(k, g), tile = k->tile[g];
    *cols = *rows = NULL;
    for (int i = 0; i < k->n_stage; i++) {
        const rule_stage *st = &k->stage[i];
        if (st->group != g || (!st->root && !st->contraction)) continue;
        te_tensor *t = st->t;
        if (st->contraction) LL_TRY(rule_do(s, u->err, "cache_write %s reg", t->name));
        if (!st->root) continue;
        if (k->one_row) LL_TRY(rule_do(s, u->err, "unit %s", rule_axis_loop(s, t, 0)));
        int64_t per = columns_of(t) * tile / all;
        const char *c, *r;
        if (columns_of(t) * tile % all || per < 1)
            return ll_fail(u->err, LL_UNSUPPORTED,
                           "%s: %lld columns of %s do not go with tiles of %lld of %lld",
                           s->fn->name, (long long)columns_of(t), t->name, (long long)tile,
                           (long long)all);
        LL_TRY(tile_output(u, t, per, &c, &r));
        if (*rows)
            LL_TRY(rule_do(s, u->err, "merge %s %s", *rows, r));
        else
            *rows = r;
        if (*cols)
            LL_TRY(rule_do(s, u->err, "merge %s %s", *cols, c));
        else
            *cols = c;
    }
    if (!*cols) return ll_fail(u->err, LL_FAILED, "%s: group %d has no output", s->fn->name, g);
    return LL_OK;
}

static ll_code group_stages(gpu *u, int g, const char *outer) {
    sch *s = u->s;
    const rule_kernel *k = u->k;
    for (int i = k->n_stage - 1; i >= 0; i--) {
        const rule_stage *st = &k->stage[i];
        if (st->group != g) continue;
        if (!st->root) LL_TRY(rule_do(s, u->err, "at %s %s shared", st->t->name, outer));
        if (!st->contraction) continue;
        const char *acc = ll_sprintf(te_arena(s->g), "%s.c", st->t->name);
        LL_TRY(k->one_row ? sum_one_row(u, st->t, acc, outer)
                          : sum_many_rows(u, st->t, acc, outer));
    }
    for (int i = 0; i < k->n_stage; i++) /* the copies out of registers are their holders' */
        if (k->stage[i].group == g && !k->stage[i].contraction)
            gpu_stage(u, k->stage[i].t->name, outer);
    return LL_OK;
}

/* What every block computes for itself, in shared memory. */
static ll_code prologue(gpu *u, const char *outer) {
    const rule_kernel *k = u->k;
    for (int i = k->n_stage - 1; i >= 0; i--)
        if (k->stage[i].prologue)
            LL_TRY(rule_do(u->s, u->err, "at %s %s shared", k->stage[i].t->name, outer));
    for (int i = 0; i < k->n_stage; i++)
        if (k->stage[i].prologue) gpu_stage(u, k->stage[i].t->name, outer);
    return LL_OK;
}

ll_code gpu_matmul(gpu *u) {
    sch *s = u->s;
    const rule_kernel *k = u->k;
    const char *cols[MAX_GROUP], *rows[MAX_GROUP];
    if (k->n_group > MAX_GROUP)
        return ll_fail(u->err, LL_UNSUPPORTED, "%s: %d groups", s->fn->name, k->n_group);
    for (int g = 0; g < k->n_group; g++) LL_TRY(group_outputs(u, g, &cols[g], &rows[g]));
    for (int g = 1; g < k->n_group && rows[0]; g++) { /* in the order in which they stand */
        if (rule_try(s, "merge %s %s", rows[0], rows[g])) continue;
        LL_TRY(rule_do(s, u->err, "merge %s %s", rows[g], rows[0]));
        rows[0] = rows[g];
    }
    for (int g = 0; g < k->n_group; g++) LL_TRY(group_stages(u, g, cols[g]));
    const char *tiles = cols[0];
    LL_TRY(gpu_settle(u));
    if (k->n_group > 1) {
        char line[2048];
        int at = snprintf(line, sizeof line, "union");
        for (int g = 0; g < k->n_group; g++)
            at += snprintf(line + at, sizeof line - (size_t)at, " %s", cols[g]);
        LL_TRY(rule_do(s, u->err, "%s name=parts how=block.x", line));
        tiles = "parts";
    }
    LL_TRY(prologue(u, tiles));
    LL_TRY(gpu_settle(u));
    if (k->n_group == 1) LL_TRY(rule_do(s, u->err, "bind %s block.x", tiles));
    return rows[0] ? rule_do(s, u->err, "bind %s block.y", rows[0]) : LL_OK;
}

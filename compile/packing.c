/* packing.c: see packing.h. */
#include "compile/packing.h"

#include <stdio.h>
#include <string.h>

#include "base/ckd.h"

enum { PREFERRED_GROUP = 4, PREFERRED_UNIT = 32 };

static int memory_bits(ll_dtype t)
{
    int b = ll_dtype_bits(t); /* widths that do not divide a byte take one */
    return b == 1 || b == 2 || b == 4 ? b : (b + 7) / 8 * 8;
}

/* U: columns worked on at a time: whole scales of every plane that has several in a superblock, so
 * a multiple of what each of them covers; of those that divide S the least that is a round number
 * or more. S itself always is one. Rows keep their scales apart: any unit will do. */
static int choose_unit(const cc_packing *p, bool by_row)
{
    int best = 0;
    for (int u = 1; u <= p->super; u++) {
        bool ok = p->super % u == 0 && (best < PREFERRED_UNIT);
        for (int i = 0; i < p->n_plane && ok && !by_row; i++)
            if (p->plane[i].cover < p->super) ok = u % p->plane[i].cover == 0;
        if (ok) best = u;
    }
    return best;
}

static void place_code(cc_packing *p, cc_plane_place *c, int64_t *at)
{
    int groups = p->unit / p->group, most = c->bits < 8 ? 8 / c->bits : 1;
    c->slots = (groups + most - 1) / most;
    while (groups % c->slots) c->slots++;
    c->per_byte = groups / c->slots;
    c->offset = *at * 8;
    *at += (int64_t)c->slots * p->group * (c->bits < 8 ? 1 : c->bits / 8) * p->rows;
}

/* Offsets inside a superblock: what covers it, then what covers less, unit by unit, then the codes. */
static void place_planes(cc_packing *p)
{
    int units = p->super / p->unit;
    int64_t at = 0, per_unit = 0, unit_codes = 0;
    for (int i = 0; i < p->n_plane; i++)
        if (p->plane[i].cover == p->super && p->super > 1) {
            p->plane[i].offset = at * 8;
            at += (int64_t)p->plane[i].bits * p->rows / 8;
        }
    for (int i = 0; i < p->n_plane; i++)
        if (p->plane[i].cover > 1 && p->plane[i].cover < p->super) {
            p->plane[i].offset = (at + per_unit) * 8;
            per_unit += (int64_t)(p->unit / p->plane[i].cover) * p->plane[i].bits * p->rows / 8;
        }
    int64_t codes = at + per_unit * units;
    for (int i = 0; i < p->n_plane; i++)
        if (p->plane[i].cover == 1 && (p->super > 1 || p->n_plane == 1)) {
            place_code(p, &p->plane[i], &unit_codes);
            p->plane[i].offset += codes * 8;
        }
    for (int i = 0; i < p->n_plane; i++) p->plane[i].unit_stride = (p->plane[i].cover == 1 ? unit_codes : per_unit) * 8;
    p->super_bytes = codes + unit_codes * units;
}

/* Rows of planes (see packing.h): each plane's run of a row starts at a piece's edge. */
static void place_rows(cc_packing *p)
{
    int64_t at = 0, edge = p->piece;
    for (int scales = 1; scales >= 0; scales--)
        for (int i = 0; i < p->n_plane; i++) {
            cc_plane_place *c = &p->plane[i];
            if ((c->cover > 1) != scales) continue;
            if (scales) {
                c->offset = at * 8;
                at += p->super / c->cover * c->bits / 8;
            } else {
                int64_t unit = 0, run = at;
                place_code(p, c, &unit);
                c->offset = run * 8;
                c->unit_stride = unit * 8;
                at += unit * (p->super / p->unit);
            }
            at = (at + edge - 1) / edge * edge;
        }
    p->super_bytes = at;
}

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

int cc_lanes(const ll_target *t) { return t->vector_bytes >= 64 ? 16 : 8; }

ll_code cc_packing_make(const te_quant *q, ll_dtype plain, int64_t rows, int64_t cols, const ll_target *t,
                        cc_packing *p, ll_error *err)
{
    *p = (cc_packing){.n_rows = rows, .n_cols = cols, .n_plane = q ? q->n_plane : 1};
    int64_t super = 1;
    for (int i = 0; i < p->n_plane; i++) {
        cc_plane_place *c = &p->plane[i];
        p->dtype[i] = q ? q->plane[i].dtype : plain;
        c->bits = memory_bits(p->dtype[i]);
        c->cover = q ? q->block / q->plane[i].count : 1;
        super = super / gcd(super, c->cover) * c->cover; /* divides the block, as each cover does */
    }
    bool by_row = t->kind == LL_CUDA;
    if (super == 1 && cols % PREFERRED_GROUP == 0) super = q ? q->block : PREFERRED_GROUP;
    if (cols % super)
        return ll_fail(err, LL_BAD_INPUT, "a row of %lld elements is not a multiple of the block of %lld", (long long)cols, (long long)super);
    if (by_row && cols > INT32_MAX)
        return ll_fail(err, LL_UNSUPPORTED, "a row of %lld elements", (long long)cols);
    if (by_row) super = cols;
    p->super = (int)super;
    p->unit = choose_unit(p, by_row);
    p->group = p->unit % PREFERRED_GROUP ? 1 : PREFERRED_GROUP;
    p->piece = by_row ? t->vector_bytes : 0;
    p->lanes = by_row ? 1 : cc_lanes(t);
    p->rows = by_row ? 1 : CC_PANEL_VECTORS * p->lanes;
    if (by_row) place_rows(p);
    else place_planes(p);
    int64_t panels = (rows + p->rows - 1) / p->rows;
    if (!ll_mul_i64(p->super_bytes, cols / super, &p->panel_bytes) || !ll_mul_i64(p->panel_bytes, panels, &p->bytes))
        return ll_fail(err, LL_BAD_INPUT, "a weight of %lld x %lld is too large", (long long)rows, (long long)cols);
    snprintf(p->name, sizeof p->name, "rows%d lanes%d unit%d super%d", p->rows, p->lanes, p->unit, p->super);
    return LL_OK;
}

static void digit(lp_layout *l, te_graph *g, int dim, int64_t size, int64_t stride)
{
    if (size == 1) return;
    l->digit[l->n_digit++] = (lp_digit){.dim = (uint8_t)dim, .place = LP_AT_ADDR, .size = size, .stride = te_int(g, stride)};
}

lp_layout *cc_packing_layout(const cc_packing *p, te_graph *g, int plane)
{
    lp_layout *l = LL_NEW(te_arena(g), lp_layout);
    const cc_plane_place *c = &p->plane[plane];
    int units = p->super / p->unit;
    l->offset = c->offset;
    if (c->cover > 1) {
        digit(l, g, 0, p->rows, c->bits);
        digit(l, g, 0, 0, p->panel_bytes * 8);
        if (p->piece) {
            digit(l, g, 1, p->super / c->cover, c->bits);
        } else if (c->cover < p->super) {
            digit(l, g, 1, p->unit / c->cover, (int64_t)c->bits * p->rows);
            digit(l, g, 1, units, c->unit_stride);
        }
        digit(l, g, 1, 0, p->super_bytes * 8);
        return l;
    }
    int64_t cell = c->bits < 8 ? 8 : c->bits, vector = cell * p->group * p->lanes;
    digit(l, g, 0, p->lanes, cell * p->group);
    digit(l, g, 0, p->rows / p->lanes, vector * c->slots);
    digit(l, g, 0, 0, p->panel_bytes * 8);
    digit(l, g, 1, p->group, cell);
    digit(l, g, 1, c->slots, vector);
    digit(l, g, 1, c->per_byte, c->bits);
    digit(l, g, 1, units, c->unit_stride);
    digit(l, g, 1, 0, p->super_bytes * 8);
    return l;
}

/* pack_program.c: see pack_program.h. */
#include "compile/pack_program.h"

#include <string.h>

enum { MAX_PANELS = 1 << 24, MAX_SUPERS = 1 << 24 };

typedef struct program {
    te_graph *g;
    const cc_packing *p;
    const te_quant *file;
    te_ref panels, supers, rows; /* dims */
    te_tensor *bytes;
    te_tensor *out[TE_MAX_PLANE];
    lp_layout *layout[TE_MAX_PLANE]; /* of out */
} program;

/* A digit of the plane's layout that is an axis of its definition. */
typedef struct axis {
    te_ref var, weight; /* its part of the plane's index: var * weight */
    te_ref stride;      /* bits                                        */
    int dim;
} axis;

typedef struct plane {
    axis outer[LP_MAX_DIGIT];
    lp_digit inner[LP_MAX_DIGIT]; /* inside a byte */
    int64_t inner_weight[LP_MAX_DIGIT];
    int n_outer, n_inner;
} plane;

static bool inside_byte(const lp_digit *d) { return d->size && d->stride->u.i < 8; }

/* The rest of the rows are panels, the rest of the columns superblocks; only their counts depend on
 * the matrix. */
static axis outer_axis(program *w, const lp_digit *d, int64_t weight, int number) {
    static const char *const rest[] = {"panel", "super"};
    te_graph *g = w->g;
    te_ref extent = d->size ? te_int(g, d->size) : d->dim ? w->supers : w->panels;
    te_ref stride = d->stride;
    if (!d->size && !d->dim) stride = te_muli(w->supers, w->p->super_bytes * 8);
    char name[16] = "a";
    name[0] = (char)('a' + number);
    return (axis){te_axis(g, d->size ? name : rest[d->dim], extent), te_int(g, weight), stride,
                  d->dim};
}

static bool further_out(const axis *a, const axis *b) {
    if (a->stride->op != TE_INT || b->stride->op != TE_INT) return a->stride->op != TE_INT;
    return a->stride->u.i > b->stride->u.i;
}

/* Axes in the order of memory, the one with the longest stride first. */
static void insert(plane *l, axis a) {
    int at = l->n_outer++;
    for (; at > 0 && further_out(&a, &l->outer[at - 1]); at--) l->outer[at] = l->outer[at - 1];
    l->outer[at] = a;
}

static plane digits_of(program *w, const lp_layout *l) {
    plane out = {0};
    int64_t weight[2] = {1, 1};
    for (int i = 0; i < l->n_digit; i++) {
        const lp_digit *d = &l->digit[i];
        if (inside_byte(d)) {
            out.inner_weight[out.n_inner] = weight[d->dim];
            out.inner[out.n_inner++] = *d;
        } else {
            insert(&out, outer_axis(w, d, weight[d->dim], i));
        }
        weight[d->dim] *= d->size;
    }
    return out;
}

/* The element with index `i` along the row, from the bytes of its block. */
static te_ref element(program *w, int p, te_ref row, te_ref i) {
    te_ref v = te_quant_from_file(w->g, w->file, p, w->bytes, row, i);
    return te_is_poison(v) || ll_dtype_bits((ll_dtype)v->dtype) % 8 == 0 ? v : te_cast(LL_U8, v);
}

/* Codes that share a byte, one for each value of the digits inside it. */
static te_ref cell(program *w, int p, const plane *l, te_ref row, te_ref col) {
    if (!l->n_inner) return element(w, p, row, col);
    int64_t count = 1;
    for (int i = 0; i < l->n_inner; i++) count *= l->inner[i].size;
    te_ref all = NULL;
    for (int64_t c = 0; c < count; c++) {
        int64_t rest = c, shift = 0, at[2] = {0, 0};
        for (int i = 0; i < l->n_inner; i++) {
            int64_t v = rest % l->inner[i].size;
            rest /= l->inner[i].size;
            shift += v * l->inner[i].stride->u.i;
            at[l->inner[i].dim] += v * l->inner_weight[i];
        }
        te_ref code = te_cast(LL_U8, element(w, p, te_addi(row, at[0]), te_addi(col, at[1])));
        if (shift) code = te_binary(TE_SHL, code, te_iconst(w->g, LL_U8, shift));
        all = all ? te_binary(TE_OR, all, code) : code;
    }
    return all;
}

static te_ref zero_like(te_graph *g, te_ref v) {
    ll_dtype t = (ll_dtype)v->dtype;
    return ll_dtype_is_float(t) ? te_fconst(g, t, 0) : te_iconst(g, t, 0);
}

static void define(program *w, int p) {
    te_graph *g = w->g;
    const lp_layout *from = cc_packing_layout(w->p, g, p);
    plane l = digits_of(w, from);
    te_ref index[2] = {te_int(g, 0), te_int(g, 0)}, var[LP_MAX_DIGIT];
    lp_layout *to = w->layout[p] = LL_NEW(te_arena(g), lp_layout);
    to->offset = from->offset;
    for (int i = 0; i < l.n_outer; i++) {
        axis *a = &l.outer[i];
        var[i] = a->var;
        index[a->dim] = te_add(index[a->dim], te_mul(a->var, a->weight));
        to->digit[to->n_digit++] =
            (lp_digit){.dim = (uint8_t)i, .place = LP_AT_ADDR, .stride = a->stride};
    }
    te_ref v = cell(w, p, &l, index[0], index[1]);
    if (!te_is_poison(v)) v = te_select(te_lt(index[0], w->rows), v, zero_like(g, v));
    const char *name = ll_sprintf(te_arena(g), "out.%s", w->file->plane[p].name);
    w->out[p] = te_def_(__FILE__, __LINE__, g, name, v, var, l.n_outer);
}

static ll_code make_definitions(program *w, ll_error *err) {
    te_graph *g = w->g;
    int64_t block = w->file->block, super = w->p->super;
    w->panels = te_dim(g, "PANELS", 1, MAX_PANELS);
    w->supers = te_dim_multiple(g, "SUPERS", super < block ? block / super : 1, MAX_SUPERS,
                                super < block ? block / super : 1);
    w->rows = te_dim(g, "ROWS", 1, (int64_t)MAX_PANELS * w->p->rows);
    te_ref blocks =
        super < block ? te_divi(w->supers, block / super) : te_muli(w->supers, super / block);
    w->bytes = te_input(g, "file", LL_U8, te_muli(w->panels, w->p->rows), blocks,
                        te_int(g, w->file->bytes));
    for (int p = 0; p < w->p->n_plane && !te_error(g); p++) define(w, p);
    return te_error(g)
               ? ll_fail(err, te_error(g)->code, "packing %s: %s", w->file->name, te_error(g)->msg)
               : LL_OK;
}

/* One trace line; a refusal is the program's error. */
__attribute__((format(printf, 3, 4))) static ll_code do_line(sch *s, ll_error *err, const char *fmt,
                                                             ...) {
    ll_str line = {0};
    va_list ap;
    va_start(ap, fmt);
    ll_str_vaddf(&line, fmt, ap);
    va_end(ap);
    ll_code rc = sch_do(s, ll_str_cstr(&line));
    if (rc != LL_OK)
        ll_fail(err, LL_FAILED, "packing program: %s: %s", ll_str_cstr(&line), s->error.msg);
    ll_str_finish(&line);
    return rc;
}

static ll_code schedule(program *w, sch *s, ll_error *err) {
    ll_str text = {0}, loops = {0};
    ll_code rc = LL_OK;
    for (int p = 0; p < w->p->n_plane && rc == LL_OK; p++) {
        ll_str_clear(&text);
        lp_layout_print(&text, w->layout[p]);
        rc = do_line(s, err, "layout %s %s", w->out[p]->name, ll_str_cstr(&text));
        ll_str_addf(&loops, " %s.panel", w->out[p]->name);
    }
    if (rc == LL_OK && w->p->n_plane > 1) rc = do_line(s, err, "merge%s", ll_str_cstr(&loops));
    if (rc == LL_OK) rc = do_line(s, err, "claim %s.panel", w->out[0]->name);
    ll_str_finish(&text);
    ll_str_finish(&loops);
    return rc;
}

sch *cc_pack_program(const cc_packing *p, const te_quant *file, const ll_target *host, te_graph **g,
                     ll_error *err) {
    te_graph *before = te_graph_use(NULL);
    program w = {.g = te_graph_create(), .p = p, .file = file};
    sch *s = NULL;
    if (!w.g)
        ll_fail(err, LL_NO_SPACE, "no memory for a packing program");
    else if (make_definitions(&w, err) == LL_OK)
        s = sch_create(w.g, "pack", w.out, p->n_plane, host, err);
    if (s && schedule(&w, s, err) != LL_OK) {
        sch_destroy(s);
        s = NULL;
    }
    te_graph_use(before);
    if (!s && w.g) te_graph_destroy(w.g);
    *g = s ? w.g : NULL;
    return s;
}

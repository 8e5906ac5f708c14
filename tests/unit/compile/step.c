/* step.c: see step.h. */
#include "step.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t state;

static uint32_t next(void) {
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)(z >> 32);
}

mdl_model *step_model(const char *folder, const char *name) {
    char path[512];
    mdl_model *m;
    ll_error err = {0};
    snprintf(path, sizeof path, "%s/%s/model.gguf", folder, name);
    oracle_ok(mdl_open(path, &m, &err), &err);
    return m;
}

/* ---- constants ----------------------------------------------------------------------------- */

static void bind_plain(te_env *env, te_tensor *t, ll_dtype type, const void *mem, size_t n) {
    te_value *v = malloc((n + 1) * sizeof *v);
    ll_error e = {0};
    for (size_t i = 0; i < n; i++) te_value_load(type, mem, i, &v[i]);
    oracle_ok(te_env_bind(env, t, v, n, &e), &e);
    free(v);
}

static void bind_weights(step *s) {
    ll_error e = {0};
    for (size_t i = 0; i < s->mg->n_weight; i++) {
        const mdl_weight *w = &s->mg->weight[i];
        if (!w->data) {
            bind_plain(s->env, w->t, LL_F32, w->values, w->n_values);
            continue;
        }
        size_t n = (size_t)w->data->size;
        unsigned char *mem = malloc(n);
        oracle_ok(mdl_gguf_read(s->m->file, w->data, 0, mem, n, &e), &e);
        if (w->t->quant)
            oracle_bind_quant(s->env, w->t, mem, n);
        else
            bind_plain(s->env, w->t, w->data->type->dtype, mem, n / w->data->type->bytes);
        free(mem);
    }
}

/* ---- the step ------------------------------------------------------------------------------ */

static void bind_ints(step *s, te_tensor *t, const int64_t *v, int64_t n) {
    te_value *x = malloc(((size_t)n + 1) * sizeof *x);
    ll_error e = {0};
    for (int64_t i = 0; i < n; i++) x[i].i = v[i];
    oracle_ok(te_env_bind(s->env, t, x, (size_t)n, &e), &e);
    free(x);
}

enum { MAX_TOKENS = 128, MAX_PAGES = 64 };

/* Pages of the sequences in shuffled order; page 0 is nobody's. */
static void make_table(step *s, int64_t block, int64_t *table) {
    int64_t free_page[MAX_PAGES], n = 0, want = 0;
    for (int q = 0; q < s->shape.n_seq; q++) {
        int64_t pages = (s->shape.len[q] + block - 1) / block;
        want += pages;
        if (pages + 1 > s->PAGES) s->PAGES = pages + 1;
    }
    s->BLOCKS = want + 3;
    assert_in_range(s->BLOCKS, 1, MAX_PAGES);
    for (int64_t i = 1; i < s->BLOCKS; i++) free_page[n++] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t k = next() % (uint64_t)(i + 1), t = free_page[i];
        free_page[i] = free_page[k];
        free_page[k] = t;
    }
    for (int q = 0; q < s->shape.n_seq; q++)
        for (int64_t p = 0; p < s->PAGES; p++)
            table[q * s->PAGES + p] =
                p < (s->shape.len[q] + block - 1) / block ? free_page[--n] : 0;
}

static void bind_pools(step *s, int64_t block, const int64_t *table) {
    ll_error e = {0};
    for (size_t l = 0; l < 2 * s->mg->n_layer; l++) {
        te_tensor *pool = l % 2 ? s->mg->layer[l / 2].v_pool : s->mg->layer[l / 2].k_pool;
        int64_t row = pool->shape[2]->u.i * pool->shape[3]->u.i, n = s->BLOCKS * block * row;
        te_value *v = malloc((size_t)n * sizeof *v);
        for (int64_t i = 0; i < n; i++) v[i].f = NAN;
        for (int q = 0; q < s->shape.n_seq; q++)
            for (int64_t j = 0; j < s->shape.len[q] - s->shape.rows[q]; j++) {
                te_value *at = v + (table[q * s->PAGES + j / block] * block + j % block) * row;
                for (int64_t i = 0; i < row; i++) at[i].f = ((double)(next() % 4001) - 2000) / 1000;
            }
        oracle_ok(te_env_bind(s->env, pool, v, (size_t)n, &e), &e);
        free(v);
    }
}

static void make_items(step *s, int item_rows) {
    int row0 = 0;
    for (int q = 0; q < s->shape.n_seq; q++)
        for (int r = 0; r < s->shape.rows[q]; r += item_rows) {
            int n = s->shape.rows[q] - r < item_rows ? s->shape.rows[q] - r : item_rows;
            int first = s->shape.len[q] - s->shape.rows[q] + r;
            int32_t item[8] = {q, row0 + r, n, 0, first + n, first, 0, 1};
            assert_in_range(s->items, 0, 255);
            memcpy(s->item[s->items++], item, sizeof item);
            if (r + item_rows >= s->shape.rows[q]) row0 += s->shape.rows[q];
        }
}

static int64_t step_dim(void *p, const char *name) {
    const step *s = p;
    const struct {
        const char *name;
        int64_t v;
    } dim[] = {{"T", s->T},         {"S", s->S},           {"R", s->R},
               {"PAGES", s->PAGES}, {"BLOCKS", s->BLOCKS}, {"W.items", s->items}};
    for (size_t i = 0; i < sizeof dim / sizeof *dim; i++)
        if (!strcmp(dim[i].name, name)) return dim[i].v;
    fail_msg("a kernel reads a dim %s", name);
    return 0;
}

void step_open(step *s, const mdl_model *m, mdl_graph *mg, const step_shape *shape, int item_rows) {
    *s = (step){.m = m,
                .mg = mg,
                .env = te_env_create(mg->g),
                .shape = *shape,
                .S = shape->n_seq,
                .PAGES = 1};
    int64_t tokens[MAX_TOKENS], pos[MAX_TOKENS], seg[MAX_TOKENS], rows[MAX_TOKENS],
        start[STEP_MAX_SEQ + 1] = {0}, len[STEP_MAX_SEQ], table[STEP_MAX_SEQ * MAX_PAGES];
    ll_error e = {0};
    state = 42;
    for (int q = 0; q < shape->n_seq; q++) {
        for (int i = 0; i < shape->rows[q]; i++, s->T++) {
            assert_in_range(s->T, 0, MAX_TOKENS - 1);
            tokens[s->T] = next() % 300;
            pos[s->T] = shape->len[q] - shape->rows[q] + i;
            seg[s->T] = q;
        }
        start[q + 1] = s->T;
        len[q] = shape->len[q];
    }
    for (int64_t t = 0; t < s->T; t += 3) rows[s->R++] = t; /* some of the tokens */
    while (s->R % mg->options.multiple) rows[s->R++] = 0;   /* filled up as the engine does */
    make_table(s, mg->options.kv_block, table);
    make_items(s, item_rows);
    const te_ref dims[] = {mg->T, mg->S, mg->R, mg->PAGES, mg->BLOCKS};
    for (int i = 0; i < 5; i++)
        if (dims[i]->op == TE_DIM) {
            const char *name = dims[i]->u.dim->name;
            oracle_ok(te_env_dim(s->env, name, step_dim(s, name), &e), &e);
        }
    bind_ints(s, mg->tokens, tokens, s->T);
    bind_ints(s, mg->pos, pos, s->T);
    bind_ints(s, mg->seg, seg, s->T);
    bind_ints(s, mg->rows, rows, s->R);
    bind_ints(s, mg->start, start, s->S + 1);
    bind_ints(s, mg->len, len, s->S);
    bind_ints(s, mg->table, table, s->S * s->PAGES);
    bind_weights(s);
    bind_pools(s, mg->options.kv_block, table);
}

void step_close(step *s) { te_env_destroy(s->env); }

/* ---- what the oracle asks ------------------------------------------------------------------ */

static void packed(void *user, const te_tensor *w, unsigned char **out, size_t *n) {
    const step *s = user;
    ll_error e = {0};
    oracle_bytes b = {0};
    for (size_t i = 0; i < s->mg->n_weight; i++)
        if (s->mg->weight[i].t == w) {
            oracle_ok(cc_packer_weight(s->packer, s->m->file, &s->mg->weight[i], oracle_collect, &b,
                                       &e),
                      &e);
            *out = b.p, *n = b.n;
            return;
        }
    fail_msg("no constant %s", w->name);
}

oracle step_oracle(step *s) {
    return (oracle){s->mg->g, s->env, step_dim, packed, s, (const int32_t(*)[8])s->item, s->items};
}

/* Layouts: addresses, text, and the facts computed from them, each against brute force over every
 * element. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "schedule/layout.h"

static te_graph *g;

static int setup(void **state) {
    g = te_graph_create();
    return g == NULL;
}

static int teardown(void **state) {
    te_graph_destroy(g);
    return 0;
}

static lp_layout *parse(const char *text, int ndim) {
    ll_error err = {0};
    lp_layout *l = lp_layout_parse(g, text, ndim, &err);
    if (!l) fail_msg("%s", err.msg);
    return l;
}

static int64_t no_dim(te_ref e, void *ctx) {
    fail_msg("a stride that is no number");
    return 0;
}

static int64_t place_of(const lp_layout *l, lp_place p, const int64_t *idx) {
    return lp_layout_at_const(l, p, idx, no_dim, NULL);
}

/* The four places of an element as one number. */
static void places(const lp_layout *l, const int64_t *idx, int64_t out[4]) {
    for (int p = 0; p < 4; p++) out[p] = place_of(l, (lp_place)p, idx);
}

static int64_t count_of(const int64_t *extent, int ndim) {
    int64_t n = 1;
    for (int d = 0; d < ndim; d++) n *= extent[d];
    return n;
}

static void index_of(int64_t e, const int64_t *extent, int ndim, int64_t *idx) {
    for (int d = ndim - 1; d >= 0; d--) {
        idx[d] = e % extent[d];
        e /= extent[d];
    }
}

/* ---- addresses ------------------------------------------------------------------------------- */

static void a_dense_layout_counts_like_c(void **state) {
    te_ref shape[] = {te_int(g, 3), te_int(g, 5), te_int(g, 7)};
    const int64_t extent[] = {3, 5, 7};
    lp_layout *l = lp_layout_dense(g, shape, 3, 4);
    for (int64_t e = 0; e < 105; e++) {
        int64_t idx[3];
        index_of(e, extent, 3, idx);
        assert_int_equal(place_of(l, LP_AT_ADDR, idx), e * 4);
    }
    assert_true(te_is_int(lp_layout_bits(g, l, shape, 3, 4), 420));
    assert_true(lp_layout_injective(l, shape, 3, 4));
}

static void the_expression_of_an_address_is_the_address(void **state) {
    const char *text[] = {"layout(16@32 ...@4096 | 4@8 4@512 2@4 ...@8192)",
                          "layout(...@512 | ...@16; xor 2 bits 10 -> 7)",
                          "layout(8@lane.4 2@reg.2 ...@warp.1 | 2@reg.1 4@lane.1 ...@reg.4)",
                          "layout(- | ...@24; offset 48)", "layout(3@7 ...@100 | 5@21 ...@1000)"};
    const int64_t extent[] = {40, 70};
    for (int k = 0; k < 5; k++) {
        lp_layout *l = parse(text[k], 2);
        te_ref i = te_axis(g, "i", te_int(g, 40)), j = te_axis(g, "j", te_int(g, 70)),
               idx_expr[] = {i, j};
        for (int p = 0; p < 4; p++) {
            te_ref at = lp_layout_at(g, l, (lp_place)p, idx_expr);
            for (int64_t e = 0; e < count_of(extent, 2); e += 3) {
                int64_t idx[2];
                index_of(e, extent, 2, idx);
                te_ref from[] = {i, j}, to[] = {te_int(g, idx[0]), te_int(g, idx[1])};
                assert_true(te_is_int(te_simplify(g, te_subst(g, at, from, to, 2)),
                                      place_of(l, (lp_place)p, idx)));
            }
        }
    }
}

static void strides_may_be_expressions_over_dims(void **state) {
    te_ref K = te_dim_multiple(g, "K", 32, 4096, 32), N = te_dim(g, "N", 1, 4096), shape[] = {N, K};
    lp_layout *l = parse("layout(16@32 ...@(K / 32 * 4096) | 4@8 4@512 2@4 ...@4096)", 2);
    te_ref idx[] = {te_int(g, 17), te_int(g, 38)};
    te_ref at = lp_layout_at(g, l, LP_AT_ADDR, idx),
           want = te_addi(te_muli(te_divi(K, 32), 4096), 32 + 2 * 8 + 512 + 4096);
    assert_true(te_prove_eq(at, want));
    assert_true(lp_layout_injective(l, shape, 2, 4));
    lp_layout *tight = parse("layout(16@32 ...@(K / 32 * 2048) | 4@8 4@512 2@4 ...@4096)", 2);
    assert_false(lp_layout_injective(tight, shape, 2, 4));
}

/* ---- text ------------------------------------------------------------------------------------ */

static void a_layout_prints_and_parses_back(void **state) {
    te_dim(g, "K", 1, 64);
    const char *text[] = {
        "layout(16@32 ...@(K / 32 * 4096) | 4@8 4@512 2@4 ...@4096)",
        "layout(- | ...@16; offset 64)",
        "layout(8@lane.4 2@reg.2 2@warp.2 | 2@reg.1; xor 3 bits 10 -> 7; xor 1 bits 14 -> 4)",
        "layout(- | - | 4@K)", "layout(...@8)"};
    for (int k = 0; k < 5; k++) {
        ll_str s = {0};
        lp_layout_print(&s, parse(text[k], 3));
        assert_string_equal(ll_str_cstr(&s), text[k]);
        ll_str_finish(&s);
    }
}

static void a_bad_text_is_refused_with_its_place(void **state) {
    const char *text[] = {"layout(4@8",          "layout(4*8)",
                          "layout(...@8 4@1)",   "layout(0@8)",
                          "layout(4@8; xor 3)",  "layout(4@8) x",
                          "strides(4@8)",        "layout(4@nothing)",
                          "layout(4@8; turn 3)", "layout(1@8 | 1@8 | 1@8 | 1@8)"};
    for (int k = 0; k < 10; k++) {
        ll_error err = {0};
        if (lp_layout_parse(g, text[k], 3, &err)) fail_msg("%s was read", text[k]);
        assert_int_equal(err.code, LL_BAD_INPUT);
        assert_non_null(strstr(err.msg, "layout"));
    }
}

/* ---- apart ----------------------------------------------------------------------------------- */

static bool apart_by_force(const lp_layout *l, const int64_t *extent, int ndim, int bits) {
    int64_t n = count_of(extent, ndim);
    int64_t(*all)[4] = calloc((size_t)n, sizeof *all);
    bool ok = true;
    for (int64_t e = 0; e < n; e++) {
        int64_t idx[TE_MAX_DIM];
        index_of(e, extent, ndim, idx);
        places(l, idx, all[e]);
        for (int64_t k = 0; k < e && ok; k++) {
            int64_t d = all[e][0] - all[k][0];
            bool same = all[e][1] == all[k][1] && all[e][2] == all[k][2] && all[e][3] == all[k][3];
            if (same && d < bits && d > -bits) ok = false;
        }
    }
    free(all);
    return ok;
}

static uint64_t rng = 12345;
static int draw(int n) {
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (int)((rng >> 33) % (uint64_t)n);
}

/* Digits of a random layout: cut two dimensions into pieces, put them into memory in a random
 * order, one in three times with a stride that is too small, or too large. */
static lp_layout *random_layout(int64_t *extent, int *bits) {
    static const int widths[] = {1, 2, 3, 4, 8, 16};
    lp_layout *l = LL_NEW(te_arena(g), lp_layout);
    *bits = widths[draw(6)];
    for (int d = 0; d < 2; d++) {
        int pieces = 1 + draw(3);
        extent[d] = 1;
        for (int k = 0; k < pieces; k++) {
            int size = 1 + draw(4);
            extent[d] *= size;
            l->digit[l->n_digit++] =
                (lp_digit){.dim = (uint8_t)d, .size = k + 1 == pieces && draw(2) ? 0 : size};
            if (l->digit[l->n_digit - 1].size == 0) extent[d] = extent[d] / size * (1 + draw(4));
        }
    }
    int64_t reach = *bits, rest[2] = {extent[0], extent[1]}, size[LP_MAX_DIGIT];
    for (int i = 0; i < l->n_digit; i++) {
        lp_digit *d = &l->digit[i];
        size[i] = d->size ? d->size : rest[d->dim];
        if (d->size) rest[d->dim] = (rest[d->dim] + d->size - 1) / d->size;
    }
    bool used[LP_MAX_DIGIT] = {false};
    for (int k = 0; k < l->n_digit; k++) {
        int i = draw(l->n_digit);
        while (used[i]) i = (i + 1) % l->n_digit;
        used[i] = true;
        int64_t stride = draw(8) == 0 ? reach - 1 - draw(2) : reach + (draw(4) == 0 ? draw(9) : 0);
        if (stride < 0) stride = 0;
        l->digit[i].stride = te_int(g, stride);
        reach = stride + reach > reach ? stride * (size[i] - 1) + reach : reach;
    }
    return l;
}

static void what_is_proved_apart_is_apart_and_sound_layouts_are_proved(void **state) {
    int proved = 0, apart = 0;
    for (int k = 0; k < 600; k++) {
        int64_t extent[2];
        int bits;
        lp_layout *l = random_layout(extent, &bits);
        if (count_of(extent, 2) > 600) continue;
        te_ref shape[] = {te_int(g, extent[0]), te_int(g, extent[1])};
        bool claim = lp_layout_injective(l, shape, 2, bits),
             truth = apart_by_force(l, extent, 2, bits);
        if (claim && !truth) {
            ll_str s = {0};
            lp_layout_print(&s, l);
            fail_msg("%s of %d x %d elements of %d bits is not apart", ll_str_cstr(&s),
                     (int)extent[0], (int)extent[1], bits);
        }
        proved += claim;
        apart += truth;
        int64_t end = 0, idx[2];
        for (int64_t e = 0; e < count_of(extent, 2); e++) {
            index_of(e, extent, 2, idx);
            int64_t at = place_of(l, LP_AT_ADDR, idx) + bits;
            if (at > end) end = at;
        }
        te_ref said = lp_layout_bits(g, l, shape, 2, bits);
        assert_true(said->op == TE_INT && said->u.i >= end);
    }
    assert_true(apart > 200);
    assert_true(proved * 10 > apart * 8);
}

static bool meet(const lp_view *a, const int64_t *na, const lp_view *b, const int64_t *nb) {
    static unsigned char seen[1 << 16];
    memset(seen, 0, sizeof seen);
    bool both = false;
    for (const lp_view *v = a; v; v = v == a ? b : NULL) {
        const int64_t *n = v == a ? na : nb;
        for (int64_t e = 0; e < count_of(n, v->ndim); e++) {
            int64_t idx[4];
            index_of(e, n, v->ndim, idx);
            int64_t at = place_of(v->layout, LP_AT_ADDR, idx);
            assert_true(at + v->elem_bits <= (int64_t)sizeof seen);
            for (int k = 0; k < v->elem_bits; k++) {
                if (v == a)
                    seen[at + k] = 1;
                else
                    both = both || seen[at + k];
            }
        }
    }
    return both;
}

/* Two planes with strides of one period or none, offsets and widths that fit or not. */
static void planes_proved_apart_are_apart(void **state) {
    static const int bits[] = {1, 4, 8, 16};
    int proved = 0, missed = 0;
    for (int seed = 1; seed < 4000; seed++) {
        lp_view v[2];
        int64_t n[2][2];
        te_ref shape[2][2];
        int64_t period = 32 << draw(3);
        for (int i = 0; i < 2; i++) {
            char text[128];
            int w = bits[draw(4)];
            int64_t inner = 1 + (int64_t)draw(4),
                    rows = draw(4) ? period : period / 2 + w * (int64_t)draw(3);
            snprintf(text, sizeof text, "layout(%d@%d ...@%d | ...@%d; offset %d)", (int)inner, w,
                     (int)(draw(2) ? inner * w : period * 8), (int)rows,
                     (int)(i * (int64_t)draw(2) * period / 2 + w * (int64_t)draw(3)));
            n[i][0] = 1 + (int64_t)draw(12);
            n[i][1] = 1 + (int64_t)draw(9);
            for (int d = 0; d < 2; d++) shape[i][d] = te_int(g, n[i][d]);
            v[i] = (lp_view){parse(text, 2), shape[i], 2, w};
        }
        bool apart = lp_layout_apart(g, &v[0], &v[1]), met = meet(&v[0], n[0], &v[1], n[1]);
        if (apart && met) fail_msg("case %d: proved apart, and they meet", seed);
        proved += apart;
        missed += !apart && !met;
    }
    assert_true(proved > 300);
    assert_true(missed * 20 <
                proved); /* a last group of an inner digit that is not full counts as full */
}

static void registers_lanes_and_warps_keep_elements_apart_too(void **state) {
    te_ref shape[] = {te_int(g, 64), te_int(g, 64)};
    const int64_t extent[] = {64, 64};
    lp_layout *l =
        parse("layout(8@lane.4 2@reg.2 2@reg.16 2@warp.2 | 2@reg.1 4@lane.1 4@reg.4 2@warp.1)", 2);
    assert_true(lp_layout_injective(l, shape, 2, 32));
    assert_true(apart_by_force(l, extent, 2, 32));
    lp_layout *twice =
        parse("layout(8@lane.4 2@reg.2 2@reg.8 2@warp.2 | 2@reg.1 4@lane.1 4@reg.4 2@warp.1)", 2);
    assert_false(lp_layout_injective(twice, shape, 2, 32));
    assert_false(lp_layout_injective(parse("layout(8@lane.4 2@reg.2 | ...@reg.4)", 2), shape, 2,
                                     32)); /* 64 rows, 16 places */
}

static void a_swizzle_keeps_elements_apart_unless_it_folds(void **state) {
    te_ref shape[] = {te_int(g, 16), te_int(g, 32)};
    const int64_t extent[] = {16, 32};
    lp_layout *l = parse("layout(...@512 | ...@16; xor 2 bits 10 -> 7)", 2);
    assert_true(lp_layout_injective(l, shape, 2, 16));
    assert_true(apart_by_force(l, extent, 2, 16));
    assert_false(
        lp_layout_injective(parse("layout(...@512 | ...@16; xor 3 bits 8 -> 7)", 2), shape, 2, 16));
    assert_false(lp_layout_injective(parse("layout(...@512 | ...@16; xor 2 bits 10 -> 3)", 2),
                                     shape, 2, 16));
}

/* ---- the matrix ------------------------------------------------------------------------------ */

static void the_matrix_gives_every_place(void **state) {
    const char *text[] = {
        "layout(8@lane.4 2@reg.2 2@reg.16 2@warp.2 | 2@reg.1 4@lane.1 4@reg.4 2@warp.1)",
        "layout(...@1024 | ...@16; xor 3 bits 10 -> 7)",
        "layout(16@32 ...@4096 | 4@8 4@512 2@4 ...@65536)", "layout(- | ...@8)"};
    const int log2_extent[] = {6, 6};
    const int64_t extent[] = {64, 64};
    for (int k = 0; k < 4; k++) {
        lp_layout *l = parse(text[k], 2);
        uint64_t column[LP_MAX_COLUMN];
        int n;
        assert_true(lp_layout_matrix(l, log2_extent, 2, column, &n));
        assert_int_equal(n, 12);
        for (int64_t e = 0; e < 4096; e++) {
            int64_t idx[2], p[4];
            index_of(e, extent, 2, idx);
            places(l, idx, p);
            uint64_t sum = 0;
            for (int b = 0; b < 6; b++)
                sum ^= (idx[0] >> b & 1 ? column[b] : 0) ^ (idx[1] >> b & 1 ? column[6 + b] : 0);
            uint64_t want = (uint64_t)p[0] | (uint64_t)p[1] << LP_REG_BIT |
                            (uint64_t)p[2] << LP_LANE_BIT | (uint64_t)p[3] << LP_WARP_BIT;
            assert_true(sum == want);
        }
    }
    uint64_t column[LP_MAX_COLUMN];
    int n;
    assert_false(
        lp_layout_matrix(parse("layout(3@8 ...@24 | ...@96)", 2), log2_extent, 2, column, &n));
    assert_false(lp_layout_matrix(parse("layout(...@8 | ...@8)", 2), log2_extent, 2, column,
                                  &n)); /* carries */
}

/* ---- conversions and banks ------------------------------------------------------------------- */

static void the_accumulator_of_one_product_is_the_operand_of_the_next(void **state) {
    const int tile[] = {4, 4};
    lp_layout *acc = parse("layout(8@lane.4 2@reg.2 | 2@reg.1 4@lane.1 2@reg.4)",
                           2); /* C of m16n8, two of them */
    lp_layout *operand =
        parse("layout(8@lane.4 2@reg.2 | 2@reg.1 4@lane.1 2@reg.4)", 2); /* A of m16k16 */
    assert_int_equal(lp_layout_conversion(acc, operand, tile, 2), LP_MOVE_NONE);
    lp_layout *other_regs = parse("layout(8@lane.4 2@reg.4 | 2@reg.1 4@lane.1 2@reg.2)", 2);
    assert_int_equal(lp_layout_conversion(acc, other_regs, tile, 2), LP_MOVE_REGS);
    lp_layout *transposed = parse("layout(2@reg.1 4@lane.1 2@reg.4 | 8@lane.4 2@reg.2)", 2);
    assert_int_equal(lp_layout_conversion(acc, transposed, tile, 2), LP_MOVE_SHUFFLE);
    lp_layout *two_warps = parse("layout(8@lane.4 2@warp.1 | 2@reg.1 4@lane.1 2@reg.4)", 2);
    assert_int_equal(lp_layout_conversion(acc, two_warps, tile, 2), LP_MOVE_SHARED);
    assert_int_equal(lp_layout_conversion(acc, parse("layout(...@256 | ...@16)", 2), tile, 2),
                     LP_MOVE_SHARED);
}

static void rows_of_64_and_128_bytes_are_swizzled_free_of_conflicts(void **state) {
    const int narrow[] = {6, 5}, wide[] = {6, 6};
    /* ldmatrix: a lane reads the 16 bytes of one row; a copy writes rows, chunk after chunk */
    lp_layout *read = parse("layout(32@lane.1 2@reg.64 | 8@reg.1 ...@reg.8)", 2);
    lp_layout *write32 = parse("layout(8@lane.4 ...@reg.8 | 8@reg.1 4@lane.1)", 2);
    lp_layout *write64 = parse("layout(4@lane.8 ...@reg.8 | 8@reg.1 8@lane.1)", 2);
    lp_layout *mem = parse("layout(...@512 | ...@16)", 2);
    assert_int_equal(lp_bank_conflicts(mem, read, narrow, 2, 16, 8), 4);
    assert_int_equal(lp_bank_conflicts(mem, write32, narrow, 2, 16, 8), 1);
    const lp_layout *both32[] = {read, write32}, *both64[] = {read, write64};
    assert_int_equal(lp_layout_swizzle(mem, both32, (int[]){8, 8}, 2, narrow, 2, 16), 1);
    ll_str s = {0};
    lp_layout_print(&s, mem);
    assert_string_equal(ll_str_cstr(&s), "layout(...@512 | ...@16; xor 2 bits 10 -> 7)");
    ll_str_clear(&s);
    mem = parse("layout(...@1024 | ...@16)", 2);
    assert_int_equal(lp_bank_conflicts(mem, read, wide, 2, 16, 8), 8);
    assert_int_equal(lp_layout_swizzle(mem, both64, (int[]){8, 8}, 2, wide, 2, 16), 1);
    lp_layout_print(&s, mem);
    assert_string_equal(ll_str_cstr(&s), "layout(...@1024 | ...@16; xor 3 bits 10 -> 7)");
    ll_str_finish(&s);
    lp_layout *columns =
        parse("layout(...@16 | ...@1024)", 2); /* a row's elements do not lie side by side */
    assert_int_equal(lp_bank_conflicts(columns, read, narrow, 2, 16, 8), 0);
}

static void a_weight_is_packed_so_that_it_lands_in_its_fragment(void **state) {
    te_ref shape[] = {te_int(g, 100), te_int(g, 64)};
    const int64_t extent[] = {100, 64}, tile[] = {16, 16};
    lp_layout *frag = parse("layout(8@lane.4 2@reg.2 | 2@reg.1 4@lane.1 2@reg.4)", 2);
    lp_layout *l = lp_layout_landing(g, frag, shape, 2, 4);
    assert_true(lp_layout_injective(l, shape, 2, 4));
    for (int64_t e = 0; e < count_of(extent, 2); e++) {
        int64_t idx[2], in[2];
        index_of(e, extent, 2, idx);
        for (int d = 0; d < 2; d++) in[d] = idx[d] % tile[d];
        int64_t at = place_of(l, LP_AT_ADDR, idx), block = idx[0] / 16 * 4 + idx[1] / 16;
        assert_int_equal(at, block * 256 * 4 + place_of(frag, LP_AT_LANE, in) * 8 * 4 +
                                 place_of(frag, LP_AT_REG, in) * 4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_dense_layout_counts_like_c, setup, teardown),
        cmocka_unit_test_setup_teardown(the_expression_of_an_address_is_the_address, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(strides_may_be_expressions_over_dims, setup, teardown),
        cmocka_unit_test_setup_teardown(a_layout_prints_and_parses_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_text_is_refused_with_its_place, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_proved_apart_is_apart_and_sound_layouts_are_proved,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(planes_proved_apart_are_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(registers_lanes_and_warps_keep_elements_apart_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_swizzle_keeps_elements_apart_unless_it_folds, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_matrix_gives_every_place, setup, teardown),
        cmocka_unit_test_setup_teardown(the_accumulator_of_one_product_is_the_operand_of_the_next,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(rows_of_64_and_128_bytes_are_swizzled_free_of_conflicts,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_weight_is_packed_so_that_it_lands_in_its_fragment, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

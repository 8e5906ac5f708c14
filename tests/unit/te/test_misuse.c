/* One misuse each: what the builders refuse, the sentence that says so, and that the graph is
 * not harmed: the result is poison, and everything built on it too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "te/quant.h"
#include "te/te.h"

typedef struct ground { /* what every misuse starts from */
    te_graph *g;
    te_ref T, i, j, four;
    te_tensor *x, *n; /* f32 x[4, 8]; s32 n[4] */
} ground;

typedef te_ref (*misuse)(ground *z);

static te_ref of(te_tensor *t)
{
    return te_load(t, NULL, 0);
} /* of a poison tensor: the poison node */

static te_ref mixed_types(ground *z) { return te_add(te_at(z->x, z->i, z->j), z->i); }
static te_ref bool_sum(ground *z) { return te_add(te_lt(z->i, z->j), te_lt(z->j, z->i)); }
static te_ref float_mod(ground *z)
{
    return te_mod(te_at(z->x, z->i, z->j), te_at(z->x, z->i, z->j));
}
static te_ref exp_of_int(ground *z) { return te_exp(z->i); }
static te_ref not_of_float(ground *z) { return te_unary(TE_NOT, te_at(z->x, z->i, z->j)); }
static te_ref unary_add(ground *z) { return te_unary(TE_ADD, z->i); }
static te_ref int_condition(ground *z) { return te_select(z->i, z->i, z->j); }
static te_ref branches(ground *z)
{
    return te_select(te_lt(z->i, z->j), z->i, te_cast(LL_F32, z->j));
}
static te_ref to_bool(ground *z) { return te_cast(LL_BOOL, z->i); }
static te_ref widths(ground *z) { return te_bits(LL_F16, te_at(z->x, z->i, z->j)); }
static te_ref big_literal(ground *z) { return te_iconst(z->g, LL_U4, 16); }
static te_ref float_literal(ground *z) { return te_iconst(z->g, LL_F32, 1); }
static te_ref dim_bounds(ground *z) { return te_dim(z->g, "D", 5, 4); }
static te_ref dim_again(ground *z) { return te_dim(z->g, "T", 1, 9); }
static te_ref axis_of_float(ground *z) { return te_axis(z->g, "a", te_fconst(z->g, LL_F32, 4)); }
static te_ref axis_name(ground *z) { return te_axis(z->g, "a-b", z->four); }
static te_ref too_few_indices(ground *z) { return te_at(z->x, z->i); }
static te_ref index_type(ground *z) { return te_at(z->x, z->i, te_at(z->n, z->i)); }
static te_ref nested_sum(ground *z) { return te_neg(te_sum(te_at(z->x, z->i, z->j), z->j)); }
static te_ref sum_in_index(ground *z) { return te_at(z->x, z->i, te_sum(z->j, z->j)); }
static te_ref sum_over_dim(ground *z) { return te_sum(te_at(z->x, z->i, z->j), z->T); }
static te_ref axis_twice(ground *z) { return te_sum(te_at(z->x, z->i, z->j), z->j, z->j); }
static te_ref sum_of_bool(ground *z) { return te_sum(te_lt(z->i, z->j), z->j); }
static te_ref free_axis(ground *z) { return of(te_def(z->g, "y", te_at(z->x, z->i, z->j), z->i)); }
static te_ref own_twice(ground *z) { return of(te_def(z->g, "y", z->i, z->i, z->i)); }
static te_ref own_bound(ground *z)
{
    return of(te_def(z->g, "y", te_sum(te_at(z->x, z->i, z->j), z->j), z->i, z->j));
}
static te_ref dim_as_axis(ground *z) { return of(te_def(z->g, "y", z->i, z->i, z->T)); }
static te_ref free_variable(ground *z)
{
    return of(te_def(z->g, "y", te_add(z->i, te_var(z->g, "v", LL_S64)), z->i));
}
static te_ref taken_input(ground *z) { return of(te_input(z->g, "x", LL_F32, z->four)); }
static te_ref input_word(ground *z) { return of(te_input(z->g, "max", LL_F32, z->four)); }
static te_ref axis_size(ground *z) { return of(te_input(z->g, "y", LL_F32, z->i)); }
static te_ref float_bounds(ground *z)
{
    return of(te_input_index(z->g, "y", LL_F32, z->four, z->four, &z->four, 1));
}
static te_ref ragged_block(ground *z)
{
    return of(te_input_quant(z->g, "y", te_quant_by_name("q4_1"), z->four, te_int(z->g, 40)));
}
static te_ref no_type(ground *z)
{
    return of(te_input_quant(z->g, "y", te_quant_by_name("q4"), z->four, te_int(z->g, 64)));
}
static te_ref page_size(ground *z) { return of(te_paged(z->g, "K", z->x, z->x, 16)); }
static te_ref lone_init(ground *z) { return of(te_def_init(z->g, "y", z->i, z->four, &z->i, 1)); }

static te_ref init_type(ground *z)
{
    te_ref sum = te_sum(te_at(z->x, z->i, z->j), z->j);
    return of(te_def_init(z->g, "y", sum, z->four, &z->i, 1));
}

static te_ref view_load(ground *z)
{
    te_tensor *w = te_input_quant(z->g, "w", te_quant_by_name("q8_0"), z->four, te_int(z->g, 64));
    return te_load(w, (te_ref[]){z->i, z->j}, 2);
}

static te_ref update_rank(ground *z)
{
    return of(te_update(z->g, "u", z->x, &z->i, 1, te_fconst(z->g, LL_F32, 0), &z->i, 1));
}

static te_ref update_type(ground *z)
{
    return of(
        te_update(z->g, "u", z->x, (te_ref[]){z->i, z->j}, 2, z->i, (te_ref[]){z->i, z->j}, 2));
}

static te_ref update_free(ground *z)
{
    return of(te_update(z->g, "u", z->x, (te_ref[]){z->i, z->j}, 2, te_fconst(z->g, LL_F32, 0),
                        &z->i, 1));
}

static te_ref strangers(ground *z)
{
    te_graph *a = te_graph_child(z->g);
    te_ref p = te_muli(z->i, 77);
    te_graph *b = te_graph_child(z->g);
    te_ref q = te_muli(z->i, 78);
    ll_error e = *(te_is_poison(te_add(p, q)) ? te_error(a) : &(ll_error){0});
    te_graph_destroy(b);
    te_graph_destroy(a);
    return te_fail(z->g, e.code, "%s", e.msg);
}

static const struct { misuse fn; const char *want;
} all[] = {
    {mixed_types, "ADD of f32 and s64: operands have one type"},
    {bool_sum, "ADD of bool"},
    {float_mod, "MOD of f32"},
    {exp_of_int, "EXP of s64"},
    {not_of_float, "NOT of f32"},
    {unary_add, "ADD is not a unary operator"},
    {int_condition, "select: its condition is s64, wanted bool"},
    {branches, "SELECT of s64 and f32"},
    {to_bool, "cast to bool: compare with zero instead"},
    {widths, "bits.f16 of f32: the widths differ"},
    {big_literal, "16 does not fit u4"},
    {float_literal, "te_iconst: f32 is not an integer type"},
    {dim_bounds, "dim D: bounds 5..4"},
    {dim_again, "dim T: declared in 1..8 multiple 1, now 1..9"},
    {axis_of_float, "axis a: its extent is f32, wanted s64"},
    {axis_name, "`a-b` cannot name an axis"},
    {too_few_indices, "x has 2 dimensions, 1 indices given"},
    {index_type, "x: index 1 is s32, wanted s64"},
    {nested_sum, "a reduction is the root of a definition"},
    {sum_in_index, "x: index 1 is a reduction"},
    {sum_over_dim, "reduction: operand 0 is no axis"},
    {axis_twice, "reduction: axis j twice"},
    {sum_of_bool, "a reduction of bool"},
    {free_axis, "y: j is free in its body"},
    {own_twice, "y: axis i twice"},
    {own_bound, "y: axis j twice"},
    {dim_as_axis, "y: dimension 1 is no axis"},
    {free_variable, "y: v is free in its body"},
    {taken_input, "input x: the graph has a tensor of that name"},
    {input_word, "`max` cannot name a tensor"},
    {axis_size, "tensor y: size 0 is no s64 expression of dims"},
    {float_bounds, "input y: bounds are for integer inputs"},
    {ragged_block, "input y: columns are no multiple of the block of q4_1"},
    {no_type, "the block of no type"},
    {page_size, "paged K: wanted a pool [pages, 16, ...]"},
    {lone_init, "y: an initial value goes with a sum, max or min of its own type"},
    {init_type, "y: an initial value goes with a sum, max or min of its own type"},
    {view_load, "w has no storage of its own"},
    {update_rank, "update u: x has 2 dimensions"},
    {update_type, "update u: its value is s64, x holds f32"},
    {update_free, "u: j is free in its body"},
    {strangers, "operands of unrelated graphs"},
};

static void every_misuse_has_its_sentence(void **state)
{
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        te_graph_use(NULL);
        te_graph *g = te_graph_create();
        te_ref four = te_int(g, 4), T = te_dim(g, "T", 1, 8);
        ground z = {.g = g, .T = T, .four = four};
        z.i = te_axis(g, "i", four);
        z.j = te_axis(g, "j", te_int(g, 8));
        z.x = te_input(g, "x", LL_F32, four, te_int(g, 8));
        z.n = te_input(g, "n", LL_S32, four);
        assert_null(te_error(g));
        te_ref bad = all[k].fn(&z);
        if (!te_error(g)) fail_msg("case %zu (%s) was accepted", k, all[k].want);
        if (!strstr(te_error(g)->msg, all[k].want))
            fail_msg("case %zu: %s\nwanted: %s", k, te_error(g)->msg, all[k].want);
        assert_int_equal(te_error(g)->code, LL_USAGE);
        assert_true(te_is_poison(bad) && te_is_poison(te_neg(te_add(bad, z.i))));
        te_def(g, "after", bad, z.i);
        assert_non_null(strstr(te_error(g)->msg, all[k].want)); /* the first error stays */
        te_graph_destroy(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_misuse_has_its_sentence)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

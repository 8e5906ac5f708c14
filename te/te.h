/* te.h: tensor expressions: the language in which every operator is written, and their meaning.
 *
 *     te_ref m = te_axis(g, "m", M), n = te_axis(g, "n", N), k = te_axis(g, "k", K);
 *     te_tensor *acc = te_def(g, "acc",
 *         te_sum(te_mul(te_cast(LL_F32, te_at(X, m, k)), te_cast(LL_F32, te_at(W, n, k))), k),
 *         m, n);
 *
 * prints as, and parses from,  def f32 acc[m, n] = sum(k: f32(X[m, k]) * f32(W[n, k]))
 *
 * Expressions are immutable and interned in their graph's arena: equal expressions are one
 * pointer. A failed call returns the graph's poison node (or poison tensor), later calls pass it
 * on, and the first error sticks in the graph (`te_error`): a builder asks once, at the end.
 * There are no implicit casts and no implicit broadcasts. A reduction is the root of a
 * definition. One graph, one thread; a child graph (te_graph_child) may be built over a frozen
 * parent by another thread.
 *
 * What it does not do: no loops, no storage, no target. Those are schedule/. */
#ifndef LLMIR_TE_TE_H
#define LLMIR_TE_TE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/str.h"
#include "te/dtype.h"

enum { TE_MAX_DIM = 8, TE_MAX_PLANE = 8 };

typedef enum te_op {
#define TE_OP(NAME, arity, spelling, meaning) TE_##NAME,
#include "te/ops.def"
#undef TE_OP
    TE_N_OPS
} te_op;

typedef struct te_graph te_graph;
typedef struct te_tensor te_tensor;
typedef struct te_node te_node;
typedef const te_node *te_ref; /* the only pointer typedef: expressions are values */

typedef struct te_axis_info { /* AXIS */
    const char *name;
    te_ref extent; /* number of values: constant, dim expression, or (te_axis_upto) an expression
                      over outer axes and index tensors                                    */
    te_ref max;    /* NULL, or a bound of `extent` free of axes and loads: extent <= max   */
} te_axis_info;

typedef struct te_dim_info { /* DIM */
    const char *name;
    int64_t lo, hi, multiple; /* lo <= value <= hi, value % multiple == 0 */
} te_dim_info;

struct te_node {
    uint8_t op;    /* te_op    */
    uint8_t dtype; /* ll_dtype */
    uint16_t n;    /* sources  */
    uint32_t id;   /* creation order: stable printing and sorting */
    te_graph *g;
    union {
        int64_t i;                /* INT                            */
        double f;                 /* FLT, already rounded to dtype  */
        te_tensor *t;             /* LOAD                           */
        const te_axis_info *axis; /* AXIS                           */
        const te_dim_info *dim;   /* DIM                            */
        const char *name;         /* VAR                            */
    } u;
    te_ref src[];
};

typedef enum te_tensor_kind {
    TE_INPUT,  /* no body: given from outside                                                 */
    TE_DEF,    /* body over axis[]                                                            */
    TE_UPDATE, /* a new version of `base` in the same storage: base[at...] = body over axis[] */
    TE_PLANE,  /* one plane of a quantised tensor: `base` is the whole, `plane_no` its number */
    TE_PAGED,  /* a view of `base` (the pool) through `table`; loads expand at once           */
} te_tensor_kind;

struct te_quant; /* quant.h: a row of quant.def */

struct te_tensor {
    const char *name;
    te_tensor_kind kind;
    uint8_t dtype, ndim, n_axis, n_plane, plane_no;
    bool weight;             /* constant for the life of a module                              */
    uint32_t id;             /* creation order in the graph chain                              */
    te_graph *g;
    te_ref shape[TE_MAX_DIM];
    te_ref axis[TE_MAX_DIM]; /* TE_DEF: one per dimension. TE_UPDATE: its n_axis loop axes     */
    te_ref body;             /* TE_DEF, TE_UPDATE: value (a reduction node may be the root)    */
    te_ref init;             /* reduction: initial value over axis[] (NULL: the identity)      */
    te_ref at[TE_MAX_DIM];   /* TE_UPDATE: where; indices of distinct iterations must differ   */
    te_tensor *base;         /* TE_UPDATE, TE_PLANE, TE_PAGED                                  */
    const struct te_quant *quant;   /* TE_INPUT of a quantised type, else NULL                 */
    te_tensor *plane[TE_MAX_PLANE]; /* its planes                                              */
    te_tensor *table;        /* TE_PAGED                                                       */
    int64_t block;           /* TE_PAGED: tokens per page                                      */
    te_ref lo, hi;           /* integer TE_INPUT: lo <= every value < hi, when not NULL        */
};

/* ---- graphs ------------------------------------------------------------------------------- */
te_graph *te_graph_create(void); /* NULL when out of memory */
/* A graph that sees everything of `parent`, which must not change while the child lives. */
te_graph *te_graph_child(te_graph *parent);
/* Builder calls that take no graph put their node into the youngest graph of their operands, so
 * that two operands of a frozen parent would write to the parent. Therefore each thread has a
 * current graph: when it descends from the operands' graph, the node goes there. te_graph_child
 * makes the child current; te_graph_use switches (NULL: none) and returns the one before.
 * Literals follow the same rule; all other calls that take a graph use that one. */
te_graph *te_graph_use(te_graph *g);
void te_graph_destroy(te_graph *g); /* NULL is fine; children first */
ll_arena *te_arena(te_graph *g);
/* The first error ("FILE:LINE: sentence" for builder misuse), or NULL. */
const ll_error *te_error(const te_graph *g);
/* Records an error (the first one stays) and returns the poison node. */
te_ref te_fail(te_graph *g, ll_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
size_t te_n_tensors(const te_graph *g);               /* including the parent's */
te_tensor *te_tensor_at(const te_graph *g, size_t i); /* by id                  */
te_tensor *te_find(const te_graph *g, const char *name); /* NULL when absent    */

/* ---- leaves ------------------------------------------------------------------------------- */
te_ref te_int(te_graph *g, int64_t v);                 /* s64                      */
te_ref te_iconst(te_graph *g, ll_dtype t, int64_t v);  /* any integer type or bool */
te_ref te_fconst(te_graph *g, ll_dtype t, double v);   /* rounded to t             */
te_ref te_dim(te_graph *g, const char *name, int64_t lo, int64_t hi); /* same name, same dim */
te_ref te_dim_multiple(te_graph *g, const char *name, int64_t lo, int64_t hi, int64_t multiple);
te_ref te_axis(te_graph *g, const char *name, te_ref extent); /* each call makes a new axis */
te_ref te_axis_upto(te_graph *g, const char *name, te_ref extent, te_ref max);
te_ref te_var(te_graph *g, const char *name, ll_dtype t); /* each call makes a new variable */

/* Names: letters, digits, `_` and `.`, not starting with a digit, no word of the text form.
 * Names of inputs and dims are unique in a graph chain; a definition whose name is taken gets a
 * suffix: ss, ss.2, ss.3. */

/* ---- tensors. The macros take indices, sizes and axes as a plain list: te_at(X, m, k). ---- */
#define TE_LIST_(...)                                                                              \
    (te_ref[]){__VA_ARGS__}, (int)(sizeof((te_ref[]){__VA_ARGS__}) / sizeof(te_ref))
#define te_at(T, ...) te_at_(__FILE__, __LINE__, (T), TE_LIST_(__VA_ARGS__))
#define te_input(g, name, dtype, ...) te_input_((g), (name), (dtype), TE_LIST_(__VA_ARGS__))
#define te_def(g, name, body, ...)                                                                 \
    te_def_(__FILE__, __LINE__, (g), (name), (body), TE_LIST_(__VA_ARGS__))
#define te_sum(body, ...) te_reduce_(__FILE__, __LINE__, TE_SUM, (body), TE_LIST_(__VA_ARGS__))
#define te_maxr(body, ...) te_reduce_(__FILE__, __LINE__, TE_MAXR, (body), TE_LIST_(__VA_ARGS__))
#define te_minr(body, ...) te_reduce_(__FILE__, __LINE__, TE_MINR, (body), TE_LIST_(__VA_ARGS__))
#define te_argmax(body, ...)                                                                       \
    te_reduce_(__FILE__, __LINE__, TE_ARGMAX, (body), TE_LIST_(__VA_ARGS__))

te_ref te_at_(const char *file, int line, te_tensor *t, const te_ref *idx, int n);
te_tensor *te_input_(te_graph *g, const char *name, ll_dtype t, const te_ref *shape, int n);
/* An integer input whose values satisfy lo <= v < hi (hi may be a dim expression). */
te_tensor *te_input_index(te_graph *g, const char *name, ll_dtype t, te_ref lo, te_ref hi,
                          const te_ref *shape, int n);
/* A quantised 2-d input [rows, cols]; te_at gives the logical f32 value, an expression over its
 * planes. A row of block 1 (f32, f16, bf16) makes a plain input of that dtype. */
te_tensor *te_input_quant(te_graph *g, const char *name, const struct te_quant *q, te_ref rows,
                          te_ref cols);
/* K[seq, j, ...] = pool[table[seq, j / block], j % block, ...]. */
te_tensor *te_paged(te_graph *g, const char *name, te_tensor *pool, te_tensor *table,
                    int64_t block);
te_tensor *te_def_(const char *file, int line, te_graph *g, const char *name, te_ref body,
                   const te_ref *axes, int n);
te_tensor *te_def_init(te_graph *g, const char *name, te_ref reduction, te_ref init,
                       const te_ref *axes, int n);
/* A new version of `base`: base[at...] = body for all values of axes; other elements keep their
 * value. */
te_tensor *te_update(te_graph *g, const char *name, te_tensor *base, const te_ref *at, int n_at,
                     te_ref body, const te_ref *axes, int n_axes);
te_ref te_reduce_(const char *file, int line, te_op op, te_ref body, const te_ref *axes, int n);
te_ref te_load(te_tensor *t, const te_ref *idx, int n); /* te_at without view expansion */
static inline te_tensor *te_weight(te_tensor *t)
{
    t->weight = true;
    return t;
}

/* ---- operators ---------------------------------------------------------------------------- */
te_ref te_unary(te_op op, te_ref a);
te_ref te_binary(te_op op, te_ref a, te_ref b);
te_ref te_select(te_ref cond, te_ref a, te_ref b);
te_ref te_cast(ll_dtype t, te_ref a); /* to the same dtype: a itself */
te_ref te_bits(ll_dtype t, te_ref a);
static inline te_ref te_add(te_ref a, te_ref b) { return te_binary(TE_ADD, a, b); }
static inline te_ref te_sub(te_ref a, te_ref b) { return te_binary(TE_SUB, a, b); }
static inline te_ref te_mul(te_ref a, te_ref b) { return te_binary(TE_MUL, a, b); }
static inline te_ref te_div(te_ref a, te_ref b) { return te_binary(TE_DIV, a, b); }
static inline te_ref te_mod(te_ref a, te_ref b) { return te_binary(TE_MOD, a, b); }
static inline te_ref te_min(te_ref a, te_ref b) { return te_binary(TE_MIN, a, b); }
static inline te_ref te_max(te_ref a, te_ref b) { return te_binary(TE_MAX, a, b); }
static inline te_ref te_lt(te_ref a, te_ref b) { return te_binary(TE_LT, a, b); }
static inline te_ref te_le(te_ref a, te_ref b) { return te_binary(TE_LE, a, b); }
static inline te_ref te_eq(te_ref a, te_ref b) { return te_binary(TE_EQ, a, b); }
static inline te_ref te_neg(te_ref a) { return te_unary(TE_NEG, a); }
static inline te_ref te_abs(te_ref a) { return te_unary(TE_ABS, a); }
static inline te_ref te_exp(te_ref a) { return te_unary(TE_EXP, a); }
static inline te_ref te_rsqrt(te_ref a) { return te_unary(TE_RSQRT, a); }
static inline te_ref te_round(te_ref a) { return te_unary(TE_ROUND, a); }
/* s64 arithmetic with small integers */
static inline te_ref te_addi(te_ref a, int64_t b) { return te_binary(TE_ADD, a, te_int(a->g, b)); }
static inline te_ref te_muli(te_ref a, int64_t b) { return te_binary(TE_MUL, a, te_int(a->g, b)); }
static inline te_ref te_divi(te_ref a, int64_t b) { return te_binary(TE_DIV, a, te_int(a->g, b)); }
static inline te_ref te_modi(te_ref a, int64_t b) { return te_binary(TE_MOD, a, te_int(a->g, b)); }

static inline bool te_is_const(te_ref a) { return a->op == TE_INT || a->op == TE_FLT; }
static inline bool te_is_int(te_ref a, int64_t v) { return a->op == TE_INT && a->u.i == v; }
static inline bool te_is_reduce(te_ref a) { return a->op >= TE_SUM && a->op <= TE_ARGMAX; }
bool te_is_poison(te_ref a);

/* ---- walking and rewriting (te/rewrite.c) ------------------------------------------------- */
/* Rebuilds `a` bottom-up: fn sees each distinct node once, after its sources were rewritten, and
 * returns the node to use. Results live in graph `g` (the node's graph or a child of it). */
typedef te_ref (*te_rewrite_fn)(te_ref a, void *ctx);
te_ref te_rewrite(te_graph *g, te_ref a, te_rewrite_fn fn, void *ctx);
/* The same node with other sources (interned; literals are folded). */
te_ref te_with_src(te_graph *g, te_ref a, const te_ref *src);
/* Replaces leaves or subexpressions from[i] by to[i]. */
te_ref te_subst(te_graph *g, te_ref a, const te_ref *from, const te_ref *to, int n);
/* Visits each distinct node once, sources first. Stops early (and returns false) when fn returns
 * false. */
bool te_walk(te_ref a, bool (*fn)(te_ref a, void *ctx), void *ctx);
bool te_uses(te_ref a, te_ref leaf); /* does `leaf` occur in a (axis extents not searched)? */
bool te_loads(te_ref a, const te_tensor *t); /* does a load from t occur in a? */

/* ---- analysis (te/analysis.c): intervals, congruences, affine forms, simplification ------- */
/* Inclusive; INT64_MIN / INT64_MAX = unknown. */
typedef struct te_range { int64_t lo, hi; } te_range;
te_range te_range_of(te_ref a); /* integers: from axis extents, dim bounds, index-tensor bounds */
/* value = rem (mod `mod`); mod 0 = exactly rem */
typedef struct te_cong { int64_t mod, rem; } te_cong;
te_cong te_cong_of(te_ref a);
/* a < b, a <= b, a == b for every value of axes, dims and variables: true only when proved. */
bool te_prove_lt(te_ref a, te_ref b);
bool te_prove_le(te_ref a, te_ref b);
bool te_prove_eq(te_ref a, te_ref b);
/* Integer index expressions: folds, distributes, cancels, and removes div/mod that ranges and
 * congruences decide: ((ko * 32 + g * 4 + r) / 4) % 8 -> g. Floating expressions: only exact
 * identities. */
te_ref te_simplify(te_graph *g, te_ref a);
/* a = c + sum coef[i] * atom[i], atoms sorted by id; an atom is any non-affine s64
 * subexpression. */
typedef struct te_affine { int n; int64_t c; int64_t *coef; te_ref *atom; } te_affine;
te_affine te_affine_of(te_graph *g, te_ref a); /* memory from the graph's arena */
te_ref te_affine_expr(te_graph *g, const te_affine *f);

/* ---- text (te/print.c, te/parse.c) -------------------------------------------------------- */
void te_print_expr(ll_str *out, te_ref a);
void te_print_tensor(ll_str *out, const te_tensor *t); /* one line: in / def / update / paged ... */
void te_print(ll_str *out, const te_graph *g);         /* dims, inputs, definitions in order      */
const char *te_show(te_ref a); /* for messages and the debugger: a static buffer per thread */
/* Appends the text's declarations to g. Errors: LL_BAD_INPUT "FILE:LINE:COLUMN: sentence". */
ll_code te_parse(te_graph *g, const char *text, const char *file, ll_error *err);
/* One expression; names resolve to the given scope, then dims and tensors of g. */
typedef struct te_scope { const char *name; te_ref value; } te_scope;
/* NULL on error. */
te_ref te_parse_expr(te_graph *g, const char *text, const te_scope *scope, int n, ll_error *err);
/* The canonical text of what `roots` need: positional buffers (b0, b1...), alpha-renamed axes
 * (i0, i1...), dims by name with bounds; independent of names and creation order. Its hash is
 * the task key. */
void te_canonical(ll_str *out, te_tensor *const *roots, int n);
ll_hash te_hash(te_tensor *const *roots, int n);

/* ---- meaning (te/eval.c): the oracle ------------------------------------------------------ */
/* .f for float dtypes, .i for integers and bool */
typedef union te_value { double f; int64_t i; } te_value;
typedef struct te_env te_env;
te_env *te_env_create(te_graph *g);
void te_env_destroy(te_env *e);
ll_code te_env_dim(te_env *e, const char *name, int64_t v, ll_error *err);
/* Gives an input's values, dense, last index fastest (n = product of its shape under the bound
 * dims; copied, rounded to its dtype). Bind the planes of a quantised input. */
ll_code te_env_bind(te_env *e, te_tensor *t, const te_value *v, size_t n, ll_error *err);
/* The same from dense typed memory (sub-byte types packed), which is not copied: it must outlive
 * the env. */
ll_code te_env_bind_mem(te_env *e, te_tensor *t, const void *mem, size_t bytes, ll_error *err);
/* All elements of t (computed once, kept): *out lives until the env is destroyed. Elements that
 * ragged axes do not reach are 0 here, and an error when a definition reads them. So are indices
 * out of range, integer division by zero, shifts past the width and two iterations of an update
 * that write one element (LL_FAILED, naming tensor and index); the env stays usable. */
ll_code te_eval(te_env *e, te_tensor *t, const te_value **out, size_t *n, ll_error *err);
/* One element, on demand: only what it needs is computed (memoised per element of a definition). */
ll_code te_eval_point(te_env *e, te_tensor *t, const int64_t *idx, te_value *out, ll_error *err);
/* One element with sum|terms| and the length of its root reduction: (k + 8) * eps * sum|a*b|
 * bounds. */
ll_code te_eval_bound(te_env *e, te_tensor *t, const int64_t *idx, te_value *out, double *abs_sum,
                      int64_t *n_terms, ll_error *err);
double te_round_to(ll_dtype t, double v);  /* rounds a real number to a dtype, as every node does */
int64_t te_wrap_to(ll_dtype t, int64_t v); /* wraps an integer to a dtype */
/* Dense typed memory <-> values (sub-byte types are packed little-endian, low bits first). */
void te_value_load(ll_dtype t, const void *mem, size_t i, te_value *out);
void te_value_store(ll_dtype t, void *mem, size_t i, te_value v);
/* Applies one operator to evaluated sources, with its rounding: shared by every evaluator.
 * False: undefined (division by zero, shift past the width). */
bool te_apply(te_op op, ll_dtype result, ll_dtype source, const te_value *src, te_value *out);

#endif

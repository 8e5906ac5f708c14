/* internal.h: what the files of te/ share and nobody else may see: the graph, interning, the
 * facts kept behind each node, and a small pointer map for memoised walks. */
#ifndef LLMIR_TE_INTERNAL_H
#define LLMIR_TE_INTERNAL_H

#include "base/map.h"
#include "te/te.h"

struct te_graph {
    ll_arena arena;
    te_graph *parent;
    int depth;           /* length of the parent chain                           */
    uint32_t next_id;    /* continues the parent's                               */
    /* interned nodes: open addressing, power of two; the hash spares a look at the node */
    struct te_slot { uint64_t hash; te_node *a; } *slot;
    size_t n_slot, n_used;
    te_tensor **tensor;  /* created here; ids first_tensor...                    */
    size_t n_tensor, cap_tensor, first_tensor;
    ll_map by_name;      /* name -> te_tensor                                    */
    ll_map suffix;       /* name -> the last suffix given to it                  */
    ll_map dims;         /* name -> DIM node                                     */
    te_node *poison;
    te_tensor *poison_tensor;
    ll_error err;
};

/* Integer and bool nodes carry what is known of their value, computed once, at creation, from their
 * sources; it lies behind src[n]. */
typedef struct te_facts {
    te_range range;
    te_cong cong;
} te_facts;

static inline bool te_has_facts(te_ref a) { return !ll_dtype_is_float((ll_dtype)a->dtype); }
static inline te_facts *te_facts_of(te_ref a) { return (te_facts *)(uintptr_t)(a->src + a->n); }
void te_facts_make(te_node *a); /* te/facts.c */

te_ref te_intern(te_graph *g, te_op op, ll_dtype t, int64_t payload, const te_ref *src, int n);
te_tensor *te_tensor_new(te_graph *g, te_tensor_kind kind, const char *name, ll_dtype t, int ndim);
te_tensor *te_poison_tensor(te_graph *g);
/* The younger of two graphs of one chain; NULL when neither descends from the other. */
te_graph *te_younger(te_graph *a, te_graph *b);
te_graph *te_home(te_graph *g); /* where a node over operands of g goes: see te_graph_use */
const te_node *te_find_dim(const te_graph *g, const char *name);
bool te_is_word(const char *s); /* a reserved word of the text form */
bool te_is_name(const char *s);
const char *te_op_spelling(te_op op);
const char *te_op_name(te_op op);
int te_op_arity(te_op op);
bool te_op_infix(te_op op);

/* For quant.c: an expression in which `name[j]` means t[row[0], row[1], j]. */
typedef struct te_bytes {
    const char *name;
    te_tensor *t;
    te_ref row[2];
} te_bytes;
te_ref te_parse_with(te_graph *g, const char *text, const te_scope *scope, int n, const te_bytes *b,
                     ll_error *err);

/* Pointer -> pointer, for one walk: open addressing on malloc. A zeroed memo is empty. */
typedef struct te_memo {
    struct te_memo_slot { const void *key; void *value; } *slot;
    size_t n, cap;
} te_memo;
static inline size_t te_ptr_hash(const void *p)
{
    uint64_t x = (uint64_t)(uintptr_t)p * 0x9E3779B97F4A7C15u;
    return (size_t)(x ^ x >> 32);
}
void **te_memo_at(te_memo *m, const void *key, bool *found); /* inserts when absent */
void *te_memo_get(const te_memo *m, const void *key);        /* NULL when absent    */
void te_memo_finish(te_memo *m);

#endif

/* quant.h: block-quantised types. A type is one row of quant.def and nothing else in the tree
 * knows its name: planes (named arrays of small codes and scales), how a file's block becomes
 * planes (`from_file`), and the logical value from the planes (`value`). Both are expressions in
 * the text form of te.
 *
 *   QUANT(name, gguf_id, block, bytes, planes, from_file, value)
 *     block      logical elements per file block; bytes: its size in the file
 *     planes     "f16 d[1]; f16 m[1]; u4 q[32]": dtype, name, count per block (count divides block,
 *                so one plane element covers block / count consecutive elements of the row)
 *     from_file  "d = ...; m = ...; q = ...": plane element `i` of a block, as an expression over
 *                the block's bytes `b[j]` (u8)
 *     value      f32 expression over d, m, q: each name stands for the plane element that covers
 *                element k */
#ifndef LLMIR_TE_QUANT_H
#define LLMIR_TE_QUANT_H

#include "te/te.h"

typedef struct te_plane { const char *name; ll_dtype dtype; int count; } te_plane;
typedef struct te_quant {
    const char *name;
    int gguf_id, block, bytes, n_plane;
    te_plane plane[TE_MAX_PLANE];
    const char *from_file[TE_MAX_PLANE]; /* text per plane */
    const char *value;                   /* text           */
} te_quant;

int te_n_quants(void);
const te_quant *te_quant_at(int i);
const te_quant *te_quant_by_name(const char *name); /* NULL when unknown */
const te_quant *te_quant_by_gguf(int id);           /* NULL when unknown */
/* A row made at run time from its texts (tests: a type no file has). Lives in `arena`. */
const te_quant *te_quant_make(ll_arena *arena, const char *name, int block, int bytes,
                              const char *planes, const char *from_file, const char *value,
                              ll_error *err);
/* The logical value W[n, k] as an expression over W's planes (what te_at gives). */
te_ref te_quant_value(te_tensor *w, te_ref n, te_ref k);
/* Plane element i of row n (i over the whole row) from file bytes: a u8 tensor [rows, blocks,
 * bytes]. */
te_ref te_quant_from_file(te_graph *g, const te_quant *q, int plane, te_tensor *bytes, te_ref n,
                          te_ref i);

#endif

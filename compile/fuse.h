/* fuse.h: which definitions become which kernel, decided from index maps and reductions alone.
 *
 * Three kinds of definitions:
 *   contraction   a sum over a row of a constant matrix: it reads the weights, so it decides where time goes
 *   ragged        an axis whose extent depends on data (keys of a sequence); connected ones belong together
 *   light         everything else
 * A kernel is built round contractions, round ragged definitions, or of light ones alone. A light definition joins the
 * kernel of the contractions that it reads when it is *local*: an aligned block of its columns needs only the same block
 * of theirs (activation, rotation of pairs, blockwise quantisation, residual, cache append). Otherwise it waits, and is
 *   - with one row: recomputed by every thread in front of the kernel that needs it (`prologue`)
 *   - with many rows: computed by a kernel of its own, before.
 * Contractions with the same waiting inputs, none of which reads another, share a kernel (a union of nests); connected
 * through local definitions they share a nest (a *group*), whose tile is the least block for which all are local. */
#ifndef LLMIR_COMPILE_FUSE_H
#define LLMIR_COMPILE_FUSE_H

#include "te/te.h"

typedef enum cc_class { CC_MATMUL, CC_RAGGED, CC_ROWS } cc_class;

typedef struct cc_stage {
    te_tensor *t;
    bool contraction;
    bool prologue;  /* computed by each thread before the parts                       */
    bool root;      /* read by other kernels, or wanted                               */
    int group;      /* connected nests of a matmul kernel, -1 for the prologue         */
} cc_stage;

typedef struct cc_kernel {
    cc_class class;
    int n_stage, cap;
    cc_stage *stage;         /* in an order of computation                            */
    int n_group;
    int64_t *tile;           /* per group: columns of a tile                          */
    te_tensor **root; int n_root;
    te_tensor **given; int n_given; /* definitions of other kernels that it reads     */
} cc_kernel;

typedef struct cc_fusion {
    int n_kernel, cap;
    cc_kernel **kernel;      /* in an order of execution                              */
} cc_fusion;

/* Cuts what `wanted` needs into kernels. one_row: the row axis has one value. panel: rows of a weight panel (the least
 * tile). Memory from the graph's arena. */
ll_code cc_fuse(te_graph *g, te_tensor *const *wanted, int n_wanted, bool one_row, int64_t panel, cc_fusion *out,
                ll_error *err);

/* One stage a line (fuse_print.c shows the form). */
void cc_fusion_print(ll_str *out, const cc_fusion *f);

/* The stage that makes t, or NULL: t comes from outside. */
const cc_stage *cc_stage_of(const cc_kernel *k, const te_tensor *t);
/* One kernel as te text that parses: sizes, what it reads, its definitions with their roles as comments. tensor[]: what
 * the definitions name (planes by their whole). */
void cc_kernel_print_te(ll_str *out, const cc_kernel *k, te_tensor *const *tensor, int n);

/* For rules: is t a sum over the columns of a constant matrix? The matrix (not its plane), or NULL. */
te_tensor *cc_contraction_weight(const te_tensor *t);
bool cc_is_ragged(const te_tensor *t);

#endif

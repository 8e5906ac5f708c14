/* site.h: one kernel of the model scheduled for a target: fusion's stages + packings -> rule -> trace -> loop IR. */
#ifndef LLMIR_COMPILE_SITE_H
#define LLMIR_COMPILE_SITE_H

#include "compile/fuse.h"
#include "compile/packing.h"
#include "schedule/rules/rules.h"

enum { CC_PLAN_ROWS = 4 }; /* rows of a work item: what `rolling` unrolls */

/* Where the elements of a KV pool lie: text for `layout`. */
typedef struct cc_pool_layout { const char *name, *layout; } cc_pool_layout;

typedef struct cc_site_options {
    const ll_target *target;
    int64_t act_block;               /* columns that share a scale of quantised activations; 0: float */
    bool one_row;
    int64_t min_rows, max_rows, page;
    const char *items;
    const cc_pool_layout *pool; int n_pool;
    rule_knobs knobs;
} cc_site_options;

/* The packing of a constant matrix (its type and shape decide) for a target. */
ll_code cc_packing_of(const te_tensor *weight, const ll_target *t, cc_packing *out, ll_error *err);
/* The scheduled kernel, or NULL. The caller destroys it. */
sch *cc_site_schedule(te_graph *g, const cc_kernel *k, const char *name, const cc_site_options *o, ll_error *err);
/* The constant matrices that the kernel's stages read, each once: at most max. */
int cc_kernel_weights(const cc_kernel *k, te_tensor **out, int max);

#endif

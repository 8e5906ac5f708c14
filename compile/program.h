/* program.h: the state of a build, shared by its parts.
 *
 *     cc_builder        what is the module's: the model, tables, weights by (name, packing)
 *     cc_target_build   what is one target's: kernels with their code, programs
 *
 * Targets are built one after the other: programs (program.c), then code (code.c), then their rows
 * in the tables (tables.c); what only making code needs is given back before the next one. */
#ifndef LLMIR_COMPILE_PROGRAM_H
#define LLMIR_COMPILE_PROGRAM_H

#include "base/map.h"
#include "codegen/codegen.h"
#include "compile/arena.h"
#include "compile/blob.h"
#include "compile/build.h"
#include "compile/cache.h"
#include "compile/launch.h"
#include "compile/pack.h"
#include "compile/site.h"
#include "compile/unique.h"
#include "compile/wants.h"
#include "model/model.h"

/* Dims of the module, by index; behind them the number of work items of each plan. */
enum { CC_T, CC_S, CC_R, CC_PAGES, CC_BLOCKS, CC_KEYS, CC_PAIRS, CC_W, CC_MAX_PLAN = 16 };
extern const char *const cc_dim_name[CC_W];
/* Kernels call the items of their target's plan W.items. `target`: a cc_target_build; -1: none. */
int cc_dim_index(void *target, const char *name);

typedef struct cc_param { /* a parameter of a compiled kernel: number of a tensor in its instance, or the work items */
    int number;           /* -1: work items */
} cc_param;

typedef struct cc_built {    /* one distinct kernel of a target */
    char name[64];           /* made from its text and target, so equal kernels have equal names */
    char *te, *trace;
    cg_code code;
    cc_launch launch;        /* CUDA: of code.launch */
    /* until the code is made */
    const char *text;        /* identity */
    const cc_kernel *of;     /* the first kernel with this text, and its tensors */
    const cc_instance *in;
    sch *s;
    cc_param *param;
} cc_built;

typedef struct cc_target_build {
    ll_target target;
    cc_wants wants;
    uint32_t number;               /* in LLMIR_SEC_TARGET */
    uint32_t plan;                 /* in LLMIR_SEC_PLAN */
    ll_map by_text;                /* kernel text -> index + 1 */
    cc_built *kernel; int n_kernel, cap_kernel;
    uint32_t first_kernel;         /* number of kernel[0] in LLMIR_SEC_KERNEL and LLMIR_SEC_SITE */
    uint32_t first_code;           /* CPU: llmir_kernel_rec.code of kernel[0] */
    uint32_t program, n_program;   /* its range of LLMIR_SEC_PROGRAM */
    mdl_graph **graph; int n_graph; /* until the code is made */
    cc_packer *packer;             /* while weights are written */
} cc_target_build;

typedef struct cc_stored {
    const mdl_weight *w;
    uint64_t bytes;
    char packing[64];
    cc_target_build *of;           /* a target that packs it so */
} cc_stored;

typedef struct cc_builder {
    const cc_options *o;
    mdl_model *model;
    cc_blob *blob;
    ll_error *err;
    cc_report *report;
    cc_target_build *target; int n_target;
    int64_t plan_rows[CC_MAX_PLAN]; int n_plan;
    uint32_t n_code;               /* kernels of CPU targets so far */
    cc_cache *cache;               /* may be NULL */
    mdl_graph *constants;          /* the first graph of the build: names the weights */
    ll_map by_weight;              /* weight name and packing -> index + 1 */
    cc_stored *weight; int n_weight, cap_weight;
} cc_builder;

/* Adds the program of a target that serves t_min..t_max tokens on one kind of KV cache. */
ll_code cc_add_program(cc_builder *b, cc_target_build *t, ll_dtype kv, int64_t block, uint32_t kv_index, int64_t t_min, int64_t t_max);
/* Compiles the target's kernels (code.c). */
ll_code cc_make_code(cc_builder *b, cc_target_build *t);
/* Gives back what only cc_make_code needed. */
void cc_end_code(cc_target_build *t);

/* Rows of the tables (tables.c). */
void cc_add_dims(cc_builder *b);
/* The plan that cuts rows into items of `rows`, added with its dim where there is none yet. */
ll_code cc_add_plan(cc_builder *b, int64_t rows, uint32_t *out);
uint32_t cc_add_kv(cc_builder *b, ll_dtype kv, int64_t block);
ll_code cc_add_target(cc_builder *b, cc_target_build *t); /* with its kernels */
ll_code cc_add_weights(cc_builder *b);
void cc_add_model(cc_builder *b);

#endif

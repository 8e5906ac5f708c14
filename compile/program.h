/* program.h: the state of a build, shared by its parts: what was compiled (kernels), what is stored (weights), what runs
 * (programs). */
#ifndef LLMIR_COMPILE_PROGRAM_H
#define LLMIR_COMPILE_PROGRAM_H

#include "base/map.h"
#include "codegen/codegen.h"
#include "compile/arena.h"
#include "compile/blob.h"
#include "compile/build.h"
#include "compile/site.h"
#include "compile/unique.h"
#include "model/model.h"

/* Dims of the module, by index. */
enum { CC_T, CC_S, CC_R, CC_PAGES, CC_BLOCKS, CC_KEYS, CC_PAIRS, CC_W, CC_N_DIM };
extern const char *const cc_dim_name[CC_N_DIM];
int cc_dim_index(void *unused, const char *name); /* -1: none */

typedef struct cc_param { /* a parameter of a compiled kernel: number of a tensor in its instance, or the work items */
    int number;           /* -1: work items */
} cc_param;

typedef struct cc_built {    /* one distinct kernel */
    const char *text;        /* identity */
    char name[64];
    const cc_kernel *of;     /* the first kernel with this text, and its tensors */
    const cc_instance *in;
    sch *s;
    cc_param *param;
    cg_code code;
    char *te, *trace;
} cc_built;

typedef struct cc_stored { const mdl_weight *w; uint64_t bytes; char packing[64]; } cc_stored;

typedef struct cc_builder {
    const cc_options *o;
    mdl_model *model;
    ll_target target;
    cc_blob *blob;
    ll_error *err;
    cc_report *report;
    ll_map by_text;          /* kernel text -> index + 1 */
    cc_built *kernel; int n_kernel, cap_kernel;
    ll_map by_weight;        /* weight name -> index + 1 */
    cc_stored *weight; int n_weight, cap_weight;
    mdl_graph **graph; int n_graph; /* kept until code is made */
    char *temp_dir;
} cc_builder;

/* Adds the program that serves t_min..t_max tokens on one kind of KV cache. */
ll_code cc_add_program(cc_builder *b, ll_dtype kv, int64_t block, uint32_t kv_index, int64_t t_min, int64_t t_max);
/* Compiles all distinct kernels. */
ll_code cc_make_code(cc_builder *b);

#endif

/* flow.h: the statements of an entry with its calls inlined, as one list in the order they will run
 * in. */
#ifndef PTXSIM_FLOW_H
#define PTXSIM_FLOW_H

#include "ptxsim/parse.h"

typedef enum ptx_ikind {
    PTX_IT_PLAIN, /* st */
    PTX_IT_BRA,   /* to target; guard of st, inverted when `skip` */
    PTX_IT_FALL,  /* into the next item, which other lanes may reach too */
    PTX_IT_EXIT,
    PTX_IT_BRX /* one of targets */,
    PTX_IT_BUILTIN /* call of a known extern function */
} ptx_ikind;

typedef struct ptx_item {
    const ptx_stmt *st;      /* NULL: made here, no guard */
    ptx_func *func;          /* whose names it uses */
    uint8_t kind;
    bool skip;
    uint32_t target;
    uint32_t *targets, n_targets;
    const ptx_label *label;  /* while its function is being laid out */
} ptx_item;

typedef struct ptx_flow {
    ptx_item *item;
    uint32_t n, cap;
    uint32_t local_bytes;    /* frames of all functions */
    uint32_t *leader;        /* items that start a block, ascending; then n */
    uint32_t n_block;
} ptx_flow;

/* Items live in the module's arena. */
ptxsim_code ptx_flow_build(ptx_module *mod, ptx_func *entry, ptx_flow *out, ptxsim_error *err);

#endif

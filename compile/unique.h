/* unique.h: kernels that are the same but for names. Layers repeat; a kernel is scheduled and compiled once and bound to each
 * layer's tensors. The text of a kernel (its definitions, inputs and roles, with tensors numbered in order of appearance)
 * is its identity; the numbering says which tensor of one instance stands where in another. */
#ifndef LLMIR_COMPILE_UNIQUE_H
#define LLMIR_COMPILE_UNIQUE_H

#include "compile/fuse.h"

typedef struct cc_instance {
    const char *text;      /* canonical; equal texts: equal kernels    */
    int n;                 /* tensors, by number                       */
    te_tensor **tensor;    /* planes are not listed, their whole is    */
} cc_instance;

/* Memory from the graph's arena. */
cc_instance cc_instance_of(te_graph *g, const cc_kernel *k);
/* The number of a tensor in the instance, by name; -1: none. */
int cc_instance_find(const cc_instance *i, const char *name);

#endif

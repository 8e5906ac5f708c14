/* step.h: one step of a tiny model, with the meaning of every tensor in it: the oracle for kernels.
 *
 * A step has sequences with lengths; positions before the step's tokens have keys and values in the
 * pools (random), and everything that no sequence owns, or that lies behind a sequence's end, is
 * NaN there: what is stale must not be used. */
#ifndef LLMIR_TESTS_COMPILE_STEP_H
#define LLMIR_TESTS_COMPILE_STEP_H

#include "compile/pack.h"
#include "compile/site.h"
#include "model/model.h"
#include "oracle.h"

enum { STEP_MAX_SEQ = 4 };

typedef struct step_shape {
    int n_seq;
    int len[STEP_MAX_SEQ],
        rows[STEP_MAX_SEQ]; /* context, this step's tokens included; this step's tokens */
} step_shape;

typedef struct step {
    const mdl_model *m;
    mdl_graph *mg;
    te_env *env;
    cc_packer *packer; /* for the target at hand */
    step_shape shape;
    int64_t T, S, R, PAGES, BLOCKS, items; /* values of the dims */
    int32_t item[256][8];
} step;

mdl_model *step_model(const char *folder, const char *name);
/* item_rows: rows of a work item. */
void step_open(step *s, const mdl_model *m, mdl_graph *mg, const step_shape *shape, int item_rows);
void step_close(step *s);

oracle step_oracle(step *s);

#endif

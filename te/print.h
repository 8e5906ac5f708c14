/* print.h: tensors printed with other names than their own (canonical texts), and as inputs. */
#ifndef LLMIR_TE_PRINT_H
#define LLMIR_TE_PRINT_H

#include "te/te.h"

typedef struct te_print_style {
    const char *axis_prefix; /* axes print as prefix0, prefix1...; NULL: by name    */
    const char *(*tensor)(const te_tensor *t, void *ctx); /* a tensor's name; NULL: its own */
    void *ctx;
} te_print_style;

void te_print_tensor_as(ll_str *out, const te_tensor *t, const te_print_style *style);
/* As an input, whatever makes it: `in f32 x[T, 64]`: how a part of a graph sees what comes from outside. */
void te_print_input_as(ll_str *out, const te_tensor *t, const te_print_style *style);
void te_print_dim(ll_str *out, te_ref dim);

#endif

/* print.h: how te_canonical asks the printer for other names. For te/ only. */
#ifndef LLMIR_TE_PRINT_H
#define LLMIR_TE_PRINT_H

#include "te/te.h"

typedef struct te_print_style {
    const char *axis_prefix; /* axes print as prefix0, prefix1...; NULL: by name    */
    const char *(*tensor)(const te_tensor *t, void *ctx); /* a tensor's name; NULL: its own */
    void *ctx;
} te_print_style;

void te_print_tensor_as(ll_str *out, const te_tensor *t, const te_print_style *style);
void te_print_dim(ll_str *out, te_ref dim);

#endif

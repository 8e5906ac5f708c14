/* quant_file.h: the planes of a quantised weight from its rows as a file has them, by the type's own
 * from_file expressions and te_eval. */
#ifndef LLMIR_TESTS_QUANT_FILE_H
#define LLMIR_TESTS_QUANT_FILE_H

#include "te/quant.h"

/* Binds every plane of w in env. */
ll_code quant_file_bind(te_env *env, te_tensor *w, const unsigned char *mem, size_t n_bytes,
                        ll_error *err);

#endif

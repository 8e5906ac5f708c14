/* table.h: the object file that holds a module's function table and its note.
 *
 * It is data only, so it needs no code generator: a relocatable ELF with
 *     .data.rel.ro   llmir_module, then llmir_kernel_code[n]; one relocation per pointer
 *     .note.llmir    one note, its llmir_note all zero until the image is complete (image.c fills
 * it) and one global symbol, llmir_module_v1. */
#ifndef LLMIR_COMPILE_TABLE_H
#define LLMIR_COMPILE_TABLE_H

#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

/* Symbols of a kernel's two functions, defined in other objects of the image. */
typedef struct cc_kernel_symbols {
    const char *parts, *run;
} cc_kernel_symbols;

/* Appends the object's bytes to `out`. */
ll_code cc_table_object(const cc_kernel_symbols *kernel, uint32_t n, const uint64_t blob_digest[2],
                        ll_str *out, ll_error *err);

#endif

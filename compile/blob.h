/* blob.h: writes the tables of a module (<llmir/module_abi.h>, "the blob").
 *
 * Fill the record structs of module_abi.h and add them; the number given back is the record's
 * index, which other records use. Strings are stored once. Linear forms are built with cc_linear.
 * Nothing is checked here beyond what the format cannot say: the loader checks all of it, and so
 * does every test of a writer. */
#ifndef LLMIR_COMPILE_BLOB_H
#define LLMIR_COMPILE_BLOB_H

#include <stddef.h>
#include <stdint.h>

#include <llmir/module_abi.h>

#include "base/status.h"

typedef struct cc_blob cc_blob;

cc_blob *cc_blob_create(void); /* NULL when out of memory */
void cc_blob_destroy(cc_blob *b);

llmir_str cc_blob_str(cc_blob *b, const char *s);
/* Appends a record (its size is the kind's struct) and returns its index. */
uint32_t cc_blob_add(cc_blob *b, enum llmir_section_kind kind, const void *record);
/* How many records of the kind there are: the index the next one gets. */
uint32_t cc_blob_count(const cc_blob *b, enum llmir_section_kind kind);
/* Appends to a section of plain bytes (tokenizer, chat template, PTX); the offset of the first. */
uint64_t cc_blob_bytes(cc_blob *b, enum llmir_section_kind kind, const void *p, size_t n);

/* base + sum of coef[i] * dim number i, for i < n; terms with coefficient 0 are left out. */
llmir_linear cc_linear(cc_blob *b, int64_t base, const int64_t *coef, uint32_t n);
static inline llmir_linear cc_const(int64_t base) { return (llmir_linear){base, 0, 0}; }

/* The finished bytes (malloc'ed, the caller's). LL_NO_SPACE when memory ran out on the way. */
ll_code cc_blob_finish(cc_blob *b, uint8_t **out, size_t *n, ll_error *err);

#endif

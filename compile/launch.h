/* launch.h: the launch rule of a CUDA kernel as the module stores it (<llmir/module_abi.h>).
 *
 * The code generator gives the extents of the grid as expressions over dims; the module has
 * ceil(n / div) with n linear in the dims. floor(a / d) is ceil((a - d + 1) / d), a sum with a
 * whole number goes under the fraction, and floor(floor(a / d) / e) is floor(a / (d * e)), so every
 * nest of sums, products by literals of what is no fraction yet, and divisions by literals has that
 * form. Refused (LL_UNSUPPORTED): anything else, such as two fractions in a sum or a product of
 * dims; the schedule then has to put the loops on two grid dimensions. */
#ifndef LLMIR_COMPILE_LAUNCH_H
#define LLMIR_COMPILE_LAUNCH_H

#include "codegen/codegen.h"
#include "compile/arena.h"
#include "compile/blob.h"

typedef struct cc_extent {
    cc_bytes n; /* linear in the dims */
    int64_t div;
} cc_extent;

typedef struct cc_launch {
    char entry[128];
    uint32_t block[3], shared;
    cc_extent grid[3];
} cc_launch;

/* ceil(n / div) for an expression over dims; index_of gives a dim's number (-1: unknown). */
ll_code cc_extent_of(te_ref e, int (*index_of)(void *, const char *), void *ctx, cc_extent *out,
                     ll_error *err);
/* `kernel` starts every message. */
ll_code cc_launch_of(const cg_launch *l, const char *kernel,
                     int (*index_of)(void *, const char *), void *ctx, cc_launch *out,
                     ll_error *err);
/* Adds the record and its PTX text (bytes, the NUL included); returns its number. */
uint32_t cc_launch_add(cc_blob *b, const cc_launch *l, const char *ptx, size_t bytes);

#endif

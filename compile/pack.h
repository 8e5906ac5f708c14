/* pack.h: writes the constants of a model as a module wants them: matrices packed (packing.h),
 * everything else dense.
 *
 * A packing program (pack_program.h) is compiled for this machine, once per type, and run by
 * `threads` threads over runs of row panels:
 *
 *     file rows --pread--> | chunk | --program--> | packed panels | --in order--> sink
 *
 * At most threads + 2 chunks are in memory, each of some hundred KiB (or one panel, where that is
 * more). The sink is called by the calling thread alone. It refuses matrices whose values do not
 * come from the file, and a file tensor of another type or shape than the constant. */
#ifndef LLMIR_COMPILE_PACK_H
#define LLMIR_COMPILE_PACK_H

#include "compile/packing.h"
#include "model/model.h"
#include "target/target.h"

typedef struct cc_packer cc_packer;
typedef ll_code (*cc_sink_fn)(void *user, const void *p, size_t n, ll_error *err);

enum { CC_PACK_ALIGN = 64 };

/* For code that runs on `target`, which must outlive it. threads 0: one per core. */
cc_packer *cc_packer_create(const ll_target *target, int threads, ll_error *err);
void cc_packer_destroy(cc_packer *p); /* NULL is fine */
/* Bytes of a constant, a multiple of CC_PACK_ALIGN. */
ll_code cc_packed_bytes(const te_tensor *t, const ll_target *target, uint64_t *out, ll_error *err);

/* Bytes [off, off + n) of a matrix as the file has it, rows one after the other. Called by several
 * threads at once. */
typedef struct cc_source {
    ll_code (*read)(void *user, uint64_t off, void *buf, size_t n, ll_error *err);
    void *user;
} cc_source;

/* Packs one matrix whose elements are of type `file` (a row of block 1 for plain elements), which
 * must outlive the packer. Hands pk->bytes bytes to the sink, in order, in any number of calls. A
 * failing sink or source ends it with its code. */
ll_code cc_packer_matrix(cc_packer *p, const cc_packing *pk, const te_quant *file, cc_source from,
                         cc_sink_fn sink, void *user, ll_error *err);
/* Hands all bytes of the constant to the sink, padding included. */
ll_code cc_packer_weight(cc_packer *p, const mdl_gguf *file, const mdl_weight *w, cc_sink_fn sink,
                         void *user, ll_error *err);

#endif

/* image.h: writes a model.so: links the objects, appends tables and weights, fills the note.
 *
 * No compiler is run: `ld -shared` in a private directory, by relative names, so the bytes do not
 * depend on where it happens. The file appears under its name only when it is complete (fsync,
 * rename). Weights are streamed; memory use does not grow with them. */
#ifndef LLMIR_COMPILE_IMAGE_H
#define LLMIR_COMPILE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "compile/table.h"

typedef struct cc_object {
    const void *bytes;
    size_t n;
} cc_object;

typedef struct cc_sink cc_sink;
/* Appends bytes of the weight being written. */
ll_code cc_sink_write(cc_sink *s, const void *p, size_t n, ll_error *err);

typedef struct cc_image {
    const cc_object *object; /* relocatable ELF that defines the kernels' functions */
    size_t n_object;
    const cc_kernel_symbols *kernel; /* by llmir_kernel_rec.code of CPU kernels */
    uint32_t n_kernel;
    const void *blob; /* from cc_blob_finish; its weight records say where weights go */
    size_t blob_size;
    /* Writes all bytes of weight record i, in any number of cc_sink_write calls. Called in order.
     */
    ll_code (*weight)(void *user, uint32_t i, cc_sink *sink, ll_error *err);
    void *user;
    const char *linker; /* NULL: "ld" */
} cc_image;

/* LL_NO_SPACE when disk or memory is full, LL_FAILED with the linker's words. */
ll_code cc_image_write(const char *path, const cc_image *image, ll_error *err);

#endif

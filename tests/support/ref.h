/* ref.h: reference cases NAME.json + NAME.bin (little-endian tensors with names, types, shapes,
 * and a `meta` object of scalars), for tests. A damaged case fails the running test. */
#ifndef LLMIR_TESTS_REF_H
#define LLMIR_TESTS_REF_H

#include <stddef.h>
#include <stdint.h>

typedef struct ref_tensor {
    char name[64], dtype[8];
    int ndim;
    int64_t shape[8];
    size_t n, bytes;
    const unsigned char *p;
} ref_tensor;

typedef struct ref_case ref_case;
ref_case *ref_open(const char *path_without_suffix); /* relative to tests/data */
void ref_close(ref_case *c);
int ref_n_tensors(const ref_case *c);
const ref_tensor *ref_at(const ref_case *c, int i);
const ref_tensor *ref_tensor_of(const ref_case *c,
                                const char *name); /* fails the test when absent */
double ref_number(const ref_case *c, const char *key);
const char *ref_string(const ref_case *c, const char *key);
double ref_f(const ref_tensor *t, size_t i);  /* element i as a number, any dtype */
int64_t ref_i(const ref_tensor *t, size_t i); /* element i of an integer tensor   */

#endif

/* ref.c: see ref.h. */
#include "tests/support/ref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/half.h"

struct ref_case {
    json_t *root;
    unsigned char *bin;
    size_t n_bin;
    int n;
    ref_tensor *t;
};

static unsigned char *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s cannot be opened", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *p = malloc(*n + 1);
    if (!p || fread(p, 1, *n, f) != *n) fail_msg("%s cannot be read", path);
    fclose(f);
    return p;
}

static void read_tensor(ref_case *c, ref_tensor *t, json_t *j)
{
    snprintf(t->name, sizeof t->name, "%s", json_string_value(json_object_get(j, "name")));
    snprintf(t->dtype, sizeof t->dtype, "%s", json_string_value(json_object_get(j, "dtype")));
    json_t *shape = json_object_get(j, "shape");
    t->ndim = (int)json_array_size(shape);
    t->n = 1;
    for (int i = 0; i < t->ndim && i < 8; i++) {
        t->shape[i] = json_integer_value(json_array_get(shape, (size_t)i));
        t->n *= (size_t)t->shape[i];
    }
    size_t at = (size_t)json_integer_value(json_object_get(j, "offset"));
    t->bytes = (size_t)json_integer_value(json_object_get(j, "nbytes"));
    if (at + t->bytes > c->n_bin) fail_msg("%s lies outside its file", t->name);
    t->p = c->bin + at;
}

ref_case *ref_open(const char *name)
{
    char path[1024];
    json_error_t e;
    ref_case *c = calloc(1, sizeof *c);
    snprintf(path, sizeof path, "%s/%s.json", TEST_DATA, name);
    c->root = json_load_file(path, 0, &e);
    if (!c->root) fail_msg("%s: %s", path, e.text);
    snprintf(path, sizeof path, "%s/%s.bin", TEST_DATA, name);
    c->bin = slurp(path, &c->n_bin);
    json_t *list = json_object_get(c->root, "tensors");
    c->n = (int)json_array_size(list);
    c->t = calloc((size_t)c->n + 1, sizeof *c->t);
    for (int i = 0; i < c->n; i++) read_tensor(c, &c->t[i], json_array_get(list, (size_t)i));
    return c;
}

void ref_close(ref_case *c)
{
    json_decref(c->root);
    free(c->bin);
    free(c->t);
    free(c);
}

int ref_n_tensors(const ref_case *c) { return c->n; }
const ref_tensor *ref_at(const ref_case *c, int i) { return &c->t[i]; }

const ref_tensor *ref_tensor_of(const ref_case *c, const char *name)
{
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->t[i].name, name) == 0) return &c->t[i];
    fail_msg("the case has no tensor %s", name);
    return NULL;
}

double ref_number(const ref_case *c, const char *key)
{
    return json_number_value(json_object_get(json_object_get(c->root, "meta"), key));
}

const char *ref_string(const ref_case *c, const char *key)
{
    const char *s = json_string_value(json_object_get(json_object_get(c->root, "meta"), key));
    return s ? s : "";
}

double ref_f(const ref_tensor *t, size_t i)
{
    float f;
    double d;
    uint16_t h;
    if (strcmp(t->dtype, "f32") == 0) return memcpy(&f, t->p + 4 * i, 4), (double)f;
    if (strcmp(t->dtype, "f64") == 0) return memcpy(&d, t->p + 8 * i, 8), d;
    if (strcmp(t->dtype, "f16") == 0) return memcpy(&h, t->p + 2 * i, 2), (double)ll_f16_to(h);
    return (double)ref_i(t, i);
}

int64_t ref_i(const ref_tensor *t, size_t i)
{
    int bytes = atoi(t->dtype + 1) / 8;
    int64_t v = 0;
    memcpy(&v, t->p + (size_t)bytes * i, (size_t)bytes);
    if (t->dtype[0] == 'i' && bytes < 8)
        v = (int64_t)((uint64_t)v << (64 - 8 * bytes)) >> (64 - 8 * bytes);
    return v;
}

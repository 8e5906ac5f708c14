/* fuzz_module.c: bytes as a module file, once as they are and once with honest digests, through
 * everything that is read before code is loaded. What opens answers every question about what it
 * says it holds, with texts, and refuses the one behind the last. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <llmir/llmir.h>

#include "tests/unit/runtime/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t total; /* of all lengths: sanitizers see every byte that is read */

static void text(const char *s)
{
    if (!s) abort();
    total += strlen(s);
}

#define EACH(n, call, ...)                                     \
    for (uint32_t i = 0; i <= (n); i++) {                      \
        llmir_status rc_ = (call);                             \
        if (rc_ != (i < (n) ? LLMIR_OK : LLMIR_USAGE)) abort(); \
        if (i < (n)) { __VA_ARGS__ }                           \
    }

static void ask(const llmir_model *m)
{
    llmir_error e;
    llmir_model_info a = {.size = sizeof a};
    llmir_target_info t = {.size = sizeof t};
    llmir_kernel_info k = {.size = sizeof k};
    llmir_site_info s = {.size = sizeof s};
    llmir_kv_info v = {.size = sizeof v};
    const char *key, *value;
    if (llmir_model_get_info(m, &a, &e) != LLMIR_OK) abort();
    text(a.name), text(a.arch), text(a.quant), text(a.target), text(a.features);
    EACH(a.n_targets, llmir_model_target(m, i, &t, &e), text(t.name); text(t.features);
         text(t.missing);)
    EACH(a.n_kernels, llmir_model_kernel(m, i, &k, &e), text(k.name); text(k.te); text(k.trace);
         if (k.target >= a.n_targets) abort();)
    EACH(a.n_sites, llmir_model_site(m, i, &s, &e), text(s.name); text(s.te); text(s.klass);
         text(s.note); if (s.kernel >= a.n_kernels) abort();)
    EACH(a.n_kv, llmir_model_kv(m, i, &v, &e), text(v.dtype); if (!v.block) abort();)
    EACH(a.n_facts, llmir_model_fact(m, i, &key, &value, &e), text(key); text(value);)
}

static void open_it(int fd, const void *p, size_t n)
{
    char path[64];
    llmir_error err;
    llmir_model *m;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (ftruncate(fd, 0) || pwrite(fd, p, n, 0) != (ssize_t)n) abort();
    int rc = llmir_open_info(path, &m, &err);
    if (rc == LLMIR_OK) {
        ask(m);
        llmir_close(m);
    } else if (!err.msg[0] || err.code != rc)
        abort(); /* every refusal says why */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) fd = memfd_create("module", 0);
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    open_it(fd, copy, size);
    fake_seal(copy, size);
    open_it(fd, copy, size);
    free(copy);
    return 0;
}

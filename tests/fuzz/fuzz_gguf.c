/* fuzz_gguf.c: libFuzzer target. Any bytes as a GGUF file: opens or is refused with a sentence;
 * what opens is read through every accessor. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const mdl_gguf *g)
{
    char buf[512];
    for (size_t i = 0; i < g->n_tensor; i++) {
        const mdl_gtensor *t = &g->tensor[i];
        if (mdl_gguf_tensor(g, t->name) != t) abort();
        size_t n = t->size < sizeof buf ? (size_t)t->size : sizeof buf;
        if (mdl_gguf_read(g, t, t->size - n, buf, n, NULL)) abort(); /* it is inside the file */
    }
    for (size_t i = 0; i < g->n_kv; i++) {
        const mdl_kv *kv = &g->kv[i];
        volatile uint64_t sum = 0;
        if (kv->type != MDL_KV_ARRAY) continue;
        mdl_str_iter it = {.g = g, .kv = kv};
        const char *s;
        size_t n;
        if (kv->item == MDL_KV_STRING)
            while (mdl_str_next(&it, &s, &n)) sum += n ? (unsigned char)s[n - 1] : 0;
        for (uint64_t k = 0; mdl_kv_is_int(kv->item) && k < kv->n; k++)
            sum += (uint64_t)mdl_kv_int_at(g, kv, k);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size) abort();
    mdl_gguf *g;
    ll_error e = {0};
    ll_code rc = mdl_gguf_open_fd(dup(fd), size, "f", &g, &e);
    if (rc == LL_OK) use(g);
    else if (!e.msg[0] || e.code != rc || g) abort();
    mdl_gguf_close(g);
    return 0;
}

/* fuzz_module.c: bytes as a module file, once as they are and once with honest digests, through
 * everything that is read before code is loaded. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <llmir/llmir.h>

#include "tests/unit/runtime/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_it(int fd, const void *p, size_t n)
{
    char path[64];
    llmir_error err;
    llmir_model *m;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (ftruncate(fd, 0) || pwrite(fd, p, n, 0) != (ssize_t)n) abort();
    int rc = llmir_open_info(path, &m, &err);
    if (rc == LLMIR_OK)
        llmir_close(m);
    else if (!err.msg[0] || err.code != rc)
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

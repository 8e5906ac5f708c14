/* make_fake.c: make_fake KERNELS.o KERNELS.ptx OUT.so: the fake model with a tokenizer, for tests of the tools.
 */
#include <stdlib.h>

#include "base/file.h"
#include "tests/unit/runtime/fake_text.h"

int main(int argc, char **argv)
{
    ll_error e = {0};
    void *ptx = NULL;
    size_t n;
    if (argc != 4) return fprintf(stderr, "usage: make_fake KERNELS.o KERNELS.ptx OUT.so\n"), 2;
    ll_code rc = ll_file_read(argv[2], 1 << 24, &ptx, &n, &e);
    if (rc == LL_OK) rc = fake_write_text(argv[3], argv[1], ptx, &e);
    free(ptx);
    if (rc != LL_OK) fprintf(stderr, "make_fake: %s\n", e.msg);
    return (int)rc;
}

/* make_fake.c: make_fake KERNELS.o OUT.so: the fake model with a tokenizer, for tests of the tools.
 */
#include "tests/unit/runtime/fake_text.h"

int main(int argc, char **argv)
{
    ll_error e = {0};
    if (argc != 3) return fprintf(stderr, "usage: make_fake KERNELS.o OUT.so\n"), 2;
    ll_code rc = fake_write_text(argv[2], argv[1], &e);
    if (rc != LL_OK) fprintf(stderr, "make_fake: %s\n", e.msg);
    return (int)rc;
}

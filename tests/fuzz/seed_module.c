/* seed_module.c: seed_module KERNELS.o OUT.so: writes the fake model of the tests as a module. */
#include <stdio.h>

#include "tests/unit/runtime/fake.h"

int main(int argc, char **argv)
{
    ll_error e = {0};
    if (argc != 3) return fprintf(stderr, "usage: seed_module KERNELS.o OUT.so\n"), 2;
    ll_code rc = fake_write(argv[2], argv[1], &(fake_options){0}, &e);
    if (rc != LL_OK) fprintf(stderr, "seed_module: %s\n", e.msg);
    return (int)rc;
}

/* The texts that bench/kernel times (argv: FILE...) give what lp_eval gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "harness.h"

static int n_file;
static char **file;

static void timed_kernels_are_right(void **state)
{
    for (int i = 0; i < n_file; i++) {
        void *text;
        size_t n;
        ll_error err = {0};
        if (ll_file_read(file[i], 1 << 20, &text, &n, &err) != LL_OK) fail_msg("%s", err.msg);
        ll_target here;
        ll_target_native(&here);
        if (!ll_target_has(&here, LL_FEAT_AVX512VNNI)) skip();
        kernel k;
        kernel_open(&k, text, NULL);
        kernel_fill(&k, (int64_t[]){8}, 1);
        kernel_check(&k, 1e-3); /* against sums of 1e5 and more that cancel */
        kernel_close(&k);
        free(text);
    }
}

int main(int argc, char **argv)
{
    n_file = argc - 1;
    file = argv + 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(timed_kernels_are_right)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

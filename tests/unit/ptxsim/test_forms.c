/* Every scalar and memory form that compilers write for the kernels this machine is for stands once
 * in forms.ptx (checked with ptxas when it was written). */
#include "ptx_text.h"

static char *forms;

static int read_forms(void **state)
{
    FILE *f = fopen(FORMS, "rb");
    if (!f) return -1;
    forms = calloc(1, 1 << 20);
    size_t n = forms ? fread(forms, 1, (1 << 20) - 1, f) : 0;
    fclose(f);
    return n ? 0 : -1;
}
static int free_forms(void **state)
{
    free(forms);
    return 0;
}

static void all_forms_are_accepted(void **state)
{
    machine x;
    if (machine_load(&x, 90, forms)) fail_msg("%s", x.err.msg);
    assert_int_equal(ptxsim_kernel_count(x.mod), 1);
    assert_int_equal(ptxsim_info(ptxsim_kernel_at(x.mod, 0))->param_bytes, 80);
    machine_close(&x);
}

/* Puts .zap behind the opcode of each instruction in turn. */
static void an_unknown_modifier_is_refused_at_its_place(void **state)
{
    char *copy = malloc(1 << 20);
    assert_non_null(copy);
    unsigned line = 1, tried = 0;
    for (const char *p = forms; *p; line++) {
        const char *end = strchr(p, '\n');
        if (p[0] == '\t' && p[1] >= 'a' && p[1] <= 'z' &&
            (line % 7 == 0 || strstr(p, "mbarrier") == p + 1)) {
            size_t op = strcspn(p + 1, " ;\n") + 1, at = (size_t)(p - forms) + op;
            memcpy(copy, forms, at);
            strcpy(copy + at, ".zap");
            strcat(copy + at, forms + at);
            machine x;
            assert_int_equal(machine_load(&x, 90, copy), PTXSIM_BAD_PTX);
            if (x.err.line != line || x.err.column < 2 || !strstr(x.err.msg, "t.ptx:"))
                fail_msg("line %u: %s", line, x.err.msg);
            machine_close(&x);
            tried++;
        }
        p = end + 1;
    }
    assert_true(tried > 100);
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_forms_are_accepted),
        cmocka_unit_test(an_unknown_modifier_is_refused_at_its_place),
    };
    return cmocka_run_group_tests(tests, read_forms, free_forms);
}

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

/* Forms that must be stopped with the operands they get below, and with which words. */
static const struct { const char *form, *said;
} stopped[] = {
    { "trap", "trap" },
    { "mapa", "rank 1024, the cluster has 1" },
    { "cp.async.bulk.tensor", "not a tensor map" },
    { "mbarrier.inval", "not initialised" }, /* the second lane */
    { "mbarrier.arrive.noComplete", "more arrivals" },
    { "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2", "not initialised" }, /* overwritten */
    { "cp.async.cg.shared.global [%r1],[%d1],16,%r2", "source size 1024" },
    { "cp.async.ca.shared.global.L2::128B [%r1],[%d1],8,%r2", "source size 1024" },
};

/* The declarations of forms.ptx, registers with addresses and ones in them, and one statement. */
static void alone(char *text, size_t size, const char *stmt, size_t n)
{
    const char *body = strstr(forms, "\t@!%p1 bra");
    bool local = !strncmp(stmt + 2, ".local", 6);
    assert_non_null(body);
    size_t at = (size_t)snprintf(text, size, "%.*s", (int)(body - forms), forms);
    at += (size_t)snprintf(text + at, size - at,
                           ".shared .align 1024 .b8 pad[8192];\nmov.u32 %%r0, "
                           "pad;\nmbarrier.init.shared.b64 [%%r0], 64;\n");
    for (int k = 0; k < 8; k++)
        at += (size_t)snprintf(text + at, size - at,
                               "mov.u32 %%r%d, pad; mov.b16 %%h%d, 1; mov.f32 %%f%d, 1.0;\n"
                               "mov.f64 %%g%d, 1.0; setp.eq.u32 %%p%d, 0, 0;\n%s %%d%d, %s;\n",
                               k, k, k, k, k, local ? "mov.u64" : "ld.param.u64", k,
                               local ? "depot" : "[k_param_0]");
    snprintf(text + at, size - at, "%.*s\n$L__end:\nret;\n}\n", (int)n, stmt);
}

static void run_alone(const char *stmt, size_t n)
{
    static char text[16384];
    machine x;
    uint64_t p;
    uint8_t block[64] = { 0 };
    float f = 1;
    uint32_t u = 1;
    const char *said = NULL;
    alone(text, sizeof text, stmt, n);
    for (size_t i = 0; i < sizeof stopped / sizeof *stopped; i++)
        if (!strncmp(stmt, stopped[i].form, strlen(stopped[i].form))) said = stopped[i].said;
    if (machine_load(&x, 90, text)) fail_msg("%s", x.err.msg);
    assert_int_equal(ptxsim_alloc(x.m, 65536, &p, &x.err), PTXSIM_OK);
    p += 1024;
    x.code = ptxsim_run(x.m,
                        &(ptxsim_launch){ .kernel = ptxsim_find(x.mod, "k"),
                                          .block = { 128 },
                                          .shared_bytes = 1024,
                                          .args = (const void *[]){ &p, block, &f, &u },
                                          .n_args = 4,
                                          .max_steps = 10000 },
                        &x.log, &x.err);
    if (said ? x.code != PTXSIM_FAULT || !strstr(x.err.msg, said) : x.code != PTXSIM_OK)
        fail_msg("%.*s: %s", (int)n, stmt, x.err.msg);
    machine_close(&x);
}

static void every_form_runs_alone_or_says_why_not(void **state)
{
    unsigned ran = 0;
    for (const char *p = strstr(forms, "\t@!%p1 bra"), *end; (end = strchr(p, '\n')); p = end + 1) {
        if (p[0] != '\t' || p[1] < 'a' || p[1] > 'z') continue;
        run_alone(p + 1, (size_t)(end - p) - 1);
        ran++;
    }
    assert_true(ran > 900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_forms_are_accepted),
        cmocka_unit_test(an_unknown_modifier_is_refused_at_its_place),
        cmocka_unit_test(every_form_runs_alone_or_says_why_not),
    };
    return cmocka_run_group_tests(tests, read_forms, free_forms);
}

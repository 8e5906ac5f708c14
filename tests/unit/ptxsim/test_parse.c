/* The parser: structure that compilers write, and mistakes with their place. */
#include "ptx_text.h"

static void refused(const char *text, unsigned line, unsigned column, const char *what)
{
    machine x;
    ptxsim_code c = machine_load(&x, 90, text);
    if (c == PTXSIM_OK) fail_msg("accepted: %s", text);
    if (x.err.line != line || x.err.column != column || !strstr(x.err.msg, what))
        fail_msg("wanted %u:%u ... %s, got %s", line, column, what, x.err.msg);
    machine_close(&x);
}

static void accepted(const char *text)
{
    machine x;
    if (machine_load(&x, 90, text)) fail_msg("%s", x.err.msg);
    machine_close(&x);
}

static void mistakes_have_a_line_and_a_column(void **state)
{
    refused("", 1, 1, "no PTX");
    refused("hello", 1, 1, "no PTX");
    refused(".version 8.0\n", 2, 1, ".target is missing");
    refused(".version 8.0\n.target sm_9x\n", 2, 9, "unknown target");
    refused(HEAD ".frobnicate 3\n", 4, 1, "directive");
    refused(HEAD ".entry k() {\n .reg .b32 %r<4>;\n nosuch.u32 %r1;\n}\n", 6, 2,
            "unknown instruction");
    refused(HEAD ".entry k() {\n .reg .b32 %r<4>;\n add.u32 %r1, %r2\n}\n", 7, 1, "';' is wanted");
    refused(HEAD ".entry k() {\n .reg .b32 %r<4>;\n add.u32 %r1, %r2, %q9;\n}\n", 6, 20, "%q9");
    refused(HEAD ".entry k() {\n .reg .b32 %r<4>;\n add.u32 %r1, %r2, %r4;\n}\n", 6, 20, "%r4");
    refused(HEAD ".entry k() {\n .reg .b32 %r<4>;\n .reg .b64 %d;\n add.u32 %r1, %r2, %d;\n}\n", 7,
            20, "32 bits are wanted");
    refused(HEAD ".entry k() {\n bra L;\n}\n", 5, 6, "L is no label");
    refused(HEAD ".entry k() {\n .reg .b32 %r<2>;\n .reg .b32 %r0;\n mov.b32 %r0, 1;\n mov.b32 "
                 "%r0, 08;\n}\n",
            8, 15, "");
    refused(HEAD ".entry k() {\n .reg .b32 %r;\n .reg .f32 %r;\n}\n", 6, 12, "declared twice");
    refused(HEAD ".entry k() {\n .reg .f32 %f;\n mov.f32 %f, 0f12;\n}\n", 6, 14,
            "8 hexadecimal digits");
    refused(HEAD ".entry k() { /* open\n", 4, 14, "not closed");
    refused(HEAD ".entry k() {\n ret;\n", 6, 1, "'}' is missing");
    refused(HEAD ".entry k() {\n .reg .b32 %r<3>;\n mov.u32 %r1, %tid.q;\n}\n", 6, 15, "%tid.q");
    refused(HEAD ".global .align 3 .b8 x[4];\n", 4, 9, "power of two");
    refused(HEAD ".global .b8 x[2] = {1, 2, 3};\n", 4, 13, "more initialisers");
    refused(HEAD ".entry k(.param .u32 a) {\n .reg .b32 %r<2>;\n ld.param.u64 %r0, [a];\n}\n", 6,
            15, "64 bits");
    refused(HEAD ".entry k(.param .u32 a) {\n .reg .b64 %d<2>;\n ld.param.u64 %d0, [a];\n}\n", 6,
            20, "past the parameters");
}

static void what_compilers_write_is_accepted(void **state)
{
    accepted(HEAD
             ".file 1 \"a b.cu\"\n.visible .entry k()\n.maxntid 128, 1, 1\n.minnctapersm "
             "2\n{\n.pragma \"nounroll\";\n"
             ".loc 1 2 3, function_name $L__info_string0, inlined_at 1 5 6\n.loc 1 2 3\nret; }\n"
             ".section .debug_str { $L__info_string0: .b8 95, 90 \n .b8 { 1 } }\n.section "
             ".debug_macinfo { }\n");
    accepted(HEAD ".extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);\n.global "
                  ".align 1 .b8 s[5] = {72, 105, 10};\n"
                  ".global .align 8 .u64 t[2] = {s, generic(s)+1};\n.entry k() { ret; }\n");
    /* inner scopes shadow, labels are local to their scope, several statements stand on a line */
    accepted(HEAD ".entry k() { .reg .b32 %r<3>; mov.u32 %r0, 1; { .reg .pred %r0; .reg .b64 x; "
                  "mov.u64 x, 1; setp.eq.u64 %r0, x, 2; @%r0 bra W; W: } "
                  "{ .reg .pred p; W: setp.eq.u32 p, %r0, 1; @!p bra W; } bra E; E: ret; }");
    accepted(HEAD ".entry k() { .reg .v4 .f32 v; .reg .f32 a; mov.f32 v.x, 1.5; add.f32 a, v.x, "
                  "v.y; st.global.v4.f32 [16], v; ret; }");
}

static void bad_uses_are_refused(void **state)
{
    refused(HEAD ".func f(.param .u32 a) { call f, (a); ret; }\n.entry k() { .param .u32 p; call "
                 "f, (p); ret; }\n",
            4, 26, "recursion");
    refused(HEAD ".entry k() { .reg .b64 %d; call %d; ret; }\n", 4, 33, "calls through registers");
    refused(HEAD ".entry k() { call g; ret; }\n", 4, 19, "g is not declared");
    refused(HEAD ".entry k() { .reg .b32 %r<9>; mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f33 "
                 "{%r0}, {%r1}, {%r2}, {%r3}; }\n",
            4, 31, "");
    refused(".version 8.0\n.target sm_100\n.entry k() { ret; }\n", 1, 1, "sm_90");
}

/* Truncating a text at any byte is an error with a place, never a crash. */
static void every_prefix_is_refused_cleanly(void **state)
{
    static const char text[] =
        HEAD90 ".global .align 4 .b8 g[8] = {1, 2, 0xff(g)};\n.func (.param .b32 r) f(.param .b32 "
               "a)\n{ .reg .b32 %x; ld.param.b32 %x, [a]; st.param.b32 [r], %x; ret; }\n"
               ".visible .entry k(.param .u64 p, .param .align 8 .b8 s[16]) .reqntid 32\n{ .reg "
               ".pred %p<2>; .reg .b32 %r<5>; .reg .b64 %d<3>; .shared .align 8 .b8 sh[64];\n"
               "ld.param.u64 %d0, [p]; mov.u32 %r0, %tid.x; { .param .b32 q; .param .b32 z; "
               "st.param.b32 [q+0], %r0; call.uni (z), f, (q); ld.param.b32 %r1, [z+0]; }\n"
               "setp.lt.and.s32 %p0|%p1, %r1, -4, !%p1; @%p0 bra $L1; st.global.v2.u32 [%d0+8], "
               "{%r0, %r1}; $L1: mbarrier.init.shared::cta.b64 [sh], 1; bar.sync 0; ret; }\n";
    accepted(text);
    char *copy = malloc(sizeof text);
    assert_non_null(copy);
    for (size_t n = 0; n < sizeof text - 2; n++) {
        machine x;
        memcpy(copy, text, n);
        copy[n] = 0;
        if (machine_load(&x, 90, copy) != PTXSIM_OK) assert_true(x.err.line > 0 && x.err.msg[0]);
        machine_close(&x);
    }
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_have_a_line_and_a_column),
        cmocka_unit_test(what_compilers_write_is_accepted),
        cmocka_unit_test(bad_uses_are_refused),
        cmocka_unit_test(every_prefix_is_refused_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

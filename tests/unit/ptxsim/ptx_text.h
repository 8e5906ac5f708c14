/* ptx_text.h: small kernels written in the tests: load, run, look at results and findings. */
#ifndef TESTS_PTX_TEXT_H
#define TESTS_PTX_TEXT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <llmir/ptxsim.h>

#define HEAD ".version 8.0\n.target sm_80\n.address_size 64\n"
#define HEAD90 ".version 8.3\n.target sm_90a\n.address_size 64\n"
/* An entry `k` with one pointer parameter, its global address in %out and tid.x in %t. */
#define ENTRY                                                                                      \
    ".visible .entry k(.param .u64 p0)\n{\n.reg .pred %p<10>;\n.reg .b32 %r<40>;\n.reg .f32 "      \
    "%f<20>;\n"                                                                                    \
    ".reg .b64 %d<20>;\n.reg .b32 %t;\n.reg .b64 %out, %mine;\nld.param.u64 %out, [p0];\n"         \
    "mov.u32 %t, %tid.x;\nmul.wide.u32 %mine, %t, 4;\nadd.s64 %mine, %out, %mine;\n"

typedef struct machine {
    ptxsim *m;
    ptxsim_module *mod;
    ptxsim_log *log;
    ptxsim_error err;
    ptxsim_code code;
    uint64_t out;
} machine;

static inline void machine_close(machine *x)
{
    ptxsim_log_destroy(x->log);
    ptxsim_destroy(x->m);
    *x = (machine){ 0 };
}

static inline ptxsim_code machine_load(machine *x, unsigned sm, const char *text)
{
    *x = (machine){ 0 };
    assert_int_equal(ptxsim_create(&(ptxsim_config){ .sm = sm }, &x->m, &x->err), PTXSIM_OK);
    return x->code = ptxsim_load(x->m, text, strlen(text), "t.ptx", &x->mod, &x->err);
}

/* Runs k over `blocks` blocks of `threads` with a zeroed output of `n` words. */
static inline void machine_run(machine *x, unsigned sm, const char *text, uint32_t blocks,
                               uint32_t threads, uint32_t *out, size_t n, ptxsim_launch opt)
{
    if (machine_load(x, sm, text)) fail_msg("%s", x->err.msg);
    assert_int_equal(ptxsim_alloc(x->m, n * 4, &x->out, &x->err), PTXSIM_OK);
    assert_int_equal(ptxsim_fill(x->m, x->out, 0, 4, n, &x->err), PTXSIM_OK);
    opt.kernel = ptxsim_find(x->mod, "k");
    assert_non_null(opt.kernel);
    opt.grid[0] = blocks;
    opt.block[0] = threads;
    const void *args[] = { &x->out };
    opt.args = args;
    opt.n_args = 1;
    x->code = ptxsim_run(x->m, &opt, &x->log, &x->err);
    if (out)
        assert_int_equal(ptxsim_read(x->m, out, x->out, n * 4, &(ptxsim_error){ 0 }), PTXSIM_OK);
}

static inline size_t found(const machine *x, ptxsim_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < ptxsim_log_count(x->log); i++)
        n += ptxsim_log_at(x->log, i)->kind == kind;
    return n;
}

#define CHECKED ((ptxsim_launch){ .checks = PTXSIM_CHECK_ALL, .max_steps = 10000000 })

#endif

/* fuzz_ptx.c: libFuzzer target. Any bytes as PTX: loads (parser, names, decoder, register allocation) or is
 * refused with a sentence and, when the text is to blame, a position inside it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ptxsim/exec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Only loading is tried here: handlers of other instruction-set levels are never called. */
ptx_handler *const ptx_table_avx2[PTX_H_COUNT], *const ptx_table_avx512[PTX_H_COUNT];

static uint32_t lines_of(const uint8_t *p, size_t n)
{
    uint32_t lines = 1;
    for (size_t i = 0; i < n; i++) lines += p[i] == '\n';
    return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static ptxsim *m;
    ptxsim_error e = {0};
    ptxsim_module *mod = NULL;
    if (!m && ptxsim_create(&(ptxsim_config){.sm = 90, .threads = 1}, &m, &e) != PTXSIM_OK) abort();
    ptxsim_code rc = ptxsim_load(m, (const char *)data, size, "f", &mod, &e);
    if (rc == PTXSIM_OK) {
        for (size_t i = 0; i < ptxsim_kernel_count(mod); i++) {
            const ptxsim_kernel_info *k = ptxsim_info(ptxsim_kernel_at(mod, i));
            if (!k->name || ptxsim_find(mod, k->name) != ptxsim_kernel_at(mod, i)) abort();
        }
        ptxsim_unload(mod);
        return 0;
    }
    if (!e.msg[0] || e.code != rc || mod) abort();
    if (rc == PTXSIM_BAD_PTX && (!e.line || !e.column || e.line > lines_of(data, size) + 1)) abort();
    return 0;
}

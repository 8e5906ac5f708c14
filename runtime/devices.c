/* devices.c: what devices there are, and why others are not: llmir_device. */
#include <stdio.h>
#include <string.h>

#include "runtime/gpu.h"
#include "runtime/rt.h"

/* GPU i of n; without any, the one row that says why. */
static void gpu(uint32_t i, const char *why, llmir_device_info *out)
{
    rt_gpu_want want = {.ordinal = i};
    rt_gpu_facts f = {0};
    ll_error e = {0};
    snprintf(out->device, sizeof out->device, why ? "cuda" : "cuda:%u", i);
    if (!why && rt_gpu_find(&want, &f, &e) != LL_OK) why = e.msg;
    snprintf(out->missing, sizeof out->missing, "%s", why ? why : "");
    snprintf(out->name, sizeof out->name, "%s", f.name);
    out->sm = f.sm;
    out->simulated = f.simulated;
    out->memory_bytes = f.bytes;
}

/* Found, not started: what it simulates is settled by the first model opened on it. */
static void simulator(llmir_device_info *out)
{
    rt_cuda cu;
    ll_error e = {0};
    ll_code rc = rt_cuda_open(&cu, true, &e);
    snprintf(out->device, sizeof out->device, "sim");
    if (rc == LL_OK)
        snprintf(out->name, sizeof out->name, "simulator of GPUs: %.70s", cu.path);
    else
        snprintf(out->missing, sizeof out->missing, "%s", e.msg);
    out->simulated = 1;
    rt_cuda_unload(&cu);
}

llmir_status llmir_device(uint32_t i, llmir_device_info *out, llmir_error *error)
{
    ll_error *err = rt_err(error), why = {0};
    RT_NOT_NULL(err, out);
    llmir_device_info r;
    uint32_t n = 1;
    RT_TRY(rt_params(&r, sizeof r, sizeof r, out, "llmir_device_info", err));
    r = (llmir_device_info){.size = sizeof r};
    bool found = rt_gpu_count(&n, &why) == LL_OK;
    if (i > n + 1)
        return (llmir_status)ll_fail(err, LL_USAGE, "device number %u: there are %u", i, n + 2);
    if (i == 0)
        snprintf(r.device, sizeof r.device, "cpu");
    else if (i <= n)
        gpu(i - 1, found ? NULL : why.msg, &r);
    else
        simulator(&r);
    rt_results(out, &r, sizeof r);
    return LLMIR_OK;
}

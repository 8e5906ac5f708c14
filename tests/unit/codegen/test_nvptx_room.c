/* The block-level texts of tests/golden/room (GEMM through a ring, grouped GEMM, paged attention,
 * decoding over warps) run on the PTX machine as lp_eval says, for trip counts round the depth of
 * their rings. The one with roles is refused. */
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

static char *text_of(const char *name)
{
    char path[512];
    ll_error err = {0};
    void *all;
    size_t n;
    snprintf(path, sizeof path, "%s/%s.txt", ROOM_DIR, name); /* or in ../threads */
    if (ll_file_read(path, 1 << 20, &all, &n, &err) != LL_OK) fail_msg("%s", err.msg);
    *strstr(all, "# ---\n") = 0;
    return all;
}

static void room(const char *name, const int64_t *dim, double tol, void (*fill)(kernel *k))
{
    char *text = text_of(name);
    static const char *const target[] = {"cuda:sm_80", "cuda:sm_75"};
    for (int i = 0; i < 2; i++)
        ptx_check(&(ptx_run){text, target[i], dim, tol, 1, fill});
    free(text);
}

static void set(kernel *k, const char *name, int at, int v)
{
    for (int i = 0; i < k->f->n_param; i++)
        if (!strcmp(k->f->param[i]->t->name, name))
            ((int32_t *)k->arg[i])[at] = ((int32_t *)k->want[i])[at] = v;
}

static void gemm_through_a_ring(void **state)
{
    static const int64_t dim[][3] = {{67, 32, 35}, {3, 96, 70}, {64, 160, 64}}; /* M K N */
    for (int i = 0; i < 3; i++) room("gemm_ring", dim[i], 1e-4, NULL);
}

/* The product nests of a text cut into tiles of an instruction. */
static char *tensorized(const char *name, const char *row, int k)
{
    char *text = text_of(name), *out = calloc(1, strlen(text) + 4096);
    static const char *const nest[] = {"u", "v"};
    char *at = text;
    for (int i = 0; i < 2; i++) {
        char head[64];
        snprintf(head, sizeof head, "for %s.m < 64 {", nest[i]);
        char *from = strstr(at, head), *line = strstr(from, "acc["), *end = strchr(line, '\n');
        strncat(out, at, (size_t)(from - at));
        char stage[16];
        snprintf(stage, sizeof stage, "a[%d", i);
        sprintf(out + strlen(out),
                "for %s.mo < 4 { for %s.no < 8 { for %s.ko < %d { for %s.m < 16 @%s { for %s.n < 8 { for %s.k < %d {\n"
                "acc[%s.mo * 16 + %s.m, %s.no * 8 + %s.n] += f32(a[%d, %s.mo * 16 + %s.m, %s.ko * %d + %s.k]) * "
                "f32(b[%d, %s.no * 8 + %s.n, %s.ko * %d + %s.k]) } } } } } }%s\n",
                nest[i], nest[i], nest[i], 16 / k, nest[i], row, nest[i], nest[i], k, nest[i], nest[i], nest[i], nest[i], i, nest[i], nest[i], nest[i], k,
                nest[i], i, nest[i], nest[i], nest[i], k, nest[i], i ? " }" : "");
        at = end;
    }
    strcat(out, at);
    free(text);
    return out;
}

static void gemm_on_tensor_cores(void **state)
{
    static const int64_t dim[][3] = {{67, 32, 35}, {3, 96, 70}, {64, 160, 64}};
    static const struct { const char *row, *target; int k; } c[] = {
        {"mma.m16n8k16.f16", "cuda:sm_80", 16}, {"mma.m16n8k8.f16", "cuda:sm_75", 8}};
    for (int v = 0; v < 2; v++) {
        char *text = tensorized("gemm_ring", c[v].row, c[v].k);
        if (getenv("SHOW")) puts(text);
        for (int i = 0; i < 3; i++)
            ptx_check(&(ptx_run){text, c[v].target, dim[i], 1e-4, 1, NULL});
        free(text);
    }
}

static void gemm_of_large_tiles(void **state)
{
    static const int64_t dim[][3] = {{129, 32, 35}, {3, 64, 130}, {128, 160, 128}};
    char *text = text_of("../threads/gemm_mma");
    for (int i = 0; i < 3; i++)
        ptx_check(&(ptx_run){text, "cuda:sm_80", dim[i], 1e-4, 1, NULL});
    kernel k;
    ll_error err = {0};
    assert_true(kernel_compile(&k, text, "cuda:sm_80", 0, &err));
    assert_int_equal(k.job.code.launch.shared, 65536);
    const char *ptx = k.job.code.object;
    int mma = 0, loads = 0;
    for (const char *p = ptx; (p = strstr(p, "mma.sync.aligned.m16n8k16")); p++) mma++;
    for (const char *p = ptx; (p = strstr(p, "ldmatrix.sync.aligned.m8n8.x4")); p++) loads++;
    assert_int_equal(mma, 64);
    assert_int_equal(loads, 24);
    assert_non_null(strstr(ptx, "cp.async.cg.shared.global"));
    assert_null(strstr(ptx, "ld.shared"));
    kernel_close(&k);
}

static void one_sequence(kernel *k) { set(k, "len", 0, 1); }

static void decode_over_warps(void **state)
{
    room("decode_warps", (int64_t[]){3, 40}, 1e-3, NULL);
    room("decode_warps", (int64_t[]){1, 40}, 1e-3, one_sequence);
}

static void two_items(kernel *k)
{
    set(k, "item.seq", 0, 1), set(k, "item.row0", 0, 0), set(k, "item.rows", 0, 16), set(k, "item.pos", 0, 50);
    set(k, "item.seq", 1, 0), set(k, "item.row0", 1, 16), set(k, "item.rows", 1, 3), set(k, "item.pos", 1, 0);
}

static void paged_attention(void **state) /* T P S W */
{
    room("flash_paged", (int64_t[]){19, 40, 2, 2}, 1e-3, two_items);
}

static void two_experts(kernel *k)
{
    set(k, "item.expert", 0, 2), set(k, "item.row0", 0, 0), set(k, "item.rows", 0, 20);
    set(k, "item.expert", 1, 0), set(k, "item.row0", 1, 20), set(k, "item.rows", 1, 32);
    set(k, "item.expert", 2, 1), set(k, "item.row0", 2, 52), set(k, "item.rows", 2, 1);
}

static void grouped_gemm(void **state) /* T K E W */
{
    room("gemm_grouped", (int64_t[]){53, 128, 3, 3}, 1e-3, two_experts);
    room("gemm_grouped", (int64_t[]){53, 32, 3, 3}, 1e-3, two_experts);
}

static void roles_are_refused(void **state)
{
    char *text = text_of("gemm_roles");
    refused(text, "cuda:sm_90a", "roles and mbarriers have no thread-level form yet");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_through_a_ring),
        cmocka_unit_test(gemm_on_tensor_cores),
        cmocka_unit_test(gemm_of_large_tiles),
        cmocka_unit_test(decode_over_warps),
        cmocka_unit_test(paged_attention),
        cmocka_unit_test(grouped_gemm),
        cmocka_unit_test(roles_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* target.c: the text forms of targets, and what follows from them. A CPU target is a set of
 * features over a base level ("x86-64", "x86-64-v3", "x86-64-v4"); a CUDA target is a compute
 * capability. Text is canonical: the greatest level that is contained, then the other features in
 * the order of LL_CPU_FEATURES. Sizes of caches and rates are modest defaults here; native.c fills
 * them for this machine. */
#include "target/internal.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    bool v3, v4;
} feature_row[LL_N_FEATURES] = {
#define X(NAME, llvm, v3, v4) {#llvm, v3, v4},
    LL_CPU_FEATURES(X)
#undef X
};

#define BIT(NAME) (UINT64_C(1) << LL_FEAT_##NAME)

/* What a feature cannot be without (LLVM switches these on as well). */
static const struct {
    ll_cpu_feature f;
    uint64_t needs;
} implied[] = {
    {LL_FEAT_AVX512VNNI, BIT(AVX512F)},
    {LL_FEAT_AVX512BF16, BIT(AVX512BW)},
    {LL_FEAT_AVX512VBMI, BIT(AVX512BW)},
    {LL_FEAT_AVX512BW, BIT(AVX512F)},
    {LL_FEAT_AVX512CD, BIT(AVX512F)},
    {LL_FEAT_AVX512DQ, BIT(AVX512F)},
    {LL_FEAT_AVX512VL, BIT(AVX512F)},
    {LL_FEAT_AVX512F, BIT(AVX2) | BIT(F16C) | BIT(FMA)},
    {LL_FEAT_AVXVNNI, BIT(AVX2)},
    {LL_FEAT_AVX2, BIT(AVX)},
    {LL_FEAT_FMA, BIT(AVX)},
    {LL_FEAT_F16C, BIT(AVX)},
    {LL_FEAT_AVX, BIT(SSE42)},
    {LL_FEAT_SSE42, BIT(POPCNT)},
};

const char *ll_cpu_feature_name(ll_cpu_feature f)
{
    return (unsigned)f < LL_N_FEATURES ? feature_row[f].name : "?";
}

bool ll_cpu_feature_parse(const char *name, ll_cpu_feature *out)
{
    for (int i = 0; i < LL_N_FEATURES; i++)
        if (!strcmp(name, feature_row[i].name)) {
            *out = (ll_cpu_feature)i;
            return true;
        }
    return false;
}

static uint64_t level_features(int level)
{
    uint64_t f = 0;
    for (int i = 0; i < LL_N_FEATURES; i++)
        if ((level >= 3 && feature_row[i].v3) || (level >= 4 && feature_row[i].v4))
            f |= UINT64_C(1) << i;
    return f;
}

static uint64_t close_features(uint64_t f)
{
    for (size_t i = 0; i < sizeof implied / sizeof *implied; i++)
        if (f >> implied[i].f & 1) f |= implied[i].needs;
    return f;
}

/* Fills what the features decide, and the canonical name. */
static void finish_cpu(ll_target *t)
{
    t->kind = LL_CPU;
    t->features = close_features(t->features);
    bool wide = ll_target_has(t, LL_FEAT_AVX512F) && ll_target_has(t, LL_FEAT_AVX512BW) &&
                ll_target_has(t, LL_FEAT_AVX512VL);
    t->vector_bytes = wide ? 64 : ll_target_has(t, LL_FEAT_AVX) ? 32 : 16;
    t->n_vector_regs = wide ? 32 : 16;
    int level = (t->features & level_features(4)) == level_features(4)   ? 4
                : (t->features & level_features(3)) == level_features(3) ? 3
                                                                         : 1;
    int n = snprintf(t->name, sizeof t->name, "%s",
                     level == 4   ? "cpu:x86-64-v4"
                     : level == 3 ? "cpu:x86-64-v3"
                                  : "cpu:x86-64");
    uint64_t rest = t->features & ~level_features(level);
    for (int i = 0; i < LL_N_FEATURES; i++)
        if (rest >> i & 1 && n > 0 && (size_t)n < sizeof t->name)
            n += snprintf(t->name + n, sizeof t->name - (size_t)n, "+%s", feature_row[i].name);
}

void ll_target_of_features(ll_target *t, uint64_t features)
{
    memset(t, 0, sizeof *t);
    t->features = features;
    t->l1_bytes = 32 << 10;
    t->l2_bytes = 512 << 10;
    t->l3_bytes = 8 << 20;
    t->cores = 1;
    finish_cpu(t);
}

static ll_code bad(const char *text, const char *why, ll_error *err)
{
    return ll_fail(
        err, LL_USAGE,
        "target '%s': %s; understood are 'cpu' (this machine), 'cpu:x86-64', 'cpu:x86-64-v3' and "
        "'cpu:x86-64-v4', each with '+feature' (avx512vnni, gfni, ...), and 'cuda:sm_75', 'sm_80', "
        "'sm_86', 'sm_89', 'sm_90', 'sm_90a'",
        text, why);
}

static ll_code parse_cpu(const char *text, const char *p, ll_target *out, ll_error *err)
{
    size_t n = strcspn(p, "+");
    int level = 0;
    if (n == 6 && !strncmp(p, "x86-64", n)) level = 1;
    if (n == 9 && !strncmp(p, "x86-64-v3", n)) level = 3;
    if (n == 9 && !strncmp(p, "x86-64-v4", n)) level = 4;
    if (!level) return bad(text, "no such CPU level", err);
    uint64_t f = level_features(level);
    for (p += n; *p; p += n) {
        char name[32];
        n = strcspn(++p, "+");
        ll_cpu_feature one;
        if (n >= sizeof name) return bad(text, "no such CPU feature", err);
        memcpy(name, p, n);
        name[n] = 0;
        if (!ll_cpu_feature_parse(name, &one)) return bad(text, "no such CPU feature", err);
        f |= UINT64_C(1) << one;
    }
    ll_target_of_features(out, f);
    return LL_OK;
}

static ll_code parse_cuda(const char *text, const char *p, ll_target *out, ll_error *err)
{
    static const struct {
        const char *name;
        int sm;
        bool a;
        int shared_kib, threads, sms;
    } row[] = {
        {"sm_75", 75, false, 64, 1024, 40},   {"sm_80", 80, false, 163, 2048, 108},
        {"sm_86", 86, false, 99, 1536, 84},   {"sm_89", 89, false, 99, 1536, 128},
        {"sm_90", 90, false, 227, 2048, 132}, {"sm_90a", 90, true, 227, 2048, 132},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (!strcmp(p, row[i].name)) {
            memset(out, 0, sizeof *out);
            out->kind = LL_CUDA;
            snprintf(out->name, sizeof out->name, "cuda:%s", row[i].name);
            out->sm = row[i].sm;
            out->sm_a = row[i].a;
            out->max_shared = (int64_t)row[i].shared_kib << 10;
            out->max_threads = row[i].threads;
            out->max_regs = 65536;
            out->sms = row[i].sms;
            out->vector_bytes = 16; /* the widest access of a thread */
            return LL_OK;
        }
    return bad(text, "no such compute capability", err);
}

ll_code ll_target_parse(const char *text, ll_target *out, ll_error *err)
{
    if (!strcmp(text, "cpu")) {
        ll_target_native(out);
        return LL_OK;
    }
    if (!strncmp(text, "cpu:", 4)) return parse_cpu(text, text + 4, out, err);
    if (!strncmp(text, "cuda:", 5)) return parse_cuda(text, text + 5, out, err);
    return bad(text, "no such kind of device", err);
}

bool ll_target_runs(const ll_target *need, const ll_target *have, const char **missing)
{
    *missing = NULL;
    if (need->kind != have->kind) {
        *missing = need->kind == LL_CPU ? "an x86-64 CPU" : "a CUDA device";
        return false;
    }
    if (need->kind == LL_CUDA) {
        bool ok = need->sm_a ? have->sm == need->sm : have->sm >= need->sm;
        if (!ok) *missing = need->name + strlen("cuda:");
        return ok;
    }
    for (int i = 0; i < LL_N_FEATURES; i++)
        if ((need->features & ~have->features) >> i & 1) {
            *missing = feature_row[i].name;
            return false;
        }
    return true;
}

void ll_target_llvm_features(const ll_target *t, char *out, size_t n)
{
    size_t at = 0;
    if (n) out[0] = 0;
    if (t->kind != LL_CPU) return;
    for (int i = 0; i < LL_N_FEATURES; i++) {
        int k = snprintf(out + at, n - at, "%s%c%s", at ? "," : "",
                         t->features >> i & 1 ? '+' : '-', feature_row[i].name);
        if (k < 0 || (size_t)k >= n - at) {
            out[at] = 0;
            return;
        }
        at += (size_t)k;
    }
}

/* pick.c: see pick.h. */
#include "runtime/pick.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "target/target.h"

/* The first feature of a comma-separated list that is not in `have` or not known ("": none), and
 * the bits of all. */
static uint64_t read_features(const char *list, uint64_t have, char missing[RT_MISSING])
{
    uint64_t bits = 0;
    missing[0] = 0;
    for (const char *p = list; *p;) {
        char name[RT_MISSING];
        size_t n = strcspn(p, ",");
        ll_cpu_feature f;
        snprintf(name, sizeof name, "%.*s", n < sizeof name ? (int)n : RT_MISSING - 1, p);
        bool known = ll_cpu_feature_parse(name, &f);
        if (known) bits |= UINT64_C(1) << f;
        if (n && !missing[0] && !(known && have >> f & 1))
            memcpy(missing, name, sizeof name);
        p += n + (p[n] == ',');
    }
    return bits;
}

void rt_missing(const rt_blob *b, const llmir_target_rec *t, uint64_t have, char out[RT_MISSING])
{
    if (t->kind == LLMIR_ON_CPU) read_features(rt_blob_str(b, t->features), have, out);
    else snprintf(out, RT_MISSING, "%s", "a library that runs CUDA");
}

/* Is code for `a` to be preferred to code for `b`, both of which run? */
static bool better(uint64_t a, uint64_t b)
{
    ll_target x, y;
    ll_target_of_features(&x, a);
    ll_target_of_features(&y, b);
    if (x.vector_bytes != y.vector_bytes) return x.vector_bytes > y.vector_bytes;
    return __builtin_popcountll(x.features) > __builtin_popcountll(y.features);
}

/* "cpu:x86-64-v4 (lacks avx512f), cuda:sm_80 (lacks ...)" as far as there is room. */
static void list_targets(const rt_blob *b, uint64_t have, char *out, size_t room)
{
    size_t at = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_TARGET) && at < room; i++) {
        const llmir_target_rec *t = rt_blob_target(b, i);
        char missing[RT_MISSING];
        rt_missing(b, t, have, missing);
        int n = snprintf(out + at, room - at, "%s%s%s%s%s", i ? ", " : "",
                         rt_blob_str(b, t->name), missing[0] ? " (lacking " : "", missing,
                         missing[0] ? ")" : "");
        at += n > 0 ? (size_t)n : room;
    }
}

static ll_code pick_best(const rt_blob *b, uint64_t have, const char *file, uint32_t *out,
                         ll_error *err)
{
    uint64_t best = 0;
    bool found = false;
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_TARGET); i++) {
        const llmir_target_rec *t = rt_blob_target(b, i);
        char missing[RT_MISSING];
        if (t->kind != LLMIR_ON_CPU) continue;
        uint64_t bits = read_features(rt_blob_str(b, t->features), have, missing);
        if (missing[0] || (found && !better(bits, best))) continue;
        found = true;
        best = bits;
        *out = i;
    }
    if (found) return LL_OK;
    char list[640];
    list_targets(b, have, list, sizeof list);
    return ll_fail(err, LL_NO_DEVICE,
                   "%s: no code for this machine; it has code for %s: build it for another target "
                   "(llmir-build --target)",
                   file, list);
}

static ll_code pick_named(const rt_blob *b, const char *name, uint64_t have, const char *file,
                          uint32_t *out, ll_error *err)
{
    char missing[RT_MISSING], list[640];
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_TARGET); i++) {
        const llmir_target_rec *t = rt_blob_target(b, i);
        if (strcmp(rt_blob_str(b, t->name), name)) continue;
        rt_missing(b, t, have, missing);
        *out = i;
        if (!missing[0]) return LL_OK;
        return ll_fail(err, LL_NO_DEVICE, "%s: its code for %s needs %s, which this machine lacks",
                       file, name, missing);
    }
    list_targets(b, have, list, sizeof list);
    return ll_fail(err, LL_NO_DEVICE, "%s: no code for %s; it has code for %s", file, name, list);
}

ll_code rt_pick_target(const rt_blob *b, const char *device, uint64_t have, const char *file,
                       uint32_t *out, ll_error *err)
{
    if (!device || !*device || !strcmp(device, "cpu")) return pick_best(b, have, file, out, err);
    if (!strncmp(device, "cuda", 4) || !strncmp(device, "sim", 3))
        return ll_fail(err, LL_NO_DEVICE,
                       "device '%.64s': this library runs modules on the CPU only", device);
    ll_target wanted; /* its name is the canonical one */
    LL_TRY(ll_target_parse(device, &wanted, err));
    return pick_named(b, wanted.name, have, file, out, err);
}

/* pick.c: see pick.h. */
#include "runtime/pick.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/target.h"

/* ---- names ------------------------------------------------------------------------------ */
static ll_code parse_sim(const char *device, const char *rest, rt_spec *out, ll_error *err)
{
    char as_target[80];
    ll_target t;
    out->gpu.sim = out->cuda = true;
    if (!*rest) return LL_OK;
    snprintf(as_target, sizeof as_target, "cuda%s", rest);
    if (strlen(rest) > 16 || ll_target_parse(as_target, &t, NULL) != LL_OK || t.kind != LL_CUDA)
        return ll_fail(err, LL_USAGE, "device '%.64s': wanted sim or, for one, sim:sm_80", device);
    out->gpu.sim_sm = (uint32_t)t.sm;
    return LL_OK;
}

ll_code rt_spec_parse(const char *device, rt_spec *out, ll_error *err)
{
    *out = (rt_spec){.text = device};
    if (!device || !*device) {
        *out = (rt_spec){.cpu = true, .cuda = true};
        return LL_OK;
    }
    if (!strcmp(device, "cpu")) return out->cpu = true, LL_OK;
    if (!strcmp(device, "cuda")) return out->cuda = true, LL_OK;
    if (!strncmp(device, "sim", 3) && (!device[3] || device[3] == ':'))
        return parse_sim(device, device + 3, out, err);
    if (!strncmp(device, "cuda:", 5) && device[5] >= '0' && device[5] <= '9') {
        char *end;
        unsigned long n = strtoul(device + 5, &end, 10);
        if (*end || n > 255)
            return ll_fail(err, LL_USAGE, "device '%.64s': wanted cuda:0, cuda:1, ...", device);
        out->cuda = true;
        out->gpu.ordinal = (uint32_t)n;
        return LL_OK;
    }
    ll_target wanted;
    LL_TRY(ll_target_parse(device, &wanted, err));
    snprintf(out->target, sizeof out->target, "%s", wanted.name); /* the canonical one */
    out->cpu = wanted.kind == LL_CPU;
    out->cuda = !out->cpu;
    return LL_OK;
}

/* ---- what there is ---------------------------------------------------------------------- */
static bool has_kind(const rt_blob *b, enum llmir_on kind)
{
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_TARGET); i++)
        if (rt_blob_target(b, i)->kind == (uint32_t)kind) return true;
    return false;
}

void rt_machine_here(const rt_blob *b, const rt_spec *s, bool look, rt_machine *out)
{
    ll_target here;
    rt_gpu_facts gpu;
    ll_error why = {0};
    ll_target_native(&here);
    *out = (rt_machine){.cpu = here.features};
    if (!look || !has_kind(b, LLMIR_ON_CUDA)) return;
    if (rt_gpu_find(&s->gpu, &gpu, &why) == LL_OK)
        out->sm = gpu.sm;
    else
        snprintf(out->no_gpu, sizeof out->no_gpu, "%.599s", why.msg);
}

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
        if (n && !missing[0] && !(known && have >> f & 1)) memcpy(missing, name, sizeof name);
        p += n + (p[n] == ',');
    }
    return bits;
}

void rt_missing(const rt_blob *b, const llmir_target_rec *t, const rt_machine *m,
                char out[RT_MISSING])
{
    if (t->kind == LLMIR_ON_CPU) {
        read_features(rt_blob_str(b, t->features), m->cpu, out);
        return;
    }
    bool runs = t->sm_exact ? m->sm == t->sm : m->sm >= t->sm;
    if (!m->sm)
        snprintf(out, RT_MISSING, "a GPU");
    else if (runs)
        out[0] = 0;
    else
        snprintf(out, RT_MISSING, "compute capability %u.%u%s, it is %u.%u", t->sm / 10, t->sm % 10,
                 t->sm_exact ? "" : " or higher", m->sm / 10, m->sm % 10);
}

/* "cpu:x86-64-v4 (lacking avx512f), cuda:sm_80 (lacking ...)" as far as there is room. */
static void list_targets(const rt_blob *b, const rt_machine *m, char *out, size_t room)
{
    size_t at = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_TARGET) && at < room; i++) {
        const llmir_target_rec *t = rt_blob_target(b, i);
        char missing[RT_MISSING];
        rt_missing(b, t, m, missing);
        int n = snprintf(out + at, room - at, "%s%s%s%s%s", i ? ", " : "", rt_blob_str(b, t->name),
                         missing[0] ? " (lacking " : "", missing, missing[0] ? ")" : "");
        at += n > 0 ? (size_t)n : room;
    }
}

/* ---- picking ---------------------------------------------------------------------------- */
/* Is code for `a` to be preferred to code for `b`, both of which run and are of one kind? */
static bool better(const rt_blob *b, const llmir_target_rec *a, const llmir_target_rec *than)
{
    char ignored[RT_MISSING];
    ll_target x, y;
    if (a->kind == LLMIR_ON_CUDA)
        return a->sm != than->sm ? a->sm > than->sm : a->sm_exact > than->sm_exact;
    ll_target_of_features(&x, read_features(rt_blob_str(b, a->features), 0, ignored));
    ll_target_of_features(&y, read_features(rt_blob_str(b, than->features), 0, ignored));
    if (x.vector_bytes != y.vector_bytes) return x.vector_bytes > y.vector_bytes;
    return __builtin_popcountll(x.features) > __builtin_popcountll(y.features);
}

static bool pick_best(const rt_blob *b, enum llmir_on kind, const char *named, const rt_machine *m,
                      uint32_t *out)
{
    const llmir_target_rec *best = NULL;
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_TARGET); i++) {
        const llmir_target_rec *t = rt_blob_target(b, i);
        char missing[RT_MISSING];
        if (t->kind != (uint32_t)kind || (*named && strcmp(named, rt_blob_str(b, t->name))))
            continue;
        rt_missing(b, t, m, missing);
        if (missing[0] || (best && !better(b, t, best))) continue;
        best = t;
        *out = i;
    }
    return best;
}

/* Why a target that was named is not used. */
static ll_code refuse_named(const rt_blob *b, const char *name, const rt_machine *m,
                            const char *file, const char *list, ll_error *err)
{
    char missing[RT_MISSING];
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_TARGET); i++) {
        const llmir_target_rec *t = rt_blob_target(b, i);
        if (strcmp(rt_blob_str(b, t->name), name)) continue;
        rt_missing(b, t, m, missing);
        return ll_fail(err, LL_NO_DEVICE,
                       "%s: its code for %s needs %s, which this machine lacks%s%s", file, name,
                       missing, t->kind == LLMIR_ON_CUDA && m->no_gpu[0] ? ": " : "",
                       t->kind == LLMIR_ON_CUDA ? m->no_gpu : "");
    }
    return ll_fail(err, LL_NO_DEVICE, "%s: no code for %s; it has code for %s", file, name, list);
}

ll_code rt_pick_target(const rt_blob *b, const rt_spec *s, const rt_machine *m, const char *file,
                       uint32_t *out, ll_error *err)
{
    char list[480];
    if (s->cpu && pick_best(b, LLMIR_ON_CPU, s->target, m, out)) return LL_OK;
    if (s->cuda && pick_best(b, LLMIR_ON_CUDA, s->target, m, out)) return LL_OK;
    list_targets(b, m, list, sizeof list);
    if (s->target[0]) return refuse_named(b, s->target, m, file, list, err);
    bool why = s->cuda && m->no_gpu[0];
    return ll_fail(err, LL_NO_DEVICE,
                   "%s: no code for %s%sthis machine%s%s%s; it has code for %s: build it for "
                   "another target (llmir-build --target)",
                   file, s->text ? s->text : "", s->text ? " on " : "", why ? " (" : "",
                   why ? m->no_gpu : "", why ? ")" : "", list);
}

/* blob.c: see blob.h. */
#include "compile/blob.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/str.h"

struct cc_blob {
    ll_str section[LLMIR_SEC_END_]; /* raw bytes of each section */
    uint32_t count[LLMIR_SEC_END_];
    ll_map string; /* text -> offset + 1 */
    ll_map linear; /* list of terms -> first + 1 */
    bool oom;
};

static uint32_t record_size(enum llmir_section_kind kind)
{
    switch (kind) {
    case LLMIR_SEC_MODEL: return sizeof(llmir_model_rec);
    case LLMIR_SEC_DIM: return sizeof(llmir_dim_rec);
    case LLMIR_SEC_TERM: return sizeof(llmir_term);
    case LLMIR_SEC_KERNEL: return sizeof(llmir_kernel_rec);
    case LLMIR_SEC_SITE: return sizeof(llmir_site_rec);
    case LLMIR_SEC_VARIANT: return sizeof(llmir_variant_rec);
    case LLMIR_SEC_KV: return sizeof(llmir_kv_rec);
    case LLMIR_SEC_POOL: return sizeof(llmir_pool_rec);
    case LLMIR_SEC_PLAN: return sizeof(llmir_plan_rec);
    case LLMIR_SEC_WEIGHT: return sizeof(llmir_weight_rec);
    case LLMIR_SEC_PROGRAM: return sizeof(llmir_program_rec);
    case LLMIR_SEC_STEP: return sizeof(llmir_step_rec);
    case LLMIR_SEC_BINDING: return sizeof(llmir_binding_rec);
    case LLMIR_SEC_TARGET: return sizeof(llmir_target_rec);
    case LLMIR_SEC_LAUNCH: return sizeof(llmir_launch_rec);
    case LLMIR_SEC_PROVENANCE: return sizeof(llmir_pair_rec);
    default: return 1;
    }
}

cc_blob *cc_blob_create(void)
{
    cc_blob *b = calloc(1, sizeof *b);
    if (b) ll_str_addc(&b->section[LLMIR_SEC_STRINGS], 0);
    return b;
}

void cc_blob_destroy(cc_blob *b)
{
    if (!b) return;
    for (int i = 0; i < LLMIR_SEC_END_; i++) ll_str_finish(&b->section[i]);
    ll_map_finish(&b->string);
    ll_map_finish(&b->linear);
    free(b);
}

llmir_str cc_blob_str(cc_blob *b, const char *s)
{
    if (!s || !*s) return 0;
    uintptr_t at = (uintptr_t)ll_map_get_str(&b->string, s);
    if (at) return (llmir_str)(at - 1);
    at = b->section[LLMIR_SEC_STRINGS].n;
    ll_str_addn(&b->section[LLMIR_SEC_STRINGS], s, strlen(s) + 1);
    if (!ll_map_set_str(&b->string, s, (void *)(at + 1))) b->oom = true;
    return (llmir_str)at;
}

uint32_t cc_blob_add(cc_blob *b, enum llmir_section_kind kind, const void *record)
{
    ll_str_addn(&b->section[kind], record, record_size(kind));
    return b->count[kind]++;
}

uint32_t cc_blob_count(const cc_blob *b, enum llmir_section_kind kind) { return b->count[kind]; }

uint64_t cc_blob_bytes(cc_blob *b, enum llmir_section_kind kind, const void *p, size_t n)
{
    uint64_t at = b->section[kind].n;
    ll_str_addn(&b->section[kind], p, n);
    return at;
}

llmir_linear cc_linear(cc_blob *b, int64_t base, const int64_t *coef, uint32_t n)
{
    ll_str terms = {0};
    uint32_t used = 0;
    for (uint32_t i = 0; i < n; i++) {
        llmir_term t = {coef[i], i, 0};
        if (!coef[i]) continue;
        ll_str_addn(&terms, &t, sizeof t);
        used++;
    }
    if (!used) return cc_const(base);
    uintptr_t first = (uintptr_t)ll_map_get(&b->linear, terms.s, terms.n);
    if (!first) {
        first = b->count[LLMIR_SEC_TERM] + (uintptr_t)1;
        ll_str_addn(&b->section[LLMIR_SEC_TERM], terms.s, terms.n);
        b->count[LLMIR_SEC_TERM] += used;
        if (!ll_map_set(&b->linear, terms.s, terms.n, (void *)first)) b->oom = true;
    }
    b->oom = b->oom || terms.oom;
    ll_str_finish(&terms);
    return (llmir_linear){base, (uint32_t)(first - 1), used};
}

ll_code cc_blob_finish(cc_blob *b, uint8_t **out, size_t *n, ll_error *err)
{
    llmir_section s[LLMIR_SEC_END_];
    uint32_t n_section = 0;
    size_t at = 0;
    for (uint32_t k = 1; k < LLMIR_SEC_END_; k++) n_section += b->section[k].n > 0;
    at = sizeof(llmir_blob_head) + n_section * sizeof *s;
    n_section = 0;
    for (uint32_t k = 1; k < LLMIR_SEC_END_; k++) {
        b->oom = b->oom || b->section[k].oom;
        if (!b->section[k].n) continue;
        at = (at + 7) & ~(size_t)7;
        s[n_section++] = (llmir_section){k, record_size(k), b->section[k].n / record_size(k), at};
        at += b->section[k].n;
    }
    uint8_t *p = b->oom ? NULL : calloc(1, at);
    if (!p)
        return ll_fail(err, LL_NO_SPACE, "no memory for the tables of the module (%zu bytes)", at);
    llmir_blob_head h = {LLMIR_BLOB_MAGIC, at, n_section, 0};
    memcpy(p, &h, sizeof h);
    memcpy(p + sizeof h, s, n_section * sizeof *s);
    for (uint32_t i = 0; i < n_section; i++)
        memcpy(p + s[i].offset, b->section[s[i].kind].s, b->section[s[i].kind].n);
    *out = p;
    *n = at;
    return LL_OK;
}

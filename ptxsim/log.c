/* log.c: findings: one line each, kept once per kind and pair of places; faults, which also stop
 * the launch; and the counters as text and JSON. */
#include "ptxsim/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static const char *const kind_names[PTXSIM_R_COUNT_] = {
    "out of bounds",  "misaligned",    "use after free", "host pointer", "race",
    "pending copy",   "uninitialised", "barrier",        "mask",         "deadlock",
    "block conflict", "trap",          "other",
};
const char *ptxsim_kind_name(ptxsim_kind k)
{
    return (unsigned)k < PTXSIM_R_COUNT_ ? kind_names[k] : "?";
}

static const char *const class_names[PTXSIM_C_COUNT_] = {
    "int",        "f32",         "f16",       "f64",       "sfu",       "cvt",   "move",  "compare",
    "branch",     "ld.global",   "st.global", "ld.shared", "st.shared", "local", "param", "atomic",
    "async copy", "matrix load", "mma",       "shuffle",   "barrier",   "other",
};
const char *ptxsim_class_name(ptxsim_class c)
{
    return (unsigned)c < PTXSIM_C_COUNT_ ? class_names[c] : "?";
}

ptxsim_log *ptx_log_new(const char *kernel, uint32_t max)
{
    ptxsim_log *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    ll_arena_init(&l->arena);
    l->kernel = ll_try_alloc(&l->arena, strlen(kernel) + 1);
    if (!l->kernel) {
        free(l);
        return NULL;
    }
    memcpy((char *)(uintptr_t)l->kernel, kernel, strlen(kernel) + 1);
    l->max = max;
    return l;
}

void ptxsim_log_destroy(ptxsim_log *l)
{
    if (!l) return;
    ll_arena_finish(&l->arena);
    for (size_t i = 0; i < l->n_mma; i++) free(l->mma[i].text);
    free(l->mma);
    free(l->report);
    free(l);
}

size_t ptxsim_log_count(const ptxsim_log *l) { return l ? l->n : 0; }
const ptxsim_report *ptxsim_log_at(const ptxsim_log *l, size_t i)
{
    return l && i < l->n ? l->report[i] : NULL;
}

/* ---- findings ---- */

static void thread_of(const ptx_warp *w, uint32_t lane, uint32_t out[3])
{
    const uint32_t *b = w->run->block;
    uint32_t t = w->index * PTX_LANES + lane;
    out[0] = t % b[0];
    out[1] = t / b[0] % b[1];
    out[2] = t / b[0] / b[1];
}

static void add(ptx_warp *w, const ptx_inst *in, uint32_t lane, ptxsim_kind kind, uint64_t addr,
                uint32_t other, const char *fmt, va_list ap)
{
    ptx_run *r = w->run;
    ptxsim_log *l = r->log;
    uint32_t line = in->x->st->pos.line;
    if (lane >= PTX_LANES) lane = w->live ? (uint32_t)__builtin_ctz(w->live) : 0;
    ptxsim_report **memo =
        &ptx_worker_of(w)->memo[(line * 31 + other * 7 + (uint32_t)kind) % PTX_MEMO];
    if (*memo && (*memo)->kind == kind && (*memo)->line == line && (*memo)->other_line == other) {
        __atomic_fetch_add(&(*memo)->times, 1,
                           __ATOMIC_RELAXED); /* a mistake in a loop comes a million times */
        return;
    }
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < l->n; i++) {
        ptxsim_report *p = l->report[i];
        if (p->kind != kind || p->line != line || p->other_line != other) continue;
        __atomic_fetch_add(&p->times, 1, __ATOMIC_RELAXED);
        *memo = p;
        pthread_mutex_unlock(&r->lock);
        return;
    }
    if (l->n >= l->max) {
        l->dropped++;
        pthread_mutex_unlock(&r->lock);
        return;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        ptxsim_report **p = realloc(l->report, cap * sizeof *p);
        if (p) l->report = p, l->cap = cap;
    }
    ptxsim_report *p = l->n < l->cap ? ll_try_alloc(&l->arena, sizeof *p) : NULL;
    if (p) {
        char msg[600], text[900];
        *p = (ptxsim_report){ .kind = kind,
                              .kernel = l->kernel,
                              .line = line,
                              .other_line = other,
                              .addr = addr,
                              .times = 1 };
        memcpy(p->block, w->cta->id, sizeof p->block);
        thread_of(w, lane, p->thread);
        vsnprintf(msg, sizeof msg, fmt, ap);
        int n = snprintf(
            text, sizeof text, "%s:%u: %s: %s [kernel %s, block (%u,%u,%u), thread (%u,%u,%u)]",
            r->kernel->mod->ast.name, line, kind_names[kind], msg, l->kernel, p->block[0],
            p->block[1], p->block[2], p->thread[0], p->thread[1], p->thread[2]);
        char *copy = n < 0 ? NULL : ll_try_alloc(&l->arena, strlen(text) + 1);
        if (copy) memcpy(copy, text, strlen(text) + 1);
        p->text = copy ? copy : "";
        l->report[l->n++] = *memo = p;
    }
    pthread_mutex_unlock(&r->lock);
}

void ptx_report(ptx_warp *w, const ptx_inst *in, uint32_t lane, ptxsim_kind kind, uint64_t addr,
                uint32_t other, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(w, in, lane, kind, addr, other, fmt, ap);
    va_end(ap);
}

int ptx_fault(ptx_warp *w, const ptx_inst *in, uint32_t lane, ptxsim_kind kind, uint64_t addr,
              const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(w, in, lane, kind, addr, 0, fmt, ap);
    va_end(ap);
    ptx_run *r = w->run;
    int none = 0;
    if (atomic_compare_exchange_strong(
            &r->stop, &none, kind == PTXSIM_R_DEADLOCK ? PTXSIM_DEADLOCK : PTXSIM_FAULT)) {
        char msg[400];
        va_start(ap, fmt);
        vsnprintf(msg, sizeof msg, fmt, ap);
        va_end(ap);
        pthread_mutex_lock(&r->lock);
        ptx_fail(r->err, (ptxsim_code)atomic_load(&r->stop), r->kernel->mod->ast.name,
                 in->x->st->pos, "%s: %s", r->kernel->info.name, msg);
        pthread_mutex_unlock(&r->lock);
    }
    return PTX_FAULT;
}

/* ---- counters ---- */

void ptx_count_mma(ptx_warp *w, const ptx_inst *in, uint64_t fma)
{
    if (!w->run->opt.counters) return;
    ptx_tally *t = &ptx_worker_of(w)->tally;
    t->c.mma_fma += fma;
    const char *text = in->x->st->text;
    uintptr_t have = (uintptr_t)ll_map_get_str(&t->mma, text);
    ll_map_set_str(&t->mma, text, (void *)(have + 1));
}

void ptx_count_tensor_bytes(ptx_warp *w, uint64_t bytes)
{
    if (w->run->opt.counters) ptx_worker_of(w)->tally.c.tensor_bytes += bytes;
}

static void add_mma(ptxsim_log *l, const char *text, uint64_t times)
{
    for (size_t i = 0; i < l->n_mma; i++)
        if (!strcmp(l->mma[i].text, text)) {
            l->mma[i].times += times;
            return;
        }
    if (l->n_mma == l->cap_mma) {
        size_t cap = l->cap_mma ? l->cap_mma * 2 : 8;
        ptx_mma_count *p = realloc(l->mma, cap * sizeof *p);
        if (!p) return;
        l->mma = p;
        l->cap_mma = cap;
    }
    char *copy = malloc(strlen(text) + 1);
    if (!copy) return;
    memcpy(copy, text, strlen(text) + 1);
    l->mma[l->n_mma++] = (ptx_mma_count){ copy, times };
}

void ptx_log_add_tally(ptxsim_log *l, const ptx_tally *t)
{
    uint64_t *to = (uint64_t *)(void *)&l->c;
    const uint64_t *from = (const uint64_t *)(const void *)&t->c;
    for (size_t i = 0; i < sizeof l->c / sizeof *to; i++) to[i] += from[i];
    for (size_t i = 0; i < t->mma.n; i++)
        if (!t->mma.entry[i].dead) {
            char text[128] = "";
            size_t n = t->mma.entry[i].key_len < 127 ? t->mma.entry[i].key_len : 127;
            memcpy(text, t->mma.entry[i].key, n);
            add_mma(l, text, (uint64_t)(uintptr_t)t->mma.entry[i].value);
        }
    l->counted = true;
}

void ptxsim_log_counters(const ptxsim_log *l, ptxsim_counters *out) { *out = l->c; }

const char *ptxsim_log_mma(const ptxsim_log *l, size_t i, uint64_t *out_times)
{
    if (!l || i >= l->n_mma) return NULL;
    if (out_times) *out_times = l->mma[i].times;
    return l->mma[i].text;
}

typedef struct field { const char *name; size_t at; } field;
#define F(name) { #name, offsetof(ptxsim_counters, name) }
static const field fields[] = {
    F(warp_inst_all),
    F(lane_inst),
    F(branches),
    F(divergent_branches),
    F(global_requests),
    F(global_sectors),
    F(global_bytes),
    F(dram_bytes),
    F(shared_requests),
    F(shared_wavefronts),
    F(shared_ideal),
    F(atomics),
    F(atomic_same_address),
    F(async_bytes),
    F(tensor_bytes),
    F(barriers),
    F(fma_f32),
    F(mma_fma),
};
#undef F

static unsigned long long value(const ptxsim_counters *c, const field *f)
{
    uint64_t v;
    memcpy(&v, (const char *)c + f->at, 8);
    return v;
}

static void write_json(const ptxsim_log *l, ll_str *s)
{
    ll_str_addf(s, "{\"kernel\":\"%s\",\"simulated\":true", l->kernel);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        ll_str_addf(s, ",\"%s\":%llu", fields[i].name, value(&l->c, &fields[i]));
    ll_str_add(s, ",\"warp_inst\":{");
    for (int k = 0; k < PTXSIM_C_COUNT_; k++)
        ll_str_addf(s, "%s\"%s\":%llu", k ? "," : "", class_names[k],
                    (unsigned long long)l->c.warp_inst[k]);
    ll_str_add(s, "},\"mma\":{");
    for (size_t i = 0; i < l->n_mma; i++)
        ll_str_addf(s, "%s\"%s\":%llu", i ? "," : "", l->mma[i].text,
                    (unsigned long long)l->mma[i].times);
    ll_str_add(s, "}}\n");
}

static void write_text(const ptxsim_log *l, ll_str *s)
{
    const ptxsim_counters *c = &l->c;
    ll_str_addf(s, "kernel %s (simulated)\n", l->kernel);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        ll_str_addf(s, "  %-20s %llu\n", fields[i].name, value(c, &fields[i]));
    if (c->warp_inst_all)
        ll_str_addf(s, "  %-20s %.1f %%\n", "active lanes",
                    100.0 * (double)c->lane_inst / (32.0 * (double)c->warp_inst_all));
    if (c->global_sectors)
        ll_str_addf(s, "  %-20s %.1f %%\n", "useful global bytes",
                    100.0 * (double)c->global_bytes / (32.0 * (double)c->global_sectors));
    for (int k = 0; k < PTXSIM_C_COUNT_; k++)
        if (c->warp_inst[k])
            ll_str_addf(s, "  inst %-15s %llu\n", class_names[k],
                        (unsigned long long)c->warp_inst[k]);
    for (size_t i = 0; i < l->n_mma; i++)
        ll_str_addf(s, "  %s %llu\n", l->mma[i].text, (unsigned long long)l->mma[i].times);
}

char *ptxsim_log_text(const ptxsim_log *l, bool json)
{
    ll_str s = { 0 };
    if (!l) return NULL;
    if (json) write_json(l, &s);
    else write_text(l, &s);
    if (s.oom) {
        ll_str_finish(&s);
        return NULL;
    }
    return s.s;
}

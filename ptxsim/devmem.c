/* devmem.c: device memory: a table of allocations with addresses of their own, never reused, with
 * room between them, so that a stale or wild address meets nothing. Host memory behind them is
 * mapped on first touch; freed allocations keep their entry and lose their memory. One bit per byte
 * says "was written". */
#include "ptxsim/launch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { GAP = 1 << 20, ALIGN = 256 };
#define NONE ((ptx_pos){ 0, 0 })

static ptxsim_code fail(ptxsim_error *err, ptxsim_code code, const char *msg, uint64_t addr)
{
    return ptx_fail(err, code, NULL, NONE, "%s: address 0x%llx", msg, (unsigned long long)addr);
}

/* Index of the first allocation with base > addr. */
static size_t upper(const ptx_memory *mem, uint64_t addr)
{
    size_t lo = 0, hi = mem->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (mem->alloc[mid]->base <= addr) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

ptx_alloc *ptx_memory_find(const ptx_memory *mem, uint64_t addr)
{
    size_t i = upper(mem, addr);
    return i ? mem->alloc[i - 1] : NULL;
}

void *ptx_map_zero(size_t n)
{
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void ptx_unmap(void *p, size_t n)
{
    if (p) munmap(p, n);
}

static bool insert(ptx_memory *mem, ptx_alloc *a)
{
    if (mem->n == mem->cap) {
        size_t cap = mem->cap ? mem->cap * 2 : 64;
        ptx_alloc **p = realloc(mem->alloc, cap * sizeof *p);
        if (!p) return false;
        mem->alloc = p;
        mem->cap = cap;
    }
    size_t i = upper(mem, a->base);
    memmove(mem->alloc + i + 1, mem->alloc + i, (mem->n - i) * sizeof *mem->alloc);
    mem->alloc[i] = a;
    mem->n++;
    return true;
}

ptxsim_code ptx_memory_new(ptx_memory *mem, uint64_t bytes, uint64_t align, ptx_alloc **out,
                           ptxsim_error *err)
{
    if (align < ALIGN) align = ALIGN;
    if (!bytes || bytes > mem->total - mem->used)
        return ptx_fail(err, PTXSIM_NO_MEMORY, NULL, NONE,
                        "%llu bytes of device memory wanted, %llu are free",
                        (unsigned long long)bytes, (unsigned long long)(mem->total - mem->used));
    ptx_alloc *a = calloc(1, sizeof *a);
    uint64_t base = (mem->next + align - 1) / align * align;
    if (!a) return ptx_fail(err, PTXSIM_NO_MEMORY, NULL, NONE, "no host memory left");
    *a = (ptx_alloc){ .base = base, .size = bytes, .map_bytes = (bytes + 4095) / 4096 * 4096 };
    a->host = ptx_map_zero(a->map_bytes);
    a->init = ptx_map_zero((bytes + 63) / 64 * 8 + 8);
    if (!a->host || !a->init || !insert(mem, a)) {
        if (a->host) munmap(a->host, a->map_bytes);
        if (a->init) munmap(a->init, (bytes + 63) / 64 * 8 + 8);
        free(a);
        return ptx_fail(err, PTXSIM_NO_MEMORY, NULL, NONE, "no host memory left for %llu bytes",
                        (unsigned long long)bytes);
    }
    mem->next = base + (bytes + GAP - 1) / GAP * GAP + GAP;
    mem->used += bytes;
    *out = a;
    return PTXSIM_OK;
}

void ptx_memory_drop(ptx_alloc *a)
{
    if (a->map_bytes) munmap(a->host, a->map_bytes);
    if (a->init) munmap(a->init, (a->size + 63) / 64 * 8 + 8);
    a->host = NULL;
    a->init = NULL;
    a->map_bytes = 0;
}

void ptx_memory_finish(ptx_memory *mem)
{
    for (size_t i = 0; i < mem->n; i++) {
        ptx_memory_drop(mem->alloc[i]);
        free(mem->alloc[i]);
    }
    free(mem->alloc);
    *mem = (ptx_memory){ 0 };
}

/* ---- init bits: blocks run side by side, so words are changed atomically, and only when they
 * differ ---- */

void ptx_init_set(ptx_alloc *a, uint64_t off, uint64_t n, bool value)
{
    if (!a->init) return;
    while (n) {
        uint64_t bit = off % 64, take = 64 - bit < n ? 64 - bit : n;
        uint64_t m = (take == 64 ? ~0ull : (1ull << take) - 1) << bit, *word = &a->init[off / 64];
        uint64_t have = __atomic_load_n(word, __ATOMIC_RELAXED);
        if (value && (have & m) != m) __atomic_fetch_or(word, m, __ATOMIC_RELAXED);
        if (!value && (have & m)) __atomic_fetch_and(word, ~m, __ATOMIC_RELAXED);
        off += take;
        n -= take;
    }
}

bool ptx_init_all(const ptx_alloc *a, uint64_t off, uint64_t n)
{
    if (!a->init) return true;
    while (n) {
        uint64_t bit = off % 64, take = 64 - bit < n ? 64 - bit : n;
        uint64_t m = (take == 64 ? ~0ull : (1ull << take) - 1) << bit;
        if ((__atomic_load_n(&a->init[off / 64], __ATOMIC_RELAXED) & m) != m) return false;
        off += take;
        n -= take;
    }
    return true;
}

uint32_t ptx_init_bits(const ptx_alloc *a, uint64_t off, uint32_t n)
{
    if (!a->init) return (1u << n) - 1;
    uint64_t bit = off % 64, v = __atomic_load_n(&a->init[off / 64], __ATOMIC_RELAXED) >> bit;
    if (bit + n > 64) v |= __atomic_load_n(&a->init[off / 64 + 1], __ATOMIC_RELAXED) << (64 - bit);
    return (uint32_t)v & ((1u << n) - 1);
}

void ptx_init_put(ptx_alloc *a, uint64_t off, uint32_t n, uint32_t bits)
{
    for (uint32_t k = 0; k < n; k++) ptx_init_set(a, off + k, 1, bits >> k & 1);
}

/* ---- the public memory calls ---- */

static ptxsim_code place(ptxsim *m, uint64_t addr, uint64_t n, ptx_alloc **out, ptxsim_error *err)
{
    ptx_alloc *a = ptx_memory_find(&m->mem, addr);
    if (!a || addr - a->base >= a->size + (n == 0))
        return fail(err, PTXSIM_USAGE, "no allocation holds this", addr);
    if (a->freed) return fail(err, PTXSIM_USAGE, "the allocation is freed", addr);
    if (n > a->size - (addr - a->base))
        return ptx_fail(err, PTXSIM_USAGE, NULL, NONE,
                        "%llu bytes at 0x%llx run past the end of an allocation of %llu bytes",
                        (unsigned long long)n, (unsigned long long)addr,
                        (unsigned long long)a->size);
    *out = a;
    return PTXSIM_OK;
}

ptxsim_code ptxsim_alloc(ptxsim *m, uint64_t bytes, uint64_t *out_addr, ptxsim_error *err)
{
    if (!m || !out_addr)
        return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_alloc: a NULL argument");
    ptx_alloc *a = NULL;
    pthread_mutex_lock(&m->lock);
    ptxsim_code r = ptx_memory_new(&m->mem, bytes, 0, &a, err);
    if (!r) a->user = true, *out_addr = a->base;
    pthread_mutex_unlock(&m->lock);
    return r;
}

ptxsim_code ptxsim_free(ptxsim *m, uint64_t addr, ptxsim_error *err)
{
    if (!m) return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_free: a NULL argument");
    if (!addr) return PTXSIM_OK;
    pthread_mutex_lock(&m->lock);
    ptx_alloc *a = ptx_memory_find(&m->mem, addr);
    ptxsim_code r = PTXSIM_OK;
    if (!a || a->base != addr || !a->user)
        r = fail(err, PTXSIM_USAGE, "no allocation starts here", addr);
    else if (a->freed) r = fail(err, PTXSIM_USAGE, "freed twice", addr);
    if (!r) {
        ptx_memory_drop(a);
        a->freed = true;
        m->mem.used -= a->size;
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

ptxsim_code ptxsim_write(ptxsim *m, uint64_t addr, const void *src, uint64_t n, ptxsim_error *err)
{
    if (!m || (n && !src))
        return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_write: a NULL argument");
    ptx_alloc *a = NULL;
    pthread_mutex_lock(&m->lock);
    ptxsim_code r = place(m, addr, n, &a, err);
    if (!r && n) {
        memcpy(a->host + (addr - a->base), src, n);
        ptx_init_set(a, addr - a->base, n, true);
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

ptxsim_code ptxsim_read(ptxsim *m, void *dst, uint64_t addr, uint64_t n, ptxsim_error *err)
{
    if (!m || (n && !dst))
        return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_read: a NULL argument");
    ptx_alloc *a = NULL;
    pthread_mutex_lock(&m->lock);
    ptxsim_code r = place(m, addr, n, &a, err);
    if (!r && n) memcpy(dst, a->host + (addr - a->base), n);
    pthread_mutex_unlock(&m->lock);
    return r;
}

ptxsim_code ptxsim_copy(ptxsim *m, uint64_t dst, uint64_t src, uint64_t n, ptxsim_error *err)
{
    if (!m) return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_copy: a NULL argument");
    ptx_alloc *a = NULL, *b = NULL;
    pthread_mutex_lock(&m->lock);
    ptxsim_code r = place(m, dst, n, &a, err);
    if (!r) r = place(m, src, n, &b, err);
    if (!r && n) {
        uint64_t to = dst - a->base, from = src - b->base;
        bool whole = ptx_init_all(b, from, n);
        if (whole) {
            ptx_init_set(a, to, n, true);
        } else {
            bool back = a == b && to > from;
            for (uint64_t k = 0; k < n; k++) {
                uint64_t i = back ? n - 1 - k : k;
                ptx_init_put(a, to + i, 1, ptx_init_bits(b, from + i, 1));
            }
        }
        memmove(a->host + to, b->host + from, n);
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

ptxsim_code ptxsim_fill(ptxsim *m, uint64_t addr, uint32_t value, unsigned width, uint64_t count,
                        ptxsim_error *err)
{
    ptx_alloc *a = NULL;
    uint64_t n;
    if (!m || (width != 1 && width != 2 && width != 4))
        return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_fill: the width is 1, 2 or 4");
    if (__builtin_mul_overflow(count, (uint64_t)width, &n) || addr % width)
        return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_fill: size or alignment");
    pthread_mutex_lock(&m->lock);
    ptxsim_code r = place(m, addr, n, &a, err);
    if (!r && n) {
        uint8_t *p = a->host + (addr - a->base);
        if (width == 1) memset(p, (int)value, n);
        else
            for (uint64_t i = 0; i < count; i++) memcpy(p + i * width, &value, width);
        ptx_init_set(a, addr - a->base, n, true);
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

ptxsim_code ptxsim_poison(ptxsim *m, uint64_t addr, uint64_t n, ptxsim_error *err)
{
    ptx_alloc *a = NULL;
    if (!m) return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_poison: a NULL argument");
    pthread_mutex_lock(&m->lock);
    ptxsim_code r = place(m, addr, n, &a, err);
    if (!r && n) {
        memset(a->host + (addr - a->base), 0xa5, n);
        ptx_init_set(a, addr - a->base, n, false);
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

bool ptxsim_range(ptxsim *m, uint64_t addr, uint64_t *out_base, uint64_t *out_size)
{
    if (!m) return false;
    pthread_mutex_lock(&m->lock);
    ptx_alloc *a = ptx_memory_find(&m->mem, addr);
    bool ok = a && !a->freed && addr - a->base < a->size;
    if (ok && out_base) *out_base = a->base;
    if (ok && out_size) *out_size = a->size;
    pthread_mutex_unlock(&m->lock);
    return ok;
}

void ptxsim_mem_info(ptxsim *m, uint64_t *out_free, uint64_t *out_total)
{
    pthread_mutex_lock(&m->lock);
    if (out_free) *out_free = m->mem.total - m->mem.used;
    if (out_total) *out_total = m->mem.total;
    pthread_mutex_unlock(&m->lock);
}

ptxsim_code ptxsim_map_host(ptxsim *m, void *p, uint64_t n, ptxsim_error *err)
{
    if (!m || !p || !n)
        return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_map_host: a NULL argument");
    uint64_t base = (uintptr_t)p;
    pthread_mutex_lock(&m->lock);
    ptx_alloc *near = ptx_memory_find(&m->mem, base + n - 1), *a = NULL;
    ptxsim_code r = PTXSIM_OK;
    if (near && base < near->base + near->size) {
        r = fail(err, PTXSIM_USAGE, "mapped already", base);
    } else if ((a = calloc(1, sizeof *a))) {
        *a = (ptx_alloc){ .base = base, .size = n, .host = p };
        if (!insert(&m->mem, a)) free(a), a = NULL;
    }
    if (!r && !a) r = ptx_fail(err, PTXSIM_NO_MEMORY, NULL, NONE, "no host memory left");
    pthread_mutex_unlock(&m->lock);
    return r;
}

ptxsim_code ptxsim_unmap_host(ptxsim *m, void *p, ptxsim_error *err)
{
    if (!m) return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_unmap_host: a NULL argument");
    pthread_mutex_lock(&m->lock);
    size_t i = upper(&m->mem, (uintptr_t)p);
    ptx_alloc *a = i ? m->mem.alloc[i - 1] : NULL;
    ptxsim_code r = PTXSIM_OK;
    if (!a || a->base != (uintptr_t)p || a->host != p) {
        r = fail(err, PTXSIM_USAGE, "no mapped host memory starts here", (uintptr_t)p);
    } else {
        memmove(m->mem.alloc + i - 1, m->mem.alloc + i, (m->mem.n - i) * sizeof *m->mem.alloc);
        m->mem.n--;
        free(a);
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

size_t ptxsim_leaks(ptxsim *m, ptxsim_leak_fn *fn, void *user)
{
    size_t n = 0;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->mem.n; i++) {
        const ptx_alloc *a = m->mem.alloc[i];
        if (!a->user || a->freed) continue;
        n++;
        if (fn) fn(user, a->base, a->size);
    }
    pthread_mutex_unlock(&m->lock);
    return n;
}

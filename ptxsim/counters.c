/* counters.c: what a memory access costs in sectors and wavefronts, by the rules of the hardware's
 * banks: 32 banks of 4 bytes; 8-byte accesses go in two halves of a warp, 16-byte ones in four
 * quarters. */
#include "ptxsim/mem.h"

#include <stdlib.h>
#include <string.h>

static uint32_t wavefronts(const ptx_access *ac, ptx_mask lanes)
{
    uint32_t words[PTX_LANES * 8], bank_n[32] = { 0 }, worst = 0, n = 0;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(lanes >> i & 1)) continue;
        for (uint32_t b = 0; b < ac->size; b += 4) {
            uint32_t word = (ac->off[i] + b) / 4;
            bool seen = false;
            for (uint32_t k = n; k-- > 0 && !seen;) seen = words[k] == word;
            if (seen) continue;
            words[n++] = word;
            if (++bank_n[word % 32] > worst) worst = bank_n[word % 32];
        }
    }
    return worst;
}

void ptx_count_shared(ptx_warp *w, const ptx_access *ac)
{
    ptxsim_counters *t = &ptx_worker_of(w)->tally.c;
    uint32_t parts = ac->size <= 4   ? 1
                     : ac->size == 8 ? 2
                                     : 4,
             lanes = PTX_LANES / parts, all = 0, ideal = 0;
    for (uint32_t p = 0; p < parts; p++) {
        ptx_mask m = ac->shared & (lanes == 32 ? ~0u : ((1u << lanes) - 1) << (p * lanes));
        if (!m) continue;
        all += wavefronts(ac, m);
        ideal++;
    }
    t->shared_requests++;
    t->shared_wavefronts += all;
    t->shared_ideal += ideal;
}

/* One 32-byte sector of memory: counted by whoever touches it first. */
static void touch(ptxsim_counters *t, ptx_alloc *a, uint64_t sector)
{
    uint8_t *p = a->touched ? a->touched + sector : NULL;
    if (!p || __atomic_load_n(p, __ATOMIC_RELAXED)) return;
    if (!__atomic_exchange_n(p, 1, __ATOMIC_RELAXED)) t->dram_bytes += 32;
}

void ptx_count_touched(ptx_warp *w, ptx_alloc *a, uint64_t off, uint64_t n)
{
    ptxsim_counters *t = &ptx_worker_of(w)->tally.c;
    for (uint64_t s = off / 32; s <= (off + n - 1) / 32; s++) touch(t, a, s);
}

void ptx_count_global(ptx_warp *w, const ptx_access *ac)
{
    ptxsim_counters *t = &ptx_worker_of(w)->tally.c;
    uint64_t sector[PTX_LANES * 2];
    uint32_t n = 0;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(ac->global >> i & 1)) continue;
        ptx_alloc *a = ac->alloc ? ac->alloc : ac->each[i];
        for (uint64_t s = ac->addr[i] / 32; s <= (ac->addr[i] + ac->size - 1) / 32; s++) {
            bool seen = false;
            for (uint32_t k = n; k-- > 0 && !seen;) seen = sector[k] == s;
            if (seen) continue;
            sector[n++] = s;
            touch(t, a, s - a->base / 32);
        }
    }
    t->global_requests++;
    t->global_sectors += n;
    t->global_bytes += (uint64_t)__builtin_popcount(ac->global) * ac->size;
}

void ptx_count_atomic(ptx_warp *w, const ptx_access *ac)
{
    ptxsim_counters *t = &ptx_worker_of(w)->tally.c;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        bool same = false;
        if (!(ac->m >> i & 1)) continue;
        t->atomics++;
        for (uint32_t k = 0; k < i && !same; k++) same = (ac->m >> k & 1) && ac->p[k] == ac->p[i];
        t->atomic_same_address += same;
    }
}

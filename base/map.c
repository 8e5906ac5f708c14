/* map.c: see map.h. */
#include "base/map.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static uint64_t seed(void)
{
    static _Atomic uint64_t value;
    uint64_t v = atomic_load_explicit(&value, memory_order_relaxed);
    if (!v) {
        uint64_t expect = 0;
        if (getrandom(&v, sizeof v, GRND_NONBLOCK) != (ssize_t)sizeof v) v = 0x9e3779b97f4a7c15u;
        v |= 1;
        if (!atomic_compare_exchange_strong(&value, &expect, v)) v = expect;
    }
    return v;
}

void ll_map_finish(ll_map *m)
{
    for (size_t i = 0; i < m->n; i++) free(m->entry[i].key);
    free(m->entry);
    free(m->slot);
    *m = (ll_map){0};
}

static size_t find(const ll_map *m, uint64_t h, const void *key, size_t len, size_t *free_slot)
{
    size_t mask = m->n_slot - 1;
    for (size_t i = h & mask;; i = (i + 1) & mask) {
        uint32_t s = m->slot[i];
        if (!s) {
            if (free_slot) *free_slot = i;
            return SIZE_MAX;
        }
        const ll_map_entry *e = &m->entry[s - 1];
        if (!e->dead && e->hash == h && e->key_len == len && !memcmp(e->key, key, len)) return s - 1;
    }
}

static bool rehash(ll_map *m, size_t n_slot)
{
    uint32_t *slot = calloc(n_slot, sizeof *slot);
    if (!slot) return false;
    size_t out = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (m->entry[i].dead) {
            free(m->entry[i].key);
            continue;
        }
        m->entry[out] = m->entry[i];
        size_t s = m->entry[out].hash & (n_slot - 1);
        while (slot[s]) s = (s + 1) & (n_slot - 1);
        slot[s] = (uint32_t)++out;
    }
    m->n = out;
    free(m->slot);
    m->slot = slot;
    m->n_slot = n_slot;
    return true;
}

bool ll_map_set(ll_map *m, const void *key, size_t len, void *value)
{
    if ((m->n + 1) * 2 > m->n_slot) {
        size_t want = m->n_slot ? m->n_slot : 16;
        while ((m->live + 1) * 3 > want) want *= 2;
        if (!rehash(m, want)) return false;
    }
    uint64_t h = XXH3_64bits_withSeed(key, len, seed());
    size_t slot = 0, at = find(m, h, key, len, &slot);
    if (at != SIZE_MAX) return m->entry[at].value = value, true;
    if (m->n == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 16;
        ll_map_entry *e = realloc(m->entry, cap * sizeof *e);
        if (!e) return false;
        m->entry = e;
        m->cap = cap;
    }
    void *copy = malloc(len ? len : 1);
    if (!copy) return false;
    memcpy(copy, key, len);
    m->entry[m->n] = (ll_map_entry){copy, len, h, value, false};
    m->slot[slot] = (uint32_t)++m->n;
    m->live++;
    return true;
}

void *ll_map_get(const ll_map *m, const void *key, size_t len)
{
    if (!m->n_slot) return NULL;
    size_t at = find(m, XXH3_64bits_withSeed(key, len, seed()), key, len, NULL);
    return at == SIZE_MAX ? NULL : m->entry[at].value;
}

bool ll_map_has(const ll_map *m, const void *key, size_t len)
{
    return m->n_slot && find(m, XXH3_64bits_withSeed(key, len, seed()), key, len, NULL) != SIZE_MAX;
}

bool ll_map_del(ll_map *m, const void *key, size_t len)
{
    if (!m->n_slot) return false;
    size_t at = find(m, XXH3_64bits_withSeed(key, len, seed()), key, len, NULL);
    if (at == SIZE_MAX) return false;
    m->entry[at].dead = true; /* the slot stays occupied until the next rehash */
    m->live--;
    return true;
}

bool ll_map_set_str(ll_map *m, const char *key, void *value) { return ll_map_set(m, key, strlen(key), value); }
void *ll_map_get_str(const ll_map *m, const char *key) { return ll_map_get(m, key, strlen(key)); }
bool ll_map_set_u64(ll_map *m, uint64_t key, void *value) { return ll_map_set(m, &key, sizeof key, value); }
void *ll_map_get_u64(const ll_map *m, uint64_t key) { return ll_map_get(m, &key, sizeof key); }

/* map.h: a hash map from byte strings (or 64-bit integers, or pointers) to pointers. Open addressing,
 * XXH3 with a per-process seed (so files cannot choose colliding keys); iteration is in insertion order,
 * so output that walks a map is deterministic. Keys are copied. A zeroed map is empty and valid. */
#ifndef LLMIR_BASE_MAP_H
#define LLMIR_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ll_map_entry {
    void *key;
    size_t key_len;
    uint64_t hash;
    void *value;
    bool dead;
} ll_map_entry;

typedef struct ll_map {
    ll_map_entry *entry; /* insertion order; [0, n) */
    size_t n, cap, live;
    uint32_t *slot;      /* index + 1 into entry, 0 = empty */
    size_t n_slot;
} ll_map;

void ll_map_finish(ll_map *m);
/* Sets key -> value (replacing). False when out of memory. */
bool ll_map_set(ll_map *m, const void *key, size_t len, void *value);
/* The value, or NULL when absent. */
void *ll_map_get(const ll_map *m, const void *key, size_t len);
bool ll_map_has(const ll_map *m, const void *key, size_t len);
bool ll_map_del(ll_map *m, const void *key, size_t len);

bool ll_map_set_str(ll_map *m, const char *key, void *value);
void *ll_map_get_str(const ll_map *m, const char *key);
bool ll_map_set_u64(ll_map *m, uint64_t key, void *value);
void *ll_map_get_u64(const ll_map *m, uint64_t key);
static inline bool ll_map_set_ptr(ll_map *m, const void *key, void *value) { return ll_map_set_u64(m, (uintptr_t)key, value); }
static inline void *ll_map_get_ptr(const ll_map *m, const void *key) { return ll_map_get_u64(m, (uintptr_t)key); }

#endif

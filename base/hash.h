/* hash.h: content hashes (XXH3-128) for cache keys and canonical texts; not for trust. */
#ifndef LLMIR_BASE_HASH_H
#define LLMIR_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct ll_hash { uint64_t lo, hi; } ll_hash;

ll_hash ll_hash_bytes(const void *p, size_t n);
ll_hash ll_hash_combine(ll_hash a, ll_hash b);
/* Of what is read in pieces: 0, combined with the hash of each `piece` bytes in order. */
ll_hash ll_hash_pieces(const void *p, size_t n, size_t piece);
enum { LL_HASH_HEX = 33 };
/* 32 lower-case hexadecimal digits and a NUL, most significant first. */
void ll_hash_hex(ll_hash h, char out[LL_HASH_HEX]);

#endif

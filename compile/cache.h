/* cache.h: kernels that were compiled before, on disk, found by what they are made from.
 *
 *     FOLDER/<32 hex digits of the key>.k     one entry: head, object bytes
 *
 * The caller's key is a hash of everything that decides the code; this file adds the revision: a
 * hash of the running program, its libraries and LLVM's version, so another compiler finds nothing. An
 * entry carries revision, key and a digest of itself: what is cut, damaged, foreign or of another
 * revision is not found, and replaced when the kernel has been made. Entries are written to a
 * temporary file and renamed, so builds at the same time are safe and see whole entries only. When
 * the entries take more than the limit, the least recently used ones go.
 *
 * A cache never fails: without a usable folder, on a full disk or in a folder that cannot be
 * written it finds and keeps less. Not used is a folder of another user or one that others may
 * write: its entries become code. Files of other names are left alone. */
#ifndef LLMIR_COMPILE_CACHE_H
#define LLMIR_COMPILE_CACHE_H

#include "base/hash.h"
#include "compile/launch.h"

enum { CC_CACHE_WHY = 256 };

typedef struct cc_cache cc_cache;

/* "$LLMIR_CACHE_DIR/kernels", or llmir/kernels in $XDG_CACHE_HOME or $HOME/.cache. False: there is
 * no such place, or its name is too long. */
bool cc_cache_folder(char *out, size_t room);
/* What tells this compiler from others. False: unknown. */
bool cc_cache_revision(ll_hash *out);

/* Makes the folder where needed. NULL: no cache, and why not. `limit`: bytes of all entries
 * (0: 256 MiB). */
cc_cache *cc_cache_open(const char *folder, ll_hash revision, uint64_t limit,
                        char why[CC_CACHE_WHY]);
void cc_cache_close(cc_cache *c); /* keeps to the limit; NULL is fine */

/* True: object, its size, scratch and launch are there; the object is the caller's. */
bool cc_cache_get(cc_cache *c, ll_hash key, cg_code *code, cc_launch *launch);
void cc_cache_put(cc_cache *c, ll_hash key, const cg_code *code, const cc_launch *launch);

#endif

/* modfile.h: reads the ELF part and the note of a module with bounded pread, before anything is
 * mapped.
 *
 * Accepts only what our writer makes: a 64-bit little-endian shared object for this machine,
 * without needed libraries, constructors, run paths, an interpreter or indirect functions, whose
 * segments lie in the file and whose bytes match the note's digests. dlopen of a cut file is a
 * SIGBUS, so this comes first. */
#ifndef LLMIR_RUNTIME_MODFILE_H
#define LLMIR_RUNTIME_MODFILE_H

#include <stdint.h>

#include <llmir/module_abi.h>

#include "base/status.h"

/* Checks the file behind fd (size bytes) and gives its note. `path` starts every message. */
ll_code rt_elf_check(int fd, const char *path, uint64_t size, llmir_note *note, ll_error *err);

/* The digest of a range of a file: XXH3-128 of its 1 MiB pieces, folded in order. `skip_at`,
 * `skip_n`: bytes taken as zero. `step` (may be NULL) hears how much is done and may stop it. */
ll_code rt_digest_range(int fd, const char *path, uint64_t at, uint64_t n, uint64_t skip_at,
                        uint64_t skip_n, int (*step)(void *user, uint64_t done, uint64_t total),
                        void *user, uint64_t out[2], ll_error *err);

#endif

/* seal.h: makes a changed module honest again, so that tests and fuzzers get past the digests. */
#ifndef LLMIR_TESTS_SEAL_H
#define LLMIR_TESTS_SEAL_H

#include <stddef.h>
#include <stdint.h>

/* Offset of the llmir_note in the bytes of a module, 0 when there is none. */
size_t fake_note_at(const uint8_t *file, size_t n);
/* Makes the note's digests of code, tables and note right again after a change. */
void fake_seal(uint8_t *file, size_t n);

#endif

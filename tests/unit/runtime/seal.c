/* seal.c: see seal.h. */
#include "tests/unit/runtime/seal.h"

#include <string.h>

#include <llmir/module_abi.h>

#include "base/hash.h"

static void digest_of(const uint8_t *p, uint64_t n, uint64_t out[2])
{
    ll_hash h = ll_hash_pieces(p, n, LLMIR_DIGEST_PIECE);
    out[0] = h.lo, out[1] = h.hi;
}

size_t fake_note_at(const uint8_t *file, size_t n)
{
    static const uint8_t head[] = {6,   0,   0,   0,   sizeof(llmir_note),
                                   0,   0,   0,   1,   0,
                                   0,   0,   'L', 'L', 'M',
                                   'I', 'R', 0,   0,   0};
    const uint8_t *p = memmem(file, n, head, sizeof head);
    return p && (size_t)(file + n - p) >= sizeof head + sizeof(llmir_note)
               ? (size_t)(p - file) + sizeof head
               : 0;
}

void fake_seal(uint8_t *file, size_t n)
{
    llmir_note note;
    size_t at = fake_note_at(file, n);
    if (!at) return;
    memcpy(&note, file + at, sizeof note);
    if (note.elf_size > n || at + sizeof note > note.elf_size || note.blob_offset > n ||
        note.blob_size > n - note.blob_offset)
        return;
    memset(file + at, 0, sizeof note);
    uint8_t *in_table = memmem(file, note.elf_size, note.blob_digest, sizeof note.blob_digest);
    digest_of(file + note.blob_offset, note.blob_size, note.blob_digest);
    if (in_table) memcpy(in_table, note.blob_digest, sizeof note.blob_digest);
    digest_of(file, note.elf_size, note.elf_digest);
    ll_hash h = ll_hash_bytes(&note, offsetof(llmir_note, note_digest));
    note.note_digest[0] = h.lo, note.note_digest[1] = h.hi;
    memcpy(file + at, &note, sizeof note);
}

/* modfile.c: see modfile.h. */
#include "runtime/modfile.h"

#include <elf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"

enum { MAX_PHDR = 32, MAX_NOTES = 64 * 1024, MAX_DYN = 1024, MAX_RELA = 1 << 22 };

typedef struct elf {
    int fd;
    const char *path;
    uint64_t size;
    Elf64_Ehdr eh;
    Elf64_Phdr ph[MAX_PHDR];
    uint32_t n_ph;
    uint64_t note_at; /* file offset of the llmir_note */
    ll_error *err;
} elf;

#define BAD(e, ...) ll_fail((e)->err, LL_BAD_INPUT, __VA_ARGS__)
#define ULL(x) ((unsigned long long)(x))

static ll_code get(elf *e, void *buf, uint64_t at, uint64_t n, const char *what)
{
    if (at > e->size || n > e->size - at)
        return BAD(e, "%s: %s: %llu bytes at %llu, the file has %llu", e->path, what, ULL(n),
                   ULL(at), ULL(e->size));
    return ll_file_pread(e->fd, e->path, buf, (size_t)n, at, e->err);
}

static uint16_t host_machine(void)
{
#if defined(__x86_64__)
    return EM_X86_64;
#elif defined(__aarch64__)
    return EM_AARCH64;
#else
    return EM_NONE;
#endif
}

static ll_code read_headers(elf *e)
{
    if (e->size < sizeof e->eh)
        return BAD(e, "%s: not a module: %llu bytes, too short for ELF", e->path, ULL(e->size));
    LL_TRY(get(e, &e->eh, 0, sizeof e->eh, "ELF header"));
    const Elf64_Ehdr *h = &e->eh;
    if (memcmp(h->e_ident, ELFMAG, SELFMAG))
        return BAD(e, "%s: not a module: no ELF header", e->path);
    if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB)
        return BAD(e, "%s: not a module: wanted 64-bit little-endian ELF", e->path);
    if (h->e_type != ET_DYN)
        return BAD(e, "%s: not a module: ELF type %u, wanted a shared object", e->path, h->e_type);
    if (h->e_machine != host_machine())
        return ll_fail(e->err, LL_NO_DEVICE, "%s: made for ELF machine %u, this is machine %u",
                       e->path, h->e_machine, host_machine());
    if (h->e_phentsize != sizeof(Elf64_Phdr) || !h->e_phnum || h->e_phnum > MAX_PHDR)
        return BAD(e, "%s: not a module: %u program headers of %u bytes", e->path, h->e_phnum,
                   h->e_phentsize);
    e->n_ph = h->e_phnum;
    return get(e, e->ph, h->e_phoff, (uint64_t)e->n_ph * sizeof *e->ph, "ELF program headers");
}

/* Finds our note among the entries of one PT_NOTE segment. */
static ll_code scan_notes(elf *e, const Elf64_Phdr *ph)
{
    unsigned char *buf;
    uint64_t n = ph->p_filesz;
    if (n > MAX_NOTES) return BAD(e, "%s: ELF notes of %llu bytes", e->path, ULL(n));
    if (!(buf = malloc(n ? (size_t)n : 1)))
        return ll_fail(e->err, LL_NO_SPACE, "%s: no memory", e->path);
    ll_code rc = get(e, buf, ph->p_offset, n, "ELF notes");
    for (uint64_t at = 0; rc == LL_OK && n - at >= sizeof(Elf64_Nhdr);) {
        Elf64_Nhdr h;
        memcpy(&h, buf + at, sizeof h);
        uint64_t name = at + sizeof h, desc = name + ((h.n_namesz + (uint64_t)3) & ~(uint64_t)3);
        uint64_t next = desc + ((h.n_descsz + (uint64_t)3) & ~(uint64_t)3);
        if (desc > n || h.n_descsz > n - desc)
            rc = BAD(e, "%s: an ELF note runs past its segment", e->path);
        else if (h.n_type == LLMIR_NOTE_TYPE && h.n_namesz == sizeof LLMIR_NOTE_NAME &&
                 !memcmp(buf + name, LLMIR_NOTE_NAME, sizeof LLMIR_NOTE_NAME)) {
            if (h.n_descsz < 16)
                rc = BAD(e, "%s: module note of %u bytes", e->path, h.n_descsz);
            else
                e->note_at = ph->p_offset + desc;
        }
        if (next > n) break;
        at = next;
    }
    free(buf);
    return rc;
}

static ll_code find_note(elf *e)
{
    for (uint32_t i = 0; i < e->n_ph && !e->note_at; i++)
        if (e->ph[i].p_type == PT_NOTE) LL_TRY(scan_notes(e, &e->ph[i]));
    if (e->note_at) return LL_OK;
    return BAD(e, "%s: not a module: a shared object without the note " LLMIR_NOTE_SECTION,
               e->path);
}

static void note_digest(const llmir_note *note, uint64_t out[2])
{
    ll_hash h = ll_hash_bytes(note, offsetof(llmir_note, note_digest));
    out[0] = h.lo, out[1] = h.hi;
}

static ll_code check_note(elf *e, llmir_note *n)
{
    LL_TRY(get(e, n, e->note_at, 16, "module note"));
    if (n->magic != LLMIR_MODULE_MAGIC)
        return BAD(e, "%s: module note: wrong magic number", e->path);
    if (n->abi != LLMIR_MODULE_ABI)
        return ll_fail(e->err, LL_UNSUPPORTED,
                       "%s: built for module ABI %u, this library reads ABI %u: rebuild it with "
                       "the llmir-build of this version",
                       e->path, n->abi, LLMIR_MODULE_ABI);
    if (n->size < sizeof *n)
        return BAD(e, "%s: module note: %u bytes, wanted %zu", e->path, n->size, sizeof *n);
    LL_TRY(get(e, n, e->note_at, sizeof *n, "module note"));
    uint64_t d[2];
    note_digest(n, d);
    if (memcmp(d, n->note_digest, sizeof d))
        return BAD(e, "%s: module note: damaged (digest differs)", e->path);
    if (n->required & ~(uint64_t)LLMIR_REQUIRED_KNOWN)
        return ll_fail(e->err, LL_UNSUPPORTED,
                       "%s: needs module features %#llx that this library does not know", e->path,
                       ULL(n->required & ~(uint64_t)LLMIR_REQUIRED_KNOWN));
    if (n->file_size != e->size)
        return BAD(e, "%s: %llu bytes, the module note says %llu: the file was cut or appended to",
                   e->path, ULL(e->size), ULL(n->file_size));
    bool order = n->elf_size <= n->blob_offset && n->blob_offset <= e->size &&
                 n->blob_size <= e->size - n->blob_offset &&
                 n->blob_offset + n->blob_size <= n->weights_offset &&
                 n->weights_offset <= e->size && n->weights_size <= e->size - n->weights_offset &&
                 n->weights_offset % LLMIR_WEIGHTS_ALIGN == 0 &&
                 e->note_at + sizeof *n <= n->elf_size;
    return order
               ? LL_OK
               : BAD(e, "%s: module note: code, tables and weights do not lie in the file in order",
                     e->path);
}

/* ---- what the dynamic linker would act on ----------------------------------------------- */
static ll_code to_offset(elf *e, uint64_t addr, uint64_t n, uint64_t *at)
{
    for (uint32_t i = 0; i < e->n_ph; i++) {
        const Elf64_Phdr *p = &e->ph[i];
        if (p->p_type != PT_LOAD || addr < p->p_vaddr || addr - p->p_vaddr > p->p_filesz ||
            n > p->p_filesz - (addr - p->p_vaddr))
            continue;
        *at = p->p_offset + (addr - p->p_vaddr);
        return LL_OK;
    }
    return BAD(e, "%s: ELF: address %#llx is in no segment", e->path, ULL(addr));
}

static ll_code check_relocations(elf *e, uint64_t addr, uint64_t bytes)
{
    uint64_t at = 0, n = bytes / sizeof(Elf64_Rela);
    if (n > MAX_RELA) return BAD(e, "%s: ELF: %llu relocations", e->path, ULL(n));
    LL_TRY(to_offset(e, addr, bytes, &at));
    Elf64_Rela r[128];
    for (uint64_t i = 0; i < n; i += 128) {
        uint64_t m = n - i < 128 ? n - i : 128;
        LL_TRY(get(e, r, at + i * sizeof *r, m * sizeof *r, "ELF relocations"));
        for (uint64_t k = 0; k < m; k++)
            if (ELF64_R_TYPE(r[k].r_info) == R_X86_64_IRELATIVE ||
                ELF64_R_TYPE(r[k].r_info) == R_X86_64_COPY)
                return BAD(e, "%s: ELF: relocation of type %llu (indirect function or copy)",
                           e->path, ULL(ELF64_R_TYPE(r[k].r_info)));
    }
    return LL_OK;
}

static ll_code check_dynamic(elf *e, const Elf64_Phdr *ph)
{
    static const struct {
        int64_t tag;
        const char *name;
    } refused[] = {
        {DT_NEEDED, "needs another library"},  {DT_INIT, "has an init function"},
        {DT_FINI, "has a fini function"},      {DT_INIT_ARRAY, "has constructors"},
        {DT_FINI_ARRAY, "has destructors"},    {DT_PREINIT_ARRAY, "has constructors"},
        {DT_RPATH, "has a run path"},          {DT_RUNPATH, "has a run path"},
        {DT_TEXTREL, "relocates its code"},    {DT_AUXILIARY, "names a filter library"},
        {DT_FILTER, "names a filter library"},
    };
    Elf64_Dyn d[MAX_DYN];
    uint64_t n = ph->p_filesz / sizeof *d, rela = 0, rela_n = 0, plt = 0, plt_n = 0;
    if (n > MAX_DYN) return BAD(e, "%s: ELF: %llu dynamic entries", e->path, ULL(n));
    LL_TRY(get(e, d, ph->p_offset, n * sizeof *d, "ELF dynamic section"));
    for (uint64_t i = 0; i < n && d[i].d_tag != DT_NULL; i++) {
        for (size_t k = 0; k < sizeof refused / sizeof *refused; k++)
            if (d[i].d_tag == refused[k].tag)
                return BAD(e, "%s: not a module: it %s", e->path, refused[k].name);
        if (d[i].d_tag == DT_RELA) rela = d[i].d_un.d_ptr;
        if (d[i].d_tag == DT_RELASZ) rela_n = d[i].d_un.d_val;
        if (d[i].d_tag == DT_JMPREL) plt = d[i].d_un.d_ptr;
        if (d[i].d_tag == DT_PLTRELSZ) plt_n = d[i].d_un.d_val;
    }
    if (rela_n) LL_TRY(check_relocations(e, rela, rela_n));
    return plt_n ? check_relocations(e, plt, plt_n) : LL_OK;
}

static ll_code check_segments(elf *e, const llmir_note *note)
{
    bool dynamic = false;
    for (uint32_t i = 0; i < e->n_ph; i++) {
        const Elf64_Phdr *p = &e->ph[i];
        if (p->p_offset > note->elf_size || p->p_filesz > note->elf_size - p->p_offset)
            return BAD(e, "%s: ELF segment %u: %llu bytes at %llu, the code ends at %llu", e->path,
                       i, ULL(p->p_filesz), ULL(p->p_offset), ULL(note->elf_size));
        if (p->p_type == PT_INTERP || p->p_type == PT_TLS)
            return BAD(e, "%s: not a module: a program or thread-local data", e->path);
        if (p->p_type == PT_LOAD &&
            (p->p_memsz < p->p_filesz || p->p_memsz > 1u << 30 || (p->p_align & (p->p_align - 1)) ||
             (p->p_align > 1 && (p->p_vaddr - p->p_offset) % p->p_align)))
            return BAD(e, "%s: ELF segment %u: sizes or alignment are wrong", e->path, i);
        if (p->p_type == PT_DYNAMIC) {
            dynamic = true;
            LL_TRY(check_dynamic(e, p));
        }
    }
    return dynamic ? LL_OK : BAD(e, "%s: not a module: statically linked", e->path);
}

ll_code rt_digest_range(int fd, const char *path, uint64_t at, uint64_t n, uint64_t skip_at,
                        uint64_t skip_n, int (*step)(void *, uint64_t, uint64_t), void *user,
                        uint64_t out[2], ll_error *err)
{
    size_t room = n < LLMIR_DIGEST_PIECE ? (size_t)n : LLMIR_DIGEST_PIECE;
    unsigned char *buf = malloc(room ? room : 1);
    if (!buf) return ll_fail(err, LL_NO_SPACE, "%s: no memory for %zu bytes", path, room);
    ll_hash h = {0, 0};
    ll_code rc = LL_OK;
    for (uint64_t done = 0; done < n && rc == LL_OK;) {
        size_t m = n - done < room ? (size_t)(n - done) : room;
        rc = ll_file_pread(fd, path, buf, m, at + done, err);
        for (uint64_t i = 0; i < skip_n && rc == LL_OK; i++)
            if (skip_at + i >= at + done && skip_at + i < at + done + m)
                buf[skip_at + i - at - done] = 0;
        if (rc == LL_OK) h = ll_hash_combine(h, ll_hash_bytes(buf, m));
        done += m;
        if (rc == LL_OK && step && step(user, done, n))
            rc = ll_fail(err, LL_CANCELLED, "%s: cancelled", path);
    }
    free(buf);
    out[0] = h.lo, out[1] = h.hi;
    return rc;
}

ll_code rt_elf_check(int fd, const char *path, uint64_t size, llmir_note *note, ll_error *err)
{
    elf e = {.fd = fd, .path = path, .size = size, .err = err};
    LL_TRY(read_headers(&e));
    LL_TRY(find_note(&e));
    LL_TRY(check_note(&e, note));
    LL_TRY(check_segments(&e, note));
    uint64_t d[2];
    LL_TRY(
        rt_digest_range(fd, path, 0, note->elf_size, e.note_at, sizeof *note, NULL, NULL, d, err));
    if (memcmp(d, note->elf_digest, sizeof d))
        return BAD(&e, "%s: code: damaged (digest differs)", path);
    return LL_OK;
}

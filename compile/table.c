/* table.c: see table.h. */
#include "compile/table.h"

#include <elf.h>
#include <string.h>

#include <llmir/module_abi.h>

enum { S_NULL, S_DATA, S_RELA, S_NOTE, S_STACK, S_SYMTAB, S_STRTAB, S_NAMES, N_SECTION };
enum { SYM_NULL, SYM_DATA, SYM_MODULE, SYM_FIRST_FN }; /* then parts and run of each kernel */
enum { KERNELS_AT = 64 }; /* offset of the kernel table in .data.rel.ro */
_Static_assert(sizeof(llmir_module) <= KERNELS_AT, "the kernel table follows the module record");

static const char section_names[] =
    "\0.data.rel.ro\0.rela.data.rel.ro\0.note.llmir\0.note.GNU-stack\0.symtab\0.strtab\0.shstrtab";

static uint32_t name_of(const char *s) /* offset of a section's name in section_names */
{
    size_t n = strlen(s) + 1;
    for (size_t i = 0; i + n <= sizeof section_names; i++)
        if (!memcmp(section_names + i, s, n) && (i == 0 || !section_names[i - 1]))
            return (uint32_t)i;
    return 0;
}

#if defined(__aarch64__)
enum { MACHINE = EM_AARCH64, RELOC_64 = R_AARCH64_ABS64 };
#else
enum { MACHINE = EM_X86_64, RELOC_64 = R_X86_64_64 };
#endif

static void add_data(ll_str *out, uint32_t n, const uint64_t digest[2])
{
    llmir_module m =
        {LLMIR_MODULE_MAGIC, LLMIR_MODULE_ABI, sizeof m, {digest[0], digest[1]}, n, NULL};
    static const llmir_kernel_code zero;
    ll_str_addn(out, &m, sizeof m);
    for (size_t i = sizeof m; i < KERNELS_AT; i++) ll_str_addc(out, 0);
    for (uint32_t i = 0; i < n; i++) ll_str_addn(out, &zero, sizeof zero);
}

static void add_relocations(ll_str *out, uint32_t n)
{
    Elf64_Rela r = {offsetof(llmir_module, kernel), ELF64_R_INFO(SYM_DATA, RELOC_64), KERNELS_AT};
    ll_str_addn(out, &r, sizeof r);
    for (uint32_t i = 0; i < 2 * n; i++) { /* a llmir_kernel_code is two pointers */
        r = (Elf64_Rela){KERNELS_AT + i * sizeof(void *),
                         ELF64_R_INFO((uint64_t)SYM_FIRST_FN + i, RELOC_64), 0};
        ll_str_addn(out, &r, sizeof r);
    }
}

static void add_note(ll_str *out)
{
    Elf64_Nhdr h = {sizeof LLMIR_NOTE_NAME, sizeof(llmir_note), LLMIR_NOTE_TYPE};
    static const llmir_note empty;
    static const char name[8] = LLMIR_NOTE_NAME; /* padded to 4 */
    ll_str_addn(out, &h, sizeof h);
    ll_str_addn(out, name, sizeof name);
    ll_str_addn(out, &empty, sizeof empty);
}

static void add_symbols(ll_str *out, ll_str *names, const cc_kernel_symbols *kernel, uint32_t n)
{
    Elf64_Sym s[SYM_FIRST_FN] = {
        [SYM_DATA] = {.st_info = ELF64_ST_INFO(STB_LOCAL, STT_SECTION), .st_shndx = S_DATA},
        [SYM_MODULE] = {.st_name = 1,
                        .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                        .st_shndx = S_DATA,
                        .st_size = sizeof(llmir_module)},
    };
    ll_str_addn(names, "\0" LLMIR_MODULE_SYMBOL, sizeof LLMIR_MODULE_SYMBOL + 1);
    ll_str_addn(out, s, sizeof s);
    for (uint32_t i = 0; i < 2 * n; i++) {
        const char *fn = i & 1 ? kernel[i / 2].run : kernel[i / 2].parts;
        Elf64_Sym u = {.st_name = (uint32_t)names->n,
                       .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE)};
        ll_str_addn(names, fn, strlen(fn) + 1);
        ll_str_addn(out, &u, sizeof u);
    }
}

ll_code cc_table_object(const cc_kernel_symbols *kernel, uint32_t n, const uint64_t blob_digest[2],
                        ll_str *out, ll_error *err)
{
    ll_str body[N_SECTION] = {{0}};
    add_data(&body[S_DATA], n, blob_digest);
    add_relocations(&body[S_RELA], n);
    add_note(&body[S_NOTE]);
    add_symbols(&body[S_SYMTAB], &body[S_STRTAB], kernel, n);
    ll_str_addn(&body[S_NAMES], section_names, sizeof section_names);

    Elf64_Shdr sh[N_SECTION] = {
        [S_DATA] = {name_of(".data.rel.ro"), SHT_PROGBITS, SHF_ALLOC | SHF_WRITE,
                    .sh_addralign = 64},
        [S_RELA] = {name_of(".rela.data.rel.ro"), SHT_RELA, SHF_INFO_LINK, .sh_link = S_SYMTAB,
                    .sh_info = S_DATA, .sh_addralign = 8, .sh_entsize = sizeof(Elf64_Rela)},
        [S_NOTE] = {name_of(LLMIR_NOTE_SECTION), SHT_NOTE, SHF_ALLOC, .sh_addralign = 4},
        [S_STACK] = {name_of(".note.GNU-stack"), SHT_PROGBITS, 0, .sh_addralign = 1},
        [S_SYMTAB] = {name_of(".symtab"), SHT_SYMTAB, 0, .sh_link = S_STRTAB, .sh_info = SYM_MODULE,
                      .sh_addralign = 8, .sh_entsize = sizeof(Elf64_Sym)},
        [S_STRTAB] = {name_of(".strtab"), SHT_STRTAB, 0, .sh_addralign = 1},
        [S_NAMES] = {name_of(".shstrtab"), SHT_STRTAB, 0, .sh_addralign = 1},
    };
    uint64_t at = sizeof(Elf64_Ehdr) + sizeof sh;
    bool oom = false;
    for (int i = 1; i < N_SECTION; i++) {
        at = (at + 63) & ~(uint64_t)63;
        sh[i].sh_offset = at;
        sh[i].sh_size = body[i].n;
        at += body[i].n;
        oom = oom || body[i].oom;
    }
    Elf64_Ehdr eh = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
                                 EV_CURRENT},
                     .e_type = ET_REL,
                     .e_machine = MACHINE,
                     .e_version = EV_CURRENT,
                     .e_shoff = sizeof eh,
                     .e_ehsize = sizeof eh,
                     .e_shentsize = sizeof *sh,
                     .e_shnum = N_SECTION,
                     .e_shstrndx = S_NAMES};
    size_t start = out->n;
    ll_str_addn(out, &eh, sizeof eh);
    ll_str_addn(out, sh, sizeof sh);
    for (int i = 1; i < N_SECTION; i++) {
        while (!out->oom && out->n - start < sh[i].sh_offset) ll_str_addc(out, 0);
        ll_str_addn(out, body[i].s, body[i].n);
        ll_str_finish(&body[i]);
    }
    return oom || out->oom ? ll_fail(err, LL_NO_SPACE, "no memory for the table of %u kernels", n)
                           : LL_OK;
}

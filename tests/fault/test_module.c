/* test_module.c: modules that are cut, flipped, of another machine, of another version, or lie.
 * Every one is refused before it is loaded, with a sentence that names the file and what is wrong.
 */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <llmir/llmir.h>

#include "base/file.h"
#include "runtime/rt.h"
#include "target/target.h"
#include "tests/unit/runtime/fake.h"

static uint8_t *good; /* a whole module */
static size_t n_good;
static llmir_note note;
static char path[64]; /* a file in memory, rewritten by each test */
static int file = -1;

static int setup(void **s)
{
    (void)s;
    char name[] = "/tmp/llmir-fault-XXXXXX";
    ll_error e = {0};
    int fd = mkstemp(name);
    void *p = NULL;
    if (fd < 0) return -1;
    close(fd);
    ll_code rc = fake_write(name, getenv("FAKE_OBJECT"), &(fake_options){.pad_weights = 3000}, &e);
    if (rc == LL_OK) rc = ll_file_read(name, 1 << 24, &p, &n_good, &e);
    unlink(name);
    if (rc != LL_OK) return fprintf(stderr, "%s\n", e.msg), -1;
    good = p;
    memcpy(&note, good + fake_note_at(good, n_good), sizeof note);
    file = memfd_create("module", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    return file < 0;
}

static int teardown(void **s)
{
    (void)s;
    free(good);
    return close(file);
}

static void put(const void *p, size_t n)
{
    assert_int_equal(ftruncate(file, 0), 0);
    assert_int_equal(pwrite(file, p, n, 0), (ssize_t)n);
}

static int check(llmir_error *err)
{
    return llmir_check(path, &(llmir_open_params){.size = sizeof(llmir_open_params), .verify = 1},
                       err);
}

/* Status `want`, a sentence with `words`, and the same answer from llmir_open. */
static void refused(int want, const char *words)
{
    llmir_error err = {0}, again = {0};
    llmir_model *m = NULL;
    int rc = check(&err);
    if (rc != want || !strstr(err.msg, words))
        fail_msg("%d '%s', wanted %d '%s'", rc, err.msg, want, words);
    assert_non_null(strstr(err.msg, path));
    assert_int_equal(llmir_open(path,
                                &(llmir_open_params){.size = sizeof(llmir_open_params),
                                                     .verify = 1},
                                &m, &again),
                     want);
    assert_null(m);
}

static void the_whole_module_is_accepted(void **s)
{
    (void)s;
    llmir_error err;
    llmir_model *m;
    put(good, n_good);
    if (check(&err) != LLMIR_OK) fail_msg("%s", err.msg);
    assert_int_equal(llmir_open(path, NULL, &m, &err), LLMIR_OK);
    llmir_model_info info = LLMIR_INIT(llmir_model_info);
    assert_int_equal(llmir_model_get_info(m, &info, &err), LLMIR_OK);
    assert_string_equal(info.arch, "sums");
    assert_int_equal(info.n_kv, 3);
    assert_int_equal(info.bos, -1);
    llmir_kernel_info k = LLMIR_INIT(llmir_kernel_info);
    assert_int_equal(llmir_model_kernel(m, 3, &k, &err), LLMIR_OK);
    assert_string_equal(k.name, "append_f16_16");
    assert_string_equal(k.hash, "00000000000000010000000000000003");
    assert_int_equal(llmir_model_kernel(m, info.n_kernels, &k, &err), LLMIR_USAGE);
    llmir_site_info site = LLMIR_INIT(llmir_site_info);
    assert_int_equal(llmir_model_site(m, 1, &site, &err), LLMIR_OK);
    assert_string_equal(site.note, "any rows");
    llmir_kv_info kv = LLMIR_INIT(llmir_kv_info);
    assert_int_equal(llmir_model_kv(m, 1, &kv, &err), LLMIR_OK);
    assert_int_equal(kv.bytes_per_token, 8);
    llmir_close(m);
}

static void every_cut_is_refused(void **s)
{
    (void)s;
    for (size_t n = 0; n < n_good; n += 64) {
        put(good, n);
        refused(LLMIR_BAD_INPUT, "");
    }
    put(good, n_good - 1);
    refused(LLMIR_BAD_INPUT, "cut or appended");
    uint8_t *more = malloc(n_good + 1);
    memcpy(more, good, n_good);
    more[n_good] = 0;
    put(more, n_good + 1);
    free(more);
    refused(LLMIR_BAD_INPUT, "cut or appended");
}

static int padding(size_t at)
{
    return (at >= note.elf_size && at < note.blob_offset) ||
           (at >= note.blob_offset + note.blob_size && at < note.weights_offset);
}

static void every_flipped_bit_is_noticed(void **s)
{
    (void)s;
    put(good, n_good);
    uint32_t x = 12345;
    for (int i = 0; i < 20000; i++) {
        x = x * 1664525 + 1013904223;
        size_t at = (size_t)(((uint64_t)x * n_good) >> 32);
        x = x * 1664525 + 1013904223;
        uint8_t byte = good[at] ^ (uint8_t)(1 << (x >> 29));
        if (padding(at)) continue;
        assert_int_equal(pwrite(file, &byte, 1, (off_t)at), 1);
        llmir_error err;
        if (check(&err) == LLMIR_OK) fail_msg("bit flip at %zu was not noticed", at);
        assert_int_equal(pwrite(file, &good[at], 1, (off_t)at), 1);
    }
    assert_int_equal(check(NULL), LLMIR_OK);
}

static void weights_are_compared_only_on_request(void **s)
{
    (void)s;
    uint8_t byte = good[n_good - 5] ^ 1;
    put(good, n_good);
    assert_int_equal(pwrite(file, &byte, 1, (off_t)n_good - 5), 1);
    assert_int_equal(llmir_check(path, NULL, NULL), LLMIR_OK);
    refused(LLMIR_BAD_INPUT, "weights: damaged");
}

static void other_files_are_named_as_such(void **s)
{
    (void)s;
    llmir_error err;
    put("hello, this is a text file that is long enough to hold an ELF header, were it one", 80);
    refused(LLMIR_BAD_INPUT, "no ELF header");
    put("", 0);
    refused(LLMIR_BAD_INPUT, "too short");
    assert_int_equal(llmir_check("/nonexistent/model.so", NULL, &err), LLMIR_BAD_INPUT);
    assert_string_equal(err.msg, "/nonexistent/model.so: cannot open: No such file or directory");
    assert_int_equal(llmir_check("/tmp", NULL, &err), LLMIR_BAD_INPUT);
    assert_non_null(strstr(err.msg, "regular file"));
    assert_int_equal(llmir_check("/proc/self/exe", NULL, &err),
                     LLMIR_BAD_INPUT); /* a program, no module */
    assert_non_null(strstr(err.msg, "not a module"));
    assert_int_equal(llmir_check("/dev/zero", NULL, &err), LLMIR_BAD_INPUT);
}

/* ---- honest digests, dishonest content -------------------------------------------------- */
static uint8_t *copy; /* changed by a test, then sealed */
static Elf64_Ehdr *eh(void) { return (void *)copy; }
static Elf64_Phdr *ph(int i) { return (Elf64_Phdr *)(void *)(copy + eh()->e_phoff) + i; }
static llmir_note *the_note(void)
{
    return (llmir_note *)(void *)(copy + fake_note_at(copy, n_good));
}

static void fresh(void)
{
    free(copy);
    copy = malloc(n_good);
    memcpy(copy, good, n_good);
}

static void sealed(int want, const char *words)
{
    fake_seal(copy, n_good);
    put(copy, n_good);
    refused(want, words);
    fresh();
}

static Elf64_Phdr *segment(uint32_t type)
{
    for (int i = 0; i < eh()->e_phnum; i++)
        if (ph(i)->p_type == type) return ph(i);
    fail_msg("no segment of type %u", type);
    return NULL;
}

static void foreign_elf_files_are_refused(void **s)
{
    (void)s;
    fresh();
    eh()->e_machine = EM_PPC64;
    sealed(LLMIR_NO_DEVICE, "machine 21");
    eh()->e_type = ET_EXEC;
    sealed(LLMIR_BAD_INPUT, "ELF type 2");
    eh()->e_ident[EI_CLASS] = ELFCLASS32;
    sealed(LLMIR_BAD_INPUT, "64-bit");
    eh()->e_ident[EI_DATA] = ELFDATA2MSB;
    sealed(LLMIR_BAD_INPUT, "little-endian");
    eh()->e_phnum = 60000;
    sealed(LLMIR_BAD_INPUT, "60000 program headers");
    eh()->e_phoff = UINT64_MAX - 8;
    sealed(LLMIR_BAD_INPUT, "program headers");
    segment(PT_DYNAMIC)->p_type = PT_NULL;
    sealed(LLMIR_BAD_INPUT, "statically linked");
    segment(PT_DYNAMIC)->p_type = PT_INTERP;
    sealed(LLMIR_BAD_INPUT, "a program");
    segment(PT_LOAD)->p_filesz = n_good * 2;
    sealed(LLMIR_BAD_INPUT, "segment");
    segment(PT_LOAD)->p_offset = UINT64_MAX;
    sealed(LLMIR_BAD_INPUT, "segment");
    segment(PT_LOAD)->p_memsz = UINT64_MAX;
    sealed(LLMIR_BAD_INPUT, "segment");
    segment(PT_LOAD)->p_align = 3;
    sealed(LLMIR_BAD_INPUT, "alignment");
    segment(PT_NOTE)->p_type = PT_NULL;
    sealed(LLMIR_BAD_INPUT, "without the note");
    segment(PT_NOTE)->p_filesz = UINT64_MAX;
    sealed(LLMIR_BAD_INPUT, "notes");
}

static void what_a_loader_would_run_or_fetch_is_refused(void **s)
{
    (void)s;
    static const struct {
        int64_t tag;
        const char *words;
    } bad[] = {
        {DT_NEEDED, "needs another library"},
        {DT_INIT, "init function"},
        {DT_INIT_ARRAY, "constructors"},
        {DT_FINI, "fini function"},
        {DT_RPATH, "run path"},
        {DT_RUNPATH, "run path"},
        {DT_TEXTREL, "relocates"},
    };
    fresh();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Elf64_Dyn *d = (void *)(copy + segment(PT_DYNAMIC)->p_offset);
        while (d->d_tag != DT_GNU_HASH) d++;
        d->d_tag = bad[i].tag;
        sealed(LLMIR_BAD_INPUT, bad[i].words);
    }
    Elf64_Dyn *d = (void *)(copy + segment(PT_DYNAMIC)->p_offset);
    while (d->d_tag != DT_RELA) d++;
    uint64_t at = d->d_un.d_ptr;
    for (int i = 0; i < eh()->e_phnum; i++)
        if (ph(i)->p_type == PT_LOAD && at >= ph(i)->p_vaddr &&
            at < ph(i)->p_vaddr + ph(i)->p_filesz) {
            Elf64_Rela *r = (void *)(copy + ph(i)->p_offset + (at - ph(i)->p_vaddr));
            r->r_info = ELF64_R_INFO(0, R_X86_64_IRELATIVE);
            break;
        }
    sealed(LLMIR_BAD_INPUT, "indirect function");
}

static void other_versions_are_refused_by_name(void **s)
{
    (void)s;
    fresh();
    the_note()->abi = 0;
    sealed(LLMIR_UNSUPPORTED, "module ABI 0");
    the_note()->abi = LLMIR_MODULE_ABI + 1;
    sealed(LLMIR_UNSUPPORTED, "rebuild");
    the_note()->magic ^= 1;
    sealed(LLMIR_BAD_INPUT, "magic");
    the_note()->size = 8;
    sealed(LLMIR_BAD_INPUT, "8 bytes");
    the_note()->required = 4;
    sealed(LLMIR_UNSUPPORTED, "0x4");
    the_note()->weights_offset += 64;
    sealed(LLMIR_BAD_INPUT, "in order");
    the_note()->weights_size = UINT64_MAX - 4096;
    sealed(LLMIR_BAD_INPUT, "in order");
    the_note()->file_size++;
    sealed(LLMIR_BAD_INPUT, "cut or appended");
    the_note()->note_digest[0] ^= 1; /* not sealed */
    put(copy, n_good);
    refused(LLMIR_BAD_INPUT, "note: damaged");
    fresh();
    the_note()->blob_offset = 0; /* sealing hashes another range: the tables are not there */
    sealed(LLMIR_BAD_INPUT, "in order");
}

static void missing_cpu_features_are_named(void **s)
{
    (void)s;
    ll_error e = {0};
    char name[] = "/tmp/llmir-fault-XXXXXX";
    close(mkstemp(name));
    assert_int_equal(fake_write(name, getenv("FAKE_OBJECT"),
                                &(fake_options){.features = "sse4.2,warp-drive"}, &e),
                     LL_OK);
    llmir_error err;
    assert_int_equal(llmir_check(name, NULL, &err), LLMIR_NO_DEVICE);
    assert_non_null(strstr(err.msg, "no code for this machine; it has code for cpu:x86-64 "
                                    "(lacking warp-drive), cuda:sm_80 (lacking "));
    llmir_model *m = NULL; /* looking inside is possible all the same */
    assert_int_equal(llmir_open_info(name, &m, &err), LLMIR_OK);
    llmir_engine *engine = NULL;
    assert_int_equal(llmir_engine_create(m, NULL, &engine, &err), LLMIR_USAGE);
    llmir_close(m);
    unlink(name);
}

/* Record i of a section of `copy`. */
static void *record(uint32_t kind, uint32_t i)
{
    const llmir_blob_head *h = (const void *)(copy + note.blob_offset);
    const llmir_section *s = (const void *)(h + 1);
    for (uint32_t k = 0; k < h->n_section; k++)
        if (s[k].kind == kind && i < s[k].count)
            return copy + note.blob_offset + s[k].offset + i * (size_t)s[k].record;
    fail_msg("no record %u of section %u", i, kind);
    return NULL;
}
#define TARGET(i) ((llmir_target_rec *)record(LLMIR_SEC_TARGET, (i)))
#define KERNEL(i) ((llmir_kernel_rec *)record(LLMIR_SEC_KERNEL, (i)))
#define LAUNCH(i) ((llmir_launch_rec *)record(LLMIR_SEC_LAUNCH, (i)))

/* A module for `features` and, in its second target, `wide`, opened on `device`: the target that
 * was taken, or the status as text. */
static const char *taken(const char *features, const char *wide, const char *device)
{
    static char out[1024];
    char name[] = "/tmp/llmir-fault-XXXXXX";
    ll_error e = {0};
    llmir_error err;
    llmir_model *m = NULL;
    close(mkstemp(name));
    fake_options o = {.features = features, .wide = wide};
    assert_int_equal(fake_write(name, getenv("FAKE_OBJECT"), &o, &e), LL_OK);
    llmir_open_params p = {.size = sizeof p, .device = device};
    int rc = llmir_open(name, &p, &m, &err);
    llmir_model_info info = LLMIR_INIT(llmir_model_info);
    if (rc == LLMIR_OK) assert_int_equal(llmir_model_get_info(m, &info, NULL), LLMIR_OK);
    snprintf(out, sizeof out, "%s", rc == LLMIR_OK ? info.target : err.msg + strlen(name));
    if (rc != LLMIR_OK && rc != LLMIR_NO_DEVICE) fail_msg("%d: %s", rc, err.msg);
    llmir_close(m);
    unlink(name);
    return out;
}

static void the_most_capable_target_is_taken(void **s)
{
    (void)s;
    ll_target here;
    ll_target_native(&here);
    if (here.vector_bytes < 32) skip();
    /* more features; wider vectors before more features, wherever it stands; equal: the first */
    assert_string_equal(taken("", "sse4.2", NULL), "cpu:x86-64-v3");
    assert_string_equal(taken("sse4.2", "", "cpu"), "cpu:x86-64");
    assert_string_equal(taken("avx", "sse4.2,popcnt,bmi,bmi2,lzcnt,movbe", NULL), "cpu:x86-64");
    assert_string_equal(taken("sse4.2,popcnt,bmi,bmi2,lzcnt,movbe", "avx", NULL), "cpu:x86-64-v3");
    assert_string_equal(taken("avx2", "avx2", NULL), "cpu:x86-64");
    /* what does not run here is passed over, what is named is taken */
    assert_string_equal(taken("sse4.2", "avx512f,warp-drive", NULL), "cpu:x86-64");
    assert_string_equal(taken("sse4.2", "avx", "cpu:x86-64"), "cpu:x86-64");
    assert_string_equal(taken("sse4.2", "warp-drive", "cpu:x86-64-v3"),
                        ": its code for cpu:x86-64-v3 needs warp-drive, which this machine lacks");
    assert_string_equal(taken("", NULL, "cpu:x86-64-v4"),
                        ": no code for cpu:x86-64-v4; it has code for cpu:x86-64, cuda:sm_80 "
                        "(lacking a library that runs CUDA)");
    assert_string_equal(taken("sse5", "warp-drive", NULL),
                        ": no code for this machine; it has code for cpu:x86-64 (lacking sse5), "
                        "cpu:x86-64-v3 (lacking warp-drive), cuda:sm_80 (lacking a library that "
                        "runs CUDA): build it for another target (llmir-build --target)");
}

static int last_total(void *user, uint64_t done, uint64_t total)
{
    *(uint64_t *)user = done == total ? total : 0;
    return 0;
}

static void only_weights_of_the_target_are_copied(void **s)
{
    (void)s;
    char name[] = "/tmp/llmir-fault-XXXXXX";
    ll_error e = {0};
    llmir_error err;
    close(mkstemp(name));
    fake_options o = {.wide = "", .pad_weights = 3000};
    assert_int_equal(fake_write(name, getenv("FAKE_OBJECT"), &o, &e), LL_OK);
    static const struct {
        const char *device;
        uint64_t bytes;
    } want[] = {{"cpu:x86-64", 4 * FAKE_VOCAB + 8 + 3000}, {"cpu:x86-64-v3", 4 * FAKE_VOCAB + 8}};
    for (size_t i = 0; i < 2; i++) {
        uint64_t total = 0;
        llmir_model *m;
        llmir_open_params p = {.size = sizeof p,
                               .device = want[i].device,
                               .weights = LLMIR_WEIGHTS_COPIED,
                               .progress = last_total,
                               .user = &total};
        if (llmir_open(name, &p, &m, &err) != LLMIR_OK) fail_msg("%s", err.msg);
        assert_int_equal(total, want[i].bytes);
        llmir_engine *engine; /* and they are where the programs look */
        llmir_session *session;
        int32_t prompt[] = {3, 4, 5}, state[3];
        llmir_feed f = {.size = sizeof f, .tokens = prompt, .n_tokens = 3};
        assert_int_equal(llmir_engine_create(m, NULL, &engine, &err), LLMIR_OK);
        assert_int_equal(llmir_session_create(engine, &session, &err), LLMIR_OK);
        f.session = session;
        if (llmir_step(engine, &f, 1, NULL, &err) != LLMIR_OK) fail_msg("%s", err.msg);
        fake_states(prompt, 3, state);
        assert_int_equal(f.next, state[2] % FAKE_VOCAB);
        llmir_session_destroy(session);
        llmir_engine_destroy(engine);
        llmir_close(m);
    }
    unlink(name);
}

static void targets_are_checked(void **s)
{
    (void)s;
    enum { BAD = LLMIR_BAD_INPUT };
    fresh();
    TARGET(1)->name = TARGET(0)->name, sealed(BAD, "target 1: a second cpu:x86-64");
    TARGET(1)->name = 0, sealed(BAD, "target 1: its name is empty");
    TARGET(1)->name = UINT32_MAX, sealed(BAD, "target 1: string");
    TARGET(0)->features = UINT32_MAX, sealed(BAD, "target 0: string");
    TARGET(1)->kind = LLMIR_ON_END_, sealed(BAD, "target 1: kind 2 is unknown");
    TARGET(1)->kind = LLMIR_ON_CPU, sealed(BAD, "target 1: compute capability 80");
    TARGET(0)->sm_exact = 1, sealed(BAD, "target 0: compute capability 0");
    TARGET(1)->sm = 0, sealed(BAD, "target 1: compute capability 0");
    TARGET(1)->sm_exact = 2, sealed(BAD, "exact 2");
    TARGET(1)->program--;
    sealed(BAD, "target 1: 9 programs from number 8, wanted some from number 9");
    TARGET(1)->n_program++, sealed(BAD, "target 1: 10 programs");
    TARGET(1)->n_program--, sealed(BAD, "17 programs of 18");
    TARGET(0)->n_program = 0, sealed(BAD, "wanted some");
    TARGET(0)->n_program--, TARGET(1)->program--, TARGET(1)->n_program++;
    sealed(BAD, "is code for target 0, the program is of target 1");
    ((llmir_program_rec *)record(LLMIR_SEC_PROGRAM, 17))->t_min++;
    sealed(BAD, "programs of target 1 for KV layout 2");
}

static void kernels_and_launches_are_checked(void **s)
{
    (void)s;
    enum { BAD = LLMIR_BAD_INPUT, CPU = 0, CUDA = 10 };
    fresh();
    assert_int_equal(KERNEL(CUDA)->kind, LLMIR_ON_CUDA);
    KERNEL(CUDA)->target = 2, sealed(BAD, "kernel 10: number 2 of targets");
    KERNEL(CUDA)->kind = LLMIR_ON_CPU, sealed(BAD, "kernel 10: kind 0, its target's is 1");
    KERNEL(CUDA)->code = 10, sealed(BAD, "kernel 10: number 10 of launches, there are 10");
    KERNEL(CPU)->code = 10, sealed(BAD, "kernel 0: code number 10 of 10");
    LAUNCH(1)->entry = UINT32_MAX, sealed(BAD, "launch 1: string");
    LAUNCH(1)->entry = 0, sealed(BAD, "launch 1: no entry");
    LAUNCH(1)->block[2] = 0, sealed(BAD, "launch 1: blocks of 32 x 4 x 0 threads");
    LAUNCH(1)->block[2] = 9, sealed(BAD, "32 x 4 x 9");
    for (int i = 0; i < 3; i++) LAUNCH(1)->block[i] = 1u << 22; /* 2^66 threads */
    sealed(BAD, "wanted 1 to 1024");
    LAUNCH(1)->shared = LLMIR_MAX_SHARED + 1, sealed(BAD, "launch 1: 1048577 bytes of shared");
    LAUNCH(1)->grid[2].div = 0, sealed(BAD, "launch 1: a grid divided by 0");
    LAUNCH(1)->grid[0].n.n_term = 17, sealed(BAD, "launch 1: 17 terms");
    LAUNCH(1)->grid[0].n.term = UINT32_MAX, sealed(BAD, "launch 1: 1 terms from number 4294967295");
    LAUNCH(1)->ptx--, sealed(BAD, "launch 1: 28 bytes of PTX at 27: wanted some from 28 on");
    LAUNCH(9)->ptx_size = UINT64_MAX, sealed(BAD, "launch 9:");
    LAUNCH(9)->ptx = UINT64_MAX, sealed(BAD, "launch 9:");
    LAUNCH(9)->ptx_size++, sealed(BAD, "launch 9:");
    LAUNCH(9)->ptx_size = 1, sealed(BAD, "launch 9: 1 bytes of PTX");
    LAUNCH(9)->ptx_size--, sealed(BAD, "launch 9: its PTX does not end in its first NUL");
    ((char *)record(LLMIR_SEC_PTX, 0))[3] = 0, sealed(BAD, "launch 0: its PTX does not end");
    LAUNCH(1)->ptx = LAUNCH(0)->ptx; /* two kernels of one text are fine */
    fake_seal(copy, n_good);
    put(copy, n_good);
    llmir_error err;
    if (check(&err) != LLMIR_OK) fail_msg("%s", err.msg);
}

static void grids_are_rounded_up_and_may_be_empty(void **s)
{
    (void)s;
    fresh();
    rt_blob b;
    ll_error e = {0};
    uint64_t n;
    int64_t dim[] = {33, 1, 1, 1, 1};
    assert_int_equal(rt_blob_parse(&b, copy + note.blob_offset, note.blob_size, note.weights_size,
                                   "m.so", &e), LL_OK);
    const llmir_extent *x = &rt_blob_launch(&b, 0)->grid[0]; /* ceil(T / 16) */
    assert_int_equal(rt_extent(&b, x, dim, "grid", &n, &e), LL_OK);
    assert_int_equal(n, 3);
    dim[0] = 0;
    assert_int_equal(rt_extent(&b, x, dim, "grid", &n, &e), LL_OK);
    assert_int_equal(n, 0);
    dim[0] = -5;
    assert_int_equal(rt_extent(&b, x, dim, "grid", &n, &e), LL_OK);
    assert_int_equal(n, 0);
    dim[0] = INT64_MAX;
    assert_int_equal(rt_extent(&b, x, dim, "grid", &n, &e), LL_BAD_INPUT);
}

/* Each 32-bit word of the tables takes each odd value. The module must be refused, or be one that
 * an engine can be made for: no index, range or size may get past the check. */
static void no_value_in_the_tables_gets_past_the_check(void **s)
{
    (void)s;
    static const uint32_t odd[] = {0, 1, 7, 0x7fffffff, 0x80000000, 0xffffffff, 0x00010000};
    uint32_t accepted = 0, engines = 0, x = 99;
    fresh();
    for (size_t at = 0; at + 4 <= note.blob_size; at += 4) {
        for (size_t k = 0; k < sizeof odd / sizeof *odd; k++) {
            x = x * 1664525 + 1013904223;
            if (at > 600 && x >> 30) continue; /* a quarter of them: the headers in full */
            uint32_t *word = (uint32_t *)(void *)(copy + note.blob_offset + at), old = *word;
            if (old == odd[k]) continue;
            *word = odd[k];
            fake_seal(copy, n_good);
            put(copy, n_good);
            *word = old;
            llmir_error err;
            int rc = llmir_check(path, NULL, &err);
            if (rc != LLMIR_OK) {
                if (rc != LLMIR_BAD_INPUT && rc != LLMIR_NO_DEVICE)
                    fail_msg("word %zu: status %d: %s", at, rc, err.msg);
                continue;
            }
            llmir_model *m;
            llmir_engine *e = NULL;
            if (++accepted % 16) continue;
            rc = llmir_open(path, NULL, &m, &err);
            assert_true(rc == LLMIR_OK || rc == LLMIR_BAD_INPUT);
            if (rc != LLMIR_OK) continue;
            llmir_engine_params p = {.size = sizeof p, .threads = 1};
            if (llmir_engine_create(m, &p, &e, &err) == LLMIR_OK) engines++;
            llmir_engine_destroy(e);
            llmir_close(m);
        }
    }
    assert_true(accepted > 100 && engines > 10);
}

static void a_replaced_file_does_not_reach_an_open_model(void **s)
{
    (void)s;
    char name[] = "/tmp/llmir-fault-XXXXXX";
    ll_error e = {0};
    llmir_error err;
    llmir_model *a, *b;
    close(mkstemp(name));
    assert_int_equal(fake_write(name, getenv("FAKE_OBJECT"), &(fake_options){0}, &e), LL_OK);
    assert_int_equal(llmir_open(name, NULL, &a, &err), LLMIR_OK);
    assert_int_equal(fake_write(name, getenv("FAKE_OBJECT"), &(fake_options){.features = "sse4.2"},
                                &e),
                     LL_OK);
    if (llmir_open(name, NULL, &b, &err) != LLMIR_OK)
        fail_msg("%s", err.msg); /* the new one, not the loaded one */
    llmir_model_info info = LLMIR_INIT(llmir_model_info);
    assert_int_equal(llmir_model_get_info(b, &info, NULL), LLMIR_OK);
    assert_string_equal(info.features, "sse4.2");
    assert_int_equal(llmir_model_get_info(a, &info, NULL), LLMIR_OK);
    assert_string_equal(info.features, "");
    llmir_close(a);
    llmir_close(b);
    unlink(name);
}

static void opening_takes_milliseconds(void **s)
{
    (void)s;
    struct timespec a, b;
    llmir_model *m;
    double best = 1;
    put(good, n_good);
    for (int i = 0; i < 5; i++) {
        clock_gettime(CLOCK_MONOTONIC, &a);
        assert_int_equal(llmir_open(path, NULL, &m, NULL), LLMIR_OK);
        clock_gettime(CLOCK_MONOTONIC, &b);
        llmir_close(m);
        double t = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
        best = t < best ? t : best;
    }
    assert_true(best < 0.05);
}

int main(int argc, char **argv)
{
    if (argc < 2) return fprintf(stderr, "usage: test_module KERNELS.o\n"), 2;
    setenv("FAKE_OBJECT", argv[1], 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_module_is_accepted),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(weights_are_compared_only_on_request),
        cmocka_unit_test(other_files_are_named_as_such),
        cmocka_unit_test(foreign_elf_files_are_refused),
        cmocka_unit_test(what_a_loader_would_run_or_fetch_is_refused),
        cmocka_unit_test(other_versions_are_refused_by_name),
        cmocka_unit_test(missing_cpu_features_are_named),
        cmocka_unit_test(the_most_capable_target_is_taken),
        cmocka_unit_test(only_weights_of_the_target_are_copied),
        cmocka_unit_test(targets_are_checked),
        cmocka_unit_test(kernels_and_launches_are_checked),
        cmocka_unit_test(grids_are_rounded_up_and_may_be_empty),
        cmocka_unit_test(no_value_in_the_tables_gets_past_the_check),
        cmocka_unit_test(a_replaced_file_does_not_reach_an_open_model),
        cmocka_unit_test(opening_takes_milliseconds),
    };
    int rc = cmocka_run_group_tests(tests, setup, teardown);
    free(copy);
    return rc;
}

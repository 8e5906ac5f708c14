/* test_image.c: the module writer: same bytes anywhere, nothing half-written, failures named. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "compile/blob.h"
#include "compile/image.h"
#include "tests/unit/runtime/fake.h"

static const char *object; /* absolute */
static char dir[] = "/tmp/llmir-image-XXXXXX";

static int setup(void **s)
{
    (void)s;
    return mkdtemp(dir) == NULL;
}
static int teardown(void **s)
{
    (void)s;
    return rmdir(dir);
}

static char *in_dir(const char *name)
{
    static char p[4][128];
    static int k;
    k = (k + 1) % 4;
    snprintf(p[k], sizeof p[k], "%s/%s", dir, name);
    return p[k];
}

static int entries(const char *where)
{
    DIR *d = opendir(where);
    int n = 0;
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static void same_bytes_in_any_directory(void **s)
{
    (void)s;
    void *a, *b;
    size_t n, m;
    ll_error e = {0};
    fake_options o = {.pad_weights = 3 << 20};
    assert_int_equal(fake_write(in_dir("a.so"), object, &o, &e), LL_OK);
    char sub[128], old[512];
    snprintf(sub, sizeof sub, "%s", in_dir("another-and-longer-name"));
    assert_int_equal(mkdir(sub, 0700), 0);
    assert_non_null(getcwd(old, sizeof old));
    assert_int_equal(chdir(sub), 0);
    setenv("TMPDIR", sub, 1);
    assert_int_equal(fake_write("b.so", object, &o, &e),
                     LL_OK); /* a relative name, another TMPDIR */
    unsetenv("TMPDIR");
    assert_int_equal(entries(sub), 1);
    assert_int_equal(ll_file_read("b.so", 1 << 24, &b, &m, &e), LL_OK);
    unlink("b.so");
    assert_int_equal(chdir(old), 0);
    rmdir(sub);
    assert_int_equal(ll_file_read(in_dir("a.so"), 1 << 24, &a, &n, &e), LL_OK);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    assert_null(memmem(a, n, dir, strlen(dir)));
    free(a);
    free(b);
    unlink(in_dir("a.so"));
}

static void a_full_disk_leaves_the_old_file(void **s)
{
    (void)s;
    ll_error e = {0};
    void *p;
    size_t n;
    assert_int_equal(ll_file_write(in_dir("m.so"), "old", 3, &e), LL_OK);
    struct rlimit was, small = {1 << 20, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &was);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    ll_code rc = fake_write(in_dir("m.so"), object, &(fake_options){.pad_weights = 4 << 20}, &e);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(rc, LL_NO_SPACE);
    assert_non_null(strstr(e.msg, "m.so"));
    assert_int_equal(entries(dir), 1);
    assert_int_equal(ll_file_read(in_dir("m.so"), 100, &p, &n, &e), LL_OK);
    assert_memory_equal(p, "old", 4);
    free(p);
    unlink(in_dir("m.so"));
    e.code = LL_OK;
    assert_int_equal(fake_write("/nonexistent/m.so", object, &(fake_options){0}, &e), LL_FAILED);
}

/* Bytes of a mapping of the file, all touched, that lie in huge pages. */
static size_t huge_bytes(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    size_t n = (size_t)st.st_size, huge = 0, sum = 0;
    char *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0), line[512], start[32];
    assert_true(p != MAP_FAILED);
    madvise(p, n, MADV_HUGEPAGE);
    for (size_t i = 0; i < n; i += 4096) sum += (unsigned char)p[i];
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_true(f && sum);
    snprintf(start, sizeof start, "%lx-", (unsigned long)(uintptr_t)p);
    bool here = false;
    unsigned long kb;
    while (fgets(line, sizeof line, f)) {
        if (!strncmp(line, start, strlen(start))) here = true;
        if (!here || sscanf(line, "FilePmdMapped: %lu kB", &kb) != 1) continue;
        huge = kb << 10;
        break;
    }
    fclose(f);
    munmap(p, n);
    close(fd);
    return huge;
}

static void weights_can_be_mapped_in_huge_pages(void **s)
{
    (void)s;
    enum { HUGE_PAGE = 2 << 20, N = 9 << 20 };
    ll_error e = {0};
    char *plain = malloc(N);
    assert_non_null(plain);
    memset(plain, 1, N);
    FILE *f = fopen(in_dir("plain"), "w");
    assert_non_null(f);
    setbuf(f, NULL);
    for (size_t at = 0; at < N; at += HUGE_PAGE)
        assert_true(fwrite(plain + at, N - at < HUGE_PAGE ? N - at : HUGE_PAGE, 1, f) == 1);
    fclose(f);
    free(plain);
    bool possible = huge_bytes(in_dir("plain")) >= N - 2 * HUGE_PAGE;
    unlink(in_dir("plain"));
    if (!possible) skip(); /* this file system keeps files in small pages */
    fake_options o = {.pad_weights = N};
    assert_int_equal(fake_write(in_dir("a.so"), object, &o, &e), LL_OK);
    size_t huge = huge_bytes(in_dir("a.so"));
    unlink(in_dir("a.so"));
    assert_true(huge >= N / 2);
}

/* A module of one kernel with what `im` changes. */
static ll_code write_one(cc_image im, uint64_t declared, ll_error *err)
{
    cc_blob *b = cc_blob_create();
    uint8_t *blob;
    size_t n;
    cc_blob_add(b, LLMIR_SEC_WEIGHT, &(llmir_weight_rec){0, 0, 0, declared});
    assert_int_equal(cc_blob_finish(b, &blob, &n, err), LL_OK);
    cc_blob_destroy(b);
    im.blob = blob;
    im.blob_size = n;
    ll_code rc = cc_image_write(in_dir("x.so"), &im, err);
    free(blob);
    return rc;
}

static ll_code ten_bytes(void *user, uint32_t i, cc_sink *sink, ll_error *err)
{
    return cc_sink_write(sink, "0123456789", 10, err);
}

static ll_code gives_up(void *user, uint32_t i, cc_sink *sink, ll_error *err)
{
    return ll_fail(err, LL_BAD_INPUT, "tensor %u is damaged", i);
}

static void failures_are_named_and_leave_nothing(void **s)
{
    (void)s;
    ll_error e = {0};
    cc_image im = {.weight = ten_bytes};
    assert_int_equal(write_one(im, 10, &e), LL_OK);
    unlink(in_dir("x.so"));
    assert_int_equal(write_one(im, 11, &e), LL_FAILED);
    assert_string_equal(e.msg, "weight 0: 10 bytes came, its record says 11");
    e = (ll_error){0};
    im.weight = gives_up;
    assert_int_equal(write_one(im, 10, &e), LL_BAD_INPUT);
    assert_string_equal(e.msg, "tensor 0 is damaged");
    e = (ll_error){0};
    im.weight = ten_bytes;
    im.linker = "/nonexistent/ld";
    assert_int_equal(write_one(im, 10, &e), LL_FAILED);
    assert_non_null(strstr(e.msg, "/nonexistent/ld"));
    e = (ll_error){0};
    im.linker = NULL;
    im.object = &(cc_object){"no object", 9};
    im.n_object = 1;
    assert_int_equal(write_one(im, 10, &e), LL_FAILED);
    assert_non_null(strstr(e.msg, "k0.o")); /* the linker's words */
    e = (ll_error){0};
    setenv("TMPDIR", "/nonexistent", 1);
    assert_int_equal(write_one((cc_image){.weight = ten_bytes}, 10, &e), LL_FAILED);
    unsetenv("TMPDIR");
    assert_int_equal(entries(dir), 0);
    uint8_t junk[64] = {0};
    e = (ll_error){0};
    assert_int_equal(cc_image_write(in_dir("x.so"),
                                    &(cc_image){.blob = junk, .blob_size = sizeof junk}, &e),
                     LL_USAGE);
}

static void linear_forms_and_strings_are_stored_once(void **s)
{
    (void)s;
    cc_blob *b = cc_blob_create();
    int64_t one[] = {0, 3, 0, -4}, two[] = {0, 3, 0, 0};
    assert_int_equal(cc_blob_str(b, ""), 0);
    assert_int_equal(cc_blob_str(b, NULL), 0);
    llmir_str x = cc_blob_str(b, "layer");
    assert_int_equal(cc_blob_str(b, "layer"), x);
    llmir_linear p = cc_linear(b, 5, one, 4), q = cc_linear(b, 9, one, 4),
                 r = cc_linear(b, 5, two, 4), c = cc_linear(b, 7, one, 1);
    assert_true(p.term == q.term && p.n_term == 2 && q.base == 9);
    assert_true(r.term != p.term && r.n_term == 1);
    assert_true(c.n_term == 0 && c.base == 7);
    assert_int_equal(cc_blob_count(b, LLMIR_SEC_TERM), 3);
    cc_blob_destroy(b);
}

int main(int argc, char **argv)
{
    if (argc < 2) return fprintf(stderr, "usage: test_image KERNELS.o\n"), 2;
    object = realpath(argv[1], NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes_in_any_directory),
        cmocka_unit_test(weights_can_be_mapped_in_huge_pages),
        cmocka_unit_test(a_full_disk_leaves_the_old_file),
        cmocka_unit_test(failures_are_named_and_leave_nothing),
        cmocka_unit_test(linear_forms_and_strings_are_stored_once),
    };
    int rc = cmocka_run_group_tests(tests, setup, teardown);
    free((char *)(uintptr_t)object);
    return rc;
}

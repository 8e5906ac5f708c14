/* test_cache.c: the kernel cache finds what was put, nothing else, and never fails: damaged,
 * foreign and old entries, full disks, missing folders, many builds at once, a limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "compile/cache.h"

static const char *library; /* one with a build id that this program does not use */
static char dir[] = "/tmp/llmir-cache-XXXXXX";
static const ll_hash this = {1, 2}, other = {1, 3};

static const char *in_dir(const char *name)
{
    static char p[4][512];
    static int k;
    k = (k + 1) % 4;
    snprintf(p[k], sizeof p[k], "%s/%s", dir, name);
    return p[k];
}

/* Names in the folder that have `tail`; the last of them is left in `one`. */
static int count(const char *tail, char one[256])
{
    DIR *d = opendir(dir);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name), m = strlen(tail);
        if (e->d_name[0] == '.' || len < m || strcmp(e->d_name + len - m, tail)) continue;
        if (one) snprintf(one, 256, "%s", e->d_name);
        n++;
    }
    closedir(d);
    return n;
}

static void empty(void)
{
    char name[256];
    while (count("", name))
        if (unlink(in_dir(name))) assert_int_equal(rmdir(in_dir(name)), 0);
}

static int setup(void **s)
{
    (void)s;
    return mkdtemp(dir) == NULL;
}
static int teardown(void **s)
{
    (void)s;
    empty();
    return rmdir(dir);
}

static cc_cache *open_for(ll_hash revision, uint64_t limit)
{
    char why[CC_CACHE_WHY];
    cc_cache *c = cc_cache_open(dir, revision, limit, why);
    if (!c) fail_msg("%s", why);
    return c;
}

enum { BYTES = 700 };
/* What kernel number k is: every key has its own bytes. */
static void code_of(uint64_t k, unsigned char bytes[BYTES], cg_code *code, cc_launch *launch)
{
    for (int i = 0; i < BYTES; i++) bytes[i] = (unsigned char)(k * 31 + (uint64_t)i * i);
    *code = (cg_code){.object = bytes, .object_bytes = BYTES - (size_t)k % 100,
                      .scratch_bytes = (size_t)k * 64};
    memset(launch, 0, sizeof *launch);
    snprintf(launch->entry, sizeof launch->entry, "kernel_%d", (int)k);
    launch->grid[1].n.coef[5] = (int64_t)k;
}

static void put(cc_cache *c, uint64_t k)
{
    unsigned char bytes[BYTES];
    cg_code code;
    cc_launch launch;
    code_of(k, bytes, &code, &launch);
    cc_cache_put(c, (ll_hash){k, 7}, &code, &launch);
}

/* Found and right. What is found and wrong ends the test. */
static bool has(cc_cache *c, uint64_t k)
{
    unsigned char bytes[BYTES];
    cg_code want, got;
    cc_launch want_launch, launch;
    if (!cc_cache_get(c, (ll_hash){k, 7}, &got, &launch)) return false;
    code_of(k, bytes, &want, &want_launch);
    bool right = got.object_bytes == want.object_bytes && got.scratch_bytes == want.scratch_bytes &&
                 !memcmp(got.object, bytes, want.object_bytes) &&
                 !memcmp(&launch, &want_launch, sizeof launch);
    cg_code_finish(&got);
    if (!right) abort(); /* also in child processes */
    return true;
}

static void what_is_put_is_found(void **s)
{
    (void)s;
    empty();
    cc_cache *c = open_for(this, 0);
    assert_false(has(c, 1));
    for (uint64_t k = 1; k < 9; k++) put(c, k);
    cc_cache_close(c);
    c = open_for(this, 0);
    for (uint64_t k = 1; k < 9; k++) assert_true(has(c, k));
    assert_false(has(c, 9));
    cc_cache_close(c);
    assert_int_equal(count("", NULL), 8); /* and no temporary file */
    c = open_for(other, 0); /* another compiler finds none of them */
    for (uint64_t k = 1; k < 9; k++) assert_false(has(c, k));
    cc_cache_close(c);
    assert_false(cc_cache_get(NULL, this, NULL, NULL));
    cc_cache_put(NULL, this, NULL, NULL);
    cc_cache_close(NULL);
}

static void damaged_entries_are_replaced(void **s)
{
    (void)s;
    empty();
    cc_cache *c = open_for(this, 0);
    char name[256];
    void *good;
    size_t n;
    put(c, 3);
    assert_int_equal(count(".k", name), 1);
    assert_int_equal(ll_file_read(in_dir(name), 1 << 20, &good, &n, NULL), LL_OK);
    unsigned char *bad = malloc(n + 1);
    for (size_t i = 0; i < 3 * n + 2; i++) { /* every byte changed, every length, one byte more */
        size_t len = i < n ? n : i < 3 * n ? (i - n) / 2 : n + 1;
        memcpy(bad, good, n);
        bad[n] = 0;
        if (i < n) bad[i] ^= (unsigned char)(1 << i % 8);
        assert_int_equal(ll_file_write(in_dir(name), bad, len, NULL), LL_OK);
        if (has(c, 3)) fail_msg("damage %zu was not noticed", i);
    }
    put(c, 3);
    assert_true(has(c, 3));
    free(bad);
    free(good);
    cc_cache_close(c);
}

static void other_files_of_that_name_are_not_entries(void **s)
{
    (void)s;
    empty();
    cc_cache *c = open_for(this, 0), *old = open_for(other, 0);
    char name[256], olds[256];
    put(c, 3);
    count(".k", name);
    assert_int_equal(rename(in_dir(name), in_dir("aside")), 0);
    put(old, 3); /* of another compiler, under our name */
    count(".k", olds);
    assert_string_not_equal(name, olds);
    assert_int_equal(rename(in_dir(olds), in_dir(name)), 0);
    assert_false(has(c, 3));
    put(c, 4); /* of another kernel */
    assert_int_equal(unlink(in_dir(name)), 0);
    count(".k", olds);
    assert_int_equal(rename(in_dir(olds), in_dir(name)), 0);
    assert_false(has(c, 3));
    assert_int_equal(unlink(in_dir(name)), 0); /* a link, though to a good entry */
    assert_int_equal(symlink("aside", in_dir(name)), 0);
    assert_false(has(c, 3));
    put(c, 3);
    assert_true(has(c, 3));
    assert_int_equal(unlink(in_dir(name)), 0); /* what cannot be replaced stays a miss */
    assert_int_equal(mkdir(in_dir(name), 0700), 0);
    assert_false(has(c, 3));
    put(c, 3);
    assert_false(has(c, 3));
    put(c, 5);
    assert_true(has(c, 5));
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_int_equal(rmdir(in_dir(name)), 0);
    assert_int_equal(rename(in_dir("fifo"), in_dir(name)), 0);
    assert_false(has(c, 3)); /* and does not wait for a writer */
    cc_cache_close(c);
    cc_cache_close(old);
}

static void touch(const char *name, time_t age)
{
    struct timespec t[2] = {{time(NULL) - age, 0}, {time(NULL) - age, 0}};
    assert_int_equal(utimensat(AT_FDCWD, in_dir(name), t, 0), 0);
}

static void the_least_recently_used_go(void **s)
{
    (void)s;
    empty();
    char last[256], temp[300], young[300];
    cc_cache *c = open_for(this, 0);
    put(c, 0);
    count(".k", last);
    struct stat st;
    assert_int_equal(stat(in_dir(last), &st), 0);
    uint64_t each = (uint64_t)st.st_size;
    for (uint64_t k = 100; k <= 900; k += 100) { /* the same size as number 0 */
        put(c, k);
        DIR *d = opendir(dir); /* all there are so far become older */
        for (struct dirent *e; (e = readdir(d));)
            if (e->d_name[0] != '.' && !stat(in_dir(e->d_name), &st))
                touch(e->d_name, time(NULL) - st.st_mtim.tv_sec + 10);
        closedir(d);
    }
    assert_true(has(c, 0)); /* the oldest, used now */
    cc_cache_close(c);
    assert_int_equal(ll_file_write(in_dir("notes.txt"), "mine", 4, NULL), LL_OK);
    assert_int_equal(ll_file_write(in_dir("0123.k"), "mine", 4, NULL), LL_OK);
    snprintf(temp, sizeof temp, "%s.77.tmp", last);
    snprintf(young, sizeof young, "%s.78.tmp", last);
    assert_int_equal(ll_file_write(in_dir(temp), "x", 1, NULL), LL_OK);
    assert_int_equal(ll_file_write(in_dir(young), "x", 1, NULL), LL_OK);
    touch(temp, 7200);
    c = open_for(this, 4 * each + each / 2);
    put(c, 1000);
    cc_cache_close(c);
    c = open_for(this, 0);
    for (uint64_t k = 0; k <= 1000; k += 100) {
        bool want = k == 0 || k >= 800; /* four fit: 0, 800, 900, 1000 */
        if (has(c, k) != want) fail_msg("%d", (int)k);
    }
    cc_cache_close(c);
    assert_int_equal(access(in_dir("notes.txt"), F_OK) + access(in_dir("0123.k"), F_OK), 0);
    assert_int_equal(access(in_dir(young), F_OK), 0);
    assert_int_not_equal(access(in_dir(temp), F_OK), 0);
}

static void a_full_disk_keeps_nothing_and_is_no_error(void **s)
{
    (void)s;
    empty();
    struct rlimit was, small = {1000, RLIM_INFINITY}; /* the head does not fit */
    getrlimit(RLIMIT_FSIZE, &was);
    signal(SIGXFSZ, SIG_IGN);
    cc_cache *c = open_for(this, 0);
    setrlimit(RLIMIT_FSIZE, &small);
    put(c, 1);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_false(has(c, 1));
    put(c, 2); /* not tried again in this build */
    assert_int_equal(count("", NULL), 0);
    cc_cache_close(c);
    c = open_for(this, 0);
    put(c, 1);
    assert_true(has(c, 1));
    cc_cache_close(c);
}

static void folders_that_will_not_do(void **s)
{
    (void)s;
    empty();
    char why[CC_CACHE_WHY];
    assert_int_equal(ll_file_write(in_dir("file"), "x", 1, NULL), LL_OK);
    assert_null(cc_cache_open(in_dir("file"), this, 0, why));
    assert_non_null(strstr(why, "Not a directory"));
    assert_null(cc_cache_open(in_dir("file/kernels"), this, 0, why));
    assert_int_equal(mkdir(in_dir("open"), 0700), 0);
    assert_int_equal(chmod(in_dir("open"), 0777), 0);
    assert_null(cc_cache_open(in_dir("open"), this, 0, why));
    assert_non_null(strstr(why, "can be written by other users"));
    if (geteuid() == 0) {
        assert_int_equal(chmod(in_dir("open"), 0700) + chown(in_dir("open"), 12345, 12345), 0);
        assert_null(cc_cache_open(in_dir("open"), this, 0, why));
        assert_non_null(strstr(why, "belongs to another user"));
    }
    cc_cache *c = cc_cache_open(in_dir("deep/er"), this, 0, why); /* made */
    assert_non_null(c);
    assert_int_equal(rmdir(in_dir("deep/er")) + rmdir(in_dir("deep")), 0);
    put(c, 1); /* and gone since */
    assert_false(has(c, 1));
    cc_cache_close(c);
}

static void builds_at_once_see_whole_entries(void **s)
{
    (void)s;
    empty();
    enum { N = 6, KEYS = 40, ROUNDS = 60 };
    pid_t pid[N];
    for (int i = 0; i < N; i++) {
        pid[i] = fork();
        if (pid[i]) continue;
        int found = 0;
        for (int r = 0; r < ROUNDS; r++) { /* a small limit: entries go while others read them */
            char why[CC_CACHE_WHY];
            cc_cache *c = cc_cache_open(dir, this, 30000, why);
            for (uint64_t k = 0; c && k < KEYS; k++) {
                if (has(c, (k * 7 + (uint64_t)(r * i)) % KEYS)) found++;
                else put(c, (k * 7 + (uint64_t)(r * i)) % KEYS);
            }
            cc_cache_close(c);
        }
        _exit(found ? 0 : 3);
    }
    for (int i = 0; i < N; i++) {
        int status;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(count(".tmp", NULL), 0);
}

static void folders_come_from_the_environment(void **s)
{
    (void)s;
    char p[64];
    setenv("LLMIR_CACHE_DIR", "/a", 1);
    setenv("XDG_CACHE_HOME", "/b", 1);
    setenv("HOME", "/c", 1);
    assert_true(cc_cache_folder(p, sizeof p));
    assert_string_equal(p, "/a/kernels");
    unsetenv("LLMIR_CACHE_DIR");
    assert_true(cc_cache_folder(p, sizeof p));
    assert_string_equal(p, "/b/llmir/kernels");
    setenv("XDG_CACHE_HOME", "b", 1); /* relative: to be ignored, says its specification */
    assert_true(cc_cache_folder(p, sizeof p));
    assert_string_equal(p, "/c/.cache/llmir/kernels");
    assert_false(cc_cache_folder(p, 10));
    unsetenv("HOME");
    assert_false(cc_cache_folder(p, sizeof p));
}

static void another_library_is_another_revision(void **s)
{
    (void)s;
    ll_hash a, b, c;
    assert_true(cc_cache_revision(&a) && cc_cache_revision(&b));
    assert_memory_equal(&a, &b, sizeof a);
    if (!dlopen(library, RTLD_NOW)) fail_msg("%s", dlerror());
    assert_true(cc_cache_revision(&c));
    assert_memory_not_equal(&a, &c, sizeof a);
}

int main(int argc, char **argv)
{
    if (argc < 2) return fprintf(stderr, "usage: test_cache LIBRARY.so\n"), 2;
    library = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_found),
        cmocka_unit_test(damaged_entries_are_replaced),
        cmocka_unit_test(other_files_of_that_name_are_not_entries),
        cmocka_unit_test(the_least_recently_used_go),
        cmocka_unit_test(a_full_disk_keeps_nothing_and_is_no_error),
        cmocka_unit_test(folders_that_will_not_do),
        cmocka_unit_test(builds_at_once_see_whole_entries),
        cmocka_unit_test(folders_come_from_the_environment),
        cmocka_unit_test(another_library_is_another_revision),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

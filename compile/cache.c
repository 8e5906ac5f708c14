/* cache.c: see cache.h. */
#include "compile/cache.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

enum {
    DEFAULT_LIMIT = 256 << 20,
    MAX_OBJECT = 64 << 20,
    MAX_PROGRAM = 1 << 30,
    STALE_SECONDS = 3600, /* a temporary file of this age has lost its writer */
    NAME = 64
};
#define MAGIC "LLMIRKC1"
#define ENTRY_TAIL ".k"
#define TEMP_TAIL ".tmp"

/* Written and read by one revision only, so the struct is the format. */
typedef struct head {
    char magic[8];
    ll_hash revision, key;
    uint64_t bytes, scratch;
    cc_launch launch;
    ll_hash digest; /* of this head with zero here, and of the bytes */
} head;

struct cc_cache {
    int folder;
    ll_hash revision;
    uint64_t limit;
    unsigned n_stored;
    bool full; /* writing failed: no more is tried */
};

/* ---- place and revision ------------------------------------------------------------------- */
bool cc_cache_folder(char *out, size_t room)
{
    const char *own = getenv("LLMIR_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    int n = -1;
    if (own && *own) n = snprintf(out, room, "%s/kernels", own);
    else if (xdg && *xdg == '/') n = snprintf(out, room, "%s/llmir/kernels", xdg);
    else if (home && *home == '/') n = snprintf(out, room, "%s/.cache/llmir/kernels", home);
    return n >= 0 && (size_t)n < room;
}

/* Libraries count by their build ids: LLVM may be replaced by another of the same version. */
static int add_build_id(struct dl_phdr_info *lib, size_t size, void *user)
{
    ll_hash *h = user;
    if (!strchr(lib->dlpi_name, '/')) return 0; /* the program itself, and what the kernel maps */
    for (int i = 0; i < lib->dlpi_phnum; i++) {
        const Elf64_Phdr *ph = &lib->dlpi_phdr[i];
        const char *p = (const char *)(lib->dlpi_addr + ph->p_vaddr), *end = p + ph->p_memsz;
        Elf64_Nhdr n;
        while (ph->p_type == PT_NOTE && p + sizeof n <= end) {
            memcpy(&n, p, sizeof n);
            const char *desc = p + sizeof n + (n.n_namesz + 3) / 4 * 4;
            if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 && !memcmp(p + sizeof n, "GNU", 4))
                *h = ll_hash_combine(*h, ll_hash_bytes(desc, n.n_descsz));
            p = desc + (n.n_descsz + 3) / 4 * 4;
        }
    }
    return 0;
}

bool cc_cache_revision(ll_hash *out)
{
    void *program = NULL;
    size_t n = 0;
    const char *llvm = cg_llvm_version();
    if (ll_file_read("/proc/self/exe", MAX_PROGRAM, &program, &n, NULL) != LL_OK) return false;
    *out = ll_hash_combine(ll_hash_bytes(program, n), ll_hash_bytes(llvm, strlen(llvm)));
    free(program);
    dl_iterate_phdr(add_build_id, out);
    return true;
}

/* ---- the folder --------------------------------------------------------------------------- */
static void make_folders(const char *path)
{
    char p[4096];
    if (snprintf(p, sizeof p, "%s", path) >= (int)sizeof p) return;
    for (char *at = p + 1; *at; at++) {
        if (*at != '/') continue;
        *at = 0;
        mkdir(p, 0700); /* what cannot be made shows when the folder is opened */
        *at = '/';
    }
    mkdir(p, 0700);
}

static int open_folder(const char *path, char why[CC_CACHE_WHY])
{
    struct stat st;
    make_folders(path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        snprintf(why, CC_CACHE_WHY, "%.150s: %s", path, strerror(errno));
    } else if (st.st_uid != geteuid()) {
        snprintf(why, CC_CACHE_WHY, "%.150s belongs to another user", path);
    } else if (st.st_mode & (S_IWGRP | S_IWOTH)) {
        snprintf(why, CC_CACHE_WHY, "%.150s can be written by other users", path);
    } else {
        return fd;
    }
    if (fd >= 0) close(fd);
    return -1;
}

cc_cache *cc_cache_open(const char *folder, ll_hash revision, uint64_t limit,
                        char why[CC_CACHE_WHY])
{
    int fd = open_folder(folder, why);
    if (fd < 0) return NULL;
    cc_cache *c = calloc(1, sizeof *c);
    if (!c) {
        snprintf(why, CC_CACHE_WHY, "no memory");
        close(fd);
        return NULL;
    }
    *c = (cc_cache){.folder = fd, .revision = revision, .limit = limit ? limit : DEFAULT_LIMIT};
    return c;
}

/* ---- entries ------------------------------------------------------------------------------ */
static void name_of(const cc_cache *c, ll_hash key, char out[NAME])
{
    ll_hash_hex(ll_hash_combine(c->revision, key), out);
    memcpy(out + LL_HASH_HEX - 1, ENTRY_TAIL, sizeof ENTRY_TAIL);
}

static ll_hash digest_of(head h, const void *object)
{
    h.digest = (ll_hash){0, 0};
    return ll_hash_combine(ll_hash_bytes(&h, sizeof h), ll_hash_bytes(object, (size_t)h.bytes));
}

static bool read_entry(const cc_cache *c, int fd, ll_hash key, head *h, void **object)
{
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || pread(fd, h, sizeof *h, 0) != sizeof *h ||
        memcmp(h->magic, MAGIC, sizeof h->magic) ||
        memcmp(&h->revision, &c->revision, sizeof key) || memcmp(&h->key, &key, sizeof key) ||
        h->bytes < 1 || h->bytes > MAX_OBJECT || (uint64_t)st.st_size != sizeof *h + h->bytes)
        return false;
    *object = malloc((size_t)h->bytes);
    if (!*object) return false;
    if (ll_file_pread(fd, "", *object, (size_t)h->bytes, sizeof *h, NULL) == LL_OK) {
        ll_hash d = digest_of(*h, *object);
        if (!memcmp(&d, &h->digest, sizeof d)) return true;
    }
    free(*object);
    return false;
}

bool cc_cache_get(cc_cache *c, ll_hash key, cg_code *code, cc_launch *launch)
{
    char name[NAME];
    head h;
    void *object;
    if (!c) return false;
    name_of(c, key, name);
    int fd = openat(c->folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return false;
    bool found = read_entry(c, fd, key, &h, &object);
    if (found) futimens(fd, NULL); /* used now: what is used stays longest */
    close(fd);
    if (!found) return false;
    *code = (cg_code){.object = object,
                      .object_bytes = (size_t)h.bytes,
                      .scratch_bytes = (size_t)h.scratch};
    *launch = h.launch;
    return true;
}

static bool put_all(int fd, const void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = write(fd, (const char *)p + done, n - done);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        done += (size_t)k;
    }
    return true;
}

void cc_cache_put(cc_cache *c, ll_hash key, const cg_code *code, const cc_launch *launch)
{
    if (!c || c->full || code->object_bytes < 1 || code->object_bytes > MAX_OBJECT) return;
    char name[NAME], temp[NAME + 32];
    head h;
    memset(&h, 0, sizeof h);
    memcpy(h.magic, MAGIC, sizeof h.magic);
    h.revision = c->revision;
    h.key = key;
    h.bytes = code->object_bytes;
    h.scratch = code->scratch_bytes;
    h.launch = *launch;
    h.digest = digest_of(h, code->object);
    name_of(c, key, name);
    snprintf(temp, sizeof temp, "%s.%ld" TEMP_TAIL, name, (long)getpid());
    int fd = openat(c->folder, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        c->full = errno != EEXIST; /* somebody else's, or left behind by one of our number */
        return;
    }
    bool ok = put_all(fd, &h, sizeof h) && put_all(fd, code->object, code->object_bytes);
    ok = close(fd) == 0 && ok;
    c->full = !ok;
    ok = ok && renameat(c->folder, temp, c->folder, name) == 0;
    if (!ok) unlinkat(c->folder, temp, 0);
    c->n_stored += ok;
}

/* ---- keeping to the limit ----------------------------------------------------------------- */
typedef struct entry {
    char name[NAME];
    uint64_t bytes;
    struct timespec used;
} entry;

static bool ends_in(const char *name, const char *tail)
{
    size_t n = strlen(name), m = strlen(tail);
    return n > m && !strcmp(name + n - m, tail);
}

/* 32 digits and a tail: nothing else in the folder is ours. */
static bool ours(const char *name)
{
    return strspn(name, "0123456789abcdef") == LL_HASH_HEX - 1 &&
           !strncmp(name + LL_HASH_HEX - 1, ENTRY_TAIL, strlen(ENTRY_TAIL)) && strlen(name) < NAME;
}

static int by_use(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    if (x->used.tv_nsec != y->used.tv_nsec) return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The entries; temporary files that nobody writes any more are removed. malloc'ed. */
static entry *list_entries(int folder, size_t *n)
{
    size_t cap = 0;
    entry *list = NULL;
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && fd >= 0) close(fd);
    *n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!ours(e->d_name) || fstatat(folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
            !S_ISREG(st.st_mode))
            continue;
        if (ends_in(e->d_name, TEMP_TAIL) && st.st_mtim.tv_sec < time(NULL) - STALE_SECONDS)
            unlinkat(folder, e->d_name, 0);
        if (!ends_in(e->d_name, ENTRY_TAIL)) continue;
        if (*n == cap) {
            cap = cap ? 2 * cap : 256;
            entry *more = realloc(list, cap * sizeof *list);
            if (!more) break;
            list = more;
        }
        entry *x = &list[(*n)++];
        snprintf(x->name, sizeof x->name, "%s", e->d_name);
        x->bytes = (uint64_t)st.st_size;
        x->used = st.st_mtim;
    }
    if (d) closedir(d);
    return list;
}

static void keep_to_limit(cc_cache *c)
{
    size_t n;
    entry *list = list_entries(c->folder, &n);
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) total += list[i].bytes;
    if (n) qsort(list, n, sizeof *list, by_use);
    for (size_t i = 0; i < n && total > c->limit; i++) {
        unlinkat(c->folder, list[i].name, 0);
        total -= list[i].bytes;
    }
    free(list);
}

void cc_cache_close(cc_cache *c)
{
    if (!c) return;
    if (c->n_stored || c->full) keep_to_limit(c);
    close(c->folder);
    free(c);
}

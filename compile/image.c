/* image.c: see image.h. */
#include "compile/image.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <llmir/module_abi.h>

#include "base/file.h"
#include "base/hash.h"

extern char **environ;

/* ---- writing ---------------------------------------------------------------------------- */
/* The file goes out in writes that end on multiples of HUGE_PAGE: a file system with large folios
 * keeps what one write brings in one piece, and a reader's mapping of it then takes one entry of
 * the TLB instead of 512. */
enum { HUGE_PAGE = 2 << 20 };

typedef struct out_file {
    int fd;
    const char *path;
    uint64_t at; /* bytes taken so far */
    unsigned char *page;
    size_t n_page; /* bytes of `page` not written yet */
} out_file;

/* The bytes of a range of the file, and the digest of its whole pieces so far. */
struct cc_sink {
    out_file *out;
    uint64_t written; /* of the range so far */
    ll_hash digest;   /* of its whole pieces so far */
    unsigned char *piece;
    size_t n_piece;
};

static ll_code system_error(ll_error *err, const char *path, const char *what, int e)
{
    bool full = e == ENOSPC || e == EFBIG || e == EDQUOT || e == ENOMEM;
    return ll_fail(err, full ? LL_NO_SPACE : LL_FAILED, "%s: %s: %s", path, what, strerror(e));
}

static ll_code put(int fd, const char *path, const void *p, size_t n, ll_error *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = write(fd, (const char *)p + done, n - done);
        if (r < 0 && errno == EINTR) continue;
        if (r <= 0) return system_error(err, path, "write", r < 0 ? errno : ENOSPC);
        done += (size_t)r;
    }
    return LL_OK;
}

static ll_code out_flush(out_file *o, ll_error *err)
{
    size_t n = o->n_page;
    o->n_page = 0;
    return put(o->fd, o->path, o->page, n, err);
}

static ll_code out_write(out_file *o, const unsigned char *p, size_t n, ll_error *err)
{
    while (n) {
        size_t room = HUGE_PAGE - (size_t)(o->at % HUGE_PAGE), m = room < n ? room : n;
        memcpy(o->page + o->n_page, p, m);
        o->n_page += m;
        o->at += m;
        p += m;
        n -= m;
        if (m == room) LL_TRY(out_flush(o, err));
    }
    return LL_OK;
}

static ll_code flush(cc_sink *s, ll_error *err)
{
    if (!s->n_piece) return LL_OK;
    s->digest = ll_hash_combine(s->digest, ll_hash_bytes(s->piece, s->n_piece));
    ll_code rc = out_write(s->out, s->piece, s->n_piece, err);
    s->n_piece = 0;
    return rc;
}

ll_code cc_sink_write(cc_sink *s, const void *p, size_t n, ll_error *err)
{
    while (n) {
        size_t m = LLMIR_DIGEST_PIECE - s->n_piece < n ? LLMIR_DIGEST_PIECE - s->n_piece : n;
        memcpy(s->piece + s->n_piece, p, m);
        s->n_piece += m;
        s->written += m;
        p = (const char *)p + m;
        n -= m;
        if (s->n_piece == LLMIR_DIGEST_PIECE) LL_TRY(flush(s, err));
    }
    return LL_OK;
}

static ll_code pad_to(cc_sink *s, uint64_t at, ll_error *err)
{
    static const unsigned char zero[4096];
    while (s->written < at) {
        uint64_t n = at - s->written;
        LL_TRY(cc_sink_write(s, zero, n < sizeof zero ? (size_t)n : sizeof zero, err));
    }
    return LL_OK;
}

/* ---- linking ---------------------------------------------------------------------------- */
typedef struct link_dir {
    char path[256];
    size_t n_object; /* object files written */
} link_dir;

static void name_in(const link_dir *d, const char *name, char out[320])
{
    snprintf(out, 320, "%s/%s", d->path, name);
}

static void remove_dir(const link_dir *d)
{
    char p[320], name[32];
    static const char *const fixed[] = {"table.o", "export.map", "module.so", "ld.txt"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) name_in(d, fixed[i], p), unlink(p);
    for (size_t i = 0; i < d->n_object; i++) {
        snprintf(name, sizeof name, "k%zu.o", i);
        name_in(d, name, p);
        unlink(p);
    }
    rmdir(d->path);
}

static ll_code put_file(const link_dir *d, const char *name, const void *bytes, size_t n,
                        ll_error *err)
{
    char p[320];
    name_in(d, name, p);
    int fd = open(p, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return system_error(err, p, "cannot create", errno);
    ll_code rc = put(fd, p, bytes, n, err);
    if (close(fd) && rc == LL_OK) rc = system_error(err, p, "close", errno);
    return rc;
}

/* The environment with LC_ALL=C, so that what the linker says can be read here. */
static char **plain_environ(void)
{
    static char c[] = "LC_ALL=C";
    size_t n = 0, k = 0;
    while (environ[n]) n++;
    char **env = calloc(n + 2, sizeof *env);
    for (size_t i = 0; env && i < n; i++)
        if (strncmp(environ[i], "LC_ALL=", 7)) env[k++] = environ[i];
    if (env) env[k] = c;
    return env;
}

/* What a linker that failed has said, as one sentence; a full disk is told by the system's own words. */
static ll_code linker_failed(const link_dir *d, const char *linker, int status, ll_error *err)
{
    static const int full[] = {ENOSPC, EFBIG, EDQUOT};
    char p[320], words[600] = "";
    ll_code rc = LL_FAILED;
    name_in(d, "ld.txt", p);
    FILE *f = fopen(p, "re");
    size_t n = f ? fread(words, 1, sizeof words - 1, f) : 0;
    if (f) fclose(f);
    while (n && words[n - 1] == '\n') n--;
    words[n] = 0;
    for (char *c = words; (c = strchr(c, '\n'));) *c = ' ';
    for (size_t i = 0; i < sizeof full / sizeof *full; i++)
        if (strstr(words, strerror(full[i]))) rc = LL_NO_SPACE;
    return ll_fail(err, rc, "linker %s failed (%s %d): %s", linker,
                   WIFEXITED(status) ? "exit code" : "signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), words);
}

static ll_code run_linker(const link_dir *d, char *const *argv, ll_error *err)
{
    char **env = plain_environ();
    if (!env) return ll_fail(err, LL_NO_SPACE, "no memory for the linker's environment");
    posix_spawn_file_actions_t act;
    posix_spawn_file_actions_init(&act);
    posix_spawn_file_actions_addchdir_np(&act, d->path);
    posix_spawn_file_actions_addopen(&act, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&act, 1, "ld.txt", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&act, 1, 2);
    pid_t pid;
    int e = posix_spawnp(&pid, argv[0], &act, NULL, argv, env), status = 0;
    posix_spawn_file_actions_destroy(&act);
    free(env);
    if (e) return ll_fail(err, LL_FAILED, "linker %s: cannot start: %s", argv[0], strerror(e));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return ll_fail(err, LL_FAILED, "linker %s: lost: %s", argv[0], strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return LL_OK;
    return linker_failed(d, argv[0], status, err);
}

/* Links into `*so` (malloc'ed). */
static ll_code link_objects(link_dir *d, const cc_image *im, const ll_str *table, void **so,
                            size_t *n, ll_error *err)
{
    static const char map[] = "{ global: " LLMIR_MODULE_SYMBOL "; local: *; };\n";
    static const char *const options[] = {"-shared",
                                          "-z",
                                          "relro",
                                          "-z",
                                          "now",
                                          "-z",
                                          "noexecstack",
                                          "--build-id=none",
                                          "--hash-style=gnu",
                                          "--version-script=export.map",
                                          "-o",
                                          "module.so",
                                          "table.o"};
    enum { N_OPTION = sizeof options / sizeof *options };
    LL_TRY(put_file(d, "table.o", table->s, table->n, err));
    LL_TRY(put_file(d, "export.map", map, sizeof map - 1, err));
    char **argv = calloc(N_OPTION + im->n_object + 2, sizeof *argv),
         (*name)[24] = calloc(im->n_object + 1, sizeof *name);
    ll_code rc =
        argv && name ? LL_OK : ll_fail(err, LL_NO_SPACE, "no memory for %zu objects", im->n_object);
    for (size_t i = 0; i < im->n_object && rc == LL_OK; i++) {
        snprintf(name[i], sizeof name[i], "k%zu.o", i);
        argv[1 + N_OPTION + i] = name[i];
        d->n_object = i + 1;
        rc = put_file(d, name[i], im->object[i].bytes, im->object[i].n, err);
    }
    if (rc == LL_OK) {
        argv[0] = (char *)(uintptr_t)(im->linker ? im->linker : "ld");
        for (size_t i = 0; i < N_OPTION; i++) argv[1 + i] = (char *)(uintptr_t)options[i];
        rc = run_linker(d, argv, err);
    }
    char p[320];
    name_in(d, "module.so", p);
    if (rc == LL_OK) rc = ll_file_read(p, (size_t)1 << 30, so, n, err);
    free(argv);
    free(name);
    return rc;
}

static ll_code link_image(const cc_image *im, const uint64_t blob_digest[2], void **so, size_t *n,
                          ll_error *err)
{
    link_dir d = {0};
    const char *tmp = getenv("TMPDIR");
    if (snprintf(d.path, sizeof d.path, "%s/llmir-link-XXXXXX", tmp && *tmp ? tmp : "/tmp") >=
        (int)sizeof d.path)
        return ll_fail(err, LL_USAGE, "TMPDIR is too long");
    if (!mkdtemp(d.path)) return system_error(err, d.path, "cannot create a directory", errno);
    ll_str table = {0};
    ll_code rc = cc_table_object(im->kernel, im->n_kernel, blob_digest, &table, err);
    if (rc == LL_OK) rc = link_objects(&d, im, &table, so, n, err);
    ll_str_finish(&table);
    remove_dir(&d);
    return rc;
}

/* Where the (still empty) note lies in the linked file. */
static unsigned char *find_note(void *so, size_t n)
{
    const uint32_t head[3] = {sizeof LLMIR_NOTE_NAME, sizeof(llmir_note), LLMIR_NOTE_TYPE};
    unsigned char want[20] = {0}, *p;
    memcpy(want, head, sizeof head);
    memcpy(want + sizeof head, LLMIR_NOTE_NAME, sizeof LLMIR_NOTE_NAME);
    p = memmem(so, n, want, sizeof want);
    return p && (size_t)((unsigned char *)so + n - p) >= sizeof want + sizeof(llmir_note)
               ? p + sizeof want
               : NULL;
}

/* ---- the file --------------------------------------------------------------------------- */
static const llmir_section *section_of(const cc_image *im, uint32_t kind)
{
    const llmir_blob_head *h = im->blob;
    const llmir_section *s = (const void *)(h + 1);
    for (uint32_t i = 0; i < h->n_section; i++)
        if (s[i].kind == kind) return &s[i];
    return NULL;
}

static ll_code put_weights(const cc_image *im, cc_sink *s, ll_error *err)
{
    const llmir_section *sec = section_of(im, LLMIR_SEC_WEIGHT);
    for (uint32_t i = 0; sec && i < sec->count; i++) {
        const llmir_weight_rec *w =
            (const void *)((const char *)im->blob + sec->offset + i * (size_t)sec->record);
        if (w->offset < s->written || w->offset % 64)
            return ll_fail(err, LL_USAGE, "weight %u: offset %llu: not ascending in steps of 64", i,
                           (unsigned long long)w->offset);
        LL_TRY(pad_to(s, w->offset, err));
        LL_TRY(im->weight(im->user, i, s, err));
        if (s->written != w->offset + w->size)
            return ll_fail(err, LL_FAILED, "weight %u: %llu bytes came, its record says %llu", i,
                           (unsigned long long)(s->written - w->offset),
                           (unsigned long long)w->size);
    }
    return flush(s, err);
}

static ll_code put_range(cc_sink *s, const void *p, size_t n, uint64_t digest[2], ll_error *err)
{
    *s = (cc_sink){.out = s->out, .piece = s->piece};
    LL_TRY(cc_sink_write(s, p, n, err));
    LL_TRY(flush(s, err));
    digest[0] = s->digest.lo, digest[1] = s->digest.hi;
    return LL_OK;
}

static ll_code put_padding(cc_sink *s, uint64_t n, ll_error *err)
{
    *s = (cc_sink){.out = s->out, .piece = s->piece};
    LL_TRY(pad_to(s, n, err));
    return flush(s, err);
}

static ll_code put_all(cc_sink *s, const cc_image *im, void *so, size_t so_n, size_t note_at,
                       ll_error *err)
{
    llmir_note n = {.magic = LLMIR_MODULE_MAGIC, .abi = LLMIR_MODULE_ABI, .size = sizeof n};
    n.elf_size = so_n;
    n.blob_offset = (so_n + 63) & ~(uint64_t)63;
    n.blob_size = im->blob_size;
    n.weights_offset = (n.blob_offset + n.blob_size + LLMIR_WEIGHTS_ALIGN - 1) &
                       ~(uint64_t)(LLMIR_WEIGHTS_ALIGN - 1);
    LL_TRY(put_range(s, so, so_n, n.elf_digest, err));
    LL_TRY(put_padding(s, n.blob_offset - so_n, err));
    LL_TRY(put_range(s, im->blob, im->blob_size, n.blob_digest, err));
    LL_TRY(put_padding(s, n.weights_offset - n.blob_offset - n.blob_size, err));
    *s = (cc_sink){.out = s->out, .piece = s->piece};
    LL_TRY(put_weights(im, s, err));
    n.weights_digest[0] = s->digest.lo, n.weights_digest[1] = s->digest.hi;
    n.weights_size = s->written;
    n.file_size = n.weights_offset + n.weights_size;
    ll_hash h = ll_hash_bytes(&n, offsetof(llmir_note, note_digest));
    n.note_digest[0] = h.lo, n.note_digest[1] = h.hi;
    out_file *o = s->out;
    LL_TRY(out_flush(o, err));
    if (lseek(o->fd, (off_t)note_at, SEEK_SET) < 0)
        return system_error(err, o->path, "seek", errno);
    return put(o->fd, o->path, &n, sizeof n, err);
}

static void sync_folder(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd); /* best effort: the rename itself is already atomic */
    close(fd);
}

/* Writes beside `path` and renames: nobody sees a file that is not whole. */
static ll_code write_file(const char *path, const cc_image *im, void *so, size_t so_n,
                          unsigned char *buffer, ll_error *err)
{
    unsigned char *note = find_note(so, so_n);
    char tmp[4096];
    if (!note) return ll_fail(err, LL_FAILED, "the linked module has lost its note");
    if (snprintf(tmp, sizeof tmp, "%s.%ld.tmp", path, (long)getpid()) >= (int)sizeof tmp)
        return ll_fail(err, LL_USAGE, "%s: path too long", path);
    out_file out = {.fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0777),
                    .path = path,
                    .page = buffer};
    if (out.fd < 0) return system_error(err, tmp, "cannot create", errno);
    cc_sink s = {.out = &out, .piece = buffer + HUGE_PAGE};
    ll_code rc = put_all(&s, im, so, so_n, (size_t)(note - (unsigned char *)so), err);
    if (rc == LL_OK && fsync(out.fd) && errno != EINVAL)
        rc = system_error(err, path, "fsync", errno);
    if (close(out.fd) && rc == LL_OK) rc = system_error(err, path, "close", errno);
    if (rc == LL_OK && rename(tmp, path)) rc = system_error(err, path, "rename", errno);
    if (rc == LL_OK)
        sync_folder(path);
    else
        unlink(tmp);
    return rc;
}

ll_code cc_image_write(const char *path, const cc_image *im, ll_error *err)
{
    const llmir_blob_head *h = im->blob;
    if (im->blob_size < sizeof *h || h->magic != LLMIR_BLOB_MAGIC || h->size != im->blob_size)
        return ll_fail(err, LL_USAGE, "%s: the tables of the module are not complete", path);
    ll_hash blob = ll_hash_pieces(im->blob, im->blob_size, LLMIR_DIGEST_PIECE);
    const uint64_t digest[2] = {blob.lo, blob.hi};
    void *so = NULL;
    size_t n = 0;
    LL_TRY(link_image(im, digest, &so, &n, err));
    size_t room = HUGE_PAGE + LLMIR_DIGEST_PIECE;
    unsigned char *buffer = malloc(room);
    ll_code rc = buffer ? write_file(path, im, so, n, buffer, err)
                        : ll_fail(err, LL_NO_SPACE, "no memory for a buffer of %zu bytes", room);
    free(buffer);
    free(so);
    return rc;
}

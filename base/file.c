/* file.c: see file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

ll_code ll_file_open(const char *path, int *out_fd, uint64_t *out_size, ll_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return ll_fail(err, LL_BAD_INPUT, "%s: cannot open: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return ll_fail(err, LL_BAD_INPUT, "%s: not a regular file", path);
    }
    *out_fd = fd;
    *out_size = (uint64_t)st.st_size;
    return LL_OK;
}

ll_code ll_file_pread(int fd, const char *path, void *buf, size_t n, uint64_t off, ll_error *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = pread(fd, (char *)buf + done, n - done, (off_t)(off + done));
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return ll_fail(err, LL_BAD_INPUT, "%s: read at %llu: %s", path,
                                  (unsigned long long)(off + done), strerror(errno));
        if (r == 0) return ll_fail(err, LL_BAD_INPUT, "%s: ends at byte %llu, wanted %zu bytes at %llu", path,
                                   (unsigned long long)(off + done), n, (unsigned long long)off);
        done += (size_t)r;
    }
    return LL_OK;
}

ll_code ll_file_read(const char *path, size_t max, void **out, size_t *out_n, ll_error *err)
{
    int fd;
    uint64_t size;
    LL_TRY(ll_file_open(path, &fd, &size, err));
    ll_code rc = LL_OK;
    char *p = NULL;
    if (size > max)
        rc = ll_fail(err, LL_BAD_INPUT, "%s: %llu bytes, at most %zu are accepted", path, (unsigned long long)size, max);
    else if (!(p = malloc((size_t)size + 1)))
        rc = ll_fail(err, LL_NO_SPACE, "%s: no memory for %llu bytes", path, (unsigned long long)size);
    else
        rc = ll_file_pread(fd, path, p, (size_t)size, 0, err);
    close(fd);
    if (rc != LL_OK) return free(p), rc;
    p[size] = 0;
    *out = p;
    *out_n = (size_t)size;
    return LL_OK;
}

ll_code ll_file_write(const char *path, const void *p, size_t n, ll_error *err)
{
    char tmp[4096];
    if (snprintf(tmp, sizeof tmp, "%s.%ld.tmp", path, (long)getpid()) >= (int)sizeof tmp)
        return ll_fail(err, LL_USAGE, "%s: path too long", path);
    struct stat st; /* devices, pipes: written into, never replaced */
    bool direct = !stat(path, &st) && !S_ISREG(st.st_mode);
    const char *to = direct ? path : tmp;
    int fd = open(to, O_WRONLY | O_CLOEXEC | (direct ? 0 : O_CREAT | O_TRUNC), 0666);
    if (fd < 0) return ll_fail(err, LL_FAILED, "%s: cannot create: %s", to, strerror(errno));
    int e = 0;
    for (size_t done = 0; done < n && !e;) {
        ssize_t r = write(fd, (const char *)p + done, n - done);
        if (r < 0 && errno == EINTR) continue;
        if (r <= 0) e = r < 0 ? errno : ENOSPC;
        else done += (size_t)r;
    }
    if (!e && fsync(fd) && errno != EINVAL) e = errno;
    if (close(fd) && !e) e = errno;
    if (!e && !direct && rename(tmp, path)) e = errno;
    if (e) {
        if (!direct) unlink(tmp);
        return ll_fail(err, e == ENOSPC || e == EFBIG || e == EDQUOT ? LL_NO_SPACE : LL_FAILED, "%s: write: %s", path, strerror(e));
    }
    return LL_OK;
}

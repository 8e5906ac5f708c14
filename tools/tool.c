/* tool.c: see tool.h. */
#include "tools/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/utf8.h"

static const char *tool_name = "llmir";

static void print_version(FILE *f, struct argp_state *state)
{
    (void)state;
    fprintf(f, "%s %s (module API %u)\n", tool_name, llmir_version(), llmir_api_version());
}

/* A closed stdin, stdout or stderr would be the number of the next file that is opened: text would go into a model. What
 * stands in its place can neither be read nor written, so its use is an error that is said. */
static void hold_closed_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd ? O_RDONLY : O_WRONLY);
}

void tool_begin(const char *name)
{
    hold_closed_streams();
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of its write, with a sentence */
    tool_name = name;
    argp_program_version_hook = print_version;
    argp_err_exit_status = LLMIR_USAGE;
}

int tool_fail(int status, const char *sentence)
{
    tool_progress("", 1, 1);
    fprintf(stderr, "%s: %s\n", tool_name, sentence);
    return status > LLMIR_OK && status <= LLMIR_NO_SPACE ? status : LLMIR_FAILED;
}

int tool_fail_errno(const char *what)
{
    char msg[512];
    int e = errno;
    snprintf(msg, sizeof msg, "%s: %s", what, strerror(e));
    return tool_fail(e == ENOSPC || e == EDQUOT || e == EFBIG || e == ENOMEM ? LLMIR_NO_SPACE
                                                                             : LLMIR_FAILED,
                     msg);
}

int tool_flush(void)
{
    return fflush(stdout) || ferror(stdout) ? tool_fail_errno("stdout: cannot write") : 0;
}

uint64_t tool_number(struct argp_state *state, const char *arg, const char *what, uint64_t min,
                     uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(arg, &end, 10);
    if (errno || end == arg || *end || *arg == '-' || v < min || v > max)
        argp_error(state, "%s: '%s' is not a number from %llu to %llu", what, arg,
                   (unsigned long long)min, (unsigned long long)max);
    return v;
}

double tool_real(struct argp_state *state, const char *arg, const char *what, double min,
                 double max)
{
    char *end;
    double v = strtod(arg, &end);
    if (end == arg || *end || !(v >= min && v <= max))
        argp_error(state, "%s: '%s' is not a number from %g to %g", what, arg, min, max);
    return v;
}

size_t tool_numbers(struct argp_state *state, const char *arg, const char *what, uint64_t min,
                    uint64_t max, uint64_t *out, size_t room)
{
    size_t n = 0;
    for (const char *p = arg;; p++) {
        char one[32];
        size_t len = strcspn(p, ",");
        if (len >= sizeof one || n == room) argp_error(state, "%s: '%s' is too long", what, arg);
        memcpy(one, p, len);
        one[len] = 0;
        out[n++] = tool_number(state, one, what, min, max);
        p += len;
        if (!*p) return n;
    }
}

void tool_progress(const char *label, uint64_t done, uint64_t total)
{
    static int tty = -1, shown = -1;
    if (tty < 0) tty = isatty(2);
    if (!tty) return;
    int percent = total ? (int)(done * 100 / total) : 100;
    if (done >= total) {
        if (shown >= 0) fprintf(stderr, "\r\033[K");
        shown = -1;
    } else if (percent != shown) {
        fprintf(stderr, "\r%s %d %%", label, percent);
        shown = percent;
    }
}

double tool_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

char *tool_utf8(const char *p, size_t n, size_t *out_n)
{
    char *out = malloc(3 * n + 1);
    size_t m = 0;
    for (size_t i = 0; out && i < n;) {
        size_t len = ll_utf8_char(p + i, n - i, NULL, NULL, NULL);
        if (len)
            memcpy(out + m, p + i, len), m += len, i += len;
        else
            memcpy(out + m, "\xef\xbf\xbd", 3), m += 3, i++;
    }
    if (out) out[m] = 0;
    *out_n = m;
    return out;
}

char *tool_read(const char *path, size_t *n)
{
    FILE *f = strcmp(path, "-") ? fopen(path, "re") : stdin;
    size_t cap = 1 << 16, m = 0, r = 0;
    char *p = f ? malloc(cap) : NULL;
    while (p && (r = fread(p + m, 1, cap - m, f)) > 0) {
        m += r;
        if (m < cap) continue;
        char *q = realloc(p, cap *= 2);
        if (!q) free(p);
        p = q;
    }
    if (!f || !p || ferror(f)) {
        fprintf(stderr, "%s: %s: %s\n", tool_name, path, strerror(errno));
        free(p);
        p = NULL;
    }
    if (f && f != stdin) fclose(f);
    *n = m;
    return p;
}

/* pool.c: jobs in child processes. LLVM ends the process on what it cannot select; here that is one
 * job's error, with the child's last words. A child sends its result through a pipe:
 *
 *     head {code, bytes of object, IR, assembly, scratch, seconds, sentence}  object  IR  assembly
 *
 * and what it prints goes to a second pipe. A job that takes longer than TIME_LIMIT is killed. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "codegen/emit.h"

enum { TIME_LIMIT = 120, MAX_WORKERS = 64 };

typedef struct head {
    uint64_t object, ir, assembly, scratch;
    double seconds;
    cg_launch launch; /* without its grid: expressions do not leave a process */
    ll_error error;
    int32_t code;
} head;

typedef struct child {
    cg_job *job;
    pid_t pid;
    int result, words; /* pipes; -1 when at their end */
    ll_str got, said;
    double started;
    bool late;
} child;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void send_all(int fd, const void *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t k = write(fd, (const char *)p + at, n - at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) _exit(3);
        at += (size_t)k;
    }
}

_Noreturn static void work(cg_job *job, int fd)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        signal(fatal[i], SIG_DFL); /* the host's handlers stay there */
    head h;
    memset(&h, 0, sizeof h);
    h.code = (int32_t)cg_compile_here(job, &h.error);
    const cg_code *k = &job->code;
    h.object = k->object_bytes;
    h.ir = k->llvm_ir ? strlen(k->llvm_ir) : 0;
    h.assembly = k->assembly ? strlen(k->assembly) : 0;
    h.scratch = k->scratch_bytes;
    h.seconds = k->seconds;
    h.launch = k->launch;
    send_all(fd, &h, sizeof h);
    if (h.object) send_all(fd, k->object, h.object);
    if (h.ir) send_all(fd, k->llvm_ir, h.ir);
    if (h.assembly) send_all(fd, k->assembly, h.assembly);
    _exit(0);
}

static bool start(child *c, cg_job *job)
{
    int a[2], b[2];
    memset(c, 0, sizeof *c);
    if (pipe(a)) return false;
    if (pipe(b)) {
        close(a[0]);
        close(a[1]);
        return false;
    }
    c->pid = fork();
    if (c->pid == 0) {
        close(a[0]);
        close(b[0]);
        dup2(b[1], 1);
        dup2(b[1], 2);
        work(job, a[1]);
    }
    close(a[1]);
    close(b[1]);
    c->job = job;
    c->result = a[0];
    c->words = b[0];
    c->started = now();
    if (c->pid > 0) return true;
    close(a[0]);
    close(b[0]);
    return false;
}

static char *take(const ll_str *s, size_t *at, uint64_t n)
{
    char *p = malloc(n + 1);
    if (p) {
        memcpy(p, s->s + *at, n);
        p[n] = 0;
    }
    *at += n;
    return p;
}

static ll_code receive(child *c)
{
    head h;
    cg_job *j = c->job;
    if (c->got.oom || c->got.n < sizeof h) return LL_FAILED;
    memcpy(&h, c->got.s, sizeof h);
    size_t left = c->got.n - sizeof h, at = sizeof h;
    if (h.object > left || h.ir > left - h.object || h.assembly != left - h.object - h.ir)
        return LL_FAILED;
    j->error = h.error;
    j->code.scratch_bytes = h.scratch;
    j->code.seconds = h.seconds;
    j->code.launch = h.launch;
    cg_grid_of(j->fn, j->code.launch.grid);
    if (h.code != LL_OK)
        return j->error.code == LL_OK ? ll_fail(&j->error, LL_FAILED, "codegen: failed") : LL_OK;
    j->code.object = take(&c->got, &at, h.object);
    j->code.object_bytes = h.object;
    if (h.ir) j->code.llvm_ir = take(&c->got, &at, h.ir);
    if (h.assembly) j->code.assembly = take(&c->got, &at, h.assembly);
    return j->code.object ? LL_OK : ll_fail(&j->error, LL_NO_SPACE, "codegen: out of memory");
}

/* The last line with something in it. */
static const char *last_words(ll_str *s)
{
    while (s->n && (s->s[s->n - 1] == '\n' || s->s[s->n - 1] == ' ')) s->s[--s->n] = 0;
    const char *text = ll_str_cstr(s), *nl = strrchr(text, '\n');
    return *text ? (nl ? nl + 1 : text) : "nothing";
}

static void finish(child *c)
{
    int status = 0;
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR) continue;
    const char *name = c->job->fn->name;
    if (c->late)
        ll_fail(&c->job->error, LL_FAILED, "codegen: kernel '%s' took longer than %d s", name,
                TIME_LIMIT);
    else if (WIFSIGNALED(status))
        ll_fail(&c->job->error, LL_FAILED,
                "codegen: kernel '%s': the compiler died of signal %d; it said: %.400s", name,
                WTERMSIG(status), last_words(&c->said));
    else if (WEXITSTATUS(status) != 0 || receive(c) != LL_OK)
        ll_fail(&c->job->error, LL_FAILED,
                "codegen: kernel '%s': the compiler ended with %d; it said: %.400s", name,
                WEXITSTATUS(status), last_words(&c->said));
    ll_str_finish(&c->got);
    ll_str_finish(&c->said);
}

static void read_some(int *fd, ll_str *to)
{
    char buf[65536];
    ssize_t k = read(*fd, buf, sizeof buf);
    if (k > 0) {
        ll_str_addn(to, buf, (size_t)k);
    } else if (k == 0 || errno != EINTR) {
        close(*fd);
        *fd = -1;
    }
}

static void wait_for_some(child *c, int n)
{
    struct pollfd p[2 * MAX_WORKERS];
    for (int i = 0; i < n; i++) {
        p[2 * i] = (struct pollfd){.fd = c[i].result, .events = POLLIN};
        p[2 * i + 1] = (struct pollfd){.fd = c[i].words, .events = POLLIN};
    }
    poll(p, (nfds_t)(2 * n), 1000);
    for (int i = 0; i < n; i++) {
        if (p[2 * i].revents) read_some(&c[i].result, &c[i].got);
        if (p[2 * i + 1].revents) read_some(&c[i].words, &c[i].said);
        if (!c[i].late && now() - c[i].started > TIME_LIMIT) {
            c[i].late = true;
            kill(c[i].pid, SIGKILL);
        }
    }
}

ll_code cg_compile(cg_job *job, int n, int workers, ll_error *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (workers <= 0) workers = cores > 0 ? (int)cores : 1;
    if (workers > MAX_WORKERS) workers = MAX_WORKERS;
    cg_init(); /* here, so that children begin with it done */
    child live[MAX_WORKERS];
    int n_live = 0, next = 0;
    for (int i = 0; i < n; i++) memset(&job[i].error, 0, sizeof job[i].error);
    while (next < n || n_live) {
        while (next < n && n_live < workers) {
            if (start(&live[n_live], &job[next]))
                n_live++;
            else
                ll_fail(&job[next].error, LL_FAILED, "codegen: cannot start a process: %s",
                        strerror(errno));
            next++;
        }
        if (!n_live) continue;
        wait_for_some(live, n_live);
        for (int i = 0; i < n_live;) {
            if (live[i].result >= 0 || live[i].words >= 0) {
                i++;
                continue;
            }
            finish(&live[i]);
            live[i] = live[--n_live];
        }
    }
    for (int i = 0; i < n; i++)
        if (job[i].error.code != LL_OK)
            return ll_fail(err, job[i].error.code, "%s", job[i].error.msg);
    return LL_OK;
}

/* link.c: objects to a shared library, without a C compiler: the object that holds the table of
 * kernels, and ld. Objects go to ld through memory files, so nothing of the build's folders gets
 * into the library. Every symbol but LLMIR_MODULE_SYMBOL is local to it; .symtab keeps their names
 * for profilers. */
#include <fcntl.h>
#include <llmir/module_abi.h>
#include <llvm-c/Core.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "codegen/emit.h"

extern char **environ;

/* ---- the table ---- */

typedef struct table {
    LLVMContextRef ctx;
    LLVMModuleRef mod;
    LLVMTypeRef i8, i32, i64, ptr;
} table;

static LLVMValueRef i64(table *t, uint64_t v) { return LLVMConstInt(t->i64, v, 0); }

static LLVMValueRef kernel_function(table *t, const char *kernel, const char *what)
{
    char name[512];
    snprintf(name, sizeof name, "%s.%s", kernel, what);
    LLVMValueRef f = LLVMGetNamedFunction(t->mod, name);
    if (f) return f;
    f = LLVMAddFunction(t->mod, name, LLVMFunctionType(LLVMVoidTypeInContext(t->ctx), NULL, 0, 0));
    LLVMSetVisibility(f, LLVMHiddenVisibility);
    return f;
}

static LLVMValueRef global(table *t, const char *name, LLVMValueRef init, unsigned align)
{
    LLVMValueRef g = LLVMAddGlobal(t->mod, LLVMTypeOf(init), name);
    LLVMSetInitializer(g, init);
    LLVMSetGlobalConstant(g, 1);
    LLVMSetAlignment(g, align);
    return g;
}

static LLVMValueRef kernel_array(table *t, const char *const *name, int n)
{
    LLVMValueRef *row = malloc(sizeof *row * (size_t)(n + 1));
    if (!row) return NULL;
    LLVMTypeRef pair = LLVMStructTypeInContext(t->ctx, (LLVMTypeRef[]){t->ptr, t->ptr}, 2, 0);
    for (int i = 0; i < n; i++) {
        LLVMValueRef f[2] = {kernel_function(t, name[i], "parts"),
                             kernel_function(t, name[i], "run")};
        row[i] = LLVMConstStructInContext(t->ctx, f, 2, 0);
    }
    LLVMValueRef g = global(t, "llmir_kernels", LLVMConstArray2(pair, row, (uint64_t)n), 8);
    LLVMSetVisibility(g, LLVMHiddenVisibility);
    free(row);
    return g;
}

/* Room for the note, in its ELF form; whoever writes the file fills the description. */
static void reserve_note(table *t)
{
    static const char name[8] = LLMIR_NOTE_NAME;
    LLVMValueRef f[5] = {LLVMConstInt(t->i32, strlen(LLMIR_NOTE_NAME) + 1, 0),
                         LLVMConstInt(t->i32, sizeof(llmir_note), 0),
                         LLVMConstInt(t->i32, LLMIR_NOTE_TYPE, 0),
                         LLVMConstStringInContext(t->ctx, name, sizeof name, 1),
                         LLVMConstNull(LLVMArrayType2(t->i8, sizeof(llmir_note)))};
    LLVMValueRef g = global(t, "llmir_note", LLVMConstStructInContext(t->ctx, f, 5, 1), 4);
    LLVMSetSection(g, LLMIR_NOTE_SECTION);
    LLVMSetVisibility(g, LLVMHiddenVisibility);
}

ll_code cg_table_object(const ll_target *target, const char *const *kernel_name, int n,
                        const void *blob, size_t blob_bytes, void **object, size_t *object_bytes,
                        ll_error *err)
{
    LLVMTargetMachineRef m;
    LL_TRY(cg_machine(target, &m, err));
    table t = {.ctx = LLVMContextCreate()};
    t.mod = LLVMModuleCreateWithNameInContext("llmir_module", t.ctx);
    t.i8 = LLVMInt8TypeInContext(t.ctx);
    t.i32 = LLVMInt32TypeInContext(t.ctx);
    t.i64 = LLVMInt64TypeInContext(t.ctx);
    t.ptr = LLVMPointerTypeInContext(t.ctx, 0);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(m);
    LLVMSetModuleDataLayout(t.mod, layout);
    LLVMDisposeTargetData(layout);
    LLVMSetTarget(t.mod, "x86_64-pc-linux-gnu");
    LLVMValueRef kernels = kernel_array(&t, kernel_name, n);
    ll_hash digest = ll_hash_bytes(blob, blob_bytes);
    ll_code r = kernels ? LL_OK : ll_fail(err, LL_NO_SPACE, "codegen: out of memory");
    if (kernels) {
        LLVMValueRef f[7] = {i64(&t, LLMIR_MODULE_MAGIC),
                             LLVMConstInt(t.i32, LLMIR_MODULE_ABI, 0),
                             LLVMConstInt(t.i32, sizeof(llmir_module), 0),
                             i64(&t, digest.lo),
                             i64(&t, digest.hi),
                             i64(&t, (uint64_t)n),
                             kernels};
        global(&t, LLMIR_MODULE_SYMBOL, LLVMConstStructInContext(t.ctx, f, 7, 0), 8);
        reserve_note(&t);
        cg_code code = {0};
        r = cg_emit(m, t.mod, 0, &code, err);
        *object = code.object;
        *object_bytes = code.object_bytes;
    }
    LLVMDisposeModule(t.mod);
    LLVMContextDispose(t.ctx);
    LLVMDisposeTargetMachine(m);
    return r;
}

/* ---- ld ---- */

static int memory_file(const void *p, size_t n, ll_error *err)
{
    int fd = memfd_create("object", 0);
    for (size_t at = 0; fd >= 0 && at < n;) {
        ssize_t k = write(fd, (const char *)p + at, n - at);
        if (k <= 0) {
            close(fd);
            fd = -1;
        } else {
            at += (size_t)k;
        }
    }
    if (fd < 0) ll_fail(err, LL_NO_SPACE, "ld: no memory for an object of %zu bytes", n);
    return fd;
}

static ll_code run_ld(char *const *argv, ll_error *err)
{
    int out = memfd_create("messages", MFD_CLOEXEC), status = 0;
    posix_spawn_file_actions_t act;
    posix_spawn_file_actions_init(&act);
    if (out >= 0) {
        posix_spawn_file_actions_adddup2(&act, out, 1);
        posix_spawn_file_actions_adddup2(&act, out, 2);
    }
    pid_t pid;
    int e = posix_spawnp(&pid, "ld", &act, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&act);
    char said[400] = "";
    ll_code r = LL_OK;
    if (e) {
        r = ll_fail(err, LL_FAILED, "ld: cannot start: %s (it comes with binutils)", strerror(e));
    } else {
        while (waitpid(pid, &status, 0) < 0) continue;
        ssize_t k = out >= 0 ? pread(out, said, sizeof said - 1, 0) : 0;
        said[k > 0 ? k : 0] = 0;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            r = ll_fail(err, LL_FAILED, "ld: failed: %s", said);
    }
    if (out >= 0) close(out);
    return r;
}

ll_code cg_link(const char *path, void *const *object, const size_t *bytes, int n, ll_error *err)
{
    static const char *const option[] = {
        "ld", "-shared", "--build-id=none", "--hash-style=gnu", "-z", "noexecstack", "-z", "relro",
        "-z", "now",     "--no-undefined",  "-Bsymbolic",       "-o"};
    enum { N = sizeof option / sizeof *option };
    char **argv = calloc((size_t)n + N + 2, sizeof *argv);
    char(*name)[32] = calloc((size_t)n + 1, sizeof *name);
    int *fd = calloc((size_t)n + 1, sizeof *fd), opened = 0;
    ll_code r = argv && name && fd ? LL_OK : ll_fail(err, LL_NO_SPACE, "ld: out of memory");
    if (r == LL_OK) {
        for (int i = 0; i < N; i++) argv[i] = (char *)(uintptr_t)option[i];
        argv[N] = (char *)(uintptr_t)path;
        for (; r == LL_OK && opened < n; opened++) {
            fd[opened] = memory_file(object[opened], bytes[opened], err);
            if (fd[opened] < 0) {
                r = LL_NO_SPACE;
                break;
            }
            snprintf(name[opened], sizeof name[opened], "/proc/self/fd/%d", fd[opened]);
            argv[N + 1 + opened] = name[opened];
        }
        if (r == LL_OK) r = run_ld(argv, err);
    }
    for (int i = 0; i < opened; i++) close(fd[i]);
    free(fd);
    free(name);
    free(argv);
    return r;
}

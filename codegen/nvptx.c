/* nvptx.c: a GPU kernel as PTX text, through LLVM's NVPTX backend.
 *
 *     .entry NAME(buffer 0, buffer 1, ..., dims)      a 64-bit address in global memory each
 *
 * The function at hand is brought to thread level first (lp_threads); the grid is the extents of
 * its block loops, which the kernel reads again from the dims: blocks too many leave at once.
 * Shared memory is one array, static up to 48 KiB, dynamic beyond (cg_launch.shared).
 *
 * Refused: more threads or shared memory than the target has, code that would need local memory (a
 * register buffer that LLVM put into memory). */
#include <llvm-c/Analysis.h>
#include <llvm-c/TargetMachine.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "codegen/cg.h"
#include "codegen/emit.h"

#define B (c->b)

enum { STATIC_SHARED = 48 << 10, GLOBAL_SPACE = 1, SHARED_SPACE = 3, PTX_KERNEL = 71 };

/* ---- the launch rule ------------------------------------------------------------------------- */

void cg_grid_of(const lp_func *f, te_ref grid[3]) {
    grid[0] = grid[1] = grid[2] = NULL;
    for (const lp_stmt *s = f->body; s;) {
        if (s->kind == LP_LET)
            s = s->u.let.body;
        else if (s->kind == LP_ALLOC)
            s = s->u.alloc.body;
        else if (s->kind != LP_FOR || s->u.loop.how < LP_BLOCK_X || s->u.loop.how > LP_BLOCK_Z)
            return;
        else {
            grid[s->u.loop.how - LP_BLOCK_X] = s->u.loop.var->u.axis->extent;
            s = s->u.loop.body;
        }
    }
}

static void entry_name(const char *name, char *out, size_t n) {
    size_t i = 0;
    for (; name[i] && i + 1 < n; i++)
        out[i] = isalnum((unsigned char)name[i]) || name[i] == '_' ? name[i] : '_';
    out[i] = 0;
}

/* ---- the machine ----------------------------------------------------------------------------- */

static ll_code machine(const ll_target *t, LLVMTargetMachineRef *out, ll_error *err) {
    static const char triple[] = "nvptx64-nvidia-cuda";
    LLVMTargetRef target;
    char *why = NULL, cpu[16];
    cg_init();
    if (LLVMGetTargetFromTriple(triple, &target, &why)) {
        ll_fail(err, LL_FAILED, "codegen: LLVM has no NVPTX target: %s", why);
        LLVMDisposeMessage(why);
        return LL_FAILED;
    }
    snprintf(cpu, sizeof cpu, "sm_%d%s", t->sm, t->sm_a ? "a" : "");
    *out = LLVMCreateTargetMachine(target, triple, cpu, t->sm_a ? "+ptx80" : "+ptx78",
                                   LLVMCodeGenLevelDefault, LLVMRelocDefault, LLVMCodeModelDefault);
    return *out ? LL_OK
                : ll_fail(err, LL_FAILED, "codegen: LLVM makes no machine for '%s'", t->name);
}

/* ---- the function ---------------------------------------------------------------------------- */

static void parameter_attribute(cg *c, int i, const char *name) {
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(c->fnv, (LLVMAttributeIndex)(i + 1),
                            LLVMCreateEnumAttribute(c->ctx, kind, 0));
}

static void begin_kernel(cg *c, const char *entry) {
    int n = c->fn->n_param;
    cg_t global = LLVMPointerTypeInContext(c->ctx, GLOBAL_SPACE);
    cg_t *type = ll_alloc(&c->arena, sizeof *type * (size_t)(n + 1));
    for (int i = 0; i <= n; i++) type[i] = global;
    c->fnv = LLVMAddFunction(c->mod, entry, LLVMFunctionType(c->none, type, (unsigned)(n + 1), 0));
    LLVMSetFunctionCallConv(c->fnv, PTX_KERNEL);
    for (int i = 0; i <= n; i++) {
        if (i < n && cg_writes_storage(c, c->fn->param[i])) continue;
        parameter_attribute(c, i, "noalias");
        parameter_attribute(c, i, "readonly");
    }
    LLVMPositionBuilderAtEnd(B, cg_block(c, "entry"));
    c->args_dim = LLVMGetParam(c->fnv, (unsigned)n);
    c->leave = cg_block(c, "leave");
    cg_t none = LLVMArrayType2(c->i8, 0);
    c->shared = LLVMAddGlobalInAddressSpace(c->mod, none, "shared", SHARED_SPACE);
    LLVMSetAlignment(c->shared, 128);
}

static void bind_parameters(cg *c) {
    for (int i = 0; i < c->fn->n_buf; i++) {
        const lp_buf *b = c->fn->buf[i], *outer = b;
        while (outer->within) outer = outer->within;
        if (outer->scope != LP_GLOBAL) continue;
        if (outer->param < 0)
            cg_fail(c, LL_NOT_LEGAL, "codegen: global buffer '%s' is no parameter of '%s'",
                    outer->t->name, c->fn->name);
        cg_buf *k = LL_NEW(&c->arena, cg_buf);
        k->lp = b;
        k->base = LLVMGetParam(c->fnv, (unsigned)outer->param);
        k->align = cg_whole_align(b);
        k->constant = !cg_writes_storage(c, b);
        ll_map_set_ptr(&c->bufs, b, k);
    }
}

static LLVMMetadataRef i32_node(cg *c, int64_t v) {
    return LLVMValueAsMetadata(cg_int(c, c->i32, v));
}

static void annotate(cg *c, const char *key, int64_t value) {
    LLVMMetadataRef node[3] = {LLVMValueAsMetadata(c->fnv),
                               LLVMMDStringInContext2(c->ctx, key, strlen(key)),
                               i32_node(c, value)};
    LLVMMetadataRef all = LLVMMDNodeInContext2(c->ctx, node, 3);
    LLVMAddNamedMetadataOperand(c->mod, "nvvm.annotations", LLVMMetadataAsValue(c->ctx, all));
}

/* The array of shared memory gets its size: static, or an external one that the launch sizes. */
static void place_shared(cg *c, cg_launch *launch) {
    int64_t n = (c->shared_used + 15) & ~INT64_C(15);
    if (n > c->target->max_shared)
        cg_fail(c, LL_NOT_LEGAL,
                "codegen: kernel '%s' needs %lld bytes of shared memory, %s has %lld", c->fn->name,
                (long long)n, c->target->name, (long long)c->target->max_shared);
    if (n > STATIC_SHARED) {
        launch->shared = (uint32_t)n;
        return;
    }
    if (n) {
        cg_t type = LLVMArrayType2(c->i8, (uint64_t)n);
        cg_v g = LLVMAddGlobalInAddressSpace(c->mod, type, "shared_static", SHARED_SPACE);
        LLVMSetLinkage(g, LLVMInternalLinkage);
        LLVMSetInitializer(g, LLVMGetUndef(type));
        LLVMSetAlignment(g, 128);
        LLVMReplaceAllUsesWith(c->shared, g);
    }
    LLVMDeleteGlobal(c->shared);
}

static void kernel(cg *c, cg_launch *launch) {
    entry_name(c->fn->name, launch->entry, sizeof launch->entry);
    begin_kernel(c, launch->entry);
    bind_parameters(c);
    cg_block_of(c, c->fn->body);
    LLVMBuildBr(B, c->leave);
    LLVMPositionBuilderAtEnd(B, c->leave);
    LLVMBuildRetVoid(B);
    launch->block[0] = (uint32_t)c->threads;
    launch->block[1] = launch->block[2] = 1;
    place_shared(c, launch);
    annotate(c, "kernel", 1);
    annotate(c, "maxntidx", c->threads);
    if (c->fn->min_ctas) annotate(c, "minctasm", c->fn->min_ctas);
    if (c->fn->max_regs) annotate(c, "maxnreg", c->fn->max_regs);
}

/* ---- the text -------------------------------------------------------------------------------- */

static void comment(ll_str *out, const char *text) {
    while (text && *text) {
        size_t n = strcspn(text, "\n");
        ll_str_addf(out, "// %.*s\n", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static void head(ll_str *out, const cg_job *job) {
    static const char axis[] = "xyz";
    const cg_launch *l = &job->code.launch;
    ll_str_addf(out, "// kernel %s for %s\n// grid", job->fn->name, job->target->name);
    for (int i = 0; i < 3; i++)
        if (l->grid[i]) ll_str_addf(out, " %c: %s", axis[i], te_show(l->grid[i]));
    ll_str_addf(out, "; block %u threads; dynamic shared memory %u bytes\n", l->block[0],
                l->shared);
    comment(out, job->note);
}

static ll_code emit(LLVMTargetMachineRef m, LLVMModuleRef mod, cg_job *job, ll_error *err) {
    char *why = NULL;
    LLVMMemoryBufferRef buf;
    if (LLVMVerifyModule(mod, LLVMReturnStatusAction, &why)) {
        ll_fail(err, LL_FAILED, "codegen: invalid IR: %s", why);
        LLVMDisposeMessage(why);
        return LL_FAILED;
    }
    LLVMDisposeMessage(why);
    if (job->want & CG_WANT_LLVM) {
        char *text = LLVMPrintModuleToString(mod);
        job->code.llvm_ir = strdup(text);
        LLVMDisposeMessage(text);
    }
    why = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(m, mod, LLVMAssemblyFile, &why, &buf)) {
        ll_fail(err, LL_FAILED, "codegen: LLVM: %s", why ? why : "no text");
        LLVMDisposeMessage(why);
        return LL_FAILED;
    }
    ll_str out = {0};
    head(&out, job);
    ll_str_addn(&out, LLVMGetBufferStart(buf), LLVMGetBufferSize(buf));
    LLVMDisposeMemoryBuffer(buf);
    bool local = strstr(ll_str_cstr(&out), "\t.local ") != NULL;
    job->code.object_bytes = out.n + 1;
    job->code.object = malloc(out.n + 1);
    if (job->code.object) memcpy(job->code.object, ll_str_cstr(&out), out.n + 1);
    if (job->want & CG_WANT_ASM) job->code.assembly = strdup(ll_str_cstr(&out));
    bool oom = out.oom || !job->code.object;
    ll_str_finish(&out);
    if (oom) return ll_fail(err, LL_NO_SPACE, "codegen: out of memory");
    if (local)
        return ll_fail(err, LL_NOT_LEGAL, "codegen: kernel '%s' would need local memory",
                       job->fn->name);
    return LL_OK;
}

/* The function again, to be changed: graph nodes made from here on belong to the compile. */
static lp_func *own_function(cg *c, const lp_func *f) {
    lp_func *k = LL_NEW(&c->arena, lp_func);
    *k = *f;
    k->g = c->g;
    k->buf = ll_alloc(&c->arena, sizeof(lp_buf *) * (size_t)(f->n_buf + 1));
    memcpy(k->buf, f->buf, sizeof(lp_buf *) * (size_t)f->n_buf);
    k->cap_buf = f->n_buf;
    k->body = lp_clone(k, f->body);
    return k;
}

ll_code cg_build_ptx(cg *c, cg_job *job, ll_error *err) {
    enum { MAX_BLOCK = 1024 };
    LLVMTargetMachineRef m;
    lp_func *f = own_function(c, job->fn);
    LL_TRY(lp_threads(f, MAX_BLOCK, err));
    LL_TRY(machine(job->target, &m, err));
    c->fn = f;
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(m);
    LLVMSetModuleDataLayout(c->mod, layout);
    LLVMDisposeTargetData(layout);
    LLVMSetTarget(c->mod, "nvptx64-nvidia-cuda");
    cg_grid_of(job->fn, job->code.launch.grid);
    volatile ll_code r = LL_OK;
    if (setjmp(c->fail) == 0) {
        cg_fresh_scope(c);
        kernel(c, &job->code.launch);
        if (te_error(c->g))
            r = ll_fail(err, te_error(c->g)->code, "codegen: %s", te_error(c->g)->msg);
    } else {
        r = err && err->code != LL_OK ? err->code : LL_FAILED;
    }
    if (r == LL_OK) r = emit(m, c->mod, job, err);
    LLVMDisposeTargetMachine(m);
    return r;
}

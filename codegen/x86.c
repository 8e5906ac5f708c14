/* x86.c: the two functions of a CPU kernel (module_abi.h) and their object file. LLVM runs code
 * generation only.
 *
 *     NAME.parts:  the extent of the claimed loop, 1 without one
 *     NAME.run:    claim; none left: return. Then the statements in front of the claimed loop
 *                  (this thread's prologue), then part after part. Without a claimed loop the
 *                  one part is the whole body.
 *
 * Functions carry features, not a CPU name, and never min-legal-vector-width. Symbols are hidden:
 * only the table of kernels (link.c) leaves the module, profilers read the rest from .symtab. */
#include <llvm-c/Analysis.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codegen/cg.h"
#include "codegen/emit.h"

#define B (c->b)

void cg_code_finish(cg_code *k)
{
    free(k->object);
    free(k->llvm_ir);
    free(k->assembly);
    memset(k, 0, sizeof *k);
}

const char *cg_llvm_version(void)
{
    static char text[32];
    unsigned a, b, d;
    if (!text[0]) {
        LLVMGetVersion(&a, &b, &d);
        snprintf(text, sizeof text, "%u.%u.%u", a, b, d);
    }
    return text;
}

static void init_once(void)
{
    static const char *const option[] = {"llmir", "-disable-lsr"};
    LLVMParseCommandLineOptions(2, option, NULL);
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
}

void cg_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_once);
}

/* ---- the target machine and its products ---- */

ll_code cg_machine(const ll_target *t, LLVMTargetMachineRef *out, ll_error *err)
{
    cg_init();
    static const char triple[] = "x86_64-pc-linux-gnu";
    LLVMTargetRef target;
    char *why = NULL, features[1024];
    if (LLVMGetTargetFromTriple(triple, &target, &why)) {
        ll_fail(err, LL_FAILED, "codegen: LLVM has no x86-64 target: %s", why);
        LLVMDisposeMessage(why);
        return LL_FAILED;
    }
    ll_target_llvm_features(t, features, sizeof features);
    *out = LLVMCreateTargetMachine(target, triple, "x86-64", features, LLVMCodeGenLevelDefault,
                                   LLVMRelocPIC, LLVMCodeModelDefault);
    return *out ? LL_OK
                : ll_fail(err, LL_FAILED, "codegen: LLVM makes no machine for '%s'", t->name);
}

static ll_code emit(LLVMTargetMachineRef m, LLVMModuleRef mod, LLVMCodeGenFileType kind, void **out,
                    size_t *n, ll_error *err)
{
    LLVMMemoryBufferRef buf;
    char *why = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(m, mod, kind, &why, &buf)) {
        ll_fail(err, LL_FAILED, "codegen: LLVM: %s", why ? why : "no object");
        LLVMDisposeMessage(why);
        return LL_FAILED;
    }
    *n = LLVMGetBufferSize(buf);
    *out = malloc(*n + 1);
    if (*out) {
        memcpy(*out, LLVMGetBufferStart(buf), *n);
        ((char *)*out)[*n] = 0;
    }
    LLVMDisposeMemoryBuffer(buf);
    return *out ? LL_OK : ll_fail(err, LL_NO_SPACE, "codegen: out of memory");
}

ll_code cg_emit(LLVMTargetMachineRef m, LLVMModuleRef mod, unsigned want, cg_code *k, ll_error *err)
{
    char *why = NULL;
    if (LLVMVerifyModule(mod, LLVMReturnStatusAction, &why)) {
        ll_fail(err, LL_FAILED, "codegen: invalid IR: %s", why);
        LLVMDisposeMessage(why);
        return LL_FAILED;
    }
    LLVMDisposeMessage(why);
    if (want & CG_WANT_LLVM) {
        char *text = LLVMPrintModuleToString(mod);
        k->llvm_ir = strdup(text);
        LLVMDisposeMessage(text);
    }
    if (want &
        CG_WANT_ASM) { /* LLVM changes the module while it emits: assembly comes from a copy */
        LLVMModuleRef copy = LLVMCloneModule(mod);
        void *text = NULL;
        size_t n;
        ll_code r = emit(m, copy, LLVMAssemblyFile, &text, &n, err);
        LLVMDisposeModule(copy);
        if (r != LL_OK) return r;
        k->assembly = text;
    }
    return emit(m, mod, LLVMObjectFile, &k->object, &k->object_bytes, err);
}

/* ---- functions ---- */

static void attribute(cg *c, const char *key, const char *value)
{
    LLVMAttributeRef a = LLVMCreateStringAttribute(c->ctx, key, (unsigned)strlen(key), value,
                                                   (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(c->fnv, LLVMAttributeFunctionIndex, a);
}

static void begin_function(cg *c, const char *suffix, cg_t type)
{
    char name[512], features[1024];
    snprintf(name, sizeof name, "%s.%s", c->fn->name, suffix);
    c->fnv = LLVMAddFunction(c->mod, name, type);
    LLVMSetVisibility(c->fnv, LLVMHiddenVisibility);
    ll_target_llvm_features(c->target, features, sizeof features);
    attribute(c, "target-cpu", "x86-64");
    attribute(c, "target-features", features);
    unsigned kind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    LLVMAddAttributeAtIndex(c->fnv, LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(c->ctx, kind, 0));
    LLVMPositionBuilderAtEnd(B, cg_block(c, "entry"));
    c->args = LLVMGetParam(c->fnv, 0);
}

cg_v cg_constant_load(cg *c, cg_t type, cg_v p, int64_t index, const char *name)
{
    cg_v off = cg_int(c, c->i64, index);
    cg_v v =
        LLVMBuildLoad2(B, type, index ? LLVMBuildInBoundsGEP2(B, type, p, &off, 1, "") : p, name);
    LLVMSetMetadata(v, LLVMGetMDKindIDInContext(c->ctx, "invariant.load", 14),
                    LLVMMetadataAsValue(c->ctx, LLVMMDNodeInContext2(c->ctx, NULL, 0)));
    return v;
}

static void load_arguments(cg *c)
{
    c->args_buf = cg_constant_load(c, c->ptr, c->args, 0, "buf");
    c->args_dim = cg_constant_load(c, c->ptr, c->args, 1, "dim");
}

static lp_stmt *find_claim(lp_stmt *s)
{
    for (; s; s = s->next) {
        if (s->kind == LP_FOR && s->u.loop.how == LP_CLAIM) return s;
        lp_stmt *in = s->kind == LP_ALLOC ? find_claim(s->u.alloc.body)
                      : s->kind == LP_LET ? find_claim(s->u.let.body)
                                          : NULL;
        if (in) return in;
    }
    return NULL;
}

static void parts_function(cg *c)
{
    begin_function(c, "parts", LLVMFunctionType(c->i64, &c->ptr, 1, 0));
    load_arguments(c);
    lp_stmt *claim = find_claim(c->fn->body);
    te_ref n = claim ? cg_prep(c, claim->u.loop.var->u.axis->extent) : te_int(c->g, 1);
    cg_v v = cg_eval(c, n).v;
    if (te_range_of(n).lo < 0) v = cg_call2(c, "llvm.smax", v, cg_int(c, c->i64, 0));
    LLVMBuildRet(B, v);
}

bool cg_writes_storage(const cg *c, const lp_buf *b)
{
    for (int i = 0; i < c->fn->n_param; i++) {
        const lp_buf *p = c->fn->param[i];
        if (!p->written) continue;
        for (const lp_buf *o = b; o; o = o->within)
            for (const lp_buf *q = p; q; q = q->within)
                if (o == q) return true;
    }
    return false;
}

int cg_whole_align(const lp_buf *b)
{
    if (b->within) return cg_whole_align(b->within);
    int bits = ll_dtype_bits((ll_dtype)b->t->dtype);
    return b->align ? b->align : bits < 8 ? 1 : bits / 8;
}

static void bind_parameters(cg *c)
{
    cg_v base[512] = {NULL};
    for (int i = 0; i < c->fn->n_buf; i++) {
        const lp_buf *b = c->fn->buf[i], *outer = b;
        while (outer->within) outer = outer->within;
        if (outer->scope != LP_GLOBAL) continue;
        if (outer->param < 0 || outer->param >= 512)
            cg_fail(c, LL_NOT_LEGAL, "codegen: global buffer '%s' is no parameter of '%s'",
                    outer->t->name, c->fn->name);
        if (!base[outer->param])
            base[outer->param] =
                cg_constant_load(c, c->ptr, c->args_buf, outer->param, outer->t->name);
        cg_buf *k = LL_NEW(&c->arena, cg_buf);
        k->lp = b;
        k->base = base[outer->param];
        k->align = cg_whole_align(b);
        k->constant = !cg_writes_storage(c, b);
        ll_map_set_ptr(&c->bufs, b, k);
    }
}

static void run_function(cg *c)
{
    cg_t arg[4] = {c->ptr, c->ptr, c->i32, c->ptr};
    begin_function(c, "run", LLVMFunctionType(c->none, arg, 4, 0));
    c->team = LLVMGetParam(c->fnv, 1);
    c->thread = LLVMGetParam(c->fnv, 2);
    c->scratch = LLVMGetParam(c->fnv, 3);
    c->first_part = cg_claim(c);
    cg_bb work = cg_block(c, "work"), none = cg_block(c, "none");
    LLVMBuildCondBr(B, LLVMBuildICmp(B, LLVMIntSLT, c->first_part, cg_int(c, c->i64, 0), ""), none,
                    work);
    LLVMPositionBuilderAtEnd(B, none);
    LLVMBuildRetVoid(B);
    LLVMPositionBuilderAtEnd(B, work);
    load_arguments(c);
    bind_parameters(c);
    cg_block_of(c, c->fn->body);
    if (!c->claimed) cg_claim(c); /* reports the part as finished; there is no other */
    LLVMBuildRetVoid(B);
}

static void types(cg *c)
{
    c->i1 = LLVMInt1TypeInContext(c->ctx);
    c->i8 = LLVMInt8TypeInContext(c->ctx);
    c->i16 = LLVMInt16TypeInContext(c->ctx);
    c->i32 = LLVMInt32TypeInContext(c->ctx);
    c->i64 = LLVMInt64TypeInContext(c->ctx);
    c->f16 = LLVMHalfTypeInContext(c->ctx);
    c->f32 = LLVMFloatTypeInContext(c->ctx);
    c->f64 = LLVMDoubleTypeInContext(c->ctx);
    c->ptr = LLVMPointerTypeInContext(c->ctx, 0);
    c->none = LLVMVoidTypeInContext(c->ctx);
}

void cg_fresh_scope(cg *c)
{
    ll_map_finish(&c->scope[0].memo);
    memset(&c->scope[0], 0, sizeof c->scope[0]);
    c->cur = c->top = 0;
    c->reg_epoch = c->mem_epoch = 1;
    cg_touch(c);
}

static ll_code build(cg *c, cg_job *job, ll_error *err)
{
    LLVMTargetMachineRef m;
    LL_TRY(cg_machine(job->target, &m, err));
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(m);
    LLVMSetModuleDataLayout(c->mod, layout);
    LLVMDisposeTargetData(layout);
    LLVMSetTarget(c->mod, "x86_64-pc-linux-gnu");
    volatile ll_code r = LL_OK;
    if (setjmp(c->fail) == 0) {
        cg_fresh_scope(c);
        parts_function(c);
        cg_fresh_scope(c);
        run_function(c);
        if (te_error(c->g))
            r = ll_fail(err, te_error(c->g)->code, "codegen: %s", te_error(c->g)->msg);
    } else {
        r = err && err->code != LL_OK ? err->code : LL_FAILED;
    }
    if (r == LL_OK) r = cg_emit(m, c->mod, job->want, &job->code, err);
    LLVMDisposeTargetMachine(m);
    return r;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

ll_code cg_compile_here(cg_job *job, ll_error *err)
{
    double start = now();
    ll_error mine = {0};
    cg *c = calloc(1, sizeof *c);
    if (!c) return ll_fail(err, LL_NO_SPACE, "codegen: out of memory");
    ll_arena_init(&c->arena);
    c->err = &mine;
    c->fn = job->fn;
    c->target = job->target;
    c->g = te_graph_child(job->fn->g);
    c->ctx = LLVMContextCreate();
    c->mod = LLVMModuleCreateWithNameInContext(job->fn->name, c->ctx);
    c->b = LLVMCreateBuilderInContext(c->ctx);
    types(c);
    c->gpu = job->target->kind == LL_CUDA;
    ll_code r = c->gpu ? cg_build_ptx(c, job, &mine) : build(c, job, &mine);
    job->code.scratch_bytes = (size_t)c->scratch_max;
    job->code.seconds = now() - start;
    job->error = mine;
    if (r != LL_OK && err) *err = mine;
    LLVMDisposeBuilder(c->b);
    LLVMDisposeModule(c->mod);
    LLVMContextDispose(c->ctx);
    for (int i = 0; i < CG_MAX_SCOPE; i++) ll_map_finish(&c->scope[i].memo);
    ll_map_finish(&c->bufs);
    ll_map_finish(&c->info);
    ll_map_finish(&c->chunk);
    ll_map_finish(&c->placed);
    te_graph_destroy(c->g);
    ll_arena_finish(&c->arena);
    free(c);
    return r;
}

/* llvm.c: the small words of the emitter: types, constants, shuffles, intrinsics. */
#include "codegen/cg.h"

#include <stdarg.h>
#include <string.h>

void cg_fail(cg *c, ll_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    ll_vfail(c->err, code, fmt, ap);
    va_end(ap);
    longjmp(c->fail, 1);
}

bool cg_has(const cg *c, ll_cpu_feature f)
{
    return c->gpu ? f == LL_FEAT_FMA : ll_target_has(c->target, f);
}

/* bf16 and the 8-bit floats are held as their bits; codes of fewer than 8 bits as exact integers.
 */
cg_t cg_elt(cg *c, ll_dtype t)
{
    switch (t) {
    case LL_BOOL: return c->i1;
    case LL_F16: return c->f16;
    case LL_F32: return c->f32;
    case LL_F64: return c->f64;
    default: break;
    }
    int bits = ll_dtype_bits(t);
    return bits <= 8 ? c->i8 : bits == 16 ? c->i16 : bits == 32 ? c->i32 : c->i64;
}

cg_t cg_wide(cg_t elt, int lanes)
{
    return lanes == 1 ? elt : LLVMVectorType(elt, (unsigned)lanes);
}

int cg_width(cg_v v)
{
    cg_t t = LLVMTypeOf(v);
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(t) : 1;
}

cg_t cg_scalar_type(cg_v v)
{
    cg_t t = LLVMTypeOf(v);
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetElementType(t) : t;
}

cg_t cg_retype(cg_v v, cg_t elt) { return cg_wide(elt, cg_width(v)); }

static cg_v repeat(cg *c, cg_t type, cg_v one)
{
    if (LLVMGetTypeKind(type) != LLVMVectorTypeKind) return one;
    cg_v e[CG_MAX_LANES];
    unsigned n = LLVMGetVectorSize(type);
    for (unsigned i = 0; i < n; i++) e[i] = one;
    return LLVMConstVector(e, n);
}

static cg_t element_of(cg_t type)
{
    return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetElementType(type) : type;
}

cg_v cg_int(cg *c, cg_t like, int64_t x)
{
    return repeat(c, like, LLVMConstInt(element_of(like), (unsigned long long)x, 1));
}

cg_v cg_real(cg *c, cg_t like, double x)
{
    return repeat(c, like, LLVMConstReal(element_of(like), x));
}

cg_v cg_shuffle(cg *c, cg_v a, cg_v b, const int *lane, int n)
{
    if (n == 1) {
        if (lane[0] < 0) return LLVMGetPoison(cg_scalar_type(a));
        return lane[0] < cg_width(a) ? cg_extract(c, a, lane[0])
                                     : cg_extract(c, b, lane[0] - cg_width(a));
    }
    bool same = !b && n == cg_width(a);
    cg_v m[CG_MAX_LANES];
    for (int i = 0; i < n; i++) {
        same = same && lane[i] == i;
        m[i] = lane[i] < 0 ? LLVMGetPoison(c->i32) : LLVMConstInt(c->i32, (unsigned)lane[i], 0);
    }
    if (same) return a;
    if (!b) b = LLVMGetPoison(LLVMTypeOf(a));
    return LLVMBuildShuffleVector(c->b, a, b, LLVMConstVector(m, (unsigned)n), "");
}

cg_v cg_insert(cg *c, cg_v v, cg_v x, int lane)
{
    return LLVMBuildInsertElement(c->b, v, x, LLVMConstInt(c->i32, (unsigned)lane, 0), "");
}

cg_v cg_extract(cg *c, cg_v v, int lane)
{
    if (cg_width(v) == 1) return v;
    return LLVMBuildExtractElement(c->b, v, LLVMConstInt(c->i32, (unsigned)lane, 0), "");
}

cg_v cg_splat(cg *c, cg_v v, int lanes)
{
    if (lanes == 1) return v;
    if (LLVMIsConstant(v)) return repeat(c, cg_wide(LLVMTypeOf(v), lanes), v);
    int zero[CG_MAX_LANES] = {0};
    cg_v one = cg_insert(c, LLVMGetPoison(cg_wide(LLVMTypeOf(v), lanes)), v, 0);
    return cg_shuffle(c, one, NULL, zero, lanes);
}

cg_v cg_concat(cg *c, cg_v *part, int n)
{
    int lane[CG_MAX_LANES];
    for (; n > 1; n /= 2)
        for (int i = 0; i < n / 2; i++) {
            cg_v a = part[2 * i], b = part[2 * i + 1];
            int w = cg_width(a);
            if (w == 1) {
                part[i] = cg_insert(c, cg_insert(c, LLVMGetPoison(cg_wide(LLVMTypeOf(a), 2)), a, 0),
                                    b, 1);
                continue;
            }
            for (int k = 0; k < 2 * w; k++) lane[k] = k;
            part[i] = cg_shuffle(c, a, b, lane, 2 * w);
        }
    return part[0];
}

cg_v cg_call(cg *c, const char *intrinsic, cg_t *over, int n_over, cg_v *arg, int n)
{
    unsigned id = LLVMLookupIntrinsicID(intrinsic, strlen(intrinsic));
    if (!id)
        cg_fail(c, LL_FAILED, "codegen: LLVM %s has no intrinsic %s", cg_llvm_version(), intrinsic);
    cg_v f = LLVMGetIntrinsicDeclaration(c->mod, id, over, (size_t)n_over);
    return LLVMBuildCall2(c->b, LLVMGlobalGetValueType(f), f, arg, (unsigned)n, "");
}

cg_v cg_call1(cg *c, const char *intrinsic, cg_v a)
{
    cg_t t = LLVMTypeOf(a);
    return cg_call(c, intrinsic, &t, 1, &a, 1);
}

cg_v cg_call2(cg *c, const char *intrinsic, cg_v a, cg_v b)
{
    cg_t t = LLVMTypeOf(a);
    return cg_call(c, intrinsic, &t, 1, (cg_v[]){a, b}, 2);
}

/* a * b + acc in one rounding where the machine has it. */
cg_v cg_fma(cg *c, cg_v a, cg_v b, cg_v acc)
{
    if (!cg_has(c, LL_FEAT_FMA)) return LLVMBuildFAdd(c->b, LLVMBuildFMul(c->b, a, b, ""), acc, "");
    cg_t t = LLVMTypeOf(a);
    return cg_call(c, "llvm.fma", &t, 1, (cg_v[]){a, b, acc}, 3);
}

cg_v cg_flags(cg_v v, LLVMFastMathFlags f)
{
    if (LLVMIsAInstruction(v) && LLVMCanValueUseFastMathFlags(v)) LLVMSetFastMathFlags(v, f);
    return v;
}

cg_bb cg_block(cg *c, const char *name)
{
    return LLVMAppendBasicBlockInContext(c->ctx, c->fnv, name);
}

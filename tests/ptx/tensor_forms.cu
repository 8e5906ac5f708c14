// Every other mma.sync family once, with stated fragments: int8, int4, tf32, bf16, f64, b1, f16 accumulators.
#include <stdint.h>
extern "C" __global__ void mma_forms(const uint32_t *in, uint32_t *out)
{
    uint32_t a[4], b[2], l = threadIdx.x;
    for (int i = 0; i < 4; i++) a[i] = in[i * 32 + l];
    for (int i = 0; i < 2; i++) b[i] = in[(4 + i) * 32 + l];
    int s[4] = { 1, 2, 3, 4 };
    asm volatile("mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.u8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+r"(s[0]), "+r"(s[1]), "+r"(s[2]), "+r"(s[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    for (int i = 0; i < 4; i++) out[i * 32 + l] = s[i];
    asm volatile("mma.sync.aligned.m16n8k64.row.col.s32.u4.s4.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+r"(s[0]), "+r"(s[1]), "+r"(s[2]), "+r"(s[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    for (int i = 0; i < 4; i++) out[(4 + i) * 32 + l] = s[i];
    asm volatile("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+r"(s[0]), "+r"(s[1]), "+r"(s[2]), "+r"(s[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    for (int i = 0; i < 4; i++) out[(8 + i) * 32 + l] = s[i];
    float f[4] = { 1, 2, 3, 4 };
    uint32_t m = 0xbfffbfffu; // exponents kept small
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+f"(f[0]), "+f"(f[1]), "+f"(f[2]), "+f"(f[3]) : "r"(a[0] & m), "r"(a[1] & m), "r"(a[2] & m), "r"(a[3] & m), "r"(b[0] & m), "r"(b[1] & m));
    for (int i = 0; i < 4; i++) out[(12 + i) * 32 + l] = __float_as_uint(f[i]);
    for (int i = 0; i < 4; i++) f[i] = i;
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+f"(f[0]), "+f"(f[1]), "+f"(f[2]), "+f"(f[3]) : "r"(a[0] & m), "r"(a[1] & m), "r"(a[2] & m), "r"(a[3] & m), "r"(b[0] & m), "r"(b[1] & m));
    for (int i = 0; i < 4; i++) out[(16 + i) * 32 + l] = __float_as_uint(f[i]);
    double d[2] = { 0.5, -0.5 };
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+d"(d[0]), "+d"(d[1]) : "d"((double)(int)a[0]), "d"((double)(int)b[0]));
    out[20 * 32 + l] = __float_as_uint((float)d[0]), out[21 * 32 + l] = __float_as_uint((float)d[1]);
    uint32_t h[2] = { 0x3c003c00u, 0 };
    uint32_t k = 0x37ff37ffu;
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3}, {%4}, {%0,%1};" : "+r"(h[0]), "+r"(h[1]) : "r"(a[0] & k), "r"(a[1] & k), "r"(b[0] & k));
    out[22 * 32 + l] = h[0], out[23 * 32 + l] = h[1];
    uint32_t t;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(t) : "r"(a[0]));
    out[24 * 32 + l] = t;
}

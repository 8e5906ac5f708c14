// Conversions of every float format and the packed half arithmetic. out: 16 words an element.
#include <cuda_fp16.h>
#include <cuda_bf16.h>
extern "C" __global__ void convert(const float *x, const int *k, unsigned *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    int q = k[i];
    unsigned *o = out + 16 * (size_t)i;
    o[0] = __half_as_ushort(__float2half_rn(v)) | __half_as_ushort(__float2half_rz(v)) << 16;
    o[1] = __half_as_ushort(__float2half_ru(v)) | __half_as_ushort(__float2half_rd(v)) << 16;
    o[2] = __float2int_rn(v) ^ __float2uint_rz(v);
    o[3] = __float2int_ru(v) + 3 * __float2int_rd(v);
    o[4] = __float_as_uint(__int2float_rn(q)) ^ __float_as_uint(__uint2float_rz(q));
    o[5] = __float_as_uint(__ll2float_rn((long long)q * 1234567891011ll));
    o[6] = (unsigned)__float2ll_rz(v * 1e6f);
    o[7] = __float_as_uint(rintf(v)) ^ __float_as_uint(floorf(v) + ceilf(v)) ^ __float_as_uint(truncf(v));
    double d = (double)v * 1.000000001;
    o[8] = __float_as_uint(__double2float_rn(d)) ^ __float_as_uint(__double2float_ru(d)) << 1;
    o[9] = (unsigned)__double2ll_rn(d * 65536.0) ^ __double2uint_rz(d);
    __half2 h = __floats2half2_rn(v, v * 0.5f), g = __half2half2(__float2half_rn(0.75f));
    h = __hfma2(h, g, h);
    h = __hadd2(h, __hmul2(g, h));
    o[10] = __half_as_ushort(h.x) | __half_as_ushort(h.y) << 16;
    o[11] = __half2int_rz(h.x) + __half2uint_rn(h.y);
    o[12] = __half_as_ushort(__int2half_rn(q)) | __half_as_ushort(__ushort2half_rn((unsigned short)q)) << 16;
    o[13] = __bfloat16_as_ushort(__float2bfloat16_rn(v));
    o[14] = __float_as_uint(__bfloat162float(__ushort_as_bfloat16((unsigned short)q)));
    o[15] = __half_as_ushort(__hmax(h.x, h.y)) | __half_as_ushort(__hneg(h.x)) << 16;
}
#if __CUDA_ARCH__ >= 890
#include <cuda_fp8.h>
extern "C" __global__ void convert_fp8(const float *x, unsigned *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float2 v = make_float2(x[2 * i], x[2 * i + 1]);
    unsigned short a = __nv_cvt_float2_to_fp8x2(v, __NV_SATFINITE, __NV_E4M3), b = __nv_cvt_float2_to_fp8x2(v, __NV_SATFINITE, __NV_E5M2);
    __half2_raw ha = __nv_cvt_fp8x2_to_halfraw2(a, __NV_E4M3), hb = __nv_cvt_fp8x2_to_halfraw2(b, __NV_E5M2);
    unsigned short c = __nv_cvt_halfraw2_to_fp8x2(ha, __NV_SATFINITE, __NV_E5M2);
    out[4 * i] = a | b << 16;
    out[4 * i + 1] = ha.x | ha.y << 16;
    out[4 * i + 2] = hb.x | hb.y << 16;
    out[4 * i + 3] = c;
}
#endif
#if __CUDA_ARCH__ >= 800
extern "C" __global__ void convert_bf16(const float *x, unsigned *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __nv_bfloat162 a = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]), b = __float2bfloat162_rn(1.25f);
    __nv_bfloat162 r = __hfma2(a, b, a), m = __hmax2(a, __hneg2(a));
    unsigned t;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(t) : "f"(x[2 * i]));
    out[4 * i] = *(unsigned *)&a;
    out[4 * i + 1] = *(unsigned *)&r;
    out[4 * i + 2] = *(unsigned *)&m;
    out[4 * i + 3] = t;
}
#endif

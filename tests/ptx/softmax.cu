// Row softmax with the row in dynamic shared memory; f32 and f16 with packed loads.
#include <cuda_fp16.h>
extern "C" __global__ void softmax_f32(const float *x, float *y, int cols)
{
    extern __shared__ float row[];
    __shared__ float red[32];
    const float *in = x + (size_t)blockIdx.x * cols;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    float m = -INFINITY;
    for (int i = threadIdx.x; i < cols; i += blockDim.x) m = fmaxf(m, row[i] = in[i]);
    for (int k = 16; k; k >>= 1) m = fmaxf(m, __shfl_xor_sync(~0u, m, k));
    if (!lane) red[warp] = m;
    __syncthreads();
    m = red[0];
    for (int i = 1; i < warps; i++) m = fmaxf(m, red[i]);
    __syncthreads();
    float s = 0;
    for (int i = threadIdx.x; i < cols; i += blockDim.x) s += row[i] = exp2f((row[i] - m) * 1.44269504f);
    for (int k = 16; k; k >>= 1) s += __shfl_xor_sync(~0u, s, k);
    if (!lane) red[warp] = s;
    __syncthreads();
    s = 0;
    for (int i = 0; i < warps; i++) s += red[i];
    float inv = 1.0f / s;
    for (int i = threadIdx.x; i < cols; i += blockDim.x) y[(size_t)blockIdx.x * cols + i] = row[i] * inv;
}

extern "C" __global__ void softmax_f16(const __half2 *x, __half2 *y, int pairs)
{
    const __half2 *in = x + (size_t)blockIdx.x * pairs;
    float m = -INFINITY, s = 0;
    for (int i = threadIdx.x; i < pairs; i += 32) {
        float2 v = __half22float2(in[i]);
        m = fmaxf(m, fmaxf(v.x, v.y));
    }
    for (int k = 16; k; k >>= 1) m = fmaxf(m, __shfl_xor_sync(~0u, m, k));
    for (int i = threadIdx.x; i < pairs; i += 32) {
        float2 v = __half22float2(in[i]);
        s += __expf(v.x - m) + __expf(v.y - m);
    }
    for (int k = 16; k; k >>= 1) s += __shfl_xor_sync(~0u, s, k);
    for (int i = threadIdx.x; i < pairs; i += 32) {
        float2 v = __half22float2(in[i]);
        y[(size_t)blockIdx.x * pairs + i] = __floats2half2_rn(__expf(v.x - m) / s, __fdividef(__expf(v.y - m), s));
    }
}

// Reductions: shared-memory tree, warp shuffles, and one that ends with an atomic.
extern "C" __global__ void reduce_tree(const float *x, float *out, int n)
{
    __shared__ float s[256];
    float v = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i];
    s[threadIdx.x] = v;
    __syncthreads();
    for (int k = blockDim.x / 2; k > 0; k /= 2) {
        if (threadIdx.x < k) s[threadIdx.x] += s[threadIdx.x + k];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = s[0];
}

extern "C" __global__ void reduce_shuffle(const int *x, int *out, int n)
{
    __shared__ int part[32];
    int v = 0, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i];
    for (int k = 16; k > 0; k /= 2) v += __shfl_xor_sync(0xffffffffu, v, k);
    if (lane == 0) part[warp] = v;
    __syncthreads();
    if (warp == 0) {
        v = lane < (blockDim.x + 31) / 32 ? part[lane] : 0;
        for (int k = 16; k > 0; k /= 2) v += __shfl_down_sync(0xffffffffu, v, k);
        if (lane == 0) atomicAdd(out, v);
    }
}

extern "C" __global__ void reduce_max_f64(const double *x, double *out, int n)
{
    double m = -1.0 / 0.0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) m = fmax(m, x[i]);
    for (int k = 16; k > 0; k /= 2) m = fmax(m, __shfl_xor_sync(0xffffffffu, m, k));
    __shared__ double s[32];
    if ((threadIdx.x & 31) == 0) s[threadIdx.x / 32] = m;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < blockDim.x / 32; i++) m = fmax(m, s[i]);
        *out = m;
    }
}

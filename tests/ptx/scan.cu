// Inclusive prefix sums: Hillis-Steele in shared memory (double buffered), and by shuffles with block carry.
extern "C" __global__ void scan_shared(const int *x, int *y, int n)
{
    extern __shared__ int buf[];
    int t = threadIdx.x, in = 0;
    buf[t] = t < n ? x[blockIdx.x * n + t] : 0;
    __syncthreads();
    for (int k = 1; k < blockDim.x; k *= 2) {
        int *src = buf + in * blockDim.x, *dst = buf + (1 - in) * blockDim.x;
        dst[t] = t >= k ? src[t] + src[t - k] : src[t];
        in = 1 - in;
        __syncthreads();
    }
    if (t < n) y[blockIdx.x * n + t] = buf[in * blockDim.x + t];
}

extern "C" __global__ void scan_shuffle(const unsigned *x, unsigned *y, int n)
{
    __shared__ unsigned total[33];
    unsigned lane = threadIdx.x & 31, warp = threadIdx.x >> 5, carry = 0;
    for (int base = 0; base < n; base += blockDim.x) {
        int i = base + threadIdx.x;
        unsigned v = i < n ? x[i] : 0;
        for (int k = 1; k < 32; k *= 2) {
            unsigned u = __shfl_up_sync(0xffffffffu, v, k);
            if (lane >= k) v += u;
        }
        if (lane == 31) total[warp] = v;
        __syncthreads();
        if (warp == 0) {
            unsigned s = lane < blockDim.x / 32 ? total[lane] : 0;
            for (int k = 1; k < 32; k *= 2) {
                unsigned u = __shfl_up_sync(0xffffffffu, s, k);
                if (lane >= k) s += u;
            }
            total[lane] = s;
        }
        __syncthreads();
        v += carry + (warp ? total[warp - 1] : 0);
        if (i < n) y[i] = v;
        carry += total[blockDim.x / 32 - 1];
        __syncthreads();
    }
}

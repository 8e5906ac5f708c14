// A bitonic sort in shared memory, a radix sort of one block (ballot based), and an odd-even merge.
extern "C" __global__ void sort_bitonic(float *x, int n)
{
    extern __shared__ float s[];
    for (int i = threadIdx.x; i < n; i += blockDim.x) s[i] = x[blockIdx.x * n + i];
    __syncthreads();
    for (int k = 2; k <= n; k *= 2)
        for (int j = k / 2; j > 0; j /= 2) {
            for (int i = threadIdx.x; i < n; i += blockDim.x) {
                int p = i ^ j;
                if (p > i) {
                    float a = s[i], b = s[p];
                    if ((a > b) == ((i & k) == 0)) s[i] = b, s[p] = a;
                }
            }
            __syncthreads();
        }
    for (int i = threadIdx.x; i < n; i += blockDim.x) x[blockIdx.x * n + i] = s[i];
}

extern "C" __global__ void sort_radix(unsigned *keys, unsigned *vals, int n) // n <= blockDim.x
{
    __shared__ unsigned k[1024], v[1024], warp_zeros[33];
    unsigned t = threadIdx.x, lane = t & 31, warp = t >> 5, warps = blockDim.x / 32;
    unsigned key = t < n ? keys[t] : 0xffffffffu, val = t < n ? vals[t] : 0;
    for (int bit = 0; bit < 32; bit++) {
        bool zero = !(key >> bit & 1);
        unsigned ballot = __ballot_sync(0xffffffffu, zero), before = __popc(ballot & ((1u << lane) - 1));
        if (lane == 0) warp_zeros[warp] = __popc(ballot);
        __syncthreads();
        unsigned zeros = 0, mine = 0;
        for (unsigned w = 0; w < warps; w++) {
            if (w == warp) mine = zeros;
            zeros += warp_zeros[w];
        }
        unsigned z = mine + before, pos = zero ? z : zeros + t - z;
        k[pos] = key, v[pos] = val;
        __syncthreads();
        key = k[t], val = v[t];
        __syncthreads();
    }
    if (t < n) keys[t] = key, vals[t] = val;
}

// Divergent loops with early returns, nested ifs with barriers after them, and a loop with break and continue.
extern "C" __global__ void collatz(const unsigned *x, unsigned *steps, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned long long v = x[i];
    unsigned k = 0;
    while (v != 1) {
        if (k == 500) {
            steps[i] = 0xffffffffu;
            return;
        }
        if (v & 1) v = 3 * v + 1;
        else v /= 2;
        k++;
        if (v > 1ull << 40) break;
    }
    steps[i] = k;
}

extern "C" __global__ void nested(const int *x, int *out, int n)
{
    __shared__ int s[128];
    int t = threadIdx.x, i = blockIdx.x * 128 + t, v = i < n ? x[i] : 0, acc = 0;
    for (int k = 0; k < (v & 7); k++) {
        if ((v + k) % 3 == 0) continue;
        for (int j = 0; j < ((v >> 3) & 3); j++) {
            if (j == 2 && k == 3) goto out;
            acc += k * j + (v & 15);
        }
    }
out:
    s[t] = acc;
    __syncthreads();
    if (t < 64) {
        if (v & 1) acc += s[t + 64];
        else acc -= s[127 - t];
    }
    __syncthreads();
    if (i < n) out[i] = acc + s[t ^ 1];
}

// every warp leaves early but the first; barriers afterwards count only who is left
extern "C" __global__ void early(int *out)
{
    if (threadIdx.x >= 32) {
        out[threadIdx.x] = -1;
        return;
    }
    __syncthreads();
    out[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] += out[31 - threadIdx.x] * 0;
}

// Histograms with atomics in shared and global memory, and atomics of every kind on one word.
extern "C" __global__ void histogram(const unsigned char *x, unsigned *bins, int n)
{
    __shared__ unsigned s[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) s[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&s[x[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
        if (s[i]) atomicAdd(&bins[i], s[i]);
}

// out: add u32, add u64, min s32, max s32, min u32, max u32, and, or, xor, inc, dec, float add by CAS, f64 add, exch sum
extern "C" __global__ void atomics(const int *x, unsigned *u, unsigned long long *w, float *f, double *d, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = x[i];
    atomicAdd(&u[0], (unsigned)v);
    atomicMin((int *)&u[1], v);
    atomicMax((int *)&u[2], v);
    atomicMin(&u[3], (unsigned)v);
    atomicMax(&u[4], (unsigned)v);
    atomicAnd(&u[5], (unsigned)v | 0xff);
    atomicOr(&u[6], (unsigned)v & 0xffff);
    atomicXor(&u[7], (unsigned)v);
    unsigned t = atomicInc(&u[8], 100);
    atomicAdd(&u[9], t);
    atomicDec(&u[10], 37);
    atomicAdd(&w[0], (unsigned long long)(long long)v);
    atomicMax(&w[1], (unsigned long long)(unsigned)v * 3ull);
    atomicAdd(&f[0], 1.0f);
    atomicAdd(&d[0], 0.5 * (v & 15));
    unsigned old = u[11], seen;
    do {
        seen = old;
        old = atomicCAS(&u[11], seen, seen + (v & 7));
    } while (old != seen);
    unsigned gone = atomicExch(&u[12], (unsigned)(v & 255) + 1);
    atomicAdd(&u[13], gone); // everything but the last value passes through here
}

// Blocks of CUB as libraries and other people's kernels use them: loads through shared memory, scans with an operator of
// the user's, radix and merge sorts, an argmax over pairs.
#include <cub/cub.cuh>

extern "C" __global__ void cub_scan(const int *x, int *y, int n)
{
    using load = cub::BlockLoad<int, 128, 4, cub::BLOCK_LOAD_TRANSPOSE>;
    using store = cub::BlockStore<int, 128, 4, cub::BLOCK_STORE_TRANSPOSE>;
    using scan = cub::BlockScan<int, 128>;
    __shared__ union {
        typename load::TempStorage l;
        typename store::TempStorage w;
        typename scan::TempStorage s;
    } t;
    int v[4], base = blockIdx.x * 512;
    load(t.l).Load(x + base, v, n - base, 0);
    __syncthreads();
    scan(t.s).ExclusiveSum(v, v);
    __syncthreads();
    store(t.w).Store(y + base, v, n - base);
}

extern "C" __global__ void cub_sort(const unsigned *x, unsigned *y)
{
    using sort = cub::BlockRadixSort<unsigned, 128, 8>;
    __shared__ typename sort::TempStorage t;
    unsigned v[8];
    for (int i = 0; i < 8; i++) v[i] = x[blockIdx.x * 1024 + threadIdx.x * 8 + i];
    sort(t).Sort(v);
    for (int i = 0; i < 8; i++) y[blockIdx.x * 1024 + threadIdx.x * 8 + i] = v[i];
}

// Indices of x, greatest first; equal ones in order.
extern "C" __global__ void cub_top(const float *x, int *y)
{
    using sort = cub::BlockRadixSort<float, 64, 4, int>;
    __shared__ typename sort::TempStorage t;
    float v[4];
    int at[4];
    for (int i = 0; i < 4; i++) at[i] = threadIdx.x * 4 + i, v[i] = x[at[i]];
    sort(t).SortDescending(v, at);
    for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = at[i];
}

struct less {
    __device__ bool operator()(int a, int b) const { return a < b; }
};
extern "C" __global__ void cub_merge(const int *x, int *y)
{
    using sort = cub::WarpMergeSort<int, 4, 32>;
    __shared__ typename sort::TempStorage t[2];
    int v[4];
    for (int i = 0; i < 4; i++) v[i] = x[threadIdx.x * 4 + i];
    sort(t[threadIdx.x / 32]).Sort(v, less());
    for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = v[i];
}

struct piece {
    int head;
    float sum;
};
struct join {
    __device__ piece operator()(piece a, piece b) const
    {
        return {a.head | b.head, b.head ? b.sum : a.sum + b.sum};
    }
};
extern "C" __global__ void cub_segments(const int *head, const float *x, float *y)
{
    using scan = cub::BlockScan<piece, 192>;
    __shared__ typename scan::TempStorage t;
    piece p = {head[threadIdx.x], x[threadIdx.x]};
    scan(t).InclusiveScan(p, p, join());
    y[threadIdx.x] = p.sum;
}

extern "C" __global__ void cub_argmax(const float *x, int *y, int n)
{
    using pair = cub::KeyValuePair<int, float>;
    using best = cub::BlockReduce<pair, 160>;
    __shared__ typename best::TempStorage t;
    pair p(0, -3e38f);
    for (int i = threadIdx.x; i < n; i += 160)
        if (x[i] > p.value) p = pair(i, x[i]);
    p = best(t).Reduce(p, cub::ArgMax());
    if (threadIdx.x == 0) *y = p.key;
}

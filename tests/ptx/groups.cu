// Cooperative groups and libcu++: tiles, coalesced and labelled groups, barriers of the whole grid, pipelines of
// asynchronous copies (one role, producers and consumers), split barriers, atomic_ref, a spin lock, the last block.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cuda/atomic>
#include <cuda/barrier>
#include <cuda/pipeline>
namespace cg = cooperative_groups;

// y: 4 words a thread: sum of the warp, greatest of eight lanes, exclusive sum of eight, inclusive sum of the warp.
extern "C" __global__ void tiles(const int *x, int *y, int n)
{
    cg::thread_block block = cg::this_thread_block();
    auto warp = cg::tiled_partition<32>(block);
    auto eight = cg::tiled_partition<8>(warp);
    int t = block.thread_rank(), v = t < n ? x[t] : 0;
    y[4 * t] = cg::reduce(warp, v, cg::plus<int>());
    y[4 * t + 1] = cg::reduce(eight, v, cg::greater<int>());
    y[4 * t + 2] = cg::exclusive_scan(eight, v);
    y[4 * t + 3] = cg::inclusive_scan(warp, v, cg::plus<int>());
}

// The odd elements, in any order of warps; one atomic a warp.
extern "C" __global__ void pick_odd(const int *x, int *y, int *count)
{
    int v = x[threadIdx.x];
    if (!(v & 1)) return;
    auto g = cg::coalesced_threads();
    int base = 0;
    if (g.thread_rank() == 0) base = atomicAdd(count, g.size());
    y[g.shfl(base, 0) + g.thread_rank()] = v;
}

// y: 2 words a thread: sum over the lanes with the same x mod 5; 100 * lanes of the same parity + own rank there.
extern "C" __global__ void labels(const int *x, int *y)
{
    auto warp = cg::tiled_partition<32>(cg::this_thread_block());
    int v = x[threadIdx.x];
    auto same = cg::labeled_partition(warp, v % 5);
    auto half = cg::binary_partition(warp, v & 1);
    y[2 * threadIdx.x] = (int)cg::reduce(same, (float)v, cg::plus<float>());
    y[2 * threadIdx.x + 1] = half.size() * 100 + half.thread_rank();
}

// Four rounds; each reads what other blocks wrote in the one before.
extern "C" __global__ void rounds(int *x, int n)
{
    cg::grid_group grid = cg::this_grid();
    for (int r = 0; r < 4; r++) {
        for (int i = grid.thread_rank(); i < n; i += grid.size()) x[(r + 1) * n + i] = x[r * n + (i * 7 + 3) % n] + 1;
        grid.sync();
    }
}

// Tiles of x through two stages; each thread sums one element of every tile, reversed.
extern "C" __global__ void pipe_block(const float *x, float *y, int tiles)
{
    __shared__ __align__(16) float s[2][128];
    __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
    auto block = cg::this_thread_block();
    auto pipe = cuda::make_pipeline(block, &state);
    float sum = 0;
    for (int t = -1; t < tiles; t++) {
        if (t + 1 < tiles) {
            pipe.producer_acquire();
            cuda::memcpy_async(block, s[(t + 1) & 1], x + (t + 1) * 128, cuda::aligned_size_t<16>(512), pipe);
            pipe.producer_commit();
        }
        if (t < 0) continue;
        pipe.consumer_wait();
        sum += s[t & 1][127 - threadIdx.x];
        pipe.consumer_release();
    }
    y[threadIdx.x] = sum;
}

extern "C" __global__ void pipe_roles(const float *x, float *y, int tiles)
{
    __shared__ float s[2][64];
    __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
    auto role = threadIdx.x < 64 ? cuda::pipeline_role::producer : cuda::pipeline_role::consumer;
    auto pipe = cuda::make_pipeline(cg::this_thread_block(), &state, role);
    int t = threadIdx.x & 63;
    float sum = 0;
    for (int k = 0; k < tiles; k++) {
        if (role == cuda::pipeline_role::producer) {
            pipe.producer_acquire();
            cuda::memcpy_async(&s[k & 1][t], x + k * 64 + t, sizeof(float), pipe);
            pipe.producer_commit();
        } else {
            pipe.consumer_wait();
            sum += s[k & 1][63 - t];
            pipe.consumer_release();
        }
    }
    if (role == cuda::pipeline_role::consumer) y[t] = sum;
}

// Inclusive sums of 128, reversed, with arrive and wait apart.
extern "C" __global__ void split_barrier(int *x)
{
    __shared__ cuda::barrier<cuda::thread_scope_block> bar;
    __shared__ int s[128];
    int t = threadIdx.x;
    if (t == 0) init(&bar, 128);
    __syncthreads();
    s[t] = x[t];
    for (int d = 1; d < 128; d *= 2) {
        auto token = bar.arrive();
        bar.wait(std::move(token));
        int v = t >= d ? s[t - d] : 0;
        bar.arrive_and_wait();
        s[t] += v;
    }
    bar.arrive_and_wait();
    x[t] = s[127 - t];
}

extern "C" __global__ void atomics64(unsigned long long *a, double *d, long long *low)
{
    unsigned long long t = threadIdx.x, old = a[3], seen;
    cuda::atomic_ref<unsigned long long, cuda::thread_scope_device> sum(a[0]);
    sum.fetch_add(t + 1, cuda::memory_order_relaxed);
    atomicMax(&a[1], t * 0x100000001ull);
    atomicXor(&a[2], t << 40 | t);
    atomicAdd(d, 0.5);
    atomicMin(low, -(long long)t);
    do {
        seen = old;
        old = atomicCAS(&a[3], seen, seen * 3 + 1);
    } while (old != seen);
}

extern "C" __global__ void spin_lock(int *lock, int *v)
{
    if (threadIdx.x % 32) return;
    while (atomicCAS(lock, 0, 1)) __nanosleep(20);
    __threadfence();
    *(volatile int *)v = *(volatile int *)v + 1;
    __threadfence();
    atomicExch(lock, 0);
}

extern "C" __global__ void last_block(const int *x, int *part, unsigned *done, int *out, int n)
{
    __shared__ int s[128];
    __shared__ bool last;
    int v = 0;
    for (int i = blockIdx.x * 128 + threadIdx.x; i < n; i += 128 * gridDim.x) v += x[i];
    s[threadIdx.x] = v;
    __syncthreads();
    for (int d = 64; d; d /= 2) {
        if (threadIdx.x < d) s[threadIdx.x] += s[threadIdx.x + d];
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        part[blockIdx.x] = s[0];
        __threadfence();
        last = atomicInc(done, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last || threadIdx.x) return;
    __threadfence();
    for (int i = v = 0; i < gridDim.x; i++) v += ((volatile int *)part)[i];
    *out = v;
}

// mbarriers: a producer warp and consumer warps over a two-stage ring of plain stores; sm_80 and later.
#include <stdint.h>
__device__ static uint32_t smem_addr(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ static void wait_state(uint32_t bar, uint64_t state)
{
    uint32_t done;
    do asm volatile("{ .reg .pred p; mbarrier.test_wait.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }" : "=r"(done) : "r"(bar), "l"(state) : "memory");
    while (!done);
}
extern "C" __global__ void ring_sum(const int *x, int *out, int n) // blockDim 128: warp 0 produces, 1-3 consume
{
    __shared__ int buf[2][96];
    __shared__ __align__(8) uint64_t full[2], empty[2];
    int t = threadIdx.x;
    if (t == 0)
        for (int s = 0; s < 2; s++) {
            asm volatile("mbarrier.init.shared.b64 [%0], 32;" ::"r"(smem_addr(&full[s])) : "memory");
            asm volatile("mbarrier.init.shared.b64 [%0], 96;" ::"r"(smem_addr(&empty[s])) : "memory");
        }
    __syncthreads();
    int rounds = (n + 95) / 96, sum = 0;
    uint64_t state;
    if (t < 32) {
        for (int r = 0; r < rounds; r++) {
            int s = r & 1;
            if (r >= 2) { // parity of the empty barrier's phase r / 2 - 1
                uint32_t done, par = (r / 2 - 1) & 1;
                do asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }" : "=r"(done) : "r"(smem_addr(&empty[s])), "r"(par) : "memory");
                while (!done);
            }
            for (int i = t; i < 96; i += 32) buf[s][i] = r * 96 + i < n ? x[r * 96 + i] : 0;
            asm volatile("mbarrier.arrive.shared.b64 %0, [%1];" : "=l"(state) : "r"(smem_addr(&full[s])) : "memory");
        }
    } else {
        for (int r = 0; r < rounds; r++) {
            int s = r & 1;
            uint32_t done, par = r / 2 & 1;
            do asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }" : "=r"(done) : "r"(smem_addr(&full[s])), "r"(par) : "memory");
            while (!done);
            sum += buf[s][t - 32] * (r + 1);
            asm volatile("mbarrier.arrive.shared.b64 %0, [%1];" : "=l"(state) : "r"(smem_addr(&empty[s])) : "memory");
        }
        out[t - 32] = sum;
    }
}
extern "C" __global__ void phases(int *out) // every thread arrives and waits for its own phase, ten times
{
    __shared__ __align__(8) uint64_t bar;
    __shared__ int v[64];
    if (threadIdx.x == 0) asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(smem_addr(&bar)), "r"(blockDim.x) : "memory");
    __syncthreads();
    v[threadIdx.x] = threadIdx.x;
    for (int r = 0; r < 10; r++) {
        uint64_t s;
        asm volatile("mbarrier.arrive.shared.b64 %0, [%1];" : "=l"(s) : "r"(smem_addr(&bar)) : "memory");
        wait_state(smem_addr(&bar), s);
        int w = v[(threadIdx.x + 1) % blockDim.x];
        asm volatile("mbarrier.arrive.shared.b64 %0, [%1];" : "=l"(s) : "r"(smem_addr(&bar)) : "memory");
        wait_state(smem_addr(&bar), s);
        v[threadIdx.x] = w;
    }
    out[threadIdx.x] = v[threadIdx.x];
}

// sm_90a: TMA loads into swizzled shared memory, wgmma m64n64k16, TMA store; clusters with multicast and
// distributed shared memory; bulk copies; stmatrix, elect.
#include <cuda_fp16.h>
#include <stdint.h>
struct alignas(64) map128 { char b[128]; };
__device__ static uint32_t smem_addr(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ static void wait_parity(uint32_t bar, uint32_t par)
{
    asm volatile("{\n.reg .pred p;\nW_%=:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra W_%=;\n}" ::"r"(bar), "r"(par) : "memory");
}
__device__ static uint64_t desc(uint32_t addr) { return (addr & 0x3ffff) >> 4 | 1ull << 16 | 64ull << 32 | 1ull << 62; } // 128-byte swizzle

// C[m][n] = A[m][k] B[n][k]^T; one warpgroup computes 64 x 64; two-stage ring.
extern "C" __global__ void __launch_bounds__(128) tma_gemm(const __grid_constant__ map128 ta, const __grid_constant__ map128 tb, const __grid_constant__ map128 tc, int k)
{
    extern __shared__ __align__(1024) unsigned char sm[];
    __shared__ __align__(8) uint64_t full[2];
    uint32_t base = smem_addr(sm), t = threadIdx.x;
    if (t == 0) {
        for (int s = 0; s < 2; s++) asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(smem_addr(&full[s])) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("prefetch.tensormap [%0];" ::"l"(&ta) : "memory");
    }
    __syncthreads();
    int tiles = (k + 63) / 64;
    float c[32];
    for (int i = 0; i < 32; i++) c[i] = 0;
    auto issue = [&](int tile) {
        uint32_t s = tile & 1, bar = smem_addr(&full[s]), d = base + s * 16384;
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(16384) : "memory");
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(d), "l"(&ta), "r"(tile * 64), "r"(blockIdx.y * 64), "r"(bar) : "memory");
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(d + 8192), "l"(&tb), "r"(tile * 64), "r"(blockIdx.x * 64), "r"(bar) : "memory");
    };
    if (t == 0) issue(0);
    for (int tile = 0; tile < tiles; tile++) {
        if (t == 0 && tile + 1 < tiles) issue(tile + 1);
        wait_parity(smem_addr(&full[tile & 1]), tile >> 1 & 1);
        uint64_t da = desc(base + (tile & 1) * 16384), db = desc(base + (tile & 1) * 16384 + 8192);
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        for (int q = 0; q < 4; q++)
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"
                         "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, p, 1, 1, 0, 0;\n}"
                         : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]),
                           "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31])
                         : "l"(da + 2 * q), "l"(db + 2 * q));
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
        __syncthreads();
    }
    // C through shared memory with stmatrix (no swizzle: rows of 128 bytes), then one TMA store
    uint32_t lane = t & 31, w = t >> 5;
    for (int j = 0; j < 4; j++) {
        uint32_t r[4];
        for (int h = 0; h < 4; h++) {
            __half2 v = __floats2half2_rn(c[8 * j + 2 * h], c[8 * j + 2 * h + 1]);
            r[h] = *(uint32_t *)&v;
        }
        uint32_t p = base + (16 * w + (lane & 7) + (lane >> 3 & 1) * 8) * 128 + (2 * j + (lane >> 4)) * 16;
        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(p), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]) : "memory");
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    if (t == 0) {
        asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&tc), "r"(blockIdx.x * 64), "r"(blockIdx.y * 64), "r"(base) : "memory");
        asm volatile("cp.async.bulk.commit_group;" ::: "memory");
        asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
    }
}

// A cluster of two: block 0 multicasts a tile to both; each block then reads the other's counter through shared::cluster.
extern "C" __global__ void __cluster_dims__(2, 1, 1) cluster_exchange(const __grid_constant__ map128 tx, int *out)
{
    __shared__ __align__(128) int buf[256];
    __shared__ __align__(8) uint64_t bar;
    __shared__ int mine;
    uint32_t rank, t = threadIdx.x;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    if (t == 0) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(smem_addr(&bar)) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], 1024;" ::"r"(smem_addr(&bar)) : "memory");
        mine = 100 + rank;
    }
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
    if (rank == 0 && t == 0)
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(smem_addr(buf)), "l"(&tx), "r"(-3), "r"((int)(blockIdx.x / 2) * 8), "r"(smem_addr(&bar)), "h"((short)3) : "memory");
    wait_parity(smem_addr(&bar), 0);
    uint32_t remote, v;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(smem_addr(&mine)), "r"(rank ^ 1));
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(v) : "r"(remote) : "memory");
    out[blockIdx.x * 256 + t] = buf[t] * 1000 + v;
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

// Plain bulk copies both ways and an elected thread.
extern "C" __global__ void bulk(const int *x, int *y, int n) // n <= 1024, a multiple of 4
{
    __shared__ __align__(128) int buf[1024];
    __shared__ __align__(8) uint64_t bar;
    uint32_t elected = 0, t = threadIdx.x;
    asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p; }" : "=r"(elected));
    if (t == 0) asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\nfence.mbarrier_init.release.cluster;" ::"r"(smem_addr(&bar)) : "memory");
    __syncthreads();
    if (t < 32 && elected) {
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(smem_addr(&bar)), "r"(n * 4) : "memory");
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(smem_addr(buf)), "l"(x), "r"(n * 4), "r"(smem_addr(&bar)) : "memory");
    }
    wait_parity(smem_addr(&bar), 0);
    for (int i = t; i < n; i += blockDim.x) buf[i] = buf[i] * 3 + i;
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    if (t < 32 && elected) {
        asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(y), "r"(smem_addr(buf)), "r"(n * 4) : "memory");
        asm volatile("cp.async.bulk.commit_group;\ncp.async.bulk.wait_group.read 0;" ::: "memory");
    }
}

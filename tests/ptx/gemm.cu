// A 64x64x32 GEMM tile loop: three-stage cp.async ring, swizzled shared memory, ldmatrix, mma.m16n8k16.
#include <cuda_fp16.h>
#include <stdint.h>
enum { STAGES = 3, BM = 64, BN = 64, BK = 32 };
__device__ static uint32_t smem_addr(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ static void copy16(uint32_t d, const void *s, bool ok)
{
    int n = ok ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(d), "l"(s), "r"(n) : "memory");
}
// rows of 64 bytes: 16-byte chunk c of row r stands at c ^ ((r >> 1) & 3)
__device__ static uint32_t at(int r, int c) { return r * 64 + ((c ^ (r >> 1 & 3)) << 4); }

extern "C" __global__ void gemm(const half *a, const half *b, half *c, int m, int n, int k)
{
    extern __shared__ __align__(128) unsigned char ring[];
    uint32_t base = smem_addr(ring);
    int t = threadIdx.x, lane = t & 31, warp = t >> 5, wm = (warp & 1) * 32, wn = (warp >> 1) * 32;
    int m0 = blockIdx.y * BM, n0 = blockIdx.x * BN, tiles = (k + BK - 1) / BK;
    float acc[2][4][4] = {};
    auto issue = [&](int tile) {
        uint32_t s = base + tile % STAGES * (BM + BN) * 64;
        for (int i = t; i < (BM + BN) * 4; i += blockDim.x) {
            int r = i >> 2, ch = i & 3, kk = tile * BK + ch * 8;
            bool is_a = r < BM;
            int row = is_a ? m0 + r : n0 + r - BM;
            bool ok = tile < tiles && kk < k && row < (is_a ? m : n);
            const half *src = is_a ? a : b;
            copy16(s + at(r, ch), src + (ok ? (size_t)row * k + kk : 0), ok);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    for (int s = 0; s < STAGES - 1; s++) issue(s);
    for (int tile = 0; tile < tiles; tile++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
        __syncthreads();
        issue(tile + STAGES - 1);
        uint32_t s = base + tile % STAGES * (BM + BN) * 64;
        for (int ks = 0; ks < 2; ks++) {
            uint32_t fa[2][4], fb[4][2];
            for (int i = 0; i < 2; i++) {
                uint32_t p = s + at(wm + 16 * i + (lane & 15), 2 * ks + (lane >> 4));
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(fa[i][0]), "=r"(fa[i][1]), "=r"(fa[i][2]), "=r"(fa[i][3]) : "r"(p) : "memory");
            }
            for (int j = 0; j < 2; j++) {
                uint32_t p = s + at(BM + wn + 16 * j + (lane & 7) + (lane >> 4) * 8, 2 * ks + (lane >> 3 & 1));
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(fb[2 * j][0]), "=r"(fb[2 * j][1]), "=r"(fb[2 * j + 1][0]), "=r"(fb[2 * j + 1][1]) : "r"(p) : "memory");
            }
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 4; j++)
                    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                                 : "+f"(acc[i][j][0]), "+f"(acc[i][j][1]), "+f"(acc[i][j][2]), "+f"(acc[i][j][3])
                                 : "r"(fa[i][0]), "r"(fa[i][1]), "r"(fa[i][2]), "r"(fa[i][3]), "r"(fb[j][0]), "r"(fb[j][1]));
        }
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            for (int e = 0; e < 4; e++) {
                int r = m0 + wm + 16 * i + lane / 4 + 8 * (e >> 1), cc = n0 + wn + 8 * j + 2 * (lane & 3) + (e & 1);
                if (r < m && cc < n) c[(size_t)r * n + cc] = __float2half_rn(acc[i][j][e]);
            }
}

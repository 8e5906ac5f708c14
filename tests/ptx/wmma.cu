// wmma: f16 and s8 tiles, all three shapes of f16, loads from shared and global memory in both layouts.
#include <mma.h>
using namespace nvcuda::wmma;
extern "C" __global__ void wmma_f16(const half *a, const half *b, float *c, int m, int n, int k)
{
    int wm = blockIdx.y * 16, wn = blockIdx.x * 16;
    fragment<matrix_a, 16, 16, 16, half, row_major> fa;
    fragment<matrix_b, 16, 16, 16, half, col_major> fb;
    fragment<accumulator, 16, 16, 16, float> acc;
    fill_fragment(acc, 0.0f);
    for (int x = 0; x < k; x += 16) {
        load_matrix_sync(fa, a + wm * k + x, k);
        load_matrix_sync(fb, b + wn * k + x, k);
        mma_sync(acc, fa, fb, acc);
    }
    for (int i = 0; i < acc.num_elements; i++) acc.x[i] *= 0.5f;
    store_matrix_sync(c + wm * n + wn, acc, n, mem_row_major);
}
extern "C" __global__ void wmma_s8(const signed char *a, const signed char *b, int *c, int n, int k)
{
    __shared__ __align__(32) signed char sb[16 * 16];
    fragment<matrix_a, 16, 16, 16, signed char, row_major> fa;
    fragment<matrix_b, 16, 16, 16, signed char, row_major> fb;
    fragment<accumulator, 16, 16, 16, int> acc;
    fill_fragment(acc, 7);
    for (int x = 0; x < k; x += 16) {
        for (int i = threadIdx.x; i < 256; i += 32) sb[i] = b[(x + i / 16) * n + blockIdx.x * 16 + i % 16];
        __syncwarp();
        load_matrix_sync(fa, a + blockIdx.y * 16 * k + x, k);
        load_matrix_sync(fb, sb, 16);
        mma_sync(acc, fa, fb, acc);
        __syncwarp();
    }
    store_matrix_sync(c + blockIdx.y * 16 * n + blockIdx.x * 16, acc, n, mem_row_major);
}
extern "C" __global__ void wmma_shapes(const half *a, const half *b, half *c) // 32 x 8 and 8 x 32, k = 16
{
    if (blockIdx.x == 0) {
        fragment<matrix_a, 32, 8, 16, half, col_major> fa;
        fragment<matrix_b, 32, 8, 16, half, row_major> fb;
        fragment<accumulator, 32, 8, 16, half> acc;
        fill_fragment(acc, __float2half(1.0f));
        load_matrix_sync(fa, a, 32);
        load_matrix_sync(fb, b, 8);
        mma_sync(acc, fa, fb, acc);
        store_matrix_sync(c, acc, 32, mem_col_major);
    } else {
        fragment<matrix_a, 8, 32, 16, half, row_major> fa;
        fragment<matrix_b, 8, 32, 16, half, row_major> fb;
        fragment<accumulator, 8, 32, 16, half> acc;
        fill_fragment(acc, __float2half(1.0f));
        load_matrix_sync(fa, a, 16);
        load_matrix_sync(fb, b, 32);
        mma_sync(acc, fa, fb, acc);
        store_matrix_sync(c + 256, acc, 32, mem_row_major);
    }
}

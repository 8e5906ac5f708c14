// Tiled transposes of ragged matrices: padded tile, and one with a XOR swizzle on 16-bit elements.
extern "C" __global__ void transpose_f32(const float *x, float *y, int rows, int cols)
{
    __shared__ float tile[32][33];
    int c = blockIdx.x * 32 + threadIdx.x, r = blockIdx.y * 32 + threadIdx.y;
    for (int k = 0; k < 32; k += 8)
        if (c < cols && r + k < rows) tile[threadIdx.y + k][threadIdx.x] = x[(r + k) * (size_t)cols + c];
    __syncthreads();
    c = blockIdx.y * 32 + threadIdx.x, r = blockIdx.x * 32 + threadIdx.y;
    for (int k = 0; k < 32; k += 8)
        if (c < rows && r + k < cols) y[(r + k) * (size_t)rows + c] = tile[threadIdx.x][threadIdx.y + k];
}

extern "C" __global__ void transpose_u16(const unsigned short *x, unsigned short *y, int n)
{
    __shared__ unsigned short tile[64 * 64];
    for (int i = threadIdx.x; i < 64 * 64; i += blockDim.x) {
        int r = i / 64, c = i % 64, gr = blockIdx.y * 64 + r, gc = blockIdx.x * 64 + c;
        tile[r * 64 + (c ^ (r & 31))] = gr < n && gc < n ? x[gr * n + gc] : 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 64 * 64; i += blockDim.x) {
        int c = i / 64, r = i % 64, gr = blockIdx.y * 64 + r, gc = blockIdx.x * 64 + c;
        if (gr < n && gc < n) y[gc * n + gr] = tile[r * 64 + (c ^ (r & 31))];
    }
}

// Votes, match, redux, shuffles with segments, activemask in divergent code. out has 16 words a thread.
extern "C" __global__ void warp_ops(const int *x, unsigned *out)
{
    unsigned t = threadIdx.x, lane = t & 31;
    unsigned *o = out + 16 * (blockIdx.x * blockDim.x + t);
    int v = x[blockIdx.x * blockDim.x + t];
    o[0] = __ballot_sync(~0u, v & 1);
    o[1] = __any_sync(~0u, v == 7) | __all_sync(~0u, v >= 0) << 1;
    o[2] = __match_any_sync(~0u, v & 3);
    int pred;
    o[3] = __match_all_sync(~0u, v >> 31, &pred);
    o[4] = pred;
    o[5] = __shfl_sync(~0u, v, (lane * 7 + 3) & 31);
    o[6] = __shfl_up_sync(~0u, v, 3, 8);
    o[7] = __shfl_down_sync(~0u, v, 5, 16);
    o[8] = __shfl_xor_sync(~0u, v, 9, 16);
    if (v & 1) { // divergent: the two sides see each other's masks only
        unsigned m = __match_any_sync(o[0], v & 6);
        o[9] = m;
        o[10] = __ballot_sync(o[0], v & 2);
    } else {
        o[9] = 0x80000000u | __popc(~o[0]);
        o[10] = __ballot_sync(~o[0], v & 4);
    }
    __syncwarp();
    o[11] = __brev(v) ^ __ffs(v) ^ __clz(v);
    o[12] = __popc(v) + 100 * __popcll((unsigned long long)v * 0x123456789ull);
    o[13] = __shfl_sync(~0u, (unsigned long long)(unsigned)v << 20 | lane, 31 - lane) >> 8;
    o[14] = __uint_as_float(0) < 1.0f ? lane : 0;
    o[15] = t / 32;
}
#if __CUDA_ARCH__ >= 800
extern "C" __global__ void warp_redux(const int *x, unsigned *out)
{
    unsigned t = threadIdx.x;
    int v = x[t];
    unsigned *o = out + 8 * t;
    o[0] = __reduce_add_sync(~0u, v);
    o[1] = __reduce_min_sync(~0u, v);
    o[2] = __reduce_max_sync(~0u, v);
    o[3] = __reduce_min_sync(~0u, (unsigned)v);
    o[4] = __reduce_max_sync(~0u, (unsigned)v);
    o[5] = __reduce_and_sync(~0u, (unsigned)v);
    o[6] = __reduce_or_sync(~0u, (unsigned)v);
    o[7] = __reduce_xor_sync(~0u, (unsigned)v);
}
#endif

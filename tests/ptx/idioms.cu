// Constant memory and module variables, a stack in local memory, a structure by value with a run-time index, 128-bit
// integers, loads and stores with cache hints.
struct parts {
    int a;
    double b;
    short c[5];
    float4 f;
};
__constant__ float table[64] = {1, 2, 3, 4, 5, 6, 7, 8};
__constant__ int2 pairs[3] = {{1, 2}, {3, 4}, {5, 6}};
__device__ float steps[8] = {.5f, .25f};
__device__ int calls;

extern "C" __global__ void constants(float *y, int *seen, int k)
{
    int i = threadIdx.x;
    y[i] = table[(i * k) & 63] + pairs[i % 3].y + steps[i & 7];
    if (i == 0) *seen = atomicAdd(&calls, k);
}

extern "C" __global__ void stack(const int *x, int *y, int n)
{
    int s[16], top = 0;
    for (int i = 0; i < n; i++) {
        int v = x[threadIdx.x * n + i];
        if (v < 0 && top > 0) y[threadIdx.x * n + i] = s[--top];
        else s[top & 15] = v, top = min(top + 1, 16), y[threadIdx.x * n + i] = top;
    }
}

extern "C" __global__ void by_value(parts p, double *y)
{
    y[threadIdx.x] = p.a + p.b + p.c[threadIdx.x % 5] + p.f.z;
}

extern "C" __global__ void wide(const unsigned long long *x, unsigned long long *y)
{
    int i = threadIdx.x;
    __int128 a = (__int128)x[2 * i] << 64 | x[2 * i + 1], b = a * a + (a >> 3);
    y[2 * i] = (unsigned long long)(b >> 64) ^ __umul64hi(x[2 * i], x[2 * i + 1]);
    y[2 * i + 1] = (unsigned long long)b;
}

extern "C" __global__ void hints(const float4 *__restrict__ x, float *y)
{
    int i = threadIdx.x;
    const float *f = (const float *)x;
    float4 v = __ldg(x + i);
    float w = __ldcg(f + i) + __ldcs(f + 5) + __ldlu(f + 3) + __ldcv(f + 2);
    __stcs(y + i, v.x + v.y + v.z + v.w);
    __stwt(y + 32 + i, w);
    __stcg(y + 64 + i, __ldca(f + i));
}

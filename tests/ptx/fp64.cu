// Doubles: arithmetic under every rounding, square roots, divisions, library functions inlined by nvcc.
extern "C" __global__ void doubles(const double *a, const double *b, double *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double x = a[i], y = b[i], *o = out + 12 * (size_t)i;
    o[0] = x + y;
    o[1] = __dadd_ru(x, y) - __dadd_rd(x, y);
    o[2] = __dmul_rz(x, y);
    o[3] = __fma_rn(x, y, x);
    o[4] = x / y;
    o[5] = sqrt(fabs(x));
    o[6] = fmin(x, y) + 2 * fmax(x, y);
    o[7] = exp(x * 0.125);
    o[8] = log(fabs(y) + 1.0);
    o[9] = sin(x) * cos(y);
    o[10] = rint(x * 100) + floor(y * 10) + trunc(x);
    o[11] = x < y ? copysign(x, y) : fma(x, x, -y);
}

extern "C" __global__ void floats(const float *a, const float *b, float *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float x = a[i], y = b[i], *o = out + 12 * (size_t)i;
    o[0] = __fadd_rz(x, y);
    o[1] = __fmul_ru(x, y) - __fmul_rd(x, y);
    o[2] = __fmaf_rn(x, y, 1.0f);
    o[3] = x / y;
    o[4] = sqrtf(fabsf(x));
    o[5] = rsqrtf(fabsf(y) + 0.5f);
    o[6] = expf(x) + exp2f(y);
    o[7] = logf(fabsf(x) + 0.1f) + log2f(fabsf(y) + 1.5f);
    o[8] = sinf(x * 3.0f) + cosf(y * 5.0f);
    o[9] = tanhf(x) + erff(y);
    o[10] = fminf(x, y) + powf(fabsf(x) + 0.5f, y);
    o[11] = __saturatef(x) + fmodf(y * 10.0f, 0.7f);
}

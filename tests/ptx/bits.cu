// prmt, lop3, bfe, bfi, funnel shifts, dp4a, dp2a, byte SIMD, carries, mul.hi, 64-bit divisions.
extern "C" __global__ void bit_ops(const unsigned *a, const unsigned *b, const unsigned *c, unsigned *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned x = a[i], y = b[i], z = c[i], r, *o = out + 24 * (size_t)i;
    o[0] = __byte_perm(x, y, z);
    asm("lop3.b32 %0, %1, %2, %3, 0xe8;" : "=r"(r) : "r"(x), "r"(y), "r"(z));
    o[1] = r;
    asm("bfe.u32 %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y & 63), "r"(z & 63));
    o[2] = r;
    asm("bfe.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y & 63), "r"(z & 63));
    o[3] = r;
    asm("bfi.b32 %0, %1, %2, %3, %4;" : "=r"(r) : "r"(x), "r"(y), "r"(z & 63), "r"(z >> 8 & 63));
    o[4] = r;
    o[5] = __funnelshift_l(x, y, z);
    o[6] = __funnelshift_rc(x, y, z & 63);
    o[7] = __dp4a((int)x, (int)y, (int)z);
    o[8] = __dp4a(x, y, z);
    o[9] = __dp2a_lo((int)x, (int)y, (int)z);
    o[10] = __dp2a_hi(x, y, z);
    o[11] = __vabsdiffu4(x, y);
    o[12] = __vadd4(x, y);
    o[13] = __sad((int)x, (int)y, z);
    o[14] = __umulhi(x, y) ^ (unsigned)__mulhi((int)x, (int)y);
    asm("{ .reg .u32 h; add.cc.u32 %0, %1, %2; addc.u32 h, %3, 0; xor.b32 %0, %0, h; }" : "=r"(r) : "r"(x), "r"(y), "r"(z));
    o[15] = r;
    unsigned long long w = (unsigned long long)x << 32 | y;
    o[16] = (unsigned)(w / (z | 1)) ^ (unsigned)(w % (z | 1));
    o[17] = (unsigned)((long long)w / (long long)((int)z | 1));
    o[18] = (int)x / ((int)y | 1) + (int)x % ((int)y | 1);
    asm("prmt.b32.f4e %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(z));
    o[19] = r;
    asm("prmt.b32.rc16 %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(z));
    o[20] = r;
    asm("bfind.s32 %0, %1;" : "=r"(r) : "r"(x));
    o[21] = r;
    o[22] = (unsigned)(unsigned char)x * (unsigned)(unsigned short)y + (unsigned)(int)(signed char)z;
    o[23] = min(max((int)x, (int)y), (int)z) ^ min(x, max(y, z)) ^ abs((int)z);
}

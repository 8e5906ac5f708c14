/* native.c: the machine this process runs on: cpuid for what the CPU can do, xgetbv for what the
 * system saves, the C library for caches and cores. Where a number is not to be had, a modest
 * default stays. */
#include <cpuid.h>
#include <string.h>
#include <unistd.h>

#include "target/internal.h"

static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

#define IF(reg, bit, NAME) f |= (uint64_t)((reg) >> (bit) & 1) << LL_FEAT_##NAME

static uint64_t probe(void)
{
    uint64_t f = 0;
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    IF(c, 20, SSE42);
    IF(c, 22, MOVBE);
    IF(c, 23, POPCNT);
    uint64_t saved = c >> 27 & 1 ? xcr0() : 0;
    bool ymm = (saved & 0x06) == 0x06, zmm = (saved & 0xe6) == 0xe6;
    if (ymm) {
        IF(c, 28, AVX);
        IF(c, 12, FMA);
        IF(c, 29, F16C);
    }
    uint32_t a7, b7, c7, d7;
    if (__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7)) {
        IF(b7, 3, BMI);
        IF(b7, 8, BMI2);
        IF(c7, 8, GFNI);
        if (ymm) IF(b7, 5, AVX2);
        if (zmm) {
            IF(b7, 16, AVX512F);
            IF(b7, 17, AVX512DQ);
            IF(b7, 28, AVX512CD);
            IF(b7, 30, AVX512BW);
            IF(b7, 31, AVX512VL);
            IF(c7, 1, AVX512VBMI);
            IF(c7, 11, AVX512VNNI);
        }
        uint32_t most = a7;
        if (most >= 1 && __get_cpuid_count(7, 1, &a7, &b7, &c7, &d7)) {
            if (ymm) IF(a7, 4, AVXVNNI);
            if (zmm) IF(a7, 5, AVX512BF16);
        }
    }
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) IF(c, 5, LZCNT);
    return f;
}

static void set_if(int64_t *out, int name)
{
    long v = sysconf(name);
    if (v > 0) *out = v;
}

void ll_target_native(ll_target *out)
{
    ll_target_of_features(out, probe());
    set_if(&out->l1_bytes, _SC_LEVEL1_DCACHE_SIZE);
    set_if(&out->l2_bytes, _SC_LEVEL2_CACHE_SIZE);
    set_if(&out->l3_bytes, _SC_LEVEL3_CACHE_SIZE);
    int64_t cores = 1;
    set_if(&cores, _SC_NPROCESSORS_ONLN);
    out->cores = (int)cores;
}

/* cpu.c: see cpu.h. One table from names to CPUID bits; a feature with wide registers also needs the
 * system to save them (XCR0). */
#include "runtime/cpu.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

enum reg { EAX, EBX, ECX, EDX };
enum { STATE_SSE = 0x2, STATE_AVX = 0x6, STATE_512 = 0xe6, STATE_AMX = 0x60000 };

static const struct feature {
    const char *name;
    uint32_t leaf, sub;
    uint8_t reg, bit;
    uint32_t state; /* XCR0 bits that must be set */
} table[] = {
    {"cmov", 1, 0, EDX, 15, 0}, {"cx8", 1, 0, EDX, 8, 0}, {"fxsr", 1, 0, EDX, 24, 0}, {"mmx", 1, 0, EDX, 23, 0},
    {"sse", 1, 0, EDX, 25, 0}, {"sse2", 1, 0, EDX, 26, 0}, {"sse3", 1, 0, ECX, 0, 0}, {"pclmul", 1, 0, ECX, 1, 0},
    {"ssse3", 1, 0, ECX, 9, 0}, {"fma", 1, 0, ECX, 12, STATE_AVX}, {"cx16", 1, 0, ECX, 13, 0},
    {"sse4.1", 1, 0, ECX, 19, 0}, {"sse4.2", 1, 0, ECX, 20, 0}, {"crc32", 1, 0, ECX, 20, 0},
    {"movbe", 1, 0, ECX, 22, 0}, {"popcnt", 1, 0, ECX, 23, 0}, {"aes", 1, 0, ECX, 25, 0},
    {"xsave", 1, 0, ECX, 27, 0}, {"avx", 1, 0, ECX, 28, STATE_AVX}, {"f16c", 1, 0, ECX, 29, STATE_AVX},
    {"bmi", 7, 0, EBX, 3, 0}, {"avx2", 7, 0, EBX, 5, STATE_AVX}, {"bmi2", 7, 0, EBX, 8, 0},
    {"avx512f", 7, 0, EBX, 16, STATE_512}, {"avx512dq", 7, 0, EBX, 17, STATE_512}, {"adx", 7, 0, EBX, 19, 0},
    {"avx512ifma", 7, 0, EBX, 21, STATE_512}, {"avx512cd", 7, 0, EBX, 28, STATE_512},
    {"avx512bw", 7, 0, EBX, 30, STATE_512}, {"avx512vl", 7, 0, EBX, 31, STATE_512},
    {"avx512vbmi", 7, 0, ECX, 1, STATE_512}, {"avx512vbmi2", 7, 0, ECX, 6, STATE_512},
    {"gfni", 7, 0, ECX, 8, 0}, {"vaes", 7, 0, ECX, 9, STATE_AVX}, {"vpclmulqdq", 7, 0, ECX, 10, STATE_AVX},
    {"avx512vnni", 7, 0, ECX, 11, STATE_512}, {"avx512bitalg", 7, 0, ECX, 12, STATE_512},
    {"avx512vpopcntdq", 7, 0, ECX, 14, STATE_512}, {"avx512fp16", 7, 0, EDX, 23, STATE_512},
    {"amx-bf16", 7, 0, EDX, 22, STATE_AMX}, {"amx-tile", 7, 0, EDX, 24, STATE_AMX},
    {"amx-int8", 7, 0, EDX, 25, STATE_AMX}, {"avxvnni", 7, 1, EAX, 4, STATE_AVX},
    {"avx512bf16", 7, 1, EAX, 5, STATE_512}, {"sahf", 0x80000001, 0, ECX, 0, 0},
    {"lzcnt", 0x80000001, 0, ECX, 5, 0}, {"prfchw", 0x80000001, 0, ECX, 8, 0},
};

static uint64_t saved_state(void)
{
    uint32_t r[4], lo, hi;
    if (!__get_cpuid_count(1, 0, &r[0], &r[1], &r[2], &r[3]) || !(r[ECX] >> 27 & 1)) return STATE_SSE;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static bool has(const struct feature *f)
{
    uint32_t r[4] = {0};
    if (!__get_cpuid_count(f->leaf, f->sub, &r[0], &r[1], &r[2], &r[3])) return false;
    return (r[f->reg] >> f->bit & 1) && (saved_state() & f->state) == f->state;
}

void rt_cpu_name(char *out, size_t room)
{
    uint32_t r[12] = {0};
    for (uint32_t i = 0; i < 3; i++)
        __get_cpuid_count(0x80000002u + i, 0, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
    char brand[49] = {0};
    memcpy(brand, r, 48);
    size_t n = strlen(brand);
    while (n && brand[n - 1] == ' ') brand[--n] = 0;
    snprintf(out, room, "%s", brand);
}
#else
static const struct feature {
    const char *name;
} table[] = {{""}};
static bool has(const struct feature *f) { return f && false; }
void rt_cpu_name(char *out, size_t room) { snprintf(out, room, "%s", ""); }
#endif

enum { N_FEATURE = sizeof table / sizeof table[0] };

ll_code rt_cpu_require(const char *features, const char *file, ll_error *err)
{
    for (const char *p = features; *p;) {
        size_t n = strcspn(p, ",");
        const struct feature *f = NULL;
        for (size_t i = 0; i < N_FEATURE; i++)
            if (strlen(table[i].name) == n && !memcmp(table[i].name, p, n)) f = &table[i];
        if (n && !f)
            return ll_fail(err, LL_NO_DEVICE, "%s: its code needs the CPU feature %.*s, which this library does not "
                           "know", file, n > 64 ? 64 : (int)n, p);
        if (n && !has(f))
            return ll_fail(err, LL_NO_DEVICE, "%s: its code needs the CPU feature %.*s, which this machine lacks: "
                           "build it for another target (llmir-build --target)", file, (int)n, p);
        p += n + (p[n] == ',');
    }
    return LL_OK;
}

void rt_cpu_features(ll_str *out)
{
    for (size_t i = 0; i < N_FEATURE; i++)
        if (has(&table[i])) ll_str_addf(out, "%s%s", out->n ? "," : "", table[i].name);
}

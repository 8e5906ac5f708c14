/* half.c: see half.h. One rounding routine over (exponent bits, mantissa bits) serves every format. */
#include "base/half.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Rounds |x| (finite) to a format of e exponent and m mantissa bits; returns the magnitude's bits, which
 * may run past the largest finite value: the caller decides what overflow means. */
static uint32_t round_to(double ax, int e, int m)
{
    int bias = (1 << (e - 1)) - 1, ex;
    if (ax == 0) return 0;
    frexp(ax, &ex); /* ax in [2^(ex-1), 2^ex) */
    int q = ex - 1 < 1 - bias ? 1 - bias - m : ex - 1 - m; /* exponent of one unit in the last place */
    double n = nearbyint(ldexp(ax, -q));                  /* exact scaling, ties to even */
    if (q == 1 - bias - m && n < ldexp(1, m)) return (uint32_t)n; /* subnormal */
    if (n >= ldexp(1, m + 1)) {
        n /= 2;
        q++;
    }
    int biased = q + m + bias;
    if (biased >= 1 << e) return (uint32_t)1 << (e + m);
    return ((uint32_t)biased << m) + (uint32_t)(n - ldexp(1, m));
}

static double decode(uint32_t mag, int e, int m)
{
    int bias = (1 << (e - 1)) - 1;
    uint32_t ex = mag >> m, f = mag & ((1u << m) - 1);
    return ex ? ldexp((double)(f + (1u << m)), (int)ex - bias - m) : ldexp((double)f, 1 - bias - m);
}

static uint32_t ieee_from(double x, int e, int m)
{
    uint32_t sign = (uint32_t)signbit(x) << (e + m), inf = ((1u << e) - 1) << m;
    sign = sign ? 1u << (e + m) : 0;
    if (isnan(x)) return sign | inf | 1u << (m - 1);
    if (isinf(x)) return sign | inf;
    uint32_t v = round_to(fabs(x), e, m);
    return sign | (v > inf ? inf : v);
}

uint16_t ll_f16_from(double x) { return (uint16_t)ieee_from(x, 5, 10); }
uint16_t ll_bf16_from(double x) { return (uint16_t)ieee_from(x, 8, 7); }
uint8_t ll_e5m2_from(double x) { return (uint8_t)ieee_from(x, 5, 2); }

uint8_t ll_e4m3_from(double x)
{
    uint8_t sign = signbit(x) ? 0x80 : 0;
    if (isnan(x)) return sign | 0x7f;
    if (isinf(x)) return sign | 0x7e;
    uint32_t v = round_to(fabs(x), 4, 3);
    return (uint8_t)(sign | (v > 0x7e ? 0x7e : v));
}

float ll_f16_to(uint16_t h)
{
    uint32_t mag = h & 0x7fff;
    float v = mag >= 0x7c00 ? (mag > 0x7c00 ? NAN : INFINITY) : (float)decode(mag, 5, 10);
    return h & 0x8000 ? -v : v;
}

float ll_bf16_to(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

float ll_e5m2_to(uint8_t b)
{
    uint32_t mag = b & 0x7f;
    float v = mag >= 0x7c ? (mag > 0x7c ? NAN : INFINITY) : (float)decode(mag, 5, 2);
    return b & 0x80 ? -v : v;
}

float ll_e4m3_to(uint8_t b)
{
    uint32_t mag = b & 0x7f;
    float v = mag == 0x7f ? NAN : (float)decode(mag, 4, 3);
    return b & 0x80 ? -v : v;
}

/* half.h: bit-exact conversions between double/float and the small formats: f16 (IEEE half), bf16,
 * fp8 e4m3fn (no infinity, max 448, NaN 0x7f) and e5m2. Rounding is to nearest, ties to even, once, from
 * the value given (a double is never rounded through float). Overflow: f16, bf16 and e5m2 go to infinity,
 * e4m3 saturates to 448. NaN stays NaN (quiet, payload not kept). */
#ifndef LLMIR_BASE_HALF_H
#define LLMIR_BASE_HALF_H

#include <stdint.h>

uint16_t ll_f16_from(double x);
uint16_t ll_bf16_from(double x);
uint8_t ll_e4m3_from(double x);
uint8_t ll_e5m2_from(double x);
float ll_f16_to(uint16_t h);
float ll_bf16_to(uint16_t h);
float ll_e4m3_to(uint8_t b);
float ll_e5m2_to(uint8_t b);

#endif

/* types.c: see types.h. */
#include "model/types.h"

#include <stddef.h>

static const mdl_type table[] = {
    {"F32", 0, 1, 4, LL_F32},      {"F16", 1, 1, 2, LL_F16},      {"Q4_0", 2, 32, 18, LL_N_DTYPES},   {"Q4_1", 3, 32, 20, LL_N_DTYPES},
    {"Q5_0", 6, 32, 22, LL_N_DTYPES},   {"Q5_1", 7, 0, 0},     {"Q8_0", 8, 32, 34, LL_N_DTYPES},   {"Q8_1", 9, 0, 0},
    {"Q2_K", 10, 0, 0},    {"Q3_K", 11, 0, 0},    {"Q4_K", 12, 256, 144, LL_N_DTYPES}, {"Q5_K", 13, 0, 0},
    {"Q6_K", 14, 256, 210, LL_N_DTYPES}, {"Q8_K", 15, 0, 0},   {"IQ2_XXS", 16, 0, 0}, {"IQ2_XS", 17, 0, 0},
    {"IQ3_XXS", 18, 0, 0}, {"IQ1_S", 19, 0, 0},   {"IQ4_NL", 20, 0, 0},  {"IQ3_S", 21, 0, 0},
    {"IQ2_S", 22, 0, 0},   {"IQ4_XS", 23, 0, 0},  {"I8", 24, 0, 0},      {"I16", 25, 0, 0},
    {"I32", 26, 0, 0},     {"I64", 27, 0, 0},     {"F64", 28, 0, 0},     {"IQ1_M", 29, 0, 0},
    {"BF16", 30, 1, 2, LL_BF16},    {"TQ1_0", 34, 0, 0},   {"TQ2_0", 35, 0, 0},   {"MXFP4", 39, 0, 0},
    {"NVFP4", 40, 0, 0},
};

const mdl_type *mdl_type_info(uint32_t id)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].id == id) return &table[i];
    return NULL;
}

void mdl_type_list(ll_str *out)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].block) ll_str_addf(out, "%s%s", out->n ? ", " : "", table[i].name);
}

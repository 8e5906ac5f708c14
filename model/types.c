/* types.c: see types.h. What is supported is what te/quant.def has a row for; the names of the
 * others are here, so that a refusal can say what the file holds. */
#include "model/types.h"

#include <ctype.h>
#include <pthread.h>
#include <stddef.h>

static mdl_type rows[] = {
#define QUANT(name_, id_, block_, bytes_, planes, from_file, value)                                \
    {#name_, id_, block_, bytes_, LL_N_DTYPES},
#include "te/quant.def"
#undef QUANT
    {"Q2_K", 10, 0, 0, LL_N_DTYPES},    {"Q3_K", 11, 0, 0, LL_N_DTYPES},
    {"Q8_1", 9, 0, 0, LL_N_DTYPES},     {"Q8_K", 15, 0, 0, LL_N_DTYPES},
    {"IQ2_XXS", 16, 0, 0, LL_N_DTYPES}, {"IQ2_XS", 17, 0, 0, LL_N_DTYPES},
    {"IQ3_XXS", 18, 0, 0, LL_N_DTYPES}, {"IQ1_S", 19, 0, 0, LL_N_DTYPES},
    {"IQ4_NL", 20, 0, 0, LL_N_DTYPES},  {"IQ3_S", 21, 0, 0, LL_N_DTYPES},
    {"IQ2_S", 22, 0, 0, LL_N_DTYPES},   {"IQ4_XS", 23, 0, 0, LL_N_DTYPES},
    {"I8", 24, 0, 0, LL_N_DTYPES},      {"I16", 25, 0, 0, LL_N_DTYPES},
    {"I32", 26, 0, 0, LL_N_DTYPES},     {"I64", 27, 0, 0, LL_N_DTYPES},
    {"F64", 28, 0, 0, LL_N_DTYPES},     {"IQ1_M", 29, 0, 0, LL_N_DTYPES},
    {"TQ1_0", 34, 0, 0, LL_N_DTYPES},   {"TQ2_0", 35, 0, 0, LL_N_DTYPES},
    {"MXFP4", 39, 0, 0, LL_N_DTYPES},   {"NVFP4", 40, 0, 0, LL_N_DTYPES},
};
enum { N_ROWS = sizeof rows / sizeof *rows, NAME = 16 };
static char names[N_ROWS][NAME];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Names as people write them; a row of block 1 is a plain type, and its name a dtype's. */
static void make_rows(void)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        if (rows[i].block == 1) ll_dtype_parse(rows[i].name, &rows[i].dtype);
        for (size_t k = 0; rows[i].name[k] && k < NAME - 1; k++)
            names[i][k] = (char)toupper((unsigned char)rows[i].name[k]);
        rows[i].name = names[i];
    }
}

const mdl_type *mdl_type_info(uint32_t id)
{
    pthread_once(&once, make_rows);
    for (size_t i = 0; i < N_ROWS; i++)
        if (rows[i].id == id) return &rows[i];
    return NULL;
}

void mdl_type_list(ll_str *out)
{
    pthread_once(&once, make_rows);
    for (size_t i = 0; i < N_ROWS; i++)
        if (rows[i].block) ll_str_addf(out, "%s%s", out->n ? ", " : "", rows[i].name);
}

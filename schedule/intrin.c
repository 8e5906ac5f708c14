/* intrin.c: the table of intrin.def, by number and by name. */
#include "schedule/intrin.h"

#include <string.h>

static const lp_intrin table[] = {
#define INTRIN(name, how, requires, m, n, k, acc, a, b, a_lo, a_hi, b_lo, b_hi)                    \
    {name, how, requires, m, n, k, LL_##acc, LL_##a, LL_##b, a_lo, a_hi, b_lo, b_hi, {NULL}},
#define MMA(name, how, requires, m, n, k, acc, a, b, of_acc, of_a, of_b)                           \
    {name, how, requires, m, n, k, LL_##acc, LL_##a, LL_##b, 0, 0, 0, 0, {of_acc, of_a, of_b}},
#include "schedule/intrin.def"
#undef INTRIN
#undef MMA
};

int lp_n_intrins(void) { return (int)(sizeof table / sizeof *table); }

const lp_intrin *lp_intrin_at(int i) { return i >= 0 && i < lp_n_intrins() ? &table[i] : NULL; }

const lp_intrin *lp_intrin_by_name(const char *name)
{
    for (int i = 0; i < lp_n_intrins(); i++)
        if (!strcmp(table[i].name, name)) return &table[i];
    return NULL;
}

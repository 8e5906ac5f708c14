/* types.c: the table of types.h. */
#include "ptxsim/types.h"

#include <string.h>

#define KIND_P 'P'
#define KIND_B 'B'
#define KIND_U 'U'
#define KIND_S 'S'
#define KIND_F 'F'

const ptx_type_info ptx_types[PTX_NTYPE] = {
    { "", 0, 0, 0 },
#define PTX_TYPE(name, spell, bits, kind, n) { spell, bits, KIND_##kind, n },
#include "ptxsim/types.def"
#undef PTX_TYPE
};

ptx_type ptx_type_named(const char *s, unsigned n)
{
    for (int t = PTX_NOTYPE + 1; t < PTX_NTYPE; t++)
        if (strlen(ptx_types[t].name) == n && !memcmp(ptx_types[t].name, s, n)) return (ptx_type)t;
    return PTX_NOTYPE;
}

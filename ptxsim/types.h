/* types.h: PTX data types (types.def), shared by the parser, the machine and the arithmetic of
 * num.h. */
#ifndef LLMIR_PTXSIM_TYPES_H
#define LLMIR_PTXSIM_TYPES_H

#include <stdbool.h>
#include <stdint.h>

typedef enum ptx_type {
    PTX_NOTYPE,
#define PTX_TYPE(name, spell, bits, kind, n) PTX_##name,
#include "ptxsim/types.def"
#undef PTX_TYPE
    PTX_NTYPE
} ptx_type;

typedef struct ptx_type_info {
    const char *name; /* as after the dot */
    uint8_t bits;     /* of one register, all packed values together */
    char kind;        /* 'U' 'S' 'B' 'F' 'P' */
    uint8_t n;        /* values packed in one register */
} ptx_type_info;

extern const ptx_type_info ptx_types[PTX_NTYPE];

/* The type spelled s[0..n) without its dot, or PTX_NOTYPE. */
ptx_type ptx_type_named(const char *s, unsigned n);

/* Rounding modifiers of cvt and of float arithmetic. */
typedef enum ptx_round {
    PTX_RND_NONE, /* none written: nearest even for floats, truncation where cvt to an integer needs one */
    PTX_RN, PTX_RZ, PTX_RM, PTX_RP, PTX_RNA, PTX_RS,
    PTX_RNI, PTX_RZI, PTX_RMI, PTX_RPI, /* to an integral value */
} ptx_round;

#endif

/* parse.h: PTX text -> modules, functions and statements. Names of registers, variables and
 * parameters are resolved here (scopes nest and shadow); what opcodes and modifiers mean is
 * decode's business. Everything lives in the module's arena. Every error has a line and a column.
 */
#ifndef PTXSIM_PARSE_H
#define PTXSIM_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/map.h"
#include "ptxsim/types.h"
#include <llmir/ptxsim.h>

typedef struct ptx_pos { uint32_t line, col; } ptx_pos;

static inline unsigned ptx_type_bits(ptx_type t) { return ptx_types[t].bits; }
static inline const char *ptx_type_name(ptx_type t) { return ptx_types[t].name; }
static inline bool ptx_is_signed(ptx_type t) { return ptx_types[t].kind == 'S'; }
static inline bool ptx_is_unsigned(ptx_type t) { return ptx_types[t].kind == 'U'; }
static inline bool ptx_is_float(ptx_type t) { return ptx_types[t].kind == 'F'; }

typedef enum ptx_space {
    PTX_GENERIC, PTX_GLOBAL, PTX_SHARED, PTX_CLUSTER /* shared::cluster */, PTX_LOCAL, PTX_PARAM,
    PTX_CONST
} ptx_space;

/* A register; every vector component (.reg .v4 .f32) is a register of its own. */
typedef struct ptx_reg {
    const char *name;
    ptx_type type;
    uint32_t slot;           /* byte offset in the warp's register arena */
    struct ptx_reg *vec;     /* .v2/.v4 registers: the components; else NULL */
    uint32_t n_vec;
} ptx_reg;

/* A variable in memory, or a parameter. */
typedef struct ptx_var {
    const char *name;
    ptx_space space;
    ptx_type type;
    uint32_t align;
    uint64_t size, addr;     /* addr: in its space; for globals known at load */
    bool external;           /* .extern: dynamic shared memory, or defined elsewhere */
    bool is_reg;             /* a .reg parameter of a .func */
    bool kernel_param;       /* of an entry: its space is the launch's parameter buffer */
    const void *placed;      /* shared variables: the code for which addr was chosen */
    ptx_reg *reg;
    struct ptx_init *init;
    ptx_pos pos;
    struct ptx_var *next;
} ptx_var;

typedef struct ptx_init {    /* one piece of an initialiser */
    uint64_t off;
    uint32_t size;
    uint64_t value;
    const char *symbol;      /* address of a symbol (+ value), or NULL */
    uint64_t mask_shift;     /* mask(0xff << n, symbol): shift; else 0 */
    ptx_pos pos;
    struct ptx_init *next;
} ptx_init;

typedef enum ptx_okind {
    PTX_O_REG,     /* reg */
    PTX_O_SPECIAL, /* name: "%tid.x", "%clock64", "WARP_SZ" */
    PTX_O_INT,     /* imm */
    PTX_O_F32, PTX_O_F64, /* imm holds the bits */
    PTX_O_VAR,     /* var (+ imm): an address, or a .param of a call */
    PTX_O_LABEL,   /* label or function name: name */
    PTX_O_MEM,     /* [sub[0] + imm], [sub[0] + imm, sub[1]...]; sub[0] REG, VAR or INT */
    PTX_O_VEC,     /* {sub...} */
    PTX_O_LIST,    /* (sub...): arguments of a call */
    PTX_O_PAIR,    /* sub[0] | sub[1] */
    PTX_O_SINK,    /* _ */
} ptx_okind;

typedef struct ptx_opnd {
    ptx_okind kind;
    ptx_pos pos;
    bool negated;            /* !p, or -reg where PTX allows it */
    const char *name;
    ptx_reg *reg;
    ptx_var *var;
    int64_t imm;
    struct ptx_opnd *sub;
    uint32_t n_sub;
} ptx_opnd;

typedef struct ptx_mod { const char *s; ptx_pos pos; bool used; } ptx_mod; /* without the dot */

typedef struct ptx_stmt {
    const char *op;          /* "mma", "cp", "bar": what stands before the first dot */
    ptx_pos pos;
    ptx_mod *mod;
    uint32_t n_mod;
    ptx_opnd *opnd;
    uint32_t n_opnd;
    ptx_reg *guard;          /* NULL: none */
    bool guard_not;
    const char *text; /* the opcode with its modifiers as written, for messages and counters */
    uint32_t index;          /* in its function */
} ptx_stmt;

typedef struct ptx_label {
    const char *name;
    uint32_t stmt;           /* index of the statement that follows */
    ptx_pos pos;
    const char **target;     /* .branchtargets / .calltargets list; NULL for a plain label */
    uint32_t n_target;
    struct ptx_scope *scope;
} ptx_label;

typedef struct ptx_func {
    const char *name;
    ptx_pos pos;
    bool is_entry, defined, external;
    ptx_var **param, **ret;
    uint32_t n_param, n_ret, param_bytes;
    ptx_stmt **stmt;
    uint32_t n_stmt;
    ptx_label *label;
    uint32_t n_label;
    ptx_reg **reg;           /* every register, scopes flattened */
    uint32_t n_reg;
    uint32_t local_bytes,
        frame; /* frame: offset of the function's local memory in the running entry's */
    uint32_t maxntid[3], reqntid[3], min_blocks, max_registers, reqcluster[3];
    struct ptx_module *module;
    void *code;              /* decoded, see launch.h */
    uint32_t depth;          /* calls being inlined right now: recursion is refused */
} ptx_func;

typedef struct ptx_module {
    ll_arena arena;
    const char *name;
    uint32_t version_major, version_minor, sm;
    bool arch_specific;      /* sm_90a */
    ptx_func **func;
    uint32_t n_func;
    ptx_var **var;           /* module scope: .global .const .shared .extern */
    uint32_t n_var;
    uint32_t shared_bytes;   /* module-scope static shared memory */
    uint32_t dyn_align;
} ptx_module;

/* Fills `mod` (zeroed by the caller). On failure the arena still belongs to the caller. */
ptxsim_code ptx_parse(ptx_module *mod, const char *text, size_t n, const char *name,
                      ptxsim_error *err);

/* The first failure wins; prefixes "NAME:LINE:COLUMN: " when pos.line is not 0. */
ptxsim_code ptx_fail(ptxsim_error *err, ptxsim_code code, const char *file, ptx_pos pos,
                     const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#endif

/* decode.h: the decoder's context and helpers, shared by decode.c, decode_alu.c, decode_mem.c and
 * regalloc.c. Other files see machine.h's part only.
 *
 * A kernel is decoded twice: first with every register in a slot of its own, to learn which
 * instruction reads and writes what; then, once regalloc.c has chosen slots that registers share,
 * for good. */
#ifndef PTXSIM_DECODE_H
#define PTXSIM_DECODE_H

#include "ptxsim/exec.h"
#include "ptxsim/flow.h"
#include "ptxsim/launch.h"

enum {
    PTX_SINK_SLOT = PTX_SLOT,             /* where results for _ go; 512 bytes */
    PTX_FIRST_FIXED = PTX_SINK_SLOT + 512,
    PTX_VIRTUAL = 1 << 30,                /* first pass: register i is at PTX_VIRTUAL + 512 * i */
    PTX_MAX_REGS = 1 << 21,
};

struct ptx_dec {
    ptxsim *m;
    ptx_module *mod;
    ptx_func *func;           /* whose names are being used */
    ptxsim_error *err;
    ptx_code *code;
    ptx_flow *flow;
    const ptx_stmt *st;
    ptx_inst *in;
    ptx_ext *x;
    bool final, sm_ok;
    uint32_t *dst, *src;      /* slots of the current instruction */
    uint32_t n_dst, n_src, cap_dst, cap_src;
    ll_map fixed;             /* key -> index + 1 into code->fixed */
    uint32_t cap_fixed, fixed_end;
    ptx_reg carry;            /* the condition code register of add.cc */
    ptx_reg **reg;            /* virtual register number -> register */
    uint32_t n_reg, cap_reg;
    uint32_t min_shared, min_global;
    ptx_handler *const *h;
};

typedef ptxsim_code ptx_decode_fn(ptx_dec *d, const ptx_stmt *st, ptx_inst *in);
typedef struct ptx_op { const char *name; ptx_decode_fn *fn; uint8_t cls; } ptx_op;
extern const ptx_op ptx_ops_alu[], ptx_ops_mem[], ptx_ops_warp[],
    ptx_ops_move[]; /* ended by a NULL name */

bool ptx_dec_reg_slot(ptx_dec *d, ptx_reg *r, uint32_t *out);
bool ptx_push_dst(ptx_dec *d, uint32_t slot);
bool ptx_push_src(ptx_dec *d, uint32_t slot);
/* A register (or sink) of any width in `bits`..64, or exactly `bits` when !wider. */
ptxsim_code ptx_dst_any(ptx_dec *d, const ptx_opnd *o, unsigned bits, bool wider, uint32_t *out,
                        unsigned *out_bits);
ptxsim_code ptx_src_any(ptx_dec *d, const ptx_opnd *o, ptx_type t, bool wider, uint32_t *out,
                        unsigned *out_bits);
ptxsim_code ptx_src_pred(ptx_dec *d, const ptx_opnd *o, uint32_t *slot, bool *negated);
ptxsim_code ptx_dst_pred(ptx_dec *d, const ptx_opnd *o, uint32_t *slot);
ptxsim_code ptx_want_opnds(ptx_dec *d, uint32_t min, uint32_t max);
ptxsim_code ptx_want_type(ptx_dec *d, ptx_type *out);
/* d, a[, b[, c]] of one type: slots into in->d, a, b, c. */
ptxsim_code ptx_dec_regs(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, ptx_type t, uint32_t n_src);
uint64_t ptx_var_address(ptx_dec *d, ptx_var *v);
static inline ptx_handler *ptx_hfn(const ptx_dec *d, ptx_hid id) { return d->h[id]; }

/* regalloc.c: chooses a slot for each register of `d`; `first` is the first free slot. */
ptxsim_code ptx_regalloc(ptx_dec *d, uint32_t first);

#define PTX_RET(e)                                                                                 \
    do {                                                                                           \
        ptxsim_code ret_ = (e);                                                                    \
        if (ret_) return ret_;                                                                     \
    } while (0)

#endif

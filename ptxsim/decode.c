/* decode.c: statements -> instructions: operands to slots, modifiers taken one by one (what nobody
 * takes is an error), two passes (see decode.h), control flow. The opcodes themselves are in
 * decode_alu.c, decode_mem.c, decode_warp.c, matrix.c and tma.c. */
#include "ptxsim/decode.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ptxsim_code ptx_dec_fail(ptx_dec *d, ptx_pos pos, const char *fmt, ...)
{
    char msg[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return ptx_fail(d->err, PTXSIM_BAD_PTX, d->mod->name, pos.line || !d->st ? pos : d->st->pos,
                    "%s", msg);
}

static ptxsim_code no_memory(ptx_dec *d)
{
    return ptx_fail(d->err, PTXSIM_NO_MEMORY, d->mod->name, (ptx_pos){ 0, 0 },
                    "no memory left for this module");
}

ptxsim_code ptx_dec_needs_sm(ptx_dec *d, unsigned sm)
{
    if (d->sm_ok && d->m->limits.sm >= sm) return PTXSIM_OK;
    return ptx_fail(d->err, PTXSIM_BAD_PTX, d->mod->name, d->st->pos,
                    "%s needs sm_%u, this machine is sm_%u", d->st->text, sm, d->m->limits.sm);
}

void *ptx_dec_alloc(ptx_dec *d, size_t n)
{
    void *p = ll_try_alloc(&d->mod->arena, n);
    if (!p) no_memory(d);
    return p;
}

unsigned ptx_dec_sm(const ptx_dec *d) { return d->m->limits.sm; }

/* ---- modifiers ---- */

bool ptx_take(ptx_dec *d, const char *name)
{
    for (uint32_t i = 0; i < d->st->n_mod; i++) {
        ptx_mod *m = &d->st->mod[i];
        if (m->used || strcmp(m->s, name)) continue;
        return m->used = true;
    }
    return false;
}

ptx_type ptx_mod_type(ptx_dec *d)
{
    for (uint32_t i = 0; i < d->st->n_mod; i++) {
        ptx_mod *m = &d->st->mod[i];
        ptx_type t = m->used ? PTX_NOTYPE : ptx_type_named(m->s, (unsigned)strlen(m->s));
        if (t == PTX_NOTYPE) continue;
        m->used = true;
        return t;
    }
    return PTX_NOTYPE;
}

const char *ptx_mod_prefix(ptx_dec *d, const char *prefix)
{
    for (uint32_t i = 0; i < d->st->n_mod; i++) {
        ptx_mod *m = &d->st->mod[i];
        if (m->used || strncmp(m->s, prefix, strlen(prefix))) continue;
        m->used = true;
        return m->s;
    }
    return NULL;
}

ptxsim_code ptx_want_type(ptx_dec *d, ptx_type *out)
{
    *out = ptx_mod_type(d);
    return *out != PTX_NOTYPE ? PTXSIM_OK
                              : ptx_dec_fail(d, d->st->pos, "%s: a type is missing", d->st->text);
}

ptxsim_code ptx_want_opnds(ptx_dec *d, uint32_t min, uint32_t max)
{
    uint32_t n = d->st->n_opnd;
    if (n >= min && n <= max) return PTXSIM_OK;
    if (min == max)
        return ptx_dec_fail(d, d->st->pos, "%s: %u operands are wanted, got %u", d->st->text, min,
                            n);
    return ptx_dec_fail(d, d->st->pos, "%s: %u to %u operands are wanted, got %u", d->st->text, min,
                        max, n);
}

/* ---- slots ---- */

static bool push(ptx_dec *d, uint32_t **list, uint32_t *n, uint32_t *cap, uint32_t slot)
{
    if (*n == *cap) {
        uint32_t bigger = *cap ? *cap * 2 : 64;
        uint32_t *p = realloc(*list, bigger * sizeof *p);
        if (!p) return no_memory(d), false;
        *list = p;
        *cap = bigger;
    }
    (*list)[(*n)++] = slot;
    return true;
}
bool ptx_push_dst(ptx_dec *d, uint32_t slot)
{
    return push(d, &d->dst, &d->n_dst, &d->cap_dst, slot);
}
bool ptx_push_src(ptx_dec *d, uint32_t slot)
{
    return push(d, &d->src, &d->n_src, &d->cap_src, slot);
}

bool ptx_dec_reg_slot(ptx_dec *d, ptx_reg *r, uint32_t *out)
{
    if (!d->final && !(r->slot & PTX_VIRTUAL)) {
        if (d->n_reg == d->cap_reg) {
            uint32_t cap = d->cap_reg ? d->cap_reg * 2 : 256;
            ptx_reg **p = cap <= PTX_MAX_REGS ? realloc(d->reg, cap * sizeof *p) : NULL;
            if (!p) return no_memory(d), false;
            d->reg = p;
            d->cap_reg = cap;
        }
        r->slot = PTX_VIRTUAL + 512 * d->n_reg;
        d->reg[d->n_reg++] = r;
    }
    *out = r->slot;
    return true;
}

/* kind: 'c' constant, 's' special register, 'd' address in dynamic shared memory (known after pass
 * one). */
static uint32_t fixed_slot(ptx_dec *d, char kind, uint64_t v, unsigned bits)
{
    struct { uint64_t v; uint32_t kind, bits; } key = { v, (uint32_t)kind, bits };
    uintptr_t at = (uintptr_t)ll_map_get(&d->fixed, &key, sizeof key);
    if (at) return d->code->fixed[at - 1].slot;
    ptx_code *c = d->code;
    if (c->n_fixed == d->cap_fixed) {
        uint32_t cap = d->cap_fixed ? d->cap_fixed * 2 : 64;
        ptx_fixed *f = ptx_dec_alloc(d, cap * sizeof *f);
        if (!f) return 0;
        if (c->n_fixed) memcpy(f, c->fixed, c->n_fixed * sizeof *f);
        c->fixed = f;
        d->cap_fixed = cap;
    }
    uint32_t slot = d->fixed_end;
    d->fixed_end += bits > 64 ? 512 : bits == 64 ? 256 : 128;
    uint64_t value = kind == 'd' ? c->dyn_offset + v : v;
    c->fixed[c->n_fixed++] = (ptx_fixed){ .slot = slot,
                                          .bits = (uint8_t)(bits < 32 && bits > 1 ? 32 : bits),
                                          .special = kind == 's',
                                          .value = value };
    if (!ll_map_set(&d->fixed, &key, sizeof key, (void *)(uintptr_t)c->n_fixed)) no_memory(d);
    return slot;
}

uint32_t ptx_const_slot(ptx_dec *d, uint64_t v, unsigned bits)
{
    if (bits < 64) v &= (1ull << bits) - 1;
    return fixed_slot(d, 'c', v, bits);
}

static unsigned width_class(unsigned bits) { return bits <= 1 ? 1 : bits <= 32 ? bits : bits; }

static ptxsim_code wrong_width(ptx_dec *d, const ptx_opnd *o, const ptx_reg *r, unsigned bits)
{
    return ptx_dec_fail(d, o->pos, "%s: %s is .%s, %u bits are wanted", d->st->text, r->name,
                        ptx_type_name(r->type), bits);
}

/* 8-bit data lives in registers of 16 or more bits as well. */
static bool width_fits(const ptx_reg *r, unsigned bits, bool wider)
{
    unsigned have = ptx_type_bits(r->type);
    if (r->type == PTX_PRED || bits == 1) return r->type == PTX_PRED && bits == 1;
    if (have == bits) return true;
    if (wider) return have > bits && have <= 64;
    return bits == 8 && have == 16;
}

ptxsim_code ptx_dst_any(ptx_dec *d, const ptx_opnd *o, unsigned bits, bool wider, uint32_t *out,
                        unsigned *out_bits)
{
    if (out_bits) *out_bits = width_class(bits);
    if (o->kind == PTX_O_SINK) {
        *out = PTX_SINK_SLOT;
    } else if (o->kind != PTX_O_REG || o->negated || o->imm) {
        return ptx_dec_fail(d, o->pos, "%s: a register is wanted as destination", d->st->text);
    } else {
        if (!width_fits(o->reg, bits, wider)) return wrong_width(d, o, o->reg, bits);
        if (out_bits) *out_bits = ptx_type_bits(o->reg->type);
        if (!ptx_dec_reg_slot(d, o->reg, out)) return d->err->code;
    }
    return ptx_push_dst(d, *out) ? PTXSIM_OK : PTXSIM_NO_MEMORY;
}

ptxsim_code ptx_dst(ptx_dec *d, const ptx_opnd *o, unsigned bits, uint32_t *out)
{
    return ptx_dst_any(d, o, bits, false, out, NULL);
}
ptxsim_code ptx_dst_pred(ptx_dec *d, const ptx_opnd *o, uint32_t *slot)
{
    return ptx_dst_any(d, o, 1, false, slot, NULL);
}

static const struct { const char *name; ptx_special sr;
} specials[] = {
    { "%tid.x", PTX_SR_TID_X },
    { "%tid.y", PTX_SR_TID_Y },
    { "%tid.z", PTX_SR_TID_Z },
    { "%ntid.x", PTX_SR_NTID_X },
    { "%ntid.y", PTX_SR_NTID_Y },
    { "%ntid.z", PTX_SR_NTID_Z },
    { "%ctaid.x", PTX_SR_CTAID_X },
    { "%ctaid.y", PTX_SR_CTAID_Y },
    { "%ctaid.z", PTX_SR_CTAID_Z },
    { "%nctaid.x", PTX_SR_NCTAID_X },
    { "%nctaid.y", PTX_SR_NCTAID_Y },
    { "%nctaid.z", PTX_SR_NCTAID_Z },
    { "%laneid", PTX_SR_LANEID },
    { "%warpid", PTX_SR_WARPID },
    { "%nwarpid", PTX_SR_NWARPID },
    { "%smid", PTX_SR_SMID },
    { "%nsmid", PTX_SR_NSMID },
    { "%gridid", PTX_SR_GRIDID },
    { "%lanemask_eq", PTX_SR_MASK_EQ },
    { "%lanemask_le", PTX_SR_MASK_LE },
    { "%lanemask_lt", PTX_SR_MASK_LT },
    { "%lanemask_ge", PTX_SR_MASK_GE },
    { "%lanemask_gt", PTX_SR_MASK_GT },
    { "%dynamic_smem_size", PTX_SR_DYN_SMEM },
    { "%total_smem_size", PTX_SR_TOTAL_SMEM },
    { "%aggr_smem_size", PTX_SR_AGGR_SMEM },
    { "%reserved_smem_offset_begin", PTX_SR_RESERVED_0 },
    { "%reserved_smem_offset_end", PTX_SR_RESERVED_SIZE },
    { "%clusterid.x", PTX_SR_CLUSTERID_X },
    { "%clusterid.y", PTX_SR_CLUSTERID_Y },
    { "%clusterid.z", PTX_SR_CLUSTERID_Z },
    { "%nclusterid.x", PTX_SR_NCLUSTERID_X },
    { "%nclusterid.y", PTX_SR_NCLUSTERID_Y },
    { "%nclusterid.z", PTX_SR_NCLUSTERID_Z },
    { "%cluster_ctaid.x", PTX_SR_CL_CTAID_X },
    { "%cluster_ctaid.y", PTX_SR_CL_CTAID_Y },
    { "%cluster_ctaid.z", PTX_SR_CL_CTAID_Z },
    { "%cluster_nctaid.x", PTX_SR_CL_NCTAID_X },
    { "%cluster_nctaid.y", PTX_SR_CL_NCTAID_Y },
    { "%cluster_nctaid.z", PTX_SR_CL_NCTAID_Z },
    { "%cluster_ctarank", PTX_SR_CL_CTARANK },
    { "%cluster_nctarank", PTX_SR_CL_NCTARANK },
    { "%envreg1", PTX_SR_ENVREG_1 },
    { "%envreg2", PTX_SR_ENVREG_2 },
};

static ptxsim_code special_slot(ptx_dec *d, const ptx_opnd *o, unsigned bits, uint32_t *out)
{
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        if (strcmp(o->name, specials[i].name)) continue;
        if (bits != 32 && bits != 64 && bits != 16) break;
        *out = fixed_slot(d, 's', specials[i].sr, bits == 64 ? 64 : 32);
        return PTXSIM_OK;
    }
    return ptx_dec_fail(d, o->pos, "%s: %s is not declared and no special register of %u bits",
                        d->st->text, o->name, bits);
}

uint64_t ptx_var_address(ptx_dec *d, ptx_var *v)
{
    ptx_code *c = d->code;
    if (v->space == PTX_LOCAL || (v->space == PTX_PARAM && !v->kernel_param))
        return d->func->frame + v->addr;
    if (v->space == PTX_SHARED && !v->external && v->placed != c) {
        v->placed = c;
        v->addr = (c->shared_static + v->align - 1) / v->align * v->align;
        c->shared_static = (uint32_t)(v->addr + v->size);
    }
    return v->addr;
}

static ptxsim_code var_slot(ptx_dec *d, const ptx_opnd *o, unsigned bits, uint32_t *out)
{
    ptx_var *v = o->var;
    if (bits != 32 && bits != 64)
        return ptx_dec_fail(d, o->pos, "%s: the address of %s has 64 or 32 bits", d->st->text,
                            v->name);
    if (v->space == PTX_SHARED && v->external) {
        if (v->align > d->mod->dyn_align) d->mod->dyn_align = v->align;
        *out = fixed_slot(d, 'd', (uint64_t)o->imm, bits);
    } else {
        if (v->external)
            return ptx_dec_fail(d, o->pos, "%s: %s is defined in no loaded module", d->st->text,
                                v->name);
        uint64_t a = ptx_var_address(d, v) + (uint64_t)o->imm;
        if (bits == 32 && a >> 32)
            return ptx_dec_fail(d, o->pos, "%s: the address of %s does not fit 32 bits",
                                d->st->text, v->name);
        *out = ptx_const_slot(d, a, bits);
    }
    return PTXSIM_OK;
}

static ptxsim_code literal_bits(ptx_dec *d, const ptx_opnd *o, ptx_type t, uint64_t *out)
{
    unsigned bits = ptx_type_bits(t);
    double f64;
    float f32;
    uint32_t u;
    *out = (uint64_t)o->imm;
    if (o->kind == PTX_O_INT) {
        if (t == PTX_F32 || t == PTX_F64) {
            if (o->imm)
                return ptx_dec_fail(d, o->pos, "%s: a floating-point constant is wanted",
                                    d->st->text);
        }
        return PTXSIM_OK;
    }
    if (o->kind == PTX_O_F32 && bits == 32) return PTXSIM_OK;
    if (o->kind == PTX_O_F64 && bits == 64) return PTXSIM_OK;
    if (o->kind == PTX_O_F64 && t == PTX_F32) {
        memcpy(&f64, out, 8);
        f32 = (float)f64;
        memcpy(&u, &f32, 4);
        *out = u;
        return PTXSIM_OK;
    }
    if (o->kind == PTX_O_F32 && t == PTX_F64) {
        u = (uint32_t)o->imm;
        memcpy(&f32, &u, 4);
        f64 = f32;
        memcpy(out, &f64, 8);
        return PTXSIM_OK;
    }
    return ptx_dec_fail(d, o->pos, "%s: the constant does not fit .%s", d->st->text,
                        ptx_type_name(t));
}

ptxsim_code ptx_src_any(ptx_dec *d, const ptx_opnd *o, ptx_type t, bool wider, uint32_t *out,
                        unsigned *out_bits)
{
    unsigned bits = ptx_type_bits(t);
    uint64_t v;
    if (out_bits) *out_bits = width_class(bits);
    switch (o->kind) {
    case PTX_O_REG:
        if (o->negated || o->imm)
            return ptx_dec_fail(d, o->pos, "%s: a plain register is wanted", d->st->text);
        if (!width_fits(o->reg, bits, wider)) return wrong_width(d, o, o->reg, bits);
        if (out_bits) *out_bits = ptx_type_bits(o->reg->type);
        if (!ptx_dec_reg_slot(d, o->reg, out)) return d->err->code;
        break;
    case PTX_O_INT: case PTX_O_F32: case PTX_O_F64:
        PTX_RET(literal_bits(d, o, t, &v));
        *out = ptx_const_slot(d, v, bits ? bits : 32);
        break;
    case PTX_O_SPECIAL: PTX_RET(special_slot(d, o, bits, out)); break;
    case PTX_O_VAR: PTX_RET(var_slot(d, o, bits, out)); break;
    case PTX_O_LABEL:
        return ptx_dec_fail(d, o->pos, "%s: %s is not declared", d->st->text, o->name);
    default: return ptx_dec_fail(d, o->pos, "%s: a register or a constant is wanted", d->st->text);
    }
    if (d->err->code) return d->err->code;
    return ptx_push_src(d, *out) ? PTXSIM_OK : PTXSIM_NO_MEMORY;
}

ptxsim_code ptx_src(ptx_dec *d, const ptx_opnd *o, ptx_type t, uint32_t *out)
{
    return ptx_src_any(d, o, t, false, out, NULL);
}

ptxsim_code ptx_src_pred(ptx_dec *d, const ptx_opnd *o, uint32_t *slot, bool *negated)
{
    *negated = o->negated;
    if (o->kind == PTX_O_INT) { /* a constant truth value */
        *slot = 0;
        *negated = o->imm == 0;
        return PTXSIM_OK;
    }
    if (o->kind != PTX_O_REG || o->reg->type != PTX_PRED)
        return ptx_dec_fail(d, o->pos, "%s: a predicate is wanted", d->st->text);
    if (!ptx_dec_reg_slot(d, o->reg, slot)) return d->err->code;
    return ptx_push_src(d, *slot) ? PTXSIM_OK : PTXSIM_NO_MEMORY;
}

static ptxsim_code vector_of(ptx_dec *d, const ptx_opnd *o, uint32_t n, const ptx_opnd **sub)
{
    uint32_t have = o->kind == PTX_O_VEC ? o->n_sub : 1;
    if (have != n)
        return ptx_dec_fail(d, o->pos, "%s: %u registers are wanted, got %u", d->st->text, n, have);
    *sub = o->kind == PTX_O_VEC ? o->sub : o;
    return PTXSIM_OK;
}
ptxsim_code ptx_dst_vec(ptx_dec *d, const ptx_opnd *o, unsigned bits, uint32_t n, uint32_t *out)
{
    const ptx_opnd *sub = o;
    PTX_RET(vector_of(d, o, n, &sub));
    for (uint32_t i = 0; i < n; i++) PTX_RET(ptx_dst(d, &sub[i], bits, &out[i]));
    return PTXSIM_OK;
}
ptxsim_code ptx_src_vec(ptx_dec *d, const ptx_opnd *o, unsigned bits, uint32_t n, uint32_t *out)
{
    const ptx_opnd *sub = o;
    ptx_type t = bits == 64   ? PTX_B64
                 : bits == 32 ? PTX_B32
                 : bits == 16 ? PTX_B16
                 : bits == 1  ? PTX_PRED
                              : PTX_B8;
    PTX_RET(vector_of(d, o, n, &sub));
    for (uint32_t i = 0; i < n; i++) PTX_RET(ptx_src(d, &sub[i], t, &out[i]));
    return PTXSIM_OK;
}

ptxsim_code ptx_const_int(ptx_dec *d, const ptx_opnd *o, int64_t *out)
{
    if (o->kind != PTX_O_INT)
        return ptx_dec_fail(d, o->pos, "%s: an integer constant is wanted", d->st->text);
    *out = o->imm;
    return PTXSIM_OK;
}

ptxsim_code ptx_mem_opnd(ptx_dec *d, const ptx_opnd *o, ptx_space space, ptx_mem *out)
{
    if (o->kind != PTX_O_MEM)
        return ptx_dec_fail(d, o->pos, "%s: an address in [] is wanted", d->st->text);
    const ptx_opnd *base = &o->sub[0];
    *out = (ptx_mem){ .off = o->imm, .space = space, .wide = true };
    if (base->kind == PTX_O_REG) {
        unsigned bits = ptx_type_bits(base->reg->type);
        if (bits != 32 && bits != 64) return wrong_width(d, base, base->reg, 64);
        out->wide = bits == 64;
        return ptx_src(d, base, bits == 64 ? PTX_B64 : PTX_B32, &out->base);
    }
    if (base->kind == PTX_O_VAR) {
        ptx_space vs = base->var->space;
        bool ok = vs == space || (space == PTX_GENERIC && (vs == PTX_GLOBAL || vs == PTX_CONST)) ||
                  (space == PTX_CLUSTER && vs == PTX_SHARED);
        if (!ok)
            return ptx_dec_fail(d, base->pos, "%s: %s is in another state space", d->st->text,
                                base->var->name);
        if (space == PTX_PARAM && !base->var->kernel_param) out->space = PTX_LOCAL;
    }
    return ptx_src(d, base, PTX_B64, &out->base);
}

ptxsim_code ptx_dec_regs(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, ptx_type t, uint32_t n_src)
{
    uint32_t *where[] = { &in->a, &in->b, &in->c };
    PTX_RET(ptx_want_opnds(d, 1 + n_src, 1 + n_src));
    PTX_RET(ptx_dst(d, &st->opnd[0], ptx_type_bits(t), &in->d));
    for (uint32_t i = 0; i < n_src; i++) PTX_RET(ptx_src(d, &st->opnd[1 + i], t, where[i]));
    return PTXSIM_OK;
}

/* ---- one instruction ---- */

static ptxsim_code finish(ptx_dec *d, ptx_inst *in)
{
    if (d->err->code) return d->err->code;
    uint32_t n = d->n_dst + d->n_src;
    if (d->n_dst > 255 || d->n_src > 255)
        return ptx_dec_fail(d, d->st->pos, "%s: too many registers", d->st->text);
    uint32_t *slots = ptx_dec_alloc(d, (n ? n : 1) * sizeof *slots);
    if (!slots) return d->err->code;
    if (d->n_dst) memcpy(slots, d->dst, d->n_dst * sizeof *slots);
    if (d->n_src) memcpy(slots + d->n_dst, d->src, d->n_src * sizeof *slots);
    d->x->slot = slots;
    in->n_dst = (uint8_t)d->n_dst;
    in->n_src = (uint8_t)d->n_src;
    if (in->flags & (PTX_I_WARP | PTX_I_MASK)) {
        d->x->real = in->fn;
        in->fn = ptx_h_gate;
    }
    return PTXSIM_OK;
}

static const ptx_op *find_op(const char *name)
{
    static const ptx_op *const tables[] = { ptx_ops_alu, ptx_ops_move, ptx_ops_mem, ptx_ops_warp };
    for (size_t t = 0; t < 4; t++)
        for (const ptx_op *o = tables[t]; o->name; o++)
            if (!strcmp(o->name, name)) return o;
    return NULL;
}

static ptxsim_code decode_plain(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    for (uint32_t i = 0; i < st->n_mod; i++) st->mod[i].used = false;
    if (ptx_matrix_owns(st)) {
        PTX_RET(ptx_matrix_decode(d, st, in));
    } else if (ptx_tma_owns(st)) {
        PTX_RET(ptx_tma_decode(d, st, in));
    } else {
        const ptx_op *op = find_op(st->op);
        if (!op) return ptx_dec_fail(d, st->pos, "unknown instruction '%s'", st->op);
        in->cls = op->cls;
        PTX_RET(op->fn(d, st, in));
    }
    for (uint32_t i = 0; i < st->n_mod; i++)
        if (!st->mod[i].used)
            return ptx_dec_fail(d, st->mod[i].pos,
                                "%s: modifier .%s is unknown or does not fit here", st->op,
                                st->mod[i].s);
    return PTXSIM_OK;
}

static ptxsim_code decode_brx(ptx_dec *d, const ptx_item *it, ptx_inst *in)
{
    in->fn = ptx_h_brx;
    in->u0 = it->n_targets;
    d->x->own = it->targets;
    return ptx_src(d, &it->st->opnd[0], PTX_U32, &in->a);
}

static ptxsim_code decode_item(ptx_dec *d, uint32_t pc)
{
    static const ptx_stmt none = { .op = "(flow)", .text = "(flow)" };
    const ptx_item *it = &d->flow->item[pc];
    ptx_inst *in = d->in = &d->code->inst[pc];
    if (!(d->x = ptx_dec_alloc(d, sizeof *d->x))) return d->err->code;
    *in = (ptx_inst){ .pc = pc, .x = d->x, .cls = PTXSIM_C_OTHER, .fn = ptx_h_nop };
    d->st = d->x->st = it->st ? it->st : &none;
    d->func = it->func;
    d->n_dst = d->n_src = 0;
    if (it->st && it->st->guard) {
        if (!ptx_dec_reg_slot(d, it->st->guard, &in->guard)) return d->err->code;
        in->gxor = it->st->guard_not != it->skip ? PTX_FULL : 0;
    }
    switch (it->kind) {
    case PTX_IT_PLAIN: PTX_RET(decode_plain(d, it->st, in)); break;
    case PTX_IT_BRA:
        in->fn = ptx_h_bra;
        in->u0 = it->target;
        in->flags = PTX_I_CONTROL | PTX_I_OWN_VALID;
        in->cls = PTXSIM_C_BRANCH;
        break;
    case PTX_IT_FALL: in->fn = ptx_h_fall; in->flags = PTX_I_CONTROL | PTX_I_OWN_VALID; break;
    case PTX_IT_EXIT:
        in->fn = ptx_h_exit;
        in->flags = PTX_I_CONTROL | PTX_I_OWN_VALID;
        in->cls = PTXSIM_C_BRANCH;
        break;
    case PTX_IT_BRX:
        in->flags = PTX_I_CONTROL | PTX_I_OWN_VALID;
        in->cls = PTXSIM_C_BRANCH;
        PTX_RET(decode_brx(d, it, in));
        break;
    case PTX_IT_BUILTIN: in->fn = ptx_h_builtin_call; break;
    }
    return finish(d, in);
}

static ptxsim_code decode_pass(ptx_dec *d, bool final)
{
    d->final = final;
    d->fixed_end = PTX_FIRST_FIXED;
    d->code->n_fixed = 0;
    ll_map_finish(&d->fixed);
    d->fixed = (ll_map){ 0 };
    for (uint32_t pc = 0; pc < d->flow->n; pc++) PTX_RET(decode_item(d, pc));
    return PTXSIM_OK;
}

static ptxsim_code decode_all(ptx_dec *d, ptx_func *entry)
{
    ptx_code *c = d->code;
    PTX_RET(ptx_flow_build(d->mod, entry, d->flow, d->err));
    c->n = d->flow->n;
    c->local_bytes = (d->flow->local_bytes + 15) / 16 * 16;
    if (!(c->inst = ptx_dec_alloc(d, (c->n + 1) * sizeof *c->inst))) return d->err->code;
    c->shared_base = c->shared_static = d->m->limits.shared_reserved;
    c->simple_sync = true;
    d->mod->dyn_align = 16;
    d->min_shared = d->min_global = 4;
    PTX_RET(decode_pass(d, false));
    uint32_t align = d->mod->dyn_align;
    c->dyn_offset = (c->shared_static + align - 1) / align * align;
    PTX_RET(ptx_regalloc(d, d->fixed_end));
    PTX_RET(decode_pass(d, true));
    c->shared_grain = d->min_shared;
    c->global_grain = d->min_global;
    return PTXSIM_OK;
}

ptxsim_code ptx_decode(ptxsim *m, ptx_module *mod, ptx_func *entry, ptxsim_error *err)
{
    ptx_flow flow = { 0 };
    ptx_dec d = { .m = m, .mod = mod, .err = err, .flow = &flow, .h = ptx_handlers(), .sm_ok = true,
                  .carry = { .name = "(carry)", .type = PTX_PRED } };
    d.code = ll_try_alloc(&mod->arena, sizeof *d.code);
    if (!d.code) return no_memory(&d);
    ptxsim_code r = decode_all(&d, entry);
    /* Registers of shared functions go back to "no slot" for the next entry. */
    for (uint32_t i = 0; i < d.n_reg; i++) d.reg[i]->slot = 0;
    free(d.dst);
    free(d.src);
    free(d.reg);
    ll_map_finish(&d.fixed);
    if (!r) entry->code = d.code;
    return r;
}

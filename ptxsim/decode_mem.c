/* decode_mem.c: ld, st, atom, red, cp.async, mbarrier, fences, prefetches and cache hints. Ordering
 * words are kept (strong accesses, acquire and release); cache words are checked for spelling and
 * dropped. */
#include "ptxsim/decode.h"
#include "ptxsim/mem.h"

#include <string.h>

static ptxsim_code bad_type(ptx_dec *d, ptx_type t)
{
    return ptx_dec_fail(d, d->st->pos, "%s: .%s does not fit here", d->st->op, ptx_type_name(t));
}

static bool take_any(ptx_dec *d, const char *const *names)
{
    bool any = false;
    for (; *names; names++) any |= ptx_take(d, *names);
    return any;
}

static ptx_space take_space(ptx_dec *d)
{
    static const struct { const char *name; ptx_space s;
    } names[] = {
        { "global", PTX_GLOBAL },      { "shared", PTX_SHARED },
        { "shared::cta", PTX_SHARED }, { "shared::cluster", PTX_CLUSTER },
        { "local", PTX_LOCAL },        { "const", PTX_CONST },
        { "param", PTX_PARAM },        { "param::entry", PTX_PARAM },
        { "param::func", PTX_PARAM },
    };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (ptx_take(d, names[k].name)) return names[k].s;
    return PTX_GENERIC;
}

/* .weak .volatile .relaxed .acquire .release .acq_rel and scopes -> PTX_STRONG, PTX_SYNC. */
static uint32_t take_order(ptx_dec *d)
{
    static const char *const scopes[] = { "cta", "cluster", "gpu", "sys", NULL };
    uint32_t k = 0;
    ptx_take(d, "weak");
    if (ptx_take(d, "volatile") || ptx_take(d, "relaxed") || ptx_take(d, "mmio")) k |= PTX_STRONG;
    if (ptx_take(d, "acquire") || ptx_take(d, "release") || ptx_take(d, "acq_rel"))
        k |= PTX_STRONG | PTX_SYNC;
    take_any(d, scopes);
    return k;
}

/* Cache words; true when a cache-policy operand follows. */
static bool take_cache(ptx_dec *d)
{
    static const char *const words[] = {
        "ca",
        "cg",
        "cs",
        "lu",
        "cv",
        "wb",
        "wt",
        "nc",
        "L1::evict_normal",
        "L1::evict_unchanged",
        "L1::evict_first",
        "L1::evict_last",
        "L1::no_allocate",
        "L2::evict_normal",
        "L2::evict_first",
        "L2::evict_last",
        "L2::64B",
        "L2::128B",
        "L2::256B",
        NULL,
    };
    take_any(d, words);
    return ptx_take(d, "L2::cache_hint");
}

static uint32_t take_vector(ptx_dec *d)
{
    return ptx_take(d, "v8") ? 8 : ptx_take(d, "v4") ? 4 : ptx_take(d, "v2") ? 2 : 1;
}

static void note_grain(ptx_dec *d, ptx_space s, uint32_t total, bool write)
{
    if ((s == PTX_SHARED || s == PTX_CLUSTER || s == PTX_GENERIC) && total < d->min_shared)
        d->min_shared = total;
    if ((s == PTX_GLOBAL || s == PTX_GENERIC) && write && total < d->min_global)
        d->min_global = total;
}

static uint8_t mem_class(ptx_space s, bool write)
{
    switch (s) {
    case PTX_SHARED: case PTX_CLUSTER: return write ? PTXSIM_C_ST_SHARED : PTXSIM_C_LD_SHARED;
    case PTX_LOCAL: return PTXSIM_C_LOCAL;
    case PTX_PARAM: return PTXSIM_C_PARAM;
    default: return write ? PTXSIM_C_ST_GLOBAL : PTXSIM_C_LD_GLOBAL;
    }
}

static ptxsim_code policy_operand(ptx_dec *d, const ptx_stmt *st, uint32_t i, bool hint)
{
    uint32_t slot;
    return hint ? ptx_src(d, &st->opnd[i], PTX_B64, &slot) : PTXSIM_OK;
}

static ptxsim_code ldst_type(ptx_dec *d, ptx_ldst *l)
{
    PTX_RET(ptx_want_type(d, &l->type));
    unsigned bits = ptx_type_bits(l->type);
    if (l->type == PTX_PRED || bits < 8 || ptx_types[l->type].n > 1) return bad_type(d, l->type);
    l->elem = bits / 8;
    l->total = l->elem * l->n;
    l->sign = ptx_is_signed(l->type);
    return l->total <= 32 ? PTXSIM_OK
                          : ptx_dec_fail(d, d->st->pos, "%s: more than 32 bytes", d->st->text);
}

static ptxsim_code elements(ptx_dec *d, const ptx_opnd *o, ptx_ldst *l, bool load)
{
    const ptx_opnd *sub = o->kind == PTX_O_VEC ? o->sub : o;
    uint32_t have = o->kind == PTX_O_VEC ? o->n_sub : 1;
    unsigned bits = l->elem * 8;
    if (have != l->n)
        return ptx_dec_fail(d, o->pos, "%s: %u registers are wanted, got %u", d->st->text, l->n,
                            have);
    for (uint32_t k = 0; k < l->n; k++) {
        unsigned got;
        if (load) PTX_RET(ptx_dst_any(d, &sub[k], bits, bits < 64, &l->slot[k], &got));
        else PTX_RET(ptx_src_any(d, &sub[k], l->type, bits < 64, &l->slot[k], &got));
        l->reg_bits[k] = got;
    }
    return PTXSIM_OK;
}

/* [name + constant] of a kernel parameter: its place is known now. */
static ptxsim_code param_place(ptx_dec *d, const ptx_opnd *o, ptx_ldst *l, bool *known)
{
    const ptx_opnd *base = o->kind == PTX_O_MEM ? &o->sub[0] : o;
    *known =
        o->kind == PTX_O_MEM && base->kind == PTX_O_VAR && base->var->kernel_param && o->n_sub == 1;
    if (!*known) return PTXSIM_OK;
    int64_t off = (int64_t)base->var->addr + o->imm;
    uint32_t limit = d->func->param_bytes;
    if (off < 0 || (uint64_t)off + l->total > limit)
        return ptx_dec_fail(d, o->pos, "%s: reads past the parameters (%u bytes)", d->st->text,
                            limit);
    if (off % l->elem)
        return ptx_dec_fail(d, o->pos, "%s: the parameter offset is not aligned", d->st->text);
    l->mem = (ptx_mem){ .off = off, .space = PTX_PARAM };
    return PTXSIM_OK;
}

static ptxsim_code dec_ld(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_ldst *l = ptx_dec_alloc(d, sizeof *l);
    if (!l) return d->err->code;
    d->x->own = l;
    ptx_space space = take_space(d);
    l->kind = PTX_READ | take_order(d);
    bool hint = take_cache(d), known = false;
    l->n = take_vector(d);
    PTX_RET(ldst_type(d, l));
    PTX_RET(ptx_want_opnds(d, 2 + hint, 2 + hint));
    PTX_RET(elements(d, &st->opnd[0], l, true));
    if (space == PTX_PARAM) PTX_RET(param_place(d, &st->opnd[1], l, &known));
    in->cls = mem_class(space, false);
    if (known) {
        in->fn = ptx_hfn(d, PTX_H_ld_param);
        return PTXSIM_OK;
    }
    PTX_RET(ptx_mem_opnd(d, &st->opnd[1], space, &l->mem));
    if (l->kind & PTX_SYNC) d->code->fences = true;
    if (l->kind & PTX_SYNC ||
        (l->kind & PTX_STRONG && (space == PTX_GLOBAL || space == PTX_GENERIC)))
        d->code->grid_sync = true;
    note_grain(d, space, l->total, false);
    in->flags |= PTX_I_OWN_VALID;
    in->fn = ptx_hfn(d, PTX_H_ld);
    return policy_operand(d, st, 2, hint);
}

static ptxsim_code dec_st(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_ldst *l = ptx_dec_alloc(d, sizeof *l);
    if (!l) return d->err->code;
    d->x->own = l;
    ptx_space space = take_space(d);
    l->kind = PTX_WRITE | take_order(d);
    bool hint = take_cache(d);
    l->n = take_vector(d);
    PTX_RET(ldst_type(d, l));
    PTX_RET(ptx_want_opnds(d, 2 + hint, 2 + hint));
    if (space == PTX_CONST)
        return ptx_dec_fail(d, st->pos, "%s: constant memory cannot be written", st->text);
    PTX_RET(ptx_mem_opnd(d, &st->opnd[0], space, &l->mem));
    if (l->mem.space == PTX_PARAM)
        return ptx_dec_fail(d, st->pos, "%s: kernel parameters cannot be written", st->text);
    PTX_RET(elements(d, &st->opnd[1], l, false));
    note_grain(d, space, l->total, true);
    if (l->kind & PTX_SYNC) d->code->grid_sync = d->code->fences = true;
    in->cls = mem_class(space, true);
    in->flags |= PTX_I_OWN_VALID;
    in->fn = ptx_hfn(d, PTX_H_st);
    return policy_operand(d, st, 2, hint);
}

/* ---- atom, red ---- */

static bool atom_type_ok(ptx_atom_op op, ptx_type t)
{
    unsigned bits = ptx_type_bits(t);
    char kind = ptx_types[t].kind;
    switch (op) {
    case PTX_AT_ADD:
        return t == PTX_U32 || t == PTX_S32 || t == PTX_U64 || t == PTX_S64 || t == PTX_F32 ||
               t == PTX_F64 || t == PTX_F16 || t == PTX_F16X2 || t == PTX_BF16 || t == PTX_BF16X2;
    case PTX_AT_MIN:
    case PTX_AT_MAX:
        return t == PTX_U32 || t == PTX_S32 || t == PTX_U64 || t == PTX_S64 || t == PTX_F16 ||
               t == PTX_F16X2 || t == PTX_BF16 || t == PTX_BF16X2;
    case PTX_AT_AND:
    case PTX_AT_OR:
    case PTX_AT_XOR: return kind == 'B' && (bits == 32 || bits == 64);
    case PTX_AT_EXCH: return kind == 'B' && (bits == 32 || bits == 64);
    case PTX_AT_CAS: return kind == 'B' && (bits == 16 || bits == 32 || bits == 64);
    default: return t == PTX_U32;
    }
}

static ptxsim_code dec_atom(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const char *const ops[] = { "add", "min",  "max", "and", "or",
                                       "xor", "exch", "cas", "inc", "dec" };
    bool red = st->op[0] == 'r';
    ptx_ldst *l = ptx_dec_alloc(d, sizeof *l);
    if (!l) return d->err->code;
    d->x->own = l;
    l->op = UINT32_MAX;
    for (uint32_t k = 0; k < 10; k++)
        if (ptx_take(d, ops[k])) l->op = k;
    if (l->op > 9 || (red && (l->op == PTX_AT_EXCH || l->op == PTX_AT_CAS)))
        return ptx_dec_fail(d, st->pos, "%s: the operation is missing", st->text);
    ptx_space space = take_space(d);
    if (space != PTX_GENERIC && space != PTX_GLOBAL && space != PTX_SHARED && space != PTX_CLUSTER)
        return ptx_dec_fail(d, st->pos, "%s: no atomics in this state space", st->text);
    l->kind = PTX_ATOMIC | PTX_STRONG | (take_order(d) & PTX_SYNC);
    if (l->kind & PTX_SYNC) d->code->fences = true;
    ptx_take(d, "noftz");
    bool hint = take_cache(d);
    l->n = take_vector(d);
    PTX_RET(ptx_want_type(d, &l->type));
    if (!atom_type_ok((ptx_atom_op)l->op, l->type) || (l->n > 1 && !ptx_is_float(l->type)))
        return bad_type(d, l->type);
    l->elem = ptx_type_bits(l->type) / 8;
    l->total = l->elem * l->n;
    if (l->total > 32) return bad_type(d, l->type);
    uint32_t i = red ? 0 : 1, n = 2 + i + (l->op == PTX_AT_CAS) + hint;
    PTX_RET(ptx_want_opnds(d, n, n));
    if (!red) {
        if (l->n > 1) PTX_RET(ptx_dst_vec(d, &st->opnd[0], l->elem * 8, l->n, l->slot));
        else PTX_RET(ptx_dst(d, &st->opnd[0], l->elem * 8, &l->slot[0]));
    }
    PTX_RET(ptx_mem_opnd(d, &st->opnd[i], space, &l->mem));
    if (l->n > 1) PTX_RET(ptx_src_vec(d, &st->opnd[i + 1], l->elem * 8, l->n, l->b));
    else PTX_RET(ptx_src(d, &st->opnd[i + 1], l->type, &l->b[0]));
    if (l->op == PTX_AT_CAS) PTX_RET(ptx_src(d, &st->opnd[i + 2], l->type, &l->c[0]));
    note_grain(d, space, l->elem, true);
    in->flags |= PTX_I_OWN_VALID;
    in->fn = ptx_hfn(d, PTX_H_atom);
    return policy_operand(d, st, n - 1, hint);
}

/* ---- cp.async ---- */

/* u0: bytes; a: slot of the source size or 0; b: slot of the ignore predicate or 0 (u1 flips it).
 */
static ptxsim_code dec_cp_async(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    bool ca = ptx_take(d, "ca"), cg = ptx_take(d, "cg");
    if (ca == cg) return ptx_dec_fail(d, st->pos, "%s: .ca or .cg is wanted", st->text);
    if (!ptx_take(d, "shared") && !ptx_take(d, "shared::cta"))
        return ptx_dec_fail(d, st->pos, "%s: .shared is wanted", st->text);
    if (!ptx_take(d, "global")) return ptx_dec_fail(d, st->pos, "%s: .global is wanted", st->text);
    bool hint = take_cache(d);
    PTX_RET(ptx_dec_needs_sm(d, 80));
    PTX_RET(ptx_want_opnds(d, 3 + hint, 4 + hint));
    int64_t size;
    ptx_mem *mem = ptx_dec_alloc(d, 2 * sizeof *mem);
    if (!mem) return d->err->code;
    d->x->own = mem;
    PTX_RET(ptx_mem_opnd(d, &st->opnd[0], PTX_SHARED, &mem[0]));
    PTX_RET(ptx_mem_opnd(d, &st->opnd[1], PTX_GLOBAL, &mem[1]));
    PTX_RET(ptx_const_int(d, &st->opnd[2], &size));
    if (!(size == 16 || (ca && (size == 4 || size == 8))))
        return ptx_dec_fail(d, st->opnd[2].pos, "%s: copies of %lld bytes do not exist", st->text,
                            (long long)size);
    in->u0 = (uint32_t)size;
    if (st->n_opnd == 4u + hint) {
        const ptx_opnd *o = &st->opnd[3];
        bool neg = false;
        if (o->kind == PTX_O_REG && o->reg->type == PTX_PRED) {
            PTX_RET(ptx_src_pred(d, o, &in->b, &neg));
            in->u1 = neg ? PTX_FULL : 0;
        } else {
            PTX_RET(ptx_src(d, o, PTX_U32, &in->a));
        }
    }
    note_grain(d, PTX_SHARED, (uint32_t)size, true);
    in->fn = ptx_h_cp_async;
    in->flags |= PTX_I_OWN_VALID;
    in->cls = PTXSIM_C_ASYNC_COPY;
    return policy_operand(d, st, st->n_opnd - 1, hint);
}

static ptxsim_code dec_cp(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    int64_t n = 0;
    in->cls = PTXSIM_C_ASYNC_COPY;
    if (!ptx_take(d, "async"))
        return ptx_dec_fail(d, st->pos, "unknown instruction '%s'", st->text);
    if (ptx_take(d, "commit_group")) {
        in->fn = ptx_h_cp_commit;
        return ptx_want_opnds(d, 0, 0);
    }
    bool all = ptx_take(d, "wait_all");
    if (all || ptx_take(d, "wait_group")) {
        PTX_RET(ptx_want_opnds(d, !all, !all));
        if (!all) PTX_RET(ptx_const_int(d, &st->opnd[0], &n));
        if (n < 0 || n > 1 << 20)
            return ptx_dec_fail(d, st->opnd[0].pos, "%s: a count is wanted", st->text);
        in->u0 = (uint32_t)n;
        in->u1 = all;
        in->fn = ptx_h_cp_wait;
        in->flags |= PTX_I_OWN_VALID;
        return PTXSIM_OK;
    }
    if (ptx_take(d, "mbarrier")) {
        if (!ptx_take(d, "arrive"))
            return ptx_dec_fail(d, st->pos, "%s: .arrive is wanted", st->text);
        in->u0 = ptx_take(d, "noinc");
        ptx_space s = take_space(d);
        if (!ptx_take(d, "b64")) return ptx_dec_fail(d, st->pos, "%s: .b64 is wanted", st->text);
        ptx_mem *mem = ptx_dec_alloc(d, sizeof *mem);
        if (!mem) return d->err->code;
        d->x->own = mem;
        d->code->simple_sync = false;
        in->fn = ptx_h_cp_mbar_arrive;
        PTX_RET(ptx_want_opnds(d, 1, 1));
        return ptx_mem_opnd(d, &st->opnd[0], s, mem);
    }
    return dec_cp_async(d, st, in);
}

/* ---- mbarrier ---- */

typedef enum mbar_op {
    MB_INIT,
    MB_INVAL,
    MB_ARRIVE,
    MB_DROP,
    MB_EXPECT,
    MB_COMPLETE,
    MB_TEST,
    MB_TRY,
    MB_PENDING
} mbar_op;

/* u0: mbar_op | expect_tx << 8 | parity << 9 | state wanted << 10 | noComplete << 11; a: count or
 * tx; b: state or parity; d: state or predicate. */
static ptxsim_code dec_mbarrier(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const struct { const char *name; mbar_op op;
    } ops[] = {
        { "init", MB_INIT },        { "inval", MB_INVAL },      { "arrive", MB_ARRIVE },
        { "arrive_drop", MB_DROP }, { "expect_tx", MB_EXPECT }, { "complete_tx", MB_COMPLETE },
        { "test_wait", MB_TEST },   { "try_wait", MB_TRY },     { "pending_count", MB_PENDING },
    };
    uint32_t op = UINT32_MAX, i = 0;
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        if (op == UINT32_MAX && ptx_take(d, ops[k].name)) op = ops[k].op;
    if (op == UINT32_MAX) return ptx_dec_fail(d, st->pos, "%s: the operation is missing", st->text);
    bool arrive = op == MB_ARRIVE || op == MB_DROP, wait = op == MB_TEST || op == MB_TRY;
    bool expect = arrive && ptx_take(d, "expect_tx"), parity = wait && ptx_take(d, "parity"),
         no_complete = arrive && ptx_take(d, "noComplete");
    take_order(d);
    ptx_space s = take_space(d);
    if (!ptx_take(d, "b64")) return ptx_dec_fail(d, st->pos, "%s: .b64 is wanted", st->text);
    PTX_RET(ptx_dec_needs_sm(
        d, expect || op == MB_TRY || op == MB_EXPECT || op == MB_COMPLETE ? 90 : 80));
    in->u0 = op | (uint32_t)expect << 8 | (uint32_t)parity << 9 | (uint32_t)no_complete << 11;
    in->cls = PTXSIM_C_BARRIER;
    in->fn = ptx_h_mbar;
    d->code->simple_sync = false;
    if (op == MB_PENDING) {
        PTX_RET(ptx_want_opnds(d, 2, 2));
        PTX_RET(ptx_dst(d, &st->opnd[0], 32, &in->d));
        return ptx_src(d, &st->opnd[1], PTX_B64, &in->b);
    }
    ptx_mem *mem = ptx_dec_alloc(d, sizeof *mem);
    if (!mem || !st->n_opnd) return mem ? ptx_want_opnds(d, 1, 4) : d->err->code;
    d->x->own = mem;
    if (wait) {
        PTX_RET(ptx_want_opnds(d, 3, op == MB_TRY ? 4 : 3));
        PTX_RET(ptx_dst_pred(d, &st->opnd[i++], &in->d));
    } else if (arrive && st->opnd[0].kind != PTX_O_MEM) {
        in->u0 |= (uint32_t)(st->opnd[0].kind != PTX_O_SINK) << 10;
        PTX_RET(ptx_dst(d, &st->opnd[i++], 64, &in->d));
    }
    if (i >= st->n_opnd) return ptx_dec_fail(d, st->pos, "%s: the address is missing", st->text);
    PTX_RET(ptx_mem_opnd(d, &st->opnd[i++], s, mem));
    bool count = op == MB_INIT || op == MB_EXPECT || op == MB_COMPLETE || expect || no_complete;
    if (count && i >= st->n_opnd)
        return ptx_dec_fail(d, st->pos, "%s: the count is missing", st->text);
    if (wait) {
        PTX_RET(ptx_src(d, &st->opnd[i++], parity ? PTX_U32 : PTX_B64, &in->b));
        if (i < st->n_opnd) PTX_RET(ptx_src(d, &st->opnd[i++], PTX_U32, &in->c));
    } else if (i < st->n_opnd && op != MB_INVAL) {
        PTX_RET(ptx_src(d, &st->opnd[i++], PTX_U32, &in->a));
    }
    return i == st->n_opnd ? PTXSIM_OK
                           : ptx_dec_fail(d, st->pos, "%s: too many operands", st->text);
}

/* st.async[.weak][.shared::cluster].mbarrier::complete_tx::bytes[.v2|.v4].type [a], b, [mbar] */
static ptxsim_code dec_st_async(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptx_ldst *l = ptx_dec_alloc(d, sizeof *l + sizeof(ptx_mem));
    if (!l) return d->err->code;
    ptx_mem *bar = (ptx_mem *)(void *)(l + 1);
    d->x->own = l;
    ptx_take(d, "async");
    ptx_take(d, "weak");
    take_space(d);
    if (!ptx_take(d, "mbarrier::complete_tx::bytes"))
        return ptx_dec_fail(d, st->pos, "%s: .mbarrier::complete_tx::bytes is wanted", st->text);
    l->n = take_vector(d);
    PTX_RET(ldst_type(d, l));
    PTX_RET(ptx_dec_needs_sm(d, 90));
    PTX_RET(ptx_want_opnds(d, 3, 3));
    PTX_RET(ptx_mem_opnd(d, &st->opnd[0], PTX_CLUSTER, &l->mem));
    PTX_RET(elements(d, &st->opnd[1], l, false));
    PTX_RET(ptx_mem_opnd(d, &st->opnd[2], PTX_CLUSTER, bar));
    note_grain(d, PTX_SHARED, l->total, true);
    d->code->simple_sync = false;
    in->cls = PTXSIM_C_ST_SHARED;
    in->fn = ptx_h_st_async;
    return PTXSIM_OK;
}

static ptxsim_code dec_st_or_async(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    return st->n_mod && !strcmp(st->mod[0].s, "async") ? dec_st_async(d, st, in)
                                                       : dec_st(d, st, in);
}

/* ---- fences and hints ---- */

/* u0: bit 0 orders device-wide, bit 1 asynchronous proxy, bit 2 initialised mbarriers, bit 3 memory
 * of any kind. */
static ptxsim_code dec_fence(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const char *const words[] = { "sc",
                                         "acq_rel",
                                         "acquire",
                                         "release",
                                         "cta",
                                         "cluster",
                                         "alias",
                                         "proxy::alias",
                                         "shared::cta",
                                         "shared::cluster",
                                         "global",
                                         "to_proxy::async",
                                         "from_proxy::async",
                                         "sync_restrict::shared::cta",
                                         "sync_restrict::shared::cluster",
                                         "level::eviction",
                                         NULL };
    if (!st->n_mod) return ptx_dec_fail(d, st->pos, "%s: the scope is missing", st->op);
    if (ptx_take(d, "gpu") || ptx_take(d, "sys") || ptx_take(d, "gl")) in->u0 |= 1;
    if (ptx_take(d, "async") || ptx_take(d, "async::generic") || ptx_take(d, "async.global"))
        in->u0 |= 2;
    if (ptx_take(d, "mbarrier_init")) in->u0 |= 4;
    else if (!ptx_take(d, "proxy")) in->u0 |= 8, d->code->fences = true;
    bool tensormap = ptx_take(d, "tensormap::generic") || ptx_take(d, "tensormap");
    take_any(d, words);
    in->cls = PTXSIM_C_BARRIER;
    in->fn = ptx_h_fence;
    if (in->u0 & 1) d->code->grid_sync = true;
    return ptx_want_opnds(d, 0, tensormap ? 2 : 0);
}

static ptxsim_code dec_prefetch(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const char *const words[] = {
        "L1", "L2", "L2::evict_last", "L2::evict_normal", "L2::evict_first", "L2::128B", NULL
    };
    ptx_space s = take_space(d);
    ptx_mem mem;
    uint32_t slot;
    take_any(d, words);
    in->fn = ptx_h_nop;
    PTX_RET(ptx_want_opnds(d, 1, 2));
    PTX_RET(ptx_mem_opnd(d, &st->opnd[0], s, &mem));
    return st->n_opnd == 2 ? ptx_src(d, &st->opnd[1], PTX_U32, &slot) : PTXSIM_OK;
}

/* createpolicy: the policy is a number nobody looks at. */
static ptxsim_code dec_policy(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const char *const words[] = { "fractional",
                                         "range",
                                         "global",
                                         "cvt",
                                         "L2",
                                         "L2::evict_last",
                                         "L2::evict_normal",
                                         "L2::evict_first",
                                         "L2::evict_unchanged",
                                         NULL };
    take_any(d, words);
    take_any(d, words);
    if (!ptx_take(d, "b64")) return ptx_dec_fail(d, st->pos, "%s: .b64 is wanted", st->text);
    PTX_RET(ptx_want_opnds(d, 1, 4));
    in->a = ptx_const_slot(d, 0x10f0000000000000ull, 64);
    in->fn = ptx_hfn(d, PTX_H_mov_64);
    return ptx_dst(d, &st->opnd[0], 64, &in->d);
}

const ptx_op ptx_ops_mem[] = {
    { "ld", dec_ld, 0 },
    { "ldu", dec_ld, 0 },
    { "st", dec_st_or_async, 0 },
    { "atom", dec_atom, PTXSIM_C_ATOMIC },
    { "red", dec_atom, PTXSIM_C_ATOMIC },
    { "cp", dec_cp, PTXSIM_C_ASYNC_COPY },
    { "mbarrier", dec_mbarrier, PTXSIM_C_BARRIER },
    { "fence", dec_fence, PTXSIM_C_BARRIER },
    { "membar", dec_fence, PTXSIM_C_BARRIER },
    { "prefetch", dec_prefetch, PTXSIM_C_OTHER },
    { "prefetchu", dec_prefetch, PTXSIM_C_OTHER },
    { "applypriority", dec_prefetch, PTXSIM_C_OTHER },
    { "discard", dec_prefetch, PTXSIM_C_OTHER },
    { "createpolicy", dec_policy, PTXSIM_C_OTHER },
    { NULL, NULL, 0 },
};

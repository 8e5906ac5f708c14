/* decode_warp.c: shuffles, votes, barriers and the small instructions around them. */
#include "ptxsim/decode.h"

#include <string.h>

static ptxsim_code want_sync(ptx_dec *d, const ptx_stmt *st)
{
    if (ptx_take(d, "sync")) return PTXSIM_OK;
    return ptx_dec_fail(d, st->pos, "%s: .sync is missing (the forms without it ended with sm_70)",
                        st->text);
}

/* The membermask is the last source. */
static ptxsim_code member_mask(ptx_dec *d, const ptx_opnd *o, ptx_inst *in)
{
    in->flags |= PTX_I_MASK;
    return ptx_src(d, o, PTX_B32, &d->x->mask_slot);
}

/* d or d|p */
static ptxsim_code dst_pair(ptx_dec *d, const ptx_opnd *o, unsigned bits, uint32_t *dst,
                            uint32_t *p)
{
    *p = 0;
    if (o->kind != PTX_O_PAIR) return ptx_dst(d, o, bits, dst);
    PTX_RET(ptx_dst(d, &o->sub[0], bits, dst));
    return ptx_dst_pred(d, &o->sub[1], p);
}

static ptxsim_code dec_shfl(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const char *const modes[] = { "up", "down", "bfly", "idx" };
    PTX_RET(want_sync(d, st));
    in->u0 = 4;
    for (uint32_t k = 0; k < 4; k++)
        if (ptx_take(d, modes[k])) in->u0 = k;
    if (in->u0 > 3 || !ptx_take(d, "b32"))
        return ptx_dec_fail(d, st->pos, "%s: a mode and .b32 are wanted", st->text);
    PTX_RET(ptx_want_opnds(d, 5, 5));
    PTX_RET(dst_pair(d, &st->opnd[0], 32, &in->d, &in->u1));
    PTX_RET(ptx_src(d, &st->opnd[1], PTX_B32, &in->a));
    PTX_RET(ptx_src(d, &st->opnd[2], PTX_U32, &in->b));
    PTX_RET(ptx_src(d, &st->opnd[3], PTX_U32, &in->c));
    in->fn = ptx_hfn(d, PTX_H_shfl);
    in->flags |= PTX_I_OWN_VALID;
    return member_mask(d, &st->opnd[4], in);
}

static ptxsim_code dec_vote(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const char *const modes[] = { "all", "any", "uni", "ballot" };
    bool neg;
    PTX_RET(want_sync(d, st));
    in->u0 = 4;
    for (uint32_t k = 0; k < 4; k++)
        if (ptx_take(d, modes[k])) in->u0 = k;
    if (in->u0 > 3 || !ptx_take(d, in->u0 == 3 ? "b32" : "pred"))
        return ptx_dec_fail(d, st->pos, "%s: a mode and its type are wanted", st->text);
    PTX_RET(ptx_want_opnds(d, 3, 3));
    if (in->u0 == 3) PTX_RET(ptx_dst(d, &st->opnd[0], 32, &in->d));
    else PTX_RET(ptx_dst_pred(d, &st->opnd[0], &in->d));
    PTX_RET(ptx_src_pred(d, &st->opnd[1], &in->a, &neg));
    in->u1 = neg ? PTX_FULL : 0;
    in->fn = ptx_hfn(d, PTX_H_vote);
    return member_mask(d, &st->opnd[2], in);
}

static ptxsim_code dec_match(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    bool all = ptx_take(d, "all"), wide;
    if (!all && !ptx_take(d, "any"))
        return ptx_dec_fail(d, st->pos, "match: .any or .all is wanted");
    PTX_RET(want_sync(d, st));
    wide = ptx_take(d, "b64");
    if (!wide && !ptx_take(d, "b32"))
        return ptx_dec_fail(d, st->pos, "match: .b32 or .b64 is wanted");
    PTX_RET(ptx_want_opnds(d, 3, 3));
    in->u0 = (uint32_t)all | (uint32_t)wide << 1;
    if (all) PTX_RET(dst_pair(d, &st->opnd[0], 32, &in->d, &in->u1));
    else PTX_RET(ptx_dst(d, &st->opnd[0], 32, &in->d));
    PTX_RET(ptx_src(d, &st->opnd[1], wide ? PTX_B64 : PTX_B32, &in->a));
    in->fn = ptx_hfn(d, PTX_H_match);
    return member_mask(d, &st->opnd[2], in);
}

static ptxsim_code dec_redux(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    static const char *const ops[] = { "add", "min", "max", "and", "or", "xor" };
    ptx_type t;
    PTX_RET(want_sync(d, st));
    in->u0 = 6;
    for (uint32_t k = 0; k < 6; k++)
        if (ptx_take(d, ops[k])) in->u0 = k;
    PTX_RET(ptx_want_type(d, &t));
    if (in->u0 > 5 || ptx_type_bits(t) != 32 || ptx_is_float(t) ||
        (ptx_types[t].kind == 'B') != (in->u0 > 2))
        return ptx_dec_fail(d, st->pos, "%s: there is no such reduction", st->text);
    PTX_RET(ptx_dec_needs_sm(d, 80));
    in->u1 = ptx_is_signed(t);
    PTX_RET(ptx_want_opnds(d, 3, 3));
    PTX_RET(ptx_dst(d, &st->opnd[0], 32, &in->d));
    PTX_RET(ptx_src(d, &st->opnd[1], t, &in->a));
    in->fn = ptx_hfn(d, PTX_H_redux);
    return member_mask(d, &st->opnd[2], in);
}

static ptxsim_code dec_elect(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    PTX_RET(want_sync(d, st));
    PTX_RET(ptx_dec_needs_sm(d, 90));
    PTX_RET(ptx_want_opnds(d, 2, 2));
    if (st->opnd[0].kind != PTX_O_PAIR)
        return ptx_dec_fail(d, st->opnd[0].pos, "elect: d|p is wanted");
    PTX_RET(dst_pair(d, &st->opnd[0], 32, &in->d, &in->u1));
    in->fn = ptx_hfn(d, PTX_H_elect);
    return member_mask(d, &st->opnd[1], in);
}

static ptxsim_code dec_activemask(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    if (!ptx_take(d, "b32")) return ptx_dec_fail(d, st->pos, "activemask: .b32 is wanted");
    PTX_RET(ptx_want_opnds(d, 1, 1));
    in->fn = ptx_hfn(d, PTX_H_activemask);
    return ptx_dst(d, &st->opnd[0], 32, &in->d);
}

/* ---- barriers ---- */

/* barrier.cluster.arrive / wait */
static ptxsim_code dec_cluster_barrier(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    bool arrive = ptx_take(d, "arrive");
    if (!arrive && !ptx_take(d, "wait"))
        return ptx_dec_fail(d, st->pos, "%s: .arrive or .wait is wanted", st->text);
    PTX_RET(ptx_dec_needs_sm(d, 90));
    bool relaxed = ptx_take(d, "relaxed"), release = ptx_take(d, "release"),
         acquire = ptx_take(d, "acquire");
    if ((relaxed || release) && !arrive)
        return ptx_dec_fail(d, st->pos, "%s: a wait acquires", st->text);
    if (acquire && arrive) return ptx_dec_fail(d, st->pos, "%s: an arrival releases", st->text);
    if (ptx_take(d, "aligned")) in->flags |= PTX_I_WARP;
    in->u0 = relaxed;
    in->fn = arrive ? ptx_h_cluster_arrive : ptx_h_cluster_wait;
    d->code->simple_sync = false;
    d->code->uses_cluster = true;
    return ptx_want_opnds(d, 0, 0);
}

/* u0: 0 sync, 1 arrive, 2 popc, 3 and, 4 or; a: barrier, b: threads or 0; c: predicate (u1 flips);
 * d: result. */
static ptxsim_code dec_bar(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    in->cls = PTXSIM_C_BARRIER;
    if (ptx_take(d, "cluster")) return dec_cluster_barrier(d, st, in);
    if (ptx_take(d, "warp")) {
        PTX_RET(want_sync(d, st));
        PTX_RET(ptx_want_opnds(d, 1, 1));
        in->fn = ptx_h_warp_barrier;
        return member_mask(d, &st->opnd[0], in);
    }
    ptx_take(d, "cta");
    bool aligned = st->op[3] != 'r' || ptx_take(d, "aligned"), red = ptx_take(d, "red");
    uint32_t i = 0;
    if (ptx_take(d, "arrive")) in->u0 = 1;
    else if (red)
        in->u0 = ptx_take(d, "popc") ? 2 : ptx_take(d, "and") ? 3 : ptx_take(d, "or") ? 4 : 0;
    else PTX_RET(want_sync(d, st));
    if (aligned) in->flags |= PTX_I_WARP;
    in->fn = ptx_h_barrier;
    if (red) {
        bool neg;
        if (!in->u0 || !ptx_take(d, in->u0 == 2 ? "u32" : "pred"))
            return ptx_dec_fail(d, st->pos, "%s: an operation and its type are wanted", st->text);
        PTX_RET(ptx_want_opnds(d, 3, 4));
        if (in->u0 == 2) PTX_RET(ptx_dst(d, &st->opnd[i++], 32, &in->d));
        else PTX_RET(ptx_dst_pred(d, &st->opnd[i++], &in->d));
        PTX_RET(ptx_src_pred(d, &st->opnd[st->n_opnd - 1], &in->c, &neg));
        in->u1 = neg ? PTX_FULL : 0;
    } else {
        PTX_RET(ptx_want_opnds(d, in->u0 == 1 ? 2 : 1, 2));
    }
    uint32_t last = st->n_opnd - (red ? 1 : 0);
    const ptx_opnd *id = &st->opnd[i];
    if (in->u0 == 1 || last - i > 1 || id->kind != PTX_O_INT) d->code->simple_sync = false;
    if (id->kind == PTX_O_INT && (id->imm < 0 || id->imm > 15))
        return ptx_dec_fail(d, id->pos, "%s: barriers are 0 to 15", st->text);
    if (id->kind == PTX_O_INT && id->imm) d->code->simple_sync = false;
    PTX_RET(ptx_src(d, id, PTX_U32, &in->a));
    return last - i > 1 ? ptx_src(d, &st->opnd[i + 1], PTX_U32, &in->b) : PTXSIM_OK;
}

/* ---- the rest ---- */

static ptxsim_code dec_nothing(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    in->fn = ptx_h_nop;
    if (!strcmp(st->op, "griddepcontrol")) {
        if (!ptx_take(d, "launch_dependents") && !ptx_take(d, "wait"))
            return ptx_dec_fail(d, st->pos,
                                "griddepcontrol: .launch_dependents or .wait is wanted");
        PTX_RET(ptx_dec_needs_sm(d, 90));
    }
    return ptx_want_opnds(d, 0, !strcmp(st->op, "pmevent"));
}

static ptxsim_code dec_setmaxnreg(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    int64_t n;
    bool inc = ptx_take(d, "inc");
    if (!inc && !ptx_take(d, "dec"))
        return ptx_dec_fail(d, st->pos, "setmaxnreg: .inc or .dec is wanted");
    if (!ptx_take(d, "sync") || !ptx_take(d, "aligned") || !ptx_take(d, "u32"))
        return ptx_dec_fail(d, st->pos, "setmaxnreg: .sync.aligned.u32 is wanted");
    PTX_RET(ptx_dec_needs_sm(d, 90));
    PTX_RET(ptx_want_opnds(d, 1, 1));
    PTX_RET(ptx_const_int(d, &st->opnd[0], &n));
    if (n < 24 || n > 256 || n % 8)
        return ptx_dec_fail(d, st->opnd[0].pos, "setmaxnreg: 24 to 256 in steps of 8");
    in->flags |= PTX_I_WARP;
    in->fn = ptx_h_nop;
    return PTXSIM_OK;
}

static ptxsim_code dec_nanosleep(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    if (!ptx_take(d, "u32")) return ptx_dec_fail(d, st->pos, "nanosleep: .u32 is wanted");
    PTX_RET(ptx_want_opnds(d, 1, 1));
    in->fn = ptx_h_nanosleep;
    return ptx_src(d, &st->opnd[0], PTX_U32, &in->a);
}

static ptxsim_code dec_trap(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    in->fn = ptx_h_trap;
    return ptx_want_opnds(d, 0, 0);
}

const ptx_op ptx_ops_warp[] = {
    { "shfl", dec_shfl, PTXSIM_C_SHUFFLE },
    { "vote", dec_vote, PTXSIM_C_SHUFFLE },
    { "match", dec_match, PTXSIM_C_SHUFFLE },
    { "redux", dec_redux, PTXSIM_C_SHUFFLE },
    { "elect", dec_elect, PTXSIM_C_SHUFFLE },
    { "activemask", dec_activemask, PTXSIM_C_SHUFFLE },
    { "bar", dec_bar, PTXSIM_C_BARRIER },
    { "barrier", dec_bar, PTXSIM_C_BARRIER },
    { "griddepcontrol", dec_nothing, PTXSIM_C_OTHER },
    { "pmevent", dec_nothing, PTXSIM_C_OTHER },
    { "brkpt", dec_nothing, PTXSIM_C_OTHER },
    { "setmaxnreg", dec_setmaxnreg, PTXSIM_C_OTHER },
    { "nanosleep", dec_nanosleep, PTXSIM_C_OTHER },
    { "trap", dec_trap, PTXSIM_C_OTHER },
    { NULL, NULL, 0 },
};

/* flow.c: from statements to the order of execution.
 *
 * 1. Calls are inlined (recursion and calls through registers are refused), so the machine needs no
 * call stack and lanes that called from different places are simply in different copies. Arguments
 * are moved by ld/st/mov statements made here; every function has one frame of local memory.
 * 2. Blocks are put in a topological order of the strongly connected components, recursively inside
 * each loop (head first). So a loop's blocks are contiguous and its exits come after all of it: the
 * rule "run the lanes that are furthest behind" then brings lanes together again wherever the
 * program joins, whatever order the compiler wrote the blocks in, irreducible graphs included. */
#include "ptxsim/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ITEMS = 1 << 22, MAX_BLOCKS = 1 << 20, MAX_DEPTH = 32, MAX_LOOP_DEPTH = 200 };

typedef struct flow_ctx {
    ptx_module *mod;
    ptx_flow *f;
    ptxsim_error *err;
    uint32_t depth;
} flow_ctx;

static ptxsim_code no_memory(flow_ctx *c)
{
    return ptx_fail(c->err, PTXSIM_NO_MEMORY, c->mod->name, (ptx_pos){ 0, 0 },
                    "no memory left for this module");
}

static ptxsim_code add(flow_ctx *c, ptx_item it)
{
    ptx_flow *f = c->f;
    if (f->n == f->cap) {
        uint32_t cap = f->cap ? f->cap * 2 : 256;
        ptx_item *a = ll_try_alloc(&c->mod->arena, cap * sizeof *a);
        if (!a || cap > MAX_ITEMS) return no_memory(c);
        if (f->n) memcpy(a, f->item, f->n * sizeof *a);
        f->item = a;
        f->cap = cap;
    }
    f->item[f->n++] = it;
    return PTXSIM_OK;
}

/* ---- calls ---- */

/* A statement OP.TYPE dst, src made here, at the position of the call. */
static const ptx_stmt *made(flow_ctx *c, const ptx_stmt *at, const char *op, const char *space,
                            const char *type, ptx_opnd a, ptx_opnd b)
{
    ptx_stmt *st = ll_try_alloc(&c->mod->arena, sizeof *st);
    ptx_mod *m = ll_try_alloc(&c->mod->arena, 2 * sizeof *m);
    ptx_opnd *o = ll_try_alloc(&c->mod->arena, 2 * sizeof *o);
    if (!st || !m || !o) return NULL;
    uint32_t n = 0;
    if (space) m[n++] = (ptx_mod){ .s = space, .pos = at->pos };
    m[n++] = (ptx_mod){ .s = type, .pos = at->pos };
    o[0] = a, o[1] = b;
    *st = (ptx_stmt){ .op = op,
                      .pos = at->pos,
                      .mod = m,
                      .n_mod = n,
                      .opnd = o,
                      .n_opnd = 2,
                      .text = op,
                      .index = at->index };
    return st;
}

static ptxsim_code add_made(flow_ctx *c, ptx_func *f, const ptx_stmt *st)
{
    return st ? add(c, (ptx_item){ .st = st, .func = f, .kind = PTX_IT_PLAIN }) : no_memory(c);
}

static ptx_opnd reg_opnd(ptx_reg *r, ptx_pos pos)
{
    return (ptx_opnd){ .kind = PTX_O_REG, .pos = pos, .reg = r, .name = r->name };
}

static bool mem_opnd(flow_ctx *c, ptx_var *v, uint64_t off, ptx_pos pos, ptx_opnd *out)
{
    ptx_opnd *base = ll_try_alloc(&c->mod->arena, sizeof *base);
    if (!base) return false;
    *base = (ptx_opnd){ .kind = PTX_O_VAR, .pos = pos, .var = v, .name = v->name };
    *out =
        (ptx_opnd){ .kind = PTX_O_MEM, .pos = pos, .sub = base, .n_sub = 1, .imm = (int64_t)off };
    return true;
}

static ptx_reg *temporary(flow_ctx *c, ptx_func *f, ptx_type t)
{
    ptx_reg *r = ll_try_alloc(&c->mod->arena, sizeof *r);
    ptx_reg **list = ll_try_alloc(&c->mod->arena, (f->n_reg + 1) * sizeof *list);
    if (!r || !list) return NULL;
    *r = (ptx_reg){ .name = "(argument)", .type = t };
    if (f->n_reg) memcpy(list, f->reg, f->n_reg * sizeof *list);
    list[f->n_reg++] = r;
    f->reg = list;
    return r;
}

static const char *bits_name(uint64_t bytes)
{
    return bytes >= 8 ? "b64" : bytes >= 4 ? "b32" : bytes >= 2 ? "b16" : "b8";
}
static ptx_type bits_reg(uint64_t bytes)
{
    return bytes >= 8 ? PTX_B64 : bytes >= 4 ? PTX_B32 : PTX_B16;
}

/* Memory to memory, through a register, in the largest pieces the alignment allows. */
static ptxsim_code copy_var(flow_ctx *c, const ptx_stmt *at, ptx_func *df, ptx_var *dst,
                            ptx_func *sf, ptx_var *src)
{
    uint64_t n = dst->size < src->size ? dst->size : src->size,
             step = dst->align < src->align ? dst->align : src->align;
    if (step > 8) step = 8;
    for (uint64_t off = 0; off < n; off += step) {
        while (step > n - off) step /= 2;
        ptx_opnd from, to;
        ptx_reg *t = temporary(c, sf, bits_reg(step));
        if (!t || !mem_opnd(c, src, off, at->pos, &from) || !mem_opnd(c, dst, off, at->pos, &to))
            return no_memory(c);
        ptxsim_code r = add_made(
            c, sf, made(c, at, "ld", "param", bits_name(step), reg_opnd(t, at->pos), from));
        if (!r)
            r = add_made(c, df,
                         made(c, at, "st", "param", bits_name(step), to, reg_opnd(t, at->pos)));
        if (r) return r;
    }
    return PTXSIM_OK;
}

/* actual -> formal (into the callee) or formal -> actual (out of it). */
static ptxsim_code pass(flow_ctx *c, const ptx_stmt *at, ptx_func *caller, ptx_opnd *actual,
                        ptx_func *callee, ptx_var *formal, bool in)
{
    ptx_opnd mem;
    ptx_func *df = in ? callee : caller, *sf = in ? caller : callee;
    const char *type =
        formal->is_reg && formal->type == PTX_PRED ? "pred" : bits_name(formal->size);
    if (actual->kind == PTX_O_SINK) return PTXSIM_OK;
    if (actual->kind == PTX_O_VAR && !formal->is_reg && !actual->imm)
        return copy_var(c, at, df, in ? formal : actual->var, sf, in ? actual->var : formal);
    if (actual->kind == PTX_O_VAR) { /* a variable for a register parameter */
        if (!mem_opnd(c, actual->var, (uint64_t)actual->imm, at->pos, &mem)) return no_memory(c);
        ptx_opnd reg = reg_opnd(formal->reg ? formal->reg : NULL, at->pos);
        return add_made(c, caller,
                        in ? made(c, at, "ld", "param", type, reg, mem)
                           : made(c, at, "st", "param", type, mem, reg));
    }
    if (formal->is_reg) {
        ptx_opnd reg = reg_opnd(formal->reg, at->pos);
        return add_made(c, caller,
                        in ? made(c, at, "mov", NULL, type, reg, *actual)
                           : made(c, at, "mov", NULL, type, *actual, reg));
    }
    if (!mem_opnd(c, formal, 0, at->pos, &mem)) return no_memory(c);
    return add_made(c, callee,
                    in ? made(c, at, "st", "param", type, mem, *actual)
                       : made(c, at, "ld", "param", type, *actual, mem));
}

static ptxsim_code layout(flow_ctx *c, ptx_func *f);

static ptx_func *find_func(ptx_module *mod, const char *name)
{
    for (uint32_t i = 0; i < mod->n_func; i++)
        if (!strcmp(mod->func[i]->name, name)) return mod->func[i];
    return NULL;
}

/* call [(ret),] name [, (args)] [, prototype]; */
static ptxsim_code inline_call(flow_ctx *c, ptx_func *caller, const ptx_stmt *st)
{
    const char *file = c->mod->name;
    uint32_t i = 0;
    ptx_opnd *ret = NULL, *name, *args = NULL;
    if (i < st->n_opnd && st->opnd[i].kind == PTX_O_LIST) ret = &st->opnd[i++];
    if (i >= st->n_opnd)
        return ptx_fail(c->err, PTXSIM_BAD_PTX, file, st->pos,
                        "call: the function's name is missing");
    name = &st->opnd[i++];
    if (i < st->n_opnd && st->opnd[i].kind == PTX_O_LIST) args = &st->opnd[i++];
    for (uint32_t k = 0; k < st->n_mod; k++)
        if (strcmp(st->mod[k].s, "uni"))
            return ptx_fail(c->err, PTXSIM_BAD_PTX, file, st->mod[k].pos,
                            "call: unknown modifier .%s", st->mod[k].s);
    if (name->kind != PTX_O_LABEL)
        return ptx_fail(c->err, PTXSIM_UNSUPPORTED, file, name->pos,
                        "calls through registers are not supported");
    ptx_func *f = find_func(c->mod, name->name);
    if (!f)
        return ptx_fail(c->err, PTXSIM_BAD_PTX, file, name->pos, "%s is not declared", name->name);
    if ((ret ? ret->n_sub : 0) != f->n_ret || (args ? args->n_sub : 0) != f->n_param)
        return ptx_fail(c->err, PTXSIM_BAD_PTX, file, st->pos,
                        "call of %s: %u results and %u arguments are wanted, got %u and %u",
                        f->name, f->n_ret, f->n_param, ret ? ret->n_sub : 0,
                        args ? args->n_sub : 0);
    uint32_t skip = c->f->n;
    ptxsim_code r;
    if (st->guard &&
        (r = add(c, (ptx_item){ .st = st, .func = caller, .kind = PTX_IT_BRA, .skip = true })))
        return r;
    if (!f->defined) {
        if ((r = add(c, (ptx_item){ .st = st, .func = caller, .kind = PTX_IT_BUILTIN }))) return r;
    } else {
        if (f->depth)
            return ptx_fail(c->err, PTXSIM_UNSUPPORTED, file, st->pos,
                            "%s calls itself: recursion is not supported", f->name);
        if (c->depth >= MAX_DEPTH)
            return ptx_fail(c->err, PTXSIM_UNSUPPORTED, file, st->pos,
                            "calls nested deeper than %d", MAX_DEPTH);
        for (uint32_t k = 0; k < f->n_param; k++)
            if ((r = pass(c, st, caller, &args->sub[k], f, f->param[k], true))) return r;
        if ((r = layout(c, f))) return r;
        for (uint32_t k = 0; k < f->n_ret; k++)
            if ((r = pass(c, st, caller, &ret->sub[k], f, f->ret[k], false))) return r;
    }
    if (st->guard) c->f->item[skip].target = c->f->n;
    return PTXSIM_OK;
}

/* ---- one function ---- */

static ptxsim_code label_of(flow_ctx *c, ptx_func *f, const ptx_stmt *st, const ptx_opnd *o,
                            const ptx_label **out)
{
    if (o->kind != PTX_O_LABEL || o->imm < 0 || o->imm >= f->n_label)
        return ptx_fail(c->err, PTXSIM_BAD_PTX, c->mod->name, o->pos, "%s: %s is no label", st->op,
                        o->name ? o->name : "the operand");
    *out = &f->label[o->imm];
    return PTXSIM_OK;
}

static ptxsim_code only_uni(flow_ctx *c, const ptx_stmt *st, uint32_t n_opnd)
{
    for (uint32_t k = 0; k < st->n_mod; k++)
        if (strcmp(st->mod[k].s, "uni") && !(st->op[2] == 'x' && !strcmp(st->mod[k].s, "idx")))
            return ptx_fail(c->err, PTXSIM_BAD_PTX, c->mod->name, st->mod[k].pos,
                            "%s: unknown modifier .%s", st->op, st->mod[k].s);
    if (st->n_opnd != n_opnd)
        return ptx_fail(c->err, PTXSIM_BAD_PTX, c->mod->name, st->pos,
                        "%s: %u operands are wanted, got %u", st->op, n_opnd, st->n_opnd);
    return PTXSIM_OK;
}

/* brx.idx index, list; the labels are looked up by name in the list's scope chain (all in one
 * function). */
static ptxsim_code add_brx(flow_ctx *c, ptx_func *f, const ptx_stmt *st)
{
    const ptx_label *list = NULL;
    ptxsim_code r = only_uni(c, st, 2);
    if (!r) r = label_of(c, f, st, &st->opnd[1], &list);
    if (r) return r;
    if (!list->n_target)
        return ptx_fail(c->err, PTXSIM_BAD_PTX, c->mod->name, st->opnd[1].pos,
                        "brx: %s is no .branchtargets list", list->name);
    ptx_item it = {
        .st = st, .func = f, .kind = PTX_IT_BRX, .n_targets = list->n_target, .label = list
    };
    if (!(it.targets = ll_try_alloc(&c->mod->arena, it.n_targets * sizeof *it.targets)))
        return no_memory(c);
    for (uint32_t k = 0; k < list->n_target; k++) {
        uint32_t found = UINT32_MAX;
        for (uint32_t l = 0; l < f->n_label; l++)
            if (!strcmp(f->label[l].name, list->target[k])) found = l;
        if (found == UINT32_MAX)
            return ptx_fail(c->err, PTXSIM_BAD_PTX, c->mod->name, list->pos, "%s is no label",
                            list->target[k]);
        it.targets[k] = found;
    }
    return add(c, it);
}

static ptxsim_code add_stmt(flow_ctx *c, ptx_func *f, const ptx_stmt *st)
{
    ptx_item it = { .st = st, .func = f, .kind = PTX_IT_PLAIN };
    ptxsim_code r = PTXSIM_OK;
    if (!strcmp(st->op, "call")) return inline_call(c, f, st);
    if (!strcmp(st->op, "brx")) return add_brx(c, f, st);
    if (!strcmp(st->op, "bra")) {
        it.kind = PTX_IT_BRA;
        if (!(r = only_uni(c, st, 1))) r = label_of(c, f, st, &st->opnd[0], &it.label);
    } else if (!strcmp(st->op, "ret")) {
        r = only_uni(c, st, 0);
        it.kind = f->is_entry ? PTX_IT_EXIT : PTX_IT_BRA;
        it.target = UINT32_MAX; /* the end of this copy of the function */
    } else if (!strcmp(st->op, "exit")) {
        r = only_uni(c, st, 0);
        it.kind = PTX_IT_EXIT;
    }
    return r ? r : add(c, it);
}

static ptxsim_code layout(flow_ctx *c, ptx_func *f)
{
    uint32_t *map = malloc((f->n_stmt + 1) * sizeof *map), start = c->f->n;
    if (!map) return no_memory(c);
    ptxsim_code r = PTXSIM_OK;
    f->depth++, c->depth++;
    if (f->frame == UINT32_MAX) { /* first time for this entry */
        f->frame = (c->f->local_bytes + 15) / 16 * 16;
        c->f->local_bytes = f->frame + f->local_bytes;
    }
    for (uint32_t i = 0; i < f->n_stmt && !r; i++) {
        map[i] = c->f->n;
        r = add_stmt(c, f, f->stmt[i]);
    }
    map[f->n_stmt] = c->f->n;
    if (!r && f->is_entry) r = add(c, (ptx_item){ .func = f, .kind = PTX_IT_EXIT });
    for (uint32_t i = start; i < c->f->n && !r; i++) {
        ptx_item *it = &c->f->item[i];
        if (it->func != f || (it->kind != PTX_IT_BRA && it->kind != PTX_IT_BRX)) continue;
        if (it->kind == PTX_IT_BRX && it->label) {
            for (uint32_t k = 0; k < it->n_targets; k++)
                it->targets[k] = map[f->label[it->targets[k]].stmt];
        } else if (it->label) {
            it->target = map[it->label->stmt];
        } else if (it->target == UINT32_MAX) {
            it->target = c->f->n;
        }
        it->label = NULL;
    }
    f->depth--, c->depth--;
    free(map);
    return r;
}

/* ---- order ---- */

typedef struct graph {
    uint32_t n, *first;              /* block b: items [first[b], first[b + 1]) */
    uint32_t *succ, *succ_at;        /* successors of b: succ[succ_at[b] .. succ_at[b + 1]) */
    uint32_t *level;                 /* region b belongs to now; UINT32_MAX: placed */
    uint32_t *index, *low, *stack, *frame_b, *frame_e, *order, n_order, *comp;
    bool *on;
} graph;

/* Tarjan over the blocks of `region` reachable from `list` (in that order), without recursion.
 * Components come out in reverse topological order: out[] holds blocks, component by component,
 * `ends` their ends. */
static void components(graph *g, uint32_t region, const uint32_t *list, uint32_t n, uint32_t *out,
                       uint32_t *n_out, uint32_t *ends, uint32_t *n_ends)
{
    uint32_t next = 1, sp = 0;
    for (uint32_t i = 0; i < n; i++) g->index[list[i]] = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (g->index[list[i]]) continue;
        uint32_t fp = 0;
        g->frame_b[0] = list[i];
        g->frame_e[0] = g->succ_at[list[i]];
        g->index[list[i]] = g->low[list[i]] = next++;
        g->stack[sp++] = list[i];
        g->on[list[i]] = true;
        for (;;) {
            uint32_t b = g->frame_b[fp];
            if (g->frame_e[fp] < g->succ_at[b + 1]) {
                uint32_t s = g->succ[g->frame_e[fp]++];
                if (g->level[s] != region) continue;
                if (!g->index[s]) {
                    g->index[s] = g->low[s] = next++;
                    g->stack[sp++] = s;
                    g->on[s] = true;
                    fp++;
                    g->frame_b[fp] = s;
                    g->frame_e[fp] = g->succ_at[s];
                } else if (g->on[s] && g->index[s] < g->low[b]) {
                    g->low[b] = g->index[s];
                }
                continue;
            }
            if (g->low[b] == g->index[b]) {
                uint32_t v;
                do {
                    v = g->stack[--sp];
                    g->on[v] = false;
                    out[(*n_out)++] = v;
                } while (v != b);
                ends[(*n_ends)++] = *n_out;
            }
            if (!fp) break;
            fp--;
            if (g->low[b] < g->low[g->frame_b[fp]]) g->low[g->frame_b[fp]] = g->low[b];
        }
    }
}

/* Appends the blocks of `list` (all of one region) in order. The first of a component to be entered
 * (the last that Tarjan popped) is its head. */
static bool place(graph *g, uint32_t region, const uint32_t *list, uint32_t n,
                  uint32_t *next_region, uint32_t depth)
{
    uint32_t *out = malloc((n ? n : 1) * sizeof *out), *ends = malloc((n ? n : 1) * sizeof *ends),
             n_out = 0, n_ends = 0;
    bool ok = out && ends;
    if (ok) components(g, region, list, n, out, &n_out, ends, &n_ends);
    for (uint32_t c = n_ends; ok && c-- > 0;) {
        uint32_t from = c ? ends[c - 1] : 0, to = ends[c], h = out[to - 1];
        if (to - from == 1 || depth > MAX_LOOP_DEPTH) {
            for (uint32_t k = to; k-- > from;) {
                g->order[g->n_order++] = out[k];
                g->level[out[k]] = UINT32_MAX;
            }
            continue;
        }
        g->order[g->n_order++] = h;
        g->level[h] = UINT32_MAX;
        uint32_t inner = ++*next_region;
        /* In the order they were reached, so that the search starts behind the head. */
        for (uint32_t k = from; k < to - 1; k++) g->level[out[k]] = inner;
        uint32_t m = to - 1 - from, *rev = malloc(m * sizeof *rev);
        if (!(ok = rev != NULL)) break;
        for (uint32_t k = 0; k < m; k++) rev[k] = out[to - 2 - k];
        ok = place(g, inner, rev, m, next_region, depth + 1);
        free(rev);
    }
    free(out);
    free(ends);
    return ok;
}

static bool ends_block(const ptx_item *it)
{
    return it->kind == PTX_IT_BRA || it->kind == PTX_IT_EXIT || it->kind == PTX_IT_BRX;
}
static bool falls_through(const ptx_item *it)
{
    bool guarded = it->st && it->st->guard;
    return it->kind == PTX_IT_PLAIN || it->kind == PTX_IT_BUILTIN || it->kind == PTX_IT_FALL ||
           guarded;
}

static uint32_t block_of(const graph *g, uint32_t item)
{
    uint32_t lo = 0, hi = g->n;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (g->first[mid] <= item) lo = mid;
        else hi = mid;
    }
    return lo;
}

static uint32_t *words(flow_ctx *c, size_t n)
{
    return ll_try_alloc(&c->mod->arena, (n + 1) * sizeof(uint32_t));
}

/* Leaders and edges. Edges are listed so that Tarjan enters the fall-through last: it then comes
 * first in topological order among equals, which keeps the compiler's own order where nothing
 * speaks against it. */
static ptxsim_code find_blocks(flow_ctx *c, graph *g)
{
    ptx_flow *f = c->f;
    uint8_t *lead = ll_try_alloc(&c->mod->arena, f->n + 1);
    if (!lead) return no_memory(c);
    size_t edges = 0;
    lead[0] = 1;
    for (uint32_t i = 0; i < f->n; i++) {
        const ptx_item *it = &f->item[i];
        if (it->kind == PTX_IT_BRA) lead[it->target] = 1;
        for (uint32_t k = 0; k < it->n_targets; k++) lead[it->targets[k]] = 1;
        if (ends_block(it)) lead[i + 1] = 1;
        edges += 2 + it->n_targets;
    }
    for (uint32_t i = 0; i < f->n; i++) g->n += lead[i];
    if (g->n > MAX_BLOCKS)
        return ptx_fail(c->err, PTXSIM_UNSUPPORTED, c->mod->name, (ptx_pos){ 0, 0 },
                        "more than %d basic blocks", MAX_BLOCKS);
    size_t n = g->n;
    uint32_t **arrays[] = { &g->first, &g->succ_at, &g->level,   &g->index, &g->low,
                            &g->stack, &g->frame_b, &g->frame_e, &g->order, &g->comp };
    for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++)
        if (!(*arrays[k] = words(c, n + 1))) return no_memory(c);
    if (!(g->succ = words(c, edges)) || !(g->on = ll_try_alloc(&c->mod->arena, n + 1)))
        return no_memory(c);
    uint32_t b = 0, e = 0;
    for (uint32_t i = 0; i < f->n; i++)
        if (lead[i]) g->first[b++] = i;
    g->first[b] = f->n;
    for (b = 0; b < g->n; b++) {
        const ptx_item *last = &f->item[g->first[b + 1] - 1];
        g->succ_at[b] = e;
        for (uint32_t k = 0; k < last->n_targets; k++) g->succ[e++] = block_of(g, last->targets[k]);
        if (last->kind == PTX_IT_BRA && last->target < f->n)
            g->succ[e++] = block_of(g, last->target);
        if (falls_through(last) && b + 1 < g->n) g->succ[e++] = b + 1;
    }
    g->succ_at[g->n] = e;
    return PTXSIM_OK;
}

/* Rewrites the item list in block order, with FALL or BRA items where a block used to run into the
 * next. */
static ptxsim_code emit(flow_ctx *c, graph *g)
{
    ptx_flow *f = c->f, out = { .local_bytes = f->local_bytes };
    uint32_t *where = g->index, *preds = g->low; /* free again */
    memset(preds, 0, g->n * sizeof *preds);
    for (uint32_t e = 0; e < g->succ_at[g->n]; e++) preds[g->succ[e]]++;
    if (!(out.leader = words(c, g->n_order + 1))) return no_memory(c);
    ptx_item *old = f->item;
    c->f = &out;
    ptxsim_code r = PTXSIM_OK;
    for (uint32_t k = 0; k < g->n_order && !r; k++) {
        uint32_t b = g->order[k], next = k + 1 < g->n_order ? g->order[k + 1] : UINT32_MAX;
        where[b] = out.n;
        out.leader[out.n_block++] = out.n;
        for (uint32_t i = g->first[b]; i < g->first[b + 1] && !r; i++) r = add(c, old[i]);
        const ptx_item *last = &old[g->first[b + 1] - 1];
        if (r || !falls_through(last)) continue;
        if (next == b + 1) {
            if (preds[next] > 1) r = add(c, (ptx_item){ .func = last->func, .kind = PTX_IT_FALL });
        } else if (b + 1 < g->n) {
            r = add(
                c, (ptx_item){ .func = last->func, .kind = PTX_IT_BRA, .target = g->first[b + 1] });
        }
    }
    c->f = f;
    if (r) return r;
    for (uint32_t i = 0; i < out.n; i++) {
        ptx_item *it = &out.item[i];
        if (it->kind == PTX_IT_BRA) it->target = where[block_of(g, it->target)];
        for (uint32_t k = 0; k < it->n_targets; k++)
            it->targets[k] = where[block_of(g, it->targets[k])];
    }
    out.leader[out.n_block] = out.n;
    *f = out;
    return PTXSIM_OK;
}

ptxsim_code ptx_flow_build(ptx_module *mod, ptx_func *entry, ptx_flow *out, ptxsim_error *err)
{
    flow_ctx c = { .mod = mod, .f = out, .err = err };
    graph g = { 0 };
    *out = (ptx_flow){ 0 };
    for (uint32_t i = 0; i < mod->n_func; i++)
        mod->func[i]->frame = UINT32_MAX, mod->func[i]->depth = 0;
    ptxsim_code r = layout(&c, entry);
    if (!r) r = find_blocks(&c, &g);
    if (r) return r;
    uint32_t root = 0, region = 0, *list = words(&c, g.n);
    if (!list) return no_memory(&c);
    for (uint32_t b = 0; b < g.n; b++) g.level[b] = 0;
    /* Only what can be reached from the start, start first. */
    uint32_t n = 0, sp = 0;
    g.stack[sp++] = root;
    g.comp[root] = 1;
    while (sp) {
        uint32_t b = g.stack[--sp];
        list[n++] = b;
        for (uint32_t e = g.succ_at[b]; e < g.succ_at[b + 1]; e++)
            if (!g.comp[g.succ[e]]) g.comp[g.succ[e]] = 1, g.stack[sp++] = g.succ[e];
    }
    if (!place(&g, 0, list, n, &region, 0)) return no_memory(&c);
    return emit(&c, &g);
}

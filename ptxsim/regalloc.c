/* regalloc.c: gives registers that are never alive at the same time the same slot, so that a warp's
 * working set stays in the nearest cache (compilers write PTX with a new register for every value).
 *
 * Liveness is solved over the blocks, then every register becomes one interval of the final
 * instruction order and a linear scan hands out slots of three sizes. A destination's interval
 * begins at its instruction and a source's ends there, so they never share. A guarded write does
 * not end the life of the old value. Accumulators of asynchronous matrix instructions, and every
 * register that plain moves join with them, share with nobody: wgmma.c follows them by their move
 * class. What is alive at the start (read before it is written on some path) keeps its slot from
 * the start: the uninitialised-data check stays exact. */
#include "ptxsim/decode.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BITS = 1u << 31 };

typedef struct live {
    ptx_dec *d;
    uint32_t words, n_block;
    uint64_t *in, *out, *use, *def;
    uint32_t *from, *to;      /* interval of each register; from == UINT32_MAX: unused */
    uint32_t *parent;         /* move classes: union-find */
    uint8_t *pinned;          /* of a class's root: holds an accumulator in flight */
} live;

static uint32_t reg_of(uint32_t slot) { return (slot - PTX_VIRTUAL) / 512; }
static bool is_reg(uint32_t slot) { return slot >= PTX_VIRTUAL; }
static bool test(const uint64_t *s, uint32_t i) { return s[i / 64] >> (i % 64) & 1; }
static void set(uint64_t *s, uint32_t i) { s[i / 64] |= 1ull << (i % 64); }

static void note_use(live *l, uint32_t b, uint32_t slot)
{
    if (is_reg(slot) && !test(l->def + (size_t)b * l->words, reg_of(slot)))
        set(l->use + (size_t)b * l->words, reg_of(slot));
}

static void note_inst(live *l, uint32_t b, const ptx_inst *in)
{
    for (uint32_t k = 0; k < in->n_src; k++) note_use(l, b, in->x->slot[in->n_dst + k]);
    if (in->guard) note_use(l, b, in->guard);
    for (uint32_t k = 0; k < in->n_dst; k++) {
        uint32_t s = in->x->slot[k];
        if (!is_reg(s)) continue;
        if (in->guard) note_use(l, b, s);
        else set(l->def + (size_t)b * l->words, reg_of(s));
    }
}

static uint32_t block_of(const ptx_flow *f, uint32_t pc)
{
    uint32_t lo = 0, hi = f->n_block;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (f->leader[mid] <= pc) lo = mid;
        else hi = mid;
    }
    return lo;
}

static bool join(live *l, uint32_t b, uint32_t succ)
{
    uint64_t *o = l->out + (size_t)b * l->words, *i = l->in + (size_t)succ * l->words;
    bool grew = false;
    for (uint32_t w = 0; w < l->words; w++) {
        uint64_t v = o[w] | i[w];
        grew |= v != o[w];
        o[w] = v;
    }
    return grew;
}

/* A block's successors: the targets of its last item, and the next block when it falls through.
 * Only the last two items of a block may leave it (a conditional branch, then the way on). */
static bool join_successors(live *l, uint32_t b)
{
    const ptx_flow *f = l->d->flow;
    bool grew = false;
    uint32_t end = f->leader[b + 1], k = end - f->leader[b] > 2 ? end - 2 : f->leader[b];
    bool falls = true;
    for (; k < end; k++) {
        const ptx_item *it = &f->item[k];
        bool guarded = it->st && it->st->guard;
        if (it->kind == PTX_IT_BRA) grew |= join(l, b, block_of(f, it->target));
        for (uint32_t t = 0; t < it->n_targets; t++)
            grew |= join(l, b, block_of(f, it->targets[t]));
        if (k + 1 == end)
            falls = guarded || it->kind == PTX_IT_PLAIN || it->kind == PTX_IT_FALL ||
                    it->kind == PTX_IT_BUILTIN;
    }
    if (falls && b + 1 < l->n_block) grew |= join(l, b, b + 1);
    return grew;
}

static void solve(live *l)
{
    for (bool grew = true; grew;) {
        grew = false;
        for (uint32_t b = l->n_block; b-- > 0;) {
            grew |= join_successors(l, b);
            uint64_t *i = l->in + (size_t)b * l->words, *o = l->out + (size_t)b * l->words;
            uint64_t *u = l->use + (size_t)b * l->words, *e = l->def + (size_t)b * l->words;
            for (uint32_t w = 0; w < l->words; w++) {
                uint64_t v = u[w] | (o[w] & ~e[w]);
                grew |= v != i[w];
                i[w] = v;
            }
        }
    }
}

static void cover(live *l, uint32_t r, uint32_t pc)
{
    if (l->from[r] > pc) l->from[r] = pc;
    if (l->to[r] < pc) l->to[r] = pc;
}

static void intervals(live *l)
{
    const ptx_flow *f = l->d->flow;
    for (uint32_t b = 0; b < l->n_block; b++) {
        for (uint32_t r = 0; r < l->d->n_reg; r++) {
            if (test(l->in + (size_t)b * l->words, r)) cover(l, r, f->leader[b]);
            if (test(l->out + (size_t)b * l->words, r))
                cover(l, r, f->leader[b + 1] - 1), cover(l, r, f->leader[b]);
        }
        for (uint32_t pc = f->leader[b]; pc < f->leader[b + 1]; pc++) {
            const ptx_inst *in = &l->d->code->inst[pc];
            for (uint32_t k = 0; k < (uint32_t)in->n_dst + in->n_src; k++)
                if (is_reg(in->x->slot[k])) cover(l, reg_of(in->x->slot[k]), pc);
            if (in->guard) cover(l, reg_of(in->guard), pc);
        }
    }
}

static uint32_t root(live *l, uint32_t r)
{
    while (l->parent[r] != r) r = l->parent[r] = l->parent[l->parent[r]];
    return r;
}

static void move_classes(live *l)
{
    ptx_code *c = l->d->code;
    for (uint32_t r = 0; r < l->d->n_reg; r++) l->parent[r] = r;
    for (uint32_t pc = 0; pc < c->n; pc++) {
        const ptx_inst *in = &c->inst[pc];
        if (in->n_dst == 1 && in->n_src == 1 && !strcmp(in->x->st->op, "mov") &&
            is_reg(in->x->slot[0]) && is_reg(in->x->slot[1]))
            l->parent[root(l, reg_of(in->x->slot[0]))] = root(l, reg_of(in->x->slot[1]));
    }
    for (uint32_t pc = 0; pc < c->n; pc++) {
        const ptx_inst *in = &c->inst[pc];
        if (strcmp(in->x->st->op, "wgmma")) continue;
        for (uint32_t k = 0; k < in->n_dst; k++)
            if (is_reg(in->x->slot[k])) l->pinned[root(l, reg_of(in->x->slot[k]))] = 1;
    }
}

static unsigned size_class(const ptx_reg *r)
{
    unsigned bits = ptx_type_bits(r->type);
    return bits > 64 ? 2 : bits > 32 ? 1 : 0;
}

typedef struct active { uint32_t to, slot; } active;

/* A heap of intervals by their end, one for each size. */
static void heap_push(active *h, uint32_t *n, active a)
{
    uint32_t i = (*n)++;
    for (; i && h[(i - 1) / 2].to > a.to; i = (i - 1) / 2) h[i] = h[(i - 1) / 2];
    h[i] = a;
}
static active heap_pop(active *h, uint32_t *n)
{
    active top = h[0], last = h[--*n];
    uint32_t i = 0;
    for (uint32_t c; (c = 2 * i + 1) < *n; i = c) {
        if (c + 1 < *n && h[c + 1].to < h[c].to) c++;
        if (last.to <= h[c].to) break;
        h[i] = h[c];
    }
    h[i] = last;
    return top;
}

typedef struct start { uint32_t from, reg; } start;
static int by_start(const void *a, const void *b)
{
    const start *x = a, *y = b;
    return x->from != y->from ? (x->from > y->from) - (x->from < y->from)
                              : (x->reg > y->reg) - (x->reg < y->reg);
}

static bool scan(live *l, uint32_t first)
{
    static const uint32_t bytes[3] = { 128, 256, 512 };
    uint32_t n = l->d->n_reg, next = first, n_heap[3] = { 0 };
    start *order = malloc((n + 1) * sizeof *order);
    active *heap = malloc((3 * (size_t)n + 1) * sizeof *heap);
    bool ok = order && heap;
    for (uint32_t r = 0; r < n && ok; r++) order[r] = (start){ l->from[r], r };
    if (ok) qsort(order, n, sizeof *order, by_start);
    for (uint32_t k = 0; k < n && ok; k++) {
        uint32_t r = order[k].reg;
        ptx_reg *reg = l->d->reg[r];
        unsigned c = size_class(reg);
        active *h = heap + (size_t)c * n;
        if (l->from[r] == UINT32_MAX) {
            reg->slot = PTX_SINK_SLOT;
            continue;
        }
        if (l->pinned[root(l, r)]) {
            reg->slot = (next += bytes[c]) - bytes[c];
            ok = next < PTX_VIRTUAL / 2;
            continue;
        }
        uint32_t slot = n_heap[c] && h[0].to < l->from[r] ? heap_pop(h, &n_heap[c]).slot
                                                          : (next += bytes[c]) - bytes[c];
        reg->slot = slot;
        heap_push(h, &n_heap[c], (active){ l->to[r], slot });
        ok = next < PTX_VIRTUAL / 2;
    }
    l->d->code->arena_bytes = (next + 511) / 512 * 512;
    free(order);
    free(heap);
    return ok;
}

static bool name_classes(live *l)
{
    ptx_code *c = l->d->code;
    bool any = false;
    for (uint32_t r = 0; r < l->d->n_reg; r++) any |= l->pinned[r];
    if (!any) return true;
    if (!(c->slot_class =
              ll_try_alloc(&l->d->mod->arena, c->arena_bytes / PTX_SLOT * sizeof *c->slot_class)))
        return false;
    for (uint32_t r = 0; r < l->d->n_reg; r++)
        if (l->pinned[root(l, r)] && l->from[r] != UINT32_MAX)
            c->slot_class[l->d->reg[r]->slot / PTX_SLOT] = root(l, r) + 1;
    return true;
}

/* Registers joined by moves have the same class; others are known by their slot. */
uint32_t ptx_move_class(ptx_warp *w, uint32_t slot)
{
    const uint32_t *c = w->run->code->slot_class;
    return c && c[slot / PTX_SLOT] ? c[slot / PTX_SLOT] : slot | 1u << 31;
}

void ptx_move_class_validate(ptx_warp *w, uint32_t slot)
{
    const uint32_t *c = w->run->code->slot_class;
    if (!c || !c[slot / PTX_SLOT]) {
        ptx_val_fill(w, slot, w->live, true);
        return;
    }
    for (uint32_t k = 0; k < w->run->code->arena_bytes / PTX_SLOT; k++)
        if (c[k] == c[slot / PTX_SLOT]) ptx_val_fill(w, k * PTX_SLOT, w->live, true);
}

ptxsim_code ptx_regalloc(ptx_dec *d, uint32_t first)
{
    live l = { .d = d, .words = (d->n_reg + 63) / 64, .n_block = d->flow->n_block };
    size_t set_words = (size_t)l.words * l.n_block, n = d->n_reg + 1;
    bool exact = set_words * 64 < MAX_BITS / 4, ok = true;
    l.from = malloc(n * sizeof *l.from);
    l.to = calloc(n, sizeof *l.to);
    l.parent = malloc(n * sizeof *l.parent);
    l.pinned = calloc(n, 1);
    ok = l.from && l.to && l.parent && l.pinned;
    if (ok) move_classes(&l);
    if (ok) memset(l.from, 0xff, n * sizeof *l.from);
    if (ok && exact) {
        l.in = calloc(set_words * 4 + 1, 8);
        ok = l.in != NULL;
    }
    if (ok && exact) {
        l.out = l.in + set_words;
        l.use = l.out + set_words;
        l.def = l.use + set_words;
        for (uint32_t b = 0; b < l.n_block; b++)
            for (uint32_t pc = d->flow->leader[b]; pc < d->flow->leader[b + 1]; pc++)
                note_inst(&l, b, &d->code->inst[pc]);
        solve(&l);
        intervals(&l);
    } else if (ok) { /* too large to solve: every register keeps its own slot */
        for (uint32_t r = 0; r < d->n_reg; r++) l.from[r] = 0, l.to[r] = UINT32_MAX;
    }
    ok = ok && scan(&l, first) && name_classes(&l);
    free(l.parent);
    free(l.pinned);
    free(l.from);
    free(l.to);
    free(l.in);
    if (!ok)
        return ptx_fail(d->err, PTXSIM_NO_MEMORY, d->mod->name, (ptx_pos){ 0, 0 },
                        "no memory left for this module");
    return PTXSIM_OK;
}

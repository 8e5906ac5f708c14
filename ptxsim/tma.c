/* tma.c: bulk and tensor copies of sm_90: cp.async.bulk, cp.async.bulk.tensor,
 * cp.reduce.async.bulk, their groups, and prefetch of tensor maps. Refused: im2col,
 * tensormap.replace and its fences.
 *
 * A copy is queued when it is issued; its source and destination count as in flight from then on.
 * Loads are performed when the mbarrier they signal is tested again (or when nothing else can run),
 * so data never arrives earlier than a correct kernel may rely on. Stores read their source at
 * wait_group.read and write at wait_group or when the block ends. */
#include <stdlib.h>
#include <string.h>

#include "ptxsim/machine.h"
#include "ptxsim/mma.h"
#include "ptxsim/num.h"
#include "ptxsim/tensormap.h"

typedef enum red_op {
    RED_NONE,
    RED_ADD,
    RED_MIN,
    RED_MAX,
    RED_INC,
    RED_DEC,
    RED_AND,
    RED_OR,
    RED_XOR
} red_op;

typedef struct tma_own {
    bool tensor, to_shared, from_shared, group, multicast, prefetch;
    uint8_t rank, n_coord;
    red_op red;
    ptx_type red_type;
    ptx_mem dst, src, bar;         /* the tensor map stands in src (loads) or dst (stores) */
    uint32_t coord[5], size, mask; /* slots */
} tma_own;

typedef struct op {
    const tma_own *o;
    ptx_warp *w;
    const ptx_inst *in;
    uint32_t lane;
    ptx_tensormap map;
    int32_t coord[5];
    uint64_t global; /* plain bulk copies */
    uint64_t shared; /* shared::cluster address, or that of the own block */
    uint32_t bytes;
    uint16_t mask; /* multicast, else 0 */
    ptx_cta *bar_cta;
    uint32_t bar_off;
    bool asked;     /* its mbarrier was tested once since the issue */
    ptx_type red_type;    /* of the elements of a reduction */
    uint64_t group;       /* of the issuing thread; 0: completes on an mbarrier */
    uint8_t *data, *init; /* source already read (stores) */
    struct op *next;
} op;

typedef struct queue {
    op *head, **tail;
} queue;
typedef struct thread_groups {
    uint64_t committed[PTX_LANES];
} thread_groups;

static queue *queue_of(ptx_cta *c)
{
    queue *q = ptx_cta_tma(c);
    if (!q && (q = calloc(1, sizeof *q))) {
        q->tail = &q->head;
        ptx_cta_set_tma(c, q);
    }
    return q;
}

static thread_groups *groups_of(ptx_warp *w)
{
    if (!w->tma) w->tma = calloc(1, sizeof(thread_groups));
    return w->tma;
}

static void free_op(op *p)
{
    free(p->data);
    free(p);
}

static ptx_who who_of(const op *p)
{
    return (ptx_who){.w = p->w, .in = p->in, .lane = p->lane, .async = true};
}

static int fault(ptx_warp *w, const ptx_inst *in, uint32_t lane, ptxsim_kind k, uint64_t addr,
                 const char *what)
{
    return ptx_fault(w, in, lane, k, addr, "%s: %s", in->x->st->text, what);
}

/* ---- the box of a tensor copy ---- */

/* Calls fn for every innermost row: global address of its first element (valid when `inside` > 0
 * elements from `first` on lie in the tensor), byte offset in the packed box. */
typedef struct row {
    uint64_t addr;
    uint32_t first, inside, count, offset;
} row;
typedef bool row_fn(void *user, const row *r);

static bool each_row(const op *p, row_fn *fn, void *user)
{
    const ptx_tensormap *m = &p->map;
    uint32_t i[5] = {0}, count = ptx_tensormap_count(m, 0), off = 0;
    for (;;) {
        row r = {.addr = m->addr, .count = count, .offset = off};
        bool in = true;
        for (unsigned d = 1; d < m->rank; d++) {
            int64_t x = (int64_t)p->coord[d] + (int64_t)i[d] * m->step[d];
            if (x < 0 || (uint64_t)x >= m->dim[d])
                in = false;
            else
                r.addr += (uint64_t)x * m->stride[d];
        }
        for (uint32_t e = 0; in && e < count; e++) {
            int64_t x = (int64_t)p->coord[0] + (int64_t)e * m->step[0];
            if (x < 0 || (uint64_t)x >= m->dim[0]) continue;
            if (!r.inside++) r.first = e;
        }
        int64_t x0 = (int64_t)p->coord[0] + (int64_t)r.first * m->step[0];
        if (r.inside) r.addr += (uint64_t)x0 * m->elem_bytes;
        if (!fn(user, &r)) return false;
        off += count * m->elem_bytes;
        unsigned d = 1;
        while (d < m->rank && ++i[d] == ptx_tensormap_count(m, d)) i[d++] = 0;
        if (d >= m->rank) return true;
    }
}

/* Reads or writes `n` elements of global memory, `step` apart. */
static bool move_elements(const op *p, uint64_t addr, uint32_t n, uint8_t *buf, uint8_t *init,
                          bool write)
{
    ptx_who who = who_of(p);
    uint32_t b = p->map.elem_bytes, step = p->map.step[0];
    if (step == 1)
        return write ? ptx_span_write(&who, PTX_GLOBAL, addr, (uint64_t)n * b, buf, init)
                     : ptx_span_read(&who, PTX_GLOBAL, addr, (uint64_t)n * b, buf, init);
    for (uint32_t e = 0; e < n; e++) {
        uint64_t a = addr + (uint64_t)e * b * step;
        if (!(write ? ptx_span_write(&who, PTX_GLOBAL, a, b, buf + e * b, init + e * b)
                    : ptx_span_read(&who, PTX_GLOBAL, a, b, buf + e * b, init + e * b)))
            return false;
    }
    return true;
}

typedef struct box {
    op *p;
    uint8_t *data, *init;
} box;

static void fill_nan(const ptx_tensormap *m, uint8_t *out, uint32_t n)
{
    static const uint32_t f32 = 0x7fffffff;
    static const uint64_t f64 = 0x7fffffffffffffffull;
    for (uint32_t e = 0; e < n; e++)
        memcpy(out + e * m->elem_bytes,
               m->elem_bytes == 8   ? (const void *)&f64
               : m->elem_bytes == 2 ? (const void *)"\xff\x7f"
                                    : (const void *)&f32,
               m->elem_bytes);
}

static bool load_row(void *user, const row *r)
{
    box *b = user;
    const ptx_tensormap *m = &b->p->map;
    uint8_t *at = b->data + r->offset, *init = b->init + r->offset;
    memset(at, 0, r->count * m->elem_bytes);
    memset(init, 1, r->count * m->elem_bytes);
    if (m->nan_fill) fill_nan(m, at, r->count);
    if (!r->inside) return true;
    uint32_t skip = r->first * m->elem_bytes;
    return move_elements(b->p, r->addr, r->inside, at + skip, init + skip, false);
}

static bool reduce(const op *p, uint64_t addr, uint64_t bytes, const uint8_t *data);

static bool store_row(void *user, const row *r)
{
    box *b = user;
    uint32_t skip = r->first * b->p->map.elem_bytes;
    if (!r->inside) return true;
    uint8_t *at = b->data + r->offset + skip;
    if (b->p->o->red != RED_NONE)
        return reduce(b->p, r->addr, (uint64_t)r->inside * b->p->map.elem_bytes, at);
    return move_elements(b->p, r->addr, r->inside, at, b->init + r->offset + skip, true);
}

/* ---- reductions ---- */

static uint64_t red_int(red_op op_, ptx_type t, uint64_t old, uint64_t v)
{
    bool sg = ptx_is_signed(t), small = ptx_type_bits(t) == 32;
    int64_t so = small ? (int32_t)old : (int64_t)old, sv = small ? (int32_t)v : (int64_t)v;
    switch (op_) {
    case RED_ADD: return old + v;
    case RED_AND: return old & v;
    case RED_OR: return old | v;
    case RED_XOR: return old ^ v;
    case RED_INC: return old >= v ? 0 : old + 1;
    case RED_DEC: return old == 0 || old > v ? v : old - 1;
    case RED_MIN: return (sg ? so < sv : old < v) ? old : v;
    default: return (sg ? so > sv : old > v) ? old : v;
    }
}

static uint64_t red_one(red_op op_, ptx_type t, uint64_t old, uint64_t v)
{
    ptx_half_op h = op_ == RED_ADD ? PTX_H_ADD : op_ == RED_MIN ? PTX_H_MIN : PTX_H_MAX;
    switch (t) {
    case PTX_F16:
    case PTX_BF16: return ptx_half_one(h, t, (ptx_half_opts){0}, (uint32_t)old, (uint32_t)v, 0);
    case PTX_F32: return ptx_f32_bits(ptx_f32((uint32_t)old) + ptx_f32((uint32_t)v));
    case PTX_F64: return ptx_f64_bits(ptx_f64(old) + ptx_f64(v));
    default: return red_int(op_, t, old, v);
    }
}

static uint64_t red_word(const void *user, uint64_t old, uint64_t v)
{
    const op *p = user;
    return red_one(p->o->red, p->red_type, old, v);
}

static bool reduce(const op *p, uint64_t addr, uint64_t bytes, const uint8_t *data)
{
    ptx_who who = who_of(p);
    uint32_t b = ptx_type_bits(p->red_type) / 8, step = p->o->tensor ? p->map.step[0] : 1;
    if (step == 1) return ptx_span_reduce(&who, addr, bytes, data, b, red_word, p);
    for (uint64_t k = 0; k < bytes; k += b)
        if (!ptx_span_reduce(&who, addr + k * step, b, data + k, b, red_word, p)) return false;
    return true;
}

/* ---- performing ---- */

/* Moves between the packed box and shared memory, through the swizzle, in 16-byte pieces. */
static bool shared_move(const op *p, uint64_t base, uint8_t *data, uint8_t *init, bool write)
{
    ptx_who who = who_of(p);
    uint32_t width = p->o->tensor ? p->map.swizzle : 0, piece = width ? 16 : p->bytes;
    for (uint32_t i = 0; i < p->bytes; i += piece) {
        uint64_t a = (base & ~0xffffffull) | ptx_swizzle((uint32_t)(base & 0xffffff) + i, width);
        bool ok = write ? ptx_span_write(&who, PTX_CLUSTER, a, piece, data + i, init + i)
                        : ptx_span_read(&who, PTX_CLUSTER, a, piece, data + i, init + i);
        if (!ok) return false;
    }
    return true;
}

static bool take_buffers(op *p)
{
    if (!p->data) p->data = malloc(2 * (size_t)p->bytes);
    p->init = p->data ? p->data + p->bytes : NULL;
    if (!p->data) fault(p->w, p->in, p->lane, PTXSIM_R_OTHER, 0, "out of host memory");
    return p->data != NULL;
}

static uint64_t in_block(uint64_t shared, unsigned rank)
{
    return (uint64_t)(rank + 1) << 24 | (shared & 0xffffff);
}

static bool deliver(op *p, uint64_t shared, ptx_cta *bar_cta)
{
    ptx_who who = who_of(p);
    ptx_span_end(&who, PTX_CLUSTER, shared, p->bytes, true);
    if (!shared_move(p, shared, p->data, p->init, true)) return false;
    ptx_mbar_complete_tx(&who, bar_cta, p->bar_off, p->bytes);
    return true;
}

static bool perform_load(op *p)
{
    ptx_who who = who_of(p);
    if (!take_buffers(p)) return false;
    if (p->o->tensor) {
        box b = {p, p->data, p->init};
        if (!each_row(p, load_row, &b)) return false;
    } else {
        ptx_space s = p->o->from_shared ? PTX_CLUSTER : PTX_GLOBAL;
        if (p->o->from_shared) ptx_span_end(&who, s, p->global, p->bytes, false);
        if (!ptx_span_read(&who, s, p->global, p->bytes, p->data, p->init)) return false;
    }
    ptx_count_tensor_bytes(p->w, p->bytes);
    if (!p->mask) return deliver(p, p->shared, p->bar_cta);
    for (unsigned r = 0; r < PTX_MAX_CLUSTER; r++) {
        uint32_t off;
        if (!(p->mask >> r & 1)) continue;
        ptx_cta *c = ptx_cta_of(p->w, in_block(p->shared, r), &off);
        if (!c)
            return fault(p->w, p->in, p->lane, PTXSIM_R_OUT_OF_BOUNDS, p->shared,
                         "the multicast mask names a block that the cluster does not have"),
                   false;
        if (!deliver(p, in_block(p->shared, r), c)) return false;
    }
    return true;
}

static bool read_source(op *p)
{
    ptx_who who = who_of(p);
    if (p->data) return true;
    if (!take_buffers(p)) return false;
    bool ok = shared_move(p, p->shared, p->data, p->init, false);
    ptx_span_end(&who, PTX_CLUSTER, p->shared, p->bytes, false);
    return ok;
}

static bool perform_store(op *p)
{
    ptx_who who = who_of(p);
    if (!read_source(p)) return false;
    ptx_count_tensor_bytes(p->w, p->bytes);
    if (p->o->tensor) {
        box b = {p, p->data, p->init};
        return each_row(p, store_row, &b);
    }
    if (p->o->red != RED_NONE) return reduce(p, p->global, p->bytes, p->data);
    return ptx_span_write(&who, PTX_GLOBAL, p->global, p->bytes, p->data, p->init);
}

static bool perform(op *p) { return p->group ? perform_store(p) : perform_load(p); }

/* Removes and frees the operation at *at. */
static void drop(queue *q, op **at)
{
    op *p = *at;
    *at = p->next;
    if (q->tail == &p->next) q->tail = at;
    free_op(p);
}

bool ptx_tma_progress(ptx_cta *any_of_cluster, ptx_cta *cta, uint32_t off)
{
    queue *q = ptx_cta_tma(any_of_cluster);
    bool did = false;
    if (!q) return false;
    for (op **at = &q->head; *at;) {
        op *p = *at;
        bool mine = !p->group && (!cta || p->mask || (p->bar_cta == cta && p->bar_off == off));
        if (p->mask && cta) mine = p->bar_off == off;
        /* the first test after the issue finds the copy still under way, as it mostly is on
         * hardware: a kernel that tests without looking at the answer reads too early */
        if (mine && cta && !p->asked) p->asked = true, mine = false;
        if (!mine) {
            at = &p->next;
            continue;
        }
        perform(p);
        drop(q, at);
        did = true;
    }
    return did;
}

/* ---- issue ---- */

static bool add_op(ptx_warp *w, op *p)
{
    queue *q = queue_of(w->cta);
    op *n = q ? malloc(sizeof *n) : NULL;
    if (!n) return false;
    *n = *p;
    n->next = NULL;
    *q->tail = n;
    q->tail = &n->next;
    return true;
}

static bool read_map(ptx_warp *w, const ptx_inst *in, uint32_t lane, uint64_t addr,
                     ptx_tensormap *m)
{
    ptx_who who = {.w = w, .in = in, .lane = lane};
    uint8_t raw[PTX_MAP_BYTES];
    if (addr % 64)
        return fault(w, in, lane, PTXSIM_R_MISALIGNED, addr,
                     "a tensor map must be 64-byte aligned"),
               false;
    if ((addr & PTX_WIN_MASK) == PTX_WIN_PARAM) {
        const uint8_t *p = ptx_param_bytes(w, addr & ~PTX_WIN_MASK, PTX_MAP_BYTES);
        if (!p)
            return fault(w, in, lane, PTXSIM_R_OUT_OF_BOUNDS, addr,
                         "the tensor map lies outside the parameters"),
                   false;
        memcpy(raw, p, sizeof raw);
    } else if (!ptx_span_read(&who, PTX_GENERIC, addr, sizeof raw, raw, NULL)) {
        return false;
    }
    if (!ptx_tensormap_unpack(raw, m))
        return fault(w, in, lane, PTXSIM_R_OTHER, addr, "these bytes are not a tensor map"), false;
    return true;
}

/* The shared side must be aligned; a block's own plain address and its cluster form are one
 * place. */
static bool check_shared(ptx_warp *w, const ptx_inst *in, uint32_t lane, uint64_t addr,
                         uint32_t align)
{
    uint32_t off;
    if (addr % align)
        return fault(w, in, lane, PTXSIM_R_MISALIGNED, addr,
                     align == 128 ? "the shared address must be 128-byte aligned"
                                  : "the shared address must be 16-byte aligned"),
               false;
    if (!ptx_cta_of(w, addr, &off))
        return fault(w, in, lane, PTXSIM_R_OUT_OF_BOUNDS, addr, "no such block in the cluster"),
               false;
    return true;
}

static bool begin_spans(ptx_warp *w, const ptx_inst *in, const op *p)
{
    ptx_who who = who_of(p);
    bool write = !p->group;
    if (write && p->o->from_shared &&
        !ptx_span_begin(&who, PTX_CLUSTER, p->global, p->bytes, false))
        return false;
    if (!p->mask) return ptx_span_begin(&who, PTX_CLUSTER, p->shared, p->bytes, write);
    for (unsigned r = 0; r < PTX_MAX_CLUSTER; r++) {
        uint32_t off;
        if (!(p->mask >> r & 1) || !ptx_cta_of(w, in_block(p->shared, r), &off)) continue;
        if (!ptx_span_begin(&who, PTX_CLUSTER, in_block(p->shared, r), p->bytes, true))
            return false;
    }
    return true;
}

static bool fill_op(ptx_warp *w, const ptx_inst *in, op *p, const uint64_t dst[],
                    const uint64_t src[])
{
    const tma_own *o = p->o;
    uint32_t l = p->lane;
    uint64_t map = o->to_shared ? src[l] : dst[l];
    p->shared = o->to_shared ? dst[l] : src[l];
    if (o->tensor) {
        if (!read_map(w, in, l, map, &p->map)) return false;
        if (p->map.rank != o->rank)
            return fault(w, in, l, PTXSIM_R_OTHER, map,
                         "the tensor map has another rank than the instruction"),
                   false;
        for (unsigned i = 0; i < o->rank; i++) p->coord[i] = (int32_t)ptx_r32(w, o->coord[i])[l];
        p->bytes = ptx_tensormap_box_bytes(&p->map);
        if (o->red != RED_NONE) { /* the element type of a tensor reduction is the map's */
            static const ptx_type t[PTX_MAP_N_TYPES] = {
                PTX_NOTYPE, PTX_NOTYPE, PTX_U32,  PTX_S32, PTX_U64, PTX_S64, PTX_F16,
                PTX_F32,    PTX_F64,    PTX_BF16, PTX_F32, PTX_F32, PTX_F32};
            p->red_type = t[p->map.type];
            if (p->red_type == PTX_NOTYPE)
                return fault(w, in, l, PTXSIM_R_OTHER, map,
                             "there is no reduction of 8- or 16-bit integers"),
                       false;
        }
    } else {
        p->global = map;
        p->red_type = o->red_type;
        p->bytes = ptx_r32(w, o->size)[l];
        if (p->bytes % 16 || map % 16)
            return fault(w, in, l, PTXSIM_R_MISALIGNED, map,
                         "size and addresses of a bulk copy must be multiples of 16"),
                   false;
        if (!p->bytes) return true;
    }
    return check_shared(w, in, l, p->shared, o->tensor ? 128 : 16);
}

static int run_copy(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const tma_own *o = in->x->own;
    uint64_t dst[PTX_LANES], src[PTX_LANES], bar[PTX_LANES];
    thread_groups *g = o->group ? groups_of(w) : NULL;
    if (o->prefetch) return PTX_GO;
    ptx_addr(w, &o->dst, dst);
    ptx_addr(w, &o->src, src);
    if (!o->group) ptx_addr(w, &o->bar, bar);
    for (uint32_t l = 0; l < PTX_LANES; l++) {
        if (!(m >> l & 1)) continue;
        op p = {.o = o, .w = w, .in = in, .lane = l};
        if (!fill_op(w, in, &p, dst, src)) return PTX_FAULT;
        if (!p.bytes) continue;
        if (o->group) {
            if (!g) return fault(w, in, l, PTXSIM_R_OTHER, 0, "out of host memory");
            p.group = g->committed[l] + 1;
        } else {
            p.bar_cta = ptx_cta_of(w, bar[l], &p.bar_off);
            if (!p.bar_cta || bar[l] % 8)
                return fault(w, in, l, PTXSIM_R_OUT_OF_BOUNDS, bar[l],
                             "this is no address of an mbarrier");
            if (o->multicast) p.mask = (uint16_t)ptx_r32(w, o->mask)[l];
        }
        if (!begin_spans(w, in, &p)) return PTX_FAULT;
        if (!add_op(w, &p)) return fault(w, in, l, PTXSIM_R_OTHER, 0, "out of host memory");
    }
    return PTX_GO;
}

/* ---- groups ---- */

static int run_commit(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    thread_groups *g = groups_of(w);
    if (!g) return fault(w, in, PTX_LANES, PTXSIM_R_OTHER, 0, "out of host memory");
    for (uint32_t l = 0; l < PTX_LANES; l++) g->committed[l] += m >> l & 1;
    return PTX_GO;
}

static int run_wait(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    thread_groups *g = w->tma;
    queue *q = ptx_cta_tma(w->cta);
    if (!g || !q) return PTX_GO;
    uint64_t n = (uint64_t)in->imm;
    for (op **at = &q->head; *at;) {
        op *p = *at;
        bool mine =
            p->group && p->w == w && m >> p->lane & 1 && p->group + n <= g->committed[p->lane];
        if (!mine) {
            at = &p->next;
            continue;
        }
        if (in->u0) { /* .read: the source is free again, the result need not be there yet */
            if (!read_source(p)) return PTX_FAULT;
            at = &p->next;
            continue;
        }
        bool ok = perform_store(p);
        drop(q, at);
        if (!ok) return PTX_FAULT;
    }
    return PTX_GO;
}

/* The operations of w, out of the queue: told and performed when its block has ended, else
 * forgotten. */
static void empty(ptx_warp *w, bool ended)
{
    queue *q = ptx_cta_tma(w->cta);
    for (op **at = q ? &q->head : NULL; at && *at;) {
        op *p = *at;
        if (p->w != w) {
            at = &p->next;
            continue;
        }
        if (ended && !p->data && (ptx_opts(w)->checks & PTXSIM_CHECK_PENDING))
            ptx_report(w, p->in, p->lane, PTXSIM_R_PENDING, p->shared, 0,
                       "%s: the block ended before this copy was waited for", p->in->x->st->text);
        if (ended) perform(p);
        drop(q, at);
    }
    if (q && !q->head) {
        ptx_cta_set_tma(w->cta, NULL);
        free(q);
    }
    free(w->tma);
    w->tma = NULL;
}

void ptx_tma_reset(ptx_warp *w) { empty(w, false); }

/* The block is over: results of stores become visible. Sources not waited for, and loads that
 * nobody received, are mistakes of the kernel: its shared memory may already belong to another
 * block. */
void ptx_tma_finish(ptx_warp *w) { empty(w, true); }

/* ---- decoding ---- */

static ptxsim_code bad(ptx_dec *d, const ptx_stmt *st, const char *what)
{
    return ptx_dec_fail(d, st->pos, "%s: %s", st->text, what);
}

static bool has(const ptx_stmt *st, const char *mod)
{
    for (uint32_t i = 0; i < st->n_mod; i++)
        if (!strcmp(st->mod[i].s, mod)) return true;
    return false;
}

static int index_of(const ptx_stmt *st, const char *mod)
{
    for (uint32_t i = 0; i < st->n_mod; i++)
        if (!strcmp(st->mod[i].s, mod)) return (int)i;
    return 1 << 20;
}

bool ptx_tma_owns(const ptx_stmt *st)
{
    if (!strcmp(st->op, "cp")) return has(st, "bulk");
    if (!strcmp(st->op, "prefetch")) return has(st, "tensormap");
    return !strcmp(st->op, "tensormap");
}

/* [map, {c0, c1, ...}] */
static ptxsim_code tensor_opnd(ptx_dec *d, const ptx_stmt *st, const ptx_opnd *o, tma_own *t,
                               ptx_mem *map)
{
    ptxsim_code rc;
    if (o->kind != PTX_O_MEM || o->n_sub < 2)
        return ptx_dec_fail(d, o->pos, "%s: [map, {coordinates}] is wanted here", st->text);
    ptx_opnd base = *o;
    base.n_sub = 1;
    if ((rc = ptx_mem_opnd(d, &base, PTX_GENERIC, map))) return rc;
    bool vec = o->sub[1].kind == PTX_O_VEC;
    const ptx_opnd *c = vec ? o->sub[1].sub : &o->sub[1];
    uint32_t n = vec ? o->sub[1].n_sub : o->n_sub - 1;
    if (n != t->rank)
        return ptx_dec_fail(d, o->pos, "%s: %u coordinates are wanted, %u given", st->text, t->rank,
                            n);
    for (uint32_t i = 0; i < n; i++)
        if ((rc = ptx_src(d, &c[i], PTX_B32, &t->coord[i]))) return rc;
    return PTXSIM_OK;
}

static red_op take_red(ptx_dec *d)
{
    static const char *const names[] = {"add", "min", "max", "inc", "dec", "and", "or", "xor"};
    for (unsigned i = 0; i < 8; i++)
        if (ptx_take(d, names[i])) return (red_op)(i + 1);
    return RED_NONE;
}

static ptxsim_code decode_group(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptxsim_code rc;
    in->cls = PTXSIM_C_ASYNC_COPY;
    if (ptx_take(d, "commit_group")) {
        in->fn = run_commit;
        return st->n_opnd ? bad(d, st, "no operands are wanted") : PTXSIM_OK;
    }
    ptx_take(d, "wait_group");
    in->u0 = ptx_take(d, "read");
    if (st->n_opnd != 1) return bad(d, st, "one operand is wanted");
    if ((rc = ptx_const_int(d, &st->opnd[0], &in->imm))) return rc;
    if (in->imm < 0) return bad(d, st, "the count is negative");
    in->fn = run_wait;
    return PTXSIM_OK;
}

static ptxsim_code take_rank(ptx_dec *d, const ptx_stmt *st, tma_own *t)
{
    static const char *const names[] = {"1d", "2d", "3d", "4d", "5d"};
    for (unsigned i = 0; i < 5; i++)
        if (ptx_take(d, names[i])) {
            t->rank = (uint8_t)(i + 1);
            return PTXSIM_OK;
        }
    return bad(d, st, "the rank (.1d to .5d) is missing");
}

/* dst and src in the order of the instruction; the tensor map takes the place of the global
 * side. */
static ptxsim_code decode_sides(ptx_dec *d, const ptx_stmt *st, tma_own *t, uint32_t *next)
{
    ptxsim_code rc;
    const ptx_opnd *a = &st->opnd[0], *b = &st->opnd[1];
    if (t->to_shared) {
        if ((rc = ptx_mem_opnd(d, a, PTX_CLUSTER, &t->dst))) return rc;
        rc = t->tensor ? tensor_opnd(d, st, b, t, &t->src)
                       : ptx_mem_opnd(d, b, t->from_shared ? PTX_CLUSTER : PTX_GLOBAL, &t->src);
    } else {
        rc =
            t->tensor ? tensor_opnd(d, st, a, t, &t->dst) : ptx_mem_opnd(d, a, PTX_GLOBAL, &t->dst);
        if (!rc) rc = ptx_mem_opnd(d, b, PTX_CLUSTER, &t->src);
    }
    *next = 2;
    if (!rc && !t->tensor) rc = ptx_src(d, &st->opnd[(*next)++], PTX_B32, &t->size);
    return rc;
}

static ptxsim_code decode_copy(ptx_dec *d, const ptx_stmt *st, ptx_inst *in, bool reduce)
{
    tma_own *t = ptx_dec_alloc(d, sizeof *t);
    ptxsim_code rc;
    uint32_t slot;
    if (!t) return bad(d, st, "out of memory");
    ((ptx_ext *)in->x)->own = t;
    if (ptx_take(d, "im2col") || ptx_take(d, "im2col_no_offs"))
        return bad(d, st, "im2col is not supported");
    t->prefetch = ptx_take(d, "prefetch");
    t->tensor = ptx_take(d, "tensor");
    if (t->tensor && (rc = take_rank(d, st, t))) return rc;
    ptx_take(d, "tile");
    bool hint = ptx_take(d, "L2::cache_hint");
    in->fn = run_copy;
    in->cls = PTXSIM_C_ASYNC_COPY;
    if (t->prefetch) {
        if (!ptx_take(d, "L2") || !ptx_take(d, "global")) return bad(d, st, ".L2.global is needed");
        if (t->tensor) return tensor_opnd(d, st, &st->opnd[0], t, &t->src);
        if (st->n_opnd < 2) return bad(d, st, "an address and a size are wanted");
        if ((rc = ptx_mem_opnd(d, &st->opnd[0], PTX_GLOBAL, &t->src))) return rc;
        return ptx_src(d, &st->opnd[1], PTX_B32, &t->size);
    }
    int g = index_of(st, "global"), cl = index_of(st, "shared::cluster"),
        ct = index_of(st, "shared::cta");
    if (ct < cl && ct < g) cl = ct; /* .shared::cta as a destination */
    t->to_shared = cl < g;
    t->from_shared = !has(st, "global");
    if (!t->from_shared) ptx_take(d, "global");
    ptx_take(d, "shared::cluster"), ptx_take(d, "shared::cta");
    if (g > 1000 && (cl > 1000 || ct > 1000))
        return bad(d, st, "source and destination spaces are needed");
    t->group = ptx_take(d, "bulk_group");
    bool mbar = ptx_take(d, "mbarrier::complete_tx::bytes");
    if (t->group == mbar)
        return bad(d, st, ".bulk_group or .mbarrier::complete_tx::bytes is needed");
    if (t->group == t->to_shared)
        return bad(d, st, "this direction has the other kind of completion");
    t->multicast = ptx_take(d, "multicast::cluster");
    if (t->multicast && (!t->to_shared || t->from_shared))
        return bad(d, st, ".multicast::cluster belongs to loads from global memory");
    if (reduce) {
        t->red = take_red(d);
        if (t->red == RED_NONE) return bad(d, st, "the reduction is missing");
        if (t->to_shared) return bad(d, st, "reductions into shared memory are not supported");
        ptx_take(d, "noftz");
        if (!t->tensor && (t->red_type = ptx_mod_type(d)) == PTX_NOTYPE)
            return bad(d, st, "the element type is missing");
    }
    uint32_t want = 2 + !t->tensor + mbar + t->multicast + hint, i;
    if (st->n_opnd != want)
        return ptx_dec_fail(d, st->pos, "%s takes %u operands, %u given", st->text, want,
                            st->n_opnd);
    if ((rc = decode_sides(d, st, t, &i))) return rc;
    if (mbar && (rc = ptx_mem_opnd(d, &st->opnd[i++], PTX_CLUSTER, &t->bar))) return rc;
    if (t->multicast && (rc = ptx_src(d, &st->opnd[i++], PTX_B16, &t->mask))) return rc;
    return hint ? ptx_src(d, &st->opnd[i], PTX_B64, &slot) : PTXSIM_OK;
}

static int run_nothing(ptx_warp *w, const ptx_inst *in, ptx_mask m) { return PTX_GO; }

ptxsim_code ptx_tma_decode(ptx_dec *d, const ptx_stmt *st, ptx_inst *in)
{
    ptxsim_code rc;
    if ((rc = ptx_dec_needs_sm(d, 90))) return rc;
    if (!strcmp(st->op, "tensormap"))
        return bad(d, st, "tensor maps made on the device are not supported");
    if (!strcmp(st->op, "prefetch")) {
        ptx_mem mem;
        ptx_take(d, "tensormap");
        ptx_space s = ptx_take(d, "param")   ? PTX_PARAM
                      : ptx_take(d, "const") ? PTX_CONST
                                             : PTX_GENERIC;
        if (st->n_opnd != 1) return bad(d, st, "one operand is wanted");
        if ((rc = ptx_mem_opnd(d, &st->opnd[0], s, &mem))) return rc;
        in->fn = run_nothing;
        in->cls = PTXSIM_C_OTHER;
        return PTXSIM_OK;
    }
    bool reduce = ptx_take(d, "reduce");
    if (!ptx_take(d, "async") || !ptx_take(d, "bulk")) return bad(d, st, ".async.bulk is needed");
    if (!reduce && (has(st, "commit_group") || has(st, "wait_group")))
        return decode_group(d, st, in);
    return decode_copy(d, st, in, reduce);
}

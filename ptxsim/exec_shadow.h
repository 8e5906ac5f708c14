/* exec_shadow.h: the usual case of the shared-memory checks, inside the per-level handlers: every
 * granule's last write (and for a store its last read) is known to be over, nothing is in flight.
 * Eight lanes that touch one contiguous piece are a vector loop. Anything else: false, and check.c
 * looks closely. */
#ifndef PTXSIM_EXEC_SHADOW_H
#define PTXSIM_EXEC_SHADOW_H

#include "ptxsim/check.h"

enum { PTX_OCTET = 8 };

/* Lanes 8q..8q+7 all active and side by side? */
static inline bool ptx_octet_row(const ptx_access *ac, int q)
{
    const uint32_t *o = ac->off + q * PTX_OCTET;
    uint32_t odd = ~(ac->m >> (q * PTX_OCTET)) & 255;
    for (uint32_t i = 1; i < PTX_OCTET; i++) odd |= o[i] ^ (o[0] + i * ac->size);
    return !odd;
}

static inline uint64_t ptx_newest(const uint64_t *r, uint32_t n)
{
    uint64_t v = 0;
    for (uint32_t i = 0; i < n; i++) v = r[i] > v ? r[i] : v;
    return v;
}

/* Records of the granules of a row: `per` granules a lane. */
static inline void ptx_row_write(uint64_t *w, uint64_t rec, uint32_t lane0, uint32_t per_shift)
{
    uint32_t n = (uint32_t)PTX_OCTET << per_shift;
    for (uint32_t i = 0; i < n; i++) w[i] = rec | (uint64_t)(lane0 + (i >> per_shift)) << 6;
}
static inline void ptx_row_read(uint64_t *r, uint64_t rec, uint32_t lane0, uint32_t per_shift,
                                uint32_t seen)
{
    uint32_t n = (uint32_t)PTX_OCTET << per_shift;
    for (uint32_t i = 0; i < n; i++)
        r[i] = ptx_rec_read(r[i], rec | (uint64_t)(lane0 + (i >> per_shift)) << 6, seen);
}

static inline bool ptx_shadow_fast(ptx_warp *w, const ptx_inst *in, const ptx_access *ac,
                                   bool write)
{
    ptx_shadow *s = w->cta->shadow;
    if (!s->races) return true;
    if (s->n_pend || ac->shared != ac->m || ac->kind & (PTX_ATOMIC | PTX_STRONG) ||
        ac->size >> s->shift == 0)
        return false;
    uint32_t seen = w->s->seen_min, per = ac->size >> s->shift,
             per_shift = (uint32_t)__builtin_ctz(per), me = w->index;
    uint64_t newest = 0;
    bool row[4];
    if (per & (per - 1)) return false;
    for (int q = 0; q < 4; q++) {
        uint32_t g = ac->off[q * PTX_OCTET] >> s->shift;
        row[q] = ptx_octet_row(ac, q);
        if (row[q]) {
            uint64_t a = ptx_newest(s->w + g, (uint32_t)PTX_OCTET << per_shift),
                     b = write ? ptx_newest(s->r + g, (uint32_t)PTX_OCTET << per_shift) : 0;
            a = a > b ? a : b;
            newest = a > newest ? a : newest;
            continue;
        }
        for (uint32_t i = (uint32_t)q * PTX_OCTET, last = UINT32_MAX;
             i < ((uint32_t)q + 1) * PTX_OCTET; i++) {
            g = ac->off[i] >> s->shift;
            if (!(ac->m >> i & 1) || g == last) continue;
            last = g;
            for (uint32_t k = 0; k < per; k++) {
                uint64_t a = s->w[g + k], b = write ? s->r[g + k] : 0;
                a = a > b ? a : b;
                newest = a > newest ? a : newest;
            }
        }
    }
    if (newest >> 32 > seen) return false;
    uint64_t rec = ptx_rec(w->s->tick, me, 0, false, in->pc);
    uint32_t *clock = s->rclk ? s->rclk + (size_t)me * s->n : NULL;
    for (int q = 0; q < 4; q++) {
        uint32_t lane0 = (uint32_t)q * PTX_OCTET, g = ac->off[lane0] >> s->shift;
        if (row[q]) {
            if (write) ptx_row_write(s->w + g, rec, lane0, per_shift);
            else ptx_row_read(s->r + g, rec, lane0, per_shift, seen);
            for (uint32_t k = 0; clock && !write && k < (uint32_t)PTX_OCTET << per_shift; k++)
                clock[g + k] = w->s->tick;
            continue;
        }
        for (uint32_t i = lane0, last = UINT32_MAX; i < lane0 + PTX_OCTET; i++) {
            g = ac->off[i] >> s->shift;
            if (!(ac->m >> i & 1)) continue;
            uint64_t mine = rec | (uint64_t)(g == last && !write ? PTX_REC_LANES : i) << 6;
            if (g == last && !write && i > lane0 + 1 && ac->off[i - 2] == ac->off[i] &&
                (ac->m >> (i - 2) & 1))
                continue; /* the third and later lanes on one place */
            last = g;
            for (uint32_t k = 0; k < per; k++) {
                if (write) s->w[g + k] = mine;
                else s->r[g + k] = ptx_rec_read(s->r[g + k], mine, seen);
                if (clock && !write) clock[g + k] = w->s->tick;
            }
        }
    }
    return true;
}

#endif

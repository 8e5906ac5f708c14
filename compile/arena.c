/* arena.c: see arena.h. Places are taken first-fit: a free one whose size covers the tensor's in every dim, or a new one. */
#include "compile/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/ckd.h"
#include "base/map.h"

enum { GAP = 64 }; /* a loader rounds offsets up */

typedef struct place { cc_bytes at, size; int free_after; } place;

struct cc_arena {
    place *place;
    int n, cap;
    ll_map of; /* tensor -> index + 1 */
    cc_bytes end;
};

ll_code cc_tensor_bytes(const te_tensor *t, int (*index_of)(void *, const char *), void *ctx, cc_bytes *out, ll_error *err)
{
    int64_t elements = 1;
    int dim = -1;
    *out = (cc_bytes){0};
    for (int i = 0; i < t->ndim; i++) {
        te_ref s = t->shape[i];
        if (s->op == TE_INT) {
            if (!ll_mul_i64(elements, s->u.i, &elements)) return ll_fail(err, LL_UNSUPPORTED, "%s is too large", t->name);
        } else if (s->op == TE_DIM && dim < 0 && (dim = index_of(ctx, s->u.dim->name)) >= 0 && dim < CC_MAX_DIM) {
            continue;
        } else {
            return ll_fail(err, LL_UNSUPPORTED, "%s: its size %s is not linear in the step's sizes", t->name, te_show(s));
        }
    }
    int64_t bytes = (elements * ll_dtype_bits((ll_dtype)t->dtype) + 7) / 8;
    if (dim < 0) out->base = bytes;
    else out->coef[dim] = bytes;
    return LL_OK;
}

cc_arena *cc_arena_create(void) { return calloc(1, sizeof(cc_arena)); }

void cc_arena_destroy(cc_arena *a)
{
    if (!a) return;
    free(a->place);
    ll_map_finish(&a->of);
    free(a);
}

static bool covers(const cc_bytes *a, const cc_bytes *b)
{
    if (a->base < b->base) return false;
    for (int i = 0; i < CC_MAX_DIM; i++)
        if (a->coef[i] < b->coef[i]) return false;
    return true;
}

ll_code cc_arena_add(cc_arena *a, const te_tensor *t, const cc_bytes *size, int from, int to, ll_error *err)
{
    int at = -1;
    for (int i = 0; i < a->n && at < 0; i++)
        if (a->place[i].free_after < from && covers(&a->place[i].size, size)) at = i;
    if (at < 0) {
        if (a->n == a->cap) {
            int cap = a->cap ? a->cap * 2 : 32;
            place *p = realloc(a->place, sizeof *p * (size_t)cap);
            if (!p) return ll_fail(err, LL_NO_SPACE, "no memory for the buffer plan");
            a->place = p;
            a->cap = cap;
        }
        at = a->n++;
        a->place[at] = (place){.at = a->end, .size = *size};
        a->end.base += size->base + GAP;
        for (int i = 0; i < CC_MAX_DIM; i++) a->end.coef[i] += size->coef[i];
    }
    a->place[at].free_after = to;
    if (!ll_map_set_ptr(&a->of, t, (void *)(intptr_t)(at + 1))) return ll_fail(err, LL_NO_SPACE, "no memory for the buffer plan");
    return LL_OK;
}

bool cc_arena_find(const cc_arena *a, const te_tensor *t, cc_bytes *at)
{
    intptr_t i = (intptr_t)ll_map_get_ptr(&a->of, t);
    if (!i) return false;
    *at = a->place[i - 1].at;
    return true;
}

cc_bytes cc_arena_size(const cc_arena *a) { return a->end; }

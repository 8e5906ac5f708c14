/* weights.c: brings a model's weights to where its kernels read them: mapped from the file, copied
 * into huge pages, or uploaded to a device with memory of its own. What no program of the target in
 * use reads stays in the file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "runtime/rt.h"

enum { HUGE_PAGE = 2 << 20, PIECE = 8 << 20 };

/* Sets m->weight[i] of those that programs read to something that is not NULL. */
static void mark_used(llmir_model *m)
{
    const rt_blob *b = &m->blob;
    for (uint32_t i = 0; i < m->target->n_program; i++) {
        const llmir_program_rec *p = rt_blob_program(b, m->target->program + i);
        for (uint32_t k = 0; k < p->n_step; k++) {
            const llmir_step_rec *s = rt_blob_step(b, p->step + k);
            for (uint32_t j = 0; j < s->n_binding; j++) {
                const llmir_binding_rec *x = rt_blob_binding(b, s->binding + j);
                if (x->space == LLMIR_SPACE_WEIGHT) m->weight[x->index] = m;
            }
        }
    }
}

/* Gives the used ones their addresses: `base` for the beginning of the file's range, or one behind
 * the other, 256-byte aligned. Returns the bytes they take. */
static uint64_t place_used(llmir_model *m, char *base, bool packed)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < rt_blob_n(&m->blob, LLMIR_SEC_WEIGHT); i++) {
        const llmir_weight_rec *w = rt_blob_weight(&m->blob, i);
        if (!m->weight[i]) continue;
        if (base) m->weight[i] = base + (packed ? at : w->offset);
        at += packed ? (w->size + 255) & ~(uint64_t)255 : w->size;
    }
    return at;
}

static ll_code read_piece(llmir_model *m, uint64_t from, void *to, uint64_t n, ll_error *err)
{
    rt_device *d = m->device;
    if (d->ops->upload) return d->ops->upload(d, m->fd, m->path, from, to, n, err);
    return ll_file_pread(m->fd, m->path, to, (size_t)n, from, err);
}

static ll_code read_used(llmir_model *m, uint64_t total, const llmir_open_params *p, ll_error *err)
{
    uint64_t done = 0;
    for (uint32_t i = 0; i < rt_blob_n(&m->blob, LLMIR_SEC_WEIGHT); i++) {
        const llmir_weight_rec *w = rt_blob_weight(&m->blob, i);
        for (uint64_t at = 0, k; m->weight[i] && at < w->size; at += k) {
            k = w->size - at < PIECE ? w->size - at : PIECE;
            LL_TRY(read_piece(m, m->note.weights_offset + w->offset + at, (char *)m->weight[i] + at,
                              k, err));
            done += k;
            if (p->progress && p->progress(p->user, done, total))
                return ll_fail(err, LL_CANCELLED, "%s: cancelled", m->path);
        }
    }
    return LL_OK;
}

static ll_code no_room(const llmir_model *m, uint64_t n, ll_error *err)
{
    return ll_fail(err, LL_NO_SPACE, "%s: no memory for %llu bytes of weights", m->path,
                   (unsigned long long)n);
}

static ll_code copy(llmir_model *m, const llmir_open_params *p, ll_error *err)
{
    uint64_t n = m->note.weights_size;
    m->map_bytes = (size_t)n + HUGE_PAGE;
    m->map = mmap(NULL, m->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->map == MAP_FAILED) return m->map = NULL, no_room(m, n, err);
    char *base = (char *)(((uintptr_t)m->map + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    madvise(base, (size_t)n, MADV_HUGEPAGE);
    LL_TRY(read_used(m, place_used(m, base, false), p, err));
    return mprotect(m->map, m->map_bytes, PROT_READ)
               ? ll_fail(err, LL_FAILED, "%s: mprotect: %s", m->path, strerror(errno))
               : LL_OK;
}

static ll_code map(llmir_model *m, ll_error *err)
{
    m->map_bytes = m->note.weights_size;
    m->map = mmap(NULL, m->map_bytes, PROT_READ, MAP_PRIVATE, m->fd, (off_t)m->note.weights_offset);
    if (m->map == MAP_FAILED) {
        m->map = NULL;
        return ll_fail(err, LL_NO_SPACE, "%s: cannot map %zu bytes of weights: %s", m->path,
                       m->map_bytes, strerror(errno));
    }
    madvise(m->map, m->map_bytes, MADV_HUGEPAGE); /* where the file system can; no harm elsewhere */
    place_used(m, m->map, false);
    return LL_OK;
}

static ll_code upload(llmir_model *m, const llmir_open_params *p, ll_error *err)
{
    rt_device *d = m->device;
    uint64_t n = place_used(m, NULL, true), total = place_used(m, NULL, false);
    if (!n) return LL_OK;
    LL_TRY(d->ops->alloc(d, RT_WORK, n + 4096, "weights", &m->uploaded, err));
    place_used(m, m->uploaded.at, true);
    LL_TRY(read_used(m, total, p, err));
    return d->ops->finish(d, err);
}

ll_code rt_weights_load(llmir_model *m, const llmir_open_params *p, ll_error *err)
{
    uint32_t n = rt_blob_n(&m->blob, LLMIR_SEC_WEIGHT);
    m->weight = calloc(n + (size_t)1, sizeof *m->weight);
    if (!m->weight)
        return ll_fail(err, LL_NO_SPACE, "%s: no memory for a list of %u weights", m->path, n);
    mark_used(m);
    if (!m->device->shared) return upload(m, p, err);
    if (!m->note.weights_size) return LL_OK;
    return p->weights == LLMIR_WEIGHTS_COPIED ? copy(m, p, err) : map(m, err);
}

void rt_weights_free(llmir_model *m)
{
    if (m->device) m->device->ops->free(m->device, &m->uploaded);
    if (m->map) munmap(m->map, m->map_bytes);
    free(m->weight);
}

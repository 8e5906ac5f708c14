/* model.c: opens a module: check, tables, code, weights; and answers questions about it. */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "runtime/modfile.h"
#include "runtime/pick.h"
#include "runtime/rt.h"
#include "target/target.h"

enum { HUGE_PAGE = 2 << 20 };

static void destroy(llmir_model *m)
{
    rt_tok_close(m->tok);
    if (m->lib) dlclose(m->lib);
    if (m->map) munmap(m->map, m->map_bytes);
    if (m->fd >= 0) close(m->fd);
    free(m->blob_bytes);
    free(m->chat);
    free(m->path);
    free(m);
}

void rt_model_ref(llmir_model *m) { atomic_fetch_add(&m->refs, 1); }

void llmir_close(llmir_model *m)
{
    if (m && atomic_fetch_sub(&m->refs, 1) == 1) destroy(m);
}

/* ---- tables ----------------------------------------------------------------------------- */
static ll_code read_blob(llmir_model *m, ll_error *err)
{
    const llmir_note *n = &m->note;
    m->blob_bytes = malloc(n->blob_size ? n->blob_size : 1);
    if (!m->blob_bytes)
        return ll_fail(err, LL_NO_SPACE, "%s: no memory for %llu bytes of tables", m->path,
                       (unsigned long long)n->blob_size);
    LL_TRY(ll_file_pread(m->fd, m->path, m->blob_bytes, n->blob_size, n->blob_offset, err));
    ll_hash h = ll_hash_pieces(m->blob_bytes, n->blob_size, LLMIR_DIGEST_PIECE);
    if (h.lo != n->blob_digest[0] || h.hi != n->blob_digest[1])
        return ll_fail(err, LL_BAD_INPUT, "%s: tables: damaged (digest differs)", m->path);
    return rt_blob_parse(&m->blob, m->blob_bytes, n->blob_size, n->weights_size, m->path, err);
}

static ll_code open_text(llmir_model *m, ll_error *err)
{
    const rt_table *tok = &m->blob.table[LLMIR_SEC_TOKENIZER],
                   *chat = &m->blob.table[LLMIR_SEC_CHAT];
    if (tok->bytes) LL_TRY(rt_tok_open(tok->p, tok->bytes, m->path, &m->tok, err));
    if (m->tok && rt_tok_get_info(m->tok)->n_vocab > rt_blob_model(&m->blob)->vocab)
        return ll_fail(err, LL_BAD_INPUT,
                       "%s: the tokenizer has %u tokens, the model's vocabulary %u", m->path,
                       rt_tok_get_info(m->tok)->n_vocab, rt_blob_model(&m->blob)->vocab);
    if (!chat->bytes) return LL_OK;
    m->chat = malloc(chat->bytes + 1);
    if (!m->chat) return ll_fail(err, LL_NO_SPACE, "%s: no memory for the chat template", m->path);
    memcpy(m->chat, chat->p, chat->bytes);
    m->chat[chat->bytes] = 0;
    return LL_OK;
}

/* Everything that needs no code: headers, digests, tables, tokenizer. */
static ll_code read_module(const char *path, llmir_model **out, ll_error *err)
{
    llmir_model *m = calloc(1, sizeof *m);
    char *copy = strdup(path);
    if (!m || !copy) return free(m), free(copy), ll_fail(err, LL_NO_SPACE, "%s: no memory", path);
    m->path = copy;
    m->refs = 1;
    m->fd = -1;
    uint64_t size;
    ll_code rc = ll_file_open(path, &m->fd, &size, err);
    if (rc == LL_OK) rc = rt_elf_check(m->fd, m->path, size, &m->note, err);
    if (rc == LL_OK) rc = read_blob(m, err);
    if (rc == LL_OK) rc = open_text(m, err);
    if (rc != LL_OK) return destroy(m), rc;
    *out = m;
    return LL_OK;
}

static ll_code verify(llmir_model *m, const llmir_open_params *p, ll_error *err)
{
    uint64_t d[2];
    LL_TRY(rt_digest_range(m->fd, m->path, m->note.weights_offset, m->note.weights_size, 0, 0,
                           p->progress, p->user, d, err));
    if (!memcmp(d, m->note.weights_digest, sizeof d)) return LL_OK;
    return ll_fail(err, LL_BAD_INPUT, "%s: weights: damaged (digest differs)", m->path);
}

/* The target in use. Without `must`, a module with none for this machine is fine. */
static ll_code pick(llmir_model *m, const char *device, bool must, ll_error *err)
{
    ll_target here;
    uint32_t i;
    ll_target_native(&here);
    ll_code rc = rt_pick_target(&m->blob, device, here.features, m->path, &i, must ? err : NULL);
    if (rc == LL_OK) m->target = rt_blob_target(&m->blob, i);
    return must ? rc : LL_OK;
}

/* ---- code and weights ------------------------------------------------------------------- */
static ll_code load_code(llmir_model *m, ll_error *err)
{
    char name[64];
    /* By descriptor: the very file that was checked, even when the path has been replaced since.
     * The descriptor stays open, so the name cannot come to mean another file while this one is
     * loaded. */
    snprintf(name, sizeof name, "/proc/self/fd/%d", m->fd);
    m->lib = dlopen(access(name, R_OK) == 0 ? name : m->path, RTLD_NOW | RTLD_LOCAL);
    if (!m->lib)
        return ll_fail(err, LL_BAD_INPUT, "%s: the system's loader refuses it: %s", m->path,
                       dlerror());
    const llmir_module *c = dlsym(m->lib, LLMIR_MODULE_SYMBOL);
    if (!c || c->magic != LLMIR_MODULE_MAGIC || c->abi != LLMIR_MODULE_ABI || c->size < sizeof *c)
        return ll_fail(err, LL_BAD_INPUT, "%s: no usable table " LLMIR_MODULE_SYMBOL, m->path);
    if (memcmp(c->blob_digest, m->note.blob_digest, sizeof c->blob_digest) ||
        c->n_kernel != rt_blob_n_kernel_on(&m->blob, LLMIR_ON_CPU))
        return ll_fail(err, LL_BAD_INPUT, "%s: code and tables are of different modules", m->path);
    for (uint64_t i = 0; i < c->n_kernel; i++)
        if (!c->kernel[i].parts || !c->kernel[i].run)
            return ll_fail(err, LL_BAD_INPUT, "%s: kernel %llu has no code", m->path,
                           (unsigned long long)i);
    m->code = c;
    return LL_OK;
}

/* Per weight record: do programs of the target in use read it? malloc'ed. */
static bool *used_weights(const llmir_model *m, ll_error *err)
{
    const rt_blob *b = &m->blob;
    uint32_t n = rt_blob_n(b, LLMIR_SEC_WEIGHT), end = m->target->program + m->target->n_program;
    bool *used = calloc(n + (size_t)1, sizeof *used);
    if (!used) ll_fail(err, LL_NO_SPACE, "%s: no memory for a list of %u weights", m->path, n);
    for (uint32_t i = m->target->program; used && i < end; i++) {
        const llmir_program_rec *p = rt_blob_program(b, i);
        for (uint32_t k = 0; k < p->n_step; k++) {
            const llmir_step_rec *s = rt_blob_step(b, p->step + k);
            for (uint32_t j = 0; j < s->n_binding; j++) {
                const llmir_binding_rec *x = rt_blob_binding(b, s->binding + j);
                if (x->space == LLMIR_SPACE_WEIGHT) used[x->index] = true;
            }
        }
    }
    return used;
}

static ll_code read_weights(llmir_model *m, const bool *used, const llmir_open_params *p,
                            ll_error *err)
{
    uint64_t total = 0, done = 0;
    uint32_t n = rt_blob_n(&m->blob, LLMIR_SEC_WEIGHT);
    for (uint32_t i = 0; i < n; i++) total += used[i] ? rt_blob_weight(&m->blob, i)->size : 0;
    for (uint32_t i = 0; i < n; i++) {
        const llmir_weight_rec *w = rt_blob_weight(&m->blob, i);
        for (uint64_t at = 0, k; used[i] && at < w->size; at += k, done += k) {
            k = w->size - at < LLMIR_DIGEST_PIECE ? w->size - at : LLMIR_DIGEST_PIECE;
            uint64_t from = w->offset + at;
            LL_TRY(ll_file_pread(m->fd, m->path, m->weights + from, (size_t)k,
                                 m->note.weights_offset + from, err));
            if (p->progress && p->progress(p->user, done + k, total))
                return ll_fail(err, LL_CANCELLED, "%s: cancelled", m->path);
        }
    }
    return LL_OK;
}

static ll_code copy_weights(llmir_model *m, const llmir_open_params *p, ll_error *err)
{
    uint64_t n = m->note.weights_size;
    m->map_bytes = (size_t)n + HUGE_PAGE;
    m->map = mmap(NULL, m->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->map == MAP_FAILED) {
        m->map = NULL;
        return ll_fail(err, LL_NO_SPACE, "%s: no memory for %llu bytes of weights", m->path,
                       (unsigned long long)n);
    }
    m->weights = (char *)(((uintptr_t)m->map + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    madvise(m->weights, (size_t)n, MADV_HUGEPAGE);
    bool *used = used_weights(m, err);
    ll_code rc = used ? read_weights(m, used, p, err) : LL_NO_SPACE;
    free(used);
    LL_TRY(rc);
    return mprotect(m->map, m->map_bytes, PROT_READ)
               ? ll_fail(err, LL_FAILED, "%s: mprotect: %s", m->path, strerror(errno))
               : LL_OK;
}

static ll_code map_weights(llmir_model *m, ll_error *err)
{
    if (!m->note.weights_size) return LL_OK;
    m->map_bytes = m->note.weights_size;
    m->map = mmap(NULL, m->map_bytes, PROT_READ, MAP_PRIVATE, m->fd, (off_t)m->note.weights_offset);
    if (m->map == MAP_FAILED) {
        m->map = NULL;
        return ll_fail(err, LL_NO_SPACE, "%s: cannot map %zu bytes of weights: %s", m->path,
                       m->map_bytes, strerror(errno));
    }
    m->weights = m->map;
    madvise(m->map, m->map_bytes, MADV_HUGEPAGE); /* where the file system can; no harm elsewhere */
    return LL_OK;
}

static ll_code open_checked(const char *path, const llmir_open_params *p, bool code,
                            llmir_model **out, ll_error *err)
{
    llmir_model *m;
    LL_TRY(read_module(path, &m, err));
    ll_code rc = pick(m, p->device, true, err);
    if (rc == LL_OK && p->verify) rc = verify(m, p, err);
    if (rc == LL_OK && code) rc = load_code(m, err);
    if (rc == LL_OK && code)
        rc = p->weights == LLMIR_WEIGHTS_COPIED ? copy_weights(m, p, err) : map_weights(m, err);
    if (rc != LL_OK) return destroy(m), rc;
    *out = m;
    return LL_OK;
}

static ll_code open_params(llmir_open_params *p, const llmir_open_params *params, ll_error *err)
{
    LL_TRY(rt_params(p, sizeof *p, sizeof *p, params, "llmir_open_params", err));
    if (p->weights > LLMIR_WEIGHTS_COPIED)
        return ll_fail(err, LL_USAGE, "llmir_open_params.weights is %u: unknown", p->weights);
    return LL_OK;
}

llmir_status llmir_check(const char *path, const llmir_open_params *params, llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, path);
    llmir_open_params p;
    llmir_model *m;
    ll_code rc = open_params(&p, params, err);
    if (rc == LL_OK) rc = open_checked(path, &p, false, &m, err);
    if (rc == LL_OK) destroy(m);
    return (llmir_status)rc;
}

llmir_status llmir_open(const char *path, const llmir_open_params *params, llmir_model **out,
                        llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, path);
    RT_NOT_NULL(err, out);
    llmir_open_params p;
    ll_code rc = open_params(&p, params, err);
    return (llmir_status)(rc == LL_OK ? open_checked(path, &p, true, out, err) : rc);
}

llmir_status llmir_open_info(const char *path, llmir_model **out, llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, path);
    RT_NOT_NULL(err, out);
    llmir_model *m;
    RT_TRY(read_module(path, &m, err));
    pick(m, NULL, false, NULL);
    *out = m;
    return LLMIR_OK;
}

/* ---- questions -------------------------------------------------------------------------- */
llmir_status llmir_model_get_info(const llmir_model *m, llmir_model_info *info, llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, m);
    RT_NOT_NULL(err, info);
    llmir_model_info r;
    RT_TRY(rt_params(&r, sizeof r, sizeof r, info, "llmir_model_info", err));
    const llmir_model_rec *rec = rt_blob_model(&m->blob);
    const rt_tok_info *tok = m->tok ? rt_tok_get_info(m->tok) : NULL;
    r = (llmir_model_info){.name = rt_blob_str(&m->blob, rec->name),
                           .arch = rt_blob_str(&m->blob, rec->arch),
                           .quant = rt_blob_str(&m->blob, rec->quant),
                           .target = rt_blob_str(&m->blob, m->target ? m->target->name : 0),
                           .features = rt_blob_str(&m->blob, m->target ? m->target->features : 0),
                           .vocab = rec->vocab,
                           .layers = rec->layers,
                           .context = rec->context,
                           .n_kernels = rt_blob_n(&m->blob, LLMIR_SEC_KERNEL),
                           .n_sites = rt_blob_n(&m->blob, LLMIR_SEC_SITE),
                           .n_kv = rt_blob_n(&m->blob, LLMIR_SEC_KV),
                           .n_facts = rt_blob_n(&m->blob, LLMIR_SEC_PROVENANCE),
                           .n_targets = rt_blob_n(&m->blob, LLMIR_SEC_TARGET),
                           .parameters = rec->parameters,
                           .model_bytes = rec->model_bytes,
                           .file_bytes = m->note.file_size,
                           .weight_bytes = m->note.weights_size,
                           .bos = tok ? tok->bos : -1,
                           .eos = tok ? tok->eos : -1,
                           .chat_template = m->chat};
    rt_results(info, &r, sizeof r);
    return LLMIR_OK;
}

static ll_code item_no(uint32_t i, uint32_t n, const char *what, ll_error *err)
{
    return i < n ? LL_OK : ll_fail(err, LL_USAGE, "%s number %u: the module has %u", what, i, n);
}

static void hash_text(const uint64_t h[2], char out[33])
{
    ll_hash_hex((ll_hash){h[0], h[1]}, out);
}

llmir_status llmir_model_target(const llmir_model *m, uint32_t i, llmir_target_info *out,
                                llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, m);
    RT_NOT_NULL(err, out);
    llmir_target_info r;
    RT_TRY(rt_params(&r, sizeof r, sizeof r, out, "llmir_target_info", err));
    RT_TRY(item_no(i, rt_blob_n(&m->blob, LLMIR_SEC_TARGET), "target", err));
    const llmir_target_rec *t = rt_blob_target(&m->blob, i);
    ll_target here;
    ll_target_native(&here);
    r.name = rt_blob_str(&m->blob, t->name);
    r.features = rt_blob_str(&m->blob, t->features);
    r.n_programs = t->n_program;
    for (uint32_t k = 0; k < rt_blob_n(&m->blob, LLMIR_SEC_KERNEL); k++)
        r.n_kernels += rt_blob_kernel(&m->blob, k)->target == i;
    r.in_use = t == m->target;
    rt_missing(&m->blob, t, here.features, r.missing);
    rt_results(out, &r, sizeof r);
    return LLMIR_OK;
}

llmir_status llmir_model_kernel(const llmir_model *m, uint32_t i, llmir_kernel_info *out,
                                llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, m);
    RT_NOT_NULL(err, out);
    llmir_kernel_info r;
    RT_TRY(rt_params(&r, sizeof r, sizeof r, out, "llmir_kernel_info", err));
    RT_TRY(item_no(i, rt_blob_n(&m->blob, LLMIR_SEC_KERNEL), "kernel", err));
    const llmir_kernel_rec *k = rt_blob_kernel(&m->blob, i);
    r.name = rt_blob_str(&m->blob, k->name);
    r.te = rt_blob_str(&m->blob, k->te);
    r.trace = rt_blob_str(&m->blob, k->trace);
    r.target = k->target;
    hash_text(k->hash, r.hash);
    rt_results(out, &r, sizeof r);
    return LLMIR_OK;
}

llmir_status llmir_model_site(const llmir_model *m, uint32_t i, llmir_site_info *out,
                              llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, m);
    RT_NOT_NULL(err, out);
    llmir_site_info r;
    RT_TRY(rt_params(&r, sizeof r, sizeof r, out, "llmir_site_info", err));
    RT_TRY(item_no(i, rt_blob_n(&m->blob, LLMIR_SEC_SITE), "site", err));
    const llmir_site_rec *s = rt_blob_site(&m->blob, i);
    r.name = rt_blob_str(&m->blob, s->name);
    r.te = rt_blob_str(&m->blob, s->te);
    r.klass = rt_blob_str(&m->blob, s->klass);
    hash_text(s->hash, r.hash);
    r.n_variants = s->n_variant;
    r.kernel = rt_blob_variant(&m->blob, s->variant)->kernel;
    r.note = rt_blob_str(&m->blob, rt_blob_variant(&m->blob, s->variant)->note);
    rt_results(out, &r, sizeof r);
    return LLMIR_OK;
}

llmir_status llmir_model_kv(const llmir_model *m, uint32_t i, llmir_kv_info *out,
                            llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, m);
    RT_NOT_NULL(err, out);
    llmir_kv_info r;
    RT_TRY(rt_params(&r, sizeof r, sizeof r, out, "llmir_kv_info", err));
    RT_TRY(item_no(i, rt_blob_n(&m->blob, LLMIR_SEC_KV), "KV layout", err));
    const llmir_kv_rec *k = rt_blob_kv(&m->blob, i);
    uint64_t bytes = 0;
    for (uint32_t p = 0; p < k->n_pool; p++)
        bytes += rt_blob_pool(&m->blob, k->pool + p)->block_bytes;
    r.dtype = rt_blob_str(&m->blob, k->dtype);
    r.block = k->block;
    r.bytes_per_token = bytes / k->block;
    rt_results(out, &r, sizeof r);
    return LLMIR_OK;
}

llmir_status llmir_model_fact(const llmir_model *m, uint32_t i, const char **key,
                              const char **value, llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, m);
    RT_NOT_NULL(err, key);
    RT_NOT_NULL(err, value);
    RT_TRY(item_no(i, rt_blob_n(&m->blob, LLMIR_SEC_PROVENANCE), "fact", err));
    *key = rt_blob_str(&m->blob, rt_blob_fact(&m->blob, i)->key);
    *value = rt_blob_str(&m->blob, rt_blob_fact(&m->blob, i)->value);
    return LLMIR_OK;
}

/* ---- text ------------------------------------------------------------------------------- */
_Static_assert((int)LLMIR_TEXT_PARSE_SPECIAL == (int)RT_TOK_PARSE_SPECIAL &&
                   (int)LLMIR_TEXT_ADD_SPECIAL == (int)RT_TOK_ADD_SPECIAL &&
                   (int)LLMIR_TEXT_SHOW_SPECIAL == (int)RT_TOK_SHOW_SPECIAL,
               "text flags agree");

static ll_code text_args(const llmir_model *m, uint32_t flags, ll_error *err)
{
    if (flags & ~7u) return ll_fail(err, LL_USAGE, "text flags %#x: unknown bits", flags);
    return m->tok ? LL_OK
                  : ll_fail(err, LL_UNSUPPORTED, "%s: the module has no tokenizer", m->path);
}

llmir_status llmir_tokenize(const llmir_model *m, const char *text, size_t n, uint32_t flags,
                            int32_t *ids, size_t *n_ids, llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, m);
    RT_NOT_NULL(err, n_ids);
    if (n) RT_NOT_NULL(err, text);
    RT_TRY(text_args(m, flags, err));
    return (llmir_status)rt_tok_encode(m->tok, text, n, flags, ids, n_ids, err);
}

llmir_status llmir_detokenize(const llmir_model *m, const int32_t *ids, size_t n_ids,
                              uint32_t flags, char *text, size_t *n_text, llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, m);
    RT_NOT_NULL(err, n_text);
    if (n_ids) RT_NOT_NULL(err, ids);
    RT_TRY(text_args(m, flags, err));
    return (llmir_status)rt_tok_decode(m->tok, ids, n_ids, flags, text, n_text, err);
}

int llmir_token_is_end(const llmir_model *m, int32_t id)
{
    return m && m->tok && rt_tok_is_eog(m->tok, id);
}

/* pack.c: see pack.h. */
#include "compile/pack.h"

#include <dlfcn.h>
#include <llmir/module_abi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ckd.h"
#include "codegen/codegen.h"
#include "compile/pack_program.h"
#include "compile/site.h"

enum {
    MAX_THREADS = 256,
    CHUNK_BYTES = 256 << 10,
    MAX_PARAM = TE_MAX_PLANE + 1,
    MAX_DIM = 3,
    LINE = 64
};

/* ---- programs ------------------------------------------------------------------------------ */

/* A loaded packing program. */
typedef struct program {
    const te_quant *file;
    char packing[64];
    ll_dtype dtype;
    void *lib;
    llmir_kernel_code code;
    size_t scratch;
    int n_param, file_param;
    int slot[MAX_DIM]; /* of PANELS, SUPERS, ROWS */
} program;

struct cc_packer {
    const ll_target *target;
    ll_target host;
    int threads;
    program *program;
    size_t n_program, cap_program;
};

static void *zeroed(size_t n) {
    void *p = aligned_alloc(LINE, (n + LINE - 1) / LINE * LINE + LINE);
    if (p) memset(p, 0, n);
    return p;
}

/* Links the kernel into a library of its own in a private directory, loads it and removes the file.
 */
static ll_code load(program *r, const cg_job *job, ll_error *err) {
    const char *tmp = getenv("TMPDIR");
    char dir[256], path[280];
    void *object[2] = {job->code.object, NULL};
    size_t bytes[2] = {job->code.object_bytes, 0};
    if (snprintf(dir, sizeof dir, "%s/llmir-pack-XXXXXX", tmp && *tmp ? tmp : "/tmp") >=
        (int)sizeof dir)
        return ll_fail(err, LL_USAGE, "TMPDIR is too long");
    if (!mkdtemp(dir)) return ll_fail(err, LL_FAILED, "%s: cannot create a directory", dir);
    snprintf(path, sizeof path, "%s/pack.so", dir);
    ll_code rc = cg_table_object(job->target, &job->fn->name, 1, "", 0, &object[1], &bytes[1], err);
    if (rc == LL_OK) rc = cg_link(path, object, bytes, 2, err);
    free(object[1]);
    if (rc == LL_OK && !(r->lib = dlopen(path, RTLD_NOW | RTLD_LOCAL)))
        rc = ll_fail(err, LL_FAILED, "packing program: %s", dlerror());
    unlink(path);
    rmdir(dir);
    const llmir_module *m = rc == LL_OK ? dlsym(r->lib, LLMIR_MODULE_SYMBOL) : NULL;
    if (rc == LL_OK && !m)
        rc = ll_fail(err, LL_FAILED, "packing program: %s is missing", LLMIR_MODULE_SYMBOL);
    if (m) r->code = m->kernel[0];
    r->scratch = job->code.scratch_bytes;
    return rc;
}

static ll_code describe(program *r, const lp_func *f, ll_error *err) {
    static const char *const name[MAX_DIM] = {"PANELS", "SUPERS", "ROWS"};
    r->n_param = f->n_param;
    r->file_param = -1;
    for (int i = 0; i < f->n_param; i++)
        if (!f->param[i]->written) r->file_param = i;
    for (int k = 0; k < MAX_DIM; k++) {
        r->slot[k] = -1;
        for (int i = 0; i < f->n_dim; i++)
            if (!strcmp(f->dim[i]->u.dim->name, name[k])) r->slot[k] = f->dim_slot[i];
        if (r->slot[k] >= MAX_DIM)
            return ll_fail(err, LL_FAILED, "packing program: dim %s is number %d", name[k],
                           r->slot[k]);
    }
    return r->n_param <= MAX_PARAM
               ? LL_OK
               : ll_fail(err, LL_FAILED, "packing program: %d parameters", r->n_param);
}

static ll_code build(cc_packer *p, program *r, const cc_packing *pk, ll_error *err) {
    te_graph *g;
    sch *s = cc_pack_program(pk, r->file, &p->host, &g, err);
    if (!s) return err ? err->code : LL_FAILED;
    lp_collect_dims(s->fn);
    ll_code rc = describe(r, s->fn, err);
    cg_job job = {.fn = s->fn, .target = &p->host};
    if (rc == LL_OK) {
        rc = cg_compile(&job, 1, 1, err);
        if (rc != LL_OK && job.error.code != LL_OK)
            rc = ll_fail(err, rc, "packing program of %s: %s", r->file->name, job.error.msg);
    }
    if (rc == LL_OK) rc = load(r, &job, err);
    cg_code_finish(&job.code);
    sch_destroy(s);
    te_graph_destroy(g);
    return rc;
}

static ll_code program_for(cc_packer *p, const te_quant *file, const cc_packing *pk,
                           const program **out, ll_error *err) {
    for (size_t i = 0; i < p->n_program; i++) {
        const program *r = &p->program[i];
        if (r->file != file || strcmp(r->packing, pk->name) != 0) continue;
        *out = r;
        return LL_OK;
    }
    if (p->n_program == p->cap_program) {
        size_t cap = p->cap_program ? 2 * p->cap_program : 8;
        program *more = realloc(p->program, cap * sizeof *more);
        if (!more) return ll_fail(err, LL_NO_SPACE, "no memory for packing programs");
        p->program = more;
        p->cap_program = cap;
    }
    program *r = &p->program[p->n_program];
    *r = (program){.file = file};
    memcpy(r->packing, pk->name, sizeof r->packing);
    ll_code rc = build(p, r, pk, err);
    if (rc == LL_OK)
        p->n_program++;
    else if (r->lib)
        dlclose(r->lib);
    *out = r;
    return rc;
}

/* ---- one matrix ---------------------------------------------------------------------------- */

typedef struct slot {
    unsigned char *in, *out;
    size_t n_out;
    bool done;
} slot;

typedef struct job {
    const program *r;
    const cc_packing *pk;
    cc_source from;
    uint64_t row_bytes; /* in the file */
    int64_t panels, per_chunk, chunks;
    size_t in_bytes, out_bytes; /* of a full chunk */
    slot *slot;
    int n_slot;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t next, handed; /* chunks taken by workers, given to the sink */
    bool stop;
    ll_code code;
    ll_error error;
} job;

typedef struct one_thread {
    llmir_team t;
    int64_t next, parts;
} one_thread;

static int64_t claim(llmir_team *t, uint32_t thread) {
    one_thread *m = (one_thread *)t;
    return m->next < m->parts ? m->next++ : -1;
}

static void run_program(const job *j, slot *s, int64_t panels, int64_t rows, void *scratch) {
    const program *r = j->r;
    void *buf[MAX_PARAM];
    int64_t dim[MAX_DIM] = {0}, value[MAX_DIM] = {panels, j->pk->n_cols / j->pk->super, rows};
    for (int i = 0; i < r->n_param; i++) buf[i] = i == r->file_param ? s->in : s->out;
    for (int i = 0; i < MAX_DIM; i++)
        if (r->slot[i] >= 0) dim[r->slot[i]] = value[i];
    llmir_args a = {buf, dim};
    one_thread team = {.t = {claim, 1}};
    team.parts = (int64_t)r->code.parts(&a);
    r->code.run(&a, &team.t, 0, scratch);
}

static ll_code pack_chunk(const job *j, int64_t c, slot *s, void *scratch, ll_error *err) {
    int64_t first = c * j->per_chunk,
            n = j->panels - first < j->per_chunk ? j->panels - first : j->per_chunk;
    int64_t row0 = first * j->pk->rows, rows = n * j->pk->rows;
    if (rows > j->pk->n_rows - row0) rows = j->pk->n_rows - row0;
    size_t bytes = (size_t)rows * (size_t)j->row_bytes;
    LL_TRY(j->from.read(j->from.user, (uint64_t)row0 * j->row_bytes, s->in, bytes, err));
    memset(s->in + bytes, 0, (size_t)(n * j->pk->rows) * (size_t)j->row_bytes - bytes);
    s->n_out = (size_t)(n * j->pk->panel_bytes);
    run_program(j, s, n, rows, scratch);
    return LL_OK;
}

static void fail_job(job *j, ll_code code, const ll_error *err) {
    pthread_mutex_lock(&j->lock);
    if (j->code == LL_OK) {
        j->code = code;
        j->error = *err;
    }
    j->stop = true;
    pthread_cond_broadcast(&j->changed);
    pthread_mutex_unlock(&j->lock);
}

/* The next chunk, when its slot is free; -1 when there is none. */
static int64_t take(job *j) {
    pthread_mutex_lock(&j->lock);
    int64_t c = j->next < j->chunks ? j->next++ : -1;
    while (c >= 0 && !j->stop && c >= j->handed + j->n_slot)
        pthread_cond_wait(&j->changed, &j->lock);
    if (j->stop) c = -1;
    pthread_mutex_unlock(&j->lock);
    return c;
}

static void *worker(void *p) {
    job *j = p;
    ll_error err = {0};
    void *scratch = zeroed(j->r->scratch);
    if (!scratch) fail_job(j, ll_fail(&err, LL_NO_SPACE, "no memory to pack"), &err);
    for (int64_t c = scratch ? take(j) : -1; c >= 0; c = take(j)) {
        slot *s = &j->slot[c % j->n_slot];
        ll_code rc = pack_chunk(j, c, s, scratch, &err);
        if (rc != LL_OK) {
            fail_job(j, rc, &err);
            break;
        }
        pthread_mutex_lock(&j->lock);
        s->done = true;
        pthread_cond_broadcast(&j->changed);
        pthread_mutex_unlock(&j->lock);
    }
    free(scratch);
    return NULL;
}

/* Gives the chunks to the sink, in order. */
static void hand_out(job *j, cc_sink_fn sink, void *user) {
    ll_error err = {0};
    for (int64_t c = 0; c < j->chunks; c++) {
        slot *s = &j->slot[c % j->n_slot];
        pthread_mutex_lock(&j->lock);
        while (!s->done && !j->stop) pthread_cond_wait(&j->changed, &j->lock);
        bool stop = j->stop;
        pthread_mutex_unlock(&j->lock);
        if (stop) return;
        ll_code rc = sink(user, s->out, s->n_out, &err);
        if (rc != LL_OK) {
            fail_job(j, rc, &err);
            return;
        }
        pthread_mutex_lock(&j->lock);
        s->done = false;
        j->handed++;
        pthread_cond_broadcast(&j->changed);
        pthread_mutex_unlock(&j->lock);
    }
}

static ll_code run_threads(job *j, int threads, cc_sink_fn sink, void *user, ll_error *err) {
    pthread_t id[MAX_THREADS];
    int n = 0, want = j->chunks < threads ? (int)j->chunks : threads;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->changed, NULL);
    while (n < want && pthread_create(&id[n], NULL, worker, j) == 0) n++;
    if (n) {
        hand_out(j, sink, user);
        for (int i = 0; i < n; i++) pthread_join(id[i], NULL);
    } else {
        j->code = ll_fail(&j->error, LL_NO_SPACE, "cannot start a thread to pack");
    }
    pthread_cond_destroy(&j->changed);
    pthread_mutex_destroy(&j->lock);
    return j->code == LL_OK ? LL_OK : ll_fail(err, j->code, "%s", j->error.msg);
}

static ll_code make_slots(job *j, int threads, ll_error *err) {
    j->n_slot = j->chunks < threads + 2 ? (int)j->chunks : threads + 2;
    j->slot = calloc((size_t)j->n_slot, sizeof *j->slot);
    bool ok = j->slot != NULL;
    for (int i = 0; ok && i < j->n_slot; i++) {
        j->slot[i].in = zeroed(j->in_bytes);
        j->slot[i].out = zeroed(j->out_bytes);
        ok = j->slot[i].in && j->slot[i].out;
    }
    return ok ? LL_OK
              : ll_fail(err, LL_NO_SPACE, "no memory for %d chunks of %zu bytes", j->n_slot,
                        j->in_bytes + j->out_bytes);
}

static ll_code size_job(job *j, ll_error *err) {
    const cc_packing *pk = j->pk;
    uint64_t panel;
    if (!ll_mul_u64(j->row_bytes, (uint64_t)pk->rows, &panel) || panel > INT64_MAX / 2)
        return ll_fail(err, LL_BAD_INPUT, "rows of %llu bytes are too long",
                       (unsigned long long)j->row_bytes);
    j->panels = (pk->n_rows + pk->rows - 1) / pk->rows;
    j->per_chunk = (int64_t)panel < CHUNK_BYTES ? CHUNK_BYTES / (int64_t)panel : 1;
    if (j->per_chunk > j->panels) j->per_chunk = j->panels;
    j->chunks = (j->panels + j->per_chunk - 1) / j->per_chunk;
    j->in_bytes = (size_t)(panel * (uint64_t)j->per_chunk);
    j->out_bytes = (size_t)(pk->panel_bytes * j->per_chunk);
    return LL_OK;
}

static ll_code pad(uint64_t n, cc_sink_fn sink, void *user, ll_error *err) {
    static const unsigned char zero[CC_PACK_ALIGN];
    size_t more = (size_t)(-n % CC_PACK_ALIGN);
    return more ? sink(user, zero, more, err) : LL_OK;
}

/* The type of the file's tensor, which must be what the constant is. */
static ll_code file_type(const mdl_weight *w, const te_quant **q, ll_error *err) {
    const te_tensor *t = w->t;
    *q = te_quant_by_gguf((int)w->data->type->id);
    if (*q && (t->quant ? *q == t->quant
                        : (*q)->block == 1 && (*q)->plane[0].dtype == (ll_dtype)t->dtype))
        return LL_OK;
    return ll_fail(err, LL_UNSUPPORTED, "%s: the file has %s, the model wants %s", t->name,
                   w->data->type->name,
                   t->quant ? t->quant->name : ll_dtype_name((ll_dtype)t->dtype));
}

ll_code cc_packer_matrix(cc_packer *p, const cc_packing *pk, const te_quant *file, cc_source from,
                         cc_sink_fn sink, void *user, ll_error *err) {
    job j = {.pk = pk, .from = from};
    if (pk->n_cols % file->block)
        return ll_fail(err, LL_BAD_INPUT, "rows of %lld elements are no whole blocks of %d",
                       (long long)pk->n_cols, file->block);
    j.row_bytes = (uint64_t)(pk->n_cols / file->block) * (uint64_t)file->bytes;
    LL_TRY(size_job(&j, err));
    LL_TRY(program_for(p, file, pk, &j.r, err));
    ll_code rc = make_slots(&j, p->threads, err);
    if (rc == LL_OK) rc = run_threads(&j, p->threads, sink, user, err);
    for (int i = 0; j.slot && i < j.n_slot; i++) {
        free(j.slot[i].in);
        free(j.slot[i].out);
    }
    free(j.slot);
    return rc;
}

typedef struct file_tensor {
    const mdl_gguf *file;
    const mdl_gtensor *t;
} file_tensor;

static ll_code read_tensor(void *user, uint64_t off, void *buf, size_t n, ll_error *err) {
    const file_tensor *f = user;
    return mdl_gguf_read(f->file, f->t, off, buf, n, err);
}

static ll_code matrix(cc_packer *p, const mdl_gguf *file, const mdl_weight *w, cc_sink_fn sink,
                      void *user, ll_error *err) {
    cc_packing pk;
    const te_quant *q;
    file_tensor f = {file, w->data};
    LL_TRY(cc_packing_of(w->t, p->target, &pk, err));
    if (!w->data)
        return ll_fail(err, LL_UNSUPPORTED, "%s: a matrix that is not in the file", w->t->name);
    LL_TRY(file_type(w, &q, err));
    if (w->data->n_rows != (uint64_t)pk.n_rows ||
        w->data->row_bytes != (uint64_t)(pk.n_cols / q->block * q->bytes))
        return ll_fail(
            err, LL_BAD_INPUT,
            "%s: the file has %llu rows of %llu bytes, the model wants %lld rows of %lld elements",
            w->t->name, (unsigned long long)w->data->n_rows, (unsigned long long)w->data->row_bytes,
            (long long)pk.n_rows, (long long)pk.n_cols);
    LL_TRY(cc_packer_matrix(p, &pk, q, (cc_source){read_tensor, &f}, sink, user, err));
    return pad((uint64_t)pk.bytes, sink, user, err);
}

/* ---- everything else ----------------------------------------------------------------------- */

static ll_code elements(const te_tensor *t, uint64_t *n, ll_error *err) {
    *n = 1;
    for (int i = 0; i < t->ndim; i++)
        if (t->shape[i]->op != TE_INT || t->shape[i]->u.i < 0 ||
            !ll_mul_u64(*n, (uint64_t)t->shape[i]->u.i, n) || *n > UINT64_MAX / 64)
            return ll_fail(err, LL_UNSUPPORTED,
                           "%s: dimension %d is no size that a constant may have", t->name, i);
    return LL_OK;
}

static ll_code dense_bytes(const te_tensor *t, uint64_t *bytes, ll_error *err) {
    uint64_t n;
    if (t->quant)
        return ll_fail(err, LL_UNSUPPORTED, "%s: only matrices may be quantised", t->name);
    LL_TRY(elements(t, &n, err));
    *bytes = (n * (uint64_t)ll_dtype_bits((ll_dtype)t->dtype) + 7) / 8;
    return LL_OK;
}

static ll_code from_file(const mdl_gguf *file, const mdl_weight *w, uint64_t bytes,
                         unsigned char *piece, cc_sink_fn sink, void *user, ll_error *err) {
    const te_quant *q;
    LL_TRY(file_type(w, &q, err));
    if (w->data->size != bytes)
        return ll_fail(err, LL_BAD_INPUT, "%s: the file has %llu bytes, the model wants %llu",
                       w->t->name, (unsigned long long)w->data->size, (unsigned long long)bytes);
    for (uint64_t at = 0; at < bytes;) {
        size_t n = bytes - at < CHUNK_BYTES ? (size_t)(bytes - at) : CHUNK_BYTES;
        LL_TRY(mdl_gguf_read(file, w->data, at, piece, n, err));
        LL_TRY(sink(user, piece, n, err));
        at += n;
    }
    return LL_OK;
}

static ll_code from_values(const mdl_weight *w, uint64_t bytes, unsigned char *piece,
                           cc_sink_fn sink, void *user, ll_error *err) {
    ll_dtype t = (ll_dtype)w->t->dtype;
    size_t size = (size_t)ll_dtype_bits(t) / 8, per_piece;
    if (!ll_dtype_is_float(t) || (uint64_t)w->n_values * size != bytes)
        return ll_fail(err, LL_UNSUPPORTED, "%s: %zu computed values for %llu bytes of %s",
                       w->t->name, w->n_values, (unsigned long long)bytes, ll_dtype_name(t));
    per_piece = CHUNK_BYTES / size;
    for (size_t at = 0; at < w->n_values;) {
        size_t n = w->n_values - at < per_piece ? w->n_values - at : per_piece;
        for (size_t i = 0; i < n; i++)
            te_value_store(t, piece, i, (te_value){.f = (double)w->values[at + i]});
        LL_TRY(sink(user, piece, n * size, err));
        at += n;
    }
    return LL_OK;
}

static ll_code dense(const mdl_gguf *file, const mdl_weight *w, cc_sink_fn sink, void *user,
                     ll_error *err) {
    uint64_t bytes;
    LL_TRY(dense_bytes(w->t, &bytes, err));
    unsigned char *piece = malloc(CHUNK_BYTES);
    if (!piece) return ll_fail(err, LL_NO_SPACE, "no memory for a buffer of %d bytes", CHUNK_BYTES);
    ll_code rc = w->data ? from_file(file, w, bytes, piece, sink, user, err)
                         : from_values(w, bytes, piece, sink, user, err);
    free(piece);
    return rc == LL_OK ? pad(bytes, sink, user, err) : rc;
}

/* ---- the interface ------------------------------------------------------------------------- */

cc_packer *cc_packer_create(const ll_target *target, int threads, ll_error *err) {
    cc_packer *p = calloc(1, sizeof *p);
    if (!p) {
        ll_fail(err, LL_NO_SPACE, "no memory for a packer");
        return NULL;
    }
    p->target = target;
    ll_target_native(&p->host);
    if (threads <= 0) threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    p->threads = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
    return p;
}

void cc_packer_destroy(cc_packer *p) {
    if (!p) return;
    for (size_t i = 0; i < p->n_program; i++) dlclose(p->program[i].lib);
    free(p->program);
    free(p);
}

ll_code cc_packed_bytes(const te_tensor *t, const ll_target *target, uint64_t *out, ll_error *err) {
    cc_packing pk;
    if (t->ndim == 2) {
        LL_TRY(cc_packing_of(t, target, &pk, err));
        *out = (uint64_t)pk.bytes;
    } else {
        LL_TRY(dense_bytes(t, out, err));
    }
    *out += -*out % CC_PACK_ALIGN;
    return LL_OK;
}

ll_code cc_packer_weight(cc_packer *p, const mdl_gguf *file, const mdl_weight *w, cc_sink_fn sink,
                         void *user, ll_error *err) {
    return w->t->ndim == 2 ? matrix(p, file, w, sink, user, err) : dense(file, w, sink, user, err);
}

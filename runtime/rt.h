/* rt.h: the objects behind the handles of llmir.h, and what the files of this folder share.
 *
 *     llmir_model    file, tables, code, weights          model.c
 *     llmir_engine   team, KV cache, programs bound to     engine.c (making), step.c (running)
 *                    memory, inputs and outputs
 *     llmir_session  tokens and KV blocks of a sequence    session.c
 *
 * Locks: engine->lock covers everything of the engine that steps use, and the KV state of its
 * sessions. A session's `busy` flag is taken before the lock, so a second call on it fails instead
 * of waiting. */
#ifndef LLMIR_RUNTIME_RT_H
#define LLMIR_RUNTIME_RT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llmir/llmir.h>
#include <llmir/module_abi.h>

#include "base/status.h"
#include "runtime/blob.h"
#include "runtime/kv.h"
#include "runtime/sample.h"
#include "runtime/team.h"
#include "runtime/text/tokenizer.h"

enum { RT_DIM_MAX = 256 };

struct llmir_model {
    _Atomic uint32_t refs;
    char *path;
    int fd;
    llmir_note note;
    void *blob_bytes;
    rt_blob blob;
    rt_tok *tok; /* NULL: none */
    char *chat;  /* NULL: none */
    void *lib;   /* NULL: opened for information only */
    const llmir_module *code;
    const llmir_target_rec *target; /* the one in use; NULL: this machine runs none */
    char *weights; /* the weights range in memory */
    void *map;
    size_t map_bytes;
};
void rt_model_ref(llmir_model *m);

typedef struct rt_program {
    const llmir_program_rec *rec;
    rt_step *step;
    double *seconds; /* profiling: per step, not yet folded into rows */
    uint32_t *row;   /* profiling: the profile row of each step */
    uint64_t plans;  /* bit i: plan i is used */
} rt_program;

typedef struct rt_profile_row {
    uint32_t kernel, site;
    uint64_t calls;
    double seconds, bytes, ops;
} rt_profile_row;

typedef struct rt_limits {
    uint32_t context, batch, sequences, rows, pages; /* pages: row stride of the page table */
} rt_limits;

struct llmir_engine {
    _Atomic uint32_t refs;
    llmir_model *model;
    pthread_mutex_t lock; /* error-checking: a callback that calls back in gets LLMIR_BUSY */
    rt_team *team;
    rt_kv kv;
    const llmir_kv_rec *layout;
    uint32_t kv_no;
    rt_limits max;
    rt_program *program;
    uint32_t n_program;
    void **buf; /* argument pointers of all steps */
    void *work; /* one mapping: inputs, outputs, arena */
    size_t work_bytes;
    int64_t dim[RT_DIM_MAX];
    int32_t *tokens, *pos, *seg, *start, *len, *table, *rows;
    llmir_item **item; /* per plan */
    int32_t **first;
    float *logits, *row_max, *row_lse,
        *cand_logit; /* but for logits: NULL when not every program writes them */
    int32_t *cand_id;
    char *arena;
    rt_sampler sampler;
    rt_profile_row *profile; /* NULL: off */
    uint32_t n_profile;
    llmir_feed **call; /* feeds of the call in progress: for cancelling */
    size_t n_call;
};
void rt_engine_ref(llmir_engine *e);

struct llmir_session {
    llmir_engine *engine;
    _Atomic bool busy;
    _Atomic bool cancel;
    rt_kv_seq seq;
    int32_t *token; /* room for the context */
    size_t n;       /* tokens computed */
    size_t fed;     /* of the feed of the call in progress */
};

/* Takes the session for a call, or LL_BUSY. */
ll_code rt_session_take(llmir_session *s, ll_error *err);
void rt_session_give(llmir_session *s);
ll_code rt_engine_lock(llmir_engine *e, ll_error *err);

/* llmir_step on sessions that the caller has taken. */
ll_code rt_step_taken(llmir_engine *e, llmir_feed **feed, size_t n, llmir_step_params *params,
                      ll_error *err);

/* ---- the boundary ----------------------------------------------------------------------- */
/* llmir_error and ll_error are the same record; every public function starts with this. */
ll_error *rt_err(llmir_error *err);
/* LL_UNSUPPORTED when a caller's struct has anything set behind the `known` bytes. */
ll_code rt_known(const void *src, size_t known, size_t size, const char *what, ll_error *err);
/* Copies a caller's struct of any known size over zeros. `least`: bytes that must be there. */
ll_code rt_params(void *dst, size_t known, size_t least, const void *src, const char *what,
                  ll_error *err);
/* Copies back at most what the caller's struct has room for; `size` itself stays the caller's. */
void rt_results(void *dst, const void *src, size_t known);

#define RT_TRY(expr) /* LL_TRY in a public function */                \
    do {                                                              \
        ll_code rt_try_code_ = (expr);                                \
        if (rt_try_code_ != LL_OK) return (llmir_status)rt_try_code_; \
    } while (0)
#define RT_NOT_NULL(err, p)                                                                      \
    do {                                                                                         \
        if (!(p)) return (llmir_status)ll_fail((err), LL_USAGE, "%s: %s is NULL", __func__, #p); \
    } while (0)

/* n tokens or rows as the program wants them. */
static inline int64_t rt_padded(const llmir_program_rec *p, int64_t n) { return (n + p->multiple - 1) & ~(int64_t)(p->multiple - 1); }

#endif

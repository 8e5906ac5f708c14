/* llmir.h: the host API of libllmir. Open a module, make an engine, run sessions on it.
 *
 *     llmir_model *m;  llmir_engine *e;  llmir_session *s;  llmir_error err;
 *     llmir_open("model.so", NULL, &m, &err);               // check, map; milliseconds
 *     llmir_engine_create(m, NULL, &e, &err);               // threads, KV cache, working memory
 *     llmir_session_create(e, &s, &err);                    // one sequence of tokens
 *     llmir_generate(s, "Hello", 5, NULL, NULL, &err);      // or llmir_step for full control
 *     llmir_session_destroy(s); llmir_engine_destroy(e); llmir_close(m);
 *
 * Rules that hold for every call
 *   Status    0 (LLMIR_OK) or a llmir_status. On failure one sentence is written to `err`,
 *             which the caller owns and may be NULL; on success err->code is set to LLMIR_OK.
 *             Outputs are untouched on failure unless said otherwise. The library never prints,
 *             aborts or exits.
 *   Structs   start with `size`: set it to sizeof of the struct you compiled with (LLMIR_INIT
 *             does). A newer library takes missing fields as zero; zero always means "the
 *             default". An older one refuses fields it does not know unless they are zero.
 *   Ownership who creates destroys; destroying NULL is fine. A model lives on while engines use
 *             it, an engine while sessions use it. Strings returned live as long as their
 *             object.
 *   Threads   a model may be used by any number of threads. Calls on one engine from several
 *             threads are safe and take turns. A session belongs to one call at a time: a
 *             second one returns LLMIR_BUSY. llmir_session_cancel may be called from anywhere,
 *             signal handlers included.
 *   fork      an engine made before fork() cannot step in the child: LLMIR_FAILED.
 *   Trust     opening a module runs its code. llmir_check is safe on any file. */
#ifndef LLMIR_H
#define LLMIR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LLMIR_API __attribute__((visibility("default")))
#else
#define LLMIR_API
#endif

#define LLMIR_API_VERSION 1

typedef enum llmir_status {
    LLMIR_OK = 0,
    LLMIR_FAILED = 1, /* something inside failed (a system call, non-finite logits) */
    LLMIR_USAGE = 2,  /* wrong arguments */
    /* a valid file that needs a newer library, or lacks what was asked for */
    LLMIR_UNSUPPORTED = 3,
    LLMIR_BAD_INPUT = 4, /* not a module, damaged, or unreadable */
    LLMIR_NO_DEVICE = 5, /* this machine cannot run it: the sentence names what is missing */
    LLMIR_NO_SPACE = 6,  /* out of memory */
    LLMIR_BUSY = 8,      /* the session is in a call of another thread, or in its own callback */
    LLMIR_CANCELLED = 9, /* a callback returned non-zero, or llmir_session_cancel */
    LLMIR_KV_FULL = 10   /* not enough free KV blocks; nothing changed */
} llmir_status;

typedef struct llmir_error {
    int code;       /* llmir_status */
    char msg[1024]; /* one sentence, NUL-terminated */
} llmir_error;

typedef struct llmir_model llmir_model;
typedef struct llmir_engine llmir_engine;
typedef struct llmir_session llmir_session;

/* `llmir_engine_params p = LLMIR_INIT(llmir_engine_params);`  (C; all other fields zero) */
#define LLMIR_INIT(type) ((type){sizeof(type)})

LLMIR_API const char *llmir_version(void);     /* "0.1.0" */
LLMIR_API uint32_t llmir_api_version(void);    /* LLMIR_API_VERSION of the library */
LLMIR_API const char *llmir_status_name(int status);

/* Called now and then by long calls: done of total units. Non-zero: stop with LLMIR_CANCELLED.
 * It runs in the calling thread; calls on the same engine from inside it return LLMIR_BUSY. */
typedef int (*llmir_progress_fn)(void *user, uint64_t done, uint64_t total);

/* ---- devices ---------------------------------------------------------------------------- */
typedef struct llmir_device_info {
    size_t size;
    char device[32]; /* for llmir_open_params.device: "cpu", "cuda:0", "sim" */
    char name[96];   /* of the GPU */
    uint32_t sm;     /* its compute capability: 80 for 8.0 */
    uint32_t simulated;
    uint64_t memory_bytes;
    char missing[1024]; /* why it cannot be used; "" when it can */
} llmir_device_info;
/* Device i, from 0: the CPU, each GPU (or one row that says why there is none), the simulator.
 * LLMIR_USAGE past the end. */
LLMIR_API llmir_status llmir_device(uint32_t i, llmir_device_info *out, llmir_error *err);

/* ---- models ----------------------------------------------------------------------------- */
enum llmir_weights {
    /* pages come from the file when first touched; shared between processes */
    LLMIR_WEIGHTS_MAPPED = 0,
    /* those that the target in use needs are read into huge pages at open: slower to open, a few
     * per cent faster */
    LLMIR_WEIGHTS_COPIED = 1 
};

typedef struct llmir_open_params {
    size_t size;
    uint32_t weights;           /* enum llmir_weights */
    uint32_t verify;            /* 1: read all weights and compare their digest */
    llmir_progress_fn progress; /* bytes verified or copied; may be NULL */
    void *user;
    /* What its engines compute on. NULL: "cpu" where code of the module runs there, else "cuda:0".
     *   "cpu"             of the module's CPU targets that this machine has everything for, the one
     *                     with the widest vectors, then the most features, then the first
     *   "cuda", "cuda:1"  GPU number 0, 1: the target of the highest compute capability that it
     *                     runs. The driver is libcuda.so.1 or what LLMIR_CUDA_LIBRARY names
     *   "sim", "sim:sm_80"  a simulator of such a GPU: slow, checks every access (set
     *                     LLMIR_PTXSIM_LIBRARY where it is not found; one kind per process)
     *   "cpu:x86-64-v3", "cuda:sm_80"  that target of the module only
     * On a GPU llmir_open uploads the weights (progress counts them) and the first engine compiles
     * the kernels. When one faults, all models of the process on that GPU are useless until the
     * last of them is closed: LLMIR_FAILED. */
    const char *device;
} llmir_open_params;

/* Everything that can be found wrong without running code: ELF structure, digests, tables, CPU
 * features of the device. With params->verify also the weights. Errors: LLMIR_BAD_INPUT,
 * _UNSUPPORTED, _NO_DEVICE, _NO_SPACE. */
LLMIR_API llmir_status llmir_check(const char *path, const llmir_open_params *params,
                                   llmir_error *err);

/* llmir_check, then maps code and weights. `params` may be NULL. */
LLMIR_API llmir_status llmir_open(const char *path, const llmir_open_params *params,
                                  llmir_model **out, llmir_error *err);
/* Like llmir_open, without code: information and text only (works for another machine's module). */
LLMIR_API llmir_status llmir_open_info(const char *path, llmir_model **out, llmir_error *err);
LLMIR_API void llmir_close(llmir_model *model);

typedef struct llmir_model_info {
    size_t size;
    const char *name, *arch, *quant; /* "SmolLM2 135M Instruct", "llama", "Q4_1" */
    /* the target in use, "cpu:x86-64-v4", and the CPU features its code needs, comma-separated;
     * both "" when llmir_open_info found none that this machine runs */
    const char *target, *features;
    uint32_t vocab, layers, context; /* context: tokens the model was made for */
    uint32_t n_kernels, n_sites, n_kv, n_facts, n_targets; /* kernels: of all targets */
    /* weights (elements); bytes of tensors in the original file */
    uint64_t parameters, model_bytes;
    uint64_t file_bytes, weight_bytes; /* of the module */
    int32_t bos, eos;                  /* -1: none */
    const char *chat_template;         /* NULL: none; NUL-terminated */
} llmir_model_info;
LLMIR_API llmir_status llmir_model_get_info(const llmir_model *model, llmir_model_info *info,
                                            llmir_error *err);

typedef struct llmir_kernel_info {
    size_t size;
    const char *name, *te, *trace; /* canonical expressions; schedule, one primitive a line */
    char hash[33];
    uint32_t target; /* number of its target */
} llmir_kernel_info;
typedef struct llmir_target_info {
    size_t size;
    const char *name, *features; /* "cpu:x86-64-v4"; what its code needs, comma-separated */
    uint32_t n_programs, n_kernels;
    uint32_t in_use;  /* 1: the one the model was opened with, or would be */
    char missing[64]; /* the first thing it needs that this machine lacks; "": it runs here */
} llmir_target_info;
typedef struct llmir_site_info {
    size_t size;
    const char *name, *te, *klass;
    char hash[33];
    uint32_t n_variants;
    uint32_t kernel;  /* of variant 0 */
    const char *note; /* of variant 0 */
} llmir_site_info;
typedef struct llmir_kv_info {
    size_t size;
    const char *dtype;        /* "f16" */
    uint32_t block;           /* tokens per block */
    uint64_t bytes_per_token; /* all layers, keys and values */
} llmir_kv_info;
/* i counts from 0 to the number in llmir_model_info - 1; LLMIR_USAGE beyond. */
LLMIR_API llmir_status llmir_model_target(const llmir_model *model, uint32_t i,
                                          llmir_target_info *out, llmir_error *err);
LLMIR_API llmir_status llmir_model_kernel(const llmir_model *m, uint32_t i, llmir_kernel_info *out,
                                          llmir_error *err);
LLMIR_API llmir_status llmir_model_site(const llmir_model *m, uint32_t i, llmir_site_info *out,
                                        llmir_error *err);
LLMIR_API llmir_status llmir_model_kv(const llmir_model *m, uint32_t i, llmir_kv_info *out,
                                      llmir_error *err);
/* Where the module comes from: key and value number i. */
LLMIR_API llmir_status llmir_model_fact(const llmir_model *m, uint32_t i, const char **key,
                                        const char **value, llmir_error *err);

/* ---- text ------------------------------------------------------------------------------- */
enum llmir_text_flags {
    /* tokenize: "<|im_end|>" becomes the control token: never for user text */
    LLMIR_TEXT_PARSE_SPECIAL = 1,
    LLMIR_TEXT_ADD_SPECIAL = 2, /* tokenize: begin and end tokens, where the model wants them */
    LLMIR_TEXT_SHOW_SPECIAL = 4 /* detokenize: control tokens print as their text */
};
/* In: *n_ids is the room in `ids` (which may be NULL to ask for the number). Out: the number of
 * ids of the whole text; LLMIR_USAGE when that is more than the room (the ids that fit are
 * stored). `text` is n bytes, any bytes; it should be UTF-8. LLMIR_UNSUPPORTED: the module has
 * no tokenizer. */
LLMIR_API llmir_status llmir_tokenize(const llmir_model *model, const char *text, size_t n,
                                      uint32_t flags, int32_t *ids, size_t *n_ids,
                                      llmir_error *err);
/* The exact bytes of the ids, with the same rule for room; no NUL is added. A single token may
 * hold part of a UTF-8 character. */
LLMIR_API llmir_status llmir_detokenize(const llmir_model *model, const int32_t *ids, size_t n_ids,
                                        uint32_t flags, char *text, size_t *n_text,
                                        llmir_error *err);
/* 1 when the token ends a text, else 0 (also for ids outside the vocabulary). */
LLMIR_API int llmir_token_is_end(const llmir_model *model, int32_t id);

/* ---- engines ---------------------------------------------------------------------------- */
typedef struct llmir_engine_params {
    size_t size;
    /* CPU: 0: the CPUs this process may use. Results do not depend on it */
    uint32_t threads;
    const char *kv_dtype; /* "f16", "f32": storage of keys and values; NULL: the module's first */
    /* tokens per KV block, one of those compiled in; 0: the module's first */
    uint32_t kv_block;
    uint32_t context;       /* longest sequence in tokens; 0: the model's */
    uint64_t kv_tokens;     /* cache for this many tokens, all sessions together; 0: one context */
    uint32_t max_batch;     /* tokens computed at once (longer input is cut); 0: 512 */
    uint32_t max_sequences; /* sessions in one step; 0: 64 */
    uint32_t max_rows;      /* logit rows computed at once; 0: max_sequences */
    uint32_t profile;       /* 1: keep time per kernel (llmir_engine_profile) */
} llmir_engine_params;

/* Allocates everything steps will need; no step allocates. `params` may be NULL. */
LLMIR_API llmir_status llmir_engine_create(llmir_model *model, const llmir_engine_params *params,
                                           llmir_engine **out, llmir_error *err);
/* Destroy its sessions first; an engine with sessions goes when the last one is destroyed. */
LLMIR_API void llmir_engine_destroy(llmir_engine *engine);

typedef struct llmir_engine_info {
    size_t size;
    uint32_t threads, context, max_batch, max_sequences, max_rows, kv_block;
    const char *kv_dtype;
    uint64_t kv_blocks, kv_blocks_free; /* blocks of kv_block tokens */
    uint64_t kv_bytes, work_bytes;      /* address space of the cache; of activations and inputs */
    /* "cpu", "cuda:0 (NVIDIA H100, sm_90)", "sim (simulator of sm_80)"; 1: times are a simulator's */
    const char *device;
    uint32_t simulated;
    uint64_t graphs, graph_runs; /* CUDA graphs: made with the engine, one per program; launched */
    uint64_t findings;           /* what the simulator's checks found, in this process */
} llmir_engine_info;
LLMIR_API llmir_status llmir_engine_get_info(llmir_engine *engine, llmir_engine_info *info,
                                             llmir_error *err);

typedef struct llmir_profile_row {
    size_t size;
    const char *kernel, *site; /* "" where the step belongs to no site */
    uint64_t calls;
    double seconds;    /* wall time from the step's opening to the next one's */
    double bytes, ops; /* the least it must move and compute, summed over calls */
} llmir_profile_row;
/* Row i of the profile (engine made with profile = 1), one per kernel and site; LLMIR_USAGE past
 * the end. Call it while no step runs. */
LLMIR_API llmir_status llmir_engine_profile(llmir_engine *engine, uint32_t i,
                                            llmir_profile_row *row, llmir_error *err);
LLMIR_API void llmir_engine_profile_reset(llmir_engine *engine);

/* ---- sessions: one sequence of tokens and its KV blocks --------------------------------- */
LLMIR_API llmir_status llmir_session_create(llmir_engine *engine, llmir_session **out,
                                            llmir_error *err);
/* A second session with the same tokens. It shares the KV blocks; a shared block is copied when
 * one of the two writes to it. LLMIR_BUSY while `from` is in a call. */
LLMIR_API llmir_status llmir_session_fork(llmir_session *from, llmir_session **out,
                                          llmir_error *err);
LLMIR_API void llmir_session_destroy(llmir_session *session); /* not while a call uses it */
/* Tokens computed so far. */
LLMIR_API size_t llmir_session_length(const llmir_session *session);
/* The first `*n` of them (in: room, out: stored). */
LLMIR_API llmir_status llmir_session_tokens(const llmir_session *session, int32_t *ids, size_t *n,
                                            llmir_error *err);
/* Forgets all but the first n tokens and frees their blocks. LLMIR_USAGE when n > length. */
LLMIR_API llmir_status llmir_session_truncate(llmir_session *session, size_t n, llmir_error *err);
/* The call in progress on this session, or else its next one, ends with LLMIR_CANCELLED, soon
 * (between two kernels; on a GPU before the next run of at most max_batch tokens). Safe from any
 * thread and from signal handlers. */
LLMIR_API void llmir_session_cancel(llmir_session *session);

/* ---- sampling --------------------------------------------------------------------------- */
/* Order: repeat penalty, temperature, top_k, top_p, min_p; then one draw from what is left,
 * renormalised. The random number of a token is output number `position of the token in its
 * sequence` of SplitMix64 seeded with `seed` (top 53 bits / 2^53), and the draw walks the kept
 * tokens by ascending id: equal seeds give equal text. With temperature 0 the largest logit
 * wins; of equal ones the lowest id. */
typedef struct llmir_sample_params {
    size_t size;
    float temperature; /* 0: greedy; otherwise > 0 and finite */
    uint32_t top_k;    /* keep the k most likely (equal logits: lower ids first); 0: all */
    float top_p;       /* keep the most likely until their sum reaches p, 0 < p <= 1; 0: all */
    /* keep those with at least min_p times the best probability, 0..1; 0: all */
    float min_p;
    float repeat_penalty; /* logits of tokens already in the sequence are divided (if positive) or
                             multiplied by this; 0 or 1: off */
    uint32_t repeat_last; /* look back this many tokens; 0: the whole sequence */
    uint64_t seed;
} llmir_sample_params;

/* The same chain on a row of logits of your own: n >= 1 finite or -inf values, which it may
 * overwrite. history: n_history token ids for the repeat penalty; position: which random number. */
LLMIR_API llmir_status llmir_sample(const llmir_sample_params *params, float *logits, size_t n,
                                    const int32_t *history, size_t n_history, uint64_t position,
                                    int32_t *id, llmir_error *err);

/* ---- steps ------------------------------------------------------------------------------ */
enum llmir_want {
    LLMIR_WANT_NEXT = 0, /* logits of the last token; sample the next one from them */
    LLMIR_WANT_NONE = 1, /* only extend the cache */
    LLMIR_WANT_ALL = 2   /* logits of every fed token (`logits` required); sample as NEXT */
};

/* What one session contributes to a step. */
typedef struct llmir_feed {
    size_t size;
    llmir_session *session;
    const int32_t *tokens; /* n_tokens >= 1 ids below the vocabulary size */
    size_t n_tokens;
    uint32_t want;                     /* enum llmir_want */
    const llmir_sample_params *sample; /* NULL: greedy */
    float *logits;    /* NULL, or room for 1 (NEXT) or n_tokens (ALL) rows of `vocab` floats: logits
                         as computed, before penalties */
    int32_t next;     /* out: the sampled token (not yet part of the session); -1 with WANT_NONE */
    float next_logit; /* out: its logit, penalties included */
} llmir_feed;

typedef struct llmir_step_params {
    size_t size;
    llmir_progress_fn progress; /* tokens computed of all tokens fed, after each run */
    void *user;
    uint64_t kv_needed, kv_free; /* out: blocks, on LLMIR_KV_FULL */
} llmir_step_params;

/* Appends the tokens of n = 1..1024 feeds (of n different sessions of this engine, prompts and
 * single tokens mixed as you like) and computes what they want. Input longer than max_batch is
 * computed in several runs. All or nothing: on any failure every session is as before. Errors:
 * LLMIR_USAGE (token or context out of range, two feeds of one session), LLMIR_KV_FULL,
 * LLMIR_BUSY, LLMIR_CANCELLED, LLMIR_FAILED (non-finite logits: the sentence names the position).
 * Then `next` is -1, and `logits` may hold rows of what was computed. `params` may be NULL.
 * Feeds are an array with stride feeds[0].size. */
LLMIR_API llmir_status llmir_step(llmir_engine *engine, llmir_feed *feeds, size_t n,
                                  llmir_step_params *params, llmir_error *err);

/* ---- generation: a loop over llmir_step ------------------------------------------------- */
enum llmir_stop {
    LLMIR_STOP_END = 0,    /* the model ended the text */
    LLMIR_STOP_LENGTH = 1, /* max_tokens reached */
    LLMIR_STOP_CONTEXT = 2 /* no room in the context */
};

typedef struct llmir_generate_params {
    size_t size;
    const llmir_sample_params *sample; /* NULL: greedy */
    uint64_t max_tokens;               /* 0: until the model or the context ends */
    uint32_t ignore_end;               /* 1: end tokens do not stop it (and are shown) */
    uint32_t text_flags;               /* for the prompt; enum llmir_text_flags */
    /* Each new token; `text` is n bytes of complete UTF-8 (possibly none yet), with a NUL
     * behind. Non-zero: stop with LLMIR_CANCELLED (tokens so far stay in the session). A
     * character that the last token left unfinished comes at the end as U+FFFD with id -1. */
    int (*on_token)(void *user, int32_t id, const char *text, size_t n);
    llmir_progress_fn progress; /* prompt tokens computed */
    void *user;
} llmir_generate_params;

typedef struct llmir_generate_result {
    size_t size;
    uint32_t stop; /* enum llmir_stop */
    uint32_t n_prompt, n_generated;
    double prefill_seconds, decode_seconds;
} llmir_generate_result;

/* Tokenizes `prompt` (n bytes), feeds it behind what the session holds, and generates. Both
 * structs may be NULL. The last generated token is not yet computed into the session's cache.
 * On failure `result` tells how far it came. */
LLMIR_API llmir_status llmir_generate(llmir_session *session, const char *prompt, size_t n,
                                      const llmir_generate_params *params,
                                      llmir_generate_result *result, llmir_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* module_abi.h: what a model.so holds, how it is checked, and how its kernels are called.
 *
 * A module is an ELF shared object followed by two byte ranges that ELF knows nothing about:
 *
 *     0            elf_size     blob_offset              weights_offset (aligned)      file_size
 *     +------------+---+--------+------------------------+----+-----------------------------+
 *     | ELF: code, |pad| blob: tables, tokenizer, texts  | pad| weights, packed for the     |
 *     | note       |   | (sections of fixed records)     |    | targets, mapped lazily      |
 *     +------------+---+--------+------------------------+----+-----------------------------+
 *
 * The note (`.note.llmir`, one `llmir_note`) says where they are and carries digests. A loader
 * reads ELF headers, note and blob with bounded `pread` and validates all of it BEFORE `dlopen`;
 * `dlopen` then only supplies function pointers through the one exported symbol,
 * `llmir_module_v1`, a const `llmir_module`. Everything is little-endian.
 *
 * A module holds code for one or several targets (LLMIR_SEC_TARGET): each has its own kernels and
 * programs; dims, plans, KV layouts and the tokenizer are shared, and so is a weight wherever two
 * targets pack it alike.
 *
 * Kernels on the CPU. A step of a program runs one kernel on the whole team:
 *
 *     uint64_t parts(const llmir_args *a);                        // how many parts this call has
 *     void     run(const llmir_args *a, llmir_team *t, uint32_t thread, void *scratch);
 *
 * `run` is entered by the threads of the team that have work. It asks `t->claim(t, thread)` for
 * a part (the thread's own contiguous range first, then stealing); -1 means no part is left.
 * With the first part in hand it runs its per-thread prologue into `scratch` (64-byte aligned,
 * llmir_kernel_rec.scratch bytes, contents undefined), then part after part. A call of `claim`
 * also reports the part claimed before as finished, so results of a part must be stored by then.
 * The number of parts (below 2^24) depends on the arguments only, never on the thread count:
 * results have the same bits for any team.
 *
 * Kernels on a CUDA device are PTX texts (LLMIR_SEC_PTX) with a launch rule each
 * (LLMIR_SEC_LAUNCH). Their parameters: one 64-bit device pointer per buffer, in the order of the
 * parameter list, then one 64-bit device pointer to the dims, `const int64_t dim[]`, indexed as
 * llmir_args.dim is. A kernel reads its extents from there; blocks beyond them do nothing, so a
 * grid may be larger than its rule says. */
#ifndef LLMIR_MODULE_ABI_H
#define LLMIR_MODULE_ABI_H

#include <stdint.h>

#define LLMIR_MODULE_MAGIC 0x314d524d4c4cu /* "LLMRM1" */
#define LLMIR_MODULE_ABI 2u
#define LLMIR_MODULE_SYMBOL "llmir_module_v1"
#define LLMIR_NOTE_SECTION ".note.llmir"
#define LLMIR_NOTE_NAME "LLMIR" /* namesz 6 with its NUL, padded to 8 */
#define LLMIR_NOTE_TYPE 1u

/* ---- code ------------------------------------------------------------------------------- */
typedef struct llmir_args {
    void *const *buf;   /* the kernel's buffers, in the order of its parameter list */
    const int64_t *dim; /* the module's symbolic dimensions, by their index (llmir_dim_rec) */
} llmir_args;

typedef struct llmir_team llmir_team;
struct llmir_team {
    int64_t (*claim)(llmir_team *team, uint32_t thread);
    uint32_t n_threads;
};

typedef uint64_t (*llmir_parts_fn)(const llmir_args *args);
typedef void (*llmir_run_fn)(const llmir_args *args, llmir_team *team, uint32_t thread,
                             void *scratch);

typedef struct llmir_kernel_code {
    llmir_parts_fn parts;
    llmir_run_fn run;
} llmir_kernel_code;

typedef struct llmir_module {
    uint64_t magic;
    uint32_t abi, size;      /* LLMIR_MODULE_ABI; of this struct */
    uint64_t blob_digest[2]; /* the blob this code belongs to: equal to the note's */
    uint64_t n_kernel;
    const llmir_kernel_code *kernel; /* llmir_kernel_rec.code of CPU kernels is an index here */
} llmir_module;

/* ---- the note --------------------------------------------------------------------------- */
/* Digests are {low, high 64 bits} of XXH3-128: they find damage, they are not signatures. A
 * range's digest folds its 1 MiB pieces in order: h = 0; for each piece: h = XXH3-128(h,
 * XXH3-128(piece)). */
typedef struct llmir_note {
    uint64_t magic;     /* LLMIR_MODULE_MAGIC */
    uint32_t abi, size; /* LLMIR_MODULE_ABI; of this struct */
    /* features a loader must know (enum llmir_required); unknown bit: refuse */
    uint64_t required;
    uint64_t file_size, elf_size;
    uint64_t blob_offset, blob_size;
    uint64_t weights_offset, weights_size; /* offset a multiple of LLMIR_WEIGHTS_ALIGN */
    uint64_t elf_digest[2];     /* of bytes [0, elf_size) with this whole struct taken as zero */
    uint64_t blob_digest[2];
    uint64_t weights_digest[2]; /* checked on request */
    uint64_t note_digest[2];    /* plain XXH3-128 of all fields above */
} llmir_note;

enum llmir_required { LLMIR_REQUIRED_KNOWN = 0 }; /* no bit is defined in ABI 2 */
enum { LLMIR_WEIGHTS_ALIGN = 4096, LLMIR_DIGEST_PIECE = 1 << 20 };

/* ---- the blob ---------------------------------------------------------------------------
 *     header | section[n_section] | section bytes: each 8-byte aligned, any order, no overlap
 * A section holds `count` records of `record` bytes (or `count` plain bytes, record 1). Unknown
 * kinds are skipped; a record may be longer than the struct here (newer writer), never shorter. */
#define LLMIR_BLOB_MAGIC 0x31424f4c424d4c4cu /* "LLMBLOB1" */

typedef struct llmir_blob_head {
    uint64_t magic, size;
    uint32_t n_section, reserved;
} llmir_blob_head;

typedef struct llmir_section {
    uint32_t kind, record;
    uint64_t count, offset; /* offset from the start of the blob */
} llmir_section;

enum llmir_section_kind {
    LLMIR_SEC_STRINGS = 1, /* bytes: NUL-terminated strings; offset 0 is the empty one. UTF-8 */
    LLMIR_SEC_MODEL,       /* one llmir_model_rec */
    LLMIR_SEC_DIM,
    LLMIR_SEC_TERM,
    LLMIR_SEC_KERNEL,
    LLMIR_SEC_SITE,
    LLMIR_SEC_VARIANT,
    LLMIR_SEC_KV,
    LLMIR_SEC_POOL,
    LLMIR_SEC_PLAN,
    LLMIR_SEC_WEIGHT,
    LLMIR_SEC_PROGRAM,
    LLMIR_SEC_STEP,
    LLMIR_SEC_BINDING,
    LLMIR_SEC_PROVENANCE, /* llmir_pair_rec: input hash, versions, options; no paths, no times */
    LLMIR_SEC_TOKENIZER,  /* bytes: <llmir/tokenizer_abi.h>; absent when the model has none */
    LLMIR_SEC_CHAT,       /* bytes: the chat template's text; absent when there is none */
    LLMIR_SEC_TARGET,
    LLMIR_SEC_PTX,    /* bytes: PTX texts, one after the other, each ending in a NUL */
    LLMIR_SEC_LAUNCH,
    LLMIR_SEC_END_
};

typedef uint32_t llmir_str; /* offset into LLMIR_SEC_STRINGS */

/* base + sum over its terms of coef * value(dim). Used for byte counts, offsets and work
 * estimates. */
typedef struct llmir_linear {
    int64_t base;
    uint32_t term, n_term; /* a range of LLMIR_SEC_TERM */
} llmir_linear;

typedef struct llmir_term {
    int64_t coef;
    uint32_t dim, reserved;
} llmir_term;

typedef struct llmir_model_rec {
    llmir_str name, arch, quant; /* "SmolLM2 135M Instruct", "llama", "Q4_1": for people */
    uint32_t vocab, layers, context; /* context: longest sequence the model was made for */
    uint64_t parameters;             /* number of weights (elements) */
    uint64_t model_bytes;            /* size of the tensors in the file it was made from */
} llmir_model_rec;

/* ---- targets: the kinds of machine there is code for, in the order they were asked for --- */
enum llmir_on { LLMIR_ON_CPU, LLMIR_ON_CUDA, LLMIR_ON_END_ };
typedef struct llmir_target_rec {
    llmir_str name;     /* "cpu:x86-64-v4", "cuda:sm_80"; no two are equal */
    llmir_str features; /* CPU: what its code needs, "avx2,fma,avx512vnni" (LLVM's names) */
    uint32_t kind;      /* enum llmir_on */
    /* CUDA: compute capability, 80 for 8.0; exact: runs on that one only (sm_90a), else on it and
     * on newer ones. CPU: 0 */
    uint32_t sm, sm_exact;
    uint32_t program, n_program; /* a range of LLMIR_SEC_PROGRAM; the ranges follow one another */
    uint32_t reserved;
} llmir_target_rec;
enum { LLMIR_TARGET_NAME = 160 }; /* bytes of a target's name at most, its NUL included */

/* The dims that a kernel reads. The runtime knows a dim by its kind; the name is for people. */
enum llmir_dim_kind {
    LLMIR_DIM_T,      /* tokens in this step */
    LLMIR_DIM_S,      /* sequences (segments) in this step */
    LLMIR_DIM_R,      /* rows whose logits are wanted (may be 0) */
    LLMIR_DIM_W,      /* work items of plan number `arg` (may be 0) */
    LLMIR_DIM_PAGES,  /* row stride of the page table, in entries */
    LLMIR_DIM_BLOCKS, /* KV blocks in each pool, the spare one (block 0) included */
    LLMIR_DIM_KEYS,   /* sum over segments of their context lengths (for estimates) */
    LLMIR_DIM_PAIRS,  /* sum over segments of rows * context length (for estimates) */
    LLMIR_DIM_END_
};
typedef struct llmir_dim_rec {
    llmir_str name;
    uint32_t kind, arg, reserved;
} llmir_dim_rec;

typedef struct llmir_kernel_rec {
    llmir_str name;  /* the symbol a profiler shows */
    llmir_str te;    /* canonical tensor expressions */
    llmir_str trace; /* the schedule, one primitive a line */
    uint32_t target; /* LLMIR_SEC_TARGET */
    uint32_t kind;   /* enum llmir_on: the target's */
    uint32_t code;   /* CPU: index into llmir_module.kernel; CUDA: into LLMIR_SEC_LAUNCH */
    uint64_t hash[2]; /* of te text, trace and target */
    uint64_t scratch; /* CPU: bytes per thread */
} llmir_kernel_rec;

/* ceil(n / div); n <= 0: nothing to launch. */
typedef struct llmir_extent {
    llmir_linear n;
    uint32_t div, reserved;
} llmir_extent;

/* How a CUDA kernel is launched. The ranges of PTX ascend; launches of one text are neighbours. */
typedef struct llmir_launch_rec {
    uint64_t ptx, ptx_size; /* a text of LLMIR_SEC_PTX, its NUL counted */
    llmir_str entry;        /* name of the .entry */
    uint32_t block[3];      /* threads; their product is at most LLMIR_MAX_BLOCK */
    uint32_t shared;        /* dynamic shared memory in bytes, at most LLMIR_MAX_SHARED */
    uint32_t reserved;
    llmir_extent grid[3]; /* blocks */
} llmir_launch_rec;
enum { LLMIR_MAX_BLOCK = 1024, LLMIR_MAX_SHARED = 1 << 20 };

/* A site is one place of the model (an expression with its dims), served by variants in rank
 * order. */
typedef struct llmir_site_rec {
    llmir_str name, te, klass, reserved; /* "layer.qkv", canonical text, schedule class */
    uint64_t hash[2];                    /* of the canonical text */
    uint32_t variant, n_variant;         /* a range of LLMIR_SEC_VARIANT; 0 is the default */
} llmir_site_rec;
typedef struct llmir_variant_rec {
    uint32_t kernel;
    llmir_str note; /* "rows = 1": when it serves, for people */
} llmir_variant_rec;

/* ---- KV cache: pools of blocks. Block b of a pool starts at b * block_bytes. ------------ */
/* The layouts serve every target; the order inside a block is the target's own affair, so a KV
 * cache belongs to an engine. */
typedef struct llmir_kv_rec {
    llmir_str dtype;       /* "f16", "f32": what --kv names */
    uint32_t block;        /* tokens per block: a power of two, 16..256 */
    uint32_t pool, n_pool; /* a range of LLMIR_SEC_POOL */
} llmir_kv_rec;
typedef struct llmir_pool_rec {
    llmir_str name; /* "k", "v", "kv" */
    uint32_t layer;
    uint64_t block_bytes; /* a multiple of 64 */
} llmir_pool_rec;

/* ---- plans: ragged work cut into items --------------------------------------------------
 * Each segment has `rows` new tokens, the last of its `keys` tokens. A plan serves the segments
 * whose rows and keys lie in its class; the plans of one group partition all (rows, keys). Rows
 * are cut into tiles of row_tile, the keys that a tile sees into ranges of key_split (0: one
 * range). Items of one row tile are neighbours, part 0 first; every row tile has at least one
 * item. */
typedef struct llmir_plan_rec {
    llmir_str name;
    uint32_t group;
    uint32_t row_tile, key_split;
    uint32_t rows_min, rows_max; /* class: rows_min <= rows <= rows_max (UINT32_MAX: no limit) */
    uint32_t keys_min, keys_max;
    uint32_t causal; /* 1: a row at position p sees keys 0..p; 0: every row sees all keys */
    uint32_t window; /* > 0: of those only the last `window` (needs causal) */
    uint32_t reserved;
} llmir_plan_rec;

typedef struct llmir_item {
    int32_t seg;
    int32_t row0, rows; /* flat token indices row0 .. row0 + rows - 1, all of segment seg */
    int32_t lo, hi;     /* keys lo .. hi - 1 of the segment (positions) */
    /* keys in [lo, mask_from) are below every row's own position: no causal mask */
    int32_t mask_from;
    int32_t part, parts; /* this item is part number `part` of `parts` of its row tile */
} llmir_item;

/* ---- weights: one record for each packing of a weight that some target wants ------------ */
typedef struct llmir_weight_rec {
    llmir_str name, packing; /* "blk.0.attn_q.weight", id of the packing */
    uint64_t offset, size;   /* in the weights range; offset a multiple of 64, ascending */
} llmir_weight_rec;

/* ---- programs: the steps, in order, for a range of T ------------------------------------
 * A program that serves T = 1 only may take T, S and R as 1: rows[0] names the token even when R
 * is 0. A program serves one KV layout and t_min <= T <= t_max; for each target and KV layout the
 * programs cover 1..max without gap or overlap. Sizes and offsets are linear in the dims at the bucket's
 * maximum (T = t_max or the engine's limit if that is lower, S and R at the engine's limits, W
 * at what the plan can reach); offsets in the arena are rounded up to 64 by the loader, so a
 * writer leaves 64 bytes between buffers. */
typedef struct llmir_program_rec {
    llmir_str name;
    uint32_t kv;
    uint32_t t_min, t_max;
    uint32_t step, n_step; /* a range of LLMIR_SEC_STEP */
    llmir_linear arena;    /* bytes of activation arena */
    /* T and R are rounded up to this (a power of two up to LLMIR_MAX_MULTIPLE; 1: not): one more
     * segment of tokens 0 at positions 0, 1, ..., whose pages are the spare block, and rows that
     * repeat row 0. Plans hold that segment like any other; nobody reads its results. */
    uint32_t multiple, reserved;
} llmir_program_rec;
enum { LLMIR_MAX_MULTIPLE = 64 };

typedef struct llmir_step_rec {
    uint32_t kernel, site; /* site UINT32_MAX: none */
    uint32_t binding, n_binding;
    /* what it must move at least (weights, KV, activations): limit for profiles */
    llmir_linear bytes;
    llmir_linear ops; /* arithmetic operations (multiply and add count two) */
} llmir_step_rec;

enum llmir_space {
    LLMIR_SPACE_ARENA,  /* index 0; at: offset in the activation arena; size: bytes used */
    LLMIR_SPACE_WEIGHT, /* index: LLMIR_SEC_WEIGHT; at.base: offset inside it */
    /* index: pool, counted from the KV layout's first; at.base: offset in a block */
    LLMIR_SPACE_KV,
    LLMIR_SPACE_INPUT,  /* index: enum llmir_input */
    LLMIR_SPACE_OUTPUT, /* index: enum llmir_output */
    LLMIR_SPACE_END_
};
typedef struct llmir_binding_rec {
    uint32_t space, index;
    llmir_linear at;
    llmir_linear size; /* ARENA only */
} llmir_binding_rec;

/* What the engine fills before a step; all int32. */
enum llmir_input {
    LLMIR_IN_TOKENS, /* [T] token ids */
    LLMIR_IN_POS,    /* [T] position of each token in its sequence */
    LLMIR_IN_SEG,    /* [T] segment of each token */
    LLMIR_IN_START,  /* [S + 1] first flat token of each segment */
    LLMIR_IN_LEN,    /* [S] context length, this step's tokens included */
    LLMIR_IN_TABLE,  /* [S][pages] block ids; each row ends in at least one valid spare id */
    LLMIR_IN_ROWS,   /* [R] flat token index whose logits are wanted, ascending */
    /* + 2 * plan: llmir_item[W]; + 2 * plan + 1: [T] first item of each row, or -1 */
    LLMIR_IN_PLAN,
};
/* Logits must be written; the rest spares the runtime passes over the row, where every program
 * writes it. */
enum llmir_output {
    LLMIR_OUT_LOGITS,     /* f32 [R][vocab] */
    LLMIR_OUT_MAX,        /* f32 [R]: the largest logit */
    LLMIR_OUT_LSE,        /* f32 [R]: log of the sum of exponentials */
    LLMIR_OUT_CAND_ID,    /* s32 [R][LLMIR_CANDIDATES]: ids of the largest logits, best first; */
    LLMIR_OUT_CAND_LOGIT, /* f32 [R][LLMIR_CANDIDATES]  equal logits by ascending id */
    LLMIR_OUT_END_
};
enum { LLMIR_CANDIDATES = 256 }; /* a model with fewer tokens pads with id -1, logit -inf */

typedef struct llmir_pair_rec {
    llmir_str key, value;
} llmir_pair_rec;

#endif

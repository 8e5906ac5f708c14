/* rules.h: default schedules. A rule writes the trace of one kernel from the structure of its definitions (index maps,
 * reductions, what they read) and a few knobs; it knows no operator, no model and no type by name. The tuner varies the
 * knobs; a line that `sch_do` refuses makes the knobs "not applicable".
 *
 *   matmul.c   sums over rows of constant matrices: one row (gemv), few rows, many rows
 *   ragged.c   reductions over data-dependent ranges (attention-shaped)
 *   rows.c     everything light: elementwise, norms, gathers, blockwise quantisation; also prologues
 *   common.c   vectorising one stage, packing lines, names
 *   gpu.c      GPUs: elements and sums over threads, light kernels, limits; gpu_matmul.c and gpu_ragged.c the others */
#ifndef LLMIR_SCHEDULE_RULES_H
#define LLMIR_SCHEDULE_RULES_H

#include "schedule/sch.h"

typedef enum rule_class { RULE_MATMUL, RULE_RAGGED, RULE_ROWS } rule_class;

typedef struct rule_stage {
    te_tensor *t;
    bool contraction; /* a sum over a row of a constant matrix                                     */
    bool prologue;    /* recomputed by each thread before its parts (one row)                      */
    bool root;        /* an output of the kernel                                                   */
    int group;        /* connected nests of a matmul kernel, from 0; -1: none                      */
} rule_stage;

/* A constant matrix and where its planes lie. */
typedef struct rule_weight {
    te_tensor *t;
    const char *layout[TE_MAX_PLANE]; /* text for `pack`, one a plane (one in all for plain elements) */
    int64_t panel, lanes;             /* rows of a panel, lanes of a vector of rows                   */
    int64_t granule;                  /* columns that one scale and one sum of activation codes share */
    int64_t unit;                     /* columns whose codes share bytes: what is unrolled together, so that shifts are constants */
    int64_t super, super_bytes;       /* columns and bytes of what follows each other in memory       */
    int streams;                      /* places of a superblock that a unit's columns are read from at once */
} rule_weight;

typedef struct rule_kernel {
    rule_class class;
    rule_stage *stage; int n_stage;   /* in an order of computation */
    int64_t *tile; int n_group;       /* columns of a tile, per group */
    rule_weight *weight; int n_weight;
    bool one_row;                     /* the row axis has one value */
    int64_t min_rows, max_rows;
    const char *items;                /* ragged, many rows: name of the work items (see `plan`), or NULL */
    int64_t page;                     /* ragged: elements per page */
} rule_kernel;

/* Knobs; 0: the default. */
typedef struct rule_knobs {
    int64_t prefetch;   /* bytes ahead, -1: none */
    int64_t row_tile;   /* rows of a register tile */
    int64_t parts;      /* tiles per part */
    int64_t keys;       /* ragged: elements per tile */
} rule_knobs;

ll_code rule_apply(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err);

/* ---- common.c ------------------------------------------------------------------------------------------------- */
/* sch_dof that reports a refusal through err: "rule NAME: line: sentence". */
ll_code rule_do(sch *s, ll_error *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool rule_try(sch *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool rule_has_loop(sch *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
te_ref rule_loop_var(sch *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool rule_has_stage(sch *s, const char *name);
int64_t rule_const_extent(te_ref axis); /* 0 when not constant */
int64_t rule_lanes(const sch *s);       /* f32 lanes of the target's vectors */
ll_code rule_pack(sch *s, const rule_weight *w, ll_error *err);
/* Makes inner loops of one stage vectors. Loops up to and including `inside` (NULL: none) are left alone. */
ll_code rule_vectorize_stage(sch *s, te_tensor *t, const char *inside, ll_error *err);
/* Unrolls the short loops below `loop` whose values are register tiles, except those of the stages keep[]. */
void rule_unroll_inside(sch *s, const char *loop, const char *const *keep, int n_keep);
/* Buffers meant for registers that a running loop indexes (its extent fits no unrolling) go to thread scratch. */
ll_code rule_settle_registers(sch *s, ll_error *err);
/* The first loop of a stage that runs over rows, by its axis: "stage.axis". */
const char *rule_axis_loop(sch *s, const te_tensor *t, int axis);

ll_code rule_matmul(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err);
ll_code rule_ragged(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err);
/* The pass over tiles of the ragged range with plain statements; outer[]: the loops round it (at most TE_MAX_DIM). */
ll_code rule_ragged_pass(sch *s, const rule_kernel *k, const rule_knobs *knobs, const char **outer, int *n_outer, ll_error *err);
ll_code rule_rows(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err);

/* ---- GPUs ------------------------------------------------------------------------------------------------------- */
enum { GPU_WARP = 32 };

typedef struct gpu {
    sch *s;
    const rule_kernel *k;
    const rule_knobs *knobs;
    ll_error *err;
    int threads; /* of a block */
    int n_flat;  /* names made */
} gpu;

ll_code rule_gpu(sch *s, const rule_kernel *k, const rule_knobs *knobs, ll_error *err);
/* The elements of a stage, computed inside the loop `inside` (NULL: anywhere), over the threads of the block. */
void gpu_stage(gpu *u, const char *stage, const char *inside);
/* The same for every nest below the loop that writes one buffer; loops round several such nests stay. */
void gpu_nests(gpu *u, const char *inside);
/* Scratch of threads has no place on a GPU: what is left of it belongs to the block. */
ll_code gpu_settle(gpu *u);
ll_code gpu_matmul(gpu *u);
ll_code gpu_ragged(gpu *u);

#endif

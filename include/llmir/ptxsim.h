/* ptxsim.h: the PTX machine's own C API. A simulator that loads PTX text (from any compiler), runs
 * it warp by warp on the CPU, checks it and counts it. It never is a GPU: its wall time says
 * nothing about one.
 *
 *     ptxsim *m;  ptxsim_module *mod;  ptxsim_error e = {0};
 *     ptxsim_create(&(ptxsim_config){ .sm = 80 }, &m, &e);
 *     ptxsim_load(m, text, strlen(text), "scale.ptx", &mod, &e);
 *     uint64_t x;
 *     ptxsim_alloc(m, 4096, &x, &e);
 *     ptxsim_write(m, x, host, 4096, &e);
 *     uint32_t n = 1024;
 *     ptxsim_launch l = { .kernel = ptxsim_find(mod, "scale"), .grid = {8}, .block = {128},
 *                         .args = (const void *[]){ &x, &n }, .n_args = 2,
 *                         .checks = PTXSIM_CHECK_ALL };
 *     ptxsim_log *log;
 *     ptxsim_code c = ptxsim_run(m, &l, &log, &e); // PTXSIM_OK, or why it did not run to its end
 *     for (size_t i = 0; i < ptxsim_log_count(log); i++) puts(ptxsim_log_at(log, i)->text);
 *
 * Device addresses are numbers of their own, never host pointers. Objects belong to the machine
 * that made them. One machine may be used by several threads; launches on it run one after the
 * other, each spread over the CPU's cores. Nothing here prints, exits or aborts. */
#ifndef LLMIR_PTXSIM_H
#define LLMIR_PTXSIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ptxsim_code {
    PTXSIM_OK = 0,
    PTXSIM_USAGE = 2,   /* wrong call: NULL, unknown name, wrong argument count or size */
    PTXSIM_BAD_PTX = 4, /* not accepted: syntax, unknown opcode or modifier, wrong operand */
    PTXSIM_UNSUPPORTED = 3, /* valid PTX that this machine does not run (the sentence says what) */
    PTXSIM_TOO_LARGE = 5,   /* a limit of the device: threads, grid, shared memory, cluster */
    PTXSIM_NO_MEMORY = 6,   /* host or device memory ended */
    PTXSIM_FAULT = 7,    /* the kernel was stopped: illegal or misaligned address, trap, ... */
    PTXSIM_DEADLOCK = 8, /* no thread can go on */
    PTXSIM_STEP_LIMIT = 9, /* `max_steps` warp instructions were executed */
} ptxsim_code;

enum { PTXSIM_MSG_MAX = 512 };
typedef struct ptxsim_error {
    ptxsim_code code;
    uint32_t line, column;    /* position in the PTX text, from 1; 0 when there is none */
    char msg[PTXSIM_MSG_MAX]; /* one sentence; "FILE:LINE:COLUMN: ..." for PTX */
} ptxsim_error;

typedef struct ptxsim ptxsim;
typedef struct ptxsim_module ptxsim_module;
typedef struct ptxsim_kernel ptxsim_kernel; /* owned by its module */

/* -- the machine --------------------------------------------------------------------------------
 */
typedef struct ptxsim_config {
    unsigned sm; /* 75, 80, 86, 89, 90; 0 = 80. Limits and arithmetic of that generation */
    uint64_t memory_bytes; /* device memory; 0 = 16 GiB (address space, touched pages only) */
    unsigned threads; /* CPU threads for blocks; 0 = all cores */
} ptxsim_config;

typedef struct ptxsim_limits {
    unsigned sm, sm_count, warp_size, max_threads_per_block, max_threads_per_sm, max_blocks_per_sm;
    unsigned registers_per_block, registers_per_sm;
    uint32_t shared_per_block, shared_per_block_optin, shared_per_sm, shared_reserved;
    uint32_t max_grid[3], max_block[3], max_cluster;
    uint64_t memory_bytes;
} ptxsim_limits;

ptxsim_code ptxsim_create(const ptxsim_config *config, ptxsim **out, ptxsim_error *err);
void ptxsim_destroy(ptxsim *m); /* NULL is fine; modules and memory go with it */
void ptxsim_get_limits(const ptxsim *m, ptxsim_limits *out);

/* -- modules ------------------------------------------------------------------------------------
 */
/* Parses and decodes `n` bytes of PTX (a NUL ends it early). `name` is used in messages. */
ptxsim_code ptxsim_load(ptxsim *m, const char *text, size_t n, const char *name,
                        ptxsim_module **out, ptxsim_error *err);
void ptxsim_unload(ptxsim_module *mod);

typedef struct ptxsim_param {
    const char *name;
    uint32_t offset, size, align;
} ptxsim_param;

typedef struct ptxsim_kernel_info {
    const char *name;
    const ptxsim_param *param;
    uint32_t n_param, param_bytes;
    uint32_t static_shared, local_bytes; /* per block; per thread */
    uint32_t max_threads; /* .maxntid / .reqntid product; 0 = not stated */
    uint32_t reqntid[3], min_blocks, max_registers, reqcluster[3]; /* 0 = not stated */
    uint32_t instructions; /* decoded, calls inlined */
} ptxsim_kernel_info;

size_t ptxsim_kernel_count(const ptxsim_module *mod);
const ptxsim_kernel *ptxsim_kernel_at(const ptxsim_module *mod, size_t i);
const ptxsim_kernel *ptxsim_find(const ptxsim_module *mod,
                                 const char *name); /* NULL: no such entry */
const ptxsim_kernel_info *ptxsim_info(const ptxsim_kernel *k);
/* Address and size of a .global or .const variable. */
ptxsim_code ptxsim_symbol(const ptxsim_module *mod, const char *name, uint64_t *addr,
                          uint64_t *size, ptxsim_error *err);

/* -- device memory ------------------------------------------------------------------------------
 */
/* 256-byte aligned (or `align`), never-written until something is written to it. */
ptxsim_code ptxsim_alloc(ptxsim *m, uint64_t bytes, uint64_t *out_addr, ptxsim_error *err);
ptxsim_code ptxsim_free(ptxsim *m, uint64_t addr, ptxsim_error *err);
ptxsim_code ptxsim_write(ptxsim *m, uint64_t addr, const void *src, uint64_t n, ptxsim_error *err);
ptxsim_code ptxsim_read(ptxsim *m, void *dst, uint64_t addr, uint64_t n, ptxsim_error *err);
ptxsim_code ptxsim_copy(ptxsim *m, uint64_t dst, uint64_t src, uint64_t n, ptxsim_error *err);
/* `count` elements of `width` (1, 2, 4) bytes. */
ptxsim_code ptxsim_fill(ptxsim *m, uint64_t addr, uint32_t value, unsigned width, uint64_t count,
                        ptxsim_error *err);
/* Fills with 0xa5 and marks the bytes never-written, so that their use is reported. */
ptxsim_code ptxsim_poison(ptxsim *m, uint64_t addr, uint64_t n, ptxsim_error *err);
/* The allocation that holds `addr`; false when there is none. */
bool ptxsim_range(ptxsim *m, uint64_t addr, uint64_t *out_base, uint64_t *out_size);
void ptxsim_mem_info(ptxsim *m, uint64_t *out_free, uint64_t *out_total);
/* Host memory that kernels may address at the same number (pinned, mapped). */
ptxsim_code ptxsim_map_host(ptxsim *m, void *p, uint64_t n, ptxsim_error *err);
ptxsim_code ptxsim_unmap_host(ptxsim *m, void *p, ptxsim_error *err);
/* Allocations not freed yet, for leak reports. */
typedef void ptxsim_leak_fn(void *user, uint64_t addr, uint64_t size);
size_t ptxsim_leaks(ptxsim *m, ptxsim_leak_fn *fn, void *user);

/* -- launches -----------------------------------------------------------------------------------
 */
enum ptxsim_check {
    PTXSIM_CHECK_RACE = 1 << 0, /* shared memory, between warps, lanes and asynchronous copies */
    PTXSIM_CHECK_PENDING = 1 << 1, /* data of a copy in flight touched before its wait */
    PTXSIM_CHECK_UNINIT =
        1 << 2, /* never-written data that reaches a store, an address or a branch */
    PTXSIM_CHECK_SYNC = 1 << 3, /* divergent barriers, wrong masks, inactive lanes at warp ops */
    PTXSIM_CHECK_GLOBAL =
        1 << 4,              /* words of global memory that two blocks write or write and read */
    PTXSIM_CHECK_ALL = 0x1f, /* out of bounds, misalignment and deadlock are always found */
};

typedef enum ptxsim_mma_model {
    PTXSIM_MMA_F32 = 0, /* exact products, f32 sums in k order */
    PTXSIM_MMA_HW = 1,  /* aligned and truncated as the tensor cores of `sm` do */
} ptxsim_mma_model;

typedef struct ptxsim_launch {
    const ptxsim_kernel *kernel;
    uint32_t grid[3], block[3],
        cluster[3];        /* 0 counts as 1; a cluster of 0 takes the kernel's own */
    uint32_t shared_bytes; /* dynamic shared memory */
    /* Arguments: one pointer per parameter, or the packed parameter buffer. */
    const void *const *args;
    size_t n_args;
    const void *params;
    size_t params_bytes;
    /* Options; zero is the default of each. */
    uint32_t checks; /* PTXSIM_CHECK_* */
    uint64_t seed;   /* not 0: shuffles the order of blocks and warps */
    ptxsim_mma_model mma_model;
    uint32_t perturb_ulp; /* not 0: approximate instructions err by up to this many units, hashed */
    uint32_t max_reports; /* distinct reports kept; 0 = 100 */
    uint64_t max_steps; /* warp instructions before PTXSIM_STEP_LIMIT; 0 = no limit */
    bool counters;      /* collect counters (memory counters cost time) */
    bool cooperative;   /* all blocks must be resident at once */
    uint32_t carveout_optin; /* shared memory limit opted into (bytes); 0 = shared_per_block */
} ptxsim_launch;

typedef enum ptxsim_kind {
    PTXSIM_R_OUT_OF_BOUNDS, PTXSIM_R_MISALIGNED, PTXSIM_R_USE_AFTER_FREE, PTXSIM_R_HOST_POINTER,
    PTXSIM_R_RACE, PTXSIM_R_PENDING, PTXSIM_R_UNINIT, PTXSIM_R_BARRIER, PTXSIM_R_MASK,
    PTXSIM_R_DEADLOCK, PTXSIM_R_GLOBAL_CONFLICT, PTXSIM_R_TRAP, PTXSIM_R_OTHER,
    PTXSIM_R_COUNT_
} ptxsim_kind;
const char *ptxsim_kind_name(ptxsim_kind kind);

/* One finding; the same finding at the same two places is kept once and counted. */
typedef struct ptxsim_report {
    ptxsim_kind kind;
    const char *kernel, *text; /* text: the whole finding in one line */
    uint32_t line, other_line; /* PTX line; the line it conflicts with, or 0 */
    uint32_t block[3], thread[3];
    uint64_t addr;
    uint64_t times;
} ptxsim_report;

typedef struct ptxsim_log ptxsim_log;

/* Runs the launch to its end. `out` (may be NULL) receives the findings and counters, on failure
 * too; the caller destroys it. PTXSIM_OK means that the kernel ended, with or without findings. */
ptxsim_code ptxsim_run(ptxsim *m, const ptxsim_launch *l, ptxsim_log **out, ptxsim_error *err);
void ptxsim_log_destroy(ptxsim_log *log);
size_t ptxsim_log_count(const ptxsim_log *log); /* distinct findings */
const ptxsim_report *ptxsim_log_at(const ptxsim_log *log, size_t i);

/* -- counters -----------------------------------------------------------------------------------
 */
/* Warp instructions by class. */
typedef enum ptxsim_class {
    PTXSIM_C_INT,
    PTXSIM_C_F32,
    PTXSIM_C_F16,
    PTXSIM_C_F64,
    PTXSIM_C_SFU,
    PTXSIM_C_CVT,
    PTXSIM_C_MOVE,
    PTXSIM_C_COMPARE,
    PTXSIM_C_BRANCH,
    PTXSIM_C_LD_GLOBAL,
    PTXSIM_C_ST_GLOBAL,
    PTXSIM_C_LD_SHARED,
    PTXSIM_C_ST_SHARED,
    PTXSIM_C_LOCAL,
    PTXSIM_C_PARAM,
    PTXSIM_C_ATOMIC,
    PTXSIM_C_ASYNC_COPY,
    PTXSIM_C_MATRIX_LOAD,
    PTXSIM_C_MMA,
    PTXSIM_C_SHUFFLE,
    PTXSIM_C_BARRIER,
    PTXSIM_C_OTHER,
    PTXSIM_C_COUNT_
} ptxsim_class;
const char *ptxsim_class_name(ptxsim_class c);

typedef struct ptxsim_counters {
    uint64_t warp_inst[PTXSIM_C_COUNT_], warp_inst_all;
    uint64_t lane_inst; /* active lanes, summed: efficiency = lane / (32 * warp) */
    uint64_t branches, divergent_branches;
    uint64_t global_requests, global_sectors, global_bytes; /* 32-byte sectors; bytes asked for */
    uint64_t dram_bytes; /* distinct 32-byte sectors touched, times 32 */
    uint64_t shared_requests, shared_wavefronts, shared_ideal; /* ideal: without bank conflicts */
    uint64_t atomics, atomic_same_address; /* lanes; lanes beyond the first on one address */
    uint64_t async_bytes, tensor_bytes;    /* cp.async; bulk and tensor copies */
    uint64_t barriers;
    uint64_t fma_f32, mma_fma; /* lane FMAs; multiply-adds in matrix instructions */
} ptxsim_counters;

void ptxsim_log_counters(const ptxsim_log *log, ptxsim_counters *out);
/* Matrix instructions by full opcode ("mma.sync.aligned.m16n8k16..."): NULL behind the last. */
const char *ptxsim_log_mma(const ptxsim_log *log, size_t i, uint64_t *out_times);
/* The counters as text or JSON; malloc'ed, NULL when memory ended. */
char *ptxsim_log_text(const ptxsim_log *log, bool json);

#ifdef __cplusplus
}
#endif

#endif

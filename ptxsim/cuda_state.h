/* cuda_state.h: the objects behind the driver API's handles. Everything runs when it is submitted
 * (streams finish at once, in order); what a driver would report late is kept in the context and
 * returned by the next call that would have waited. One lock guards all of it. */
#ifndef PTXSIM_CUDA_STATE_H
#define PTXSIM_CUDA_STATE_H

#include <stdbool.h>

#include "base/str.h"
#include "ptxsim/cuda_abi.h"
#include <llmir/ptxsim.h>

#define CU_EXPORT __attribute__((visibility("default")))
#ifndef PTXSIM_WITH_CUDA_H
#define CU_FN(symbol, name, since, params) CU_EXPORT CUresult symbol params;
#define CU_PT(symbol, name, since, params)                                                         \
    CU_FN(symbol, name, since, params) CU_EXPORT CUresult symbol##_ptsz params;
#include "ptxsim/cuda_api.def"
#undef CU_FN
#undef CU_PT
#else /* the one that cuda.h no longer declares */
CUresult cuStreamGetCaptureInfo_v2(CUstream, CUstreamCaptureStatus *, cuuint64_t *, CUgraph *,
                                   const CUgraphNode **, size_t *);
#endif

/* The twin with the per-thread default stream: streams finish at once, so both mean the same. */
#ifdef PTXSIM_WITH_CUDA_H
#define CU_TWIN(symbol)
#else
#define CU_TWIN(symbol) __typeof__(symbol) symbol##_ptsz __attribute__((alias(#symbol)));
#endif

typedef enum cu_kind {
    CU_K_CTX = 0x63747801,
    CU_K_MODULE,
    CU_K_FUNC,
    CU_K_STREAM,
    CU_K_EVENT,
    CU_K_GRAPH,
    CU_K_NODE,
    CU_K_EXEC
} cu_kind;

typedef struct cu_capture cu_capture;

struct CUctx_st {
    cu_kind kind;
    bool primary;
    int refs;
    unsigned flags;
    CUresult sticky; /* of a kernel that failed: returned by everything from then on */
    struct CUmod_st *modules;
    struct CUstream_st *streams;
    struct CUevent_st *events;
    CUdeviceptr *alloc; /* freed with the context */
    size_t n_alloc, cap_alloc;
    struct CUstream_st *legacy, *per_thread;
    size_t limit[3];
    struct CUctx_st *next;
};
struct CUmod_st {
    cu_kind kind;
    CUcontext ctx;
    ptxsim_module *mod;
    char *text; /* kept for ptxas */
    int ptx_version;
    struct CUfunc_st *funcs;
    struct CUmod_st *next;
};
struct CUfunc_st {
    cu_kind kind;
    CUmodule mod;
    const ptxsim_kernel *kernel;
    const ptxsim_kernel_info *info;
    int max_dynamic, carveout, regs; /* regs: 0 not asked yet, -1 unknown */
    bool non_portable_cluster;
    struct CUfunc_st *next;
};

/* One unit of work. */
typedef enum cu_op_kind {
    CU_OP_EMPTY,
    CU_OP_KERNEL,
    CU_OP_COPY,
    CU_OP_SET,
    CU_OP_HOST,
    CU_OP_EVENT
} cu_op_kind;
typedef struct cu_op {
    cu_op_kind kind;
    CUfunction func; /* KERNEL */
    uint32_t grid[3], block[3], cluster[3], shared;
    bool cooperative;
    uint8_t *params; /* packed, owned */
    void *dst_host;  /* COPY: host side, or NULL and the device address */
    const void *src_host;
    CUdeviceptr dst, src;
    size_t n, dst_pitch, src_pitch, rows; /* rows of n bytes; SET: n elements */
    uint32_t value;                       /* SET */
    unsigned width;
    CUhostFn fn; /* HOST */
    void *user;
    CUevent event;
} cu_op;

struct CUstream_st {
    cu_kind kind;
    CUcontext ctx;
    unsigned flags;
    int priority;
    cu_capture *cap;   /* NULL: not capturing */
    CUgraphNode *tail; /* nodes that the next one depends on */
    size_t n_tail;
    struct CUstream_st *next;
};
struct CUevent_st {
    cu_kind kind;
    CUcontext ctx;
    unsigned flags;
    bool recorded;
    double when;
    cu_capture *cap; /* recorded in a capture: the nodes it stands for */
    CUgraphNode *tail;
    size_t n_tail;
    struct CUevent_st *next;
};
struct cu_capture {
    CUgraph graph;
    CUstream origin;
    CUstreamCaptureMode mode;
    cuuint64_t id;
    bool invalid;
    struct cu_capture *next;
};
struct CUgraphNode_st {
    cu_kind kind;
    CUgraph graph;
    cu_op op;
    CUgraphNode *dep;
    size_t n_dep, index;
};
struct CUgraph_st {
    cu_kind kind;
    CUcontext ctx;
    CUgraphNode *node;
    size_t n_node, cap_node;
};
struct CUgraphExec_st {
    cu_kind kind;
    CUcontext ctx;
    cu_op *op;         /* in an order that respects the edges */
    CUgraphNode *from; /* the node each was made of (handles only) */
    size_t n_op;
    uint64_t shape; /* of kinds and edges */
};

typedef struct cu_globals {
    bool init;
    unsigned wanted_sm; /* by llmir_ptxsim_device; 0: not asked */
    ptxsim *machine;
    ptxsim_limits lim;
    CUcontext contexts, primary;
    cu_capture *captures;
    cuuint64_t next_id;
    uint32_t checks;
    uint64_t seed;
    bool fatal, counters;
    ptxsim_mma_model mma;
    char log_path[512], ptxas[512];
    ll_str findings;
    size_t n_findings;
    char *counter_text[2];
    void **host; /* page-locked ranges: pointer, size, flags */
    size_t *host_n;
    unsigned *host_flags;
    bool *host_owned;
    size_t n_host, cap_host;
} cu_globals;
extern cu_globals cu_g;

/* Takes x out of a list linked by ->next; false: it is not there (x may be any pointer). */
#define CU_UNLINK(head, x)                                                                         \
    ({                                                                                             \
        __typeof__(head) *at_ = &(head);                                                           \
        while (*at_ && *at_ != (x)) at_ = &(*at_)->next;                                           \
        bool found_ = *at_ != NULL;                                                                \
        if (found_) *at_ = (*at_)->next;                                                           \
        found_;                                                                                    \
    })

void cu_lock(void);
void cu_unlock(void);
/* The current context, or the error that every call returns without one (or after a failed
 * kernel). */
CUresult cu_enter(CUcontext *out);
CUcontext cu_current(void);
bool cu_is(const void *handle, cu_kind kind); /* not NULL and of that kind */
CUresult cu_code(ptxsim_code c);
bool cu_is_host_range(const void *p, size_t n, size_t *index);

/* Streams: NULL, legacy and per-thread handles become objects. */
CUresult cu_stream_of(CUcontext ctx, CUstream handle, CUstream *out);
/* Runs the operation, or adds it to the graph being captured. Takes over op->params. */
CUresult cu_submit(CUcontext ctx, CUstream stream, cu_op *op);
CUresult cu_run(CUcontext ctx, const cu_op *op);
/* Refuses what may not happen while a global capture is going on, and ends that capture. */
CUresult cu_unsafe_in_capture(CUcontext ctx);
void cu_capture_drop(cu_capture *c);

CUresult cu_launch(CUcontext ctx,
                   const cu_op *op); /* checks limits and runs; failures of the kernel stick */
CUresult cu_check_launch(const cu_op *op);
/* params and extra as cuLaunchKernel takes them -> packed bytes. */
CUresult cu_pack_params(CUfunction f, void **params, void **extra, uint8_t **out);
int cu_func_regs(CUfunction f); /* -1: nobody knows */
CUfunction cu_func_of(CUfunction or_kernel);

CUgraphNode cu_graph_add(CUgraph g, const cu_op *op, CUgraphNode const *dep, size_t n_dep);
void cu_graph_free(CUgraph g);
void cu_op_free(cu_op *op);
bool cu_op_copy(cu_op *to, const cu_op *from);
void cu_module_free(CUmodule m);

#endif

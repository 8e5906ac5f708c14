/* gpu.h: a GPU, or the simulator of one, as a device: found, opened, and its kernels loaded. */
#ifndef LLMIR_RUNTIME_GPU_H
#define LLMIR_RUNTIME_GPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "runtime/cuda_driver.h"
#include "runtime/device.h"

typedef struct rt_gpu_want {
    bool sim;
    uint32_t sim_sm;  /* 0: the simulator's default */
    uint32_t ordinal; /* cuda:N */
} rt_gpu_want;

typedef struct rt_gpu_facts {
    char name[96];
    uint32_t sm; /* 80 for 8.0 */
    bool simulated;
    uint64_t bytes;
} rt_gpu_facts;

/* How many there are (cuda, not sim) and what one is, without making a context on it. LL_NO_DEVICE
 * lists what was found instead. */
ll_code rt_gpu_count(uint32_t *n, ll_error *err);
ll_code rt_gpu_find(const rt_gpu_want *want, rt_gpu_facts *out, ll_error *err);

/* Makes it a device for the kernels of `blob`, which outlives it. */
ll_code rt_gpu_open(const rt_gpu_want *want, const rt_blob *blob, rt_device **out, ll_error *err);

enum { RT_STAGING = 2, RT_STAGING_BYTES = 8 << 20 };

/* What gpu_queue.c shares with gpu.c. */
typedef struct rt_gpu {
    rt_device base;
    rt_cuda cu;
    const rt_blob *blob;
    CUdevice device;
    CUcontext context; /* the primary one */
    CUstream uploads;
    void *staging[RT_STAGING]; /* pinned */
    CUevent staged[RT_STAGING];
    uint32_t next_staging;
    int max_shared, max_grid[3];
    pthread_mutex_t lock; /* of the two lists */
    /* by number of launch record; of records with one PTX text the first has the module */
    CUmodule *module;
    CUfunction *function;
    _Atomic int fault; /* a CUresult: the context is lost */
    pid_t pid;         /* a forked child may not touch it */
} rt_gpu;

/* The context of the calling thread, for the calls between. Not after a fault, and not in a forked
 * child. */
ll_code rt_gpu_enter(rt_gpu *g, ll_error *err);
/* For giving things back: also after a fault. */
bool rt_gpu_enter_to_free(rt_gpu *g);
void rt_gpu_leave(rt_gpu *g);
/* rt_cuda_fail that notices faults of kernels, which end the context: with what the simulator
 * found. */
ll_code rt_gpu_fail(rt_gpu *g, CUresult rc, ll_error *err, const char *what);
/* The function of launch record i; its PTX is compiled when first asked for. */
ll_code rt_gpu_function(rt_gpu *g, uint32_t i, CUfunction *out, ll_error *err);
/* A queue of it. */
ll_code rt_gpu_queue(rt_device *d, const rt_queue_params *p, rt_queue **out, ll_error *err);

#endif

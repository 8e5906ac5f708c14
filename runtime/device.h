/* device.h: what a model computes on, behind one small interface.
 *
 *     rt_device   one for each opened model: memory that its kernels address
 *     rt_queue    one for each engine: programs bound to memory, run one after the other
 *
 *     cpu         device_cpu.c              the host's memory; a queue is a team of threads
 *     cuda, sim   gpu.c, gpu_queue.c        a GPU, or our simulator of one, through the CUDA
 *                                           driver; a queue is a stream and a graph per program
 *
 * An address of a device is a `void *`; the host may follow it only where `shared` is true. Neither
 * run nor copy allocates. A queue is used by one thread at a time; a device by several. */
#ifndef LLMIR_RUNTIME_DEVICE_H
#define LLMIR_RUNTIME_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "runtime/blob.h"

typedef struct rt_device rt_device;
typedef struct rt_queue rt_queue;

enum rt_use {
    RT_HOST, /* the host's side: inputs and outputs. Kernels may use it where `shared` is true */
    RT_WORK, /* kernels' own: never cleared */
    RT_KV    /* the same, used block by block */
};
typedef struct rt_memory {
    void *at;
    uint64_t bytes; /* 0: none */
    enum rt_use use;
} rt_memory;

/* A program to bind. Everything it points to outlives the queue. */
typedef struct rt_code {
    const rt_blob *blob;
    const llmir_program_rec *rec;
    /* for each step its buffers, then the address of the dims */
    void *const *buf;
    const int64_t *largest; /* dims that no run exceeds; read by bind only */
    /* where memory is not shared: `in_bytes` from in to in_device before the first step */
    const void *in;
    void *in_device;
    uint64_t in_bytes;
} rt_code;

typedef struct rt_read {
    void *to; /* RT_HOST */
    const void *from;
    uint64_t bytes;
} rt_read;

typedef struct rt_job {
    uint32_t program; /* number in the order of binding */
    const rt_read *read;
    uint32_t n_read;          /* after the last step; none where memory is shared */
    bool (*stop)(void *user); /* asked between steps (CPU) or before the first (others) */
    void *user;
    double *seconds; /* NULL, or one for each step: its time is added */
} rt_job;

typedef struct rt_queue_params {
    uint32_t threads;    /* CPU */
    size_t scratch;      /* CPU: bytes per thread */
    uint32_t n_program;  /* that will be bound */
    uint32_t most_steps; /* of one of them */
} rt_queue_params;

/* Counted since the queue was made. */
typedef struct rt_queue_facts {
    uint32_t threads;
    uint64_t graphs, graph_runs; /* made (one for each program); launched */
    uint64_t findings;           /* of the simulator's checks, in this process */
} rt_queue_facts;

typedef struct rt_device_ops {
    void (*close)(rt_device *d);
    /* `what` is for the message. LL_NO_SPACE when it is not there. */
    ll_code (*alloc)(rt_device *d, enum rt_use use, uint64_t bytes, const char *what,
                     rt_memory *out, ll_error *err);
    void (*free)(rt_device *d, rt_memory *m); /* none is fine */
    /* Begins to bring n bytes at `from` of a file to `to`; finish() waits for all of them. NULL
     * where memory is shared. */
    ll_code (*upload)(rt_device *d, int fd, const char *path, uint64_t from, void *to, uint64_t n,
                      ll_error *err);
    ll_code (*finish)(rt_device *d, ll_error *err);
    ll_code (*queue)(rt_device *d, const rt_queue_params *p, rt_queue **out, ll_error *err);
} rt_device_ops;

struct rt_device {
    const rt_device_ops *ops;
    enum llmir_on kind;
    bool shared;    /* memory is the host's own */
    bool simulated; /* a simulator: its times say nothing about a GPU */
    uint32_t sm;    /* CUDA: compute capability, 80 for 8.0 */
    char name[160]; /* "cpu", "cuda:0 (NVIDIA H100, sm_90)", "sim (simulator of sm_80)" */
};

typedef struct rt_queue_ops {
    ll_code (*bind)(rt_queue *q, const rt_code *code, ll_error *err);
    /* LL_CANCELLED when stop() said so. After a fault of a kernel every call fails. */
    ll_code (*run)(rt_queue *q, const rt_job *job, ll_error *err);
    /* Inside the device, before the next run; that run reports a failure. */
    void (*copy)(rt_queue *q, void *to, const void *from, uint64_t n);
    void (*facts)(const rt_queue *q, rt_queue_facts *out);
    void (*destroy)(rt_queue *q);
} rt_queue_ops;

struct rt_queue {
    const rt_queue_ops *ops;
};

/* The host's processor. `module` is the code of a model. */
ll_code rt_cpu_open(const llmir_module *module, rt_device **out, ll_error *err);

static inline void rt_device_close(rt_device *d)
{
    if (d) d->ops->close(d);
}
static inline void rt_queue_destroy(rt_queue *q)
{
    if (q) q->ops->destroy(q);
}

#endif

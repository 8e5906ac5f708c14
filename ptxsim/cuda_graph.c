/* cuda_graph.c: graphs of kernels, copies, fills and host functions; instantiating and launching
 * them. */
#include <stdlib.h>
#include <string.h>

#include "ptxsim/cuda_state.h"

#define ENTER(c)                                                                                   \
    CUcontext c;                                                                                   \
    do {                                                                                           \
        CUresult enter_rc = cu_enter(&c);                                                          \
        if (enter_rc != CUDA_SUCCESS) return enter_rc;                                             \
    } while (0)

void cu_op_free(cu_op *op)
{
    free(op->params);
    op->params = NULL;
}

bool cu_op_copy(cu_op *to, const cu_op *from)
{
    *to = *from;
    if (!from->params) return true;
    size_t n = from->func->info->param_bytes;
    to->params = malloc(n ? n : 1);
    if (!to->params) return false;
    memcpy(to->params, from->params, n);
    return true;
}

CUgraphNode cu_graph_add(CUgraph g, const cu_op *op, CUgraphNode const *dep, size_t n_dep)
{
    CUgraphNode n = calloc(1, sizeof *n);
    if (g->n_node == g->cap_node) {
        size_t cap = g->cap_node ? 2 * g->cap_node : 32;
        CUgraphNode *p = realloc(g->node, cap * sizeof *p);
        if (p) g->node = p, g->cap_node = cap;
    }
    if (n) n->dep = malloc((n_dep ? n_dep : 1) * sizeof *n->dep);
    if (!n || !n->dep || g->n_node == g->cap_node || !cu_op_copy(&n->op, op)) {
        if (n) free(n->dep);
        free(n);
        return NULL;
    }
    if (n_dep) memcpy(n->dep, dep, n_dep * sizeof *dep);
    n->kind = CU_K_NODE, n->graph = g, n->n_dep = n_dep, n->index = g->n_node;
    g->node[g->n_node++] = n;
    return n;
}

void cu_graph_free(CUgraph g)
{
    for (size_t i = 0; i < g->n_node; i++) {
        cu_op_free(&g->node[i]->op);
        g->node[i]->kind = 0;
        free(g->node[i]->dep), free(g->node[i]);
    }
    free(g->node);
    g->kind = 0;
    free(g);
}

CUresult cuGraphCreate(CUgraph *graph, unsigned int flags)
{
    ENTER(c);
    if (!graph || flags) return CUDA_ERROR_INVALID_VALUE;
    CUgraph g = calloc(1, sizeof *g);
    if (!g) return CUDA_ERROR_OUT_OF_MEMORY;
    g->kind = CU_K_GRAPH, g->ctx = c;
    *graph = g;
    return CUDA_SUCCESS;
}
CUresult cuGraphDestroy(CUgraph graph)
{
    if (!cu_is(graph, CU_K_GRAPH)) return CUDA_ERROR_INVALID_VALUE;
    cu_lock();
    cu_graph_free(graph);
    cu_unlock();
    return CUDA_SUCCESS;
}
CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *n)
{
    if (!cu_is(graph, CU_K_GRAPH) || !n) return CUDA_ERROR_INVALID_VALUE;
    size_t have = graph->n_node;
    if (nodes)
        for (size_t i = 0; i < *n; i++) nodes[i] = i < have ? graph->node[i] : NULL;
    if (!nodes || *n > have) *n = have;
    return CUDA_SUCCESS;
}
CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType *type)
{
    static const CUgraphNodeType types[] = {
        [CU_OP_EMPTY] = CU_GRAPH_NODE_TYPE_EMPTY, [CU_OP_KERNEL] = CU_GRAPH_NODE_TYPE_KERNEL,
        [CU_OP_COPY] = CU_GRAPH_NODE_TYPE_MEMCPY, [CU_OP_SET] = CU_GRAPH_NODE_TYPE_MEMSET,
        [CU_OP_HOST] = CU_GRAPH_NODE_TYPE_HOST,   [CU_OP_EVENT] = CU_GRAPH_NODE_TYPE_EVENT_RECORD,
    };
    if (!cu_is(node, CU_K_NODE) || !type) return CUDA_ERROR_INVALID_VALUE;
    *type = types[node->op.kind];
    return CUDA_SUCCESS;
}

static CUresult add(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t n_deps,
                    const cu_op *op)
{
    if (!node || !cu_is(graph, CU_K_GRAPH) || (n_deps && !deps)) return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < n_deps; i++)
        if (!cu_is(deps[i], CU_K_NODE) || deps[i]->graph != graph) return CUDA_ERROR_INVALID_VALUE;
    cu_lock();
    *node = cu_graph_add(graph, op, deps, n_deps);
    cu_unlock();
    return *node ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuGraphAddEmptyNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps,
                             size_t n_deps)
{
    cu_op op = {.kind = CU_OP_EMPTY};
    return add(node, graph, deps, n_deps, &op);
}

static CUresult kernel_op(const CUDA_KERNEL_NODE_PARAMS *p, cu_op *op)
{
    if (!p) return CUDA_ERROR_INVALID_VALUE;
    CUfunction f = cu_func_of(p->func ? p->func : (CUfunction)p->kern);
    if (!f) return CUDA_ERROR_INVALID_VALUE;
    *op = (cu_op){.kind = CU_OP_KERNEL,
                  .func = f,
                  .grid = {p->gridDimX, p->gridDimY, p->gridDimZ},
                  .block = {p->blockDimX, p->blockDimY, p->blockDimZ},
                  .shared = p->sharedMemBytes};
    CUresult rc = cu_pack_params(f, p->kernelParams, p->extra, &op->params);
    if (!rc) rc = cu_check_launch(op);
    if (rc) cu_op_free(op);
    return rc;
}
CUresult cuGraphAddKernelNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps,
                                 size_t n_deps, const CUDA_KERNEL_NODE_PARAMS *params)
{
    cu_op op;
    CUresult rc = kernel_op(params, &op);
    if (rc) return rc;
    rc = add(node, graph, deps, n_deps, &op);
    cu_op_free(&op);
    return rc;
}
CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *params)
{
    if (!cu_is(node, CU_K_NODE) || node->op.kind != CU_OP_KERNEL || !params)
        return CUDA_ERROR_INVALID_VALUE;
    const cu_op *o = &node->op;
    *params = (CUDA_KERNEL_NODE_PARAMS){.func = o->func,
                                        .gridDimX = o->grid[0],
                                        .gridDimY = o->grid[1],
                                        .gridDimZ = o->grid[2],
                                        .blockDimX = o->block[0],
                                        .blockDimY = o->block[1],
                                        .blockDimZ = o->block[2],
                                        .sharedMemBytes = o->shared};
    return CUDA_SUCCESS;
}

/* ---- executable graphs ---- */

/* Nodes in an order in which every node follows what it depends on. */
static bool order(CUgraph g, CUgraphNode *out)
{
    bool *done = calloc(g->n_node ? g->n_node : 1, sizeof *done);
    size_t n = 0;
    if (!done) return false;
    for (bool moved = true; moved && n < g->n_node;) {
        moved = false;
        for (size_t i = 0; i < g->n_node; i++) {
            CUgraphNode x = g->node[i];
            bool ready = !done[i];
            for (size_t d = 0; ready && d < x->n_dep; d++) ready = done[x->dep[d]->index];
            if (!ready) continue;
            done[i] = moved = true;
            out[n++] = x;
        }
    }
    free(done);
    return n == g->n_node;
}

/* A number for the kinds of the nodes and what each depends on; an update must not change it. */
static bool shape_of(CUgraphNode *node, size_t n, uint64_t *out)
{
    size_t *at = malloc((n ? n : 1) * sizeof *at);
    uint64_t h = n;
    if (!at) return false;
    for (size_t i = 0; i < n; i++) at[node[i]->index] = i;
    for (size_t i = 0; i < n; i++) {
        uint64_t deps = 0; /* their order is of no account */
        for (size_t d = 0; d < node[i]->n_dep; d++)
            deps += (at[node[i]->dep[d]->index] + 1) * 0x9e3779b97f4a7c15ull;
        h = (h ^ deps ^ node[i]->n_dep << 8 ^ (uint64_t)node[i]->op.kind) * 0x100000001b3ull;
        h ^= h >> 29;
    }
    free(at);
    *out = h;
    return true;
}

CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    if (!cu_is(exec, CU_K_EXEC)) return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < exec->n_op; i++) cu_op_free(&exec->op[i]);
    exec->kind = 0;
    free(exec->op), free(exec->from), free(exec);
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
    ENTER(c);
    if (!exec || !cu_is(graph, CU_K_GRAPH)) return CUDA_ERROR_INVALID_VALUE;
    size_t n = graph->n_node ? graph->n_node : 1;
    CUgraphExec e = calloc(1, sizeof *e);
    if (!e) return CUDA_ERROR_OUT_OF_MEMORY;
    e->kind = CU_K_EXEC, e->ctx = c;
    e->op = calloc(n, sizeof *e->op);
    e->from = calloc(n, sizeof *e->from);
    bool ok = e->op && e->from;
    CUresult rc = ok ? (order(graph, e->from) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE)
                     : CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; !rc && i < graph->n_node; i++, e->n_op++)
        if (!cu_op_copy(&e->op[i], &e->from[i]->op)) rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (!rc && !shape_of(e->from, e->n_op, &e->shape)) rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (rc) {
        cuGraphExecDestroy(e);
        return rc;
    }
    *exec = e;
    return CUDA_SUCCESS;
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS *params)
{
    cu_op op;
    if (!cu_is(exec, CU_K_EXEC) || !cu_is(node, CU_K_NODE)) return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < exec->n_op; i++) {
        if (exec->from[i] != node || exec->op[i].kind != CU_OP_KERNEL) continue;
        CUresult rc = kernel_op(params, &op);
        if (rc) return rc;
        cu_op_free(&exec->op[i]);
        exec->op[i] = op;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info)
{
    if (!cu_is(exec, CU_K_EXEC) || !cu_is(graph, CU_K_GRAPH) || !info)
        return CUDA_ERROR_INVALID_VALUE;
    *info = (CUgraphExecUpdateResultInfo){.result = CU_GRAPH_EXEC_UPDATE_SUCCESS};
    CUgraphNode *n = calloc(graph->n_node ? graph->n_node : 1, sizeof *n);
    if (!n) return CUDA_ERROR_OUT_OF_MEMORY;
    bool same = graph->n_node == exec->n_op && order(graph, n);
    for (size_t i = 0; same && i < exec->n_op; i++) {
        same = n[i]->op.kind == exec->op[i].kind;
        if (!same) info->errorNode = n[i];
    }
    uint64_t shape = 0;
    same = same && shape_of(n, exec->n_op, &shape) && shape == exec->shape;
    if (!same) info->result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    CUresult rc = same ? CUDA_SUCCESS : CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    for (size_t i = 0; same && i < exec->n_op; i++) {
        cu_op op;
        if (!cu_op_copy(&op, &n[i]->op)) {
            rc = CUDA_ERROR_OUT_OF_MEMORY;
            break;
        }
        cu_op_free(&exec->op[i]);
        exec->op[i] = op, exec->from[i] = n[i];
    }
    free(n);
    return rc;
}

CUresult cuGraphUpload(CUgraphExec exec, CUstream stream)
{
    ENTER(c);
    return cu_is(exec, CU_K_EXEC) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
    CUstream s;
    ENTER(c);
    if (!cu_is(exec, CU_K_EXEC)) return CUDA_ERROR_INVALID_VALUE;
    cu_lock();
    CUresult rc = cu_stream_of(c, stream, &s);
    if (!rc && s->cap) s->cap->invalid = true, rc = CUDA_ERROR_NOT_SUPPORTED; /* child graphs */
    for (size_t i = 0; !rc && i < exec->n_op; i++) {
        rc = cu_run(c, &exec->op[i]);
        if (c->sticky) break; /* told by the next call, as on hardware */
    }
    cu_unlock();
    return rc;
}

CU_TWIN(cuGraphUpload)
CU_TWIN(cuGraphLaunch)

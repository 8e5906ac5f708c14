/* quant_file.c: see quant_file.h. */
#include "tests/support/quant_file.h"

static ll_code bind_plane(te_env *env, te_env *file, te_tensor *bytes, te_tensor *w, int p,
                          ll_error *err)
{
    te_graph *g = bytes->g;
    int64_t rows = w->shape[0]->u.i, blocks = w->shape[1]->u.i / w->quant->block;
    te_ref n = te_axis(g, "n", te_int(g, rows)),
           i = te_axis(g, "i", te_int(g, blocks * w->quant->plane[p].count));
    te_tensor *plane = te_def(g, "plane", te_quant_from_file(g, w->quant, p, bytes, n, i), n, i);
    const te_value *v;
    size_t count;
    if (te_error(g)) return ll_fail(err, te_error(g)->code, "%s", te_error(g)->msg);
    LL_TRY(te_eval(file, plane, &v, &count, err));
    return te_env_bind(env, w->plane[p], v, count, err);
}

ll_code quant_file_bind(te_env *env, te_tensor *w, const unsigned char *mem, size_t n_bytes,
                        ll_error *err)
{
    te_graph *before = te_graph_use(NULL), *g = te_graph_create();
    int64_t rows = w->shape[0]->u.i, blocks = w->shape[1]->u.i / w->quant->block;
    te_tensor *bytes =
        te_input(g, "bytes", LL_U8, te_int(g, rows), te_int(g, blocks), te_int(g, w->quant->bytes));
    te_env *file = te_env_create(g);
    ll_code rc = te_env_bind_mem(file, bytes, mem, n_bytes, err);
    for (int p = 0; p < w->n_plane && rc == LL_OK; p++)
        rc = bind_plane(env, file, bytes, w, p, err);
    te_env_destroy(file);
    te_graph_destroy(g);
    te_graph_use(before);
    return rc;
}

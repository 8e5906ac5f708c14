/* model.c: opening a model file; see model.h. */
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/build.h"

static const mdl_arch archs[] = {
#define ARCH(name, writer, pairs, qkv, rest) \
    {#name, mdl_write_##writer, OP_ROPE_##pairs, MDL_##qkv, MDL_##rest},
#include "model/arch.def"
};

void mdl_arch_list(ll_str *out)
{
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        ll_str_addf(out, "%s%s", i ? ", " : "", archs[i].name);
}

static ll_code find_arch(mdl_model *m, ll_error *err)
{
    const char *name;
    size_t n;
    char text[64];
    LL_TRY(mdl_gguf_str(m->file, "general.architecture", true, &name, &n, err));
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (strlen(archs[i].name) == n && !memcmp(archs[i].name, name, n))
            return m->arch = &archs[i], LL_OK;
    ll_str list = {0};
    mdl_arch_list(&list);
    ll_fail(err, LL_UNSUPPORTED, "%s: architecture '%s' is not supported (supported: %s)",
            m->file->file, ll_printable(name, n, text, sizeof text), ll_str_cstr(&list));
    ll_str_finish(&list);
    return LL_UNSUPPORTED;
}

/* A model whose tokenizer is of a kind we lack still runs on token ids. A damaged one is an
 * error. */
static ll_code read_tokenizer(mdl_model *m, ll_error *err)
{
    mdl_vocab v = {0};
    ll_error *e = &m->no_tokenizer;
    if (!mdl_gguf_find(m->file, "tokenizer.ggml.model"))
        return ll_fail(e, LL_UNSUPPORTED, "%s: the file has no tokenizer", m->file->file), LL_OK;
    ll_code rc = mdl_vocab_from_gguf(m->file, &v, e);
    if (rc == LL_OK) rc = mdl_vocab_write(&v, &m->tokenizer, e);
    mdl_vocab_finish(&v);
    return rc == LL_OK || rc == LL_UNSUPPORTED ? LL_OK : ll_fail(err, rc, "%s", e->msg);
}

static ll_code read_model(mdl_model *m, ll_error *err)
{
    LL_TRY(find_arch(m, err));
    LL_TRY(mdl_config_read(m->file, m->arch->name, &m->config, err));
    LL_TRY(mdl_gguf_str(m->file, "general.name", false, &m->name.s, &m->name.n, err));
    LL_TRY(mdl_gguf_str(m->file, "tokenizer.chat_template", false, &m->chat.s, &m->chat.n, err));
    return read_tokenizer(m, err);
}

ll_code mdl_open_gguf(mdl_gguf *g, mdl_model **out, ll_error *err)
{
    *out = NULL;
    mdl_model *m = calloc(1, sizeof *m);
    if (!m) {
        mdl_gguf_close(g);
        return ll_fail(err, LL_NO_SPACE, "no memory for the model");
    }
    m->file = g;
    ll_code rc = read_model(m, err);
    if (rc != LL_OK) return mdl_close(m), rc;
    *out = m;
    return LL_OK;
}

ll_code mdl_open(const char *path, mdl_model **out, ll_error *err)
{
    mdl_gguf *g;
    *out = NULL;
    LL_TRY(mdl_gguf_open(path, &g, err));
    return mdl_open_gguf(g, out, err);
}

void mdl_close(mdl_model *m)
{
    if (!m) return;
    ll_str_finish(&m->tokenizer);
    mdl_gguf_close(m->file);
    free(m);
}

const char *mdl_quant_name(const mdl_model *m)
{
    const mdl_gguf *f = m->file;
    const char *best = "";
    uint64_t most = 0;
    for (size_t i = 0; i < f->n_tensor; i++) { /* few types, few tensors: quadratic is fine */
        uint64_t sum = 0;
        for (size_t k = 0; k < f->n_tensor; k++)
            sum += f->tensor[k].type == f->tensor[i].type ? f->tensor[k].size : 0;
        if (sum > most) most = sum, best = f->tensor[i].type->name;
    }
    return best;
}

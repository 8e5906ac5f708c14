/* tokenizer.c: see tokenizer.h. */
#include "model/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include <llmir/tokenizer_abi.h>

#include "base/map.h"
#include "base/utf8.h"

enum { EXCERPT = 64 };

/* ---- from GGUF ---- */

static ll_code get_id(const mdl_gguf *g, const char *key, uint32_t n, int64_t *out, ll_error *err)
{
    *out = -1;
    return mdl_gguf_int(g, key, 0, (int64_t)n - 1, false, out, err);
}

static ll_code get_strings(const mdl_gguf *g, const char *key, uint64_t max, mdl_span **out,
                           size_t *n, ll_error *err)
{
    const mdl_kv *kv = mdl_gguf_find(g, key);
    if (!kv) return ll_fail(err, LL_BAD_INPUT, "%s: key '%s' is missing", g->file, key);
    if (kv->type != MDL_KV_ARRAY || kv->item != MDL_KV_STRING)
        return ll_fail(err, LL_BAD_INPUT,
                       "%s: key '%s': the value is of type %s%s, wanted an array of string",
                       g->file, key, kv->type == MDL_KV_ARRAY ? "array of " : "",
                       mdl_kv_type_name(kv->type == MDL_KV_ARRAY ? kv->item : kv->type));
    if (kv->n > max)
        return ll_fail(err, LL_BAD_INPUT, "%s: key '%s': %llu items, at most %llu are accepted",
                       g->file, key, (unsigned long long)kv->n, (unsigned long long)max);
    mdl_span *s = malloc((size_t)(kv->n + 1) * sizeof *s);
    if (!s)
        return ll_fail(err, LL_NO_SPACE, "%s: no memory for %llu strings", g->file,
                       (unsigned long long)kv->n);
    mdl_str_iter it = {.g = g, .kv = kv};
    for (*n = 0; mdl_str_next(&it, &s[*n].s, &s[*n].n);) ++*n;
    *out = s;
    return LL_OK;
}

static ll_code get_types(const mdl_gguf *g, mdl_vocab *v, ll_error *err)
{
    static const char key[] = "tokenizer.ggml.token_type";
    const mdl_kv *kv = mdl_gguf_find(g, key);
    if (!kv) return LL_OK;
    if (kv->type != MDL_KV_ARRAY || !mdl_kv_is_int(kv->item))
        return ll_fail(err, LL_BAD_INPUT, "%s: key '%s': wanted an array of integers", g->file,
                       key);
    if (kv->n != v->n)
        return ll_fail(err, LL_BAD_INPUT, "%s: key '%s': %llu items, the vocabulary has %u",
                       g->file, key, (unsigned long long)kv->n, v->n);
    if (!(v->type = malloc(v->n + 1u)))
        return ll_fail(err, LL_NO_SPACE, "%s: no memory for the vocabulary", g->file);
    for (uint32_t i = 0; i < v->n; i++) {
        int64_t t = mdl_kv_int_at(g, kv, i);
        if (t < MDL_TOKEN_NORMAL || t > MDL_TOKEN_BYTE)
            return ll_fail(err, LL_BAD_INPUT, "%s: key '%s': token %u has type %lld, wanted 1..6",
                           g->file, key, i, (long long)t);
        v->type[i] = (uint8_t)t;
    }
    return LL_OK;
}

static ll_code from_gguf(const mdl_gguf *g, mdl_vocab *v, ll_error *err)
{
    const char *kind;
    size_t n;
    char text[EXCERPT];
    v->file = g->file;
    LL_TRY(mdl_gguf_str(g, "tokenizer.ggml.model", true, &kind, &n, err));
    if (n != 4 || memcmp(kind, "gpt2", 4))
        return ll_fail(err, LL_UNSUPPORTED,
                       "%s: tokenizer '%s' is not supported (supported: gpt2, byte-level BPE)",
                       g->file, ll_printable(kind, n, text, sizeof text));
    LL_TRY(mdl_gguf_str(g, "tokenizer.ggml.pre", false, &v->pre.s, &v->pre.n, err));
    LL_TRY(get_strings(g, "tokenizer.ggml.tokens", LLMIR_TOK_MAX_VOCAB, &v->token, &n, err));
    if (!n)
        return ll_fail(err, LL_BAD_INPUT,
                       "%s: key 'tokenizer.ggml.tokens': the vocabulary is empty", g->file);
    v->n = (uint32_t)n;
    LL_TRY(get_strings(g, "tokenizer.ggml.merges", MDL_MAX_ARRAY, &v->merge, &v->n_merge, err));
    LL_TRY(get_types(g, v, err));
    LL_TRY(get_id(g, "tokenizer.ggml.bos_token_id", v->n, &v->bos, err));
    LL_TRY(get_id(g, "tokenizer.ggml.eos_token_id", v->n, &v->eos, err));
    LL_TRY(get_id(g, "tokenizer.ggml.eot_token_id", v->n, &v->eot, err));
    LL_TRY(get_id(g, "tokenizer.ggml.padding_token_id", v->n, &v->pad, err));
    LL_TRY(get_id(g, "tokenizer.ggml.unknown_token_id", v->n, &v->unk, err));
    LL_TRY(mdl_gguf_bool(g, "tokenizer.ggml.add_bos_token", false, &v->add_bos, err));
    return mdl_gguf_bool(g, "tokenizer.ggml.add_eos_token", false, &v->add_eos, err);
}

ll_code mdl_vocab_from_gguf(const mdl_gguf *g, mdl_vocab *out, ll_error *err)
{
    *out = (mdl_vocab){0};
    ll_code rc = from_gguf(g, out, err);
    if (rc != LL_OK) mdl_vocab_finish(out);
    return rc;
}

void mdl_vocab_finish(mdl_vocab *v)
{
    free(v->token);
    free(v->type);
    free(v->merge);
    *v = (mdl_vocab){0};
}

/* ---- GPT-2's alphabet: bytes that print stand for themselves, the others for U+0100 and up --- */

static bool prints(unsigned b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

static void make_alphabet(int16_t byte_of[512])
{
    uint32_t next = 256;
    memset(byte_of, 0xff, 512 * sizeof *byte_of);
    for (unsigned b = 0; b < 256; b++) byte_of[prints(b) ? b : next++] = (int16_t)b;
}

/* ---- writing ---- */

typedef struct writer {
    const mdl_vocab *v;
    ll_error *err;
    llmir_tok_header h;
    ll_map ids;         /* token text (as in the file) -> id + 1 */
    uint32_t byte[256];
    uint32_t *text, *special, *eog;
    uint8_t *kind;
    llmir_tok_merge *merge;
    ll_str bytes, split;
    int16_t byte_of[512];
} writer;

static ll_code no_memory(writer *w)
{
    return ll_fail(w->err, LL_NO_SPACE, "%s: no memory for the tokenizer", w->v->file);
}

static uint32_t id_of(const writer *w, const char *s, size_t n)
{
    uintptr_t i = (uintptr_t)ll_map_get(&w->ids, s, n);
    return i ? (uint32_t)(i - 1) : LLMIR_TOK_NONE;
}

static ll_code index_tokens(writer *w)
{
    const mdl_vocab *v = w->v;
    char text[EXCERPT];
    for (uint32_t i = 0; i < v->n; i++) {
        if (!v->token[i].n || v->token[i].n > LLMIR_TOK_MAX_TEXT)
            return ll_fail(w->err, LL_BAD_INPUT, "%s: token %u has %zu bytes, wanted 1..%d",
                           v->file, i, v->token[i].n, LLMIR_TOK_MAX_TEXT);
        uint32_t same = id_of(w, v->token[i].s, v->token[i].n);
        if (same != LLMIR_TOK_NONE)
            return ll_fail(w->err, LL_BAD_INPUT, "%s: tokens %u and %u are both '%s'", v->file,
                           same, i, ll_printable(v->token[i].s, v->token[i].n, text, sizeof text));
        if (!ll_map_set(&w->ids, v->token[i].s, v->token[i].n, (void *)(uintptr_t)(i + 1)))
            return no_memory(w);
    }
    return LL_OK;
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* "<0xNN>" and nothing else. */
static int byte_token(mdl_span t)
{
    if (t.n != 6 || memcmp(t.s, "<0x", 3) || t.s[5] != '>' || hex(t.s[3]) < 0 || hex(t.s[4]) < 0)
        return -1;
    return 16 * hex(t.s[3]) + hex(t.s[4]);
}

/* A normal token's bytes; false when it has characters outside the alphabet (then it reads as it
 * is). */
static bool add_alphabet(writer *w, mdl_span t)
{
    size_t start = w->bytes.n;
    for (size_t i = 0; i < t.n;) {
        uint32_t cp = 0;
        size_t len = ll_utf8_char(t.s + i, t.n - i, &cp, NULL, NULL);
        if (!len || cp >= 512 || w->byte_of[cp] < 0) return w->bytes.n = start, false;
        ll_str_addc(&w->bytes, (char)w->byte_of[cp]);
        i += len;
    }
    return true;
}

static const struct { const char *text; bool ends; } known[] = {
#define SPECIAL(text, ends) {text, ends},
#include "model/special.def"
};

static ll_code write_tokens(writer *w)
{
    static const uint8_t kind_of[] = {
        [MDL_TOKEN_NORMAL] = LLMIR_TOK_NORMAL,   [MDL_TOKEN_UNKNOWN] = LLMIR_TOK_CONTROL,
        [MDL_TOKEN_CONTROL] = LLMIR_TOK_CONTROL, [MDL_TOKEN_USER] = LLMIR_TOK_USER,
        [MDL_TOKEN_UNUSED] = LLMIR_TOK_UNUSED,   [MDL_TOKEN_BYTE] = LLMIR_TOK_NORMAL};
    const mdl_vocab *v = w->v;
    char excerpt[EXCERPT];
    for (uint32_t i = 0; i < v->n; i++) {
        mdl_span t = v->token[i];
        unsigned type = v->type ? v->type[i] : MDL_TOKEN_NORMAL;
        w->text[i] = (uint32_t)w->bytes.n;
        w->kind[i] = kind_of[type];
        if (type == MDL_TOKEN_BYTE) {
            int b = byte_token(t);
            if (b < 0)
                return ll_fail(w->err, LL_BAD_INPUT,
                               "%s: token %u is '%s', a byte token reads <0x00>..<0xFF>", v->file,
                               i, ll_printable(t.s, t.n, excerpt, sizeof excerpt));
            ll_str_addc(&w->bytes, (char)b);
            w->byte[b] = i;
        } else if (type != MDL_TOKEN_NORMAL || !add_alphabet(w, t))
            ll_str_addn(&w->bytes, t.s, t.n);
        else if (w->bytes.n - w->text[i] == 1)
            w->byte[(unsigned char)w->bytes.s[w->bytes.n - 1]] = i;
        if (w->bytes.n > INT32_MAX)
            return ll_fail(w->err, LL_BAD_INPUT, "%s: the vocabulary has more than 2 GiB of text",
                           v->file);
    }
    w->text[v->n] = (uint32_t)w->bytes.n;
    return w->bytes.oom ? no_memory(w) : LL_OK;
}

static void add_eog(writer *w, int64_t id)
{
    if (id < 0) return;
    for (uint32_t i = 0; i < w->h.n_eog; i++)
        if (w->eog[i] == (uint32_t)id) return;
    w->eog[w->h.n_eog++] = (uint32_t)id;
}

static int by_text(const void *a, const void *b, void *ctx)
{
    const writer *w = ctx;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    size_t nx = w->text[x + 1] - w->text[x], ny = w->text[y + 1] - w->text[y];
    int c = memcmp(w->bytes.s + w->text[x], w->bytes.s + w->text[y], nx < ny ? nx : ny);
    return c ? c : nx < ny ? -1 : nx > ny;
}

static ll_code write_special(writer *w)
{
    const mdl_vocab *v = w->v;
    size_t n_known = sizeof known / sizeof *known;
    if (!(w->eog = malloc((n_known + 2) * sizeof *w->eog)) ||
        !(w->special = malloc((v->n + 1u) * sizeof *w->special)))
        return no_memory(w);
    add_eog(w, v->eos);
    add_eog(w, v->eot);
    for (size_t i = 0; i < n_known; i++) {
        uint32_t id = id_of(w, known[i].text, strlen(known[i].text));
        if (id == LLMIR_TOK_NONE) continue;
        w->kind[id] = LLMIR_TOK_CONTROL;
        if (known[i].ends) add_eog(w, id);
    }
    for (uint32_t i = 0; i < v->n; i++)
        if (w->kind[i] == LLMIR_TOK_CONTROL || w->kind[i] == LLMIR_TOK_USER)
            w->special[w->h.n_special++] = i;
    qsort_r(w->special, w->h.n_special, sizeof *w->special, by_text, w);
    return LL_OK;
}

/* The right side starts behind the first space that is not the left side itself. */
static bool halves(mdl_span m, mdl_span *left, mdl_span *right)
{
    const char *space = m.n > 2 ? memchr(m.s + 1, ' ', m.n - 2) : NULL;
    if (!space) return false;
    *left = (mdl_span){m.s, (size_t)(space - m.s)};
    *right = (mdl_span){space + 1, m.n - left->n - 1};
    return true;
}

static ll_code add_merge(writer *w, uint32_t rank, ll_str *joined)
{
    const mdl_vocab *v = w->v;
    mdl_span m = v->merge[rank], l, r;
    char text[EXCERPT];
    const char *shown = ll_printable(m.s, m.n, text, sizeof text);
    if (!halves(m, &l, &r))
        return ll_fail(w->err, LL_BAD_INPUT,
                       "%s: merge %u is '%s', wanted two tokens and a space between", v->file, rank,
                       shown);
    ll_str_clear(joined);
    ll_str_addn(joined, l.s, l.n);
    ll_str_addn(joined, r.s, r.n);
    if (joined->oom) return no_memory(w);
    uint32_t left = id_of(w, l.s, l.n), right = id_of(w, r.s, r.n),
             to = id_of(w, joined->s, joined->n);
    if (left == LLMIR_TOK_NONE || right == LLMIR_TOK_NONE || to == LLMIR_TOK_NONE)
        return ll_fail(w->err, LL_BAD_INPUT,
                       "%s: merge %u ('%s'): its %s side is not in the vocabulary", v->file, rank,
                       shown,
                       left == LLMIR_TOK_NONE    ? "left"
                       : right == LLMIR_TOK_NONE ? "right"
                                                 : "joined");
    uint32_t i = llmir_tok_mix(left, right);
    for (;; i++) {
        llmir_tok_merge *slot = &w->merge[i & (w->h.n_slot - 1)];
        if (slot->left == left && slot->right == right) return LL_OK; /* the better rank stays */
        if (slot->left != LLMIR_TOK_NONE) continue;
        *slot = (llmir_tok_merge){left, right, w->h.n_merge++, to};
        return LL_OK;
    }
}

static ll_code write_merges(writer *w)
{
    const mdl_vocab *v = w->v;
    if (v->n_merge > LLMIR_TOK_MAX_VOCAB * 4u)
        return ll_fail(w->err, LL_BAD_INPUT, "%s: %zu merges, at most %u are accepted", v->file,
                       v->n_merge, LLMIR_TOK_MAX_VOCAB * 4u);
    for (w->h.n_slot = 16; w->h.n_slot < v->n_merge + v->n_merge / 2;) w->h.n_slot *= 2;
    if (!(w->merge = malloc(w->h.n_slot * sizeof *w->merge))) return no_memory(w);
    memset(w->merge, 0xff, w->h.n_slot * sizeof *w->merge);
    ll_str joined = {0};
    ll_code rc = LL_OK;
    for (uint32_t i = 0; i < v->n_merge && rc == LL_OK; i++) rc = add_merge(w, i, &joined);
    ll_str_finish(&joined);
    return rc;
}

static const struct { const char *name; const char *split[LLMIR_TOK_MAX_SPLIT + 1]; } pretok[] = {
#define PRETOK(name, ...) {name, {__VA_ARGS__}},
#include "model/pretok.def"
};

static ll_code write_splits(writer *w)
{
    mdl_span pre = w->v->pre;
    for (size_t i = 0; i < sizeof pretok / sizeof *pretok; i++) {
        if (strlen(pretok[i].name) != pre.n || memcmp(pretok[i].name, pre.s, pre.n)) continue;
        for (const char *const *s = pretok[i].split; *s; s++, w->h.n_split++)
            ll_str_addn(&w->split, *s, strlen(*s) + 1);
        return w->split.oom ? no_memory(w) : LL_OK;
    }
    char text[EXCERPT];
    ll_str list = {0};
    for (size_t i = 0; i < sizeof pretok / sizeof *pretok; i++)
        ll_str_addf(&list, "%s%s", i ? ", " : "", pretok[i].name);
    ll_fail(w->err, LL_UNSUPPORTED, "%s: pre-tokeniser '%s' is not supported (supported: %s)",
            w->v->file, ll_printable(pre.s, pre.n, text, sizeof text), ll_str_cstr(&list));
    ll_str_finish(&list);
    return LL_UNSUPPORTED;
}

static void add_section(ll_str *out, const void *p, size_t n)
{
    static const char zero[8];
    ll_str_addn(out, p, n);
    ll_str_addn(out, zero, (8 - n % 8) % 8);
}

static ll_code header_id(writer *w, const char *what, int64_t id, uint32_t *out)
{
    if (out) *out = id < 0 ? LLMIR_TOK_NONE : (uint32_t)id;
    if (id < (int64_t)w->v->n) return LL_OK;
    return ll_fail(w->err, LL_BAD_INPUT, "%s: %s is token %lld, the vocabulary has %u", w->v->file,
                   what, (long long)id, w->v->n);
}

static ll_code build(writer *w)
{
    const mdl_vocab *v = w->v;
    if (!v->n || v->n > LLMIR_TOK_MAX_VOCAB)
        return ll_fail(w->err, LL_BAD_INPUT, "%s: a vocabulary of %u tokens, wanted 1..%d", v->file,
                       v->n, LLMIR_TOK_MAX_VOCAB);
    w->h = (llmir_tok_header){.magic = LLMIR_TOK_MAGIC, .abi = LLMIR_TOK_ABI, .n_vocab = v->n};
    w->h.flags = (v->add_bos ? LLMIR_TOK_ADD_BOS : 0) | (v->add_eos ? LLMIR_TOK_ADD_EOS : 0);
    memset(w->byte, 0xff, sizeof w->byte);
    make_alphabet(w->byte_of);
    if (!(w->text = malloc((v->n + 1u) * sizeof *w->text)) || !(w->kind = malloc(v->n)))
        return no_memory(w);
    LL_TRY(header_id(w, "bos", v->bos, &w->h.bos));
    LL_TRY(header_id(w, "eos", v->eos, &w->h.eos));
    LL_TRY(header_id(w, "eot", v->eot, NULL));
    LL_TRY(header_id(w, "pad", v->pad, &w->h.pad));
    LL_TRY(header_id(w, "unk", v->unk, &w->h.unk));
    LL_TRY(write_splits(w));
    LL_TRY(index_tokens(w));
    LL_TRY(write_tokens(w));
    LL_TRY(write_special(w));
    return write_merges(w);
}

static ll_code put(writer *w, ll_str *out)
{
    size_t start = out->n;
    w->h.n_bytes = (uint32_t)w->bytes.n;
    w->h.n_split_bytes = (uint32_t)w->split.n;
    add_section(out, &w->h, sizeof w->h);
    add_section(out, w->byte, sizeof w->byte);
    add_section(out, w->text, (w->h.n_vocab + 1u) * sizeof *w->text);
    add_section(out, w->kind, w->h.n_vocab);
    add_section(out, w->merge, w->h.n_slot * sizeof *w->merge);
    add_section(out, w->bytes.s, w->bytes.n);
    add_section(out, w->special, w->h.n_special * sizeof *w->special);
    add_section(out, w->eog, w->h.n_eog * sizeof *w->eog);
    add_section(out, w->split.s, w->split.n);
    if (out->oom) return no_memory(w);
    w->h.size = out->n - start;
    memcpy(out->s + start, &w->h, sizeof w->h);
    return LL_OK;
}

ll_code mdl_vocab_write(const mdl_vocab *v, ll_str *out, ll_error *err)
{
    writer w = {.v = v, .err = err};
    ll_code rc = build(&w);
    if (rc == LL_OK) rc = put(&w, out);
    ll_map_finish(&w.ids);
    ll_str_finish(&w.bytes);
    ll_str_finish(&w.split);
    free(w.text);
    free(w.kind);
    free(w.merge);
    free(w.special);
    free(w.eog);
    return rc;
}

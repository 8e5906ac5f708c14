/* tokenizer.c: opening, encoding and decoding; see tokenizer.h. The merge loop itself is in bpe.c.
 *
 * Encoding, from the outside in:
 *     text -> runs between special tokens -> runs of valid UTF-8 (and of bytes that are not)
 *          -> pieces, by the regular expressions in turn -> byte-pair merges inside each piece */
#include "runtime/text/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llmir/tokenizer_abi.h>

#include "base/reader.h"
#include "base/utf8.h"
#include "runtime/text/bpe.h"

enum {
    TEXT_MAX = INT32_MAX,       /* bytes a call may encode */
    MATCH_BASE = 10 * 1000000,  /* backtracking steps a match may take, and so many more a byte */
    MATCH_PER_BYTE = 32,        /* of text: one that explodes is an error in under a second */
    MATCH_HEAP_KIB = 64 << 10,
};

struct rt_tok {
    rt_tok_info info;
    rt_bpe bpe;
    const uint32_t *text, *special, *eog;
    const uint8_t *kind;
    const char *bytes;
    uint32_t n_eog, n_split;
    bool starts[2][256]; /* by PARSE_SPECIAL: could a special token start with this byte? */
    bool any[2];
    pcre2_code *split[LLMIR_TOK_MAX_SPLIT];
};

static const char *text_of(const rt_tok *t, uint32_t id, size_t *n)
{
    *n = t->text[id + 1] - t->text[id];
    return t->bytes + t->text[id];
}

/* ---- opening ---- */

static const void *section(ll_rd *r, uint64_t count, size_t size, const char *field)
{
    static const char none[8];
    if (!ll_rd_seek(r, (r->pos + 7) & ~(size_t)7, field)) return NULL;
    const void *p = ll_rd_bytes(r, count * size, field); /* count < 2^32: no overflow */
    return p || !r->ok ? p : none;
}

static void check_id(ll_rd *r, uint32_t id, uint32_t n_vocab, const char *field)
{
    if (id != LLMIR_TOK_NONE && id >= n_vocab)
        ll_rd_fail(r, LL_BAD_INPUT, "%s: token %u, the vocabulary has %u", field, id, n_vocab);
}

static void check_head(ll_rd *r, const llmir_tok_header *h, size_t n)
{
    if (h->magic != LLMIR_TOK_MAGIC) ll_rd_fail(r, LL_BAD_INPUT, "magic: not a tokenizer");
    else if (h->abi != LLMIR_TOK_ABI)
        ll_rd_fail(r, LL_UNSUPPORTED, "abi: %u, this runtime reads %u: build the module again",
                   h->abi, LLMIR_TOK_ABI);
    else if (h->flags & ~(uint32_t)LLMIR_TOK_FLAGS)
        ll_rd_fail(r, LL_UNSUPPORTED, "flags: 0x%x has bits this runtime does not know", h->flags);
    else if (h->size > n)
        ll_rd_fail(r, LL_BAD_INPUT, "size: %llu bytes, %zu are there", (unsigned long long)h->size,
                   n);
    else if (!h->n_vocab || h->n_vocab > LLMIR_TOK_MAX_VOCAB)
        ll_rd_fail(r, LL_BAD_INPUT, "n_vocab: %u, wanted 1..%d", h->n_vocab, LLMIR_TOK_MAX_VOCAB);
    else if (!h->n_slot || (h->n_slot & (h->n_slot - 1)) || h->n_merge >= h->n_slot)
        ll_rd_fail(r, LL_BAD_INPUT, "n_slot: %u, wanted a power of two above n_merge (%u)",
                   h->n_slot, h->n_merge);
    else if (h->n_split > LLMIR_TOK_MAX_SPLIT)
        ll_rd_fail(r, LL_BAD_INPUT, "n_split: %u, at most %d are accepted", h->n_split,
                   LLMIR_TOK_MAX_SPLIT);
    check_id(r, h->bos, h->n_vocab, "bos");
    check_id(r, h->eos, h->n_vocab, "eos");
    check_id(r, h->pad, h->n_vocab, "pad");
    check_id(r, h->unk, h->n_vocab, "unk");
}

static void check_vocab(ll_rd *r, const rt_tok *t, const llmir_tok_header *h)
{
    for (uint32_t b = 0; b < 256 && r->ok; b++) check_id(r, t->bpe.byte[b], h->n_vocab, "byte");
    if (r->ok && (t->text[0] || t->text[h->n_vocab] != h->n_bytes))
        ll_rd_fail(r, LL_BAD_INPUT, "text: covers bytes %u to %u of %u", t->text[0],
                   t->text[h->n_vocab], h->n_bytes);
    for (uint32_t i = 0; i < h->n_vocab && r->ok; i++) {
        if (t->text[i + 1] < t->text[i] || t->text[i + 1] - t->text[i] > LLMIR_TOK_MAX_TEXT)
            ll_rd_fail(r, LL_BAD_INPUT, "text: token %u spans bytes %u to %u", i, t->text[i],
                       t->text[i + 1]);
        else if (t->kind[i] >= LLMIR_TOK_KINDS)
            ll_rd_fail(r, LL_BAD_INPUT, "kind: token %u has kind %u", i, t->kind[i]);
    }
}

static void check_merges(ll_rd *r, const llmir_tok_merge *m, const llmir_tok_header *h)
{
    uint32_t used = 0, bad = 0;
    for (uint32_t i = 0; i < h->n_slot && r->ok; i++) {
        if (m[i].left == LLMIR_TOK_NONE) continue;
        used++;
        bad |= (m[i].left >= h->n_vocab) | (m[i].right >= h->n_vocab) | (m[i].to >= h->n_vocab) |
               (m[i].rank >= h->n_merge);
    }
    if (r->ok && bad)
        ll_rd_fail(r, LL_BAD_INPUT, "merge: an entry names a token or a rank that does not exist");
    else if (r->ok && used != h->n_merge)
        ll_rd_fail(r, LL_BAD_INPUT, "merge: %u entries, the header says %u", used, h->n_merge);
}

static int compare(const char *a, size_t na, const char *b, size_t nb)
{
    int c = memcmp(a, b, na < nb ? na : nb);
    return c ? c : na < nb ? -1 : na > nb;
}

static void check_special(ll_rd *r, rt_tok *t)
{
    const char *before = "";
    size_t n_before = 0;
    for (uint32_t i = 0; i < t->info.n_special && r->ok; i++) {
        size_t n;
        uint32_t id = t->special[i];
        if (id >= t->info.n_vocab)
            return (void)ll_rd_fail(r, LL_BAD_INPUT, "special: token %u is not in the vocabulary",
                                    id);
        const char *s = text_of(t, id, &n);
        if (compare(before, n_before, s, n) >= 0)
            return (void)ll_rd_fail(r, LL_BAD_INPUT, "special: token %u is empty or out of order",
                                    id);
        before = s;
        n_before = n;
        unsigned char first = (unsigned char)s[0];
        if (t->kind[id] == LLMIR_TOK_USER) t->starts[0][first] = t->any[0] = true;
        t->starts[1][first] = t->any[1] = true;
    }
    for (uint32_t i = 0; i < t->n_eog && r->ok; i++)
        if (t->eog[i] >= t->info.n_vocab)
            ll_rd_fail(r, LL_BAD_INPUT, "eog: token %u is not in the vocabulary", t->eog[i]);
}

static void compile_splits(ll_rd *r, rt_tok *t, const char *s, size_t n)
{
    for (uint32_t i = 0; i < t->n_split; i++) {
        const char *end = memchr(s, 0, n);
        int code;
        PCRE2_SIZE at;
        if (!end) return (void)ll_rd_fail(r, LL_BAD_INPUT, "split: expression %u has no end", i);
        t->split[i] =
            pcre2_compile((PCRE2_SPTR)s, (size_t)(end - s),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
        if (!t->split[i]) {
            char why[128] = "";
            pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
            return (void)ll_rd_fail(r, LL_BAD_INPUT, "split: expression %u: %s at byte %zu", i, why,
                                    (size_t)at);
        }
        pcre2_jit_compile(t->split[i], PCRE2_JIT_COMPLETE); /* without JIT it is only slower */
        n -= (size_t)(end + 1 - s);
        s = end + 1;
    }
}

static int32_t id_of(uint32_t id) { return id == LLMIR_TOK_NONE ? RT_TOK_NO_ID : (int32_t)id; }

static void open_tables(ll_rd *r, rt_tok *t, size_t n)
{
    const llmir_tok_header *h = ll_rd_bytes(r, sizeof *h, "header");
    if (!r->ok) return;
    check_head(r, h, n);
    if (!r->ok) return;
    r->n = (size_t)h->size;
    t->bpe.byte = section(r, 256, 4, "byte");
    t->text = section(r, (uint64_t)h->n_vocab + 1, 4, "text");
    t->kind = section(r, h->n_vocab, 1, "kind");
    t->bpe.merge = section(r, h->n_slot, sizeof *t->bpe.merge, "merge");
    t->bytes = section(r, h->n_bytes, 1, "bytes");
    t->special = section(r, h->n_special, 4, "special");
    t->eog = section(r, h->n_eog, 4, "eog");
    const char *split = section(r, h->n_split_bytes, 1, "split");
    if (!r->ok) return;
    t->bpe.mask = h->n_slot - 1;
    t->bpe.unk = h->unk;
    t->n_eog = h->n_eog;
    t->n_split = h->n_split;
    t->info = (rt_tok_info){.n_vocab = h->n_vocab,
                            .n_special = h->n_special,
                            .bos = id_of(h->bos),
                            .eos = id_of(h->eos),
                            .pad = id_of(h->pad),
                            .unk = id_of(h->unk),
                            .add_bos = h->flags & LLMIR_TOK_ADD_BOS,
                            .add_eos = h->flags & LLMIR_TOK_ADD_EOS};
    check_vocab(r, t, h);
    check_merges(r, t->bpe.merge, h);
    if (r->ok) check_special(r, t);
    if (r->ok) compile_splits(r, t, split, h->n_split_bytes);
}

ll_code rt_tok_open(const void *bytes, size_t n, const char *name, rt_tok **out, ll_error *err)
{
    ll_error own = {0};
    if (!err) err = &own;
    *out = NULL;
    if ((uintptr_t)bytes % 8)
        return ll_fail(err, LL_USAGE, "%s: the tokenizer's bytes are not 8-byte aligned", name);
    rt_tok *t = calloc(1, sizeof *t);
    if (!t) return ll_fail(err, LL_NO_SPACE, "%s: no memory for the tokenizer", name);
    ll_rd r;
    ll_rd_init(&r, bytes, n, name, err);
    open_tables(&r, t, n);
    if (!r.ok) {
        rt_tok_close(t);
        ll_error_prefix(err, "tokenizer of ");
        return err->code;
    }
    *out = t;
    return LL_OK;
}

void rt_tok_close(rt_tok *t)
{
    if (!t) return;
    for (uint32_t i = 0; i < t->n_split; i++) pcre2_code_free(t->split[i]);
    free(t);
}

const rt_tok_info *rt_tok_get_info(const rt_tok *t) { return &t->info; }

bool rt_tok_is_eog(const rt_tok *t, int32_t id)
{
    for (uint32_t i = 0; i < t->n_eog; i++)
        if ((int32_t)t->eog[i] == id) return true;
    return false;
}

const char *rt_tok_text(const rt_tok *t, int32_t id, size_t *n)
{
    *n = 0;
    return id < 0 || (uint32_t)id >= t->info.n_vocab ? NULL : text_of(t, (uint32_t)id, n);
}

/* ---- encoding ---- */

typedef struct enc {
    const rt_tok *t;
    rt_bpe_work work;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    const char *start; /* of the text, for messages */
    ll_error *err;
} enc;

static ll_code regex_failed(enc *e, int rc, const char *s)
{
    char why[128] = "";
    pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
    return ll_fail(e->err, rc == PCRE2_ERROR_NOMEMORY ? LL_NO_SPACE : LL_BAD_INPUT,
                   "the pre-tokeniser's expression gave up on the text at byte %zu: %s",
                   (size_t)(s - e->start), why);
}

/* Cuts s[0, n) by expression `level` and what follows it; n > 0. */
static ll_code split(enc *e, uint32_t level, const char *s, size_t n)
{
    const rt_tok *t = e->t;
    if (level == t->n_split) return rt_bpe_piece(&t->bpe, &e->work, s, n, e->err);
    size_t pos = 0;
    while (pos < n) {
        unsigned options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
        int rc = pcre2_match(t->split[level], (PCRE2_SPTR)s, n, pos, options, e->match, e->limits);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
            rc = pcre2_match(t->split[level], (PCRE2_SPTR)s, n, pos, options | PCRE2_NO_JIT,
                             e->match, e->limits);
        if (rc == PCRE2_ERROR_NOMATCH) return split(e, level + 1, s + pos, n - pos);
        if (rc < 0) return regex_failed(e, rc, s + pos);
        const PCRE2_SIZE *ov = pcre2_get_ovector_pointer(e->match);
        size_t a = ov[0], b = ov[1];
        if (a < pos || b <= a || b > n) /* \K can do that */
            return regex_failed(e, PCRE2_ERROR_BADOFFSET, s + pos);
        if (a > pos) LL_TRY(split(e, level + 1, s + pos, a - pos));
        LL_TRY(split(e, level + 1, s + a, b - a));
        pos = b;
    }
    return LL_OK;
}

/* Text without special tokens. */
static ll_code encode_run(enc *e, const char *s, size_t n)
{
    while (n) {
        size_t good = ll_utf8_valid(s, n), bad = 0;
        if (good) LL_TRY(split(e, 0, s, good));
        s += good;
        n -= good;
        while (bad < n && !ll_utf8_char(s + bad, n - bad, NULL, NULL, NULL)) bad++;
        if (bad) LL_TRY(rt_bpe_piece(&e->t->bpe, &e->work, s, bad, e->err));
        s += bad;
        n -= bad;
    }
    return LL_OK;
}

/* The longest special token at the start of s, or NONE. The list is sorted, so the candidates
 * that share the first k bytes of s are a range of it; a text that is a prefix of others comes
 * before them. */
static uint32_t special_at(const rt_tok *t, const char *s, size_t n, bool parse, size_t *len)
{
    uint32_t lo = 0, hi = t->info.n_special, best = LLMIR_TOK_NONE;
    for (size_t k = 0; k < n && lo < hi; k++) {
        unsigned char c = (unsigned char)s[k];
        uint32_t a = lo, b = hi;
        while (a < b) { /* the first whose byte k is >= c */
            uint32_t m = a + (b - a) / 2;
            (unsigned char)t->bytes[t->text[t->special[m]] + k] < c ? (a = m + 1) : (b = m);
        }
        for (lo = a, b = hi; a < b;) { /* the first whose byte k is > c */
            uint32_t m = a + (b - a) / 2;
            (unsigned char)t->bytes[t->text[t->special[m]] + k] <= c ? (a = m + 1) : (b = m);
        }
        hi = a;
        if (lo == hi) break;
        uint32_t id = t->special[lo]; /* only the first of the range can end here */
        if (t->text[id + 1] - t->text[id] == k + 1) {
            if (parse || t->kind[id] == LLMIR_TOK_USER) best = id, *len = k + 1;
            lo++;
        }
    }
    return best;
}

static ll_code encode_text(enc *e, const char *s, size_t n, bool parse)
{
    const rt_tok *t = e->t;
    size_t from = 0, i = 0;
    while (t->any[parse] && i < n) {
        size_t len = 0;
        uint32_t id = LLMIR_TOK_NONE;
        if (t->starts[parse][(unsigned char)s[i]]) id = special_at(t, s + i, n - i, parse, &len);
        if (id == LLMIR_TOK_NONE) {
            i++;
            continue;
        }
        LL_TRY(encode_run(e, s + from, i - from));
        rt_bpe_put(&e->work, id);
        from = i += len;
    }
    return encode_run(e, s + from, n - from);
}

ll_code rt_tok_encode(const rt_tok *t, const char *text, size_t n, unsigned flags, int32_t *ids,
                      size_t *n_ids, ll_error *err)
{
    if (n > TEXT_MAX)
        return ll_fail(err, LL_USAGE, "the text has %zu bytes, at most %d are encoded in one call",
                       n, TEXT_MAX);
    size_t room = ids ? *n_ids : 0;
    enc e = {.t = t, .start = text, .err = err, .work = {.ids = ids, .room = room}};
    e.match = pcre2_match_data_create(1, NULL);
    e.limits = pcre2_match_context_create(NULL);
    ll_code rc = LL_OK;
    if (!e.match || !e.limits) rc = ll_fail(err, LL_NO_SPACE, "no memory to encode text");
    else {
        uint64_t steps = MATCH_BASE + (uint64_t)n * MATCH_PER_BYTE;
        pcre2_set_match_limit(e.limits, steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps);
        pcre2_set_heap_limit(e.limits, MATCH_HEAP_KIB);
        bool special = flags & RT_TOK_ADD_SPECIAL;
        if (special && t->info.add_bos && t->info.bos >= 0)
            rt_bpe_put(&e.work, (uint32_t)t->info.bos);
        rc = encode_text(&e, text, n, flags & RT_TOK_PARSE_SPECIAL);
        if (special && t->info.add_eos && t->info.eos >= 0)
            rt_bpe_put(&e.work, (uint32_t)t->info.eos);
    }
    pcre2_match_data_free(e.match);
    pcre2_match_context_free(e.limits);
    rt_bpe_work_finish(&e.work);
    if (rc != LL_OK) return rc;
    *n_ids = e.work.n_ids;
    if (ids && e.work.n_ids > room)
        return ll_fail(err, LL_USAGE, "the text has %zu tokens, there is room for %zu",
                       e.work.n_ids, room);
    return LL_OK;
}

/* ---- decoding ---- */

/* What a token prints: NULL for an id outside the vocabulary. */
static const char *printed(const rt_tok *t, int32_t id, unsigned flags, size_t *n)
{
    const char *s = rt_tok_text(t, id, n);
    if (!s) return NULL;
    if (t->kind[id] != LLMIR_TOK_NORMAL && t->kind[id] != LLMIR_TOK_USER &&
        !(flags & RT_TOK_SHOW_SPECIAL))
        *n = 0;
    return s;
}

static ll_code bad_id(const rt_tok *t, int32_t id, ll_error *err)
{
    return ll_fail(err, LL_USAGE, "token %d, the vocabulary has %u", id, t->info.n_vocab);
}

ll_code rt_tok_decode(const rt_tok *t, const int32_t *ids, size_t n_ids, unsigned flags, char *out,
                      size_t *n_out, ll_error *err)
{
    size_t room = out ? *n_out : 0, all = 0, len;
    for (size_t i = 0; i < n_ids; i++) {
        const char *s = printed(t, ids[i], flags, &len);
        if (!s) return bad_id(t, ids[i], err);
        if (all < room) memcpy(out + all, s, len < room - all ? len : room - all);
        all += len;
    }
    *n_out = all;
    if (out && all > room)
        return ll_fail(err, LL_USAGE, "the text has %zu bytes, there is room for %zu", all, room);
    return LL_OK;
}

static bool stream_room(rt_tok_stream *s, size_t extra)
{
    if (s->n_out + extra + 1 <= s->cap) return true;
    size_t cap = 2 * (s->n_out + extra + 32);
    char *p = realloc(s->out, cap);
    if (!p) return false;
    s->out = p;
    s->cap = cap;
    return true;
}

static void stream_put(rt_tok_stream *s, const void *p, size_t n)
{
    memcpy(s->out + s->n_out, p, n);
    s->n_out += n;
}

/* Gives what is complete or wrong in held + bytes; keeps the start of a character that was cut. */
static ll_code stream_bytes(rt_tok_stream *s, const char *bytes, size_t n, bool end, ll_error *err)
{
    s->n_out = 0;
    if (!stream_room(s, 3 * (n + sizeof s->held)))
        return ll_fail(err, LL_NO_SPACE, "no memory for %zu bytes of text", n);
    while (s->n_held || n) {
        /* the next character lies in `held`, in `bytes`, or starts in one and ends in the other */
        unsigned char c[sizeof s->held];
        size_t have = s->n_held, broken;
        bool cut;
        memcpy(c, s->held, have);
        for (size_t k = 0; have < sizeof c && k < n; k++) c[have++] = (unsigned char)bytes[k];
        size_t len = ll_utf8_char(c, have, NULL, &broken, &cut);
        if (!len && cut && !end) {
            memcpy(s->held, c, have);
            s->n_held = (unsigned)have;
            n = 0;
            break;
        }
        if (len) stream_put(s, c, len);
        else stream_put(s, "\xef\xbf\xbd", 3), len = broken;
        size_t from_held = len < s->n_held ? len : s->n_held;
        s->n_held -= (unsigned)from_held;
        memmove(s->held, s->held + from_held, s->n_held);
        bytes += len - from_held;
        n -= len - from_held;
    }
    s->out[s->n_out] = 0;
    return LL_OK;
}

ll_code rt_tok_stream_add(const rt_tok *t, rt_tok_stream *s, int32_t id, unsigned flags,
                          ll_error *err)
{
    size_t n;
    const char *text = printed(t, id, flags, &n);
    if (!text) return bad_id(t, id, err);
    return stream_bytes(s, text, n, false, err);
}

ll_code rt_tok_stream_end(rt_tok_stream *s, ll_error *err)
{
    return stream_bytes(s, "", 0, true, err);
}

void rt_tok_stream_finish(rt_tok_stream *s)
{
    free(s->out);
    *s = (rt_tok_stream){0};
}

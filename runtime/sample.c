/* sample.c: see sample.h. */
#include "runtime/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LIST = 256 }; /* length of the first list when the kernel made none */

ll_code rt_sampler_init(rt_sampler *s, uint32_t n, ll_error *err)
{
    *s = (rt_sampler){.n = n};
    s->key = malloc(n * sizeof *s->key);
    s->weight = malloc(n * sizeof *s->weight);
    s->id = malloc(n * sizeof *s->id);
    s->seen = calloc(n, sizeof *s->seen);
    if (s->key && s->weight && s->id && s->seen) return LL_OK;
    rt_sampler_finish(s);
    return ll_fail(err, LL_NO_SPACE, "no memory to sample from %u tokens", n);
}

void rt_sampler_finish(rt_sampler *s)
{
    free(s->key);
    free(s->weight);
    free(s->id);
    free(s->seen);
    *s = (rt_sampler){0};
}

ll_code rt_sample_check(const llmir_sample_params *p, ll_error *err)
{
    if (!(p->temperature >= 0) || isinf(p->temperature))
        return ll_fail(err, LL_USAGE, "temperature %g: wanted 0 or a positive number",
                       (double)p->temperature);
    if (!(p->top_p >= 0 && p->top_p <= 1))
        return ll_fail(err, LL_USAGE, "top_p %g: wanted 0 to 1", (double)p->top_p);
    if (!(p->min_p >= 0 && p->min_p <= 1))
        return ll_fail(err, LL_USAGE, "min_p %g: wanted 0 to 1", (double)p->min_p);
    if (!(p->repeat_penalty >= 0) || isinf(p->repeat_penalty))
        return ll_fail(err, LL_USAGE, "repeat_penalty %g: wanted a positive number",
                       (double)p->repeat_penalty);
    return LL_OK;
}

/* ---- sort keys: ascending keys are descending logits, then ascending ids ---------------- */
static uint64_t key_of(float logit, uint32_t id)
{
    uint32_t b;
    logit += 0.0f; /* -0 and 0 are equal */
    memcpy(&b, &logit, sizeof b);
    b = b >> 31 ? ~b : b | 0x80000000u;
    return (uint64_t)~b << 32 | id;
}

static uint32_t key_id(uint64_t key) { return (uint32_t)key; }

static float key_logit(uint64_t key)
{
    uint32_t b = ~(uint32_t)(key >> 32);
    float v;
    b = b >> 31 ? b & 0x7fffffffu : ~b;
    memcpy(&v, &b, sizeof v);
    return v;
}

static void sift(uint64_t *a, size_t i, size_t n)
{
    uint64_t v = a[i];
    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && a[c + 1] > a[c]) c++;
        if (a[c] <= v) break;
        a[i] = a[c];
    }
    a[i] = v;
}

static void heapify(uint64_t *a, size_t n) /* largest first */
{
    for (size_t i = n / 2; i-- > 0;) sift(a, i, n);
}

static void heap_sort(uint64_t *a, size_t n) /* qsort may allocate */
{
    heapify(a, n);
    for (size_t m = n; m-- > 1;) {
        uint64_t t = a[0];
        a[0] = a[m];
        a[m] = t;
        sift(a, 0, m);
    }
}

/* Sorts by the upper half of the keys; equal ones keep their order. `other` has room for n. */
static void radix_sort(uint64_t *a, uint64_t *other, size_t n)
{
    enum { BITS = 11, SIZE = 1 << BITS };
    uint32_t at[SIZE];
    uint64_t *to = other;
    for (int shift = 32; shift < 64; shift += BITS) {
        uint32_t sum = 0;
        memset(at, 0, sizeof at);
        for (size_t i = 0; i < n; i++) at[a[i] >> shift & (SIZE - 1)]++;
        for (int d = 0; d < SIZE; d++) {
            uint32_t count = at[d];
            at[d] = sum;
            sum += count;
        }
        for (size_t i = 0; i < n; i++) to[at[a[i] >> shift & (SIZE - 1)]++] = a[i];
        uint64_t *t = a;
        a = to;
        to = t;
    }
    memcpy(to, a, n * sizeof *a); /* three passes: the result lies in `other` */
}

/* Ascending. Keys whose upper halves are equal are in ascending order already. */
static void sort(rt_sampler *s, size_t n)
{
    if (n <= LIST)
        heap_sort(s->key, n);
    else
        radix_sort(s->key, (uint64_t *)(void *)s->weight, n);
}

/* ---- the list --------------------------------------------------------------------------- */
typedef struct list {
    rt_sampler *s;
    rt_row *row;
    const llmir_sample_params *p;
    uint32_t n;     /* keys in s->key, sorted */
    float bound;    /* no token outside has a larger logit */
    bool complete;  /* no token is outside */
    bool penalised; /* the row is not what `max` and `lse` describe */
    float top;      /* largest logit, penalties included */
    int level;      /* how often the row was read again */
} list;

static void list_from_kernel(list *l)
{
    const rt_row *r = l->row;
    for (uint32_t i = 0; i < r->n_best && r->best_id[i] >= 0 && (uint32_t)r->best_id[i] < r->n; i++)
        l->s->key[l->n++] = key_of(r->best_logit[i], (uint32_t)r->best_id[i]);
    l->complete = l->n >= r->n;
    l->bound = l->n ? key_logit(l->s->key[l->n - 1]) : INFINITY;
}

/* The LIST largest of the row by one pass with a heap of the best so far (its worst on top). */
static void list_from_scan(list *l)
{
    uint32_t n = l->row->n, m = n < LIST ? n : LIST;
    uint64_t *a = l->s->key;
    for (uint32_t i = 0; i < m; i++) a[i] = key_of(l->row->logit[i], i);
    heapify(a, m);
    float worst = key_logit(a[0]);
    for (uint32_t i = m; i < n; i++) {
        if (!(l->row->logit[i] > worst)) continue; /* an equal one has a higher id */
        a[0] = key_of(l->row->logit[i], i);
        sift(a, 0, m);
        worst = key_logit(a[0]);
    }
    heap_sort(a, m);
    l->n = m;
    l->complete = m == n;
    l->bound = key_logit(a[m - 1]);
}

/* Every token above a lower bound than before; false when the list was complete already. */
static bool list_extend(list *l)
{
    static const float depth[] = {6, 12, 24, INFINITY}; /* the last one completes the list */
    if (l->complete) return false;
    float bound = l->top - depth[l->level] * l->p->temperature;
    l->level++;
    l->n = 0;
    for (uint32_t i = 0; i < l->row->n; i++)
        if (l->row->logit[i] > bound) l->s->key[l->n++] = key_of(l->row->logit[i], i);
    sort(l->s, l->n);
    l->bound = bound;
    l->complete = bound == -INFINITY; /* tokens at -inf have no probability: none is missed */
    return true;
}

/* Tokens of the history, each once: positive logits divided by the penalty, others multiplied. */
static void penalise(list *l, const int32_t *history, size_t n)
{
    rt_sampler *s = l->s;
    float q = l->p->repeat_penalty;
    if (l->p->repeat_last && n > l->p->repeat_last) {
        history += n - l->p->repeat_last;
        n = l->p->repeat_last;
    }
    if (++s->stamp == 0) {
        memset(s->seen, 0, s->n * sizeof *s->seen);
        s->stamp = 1;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t id = (uint32_t)history[i];
        if (id >= l->row->n || s->seen[id] == s->stamp) continue;
        s->seen[id] = s->stamp;
        float v = l->row->logit[id];
        l->row->logit[id] = v > 0 ? v / q : v * q;
    }
    l->penalised = true;
}

static ll_code finite_row(const rt_row *r, ll_error *err)
{
    bool bad = false;
    float top = -INFINITY;
    if (r->max && r->lse) { /* a NaN anywhere is one in the sum */
        top = *r->max;
        bad = isnan(*r->lse);
    } else {
        for (uint32_t i = 0; i < r->n; i++) {
            bad = bad || isnan(r->logit[i]);
            top = r->logit[i] > top ? r->logit[i] : top;
        }
    }
    if (!bad && isfinite(top)) return LL_OK;
    return ll_fail(err, LL_FAILED,
                   "logits are not finite (largest %g): the model or its weights are damaged",
                   (double)top);
}

/* ---- filters ---------------------------------------------------------------------------- */
static double weight_of(const list *l, float logit)
{
    double d = ((double)logit - (double)l->top) / (double)l->p->temperature;
    return d > -700 ? exp(d) : 0;
}

typedef double vec __attribute__((vector_size(32)));
typedef float fvec __attribute__((vector_size(16)));
typedef int64_t ivec __attribute__((vector_size(32)));
enum { LANES = sizeof(vec) / sizeof(double) };

/* sum(exp((logit[i] - top) * scale)), relative error below 1e-12. exp(y) = 2^n * e^f: n is the
 * nearest integer of y / ln 2, taken from the low bits of y / ln 2 + 1.5 * 2^52; e^f by its series
 * (|f| <= ln 2 / 2). Below 2^-1000 counts as 2^-1000: nothing beside the largest, which is 1. */
static double sum_exp(const float *logit, size_t n, double top, double scale)
{
    const double magic = 0x1.8p52, ln2 = 0x1.62e42fefa39efp-1;
    const vec least = (vec){0} - 1000;
    vec sum = {0};
    double total = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        fvec x;
        memcpy(&x, logit + i, sizeof x);
        vec y = (__builtin_convertvector(x, vec) - top) * (scale / ln2);
        ivec small = y < least;
        y = (vec)(((ivec)y & ~small) | ((ivec)least & small));
        vec m = y + magic, f = (y - (m - magic)) * ln2;
        vec e = f * (1.0 / 3628800) + 1.0 / 362880;
        e = (e * f + 1.0 / 40320) * f + 1.0 / 5040;
        e = (e * f + 1.0 / 720) * f + 1.0 / 120;
        e = (e * f + 1.0 / 24) * f + 1.0 / 6;
        e = ((e * f + 0.5) * f + 1) * f + 1;
        sum += e * (vec)(((ivec)m + 1023) << 52);
    }
    for (; i < n; i++) total += exp(((double)logit[i] - top) * scale);
    for (int k = 0; k < LANES; k++) total += sum[k];
    return total;
}

/* Sum of the weights of all tokens. */
static double whole_sum(const list *l)
{
    if (l->row->lse && !l->penalised && l->p->temperature == 1)
        return exp((double)*l->row->lse - (double)l->top);
    return sum_exp(l->row->logit, l->row->n, l->top, 1 / (double)l->p->temperature);
}

/* How many tokens from the front of the list stay; UINT32_MAX: the list is too short to tell. */
static uint32_t filter(const list *l, double *whole)
{
    const llmir_sample_params *p = l->p;
    const uint64_t *key = l->s->key;
    uint32_t n = l->n, k = p->top_k && p->top_k < l->row->n ? p->top_k : 0;
    double sum = 0;
    if (k && k < n)
        n = k;
    else if (k && n < k && !l->complete)
        return UINT32_MAX;
    /* exact order: a penalty may have pushed a listed token below the bound */
    if (k && !l->complete && l->penalised && !(key_logit(key[n - 1]) > l->bound)) return UINT32_MAX;
    bool all = !k && !l->complete; /* `n` is only the front of what stays so far */
    if (p->top_p > 0 && p->top_p < 1) {
        if (all) {
            if (*whole < 0) *whole = whole_sum(l);
            sum = *whole;
        } else
            for (uint32_t i = 0; i < n; i++) sum += weight_of(l, key_logit(key[i]));
        double before = 0;
        uint32_t m = 0;
        while (m < n && (m == 0 || before < (double)p->top_p * sum))
            before += weight_of(l, key_logit(key[m++]));
        if (m == n && all && before < (double)p->top_p * sum) return UINT32_MAX;
        if (all && l->penalised && !(key_logit(key[m - 1]) > l->bound)) return UINT32_MAX;
        n = m;
        all = false;
    }
    if (p->min_p > 0) {
        uint32_t m = 0;
        while (m < n && (m == 0 || weight_of(l, key_logit(key[m])) >= (double)p->min_p)) m++;
        if (all && (m == n || (l->penalised && !(key_logit(key[m - 1]) > l->bound))))
            return UINT32_MAX;
        n = m;
        all = false;
    }
    return n;
}

/* The lowest id whose logit is the known maximum, looked for a vector's worth at a time. */
static uint32_t first_equal(const rt_row *r, float max)
{
    enum { STRIDE = 64 };
    uint32_t i = 0;
    for (; i + STRIDE <= r->n; i += STRIDE) {
        int hit = 0;
        for (int k = 0; k < STRIDE; k++) hit |= r->logit[i + (uint32_t)k] == max;
        if (hit) break;
    }
    while (i + 1 < r->n && r->logit[i] != max) i++;
    return i;
}

static void keep_one(rt_sampler *s, uint32_t id)
{
    s->id[0] = (int32_t)id;
    s->weight[0] = s->total = 1;
    s->n_kept = 1;
}

static void keep_all(list *l)
{
    rt_sampler *s = l->s;
    s->n_kept = l->row->n;
    for (uint32_t i = 0; i < l->row->n; i++) {
        s->id[i] = (int32_t)i;
        s->total += s->weight[i] = weight_of(l, l->row->logit[i]);
    }
}

static void keep_front(list *l, uint32_t n)
{
    rt_sampler *s = l->s;
    for (uint32_t i = 0; i < n; i++) s->key[i] = s->key[i] << 32 | s->key[i] >> 32; /* by id now */
    sort(s, n);
    s->n_kept = n;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t key = s->key[i] << 32 | s->key[i] >> 32;
        s->id[i] = (int32_t)key_id(key);
        s->total += s->weight[i] = weight_of(l, key_logit(key));
    }
}

ll_code rt_sample_keep(rt_sampler *s, const llmir_sample_params *p, rt_row *row,
                       const int32_t *history, size_t n_history, ll_error *err)
{
    list l = {.s = s, .row = row, .p = p};
    LL_TRY(finite_row(row, err));
    s->n_kept = 0;
    s->total = 0;
    bool penalty = p->repeat_penalty > 0 && p->repeat_penalty != 1 && n_history;
    if (penalty) penalise(&l, history, n_history);
    if (p->temperature == 0 && !penalty && !row->best_id && row->max)
        return keep_one(s, first_equal(row, *row->max)), LL_OK;
    if (row->best_id && !(penalty && p->repeat_penalty < 1))
        list_from_kernel(&l);
    else
        list_from_scan(&l);
    if (penalty && row->best_id) { /* listed tokens may have lost; nobody outside has gained */
        for (uint32_t i = 0; i < l.n; i++)
            s->key[i] = key_of(row->logit[key_id(s->key[i])], key_id(s->key[i]));
        heap_sort(s->key, l.n);
        if (!l.complete && !(key_logit(s->key[0]) > l.bound)) list_from_scan(&l);
    }
    l.top = key_logit(s->key[0]);
    if (!isfinite(l.top))
        return ll_fail(err, LL_FAILED,
                       "logits are not finite: the model or its weights are damaged");
    if (p->temperature == 0) return keep_one(s, key_id(s->key[0])), LL_OK;
    bool filtered =
        (p->top_k && p->top_k < row->n) || (p->top_p > 0 && p->top_p < 1) || p->min_p > 0;
    if (!filtered) return keep_all(&l), LL_OK;
    double whole = -1;
    uint32_t n;
    while ((n = filter(&l, &whole)) == UINT32_MAX && list_extend(&l)) {}
    keep_front(&l, n == UINT32_MAX ? l.n : n);
    return LL_OK;
}

int32_t rt_sample_draw(const rt_sampler *s, double u)
{
    double left = u * s->total;
    int32_t last = s->id[0];
    for (uint32_t i = 0; i < s->n_kept; i++) {
        if (s->weight[i] > 0) last = s->id[i];
        left -= s->weight[i];
        if (left < 0) return last;
    }
    return last; /* rounding ate the rest */
}

double rt_sample_random(uint64_t seed, uint64_t position)
{
    uint64_t z = seed + (position + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

/* compare.c: compare FIXTURE.f32.json FLOAT.so [FIXTURE.quant.json INT8.so]
 *
 * The float module against logits that other software computed from the same weights in float:
 * every logit of the fixture within 1e-3, the same greedy ids up to the first step whose margin is
 * under 2e-3. Then the module with 8-bit activations against the float one, token by token on the
 * float run's text: mean and 99th percentile of the KL divergence at most 1.10 times what the
 * fixture records for its own 8-bit run. */
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llmir/llmir.h>

enum { MAX_TOKENS = 2048, MAX_POSITIONS = 4096 };

typedef struct module {
    llmir_model *model;
    llmir_engine *engine;
    uint32_t vocab;
} module;

static llmir_error err;

static void check(int rc)
{
    if (rc == LLMIR_OK) return;
    printf("FAILED: %s\n", err.msg);
    exit(1);
}

static module open_module(const char *path)
{
    module m;
    llmir_model_info info = LLMIR_INIT(llmir_model_info);
    llmir_engine_params p = {.size = sizeof p,
                             .kv_dtype = "f32",
                             .context = MAX_TOKENS,
                             .max_rows = 64};
    check(llmir_open(path, NULL, &m.model, &err));
    check(llmir_model_get_info(m.model, &info, &err));
    check(llmir_engine_create(m.model, &p, &m.engine, &err));
    m.vocab = info.vocab;
    return m;
}

static void close_module(module *m)
{
    llmir_engine_destroy(m->engine);
    llmir_close(m->model);
}

static size_t numbers(const json_t *list, int32_t *out)
{
    size_t n = json_array_size(list);
    if (n > MAX_TOKENS) exit(1);
    for (size_t i = 0; i < n; i++) out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

/* Logits at the last prompt position and behind each of gen[0..n_gen - 1): n_gen rows. */
static float *forced(const module *m, const int32_t *ids, size_t n, const int32_t *gen,
                     size_t n_gen)
{
    llmir_session *s;
    float *rows = malloc(n_gen * m->vocab * sizeof *rows);
    if (!rows) exit(6);
    check(llmir_session_create(m->engine, &s, &err));
    llmir_feed f = {.size = sizeof f, .session = s, .tokens = ids, .n_tokens = n, .logits = rows};
    check(llmir_step(m->engine, &f, 1, NULL, &err));
    f = (llmir_feed){.size = sizeof f,
                     .session = s,
                     .tokens = gen,
                     .n_tokens = n_gen - 1,
                     .logits = rows + m->vocab,
                     .want = LLMIR_WANT_ALL};
    if (n_gen > 1) check(llmir_step(m->engine, &f, 1, NULL, &err));
    llmir_session_destroy(s);
    return rows;
}

/* Greedy ids, one token at a time. */
static void greedy(const module *m, const int32_t *ids, size_t n, int32_t *out, size_t n_gen)
{
    llmir_session *s;
    check(llmir_session_create(m->engine, &s, &err));
    for (size_t i = 0; i < n_gen; i++) {
        llmir_feed f = {.size = sizeof f,
                        .session = s,
                        .tokens = i ? &out[i - 1] : ids,
                        .n_tokens = i ? 1 : n};
        check(llmir_step(m->engine, &f, 1, NULL, &err));
        out[i] = f.next;
    }
    llmir_session_destroy(s);
}

static double worst_of(const json_t *pairs, const float *row)
{
    double worst = 0;
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        const json_t *p = json_array_get(pairs, i);
        double d = fabs(row[json_integer_value(json_array_get(p, 0))] -
                        json_number_value(json_array_get(p, 1)));
        worst = d > worst ? d : worst;
    }
    return worst;
}

typedef struct tally {
    double worst, kl[MAX_POSITIONS], peer[MAX_POSITIONS];
    size_t n_kl, n_peer, wrong_ids, same, positions;
} tally;

static void check_float(tally *t, const module *m, const json_t *item, const int32_t *ids, size_t n,
                        const int32_t *gen, size_t n_gen, const float *rows)
{
    static int32_t got[MAX_TOKENS];
    const json_t *margin = json_object_get(item, "margin"), *top = json_object_get(item, "top10"),
                 *last = json_object_get(item, "last");
    double d = worst_of(json_object_get(last, "top50"), rows), sum = 0, square = 0;
    for (uint32_t i = 0; i < m->vocab; i++) sum += rows[i], square += (double)rows[i] * rows[i];
    double mean = fabs(sum / m->vocab - json_number_value(json_object_get(last, "mean")));
    double l2 = fabs(sqrt(square) / json_number_value(json_object_get(last, "l2")) - 1);
    if (mean > 1e-3 || l2 > 1e-5)
        printf("item '%s': mean off by %g, norm by %g\n",
               json_string_value(json_object_get(item, "kind")), mean, l2),
            t->wrong_ids++;
    for (size_t i = 0; i < json_array_size(top) && i < n_gen; i++) {
        double e = worst_of(json_array_get(top, i), rows + i * m->vocab);
        d = e > d ? e : d;
    }
    t->worst = d > t->worst ? d : t->worst;
    greedy(m, ids, n, got, n_gen);
    for (size_t i = 0; i < n_gen; i++) {
        if (json_number_value(json_array_get(margin, i)) < 2e-3) break;
        if (got[i] != gen[i]) {
            printf("item '%s': greedy id %zu is %d, wanted %d\n",
                   json_string_value(json_object_get(item, "kind")), i, got[i], gen[i]);
            t->wrong_ids++;
            break;
        }
    }
}

static double divergence(const float *p, const float *q, uint32_t n)
{
    double mp = -INFINITY, mq = -INFINITY, zp = 0, zq = 0, kl = 0;
    for (uint32_t i = 0; i < n; i++) mp = p[i] > mp ? p[i] : mp, mq = q[i] > mq ? q[i] : mq;
    for (uint32_t i = 0; i < n; i++) zp += exp(p[i] - mp), zq += exp(q[i] - mq);
    double lp = mp + log(zp), lq = mq + log(zq);
    for (uint32_t i = 0; i < n; i++) {
        double a = p[i] - lp;
        if (a > -60) kl += exp(a) * (a - (q[i] - lq));
    }
    return kl;
}

static uint32_t best(const float *row, uint32_t n)
{
    uint32_t b = 0;
    for (uint32_t i = 1; i < n; i++)
        if (row[i] > row[b]) b = i;
    return b;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double *v, size_t n, double p) /* linear between neighbours */
{
    if (!n) return NAN;
    qsort(v, n, sizeof *v, by_value);
    double at = p * (double)(n - 1);
    size_t i = (size_t)at;
    return i + 1 < n ? v[i] + (at - (double)i) * (v[i + 1] - v[i]) : v[i];
}

static double average(const double *v, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++) s += v[i];
    return n ? s / (double)n : NAN;
}

static void check_int8(tally *t, const module *q, const json_t *peer, const int32_t *ids, size_t n,
                       const int32_t *gen, size_t n_gen, const float *rows)
{
    float *got = forced(q, ids, n, gen, n_gen);
    const json_t *kl = json_object_get(json_object_get(peer, "vs_f32"), "kl");
    for (size_t i = 0; i < n_gen && i < json_array_size(kl) && t->n_kl < MAX_POSITIONS; i++) {
        t->kl[t->n_kl++] = divergence(rows + i * q->vocab, got + i * q->vocab, q->vocab);
        t->peer[t->n_peer++] = json_number_value(json_array_get(kl, i));
        t->same += best(rows + i * q->vocab, q->vocab) == best(got + i * q->vocab, q->vocab);
    }
    free(got);
}

static int report(tally *t, bool int8)
{
    bool ok = t->worst <= 1e-3 && !t->wrong_ids;
    printf("float: largest difference of a logit %.2e (limit 1e-3), wrong ids %zu\n", t->worst,
           t->wrong_ids);
    if (!int8) return !ok;
    double same = 100.0 * (double)t->same / (double)t->n_kl;
    double mean = average(t->kl, t->n_kl), peer_mean = average(t->peer, t->n_peer);
    double p99 = percentile(t->kl, t->n_kl, 0.99), peer_p99 = percentile(t->peer, t->n_peer, 0.99);
    printf("int8: KL mean %.5f (limit %.5f), 99th percentile %.5f (limit %.5f), same best token "
           "%.1f %%, %zu positions\n",
           mean, 1.1 * peer_mean, p99, 1.1 * peer_p99, same, t->n_kl);
    return !(ok && mean <= 1.1 * peer_mean && p99 <= 1.1 * peer_p99);
}

static json_t *load(const char *path)
{
    json_error_t e;
    json_t *j = json_load_file(path, 0, &e);
    if (!j) printf("%s: %s\n", path, e.text), exit(2);
    return j;
}

int main(int argc, char **argv)
{
    static tally t;
    static int32_t ids[MAX_TOKENS], gen[MAX_TOKENS];
    if (argc != 3 && argc != 5)
        return fprintf(stderr,
                       "usage: compare FIXTURE.f32.json FLOAT.so [FIXTURE.quant.json INT8.so]\n"),
               2;
    bool int8 = argc == 5;
    json_t *want = load(argv[1]), *peer = int8 ? load(argv[3]) : NULL,
           *items = json_object_get(want, "items");
    module f = open_module(argv[2]), q = int8 ? open_module(argv[4]) : (module){0};
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        size_t n = numbers(json_object_get(item, "ids"), ids),
               n_gen = numbers(json_object_get(item, "gen"), gen);
        float *rows = forced(&f, ids, n, gen, n_gen);
        check_float(&t, &f, item, ids, n, gen, n_gen, rows);
        if (int8)
            check_int8(&t, &q, json_array_get(json_object_get(peer, "items"), i), ids, n, gen,
                       n_gen, rows);
        free(rows);
    }
    int rc = report(&t, int8);
    close_module(&f);
    if (int8) close_module(&q);
    json_decref(want);
    json_decref(peer);
    return rc;
}

/*
 * Correlations and paired comparisons, kept in the store because the bootstrap of a large table takes seconds. What is
 * kept is a list of numbers under a key over the vectors and the settings of the resampling; nothing here knows rows.
 */
#include "pipeline/child.h"
#include "pipeline/run.h"

#include <bosskit/file.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_MOST 16

/** Numbers of one kind: where they go, and how they are made when the store has none. */
struct cached {
    const char *kind;
    double *at[N_MOST];
    int n;
    int (*compute)(void *user, struct bk_error *err);
    void *user;
};

static int out_of_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for results");
}

static int save(const struct cached *v, struct bk_claim *c, const json_t *identity, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    json_t *a = json_array();
    for (int i = 0; a && i < v->n; i++)
        json_array_append_new(a, isfinite(*v->at[i]) ? json_real(*v->at[i]) : json_null());
    char *text = a ? json_dumps(a, JSON_COMPACT) : NULL;
    bk_text_addf(&path, "%s/correlation.json", c->dir);
    int rc = text ? bk_file_write(bk_text_get(&path), text, strlen(text), err) : out_of_memory(err);
    if (!rc)
        rc = bk_store_publish(c, identity, NULL, err);
    free(text);
    json_decref(a);
    bk_text_release(&path);
    return rc;
}

static int load(const struct cached *v, const struct bk_claim *c, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    char *data = NULL;
    size_t n = 0;
    bk_text_addf(&path, "%s/correlation.json", c->dir);
    int rc = bk_file_read(bk_text_get(&path), 1u << 20, &data, &n, err);
    json_t *a = rc ? NULL : json_loadb(data, n, 0, NULL);
    if (!rc && json_array_size(a) != (size_t)v->n)
        rc = bk_fail(err, BK_EDATA, "'%s' is damaged", bk_text_get(&path));
    for (int i = 0; !rc && i < v->n; i++) {
        const json_t *number = json_array_get(a, (size_t)i);
        *v->at[i] = json_is_number(number) ? json_number_value(number) : NAN;
    }
    json_decref(a);
    bk_free(data);
    bk_text_release(&path);
    return rc;
}

/** Takes `id` over. */
static int get(const struct bk_plan *p, const struct cached *v, json_t *id, struct bk_error *err)
{
    struct bk_claim c = BK_CLAIM_INIT;
    char key[65];
    int rc = id ? bk_store_key(id, key, err) : out_of_memory(err);

    if (!rc)
        rc = bk_store_claim(p->store, v->kind, key, bk__interrupted, &c, err);
    if (!rc && c.state == BK_STAGE_HIT) {
        rc = load(v, &c, err);
    } else if (!rc) {
        rc = v->compute(v->user, err);
        if (!rc)
            rc = save(v, &c, id, err);
    }
    bk_claim_release(&c);
    json_decref(id);
    return rc;
}

static void digest_of(const double *const *vector, int n_vectors, size_t n, char out[65])
{
    struct bk_sha256 s;
    bk_sha256_init(&s);
    for (int i = 0; i < n_vectors; i++)
        bk_sha256_add(&s, vector[i], n * sizeof **vector);
    bk_sha256_hex(&s, out);
}

/* ---- one rating ------------------------------------------------------------------------------------------------- */

struct correlating {
    const struct bk_row *row;
    const double *rating, *truth;
    size_t n;
    struct bk_report_entry *e;
};

static int correlate(void *user, struct bk_error *err)
{
    const struct correlating *c = user;
    struct bk_report_entry *e = c->e;
    BK_TRY(bk_correlate(c->rating, c->truth, c->n, &e->corr, err));
    BK_TRY(bk_top_k(c->rating, c->truth, c->n, e->top_k, &e->top, err));
    if (!e->has_ci)
        return BK_OK;
    return bk_bootstrap(c->rating, c->truth, c->n, (int)c->row->report.bootstrap, 0.95, (uint64_t)c->row->top.seed, &e->ci,
                        err);
}

int bk__correlate_cached(const struct bk_plan *p, const struct bk_row *row, const double *rating, const double *truth,
                         size_t n, struct bk_report_entry *e, struct bk_error *err)
{
    const double *const vectors[] = { rating, truth };
    struct correlating c = { row, rating, truth, n, e };
    char digest[65];

    e->n = e->corr.n = n;
    e->top_k = (size_t)row->report.top_k < n ? (size_t)row->report.top_k : n;
    e->has_ci = row->report.bootstrap > 0;
    const struct cached v = {
        "correlate",
        { &e->corr.kendall_tau, &e->corr.spearman_rho, &e->corr.pearson_r, &e->ci.kendall_tau.low, &e->ci.kendall_tau.high,
          &e->ci.spearman_rho.low, &e->ci.spearman_rho.high, &e->ci.pearson_r.low, &e->ci.pearson_r.high, &e->top.tau_top,
          &e->top.precision, &e->top.regret, &e->top.mean_truth },
        13, correlate, &c
    };
    digest_of(vectors, 2, n, digest);
    return get(p, &v, json_pack("{s:s,s:i,s:s,s:I,s:I,s:I}", "stage", "correlate", "numerics", BK_ENGINE_NUMERICS, "data",
                                digest, "bootstrap", (json_int_t)row->report.bootstrap, "top_k", (json_int_t)e->top_k,
                                "seed", (json_int_t)row->top.seed),
               err);
}

/* ---- two ratings ------------------------------------------------------------------------------------------------ */

struct comparing {
    const struct bk_row *row;
    const double *a, *b, *truth;
    struct bk_report_pair *pair;
};

static int compare(void *user, struct bk_error *err)
{
    const struct comparing *c = user;
    return bk_paired_test(c->a, c->b, c->truth, c->pair->n, (int)c->row->report.bootstrap, 0.95, (uint64_t)c->row->top.seed,
                          &c->pair->test, err);
}

int bk__compare_cached(const struct bk_plan *p, const struct bk_row *row, const double *a, const double *b,
                       const double *truth, size_t n, struct bk_report_pair *pair, struct bk_error *err)
{
    const double *const vectors[] = { a, b, truth };
    struct comparing c = { row, a, b, truth, pair };
    struct bk_paired *t = &pair->test;
    char digest[65];
    const struct cached v = {
        "compare",
        { &t->difference.kendall_tau, &t->difference.spearman_rho, &t->difference.pearson_r, &t->ci.kendall_tau.low,
          &t->ci.kendall_tau.high, &t->ci.spearman_rho.low, &t->ci.spearman_rho.high, &t->ci.pearson_r.low,
          &t->ci.pearson_r.high, &t->p_tau, &t->p_rho, &t->p_r },
        12, compare, &c
    };

    pair->n = t->difference.n = n;
    digest_of(vectors, 3, n, digest);
    return get(p, &v, json_pack("{s:s,s:i,s:s,s:I,s:I}", "stage", "compare", "numerics", BK_ENGINE_NUMERICS, "data", digest,
                                "bootstrap", (json_int_t)row->report.bootstrap, "seed", (json_int_t)row->top.seed),
               err);
}

/*
 * From finished stages to a report: ratings of the truth's architectures, sign turned so that higher is better,
 * correlations, what was found. Architectures without a finite rating or truth are left out and counted. Comparisons of
 * rows, convergence and named architectures are results_more.c's.
 */
#include "pipeline/child.h"
#include "pipeline/run.h"

#include <bosskit/file.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int out_of_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for results");
}

/* ---- ratings of a row --------------------------------------------------------------------------------------------- */

static const struct bk_stage *first_failure(const struct bk_plan_row *r)
{
    for (int k = 0; k < BK_MAX_BLOCKS; k++) {
        if (r->train[k] && r->train[k]->error.code)
            return r->train[k];
        if (r->rate[k] && r->rate[k]->error.code)
            return r->rate[k];
    }
    if (r->score && r->score->error.code)
        return r->score;
    return r->search && r->search->error.code ? r->search : NULL;
}

int bk__rate_by_tables(const struct bk_plan_row *r, const struct bk_block_table *table, double *rating,
                       struct bk_error *err)
{
    const struct bk_rater_options *o = &r->row->rater;
    for (size_t i = 0; i < r->truth->n; i++)
        BK_TRY(bk_arch_score(&r->row->space, table, &r->truth->arch[i], o->n_weights ? o->weight : NULL, o->offset,
                             (int)o->round_decimals, &rating[i], err));
    return BK_OK;
}

static int rate_by_blocks(const struct bk_plan_row *r, double *rating, struct bk_error *err)
{
    struct bk_block_table table[BK_MAX_BLOCKS] = { { 0 } };
    for (int32_t k = 0; k < r->row->space.info.n_blocks; k++)
        table[k] = r->rate[k]->table;
    return bk__rate_by_tables(r, table, rating, err);
}

static int read_scores(const struct bk_stage *s, double *rating, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    bk_text_addf(&path, "%s/scores.csv", s->dir);
    int rc = bk__pairs_read(bk_text_get(&path), (const char *const *)s->truth->text, rating, s->truth->n, err);
    bk_text_release(&path);
    return rc;
}

/** Points, then correlations over those with both values. */
static int fill_entry(const struct bk_plan *p, const struct bk_plan_row *r, double *rating, uint32_t better,
                      struct bk_report_entry *e, struct bk_error *err)
{
    const struct bk_truth_set *t = r->truth;
    double *x = bk_zalloc((t->n + 1) * sizeof *x), *y = bk_zalloc((t->n + 1) * sizeof *y);
    size_t n = 0;
    int rc = BK_OK;

    e->better = bk_strdup(better == BK_LOWER_IS_BETTER ? "lower" : "higher");
    e->point = bk_zalloc((t->n + 1) * sizeof *e->point);
    if (!x || !y || !e->point || !e->better)
        rc = out_of_memory(err);
    for (size_t i = 0; !rc && i < t->n; i++) {
        double v = better == BK_LOWER_IS_BETTER ? -rating[i] : rating[i];
        struct bk_report_point point = { bk_strdup(t->text[i]), isfinite(v) ? v : NAN, t->value[i] };
        e->point[e->n_points++] = point;
        if (isfinite(v) && isfinite(t->value[i])) {
            x[n] = v;
            y[n++] = t->value[i];
        }
    }
    e->n_excluded = t->n - n;
    if (!rc && n < 3)
        rc = bk_fail(err, BK_EDATA, "only %zu architectures have a finite rating and truth", n);
    if (!rc)
        rc = bk__correlate_cached(p, r->row, x, y, n, e, err);
    bk_free(x);
    bk_free(y);
    return rc;
}

/** What rater.offset adds to a summed rating; searchers work without it. */
static double offset_sum(const struct bk_row *row)
{
    double sum = 0;
    if (!(bk_row_rater(row)->flags & BK_RATER_BLOCKS))
        return 0;
    for (int32_t k = 0; k < row->space.info.n_blocks; k++)
        sum += (row->rater.n_weights ? row->rater.weight[k] : 1) * row->rater.offset;
    return sum;
}

static int fill_found(const struct bk_plan_row *r, struct bk_report_entry *e, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    char *data = NULL;
    size_t n = 0;

    if (!r->search)
        return BK_OK;
    bk_text_addf(&path, "%s/found.json", r->search->dir);
    int rc = bk_file_read(bk_text_get(&path), 1u << 20, &data, &n, err);
    json_t *o = rc ? NULL : json_loadb(data, n, 0, NULL);
    const char *arch = json_string_value(json_object_get(o, "arch"));
    if (!rc && !arch)
        rc = bk_fail(err, BK_EDATA, "'%s' is damaged", bk_text_get(&path));
    if (!rc) {
        e->found_arch = bk_strdup(arch);
        e->found_score = json_number_value(json_object_get(o, "score")) + offset_sum(r->row);
        e->found_params = json_number_value(json_object_get(o, "params"));
        e->found_macs = json_number_value(json_object_get(o, "macs"));
        e->found_truth = NAN;
        for (size_t i = 0; i < r->truth->n; i++) {
            if (strcmp(r->truth->text[i], arch) == 0)
                e->found_truth = r->truth->value[i];
        }
    }
    json_decref(o);
    bk_free(data);
    bk_text_release(&path);
    return rc;
}

/* ---- entries ------------------------------------------------------------------------------------------------------ */

/** Names are also file names: two that would fall together get a number. */
static char *unique_name(const struct bk_report *r, const char *wanted)
{
    char name[256], file[160], other[160];
    snprintf(name, sizeof name, "%s", wanted);
    for (int k = 2, again = 1; again; k++) {
        again = 0;
        bk__report_file_name(name, file, sizeof file);
        for (size_t i = 0; i < r->n; i++) {
            bk__report_file_name(r->entry[i].name, other, sizeof other);
            again = again || strcmp(file, other) == 0;
        }
        if (again)
            snprintf(name, sizeof name, "%.240s #%d", wanted, k);
    }
    return bk_strdup(name);
}

static struct bk_report_entry *new_entry(struct bk_report *out, const char *name)
{
    struct bk_report_entry *grown;
    char *own = unique_name(out, name);
    grown = own ? bk_realloc(out->entry, (out->n + 1) * sizeof *grown) : NULL;
    if (!grown) {
        bk_free(own);
        return NULL;
    }
    out->entry = grown;
    struct bk_report_entry *e = &out->entry[out->n++];
    memset(e, 0, sizeof *e);
    e->name = own;
    e->found_truth = e->found_published = NAN;
    return e;
}

static char *settings_text(const struct bk_plan_row *r)
{
    static const char *const level[] = { "", "fast", "repeatable", "reference" };
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "seed %lld, %s, %s, backend %s", (long long)r->row->top.seed, bk_dtype_name(r->setting.dtype),
                 level[r->setting.determinism], r->setting.backend);
    if (r->truth->alone)
        bk_text_addf(&t, ", truth seed %lld", (long long)r->row->truth.seed);
    return bk_text_take(&t);
}

/** Errors that belong to the row become its failure; running out of memory or time does not. */
static int settle(struct bk_report_entry *e, int rc, struct bk_error *err)
{
    if (!rc || rc == BK_ENOMEM || rc == BK_EINTERRUPTED)
        return rc;
    bk_free(e->failure);
    e->failure = bk_strdup(err->text);
    e->n = 0;
    return e->failure ? BK_OK : out_of_memory(err);
}

static void take_published(const struct bk_published *pub, struct bk_report_entry *e)
{
    e->has_published[0] = pub->has_tau;
    e->has_published[1] = pub->has_rho;
    e->has_published[2] = pub->has_r;
    e->published[0] = pub->kendall_tau;
    e->published[1] = pub->spearman_rho;
    e->published[2] = pub->pearson_r;
    e->found_published = pub->has_found ? pub->found_truth : NAN;
    e->published_source = bk_strdup(pub->source ? pub->source : "");
}

/** A row of published values alone. */
static int add_quoted(struct bk_plan_row *r, struct bk_report *out, struct bk_error *err)
{
    const struct bk_published *pub = &r->row->published;
    if (r->row->n_named && !pub->has_tau && !pub->has_rho && !pub->has_r && !pub->has_found)
        return BK_OK;           /* a row of named architectures */
    struct bk_report_entry *e = new_entry(out, r->row->name);
    if (!e)
        return out_of_memory(err);
    r->entry = out->n - 1;
    e->uncorrelated = true;
    e->rater = bk_strdup("");
    e->settings = bk_strdup("");
    take_published(&r->row->published, e);
    return BK_OK;
}

static int add_ratings(const struct bk_plan *p, const struct bk_plan_row *r, double *rating, struct bk_report_entry *e,
                       struct bk_error *err)
{
    BK_TRY(r->score ? read_scores(r->score, rating, err) : rate_by_blocks(r, rating, err));
    BK_TRY(fill_entry(p, r, rating, bk_row_rater(r->row)->better, e, err));
    return bk__add_epochs(p, r, e, err);
}

static int add_row(const struct bk_plan *p, struct bk_plan_row *r, struct bk_report *out, struct bk_error *err)
{
    r->entry = SIZE_MAX;
    if (r->row->top.quoted)
        return add_quoted(r, out, err);
    if (!bk_row_rates(r->row))
        return BK_OK;
    struct bk_report_entry *e = new_entry(out, r->row->name);
    const struct bk_stage *failed = first_failure(r);
    double *rating = bk_zalloc((r->truth->n + 1) * sizeof *rating);
    int rc = e && rating ? BK_OK : out_of_memory(err);

    if (!rc) {
        r->entry = out->n - 1;
        e->rater = bk_strdup(r->row->part[BK_SLOT_RATER]->found->plugin->name);
        e->settings = settings_text(r);
        take_published(&r->row->published, e);
        if (failed)
            rc = bk_fail(err, failed->error.code, "%s: %s", failed->label, failed->error.text);
        e->uncorrelated = r->truth->n == 0;
        bk__add_blocks(r, e);
        if (!rc && r->truth->n)
            rc = add_ratings(p, r, rating, e, err);
        if (!rc)
            rc = fill_found(r, e, err);
        rc = settle(e, rc, err);
    }
    bk_free(rating);
    return rc;
}

static int space_scores(const struct bk_plan_row *r, const char *name, double *rating, struct bk_error *err)
{
    for (size_t i = 0; i < r->truth->n; i++)
        BK_TRY(r->row->space.iface->score(r->row->space.state, name, &r->truth->arch[i], &rating[i], err));
    return BK_OK;
}

static int add_baseline(const struct bk_plan *p, const struct bk_plan_row *r, int32_t i, struct bk_report *out,
                        struct bk_error *err)
{
    const struct bk_baseline *b = &r->row->baseline[i];
    const struct bk_rater_iface *iface = b->rater ? bk_instance_iface(b->rater) : NULL;
    struct bk_report_entry *e = new_entry(out, b->name);
    double *rating = bk_zalloc((r->truth->n + 1) * sizeof *rating);
    int rc = e && rating ? BK_OK : out_of_memory(err);

    if (!rc) {
        const struct bk_stage *s = r->baseline[i];
        e->is_baseline = true;
        e->rater = bk_strdup(b->name);
        e->settings = bk_strdup("");
        if (s && s->error.code)
            rc = bk_fail(err, s->error.code, "%s: %s", s->label, s->error.text);
        else
            rc = s ? read_scores(s, rating, err) : space_scores(r, b->name, rating, err);
        if (!rc)
            rc = fill_entry(p, r, rating, iface ? iface->better : BK_HIGHER_IS_BETTER, e, err);
        rc = settle(e, rc, err);
    }
    bk_free(rating);
    return rc;
}

/** Rows that share a truth share their baselines: has an earlier row the same one? */
static bool is_repeated(const struct bk_plan *p, const struct bk_plan_row *row, int32_t i)
{
    for (const struct bk_plan_row *r = p->row; r < row; r++) {
        for (int32_t j = 0; r->truth == row->truth && j < r->row->n_baselines; j++) {
            if (strcmp(r->row->baseline[j].name, row->row->baseline[i].name) == 0)
                return true;
        }
    }
    return false;
}

static char *device_text(const struct bk_plan *p)
{
    const struct bk_setting *s = &p->row[0].setting;
    struct bk_text t = BK_TEXT_INIT;
    for (size_t i = 0; i < p->n_rows && !s->found; i++)         /* the first row that computes anything */
        s = &p->row[i].setting;
    bk_text_addf(&t, "%s%s%s%s%s", s->backend, s->device[0] ? ": " : "", s->device, s->libraries[0] ? "; " : "",
                 s->libraries);
    return bk_text_take(&t);
}

int bk_plan_results(struct bk_plan *p, struct bk_report *out, struct bk_error *err)
{
    struct bk_report r = { 0 };
    int rc = BK_OK;

    r.name = bk_strdup(p->experiment->name);
    r.title = bk_strdup(p->experiment->title);
    r.version = bk_strdup(BK_VERSION);
    r.device = device_text(p);
    for (size_t i = 0; !rc && i < p->n_rows; i++)
        rc = add_row(p, &p->row[i], &r, err);
    for (size_t i = 0; !rc && i < p->n_rows; i++) {
        const struct bk_truth_set *t = p->row[i].truth;
        for (int32_t j = 0; !rc && t && t->n && j < p->row[i].row->n_baselines; j++) {
            if (!is_repeated(p, &p->row[i], j))
                rc = add_baseline(p, &p->row[i], j, &r, err);
        }
    }
    if (!rc)
        rc = bk__add_pairs(p, &r, err);
    if (!rc)
        rc = bk__add_archs(p, &r, err);
    if (!rc)
        rc = bk__add_retrained(p, &r, err);
    if (rc)
        bk_report_release(&r);
    else
        *out = r;
    return rc;
}

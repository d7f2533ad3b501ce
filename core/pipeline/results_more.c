/*
 * What a report has beside its rows: comparisons of rows, correlations during training, named and found architectures.
 */
#include "pipeline/child.h"
#include "pipeline/run.h"

#include <bosskit/file.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST_ROWS_ALL_PAIRS 6
#define MAX_DRAWN (BK_MAX_BLOCKS * BK_MAX_LAYERS)

static int out_of_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for results");
}

/* ---- comparisons -------------------------------------------------------------------------------------------- */

static int compare(const struct bk_plan *p, const struct bk_plan_row *ra, const struct bk_report_entry *ea,
                   const struct bk_report_entry *eb, struct bk_report *out, struct bk_error *err)
{
    double *a = bk_zalloc((ea->n_points + 1) * sizeof *a), *b = bk_zalloc((ea->n_points + 1) * sizeof *b);
    double *truth = bk_zalloc((ea->n_points + 1) * sizeof *truth);
    struct bk_report_pair *grown = bk_realloc(out->pair, (out->n_pairs + 1) * sizeof *grown);
    size_t n = 0;
    int rc = a && b && truth && grown ? BK_OK : out_of_memory(err);

    if (grown)
        out->pair = grown;
    for (size_t i = 0; !rc && i < ea->n_points; i++) {
        const struct bk_report_point *x = &ea->point[i], *y = &eb->point[i];
        if (!isfinite(x->rating) || !isfinite(y->rating) || !isfinite(x->truth))
            continue;
        a[n] = x->rating;
        b[n] = y->rating;
        truth[n++] = x->truth;
    }
    if (!rc && n >= 3) {
        struct bk_report_pair *pair = &out->pair[out->n_pairs++];
        *pair = (struct bk_report_pair){ .a = bk_strdup(ea->name), .b = bk_strdup(eb->name) };
        rc = pair->a && pair->b ? bk__compare_cached(p, ra->row, a, b, truth, n, pair, err) : out_of_memory(err);
    }
    bk_free(a);
    bk_free(b);
    bk_free(truth);
    return rc;
}

static const struct bk_report_entry *entry_of(const struct bk_plan_row *r, const struct bk_report *out)
{
    return r->entry < out->n ? &out->entry[r->entry] : NULL;
}

static const struct bk_report_entry *measured(const struct bk_plan_row *r, const struct bk_report *out)
{
    const struct bk_report_entry *e = entry_of(r, out);
    return e && !e->failure && !e->uncorrelated ? e : NULL;
}

int bk__add_pairs(const struct bk_plan *p, struct bk_report *out, struct bk_error *err)
{
    size_t n = 0, n_before = 0;
    for (size_t i = 0; i < p->n_rows; i++)
        n += measured(&p->row[i], out) != NULL;
    for (size_t i = 0; i < p->n_rows; i++) {
        const struct bk_plan_row *r = &p->row[i];
        const struct bk_report_entry *e = measured(r, out);
        if (!e || r->row->report.bootstrap < 1 || (n_before++ > 0 && n > MOST_ROWS_ALL_PAIRS))
            continue;
        for (size_t j = i + 1; j < p->n_rows; j++) {
            const struct bk_report_entry *other = measured(&p->row[j], out);
            if (other && p->row[j].truth == r->truth)
                BK_TRY(compare(p, r, e, other, out, err));
        }
    }
    return BK_OK;
}

/* ---- blocks ------------------------------------------------------------------------------------------------------- */

static void fill_block(const struct bk_block_table *t, uint32_t better, struct bk_report_block *b)
{
    double sign = better == BK_LOWER_IS_BETTER ? -1 : 1;
    size_t best = 0, worst = 0;
    for (size_t i = 1; i < t->n; i++) {
        best = sign * t->score[i] > sign * t->score[best] ? i : best;
        worst = sign * t->score[i] < sign * t->score[worst] ? i : worst;
    }
    bk_path_format(&t->path[best], b->best);
    b->n_paths = t->n;
    b->best_rating = t->score[best];
    b->worst_rating = t->score[worst];
    b->reliability = t->has_reliability ? t->reliability : NAN;
}

void bk__add_blocks(const struct bk_plan_row *r, struct bk_report_entry *e)
{
    if (!(bk_row_rater(r->row)->flags & BK_RATER_BLOCKS))
        return;
    for (int32_t k = 0; k < r->row->space.info.n_blocks && r->rate[k] && r->rate[k]->table.n; k++, e->n_blocks++)
        fill_block(&r->rate[k]->table, bk_row_rater(r->row)->better, &e->block[k]);
}

/* ---- convergence ----------------------------------------------------------------------------------------------- */

/** Ratings of all blocks after `epoch` epochs, from what the training stages wrote. */
static int read_epoch(const struct bk_plan_row *r, int64_t epoch, struct bk_block_table *table, struct bk_error *err)
{
    char file[32];
    bk__epoch_file(epoch, file);
    for (int32_t k = 0; k < r->row->space.info.n_blocks; k++) {
        struct bk_text path = BK_TEXT_INIT;
        bk_text_addf(&path, "%s/%s", r->train[k]->dir, file);
        int rc = bk_ratings_read(bk_text_get(&path), &r->row->space, k, r->rate[k]->table.entry, &table[k], err);
        bk_text_release(&path);
        BK_TRY(rc);
    }
    return BK_OK;
}

/** Correlation over the architectures with finite rating and truth. */
static int correlate(const struct bk_plan_row *r, double *rating, double *truth, struct bk_correlation *out,
                     struct bk_error *err)
{
    double sign = bk_row_rater(r->row)->better == BK_LOWER_IS_BETTER ? -1 : 1;
    size_t n = 0;
    for (size_t i = 0; i < r->truth->n; i++) {
        if (!isfinite(rating[i]) || !isfinite(r->truth->value[i]))
            continue;
        rating[n] = sign * rating[i];
        truth[n++] = r->truth->value[i];
    }
    return bk_correlate(rating, truth, n, out, err);
}

static int add_epoch(const struct bk_plan_row *r, int64_t epoch, double *rating, double *truth, struct bk_report_entry *e,
                     struct bk_error *err)
{
    struct bk_block_table table[BK_MAX_BLOCKS] = { { 0 } };
    struct bk_report_epoch *point = &e->epoch[e->n_epochs];
    int rc = read_epoch(r, epoch, table, err);

    if (!rc)
        rc = bk__rate_by_tables(r, table, rating, err);
    if (!rc)
        rc = correlate(r, rating, truth, &point->corr, err);
    if (!rc) {
        point->epoch = epoch;
        e->n_epochs++;
    }
    for (int k = 0; k < BK_MAX_BLOCKS; k++)
        bk_block_table_release(&table[k]);
    return rc;
}

int bk__add_epochs(const struct bk_plan *p, const struct bk_plan_row *r, struct bk_report_entry *e, struct bk_error *err)
{
    int64_t every = bk_row_rate_every(r->row), epochs = bk_row_epochs(r->row);
    size_t n = r->truth->n + 1;
    (void)p;
    if (!every)
        return BK_OK;
    double *rating = bk_zalloc(n * sizeof *rating), *truth = bk_zalloc(n * sizeof *truth);
    e->epoch = bk_zalloc((size_t)(epochs / every + 1) * sizeof *e->epoch);
    int rc = rating && truth && e->epoch ? BK_OK : out_of_memory(err);
    for (int64_t i = every; !rc && i < epochs; i += every)
        rc = add_epoch(r, i, rating, truth, e, err);
    if (!rc)
        e->epoch[e->n_epochs++] = (struct bk_report_epoch){ epochs, e->corr };
    bk_free(rating);
    bk_free(truth);
    return rc;
}

/* ---- architectures -------------------------------------------------------------------------------------------------- */

static int draw(const struct bk_row *row, const struct bk_arch *arch, struct bk_report_arch *a, struct bk_error *err)
{
    const struct bk_space_iface *space = row->space.iface;
    if (!space->draw)
        return BK_OK;
    a->layer = bk_zalloc(MAX_DRAWN * sizeof *a->layer);
    if (!a->layer)
        return out_of_memory(err);
    BK_TRY(space->draw(row->space.state, arch, a->layer, MAX_DRAWN, &a->n_layers, err));
    if (a->n_layers < 0 || a->n_layers > MAX_DRAWN)
        return bk_fail(err, BK_EPLUGIN, "space '%s' draws %d layers", row->space.name, (int)a->n_layers);
    for (int32_t i = 0; i < a->n_layers; i++) {
        if (a->layer[i].scale < 1 || !memchr(a->layer[i].label, 0, sizeof a->layer[i].label))
            return bk_fail(err, BK_EPLUGIN, "space '%s' draws layer %d without scale or label", row->space.name, (int)i);
    }
    return BK_OK;
}

static struct bk_report_arch *new_arch(struct bk_report *out, const char *row, const char *name, const char *arch)
{
    struct bk_report_arch *grown = bk_realloc(out->arch, (out->n_archs + 1) * sizeof *grown);
    if (!grown)
        return NULL;
    out->arch = grown;
    struct bk_report_arch *a = &out->arch[out->n_archs++];
    *a = (struct bk_report_arch){ .row = bk_strdup(row), .name = bk_strdup(name), .arch = arch ? bk_strdup(arch) : NULL,
                                  .params = NAN, .macs = NAN, .counter = NAN, .top1 = NAN, .top5 = NAN,
                                  .published_params = NAN, .published_madds = NAN };
    return a->row && a->name && (a->arch || !arch) ? a : NULL;
}

static int add_named(const struct bk_plan_row *r, const struct bk_named_arch *n, struct bk_report *out, struct bk_error *err)
{
    struct bk_report_arch *a = new_arch(out, r->row->name, n->name, n->arch);
    struct bk_cost cost;

    if (!a)
        return out_of_memory(err);
    a->source = bk_strdup(n->source ? n->source : "");
    a->top1 = n->top1;
    a->top5 = n->top5;
    a->published_params = n->params;
    a->published_madds = n->madds;
    if (!n->arch)
        return BK_OK;
    BK_TRY(bk_space_cost(&r->row->space, &n->parsed, r->n_classes, &cost, err));
    a->params = cost.params;
    a->macs = cost.macs;
    a->counter = cost.counter;
    a->counter_name = r->row->space.info.counter ? bk_strdup(r->row->space.info.counter) : NULL;
    return draw(r->row, &n->parsed, a, err);
}

/** A drawing of what the row's search found. */
static int add_found(const struct bk_plan_row *r, struct bk_report *out, struct bk_error *err)
{
    const struct bk_report_entry *e = entry_of(r, out);
    struct bk_arch arch;

    if (!e || e->failure || !e->found_arch || !r->row->space.iface->draw)
        return BK_OK;
    BK_TRY(bk_space_parse(&r->row->space, e->found_arch, &arch, err));
    struct bk_text name = BK_TEXT_INIT;
    bk_text_addf(&name, "%s: found", e->name);
    struct bk_report_arch *a = new_arch(out, e->name, bk_text_get(&name), e->found_arch);
    bk_text_release(&name);
    if (!a)
        return out_of_memory(err);
    a->is_found = true;
    return draw(r->row, &arch, a, err);
}

int bk__add_archs(const struct bk_plan *p, struct bk_report *out, struct bk_error *err)
{
    for (size_t i = 0; i < p->n_rows; i++) {
        const struct bk_plan_row *r = &p->row[i];
        for (int32_t k = 0; k < r->row->n_named; k++)
            BK_TRY(add_named(r, &r->row->named[k], out, err));
        BK_TRY(add_found(r, out, err));
    }
    return BK_OK;
}

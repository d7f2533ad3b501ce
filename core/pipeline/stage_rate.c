/*
 * Rating: the paths of one block into ratings.csv, or architectures into scores.csv. A block rating that is not finite
 * fails the stage, because no best path could be trusted; an architecture's score may be NaN and is left out later,
 * with a count.
 */
#include "pipeline/child.h"

#include <bosskit/file.h>
#include <bosskit/table.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int check_finite(const struct bk_block_table *t, struct bk_error *err)
{
    size_t bad = 0;
    char first[BK_MAX_LAYERS + 1] = "";
    for (size_t i = 0; i < t->n; i++) {
        if (!isfinite(t->score[i]) && bad++ == 0)
            bk_path_format(&t->path[i], first);
    }
    if (!bad)
        return BK_OK;
    return bk_fail(err, BK_ENUMERIC, "%zu of %zu paths have no finite rating, the first is '%s'", bad, t->n, first);
}

static int write_ratings(const struct bk_stage_job *job, const struct bk_block_table *t, const char *file,
                         struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    char (*text)[BK_MAX_LAYERS + 1] = bk_zalloc((t->n + 1) * sizeof *text);
    const char **name = bk_zalloc((t->n + 1) * sizeof *name);
    int rc = text && name ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for ratings");

    for (size_t i = 0; !rc && i < t->n; i++) {
        bk_path_format(&t->path[i], text[i]);
        name[i] = text[i];
    }
    bk_text_addf(&path, "%s/%s", job->dir, file);
    if (!rc)
        rc = bk__pairs_write(bk_text_get(&path), "path,score", name, t->score, t->n, err);
    bk_text_release(&path);
    bk_free(text);
    bk_free(name);
    return rc;
}

int bk__rate_block_into(struct bk_stage_job *job, const struct bk_bundle *trained, const char *file, double *reliability,
                        struct bk_error *err)
{
    const struct bk_instance *rater = job->row->part[BK_SLOT_RATER];
    const struct bk_rater_iface *iface = bk_instance_iface(rater);
    struct bk_block_table table = { 0 };
    int rc = iface->rate_block(rater->state, job->env, trained, &table, err);

    if (!rc)
        rc = check_finite(&table, err);
    if (!rc)
        rc = write_ratings(job, &table, file, err);
    if (reliability)
        *reliability = table.has_reliability ? table.reliability : NAN;
    bk_block_table_release(&table);
    if (rc)
        bk_context(err, "rater '%s', block %d", rater->found->plugin->name, job->env->block);
    return rc;
}

/** A number in a file of its own, so that ratings.csv stays what it is everywhere; no file where there is no number. */
static int write_reliability(const struct bk_stage_job *job, double reliability, struct bk_error *err)
{
    static const char *const name[] = { "reliability" };
    struct bk_text path = BK_TEXT_INIT;

    if (!isfinite(reliability))
        return BK_OK;
    bk_text_addf(&path, "%s/" BK__RELIABILITY_FILE, job->dir);
    int rc = bk__pairs_write(bk_text_get(&path), "name,value", name, &reliability, 1, err);
    bk_text_release(&path);
    return rc;
}

int bk__stage_rate(struct bk_stage_job *job, struct bk_error *err)
{
    const char *trained = json_string_value(json_object_get(job->spec, "trained"));
    struct bk_bundle *bundle = NULL;
    double reliability = NAN;
    int rc = trained ? bk_bundle_read(trained, &bundle, err) : BK_OK;

    if (!rc)
        rc = bk__rate_block_into(job, bundle, "ratings.csv", &reliability, err);
    if (!rc)
        rc = write_reliability(job, reliability, err);
    bk_bundle_free(bundle);
    return rc;
}

/* ---- architectures -------------------------------------------------------------------------------------- */

static int read_archs(const struct bk_stage_job *job, struct bk_arch **archs, const char ***names, size_t *n,
                      struct bk_error *err)
{
    const json_t *list = json_object_get(job->spec, "archs");
    *n = json_array_size(list);
    *archs = bk_zalloc((*n + 1) * sizeof **archs);
    *names = bk_zalloc((*n + 1) * sizeof **names);
    if (!*archs || !*names)
        return bk_fail(err, BK_ENOMEM, "out of memory for architectures");
    for (size_t i = 0; i < *n; i++) {
        (*names)[i] = json_string_value(json_array_get(list, i));
        BK_TRY(bk_space_parse(&job->row->space, (*names)[i], &(*archs)[i], err));
    }
    return BK_OK;
}

/** The row's rater, or the baseline the specification names. */
static const struct bk_instance *choose_rater(const struct bk_stage_job *job)
{
    const char *name = json_string_value(json_object_get(job->spec, "baseline"));
    for (int i = 0; name && i < job->row->n_baselines; i++) {
        if (strcmp(job->row->baseline[i].name, name) == 0)
            return job->row->baseline[i].rater;
    }
    return job->row->part[BK_SLOT_RATER];
}

int bk__stage_score(struct bk_stage_job *job, struct bk_error *err)
{
    const struct bk_instance *rater = choose_rater(job);
    const struct bk_rater_iface *iface = bk_instance_iface(rater);
    struct bk_text path = BK_TEXT_INIT;
    struct bk_arch *archs = NULL;
    const char **names = NULL;
    double *score = NULL;
    size_t n = 0;
    int rc = read_archs(job, &archs, &names, &n, err);

    if (!rc && !(score = bk_zalloc((n + 1) * sizeof *score)))
        rc = bk_fail(err, BK_ENOMEM, "out of memory for scores");
    if (!rc)
        rc = iface->rate_archs(rater->state, job->env, archs, n, score, err);
    bk_text_addf(&path, "%s/scores.csv", job->dir);
    if (!rc)
        rc = bk__pairs_write(bk_text_get(&path), "arch,score", names, score, n, err);
    bk_text_release(&path);
    bk_free(score);
    bk_free(archs);
    bk_free(names);
    if (rc)
        bk_context(err, "rater '%s'", rater->found->plugin->name);
    return rc;
}

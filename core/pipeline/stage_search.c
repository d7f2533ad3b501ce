/*
 * The search stage: block ratings to a searcher that solves, or a conversation with one that asks, about architectures
 * or about the paths of one block after the other. The result is found.json. Costs and limits are the searcher's affair.
 *
 * Where generations are rated during the search they are logged: after an interruption the searcher is asked from the start
 * again, and what was rated is known. Searches in finished tables take no time worth that.
 */
#include "pipeline/child.h"
#include "pipeline/search_blocks.h"
#include "pipeline/search_log.h"

#include <bosskit/file.h>
#include <bosskit/table.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_AT_ONCE 256

static int read_tables(const struct bk_stage_job *job, struct bk_block_table *tables, struct bk_error *err)
{
    const json_t *ratings = json_object_get(job->spec, "ratings"), *prefix = json_object_get(job->spec, "prefix");
    struct bk_path best[BK_MAX_BLOCKS] = { { 0 } };

    for (size_t k = 0; k < json_array_size(prefix) && k < BK_MAX_BLOCKS; k++)
        BK_TRY(bk_path_parse(json_string_value(json_array_get(prefix, k)), &best[k], err));
    for (size_t k = 0; k < json_array_size(ratings) && k < BK_MAX_BLOCKS; k++)
        BK_TRY(bk_ratings_read(json_string_value(json_array_get(ratings, k)), &job->row->space, (int32_t)k,
                               bk_space_entry(&job->row->space, (int32_t)k, best), &tables[k], err));
    return BK_OK;
}

/** Scores for a searcher that asks: from the rater, or summed from the tables. */
static int answer(const struct bk_stage_job *job, const struct bk_block_table *tables, bool has_tables,
                  const struct bk_arch *archs, size_t n, double *score, struct bk_error *err)
{
    const struct bk_instance *rater = job->row->part[BK_SLOT_RATER];
    const struct bk_rater_options *o = &job->row->rater;
    if (!has_tables)
        return bk_row_rater(job->row)->rate_archs(rater->state, job->env, archs, n, score, err);
    for (size_t i = 0; i < n; i++)
        BK_TRY(bk_arch_score(&job->row->space, tables, &archs[i], o->n_weights ? o->weight : NULL, 0, -1, &score[i],
                             err));
    return BK_OK;
}

static int converse(const struct bk_stage_job *job, const struct bk_block_table *tables, bool has_tables,
                    struct bk_found *found, struct bk_error *err)
{
    const struct bk_instance *searcher = job->row->part[BK_SLOT_SEARCHER];
    const struct bk_searcher_iface *s = bk_instance_iface(searcher);
    struct bk_arch *archs = bk_zalloc(ASK_AT_ONCE * sizeof *archs);
    double score[ASK_AT_ONCE], asked = 0;
    size_t n = 0;
    int rc = archs ? s->begin(searcher->state, job->env, bk_row_rater(job->row)->better, err)
                   : bk_fail(err, BK_ENOMEM, "out of memory for a search");

    while (!rc) {
        rc = s->ask(searcher->state, archs, ASK_AT_ONCE, &n, err);
        if (rc || n == 0)
            break;
        rc = answer(job, tables, has_tables, archs, n, score, err);
        if (!rc)
            rc = s->tell(searcher->state, archs, score, n, err);
        bk__say_progress(asked += (double)n, 0, "architectures", NULL);
        if (!rc && bk__interrupted())
            rc = bk_fail(err, BK_EINTERRUPTED, "interrupted");
    }
    if (!rc)
        rc = s->best(searcher->state, found, err);
    bk_free(archs);
    return rc;
}

/* ---- block by block ------------------------------------------------------------------------------------- */

struct evolving {
    struct bk_stage_job *job;
    const struct bk_block_table *table;
    struct bk_bundle *trained;  /* of `block`; NULL: none is needed */
    int32_t block;              /* -1: not opened yet */
    struct bk_search_log log;
    double n_generations, saved;        /* saved: when the last checkpoint was */
};

static int open_block(struct evolving *e, struct bk_error *err)
{
    const json_t *list = json_object_get(e->job->spec, "trained");
    const char *path = json_string_value(json_array_get(list, (size_t)e->job->env->block));

    bk_bundle_free(e->trained);
    e->trained = NULL;
    e->block = e->job->env->block;
    return path ? bk_bundle_read(path, &e->trained, err) : BK_OK;
}

static bool all_finite(const double *score, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(score[i]))
            return false;
    }
    return true;
}

/** A generation that no earlier run of this search has rated. */
static int rate_anew(struct evolving *e, const struct bk_path *path, size_t n, double *score, struct bk_error *err)
{
    struct bk_stage_job *job = e->job;
    const struct bk_instance *rater = job->row->part[BK_SLOT_RATER];
    bool stop = bk__interrupted();
    int rc = BK_OK;

    if (!stop && e->block != job->env->block)
        rc = open_block(e, err);
    if (!stop && !rc)
        rc = bk_row_rater(job->row)->rate_paths(rater->state, job->env, e->trained, path, n, score, err);
    stop = stop || rc == BK_EINTERRUPTED;
    if (!stop && !rc && all_finite(score, n))
        rc = bk__search_log_add(&e->log, job->env->block, path, n, score, err);
    if (rc && !stop)
        return rc;
    if (stop || bk_now() - e->saved >= (double)job->checkpoint_s) {
        BK_TRY(bk__search_log_save(&e->log, job->dir, err));
        e->saved = bk_now();
    }
    return stop ? bk_fail(err, BK_EINTERRUPTED, "interrupted") : BK_OK;
}

/** A generation with its own centre where the rater can do that, else by the block's table. */
static int rate_generation(void *user, const struct bk_path *path, size_t n, double *score, struct bk_error *err)
{
    struct evolving *e = user;
    int32_t block = e->job->env->block;
    bool known = false;

    bk__say_progress(++e->n_generations, 0, "generations", NULL);
    if (!bk_row_rater(e->job->row)->rate_paths)
        return bk__interrupted() ? bk_fail(err, BK_EINTERRUPTED, "interrupted")
                                 : bk__rate_by_table(&e->table[block], path, n, score, err);
    BK_TRY(bk__search_log_answer(&e->log, block, path, n, score, &known, err));
    return known ? BK_OK : rate_anew(e, path, n, score, err);
}

static int evolve(struct bk_stage_job *job, const struct bk_search_task *task, struct bk_found *found, struct bk_error *err)
{
    const struct bk_instance *searcher = job->row->part[BK_SLOT_SEARCHER];
    struct evolving e = { .job = job, .table = task->table, .block = -1, .saved = bk_now() };
    const struct bk_block_search s = { bk_instance_iface(searcher), searcher->state, job->env, rate_generation, &e };
    int rc = bk__search_log_open(&e.log, job->dir, err);
    if (!rc)
        rc = bk__search_blocks(&s, task, found, err);
    bk__search_log_release(&e.log);
    bk_bundle_free(e.trained);
    return rc;
}

static int search(struct bk_stage_job *job, const struct bk_block_table *tables, bool has_tables,
                  struct bk_found *found, struct bk_error *err)
{
    const struct bk_instance *searcher = job->row->part[BK_SLOT_SEARCHER];
    const struct bk_searcher_iface *s = bk_instance_iface(searcher);
    const struct bk_search_task task = {
        .struct_size = sizeof task,
        .better = bk_row_rater(job->row)->better,
        .space = &job->row->space,
        .table = tables,
        .weight = job->row->rater.n_weights ? job->row->rater.weight : NULL,
        .n_classes = (int32_t)json_integer_value(json_object_get(job->spec, "n_classes")),
        .seed = (uint64_t)job->row->top.seed,
        .host = &job->row->host,
    };
    if (has_tables && s->ask_paths)
        return evolve(job, &task, found, err);
    if (has_tables && s->solve)
        return s->solve(searcher->state, &task, found, err);
    return converse(job, tables, has_tables, found, err);
}

static int write_found(const struct bk_stage_job *job, const struct bk_found *f, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    char arch[512];
    BK_TRY(bk_space_format(&job->row->space, &f->arch, arch, sizeof arch, err));
    json_t *o = json_pack("{s:s,s:f,s:f,s:f,s:f,s:f}", "arch", arch, "score", f->score, "params", f->cost.params, "macs",
                          f->cost.macs, "counter", f->cost.counter, "extra", f->extra);
    char *text = o ? json_dumps(o, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    int rc = text ? BK_OK : bk_fail(err, BK_ENUMERIC, "the architecture that was found has no finite score or cost");
    bk_text_addf(&path, "%s/found.json", job->dir);
    if (!rc)
        rc = bk_file_write(bk_text_get(&path), text, strlen(text), err);
    free(text);
    json_decref(o);
    bk_text_release(&path);
    return rc;
}

int bk__stage_search(struct bk_stage_job *job, struct bk_error *err)
{
    struct bk_block_table tables[BK_MAX_BLOCKS] = { { 0 } };
    struct bk_found found = { 0 };
    bool has_tables = (bk_row_rater(job->row)->flags & BK_RATER_BLOCKS) != 0;
    int rc = has_tables ? read_tables(job, tables, err) : BK_OK;

    if (!rc)
        rc = search(job, tables, has_tables, &found, err);
    if (!rc)
        rc = write_found(job, &found, err);
    for (int k = 0; k < BK_MAX_BLOCKS; k++)
        bk_block_table_release(&tables[k]);
    if (rc)
        bk_context(err, "searcher '%s'", job->row->part[BK_SLOT_SEARCHER]->found->plugin->name);
    return rc;
}

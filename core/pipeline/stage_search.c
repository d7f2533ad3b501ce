/*
 * The search stage: block ratings to a searcher that solves, or a conversation with one that asks, about architectures
 * or about the paths of one block after the other. The result is found.json. Costs and limits are the searcher's affair.
 */
#include "pipeline/child.h"

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

/** Scores of paths from the table of the block. */
static int look_up(const struct bk_block_table *t, const struct bk_path *path, size_t n, double *score,
                   struct bk_error *err)
{
    for (size_t i = 0; i < n; i++) {
        size_t j = 0;
        while (j < t->n && !bk_path_equal(&t->path[j], &path[i]))
            j++;
        if (j == t->n)
            return bk_fail(err, BK_EPLUGIN, "a path that was asked for is no path of block %d", (int)t->block);
        score[i] = t->score[j];
    }
    return BK_OK;
}

/** A generation of a block: asked for, rated with its own centre (or by the table), told. *n = 0: the block is finished. */
static int generation(struct bk_stage_job *job, const struct bk_bundle *trained, const struct bk_block_table *table,
                      struct bk_path *path, double *score, size_t *n, struct bk_error *err)
{
    const struct bk_instance *searcher = job->row->part[BK_SLOT_SEARCHER], *rater = job->row->part[BK_SLOT_RATER];
    const struct bk_searcher_iface *s = bk_instance_iface(searcher);
    const struct bk_rater_iface *r = bk_row_rater(job->row);

    if (bk__interrupted())
        return bk_fail(err, BK_EINTERRUPTED, "interrupted");
    BK_TRY(s->ask_paths(searcher->state, path, n, err));
    if (*n == 0)
        return BK_OK;
    if (*n > BK_MAX_GENERATION)
        return bk_fail(err, BK_EPLUGIN, "%zu paths are asked for at once, at most %d are legal", *n, BK_MAX_GENERATION);
    if (r->rate_paths)
        BK_TRY(r->rate_paths(rater->state, job->env, trained, path, *n, score, err));
    else
        BK_TRY(look_up(table, path, *n, score, err));
    for (size_t i = 0; i < *n; i++) {
        if (!isfinite(score[i]))
            return bk_fail(err, BK_ENUMERIC, "a path of block %d has no finite rating", (int)job->env->block);
    }
    return s->tell_paths(searcher->state, path, score, *n, err);
}

/** Search one block; *last gets the last generation. */
static int evolve_block(struct bk_stage_job *job, const struct bk_block_table *table, struct bk_block_table *last,
                        struct bk_error *err)
{
    const struct bk_instance *searcher = job->row->part[BK_SLOT_SEARCHER];
    const struct bk_searcher_iface *s = bk_instance_iface(searcher);
    const char *trained = json_string_value(json_array_get(json_object_get(job->spec, "trained"), (size_t)table->block));
    struct bk_bundle *bundle = NULL;
    struct bk_path *path = bk_alloc(BK_MAX_GENERATION * sizeof *path);
    double *score = bk_alloc(BK_MAX_GENERATION * sizeof *score);
    size_t n = 1;
    int rc = path && score ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for a search");

    job->env->block = table->block;
    job->env->entry = table->entry;
    *last = (struct bk_block_table){ .block = table->block, .entry = table->entry, .path = path, .score = score };
    if (!rc && trained)
        rc = bk_bundle_read(trained, &bundle, err);
    if (!rc)
        rc = s->begin_block(searcher->state, job->env, bk_row_rater(job->row)->better, err);
    for (double done = 1; !rc && n; done++) {
        rc = generation(job, bundle, table, path, score, &n, err);
        if (!rc && n)
            last->n = n;
        bk__say_progress(done, 0, "generations", NULL);
    }
    bk_bundle_free(bundle);
    return rc;
}

/** Search block by block; then the best combination of the last generations, within the searcher's limits. */
static int evolve(struct bk_stage_job *job, struct bk_search_task *task, struct bk_found *found, struct bk_error *err)
{
    const struct bk_instance *searcher = job->row->part[BK_SLOT_SEARCHER];
    const struct bk_searcher_iface *s = bk_instance_iface(searcher);
    struct bk_block_table last[BK_MAX_BLOCKS] = { { 0 } };
    int rc = BK_OK;

    for (int32_t k = 0; !rc && k < job->row->space.info.n_blocks; k++)
        rc = evolve_block(job, &task->table[k], &last[k], err);
    task->table = last;
    if (!rc)
        rc = s->solve(searcher->state, task, found, err);
    for (int k = 0; k < BK_MAX_BLOCKS; k++)
        bk_block_table_release(&last[k]);
    return rc;
}

static int search(struct bk_stage_job *job, const struct bk_block_table *tables, bool has_tables,
                  struct bk_found *found, struct bk_error *err)
{
    const struct bk_instance *searcher = job->row->part[BK_SLOT_SEARCHER];
    const struct bk_searcher_iface *s = bk_instance_iface(searcher);
    struct bk_search_task task = {
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
    json_t *o = json_pack("{s:s,s:f,s:f,s:f,s:f}", "arch", arch, "score", f->score, "params", f->cost.params, "macs",
                          f->cost.macs, "counter", f->cost.counter);
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

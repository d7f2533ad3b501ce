/*
 * Generation after generation, block after block. No rating, no files, no processes here.
 */
#include "pipeline/search_blocks.h"

#include <math.h>

int bk__rate_by_table(const struct bk_block_table *t, const struct bk_path *path, size_t n, double *score,
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

/** Ask for a generation, have it rated, tell; *n = 0: the block is finished and `path`, `score` are as they were. */
static int generation(const struct bk_block_search *s, struct bk_path *path, double *score, size_t *n, struct bk_error *err)
{
    BK_TRY(s->searcher->ask_paths(s->state, path, n, err));
    if (*n > BK_MAX_GENERATION)
        return bk_fail(err, BK_EPLUGIN, "%zu paths are asked for at once, at most %d are legal", *n, BK_MAX_GENERATION);
    if (*n == 0)
        return BK_OK;
    BK_TRY(s->rate(s->user, path, *n, score, err));
    for (size_t i = 0; i < *n; i++) {
        if (!isfinite(score[i]))
            return bk_fail(err, BK_ENUMERIC, "a path of block %d has no finite rating", (int)s->env->block);
    }
    return s->searcher->tell_paths(s->state, path, score, *n, err);
}

/** Search one block; `last` gets the last generation, and memory in any case. */
static int search_block(const struct bk_block_search *s, const struct bk_search_task *task, int32_t block,
                        struct bk_block_table *last, struct bk_error *err)
{
    size_t n = 1;

    *last = (struct bk_block_table){ .block = block,
                                     .entry = task->table[block].entry,
                                     .path = bk_alloc(BK_MAX_GENERATION * sizeof *last->path),
                                     .score = bk_alloc(BK_MAX_GENERATION * sizeof *last->score) };
    if (!last->path || !last->score)
        return bk_fail(err, BK_ENOMEM, "out of memory for a search");
    s->env->block = block;
    s->env->entry = last->entry;
    BK_TRY(s->searcher->begin_block(s->state, s->env, task->better, err));
    while (n) {
        BK_TRY(generation(s, last->path, last->score, &n, err));
        last->n = n ? n : last->n;
    }
    return BK_OK;
}

int bk__search_blocks(const struct bk_block_search *s, const struct bk_search_task *task, struct bk_found *out,
                      struct bk_error *err)
{
    struct bk_block_table last[BK_MAX_BLOCKS] = { { 0 } };
    struct bk_search_task combination = *task;
    int rc = BK_OK;

    for (int32_t k = 0; !rc && k < task->space->info.n_blocks; k++)
        rc = search_block(s, task, k, &last[k], err);
    combination.table = last;
    if (!rc)
        rc = s->searcher->solve(s->state, &combination, out, err);
    for (int k = 0; k < BK_MAX_BLOCKS; k++)
        bk_block_table_release(&last[k]);
    return rc;
}

/*
 * The smallest searcher: the best path of every block by itself.
 *
 * Scores of blocks add up, so without limits the best architecture is made of the best paths, as long as every block
 * was rated under the entry at which the blocks before leave off; where it was not, the searcher says so.
 */
#include <bosskit/method.h>

static const struct bk_path *best_of(const struct bk_block_table *t, uint32_t better, double *score)
{
    size_t best = 0;
    for (size_t i = 1; i < t->n; i++) {
        bool wins = better == BK_HIGHER_IS_BETTER ? t->score[i] > t->score[best] : t->score[i] < t->score[best];
        if (wins)
            best = i;
    }
    *score = t->score[best];
    return &t->path[best];
}

static int solve(void *state, const struct bk_search_task *task, struct bk_found *out, struct bk_error *err)
{
    const struct bk_space *space = task->space;
    struct bk_found found = { .score = 0 };

    (void)state;
    found.arch.n_blocks = (uint32_t)space->info.n_blocks;
    for (int32_t b = 0; b < space->info.n_blocks; b++) {
        const struct bk_block_table *t = &task->table[b];
        int32_t entry = bk_space_entry(space, b, found.arch.block);
        double score;
        if (t->n == 0 || t->entry != entry)
            return bk_fail(err, BK_ENOTFOUND, "block %d has no ratings for entry %d", b, entry);
        found.arch.block[b] = *best_of(t, task->better, &score);
        found.score += task->weight ? task->weight[b] * score : score;
    }
    BK_TRY(bk_space_cost(space, &found.arch, task->n_classes, &found.cost, err));
    *out = found;
    return BK_OK;
}

static const struct bk_searcher_iface iface = {
    .struct_size = sizeof(struct bk_searcher_iface),
    .solve = solve,
};

static const struct bk_plugin mini = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_SEARCHER,
    .name = "mini",
    .version = "1.0.0",
    .summary = "the best path of every block",
    .source_digest = BK_SOURCE_DIGEST,
    .state_size = 1,
    .iface = &iface,
};

BK_MODULE(&mini);

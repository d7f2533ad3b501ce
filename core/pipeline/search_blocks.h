/**
 * pipeline/search_blocks.h: the conversation with a searcher that goes block by block.
 *
 * For every block: begin, then generations of paths that are asked for, rated together by the caller, and told; the last
 * generation of a block becomes its table. The searcher's solve() combines those tables. Who rates is the caller's affair:
 * a rater with the generation's own centre, or the block's stored table.
 */
#ifndef BOSSKIT_PIPELINE_SEARCH_BLOCKS_H
#define BOSSKIT_PIPELINE_SEARCH_BLOCKS_H

#include <bosskit/method.h>

struct bk_block_search {
    const struct bk_searcher_iface *searcher;
    void *state;
    struct bk_env *env;         /* block and entry become those of the block that is searched */
    /** Scores of n paths of env->block. May fail with BK_EINTERRUPTED to end the search. */
    int (*rate)(void *user, const struct bk_path *path, size_t n, double *score, struct bk_error *err);
    void *user;
};

/** task->table says the entry of every block; its scores are not looked at. Errors: those of searcher and rate; BK_ENUMERIC */
BK_API int bk__search_blocks(const struct bk_block_search *s, const struct bk_search_task *task, struct bk_found *out,
                             struct bk_error *err);

/** For rate: scores from the table of the block. Errors: BK_EPLUGIN for a path that is not in it */
BK_API int bk__rate_by_table(const struct bk_block_table *t, const struct bk_path *path, size_t n, double *score,
                             struct bk_error *err);

#endif

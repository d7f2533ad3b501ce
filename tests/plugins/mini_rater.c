/*
 * The smallest rater: the sum of the choices' numbers.
 *
 * In many spaces a larger number is a larger operation, which makes this a baseline that a real rater has to beat. It
 * shows both forms a rater may have: a table a block (rate_block), whose scores add up, and a score an architecture.
 */
#include <bosskit/method.h>

struct mini {
    double scale;
};

static const struct bk_opt options[] = {
    BK_REAL("scale", struct mini, scale, 1, 0, 1000, "", "factor of the score"),
    BK_OPT_END,
};

static double rate(const struct mini *m, const struct bk_path *path)
{
    double sum = 0;
    for (int i = 0; i < path->n; i++)
        sum += path->op[i];
    return m->scale * sum;
}

static int rate_block(void *state, const struct bk_env *env, const struct bk_bundle *trained,
                      struct bk_block_table *out, struct bk_error *err)
{
    struct bk_block_table t = { .block = env->block, .entry = env->entry };
    (void)trained;
    BK_TRY(bk_space_paths(env->space, env->block, env->entry, &t.path, &t.n, err));
    t.score = bk_alloc(t.n * sizeof *t.score);
    if (!t.score) {
        bk_block_table_release(&t);
        return bk_fail(err, BK_ENOMEM, "out of memory for %zu scores", t.n);
    }
    for (size_t i = 0; i < t.n; i++)
        t.score[i] = rate(state, &t.path[i]);
    *out = t;
    return BK_OK;
}

static int rate_archs(void *state, const struct bk_env *env, const struct bk_arch *archs, size_t n,
                      double *scores, struct bk_error *err)
{
    (void)env, (void)err;
    for (size_t i = 0; i < n; i++) {
        scores[i] = 0;
        for (uint32_t b = 0; b < archs[i].n_blocks; b++)
            scores[i] += rate(state, &archs[i].block[b]);
    }
    return BK_OK;
}

static const struct bk_rater_iface iface = {
    .struct_size = sizeof(struct bk_rater_iface),
    .flags = BK_RATER_BLOCKS | BK_RATER_ARCHS,
    .better = BK_HIGHER_IS_BETTER,
    .rate_block = rate_block,
    .rate_archs = rate_archs,
};

static const struct bk_plugin mini = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_RATER,
    .name = "mini",
    .version = "1.0.0",
    .summary = "sum of the choices' numbers",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct mini),
    .iface = &iface,
};

BK_MODULE(&mini);

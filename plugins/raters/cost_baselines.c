/*
 * Raters "params", "macs", "madds", "width_sum": what an architecture costs, as the trivial baselines every result is
 * printed beside. On NATS-Bench and MBConv plain costs beat published ratings, so a rater that does not beat them
 * shows nothing.
 *
 * "macs" counts multiply-accumulates of convolutions and linear maps, "madds" follows the space's published counter.
 */
#include <bosskit/method.h>

struct baseline {
    int64_t classes;
};

/* clang-format off */
static const struct bk_opt options[] = {
    BK_INT ("classes", struct baseline, classes, 0, 0, 1000000, "classes", "outputs of the classifier; 0: as the data, 10 without data"),
    BK_OPT_END
};
/* clang-format on */

enum measure { PARAMS, MACS, MADDS };

static int rate_costs(const struct baseline *b, const struct bk_env *env, const struct bk_arch *archs, size_t n,
                      enum measure what, double *scores, struct bk_error *err)
{
    int32_t classes = b->classes ? (int32_t)b->classes : env->data ? env->data->info.n_classes : 10;
    for (size_t i = 0; i < n; i++) {
        struct bk_cost c;
        BK_TRY(bk_space_cost(env->space, &archs[i], classes, &c, err));
        scores[i] = what == PARAMS ? c.params : what == MACS ? c.macs : c.counter;
    }
    return BK_OK;
}

static int rate_params(void *state, const struct bk_env *env, const struct bk_arch *archs, size_t n, double *scores,
                       struct bk_error *err)
{
    return rate_costs(state, env, archs, n, PARAMS, scores, err);
}

static int rate_macs(void *state, const struct bk_env *env, const struct bk_arch *archs, size_t n, double *scores,
                     struct bk_error *err)
{
    return rate_costs(state, env, archs, n, MACS, scores, err);
}

static int rate_madds(void *state, const struct bk_env *env, const struct bk_arch *archs, size_t n, double *scores,
                      struct bk_error *err)
{
    return rate_costs(state, env, archs, n, MADDS, scores, err);
}

static int rate_width_sum(void *state, const struct bk_env *env, const struct bk_arch *archs, size_t n, double *scores,
                          struct bk_error *err)
{
    const struct bk_space *s = env->space;
    (void)state;
    if (!BK_HAS(s->iface, score) || !s->iface->score)
        return bk_fail(err, BK_ENOTSUP, "space '%s' has no score 'width_sum'", s->name);
    for (size_t i = 0; i < n; i++)
        BK_TRY(s->iface->score(s->state, "width_sum", &archs[i], &scores[i], err));
    return BK_OK;
}

#define BASELINE(id, text)                                                                                 \
    static const struct bk_rater_iface id##_iface = { .struct_size = sizeof id##_iface,                    \
                                                      .flags = BK_RATER_ARCHS,                             \
                                                      .better = BK_HIGHER_IS_BETTER,                       \
                                                      .rate_archs = rate_##id };                           \
    static const struct bk_plugin id##_plugin = {                                                          \
        .struct_size = sizeof id##_plugin,                                                                 \
        .kind = BK_KIND_RATER,                                                                             \
        .name = #id,                                                                                       \
        .version = "1.0.0",                                                                                \
        .summary = text,                                                                                   \
        .source_digest = BK_SOURCE_DIGEST,                                                                 \
        .options = options,                                                                                \
        .state_size = sizeof(struct baseline),                                                             \
        .iface = &id##_iface,                                                                              \
    }

BASELINE(params, "baseline: number of parameters");
BASELINE(macs, "baseline: multiply-accumulates of convolutions and linear maps");
BASELINE(madds, "baseline: multiply-adds as the space's benchmark counts them");
BASELINE(width_sum, "baseline: sum of the widths (spaces that have widths)");

BK_MODULE(&params_plugin, &macs_plugin, &madds_plugin, &width_sum_plugin);

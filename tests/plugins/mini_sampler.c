/*
 * The smallest sampler: every training iteration takes the first path of the block.
 *
 * A sampler answers which paths are trained next, as a function of (seed, block, step) alone, so that a resumed run
 * sees the same paths. This one asks the space for the legal choices and always takes the first.
 */
#include <bosskit/method.h>

static int first_path(const struct bk_space *space, int32_t block, int32_t entry, struct bk_path *path,
                      struct bk_error *err)
{
    uint8_t legal[BK_MAX_CHOICES];
    int32_t n;

    path->n = 0;
    for (;;) {
        BK_TRY(space->iface->choices(space->state, block, entry, path, legal, &n));
        if (n == 0)
            return BK_OK;               /* complete */
        if (path->n == BK_MAX_LAYERS)
            return bk_fail(err, BK_EINVAL, "space '%s': a path has more than %d layers", space->name,
                           BK_MAX_LAYERS);
        path->op[path->n++] = legal[0];
    }
}

static int sample(void *state, const struct bk_space *space, int32_t block, int32_t entry, uint64_t seed,
                  uint64_t step, int32_t wanted, struct bk_path out[BK_MAX_SAMPLED], int32_t *n,
                  struct bk_error *err)
{
    (void)state, (void)seed, (void)step;
    *n = wanted > 0 ? wanted : 1;
    if (*n > BK_MAX_SAMPLED)
        return bk_fail(err, BK_EINVAL, "%d paths are asked for, legal: 1..%d", wanted, BK_MAX_SAMPLED);
    for (int32_t i = 0; i < *n; i++)
        BK_TRY(first_path(space, block, entry, &out[i], err));
    return BK_OK;
}

static const struct bk_sampler_iface iface = {
    .struct_size = sizeof(struct bk_sampler_iface),
    .sample = sample,
};

static const struct bk_plugin mini = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_SAMPLER,
    .name = "mini",
    .version = "1.0.0",
    .summary = "always the first path",
    .source_digest = BK_SOURCE_DIGEST,
    .state_size = 1,
    .iface = &iface,
};

BK_MODULE(&mini);

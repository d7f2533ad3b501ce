/*
 * Sampler "uniform": distinct paths drawn uniformly from all legal paths of the block (BossNAS on HyTra: four a step,
 * without replacement). `replace` draws each path independently (one path a step: single-path one-shot, DNA).
 *
 * The list of legal paths is made once per block and entry. Not for blocks with millions of paths.
 */
#include <bosskit/method.h>
#include <bosskit/random.h>

#include <string.h>

struct uniform {
    int64_t paths;
    bool replace;
    const struct bk_space *space;       /* what the list below belongs to */
    int32_t block, entry;
    struct bk_path *path;
    size_t n;
};

/* clang-format off */
static const struct bk_opt options[] = {
    BK_INT ("paths", struct uniform, paths, 4, 1, BK_MAX_SAMPLED, "paths", "paths a step when the trainer leaves the number to the sampler"),
    BK_BOOL("replace", struct uniform, replace, false, "draw every path independently, so that one may come twice"),
    BK_OPT_END
};
/* clang-format on */

static int list_paths(struct uniform *u, const struct bk_space *space, int32_t block, int32_t entry,
                      struct bk_error *err)
{
    if (u->path && u->space == space && u->block == block && u->entry == entry)
        return BK_OK;
    struct bk_path *path;
    size_t n;
    BK_TRY(bk_space_paths(space, block, entry, &path, &n, err));
    bk_free(u->path);
    u->space = space;
    u->block = block;
    u->entry = entry;
    u->path = path;
    u->n = n;
    return BK_OK;
}

static bool is_taken(const uint32_t *taken, int32_t n, uint32_t i)
{
    for (int32_t j = 0; j < n; j++)
        if (taken[j] == i)
            return true;
    return false;
}

static int sample(void *state, const struct bk_space *space, int32_t block, int32_t entry, uint64_t seed,
                  uint64_t step, int32_t wanted, struct bk_path out[BK_MAX_SAMPLED], int32_t *n, struct bk_error *err)
{
    struct uniform *u = state;
    uint32_t taken[BK_MAX_SAMPLED];
    struct bk_random r;

    BK_TRY(list_paths(u, space, block, entry, err));
    if (wanted <= 0)
        wanted = (int32_t)u->paths;
    if (wanted > BK_MAX_SAMPLED)
        return bk_fail(err, BK_EINVAL, "%d paths a step are outside 1..%d", (int)wanted, BK_MAX_SAMPLED);
    if (!u->replace && (size_t)wanted > u->n)
        return bk_fail(err, BK_EINVAL, "block %d has %zu paths, too few for %d distinct ones (see option 'replace')",
                       (int)block, u->n, (int)wanted);
    bk_random_init(&r, seed, bk_random_stream("uniform paths"), step, (uint32_t)block);
    for (int32_t j = 0; j < wanted; j++) {
        do
            taken[j] = bk_random_below(&r, (uint32_t)u->n);
        while (!u->replace && is_taken(taken, j, taken[j]));
        out[j] = u->path[taken[j]];
    }
    *n = wanted;
    return BK_OK;
}

static void release(void *state)
{
    bk_free(((struct uniform *)state)->path);
}

static const struct bk_sampler_iface iface = { .struct_size = sizeof iface, .sample = sample };

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_SAMPLER,
    .name = "uniform",
    .version = "1.0.0",
    .summary = "distinct paths drawn uniformly from the legal paths of the block",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct uniform),
    .free = release,
    .iface = &iface,
};

BK_MODULE(&plugin);

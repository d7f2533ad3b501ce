/*
 * Sampler "fair" (Chu et al., FairNAS, ICCV 2021): every layer draws a permutation of its candidates, path j takes the
 * j-th entry of each. With as many paths as candidates, every candidate of every layer is used exactly once a step.
 * More paths take further rounds of permutations; fewer take the first entries.
 *
 * Only for blocks whose layers all have the same number of candidates, legal whatever came before.
 */
#include <bosskit/method.h>
#include <bosskit/random.h>

#include <string.h>

struct fair {
    char unused;
};

/* Candidates of every layer after the first choices; BK_EINVAL when their numbers differ. */
static int read_layers(const struct bk_space *space, int32_t block, int32_t entry,
                       uint8_t candidate[BK_MAX_LAYERS][BK_MAX_CHOICES], int32_t *n_layers, int32_t *n,
                       struct bk_error *err)
{
    struct bk_path path = { 0 };
    for (*n = 0, *n_layers = 0;; ++*n_layers) {
        uint8_t c[BK_MAX_CHOICES];
        int32_t m = 0;
        int rc = space->iface->choices(space->state, block, entry, &path, c, &m);
        if (rc)
            return bk_fail(err, rc, "space '%s' has no choices for block %d", space->name, (int)block);
        if (m == 0)
            break;
        if (*n && m != *n)
            return bk_fail(err, BK_EINVAL, "layer %d of block %d has %d candidates, the layers before have %d; "
                           "the sampler 'fair' needs equal numbers ('uniform' does not)",
                           (int)*n_layers, (int)block, (int)m, (int)*n);
        *n = m;
        memcpy(candidate[path.n], c, sizeof c);
        path.op[path.n++] = c[0];
    }
    return *n ? BK_OK : bk_fail(err, BK_EINVAL, "block %d has no layers", (int)block);
}

static int sample(void *state, const struct bk_space *space, int32_t block, int32_t entry, uint64_t seed,
                  uint64_t step, int32_t wanted, struct bk_path out[BK_MAX_SAMPLED], int32_t *n, struct bk_error *err)
{
    uint8_t candidate[BK_MAX_LAYERS][BK_MAX_CHOICES];
    int32_t n_layers, n_candidates;
    (void)state;

    BK_TRY(read_layers(space, block, entry, candidate, &n_layers, &n_candidates, err));
    if (wanted <= 0)
        wanted = n_candidates;
    if (wanted > BK_MAX_SAMPLED)
        return bk_fail(err, BK_EINVAL, "%d paths a step are outside 1..%d", (int)wanted, BK_MAX_SAMPLED);
    memset(out, 0, (size_t)wanted * sizeof *out);
    for (int32_t first = 0; first < wanted; first += n_candidates) {
        for (int32_t l = 0; l < n_layers; l++) {
            uint32_t order[BK_MAX_CHOICES];
            struct bk_random r;
            bk_random_init(&r, seed, bk_random_stream("fair paths"), step,
                           (uint32_t)(first / n_candidates) << 16 | (uint32_t)block << 8 | (uint32_t)l);
            bk_random_permutation(&r, (uint32_t)n_candidates, order);
            for (int32_t j = 0; j < n_candidates && first + j < wanted; j++)
                out[first + j].op[l] = candidate[l][order[j]];
        }
    }
    for (int32_t j = 0; j < wanted; j++) {
        out[j].n = (uint8_t)n_layers;
        int rc = bk_space_check_path(space, block, entry, &out[j], err);
        if (rc) {
            bk_context(err, "the sampler 'fair' needs layers whose candidates do not depend on each other");
            return rc;
        }
    }
    *n = wanted;
    return BK_OK;
}

static const struct bk_sampler_iface iface = { .struct_size = sizeof iface, .sample = sample };

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_SAMPLER,
    .name = "fair",
    .version = "1.0.0",
    .summary = "a permutation of the candidates a layer: each candidate is used once a step (FairNAS)",
    .source_digest = BK_SOURCE_DIGEST,
    .state_size = sizeof(struct fair),
    .iface = &iface,
};

BK_MODULE(&plugin);

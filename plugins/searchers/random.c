/*
 * Searcher "random": asks for architectures drawn uniformly choice by choice, and remembers the best it is told. What
 * any searcher has to beat.
 *
 * Architectures over the limits are drawn again. Duplicates are not avoided: in a large space they are rare, in a
 * small one "traversal" is exact.
 */
#include <bosskit/method.h>

struct random_search {
    int64_t n;
    double max_params, max_macs, max_counter;
    /* of one search */
    const struct bk_env *env;
    uint32_t better;
    int64_t asked;              /* architectures given out */
    uint64_t drawn;             /* and drawn, those over the limits included */
    bool any;
    struct bk_found best;
};

/* clang-format off */
static const struct bk_opt options[] = {
    BK_INT ("n",           struct random_search, n,           1000, 1, 1000000000, "architectures", "how many are rated"),
    BK_REAL("max_params",  struct random_search, max_params,  0, 0, 1e18, "parameters", "most parameters; 0: no limit"),
    BK_REAL("max_macs",    struct random_search, max_macs,    0, 0, 1e18, "multiply-accumulates", "most multiply-accumulates; 0: no limit"),
    BK_REAL("max_counter", struct random_search, max_counter, 0, 0, 1e18, "multiply-adds", "the same by the space's published counter; 0: no limit"),
    BK_OPT_END
};
/* clang-format on */

enum { MAX_TRIES = 100000 };

static int begin(void *state, const struct bk_env *env, uint32_t better, struct bk_error *err)
{
    struct random_search *r = state;
    (void)err;
    r->env = env;
    r->better = better;
    r->asked = 0;
    r->drawn = 0;
    r->any = false;
    return BK_OK;
}

static int cost_of(const struct random_search *r, const struct bk_arch *arch, struct bk_cost *c, struct bk_error *err)
{
    return bk_space_cost(r->env->space, arch, r->env->data ? r->env->data->info.n_classes : 10, c, err);
}

/* The next architecture within the limits. */
static int draw(struct random_search *r, struct bk_arch *out, struct bk_error *err)
{
    for (int i = 0; i < MAX_TRIES; i++) {
        struct bk_cost c;
        BK_TRY(bk_space_sample(r->env->space, r->env->seed, r->drawn++, out, err));
        BK_TRY(cost_of(r, out, &c, err));
        if ((r->max_params <= 0 || c.params <= r->max_params) && (r->max_macs <= 0 || c.macs <= r->max_macs) &&
            (r->max_counter <= 0 || c.counter <= r->max_counter))
            return BK_OK;
    }
    return bk_fail(err, BK_ENOTFOUND, "none of %d architectures drawn from space '%s' satisfies the limits", MAX_TRIES,
                   r->env->space->name);
}

static int ask(void *state, struct bk_arch *out, size_t cap, size_t *n, struct bk_error *err)
{
    struct random_search *r = state;
    if (!r->env)
        return bk_fail(err, BK_ESTATE, "the search has not begun");
    for (*n = 0; *n < cap && r->asked < r->n; ++*n, r->asked++)
        BK_TRY(draw(r, &out[*n], err));
    return BK_OK;
}

static int tell(void *state, const struct bk_arch *archs, const double *scores, size_t n, struct bk_error *err)
{
    struct random_search *r = state;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        bool better = r->better == BK_HIGHER_IS_BETTER ? scores[i] > r->best.score : scores[i] < r->best.score;
        if (r->any && !better)
            continue;
        r->best.arch = archs[i];
        r->best.score = scores[i];
        r->any = true;
    }
    return BK_OK;
}

static int best(void *state, struct bk_found *out, struct bk_error *err)
{
    struct random_search *r = state;
    if (!r->any)
        return bk_fail(err, BK_ENOTFOUND, "no architecture has been rated");
    BK_TRY(cost_of(r, &r->best.arch, &r->best.cost, err));
    *out = r->best;
    return BK_OK;
}

static const struct bk_searcher_iface iface = {
    .struct_size = sizeof iface,
    .begin = begin,
    .ask = ask,
    .tell = tell,
    .best = best,
};

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_SEARCHER,
    .name = "random",
    .version = "1.0.0",
    .summary = "random architectures within cost limits; remembers the best",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct random_search),
    .iface = &iface,
};

BK_MODULE(&plugin);

/*
 * Searcher "traversal": the best architecture of the whole space by summed block scores, exactly, under limits on
 * parameters and multiply-accumulates: bk_search_exact() over complete block tables.
 *
 * Not for scores that do not add up.
 */
#include <bosskit/method.h>

#include <math.h>

struct traversal {
    double max_params, max_macs, max_counter;
};

/* clang-format off */
static const struct bk_opt options[] = {
    BK_REAL("max_params",  struct traversal, max_params,  0, 0, 1e18, "parameters", "most parameters; 0: no limit"),
    BK_REAL("max_macs",    struct traversal, max_macs,    0, 0, 1e18, "multiply-accumulates", "most multiply-accumulates; 0: no limit"),
    BK_REAL("max_counter", struct traversal, max_counter, 0, 0, 1e18, "multiply-adds", "the same by the space's published counter; 0: no limit"),
    BK_OPT_END
};
/* clang-format on */

static int solve(void *state, const struct bk_search_task *task, struct bk_found *out, struct bk_error *err)
{
    const struct traversal *t = state;
    const double limit[3] = { t->max_params > 0 ? t->max_params : INFINITY, t->max_macs > 0 ? t->max_macs : INFINITY,
                              t->max_counter > 0 ? t->max_counter : INFINITY };
    return bk_search_exact(task, limit, out, err);
}

static const struct bk_searcher_iface iface = { .struct_size = sizeof iface, .solve = solve };

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_SEARCHER,
    .name = "traversal",
    .version = "1.0.0",
    .summary = "exact best architecture of the whole space by summed block scores, under cost limits",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct traversal),
    .iface = &iface,
};

BK_MODULE(&plugin);

/*
 * cli/cli_rank.c: bosskit rank: how well do stored block ratings agree with a truth table.
 *
 * Reads, adds up, correlates, prints; with the trivial baselines (parameters, multiply-adds) beside it. Coefficients are
 * reported with "higher rating is better", so a good loss shows a positive number; the raw sign is in the JSON. Nothing
 * is trained or searched here.
 */
#include "cli/cli.h"
#include "cli/cli_util.h"

#include <bosskit/stats.h>
#include <bosskit/table.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct bk__cli_opt options[] = {
    { "space", 0, BK__CLI_ONE, "SPACE", "search space that gives the architectures their meaning" },
    { "option", 'o', BK__CLI_EACH, "KEY=VALUE", "option of the space" },
    { "truth", 0, BK__CLI_ONE, "FILE", "truth table: .csv, .yml or .json" },
    { "truth-column", 0, BK__CLI_ONE, "NAME", "column of a CSV truth table" },
    { "ratings", 0, BK__CLI_MANY, "FILE", "ratings of the blocks, in block order" },
    { "better", 0, BK__CLI_ONE, "WHICH", "lower or higher ratings are better (lower)" },
    { "offset", 0, BK__CLI_ONE, "X", "added to every block's rating (4)" },
    { "round-totals", 0, BK__CLI_ONE, "N", "round totals to N decimals (not rounded)" },
    { "bootstrap", 0, BK__CLI_ONE, "N", "95 % intervals from N resamples (0: none)" },
    { "seed", 0, BK__CLI_ONE, "N", "seed of the resamples (0)" },
    { "top", 0, BK__CLI_ONE, "K", "figures about the best K, and their names" },
    { "classes", 0, BK__CLI_ONE, "N", "classes of the networks whose costs are counted (10)" },
    { "json", 0, BK__CLI_FLAG, NULL, "print JSON" },
    { 0 },
};

enum { PARAMS, MACS, COUNTER, N_BASELINES };

/* What the command was asked for, and what it found. */
struct ranking {
    int64_t round_totals, bootstrap, seed, top, classes;
    double offset;
    bool higher;                /* higher ratings are better */
    struct bk_registry *registry;
    struct bk_instance *instance;
    struct bk_space space;
    struct bk_truth truth;
    struct bk_block_table table[BK_MAX_BLOCKS];
    double *total;              /* as summed */
    double *rating;             /* higher is better */
    double *baseline[N_BASELINES];
    struct bk_correlation raw, found, base[N_BASELINES];
    struct bk_correlation_ci ci;
    struct bk_top best;
};

/* ---- reading --------------------------------------------------------------------------------- */

static int read_numbers(const struct bk__cli_args *args, struct ranking *r, struct bk_error *err)
{
    BK_TRY(bk__cli_better(args, &r->higher, err));
    BK_TRY(bk__cli_real(args, "offset", 4, -1e6, 1e6, &r->offset, err));
    BK_TRY(bk__cli_int(args, "round-totals", -1, 0, 15, &r->round_totals, err));
    BK_TRY(bk__cli_int(args, "bootstrap", 0, 0, 1000000, &r->bootstrap, err));
    BK_TRY(bk__cli_int(args, "seed", 0, 0, INT64_MAX, &r->seed, err));
    BK_TRY(bk__cli_int(args, "top", 0, 1, INT32_MAX, &r->top, err));
    return bk__cli_int(args, "classes", 10, 1, 1000000, &r->classes, err);
}

static int read_all(const struct bk__cli_args *args, struct ranking *r, struct bk_error *err)
{
    const char *space, *truth, *ratings;

    BK_TRY(read_numbers(args, r, err));
    if (args->n)
        return bk_fail(err, BK_EUSAGE, "rank: unexpected '%s'", args->word[0]);
    BK_TRY(bk__cli_need(args, "space", &space, err));
    BK_TRY(bk__cli_need(args, "truth", &truth, err));
    BK_TRY(bk__cli_need(args, "ratings", &ratings, err));
    BK_TRY(bk__cli_registry(&r->registry, err));
    BK_TRY(bk__cli_space(r->registry, space, args, "option", &r->instance, &r->space, err));
    BK_TRY(bk__cli_ratings(args, &r->space, r->higher, r->table, err));
    return bk_truth_read(truth, bk__cli_text(args, "truth-column"), &r->space, &r->truth, err);
}

/* ---- computing ------------------------------------------------------------------------------- */

static int score_all(struct ranking *r, struct bk_error *err)
{
    size_t n = r->truth.n;
    struct bk_cost cost;

    r->total = bk_alloc((2 + N_BASELINES) * n * sizeof *r->total);
    if (!r->total)
        return bk_fail(err, BK_ENOMEM, "cannot score %zu architectures: out of memory", n);
    r->rating = r->total + n;
    for (int b = 0; b < N_BASELINES; b++)
        r->baseline[b] = r->total + (size_t)(2 + b) * n;
    for (size_t i = 0; i < n; i++) {
        const struct bk_arch *arch = &r->truth.parsed[i];
        BK_TRY(bk_arch_score(&r->space, r->table, arch, NULL, r->offset, (int)r->round_totals,
                             &r->total[i], err));
        BK_TRY(bk_space_cost(&r->space, arch, (int32_t)r->classes, &cost, err));
        r->rating[i] = r->higher ? r->total[i] : -r->total[i];
        r->baseline[PARAMS][i] = cost.params;
        r->baseline[MACS][i] = cost.macs;
        r->baseline[COUNTER][i] = cost.counter;
    }
    return BK_OK;
}

static int compute(struct ranking *r, struct bk_error *err)
{
    const double *truth = r->truth.value;
    size_t n = r->truth.n;

    BK_TRY(score_all(r, err));
    BK_TRY(bk_correlate(r->total, truth, n, &r->raw, err));
    BK_TRY(bk_correlate(r->rating, truth, n, &r->found, err));
    for (int b = 0; b < N_BASELINES; b++)
        BK_TRY(bk_correlate(r->baseline[b], truth, n, &r->base[b], err));
    if (r->top)
        BK_TRY(bk_top_k(r->rating, truth, n, (size_t)r->top, &r->best, err));
    if (r->bootstrap)
        BK_TRY(bk_bootstrap(r->rating, truth, n, (int)r->bootstrap, 0.95, (uint64_t)r->seed, &r->ci,
                            err));
    return BK_OK;
}

/* Indices of the r->top best rated, best first; equal ratings in the order of the table. O(n top) is enough here. */
static int best_rated(const struct ranking *r, size_t **out, struct bk_error *err)
{
    size_t k = 0, n = r->truth.n, top = (size_t)r->top;

    size_t *best = bk_alloc((top + 1) * sizeof *best);
    if (!best)
        return bk_fail(err, BK_ENOMEM, "cannot list %zu architectures: out of memory", top);
    for (size_t i = 0; i < n; i++) {
        size_t at = k;
        for (; at > 0 && r->rating[best[at - 1]] < r->rating[i]; at--)
            best[at] = best[at - 1];
        best[at] = i;
        k = k < top ? k + 1 : top;
    }
    *out = best;
    return BK_OK;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void json_pair(struct bk_text *t, const char *key, double v, const char *after)
{
    bk_text_addf(t, "\"%s\": ", key);
    bk__cli_json_real(t, v);
    bk_text_add(t, after);
}

static void json_coefficients(struct bk_text *t, const char *prefix, const struct bk_correlation *c,
                              const char *between)
{
    const char *const names[] = { "kendall_tau", "spearman_rho", "pearson_r" };
    const double values[] = { c->kendall_tau, c->spearman_rho, c->pearson_r };

    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        bk_text_addf(t, "%s\"%s%s\": ", i ? between : "", prefix, names[i]);
        bk__cli_json_real(t, values[i]);
    }
}

static void json_interval(struct bk_text *t, const char *name, struct bk_interval i,
                          const char *after)
{
    bk_text_addf(t, "    \"%s\": [", name);
    bk__cli_json_real(t, i.low);
    bk_text_add(t, ", ");
    bk__cli_json_real(t, i.high);
    bk_text_addf(t, "]%s\n", after);
}

static void json_top(struct bk_text *t, const struct ranking *r, const size_t *best)
{
    bk_text_addf(t, ",\n  \"top\": {\"k\": %" PRId64 ", ", r->top);
    json_pair(t, "kendall_tau", r->best.tau_top, ", ");
    json_pair(t, "precision", r->best.precision, ", ");
    json_pair(t, "regret", r->best.regret, ", ");
    json_pair(t, "mean_truth", r->best.mean_truth, ", \"best\": [");
    for (int64_t i = 0; i < r->top; i++) {
        bk_text_addf(t, "%s\n    {\"arch\": ", i ? "," : "");
        bk__cli_json_text(t, r->truth.arch[best[i]]);
        bk_text_add(t, ", ");
        json_pair(t, "total", r->total[best[i]], ", ");
        json_pair(t, "truth", r->truth.value[best[i]], "}");
    }
    bk_text_add(t, "]}");
}

static void write_json(struct bk_text *t, const struct ranking *r, const size_t *best)
{
    const char *const names[N_BASELINES] = { "params", "macs", "counter" };

    bk_text_add(t, "{\n  \"space\": ");
    bk__cli_json_text(t, r->space.name);
    bk_text_addf(t, ",\n  \"n\": %zu,\n  \"better\": \"%s\",\n  ", r->truth.n,
                 r->higher ? "higher" : "lower");
    if (r->round_totals >= 0)
        bk_text_addf(t, "\"round_totals\": %" PRId64 ",\n  ", r->round_totals);
    json_coefficients(t, "", &r->found, ",\n  ");
    bk_text_add(t, ",\n  ");
    json_coefficients(t, "raw_", &r->raw, ",\n  ");
    if (r->bootstrap) {
        bk_text_addf(t, ",\n  \"resamples\": %" PRId64 ",\n  \"seed\": %" PRId64
                     ",\n  \"ci95\": {\n", r->bootstrap, r->seed);
        json_interval(t, "kendall_tau", r->ci.kendall_tau, ",");
        json_interval(t, "spearman_rho", r->ci.spearman_rho, ",");
        json_interval(t, "pearson_r", r->ci.pearson_r, "");
        bk_text_add(t, "  }");
    }
    bk_text_add(t, ",\n  \"baselines\": {");
    for (int b = 0; b < N_BASELINES; b++) {
        bk_text_addf(t, "%s\n    \"%s\": {", b ? "," : "", names[b]);
        json_coefficients(t, "", &r->base[b], ", ");
        bk_text_add(t, "}");
    }
    bk_text_add(t, "\n  }");
    if (r->top)
        json_top(t, r, best);
    bk_text_add(t, "\n}\n");
}

/* ---- table for people ------------------------------------------------------------------------ */

static void text_row(struct bk_text *t, const char *name, const struct bk_correlation *c)
{
    bk_text_addf(t, "%-28s  %16.4f  %16.4f  %16.4f\n", name, c->kendall_tau, c->spearman_rho,
                 c->pearson_r);
}

static void text_intervals(struct bk_text *t, const struct bk_correlation_ci *ci)
{
    const struct bk_interval all[] = { ci->kendall_tau, ci->spearman_rho, ci->pearson_r };

    bk_text_addf(t, "%-28s", "  95 % interval");
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++) {
        char cell[64];
        snprintf(cell, sizeof cell, "%.4f..%.4f", all[i].low, all[i].high);
        bk_text_addf(t, "  %16s", cell);
    }
    bk_text_add(t, "\n");
}

static void text_top(struct bk_text *t, const struct ranking *r, const size_t *best)
{
    bk_text_addf(t, "\nbest %" PRId64 " rated: mean truth %.4f, regret %.4f, precision %.4f; tau among "
                 "the %" PRId64 " truly best %.4f\n", r->top, r->best.mean_truth, r->best.regret,
                 r->best.precision, r->top, r->best.tau_top);
    bk_text_addf(t, "%-32s  %14s  %10s\n", "architecture", "total", "truth");
    for (int64_t i = 0; i < r->top; i++)
        bk_text_addf(t, "%-32s  %14.9f  %10.4f\n", r->truth.arch[best[i]], r->total[best[i]],
                     r->truth.value[best[i]]);
}

static void write_text(struct bk_text *t, const struct ranking *r, const size_t *best)
{
    char counter[64];

    snprintf(counter, sizeof counter, "multiply-adds (%s)",
             r->space.info.counter ? r->space.info.counter : "own counter");
    bk_text_addf(t, "space %s, N = %zu, higher rating is better", r->space.name, r->truth.n);
    if (!r->higher)
        bk_text_add(t, " (totals negated)");
    if (r->round_totals >= 0)
        bk_text_addf(t, ", totals rounded to %" PRId64 " decimals", r->round_totals);
    bk_text_addf(t, "\n\n%-28s  %16s  %16s  %16s\n", "", "Kendall tau-b", "Spearman rho",
                 "Pearson R");
    text_row(t, "rating", &r->found);
    if (r->bootstrap)
        text_intervals(t, &r->ci);
    text_row(t, "parameters", &r->base[PARAMS]);
    text_row(t, "multiply-accumulates", &r->base[MACS]);
    text_row(t, counter, &r->base[COUNTER]);
    if (r->top)
        text_top(t, r, best);
}

/* ---- the command ----------------------------------------------------------------------------- */

static int print_result(const struct ranking *r, bool json, struct bk_error *err)
{
    struct bk_text text = BK_TEXT_INIT;
    size_t *best = NULL;

    if (r->top)
        BK_TRY(best_rated(r, &best, err));
    if (json)
        write_json(&text, r, best);
    else
        write_text(&text, r, best);
    int rc = bk__cli_print(&text, err);
    bk_text_release(&text);
    bk_free(best);
    return rc;
}

static void ranking_release(struct ranking *r)
{
    bk_free(r->total);
    for (int k = 0; k < BK_MAX_BLOCKS; k++)
        bk_block_table_release(&r->table[k]);
    bk_truth_release(&r->truth);
    bk_instance_close(r->instance);
    bk_registry_close(r->registry);
}

int bk__cli_rank(int argc, char **argv, struct bk_error *err)
{
    struct bk__cli_args args;
    struct ranking ranking = { .round_totals = -1 };

    int rc = bk__cli_parse(argc, argv, options, &args, err);
    if (rc || args.helped)
        goto done;
    rc = read_all(&args, &ranking, err);
    if (!rc)
        rc = compute(&ranking, err);
    if (!rc)
        rc = print_result(&ranking, bk__cli_text(&args, "json") != NULL, err);
done:
    ranking_release(&ranking);
    bk__cli_release(&args);
    return rc;
}

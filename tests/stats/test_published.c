/*
 * tests/stats/test_published.c: the rankings that BossNAS released, to all digits that are known.
 *
 * Truth and ratings are the released files (BK_TEST_DATA/nats_sss); the expected figures were computed from them with
 * SciPy 1.10 and agree with the published 0.53 / 0.73 / 0.72.
 */
#include "stats/nats_space.h"
#include "unit.h"

#include <bosskit/file.h>
#include <bosskit/stats.h>
#include <bosskit/table.h>

#define N_ARCHS 32768

struct released {
    struct bk_space space;
    struct bk_truth truth;
    struct bk_block_table table[3];
    double *total;
};

static bool have_data(char path[4096], const char *name)
{
    snprintf(path, 4096, "%s/nats_sss/%s", bk_test_env("BK_TEST_DATA"), name);
    return bk_file_exists(path);
}

static void released_read(struct released *r, const char *truth, const char *column)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[4096], name[64];

    r->space = nats_space();
    have_data(path, truth);
    BK_ASSERT_OK(bk_truth_read(path, column, &r->space, &r->truth, &err));
    for (int k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "bossnas_path_rank/path_rank_%d.yml", k);
        have_data(path, name);
        BK_ASSERT_OK(bk_ratings_read(path, &r->space, k, 0, &r->table[k], &err));
    }
    r->total = bk_alloc(r->truth.n * sizeof *r->total);
}

static void released_release(struct released *r)
{
    bk_truth_release(&r->truth);
    for (int k = 0; k < 3; k++)
        bk_block_table_release(&r->table[k]);
    bk_free(r->total);
}

static void score_all(struct released *r, const double *weight, int decimals)
{
    struct bk_error err = BK_ERROR_INIT;

    for (size_t i = 0; i < r->truth.n; i++)
        BK_ASSERT_OK(bk_arch_score(&r->space, r->table, &r->truth.parsed[i], weight, 4, decimals,
                                   &r->total[i], &err));
}

#define NEED_DATA()                                                                      \
    do {                                                                                 \
        char data_path_[4096];                                                           \
        if (!have_data(data_path_, "nats_cifar10_acc_rank.yml"))                         \
            BK_SKIP("no released files under BK_TEST_DATA");                             \
    } while (0)

static double sum_of(const double *v, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += v[i];
    return s;
}

static void test_files(void)
{
    static const struct {
        size_t n;
        const char *first, *last;
        double best, worst, sum;
    } want[3] = {
        { 64, "74", "07", -3.169246506690979, -3.1322417497634887, -202.009726930 },
        { 64, "57", "07", -3.0660645723342896, -3.0196392059326174, -195.442927766 },
        { 8, "6", "0", -2.929688024520874, -2.9120798349380492, -23.350939941 },
    };
    struct released r = { 0 };
    char text[BK_MAX_LAYERS + 1];

    NEED_DATA();
    double start = bk_now();
    released_read(&r, "nats_cifar10_acc_rank.yml", NULL);
    printf("  read in %.0f ms\n", 1e3 * (bk_now() - start));
    CU_ASSERT_EQUAL(r.truth.n, N_ARCHS);
    BK_ASSERT_CLOSE(sum_of(r.truth.value, r.truth.n), 2984688.49, 1e-12);
    CU_ASSERT_STRING_EQUAL(r.truth.arch[0], "16:16:16:16:16");
    CU_ASSERT_STRING_EQUAL(r.truth.arch[N_ARCHS - 1], "8:8:8:8:8");
    CU_ASSERT_EQUAL(r.truth.value[N_ARCHS - 1], 79.79);
    for (int k = 0; k < 3; k++) {
        const struct bk_block_table *t = &r.table[k];
        CU_ASSERT_EQUAL_FATAL(t->n, want[k].n);
        bk_path_format(&t->path[0], text);
        CU_ASSERT_STRING_EQUAL(text, want[k].first);
        bk_path_format(&t->path[t->n - 1], text);
        CU_ASSERT_STRING_EQUAL(text, want[k].last);
        CU_ASSERT_EQUAL(t->score[0], want[k].best);
        CU_ASSERT_EQUAL(t->score[t->n - 1], want[k].worst);
        CU_ASSERT(fabs(sum_of(t->score, t->n) - want[k].sum) < 6e-10);
    }
    released_release(&r);
}

static void check_correlation(const struct released *r, double tau, double rho, double pearson,
                              double tolerance)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_correlation c;

    BK_ASSERT_OK(bk_correlate(r->truth.value, r->total, r->truth.n, &c, &err));
    BK_ASSERT_CLOSE(c.kendall_tau, tau, tolerance);
    BK_ASSERT_CLOSE(c.spearman_rho, rho, tolerance);
    BK_ASSERT_CLOSE(c.pearson_r, pearson, tolerance);
}

static void check_counts(const struct released *r, int64_t ties_total, int64_t ties_both,
                         int64_t concordant, int64_t discordant)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_pair_counts c;

    BK_ASSERT_OK(bk_pair_count(r->truth.value, r->total, r->truth.n, &c, &err));
    CU_ASSERT_EQUAL(c.pairs, 536854528);
    CU_ASSERT_EQUAL(c.ties_x, 1384406);
    CU_ASSERT_EQUAL(c.ties_y, ties_total);
    CU_ASSERT_EQUAL(c.ties_both, ties_both);
    CU_ASSERT_EQUAL(c.concordant, concordant);
    CU_ASSERT_EQUAL(c.discordant, discordant);
}

static void test_correlations(void)
{
    struct released r = { 0 };

    NEED_DATA();
    released_read(&r, "nats_cifar10_acc_rank.yml", NULL);
    score_all(&r, NULL, 4);
    check_correlation(&r, -0.534180602249, -0.734149353855, -0.718060709396, 1e-12);
    check_counts(&r, 1164103, 4680, 124107056, 410203643);
    score_all(&r, NULL, -1);
    check_correlation(&r, -0.533622697703, -0.734169359832, -0.718067625068, 1e-12);
    check_counts(&r, 157, 1, 124680930, 410789036);
    static const double want[3][3] = {
        { -0.3186, -0.4636, -0.4297 }, { -0.3777, -0.5462, -0.5355 }, { -0.1535, -0.2154, -0.2181 },
    };
    for (int k = 0; k < 3; k++) {
        double weight[3] = { 0, 0, 0 };
        weight[k] = 1;
        score_all(&r, weight, -1);
        check_correlation(&r, want[k][0], want[k][1], want[k][2], 5.1e-5);
    }
    released_release(&r);
}

static void test_predicted_best(void)
{
    static const struct {
        const char *arch;
        double total, truth;
    } want[10] = {
        { "64:40:48:64:56", 2.835000896, 93.29 }, { "64:40:32:64:56", 2.835406184, 92.75 },
        { "64:40:56:24:56", 2.836412549, 92.35 }, { "64:40:56:64:56", 2.836464024, 93.21 },
        { "64:40:48:24:56", 2.836536241, 92.33 }, { "56:40:48:64:56", 2.836691189, 93.00 },
        { "56:40:32:64:56", 2.837096477, 92.52 }, { "48:40:48:64:56", 2.837954950, 92.84 },
        { "64:40:64:24:56", 2.838049388, 92.95 }, { "56:40:56:24:56", 2.838102841, 92.55 },
    };
    static const struct {
        size_t k;
        double mean;
    } tops[] = { { 10, 92.779 }, { 100, 92.651 }, { 1000, 92.450 } };
    struct bk_error err = BK_ERROR_INIT;
    struct released r = { 0 };
    struct bk_top top;

    NEED_DATA();
    released_read(&r, "nats_cifar10_acc_rank.yml", NULL);
    score_all(&r, NULL, -1);
    for (size_t i = 0; i < r.truth.n; i++)
        r.total[i] = -r.total[i];
    for (size_t i = 0; i < BK_ARRAY_LEN(tops); i++) {
        BK_ASSERT_OK(bk_top_k(r.total, r.truth.value, r.truth.n, tops[i].k, &top, &err));
        CU_ASSERT(fabs(top.mean_truth - tops[i].mean) < 5.1e-4);
    }
    size_t worst = 0;
    for (size_t i = 0; i < r.truth.n; i++)
        worst = r.total[i] < r.total[worst] ? i : worst;
    CU_ASSERT_STRING_EQUAL(r.truth.arch[worst], "8:64:8:64:8");
    CU_ASSERT(fabs(-r.total[worst] - 2.936039209) < 6e-10);
    for (int rank = 0; rank < 10; rank++) {
        size_t best = 0;
        for (size_t i = 1; i < r.truth.n; i++)
            best = r.total[i] > r.total[best] ? i : best;
        CU_ASSERT_STRING_EQUAL(r.truth.arch[best], want[rank].arch);
        CU_ASSERT(fabs(-r.total[best] - want[rank].total) < 6e-10);
        CU_ASSERT_EQUAL(r.truth.value[best], want[rank].truth);
        r.total[best] = -1e9;
    }
    released_release(&r);
}

static void test_spot_totals(void)
{
    static const struct {
        const char *arch;
        double total;
    } want[] = {
        { "8:8:8:8:8", 2.910782266 },
        { "32:32:32:32:32", 2.860338521 },
        { "64:64:64:64:64", 2.856844711 },
        { "64:64:56:64:24", 2.855992103 },
    };
    struct bk_error err = BK_ERROR_INIT;
    struct released r = { 0 };
    struct bk_arch arch;
    double total;

    NEED_DATA();
    released_read(&r, "nats_cifar10_acc_rank.yml", NULL);
    for (size_t i = 0; i < BK_ARRAY_LEN(want); i++) {
        BK_ASSERT_OK(bk_space_parse(&r.space, want[i].arch, &arch, &err));
        BK_ASSERT_OK(bk_arch_score(&r.space, r.table, &arch, NULL, 4, -1, &total, &err));
        CU_ASSERT(fabs(total - want[i].total) < 6e-10);
    }
    released_release(&r);
}

/* The CSV holds the same accuracies in index order, and the parameter counts; parameters alone reach tau 0.6904. */
static void test_csv_and_baseline(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_space space = nats_space();
    struct bk_truth truth = { 0 }, params = { 0 };
    struct bk_correlation c;
    struct bk_cost cost;
    char path[4096];

    if (!have_data(path, "nats_sss.csv"))
        BK_SKIP("no nats_sss.csv under BK_TEST_DATA");
    CU_ASSERT_EQUAL(bk_truth_read(path, NULL, &space, &truth, &err), BK_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'params', 'cifar10', 'cifar100'"));
    BK_ASSERT_OK(bk_truth_read(path, "cifar10", &space, &truth, &err));
    BK_ASSERT_OK(bk_truth_read(path, "params", &space, &params, &err));
    CU_ASSERT_EQUAL_FATAL(truth.n, N_ARCHS);
    BK_ASSERT_CLOSE(sum_of(truth.value, truth.n), 2984688.49, 1e-12);
    size_t wrong = 0;
    for (size_t i = 0; i < params.n; i++) {
        BK_ASSERT_OK(bk_space_cost(&space, &params.parsed[i], 10, &cost, &err));
        wrong += cost.params != params.value[i];
    }
    CU_ASSERT_EQUAL(wrong, 0);
    BK_ASSERT_OK(bk_correlate(params.value, truth.value, truth.n, &c, &err));
    BK_ASSERT_CLOSE(c.kendall_tau, 0.6904, 5.1e-5);
    BK_ASSERT_CLOSE(c.spearman_rho, 0.8721, 5.1e-5);
    BK_ASSERT_CLOSE(c.pearson_r, 0.8274, 5.1e-5);
    bk_truth_release(&truth);
    bk_truth_release(&params);
}

BK_SUITE({ "released files", test_files }, { "correlations and counts", test_correlations },
         { "predicted best", test_predicted_best }, { "spot totals", test_spot_totals },
         { "csv and the parameter baseline", test_csv_and_baseline })

/*
 * tests/stats/test_published_mbconv.c: the released MBConv ranking of 23 ImageNet networks.
 *
 * Expected figures: the released files through SciPy 1.10; published 0.65 / 0.78 / 0.85.
 */
#include "method_fixture.h"

#include <bosskit/file.h>
#include <bosskit/stats.h>
#include <bosskit/table.h>

#define N_BLOCKS 5

static const char *data_file(const char *name)
{
    static char path[4096];

    snprintf(path, sizeof path, "%s/mbconv_imagenet_23/%s", bk_test_env("BK_TEST_DATA"), name);
    return path;
}

static void check(const struct bk_space *space, const struct bk_truth *truth,
                  const struct bk_block_table *table, int decimals, const double want[3],
                  const int64_t counts[3])
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_correlation c;
    struct bk_pair_counts p;
    double total[23];

    for (size_t i = 0; i < truth->n; i++)
        BK_ASSERT_OK(bk_arch_score(space, table, &truth->parsed[i], NULL, 4, decimals, &total[i], &err));
    BK_ASSERT_OK(bk_correlate(truth->value, total, truth->n, &c, &err));
    BK_ASSERT_CLOSE(c.kendall_tau, want[0], 1e-12);
    BK_ASSERT_CLOSE(c.spearman_rho, want[1], 1e-12);
    BK_ASSERT_CLOSE(c.pearson_r, want[2], 1e-12);
    BK_ASSERT_OK(bk_pair_count(truth->value, total, truth->n, &p, &err));
    CU_ASSERT_EQUAL(p.pairs, 253);
    CU_ASSERT_EQUAL(p.ties_x, 0);
    CU_ASSERT_EQUAL(p.ties_both, 0);
    CU_ASSERT_EQUAL(p.ties_y, counts[0]);
    CU_ASSERT_EQUAL(p.concordant, counts[1]);
    CU_ASSERT_EQUAL(p.discordant, counts[2]);
}

static void test_ranking(void)
{
    static const double sums[N_BLOCKS] = { -50.715055399, -816.491021347, -858.471868486, -857.032222576,
                                           -873.123356972 };
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space space;
    struct bk_truth truth, summed;
    struct bk_block_table table[N_BLOCKS];

    if (!bk_file_exists(data_file("mbconv23.csv")))
        BK_SKIP("no released files under BK_TEST_DATA");
    fixture_open(&f);
    fixture_space(&f, "mbconv", NULL, &space);
    BK_ASSERT_OK(bk_truth_read(data_file("mbconv23.csv"), "imagenet_top1", &space, &truth, &err));
    BK_ASSERT_OK(bk_truth_read(data_file("mbconv23.csv"), "bossnas_score", &space, &summed, &err));
    CU_ASSERT_EQUAL_FATAL(truth.n, 23);
    for (int k = 0; k < N_BLOCKS; k++) {
        char name[64];
        double sum = 0;
        snprintf(name, sizeof name, "bossnas_path_rank/path_rank_%d.yml", k);
        BK_ASSERT_OK(bk_ratings_read(data_file(name), &space, k, 0, &table[k], &err));
        CU_ASSERT_EQUAL(table[k].n, k ? 256 : 16);
        for (size_t i = 0; i < table[k].n; i++)
            sum += table[k].score[i];
        CU_ASSERT(fabs(sum - sums[k]) < 6e-10);
    }
    check(&space, &truth, table, 4, (const double[]){ -0.646830489678, -0.777063861620, -0.847010348515 },
          (const int64_t[]){ 2, 44, 207 });
    check(&space, &truth, table, -1, (const double[]){ -0.644268774704, -0.776679841897, -0.846737215038 },
          (const int64_t[]){ 0, 45, 208 });
    /* The table's own sums, printed with six decimals. */
    for (size_t i = 0; i < truth.n; i++) {
        double total;
        BK_ASSERT_OK(bk_arch_score(&space, table, &truth.parsed[i], NULL, 0, -1, &total, &err));
        CU_ASSERT(fabs(total - summed.value[i]) < 5.1e-7);
    }
    bk_truth_release(&truth);
    bk_truth_release(&summed);
    for (int k = 0; k < N_BLOCKS; k++)
        bk_block_table_release(&table[k]);
    fixture_close(&f);
}

BK_SUITE({ "released ranking", test_ranking })

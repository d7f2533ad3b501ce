/*
 * The log of a search: what was rated is known after a reopening, in order, until something else is asked for.
 */
#include "unit.h"

#include "pipeline/search_log.h"
#include "store/store.h"
#include <bosskit/file.h>
#include <unistd.h>

static const struct bk_path path[4] = { { 2, { 0, 1 } }, { 2, { 1, 0 } }, { 2, { 1, 1 } }, { 2, { 0, 0 } } };

static void open_dir(char dir[64])
{
    snprintf(dir, 64, "/tmp/bosskit-log-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
}

static bool answers(struct bk_search_log *l, int32_t block, size_t first, size_t n, double score[4])
{
    struct bk_error err = BK_ERROR_INIT;
    bool known = false;
    for (int i = 0; i < 4; i++)
        score[i] = -1;
    BK_ASSERT_OK(bk__search_log_answer(l, block, &path[first], n, score, &known, &err));
    return known;
}

/* Three generations: block 0, block 0, block 1. */
static void fill(const char *dir)
{
    static const double score[4] = { 0.1, 1.0 / 3, -2e-300, 5 };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_search_log l;
    double got[4];
    BK_ASSERT_OK(bk__search_log_open(&l, dir, &err));
    for (int g = 0; g < 3; g++) {
        CU_ASSERT_FALSE(answers(&l, g / 2, (size_t)g, (size_t)(2 - g / 2), got));
        BK_ASSERT_OK(bk__search_log_add(&l, g / 2, &path[g], (size_t)(2 - g / 2), &score[g], &err));
        BK_ASSERT_OK(bk__search_log_save(&l, dir, &err));
    }
    CU_ASSERT_EQUAL(l.n_saves, 3);
    BK_ASSERT_OK(bk__search_log_save(&l, dir, &err));           /* nothing new */
    CU_ASSERT_EQUAL(l.n_saves, 3);
    bk__search_log_release(&l);
}

static void test_known(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_search_log l;
    char dir[64];
    double got[4];
    open_dir(dir);
    fill(dir);
    BK_ASSERT_OK(bk__search_log_open(&l, dir, &err));
    CU_ASSERT(answers(&l, 0, 0, 2, got) && got[0] == 0.1 && got[1] == 1.0 / 3);
    CU_ASSERT(answers(&l, 0, 1, 2, got) && got[0] == 1.0 / 3 && got[1] == -2e-300);
    CU_ASSERT(answers(&l, 1, 2, 1, got) && got[0] == -2e-300);
    CU_ASSERT_FALSE(answers(&l, 1, 3, 1, got));
    bk__search_log_release(&l);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

/* Other paths, another order, another block or number: from there on nothing is known, and the next checkpoint is the newest. */
static void test_other(void)
{
    struct bk_error err = BK_ERROR_INIT;
    static const struct { int32_t block; size_t first, n; } other[] = { { 0, 2, 2 }, { 1, 1, 2 }, { 0, 1, 1 }, { 0, 1, 3 } };
    for (size_t i = 0; i < BK_ARRAY_LEN(other); i++) {
        struct bk_search_log l;
        double got[4];
        char dir[64];
        open_dir(dir);
        fill(dir);
        BK_ASSERT_OK(bk__search_log_open(&l, dir, &err));
        CU_ASSERT(answers(&l, 0, 0, 2, got));
        CU_ASSERT_FALSE(answers(&l, other[i].block, other[i].first, other[i].n, got));
        got[0] = got[1] = got[2] = 9;
        BK_ASSERT_OK(bk__search_log_add(&l, other[i].block, &path[other[i].first], other[i].n, got, &err));
        BK_ASSERT_OK(bk__search_log_save(&l, dir, &err));
        bk__search_log_release(&l);
        BK_ASSERT_OK(bk__search_log_open(&l, dir, &err));
        CU_ASSERT(answers(&l, 0, 0, 2, got) && got[0] == 0.1);
        CU_ASSERT(answers(&l, other[i].block, other[i].first, other[i].n, got) && got[0] == 9);
        CU_ASSERT_FALSE(answers(&l, 1, 2, 1, got));
        bk__search_log_release(&l);
        BK_ASSERT_OK(bk_remove_tree(dir, &err));
    }
}

/* A damaged newest checkpoint: the one before. */
static void test_damaged(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_search_log l;
    char dir[64], file[128];
    double got[4];
    open_dir(dir);
    fill(dir);
    snprintf(file, sizeof file, "%s/" BK_CHECKPOINT_PREFIX "%012d" BK_CHECKPOINT_SUFFIX, dir, 3);
    CU_ASSERT_EQUAL(truncate(file, 100), 0);
    BK_ASSERT_OK(bk__search_log_open(&l, dir, &err));
    CU_ASSERT(answers(&l, 0, 0, 2, got));
    CU_ASSERT(answers(&l, 0, 1, 2, got));
    CU_ASSERT_FALSE(answers(&l, 1, 2, 1, got));
    bk__search_log_release(&l);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

BK_SUITE({ "known", test_known }, { "other paths", test_other }, { "damaged", test_damaged })

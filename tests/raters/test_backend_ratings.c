/*
 * Every rater of trained supernets on a backend (cpu, or the one that BK_TEST_BACKEND names) against the same ratings on `ref`: both
 * are given what was trained on `ref`. What a rating is: test_classification, test_population_center, test_distill_loss.
 */
#include "method_data.h"

/* In bf16 a rating is only near that in f32. */
static void compare(struct world *w, struct bk_block_table *got, const struct bk_block_table *want, double tolerance)
{
    double worst = 0, largest = 0;
    CU_ASSERT_EQUAL_FATAL(got->n, want->n);
    for (size_t i = 0; i < want->n; i++) {
        CU_ASSERT(bk_path_equal(&got->path[i], &want->path[i]));
        worst = fmax(worst, fabs(got->score[i] - want->score[i]));
        largest = fmax(largest, fabs(want->score[i]));
    }
    printf("  %s: %.2g of %.3g ...", bk_dtype_name(w->env.dtype), worst, largest);
    CU_ASSERT(worst <= tolerance * largest);
    bk_block_table_release(got);
}

static void check(const char *trainer, const char *const *training, const char *rater, const char *const *rating, bool behind)
{
    struct world w;
    world_open(&w, BK_F32, 20, 14);
    struct bk_bundle *trained = world_train(&w, trainer, training, NULL, NULL), *first = trained;
    if (behind) {
        world_enter_block_1(&w);
        trained = world_train(&w, trainer, training, first, NULL);
        bk_bundle_free(first);
    }
    struct bk_block_table want = world_rate(&w, rater, trained, rating), got;
    bool there = world_use_backend(&w, bk_test_backend("cpu"));
    if (there) {
        got = world_rate(&w, rater, trained, rating);
        compare(&w, &got, &want, 1e-4);
        w.env.dtype = BK_BF16;
        got = world_rate(&w, rater, trained, rating);
        compare(&w, &got, &want, 0.03);
        if (bk_device_makes_views(w.device)) {  /* the same pixels made there: the same ratings to the bit */
            struct bk_block_table host = world_rate(&w, rater, trained, rating);
            w.data.plan_only = true;
            got = world_rate(&w, rater, trained, rating);
            compare(&w, &got, &host, 0);
            bk_block_table_release(&host);
        }
    }
    bk_block_table_release(&want);
    bk_bundle_free(trained);
    world_close(&w);
    if (!there)
        BK_SKIP("backend '%s' is not built or not available", bk_test_backend("cpu"));
}

static void test_supervised_acc(void)
{
    check("supervised", OPTIONS("epochs=1", "batch=6"), "supervised_acc", OPTIONS("calib_images=8", "batch=6"), true);
}

static void test_linear_eval(void)
{
    check("ensemble_bootstrap", OPTIONS("epochs=1", "batch=6", "accumulate=1", "hidden=8", "embed=6"), "linear_eval",
          OPTIONS("calib_images=8", "batch=6", "epochs=2", "train_batch=6"), false);
}

static void test_population_center(void)
{
    check("ensemble_bootstrap", OPTIONS("epochs=1", "batch=6", "accumulate=1", "hidden=8", "embed=6"), "population_center",
          OPTIONS("calib_images=8", "batch=6"), true);
}

static void test_distill_loss(void)
{
    check("distill", OPTIONS("epochs=1", "batch=10", "teacher_epochs=1"), "distill_loss", OPTIONS("calib_images=20", "batch=8"), true);
}

BK_SUITE({ "supervised_acc", test_supervised_acc }, { "linear_eval", test_linear_eval },
         { "population_center", test_population_center }, { "distill_loss", test_distill_loss })

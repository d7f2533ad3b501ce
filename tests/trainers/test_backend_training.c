/*
 * Every trainer on a backend (cpu, or the one that BK_TEST_BACKEND names): the loss of an epoch is that of `ref`, in bf16 near it, and a
 * run that was stopped goes on with the same bytes. One step against PyTorch: test_bootstrap_fixture, test_supervised_step,
 * test_distill_step.
 */
#include "trainers/trainer_checks.h"

/* With a rate so low that rounding has no time to grow. */
static void check_loss(const char *trainer, const char *const *options)
{
    struct world w;
    double want, got;
    world_open(&w, BK_F32, 20, 8);
    bk_bundle_free(world_train(&w, trainer, options, NULL, &want));
    WORLD_ON(&w, bk_test_backend("cpu"));
    bk_bundle_free(world_train(&w, trainer, options, NULL, &got));
    BK_ASSERT_CLOSE(got, want, 1e-4 * fabs(want));
    w.env.dtype = BK_BF16;
    bk_bundle_free(world_train(&w, trainer, options, NULL, &got));
    printf("  bf16 %.4g, f32 %.4g ...", got, want);
    BK_ASSERT_CLOSE(got, want, 0.03 * fabs(want));
    world_close(&w);
}

static void check_going_on(const char *trainer, const char *const *options)
{
    struct world w;
    world_open(&w, BK_F32, 20, 8);
    WORLD_ON(&w, bk_test_backend("cpu"));
    check_resume(&w, trainer, NULL, options);
    world_close(&w);
}

#define BOOTSTRAP "accumulate=2", "hidden=8", "embed=6", "lr=0.01"

static void test_bootstrap_loss(void)
{
    check_loss("ensemble_bootstrap", OPTIONS("epochs=1", "batch=10", BOOTSTRAP));
}

static void test_supervised_loss(void)
{
    check_loss("supervised", OPTIONS("epochs=2", "batch=6", "lr=0.001"));
}

static void test_distill_loss(void)
{
    check_loss("distill", OPTIONS("epochs=2", "batch=10", "teacher_epochs=1", "lr=0.0001"));
}

static void test_bootstrap_resume(void)
{
    check_going_on("ensemble_bootstrap", OPTIONS("epochs=3", "batch=6", BOOTSTRAP));
}

static void test_supervised_resume(void)
{
    check_going_on("supervised", OPTIONS("epochs=3", "batch=6", "accumulate=5"));
}

static void test_distill_resume(void)
{
    check_going_on("distill", OPTIONS("batch=10", "epochs=3", "teacher_epochs=3"));
}

BK_SUITE({ "bootstrapping, loss", test_bootstrap_loss }, { "supervised, loss", test_supervised_loss },
         { "distillation, loss", test_distill_loss }, { "bootstrapping goes on", test_bootstrap_resume },
         { "supervised goes on", test_supervised_resume }, { "distillation goes on", test_distill_resume })

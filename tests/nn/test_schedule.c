/* Schedules against the figures of the release's recipe and against their closed forms. */
#include "unit.h"

#include <bosskit/optim.h>

static void test_rate_of_each_epoch(void)
{
    /* 6 epochs, lr 4.8, stepped once an epoch. */
    static const double wanted[] = { 4.8, 4.478, 3.6, 2.4, 1.2, 0.3215 };

    for (int e = 0; e < 6; e++)
        BK_ASSERT_CLOSE(4.8 * bk_schedule_cosine(e, 6), wanted[e], e ? 1.3e-4 : 1e-15);
    CU_ASSERT_EQUAL(bk_schedule_cosine(0, 6), 1);
    CU_ASSERT_EQUAL(bk_schedule_cosine(6, 6), 0);
    BK_ASSERT_CLOSE(bk_schedule_cosine(2, 6), 0.75, 1e-15);
}

static void test_warmup(void)
{
    BK_ASSERT_CLOSE(bk_schedule_warmup(0, 100, 1e-4), 1e-4, 1e-12);
    BK_ASSERT_CLOSE(bk_schedule_warmup(50, 100, 1e-4), 0.50005, 1e-12);
    BK_ASSERT_CLOSE(bk_schedule_warmup(99, 100, 1e-4), 1 - 0.01 * 0.9999, 1e-12);
    CU_ASSERT_EQUAL(bk_schedule_warmup(100, 100, 1e-4), 1);
    CU_ASSERT_EQUAL(bk_schedule_warmup(0, 0, 1e-4), 1);
}

static void test_ema_momentum(void)
{
    double before = 0;

    BK_ASSERT_CLOSE(bk_schedule_ema(0.99, 0, 2450), 0.99, 1e-15);
    BK_ASSERT_CLOSE(bk_schedule_ema(0.99, 1225, 2450), 0.995, 1e-14);
    BK_ASSERT_CLOSE(bk_schedule_ema(0.99, 2450, 2450), 1, 1e-15);
    /* The first update of a block comes at iteration U - 1 = 3, the last just below 1. */
    CU_ASSERT_TRUE(bk_schedule_ema(0.99, 3, 2450) > 0.99);
    CU_ASSERT_TRUE(bk_schedule_ema(0.99, 2449, 2450) < 1);
    for (int i = 0; i <= 2450; i++) {
        double m = bk_schedule_ema(0.99, i, 2450);
        CU_ASSERT_TRUE(m > before || i == 0);
        before = m;
    }
}

BK_SUITE({ "learning rate of each epoch", test_rate_of_each_epoch }, { "warm-up", test_warmup },
         { "momentum of the moving average", test_ema_momentum })

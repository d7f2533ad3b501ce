/*
 * nn/schedule.c: factors of learning rates and of the moving average as functions of progress.
 *
 * Pure functions; who evaluates them per epoch or per iteration is the trainer's business.
 */
#include <bosskit/optim.h>

#include <math.h>

static const double pi = 3.14159265358979323846;

/* Loshchilov, Hutter 2017 (SGDR), without restarts. */
double bk_schedule_cosine(double t, double total)
{
    if (!(total > 0) || t >= total)
        return 0;
    return t <= 0 ? 1 : 0.5 * (1 + cos(pi * t / total));
}

/* Linear warm-up of the BossNAS release, 1 - (1 - i/n)(1 - ratio). */
double bk_schedule_warmup(double i, double n, double ratio)
{
    return i < n ? 1 - (1 - i / n) * (1 - ratio) : 1;
}

/* Grill et al. 2020 (BYOL), appendix J: tau = 1 - (1 - tau0)(cos(pi k/K) + 1)/2. */
double bk_schedule_ema(double m0, double i, double total)
{
    return 1 - (1 - m0) * bk_schedule_cosine(i, total);
}

/*
 * The interval of a binomial proportion: Wilson's score interval (Wilson 1927), which stays inside 0..1 and keeps its
 * coverage near the ends, where the normal one does not (Brown, Cai, DasGupta 2001).
 */
#include <bosskit/stats.h>

#include <math.h>

struct bk_interval bk_proportion_interval(int64_t k, int64_t n)
{
    const double z = 1.959963984540054; /* standard normal quantile of 0.975 */
    struct bk_interval out = { NAN, NAN };
    if (n < 1 || k < 0 || k > n)
        return out;
    double p = (double)k / (double)n, scale = 1 + z * z / (double)n;
    double middle = (p + z * z / (2 * (double)n)) / scale;
    double half = z / scale * sqrt(p * (1 - p) / (double)n + z * z / (4 * (double)n * (double)n));
    out.low = k == 0 ? 0 : middle - half;
    out.high = k == n ? 1 : middle + half;
    return out;
}

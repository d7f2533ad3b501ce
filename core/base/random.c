/*
 * base/random.c: Philox4x32-10 and the draws built on it.
 *
 * The counter holds (word block, index, step low, step high); a draw consumes words in order, so a cursor is a value
 * that can be copied, stored and replayed.
 *
 * Source: Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011), section 3.3 and the
 * constants of its figure 4.
 */
#include <bosskit/random.h>

#include <math.h>
#include <string.h>

#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u   /* golden ratio */
#define PHILOX_W1 0xBB67AE85u   /* sqrt(3) - 1 */

void bk_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];

    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0, p1 = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint32_t bk_random_stream(const char *name)
{
    uint32_t h = 2166136261u;

    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return h;
}

void bk_random_init(struct bk_random *r, uint64_t seed, uint32_t stream, uint64_t step,
                    uint32_t index)
{
    memset(r, 0, sizeof *r);
    r->key[0] = (uint32_t)seed ^ stream;
    r->key[1] = (uint32_t)(seed >> 32) ^ (stream << 16 | stream >> 16);
    r->counter[1] = index;
    r->counter[2] = (uint32_t)step;
    r->counter[3] = (uint32_t)(step >> 32);
    r->used = 4;
}

uint32_t bk_random_u32(struct bk_random *r)
{
    if (r->used >= 4) {
        bk_philox4x32(r->counter, r->key, r->block);
        r->counter[0]++;
        r->used = 0;
    }
    return r->block[r->used++];
}

float bk_random_f32(struct bk_random *r)
{
    return (float)(bk_random_u32(r) >> 8) * 0x1p-24f;
}

double bk_random_f64(struct bk_random *r)
{
    uint64_t high = bk_random_u32(r) >> 5, low = bk_random_u32(r) >> 6;

    return (double)(high << 26 | low) * 0x1p-53;
}

uint32_t bk_random_below(struct bk_random *r, uint32_t n)
{
    /* 2^32 mod n values are refused, so that every remainder is equally likely. */
    uint32_t refuse = (0u - n) % n, u;

    do {
        u = bk_random_u32(r);
    } while (u < refuse);
    return u % n;
}

double bk_random_normal(struct bk_random *r)
{
    /* Box and Muller (1958); 1 - u lies in (0, 1], so the logarithm is finite. */
    double radius = sqrt(-2.0 * log(1.0 - bk_random_f64(r)));

    return radius * cos(6.283185307179586476925 * bk_random_f64(r));
}

void bk_random_permutation(struct bk_random *r, uint32_t n, uint32_t *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = bk_random_below(r, i), t = out[i - 1];
        out[i - 1] = out[j];
        out[j] = t;
    }
}

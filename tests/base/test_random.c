/*
 * tests/base/test_random.c: Philox against the known answers of Random123, draws against their distributions.
 */
#include "unit.h"

#include <bosskit/random.h>

/* kat_vectors of Random123 1.14, "philox4x32 10". */
static void test_known_answers(void)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } kat[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };

    for (size_t i = 0; i < BK_ARRAY_LEN(kat); i++) {
        uint32_t out[4];
        bk_philox4x32(kat[i].counter, kat[i].key, out);
        CU_ASSERT_EQUAL(memcmp(out, kat[i].want, sizeof out), 0);
    }
}

/* FNV-1a test vectors of the authors (Fowler, Noll, Vo). */
static void test_stream(void)
{
    CU_ASSERT_EQUAL(bk_random_stream(""), 0x811c9dc5);
    CU_ASSERT_EQUAL(bk_random_stream("a"), 0xe40c292c);
    CU_ASSERT_EQUAL(bk_random_stream("foobar"), 0xbf9cf968);
}

static void test_layout(void)
{
    const uint64_t seed = 0x1122334455667788u, step = 0x99aabbccddeeff00u;
    const uint32_t stream = 0x12345678, index = 42;
    const uint32_t key[2] = { 0x55667788 ^ stream, 0x11223344 ^ 0x56781234 };
    struct bk_random r, copy;
    uint32_t want[4];

    bk_random_init(&r, seed, stream, step, index);
    for (uint32_t block = 0; block < 3; block++) {
        const uint32_t counter[4] = { block, index, 0xddeeff00, 0x99aabbcc };
        bk_philox4x32(counter, key, want);
        for (int i = 0; i < 4; i++)
            CU_ASSERT_EQUAL(bk_random_u32(&r), want[i]);
    }
    bk_random_u32(&r);
    copy = r;
    for (int i = 0; i < 9; i++)
        CU_ASSERT_EQUAL(bk_random_u32(&r), bk_random_u32(&copy));
}

static void test_uniform(void)
{
    struct bk_random r, words;
    double sum = 0, squares = 0;
    int n = 20000;

    bk_random_init(&r, 1, 2, 3, 4);
    words = r;
    CU_ASSERT_EQUAL(bk_random_f32(&r), (float)(bk_random_u32(&words) >> 8) / 16777216.0f);
    for (int i = 0; i < n; i++) {
        double u = bk_random_f64(&r);
        CU_ASSERT_FATAL(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
    }
    /* Five standard errors: sqrt(1/12/n), sqrt(4/45/n). */
    CU_ASSERT(fabs(sum / n - 0.5) < 5 * sqrt(1.0 / 12 / n));
    CU_ASSERT(fabs(squares / n - 1.0 / 3) < 5 * sqrt(4.0 / 45 / n));
}

static void test_below(void)
{
    struct bk_random r;
    int count[7] = { 0 }, n = 70000;
    double chi = 0;

    bk_random_init(&r, 5, 0, 0, 0);
    for (int i = 0; i < n; i++)
        count[bk_random_below(&r, 7)]++;
    for (int i = 0; i < 7; i++)
        chi += (count[i] - 1e4) * (count[i] - 1e4) / 1e4;
    CU_ASSERT(chi < 22.5);      /* chi-squared, 6 degrees of freedom, p = 0.001 */
    CU_ASSERT_EQUAL(bk_random_below(&r, 1), 0);
    for (int i = 0; i < 100; i++)
        CU_ASSERT(bk_random_below(&r, 0xfffffffe) < 0xfffffffe);
}

static void test_normal(void)
{
    struct bk_random r;
    double sum = 0, squares = 0, fourth = 0;
    int n = 50000;

    bk_random_init(&r, 9, 0, 0, 0);
    for (int i = 0; i < n; i++) {
        double z = bk_random_normal(&r);
        sum += z;
        squares += z * z;
        fourth += z * z * z * z;
    }
    CU_ASSERT(fabs(sum / n) < 5 / sqrt(n));
    CU_ASSERT(fabs(squares / n - 1) < 5 * sqrt(2.0 / n));
    CU_ASSERT(fabs(fourth / n - 3) < 5 * sqrt(96.0 / n));
}

static void test_permutation(void)
{
    struct bk_random r;
    int count[6] = { 0 };
    uint32_t p[100];
    bool seen[100] = { false };

    bk_random_init(&r, 3, 0, 0, 0);
    bk_random_permutation(&r, 100, p);
    for (int i = 0; i < 100; i++)
        seen[p[i]] = true;
    for (int i = 0; i < 100; i++)
        CU_ASSERT(seen[i]);
    for (int i = 0; i < 12000; i++) {
        bk_random_permutation(&r, 3, p);
        count[p[0] * 2 + (p[1] > p[2])]++;
    }
    for (int i = 0; i < 6; i++)
        CU_ASSERT(abs(count[i] - 2000) < 5 * 41);   /* binomial: sqrt(12000 * 1/6 * 5/6) = 40.8 */
    bk_random_permutation(&r, 0, p);
}

BK_SUITE({ "known answers", test_known_answers }, { "stream names", test_stream },
         { "layout", test_layout }, { "uniform", test_uniform }, { "below", test_below },
         { "normal", test_normal }, { "permutation", test_permutation })

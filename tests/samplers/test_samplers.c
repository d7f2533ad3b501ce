/*
 * Samplers "uniform" and "fair": what a step's paths have in common, and how often each comes.
 */
#include "method_fixture.h"

static struct bk_sampler open_sampler(struct fixture *f, const char *name, const char *const *options)
{
    struct bk_instance *i = fixture_get(f, BK_KIND_SAMPLER, name, options);
    return (struct bk_sampler){ bk_instance_iface(i), i->state, name };
}

static int draw(struct bk_sampler *s, struct bk_space *space, int block, uint64_t step, int wanted, struct bk_path *out,
                struct bk_error *err)
{
    int32_t n = -1;
    int rc = s->iface->sample(s->state, space, block, 0, 42, step, wanted, out, &n, err);
    return rc ? rc : n;
}

/* Every candidate of every layer exactly once a step. */
static void test_fair_uses_every_candidate_once(void)
{
    struct fixture f;
    struct bk_space space;
    struct bk_path path[BK_MAX_SAMPLED];
    fixture_open(&f);
    fixture_space(&f, "nats_ss", NULL, &space);
    struct bk_sampler s = open_sampler(&f, "fair", NULL);
    int pairs[8][8] = { { 0 } };
    for (uint64_t step = 0; step < 800; step++) {
        unsigned seen[2] = { 0, 0 };
        CU_ASSERT_EQUAL_FATAL(draw(&s, &space, 0, step, 0, path, &f.err), 8);
        for (int p = 0; p < 8; p++) {
            CU_ASSERT_EQUAL(path[p].n, 2);
            seen[0] |= 1u << path[p].op[0];
            seen[1] |= 1u << path[p].op[1];
            pairs[path[p].op[0]][path[p].op[1]]++;
        }
        CU_ASSERT_EQUAL(seen[0], 255);
        CU_ASSERT_EQUAL(seen[1], 255);
    }
    for (int a = 0; a < 8; a++)         /* the layers are independent: 100 of each expected, sd < 10 */
        for (int b = 0; b < 8; b++)
            CU_ASSERT(pairs[a][b] > 55 && pairs[a][b] < 145);
    fixture_close(&f);
}

static void test_fair_with_other_numbers(void)
{
    struct fixture f;
    struct bk_space space;
    struct bk_path all[BK_MAX_SAMPLED], four[BK_MAX_SAMPLED], many[BK_MAX_SAMPLED];
    fixture_open(&f);
    fixture_space(&f, "nats_ss", NULL, &space);
    struct bk_sampler s = open_sampler(&f, "fair", NULL);
    CU_ASSERT_EQUAL_FATAL(draw(&s, &space, 1, 5, 0, all, &f.err), 8);
    CU_ASSERT_EQUAL_FATAL(draw(&s, &space, 1, 5, 4, four, &f.err), 4);
    CU_ASSERT_EQUAL_FATAL(draw(&s, &space, 1, 5, 20, many, &f.err), 20);
    for (int p = 0; p < 8; p++) {
        CU_ASSERT(p >= 4 || bk_path_equal(&four[p], &all[p]));
        CU_ASSERT(bk_path_equal(&many[p], &all[p]));
    }
    int count[8] = { 0 };
    for (int p = 0; p < 20; p++)
        count[many[p].op[1]]++;
    for (int c = 0; c < 8; c++)
        CU_ASSERT(count[c] == 2 || count[c] == 3);
    CU_ASSERT_EQUAL(draw(&s, &space, 1, 5, BK_MAX_SAMPLED + 1, many, &f.err), BK_EINVAL);
    fixture_close(&f);
}

static void test_uniform_is_distinct_and_uniform(void)
{
    struct fixture f;
    struct bk_space space;
    struct bk_path path[BK_MAX_SAMPLED];
    int count[64] = { 0 };
    fixture_open(&f);
    fixture_space(&f, "nats_ss", NULL, &space);
    struct bk_sampler s = open_sampler(&f, "uniform", NULL);
    for (uint64_t step = 0; step < 1600; step++) {
        CU_ASSERT_EQUAL_FATAL(draw(&s, &space, 0, step, 0, path, &f.err), 4);
        for (int p = 0; p < 4; p++) {
            for (int q = 0; q < p; q++)
                CU_ASSERT(!bk_path_equal(&path[p], &path[q]));
            count[path[p].op[0] * 8 + path[p].op[1]]++;
        }
    }
    for (int i = 0; i < 64; i++)        /* 100 expected */
        CU_ASSERT(count[i] > 55 && count[i] < 145);
    CU_ASSERT_EQUAL(draw(&s, &space, 2, 0, 8, path, &f.err), 8);
    CU_ASSERT_EQUAL(draw(&s, &space, 2, 0, 9, path, &f.err), BK_EINVAL);
    struct bk_sampler one = open_sampler(&f, "uniform", OPTIONS("replace=true", "paths=1"));
    CU_ASSERT_EQUAL(draw(&one, &space, 2, 0, 9, path, &f.err), 9);
    CU_ASSERT_EQUAL(draw(&one, &space, 2, 0, 0, path, &f.err), 1);
    fixture_close(&f);
}

/* A function of seed, block and step alone. */
static void test_no_memory(void)
{
    static const char *const names[] = { "fair", "uniform" };
    struct fixture f;
    struct bk_space space;
    struct bk_path first[BK_MAX_SAMPLED], again[BK_MAX_SAMPLED];
    fixture_open(&f);
    fixture_space(&f, "nats_ss", NULL, &space);
    for (int i = 0; i < 2; i++) {
        struct bk_sampler a = open_sampler(&f, names[i], NULL), b = open_sampler(&f, names[i], NULL);
        int n = draw(&a, &space, 0, 7, 4, first, &f.err), different = 0;
        CU_ASSERT_EQUAL_FATAL(n, 4);
        CU_ASSERT_EQUAL(draw(&b, &space, 1, 3, 4, again, &f.err), 4);
        CU_ASSERT_EQUAL(draw(&b, &space, 0, 7, 4, again, &f.err), 4);
        for (int p = 0; p < 4; p++)
            CU_ASSERT(bk_path_equal(&first[p], &again[p]));
        CU_ASSERT_EQUAL(draw(&b, &space, 0, 8, 4, again, &f.err), 4);
        for (int p = 0; p < 4; p++)
            different += !bk_path_equal(&first[p], &again[p]);
        CU_ASSERT(different > 0);
    }
    fixture_close(&f);
}

BK_SUITE({ "fair: every candidate once", test_fair_uses_every_candidate_once },
         { "fair: other numbers", test_fair_with_other_numbers },
         { "uniform: distinct and uniform", test_uniform_is_distinct_and_uniform }, { "no memory", test_no_memory })

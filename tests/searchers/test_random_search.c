/*
 * Searcher "random": asks for the wanted number within the limits and remembers the best in either direction.
 */
#include "method_fixture.h"

static void run(const char *const *options, uint32_t better, size_t wanted, double limit)
{
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    struct bk_arch arch[7];
    double score[7], best = 0;
    size_t n, total = 0;
    struct bk_found found;
    fixture_open(&f);
    fixture_space(&f, "nats_ss", NULL, &s);
    struct bk_instance *i = fixture_get(&f, BK_KIND_SEARCHER, "random", options);
    const struct bk_searcher_iface *r = bk_instance_iface(i);
    struct bk_env env = { .struct_size = sizeof env, .space = &s, .seed = 9 };
    CU_ASSERT_EQUAL(r->ask(i->state, arch, 7, &n, &err), BK_ESTATE);
    BK_ASSERT_OK(r->begin(i->state, &env, better, &err));
    CU_ASSERT_EQUAL(r->best(i->state, &found, &err), BK_ENOTFOUND);
    for (;;) {
        BK_ASSERT_OK(r->ask(i->state, arch, 7, &n, &err));
        if (!n)
            break;
        for (size_t k = 0; k < n; k++, total++) {
            struct bk_cost c;
            BK_ASSERT_OK(bk_space_cost(&s, &arch[k], 10, &c, &err));
            CU_ASSERT(c.params <= limit);
            score[k] = fmod(c.macs, 1e5);
            if (!total || (better == BK_HIGHER_IS_BETTER ? score[k] > best : score[k] < best))
                best = score[k];
        }
        BK_ASSERT_OK(r->tell(i->state, arch, score, n, &err));
    }
    CU_ASSERT_EQUAL(total, wanted);
    BK_ASSERT_OK(r->best(i->state, &found, &err));
    CU_ASSERT_EQUAL(found.score, best);
    CU_ASSERT_EQUAL(fmod(found.cost.macs, 1e5), best);
    fixture_close(&f);
}

static void test_search(void)
{
    run(OPTIONS("n=100"), BK_LOWER_IS_BETTER, 100, 1e9);
    run(OPTIONS("n=33", "max_params=150000.0"), BK_HIGHER_IS_BETTER, 33, 150000);
}

static void test_impossible_limits(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    struct bk_arch arch;
    size_t n;
    fixture_open(&f);
    fixture_space(&f, "nats_ss", NULL, &s);
    struct bk_instance *i = fixture_get(&f, BK_KIND_SEARCHER, "random", OPTIONS("max_params=11713.0"));
    const struct bk_searcher_iface *r = bk_instance_iface(i);
    struct bk_env env = { .struct_size = sizeof env, .space = &s };
    BK_ASSERT_OK(r->begin(i->state, &env, BK_LOWER_IS_BETTER, &err));
    CU_ASSERT_EQUAL(r->ask(i->state, &arch, 1, &n, &err), BK_ENOTFOUND);
    fixture_close(&f);
}

BK_SUITE({ "search", test_search }, { "impossible limits", test_impossible_limits })

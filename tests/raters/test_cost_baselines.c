/*
 * Baseline raters: published costs, higher is better.
 */
#include "method_fixture.h"

static void check(const char *rater, const char *const *options, const double wanted[2])
{
    static const char *const text[2] = { "8:8:8:8:8", "64:40:48:64:56" };
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    struct bk_arch arch[2];
    double score[2];
    fixture_open(&f);
    fixture_space(&f, "nats_ss", NULL, &s);
    for (int i = 0; i < 2; i++)
        BK_ASSERT_OK(bk_space_parse(&s, text[i], &arch[i], &err));
    struct bk_instance *i = fixture_get(&f, BK_KIND_RATER, rater, options);
    const struct bk_rater_iface *r = bk_instance_iface(i);
    struct bk_env env = { .struct_size = sizeof env, .space = &s };
    CU_ASSERT_EQUAL(r->flags, BK_RATER_ARCHS);
    CU_ASSERT_EQUAL(r->better, BK_HIGHER_IS_BETTER);
    BK_ASSERT_OK(r->rate_archs(i->state, &env, arch, 2, score, &err));
    CU_ASSERT_EQUAL(score[0], wanted[0]);
    CU_ASSERT_EQUAL(score[1], wanted[1]);
    fixture_close(&f);
}

static void test_costs(void)
{
    check("params", NULL, (double[]){ 11714, 548202 });
    check("macs", NULL, (double[]){ 4481104, 240120368 });
    check("madds", NULL, (double[]){ 4481114, 240120378 });
    check("params", OPTIONS("classes=100"), (double[]){ 12524, 553332 });
    check("madds", OPTIONS("classes=100"), (double[]){ 4481924, 240125508 });
    check("width_sum", NULL, (double[]){ 40, 272 });
}

BK_SUITE({ "costs", test_costs })

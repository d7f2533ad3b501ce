/*
 * Drawings of spaces against what the papers print: Figures 5 and 10 of BossNAS (op and scale of every layer), the
 * EfficientNet stages of MBConv, the five widths of NATS-SS.
 */
#include "method_fixture.h"

struct layer {
    const char *label;
    int32_t block, scale, width;
};

static void check(struct fixture *f, const struct bk_space *s, const char *arch, const struct layer *wanted, int32_t n_wanted)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_drawn_layer layer[64];
    struct bk_arch a;
    int32_t n = 0;
    (void)f;
    BK_ASSERT_OK(bk_space_parse(s, arch, &a, &err));
    BK_ASSERT_OK(s->iface->draw(s->state, &a, layer, 64, &n, &err));
    CU_ASSERT_EQUAL_FATAL(n, n_wanted);
    for (int32_t i = 0; i < n; i++) {
        CU_ASSERT_STRING_EQUAL(layer[i].label, wanted[i].label);
        CU_ASSERT_EQUAL(layer[i].block, wanted[i].block);
        CU_ASSERT_EQUAL(layer[i].scale, wanted[i].scale);
        CU_ASSERT_EQUAL(layer[i].width, wanted[i].width);
    }
    CU_ASSERT_EQUAL(s->iface->draw(s->state, &a, layer, n_wanted - 1, &n, &err), BK_EINVAL);
    a.n_blocks--;
    CU_ASSERT_EQUAL(s->iface->draw(s->state, &a, layer, 64, &n, &err), BK_EINVAL);
}

static void test_nats_ss(void)
{
    static const struct layer c10[] = { { "cell", 0, 1, 64 }, { "reduction", 0, 2, 40 }, { "cell", 1, 2, 48 },
                                        { "reduction", 1, 4, 64 }, { "cell", 2, 4, 56 } };
    static const struct layer c100[] = { { "cell", 0, 1, 8 }, { "reduction", 0, 2, 16 }, { "cell", 1, 2, 24 },
                                         { "reduction", 2, 4, 32 }, { "cell", 2, 4, 40 } };
    struct fixture f;
    struct bk_space s;
    fixture_open(&f);
    fixture_space(&f, "nats_ss", NULL, &s);
    check(&f, &s, "64:40:48:64:56", c10, 5);
    fixture_space(&f, "nats_ss", OPTIONS("division=cifar100"), &s);
    check(&f, &s, "8:16:24:32:40", c100, 5);
    fixture_close(&f);
}

/* BossNet-T0: 8 ResConv and 8 ResAtt; R50-T: 3, 4, 6, 3 convolutions of ResNet50's stages. */
static void test_hytra(void)
{
    static const int t0[16] = { 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0 };
    static const int t0_scale[16] = { 4, 8, 16, 16, 16, 16, 16, 32, 32, 32, 32, 32, 32, 32, 32, 32 };
    static const int stage[4] = { 3, 4, 6, 3 };
    struct layer boss[16], r50[16];
    struct fixture f;
    struct bk_space s;
    int n = 0;
    for (int i = 0; i < 16; i++)
        boss[i] = (struct layer){ t0[i] ? "ResConv" : "ResAtt", i / 4, t0_scale[i], 64 * t0_scale[i] };
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < stage[k]; i++, n++)
            r50[n] = (struct layer){ "ResConv", n / 4, 4 << k, 256 << k };
    fixture_open(&f);
    fixture_space(&f, "hytra", NULL, &s);
    check(&f, &s, "5433 3230 0010 0000", boss, 16);
    check(&f, &s, "5554 4443 3333 3111", r50, 16);
    for (int i = 0; i < 16; i++)        /* T1: the last stage at 1/16 */
        boss[i].scale = boss[i].scale == 32 ? 16 : boss[i].scale;
    fixture_space(&f, "hytra", OPTIONS("last_stride=1"), &s);
    check(&f, &s, "5433 3230 0010 0000", boss, 16);
    fixture_close(&f);
}

/* EfficientNet-B0's stages 2 to 6 (Tan and Le 2019, Table 1). */
static void test_mbconv(void)
{
    static const struct { int n, kernel, width, scale; } stage[5] = { { 2, 3, 24, 4 }, { 2, 5, 40, 8 }, { 3, 3, 80, 16 },
                                                                     { 3, 5, 112, 16 }, { 4, 5, 192, 32 } };
    struct layer b0[14];
    struct fixture f;
    struct bk_space s;
    int n = 0;
    for (int k = 0; k < 5; k++)
        for (int i = 0; i < stage[k].n; i++)
            b0[n++] = (struct layer){ stage[k].kernel == 3 ? "MB6 3x3" : "MB6 5x5", k, stage[k].scale, stage[k].width };
    fixture_open(&f);
    fixture_space(&f, "mbconv", OPTIONS("depths=[2,2,3,3,4]"), &s);
    check(&f, &s, "00 11 000 111 1111", b0, 14);
    fixture_close(&f);
}

BK_SUITE({ "nats_ss", test_nats_ss }, { "hytra", test_hytra }, { "mbconv", test_mbconv })

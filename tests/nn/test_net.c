/* Descriptions of networks: names, shapes, counts against the figures of the specification. */
#include "nn_fixture.h"

static void test_slots(void)
{
    struct bk_net net = BK_NET_INIT;
    struct bk_slot s = { .name = "a", .role = BK_ROLE_WEIGHT, .part = BK_PART_BACKBONE, .rank = 2,
                         .init = BK_INIT_ZERO, .block = -1, .dim = { 3, 4 } };
    int32_t id = -1;

    BK_ASSERT_OK(bk_net_add(&net, &s, &id, &err));
    CU_ASSERT_EQUAL(id, 0);
    CU_ASSERT_EQUAL(bk_net_add(&net, &s, &id, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'a'"));
    s.name[0] = 'b';
    s.dim[1] = 0;
    CU_ASSERT_EQUAL(bk_net_add(&net, &s, &id, &err), BK_EINVAL);
    s.dim[1] = 4;
    s.rank = 5;
    CU_ASSERT_EQUAL(bk_net_add(&net, &s, &id, &err), BK_EINVAL);
    s.rank = 2;
    s.role = 0;
    CU_ASSERT_EQUAL(bk_net_add(&net, &s, &id, &err), BK_EINVAL);
    s.role = BK_ROLE_WEIGHT;
    s.init_scale = NAN;
    CU_ASSERT_EQUAL(bk_net_add(&net, &s, &id, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(net.n, 1);
    CU_ASSERT_EQUAL(bk_net_find(&net, "a"), 0);
    CU_ASSERT_EQUAL(bk_net_find(&net, "b"), -1);
    bk_net_release(&net);
    bk_net_release(&net);
}

static void test_modules(void)
{
    struct bk_net net = BK_NET_INIT;
    int32_t conv, norm, linear;
    char longest[100];

    BK_ASSERT_OK(bk_net_conv(&net, "c", BK_PART_BACKBONE, 0, 64, 3, 32, &conv, &err));
    BK_ASSERT_OK(bk_net_norm(&net, "n", BK_PART_BACKBONE, 0, 64, BK_SLOT_BY_NAME_ADAPTED, &norm, &err));
    BK_ASSERT_OK(bk_net_linear(&net, "l", BK_PART_CLASSIFIER, -1, 10, 64, BK_INIT_NORMAL, 0.5,
                               BK_INIT_UNIFORM, 0.25, &linear, &err));
    CU_ASSERT_STRING_EQUAL(net.slot[conv].name, "c.weight");
    BK_ASSERT_CLOSE(net.slot[conv].init_scale, 1 / sqrt(288), 1e-15);
    CU_ASSERT_STRING_EQUAL(net.slot[norm].name, "n.scale");
    CU_ASSERT_STRING_EQUAL(net.slot[norm + 1].name, "n.offset");
    CU_ASSERT_STRING_EQUAL(net.slot[norm + 2].name, "n.running_mean");
    CU_ASSERT_STRING_EQUAL(net.slot[norm + 3].name, "n.running_var");
    CU_ASSERT_EQUAL(net.slot[norm].flags, BK_SLOT_BY_NAME_ADAPTED);
    CU_ASSERT_EQUAL(net.slot[norm + 1].flags, 0);
    CU_ASSERT_STRING_EQUAL(net.slot[linear].name, "l.weight");
    CU_ASSERT_STRING_EQUAL(net.slot[linear + 1].name, "l.bias");
    CU_ASSERT_EQUAL(bk_net_count(&net, 0, -2), 64 * 288 + 128 + 650);
    CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_CLASSIFIER, -2), 650);
    CU_ASSERT_EQUAL(bk_net_count(&net, 0, 0), 64 * 288 + 128);
    CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_CLASSIFIER, 0), 0);

    /* A module whose second slot cannot be added leaves nothing behind. */
    int32_t before = net.n;
    memset(longest, 'x', sizeof longest);
    longest[72] = '\0';         /* ".scale" fits in 79 characters, ".running_mean" does not */
    CU_ASSERT_EQUAL(bk_net_norm(&net, longest, BK_PART_BACKBONE, 0, 4, 0, &norm, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(net.n, before);
    CU_ASSERT_EQUAL(bk_net_conv(&net, "c", BK_PART_BACKBONE, 0, 4, 3, 4, &conv, &err), BK_EINVAL);
    bk_net_release(&net);
}

/* Parameter counts that the specification gives for the heads. */
static void test_head_counts(void)
{
    static const struct {
        int64_t width, count;
    } wanted[] = { { 2048, 9449728 }, { 24, 1159424 }, { 40, 1224960 }, { 80, 1388800 },
                   { 112, 1519872 }, { 192, 1847552 } };
    int32_t id;

    for (size_t i = 0; i < BK_ARRAY_LEN(wanted); i++) {
        struct bk_net net = BK_NET_INIT;
        BK_ASSERT_OK(bk_net_linear(&net, "fc1", BK_PART_PROJECTOR, 0, 4096, wanted[i].width,
                                   BK_INIT_NORMAL, 1, BK_INIT_ZERO, 0, &id, &err));
        BK_ASSERT_OK(bk_net_norm(&net, "norm", BK_PART_PROJECTOR, 0, 4096, 0, &id, &err));
        BK_ASSERT_OK(bk_net_linear(&net, "fc2", BK_PART_PROJECTOR, 0, 256, 4096, BK_INIT_NORMAL, 1,
                                   BK_INIT_ZERO, 0, &id, &err));
        CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_PROJECTOR, 0), wanted[i].count);
        bk_net_release(&net);
    }
}

BK_SUITE({ "slots", test_slots }, { "modules", test_modules },
         { "counts of the heads", test_head_counts })

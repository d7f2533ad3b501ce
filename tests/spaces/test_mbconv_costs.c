/*
 * MBConv: text, blocks and costs, against published parameters and multiply-adds: DNA's table of single layers, the
 * EfficientNet-B0 and DNA-a to DNA-d networks, the 23 networks of BossNAS, and the sizes of the released supernet.
 */
#include "method_fixture.h"

static void open_space(struct fixture *f, struct bk_space *s, const char *const *options)
{
    fixture_open(f);
    fixture_space(f, "mbconv", options, s);
}

/* Parameters exactly, MACs and counter as printed: millions with `decimals` digits. */
static void check_cost(struct bk_cost c, double params, double macs, double counter, double unit)
{
    CU_ASSERT_EQUAL(c.params, params);
    if (!(fabs(c.macs / 1e6 - macs) <= unit && fabs(c.counter / 1e6 - counter) <= unit))
        printf("\n    %.6f %.6f M, wanted %g %g", c.macs / 1e6, c.counter / 1e6, macs, counter);
    CU_ASSERT(fabs(c.macs / 1e6 - macs) <= unit);
    CU_ASSERT(fabs(c.counter / 1e6 - counter) <= unit);
}

static struct bk_cost cost_of(struct bk_space *s, const char *text, int32_t classes)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_arch arch;
    struct bk_cost c;
    BK_ASSERT_OK(bk_space_parse(s, text, &arch, &err));
    BK_ASSERT_OK(bk_space_cost(s, &arch, classes, &c, &err));
    return c;
}

static struct bk_cost block_cost(struct bk_space *s, int32_t block, const char *path)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_path p = { 0 };
    struct bk_cost c;
    if (path)
        BK_ASSERT_OK(bk_path_parse(path, &p, &err));
    BK_ASSERT_OK(s->iface->cost(s->state, block, 0, path ? &p : NULL, 1000, &c, &err));
    return c;
}

static struct bk_cost minus(struct bk_cost a, struct bk_cost b)
{
    return (struct bk_cost){ a.params - b.params, a.macs - b.macs, a.counter - b.counter };
}

/* A layer in a place is a difference of two block costs. */
static void test_single_layers(void)
{
    static const struct {
        int block, layer;
        double op[4][3];
    } rows[] = {
        { 0, 0, { { 6004, 29.203, 32.364 }, { 7540, 34.020, 37.181 }, { 3028, 14.602, 16.257 }, { 3796, 17.010, 18.666 } } },
        { 0, 1, { { 10710, 25.742, 27.699 }, { 13014, 32.967, 34.924 }, { 5382, 12.871, 13.925 }, { 6534, 16.484, 17.537 } } },
        { 1, 0, { { 13046, 16.372, 17.563 }, { 15350, 18.178, 19.370 }, { 6566, 8.186, 8.813 }, { 7718, 9.089, 9.716 } } },
        { 1, 1, { { 27450, 16.751, 17.567 }, { 31290, 19.762, 20.577 }, { 13770, 8.376, 8.815 }, { 15690, 9.881, 10.320 } } },
        { 2, 0, { { 37130, 11.718, 12.220 }, { 40970, 12.470, 12.972 }, { 18650, 5.859, 6.126 }, { 20570, 6.235, 6.502 } } },
        { 2, 1, { { 102900, 15.919, 16.327 }, { 110580, 17.424, 17.832 }, { 51540, 7.959, 8.179 }, { 55380, 8.712, 8.932 } } },
        { 3, 0, { { 118324, 18.929, 19.350 }, { 126004, 20.435, 20.855 }, { 59284, 9.465, 9.697 }, { 63124, 10.217, 10.450 } } },
        { 3, 1, { { 197820, 30.727, 31.298 }, { 208572, 32.834, 33.405 }, { 99036, 15.363, 15.671 }, { 104412, 16.417, 16.725 } } },
        { 4, 0, { { 251740, 21.408, 21.757 }, { 262492, 21.935, 22.284 }, { 126076, 10.704, 10.888 }, { 131452, 10.967, 11.151 } } },
        { 4, 1, { { 569520, 22.295, 22.540 }, { 587952, 23.198, 23.444 }, { 284976, 11.147, 11.280 }, { 294192, 11.599, 11.731 } } },
    };
    static const struct bk_cost stem = { 2376, 20873728, 22880808 };
    struct fixture f;
    struct bk_space one, two;
    fixture_open(&f);
    fixture_space(&f, "mbconv", OPTIONS("depths=[1,1,1,1,1]"), &one);
    fixture_space(&f, "mbconv", OPTIONS("depths=[2,2,2,2,2]"), &two);
    for (size_t i = 0; i < BK_ARRAY_LEN(rows); i++)
        for (int d = 0; d < 4; d++) {
            char path[3] = { (char)('0' + d), 0, 0 };
            int k = rows[i].block;
            struct bk_cost c;
            if (rows[i].layer == 0) {
                c = minus(block_cost(&one, k, path), k ? (struct bk_cost){ 0, 0, 0 } : stem);
            } else {
                path[0] = '0';
                path[1] = (char)('0' + d);
                c = minus(block_cost(&two, k, path), block_cost(&one, k, "0"));
            }
            check_cost(c, rows[i].op[d][0], rows[i].op[d][1], rows[i].op[d][2], 5.01e-4);
        }
    fixture_close(&f);
}

/* The fixed end: the last layer, 192 to 320 channels, and head with classifier; and both together. */
static void test_fixed_parts(void)
{
    struct fixture f;
    struct bk_space five, six;
    fixture_open(&f);
    fixture_space(&f, "mbconv", NULL, &five);
    fixture_space(&f, "mbconv", OPTIONS("widths=[24,40,80,112,192,320]", "depths=[2,4,4,4,4,1]", "strides=[2,2,2,1,2,1]"), &six);
    struct bk_cost last = block_cost(&six, 5, "0"), end = block_cost(&five, 5, NULL);
    check_cost(last, 717232, 29.520, 29.778, 5.01e-4);
    struct bk_cost head = minus(end, last);
    CU_ASSERT_EQUAL(head.params, 1693160);
    CU_ASSERT_EQUAL(head.macs, 21350400);
    CU_ASSERT_EQUAL(head.counter, 21538560);
    fixture_close(&f);
}

#define DNA_OPS "ops=[63,65,67,33,35,37]"

static void test_published_networks(void)
{
    const struct {
        const char *const *options;
        const char *arch;
        double params, macs, counter;
    } rows[] = {
        /* EfficientNet-B0: 5.3 M, 399 M by DNA's counter */
        { OPTIONS("depths=[2,2,3,3,4]"), "00 11 000 111 1111", 5288548, 385.815, 399.362 },
        { OPTIONS(DNA_OPS, "widths=[24,40,80,96,160]", "depths=[3,4,4,4,5]"), "430 3340 2340 1441 14441", 4243318, 335.142, 348.161 },
        { OPTIONS(DNA_OPS, "widths=[24,40,80,96,192]", "depths=[3,3,4,4,5]"), "342 242 1440 1441 24442", 4918180, 392.492, 405.785 },
        { OPTIONS(DNA_OPS), "10 1101 1011 0114 1411", 5273896, 450.139, 465.920 },
        { OPTIONS(DNA_OPS, "depths=[3,4,4,4,5]"), "212 2222 2112 2121 21112", 6409486, 592.838, 611.199 },
        { NULL, "00 0000 0000 0000 0000", 5542792, 452.189, 468.347 },
        { NULL, "11 1111 1111 1111 1111", 5693320, 491.401, 507.560 },
        { NULL, "22 2222 2222 2222 2222", 3979720, 261.966, 271.737 },
        { NULL, "33 3333 3333 3333 3333", 4054984, 281.573, 291.343 },
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(rows); i++) {
        struct fixture f;
        struct bk_space s;
        open_space(&f, &s, rows[i].options);
        check_cost(cost_of(&s, rows[i].arch, 1000), rows[i].params, rows[i].macs, rows[i].counter, 5.01e-4);
        fixture_close(&f);
    }
}

static void test_networks_of_bossnas(void)
{
    static const struct {
        const char *arch;
        double params, macs, counter;
    } rows[] = {
        { "11 1111 1101 1011 1101", 5656456, 486.885, 503.044 }, { "11 1031 1301 1110 3011", 5450776, 454.315, 469.743 },
        { "10 1231 1311 1221 3131", 4958824, 396.689, 411.101 }, { "10 3110 1220 1000 3021", 5069080, 421.399, 436.337 },
        { "01 3100 3201 3011 0301", 5192776, 428.916, 443.784 }, { "00 3021 3120 3311 0031", 5083384, 399.005, 413.233 },
        { "00 3231 3331 0010 0001", 5441128, 417.291, 431.520 }, { "31 2111 1012 2101 3210", 5084152, 416.431, 429.864 },
        { "21 0331 1033 3201 0221", 4737352, 377.062, 389.907 }, { "21 2131 1223 2031 1200", 4969672, 381.117, 393.699 },
        { "30 0000 0100 2321 3020", 4902952, 382.883, 396.542 }, { "30 3220 3013 2021 0030", 5029096, 371.362, 383.708 },
        { "20 0320 0020 1112 0000", 5393416, 404.739, 418.187 }, { "13 2321 0201 1123 1103", 5048488, 385.546, 398.655 },
        { "13 3103 0200 1233 1333", 4382392, 354.608, 367.602 }, { "12 0220 0330 1002 1312", 4794808, 378.699, 392.334 },
        { "03 2020 2101 1022 3233", 4369960, 351.320, 364.366 }, { "03 0013 2031 0312 0103", 5034040, 390.152, 403.966 },
        { "02 3203 2311 3133 0213", 4683352, 350.571, 363.142 }, { "02 3032 2320 3213 0303", 4602040, 338.095, 350.478 },
        { "33 0033 0123 3333 1002", 4812472, 341.075, 352.602 }, { "32 2133 2102 0223 0023", 4596088, 329.017, 340.007 },
        { "22 2202 2323 2002 0022", 4608856, 324.425, 335.378 },
    };
    struct fixture f;
    struct bk_space s;
    open_space(&f, &s, NULL);
    for (size_t i = 0; i < BK_ARRAY_LEN(rows); i++)
        check_cost(cost_of(&s, rows[i].arch, 1000), rows[i].params, rows[i].macs, rows[i].counter, 5.01e-4);
    fixture_close(&f);
}

/* The released supernet has a sixth block that is never trained. */
static void test_supernet_sizes(void)
{
    static const int64_t block[6] = { 2376 + 56440, 308320, 1081880, 2205440, 6003568, 2242112 };
    for (int n = 5; n <= 6; n++) {
        struct bk_error err = BK_ERROR_INIT;
        struct bk_net net = BK_NET_INIT;
        struct fixture f;
        struct bk_space s;
        open_space(&f, &s, n == 5 ? NULL : OPTIONS("widths=[24,40,80,112,192,320]", "depths=[2,4,4,4,4,1]",
                                                   "strides=[2,2,2,1,2,1]"));
        BK_ASSERT_OK(s.iface->supernet(s.state, &net, &err));
        for (int k = 0; k < n; k++)
            CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_BACKBONE, k), block[k]);
        CU_ASSERT_EQUAL(bk_net_count(&net, 0, -2), n == 5 ? 11900136 - block[5] : 11900136);
        int missed = 0, scales = 0;
        for (int i = 0; i < net.n; i++) {
            scales += net.slot[i].role == BK_ROLE_NORM_SCALE;
            missed += net.slot[i].role == BK_ROLE_NORM_SCALE && (net.slot[i].flags & BK_SLOT_BY_NAME_ADAPTED);
        }
        CU_ASSERT_EQUAL(scales, n == 5 ? 237 - 13 : 237);
        CU_ASSERT_EQUAL(missed, n);             /* "6 of the 237": the shared skips */
        bk_net_release(&net);
        fixture_close(&f);
    }
}

/* Initial distributions of the supernet (PyTorch's defaults) and of a stand-alone network (EfficientNet's). */
static void check_slot(const struct bk_net *net, const char *name, uint32_t init, double scale)
{
    int32_t i = bk_net_find(net, name);
    if (i < 0)
        printf("\n    no slot '%s'\n", name);
    CU_ASSERT_FATAL(i >= 0);
    CU_ASSERT_EQUAL(net->slot[i].init, init);
    BK_ASSERT_CLOSE(net->slot[i].init_scale, scale, 1e-12);
}

static void test_initial_values(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_net net = BK_NET_INIT, own = BK_NET_INIT;
    struct bk_arch arch;
    struct fixture f;
    struct bk_space s;
    open_space(&f, &s, NULL);
    BK_ASSERT_OK(s.iface->supernet(s.state, &net, &err));
    check_slot(&net, "block0.stem.weight", BK_INIT_UNIFORM, 1 / sqrt(27.));
    check_slot(&net, "block2.layer0.skip.weight", BK_INIT_UNIFORM, 1 / sqrt(40.));
    check_slot(&net, "block2.layer0.op1.expand.weight", BK_INIT_UNIFORM, 1 / sqrt(40.));
    check_slot(&net, "block2.layer0.op1.depthwise.weight", BK_INIT_UNIFORM, 1 / 5.);
    check_slot(&net, "block2.layer0.op1.squeeze.weight", BK_INIT_UNIFORM, 1 / sqrt(240.));
    check_slot(&net, "block2.layer0.op1.squeeze.bias", BK_INIT_UNIFORM, 1 / sqrt(240.));
    check_slot(&net, "block2.layer0.op1.excite.bias", BK_INIT_UNIFORM, 1 / sqrt(10.));
    check_slot(&net, "block2.layer0.op1.project.weight", BK_INIT_UNIFORM, 1 / sqrt(240.));
    check_slot(&net, "block2.layer0.op1.project.norm.scale", BK_INIT_ONE, 0);
    BK_ASSERT_OK(bk_space_parse(&s, "110110011111000110", &arch, &err));
    BK_ASSERT_OK(s.iface->alone(s.state, &arch, 10, &own, &err));
    check_slot(&own, "stem.weight", BK_INIT_NORMAL, sqrt(2 / (32 * 9.)));
    check_slot(&own, "layer1.depthwise.weight", BK_INIT_NORMAL, sqrt(2 / (96 * 25.)));
    check_slot(&own, "layer1.squeeze.weight", BK_INIT_NORMAL, sqrt(2 / 4.));
    check_slot(&own, "layer1.squeeze.bias", BK_INIT_ZERO, 0);
    check_slot(&own, "classifier.weight", BK_INIT_UNIFORM, 1 / sqrt(10.));
    check_slot(&own, "classifier.bias", BK_INIT_ZERO, 0);
    bk_net_release(&own);
    bk_net_release(&net);
    fixture_close(&f);
}

/* The stand-alone network has exactly the parameters that cost() counts. */
static void test_alone_sizes(void)
{
    static const char *const archs[] = { "11 0110 0111 1100 0110", "22 2202 2323 2002 0022", "30 3220 3013 2021 0030" };
    static const char *const se[] = { "se=true", "se=false" };
    struct bk_error err = BK_ERROR_INIT;
    for (int i = 0; i < 6; i++) {
        struct bk_net net = BK_NET_INIT;
        struct bk_arch arch;
        struct fixture f;
        struct bk_space s;
        open_space(&f, &s, OPTIONS(se[i & 1]));
        BK_ASSERT_OK(bk_space_parse(&s, archs[i / 2], &arch, &err));
        BK_ASSERT_OK(s.iface->alone(s.state, &arch, 100, &net, &err));
        CU_ASSERT_EQUAL(bk_net_count(&net, 0, -2), (int64_t)cost_of(&s, archs[i / 2], 100).params);
        bk_net_release(&net);
        fixture_close(&f);
    }
}

static void test_blocks(void)
{
    static const int depth[5] = { 2, 4, 4, 4, 4 }, width[5] = { 24, 40, 80, 112, 192 };
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    open_space(&f, &s, NULL);
    CU_ASSERT_EQUAL(s.info.n_blocks, 5);
    CU_ASSERT_EQUAL(s.info.input_size, 224);
    BK_ASSERT_CLOSE(s.info.log10_size, log10(68719476736.), 1e-12);
    for (int k = 0; k < 5; k++) {
        struct bk_path *path;
        size_t n;
        char text[BK_MAX_LAYERS + 1];
        BK_ASSERT_OK(bk_space_paths(&s, k, 0, &path, &n, &err));
        CU_ASSERT_EQUAL(n, k ? 256 : 16);
        CU_ASSERT_EQUAL(s.info.max_layers[k], depth[k]);
        CU_ASSERT_EQUAL(s.info.pooled_width[k], width[k]);
        bk_path_format(&path[n - 1], text);
        CU_ASSERT_STRING_EQUAL(text, k ? "3333" : "33");
        CU_ASSERT_EQUAL(s.iface->exit(s.state, k, 0, &path[n - 1]), 0);
        bk_free(path);
    }
    fixture_close(&f);
}

static void check_text(struct bk_space *s, const char *text, const char *wanted)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_arch arch;
    char back[64];
    BK_ASSERT_OK(bk_space_parse(s, text, &arch, &err));
    BK_ASSERT_OK(bk_space_format(s, &arch, back, sizeof back, &err));
    CU_ASSERT_STRING_EQUAL(back, wanted);
}

static void test_text(void)
{
    static const char *const bad[] = { "", "11 0110 0111 1100 011", "11 0110 0111 1100 01100", "11 0110 0111 1100 0114",
                                       "11  0110 0111 1100 0110", " 11 0110 0111 1100 0110", "11 0110 0111 1100 0110 ",
                                       "110 110 0111 1100 0110", "11_0110_0111_1100_0110", "11011001111100011A" };
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    struct bk_arch arch;
    char small[8];
    open_space(&f, &s, NULL);
    check_text(&s, "11 0110 0111 1100 0110", "11 0110 0111 1100 0110");
    check_text(&s, "110110011111000110", "11 0110 0111 1100 0110");
    check_text(&s, "32-2133-2102-0223-0023", "32 2133 2102 0223 0023");
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++)
        CU_ASSERT_EQUAL(s.iface->parse(s.state, bad[i], &arch, &f.err), BK_EINVAL);
    BK_ASSERT_OK(bk_space_parse(&s, "110110011111000110", &arch, &err));
    CU_ASSERT_EQUAL(bk_space_format(&s, &arch, small, sizeof small, &f.err), BK_EINVAL);
    CU_ASSERT_EQUAL(s.iface->parse(s.state, "11 0110 0111 1100 01", &arch, &f.err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(f.err.text, "18 digits from 0 to 3, in blocks of 2-4-4-4-4"));
    fixture_close(&f);
}

static void test_refusals(void)
{
    static const struct {
        const char *option, *sentence;
    } rows[] = { { "widths=[24,40]", "one a block" },
                 { "strides=[2,2,2,1]", "one a block" },
                 { "ops=[64]", "legal are odd ones" },
                 { "ops=[3]", "11" },
                 { "strides=[2,2,2,1,3]", "1..2" },
                 { "input_size=4", "8" } };
    struct fixture f;
    fixture_open(&f);
    for (size_t i = 0; i < BK_ARRAY_LEN(rows); i++) {
        CU_ASSERT_PTR_NULL(fixture_try(&f, BK_KIND_SPACE, "mbconv", OPTIONS(rows[i].option)));
        if (!strstr(f.err.text, rows[i].sentence))
            printf("\n    '%s'\n", f.err.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(f.err.text, rows[i].sentence));
    }
    fixture_close(&f);
}

BK_SUITE({ "single layers", test_single_layers }, { "fixed parts", test_fixed_parts },
         { "published networks", test_published_networks }, { "networks of BossNAS", test_networks_of_bossnas },
         { "supernet sizes", test_supernet_sizes }, { "initial values", test_initial_values },
         { "stand-alone sizes", test_alone_sizes }, { "blocks", test_blocks }, { "text", test_text },
         { "refusals", test_refusals })

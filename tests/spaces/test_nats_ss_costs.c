/*
 * NATS-SS: text, order, blocks and costs, against published parameter counts and the benchmark's own counter.
 */
#include "method_fixture.h"

static void open_space(struct fixture *f, struct bk_space *s, const char *division)
{
    char option[32];
    snprintf(option, sizeof option, "division=%s", division);
    fixture_open(f);
    fixture_space(f, "nats_ss", OPTIONS(option), s);
}

static void check_cost(struct bk_space *s, const char *text, int classes, double params, double counter)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_arch arch;
    struct bk_cost c;
    BK_ASSERT_OK(bk_space_parse(s, text, &arch, &err));
    BK_ASSERT_OK(bk_space_cost(s, &arch, classes, &c, &err));
    CU_ASSERT_EQUAL(c.params, params);
    CU_ASSERT_EQUAL(c.counter, counter);
    CU_ASSERT_EQUAL(c.macs, counter - classes);
}

/* Costs of NATS-Bench records, and formulas of the benchmark's network definition. */
static void test_published_costs(void)
{
    static const struct {
        const char *arch;
        double params10, counter10, params100, counter100;
    } rows[] = {
        { "8:8:8:8:8", 11714, 4481114, 12524, 4481924 },
        { "8:8:8:16:32", 49202, 6840650, 52172, 6843620 },
        { "8:8:40:32:40", 144834, 21827994, 148524, 21831684 },
        { "16:16:16:16:16", 45562, 17481898, 47092, 17483428 },
        { "32:32:32:32:32", 179690, 69042506, 182660, 69045476 },
        { "64:40:48:64:56", 548202, 240120378, 553332, 240125508 },
        { "64:64:64:64:64", 713674, 274399882, 719524, 274405732 },
    };
    struct fixture f;
    struct bk_space s;
    for (int d = 0; d < 2; d++) {
        open_space(&f, &s, d ? "cifar100" : "cifar10");
        for (size_t i = 0; i < BK_ARRAY_LEN(rows); i++) {
            check_cost(&s, rows[i].arch, 10, rows[i].params10, rows[i].counter10);
            check_cost(&s, rows[i].arch, 100, rows[i].params100, rows[i].counter100);
        }
        fixture_close(&f);
    }
}

static void test_every_parameter_count(void)
{
    char path[4096], line[256], text[64];
    struct bk_error err = BK_ERROR_INIT;
    struct bk_arch arch;
    struct bk_cost c;
    struct fixture f;
    struct bk_space s;
    snprintf(path, sizeof path, "%s/nats_sss/nats_sss.csv", bk_test_env("BK_TEST_DATA"));
    FILE *file = fopen(path, "r");
    if (!file)
        BK_SKIP("no nats_sss.csv");
    open_space(&f, &s, "cifar10");
    int n = 0, bad = 0, index;
    long params;
    CU_ASSERT_PTR_NOT_NULL_FATAL(fgets(line, sizeof line, file));
    while (fgets(line, sizeof line, file)) {
        CU_ASSERT_EQUAL_FATAL(sscanf(line, "%d,%63[^,],%ld", &index, text, &params), 3);
        BK_ASSERT_OK(bk_space_parse(&s, text, &arch, &err));
        BK_ASSERT_OK(bk_space_cost(&s, &arch, 10, &c, &err));
        bad += index != n++ || c.params != (double)params;
    }
    fclose(file);
    CU_ASSERT_EQUAL(n, 32768);
    CU_ASSERT_EQUAL(bad, 0);
    fixture_close(&f);
}

/* Index order of the benchmark: lexicographic in the width digits, the first most significant. */
static void test_round_trip_in_index_order(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    open_space(&f, &s, "cifar10");
    CU_ASSERT_EQUAL(s.info.n_blocks, 3);
    BK_ASSERT_CLOSE(s.info.log10_size, log10(32768.), 1e-12);
    int bad = 0;
    for (int i = 0; i < 32768; i++) {
        char text[64], back[64];
        struct bk_arch arch;
        snprintf(text, sizeof text, "%d:%d:%d:%d:%d", 8 * (i >> 12 & 7) + 8, 8 * (i >> 9 & 7) + 8, 8 * (i >> 6 & 7) + 8,
                 8 * (i >> 3 & 7) + 8, 8 * (i & 7) + 8);
        BK_ASSERT_OK(bk_space_parse(&s, text, &arch, &err));
        BK_ASSERT_OK(bk_space_format(&s, &arch, back, sizeof back, &err));
        int digits = 0;
        for (unsigned k = 0; k < arch.n_blocks; k++)
            for (int l = 0; l < arch.block[k].n; l++)
                digits = digits * 8 + arch.block[k].op[l];
        bad += strcmp(text, back) != 0 || digits != i;
    }
    CU_ASSERT_EQUAL(bad, 0);
    fixture_close(&f);
}

static void check_paths(struct bk_space *s, int block, size_t wanted, const char *first, const char *last)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_path *path;
    size_t n;
    char text[BK_MAX_LAYERS + 1];
    BK_ASSERT_OK(bk_space_paths(s, block, block ? 3 : 0, &path, &n, &err));
    CU_ASSERT_EQUAL_FATAL(n, wanted);
    bk_path_format(&path[0], text);
    CU_ASSERT_STRING_EQUAL(text, first);
    bk_path_format(&path[n - 1], text);
    CU_ASSERT_STRING_EQUAL(text, last);
    for (size_t i = 0; i < n; i++)
        CU_ASSERT_EQUAL(s->iface->exit(s->state, block, 0, &path[i]), path[i].op[path[i].n - 1]);
    bk_free(path);
}

static void test_blocks(void)
{
    struct fixture f;
    struct bk_space s;
    open_space(&f, &s, "cifar10");
    check_paths(&s, 0, 64, "00", "77");
    check_paths(&s, 1, 64, "00", "77");
    check_paths(&s, 2, 8, "0", "7");
    fixture_close(&f);
    open_space(&f, &s, "cifar100");
    check_paths(&s, 0, 64, "00", "77");
    check_paths(&s, 1, 8, "0", "7");
    check_paths(&s, 2, 64, "00", "77");
    fixture_close(&f);
}

static void test_supernet_sizes(void)
{
    struct bk_error err = BK_ERROR_INIT;
    for (int d = 0; d < 2; d++) {
        struct bk_net net = BK_NET_INIT;
        struct fixture f;
        struct bk_space s;
        open_space(&f, &s, d ? "cifar100" : "cifar10");
        BK_ASSERT_OK(s.iface->supernet(s.state, &net, &err));
        CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_BACKBONE, -2), 745216);
        CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_BACKBONE, 0), 2304 + 275520);
        CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_BACKBONE, 1), d ? 191872 : 275520);
        CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_BACKBONE, 2), d ? 275520 : 191872);
        for (int k = 0; k < 3; k++)
            CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_ADAPTER, k), 622592);
        int n_scales = 0;
        for (int i = 0; i < net.n; i++)
            n_scales += net.slot[i].part == BK_PART_BACKBONE && net.slot[i].role == BK_ROLE_NORM_SCALE &&
                        (net.slot[i].flags & BK_SLOT_BY_NAME_ADAPTED);
        CU_ASSERT_EQUAL(n_scales, 200);     /* "all 200 BN scales" of the released supernet */
        bk_net_release(&net);
        fixture_close(&f);
    }
}

/* The stand-alone network has exactly the parameters that cost() counts. */
static void test_alone_sizes(void)
{
    static const char *const archs[] = { "8:8:8:8:8", "64:40:48:64:56", "16:16:8:64:64", "8:64:64:24:24" };
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    open_space(&f, &s, "cifar10");
    for (size_t i = 0; i < BK_ARRAY_LEN(archs); i++) {
        struct bk_net net = BK_NET_INIT;
        struct bk_arch arch;
        struct bk_cost c;
        BK_ASSERT_OK(bk_space_parse(&s, archs[i], &arch, &err));
        BK_ASSERT_OK(bk_space_cost(&s, &arch, 100, &c, &err));
        BK_ASSERT_OK(s.iface->alone(s.state, &arch, 100, &net, &err));
        CU_ASSERT_EQUAL(bk_net_count(&net, 0, -2), (int64_t)c.params);
        bk_net_release(&net);
    }
    fixture_close(&f);
}

static void test_refusals(void)
{
    static const char *const bad[] = { "",           "8:8:8:8",     "8:8:8:8:8:8", "8:8:8:8:8 ", "8:8:8:8:9", "08:8:8:8:8",
                                       "8:8:8:8:",   "8;8:8:8:8",   "+8:8:8:8:8",  "8:8:8:8:72", "a:8:8:8:8",
                                       "99999999999:8:8:8:8" };
    struct fixture f;
    struct bk_space s;
    struct bk_arch arch;
    open_space(&f, &s, "cifar10");
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++)
        CU_ASSERT_EQUAL(s.iface->parse(s.state, bad[i], &arch, &f.err), BK_EINVAL);
    CU_ASSERT_PTR_NULL(fixture_try(&f, BK_KIND_SPACE, "nats_ss", OPTIONS("widths=[16,8]")));
    CU_ASSERT_PTR_NOT_NULL(strstr(f.err.text, "ascend"));
    fixture_close(&f);
}

static void test_reduced_space(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    fixture_open(&f);
    fixture_space(&f, "nats_ss", OPTIONS("widths=[16,32]"), &s);
    check_paths(&s, 0, 4, "00", "11");
    check_cost(&s, "16:16:16:16:16", 10, 45562, 17481898);
    check_cost(&s, "32:32:32:32:32", 10, 179690, 69042506);
    struct bk_arch arch;
    double sum;
    BK_ASSERT_OK(bk_space_parse(&s, "16:16:32:16:16", &arch, &err));
    BK_ASSERT_OK(s.iface->score(s.state, "width_sum", &arch, &sum, &err));
    CU_ASSERT_EQUAL(sum, 96);
    CU_ASSERT_EQUAL(s.iface->score(s.state, "depth", &arch, &sum, &err), BK_ENOTFOUND);
    fixture_close(&f);
}

BK_SUITE({ "published costs", test_published_costs }, { "every parameter count", test_every_parameter_count },
         { "text round trip in index order", test_round_trip_in_index_order }, { "blocks", test_blocks },
         { "supernet sizes", test_supernet_sizes }, { "stand-alone sizes", test_alone_sizes },
         { "refusals", test_refusals }, { "reduced space", test_reduced_space })

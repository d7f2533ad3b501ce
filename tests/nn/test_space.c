/* What follows from a space's table, on a space small enough to list by hand. */
#include "small_space.h"

#include <bosskit/method.h>

static struct small_state state;

static void test_path_text(void)
{
    struct bk_path p = path_of("09az"), q = path_of("09a");
    char buf[BK_MAX_LAYERS + 1];

    CU_ASSERT_TRUE(p.n == 4 && p.op[0] == 0 && p.op[1] == 9 && p.op[2] == 10 && p.op[3] == 35);
    bk_path_format(&p, buf);
    CU_ASSERT_STRING_EQUAL(buf, "09az");
    CU_ASSERT_FALSE(bk_path_equal(&p, &q));
    p.n = 3;
    CU_ASSERT_TRUE(bk_path_equal(&p, &q));      /* what lies behind the end does not count */
    CU_ASSERT_EQUAL(bk_path_parse("", &p, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_path_parse("1B", &p, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "layer 1"));
    CU_ASSERT_EQUAL(bk_path_parse("0123456789012345678901234567890", &p, &err), BK_OK);
    CU_ASSERT_EQUAL(bk_path_parse("01234567890123456789012345678901", &p, &err), BK_EINVAL);
    bk_path_format(&(struct bk_path){ .n = 0 }, buf);
    CU_ASSERT_STRING_EQUAL(buf, "");
}

static void check_list(int32_t block, int32_t entry, const char *wanted)
{
    struct bk_space s = small_space(&state);
    struct bk_text got = BK_TEXT_INIT;
    struct bk_path *path = NULL;
    char buf[BK_MAX_LAYERS + 1];
    size_t n = 0;

    BK_ASSERT_OK(bk_space_paths(&s, block, entry, &path, &n, &err));
    for (size_t i = 0; i < n; i++) {
        bk_path_format(&path[i], buf);
        bk_text_addf(&got, "%s ", buf);
        BK_ASSERT_OK(bk_space_check_path(&s, block, entry, &path[i], &err));
    }
    CU_ASSERT_STRING_EQUAL(bk_text_get(&got), wanted);
    bk_text_release(&got);
    bk_free(path);
}

static void test_enumeration(void)
{
    struct bk_space s = small_space(&state);
    struct bk_path *path;
    size_t n;

    check_list(0, 0, "00 01 02 10 11 12 20 21 22 ");
    check_list(1, 0, "0 11 12 21 22 ");
    check_list(1, 1, "11 12 21 22 ");
    check_list(1, 2, "21 22 ");
    CU_ASSERT_EQUAL(bk_space_paths(&s, 2, 0, &path, &n, &err), BK_EINVAL);
}

/* A block of 4^12 paths is refused before it eats the memory. */
static int endless(const void *unused, int32_t block, int32_t entry, const struct bk_path *prefix,
                   uint8_t out[BK_MAX_CHOICES], int32_t *n)
{
    (void)unused, (void)block, (void)entry;
    *n = prefix->n < 12 ? 4 : 0;
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)i;
    return BK_OK;
}

static int bottomless(const void *unused, int32_t block, int32_t entry, const struct bk_path *prefix,
                      uint8_t out[BK_MAX_CHOICES], int32_t *n)
{
    (void)unused, (void)block, (void)entry, (void)prefix;
    *n = 1;
    out[0] = 0;
    return BK_OK;
}

static void test_bad_spaces(void)
{
    struct bk_space s = small_space(&state);
    struct bk_space_iface iface = small_iface;
    struct bk_path *path;
    struct bk_arch arch;
    size_t n;

    iface.choices = endless;
    s.iface = &iface;
    CU_ASSERT_EQUAL(bk_space_paths(&s, 0, 0, &path, &n, &err), BK_EINVAL);
    iface.choices = bottomless;
    CU_ASSERT_EQUAL(bk_space_paths(&s, 0, 0, &path, &n, &err), BK_EPLUGIN);
    CU_ASSERT_EQUAL(bk_space_sample(&s, 0, 0, &arch, &err), BK_EPLUGIN);
}

static void test_legality(void)
{
    struct bk_space s = small_space(&state);
    struct bk_path p = path_of("03");

    CU_ASSERT_EQUAL(bk_space_check_path(&s, 0, 0, &p, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "layer 1"));
    p = path_of("0");
    CU_ASSERT_EQUAL(bk_space_check_path(&s, 0, 0, &p, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "before layer 1"));
    BK_ASSERT_OK(bk_space_check_path(&s, 1, 0, &p, &err));
    CU_ASSERT_EQUAL(bk_space_check_path(&s, 1, 1, &p, &err), BK_EINVAL);
    p = path_of("01");
    CU_ASSERT_EQUAL(bk_space_check_path(&s, 1, 0, &p, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "complete"));
    CU_ASSERT_EQUAL(bk_space_check_path(&s, 9, 0, &p, &err), BK_EINVAL);
}

static void test_architectures(void)
{
    struct bk_space s = small_space(&state);
    struct bk_arch a;
    struct bk_cost cost;
    char buf[32];

    BK_ASSERT_OK(bk_space_parse(&s, "21/12", &a, &err));
    CU_ASSERT_EQUAL(bk_space_entry(&s, 0, a.block), 0);
    CU_ASSERT_EQUAL(bk_space_entry(&s, 1, a.block), 1);
    BK_ASSERT_OK(bk_space_format(&s, &a, buf, sizeof buf, &err));
    CU_ASSERT_STRING_EQUAL(buf, "21/12");
    CU_ASSERT_EQUAL(bk_space_parse(&s, "21/0", &a, &err), BK_EINVAL);   /* narrower than it is entered */
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'21/0'"));
    CU_ASSERT_EQUAL(bk_space_parse(&s, "21", &a, &err), BK_EINVAL);

    /* widths 3 -> 8 -> 6 -> 6 -> 8 -> 10 classes */
    BK_ASSERT_OK(bk_space_cost(&s, &a, 10, &cost, &err));
    double weights = 9 * (3 * 8 + 8 * 6 + 6 * 6 + 6 * 8);
    CU_ASSERT_EQUAL(cost.params, weights + 2 * (8 + 6 + 6 + 8) + 10 * 9);
    CU_ASSERT_EQUAL(cost.macs, 64 * weights + 80);
    CU_ASSERT_EQUAL(cost.counter, 2 * 64 * weights + 80);
    a.n_blocks = 1;
    CU_ASSERT_EQUAL(bk_space_cost(&s, &a, 10, &cost, &err), BK_EINVAL);
}

/* A space larger than its supernet: every text of two paths is an architecture. */
static int check_any(const void *s, const struct bk_arch *arch, struct bk_error *e)
{
    (void)s;
    return arch->block[1].n <= 2 ? BK_OK : bk_fail(e, BK_EINVAL, "too long");
}

static void test_space_beyond_the_supernet(void)
{
    struct bk_space s = small_space(&state);
    struct bk_space_iface iface = *s.iface;
    struct bk_arch a;

    iface.check = check_any;
    s.iface = &iface;
    BK_ASSERT_OK(bk_space_parse(&s, "21/0", &a, &err));
    CU_ASSERT_EQUAL(bk_space_check_path(&s, 1, 1, &a.block[1], &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_space_parse(&s, "21/111", &a, &err), BK_EINVAL);
    iface.struct_size = offsetof(struct bk_space_iface, check);     /* built before there was a check */
    CU_ASSERT_EQUAL(bk_space_parse(&s, "21/0", &a, &err), BK_EINVAL);
}

/* Each choice uniform: P("00/0") = 1/3 * 1/3 * 1/3; the same index gives the same architecture. */
static void test_sampling(void)
{
    struct bk_space s = small_space(&state);
    struct bk_arch a, b;
    int n = 20000, hits = 0, wide = 0, different = 0;

    for (int i = 0; i < n; i++) {
        BK_ASSERT_OK(bk_space_sample(&s, 4, (uint64_t)i, &a, &err));
        CU_ASSERT_EQUAL(a.n_blocks, 2);
        int32_t entry = bk_space_entry(&s, 1, a.block);
        if (i < 200) {
            BK_ASSERT_OK(bk_space_check_path(&s, 0, 0, &a.block[0], &err));
            BK_ASSERT_OK(bk_space_check_path(&s, 1, entry, &a.block[1], &err));
            BK_ASSERT_OK(bk_space_sample(&s, 4, (uint64_t)i, &b, &err));
            CU_ASSERT_TRUE(bk_path_equal(&a.block[0], &b.block[0]) && bk_path_equal(&a.block[1], &b.block[1]));
            BK_ASSERT_OK(bk_space_sample(&s, 5, (uint64_t)i, &b, &err));
            different += !bk_path_equal(&a.block[0], &b.block[0]);
        }
        hits += a.block[0].op[0] == 0 && a.block[0].op[1] == 0 && a.block[1].n == 1;
        wide += a.block[1].n == 2 && a.block[1].op[1] == 2;
    }
    CU_ASSERT_TRUE(different > 150);
    double p = 1.0 / 27, q = 0.5 * (1.0 / 3 * 2 / 3 + 2.0 / 3);
    CU_ASSERT_TRUE(fabs(hits - n * p) < 4.5 * sqrt(n * p * (1 - p)));
    CU_ASSERT_TRUE(fabs(wide - n * q) < 4.5 * sqrt(n * q * (1 - q)));
}

static void test_table(void)
{
    struct bk_block_table t = { .n = 1, .path = bk_zalloc(sizeof *t.path),
                                .score = bk_zalloc(sizeof *t.score) };

    bk_block_table_release(&t);
    CU_ASSERT_TRUE(!t.n && !t.path && !t.score);
    bk_block_table_release(&t);
    bk_block_table_release(NULL);
}

BK_SUITE({ "paths as text", test_path_text }, { "enumeration", test_enumeration },
         { "bad spaces", test_bad_spaces }, { "legality", test_legality },
         { "architectures", test_architectures }, { "space beyond the supernet", test_space_beyond_the_supernet },
         { "sampling", test_sampling }, { "tables", test_table })

/*
 * tests/stats/test_tables.c: truth tables and ratings as files: forms, faults, and writing.
 *
 * The space is the small one of nats_space.h; block 2 has the eight paths 0..7.
 */
#include "stats/nats_space.h"
#include "unit.h"

#include <bosskit/file.h>
#include <bosskit/table.h>

#include <unistd.h>

static char file[512];

static const char *put(const char *extension, const char *text)
{
    struct bk_error err = BK_ERROR_INIT;

    if (*file)
        unlink(file);
    snprintf(file, sizeof file, "%s/tests/table_%ld%s", bk_test_env("BK_TEST_BINARY"), (long)getpid(),
             extension);
    BK_ASSERT_OK(bk_file_write(file, text, strlen(text), &err));
    return file;
}

static void clean_up(void)
{
    unlink(file);
    *file = '\0';
}

static int read_truth(const char *extension, const char *text, const char *column,
                      struct bk_truth *out, struct bk_error *err)
{
    struct bk_space space = nats_space();

    return bk_truth_read(put(extension, text), column, &space, out, err);
}

static void good_truth(const char *extension, const char *text, const char *column)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_truth t;

    BK_ASSERT_OK(read_truth(extension, text, column, &t, &err));
    CU_ASSERT_EQUAL_FATAL(t.n, 2);
    CU_ASSERT_STRING_EQUAL(t.arch[0], "16:16:16:16:64");
    CU_ASSERT_STRING_EQUAL(t.arch[1], "8:8:8:8:8");
    CU_ASSERT_EQUAL(t.value[0], 89.58);
    CU_ASSERT_EQUAL(t.value[1], -1);
    CU_ASSERT_EQUAL(t.parsed[0].block[2].op[0], 7);
    bk_truth_release(&t);
}

static void bad_truth(const char *extension, const char *text, const char *column, const char *want)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_truth t;

    CU_ASSERT_EQUAL(read_truth(extension, text, column, &t, &err), BK_EDATA);
    CU_ASSERT_EQUAL(strncmp(err.text, file, strlen(file)), 0);
    if (strcmp(err.text + strlen(file), want))
        printf("\n    got '%s'\n    not '%s'\n", err.text + strlen(file), want);
    CU_ASSERT_STRING_EQUAL(err.text + strlen(file), want);
}

static void test_truth(void)
{
    good_truth(".csv", "index,arch,acc\n0,16:16:16:16:64,89.58\n1,8:8:8:8:8,-1\n", NULL);
    good_truth(".csv", "\"a \"\"b\"\"\",arch,acc\r\n1,\"16:16:16:16:64\",89.58\r\n\r\n2,8:8:8:8:8,-1", "acc");
    good_truth(".csv", "\xef\xbb\xbf" "arch,acc,note\n16:16:16:16:64,8.958e1,\"x, y\"\n8:8:8:8:8,-1,\n", NULL);
    good_truth(".yml", "16:16:16:16:64: 89.58\n'8:8:8:8:8': -1\n", NULL);
    good_truth(".yaml", "# text\n{ \"16:16:16:16:64\": 89.58, 8:8:8:8:8: -1.0 }\n", NULL);
    good_truth(".yml", "- !!python/tuple [16:16:16:16:64, 89.58]\n- [ '8:8:8:8:8', -1 ]\n", NULL);
    good_truth(".json", "{ \"16:16:16:16:64\": 89.58, \"8:8:8:8:8\": -1 }", NULL);
    clean_up();
}

static void test_truth_faults(void)
{
    bad_truth(".txt", "x", NULL, ": not a table, legal: files .csv, .yml, .yaml, .json");
    bad_truth(".csv", "", NULL, ":1: empty, legal: a header line and rows");
    bad_truth(".csv", "arch,acc\n", NULL, ": holds no architectures");
    bad_truth(".csv", "name,acc\n", NULL, ":1: no column 'arch', there are 'name', 'acc'");
    bad_truth(".csv", "arch,a\n8:8:8:8:8,1\n", "b", ":1: no column 'b', there are 'arch', 'a'");
    bad_truth(".csv", "arch,a,b\n8:8:8:8:8,1,2\n", NULL,
              ":1: several columns hold numbers, name one of 'a', 'b'");
    bad_truth(".csv", "arch,a\n8:8:8:8:8,x\n", NULL, ":2: no column holds numbers");
    bad_truth(".csv", "arch,a\n8:8:8:8:8,1\n8:8:8:8:16,1,2\n", NULL, ":3: 3 columns, the header has 2");
    bad_truth(".csv", "arch,a\n\"8:8:8:8:8,1\n", NULL,
              ":2: column 1: a quote is not closed, or text follows it");
    bad_truth(".csv", "arch,a\n\"8\"\":8,1\n", NULL,
              ":2: column 1: a quote is not closed, or text follows it");
    bad_truth(".csv", "arch,a\n8:8:8:8:8,1\n8:8:8:8:16,nan\n", NULL,
              ":3: 'nan' of '8:8:8:8:16' is not a finite number");
    bad_truth(".csv", "arch,a\n8:8:8:8:9,1\n", NULL,
              ":2: architecture '8:8:8:8:9': width 9, legal: 8, 16 .. 64");
    bad_truth(".csv", "arch,a\n8:8:8:8:8,1\n16:8:8:8:8,1\n8:8:8:8:8,2\n", NULL,
              ":4: architecture '8:8:8:8:8' appears again, first in line 2");
    bad_truth(".yml", "a: 1\n", "acc", ": column 'acc' is asked for, but only CSV files have columns");
    bad_truth(".yml", "8:8:8:8:8: [1]\n", NULL, ":1: unexpected YAML, legal: a mapping of keys to numbers");
    bad_truth(".yml", "x\n", NULL, ":1: unexpected YAML, legal: a mapping of keys to numbers, or a "
              "sequence of [key, number] pairs");
    bad_truth(".yml", "8:8:8:8:8: 1\n8:8:8:8:16: none\n", NULL,
              ":2: 'none' of '8:8:8:8:16' is not a finite number");
    bad_truth(".yml", "- [8:8:8:8:8, 1, 2]\n", NULL,
              ":1: unexpected YAML, legal: a sequence of [key, number] pairs");
    bad_truth(".json", "[1]", NULL, ": not a JSON object, legal: {\"key\": number, ...}");
    bad_truth(".json", "{\"8:8:8:8:8\": \"1\"}", NULL, ": the value of '8:8:8:8:8' is not a number");
    clean_up();
}

static int read_ratings(const char *extension, const char *text, int32_t block,
                        struct bk_block_table *out, struct bk_error *err)
{
    struct bk_space space = nats_space();

    return bk_ratings_read(put(extension, text), &space, block, 0, out, err);
}

static void test_ratings(void)
{
    static const char *const texts[][2] = {
        { ".yml", "- !!python/tuple\n  - '3'\n  - -3.5\n- [0, 1]\n- [1, 1]\n- [\"2\", 1]\n- [4, 1]\n- [5, 1]\n"
                  "- [6, 1]\n- [7, 1e-3]\n" },
        { ".yml", "3: -3.5\n0: 1\n'1': 1\n2: 1\n4: 1\n5: 1\n6: 1\n7: 0.001\n" },
        { ".csv", "path,score\n3,-3.5\n0,1\n1,1\n2,1\n4,1\n5,1\n6,1\n7,.001\n" },
        { ".json", "{\"3\":-3.5,\"0\":1,\"1\":1,\"2\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":0.001}" },
    };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_block_table t;

    for (size_t i = 0; i < BK_ARRAY_LEN(texts); i++) {
        BK_ASSERT_OK(read_ratings(texts[i][0], texts[i][1], 2, &t, &err));
        CU_ASSERT_EQUAL_FATAL(t.n, 8);
        CU_ASSERT_EQUAL(t.block, 2);
        CU_ASSERT_EQUAL(t.path[0].op[0], 3);
        CU_ASSERT_EQUAL(t.score[0], -3.5);
        CU_ASSERT_EQUAL(t.score[7], 0.001);
        bk_block_table_release(&t);
    }
    clean_up();
}

static void bad_ratings(const char *text, const char *want)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_block_table t;

    CU_ASSERT_EQUAL(read_ratings(".csv", text, 2, &t, &err), BK_EDATA);
    if (strcmp(err.text + strlen(file), want))
        printf("\n    got '%s'\n    not '%s'\n", err.text + strlen(file), want);
    CU_ASSERT_STRING_EQUAL(err.text + strlen(file), want);
}

static void test_ratings_faults(void)
{
    bad_ratings("path,score\n0,1\n1,1\n2,1\n3,1\n4,1\n6,1\n",
                ": 2 of the 8 paths of block 2 are missing, the first is '5'");
    bad_ratings("path,score\n0,1\n0,2\n", ":3: path '0' appears again, first in line 2");
    bad_ratings("path,score\n8,1\n", ":2: block 2: path '8' has illegal choice 8 in layer 0");
    bad_ratings("path,score\n!,1\n", ":2: path '!': layer 0 is '!', legal: 0-9 and a-z");
    clean_up();
}

static void test_write(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_path path[3] = { { 2, { 0, 8 } }, { 2, { 7, 4 } }, { 2, { 1, 1 } } };
    double score[3] = { -3, -3.169246506690979, 1e22 };
    struct bk_block_table t = { 0, 0, 3, path, score };
    char *text;
    size_t n;

    put(".yml", "");
    BK_ASSERT_OK(bk_ratings_write_yaml(file, &t, &err));
    BK_ASSERT_OK(bk_file_read(file, 4096, &text, &n, &err));
    CU_ASSERT_STRING_EQUAL(text, "- !!python/tuple\n  - '74'\n  - -3.169246506690979\n"
                                 "- !!python/tuple\n  - '08'\n  - -3.0\n"
                                 "- !!python/tuple\n  - '11'\n  - 1.0e+22\n");
    bk_free(text);
    score[1] = NAN;
    CU_ASSERT_EQUAL(bk_ratings_write_yaml(file, &t, &err), BK_ENUMERIC);
    clean_up();
}

/* What was read can be written and read again, byte for byte. */
static void test_round_trip(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_space space = nats_space();
    char path[4096], *released, *written;
    struct bk_block_table t;
    size_t n, m;

    snprintf(path, sizeof path, "%s/nats_sss/bossnas_path_rank/path_rank_0.yml", bk_test_env("BK_TEST_DATA"));
    if (!bk_file_exists(path))
        BK_SKIP("no released files under BK_TEST_DATA");
    BK_ASSERT_OK(bk_ratings_read(path, &space, 0, 0, &t, &err));
    put(".yml", "");
    BK_ASSERT_OK(bk_ratings_write_yaml(file, &t, &err));
    BK_ASSERT_OK(bk_file_read(path, 65536, &released, &n, &err));
    BK_ASSERT_OK(bk_file_read(file, 65536, &written, &m, &err));
    CU_ASSERT(n == m && !memcmp(released, written, n));
    bk_free(released);
    bk_free(written);
    bk_block_table_release(&t);
    clean_up();
}

static void test_score(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_space space = nats_space();
    struct bk_path a[1] = { { 2, { 1, 2 } } }, b[1] = { { 2, { 3, 4 } } }, c[1] = { { 1, { 5 } } };
    double sa = -3.00005, sb = -3, sc = -2.5, out;
    struct bk_block_table t[3] = { { 0, 0, 1, a, &sa }, { 1, 0, 1, b, &sb }, { 2, 0, 1, c, &sc } };
    const double weight[] = { 2, 1, 0.5 };
    struct bk_arch arch = { 3, { a[0], b[0], c[0] } };

    BK_ASSERT_OK(bk_arch_score(&space, t, &arch, NULL, 4, -1, &out, &err));
    BK_ASSERT_CLOSE(out, 3.49995, 1e-15);
    BK_ASSERT_OK(bk_arch_score(&space, t, &arch, NULL, 4, 3, &out, &err));
    CU_ASSERT_EQUAL(out, 3.5);
    BK_ASSERT_OK(bk_arch_score(&space, t, &arch, weight, 4, -1, &out, &err));
    BK_ASSERT_CLOSE(out, 2 * 0.99995 + 1 + 0.75, 1e-15);
    arch.block[1].op[1] = 5;
    CU_ASSERT_EQUAL(bk_arch_score(&space, t, &arch, NULL, 4, -1, &out, &err), BK_EDATA);
    CU_ASSERT_STRING_EQUAL(err.text, "path '35' of block 1 has no rating");
}

static void test_out_of_memory(void)
{
    static const char *const truth = "8:8:8:8:8: 1\n8:8:8:8:16: 2\n";
    static const char *const ratings = "path,score\n0,1\n1,1\n2,1\n3,1\n4,1\n5,1\n6,1\n7,1\n";
    struct bk_error err = BK_ERROR_INIT;
    struct bk_space space = nats_space();
    int rc = BK_ENOMEM;

    put(".yml", truth);
    for (long n = 1; rc; n++) {
        struct bk_truth t = { 0 };
        bk_alloc_fail_after(n);
        rc = bk_truth_read(file, NULL, &space, &t, &err);
        CU_ASSERT_FATAL(rc == BK_OK || rc == BK_ENOMEM);
        bk_truth_release(&t);
    }
    bk_alloc_fail_after(0);
    put(".csv", ratings);
    rc = BK_ENOMEM;
    for (long n = 1; rc; n++) {
        struct bk_block_table t = { 0 };
        bk_alloc_fail_after(n);
        rc = bk_ratings_read(file, &space, 2, 0, &t, &err);
        CU_ASSERT_FATAL(rc == BK_OK || rc == BK_ENOMEM);
        bk_block_table_release(&t);
    }
    bk_alloc_fail_after(0);
    clean_up();
}

BK_SUITE({ "truth", test_truth }, { "truth faults", test_truth_faults }, { "ratings", test_ratings },
         { "ratings faults", test_ratings_faults }, { "write", test_write },
         { "round trip", test_round_trip }, { "score", test_score },
         { "out of memory", test_out_of_memory })

/*
 * tests/cli/test_cli_search.c: `bosskit search` as a program on the released ratings: the published search results, a table of
 * budgets, and faults. That the search is exact is tested in searchers/test_traversal.c.
 */
#include "program.h"

#include <jansson.h>

static bool have_data(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/mbconv_imagenet_23/mbconv23.csv", bk_test_env("BK_TEST_DATA"));
    return bk_file_exists(path);
}

/* Run with `more` on the ratings of `space`; returns the exit code, text to be freed. */
static int search(const char *space, const char *folder, int n_blocks, const char *const *more, char **out, char **error)
{
    static char file[8][400];
    const char *args[24] = { "search", "--space", space, "--ratings" };
    struct bk_scratch s;
    int n = 4;
    for (int k = 0; k < n_blocks; k++) {
        snprintf(file[k], sizeof file[k], "%s/%s/bossnas_path_rank/path_rank_%d.yml", bk_test_env("BK_TEST_DATA"), folder, k);
        args[n++] = file[k];
    }
    while (*more)
        args[n++] = *more++;
    args[n] = NULL;
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    int code = bk_wait_program(bk_start_program(&s, args));
    *out = bk_scratch_read(&s, "stdout.txt");
    *error = bk_scratch_read(&s, "stderr.txt");
    bk_scratch_close(&s);
    return code;
}

static void test_released_ratings(void)
{
    static const char *const nats[] = { NULL }, *const mbconv[] = { "--set", "max_counter=405e6", "--classes", "1000", NULL };
    char *out, *error;
    if (!have_data())
        BK_SKIP("no released files under BK_TEST_DATA");
    CU_ASSERT_EQUAL(search("nats_ss", "nats_sss", 3, nats, &out, &error), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "64:40:48:64:56"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "2.835001"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "548202"));
    bk_free(out);
    bk_free(error);
    CU_ASSERT_EQUAL(search("mbconv", "mbconv_imagenet_23", 5, mbconv, &out, &error), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "11 0110 0111 1223 2332"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "4333192"));
    bk_free(out);
    bk_free(error);
}

/* Every path takes 1 ms: architectures of three blocks take 3 ms and what they have in common. */
static void test_latency(void)
{
    char dir[400], file[500], option[500];
    const char *const text[] = { "--set", option, "--set", "latency_base=0.25", NULL };
    const char *const json[] = { "--set", option, "--sweep", "max_latency=2,4", "--json", NULL };
    struct bk_error err = BK_ERROR_INIT;
    char *out, *error;
    if (!have_data())
        BK_SKIP("no released files under BK_TEST_DATA");
    snprintf(dir, sizeof dir, "%s/cli-latency-%d", bk_test_env("BK_TEST_BINARY"), (int)getpid());
    snprintf(option, sizeof option, "latency=%s", dir);
    BK_ASSERT_OK(bk_make_dirs(dir, &err));
    for (int k = 0; k < 3; k++) {
        snprintf(file, sizeof file, "%s/latency_%d.csv", dir, k);
        FILE *f = fopen(file, "w");
        CU_ASSERT_PTR_NOT_NULL_FATAL(f);
        fprintf(f, "path,score\n");
        for (int i = 0; i < (k < 2 ? 64 : 8); i++)
            fprintf(f, k < 2 ? "%02o,1\n" : "%o,1\n", (unsigned)i);
        fclose(f);
    }
    CU_ASSERT_EQUAL(search("nats_ss", "nats_sss", 3, text, &out, &error), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "latency ms"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "64:40:48:64:56"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "3.2500"));
    bk_free(out);
    bk_free(error);
    CU_ASSERT_EQUAL(search("nats_ss", "nats_sss", 3, json, &out, &error), 0);
    json_t *root = json_loads(out, 0, NULL);
    CU_ASSERT_EQUAL_FATAL(json_array_size(root), 2);
    CU_ASSERT(json_is_null(json_object_get(json_array_get(root, 0), "arch")));
    CU_ASSERT_EQUAL(json_number_value(json_object_get(json_array_get(root, 1), "latency")), 3);
    json_decref(root);
    bk_free(out);
    bk_free(error);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

static void test_sweep(void)
{
    static const char *const more[] = { "--sweep", "max_counter=100e6,330e6,475e6", "--classes", "1000", "--json", NULL };
    static const char *const want[] = { NULL, "31 2112 2231 2222 2332", "11 0110 0111 1100 2112" };
    char *out, *error;
    json_error_t fault;
    if (!have_data())
        BK_SKIP("no released files under BK_TEST_DATA");
    double start = bk_now();
    CU_ASSERT_EQUAL_FATAL(search("mbconv", "mbconv_imagenet_23", 5, more, &out, &error), 0);
    printf("  three searches of 4^18 architectures in %.2f s ...", bk_now() - start);
    json_t *root = json_loads(out, 0, &fault);
    CU_ASSERT_EQUAL_FATAL(json_array_size(root), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *row = json_array_get(root, i), *arch = json_object_get(row, "arch");
        CU_ASSERT_EQUAL(json_is_null(arch), want[i] == NULL);
        if (want[i])
            CU_ASSERT_STRING_EQUAL(json_string_value(arch), want[i]);
    }
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(json_array_get(root, 2), "max_counter")), "475e6");
    BK_ASSERT_CLOSE(json_number_value(json_object_get(json_array_get(root, 2), "total")), 3.515742, 5.1e-7);
    CU_ASSERT_EQUAL(json_number_value(json_object_get(json_array_get(root, 2), "params")), 5222440);
    json_decref(root);
    bk_free(out);
    bk_free(error);
}

/* Evolution on stored tables: a population of all paths finds the best, one of 64 of 256 paths a block nearly. */
static void test_evolution(void)
{
    static const char *const all[] = { "--searcher", "evolutionary", "--set", "population=256", "--set", "max_counter=405e6",
                                       "--classes", "1000", NULL };
    static const char *const some[] = { "--searcher", "evolutionary", "--set", "max_counter=405e6", "--classes", "1000", "--json",
                                        NULL };
    char *out, *error;
    if (!have_data())
        BK_SKIP("no released files under BK_TEST_DATA");
    CU_ASSERT_EQUAL(search("mbconv", "mbconv_imagenet_23", 5, all, &out, &error), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "11 0110 0111 1223 2332"));
    bk_free(out);
    bk_free(error);
    CU_ASSERT_EQUAL(search("mbconv", "mbconv_imagenet_23", 5, some, &out, &error), 0);
    json_t *root = json_loads(out, 0, NULL), *row = json_array_get(root, 0);
    double total = json_number_value(json_object_get(row, "total"));
    CU_ASSERT(json_number_value(json_object_get(row, "counter")) <= 405e6);
    /* the ratings of the blocks range over 0.0306 together; 3.516888 is the exact optimum under this budget */
    CU_ASSERT(total >= 3.516888 - 5e-7 && total <= 3.516888 + 0.003);
    printf("  %.6f, exactly 3.516888 ...", total);
    json_decref(root);
    bk_free(out);
    bk_free(error);
}

static void test_faults(void)
{
    static const struct {
        const char *const more[4];
        int code;
        const char *sentence;
    } rows[] = {
        { { "--set", "max_counter=100e6" }, 1, "no architecture of space 'mbconv' satisfies the limits" },
        { { "--set", "max_conter=1e6" }, 3, "max_counter" },
        { { "--set", "max_counter" }, 2, "'max_counter' is not key=value" },
        { { "--sweep", "max_counter" }, 2, "is not key=value,value" },
        { { "--searcher", "traversl" }, 4, "traversal" },
        { { "--better", "none" }, 2, "legal: lower, higher" },
        { { "/none.yml" }, 1, "cannot open '/none.yml'" },
    };
    char *out, *error;
    if (!have_data())
        BK_SKIP("no released files under BK_TEST_DATA");
    for (size_t i = 0; i < BK_ARRAY_LEN(rows); i++) {
        bool extra = !strcmp(rows[i].more[0], "/none.yml"); /* a file in the place of the last block's */
        CU_ASSERT_EQUAL(search("mbconv", "mbconv_imagenet_23", extra ? 4 : 5, rows[i].more, &out, &error), rows[i].code);
        if (!strstr(error, rows[i].sentence))
            printf("\n    got '%s'\n", error);
        CU_ASSERT_PTR_NOT_NULL(strstr(error, rows[i].sentence));
        bk_free(out);
        bk_free(error);
    }
}

BK_SUITE({ "released ratings", test_released_ratings }, { "sweep", test_sweep }, { "latency", test_latency }, { "evolution", test_evolution }, { "faults", test_faults })

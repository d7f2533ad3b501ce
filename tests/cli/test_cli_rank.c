/*
 * tests/cli/test_cli_rank.c: `bosskit rank` and `bosskit cost` as programs, on the space plugin.
 *
 * The figures themselves are tested in stats/test_published.c; here it is the plugin's names and costs, the signs, the
 * output's form and the exit codes.
 */
#include "stats/nats_space.h"
#include "unit.h"

#include <bosskit/file.h>
#include <jansson.h>
#include <sys/wait.h>

/* Output of the program (stdout and stderr), *code its exit code; free the text. */
static char *run(const char *arguments, int *code)
{
    struct bk_text command = BK_TEXT_INIT, out = BK_TEXT_INIT;
    char chunk[4096];
    size_t n;

    bk_text_addf(&command, "'%s/bosskit' %s 2>&1", bk_test_env("BK_TEST_BINARY"), arguments);
    FILE *f = popen(bk_text_get(&command), "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        bk_text_addn(&out, chunk, n);
    int status = pclose(f);
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    bk_text_release(&command);
    return bk_text_take(&out);
}

static char *run_on_data(const char *format, int *code)
{
    struct bk_text t = BK_TEXT_INIT;
    const char *data = bk_test_env("BK_TEST_DATA");

    bk_text_addf(&t, "rank --space nats_ss --truth '%s/nats_sss/nats_cifar10_acc_rank.yml' --ratings", data);
    for (int k = 0; k < 3; k++)
        bk_text_addf(&t, " '%s/nats_sss/bossnas_path_rank/path_rank_%d.yml'", data, k);
    bk_text_addf(&t, " %s", format);
    char *out = run(bk_text_get(&t), code);
    bk_text_release(&t);
    return out;
}

static bool have_file(const char *name)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", bk_test_env("BK_TEST_DATA"), name);
    return bk_file_exists(path);
}

static bool have_data(void)
{
    return have_file("nats_sss/nats_sss.csv");
}

static double number_at(const json_t *root, const char *a, const char *b)
{
    const json_t *v = json_object_get(root, a);

    v = b ? json_object_get(v, b) : v;
    CU_ASSERT(json_is_number(v));
    return json_number_value(v);
}

static void check_interval(const json_t *root, const char *key)
{
    const json_t *ci = json_object_get(json_object_get(root, "ci95"), key);
    double low = json_number_value(json_array_get(ci, 0)), high = json_number_value(json_array_get(ci, 1));
    double value = number_at(root, key, NULL);

    CU_ASSERT_EQUAL(json_array_size(ci), 2);
    CU_ASSERT(low < value && value < high && high - low < 0.03);
}

static void test_rank(void)
{
    json_error_t fault;
    int code;

    if (!have_data())
        BK_SKIP("no released files under BK_TEST_DATA");
    double start = bk_now();
    char *plain = run_on_data("--round-totals 4 --top 10 --json", &code);
    double seconds = bk_now() - start;
    printf("  32,768 architectures in %.2f s\n", seconds);
    CU_ASSERT_EQUAL_FATAL(code, 0);
    json_t *root = json_loads(plain, 0, &fault);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    CU_ASSERT_EQUAL(number_at(root, "n", NULL), 32768);
    BK_ASSERT_CLOSE(number_at(root, "kendall_tau", NULL), 0.534180602249, 1e-12);
    BK_ASSERT_CLOSE(number_at(root, "spearman_rho", NULL), 0.734149353855, 1e-12);
    BK_ASSERT_CLOSE(number_at(root, "pearson_r", NULL), 0.718060709396, 1e-12);
    BK_ASSERT_CLOSE(number_at(root, "raw_kendall_tau", NULL), -0.534180602249, 1e-12);
    BK_ASSERT_CLOSE(number_at(root, "raw_pearson_r", NULL), -0.718060709396, 1e-12);
    CU_ASSERT_PTR_NULL(json_object_get(root, "ci95"));
    const json_t *base = json_object_get(root, "baselines");
    BK_ASSERT_CLOSE(number_at(base, "params", "kendall_tau"), 0.6904, 5.1e-5);
    BK_ASSERT_CLOSE(number_at(base, "counter", "kendall_tau"), 0.4419, 5.1e-5);
    BK_ASSERT_CLOSE(number_at(base, "counter", "spearman_rho"), 0.6090, 5.1e-5);
    BK_ASSERT_CLOSE(number_at(base, "counter", "pearson_r"), 0.5482, 5.1e-5);
    const json_t *best = json_object_get(json_object_get(root, "top"), "best");
    CU_ASSERT_EQUAL(json_array_size(best), 10);
    const json_t *first = json_array_get(best, 0);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(first, "arch")), "64:40:48:64:56");
    BK_ASSERT_CLOSE(number_at(first, "total", NULL), 2.8350, 1e-15);
    json_decref(root);
    bk_free(plain);
}

static void test_rank_interval(void)
{
    json_error_t fault;
    int code;

    if (!have_data())
        BK_SKIP("no released files under BK_TEST_DATA");
    char *text = run_on_data("--bootstrap 100 --seed 1 --json", &code);
    CU_ASSERT_EQUAL_FATAL(code, 0);
    json_t *root = json_loads(text, 0, &fault);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    BK_ASSERT_CLOSE(number_at(root, "kendall_tau", NULL), 0.533622697703, 1e-12);
    check_interval(root, "kendall_tau");
    check_interval(root, "spearman_rho");
    check_interval(root, "pearson_r");
    json_decref(root);
    bk_free(text);
    text = run_on_data("--bootstrap 20 --top 3", &code);
    CU_ASSERT_EQUAL(code, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "N = 32768, higher rating is better"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "95 % interval"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "64:40:48:64:56"));
    bk_free(text);
}

/* The 23 ImageNet networks; published 0.65 / 0.78 / 0.85, and costs alone do better. */
static void test_rank_mbconv(void)
{
    static const struct {
        const char *format;
        double tau, rho, r;
    } want[] = { { "--json", 0.644268774704, 0.776679841897, 0.846737215038 },
                 { "--round-totals 4 --json", 0.646830489678, 0.777063861620, 0.847010348515 } };
    const char *data = bk_test_env("BK_TEST_DATA");
    json_error_t fault;
    int code;

    if (!have_file("mbconv_imagenet_23/mbconv23.csv"))
        BK_SKIP("no released files under BK_TEST_DATA");
    for (size_t i = 0; i < BK_ARRAY_LEN(want); i++) {
        struct bk_text t = BK_TEXT_INIT;
        bk_text_addf(&t, "rank --space mbconv --truth '%s/mbconv_imagenet_23/mbconv23.csv' --truth-column imagenet_top1 --ratings", data);
        for (int k = 0; k < 5; k++)
            bk_text_addf(&t, " '%s/mbconv_imagenet_23/bossnas_path_rank/path_rank_%d.yml'", data, k);
        bk_text_addf(&t, " %s", want[i].format);
        char *text = run(bk_text_get(&t), &code);
        CU_ASSERT_EQUAL_FATAL(code, 0);
        json_t *root = json_loads(text, 0, &fault);
        CU_ASSERT_EQUAL(number_at(root, "n", NULL), 23);
        BK_ASSERT_CLOSE(number_at(root, "kendall_tau", NULL), want[i].tau, 1e-9);
        BK_ASSERT_CLOSE(number_at(root, "spearman_rho", NULL), want[i].rho, 1e-9);
        BK_ASSERT_CLOSE(number_at(root, "pearson_r", NULL), want[i].r, 1e-9);
        const json_t *base = json_object_get(root, "baselines");
        BK_ASSERT_CLOSE(number_at(base, "macs", "kendall_tau"), 0.7549, 5.1e-5);
        BK_ASSERT_CLOSE(number_at(base, "macs", "spearman_rho"), 0.9032, 5.1e-5);
        BK_ASSERT_CLOSE(number_at(base, "macs", "pearson_r"), 0.9291, 5.1e-5);
        BK_ASSERT_CLOSE(number_at(base, "params", "kendall_tau"), 0.7075, 5.1e-5);
        BK_ASSERT_CLOSE(number_at(base, "params", "spearman_rho"), 0.8686, 5.1e-5);
        BK_ASSERT_CLOSE(number_at(base, "params", "pearson_r"), 0.8594, 5.1e-5);
        json_decref(root);
        bk_free(text);
        bk_text_release(&t);
    }
}

static void fails(const char *arguments, int want, const char *sentence)
{
    int code;
    char *text = run(arguments, &code);

    CU_ASSERT_EQUAL(code, want);
    if (!strstr(text, sentence))
        printf("\n    got '%s'\n", text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, sentence));
    CU_ASSERT_EQUAL(strncmp(text, "bosskit: ", 9), 0);
    bk_free(text);
}

static void test_faults(void)
{
    fails("rank --truth t --ratings r", 2, "rank: option '--space' is needed");
    fails("rank --space nats_ss --truth t --ratings r", 2, "1 files of ratings, space 'nats_ss' has 3 blocks");
    fails("rank --space nats_sss --truth t --ratings r", 4, "nats_ss");
    fails("rank --space nats_ss --truth t --ratings /none.yml b c", 1, "cannot open '/none.yml'");
    fails("cost", 2, "cost: a space is needed");
    fails("cost nats_ss", 2, "cost: an architecture or --all is needed");
    fails("cost nats_ss 8:8:8:8:9", 1, "8:8:8:8:9");
    fails("cost nats_ss 8:8:8:8:8 --option nothing=1", 3, "nothing");
    fails("cost nats_ss 8:8:8:8:8 --option nothing", 2, "'nothing' is not key=value");
}

/* Published costs of the benchmark: parameters and its own counter for 10 and 100 classes. */
static void test_cost(void)
{
    static const struct {
        const char *arch;
        int classes;
        double params, counter;
    } want[] = {
        { "8:8:8:8:8", 10, 11714, 4481114 },
        { "8:8:8:8:8", 100, 12524, 4481924 },
        { "8:8:8:16:32", 10, 49202, 6840650 },
        { "8:8:40:32:40", 10, 144834, 21827994 },
        { "64:40:48:64:56", 10, 548202, 240120378 },
        { "64:64:64:64:64", 100, 719524, 274405732 },
    };
    json_error_t fault;
    char arguments[256];
    int code;

    for (size_t i = 0; i < BK_ARRAY_LEN(want); i++) {
        snprintf(arguments, sizeof arguments, "cost nats_ss %s --classes %d --json", want[i].arch,
                 want[i].classes);
        char *text = run(arguments, &code);
        CU_ASSERT_EQUAL_FATAL(code, 0);
        json_t *root = json_loads(text, 0, &fault);
        const json_t *row = json_array_get(root, 0);
        CU_ASSERT_EQUAL(number_at(row, "params", NULL), want[i].params);
        CU_ASSERT_EQUAL(number_at(row, "counter", NULL), want[i].counter);
        json_decref(root);
        bk_free(text);
    }
}

/* Every architecture in the benchmark's order, with the parameters of its table and of the closed form. */
static void test_cost_all(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_space space = nats_space();
    char path[4096], *table = NULL;
    size_t n_bytes, n = 0, wrong = 0;
    int code;

    double start = bk_now();
    char *text = run("cost nats_ss --all --csv", &code);
    printf("  32,768 costs in %.2f s\n", bk_now() - start);
    CU_ASSERT_EQUAL_FATAL(code, 0);
    if (have_data()) {
        snprintf(path, sizeof path, "%s/nats_sss/nats_sss.csv", bk_test_env("BK_TEST_DATA"));
        BK_ASSERT_OK(bk_file_read(path, 1 << 24, &table, &n_bytes, &err));
    }
    char *line = text, *expected = table;
    CU_ASSERT_EQUAL(strncmp(line, "index,arch,params,macs,counter\n", 31), 0);
    for (; (line = strchr(line, '\n')) && *++line; n++) {
        char arch[64];
        double params;
        size_t index;
        struct bk_arch parsed;
        struct bk_cost cost;
        CU_ASSERT_EQUAL_FATAL(sscanf(line, "%zu,%63[^,],%lf", &index, arch, &params), 3);
        BK_ASSERT_OK(bk_space_parse(&space, arch, &parsed, &err));
        BK_ASSERT_OK(bk_space_cost(&space, &parsed, 10, &cost, &err));
        wrong += index != n || params != cost.params;
        if (expected) {
            expected = strchr(expected, '\n') + 1;
            size_t length = (size_t)(strchr(strchr(strchr(line, ',') + 1, ',') + 1, ',') - line);
            wrong += strncmp(line, expected, length + 1) != 0;
        }
    }
    CU_ASSERT_EQUAL(n, 32768);
    CU_ASSERT_EQUAL(wrong, 0);
    bk_free(text);
    bk_free(table);
}

BK_SUITE({ "rank", test_rank }, { "rank with intervals", test_rank_interval }, { "rank of MBConv", test_rank_mbconv }, { "faults", test_faults },
         { "cost", test_cost }, { "cost of all", test_cost_all })

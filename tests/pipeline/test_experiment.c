/*
 * Experiment files as rows: profiles, grids, overrides and their precedence. Trees only; plugins are not needed.
 */
#include "unit.h"

#include "pipeline/experiment.h"
#include <bosskit/file.h>
#include <unistd.h>

static struct bk_experiment *read_text(const char *config, const char *const *overrides, size_t n, struct bk_error *why)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[] = "/tmp/bosskit-experiment-XXXXXX";
    struct bk_experiment *e = NULL;
    int fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    close(fd);
    BK_ASSERT_OK(bk_file_write(path, config, strlen(config), &err));
    if (bk_experiment_read(path, overrides, n, &e, why))
        e = NULL;
    (void)unlink(path);
    return e;
}

static int64_t number(const struct bk_experiment *e, size_t row, const char *key)
{
    const struct bk_value *v = bk_value_find(e->row[row].tree, key);
    return v && v->type == BK_VALUE_INT ? v->i : -1;
}

static const char *text(const struct bk_experiment *e, size_t row, const char *key)
{
    const struct bk_value *v = bk_value_find(e->row[row].tree, key);
    return v && v->type == BK_VALUE_TEXT ? v->text : "";
}

static const char layered[] = "name = \"x\"; seed = 1; profile = \"small\";\n"
                              "trainer = { plugin = \"a\"; epochs = 1; batch = 2; lr = 0.5; };\n"
                              "profiles = { small = { trainer = { epochs = 10; batch = 20; }; };\n"
                              "             large = { trainer = { epochs = 99; }; }; };\n"
                              "grid = ( { name = \"one\"; trainer = { epochs = 100; }; }, { name = \"two\"; } );\n";

/** File < profile < row < command line. */
static void test_precedence(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_experiment *e = read_text(layered, NULL, 0, &err);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_EQUAL(e->n_rows, 2);
    CU_ASSERT_STRING_EQUAL(e->name, "x");
    CU_ASSERT_STRING_EQUAL(e->row[0].name, "one");
    CU_ASSERT_EQUAL(number(e, 0, "trainer.epochs"), 100);
    CU_ASSERT_EQUAL(number(e, 1, "trainer.epochs"), 10);
    CU_ASSERT_EQUAL(number(e, 1, "trainer.batch"), 20);
    CU_ASSERT_PTR_NULL(bk_value_find(e->row[0].tree, "grid"));
    CU_ASSERT_PTR_NULL(bk_value_find(e->row[0].tree, "profile"));
    bk_experiment_free(e);
    const char *const over[] = { "trainer.epochs=7", "profile=large" };
    e = read_text(layered, over, 2, &err);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_EQUAL(number(e, 0, "trainer.epochs"), 7);
    CU_ASSERT_EQUAL(number(e, 1, "trainer.epochs"), 7);
    CU_ASSERT_EQUAL(number(e, 1, "trainer.batch"), 2);
    CU_ASSERT_STRING_EQUAL(bk_value_find(e->row[1].tree, "trainer.epochs")->origin, "command line");
    bk_experiment_free(e);
}

/** Another plugin starts its options afresh; the same plugin keeps them. */
static void test_other_plugin(void)
{
    struct bk_error err = BK_ERROR_INIT;
    const char *const other[] = { "trainer.plugin=b" }, *const same[] = { "trainer.plugin=a" };
    struct bk_experiment *e = read_text("trainer = { plugin = \"a\"; epochs = 1; };", other, 1, &err);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_STRING_EQUAL(text(e, 0, "trainer.plugin"), "b");
    CU_ASSERT_PTR_NULL(bk_value_find(e->row[0].tree, "trainer.epochs"));
    bk_experiment_free(e);
    e = read_text("trainer = { plugin = \"a\"; epochs = 1; };", same, 1, &err);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_EQUAL(number(e, 0, "trainer.epochs"), 1);
    bk_experiment_free(e);
    e = read_text("rater = \"params\";", NULL, 0, &err);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_STRING_EQUAL(text(e, 0, "rater.plugin"), "params");
    bk_experiment_free(e);
}

static void test_product(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_experiment *e = read_text("grid = { rater = [\"p\", \"q\"]; seed = [1, 2, 3]; truth = { n = [5]; }; };",
                                        NULL, 0, &err);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_EQUAL_FATAL(e->n_rows, 6);
    CU_ASSERT_STRING_EQUAL(e->row[0].name, "rater=p, seed=1, truth.n=5");
    CU_ASSERT_STRING_EQUAL(e->row[1].name, "rater=p, seed=2, truth.n=5");
    CU_ASSERT_STRING_EQUAL(text(e, 5, "rater.plugin"), "q");
    CU_ASSERT_EQUAL(number(e, 5, "seed"), 3);
    CU_ASSERT_EQUAL(number(e, 3, "truth.n"), 5);
    bk_experiment_free(e);
}

static void refused(const char *config, const char *override, const char *sentence)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_experiment *e = read_text(config, &override, override ? 1 : 0, &err);
    CU_ASSERT_PTR_NULL(e);
    CU_ASSERT_EQUAL(err.code, BK_ECONFIG);
    if (!strstr(err.text, sentence))
        printf("\n    wanted '%s' in '%s'\n", sentence, err.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, sentence));
    bk_experiment_free(e);
}

static void test_refusals(void)
{
    refused("seed = 1;", "profile=x", "'x' is not a profile of this experiment, legal: none is declared");
    refused("profile = \"y\"; profiles = { a = {}; b = {}; };", NULL, "legal: a, b");
    refused("grid = ( { name = \"a\"; }, { name = \"a\"; } );", NULL, "two rows named 'a'");
    refused("grid = ( { profile = \"a\"; } );", NULL, "a row cannot set 'profile'");
    refused("grid = ( 1, 2 );", NULL, "row 1 must be a group");
    refused("grid = { seed = 1; };", NULL, "grid.seed: must be a list of values");
    refused("grid = { a = [1,2,3,4,5,6,7,8,9,10,11]; b = [1,2,3,4,5,6,7,8,9,10]; c = [1,2,3,4,5,6,7,8,9,10]; };", NULL,
            "more than 1000 rows");
    refused("seed = 1;", "grid.seed=2", "cannot be overridden");
}

BK_SUITE({ "precedence", test_precedence }, { "another plugin", test_other_plugin }, { "product", test_product },
         { "refusals", test_refusals })

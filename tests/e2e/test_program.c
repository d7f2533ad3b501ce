/*
 * The program as a user meets it: mistakes and their exit codes, the cache, grids that share stages, crashes.
 */
#include "program.h"

static struct bk_scratch s;

static bool ready(void)
{
    char path[400];
    snprintf(path, sizeof path, "%s/plugins/trainers/ensemble_bootstrap.so", bk_test_env("BK_TEST_BINARY"));
    return bk_file_exists(path);
}

#define NEED_PLUGINS()                                                                   \
    do {                                                                                 \
        if (!ready())                                                                    \
            BK_SKIP("the plugins of the experiment are not built");                      \
        CU_ASSERT_FATAL(bk_scratch_open(&s));                                            \
        bk_scratch_write(&s, "tiny.cfg", bk_tiny_experiment);                            \
    } while (0)

static void test_mistakes(void)
{
    static const struct {
        const char *override, *sentence;
        int code;
    } cases[] = {
        { "trainer.epohcs=3", "nearest: 'epochs'", 3 },
        { "truht.n=3", "nearest: 'truth'", 3 },
        { "trainer.plugin=nope", "no trainer 'nope'", 4 },
        { "rater.plugin=uniform", "no rater 'uniform'", 4 },
        { "rater.block_weights=[1,2]", "has 2 entries, space 'nats_ss' has 3 blocks", 3 },
        { "dtype=f16", "legal: auto | f32 | bf16", 3 },
        { "truth.n=2", "needs at least 3 architectures", 3 },
        { "truth.n=3.5", "where an integer is wanted", 3 },
        { "seed=-1", "legal: 0..", 3 },
        { "data.augment=imagnet", "imagenet", 3 },
        { "data.augment_on=gpu", "host | device", 3 },
        { "baselines=[\"parms\"]", "parms", 4 },
        { "rater.plugin=distill_loss", "takes supernets of kind 'distill', trainer 'ensemble_bootstrap' makes 'siamese'", 3 },
        { "rater.plugin=supervised_acc", "takes supernets of kind 'supervised'", 3 },
    };
    NEED_PLUGINS();
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        int rc = BK_RUN_PROGRAM(&s, "check", "tiny.cfg", cases[i].override);
        if (rc != cases[i].code)
            printf("\n    %s: exit code %d, wanted %d\n", cases[i].override, rc, cases[i].code);
        CU_ASSERT_EQUAL(rc, cases[i].code);
        CU_ASSERT(bk_said(&s, cases[i].sentence));
    }
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check"), 2);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", "tiny.cfg", "other.cfg"), 2);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", "absent.cfg"), 3);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", "tiny.cfg"), 0);
    bk_scratch_write(&s, "rows.cfg", "@include \"tiny.cfg\"\ngrid = ( { name = \"a\"; sede = 2; } );\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", "rows.cfg"), 3);
    CU_ASSERT(bk_said(&s, "nearest: 'seed'"));
    CU_ASSERT(bk_said(&s, "rows.cfg:2"));
    bk_scratch_close(&s);
}

static void test_missing_truth(void)
{
    NEED_PLUGINS();
    bk_scratch_write(&s, "file.cfg", "@include \"tiny.cfg\"\nrater = { plugin = \"params\"; };\nsearcher = { plugin = \"random\"; };\n"
                                     "truth = { source = \"file\"; hint = \"ask a friend\"; };\n");
    bk_scratch_write(&s, "truth.csv", "arch,a,b\n4:4:4:4:4,1,2\n8:8:8:8:8,2,1\n4:4:4:4:8,3,3\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "file.cfg"), 5);
    CU_ASSERT(bk_said(&s, "get it: ask a friend; then say truth.file=PATH"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "file.cfg", "truth.file=absent.csv"), 5);
    CU_ASSERT(bk_said(&s, "does not exist"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "file.cfg", "truth.file=truth.csv"), 5);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "file.cfg", "truth.file=truth.csv", "truth.column=c"), 5);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "file.cfg", "truth.file=truth.csv", "truth.column=b"), 0);
    bk_scratch_close(&s);
}

/** A value outside the declared tolerance is exit code 7, with the table. */
static void test_tolerance(void)
{
    NEED_PLUGINS();
    bk_scratch_write(&s, "truth.csv", "arch,a\n4:4:4:4:4,1\n8:8:8:8:8,3\n4:4:4:4:8,2\n");
    bk_scratch_write(&s, "file.cfg", "@include \"tiny.cfg\"\nrater = { plugin = \"params\"; };\nsearcher = { plugin = \"random\"; };\n"
                                     "truth = { source = \"file\"; file = \"truth.csv\"; };\n"
                                     "report = { tolerance = 0.1; published = { kendall_tau = 0.5; }; };\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "file.cfg"), 7);
    CU_ASSERT(bk_said(&s, "tau is 1.0000, published 0.5000, declared tolerance 0.1"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "file.cfg", "report.published.kendall_tau=0.95"), 0);
    bk_scratch_close(&s);
}

/** The second run computes nothing, `plan` says so, and `report` writes the same files again. */
static void test_cache(void)
{
    NEED_PLUGINS();
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "tiny.cfg"), 0);
    char *first = bk_scratch_read(&s, "stdout.txt"), *manifest = bk_scratch_read(&s, "runs/tiny/MANIFEST.sha256");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "tiny.cfg"), 0);
    CU_ASSERT(bk_said(&s, "0 made in"));
    char *second = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_STRING_EQUAL(first, second);
    bk_free(second);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "tiny.cfg"), 0);
    char *plan = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_PTR_NOT_NULL(strstr(plan, "14 stages: 14 HIT, 0 RESUME, 0 RUN"));
    bk_free(plan);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "tiny.cfg", "trainer.epochs=3"), 0);
    plan = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_PTR_NOT_NULL(strstr(plan, "trainer.options.epochs is \"3\", was \"2\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(plan, "HIT     alone: 4 architectures"));
    bk_free(plan);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "report", "runs/tiny"), 0);
    char *again = bk_scratch_read(&s, "stdout.txt"), *after = bk_scratch_read(&s, "runs/tiny/MANIFEST.sha256");
    CU_ASSERT_STRING_EQUAL(again, first);
    CU_ASSERT_STRING_EQUAL(after, manifest);
    /* what cannot change a result is in no key */
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "tiny.cfg", "data.loader_threads=2", "checkpoint_s=7"), 0);
    CU_ASSERT(bk_said(&s, "0 made in"));
    /* views made by a device are other stages; a backend that makes none leaves them to the host */
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "tiny.cfg", "data.augment_on=device"), 0);
    plan = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_PTR_NULL(strstr(plan, "HIT     train"));
    bk_free(plan);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "tiny.cfg", "data.augment_on=device"), 0);
    second = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_STRING_EQUAL(first, second);
    bk_free(second);
    bk_free(first);
    bk_free(again);
    bk_free(after);
    bk_free(manifest);
    bk_scratch_close(&s);
}

/** Two rows that differ in the rater's options share training and truth. */
static void test_sharing(void)
{
    NEED_PLUGINS();
    bk_scratch_write(&s, "rows.cfg",
                     "@include \"tiny.cfg\"\nname = \"rows\";\ngrid = ( { name = \"a\"; }, { name = \"b\"; rater = { "
                     "centre_normalise = true; }; },\n { name = \"c\"; rater = { plugin = \"params\"; }; searcher = { plugin "
                     "= \"random\"; }; } );\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "rows.cfg"), 0);
    char *plan = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_PTR_NOT_NULL(strstr(plan, "shared with row 'a'"));
    bk_free(plan);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "rows.cfg"), 0);
    char *table = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_PTR_NOT_NULL(strstr(table, "\na "));
    CU_ASSERT_PTR_NOT_NULL(strstr(table, "\nb "));
    CU_ASSERT_PTR_NOT_NULL(strstr(table, "\nc "));
    bk_free(table);
    bk_scratch_close(&s);
}

/** A row whose stage fails leaves the others their results: exit code 6. */
static void test_failed_row(void)
{
    NEED_PLUGINS();
    bk_scratch_write(&s, "rows.cfg",
                     "@include \"tiny.cfg\"\nname = \"rows\";\ngrid = ( { name = \"good\"; }, { name = \"bad\"; searcher = "
                     "{ max_params = 1.0; }; } );\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "rows.cfg"), 6);
    char *table = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_PTR_NOT_NULL(strstr(table, "bad"));
    CU_ASSERT_PTR_NOT_NULL(strstr(table, "failed"));
    CU_ASSERT_PTR_NOT_NULL(strstr(table, "good: found"));
    bk_free(table);
    bk_scratch_close(&s);
}

BK_SUITE({ "mistakes and exit codes", test_mistakes }, { "missing truth", test_missing_truth },
         { "tolerance", test_tolerance }, { "cache", test_cache }, { "sharing", test_sharing },
         { "a failed row", test_failed_row })

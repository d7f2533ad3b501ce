/*
 * What an experiment may do beside one row of ratings, with the real program: comparisons of rows, ratings during
 * training, search by evolution, named and quoted architectures, and a plan that only looks.
 */
#include "program.h"

#include <jansson.h>

static struct bk_scratch s;

static bool ready(void)
{
    char path[400];
    snprintf(path, sizeof path, "%s/plugins/searchers/evolutionary.so", bk_test_env("BK_TEST_BINARY"));
    return bk_file_exists(path);
}

#define NEED_PLUGINS()                                                                   \
    do {                                                                                 \
        if (!ready())                                                                    \
            BK_SKIP("the plugins of the experiment are not built");                      \
        CU_ASSERT_FATAL(bk_scratch_open(&s));                                            \
        bk_scratch_write(&s, "tiny.cfg", bk_tiny_experiment);                            \
        bk_scratch_write(&s, "truth.csv", truth);                                        \
    } while (0)

static const char truth[] = "arch,acc\n4:4:4:4:4,1\n8:8:8:8:8,8\n4:4:4:4:8,2\n8:4:4:4:4,4\n4:8:4:8:4,3.5\n8:8:4:4:4,3\n"
                            "4:4:8:8:8,7\n8:4:8:4:8,5\n";

/* Without training alone; everything is rated on truth.csv. */
#define ON_FILE "truth = { source = \"file\"; file = \"truth.csv\"; };\n"

static bool exists(const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", s.dir, name);
    return bk_file_exists(path);
}

static bool printed(const char *wanted)
{
    char *text = bk_scratch_read(&s, "stdout.txt");
    bool yes = text && strstr(text, wanted);
    if (!yes)
        printf("\n    wanted '%s' in: %s\n", wanted, text ? text : "(nothing)");
    bk_free(text);
    return yes;
}

static json_t *run_json(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "runs/%s/run.json", name);
    char *text = bk_scratch_read(&s, path);
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    bk_free(text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(o);
    return o;
}

static const char *found_in(const json_t *run, size_t row)
{
    const json_t *found = json_object_get(json_array_get(json_object_get(run, "rows"), row), "found");
    const char *arch = json_string_value(json_object_get(found, "arch"));
    return arch ? arch : "";
}

static double coefficient(const json_t *run, size_t row, const char *name)
{
    const json_t *c = json_object_get(json_array_get(json_object_get(run, "rows"), row), "correlation");
    return json_number_value(json_object_get(c, name));
}

#define LONG_NAME "a row with a name that takes about half of a line"

/** What was printed has no line of more than 120 columns, and `once` a single time. */
static void check_lines(const char *once)
{
    char *text = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        /* a path may be as long as it likes */
        bool has_path = strstr(line, "store: ") && strstr(line, "store: ") < line + strcspn(line, "\n");
        CU_ASSERT(strcspn(line, "\n") <= 120 || has_path);
        if (!line[strcspn(line, "\n")])
            break;
    }
    const char *first = strstr(text, once);
    CU_ASSERT(first && !strstr(first + 1, once));
    bk_free(text);
}

/** A plan makes nothing, not even the images; later it knows how long things take. */
static void test_plan_only_looks(void)
{
    NEED_PLUGINS();
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "tiny.cfg"), 0);
    check_lines("the images are not imported yet");
    CU_ASSERT(printed("time unknown"));
    bk_scratch_write(&s, "long.cfg", "@include \"tiny.cfg\"\ngrid = ( { name = \"" LONG_NAME " A\"; }, { name = \"" LONG_NAME " B\";\n"
                                     "supernet = \"" LONG_NAME " A\"; rater = { centre_normalise = true; }; } );\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "long.cfg"), 0);
    check_lines("the images are not imported yet");
    CU_ASSERT(printed("shared with row '" LONG_NAME " A'") && printed("supernet of row '" LONG_NAME " A'\n"));
    CU_ASSERT_FALSE(exists("cache"));
    CU_ASSERT_FALSE(exists("runs"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "tiny.cfg"), 0);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "tiny.cfg", "trainer.epochs=400", "truth.n=5"), 0);
    CU_ASSERT(printed("MiB"));
    check_lines("row 'tiny'");
    CU_ASSERT(printed("about "));
    CU_ASSERT(printed("estimate: about "));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "tiny.cfg", "trainer.plugin=naive_bootstrap", "trainer.batch=8"), 0);
    CU_ASSERT(printed("time unknown"));
    bk_scratch_close(&s);
}

/** Differences of rows are the differences of their correlations; equal rows differ by nothing. */
static void test_pairs(void)
{
    static const char *const names[3] = { "kendall_tau", "spearman_rho", "pearson_r" };
    NEED_PLUGINS();
    bk_scratch_write(&s, "rows.cfg", "@include \"tiny.cfg\"\nname = \"rows\";\nsearcher = { plugin = \"random\"; n = 10; };\n" ON_FILE
                                     "grid = ( { name = \"p\"; rater = \"params\"; }, { name = \"m\"; rater = \"macs\"; },\n"
                                     "{ name = \"p2\"; rater = \"params\"; report = { published = { kendall_tau = 0.625; }; }; } );\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "rows.cfg"), 0);
    CU_ASSERT(printed("p against m"));
    CU_ASSERT(printed("0.62 / - / -") || printed("0.63 / - / -"));
    json_t *run = run_json("rows"), *pairs = json_object_get(run, "pairs");
    static const size_t rows[3][2] = { { 0, 1 }, { 0, 2 }, { 1, 2 } };
    CU_ASSERT_EQUAL_FATAL(json_array_size(pairs), 3);
    for (size_t i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) {
            const json_t *c = json_object_get(json_array_get(pairs, i), names[k]), *range = json_object_get(c, "interval_95");
            double wanted = coefficient(run, rows[i][0], names[k]) - coefficient(run, rows[i][1], names[k]);
            double d = json_number_value(json_object_get(c, "difference"));
            BK_ASSERT_CLOSE(d, wanted, 1e-12);
            CU_ASSERT(json_number_value(json_array_get(range, 0)) <= json_number_value(json_array_get(range, 1)));
            if (i == 1)
                CU_ASSERT(d == 0 && json_number_value(json_object_get(c, "p")) == 1);
        }
    }
    json_decref(run);
    bk_scratch_close(&s);
}

/** The trained block of the first training stage that has been published with (or without) ratings during training. */
static char *trained_of(bool rated)
{
    char *text = NULL;
    char command[800];
    snprintf(command, sizeof command, "cd %s/cache/store/train && for d in *; do if [ %s -e $d/epoch-000002.csv ]; then sha256sum < "
                                      "$d/trained.safetensors; fi; done | sort > %s/digests.txt",
             s.dir, rated ? "" : "!", s.dir);
    CU_ASSERT_EQUAL(system(command), 0);
    text = bk_scratch_read(&s, "digests.txt");
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    return text;
}

/** Rating during training changes nothing in it; the curve ends at the row's own correlations. */
static void test_convergence(void)
{
    NEED_PLUGINS();
    bk_scratch_write(&s, "curve.cfg", "@include \"tiny.cfg\"\n" ON_FILE "trainer = { epochs = 5; };\nbaselines = ();\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "curve.cfg"), 0);
    char *plain = bk_scratch_read(&s, "runs/tiny/metrics.csv"), *plain_nets = trained_of(false);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "curve.cfg", "trainer.rate_every=2"), 0);
    char *metrics = bk_scratch_read(&s, "runs/tiny/metrics.csv"), *nets = trained_of(true);
    CU_ASSERT_STRING_EQUAL(plain, metrics);
    CU_ASSERT_STRING_EQUAL(plain_nets, nets);
    CU_ASSERT(strlen(nets) > 3 * 64);
    json_t *run = run_json("tiny");
    const json_t *epochs = json_object_get(json_array_get(json_object_get(run, "rows"), 0), "epochs");
    CU_ASSERT_EQUAL_FATAL(json_array_size(epochs), 3);
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_array_get(epochs, i), "epoch")), i < 2 ? 2 * (int)i + 2 : 5);
    CU_ASSERT_EQUAL(json_number_value(json_object_get(json_array_get(epochs, 2), "kendall_tau")), coefficient(run, 0, "kendall_tau"));
    CU_ASSERT(exists("runs/tiny/tables/convergence.csv") && exists("runs/tiny/plots/convergence-tiny.svg"));
    json_decref(run);

    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "curve.cfg", "trainer.rate_every=2"), 0);
    CU_ASSERT(bk_said(&s, "0 made in"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", "curve.cfg", "trainer.rate_every=2", "rater.plugin=params"), 3);
    CU_ASSERT(bk_said(&s, "rate_every"));
    bk_free(plain);
    bk_free(plain_nets);
    bk_free(metrics);
    bk_free(nets);
    bk_scratch_close(&s);
}

/** What a row says of its blocks is what its ratings have. */
static void test_blocks(void)
{
    NEED_PLUGINS();
    bk_scratch_write(&s, "blocks.cfg", "@include \"tiny.cfg\"\n" ON_FILE);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "blocks.cfg"), 0);
    json_t *run = run_json("tiny");
    const json_t *rows = json_object_get(run, "rows"), *block = json_object_get(json_array_get(rows, 0), "blocks");
    CU_ASSERT_EQUAL_FATAL(json_array_size(block), 3);
    for (size_t k = 0; k < 3; k++) {
        const json_t *b = json_array_get(block, k);
        double reliability = json_number_value(json_object_get(b, "reliability"));
        CU_ASSERT(json_integer_value(json_object_get(b, "paths")) == (k < 2 ? 4 : 2));
        CU_ASSERT(json_number_value(json_object_get(b, "best_rating")) < json_number_value(json_object_get(b, "worst_rating")));
        CU_ASSERT(reliability != 0 && reliability < 1);
    }
    CU_ASSERT_PTR_NULL(json_object_get(json_array_get(rows, 1), "blocks"));    /* a baseline */
    CU_ASSERT(exists("runs/tiny/tables/blocks.csv"));
    json_decref(run);

    CU_ASSERT_FALSE(bk_said(&s, "collapsed"));

    char *made = bk_scratch_read(&s, "runs/tiny/tables/blocks.csv");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "blocks.cfg"), 0);
    char *cached = bk_scratch_read(&s, "runs/tiny/tables/blocks.csv");
    CU_ASSERT_STRING_EQUAL(made, cached);
    bk_free(made);
    bk_free(cached);
    bk_scratch_close(&s);
}

/** Projections of one component lie on a line. */
static void test_collapse(void)
{
    NEED_PLUGINS();
    bk_scratch_write(&s, "line.cfg", "@include \"tiny.cfg\"\n" ON_FILE "baselines = ();\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "line.cfg", "trainer.embed=1"), 0);
    CU_ASSERT(bk_said(&s, "block 2: representations differ between images in 1.0 dimensions alone: training has collapsed"));
    bk_scratch_close(&s);
}

/** Behind the paths that were found by themselves all is the same; behind others the later blocks are made anew. */
static void test_fixed_prefix(void)
{
    char override[128];
    NEED_PLUGINS();
    bk_scratch_write(&s, "fix.cfg", "@include \"tiny.cfg\"\n" ON_FILE "baselines = ();\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "fix.cfg"), 0);
    json_t *run = run_json("tiny");
    char *scores = bk_scratch_read(&s, "runs/tiny/scores/tiny.csv");
    snprintf(override, sizeof override, "trainer.prefix=%s", found_in(run, 0));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "fix.cfg", override), 0);
    char *same = bk_scratch_read(&s, "runs/tiny/scores/tiny.csv");
    CU_ASSERT_PTR_NOT_NULL_FATAL(scores);
    CU_ASSERT_STRING_EQUAL(scores, same);
    bool large = strcmp(found_in(run, 0), "8:8:8:8:8") == 0;
    snprintf(override, sizeof override, "trainer.prefix=%s", large ? "4:4:4:4:4" : "8:8:8:8:8");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "fix.cfg", override), 0);
    CU_ASSERT(bk_said(&s, "2 stages from the cache"));         /* training and rating of block 0 */
    char *other = bk_scratch_read(&s, "runs/tiny/scores/tiny.csv");
    CU_ASSERT(strcmp(scores, other) != 0);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", "fix.cfg", "trainer.prefix=8:8:8"), 3);
    CU_ASSERT(bk_said(&s, "trainer.prefix"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", "fix.cfg", "trainer.prefix=best"), 3);
    json_decref(run);
    bk_free(scores);
    bk_free(same);
    bk_free(other);
    bk_scratch_close(&s);
}

/** A population of all paths finds what traversal finds; a smaller one finds something, twice the same. */
static void test_evolution(void)
{
    char first[64];
    NEED_PLUGINS();
    bk_scratch_write(&s, "evo.cfg", "@include \"tiny.cfg\"\nname = \"evo\";\nbaselines = ();\n" ON_FILE
                                    "grid = ( { name = \"t\"; }, { name = \"all\"; searcher = { plugin = \"evolutionary\"; }; },\n"
                                    "{ name = \"limited\"; searcher = { plugin = \"evolutionary\"; max_params = 6000.0; }; },\n"
                                    "{ name = \"few\"; searcher = { plugin = \"evolutionary\"; population = 2; offspring = 1; "
                                    "tournament = 2; generations = 2; }; } );\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "evo.cfg"), 0);
    json_t *run = run_json("evo"), *row = json_object_get(run, "rows");
    CU_ASSERT_STRING_EQUAL(found_in(run, 0), found_in(run, 1));
    CU_ASSERT(strlen(found_in(run, 3)) > 0);
    const json_t *t = json_object_get(json_array_get(row, 0), "found"), *all = json_object_get(json_array_get(row, 1), "found");
    CU_ASSERT_EQUAL(json_number_value(json_object_get(t, "score")), json_number_value(json_object_get(all, "score")));
    const json_t *limited = json_object_get(json_array_get(row, 2), "found");
    CU_ASSERT(json_number_value(json_object_get(limited, "params")) <= 6000);
    CU_ASSERT(json_number_value(json_object_get(limited, "params")) > 0);
    snprintf(first, sizeof first, "%s", found_in(run, 3));
    json_decref(run);
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s/cache/store/search", s.dir);
    CU_ASSERT_EQUAL(system(command), 0);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "evo.cfg"), 0);
    run = run_json("evo");
    CU_ASSERT_STRING_EQUAL(found_in(run, 3), first);
    json_decref(run);
    bk_scratch_close(&s);
}

/** Architectures are drawn and priced without a rater; rows can quote. */
static void test_named_and_quoted(void)
{
    NEED_PLUGINS();
    bk_scratch_write(&s, "named.cfg",
                     "name = \"named\"; n_classes = 10; space = { plugin = \"nats_ss\"; };\n"
                     "architectures = ( \"64:64:64:64:64\", { name = \"small\"; arch = \"8:8:8:8:8\"; top1 = 81.5; source = \"me\"; "
                     "}, { name = \"other\"; top1 = 95.25; } );\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "named.cfg"), 0);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "named.cfg"), 0);
    CU_ASSERT(printed("95.25"));
    char *csv = bk_scratch_read(&s, "runs/named/tables/architectures.csv");
    CU_ASSERT_PTR_NOT_NULL_FATAL(csv);
    CU_ASSERT_PTR_NOT_NULL(strstr(csv, "named,64:64:64:64:64,64:64:64:64:64,"));
    CU_ASSERT_PTR_NOT_NULL(strstr(csv, "named,other,,,,,95.25,,,\n"));
    bk_free(csv);
    CU_ASSERT(exists("runs/named/plots/arch-named-small.svg"));
    CU_ASSERT_FALSE(exists("runs/named/plots/arch-named-other.svg"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "named.cfg", "architectures=[\"8:8\"]"), 3);
    CU_ASSERT(bk_said(&s, "architectures"));

    bk_scratch_write(&s, "rows.cfg", "@include \"tiny.cfg\"\nname = \"rows\";\nsearcher = { plugin = \"random\"; n = 10; };\n" ON_FILE
                                     "grid = ( { name = \"FBNet v2\"; quoted = true; report = { published = { found_truth = 93.14; }; "
                                     "}; }, { name = \"p\"; rater = \"params\"; report = { tolerance = 2.0; published = { "
                                     "found_truth = 93.29; kendall_tau = 0.5; }; }; } );\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "rows.cfg"), 0);
    CU_ASSERT(printed("93.14") && printed("93.29") && printed("published values alone, nothing was computed: FBNet v2"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "report", "runs/rows"), 0);
    CU_ASSERT(printed("93.14") && printed("93.29"));
    bk_scratch_close(&s);
}

/** A search needs no truth: what it finds is the result. */
static void test_search_alone(void)
{
    NEED_PLUGINS();
    bk_scratch_write(&s, "alone.cfg", "name = \"alone\"; n_classes = 10; space = { plugin = \"nats_ss\"; };\n"
                                      "rater = \"params\"; baselines = (\"macs\");\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", "alone.cfg"), 3);
    CU_ASSERT(bk_said(&s, "truth: is missing; give truth.file, truth.source = \"standalone\", or a searcher"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "alone.cfg", "searcher.plugin=random", "searcher.n=50"), 0);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "alone.cfg", "searcher.plugin=random", "searcher.n=50"), 0);
    CU_ASSERT(printed("a search without truth, nothing to correlate: alone") && printed("truth not known"));
    CU_ASSERT(exists("runs/alone/plots/found-alone.svg"));
    json_t *run = run_json("alone");
    CU_ASSERT_EQUAL(json_array_size(json_object_get(run, "rows")), 1);
    json_decref(run);
    bk_scratch_close(&s);
}

BK_SUITE({ "search alone", test_search_alone }, { "a plan only looks", test_plan_only_looks }, { "row against row", test_pairs }, { "blocks", test_blocks }, { "collapse", test_collapse }, { "convergence", test_convergence }, { "fixed prefix", test_fixed_prefix },
         { "evolution", test_evolution }, { "named and quoted", test_named_and_quoted })

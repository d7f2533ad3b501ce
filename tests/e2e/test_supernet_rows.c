/*
 * Rows that rate the supernet of another row, with the real program: one training, one prefix, keys as without them; and
 * what is refused.
 */
#include "program.h"

#include <dirent.h>
#include <jansson.h>

static struct bk_scratch s;

#define NEED_PLUGINS()                                                                                             \
    do {                                                                                                           \
        char path_[400];                                                                                           \
        snprintf(path_, sizeof path_, "%s/plugins/raters/classification.so", bk_test_env("BK_TEST_BINARY"));       \
        if (!bk_file_exists(path_))                                                                                \
            BK_SKIP("the plugins of the experiment are not built");                                                \
        CU_ASSERT_FATAL(bk_scratch_open(&s));                                                                      \
        bk_scratch_write(&s, "tiny.cfg", bk_tiny_experiment);                                                      \
        bk_scratch_write(&s, "truth.csv", truth);                                                                  \
    } while (0)

static const char truth[] = "arch,acc\n4:4:4:4:4,1\n8:8:8:8:8,8\n4:4:4:4:8,2\n8:4:4:4:4,4\n4:8:4:8:4,3.5\n8:8:4:4:4,3\n";

#define ONE "@include \"tiny.cfg\"\nname = \"one\";\ntruth = { source = \"file\"; file = \"truth.csv\"; };\nbaselines = ();\n"
#define LINEAR "rater = { plugin = \"linear_eval\"; epochs = 1; train_batch = 8; calib_images = 8; batch = 8; };"
#define TWO ONE "grid = ( { name = \"linear\"; supernet = \"boot\"; " LINEAR " }, { name = \"boot\"; } );\n"

/** A copy of what plan said, from the line of row `row` on; bk_free(). NULL: no such row. */
static char *plan_of(const char *row)
{
    char *text = bk_scratch_read(&s, "stdout.txt"), line[100];
    snprintf(line, sizeof line, "row '%s': ", row);
    const char *at = text ? strstr(text, line) : NULL, *end = at ? strstr(at, "\nrow '") : NULL;
    char *part = at ? bk_strdup(at) : NULL;
    if (part && end)
        part[end - at] = 0;
    bk_free(text);
    return part;
}

/** The first twelve digits of the key in the line of a stage: they follow its label and two blanks. */
static void key_of(const char *plan, const char *label, char key[13])
{
    const char *at = plan ? strstr(plan, label) : NULL;
    key[0] = 0;
    if (at)
        (void)sscanf(at + strlen(label), " %12s", key);
    CU_ASSERT_EQUAL(strlen(key), 12);
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; at && (at = strstr(at, part)); at++)
        n++;
    return n;
}

/** The identity of the published stage of that kind and short key. */
static json_t *identity_of(const char *kind, const char *key)
{
    char dir[400], file[800];
    json_t *o = NULL;
    snprintf(dir, sizeof dir, "%s/cache/store/%s", s.dir, kind);
    DIR *d = opendir(dir);
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    for (struct dirent *e = readdir(d); e && !o; e = readdir(d)) {
        if (strncmp(e->d_name, key, strlen(key)) != 0)
            continue;
        snprintf(file, sizeof file, "%s/%s/manifest.json", dir, e->d_name);
        json_t *m = json_load_file(file, 0, NULL);
        o = json_deep_copy(json_object_get(m, "identity"));
        json_decref(m);
    }
    closedir(d);
    CU_ASSERT_PTR_NOT_NULL_FATAL(o);
    return o;
}

/** Is the input `i` of the stage the one with the short key? */
static bool has_input(const char *kind, const char *key, size_t i, const char *input)
{
    json_t *o = identity_of(kind, key);
    const char *text = json_string_value(json_array_get(json_object_get(o, "inputs"), i));
    bool yes = text && strncmp(text, input, 12) == 0;
    json_decref(o);
    return yes;
}

/** Two rows, the one that trains named last: its stages have the keys of a run without the other, which trains nothing. */
static void test_keys(void)
{
    static const char *const trains[] = { "train block 0 (ensemble_bootstrap)", "train block 1 (ensemble_bootstrap)" };
    static const char *const rates[] = { "rate block 0 (population_center)", "rate block 1 (population_center)" };
    static const char *const linear[] = { "rate block 0 (linear_eval)", "rate block 1 (linear_eval)" };
    char alone[13], own[13], key[13], first[13];

    NEED_PLUGINS();
    bk_scratch_write(&s, "one.cfg", ONE);
    bk_scratch_write(&s, "two.cfg", TWO);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "one.cfg"), 0);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "one.cfg"), 0);
    char *one = plan_of("one");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "two.cfg"), 0);
    char *boot = plan_of("boot"), *lin = plan_of("linear");
    CU_ASSERT_PTR_NOT_NULL_FATAL(lin);
    for (int k = 0; k < 2; k++) {
        key_of(one, trains[k], alone);
        key_of(boot, trains[k], own);
        key_of(lin, trains[k], key);
        CU_ASSERT_STRING_EQUAL(alone, own);
        CU_ASSERT_STRING_EQUAL(alone, key);
        key_of(one, rates[k], alone);
        key_of(boot, rates[k], own);
        CU_ASSERT_STRING_EQUAL(alone, own);
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(lin, "supernet of row 'boot'\n"));
    CU_ASSERT_PTR_NULL(strstr(boot, "supernet of row"));
    CU_ASSERT_EQUAL(count(lin, "HIT     train"), count(lin, "shared with row 'boot'"));
    CU_ASSERT_EQUAL(count(lin, "RUN     train") + count(boot, "RUN     "), 0);
    key_of(boot, rates[0], first);
    /* what is rated anew is behind the same paths */
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "two.cfg"), 0);
    char *said = bk_scratch_read(&s, "stderr.txt");
    CU_ASSERT(count(said, "] rate block") > 0 && count(said, "] train block") == 0);
    bk_free(said);
    key_of(lin, linear[1], key);
    key_of(boot, trains[1], own);
    CU_ASSERT(has_input("rate", key, 0, first));
    CU_ASSERT(has_input("rate", key, 1, own));
    key_of(lin, linear[0], own);
    key_of(lin, "search (traversal)", key);
    CU_ASSERT(has_input("search", key, 0, own));
    bk_free(one);
    bk_free(boot);
    bk_free(lin);
    bk_scratch_close(&s);
}

/** Order of the rows, options of the command line and an inherited trainer change nothing in whose supernet it is. */
static void test_inherited(void)
{
    NEED_PLUGINS();
    bk_scratch_write(&s, "rows.cfg", ONE "grid = ( { name = \"boot\"; trainer = { rate_every = 1; lr = 0.7; }; }, { name = \"linear\"; "
                                         "supernet = \"boot\"; " LINEAR " } );\n");
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", "rows.cfg", "trainer.epochs=3"), 0);
    char *text = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    const char *second = strstr(text, "# row 'linear'");
    CU_ASSERT_PTR_NOT_NULL_FATAL(second);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "trainer.epochs = 3;"));
    CU_ASSERT_PTR_NOT_NULL(strstr(second, "supernet = \"boot\";"));
    CU_ASSERT_PTR_NOT_NULL(strstr(second, "trainer.rate_every = 0;"));
    CU_ASSERT_PTR_NULL(strstr(second, "trainer.epochs"));
    CU_ASSERT_PTR_NULL(strstr(second, "trainer.lr"));
    bk_free(text);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "rows.cfg"), 0);
    CU_ASSERT(bk_said(&s, "train block 1 (ensemble_bootstrap), rated every 1 epochs"));
    char *said = bk_scratch_read(&s, "stderr.txt"), *curve = bk_scratch_read(&s, "runs/one/tables/convergence.csv");
    CU_ASSERT_EQUAL(count(said, "] train block 0 (ensemble_bootstrap), rated every 1 epochs\n"), 1);
    CU_ASSERT_EQUAL(count(said, "] train block 0 (ensemble_bootstrap)\n"), 0);
    CU_ASSERT(count(curve, "boot") > 0 && count(curve, "linear") == 0);
    bk_free(said);
    bk_free(curve);
    bk_scratch_close(&s);
}

/** Paths of ratings.csv of a stage, without their scores; bk_free(). */
static char *paths_of(const char *key)
{
    char command[600];
    snprintf(command, sizeof command, "cut -d, -f1 %s/cache/store/rate/%s*/ratings.csv > %s/paths.txt", s.dir, key, s.dir);
    CU_ASSERT_EQUAL(system(command), 0);
    char *text = bk_scratch_read(&s, "paths.txt");
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    return text;
}

static const char fabric[] =
    "name = \"hytra\"; seed = 5; dtype = \"f32\";\n"
    "space = { plugin = \"hytra\"; width = 16; input_size = 32; drop_path = 0.0; };\n"
    "data = { plugin = \"synthetic\"; size = 32; n_train = 8; n_val = 8; n_test = 8; classes = 4; loader_threads = 0; };\n"
    "trainer = { plugin = \"ensemble_bootstrap\"; epochs = 1; batch = 4; accumulate = 1; hidden = 8; embed = 4; paths = 2; };\n"
    "sampler = { plugin = \"uniform\"; };\n"
    "rater = { plugin = \"population_center\"; calib_images = 4; batch = 4; n_images = 4; };\n"
    "searcher = { plugin = \"traversal\"; };\n"
    "grid = ( { name = \"boot\"; }, { name = \"linear\"; supernet = \"boot\"; rater = { plugin = \"linear_eval\"; epochs = 1;\n"
    "train_batch = 4; calib_images = 4; batch = 4; n_images = 4; }; searcher = { plugin = \"evolutionary\"; }; },\n"
    "{ name = \"centre\"; supernet = \"boot\"; rater = { centre_normalise = true; };\n"
    "searcher = { plugin = \"evolutionary\"; population = 4; offspring = 2; tournament = 2; generations = 1; }; } );\n";

/** Where the paths of a block depend on the one before: all rows rate those behind the first one's, and searches combine them. */
static void test_entries(void)
{
    static const char *const raters[] = { "population_center", "linear_eval", "population_center" };
    static const char *const rows[] = { "boot", "linear", "centre" };
    char *plan[3], label[64], key[13];

    NEED_PLUGINS();
    bk_scratch_write(&s, "hytra.cfg", fabric);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "hytra.cfg"), 0);
    char *table = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_EQUAL(count(table, ": found "), 3);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "hytra.cfg"), 0);
    for (int i = 0; i < 3; i++)
        plan[i] = plan_of(rows[i]);
    for (int k = 0; k < 4; k++) {
        char *paths[3];
        for (int i = 0; i < 3; i++) {
            snprintf(label, sizeof label, "rate block %d (%s)", k, raters[i]);
            key_of(plan[i], label, key);
            paths[i] = paths_of(key);
            CU_ASSERT_STRING_EQUAL(paths[i], paths[0]);
        }
        for (int i = 0; i < 3; i++)
            bk_free(paths[i]);
    }
    for (int i = 0; i < 3; i++)
        bk_free(plan[i]);
    bk_free(table);
    bk_scratch_close(&s);
}

static void refused(const char *rows, const char *sentence)
{
    struct bk_text cfg = BK_TEXT_INIT;
    bk_text_addf(&cfg, "%s%s", ONE, rows);
    bk_scratch_write(&s, "bad.cfg", bk_text_get(&cfg));
    bk_text_release(&cfg);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", "bad.cfg"), 3);
    CU_ASSERT(bk_said(&s, sentence));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "bad.cfg"), 3);
    CU_ASSERT(bk_said(&s, sentence));
}

#define PAIR(more) "grid = ( { name = \"a\"; }, { name = \"b\"; supernet = \"a\"; " LINEAR more " } );"

static void test_refusals(void)
{
    NEED_PLUGINS();
    refused("grid = ( { name = \"a\"; }, { name = \"b\"; supernet = \"c\"; } );", "row 'b': supernet: there is no row 'c', legal: 'a'");
    refused("supernet = \"c\";", "row 'one': supernet: there is no row 'c', legal: there is no other row");
    refused("grid = ( { name = \"a\"; supernet = 1; } );", "row 'a': supernet: must be the name of another row");
    refused("grid = ( { name = \"a\"; supernet = \"a\"; } );", "row 'a': supernet: names the row itself");
    refused("grid = ( { name = \"a\"; supernet = \"b\"; }, { name = \"b\"; supernet = \"a\"; } );",
            "row 'a': supernet: row 'b' has none of its own, it takes that of row 'a'");
    refused(PAIR("trainer = { epochs = 3; };"), "row 'b': trainer: a row with 'supernet' trains nothing");
    refused(PAIR("sampler = \"fair\";"), "row 'b': sampler: a row with 'supernet' trains nothing");
    refused(PAIR("seed = 2;"), "supernet: row 'a' has another seed, which must be the same");
    refused(PAIR("dtype = \"bf16\";"), "supernet: row 'a' has another dtype");
    refused(PAIR("space = { widths = [4, 12]; };"), "supernet: row 'a' has another space");
    refused(PAIR("data = { n_val = 20; };"), "supernet: row 'a' has another data");
    refused(PAIR("data = { augment = \"byol\"; };"), "supernet: row 'a' has another data");
    refused(PAIR("backend = \"cpu\";"), "supernet: row 'a' has another backend");
    refused(PAIR("determinism = \"repeatable\";"), "supernet: row 'a' has another determinism");
    refused("grid = ( { name = \"a\"; }, { name = \"b\"; supernet = \"a\"; rater = \"params\"; searcher = \"random\"; } );",
            "supernet: nothing in this row rates a supernet");
    refused("grid = ( { name = \"a\"; rater = \"params\"; searcher = \"random\"; }, { name = \"b\"; supernet = \"a\"; " LINEAR "} );",
            "supernet: row 'a' trains none");
    refused("grid = ( { name = \"a\"; quoted = true; }, { name = \"b\"; supernet = \"a\"; " LINEAR "} );", "supernet: row 'a' trains none");
    bk_scratch_close(&s);
}

BK_SUITE({ "one training, the same keys", test_keys }, { "what a row takes over", test_inherited }, { "entries", test_entries },
         { "refusals", test_refusals })

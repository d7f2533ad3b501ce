/*
 * Retraining as a stage: of a named and of a found architecture, with everything a recipe has; killed at any moment it
 * ends with the same bytes; its result is cached and in the report. The real program, the reference backend.
 */
#define _GNU_SOURCE
#include "kills.h"

#define BASE                                                                                                        \
    "name = \"tiny\";\n"                                                                                            \
    "seed = 1;\n"                                                                                                   \
    "backend = { plugin = \"ref\"; };\n"                                                                            \
    "space = { plugin = \"nats_ss\"; widths = [4, 8]; pooled_width = 16; };\n"                                      \
    "data = { plugin = \"synthetic\"; size = 8; n_train = 32; n_val = 16; n_test = 20; classes = 7;\n"              \
    "         loader_threads = 0; };\n"
#define RECIPE                                                                                                      \
    "batch = 4; accumulate = 2; drop_last = true; lr = 1e-2; weight_decay = 0.05;\n"                                 \
    "decay_1d = false; lr_step = \"epoch_late\"; warmup_epochs = 1; policy = \"randaugment\"; erase = 0.25;\n"      \
    "repeat = 3; label_smoothing = 0.1; mixup = 0.8; cutmix = 1.0; ema = 0.9;\n"

static const char named[] = BASE "retrain = { arch = \"4:8:4:8:8\"; epochs = 20; seed = 3; optimizer = \"adamw\";\n" RECIPE
                                 "published = { top1 = 93.5; params = 1e4; source = \"nowhere\"; }; };\n";

static bool ready(void)
{
    char path[400];
    snprintf(path, sizeof path, "%s/plugins/trainers/ensemble_bootstrap.so", bk_test_env("BK_TEST_BINARY"));
    return bk_file_exists(path);
}

static bool has(const char *text, const char *part)
{
    bool yes = text && strstr(text, part);
    if (!yes)
        printf("\n    wanted '%s' in: %s\n", part, text ? text : "(nothing)");
    return yes;
}

static void test_named(void)
{
    struct bk_scratch s;
    if (!ready())
        BK_SKIP("the plugins of the experiment are not built");
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    bk_scratch_write(&s, "tiny.cfg", named);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "tiny.cfg", "retrain.epochs=2"), 0);
    char *table = bk_scratch_read(&s, "stdout.txt"), *csv = bk_scratch_read(&s, "runs/tiny/tables/retrained.csv");
    CU_ASSERT(has(table, "4:8:4:8:8"));
    CU_ASSERT(has(table, "averaged"));
    CU_ASSERT(has(table, "published top-1"));
    CU_ASSERT(has(table, "published values from nowhere"));
    CU_ASSERT(has(table, "2 epochs, seed 3, f32"));
    CU_ASSERT(has(csv, "tiny,4:8:4:8:8,last,20,"));
    CU_ASSERT(has(csv, "tiny,4:8:4:8:8,averaged,20,"));
    CU_ASSERT(has(csv, ",93.5,,10000,,"));
    /* the same again is cached; other options are not */
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "tiny.cfg", "retrain.epochs=2"), 0);
    CU_ASSERT(bk_said(&s, "2 stages from the cache, 0 made"));
    char *again = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_STRING_EQUAL(table, again);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "tiny.cfg", "retrain.epochs=2", "retrain.eval_batch=5"), 0);
    char *plan = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT(has(plan, "HIT     retrain 4:8:4:8:8"));
    CU_ASSERT(has(plan, "HIT     test 4:8:4:8:8"));
    bk_free(plan);
    /* another size of test images needs no other training */
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "tiny.cfg", "retrain.epochs=2", "retrain.eval_size=12"), 0);
    plan = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT(has(plan, "HIT     retrain 4:8:4:8:8"));
    CU_ASSERT(has(plan, "RUN     test 4:8:4:8:8 at 12 pixels"));
    bk_free(plan);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "plan", "tiny.cfg", "retrain.epochs=2", "retrain.cutmix=0.5"), 0);
    plan = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT(has(plan, "RUN     retrain 4:8:4:8:8"));
    /* the report from stored results */
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "report", "tiny.cfg"), 0);
    char *report = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_STRING_EQUAL(report, table);
    bk_free(table);
    bk_free(again);
    bk_free(plan);
    bk_free(report);
    bk_free(csv);
    bk_scratch_close(&s);
}

/** What the search finds is trained; truth by the same kind of recipe beside it. */
static void test_found(void)
{
    struct bk_scratch s;
    if (!ready())
        BK_SKIP("the plugins of the experiment are not built");
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    struct bk_text cfg = BK_TEXT_INIT;
    bk_text_add(&cfg, bk_tiny_experiment);
    bk_text_add(&cfg, "retrain = { epochs = 2; batch = 8; lr = 0.01; };\n");
    bk_scratch_write(&s, "tiny.cfg", bk_text_get(&cfg));
    bk_text_release(&cfg);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "tiny.cfg", "truth.optimizer=rmsprop", "truth.eps=0.01", "truth.mixup=0.2",
                                   "truth.ema=0.5", "truth.images=16"), 0);
    char *table = bk_scratch_read(&s, "stdout.txt"), *csv = bk_scratch_read(&s, "runs/tiny/tables/retrained.csv");
    char *found = table ? strstr(table, "found ") : NULL, arch[64] = "", line[96];
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    CU_ASSERT_EQUAL(sscanf(found, "found %63[^,]", arch), 1);
    snprintf(line, sizeof line, "tiny,%s,last,16,", arch);
    CU_ASSERT(has(csv, line));
    CU_ASSERT_PTR_NULL(strstr(csv, "averaged"));
    bk_free(table);
    bk_free(csv);
    bk_scratch_close(&s);
}

/** Digests of everything that training left; bk_free(). */
static char *digests(const struct bk_scratch *s)
{
    char command[600];
    snprintf(command, sizeof command, "cd %s/cache/store/retrain && sha256sum */*.safetensors > %s/digests.txt", s->dir, s->dir);
    CU_ASSERT_EQUAL(system(command), 0);
    return bk_scratch_read(s, "digests.txt");
}

/** Killed again and again: the same weights, averages and report. */
static void check_kill(const char *config)
{
    const char *const args[] = { "run", "tiny.cfg", "checkpoint_s=0", NULL };
    struct bk_scratch a, b;
    int resumed = 0;
    if (!ready())
        BK_SKIP("the plugins of the experiment are not built");
    CU_ASSERT_FATAL(bk_scratch_open(&a));
    bk_scratch_write(&a, "tiny.cfg", config);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&a, "run", "tiny.cfg"), 0);
    char *want = bk_scratch_read(&a, "runs/tiny/MANIFEST.sha256"), *table = bk_scratch_read(&a, "stdout.txt");
    char *weights = digests(&a);
    CU_ASSERT_FATAL(bk_scratch_open(&b));
    bk_scratch_write(&b, "tiny.cfg", config);
    int kills = bk_run_with_kills(&b, args, 9, &resumed);
    char *got = bk_scratch_read(&b, "runs/tiny/MANIFEST.sha256"), *again = bk_scratch_read(&b, "stdout.txt");
    char *same = digests(&b);
    printf("  %d times killed, %d times from a checkpoint ", kills, resumed);
    CU_ASSERT(kills > 0 && resumed > 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(want);
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    /* resolved.cfg differs in nothing but checkpoint_s and its origin */
    char *w = strstr(want, "run.json"), *g = strstr(got, "run.json");
    CU_ASSERT_PTR_NOT_NULL_FATAL(w);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g);
    CU_ASSERT(w - want > 66 && g - got > 66 && strncmp(w - 66, g - 66, 66) == 0);
    CU_ASSERT_STRING_EQUAL(table, again);
    CU_ASSERT_PTR_NOT_NULL_FATAL(weights);
    CU_ASSERT_STRING_EQUAL(weights, same);
    CU_ASSERT_PTR_NOT_NULL(strstr(weights, "average.safetensors"));
    bk_free(want);
    bk_free(got);
    bk_free(table);
    bk_free(again);
    bk_free(weights);
    bk_free(same);
    bk_scratch_close(&a);
    bk_scratch_close(&b);
}

static void test_kill(void)
{
    check_kill(named);
}

/** Dropout and stochastic depth are numbered by step and batch. */
static void test_kill_dropping(void)
{
    check_kill("name = \"tiny\";\nseed = 1;\nbackend = { plugin = \"ref\"; };\n"
               "space = { plugin = \"mbconv\"; widths = [8, 8]; depths = [2, 2]; strides = [2, 1]; input_size = 12;\n"
               "          dropout = 0.4; drop_path = 0.5; };\n"
               "data = { plugin = \"synthetic\"; size = 12; n_train = 24; n_val = 16; n_test = 20; classes = 7;\n"
               "         loader_threads = 0; };\n"
               "retrain = { arch = \"20 32\"; epochs = 12; seed = 3;\n" RECIPE "optimizer = \"rmsprop\"; eps = 0.01; ema_ramp = true; };\n");
}

static void refused(const char *config, const char *sentence)
{
    struct bk_scratch s;
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    bk_scratch_write(&s, "tiny.cfg", config);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", "tiny.cfg"), 3);
    CU_ASSERT(bk_said(&s, sentence));
    bk_scratch_close(&s);
}

static void test_refusals(void)
{
    if (!ready())
        BK_SKIP("the plugins of the experiment are not built");
    refused(BASE "retrain = { arch = \"4:8\"; };\n", "retrain.arch: ");
    refused(BASE "retrain = { };\n", "retrain.arch: is \"found\", which needs a rater and a searcher");
    refused(BASE "retrain = { arch = \"4:8:4:8:8\"; epocs = 3; };\n",
            "retrain.epocs: unknown option (nearest: 'epochs')");
    refused(BASE "retrain = { arch = \"4:8:4:8:8\"; epochs = 3; warmup_epochs = 5; };\n",
            "retrain.warmup_epochs: is 5, but there are 3 epochs");
}

BK_SUITE({ "named architecture", test_named }, { "found architecture", test_found }, { "kill -9", test_kill }, { "kill -9 with dropout and stochastic depth", test_kill_dropping },
         { "refusals", test_refusals })

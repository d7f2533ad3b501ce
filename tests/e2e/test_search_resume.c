/*
 * A search by evolution that is killed or interrupted between generations goes on and finds what it would have found. The
 * real program, the reference backend, a checkpoint after every generation.
 */
#define _GNU_SOURCE
#include "kills.h"

#define EVOLUTION                                                                                                \
    "name = \"evo\";\nspace = { widths = [4, 6, 8, 12]; };\ntruth = { n = 3; epochs = 1; };\nbaselines = ();\n"     \
    "searcher = { plugin = \"evolutionary\"; population = 5; offspring = 3; tournament = 2; generations = 10; };\n"

static struct bk_scratch s;

static bool ready(void)
{
    char path[400];
    snprintf(path, sizeof path, "%s/plugins/searchers/evolutionary.so", bk_test_env("BK_TEST_BINARY"));
    return bk_file_exists(path);
}

static void remove_searches(void)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[300];
    snprintf(path, sizeof path, "%s/cache/store/search", s.dir);
    BK_ASSERT_OK(bk_remove_tree(path, &err));
}

/** Everything but the search is made; *wanted and *table are those of an undisturbed search. */
static void open_undisturbed(char **wanted, char **table)
{
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    bk_scratch_write(&s, "tiny.cfg", bk_tiny_experiment);
    bk_scratch_write(&s, "evo.cfg", "@include \"tiny.cfg\"\n" EVOLUTION);
    CU_ASSERT_EQUAL_FATAL(BK_RUN_PROGRAM(&s, "run", "evo.cfg", "checkpoint_s=0"), 0);
    *wanted = bk_scratch_read(&s, "runs/evo/MANIFEST.sha256");
    *table = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_PTR_NOT_NULL_FATAL(*wanted);
    remove_searches();
}

static void check_same(char *wanted, char *table)
{
    char *got = bk_scratch_read(&s, "runs/evo/MANIFEST.sha256"), *again = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    CU_ASSERT_STRING_EQUAL(got, wanted);
    CU_ASSERT_STRING_EQUAL(again, table);
    bk_free(got);
    bk_free(again);
    bk_free(wanted);
    bk_free(table);
    bk_scratch_close(&s);
}

static void test_kill(void)
{
    const char *const args[] = { "run", "evo.cfg", "checkpoint_s=0", NULL };
    char *wanted = NULL, *table = NULL;
    int resumed = 0;
    if (!ready())
        BK_SKIP("the plugins of the experiment are not built");
    open_undisturbed(&wanted, &table);
    int kills = bk_run_with_kills(&s, args, 4, &resumed);
    printf("  %d times killed, %d times from a checkpoint ", kills, resumed);
    CU_ASSERT(kills > 0 && resumed > 0);
    CU_ASSERT(bk_newest_checkpoint >= 24);       /* twelve generations of two blocks and one of the last; no one's number came twice */
    check_same(wanted, table);
}

/** SIGTERM writes what is there, however far the next checkpoint is. */
static void test_interrupt(void)
{
    const char *const args[] = { "run", "evo.cfg", NULL };
    char *wanted = NULL, *table = NULL, cache[260];
    int status = 0;
    if (!ready())
        BK_SKIP("the plugins of the experiment are not built");
    open_undisturbed(&wanted, &table);
    snprintf(cache, sizeof cache, "%s/cache", s.dir);
    pid_t pid = bk_start_program(&s, args);
    for (int t = 0; t < 20000; t++) {
        char *said = bk_scratch_read(&s, "stderr.txt");
        bool searches = said && strstr(said, "] search");
        bk_free(said);
        if (searches || waitpid(pid, &status, WNOHANG) == pid)
            break;
        bk_sleep_ms(1);
    }
    bk_sleep_ms(60);
    (void)kill(pid, SIGTERM);
    int rc = bk_wait_program(pid);
    bk_newest_checkpoint = 0;
    (void)nftw(cache, bk_see_checkpoint, 16, FTW_PHYS);
    printf("  exit code %d, checkpoint %ld ", rc, bk_newest_checkpoint);
    CU_ASSERT(rc == 75 || rc == 0);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", "evo.cfg", "checkpoint_s=0"), 0);
    check_same(wanted, table);
}

BK_SUITE({ "kill -9 between generations", test_kill }, { "SIGTERM", test_interrupt })

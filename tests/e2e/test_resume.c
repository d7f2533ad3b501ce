/*
 * A run that is killed, interrupted or left in pieces gives the same bytes as one that was never disturbed. The real
 * program, the reference backend, a checkpoint after every step.
 */
#include "program.h"

static bool ready(void)
{
    char path[400];
    snprintf(path, sizeof path, "%s/plugins/trainers/ensemble_bootstrap.so", bk_test_env("BK_TEST_BINARY"));
    return bk_file_exists(path);
}

/** Wait up to `ms` for the program; -1 when it is still running. */
static int wait_at_most(pid_t pid, int ms)
{
    for (int t = 0; t <= ms; t += 5) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        bk_sleep_ms(5);
    }
    return -1;
}

static char *undisturbed(struct bk_scratch *s)
{
    bk_scratch_write(s, "tiny.cfg", bk_tiny_experiment);
    int rc = BK_RUN_PROGRAM(s, "run", "tiny.cfg", "checkpoint_s=0", "trainer.rate_every=1");
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    return bk_scratch_read(s, "runs/tiny/MANIFEST.sha256");
}

/** Kill until it gets through; how often it was killed. */
static int run_with_kills(struct bk_scratch *s, int sig, unsigned seed, int *resumed)
{
    const char *const args[] = { "run", "tiny.cfg", "checkpoint_s=0", "trainer.rate_every=1", NULL };
    int kills = 0;
    *resumed = 0;
    for (int i = 0; i < 500; i++) {
        pid_t pid = bk_start_program(s, args);
        seed = seed * 1103515245u + 12345u;
        /* the longer it takes the more time it gets, so that the loop ends on slow disks too */
        int rc = wait_at_most(pid, 50 + (int)(seed >> 16) % 300 + 10 * i);
        char *said = bk_scratch_read(s, "stderr.txt");
        *resumed += said && strstr(said, "from a checkpoint");
        bk_free(said);
        if (rc >= 0) {
            CU_ASSERT_EQUAL(rc, 0);
            return kills;
        }
        if (sig == SIGKILL) {
            (void)kill(-pid, SIGKILL);
            (void)bk_wait_program(pid);
        } else {
            (void)kill(pid, sig);
            rc = bk_wait_program(pid);
            CU_ASSERT(rc == 75 || rc == 0);
            if (rc == 0)
                return kills;
        }
        kills++;
    }
    return -1;
}

static void check_disturbed(int sig, unsigned seed)
{
    struct bk_scratch a, b;
    int resumed = 0;
    if (!ready())
        BK_SKIP("the plugins of the experiment are not built");
    CU_ASSERT_FATAL(bk_scratch_open(&a));
    char *wanted = undisturbed(&a), *table = bk_scratch_read(&a, "stdout.txt");
    CU_ASSERT_FATAL(bk_scratch_open(&b));
    bk_scratch_write(&b, "tiny.cfg", bk_tiny_experiment);
    int kills = run_with_kills(&b, sig, seed, &resumed);
    CU_ASSERT(kills > 0);
    char *got = bk_scratch_read(&b, "runs/tiny/MANIFEST.sha256"), *again = bk_scratch_read(&b, "stdout.txt");
    CU_ASSERT_PTR_NOT_NULL_FATAL(wanted);
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    CU_ASSERT_STRING_EQUAL(got, wanted);
    CU_ASSERT_STRING_EQUAL(again, table);
    printf("  %d times stopped, %d times from a checkpoint ", kills, resumed);
    bk_free(wanted);
    bk_free(got);
    bk_free(table);
    bk_free(again);
    bk_scratch_close(&a);
    bk_scratch_close(&b);
}

static void test_kill(void)
{
    check_disturbed(SIGKILL, 1);
}

static void test_interrupt(void)
{
    check_disturbed(SIGTERM, 2);
}

/** The parent alone is killed: its stage ends by itself, and the next run goes on. */
static void test_kill_parent(void)
{
    const char *const args[] = { "run", "tiny.cfg", "checkpoint_s=0", "trainer.rate_every=1", NULL };
    struct bk_scratch s, b;
    if (!ready())
        BK_SKIP("the plugins of the experiment are not built");
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    char *wanted = undisturbed(&s);
    CU_ASSERT_FATAL(bk_scratch_open(&b));
    bk_scratch_write(&b, "tiny.cfg", bk_tiny_experiment);
    pid_t pid = bk_start_program(&b, args);
    if (wait_at_most(pid, 200) < 0) {
        (void)kill(pid, SIGKILL);
        (void)bk_wait_program(pid);
    }
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&b, "run", "tiny.cfg", "checkpoint_s=0", "trainer.rate_every=1"), 0);
    char *got = bk_scratch_read(&b, "runs/tiny/MANIFEST.sha256");
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    CU_ASSERT_STRING_EQUAL(got, wanted);
    bk_free(wanted);
    bk_free(got);
    bk_scratch_close(&s);
    bk_scratch_close(&b);
}

/** Two processes on one experiment: one makes a stage, the other waits and takes it. */
static void test_two_at_once(void)
{
    const char *const args[] = { "run", "tiny.cfg", NULL };
    struct bk_scratch s;
    if (!ready())
        BK_SKIP("the plugins of the experiment are not built");
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    bk_scratch_write(&s, "tiny.cfg", bk_tiny_experiment);
    char runs[260];
    pid_t one = bk_start_program(&s, args);
    snprintf(runs, sizeof runs, "%s/runs2", s.dir);
    setenv("BOSSKIT_RUNS", runs, 1);
    pid_t two = bk_start_program(&s, args);
    CU_ASSERT_EQUAL(bk_wait_program(one), 0);
    CU_ASSERT_EQUAL(bk_wait_program(two), 0);
    char *a = bk_scratch_read(&s, "runs/tiny/MANIFEST.sha256"), *b = bk_scratch_read(&s, "runs2/tiny/MANIFEST.sha256");
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_PTR_NOT_NULL_FATAL(b);
    CU_ASSERT_STRING_EQUAL(a, b);
    bk_free(a);
    bk_free(b);
    bk_scratch_close(&s);
}

BK_SUITE({ "kill -9 at random moments", test_kill }, { "SIGTERM at random moments", test_interrupt },
         { "the parent alone is killed", test_kill_parent }, { "two processes at once", test_two_at_once })

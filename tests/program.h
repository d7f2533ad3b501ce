/**
 * tests/program.h: running the real program in a directory of its own.
 *
 * Every test gets a scratch directory with its own cache and runs; `bk_run_program` returns the exit code and keeps
 * what was said on stdout and stderr.
 */
#ifndef BK_TESTS_PROGRAM_H
#define BK_TESTS_PROGRAM_H

#include "unit.h"

#include <bosskit/file.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct bk_scratch {
    char dir[200];
};

static inline bool bk_scratch_open(struct bk_scratch *s)
{
    char path[260];
    snprintf(s->dir, sizeof s->dir, "/tmp/bosskit-test-XXXXXX");
    if (!mkdtemp(s->dir))
        return false;
    snprintf(path, sizeof path, "%s/cache", s->dir);
    setenv("BOSSKIT_CACHE", path, 1);
    snprintf(path, sizeof path, "%s/runs", s->dir);
    setenv("BOSSKIT_RUNS", path, 1);
    setenv("OMP_NUM_THREADS", "1", 1);
    return true;
}

static inline void bk_scratch_close(struct bk_scratch *s)
{
    struct bk_error err = BK_ERROR_INIT;
    if (bk_remove_tree(s->dir, &err))
        printf("    %s\n", err.text);
}

/** Write a file below the scratch directory. */
static inline void bk_scratch_write(const struct bk_scratch *s, const char *name, const char *text)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[400];
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    BK_ASSERT_OK(bk_file_write(path, text, strlen(text), &err));
}

/** A file below the scratch directory; bk_free(). NULL when it cannot be read. */
static inline char *bk_scratch_read(const struct bk_scratch *s, const char *name)
{
    char path[400], *data = NULL;
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    return bk_file_read(path, 64u << 20, &data, &n, NULL) == BK_OK ? data : NULL;
}

/** Start the program in a session of its own, in the scratch directory, stdout and stderr into files there. */
static inline pid_t bk_start_program(const struct bk_scratch *s, const char *const *args)
{
    const char *argv[24] = { "bosskit" };
    char program[400];
    int n = 1;
    while (args[n - 1] && n < 23) {
        argv[n] = args[n - 1];
        n++;
    }
    argv[n] = NULL;
    snprintf(program, sizeof program, "%s/bosskit", bk_test_env("BK_TEST_BINARY"));
    pid_t pid = fork();
    if (pid == 0) {
        (void)setsid();
        if (chdir(s->dir))
            _exit(126);
        int out = open("stdout.txt", O_CREAT | O_TRUNC | O_WRONLY, 0600);
        int e = open("stderr.txt", O_CREAT | O_TRUNC | O_WRONLY, 0600);
        (void)dup2(out, STDOUT_FILENO);
        (void)dup2(e, STDERR_FILENO);
        execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

static inline int bk_wait_program(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define BK_RUN_PROGRAM(s, ...) bk_wait_program(bk_start_program(s, (const char *const[]){ __VA_ARGS__, NULL }))

/** Does stderr.txt of the last run hold `text`? Prints stderr when not. */
static inline bool bk_said(const struct bk_scratch *s, const char *text)
{
    char *said = bk_scratch_read(s, "stderr.txt");
    bool yes = said && strstr(said, text);
    if (!yes)
        printf("\n    wanted '%s' in: %s\n", text, said ? said : "(nothing)");
    bk_free(said);
    return yes;
}

static inline void bk_sleep_ms(int ms)
{
    struct timespec t = { ms / 1000, (ms % 1000) * 1000000L };
    (void)nanosleep(&t, NULL);
}

/** An experiment that trains, rates, searches and correlates in about half a second on the reference backend. */
static const char bk_tiny_experiment[] =
    "name = \"tiny\";\n"
    "seed = 1;\n"
    "backend = { plugin = \"ref\"; };\n"
    "space = { plugin = \"nats_ss\"; widths = [4, 8]; pooled_width = 16; };\n"
    "data = { plugin = \"synthetic\"; size = 8; n_train = 32; n_val = 16; n_test = 16; classes = 4;\n"
    "         loader_threads = 0; };\n"
    "trainer = { plugin = \"ensemble_bootstrap\"; epochs = 2; batch = 8; accumulate = 2; hidden = 16; embed = 8;\n"
    "            paths = 2; };\n"
    "sampler = { plugin = \"uniform\"; };\n"
    "rater = { plugin = \"population_center\"; calib_images = 8; batch = 8; };\n"
    "searcher = { plugin = \"traversal\"; };\n"
    "baselines = (\"params\", \"macs\", \"width_sum\");\n"
    "truth = { source = \"standalone\"; n = 4; epochs = 2; batch = 8; };\n"
    "report = { bootstrap = 100; top_k = 2; };\n";

#endif

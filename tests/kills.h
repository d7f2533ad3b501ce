/**
 * tests/kills.h: running the real program with a kill -9 whenever it has come some checkpoints further.
 */
#ifndef BK_TESTS_KILLS_H
#define BK_TESTS_KILLS_H

#include "program.h"

#include "store/store.h"
#include <ftw.h>

static long bk_newest_checkpoint;       /* number of the newest checkpoint below the cache */

static inline int bk_see_checkpoint(const char *path, const struct stat *st, int type, struct FTW *at)
{
    const char *name = path + at->base;
    (void)st, (void)type;
    if (strncmp(name, BK_CHECKPOINT_PREFIX, strlen(BK_CHECKPOINT_PREFIX)) == 0) {
        long n = strtol(name + strlen(BK_CHECKPOINT_PREFIX), NULL, 10);
        bk_newest_checkpoint = n > bk_newest_checkpoint ? n : bk_newest_checkpoint;
    }
    return 0;
}

/**
 * Kill whenever the newest checkpoint of one stage is `step` further, until the program gets through with exit code 0.
 * Returns how often it was killed, -1 when it never ends; *resumed: how often it said that it goes on from a checkpoint.
 */
static inline int bk_run_with_kills(struct bk_scratch *s, const char *const *args, int step, int *resumed)
{
    char cache[260];
    snprintf(cache, sizeof cache, "%s/cache", s->dir);
    bk_newest_checkpoint = 0;
    *resumed = 0;
    for (int kills = 0; kills < 300; kills++) {
        pid_t pid = bk_start_program(s, args);
        long wanted = bk_newest_checkpoint + step;
        int status = 0;
        while (bk_newest_checkpoint < wanted && waitpid(pid, &status, WNOHANG) != pid) {
            bk_sleep_ms(1);
            (void)nftw(cache, bk_see_checkpoint, 16, FTW_PHYS);
        }
        bool alive = bk_newest_checkpoint >= wanted && waitpid(pid, &status, WNOHANG) != pid;
        char *said = bk_scratch_read(s, "stderr.txt");
        *resumed += said && strstr(said, "from a checkpoint");
        bk_free(said);
        if (!alive) {
            CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            return kills;
        }
        (void)kill(-pid, SIGKILL);
        (void)bk_wait_program(pid);
    }
    return -1;
}

#endif

/*
 * base/log.c: one line a message, one sink, one level; and the clock.
 *
 * The sink is called under a lock, so lines never mix. Events of a run (log.jsonl) are the pipeline's: it installs a
 * sink.
 */
#include <bosskit/base.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static const char *const level_words[] = {
    [BK_LOG_ERROR] = "error: ", [BK_LOG_WARN] = "warning: ", [BK_LOG_INFO] = "",
    [BK_LOG_DEBUG] = "debug: ", [BK_LOG_TRACE] = "trace: ",
};

static void to_stderr(void *user, enum bk_log_level level, const char *line)
{
    (void)user;
    fprintf(stderr, "bosskit: %s%s\n", level_words[level], line);
}

static atomic_int threshold = BK_LOG_INFO;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bk_log_sink_fn current_sink = to_stderr;
static void *current_user;

void bk_log(enum bk_log_level level, const char *fmt, ...)
{
    char line[2048];
    va_list args;

    if (level < BK_LOG_ERROR || level > BK_LOG_TRACE || (int)level > atomic_load(&threshold))
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    pthread_mutex_lock(&lock);
    current_sink(current_user, level, line);
    pthread_mutex_unlock(&lock);
}

void bk_log_set_level(enum bk_log_level level)
{
    atomic_store(&threshold, (int)level);
}

enum bk_log_level bk_log_get_level(void)
{
    return (enum bk_log_level)atomic_load(&threshold);
}

void bk_log_set_sink(bk_log_sink_fn sink, void *user)
{
    pthread_mutex_lock(&lock);
    current_sink = sink ? sink : to_stderr;
    current_user = sink ? user : NULL;
    pthread_mutex_unlock(&lock);
}

double bk_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

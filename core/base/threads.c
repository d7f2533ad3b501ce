/*
 * base/threads.c: how many threads computing code may use.
 *
 * A number only; nobody's thread pool. OMP_NUM_THREADS is honoured even by code that does not use OpenMP, so that one
 * variable governs the process.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <bosskit/base.h>

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_THREADS 4096

static atomic_int chosen;

static int from_environment(void)
{
    const char *s = getenv("OMP_NUM_THREADS");

    /* A list "4,2" gives the number for each level of nesting; the outermost counts. */
    long n = s ? strtol(s, NULL, 10) : 0;
    return n >= 1 && n <= MAX_THREADS ? (int)n : 0;
}

static int from_affinity(void)
{
    cpu_set_t set;

    if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n >= 1 && n <= MAX_THREADS ? (int)n : 1;
}

int bk_threads(void)
{
    int n = atomic_load(&chosen);

    if (n)
        return n;
    n = from_environment();
    if (!n)
        n = from_affinity();
    int unset = 0;
    return atomic_compare_exchange_strong(&chosen, &unset, n) ? n : unset;
}

void bk_threads_set(int n)
{
    atomic_store(&chosen, n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n);
}

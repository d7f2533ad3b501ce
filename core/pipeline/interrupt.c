/*
 * SIGINT and SIGTERM as a flag that loops look at. One flag a process; handlers do nothing else.
 */
#include "pipeline/child.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t n_signals;

static void on_signal(int number)
{
    (void)number;
    if (n_signals < 100)
        n_signals = n_signals + 1;
}

void bk__interrupt_install(void)
{
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = on_signal;           /* no SA_RESTART: a wait shall return */
    sigemptyset(&a.sa_mask);
    (void)sigaction(SIGINT, &a, NULL);
    (void)sigaction(SIGTERM, &a, NULL);
    a.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &a, NULL);
}

bool bk__interrupted(void)
{
    return n_signals > 0;
}

int bk__interrupt_count(void)
{
    return n_signals;
}

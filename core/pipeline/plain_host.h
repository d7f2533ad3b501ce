/**
 * pipeline/plain_host.h: the services a plugin gets while nothing is shown of its progress.
 *
 * Log lines go to bk_log(), progress goes nowhere, and a plugin is told to stop once the program was interrupted. A stage
 * takes a copy and puts its own progress in.
 */
#ifndef BOSSKIT_PIPELINE_PLAIN_HOST_H
#define BOSSKIT_PIPELINE_PLAIN_HOST_H

#include <bosskit/plugin.h>

extern const struct bk_host bk__plain_host;

#endif

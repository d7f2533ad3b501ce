/**
 * cli/cli_experiment.h: what run, plan and check share: CFG and key=value words into an experiment.
 */
#ifndef BOSSKIT_CLI_CLI_EXPERIMENT_H
#define BOSSKIT_CLI_CLI_EXPERIMENT_H

#include "cli/cli_util.h"
#include "pipeline/experiment.h"

struct bk__cli_experiment {
    struct bk__cli_args args;
    struct bk_registry *registry;
    struct bk_experiment *experiment;
};

/** `opts` are the command's own options. On success with args.helped nothing else is set. Release either way. */
int bk__cli_experiment_open(int argc, char **argv, const struct bk__cli_opt *opts, struct bk__cli_experiment *out,
                            struct bk_error *err);
void bk__cli_experiment_close(struct bk__cli_experiment *x);

#endif

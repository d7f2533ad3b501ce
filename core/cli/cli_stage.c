/*
 * cli/cli_stage.c: the hidden command that runs one stage in this process. Its stderr is read by the parent.
 */
#include "cli/cli.h"
#include "pipeline/child.h"

int bk__cli_stage(int argc, char **argv, struct bk_error *err)
{
    if (argc != 2)
        return bk_fail(err, BK_EUSAGE, "stage: a stage specification is needed; this command is for the program itself");
    return bk_stage_main(argv[1], err);
}

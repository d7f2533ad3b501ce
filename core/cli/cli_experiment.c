/*
 * The common beginning of run, plan and check: parse the words, read the experiment, find the plugins.
 */
#include "cli/cli_experiment.h"

#include <string.h>

int bk__cli_experiment_open(int argc, char **argv, const struct bk__cli_opt *opts, struct bk__cli_experiment *out,
                            struct bk_error *err)
{
    memset(out, 0, sizeof *out);
    int rc = bk__cli_parse(argc, argv, opts, &out->args, err);
    if (rc || out->args.helped)
        return rc;
    if (out->args.n == 0)
        return bk_fail(err, BK_EUSAGE, "%s: an experiment file is needed", argv[0]);
    for (size_t i = 1; i < out->args.n; i++) {
        if (!strchr(out->args.word[i], '='))
            return bk_fail(err, BK_EUSAGE, "%s: '%s' is no key=value; only one experiment file can be given", argv[0],
                           out->args.word[i]);
    }
    BK_TRY(bk_experiment_read(out->args.word[0], out->args.word + 1, out->args.n - 1, &out->experiment, err));
    return bk__cli_registry(&out->registry, err);
}

void bk__cli_experiment_close(struct bk__cli_experiment *x)
{
    bk_experiment_free(x->experiment);
    bk_registry_close(x->registry);
    bk__cli_release(&x->args);
}

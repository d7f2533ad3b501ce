/*
 * cli/cli_describe.c: `bosskit describe KIND/NAME`: a plugin's options as text, JSON or a stanza to paste.
 */
#include "cli/cli.h"
#include "cli/cli_util.h"
#include "plugin/describe.h"

#include <string.h>

static const struct bk__cli_opt opts[] = {
    { "json", 0, BK__CLI_FLAG, NULL, "print JSON" },
    { "cfg", 0, BK__CLI_FLAG, NULL, "print a group to paste into a config" },
    { 0 },
};

/* "rater/linear_eval" -> kind and name. */
static int split_word(const char *word, uint32_t *kind, const char **name, struct bk_error *err)
{
    const char *slash = strchr(word, '/');
    char text[16];
    size_t n = slash ? (size_t)(slash - word) : 0;

    *kind = BK_KIND_INVALID;
    if (n > 0 && n < sizeof text) {
        memcpy(text, word, n);
        text[n] = '\0';
        *kind = bk_kind_from_name(text);
    }
    if (*kind == BK_KIND_INVALID)
        return bk_fail(err, BK_EUSAGE, "describe: '%s' does not begin with a kind, legal: KIND/NAME with space, "
                       "trainer, rater, searcher, sampler, dataset, backend", word);
    *name = slash + 1;
    return BK_OK;
}

static int describe(const struct bk__cli_args *args, struct bk_error *err)
{
    const struct bk_found_plugin *found;
    struct bk_text out = BK_TEXT_INIT;
    struct bk_registry *r;
    const char *name = NULL;
    uint32_t kind;

    if (args->n != 1)
        return bk_fail(err, BK_EUSAGE, "describe: one KIND/NAME is wanted, such as rater/params");
    BK_TRY(split_word(args->word[0], &kind, &name, err));
    BK_TRY(bk__cli_registry(&r, err));
    int rc = bk_registry_find(r, kind, name, &found, err);
    if (rc == BK_OK) {
        if (bk__cli_count(args, "json"))
            bk_describe_json(found, &out);
        else if (bk__cli_count(args, "cfg"))
            bk_describe_cfg(found, &out);
        else
            bk_describe_text(found, &out);
        rc = bk__cli_print(&out, err);
    }
    bk_text_release(&out);
    bk_registry_close(r);
    return rc;
}

int bk__cli_describe(int argc, char **argv, struct bk_error *err)
{
    struct bk__cli_args args;
    int rc = bk__cli_parse(argc, argv, opts, &args, err);
    if (rc == BK_OK && !args.helped)
        rc = describe(&args, err);
    bk__cli_release(&args);
    return rc;
}

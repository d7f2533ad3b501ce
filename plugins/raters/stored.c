/*
 * Rater "stored": block ratings from files, such as those a publication released, so that they go through the same
 * search, correlation and report as ratings made here. It computes nothing and reads no images.
 *
 * One file a block; the forms are those of <bosskit/table.h> (the YAML sequences of BossNAS, CSV, JSON).
 */
#include <bosskit/file.h>
#include <bosskit/table.h>

#include <string.h>

struct stored {
    const char *dir, *pattern, *hint;
    bool higher_is_better;
};

/* clang-format off */
static const struct bk_opt options[] = {
    BK_PATH("dir",     struct stored, dir,     NULL, "directory of the files"),
    BK_TEXT("pattern", struct stored, pattern, "path_rank_{block}.yml", "name of a block's file; {block} is its number from 0"),
    BK_TEXT("hint",    struct stored, hint,    NULL, "where to get the files, said when they are missing"),
    BK_BOOL("higher_is_better", struct stored, higher_is_better, false, "the files' numbers are negated, so that lower is better"),
    BK_OPT_END
};
/* clang-format on */

static int missing(const struct stored *s, const char *what, struct bk_error *err)
{
    return bk_fail(err, BK_EDATA, "%s%s%s; then say rater.dir=DIRECTORY", what, s->hint ? "; get them: " : "",
                   s->hint ? s->hint : "");
}

/** <dir>/<pattern with {block} replaced> */
static int file_of(const struct stored *s, int32_t block, struct bk_text *out, struct bk_error *err)
{
    const char *mark = strstr(s->pattern, "{block}");
    if (!mark)
        return bk_fail(err, BK_ECONFIG, "rater 'stored': pattern '%s' has no {block}", s->pattern);
    bk_text_addf(out, "%s/", s->dir);
    bk_text_addn(out, s->pattern, (size_t)(mark - s->pattern));
    bk_text_addf(out, "%d%s", (int)block, mark + strlen("{block}"));
    return out->failed ? bk_fail(err, BK_ENOMEM, "out of memory for a path") : BK_OK;
}

static int rate_block(void *state, const struct bk_env *env, const struct bk_bundle *trained, struct bk_block_table *out,
                      struct bk_error *err)
{
    const struct stored *s = state;
    struct bk_text path = BK_TEXT_INIT;
    int rc = file_of(s, env->block, &path, err);

    (void)trained;
    if (!rc && !bk_file_exists(bk_text_get(&path))) {
        rc = missing(s, "a file of ratings is missing", err);
        bk_context(err, "'%s'", bk_text_get(&path));
    }
    if (!rc)
        rc = bk_ratings_read(bk_text_get(&path), env->space, env->block, env->entry, out, err);
    for (size_t i = 0; !rc && s->higher_is_better && i < out->n; i++)
        out->score[i] = -out->score[i];
    bk_text_release(&path);
    return rc;
}

static int init(void *state, const struct bk_host *host, struct bk_error *err)
{
    const struct stored *s = state;
    struct bk_text path = BK_TEXT_INIT;
    (void)host;
    if (!s->dir)
        return missing(s, "the directory of the stored ratings is not given", err);
    int rc = file_of(s, 0, &path, err);
    bk_text_release(&path);
    return rc;
}

static const struct bk_rater_iface iface = {
    .struct_size = sizeof iface,
    .flags = BK_RATER_BLOCKS,
    .better = BK_LOWER_IS_BETTER,
    .rate_block = rate_block,
};

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_RATER,
    .name = "stored",
    .version = "1.0.0",
    .summary = "block ratings from files, such as released ones",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct stored),
    .init = init,
    .iface = &iface,
};

BK_MODULE(&plugin);

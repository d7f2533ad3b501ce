/*
 * Searcher "traversal": the best architecture of the whole space by summed block scores, exactly, under limits on
 * parameters, multiply-accumulates and latency: bk_search_exact() over complete block tables.
 *
 * Latencies come from files, one a block, in the forms of ratings (<bosskit/table.h>): milliseconds of every path. Where
 * they depend on the entry of the block, latency_{block}_{entry}.csv is of that entry; latency_{block}.csv is of all entries
 * that have no file of their own. They add up over the blocks; latency_base is what all architectures have in common.
 *
 * Not for scores that do not add up.
 */
#include <bosskit/file.h>
#include <bosskit/method.h>
#include <bosskit/table.h>

#include <math.h>

struct traversal {
    double max_params, max_macs, max_counter, max_latency, latency_base;
    const char *latency;
};

/* clang-format off */
static const struct bk_opt options[] = {
    BK_REAL("max_params",  struct traversal, max_params,  0, 0, 1e18, "parameters", "most parameters; 0: no limit"),
    BK_REAL("max_macs",    struct traversal, max_macs,    0, 0, 1e18, "multiply-accumulates", "most multiply-accumulates; 0: no limit"),
    BK_REAL("max_counter", struct traversal, max_counter, 0, 0, 1e18, "multiply-adds", "the same by the space's published counter; 0: no limit"),
    BK_REAL("max_latency", struct traversal, max_latency, 0, 0, 1e18, "ms", "longest latency; needs `latency`; 0: no limit"),
    BK_PATH("latency",     struct traversal, latency,     NULL, "folder of latency_{block}.csv or latency_{block}_{entry}.csv with milliseconds of every path (`bosskit latency` makes them)"),
    BK_REAL("latency_base", struct traversal, latency_base, 0, 0, 1e18, "ms", "latency of what all architectures have in common"),
    BK_OPT_END
};
/* clang-format on */

/* ---- latencies ------------------------------------------------------------------------------------------- */

struct latencies {
    const char *dir;
    const struct bk_space *space;
    struct bk_block_table *table;
    int32_t n;
};

static int read_table(const struct latencies *l, int32_t block, int32_t entry, struct bk_block_table *out, struct bk_error *err)
{
    struct bk_text own = BK_TEXT_INIT, shared = BK_TEXT_INIT;
    int rc = BK_OK;
    bk_text_addf(&own, "%s/latency_%d_%d.csv", l->dir, (int)block, (int)entry);
    bk_text_addf(&shared, "%s/latency_%d.csv", l->dir, (int)block);
    if (own.failed || shared.failed)
        rc = bk_fail(err, BK_ENOMEM, "out of memory for a path");
    const char *file = bk_text_get(bk_file_exists(bk_text_get(&own)) ? &own : &shared);
    if (!rc && !bk_file_exists(file))
        rc = bk_fail(err, BK_EDATA, "there are no latencies of block %d entered at %d: neither '%s' nor '%s'", (int)block,
                     (int)entry, bk_text_get(&own), file);
    if (!rc)
        rc = bk_ratings_read(file, l->space, block, entry, out, err);
    bk_text_release(&own);
    bk_text_release(&shared);
    return rc;
}

static int find_table(struct latencies *l, int32_t block, int32_t entry, const struct bk_block_table **out, struct bk_error *err)
{
    for (int32_t i = 0; i < l->n; i++) {
        *out = &l->table[i];
        if (l->table[i].block == block && l->table[i].entry == entry)
            return BK_OK;
    }
    struct bk_block_table *grown = bk_realloc(l->table, (size_t)(l->n + 1) * sizeof *grown);
    if (!grown)
        return bk_fail(err, BK_ENOMEM, "out of memory for latencies");
    l->table = grown;
    BK_TRY(read_table(l, block, entry, &l->table[l->n], err));
    *out = &l->table[l->n++];
    return BK_OK;
}

static int latency_of(void *user, int32_t block, int32_t entry, const struct bk_path *path, double *out, struct bk_error *err)
{
    const struct bk_block_table *t = NULL;
    size_t i = 0;
    BK_TRY(find_table(user, block, entry, &t, err));
    while (i < t->n && !bk_path_equal(&t->path[i], path))
        i++;
    if (i == t->n)              /* bk_ratings_read() takes complete files alone */
        return bk_fail(err, BK_EDATA, "a path of block %d has no latency", (int)block);
    *out = t->score[i];
    return BK_OK;
}

/* ---- the searcher ------------------------------------------------------------------------------------------ */

static int init(void *state, const struct bk_host *host, struct bk_error *err)
{
    const struct traversal *t = state;
    (void)host;
    if (t->max_latency > 0 && !t->latency)
        return bk_fail(err, BK_EINVAL, "max_latency needs the latencies: latency = \"FOLDER\"");
    if (t->max_latency > 0 && t->latency_base > t->max_latency)
        return bk_fail(err, BK_EINVAL, "latency_base %g is above max_latency %g already", t->latency_base, t->max_latency);
    return BK_OK;
}

static double limit_of(double max)
{
    return max > 0 ? max : INFINITY;
}

static int solve(void *state, const struct bk_search_task *given, struct bk_found *out, struct bk_error *err)
{
    const struct traversal *t = state;
    const double limit[3] = { limit_of(t->max_params), limit_of(t->max_macs), limit_of(t->max_counter) };
    struct latencies l = { .dir = t->latency, .space = given->space };
    struct bk_search_task task = *given;
    if (!t->latency)
        return bk_search_exact(&task, limit, out, err);
    task.struct_size = sizeof task;
    task.extra = latency_of;
    task.extra_user = &l;
    task.max_extra = limit_of(t->max_latency) - t->latency_base;
    int rc = bk_search_exact(&task, limit, out, err);
    if (!rc)
        out->extra += t->latency_base;
    for (int32_t i = 0; i < l.n; i++)
        bk_block_table_release(&l.table[i]);
    bk_free(l.table);
    return rc;
}

static const struct bk_searcher_iface iface = { .struct_size = sizeof iface, .solve = solve };

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_SEARCHER,
    .name = "traversal",
    .version = "1.0.0",
    .summary = "exact best architecture of the whole space by summed block scores, under limits of cost and latency",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct traversal),
    .init = init,
    .iface = &iface,
};

BK_MODULE(&plugin);

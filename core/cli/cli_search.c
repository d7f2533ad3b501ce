/*
 * cli/cli_search.c: bosskit search: the best architecture by stored block ratings.
 *
 * A searcher plugin does the work; its options are given with --set, and --sweep runs it once for every value of one of them,
 * which makes a table of budgets. Nothing is trained or rated here.
 */
#include "cli/cli.h"
#include "cli/cli_util.h"
#include "pipeline/search_blocks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct bk__cli_opt options[] = {
    { "space", 0, BK__CLI_ONE, "SPACE", "search space that gives the architectures their meaning" },
    { "option", 'o', BK__CLI_EACH, "KEY=VALUE", "option of the space" },
    { "ratings", 0, BK__CLI_MANY, "FILE", "ratings of the blocks, in block order" },
    { "better", 0, BK__CLI_ONE, "WHICH", "lower or higher ratings are better (lower)" },
    { "offset", 0, BK__CLI_ONE, "X", "added to every block's rating in what is printed (4)" },
    { "searcher", 0, BK__CLI_ONE, "SEARCHER", "plugin that searches (traversal: exact)" },
    { "set", 's', BK__CLI_EACH, "KEY=VALUE", "option of the searcher, e.g. max_counter=405e6" },
    { "sweep", 0, BK__CLI_ONE, "KEY=V,V,...", "search once for each value of an option of the searcher" },
    { "seed", 0, BK__CLI_ONE, "N", "seed of searchers that draw (0)" },
    { "classes", 0, BK__CLI_ONE, "N", "classes of the networks whose costs are counted (10)" },
    { "json", 0, BK__CLI_FLAG, NULL, "print JSON" },
    { 0 },
};

#define MAX_ARCH_TEXT 1024
#define MAX_VALUE 64

struct search {
    int64_t seed, classes;
    double offset;
    bool higher, json, timed;   /* timed: the searcher was given latencies */
    const char *searcher;
    struct bk_registry *registry;
    struct bk_instance *instance;
    struct bk_space space;
    struct bk_block_table table[BK_MAX_BLOCKS];
    struct bk_text text;
    size_t n_rows;
};

/* ---- reading --------------------------------------------------------------------------------- */

static int read_all(const struct bk__cli_args *args, struct search *s, struct bk_error *err)
{
    const char *space, *ratings, *searcher = bk__cli_text(args, "searcher");

    BK_TRY(bk__cli_better(args, &s->higher, err));
    BK_TRY(bk__cli_real(args, "offset", 4, -1e6, 1e6, &s->offset, err));
    BK_TRY(bk__cli_int(args, "seed", 0, 0, INT64_MAX, &s->seed, err));
    BK_TRY(bk__cli_int(args, "classes", 10, 1, 1000000, &s->classes, err));
    s->json = bk__cli_text(args, "json");
    s->searcher = searcher ? searcher : "traversal";
    if (args->n)
        return bk_fail(err, BK_EUSAGE, "search: unexpected '%s'", args->word[0]);
    BK_TRY(bk__cli_need(args, "space", &space, err));
    BK_TRY(bk__cli_need(args, "ratings", &ratings, err));
    BK_TRY(bk__cli_registry(&s->registry, err));
    BK_TRY(bk__cli_space(s->registry, space, args, "option", &s->instance, &s->space, err));
    return bk__cli_ratings(args, &s->space, s->higher, s->table, err);
}

/* ---- searching ------------------------------------------------------------------------------- */

/* What rates the paths of a searcher that goes block by block: the tables. */
struct by_table {
    const struct bk_block_table *table;
    const struct bk_env *env;
};

static int rate(void *user, const struct bk_path *path, size_t n, double *score, struct bk_error *err)
{
    const struct by_table *b = user;
    return bk__rate_by_table(&b->table[b->env->block], path, n, score, err);
}

static int search_blocks(const struct search *s, const struct bk_instance *instance, const struct bk_search_task *task,
                         struct bk_found *out, struct bk_error *err)
{
    struct bk_data data = { .info = { .struct_size = sizeof data.info, .n_classes = (int32_t)s->classes } };
    struct bk_env env = { .struct_size = sizeof env, .space = &s->space, .data = &data, .seed = (uint64_t)s->seed };
    struct by_table b = { s->table, &env };
    const struct bk_block_search search = { bk_instance_iface(instance), instance->state, &env, rate, &b };
    return bk__search_blocks(&search, task, out, err);
}

static int solve(const struct search *s, const struct bk_value *group, struct bk_found *out, struct bk_error *err)
{
    struct bk_search_task task = { .struct_size = sizeof task,
                                   .better = s->higher ? BK_HIGHER_IS_BETTER : BK_LOWER_IS_BETTER,
                                   .space = &s->space,
                                   .table = s->table,
                                   .n_classes = (int32_t)s->classes,
                                   .seed = (uint64_t)s->seed };
    struct bk_instance *instance;

    BK_TRY(bk_instance_open(s->registry, BK_KIND_SEARCHER, s->searcher, group, NULL, "searcher", NULL, &instance, err));
    const struct bk_searcher_iface *iface = bk_instance_iface(instance);
    int rc = !iface->solve      ? bk_fail(err, BK_ENOTSUP, "searcher '%s' does not search tables of ratings", s->searcher)
             : iface->ask_paths ? search_blocks(s, instance, &task, out, err)
                                : iface->solve(instance->state, &task, out, err);
    bk_instance_close(instance);
    return rc;
}

static void add_text_row(struct search *s, const char *key, const char *value, const char *arch, double total,
                         const struct bk_found *found)
{
    const struct bk_cost *c = found ? &found->cost : NULL;
    const char *counter = s->space.info.counter ? s->space.info.counter : "counter";
    char first[MAX_VALUE + 2] = "";

    if (!s->n_rows) {
        snprintf(first, sizeof first, "%s", key);
        bk_text_addf(&s->text, "%-*s%-32s  %12s  %12s  %14s  %14s%s\n", *key ? 14 : 0, first, "architecture", "total",
                     "parameters", "MACs", counter, s->timed ? "    latency ms" : "");
    }
    snprintf(first, sizeof first, "%s", value);
    bk_text_addf(&s->text, "%-*s", *key ? 14 : 0, first);
    if (!c) {
        bk_text_add(&s->text, "none\n");
        return;
    }
    bk_text_addf(&s->text, "%-32s  %12.6f  %12.0f  %14.0f  %14.0f", arch, total, c->params, c->macs, c->counter);
    if (s->timed)
        bk_text_addf(&s->text, "  %12.4f", found->extra);
    bk_text_add(&s->text, "\n");
}

static void add_json_row(struct search *s, const char *key, const char *value, const char *arch, double total,
                         const struct bk_found *found)
{
    const struct bk_cost *c = found ? &found->cost : NULL;
    struct bk_text *t = &s->text;

    bk_text_add(t, s->n_rows ? ",\n {" : "[\n {");
    if (*key) {
        bk__cli_json_text(t, key);
        bk_text_add(t, ": ");
        bk__cli_json_text(t, value);
        bk_text_add(t, ", ");
    }
    bk_text_add(t, "\"arch\": ");
    if (c) {
        bk__cli_json_text(t, arch);
        bk_text_add(t, ", \"total\": ");
        bk__cli_json_real(t, total);
        bk_text_addf(t, ", \"params\": %.0f, \"macs\": %.0f, \"counter\": %.0f", c->params, c->macs, c->counter);
        if (s->timed) {
            bk_text_add(t, ", \"latency\": ");
            bk__cli_json_real(t, found->extra);
        }
        bk_text_add(t, "}");
    } else {
        bk_text_add(t, "null}");
    }
}

/* One search; of a sweep when `key` is not empty: then it is no mistake that nothing fits. */
static int add_row(struct search *s, const struct bk_value *group, const char *key, const char *value, struct bk_error *err)
{
    char arch[MAX_ARCH_TEXT] = "";
    struct bk_found found;
    double total = 0;

    int rc = solve(s, group, &found, err);
    if (rc && !(rc == BK_ENOTFOUND && *key))
        return rc;
    if (!rc) {
        BK_TRY(bk_space_format(&s->space, &found.arch, arch, sizeof arch, err));
        total = found.score + s->offset * s->space.info.n_blocks;
    }
    (s->json ? add_json_row : add_text_row)(s, key, value, arch, total, rc ? NULL : &found);
    s->n_rows++;
    return BK_OK;
}

static int sweep(struct search *s, struct bk_value *group, const char *list, struct bk_error *err)
{
    const char *equals = strchr(list, '='), *p = equals ? equals + 1 : NULL;
    char key[MAX_VALUE], value[MAX_VALUE], assignment[2 * MAX_VALUE];

    if (!p || !*p || equals - list >= MAX_VALUE)
        return bk_fail(err, BK_EUSAGE, "search: option '--sweep': '%s' is not key=value,value,...", list);
    snprintf(key, sizeof key, "%.*s", (int)(equals - list), list);
    for (;; p++) {
        size_t n = strcspn(p, ",");
        if (n >= MAX_VALUE)
            return bk_fail(err, BK_EUSAGE, "search: option '--sweep': '%s' has a value of over %d characters", list, MAX_VALUE - 1);
        snprintf(value, sizeof value, "%.*s", (int)n, p);
        snprintf(assignment, sizeof assignment, "%s=%s", key, value);
        BK_TRY(bk_value_override(group, assignment, err));
        BK_TRY(add_row(s, group, key, value, err));
        p += n;
        if (!*p)
            return BK_OK;
    }
}

/* ---- the command ----------------------------------------------------------------------------- */

static int run(const struct bk__cli_args *args, struct search *s, struct bk_error *err)
{
    const char *list = bk__cli_text(args, "sweep");
    struct bk_value *group = NULL;

    BK_TRY(read_all(args, s, err));
    int rc = bk__cli_options(args, "set", &group, err);
    s->timed = group && bk_value_find(group, "latency");
    if (!rc)
        rc = list ? sweep(s, group, list, err) : add_row(s, group, "", "", err);
    bk_value_free(group);
    if (rc)
        return rc;
    if (s->json)
        bk_text_add(&s->text, "\n]\n");
    return bk__cli_print(&s->text, err);
}

int bk__cli_search(int argc, char **argv, struct bk_error *err)
{
    struct bk__cli_args args;
    struct search s = { .text = BK_TEXT_INIT };

    int rc = bk__cli_parse(argc, argv, options, &args, err);
    if (!rc && !args.helped)
        rc = run(&args, &s, err);
    bk_text_release(&s.text);
    for (int k = 0; k < BK_MAX_BLOCKS; k++)
        bk_block_table_release(&s.table[k]);
    bk_instance_close(s.instance);
    bk_registry_close(s.registry);
    bk__cli_release(&args);
    return rc;
}

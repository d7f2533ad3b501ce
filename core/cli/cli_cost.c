/*
 * cli/cli_cost.c: bosskit cost: parameters and multiply-adds of stand-alone networks.
 *
 * Single architectures go through bk_space_cost(). --all walks the whole space; there the cost of a block is asked once
 * per (block, entry, path), because it depends on nothing else, and the architectures are sums. Output is streamed.
 */
#include "cli/cli.h"
#include "cli/cli_util.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const struct bk__cli_opt options[] = {
    { "option", 'o', BK__CLI_EACH, "KEY=VALUE", "option of the space" },
    { "classes", 0, BK__CLI_ONE, "N", "classes of the network (10)" },
    { "all", 0, BK__CLI_FLAG, NULL, "every architecture of the space, at most 2^22, as CSV" },
    { "csv", 0, BK__CLI_FLAG, NULL, "print CSV" },
    { "json", 0, BK__CLI_FLAG, NULL, "print JSON" },
    { 0 },
};

#define MAX_ARCH_TEXT 1024
#define MAX_ARCHS 4194304.0     /* 2^22 */
#define FLUSH_BYTES ((size_t)1 << 16)

enum form { FORM_TEXT = 1, FORM_CSV, FORM_JSON };

struct printer {
    enum form form;
    struct bk_text text;
    uint64_t n;
};

/* ---- printing -------------------------------------------------------------------------------- */

static void begin(struct printer *p, const struct bk_space *space)
{
    if (p->form == FORM_CSV)
        bk_text_add(&p->text, "index,arch,params,macs,counter\n");
    else if (p->form == FORM_JSON)
        bk_text_add(&p->text, "[");
    else
        bk_text_addf(&p->text, "%-32s  %14s  %16s  %16s\n", "architecture", "parameters",
                     "MACs", space->info.counter ? space->info.counter : "counter");
}

/* Counts are whole numbers: print them so, not as 1e+06. */
static void add_number(struct bk_text *t, const char *before, double v)
{
    char number[32];

    bk_text_add(t, before);
    if (fabs(v) < 1e15 && v == floor(v)) {
        bk_text_addf(t, "%.0f", v);
        return;
    }
    bk_format_f64(v, number);
    bk_text_add(t, number);
}

static int add_row(struct printer *p, const char *arch, const struct bk_cost *c,
                   struct bk_error *err)
{
    struct bk_text *t = &p->text;

    if (p->form == FORM_TEXT) {
        bk_text_addf(t, "%-32s  %14.0f  %16.0f  %16.0f\n", arch, c->params, c->macs, c->counter);
    } else if (p->form == FORM_CSV) {
        bk_text_addf(t, "%" PRIu64 ",%s,", p->n, arch);
        add_number(t, "", c->params);
        add_number(t, ",", c->macs);
        add_number(t, ",", c->counter);
        bk_text_add(t, "\n");
    } else {
        bk_text_add(t, p->n ? ",\n {\"arch\": " : "\n {\"arch\": ");
        bk__cli_json_text(t, arch);
        add_number(t, ", \"params\": ", c->params);
        add_number(t, ", \"macs\": ", c->macs);
        add_number(t, ", \"counter\": ", c->counter);
        bk_text_add(t, "}");
    }
    p->n++;
    if (t->len < FLUSH_BYTES)
        return BK_OK;
    BK_TRY(bk__cli_print(t, err));
    t->len = 0;
    return BK_OK;
}

static int finish(struct printer *p, struct bk_error *err)
{
    if (p->form == FORM_JSON)
        bk_text_add(&p->text, "\n]\n");
    return bk__cli_print(&p->text, err);
}

/* ---- the whole space ------------------------------------------------------------------------- */

/* The ways through one block when it is entered at `entry`; block n_blocks has the single way "the rest". */
struct ways {
    int32_t block, entry;
    size_t n;
    struct bk_path *path;
    struct way {
        struct bk_cost cost;
        size_t next;            /* index in the catalogue of the next block's ways */
    } *way;
    double n_archs;             /* ways from here to the end */
};

struct catalogue {
    const struct bk_space *space;
    int32_t n_classes;
    struct ways *ways;
    size_t n, cap;
};

static void catalogue_release(struct catalogue *c)
{
    for (size_t i = 0; i < c->n; i++) {
        bk_free(c->ways[i].path);
        bk_free(c->ways[i].way);
    }
    bk_free(c->ways);
}

static int add_ways(struct catalogue *c, int32_t block, int32_t entry, size_t *index,
                    struct bk_error *err)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 32;
        struct ways *p = bk_realloc(c->ways, cap * sizeof *p);
        if (!p)
            return bk_fail(err, BK_ENOMEM, "cannot enumerate the space: out of memory");
        c->ways = p;
        c->cap = cap;
    }
    struct ways w = { .block = block, .entry = entry, .n = 1 };
    if (block < c->space->info.n_blocks)
        BK_TRY(bk_space_paths(c->space, block, entry, &w.path, &w.n, err));
    w.way = bk_zalloc(w.n * sizeof *w.way);
    if (!w.way) {
        bk_free(w.path);
        return bk_fail(err, BK_ENOMEM, "cannot enumerate the space: out of memory");
    }
    *index = c->n;
    c->ways[c->n++] = w;
    return BK_OK;
}

/* Depth at most BK_MAX_BLOCKS. The catalogue may move while it grows, hence indices. */
static int explore(struct catalogue *c, int32_t block, int32_t entry, size_t *index,
                   struct bk_error *err)
{
    const struct bk_space_iface *iface = c->space->iface;
    bool last = block == c->space->info.n_blocks;
    size_t at = 0;

    for (size_t i = 0; i < c->n; i++) {
        if (c->ways[i].block == block && c->ways[i].entry == entry) {
            *index = i;
            return BK_OK;
        }
    }
    BK_TRY(add_ways(c, block, entry, &at, err));
    double n_archs = last ? 1 : 0;
    for (size_t i = 0; i < c->ways[at].n; i++) {
        const struct bk_path *path = last ? NULL : &c->ways[at].path[i];
        struct way way = { .next = 0 };
        BK_TRY(iface->cost(c->space->state, block, entry, path, c->n_classes, &way.cost, err));
        if (!last) {
            int32_t exit = iface->exit(c->space->state, block, entry, path);
            BK_TRY(explore(c, block + 1, exit, &way.next, err));
            n_archs += c->ways[way.next].n_archs;
        }
        c->ways[at].way[i] = way;
    }
    c->ways[at].n_archs = n_archs;
    *index = at;
    return BK_OK;
}

static struct bk_cost sum(struct bk_cost a, struct bk_cost b)
{
    return (struct bk_cost){ a.params + b.params, a.macs + b.macs, a.counter + b.counter };
}

/* Depth at most BK_MAX_BLOCKS. */
static int print_ways(const struct catalogue *c, size_t at, struct bk_arch *arch,
                      struct bk_cost before, struct printer *p, struct bk_error *err)
{
    const struct ways *w = &c->ways[at];
    char text[MAX_ARCH_TEXT];

    for (size_t i = 0; i < w->n; i++) {
        struct bk_cost cost = sum(before, w->way[i].cost);
        if (w->path) {
            arch->block[w->block] = w->path[i];
            BK_TRY(print_ways(c, w->way[i].next, arch, cost, p, err));
            continue;
        }
        BK_TRY(bk_space_format(c->space, arch, text, sizeof text, err));
        BK_TRY(add_row(p, text, &cost, err));
    }
    return BK_OK;
}

static int print_all(const struct bk_space *space, int32_t n_classes, struct printer *p,
                     struct bk_error *err)
{
    struct catalogue c = { .space = space, .n_classes = n_classes };
    struct bk_arch arch = { .n_blocks = (uint32_t)space->info.n_blocks };
    size_t first = 0;

    int rc = explore(&c, 0, 0, &first, err);
    if (!rc && c.ways[first].n_archs > MAX_ARCHS)
        rc = bk_fail(err, BK_EINVAL, "space '%s' has %.6g architectures, at most 2^22 are listed",
                     space->name, c.ways[first].n_archs);
    if (!rc)
        rc = print_ways(&c, first, &arch, (struct bk_cost){ 0, 0, 0 }, p, err);
    catalogue_release(&c);
    return rc;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int print_named(const struct bk_space *space, int32_t n_classes,
                       const struct bk__cli_args *args, struct printer *p, struct bk_error *err)
{
    char text[MAX_ARCH_TEXT];
    struct bk_arch arch;
    struct bk_cost cost;

    for (size_t i = 1; i < args->n; i++) {
        BK_TRY(bk_space_parse(space, args->word[i], &arch, err));
        BK_TRY(bk_space_format(space, &arch, text, sizeof text, err));
        BK_TRY(bk_space_cost(space, &arch, n_classes, &cost, err));
        BK_TRY(add_row(p, text, &cost, err));
    }
    return BK_OK;
}

static int check_usage(const struct bk__cli_args *args, struct bk_error *err)
{
    bool all = bk__cli_text(args, "all"), json = bk__cli_text(args, "json");

    if (!args->n)
        return bk_fail(err, BK_EUSAGE, "cost: a space is needed");
    if (all && args->n > 1)
        return bk_fail(err, BK_EUSAGE, "cost: --all and architectures exclude each other");
    if (!all && args->n < 2)
        return bk_fail(err, BK_EUSAGE, "cost: an architecture or --all is needed");
    if (json && bk__cli_text(args, "csv"))
        return bk_fail(err, BK_EUSAGE, "cost: --json and --csv exclude each other");
    return BK_OK;
}

static int run(const struct bk__cli_args *args, struct bk_error *err)
{
    bool all = bk__cli_text(args, "all");
    struct printer p = { .form = bk__cli_text(args, "json")        ? FORM_JSON
                                 : all || bk__cli_text(args, "csv") ? FORM_CSV
                                                                    : FORM_TEXT };
    struct bk_registry *registry = NULL;
    struct bk_instance *instance = NULL;
    struct bk_space space;
    int64_t n_classes;

    BK_TRY(check_usage(args, err));
    BK_TRY(bk__cli_int(args, "classes", 10, 1, 1000000, &n_classes, err));
    int rc = bk__cli_registry(&registry, err);
    if (!rc)
        rc = bk__cli_space(registry, args->word[0], args, "option", &instance, &space, err);
    if (rc)
        goto done;
    begin(&p, &space);
    rc = all ? print_all(&space, (int32_t)n_classes, &p, err)
             : print_named(&space, (int32_t)n_classes, args, &p, err);
    if (!rc)
        rc = finish(&p, err);
done:
    bk_text_release(&p.text);
    bk_instance_close(instance);
    bk_registry_close(registry);
    return rc;
}

int bk__cli_cost(int argc, char **argv, struct bk_error *err)
{
    struct bk__cli_args args;

    int rc = bk__cli_parse(argc, argv, options, &args, err);
    if (!rc && !args.helped)
        rc = run(&args, err);
    bk__cli_release(&args);
    return rc;
}

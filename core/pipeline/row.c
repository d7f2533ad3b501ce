/*
 * Binding a row: its sections to option tables, its parts to plugins, and the checks between them. Relative paths
 * become absolute here, once, so that a row can be handed to a child process in another directory. It opens plugin
 * instances but no data, device or file.
 */
#include "pipeline/experiment.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int out_of_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for the configuration");
}

static const char *origin_of(const struct bk_row *row)
{
    const struct bk_value *v = row->tree->n ? row->tree->child[0] : row->tree;
    return v->origin ? v->origin : "configuration";
}

/* ---- paths ----------------------------------------------------------------------------------------------- */

static int make_absolute(struct bk_value *v, struct bk_error *err)
{
    char cwd[4096];
    struct bk_text t = BK_TEXT_INIT;
    const char *dir = v->file_dir ? v->file_dir : "";

    if (v->type != BK_VALUE_TEXT || !v->text[0] || v->text[0] == '/')
        return BK_OK;
    if (dir[0] != '/') {
        if (!getcwd(cwd, sizeof cwd))
            return bk_fail_errno(err, BK_EIO, "cannot find the current directory");
        bk_text_addf(&t, "%s/", cwd);
    }
    bk_text_addf(&t, "%s%s%s", dir, dir[0] ? "/" : "", v->text);
    char *text = bk_text_take(&t);
    if (!text)
        return out_of_memory(err);
    bk_free(v->text);
    v->text = text;
    return BK_OK;
}

static int make_paths_absolute(const struct bk_opt *table, const struct bk_value *group, struct bk_error *err)
{
    for (; table && table->name; table++) {
        struct bk_value *v = table->type == BK_OPT_PATH && group ? bk_value_find(group, table->name) : NULL;
        if (v)
            BK_TRY(make_absolute(v, err));
    }
    return BK_OK;
}

/* ---- sections of the pipeline ------------------------------------------------------------------------------ */

/** A copy of `group` with the keys in `names` alone. */
static int only_keys(const struct bk_value *group, const char *const *names, struct bk_value **out, struct bk_error *err)
{
    struct bk_value *copy = bk_value_dup(group);
    if (!copy)
        return out_of_memory(err);
    for (size_t i = copy->n; i-- > 0;) {
        bool keep = false;
        for (const char *const *name = names; *name; name++)
            keep = keep || strcmp(copy->child[i]->name, *name) == 0;
        if (!keep)
            bk_value_free(bk__tree_detach(copy, copy->child[i]->name));
    }
    *out = copy;
    return BK_OK;
}

static int group_of(const struct bk_row *row, const char *key, const struct bk_value **out, struct bk_error *err)
{
    const struct bk_value *v = bk_value_find(row->tree, key);
    if (v && v->type != BK_VALUE_GROUP)
        return bk_fail(err, BK_ECONFIG, "%s: %s: must be a group { ... }", v->origin, key);
    *out = v;
    return BK_OK;
}

/** Bind the pipeline's own keys inside a plugin's group. */
static int bind_inside(struct bk_row *row, const char *key, const struct bk_opt *table, void *state,
                       const char *const *names, const char *const *also, struct bk_error *err)
{
    const struct bk_value *group = NULL;
    struct bk_value *own = NULL;

    BK_TRY(group_of(row, key, &group, err));
    if (group)
        BK_TRY(only_keys(group, names, &own, err));
    int rc = bk_options_bind(table, state, own, key, also, &row->owned, err);
    bk_value_free(own);
    return rc;
}

static int bind_report(struct bk_row *row, struct bk_error *err)
{
    static const char *const also[] = { "published", NULL };
    const struct bk_value *group = NULL, *published;

    BK_TRY(group_of(row, "report", &group, err));
    BK_TRY(bk_options_bind(bk__report_table, &row->report, group, "report", also, &row->owned, err));
    row->report.has_tolerance = group && bk_value_find(group, "tolerance");
    published = group ? bk_value_find(group, "published") : NULL;
    if (published && published->type != BK_VALUE_GROUP)
        return bk_fail(err, BK_ECONFIG, "%s: report.published: must be a group { ... }", published->origin);
    BK_TRY(bk_options_bind(bk__published_table, &row->published, published, "report.published", NULL, &row->owned, err));
    row->published.has_tau = published && bk_value_find(published, "kendall_tau");
    row->published.has_rho = published && bk_value_find(published, "spearman_rho");
    row->published.has_r = published && bk_value_find(published, "pearson_r");
    row->published.has_found = published && bk_value_find(published, "found_truth");
    return BK_OK;
}

static int bind_weights(struct bk_row *row, struct bk_error *err)
{
    const struct bk_value *v = bk_value_find(row->tree, "rater.block_weights");
    if (!v)
        return BK_OK;
    if (v->type != BK_VALUE_LIST || v->n > BK_MAX_BLOCKS)
        return bk_fail(err, BK_ECONFIG, "%s: rater.block_weights: must be a list of numbers, one a block", v->origin);
    for (size_t i = 0; i < v->n; i++) {
        const struct bk_value *w = v->child[i];
        if (w->type != BK_VALUE_INT && w->type != BK_VALUE_REAL)
            return bk_fail(err, BK_ECONFIG, "%s: rater.block_weights: entry %zu is not a number", v->origin, i + 1);
        row->rater.weight[i] = w->type == BK_VALUE_INT ? (double)w->i : w->r;
    }
    row->rater.n_weights = (int32_t)v->n;
    if (v->n && (int32_t)v->n != row->space.info.n_blocks)
        return bk_fail(err, BK_ECONFIG, "%s: rater.block_weights: has %zu entries, space '%s' has %d blocks", v->origin,
                       v->n, row->space.name, row->space.info.n_blocks);
    return BK_OK;
}

/** trainer.prefix: an architecture of the supernet whose paths stand in for the best ones. */
static int bind_prefix(struct bk_row *row, struct bk_error *err)
{
    const struct bk_value *v = bk_value_find(row->tree, "trainer.prefix");
    struct bk_trainer_options *o = &row->trainer;
    struct bk_error why = BK_ERROR_INIT;

    if (!v || strcmp(o->prefix, "found") == 0)
        return BK_OK;
    int rc = bk_space_parse(&row->space, o->prefix, &o->fixed, &why);
    for (int32_t k = 0; !rc && k < row->space.info.n_blocks; k++)
        rc = bk_space_check_path(&row->space, k, bk_space_entry(&row->space, k, o->fixed.block), &o->fixed.block[k], &why);
    o->has_prefix = !rc;
    return rc ? bk_fail(err, BK_ECONFIG, "%s: trainer.prefix: %s", v->origin, why.text) : BK_OK;
}

/** The value of an option that has no default: NaN when it is not set. */
static double real_or_nan(const struct bk_value *group, const char *key, double v)
{
    return bk_value_find(group, key) ? v : NAN;
}

/** `v` is the text of an architecture, or a group of bk__named_table. */
static int bind_named(struct bk_row *row, const struct bk_value *v, struct bk_named_arch *out, struct bk_error *err)
{
    struct bk_error why = BK_ERROR_INIT;

    if (v->type == BK_VALUE_TEXT) {
        *out = (struct bk_named_arch){ .name = v->text, .arch = v->text, .source = "", .top1 = NAN, .top5 = NAN,
                                       .params = NAN, .madds = NAN };
    } else if (v->type == BK_VALUE_GROUP) {
        BK_TRY(bk_options_bind(bk__named_table, out, v, "architectures", NULL, &row->owned, err));
        out->top1 = real_or_nan(v, "top1", out->top1);
        out->top5 = real_or_nan(v, "top5", out->top5);
        out->params = real_or_nan(v, "params", out->params);
        out->madds = real_or_nan(v, "madds", out->madds);
        out->name = out->name ? out->name : out->arch;
    }
    if (!out->name)
        return bk_fail(err, BK_ECONFIG, "%s: architectures: must be texts, or groups with name or arch", v->origin);
    if (out->arch && bk_space_parse(&row->space, out->arch, &out->parsed, &why))
        return bk_fail(err, BK_ECONFIG, "%s: architectures: %.900s", v->origin, why.text);
    return BK_OK;
}

static int bind_architectures(struct bk_row *row, struct bk_error *err)
{
    const struct bk_value *v = bk_value_find(row->tree, "architectures");
    if (!v)
        return BK_OK;
    if (v->type != BK_VALUE_LIST)
        return bk_fail(err, BK_ECONFIG, "%s: architectures: must be a list of texts or groups", v->origin);
    row->named = bk_zalloc((v->n + 1) * sizeof *row->named);
    if (!row->named)
        return out_of_memory(err);
    for (size_t i = 0; i < v->n; i++) {
        BK_TRY(bind_named(row, v->child[i], &row->named[i], err));
        for (size_t j = 0; j < i; j++) {
            if (strcmp(row->named[i].name, row->named[j].name) == 0)
                return bk_fail(err, BK_ECONFIG, "%s: architectures: there are two of the name '%s'", v->child[i]->origin,
                               row->named[i].name);
        }
        row->n_named++;
    }
    return BK_OK;
}

static int bind_sections(struct bk_row *row, struct bk_error *err)
{
    static const char *const rater_also[] = { "block_weights", NULL };

    BK_TRY(bk_options_bind(bk__top_table, &row->top, row->tree, "experiment", bk__top_sections, &row->owned, err));
    BK_TRY(make_paths_absolute(bk__truth_table, bk_value_find(row->tree, "truth"), err));
    BK_TRY(bk__row_bind_recipes(row, err));
    BK_TRY(bind_report(row, err));
    BK_TRY(bind_inside(row, "data", bk__data_table, &row->data, bk__data_keys, NULL, err));
    BK_TRY(bind_inside(row, "trainer", bk__trainer_table, &row->trainer, bk__trainer_keys, NULL, err));
    return bind_inside(row, "rater", bk__rater_table, &row->rater, bk__rater_keys, rater_also, err);
}

/* ---- parts ------------------------------------------------------------------------------------------------------ */

static const char *const *keys_inside(int slot)
{
    if (slot == BK_SLOT_DATA)
        return bk__data_keys;
    if (slot == BK_SLOT_TRAINER)
        return bk__trainer_keys;
    return slot == BK_SLOT_RATER ? bk__rater_keys : NULL;
}

static int open_part(struct bk_row *row, const struct bk_registry *r, int slot, struct bk_error *err)
{
    const char *key = bk__slot_key[slot];
    const struct bk_value *group = NULL, *name;
    const struct bk_found_plugin *found;
    int rc;

    BK_TRY(group_of(row, key, &group, err));
    if (!group)
        return BK_OK;
    name = bk_value_find(group, "plugin");
    if (!name || name->type != BK_VALUE_TEXT)
        return bk_fail(err, BK_ECONFIG, "%s: %s.plugin: must name a %s plugin", (name ? name : group)->origin, key,
                       bk_kind_name(bk__slot_kind[slot]));
    rc = bk_registry_find(r, bk__slot_kind[slot], name->text, &found, err);
    if (rc) {
        bk_context(err, "%s: %s.plugin", name->origin, key);
        return rc;
    }
    BK_TRY(make_paths_absolute(found->plugin->options, group, err));
    if (slot == BK_SLOT_BACKEND)        /* initialised where it computes */
        return bk_instance_bind(r, bk__slot_kind[slot], name->text, group, keys_inside(slot), key, &row->part[slot], err);
    return bk_instance_open(r, bk__slot_kind[slot], name->text, group, keys_inside(slot), key, &row->host,
                            &row->part[slot], err);
}

static int open_space(struct bk_row *row, struct bk_error *err)
{
    const struct bk_instance *i = row->part[BK_SLOT_SPACE];
    if (!i)
        return bk_fail(err, BK_ECONFIG, "%s: space: is missing; name a space plugin", origin_of(row));
    row->space.iface = bk_instance_iface(i);
    row->space.state = i->state;
    row->space.name = i->found->plugin->name;
    row->space.info.struct_size = sizeof row->space.info;
    return row->space.iface->info(i->state, &row->space.info, err);
}

static int open_baseline(struct bk_row *row, const struct bk_registry *r, const struct bk_value *v, struct bk_error *err)
{
    struct bk_baseline *b = &row->baseline[row->n_baselines];
    const struct bk_found_plugin *found = NULL;
    const struct bk_rater_iface *iface;
    struct bk_error why = BK_ERROR_INIT;
    struct bk_arch arch;
    double score;

    if (v->type != BK_VALUE_TEXT)
        return bk_fail(err, BK_ECONFIG, "%s: baselines: must be a list of names", v->origin);
    if (row->n_baselines == BK_MAX_BASELINES)
        return bk_fail(err, BK_ECONFIG, "%s: baselines: more than %d", v->origin, BK_MAX_BASELINES);
    b->name = v->text;
    if (bk_registry_find(r, BK_KIND_RATER, v->text, &found, &why) == BK_OK) {
        BK_TRY(bk_instance_open(r, BK_KIND_RATER, v->text, NULL, NULL, "baselines", &row->host, &b->rater, err));
        row->n_baselines++;
        iface = bk_instance_iface(b->rater);
        if (!(iface->flags & BK_RATER_ARCHS))
            return bk_fail(err, BK_ECONFIG, "%s: baselines: rater '%s' rates blocks, not architectures", v->origin, v->text);
        return BK_OK;
    }
    BK_TRY(bk_space_sample(&row->space, 0, 0, &arch, err));
    if (!row->space.iface->score || row->space.iface->score(row->space.state, v->text, &arch, &score, NULL))
        return bk_fail(err, why.code, "%s: baselines: '%s' is no score of space '%s', and %s", v->origin, v->text,
                       row->space.name, why.text);
    row->n_baselines++;
    return BK_OK;
}

static int open_baselines(struct bk_row *row, const struct bk_registry *r, struct bk_error *err)
{
    const struct bk_value *v = bk_value_find(row->tree, "baselines");
    if (v && v->type != BK_VALUE_LIST)
        return bk_fail(err, BK_ECONFIG, "%s: baselines: must be a list of names", v->origin);
    for (size_t i = 0; v && bk_row_rates(row) && i < v->n; i++)
        BK_TRY(open_baseline(row, r, v->child[i], err));
    return BK_OK;
}

/* ---- checks between parts ------------------------------------------------------------------------------------------ */

bool bk_row_trains(const struct bk_row *row)
{
    const struct bk_rater_iface *rater = bk_row_rater(row);
    return (rater->flags & BK_RATER_BLOCKS) && (rater->flags & BK_RATER_NEEDS_TRAINED);
}

bool bk_row_evolves(const struct bk_row *row)
{
    const struct bk_instance *s = row->part[BK_SLOT_SEARCHER];
    const struct bk_searcher_iface *searcher = s ? bk_instance_iface(s) : NULL;
    return searcher && searcher->ask_paths && bk_row_rater(row)->rate_paths;
}

int64_t bk_row_epochs(const struct bk_row *row)
{
    const struct bk_instance *t = row->part[BK_SLOT_TRAINER];
    for (const struct bk_opt *o = t ? t->found->plugin->options : NULL; o && o->name; o++) {
        if (o->type == BK_OPT_INT && strcmp(o->name, "epochs") == 0)
            return *(const int64_t *)(const void *)((const char *)t->state + o->offset);
    }
    return 0;
}

int64_t bk_row_rate_every(const struct bk_row *row)
{
    int64_t n = row->trainer.rate_every;
    return bk_row_rates(row) && bk_row_trains(row) && n < bk_row_epochs(row) ? n : 0;
}

static int need(const struct bk_row *row, int slot, const char *why, struct bk_error *err)
{
    if (row->part[slot])
        return BK_OK;
    return bk_fail(err, BK_ECONFIG, "%s: %s: is missing; %s needs a %s", origin_of(row), bk__slot_key[slot], why,
                   bk_kind_name(bk__slot_kind[slot]));
}

static int check_searcher(const struct bk_row *row, struct bk_error *err)
{
    const struct bk_searcher_iface *s = bk_instance_iface(row->part[BK_SLOT_SEARCHER]);
    const struct bk_rater_iface *rater = bk_row_rater(row);
    if ((rater->flags & BK_RATER_BLOCKS) ? s->solve || s->begin : s->begin != NULL)
        return BK_OK;
    return bk_fail(err, BK_ECONFIG, "%s: searcher '%s' works on block ratings, but rater '%s' scores architectures",
                   origin_of(row), row->part[BK_SLOT_SEARCHER]->found->plugin->name,
                   row->part[BK_SLOT_RATER]->found->plugin->name);
}

/* What the trainer makes has to be what the rater takes: better said now than after the first block. */
static int check_artefact(const struct bk_row *row, struct bk_error *err)
{
    const struct bk_trainer_iface *trainer = bk_instance_iface(row->part[BK_SLOT_TRAINER]);
    const struct bk_rater_iface *rater = bk_row_rater(row);
    if (!trainer->makes || !rater->takes || strcmp(trainer->makes, rater->takes) == 0)
        return BK_OK;
    return bk_fail(err, BK_ECONFIG, "%s: rater '%s' takes supernets of kind '%s', trainer '%s' makes '%s'", origin_of(row),
                   row->part[BK_SLOT_RATER]->found->plugin->name, rater->takes,
                   row->part[BK_SLOT_TRAINER]->found->plugin->name, trainer->makes);
}

static int check_rate_every(const struct bk_row *row, struct bk_error *err)
{
    const struct bk_value *v = bk_value_find(row->tree, "trainer.rate_every");
    if (!v || row->trainer.rate_every == 0)
        return BK_OK;
    if (!bk_row_trains(row))
        return bk_fail(err, BK_ECONFIG, "%s: trainer.rate_every: rater '%s' needs no training", v->origin,
                       row->part[BK_SLOT_RATER]->found->plugin->name);
    if (bk_row_epochs(row) < 1)
        return bk_fail(err, BK_ECONFIG, "%s: trainer.rate_every: trainer '%s' has no option 'epochs'", v->origin,
                       row->part[BK_SLOT_TRAINER]->found->plugin->name);
    return BK_OK;
}

static int check_truth(const struct bk_row *row, struct bk_error *err)
{
    const struct bk_value *truth = bk_value_find(row->tree, "truth");
    if (!truth && row->part[BK_SLOT_SEARCHER])
        return BK_OK;           /* a search alone */
    if (!truth)
        return bk_fail(err, BK_ECONFIG, "%s: truth: is missing; give truth.file, truth.source = \"standalone\", or a searcher",
                       origin_of(row));
    if (row->truth.source == BK_TRUTH_STANDALONE && row->truth.n < 3)
        return bk_fail(err, BK_ECONFIG, "%s: truth.n: is %lld, stand-alone truth needs at least 3 architectures",
                       truth->origin, (long long)row->truth.n);
    if (row->truth.source == BK_TRUTH_STANDALONE)
        BK_TRY(need(row, BK_SLOT_DATA, "stand-alone truth", err));
    return BK_OK;
}

static int check_parts(const struct bk_row *row, struct bk_error *err)
{
    const struct bk_instance *backend = row->part[BK_SLOT_BACKEND];
    BK_TRY(bk__row_check_retrain(row, err));
    if (row->top.quoted || ((row->n_named || row->has_retrain) && !row->part[BK_SLOT_RATER]))
        return BK_OK;
    BK_TRY(need(row, BK_SLOT_RATER, "a row that neither names nor retrains architectures", err));
    const struct bk_rater_iface *rater = bk_row_rater(row);
    const char *rater_name = row->part[BK_SLOT_RATER]->found->plugin->name;
    char why[128];

    snprintf(why, sizeof why, "rater '%.90s'", rater_name);
    if (!(rater->flags & (BK_RATER_BLOCKS | BK_RATER_ARCHS)))
        return bk_fail(err, BK_EPLUGIN, "rater '%s' rates neither blocks nor architectures", rater_name);
    if ((rater->flags & BK_RATER_NEEDS_DATA) || bk_row_trains(row))
        BK_TRY(need(row, BK_SLOT_DATA, why, err));
    if (bk_row_trains(row)) {
        BK_TRY(need(row, BK_SLOT_TRAINER, why, err));
        BK_TRY(need(row, BK_SLOT_SAMPLER, "training", err));
        BK_TRY(check_artefact(row, err));
    }
    BK_TRY(check_rate_every(row, err));
    BK_TRY(check_truth(row, err));
    if (row->part[BK_SLOT_SEARCHER])
        BK_TRY(check_searcher(row, err));
    if (row->top.determinism == BK_REFERENCE && backend && strcmp(backend->found->path, "built in") != 0)
        return bk_fail(err, BK_ECONFIG, "%s: determinism: \"reference\" means the built-in reference backend, not '%s'",
                       origin_of(row), backend->found->plugin->name);
    return BK_OK;
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static int fill(struct bk_row *row, const struct bk_registry *r, struct bk_error *err)
{
    BK_TRY(bind_sections(row, err));
    row->host.seed = (uint64_t)row->top.seed;
    for (int i = 0; i < BK_N_SLOTS; i++) {
        if (!row->top.quoted || i == BK_SLOT_SPACE)
            BK_TRY(open_part(row, r, i, err));
    }
    BK_TRY(open_space(row, err));
    BK_TRY(bind_architectures(row, err));
    BK_TRY(bind_weights(row, err));
    BK_TRY(bind_prefix(row, err));
    BK_TRY(check_parts(row, err));
    return open_baselines(row, r, err);
}

int bk_row_open(const struct bk_registry *r, const struct bk_row_tree *tree, const struct bk_host *host,
                struct bk_row **out, struct bk_error *err)
{
    struct bk_row *row = bk_zalloc(sizeof *row);
    int rc = BK_OK;

    if (row) {
        row->name = bk_strdup(tree->name);
        row->tree = bk_value_dup(tree->tree);
        row->host = *host;
    }
    if (!row || !row->name || !row->tree)
        rc = out_of_memory(err);
    if (!rc)
        rc = fill(row, r, err);
    if (rc)
        bk_row_close(row);
    else
        *out = row;
    return rc;
}

void bk_row_close(struct bk_row *row)
{
    if (!row)
        return;
    for (int i = 0; i < row->n_baselines; i++)
        bk_instance_close(row->baseline[i].rater);
    for (int i = BK_N_SLOTS; i-- > 0;)
        bk_instance_close(row->part[i]);
    bk_free(row->named);
    bk_owned_free(row->owned);
    bk_value_free(row->tree);
    bk_free(row->name);
    bk_free(row);
}

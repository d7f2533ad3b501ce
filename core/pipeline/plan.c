/*
 * Building the graph: for every row its truth, its stages in order, their keys and their states. Stages of equal keys
 * become one. Printing it is plan_print.c's, running it run.c's.
 */
#include "data/image_cache.h"
#include "pipeline/child.h"
#include "pipeline/plain_host.h"
#include "pipeline/plan.h"

#include <stdio.h>
#include <string.h>

static int out_of_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for the plan");
}

const char *bk_stage_kind_name(enum bk_stage_kind kind)
{
    static const char *const names[] = { "?", "train", "rate", "score", "search", "alone", "retrain", "test" };
    return kind < BK_ARRAY_LEN(names) ? names[kind] : "?";
}

static void stage_free(struct bk_stage *s)
{
    if (!s)
        return;
    json_decref(s->identity);
    bk_block_table_release(&s->table);
    bk_free(s->dir);
    bk_free(s);
}

/* ---- adding a stage ------------------------------------------------------------------------------------- */

static void label(struct bk_stage *s, const struct bk_plan_row *p)
{
    const char *kind = bk_stage_kind_name(s->kind);
    const struct bk_row *row = p->row;
    switch (s->kind) {
    case BK_STAGE_TRAIN:
        snprintf(s->label, sizeof s->label, "%s block %d (%s)", kind, s->block,
                 row->part[BK_SLOT_TRAINER]->found->plugin->name);
        if (bk_row_rate_every(row))
            snprintf(s->label, sizeof s->label, "%s block %d (%s), rated every %lld epochs", kind, s->block,
                     row->part[BK_SLOT_TRAINER]->found->plugin->name, (long long)bk_row_rate_every(row));
        break;
    case BK_STAGE_RATE:
        snprintf(s->label, sizeof s->label, "%s block %d (%s)", kind, s->block,
                 row->part[BK_SLOT_RATER]->found->plugin->name);
        break;
    case BK_STAGE_SCORE:
        snprintf(s->label, sizeof s->label, "%s (%s)", kind,
                 s->baseline ? s->baseline->name : row->part[BK_SLOT_RATER]->found->plugin->name);
        break;
    case BK_STAGE_SEARCH:
        snprintf(s->label, sizeof s->label, "%s (%s)", kind, row->part[BK_SLOT_SEARCHER]->found->plugin->name);
        break;
    case BK_STAGE_TEST:
        snprintf(s->label, sizeof s->label, "%s %.100s", kind, s->arch ? s->arch : "what is found");
        if (row->retrain.eval_size)
            snprintf(s->label, sizeof s->label, "%s %.100s at %lld pixels", kind, s->arch ? s->arch : "what is found",
                     (long long)row->retrain.eval_size);
        break;
    default:
        snprintf(s->label, sizeof s->label, "%s %.120s", kind, s->arch ? s->arch : "what is found");
    }
}

/** Parameters of the backbone and adapters of all blocks; 0 when the space cannot say. */
static double supernet_parameters(const struct bk_row *row)
{
    struct bk_net net = BK_NET_INIT;
    double n = 0;
    if (row->space.iface->supernet(row->space.state, &net, NULL) == BK_OK)
        n = (double)bk_net_count(&net, 0, -2);
    bk_net_release(&net);
    return n;
}

/** Training images of an epoch. */
static double images_of(const struct bk_recipe *r, const struct bk_plan_row *p)
{
    return r->images && r->images < p->data.full.n ? (double)r->images : p->data.full.n;
}

static void estimate(struct bk_stage *s, const struct bk_plan_row *p)
{
    const struct bk_row *row = p->row;
    struct bk_path *path = NULL;
    struct bk_arch arch;
    struct bk_cost cost;
    size_t n = 0;

    if (s->kind == BK_STAGE_TRAIN) {
        int64_t epochs = bk_row_epochs(row) > 0 ? bk_row_epochs(row) : 1;
        double parameters = supernet_parameters(row);
        int used = p->has_data ? snprintf(s->size, sizeof s->size, "%u images an epoch", p->data.data.train.n) : 0;
        s->work = (double)p->data.data.train.n * (double)epochs;
        if (parameters > 0)
            snprintf(s->size + used, sizeof s->size - (size_t)used, "%ssupernet of %.3g M parameters", used ? ", " : "",
                     parameters / 1e6);
    } else if (s->kind == BK_STAGE_RATE && bk_space_paths(&row->space, s->block, 0, &path, &n, NULL) == BK_OK) {
        snprintf(s->size, sizeof s->size, p->has_data ? "%zu paths, %u images" : "%zu paths", n, p->data.data.val.n);
        s->work = (double)n * (p->has_data ? p->data.data.val.n : 1);
        bk_free(path);
    } else if (s->kind == BK_STAGE_SCORE) {
        snprintf(s->size, sizeof s->size, "%zu architectures", s->truth->n);
        s->work = (double)s->truth->n;
    } else if (s->kind == BK_STAGE_SEARCH) {
        s->work = 1;
    } else if (s->kind == BK_STAGE_TEST) {
        snprintf(s->size, sizeof s->size, "%u images", p->data.data.test.n);
        s->work = p->data.data.test.n;
    } else if (s->kind == BK_STAGE_RETRAIN && !s->arch) {
        snprintf(s->size, sizeof s->size, "%lld epochs of %.0f images", (long long)row->retrain_recipe.epochs,
                 images_of(&row->retrain_recipe, p));
        s->work = (double)row->retrain_recipe.epochs * images_of(&row->retrain_recipe, p);
    } else if (s->arch && bk_space_parse(&row->space, s->arch, &arch, NULL) == BK_OK &&
               bk_space_cost(&row->space, &arch, p->n_classes, &cost, NULL) == BK_OK) {
        /* forward and backward: three times the multiply-adds, two operations each */
        const struct bk_recipe *recipe = s->kind == BK_STAGE_ALONE ? &row->truth_recipe : &row->retrain_recipe;
        double flop = 6 * cost.macs * images_of(recipe, p) * (double)recipe->epochs;
        if (p->has_data)
            snprintf(s->size, sizeof s->size, "%.3g TFLOP", flop / 1e12);
        s->work = flop;
    }
}

static int plan_append(struct bk_plan *p, struct bk_stage *s, struct bk_error *err)
{
    struct bk_stage **grown = bk_realloc(p->stage, (p->n_stages + 1) * sizeof *grown);
    if (!grown)
        return out_of_memory(err);
    p->stage = grown;
    p->stage[p->n_stages++] = s;
    return BK_OK;
}

/** Identify `draft`; an equal stage that exists is taken instead. */
static int add_stage(struct bk_plan *p, struct bk_plan_row *row, const struct bk_stage *draft, struct bk_stage **out,
                     struct bk_error *err)
{
    struct bk_stage *s = bk_alloc(sizeof *s);
    if (!s)
        return out_of_memory(err);
    *s = *draft;
    s->row = row->row;
    s->setting = &row->setting;
    s->n_classes = row->n_classes;
    label(s, row);
    int rc = bk__stage_identity(row, s, err);
    for (size_t i = 0; !rc && i < p->n_stages; i++) {
        if (p->stage[i]->kind == s->kind && strcmp(p->stage[i]->key, s->key) == 0) {
            *out = p->stage[i];
            stage_free(s);
            return BK_OK;
        }
    }
    if (!rc) {
        s->state = row->pending ? BK_STAGE_RUN : bk_store_look(p->store, bk_stage_kind_name(s->kind), s->key, false);
        estimate(s, row);
        rc = plan_append(p, s, err);
    }
    if (rc)
        stage_free(s);
    else
        *out = s;
    return rc;
}

/* ---- the stages of a row ------------------------------------------------------------------------------------- */

/**
 * train(k) needs train(k-1) and the best paths of all blocks before; rate(k) needs train(k) and the same paths. A row that
 * rates another row's supernet has its trainings and rates behind the paths they were made with.
 */
static int plan_blocks(struct bk_plan *p, struct bk_plan_row *row, struct bk_error *err)
{
    const struct bk_plan_row *net = row->supernet;
    bool trains = bk_row_trains(row->row);
    for (int32_t k = 0; k < row->row->space.info.n_blocks; k++) {
        struct bk_stage train = { .kind = BK_STAGE_TRAIN, .block = k }, rate = { .kind = BK_STAGE_RATE, .block = k };
        for (int32_t j = 0; j < k; j++) {
            train.in[train.n_in++] = net->rate[j];
            rate.in[rate.n_in++] = net->rate[j];
        }
        if (trains) {
            if (k > 0)
                train.in[train.n_in++] = row->train[k - 1];
            if (net == row)
                BK_TRY(add_stage(p, row, &train, &row->train[k], err));
            else
                row->train[k] = net->train[k];
            rate.in[rate.n_in++] = row->train[k];
        }
        BK_TRY(add_stage(p, row, &rate, &row->rate[k], err));
    }
    return BK_OK;
}

static int plan_search(struct bk_plan *p, struct bk_plan_row *row, struct bk_error *err)
{
    struct bk_stage s = { .kind = BK_STAGE_SEARCH };
    if (!row->row->part[BK_SLOT_SEARCHER])
        return BK_OK;
    for (int32_t k = 0; row->rate[0] && k < row->row->space.info.n_blocks; k++)
        s.in[s.n_in++] = row->rate[k];
    for (int32_t k = 0; row->train[0] && bk_row_evolves(row->row) && k < row->row->space.info.n_blocks; k++)
        s.in[s.n_in++] = row->train[k];
    return add_stage(p, row, &s, &row->search, err);
}

static int plan_truth(struct bk_plan *p, struct bk_plan_row *row, struct bk_error *err)
{
    struct bk_truth_set *t = row->truth;
    for (size_t i = 0; t->alone && i < t->n; i++) {
        struct bk_stage s = { .kind = BK_STAGE_ALONE, .arch = t->text[i] };
        if (!t->alone[i])
            BK_TRY(add_stage(p, row, &s, &t->alone[i], err));
    }
    return BK_OK;
}

static int plan_retrain(struct bk_plan *p, struct bk_plan_row *row, struct bk_error *err)
{
    struct bk_stage train = { .kind = BK_STAGE_RETRAIN, .arch = row->row->retrain.arch }, test = { .kind = BK_STAGE_TEST };
    if (!row->row->has_retrain)
        return BK_OK;
    if (bk_row_retrains_found(row->row)) {
        train.arch = NULL;
        train.in[train.n_in++] = row->search;
    }
    BK_TRY(add_stage(p, row, &train, &row->retrain, err));
    test.arch = train.arch;
    test.in[test.n_in++] = row->retrain;
    return add_stage(p, row, &test, &row->test, err);
}

static int plan_baselines(struct bk_plan *p, struct bk_plan_row *row, struct bk_error *err)
{
    for (int32_t i = 0; row->truth->n && i < row->row->n_baselines; i++) {
        struct bk_stage s = { .kind = BK_STAGE_SCORE, .truth = row->truth, .baseline = &row->row->baseline[i] };
        if (s.baseline->rater)
            BK_TRY(add_stage(p, row, &s, &row->baseline[i], err));
    }
    return BK_OK;
}

/* ---- truth and data of a row -------------------------------------------------------------------------------------- */

static bool needs_data(const struct bk_row *row)
{
    bool need = row->has_retrain;
    if (!bk_row_rates(row))
        return need;
    need = need || bk_row_trains(row) || row->truth.source == BK_TRUTH_STANDALONE ||
           (bk_row_rater(row)->flags & BK_RATER_NEEDS_DATA);
    for (int i = 0; i < row->n_baselines; i++) {
        const struct bk_rater_iface *b = row->baseline[i].rater ? bk_instance_iface(row->baseline[i].rater) : NULL;
        need = need || (b && (b->flags & BK_RATER_NEEDS_DATA));
    }
    return need;
}

/** Rows with the same truth share it: one set of values, one set of baselines. */
static bool same_truth(const struct bk_plan_row *a, const struct bk_plan_row *b, const struct bk_truth_set *t)
{
    const struct bk_truth_options *x = &a->row->truth, *y = &b->row->truth;
    if (!a->truth || strcmp(a->truth->id, t->id) != 0 || x->source != y->source || !bk__same_part(a->row, b->row, BK_SLOT_SPACE))
        return false;
    if (x->source == BK_TRUTH_FILE)
        return true;
    return x->seed == y->seed && bk__same_options(bk__recipe_table, &a->row->truth_recipe, &b->row->truth_recipe) &&
           a->setting.dtype == b->setting.dtype &&
           strcmp(a->setting.backend, b->setting.backend) == 0 && a->setting.determinism == b->setting.determinism &&
           a->setting.threads == b->setting.threads &&
           strcmp(a->data.full.fingerprint, b->data.full.fingerprint) == 0 &&
           strcmp(a->data.data.test.fingerprint, b->data.data.test.fingerprint) == 0 &&
           a->row->data.augment == b->row->data.augment;
}

static int open_truth(struct bk_plan *p, struct bk_plan_row *row, struct bk_error *err)
{
    struct bk_truth_set *t = NULL;
    BK_TRY(bk__truth_open(row->row, &t, err));
    for (const struct bk_plan_row *r = p->row; r < p->row + p->n_rows; r++) {
        if (r != row && same_truth(r, row, t)) {
            row->truth = r->truth;
            bk__truth_free(t);
            return BK_OK;
        }
    }
    struct bk_truth_set **grown = bk_realloc(p->truth, (p->n_truths + 1) * sizeof *grown);
    if (!grown) {
        bk__truth_free(t);
        return out_of_memory(err);
    }
    p->truth = grown;
    p->truth[p->n_truths++] = t;
    row->truth = t;
    return BK_OK;
}

/** The setting of a row before that asks for the same, else a probe. */
static int choose_setting(struct bk_plan *p, struct bk_plan_row *row, struct bk_error *err)
{
    const struct bk_row *b = row->row;
    const struct bk_instance *bn = b->part[BK_SLOT_BACKEND];
    for (const struct bk_plan_row *r = p->row; r < p->row + p->n_rows; r++) {
        const struct bk_row *a = r->row;
        const struct bk_instance *an = a->part[BK_SLOT_BACKEND];
        struct bk_text x = BK_TEXT_INIT, y = BK_TEXT_INIT;
        bool same = a->top.dtype == b->top.dtype && a->top.determinism == b->top.determinism &&
                    a->top.threads == b->top.threads && !an == !bn && (!an || an->found == bn->found);
        same = same && r != row && r->setting.found;
        if (same && an && an->found->plugin->options) {
            (void)bk_options_canonical(an->found->plugin->options, an->state, true, &x);
            (void)bk_options_canonical(bn->found->plugin->options, bn->state, true, &y);
            same = strcmp(bk_text_get(&x), bk_text_get(&y)) == 0;
        }
        bk_text_release(&x);
        bk_text_release(&y);
        if (same) {
            row->setting = r->setting;
            return BK_OK;
        }
    }
    return bk__setting_choose(p->registry, b, &row->setting, err);
}

/** Open the row's images; when only looking, images that are not imported leave the row pending. */
static int open_data(struct bk_plan *p, struct bk_plan_row *row, struct bk_error *err)
{
    bk__images_look_only(p->look_only);
    int rc = bk__row_data_open(row->row, p->data_cache, &row->data, err);
    bk__images_look_only(false);
    if (rc == BK_ENOTFOUND && p->look_only) {
        row->pending = true;
        return BK_OK;
    }
    if (rc)
        return rc;
    row->has_data = true;
    row->n_classes = row->data.data.info.n_classes;
    return BK_OK;
}

static int plan_ratings(struct bk_plan *p, struct bk_plan_row *row, struct bk_error *err)
{
    BK_TRY(open_truth(p, row, err));
    if (bk_row_rater(row->row)->flags & BK_RATER_BLOCKS) {
        BK_TRY(plan_blocks(p, row, err));
    } else if (row->truth->n) {
        struct bk_stage s = { .kind = BK_STAGE_SCORE, .truth = row->truth };
        BK_TRY(add_stage(p, row, &s, &row->score, err));
    }
    BK_TRY(plan_search(p, row, err));
    BK_TRY(plan_truth(p, row, err));
    return plan_baselines(p, row, err);
}

static int plan_row(struct bk_plan *p, struct bk_plan_row *row, struct bk_error *err)
{
    row->n_classes = (int32_t)row->row->top.n_classes;
    if (!bk_row_rates(row->row) && !row->row->has_retrain)
        return BK_OK;
    if (needs_data(row->row))
        BK_TRY(open_data(p, row, err));
    BK_TRY(choose_setting(p, row, err));
    if (bk_row_rates(row->row))
        BK_TRY(plan_ratings(p, row, err));
    return plan_retrain(p, row, err);
}

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

static int open_rows(struct bk_plan *p, struct bk_error *err)
{
    p->row = bk_zalloc(p->experiment->n_rows * sizeof *p->row);
    if (!p->row)
        return out_of_memory(err);
    for (; p->n_rows < p->experiment->n_rows; p->n_rows++) {
        int rc = bk_row_open(p->registry, &p->experiment->row[p->n_rows], &bk__plain_host, &p->row[p->n_rows].row, err);
        if (rc) {
            if (p->experiment->n_rows > 1)
                bk_context(err, "row '%s'", p->experiment->row[p->n_rows].name);
            return rc;
        }
    }
    return BK_OK;
}

/** Which row's supernet is rated by which; only then can rows be planned. */
static int link_supernets(struct bk_plan *p, struct bk_error *err)
{
    for (size_t i = 0; i < p->n_rows; i++) {
        struct bk_plan_row *row = &p->row[i];
        row->supernet = &p->row[p->experiment->row[i].supernet];
        int rc = bk_row_check_supernet(row->row, row->supernet->row, err);
        if (rc) {
            bk_context(err, "row '%s'", row->row->name);
            return rc;
        }
    }
    return BK_OK;
}

/** Plan the rows that rate their own supernet, or the others, which need those planned. */
static int plan_rows(struct bk_plan *p, bool own, struct bk_error *err)
{
    for (size_t i = 0; i < p->n_rows; i++) {
        struct bk_plan_row *row = &p->row[i];
        int rc = (row->supernet == row) == own ? plan_row(p, row, err) : BK_OK;
        if (rc) {
            if (p->n_rows > 1)
                bk_context(err, "row '%s'", row->row->name);
            return rc;
        }
    }
    return BK_OK;
}

int bk_plan_make(struct bk_registry *r, struct bk_experiment *e, bool look_only, struct bk_plan **out,
                 struct bk_error *err)
{
    struct bk_plan *p = bk_zalloc(sizeof *p);
    struct bk_text cache = BK_TEXT_INIT;
    int rc = p ? bk_store_open(NULL, &p->store, err) : out_of_memory(err);

    if (!rc) {
        p->registry = r;
        p->experiment = e;
        p->look_only = look_only;
        bk_text_addf(&cache, "%s/images", bk_store_root(p->store));
        p->data_cache = bk_text_take(&cache);
        rc = p->data_cache ? open_rows(p, err) : out_of_memory(err);
    }
    if (!rc)
        rc = link_supernets(p, err);
    if (!rc)
        rc = plan_rows(p, true, err);
    if (!rc)
        rc = plan_rows(p, false, err);
    if (rc)
        bk_plan_free(p);
    else
        *out = p;
    return rc;
}

void bk_plan_free(struct bk_plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_stages; i++)
        stage_free(p->stage[i]);
    for (size_t i = 0; i < p->n_truths; i++)
        bk__truth_free(p->truth[i]);
    for (size_t i = 0; i < p->n_rows; i++)
        bk_row_close(p->row[i].row);
    bk_free(p->stage);
    bk_free(p->truth);
    bk_free(p->row);
    bk_free(p->data_cache);
    bk_store_close(p->store);
    bk_free(p);
}

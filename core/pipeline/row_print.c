/*
 * Every option of a row with its value and origin, for `bosskit check` and for the resolved configuration in a run
 * directory. Reading only; binding is row.c's.
 */
#include "pipeline/experiment.h"

#include <stdio.h>
#include <string.h>

static void format_value(const struct bk_opt *o, const void *state, struct bk_text *out)
{
    const char *at = (const char *)state + o->offset;
    char number[32];

    switch (o->type) {
    case BK_OPT_INT:
        bk_text_addf(out, "%lld", (long long)*(const int64_t *)(const void *)at);
        break;
    case BK_OPT_REAL:
        bk_format_f64(*(const double *)(const void *)at, number);
        bk_text_add(out, number);
        if (!strpbrk(number, ".en"))
            bk_text_add(out, ".0");
        break;
    case BK_OPT_BOOL:
        bk_text_add(out, *(const bool *)(const void *)at ? "true" : "false");
        break;
    case BK_OPT_ENUM:
        for (const struct bk_choice *c = o->choices; c->name; c++) {
            if (c->value == *(const int32_t *)(const void *)at)
                bk_text_addf(out, "\"%s\"", c->name);
        }
        break;
    case BK_OPT_INTS: {
        const struct bk_ints *l = (const void *)at;
        bk_text_add(out, "[");
        for (int64_t i = 0; i < l->n; i++)
            bk_text_addf(out, "%s%lld", i ? ", " : "", (long long)l->at[i]);
        bk_text_add(out, "]");
        break;
    }
    default: {
        const char *s = *(const char *const *)(const void *)at;
        bk_text_addf(out, s ? "\"%s\"" : "unset%s", s ? s : "");
    }
    }
}

static int add(struct bk_resolved_list *l, const char *prefix, const char *key, const char *value, const char *origin,
               struct bk_error *err)
{
    struct bk_resolved *grown = bk_realloc(l->at, (l->n + 1) * sizeof *grown);
    struct bk_text full = BK_TEXT_INIT;
    if (!grown)
        return bk_fail(err, BK_ENOMEM, "out of memory for the configuration");
    l->at = grown;
    bk_text_addf(&full, "%s%s%s", prefix, prefix[0] ? "." : "", key);
    struct bk_resolved r = { bk_text_take(&full), bk_strdup(value), bk_strdup(origin) };
    l->at[l->n++] = r;
    return r.key && r.value && r.origin ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for the configuration");
}

static int add_table(struct bk_resolved_list *l, const char *prefix, const struct bk_opt *table, const void *state,
                     const struct bk_value *group, struct bk_error *err)
{
    for (; table && table->name; table++) {
        struct bk_text value = BK_TEXT_INIT;
        const struct bk_value *v = group ? bk_value_find(group, table->name) : NULL;
        format_value(table, state, &value);
        int rc = add(l, prefix, table->name, bk_text_get(&value), v && v->origin ? v->origin : "default", err);
        bk_text_release(&value);
        BK_TRY(rc);
    }
    return BK_OK;
}

static void add_element(struct bk_text *out, const struct bk_value *v)
{
    char number[32];
    if (v->type == BK_VALUE_TEXT)
        bk_text_addf(out, "\"%s\"", v->text);
    else if (v->type == BK_VALUE_INT)
        bk_text_addf(out, "%lld", (long long)v->i);
    else if (v->type == BK_VALUE_REAL) {
        bk_format_f64(v->r, number);
        bk_text_add(out, number);
    } else if (v->type == BK_VALUE_GROUP) {     /* architectures */
        const struct bk_value *name = bk_value_find(v, "name"), *arch = bk_value_find(v, "arch");
        bk_text_addf(out, "{%s%s%s}", name ? name->text : "", name && arch ? ": " : "", arch ? arch->text : "");
    }
}

static int add_list(struct bk_resolved_list *l, const struct bk_row *row, const char *path, struct bk_error *err)
{
    const struct bk_value *v = bk_value_find(row->tree, path);
    struct bk_text value = BK_TEXT_INIT;
    bk_text_add(&value, "(");
    for (size_t i = 0; v && i < v->n; i++) {
        bk_text_add(&value, i ? ", " : "");
        add_element(&value, v->child[i]);
    }
    bk_text_add(&value, ")");
    int rc = add(l, "", path, bk_text_get(&value), v && v->origin ? v->origin : "default", err);
    bk_text_release(&value);
    return rc;
}

static int add_parts(struct bk_resolved_list *l, const struct bk_row *row, struct bk_error *err)
{
    for (int s = 0; s < BK_N_SLOTS; s++) {
        const char *key = bk__slot_key[s];
        const struct bk_instance *i = row->part[s];
        const struct bk_value *group = bk_value_find(row->tree, key);
        struct bk_text name = BK_TEXT_INIT;
        if (!i)
            continue;
        bk_text_addf(&name, "\"%s\"", i->found->plugin->name);
        int rc = add(l, key, "plugin", bk_text_get(&name), bk_value_find(group, "plugin")->origin, err);
        bk_text_release(&name);
        BK_TRY(rc);
        BK_TRY(add_table(l, key, i->found->plugin->options, i->state, group, err));
        if (s == BK_SLOT_DATA)
            BK_TRY(add_table(l, key, bk__data_table, &row->data, group, err));
        if (s == BK_SLOT_TRAINER)
            BK_TRY(add_table(l, key, bk__trainer_table, &row->trainer, group, err));
        if (s == BK_SLOT_RATER) {
            BK_TRY(add_table(l, key, bk__rater_table, &row->rater, group, err));
            BK_TRY(add_list(l, row, "rater.block_weights", err));
        }
    }
    return BK_OK;
}

static int add_retrain(struct bk_resolved_list *l, const struct bk_row *row, struct bk_error *err)
{
    const struct bk_value *group = bk_value_find(row->tree, "retrain"), *published = bk_value_find(group, "published");
    BK_TRY(add_table(l, "retrain", bk__retrain_table, &row->retrain, group, err));
    BK_TRY(add_table(l, "retrain", bk__recipe_table, &row->retrain_recipe, group, err));
    return published ? add_table(l, "retrain.published", bk__published_retrain_table, &row->retrain_published, published,
                                 err)
                     : BK_OK;
}

int bk_row_resolve(const struct bk_row *row, struct bk_resolved_list *out, struct bk_error *err)
{
    struct bk_resolved_list l = { NULL, 0 };
    const struct bk_value *truth = bk_value_find(row->tree, "truth"), *report = bk_value_find(row->tree, "report");
    const struct bk_value *published = report ? bk_value_find(report, "published") : NULL;
    int rc = add_table(&l, "", bk__top_table, &row->top, row->tree, err);

    if (!rc)
        rc = add_parts(&l, row, err);
    if (!rc)
        rc = add_table(&l, "truth", bk__truth_table, &row->truth, truth, err);
    if (!rc && row->truth.source == BK_TRUTH_STANDALONE)
        rc = add_table(&l, "truth", bk__recipe_table, &row->truth_recipe, truth, err);
    if (!rc && row->has_retrain)
        rc = add_retrain(&l, row, err);
    if (!rc)
        rc = add_list(&l, row, "baselines", err);
    if (!rc && row->n_named)
        rc = add_list(&l, row, "architectures", err);
    if (!rc)
        rc = add_table(&l, "report", bk__report_table, &row->report, report, err);
    if (!rc && published)
        rc = add_table(&l, "report.published", bk__published_table, &row->published, published, err);
    if (rc)
        bk_resolved_release(&l);
    else
        *out = l;
    return rc;
}

void bk_resolved_release(struct bk_resolved_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        bk_free(l->at[i].key);
        bk_free(l->at[i].value);
        bk_free(l->at[i].origin);
    }
    bk_free(l->at);
    l->at = NULL;
    l->n = 0;
}

static const struct bk_resolved *find(const struct bk_resolved_list *l, const char *key)
{
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->at[i].key, key) == 0)
            return &l->at[i];
    }
    return NULL;
}

void bk_rows_print(struct bk_row *const *rows, size_t n, struct bk_text *out)
{
    struct bk_resolved_list first = { NULL, 0 }, l;
    for (size_t r = 0; r < n; r++) {
        if (bk_row_resolve(rows[r], &l, NULL))
            break;
        if (n > 1)
            bk_text_addf(out, "%s# row '%s'%s\n", r ? "\n" : "", rows[r]->name,
                         r ? ": what differs from the first row" : "");
        for (size_t i = 0; i < l.n; i++) {
            const struct bk_resolved *same = r ? find(&first, l.at[i].key) : NULL;
            struct bk_text assignment = BK_TEXT_INIT;
            if (same && strcmp(same->value, l.at[i].value) == 0)
                continue;
            bk_text_addf(&assignment, "%s = %s;", l.at[i].key, l.at[i].value);
            bk_text_addf(out, "%-48s  # %s\n", bk_text_get(&assignment), l.at[i].origin);
            bk_text_release(&assignment);
        }
        if (r == 0)
            first = l;
        else
            bk_resolved_release(&l);
    }
    bk_resolved_release(&first);
}

/*
 * Binding of `truth` and `retrain`, whose own options and a recipe's share one group. What a recipe means is recipe.c's.
 */
#include "pipeline/experiment.h"

#include <math.h>
#include <string.h>

#define MAX_KEYS 128

/** Names of a table's options after those already in `keys`, ended by NULL. */
static void add_names(const struct bk_opt *table, const char **keys)
{
    size_t n = 0;
    while (keys[n])
        n++;
    for (; table->name && n + 1 < MAX_KEYS; table++)
        keys[n++] = table->name;
    keys[n] = NULL;
}

/** Two tables over one group. `also` (may be NULL) is a key of neither. */
static int bind_both(struct bk_row *row, const char *where, const struct bk_opt *table, void *state,
                     struct bk_recipe *recipe, const char *also, struct bk_error *err)
{
    const struct bk_value *group = bk_value_find(row->tree, where);
    const char *others[MAX_KEYS] = { also }, *own[MAX_KEYS] = { also };

    if (group && group->type != BK_VALUE_GROUP)
        return bk_fail(err, BK_ECONFIG, "%s: %s: must be a group { ... }", group->origin, where);
    add_names(bk__recipe_table, others);
    add_names(table, own);
    BK_TRY(bk_options_bind(table, state, group, where, others, &row->owned, err));
    BK_TRY(bk_options_bind(bk__recipe_table, recipe, group, where, own, &row->owned, err));
    if (!group)
        return BK_OK;
    int rc = bk__recipe_check(recipe, where, err);
    if (rc)
        bk_context(err, "%s", group->origin);
    return rc;
}

static int bind_published(struct bk_row *row, struct bk_error *err)
{
    struct bk_published_retrain *p = &row->retrain_published;
    const struct bk_value *group = bk_value_find(row->tree, "retrain.published");
    double *const value[] = { &p->top1, &p->top5, &p->params, &p->madds };
    static const char *const name[] = { "top1", "top5", "params", "madds" };

    BK_TRY(bk_options_bind(bk__published_retrain_table, p, group, "retrain.published", NULL, &row->owned, err));
    for (size_t i = 0; i < BK_ARRAY_LEN(name); i++) {
        if (!group || !bk_value_find(group, name[i]))
            *value[i] = NAN;
    }
    return BK_OK;
}

int bk__row_bind_recipes(struct bk_row *row, struct bk_error *err)
{
    row->has_retrain = bk_value_find(row->tree, "retrain") != NULL;
    BK_TRY(bind_both(row, "truth", bk__truth_table, &row->truth, &row->truth_recipe, NULL, err));
    BK_TRY(bind_both(row, "retrain", bk__retrain_table, &row->retrain, &row->retrain_recipe, "published", err));
    return bind_published(row, err);
}

bool bk_row_retrains_found(const struct bk_row *row)
{
    return row->has_retrain && strcmp(row->retrain.arch, "found") == 0;
}

int bk__row_check_retrain(const struct bk_row *row, struct bk_error *err)
{
    const struct bk_value *group = bk_value_find(row->tree, "retrain");
    struct bk_error why = BK_ERROR_INIT;
    struct bk_arch arch;

    if (!row->has_retrain)
        return BK_OK;
    if (row->top.quoted)
        return bk_fail(err, BK_ECONFIG, "%s: retrain: a quoted row computes nothing", group->origin);
    if (!row->part[BK_SLOT_DATA])
        return bk_fail(err, BK_ECONFIG, "%s: data: is missing; retraining needs a dataset", group->origin);
    if (bk_row_retrains_found(row) && (!row->part[BK_SLOT_SEARCHER] || !bk_row_rates(row)))
        return bk_fail(err, BK_ECONFIG, "%s: retrain.arch: is \"found\", which needs a rater and a searcher; or name an "
                                        "architecture", group->origin);
    if (!bk_row_retrains_found(row) && bk_space_parse(&row->space, row->retrain.arch, &arch, &why))
        return bk_fail(err, BK_ECONFIG, "%s: retrain.arch: %.900s", group->origin, why.text);
    return BK_OK;
}

/*
 * Rows that rate the supernet of another row: `supernet = "NAME"`. Such a row takes trainer and sampler of the other one
 * into its configuration, so that it stays complete by itself: a stage's process is given one row alone. Opened rows are
 * checked to have the same of everything else that a training depends on. Which stages follow is plan.c's.
 */
#include "pipeline/experiment.h"

#include <stdio.h>
#include <string.h>

/* ---- names ------------------------------------------------------------------------------------------------ */

int bk__supernet_check_own(const struct bk_row_tree *row, struct bk_error *err)
{
    static const char *const made_by[] = { "trainer", "sampler" };
    if (!row->tree || !bk_value_find(row->tree, "supernet"))
        return BK_OK;
    for (size_t i = 0; i < BK_ARRAY_LEN(made_by); i++) {
        const struct bk_value *v = bk_value_find(row->tree, made_by[i]);
        if (v)
            return bk_fail(err, BK_ECONFIG, "%s: row '%s': %s: a row with 'supernet' trains nothing, it has the %s of the row "
                           "that it names", v->origin, row->name, made_by[i], made_by[i]);
    }
    return BK_OK;
}

static int unknown_row(const struct bk_experiment *e, const struct bk_row_tree *row, const struct bk_value *v,
                       struct bk_error *err)
{
    struct bk_text names = BK_TEXT_INIT;
    for (size_t i = 0; i < e->n_rows; i++) {
        if (&e->row[i] != row)
            bk_text_addf(&names, "%s'%s'", names.len ? ", " : "", e->row[i].name);
    }
    int rc = bk_fail(err, BK_ECONFIG, "%s: row '%s': supernet: there is no row '%s', legal: %s", v->origin, row->name, v->text,
                     names.len ? bk_text_get(&names) : "there is no other row");
    bk_text_release(&names);
    return rc;
}

/** Which row's supernet is rated by e->row[i]? Most often its own. */
static int find_owner(const struct bk_experiment *e, size_t i, size_t *owner, struct bk_error *err)
{
    const struct bk_row_tree *row = &e->row[i];
    const struct bk_value *v = bk_value_find(row->tree, "supernet"), *other;
    size_t j = 0;

    *owner = i;
    if (!v)
        return BK_OK;
    if (v->type != BK_VALUE_TEXT)
        return bk_fail(err, BK_ECONFIG, "%s: row '%s': supernet: must be the name of another row", v->origin, row->name);
    while (j < e->n_rows && strcmp(e->row[j].name, v->text) != 0)
        j++;
    if (j == e->n_rows)
        return unknown_row(e, row, v, err);
    if (j == i)
        return bk_fail(err, BK_ECONFIG, "%s: row '%s': supernet: names the row itself", v->origin, row->name);
    other = bk_value_find(e->row[j].tree, "supernet");
    if (other)
        return bk_fail(err, BK_ECONFIG, "%s: row '%s': supernet: row '%s' has none of its own, it takes that of row '%s'",
                       v->origin, row->name, e->row[j].name, other->type == BK_VALUE_TEXT ? other->text : "?");
    if (!bk_value_find(e->row[j].tree, "trainer"))
        return bk_fail(err, BK_ECONFIG, "%s: row '%s': supernet: row '%s' trains none", v->origin, row->name, e->row[j].name);
    *owner = j;
    return BK_OK;
}

/* ---- trainer and sampler -------------------------------------------------------------------------------------- */

static int take_group(struct bk_value *into, const struct bk_value *from, const char *key, struct bk_error *err)
{
    const struct bk_value *group = bk_value_find(from, key);
    bk_value_free(bk__tree_detach(into, key));
    if (!group)
        return BK_OK;
    struct bk_value *copy = bk_value_dup(group);
    if (!bk__tree_append(into, copy)) {
        bk_value_free(copy);
        return bk_fail(err, BK_ENOMEM, "out of memory for the configuration");
    }
    bk_value_free(bk__tree_detach(copy, "rate_every"));         /* ratings of the other row's rater */
    return BK_OK;
}

int bk__supernets_resolve(struct bk_experiment *e, struct bk_error *err)
{
    for (size_t i = 0; i < e->n_rows; i++)
        BK_TRY(find_owner(e, i, &e->row[i].supernet, err));
    for (size_t i = 0; i < e->n_rows; i++) {
        const struct bk_row_tree *owner = &e->row[e->row[i].supernet];
        if (owner == &e->row[i])
            continue;
        BK_TRY(take_group(e->row[i].tree, owner->tree, "trainer", err));
        BK_TRY(take_group(e->row[i].tree, owner->tree, "sampler", err));
    }
    return BK_OK;
}

/* ---- opened rows -------------------------------------------------------------------------------------------------- */

bool bk__same_options(const struct bk_opt *table, const void *x, const void *y)
{
    struct bk_text s = BK_TEXT_INIT, t = BK_TEXT_INIT;
    bool same = !table || (!bk_options_canonical(table, x, false, &s) && !bk_options_canonical(table, y, false, &t) &&
                           strcmp(bk_text_get(&s), bk_text_get(&t)) == 0);
    bk_text_release(&s);
    bk_text_release(&t);
    return same;
}

bool bk__same_part(const struct bk_row *a, const struct bk_row *b, int slot)
{
    const struct bk_instance *x = a->part[slot], *y = b->part[slot];
    if (!x || !y)
        return x == y;
    return x->found == y->found && bk__same_options(x->found->plugin->options, x->state, y->state);
}

/** What differs between two rows that should share a supernet; NULL: nothing. */
static const char *difference(const struct bk_row *a, const struct bk_row *b)
{
    if (!bk__same_part(a, b, BK_SLOT_SPACE))
        return "space";
    if (!bk__same_part(a, b, BK_SLOT_DATA) || !bk__same_options(bk__data_table, &a->data, &b->data))
        return "data";
    if (!bk__same_part(a, b, BK_SLOT_BACKEND))
        return "backend";
    if (a->top.seed != b->top.seed)
        return "seed";
    if (a->top.dtype != b->top.dtype)
        return "dtype";
    if (a->top.determinism != b->top.determinism)
        return "determinism";
    return a->top.determinism == BK_REPEATABLE && a->top.threads != b->top.threads ? "threads" : NULL;
}

int bk_row_check_supernet(const struct bk_row *row, const struct bk_row *owner, struct bk_error *err)
{
    const struct bk_value *v = bk_value_find(row->tree, "supernet");
    if (row == owner)
        return BK_OK;
    if (!bk_row_rates(row) || !bk_row_trains(row))
        return bk_fail(err, BK_ECONFIG, "%s: supernet: nothing in this row rates a supernet", v->origin);
    if (!bk_row_rates(owner) || !bk_row_trains(owner))
        return bk_fail(err, BK_ECONFIG, "%s: supernet: row '%s' trains none", v->origin, owner->name);
    const char *what = difference(row, owner);
    if (what)
        return bk_fail(err, BK_ECONFIG, "%s: supernet: row '%s' has another %s, which must be the same", v->origin, owner->name,
                       what);
    return BK_OK;
}

/*
 * The grid of an experiment: `grid = ( {name = "a"; ...}, ... )` lists rows, `grid = { seed = [1, 2]; trainer = {
 * epochs = [10, 20]; }; }` is the product of its lists. Both become named overlays; laying them over the file is
 * experiment.c's work.
 */
#include "pipeline/experiment.h"

#include <stdio.h>
#include <string.h>

#define MAX_ROWS 1000
#define MAX_AXES 16

struct axis {
    const char *path[8];        /* keys from the root to the option */
    int depth;
    const struct bk_value *values;
};

static int out_of_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for the grid");
}

static int check_row_keys(const struct bk_value *row, struct bk_error *err)
{
    static const char *const forbidden[] = { "grid", "profiles", "profile", "title" };
    for (size_t i = 0; i < BK_ARRAY_LEN(forbidden); i++) {
        const struct bk_value *v = bk_value_find(row, forbidden[i]);
        if (v)
            return bk_fail(err, BK_ECONFIG, "%s: grid: a row cannot set '%s'", v->origin, forbidden[i]);
    }
    return BK_OK;
}

/** Append a row; takes `tree` and `name` over, also on failure. */
static int add_row(struct bk_row_tree **rows, size_t *n, char *name, struct bk_value *tree, struct bk_error *err)
{
    struct bk_row_tree *grown = name && tree ? bk_realloc(*rows, (*n + 1) * sizeof *grown) : NULL;
    int rc = grown ? BK_OK : out_of_memory(err);

    if (grown)
        *rows = grown;
    for (size_t i = 0; !rc && i < *n; i++) {
        if (strcmp((*rows)[i].name, name) == 0)
            rc = bk_fail(err, BK_ECONFIG, "%s: grid: there are two rows named '%s'", tree->origin, name);
    }
    if (rc) {
        bk_free(name);
        bk_value_free(tree);
        return rc;
    }
    (*rows)[*n].name = name;
    (*rows)[*n].tree = tree;
    ++*n;
    return BK_OK;
}

static int expand_list(const struct bk_value *grid, struct bk_row_tree **rows, size_t *n, struct bk_error *err)
{
    for (size_t i = 0; i < grid->n; i++) {
        const struct bk_value *row = grid->child[i];
        if (row->type != BK_VALUE_GROUP)
            return bk_fail(err, BK_ECONFIG, "%s: grid: row %zu must be a group { ... }", row->origin, i + 1);
        BK_TRY(check_row_keys(row, err));
        struct bk_value *tree = bk_value_dup(row);
        struct bk_value *name = tree ? bk__tree_detach(tree, "name") : NULL;
        char number[32];
        snprintf(number, sizeof number, "row %zu", i + 1);
        if (name && name->type != BK_VALUE_TEXT) {
            int rc = bk_fail(err, BK_ECONFIG, "%s: grid: the name of row %zu must be a text", name->origin, i + 1);
            bk_value_free(tree);
            bk_value_free(name);
            return rc;
        }
        char *label = bk_strdup(name ? name->text : number);
        bk_value_free(name);
        BK_TRY(add_row(rows, n, label, tree, err));
    }
    return BK_OK;
}

/* ---- products --------------------------------------------------------------------------------------- */

static int find_axes(const struct bk_value *group, struct axis *prefix, struct axis *axes, int *n, struct bk_error *err)
{
    for (size_t i = 0; i < group->n; i++) {
        const struct bk_value *v = group->child[i];
        if (prefix->depth == 8)
            return bk_fail(err, BK_ECONFIG, "%s: grid: nested too deeply", v->origin);
        prefix->path[prefix->depth++] = v->name;
        if (v->type == BK_VALUE_GROUP) {
            BK_TRY(find_axes(v, prefix, axes, n, err));
        } else if (v->type == BK_VALUE_LIST && v->n > 0) {
            if (*n == MAX_AXES)
                return bk_fail(err, BK_ECONFIG, "%s: grid: more than %d lists", v->origin, MAX_AXES);
            axes[*n] = *prefix;
            axes[(*n)++].values = v;
        } else {
            return bk_fail(err, BK_ECONFIG, "%s: grid.%s: must be a list of values, such as [1, 2]", v->origin, v->name);
        }
        prefix->depth--;
    }
    return BK_OK;
}

/** Text of an element for the row's name. */
static void add_label(struct bk_text *out, const struct axis *a, const struct bk_value *v)
{
    const struct bk_value *name = v->type == BK_VALUE_GROUP ? bk_value_find(v, "name") : NULL;
    char number[32];

    if (v->type == BK_VALUE_GROUP && !name)
        name = bk_value_find(v, "plugin");
    bk_text_add(out, out->len ? ", " : "");
    for (int i = 0; i < a->depth; i++)
        bk_text_addf(out, "%s%s", i ? "." : "", a->path[i]);
    bk_text_add(out, "=");
    switch (v->type) {
    case BK_VALUE_INT:
        bk_text_addf(out, "%lld", (long long)v->i);
        break;
    case BK_VALUE_REAL:
        bk_format_f64(v->r, number);
        bk_text_add(out, number);
        break;
    case BK_VALUE_BOOL:
        bk_text_add(out, v->b ? "true" : "false");
        break;
    case BK_VALUE_TEXT:
        bk_text_add(out, v->text);
        break;
    case BK_VALUE_GROUP:
        bk_text_add(out, name && name->type == BK_VALUE_TEXT ? name->text : "{}");
        break;
    default:
        for (size_t i = 0; i < v->n; i++) {
            if (v->child[i]->type == BK_VALUE_INT)
                bk_text_addf(out, "%s%lld", i ? "-" : "", (long long)v->child[i]->i);
        }
    }
}

/** Put a copy of `v` at the axis' place below `root`, making groups on the way. */
static int place(struct bk_value *root, const struct axis *a, const struct bk_value *v, struct bk_error *err)
{
    struct bk_value *group = root;
    for (int i = 0; i < a->depth - 1; i++) {
        struct bk_value *next = bk_value_find(group, a->path[i]);
        if (!next) {
            next = bk__tree_new(BK_VALUE_GROUP, a->path[i], a->values);
            if (!bk__tree_append(group, next)) {
                bk_value_free(next);
                return out_of_memory(err);
            }
        }
        group = next;
    }
    struct bk_value *leaf = bk_value_dup(v);
    char *name = bk_strdup(a->path[a->depth - 1]);
    if (!leaf || !name || !bk__tree_append(group, leaf)) {
        bk_value_free(leaf);
        bk_free(name);
        return out_of_memory(err);
    }
    if (leaf->type == BK_VALUE_GROUP)
        bk_value_free(bk__tree_detach(leaf, "name"));
    bk_free(leaf->name);
    leaf->name = name;
    return BK_OK;
}

static int expand_product(const struct bk_value *grid, struct bk_row_tree **rows, size_t *n, struct bk_error *err)
{
    struct axis axes[MAX_AXES] = { 0 }, prefix = { 0 };
    int n_axes = 0;
    size_t total = 1;

    BK_TRY(check_row_keys(grid, err));
    BK_TRY(find_axes(grid, &prefix, axes, &n_axes, err));
    for (int i = 0; i < n_axes && total <= MAX_ROWS; i++)
        total *= axes[i].values->n;
    if (total > MAX_ROWS)
        return bk_fail(err, BK_ECONFIG, "%s: grid: more than %d rows", grid->origin, MAX_ROWS);
    for (size_t r = 0; r < total; r++) {
        struct bk_value *tree = bk__tree_new(BK_VALUE_GROUP, NULL, grid);
        struct bk_text name = BK_TEXT_INIT;
        size_t left = r, block = total;
        int rc = tree ? BK_OK : out_of_memory(err);
        for (int i = 0; !rc && i < n_axes; i++) {       /* the first list varies slowest */
            block /= axes[i].values->n;
            const struct bk_value *v = axes[i].values->child[left / block];
            left %= block;
            add_label(&name, &axes[i], v);
            rc = place(tree, &axes[i], v, err);
        }
        if (rc) {
            bk_value_free(tree);
            bk_text_release(&name);
            return rc;
        }
        BK_TRY(add_row(rows, n, bk_text_take(&name), tree, err));
    }
    return BK_OK;
}

int bk__grid_expand(const struct bk_value *grid, const char *name, struct bk_row_tree **rows, size_t *n,
                    struct bk_error *err)
{
    *rows = NULL;
    *n = 0;
    if (!grid || grid->n == 0)
        return add_row(rows, n, bk_strdup(name), bk__tree_new(BK_VALUE_GROUP, NULL, grid), err);
    if (grid->type == BK_VALUE_LIST)
        return expand_list(grid, rows, n, err);
    if (grid->type == BK_VALUE_GROUP)
        return expand_product(grid, rows, n, err);
    return bk_fail(err, BK_ECONFIG, "%s: grid: must be a list of rows ( {...}, {...} ) or a group of lists", grid->origin);
}

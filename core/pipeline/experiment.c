/*
 * From an experiment file to the configuration trees of its rows: profile, grid and command line laid over the file.
 * It knows which keys name plugins (for the rule that another plugin starts afresh) but binds nothing.
 */
#include "pipeline/experiment.h"

#include <stdio.h>
#include <string.h>

/* ---- values made by hand ---------------------------------------------------------------------------- */

struct bk_value *bk__tree_new(enum bk_value_type type, const char *name, const struct bk_value *like)
{
    struct bk_value *v = bk_zalloc(sizeof *v);
    if (!v)
        return NULL;
    v->type = type;
    v->name = name ? bk_strdup(name) : NULL;
    v->origin = bk_strdup(like && like->origin ? like->origin : "command line");
    v->file_dir = like && like->file_dir ? bk_strdup(like->file_dir) : NULL;
    if ((name && !v->name) || !v->origin) {
        bk_value_free(v);
        return NULL;
    }
    return v;
}

bool bk__tree_append(struct bk_value *group, struct bk_value *child)
{
    struct bk_value **grown = child ? bk_realloc(group->child, (group->n + 1) * sizeof *grown) : NULL;
    if (!grown)
        return false;
    group->child = grown;
    group->child[group->n++] = child;
    return true;
}

struct bk_value *bk__tree_detach(struct bk_value *group, const char *name)
{
    for (size_t i = 0; i < group->n; i++) {
        struct bk_value *v = group->child[i];
        if (!v->name || strcmp(v->name, name) != 0)
            continue;
        memmove(&group->child[i], &group->child[i + 1], (group->n - i - 1) * sizeof *group->child);
        group->n--;
        return v;
    }
    return NULL;
}

/* ---- overlays ------------------------------------------------------------------------------------------ */

uint32_t bk__part_kind(const char *key)
{
    for (int i = 0; i < BK_N_SLOTS; i++) {
        if (strcmp(key, bk__slot_key[i]) == 0)
            return bk__slot_kind[i];
    }
    return BK_KIND_INVALID;
}

/** `rater = "params"` is short for `rater = { plugin = "params"; }`. */
static int expand_short_parts(struct bk_value *root, struct bk_error *err)
{
    for (size_t i = 0; i < root->n; i++) {
        struct bk_value *v = root->child[i];
        if (v->type != BK_VALUE_TEXT || !v->name || !bk__part_kind(v->name))
            continue;
        struct bk_value *group = bk__tree_new(BK_VALUE_GROUP, v->name, v);
        char *key = bk_strdup("plugin");
        if (!group || !key || !bk__tree_append(group, v)) {
            bk_value_free(group);
            bk_free(key);
            return bk_fail(err, BK_ENOMEM, "out of memory for the configuration");
        }
        bk_free(v->name);
        v->name = key;
        root->child[i] = group;
    }
    return BK_OK;
}

int bk__overlay(struct bk_value *into, const struct bk_value *from, const char *label, struct bk_error *err)
{
    struct bk_value *copy = bk_value_dup(from);
    int rc = copy ? expand_short_parts(copy, err) : bk_fail(err, BK_ENOMEM, "out of memory for the configuration");

    if (!rc)
        rc = expand_short_parts(into, err);
    if (!rc)
        rc = bk_value_merge(into, copy, label, err);
    bk_value_free(copy);
    return rc;
}

/* ---- profile and command line ----------------------------------------------------------------------------- */

static int read_overrides(const char *const *overrides, size_t n, struct bk_value **out, struct bk_error *err)
{
    struct bk_value *root = bk__tree_new(BK_VALUE_GROUP, NULL, NULL);
    if (!root)
        return bk_fail(err, BK_ENOMEM, "out of memory for the configuration");
    for (size_t i = 0; i < n; i++) {
        int rc = bk_value_override(root, overrides[i], err);
        if (rc) {
            bk_value_free(root);
            return rc;
        }
    }
    if (bk_value_find(root, "grid") || bk_value_find(root, "profiles")) {
        bk_value_free(root);
        return bk_fail(err, BK_ECONFIG, "command line: grid and profiles cannot be overridden; change the options inside them");
    }
    *out = root;
    return BK_OK;
}

static int unknown_profile(const struct bk_value *profiles, const struct bk_value *wanted, struct bk_error *err)
{
    struct bk_text names = BK_TEXT_INIT;
    for (size_t i = 0; profiles && i < profiles->n; i++)
        bk_text_addf(&names, "%s%s", i ? ", " : "", profiles->child[i]->name);
    int rc = bk_fail(err, BK_ECONFIG, "%s: profile: '%s' is not a profile of this experiment, legal: %s", wanted->origin,
                     wanted->type == BK_VALUE_TEXT ? wanted->text : "(not a text)",
                     names.len ? bk_text_get(&names) : "none is declared");
    bk_text_release(&names);
    return rc;
}

/** Lay the chosen profile over `root`. */
static int apply_profile(struct bk_value *root, const struct bk_value *profiles, const struct bk_value *overrides,
                         struct bk_error *err)
{
    const struct bk_value *wanted = bk_value_find(overrides, "profile"), *profile = NULL;
    char label[128];

    if (!wanted)
        wanted = bk_value_find(root, "profile");
    if (profiles && profiles->type != BK_VALUE_GROUP)
        return bk_fail(err, BK_ECONFIG, "%s: profiles: must be a group of groups", profiles->origin);
    if (!wanted)
        return BK_OK;
    if (wanted->type == BK_VALUE_TEXT && profiles)
        profile = bk_value_find(profiles, wanted->text);
    if (!profile || profile->type != BK_VALUE_GROUP)
        return unknown_profile(profiles, wanted, err);
    if (bk_value_find(profile, "profiles") || bk_value_find(profile, "profile"))
        return bk_fail(err, BK_ECONFIG, "%s: profile '%s' cannot set profiles or profile", profile->origin, wanted->text);
    snprintf(label, sizeof label, "profile '%.80s'", wanted->text);
    return bk__overlay(root, profile, label, err);
}

static void drop(struct bk_value *root, const char *key)
{
    bk_value_free(bk__tree_detach(root, key));
}

/** tree of a row = base, row, command line. */
static int finish_row(struct bk_row_tree *row, const struct bk_value *base, const struct bk_value *overrides,
                      struct bk_error *err)
{
    struct bk_value *tree = bk_value_dup(base);
    char label[160];
    int rc = tree ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for the configuration");

    snprintf(label, sizeof label, "row '%.100s'", row->name);
    if (!rc)
        rc = bk__supernet_check_own(row, err);
    if (!rc && row->tree)
        rc = bk__overlay(tree, row->tree, label, err);
    if (!rc)
        rc = bk__overlay(tree, overrides, NULL, err);
    if (rc) {
        bk_value_free(tree);
        return rc;
    }
    drop(tree, "profile");
    bk_value_free(row->tree);
    row->tree = tree;
    return BK_OK;
}

/** "a/b/nats.cfg" -> "nats" */
static char *name_of_file(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = bk_strdup(slash ? slash + 1 : path), *dot = name ? strrchr(name, '.') : NULL;
    if (dot && dot != name)
        *dot = 0;
    return name;
}

static char *text_or(const struct bk_value *a, const struct bk_value *b, const char *key, char *otherwise)
{
    const struct bk_value *v = bk_value_find(a, key);
    if (!v)
        v = bk_value_find(b, key);
    if (!v || v->type != BK_VALUE_TEXT)
        return otherwise;
    bk_free(otherwise);
    return bk_strdup(v->text);
}

static int make_rows(struct bk_experiment *e, struct bk_value *root, const struct bk_value *overrides,
                     struct bk_error *err)
{
    struct bk_value *profiles = bk__tree_detach(root, "profiles"), *grid = NULL;
    int rc = apply_profile(root, profiles, overrides, err);

    if (!rc) {
        e->name = text_or(overrides, root, "name", name_of_file(e->path));
        e->title = text_or(overrides, root, "title", bk_strdup(""));
        grid = bk__tree_detach(root, "grid");
        rc = e->name && e->title ? bk__grid_expand(grid, e->name, &e->row, &e->n_rows, err)
                                 : bk_fail(err, BK_ENOMEM, "out of memory for the configuration");
    }
    for (size_t i = 0; !rc && i < e->n_rows; i++)
        rc = finish_row(&e->row[i], root, overrides, err);
    if (!rc)
        rc = bk__supernets_resolve(e, err);
    bk_value_free(profiles);
    bk_value_free(grid);
    return rc;
}

int bk_experiment_read(const char *path, const char *const *overrides, size_t n, struct bk_experiment **out,
                       struct bk_error *err)
{
    struct bk_value *root = NULL, *over = NULL;
    struct bk_experiment *e = bk_zalloc(sizeof *e);
    int rc = e && (e->path = bk_strdup(path)) ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for the configuration");

    if (!rc)
        rc = bk_value_read(path, &root, err);
    if (!rc)
        rc = read_overrides(overrides, n, &over, err);
    if (!rc)
        rc = make_rows(e, root, over, err);
    bk_value_free(root);
    bk_value_free(over);
    if (rc)
        bk_experiment_free(e);
    else
        *out = e;
    return rc;
}

void bk_experiment_free(struct bk_experiment *e)
{
    if (!e)
        return;
    for (size_t i = 0; i < e->n_rows; i++) {
        bk_free(e->row[i].name);
        bk_value_free(e->row[i].tree);
    }
    bk_free(e->row);
    bk_free(e->path);
    bk_free(e->name);
    bk_free(e->title);
    bk_free(e);
}

/**
 * config/value.c: the tree of values: life cycle, lookup, merging and printing.
 *
 * A value owns its name, origin, text and children. Groups keep their children in order of first appearance, so that
 * a merged file prints in the order in which its author wrote it. Parsing is in config_read.c.
 */
#include "config/value.h"

#include <string.h>

static char *dup_or_null(const char *s, bool *failed)
{
    if (!s)
        return NULL;
    char *copy = bk_strdup(s);
    if (!copy)
        *failed = true;
    return copy;
}

struct bk_value *bk__value_new(enum bk_value_type type, const char *name, const char *origin,
                               const char *file_dir)
{
    bool failed = false;
    struct bk_value *v = bk_zalloc(sizeof *v);
    if (!v)
        return NULL;
    v->type = type;
    v->name = dup_or_null(name, &failed);
    v->origin = dup_or_null(origin ? origin : "", &failed);
    v->file_dir = dup_or_null(file_dir, &failed);
    if (failed) {
        bk_value_free(v);
        return NULL;
    }
    return v;
}

void bk_value_free(struct bk_value *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->n; i++)
        bk_value_free(v->child[i]);
    bk_free(v->child);
    bk_free(v->name);
    bk_free(v->origin);
    bk_free(v->file_dir);
    bk_free(v->text);
    bk_free(v);
}

int bk__value_append(struct bk_value *parent, struct bk_value *child, struct bk_error *err)
{
    bool full = parent->n == 0 || (parent->n >= 4 && (parent->n & (parent->n - 1)) == 0);
    if (full) {                         /* capacity is 4, then the next power of two */
        size_t cap = parent->n ? parent->n * 2 : 4;
        struct bk_value **grown = bk_realloc(parent->child, cap * sizeof *grown);
        if (!grown) {
            bk_value_free(child);
            return bk_fail(err, BK_ENOMEM, "out of memory for a configuration");
        }
        parent->child = grown;
    }
    parent->child[parent->n++] = child;
    return BK_OK;
}

struct bk_value *bk_value_dup(const struct bk_value *v)
{
    bool failed = false;
    struct bk_value *copy = bk__value_new(v->type, v->name, v->origin, v->file_dir);
    if (!copy)
        return NULL;
    copy->i = v->i;
    copy->r = v->r;
    copy->b = v->b;
    copy->text = dup_or_null(v->text, &failed);
    for (size_t i = 0; i < v->n && !failed; i++) {
        struct bk_value *child = bk_value_dup(v->child[i]);
        failed = !child || bk__value_append(copy, child, NULL) != BK_OK;
    }
    if (failed) {
        bk_value_free(copy);
        return NULL;
    }
    return copy;
}

struct bk_value *bk__value_child(const struct bk_value *group, const char *name, size_t n)
{
    if (group->type != BK_VALUE_GROUP)
        return NULL;
    for (size_t i = 0; i < group->n; i++) {
        const char *have = group->child[i]->name;
        if (have && strlen(have) == n && memcmp(have, name, n) == 0)
            return group->child[i];
    }
    return NULL;
}

struct bk_value *bk_value_find(const struct bk_value *group, const char *path)
{
    while (group) {
        size_t n = strcspn(path, ".");
        struct bk_value *child = bk__value_child(group, path, n);
        if (!path[n])
            return child;
        group = child;
        path += n + 1;
    }
    return NULL;
}

int bk__value_put(struct bk_value *group, struct bk_value *child, struct bk_error *err)
{
    for (size_t i = 0; i < group->n; i++) {
        if (strcmp(group->child[i]->name, child->name) == 0) {
            bk_value_free(group->child[i]);
            group->child[i] = child;
            return BK_OK;
        }
    }
    return bk__value_append(group, child, err);
}

/* "profile 'small' (configs/a.cfg:3)" for every value of the tree. */
static int label_origins(struct bk_value *v, const char *label)
{
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%s (%s)", label, v->origin);
    char *origin = bk_text_take(&t);
    if (!origin)
        return BK_ENOMEM;
    bk_free(v->origin);
    v->origin = origin;
    for (size_t i = 0; i < v->n; i++)
        BK_TRY(label_origins(v->child[i], label));
    return BK_OK;
}

/** A group that names another plugin is another group: the options of the old one mean nothing to it. */
static bool names_other_plugin(const struct bk_value *have, const struct bk_value *from)
{
    const struct bk_value *a = bk__value_child(have, "plugin", 6), *b = bk__value_child(from, "plugin", 6);
    return a && b && a->type == BK_VALUE_TEXT && b->type == BK_VALUE_TEXT && strcmp(a->text, b->text) != 0;
}

static int merge_child(struct bk_value *into, const struct bk_value *from, const char *label,
                       struct bk_error *err)
{
    struct bk_value *have = bk__value_child(into, from->name, strlen(from->name));
    if (have && have->type == BK_VALUE_GROUP && from->type == BK_VALUE_GROUP && !names_other_plugin(have, from))
        return bk_value_merge(have, from, label, err);
    struct bk_value *copy = bk_value_dup(from);
    if (!copy || (label && label_origins(copy, label))) {
        bk_value_free(copy);
        return bk_fail(err, BK_ENOMEM, "out of memory for a configuration");
    }
    return bk__value_put(into, copy, err);
}

int bk_value_merge(struct bk_value *into, const struct bk_value *from, const char *label,
                   struct bk_error *err)
{
    if (into->type != BK_VALUE_GROUP || from->type != BK_VALUE_GROUP)
        return bk_fail(err, BK_EINVAL, "only groups can be merged (%s)", from->origin);
    for (size_t i = 0; i < from->n; i++)
        BK_TRY(merge_child(into, from->child[i], label, err));
    return BK_OK;
}

/* ---- printing --------------------------------------------------------------------------------- */

void bk__value_quote(const char *s, struct bk_text *out)
{
    bk_text_add(out, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            bk_text_addf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            bk_text_addf(out, "\\x%02x", c);
        else
            bk_text_addn(out, s, 1);
    }
    bk_text_add(out, "\"");
}

static void print_real(double r, struct bk_text *out)
{
    char buf[32];
    bk_format_f64(r, buf);
    bk_text_add(out, buf);
    if (!strpbrk(buf, ".en"))           /* "3" would read back as an integer */
        bk_text_add(out, ".0");
}

/* Arrays [ ] hold scalars of one type, lists ( ) anything. */
static bool is_array(const struct bk_value *v)
{
    for (size_t i = 0; i < v->n; i++) {
        enum bk_value_type t = v->child[i]->type;
        if (t == BK_VALUE_GROUP || t == BK_VALUE_LIST || t != v->child[0]->type)
            return false;
    }
    return true;
}

static bool has_group(const struct bk_value *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->child[i]->type == BK_VALUE_GROUP)
            return true;
    return false;
}

static void print_value(const struct bk_value *v, int indent, struct bk_text *out);

static void print_members(const struct bk_value *group, int indent, struct bk_text *out)
{
    for (size_t i = 0; i < group->n; i++) {
        const struct bk_value *v = group->child[i];
        bk_text_addf(out, "%*s%s = ", indent, "", v->name);
        print_value(v, indent, out);
        bk_text_add(out, ";");
        if (v->type != BK_VALUE_GROUP && v->origin[0])
            bk_text_addf(out, "  # %s", v->origin);
        bk_text_add(out, "\n");
    }
}

static void print_list(const struct bk_value *v, int indent, struct bk_text *out)
{
    bool array = is_array(v), lines = has_group(v);
    bk_text_add(out, array ? "[" : "(");
    for (size_t i = 0; i < v->n; i++) {
        if (i)
            bk_text_add(out, lines ? "," : ", ");
        if (lines)
            bk_text_addf(out, "\n%*s", indent + 4, "");
        print_value(v->child[i], indent + 4, out);
    }
    if (lines)
        bk_text_addf(out, "\n%*s", indent, "");
    bk_text_add(out, array ? "]" : ")");
}

static void print_value(const struct bk_value *v, int indent, struct bk_text *out)
{
    switch (v->type) {
    case BK_VALUE_GROUP:
        bk_text_add(out, "{\n");
        print_members(v, indent + 4, out);
        bk_text_addf(out, "%*s}", indent, "");
        break;
    case BK_VALUE_LIST:
        print_list(v, indent, out);
        break;
    case BK_VALUE_INT:
        bk_text_addf(out, "%lld", (long long)v->i);
        break;
    case BK_VALUE_REAL:
        print_real(v->r, out);
        break;
    case BK_VALUE_BOOL:
        bk_text_add(out, v->b ? "true" : "false");
        break;
    case BK_VALUE_TEXT:
        bk__value_quote(v->text ? v->text : "", out);
        break;
    case BK_VALUE_INVALID:
        break;
    }
}

int bk_value_print(const struct bk_value *v, struct bk_text *out)
{
    if (v->type == BK_VALUE_GROUP)
        print_members(v, 0, out);
    else
        print_value(v, 0, out);
    return out->failed ? BK_ENOMEM : BK_OK;
}

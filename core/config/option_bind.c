/**
 * config/option_bind.c: values of a group into the fields of a state, by an option table.
 *
 * Defaults first, then every key of the group. Nothing converts quietly: an integer may fill a real when it is exact,
 * a real never fills an integer. Memory behind strings and lists belongs to a chain that the caller frees. The table
 * itself is trusted here; plugin/option_check.c has looked at it.
 */
#include "config/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bk_owned {
    struct bk_owned *next;
    max_align_t data[];
};

/* What an error sentence needs to know. */
struct binding {
    const char *where;
    const struct bk_value *v;
    const struct bk_opt *opt;
    void *field;
    struct bk_owned **owned;
    struct bk_error *err;
};

void bk_owned_free(struct bk_owned *owned)
{
    while (owned) {
        struct bk_owned *next = owned->next;
        bk_free(owned);
        owned = next;
    }
}

static void *own(struct bk_owned **chain, size_t nbytes)
{
    struct bk_owned *o = bk_alloc(sizeof *o + nbytes);
    if (!o)
        return NULL;
    o->next = *chain;
    *chain = o;
    return o->data;
}

static int no_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for options");
}

/* ---- sentences ------------------------------------------------------------------------------------ */

static void add_number(double v, bool real, struct bk_text *out)
{
    char buf[32];
    if (!real && v > -9.2e18 && v < 9.2e18) {
        bk_text_addf(out, "%lld", (long long)v);
        return;
    }
    bk_format_f64(v, buf);
    bk_text_add(out, buf);
}

void bk__option_legal(const struct bk_opt *o, struct bk_text *out)
{
    switch (o->type) {
    case BK_OPT_INT:
    case BK_OPT_REAL:
    case BK_OPT_INTS:
        add_number(o->min, o->type == BK_OPT_REAL, out);
        bk_text_add(out, "..");
        add_number(o->max, o->type == BK_OPT_REAL, out);
        if (o->unit && o->unit[0])
            bk_text_addf(out, " %s", o->unit);
        break;
    case BK_OPT_BOOL:
        bk_text_add(out, "true | false");
        break;
    case BK_OPT_ENUM:
        for (const struct bk_choice *c = o->choices; c->name; c++)
            bk_text_addf(out, "%s%s", c == o->choices ? "" : " | ", c->name);
        break;
    default:
        break;
    }
}

const char *bk__option_type_name(uint32_t type)
{
    static const char *const names[] = { "invalid", "integer", "real", "boolean",
                                         "choice",  "text",    "path", "integers" };
    return type < BK_ARRAY_LEN(names) ? names[type] : names[0];
}

static const char *wanted(uint32_t type)
{
    static const char *const words[] = {
        "nothing",    "an integer",           "a real", "true or false",
        "one choice", "text in double quotes", "a path", "a list of integers",
    };
    return words[type < BK_ARRAY_LEN(words) ? type : 0];
}

static void add_found(const struct bk_value *v, struct bk_text *out)
{
    static const char *const nouns[] = { "",        "group", "list", "integer",
                                         "real", "boolean", "text" };
    if (v->type == BK_VALUE_GROUP) {
        bk_text_add(out, "a group");
        return;
    }
    bk_text_addf(out, "%s ", nouns[v->type]);
    bk_value_print(v, out);
}

static int refuse(const struct binding *b, const char *what)
{
    struct bk_text legal = BK_TEXT_INIT;
    bk__option_legal(b->opt, &legal);
    const char *sep = legal.len ? ", legal: " : "";
    bk_fail(b->err, BK_ECONFIG, "%s: %s.%s: %s%s%s", b->v->origin, b->where, b->opt->name, what,
            sep, bk_text_get(&legal));
    bk_text_release(&legal);
    return BK_ECONFIG;
}

static int refuse_type(const struct binding *b, const struct bk_value *v)
{
    struct bk_text what = BK_TEXT_INIT;
    add_found(v, &what);
    bk_text_addf(&what, " where %s is wanted", wanted(b->opt->type));
    int rc = refuse(b, bk_text_get(&what));
    bk_text_release(&what);
    return rc;
}

static int refuse_range(const struct binding *b, const struct bk_value *v)
{
    struct bk_text what = BK_TEXT_INIT;
    bk_value_print(v, &what);
    bk_text_add(&what, " is out of range");
    int rc = refuse(b, bk_text_get(&what));
    bk_text_release(&what);
    return rc;
}

static int refuse_choice(const struct binding *b, const char *word)
{
    const char *names[256] = { NULL }, *near;
    size_t n = 0;
    for (const struct bk_choice *c = b->opt->choices; c->name && n < BK_ARRAY_LEN(names); c++)
        names[n++] = c->name;
    near = bk_nearest_word(word, names, n);
    struct bk_text what = BK_TEXT_INIT;
    bk_text_addf(&what, "'%s' is not a choice", word);
    if (near)
        bk_text_addf(&what, " (nearest: '%s')", near);
    int rc = refuse(b, bk_text_get(&what));
    bk_text_release(&what);
    return rc;
}

static int refuse_unknown(const struct bk_opt *table, const struct bk_value *v, const char *where,
                          const char *const *also, struct bk_error *err)
{
    const char *names[512] = { NULL }, *near;
    size_t n = 0;
    for (const struct bk_opt *o = table; o && o->name && n < BK_ARRAY_LEN(names); o++)
        names[n++] = o->name;
    for (; also && *also && n < BK_ARRAY_LEN(names); also++)
        names[n++] = *also;
    near = bk_nearest_word(v->name, names, n);
    struct bk_text legal = BK_TEXT_INIT;
    for (size_t i = 0; i < n; i++)
        bk_text_addf(&legal, "%s%s", i ? ", " : "", names[i]);
    bk_fail(err, BK_ECONFIG, "%s: %s.%s: unknown option%s%s%s, legal: %s", v->origin, where,
            v->name, near ? " (nearest: '" : "", near ? near : "", near ? "')" : "",
            n ? bk_text_get(&legal) : "none");
    bk_text_release(&legal);
    return BK_ECONFIG;
}

/* ---- one value ------------------------------------------------------------------------------------- */

static bool in_bounds(const struct bk_opt *o, int64_t i)
{
    bool above = o->min < -9.2e18 || (o->min < 9.2e18 && i >= (int64_t)o->min);
    bool below = o->max > 9.2e18 || (o->max > -9.2e18 && i <= (int64_t)o->max);
    return above && below;
}

static int bind_int(const struct binding *b)
{
    if (b->v->type != BK_VALUE_INT)
        return refuse_type(b, b->v);
    if (!in_bounds(b->opt, b->v->i))
        return refuse_range(b, b->v);
    *(int64_t *)b->field = b->v->i;
    return BK_OK;
}

static int bind_real(const struct binding *b)
{
    double r = b->v->r;
    if (b->v->type == BK_VALUE_INT) {
        if (b->v->i > INT64_C(1) << 53 || b->v->i < -(INT64_C(1) << 53))
            return refuse(b, "integer is not exact as a real");
        r = (double)b->v->i;
    } else if (b->v->type != BK_VALUE_REAL) {
        return refuse_type(b, b->v);
    }
    if (!(r >= b->opt->min && r <= b->opt->max))
        return refuse_range(b, b->v);
    *(double *)b->field = r;
    return BK_OK;
}

static int bind_choice(const struct binding *b)
{
    if (!b->v->text)
        return refuse_type(b, b->v);
    for (const struct bk_choice *c = b->opt->choices; c->name; c++) {
        if (strcmp(c->name, b->v->text) == 0) {
            *(int32_t *)b->field = c->value;
            return BK_OK;
        }
    }
    return refuse_choice(b, b->v->text);
}

static int bind_text(const struct binding *b)
{
    const struct bk_value *v = b->v;
    if (!v->text)
        return refuse_type(b, v);
    bool relative = b->opt->type == BK_OPT_PATH && v->file_dir && v->text[0] && v->text[0] != '/';
    size_t n = strlen(v->text) + (relative ? strlen(v->file_dir) + 1 : 0) + 1;
    char *copy = own(b->owned, n);
    if (!copy)
        return no_memory(b->err);
    snprintf(copy, n, "%s%s%s", relative ? v->file_dir : "", relative ? "/" : "", v->text);
    *(const char **)b->field = copy;
    return BK_OK;
}

static int bind_ints(const struct binding *b)
{
    const struct bk_value *v = b->v;
    if (v->type != BK_VALUE_LIST)
        return refuse_type(b, v);
    int64_t *at = own(b->owned, (v->n + 1) * sizeof *at);
    if (!at)
        return no_memory(b->err);
    for (size_t i = 0; i < v->n; i++) {
        if (v->child[i]->type != BK_VALUE_INT)
            return refuse_type(b, v->child[i]);
        if (!in_bounds(b->opt, v->child[i]->i))
            return refuse_range(b, v->child[i]);
        at[i] = v->child[i]->i;
    }
    *(struct bk_ints *)b->field = (struct bk_ints){ at, (int64_t)v->n };
    return BK_OK;
}

static int bind_value(const struct binding *b)
{
    switch (b->opt->type) {
    case BK_OPT_INT:
        return bind_int(b);
    case BK_OPT_REAL:
        return bind_real(b);
    case BK_OPT_BOOL:
        if (b->v->type != BK_VALUE_BOOL)
            return refuse_type(b, b->v);
        *(bool *)b->field = b->v->b;
        return BK_OK;
    case BK_OPT_ENUM:
        return bind_choice(b);
    case BK_OPT_TEXT:
    case BK_OPT_PATH:
        return bind_text(b);
    case BK_OPT_INTS:
        return bind_ints(b);
    default:
        return bk_fail(b->err, BK_EINVAL, "option '%s' has an unknown type", b->opt->name);
    }
}

/* ---- defaults --------------------------------------------------------------------------------------- */

int bk__ints_parse(const char *text, int64_t *out, size_t cap, size_t *n)
{
    char word[32];
    *n = 0;
    if (!text || !text[0])
        return BK_OK;
    for (;;) {
        size_t len = strcspn(text, ",");
        if (len >= sizeof word || *n >= cap)
            return BK_EINVAL;
        memcpy(word, text, len);
        word[len] = '\0';
        if (!bk_parse_i64(word, &out[*n]))
            return BK_EINVAL;
        ++*n;
        if (!text[len])
            return BK_OK;
        text += len + 1;
    }
}

static int default_ints(const struct bk_opt *o, void *field, struct bk_owned **owned,
                        struct bk_error *err)
{
    size_t cap = o->def_text ? strlen(o->def_text) / 2 + 1 : 0, n;
    int64_t *at = own(owned, (cap + 1) * sizeof *at);
    if (!at)
        return no_memory(err);
    if (bk__ints_parse(o->def_text, at, cap, &n))
        return bk_fail(err, BK_EINVAL, "option '%s': default '%s' is no list of integers", o->name,
                       o->def_text);
    *(struct bk_ints *)field = (struct bk_ints){ at, (int64_t)n };
    return BK_OK;
}

static int set_default(const struct bk_opt *o, void *field, struct bk_owned **owned,
                       struct bk_error *err)
{
    switch (o->type) {
    case BK_OPT_INT:
        *(int64_t *)field = (int64_t)o->def;
        return BK_OK;
    case BK_OPT_REAL:
        *(double *)field = o->def;
        return BK_OK;
    case BK_OPT_BOOL:
        *(bool *)field = o->def != 0;
        return BK_OK;
    case BK_OPT_ENUM:
        *(int32_t *)field = (int32_t)o->def;
        return BK_OK;
    case BK_OPT_TEXT:
    case BK_OPT_PATH:
        *(const char **)field = o->def_text;
        return BK_OK;
    case BK_OPT_INTS:
        return default_ints(o, field, owned, err);
    default:
        return bk_fail(err, BK_EINVAL, "option '%s' has an unknown type", o->name);
    }
}

/* ---- the group ---------------------------------------------------------------------------------------- */

static bool is_listed(const char *name, const char *const *list)
{
    for (; list && *list; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

static int bind_key(const struct bk_opt *table, void *state, const struct bk_value *v,
                    const char *where, const char *const *also, struct bk_owned **owned,
                    struct bk_error *err)
{
    for (const struct bk_opt *o = table; o && o->name; o++) {
        if (strcmp(o->name, v->name) == 0) {
            struct binding b = { where, v, o, (char *)state + o->offset, owned, err };
            return bind_value(&b);
        }
    }
    if (is_listed(v->name, also))
        return BK_OK;
    return refuse_unknown(table, v, where, also, err);
}

int bk_options_bind(const struct bk_opt *table, void *state, const struct bk_value *group,
                    const char *where, const char *const *also, struct bk_owned **owner,
                    struct bk_error *err)
{
    struct bk_owned *owned = NULL;
    int rc = BK_OK;

    if (group && group->type != BK_VALUE_GROUP)
        return bk_fail(err, BK_ECONFIG, "%s: %s: a group is wanted, legal: %s = { ... }",
                       group->origin, where, where);
    for (const struct bk_opt *o = table; o && o->name && rc == BK_OK; o++)
        rc = set_default(o, (char *)state + o->offset, &owned, err);
    for (size_t i = 0; group && i < group->n && rc == BK_OK; i++)
        rc = bind_key(table, state, group->child[i], where, also, &owned, err);
    if (rc) {
        bk_owned_free(owned);
        return rc;
    }
    if (owned) {                        /* in front of what the caller has already */
        struct bk_owned *last = owned;
        while (last->next)
            last = last->next;
        last->next = *owner;
        *owner = owned;
    }
    return BK_OK;
}

/* ---- canonical text ------------------------------------------------------------------------------------- */

/* %a, with the point of the C locale whatever the process has set; no negative zero. */
static void add_hex(double v, struct bk_text *out)
{
    char buf[48];
    snprintf(buf, sizeof buf, "%a", v == 0 ? 0.0 : v);
    for (char *c = buf; *c; c++)
        if (*c == ',')
            *c = '.';
    bk_text_add(out, buf);
}

static void add_choice(const struct bk_opt *o, int32_t value, struct bk_text *out)
{
    for (const struct bk_choice *c = o->choices; c->name; c++) {
        if (c->value == value) {
            bk_text_add(out, c->name);
            return;
        }
    }
    bk_text_addf(out, "#%ld", (long)value);
}

static void add_ints(const struct bk_ints *l, struct bk_text *out)
{
    for (int64_t i = 0; i < l->n; i++)
        bk_text_addf(out, "%s%lld", i ? "," : "", (long long)l->at[i]);
}

static void add_field(const struct bk_opt *o, const void *field, struct bk_text *out)
{
    const char *text;
    switch (o->type) {
    case BK_OPT_INT:
        bk_text_addf(out, "%lld", (long long)*(const int64_t *)field);
        break;
    case BK_OPT_REAL:
        add_hex(*(const double *)field, out);
        break;
    case BK_OPT_BOOL:
        bk_text_add(out, *(const bool *)field ? "true" : "false");
        break;
    case BK_OPT_ENUM:
        add_choice(o, *(const int32_t *)field, out);
        break;
    case BK_OPT_TEXT:
    case BK_OPT_PATH:
        text = *(const char *const *)field;
        if (text)
            bk__value_quote(text, out);
        else
            bk_text_add(out, "unset");
        break;
    case BK_OPT_INTS:
        add_ints(field, out);
        break;
    default:
        break;
    }
}

static int by_name(const void *a, const void *b)
{
    const struct bk_opt *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

int bk_options_canonical(const struct bk_opt *table, const void *state, bool all,
                         struct bk_text *out)
{
    size_t n = 0, k = 0;
    for (const struct bk_opt *o = table; o && o->name; o++)
        n++;
    const struct bk_opt **sorted = bk_alloc((n + 1) * sizeof *sorted);
    if (!sorted)
        return BK_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        bool key = !(table[i].flags & BK_OPT_NOKEY) && table[i].type != BK_OPT_PATH;
        if (key || all)
            sorted[k++] = &table[i];
    }
    if (k)
        qsort(sorted, k, sizeof *sorted, by_name);
    for (size_t i = 0; i < k; i++) {
        bk_text_addf(out, "%s=", sorted[i]->name);
        add_field(sorted[i], (const char *)state + sorted[i]->offset, out);
        bk_text_add(out, "\n");
    }
    bk_free(sorted);
    return out->failed ? BK_ENOMEM : BK_OK;
}

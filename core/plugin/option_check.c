/*
 * plugin/option_check.c: is an option table sane?
 *
 * What passes here can be bound without further questions: names are unique, defaults are legal, and every field lies
 * within the plugin's state.
 */
#include "config/value.h"
#include "plugin/loader.h"

#include <math.h>
#include <string.h>

#define MAX_OPTIONS 400
#define MAX_CHOICES 200
#define MAX_DEFAULT_INTS 1024

static int bad(const struct bk_opt *o, struct bk_error *err, const char *what)
{
    return bk_fail(err, BK_EPLUGIN, "option '%s': %s", o->name, what);
}

static int check_field(const struct bk_opt *o, uint32_t state_size, struct bk_error *err)
{
    static const struct {
        size_t size, align;
    } field[] = {
        { 1, 1 },
        { sizeof(int64_t), _Alignof(int64_t) },
        { sizeof(double), _Alignof(double) },
        { sizeof(bool), _Alignof(bool) },
        { sizeof(int32_t), _Alignof(int32_t) },
        { sizeof(const char *), _Alignof(const char *) },
        { sizeof(const char *), _Alignof(const char *) },
        { sizeof(struct bk_ints), _Alignof(struct bk_ints) },
    };
    if (o->type == BK_OPT_INVALID || o->type >= BK_ARRAY_LEN(field))
        return bk_fail(err, BK_EPLUGIN, "option '%s': unknown type %u", o->name, (unsigned)o->type);
    if (o->offset > state_size || field[o->type].size > state_size - o->offset)
        return bk_fail(err, BK_EPLUGIN, "option '%s': its field at byte %u is outside the state of %u bytes",
                       o->name, (unsigned)o->offset, (unsigned)state_size);
    if (o->offset % field[o->type].align)
        return bk_fail(err, BK_EPLUGIN, "option '%s': its field at byte %u is not aligned", o->name,
                       (unsigned)o->offset);
    return BK_OK;
}

static int check_number(const struct bk_opt *o, struct bk_error *err)
{
    if (!(o->min <= o->max))
        return bk_fail(err, BK_EPLUGIN, "option '%s': bounds %g..%g are empty", o->name, o->min, o->max);
    if (o->type == BK_OPT_INTS)
        return BK_OK;
    if (!(o->def >= o->min && o->def <= o->max))
        return bk_fail(err, BK_EPLUGIN, "option '%s': default %g is outside %g..%g", o->name, o->def,
                       o->min, o->max);
    if (o->type == BK_OPT_INT && (o->def != floor(o->def) || fabs(o->def) > 0x1p53))
        return bk_fail(err, BK_EPLUGIN, "option '%s': default %g is no exact integer", o->name, o->def);
    return BK_OK;
}

static int check_choices(const struct bk_opt *o, struct bk_error *err)
{
    bool legal = false;
    if (!o->choices || !o->choices[0].name)
        return bad(o, err, "it has no choices");
    for (size_t i = 0; o->choices[i].name; i++) {
        if (i >= MAX_CHOICES)
            return bad(o, err, "its choices have no end");
        legal |= o->choices[i].value == (int32_t)o->def;
        for (size_t k = 0; k < i; k++)
            if (strcmp(o->choices[i].name, o->choices[k].name) == 0)
                return bk_fail(err, BK_EPLUGIN, "option '%s': choice '%s' appears twice", o->name,
                               o->choices[i].name);
    }
    if (!legal)
        return bk_fail(err, BK_EPLUGIN, "option '%s': default %g is none of its choices", o->name, o->def);
    return BK_OK;
}

static int check_ints(const struct bk_opt *o, struct bk_error *err)
{
    int64_t at[MAX_DEFAULT_INTS];
    size_t n;
    if (bk__ints_parse(o->def_text, at, BK_ARRAY_LEN(at), &n))
        return bk_fail(err, BK_EPLUGIN, "option '%s': default '%.80s' is no list of integers", o->name,
                       o->def_text);
    for (size_t i = 0; i < n; i++)
        if ((double)at[i] < o->min || (double)at[i] > o->max)
            return bk_fail(err, BK_EPLUGIN, "option '%s': default %lld is outside %g..%g", o->name,
                           (long long)at[i], o->min, o->max);
    return BK_OK;
}

static int check_default(const struct bk_opt *o, struct bk_error *err)
{
    switch (o->type) {
    case BK_OPT_INT:
    case BK_OPT_REAL:
        return check_number(o, err);
    case BK_OPT_INTS:
        BK_TRY(check_number(o, err));
        return check_ints(o, err);
    case BK_OPT_BOOL:
        return o->def == 0 || o->def == 1 ? BK_OK : bad(o, err, "its default is neither 0 nor 1");
    case BK_OPT_ENUM:
        return check_choices(o, err);
    default:
        return BK_OK;
    }
}

static int check_row(const struct bk_opt *table, size_t i, uint32_t state_size, struct bk_error *err)
{
    const struct bk_opt *o = &table[i];
    if (!bk__is_plugin_name(o->name))
        return bad(o, err, "bad name, legal: a lower-case letter, then letters, digits and '_'");
    if (strcmp(o->name, "plugin") == 0)
        return bad(o, err, "this name is taken by the configuration itself");
    for (size_t k = 0; k < i; k++)
        if (strcmp(o->name, table[k].name) == 0)
            return bad(o, err, "it appears twice");
    if (!o->help)
        return bad(o, err, "its help is missing");
    BK_TRY(check_field(o, state_size, err));
    return check_default(o, err);
}

int bk__options_check(const struct bk_opt *table, uint32_t state_size, struct bk_error *err)
{
    for (size_t i = 0; table && table[i].name; i++) {
        if (i >= MAX_OPTIONS)
            return bk_fail(err, BK_EPLUGIN, "its option table has no end (BK_OPT_END)");
        BK_TRY(check_row(table, i, state_size, err));
    }
    return BK_OK;
}

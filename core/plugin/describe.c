/*
 * plugin/describe.c: option tables as text. Nothing of the plugin runs.
 */
#include "plugin/describe.h"
#include "config/value.h"

#include <bosskit/method.h>
#include <stdio.h>
#include <string.h>

/* ---- what is common to the three forms ---------------------------------------------------------- */

static const char *choice_name(const struct bk_opt *o)
{
    for (const struct bk_choice *c = o->choices; c->name; c++)
        if (c->value == (int32_t)o->def)
            return c->name;
    return "";
}

static void add_ints(const struct bk_opt *o, struct bk_text *out)
{
    bk_text_add(out, "[");
    for (const char *s = o->def_text ? o->def_text : ""; *s; s++) {
        bk_text_addn(out, s, 1);
        if (*s == ',')
            bk_text_add(out, " ");
    }
    bk_text_add(out, "]");
}

/* Default as a configuration literal, which is nearly always a JSON literal as well; false when it is unset. */
static bool add_default(const struct bk_opt *o, struct bk_text *out)
{
    struct bk_value v = { .type = BK_VALUE_INT, .i = (int64_t)o->def, .r = o->def };
    switch (o->type) {
    case BK_OPT_REAL:
        v.type = BK_VALUE_REAL;
        break;
    case BK_OPT_BOOL:
        v.type = BK_VALUE_BOOL;
        v.b = o->def != 0;
        break;
    case BK_OPT_ENUM:
        bk__value_quote(choice_name(o), out);
        return true;
    case BK_OPT_TEXT:
    case BK_OPT_PATH:
        if (o->def_text)
            bk__value_quote(o->def_text, out);
        return o->def_text != NULL;
    case BK_OPT_INTS:
        add_ints(o, out);
        return true;
    default:
        break;
    }
    bk_value_print(&v, out);
    return true;
}

/* How a person reads it: words without quotes, reals in their shortest form. */
static void add_short_default(const struct bk_opt *o, struct bk_text *out)
{
    char buf[32];
    if (o->type == BK_OPT_ENUM) {
        bk_text_add(out, choice_name(o));
    } else if (o->type == BK_OPT_REAL) {
        bk_format_f64(o->def, buf);
        bk_text_add(out, buf);
    } else if (!add_default(o, out)) {
        bk_text_add(out, "unset");
    }
}

/* ---- for people ------------------------------------------------------------------------------------ */

static void add_rater_line(const struct bk_rater_iface *t, struct bk_text *out)
{
    bool kind = t->flags & BK_RATER_NEEDS_TRAINED && t->takes;
    bk_text_addf(out, "needs: %s%s%s%s%s%s   gives: %s (%s is better)\n",
                 t->flags & BK_RATER_NEEDS_TRAINED ? "a trained supernet" : "", kind ? " (" : "", kind ? t->takes : "",
                 kind ? ")" : "",
                 t->flags & BK_RATER_NEEDS_TRAINED && t->flags & BK_RATER_NEEDS_DATA ? ", " : "",
                 t->flags & BK_RATER_NEEDS_DATA                                      ? "data"
                 : t->flags & BK_RATER_NEEDS_TRAINED                                 ? ""
                                                                                     : "nothing",
                 t->flags & BK_RATER_BLOCKS ? "a table a block" : "a score an architecture",
                 t->better == BK_HIGHER_IS_BETTER ? "higher" : "lower");
}

struct widths {
    int name, def, legal;
};

static int at_least(int have, size_t n)
{
    return (int)n > have ? (int)n : have;
}

static struct widths measure(const struct bk_opt *table)
{
    struct widths w = { 0, 0, 0 };
    for (const struct bk_opt *o = table; o && o->name; o++) {
        struct bk_text def = BK_TEXT_INIT, legal = BK_TEXT_INIT;
        add_short_default(o, &def);
        bk__option_legal(o, &legal);
        w.name = at_least(w.name, strlen(o->name));
        w.def = at_least(w.def, def.len);
        w.legal = at_least(w.legal, legal.len);
        bk_text_release(&def);
        bk_text_release(&legal);
    }
    return w;
}

static void add_row(const struct bk_opt *o, struct widths w, struct bk_text *out)
{
    struct bk_text def = BK_TEXT_INIT, legal = BK_TEXT_INIT;
    add_short_default(o, &def);
    bk__option_legal(o, &legal);
    bk_text_addf(out, "  %-*s  %-8s  %-*s  %-*s  %s%s\n", w.name, o->name, bk__option_type_name(o->type),
                 w.def, bk_text_get(&def), w.legal, bk_text_get(&legal), o->help,
                 o->flags & BK_OPT_NOKEY && o->type != BK_OPT_PATH ? " (does not change results)" : "");
    bk_text_release(&def);
    bk_text_release(&legal);
}

void bk_describe_text(const struct bk_found_plugin *f, struct bk_text *out)
{
    const struct bk_plugin *p = f->plugin;
    bk_text_addf(out, "%s/%s %s   %s\n", bk_kind_name(p->kind), p->name, p->version, p->summary);
    if (p->kind == BK_KIND_RATER)
        add_rater_line(p->iface, out);
    const struct bk_trainer_iface *trainer = p->kind == BK_KIND_TRAINER ? p->iface : NULL;
    if (trainer && trainer->makes)
        bk_text_addf(out, "makes: a supernet (%s)\n", trainer->makes);
    struct widths w = measure(p->options);
    for (const struct bk_opt *o = p->options; o && o->name; o++)
        add_row(o, w, out);
    if (!p->options || !p->options[0].name)
        bk_text_add(out, "  no options\n");
    if (p->help)
        bk_text_addf(out, "\n%s\n", p->help);
    bk_text_addf(out, "\nfile: %s\ndigest: %s\n", f->path, f->digest);
}

/* ---- for machines ------------------------------------------------------------------------------------- */

static void add_json_text(const char *s, struct bk_text *out)
{
    bk_text_add(out, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            bk_text_addf(out, "\\%c", c);
        else if (c < 0x20)
            bk_text_addf(out, "\\u%04x", c);
        else
            bk_text_addn(out, s, 1);
    }
    bk_text_add(out, "\"");
}

static void add_json_member(const char *name, const char *value, struct bk_text *out)
{
    bk_text_addf(out, ", \"%s\": ", name);
    if (value)
        add_json_text(value, out);
    else
        bk_text_add(out, "null");
}

static void add_json_number(const char *name, double v, struct bk_text *out)
{
    char buf[32];
    bk_format_f64(v, buf);
    bk_text_addf(out, ", \"%s\": %s", name, v - v == 0 ? buf : "null");
}

static void add_json_default(const struct bk_opt *o, struct bk_text *out)
{
    bk_text_add(out, ", \"default\": ");
    if (o->type == BK_OPT_ENUM)
        add_json_text(choice_name(o), out);
    else if (o->type == BK_OPT_TEXT || o->type == BK_OPT_PATH)
        o->def_text ? add_json_text(o->def_text, out) : bk_text_add(out, "null");
    else
        add_default(o, out);
}

static void add_json_option(const struct bk_opt *o, struct bk_text *out)
{
    bk_text_add(out, "{ \"name\": ");
    add_json_text(o->name, out);
    add_json_member("type", bk__option_type_name(o->type), out);
    add_json_default(o, out);
    if (o->type == BK_OPT_INT || o->type == BK_OPT_REAL || o->type == BK_OPT_INTS) {
        add_json_number("min", o->min, out);
        add_json_number("max", o->max, out);
    }
    if (o->type == BK_OPT_ENUM) {
        bk_text_add(out, ", \"choices\": [");
        for (const struct bk_choice *c = o->choices; c->name; c++) {
            bk_text_add(out, c == o->choices ? "" : ", ");
            add_json_text(c->name, out);
        }
        bk_text_add(out, "]");
    }
    bool in_key = !(o->flags & BK_OPT_NOKEY) && o->type != BK_OPT_PATH;
    add_json_member("unit", o->unit ? o->unit : "", out);
    add_json_member("help", o->help, out);
    bk_text_addf(out, ", \"in_key\": %s }", in_key ? "true" : "false");
}

static void add_json_rater(const struct bk_rater_iface *t, struct bk_text *out)
{
    bk_text_addf(out, ", \"better\": \"%s\", \"needs_trained\": %s, \"needs_data\": %s, \"rates_blocks\": %s",
                 t->better == BK_HIGHER_IS_BETTER ? "higher" : "lower",
                 t->flags & BK_RATER_NEEDS_TRAINED ? "true" : "false", t->flags & BK_RATER_NEEDS_DATA ? "true" : "false",
                 t->flags & BK_RATER_BLOCKS ? "true" : "false");
}

void bk_describe_json(const struct bk_found_plugin *f, struct bk_text *out)
{
    const struct bk_plugin *p = f->plugin;
    bk_text_add(out, "{ \"kind\": ");
    add_json_text(bk_kind_name(p->kind), out);
    add_json_member("name", p->name, out);
    add_json_member("version", p->version, out);
    add_json_member("summary", p->summary, out);
    add_json_member("help", p->help, out);
    add_json_member("path", f->path, out);
    add_json_member("digest", f->digest, out);
    if (p->kind == BK_KIND_RATER)
        add_json_rater(p->iface, out);
    bk_text_add(out, ",\n  \"options\": [");
    for (const struct bk_opt *o = p->options; o && o->name; o++) {
        bk_text_add(out, o == p->options ? "\n    " : ",\n    ");
        add_json_option(o, out);
    }
    bk_text_add(out, "\n  ] }\n");
}

/* ---- for pasting ---------------------------------------------------------------------------------------- */

void bk_describe_cfg(const struct bk_found_plugin *f, struct bk_text *out)
{
    const struct bk_plugin *p = f->plugin;
    bk_text_addf(out, "%s = {\n    plugin = \"%s\";  # %s\n", bk_kind_name(p->kind), p->name, p->summary);
    for (const struct bk_opt *o = p->options; o && o->name; o++) {
        struct bk_text def = BK_TEXT_INIT, legal = BK_TEXT_INIT;
        bool set = add_default(o, &def);
        bk__option_legal(o, &legal);
        bk_text_addf(out, "    %s%s = %s;  # %s%s%s\n", set ? "" : "# ", o->name,
                     set ? bk_text_get(&def) : "\"...\"", o->help, legal.len ? "; " : "",
                     bk_text_get(&legal));
        bk_text_release(&def);
        bk_text_release(&legal);
    }
    bk_text_add(out, "};\n");
}

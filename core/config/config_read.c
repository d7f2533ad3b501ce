/**
 * config/config_read.c: files and overrides into trees of values; the only file that knows libconfig.
 *
 * Each file's own text is scanned (config_scan.c), parsed by libconfig and converted by the type libconfig found,
 * never by its lookups, which convert quietly. Includes are read into the group in which they stand, in order, so
 * that what comes later wins.
 */
#include "config/value.h"

#include <bosskit/file.h>
#include <ctype.h>
#include <libconfig.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_FILE_BYTES (16u << 20)
#define MAX_INCLUDE_DEPTH 32

/* ---- from libconfig's tree to ours ------------------------------------------------------------- */

/* The file being read and those that include it. */
struct open_file {
    const struct open_file *parent;
    const char *path;           /* as the user wrote it, for messages */
    const char *real;           /* real path */
    char *dir;                  /* real directory */
    int depth;
};

/* Text under conversion: a file, or a part of the command line (file = NULL). */
struct source {
    const char *label;
    const struct open_file *file;
};

static int read_include(const struct open_file *f, config_setting_t *s, struct bk_value *into, struct bk_error *err);

static int convert(const struct source *src, config_setting_t *s, struct bk_value **out,
                   struct bk_error *err);

static bool is_include(config_setting_t *s)
{
    const char *name = config_setting_name(s);
    return name && strncmp(name, BK__INCLUDE_NAME, sizeof BK__INCLUDE_NAME - 1) == 0;
}

/* Later settings of a group win over included ones, groups merge; takes `child` over. */
static int add_setting(struct bk_value *group, struct bk_value *child, struct bk_error *err)
{
    if (!bk__value_child(group, child->name, strlen(child->name)))
        return bk__value_append(group, child, err);
    struct bk_value one = *group;       /* a group of one borrowed child */
    one.child = &child;
    one.n = 1;
    int rc = bk_value_merge(group, &one, NULL, err);
    bk_value_free(child);
    return rc;
}

static int convert_children(const struct source *src, config_setting_t *s, struct bk_value *v,
                            struct bk_error *err)
{
    for (int i = 0; i < config_setting_length(s); i++) {
        config_setting_t *at = config_setting_get_elem(s, (unsigned)i);
        struct bk_value *child = NULL;
        if (is_include(at)) {
            BK_TRY(read_include(src->file, at, v, err));
            continue;
        }
        BK_TRY(convert(src, at, &child, err));
        BK_TRY(v->type == BK_VALUE_GROUP ? add_setting(v, child, err) : bk__value_append(v, child, err));
    }
    return BK_OK;
}

static int fill(const struct source *src, config_setting_t *s, struct bk_value *v,
                struct bk_error *err)
{
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_GROUP:
        v->type = BK_VALUE_GROUP;
        return convert_children(src, s, v, err);
    case CONFIG_TYPE_ARRAY:
    case CONFIG_TYPE_LIST:
        v->type = BK_VALUE_LIST;
        return convert_children(src, s, v, err);
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        v->type = BK_VALUE_INT;
        v->i = config_setting_type(s) == CONFIG_TYPE_INT ? config_setting_get_int(s)
                                                         : config_setting_get_int64(s);
        return BK_OK;
    case CONFIG_TYPE_FLOAT:
        v->type = BK_VALUE_REAL;
        v->r = config_setting_get_float(s);
        return BK_OK;
    case CONFIG_TYPE_BOOL:
        v->type = BK_VALUE_BOOL;
        v->b = config_setting_get_bool(s) != 0;
        return BK_OK;
    case CONFIG_TYPE_STRING:
        v->type = BK_VALUE_TEXT;
        v->text = bk_strdup(config_setting_get_string(s));
        return v->text ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for '%s'", src->label);
    default:
        return bk_fail(err, BK_ECONFIG, "%s: '%s' has no value", v->origin,
                       v->name ? v->name : "element");
    }
}

static int convert(const struct source *src, config_setting_t *s, struct bk_value **out,
                   struct bk_error *err)
{
    struct bk_text origin = BK_TEXT_INIT;
    bk_text_add(&origin, src->label);
    if (src->file)
        bk_text_addf(&origin, ":%u", config_setting_source_line(s));
    struct bk_value *v = bk__value_new(BK_VALUE_GROUP, config_setting_name(s), bk_text_get(&origin),
                                       src->file ? src->file->dir : NULL);
    bk_text_release(&origin);
    if (!v)
        return bk_fail(err, BK_ENOMEM, "out of memory for '%s'", src->label);
    int rc = fill(src, s, v, err);
    if (rc) {
        bk_value_free(v);
        return rc;
    }
    *out = v;
    return BK_OK;
}

/* The text of a line without surrounding blanks, cut to 60 characters. */
static int quote_line(const char *text, int line, const char **start)
{
    for (; line > 1 && *text; text++)
        line -= *text == '\n';
    text += strspn(text, " \t");
    int n = (int)strcspn(text, "\r\n");
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    *start = text;
    return n > 60 ? 60 : n;
}

static int parse_failed(const char *label, const char *original, const config_t *config,
                        struct bk_error *err)
{
    const char *what = config_error_text(config), *near;
    int line = config_error_line(config), n = quote_line(original, line, &near);

    if (n == 0)
        return bk_fail(err, BK_ECONFIG, "%s:%d: %s", label, line, what ? what : "syntax error");
    return bk_fail(err, BK_ECONFIG, "%s:%d: %s in or before '%.*s'", label, line,
                   what ? what : "syntax error", n, near);
}

/* Add the settings of scanned text to the group `into`; `original` is the text for messages. */
static int parse_scanned(const struct source *src, const char *original, const struct bk__scan *scan,
                         struct bk_value *into, struct bk_error *err)
{
    config_t config;

    config_init(&config);
    int rc = config_read_string(&config, bk_text_get(&scan->text))
             ? convert_children(src, config_root_setting(&config), into, err)
             : parse_failed(src->label, original, &config, err);
    config_destroy(&config);
    return rc;
}

/* ---- files and their includes ---------------------------------------------------------------------- */

/* *entered: the file could be read, so that an error is inside of it and has its own position. */
static int read_file(const struct open_file *parent, const char *path, struct bk_value *into,
                     bool *entered, struct bk_error *err);

/* `name` beside the including file, in the words of the user ("configs/data.cfg"). */
static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    struct bk_text t = BK_TEXT_INIT;
    if (name[0] != '/' && slash)
        bk_text_addn(&t, path, (size_t)(slash - path) + 1);
    bk_text_add(&t, name);
    return bk_text_take(&t);
}

static int read_include(const struct open_file *f, config_setting_t *s, struct bk_value *into, struct bk_error *err)
{
    char *path = beside(f->path, config_setting_get_string(s));
    if (!path)
        return bk_fail(err, BK_ENOMEM, "out of memory for '%s'", f->path);
    bool entered = false;
    int rc = read_file(f, path, into, &entered, err);
    if (rc && !entered)
        bk_context(err, "%s:%u", f->path, config_setting_source_line(s));
    bk_free(path);
    return rc;
}

static int parse_file(const struct open_file *f, const char *text, struct bk_value *into,
                      struct bk_error *err)
{
    const struct source src = { f->path, f };
    struct bk__scan scan;

    BK_TRY(bk__scan_text(f->path, text, &scan, err));
    int rc = parse_scanned(&src, text, &scan, into, err);
    bk__scan_release(&scan);
    return rc;
}

static int refuse_cycle(const struct open_file *f, struct bk_error *err)
{
    if (f->depth > MAX_INCLUDE_DEPTH)
        return bk_fail(err, BK_ECONFIG, "includes are nested deeper than %d files",
                       MAX_INCLUDE_DEPTH);
    for (const struct open_file *p = f->parent; p; p = p->parent)
        if (strcmp(p->real, f->real) == 0)
            return bk_fail(err, BK_ECONFIG, "include cycle: '%s' includes '%s', which is being "
                           "read already", f->parent->path, f->path);
    return BK_OK;
}

static int read_text(const struct open_file *f, char **text, struct bk_error *err)
{
    size_t nbytes;
    int rc = bk_file_read(f->path, MAX_FILE_BYTES, text, &nbytes, err);
    if (rc == BK_ENOMEM)
        return rc;
    if (rc) {
        if (err)
            err->code = BK_ECONFIG;
        return BK_ECONFIG;
    }
    if (strlen(*text) != nbytes) {
        bk_free(*text);
        return bk_fail(err, BK_ECONFIG, "'%s' holds a NUL byte, it is no text file", f->path);
    }
    return BK_OK;
}

static int read_file(const struct open_file *parent, const char *path, struct bk_value *into,
                     bool *entered, struct bk_error *err)
{
    char real[PATH_MAX];
    if (!realpath(path, real))
        return bk_fail_errno(err, BK_ECONFIG, "cannot read '%s'", path);
    struct open_file f = { parent, path, real, NULL, parent ? parent->depth + 1 : 0 };
    BK_TRY(refuse_cycle(&f, err));
    char *text = NULL;
    BK_TRY(read_text(&f, &text, err));
    f.dir = bk_strdup(real);
    if (!f.dir) {
        bk_free(text);
        return bk_fail(err, BK_ENOMEM, "out of memory for '%s'", path);
    }
    char *slash = strrchr(f.dir, '/');
    slash[slash == f.dir] = '\0';
    *entered = true;
    int rc = parse_file(&f, text, into, err);
    bk_free(f.dir);
    bk_free(text);
    return rc;
}

int bk_value_read(const char *path, struct bk_value **out, struct bk_error *err)
{
    struct bk_value *root = bk__value_new(BK_VALUE_GROUP, NULL, path, NULL);
    if (!root)
        return bk_fail(err, BK_ENOMEM, "out of memory for '%s'", path);
    bool entered = false;
    int rc = read_file(NULL, path, root, &entered, err);
    if (rc) {
        bk_value_free(root);
        return rc;
    }
    *out = root;
    return BK_OK;
}

/* ---- overrides ---------------------------------------------------------------------------------------- */

static const char command_line[] = "command line";

/* A quoted string, array, list or group in libconfig's grammar, as the only child of `root`. */
static int parse_into(const char *name, const char *text, struct bk_value *root, struct bk_error *err)
{
    const struct source src = { command_line, NULL };
    struct bk_text t = BK_TEXT_INIT;
    struct bk__scan scan;

    bk_text_addf(&t, "%s = %s;", name, text);
    char *assignment = bk_text_take(&t);
    if (!assignment)
        return bk_fail(err, BK_ENOMEM, "out of memory for '%s'", text);
    int rc = bk__scan_text(command_line, assignment, &scan, err);
    if (rc == BK_OK) {
        rc = scan.n_includes ? bk_fail(err, BK_ECONFIG, "@include is not possible here")
                             : parse_scanned(&src, text, &scan, root, err);
        bk__scan_release(&scan);
    }
    bk_free(assignment);
    if (rc == BK_OK && root->n != 1)
        return bk_fail(err, BK_ECONFIG, "one value is wanted, '%s' holds more", text);
    return rc;
}

static int parse_composite(const char *name, const char *text, struct bk_value **out,
                           struct bk_error *err)
{
    struct bk_value *root = bk__value_new(BK_VALUE_GROUP, NULL, command_line, NULL);
    if (!root)
        return bk_fail(err, BK_ENOMEM, "out of memory for '%s'", text);
    int rc = parse_into(name, text, root, err);
    if (rc == BK_OK) {
        *out = root->child[0];
        root->n = 0;
    }
    bk_value_free(root);
    return rc;
}

static bool is_hexadecimal(const char *s)
{
    s += *s == '+' || *s == '-';
    return s[0] == '0' && (s[1] == 'x' || s[1] == 'X') &&
           strspn(s + 2, "0123456789abcdefABCDEF") == strlen(s + 2);
}

/* Numbers and booleans keep their text as well, for options that take text. */
static int parse_scalar(const char *name, const char *text, struct bk_value **out,
                        struct bk_error *err)
{
    struct bk_value *v = bk__value_new(BK_VALUE_TEXT, name, command_line, NULL);
    char *copy = bk_strdup(text);
    enum bk_value_type type = BK_VALUE_TEXT;
    size_t len;

    if (!v || !copy) {
        bk_value_free(v);
        bk_free(copy);
        return bk_fail(err, BK_ENOMEM, "out of memory for an override");
    }
    v->text = copy;
    int rc = bk__scan_number(text, &len, &type, &v->i, &v->r, err);
    bool whole = len && text[len] == '\0';
    if (rc && (whole || is_hexadecimal(text))) {    /* or too large; other words are text */
        bk_value_free(v);
        return rc;
    }
    if (rc == BK_OK && whole)
        v->type = type;
    if (strcasecmp(text, "true") == 0 || strcasecmp(text, "false") == 0) {
        v->type = BK_VALUE_BOOL;
        v->b = tolower((unsigned char)text[0]) == 't';
    }
    *out = v;
    return BK_OK;
}

static bool is_path(const char *s, size_t n)
{
    bool start = true;
    for (size_t i = 0; i < n; i++) {
        bool letter = isalpha((unsigned char)s[i]);
        if (s[i] == '.' && !start)
            start = true;
        else if (letter || (!start && (isdigit((unsigned char)s[i]) || s[i] == '_' || s[i] == '-')))
            start = false;
        else
            return false;
    }
    return !start;
}

/* The group at the first `n` bytes of a dotted path, made where it is missing. */
static int descend(struct bk_value **group, const char *path, size_t n, struct bk_error *err)
{
    char name[128];
    struct bk_value *child = bk__value_child(*group, path, n);
    if (!child) {
        if (n >= sizeof name)
            return bk_fail(err, BK_ECONFIG, "'%.40s...' is longer than any option", path);
        memcpy(name, path, n);
        name[n] = '\0';
        child = bk__value_new(BK_VALUE_GROUP, name, command_line, NULL);
        if (!child)
            return bk_fail(err, BK_ENOMEM, "out of memory for an override");
        BK_TRY(bk__value_append(*group, child, err));
    }
    if (child->type != BK_VALUE_GROUP)
        return bk_fail(err, BK_ECONFIG, "'%.*s' is not a group (%s)", (int)n, path, child->origin);
    *group = child;
    return BK_OK;
}

static int set_path(struct bk_value *root, const char *path, const char *text, struct bk_error *err)
{
    struct bk_value *group = root, *v = NULL;
    for (size_t n; path[n = strcspn(path, ".")]; path += n + 1)
        BK_TRY(descend(&group, path, n, err));
    if (text[0] && strchr("\"[({", text[0]))
        BK_TRY(parse_composite(path, text, &v, err));
    else
        BK_TRY(parse_scalar(path, text, &v, err));
    return bk__value_put(group, v, err);
}

int bk_value_override(struct bk_value *root, const char *assignment, struct bk_error *err)
{
    size_t n = strcspn(assignment, "=");
    if (assignment[n] != '=' || !is_path(assignment, n))
        return bk_fail(err, BK_ECONFIG, "override '%s': legal is key=value with a key such as "
                       "trainer.epochs", assignment);
    char *path = bk_strdup(assignment);
    if (!path)
        return bk_fail(err, BK_ENOMEM, "out of memory for an override");
    path[n] = '\0';
    int rc = set_path(root, path, assignment + n + 1, err);
    if (rc)
        bk_context(err, "override '%s'", assignment);
    bk_free(path);
    return rc;
}

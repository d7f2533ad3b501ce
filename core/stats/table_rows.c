/*
 * stats/table_rows.c: rows of (key, number), the choice of a file's form, JSON.
 *
 * CSV and YAML have files of their own. What the keys mean is the business of truth_table.c and ratings_file.c.
 */
#include "stats/table_rows.h"

#include <bosskit/file.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MAX_FILE ((size_t)1 << 30)

int bk__rows_fail(struct bk_error *err, const char *path, size_t line, const char *fmt, ...)
{
    char text[sizeof err->text];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (line)
        return bk_fail(err, BK_EDATA, "%s:%zu: %s", path, line, text);
    return bk_fail(err, BK_EDATA, "%s: %s", path, text);
}

static int no_memory(const char *path, struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "cannot read '%s': out of memory", path);
}

static int rows_push(struct bk__rows *rows, const char *path, size_t line, const char *key,
                     size_t key_length, double value, struct bk_error *err)
{
    if (rows->n == rows->cap) {
        size_t cap = rows->cap ? 2 * rows->cap : 256;
        struct bk__row *p = bk_realloc(rows->row, cap * sizeof *p);
        if (!p)
            return no_memory(path, err);
        rows->row = p;
        rows->cap = cap;
    }
    char *copy = bk_alloc(key_length + 1);
    if (!copy)
        return no_memory(path, err);
    memcpy(copy, key, key_length);
    copy[key_length] = '\0';
    rows->row[rows->n++] = (struct bk__row){ copy, value, line };
    return BK_OK;
}

int bk__rows_add(struct bk__rows *rows, const char *path, size_t line, const char *key,
                 size_t key_length, const char *number, struct bk_error *err)
{
    double value;

    if (!bk_parse_f64(number, &value) || !isfinite(value))
        return bk__rows_fail(err, path, line, "'%.80s' of '%.*s' is not a finite number", number,
                             (int)(key_length < 80 ? key_length : 80), key);
    return rows_push(rows, path, line, key, key_length, value, err);
}

void bk__rows_release(struct bk__rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        bk_free(rows->row[i].key);
    bk_free(rows->row);
    memset(rows, 0, sizeof *rows);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

int bk__rows_read_json(const char *path, const char *data, size_t nbytes, struct bk__rows *rows,
                       struct bk_error *err)
{
    json_error_t fault;
    const char *key;
    json_t *item;
    int rc = BK_OK;

    json_t *root = json_loadb(data, nbytes, JSON_REJECT_DUPLICATES, &fault);
    if (!root)
        return bk__rows_fail(err, path, fault.line > 0 ? (size_t)fault.line : 0, "%s", fault.text);
    if (!json_is_object(root)) {
        rc = bk__rows_fail(err, path, 0, "not a JSON object, legal: {\"key\": number, ...}");
        goto done;
    }
    json_object_foreach(root, key, item) {
        if (json_is_number(item))
            rc = rows_push(rows, path, 0, key, strlen(key), json_number_value(item), err);
        else
            rc = bk__rows_fail(err, path, 0, "the value of '%.80s' is not a number", key);
        if (rc)
            break;
    }
done:
    json_decref(root);
    return rc;
}

/* ---- choice of the form ---------------------------------------------------------------------- */

enum form { FORM_INVALID = 0, FORM_CSV, FORM_YAML, FORM_JSON };

static enum form form_of(const char *path)
{
    static const struct {
        const char *extension;
        enum form form;
    } forms[] = {
        { ".csv", FORM_CSV }, { ".yml", FORM_YAML }, { ".yaml", FORM_YAML }, { ".json", FORM_JSON },
    };
    const char *dot = strrchr(path, '.');

    for (size_t i = 0; dot && i < BK_ARRAY_LEN(forms); i++) {
        if (!strcasecmp(dot, forms[i].extension))
            return forms[i].form;
    }
    return FORM_INVALID;
}

int bk__rows_read(const char *path, const struct bk__row_columns *columns, struct bk__rows *out,
                  struct bk_error *err)
{
    struct bk__rows rows = { 0 };
    char *data = NULL;
    size_t nbytes = 0;
    enum form form = form_of(path);

    if (form == FORM_INVALID)
        return bk__rows_fail(err, path, 0, "not a table, legal: files .csv, .yml, .yaml, .json");
    if (form != FORM_CSV && columns->value && !columns->value_fixed)
        return bk__rows_fail(err, path, 0, "column '%s' is asked for, but only CSV files have "
                             "columns", columns->value);
    BK_TRY(bk_file_read(path, MAX_FILE, &data, &nbytes, err));
    int rc;
    if (form == FORM_CSV)
        rc = strlen(data) == nbytes ? bk__rows_read_csv(path, data, columns, &rows, err)
                                    : bk__rows_fail(err, path, 0, "not text: contains a NUL byte");
    else if (form == FORM_YAML)
        rc = bk__rows_read_yaml(path, data, nbytes, &rows, err);
    else
        rc = bk__rows_read_json(path, data, nbytes, &rows, err);
    bk_free(data);
    if (rc) {
        bk__rows_release(&rows);
        return rc;
    }
    *out = rows;
    return BK_OK;
}

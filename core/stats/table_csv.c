/*
 * stats/table_csv.c: rows of a CSV file with a header line.
 *
 * Commas separate, double quotes protect (RFC 4180) within a line; CR LF and LF both end one. Fields are cut in place in
 * the file's bytes. Not a writer, and not for files without a header.
 */
#include "stats/table_rows.h"

#include <string.h>

#define MAX_COLUMNS 64

struct line {
    char *field[MAX_COLUMNS];
    size_t n, number;
};

/* Unquotes in place; returns the byte after the field (',' or NUL), or NULL when a quote is not closed. */
static char *cut_field(char *p, char **field)
{
    if (*p != '"') {
        *field = p;
        return p + strcspn(p, ",");
    }
    char *to = *field = ++p;
    for (; *p != '"' || p[1] == '"'; p++) {
        if (!*p)
            return NULL;
        p += *p == '"';
        *to++ = *p;
    }
    p++;
    *to = '\0';
    return *p == ',' || !*p ? p : NULL;
}

static int cut_line(const char *path, char *text, struct line *out, struct bk_error *err)
{
    out->n = 0;
    for (char *p = text;; p++) {
        if (out->n == MAX_COLUMNS)
            return bk__rows_fail(err, path, out->number, "more than %d columns", MAX_COLUMNS);
        p = cut_field(p, &out->field[out->n++]);
        if (!p)
            return bk__rows_fail(err, path, out->number, "column %zu: a quote is not closed, or text follows it",
                                 out->n);
        bool last = !*p;
        *p = '\0';
        if (last)
            return BK_OK;
    }
}

/* The next line that is not empty, or NULL at the end; cuts the line end off. */
static char *next_line(char **cursor, size_t *number)
{
    while (**cursor) {
        char *text = *cursor, *end = text + strcspn(text, "\n");
        *cursor = *end ? end + 1 : end;
        *end = '\0';
        if (end > text && end[-1] == '\r')
            end[-1] = '\0';
        ++*number;
        if (*text)
            return text;
    }
    return NULL;
}

static int find_column(const char *path, const struct line *header, const char *name, size_t *out,
                       struct bk_error *err)
{
    struct bk_text names = BK_TEXT_INIT;

    for (size_t i = 0; i < header->n; i++) {
        if (!strcmp(header->field[i], name)) {
            *out = i;
            return BK_OK;
        }
    }
    for (size_t i = 0; i < header->n; i++)
        bk_text_addf(&names, "%s'%.40s'", i ? ", " : "", header->field[i]);
    int rc = bk__rows_fail(err, path, header->number, "no column '%s', there are %s", name,
                           bk_text_get(&names));
    bk_text_release(&names);
    return rc;
}

/* The only column whose first value is a number, beside the key and "index". */
static int guess_column(const char *path, const struct line *header, const struct line *first,
                        size_t key, size_t *out, struct bk_error *err)
{
    struct bk_text names = BK_TEXT_INIT;
    size_t found = 0;
    double unused;
    int rc = BK_OK;

    for (size_t i = 0; i < first->n && i < header->n; i++) {
        if (i == key || !strcmp(header->field[i], "index") ||
            !bk_parse_f64(first->field[i], &unused))
            continue;
        bk_text_addf(&names, "%s'%.40s'", found ? ", " : "", header->field[i]);
        found++;
        *out = i;
    }
    if (found > 1)
        rc = bk__rows_fail(err, path, header->number, "several columns hold numbers, name one of "
                           "%s", bk_text_get(&names));
    else if (!found)
        rc = bk__rows_fail(err, path, first->number, "no column holds numbers");
    bk_text_release(&names);
    return rc;
}

int bk__rows_read_csv(const char *path, char *data, const struct bk__row_columns *columns,
                      struct bk__rows *rows, struct bk_error *err)
{
    struct line header = { .number = 0 }, line = { .number = 0 };
    size_t key = 0, value = 0;
    char *text, *cursor = data;
    bool first = true;

    if (!strncmp(cursor, "\xef\xbb\xbf", 3))
        cursor += 3;
    text = next_line(&cursor, &header.number);
    if (!text)
        return bk__rows_fail(err, path, 1, "empty, legal: a header line and rows");
    BK_TRY(cut_line(path, text, &header, err));
    BK_TRY(find_column(path, &header, columns->key, &key, err));
    line.number = header.number;
    for (; (text = next_line(&cursor, &line.number)); first = false) {
        BK_TRY(cut_line(path, text, &line, err));
        if (line.n != header.n)
            return bk__rows_fail(err, path, line.number, "%zu columns, the header has %zu", line.n,
                                 header.n);
        if (first)
            BK_TRY(columns->value
                       ? find_column(path, &header, columns->value, &value, err)
                       : guess_column(path, &header, &line, key, &value, err));
        BK_TRY(bk__rows_add(rows, path, line.number, line.field[key], strlen(line.field[key]),
                            line.field[value], err));
    }
    return BK_OK;
}

/*
 * stats/truth_table.c: what architectures are really worth, from a file.
 *
 * Every key must be a legal architecture of the space and appear once; rows keep the order of the file. Reading the
 * bytes is in table_rows.c.
 */
#include "stats/table_rows.h"

#include <bosskit/table.h>

#include <stdlib.h>
#include <string.h>

#define MAX_ARCH_TEXT 1024

struct named {
    const char *arch;
    size_t line;
};

static int compare_named(const void *pa, const void *pb)
{
    const struct named *a = pa, *b = pb;
    int c = strcmp(a->arch, b->arch);

    return c ? c : (a->line > b->line) - (a->line < b->line);
}

static int refuse_duplicates(const char *path, const struct bk_truth *t,
                             const struct bk__rows *rows, struct bk_error *err)
{
    int rc = BK_OK;

    struct named *all = bk_alloc(t->n * sizeof *all);
    if (!all)
        return bk_fail(err, BK_ENOMEM, "cannot read '%s': out of memory", path);
    for (size_t i = 0; i < t->n; i++)
        all[i] = (struct named){ t->arch[i], rows->row[i].line };
    qsort(all, t->n, sizeof *all, compare_named);
    for (size_t i = 1; i < t->n && !rc; i++) {
        if (!strcmp(all[i].arch, all[i - 1].arch))
            rc = bk__rows_fail(err, path, all[i].line, "architecture '%s' appears again, first in "
                               "line %zu", all[i].arch, all[i - 1].line);
    }
    bk_free(all);
    return rc;
}

static int fill_row(const char *path, const struct bk_space *space, const struct bk__row *row,
                    struct bk_truth *t, struct bk_error *err)
{
    struct bk_error why = BK_ERROR_INIT;
    char text[MAX_ARCH_TEXT];

    int rc = bk_space_parse(space, row->key, &t->parsed[t->n], &why);
    if (!rc)
        rc = bk_space_format(space, &t->parsed[t->n], text, sizeof text, &why);
    if (rc)
        return bk__rows_fail(err, path, row->line, "%s", why.text);
    t->arch[t->n] = bk_strdup(text);
    if (!t->arch[t->n])
        return bk_fail(err, BK_ENOMEM, "cannot read '%s': out of memory", path);
    t->value[t->n++] = row->value;
    return BK_OK;
}

static int fill_truth(const char *path, const struct bk_space *space, const struct bk__rows *rows,
                      struct bk_truth *t, struct bk_error *err)
{
    if (!rows->n)
        return bk__rows_fail(err, path, 0, "holds no architectures");
    t->arch = bk_zalloc(rows->n * sizeof *t->arch);
    t->parsed = bk_zalloc(rows->n * sizeof *t->parsed);
    t->value = bk_zalloc(rows->n * sizeof *t->value);
    if (!t->arch || !t->parsed || !t->value)
        return bk_fail(err, BK_ENOMEM, "cannot read '%s': out of memory", path);
    for (size_t i = 0; i < rows->n; i++)
        BK_TRY(fill_row(path, space, &rows->row[i], t, err));
    return refuse_duplicates(path, t, rows, err);
}

int bk_truth_read(const char *path, const char *column, const struct bk_space *space,
                  struct bk_truth *out, struct bk_error *err)
{
    const struct bk__row_columns columns = { .key = "arch", .value = column };
    struct bk_truth truth = { 0 };
    struct bk__rows rows;

    BK_TRY(bk__rows_read(path, &columns, &rows, err));
    int rc = fill_truth(path, space, &rows, &truth, err);
    bk__rows_release(&rows);
    if (rc)
        bk_truth_release(&truth);
    else
        *out = truth;
    return rc;
}

void bk_truth_release(struct bk_truth *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        bk_free(t->arch[i]);
    bk_free(t->arch);
    bk_free(t->parsed);
    bk_free(t->value);
    memset(t, 0, sizeof *t);
}

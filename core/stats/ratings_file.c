/*
 * stats/ratings_file.c: the ratings of one block as a file, and the score of an architecture from them.
 *
 * A file must rate every path of its block exactly once; anything else is a mistake that would silently change a
 * correlation. The written form is that of the BossNAS release, so that other tools read it.
 */
#include "stats/table_rows.h"

#include <bosskit/file.h>
#include <bosskit/table.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading --------------------------------------------------------------------------------- */

/* A legal path of the block, and the line in which the file rates it. */
struct legal {
    struct bk_path path;
    size_t row;                 /* 1-based; 0 = not rated yet */
};

static int compare_paths(const struct bk_path *a, const struct bk_path *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    int c = memcmp(a->op, b->op, n);

    return c ? c : a->n - b->n;
}

static int compare_legal(const void *pa, const void *pb)
{
    const struct legal *a = pa, *b = pb;

    return compare_paths(&a->path, &b->path);
}

static int make_legal(const struct bk_space *space, int32_t block, int32_t entry,
                      struct legal **out, size_t *n, struct bk_error *err)
{
    struct bk_path *path = NULL;

    BK_TRY(bk_space_paths(space, block, entry, &path, n, err));
    struct legal *legal = bk_zalloc(*n * sizeof *legal);
    for (size_t i = 0; legal && i < *n; i++)
        legal[i].path = path[i];
    bk_free(path);
    if (!legal)
        return bk_fail(err, BK_ENOMEM, "cannot list the paths of block %" PRId32 ": out of memory",
                       block);
    qsort(legal, *n, sizeof *legal, compare_legal);
    *out = legal;
    return BK_OK;
}

static int take_row(const char *file, const struct bk_space *space, const struct bk__rows *rows,
                    size_t i, struct legal *legal, size_t n_legal, struct bk_block_table *t,
                    struct bk_error *err)
{
    const struct bk__row *row = &rows->row[i];
    struct bk_error why = BK_ERROR_INIT;
    struct legal wanted = { .row = 0 };

    if (bk_path_parse(row->key, &wanted.path, &why))
        return bk__rows_fail(err, file, row->line, "%s", why.text);
    struct legal *found = bsearch(&wanted, legal, n_legal, sizeof *legal, compare_legal);
    if (!found) {
        if (!bk_space_check_path(space, t->block, t->entry, &wanted.path, &why))
            bk_fail(&why, BK_EDATA, "path '%s' is not a path of the block", row->key);
        return bk__rows_fail(err, file, row->line, "%s", why.text);
    }
    if (found->row)
        return bk__rows_fail(err, file, row->line, "path '%s' appears again, first in line %zu",
                             row->key, rows->row[found->row - 1].line);
    found->row = i + 1;
    t->path[i] = wanted.path;
    t->score[i] = row->value;
    t->n++;
    return BK_OK;
}

static int refuse_gaps(const char *file, const struct legal *legal, size_t n, int32_t block,
                       struct bk_error *err)
{
    char text[BK_MAX_LAYERS + 1];
    size_t missing = 0;

    for (size_t i = n; i-- > 0;) {
        if (legal[i].row)
            continue;
        bk_path_format(&legal[i].path, text);
        missing++;
    }
    if (!missing)
        return BK_OK;
    return bk__rows_fail(err, file, 0, "%zu of the %zu paths of block %" PRId32 " are missing, the "
                         "first is '%s'", missing, n, block, text);
}

static int fill_ratings(const char *file, const struct bk_space *space,
                        const struct bk__rows *rows, struct bk_block_table *t,
                        struct bk_error *err)
{
    struct legal *legal = NULL;
    size_t n_legal = 0;
    int rc;

    t->path = bk_alloc(rows->n * sizeof *t->path);
    t->score = bk_alloc(rows->n * sizeof *t->score);
    if (!t->path || !t->score)
        return bk_fail(err, BK_ENOMEM, "cannot read '%s': out of memory", file);
    rc = make_legal(space, t->block, t->entry, &legal, &n_legal, err);
    for (size_t i = 0; i < rows->n && !rc; i++)
        rc = take_row(file, space, rows, i, legal, n_legal, t, err);
    if (!rc)
        rc = refuse_gaps(file, legal, n_legal, t->block, err);
    bk_free(legal);
    return rc;
}

int bk_ratings_read(const char *path, const struct bk_space *space, int32_t block, int32_t entry,
                    struct bk_block_table *out, struct bk_error *err)
{
    static const struct bk__row_columns columns = { "path", "score", true };
    struct bk_block_table table = { .block = block, .entry = entry };
    struct bk__rows rows;

    BK_TRY(bk__rows_read(path, &columns, &rows, err));
    int rc = fill_ratings(path, space, &rows, &table, err);
    bk__rows_release(&rows);
    if (rc)
        bk_block_table_release(&table);
    else
        *out = table;
    return rc;
}

/* ---- writing --------------------------------------------------------------------------------- */

struct ranked {
    double score;
    size_t index;
};

static int compare_ranked(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;

    if (a->score != b->score)
        return a->score < b->score ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* YAML 1.1 takes "3" and "1e+22" for something else than a float, so a fraction is always there. */
static void format_yaml_real(double v, char buf[40])
{
    char plain[32];

    bk_format_f64(v, plain);
    size_t n = strcspn(plain, ".e");
    snprintf(buf, 40, "%.*s%s%s", (int)n, plain, plain[n] == '.' ? "" : ".0", plain + n);
}

int bk_ratings_write_yaml(const char *path, const struct bk_block_table *t, struct bk_error *err)
{
    struct bk_text text = BK_TEXT_INIT;
    char digits[BK_MAX_LAYERS + 1], number[40];
    int rc = BK_OK;

    struct ranked *order = bk_alloc(t->n * sizeof *order);
    if (!order)
        return bk_fail(err, BK_ENOMEM, "cannot write '%s': out of memory", path);
    for (size_t i = 0; i < t->n && !rc; i++) {
        order[i] = (struct ranked){ t->score[i], i };
        if (!isfinite(t->score[i]))
            rc = bk_fail(err, BK_ENUMERIC, "cannot write '%s': the rating of path %zu of block %"
                         PRId32 " is not finite", path, i, t->block);
    }
    if (rc)
        goto done;
    qsort(order, t->n, sizeof *order, compare_ranked);
    for (size_t i = 0; i < t->n; i++) {
        bk_path_format(&t->path[order[i].index], digits);
        format_yaml_real(order[i].score, number);
        bk_text_addf(&text, "- !!python/tuple\n  - '%s'\n  - %s\n", digits, number);
    }
    rc = text.failed ? bk_fail(err, BK_ENOMEM, "cannot write '%s': out of memory", path)
                     : bk_file_write(path, bk_text_get(&text), text.len, err);
done:
    bk_text_release(&text);
    bk_free(order);
    return rc;
}

/* ---- scoring --------------------------------------------------------------------------------- */

static const double *find_score(const struct bk_block_table *t, const struct bk_path *path)
{
    for (size_t i = 0; i < t->n; i++) {
        if (bk_path_equal(&t->path[i], path))
            return &t->score[i];
    }
    return NULL;
}

static double round_as_printed(double v, int decimals)
{
    char text[400];

    snprintf(text, sizeof text, "%.*f", decimals < 30 ? decimals : 30, v);
    return strtod(text, NULL);
}

int bk_arch_score(const struct bk_space *space, const struct bk_block_table *tables,
                  const struct bk_arch *arch, const double *weight, double offset,
                  int round_decimals, double *out, struct bk_error *err)
{
    char text[BK_MAX_LAYERS + 1];
    double total = 0;

    if (arch->n_blocks != (uint32_t)space->info.n_blocks)
        return bk_fail(err, BK_EINVAL, "an architecture of %" PRIu32 " blocks, space '%s' has %"
                       PRId32, arch->n_blocks, space->name, space->info.n_blocks);
    for (int32_t k = 0; k < space->info.n_blocks; k++) {
        const double *score = find_score(&tables[k], &arch->block[k]);
        if (!score && bk_space_check_path(space, k, tables[k].entry, &arch->block[k], NULL)) {
            *out = NAN;
            return BK_OK;
        }
        if (!score) {
            bk_path_format(&arch->block[k], text);
            return bk_fail(err, BK_EDATA, "path '%s' of block %" PRId32 " has no rating", text, k);
        }
        total += (weight ? weight[k] : 1.0) * (*score + offset);
    }
    *out = round_decimals >= 0 ? round_as_printed(total, round_decimals) : total;
    return BK_OK;
}

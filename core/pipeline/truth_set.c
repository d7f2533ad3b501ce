/*
 * The architectures that ratings are judged on: all or a sample of a table's, or a sample of the space whose values
 * come from training each alone. The sample depends on truth.seed alone.
 */
#include "pipeline/plan.h"

#include <bosskit/file.h>
#include <bosskit/random.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define ARCH_TEXT 512

static int out_of_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for the truth table");
}

void bk__truth_free(struct bk_truth_set *t)
{
    if (!t)
        return;
    for (size_t i = 0; t->text && i < t->n; i++)
        bk_free(t->text[i]);
    bk_free(t->text);
    bk_free(t->arch);
    bk_free(t->value);
    bk_free(t->alone);
    bk_free(t);
}

static int allocate(struct bk_truth_set *t, size_t n, struct bk_error *err)
{
    t->text = bk_zalloc((n ? n : 1) * sizeof *t->text);
    t->arch = bk_zalloc((n ? n : 1) * sizeof *t->arch);
    t->value = bk_zalloc((n ? n : 1) * sizeof *t->value);
    if (!t->text || !t->arch || !t->value)
        return out_of_memory(err);
    t->n = n;
    return BK_OK;
}

/* ---- from a file ------------------------------------------------------------------------------------------ */

static int missing_file(const struct bk_row *row, const char *what, struct bk_error *err)
{
    const char *hint = row->truth.hint;
    return bk_fail(err, BK_EDATA, "%s%s%s; then say truth.file=PATH", what, hint ? "; get it: " : "", hint ? hint : "");
}

/** Rows `keep[0..n)` of the table, in the table's order. */
static int take_rows(struct bk_truth_set *t, const struct bk_truth *table, const bool *keep, size_t n,
                     struct bk_error *err)
{
    size_t j = 0;
    BK_TRY(allocate(t, n, err));
    for (size_t i = 0; i < table->n && j < n; i++) {
        if (keep && !keep[i])
            continue;
        t->text[j] = bk_strdup(table->arch[i]);
        if (!t->text[j])
            return out_of_memory(err);
        t->arch[j] = table->parsed[i];
        t->value[j++] = table->value[i];
    }
    return BK_OK;
}

static int read_file(const struct bk_row *row, struct bk_truth_set *t, struct bk_error *err)
{
    struct bk_truth table = { 0 };
    uint32_t *order = NULL;
    bool *keep = NULL;
    int rc;

    if (!row->truth.file)
        return missing_file(row, "the truth table is not given", err);
    if (!bk_file_exists(row->truth.file)) {
        char what[700];
        snprintf(what, sizeof what, "the truth table '%.600s' does not exist", row->truth.file);
        return missing_file(row, what, err);
    }
    BK_TRY(bk_truth_read(row->truth.file, row->truth.column, &row->space, &table, err));
    size_t n = row->truth.n > 0 && (size_t)row->truth.n < table.n ? (size_t)row->truth.n : table.n;
    if (n < table.n) {
        struct bk_random r;
        order = bk_alloc(table.n * sizeof *order);
        keep = bk_zalloc(table.n * sizeof *keep);
        if (order && keep) {
            bk_random_init(&r, (uint64_t)row->truth.seed, bk_random_stream("truth"), 0, 0);
            bk_random_permutation(&r, (uint32_t)table.n, order);
            for (size_t i = 0; i < n; i++)
                keep[order[i]] = true;
        }
    }
    rc = n == table.n || (order && keep) ? take_rows(t, &table, keep, n, err) : out_of_memory(err);
    bk_free(order);
    bk_free(keep);
    bk_truth_release(&table);
    return rc;
}

/* ---- from the space ------------------------------------------------------------------------------------------ */

static bool has(const struct bk_truth_set *t, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(t->text[i], text) == 0)
            return true;
    }
    return false;
}

static int sample_space(const struct bk_row *row, struct bk_truth_set *t, struct bk_error *err)
{
    size_t wanted = (size_t)row->truth.n, got = 0;
    char text[ARCH_TEXT];

    BK_TRY(allocate(t, wanted, err));
    for (uint64_t index = 0; got < wanted; index++) {
        if (index > 1000 * (uint64_t)wanted)
            return bk_fail(err, BK_ECONFIG, "truth.n: is %zu, but space '%s' seems to have only about %zu architectures",
                           wanted, row->space.name, got);
        BK_TRY(bk_space_sample(&row->space, (uint64_t)row->truth.seed, index, &t->arch[got], err));
        BK_TRY(bk_space_format(&row->space, &t->arch[got], text, sizeof text, err));
        if (has(t, got, text))
            continue;
        t->text[got] = bk_strdup(text);
        if (!t->text[got])
            return out_of_memory(err);
        t->value[got++] = NAN;
    }
    t->alone = bk_zalloc(wanted * sizeof *t->alone);
    return t->alone ? BK_OK : out_of_memory(err);
}

static void digest(struct bk_truth_set *t)
{
    struct bk_sha256 s, all;
    bk_sha256_init(&s);
    for (size_t i = 0; i < t->n; i++)
        bk_sha256_add(&s, t->text[i], strlen(t->text[i]) + 1);
    all = s;
    bk_sha256_hex(&s, t->digest);
    if (!t->alone)
        bk_sha256_add(&all, t->value, t->n * sizeof *t->value);
    bk_sha256_hex(&all, t->id);
}

int bk__truth_open(const struct bk_row *row, struct bk_truth_set **out, struct bk_error *err)
{
    struct bk_truth_set *t = bk_zalloc(sizeof *t);
    int rc = t ? BK_OK : out_of_memory(err);

    bool wanted = bk_value_find(row->tree, "truth") != NULL;

    if (!rc && wanted)
        rc = row->truth.source == BK_TRUTH_FILE ? read_file(row, t, err) : sample_space(row, t, err);
    if (!rc && wanted && t->n < 3)
        rc = bk_fail(err, BK_EDATA, "the truth table has %zu architectures, a correlation needs at least 3", t->n);
    if (rc) {
        bk__truth_free(t);
        return rc;
    }
    digest(t);
    *out = t;
    return BK_OK;
}

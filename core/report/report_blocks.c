/*
 * Ratings of single blocks: how many paths, which is best, between which values they lie, and how far they would repeat on other
 * validation images. For run.json and back, Markdown, CSV and HTML; a terminal is told only of ratings that are mostly noise.
 */
#include "report/report.h"

#include <math.h>
#include <stdio.h>

#define HALF_NOISE 0.5          /* below it noise has more of the variance than paths have */

/* ---- run.json ------------------------------------------------------------------------------------------------- */

json_t *bk__blocks_save(const struct bk_report_entry *e)
{
    json_t *a = json_array();
    for (int32_t k = 0; k < e->n_blocks; k++) {
        const struct bk_report_block *b = &e->block[k];
        json_array_append_new(a, json_pack("{s:I,s:s,s:o,s:o,s:o}", "paths", (json_int_t)b->n_paths, "best", b->best, "best_rating",
                                           bk__real_or_null(b->best_rating), "worst_rating", bk__real_or_null(b->worst_rating), "reliability",
                                           bk__real_or_null(b->reliability)));
    }
    return a;
}

int bk__blocks_load(struct bk_report_entry *e, const json_t *a, struct bk_error *err)
{
    if (json_array_size(a) > BK_MAX_BLOCKS)
        return bk_fail(err, BK_EDATA, "run.json has ratings of %zu blocks, at most %d are legal", json_array_size(a),
                       BK_MAX_BLOCKS);
    for (e->n_blocks = 0; (size_t)e->n_blocks < json_array_size(a); e->n_blocks++) {
        const json_t *o = json_array_get(a, (size_t)e->n_blocks);
        const char *best = json_string_value(json_object_get(o, "best"));
        struct bk_report_block *b = &e->block[e->n_blocks];
        b->n_paths = (size_t)json_integer_value(json_object_get(o, "paths"));
        snprintf(b->best, sizeof b->best, "%s", best ? best : "");
        b->best_rating = bk__real_of(json_object_get(o, "best_rating"));
        b->worst_rating = bk__real_of(json_object_get(o, "worst_rating"));
        b->reliability = bk__real_of(json_object_get(o, "reliability"));
    }
    return BK_OK;
}

/* ---- for people ----------------------------------------------------------------------------------------------- */

/** The blocks of a row whose ratings are mostly noise, in one line. */
static void add_noise(const struct bk_report_entry *e, const char *bullet, struct bk_text *out)
{
    const char *before = "";
    for (int32_t k = 0; k < e->n_blocks; k++) {
        if (!(e->block[k].reliability < HALF_NOISE))
            continue;
        if (!*before)
            bk_text_addf(out, "%s%s: ratings are mostly noise in block ", bullet, e->name);
        bk_text_addf(out, "%s%d (reliability %.2f)", before, (int)k, e->block[k].reliability);
        before = ", ";
    }
    if (*before)
        bk_text_add(out, "; more validation images make them firmer\n");
}

void bk__blocks_notes(const struct bk_report *r, const char *bullet, struct bk_text *out)
{
    for (size_t i = 0; i < r->n; i++)
        if (!r->entry[i].failure)
            add_noise(&r->entry[i], bullet, out);
}

static void cells(const struct bk_report_block *b, char best[32], char worst[32], char reliability[32])
{
    bk__report_number(b->best_rating, 5, best);
    bk__report_number(b->worst_rating, 5, worst);
    bk__report_number(b->reliability, 2, reliability);
}

static bool any(const struct bk_report *r)
{
    bool found = false;
    for (size_t i = 0; i < r->n; i++)
        found = found || r->entry[i].n_blocks;
    return found;
}

static void add_lines(const struct bk_report *r, bool html, struct bk_text *out)
{
    char best[32], worst[32], reliability[32];
    for (size_t i = 0; i < r->n; i++) {
        const struct bk_report_entry *e = &r->entry[i];
        for (int32_t k = 0; k < e->n_blocks; k++) {
            const struct bk_report_block *b = &e->block[k];
            cells(b, best, worst, reliability);
            bk_text_add(out, html ? "<tr><td>" : "| ");
            if (html)
                bk__report_escape(out, e->name);
            else
                bk_text_add(out, e->name);
            bk_text_addf(out, html ? "</td><td>%d</td><td>%zu</td><td><code>%s</code></td><td>%s</td><td>%s</td><td>%s</td></tr>\n"
                                   : " | %d | %zu | %s | %s | %s | %s |\n",
                         (int)k, b->n_paths, b->best, best, worst, reliability);
        }
    }
}

void bk__blocks_markdown(const struct bk_report *r, struct bk_text *out)
{
    if (!any(r))
        return;
    bk_text_add(out, "Ratings of the blocks:\n\n| row | block | paths | best path | its rating | worst | reliability |\n"
                     "|---|---|---|---|---|---|---|\n");
    add_lines(r, false, out);
    bk_text_add(out, "\n");
}

void bk__blocks_html(const struct bk_report *r, struct bk_text *out)
{
    if (!any(r))
        return;
    bk_text_add(out, "<h2>Ratings of the blocks</h2>\n<table><tr><th>row</th><th>block</th><th>paths</th><th>best path</th>"
                     "<th>its rating</th><th>worst</th><th>reliability</th></tr>\n");
    add_lines(r, true, out);
    bk_text_add(out, "</table>\n<p><small>Reliability: the share of the variance of ratings that is not noise of the validation "
                     "images.</small></p>\n");
}

void bk__blocks_csv(const struct bk_report *r, struct bk_text *out)
{
    if (any(r))
        bk_text_add(out, "row,block,paths,best_path,best_rating,worst_rating,reliability\n");
    for (size_t i = 0; i < r->n; i++) {
        const struct bk_report_entry *e = &r->entry[i];
        for (int32_t k = 0; k < e->n_blocks; k++) {
            bk__csv_field(out, e->name);
            bk_text_addf(out, ",%d,%zu,%s", (int)k, e->block[k].n_paths, e->block[k].best);
            bk__csv_number(out, e->block[k].best_rating);
            bk__csv_number(out, e->block[k].worst_rating);
            bk__csv_number(out, e->block[k].reliability);
            bk_text_add(out, "\n");
        }
    }
}

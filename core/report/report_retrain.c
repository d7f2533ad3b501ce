/*
 * Retrained architectures as a table: top-1 and top-5 of the last and of the averaged weights with N and binomial
 * intervals (Wilson 1927), cost, and what was published beside them; to run.json and back. For a terminal, Markdown,
 * CSV, LaTeX and HTML.
 */
#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROW, ARCH, WEIGHTS, TOP1, TOP5, N_IMAGES, PARAMS, MACS, PUB_TOP1, PUB_TOP5, PUB_PARAMS, PUB_MADDS, N_COLUMNS };

static const char *const heading[N_COLUMNS] = { "retrained",       "architecture",    "weights",          "top-1",
                                                "top-5",           "N",               "params",           "multiply-adds",
                                                "published top-1", "published top-5", "published params",
                                                "published multiply-adds" };

/** One line of the table: an entry with one of its weight sets. */
struct line {
    const struct bk_report_retrained *e;
    const struct bk_report_counts *c;   /* NULL: failed */
    bool is_average;
};

/** The lines of all entries; at most two an entry. Returns false past the last. */
static bool line_at(const struct bk_report *r, size_t at, struct line *out)
{
    size_t k = 0;
    for (size_t i = 0; i < r->n_retrained; i++) {
        const struct bk_report_retrained *e = &r->retrained[i];
        if (k++ == at) {
            *out = (struct line){ e, e->failure ? NULL : &e->last, false };
            return true;
        }
        if (!e->failure && e->average.n && k++ == at) {
            *out = (struct line){ e, &e->average, true };
            return true;
        }
    }
    return false;
}

static double percent(int64_t k, int64_t n)
{
    return n ? 100.0 * (double)k / (double)n : NAN;
}

static struct bk_interval percent_interval(int64_t k, int64_t n)
{
    struct bk_interval i = bk_proportion_interval(k, n);
    i.low *= 100;
    i.high *= 100;
    return i;
}

static void accuracy(int64_t k, int64_t n, char buf[160])
{
    struct bk_interval i = percent_interval(k, n);
    snprintf(buf, 160, "%.2f [%.2f, %.2f]", percent(k, n), i.low, i.high);
}

static void number(double v, double unit, const char *suffix, char buf[160])
{
    if (isfinite(v))
        snprintf(buf, 160, "%.6g%s", v / unit, suffix);
    else
        snprintf(buf, 160, "-");
}

static void cell(const struct line *l, int column, char buf[160])
{
    const struct bk_report_retrained *e = l->e;
    if (column == ROW || column == ARCH)
        snprintf(buf, 160, "%.159s", column == ROW ? e->row : e->arch);
    else if (column >= PUB_TOP1)
        number(e->published[column - PUB_TOP1], column >= PUB_PARAMS ? 1e6 : 1, column >= PUB_PARAMS ? " M" : "", buf);
    else if (!l->c)
        snprintf(buf, 160, column == WEIGHTS ? "failed" : "-");
    else if (column == WEIGHTS)
        snprintf(buf, 160, l->is_average ? "averaged" : "last");
    else if (column == TOP1 || column == TOP5)
        accuracy(column == TOP1 ? l->c->top1 : l->c->top5, l->c->n, buf);
    else if (column == N_IMAGES)
        snprintf(buf, 160, "%lld", (long long)l->c->n);
    else
        number(column == PARAMS ? e->params : e->macs, 1e6, " M", buf);
}

/** Published columns without anything in them are left out. */
static bool is_shown(const struct bk_report *r, int column)
{
    bool any = column < PUB_TOP1;
    for (size_t i = 0; i < r->n_retrained && !any; i++)
        any = isfinite(r->retrained[i].published[column - PUB_TOP1]);
    return any;
}

static void add_notes(const struct bk_report *r, const char *bullet, struct bk_text *out)
{
    for (size_t i = 0; i < r->n_retrained; i++) {
        const struct bk_report_retrained *e = &r->retrained[i];
        if (e->failure)
            bk_text_addf(out, "%s%s: retraining failed: %s\n", bullet, e->row, e->failure);
        bk_text_addf(out, "%s%s, retrained: %s\n", bullet, e->row, e->settings);
        if (!e->failure)
            bk_text_addf(out, "%s%s, retrained: tested at %d pixels; multiply-adds at %d pixels, by the convention '%s' "
                              "%.6g M\n", bullet, e->row, e->eval_size, e->cost_size, e->counter_name ? e->counter_name : "",
                         e->counter / 1e6);
        if (e->source && e->source[0])
            bk_text_addf(out, "%s%s, retrained: published values from %s\n", bullet, e->row, e->source);
    }
    bk_text_addf(out, "%stop-1, top-5: per cent of N test images; intervals: 95 %% binomial (Wilson), one training\n",
                 bullet);
}

void bk__retrained_text(const struct bk_report *r, struct bk_text *out)
{
    int width[N_COLUMNS];
    struct line l;
    char c[160];
    if (!r->n_retrained)
        return;
    for (int k = 0; k < N_COLUMNS; k++) {
        width[k] = is_shown(r, k) ? (int)strlen(heading[k]) : 0;
        for (size_t i = 0; width[k] && line_at(r, i, &l); i++) {
            cell(&l, k, c);
            width[k] = (int)strlen(c) > width[k] ? (int)strlen(c) : width[k];
        }
        if (width[k])
            bk_text_addf(out, "%s%-*s", k ? "  " : "", width[k], heading[k]);
    }
    bk_text_add(out, "\n");
    for (size_t i = 0; line_at(r, i, &l); i++) {
        for (int k = 0; k < N_COLUMNS; k++) {
            cell(&l, k, c);
            if (width[k])
                bk_text_addf(out, "%s%-*s", k ? "  " : "", width[k], c);
        }
        bk_text_add(out, "\n");
    }
    bk_text_add(out, "\n");
    add_notes(r, "", out);
}

void bk__retrained_markdown(const struct bk_report *r, struct bk_text *out)
{
    struct line l;
    char c[160];
    if (!r->n_retrained)
        return;
    for (int k = 0; k < N_COLUMNS; k++)
        bk_text_addf(out, is_shown(r, k) ? "| %s " : "%.0s", heading[k]);
    bk_text_add(out, "|\n");
    for (int k = 0; k < N_COLUMNS; k++)
        bk_text_add(out, is_shown(r, k) ? (k >= TOP1 ? "|---:" : "|---") : "");
    bk_text_add(out, "|\n");
    for (size_t i = 0; line_at(r, i, &l); i++) {
        for (int k = 0; k < N_COLUMNS; k++) {
            cell(&l, k, c);
            bk_text_addf(out, is_shown(r, k) ? "| %s " : "%.0s", c);
        }
        bk_text_add(out, "|\n");
    }
    bk_text_add(out, "\n");
    add_notes(r, "- ", out);
}

void bk__retrained_csv(const struct bk_report *r, struct bk_text *out)
{
    struct line l;
    if (!r->n_retrained)
        return;
    bk_text_add(out, "row,arch,weights,n,top1,top1_low,top1_high,top5,top5_low,top5_high,params,macs,counter,eval_size,"
                     "published_top1,published_top5,published_params,published_madds,failure\n");
    for (size_t i = 0; line_at(r, i, &l); i++) {
        const struct bk_report_counts none = { 0, 0, 0 }, *c = l.c ? l.c : &none;
        bk__csv_field(out, l.e->row);
        bk_text_add(out, ",");
        bk__csv_field(out, l.e->arch);
        bk_text_addf(out, ",%s,%lld", l.c ? (l.is_average ? "averaged" : "last") : "", (long long)c->n);
        for (int k = 0; k < 2; k++) {
            int64_t right = k ? c->top5 : c->top1;
            bk__csv_number(out, percent(right, c->n));
            bk__csv_number(out, percent_interval(right, c->n).low);
            bk__csv_number(out, percent_interval(right, c->n).high);
        }
        bk__csv_number(out, l.e->params);
        bk__csv_number(out, l.e->macs);
        bk__csv_number(out, l.e->counter);
        bk_text_addf(out, ",%d", l.e->eval_size);
        for (int k = 0; k < 4; k++)
            bk__csv_number(out, l.e->published[k]);
        bk_text_add(out, ",");
        bk__csv_field(out, l.e->failure);
        bk_text_add(out, "\n");
    }
}

void bk__retrained_tex(const struct bk_report *r, struct bk_text *out)
{
    struct line l;
    char c[160];
    if (!r->n_retrained)
        return;
    bk_text_add(out, "\n\\begin{tabular}{");
    for (int k = 0; k < N_COLUMNS; k++)
        bk_text_add(out, !is_shown(r, k) ? "" : k >= TOP1 ? "r" : "l");
    bk_text_add(out, "}\n\\toprule\n");
    for (int k = 0; k < N_COLUMNS; k++) {
        if (is_shown(r, k))
            bk_text_addf(out, "%s%s", k ? " & " : "", heading[k]);
    }
    bk_text_add(out, " \\\\\n\\midrule\n");
    for (size_t i = 0; line_at(r, i, &l); i++) {
        for (int k = 0; k < N_COLUMNS; k++) {
            cell(&l, k, c);
            if (!is_shown(r, k))
                continue;
            bk_text_add(out, k ? " & " : "");
            bk__tex_text(out, c);
        }
        bk_text_add(out, " \\\\\n");
    }
    bk_text_add(out, "\\bottomrule\n\\end{tabular}\n");
}

void bk__retrained_html(const struct bk_report *r, struct bk_text *out)
{
    struct line l;
    char c[160];
    if (!r->n_retrained)
        return;
    bk_text_add(out, "<h2>Retrained</h2>\n<table><tr>");
    for (int k = 0; k < N_COLUMNS; k++)
        bk_text_addf(out, is_shown(r, k) ? "<th>%s</th>" : "%.0s", heading[k]);
    bk_text_add(out, "</tr>\n");
    for (size_t i = 0; line_at(r, i, &l); i++) {
        bk_text_add(out, "<tr>");
        for (int k = 0; k < N_COLUMNS; k++) {
            cell(&l, k, c);
            if (!is_shown(r, k))
                continue;
            bk_text_add(out, "<td>");
            bk__report_escape(out, c);
            bk_text_add(out, "</td>");
        }
        bk_text_add(out, "</tr>\n");
    }
    bk_text_add(out, "</table>\n<p><small>");
    struct bk_text notes = BK_TEXT_INIT;
    add_notes(r, "", &notes);
    bk__report_escape(out, bk_text_get(&notes));
    bk_text_release(&notes);
    bk_text_add(out, "</small></p>\n");
}

/* ---- run.json ----------------------------------------------------------------------------------------------- */

static char *get_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? bk_strdup(s) : NULL;
}

static json_t *counts_json(const struct bk_report_counts *c)
{
    if (!c->n)
        return json_null();
    struct bk_interval one = percent_interval(c->top1, c->n), five = percent_interval(c->top5, c->n);
    return json_pack("{s:I,s:I,s:I,s:[f,f],s:[f,f]}", "n", (json_int_t)c->n, "top1", (json_int_t)c->top1, "top5",
                     (json_int_t)c->top5, "top1_percent_95", one.low, one.high, "top5_percent_95", five.low, five.high);
}

static void load_counts(const json_t *o, struct bk_report_counts *c)
{
    c->n = json_integer_value(json_object_get(o, "n"));
    c->top1 = json_integer_value(json_object_get(o, "top1"));
    c->top5 = json_integer_value(json_object_get(o, "top5"));
}

json_t *bk__retrained_save(const struct bk_report *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_retrained; i++) {
        const struct bk_report_retrained *e = &r->retrained[i];
        json_t *published = json_array(), *o = json_pack(
            "{s:s?,s:s?,s:s?,s:s?,s:s?,s:s?,s:o,s:o,s:o,s:o,s:o,s:i,s:i}", "row", e->row, "arch", e->arch, "settings",
            e->settings, "failure", e->failure, "counter_name", e->counter_name, "source", e->source, "last",
            counts_json(&e->last), "average", counts_json(&e->average), "params", bk__real_or_null(e->params), "macs", bk__real_or_null(e->macs),
            "counter", bk__real_or_null(e->counter), "cost_size", (int)e->cost_size, "eval_size", (int)e->eval_size);
        for (int k = 0; k < 4; k++)
            json_array_append_new(published, bk__real_or_null(e->published[k]));
        json_object_set_new(o, "published", published);
        json_array_append_new(list, o);
    }
    return list;
}

int bk__retrained_load(struct bk_report *r, const json_t *list, struct bk_error *err)
{
    if (!json_array_size(list))
        return BK_OK;
    r->retrained = bk_zalloc(json_array_size(list) * sizeof *r->retrained);
    if (!r->retrained)
        return bk_fail(err, BK_ENOMEM, "out of memory for a report");
    while (r->n_retrained < json_array_size(list)) {
        const json_t *o = json_array_get(list, r->n_retrained);
        struct bk_report_retrained *e = &r->retrained[r->n_retrained++];
        e->row = get_text(o, "row");
        e->arch = get_text(o, "arch");
        e->settings = get_text(o, "settings");
        e->failure = get_text(o, "failure");
        e->counter_name = get_text(o, "counter_name");
        e->source = get_text(o, "source");
        load_counts(json_object_get(o, "last"), &e->last);
        load_counts(json_object_get(o, "average"), &e->average);
        e->params = bk__real_of(json_object_get(o, "params"));
        e->macs = bk__real_of(json_object_get(o, "macs"));
        e->counter = bk__real_of(json_object_get(o, "counter"));
        e->cost_size = (int32_t)json_integer_value(json_object_get(o, "cost_size"));
        e->eval_size = (int32_t)json_integer_value(json_object_get(o, "eval_size"));
        for (size_t k = 0; k < 4; k++)
            e->published[k] = bk__real_of(json_array_get(json_object_get(o, "published"), k));
        if (!e->row || !e->arch || !e->settings)
            return bk_fail(err, BK_EDATA, "run.json has a retrained architecture without row, arch or settings");
    }
    return BK_OK;
}

void bk__retrained_release(struct bk_report *r)
{
    for (size_t i = 0; i < r->n_retrained; i++) {
        struct bk_report_retrained *e = &r->retrained[i];
        bk_free(e->row);
        bk_free(e->arch);
        bk_free(e->settings);
        bk_free(e->failure);
        bk_free(e->counter_name);
        bk_free(e->source);
    }
    bk_free(r->retrained);
}

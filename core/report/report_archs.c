/*
 * Named architectures as a table: cost counted here, exactly and by the space's published convention, and what was
 * published beside it. For a terminal, Markdown, CSV, LaTeX and HTML. Drawings are report_draw.c's.
 */
#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROW, NAME, PARAMS, MACS, COUNTER, TOP1, TOP5, PUB_PARAMS, PUB_MADDS, N_COLUMNS };

static const char *const heading[N_COLUMNS] = { "row",   "architecture", "params", "multiply-adds",    "counter",
                                                "top-1", "top-5",        "params", "multiply-adds" };

static size_t named(const struct bk_report *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_archs; i++)
        n += !r->arch[i].is_found;
    return n;
}

static double number_of(const struct bk_report_arch *a, int column)
{
    const double v[N_COLUMNS] = { NAN, NAN, a->params, a->macs, a->counter, a->top1, a->top5, a->published_params,
                                  a->published_madds };
    return v[column];
}

/** Columns without anything in them are left out. */
static bool is_shown(const struct bk_report *r, int column)
{
    const char *first = NULL;
    bool any = column == NAME;
    for (size_t i = 0; i < r->n_archs && !any; i++) {
        if (r->arch[i].is_found)
            continue;
        if (column == ROW) {
            any = first && strcmp(first, r->arch[i].row) != 0;
            first = r->arch[i].row;
        } else {
            any = isfinite(number_of(&r->arch[i], column));
        }
    }
    return any;
}

/** "30.4 M", "402.86 M", "80.8". */
static void cell(const struct bk_report_arch *a, int column, char buf[160])
{
    double v = number_of(a, column);
    if (column == ROW || column == NAME)
        snprintf(buf, 160, "%.159s", column == ROW ? a->row : a->name);
    else if (!isfinite(v))
        snprintf(buf, 160, "-");
    else if (column == TOP1 || column == TOP5)
        snprintf(buf, 160, "%.4g", v);
    else
        snprintf(buf, 160, column >= PUB_PARAMS ? "%.6g M" : "%.3f M", v / 1e6);
}

static void title_of(int column, char buf[64])
{
    snprintf(buf, 64, "%s%s", column >= TOP1 ? "published " : "", heading[column]);
}

static bool has_source(const struct bk_report_arch *a)
{
    return !a->is_found && a->source && a->source[0];
}

/** Every source once, with the architectures it is about unless it is the only one. */
static void add_sources(const struct bk_report *r, const char *bullet, struct bk_text *out)
{
    const char *counter = NULL;
    bool several = false;
    for (size_t i = 0; i < r->n_archs; i++) {
        const struct bk_report_arch *a = &r->arch[i], *first = NULL;
        for (size_t j = 0; j < i && !first && has_source(a); j++)
            first = has_source(&r->arch[j]) ? &r->arch[j] : NULL;
        several = several || (!a->is_found && !has_source(a)) || (first && strcmp(first->source, a->source) != 0);
        if (!a->is_found && a->counter_name && a->counter_name[0])
            counter = a->counter_name;
    }
    for (size_t i = 0; i < r->n_archs; i++) {
        const struct bk_report_arch *a = &r->arch[i];
        bool told = !has_source(a);
        for (size_t j = 0; j < i && !told; j++)
            told = has_source(&r->arch[j]) && strcmp(r->arch[j].source, a->source) == 0;
        if (told)
            continue;
        bk_text_add(out, bullet);
        for (size_t j = i; j < r->n_archs && several; j++) {
            if (has_source(&r->arch[j]) && strcmp(r->arch[j].source, a->source) == 0)
                bk_text_addf(out, "%s%s", j > i ? ", " : "", r->arch[j].name);
        }
        bk_text_addf(out, "%spublished values from %s\n", several ? ": " : "", a->source);
    }
    if (counter)
        bk_text_addf(out, "%smultiply-adds: convolutions, linear maps and attention, exactly; counter: the published convention "
                          "'%s'\n",
                     bullet, counter);
}

void bk__archs_text(const struct bk_report *r, struct bk_text *out)
{
    int width[N_COLUMNS];
    char c[160], title[64];
    if (!named(r))
        return;
    for (int k = 0; k < N_COLUMNS; k++) {
        title_of(k, title);
        width[k] = is_shown(r, k) ? (int)strlen(title) : 0;
        for (size_t i = 0; i < r->n_archs && width[k]; i++) {
            cell(&r->arch[i], k, c);
            width[k] = !r->arch[i].is_found && (int)strlen(c) > width[k] ? (int)strlen(c) : width[k];
        }
        if (width[k])
            bk_text_addf(out, "%s%*s", k > NAME ? "  " : "", k > NAME ? width[k] : -width[k] - (k == ROW ? 2 : 0), title);
    }
    bk_text_add(out, "\n");
    for (size_t i = 0; i < r->n_archs; i++) {
        for (int k = 0; k < N_COLUMNS && !r->arch[i].is_found; k++) {
            cell(&r->arch[i], k, c);
            if (width[k])
                bk_text_addf(out, "%s%*s", k > NAME ? "  " : "", k > NAME ? width[k] : -width[k] - (k == ROW ? 2 : 0), c);
        }
        bk_text_add(out, r->arch[i].is_found ? "" : "\n");
    }
    bk_text_add(out, "\n");
    add_sources(r, "", out);
}

void bk__archs_markdown(const struct bk_report *r, struct bk_text *out)
{
    char c[160];
    if (!named(r))
        return;
    for (int line = 0; line < 2; line++) {
        for (int k = 0; k < N_COLUMNS; k++) {
            title_of(k, c);
            if (is_shown(r, k))
                bk_text_addf(out, "| %s ", line ? (k > NAME ? "---:" : "---") : c);
        }
        bk_text_add(out, "|\n");
    }
    for (size_t i = 0; i < r->n_archs; i++) {
        for (int k = 0; k < N_COLUMNS && !r->arch[i].is_found; k++) {
            cell(&r->arch[i], k, c);
            if (is_shown(r, k))
                bk_text_addf(out, "| %s ", c);
        }
        bk_text_add(out, r->arch[i].is_found ? "" : "|\n");
    }
    bk_text_add(out, "\n");
    add_sources(r, "- ", out);
}

void bk__archs_csv(const struct bk_report *r, struct bk_text *out)
{
    if (!named(r))
        return;
    bk_text_add(out, "row,name,arch,params,macs,counter,published_top1,published_top5,published_params,published_madds\n");
    for (size_t i = 0; i < r->n_archs; i++) {
        const struct bk_report_arch *a = &r->arch[i];
        if (a->is_found)
            continue;
        bk__csv_field(out, a->row);
        bk_text_add(out, ",");
        bk__csv_field(out, a->name);
        bk_text_add(out, ",");
        bk__csv_field(out, a->arch);
        for (int k = PARAMS; k < N_COLUMNS; k++)
            bk__csv_number(out, number_of(a, k));
        bk_text_add(out, "\n");
    }
}

void bk__archs_tex(const struct bk_report *r, struct bk_text *out)
{
    char c[160];
    if (!named(r))
        return;
    bk_text_addf(out, "%s\\begin{tabular}{", r->n ? "\n" : "");
    for (int k = 0; k < N_COLUMNS; k++)
        bk_text_add(out, !is_shown(r, k) ? "" : k > NAME ? "r" : "l");
    bk_text_add(out, "}\n\\toprule\n");
    for (size_t i = 0; i <= r->n_archs; i++) {
        const char *between = "";
        for (int k = 0; k < N_COLUMNS && (i == 0 || !r->arch[i - 1].is_found); k++) {
            if (!is_shown(r, k))
                continue;
            if (i == 0)
                title_of(k, c);
            else
                cell(&r->arch[i - 1], k, c);
            bk_text_add(out, between);
            bk__tex_text(out, c);
            between = " & ";
        }
        bk_text_add(out, between[0] ? " \\\\\n" : "");
        bk_text_add(out, i == 0 ? "\\midrule\n" : "");
    }
    bk_text_add(out, "\\bottomrule\n\\end{tabular}\n");
}

void bk__archs_html(const struct bk_report *r, struct bk_text *out)
{
    char c[160];
    if (!named(r))
        return;
    bk_text_add(out, "<h2>Architectures</h2>\n<table>");
    for (size_t i = 0; i <= r->n_archs; i++) {
        if (i > 0 && r->arch[i - 1].is_found)
            continue;
        bk_text_add(out, "<tr>");
        for (int k = 0; k < N_COLUMNS; k++) {
            if (!is_shown(r, k))
                continue;
            if (i == 0)
                title_of(k, c);
            else
                cell(&r->arch[i - 1], k, c);
            bk_text_add(out, i ? "<td>" : "<th>");
            bk__report_escape(out, c);
            bk_text_add(out, i ? "</td>" : "</th>");
        }
        bk_text_add(out, "</tr>\n");
    }
    bk_text_add(out, "</table>\n");
}

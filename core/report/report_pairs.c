/*
 * Row against row: differences of correlations on the same architectures, with the interval and the two-sided p of a
 * paired bootstrap (stats/resample.c makes them). For a terminal, Markdown, CSV, LaTeX and HTML.
 */
#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define HEADING "differences between rows, the same architectures; intervals and two-sided p by paired bootstrap"

static double difference(const struct bk_report_pair *p, int i)
{
    const double v[3] = { p->test.difference.kendall_tau, p->test.difference.spearman_rho, p->test.difference.pearson_r };
    return v[i];
}

static const struct bk_interval *interval(const struct bk_report_pair *p, int i)
{
    const struct bk_interval *v[3] = { &p->test.ci.kendall_tau, &p->test.ci.spearman_rho, &p->test.ci.pearson_r };
    return v[i];
}

static double p_value(const struct bk_report_pair *p, int i)
{
    const double v[3] = { p->test.p_tau, p->test.p_rho, p->test.p_r };
    return v[i];
}

/** "+0.123 [0.01, 0.22] p 0.02" */
static void cell(const struct bk_report_pair *p, int i, char buf[112])
{
    char range[48], number[32] = "-";
    bk__report_interval(interval(p, i), true, range);
    if (isfinite(difference(p, i)))
        snprintf(number, sizeof number, "%+.3f", difference(p, i));
    if (isfinite(p_value(p, i)))
        snprintf(buf, 112, "%s %s p %.2g", number, range, p_value(p, i));
    else
        snprintf(buf, 112, "%s", number);
}

static int widest(const struct bk_report *r)
{
    int width = 8;
    for (size_t i = 0; i < r->n_pairs; i++) {
        int n = (int)(strlen(r->pair[i].a) + strlen(r->pair[i].b)) + 9;
        width = n > width ? n : width;
    }
    return width;
}

void bk__pairs_text(const struct bk_report *r, struct bk_text *out)
{
    int width = widest(r);
    if (!r->n_pairs)
        return;
    bk_text_addf(out, HEADING "\n%-*s  %-29s  %-29s  %-29s  %6s\n", width, "row", "tau", "rho", "R", "N");
    for (size_t i = 0; i < r->n_pairs; i++) {
        const struct bk_report_pair *p = &r->pair[i];
        char c[3][112];
        for (int k = 0; k < 3; k++)
            cell(p, k, c[k]);
        bk_text_addf(out, "%s against %s%*s  %-29s  %-29s  %-29s  %6zu\n", p->a, p->b,
                     width - (int)(strlen(p->a) + strlen(p->b)) - 9, "", c[0], c[1], c[2], p->n);
    }
    bk_text_add(out, "\n");
}

void bk__pairs_markdown(const struct bk_report *r, struct bk_text *out)
{
    if (!r->n_pairs)
        return;
    bk_text_add(out, "Differences between rows on the same architectures, with paired bootstrap:\n\n"
                     "| row | against | tau | rho | R | N |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < r->n_pairs; i++) {
        char c[3][112];
        for (int k = 0; k < 3; k++)
            cell(&r->pair[i], k, c[k]);
        bk_text_addf(out, "| %s | %s | %s | %s | %s | %zu |\n", r->pair[i].a, r->pair[i].b, c[0], c[1], c[2], r->pair[i].n);
    }
    bk_text_add(out, "\n");
}

void bk__pairs_csv(const struct bk_report *r, struct bk_text *out)
{
    if (!r->n_pairs)
        return;
    bk_text_add(out, "row,against,n,kendall_tau,tau_low,tau_high,tau_p,spearman_rho,rho_low,rho_high,rho_p,pearson_r,r_low,"
                     "r_high,r_p\n");
    for (size_t i = 0; i < r->n_pairs; i++) {
        const struct bk_report_pair *p = &r->pair[i];
        bk__csv_field(out, p->a);
        bk_text_add(out, ",");
        bk__csv_field(out, p->b);
        bk_text_addf(out, ",%zu", p->n);
        for (int k = 0; k < 3; k++) {
            bk__csv_number(out, difference(p, k));
            bk__csv_number(out, interval(p, k)->low);
            bk__csv_number(out, interval(p, k)->high);
            bk__csv_number(out, p_value(p, k));
        }
        bk_text_add(out, "\n");
    }
}

void bk__pairs_tex(const struct bk_report *r, struct bk_text *out)
{
    if (!r->n_pairs)
        return;
    bk_text_add(out, "\n% " HEADING "\n\\begin{tabular}{llrrrr}\n\\toprule\nrow & against & $\\Delta\\tau$ & $\\Delta\\rho$ & "
                     "$\\Delta R$ & $N$ \\\\\n\\midrule\n");
    for (size_t i = 0; i < r->n_pairs; i++) {
        const struct bk_report_pair *p = &r->pair[i];
        bk__tex_text(out, p->a);
        bk_text_add(out, " & ");
        bk__tex_text(out, p->b);
        for (int k = 0; k < 3; k++) {
            char c[112];
            cell(p, k, c);
            bk_text_addf(out, " & %s", c);
        }
        bk_text_addf(out, " & %zu \\\\\n", p->n);
    }
    bk_text_add(out, "\\bottomrule\n\\end{tabular}\n");
}

void bk__pairs_html(const struct bk_report *r, struct bk_text *out)
{
    if (!r->n_pairs)
        return;
    bk_text_add(out, "<h2>Row against row</h2>\n<table><tr><th>row</th><th>against</th><th>&Delta;&tau;</th><th>&Delta;&rho;"
                     "</th><th>&Delta;R</th><th>N</th></tr>\n");
    for (size_t i = 0; i < r->n_pairs; i++) {
        const struct bk_report_pair *p = &r->pair[i];
        bk_text_add(out, "<tr><td>");
        bk__report_escape(out, p->a);
        bk_text_add(out, "</td><td>");
        bk__report_escape(out, p->b);
        bk_text_add(out, "</td>");
        for (int k = 0; k < 3; k++) {
            char c[112];
            cell(p, k, c);
            bk_text_addf(out, "<td>%s</td>", c);
        }
        bk_text_addf(out, "<td>%zu</td></tr>\n", p->n);
    }
    bk_text_add(out, "</table>\n<p><small>Differences of correlations on the same architectures; intervals and two-sided p by "
                     "paired bootstrap.</small></p>\n");
}

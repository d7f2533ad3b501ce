/*
 * The results as a table: for a terminal, Markdown, CSV and LaTeX. Correlations carry the sign convention "higher
 * rating is better"; N and intervals stand beside every one of them.
 */
#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void bk__report_number(double v, int decimals, char buf[32])
{
    if (isfinite(v))
        snprintf(buf, 32, "%.*f", decimals, v);
    else
        snprintf(buf, 32, "-");
}

void bk__report_interval(const struct bk_interval *i, bool has, char buf[48])
{
    if (has && isfinite(i->low) && isfinite(i->high))
        snprintf(buf, 48, "[%.2f, %.2f]", i->low, i->high);
    else
        buf[0] = 0;
}

static double coefficient(const struct bk_report_entry *e, int i)
{
    const double v[3] = { e->corr.kendall_tau, e->corr.spearman_rho, e->corr.pearson_r };
    return v[i];
}

static const struct bk_interval *interval(const struct bk_report_entry *e, int i)
{
    const struct bk_interval *v[3] = { &e->ci.kendall_tau, &e->ci.spearman_rho, &e->ci.pearson_r };
    return v[i];
}

static bool any_published(const struct bk_report *r)
{
    bool any = false;
    for (size_t i = 0; i < r->n; i++)
        any = any || r->entry[i].has_published[0] || r->entry[i].has_published[1] || r->entry[i].has_published[2];
    return any;
}

static bool any_found(const struct bk_report *r)
{
    bool any = false;
    for (size_t i = 0; i < r->n; i++)
        any = any || isfinite(r->entry[i].found_published);
    return any;
}

/** Truth of what was found and what was published of it: two columns where any row declares the latter. */
static void found_cells(const struct bk_report_entry *e, char measured[32], char pub[32])
{
    bk__report_number(e->failure ? NAN : e->found_truth, 2, measured);
    bk__report_number(e->found_published, 2, pub);
}

/** "0.53 / 0.73 / 0.72" or "". */
static void published(const struct bk_report_entry *e, char buf[64])
{
    char v[3][32];
    buf[0] = 0;
    if (!e->has_published[0] && !e->has_published[1] && !e->has_published[2])
        return;
    for (int i = 0; i < 3; i++)
        bk__report_number(e->has_published[i] ? e->published[i] : NAN, 2, v[i]);
    snprintf(buf, 64, "%.16s / %.16s / %.16s", v[0], v[1], v[2]);
}

static void cell(const struct bk_report_entry *e, int i, char buf[96])
{
    char number[32], range[48];
    bk__report_number(e->uncorrelated ? NAN : coefficient(e, i), 3, number);
    bk__report_interval(interval(e, i), e->has_ci, range);
    snprintf(buf, 96, "%s%s%s", number, range[0] ? " " : "", range);
}

static void add_found(const struct bk_report *r, const char *bullet, struct bk_text *out)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct bk_report_entry *e = &r->entry[i];
        char truth[32], score[32];
        if (!e->found_arch)
            continue;
        bk__report_number(e->found_truth, 2, truth);
        bk__report_number(e->found_score, 4, score);
        bk_text_addf(out, "%s%s: found %s, rating %s, %.4g M parameters, %.4g M multiply-adds, truth %s\n", bullet,
                     e->name, e->found_arch, score, e->found_params / 1e6, e->found_macs / 1e6,
                     isfinite(e->found_truth) ? truth : "not known");
    }
}

static bool has_note(const struct bk_report_note *n)
{
    return n->text && n->text[0];
}

static bool same_note(const struct bk_report_note *a, const struct bk_report_note *b)
{
    return has_note(a) && has_note(b) && strcmp(a->text, b->text) == 0;
}

void bk__report_notes(const struct bk_report_note *note, size_t n, const char *bullet, const char *before, struct bk_text *out)
{
    for (size_t i = 0; i < n; i++) {
        bool seen = !has_note(&note[i]);
        for (size_t j = 0; !seen && j < i; j++)
            seen = same_note(&note[i], &note[j]);
        if (seen)
            continue;
        bk_text_addf(out, "%s%s%s: %s", bullet, before, note[i].text, note[i].name);
        for (size_t j = i + 1; j < n; j++) {
            if (same_note(&note[i], &note[j]))
                bk_text_addf(out, "; %s", note[j].name);
        }
        bk_text_add(out, "\n");
    }
}

enum note_kind { NOTE_UNCORRELATED, NOTE_SOURCE, NOTE_SETTINGS };

static const char *note_of(const struct bk_report_entry *e, enum note_kind kind)
{
    if (kind == NOTE_SOURCE)
        return e->published_source;
    if (kind == NOTE_SETTINGS)
        return e->settings;
    if (!e->uncorrelated || e->failure)
        return NULL;
    return e->found_arch ? "a search without truth, nothing to correlate" : "published values alone, nothing was computed";
}

static void add_grouped(const struct bk_report *r, enum note_kind kind, const char *bullet, const char *before,
                        struct bk_text *out)
{
    struct bk_report_note *note = bk_zalloc((r->n + 1) * sizeof *note);
    for (size_t i = 0; note && i < r->n; i++)
        note[i] = (struct bk_report_note){ r->entry[i].name, note_of(&r->entry[i], kind) };
    if (note)
        bk__report_notes(note, r->n, bullet, before, out);
    out->failed = out->failed || !note;
    bk_free(note);
}

static void add_notes(const struct bk_report *r, const char *bullet, struct bk_text *out)
{
    add_found(r, bullet, out);
    for (size_t i = 0; i < r->n; i++) {
        const struct bk_report_entry *e = &r->entry[i];
        if (e->failure)
            bk_text_addf(out, "%s%s: failed: %s\n", bullet, e->name, e->failure);
        else if (e->n_excluded)
            bk_text_addf(out, "%s%s: %zu architectures without a finite rating or truth are left out\n", bullet, e->name,
                         e->n_excluded);
    }
    bk__blocks_notes(r, bullet, out);
    add_grouped(r, NOTE_UNCORRELATED, bullet, "", out);
    add_grouped(r, NOTE_SOURCE, bullet, "published values from ", out);
    add_grouped(r, NOTE_SETTINGS, bullet, "", out);
    if (r->n)
        bk_text_addf(out, "%scorrelations: higher rating is better; intervals: 95 %% bootstrap over architectures\n", bullet);
}

/* ---- terminal --------------------------------------------------------------------------------------------- */

static void text_row(const struct bk_report_entry *e, int width, bool pub, bool found, struct bk_text *out)
{
    char c[3][96], p[64], measured[32], claimed[32];
    if (e->failure) {
        bk_text_addf(out, "%-*s  failed\n", width, e->name);
        return;
    }
    for (int k = 0; k < 3; k++)
        cell(e, k, c[k]);
    published(e, p);
    found_cells(e, measured, claimed);
    bk_text_addf(out, "%-*s  %-21s  %-21s  %-21s  %6zu", width, e->name, c[0], c[1], c[2], e->n);
    if (pub)
        bk_text_addf(out, found ? "  %-25s" : p[0] ? "  %s" : "%s", p);
    if (found)
        bk_text_addf(out, "  %11s  %9s", measured, claimed);
    bk_text_add(out, "\n");
}

static void text_table(const struct bk_report *r, struct bk_text *out)
{
    bool pub = any_published(r), found = any_found(r);
    int width = 8;

    for (size_t i = 0; i < r->n; i++) {
        int n = (int)strlen(r->entry[i].name);
        width = n > width ? n : width;
    }
    bk_text_addf(out, "%-*s  %-21s  %-21s  %-21s  %6s%s%s\n", width, "row", "tau", "rho", "R", "N",
                 !pub ? "" : found ? "  published tau / rho / R  " : "  published tau / rho / R",
                 found ? "  found truth  published" : "");
    for (size_t i = 0; i < r->n; i++) {
        if (r->entry[i].is_baseline && (i == 0 || !r->entry[i - 1].is_baseline))
            bk_text_add(out, "baselines\n");
        text_row(&r->entry[i], width, pub, found, out);
    }
    bk_text_add(out, "\n");
}

void bk_report_text(const struct bk_report *r, struct bk_text *out)
{
    if (r->title && r->title[0])
        bk_text_addf(out, "%s\n\n", r->title);
    if (r->n)
        text_table(r, out);
    bk__pairs_text(r, out);
    bk__archs_text(r, out);
    bk__retrained_text(r, out);
    add_notes(r, "", out);
    if (r->device && r->device[0])
        bk_text_addf(out, "device: %s\n", r->device);
}

/* ---- files ------------------------------------------------------------------------------------------------- */

static void markdown_row(const struct bk_report_entry *e, bool pub, bool found, struct bk_text *out)
{
    char c[3][96], p[64], measured[32], claimed[32];
    for (int k = 0; k < 3; k++)
        cell(e, k, c[k]);
    published(e, p);
    found_cells(e, measured, claimed);
    bk_text_addf(out, "| %s%s | %s | %s | %s | %zu |", e->name, e->is_baseline ? " (baseline)" : "",
                 e->failure ? "failed" : c[0], e->failure ? "" : c[1], e->failure ? "" : c[2], e->n);
    if (pub)
        bk_text_addf(out, " %s |", p);
    if (found)
        bk_text_addf(out, " %s | %s |", measured, claimed);
    bk_text_add(out, "\n");
}

void bk__report_markdown(const struct bk_report *r, struct bk_text *out)
{
    bool pub = any_published(r), found = any_found(r);
    bk_text_addf(out, "# %s\n\n", r->title && r->title[0] ? r->title : r->name);
    if (r->n)
        bk_text_addf(out, "| row | tau | rho | R | N |%s%s\n|---|---|---|---|---|%s%s\n",
                     pub ? " published tau / rho / R |" : "", found ? " found truth | published |" : "", pub ? "---|" : "",
                     found ? "---|---|" : "");
    for (size_t i = 0; i < r->n; i++)
        markdown_row(&r->entry[i], pub, found, out);
    if (r->n)
        bk_text_add(out, "\n");
    bk__pairs_markdown(r, out);
    bk__blocks_markdown(r, out);
    bk__archs_markdown(r, out);
    bk__retrained_markdown(r, out);
    add_notes(r, "- ", out);
}

void bk__csv_field(struct bk_text *out, const char *s)
{
    if (!s)
        s = "";
    if (!strpbrk(s, ",\"\n")) {
        bk_text_add(out, s);
        return;
    }
    bk_text_add(out, "\"");
    for (; *s; s++)
        bk_text_addn(out, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    bk_text_add(out, "\"");
}

void bk__csv_number(struct bk_text *out, double v)
{
    char number[32];
    bk_text_add(out, ",");
    if (!isfinite(v))
        return;
    bk_format_f64(v, number);
    bk_text_add(out, number);
}

void bk__report_csv(const struct bk_report *r, struct bk_text *out)
{
    bk_text_add(out, "row,baseline,rater,n,excluded,kendall_tau,tau_low,tau_high,spearman_rho,rho_low,rho_high,pearson_r,"
                     "r_low,r_high,published_tau,published_rho,published_r,top_k,top_tau,precision,regret,mean_truth,"
                     "found,found_rating,found_params,found_macs,found_truth,found_published,failure\n");
    for (size_t i = 0; i < r->n; i++) {
        const struct bk_report_entry *e = &r->entry[i];
        bk__csv_field(out, e->name);
        bk_text_addf(out, ",%d,", e->is_baseline ? 1 : 0);
        bk__csv_field(out, e->rater);
        bk_text_addf(out, ",%zu,%zu", e->n, e->n_excluded);
        for (int k = 0; k < 3; k++) {
            bk__csv_number(out, e->failure || e->uncorrelated ? NAN : coefficient(e, k));
            bk__csv_number(out, e->has_ci ? interval(e, k)->low : NAN);
            bk__csv_number(out, e->has_ci ? interval(e, k)->high : NAN);
        }
        for (int k = 0; k < 3; k++)
            bk__csv_number(out, e->has_published[k] ? e->published[k] : NAN);
        bk_text_addf(out, ",%zu", e->top_k);
        bk__csv_number(out, e->uncorrelated ? NAN : e->top.tau_top);
        bk__csv_number(out, e->uncorrelated ? NAN : e->top.precision);
        bk__csv_number(out, e->uncorrelated ? NAN : e->top.regret);
        bk__csv_number(out, e->uncorrelated ? NAN : e->top.mean_truth);
        bk_text_add(out, ",");
        bk__csv_field(out, e->found_arch);
        bk__csv_number(out, e->found_arch ? e->found_score : NAN);
        bk__csv_number(out, e->found_arch ? e->found_params : NAN);
        bk__csv_number(out, e->found_arch ? e->found_macs : NAN);
        bk__csv_number(out, e->found_arch ? e->found_truth : NAN);
        bk__csv_number(out, e->found_published);
        bk_text_add(out, ",");
        bk__csv_field(out, e->failure);
        bk_text_add(out, "\n");
    }
}

void bk__tex_text(struct bk_text *out, const char *s)
{
    for (; *s; s++) {
        if (strchr("&%$#_{}", *s))
            bk_text_addf(out, "\\%c", *s);
        else if (*s == '\\' || *s == '^' || *s == '~')
            bk_text_add(out, " ");
        else
            bk_text_addn(out, s, 1);
    }
}

static void tex_row(const struct bk_report_entry *e, bool pub, bool found, struct bk_text *out)
{
    char c[3][96], measured[32], claimed[32];
    bk__tex_text(out, e->name);
    for (int k = 0; k < 3; k++) {
        cell(e, k, c[k]);
        bk_text_addf(out, " & %s", e->failure ? "--" : c[k]);
    }
    bk_text_addf(out, " & %zu", e->n);
    for (int k = 0; pub && k < 3; k++) {
        bk__report_number(e->has_published[k] ? e->published[k] : NAN, 2, claimed);
        bk_text_addf(out, " & %s", e->has_published[k] ? claimed : "--");
    }
    if (found) {
        found_cells(e, measured, claimed);
        bk_text_addf(out, " & %s & %s", measured, claimed);
    }
    bk_text_add(out, " \\\\\n");
}

void bk__report_tex(const struct bk_report *r, struct bk_text *out)
{
    bool pub = any_published(r), found = any_found(r);
    bk_text_add(out, "% needs the package booktabs\n");
    if (r->n)
        bk_text_addf(out, "\\begin{tabular}{lrrrr%s%s}\n\\toprule\n%s%srow & $\\tau$ & $\\rho$ & $R$ & $N$%s%s \\\\\n"
                          "\\midrule\n",
                     pub ? "rrr" : "", found ? "rr" : "", pub ? " & & & & & \\multicolumn{3}{c}{published}" : "",
                     !pub ? "" : found ? " & & \\\\\n" : " \\\\\n", pub ? " & $\\tau$ & $\\rho$ & $R$" : "",
                     found ? " & found & published" : "");
    for (size_t i = 0; i < r->n; i++) {
        if (r->entry[i].is_baseline && i > 0 && !r->entry[i - 1].is_baseline)
            bk_text_add(out, "\\midrule\n");
        tex_row(&r->entry[i], pub, found, out);
    }
    if (r->n)
        bk_text_add(out, "\\bottomrule\n\\end{tabular}\n");
    bk__pairs_tex(r, out);
    bk__archs_tex(r, out);
    bk__retrained_tex(r, out);
}

/*
 * Everything for people from a report: tables/, plots/, metrics.csv, one HTML page without anything from the network,
 * and MANIFEST.sha256 over what must be equal for equal results (events.jsonl, which has times, is not in it).
 */
#include "report/report.h"

#include <bosskit/file.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int write_text(const char *dir, const char *name, struct bk_text *t, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    bk_text_addf(&path, "%s/%s", dir, name);
    int rc = t->failed || path.failed ? bk_fail(err, BK_ENOMEM, "out of memory for a report")
                                      : bk_file_write(bk_text_get(&path), bk_text_get(t), t->len, err);
    bk_text_release(&path);
    bk_text_release(t);
    return rc;
}

static int make_dir(const char *dir, const char *sub, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    bk_text_addf(&path, "%s/%s", dir, sub);
    int rc = bk_file_exists(bk_text_get(&path)) ? bk_remove_tree(bk_text_get(&path), err) : BK_OK;
    if (!rc)
        rc = bk_make_dirs(bk_text_get(&path), err);
    bk_text_release(&path);
    return rc;
}

/* ---- the page ---------------------------------------------------------------------------------------------- */

static void html_cells(const struct bk_report_entry *e, struct bk_text *out)
{
    const double v[3] = { e->corr.kendall_tau, e->corr.spearman_rho, e->corr.pearson_r };
    const struct bk_interval *i[3] = { &e->ci.kendall_tau, &e->ci.spearman_rho, &e->ci.pearson_r };
    for (int k = 0; k < 3; k++) {
        char number[32], range[48], published[32];
        bk__report_number(e->uncorrelated ? NAN : v[k], 3, number);
        bk__report_interval(i[k], e->has_ci, range);
        bk__report_number(e->has_published[k] ? e->published[k] : NAN, 2, published);
        bk_text_addf(out, "<td>%s <small>%s</small>", number, range);
        if (e->has_published[k])
            bk_text_addf(out, "<br><small>published %s</small>", published);
        bk_text_add(out, "</td>");
    }
}

static void html_row(const struct bk_report_entry *e, struct bk_text *out)
{
    char p[32], g[32], m[32];
    bk_text_addf(out, "<tr%s><td>", e->is_baseline ? " class=\"b\"" : "");
    bk__report_escape(out, e->name);
    bk_text_add(out, e->is_baseline ? " <small>baseline</small></td>" : "</td>");
    if (e->failure) {
        bk_text_add(out, "<td colspan=\"8\">failed: ");
        bk__report_escape(out, e->failure);
        bk_text_add(out, "</td></tr>\n");
        return;
    }
    html_cells(e, out);
    bk__report_number(e->uncorrelated ? NAN : e->top.precision, 2, p);
    bk__report_number(e->uncorrelated ? NAN : e->top.regret, 2, g);
    bk__report_number(e->uncorrelated ? NAN : e->top.mean_truth, 2, m);
    bk_text_addf(out, "<td>%zu</td><td>%s</td><td>%s</td><td>%s</td><td>", e->n, p, g, m);
    bk__report_number(e->found_truth, 2, p);
    bk__report_number(e->found_published, 2, g);
    bk_text_add(out, p);
    if (isfinite(e->found_published))
        bk_text_addf(out, "<br><small>published %s</small>", g);
    bk_text_add(out, "</td></tr>\n");
}

static void html_details(const struct bk_report_entry *e, struct bk_text *out)
{
    char truth[32];
    bk_text_add(out, "<figure>");
    bk__report_scatter(e, out);
    bk_text_add(out, "<figcaption>");
    if (e->found_arch) {
        bk__report_number(e->found_truth, 2, truth);
        bk_text_add(out, "found <code>");
        bk__report_escape(out, e->found_arch);
        bk_text_addf(out, "</code>, %.4g M parameters, %.4g M multiply-adds, truth %s. ", e->found_params / 1e6,
                     e->found_macs / 1e6, isfinite(e->found_truth) ? truth : "not known");
    }
    bk__report_escape(out, e->settings ? e->settings : "");
    bk_text_add(out, "</figcaption></figure>\n");
    if (e->n_epochs) {
        bk_text_add(out, "<figure>");
        bk__report_curve(e, out);
        bk_text_add(out, "</figure>\n");
    }
}

static void html_table(const struct bk_report *r, struct bk_text *out)
{
    size_t k = 0;
    for (size_t i = 0; i < r->n && !k; i++)
        k = r->entry[i].top_k;
    bk_text_addf(out, "<table><tr><th>row</th><th>&tau;</th><th>&rho;</th><th>R</th><th>N</th><th>precision@%zu</th>"
                      "<th>regret@%zu</th><th>mean truth@%zu</th><th>found</th></tr>\n",
                 k, k, k);
    for (size_t i = 0; i < r->n; i++)
        html_row(&r->entry[i], out);
    bk_text_add(out, "</table>\n");
}

static void html_drawing(const struct bk_report *r, const struct bk_report_arch *a, struct bk_text *out)
{
    bk_text_add(out, "<figure class=\"w\">");
    bk__report_drawing(r, a, out);
    bk_text_add(out, "<figcaption><code>");
    bk__report_escape(out, a->arch);
    bk_text_add(out, "</code></figcaption></figure>\n");
}

void bk__report_html(const struct bk_report *r, struct bk_text *out)
{
    const char *title = r->title && r->title[0] ? r->title : r->name;

    bk_text_add(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    bk__report_escape(out, title);
    bk_text_add(out, "</title>\n<style>body{font:15px/1.5 sans-serif;max-width:1040px;margin:2em auto;padding:0 1em;color:"
                     "#222}table{border-collapse:collapse}th,td{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:"
                     "left;vertical-align:top}tr.b{color:#555}small{color:#777}figure{display:inline-block;margin:1em 1em 0 "
                     "0;max-width:480px;vertical-align:top}figure.w{max-width:100%}svg{max-width:100%;height:auto}figcaption{font-size:13px;color:#555}</style></head><body>\n<h1>");
    bk__report_escape(out, title);
    bk_text_add(out, "</h1>\n");
    if (r->n)
        html_table(r, out);
    bk__pairs_html(r, out);
    bk__blocks_html(r, out);
    bk__archs_html(r, out);
    bk__retrained_html(r, out);
    bk_text_add(out, "<p><small>Correlations: higher rating is better. Intervals: 95 % bootstrap over architectures. bosskit ");
    bk__report_escape(out, r->version);
    bk_text_add(out, "; ");
    bk__report_escape(out, r->device ? r->device : "");
    bk_text_add(out, "</small></p>\n");
    for (size_t i = 0; i < r->n; i++) {
        if (!r->entry[i].failure && !r->entry[i].uncorrelated)
            html_details(&r->entry[i], out);
    }
    for (size_t i = 0; i < r->n_archs; i++) {
        if (r->arch[i].n_layers)
            html_drawing(r, &r->arch[i], out);
    }
    bk_text_add(out, "</body></html>\n");
}

/* ---- the manifest --------------------------------------------------------------------------------------------- */

/** What a run writes; anything else in the directory is not ours to vouch for. */
static int visible(const struct dirent *e)
{
    static const char *const top[] = { "run.json", "resolved.cfg", "metrics.csv", "report.html", "tables", "scores",
                                       "plots" };
    static const char *const suffix[] = { ".csv", ".svg", ".md", ".tex", ".json" };
    size_t n = strlen(e->d_name);
    bool known = false;
    for (size_t i = 0; i < BK_ARRAY_LEN(top); i++)
        known = known || strcmp(e->d_name, top[i]) == 0;
    for (size_t i = 0; i < BK_ARRAY_LEN(suffix); i++)
        known = known || (n > strlen(suffix[i]) && strcmp(e->d_name + n - strlen(suffix[i]), suffix[i]) == 0);
    return known;
}

static int add_digests(const char *dir, const char *prefix, struct bk_text *out, struct bk_error *err)
{
    struct dirent **entry = NULL;
    struct bk_text sub = BK_TEXT_INIT;
    bk_text_addf(&sub, "%s%s%s", dir, prefix[0] ? "/" : "", prefix);
    int n = scandir(bk_text_get(&sub), &entry, visible, alphasort), rc = BK_OK;
    for (int i = 0; i < n; i++) {
        struct bk_text path = BK_TEXT_INIT, name = BK_TEXT_INIT;
        char digest[65];
        bk_text_addf(&name, "%s%s%s", prefix, prefix[0] ? "/" : "", entry[i]->d_name);
        bk_text_addf(&path, "%s/%s", dir, bk_text_get(&name));
        if (!rc && entry[i]->d_type == DT_DIR) {
            rc = add_digests(dir, bk_text_get(&name), out, err);
        } else if (!rc) {
            rc = bk_sha256_file(bk_text_get(&path), digest, err);
            if (!rc)
                bk_text_addf(out, "%s  %s\n", digest, bk_text_get(&name));
        }
        bk_text_release(&path);
        bk_text_release(&name);
        free(entry[i]);
    }
    free(entry);
    bk_text_release(&sub);
    return rc;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static int copy_run_json(const char *dir, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT, t = BK_TEXT_INIT;
    char *data = NULL;
    size_t n = 0;
    bk_text_addf(&path, "%s/run.json", dir);
    int rc = bk_file_read(bk_text_get(&path), 64u << 20, &data, &n, err);
    if (!rc) {
        bk_text_addn(&t, data, n);
        rc = write_text(dir, "tables/results.json", &t, err);
    }
    bk_free(data);
    bk_text_release(&path);
    return rc;
}

/** What not every report has: comparisons, blocks, named architectures, convergence. */
static int render_parts(const struct bk_report *r, const char *dir, struct bk_error *err)
{
    static const struct {
        const char *file;
        void (*make)(const struct bk_report *r, struct bk_text *out);
    } part[] = { { "tables/pairs.csv", bk__pairs_csv },
                 { "tables/blocks.csv", bk__blocks_csv },
                 { "tables/architectures.csv", bk__archs_csv },
                 { "tables/retrained.csv", bk__retrained_csv },
                 { "tables/convergence.csv", bk__curves_csv } };
    for (size_t i = 0; i < BK_ARRAY_LEN(part); i++) {
        struct bk_text t = BK_TEXT_INIT;
        part[i].make(r, &t);
        if (t.len || t.failed)
            BK_TRY(write_text(dir, part[i].file, &t, err));
    }
    return BK_OK;
}

static int render_tables(const struct bk_report *r, const char *dir, struct bk_error *err)
{
    struct bk_text t = BK_TEXT_INIT;
    bk__report_markdown(r, &t);
    BK_TRY(write_text(dir, "tables/results.md", &t, err));
    bk__report_csv(r, &t);
    BK_TRY(write_text(dir, "tables/results.csv", &t, err));
    bk__report_csv(r, &t);
    BK_TRY(write_text(dir, "metrics.csv", &t, err));
    bk__report_tex(r, &t);
    BK_TRY(write_text(dir, "tables/results.tex", &t, err));
    BK_TRY(render_parts(r, dir, err));
    bk__report_html(r, &t);
    return write_text(dir, "report.html", &t, err);
}

/** plots/<prefix><name>.svg */
static int write_plot(const char *dir, const char *prefix, const char *name, struct bk_text *t, struct bk_error *err)
{
    char base[160], file[192];
    bk__report_file_name(name, base, sizeof base);
    snprintf(file, sizeof file, "plots/%s%s.svg", prefix, base);
    return write_text(dir, file, t, err);
}

static int render_plots(const struct bk_report *r, const char *dir, struct bk_error *err)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct bk_report_entry *e = &r->entry[i];
        struct bk_text t = BK_TEXT_INIT;
        if (e->failure || e->uncorrelated)
            continue;
        bk__report_scatter(e, &t);
        BK_TRY(write_plot(dir, "", e->name, &t, err));
        if (e->n_epochs) {
            bk__report_curve(e, &t);
            BK_TRY(write_plot(dir, "convergence-", e->name, &t, err));
        }
    }
    for (size_t i = 0; i < r->n_archs; i++) {
        const struct bk_report_arch *a = &r->arch[i];
        struct bk_text t = BK_TEXT_INIT;
        char name[400];
        if (!a->n_layers)
            continue;
        bk__report_drawing(r, a, &t);
        snprintf(name, sizeof name, "%s%s%s", a->row, a->is_found ? "" : "-", a->is_found ? "" : a->name);
        BK_TRY(write_plot(dir, a->is_found ? "found-" : "arch-", name, &t, err));
    }
    return BK_OK;
}

int bk_report_render(const struct bk_report *r, const char *dir, struct bk_error *err)
{
    struct bk_text manifest = BK_TEXT_INIT;
    BK_TRY(make_dir(dir, "tables", err));
    BK_TRY(make_dir(dir, "plots", err));
    BK_TRY(copy_run_json(dir, err));
    BK_TRY(render_tables(r, dir, err));
    BK_TRY(render_plots(r, dir, err));
    BK_TRY(add_digests(dir, "", &manifest, err));
    return write_text(dir, "MANIFEST.sha256", &manifest, err);
}

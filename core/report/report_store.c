/*
 * A report as run.json and scores/<row>.csv, and back. Rendering for people is in the other files of this folder.
 */
#include "report/report.h"

#include <bosskit/file.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bk_report_release(struct bk_report *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct bk_report_entry *e = &r->entry[i];
        for (size_t j = 0; j < e->n_points; j++)
            bk_free(e->point[j].arch);
        bk_free(e->point);
        bk_free(e->name);
        bk_free(e->rater);
        bk_free(e->better);
        bk_free(e->settings);
        bk_free(e->failure);
        bk_free(e->published_source);
        bk_free(e->found_arch);
        bk_free(e->epoch);
    }
    bk__report_parts_release(r);
    bk_free(r->entry);
    bk_free(r->name);
    bk_free(r->title);
    bk_free(r->version);
    bk_free(r->device);
    memset(r, 0, sizeof *r);
}

void bk__report_file_name(const char *name, char *buf, size_t size)
{
    size_t n = 0;
    for (; *name && n + 1 < size; name++)
        buf[n++] = isalnum((unsigned char)*name) || *name == '.' || *name == '-' || *name == '_' ? *name : '_';
    buf[n] = 0;
    if (buf[0] == '.')
        buf[0] = '_';
}

/* ---- to JSON ---------------------------------------------------------------------------------------------- */

static json_t *text(const char *s)
{
    return s ? json_string(s) : json_null();
}

static json_t *interval(const struct bk_interval *i)
{
    return json_pack("[o,o]", bk__real_or_null(i->low), bk__real_or_null(i->high));
}

static json_t *correlations(const struct bk_report_entry *e)
{
    bool lower = e->better && strcmp(e->better, "lower") == 0;
    double sign = lower ? -1 : 1;
    json_t *o = json_pack("{s:o,s:o,s:o,s:{s:o,s:o,s:o}}", "kendall_tau", bk__real_or_null(e->corr.kendall_tau), "spearman_rho",
                          bk__real_or_null(e->corr.spearman_rho), "pearson_r", bk__real_or_null(e->corr.pearson_r), "raw", "kendall_tau",
                          bk__real_or_null(sign * e->corr.kendall_tau), "spearman_rho", bk__real_or_null(sign * e->corr.spearman_rho),
                          "pearson_r", bk__real_or_null(sign * e->corr.pearson_r));
    if (o && e->has_ci)
        json_object_set_new(o, "interval_95",
                            json_pack("{s:o,s:o,s:o}", "kendall_tau", interval(&e->ci.kendall_tau), "spearman_rho",
                                      interval(&e->ci.spearman_rho), "pearson_r", interval(&e->ci.pearson_r)));
    return o;
}

static json_t *entry_json(const struct bk_report_entry *e)
{
    json_t *o = json_pack("{s:o,s:b,s:o,s:o,s:o,s:o,s:I,s:I}", "name", text(e->name), "baseline", (int)e->is_baseline,
                          "rater", text(e->rater), "better", text(e->better), "settings", text(e->settings), "failure",
                          text(e->failure), "n", (json_int_t)e->n, "excluded", (json_int_t)e->n_excluded);
    if (!o)
        return NULL;
    json_object_set_new(o, "correlation", correlations(e));
    json_object_set_new(o, "top", json_pack("{s:I,s:o,s:o,s:o,s:o}", "k", (json_int_t)e->top_k, "tau",
                                            bk__real_or_null(e->top.tau_top), "precision", bk__real_or_null(e->top.precision), "regret",
                                            bk__real_or_null(e->top.regret), "mean_truth", bk__real_or_null(e->top.mean_truth)));
    if (e->uncorrelated)
        json_object_set_new(o, "uncorrelated", json_true());
    if (e->n_blocks)
        json_object_set_new(o, "blocks", bk__blocks_save(e));
    if (e->n_epochs)
        json_object_set_new(o, "epochs", bk__report_epochs_save(e));
    if (e->has_published[0] || e->has_published[1] || e->has_published[2] || isfinite(e->found_published))
        json_object_set_new(o, "published",
                            json_pack("{s:o,s:o,s:o,s:o,s:o}", "found_truth", bk__real_or_null(e->found_published), "kendall_tau", bk__real_or_null(e->has_published[0] ? e->published[0] : NAN),
                                      "spearman_rho", bk__real_or_null(e->has_published[1] ? e->published[1] : NAN), "pearson_r",
                                      bk__real_or_null(e->has_published[2] ? e->published[2] : NAN), "source",
                                      text(e->published_source)));
    if (e->found_arch)
        json_object_set_new(o, "found", json_pack("{s:o,s:o,s:o,s:o,s:o}", "arch", text(e->found_arch), "score",
                                                  bk__real_or_null(e->found_score), "params", bk__real_or_null(e->found_params), "macs",
                                                  bk__real_or_null(e->found_macs), "truth", bk__real_or_null(e->found_truth)));
    return o;
}

static int save_scores(const struct bk_report_entry *e, const char *dir, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT, t = BK_TEXT_INIT;
    char name[160], rating[32], truth[32];

    bk__report_file_name(e->name, name, sizeof name);
    bk_text_addf(&path, "%s/scores/%s.csv", dir, name);
    bk_text_add(&t, "arch,rating,truth\n");
    for (size_t i = 0; i < e->n_points; i++) {
        bk_format_f64(e->point[i].rating, rating);
        bk_format_f64(e->point[i].truth, truth);
        bk_text_addf(&t, "%s,%s,%s\n", e->point[i].arch, rating, truth);
    }
    int rc = t.failed || path.failed ? bk_fail(err, BK_ENOMEM, "out of memory for scores")
                                     : bk_file_write(bk_text_get(&path), bk_text_get(&t), t.len, err);
    bk_text_release(&path);
    bk_text_release(&t);
    return rc;
}

static int make_dir(const char *dir, const char *sub, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    bk_text_addf(&path, "%s/%s", dir, sub);
    int rc = bk_file_exists(bk_text_get(&path)) ? bk_remove_tree(bk_text_get(&path), err) : BK_OK;    /* rows of an older run */
    if (!rc)
        rc = bk_make_dirs(bk_text_get(&path), err);
    bk_text_release(&path);
    return rc;
}

int bk_report_save(const struct bk_report *r, const char *dir, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    json_t *rows = json_array(), *o;
    char *s = NULL;
    int rc = make_dir(dir, "scores", err);

    for (size_t i = 0; !rc && i < r->n; i++) {
        if (json_array_append_new(rows, entry_json(&r->entry[i])))
            rc = bk_fail(err, BK_ENOMEM, "out of memory for a report");
        else
            rc = save_scores(&r->entry[i], dir, err);
    }
    o = json_pack("{s:i,s:o,s:o,s:o,s:o,s:O}", "run", 1, "name", text(r->name), "title", text(r->title), "bosskit",
                  text(r->version), "device", text(r->device), "rows", rows);
    if (o)
        bk__report_parts_save(r, o);
    s = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
    bk_text_addf(&path, "%s/run.json", dir);
    if (!rc)
        rc = s ? bk_file_write(bk_text_get(&path), s, strlen(s), err)
               : bk_fail(err, BK_ENOMEM, "out of memory for a report");
    free(s);
    json_decref(o);
    json_decref(rows);
    bk_text_release(&path);
    return rc;
}

/* ---- from JSON ---------------------------------------------------------------------------------------------- */

static char *get_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? bk_strdup(s) : NULL;
}

static void get_interval(const json_t *o, const char *key, struct bk_interval *out)
{
    const json_t *a = json_object_get(o, key);
    const json_t *low = json_array_get(a, 0), *high = json_array_get(a, 1);
    out->low = json_is_number(low) ? json_number_value(low) : NAN;
    out->high = json_is_number(high) ? json_number_value(high) : NAN;
}

static void load_numbers(struct bk_report_entry *e, const json_t *o)
{
    static const char *const names[3] = { "kendall_tau", "spearman_rho", "pearson_r" };
    const json_t *c = json_object_get(o, "correlation"), *ci = json_object_get(c, "interval_95");
    const json_t *top = json_object_get(o, "top"), *published = json_object_get(o, "published");
    const json_t *found = json_object_get(o, "found");

    e->n = (size_t)json_integer_value(json_object_get(o, "n"));
    e->n_excluded = (size_t)json_integer_value(json_object_get(o, "excluded"));
    e->corr.n = e->n;
    e->corr.kendall_tau = bk__real_of(json_object_get(c, names[0]));
    e->corr.spearman_rho = bk__real_of(json_object_get(c, names[1]));
    e->corr.pearson_r = bk__real_of(json_object_get(c, names[2]));
    e->has_ci = ci != NULL;
    get_interval(ci, names[0], &e->ci.kendall_tau);
    get_interval(ci, names[1], &e->ci.spearman_rho);
    get_interval(ci, names[2], &e->ci.pearson_r);
    e->top_k = (size_t)json_integer_value(json_object_get(top, "k"));
    e->top = (struct bk_top){ .tau_top = bk__real_of(json_object_get(top, "tau")),
                              .precision = bk__real_of(json_object_get(top, "precision")),
                              .regret = bk__real_of(json_object_get(top, "regret")),
                              .mean_truth = bk__real_of(json_object_get(top, "mean_truth")) };
    for (int i = 0; i < 3; i++) {
        e->published[i] = bk__real_of(json_object_get(published, names[i]));
        e->has_published[i] = isfinite(e->published[i]);
    }
    e->found_published = bk__real_of(json_object_get(published, "found_truth"));
    e->published_source = get_text(published, "source");
    e->found_arch = get_text(found, "arch");
    e->found_score = bk__real_of(json_object_get(found, "score"));
    e->found_params = bk__real_of(json_object_get(found, "params"));
    e->found_macs = bk__real_of(json_object_get(found, "macs"));
    e->found_truth = bk__real_of(json_object_get(found, "truth"));
}

static bool parse_number(const char *s, double *out)
{
    *out = NAN;
    return strcmp(s, "nan") == 0 || bk_parse_f64(s, out);
}

static int load_point(struct bk_report_entry *e, char *line, const char *path, struct bk_error *err)
{
    struct bk_report_point *p = &e->point[e->n_points];
    char *truth = strrchr(line, ','), *rating;
    if (truth)
        *truth++ = 0;
    rating = truth ? strrchr(line, ',') : NULL;
    if (rating)
        *rating++ = 0;
    if (!rating || !parse_number(rating, &p->rating) || !parse_number(truth, &p->truth))
        return bk_fail(err, BK_EDATA, "%s:%zu: wanted arch,rating,truth", path, e->n_points + 2);
    p->arch = bk_strdup(line);
    if (!p->arch)
        return bk_fail(err, BK_ENOMEM, "out of memory for a report");
    e->n_points++;
    return BK_OK;
}

static int load_scores(struct bk_report_entry *e, const char *dir, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    char name[160], *data = NULL, *save = NULL, *line;
    size_t nbytes = 0, lines = 0;

    bk__report_file_name(e->name, name, sizeof name);
    bk_text_addf(&path, "%s/scores/%s.csv", dir, name);
    int rc = bk_file_read(bk_text_get(&path), (size_t)1 << 30, &data, &nbytes, err);
    for (size_t i = 0; !rc && i < nbytes; i++)
        lines += data[i] == '\n';
    if (!rc && !(e->point = bk_zalloc((lines + 1) * sizeof *e->point)))
        rc = bk_fail(err, BK_ENOMEM, "out of memory for a report");
    line = rc ? NULL : strtok_r(data, "\n", &save);
    for (line = line ? strtok_r(NULL, "\n", &save) : NULL; !rc && line; line = strtok_r(NULL, "\n", &save))
        rc = load_point(e, line, bk_text_get(&path), err);
    bk_free(data);
    bk_text_release(&path);
    return rc;
}

static int load_entries(struct bk_report *r, const json_t *rows, const char *dir, struct bk_error *err)
{
    r->entry = bk_zalloc((json_array_size(rows) + 1) * sizeof *r->entry);
    if (!r->entry)
        return bk_fail(err, BK_ENOMEM, "out of memory for a report");
    for (; r->n < json_array_size(rows);) {
        const json_t *o = json_array_get(rows, r->n);
        struct bk_report_entry *e = &r->entry[r->n++];
        e->name = get_text(o, "name");
        e->rater = get_text(o, "rater");
        e->better = get_text(o, "better");
        e->settings = get_text(o, "settings");
        e->failure = get_text(o, "failure");
        e->is_baseline = json_is_true(json_object_get(o, "baseline"));
        e->uncorrelated = json_is_true(json_object_get(o, "uncorrelated"));
        if (!e->name)
            return bk_fail(err, BK_EDATA, "'%s/run.json' has a row without a name", dir);
        load_numbers(e, o);
        BK_TRY(bk__blocks_load(e, json_object_get(o, "blocks"), err));
        BK_TRY(bk__report_epochs_load(e, json_object_get(o, "epochs"), err));
        BK_TRY(load_scores(e, dir, err));
    }
    return BK_OK;
}

int bk_report_load(const char *dir, struct bk_report *out, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    struct bk_report r = { 0 };
    char *data = NULL;
    size_t n = 0;
    json_t *o = NULL;

    bk_text_addf(&path, "%s/run.json", dir);
    int rc = bk_file_read(bk_text_get(&path), 64u << 20, &data, &n, err);
    if (!rc && (!(o = json_loadb(data, n, 0, NULL)) || !json_is_array(json_object_get(o, "rows"))))
        rc = bk_fail(err, BK_EDATA, "'%s' is no report of a run", bk_text_get(&path));
    if (!rc) {
        r.name = get_text(o, "name");
        r.title = get_text(o, "title");
        r.version = get_text(o, "bosskit");
        r.device = get_text(o, "device");
        rc = load_entries(&r, json_object_get(o, "rows"), dir, err);
        if (!rc)
            rc = bk__report_parts_load(&r, o, err);
    }
    json_decref(o);
    bk_free(data);
    bk_text_release(&path);
    if (rc)
        bk_report_release(&r);
    else
        *out = r;
    return rc;
}

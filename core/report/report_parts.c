/*
 * The parts of run.json that not every report has, to JSON and back: paired comparisons, named architectures with their
 * layers, correlations during training. report_store.c writes and reads the file.
 */
#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

json_t *bk__real_or_null(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

double bk__real_of(const json_t *v)
{
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static json_t *text(const char *s)
{
    return s ? json_string(s) : json_null();
}

static char *get_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? bk_strdup(s) : NULL;
}

static int out_of_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for a report");
}

/* ---- correlations during training --------------------------------------------------------------------------- */

json_t *bk__report_epochs_save(const struct bk_report_entry *e)
{
    json_t *a = json_array();
    for (size_t i = 0; i < e->n_epochs; i++) {
        const struct bk_report_epoch *p = &e->epoch[i];
        json_array_append_new(a, json_pack("{s:I,s:I,s:o,s:o,s:o}", "epoch", (json_int_t)p->epoch, "n", (json_int_t)p->corr.n,
                                           "kendall_tau", bk__real_or_null(p->corr.kendall_tau), "spearman_rho",
                                           bk__real_or_null(p->corr.spearman_rho), "pearson_r", bk__real_or_null(p->corr.pearson_r)));
    }
    return a;
}

int bk__report_epochs_load(struct bk_report_entry *e, const json_t *a, struct bk_error *err)
{
    size_t n = json_array_size(a);
    if (!n)
        return BK_OK;
    e->epoch = bk_zalloc(n * sizeof *e->epoch);
    if (!e->epoch)
        return out_of_memory(err);
    for (; e->n_epochs < n; e->n_epochs++) {
        const json_t *o = json_array_get(a, e->n_epochs);
        struct bk_report_epoch *p = &e->epoch[e->n_epochs];
        p->epoch = json_integer_value(json_object_get(o, "epoch"));
        p->corr.n = (size_t)json_integer_value(json_object_get(o, "n"));
        p->corr.kendall_tau = bk__real_of(json_object_get(o, "kendall_tau"));
        p->corr.spearman_rho = bk__real_of(json_object_get(o, "spearman_rho"));
        p->corr.pearson_r = bk__real_of(json_object_get(o, "pearson_r"));
    }
    return BK_OK;
}

/* ---- comparisons ----------------------------------------------------------------------------------------------- */

static json_t *coefficient(double d, const struct bk_interval *ci, double p)
{
    return json_pack("{s:o,s:[o,o],s:o}", "difference", bk__real_or_null(d), "interval_95", bk__real_or_null(ci->low), bk__real_or_null(ci->high), "p", bk__real_or_null(p));
}

static json_t *pair_json(const struct bk_report_pair *p)
{
    const struct bk_paired *t = &p->test;
    return json_pack("{s:o,s:o,s:I,s:o,s:o,s:o}", "row", text(p->a), "against", text(p->b), "n", (json_int_t)p->n,
                     "kendall_tau", coefficient(t->difference.kendall_tau, &t->ci.kendall_tau, t->p_tau), "spearman_rho",
                     coefficient(t->difference.spearman_rho, &t->ci.spearman_rho, t->p_rho), "pearson_r",
                     coefficient(t->difference.pearson_r, &t->ci.pearson_r, t->p_r));
}

static void get_coefficient(const json_t *o, double *d, struct bk_interval *ci, double *p)
{
    const json_t *range = json_object_get(o, "interval_95");
    *d = bk__real_of(json_object_get(o, "difference"));
    ci->low = bk__real_of(json_array_get(range, 0));
    ci->high = bk__real_of(json_array_get(range, 1));
    *p = bk__real_of(json_object_get(o, "p"));
}

static int load_pairs(struct bk_report *r, const json_t *a, struct bk_error *err)
{
    r->pair = bk_zalloc((json_array_size(a) + 1) * sizeof *r->pair);
    if (!r->pair)
        return out_of_memory(err);
    while (r->n_pairs < json_array_size(a)) {
        const json_t *o = json_array_get(a, r->n_pairs);
        struct bk_report_pair *p = &r->pair[r->n_pairs++];
        struct bk_paired *t = &p->test;
        p->a = get_text(o, "row");
        p->b = get_text(o, "against");
        if (!p->a || !p->b)
            return bk_fail(err, BK_EDATA, "run.json has a comparison without rows");
        p->n = (size_t)json_integer_value(json_object_get(o, "n"));
        get_coefficient(json_object_get(o, "kendall_tau"), &t->difference.kendall_tau, &t->ci.kendall_tau, &t->p_tau);
        get_coefficient(json_object_get(o, "spearman_rho"), &t->difference.spearman_rho, &t->ci.spearman_rho, &t->p_rho);
        get_coefficient(json_object_get(o, "pearson_r"), &t->difference.pearson_r, &t->ci.pearson_r, &t->p_r);
    }
    return BK_OK;
}

/* ---- architectures ---------------------------------------------------------------------------------------------- */

static json_t *arch_json(const struct bk_report_arch *a)
{
    json_t *layers = json_array();
    for (int32_t i = 0; i < a->n_layers; i++)
        json_array_append_new(layers, json_pack("{s:s,s:i,s:i,s:i}", "label", a->layer[i].label, "block",
                                                (int)a->layer[i].block, "scale", (int)a->layer[i].scale, "width",
                                                (int)a->layer[i].width));
    return json_pack("{s:o,s:o,s:o,s:b,s:o,s:o,s:o,s:{s:o,s:o,s:o,s:o},s:o,s:o,s:o}", "row", text(a->row), "name",
                     text(a->name), "arch", text(a->arch), "found", (int)a->is_found, "params", bk__real_or_null(a->params), "macs",
                     bk__real_or_null(a->macs), "counter", bk__real_or_null(a->counter), "published", "top1", bk__real_or_null(a->top1), "top5", bk__real_or_null(a->top5),
                     "params", bk__real_or_null(a->published_params), "madds", bk__real_or_null(a->published_madds), "counter_name",
                     text(a->counter_name), "source", text(a->source), "layers", layers);
}

static int load_layers(struct bk_report_arch *a, const json_t *layers, struct bk_error *err)
{
    a->layer = bk_zalloc((json_array_size(layers) + 1) * sizeof *a->layer);
    if (!a->layer)
        return out_of_memory(err);
    while ((size_t)a->n_layers < json_array_size(layers)) {
        const json_t *o = json_array_get(layers, (size_t)a->n_layers);
        struct bk_drawn_layer *l = &a->layer[a->n_layers++];
        const char *label = json_string_value(json_object_get(o, "label"));
        snprintf(l->label, sizeof l->label, "%s", label ? label : "");
        l->block = (int32_t)json_integer_value(json_object_get(o, "block"));
        l->scale = (int32_t)json_integer_value(json_object_get(o, "scale"));
        l->width = (int32_t)json_integer_value(json_object_get(o, "width"));
    }
    return BK_OK;
}

static int load_archs(struct bk_report *r, const json_t *list, struct bk_error *err)
{
    r->arch = bk_zalloc((json_array_size(list) + 1) * sizeof *r->arch);
    if (!r->arch)
        return out_of_memory(err);
    while (r->n_archs < json_array_size(list)) {
        const json_t *o = json_array_get(list, r->n_archs), *published = json_object_get(o, "published");
        struct bk_report_arch *a = &r->arch[r->n_archs++];
        a->row = get_text(o, "row");
        a->name = get_text(o, "name");
        a->arch = get_text(o, "arch");
        a->counter_name = get_text(o, "counter_name");
        a->source = get_text(o, "source");
        a->is_found = json_is_true(json_object_get(o, "found"));
        a->params = bk__real_of(json_object_get(o, "params"));
        a->macs = bk__real_of(json_object_get(o, "macs"));
        a->counter = bk__real_of(json_object_get(o, "counter"));
        a->top1 = bk__real_of(json_object_get(published, "top1"));
        a->top5 = bk__real_of(json_object_get(published, "top5"));
        a->published_params = bk__real_of(json_object_get(published, "params"));
        a->published_madds = bk__real_of(json_object_get(published, "madds"));
        if (!a->row || !a->name)
            return bk_fail(err, BK_EDATA, "run.json has an architecture without a name");
        BK_TRY(load_layers(a, json_object_get(o, "layers"), err));
    }
    return BK_OK;
}

/* ---- all parts ----------------------------------------------------------------------------------------------------- */

void bk__report_parts_save(const struct bk_report *r, json_t *o)
{
    json_t *pairs = json_array(), *archs = json_array();
    for (size_t i = 0; i < r->n_pairs; i++)
        json_array_append_new(pairs, pair_json(&r->pair[i]));
    for (size_t i = 0; i < r->n_archs; i++)
        json_array_append_new(archs, arch_json(&r->arch[i]));
    if (r->n_pairs)
        json_object_set(o, "pairs", pairs);
    if (r->n_archs)
        json_object_set(o, "architectures", archs);
    if (r->n_retrained)
        json_object_set_new(o, "retrained", bk__retrained_save(r));
    json_decref(pairs);
    json_decref(archs);
}

int bk__report_parts_load(struct bk_report *r, const json_t *o, struct bk_error *err)
{
    BK_TRY(load_pairs(r, json_object_get(o, "pairs"), err));
    BK_TRY(bk__retrained_load(r, json_object_get(o, "retrained"), err));
    return load_archs(r, json_object_get(o, "architectures"), err);
}

void bk__report_parts_release(struct bk_report *r)
{
    for (size_t i = 0; i < r->n_pairs; i++) {
        bk_free(r->pair[i].a);
        bk_free(r->pair[i].b);
    }
    for (size_t i = 0; i < r->n_archs; i++) {
        struct bk_report_arch *a = &r->arch[i];
        bk_free(a->row);
        bk_free(a->name);
        bk_free(a->arch);
        bk_free(a->counter_name);
        bk_free(a->source);
        bk_free(a->layer);
    }
    bk__retrained_release(r);
    bk_free(r->pair);
    bk_free(r->arch);
}

/*
 * What stages that test retrained networks wrote, as entries of the report.
 */
#include "pipeline/run.h"

#include <bosskit/file.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int out_of_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for results");
}

static char *settings_text(const struct bk_plan_row *r)
{
    static const char *const level[] = { "", "fast", "repeatable", "reference" };
    const struct bk_retrain_options *o = &r->row->retrain;
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%lld epochs, seed %lld, %s, %s, backend %s", (long long)r->row->retrain_recipe.epochs,
                 (long long)o->seed, bk_dtype_name(r->setting.dtype), level[r->setting.determinism], r->setting.backend);
    return bk_text_take(&t);
}

static void take_counts(const json_t *o, struct bk_report_counts *c)
{
    c->n = json_integer_value(json_object_get(o, "n"));
    c->top1 = json_integer_value(json_object_get(o, "top1"));
    c->top5 = json_integer_value(json_object_get(o, "top5"));
}

static int take_result(const struct bk_plan_row *r, struct bk_report_retrained *e, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    char *data = NULL;
    size_t n = 0;

    bk_text_addf(&path, "%s/result.json", r->test->dir);
    int rc = bk_file_read(bk_text_get(&path), 1u << 20, &data, &n, err);
    json_t *o = rc ? NULL : json_loadb(data, n, 0, NULL);
    const char *arch = json_string_value(json_object_get(o, "arch"));
    if (!rc && !arch)
        rc = bk_fail(err, BK_EDATA, "'%s' is damaged", bk_text_get(&path));
    if (!rc) {
        bk_free(e->arch);
        e->arch = bk_strdup(arch);
        take_counts(json_object_get(o, "last"), &e->last);
        take_counts(json_object_get(o, "average"), &e->average);
        e->params = json_number_value(json_object_get(o, "params"));
        e->macs = json_number_value(json_object_get(o, "macs"));
        e->counter = json_number_value(json_object_get(o, "counter"));
        e->cost_size = (int32_t)json_integer_value(json_object_get(o, "cost_size"));
        e->eval_size = (int32_t)json_integer_value(json_object_get(o, "eval_size"));
    }
    json_decref(o);
    bk_free(data);
    bk_text_release(&path);
    return rc;
}

static int add_one(const struct bk_plan_row *r, struct bk_report *out, struct bk_error *err)
{
    const struct bk_published_retrain *p = &r->row->retrain_published;
    const char *counter = r->row->space.info.counter;
    struct bk_report_retrained *grown = bk_realloc(out->retrained, (out->n_retrained + 1) * sizeof *grown);

    if (!grown)
        return out_of_memory(err);
    out->retrained = grown;
    struct bk_report_retrained *e = &out->retrained[out->n_retrained++];
    *e = (struct bk_report_retrained){ .row = bk_strdup(r->row->name), .arch = bk_strdup(r->row->retrain.arch),
                                       .settings = settings_text(r), .counter_name = counter ? bk_strdup(counter) : NULL,
                                       .source = bk_strdup(p->source ? p->source : ""), .params = NAN, .macs = NAN,
                                       .counter = NAN, .published = { p->top1, p->top5, p->params, p->madds } };
    const struct bk_stage *failed = r->retrain->error.code ? r->retrain : r->test;
    if (failed->error.code) {
        e->failure = bk_strdup(failed->error.text);
        return e->failure ? BK_OK : out_of_memory(err);
    }
    BK_TRY(take_result(r, e, err));
    return e->row && e->arch && e->settings && e->source ? BK_OK : out_of_memory(err);
}

int bk__add_retrained(const struct bk_plan *p, struct bk_report *out, struct bk_error *err)
{
    for (size_t i = 0; i < p->n_rows; i++) {
        if (p->row[i].test)
            BK_TRY(add_one(&p->row[i], out, err));
    }
    return BK_OK;
}

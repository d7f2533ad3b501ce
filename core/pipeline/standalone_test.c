/*
 * Testing a network that was trained alone, and writing down what came out; weights on their way from training to
 * testing. Test images go through the data set's evaluation pipeline, larger ones with the same proportion of crop to
 * resized side (224 of 256 pixels).
 */
#include "pipeline/standalone.h"

#include "autograd/step_memory.h"

#include <bosskit/file.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHTS "weights.safetensors"
#define AVERAGE "average.safetensors"

/* ---- testing ----------------------------------------------------------------------------------------------- */

/** How many logits of the row rank before the label's: larger ones, and equal ones of a lower class; -1: not finite. */
static int32_t rank_of(const float *row, int32_t label, int32_t n_classes)
{
    int32_t before = 0;
    for (int32_t c = 0; c < n_classes; c++) {
        if (!isfinite(row[c]))
            return -1;
        before += row[c] > row[label] || (row[c] == row[label] && c < label);
    }
    return before;
}

struct test_call {
    struct bk__alone *a;
    struct bk_weights *weights;
    struct bk_batch b;
    int32_t size;
    float *logits;
};

static int call_forward(void *user, struct bk_error *err)
{
    struct test_call *c = user;
    struct bk_tensor *y;
    BK_TRY(bk__alone_forward(c->a, c->weights, &c->b, c->size, false, 0, &y, err));
    return bk_tensor_read_f32(y, c->logits, err);
}

static int count_batch(struct bk__alone *a, struct bk_weights *weights, struct bk_loader *loader, int32_t size,
                       float *logits, struct bk__test_counts *c, struct bk_error *err)
{
    struct test_call call = { .a = a, .weights = weights, .size = size, .logits = logits };
    const struct bk_batch *b = &call.b;

    BK_TRY(bk_loader_next(loader, &call.b, err));
    BK_TRY(bk__step_run(a->tape, b->n, call_forward, &call, err));
    for (int32_t i = 0; i < b->n; i++) {
        int32_t rank = rank_of(logits + (size_t)i * (size_t)a->n_classes, b->label[i], a->n_classes);
        if (rank < 0)
            return bk_fail(err, BK_ENUMERIC, "the trained network's logits for test image %u are not finite",
                           (unsigned)b->image[i]);
        c->top1 += rank < 1;
        c->top5 += rank < 5;
    }
    c->n += b->n;
    return BK_OK;
}

/** The evaluation pipeline at side `size`, 0: as it is. */
static int evaluation_view(const struct bk__alone *a, int32_t size, struct bk_augment *view, struct bk_error *err)
{
    *view = a->job->data.data.plain;
    if (size == 0 && a->recipe->size && view->crop != BK_CROP_NONE)
        size = (int32_t)a->recipe->size;
    if (size == 0 || size == view->size)
        return BK_OK;
    if (view->crop == BK_CROP_NONE)
        return bk_fail(err, BK_ECONFIG, "%s.eval_size: is %d, but the evaluation pipeline takes images of %d pixels as "
                                        "they are; data.augment = \"imagenet\" resizes", a->where, size, view->size);
    view->size = size;
    return BK_OK;
}

int bk__alone_test(struct bk__alone *a, struct bk_weights *weights, int32_t size, int32_t batch,
                   struct bk__test_counts *out, struct bk_error *err)
{
    float *logits = bk_alloc((size_t)batch * (size_t)a->n_classes * sizeof *logits);
    struct bk__test_counts c = { 0, 0, 0 };
    struct bk_loader *loader = NULL;
    struct bk_augment view;
    int rc = logits ? evaluation_view(a, size, &view, err) : bk_fail(err, BK_ENOMEM, "out of memory for logits");

    if (!rc)
        rc = bk__alone_loader(a, &a->job->data.data.test, &view, false, batch, &loader, err);
    for (int32_t i = 0, n = rc ? 0 : bk_loader_batches(loader); !rc && i < n; i++)
        rc = count_batch(a, weights, loader, view.size, logits, &c, err);
    if (!rc)
        *out = c;
    bk_loader_free(loader);
    bk_free(logits);
    return rc;
}

/* ---- results ------------------------------------------------------------------------------------------------ */

int bk__alone_write_truth(const struct bk__alone *a, const struct bk__test_counts *c, struct bk_error *err)
{
    const char *name = a->name;
    double top1 = c->n ? 100.0 * (double)c->top1 / (double)c->n : 0;
    struct bk_text path = BK_TEXT_INIT;
    bk_text_addf(&path, "%s/result.csv", a->job->dir);
    int rc = bk__pairs_write(bk_text_get(&path), "arch,top1", &name, &top1, 1, err);
    bk_text_release(&path);
    return rc;
}

static int write_bundle(const struct bk__alone *a, struct bk_weights *weights, const char *file, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    struct bk_bundle *b = NULL;

    BK_TRY(bk_bundle_new(&b, err));
    bk_text_addf(&path, "%s/%s", a->job->dir, file);
    int rc = bk_weights_save(weights, "", b, err);
    if (!rc)
        rc = bk_bundle_put_text(b, "arch", a->name, err);
    if (!rc)
        rc = bk_bundle_put_text(b, "space", a->job->row->space.name, err);
    if (!rc)
        rc = bk_bundle_write(b, bk_text_get(&path), err);
    bk_bundle_free(b);
    bk_text_release(&path);
    return rc;
}

int bk__alone_write_weights(const struct bk__alone *a, struct bk_error *err)
{
    BK_TRY(write_bundle(a, a->weights, WEIGHTS, err));
    return a->average ? write_bundle(a, a->average, AVERAGE, err) : BK_OK;
}

/* ---- the stage ---------------------------------------------------------------------------------------------- */

static int read_bundle(const struct bk__alone *a, const char *file, struct bk_bundle **out, struct bk_error *err)
{
    const char *dir = json_string_value(json_object_get(a->job->spec, "retrained"));
    struct bk_text path = BK_TEXT_INIT;
    bk_text_addf(&path, "%s/%s", dir ? dir : "", file);
    int rc = bk_bundle_read(bk_text_get(&path), out, err);
    bk_text_release(&path);
    return rc;
}

/** The network the bundle names, with its weights. */
static int open_retrained(struct bk__alone *a, const struct bk_bundle *b, struct bk_error *err)
{
    const struct bk_space *space = &a->job->row->space;
    const char *name = bk_bundle_text(b, "arch");

    snprintf(a->name, sizeof a->name, "%s", name ? name : "");
    BK_TRY(bk_space_parse(space, a->name, &a->arch, err));
    BK_TRY(space->iface->alone(space->state, &a->arch, a->n_classes, &a->net, err));
    BK_TRY(bk__alone_open(a, err));
    return bk_weights_load(a->weights, "", b, false, err);
}

/** Test the weights of `file`. */
static int test_file(struct bk__alone *a, const char *file, struct bk__test_counts *out, struct bk_error *err)
{
    const struct bk_retrain_options *o = &a->job->row->retrain;
    struct bk_bundle *b = NULL;
    int rc = read_bundle(a, file, &b, err);

    if (!rc)
        rc = a->weights ? bk_weights_load(a->weights, "", b, false, err) : open_retrained(a, b, err);
    if (!rc)
        rc = bk__alone_test(a, a->weights, (int32_t)o->eval_size, (int32_t)(o->eval_batch ? o->eval_batch : a->recipe->batch),
                            out, err);
    bk_bundle_free(b);
    return rc;
}

static json_t *counts_json(const struct bk__test_counts *c)
{
    return c->n ? json_pack("{s:I,s:I,s:I}", "n", (json_int_t)c->n, "top1", (json_int_t)c->top1, "top5",
                            (json_int_t)c->top5)
                : json_null();
}

static int write_result(const struct bk__alone *a, const struct bk__test_counts *last,
                        const struct bk__test_counts *average, struct bk_error *err)
{
    const struct bk_space *space = &a->job->row->space;
    struct bk_text path = BK_TEXT_INIT;
    struct bk_augment view;
    struct bk_cost cost;

    BK_TRY(evaluation_view(a, (int32_t)a->job->row->retrain.eval_size, &view, err));
    BK_TRY(bk_space_cost(space, &a->arch, a->n_classes, &cost, err));
    json_t *o = json_pack("{s:s,s:o,s:o,s:f,s:f,s:f,s:i,s:i}", "arch", a->name, "last", counts_json(last), "average",
                          counts_json(average), "params", cost.params, "macs", cost.macs, "counter", cost.counter,
                          "cost_size", (int)space->info.input_size, "eval_size", (int)view.size);
    char *text = o ? json_dumps(o, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    bk_text_addf(&path, "%s/result.json", a->job->dir);
    int rc = text ? bk_file_write(bk_text_get(&path), text, strlen(text), err)
                  : bk_fail(err, BK_ENUMERIC, "the retrained network has no finite cost");
    free(text);
    json_decref(o);
    bk_text_release(&path);
    return rc;
}

int bk__stage_test(struct bk_stage_job *job, struct bk_error *err)
{
    struct bk_recipe recipe = job->row->retrain_recipe;
    struct bk__alone a = { .job = job, .recipe = &recipe, .where = "retrain", .n_classes = job->data.data.info.n_classes,
                           .net = BK_NET_INIT };
    struct bk__test_counts last = { 0, 0, 0 }, average = { 0, 0, 0 };
    bool averaged = recipe.ema > 0;

    recipe.ema = 0;             /* one weight set is enough here */
    int rc = test_file(&a, WEIGHTS, &last, err);
    if (!rc && averaged)
        rc = test_file(&a, AVERAGE, &average, err);
    if (!rc)
        rc = write_result(&a, &last, &average, err);
    bk__alone_close(&a);
    return rc;
}

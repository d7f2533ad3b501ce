/*
 * Cross entropy or error of every path over the validation images: means over images, not over batches.
 *
 * Not here: networks (supervised_acc.c, linear_eval.c) and the walk (<bosskit/traverse.h>).
 */
#include "class_score.h"

const struct bk_choice class_scores[] = { { "cross_entropy", SCORE_CROSS_ENTROPY }, { "error", SCORE_ERROR }, { NULL, 0 } };

static struct bk_pass pass_over(const struct class_rating *r, const struct bk_split *split, int64_t batch)
{
    return (struct bk_pass){ .env = r->env,
                             .tape = r->tape,
                             .split = split,
                             .batch = (int32_t)batch,
                             .n_views = 1,
                             .view = { r->env->data->plain } };
}

static int calibrate_batch(void *user, const struct bk_batch *batch, struct bk_tensor *const *image, struct bk_error *err)
{
    struct class_rating *r = user;
    (void)batch;
    return bk_traverse_calibrate(r->paths, image[0], 1, r->calibrate, r->user, err);
}

int class_calibrate(struct class_rating *r, struct bk_error *err)
{
    struct bk_pass p = pass_over(r, &r->env->data->train, r->options->calib_images);
    p.shuffle = true;
    p.max_batches = 1;
    return bk_pass_run(&p, calibrate_batch, r, err);
}

static int32_t count_wrong(const float *logits, const int32_t *label, int32_t n, int32_t n_classes)
{
    int32_t wrong = 0;
    for (int32_t i = 0; i < n; i++) {
        const float *row = logits + (size_t)i * (size_t)n_classes;
        int32_t best = 0;
        for (int32_t c = 1; c < n_classes; c++)
            best = row[c] > row[best] ? c : best;
        wrong += best != label[i];
    }
    return wrong;
}

static int score_leaf(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                      struct bk_error *err)
{
    static const struct bk_cross_entropy_attr plain = { 0 };
    struct class_rating *r = user;
    const struct bk_batch *b = r->current;
    struct bk_tensor *logits, *loss;
    double mean;

    BK_TRY(r->logits(r->user, leaf, f, x, &logits, err));
    if (r->options->score == SCORE_ERROR) {
        BK_TRY(bk_tensor_read_f32(logits, r->host_logits, err));
        mean = (double)count_wrong(r->host_logits, b->label, b->n, r->n_classes) / b->n;
        return bk_traverse_score(r->paths, leaf->number, mean, b->n, err);
    }
    BK_TRY(bk_cross_entropy(r->tape, logits, r->labels, &plain, &loss, err));
    BK_TRY(bk_tensor_read_f64(loss, &mean, err));
    return bk_traverse_score(r->paths, leaf->number, mean, b->n, err);
}

static int rate_batch(void *user, const struct bk_batch *batch, struct bk_tensor *const *image, struct bk_error *err)
{
    struct class_rating *r = user;
    r->current = batch;
    BK_TRY(bk_batch_labels(r->tape, batch, &r->labels, err));
    return bk_traverse_run(r->paths, 0, image[0], score_leaf, r, err);
}

int class_rate(struct class_rating *r, struct bk_block_table *out, struct bk_error *err)
{
    struct bk_pass p = pass_over(r, &r->env->data->val, r->options->batch);

    p.limit = (uint32_t)r->options->n_images;
    p.unit = "batches";
    r->host_logits = bk_alloc((size_t)p.batch * (size_t)r->n_classes * sizeof *r->host_logits);
    if (!r->host_logits)
        return bk_fail(err, BK_ENOMEM, "out of memory for the logits of %d images", (int)p.batch);
    BK_TRY(bk_pass_run(&p, rate_batch, r, err));
    return bk_traverse_table(r->paths, out, err);
}

void class_release(struct class_rating *r)
{
    bk_free(r->host_logits);
    r->host_logits = NULL;
}

BK_MODULE(&supervised_acc_plugin, &linear_eval_plugin);

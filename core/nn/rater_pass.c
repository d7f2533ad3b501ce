/*
 * nn/rater_pass.c: batches for raters and trainers: passes over a split with fixed views, and batches as tensors.
 *
 * Not here: augmentation and loading (data/), walking paths (traverse.c), losses.
 */
#include "autograd/step_memory.h"
#include <bosskit/backend.h>
#include <bosskit/traverse.h>

int bk_batch_view(struct bk_tape *tape, uint32_t dtype, const struct bk_batch *batch, int32_t view, int32_t side,
                  struct bk_tensor **out, struct bk_error *err)
{
    int64_t dim[4] = { batch->n, side, side, 3 };
    BK_TRY(bk_tape_tensor(tape, dtype, 4, dim, out, err));
    if (batch->plan[view])
        return bk_device_make_views((*out)->device, batch->plan[view], batch->n, *out, err);
    return bk_tensor_write_f32(*out, batch->view[view], err);
}

int bk_batch_labels(struct bk_tape *tape, const struct bk_batch *batch, struct bk_tensor **out, struct bk_error *err)
{
    int64_t n = batch->n;
    BK_TRY(bk_tape_tensor(tape, BK_I32, 1, &n, out, err));
    return bk_tensor_write(*out, batch->label, err);
}

static int open_loader(const struct bk_pass *p, struct bk_loader **out, struct bk_error *err)
{
    struct bk_loader_config c = { .split = p->split,
                                  .batch = p->batch,
                                  .n_views = p->n_views,
                                  .view = { p->view[0], p->view[1] },
                                  .seed = p->env->seed,
                                  .shuffle = p->shuffle,
                                  .fixed_views = true,
                                  .threads = p->env->data->threads,
                                  .limit = p->limit,
                                  .plan_only = p->env->data->plan_only };
    if (p->n_views == 2 && p->view[0].size != p->view[1].size)
        return bk_fail(err, BK_EINVAL, "views of %d and %d pixels cannot be compared", (int)p->view[0].size,
                       (int)p->view[1].size);
    return bk_loader_new(&c, out, err);
}

struct call {
    const struct bk_pass *p;
    bk_pass_fn fn;
    void *user;
    struct bk_batch batch;
};

static int call_fn(void *user, struct bk_error *err)
{
    const struct call *c = user;
    struct bk_tensor *image[2] = { NULL, NULL };
    bk_tape_reset(c->p->tape);
    for (int32_t v = 0; v < c->p->n_views; v++)
        BK_TRY(bk_batch_view(c->p->tape, c->p->env->dtype, &c->batch, v, c->p->view[v].size, &image[v], err));
    return c->fn(c->user, &c->batch, image, err);
}

static int run_batch(const struct bk_pass *p, struct bk_loader *loader, bk_pass_fn fn, void *user, struct bk_error *err)
{
    struct call c = { .p = p, .fn = fn, .user = user };
    BK_TRY(bk_loader_next(loader, &c.batch, err));
    return bk__step_run(p->tape, c.batch.n, call_fn, &c, err);
}

int bk_pass_run(const struct bk_pass *p, bk_pass_fn fn, void *user, struct bk_error *err)
{
    const struct bk_host *host = p->env->host;
    struct bk_loader *loader;
    int rc = BK_OK;

    if (p->n_views < 1 || p->n_views > 2)
        return bk_fail(err, BK_EINVAL, "%d views of an image, legal: 1..2", (int)p->n_views);
    BK_TRY(open_loader(p, &loader, err));
    int32_t n = bk_loader_batches(loader);
    if (p->max_batches > 0 && n > p->max_batches)
        n = p->max_batches;
    if (n < 1)
        rc = bk_fail(err, BK_EDATA, "there are no images in the split");
    for (int32_t b = 0; b < n && !rc; b++) {
        if (host && host->cancelled(host->ctx))
            rc = bk_fail(err, BK_EINTERRUPTED, "rating of block %d interrupted", (int)p->env->block);
        if (!rc)
            rc = run_batch(p, loader, fn, user, err);
        if (!rc && host && p->unit)
            host->progress(host->ctx, b + 1, n, p->unit, NULL);
    }
    bk_loader_free(loader);
    return rc;
}

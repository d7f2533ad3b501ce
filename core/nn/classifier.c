/*
 * nn/classifier.c: the network of block-wise supervised classification: supernet, pooling, one linear map a block.
 *
 * Only structure, weights and forward pieces; losses and the loop belong to the trainer and the rater. Initial values
 * depend on slot names, so a block's classifier does not depend on when its turn comes.
 */
#include <bosskit/classifier.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int describe(struct bk_classifier *c, struct bk_error *err)
{
    int64_t width = c->space->info.pooled_width[c->block];
    double bound = 1 / sqrt((double)width);
    char name[32];
    BK_TRY(c->space->iface->supernet(c->space->state, &c->net, err));
    snprintf(name, sizeof name, "classifier%" PRId32, c->block);
    return bk_net_linear(&c->net, name, BK_PART_CLASSIFIER, c->block, c->n_classes, width, BK_INIT_UNIFORM, bound,
                         BK_INIT_UNIFORM, bound, &c->fc, err);
}

/* Description and weights that come from a seed or, without `draws`, from an artefact alone. */
static int build(struct bk_classifier *c, struct bk_device *device, uint32_t dtype, const struct bk_space *space,
                 int32_t block, int64_t n_classes, bool draws, uint64_t seed, struct bk_error *err)
{
    *c = (struct bk_classifier){ .space = space, .net = BK_NET_INIT, .block = block };
    if (block < 0 || block >= space->info.n_blocks)
        return bk_fail(err, BK_EINVAL, "block %" PRId32 " is outside 0..%" PRId32 " of space '%s'", block,
                       space->info.n_blocks - 1, space->name);
    if (n_classes < 2 || n_classes > INT32_MAX)
        return bk_fail(err, BK_EINVAL, "%" PRId64 " classes cannot be told apart, legal: 2 and more", n_classes);
    c->n_classes = (int32_t)n_classes;
    int rc = describe(c, err);
    if (!rc)
        rc = bk_weights_new_lazy(device, &c->net, dtype, draws, seed, &c->weights, err);
    if (rc)
        bk_classifier_release(c);
    return rc;
}

int bk_classifier_init(struct bk_classifier *c, struct bk_device *device, uint32_t dtype, const struct bk_space *space,
                       int32_t block, int32_t n_classes, uint64_t seed, struct bk_error *err)
{
    BK_TRY(build(c, device, dtype, space, block, n_classes, true, seed, err));
    int rc = bk_weights_need_block(c->weights, block, err);
    if (rc)
        bk_classifier_release(c);
    return rc;
}

void bk_classifier_release(struct bk_classifier *c)
{
    if (!c)
        return;
    bk_weights_free(c->weights);
    bk_net_release(&c->net);
    memset(c, 0, sizeof *c);
}

int bk_classifier_open(struct bk_classifier *c, struct bk_device *device, uint32_t dtype, const struct bk_space *space,
                       int32_t block, const struct bk_bundle *trained, struct bk_error *err)
{
    const char *method = bk_bundle_text(trained, "method");
    int64_t b, n_classes;

    if (!method || strcmp(method, "supervised"))
        return bk_fail(err, BK_EDATA, "the trainer's artefact has method '%.40s', 'supervised' is wanted",
                       method ? method : "");
    BK_TRY(bk_bundle_i64(trained, "block", &b, err));
    BK_TRY(bk_bundle_i64(trained, "n_classes", &n_classes, err));
    if (b != block)
        return bk_fail(err, BK_EDATA, "the trainer's artefact is of block %" PRId64 ", block %" PRId32 " is wanted", b,
                       block);
    BK_TRY(build(c, device, dtype, space, block, n_classes, false, 0, err));
    int rc = bk_weights_load(c->weights, "net.", trained, false, err);
    if (!rc)
        rc = bk_weights_need_block(c->weights, block, err);
    if (rc)
        bk_classifier_release(c);
    return rc;
}

int bk_classifier_save(struct bk_classifier *c, struct bk_bundle *out, struct bk_error *err)
{
    BK_TRY(bk_weights_save(c->weights, "net.", out, err));
    BK_TRY(bk_bundle_put_text(out, "method", "supervised", err));
    BK_TRY(bk_bundle_put_i64(out, "block", c->block, err));
    return bk_bundle_put_i64(out, "n_classes", c->n_classes, err);
}

int bk_classifier_logits(const struct bk_classifier *c, struct bk_forward *f, const struct bk_path *path,
                         struct bk_tensor *x, struct bk_tensor **logits, struct bk_error *err)
{
    struct bk_tensor *pooled;
    BK_TRY(c->space->iface->pool(c->space->state, f, c->block, path, x, &pooled, err));
    return bk_forward_linear(f, c->fc, pooled, logits, err);
}

/*
 * nn/siamese.c: one description, two weight sets: the supernets that bootstrapping trains and raters read.
 *
 * Only structure, weights and forward pieces; losses, views and the loop belong to trainers and raters.
 * Initial values depend on slot names, so the heads of a block are the same whether they were made at start-up, as
 * the release does, or when the block's turn comes. The same holds for the backbone: what exists is the block, and of earlier
 * blocks the path in front of it. The supernet of HyTra has 854 million parameters.
 */
#include <bosskit/siamese.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * One head "<name>": first linear map, norm, second linear map; a negative scale stands for sqrt(2/fan_in) (Kaiming
 * normal). In the release the norms of the heads are numbered members of a list, so that its expressions for LARS,
 * which look for "bn", miss their scales.
 */
static int add_head(struct bk_siamese *s, const char *name, uint32_t part, int64_t in, double scale,
                    int32_t slot[3], struct bk_error *err)
{
    double scale1 = scale < 0 ? sqrt(2.0 / (double)in) : scale;
    double scale2 = scale < 0 ? sqrt(2.0 / (double)s->hidden) : scale;
    char text[64];

    snprintf(text, sizeof text, "%s%" PRId32 ".fc1", name, s->block);
    BK_TRY(bk_net_linear(&s->net, text, part, s->block, s->hidden, in, BK_INIT_NORMAL, scale1,
                         BK_INIT_ZERO, 0, &slot[0], err));
    snprintf(text, sizeof text, "%s%" PRId32 ".norm", name, s->block);
    BK_TRY(bk_net_norm(&s->net, text, part, s->block, s->hidden, BK_SLOT_BY_NAME_ADAPTED, &slot[1],
                       err));
    snprintf(text, sizeof text, "%s%" PRId32 ".fc2", name, s->block);
    return bk_net_linear(&s->net, text, part, s->block, s->out, s->hidden, BK_INIT_NORMAL, scale2,
                         BK_INIT_ZERO, 0, &slot[2], err);
}

static int describe(struct bk_siamese *s, struct bk_error *err)
{
    BK_TRY(s->space->iface->supernet(s->space->state, &s->net, err));
    BK_TRY(add_head(s, "projector", BK_PART_PROJECTOR, s->space->info.pooled_width[s->block], -1,
                    s->projector, err));
    return add_head(s, "predictor", BK_PART_PREDICTOR, s->out, 0.01, s->predictor, err);
}

/* Description and weights that come from a seed or, without `draws`, from an artefact alone. */
static int build(struct bk_siamese *s, struct bk_device *device, uint32_t dtype,
                 const struct bk_space *space, int32_t block, int32_t hidden, int32_t out,
                 bool draws, uint64_t seed, struct bk_error *err)
{
    *s = (struct bk_siamese){ .space = space, .net = BK_NET_INIT, .block = block,
                              .hidden = hidden, .out = out };
    if (block < 0 || block >= space->info.n_blocks)
        return bk_fail(err, BK_EINVAL, "block %" PRId32 " is outside 0..%" PRId32 " of space '%s'",
                       block, space->info.n_blocks - 1, space->name);
    if (hidden < 1 || out < 1)
        return bk_fail(err, BK_EINVAL, "siamese heads of widths %" PRId32 " and %" PRId32
                       " are not possible, legal: 1 and more", hidden, out);
    int rc = describe(s, err);
    if (!rc)
        rc = bk_weights_new_lazy(device, &s->net, dtype, draws, seed, &s->online, err);
    if (!rc)
        rc = bk_weights_new_lazy(device, &s->net, dtype, draws, seed, &s->target, err);
    if (rc)
        bk_siamese_release(s);
    return rc;
}

int bk_siamese_init(struct bk_siamese *s, struct bk_device *device, uint32_t dtype,
                    const struct bk_space *space, int32_t block, int32_t hidden, int32_t out,
                    uint64_t seed, struct bk_error *err)
{
    BK_TRY(build(s, device, dtype, space, block, hidden, out, true, seed, err));
    int rc = bk_weights_need_block(s->online, block, err);
    if (!rc)
        rc = bk_weights_copy(s->target, s->online, err);
    if (rc)
        bk_siamese_release(s);
    return rc;
}

void bk_siamese_release(struct bk_siamese *s)
{
    if (!s)
        return;
    bk_weights_free(s->online);
    bk_weights_free(s->target);
    bk_net_release(&s->net);
    memset(s, 0, sizeof *s);
}

/* ---- artefacts ---------------------------------------------------------------------------------------------- */

static int read_sizes(const struct bk_bundle *trained, int32_t block, int32_t *hidden, int32_t *out,
                      struct bk_error *err)
{
    const char *method = bk_bundle_text(trained, "method");
    int64_t b, h, o;

    if (!method || strcmp(method, "siamese"))
        return bk_fail(err, BK_EDATA, "the trainer's artefact has method '%.40s', 'siamese' is wanted",
                       method ? method : "");
    BK_TRY(bk_bundle_i64(trained, "block", &b, err));
    BK_TRY(bk_bundle_i64(trained, "hidden", &h, err));
    BK_TRY(bk_bundle_i64(trained, "out", &o, err));
    if (b != block)
        return bk_fail(err, BK_EDATA, "the trainer's artefact is of block %" PRId64 ", block %" PRId32
                       " is wanted", b, block);
    if (h < 1 || h > INT32_MAX || o < 1 || o > INT32_MAX)
        return bk_fail(err, BK_EDATA, "the trainer's artefact has heads of widths %" PRId64 " and %"
                       PRId64, h, o);
    *hidden = (int32_t)h;
    *out = (int32_t)o;
    return BK_OK;
}

int bk_siamese_open(struct bk_siamese *s, struct bk_device *device, uint32_t dtype,
                    const struct bk_space *space, int32_t block, const struct bk_bundle *trained,
                    struct bk_error *err)
{
    int32_t hidden = 0, out = 0;

    BK_TRY(read_sizes(trained, block, &hidden, &out, err));
    BK_TRY(build(s, device, dtype, space, block, hidden, out, false, 0, err));
    int rc = bk_weights_load(s->online, "online.", trained, false, err);
    if (!rc)
        rc = bk_weights_load(s->target, "target.", trained, false, err);
    if (!rc)
        rc = bk_weights_need_block(s->online, block, err);
    if (!rc)
        rc = bk_weights_need_block(s->target, block, err);
    if (rc)
        bk_siamese_release(s);
    return rc;
}

void bk_siamese_from(struct bk_siamese *s, const struct bk_bundle *previous)
{
    bk_weights_from(s->online, "online.", previous);
    bk_weights_from(s->target, "target.", previous);
}

int bk_siamese_save(struct bk_siamese *s, struct bk_bundle *out, struct bk_error *err)
{
    BK_TRY(bk_weights_save(s->online, "online.", out, err));
    BK_TRY(bk_weights_save(s->target, "target.", out, err));
    BK_TRY(bk_bundle_put_text(out, "method", "siamese", err));
    BK_TRY(bk_bundle_put_i64(out, "block", s->block, err));
    BK_TRY(bk_bundle_put_i64(out, "hidden", s->hidden, err));
    return bk_bundle_put_i64(out, "out", s->out, err);
}

/* ---- running ------------------------------------------------------------------------------------------------- */

int bk_siamese_prefix(const struct bk_siamese *s, struct bk_forward *f, const struct bk_path *prefix,
                      struct bk_tensor *images, struct bk_tensor **y, struct bk_error *err)
{
    return bk_space_run_prefix(s->space, f, s->block, prefix, images, y, err);
}

static int run_head(struct bk_forward *f, const int32_t slot[3], struct bk_tensor *x,
                    struct bk_tensor **y, struct bk_error *err)
{
    struct bk_tensor *h;

    BK_TRY(bk_forward_linear(f, slot[0], x, &h, err));
    BK_TRY(bk_forward_norm(f, &slot[1], &h, 1, NULL, BK_ACT_RELU, &h, err));
    return bk_forward_linear(f, slot[2], h, y, err);
}

int bk_siamese_project(const struct bk_siamese *s, struct bk_forward *f, const struct bk_path *path,
                       struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    struct bk_tensor *pooled;

    BK_TRY(s->space->iface->pool(s->space->state, f, s->block, path, x, &pooled, err));
    return run_head(f, s->projector, pooled, y, err);
}

int bk_siamese_predict(const struct bk_siamese *s, struct bk_forward *f, struct bk_tensor *z,
                       struct bk_tensor **y, struct bk_error *err)
{
    return run_head(f, s->predictor, z, y, err);
}

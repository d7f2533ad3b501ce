/*
 * The MBConv supernet: slots, and what one layer of a path computes.
 *
 * Every layer has a residual, other than in a stand-alone network: where map or width change, the skip is an average
 * pooling 2x2 (stride 2, output rounded up) and a 1x1 convolution with BN, shared by the candidates of the layer. The
 * scales of these norms are the ones that the released by-name exclusion of LARS misses.
 *
 * The released supernet ends in a sixth block of one layer that it neither trains nor rates; widths = [..., 320] makes it.
 */
#include "mbconv.h"

#include <stdio.h>

struct mbconv_layer layer_of(const struct mbconv *s, int32_t block, int32_t layer, int32_t op)
{
    int32_t code = (int32_t)s->ops.at[op], out = (int32_t)s->widths.at[block];
    int32_t in = layer ? out : block ? (int32_t)s->widths.at[block - 1] : s->stem_layer.out;
    return (struct mbconv_layer){ .in = in,
                                  .out = out,
                                  .expansion = code / 10,
                                  .kernel = code % 10,
                                  .stride = layer ? 1 : (int32_t)s->strides.at[block],
                                  .squeeze = s->se ? mbconv_squeeze_width(in) : 0 };
}

/* ---- slots --------------------------------------------------------------------------------------- */

enum { SKIP_SLOTS = 5 };

static bool has_skip_conv(const struct mbconv_layer *l)
{
    return l->in != l->out;
}

/* First slot of candidate `op` of a layer. */
static int32_t op_slot(const struct mbconv *s, int32_t block, int32_t layer, int32_t op)
{
    struct mbconv_layer l = layer_of(s, block, layer, 0);
    int32_t slot = s->slot[block][layer] + (has_skip_conv(&l) ? SKIP_SLOTS : 0);
    for (int32_t d = 0; d < op; d++) {
        l = layer_of(s, block, layer, d);
        slot += mbconv_layer_slots(&l);
    }
    return slot;
}

/* In the order of build_supernet(): the stem, then every layer's skip and candidates. */
void number_supernet(struct mbconv *s)
{
    int32_t next = MBCONV_STEM_SLOTS + mbconv_layer_slots(&s->stem_layer);
    for (int32_t k = 0; k < s->n_blocks; k++)
        for (int32_t i = 0; i < n_layers(s, k); i++) {
            s->slot[k][i] = next;
            next = op_slot(s, k, i, s->n_ops);
        }
}

static int build_layer(struct mbconv_builder *b, const struct mbconv *s, int32_t layer)
{
    char name[48];
    struct mbconv_layer l = layer_of(s, b->block, layer, 0);
    if (has_skip_conv(&l)) {
        snprintf(name, sizeof name, "block%d.layer%d.skip", (int)b->block, (int)layer);
        BK_TRY(mbconv_add_conv(b, name, l.out, 1, l.in, BK_SLOT_BY_NAME_ADAPTED));
    }
    for (int32_t d = 0; d < s->n_ops; d++) {
        l = layer_of(s, b->block, layer, d);
        snprintf(name, sizeof name, "block%d.layer%d.op%d", (int)b->block, (int)layer, (int)d);
        BK_TRY(mbconv_add_layer(b, name, &l));
    }
    return BK_OK;
}

int build_supernet(struct mbconv *s, struct bk_net *net, struct bk_error *err)
{
    struct mbconv_builder b = { net, BK_PART_BACKBONE, 0, MBCONV_INIT_DEFAULT, err };
    BK_TRY(mbconv_add_conv(&b, "block0.stem", s->stem_layer.in, 3, 3, 0));
    BK_TRY(mbconv_add_layer(&b, "block0.stem", &s->stem_layer));
    for (int32_t k = 0; k < s->n_blocks; k++) {
        b.block = k;
        for (int32_t i = 0; i < n_layers(s, k); i++)
            BK_TRY(build_layer(&b, s, i));
    }
    return BK_OK;
}

/* ---- running ------------------------------------------------------------------------------------- */

static const struct bk_conv2d_attr conv1x1 = { 1, 0, 1, 0 };
static const struct bk_conv2d_attr conv3x3_half = { 2, 1, 1, 0 };

static int run_stem(const struct mbconv *s, struct bk_forward *f, struct bk_tensor *x, struct bk_tensor **y,
                    struct bk_error *err)
{
    int32_t norm;
    BK_TRY(mbconv_run_conv(f, 0, &conv3x3_half, x, &x, err));
    BK_TRY(mbconv_run_branch(f, &s->stem_layer, MBCONV_STEM_SLOTS, x, &x, &norm, err));
    return bk_forward_norm(f, &norm, &x, 1, NULL, BK_ACT_NONE, y, err);
}

/* Branch and skip end in one sum of norms. */
static int run_op(const struct mbconv_layer *l, struct bk_forward *f, int32_t skip_slot, int32_t slot,
                  struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    static const struct bk_pool2d_attr half = { 2, 2, 0, 1 };
    struct bk_tensor *term[2], *skip = x;
    int32_t norm[2] = { 0, skip_slot + 1 };

    BK_TRY(mbconv_run_branch(f, l, slot, x, &term[0], &norm[0], err));
    if (l->stride == 2)
        BK_TRY(bk_avg_pool2d(f->tape, skip, &half, &skip, err));
    if (!has_skip_conv(l))
        return bk_forward_norm(f, norm, term, 1, skip, BK_ACT_NONE, y, err);
    BK_TRY(bk_forward_conv(f, skip_slot, -1, skip, &conv1x1, &term[1], err));
    return bk_forward_norm(f, norm, term, 2, NULL, BK_ACT_NONE, y, err);
}

int run_layer(void *state, struct bk_forward *f, int32_t block, int32_t entry, const struct bk_path *path,
              struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    const struct mbconv *s = state;
    (void)entry;
    if (block < 0 || block >= s->n_blocks || path->n < 1 || path->n > n_layers(s, block))
        return bk_fail(err, BK_EINVAL, "block %d has no layer %d", (int)block, (int)path->n - 1);
    int32_t i = path->n - 1, op = path->op[i];
    if (op >= s->n_ops)
        return bk_fail(err, BK_EINVAL, "layer %d of block %d has no choice %d", (int)i, (int)block, (int)op);
    struct mbconv_layer l = layer_of(s, block, i, op);
    if (block == 0 && i == 0)
        BK_TRY(run_stem(s, f, x, &x, err));
    return run_op(&l, f, s->slot[block][i], op_slot(s, block, i, op), x, y, err);
}

int run_pool(void *state, struct bk_forward *f, int32_t block, const struct bk_path *path, struct bk_tensor *x,
             struct bk_tensor **y, struct bk_error *err)
{
    (void)state, (void)block, (void)path;
    return bk_global_pool(f->tape, x, y, err);
}

/*
 * Networks of MBConv layers: costs, slots and forward pass of one layer and of a list of layers.
 *
 * Costs were checked against the published parameters and multiply-adds of EfficientNet-B0 and DNA-a to DNA-d.
 *
 * Not here: the search space.
 */
#include "mbconv_net.h"

#include <bosskit/random.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static int32_t expanded(const struct mbconv_layer *l)
{
    return l->in * l->expansion;
}

int32_t mbconv_squeeze_width(int32_t in)
{
    int32_t w = (in + 2) / 4;
    return w > 0 ? w : 1;
}

void mbconv_net_start(struct mbconv_net *net, bool se, int32_t n_classes)
{
    memset(net, 0, sizeof *net);
    net->se = se;
    net->n_classes = n_classes;
    net->layer[net->n_layers++] = (struct mbconv_layer){
        MBCONV_STEM_WIDTH, 16, 1, 3, 1, se ? mbconv_squeeze_width(MBCONV_STEM_WIDTH) : 0
    };
}

int mbconv_net_add(struct mbconv_net *net, int32_t expansion, int32_t kernel, int32_t out, int32_t stride, struct bk_error *err)
{
    if (net->n_layers == MBCONV_MAX_LAYERS)
        return bk_fail(err, BK_EINVAL, "a network of more than %d layers", MBCONV_MAX_LAYERS);
    int32_t in = net->layer[net->n_layers - 1].out;
    net->layer[net->n_layers++] =
        (struct mbconv_layer){ in, out, expansion, kernel, stride, net->se ? mbconv_squeeze_width(in) : 0 };
    return BK_OK;
}

/* ---- costs --------------------------------------------------------------------------------------- */

/* A convolution k x k of `fan_in` channels a group to co channels of a map of `side`, and the norm behind it. */
static void add_conv_cost(struct bk_cost *c, double fan_in, double co, double k, double side)
{
    double macs = k * k * fan_in * co * side * side;
    c->params += k * k * fan_in * co + 2 * co;
    c->macs += macs;
    c->counter += macs + 2 * co * side * side;
}

/* Squeeze and excitation: two 1x1 convolutions with biases on one position. */
static void add_squeeze_cost(struct bk_cost *c, double width, double squeeze)
{
    double macs = 2 * width * squeeze, biases = width + squeeze;
    c->params += macs + biases;
    c->macs += macs;
    c->counter += macs + biases;
}

static int32_t halved(int32_t side, int32_t stride)
{
    return (side + stride - 1) / stride;
}

int32_t mbconv_stem_cost(int32_t side, struct bk_cost *c)
{
    side = halved(side, 2);
    add_conv_cost(c, 3, MBCONV_STEM_WIDTH, 3, side);
    return side;
}

int32_t mbconv_layer_cost(const struct mbconv_layer *l, int32_t side, struct bk_cost *c)
{
    double e = expanded(l);
    if (l->expansion > 1)
        add_conv_cost(c, l->in, e, 1, side);
    side = halved(side, l->stride);
    add_conv_cost(c, 1, e, l->kernel, side);
    if (l->squeeze)
        add_squeeze_cost(c, e, l->squeeze);
    add_conv_cost(c, e, l->out, 1, side);
    return side;
}

void mbconv_head_cost(int32_t in, int32_t side, int32_t n_classes, struct bk_cost *c)
{
    double width = MBCONV_HEAD_WIDTH, classifier = width * n_classes;
    add_conv_cost(c, in, width, 1, side);
    c->params += classifier + n_classes;
    c->macs += classifier;
    c->counter += classifier + width * side * side;     /* the linear map's bias is not counted, the pooling is */
}

/* ---- slots --------------------------------------------------------------------------------------- */

enum { CONV_SLOTS = 5, SQUEEZE_SLOTS = 4 };

int32_t mbconv_layer_slots(const struct mbconv_layer *l)
{
    return (l->expansion > 1 ? CONV_SLOTS : 0) + CONV_SLOTS + (l->squeeze ? SQUEEZE_SLOTS : 0) + CONV_SLOTS;
}

int mbconv_add_conv(struct mbconv_builder *b, const char *name, int64_t co, int64_t k, int64_t ci_per_group,
                    uint32_t norm_flags)
{
    char full[80];
    int32_t id;
    BK_TRY(bk_net_conv(b->net, name, b->part, b->block, co, k, ci_per_group, &id, b->err));
    if (b->init == MBCONV_INIT_EFFICIENTNET) {
        b->net->slot[id].init = BK_INIT_NORMAL;         /* the fan-out ignores groups */
        b->net->slot[id].init_scale = sqrt(2 / ((double)co * (double)(k * k)));
    }
    snprintf(full, sizeof full, "%s.norm", name);
    return bk_net_norm(b->net, full, b->part, b->block, co, norm_flags, &id, b->err);
}

/* A 1x1 convolution with bias on one position, that is, a linear map. */
static int add_linear(struct mbconv_builder *b, const char *layer, const char *which, int64_t o, int64_t i)
{
    char name[80];
    int32_t id;
    double bound = 1 / sqrt((double)i), deviation = sqrt(2 / (double)o);
    snprintf(name, sizeof name, "%s.%s", layer, which);
    if (b->init == MBCONV_INIT_EFFICIENTNET)
        return bk_net_linear(b->net, name, b->part, b->block, o, i, BK_INIT_NORMAL, deviation, BK_INIT_ZERO, 0, &id, b->err);
    return bk_net_linear(b->net, name, b->part, b->block, o, i, BK_INIT_UNIFORM, bound, BK_INIT_UNIFORM, bound, &id, b->err);
}

int mbconv_add_layer(struct mbconv_builder *b, const char *name, const struct mbconv_layer *l)
{
    char full[80];
    int32_t e = expanded(l);
    if (l->expansion > 1) {
        snprintf(full, sizeof full, "%s.expand", name);
        BK_TRY(mbconv_add_conv(b, full, e, 1, l->in, 0));
    }
    snprintf(full, sizeof full, "%s.depthwise", name);
    BK_TRY(mbconv_add_conv(b, full, e, l->kernel, 1, 0));
    if (l->squeeze) {
        BK_TRY(add_linear(b, name, "squeeze", l->squeeze, e));
        BK_TRY(add_linear(b, name, "excite", e, l->squeeze));
    }
    snprintf(full, sizeof full, "%s.project", name);
    return mbconv_add_conv(b, full, l->out, 1, e, 0);
}

int mbconv_net_build(const struct mbconv_net *m, struct bk_net *net, struct bk_error *err)
{
    struct mbconv_builder b = { net, BK_PART_BACKBONE, -1, MBCONV_INIT_EFFICIENTNET, err };
    int32_t id;
    BK_TRY(mbconv_add_conv(&b, "stem", MBCONV_STEM_WIDTH, 3, 3, 0));
    for (int32_t i = 0; i < m->n_layers; i++) {
        char name[32];
        snprintf(name, sizeof name, "layer%d", (int)i);
        BK_TRY(mbconv_add_layer(&b, name, &m->layer[i]));
    }
    BK_TRY(mbconv_add_conv(&b, "head", MBCONV_HEAD_WIDTH, 1, m->layer[m->n_layers - 1].out, 0));
    return bk_net_linear(net, "classifier", BK_PART_CLASSIFIER, -1, m->n_classes, MBCONV_HEAD_WIDTH, BK_INIT_UNIFORM,
                         1 / sqrt((double)m->n_classes), BK_INIT_ZERO, 0, &id, err);
}

/* ---- running ------------------------------------------------------------------------------------- */

static const struct bk_conv2d_attr conv1x1 = { 1, 0, 1, 0 };
static const struct bk_conv2d_attr conv3x3_half = { 2, 1, 1, 0 };

int mbconv_run_conv(struct bk_forward *f, int32_t slot, const struct bk_conv2d_attr *attr, struct bk_tensor *x,
                    struct bk_tensor **y, struct bk_error *err)
{
    BK_TRY(bk_forward_conv(f, slot, -1, x, attr, &x, err));
    return bk_forward_norm(f, &(int32_t){ slot + 1 }, &x, 1, NULL, BK_ACT_SILU, y, err);
}

int mbconv_run_branch(struct bk_forward *f, const struct mbconv_layer *l, int32_t slot, struct bk_tensor *x,
                      struct bk_tensor **y, int32_t *norm, struct bk_error *err)
{
    const struct bk_conv2d_attr depthwise = { l->stride, (l->kernel - 1) / 2, expanded(l), 0 };
    if (x->rank != 4 || x->dim[3] != l->in) {
        char text[96];
        return bk_fail(err, BK_ESHAPE, "a layer of %d channels was given %s", (int)l->in, bk_tensor_describe(x, text));
    }
    if (l->expansion > 1) {
        BK_TRY(mbconv_run_conv(f, slot, &conv1x1, x, &x, err));
        slot += CONV_SLOTS;
    }
    BK_TRY(mbconv_run_conv(f, slot, &depthwise, x, &x, err));
    slot += CONV_SLOTS;
    if (l->squeeze) {
        BK_TRY(bk_forward_se(f, slot, slot + 2, BK_ACT_SILU, x, &x, err));
        slot += SQUEEZE_SLOTS;
    }
    *norm = slot + 1;
    return bk_forward_conv(f, slot, -1, x, &conv1x1, y, err);
}

static bool has_residual(const struct mbconv_layer *l)
{
    return l->in == l->out && l->stride == 1;
}

static int run_layer(const struct mbconv_net *m, struct bk_forward *f, int32_t index, int32_t slot, struct bk_tensor *x,
                     struct bk_tensor **y, struct bk_error *err)
{
    const struct mbconv_layer *l = &m->layer[index];
    double drop = f->training ? m->drop_path * index / m->n_layers : 0;
    struct bk_tensor *residual = has_residual(l) ? x : NULL, *branch;
    int32_t norm;

    BK_TRY(mbconv_run_branch(f, l, slot, x, &branch, &norm, err));
    if (!residual || drop <= 0)
        return bk_forward_norm(f, &norm, &branch, 1, residual, BK_ACT_NONE, y, err);
    BK_TRY(bk_forward_norm(f, &norm, &branch, 1, NULL, BK_ACT_NONE, &branch, err));
    BK_TRY(bk_forward_drop_path(f, bk_random_stream("mbconv.drop_path") + (uint32_t)index, drop, branch, &branch, err));
    return bk_add(f->tape, (struct bk_tensor *const[]){ branch, residual }, 2, false, y, err);
}

int mbconv_net_run_layers(const struct mbconv_net *m, struct bk_forward *f, int32_t slot, int32_t first, int32_t end,
                          struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    if (first == 0)
        BK_TRY(mbconv_run_conv(f, slot, &conv3x3_half, x, &x, err));
    slot += MBCONV_STEM_SLOTS;
    for (int32_t i = 0; i < end; i++) {
        if (i >= first && run_layer(m, f, i, slot, x, &x, err))
            return bk_context(err, "layer %d", (int)i);
        slot += mbconv_layer_slots(&m->layer[i]);
    }
    *y = x;
    return BK_OK;
}

int mbconv_net_run_head(const struct mbconv_net *m, struct bk_forward *f, int32_t slot, struct bk_tensor *x,
                        struct bk_tensor **logits, struct bk_error *err)
{
    slot += MBCONV_STEM_SLOTS;
    for (int32_t i = 0; i < m->n_layers; i++)
        slot += mbconv_layer_slots(&m->layer[i]);
    BK_TRY(mbconv_run_conv(f, slot, &conv1x1, x, &x, err));
    BK_TRY(bk_global_pool(f->tape, x, &x, err));
    BK_TRY(bk_forward_dropout(f, bk_random_stream("mbconv.dropout"), m->dropout, x, &x, err));
    return bk_forward_linear(f, slot + CONV_SLOTS, x, logits, err);
}

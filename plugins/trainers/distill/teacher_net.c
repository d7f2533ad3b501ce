/*
 * Teachers that are published networks: what they consist of and what they compute.
 *
 *   resnet50         He et al., CVPR 2016, with the stride in the 3x3 convolution as in every published set of weights
 *   resnet20         the same paper, section 4.2: 3x3 residual blocks for 32-pixel images, projection shortcuts
 *   efficientnet_b0  Tan, Le, ICML 2019; symmetric padding
 *   mobilenetv1      Howard et al. 2017
 *
 * Slots have the names of the modules in timm's networks of those names (resnet50, efficientnet_b0, mobilenetv1_100);
 * those of the ResNets are torchvision's too. Norms: eps 1e-5 in all four.
 *
 * Not here: files, training.
 */
#include "teacher.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Where the networks are cut. A cut follows the sides of the maps: each halving ends a block as far as there are blocks. */
struct taps {
    const char *name;
    int32_t n_blocks;
    int8_t unit[6];
};

static const struct taps taps[] = {
    { "resnet50", 3, { 7, 13, 16 } },
    { "resnet50", 4, { 3, 7, 13, 16 } },
    { "resnet50", 5, { 3, 7, 10, 13, 16 } },
    { "resnet50", 6, { 3, 7, 10, 13, 15, 16 } },
    { "resnet20", 3, { 6, 8, 9 } },
    { "resnet20", 4, { 3, 6, 8, 9 } },
    { "resnet20", 5, { 3, 5, 6, 8, 9 } },
    { "resnet20", 6, { 3, 5, 6, 7, 8, 9 } },
    { "efficientnet_b0", 3, { 5, 11, 16 } },
    { "efficientnet_b0", 4, { 3, 5, 11, 16 } },
    { "efficientnet_b0", 5, { 3, 5, 8, 11, 15 } },      /* 24, 40, 80, 112, 192 channels, as DNA has it */
    { "efficientnet_b0", 6, { 3, 5, 8, 11, 15, 16 } },
    { "mobilenetv1", 3, { 5, 11, 13 } },
    { "mobilenetv1", 4, { 3, 5, 11, 13 } },
    { "mobilenetv1", 5, { 3, 5, 8, 11, 13 } },
    { "mobilenetv1", 6, { 3, 5, 8, 11, 12, 13 } },
};

const int8_t *teacher_net_taps(const char *name, int32_t n_blocks)
{
    for (size_t i = 0; i < sizeof taps / sizeof taps[0]; i++)
        if (taps[i].n_blocks == n_blocks && strcmp(taps[i].name, name) == 0)
            return taps[i].unit;
    return NULL;
}

bool teacher_net_exists(const char *name)
{
    return teacher_net_taps(name, 4) != NULL;
}

/* ---- description ------------------------------------------------------------------------------------ */

struct builder {
    struct bk_net *slots;
    struct teacher_net *n;
    int64_t width;              /* channels so far */
    struct bk_error *err;
};

static const struct teacher_layer no_layer = { -1, -1, 0, 0, 0 };

static struct teacher_unit *new_unit(struct builder *b)
{
    struct teacher_unit *u = &b->n->unit[b->n->n_units++];
    *u = (struct teacher_unit){ .shortcut = no_layer, .squeeze = -1, .expand = -1 };
    return u;
}

/* "<unit>.<conv>" and "<unit>.<norm>", from ci to co channels. */
static int add_layer(struct builder *b, struct teacher_layer *l, const char *unit, const char *conv, const char *norm,
                     int64_t ci, int64_t co, int32_t k, int32_t stride, bool depthwise)
{
    char name[80];
    *l = (struct teacher_layer){ .k = k, .stride = stride, .groups = depthwise ? (int32_t)ci : 1 };
    snprintf(name, sizeof name, "%s%s", unit, conv);
    BK_TRY(bk_net_conv(b->slots, name, BK_PART_BACKBONE, -1, co, k, depthwise ? 1 : ci, &l->conv, b->err));
    snprintf(name, sizeof name, "%s%s", unit, norm);
    return bk_net_norm(b->slots, name, BK_PART_BACKBONE, -1, co, 0, &l->norm, b->err);
}

static int add_linear(struct builder *b, const char *name, int64_t o, int64_t i, uint32_t part, int32_t *slot)
{
    double a = 1 / sqrt((double)i);     /* PyTorch's default */
    return bk_net_linear(b->slots, name, part, -1, o, i, BK_INIT_UNIFORM, a, BK_INIT_UNIFORM, a, slot, b->err);
}

static int add_stem(struct builder *b, const char *conv, int64_t co, int32_t k, int32_t stride, bool max_pool)
{
    struct teacher_unit *u = new_unit(b);
    BK_TRY(add_layer(b, &u->layer[0], "", conv, "bn1", 3, co, k, stride, false));
    u->n_layers = 1;
    u->last_act = true;
    u->max_pool = max_pool;
    b->width = u->width = co;
    return BK_OK;
}

static int add_residual(struct builder *b, const char *unit, int64_t mid, int32_t expansion, int32_t stride)
{
    struct teacher_unit *u = new_unit(b);
    int64_t co = mid * expansion;
    if (expansion == 1) {
        u->n_layers = 2;
        BK_TRY(add_layer(b, &u->layer[0], unit, "conv1", "bn1", b->width, mid, 3, stride, false));
        BK_TRY(add_layer(b, &u->layer[1], unit, "conv2", "bn2", mid, co, 3, 1, false));
    } else {
        u->n_layers = 3;
        BK_TRY(add_layer(b, &u->layer[0], unit, "conv1", "bn1", b->width, mid, 1, 1, false));
        BK_TRY(add_layer(b, &u->layer[1], unit, "conv2", "bn2", mid, mid, 3, stride, false));
        BK_TRY(add_layer(b, &u->layer[2], unit, "conv3", "bn3", mid, co, 1, 1, false));
    }
    u->identity = stride == 1 && b->width == co;
    if (!u->identity)
        BK_TRY(add_layer(b, &u->shortcut, unit, "downsample.0", "downsample.1", b->width, co, 1, stride, false));
    u->last_act = true;
    b->width = u->width = co;
    return BK_OK;
}

static int add_residual_stages(struct builder *b, const int32_t *depth, int32_t n_stages, int64_t width, int32_t expansion)
{
    for (int32_t s = 0; s < n_stages; s++)
        for (int32_t i = 0; i < depth[s]; i++) {
            char unit[32];
            snprintf(unit, sizeof unit, "layer%d.%d.", (int)s + 1, (int)i);
            BK_TRY(add_residual(b, unit, width << s, expansion, i == 0 && s > 0 ? 2 : 1));
        }
    return BK_OK;
}

static int describe_resnet50(struct builder *b)
{
    static const int32_t depth[] = { 3, 4, 6, 3 };
    b->n->act = BK_ACT_RELU;
    BK_TRY(add_stem(b, "conv1", 64, 7, 2, true));
    return add_residual_stages(b, depth, 4, 64, 4);
}

static int describe_resnet20(struct builder *b)
{
    static const int32_t depth[] = { 3, 3, 3 };
    b->n->act = BK_ACT_RELU;
    BK_TRY(add_stem(b, "conv1", 16, 3, 1, false));
    return add_residual_stages(b, depth, 3, 16, 1);
}

/* A stage of depthwise units. expand 0: depthwise and pointwise only. */
struct mobile_stage {
    int32_t repeat, k, stride, expand;
    int64_t width;
};

/* Reduced to a quarter of the unit's input, not of the expanded width. */
static int add_excitation(struct builder *b, struct teacher_unit *u, const char *unit, int64_t mid)
{
    char name[80];
    int64_t reduced = b->width / 4;
    snprintf(name, sizeof name, "%sse.conv_reduce", unit);
    BK_TRY(add_linear(b, name, reduced, mid, BK_PART_BACKBONE, &u->squeeze));
    snprintf(name, sizeof name, "%sse.conv_expand", unit);
    return add_linear(b, name, mid, reduced, BK_PART_BACKBONE, &u->expand);
}

/* plain: MobileNetV1's units: no squeeze-and-excitation, no shortcut, an activation behind both convolutions. */
static int add_mobile(struct builder *b, const char *unit, const struct mobile_stage *s, int32_t stride, bool plain)
{
    struct teacher_unit *u = new_unit(b);
    int64_t mid = s->expand ? b->width * s->expand : b->width;
    if (s->expand) {
        u->n_layers = 3;
        BK_TRY(add_layer(b, &u->layer[0], unit, "conv_pw", "bn1", b->width, mid, 1, 1, false));
        BK_TRY(add_layer(b, &u->layer[1], unit, "conv_dw", "bn2", mid, mid, s->k, stride, true));
        BK_TRY(add_excitation(b, u, unit, mid));
        BK_TRY(add_layer(b, &u->layer[2], unit, "conv_pwl", "bn3", mid, s->width, 1, 1, false));
    } else {
        u->n_layers = 2;
        BK_TRY(add_layer(b, &u->layer[0], unit, "conv_dw", "bn1", mid, mid, s->k, stride, true));
        if (!plain)
            BK_TRY(add_excitation(b, u, unit, mid));
        BK_TRY(add_layer(b, &u->layer[1], unit, "conv_pw", "bn2", mid, s->width, 1, 1, false));
    }
    u->last_act = plain;
    u->identity = !plain && stride == 1 && b->width == s->width;
    b->width = u->width = s->width;
    return BK_OK;
}

static int add_mobile_stages(struct builder *b, const struct mobile_stage *stage, int32_t n, bool plain)
{
    for (int32_t s = 0; s < n; s++)
        for (int32_t i = 0; i < stage[s].repeat; i++) {
            char unit[32];
            snprintf(unit, sizeof unit, "blocks.%d.%d.", (int)s, (int)i);
            BK_TRY(add_mobile(b, unit, &stage[s], i ? 1 : stage[s].stride, plain));
        }
    return BK_OK;
}

static int describe_efficientnet_b0(struct builder *b)
{
    static const struct mobile_stage stage[] = { { 1, 3, 1, 0, 16 }, { 2, 3, 2, 6, 24 },  { 2, 5, 2, 6, 40 }, { 3, 3, 2, 6, 80 },
                                                 { 3, 5, 1, 6, 112 }, { 4, 5, 2, 6, 192 }, { 1, 3, 1, 6, 320 } };
    b->n->act = BK_ACT_SILU;
    BK_TRY(add_stem(b, "conv_stem", 32, 3, 2, false));
    return add_mobile_stages(b, stage, 7, false);
}

static int describe_mobilenetv1(struct builder *b)
{
    static const struct mobile_stage stage[] = { { 1, 3, 1, 0, 64 },
                                                 { 2, 3, 2, 0, 128 },
                                                 { 2, 3, 2, 0, 256 },
                                                 { 6, 3, 2, 0, 512 },
                                                 { 2, 3, 2, 0, 1024 } };
    b->n->act = BK_ACT_RELU6;
    BK_TRY(add_stem(b, "conv_stem", 32, 3, 2, false));
    return add_mobile_stages(b, stage, 5, true);
}

int teacher_net_describe(struct teacher_net *n, const char *name, int32_t n_classes, struct bk_net *net,
                         struct bk_error *err)
{
    struct builder b = { .slots = net, .n = n, .err = err };
    bool mobile = !strcmp(name, "mobilenetv1"), efficient = !strcmp(name, "efficientnet_b0");

    *n = (struct teacher_net){ .head = no_layer, .classifier = -1 };
    BK_TRY(mobile                      ? describe_mobilenetv1(&b)
           : efficient                 ? describe_efficientnet_b0(&b)
           : strcmp(name, "resnet20")  ? describe_resnet50(&b)
                                       : describe_resnet20(&b));
    if (n_classes == 0)
        return BK_OK;
    if (efficient) {
        BK_TRY(add_layer(&b, &n->head, "", "conv_head", "bn2", b.width, 1280, 1, 1, false));
        b.width = 1280;
    }
    return add_linear(&b, mobile || efficient ? "classifier" : "fc", n_classes, b.width, BK_PART_CLASSIFIER, &n->classifier);
}

/* ---- running ----------------------------------------------------------------------------------------- */

static int conv(struct bk_forward *f, const struct teacher_layer *l, struct bk_tensor *x, struct bk_tensor **y,
                struct bk_error *err)
{
    struct bk_conv2d_attr attr = { l->stride, l->k / 2, l->groups, 0 };
    return bk_forward_conv(f, l->conv, -1, x, &attr, y, err);
}

static int conv_norm_act(struct bk_forward *f, const struct teacher_layer *l, uint32_t act, struct bk_tensor *x,
                         struct bk_tensor **y, struct bk_error *err)
{
    struct bk_tensor *c;
    BK_TRY(conv(f, l, x, &c, err));
    return bk_forward_norm(f, &l->norm, &c, 1, NULL, act, y, err);
}

int teacher_net_unit(const struct teacher_net *n, struct bk_forward *f, int32_t unit, struct bk_tensor *x,
                     struct bk_tensor **y, struct bk_error *err)
{
    static const struct bk_pool2d_attr pool = { 3, 2, 1, 0 };
    const struct teacher_unit *u = &n->unit[unit];
    const struct teacher_layer *last = &u->layer[u->n_layers - 1];
    struct bk_tensor *h = x, *term[2];
    int32_t slot[2] = { last->norm, u->shortcut.norm };

    for (int32_t i = 0; i < u->n_layers - 1; i++)
        BK_TRY(conv_norm_act(f, &u->layer[i], n->act, h, &h, err));
    if (u->squeeze >= 0)
        BK_TRY(bk_forward_se(f, u->squeeze, u->expand, n->act, h, &h, err));
    BK_TRY(conv(f, last, h, &term[0], err));
    if (u->shortcut.conv >= 0)
        BK_TRY(conv(f, &u->shortcut, x, &term[1], err));
    BK_TRY(bk_forward_norm(f, slot, term, u->shortcut.conv >= 0 ? 2 : 1, u->identity ? x : NULL,
                           u->last_act ? n->act : BK_ACT_NONE, y, err));
    return u->max_pool ? bk_max_pool2d(f->tape, *y, &pool, y, err) : BK_OK;
}

int teacher_net_head(const struct teacher_net *n, struct bk_forward *f, struct bk_tensor *x, struct bk_tensor **logits,
                     struct bk_error *err)
{
    if (n->head.conv >= 0)
        BK_TRY(conv_norm_act(f, &n->head, n->act, x, &x, err));
    BK_TRY(bk_global_pool(f->tape, x, &x, err));
    return bk_forward_linear(f, n->classifier, x, logits, err);
}

/*
 * Modules of HyTra networks. With C output channels, m = C/4:
 *
 *   ResConv  1x1 to m - PEG - BN - act - 3x3 - BN - act - 1x1 to C - BN (- SE) (- stochastic depth) + shortcut - act
 *   ResAtt   1x1 to m - PEG - BN - act - self-attention - BN - act - 1x1 to C - BN + shortcut - act
 *
 * PEG is a depthwise 3x3 convolution with bias; its stride does the down-sampling. The scale of the last BN is zero at
 * first. The shortcut is the identity where nothing changes; else a convolution (3x3 when down-sampling, 1x1 at the
 * same scale), BN and activation; with avg_down 2x2 average pooling, 1x1 convolution and BN.
 *
 * "Excluded by name" follows the names of the released modules: there LARS adapts all norms of ResAtt, and of ResConv
 * the shortcuts' and the first one of down-sampling entries.
 *
 * Not here: which operations a network has.
 */
#include "hytra.h"

#include <bosskit/random.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct conv_form pointwise = { 1, 1, 0, false, false };
static const struct conv_form spatial = { 3, 1, 1, false, false };

/* ---- slots ---------------------------------------------------------------------------------------------------------- */

static int full_name(const struct walk *w, const char *name, char out[80])
{
    int n = snprintf(out, 80, "%s%s%s", w->name, *w->name ? "." : "", name);
    return n > 0 && n < 80 ? BK_OK : bk_fail(w->err, BK_EINVAL, "slot name '%s.%s' is too long", w->name, name);
}

/* He et al. 2015 with fan_out = co k^2, as released: not divided by the groups. */
static double released_scale(int64_t co, int64_t size)
{
    return sqrt(2. / (double)(co * size * size));
}

static int describe_conv(struct walk *w, const char *name, const struct conv_form *form, int32_t co, int32_t fan_ci)
{
    char full[80];
    int32_t id;
    BK_TRY(full_name(w, name, full));
    BK_TRY(bk_net_conv(w->net, full, w->part, w->block, co, form->size, fan_ci, &id, w->err));
    if (w->style.alone) {
        w->net->slot[id].init = BK_INIT_NORMAL;
        w->net->slot[id].init_scale = released_scale(co, form->size);
    }
    if (!form->bias)
        return BK_OK;
    struct bk_slot bias = { .role = BK_ROLE_BIAS, .part = w->part, .rank = 1, .block = w->block, .init = BK_INIT_UNIFORM,
                            .dim = { co }, .init_scale = 1 / sqrt((double)form->size * form->size * fan_ci) };
    int n = snprintf(bias.name, sizeof bias.name, "%s.bias", full);
    if (n < 0 || (size_t)n >= sizeof bias.name)
        return bk_fail(w->err, BK_EINVAL, "slot name '%s.bias' is too long", full);
    return bk_net_add(w->net, &bias, &id, w->err);
}

/* Slots of a norm; *id is its scale. */
static int norm_slots(struct walk *w, const char *name, int32_t channels, bool zero, uint32_t flags, int32_t *id)
{
    *id = w->next;
    w->next += 4;
    if (w->cost)
        w->cost->params += 2. * channels;
    if (w->net) {
        char full[80];
        int32_t slot;
        BK_TRY(full_name(w, name, full));
        BK_TRY(bk_net_norm(w->net, full, w->part, w->block, channels, flags, &slot, w->err));
        if (zero)
            w->net->slot[slot].init = BK_INIT_ZERO;
    }
    return BK_OK;
}

/* ---- single modules ---------------------------------------------------------------------------------------------------- */

int walk_conv(struct walk *w, const char *name, const struct conv_form *form, int32_t co, struct map *m)
{
    const struct bk_conv2d_attr attr = { form->stride, form->pad, form->depthwise ? m->channels : 1, 0 };
    int32_t slot = w->next, fan_ci = form->depthwise ? 1 : m->channels;
    w->next += 1 + form->bias;
    m->channels = co;
    m->side = (m->side + 2 * form->pad - form->size) / form->stride + 1;
    if (w->cost) {
        double kernel = (double)form->size * form->size * fan_ci * co;
        w->cost->params += kernel + (form->bias ? co : 0);
        w->cost->macs += kernel * m->side * m->side;
    }
    if (w->net)
        BK_TRY(describe_conv(w, name, form, co, fan_ci));
    return w->f ? bk_forward_conv(w->f, slot, form->bias ? slot + 1 : -1, m->x, &attr, &m->x, w->err) : BK_OK;
}

/* act( sum of norms + residual ) */
static int run_norms(struct walk *w, const int32_t *slot, struct bk_tensor *const *x, int n, struct bk_tensor *residual,
                     int32_t activation, struct bk_tensor **y)
{
    return bk_forward_norm(w->f, slot, x, n, residual, (uint32_t)activation, y, w->err);
}

int walk_norm(struct walk *w, const char *name, int32_t activation, uint32_t flags, struct map *m)
{
    int32_t slot;
    BK_TRY(norm_slots(w, name, m->channels, false, flags, &slot));
    return w->f ? run_norms(w, &slot, &m->x, 1, NULL, activation, &m->x) : BK_OK;
}

static int walk_pool(struct walk *w, bool max, const struct bk_pool2d_attr *attr, struct map *m)
{
    m->side = (m->side + 2 * attr->pad - attr->size + (attr->ceil ? attr->stride - 1 : 0)) / attr->stride + 1;
    if (!w->f)
        return BK_OK;
    return (max ? bk_max_pool2d : bk_avg_pool2d)(w->f->tape, m->x, attr, &m->x, w->err);
}

static int walk_attention(struct walk *w, int32_t heads, struct map *m)
{
    int32_t inner = m->channels;
    double n = (double)m->side * m->side;
    BK_TRY(walk_conv(w, "qkv", &pointwise, 3 * inner, m));
    m->channels = inner;
    if (w->cost)
        w->cost->macs += 2 * n * n * inner;     /* q k' and A v */
    if (!w->f)
        return BK_OK;
    return (w->style.reversed ? bk_attention_reversed : bk_attention)(w->f->tape, m->x, heads, &m->x, w->err);
}

/* One of the two linear maps of a squeeze and excitation, as the released 1x1 convolutions are initialised. */
static int se_slots(struct walk *w, const char *name, int32_t o, int32_t i, int32_t *id)
{
    *id = w->next;
    w->next += 2;
    if (w->cost) {
        w->cost->params += (double)o * i + o;
        w->cost->macs += (double)o * i;
    }
    if (!w->net)
        return BK_OK;
    char full[80];
    int32_t slot;
    BK_TRY(full_name(w, name, full));
    return bk_net_linear(w->net, full, w->part, w->block, o, i, BK_INIT_NORMAL, released_scale(o, 1), BK_INIT_UNIFORM,
                         1 / sqrt((double)i), &slot, w->err);
}

static int walk_se(struct walk *w, struct map *m)
{
    int32_t squeeze = m->channels / 16 > 8 ? m->channels / 16 : 8, reduce, expand;
    BK_TRY(se_slots(w, "se_reduce", squeeze, m->channels, &reduce));
    BK_TRY(se_slots(w, "se_expand", m->channels, squeeze, &expand));
    return w->f ? bk_forward_se(w->f, reduce, expand, BK_ACT_RELU, m->x, &m->x, w->err) : BK_OK;
}

int walk_stem(struct walk *w, int32_t width, struct map *m)
{
    static const struct conv_form stem = { 7, 2, 3, false, false };
    static const struct bk_pool2d_attr half = { 3, 2, 1, 0 };
    BK_TRY(walk_conv(w, "stem", &stem, width, m));
    BK_TRY(walk_norm(w, "stem.norm", w->style.activation, 0, m));
    return walk_pool(w, true, &half, m);
}

/* ---- operations ----------------------------------------------------------------------------------------------------------- */

struct operation operation_of(const struct hytra *s, int32_t op, int32_t in, int32_t stride)
{
    int32_t depth = op_depth(op);
    return (struct operation){ .in = in, .out = width_of(s, depth), .stride = stride,
                               .heads = op_is_attention(op) ? 8 >> depth : 0 };    /* of width/4 channels, 64 by default */
}

static int walk_shortcut(struct walk *w, const struct operation *o, struct branches *b)
{
    static const struct conv_form down = { 3, 2, 1, false, false };
    static const struct bk_pool2d_attr half = { 2, 2, 0, 1 };
    struct map *m = &b->shortcut;
    b->shortcut_norm = -1;
    if (o->stride == 1 && o->in == o->out)
        return BK_OK;
    if (w->style.avg_down && o->stride == 2)
        BK_TRY(walk_pool(w, false, &half, m));
    BK_TRY(walk_conv(w, "shortcut", o->stride == 2 && !w->style.avg_down ? &down : &pointwise, o->out, m));
    if (!w->style.avg_down)
        return walk_norm(w, "shortcut.norm", w->style.activation, BK_SLOT_BY_NAME_ADAPTED, m);
    return norm_slots(w, "shortcut.norm", o->out, false, BK_SLOT_BY_NAME_ADAPTED, &b->shortcut_norm);
}

int walk_entry(struct walk *w, const struct operation *o, const struct map *in, struct branches *b)
{
    const struct conv_form peg = { 3, o->stride, 1, true, true };
    uint32_t flags = o->heads || o->stride == 2 ? BK_SLOT_BY_NAME_ADAPTED : 0;
    if (in->x && (in->x->rank != 4 || in->x->dim[3] != o->in)) {
        char text[96];
        return bk_fail(w->err, BK_ESHAPE, "'%s' takes %d channels, not %s", w->name, (int)o->in, bk_tensor_describe(in->x, text));
    }
    b->main = b->shortcut = *in;
    BK_TRY(walk_conv(w, "reduce", &pointwise, o->out / 4, &b->main));
    BK_TRY(walk_conv(w, "peg", &peg, o->out / 4, &b->main));
    BK_TRY(walk_norm(w, "peg.norm", w->style.activation, flags, &b->main));
    return walk_shortcut(w, o, b);
}

/* act( BN(main) + shortcut ) in as few passes as possible. */
static int run_sum(struct walk *w, int32_t norm, const struct branches *b, struct map *m)
{
    int32_t slot[2] = { norm, b->shortcut_norm };
    struct bk_tensor *x[2] = { m->x, b->shortcut.x };
    bool pending = b->shortcut_norm >= 0;
    return run_norms(w, slot, x, pending ? 2 : 1, pending ? NULL : x[1], w->style.activation, &m->x);
}

/* The same with something between the norm and the sum: convolutional operations of stand-alone networks. */
static int walk_gated_sum(struct walk *w, const struct operation *o, int32_t norm, const struct branches *b, struct map *m)
{
    struct bk_tensor *shortcut = b->shortcut.x;
    if (w->f)
        BK_TRY(run_norms(w, &norm, &m->x, 1, NULL, 0, &m->x));
    if (w->style.se)
        BK_TRY(walk_se(w, m));
    if (!w->f)
        return BK_OK;
    BK_TRY(bk_forward_drop_path(w->f, o->stream, o->drop_path, m->x, &m->x, w->err));
    if (b->shortcut_norm >= 0)
        return run_norms(w, &b->shortcut_norm, &shortcut, 1, m->x, w->style.activation, &m->x);
    struct bk_tensor *x[2] = { m->x, shortcut };
    BK_TRY(bk_add(w->f->tape, x, 2, w->style.activation == BK_ACT_RELU, &m->x, w->err));
    return w->style.activation == BK_ACT_RELU
               ? BK_OK
               : bk_activation(w->f->tape, m->x, (uint32_t)w->style.activation, &m->x, w->err);
}

int walk_body(struct walk *w, const struct operation *o, const struct branches *b, struct map *out)
{
    uint32_t flags = o->heads ? BK_SLOT_BY_NAME_ADAPTED : 0;
    struct map m = b->main;
    int32_t norm;
    if (o->heads)
        BK_TRY(walk_attention(w, o->heads, &m));
    else
        BK_TRY(walk_conv(w, "spatial", &spatial, m.channels, &m));
    BK_TRY(walk_norm(w, "norm", w->style.activation, flags, &m));
    BK_TRY(walk_conv(w, "expand", &pointwise, o->out, &m));
    BK_TRY(norm_slots(w, "expand.norm", o->out, true, flags, &norm));
    if (!o->heads && (w->style.se || o->drop_path > 0))
        BK_TRY(walk_gated_sum(w, o, norm, b, &m));
    else if (w->f)
        BK_TRY(run_sum(w, norm, b, &m));
    *out = m;
    return BK_OK;
}

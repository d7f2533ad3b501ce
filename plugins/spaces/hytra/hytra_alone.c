/*
 * Stand-alone HyTra networks, trained from scratch: the stem, one stage a scale from 1/4 to 1/32, mean over positions, a
 * linear map. Unlike the supernet they have no entry down-sampler: the first stage takes the stem's channels. A scale an
 * architecture does not use is a 3x3 convolution with norm and activation. Options say whether BossNet-T0's details
 * are there: squeeze and excitation, SiLU, shortcuts with average pooling; last_stride = 1 makes BossNet-T1.
 *
 * The published counter ("HyTra") counts convolutions and matrix products of operations, but charges squeeze and
 * excitation on attention too, an unused scale with inner widths, and every projecting shortcut as a 1x1 convolution.
 * The released network class down-samples in an unused first stage, which would halve the resolution of all others;
 * it keeps its scale here, as the published counts have it.
 */
#include "hytra.h"

#include <bosskit/random.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Where a walk through the network is. */
struct position {
    struct map map;
    int32_t depth;              /* N_DEPTHS behind the stem */
};

static struct walk start_walk(const struct hytra *s, struct bk_error *err)
{
    return (struct walk){ .style = { s->activation, s->se, s->avg_down, true, false }, .part = BK_PART_BACKBONE, .block = -1, .err = err };
}

/* Stride of the first layer of a stage. */
static int32_t stage_stride(const struct hytra *s, int32_t depth)
{
    return depth == N_DEPTHS - 1 ? 1 : depth == 0 ? (int32_t)s->last_stride : 2;
}

static int32_t strided(int32_t side, int32_t stride)
{
    return (side + stride - 1) / stride;
}

/* Side of a stage's maps, from images of input_size. */
static int32_t side_of(const struct hytra *s, int32_t depth)
{
    int32_t side = strided((int32_t)s->input_size, 4);
    for (int32_t d = N_DEPTHS - 1; d >= depth; d--)
        side = strided(side, stage_stride(s, d));
    return side;
}

/* ---- the published counter ------------------------------------------------------------------------------------------------ */

static void count_operation(struct walk *w, const struct operation *o, int32_t side)
{
    double before = (double)side * side, after = pow(strided(side, o->stride), 2);
    double i = o->in, c = o->out, m = c / 4;
    if (!w->cost)
        return;
    w->cost->counter += i * m * before + 9 * m * after + m * c * after + (i != c ? i * c * after : 0) +
                        (o->heads ? 3 * m * m * after + 2 * m * after * after : 9 * m * m * after) +
                        (w->style.se ? c * c / 8 : 0);
}

static void count_unused_stage(struct walk *w, int32_t width, int32_t side)
{
    if (w->cost)
        w->cost->counter += 9. * width / 4 * width / 4 * side * side;
}

/* ---- walks ------------------------------------------------------------------------------------------------------------------ */

static int walk_unused_stage(struct walk *w, const struct hytra *s, struct position *p)
{
    int32_t depth = --p->depth;
    struct conv_form form = { 3, stage_stride(s, depth), 1, false, false };
    snprintf(w->name, sizeof w->name, "unused%d", 32 >> depth);
    BK_TRY(walk_conv(w, "conv", &form, width_of(s, depth), &p->map));
    count_unused_stage(w, p->map.channels, p->map.side);
    return walk_norm(w, "norm", w->style.activation, 0, &p->map);
}

static int walk_operation(struct walk *w, const struct hytra *s, int32_t j, int32_t op, struct position *p)
{
    int32_t depth = op_depth(op);
    struct operation o = operation_of(s, op, p->map.channels, p->depth == depth ? 1 : stage_stride(s, depth));
    struct branches b;
    snprintf(w->name, sizeof w->name, "op%d", (int)j);
    o.stream = bk_random_stream(w->name);
    o.drop_path = s->drop_path * j / (N_BLOCKS * N_LAYERS - 1);
    count_operation(w, &o, p->map.side);
    p->depth = depth;
    BK_TRY(walk_entry(w, &o, &p->map, &b));
    return walk_body(w, &o, &b, &p->map);
}

static int walk_first(struct walk *w, const struct hytra *s, struct position *p)
{
    double before = w->cost ? w->cost->macs : 0;
    *w->name = '\0';
    BK_TRY(walk_stem(w, (int32_t)s->width / 4, &p->map));
    p->depth = N_DEPTHS;
    if (w->cost)
        w->cost->counter += w->cost->macs - before;
    return BK_OK;
}

static int walk_block(struct walk *w, const struct hytra *s, int32_t block, const struct bk_path *path, struct position *p)
{
    if (block == 0)
        BK_TRY(walk_first(w, s, p));
    for (int32_t i = 0; i < path->n; i++) {
        int32_t op = path->op[i];
        while (p->depth > op_depth(op) + 1)     /* only in front of the very first operation, see hytra_check() */
            BK_TRY(walk_unused_stage(w, s, p));
        BK_TRY(walk_operation(w, s, N_LAYERS * block + i, op, p));
    }
    return BK_OK;
}

/* What follows block 3, up to the pooled features; *fc is the classifier's slot. */
static int walk_last(struct walk *w, const struct hytra *s, int32_t n_classes, struct position *p, int32_t *fc)
{
    while (p->depth > 0)
        BK_TRY(walk_unused_stage(w, s, p));
    *fc = w->next;
    if (w->cost) {
        double macs = (double)p->map.channels * n_classes;
        w->cost->params += macs + n_classes;
        w->cost->macs += macs;
        w->cost->counter += macs;
    }
    if (w->net) {
        double bound = 1 / sqrt((double)p->map.channels);   /* PyTorch's default for weight and bias of a linear map */
        return bk_net_linear(w->net, "classifier", BK_PART_CLASSIFIER, -1, n_classes, p->map.channels, BK_INIT_UNIFORM,
                             bound, BK_INIT_UNIFORM, bound, &(int32_t){ 0 }, w->err);
    }
    return BK_OK;
}

static int walk_all(struct walk *w, const struct hytra *s, const struct bk_arch *arch, int32_t n_classes,
                    struct position *p, int32_t *fc)
{
    BK_TRY(hytra_check(s, arch, w->err));
    for (int32_t k = 0; k < N_BLOCKS; k++)
        BK_TRY(walk_block(w, s, k, &arch->block[k], p));
    return walk_last(w, s, n_classes, p, fc);
}

/* ---- the space's functions ---------------------------------------------------------------------------------------------------- */

int hytra_alone(void *state, const struct bk_arch *arch, int32_t n_classes, struct bk_net *net, struct bk_error *err)
{
    const struct hytra *s = state;
    struct walk w = start_walk(s, err);
    struct position p = { .map = { NULL, 3, (int32_t)s->input_size } };
    if (net->n)
        return bk_fail(err, BK_ESTATE, "a network is described in an empty net, this one has %d slots", (int)net->n);
    w.net = net;
    return walk_all(&w, s, arch, n_classes, &p, &(int32_t){ 0 });
}

int hytra_alone_run(void *state, struct bk_forward *f, const struct bk_arch *arch, int32_t n_classes,
                    struct bk_tensor *images, struct bk_tensor **logits, struct bk_error *err)
{
    const struct hytra *s = state;
    struct walk w = start_walk(s, err);
    int32_t fc;
    if (images->rank != 4)
        return bk_fail(err, BK_ESHAPE, "images are [N,H,W,3], not of rank %d", (int)images->rank);
    struct position p = { .map = { images, (int32_t)images->dim[3], (int32_t)images->dim[1] } };
    w.f = f;
    BK_TRY(walk_all(&w, s, arch, n_classes, &p, &fc));
    BK_TRY(bk_global_pool(f->tape, p.map.x, &p.map.x, err));
    return bk_forward_linear(f, fc, p.map.x, logits, err);
}

int hytra_cost(const void *state, int32_t block, int32_t entry, const struct bk_path *path, int32_t n_classes,
               struct bk_cost *out, struct bk_error *err)
{
    const struct hytra *s = state;
    struct bk_cost cost = { 0, 0, 0 };
    struct walk w = start_walk(s, err);
    struct position p = { .map = { NULL, 3, (int32_t)s->input_size }, .depth = N_DEPTHS };
    if (block < 0 || block > N_BLOCKS || (block ? entry < 1 || entry > N_DEPTHS : entry != 0))
        return bk_fail(err, BK_EINVAL, "there is no block %d with entry %d", (int)block, (int)entry);
    if (block)
        p = (struct position){ { NULL, width_of(s, entry - 1), side_of(s, entry - 1) }, entry - 1 };
    w.cost = &cost;
    if (block == N_BLOCKS) {
        BK_TRY(walk_last(&w, s, n_classes, &p, &(int32_t){ 0 }));
    } else {
        BK_TRY(hytra_check_block(block, entry, path, err));
        BK_TRY(walk_block(&w, s, block, path, &p));
    }
    *out = cost;
    return BK_OK;
}

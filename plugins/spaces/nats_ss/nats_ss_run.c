/*
 * What the NATS-SS networks compute.
 *
 *   normal cell     n1 = f1(n0), n2 = f2(n0) + f3(n1), n3 = skip(n0) + f4(n1) + f5(n2), f = BN(conv3x3(ReLU(.)))
 *   reduction cell  y = conv1x1(avgpool2(x)) + BN(conv3x3(ReLU(BN(conv3x3 stride 2(ReLU(x))))))
 *
 * n1 and n2 are only ever read through a ReLU, so norm, sum and ReLU are one pass; a cell's output stays raw because
 * identity skips and average pooling read it raw. The skip of a cell that changes its width is BN(conv1x1(ReLU(n0)))
 * in the supernet, but BN(conv1x1(n0)) in the stand-alone network, as the benchmark has it.
 */
#include "nats_ss.h"

/* How one cell is run: `digit` selects norms in the supernet; alone there is one norm a position. */
struct cell_run {
    struct bk_forward *f;
    const struct cell_slots *slots;
    int32_t ci, co, digit;
    bool alone;
    struct bk_error *err;
};

static const struct bk_conv2d_attr conv3x3 = { 1, 1, 1, 0 };
static const struct bk_conv2d_attr conv3x3_half = { 2, 1, 1, 0 };
static const struct bk_conv2d_attr conv1x1 = { 1, 0, 1, 0 };

static int conv(const struct cell_run *r, int which, const struct bk_conv2d_attr *attr, struct bk_tensor *x,
                struct bk_tensor **y)
{
    int32_t slot = r->slots->conv[which];
    return r->alone ? bk_forward_conv(r->f, slot, -1, x, attr, y, r->err)
                    : bk_forward_slim_conv(r->f, slot, r->co, x, attr, y, r->err);
}

static int32_t norm_slot(const struct cell_run *r, int which)
{
    return r->slots->norm[which] + 4 * r->digit;
}

static int run_normal(const struct cell_run *r, struct bk_tensor *x, struct bk_tensor **y)
{
    struct bk_tensor *in, *c[N_CELL_CONVS], *n1, *n2;

    BK_TRY(bk_relu(r->f->tape, x, &in, r->err));
    BK_TRY(conv(r, CONV_F1, &conv3x3, in, &c[0]));
    BK_TRY(bk_forward_norm(r->f, &(int32_t){ norm_slot(r, CONV_F1) }, &c[0], 1, NULL, BK_ACT_RELU, &n1, r->err));

    BK_TRY(conv(r, CONV_F2, &conv3x3, in, &c[1]));
    BK_TRY(conv(r, CONV_F3, &conv3x3, n1, &c[2]));
    int32_t second[2] = { norm_slot(r, CONV_F2), norm_slot(r, CONV_F3) };
    BK_TRY(bk_forward_norm(r->f, second, &c[1], 2, NULL, BK_ACT_RELU, &n2, r->err));

    BK_TRY(conv(r, CONV_F4, &conv3x3, n1, &c[3]));
    BK_TRY(conv(r, CONV_F5, &conv3x3, n2, &c[4]));
    int32_t third[3] = { norm_slot(r, CONV_F4), norm_slot(r, CONV_F5), 0 };
    if (r->ci == r->co)
        return bk_forward_norm(r->f, third, &c[3], 2, x, BK_ACT_NONE, y, r->err);
    BK_TRY(conv(r, CONV_SKIP, &conv1x1, r->alone ? x : in, &c[5]));
    third[2] = norm_slot(r, CONV_SKIP);
    return bk_forward_norm(r->f, third, &c[3], 3, NULL, BK_ACT_NONE, y, r->err);
}

static int run_reduction(const struct cell_run *r, struct bk_tensor *x, struct bk_tensor **y)
{
    static const struct bk_pool2d_attr half = { 2, 2, 0, 0 };
    struct bk_tensor *in, *a, *b, *pooled, *shortcut;

    BK_TRY(bk_relu(r->f->tape, x, &in, r->err));
    BK_TRY(conv(r, CONV_A, &conv3x3_half, in, &a));
    BK_TRY(bk_forward_norm(r->f, &(int32_t){ norm_slot(r, CONV_A) }, &a, 1, NULL, BK_ACT_RELU, &a, r->err));
    BK_TRY(conv(r, CONV_B, &conv3x3, a, &b));
    BK_TRY(bk_avg_pool2d(r->f->tape, x, &half, &pooled, r->err));
    BK_TRY(conv(r, CONV_SHORTCUT, &conv1x1, pooled, &shortcut));
    return bk_forward_norm(r->f, &(int32_t){ norm_slot(r, CONV_B) }, &b, 1, shortcut, BK_ACT_NONE, y, r->err);
}

static int run_cell(const struct cell_run *r, int32_t cell, struct bk_tensor *x, struct bk_tensor **y)
{
    if (x->rank != 4 || x->dim[3] != r->ci) {
        char text[96];
        return bk_fail(r->err, BK_ESHAPE, "cell %d takes %d channels, not %s", (int)cell, (int)r->ci,
                       bk_tensor_describe(x, text));
    }
    return is_reduction(cell) ? run_reduction(r, x, y) : run_normal(r, x, y);
}

int run_layer(void *state, struct bk_forward *f, int32_t block, int32_t entry, const struct bk_path *path,
              struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    struct nats_ss *s = state;
    if (block < 0 || block >= s->n_blocks || path->n < 1 ||
        path->n > s->first_cell[block + 1] - s->first_cell[block] || entry < 0 || entry >= s->n_widths)
        return bk_fail(err, BK_EINVAL, "block %d has no layer %d", (int)block, (int)path->n - 1);
    int32_t g = s->first_cell[block] + path->n - 1;
    int32_t digit = path->op[path->n - 1], before = path->n > 1 ? path->op[path->n - 2] : g ? entry : digit;
    if (digit >= s->n_widths || before >= s->n_widths)
        return bk_fail(err, BK_EINVAL, "layer %d of block %d has no such choice", (int)path->n - 1, (int)block);
    if (g == 0) {
        BK_TRY(bk_forward_slim_conv(f, s->stem_conv, s->width[digit], x, &conv3x3, &x, err));
        BK_TRY(bk_forward_norm(f, &(int32_t){ s->stem_norm + 4 * digit }, &x, 1, NULL, BK_ACT_NONE, &x, err));
    }
    struct cell_run r = { f, &s->cell[g], s->width[before], s->width[digit], digit, false, err };
    return run_cell(&r, g, x, y);
}

int run_pool(void *state, struct bk_forward *f, int32_t block, const struct bk_path *path, struct bk_tensor *x,
             struct bk_tensor **y, struct bk_error *err)
{
    const struct nats_ss *s = state;
    int32_t d = path->n ? path->op[path->n - 1] : s->n_widths;
    if (block < 0 || block >= s->n_blocks || d >= s->n_widths)
        return bk_fail(err, BK_EINVAL, "block %d has no adapter for the end of this path", (int)block);
    return bk_forward_pooled_head(f, s->adapter_conv[block][d], s->adapter_norm[block][d], x, y, err);
}

int run_alone(void *state, struct bk_forward *f, const struct bk_arch *arch, int32_t n_classes,
              struct bk_tensor *images, struct bk_tensor **logits, struct bk_error *err)
{
    const struct nats_ss *s = state;
    int32_t width[N_CELLS];
    struct alone_slots slots;
    struct bk_tensor *x;

    BK_TRY(arch_widths(s, arch, width, err));
    BK_TRY(build_alone(width, n_classes, NULL, &slots, err));
    BK_TRY(bk_forward_conv(f, slots.stem_conv, -1, images, &conv3x3, &x, err));
    BK_TRY(bk_forward_norm(f, &slots.stem_norm, &x, 1, NULL, BK_ACT_NONE, &x, err));
    for (int32_t g = 0; g < N_CELLS; g++) {
        struct cell_run r = { f, &slots.cell[g], width[g ? g - 1 : 0], width[g], 0, true, err };
        BK_TRY(run_cell(&r, g, x, &x));
    }
    BK_TRY(bk_forward_norm(f, &slots.head_norm, &x, 1, NULL, BK_ACT_RELU, &x, err));
    BK_TRY(bk_global_pool(f->tape, x, &x, err));
    return bk_forward_linear(f, slots.fc, x, logits, err);
}

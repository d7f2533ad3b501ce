/*
 * Space "hytra": the hybrid convolution-attention fabric of BossNAS for ImageNet. An operation is a digit: 0 ResAtt and
 * 1 ResConv at scale 1/32, 2 ResAtt and 3 ResConv at 1/16, 4 ResConv at 1/8, 5 ResConv at 1/4.
 *
 * The fabric has 2,818,103 architectures; all can be parsed, costed and built alone. The supernet has fewer: blocks own
 * the operations of their `stage_depths` only, and with restricted paths the first operation is at one of the two
 * largest scales. A path that the next block could not go on from (5555 in block 0: block 1 has no operation at 1/4)
 * is no choice, where the release crashes when such a path is rated best.
 *
 * This file: options, the tree of choices and the descriptor.
 */
#include "hytra.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct bk_choice path_rules[] = { { "restricted", PATHS_RESTRICTED }, { "full", PATHS_FULL }, { NULL, 0 } };
static const struct bk_choice activations[] = { { "relu", BK_ACT_RELU }, { "silu", BK_ACT_SILU }, { NULL, 0 } };
static const struct bk_choice attentions[] = { { "correct", ATTENTION_CORRECT }, { "untransposed", ATTENTION_UNTRANSPOSED }, { NULL, 0 } };

/* clang-format off */
static const struct bk_opt options[] = {
    BK_ENUM("paths", struct hytra, paths, PATHS_RESTRICTED, path_rules, "scales the first operation may have: the two largest ones of block 0, or all of them"),
    BK_INTS("stage_depths", struct hytra, stage_depths, "4,3,2,2", 1, 4, "scales", "how many scales each block has, counted from 1/32"),
    BK_ENUM("attention", struct hytra, attention, ATTENTION_CORRECT, attentions, "supernet: values weighted as in attention, or by the untransposed matrix, the fault of the released search code"),
    BK_INT ("width",        struct hytra, width, 256, 16, 4096, "channels", "channels at scale 1/4; they double from scale to scale"),
    BK_INT ("input_size",   struct hytra, input_size, 224, 32, 4096, "pixels", "side of the images that costs are counted for, a multiple of 32"),
    BK_BOOL("se",           struct hytra, se, true, "stand-alone: squeeze and excitation in convolutional operations"),
    BK_ENUM("activation",   struct hytra, activation, BK_ACT_SILU, activations, "stand-alone: activation (the supernet has relu)"),
    BK_BOOL("avg_down",     struct hytra, avg_down, true, "stand-alone: shortcuts that down-sample pool first"),
    BK_INT ("last_stride",  struct hytra, last_stride, 2, 1, 2, "", "stand-alone: stride into the last stage; 1 makes BossNet-T1 of T0"),
    BK_REAL("drop_path",    struct hytra, drop_path, 0.1, 0, 0.99, "", "stand-alone: stochastic depth of the last convolutional operation, less before it"),
    BK_OPT_END
};
/* clang-format on */

/* ---- the tree of choices ----------------------------------------------------------------------------------------- */

/* May layer `layer` be at `depth` when the layer before is at `before`? Before the first layer of all: N_DEPTHS. */
static bool is_open(const struct hytra *s, int32_t block, int32_t layer, int32_t before, int32_t depth)
{
    int32_t largest = s->depths[block] - 1;
    if (depth > largest)
        return false;
    if (block == 0 && layer == 0) {
        if (s->paths == PATHS_RESTRICTED && depth < largest - 1)
            return false;
    } else if (before > largest || (depth != before && depth != before - 1)) {
        return false;
    }
    /* each layer left can go down by one, and the next block has to have what this one ends with */
    return block == N_BLOCKS - 1 || depth - (N_LAYERS - 1 - layer) <= s->depths[block + 1] - 1;
}

static int choices(const void *state, int32_t block, int32_t entry, const struct bk_path *prefix,
                   uint8_t out[BK_MAX_CHOICES], int32_t *n)
{
    const struct hytra *s = state;
    if (block < 0 || block >= N_BLOCKS || (block ? entry < 1 || entry > s->depths[block] : entry != 0))
        return BK_EINVAL;
    *n = 0;
    if (prefix->n >= N_LAYERS)
        return BK_OK;
    int32_t before = prefix->n ? op_depth(prefix->op[prefix->n - 1]) : block ? entry - 1 : N_DEPTHS;
    for (int32_t op = 0; op < N_OPS; op++)
        if (is_open(s, block, prefix->n, before, op_depth(op)))
            out[(*n)++] = (uint8_t)op;
    return BK_OK;
}

static int32_t exit_of(const void *state, int32_t block, int32_t entry, const struct bk_path *path)
{
    (void)state;
    (void)block;
    return path->n ? 1 + op_depth(path->op[path->n - 1]) : entry;
}

/* Architectures of the supernet: ways from layer to layer, by depth. */
static double count_archs(const struct hytra *s)
{
    double ways[N_DEPTHS + 1] = { 0 }, total = 0;
    ways[N_DEPTHS] = 1;
    for (int32_t g = 0; g < N_BLOCKS * N_LAYERS; g++) {
        double next[N_DEPTHS + 1] = { 0 };
        for (int32_t before = 0; before <= N_DEPTHS; before++)
            for (int32_t op = 0; op < N_OPS; op++)
                if (is_open(s, g / N_LAYERS, g % N_LAYERS, before, op_depth(op)))
                    next[op_depth(op)] += ways[before];
        memcpy(ways, next, sizeof ways);
    }
    for (int32_t d = 0; d < N_DEPTHS; d++)
        total += ways[d];
    return total;
}

static int info(const void *state, struct bk_space_info *out, struct bk_error *err)
{
    const struct hytra *s = state;
    (void)err;
    out->n_blocks = N_BLOCKS;
    for (int32_t k = 0; k < N_BLOCKS; k++) {
        out->max_layers[k] = N_LAYERS;
        out->pooled_width[k] = width_of(s, 0);
    }
    out->input_size = (int32_t)s->input_size;
    out->log10_size = log10(s->n_archs);
    out->counter = "HyTra";
    return BK_OK;
}

static int score(const void *state, const char *name, const struct bk_arch *arch, double *out, struct bk_error *err)
{
    if (!strcmp(name, "supernet_macs"))
        return hytra_supernet_macs(state, arch, out, err);
    return bk_fail(err, BK_ENOTFOUND, "space 'hytra' has no score '%s', legal: supernet_macs", name);
}

static int draw(const void *state, const struct bk_arch *arch, struct bk_drawn_layer *out, int32_t cap, int32_t *n,
                struct bk_error *err)
{
    const struct hytra *s = state;
    BK_TRY(hytra_check(s, arch, err));
    if (cap < N_BLOCKS * N_LAYERS)
        return bk_fail(err, BK_EINVAL, "an architecture of this space has %d layers, there is room for %d", N_BLOCKS * N_LAYERS,
                       (int)cap);
    for (int32_t g = 0; g < N_BLOCKS * N_LAYERS; g++) {
        int32_t op = arch->block[g / N_LAYERS].op[g % N_LAYERS], depth = op_depth(op);
        out[g] = (struct bk_drawn_layer){ .block = g / N_LAYERS, .scale = 32 >> depth, .width = width_of(s, depth) };
        if (depth == 0 && s->last_stride == 1)
            out[g].scale = 16;
        snprintf(out[g].label, sizeof out[g].label, "%s", op_is_attention(op) ? "ResAtt" : "ResConv");
    }
    *n = N_BLOCKS * N_LAYERS;
    return BK_OK;
}

/* ---- the descriptor -------------------------------------------------------------------------------------------------- */

static int supernet(void *state, struct bk_net *net, struct bk_error *err)
{
    if (net->n)
        return bk_fail(err, BK_ESTATE, "a supernet is described in an empty net, this one has %d slots", (int)net->n);
    return hytra_build(state, net, err);
}

static int init(void *state, const struct bk_host *host, struct bk_error *err)
{
    struct hytra *s = state;
    (void)host;
    if (s->stage_depths.n != N_BLOCKS)
        return bk_fail(err, BK_EINVAL, "stage_depths has %lld entries, legal are %d", (long long)s->stage_depths.n, N_BLOCKS);
    for (int32_t k = 0; k < N_BLOCKS; k++) {
        s->depths[k] = (int32_t)s->stage_depths.at[k];
        if (k && s->depths[k] > s->depths[k - 1])
            return bk_fail(err, BK_EINVAL, "stage_depths must not grow, but %d follows %d", (int)s->depths[k],
                           (int)s->depths[k - 1]);
    }
    if (s->width % 16)
        return bk_fail(err, BK_EINVAL, "width %lld is not a multiple of 16", (long long)s->width);
    if (s->input_size % 32)
        return bk_fail(err, BK_EINVAL, "input_size %lld is not a multiple of 32", (long long)s->input_size);
    s->n_archs = count_archs(s);
    return hytra_build(s, NULL, err);
}

static const struct bk_space_iface iface = {
    .struct_size = sizeof iface,
    .info = info,
    .choices = choices,
    .exit = exit_of,
    .parse = hytra_parse,
    .format = hytra_format,
    .cost = hytra_cost,
    .supernet = supernet,
    .layer = hytra_layer,
    .pool = hytra_pool,
    .alone = hytra_alone,
    .alone_run = hytra_alone_run,
    .score = score,
    .check = hytra_check,
    .draw = draw,
};

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_SPACE,
    .name = "hytra",
    .version = "1.0.0",
    .summary = "hybrid convolution-attention fabric with searchable down-sampling: 16 layers, six operations, four scales",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct hytra),
    .init = init,
    .iface = &iface,
};

BK_MODULE(&plugin);

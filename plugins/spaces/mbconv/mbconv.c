/*
 * Space "mbconv": 18 layers of MBConv in five blocks, four candidates each, 4^18 = 6.9e10 architectures such as
 * "11 0110 0111 1100 0110" (Li et al., BossNAS, ICCV 2021; after DNA, CVPR 2020). Widths, depths and candidates are
 * options, so DNA's own networks and EfficientNet-B0 are architectures of spaces of the same kind:
 *
 *     bosskit cost mbconv "00 11 000 111 1111" --option depths=[2,2,3,3,4] --classes 1000
 *
 * This file: options, choices, text, costs and the descriptor. The stand-alone network is a list of layers
 * (mbconv_net.c), the supernet is in mbconv_supernet.c. Blocks do not depend on what came before: every entry is 0.
 */
#include "mbconv.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* clang-format off */
static const struct bk_opt options[] = {
    BK_INTS("widths",  struct mbconv, widths,  "24,40,80,112,192", 1, 4096, "channels", "output width of each block"),
    BK_INTS("depths",  struct mbconv, depths,  "2,4,4,4,4", 1, BK_MAX_LAYERS, "layers", "layers of each block"),
    BK_INTS("strides", struct mbconv, strides, "2,2,2,1,2", 1, 2, "", "stride of each block's first layer"),
    BK_INTS("ops",     struct mbconv, ops,     "63,65,33,35", 11, 99, "", "candidates of every layer: expansion and kernel, 63 is 6 times the width and 3x3"),
    BK_BOOL("se",      struct mbconv, se, true, "squeeze and excitation, in the stem too"),
    BK_INT ("input_size", struct mbconv, input_size, 224, 8, 65536, "pixels", "images the costs are counted for"),
    BK_REAL("dropout",   struct mbconv, dropout,   0.2, 0, 0.99, "", "stand-alone training: probability before the classifier"),
    BK_REAL("drop_path", struct mbconv, drop_path, 0.2, 0, 0.99, "", "stand-alone training: stochastic depth, rising to this at the end"),
    BK_OPT_END
};
/* clang-format on */

static int check_lists(const struct mbconv *s, struct bk_error *err)
{
    if (s->widths.n < 1 || s->widths.n > BK_MAX_BLOCKS)
        return bk_fail(err, BK_EINVAL, "widths has %lld entries, legal are 1..%d", (long long)s->widths.n, BK_MAX_BLOCKS);
    if (s->depths.n != s->widths.n || s->strides.n != s->widths.n)
        return bk_fail(err, BK_EINVAL, "widths, depths and strides have %lld, %lld and %lld entries, but are one a block",
                       (long long)s->widths.n, (long long)s->depths.n, (long long)s->strides.n);
    if (s->ops.n < 1 || s->ops.n > MAX_OPS)
        return bk_fail(err, BK_EINVAL, "ops has %lld entries, legal are 1..%d", (long long)s->ops.n, MAX_OPS);
    for (int64_t i = 0; i < s->ops.n; i++)
        if (s->ops.at[i] % 2 == 0)
            return bk_fail(err, BK_EINVAL, "op %lld has kernel %lld, legal are odd ones", (long long)s->ops.at[i],
                           (long long)s->ops.at[i] % 10);
    return BK_OK;
}

static int init(void *state, const struct bk_host *host, struct bk_error *err)
{
    struct mbconv *s = state;
    struct mbconv_net frame;
    (void)host;
    BK_TRY(check_lists(s, err));
    s->n_blocks = (int32_t)s->widths.n;
    s->n_ops = (int32_t)s->ops.n;
    s->n_searched = 0;
    for (int32_t k = 0; k < s->n_blocks; k++)
        s->n_searched += n_layers(s, k);
    if (s->n_searched > MAX_SEARCHED)
        return bk_fail(err, BK_EINVAL, "depths add up to %d layers, legal are at most %d", (int)s->n_searched, MAX_SEARCHED);
    mbconv_net_start(&frame, s->se, 1);
    s->stem_layer = frame.layer[0];
    number_supernet(s);
    return BK_OK;
}

/* ---- the tree of choices ------------------------------------------------------------------------- */

static int info(const void *state, struct bk_space_info *out, struct bk_error *err)
{
    const struct mbconv *s = state;
    (void)err;
    out->n_blocks = s->n_blocks;
    for (int32_t k = 0; k < s->n_blocks; k++) {
        out->max_layers[k] = n_layers(s, k);
        out->pooled_width[k] = (int32_t)s->widths.at[k];
    }
    out->input_size = (int32_t)s->input_size;
    out->log10_size = s->n_searched * log10((double)s->n_ops);
    out->counter = "DNA";
    return BK_OK;
}

static int choices(const void *state, int32_t block, int32_t entry, const struct bk_path *prefix,
                   uint8_t out[BK_MAX_CHOICES], int32_t *n)
{
    const struct mbconv *s = state;
    if (block < 0 || block >= s->n_blocks || entry != 0)
        return BK_EINVAL;
    *n = prefix->n < n_layers(s, block) ? s->n_ops : 0;
    for (int32_t d = 0; d < *n; d++)
        out[d] = (uint8_t)d;
    return BK_OK;
}

static int32_t exit_of(const void *state, int32_t block, int32_t entry, const struct bk_path *path)
{
    (void)state, (void)block, (void)entry, (void)path;
    return 0;
}

static int check_path(const struct mbconv *s, int32_t block, const struct bk_path *path, struct bk_error *err)
{
    if (path->n != n_layers(s, block))
        return bk_fail(err, BK_EINVAL, "block %d has %d layers, not %d", (int)block, (int)n_layers(s, block), (int)path->n);
    for (int32_t i = 0; i < path->n; i++)
        if (path->op[i] >= s->n_ops)
            return bk_fail(err, BK_EINVAL, "layer %d of block %d has no choice %d, legal are 0..%d", (int)i, (int)block,
                           (int)path->op[i], (int)s->n_ops - 1);
    return BK_OK;
}

static int check_arch(const struct mbconv *s, const struct bk_arch *arch, struct bk_error *err)
{
    if (arch->n_blocks != (uint32_t)s->n_blocks)
        return bk_fail(err, BK_EINVAL, "an architecture of this space has %d blocks, not %u", (int)s->n_blocks,
                       (unsigned)arch->n_blocks);
    for (int32_t k = 0; k < s->n_blocks; k++)
        BK_TRY(check_path(s, k, &arch->block[k], err));
    return BK_OK;
}

/* ---- text ---------------------------------------------------------------------------------------- */

static int bad_text(const struct mbconv *s, const char *text, const char *what, struct bk_error *err)
{
    struct bk_text shape = BK_TEXT_INIT;
    for (int32_t k = 0; k < s->n_blocks; k++)
        bk_text_addf(&shape, "%s%d", k ? "-" : "", (int)n_layers(s, k));
    int rc = bk_fail(err, BK_EINVAL, "architecture '%.60s' %s; legal are %d digits from 0 to %c, in blocks of %s", text,
                     what, (int)s->n_searched, s->n_ops <= 10 ? '0' + s->n_ops - 1 : 'a' + s->n_ops - 11,
                     bk_text_get(&shape));
    bk_text_release(&shape);
    return rc;
}

static int32_t digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'z' ? c - 'a' + 10 : MAX_OPS;
}

/* One digit a layer; between blocks a blank, as format() writes, a '-' or nothing. */
static int parse(const void *state, const char *text, struct bk_arch *out, struct bk_error *err)
{
    const struct mbconv *s = state;
    struct bk_arch arch;
    const char *p = text;

    memset(&arch, 0, sizeof arch);
    arch.n_blocks = (uint32_t)s->n_blocks;
    for (int32_t k = 0; k < s->n_blocks; k++) {
        if (k && (*p == ' ' || *p == '-'))
            p++;
        arch.block[k].n = (uint8_t)n_layers(s, k);
        for (int32_t i = 0; i < arch.block[k].n; i++, p++) {
            if (!*p)
                return bad_text(s, text, "is too short", err);
            int32_t d = digit_of(*p);
            if (d >= s->n_ops)
                return bad_text(s, text, "has a digit that is no choice, or a block of another length", err);
            arch.block[k].op[i] = (uint8_t)d;
        }
    }
    if (*p)
        return bad_text(s, text, "is too long", err);
    *out = arch;
    return BK_OK;
}

static int format(const void *state, const struct bk_arch *arch, char *buf, size_t size, struct bk_error *err)
{
    const struct mbconv *s = state;
    size_t used = 0;
    BK_TRY(check_arch(s, arch, err));
    for (int32_t k = 0; k < s->n_blocks; k++) {
        char path[BK_MAX_LAYERS + 1];
        bk_path_format(&arch->block[k], path);
        int n = snprintf(buf + used, size - used, "%s%s", k ? " " : "", path);
        if (n < 0 || (size_t)n >= size - used)
            return bk_fail(err, BK_EINVAL, "%zu bytes are too few for an architecture", size);
        used += (size_t)n;
    }
    return BK_OK;
}

static int draw(const void *state, const struct bk_arch *arch, struct bk_drawn_layer *out, int32_t cap, int32_t *n,
                struct bk_error *err)
{
    const struct mbconv *s = state;
    int32_t scale = 2;          /* of the stem */
    BK_TRY(check_arch(s, arch, err));
    if (cap < s->n_searched)
        return bk_fail(err, BK_EINVAL, "an architecture of this space has %d layers, there is room for %d", (int)s->n_searched,
                       (int)cap);
    *n = 0;
    for (int32_t k = 0; k < s->n_blocks; k++) {
        for (int32_t i = 0; i < n_layers(s, k); i++) {
            struct mbconv_layer l = layer_of(s, k, i, arch->block[k].op[i]);
            scale *= l.stride;
            out[*n] = (struct bk_drawn_layer){ .block = k, .scale = scale, .width = l.out };
            snprintf(out[*n].label, sizeof out[*n].label, "MB%d %dx%d", (int)l.expansion, (int)l.kernel, (int)l.kernel);
            ++*n;
        }
    }
    return BK_OK;
}

/* ---- costs --------------------------------------------------------------------------------------- */

static int cost(const void *state, int32_t block, int32_t entry, const struct bk_path *path, int32_t n_classes,
                struct bk_cost *out, struct bk_error *err)
{
    const struct mbconv *s = state;
    struct bk_cost c = { 0, 0, 0 }, before = { 0, 0, 0 };
    if (block < 0 || block > s->n_blocks || entry != 0)
        return bk_fail(err, BK_EINVAL, "there is no block %d with entry %d", (int)block, (int)entry);
    /* The map at the block's input; for block 0 the stem's cost is the block's. */
    int32_t side = mbconv_stem_cost((int32_t)s->input_size, block ? &before : &c);
    side = mbconv_layer_cost(&s->stem_layer, side, block ? &before : &c);
    for (int32_t k = 0; k < block; k++)
        side = (side + (int32_t)s->strides.at[k] - 1) / (int32_t)s->strides.at[k];
    if (block == s->n_blocks) {
        int32_t in = (int32_t)s->widths.at[block - 1];
        struct mbconv_layer last = { in, LAST_WIDTH, LAST_EXPANSION, LAST_KERNEL, 1, s->se ? mbconv_squeeze_width(in) : 0 };
        side = mbconv_layer_cost(&last, side, &c);
        mbconv_head_cost(LAST_WIDTH, side, n_classes, &c);
        *out = c;
        return BK_OK;
    }
    BK_TRY(check_path(s, block, path, err));
    for (int32_t i = 0; i < path->n; i++) {
        struct mbconv_layer l = layer_of(s, block, i, path->op[i]);
        side = mbconv_layer_cost(&l, side, &c);
    }
    *out = c;
    return BK_OK;
}

/* ---- networks ------------------------------------------------------------------------------------ */

static int supernet(void *state, struct bk_net *net, struct bk_error *err)
{
    if (net->n)
        return bk_fail(err, BK_ESTATE, "a supernet is described in an empty net, this one has %d slots", (int)net->n);
    return build_supernet(state, net, err);
}

static int network_of(const struct mbconv *s, const struct bk_arch *arch, int32_t n_classes, struct mbconv_net *m,
                      struct bk_error *err)
{
    BK_TRY(check_arch(s, arch, err));
    mbconv_net_start(m, s->se, n_classes);
    for (int32_t k = 0; k < s->n_blocks; k++)
        for (int32_t i = 0; i < n_layers(s, k); i++) {
            struct mbconv_layer l = layer_of(s, k, i, arch->block[k].op[i]);
            BK_TRY(mbconv_net_add(m, l.expansion, l.kernel, l.out, l.stride, err));
        }
    m->dropout = s->dropout;
    m->drop_path = s->drop_path;
    return mbconv_net_add(m, LAST_EXPANSION, LAST_KERNEL, LAST_WIDTH, 1, err);
}

static int alone(void *state, const struct bk_arch *arch, int32_t n_classes, struct bk_net *net, struct bk_error *err)
{
    struct mbconv_net m;
    if (net->n)
        return bk_fail(err, BK_ESTATE, "a network is described in an empty net, this one has %d slots", (int)net->n);
    BK_TRY(network_of(state, arch, n_classes, &m, err));
    return mbconv_net_build(&m, net, err);
}

static int run_alone(void *state, struct bk_forward *f, const struct bk_arch *arch, int32_t n_classes,
                     struct bk_tensor *images, struct bk_tensor **logits, struct bk_error *err)
{
    struct mbconv_net m;
    struct bk_tensor *x;
    BK_TRY(network_of(state, arch, n_classes, &m, err));
    BK_TRY(mbconv_net_run_layers(&m, f, 0, 0, m.n_layers, images, &x, err));
    return mbconv_net_run_head(&m, f, 0, x, logits, err);
}

static const struct bk_space_iface iface = {
    .struct_size = sizeof iface,
    .info = info,
    .choices = choices,
    .exit = exit_of,
    .parse = parse,
    .format = format,
    .cost = cost,
    .supernet = supernet,
    .layer = run_layer,
    .pool = run_pool,
    .alone = alone,
    .alone_run = run_alone,
    .draw = draw,
};

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_SPACE,
    .name = "mbconv",
    .version = "1.0.0",
    .summary = "MBConv layers of ImageNet networks in five blocks (DNA, BossNAS), supernet with shared skips",
    .help = "DNA's candidates are ops=[63,65,67,33,35,37]; EfficientNet-B0 is \"00 11 000 111 1111\" of depths=[2,2,3,3,4].",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct mbconv),
    .init = init,
    .iface = &iface,
};

BK_MODULE(&plugin);

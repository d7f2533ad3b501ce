/*
 * The smallest space: two blocks of two layers, each layer a 1x1 or a 3x3 convolution: 2^4 architectures.
 *
 * Architecture text is one digit a layer and '-' between blocks ("01-10"; 0 is 1x1, 1 is 3x3). Nothing but a fixed width
 * crosses a block boundary, so the entry of every block is 0. Layer 0 of block 0 brings the stem along, layer 0 of
 * block 1 halves the resolution. Every convolution is followed by batch norm and ReLU.
 *
 * Slots are found by name. A space with thousands of layers would keep their numbers in its state instead.
 */
#include <bosskit/space.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#define N_BLOCKS 2
#define N_LAYERS 2
#define N_CHOICES 2
#define IMAGE_SIZE 16

struct mini {
    int64_t width;              /* channels of block 0; block 1 has twice as many */
};

static const struct bk_opt options[] = {
    BK_INT("width", struct mini, width, 8, 1, 256, "channels", "width of the first block; the second is twice as wide"),
    BK_OPT_END,
};

static int64_t width_of(const struct mini *m, int32_t block)
{
    return m->width << block;
}

static int64_t kernel_of(int choice)
{
    return choice ? 3 : 1;
}

/* Input channels of a layer; the stem brings images to the width of block 0. */
static int64_t width_into(const struct mini *m, int32_t block, int layer)
{
    return block > 0 && layer == 0 ? width_of(m, block - 1) : width_of(m, block);
}

/* ---- the tree of choices ------------------------------------------------------------------------ */

static int info(const void *state, struct bk_space_info *out, struct bk_error *err)
{
    (void)err;
    out->n_blocks = N_BLOCKS;
    for (int b = 0; b < N_BLOCKS; b++) {
        out->max_layers[b] = N_LAYERS;
        out->pooled_width[b] = (int32_t)width_of(state, b);
    }
    out->input_size = IMAGE_SIZE;
    out->log10_size = N_BLOCKS * N_LAYERS * log10(N_CHOICES);
    out->counter = "multiply-adds";
    return BK_OK;
}

static int choices(const void *state, int32_t block, int32_t entry, const struct bk_path *prefix,
                   uint8_t out[BK_MAX_CHOICES], int32_t *n)
{
    (void)state, (void)block, (void)entry;
    *n = prefix->n < N_LAYERS ? N_CHOICES : 0;
    for (int i = 0; i < *n; i++)
        out[i] = (uint8_t)i;
    return BK_OK;
}

static int32_t mini_exit(const void *state, int32_t block, int32_t entry, const struct bk_path *path)
{
    (void)state, (void)block, (void)entry, (void)path;
    return 0;
}

static int parse(const void *state, const char *text, struct bk_arch *out, struct bk_error *err)
{
    struct bk_arch arch = { .n_blocks = N_BLOCKS };
    (void)state;
    if (strlen(text) != 5 || text[2] != '-')
        return bk_fail(err, BK_EINVAL, "'%s' is no architecture, legal: digits 0 and 1 as in 01-10", text);
    for (int b = 0; b < N_BLOCKS; b++) {
        arch.block[b].n = N_LAYERS;
        for (int l = 0; l < N_LAYERS; l++) {
            char c = text[3 * b + l];
            if (c != '0' && c != '1')
                return bk_fail(err, BK_EINVAL, "'%s': '%c' is no choice, legal: 0 and 1", text, c);
            arch.block[b].op[l] = (uint8_t)(c - '0');
        }
    }
    *out = arch;
    return BK_OK;
}

static int format(const void *state, const struct bk_arch *arch, char *buf, size_t size, struct bk_error *err)
{
    (void)state;
    const struct bk_path *p = arch->block;
    int n = snprintf(buf, size, "%d%d-%d%d", p[0].op[0], p[0].op[1], p[1].op[0], p[1].op[1]);
    return n < (int)size ? BK_OK : bk_fail(err, BK_EINVAL, "%zu bytes are too few for an architecture", size);
}

/* ---- costs --------------------------------------------------------------------------------------- */

/* A convolution without bias and its norm, at side x side outputs. */
static void add_conv(struct bk_cost *c, int64_t k, int64_t ci, int64_t co, int64_t side)
{
    c->params += (double)(k * k * ci * co + 2 * co);
    c->macs += (double)(k * k * ci * co * side * side);
}

static int cost(const void *state, int32_t block, int32_t entry, const struct bk_path *path, int32_t n_classes,
                struct bk_cost *out, struct bk_error *err)
{
    struct bk_cost c = { 0, 0, 0 };
    (void)entry, (void)err;
    if (block == N_BLOCKS) {            /* the classifier */
        c.params = (double)(width_of(state, N_BLOCKS - 1) + 1) * n_classes;
        c.macs = (double)width_of(state, N_BLOCKS - 1) * n_classes;
    } else {
        if (block == 0)
            add_conv(&c, 3, 3, width_of(state, 0), IMAGE_SIZE);
        for (int l = 0; l < N_LAYERS; l++)
            add_conv(&c, kernel_of(path->op[l]), width_into(state, block, l), width_of(state, block),
                     IMAGE_SIZE >> block);
    }
    c.counter = c.macs;
    *out = c;
    return BK_OK;
}

/* ---- slots: the same names in the supernet and in a network that stands alone --------------------- */

static void layer_name(char out[64], int32_t block, int layer, int choice)
{
    snprintf(out, 64, "block%d.layer%d.op%d", (int)block, layer, choice);
}

static int add_slots(struct bk_net *net, const char *name, int32_t block, int64_t co, int64_t k, int64_t ci,
                     struct bk_error *err)
{
    char full[80];
    int32_t id;
    snprintf(full, sizeof full, "%s.conv", name);
    BK_TRY(bk_net_conv(net, full, BK_PART_BACKBONE, block, co, k, ci, &id, err));
    snprintf(full, sizeof full, "%s.norm", name);
    return bk_net_norm(net, full, BK_PART_BACKBONE, block, co, 0, &id, err);
}

static int add_layer(const struct mini *m, struct bk_net *net, int32_t block, int layer, int choice,
                     struct bk_error *err)
{
    char name[64];
    layer_name(name, block, layer, choice);
    return add_slots(net, name, block, width_of(m, block), kernel_of(choice), width_into(m, block, layer), err);
}

static int supernet(void *state, struct bk_net *net, struct bk_error *err)
{
    BK_TRY(add_slots(net, "stem", 0, width_of(state, 0), 3, 3, err));
    for (int b = 0; b < N_BLOCKS; b++)
        for (int l = 0; l < N_LAYERS; l++)
            for (int c = 0; c < N_CHOICES; c++)
                BK_TRY(add_layer(state, net, b, l, c, err));
    return BK_OK;
}

static int alone(void *state, const struct bk_arch *arch, int32_t n_classes, struct bk_net *net,
                 struct bk_error *err)
{
    int64_t width = width_of(state, N_BLOCKS - 1);
    int32_t id;
    BK_TRY(add_slots(net, "stem", 0, width_of(state, 0), 3, 3, err));
    for (int b = 0; b < N_BLOCKS; b++)
        for (int l = 0; l < N_LAYERS; l++)
            BK_TRY(add_layer(state, net, b, l, arch->block[b].op[l], err));
    double scale = 1 / sqrt((double)width);
    return bk_net_linear(net, "classifier", BK_PART_CLASSIFIER, -1, n_classes, width, BK_INIT_UNIFORM, scale,
                         BK_INIT_UNIFORM, scale, &id, err);
}

/* ---- running -------------------------------------------------------------------------------------- */

static int find_slot(struct bk_forward *f, const char *name, const char *tail, int32_t *slot, struct bk_error *err)
{
    char full[80];
    snprintf(full, sizeof full, "%s.%s", name, tail);
    *slot = bk_net_find(bk_weights_net(f->weights), full);
    return *slot >= 0 ? BK_OK : bk_fail(err, BK_EINVAL, "the network has no slot '%s'", full);
}

/* relu(norm(conv(x))) with the slots of `name`. */
static int run_conv(struct bk_forward *f, const char *name, int64_t k, int stride, struct bk_tensor *x,
                    struct bk_tensor **y, struct bk_error *err)
{
    const struct bk_conv2d_attr attr = { .stride = stride, .pad = (int32_t)k / 2, .groups = 1 };
    struct bk_tensor *h;
    int32_t conv, norm;
    BK_TRY(find_slot(f, name, "conv.weight", &conv, err));
    BK_TRY(find_slot(f, name, "norm.scale", &norm, err));
    BK_TRY(bk_forward_conv(f, conv, -1, x, &attr, &h, err));
    return bk_forward_norm(f, &norm, &h, 1, NULL, BK_ACT_RELU, y, err);
}

static int layer(void *state, struct bk_forward *f, int32_t block, int32_t entry, const struct bk_path *path,
                 struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    int l = path->n - 1, choice = path->op[l];
    char name[64];
    (void)state, (void)entry;
    if (block == 0 && l == 0)
        BK_TRY(run_conv(f, "stem", 3, 1, x, &x, err));
    layer_name(name, block, l, choice);
    return run_conv(f, name, kernel_of(choice), block > 0 && l == 0 ? 2 : 1, x, y, err);
}

static int pool(void *state, struct bk_forward *f, int32_t block, const struct bk_path *path, struct bk_tensor *x,
                struct bk_tensor **y, struct bk_error *err)
{
    (void)state, (void)block, (void)path;
    return bk_global_pool(f->tape, x, y, err);
}

static int alone_run(void *state, struct bk_forward *f, const struct bk_arch *arch, int32_t n_classes,
                     struct bk_tensor *images, struct bk_tensor **logits, struct bk_error *err)
{
    struct bk_tensor *x = images;
    int32_t classifier;
    (void)n_classes;
    for (int b = 0; b < N_BLOCKS; b++) {
        struct bk_path path = { .n = 0 };
        while (path.n < N_LAYERS) {
            path.op[path.n] = arch->block[b].op[path.n];
            path.n++;
            BK_TRY(layer(state, f, b, 0, &path, x, &x, err));
        }
    }
    BK_TRY(bk_global_pool(f->tape, x, &x, err));
    BK_TRY(find_slot(f, "classifier", "weight", &classifier, err));
    return bk_forward_linear(f, classifier, x, logits, err);
}

static const struct bk_space_iface iface = {
    .struct_size = sizeof(struct bk_space_iface),
    .info = info,
    .choices = choices,
    .exit = mini_exit,
    .parse = parse,
    .format = format,
    .cost = cost,
    .supernet = supernet,
    .layer = layer,
    .pool = pool,
    .alone = alone,
    .alone_run = alone_run,
};

static const struct bk_plugin mini = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_SPACE,
    .name = "mini",
    .version = "1.0.0",
    .summary = "two blocks of two plain convolutions",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct mini),
    .iface = &iface,
};

BK_MODULE(&mini);

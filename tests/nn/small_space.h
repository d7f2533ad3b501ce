/*
 * tests/nn/small_space.h: a space of 33 architectures that has everything a real one has: entries, choices that depend
 * on the prefix, paths of different length, slimmable kernels, a norm for every width.
 *
 * Every choice is a width (4, 6, 8 channels). Block 0 has two free layers. Block 1 starts no narrower than it is
 * entered; choice 0 there ends the block, 1 and 2 are followed by one more layer of 1 or 2. Entry = last width.
 */
#ifndef BK_TESTS_SMALL_SPACE_H
#define BK_TESTS_SMALL_SPACE_H

#include "nn_fixture.h"

#include <bosskit/space.h>

#define SMALL_POOLED 5

struct small_state {
    int32_t conv[2][2], norm[2][2][3], adapter[2][3], adapter_norm[2][3];
};

static inline int64_t small_width(int32_t choice)
{
    return 4 + 2 * choice;
}

static inline int small_info(const void *state, struct bk_space_info *out, struct bk_error *e)
{
    (void)state, (void)e;
    *out = (struct bk_space_info){ .struct_size = sizeof *out, .n_blocks = 2, .input_size = 8,
                                   .max_layers = { 2, 2 }, .log10_size = 1.5185,
                                   .pooled_width = { SMALL_POOLED, SMALL_POOLED }, .counter = "none" };
    return BK_OK;
}

static inline int small_choices(const void *state, int32_t block, int32_t entry,
                                const struct bk_path *prefix, uint8_t out[BK_MAX_CHOICES], int32_t *n)
{
    int32_t first = block ? (prefix->n ? 1 : entry) : 0;

    (void)state;
    *n = 0;
    if (prefix->n == 2 || (block && prefix->n == 1 && !prefix->op[0]))
        return BK_OK;
    for (int32_t c = first; c < 3; c++)
        out[(*n)++] = (uint8_t)c;
    return BK_OK;
}

static inline int32_t small_exit(const void *state, int32_t block, int32_t entry,
                                 const struct bk_path *path)
{
    (void)state, (void)block, (void)entry;
    return path->op[path->n - 1];
}

static inline int small_parse(const void *state, const char *text, struct bk_arch *out,
                              struct bk_error *e)
{
    char part[8];
    const char *slash = strchr(text, '/');

    (void)state;
    if (!slash || slash - text > 7)
        return bk_fail(e, BK_EINVAL, "architecture '%s' is not <path>/<path>", text);
    memcpy(part, text, (size_t)(slash - text));
    part[slash - text] = '\0';
    out->n_blocks = 2;
    BK_TRY(bk_path_parse(part, &out->block[0], e));
    return bk_path_parse(slash + 1, &out->block[1], e);
}

static inline int small_format(const void *state, const struct bk_arch *arch, char *buf, size_t size,
                               struct bk_error *e)
{
    char a[BK_MAX_LAYERS + 1], b[BK_MAX_LAYERS + 1];

    (void)state, (void)e;
    bk_path_format(&arch->block[0], a);
    bk_path_format(&arch->block[1], b);
    snprintf(buf, size, "%s/%s", a, b);
    return BK_OK;
}

static inline int small_cost(const void *state, int32_t block, int32_t entry,
                             const struct bk_path *path, int32_t n_classes, struct bk_cost *out,
                             struct bk_error *e)
{
    int64_t ci = block ? small_width(entry) : 3;

    (void)state, (void)e;
    *out = (struct bk_cost){ 0 };
    if (!path) {
        out->params = (double)(n_classes * (ci + 1));
        out->macs = (double)(n_classes * ci);
        out->counter = out->macs;
        return BK_OK;
    }
    for (int i = 0; i < path->n; i++) {
        int64_t co = small_width(path->op[i]);
        out->params += (double)(9 * ci * co + 2 * co);
        out->macs += (double)(64 * 9 * ci * co);
        ci = co;
    }
    out->counter = 2 * out->macs;
    return BK_OK;
}

static inline int small_supernet(void *state, struct bk_net *net, struct bk_error *e)
{
    struct small_state *s = state;
    char name[64];

    for (int b = 0; b < 2; b++) {
        for (int l = 0; l < 2; l++) {
            snprintf(name, sizeof name, "block%d.conv%d", b, l);
            BK_TRY(bk_net_conv(net, name, BK_PART_BACKBONE, b, 8, 3, b || l ? 8 : 3, &s->conv[b][l], e));
            for (int c = 0; c < 3; c++) {
                snprintf(name, sizeof name, "block%d.norm%d.%d", b, l, (int)small_width(c));
                BK_TRY(bk_net_norm(net, name, BK_PART_BACKBONE, b, small_width(c), 0, &s->norm[b][l][c], e));
            }
        }
        for (int c = 0; c < 3; c++) {
            snprintf(name, sizeof name, "block%d.adapter%d", b, (int)small_width(c));
            BK_TRY(bk_net_conv(net, name, BK_PART_ADAPTER, b, SMALL_POOLED, 1, small_width(c),
                               &s->adapter[b][c], e));
            snprintf(name, sizeof name, "block%d.adapter_norm%d", b, (int)small_width(c));
            BK_TRY(bk_net_norm(net, name, BK_PART_ADAPTER, b, SMALL_POOLED, 0, &s->adapter_norm[b][c], e));
        }
    }
    return BK_OK;
}

static inline int small_layer(void *state, struct bk_forward *f, int32_t block, int32_t entry,
                              const struct bk_path *path, struct bk_tensor *x, struct bk_tensor **y,
                              struct bk_error *e)
{
    const struct small_state *s = state;
    struct bk_conv2d_attr attr = { .stride = 1, .pad = 1, .groups = 1 };
    int layer = path->n - 1, choice = path->op[layer];
    int64_t wanted = layer ? small_width(path->op[layer - 1]) : block ? small_width(entry) : 3;

    if (x->dim[3] != wanted)
        return bk_fail(e, BK_ESHAPE, "width %d where %d is entered", (int)x->dim[3], (int)wanted);
    BK_TRY(bk_forward_slim_conv(f, s->conv[block][layer], small_width(choice), x, &attr, &x, e));
    return bk_forward_norm(f, &s->norm[block][layer][choice], &x, 1, NULL, BK_ACT_RELU, y, e);
}

static inline int small_pool(void *state, struct bk_forward *f, int32_t block,
                             const struct bk_path *path, struct bk_tensor *x, struct bk_tensor **y,
                             struct bk_error *e)
{
    const struct small_state *s = state;
    int c = path->op[path->n - 1];

    return bk_forward_pooled_head(f, s->adapter[block][c], s->adapter_norm[block][c], x, y, e);
}

static const struct bk_space_iface small_iface = {
    .struct_size = sizeof(struct bk_space_iface), .info = small_info, .choices = small_choices,
    .exit = small_exit, .parse = small_parse, .format = small_format, .cost = small_cost,
    .supernet = small_supernet, .layer = small_layer, .pool = small_pool,
};

static inline struct bk_space small_space(struct small_state *state)
{
    struct bk_space s = { .iface = &small_iface, .state = state, .name = "small" };

    BK_ASSERT_OK(small_info(state, &s.info, &err));
    return s;
}

static inline struct bk_path path_of(const char *text)
{
    struct bk_path p = { 0 };

    BK_ASSERT_OK(bk_path_parse(text, &p, &err));
    return p;
}

#endif

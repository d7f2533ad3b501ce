/*
 * The MBConv search space (Li et al., DNA, CVPR 2020; BossNAS, ICCV 2021): shared by the files of the plugin. A block
 * is a row of layers of one width; its first layer carries stride and change of width; a choice digit is a position in
 * the option `ops`. All that a layer is follows from (block, layer, digit).
 *
 * Not here: anything about training or rating.
 */
#ifndef BOSSKIT_MBCONV_H
#define BOSSKIT_MBCONV_H

#include "mbconv_net.h"

enum { MAX_OPS = 36, MAX_SEARCHED = MBCONV_MAX_LAYERS - 2 };

/* What stands behind the searched blocks in a stand-alone network, in DNA's notation 320: 63. */
enum { LAST_EXPANSION = 6, LAST_KERNEL = 3, LAST_WIDTH = 320 };

struct mbconv {
    /* options */
    struct bk_ints widths, depths, strides, ops;
    bool se;
    int64_t input_size;
    double dropout, drop_path;
    /* set by init */
    int32_t n_blocks, n_ops, n_searched;
    struct mbconv_layer stem_layer;     /* the separable layer behind the stem's convolution */
    int32_t slot[BK_MAX_BLOCKS][BK_MAX_LAYERS];         /* of the supernet: first slot of the layer's skip and ops */
};

static inline int32_t n_layers(const struct mbconv *s, int32_t block)
{
    return (int32_t)s->depths.at[block];
}

/* The layer that a choice makes. */
struct mbconv_layer layer_of(const struct mbconv *s, int32_t block, int32_t layer, int32_t op);

/* mbconv_supernet.c */
void number_supernet(struct mbconv *s);
int build_supernet(struct mbconv *s, struct bk_net *net, struct bk_error *err);
int run_layer(void *state, struct bk_forward *f, int32_t block, int32_t entry, const struct bk_path *path,
              struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err);
int run_pool(void *state, struct bk_forward *f, int32_t block, const struct bk_path *path, struct bk_tensor *x,
             struct bk_tensor **y, struct bk_error *err);

#endif

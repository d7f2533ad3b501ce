/*
 * Networks of MBConv layers (Sandler et al., MobileNetV2, CVPR 2018; Tan and Le, EfficientNet, ICML 2019): what one
 * layer and a whole network hold, cost and compute, from a list of layers. The search space is built of it, and so can
 * be any other plugin that wants an EfficientNet: compile mbconv_net.c into it.
 *
 *   layer    1x1 convolution to `expansion` times the width - BN - SiLU - depthwise k x k - BN - SiLU - squeeze and
 *            excitation - 1x1 convolution - BN; without an expansion (1) the first convolution, BN and SiLU are absent
 *   network  stem (3x3, stride 2, BN, SiLU) - layers - head (1x1, BN, SiLU) - mean over positions - dropout - linear map
 *
 * Slots of a layer follow each other in the order of the text above, so the first one's number is all that is kept.
 *
 * Not here: choices, and the residuals of a supernet (mbconv_supernet.c).
 */
#ifndef BOSSKIT_MBCONV_NET_H
#define BOSSKIT_MBCONV_NET_H

#include <bosskit/space.h>

enum { MBCONV_MAX_LAYERS = 160, MBCONV_STEM_WIDTH = 32, MBCONV_HEAD_WIDTH = 1280 };

struct mbconv_layer {
    int32_t in, out, expansion, kernel, stride;
    int32_t squeeze;            /* width between squeeze and excitation; 0: none */
};

struct mbconv_net {
    bool se;
    int32_t n_classes, n_layers;
    struct mbconv_layer layer[MBCONV_MAX_LAYERS];
    double dropout;             /* before the classifier, in training */
    double drop_path;           /* stochastic depth: layer j of J is left out with probability drop_path j/J, in training */
};

/* A quarter of the layer's input width, rounded half up, at least 1; both as EfficientNet has it. */
int32_t mbconv_squeeze_width(int32_t in);

/* A network with the layer behind the stem, 3x3 from 32 to 16 channels without expansion, as layer 0. */
void mbconv_net_start(struct mbconv_net *net, bool se, int32_t n_classes);
/* Append a layer behind the last one. BK_EINVAL when there is no room. */
int mbconv_net_add(struct mbconv_net *net, int32_t expansion, int32_t kernel, int32_t out, int32_t stride, struct bk_error *err);

/* ---- costs: all add to *c; `side` is the height and width of the input, the return value that of the output ---------- */

/* MACs of convolutions and linear maps. The counter (DNA, CVPR 2020) adds a multiply-add a bias of a convolution, two an
 * element into a norm, and the head's pooled elements. */
int32_t mbconv_stem_cost(int32_t side, struct bk_cost *c);
int32_t mbconv_layer_cost(const struct mbconv_layer *l, int32_t side, struct bk_cost *c);
void mbconv_head_cost(int32_t in, int32_t side, int32_t n_classes, struct bk_cost *c);

/* ---- slots ------------------------------------------------------------------------------------------------------------ */

/* How many slots a layer, and a stem, has. */
int32_t mbconv_layer_slots(const struct mbconv_layer *l);
enum { MBCONV_STEM_SLOTS = 5 };

/* PyTorch's default initial values (supernets), or N(0, 2/(Co k^2)) and no bias (EfficientNet). */
enum mbconv_init { MBCONV_INIT_DEFAULT = 1, MBCONV_INIT_EFFICIENTNET };

struct mbconv_builder {
    struct bk_net *net;
    uint32_t part;
    int32_t block;
    enum mbconv_init init;
    struct bk_error *err;
};

/* Add the slots "<name>.weight", "<name>.norm.scale", ... of a convolution and its norm. */
int mbconv_add_conv(struct mbconv_builder *b, const char *name, int64_t co, int64_t k, int64_t ci_per_group, uint32_t norm_flags);
/* Add the slots "<name>.expand.weight", ... */
int mbconv_add_layer(struct mbconv_builder *b, const char *name, const struct mbconv_layer *l);
/* Add all slots of a network: "stem", "layer0", ..., "head", "classifier". `net->n` slots may be there before. */
int mbconv_net_build(const struct mbconv_net *m, struct bk_net *net, struct bk_error *err);

/* ---- running ------------------------------------------------------------------------------------------------------------ */

/* Convolution, norm and SiLU at the five slots from `slot`. */
int mbconv_run_conv(struct bk_forward *f, int32_t slot, const struct bk_conv2d_attr *attr, struct bk_tensor *x,
                    struct bk_tensor **y, struct bk_error *err);
/* The layer at `slot` up to its last convolution; *norm is the slot of the norm that follows. */
int mbconv_run_branch(struct bk_forward *f, const struct mbconv_layer *l, int32_t slot, struct bk_tensor *x,
                      struct bk_tensor **y, int32_t *norm, struct bk_error *err);
/*
 * Layers [first, end) of a network whose slots begin at `slot`; layer 0 includes the stem. A layer adds its input where
 * width and map stay (EfficientNet).
 */
int mbconv_net_run_layers(const struct mbconv_net *m, struct bk_forward *f, int32_t slot, int32_t first, int32_t end,
                          struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err);
/* From the last layer's output to logits [N, n_classes]. */
int mbconv_net_run_head(const struct mbconv_net *m, struct bk_forward *f, int32_t slot, struct bk_tensor *x,
                        struct bk_tensor **logits, struct bk_error *err);

#endif

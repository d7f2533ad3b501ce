/**
 * bosskit/net.h: one structure, many weight sets.
 *
 * A network is a description (`struct bk_net`: a list of slots with shapes, roles and initial
 * distributions) plus a weight set (`struct bk_weights`: a tensor a slot). Siamese supernets are
 * one description with two weight sets; a stand-alone network is a description of its own. What a
 * network computes is a function that takes a `struct bk_forward` (tape, weights, mode) and slot
 * numbers, so no module is written twice for training, target and rating.
 *
 * Initial values depend on (seed, slot name, element index) alone.
 */
#ifndef BOSSKIT_NET_H
#define BOSSKIT_NET_H

#include <bosskit/bundle.h>
#include <bosskit/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

enum bk_role {
    BK_ROLE_INVALID = 0,
    BK_ROLE_WEIGHT,             /* kernels of convolutions and linear maps */
    BK_ROLE_BIAS,
    BK_ROLE_NORM_SCALE,
    BK_ROLE_NORM_OFFSET,
    BK_ROLE_RUNNING_MEAN,       /* buffers: no gradient, no EMA */
    BK_ROLE_RUNNING_VAR,
};

/** Which part of a method a slot belongs to. */
enum bk_part {
    BK_PART_INVALID = 0,
    BK_PART_BACKBONE,           /* stem and blocks of a space */
    BK_PART_ADAPTER,            /* brings a block's output to the common width */
    BK_PART_PROJECTOR,
    BK_PART_PREDICTOR,
    BK_PART_CLASSIFIER,
};

enum bk_init {
    BK_INIT_INVALID = 0,
    BK_INIT_ZERO,
    BK_INIT_ONE,
    BK_INIT_UNIFORM,            /* U(-a, a), a = init_scale */
    BK_INIT_NORMAL,             /* N(0, a^2), a = init_scale */
};

enum bk_slot_flags {
    BK_SLOT_BY_NAME_ADAPTED = 1, /* a norm scale that the released by-name exclusion of LARS misses */
};

struct bk_slot {
    char name[80];              /* "block0.cell0.f1.weight"; unique in the net */
    uint32_t role, part, rank, init, flags;
    int32_t block;              /* block of the supernet; -1 = none */
    int64_t dim[4];
    double init_scale;
};

struct bk_net {
    struct bk_slot *slot;
    int32_t n, cap;
};

#define BK_NET_INIT { NULL, 0, 0 }

/** Append a slot (copied). *id is its number. Errors: BK_EINVAL for a name that exists or a bad shape. */
BK_API int bk_net_add(struct bk_net *net, const struct bk_slot *slot, int32_t *id,
                      struct bk_error *err) BK_MUST_USE;
BK_API int32_t bk_net_find(const struct bk_net *net, const char *name);  /* -1 when absent */
BK_API void bk_net_release(struct bk_net *net);
/** Number of parameters (buffers excluded) in `part` (0 = all) of `block` (-2 = all). */
BK_API int64_t bk_net_count(const struct bk_net *net, uint32_t part, int32_t block);

/**
 * Convolution kernel "<name>.weight" [co,k,k,ci_per_group], PyTorch's default U(+-1/sqrt(fan_in)).
 */
BK_API int bk_net_conv(struct bk_net *net, const char *name, uint32_t part, int32_t block,
                       int64_t co, int64_t k, int64_t ci_per_group, int32_t *id,
                       struct bk_error *err) BK_MUST_USE;
/**
 * Batch norm: slots id (".scale" 1), id+1 (".offset" 0), id+2 (".running_mean" 0), id+3 (".running_var" 1).
 * `flags` goes to the scale.
 */
BK_API int bk_net_norm(struct bk_net *net, const char *name, uint32_t part, int32_t block,
                       int64_t channels, uint32_t flags, int32_t *id,
                       struct bk_error *err) BK_MUST_USE;
/** Linear map: slots id "<name>.weight" [o,i] and id+1 "<name>.bias" [o] with the given distributions. */
BK_API int bk_net_linear(struct bk_net *net, const char *name, uint32_t part, int32_t block,
                         int64_t o, int64_t i, uint32_t weight_init, double weight_scale,
                         uint32_t bias_init, double bias_scale, int32_t *id,
                         struct bk_error *err) BK_MUST_USE;

/* ---- weight sets -------------------------------------------------------------------------------- */

struct bk_weights;

/** Tensors in `dtype` f32 (f64 for checks) for every slot of `net`, which must outlive the set; zeroed. */
BK_API int bk_weights_new(struct bk_device *device, const struct bk_net *net, uint32_t dtype,
                          struct bk_weights **out, struct bk_error *err) BK_MUST_USE;
/**
 * As bk_weights_new() and bk_weights_init(), but a slot gets its tensor only when a network runs through it, when its block is needed
 * (bk_weights_need_block()) or when it is loaded. Until then bk_weights_get() gives NULL for it and the other calls pass
 * it over: the weights of a whole supernet need not exist while one block is trained. Its value is that of bk_weights_from(), else the initial
 * one if `draws`, else BK_EDATA (running statistics always have initial values).
 */
BK_API int bk_weights_new_lazy(struct bk_device *device, const struct bk_net *net, uint32_t dtype, bool draws, uint64_t seed,
                               struct bk_weights **out, struct bk_error *err) BK_MUST_USE;
/** Lazy sets: from now on a slot's first value is "<prefix><slot name>" of `b` where it has that. Both are borrowed until the next call; NULL: none. */
BK_API void bk_weights_from(struct bk_weights *w, const char *prefix, const struct bk_bundle *b);
/** Lazy sets: make all slots of `block`. */
BK_API int bk_weights_need_block(struct bk_weights *w, int32_t block, struct bk_error *err) BK_MUST_USE;
BK_API void bk_weights_free(struct bk_weights *w);
BK_API const struct bk_net *bk_weights_net(const struct bk_weights *w);
/** Draw initial values of every slot. */
BK_API int bk_weights_init(struct bk_weights *w, uint64_t seed, struct bk_error *err) BK_MUST_USE;
/** The master tensor of a slot; borrowed. NULL: a lazy set has not needed it yet. */
BK_API struct bk_tensor *bk_weights_get(struct bk_weights *w, int32_t slot);
/** The slot in the type of the activations (a cached copy, remade after bk_weights_changed()); its gradient goes to the master. */
BK_API int bk_weights_as(struct bk_weights *w, int32_t slot, uint32_t dtype,
                         struct bk_tensor **out, struct bk_error *err) BK_MUST_USE;
/** Values were written other than through an optimiser or EMA step: drop cached copies. */
BK_API void bk_weights_changed(struct bk_weights *w);
/** Give the slot a gradient or take it away. A new set has none. Buffers never get one. */
BK_API int bk_weights_train(struct bk_weights *w, int32_t slot, bool on,
                            struct bk_error *err) BK_MUST_USE;
/** Give gradients to the parameters that learn in block `last`: the backbone of blocks first..last, all else of block `last`. */
BK_API int bk_weights_train_blocks(struct bk_weights *w, int32_t first, int32_t last,
                                   struct bk_error *err) BK_MUST_USE;
BK_API bool bk_weights_is_trained(const struct bk_weights *w, int32_t slot);
/** Zero the gradients that were touched. */
BK_API int bk_weights_zero_grad(struct bk_weights *w, struct bk_error *err) BK_MUST_USE;
/** Copy all slots that `src` has, buffers included. The sets share one description. */
BK_API int bk_weights_copy(struct bk_weights *dst, struct bk_weights *src,
                           struct bk_error *err) BK_MUST_USE;
/** target := m target + (1 - m) online for parameters in `part` (0 = all) of blocks first..last (-1 = no block); buffers stay. */
BK_API int bk_weights_ema(struct bk_weights *target, struct bk_weights *online, double m,
                          uint32_t part, int32_t first, int32_t last,
                          struct bk_error *err) BK_MUST_USE;
/**
 * Save or fill every slot as "<prefix><slot name>". `bk_weights_load` leaves slots absent from the bundle as they are when `partial`, and makes those that
 * a lazy set lacks and the bundle has.
 */
BK_API int bk_weights_save(struct bk_weights *w, const char *prefix, struct bk_bundle *b,
                           struct bk_error *err) BK_MUST_USE;
BK_API int bk_weights_load(struct bk_weights *w, const char *prefix, const struct bk_bundle *b,
                           bool partial, struct bk_error *err) BK_MUST_USE;

/* ---- running a network --------------------------------------------------------------------------- */

/**
 * Running statistics outside a weight set, keyed by slot: what recalibration collects for one path.
 * Empty at first; a slot's statistics appear when it is normalised in batch mode with this store.
 */
struct bk_norm_store;
BK_API int bk_norm_store_new(struct bk_device *device, struct bk_norm_store **out,
                             struct bk_error *err) BK_MUST_USE;
BK_API void bk_norm_store_free(struct bk_norm_store *s);

/** How a network is run. Plain data; copy and change freely. */
struct bk_forward {
    struct bk_tape *tape;
    struct bk_weights *weights;
    uint32_t dtype;                     /* of activations */
    uint32_t norm_mode;                 /* enum bk_norm_mode */
    double norm_momentum;               /* batch mode: weight in the running statistics; 0 = leave them */
    double norm_eps;
    struct bk_norm_store *store;        /* statistics to use and update instead of the weight set's; NULL = the weight set's */
    uint64_t seed, step;                /* of the draws of dropout and stochastic depth */
    bool training;                      /* false: no dropout, no stochastic depth */
};

BK_API int bk_forward_conv(struct bk_forward *f, int32_t slot, int32_t bias_slot,
                           struct bk_tensor *x, const struct bk_conv2d_attr *attr,
                           struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;
/** As bk_forward_conv (ungrouped) with the leading [co,k,k,ci] slice of the kernel; ci is x's width. */
BK_API int bk_forward_slim_conv(struct bk_forward *f, int32_t slot, int64_t co,
                                struct bk_tensor *x, const struct bk_conv2d_attr *attr,
                                struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;
/**
 * `activation` (enum bk_activation, BK_ACT_NONE: none) of the sum of norms of x[t] with the norm at slot[t] (the id of
 * its scale) plus residual (NULL: none).
 */
BK_API int bk_forward_norm(struct bk_forward *f, const int32_t *slot,
                           struct bk_tensor *const *x, int n, struct bk_tensor *residual,
                           uint32_t activation, struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;
/** Linear map at slot (weight) and slot + 1 (bias). */
BK_API int bk_forward_linear(struct bk_forward *f, int32_t slot, struct bk_tensor *x,
                             struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;
/**
 * Squeeze-and-excitation (Hu et al. 2018): x times sigmoid(expand(activation(reduce(global pool of x)))), channel by
 * channel. Each slot is a linear map: weight [O,I], then its bias at slot + 1; `activation` is an enum bk_activation.
 */
BK_API int bk_forward_se(struct bk_forward *f, int32_t reduce_slot, int32_t expand_slot,
                         uint32_t activation, struct bk_tensor *x, struct bk_tensor **y,
                         struct bk_error *err) BK_MUST_USE;
/**
 * Stochastic depth: whole images of x are zeroed with probability `rate`, the others divided by 1 - rate; x itself
 * unless f->training and rate > 0. `stream` (bk_random_stream) must differ from layer to layer.
 */
BK_API int bk_forward_drop_path(struct bk_forward *f, uint32_t stream, double rate,
                                struct bk_tensor *x, struct bk_tensor **y,
                                struct bk_error *err) BK_MUST_USE;
/** Dropout of single elements, otherwise as bk_forward_drop_path(). */
BK_API int bk_forward_dropout(struct bk_forward *f, uint32_t stream, double rate,
                              struct bk_tensor *x, struct bk_tensor **y,
                              struct bk_error *err) BK_MUST_USE;
/** Pooled head with the 1x1 kernel at conv_slot and the norm at norm_slot; x [N,H,W,C] -> [N,K]. */
BK_API int bk_forward_pooled_head(struct bk_forward *f, int32_t conv_slot, int32_t norm_slot,
                                  struct bk_tensor *x, struct bk_tensor **y,
                                  struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

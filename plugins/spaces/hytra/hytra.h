/*
 * The hybrid convolution-attention fabric (Li et al., BossNAS, ICCV 2021, section 4.2 and figure 5): shared by the
 * files of the plugin. 16 choice layers in four blocks; a layer picks an operation, whose depth index d fixes the
 * scale the layer's output has: 1/32, 1/16, 1/8, 1/4 for d = 0..3, with 2048, 1024, 512, 256 channels C and C/4 inside.
 * From layer to layer the scale stays or halves. Entry of block k > 0: 1 + d of the last layer before it, the paper's
 * "stage depth"; block 0 starts at stage_depths[0].
 *
 * A network is written down once as a walk over its modules, which describes slots, counts costs or runs, or does
 * several of these, depending on what the walk carries. Slots of a module follow one another, so the number of the
 * first is all that is kept of an operation.
 *
 * Not here: anything about training or rating.
 */
#ifndef BOSSKIT_HYTRA_H
#define BOSSKIT_HYTRA_H

#include <bosskit/space.h>

enum { N_BLOCKS = 4, N_LAYERS = 4, N_DEPTHS = 4, N_OPS = 6 };
enum { PATHS_RESTRICTED = 1, PATHS_FULL = 2 };
enum { ATTENTION_CORRECT = 1, ATTENTION_UNTRANSPOSED = 2 };
enum { ENTRY_SAME = 0, ENTRY_DOWN = 1 };        /* how an operation is entered: at its scale, or from twice its map */

/* First slots of an operation of the supernet; -1 where it has no such entry. */
struct op_slots {
    int32_t entry[2], body;
};

struct hytra {
    /* options */
    int32_t paths, activation, attention;
    struct bk_ints stage_depths;
    int64_t width, input_size, last_stride;
    bool se, avg_down;
    double drop_path;
    /* set by init */
    int32_t depths[N_BLOCKS];                   /* block k has the operations of depth 0 .. depths[k] - 1 */
    double n_archs;                             /* of the supernet */
    int32_t stem_slot, entry_slot[N_DEPTHS];    /* entry down-samplers of block 0 */
    struct op_slots op[N_BLOCKS][N_LAYERS][N_OPS];
    int32_t adapter_slot[N_BLOCKS][N_DEPTHS];   /* [d] for d > 0 */
};

static inline int32_t op_depth(int32_t op)
{
    return op < 4 ? op / 2 : op - 2;
}

static inline bool op_is_attention(int32_t op)
{
    return op == 0 || op == 2;
}

/* C of a depth. */
static inline int32_t width_of(const struct hytra *s, int32_t depth)
{
    return (int32_t)s->width << (N_DEPTHS - 1 - depth);
}

/* ---- hytra_text.c -------------------------------------------------------------------------------------------------- */

int hytra_parse(const void *state, const char *text, struct bk_arch *out, struct bk_error *err);
int hytra_format(const void *state, const struct bk_arch *arch, char *buf, size_t size, struct bk_error *err);
/* Is it a path, an architecture, of the whole fabric: free start in block 0, scales that stay or halve? */
int hytra_check_block(int32_t block, int32_t entry, const struct bk_path *path, struct bk_error *err);
int hytra_check(const void *state, const struct bk_arch *arch, struct bk_error *err);

/* ---- hytra_op.c: modules --------------------------------------------------------------------------------------------- */

/* What differs between the operations of the supernet and of stand-alone networks. */
struct style {
    int32_t activation;         /* enum bk_activation */
    bool se;                    /* squeeze and excitation in convolutional operations */
    bool avg_down;              /* shortcuts that down-sample pool first and have no activation */
    bool alone;                 /* initial values N(0, 2/fan_out); else PyTorch's default */
    bool reversed;              /* attention as in the released search code */
};

struct walk {
    struct bk_net *net;         /* describe slots here; may be NULL */
    struct bk_cost *cost;       /* add parameters and multiply-accumulates here; may be NULL */
    struct bk_forward *f;       /* run; may be NULL */
    struct style style;
    uint32_t part;
    int32_t block;
    int32_t next;               /* number of the next module's first slot */
    char name[48];              /* of the module the next ones are members of */
    struct bk_error *err;
};

/* A feature map on its way; x is NULL while nothing runs. */
struct map {
    struct bk_tensor *x;
    int32_t channels, side;
};

struct conv_form {
    int32_t size, stride, pad;
    bool depthwise, bias;
};

/* Convolution (slots: kernel, and bias if it has one) of `m` to `co` channels, in place. */
int walk_conv(struct walk *w, const char *name, const struct conv_form *form, int32_t co, struct map *m);
/* Norm (4 slots) with `activation` (0: none) behind it. `flags`: enum bk_slot_flags. */
int walk_norm(struct walk *w, const char *name, int32_t activation, uint32_t flags, struct map *m);

struct operation {
    int32_t in, out, stride, heads;     /* heads = 0: ResConv, else ResAtt */
    double drop_path;
    uint32_t stream;                    /* of the draws of stochastic depth */
};

/* The operation at `depth` entered with `in` channels. */
struct operation operation_of(const struct hytra *s, int32_t op, int32_t in, int32_t stride);

/* What the two halves of an operation pass on: its main branch, and its shortcut with a norm still to be applied (-1: none). */
struct branches {
    struct map main, shortcut;
    int32_t shortcut_norm;
};

/* Up to and including the first norm, and the shortcut: not shared between the entries of an operation. */
int walk_entry(struct walk *w, const struct operation *o, const struct map *in, struct branches *b);
/* The rest: shared. */
int walk_body(struct walk *w, const struct operation *o, const struct branches *b, struct map *out);
/* 7x7 convolution of stride 2, norm, activation, 3x3 max pooling of stride 2. */
int walk_stem(struct walk *w, int32_t width, struct map *m);

/* ---- hytra_net.c: the supernet --------------------------------------------------------------------------------------- */

/* Add the slots to `net`, or only number them when net is NULL. */
int hytra_build(struct hytra *s, struct bk_net *net, struct bk_error *err);
int hytra_layer(void *state, struct bk_forward *f, int32_t block, int32_t entry, const struct bk_path *path,
                struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err);
int hytra_pool(void *state, struct bk_forward *f, int32_t block, const struct bk_path *path, struct bk_tensor *x,
               struct bk_tensor **y, struct bk_error *err);
/* Multiply-accumulates of the supernet along `arch`, without adapters. BK_EINVAL when it has no such path. */
int hytra_supernet_macs(const struct hytra *s, const struct bk_arch *arch, double *out, struct bk_error *err);

/* ---- hytra_alone.c: stand-alone networks ----------------------------------------------------------------------------- */

int hytra_alone(void *state, const struct bk_arch *arch, int32_t n_classes, struct bk_net *net, struct bk_error *err);
int hytra_alone_run(void *state, struct bk_forward *f, const struct bk_arch *arch, int32_t n_classes,
                    struct bk_tensor *images, struct bk_tensor **logits, struct bk_error *err);
int hytra_cost(const void *state, int32_t block, int32_t entry, const struct bk_path *path, int32_t n_classes,
               struct bk_cost *out, struct bk_error *err);

#endif

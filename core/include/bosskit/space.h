/**
 * bosskit/space.h: search spaces. A block is a tree of choices.
 *
 * A space is K blocks of layers. Given the choices made so far, it says which choices are legal
 * next and runs one layer. Sampling, validity, enumeration, cost and prefix-shared traversal all
 * follow from that. What crosses a block boundary (a width, a scale) is a small integer, the
 * *entry* of the next block: cost, legality and scores of a block depend on the entry and on the
 * block's own path, on nothing earlier. Block 0 has entry 0; the stem belongs to block 0.
 *
 * Calls are [stage]; those marked [any] are pure and may come from any thread.
 */
#ifndef BOSSKIT_SPACE_H
#define BOSSKIT_SPACE_H

#include <bosskit/net.h>
#include <bosskit/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BK_MAX_BLOCKS 16
#define BK_MAX_LAYERS 31
#define BK_MAX_CHOICES 64

/** One choice a layer; layer 0 first. Text form: one digit 0-9a-z a layer, no separators. */
struct bk_path {
    uint8_t n;
    uint8_t op[BK_MAX_LAYERS];
};

struct bk_arch {
    uint32_t n_blocks;
    struct bk_path block[BK_MAX_BLOCKS];
};

struct bk_space_info {
    uint32_t struct_size;
    int32_t n_blocks;
    int32_t max_layers[BK_MAX_BLOCKS];  /* most layers of a path of the block */
    int32_t pooled_width[BK_MAX_BLOCKS]; /* C_k: width of pool()'s output */
    int32_t input_size;                 /* H = W of the images the costs are counted for */
    double log10_size;                  /* of the whole space */
    const char *counter;                /* name of the published cost convention ("NATS-Bench", "DNA", "HyTra") */
};

/** Costs are additive over blocks: block n_blocks stands for what follows the last block (head, classifier). */
struct bk_cost {
    double params;              /* parameters */
    double macs;                /* multiply-accumulates of convolutions, linear maps and attention products, images of input_size */
    double counter;             /* the published convention of the space, in multiply-adds */
};

/** A layer of an architecture as a drawing shows it: op and scale against depth. */
struct bk_drawn_layer {
    char label[24];             /* name of the choice ("ResConv", "MB6 k5"); equal labels get equal colours */
    int32_t block;
    int32_t scale;              /* the layer's output is input_size / scale on a side */
    int32_t width;              /* output channels */
};

struct bk_space_iface {
    uint32_t struct_size;
    uint32_t reserved;
    /** [any] */
    int (*info)(const void *state, struct bk_space_info *out, struct bk_error *err);
    /** [any] Legal choices after `prefix` (0 <= prefix->n) of a block entered at `entry`; *n = 0: the path is complete. */
    int (*choices)(const void *state, int32_t block, int32_t entry, const struct bk_path *prefix,
                   uint8_t out[BK_MAX_CHOICES], int32_t *n);
    /** [any] Entry of block + 1 when this block takes `path`. */
    int32_t (*exit)(const void *state, int32_t block, int32_t entry, const struct bk_path *path);
    /** [any] Architecture text to paths, and back; a bijection on legal architectures. BK_EINVAL says what is wrong with the text. */
    int (*parse)(const void *state, const char *text, struct bk_arch *out, struct bk_error *err);
    int (*format)(const void *state, const struct bk_arch *arch, char *buf, size_t size,
                  struct bk_error *err);
    /** [any] Cost of one block of the stand-alone network with `n_classes`; block n_blocks with path NULL: the rest. */
    int (*cost)(const void *state, int32_t block, int32_t entry, const struct bk_path *path,
                int32_t n_classes, struct bk_cost *out, struct bk_error *err);

    /** Add the slots of the supernet (backbone of all blocks, adapters) to an empty net. Slot numbers depend on options alone. */
    int (*supernet)(void *state, struct bk_net *net, struct bk_error *err);
    /**
     * Run layer `path->n - 1` of a block: the last choice in `path` is the layer to run. x is the output of the layer
     * before (of the block before; of the images for block 0, whose layer 0 includes the stem).
     */
    int (*layer)(void *state, struct bk_forward *f, int32_t block, int32_t entry,
                 const struct bk_path *path, struct bk_tensor *x, struct bk_tensor **y,
                 struct bk_error *err);
    /** Output of the block along complete `path` -> [N, pooled_width] through the block's adapter and pooling. */
    int (*pool)(void *state, struct bk_forward *f, int32_t block, const struct bk_path *path,
                struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err);

    /** The stand-alone network of `arch`: slots, then logits [N, n_classes] from images. `net` is as alone() left it. */
    int (*alone)(void *state, const struct bk_arch *arch, int32_t n_classes, struct bk_net *net,
                 struct bk_error *err);
    int (*alone_run)(void *state, struct bk_forward *f, const struct bk_arch *arch,
                     int32_t n_classes, struct bk_tensor *images, struct bk_tensor **logits,
                     struct bk_error *err);
    /** [any] (may be NULL) Named trivial score of an architecture, e.g. "width_sum"; BK_ENOTFOUND for an unknown name. */
    int (*score)(const void *state, const char *name, const struct bk_arch *arch, double *out,
                 struct bk_error *err);
    /**
     * [any] (may be NULL: an architecture is legal when choices() lists its paths) Is `arch` in the space? For a space that
     * is larger than its supernet: all of it can be parsed, costed and built alone, choices() lists what the supernet runs.
     */
    int (*check)(const void *state, const struct bk_arch *arch, struct bk_error *err);
    /** [any] (may be NULL) The layers of an architecture in order, without stem and head; *n <= cap of them. BK_EINVAL: more than cap. */
    int (*draw)(const void *state, const struct bk_arch *arch, struct bk_drawn_layer *out,
                int32_t cap, int32_t *n, struct bk_error *err);
};

/** An instance of a space plugin as other parts see it. Borrowed from the host. */
struct bk_space {
    const struct bk_space_iface *iface;
    void *state;
    const char *name;
    struct bk_space_info info;
};

/* ---- derived from the interface, for every space -------------------------------------------------- */

/** "74" <-> {7, 4}. Errors: BK_EINVAL */
BK_API int bk_path_parse(const char *text, struct bk_path *out, struct bk_error *err) BK_MUST_USE;
BK_API void bk_path_format(const struct bk_path *path, char buf[BK_MAX_LAYERS + 1]);
BK_API bool bk_path_equal(const struct bk_path *a, const struct bk_path *b);

/** All complete paths of a block, in lexicographic order of choices(); *out from bk_alloc. Errors: BK_ENOMEM, BK_EINVAL over 2^22 paths */
BK_API int bk_space_paths(const struct bk_space *s, int32_t block, int32_t entry,
                          struct bk_path **out, size_t *n, struct bk_error *err) BK_MUST_USE;
/** Is `path` complete and legal? BK_EINVAL with the first bad layer otherwise. */
BK_API int bk_space_check_path(const struct bk_space *s, int32_t block, int32_t entry,
                               const struct bk_path *path, struct bk_error *err) BK_MUST_USE;
/** Entry of `block` when the blocks before take prefix[0..block-1]. */
BK_API int32_t bk_space_entry(const struct bk_space *s, int32_t block,
                              const struct bk_path *prefix);
/** Cost of a whole architecture. */
BK_API int bk_space_cost(const struct bk_space *s, const struct bk_arch *arch,
                         int32_t n_classes, struct bk_cost *out,
                         struct bk_error *err) BK_MUST_USE;
/** Parse an architecture's text and check it, see check(). */
BK_API int bk_space_parse(const struct bk_space *s, const char *text, struct bk_arch *out,
                          struct bk_error *err) BK_MUST_USE;
BK_API int bk_space_format(const struct bk_space *s, const struct bk_arch *arch, char *buf,
                           size_t size, struct bk_error *err) BK_MUST_USE;
/** Run all layers of a block along `path`. */
BK_API int bk_space_run_block(const struct bk_space *s, struct bk_forward *f, int32_t block,
                              int32_t entry, const struct bk_path *path, struct bk_tensor *x,
                              struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;
/** Run blocks 0..n_blocks-1 along prefix[], from images [N,H,W,3]; n_blocks = 0: the images themselves. */
BK_API int bk_space_run_prefix(const struct bk_space *s, struct bk_forward *f, int32_t n_blocks,
                               const struct bk_path *prefix, struct bk_tensor *images,
                               struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;
/** An architecture drawn uniformly choice by choice. */
BK_API int bk_space_sample(const struct bk_space *s, uint64_t seed, uint64_t index,
                           struct bk_arch *out, struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

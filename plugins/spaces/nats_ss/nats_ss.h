/*
 * The NATS-Bench size space (Dong et al., TPAMI 2021; Li et al., BossNAS, ICCV 2021): shared by the three files of the
 * plugin. An architecture is five widths c0:c1:c2:c3:c4; "cell" g (0..4) is one layer of a block: cells 0, 2, 4 are
 * normal, 1 and 3 are reductions. A choice digit is the position of a width in the option `widths`.
 *
 * Not here: anything about training or rating.
 */
#ifndef BOSSKIT_NATS_SS_H
#define BOSSKIT_NATS_SS_H

#include <bosskit/space.h>

enum { N_CELLS = 5, MAX_WIDTHS = 36, N_CELL_CONVS = 6, INPUT_SIZE = 32 };

/* Convolutions of a cell; a reduction uses CONV_A, CONV_B, CONV_SHORTCUT and, in the supernet, holds CONV_UNUSED. */
enum { CONV_F1, CONV_F2, CONV_F3, CONV_F4, CONV_F5, CONV_SKIP };
enum { CONV_A = 0, CONV_B = 1, CONV_SHORTCUT = 2, CONV_UNUSED = 3 };

/* Slots of a cell. norm is the first of n_widths norms (4 slots each) in the supernet, the only one when alone; -1: absent. */
struct cell_slots {
    int32_t conv[N_CELL_CONVS], norm[N_CELL_CONVS];
};

struct nats_ss {
    /* options */
    int32_t division;
    struct bk_ints widths;
    int64_t pooled_width;
    /* set by init */
    int32_t n_widths, width[MAX_WIDTHS], max_width;
    int32_t n_blocks, first_cell[4];            /* first_cell[n_blocks] = N_CELLS */
    int32_t stem_conv, stem_norm;               /* slots of the supernet */
    struct cell_slots cell[N_CELLS];
    int32_t adapter_conv[3][MAX_WIDTHS], adapter_norm[3][MAX_WIDTHS];
};

/* Slots of a stand-alone network: a function of which cells change their width. */
struct alone_slots {
    int32_t stem_conv, stem_norm, head_norm, fc;
    struct cell_slots cell[N_CELLS];
};

static inline bool is_reduction(int32_t cell)
{
    return cell == 1 || cell == 3;
}

/* Side of a cell's output. */
static inline int32_t cell_side(int32_t cell)
{
    return cell == 0 ? INPUT_SIZE : cell <= 2 ? INPUT_SIZE / 2 : INPUT_SIZE / 4;
}

/* Widths of an architecture; BK_EINVAL when a block's path has the wrong length or an unknown digit. */
int arch_widths(const struct nats_ss *s, const struct bk_arch *arch, int32_t width[N_CELLS], struct bk_error *err);

/* nats_ss_net.c: add the slots to `net`, or only number them when net is NULL. */
int build_supernet(struct nats_ss *s, struct bk_net *net, struct bk_error *err);
int build_alone(const int32_t width[N_CELLS], int32_t n_classes, struct bk_net *net, struct alone_slots *slots,
                struct bk_error *err);

/* nats_ss_run.c */
int run_layer(void *state, struct bk_forward *f, int32_t block, int32_t entry, const struct bk_path *path,
              struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err);
int run_pool(void *state, struct bk_forward *f, int32_t block, const struct bk_path *path, struct bk_tensor *x,
             struct bk_tensor **y, struct bk_error *err);
int run_alone(void *state, struct bk_forward *f, const struct bk_arch *arch, int32_t n_classes,
              struct bk_tensor *images, struct bk_tensor **logits, struct bk_error *err);

#endif

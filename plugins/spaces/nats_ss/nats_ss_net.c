/*
 * Descriptions of the NATS-SS networks: which slots the slimmable supernet and a stand-alone network have.
 *
 * The supernet holds every kernel once at the largest width; narrower layers use its leading slice. Norms are
 * switchable: one per output width at every position (slimmable networks, Yu et al., ICLR 2019). The released
 * supernet's reduction cells also hold a 1x1 convolution with norms that no path uses; it is kept so that parameter
 * counts agree.
 *
 * Not here: what the networks compute (nats_ss_run.c).
 */
#include "nats_ss.h"

#include <math.h>
#include <stdio.h>

/* Adds slots to a net, or counts what it would add when there is none: numbers are then known without a net. */
struct builder {
    struct bk_net *net;
    int32_t next;
    uint32_t part, norm_flags;
    int32_t block;
    struct bk_error *err;
};

static int add_conv(struct builder *b, const char *name, int64_t co, int64_t k, int64_t ci, int32_t *id)
{
    *id = b->next++;
    return b->net ? bk_net_conv(b->net, name, b->part, b->block, co, k, ci, &(int32_t){ 0 }, b->err) : BK_OK;
}

static int add_norm(struct builder *b, const char *name, int64_t channels, int32_t *id)
{
    *id = b->next;
    b->next += 4;
    return b->net ? bk_net_norm(b->net, name, b->part, b->block, channels, b->norm_flags, &(int32_t){ 0 }, b->err)
                  : BK_OK;
}

/* A norm for every width; *id is the first. */
static int add_switchable_norm(struct builder *b, const struct nats_ss *s, const char *name, int32_t *id)
{
    int32_t first = b->next;
    for (int32_t d = 0; d < s->n_widths; d++) {
        char full[80];
        snprintf(full, sizeof full, "%s.norm%d", name, (int)s->width[d]);
        BK_TRY(add_norm(b, full, s->width[d], &(int32_t){ 0 }));
    }
    *id = first;
    return BK_OK;
}

static const char *const normal_conv[N_CELL_CONVS] = { "f1", "f2", "f3", "f4", "f5", "skip" };
static const char *const reduction_conv[4] = { "conv_a", "conv_b", "shortcut", "unused" };

static void clear_cell(struct cell_slots *c)
{
    for (int i = 0; i < N_CELL_CONVS; i++)
        c->conv[i] = c->norm[i] = -1;
}

static int supernet_cell(struct builder *b, const struct nats_ss *s, int32_t g, struct cell_slots *c)
{
    bool reduction = is_reduction(g);
    int n = reduction ? 4 : N_CELL_CONVS;
    clear_cell(c);
    for (int i = 0; i < n; i++) {
        bool pointwise = reduction ? i >= CONV_SHORTCUT : i == CONV_SKIP;
        char name[64];
        snprintf(name, sizeof name, "block%d.cell%d.%s", (int)b->block, (int)g,
                 reduction ? reduction_conv[i] : normal_conv[i]);
        BK_TRY(add_conv(b, name, s->max_width, pointwise ? 1 : 3, s->max_width, &c->conv[i]));
        if (!(reduction && i == CONV_SHORTCUT))
            BK_TRY(add_switchable_norm(b, s, name, &c->norm[i]));
    }
    return BK_OK;
}

static int supernet_adapters(struct builder *b, struct nats_ss *s, int32_t block)
{
    for (int32_t d = 0; d < s->n_widths; d++) {
        char name[64];
        snprintf(name, sizeof name, "adapter%d.width%d", (int)block, (int)s->width[d]);
        BK_TRY(add_conv(b, name, s->pooled_width, 1, s->width[d], &s->adapter_conv[block][d]));
        snprintf(name, sizeof name, "adapter%d.width%d.norm", (int)block, (int)s->width[d]);
        BK_TRY(add_norm(b, name, s->pooled_width, &s->adapter_norm[block][d]));
    }
    return BK_OK;
}

int build_supernet(struct nats_ss *s, struct bk_net *net, struct bk_error *err)
{
    struct builder b = { net, 0, BK_PART_BACKBONE, BK_SLOT_BY_NAME_ADAPTED, 0, err };
    BK_TRY(add_conv(&b, "block0.stem", s->max_width, 3, 3, &s->stem_conv));
    BK_TRY(add_switchable_norm(&b, s, "block0.stem", &s->stem_norm));
    for (int32_t k = 0; k < s->n_blocks; k++) {
        b.block = k;
        for (int32_t g = s->first_cell[k]; g < s->first_cell[k + 1]; g++)
            BK_TRY(supernet_cell(&b, s, g, &s->cell[g]));
    }
    b.part = BK_PART_ADAPTER;
    for (int32_t k = 0; k < s->n_blocks; k++) {
        b.block = k;
        BK_TRY(supernet_adapters(&b, s, k));
    }
    return BK_OK;
}

static int alone_cell(struct builder *b, int32_t g, int32_t ci, int32_t co, struct cell_slots *c)
{
    bool reduction = is_reduction(g);
    int n = reduction ? 3 : ci == co ? CONV_SKIP : N_CELL_CONVS;
    clear_cell(c);
    for (int i = 0; i < n; i++) {
        bool pointwise = i == (reduction ? (int)CONV_SHORTCUT : (int)CONV_SKIP);
        bool from_input = pointwise || i == CONV_F1 || (!reduction && i == CONV_F2);
        char name[64];
        snprintf(name, sizeof name, "cell%d.%s", (int)g, reduction ? reduction_conv[i] : normal_conv[i]);
        BK_TRY(add_conv(b, name, co, pointwise ? 1 : 3, from_input ? ci : co, &c->conv[i]));
        if (reduction && pointwise)
            continue;
        snprintf(name, sizeof name, "cell%d.%s.norm", (int)g, reduction ? reduction_conv[i] : normal_conv[i]);
        BK_TRY(add_norm(b, name, co, &c->norm[i]));
    }
    return BK_OK;
}

int build_alone(const int32_t width[N_CELLS], int32_t n_classes, struct bk_net *net, struct alone_slots *slots,
                struct bk_error *err)
{
    struct builder b = { net, 0, BK_PART_BACKBONE, 0, -1, err };
    BK_TRY(add_conv(&b, "stem", width[0], 3, 3, &slots->stem_conv));
    BK_TRY(add_norm(&b, "stem.norm", width[0], &slots->stem_norm));
    for (int32_t g = 0; g < N_CELLS; g++)
        BK_TRY(alone_cell(&b, g, width[g ? g - 1 : 0], width[g], &slots->cell[g]));
    int32_t last = width[N_CELLS - 1];
    BK_TRY(add_norm(&b, "head.norm", last, &slots->head_norm));
    slots->fc = b.next;
    double bound = 1 / sqrt((double)last);      /* PyTorch's default for weight and bias of a linear map */
    return net ? bk_net_linear(net, "classifier", BK_PART_CLASSIFIER, -1, n_classes, last, BK_INIT_UNIFORM, bound,
                               BK_INIT_UNIFORM, bound, &(int32_t){ 0 }, err)
               : BK_OK;
}

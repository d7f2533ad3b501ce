/*
 * HyTra's supernet. Every layer of a block holds all operations of the depths the block has. An operation has an entry
 * at its own scale and, unless it is the block's largest scale, one from twice its map; they share all but the first
 * convolution, PEG, the first norm and the shortcut. The first layer of block 0 is entered from the stem through a
 * down-sampler for each depth (depthwise k x k of stride k, 1x1, BN) that leaves C/4 channels; it has no other entries.
 * The release keeps down-sampling entries there too, 49,742,336 parameters that no path reaches.
 *
 * Adapters bring 256, 512 and 1024 channels to 2048: depthwise r x r of stride r, 1x1, BN, no activation.
 *
 * Entries are chosen by depth, so images of any side that is a multiple of 32 will do.
 */
#include "hytra.h"

#include <stdio.h>
#include <string.h>

static struct style supernet_style(const struct hytra *s)
{
    return (struct style){ .activation = BK_ACT_RELU, .reversed = s->attention == ATTENTION_UNTRANSPOSED };
}

/* Depthwise k x k of stride k. */
static struct conv_form patch(int32_t k)
{
    return (struct conv_form){ k, k, 0, true, false };
}

static int32_t entry_width(const struct hytra *s, int32_t block, int32_t layer, int32_t depth, int entry)
{
    if (entry == ENTRY_DOWN)
        return width_of(s, depth + 1);
    return block == 0 && layer == 0 ? width_of(s, depth) / 4 : width_of(s, depth);
}

static struct operation supernet_operation(const struct hytra *s, int32_t block, int32_t layer, int32_t op, int entry)
{
    return operation_of(s, op, entry_width(s, block, layer, op_depth(op), entry), entry == ENTRY_DOWN ? 2 : 1);
}

static void name_operation(struct walk *w, int32_t block, int32_t layer, int32_t op, const char *part)
{
    snprintf(w->name, sizeof w->name, "block%d.layer%d.op%d%s", (int)block, (int)layer, (int)op, part);
}

/* ---- walks ----------------------------------------------------------------------------------------------------------- */

static int walk_entry_down_sampler(struct walk *w, const struct hytra *s, int32_t depth, struct map *m)
{
    static const struct conv_form pointwise = { 1, 1, 0, false, false };
    struct conv_form down = patch(8 >> depth);
    snprintf(w->name, sizeof w->name, "block0.entry%d", (int)depth);
    BK_TRY(walk_conv(w, "patch", &down, m->channels, m));
    BK_TRY(walk_conv(w, "project", &pointwise, width_of(s, depth) / 4, m));
    return walk_norm(w, "norm", 0, BK_SLOT_BY_NAME_ADAPTED, m);
}

static int walk_supernet_stem(struct walk *w, const struct hytra *s, struct map *m)
{
    snprintf(w->name, sizeof w->name, "block0");
    return walk_stem(w, (int32_t)s->width / 4, m);
}

/* Layer `layer` with operation `op` entered by `entry`; slots are looked up. */
static int walk_layer(struct walk *w, const struct hytra *s, int32_t block, int32_t layer, int32_t op, int entry, struct map *m)
{
    const struct op_slots *slots = &s->op[block][layer][op];
    struct branches b;
    if (block == 0 && layer == 0) {
        w->next = s->stem_slot;
        BK_TRY(walk_supernet_stem(w, s, m));
        w->next = s->entry_slot[op_depth(op)];
        BK_TRY(walk_entry_down_sampler(w, s, op_depth(op), m));
    }
    struct operation o = supernet_operation(s, block, layer, op, entry);
    name_operation(w, block, layer, op, "");
    w->next = slots->entry[entry];
    BK_TRY(walk_entry(w, &o, m, &b));
    w->next = slots->body;
    return walk_body(w, &o, &b, m);
}

/* ---- description ------------------------------------------------------------------------------------------------------- */

static int build_operation(struct walk *w, struct hytra *s, int32_t layer, int32_t op)
{
    static const char *const names[2] = { ".same", ".down" };
    struct op_slots *slots = &s->op[w->block][layer][op];
    bool first = w->block == 0 && layer == 0, largest = op_depth(op) == s->depths[w->block] - 1;
    struct operation o = { 0 };
    struct branches b = { 0 };
    struct map unused = { 0 };

    slots->entry[ENTRY_DOWN] = -1;
    for (int e = ENTRY_SAME; e <= (first || largest ? ENTRY_SAME : ENTRY_DOWN); e++) {
        o = supernet_operation(s, w->block, layer, op, e);
        slots->entry[e] = w->next;
        name_operation(w, w->block, layer, op, names[e]);
        BK_TRY(walk_entry(w, &o, &(struct map){ .channels = o.in, .side = 2 }, &b));
    }
    slots->body = w->next;
    name_operation(w, w->block, layer, op, "");
    return walk_body(w, &o, &b, &unused);
}

static int build_block(struct walk *w, struct hytra *s, int32_t block)
{
    w->block = block;
    for (int32_t layer = 0; layer < N_LAYERS; layer++)
        for (int32_t op = 0; op < N_OPS; op++) {
            s->op[block][layer][op] = (struct op_slots){ { -1, -1 }, -1 };
            if (op_depth(op) < s->depths[block])
                BK_TRY(build_operation(w, s, layer, op));
        }
    return BK_OK;
}

static int build_entries(struct walk *w, struct hytra *s)
{
    struct map m = { NULL, 3, 64 };
    s->stem_slot = w->next;
    BK_TRY(walk_supernet_stem(w, s, &m));
    for (int32_t depth = 0; depth < N_DEPTHS; depth++) {
        struct map from_stem = m;
        s->entry_slot[depth] = -1;
        if (depth >= s->depths[0])
            continue;
        s->entry_slot[depth] = w->next;
        BK_TRY(walk_entry_down_sampler(w, s, depth, &from_stem));
    }
    return BK_OK;
}

/* The norm belongs to the pooled head that the 1x1 convolution is part of; slots: 0 patch, 1 project, 2 norm. */
static int build_adapter(struct walk *w, struct hytra *s, int32_t block, int32_t depth)
{
    static const struct conv_form pointwise = { 1, 1, 0, false, false };
    int32_t width = width_of(s, depth);
    struct conv_form down = patch(1 << depth);
    struct map m = { NULL, width, 1 << depth };
    s->adapter_slot[block][depth] = w->next;
    snprintf(w->name, sizeof w->name, "adapter%d.width%d", (int)block, (int)width);
    BK_TRY(walk_conv(w, "patch", &down, width, &m));
    BK_TRY(walk_conv(w, "project", &pointwise, width_of(s, 0), &m));
    return walk_norm(w, "norm", 0, BK_SLOT_BY_NAME_ADAPTED, &m);
}

int hytra_build(struct hytra *s, struct bk_net *net, struct bk_error *err)
{
    struct walk w = { .net = net, .style = supernet_style(s), .part = BK_PART_BACKBONE, .err = err };
    BK_TRY(build_entries(&w, s));
    for (int32_t k = 0; k < N_BLOCKS; k++)
        BK_TRY(build_block(&w, s, k));
    w.part = BK_PART_ADAPTER;
    for (w.block = 0; w.block < N_BLOCKS; w.block++)
        for (int32_t depth = 1; depth < N_DEPTHS; depth++)
            BK_TRY(build_adapter(&w, s, w.block, depth));
    return BK_OK;
}

/* ---- running ------------------------------------------------------------------------------------------------------------- */

/* Which entry layer path->n - 1 takes; -1 when the supernet has none. */
static int find_entry(const struct hytra *s, int32_t block, int32_t entry, const struct bk_path *path)
{
    int32_t layer = path->n - 1, op = path->op[layer];
    if (op >= N_OPS)
        return -1;
    int32_t depth = op_depth(op), before = layer ? op_depth(path->op[layer - 1]) : block ? entry - 1 : depth;
    if (before != depth && before != depth + 1)
        return -1;
    int e = before == depth ? ENTRY_SAME : ENTRY_DOWN;
    return s->op[block][layer][op].entry[e] >= 0 ? e : -1;
}

int hytra_layer(void *state, struct bk_forward *f, int32_t block, int32_t entry, const struct bk_path *path,
                struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    const struct hytra *s = state;
    struct walk w = { .f = f, .style = supernet_style(s), .err = err };
    struct map m = { .x = x };
    if (block < 0 || block >= N_BLOCKS || path->n < 1 || path->n > N_LAYERS)
        return bk_fail(err, BK_EINVAL, "block %d has no layer %d", (int)block, (int)path->n - 1);
    int e = find_entry(s, block, entry, path);
    if (e < 0 || x->rank != 4)
        return bk_fail(err, BK_EINVAL, "layer %d of block %d has no such choice", (int)path->n - 1, (int)block);
    if (block == 0 && path->n == 1 && (x->dim[1] % 32 || x->dim[2] % 32))
        return bk_fail(err, BK_ESHAPE, "images of %lld x %lld pixels, legal are multiples of 32", (long long)x->dim[1],
                       (long long)x->dim[2]);
    m.channels = (int32_t)x->dim[3];
    m.side = (int32_t)x->dim[1];
    BK_TRY(walk_layer(&w, s, block, path->n - 1, path->op[path->n - 1], e, &m));
    *y = m.x;
    return BK_OK;
}

int hytra_pool(void *state, struct bk_forward *f, int32_t block, const struct bk_path *path, struct bk_tensor *x,
               struct bk_tensor **y, struct bk_error *err)
{
    const struct hytra *s = state;
    struct walk w = { .f = f, .style = supernet_style(s), .err = err };
    if (block < 0 || block >= N_BLOCKS || path->n < 1 || path->op[path->n - 1] >= N_OPS || x->rank != 4)
        return bk_fail(err, BK_EINVAL, "block %d has no adapter for the end of this path", (int)block);
    int32_t depth = op_depth(path->op[path->n - 1]);
    if (depth == 0)
        return bk_global_pool(f->tape, x, y, err);
    struct conv_form down = patch(1 << depth);
    struct map m = { x, (int32_t)x->dim[3], (int32_t)x->dim[1] };
    w.next = s->adapter_slot[block][depth];
    BK_TRY(walk_conv(&w, "patch", &down, m.channels, &m));
    return bk_forward_pooled_head(f, w.next, w.next + 1, m.x, y, err);
}

int hytra_supernet_macs(const struct hytra *s, const struct bk_arch *arch, double *out, struct bk_error *err)
{
    struct bk_cost cost = { 0, 0, 0 };
    struct walk w = { .cost = &cost, .style = supernet_style(s), .err = err };
    struct map m = { NULL, 3, (int32_t)s->input_size };
    int32_t entry = 0;
    BK_TRY(hytra_check(s, arch, err));
    for (int32_t k = 0; k < N_BLOCKS; k++) {
        struct bk_path part = arch->block[k];
        for (part.n = 1; part.n <= N_LAYERS; part.n++) {
            int e = find_entry(s, k, entry, &part);
            if (e < 0)
                return bk_fail(err, BK_EINVAL, "the supernet has no such layer %d in block %d", part.n - 1, (int)k);
            BK_TRY(walk_layer(&w, s, k, part.n - 1, part.op[part.n - 1], e, &m));
        }
        entry = 1 + op_depth(arch->block[k].op[N_LAYERS - 1]);
    }
    *out = cost.macs;
    return BK_OK;
}

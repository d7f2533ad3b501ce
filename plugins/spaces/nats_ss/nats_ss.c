/*
 * Space "nats_ss": the NATS-Bench size space, 8^5 = 32,768 architectures "c0:c1:c2:c3:c4" on 32x32 images, cut into
 * three blocks as BossNAS does: [stem, cell 0, cell 1] [cell 2, cell 3] [cell 4] for CIFAR-10, and
 * [stem, cell 0, cell 1] [cell 2] [cell 3, cell 4] for CIFAR-100. The entry of a block is the digit of the last width
 * before it. A shorter list of `widths` makes a smaller space of the same kind.
 *
 * This file: options, the tree of choices, text, costs and the descriptor. Networks are in nats_ss_net.c and
 * nats_ss_run.c.
 */
#include "nats_ss.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DIVISION_CIFAR10 = 1, DIVISION_CIFAR100 = 2 };

static const struct bk_choice divisions[] = { { "cifar10", DIVISION_CIFAR10 },
                                              { "cifar100", DIVISION_CIFAR100 },
                                              { NULL, 0 } };

/* clang-format off */
static const struct bk_opt options[] = {
    BK_ENUM("division", struct nats_ss, division, DIVISION_CIFAR10, divisions, "cells of each block: 2,2,1 (cifar10) or 2,1,2 (cifar100)"),
    BK_INTS("widths", struct nats_ss, widths, "8,16,24,32,40,48,56,64", 1, 1024, "channels", "candidate widths of every layer, ascending"),
    BK_INT ("pooled_width", struct nats_ss, pooled_width, 2048, 1, 65536, "channels", "common width behind the adapters"),
    BK_OPT_END
};
/* clang-format on */

static int init(void *state, const struct bk_host *host, struct bk_error *err)
{
    static const int32_t cells[3][4] = { { 0, 0, 0, 0 }, { 0, 2, 4, N_CELLS }, { 0, 2, 3, N_CELLS } };
    struct nats_ss *s = state;
    (void)host;
    if (s->widths.n < 1 || s->widths.n > MAX_WIDTHS)
        return bk_fail(err, BK_EINVAL, "widths has %lld entries, legal are 1..%d", (long long)s->widths.n, MAX_WIDTHS);
    s->n_widths = (int32_t)s->widths.n;
    for (int32_t d = 0; d < s->n_widths; d++) {
        s->width[d] = (int32_t)s->widths.at[d];
        if (d && s->width[d] <= s->width[d - 1])
            return bk_fail(err, BK_EINVAL, "widths must ascend, but %d follows %d", (int)s->width[d],
                           (int)s->width[d - 1]);
    }
    s->max_width = s->width[s->n_widths - 1];
    s->n_blocks = 3;
    memcpy(s->first_cell, cells[s->division], sizeof s->first_cell);
    return build_supernet(s, NULL, err);
}

/* ---- the tree of choices ---------------------------------------------------------------------- */

static int32_t n_layers(const struct nats_ss *s, int32_t block)
{
    return s->first_cell[block + 1] - s->first_cell[block];
}

static int info(const void *state, struct bk_space_info *out, struct bk_error *err)
{
    const struct nats_ss *s = state;
    (void)err;
    out->n_blocks = s->n_blocks;
    for (int32_t k = 0; k < s->n_blocks; k++) {
        out->max_layers[k] = n_layers(s, k);
        out->pooled_width[k] = (int32_t)s->pooled_width;
    }
    out->input_size = INPUT_SIZE;
    out->log10_size = N_CELLS * log10((double)s->n_widths);
    out->counter = "NATS-Bench";
    return BK_OK;
}

static int choices(const void *state, int32_t block, int32_t entry, const struct bk_path *prefix,
                   uint8_t out[BK_MAX_CHOICES], int32_t *n)
{
    const struct nats_ss *s = state;
    if (block < 0 || block >= s->n_blocks || entry < 0 || entry >= s->n_widths)
        return BK_EINVAL;
    *n = prefix->n < n_layers(s, block) ? s->n_widths : 0;
    for (int32_t d = 0; d < *n; d++)
        out[d] = (uint8_t)d;
    return BK_OK;
}

static int32_t exit_of(const void *state, int32_t block, int32_t entry, const struct bk_path *path)
{
    (void)state;
    (void)block;
    return path->n ? path->op[path->n - 1] : entry;
}

int arch_widths(const struct nats_ss *s, const struct bk_arch *arch, int32_t width[N_CELLS], struct bk_error *err)
{
    int32_t g = 0;
    if (arch->n_blocks != (uint32_t)s->n_blocks)
        return bk_fail(err, BK_EINVAL, "an architecture of this space has %d blocks, not %u", (int)s->n_blocks,
                       (unsigned)arch->n_blocks);
    for (int32_t k = 0; k < s->n_blocks; k++) {
        if (arch->block[k].n != n_layers(s, k))
            return bk_fail(err, BK_EINVAL, "block %d has %d layers, not %d", (int)k, (int)n_layers(s, k),
                           (int)arch->block[k].n);
        for (int32_t i = 0; i < arch->block[k].n; i++) {
            if (arch->block[k].op[i] >= s->n_widths)
                return bk_fail(err, BK_EINVAL, "choice %d of block %d is outside 0..%d", (int)arch->block[k].op[i],
                               (int)k, (int)s->n_widths - 1);
            width[g++] = s->width[arch->block[k].op[i]];
        }
    }
    return BK_OK;
}

/* ---- text ---------------------------------------------------------------------------------------- */

static int bad_text(const struct nats_ss *s, const char *text, const char *what, struct bk_error *err)
{
    struct bk_text list = BK_TEXT_INIT;
    for (int32_t d = 0; d < s->n_widths; d++)
        bk_text_addf(&list, "%s%d", d ? ", " : "", (int)s->width[d]);
    int rc = bk_fail(err, BK_EINVAL, "architecture '%.60s' %s; legal are five widths 'c0:c1:c2:c3:c4' out of %s", text,
                     what, bk_text_get(&list));
    bk_text_release(&list);
    return rc;
}

/* Reads a width at *p (no sign, no leading zero, so that text and architecture are one to one); -1 when it is none. */
static int32_t read_digit(const struct nats_ss *s, const char **p)
{
    int32_t v = 0;
    const char *start = *p;
    if (*start == '0')
        return -1;
    for (; **p >= '0' && **p <= '9'; (*p)++) {
        if (*p - start >= 6)
            return -1;
        v = v * 10 + (**p - '0');
    }
    for (int32_t d = 0; d < s->n_widths; d++)
        if (s->width[d] == v)
            return d;
    return -1;
}

static int parse(const void *state, const char *text, struct bk_arch *out, struct bk_error *err)
{
    const struct nats_ss *s = state;
    struct bk_arch arch;
    const char *p = text;

    memset(&arch, 0, sizeof arch);
    arch.n_blocks = (uint32_t)s->n_blocks;
    for (int32_t k = 0, g = 0; k < s->n_blocks; k++) {
        arch.block[k].n = (uint8_t)n_layers(s, k);
        for (int32_t i = 0; i < arch.block[k].n; i++, g++) {
            if (g && *p++ != ':')
                return bad_text(s, text, "does not have five widths separated by ':'", err);
            int32_t d = read_digit(s, &p);
            if (d < 0)
                return bad_text(s, text, "has a width that is not in the space", err);
            arch.block[k].op[i] = (uint8_t)d;
        }
    }
    if (*p)
        return bad_text(s, text, "has something after its fifth width", err);
    *out = arch;
    return BK_OK;
}

static int format(const void *state, const struct bk_arch *arch, char *buf, size_t size, struct bk_error *err)
{
    int32_t w[N_CELLS];
    BK_TRY(arch_widths(state, arch, w, err));
    int n = snprintf(buf, size, "%d:%d:%d:%d:%d", (int)w[0], (int)w[1], (int)w[2], (int)w[3], (int)w[4]);
    return n >= 0 && (size_t)n < size ? BK_OK : bk_fail(err, BK_EINVAL, "%zu bytes are too few for an architecture", size);
}

/* ---- costs --------------------------------------------------------------------------------------- */

/* A convolution k x k and, with `norm`, the norm behind it. The benchmark counts no norms and no activations. */
static void add_conv_cost(struct bk_cost *c, double ci, double co, double k, double side, bool norm)
{
    c->params += k * k * ci * co + (norm ? 2 * co : 0);
    c->macs += k * k * ci * co * side * side;
}

static void add_cell_cost(struct bk_cost *c, int32_t g, double a, double b)
{
    double side = cell_side(g);
    add_conv_cost(c, a, b, 3, side, true);
    if (is_reduction(g)) {
        add_conv_cost(c, b, b, 3, side, true);
        add_conv_cost(c, a, b, 1, side, false);
        return;
    }
    add_conv_cost(c, a, b, 3, side, true);
    for (int i = 0; i < 3; i++)
        add_conv_cost(c, b, b, 3, side, true);
    if (a != b)
        add_conv_cost(c, a, b, 1, side, true);
}

static int cost(const void *state, int32_t block, int32_t entry, const struct bk_path *path, int32_t n_classes,
                struct bk_cost *out, struct bk_error *err)
{
    const struct nats_ss *s = state;
    struct bk_cost c = { 0, 0, 0 };
    if (block < 0 || block > s->n_blocks || entry < 0 || entry >= s->n_widths)
        return bk_fail(err, BK_EINVAL, "there is no block %d with entry %d", (int)block, (int)entry);
    if (block == s->n_blocks) {
        double w = s->width[entry];
        c.params = 2 * w + (w + 1) * n_classes;
        c.macs = w * n_classes;
        c.counter = c.macs + n_classes;         /* the bias adds one a class */
        *out = c;
        return BK_OK;
    }
    if (path->n != n_layers(s, block))
        return bk_fail(err, BK_EINVAL, "block %d has %d layers, not %d", (int)block, (int)n_layers(s, block), (int)path->n);
    int32_t before = block ? entry : path->op[0];
    for (int32_t i = 0; i < path->n; i++) {
        if (path->op[i] >= s->n_widths || before >= s->n_widths)
            return bk_fail(err, BK_EINVAL, "layer %d of block %d has no such choice", (int)i, (int)block);
        if (block == 0 && i == 0)
            add_conv_cost(&c, 3, s->width[before], 3, INPUT_SIZE, true);
        add_cell_cost(&c, s->first_cell[block] + i, s->width[before], s->width[path->op[i]]);
        before = path->op[i];
    }
    c.counter = c.macs;
    *out = c;
    return BK_OK;
}

static int score(const void *state, const char *name, const struct bk_arch *arch, double *out, struct bk_error *err)
{
    int32_t w[N_CELLS], sum = 0;
    if (strcmp(name, "width_sum") != 0)
        return bk_fail(err, BK_ENOTFOUND, "space 'nats_ss' has no score '%s', legal: width_sum", name);
    BK_TRY(arch_widths(state, arch, w, err));
    for (int g = 0; g < N_CELLS; g++)
        sum += w[g];
    *out = sum;
    return BK_OK;
}

/* What distinguishes two layers is their width; the label tells the reductions apart. */
static int draw(const void *state, const struct bk_arch *arch, struct bk_drawn_layer *out, int32_t cap, int32_t *n,
                struct bk_error *err)
{
    const struct nats_ss *s = state;
    int32_t w[N_CELLS], block = 0;
    BK_TRY(arch_widths(s, arch, w, err));
    if (cap < N_CELLS)
        return bk_fail(err, BK_EINVAL, "an architecture of this space has %d layers, there is room for %d", N_CELLS, (int)cap);
    for (int32_t g = 0; g < N_CELLS; g++) {
        block += g == s->first_cell[block + 1];
        out[g] = (struct bk_drawn_layer){ .block = block, .scale = INPUT_SIZE / cell_side(g), .width = w[g] };
        snprintf(out[g].label, sizeof out[g].label, is_reduction(g) ? "reduction" : "cell");
    }
    *n = N_CELLS;
    return BK_OK;
}

/* ---- networks -------------------------------------------------------------------------------------- */

static int supernet(void *state, struct bk_net *net, struct bk_error *err)
{
    if (net->n)
        return bk_fail(err, BK_ESTATE, "a supernet is described in an empty net, this one has %d slots", (int)net->n);
    return build_supernet(state, net, err);
}

static int alone(void *state, const struct bk_arch *arch, int32_t n_classes, struct bk_net *net, struct bk_error *err)
{
    int32_t width[N_CELLS];
    struct alone_slots slots;
    if (net->n)
        return bk_fail(err, BK_ESTATE, "a network is described in an empty net, this one has %d slots", (int)net->n);
    BK_TRY(arch_widths(state, arch, width, err));
    return build_alone(width, n_classes, net, &slots, err);
}

static const struct bk_space_iface iface = {
    .struct_size = sizeof iface,
    .info = info,
    .choices = choices,
    .exit = exit_of,
    .parse = parse,
    .format = format,
    .cost = cost,
    .supernet = supernet,
    .layer = run_layer,
    .pool = run_pool,
    .alone = alone,
    .alone_run = run_alone,
    .score = score,
    .draw = draw,
};

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_SPACE,
    .name = "nats_ss",
    .version = "1.0.0",
    .summary = "NATS-Bench size space: five widths of a CIFAR network, slimmable supernet",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct nats_ss),
    .init = init,
    .iface = &iface,
};

BK_MODULE(&plugin);

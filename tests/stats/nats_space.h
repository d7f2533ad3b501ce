/**
 * tests/stats/nats_space.h: the NATS-Bench size space without networks: names, legality and closed-form costs.
 *
 * Written from the published description (five widths of 8..64, blocks (c0, c1), (c2, c3), (c4)), independently of the
 * plugin, so that tables can be tested without it and the plugin's costs have something to be compared with.
 */
#ifndef BK_TESTS_NATS_SPACE_H
#define BK_TESTS_NATS_SPACE_H

#include <bosskit/space.h>
#include <stdio.h>
#include <string.h>

static const int nats_layers[] = { 2, 2, 1 };

static int nats_info(const void *state, struct bk_space_info *out, struct bk_error *err)
{
    (void)state;
    (void)err;
    out->n_blocks = 3;
    for (int i = 0; i < 3; i++)
        out->max_layers[i] = nats_layers[i];
    out->input_size = 32;
    out->log10_size = 4.515;
    out->counter = "NATS-Bench";
    return BK_OK;
}

static int nats_choices(const void *state, int32_t block, int32_t entry, const struct bk_path *prefix,
                        uint8_t out[BK_MAX_CHOICES], int32_t *n)
{
    (void)state;
    (void)entry;
    *n = prefix->n < nats_layers[block] ? 8 : 0;
    for (int i = 0; i < *n; i++)
        out[i] = (uint8_t)i;
    return BK_OK;
}

static int32_t nats_exit(const void *state, int32_t block, int32_t entry, const struct bk_path *path)
{
    (void)state;
    (void)block;
    (void)entry;
    return path->op[path->n - 1];
}

static int nats_parse(const void *state, const char *text, struct bk_arch *out, struct bk_error *err)
{
    int c[5], end = 0;

    (void)state;
    if (sscanf(text, "%d:%d:%d:%d:%d%n", &c[0], &c[1], &c[2], &c[3], &c[4], &end) != 5 || text[end])
        return bk_fail(err, BK_EINVAL, "architecture '%s' is not a:b:c:d:e", text);
    memset(out, 0, sizeof *out);
    out->n_blocks = 3;
    for (int i = 0, k = 0; k < 3; k++) {
        out->block[k].n = (uint8_t)nats_layers[k];
        for (int j = 0; j < nats_layers[k]; j++, i++) {
            if (c[i] < 8 || c[i] > 64 || c[i] % 8)
                return bk_fail(err, BK_EINVAL, "architecture '%s': width %d, legal: 8, 16 .. 64", text,
                               c[i]);
            out->block[k].op[j] = (uint8_t)(c[i] / 8 - 1);
        }
    }
    return BK_OK;
}

static int nats_format(const void *state, const struct bk_arch *a, char *buf, size_t size,
                       struct bk_error *err)
{
    (void)state;
    (void)err;
    snprintf(buf, size, "%d:%d:%d:%d:%d", 8 * a->block[0].op[0] + 8, 8 * a->block[0].op[1] + 8,
             8 * a->block[1].op[0] + 8, 8 * a->block[1].op[1] + 8, 8 * a->block[2].op[0] + 8);
    return BK_OK;
}

/* Parameters of cells from a to b channels, batch-norm included. */
static double nats_normal(double a, double b)
{
    return 2 * (9 * a * b + 2 * b) + 3 * (9 * b * b + 2 * b) + (a == b ? 0 : a * b + 2 * b);
}

static double nats_reduction(double a, double b)
{
    return 9 * a * b + 2 * b + 9 * b * b + 2 * b + a * b;
}

static int nats_cost(const void *state, int32_t block, int32_t entry, const struct bk_path *path,
                     int32_t n_classes, struct bk_cost *out, struct bk_error *err)
{
    double in = 8 * entry + 8, a = path ? 8 * path->op[0] + 8 : 0;
    double b = path && path->n > 1 ? 8 * path->op[1] + 8 : 0;

    (void)state;
    (void)err;
    memset(out, 0, sizeof *out);
    if (block == 0)
        out->params = 27 * a + 2 * a + nats_normal(a, a) + nats_reduction(a, b);
    else if (block == 1)
        out->params = nats_normal(in, a) + nats_reduction(a, b);
    else if (block == 2)
        out->params = nats_normal(in, a);
    else
        out->params = 2 * in + (in + 1) * n_classes;
    return BK_OK;
}

static const struct bk_space_iface nats_iface = {
    .struct_size = sizeof(struct bk_space_iface),
    .info = nats_info,
    .choices = nats_choices,
    .exit = nats_exit,
    .parse = nats_parse,
    .format = nats_format,
    .cost = nats_cost,
};

static inline struct bk_space nats_space(void)
{
    struct bk_space s = { .iface = &nats_iface, .name = "nats", .info = { .struct_size = sizeof s.info } };

    nats_info(NULL, &s.info, NULL);
    return s;
}

#endif

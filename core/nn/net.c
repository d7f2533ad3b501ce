/*
 * nn/net.c: descriptions of networks: slots with names, shapes, roles and initial distributions.
 *
 * Pure data; no device and no values (weights.c). Names are searched linearly: nets have some thousand slots at most
 * and are built once a stage.
 */
#include <bosskit/net.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int check_slot(const struct bk_net *net, const struct bk_slot *s, struct bk_error *err)
{
    if (!*s->name || !memchr(s->name, '\0', sizeof s->name))
        return bk_fail(err, BK_EINVAL, "slot %" PRId32 ": its name is empty or over %zu characters",
                       net->n, sizeof s->name - 1);
    if (bk_net_find(net, s->name) >= 0)
        return bk_fail(err, BK_EINVAL, "slot '%s' exists already", s->name);
    if (s->role < BK_ROLE_WEIGHT || s->role > BK_ROLE_RUNNING_VAR)
        return bk_fail(err, BK_EINVAL, "slot '%s': unknown role %" PRIu32, s->name, s->role);
    if (s->part < BK_PART_BACKBONE || s->part > BK_PART_CLASSIFIER)
        return bk_fail(err, BK_EINVAL, "slot '%s': unknown part %" PRIu32, s->name, s->part);
    if (s->init < BK_INIT_ZERO || s->init > BK_INIT_NORMAL)
        return bk_fail(err, BK_EINVAL, "slot '%s': unknown initial distribution %" PRIu32, s->name,
                       s->init);
    if (!isfinite(s->init_scale) || s->init_scale < 0)
        return bk_fail(err, BK_EINVAL, "slot '%s': initial scale %g is not a number >= 0", s->name,
                       s->init_scale);
    if (s->rank < 1 || s->rank > 4)
        return bk_fail(err, BK_EINVAL, "slot '%s': rank %" PRIu32 " is outside 1..4", s->name,
                       s->rank);
    for (uint32_t i = 0; i < s->rank; i++)
        if (s->dim[i] < 1 || s->dim[i] > INT32_MAX)
            return bk_fail(err, BK_EINVAL, "slot '%s': dimension %" PRIu32 " is %" PRId64
                           ", legal: 1..2147483647", s->name, i, s->dim[i]);
    return BK_OK;
}

int bk_net_add(struct bk_net *net, const struct bk_slot *slot, int32_t *id, struct bk_error *err)
{
    BK_TRY(check_slot(net, slot, err));
    if (net->n == net->cap) {
        int32_t cap = net->cap ? net->cap * 2 : 64;
        struct bk_slot *p = bk_realloc(net->slot, (size_t)cap * sizeof *p);
        if (!p)
            return bk_fail(err, BK_ENOMEM, "slot '%s': out of memory", slot->name);
        net->slot = p;
        net->cap = cap;
    }
    net->slot[net->n] = *slot;
    *id = net->n++;
    return BK_OK;
}

int32_t bk_net_find(const struct bk_net *net, const char *name)
{
    for (int32_t i = 0; i < net->n; i++)
        if (!strcmp(net->slot[i].name, name))
            return i;
    return -1;
}

void bk_net_release(struct bk_net *net)
{
    if (!net)
        return;
    bk_free(net->slot);
    *net = (struct bk_net)BK_NET_INIT;
}

int64_t bk_net_count(const struct bk_net *net, uint32_t part, int32_t block)
{
    int64_t total = 0;

    for (int32_t i = 0; i < net->n; i++) {
        const struct bk_slot *s = &net->slot[i];
        if (s->role == BK_ROLE_RUNNING_MEAN || s->role == BK_ROLE_RUNNING_VAR ||
            (part && s->part != part) || (block != -2 && s->block != block))
            continue;
        int64_t n = 1;
        for (uint32_t d = 0; d < s->rank; d++)
            n *= s->dim[d];
        total += n;
    }
    return total;
}

/* ---- modules ----------------------------------------------------------------------------------------- */

/* Append "<name><suffix>" with the other fields of `s`. */
static int add_named(struct bk_net *net, struct bk_slot s, const char *name, const char *suffix,
                     int32_t *id, struct bk_error *err)
{
    int n = snprintf(s.name, sizeof s.name, "%s%s", name, suffix);

    if (n < 0 || (size_t)n >= sizeof s.name)
        return bk_fail(err, BK_EINVAL, "slot '%s%s': its name is over %zu characters", name, suffix,
                       sizeof s.name - 1);
    return bk_net_add(net, &s, id, err);
}

int bk_net_conv(struct bk_net *net, const char *name, uint32_t part, int32_t block, int64_t co,
                int64_t k, int64_t ci_per_group, int32_t *id, struct bk_error *err)
{
    struct bk_slot s = { .role = BK_ROLE_WEIGHT, .part = part, .rank = 4, .block = block,
                         .init = BK_INIT_UNIFORM, .dim = { co, k, k, ci_per_group } };

    /* Kaiming-uniform with a = sqrt(5) is U(+-1/sqrt(fan_in)) (PyTorch's reset_parameters()). */
    if (k > 0 && ci_per_group > 0)
        s.init_scale = 1 / sqrt((double)k * (double)k * (double)ci_per_group);
    return add_named(net, s, name, ".weight", id, err);
}

int bk_net_norm(struct bk_net *net, const char *name, uint32_t part, int32_t block,
                int64_t channels, uint32_t flags, int32_t *id, struct bk_error *err)
{
    static const struct {
        const char *suffix;
        uint32_t role, init;
    } member[] = {
        { ".scale", BK_ROLE_NORM_SCALE, BK_INIT_ONE },
        { ".offset", BK_ROLE_NORM_OFFSET, BK_INIT_ZERO },
        { ".running_mean", BK_ROLE_RUNNING_MEAN, BK_INIT_ZERO },
        { ".running_var", BK_ROLE_RUNNING_VAR, BK_INIT_ONE },
    };
    int32_t n_before = net->n, one;

    for (size_t i = 0; i < BK_ARRAY_LEN(member); i++) {
        struct bk_slot s = { .role = member[i].role, .part = part, .rank = 1,
                             .init = member[i].init, .flags = i ? 0 : flags, .block = block,
                             .dim = { channels } };
        int rc = add_named(net, s, name, member[i].suffix, &one, err);
        if (rc) {
            net->n = n_before;
            return rc;
        }
    }
    *id = n_before;
    return BK_OK;
}

int bk_net_linear(struct bk_net *net, const char *name, uint32_t part, int32_t block, int64_t o,
                  int64_t i, uint32_t weight_init, double weight_scale, uint32_t bias_init,
                  double bias_scale, int32_t *id, struct bk_error *err)
{
    struct bk_slot weight = { .role = BK_ROLE_WEIGHT, .part = part, .rank = 2, .block = block,
                              .init = weight_init, .dim = { o, i }, .init_scale = weight_scale };
    struct bk_slot bias = { .role = BK_ROLE_BIAS, .part = part, .rank = 1, .block = block,
                            .init = bias_init, .dim = { o }, .init_scale = bias_scale };
    int32_t first, second;

    BK_TRY(add_named(net, weight, name, ".weight", &first, err));
    int rc = add_named(net, bias, name, ".bias", &second, err);
    if (rc) {
        net->n--;
        return rc;
    }
    *id = first;
    return BK_OK;
}

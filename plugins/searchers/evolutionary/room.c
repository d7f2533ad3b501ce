/*
 * Limits on whole architectures seen from one block: the other blocks are taken at their cheapest, each cost on its own,
 * so a path is refused only when no architecture with it could be within the limits. Blocks are enumerated entry by entry.
 */
#include "evolutionary.h"

#include <math.h>
#include <string.h>

static void add(double to[N_COSTS], const struct bk_cost *c)
{
    to[0] += c->params;
    to[1] += c->macs;
    to[2] += c->counter;
}

static int path_cost(const struct room *r, int32_t block, int32_t entry, const struct bk_path *path, double out[N_COSTS],
                     struct bk_error *err)
{
    struct bk_cost c;
    memset(out, 0, N_COSTS * sizeof *out);
    BK_TRY(r->space->iface->cost(r->space->state, block, entry, path, r->n_classes, &c, err));
    add(out, &c);
    return BK_OK;
}

static int keep_floor(struct room *r, const struct floor *f, struct bk_error *err)
{
    if (r->n_floors == r->cap_floors) {
        int32_t cap = r->cap_floors ? 2 * r->cap_floors : 64;
        struct floor *p = bk_realloc(r->floor, (size_t)cap * sizeof *p);
        if (!p)
            return bk_fail(err, BK_ENOMEM, "out of memory for the costs of %d entries", (int)cap);
        r->floor = p;
        r->cap_floors = cap;
    }
    r->floor[r->n_floors++] = *f;
    return BK_OK;
}

/** Least cost of `block` and all after it; recursion as deep as the space has blocks. */
static int floor_of(struct room *r, int32_t block, int32_t entry, double out[N_COSTS], struct bk_error *err)
{
    const struct bk_space *s = r->space;
    struct floor f = { block, entry, { INFINITY, INFINITY, INFINITY } };
    struct bk_path *path = NULL;
    size_t n = 0;
    int rc = BK_OK;

    for (int32_t i = 0; i < r->n_floors; i++) {
        if (r->floor[i].block == block && r->floor[i].entry == entry) {
            memcpy(out, r->floor[i].cost, sizeof f.cost);
            return BK_OK;
        }
    }
    if (block == s->info.n_blocks)
        BK_TRY(path_cost(r, block, entry, NULL, f.cost, err));
    else
        BK_TRY(bk_space_paths(s, block, entry, &path, &n, err));
    for (size_t i = 0; i < n && !rc; i++) {
        double own[N_COSTS], rest[N_COSTS];
        rc = path_cost(r, block, entry, &path[i], own, err);
        if (!rc)
            rc = floor_of(r, block + 1, s->iface->exit(s->state, block, entry, &path[i]), rest, err);
        for (int c = 0; c < N_COSTS && !rc; c++)
            f.cost[c] = fmin(f.cost[c], own[c] + rest[c]);
    }
    bk_free(path);
    if (!rc)
        rc = keep_floor(r, &f, err);
    if (!rc)
        memcpy(out, f.cost, sizeof f.cost);
    return rc;
}

/** Least cost of blocks `block`..r->block-1 from `entry` to the entry of r->block; INFINITY: no way. */
static int cost_before(struct room *r, int32_t block, int32_t entry, double out[N_COSTS], struct bk_error *err)
{
    const struct bk_space *s = r->space;
    double best[N_COSTS] = { INFINITY, INFINITY, INFINITY };
    struct bk_path *path = NULL;
    struct room memo = { 0 };           /* exits that were followed already */
    size_t n = 0;
    int rc = BK_OK;

    if (block == r->block) {
        for (int c = 0; c < N_COSTS; c++)
            out[c] = entry == r->entry ? 0 : INFINITY;
        return BK_OK;
    }
    BK_TRY(bk_space_paths(s, block, entry, &path, &n, err));
    for (size_t i = 0; i < n && !rc; i++) {
        struct floor f = { block + 1, s->iface->exit(s->state, block, entry, &path[i]), { 0 } };
        double own[N_COSTS];
        int32_t j = 0;
        while (j < memo.n_floors && memo.floor[j].entry != f.entry)
            j++;
        if (j == memo.n_floors) {
            rc = cost_before(r, f.block, f.entry, f.cost, err);
            if (!rc)
                rc = keep_floor(&memo, &f, err);
        }
        if (!rc)
            rc = path_cost(r, block, entry, &path[i], own, err);
        for (int c = 0; c < N_COSTS && !rc; c++)
            best[c] = fmin(best[c], own[c] + memo.floor[j].cost[c]);
    }
    bk_free(path);
    bk_free(memo.floor);
    memcpy(out, best, sizeof best);
    return rc;
}

bool room_is_limited(const struct room *r)
{
    return isfinite(r->limit[0]) || isfinite(r->limit[1]) || isfinite(r->limit[2]);
}

int room_init(struct room *r, const struct bk_env *env, const double limit[N_COSTS], struct bk_error *err)
{
    memset(r, 0, sizeof *r);
    r->space = env->space;
    r->n_classes = env->data ? env->data->info.n_classes : 10;
    r->block = env->block;
    r->entry = env->entry;
    memcpy(r->limit, limit, sizeof r->limit);
    return room_is_limited(r) ? cost_before(r, 0, 0, r->before, err) : BK_OK;
}

void room_release(struct room *r)
{
    bk_free(r->floor);
    memset(r, 0, sizeof *r);
}

/** Least cost of whole architectures with this path of the block. */
static int total(struct room *r, const struct bk_path *path, double out[N_COSTS], struct bk_error *err)
{
    const struct bk_space *s = r->space;
    double rest[N_COSTS];
    BK_TRY(path_cost(r, r->block, r->entry, path, out, err));
    BK_TRY(floor_of(r, r->block + 1, s->iface->exit(s->state, r->block, r->entry, path), rest, err));
    for (int c = 0; c < N_COSTS; c++)
        out[c] += r->before[c] + rest[c];
    return BK_OK;
}

int room_has(struct room *r, const struct bk_path *path, bool *yes, struct bk_error *err)
{
    double cost[N_COSTS];
    *yes = true;
    if (!room_is_limited(r))
        return BK_OK;
    BK_TRY(total(r, path, cost, err));
    for (int c = 0; c < N_COSTS; c++)
        *yes = *yes && cost[c] <= r->limit[c];
    return BK_OK;
}

int room_cheapest(struct room *r, struct bk_path *out, struct bk_error *err)
{
    struct bk_path *path = NULL;
    double least = INFINITY, cost[N_COSTS];
    int which = isfinite(r->limit[0]) ? 0 : isfinite(r->limit[1]) ? 1 : 2;
    size_t n = 0;
    BK_TRY(bk_space_paths(r->space, r->block, r->entry, &path, &n, err));
    int rc = BK_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        bool yes = false;
        rc = room_has(r, &path[i], &yes, err);
        if (!rc && yes)
            rc = total(r, &path[i], cost, err);
        if (!rc && yes && cost[which] < least) {
            least = cost[which];
            *out = path[i];
        }
    }
    bk_free(path);
    if (!rc && !isfinite(least))
        rc = bk_fail(err, BK_ENOTFOUND, "no path of block %d of space '%s' can be within the limits", (int)r->block,
                     r->space->name);
    return rc;
}

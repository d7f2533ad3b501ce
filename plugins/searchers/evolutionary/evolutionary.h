/*
 * Shared by the two files of searcher "evolutionary": cost limits of one block when the other blocks are at their
 * cheapest (room.c), and the evolution itself (evolutionary.c).
 */
#ifndef BOSSKIT_EVOLUTIONARY_H
#define BOSSKIT_EVOLUTIONARY_H

#include <bosskit/method.h>

enum { N_COSTS = 3 };

/** The least cost of the blocks from `block` on when it is entered at `entry`, each cost on its own. */
struct floor {
    int32_t block, entry;
    double cost[N_COSTS];
};

/** What is left for a path of one block under limits on whole architectures. */
struct room {
    const struct bk_space *space;
    int32_t n_classes, block, entry;
    double limit[N_COSTS];              /* INFINITY: none */
    double before[N_COSTS];             /* least cost of the blocks before that lead to the entry */
    struct floor *floor;                /* found so far */
    int32_t n_floors, cap_floors;
};

/** Release with room_release(), also after a failure. Without limits nothing is computed. */
int room_init(struct room *r, const struct bk_env *env, const double limit[N_COSTS], struct bk_error *err);
void room_release(struct room *r);
bool room_is_limited(const struct room *r);
/** Can a whole architecture with this path of the block be within the limits? */
int room_has(struct room *r, const struct bk_path *path, bool *yes, struct bk_error *err);
/** The path that leaves most of the first limited cost to the other blocks. Errors: BK_ENOTFOUND none is within */
int room_cheapest(struct room *r, struct bk_path *out, struct bk_error *err);

#endif

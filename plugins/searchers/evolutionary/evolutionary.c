/*
 * Searcher "evolutionary": block by block, a population of paths that are rated together, so that the centre a rating is
 * relative to is the ensemble of the current population (BossNAS, Li et al., ICCV 2021, section 3.3). Ratings of
 * different generations are not comparable: every generation is rated anew, parents and offspring together, and the best
 * `population` of them stay. The last generation is the population alone; what it scores is final.
 *
 * Parents win tournaments; a child takes each layer from its second parent with probability `crossover` and a random
 * choice with probability `mutation`; what the space does not allow there is drawn anew. Limits: a path is rejected when no
 * architecture with it could be within them, the other blocks at their cheapest; the cheapest path always stays, so
 * that the blocks can be combined. When the population holds every path of a block, one generation says all there is to
 * say, and it is what "traversal" would be given.
 *
 * Not here: rating; the combination of the blocks is bk_search_exact()'s.
 */
#include "evolutionary.h"

#include <bosskit/random.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TRIES = 20000, MAX_WALKED = 1 << 20 };

struct member {
    struct bk_path path;
    double loss;                /* the score, negated where higher is better */
    uint32_t born;              /* of equals the elder stays */
    bool stays;                 /* the cheapest path */
};

struct evolutionary {
    /* options */
    int64_t population, offspring, tournament, generations;
    double mutation, crossover, max_params, max_macs, max_counter;
    /* of the block that is searched */
    const struct bk_env *env;
    uint32_t better;
    struct room room;
    struct member *member;      /* room for population + offspring */
    size_t n, n_asked;          /* members; how many were asked for last */
    int64_t generation;         /* told so far */
    bool is_complete;           /* the population is all that the block has within the limits */
    bool is_last;               /* the generation that was asked for is the last one */
    struct bk_random random;
    uint32_t n_born;
};

/* clang-format off */
static const struct bk_opt options[] = {
    BK_INT ("population",  struct evolutionary, population,  64, 1, BK_MAX_GENERATION / 2, "paths", "of a block that live at a time"),
    BK_INT ("offspring",   struct evolutionary, offspring,   32, 1, BK_MAX_GENERATION / 2, "paths", "new ones a generation"),
    BK_INT ("tournament",  struct evolutionary, tournament,  16, 1, BK_MAX_GENERATION, "paths", "drawn for a parent, of which the best is it"),
    BK_INT ("generations", struct evolutionary, generations, 20, 0, 1000000, "generations", "with offspring"),
    BK_REAL("mutation",    struct evolutionary, mutation,    0.1, 0, 1, "", "probability of a random choice, a layer"),
    BK_REAL("crossover",   struct evolutionary, crossover,   0.5, 0, 1, "", "probability of the second parent's choice, a layer"),
    BK_REAL("max_params",  struct evolutionary, max_params,  0, 0, 1e18, "parameters", "most parameters; 0: no limit"),
    BK_REAL("max_macs",    struct evolutionary, max_macs,    0, 0, 1e18, "multiply-accumulates", "most multiply-accumulates; 0: no limit"),
    BK_REAL("max_counter", struct evolutionary, max_counter, 0, 0, 1e18, "multiply-adds", "the same by the space's published counter; 0: no limit"),
    BK_OPT_END
};
/* clang-format on */

static void set_limits(const struct evolutionary *e, double limit[N_COSTS])
{
    const double max[N_COSTS] = { e->max_params, e->max_macs, e->max_counter };
    for (int c = 0; c < N_COSTS; c++)
        limit[c] = max[c] > 0 ? max[c] : INFINITY;
}

/* ---- members ---------------------------------------------------------------------------------------------- */

static bool is_member(const struct evolutionary *e, const struct bk_path *path)
{
    for (size_t i = 0; i < e->n; i++)
        if (bk_path_equal(&e->member[i].path, path))
            return true;
    return false;
}

static void add_member(struct evolutionary *e, const struct bk_path *path)
{
    e->member[e->n++] = (struct member){ .path = *path, .loss = INFINITY, .born = e->n_born++ };
}

static int choices_after(const struct evolutionary *e, const struct bk_path *prefix, uint8_t out[BK_MAX_CHOICES], int32_t *n,
                         struct bk_error *err)
{
    const struct bk_space *s = e->env->space;
    int rc = s->iface->choices(s->state, e->env->block, e->env->entry, prefix, out, n);
    if (!rc && *n >= 0 && *n <= BK_MAX_CHOICES && (*n == 0 || prefix->n < BK_MAX_LAYERS))
        return BK_OK;
    return bk_fail(err, rc ? rc : BK_EPLUGIN, "space '%s' has no choices for block %d", s->name, (int)e->env->block);
}

/* Take every path of the block in until there are more than `population`; *walked counts leaves. */
static int enumerate(struct evolutionary *e, struct bk_path *prefix, int64_t *walked, struct bk_error *err)
{
    uint8_t choice[BK_MAX_CHOICES];
    int32_t n;
    bool yes;

    BK_TRY(choices_after(e, prefix, choice, &n, err));
    if (n == 0) {
        ++*walked;
        BK_TRY(room_has(&e->room, prefix, &yes, err));
        if (yes)
            add_member(e, prefix);
        return BK_OK;
    }
    for (int32_t i = 0; i < n && e->n <= (size_t)e->population && *walked < MAX_WALKED; i++) {
        prefix->op[prefix->n++] = choice[i];
        BK_TRY(enumerate(e, prefix, walked, err));
        prefix->n--;
    }
    return BK_OK;
}

/*
 * A path layer by layer: `wish` says what a layer shall be (NULL, or a choice that is not legal there: any), mutations
 * aside.
 */
static int grow(struct evolutionary *e, const struct bk_path *a, const struct bk_path *b, struct bk_path *out,
                struct bk_error *err)
{
    uint8_t choice[BK_MAX_CHOICES];
    int32_t n;

    memset(out, 0, sizeof *out);
    for (;;) {
        BK_TRY(choices_after(e, out, choice, &n, err));
        if (n == 0)
            return BK_OK;
        int layer = out->n;
        uint8_t op = choice[bk_random_below(&e->random, (uint32_t)n)];
        const struct bk_path *from = a && bk_random_f64(&e->random) < e->crossover ? b : a;
        bool mutates = !a || bk_random_f64(&e->random) < e->mutation;
        for (int32_t i = 0; i < n && !mutates && layer < from->n; i++) {
            if (choice[i] == from->op[layer])
                op = choice[i];
        }
        out->op[out->n++] = op;
    }
}

static const struct bk_path *choose_parent(struct evolutionary *e, size_t n)
{
    const struct member *best = NULL;
    for (int64_t i = 0; i < e->tournament; i++) {
        const struct member *m = &e->member[bk_random_below(&e->random, (uint32_t)n)];
        if (!best || m->loss < best->loss || (m->loss == best->loss && m->born < best->born))
            best = m;
    }
    return &best->path;
}

/* Add up to `wanted` new members, random ones or children of the first `n_parents`. Fewer when nothing new is found. */
static int breed(struct evolutionary *e, int64_t wanted, size_t n_parents, struct bk_error *err)
{
    for (int tries = 0; wanted > 0 && tries < MAX_TRIES; tries++) {
        struct bk_path path;
        bool yes = false;
        const struct bk_path *a = n_parents ? choose_parent(e, n_parents) : NULL;
        const struct bk_path *b = n_parents ? choose_parent(e, n_parents) : NULL;
        BK_TRY(grow(e, a, b, &path, err));
        if (!is_member(e, &path))
            BK_TRY(room_has(&e->room, &path, &yes, err));
        if (!yes)
            continue;
        add_member(e, &path);
        wanted--;
        tries = 0;
    }
    return BK_OK;
}

/* ---- a block ----------------------------------------------------------------------------------------------- */

static void release(void *state)
{
    struct evolutionary *e = state;
    room_release(&e->room);
    bk_free(e->member);
    e->member = NULL;
    e->env = NULL;
    e->n = 0;
}

/* All paths when they fit into the population, else random ones and the cheapest. */
static int first_generation(struct evolutionary *e, struct bk_error *err)
{
    struct bk_path path = { 0 };
    int64_t walked = 0;

    BK_TRY(enumerate(e, &path, &walked, err));
    e->is_complete = e->n <= (size_t)e->population && walked < MAX_WALKED;
    if (!e->is_complete) {
        e->n = 0;
        if (room_is_limited(&e->room)) {
            BK_TRY(room_cheapest(&e->room, &path, err));
            add_member(e, &path);
            e->member[0].stays = true;
        }
        BK_TRY(breed(e, e->population - (int64_t)e->n, 0, err));
    }
    return e->n ? BK_OK : bk_fail(err, BK_ENOTFOUND, "no path of block %d can be within the limits", (int)e->env->block);
}

static int begin_block(void *state, const struct bk_env *env, uint32_t better, struct bk_error *err)
{
    struct evolutionary *e = state;
    double limit[N_COSTS];

    release(e);
    e->env = env;
    e->better = better;
    e->generation = 0;
    e->is_last = false;
    e->n_born = 0;
    e->n_asked = 0;
    bk_random_init(&e->random, env->seed, bk_random_stream("evolutionary"), 0, (uint32_t)env->block);
    e->member = bk_zalloc((size_t)(e->population + e->offspring + 1) * sizeof *e->member);
    if (!e->member)
        return bk_fail(err, BK_ENOMEM, "out of memory for a population");
    set_limits(e, limit);
    BK_TRY(room_init(&e->room, env, limit, err));
    return first_generation(e, err);
}

static int compare_members(const void *pa, const void *pb)
{
    const struct member *a = pa, *b = pb;
    if (a->stays != b->stays)
        return a->stays ? -1 : 1;
    if (a->loss != b->loss)
        return a->loss < b->loss ? -1 : 1;
    return a->born < b->born ? -1 : a->born > b->born;
}

static int ask_paths(void *state, struct bk_path out[BK_MAX_GENERATION], size_t *n, struct bk_error *err)
{
    struct evolutionary *e = state;
    if (!e->env)
        return bk_fail(err, BK_ESTATE, "no block is searched");
    *n = 0;
    if (e->is_last)
        return BK_OK;
    e->is_last = e->is_complete || e->generation >= e->generations + (e->generations > 0);
    if (!e->is_last && e->generation > 0)
        BK_TRY(breed(e, e->offspring, e->n, err));
    for (size_t i = 0; i < e->n; i++)
        out[i] = e->member[i].path;
    *n = e->n_asked = e->n;
    return BK_OK;
}

static int tell_paths(void *state, const struct bk_path *path, const double *score, size_t n, struct bk_error *err)
{
    struct evolutionary *e = state;
    if (!e->env || n != e->n_asked)
        return bk_fail(err, BK_ESTATE, "scores of %zu paths, %zu were asked for", n, e->n_asked);
    for (size_t i = 0; i < n; i++) {
        if (!bk_path_equal(&path[i], &e->member[i].path))
            return bk_fail(err, BK_ESTATE, "score %zu is of another path than was asked for", i);
        e->member[i].loss = e->better == BK_HIGHER_IS_BETTER ? -score[i] : score[i];
    }
    e->generation++;
    if (e->is_complete)
        return BK_OK;
    qsort(e->member, e->n, sizeof *e->member, compare_members);
    if (e->n > (size_t)e->population)
        e->n = (size_t)e->population;
    return BK_OK;
}

static int solve(void *state, const struct bk_search_task *task, struct bk_found *out, struct bk_error *err)
{
    double limit[N_COSTS];
    set_limits(state, limit);
    return bk_search_exact(task, limit, out, err);
}

static const struct bk_searcher_iface iface = {
    .struct_size = sizeof iface,
    .solve = solve,
    .begin_block = begin_block,
    .ask_paths = ask_paths,
    .tell_paths = tell_paths,
};

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_SEARCHER,
    .name = "evolutionary",
    .version = "1.0.0",
    .summary = "evolution block by block; a population is rated with itself as the centre",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct evolutionary),
    .free = release,
    .iface = &iface,
};

BK_MODULE(&plugin);

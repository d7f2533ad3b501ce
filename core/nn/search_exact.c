/*
 * nn/search_exact.c: the best architecture of a whole space by summed block scores, exactly, under limits on parameters,
 * multiply-accumulates and a cost of the searcher's own.
 *
 * Scores and costs add up over blocks, and what one block does to the next is its exit alone. So partial architectures
 * are extended block by block, and of those that leave a block through the same exit only the non-dominated ones in
 * (score, limited costs) are kept: nothing that is dropped could be part of a better solution. Without limits one
 * partial architecture an exit remains.
 *
 * A path that is legal but has no score in the block's table is left out. Not for scores that do not add up.
 */
#include <bosskit/method.h>

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { EXTRA = 3, N_COSTS = 4, COMPACT_AT = 1 << 18 };

/* A partial architecture: blocks 0..k-1. `loss` is the score, negated where higher is better. */
struct part {
    double loss, cost[N_COSTS];
    int32_t entry;              /* of block k */
    int32_t before;             /* in the front of the block before */
    uint64_t order;             /* of enumeration: decides ties */
    struct bk_path path;        /* of block k-1 */
};

struct front {
    struct part *at;
    size_t n, cap;
};

struct search {
    const struct bk_search_task *task;
    double limit[N_COSTS];                      /* INFINITY: none */
    int limited[N_COSTS], n_limited;            /* numbers of the limited costs */
    struct front front[BK_MAX_BLOCKS + 1];
    uint64_t order;
    struct bk_error *err;
};

/* ---- scores ------------------------------------------------------------------------------------------- */

static int compare_paths(const struct bk_path *a, const struct bk_path *b)
{
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    return memcmp(a->op, b->op, a->n);
}

struct scored {
    struct bk_path path;
    double loss;
};

static int compare_scored(const void *a, const void *b)
{
    return compare_paths(&((const struct scored *)a)->path, &((const struct scored *)b)->path);
}

/* The block's table sorted by path, as losses; bk_free() it. */
static int sort_table(const struct search *s, int32_t block, struct scored **out)
{
    const struct bk_block_table *t = &s->task->table[block];
    double sign = s->task->better == BK_HIGHER_IS_BETTER ? -1 : 1;
    double weight = s->task->weight ? s->task->weight[block] : 1;
    struct scored *sorted = bk_alloc((t->n ? t->n : 1) * sizeof *sorted);
    if (!sorted)
        return bk_fail(s->err, BK_ENOMEM, "out of memory for %zu scores", t->n);
    for (size_t i = 0; i < t->n; i++) {
        sorted[i].path = t->path[i];
        sorted[i].loss = sign * weight * t->score[i];
        if (!isfinite(sorted[i].loss)) {
            char text[BK_MAX_LAYERS + 1];
            bk_path_format(&t->path[i], text);
            bk_free(sorted);
            return bk_fail(s->err, BK_ENUMERIC, "the score of path '%s' of block %d is not a finite number", text,
                           (int)block);
        }
    }
    qsort(sorted, t->n, sizeof *sorted, compare_scored);
    *out = sorted;
    return BK_OK;
}

/* ---- fronts ------------------------------------------------------------------------------------------- */

static int compare_parts(const void *pa, const void *pb)
{
    const struct part *a = pa, *b = pb;
    if (a->entry != b->entry)
        return a->entry < b->entry ? -1 : 1;
    if (a->loss != b->loss)
        return a->loss < b->loss ? -1 : 1;
    for (int c = 0; c < N_COSTS; c++)
        if (a->cost[c] != b->cost[c])
            return a->cost[c] < b->cost[c] ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

/* Is p no better in any limited cost than one of the kept parts, which all have at most its loss? */
static bool is_dominated(const struct search *s, const struct part *kept, size_t n, const struct part *p)
{
    for (size_t i = n; i-- > 0;) {              /* the last kept is the cheapest so far when one cost is limited */
        int c = 0;
        while (c < s->n_limited && kept[i].cost[s->limited[c]] <= p->cost[s->limited[c]])
            c++;
        if (c == s->n_limited)
            return true;
        if (s->n_limited == 1)
            return false;
    }
    return false;
}

/* Sort by exit and loss, keep the non-dominated parts of every exit. */
static void compact(const struct search *s, struct front *f)
{
    size_t kept = 0, first = 0;
    if (!f->n)
        return;
    qsort(f->at, f->n, sizeof *f->at, compare_parts);
    for (size_t i = 0; i < f->n; i++) {
        if (kept > first && f->at[first].entry != f->at[i].entry)
            first = kept;
        if (kept == first || !is_dominated(s, f->at + first, kept - first, &f->at[i]))
            f->at[kept++] = f->at[i];
    }
    f->n = kept;
}

static int add_part(const struct search *s, struct front *f, const struct part *p)
{
    bool full = f->n == f->cap;
    if (full && f->cap >= COMPACT_AT)
        compact(s, f);
    if (full && f->n >= f->cap / 2) {
        size_t cap = f->cap ? 2 * f->cap : 256;
        struct part *at = bk_realloc(f->at, cap * sizeof *at);
        if (!at)
            return bk_fail(s->err, BK_ENOMEM, "out of memory for %zu partial architectures", cap);
        f->at = at;
        f->cap = cap;
    }
    f->at[f->n++] = *p;
    return BK_OK;
}

static bool is_within(const struct search *s, const struct part *p)
{
    for (int c = 0; c < s->n_limited; c++)
        if (p->cost[s->limited[c]] > s->limit[s->limited[c]])
            return false;
    return true;
}

static void add_cost(struct part *p, const struct bk_cost *c)
{
    p->cost[0] += c->params;
    p->cost[1] += c->macs;
    p->cost[2] += c->counter;
}

static bool has_extra(const struct bk_search_task *t)
{
    return t->struct_size >= offsetof(struct bk_search_task, max_extra) + sizeof t->max_extra && t->extra;
}

/* The task's own cost of a path; 0 without one. */
static int extra_cost(const struct search *s, int32_t block, int32_t entry, const struct bk_path *path, double *out)
{
    const struct bk_search_task *t = s->task;
    *out = 0;
    if (!has_extra(t))
        return BK_OK;
    BK_TRY(t->extra(t->extra_user, block, entry, path, out, s->err));
    if (isfinite(*out) && *out >= 0)
        return BK_OK;
    char text[BK_MAX_LAYERS + 1];
    bk_path_format(path, text);
    return bk_fail(s->err, BK_ENUMERIC, "the cost %g of path '%s' of block %d is not a number >= 0", *out, text, (int)block);
}

/* ---- blocks -------------------------------------------------------------------------------------------- */

/* Extend the parts [first, end) of block's front, which share an entry, by one path of the block. */
static int extend_by(struct search *s, int32_t block, size_t first, size_t end, const struct bk_path *path, double loss)
{
    const struct bk_space *space = s->task->space;
    const struct front *from = &s->front[block];
    int32_t entry = from->at[first].entry;
    int32_t exit = space->iface->exit(space->state, block, entry, path);
    struct bk_cost cost;
    double extra;
    BK_TRY(space->iface->cost(space->state, block, entry, path, s->task->n_classes, &cost, s->err));
    BK_TRY(extra_cost(s, block, entry, path, &extra));
    for (size_t i = first; i < end; i++) {
        struct part p = from->at[i];
        p.loss += loss;
        p.entry = exit;
        p.before = (int32_t)i;
        p.order = s->order++;
        p.path = *path;
        add_cost(&p, &cost);
        p.cost[EXTRA] += extra;
        if (is_within(s, &p))
            BK_TRY(add_part(s, &s->front[block + 1], &p));
    }
    return BK_OK;
}

static int extend_entry(struct search *s, int32_t block, size_t first, size_t end, const struct scored *table)
{
    size_t n_table = s->task->table[block].n, n;
    struct bk_path *path;
    BK_TRY(bk_space_paths(s->task->space, block, s->front[block].at[first].entry, &path, &n, s->err));
    int rc = BK_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        struct scored key = { .path = path[i] };
        const struct scored *found = bsearch(&key, table, n_table, sizeof *table, compare_scored);
        if (found)
            rc = extend_by(s, block, first, end, &path[i], found->loss);
    }
    bk_free(path);
    return rc;
}

static int extend_block(struct search *s, int32_t block)
{
    const struct front *from = &s->front[block];
    struct scored *table = NULL;
    BK_TRY(sort_table(s, block, &table));
    int rc = BK_OK;
    for (size_t first = 0, end; first < from->n && !rc; first = end) {
        for (end = first + 1; end < from->n && from->at[end].entry == from->at[first].entry;)
            end++;
        rc = extend_entry(s, block, first, end, table);
    }
    compact(s, &s->front[block + 1]);
    bk_free(table);
    return rc;
}

/* The best complete architecture once head and classifier are counted; BK_ENOTFOUND when none fits. */
static int pick(struct search *s, struct part *best)
{
    const struct bk_space *space = s->task->space;
    const struct front *f = &s->front[space->info.n_blocks];
    bool any = false;
    for (size_t i = 0; i < f->n; i++) {
        struct part p = f->at[i];
        struct bk_cost rest;
        BK_TRY(space->iface->cost(space->state, space->info.n_blocks, p.entry, NULL, s->task->n_classes, &rest, s->err));
        add_cost(&p, &rest);
        p.entry = 0;                            /* exits no longer matter in comparisons */
        if (is_within(s, &p) && (!any || compare_parts(&p, best) < 0)) {
            *best = p;
            any = true;
        }
    }
    return any ? BK_OK : bk_fail(s->err, BK_ENOTFOUND, "no architecture of space '%s' satisfies the limits", space->name);
}

static void set_limits(struct search *s, const double limit[EXTRA])
{
    for (int c = 0; c < N_COSTS; c++) {
        s->limit[c] = c < EXTRA ? limit[c] : has_extra(s->task) ? s->task->max_extra : INFINITY;
        if (isfinite(s->limit[c]))
            s->limited[s->n_limited++] = c;
    }
}

static int run(struct search *s, struct bk_found *out)
{
    const struct bk_search_task *task = s->task;
    int32_t n_blocks = task->space->info.n_blocks;
    struct part start = { .before = -1 }, best;

    BK_TRY(add_part(s, &s->front[0], &start));
    for (int32_t k = 0; k < n_blocks; k++) {
        if (task->host && task->host->cancelled(task->host->ctx))
            return bk_fail(s->err, BK_EINTERRUPTED, "search interrupted");
        BK_TRY(extend_block(s, k));
    }
    BK_TRY(pick(s, &best));
    memset(out, 0, sizeof *out);
    out->arch.n_blocks = (uint32_t)n_blocks;
    out->score = task->better == BK_HIGHER_IS_BETTER ? -best.loss : best.loss;
    out->cost = (struct bk_cost){ best.cost[0], best.cost[1], best.cost[2] };
    out->extra = best.cost[EXTRA];
    for (int32_t k = n_blocks; k > 0; k--) {
        out->arch.block[k - 1] = best.path;
        best = s->front[k - 1].at[best.before];
    }
    return BK_OK;
}

int bk_search_exact(const struct bk_search_task *task, const double limit[3], struct bk_found *out, struct bk_error *err)
{
    struct search s = { .task = task, .err = err };
    set_limits(&s, limit);
    int rc = run(&s, out);
    for (int k = 0; k <= BK_MAX_BLOCKS; k++)
        bk_free(s.front[k].at);
    return rc;
}

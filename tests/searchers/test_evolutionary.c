/*
 * Searcher "evolutionary" driven as the pipeline drives it, on tables: with a population of all paths it is "traversal";
 * with a smaller one it keeps its promises (different legal paths within the limits, the same for the same seed) and does
 * better than chance. Ratings with a population's own centre are in tests/raters and tests/e2e.
 */
#include "method_fixture.h"
#include <bosskit/random.h>
#include <math.h>

#define EIGHT "widths=[8,16,24,32,40,48,56,64]"

struct run {
    struct fixture f;
    struct bk_space space;
    struct bk_data data;
    struct bk_env env;
    struct bk_block_table table[3];
    size_t generations[3], first[3], most[3];       /* what was asked for */
    struct bk_found found;
};

/* Additive over layers plus noise, so that there is something to inherit. */
static void make_tables(struct run *x, uint64_t seed)
{
    struct bk_error err = BK_ERROR_INIT;
    for (int k = 0; k < x->space.info.n_blocks; k++) {
        struct bk_block_table *t = &x->table[k];
        struct bk_random r;
        bk_random_init(&r, seed, bk_random_stream("test"), 0, (uint32_t)k);
        t->block = k;
        BK_ASSERT_OK(bk_space_paths(&x->space, k, 0, &t->path, &t->n, &err));
        t->score = bk_alloc(t->n * sizeof(double));
        for (size_t i = 0; i < t->n; i++) {
            t->score[i] = 0.05 * bk_random_f64(&r);
            for (int l = 0; l < t->path[i].n; l++)
                t->score[i] -= 0.1 * sin(1.0 + t->path[i].op[l] * 1.3 + l);
        }
    }
}

static void open_run(struct run *x, const char *widths, uint64_t seed)
{
    memset(x, 0, sizeof *x);
    fixture_open(&x->f);
    fixture_space(&x->f, "nats_ss", OPTIONS(widths), &x->space);
    x->data.info.n_classes = 10;
    x->env = (struct bk_env){ .struct_size = sizeof x->env, .space = &x->space, .data = &x->data, .seed = seed };
    make_tables(x, 7);
}

static void close_run(struct run *x)
{
    for (int k = 0; k < 3; k++)
        bk_block_table_release(&x->table[k]);
    fixture_close(&x->f);
}

static double score_of(const struct bk_block_table *t, const struct bk_path *path)
{
    for (size_t i = 0; i < t->n; i++)
        if (bk_path_equal(&t->path[i], path))
            return t->score[i];
    CU_FAIL("a path that does not exist was asked for");
    return 0;
}

static void check_different(const struct bk_path *path, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            CU_ASSERT_FALSE(bk_path_equal(&path[i], &path[j]));
}

/* Search all blocks and combine; the last generations stay in last[]. */
static int search(struct run *x, const char *const *options, uint32_t better, struct bk_block_table last[3])
{
    struct bk_instance *i = fixture_get(&x->f, BK_KIND_SEARCHER, "evolutionary", options);
    const struct bk_searcher_iface *s = bk_instance_iface(i);
    static struct bk_path path[BK_MAX_GENERATION];
    static double score[BK_MAX_GENERATION];
    int rc = BK_OK;

    for (int k = 0; k < 3; k++) {
        x->env.block = k;
        x->generations[k] = x->most[k] = 0;
        rc = s->begin_block(i->state, &x->env, better, &x->f.err);
        for (size_t n = 1; !rc && n;) {
            rc = s->ask_paths(i->state, path, &n, &x->f.err);
            if (rc || !n)
                break;
            check_different(path, n);
            for (size_t p = 0; p < n; p++)
                score[p] = score_of(&x->table[k], &path[p]);
            x->first[k] = x->generations[k]++ ? x->first[k] : n;
            x->most[k] = n > x->most[k] ? n : x->most[k];
            bk_block_table_release(&last[k]);
            last[k] = (struct bk_block_table){ .block = k, .n = n, .path = bk_alloc(n * sizeof *path),
                                               .score = bk_alloc(n * sizeof *score) };
            memcpy(last[k].path, path, n * sizeof *path);
            memcpy(last[k].score, score, n * sizeof *score);
            rc = s->tell_paths(i->state, path, score, n, &x->f.err);
        }
        if (rc)
            break;
    }
    struct bk_search_task task = { .struct_size = sizeof task, .better = better, .space = &x->space, .table = last,
                                   .n_classes = 10 };
    if (!rc)
        rc = s->solve(i->state, &task, &x->found, &x->f.err);
    bk_instance_close(x->f.instance[--x->f.n]);
    return rc;
}

static int traverse(struct run *x, const char *const *options, uint32_t better, struct bk_found *out)
{
    struct bk_instance *i = fixture_get(&x->f, BK_KIND_SEARCHER, "traversal", options);
    const struct bk_searcher_iface *s = bk_instance_iface(i);
    struct bk_search_task task = { .struct_size = sizeof task, .better = better, .space = &x->space, .table = x->table,
                                   .n_classes = 10 };
    int rc = s->solve(i->state, &task, out, &x->f.err);
    bk_instance_close(x->f.instance[--x->f.n]);
    return rc;
}

static void release(struct bk_block_table last[3])
{
    for (int k = 0; k < 3; k++)
        bk_block_table_release(&last[k]);
}

static bool same_arch(const struct bk_arch *a, const struct bk_arch *b)
{
    bool same = a->n_blocks == b->n_blocks;
    for (unsigned k = 0; same && k < a->n_blocks; k++)
        same = bk_path_equal(&a->block[k], &b->block[k]);
    return same;
}

/* A population of at least all paths: one generation a block, and the result of the traversal with and without limits. */
static void test_full_population(void)
{
    static const char *const limits[] = { "max_params=0", "max_params=60000", "max_macs=12e6", "max_counter=20e6" };
    for (size_t l = 0; l < BK_ARRAY_LEN(limits); l++) {
        for (int higher = 0; higher < 2; higher++) {
            uint32_t better = higher ? BK_HIGHER_IS_BETTER : BK_LOWER_IS_BETTER;
            struct bk_block_table last[3] = { { 0 } };
            struct bk_found exact;
            struct run x;
            open_run(&x, EIGHT, 3);
            CU_ASSERT_EQUAL_FATAL(traverse(&x, OPTIONS(limits[l]), better, &exact), BK_OK);
            CU_ASSERT_EQUAL_FATAL(search(&x, OPTIONS("population=64", limits[l]), better, last), BK_OK);
            CU_ASSERT(same_arch(&x.found.arch, &exact.arch));
            CU_ASSERT_EQUAL(x.found.score, exact.score);
            CU_ASSERT_EQUAL(x.found.cost.params, exact.cost.params);
            for (int k = 0; k < 3; k++)
                CU_ASSERT_EQUAL(x.generations[k], 1);
            if (l == 0) {
                CU_ASSERT_EQUAL(last[0].n, 64);
                CU_ASSERT_EQUAL(last[2].n, 8);
            } else {            /* what cannot be within the limits is not rated */
                CU_ASSERT(last[0].n < 64);
            }
            release(last);
            close_run(&x);
        }
    }
}

/* 16 of 64 paths: sizes and numbers of generations are as told, the seed decides, and the result is near the best. */
static void test_evolution(void)
{
    struct bk_block_table last[3] = { { 0 } };
    struct bk_found exact, first = { 0 };
    int n_best = 0;
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct run x;
        open_run(&x, EIGHT, seed);
        CU_ASSERT_EQUAL_FATAL(traverse(&x, NULL, BK_LOWER_IS_BETTER, &exact), BK_OK);
        for (int again = 0; again < 2; again++) {
            CU_ASSERT_EQUAL_FATAL(search(&x, OPTIONS("population=16", "offspring=8", "tournament=4", "generations=6"),
                                         BK_LOWER_IS_BETTER, last),
                                  BK_OK);
            for (int k = 0; k < 2; k++) {
                CU_ASSERT_EQUAL(x.generations[k], 8);   /* the first, six with offspring, the last */
                CU_ASSERT_EQUAL(x.first[k], 16);
                CU_ASSERT_EQUAL(x.most[k], 24);
                CU_ASSERT_EQUAL(last[k].n, 16);
            }
            CU_ASSERT_EQUAL(x.generations[2], 1);       /* eight paths are all of them */
            if (again)
                CU_ASSERT(same_arch(&x.found.arch, &first.arch));
            first = x.found;
        }
        n_best += fabs(first.score - exact.score) < 1e-12;
        CU_ASSERT(first.score < exact.score + 0.05);
        release(last);
        close_run(&x);
    }
    /* blind choice of 16 + 48 of 64 paths would find the best of both blocks in well under all of the runs */
    CU_ASSERT(n_best >= 5);
}

/* Limits by rejection: everything asked for fits with the cheapest rest, and what is found is within them. */
static void test_limits(void)
{
    static const double max_params[] = { 13000, 20000, 60000, 150000 };
    struct bk_error err = BK_ERROR_INIT;
    for (size_t l = 0; l < BK_ARRAY_LEN(max_params); l++) {
        struct bk_block_table last[3] = { { 0 } };
        struct run x;
        char option[64];
        snprintf(option, sizeof option, "max_params=%.1f", max_params[l]);
        open_run(&x, EIGHT, 5);
        int rc = search(&x, OPTIONS("population=12", "offspring=6", "generations=4", option), BK_LOWER_IS_BETTER, last);
        CU_ASSERT_EQUAL(rc, BK_OK);
        if (rc)
            printf("\n    %s\n", x.f.err.text);
        CU_ASSERT(x.found.cost.params <= max_params[l]);
        for (int k = 0; k < 3 && !rc; k++) {
            for (size_t i = 0; i < last[k].n; i++) {
                struct bk_arch arch = { .n_blocks = 3, .block = { { 2, { 0, 0 } }, { 2, { 0, 0 } }, { 1, { 0 } } } };
                struct bk_cost cost;
                arch.block[k] = last[k].path[i];
                BK_ASSERT_OK(bk_space_cost(&x.space, &arch, 10, &cost, &err));
                CU_ASSERT(cost.params <= max_params[l]);
            }
        }
        release(last);
        close_run(&x);
    }
    struct bk_block_table last[3] = { { 0 } };
    struct run x;
    open_run(&x, EIGHT, 5);
    CU_ASSERT_EQUAL(search(&x, OPTIONS("population=12", "max_params=1000"), BK_LOWER_IS_BETTER, last), BK_ENOTFOUND);
    release(last);
    close_run(&x);
}

static void test_misuse(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct run x;
    struct bk_path path[8] = { { 0 } };
    static struct bk_path out[BK_MAX_GENERATION];
    double score[8] = { 0 };
    size_t n;
    open_run(&x, "widths=[8,16]", 1);
    struct bk_instance *i = fixture_get(&x.f, BK_KIND_SEARCHER, "evolutionary", NULL);
    const struct bk_searcher_iface *s = bk_instance_iface(i);
    CU_ASSERT_EQUAL(s->ask_paths(i->state, out, &n, &err), BK_ESTATE);
    BK_ASSERT_OK(s->begin_block(i->state, &x.env, BK_LOWER_IS_BETTER, &err));
    BK_ASSERT_OK(s->ask_paths(i->state, out, &n, &err));
    CU_ASSERT_EQUAL(n, 4);
    CU_ASSERT_EQUAL(s->tell_paths(i->state, out, score, 3, &err), BK_ESTATE);
    CU_ASSERT_EQUAL(s->tell_paths(i->state, path, score, 4, &err), BK_ESTATE);
    BK_ASSERT_OK(s->begin_block(i->state, &x.env, BK_LOWER_IS_BETTER, &err));       /* starts anew */
    BK_ASSERT_OK(s->ask_paths(i->state, out, &n, &err));
    BK_ASSERT_OK(s->tell_paths(i->state, out, score, n, &err));
    BK_ASSERT_OK(s->ask_paths(i->state, out, &n, &err));
    CU_ASSERT_EQUAL(n, 0);
    close_run(&x);
}

BK_SUITE({ "full population", test_full_population }, { "evolution", test_evolution }, { "limits", test_limits },
         { "misuse", test_misuse })

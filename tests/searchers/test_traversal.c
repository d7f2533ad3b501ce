/*
 * Searcher "traversal" against the published search result, and against brute force over whole spaces.
 */
#include "method_fixture.h"
#include <bosskit/file.h>
#include <bosskit/random.h>
#include <bosskit/table.h>
#include <unistd.h>

/* Tables of a space: random scores, some of them equal. */
static void random_tables(struct bk_space *s, uint64_t seed, struct bk_block_table *table)
{
    struct bk_error err = BK_ERROR_INIT;
    for (int k = 0; k < s->info.n_blocks; k++) {
        struct bk_random r;
        bk_random_init(&r, seed, bk_random_stream("test"), 0, (uint32_t)k);
        memset(&table[k], 0, sizeof table[k]);
        table[k].block = k;
        BK_ASSERT_OK(bk_space_paths(s, k, 0, &table[k].path, &table[k].n, &err));
        table[k].score = bk_alloc(table[k].n * sizeof(double));
        for (size_t i = 0; i < table[k].n; i++)
            table[k].score[i] = bk_random_below(&r, 50) / 64. - 3;
    }
}

static void release_tables(struct bk_space *s, struct bk_block_table *table)
{
    for (int k = 0; k < s->info.n_blocks; k++)
        bk_block_table_release(&table[k]);
}

static double score_of(const struct bk_block_table *table, const struct bk_arch *arch, const double *weight)
{
    double sum = 0;
    for (unsigned k = 0; k < arch->n_blocks; k++)
        for (size_t i = 0; i < table[k].n; i++)
            if (bk_path_equal(&table[k].path[i], &arch->block[k]))
                sum += (weight ? weight[k] : 1) * table[k].score[i];
    return sum;
}

struct limits {
    double params, macs, counter;
};

/* Best score over all combinations of the three blocks' paths; false when none fits. */
static bool brute_force(struct bk_space *s, const struct bk_block_table *table, const struct limits *l, bool higher,
                        const double *weight, double *best)
{
    struct bk_error err = BK_ERROR_INIT;
    bool any = false;
    struct bk_arch arch = { .n_blocks = 3 };
    for (size_t a = 0; a < table[0].n; a++)
        for (size_t b = 0; b < table[1].n; b++)
            for (size_t c = 0; c < table[2].n; c++) {
                struct bk_cost cost;
                arch.block[0] = table[0].path[a];
                arch.block[1] = table[1].path[b];
                arch.block[2] = table[2].path[c];
                BK_ASSERT_OK(bk_space_cost(s, &arch, 10, &cost, &err));
                if ((l->params && cost.params > l->params) || (l->macs && cost.macs > l->macs) ||
                    (l->counter && cost.counter > l->counter))
                    continue;
                double w[3] = { weight ? weight[0] : 1, weight ? weight[1] : 1, weight ? weight[2] : 1 };
                double score = w[0] * table[0].score[a] + w[1] * table[1].score[b] + w[2] * table[2].score[c];
                if (!any || (higher ? score > *best : score < *best))
                    *best = score;
                any = true;
            }
    return any;
}

static void compare(struct fixture *f, struct bk_space *s, struct bk_block_table *table, const struct limits *l,
                    bool higher, const double *weight)
{
    char option[3][64];
    struct bk_found found;
    double best = 0;
    snprintf(option[0], 64, "max_params=%.1f", l->params);
    snprintf(option[1], 64, "max_macs=%.1f", l->macs);
    snprintf(option[2], 64, "max_counter=%.1f", l->counter);
    struct bk_instance *i = fixture_get(f, BK_KIND_SEARCHER, "traversal", OPTIONS(option[0], option[1], option[2]));
    const struct bk_searcher_iface *iface = bk_instance_iface(i);
    struct bk_search_task task = { .struct_size = sizeof task,
                                   .better = higher ? BK_HIGHER_IS_BETTER : BK_LOWER_IS_BETTER,
                                   .space = s,
                                   .table = table,
                                   .weight = weight,
                                   .n_classes = 10 };
    bool any = brute_force(s, table, l, higher, weight, &best);
    int rc = iface->solve(i->state, &task, &found, &f->err);
    CU_ASSERT_EQUAL(rc, any ? BK_OK : BK_ENOTFOUND);
    if (rc)
        goto done;
    struct bk_cost cost;
    BK_ASSERT_CLOSE(found.score, best, 1e-12);
    BK_ASSERT_CLOSE(score_of(table, &found.arch, weight), best, 1e-12);
    CU_ASSERT_EQUAL(bk_space_cost(s, &found.arch, 10, &cost, &f->err), BK_OK);
    CU_ASSERT_EQUAL(cost.params, found.cost.params);
    CU_ASSERT_EQUAL(cost.macs, found.cost.macs);
    CU_ASSERT_EQUAL(cost.counter, found.cost.counter);
    CU_ASSERT(!l->params || cost.params <= l->params);
    CU_ASSERT(!l->macs || cost.macs <= l->macs);
    CU_ASSERT(!l->counter || cost.counter <= l->counter);
done:
    bk_instance_close(f->instance[--f->n]);
}

static void test_brute_force(void)
{
    static const struct limits limits[] = { { 0, 0, 0 },       { 60000, 0, 0 },          { 0, 25e6, 0 },
                                            { 0, 0, 14e6 },    { 45000, 20e6, 0 },       { 30000, 14e6, 18e6 },
                                            { 11714, 0, 0 },   { 11713, 0, 0 },          { 50000, 16e6, 15.5e6 } };
    static const double weight[3] = { 1, 0.25, 2 };
    struct fixture f;
    struct bk_space s;
    struct bk_block_table table[3];
    fixture_open(&f);
    fixture_space(&f, "nats_ss", OPTIONS("widths=[8,16,24]"), &s);
    for (uint64_t seed = 0; seed < 6; seed++) {
        random_tables(&s, seed, table);
        for (size_t i = 0; i < BK_ARRAY_LEN(limits); i++)
            compare(&f, &s, table, &limits[i], seed & 1, seed & 2 ? weight : NULL);
        release_tables(&s, table);
    }
    fixture_close(&f);
}

/* ---- HyTra: blocks whose paths depend on the entry ---------------------------------------------------------------- */

/* What a block costs along its paths from one entry, with the scores of its table. */
struct ways {
    struct bk_path *path;
    struct bk_cost *cost;
    double *score;
    size_t n;
};

struct fabric {
    struct bk_space s;
    struct bk_block_table table[4];
    struct ways ways[4][5];             /* [block][entry] */
    struct bk_cost rest;
    double best;
    int64_t n_archs;
};

static double table_score(const struct bk_block_table *t, const struct bk_path *path)
{
    for (size_t i = 0; i < t->n; i++)
        if (bk_path_equal(&t->path[i], path))
            return t->score[i];
    return NAN;
}

/* The table of a block has the paths of all its entries, once; scores are multiples of 1/64. */
static void fill_fabric(struct fabric *x)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_random r;
    bk_random_init(&r, 5, bk_random_stream("fabric"), 0, 0);
    for (int k = 0; k < 4; k++) {
        struct bk_block_table *t = &x->table[k];
        *t = (struct bk_block_table){ .block = k, .path = malloc(1000 * sizeof *t->path), .score = malloc(1000 * sizeof *t->score) };
        for (int e = k ? 1 : 0; e <= (k ? 4 : 0); e++) {
            struct ways *w = &x->ways[k][e];
            if (bk_space_paths(&x->s, k, e, &w->path, &w->n, &err)) {
                w->n = 0;               /* an entry that this block does not have */
                continue;
            }
            w->cost = malloc(w->n * sizeof *w->cost);
            w->score = malloc(w->n * sizeof *w->score);
            for (size_t i = 0; i < w->n; i++) {
                if (isnan(table_score(t, &w->path[i]))) {
                    t->path[t->n] = w->path[i];
                    t->score[t->n++] = bk_random_below(&r, 64) / 64.;
                }
                w->score[i] = table_score(t, &w->path[i]);
                BK_ASSERT_OK(x->s.iface->cost(x->s.state, k, e, &w->path[i], 1000, &w->cost[i], &err));
            }
        }
    }
    BK_ASSERT_OK(x->s.iface->cost(x->s.state, 4, 1, NULL, 1000, &x->rest, &err));
}

static void walk_fabric(struct fabric *x, int block, int entry, double score, struct bk_cost c, const struct limits *l)
{
    if (block == 4) {
        x->n_archs++;
        if ((!l->params || c.params <= l->params) && (!l->macs || c.macs <= l->macs) && (!l->counter || c.counter <= l->counter))
            x->best = fmin(x->best, score);
        return;
    }
    const struct ways *w = &x->ways[block][entry];
    for (size_t i = 0; i < w->n; i++) {
        struct bk_cost sum = { c.params + w->cost[i].params, c.macs + w->cost[i].macs, c.counter + w->cost[i].counter };
        walk_fabric(x, block + 1, x->s.iface->exit(x->s.state, block, entry, &w->path[i]), score + w->score[i], sum, l);
    }
}

/* By brute force over all 1,615,872 architectures of the supernet. */
static void test_hytra(void)
{
    static const struct limits limits[] = { { 0, 0, 0 }, { 0, 3e9, 0 }, { 26e6, 0, 0 }, { 24e6, 3.6e9, 0 }, { 0, 0, 2.6e9 }, { 1e6, 0, 0 } };
    static struct fabric x;
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    char option[3][64];
    double slowest = 0;
    fixture_open(&f);
    fixture_space(&f, "hytra", NULL, &x.s);
    fill_fabric(&x);
    for (size_t i = 0; i < BK_ARRAY_LEN(limits); i++) {
        const struct limits *l = &limits[i];
        struct bk_found found;
        struct bk_cost cost;
        snprintf(option[0], 64, "max_params=%.1f", l->params);
        snprintf(option[1], 64, "max_macs=%.1f", l->macs);
        snprintf(option[2], 64, "max_counter=%.1f", l->counter);
        x.best = INFINITY;
        x.n_archs = 0;
        walk_fabric(&x, 0, 0, 0, x.rest, l);
        struct bk_instance *t = fixture_get(&f, BK_KIND_SEARCHER, "traversal", OPTIONS(option[0], option[1], option[2]));
        const struct bk_searcher_iface *iface = bk_instance_iface(t);
        struct bk_search_task task = { .struct_size = sizeof task, .better = BK_LOWER_IS_BETTER, .space = &x.s, .table = x.table,
                                       .n_classes = 1000 };
        double start = bk_now();
        int rc = iface->solve(t->state, &task, &found, &err);
        slowest = fmax(slowest, bk_now() - start);
        CU_ASSERT_EQUAL(rc, isfinite(x.best) ? BK_OK : BK_ENOTFOUND);
        if (rc == BK_OK) {
            CU_ASSERT_EQUAL(found.score, x.best);
            BK_ASSERT_OK(bk_space_cost(&x.s, &found.arch, 1000, &cost, &err));
            CU_ASSERT(cost.macs == found.cost.macs && cost.params == found.cost.params);
            CU_ASSERT((!l->params || cost.params <= l->params) && (!l->macs || cost.macs <= l->macs));
        }
        bk_instance_close(f.instance[--f.n]);
    }
    CU_ASSERT_EQUAL(x.n_archs, 1615872);
    printf("  1,615,872 architectures in at most %.1f ms ...", 1e3 * slowest);
    for (int k = 0; k < 4; k++) {
        for (int e = 0; e < 5; e++) {
            free(x.ways[k][e].cost);
            free(x.ways[k][e].score);
            bk_free(x.ways[k][e].path);
        }
        free(x.table[k].path);
        free(x.table[k].score);
    }
    fixture_close(&f);
}

/* ---- latencies ---------------------------------------------------------------------------------------------- */

static double milliseconds(int block, int entry, const struct bk_path *path)
{
    struct bk_random r;
    uint64_t code = 0;
    for (int i = 0; i < path->n; i++)
        code = 10 * code + path->op[i];
    bk_random_init(&r, code, bk_random_stream("latency"), (uint64_t)entry, (uint32_t)block);
    return bk_random_below(&r, 64) / 16.;
}

/* A table of the block: of one entry, or (entry < 0) one for all entries, with the numbers of entry 0. */
static void write_latencies(struct bk_space *s, const char *dir, int block, int entry)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_path *path;
    char name[600], text[BK_MAX_LAYERS + 1];
    size_t n;
    int of = entry < 0 ? 0 : entry;
    BK_ASSERT_OK(bk_space_paths(s, block, of, &path, &n, &err));
    if (entry < 0)
        snprintf(name, sizeof name, "%s/latency_%d.csv", dir, block);
    else
        snprintf(name, sizeof name, "%s/latency_%d_%d.csv", dir, block, entry);
    FILE *f = fopen(name, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fprintf(f, "path,score\n");
    for (size_t i = 0; i < n; i++) {
        bk_path_format(&path[i], text);
        fprintf(f, "%s,%.4f\n", text, milliseconds(block, of, &path[i]));
    }
    fclose(f);
    bk_free(path);
}

/* Block 1 has a table for each of its entries, block 2 one for all of them. */
static double latency_of(struct bk_space *s, const struct bk_arch *arch)
{
    double sum = 0;
    for (int k = 0; k < 3; k++)
        sum += milliseconds(k, k == 1 ? bk_space_entry(s, k, arch->block) : 0, &arch->block[k]);
    return sum;
}

static void compare_timed(struct fixture *f, struct bk_space *s, struct bk_block_table *table, const char *dir, double limit,
                          double params)
{
    char option[4][700];
    struct bk_found found;
    double best = INFINITY;
    struct bk_arch arch = { .n_blocks = 3 };
    snprintf(option[0], sizeof option[0], "latency=%s", dir);
    snprintf(option[1], sizeof option[1], "max_latency=%.4f", limit);
    snprintf(option[2], sizeof option[2], "max_params=%.1f", params);
    for (size_t i = 0; i < table[0].n * table[1].n * table[2].n; i++) {
        struct bk_cost cost;
        arch.block[0] = table[0].path[i % table[0].n];
        arch.block[1] = table[1].path[i / table[0].n % table[1].n];
        arch.block[2] = table[2].path[i / table[0].n / table[1].n];
        CU_ASSERT_EQUAL(bk_space_cost(s, &arch, 10, &cost, &f->err), BK_OK);
        if ((!limit || latency_of(s, &arch) + 0.5 <= limit) && (!params || cost.params <= params))
            best = fmin(best, score_of(table, &arch, NULL));
    }
    struct bk_instance *i = fixture_get(f, BK_KIND_SEARCHER, "traversal",
                                        OPTIONS(option[0], option[1], option[2], "latency_base=0.5"));
    const struct bk_searcher_iface *iface = bk_instance_iface(i);
    struct bk_search_task task = { .struct_size = sizeof task, .better = BK_LOWER_IS_BETTER, .space = s, .table = table,
                                   .n_classes = 10 };
    int rc = iface->solve(i->state, &task, &found, &f->err);
    CU_ASSERT_EQUAL(rc, isfinite(best) ? BK_OK : BK_ENOTFOUND);
    if (!rc) {
        BK_ASSERT_CLOSE(found.score, best, 1e-12);
        BK_ASSERT_CLOSE(found.extra, latency_of(s, &found.arch) + 0.5, 1e-12);
        CU_ASSERT(!limit || found.extra <= limit);
    }
    bk_instance_close(f->instance[--f->n]);
}

static void refuse_timed(struct fixture *f, struct bk_space *s, struct bk_block_table *table, const char *dir, int code,
                         const char *what)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_found found;
    char option[700];
    snprintf(option, sizeof option, "latency=%s", dir);
    struct bk_instance *i = fixture_get(f, BK_KIND_SEARCHER, "traversal", OPTIONS(option));
    const struct bk_searcher_iface *iface = bk_instance_iface(i);
    struct bk_search_task task = { .struct_size = sizeof task, .better = BK_LOWER_IS_BETTER, .space = s, .table = table,
                                   .n_classes = 10 };
    CU_ASSERT_EQUAL(iface->solve(i->state, &task, &found, &err), code);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, what));
    bk_instance_close(f->instance[--f->n]);
}

static void test_latency(void)
{
    static const double limit[] = { 0, 1.5, 4, 6, 9, 0.75 };
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    struct bk_block_table table[3];
    char dir[400], name[600];
    fixture_open(&f);
    fixture_space(&f, "nats_ss", OPTIONS("widths=[8,16,24]"), &s);
    snprintf(dir, sizeof dir, "%s/latency-%d", bk_test_env("BK_TEST_BINARY"), (int)getpid());
    BK_ASSERT_OK(bk_make_dirs(dir, &err));
    random_tables(&s, 3, table);
    refuse_timed(&f, &s, table, dir, BK_EDATA, "no latencies of block 0");
    write_latencies(&s, dir, 0, -1);
    write_latencies(&s, dir, 2, -1);
    for (int entry = 0; entry < 3; entry++)
        write_latencies(&s, dir, 1, entry);
    for (size_t i = 0; i < BK_ARRAY_LEN(limit); i++)
        for (int k = 0; k < 2; k++)
            compare_timed(&f, &s, table, dir, limit[i], k ? 40000 : 0);
    snprintf(name, sizeof name, "%s/latency_2.csv", dir);
    FILE *file = fopen(name, "w");
    fprintf(file, "path,score\n0,1\n1,-1\n2,1\n");
    fclose(file);
    refuse_timed(&f, &s, table, dir, BK_ENUMERIC, "the cost -1 of path '1' of block 2");
    CU_ASSERT_PTR_NULL(fixture_try(&f, BK_KIND_SEARCHER, "traversal", OPTIONS("max_latency=3")));
    CU_ASSERT_PTR_NOT_NULL(strstr(f.err.text, "needs the latencies"));
    snprintf(name, sizeof name, "latency=%s", dir);
    CU_ASSERT_PTR_NULL(fixture_try(&f, BK_KIND_SEARCHER, "traversal", OPTIONS(name, "max_latency=3", "latency_base=4")));
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
    release_tables(&s, table);
    fixture_close(&f);
}

static void test_released_tables(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    struct bk_block_table table[3];
    struct bk_found found;
    char path[4096], text[64];
    snprintf(path, sizeof path, "%s/nats_sss/bossnas_path_rank/path_rank_0.yml", bk_test_env("BK_TEST_DATA"));
    FILE *file = fopen(path, "r");
    if (!file)
        BK_SKIP("no released ratings");
    fclose(file);
    fixture_open(&f);
    fixture_space(&f, "nats_ss", NULL, &s);
    for (int k = 0; k < 3; k++) {
        snprintf(path, sizeof path, "%s/nats_sss/bossnas_path_rank/path_rank_%d.yml", bk_test_env("BK_TEST_DATA"), k);
        BK_ASSERT_OK(bk_ratings_read(path, &s, k, 0, &table[k], &err));
    }
    struct bk_instance *i = fixture_get(&f, BK_KIND_SEARCHER, "traversal", NULL);
    const struct bk_searcher_iface *iface = bk_instance_iface(i);
    struct bk_search_task task = { .struct_size = sizeof task, .better = BK_LOWER_IS_BETTER, .space = &s, .table = table,
                                   .n_classes = 10 };
    BK_ASSERT_OK(iface->solve(i->state, &task, &found, &err));
    BK_ASSERT_OK(bk_space_format(&s, &found.arch, text, sizeof text, &err));
    CU_ASSERT_STRING_EQUAL(text, "64:40:48:64:56");     /* the published search result */
    BK_ASSERT_CLOSE(found.score + 12, 2.835000896, 1e-9);
    CU_ASSERT_EQUAL(found.cost.params, 548202);
    CU_ASSERT_EQUAL(found.cost.counter, 240120378);
    struct limits l = { 200000, 0, 60e6 };
    compare(&f, &s, table, &l, false, NULL);
    release_tables(&s, table);
    fixture_close(&f);
}

/* The exact constrained search on the released MBConv ratings; budgets in millions of DNA's counter. */
static void test_released_mbconv(void)
{
    static const struct {
        double budget;
        const char *arch;
        double cost, score, params;
    } rows[] = {
        { 330, "31 2112 2231 2222 2332", 329.979, 3.524118, 4104472 },
        { 350, "11 2112 2331 3222 2332", 349.999, 3.520700, 4115896 },
        { 380, "11 0110 2311 3323 2332", 378.509, 3.518006, 4202008 },
        { 400, "11 0110 0111 3323 2332", 393.504, 3.517143, 4275688 },
        { 405, "11 0110 0111 1223 2332", 402.856, 3.516888, 4333192 },     /* very probably BossNet-M2 */
        { 410, "11 0110 0111 3320 2332", 408.077, 3.516839, 4369096 },
        { 430, "11 0110 0111 1220 2132", 429.142, 3.516403, 4720360 },
        { 450, "11 0110 0111 1120 2132", 446.876, 3.516063, 4829896 },
        { 475, "11 0110 0111 1100 2112", 474.216, 3.515742, 5222440 },
        { 0, "11 0110 0111 1100 0110", 496.345, 3.515576, 5632648 },
    };
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    struct bk_block_table table[5];
    char path[4096], text[64], option[64];
    double slowest = 0;
    snprintf(path, sizeof path, "%s/mbconv_imagenet_23/mbconv23.csv", bk_test_env("BK_TEST_DATA"));
    FILE *file = fopen(path, "r");
    if (!file)
        BK_SKIP("no released ratings");
    fclose(file);
    fixture_open(&f);
    fixture_space(&f, "mbconv", NULL, &s);
    for (int k = 0; k < 5; k++) {
        snprintf(path, sizeof path, "%s/mbconv_imagenet_23/bossnas_path_rank/path_rank_%d.yml", bk_test_env("BK_TEST_DATA"), k);
        BK_ASSERT_OK(bk_ratings_read(path, &s, k, 0, &table[k], &err));
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(rows); i++) {
        struct bk_found found;
        snprintf(option, sizeof option, "max_counter=%.1f", rows[i].budget * 1e6);
        struct bk_instance *t = fixture_get(&f, BK_KIND_SEARCHER, "traversal", OPTIONS(option));
        const struct bk_searcher_iface *iface = bk_instance_iface(t);
        struct bk_search_task task = { .struct_size = sizeof task, .better = BK_LOWER_IS_BETTER, .space = &s,
                                       .table = table, .n_classes = 1000 };
        double start = bk_now();
        BK_ASSERT_OK(iface->solve(t->state, &task, &found, &err));
        slowest = fmax(slowest, bk_now() - start);
        BK_ASSERT_OK(bk_space_format(&s, &found.arch, text, sizeof text, &err));
        CU_ASSERT_STRING_EQUAL(text, rows[i].arch);
        CU_ASSERT(fabs(found.score + 20 - rows[i].score) < 5.1e-7);
        CU_ASSERT(fabs(found.cost.counter / 1e6 - rows[i].cost) < 5.1e-4);
        CU_ASSERT_EQUAL(found.cost.params, rows[i].params);
    }
    printf("  4^18 architectures in at most %.1f ms ...", 1e3 * slowest);
    release_tables(&s, table);
    fixture_close(&f);
}

/*
 * Eighteen layers of four choices in blocks of 2, 4, 4, 4, 4 (the size of the MBConv space) with small integer costs, so
 * that dynamic programming over all values of two budgets is exact, too.
 */
enum { BUDGET = 145 };

static uint32_t hash_cost(int32_t block, int layer, int op, int which)
{
    struct bk_random r;
    bk_random_init(&r, 77, bk_random_stream("cost"), (uint64_t)which, (uint32_t)(block * 64 + layer * 8 + op));
    return bk_random_below(&r, 9);
}

static int big_choices(const void *state, int32_t block, int32_t entry, const struct bk_path *prefix,
                       uint8_t out[BK_MAX_CHOICES], int32_t *n)
{
    (void)state, (void)entry;
    *n = prefix->n < (block ? 4 : 2) ? 4 : 0;
    for (int32_t i = 0; i < *n; i++)
        out[i] = (uint8_t)i;
    return BK_OK;
}

static int32_t big_exit(const void *state, int32_t block, int32_t entry, const struct bk_path *path)
{
    (void)state, (void)block, (void)entry, (void)path;
    return 0;
}

static int big_cost(const void *state, int32_t block, int32_t entry, const struct bk_path *path, int32_t n_classes,
                    struct bk_cost *out, struct bk_error *err)
{
    (void)state, (void)entry, (void)n_classes, (void)err;
    *out = (struct bk_cost){ 0, 0, 0 };
    for (int l = 0; path && l < path->n; l++) {
        out->params += hash_cost(block, l, path->op[l], 0);
        out->macs += hash_cost(block, l, path->op[l], 1);
    }
    return BK_OK;
}

/* best[a][b]: least score with params a and macs b. */
static double two_budgets(struct bk_space *s, const struct bk_block_table *table, int max_params, int max_macs)
{
    static double best[BUDGET][BUDGET], next[BUDGET][BUDGET];
    for (int a = 0; a < BUDGET; a++)
        for (int b = 0; b < BUDGET; b++)
            best[a][b] = a || b ? INFINITY : 0;
    for (int k = 0; k < 5; k++) {
        for (int a = 0; a < BUDGET; a++)
            for (int b = 0; b < BUDGET; b++)
                next[a][b] = INFINITY;
        for (size_t i = 0; i < table[k].n; i++) {
            struct bk_cost c;
            big_cost(NULL, k, 0, &table[k].path[i], 10, &c, NULL);
            for (int a = (int)c.params; a < BUDGET; a++)
                for (int b = (int)c.macs; b < BUDGET; b++)
                    next[a][b] = fmin(next[a][b], best[a - (int)c.params][b - (int)c.macs] + table[k].score[i]);
        }
        memcpy(best, next, sizeof best);
    }
    (void)s;
    double least = INFINITY;
    for (int a = 0; a < BUDGET && (!max_params || a <= max_params); a++)
        for (int b = 0; b < BUDGET && (!max_macs || b <= max_macs); b++)
            least = fmin(least, best[a][b]);
    return least;
}

static void test_large_space(void)
{
    static const struct bk_space_iface big = { .struct_size = sizeof big, .choices = big_choices, .exit = big_exit,
                                               .cost = big_cost };
    static const int limits[][2] = { { 0, 0 }, { 60, 0 }, { 0, 45 }, { 50, 60 }, { 40, 40 }, { 30, 70 } };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_space s = { .iface = &big, .name = "big", .info = { .struct_size = sizeof s.info, .n_blocks = 5,
                                                                 .max_layers = { 2, 4, 4, 4, 4 } } };
    struct bk_block_table table[5];
    struct fixture f;
    fixture_open(&f);
    random_tables(&s, 3, table);
    for (size_t k = 0; k < 5; k++)
        for (size_t i = 0; i < table[k].n; i++)
            table[k].score[i] += 1e-3 * (double)(i * 2654435761u % 1000u) / 1000;
    for (size_t i = 0; i < BK_ARRAY_LEN(limits); i++) {
        char option[2][32];
        struct bk_found found;
        snprintf(option[0], sizeof option[0], "max_params=%d.0", limits[i][0]);
        snprintf(option[1], sizeof option[1], "max_macs=%d.0", limits[i][1]);
        struct bk_instance *t = fixture_get(&f, BK_KIND_SEARCHER, "traversal", OPTIONS(option[0], option[1]));
        const struct bk_searcher_iface *iface = bk_instance_iface(t);
        struct bk_search_task task = { .struct_size = sizeof task, .better = BK_LOWER_IS_BETTER, .space = &s,
                                       .table = table, .n_classes = 10 };
        double start = bk_now();
        BK_ASSERT_OK(iface->solve(t->state, &task, &found, &err));
        printf("\n    limits %d, %d: %.1f ms", limits[i][0], limits[i][1], 1e3 * (bk_now() - start));
        BK_ASSERT_CLOSE(found.score, two_budgets(&s, table, limits[i][0], limits[i][1]), 1e-12);
        BK_ASSERT_CLOSE(found.score, score_of(table, &found.arch, NULL), 1e-12);
        CU_ASSERT(!limits[i][0] || found.cost.params <= limits[i][0]);
        CU_ASSERT(!limits[i][1] || found.cost.macs <= limits[i][1]);
    }
    release_tables(&s, table);
    fixture_close(&f);
}

BK_SUITE({ "brute force on a small space", test_brute_force }, { "HyTra", test_hytra }, { "latency", test_latency }, { "released ratings", test_released_tables },
         { "released ratings of MBConv", test_released_mbconv },
         { "a space of 4^18", test_large_space })

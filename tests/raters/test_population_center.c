/*
 * Rater "population_center" against the definition carried out path by path (no shared walk, statistics recalibrated
 * in the weight sets themselves), and its invariances.
 */
#include "method_data.h"

#define TRAINING "epochs=1", "batch=6", "accumulate=4", "hidden=8", "embed=6"

static struct bk_block_table rate(struct world *w, const struct bk_bundle *trained, const char *const *options)
{
    return world_rate(w, "population_center", trained, options);
}

/* Train block 0, then block 1 behind the prefix "01". */
static struct bk_bundle *train_two(struct world *w)
{
    struct bk_bundle *first = world_train(w, "ensemble_bootstrap", OPTIONS(TRAINING, "lr=4.0"), NULL, NULL);
    world_enter_block_1(w);
    struct bk_bundle *second = world_train(w, "ensemble_bootstrap", OPTIONS(TRAINING, "lr=4.0"), first, NULL);
    bk_bundle_free(first);
    return second;
}

/* ---- the definition, path by path ------------------------------------------------------------------------- */

enum { MAX_ROWS = 16, D = 6, MAX_PATHS = 16 };

struct plain {
    struct world *w;
    struct bk_siamese net;
    struct bk_tape *tape;
    bool identity, normalise;
    const char *views;          /* option bn_calib_views */
};

static void project(struct plain *x, struct bk_weights *w, const struct bk_path *path, const float *pixels, int n,
                    bool predict, uint32_t mode, double momentum, double *out)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_env *env = &x->w->env;
    struct bk_forward f = { .tape = x->tape, .weights = x->net.target, .dtype = BK_F64, .norm_mode = mode,
                            .norm_momentum = w == x->net.online ? 0 : momentum, .norm_eps = 1e-5 };
    struct bk_tensor *t;
    int64_t dim[4] = { n, 8, 8, 3 };
    bk_tape_reset(x->tape);
    BK_ASSERT_OK(bk_tape_tensor(x->tape, BK_F64, 4, dim, &t, &err));
    BK_ASSERT_OK(bk_tensor_write_f32(t, pixels, &err));
    BK_ASSERT_OK(bk_siamese_prefix(&x->net, &f, env->prefix, t, &t, &err));
    f.weights = w;
    f.norm_momentum = momentum;         /* the target's pass has seen to the prefix */
    BK_ASSERT_OK(bk_space_run_block(&x->w->space, &f, env->block, env->entry, path, t, &t, &err));
    BK_ASSERT_OK(bk_siamese_project(&x->net, &f, path, t, &t, &err));
    if (predict)
        BK_ASSERT_OK(bk_siamese_predict(&x->net, &f, t, &t, &err));
    if (out)
        BK_ASSERT_OK(bk_tensor_read_f64(t, out, &err));
}

static void recalibrate(struct plain *x, const struct bk_path *path)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_data *data = &x->w->data;
    struct bk_loader_config c = { .split = &data->train, .batch = 8, .n_views = 2, .view = { data->view1, data->view2 },
                                  .seed = x->w->env.seed, .shuffle = true };
    struct bk_loader *loader;
    struct bk_batch b;
    BK_ASSERT_OK(bk_loader_new(&c, &loader, &err));
    BK_ASSERT_OK(bk_loader_next(loader, &b, &err));
    for (int v = 0; v < (strcmp(x->views, "first") ? 2 : 1); v++) {
        double momentum = v == 1 && !strcmp(x->views, "both") ? 0.5 : 1;
        project(x, x->net.target, path, b.view[v], b.n, false, BK_NORM_BATCH, momentum, NULL);
        project(x, x->net.online, path, b.view[v], b.n, !x->identity, BK_NORM_BATCH, momentum, NULL);
    }
    bk_loader_free(loader);
}

static void unit(double *v, int rows)
{
    for (int r = 0; r < rows; r++) {
        double s = 0;
        for (int c = 0; c < D; c++)
            s += v[r * D + c] * v[r * D + c];
        for (int c = 0; c < D; c++)
            v[r * D + c] /= fmax(sqrt(s), 1e-12);
    }
}

/* Ratings of `n` paths over the validation images in batches of `batch`. */
static void plain_ratings(struct plain *x, const struct bk_path *path, size_t n, int batch, double *score)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_data *data = &x->w->data;
    struct bk_loader_config c = { .split = &data->val, .batch = batch, .n_views = 2, .view = { data->view1, data->view2 },
                                  .seed = x->w->env.seed, .fixed_views = true };
    struct bk_loader *loader;
    BK_ASSERT_OK(bk_loader_new(&c, &loader, &err));
    int n_batches = bk_loader_batches(loader);
    memset(score, 0, n * sizeof *score);
    for (int i = 0; i < n_batches; i++) {
        struct bk_batch b;
        static double centre[2][MAX_ROWS * D], z[MAX_ROWS * D], u[MAX_PATHS][2][MAX_ROWS * D];
        BK_ASSERT_OK(bk_loader_next(loader, &b, &err));
        memset(centre, 0, sizeof centre);
        for (size_t p = 0; p < n; p++) {
            recalibrate(x, &path[p]);
            for (int v = 0; v < 2; v++) {
                project(x, x->net.target, &path[p], b.view[v], b.n, false, BK_NORM_RUNNING, 0, z);
                if (x->normalise)
                    unit(z, b.n);
                for (int e = 0; e < b.n * D; e++)
                    centre[v][e] += z[e] / (double)n;
                project(x, x->net.online, &path[p], b.view[v], b.n, true, BK_NORM_RUNNING, 0, u[p][v]);
                unit(u[p][v], b.n);
            }
        }
        for (int v = 0; v < 2; v++)
            unit(centre[v], b.n);
        for (size_t p = 0; p < n; p++)
            for (int v = 0; v < 2; v++)
                for (int e = 0; e < b.n * D; e++)
                    score[p] -= 2 * u[p][v][e] * centre[1 - v][e] / b.n / n_batches;
    }
    bk_loader_free(loader);
}

static void check_against_plain(struct world *w, const struct bk_bundle *trained, bool identity, const char *views, bool normalise)
{
    struct bk_error err = BK_ERROR_INIT;
    struct plain x = { .w = w, .identity = identity, .views = views, .normalise = normalise };
    char views_option[40];
    double wanted[MAX_PATHS];
    snprintf(views_option, sizeof views_option, "bn_calib_views=%s", views);
    struct bk_block_table t = rate(w, trained, OPTIONS("calib_images=8", "batch=6", identity ? "predictor_bn=identity" : "predictor_bn=calibrated",
                                                       views_option,
                                                       normalise ? "centre_normalise=true" : "centre_normalise=false"));
    BK_ASSERT_OK(bk_siamese_open(&x.net, w->device, BK_F64, &w->space, w->env.block, trained, &err));
    BK_ASSERT_OK(bk_tape_new(w->device, &x.tape, &err));
    bk_tape_set_recording(x.tape, false);
    CU_ASSERT_EQUAL_FATAL(t.n, 4);
    CU_ASSERT_EQUAL(t.block, (int)w->env.block);
    CU_ASSERT_EQUAL(t.entry, w->env.entry);
    plain_ratings(&x, t.path, t.n, 6, wanted);
    for (size_t p = 0; p < t.n; p++) {
        BK_ASSERT_CLOSE(t.score[p], wanted[p], 1e-9);
        CU_ASSERT(t.score[p] >= -4 && t.score[p] <= 4);
        CU_ASSERT(p == 0 || t.score[p] != t.score[p - 1]);
    }
    bk_block_table_release(&t);
    bk_tape_free(x.tape);
    bk_siamese_release(&x.net);
}

static void test_definition_of_first_block(void)
{
    struct world w;
    world_open(&w, BK_F64, 20, 14);
    struct bk_bundle *trained = world_train(&w, "ensemble_bootstrap", OPTIONS(TRAINING, "lr=4.0"), NULL, NULL);
    check_against_plain(&w, trained, false, "both", false);
    check_against_plain(&w, trained, true, "last", false);
    check_against_plain(&w, trained, true, "first", false);
    check_against_plain(&w, trained, false, "last", true);
    bk_bundle_free(trained);
    world_close(&w);
}

static void test_definition_behind_a_prefix(void)
{
    struct world w;
    world_open(&w, BK_F64, 20, 14);
    struct bk_bundle *trained = train_two(&w);
    check_against_plain(&w, trained, true, "last", false);
    check_against_plain(&w, trained, true, "first", false);
    check_against_plain(&w, trained, false, "both", false);
    check_against_plain(&w, trained, false, "last", true);
    bk_bundle_free(trained);
    world_close(&w);
}

/* ---- a part of the block ---------------------------------------------------------------------------------------- */

static int rate_part(struct world *w, const struct bk_bundle *trained, const struct bk_path *path, size_t n, double *score)
{
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_RATER, "population_center", OPTIONS("calib_images=8", "batch=6"));
    const struct bk_rater_iface *r = bk_instance_iface(i);
    int rc = r->rate_paths(i->state, &w->env, trained, path, n, score, &w->f.err);
    bk_instance_close(w->f.instance[--w->f.n]);
    return rc;
}

/* All paths, in any order, are the block to the last bit; a part is rated by the definition with its own centre. */
static void test_part_of_a_block(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct world w;
    double score[4], wanted[MAX_PATHS];
    world_open(&w, BK_F64, 20, 14);
    struct bk_bundle *trained = train_two(&w);
    struct bk_block_table all = rate(&w, trained, OPTIONS("calib_images=8", "batch=6"));
    CU_ASSERT_EQUAL_FATAL(all.n, 4);
    struct bk_path turned[4] = { all.path[3], all.path[1], all.path[2], all.path[0] };
    CU_ASSERT_EQUAL(rate_part(&w, trained, turned, 4, score), BK_OK);
    CU_ASSERT(score[0] == all.score[3] && score[1] == all.score[1] && score[2] == all.score[2] && score[3] == all.score[0]);

    struct plain x = { .w = &w, .views = "both" };
    BK_ASSERT_OK(bk_siamese_open(&x.net, w.device, BK_F64, &w.space, w.env.block, trained, &err));
    BK_ASSERT_OK(bk_tape_new(w.device, &x.tape, &err));
    bk_tape_set_recording(x.tape, false);
    for (size_t n = 1; n <= 3; n++) {
        CU_ASSERT_EQUAL(rate_part(&w, trained, turned, n, score), BK_OK);
        plain_ratings(&x, turned, n, 6, wanted);
        for (size_t i = 0; i < n; i++) {
            BK_ASSERT_CLOSE(score[i], wanted[i], 1e-9);
            CU_ASSERT(score[i] != all.score[i == 0 ? 3 : i]);   /* another company, another rating */
        }
    }
    turned[2] = turned[0];
    CU_ASSERT_EQUAL(rate_part(&w, trained, turned, 3, score), BK_EINVAL);
    turned[2].op[0] = 7;
    CU_ASSERT_EQUAL(rate_part(&w, trained, turned, 3, score), BK_EINVAL);
    turned[2].n = 1;
    CU_ASSERT_EQUAL(rate_part(&w, trained, turned, 3, score), BK_EINVAL);
    bk_tape_free(x.tape);
    bk_siamese_release(&x.net);
    bk_block_table_release(&all);
    bk_bundle_free(trained);
    world_close(&w);
}

/* ---- invariances ------------------------------------------------------------------------------------------------ */

static void test_twice_the_same(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 14);
    struct bk_bundle *trained = train_two(&w);
    world_rate_twice(&w, "population_center", trained, OPTIONS("calib_images=8", "batch=6"));
    world_check_cancel(&w, "population_center", trained, OPTIONS("calib_images=8", "batch=6"));
    bk_bundle_free(trained);
    world_close(&w);
}

/* Views that do not depend on the image's number, so that images may change places. */
static void fix_views(struct world *w)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(bk_augment_named("none", 8, &w->data.view1, &err));
    w->data.view2 = w->data.view1;
}

static void test_order_of_batches(void)
{
    struct world w;
    uint32_t index[12];
    world_open(&w, BK_F64, 20, 12);
    struct bk_bundle *trained = world_train(&w, "ensemble_bootstrap", OPTIONS(TRAINING), NULL, NULL);
    fix_views(&w);
    struct bk_block_table a = rate(&w, trained, OPTIONS("calib_images=8", "batch=4"));
    for (int i = 0; i < 12; i++)
        index[i] = w.data.val.index[(i + 4) % 12];
    w.data.val.index = index;
    struct bk_block_table b = rate(&w, trained, OPTIONS("calib_images=8", "batch=4"));
    CU_ASSERT_EQUAL_FATAL(a.n, b.n);
    for (size_t i = 0; i < a.n; i++)
        BK_ASSERT_CLOSE(a.score[i], b.score[i], 1e-12);
    bk_block_table_release(&a);
    bk_block_table_release(&b);
    bk_bundle_free(trained);
    world_close(&w);
}

/*
 * One path, equal networks and views, and a predictor that is the identity: fc1 = (I, -I), fc2 = (I, -I) of
 * relu(x) - relu(-x) = x. The prediction is the centre, R = -4.
 */
static void test_perfect_prediction(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct world w;
    struct bk_siamese s;
    struct bk_bundle *b;
    double fc1[12 * D] = { 0 }, fc2[D * 12] = { 0 };
    world_open(&w, BK_F64, 20, 12);
    fix_views(&w);
    fixture_space(&w.f, "nats_ss", OPTIONS("widths=[4]", "pooled_width=8"), &w.space);
    BK_ASSERT_OK(bk_siamese_init(&s, w.device, BK_F64, &w.space, 0, 12, D, 5, &err));
    for (int i = 0; i < D; i++) {
        fc1[i * D + i] = 1;
        fc1[(D + i) * D + i] = -1;
        fc2[i * 12 + i] = 1;
        fc2[i * 12 + D + i] = -1;
    }
    BK_ASSERT_OK(bk_tensor_write_f64(bk_weights_get(s.online, s.predictor[0]), fc1, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(bk_weights_get(s.online, s.predictor[2]), fc2, &err));
    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    BK_ASSERT_OK(bk_siamese_save(&s, b, &err));
    struct bk_block_table t = rate(&w, b, OPTIONS("calib_images=8", "batch=5", "predictor_bn=identity"));
    CU_ASSERT_EQUAL_FATAL(t.n, 1);
    BK_ASSERT_CLOSE(t.score[0], -4, 1e-12);
    bk_block_table_release(&t);
    bk_bundle_free(b);
    bk_siamese_release(&s);
    world_close(&w);
}

BK_SUITE({ "definition, first block", test_definition_of_first_block },
         { "definition, behind a prefix", test_definition_behind_a_prefix }, { "a part of the block", test_part_of_a_block },
         { "twice the same, and cancelled", test_twice_the_same },
         { "order of batches", test_order_of_batches }, { "perfect prediction", test_perfect_prediction })

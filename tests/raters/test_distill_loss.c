/*
 * Rater "distill_loss" against its definition carried out path by path: no shared walk, statistics recalibrated in the
 * weight sets themselves, averaging, linear maps and the five statistics in plain loops. The plugin exports nothing, so
 * the sources that open its artefact are compiled into this test.
 */
#include "../../plugins/trainers/distill/distilled.c"
#include "../../plugins/trainers/distill/distilled_probe.c"
#include "../../plugins/trainers/distill/teacher.c"
#include "../../plugins/trainers/distill/teacher_net.c"

#include "method_data.h"

enum { MAX_CHECKED = 16, CALIB = 8, BATCH = 6 };

static const char *const statistic_names[] = { "cl_loss", "loss", "rela_loss", "sq_loss", "gr_loss" };

struct array {
    int64_t dim[4];
    double *v;
};

struct plain {
    struct world *w;
    struct distilled d;
    struct bk_tape *tape;
};

static struct array read_array(const struct bk_tensor *t)
{
    struct bk_error err = BK_ERROR_INIT;
    struct array a = { .v = malloc((size_t)bk_tensor_numel(t) * sizeof(double)) };
    memcpy(a.dim, t->dim, sizeof a.dim);
    BK_ASSERT_OK(bk_tensor_read_f64(t, a.v, &err));
    return a;
}

/* Mean over windows, smaller at the border; size 0: over everything. */
static struct array shrink(struct array x, int64_t size)
{
    int64_t sy = size ? size : x.dim[1], sx = size ? size : x.dim[2];
    struct array y = { .dim = { x.dim[0], (x.dim[1] + sy - 1) / sy, (x.dim[2] + sx - 1) / sx, x.dim[3] } };
    y.v = calloc((size_t)(y.dim[0] * y.dim[1] * y.dim[2] * y.dim[3]), sizeof(double));
    for (int64_t n = 0; n < x.dim[0]; n++)
        for (int64_t i = 0; i < x.dim[1]; i++)
            for (int64_t j = 0; j < x.dim[2]; j++)
                for (int64_t c = 0; c < x.dim[3]; c++) {
                    int64_t h = i / sy, l = j / sx;
                    double rows = (double)(h * sy + sy > x.dim[1] ? x.dim[1] - h * sy : sy);
                    double columns = (double)(l * sx + sx > x.dim[2] ? x.dim[2] - l * sx : sx);
                    y.v[((n * y.dim[1] + h) * y.dim[2] + l) * x.dim[3] + c] +=
                        x.v[((n * x.dim[1] + i) * x.dim[2] + j) * x.dim[3] + c] / (rows * columns);
                }
    free(x.v);
    return y;
}

static struct array linear(struct plain *p, struct array x, const char *name)
{
    int32_t slot = bk_net_find(&p->d.net, name);
    CU_ASSERT_FATAL(slot >= 0);
    const struct bk_tensor *weight = bk_weights_get(p->d.student, slot);
    struct array w = read_array(weight), b = read_array(bk_weights_get(p->d.student, slot + 1));
    int64_t rows = x.dim[0] * x.dim[1] * x.dim[2], ci = x.dim[3], co = weight->dim[0];
    struct array y = { .dim = { x.dim[0], x.dim[1], x.dim[2], co }, .v = malloc((size_t)(rows * co) * sizeof(double)) };
    CU_ASSERT_EQUAL_FATAL(weight->dim[1], ci);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < co; o++) {
            double s = b.v[o];
            for (int64_t i = 0; i < ci; i++)
                s += w.v[o * ci + i] * x.v[r * ci + i];
            y.v[r * co + o] = s;
        }
    free(w.v);
    free(b.v);
    free(x.v);
    return y;
}

struct shapes {
    int64_t in_shrink, student_shrink, teacher_shrink;  /* 0: everything */
};

/* The teacher's and the student's side of one batch along one path; the weight sets' own statistics. */
static void run_batch(struct plain *p, const struct shapes *s, const struct bk_path *path, const float *pixels, int n,
                      uint32_t mode, struct array *out, struct array *target)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_env *env = &p->w->env;
    int64_t side = env->data->alone.size, dim[4] = { n, side, side, 3 };
    struct bk_forward f = { .tape = p->tape, .weights = p->d.teacher.weights, .dtype = BK_F64, .norm_mode = mode,
                            .norm_momentum = 1, .norm_eps = 1e-5 };
    struct bk_tensor *images, *x, *y;
    char name[64];
    bk_tape_reset(p->tape);
    BK_ASSERT_OK(bk_tape_tensor(p->tape, BK_F64, 4, dim, &images, &err));
    BK_ASSERT_OK(bk_tensor_write_f32(images, pixels, &err));
    x = images;
    BK_ASSERT_OK(teacher_features(&p->d.teacher, &f, env->block, images, &x, &y, &err));
    *target = shrink(read_array(y), s->teacher_shrink);
    struct array in = read_array(x);
    if (env->block)
        in = shrink(in, s->in_shrink);
    snprintf(name, sizeof name, "distill%d.input.weight", (int)env->block);
    if (bk_net_find(&p->d.net, name) >= 0)
        in = linear(p, in, name);
    BK_ASSERT_OK(bk_tape_tensor(p->tape, BK_F64, 4, in.dim, &x, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(x, in.v, &err));
    free(in.v);
    f.weights = p->d.student;
    BK_ASSERT_OK(bk_space_run_block(env->space, &f, env->block, env->entry, path, x, &x, &err));
    *out = shrink(read_array(x), s->student_shrink);
    snprintf(name, sizeof name, "distill%d.width%d.weight", (int)env->block, (int)out->dim[3]);
    if (out->dim[3] != target->dim[3])
        *out = linear(p, *out, name);
    CU_ASSERT_EQUAL(p->d.pooled, s->student_shrink == 0);
    CU_ASSERT_EQUAL_FATAL(memcmp(out->dim, target->dim, sizeof out->dim), 0);
}

static void add_statistics(const struct array *y, const struct array *t, int images, double sum[5])
{
    int64_t n = y->dim[0] * y->dim[1] * y->dim[2] * y->dim[3];
    double d2 = 0, d1 = 0, mean = 0, var = 0, magnitude = 0, count = (double)n;
    for (int64_t i = 0; i < n; i++) {
        d2 += (y->v[i] - t->v[i]) * (y->v[i] - t->v[i]) / count;
        d1 += fabs(y->v[i] - t->v[i]) / count;
        mean += t->v[i] / count;
        magnitude += fabs(t->v[i]) / count;
    }
    for (int64_t i = 0; i < n; i++)
        var += (t->v[i] - mean) * (t->v[i] - mean) / (count - 1);
    double v[5] = { d1 / (sqrt(var) + 1e-9), d2, d2 / (var + 1e-9), sqrt(d2) / var, d1 / (magnitude + 1e-9) };
    for (int k = 0; k < 5; k++)
        sum[k] += v[k] * images;
}

static struct bk_loader *open_images(struct plain *p, bool calibration)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_data *data = &p->w->data;
    struct bk_loader_config c = { .split = calibration ? &data->train : &data->val, .batch = calibration ? CALIB : BATCH,
                                  .n_views = 1, .view = { calibration ? data->alone : data->plain },
                                  .seed = p->w->env.seed, .shuffle = calibration, .fixed_views = true };
    struct bk_loader *loader;
    memcpy(c.view[0].mean, data->alone.mean, sizeof data->alone.mean);
    memcpy(c.view[0].std, data->alone.std, sizeof data->alone.std);
    BK_ASSERT_OK(bk_loader_new(&c, &loader, &err));
    return loader;
}

static void rate_path(struct plain *p, const struct shapes *s, const struct bk_path *path, double score[5])
{
    struct bk_error err = BK_ERROR_INIT;
    struct array y, t;
    struct bk_batch b;
    double images = 0;
    struct bk_loader *loader = open_images(p, true);
    BK_ASSERT_OK(bk_loader_next(loader, &b, &err));
    run_batch(p, s, path, b.view[0], b.n, BK_NORM_BATCH, &y, &t);
    free(y.v);
    free(t.v);
    bk_loader_free(loader);
    loader = open_images(p, false);
    memset(score, 0, 5 * sizeof *score);
    for (int i = 0, n = bk_loader_batches(loader); i < n; i++) {
        BK_ASSERT_OK(bk_loader_next(loader, &b, &err));
        run_batch(p, s, path, b.view[0], b.n, BK_NORM_RUNNING, &y, &t);
        add_statistics(&y, &t, b.n, score);
        images += b.n;
        free(y.v);
        free(t.v);
    }
    bk_loader_free(loader);
    for (int k = 0; k < 5; k++)
        score[k] /= images;
}

/* All paths, or 16 of them at equal steps. */
static void check(struct world *w, const struct bk_bundle *trained, const struct shapes *s, size_t n_paths,
                  int n_statistics)
{
    struct bk_error err = BK_ERROR_INIT;
    struct plain p = { .w = w };
    double want[MAX_CHECKED][5];
    size_t step = (n_paths + MAX_CHECKED - 1) / MAX_CHECKED;
    char option[64];
    BK_ASSERT_OK(distilled_open_trained(&p.d, &w->env, trained, &err));
    BK_ASSERT_OK(bk_tape_new(w->device, &p.tape, &err));
    bk_tape_set_recording(p.tape, false);
    for (int k = 0; k < n_statistics; k++) {
        snprintf(option, sizeof option, "statistic=%s", statistic_names[k]);
        struct bk_block_table t = world_rate(w, "distill_loss", trained, OPTIONS("calib_images=8", "batch=6", option));
        int differ = 0;
        CU_ASSERT_EQUAL_FATAL(t.n, n_paths);
        for (size_t i = 0; i < t.n; i++) {
            double *wanted = want[i / step];
            if (k == 0 && i % step == 0)
                rate_path(&p, s, &t.path[i], wanted);
            if (i % step == 0)
                BK_ASSERT_CLOSE(t.score[i], wanted[k], 1e-9 * fabs(wanted[k]));
            differ += i > 0 && t.score[i] != t.score[i - 1];
        }
        CU_ASSERT(differ > 0);
        bk_block_table_release(&t);
    }
    bk_tape_free(p.tape);
    distilled_release(&p.d);
}

#define SHORT "batch=10", "epochs=2", "teacher_epochs=1"

/* Widths 4 and 6 against a teacher of 4 and 6: a linear map for one of the student's widths, and in front of block 1. */
static void test_maps(void)
{
    static const struct shapes same = { 1, 1, 1 };
    struct world w;
    world_open(&w, BK_F64, 20, 8);
    struct bk_bundle *first = world_train(&w, "distill", OPTIONS(SHORT, "teacher_arch=6:4:6:6:6"), NULL, NULL);
    check(&w, first, &same, 4, 5);
    world_enter_block_1(&w);
    struct bk_bundle *second = world_train(&w, "distill", OPTIONS(SHORT, "teacher_arch=6:4:6:6:6"), first, NULL);
    check(&w, second, &same, 4, 1);
    bk_bundle_free(second);
    bk_bundle_free(first);
    world_close(&w);
}

/* ResNet-20's maps behind its stages are twice as large as the student's 4 x 4, 2 x 2. */
static void test_other_maps(void)
{
    static const struct shapes half = { 2, 1, 2 };
    struct world w;
    world_open(&w, BK_F64, 20, 8);
    struct bk_bundle *first = world_train(&w, "distill", OPTIONS(SHORT, "teacher_arch=resnet20", "teacher_taps=[3,6,9]"),
                                          NULL, NULL);
    world_enter_block_1(&w);
    struct bk_bundle *second = world_train(&w, "distill", OPTIONS(SHORT, "teacher_arch=resnet20", "teacher_taps=[3,6,9]"),
                                           first, NULL);
    check(&w, second, &half, 4, 5);
    bk_bundle_free(second);
    bk_bundle_free(first);
    world_close(&w);
}

static void test_pooled_on_demand(void)
{
    static const struct shapes all = { 1, 0, 0 };
    struct world w;
    world_open(&w, BK_F64, 20, 8);
    struct bk_bundle *trained = world_train(&w, "distill", OPTIONS(SHORT, "compare=pooled", "teacher_arch=resnet20"), NULL,
                                            NULL);
    check(&w, trained, &all, 4, 5);
    bk_bundle_free(trained);
    world_close(&w);
}

/* HyTra's paths end at different scales: means over positions are compared. */
static void test_pooled(void)
{
    static const struct shapes all = { 1, 0, 0 };
    struct world w;
    world_open(&w, BK_F64, 4, 2);
    fixture_space(&w.f, "hytra", OPTIONS("width=16", "stage_depths=[2,2,1,1]", "input_size=32"), &w.space);
    struct bk_instance *i = fixture_get(&w.f, BK_KIND_SAMPLER, "uniform", NULL);
    w.sampler = (struct bk_sampler){ bk_instance_iface(i), i->state, "uniform" };
    w.data.alone.size = w.data.plain.size = 32;         /* 8 x 8 pixels in a black frame */
    w.data.alone.crop = w.data.plain.crop = BK_CROP_PAD;
    w.data.alone.pad = w.data.plain.pad = 12;
    struct bk_bundle *trained = world_train(&w, "distill", OPTIONS("batch=4", "epochs=1", "teacher_epochs=0"),
                                            NULL, NULL);
    struct bk_path *path;
    size_t n;
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(bk_space_paths(&w.space, 0, 0, &path, &n, &err));
    bk_free(path);
    check(&w, trained, &all, n, 1);
    bk_bundle_free(trained);
    world_close(&w);
}

static void test_invariances(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 8);
    struct bk_bundle *trained = world_train(&w, "distill", OPTIONS(SHORT), NULL, NULL);
    world_rate_twice(&w, "distill_loss", trained, OPTIONS("calib_images=8", "batch=6"));
    world_check_cancel(&w, "distill_loss", trained, OPTIONS("calib_images=8", "batch=6"));
    world_check_memory(&w, "distill_loss", trained, OPTIONS("calib_images=8", "batch=6"));
    bk_bundle_free(trained);
    world_close(&w);
}

static void test_refusals(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_block_table t;
    struct world w;
    struct bk_bundle *b;
    world_open(&w, BK_F32, 20, 8);
    struct bk_instance *i = fixture_get(&w.f, BK_KIND_RATER, "distill_loss", NULL);
    const struct bk_rater_iface *r = bk_instance_iface(i);
    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    BK_ASSERT_OK(bk_bundle_put_text(b, "method", "siamese", &err));
    CU_ASSERT_EQUAL(r->rate_block(i->state, &w.env, b, &t, &err), BK_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "has method 'siamese'"));
    CU_ASSERT_EQUAL(r->rate_block(i->state, &w.env, NULL, &t, &err), BK_EINVAL);
    bk_bundle_free(b);
    world_close(&w);
}

BK_SUITE({ "maps", test_maps }, { "other maps", test_other_maps }, { "pooled", test_pooled },
         { "pooled on demand", test_pooled_on_demand },
         { "invariances", test_invariances }, { "refusals", test_refusals })

/*
 * Teachers of trainer "distill" against timm's networks of the same names (fixtures/make_teachers.py): features behind
 * every unit and logits, on weights that go through a safetensors file with PyTorch's names and layouts. The plugin
 * exports nothing, so its sources are compiled into this test.
 */
#include "../../plugins/trainers/distill/teacher.c"
#include "../../plugins/trainers/distill/teacher_file.c"
#include "../../plugins/trainers/distill/teacher_net.c"

#include "formula.h"
#include "method_data.h"

enum { N = 2, CLASSES = 10, SAMPLES = 6 };

struct school {
    struct world w;
    struct bk_device *device;
    struct bk_bundle *fixture;
    char file[4200];
};

/* False when the backend is not built or cannot work here. */
static bool school_open(struct school *s, const char *backend)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[4096];
    world_open(&s->w, BK_F32, 8, 8);
    if (backend && !world_use_backend(&s->w, backend)) {
        world_close(&s->w);
        return false;
    }
    s->device = s->w.device;
    snprintf(path, sizeof path, "%s/tests/fixtures/teachers.safetensors", bk_test_env("BK_TEST_SOURCE"));
    BK_ASSERT_OK(bk_bundle_read(path, &s->fixture, &err));
    snprintf(s->file, sizeof s->file, "%s/teacher.safetensors", s->w.cache);
    return true;
}

static void school_close(struct school *s)
{
    bk_bundle_free(s->fixture);
    world_close(&s->w);
}

static void make_teacher(struct school *s, const char *name, struct teacher *t)
{
    struct bk_error err = BK_ERROR_INIT;
    struct teacher_config c = { .name = name, .space = &s->w.space, .device = s->device, .dtype = BK_F32,
                                .n_classes = CLASSES };
    BK_ASSERT_OK(teacher_init(t, &c, &err));
}

/* A slot as PyTorch has it, with the formula's values. */
static void put_published(struct bk_bundle *b, const struct bk_slot *slot)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_text name = BK_TEXT_INIT;
    int64_t dim[4] = { slot->dim[0], slot->dim[3], slot->dim[1], slot->dim[2] }, n = 1;
    bool squeeze = slot->rank == 2 && strstr(slot->name, ".se.");       /* published as 1x1 kernels */
    uint32_t rank = squeeze ? 4 : slot->rank;
    if (slot->rank < 4) {
        dim[1] = slot->rank > 1 ? slot->dim[1] : 1;
        dim[2] = dim[3] = 1;
    }
    for (int i = 0; i < 4; i++)
        n *= dim[i];
    float *v = malloc((size_t)n * sizeof *v);
    BK_ASSERT_OK(published_name(slot, &name, &err));
    formula_parameter(slot->role, bk_text_get(&name), n / dim[0], n, v);
    BK_ASSERT_OK(bk_bundle_put(b, bk_text_get(&name), BK_F32, rank, dim, v, &err));
    bk_text_release(&name);
    free(v);
}

static struct bk_bundle *published(const struct teacher *t)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_bundle *b;
    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    for (int32_t i = 0; i < t->net.n; i++)
        put_published(b, &t->net.slot[i]);
    return b;
}

/* Largest error over the tensor's magnitude. */
static void check_values(const char *name, const double *got, const double *want, size_t n, double scale, double tolerance)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(got[i] - want[i]));
    if (!(worst <= tolerance * scale))
        printf("\n    %s differs by %g of %g\n", name, worst, scale);
    CU_ASSERT(worst <= tolerance * scale);
}

static void check_unit(struct school *s, const char *name, const struct bk_tensor *y, double tolerance)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_bundle_entry *e = bk_bundle_find(s->fixture, name);
    int64_t n = bk_tensor_numel(y);
    double *v = malloc((size_t)n * sizeof *v), got[2 + SAMPLES] = { 0 }, largest = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_EQUAL_FATAL(e->nbytes, sizeof got);
    BK_ASSERT_OK(bk_tensor_read_f64(y, v, &err));
    for (int64_t i = 0; i < n; i++) {
        got[0] += v[i] / (double)n;
        got[1] += fabs(v[i]) / (double)n;
        largest = fmax(largest, fabs(v[i]));
    }
    for (int i = 0; i < SAMPLES; i++)
        got[2 + i] = v[i * (n / SAMPLES)];
    check_values(name, got, e->data, 2, got[1], tolerance);
    check_values(name, got + 2, (const double *)e->data + 2, SAMPLES, largest, tolerance);
    free(v);
}

static void run_mode(struct school *s, struct teacher *t, uint32_t mode, int64_t side, double tolerance)
{
    struct bk_error err = BK_ERROR_INIT;
    const char *mode_name = mode == BK_NORM_BATCH ? "batch" : "eval";
    int64_t dim[4] = { N, side, side, 3 }, n = N * side * side * 3;
    struct bk_forward f = { .weights = t->weights, .dtype = BK_F32, .norm_mode = mode, .norm_eps = 1e-5 };
    struct bk_tensor *images, *x, *logits;
    double got[N * CLASSES];
    char name[192];
    BK_ASSERT_OK(bk_tape_new(s->device, &f.tape, &err));
    bk_tape_set_recording(f.tape, false);
    double *v = malloc((size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = formula_value("images", (uint64_t)i);
    BK_ASSERT_OK(bk_tape_tensor(f.tape, BK_F32, 4, dim, &images, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(images, v, &err));
    x = images;
    for (int32_t u = 0; u < t->body.n_units; u++) {
        BK_ASSERT_OK(teacher_net_unit(&t->body, &f, u, x, &x, &err));
        CU_ASSERT_EQUAL(x->dim[3], t->body.unit[u].width);
        snprintf(name, sizeof name, "%s.%s.unit%d", t->name, mode_name, (int)u);
        check_unit(s, name, x, tolerance);
    }
    BK_ASSERT_OK(teacher_logits(t, &f, images, &logits, &err));
    BK_ASSERT_OK(bk_tensor_read_f64(logits, got, &err));
    snprintf(name, sizeof name, "%s.%s.logits", t->name, mode_name);
    const double *want = bk_bundle_find(s->fixture, name)->data;
    double largest = 0;
    for (int i = 0; i < N * CLASSES; i++)
        largest = fmax(largest, fabs(want[i]));
    check_values(name, got, want, N * CLASSES, largest, tolerance);
    free(v);
    bk_tape_free(f.tape);
}

static void check_network(const char *backend, const char *name, int64_t side, int64_t parameters)
{
    struct bk_error err = BK_ERROR_INIT;
    struct school s;
    struct teacher t;
    backend = bk_test_backend(backend);
    if (!backend || !school_open(&s, backend))
        BK_SKIP("backend '%s' is not asked for, not built or not available", backend ? backend : "ref");
    make_teacher(&s, name, &t);
    CU_ASSERT_EQUAL(bk_net_count(&t.net, 0, -2), parameters);
    struct bk_bundle *b = published(&t);
    BK_ASSERT_OK(bk_bundle_write(b, s.file, &err));
    bk_bundle_free(b);
    BK_ASSERT_OK(teacher_read(&t, s.file, &err));
    run_mode(&s, &t, BK_NORM_RUNNING, side, 1e-5);
    run_mode(&s, &t, BK_NORM_BATCH, side, 3e-4);       /* statistics of down to 8 values */
    teacher_release(&t);
    school_close(&s);
}

/* Parameters with 10 classes instead of 1000: 25,557,032, 5,288,548 and 4,231,976 as published, less 990 rows each. */
static void test_resnet50(void)
{
    check_network("cpu", "resnet50", 64, 25557032 - 990 * 2049);
}

static void test_efficientnet_b0(void)
{
    check_network("cpu", "efficientnet_b0", 64, 5288548 - 990 * 1281);
}

static void test_mobilenetv1(void)
{
    check_network("cpu", "mobilenetv1", 64, 4231976 - 990 * 1025);
}

/* He et al. count 0.27 M parameters with parameter-free shortcuts; two projections of 16x32 and 32x64 and their norms are added. */
static void test_resnet20(void)
{
    check_network("ref", "resnet20", 16, 269722 + 16 * 32 + 32 * 64 + 2 * (32 + 64));
}

/* The same weights under torchvision's names (fixtures/torchvision_names.txt) make the same teacher. */
static void test_torchvision_names(void)
{
    if (!bk_test_backend("ref"))
        BK_SKIP("not asked for");
    struct bk_error err = BK_ERROR_INIT;
    struct school s;
    struct teacher t;
    struct bk_bundle *renamed;
    char path[4096], theirs[128], ours[128];
    int n = 0, different = 0;
    school_open(&s, NULL);
    make_teacher(&s, "efficientnet_b0", &t);
    struct bk_bundle *all = published(&t);
    BK_ASSERT_OK(bk_bundle_new(&renamed, &err));
    snprintf(path, sizeof path, "%s/tests/fixtures/torchvision_names.txt", bk_test_env("BK_TEST_SOURCE"));
    FILE *f = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    for (; fscanf(f, "%127s %127s", theirs, ours) == 2; n++) {
        const struct bk_bundle_entry *e = bk_bundle_find(all, ours);
        CU_ASSERT_PTR_NOT_NULL_FATAL(e);
        BK_ASSERT_OK(bk_bundle_put(renamed, theirs, e->dtype, e->rank, e->dim, e->data, &err));
    }
    fclose(f);
    CU_ASSERT_EQUAL(n, t.net.n);
    BK_ASSERT_OK(bk_bundle_write(renamed, s.file, &err));
    BK_ASSERT_OK(teacher_read(&t, s.file, &err));
    for (int32_t i = 0; i < t.net.n; i++) {
        const struct bk_slot *slot = &t.net.slot[i];
        int64_t size = bk_tensor_numel(bk_weights_get(t.weights, i));
        struct bk_text name = BK_TEXT_INIT;
        double *v = malloc((size_t)size * sizeof *v), sum[2] = { 0, 0 };
        BK_ASSERT_OK(published_name(slot, &name, &err));
        const float *want = bk_bundle_find(all, bk_text_get(&name))->data;
        BK_ASSERT_OK(bk_tensor_read_f64(bk_weights_get(t.weights, i), v, &err));
        for (int64_t k = 0; k < size; k++) {
            sum[0] += v[k];
            sum[1] += (double)want[k];
        }
        different += fabs(sum[0] - sum[1]) > 1e-9 * (double)size;
        bk_text_release(&name);
        free(v);
    }
    CU_ASSERT_EQUAL(different, 0);
    bk_bundle_free(renamed);
    bk_bundle_free(all);
    teacher_release(&t);
    school_close(&s);
}

/* ---- what is refused --------------------------------------------------------------------------------- */

static void expect(const struct bk_error *err, const char *what)
{
    if (!strstr(err->text, what))
        printf("\n    '%s' does not say '%s'\n", err->text, what);
    CU_ASSERT_PTR_NOT_NULL(strstr(err->text, what));
}

static void write_without(const struct teacher *t, const char *path, const char *left_out, const char *misshapen)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_bundle *b, *all = published(t);
    int64_t wrong[2] = { 7, 3 };
    float v[21] = { 0 };
    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    for (size_t i = 0; i < bk_bundle_count(all); i++) {
        const struct bk_bundle_entry *e = bk_bundle_at(all, i);
        if (!left_out || strcmp(e->name, left_out) != 0)
            BK_ASSERT_OK(bk_bundle_put(b, e->name, e->dtype, e->rank, e->dim, e->data, &err));
    }
    if (misshapen)
        BK_ASSERT_OK(bk_bundle_put(b, misshapen, BK_F32, 2, wrong, v, &err));
    BK_ASSERT_OK(bk_bundle_write(b, path, &err));
    bk_bundle_free(b);
    bk_bundle_free(all);
}

static void test_bad_files(void)
{
    if (!bk_test_backend("ref"))
        BK_SKIP("not asked for");
    struct bk_error err = BK_ERROR_INIT;
    struct school s;
    struct teacher t;
    school_open(&s, NULL);
    make_teacher(&s, "resnet20", &t);
    write_without(&t, s.file, "layer2.0.bn1.bias", NULL);
    CU_ASSERT_EQUAL(teacher_read(&t, s.file, &err), BK_EDATA);
    expect(&err, "teacher.safetensors' of teacher 'resnet20': there is no f32 tensor 'layer2.0.bn1.bias'");
    write_without(&t, s.file, NULL, "layer2.0.conv1.weight");
    CU_ASSERT_EQUAL(teacher_read(&t, s.file, &err), BK_EDATA);
    expect(&err, "tensor 'layer2.0.conv1.weight' is [7,3], this teacher has [32,16,3,3]");
    CU_ASSERT_NOT_EQUAL(teacher_read(&t, "/nowhere.safetensors", &err), BK_OK);
    teacher_release(&t);
    school_close(&s);
}

static int try_teacher(struct school *s, const char *name, int32_t n_classes, const int64_t *units, int64_t n_units,
                       struct bk_error *err)
{
    struct teacher t;
    struct teacher_config c = { .name = name, .space = &s->w.space, .device = s->device, .dtype = BK_F32,
                                .n_classes = n_classes, .taps = { units, n_units } };
    int rc = teacher_init(&t, &c, err);
    if (!rc)
        teacher_release(&t);
    return rc;
}

static void test_bad_configurations(void)
{
    if (!bk_test_backend("ref"))
        BK_SKIP("not asked for");
    static const int64_t good[3] = { 0, 1, 9 }, falling[3] = { 1, 1, 9 }, beyond[3] = { 1, 2, 10 };
    struct bk_error err = BK_ERROR_INIT;
    struct school s;
    school_open(&s, NULL);
    CU_ASSERT_EQUAL(try_teacher(&s, "resnet20", 0, good, 3, &err), BK_OK);
    CU_ASSERT_EQUAL(try_teacher(&s, "resnet20", 0, falling, 3, &err), BK_EINVAL);
    expect(&err, "unit 1 does not");
    CU_ASSERT_EQUAL(try_teacher(&s, "resnet20", 0, beyond, 3, &err), BK_EINVAL);
    expect(&err, "teacher_taps must ascend below 10");
    CU_ASSERT_EQUAL(try_teacher(&s, "resnet20", 0, good, 2, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(try_teacher(&s, "space", 5, good, 3, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(try_teacher(&s, "space", 0, NULL, 0, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(try_teacher(&s, "resnet18", 5, NULL, 0, &err), BK_EINVAL);
    expect(&err, "resnet50, resnet20");
    school_close(&s);
}

/* The largest network of the small space, and a given one. */
static void test_networks_of_the_space(void)
{
    if (!bk_test_backend("ref"))
        BK_SKIP("not asked for");
    struct school s;
    struct teacher t;
    school_open(&s, NULL);
    make_teacher(&s, "space", &t);
    CU_ASSERT_STRING_EQUAL(t.name, "6:6:6:6:6");
    teacher_release(&t);
    make_teacher(&s, "4:6:4:6:4", &t);
    CU_ASSERT_STRING_EQUAL(t.name, "4:6:4:6:4");
    CU_ASSERT_EQUAL(t.tap[2], 2);
    teacher_release(&t);
    school_close(&s);
}

BK_SUITE({ "resnet50 is timm's", test_resnet50 }, { "efficientnet_b0 is timm's", test_efficientnet_b0 },
         { "mobilenetv1 is timm's", test_mobilenetv1 }, { "torchvision's names", test_torchvision_names }, { "resnet20", test_resnet20 }, { "bad files", test_bad_files },
         { "bad configurations", test_bad_configurations }, { "networks of the space", test_networks_of_the_space })

/*
 * A dataset that needs no download: textured shapes, drawn from a seed.
 *
 * The class decides the shape (and, beyond ten classes, the texture), or with
 * `label = "texture"`, which is easier, the texture alone; colours, position, size, turn,
 * the rest of shape and texture, a gradient behind, a distractor and noise are random.
 * So a linear classifier on pixels has little to go by. For
 * trying things out and for tests; numbers measured on it say nothing about real
 * images.
 */
#include <bosskit/dataset.h>
#include <bosskit/file.h>
#include <bosskit/random.h>

#include <math.h>
#include <string.h>

#define N_SHAPES          10
#define N_TEXTURES        6
#define PI                3.14159265358979323846
#define GENERATOR_VERSION 1 /* raise when an image of some seed changes */

enum { LABEL_SHAPE = 1, LABEL_TEXTURE = 2 };

struct synthetic {
    int32_t label;
    int64_t classes, size, n_train, n_val, n_test, seed;
    double noise;
    const struct bk_host *host;
    struct bk_images *images; /* train, then val, then test */
    uint32_t *index;
};

static const struct bk_choice labels[] = { { "shape", LABEL_SHAPE }, { "texture", LABEL_TEXTURE }, { NULL, 0 } };

/* clang-format off */
static const struct bk_opt options[] = {
    BK_ENUM("label",   struct synthetic, label,   LABEL_SHAPE, labels, "what the classes are: shapes, then shapes with textures (harder), or the six textures"),
    BK_INT ("classes", struct synthetic, classes, 10,   2, N_SHAPES * N_TEXTURES, "classes", "number of classes; texture: at most 6"),
    BK_INT ("size",    struct synthetic, size,    32,   8, 512,     "pixels", "side of the square images"),
    BK_INT ("n_train", struct synthetic, n_train, 4000, 1, 1000000, "images", "training images"),
    BK_INT ("n_val",   struct synthetic, n_val,   1000, 1, 1000000, "images", "images for rating"),
    BK_INT ("n_test",  struct synthetic, n_test,  1000, 1, 1000000, "images", "test images"),
    BK_INT ("seed",    struct synthetic, seed,    0,    0, 4294967295, "",    "what the images are drawn from"),
    BK_REAL("noise",   struct synthetic, noise,   12,   0, 128,     "grey levels", "largest standard deviation of the pixel noise"),
    BK_OPT_END
};
/* clang-format on */

/* ---- shapes: is (x, y) inside, the shape filling about [-1,1] x [-1,1] ----------- */

static bool in_disk(double x, double y)
{
    return x * x + y * y < 0.9;
}

static bool in_ring(double x, double y)
{
    double r = x * x + y * y;
    return r < 1 && r > 0.36;
}

static bool in_square(double x, double y)
{
    return fabs(x) < 0.82 && fabs(y) < 0.82;
}

static bool in_frame(double x, double y)
{
    double m = fmax(fabs(x), fabs(y));
    return m < 0.9 && m > 0.55;
}

static bool in_triangle(double x, double y)
{
    return y < 0.75 && y > 2 * fabs(x) - 1;
}

static bool in_plus(double x, double y)
{
    return fmin(fabs(x), fabs(y)) < 0.3 && fmax(fabs(x), fabs(y)) < 1;
}

static bool in_bars(double x, double y)
{
    return fabs(x) < 0.9 && fabs(y) < 0.9 && fmod(y + 0.9, 0.72) < 0.36;
}

static bool in_crescent(double x, double y)
{
    double dx = x - 0.45;
    return x * x + y * y < 1 && dx * dx + y * y > 0.6;
}

static bool in_star(double x, double y)
{
    double r = sqrt(x * x + y * y), a = atan2(y, x);
    return r < 0.62 + 0.36 * cos(5 * a);
}

static bool in_two_dots(double x, double y)
{
    double dx = fabs(x) - 0.55;
    return dx * dx + y * y < 0.18;
}

static bool (*const shapes[N_SHAPES])(double x, double y) = {
    in_disk, in_ring, in_square,   in_frame, in_triangle,
    in_plus, in_bars, in_crescent, in_star,  in_two_dots,
};

static const char *const class_names[N_SHAPES] = {
    "disk", "ring", "square",   "frame", "triangle",
    "plus", "bars", "crescent", "star",  "dots",
};

static const char *const texture_names[N_TEXTURES] = { "plain", "rows", "columns", "checks", "diagonals", "dots" };

/* ---- one image ------------------------------------------------------------------- */

struct scene {
    uint32_t shape, texture;
    double cx, cy, scale, cos_turn, sin_turn;
    double fore[3], fore2[3], back[3], slope[3][2];
    double frequency, phase, noise;
    double spot_x, spot_y, spot_r, spot[3];
};

static double uniform(struct bk_random *r, double lo, double hi)
{
    return lo + (hi - lo) * bk_random_f64(r);
}

/* Far enough from `back` to be seen. */
static void draw_color(struct bk_random *r, const double back[3], double color[3])
{
    for (int tries = 0; tries < 20; tries++) {
        double distance = 0;
        for (int c = 0; c < 3; c++) {
            color[c] = uniform(r, 0, 255);
            distance += fabs(color[c] - back[c]);
        }
        if (distance > 150)
            return;
    }
}

static struct scene draw_scene(struct bk_random *r, uint32_t label, const struct synthetic *d)
{
    struct scene s = { .shape = label % N_SHAPES };
    uint32_t any = bk_random_below(r, N_TEXTURES);
    s.texture = d->classes > N_SHAPES ? label / N_SHAPES : any;
    if (d->label == LABEL_TEXTURE) {
        s.texture = label;
        s.shape = bk_random_below(r, N_SHAPES);
    }
    bool coarse = d->label == LABEL_TEXTURE;
    s.scale = coarse ? uniform(r, 0.75, 1) : uniform(r, 0.42, 0.8);
    s.cx = uniform(r, -0.9, 0.9) * (1 - s.scale);
    s.cy = uniform(r, -0.9, 0.9) * (1 - s.scale);
    double turn = uniform(r, -PI / 9, PI / 9);
    s.cos_turn = cos(turn);
    s.sin_turn = sin(turn);
    for (int c = 0; c < 3; c++) {
        s.back[c] = uniform(r, 20, 235);
        s.slope[c][0] = uniform(r, -40, 40);
        s.slope[c][1] = uniform(r, -40, 40);
    }
    draw_color(r, s.back, s.fore);
    draw_color(r, s.back, s.fore2);
    s.frequency = coarse ? uniform(r, 1.5, 3) : uniform(r, 2.5, 5);
    s.phase = uniform(r, 0, 1);
    s.noise = uniform(r, 0, d->noise);
    s.spot_x = uniform(r, -1, 1);
    s.spot_y = uniform(r, -1, 1);
    s.spot_r = uniform(r, 0.05, 0.18);
    draw_color(r, s.back, s.spot);
    return s;
}

/* Which of the two foreground colours. */
static bool second_color(const struct scene *s, double x, double y)
{
    double f = s->frequency, p = s->phase;
    int ix = (int)floor(x * f + p), iy = (int)floor(y * f + p);
    switch (s->texture) {
    case 1:
        return iy & 1;
    case 2:
        return ix & 1;
    case 3:
        return (ix + iy) & 1;
    case 4:
        return (int)floor((x + y) * f * 0.7 + p) & 1;
    case 5:
        return hypot(x * f + p - ix - 0.5, y * f + p - iy - 0.5) < 0.33;
    default:
        return false;
    }
}

static const double *color_at(const struct scene *s, double x, double y, double back[3])
{
    double dx = (x - s->cx) / s->scale, dy = (y - s->cy) / s->scale;
    double u = s->cos_turn * dx + s->sin_turn * dy,
           v = s->cos_turn * dy - s->sin_turn * dx;
    if (shapes[s->shape](u, v))
        return second_color(s, u, v) ? s->fore2 : s->fore;
    if (hypot(x - s->spot_x, y - s->spot_y) < s->spot_r)
        return s->spot;
    for (int c = 0; c < 3; c++)
        back[c] = s->back[c] + s->slope[c][0] * x + s->slope[c][1] * y;
    return back;
}

/* 2 x 2 samples a pixel. */
static void draw_pixel(const struct scene *s, struct bk_random *r, int64_t px,
                       int64_t py, int64_t size, uint8_t *out)
{
    double sum[3] = { 0, 0, 0 };
    for (int k = 0; k < 4; k++) {
        double back[3];
        double x = 2 * (px + 0.25 + 0.5 * (k & 1)) / size - 1;
        double y = 2 * (py + 0.25 + 0.5 * (k >> 1)) / size - 1;
        const double *color = color_at(s, x, y, back);
        for (int c = 0; c < 3; c++)
            sum[c] += color[c] / 4;
    }
    for (int c = 0; c < 3; c++) {
        double v = sum[c] + (s->noise > 0 ? s->noise * bk_random_normal(r) : 0);
        out[c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5);
    }
}

static void draw_image(const struct synthetic *d, uint32_t i, uint32_t label,
                       uint8_t *out)
{
    struct bk_random r;
    bk_random_init(&r, (uint64_t)d->seed, bk_random_stream("synthetic"), 0, i);
    struct scene s = draw_scene(&r, label, d);
    for (int64_t y = 0; y < d->size; y++)
        for (int64_t x = 0; x < d->size; x++, out += 3)
            draw_pixel(&s, &r, x, y, d->size, out);
}

/* ---- the cache ------------------------------------------------------------------- */

/* Class of image `k` of a part: every `classes` neighbours have all of them, in an
 * order that changes. */
static uint32_t label_of(const struct synthetic *d, uint32_t part, uint32_t k)
{
    uint32_t order[N_SHAPES * N_TEXTURES], n = (uint32_t)d->classes;
    struct bk_random r;
    bk_random_init(&r, (uint64_t)d->seed, bk_random_stream("synthetic labels"), part,
                   k / n);
    bk_random_permutation(&r, n, order);
    return order[k % n];
}

static int draw_all(const struct synthetic *d, struct bk_images_writer *w, uint8_t *rgb,
                    struct bk_error *err)
{
    const uint32_t part_n[3] = { (uint32_t)d->n_train, (uint32_t)d->n_val,
                                 (uint32_t)d->n_test };
    uint32_t i = 0, total = part_n[0] + part_n[1] + part_n[2];
    for (uint32_t part = 0; part < 3; part++)
        for (uint32_t k = 0; k < part_n[part]; k++, i++) {
            uint32_t label = label_of(d, part, k);
            const struct bk_image image = { rgb, (int32_t)d->size, (int32_t)d->size,
                                            (int32_t)label };
            draw_image(d, i, label, rgb);
            BK_TRY(bk_images_add(w, &image, err));
            if (i % 512 == 511) {
                d->host->progress(d->host->ctx, i + 1, total, "images", "drawing");
                if (d->host->cancelled(d->host->ctx))
                    return bk_fail(err, BK_EINTERRUPTED,
                                   "interrupted while drawing images");
            }
        }
    return BK_OK;
}

static int build(const struct synthetic *d, const char *path, struct bk_error *err)
{
    struct bk_images_writer *w;
    uint8_t *rgb = bk_alloc((size_t)d->size * (size_t)d->size * 3);
    int rc;

    if (!rgb)
        return bk_fail(err, BK_ENOMEM, "out of memory for an image");
    rc = bk_images_create(path, &w, err);
    if (rc == BK_OK) {
        rc = draw_all(d, w, rgb, err);
        if (rc == BK_OK)
            rc = bk_images_finish(w, err);
        else
            bk_images_drop(w);
    }
    bk_free(rgb);
    return rc;
}

static void make_key(const struct synthetic *d, char key[65])
{
    struct bk_sha256 sha;
    const int64_t numbers[8] = { GENERATOR_VERSION, d->classes, d->size, d->n_train,
                                 d->n_val,          d->n_test,  d->seed, d->label };
    bk_sha256_init(&sha);
    bk_sha256_add(&sha, numbers, sizeof numbers);
    bk_sha256_add(&sha, &d->noise, sizeof d->noise);
    bk_sha256_hex(&sha, key);
}

static int synthetic_open(void *state, const char *cache_dir, struct bk_error *err)
{
    struct synthetic *d = state;
    char key[65], *path = NULL;
    uint32_t n = (uint32_t)(d->n_train + d->n_val + d->n_test);

    if (d->images)
        return BK_OK;
    if (!d->index)
        d->index = bk_alloc(n * sizeof *d->index);
    if (!d->index)
        return bk_fail(err, BK_ENOMEM, "out of memory for %u images", (unsigned)n);
    for (uint32_t i = 0; i < n; i++)
        d->index[i] = i;
    make_key(d, key);
    BK_TRY(bk_images_cached(cache_dir, "synthetic", key, &path, &d->images, err));
    int rc = BK_OK;
    if (!d->images) {
        rc = build(d, path, err);
        if (rc == BK_OK)
            rc = bk_images_open(path, &d->images, err);
    }
    bk_free(path);
    return rc;
}

/* ---- the table ------------------------------------------------------------------- */

static int synthetic_init(void *state, const struct bk_host *host, struct bk_error *err)
{
    struct synthetic *d = state;
    d->host = host;
    if (d->label == LABEL_TEXTURE && d->classes > N_TEXTURES)
        return bk_fail(err, BK_ECONFIG, "there are %d textures, classes = %d is too many; legal: 2..%d", N_TEXTURES,
                       (int)d->classes, N_TEXTURES);
    return BK_OK;
}

static void synthetic_free(void *state)
{
    struct synthetic *d = state;
    bk_images_close(d->images);
    bk_free(d->index);
}

static int synthetic_info(void *state, struct bk_dataset_info *out,
                          struct bk_error *err)
{
    const struct synthetic *d = state;
    (void)err;
    out->n_classes = (int32_t)d->classes;
    out->size = (int32_t)d->size;
    for (int c = 0; c < 3; c++) {
        out->mean[c] = out->alone_mean[c] = 0.5;
        out->std[c] = out->alone_std[c] = 0.25;
    }
    out->class_names = d->label == LABEL_TEXTURE ? texture_names : d->classes <= N_SHAPES ? class_names : NULL;
    return BK_OK;
}

static int synthetic_split(void *state, const char *name, struct bk_split *out,
                           struct bk_error *err)
{
    struct synthetic *d = state;
    uint32_t train = (uint32_t)d->n_train, val = (uint32_t)d->n_val;

    if (!d->images)
        return bk_fail(err, BK_ESTATE, "dataset 'synthetic' is not open");
    if (strcmp(name, "train") == 0)
        bk_split_init(out, d->images, d->index, train);
    else if (strcmp(name, "val") == 0)
        bk_split_init(out, d->images, d->index + train, val);
    else if (strcmp(name, "test") == 0)
        bk_split_init(out, d->images, d->index + train + val, (uint32_t)d->n_test);
    else if (strcmp(name, "full") == 0)
        bk_split_init(out, d->images, d->index, train + val);
    else
        return bk_fail(
            err, BK_ENOTFOUND,
            "dataset 'synthetic' has no split '%s'; legal: train, val, test, full",
            name);
    return BK_OK;
}

static const struct bk_dataset_iface iface = {
    .struct_size = sizeof(struct bk_dataset_iface),
    .open = synthetic_open,
    .info = synthetic_info,
    .split = synthetic_split,
};

static const struct bk_plugin synthetic = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_DATASET,
    .name = "synthetic",
    .version = "1.0.0",
    .summary = "textured shapes drawn from a seed, nothing to download",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct synthetic),
    .init = synthetic_init,
    .free = synthetic_free,
    .iface = &iface,
};

BK_MODULE(&synthetic);

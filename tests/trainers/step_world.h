/*
 * tests/trainers/step_world.h: the step fixtures as a trainer sees them: their images are the training split, a sampler gives
 * their paths, and the environment stands before their block. Not a test itself.
 */
#ifndef BK_TESTS_STEP_WORLD_H
#define BK_TESTS_STEP_WORLD_H

#include "method_data.h"
#include "step_fixture.h"

enum { STEP_MAX_IMAGES = 32 };

struct step_world {
    struct world w;
    struct bk_bundle *data;
    struct bk_images *images;
    uint32_t index[STEP_MAX_IMAGES];
};

static struct bk_path step_path[BK_MAX_SAMPLED];
static int32_t step_n_paths;

static inline int step_sample(void *state, const struct bk_space *space, int32_t block, int32_t entry, uint64_t seed,
                              uint64_t step, int32_t wanted, struct bk_path out[BK_MAX_SAMPLED], int32_t *n,
                              struct bk_error *err)
{
    (void)state, (void)space, (void)block, (void)entry, (void)seed, (void)step, (void)wanted, (void)err;
    memcpy(out, step_path, sizeof step_path);
    *n = step_n_paths;
    return BK_OK;
}

/* The fixture's images as the training split of a cache of their own; labels: NULL for 0. */
static inline void step_store_images(struct step_world *s, const int32_t *labels)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_bundle_entry *e = step_images(s->data);
    int32_t n = (int32_t)e->dim[0], side = (int32_t)e->dim[1];
    struct bk_images_writer *writer;
    char path[4200];
    CU_ASSERT_FATAL(n <= STEP_MAX_IMAGES);
    snprintf(path, sizeof path, "%s/step.images", s->w.cache);
    BK_ASSERT_OK(bk_images_create(path, &writer, &err));
    for (int32_t i = 0; i < n; i++) {
        s->index[i] = (uint32_t)i;
        struct bk_image image = { (const uint8_t *)e->data + i * side * side * 3, side, side, labels ? labels[i] : 0 };
        BK_ASSERT_OK(bk_images_add(writer, &image, &err));
    }
    BK_ASSERT_OK(bk_images_finish(writer, &err));
    BK_ASSERT_OK(bk_images_open(path, &s->images, &err));
    s->w.data.train = (struct bk_split){ .images = s->images, .index = s->index, .n = (uint32_t)n };
}

static inline void step_open(struct step_world *s, const struct step_case *c, const int32_t *labels)
{
    static const struct bk_sampler_iface fixed = { .struct_size = sizeof fixed, .sample = step_sample };
    struct bk_env *env = &s->w.env;
    s->data = step_read(c, "");
    world_open(&s->w, BK_F32, 8, 8);
    CU_ASSERT_EQUAL(env->seed, STEP_SEED);
    fixture_space(&s->w.f, c->space, c->options, &s->w.space);
    step_store_images(s, labels);
    step_n_paths = step_paths(s->data, "paths", step_path);
    s->w.sampler = (struct bk_sampler){ &fixed, NULL, "fixed" };
    env->block = c->block;
    CU_ASSERT_EQUAL(step_paths(s->data, "prefix", env->prefix), c->block);
    env->entry = bk_space_entry(&s->w.space, c->block, env->prefix);
}

static inline void step_close(struct step_world *s)
{
    bk_bundle_free(s->data);
    bk_images_close(s->images);
    world_close(&s->w);
}

/* Replace "<network>.<slot>" in a checkpoint by the fixture's values, as far as it has them; returns how many. */
static inline int step_put_weights(struct bk_bundle *checkpoint, const char *network, const struct bk_bundle *data, bool target)
{
    struct bk_error err = BK_ERROR_INIT;
    size_t skip = strlen(network) + 1;
    int found = 0;
    for (size_t i = 0; i < bk_bundle_count(checkpoint); i++) {
        const struct bk_bundle_entry *e = bk_bundle_at(checkpoint, i);
        char name[128];
        if (strncmp(e->name, network, skip - 1) || e->name[skip - 1] != '.')
            continue;
        float *v = bk_alloc(e->nbytes);
        snprintf(name, sizeof name, "%s", e->name);
        if (step_weight(data, target, name + skip, e->rank, e->dim, v)) {
            BK_ASSERT_OK(bk_bundle_put(checkpoint, name, e->dtype, e->rank, e->dim, v, &err));
            found++;
        }
        bk_free(v);
    }
    return found;
}

/* Every "<prefix><slot>" of the fixture against "<network>.<slot><ending>" of the result; returns how many. */
static inline int step_compare(const struct bk_bundle *data, const char *prefix, const struct bk_bundle *result,
                               const char *network, const char *ending, double floor)
{
    int n = 0;
    for (size_t i = 0; i < bk_bundle_count(data); i++) {
        const struct bk_bundle_entry *want = bk_bundle_at(data, i);
        char name[128];
        if (strncmp(want->name, prefix, strlen(prefix)))
            continue;
        snprintf(name, sizeof name, "%s.%s%s", network, want->name + strlen(prefix), ending);
        const struct bk_bundle_entry *got = bk_bundle_find(result, name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(got);
        int64_t count = (int64_t)(got->nbytes / sizeof(float));
        double d = step_difference(want, got->data, count, fmax(floor, step_partner(data, want->name, count)));
        if (!(d <= step_tolerance))
            printf("\n    %s differs by %g\n", name, d);
        CU_ASSERT(d <= step_tolerance);
        n++;
    }
    return n;
}

#endif

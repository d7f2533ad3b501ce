/*
 * Seconds of one ensemble-bootstrapping iteration on a space, the bosskit side of bench/compare.py.
 *
 *     bench_step [--space nats_ss|mbconv] [--size PIXELS] [--clock wall|cpu]
 *
 * Reads requests on stdin, "BLOCK DTYPE ROUNDS BATCH" a line, and answers with the seconds of every round; the trainer is the real
 * plugin with its loader, fixed paths, and no update inside the measured window (accumulation is longer than the run), as on the
 * other side. Not a test: nothing depends on the figures.
 */
#include "plugin/registry.h"
#include <bosskit/file.h>
#include <bosskit/method.h>
#include <bosskit/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { N_IMAGES = 1024, N_PATHS = 4, MAX_SIZE = 512 };

/* What is run: four paths a block that use every choice alike, and the path of each block before. The other side has them, too. */
static const struct subject {
    const char *space;
    int size;                   /* of the images, unless --size says otherwise */
    const char *path[BK_MAX_BLOCKS][N_PATHS], *best[BK_MAX_BLOCKS];
} subjects[] = {
    { "nats_ss", 32,
      { { "74", "26", "51", "03" }, { "57", "12", "60", "34" }, { "6", "1", "4", "3" } },
      { "74", "57" } },
    { "mbconv", 112,
      { { "01", "12", "23", "30" },
        { "0123", "1230", "2301", "3012" },
        { "0123", "1230", "2301", "3012" },
        { "0123", "1230", "2301", "3012" },
        { "0123", "1230", "2301", "3012" } },
      { "11", "0110", "0111", "1100" } },
};

static const struct subject *subject = &subjects[0];
static clockid_t which_clock = CLOCK_MONOTONIC;         /* or processor time of all threads: on a machine that is not idle */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(which_clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static struct bk_error err;

static void must(int rc)
{
    if (rc) {
        fprintf(stderr, "bench: %s\n", err.text);
        exit(1);
    }
}

static int sample(void *state, const struct bk_space *space, int32_t block, int32_t entry, uint64_t seed, uint64_t step,
                  int32_t wanted, struct bk_path out[BK_MAX_SAMPLED], int32_t *n, struct bk_error *e)
{
    (void)state, (void)space, (void)entry, (void)seed, (void)step, (void)wanted;
    for (*n = 0; *n < N_PATHS; ++*n)
        BK_TRY(bk_path_parse(subject->path[block][*n], &out[*n], e));
    return BK_OK;
}

static const struct bk_sampler_iface fixed_iface = { .struct_size = sizeof fixed_iface, .sample = sample };
static const struct bk_sampler fixed_paths = { &fixed_iface, NULL, "fixed" };

/* Random images in a cache file that is unlinked at once. */
static void make_images(struct bk_split *split, int size)
{
    static uint32_t index[N_IMAGES];
    static uint8_t rgb[MAX_SIZE * MAX_SIZE * 3];
    char path[] = "/tmp/bosskit-bench-XXXXXX";
    struct bk_images_writer *w;
    struct bk_images *images;
    struct bk_random r;
    int fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    must(bk_images_create(path, &w, &err));
    bk_random_init(&r, 1, 1, 0, 0);
    for (uint32_t i = 0; i < N_IMAGES; i++) {
        for (int j = 0; j < size * size * 3; j++)
            rgb[j] = (uint8_t)bk_random_u32(&r);
        must(bk_images_add(w, &(struct bk_image){ rgb, size, size, (int32_t)(i % 10) }, &err));
        index[i] = i;
    }
    must(bk_images_finish(w, &err));
    must(bk_images_open(path, &images, &err));
    unlink(path);
    *split = (struct bk_split){ .images = (const struct bk_images *)images, .index = index, .n = N_IMAGES };
}

static struct bk_instance *open_plugin(const struct bk_registry *r, uint32_t kind, const char *name, const char *const *options)
{
    struct bk_value *root = bk_zalloc(sizeof *root);
    struct bk_instance *out;
    root->type = BK_VALUE_GROUP;
    for (; options && *options; options++) {
        char text[128];
        snprintf(text, sizeof text, "o.%s", *options);
        must(bk_value_override(root, text, &err));
    }
    must(bk_instance_open(r, kind, name, bk_value_find(root, "o"), NULL, name, NULL, &out, &err));
    return out;
}

/* What the trainer of the block before would have left, with initial values. */
static struct bk_bundle *previous_block(struct bk_device *device, const struct bk_space *space, int block)
{
    struct bk_bundle *out;
    struct bk_siamese s;
    if (block == 0)
        return NULL;
    must(bk_bundle_new(&out, &err));
    must(bk_siamese_init(&s, device, BK_F32, space, block - 1, 4096, 256, 1, &err));
    must(bk_siamese_save(&s, out, &err));
    bk_siamese_release(&s);
    return out;
}

static void begin(struct bk_registry *registry, const struct bk_data *data, struct bk_device *device,
                         const struct bk_space *space, int block, const char *dtype, int batch, struct bk_env *env,
                         struct bk_instance **trainer)
{
    char batch_option[32];
    snprintf(batch_option, sizeof batch_option, "batch=%d", batch);
    const char *options[] = { batch_option, "paths=4", "accumulate=30000", "epochs=1000", "views=shared", NULL };
    *trainer = open_plugin(registry, BK_KIND_TRAINER, "ensemble_bootstrap", options);
    *env = (struct bk_env){ .struct_size = sizeof *env, .dtype = strcmp(dtype, "bf16") ? BK_F32 : BK_BF16, .device = device,
                            .host = &(*trainer)->host, .space = space, .data = data, .sampler = &fixed_paths, .block = block };
    for (int k = 0; k < block; k++)
        must(bk_path_parse(subject->best[k], &env->prefix[k], &err));
    env->entry = bk_space_entry(space, block, env->prefix);
    const struct bk_trainer_iface *iface = bk_instance_iface(*trainer);
    struct bk_bundle *previous = previous_block(device, space, block);
    must(iface->begin((*trainer)->state, env, previous, &err));
    bk_bundle_free(previous);
}

/* The images' size; sets the subject and the clock. */
static int read_arguments(int argc, char **argv)
{
    int size = 0;
    bool ok = argc % 2;
    for (int i = 1; i + 1 < argc && ok; i += 2) {
        const struct subject *found = NULL;
        for (size_t k = 0; k < BK_ARRAY_LEN(subjects) && !strcmp(argv[i], "--space"); k++)
            if (!strcmp(argv[i + 1], subjects[k].space))
                subject = found = &subjects[k];
        if (!strcmp(argv[i], "--size"))
            size = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--clock") && !strcmp(argv[i + 1], "cpu"))
            which_clock = CLOCK_PROCESS_CPUTIME_ID;
        ok = found || !strcmp(argv[i], "--clock") || (size >= 16 && size <= MAX_SIZE);
    }
    if (!ok) {
        fprintf(stderr, "usage: bench_step [--space nats_ss|mbconv] [--size 16..%d] [--clock wall|cpu]\n", MAX_SIZE);
        exit(2);
    }
    return size ? size : subject->size;
}

int main(int argc, char **argv)
{
    int size = read_arguments(argc, argv);
    struct bk_registry *registry;
    struct bk_device *device;
    struct bk_backend_info info = { .struct_size = sizeof info };
    struct bk_data data = { .threads = bk_threads() };
    char line[128];

    must(bk_registry_open(NULL, 0, &registry, &err));
    const char *wanted = getenv("BOSSKIT_BENCH_BACKEND");
    struct bk_instance *backend = open_plugin(registry, BK_KIND_BACKEND, wanted && *wanted ? wanted : "cpu", NULL);
    must(bk_device_open(bk_instance_iface(backend), backend->state, 0, BK_REPEATABLE, bk_threads(), &device, &err));
    must(bk_device_info(device, &info, &err));
    struct bk_instance *si = open_plugin(registry, BK_KIND_SPACE, subject->space, NULL);
    struct bk_space space = { .iface = bk_instance_iface(si), .state = si->state, .name = subject->space };
    space.info.struct_size = sizeof space.info;
    must(space.iface->info(space.state, &space.info, &err));
    make_images(&data.train, size);
    must(bk_augment_named("cifar", size, &data.view1, &err));
    data.view2 = data.view1;
    printf("bosskit %s, %s at %d pixels, %s, %s, threads %d\n", BK_VERSION, subject->space, size, info.device_name, info.libraries, bk_threads());
    fflush(stdout);

    while (fgets(line, sizeof line, stdin)) {
        int block, rounds, batch;
        char dtype[16];
        struct bk_env env;
        struct bk_instance *trainer;
        struct bk_progress progress = { .struct_size = sizeof progress };
        if (sscanf(line, "%d %15s %d %d", &block, dtype, &rounds, &batch) != 4 || block < 0 || block >= space.info.n_blocks)
            continue;
        begin(registry, &data, device, &space, block, dtype, batch, &env, &trainer);
        const struct bk_trainer_iface *iface = bk_instance_iface(trainer);
        must(iface->advance(trainer->state, 0, &progress, &err));
        must(bk_device_synchronize(device, &err));
        for (int i = 0; i < rounds; i++) {
            double t = seconds();
            must(iface->advance(trainer->state, 0, &progress, &err));
            must(bk_device_synchronize(device, &err));
            printf("%s%.4f", i ? " " : "", seconds() - t);
        }
        printf("\n");
        fflush(stdout);
        iface->end(trainer->state);
        bk_instance_close(trainer);
    }
    return 0;
}

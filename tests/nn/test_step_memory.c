/*
 * A device with too little memory, made of `ref` and a limit: what a step, a trainer and a rater say, and that the batch they name
 * does fit. On a GPU and its emulation: tests/backends/test_cuda_device.c.
 */
#include "autograd/step_memory.h"
#include "method_data.h"
#include <bosskit/ops.h>

static struct bk_error err;
static size_t limit, used;
static int n_runs;
static bool no_workspace;

static int limited_alloc(void *state, size_t nbytes, void **out, struct bk_error *e)
{
    if (nbytes > limit - used)
        return bk_fail(e, BK_ENOMEM, "%zu bytes asked for, %zu free", nbytes, limit - used);
    BK_TRY(bk_ref_backend.alloc(state, nbytes, out, e));
    used += nbytes;
    return BK_OK;
}

static void limited_dealloc(void *state, void *p, size_t nbytes)
{
    bk_ref_backend.dealloc(state, p, nbytes);
    used -= nbytes;
}

static int limited_memory(void *state, size_t *available, size_t *total, struct bk_error *e)
{
    (void)state, (void)e;
    *available = limit - used;
    *total = limit;
    return BK_OK;
}

static int limited_run(void *state, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *e)
{
    n_runs++;
    if (no_workspace)
        return bk_fail(e, BK_ENOMEM, "workspace region: nothing left");
    return bk_ref_backend.run(state, kernel, args, e);
}

static struct bk_device *open_limited(bool knows_its_memory)
{
    static struct bk_backend_iface limited;
    struct bk_device *d;
    limited = bk_ref_backend;
    limited.alloc = limited_alloc;
    limited.dealloc = limited_dealloc;
    limited.run = limited_run;
    limited.memory = knows_its_memory ? limited_memory : NULL;
    used = 0;
    limit = (size_t)1 << 40;
    no_workspace = false;
    BK_ASSERT_OK(bk_device_open(&limited, NULL, 0, BK_REFERENCE, 1, &d, &err));
    return d;
}

/* The batch named in err. */
static int64_t named_batch(void)
{
    static const char hint[] = "; a batch of about ";
    const char *at = strstr(err.text, hint);
    if (!at)
        printf("\n    %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    return strtoll(at + strlen(hint), NULL, 10);
}

/* ---- a step ------------------------------------------------------------------------------------------------- */

struct step {
    struct bk_tape *tape;
    int64_t images;
    int calls;
};

/* 9 MiB an image: nine tensors, of which the last two come after something was read from the device. */
static int take(void *user, struct bk_error *e)
{
    struct step *s = user;
    struct bk_tensor *t, *one, *y;
    float v;
    s->calls++;
    bk_tape_reset(s->tape);
    for (int i = 0; i < 9; i++) {
        BK_TRY(bk_tape_tensor(s->tape, BK_F32, 2, (int64_t[]){ s->images, 1 << 18 }, &t, e));
        if (i != 6)
            continue;
        BK_TRY(bk_tape_tensor(s->tape, BK_F32, 1, (int64_t[]){ 1 }, &one, e));
        BK_TRY(bk_tensor_zero(one, e));
        BK_TRY(bk_relu(s->tape, one, &y, e));
        BK_TRY(bk_tensor_read_f32(y, &v, e));
        if (v != 0)
            return bk_fail(e, BK_ENUMERIC, "%g is not 0", (double)v);
    }
    return BK_OK;
}

static void test_step(void)
{
    struct bk_device *d = open_limited(true);
    struct step s = { .images = 100 };
    BK_ASSERT_OK(bk_tape_new(d, &s.tape, &err));
    limit = (size_t)401 << 20;          /* one over, for the red zones of a sanitized build */
    n_runs = 0;
    CU_ASSERT_EQUAL(bk__step_run(s.tape, s.images, take, &s, &err), BK_ENOMEM);
    CU_ASSERT_EQUAL(s.calls, 2);
    CU_ASSERT_EQUAL(n_runs, 0);         /* the second time was dry */
    CU_ASSERT(!strncmp(err.text, "step region, 400 MiB held: 104857", 33));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, " bytes asked for, 10"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "; a step of 100 images needs 901 MiB of step memory; a batch"));
    s.images = named_batch();
    CU_ASSERT(s.images >= 30 && s.images <= 44);
    BK_ASSERT_OK(bk__step_run(s.tape, s.images, take, &s, &err));
    CU_ASSERT_EQUAL(n_runs, 1);
    CU_ASSERT_EQUAL(s.calls, 3);
    bk_tape_free(s.tape);
    CU_ASSERT_EQUAL(used, 0);
    bk_device_close(d);
}

static void test_nothing_fits(void)
{
    struct bk_device *d = open_limited(true);
    struct step s = { .images = 2 };
    BK_ASSERT_OK(bk_tape_new(d, &s.tape, &err));
    limit = (size_t)4 << 20;
    CU_ASSERT_EQUAL(bk__step_run(s.tape, 2, take, &s, &err), BK_ENOMEM);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "needs 19 MiB of step memory, and not one image fits"));
    bk_tape_free(s.tape);
    bk_device_close(d);
}

/* The kernels' own memory may be what is missing, and a backend may not know what is free. */
static void test_workspace(void)
{
    struct bk_device *d = open_limited(true);
    struct step s = { .images = 10 };
    BK_ASSERT_OK(bk_tape_new(d, &s.tape, &err));
    no_workspace = true;
    CU_ASSERT_EQUAL(bk__step_run(s.tape, 10, take, &s, &err), BK_ENOMEM);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "workspace region: nothing left"));
    CU_ASSERT_EQUAL(named_batch(), 8);
    bk_tape_free(s.tape);
    bk_device_close(d);

    d = open_limited(false);
    BK_ASSERT_OK(bk_tape_new(d, &s.tape, &err));
    limit = (size_t)40 << 20;
    CU_ASSERT_EQUAL(bk__step_run(s.tape, 10, take, &s, &err), BK_ENOMEM);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "a step of 10 images needs 91 MiB of step memory"));
    CU_ASSERT_PTR_NULL(strstr(err.text, "would fit"));
    bk_tape_free(s.tape);
    bk_device_close(d);
}

/* No memory of the host, or another failure: the sentence stays as it is and nothing runs again. */
static int fail_otherwise(void *user, struct bk_error *e)
{
    ++*(int *)user;
    return bk_fail(e, BK_ENOMEM, "no memory for a list");
}

static void test_other_failures(void)
{
    struct bk_device *d = open_limited(true);
    struct bk_tape *tape;
    int calls = 0;
    BK_ASSERT_OK(bk_tape_new(d, &tape, &err));
    CU_ASSERT_EQUAL(bk__step_run(tape, 4, fail_otherwise, &calls, &err), BK_ENOMEM);
    CU_ASSERT_EQUAL(calls, 1);
    CU_ASSERT_STRING_EQUAL(err.text, "no memory for a list");
    bk_tape_free(tape);
    limit = 1000;
    struct bk_tensor *t;
    CU_ASSERT_EQUAL(bk_tensor_new(d, BK_F32, 1, (int64_t[]){ 1000 }, &t, &err), BK_ENOMEM);
    CU_ASSERT_STRING_EQUAL(err.text, "parameter region: 4000 bytes asked for, 1000 free");
    bk_device_close(d);
}

/* ---- trainers and raters ------------------------------------------------------------------------------------- */

enum { N_TRAIN = 96 };

static void open_world(struct world *w)
{
    world_open(w, BK_F32, N_TRAIN, 32);
    bk_device_close(w->device);
    w->env.device = w->device = open_limited(true);
}

/* Begin and one iteration; with `room` bytes beside what begin() takes, or without limit. */
static int train(struct world *w, const char *trainer, int64_t batch, size_t room, size_t *peak)
{
    char option[32];
    snprintf(option, sizeof option, "batch=%lld", (long long)batch);
    bool supervised = !strcmp(trainer, "supervised");
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, trainer,
                                        OPTIONS("epochs=1", "accumulate=1", option, supervised ? NULL : "hidden=16", "embed=8"));
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_progress p = { .struct_size = sizeof p };
    limit = (size_t)1 << 40;
    BK_ASSERT_OK(t->begin(i->state, &w->env, NULL, &err));
    size_t before = used;
    limit = room ? used + room : limit;
    int rc = t->advance(i->state, 0, &p, &err);
    *peak = used - before;
    t->end(i->state);
    bk_instance_close(w->f.instance[--w->f.n]);
    CU_ASSERT_EQUAL(used, 0);
    return rc;
}

static void check_trainer(const char *trainer)
{
    struct world w;
    size_t peak;
    open_world(&w);
    size_t room = (size_t)600 << 10;
    CU_ASSERT_EQUAL(train(&w, trainer, 96, room, &peak), BK_ENOMEM);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "a step of 96 images needs "));
    int64_t batch = named_batch();
    printf("  %s: %lld of 96 ...", trainer, (long long)batch);
    CU_ASSERT(batch >= 8 && batch < 90);
    BK_ASSERT_OK(train(&w, trainer, batch, room, &peak));
    CU_ASSERT(peak <= room && peak > room / 2);
    world_close(&w);
}

static void test_trainers(void)
{
    check_trainer("supervised");
    check_trainer("ensemble_bootstrap");
}

static void test_rater(void)
{
    struct world w;
    open_world(&w);
    struct bk_bundle *trained = world_train(&w, "supervised", OPTIONS("epochs=1", "batch=32"), NULL, NULL);
    struct bk_instance *i = fixture_get(&w.f, BK_KIND_RATER, "supervised_acc", OPTIONS("batch=32", "calib_images=2"));
    const struct bk_rater_iface *r = bk_instance_iface(i);
    struct bk_block_table t = { 0 };
    size_t room = (size_t)200 << 10;
    int64_t batch = 0;
    for (int round = 0; round < 2; round++) {
        limit = room;
        int rc = r->rate_block(i->state, &w.env, trained, &t, &err);
        bk_block_table_release(&t);
        if (round) {
            BK_ASSERT_OK(rc);
            break;
        }
        CU_ASSERT_EQUAL(rc, BK_ENOMEM);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "a step of 32 images needs "));
        batch = named_batch();
        char option[32];
        snprintf(option, sizeof option, "batch=%lld", (long long)batch);
        i = fixture_get(&w.f, BK_KIND_RATER, "supervised_acc", OPTIONS(option, "calib_images=2"));
    }
    printf("  %lld of 32 ...", (long long)batch);
    CU_ASSERT(batch >= 2 && batch < 32);
    CU_ASSERT_EQUAL(used, 0);
    limit = (size_t)1 << 40;
    bk_bundle_free(trained);
    world_close(&w);
}

BK_SUITE({ "a step", test_step }, { "nothing fits", test_nothing_fits }, { "workspace", test_workspace },
         { "other failures", test_other_failures }, { "trainers", test_trainers }, { "a rater", test_rater })

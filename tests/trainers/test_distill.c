/*
 * Trainer "distill" on the reference device: resuming in the middle of the teacher's and of the student's training, what
 * the teacher does between blocks, what is refused. Its gradients: test_distill_step.c; its teachers: test_teachers.c.
 */
#include "trainers/trainer_checks.h"

/* 20 images in batches of 10: 6 iterations of the teacher and 6 of the student. */
#define SHORT "batch=10", "epochs=3", "teacher_epochs=3"

static void test_resume(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 8);
    check_resume(&w, "distill", NULL, OPTIONS(SHORT));
    check_resume(&w, "distill", NULL, OPTIONS("batch=10", "epochs=6", "teacher_epochs=0", "optimizer=adamw"));
    check_resume(&w, "distill", NULL, OPTIONS("batch=10", "epochs=6", "teacher_epochs=0", "accumulate=3", "augment=dna"));
    struct bk_bundle *first = world_train(&w, "distill", OPTIONS(SHORT), NULL, NULL);
    world_enter_block_1(&w);
    check_resume(&w, "distill", first, OPTIONS("batch=10", "epochs=6", "teacher_epochs=3"));
    bk_bundle_free(first);
    world_close(&w);
}

static void test_no_allocation(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 8);
    if (world_use_backend(&w, "cpu"))
        check_no_allocation(&w, "distill", NULL, OPTIONS("batch=10", "epochs=40", "teacher_epochs=0"), 70);
    world_close(&w);
}

static int count_prefix(const struct bk_bundle *b, const char *prefix, const struct bk_bundle *other, int *same)
{
    int n = 0;
    *same = 0;
    for (size_t i = 0; i < bk_bundle_count(b); i++) {
        const char *name = bk_bundle_at(b, i)->name;
        if (strncmp(name, prefix, strlen(prefix)))
            continue;
        n++;
        *same += same_entry(b, other, name, name);
    }
    return n;
}

static struct bk_bundle *state_after(struct world *w, const char *const *options, int iterations)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_progress p = { .struct_size = sizeof p };
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, "distill", options);
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_bundle *b;
    BK_ASSERT_OK(t->begin(i->state, &w->env, NULL, &err));
    for (int s = 0; s < iterations; s++)
        BK_ASSERT_OK(t->advance(i->state, 0, &p, &err));
    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    BK_ASSERT_OK(t->save(i->state, b, &err));
    t->end(i->state);
    bk_instance_close(w->f.instance[--w->f.n]);
    return b;
}

/* Three batches of the same 20 images, in other orders, give the moments of Adam of one: the mean of their gradients along
 * one path, and weight decay once. */
static void test_accumulate(void)
{
    struct world w;
    int n = 0;
    world_open(&w, BK_F32, 20, 8);
    w.data.alone = w.data.plain;                        /* the images as they are */
    struct bk_bundle *one = state_after(&w, OPTIONS("batch=20", "teacher_epochs=0", "weight_decay=0.1"), 1);
    struct bk_bundle *three = state_after(&w, OPTIONS("batch=20", "teacher_epochs=0", "weight_decay=0.1", "accumulate=3"), 3);
    for (size_t i = 0; i < bk_bundle_count(one); i++) {
        const struct bk_bundle_entry *a = bk_bundle_at(one, i), *b = bk_bundle_find(three, a->name);
        size_t length = strlen(a->name);
        double worst = 0, scale = 1e-3;
        if (strncmp(a->name, "optim.", 6) || a->dtype != BK_F32 || strcmp(a->name + length - 2, ".m"))
            continue;
        CU_ASSERT_PTR_NOT_NULL_FATAL(b);
        for (size_t k = 0; k < a->nbytes / sizeof(float); k++) {
            scale = fmax(scale, fabs((double)((const float *)a->data)[k]));
            worst = fmax(worst, fabs((double)((const float *)a->data)[k] - (double)((const float *)b->data)[k]));
        }
        CU_ASSERT(worst < 1e-4 * scale);
        n++;
    }
    CU_ASSERT(n > 8);
    bk_bundle_free(three);
    bk_bundle_free(one);
    world_close(&w);
}

/* DNA's images train another student, not another teacher, and the rater calibrates with what the artefact names. */
static void test_dna_images(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct world w;
    int n, same;
    world_open(&w, BK_F32, 20, 8);
    struct bk_bundle *plain = world_train(&w, "distill", OPTIONS("batch=10", "epochs=1", "teacher_epochs=1"), NULL, NULL);
    struct bk_bundle *dna = world_train(&w, "distill", OPTIONS("batch=10", "epochs=1", "teacher_epochs=1", "augment=dna"), NULL, NULL);
    n = count_prefix(dna, "teacher.", plain, &same);
    CU_ASSERT_EQUAL(same, n);
    n = count_prefix(dna, "student.", plain, &same);
    CU_ASSERT(same < n);
    struct bk_block_table with = world_rate(&w, "distill_loss", dna, OPTIONS("calib_images=20", "batch=8"));
    BK_ASSERT_OK(bk_bundle_put_i64(dna, "augment", 1, &err));
    struct bk_block_table without = world_rate(&w, "distill_loss", dna, OPTIONS("calib_images=20", "batch=8"));
    CU_ASSERT_EQUAL_FATAL(with.n, without.n);
    CU_ASSERT(memcmp(with.score, without.score, with.n * sizeof *with.score) != 0);
    bk_block_table_release(&without);
    bk_block_table_release(&with);
    bk_bundle_free(dna);
    bk_bundle_free(plain);
    world_close(&w);
}

/* The teacher learns its labels in block 0 alone; its weights are those of block 0 in every artefact. */
static void test_teacher_travels(void)
{
    struct world w;
    int n, same;
    world_open(&w, BK_F32, 20, 8);
    struct bk_bundle *untaught = world_train(&w, "distill", OPTIONS("batch=10", "epochs=1", "teacher_epochs=0"), NULL, NULL);
    struct bk_bundle *first = world_train(&w, "distill", OPTIONS("batch=10", "epochs=1", "teacher_epochs=2"), NULL, NULL);
    n = count_prefix(first, "teacher.", untaught, &same);
    CU_ASSERT(n > 100 && same < n);
    world_enter_block_1(&w);
    struct bk_bundle *second = world_train(&w, "distill", OPTIONS("batch=10", "epochs=1", "teacher_epochs=2"), first, NULL);
    CU_ASSERT_EQUAL(count_prefix(second, "teacher.", first, &same), n);
    CU_ASSERT_EQUAL(same, n);
    CU_ASSERT_PTR_NULL(bk_bundle_find(second, "student.block0.stem.weight"));
    CU_ASSERT_PTR_NOT_NULL(bk_bundle_find(first, "student.block0.stem.weight"));
    CU_ASSERT_STRING_EQUAL(bk_bundle_text(second, "teacher"), "6:6:6:6:6");
    bk_bundle_free(second);
    bk_bundle_free(first);
    bk_bundle_free(untaught);
    world_close(&w);
}

/* A result of the trainer can be the weights of a pretrained teacher; the classifier is not wanted. */
static void test_pretrained(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct world w;
    char path[4200], weights[4300];
    int n, same;
    world_open(&w, BK_F32, 20, 8);
    struct bk_bundle *first = world_train(&w, "distill", OPTIONS("batch=10", "epochs=1", "teacher_epochs=1", "teacher_arch=resnet20"),
                                          NULL, NULL);
    snprintf(path, sizeof path, "%s/trained.safetensors", w.cache);
    snprintf(weights, sizeof weights, "teacher_weights=%s", path);
    BK_ASSERT_OK(bk_bundle_write(first, path, &err));
    struct bk_bundle *second = world_train(&w, "distill", OPTIONS("batch=10", "epochs=1", "teacher=pretrained",
                                                                  "teacher_arch=resnet20", weights), NULL, NULL);
    n = count_prefix(second, "teacher.", first, &same);
    CU_ASSERT_EQUAL(n, 105);        /* 21 convolutions (2 of them projections) with their norms, no classifier */
    CU_ASSERT_EQUAL(same, n);
    bk_bundle_free(second);
    bk_bundle_free(first);
    world_close(&w);
}

/* Mean loss of the first and of the last 10 of 200 iterations. */
static void test_student_approaches(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_progress p = { .struct_size = sizeof p };
    struct world w;
    double first = 0, last = 0;
    world_open(&w, BK_F32, 20, 8);
    struct bk_instance *i = fixture_get(&w.f, BK_KIND_TRAINER, "distill",
                                        OPTIONS("batch=20", "teacher_epochs=0", "epochs=200", "lr_decay=0.98"));
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    BK_ASSERT_OK(t->begin(i->state, &w.env, NULL, &err));
    for (int step = 0; step < 200; step++) {
        BK_ASSERT_OK(t->advance(i->state, 0, &p, &err));
        first += step < 10 ? p.loss / 10 : 0;
        last += step >= 190 ? p.loss / 10 : 0;
    }
    t->end(i->state);
    if (!(last < 0.6 * first))
        printf("\n    loss %g, then %g\n", first, last);
    CU_ASSERT(last > 0 && last < 0.6 * first);
    world_close(&w);
}

/* In bf16 the loss of a block behind a teacher is near that in f32, and so are the ratings of one block. */
static void test_bf16(void)
{
    static const char *const options[] = { "batch=10", "epochs=2", "teacher_epochs=1", NULL };
    struct bk_block_table rating[2];
    double loss[2];
    struct world w;
    world_open(&w, BK_F32, 20, 8);
    world_use_backend(&w, "cpu");
    struct bk_bundle *first = world_train(&w, "distill", options, NULL, NULL), *second[2];
    world_enter_block_1(&w);
    for (int k = 0; k < 2; k++) {
        w.env.dtype = k ? BK_BF16 : BK_F32;
        second[k] = world_train(&w, "distill", options, first, &loss[k]);
        rating[k] = world_rate(&w, "distill_loss", second[0], OPTIONS("calib_images=20", "batch=8"));
    }
    BK_ASSERT_CLOSE(loss[1], loss[0], 0.03 * loss[0]);
    CU_ASSERT_EQUAL_FATAL(rating[0].n, rating[1].n);
    for (size_t i = 0; i < rating[0].n; i++)
        BK_ASSERT_CLOSE(rating[1].score[i], rating[0].score[i], 0.02 * rating[0].score[i]);
    for (int k = 0; k < 2; k++) {
        bk_block_table_release(&rating[k]);
        bk_bundle_free(second[k]);
    }
    bk_bundle_free(first);
    world_close(&w);
}

/* ---- what is refused ---------------------------------------------------------------------------------------- */

static void refuse(struct world *w, const char *const *options, const char *what)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = fixture_try(&w->f, BK_KIND_TRAINER, "distill", options);
    if (i) {
        const struct bk_trainer_iface *t = bk_instance_iface(i);
        CU_ASSERT_NOT_EQUAL(t->begin(i->state, &w->env, NULL, &err), BK_OK);
        bk_instance_close(w->f.instance[--w->f.n]);
    } else {
        err = w->f.err;
    }
    if (!strstr(err.text, what))
        printf("\n    '%s' does not say '%s'\n", err.text, what);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, what));
}

static void test_refusals(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 8);
    refuse(&w, OPTIONS("teacher=pretrained"), "needs its weights");
    refuse(&w, OPTIONS("teacher_weights=/nowhere"), "goes with teacher");
    refuse(&w, OPTIONS("teacher=pretrained", "teacher_arch=resnet20", "teacher_weights=/nowhere.safetensors"),
           "/nowhere.safetensors");
    refuse(&w, OPTIONS("lr=fast"), "lr 'fast'");
    refuse(&w, OPTIONS("augment=DNA"), "augment");
    refuse(&w, OPTIONS("batch=10", "epochs=1", "teacher_epochs=0", "accumulate=5"), "never fill accumulate = 5");
    refuse(&w, OPTIONS("teacher_arch=6:6:6"), "teacher '6:6:6'");
    refuse(&w, OPTIONS("teacher_arch=resnet20", "teacher_taps=[1,2]"), "teacher_taps names 2 units");
    world_enter_block_1(&w);
    refuse(&w, OPTIONS("batch=10"), "needs the artefact of the block before");
    world_close(&w);
}

static void test_out_of_memory(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 8);
    check_memory(&w, "distill", NULL, OPTIONS("batch=10", "epochs=1", "teacher_epochs=1"));
    world_close(&w);
}

BK_SUITE({ "resume", test_resume }, { "no allocation", test_no_allocation }, { "teacher travels", test_teacher_travels },
         { "pretrained", test_pretrained }, { "accumulation", test_accumulate }, { "DNA's images", test_dna_images },
         { "student approaches", test_student_approaches }, { "bf16", test_bf16 }, { "out of memory", test_out_of_memory }, { "refusals", test_refusals })

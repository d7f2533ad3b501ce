/*
 * One iteration of the trainer "supervised" on small NATS-SS, MBConv and HyTra supernets against PyTorch in double precision
 * (make_class() of tests/fixtures/step_common.py): the loss and every gradient, through the trainer's own loader and
 * optimiser. Without decay the first momentum buffer of SGD is the gradient, so the checkpoint shows it.
 */
#include "step_world.h"

/* Every tensor that got a momentum buffer has a gradient in the fixture, or none but rounding errors. */
static void check_no_other(const struct bk_bundle *checkpoint, const struct bk_bundle *class)
{
    for (size_t i = 0; i < bk_bundle_count(checkpoint); i++) {
        const struct bk_bundle_entry *e = bk_bundle_at(checkpoint, i);
        size_t n = strlen(e->name);
        char name[128];
        if (strncmp(e->name, "optim.", 6) || n < 10 || strcmp(e->name + n - 4, ".buf"))
            continue;
        snprintf(name, sizeof name, "g.%.*s", (int)(n - 10), e->name + 6);
        for (size_t k = 0; !bk_bundle_find(class, name) && k < e->nbytes / sizeof(float); k++)
            CU_ASSERT(fabsf(((const float *)e->data)[k]) < 1e-6f);
    }
}

static struct bk_bundle *run_step(struct step_world *s, const struct bk_bundle *class, const struct bk_bundle *previous, double *loss)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = fixture_get(&s->w.f, BK_KIND_TRAINER, "supervised",
                                        OPTIONS("epochs=1", "batch=32", "momentum=0.9", "weight_decay=0.0", "lr=0.0"));
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_progress p = { .struct_size = sizeof p };
    struct bk_bundle *checkpoint, *after;
    BK_ASSERT_OK(t->begin(i->state, &s->w.env, s->w.env.block ? previous : NULL, &err));
    BK_ASSERT_OK(bk_bundle_new(&checkpoint, &err));
    BK_ASSERT_OK(t->save(i->state, checkpoint, &err));
    CU_ASSERT(step_put_weights(checkpoint, "net", s->data, false) > 20);
    CU_ASSERT_EQUAL(step_put_weights(checkpoint, "net", class, false), 2);
    BK_ASSERT_OK(t->load(i->state, checkpoint, &err));
    BK_ASSERT_OK(t->advance(i->state, 1e9, &p, &err));
    CU_ASSERT_EQUAL(p.step, 1);
    CU_ASSERT_EQUAL(p.done, 1);
    *loss = p.loss;
    BK_ASSERT_OK(bk_bundle_new(&after, &err));
    BK_ASSERT_OK(t->save(i->state, after, &err));
    t->end(i->state);
    bk_bundle_free(checkpoint);
    return after;
}

/* An artefact of the block before, whose values do not matter. */
static struct bk_bundle *make_previous(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_bundle *b;
    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    BK_ASSERT_OK(bk_bundle_put_text(b, "method", "supervised", &err));
    return b;
}

static void run(const struct step_case *c, const char *usual_backend)
{
    const char *backend = bk_test_backend(usual_backend);
    if (!backend)
        BK_SKIP("not asked for");
    struct step_world s;
    double loss, wanted = 0;
    struct bk_bundle *class = step_read(c, "_class"), *previous = make_previous();
    step_open(&s, c, bk_bundle_find(class, "labels")->data);
    s.w.data.info.n_classes = 5;
    s.w.data.alone = s.w.data.plain = step_view(c, s.data, 0);
    s.w.data.alone.flip = 0;
    bool built = world_use_backend(&s.w, backend);
    if (built) {
        struct bk_bundle *after = run_step(&s, class, previous, &loss);
        const double *losses = bk_bundle_find(class, "loss")->data;
        for (int32_t p = 0; p < step_n_paths; p++)
            wanted += losses[p] / step_n_paths;
        BK_ASSERT_CLOSE(loss, wanted, 1e-6);
        CU_ASSERT(step_compare(class, "g.", after, "optim", ".buf", 0) > 20);
        check_no_other(after, class);
        bk_bundle_free(after);
    }
    bk_bundle_free(previous);
    bk_bundle_free(class);
    step_close(&s);
    if (!built)
        BK_SKIP("backend '%s' is not built or not available", backend);
}

static void test_nats(void) { run(&nats_step[0], "ref"); }
static void test_nats_behind(void) { run(&nats_step[1], "ref"); }
static void test_nats_cpu(void) { run(&nats_step[0], "cpu"); }
static void test_nats_behind_cpu(void) { run(&nats_step[1], "cpu"); }
static void test_mbconv(void) { run(&mbconv_step[0], "ref"); }
static void test_mbconv_behind(void) { run(&mbconv_step[1], "ref"); }
static void test_mbconv_cpu(void) { run(&mbconv_step[0], "cpu"); }
static void test_mbconv_behind_cpu(void) { run(&mbconv_step[1], "cpu"); }
static void test_hytra(void) { run(&hytra_step[0], "ref"); }
static void test_hytra_behind(void) { run(&hytra_step[1], "ref"); }
static void test_hytra_cpu(void) { run(&hytra_step[0], "cpu"); }
static void test_hytra_behind_cpu(void) { run(&hytra_step[1], "cpu"); }

BK_SUITE({ "NATS-SS", test_nats }, { "NATS-SS behind a prefix", test_nats_behind }, { "NATS-SS on cpu", test_nats_cpu },
         { "NATS-SS behind a prefix on cpu", test_nats_behind_cpu }, { "MBConv", test_mbconv },
         { "MBConv behind a prefix", test_mbconv_behind }, { "MBConv on cpu", test_mbconv_cpu },
         { "MBConv behind a prefix on cpu", test_mbconv_behind_cpu }, { "HyTra", test_hytra },
         { "HyTra behind a prefix", test_hytra_behind }, { "HyTra on cpu", test_hytra_cpu },
         { "HyTra behind a prefix on cpu", test_hytra_behind_cpu })

/*
 * The trainer "ensemble_bootstrap" against PyTorch: one iteration with its update on given weights, images and paths
 * (tests/fixtures/step_common.py), through the trainer's own loader, optimiser and moving average: NATS-SS with views that
 * all paths share, MBConv and HyTra with views of each path's own.
 */
#include "step_world.h"

/* Begin, overwrite the networks through a checkpoint, run the one iteration. */
static struct bk_bundle *train_fixture(struct world *w, const struct step_case *c, const struct bk_bundle *data, double *loss)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, "ensemble_bootstrap",
                                        OPTIONS("epochs=1", "batch=16", "accumulate=1", "lr=0.3", "lr_step=epoch",
                                                "warmup_epochs=0.0", "hidden=24", "embed=12",
                                                c->own ? "views=own" : "views=shared"));
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_progress p = { .struct_size = sizeof p };
    struct bk_bundle *checkpoint, *result, *previous;
    struct bk_siamese before;
    BK_ASSERT_OK(bk_siamese_init(&before, w->device, BK_F32, &w->space, 0, STEP_HIDDEN, STEP_OUT, 1, &err));
    BK_ASSERT_OK(bk_bundle_new(&previous, &err));
    BK_ASSERT_OK(bk_siamese_save(&before, previous, &err));
    BK_ASSERT_OK(t->begin(i->state, &w->env, w->env.block ? previous : NULL, &err));
    BK_ASSERT_OK(bk_bundle_new(&checkpoint, &err));
    BK_ASSERT_OK(t->save(i->state, checkpoint, &err));
    CU_ASSERT(step_put_weights(checkpoint, "online", data, false) > 40);
    CU_ASSERT(step_put_weights(checkpoint, "target", data, true) > 40);
    BK_ASSERT_OK(t->load(i->state, checkpoint, &err));
    BK_ASSERT_OK(t->advance(i->state, 1e9, &p, &err));
    CU_ASSERT_EQUAL(p.step, 1);
    CU_ASSERT_EQUAL(p.done, 1);
    *loss = p.loss;
    BK_ASSERT_OK(bk_bundle_new(&result, &err));
    BK_ASSERT_OK(t->result(i->state, result, &err));
    t->end(i->state);
    bk_bundle_free(checkpoint);
    bk_bundle_free(previous);
    bk_siamese_release(&before);
    return result;
}

static void run(const struct step_case *c)
{
    struct step_world s;
    double loss, wanted = 0;
    step_open(&s, c, NULL);
    s.w.data.view1 = step_view(c, s.data, 0);
    s.w.data.view2 = step_view(c, s.data, 1);
    struct bk_bundle *result = train_fixture(&s.w, c, s.data, &loss);
    const double *losses = bk_bundle_find(s.data, "loss")->data;
    for (int32_t p = 0; p < step_n_paths; p++)
        wanted += losses[p] / step_n_paths;
    BK_ASSERT_CLOSE(loss, wanted, 1e-6);
    CU_ASSERT(step_compare(s.data, "new.", result, "online", "", 1e-3, 1e-5) > 40);
    CU_ASSERT(step_compare(s.data, "ema.", result, "target", "", 1e-3, 1e-5) > 40);
    bk_bundle_free(result);
    step_close(&s);
}

static void test_first_block(void)
{
    run(&nats_step[0]);
}

static void test_block_behind_a_prefix(void)
{
    run(&nats_step[1]);
}

static void test_own_views(void)
{
    run(&mbconv_step[0]);
}

static void test_own_views_behind_a_prefix(void)
{
    run(&mbconv_step[1]);
}

static void test_fabric(void)
{
    run(&hytra_step[0]);
}

static void test_fabric_behind_a_prefix(void)
{
    run(&hytra_step[1]);
}

BK_SUITE({ "first block", test_first_block }, { "block behind a prefix", test_block_behind_a_prefix },
         { "own views", test_own_views }, { "own views behind a prefix", test_own_views_behind_a_prefix },
         { "fabric", test_fabric }, { "fabric behind a prefix", test_fabric_behind_a_prefix })

/*
 * Trainer "supervised" on the reference device: what moves and by how much, that it learns, and resuming. Gradients against
 * PyTorch are in test_supervised_step.c.
 */
#include "trainer_checks.h"

#define ONE_UPDATE "epochs=1", "batch=20", "momentum=0.0", "weight_decay=0.0"

static struct bk_bundle *enter_block_1(struct world *w)
{
    struct bk_bundle *first = world_train(w, "supervised", OPTIONS("epochs=2", "batch=6", "lr=0.05"), NULL, NULL);
    world_enter_block_1(w);
    return first;
}

static void read_slot(const struct bk_bundle *b, const char *name, double *v, int64_t cap, int64_t *n)
{
    const struct bk_bundle_entry *e = bk_bundle_find(b, name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    *n = (int64_t)(e->nbytes / sizeof(double));
    CU_ASSERT_FATAL(e->dtype == BK_F64 && *n <= cap);
    memcpy(v, e->data, e->nbytes);
}

/* Steps of two rates have one direction and the lengths' ratio, as one update of plain SGD has. */
static void test_update(void)
{
    static const char *const slots[] = { "net.classifier0.weight", "net.classifier0.bias", "net.block0.cell0.f5.weight",
                                         "net.adapter0.width6.norm.scale" };
    static double a[8192], b[8192], c[8192];
    struct world w;
    world_open(&w, BK_F64, 20, 4);
    struct bk_bundle *still = world_train(&w, "supervised", OPTIONS(ONE_UPDATE, "lr=0.0"), NULL, NULL);
    struct bk_bundle *slow = world_train(&w, "supervised", OPTIONS(ONE_UPDATE, "lr=0.1"), NULL, NULL);
    struct bk_bundle *fast = world_train(&w, "supervised", OPTIONS(ONE_UPDATE, "lr=0.2", "warmup_epochs=2.0", "schedule=constant"), NULL, NULL);
    for (size_t s = 0; s < BK_ARRAY_LEN(slots); s++) {
        int64_t n;
        double moved = 0;
        read_slot(still, slots[s], a, 8192, &n);
        read_slot(slow, slots[s], b, 8192, &n);
        read_slot(fast, slots[s], c, 8192, &n);
        for (int64_t i = 0; i < n; i++) {
            moved = fmax(moved, fabs(b[i] - a[i]));
            CU_ASSERT(fabs((c[i] - a[i]) - 2e-4 * (b[i] - a[i])) < 1e-12);      /* warm-up begins at 1e-4 */
        }
        CU_ASSERT(moved > 1e-6);
    }
    CU_ASSERT_PTR_NULL(bk_bundle_find(slow, "net.block1.cell2.f1.weight"));     /* later blocks do not exist yet */
    bk_bundle_free(still);
    bk_bundle_free(slow);
    bk_bundle_free(fast);
    world_close(&w);
}

static void test_prefix_is_frozen(void)
{
    static const char *const before = "net.block0.cell0.f1.weight", *const here = "net.block1.cell2.f1.weight";
    struct world w;
    world_open(&w, BK_F32, 20, 4);
    struct bk_bundle *first = enter_block_1(&w);
    struct bk_bundle *second = world_train(&w, "supervised", OPTIONS("epochs=2", "batch=6", "optimizer=lars", "lr=1.0"), first, NULL);
    CU_ASSERT(same_entry(first, second, before, before));
    CU_ASSERT_PTR_NULL(bk_bundle_find(first, here));
    CU_ASSERT_PTR_NOT_NULL(bk_bundle_find(second, here));
    CU_ASSERT_PTR_NOT_NULL(bk_bundle_find(first, "net.adapter0.width4.weight"));
    CU_ASSERT_PTR_NULL(bk_bundle_find(second, "net.adapter0.width4.weight"));
    CU_ASSERT_PTR_NULL(bk_bundle_find(second, "net.classifier0.weight"));
    CU_ASSERT_PTR_NOT_NULL(bk_bundle_find(second, "net.classifier1.weight"));
    bk_bundle_free(first);
    bk_bundle_free(second);
    world_close(&w);
}

/* Forty images are learnt by heart: the loss starts at about log 10 and falls far below. */
static void test_learns(void)
{
    struct world w;
    double early, late;
    world_open(&w, BK_F32, 40, 4);
    bk_bundle_free(world_train(&w, "supervised", OPTIONS("epochs=1", "batch=20", "lr=0.1"), NULL, &early));
    bk_bundle_free(world_train(&w, "supervised", OPTIONS("epochs=60", "batch=20", "lr=0.1"), NULL, &late));
    CU_ASSERT(early > 1.5 && early < 4);
    CU_ASSERT(late < 0.9 * early);
    world_close(&w);
}

static void test_resume(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 4);
    check_resume(&w, "supervised", NULL, OPTIONS("epochs=3", "batch=6", "accumulate=5"));
    struct bk_bundle *first = enter_block_1(&w);
    check_resume(&w, "supervised", first, OPTIONS("epochs=3", "batch=6", "nesterov=true"));
    check_resume(&w, "supervised", first, OPTIONS("epochs=3", "batch=6", "accumulate=5", "optimizer=lars", "lr=2.0"));
    bk_bundle_free(first);
    world_close(&w);
}

static void test_no_allocation(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 4);
    if (!world_use_backend(&w, "cpu")) {
        world_close(&w);
        BK_SKIP("no backend 'cpu'");
    }
    struct bk_bundle *first = enter_block_1(&w);
    check_no_allocation(&w, "supervised", first, OPTIONS("epochs=12", "batch=6", "accumulate=2"), 24);
    bk_bundle_free(first);
    world_close(&w);
}

static void test_memory(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 4);
    struct bk_bundle *first = enter_block_1(&w);
    check_memory(&w, "supervised", first, OPTIONS("epochs=2", "batch=6"));
    bk_bundle_free(first);
    world_close(&w);
}

static void test_refusals(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct world w;
    world_open(&w, BK_F32, 20, 4);
    struct bk_instance *i = fixture_get(&w.f, BK_KIND_TRAINER, "supervised", OPTIONS("epochs=1", "batch=6", "accumulate=5"));
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_progress p = { .struct_size = sizeof p };
    struct bk_bundle *b;
    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    CU_ASSERT_EQUAL(t->begin(i->state, &w.env, NULL, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "accumulate"));
    CU_ASSERT_EQUAL(t->advance(i->state, 1, &p, &err), BK_ESTATE);
    CU_ASSERT_EQUAL(t->save(i->state, b, &err), BK_ESTATE);
    CU_ASSERT_EQUAL(t->load(i->state, b, &err), BK_ESTATE);
    CU_ASSERT_EQUAL(t->result(i->state, b, &err), BK_ESTATE);
    w.env.block = 1;
    CU_ASSERT_EQUAL(t->begin(i->state, &w.env, NULL, &err), BK_ESTATE);
    BK_ASSERT_OK(bk_bundle_put_text(b, "method", "siamese", &err));
    CU_ASSERT_EQUAL(t->begin(i->state, &w.env, b, &err), BK_EDATA);
    CU_ASSERT_PTR_NULL(fixture_try(&w.f, BK_KIND_TRAINER, "supervised", OPTIONS("nesterov=true", "optimizer=lars")));
    bk_bundle_free(b);
    world_close(&w);
}

BK_SUITE({ "one update", test_update }, { "prefix is frozen", test_prefix_is_frozen }, { "learns", test_learns },
         { "resume gives the same bytes", test_resume }, { "no allocation", test_no_allocation }, { "out of memory", test_memory }, { "refusals", test_refusals })

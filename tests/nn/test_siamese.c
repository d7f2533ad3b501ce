/* The pair of supernets: structure, initial values, artefacts, forward pieces against loops in double. */
#include "small_space.h"

#include <bosskit/optim.h>
#include <bosskit/siamese.h>

#define N 4
#define HIDDEN 6
#define OUT 3

struct rig {
    struct bk_device *device;
    struct small_state state;
    struct bk_space space;
    struct bk_siamese s;
    struct bk_tape *tape;
    struct bk_forward f;
};

static void rig_open(struct rig *r, int32_t block)
{
    *r = (struct rig){ .device = open_ref() };
    r->space = small_space(&r->state);
    BK_ASSERT_OK(bk_siamese_init(&r->s, r->device, BK_F64, &r->space, block, HIDDEN, OUT, 42, &err));
    BK_ASSERT_OK(bk_tape_new(r->device, &r->tape, &err));
    r->f = (struct bk_forward){ .tape = r->tape, .weights = r->s.online, .dtype = BK_F64,
                                .norm_mode = BK_NORM_BATCH, .norm_eps = 1e-5 };
}

static void rig_close(struct rig *r)
{
    bk_tape_free(r->tape);
    bk_siamese_release(&r->s);
    bk_siamese_release(&r->s);
    bk_device_close(r->device);
}

static void test_structure(void)
{
    static const char *const names[] = { "projector1.fc1.weight", "projector1.norm.scale",
                                         "projector1.fc2.bias", "predictor1.fc1.bias",
                                         "predictor1.norm.running_var", "predictor1.fc2.weight" };
    struct rig r;

    rig_open(&r, 1);
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        int32_t id = bk_net_find(&r.s.net, names[i]);
        CU_ASSERT_TRUE_FATAL(id >= 0);
        CU_ASSERT_EQUAL(r.s.net.slot[id].block, 1);
    }
    CU_ASSERT_EQUAL(bk_net_find(&r.s.net, "projector0.fc1.weight"), -1);
    CU_ASSERT_EQUAL(r.s.net.slot[r.s.projector[1]].flags, BK_SLOT_BY_NAME_ADAPTED);
    CU_ASSERT_EQUAL(r.s.net.slot[r.s.predictor[1]].flags, BK_SLOT_BY_NAME_ADAPTED);
    CU_ASSERT_EQUAL(bk_net_count(&r.s.net, BK_PART_PROJECTOR, 1),
                    HIDDEN * (SMALL_POOLED + 1) + 2 * HIDDEN + OUT * (HIDDEN + 1));
    CU_ASSERT_EQUAL(bk_net_count(&r.s.net, BK_PART_PREDICTOR, 1),
                    HIDDEN * (OUT + 1) + 2 * HIDDEN + OUT * (HIDDEN + 1));
    rig_close(&r);
}

/* The paper's sizes: counts, and the spread of each linear map's weights. */
static void test_paper_sizes(void)
{
    struct bk_device *device = open_ref();
    struct small_state state;
    struct bk_space space = small_space(&state);
    struct bk_siamese s;
    float *v = malloc((size_t)4096 * 256 * sizeof *v);

    space.info.pooled_width[0] = 24;
    BK_ASSERT_OK(bk_siamese_init(&s, device, BK_F32, &space, 0, 4096, 256, 1, &err));
    CU_ASSERT_EQUAL(bk_net_count(&s.net, BK_PART_PROJECTOR, 0), 1159424);
    CU_ASSERT_EQUAL(bk_net_count(&s.net, BK_PART_PREDICTOR, 0), 2109696);
    const struct {
        int32_t slot;
        double var;
    } wanted[] = { { s.projector[0], 2.0 / 24 }, { s.projector[2], 2.0 / 4096 },
                   { s.predictor[0], 1e-4 }, { s.predictor[2], 1e-4 } };
    for (int k = 0; k < 4; k++) {
        const struct bk_tensor *t = bk_weights_get(s.online, wanted[k].slot);
        int64_t n = bk_tensor_numel(t);
        double sum = 0;
        BK_ASSERT_OK(bk_tensor_read_f32(t, v, &err));
        for (int64_t i = 0; i < n; i++)
            sum += (double)v[i] * v[i];
        CU_ASSERT_TRUE(fabs(sum / (double)n / wanted[k].var - 1) < 4.5 * sqrt(2 / (double)n));
    }
    free(v);
    bk_siamese_release(&s);
    bk_device_close(device);
}

static void check_same(struct bk_weights *a, struct bk_weights *b)
{
    static double first[MAX_VALUES];

    for (int32_t i = 0; i < bk_weights_net(a)->n; i++) {
        CU_ASSERT_EQUAL_FATAL(!bk_weights_get(a, i), !bk_weights_get(b, i));
        if (!bk_weights_get(a, i))
            continue;
        size_t n = (size_t)bk_tensor_numel(bk_weights_get(a, i)) * sizeof *first;
        memcpy(first, values(bk_weights_get(a, i)), n);
        CU_ASSERT_EQUAL(memcmp(first, values(bk_weights_get(b, i)), n), 0);
    }
}

static void test_initial_values(void)
{
    struct rig a, b;

    rig_open(&a, 0);
    rig_open(&b, 1);
    CU_ASSERT_PTR_NOT_EQUAL(a.s.online, a.s.target);
    check_same(a.s.online, a.s.target);
    /* Only the block exists. */
    for (int32_t i = 0; i < a.s.projector[0]; i++) {
        CU_ASSERT_EQUAL(!!bk_weights_get(a.s.online, i), a.s.net.slot[i].block == 0);
        CU_ASSERT_EQUAL(!!bk_weights_get(b.s.online, i), b.s.net.slot[i].block == 1);
    }
    /* The backbone is the same whichever block is trained; the heads differ from block to block. */
    BK_ASSERT_OK(bk_weights_need_block(a.s.online, 1, &err));
    BK_ASSERT_OK(bk_weights_need_block(b.s.online, 0, &err));
    for (int32_t i = 0; i < a.s.projector[0]; i++)
        CU_ASSERT_EQUAL(value(bk_weights_get(a.s.online, i), 0), value(bk_weights_get(b.s.online, i), 0));
    CU_ASSERT_NOT_EQUAL(value(bk_weights_get(a.s.online, a.s.projector[0]), 0),
                        value(bk_weights_get(b.s.online, b.s.projector[0]), 0));
    CU_ASSERT_EQUAL(value(bk_weights_get(a.s.online, a.s.projector[0] + 1), 2), 0);
    rig_close(&a);
    rig_close(&b);
}

static void test_artefact(void)
{
    struct bk_bundle *bundle = NULL, *empty = NULL;
    struct bk_siamese again;
    struct rig r;

    rig_open(&r, 1);
    BK_ASSERT_OK(bk_bundle_new(&bundle, &err));
    BK_ASSERT_OK(bk_bundle_new(&empty, &err));
    put_constant(bk_weights_get(r.s.target, r.s.projector[0]), 3);
    BK_ASSERT_OK(bk_siamese_save(&r.s, bundle, &err));
    CU_ASSERT_STRING_EQUAL(bk_bundle_text(bundle, "method"), "siamese");
    BK_ASSERT_OK(bk_siamese_open(&again, r.device, BK_F64, &r.space, 1, bundle, &err));
    CU_ASSERT_TRUE(again.hidden == HIDDEN && again.out == OUT && again.block == 1);
    check_same(r.s.online, again.online);
    check_same(r.s.target, again.target);
    bk_siamese_release(&again);
    CU_ASSERT_EQUAL(bk_siamese_open(&again, r.device, BK_F64, &r.space, 0, bundle, &err), BK_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "block 1"));
    CU_ASSERT_EQUAL(bk_siamese_open(&again, r.device, BK_F64, &r.space, 1, empty, &err), BK_EDATA);
    BK_ASSERT_OK(bk_bundle_put_i64(bundle, "hidden", HIDDEN + 1, &err));
    CU_ASSERT_EQUAL(bk_siamese_open(&again, r.device, BK_F64, &r.space, 1, bundle, &err), BK_EDATA);
    CU_ASSERT_EQUAL(bk_siamese_init(&again, r.device, BK_F64, &r.space, 2, 4, 4, 1, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_siamese_init(&again, r.device, BK_F64, &r.space, 0, 0, 4, 1, &err), BK_EINVAL);
    bk_bundle_free(bundle);
    bk_bundle_free(empty);
    rig_close(&r);
}

/* Every allocation fails once; what was made before it is released (the leak checker looks). */
static void test_no_memory(void)
{
    struct bk_device *device = open_ref();
    struct small_state state;
    struct bk_space space = small_space(&state);
    struct bk_siamese s;
    struct bk_optim_config config = { .kind = BK_ADAMW, .exclude = BK_EXCLUDE_BY_TYPE };
    struct bk_norm_store *store;
    struct bk_bundle *b;
    struct bk_optim *o;
    int rc = -1;

    for (long n = 1; rc && n < 5000; n++) {
        store = NULL, b = NULL, o = NULL;
        bk_alloc_fail_after(n);
        rc = bk_siamese_init(&s, device, BK_F64, &space, 1, HIDDEN, OUT, 1, &err);
        bool made = !rc;
        if (!rc)
            rc = bk_weights_train(s.online, 0, true, &err);
        if (!rc)
            rc = bk_optim_new(s.online, &config, &o, &err);
        if (!rc)
            rc = bk_norm_store_new(device, &store, &err);
        if (!rc)
            rc = bk_bundle_new(&b, &err);
        if (!rc)
            rc = bk_siamese_save(&s, b, &err);
        if (!rc)
            rc = bk_optim_save(o, "opt.", b, &err);
        bk_alloc_fail_after(0);
        CU_ASSERT_TRUE(!rc || rc == BK_ENOMEM);
        bk_bundle_free(b);
        bk_norm_store_free(store);
        bk_optim_free(o);
        if (made)
            bk_siamese_release(&s);
    }
    CU_ASSERT_EQUAL(rc, BK_OK);
    bk_device_close(device);
}

/* fc2(relu(norm(fc1 x))) in loops; x [N,in] -> y [N,OUT] */
static void head_by_hand(struct bk_weights *w, const int32_t slot[3], const double *x, int in, double *y)
{
    double h[N * HIDDEN], k[HIDDEN * 8], bias[HIDDEN];

    memcpy(k, values(bk_weights_get(w, slot[0])), (size_t)(HIDDEN * in) * sizeof *k);
    memcpy(bias, values(bk_weights_get(w, slot[0] + 1)), sizeof bias);
    for (int o = 0; o < HIDDEN; o++) {
        double mean = 0, var = 0;
        for (int n = 0; n < N; n++) {
            h[n * HIDDEN + o] = bias[o];
            for (int i = 0; i < in; i++)
                h[n * HIDDEN + o] += k[o * in + i] * x[n * in + i];
            mean += h[n * HIDDEN + o] / N;
        }
        for (int n = 0; n < N; n++)
            var += pow(h[n * HIDDEN + o] - mean, 2) / N;
        for (int n = 0; n < N; n++)
            h[n * HIDDEN + o] = fmax(0, (h[n * HIDDEN + o] - mean) / sqrt(var + 1e-5));
    }
    memcpy(k, values(bk_weights_get(w, slot[2])), OUT * HIDDEN * sizeof *k);
    for (int p = 0; p < N * OUT; p++) {
        y[p] = 0;
        for (int i = 0; i < HIDDEN; i++)
            y[p] += k[p % OUT * HIDDEN + i] * h[p / OUT * HIDDEN + i];
    }
}

static void test_heads(void)
{
    double x[N * SMALL_POOLED], z[N * OUT], wanted[N * OUT];
    struct bk_tensor *in = NULL, *pooled = NULL, *y = NULL, *q = NULL;
    struct bk_path path = path_of("22");
    struct rig r;

    rig_open(&r, 0);
    put_scrambled(bk_weights_get(r.s.online, r.s.projector[0] + 1), 400);
    BK_ASSERT_OK(bk_tape_tensor(r.tape, BK_F64, 4, (int64_t[]){ N, 2, 3, 8 }, &in, &err));
    put_scrambled(in, 1);
    BK_ASSERT_OK(small_pool(&r.state, &r.f, 0, &path, in, &pooled, &err));
    memcpy(x, values(pooled), sizeof x);
    BK_ASSERT_OK(bk_siamese_project(&r.s, &r.f, &path, in, &y, &err));
    CU_ASSERT_TRUE(y->rank == 2 && y->dim[0] == N && y->dim[1] == OUT);
    head_by_hand(r.s.online, r.s.projector, x, SMALL_POOLED, wanted);
    for (int i = 0; i < N * OUT; i++)
        BK_ASSERT_CLOSE(value(y, i), wanted[i], 1e-11);
    memcpy(z, values(y), sizeof z);
    BK_ASSERT_OK(bk_siamese_predict(&r.s, &r.f, y, &q, &err));
    head_by_hand(r.s.online, r.s.predictor, z, OUT, wanted);
    for (int i = 0; i < N * OUT; i++)
        BK_ASSERT_CLOSE(value(q, i), wanted[i], 1e-11);
    rig_close(&r);
}

/* The prefix is the layers one after the other, and the next block accepts what comes out of it. */
static void test_prefix(void)
{
    struct bk_path prefix[1] = { path_of("21") }, path = path_of("12"), part = prefix[0];
    struct bk_tensor *images = NULL, *a = NULL, *b = NULL;
    struct rig r;

    rig_open(&r, 1);
    BK_ASSERT_OK(bk_tape_tensor(r.tape, BK_F64, 4, (int64_t[]){ N, 5, 4, 3 }, &images, &err));
    put_scrambled(images, 1);
    BK_ASSERT_OK(bk_siamese_prefix(&r.s, &r.f, prefix, images, &a, &err));
    part.n = 1;
    BK_ASSERT_OK(small_layer(&r.state, &r.f, 0, 0, &part, images, &b, &err));
    part.n = 2;
    BK_ASSERT_OK(small_layer(&r.state, &r.f, 0, 0, &part, b, &b, &err));
    CU_ASSERT_TRUE_FATAL(bk_tensor_same_shape(a, b));
    for (int64_t i = 0; i < bk_tensor_numel(a); i += 11)
        CU_ASSERT_EQUAL(value(a, i), value(b, i));
    BK_ASSERT_OK(bk_space_run_block(&r.space, &r.f, 1, bk_space_entry(&r.space, 1, prefix), &path, a, &b, &err));
    CU_ASSERT_EQUAL(b->dim[3], 8);
    CU_ASSERT_EQUAL(bk_space_run_block(&r.space, &r.f, 1, 2, &path, a, &b, &err), BK_ESHAPE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "block 1 layer 0"));
    rig_close(&r);

    rig_open(&r, 0);
    BK_ASSERT_OK(bk_tape_tensor(r.tape, BK_F64, 4, (int64_t[]){ N, 5, 4, 3 }, &images, &err));
    BK_ASSERT_OK(bk_siamese_prefix(&r.s, &r.f, NULL, images, &a, &err));
    CU_ASSERT_PTR_EQUAL(a, images);
    rig_close(&r);
}

static struct bk_text ran = BK_TEXT_INIT;

static int recording_layer(void *unused, struct bk_forward *f, int32_t block, int32_t entry,
                           const struct bk_path *path, struct bk_tensor *x, struct bk_tensor **y,
                           struct bk_error *e)
{
    (void)unused, (void)f, (void)e;
    bk_text_addf(&ran, "%d:%d:%d ", (int)block, (int)entry, path->op[path->n - 1]);
    *y = x;
    return BK_OK;
}

/* Every block of the prefix is entered as the one before it was left. */
static void test_prefix_entries(void)
{
    struct bk_path prefix[2] = { path_of("01"), path_of("12") };
    struct small_state state;
    struct bk_space_iface iface = small_iface;
    struct bk_space space = small_space(&state);
    struct bk_siamese s = { .space = &space, .block = 2 };
    struct bk_forward f = { 0 };
    struct bk_tensor x = { 0 }, *y = NULL;

    iface.layer = recording_layer;
    space.iface = &iface;
    BK_ASSERT_OK(bk_siamese_prefix(&s, &f, prefix, &x, &y, &err));
    CU_ASSERT_STRING_EQUAL(bk_text_get(&ran), "0:0:0 0:0:1 1:1:1 1:1:2 ");
    bk_text_release(&ran);
}

BK_SUITE({ "structure", test_structure }, { "sizes of the paper", test_paper_sizes },
         { "initial values", test_initial_values }, { "artefact", test_artefact },
         { "out of memory", test_no_memory }, { "heads", test_heads }, { "prefix", test_prefix },
         { "entries of the prefix", test_prefix_entries })

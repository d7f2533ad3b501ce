/*
 * The walk over a block's paths against running each path by itself: order, number of layers, calibration over several
 * batches, single paths; and its refusals.
 */
#include "../method_data.h"
#include <bosskit/traverse.h>

enum { N = 6, CAP = N * 4 * 4 * 8 };

/* ---- a space that counts its layers ---------------------------------------------------------------------- */

static const struct bk_space *real;
static int n_layers;

static int count_layer(void *state, struct bk_forward *f, int32_t block, int32_t entry, const struct bk_path *path,
                       struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    n_layers++;
    return real->iface->layer(state, f, block, entry, path, x, y, err);
}

struct bench {
    struct world w;
    struct bk_space_iface iface;
    struct bk_space space;
    struct bk_siamese net;
    struct bk_tape *tape;
    struct bk_traverse *t;
    struct bk_tensor *batch[3];         /* images, with memory of their own */
    int n_inputs, n_leaves;             /* callbacks since open */
    double out[4][CAP];                 /* by path: the block's output, or a head's */
    int64_t n_out;
};

static int input(void *user, struct bk_forward *f, struct bk_tensor *images, struct bk_tensor **x, struct bk_error *err)
{
    struct bench *b = user;
    b->n_inputs++;
    return bk_siamese_prefix(&b->net, f, b->w.env.prefix, images, x, err);
}

static void open_bench(struct bench *b, int block)
{
    struct bk_error err = BK_ERROR_INIT;
    int64_t dim[4] = { N, 8, 8, 3 };
    static float pixels[N * 8 * 8 * 3];
    memset(b, 0, sizeof *b);
    world_open(&b->w, BK_F64, 8, 8);
    if (block)
        world_enter_block_1(&b->w);
    b->iface = *b->w.space.iface;
    b->iface.layer = count_layer;
    b->space = b->w.space;
    b->space.iface = &b->iface;
    real = &b->w.space;
    BK_ASSERT_OK(bk_siamese_init(&b->net, b->w.device, BK_F64, &b->w.space, block, 8, 6, 3, &err));
    b->w.env.space = &b->space;
    BK_ASSERT_OK(bk_tape_new(b->w.device, &b->tape, &err));
    for (int i = 0; i < 3; i++) {
        BK_ASSERT_OK(bk_tensor_new(b->w.device, BK_F64, 4, dim, &b->batch[i], &err));
        for (size_t e = 0; e < BK_ARRAY_LEN(pixels); e++)
            pixels[e] = (float)sin(1.0 + (double)(e * e % 977) + 31. * i) * (float)(1 + i);
        BK_ASSERT_OK(bk_tensor_write_f32(b->batch[i], pixels, &err));
    }
    struct bk_traverse_config c = { .env = &b->w.env, .tape = b->tape, .net = { b->net.target, b->net.online }, .n_nets = 2,
                                    .side = 8, .input = block ? input : NULL, .user = b };
    BK_ASSERT_OK(bk_traverse_new(&c, &b->t, &err));
    n_layers = b->n_inputs = 0;
}

static void close_bench(struct bench *b)
{
    bk_traverse_free(b->t);
    for (int i = 0; i < 3; i++)
        bk_tensor_free(b->batch[i]);
    bk_tape_free(b->tape);
    bk_siamese_release(&b->net);
    world_close(&b->w);
}

static int keep_output(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x, struct bk_error *err)
{
    struct bench *b = user;
    struct bk_tensor *z;
    CU_ASSERT_EQUAL(leaf->number, b->n_leaves % bk_traverse_count(b->t));
    CU_ASSERT_PTR_EQUAL(f->weights, leaf->net ? b->net.online : b->net.target);
    CU_ASSERT(bk_path_equal(leaf->path, bk_traverse_path(b->t, leaf->number)));
    b->n_leaves++;
    BK_TRY(bk_siamese_project(&b->net, f, leaf->path, x, &z, err));
    b->n_out = bk_tensor_numel(z);
    return bk_tensor_read_f64(z, b->out[leaf->number], err);
}

static int project_only(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x, struct bk_error *err)
{
    struct bench *b = user;
    struct bk_tensor *z;
    b->n_leaves++;
    return bk_siamese_project(&b->net, f, leaf->path, x, &z, err);
}

static int keep_single(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x, struct bk_error *err)
{
    struct bench *b = user;
    b->n_leaves = leaf->number;         /* keep_output expects it */
    return keep_output(user, leaf, f, x, err);
}

/* The same for one path, with running statistics in the weight sets. */
static void run_plain(struct bench *b, struct bk_weights *w, const struct bk_path *path, struct bk_tensor *images,
                      uint32_t mode, double momentum, double *out)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_forward f = { .tape = b->tape, .weights = b->net.target, .dtype = BK_F64, .norm_mode = mode,
                            .norm_momentum = w == b->net.target ? momentum : 0, .norm_eps = 1e-5 };
    struct bk_tensor *x;
    bk_tape_reset(b->tape);
    BK_ASSERT_OK(bk_siamese_prefix(&b->net, &f, b->w.env.prefix, images, &x, &err));
    f.weights = w;
    f.norm_momentum = momentum;
    BK_ASSERT_OK(bk_space_run_block(real, &f, b->w.env.block, b->w.env.entry, path, x, &x, &err));
    BK_ASSERT_OK(bk_siamese_project(&b->net, &f, path, x, &x, &err));
    if (out)
        BK_ASSERT_OK(bk_tensor_read_f64(x, out, &err));
}

static void check_outputs(struct bench *b, int net, int n_calibrated)
{
    static double wanted[CAP];
    struct bk_weights *w = net ? b->net.online : b->net.target;
    bk_tape_set_recording(b->tape, false);
    for (int32_t p = 0; p < bk_traverse_count(b->t); p++) {
        const struct bk_path *path = bk_traverse_path(b->t, p);
        for (int i = 0; i < n_calibrated; i++) {
            run_plain(b, b->net.target, path, b->batch[i], BK_NORM_BATCH, 1. / (i + 1), NULL);
            if (net)
                run_plain(b, w, path, b->batch[i], BK_NORM_BATCH, 1. / (i + 1), NULL);
        }
        run_plain(b, w, path, b->batch[0], BK_NORM_RUNNING, 0, wanted);
        for (int64_t e = 0; e < b->n_out; e++)
            BK_ASSERT_CLOSE(b->out[p][e], wanted[e], 1e-12);
    }
}

static void check_walks(int block)
{
    struct bk_error err = BK_ERROR_INIT;
    static struct bench b;
    struct bk_path *path;
    size_t n;
    open_bench(&b, block);
    BK_ASSERT_OK(bk_space_paths(&b.w.space, block, b.w.env.entry, &path, &n, &err));
    CU_ASSERT_EQUAL_FATAL((size_t)bk_traverse_count(b.t), n);
    for (size_t i = 0; i < n; i++)
        CU_ASSERT(bk_path_equal(&path[i], bk_traverse_path(b.t, (int32_t)i)));
    bk_free(path);

    /* two layers of two choices: 6 layers a walk, not 8 */
    for (int i = 0; i < 3; i++)
        BK_ASSERT_OK(bk_traverse_calibrate(b.t, b.batch[i], 1. / (i + 1), project_only, &b, &err));
    CU_ASSERT_EQUAL(n_layers, 3 * 2 * 6);
    CU_ASSERT_EQUAL(b.n_leaves, 3 * 2 * 4);
    CU_ASSERT_EQUAL(b.n_inputs, block ? 3 : 0);
    struct bk_tape_mark before = bk_tape_mark(b.tape);
    for (int net = 0; net < 2; net++) {
        n_layers = b.n_leaves = 0;
        BK_ASSERT_OK(bk_traverse_run(b.t, net, b.batch[0], keep_output, &b, &err));
        CU_ASSERT_EQUAL(n_layers, 6);
        CU_ASSERT_EQUAL(b.n_leaves, 4);
        check_outputs(&b, net, 3);
        bk_tape_reset(b.tape);
    }
    struct bk_tape_mark after = bk_tape_mark(b.tape);
    CU_ASSERT_EQUAL(memcmp(&before, &after, sizeof before), 0);
    n_layers = 0;
    for (int32_t p = 3; p >= 0; p--) {
        memset(b.out[p], 0, sizeof b.out[p]);
        BK_ASSERT_OK(bk_traverse_run_path(b.t, 1, p, b.batch[0], keep_single, &b, &err));
    }
    CU_ASSERT_EQUAL(n_layers, 8);
    check_outputs(&b, 1, 3);
    close_bench(&b);
}

static void test_first_block(void)
{
    check_walks(0);
}

static void test_behind_an_input(void)
{
    check_walks(1);
}

/* ---- tables and refusals ------------------------------------------------------------------------------------ */

/* Two batches of weights 1 and 3, told in different orders. */
static void tell(struct bench *b, const double score[2][4])
{
    struct bk_error err = BK_ERROR_INIT;
    for (int i = 0; i < 4; i++)
        BK_ASSERT_OK(bk_traverse_score(b->t, i, score[0][i], 1, &err));
    for (int i = 3; i >= 0; i--)
        BK_ASSERT_OK(bk_traverse_score(b->t, i, score[1][i], 3, &err));
}

static void test_table(void)
{
    static const double score[2][4] = { { 3, 1, -2, 7 }, { 5, 1, -4, 9 } };
    struct bk_error err = BK_ERROR_INIT;
    static struct bench b;
    struct bk_block_table t;
    open_bench(&b, 1);
    CU_ASSERT_EQUAL(bk_traverse_table(b.t, &t, &err), BK_ESTATE);
    tell(&b, score);
    BK_ASSERT_OK(bk_traverse_table(b.t, &t, &err));
    CU_ASSERT_EQUAL_FATAL(t.n, 4);
    CU_ASSERT_EQUAL(t.block, 1);
    CU_ASSERT_EQUAL(t.entry, 1);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(t.score[i], (score[0][i] + 3 * score[1][i]) / 4);
        CU_ASSERT(bk_path_equal(&t.path[i], bk_traverse_path(b.t, i)));
    }
    /* by hand: sums of squares 130 of the paths and 5.5 of the rest, 3 degrees of freedom each */
    CU_ASSERT(t.has_reliability);
    BK_ASSERT_CLOSE(t.reliability, 1 - 5.5 / 130, 1e-14);
    bk_block_table_release(&t);
    BK_ASSERT_OK(bk_traverse_score(b.t, 2, NAN, 1, &err));
    CU_ASSERT_EQUAL(bk_traverse_score(b.t, 2, 1, 1, &err), BK_ESTATE);
    CU_ASSERT_EQUAL(bk_traverse_table(b.t, &t, &err), BK_ESTATE);
    for (int i = 0; i < 4; i++)
        if (i != 2)
            BK_ASSERT_OK(bk_traverse_score(b.t, i, 0, 1, &err));
    CU_ASSERT_EQUAL(bk_traverse_table(b.t, &t, &err), BK_ENUMERIC);
    close_bench(&b);
}

/* One batch has nothing to compare it with. */
static void test_one_batch(void)
{
    struct bk_error err = BK_ERROR_INIT;
    static struct bench b;
    struct bk_block_table t;
    open_bench(&b, 0);
    for (int i = 0; i < 4; i++)
        BK_ASSERT_OK(bk_traverse_score(b.t, i, i, 1, &err));
    BK_ASSERT_OK(bk_traverse_table(b.t, &t, &err));
    CU_ASSERT(!t.has_reliability);
    bk_block_table_release(&t);
    close_bench(&b);
}

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

static int fail_input(void *user, struct bk_forward *f, struct bk_tensor *images, struct bk_tensor **x, struct bk_error *err)
{
    (void)user;
    return bk_global_pool(f->tape, images, x, err);
}

static void test_refusals(void)
{
    struct bk_error err = BK_ERROR_INIT;
    static struct bench b;
    struct bk_traverse *t = NULL;
    open_bench(&b, 0);
    bool was = bk_tape_set_recording(b.tape, true);
    CU_ASSERT_EQUAL(bk_traverse_run(b.t, 0, b.batch[0], keep_output, &b, &err), BK_ESTATE);     /* not calibrated */
    CU_ASSERT(bk_tape_is_recording(b.tape));
    bk_tape_set_recording(b.tape, was);
    CU_ASSERT_EQUAL(bk_traverse_run(b.t, 2, b.batch[0], keep_output, &b, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_traverse_run_path(b.t, 0, 4, b.batch[0], keep_output, &b, &err), BK_EINVAL);
    struct bk_traverse_config c = { .env = &b.w.env, .tape = b.tape, .net = { b.net.target }, .n_nets = 3, .side = 8 };
    CU_ASSERT_EQUAL(bk_traverse_new(&c, &t, &err), BK_EINVAL);
    c.n_nets = 1;
    c.input = fail_input;
    CU_ASSERT_EQUAL(bk_traverse_new(&c, &t, &err), BK_ESHAPE);
    struct bk_host host = world_host;
    host.cancelled = always;
    b.w.env.host = &host;
    CU_ASSERT_EQUAL(bk_traverse_calibrate(b.t, b.batch[0], 1, project_only, &b, &err), BK_EINTERRUPTED);
    close_bench(&b);
}

BK_SUITE({ "first block", test_first_block }, { "behind an input", test_behind_an_input }, { "table", test_table }, { "one batch", test_one_batch },
         { "refusals", test_refusals })

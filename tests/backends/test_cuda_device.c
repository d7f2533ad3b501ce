/*
 * The cuda backend's memory, errors and repeatability, on a GPU (skipped without one) or emulated. Its kernels are compared with `ref` in
 * test_backend_agreement and, in whole training steps, in test_nats_step and test_mbconv_step.
 */
#include "autograd/step_memory.h"
#include "backends/cuda_fixture.h"
#include <bosskit/ops.h>
#include <bosskit/random.h>

static int64_t step_images;

static struct bk_tensor *new_tensor(uint32_t dtype, uint32_t rank, const int64_t *dim)
{
    struct bk_tensor *t;
    BK_ASSERT_OK(bk_tensor_new(device, dtype, rank, dim, &t, &err));
    return t;
}

static float *noise(int64_t n, uint32_t stream)
{
    struct bk_random r;
    float *v = malloc((size_t)n * sizeof *v);
    bk_random_init(&r, 1, stream, 0, 0);
    for (int64_t i = 0; i < n; i++)
        v[i] = 2 * bk_random_f32(&r) - 1;
    return v;
}

/* More than the pinned pieces hold at once, so that they are reused. */
static void test_round_trip(void)
{
    OPEN_CUDA();
    const int64_t n = 11000017;
    float *in = noise(n, 3), *out = calloc((size_t)n, sizeof *out);
    struct bk_tensor *t = new_tensor(BK_F32, 1, &n), *copy = new_tensor(BK_F32, 1, &n);
    BK_ASSERT_OK(bk_tensor_write_f32(t, in, &err));
    BK_ASSERT_OK(bk_tensor_copy(copy, t, &err));
    BK_ASSERT_OK(bk_tensor_zero(t, &err));
    BK_ASSERT_OK(bk_tensor_read_f32(copy, out, &err));
    CU_ASSERT(!memcmp(in, out, (size_t)n * sizeof *in));
    BK_ASSERT_OK(bk_tensor_read_f32(t, out, &err));
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++)
        wrong += out[i] != 0;
    CU_ASSERT_EQUAL(wrong, 0);
    bk_tensor_free(t), bk_tensor_free(copy);
    free(in), free(out);
    close_cuda();
}

/* Small blocks of many sizes do not overlap and come back after being freed. */
static void test_small_blocks(void)
{
    OPEN_CUDA();
    enum { N = 300 };
    struct bk_tensor *t[N];
    float v[1201], w[1201];
    for (int round = 0; round < 2; round++) {
        for (int64_t i = 0; i < N; i++) {
            int64_t dim = 1 + 4 * i;
            t[i] = new_tensor(BK_F32, 1, &dim);
            for (int64_t k = 0; k < dim; k++)
                v[k] = (float)(i * 1000 + k);
            BK_ASSERT_OK(bk_tensor_write_f32(t[i], v, &err));
        }
        for (int64_t i = 0; i < N; i++) {
            int64_t wrong = 0;
            BK_ASSERT_OK(bk_tensor_read_f32(t[i], w, &err));
            for (int64_t k = 0; k < 1 + 4 * i; k++)
                wrong += w[k] != (float)(i * 1000 + k);
            CU_ASSERT_EQUAL(wrong, 0);
            bk_tensor_free(t[i]);
        }
    }
    close_cuda();
}

/* Out of memory is a sentence, and the device works afterwards. */
static void test_out_of_memory(void)
{
    OPEN_CUDA();
    const int64_t huge = (int64_t)1 << 42, n = 1000;
    struct bk_tensor *t;
    CU_ASSERT_EQUAL(bk_tensor_new(device, BK_F32, 1, &huge, &t, &err), BK_ENOMEM);
    printf("\n    %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "out of memory"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "parameter region: out of memory on CUDA device 0: 16777216 MiB asked for"));
    float *in = noise(n, 5), out[1000];
    t = new_tensor(BK_F32, 1, &n);
    struct bk_kernel_args args = { .in = { t }, .out = { t }, .n_in = 1, .n_out = 1 };
    BK_ASSERT_OK(bk_tensor_write_f32(t, in, &err));
    BK_ASSERT_OK(bk_device_run(device, BK_K_RELU, &args, &err));
    BK_ASSERT_OK(bk_tensor_read_f32(t, out, &err));
    for (int i = 0; i < n; i++)
        CU_ASSERT_EQUAL(out[i], in[i] > 0 ? in[i] : 0);
    bk_tensor_free(t);
    free(in);
    close_cuda();
}

/* 64 MiB an image in 32 tensors. */
static int take_step(void *user, struct bk_error *e)
{
    struct bk_tape *tape = user;
    struct bk_tensor *t;
    bk_tape_reset(tape);
    for (int i = 0; i < 32; i++)
        BK_TRY(bk_tape_tensor(tape, BK_F32, 2, (int64_t[]){ step_images, 1 << 19 }, &t, e));
    return BK_OK;
}

/* A step that is too large says what it needs and which batch would fit; that one does. */
static void test_step_out_of_memory(void)
{
    OPEN_CUDA();
    const char *hint = "a batch of about ";
    struct bk_tape *tape;
    size_t available;
    BK_ASSERT_OK(bk_tape_new(device, &tape, &err));
    CU_ASSERT_FATAL(bk__device_available(device, &available));
    step_images = (int64_t)(available >> 26) * 3;
    CU_ASSERT_EQUAL(bk__step_run(tape, step_images, take_step, tape, &err), BK_ENOMEM);
    printf("\n    %s\n", err.text);
    CU_ASSERT(!strncmp(err.text, "step region, ", 13));
    const char *found = strstr(err.text, hint);
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    int64_t fits = strtoll(found + strlen(hint), NULL, 10);
    CU_ASSERT(fits >= step_images / 6 && fits <= step_images / 3);
    step_images = fits;
    BK_ASSERT_OK(bk__step_run(tape, step_images, take_step, tape, &err));
    bk_tape_free(tape);
    close_cuda();
}

/* The same bytes twice: the kernels whose sums are split over blocks, at sizes where they are split. */
static void check_repeats(uint32_t dtype)
{
    const int64_t x_dim[4] = { 32, 14, 14, 48 }, w_dim[4] = { 48, 3, 3, 48 }, n_x = 32 * 14 * 14 * 48, n_w = 48 * 9 * 48;
    float *x_values = noise(n_x, 1), *y_values = noise(n_x, 2), *got[2] = { calloc((size_t)n_w, 4), calloc((size_t)n_w, 4) };
    struct bk_tensor *x = new_tensor(dtype, 4, x_dim), *dy = new_tensor(dtype, 4, x_dim), *dw = new_tensor(BK_F32, 4, w_dim);
    struct bk_conv2d_attr attr = { 1, 1, 1, 0 };
    struct bk_kernel_args args = { .in = { x, dy }, .out = { dw }, .n_in = 2, .n_out = 2, .attr = &attr };
    BK_ASSERT_OK(bk_tensor_write_f32(x, x_values, &err));
    BK_ASSERT_OK(bk_tensor_write_f32(dy, y_values, &err));
    for (int i = 0; i < 2; i++) {
        BK_ASSERT_OK(bk_device_run(device, BK_K_CONV2D_DW, &args, &err));
        BK_ASSERT_OK(bk_tensor_read_f32(dw, got[i], &err));
    }
    CU_ASSERT(!memcmp(got[0], got[1], (size_t)n_w * 4));
    bk_tensor_free(x), bk_tensor_free(dy), bk_tensor_free(dw);
    free(x_values), free(y_values), free(got[0]), free(got[1]);
}

static void test_repeatable(void)
{
    OPEN_CUDA();
    for (int i = 0; i < 2; i++) {
        check_repeats(BK_F32);
        check_repeats(BK_BF16);
    }
    close_cuda();
}

/* The CPU's masks, bit for bit. */
static void test_dropout(void)
{
    OPEN_CUDA();
    enum { N = 5000 };
    const int64_t n = N;
    struct bk_dropout_attr attr = { .p = 0.4, .group = 5, .seed = 12345678901234u, .step = 77, .stream = 99 };
    struct bk_tensor *t = new_tensor(BK_F32, 1, &n);
    struct bk_kernel_args args = { .in = { t }, .out = { t }, .n_in = 1, .n_out = 1, .attr = &attr };
    float *v = malloc(N * sizeof *v);
    struct bk_random r;
    int wrong = 0;
    for (int i = 0; i < N; i++)
        v[i] = 3;
    BK_ASSERT_OK(bk_tensor_write_f32(t, v, &err));
    BK_ASSERT_OK(bk_device_run(device, BK_K_DROPOUT, &args, &err));
    BK_ASSERT_OK(bk_tensor_read_f32(t, v, &err));
    bk_random_init(&r, attr.seed, attr.stream, attr.step, 0);
    for (int g = 0; g < N / 5; g++) {
        bool zero = (double)bk_random_f32(&r) < attr.p;
        for (int i = 0; i < 5; i++)
            wrong += zero ? v[5 * g + i] != 0 : fabsf(v[5 * g + i] - 5) > 1e-6f;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    bk_tensor_free(t);
    free(v);
    close_cuda();
}

BK_SUITE({ "round trip", test_round_trip }, { "small blocks", test_small_blocks }, { "out of memory", test_out_of_memory },
         { "step out of memory", test_step_out_of_memory }, { "repeatable", test_repeatable }, { "dropout", test_dropout })

/*
 * tests/autograd/test_tape.c: step memory, recording, where gradients go, and what backward refuses.
 */
#include "unit.h"
#include <bosskit/backend.h>
#include <bosskit/ops.h>

static struct bk_error err;
static struct bk_device *device;
static struct bk_tape *tape;

static void open_tape(void)
{
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &device, &err));
    BK_ASSERT_OK(bk_tape_new(device, &tape, &err));
}

static void close_tape(void)
{
    bk_tape_free(tape);
    bk_device_close(device);
}

static struct bk_tensor *parameter(uint32_t dtype, double v, struct bk_tensor **grad)
{
    struct bk_tensor *t;
    BK_ASSERT_OK(bk_tensor_new(device, dtype, 4, (int64_t[]){ 1, 1, 1, 1 }, &t, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(t, &v, &err));
    BK_ASSERT_OK(bk_tensor_new(device, bk_dtype_accum(dtype), 4, (int64_t[]){ 1, 1, 1, 1 }, grad, &err));
    BK_ASSERT_OK(bk_tensor_set_grad(t, *grad, &err));
    return t;
}

static double value(const struct bk_tensor *t)
{
    double v = NAN;
    BK_ASSERT_OK(bk_tensor_read_f64(t, &v, &err));
    return v;
}

/* ---- memory ---------------------------------------------------------------------------------------- */

static void test_arena(void)
{
    open_tape();
    struct bk_tensor *a, *b, *c;
    BK_ASSERT_OK(bk_tape_tensor(tape, BK_F32, 1, (int64_t[]){ 3 }, &a, &err));
    struct bk_tape_mark mark = bk_tape_mark(tape);
    BK_ASSERT_OK(bk_tape_tensor(tape, BK_F32, 2, (int64_t[]){ 5, 7 }, &b, &err));
    CU_ASSERT_EQUAL((uintptr_t)a->data % 64, 0);
    CU_ASSERT_EQUAL((uintptr_t)b->data % 64, 0);
    CU_ASSERT_PTR_NOT_EQUAL(a->data, b->data);
    void *kept = b->data;
    bk_tape_rewind(tape, mark);
    BK_ASSERT_OK(bk_tape_tensor(tape, BK_F32, 2, (int64_t[]){ 5, 7 }, &c, &err));
    CU_ASSERT_PTR_EQUAL(c->data, kept);
    CU_ASSERT_PTR_EQUAL(c, b);
    CU_ASSERT_EQUAL(bk_tape_tensor(tape, BK_F32, 1, (int64_t[]){ 0 }, &c, &err), BK_ESHAPE);
    CU_ASSERT_EQUAL(bk_tape_tensor(tape, 77, 1, (int64_t[]){ 1 }, &c, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_tape_tensor(tape, BK_F32, 6, (int64_t[]){ 1, 1, 1, 1, 1, 1 }, &c, &err), BK_ESHAPE);
    close_tape();
}

/* A step that overflows the first chunk and holds a block larger than any: the second time nothing is allocated. */
static void big_step(void)
{
    static const int64_t mib[] = { 30, 30, 30, 200, 1, 90, 60, 5 };
    for (size_t i = 0; i < BK_ARRAY_LEN(mib); i++) {
        struct bk_tensor *t;
        BK_ASSERT_OK(bk_tape_tensor(tape, BK_U8, 1, (int64_t[]){ mib[i] << 20 }, &t, &err));
    }
    for (int i = 0; i < 1000; i++) {
        struct bk_tensor *t;
        BK_ASSERT_OK(bk_tape_tensor(tape, BK_F32, 0, NULL, &t, &err));
        BK_ASSERT_OK(bk_tensor_zero(t, &err));
    }
}

static void test_steady_state(void)
{
    open_tape();
    big_step();
    size_t peak = bk_tape_peak(tape);
    CU_ASSERT(peak >= (size_t)446 << 20 && peak < (size_t)448 << 20);
    for (int i = 0; i < 3; i++) {
        bk_tape_reset(tape);
        bk_alloc_fail_after(1);
        big_step();
        bk_alloc_fail_after(0);
    }
    CU_ASSERT_EQUAL(bk_tape_peak(tape), peak);
    close_tape();
}

/* Every allocation of making a tape and its first tensor may fail; nothing leaks, nothing crashes. */
static void test_out_of_memory(void)
{
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &device, &err));
    int rc = BK_ENOMEM;
    for (long n = 1; rc == BK_ENOMEM && n < 50; n++) {
        struct bk_tensor *t, *w, *y;
        struct bk_tape *one = NULL;
        bk_alloc_fail_after(n);
        rc = bk_tape_new(device, &one, &err);
        if (!rc)
            rc = bk_tape_tensor(one, BK_F32, 4, (int64_t[]){ 1, 2, 2, 1 }, &t, &err);
        if (!rc)
            rc = bk_tape_tensor(one, BK_F32, 4, (int64_t[]){ 1, 1, 1, 1 }, &w, &err);
        if (!rc)
            rc = bk_tensor_zero(t, &err) || bk_tensor_zero(w, &err);
        if (!rc)
            rc = bk_conv2d(one, t, w, NULL, &(struct bk_conv2d_attr){ 1, 0, 1, 0 }, &y, &err);
        bk_alloc_fail_after(0);
        bk_tape_free(one);
    }
    CU_ASSERT_EQUAL(rc, BK_OK);
    bk_device_close(device);
}

/* ---- gradients ------------------------------------------------------------------------------------- */

/* loss = relu(w) + w + w: gradients are added, scaled, and only after clearing is it untouched again. */
static void test_accumulation(void)
{
    open_tape();
    struct bk_tensor *g, *w = parameter(BK_F32, 3, &g), *y, *loss;
    CU_ASSERT(!bk_tensor_is_touched(w));
    for (int i = 1; i <= 3; i++) {
        bk_tape_reset(tape);
        BK_ASSERT_OK(bk_relu(tape, w, &y, &err));
        BK_ASSERT_OK(bk_add(tape, (struct bk_tensor *[]){ y, w, w }, 3, false, &loss, &err));
        CU_ASSERT_EQUAL(value(loss), 9);
        BK_ASSERT_OK(bk_tape_backward(tape, loss, 0.5, &err));
        CU_ASSERT_EQUAL(value(g), 1.5 * i);
    }
    CU_ASSERT(bk_tensor_is_touched(w));
    bk_tensor_clear_touched(w);
    CU_ASSERT(!bk_tensor_is_touched(w));
    bk_tensor_free(w);
    bk_tensor_free(g);
    close_tape();
}

/* A bf16 copy sends its gradient to the f32 master, unrounded. */
static void test_shared(void)
{
    open_tape();
    double v = 2;
    struct bk_tensor *g, *w = parameter(BK_F32, 2, &g), *kernel, *image, *y, *loss;
    BK_ASSERT_OK(bk_tensor_new(device, BK_BF16, 4, (int64_t[]){ 1, 1, 1, 1 }, &kernel, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(kernel, &v, &err));
    bk_tensor_share_grad(kernel, w);
    CU_ASSERT_PTR_EQUAL(bk_tensor_get_grad(kernel), g);
    BK_ASSERT_OK(bk_tape_tensor(tape, BK_BF16, 4, (int64_t[]){ 1, 3, 1, 1 }, &image, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(image, (double[]){ 1, 1.0 / 256, 0 }, &err));
    BK_ASSERT_OK(bk_conv2d(tape, image, kernel, NULL, &(struct bk_conv2d_attr){ 1, 0, 1, 0 }, &y, &err));
    BK_ASSERT_OK(bk_global_pool(tape, y, &loss, &err));
    BK_ASSERT_OK(bk_cast(tape, loss, BK_F32, &loss, &err));
    BK_ASSERT_OK(bk_tape_backward(tape, loss, 3, &err));
    BK_ASSERT_CLOSE(value(g), 1 + 1.0 / 256, 0);   /* d(mean) = 1 an element; the sum is no bf16 number */
    CU_ASSERT(bk_tensor_is_touched(w));
    bk_tensor_free(kernel);
    bk_tensor_free(w);
    bk_tensor_free(g);
    close_tape();
}

/* Without recording, or from constants alone, nothing is noted; a rewind drops nodes with their tensors. */
static void test_recording(void)
{
    open_tape();
    struct bk_tensor *g, *w = parameter(BK_F32, 3, &g), *y, *z;
    CU_ASSERT(bk_tape_is_recording(tape));
    CU_ASSERT(bk_tape_set_recording(tape, false));
    BK_ASSERT_OK(bk_relu(tape, w, &y, &err));
    CU_ASSERT(!bk_needs_grad(tape, y));
    CU_ASSERT(!bk_tape_set_recording(tape, true));
    CU_ASSERT(bk_needs_grad(tape, w));
    CU_ASSERT(!bk_needs_grad(tape, y));
    CU_ASSERT_EQUAL(bk_tape_backward(tape, y, 1, &err), BK_ESTATE);
    struct bk_tape_mark mark = bk_tape_mark(tape);
    BK_ASSERT_OK(bk_relu(tape, w, &z, &err));
    CU_ASSERT(bk_needs_grad(tape, z));
    bk_tape_rewind(tape, mark);
    BK_ASSERT_OK(bk_relu(tape, w, &z, &err));
    BK_ASSERT_OK(bk_tape_backward(tape, z, 1, &err));
    CU_ASSERT_EQUAL(value(g), 1);
    bk_tensor_free(w);
    bk_tensor_free(g);
    close_tape();
}

/* A branch that does not reach the loss leaves its parameter untouched. */
static void test_dead_branch(void)
{
    open_tape();
    struct bk_tensor *g, *h, *w = parameter(BK_F32, 3, &g), *v = parameter(BK_F32, 1, &h), *y, *z;
    BK_ASSERT_OK(bk_relu(tape, w, &y, &err));
    BK_ASSERT_OK(bk_relu(tape, v, &z, &err));
    BK_ASSERT_OK(bk_tape_backward(tape, y, 1, &err));
    CU_ASSERT_EQUAL(value(g), 1);
    CU_ASSERT_EQUAL(value(h), 0);
    CU_ASSERT(!bk_tensor_is_touched(v));
    BK_ASSERT_OK(bk_tensor_set_grad(w, NULL, &err));
    CU_ASSERT(!bk_needs_grad(tape, w));
    bk_tensor_free(w);
    bk_tensor_free(v);
    bk_tensor_free(g);
    bk_tensor_free(h);
    close_tape();
}

static void test_refused(void)
{
    open_tape();
    struct bk_tensor *g, *w = parameter(BK_F32, 3, &g), *wide, *y;
    BK_ASSERT_OK(bk_tape_tensor(tape, BK_F32, 1, (int64_t[]){ 2 }, &wide, &err));
    CU_ASSERT_EQUAL(bk_tape_backward(tape, wide, 1, &err), BK_ESHAPE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "[2] f32"));
    CU_ASSERT_EQUAL(bk_tensor_set_grad(w, wide, &err), BK_ESHAPE);
    BK_ASSERT_OK(bk_relu(tape, w, &y, &err));
    BK_ASSERT_OK(bk_cast(tape, y, BK_BF16, &y, &err));
    CU_ASSERT_EQUAL(bk_tape_backward(tape, y, 1, &err), BK_ESHAPE);     /* a loss is f32 */
    bk_tensor_free(w);
    bk_tensor_free(g);
    close_tape();
}

BK_SUITE({ "arena", test_arena }, { "steady state", test_steady_state }, { "out of memory", test_out_of_memory },
         { "accumulation", test_accumulation }, { "shared gradient", test_shared }, { "recording", test_recording },
         { "dead branch", test_dead_branch }, { "refused", test_refused })

/**
 * tests/ops/torch_ops.h: run a case of tests/fixtures/ops.json (PyTorch, double) and compare output and gradients.
 *
 * Inputs become r->in[0..], the case's extra tensors follow them without gradient.
 */
#ifndef BK_TESTS_TORCH_OPS_H
#define BK_TESTS_TORCH_OPS_H

#include "op_harness.h"
#include <jansson.h>

struct torch_case {
    json_t *file, *root;
    struct bk_device *device;
    struct op_run run;
    size_t n_in, n_extra;
};

static inline void torch_numbers(const json_t *t, double *out)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(t, "v"), i, v) out[i] = json_number_value(v);
}

static inline struct bk_tensor *torch_tensor(struct bk_device *d, const json_t *t)
{
    struct bk_error err = BK_ERROR_INIT;
    const json_t *dims = json_object_get(t, "dim");
    int64_t dim[BK_MAX_RANK];
    uint32_t rank = (uint32_t)json_array_size(dims);
    struct bk_tensor *out;
    for (uint32_t i = 0; i < rank; i++)
        dim[i] = json_integer_value(json_array_get(dims, i));
    BK_ASSERT_OK(bk_tensor_new(d, BK_F64, rank, dim, &out, &err));
    double *v = malloc(bk_tensor_nbytes(out));
    torch_numbers(t, v);
    BK_ASSERT_OK(bk_tensor_write_f64(out, v, &err));
    free(v);
    return out;
}

static inline void torch_open(struct torch_case *c, const char *name)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/fixtures/ops.json", bk_test_env("BK_TEST_SOURCE"));
    memset(c, 0, sizeof *c);
    c->file = json_load_file(path, 0, NULL);
    c->root = json_object_get(c->file, name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c->root);
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &c->device, &err));
    BK_ASSERT_OK(bk_tape_new(c->device, &c->run.tape, &err));
    c->run.dtype = BK_F64;
    const json_t *in = json_object_get(c->root, "in"), *extra = json_object_get(c->root, "extra");
    c->n_in = json_array_size(in);
    c->n_extra = json_array_size(extra);
    for (size_t i = 0; i < c->n_in; i++) {
        struct bk_tensor *t = c->run.in[i] = torch_tensor(c->device, json_array_get(in, i));
        BK_ASSERT_OK(bk_tensor_new(c->device, BK_F64, t->rank, t->dim, &c->run.grad[i], &err));
        BK_ASSERT_OK(bk_tensor_set_grad(t, c->run.grad[i], &err));
    }
    for (size_t i = 0; i < c->n_extra; i++)
        c->run.in[c->n_in + i] = torch_tensor(c->device, json_array_get(extra, i));
}

static inline void torch_close(struct torch_case *c)
{
    op_close(&c->run);
    bk_device_close(c->device);
    json_decref(c->file);
}

static inline void torch_compare(const struct bk_tensor *got, const json_t *want, const char *what)
{
    struct bk_error err = BK_ERROR_INIT;
    int64_t n = bk_tensor_numel(got);
    double worst = 0, *a = malloc((size_t)n * sizeof *a), *b = malloc((size_t)n * sizeof *b);
    CU_ASSERT_EQUAL_FATAL((size_t)n, json_array_size(json_object_get(want, "v")));
    BK_ASSERT_OK(bk_tensor_read_f64(got, a, &err));
    torch_numbers(want, b);
    for (int64_t i = 0; i < n; i++)
        worst = fabs(a[i] - b[i]) > worst || isnan(a[i]) ? fabs(a[i] - b[i]) : worst;
    if (!(worst < 1e-11))
        printf("\n    %s differs by %.3g", what, worst);
    CU_ASSERT(worst < 1e-11);
    free(a);
    free(b);
}

/* Backward with d(y_i) = cos(i). */
static inline int torch_backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *dy;
    bool accumulate;
    BK_TRY(bk_grad_target(tape, node->in[0], &dy, &accumulate, err));
    int64_t n = bk_tensor_numel(dy);
    double *v = malloc((size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = cos((double)i);
    int rc = bk_tensor_write_f64(dy, v, err);
    free(v);
    return rc;
}

/** Run, compare y and the gradient of every input. */
static inline void torch_check(struct torch_case *c, int (*run)(struct op_run *r, struct bk_error *err))
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(run(&c->run, &err));
    torch_compare(c->run.y, json_object_get(c->root, "y"), "output");
    struct bk_node node = { .backward = torch_backward, .in = { c->run.y }, .n_in = 1 };
    BK_ASSERT_OK(bk_tape_tensor(c->run.tape, BK_F64, 0, NULL, &node.y, &err));
    BK_ASSERT_OK(bk_tape_push(c->run.tape, &node, &err));
    BK_ASSERT_OK(bk_tape_backward(c->run.tape, node.y, 1, &err));
    for (size_t i = 0; i < c->n_in; i++)
        torch_compare(c->run.grad[i], json_array_get(json_object_get(c->root, "grad"), i), "gradient");
}

static inline void torch_run(const char *name, int (*run)(struct op_run *r, struct bk_error *err))
{
    struct torch_case c;
    torch_open(&c, name);
    torch_check(&c, run);
    torch_close(&c);
}

/* ---- small helpers for known values and errors ------------------------------------------------------ */

struct bench {
    struct bk_device *device;
    struct bk_tape *tape;
};

static inline struct bench bench_open(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b;
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &b.device, &err));
    BK_ASSERT_OK(bk_tape_new(b.device, &b.tape, &err));
    return b;
}

static inline void bench_close(struct bench *b)
{
    bk_tape_free(b->tape);
    bk_device_close(b->device);
}

/** A step tensor with the given values (NULL: 0, 1, 2, ...). */
static inline struct bk_tensor *put(struct bench *b, uint32_t dtype, uint32_t rank, const int64_t *dim, const double *v)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_tensor *t;
    BK_ASSERT_OK(bk_tape_tensor(b->tape, dtype, rank, dim, &t, &err));
    int64_t n = bk_tensor_numel(t);
    double *count = malloc((size_t)n * sizeof *count);
    for (int64_t i = 0; i < n; i++)
        count[i] = v ? v[i] : (double)i;
    BK_ASSERT_OK(bk_tensor_write_f64(t, count, &err));
    free(count);
    return t;
}
#define PUT(b, dtype, rank, v, ...) put(b, dtype, rank, (int64_t[]){ __VA_ARGS__ }, v)

static inline void expect(const struct bk_tensor *t, const double *want, double tol)
{
    struct bk_error err = BK_ERROR_INIT;
    double *got = malloc((size_t)bk_tensor_numel(t) * sizeof *got);
    BK_ASSERT_OK(bk_tensor_read_f64(t, got, &err));
    for (int64_t i = 0; i < bk_tensor_numel(t); i++)
        BK_ASSERT_CLOSE(got[i], want[i], tol);
    free(got);
}

/** The call fails with `code` and its sentence contains `part`. */
static inline void refused(int rc, const struct bk_error *err, int code, const char *part)
{
    CU_ASSERT_EQUAL(rc, code);
    if (!strstr(err->text, part))
        printf("\n    '%s' does not mention '%s'", err->text, part);
    CU_ASSERT_PTR_NOT_NULL(strstr(err->text, part));
}

#endif

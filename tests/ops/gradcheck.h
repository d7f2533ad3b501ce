/**
 * tests/ops/gradcheck.h: gradients of a case against central differences, in f64 on ref.
 *
 * (f(v + h) - f(v - h)) / 2h with h = 1e-5 is right to about 1e-10 for these functions; 1e-6 of the largest element of
 * the gradient is asked. Large leaves are checked at up to 64 elements spread over them.
 */
#ifndef BK_TESTS_GRADCHECK_H
#define BK_TESTS_GRADCHECK_H

#include "op_cases.h"

/* The loss with element i of leaf `which` moved by h. */
static inline int loss_at(struct op_run *r, const struct op_case *c, uint32_t which, double *v, int64_t i, double h,
                          double *loss, struct bk_error *err)
{
    double kept = v[i];
    v[i] = kept + h;
    int rc = bk_tensor_write_f64(r->in[which], v, err);
    v[i] = kept;
    BK_TRY(rc);
    bool was = bk_tape_set_recording(r->tape, false);
    bk_tape_reset(r->tape);
    rc = c->run(r, err);
    if (!rc)
        rc = project(r->tape, r->y, &r->loss, err);
    bk_tape_set_recording(r->tape, was);
    return rc ? rc : bk_tensor_read_f64(r->loss, loss, err);
}

/* Largest error of the gradient `g` of leaf `which` over its largest element. */
static inline int leaf_error(struct op_run *r, const struct op_case *c, uint32_t which, const double *g, double *worst,
                             struct bk_error *err)
{
    int64_t n = bk_tensor_numel(r->in[which]), step = n > 64 ? n / 61 : 1;
    double scale = 1e-3, h = 1e-5, up = 0, down = 0, *v = malloc((size_t)n * sizeof *v);
    int rc = bk_tensor_read_f64(r->in[which], v, err);
    for (int64_t i = 0; i < n; i++)
        scale = fabs(g[i]) > scale ? fabs(g[i]) : scale;
    *worst = 0;
    for (int64_t i = 0; i < n && !rc; i += step) {
        rc = loss_at(r, c, which, v, i, h, &up, err);
        if (!rc)
            rc = loss_at(r, c, which, v, i, -h, &down, err);
        double e = fabs((up - down) / (2 * h) - g[i]) / scale;
        *worst = isnan(e) || e > *worst ? e : *worst;
    }
    if (!rc)
        rc = bk_tensor_write_f64(r->in[which], v, err);
    free(v);
    return rc;
}

static inline void gradcheck_case(struct bk_device *d, const struct op_case *c)
{
    struct bk_error err = BK_ERROR_INIT;
    struct op_run r;
    BK_ASSERT_OK(op_open(d, c, BK_F64, &r, &err));
    BK_ASSERT_OK(op_forward_backward(&r, c, &err));
    for (uint32_t i = 0; i < MAX_LEAVES; i++) {
        if (!r.grad[i])
            continue;
        double worst, *g = malloc(bk_tensor_nbytes(r.grad[i]));
        BK_ASSERT_OK(bk_tensor_read_f64(r.grad[i], g, &err));
        BK_ASSERT_OK(leaf_error(&r, c, i, g, &worst, &err));
        free(g);
        if (!(worst <= 1e-6))
            printf("\n    %s: gradient of leaf %u is off by %.3g", c->name, i, worst);
        CU_ASSERT(worst <= 1e-6);
    }
    op_close(&r);
}

/** Check every case of one operation; at least one must exist. */
static inline void gradcheck_op(const char *op)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_device *d;
    int n = 0;
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &d, &err));
    for (size_t i = 0; i < BK_ARRAY_LEN(op_cases); i++) {
        const struct op_case *c = &op_cases[i];
        if (c->flags & NO_GRADIENT || strncmp(c->name, op, strlen(op)) || c->name[strlen(op)] != '-')
            continue;
        gradcheck_case(d, c);
        n++;
    }
    bk_device_close(d);
    CU_ASSERT(n > 0);
}

#endif

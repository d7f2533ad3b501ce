/**
 * tests/ops/op_harness.h: run one operation on given leaves and collect its output and all gradients as doubles.
 *
 * A case names its leaves (shape and kind) and a function from leaves to an output. Values are a function of the case's
 * seed and the element, and the loss is a fixed random projection of the output, written here as an operation of its
 * own through the public interface for authors. The same run serves gradient checks (gradcheck.h) and the comparison
 * of backends (test_backend_agreement.c).
 */
#ifndef BK_TESTS_OP_HARNESS_H
#define BK_TESTS_OP_HARNESS_H

#include "unit.h"
#include <bosskit/backend.h>
#include <bosskit/ops.h>
#include <bosskit/optim.h>
#include <bosskit/random.h>

#define MAX_LEAVES 16

enum leaf_kind {
    NONE = 0,
    ACT,        /* activation: the type of the run, wants a gradient */
    PARAM,      /* f32 (f64), wants a gradient */
    STATE,      /* f32 (f64), no gradient; may be changed by the run */
    POSITIVE,   /* as STATE, values in 0.5..1.5 */
    LABEL,      /* i32 in 0..dim[1]-1 (rank 1) */
};

struct leaf {
    enum leaf_kind kind;
    uint32_t rank;
    int64_t dim[BK_MAX_RANK];
};

struct op_run {
    struct bk_tape *tape;
    uint32_t dtype;
    struct bk_tensor *in[MAX_LEAVES];
    struct bk_tensor *grad[MAX_LEAVES];
    struct bk_tensor *y, *loss;
};

struct op_case {
    const char *name;
    struct leaf leaf[MAX_LEAVES];
    int (*run)(struct op_run *r, struct bk_error *err);         /* sets r->y from r->in */
    uint32_t flags;
};

enum { NO_GRADIENT = 1 };

/* ---- leaves -------------------------------------------------------------------------------------- */

static inline int64_t leaf_numel(const struct leaf *l)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < l->rank; i++)
        n *= l->dim[i];
    return n;
}

/*
 * Values are multiples of 1/128 within +-1 (positive ones 0.5..1.5): exact in bf16, so that every type computes from the
 * same numbers. In f64 they are moved apart, because central differences do not like ties of a maximum.
 */
static inline double leaf_value(const struct leaf *l, uint32_t which, uint32_t dtype, int64_t i)
{
    struct bk_random r;
    bk_random_init(&r, 20261122, bk_random_stream("leaf"), which, (uint32_t)i);
    double u = bk_random_f64(&r);
    if (l->kind == POSITIVE)
        return 0.5 + floor(u * 128) / 128;
    if (dtype == BK_F64)
        return 2 * u - 1;
    double v = floor(u * 256) / 128 - 1;
    return v == 0 ? 1.0 / 256 : v;
}

static inline int make_leaf(struct bk_device *d, const struct leaf *l, uint32_t which, struct op_run *r, uint32_t dtype,
                            struct bk_error *err)
{
    uint32_t acc = bk_dtype_accum(dtype);
    uint32_t own = l->kind == LABEL ? (uint32_t)BK_I32 : l->kind == ACT ? dtype : acc;
    int64_t n = leaf_numel(l);
    BK_TRY(bk_tensor_new(d, own, l->rank, l->dim, &r->in[which], err));
    double *v = malloc((size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = l->kind == LABEL ? (double)((7 * i + 3) % l->dim[1]) : leaf_value(l, which, dtype, i);
    int rc = bk_tensor_write_f64(r->in[which], v, err);
    free(v);
    if (rc || (l->kind != ACT && l->kind != PARAM))
        return rc;
    BK_TRY(bk_tensor_new(d, acc, l->rank, l->dim, &r->grad[which], err));
    return bk_tensor_set_grad(r->in[which], r->grad[which], err);
}

/* ---- loss = sum of c y --------------------------------------------------------------------------- */

static inline double projection(int64_t i)
{
    return (double)((i * 37 + 11) % 64 - 32) / 32 + 1.0 / 64;
}

static inline int project_backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    const struct bk_tensor *dloss;
    struct bk_tensor *dy;
    bool accumulate;
    double d;
    BK_TRY(bk_grad_sum(tape, node->y, &dloss, err));
    BK_TRY(bk_tensor_read_f64(dloss, &d, err));
    BK_TRY(bk_grad_target(tape, node->in[0], &dy, &accumulate, err));
    int64_t n = bk_tensor_numel(dy);
    double *v = malloc((size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = d * projection(i);
    int rc = bk_tensor_write_f64(dy, v, err);
    free(v);
    return rc;
}

static inline int project(struct bk_tape *tape, struct bk_tensor *y, struct bk_tensor **loss, struct bk_error *err)
{
    struct bk_node node = { .backward = project_backward, .in = { y }, .n_in = 1 };
    int64_t n = bk_tensor_numel(y);
    double sum = 0, *v = malloc((size_t)n * sizeof *v);
    int rc = bk_tensor_read_f64(y, v, err);
    for (int64_t i = 0; i < n && !rc; i++)
        sum += projection(i) * v[i];
    free(v);
    BK_TRY(rc);
    BK_TRY(bk_tape_tensor(tape, bk_dtype_accum(y->dtype), 0, NULL, &node.y, err));
    BK_TRY(bk_tensor_write_f64(node.y, &sum, err));
    if (bk_needs_grad(tape, y))
        BK_TRY(bk_tape_push(tape, &node, err));
    *loss = node.y;
    return BK_OK;
}

/* ---- a run --------------------------------------------------------------------------------------- */

static inline int op_open(struct bk_device *d, const struct op_case *c, uint32_t dtype, struct op_run *r,
                          struct bk_error *err)
{
    memset(r, 0, sizeof *r);
    r->dtype = dtype;
    BK_TRY(bk_tape_new(d, &r->tape, err));
    for (uint32_t i = 0; i < MAX_LEAVES && c->leaf[i].kind; i++)
        BK_TRY(make_leaf(d, &c->leaf[i], i, r, dtype, err));
    return BK_OK;
}

static inline void op_close(struct op_run *r)
{
    bk_tape_free(r->tape);
    for (int i = 0; i < MAX_LEAVES; i++) {
        bk_tensor_free(r->in[i]);
        bk_tensor_free(r->grad[i]);
    }
}

/* Output, loss and (unless the case has none) gradients. */
static inline int op_forward_backward(struct op_run *r, const struct op_case *c, struct bk_error *err)
{
    bk_tape_reset(r->tape);
    BK_TRY(c->run(r, err));
    BK_TRY(project(r->tape, r->y, &r->loss, err));
    for (int i = 0; i < MAX_LEAVES; i++)
        if (r->grad[i])
            BK_TRY(bk_tensor_zero(r->grad[i], err));
    return c->flags & NO_GRADIENT ? BK_OK : bk_tape_backward(r->tape, r->loss, 1, err);
}

#endif

/*
 * cuda_conv.c: drivers of convolutions and linear maps: who computes what.
 *
 *   1x1, stride 1, one group   a matrix product over all positions (cuBLASLt)
 *   depthwise 3x3, 5x5, 7x7    own kernels: the library's NHWC ones are slow
 *   everything else            cuDNN; own kernels for what it refuses
 *
 * Weight gradients are f32. cuDNN gives them in the type of its inputs, so they go through workspace and are added from
 * there: in bf16 that rounds a gradient once, after summing in f32. No arithmetic happens in this file.
 */
#include "cuda_state.h"

static int geometry_of(const struct bk_tensor *x, const struct bk_tensor *w, const struct bk_tensor *y,
                       const struct bk_conv2d_attr *attr, struct cuda_geometry *g, struct bk_error *err)
{
    BK_TRY(cuda_fits(x->dim[0] * x->dim[1] * x->dim[2], "positions", err));
    BK_TRY(cuda_fits(y->dim[0] * y->dim[1] * y->dim[2], "positions", err));
    BK_TRY(cuda_fits(cuda_numel(w), "weights", err));
    BK_TRY(cuda_fits(y->dim[3] * w->dim[1] * w->dim[2], "inner dimensions", err));
    *g = (struct cuda_geometry){
        .n = (int)x->dim[0], .h = (int)x->dim[1], .w = (int)x->dim[2], .ci = (int)x->dim[3],
        .ho = (int)y->dim[1], .wo = (int)y->dim[2], .co = (int)w->dim[0], .kh = (int)w->dim[1], .kw = (int)w->dim[2],
        .cg = (int)w->dim[3], .og = (int)w->dim[0] / attr->groups, .groups = attr->groups, .stride = attr->stride,
        .pad = attr->pad,
    };
    return BK_OK;
}

static bool is_product(const struct cuda_geometry *g)
{
    return g->kh == 1 && g->kw == 1 && g->stride == 1 && g->pad == 0 && g->groups == 1;
}

static int64_t positions(const struct bk_tensor *t)
{
    return t->dim[0] * t->dim[1] * t->dim[2];
}

/* y = x w' */
static int product_forward(struct cuda *cuda, const struct bk_tensor *x, const struct bk_tensor *w, struct bk_tensor *y,
                           int64_t rows, int64_t inputs, int64_t outputs, struct bk_error *err)
{
    struct cuda_product p = { .m = rows, .n = outputs, .k = inputs, .trans_b = true, .bf16 = cuda_is_bf16(x),
                              .bf16_out = cuda_is_bf16(y), .a = x->data, .b = w->data, .c = y->data };
    return cuda_matmul(cuda, &p, err);
}

/* dx = dy w */
static int product_dx(struct cuda *cuda, const struct bk_tensor *dy, const struct bk_tensor *w, struct bk_tensor *dx,
                      int64_t rows, int64_t inputs, int64_t outputs, struct bk_error *err)
{
    struct cuda_product p = { .m = rows, .n = inputs, .k = outputs, .bf16 = cuda_is_bf16(dy),
                              .bf16_out = cuda_is_bf16(dx), .a = dy->data, .b = w->data, .c = dx->data };
    return cuda_matmul(cuda, &p, err);
}

/* dw (+)= dy' x */
static int product_dw(struct cuda *cuda, const struct bk_tensor *x, const struct bk_tensor *dy, struct bk_tensor *dw,
                      int64_t rows, int64_t inputs, int64_t outputs, bool accumulate, struct bk_error *err)
{
    struct cuda_product p = { .m = outputs, .n = inputs, .k = rows, .trans_a = true, .bf16 = cuda_is_bf16(x),
                              .a = dy->data, .b = x->data, .c = dw->data, .beta = accumulate ? 1.0f : 0.0f };
    return cuda_matmul(cuda, &p, err);
}

/* ---- convolution ------------------------------------------------------------------------------------ */

/* Forward or dx of anything that is not a plain product. */
static int conv(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, int bf16, const void *a,
                const void *b, void *out, struct bk_error *err)
{
    if (cuda_depthwise_takes(g))
        return cuda_depthwise_conv(cuda, kind, g, bf16, a, b, out, false, err);
    bool taken;
    BK_TRY(cuda_dnn_conv(cuda, kind, g, bf16, a, b, out, &taken, err));
    return taken ? BK_OK : cuda_direct_conv(cuda, kind, g, bf16, a, b, out, false, err);
}

int cuda_conv2d(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *x = args->in[0], *w = args->in[1], *bias = args->in[2];
    struct bk_tensor *y = args->out[0];
    struct cuda_geometry g;
    BK_TRY(geometry_of(x, w, y, args->attr, &g, err));
    if (is_product(&g))
        BK_TRY(product_forward(cuda, x, w, y, positions(x), g.ci, g.co, err));
    else
        BK_TRY(conv(cuda, CUDA_CONV_FORWARD, &g, cuda_is_bf16(x), x->data, w->data, y->data, err));
    return bias ? cuda_add_bias(cuda, y->data, cuda_is_bf16(y), positions(y), g.co, bias->data, err) : BK_OK;
}

int cuda_conv2d_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *dy = args->in[0], *w = args->in[1];
    struct bk_tensor *dx = args->out[0];
    struct cuda_geometry g;
    BK_TRY(geometry_of(dx, w, dy, args->attr, &g, err));
    if (is_product(&g))
        return product_dx(cuda, dy, w, dx, positions(dx), g.ci, g.co, err);
    return conv(cuda, CUDA_CONV_DX, &g, cuda_is_bf16(dy), dy->data, w->data, dx->data, err);
}

static int conv_dw(struct cuda *cuda, const struct cuda_geometry *g, const struct bk_tensor *x, const struct bk_tensor *dy,
                   struct bk_tensor *dw, bool accumulate, struct bk_error *err)
{
    int bf16 = cuda_is_bf16(x);
    int64_t n = cuda_numel(dw);
    void *raw = dw->data;
    bool taken;
    if (cuda_depthwise_takes(g))
        return cuda_depthwise_conv(cuda, CUDA_CONV_DW, g, bf16, x->data, dy->data, dw->data, accumulate, err);
    if (bf16 || accumulate)
        BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_PARAMS, (size_t)n * (bf16 ? 2 : 4), &raw, err));
    BK_TRY(cuda_dnn_conv(cuda, CUDA_CONV_DW, g, bf16, x->data, dy->data, raw, &taken, err));
    if (!taken)
        return cuda_direct_conv(cuda, CUDA_CONV_DW, g, bf16, x->data, dy->data, dw->data, accumulate, err);
    return raw != dw->data ? cuda_gather_f32(cuda, dw->data, raw, bf16, n, accumulate, err) : BK_OK;
}

int cuda_conv2d_dw(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_conv2d_attr *attr = args->attr;
    const struct bk_tensor *x = args->in[0], *dy = args->in[1];
    struct bk_tensor *dw = args->out[0], *dbias = args->out[1];
    bool accumulate = attr->accumulate != 0;
    struct cuda_geometry g;
    BK_TRY(geometry_of(x, dw, dy, attr, &g, err));
    if (is_product(&g))
        BK_TRY(product_dw(cuda, x, dy, dw, positions(x), g.ci, g.co, accumulate, err));
    else
        BK_TRY(conv_dw(cuda, &g, x, dy, dw, accumulate, err));
    return dbias ? cuda_column_sums(cuda, dy->data, cuda_is_bf16(dy), positions(dy), g.co, dbias->data, accumulate, err)
                 : BK_OK;
}

/* ---- linear maps ------------------------------------------------------------------------------------ */

int cuda_linear(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *x = args->in[0], *w = args->in[1], *bias = args->in[2];
    struct bk_tensor *y = args->out[0];
    int64_t outputs = w->dim[0], inputs = w->dim[1], rows = cuda_numel(x) / inputs;
    BK_TRY(cuda_fits(outputs, "outputs", err));
    BK_TRY(product_forward(cuda, x, w, y, rows, inputs, outputs, err));
    return bias ? cuda_add_bias(cuda, y->data, cuda_is_bf16(y), rows, (int)outputs, bias->data, err) : BK_OK;
}

int cuda_linear_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *dy = args->in[0], *w = args->in[1];
    int64_t outputs = w->dim[0], inputs = w->dim[1];
    return product_dx(cuda, dy, w, args->out[0], cuda_numel(dy) / outputs, inputs, outputs, err);
}

int cuda_linear_dw(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *x = args->in[0], *dy = args->in[1];
    struct bk_tensor *dw = args->out[0], *dbias = args->out[1];
    int64_t outputs = dw->dim[0], inputs = dw->dim[1], rows = cuda_numel(x) / inputs;
    BK_TRY(cuda_fits(outputs, "outputs", err));
    BK_TRY(product_dw(cuda, x, dy, dw, rows, inputs, outputs, true, err));
    return dbias ? cuda_column_sums(cuda, dy->data, cuda_is_bf16(dy), rows, (int)outputs, dbias->data, true, err) : BK_OK;
}

/*
 * cuda_dnn.c: convolutions by cuDNN; the only file that calls it.
 *
 * A plan is made once per kind, shape and type: descriptors and the list of algorithms that cuDNN's heuristics propose,
 * filtered by what the determinism level permits and by the limit on workspace. Nothing is timed. An algorithm that
 * refuses at its first call is dropped for the next one; when none is left the caller computes with a kernel of its own,
 * which is logged once per plan. Plans belong to the open device, so a plan is never used at another determinism level.
 *
 * NHWC throughout; bf16 with f32 sums on tensor cores; f32 without TF32 unless option `tf32` allows it.
 */
#include "cuda_plans.h"
#include "cuda_vendor.h"
#include <stdio.h>
#include <string.h>

#define MAX_ALGORITHMS 8

struct key {
    int32_t kind, bf16;
    struct cuda_geometry g;
};

struct algorithm {
    int id;
    cudnnMathType_t math;
    size_t nbytes;
};

struct plan {
    struct key key;
    bool used;
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t conv;
    struct algorithm algorithm[MAX_ALGORITHMS];
    int n, at;                  /* at == n: cuDNN has nothing for this shape */
};

struct cuda_dnn {
    cudnnHandle_t handle;
    struct cuda_plans plans;
};

/* ---- what repeatable permits --------------------------------------------------------------------- */

/*
 * cuDNN's documentation lists these as giving the same bits every time; the heuristics' own `determinism` field must agree.
 * Not permitted: BWD_DATA_ALGO_0, BWD_FILTER_ALGO_0 and BWD_FILTER_ALGO_3, which add with atomics.
 */
static bool is_repeatable(int kind, int id)
{
    if (kind == CUDA_CONV_DX)
        return id != CUDNN_CONVOLUTION_BWD_DATA_ALGO_0;
    if (kind == CUDA_CONV_DW)
        return id != CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 && id != CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3;
    return true;
}

/* ---- plans ---------------------------------------------------------------------------------------- */

static int fail(struct cuda *cuda, cudnnStatus_t rc, const char *what, struct bk_error *err)
{
    cudaGetLastError();
    return bk_fail(err, BK_EPLUGIN, "cuDNN: %s: %s", what, cuda->vendor->cudnnGetErrorString(rc));
}

static void free_plan(const struct cuda_vendor *v, struct plan *p)
{
    if (!p)
        return;
    if (p->x)
        v->cudnnDestroyTensorDescriptor(p->x);
    if (p->y)
        v->cudnnDestroyTensorDescriptor(p->y);
    if (p->w)
        v->cudnnDestroyFilterDescriptor(p->w);
    if (p->conv)
        v->cudnnDestroyConvolutionDescriptor(p->conv);
    bk_free(p);
}

static cudnnStatus_t describe(struct cuda *cuda, struct plan *p)
{
    const struct cuda_vendor *v = cuda->vendor;
    const struct cuda_geometry *g = &p->key.g;
    cudnnDataType_t type = p->key.bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    cudnnMathType_t math = p->key.bf16 ? CUDNN_TENSOR_OP_MATH : cuda->tf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH;
    cudnnStatus_t rc = v->cudnnCreateTensorDescriptor(&p->x);
    if (!rc)
        rc = v->cudnnCreateTensorDescriptor(&p->y);
    if (!rc)
        rc = v->cudnnCreateFilterDescriptor(&p->w);
    if (!rc)
        rc = v->cudnnCreateConvolutionDescriptor(&p->conv);
    if (!rc)
        rc = v->cudnnSetTensor4dDescriptor(p->x, CUDNN_TENSOR_NHWC, type, g->n, g->ci, g->h, g->w);
    if (!rc)
        rc = v->cudnnSetTensor4dDescriptor(p->y, CUDNN_TENSOR_NHWC, type, g->n, g->co, g->ho, g->wo);
    if (!rc)
        rc = v->cudnnSetFilter4dDescriptor(p->w, type, CUDNN_TENSOR_NHWC, g->co, g->cg, g->kh, g->kw);
    if (!rc)
        rc = v->cudnnSetConvolution2dDescriptor(p->conv, g->pad, g->pad, g->stride, g->stride, 1, 1,
                                                CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT);
    if (!rc)
        rc = v->cudnnSetConvolutionGroupCount(p->conv, g->groups);
    return rc ? rc : v->cudnnSetConvolutionMathType(p->conv, math);
}

/* Workspace of an algorithm with the math type that is set in the descriptor. */
static cudnnStatus_t workspace_size(struct cuda *cuda, const struct plan *p, int id, size_t *nbytes)
{
    const struct cuda_vendor *v = cuda->vendor;
    cudnnHandle_t h = cuda->dnn->handle;
    switch (p->key.kind) {
    case CUDA_CONV_FORWARD:
        return v->cudnnGetConvolutionForwardWorkspaceSize(h, p->x, p->w, p->conv, p->y, (cudnnConvolutionFwdAlgo_t)id,
                                                          nbytes);
    case CUDA_CONV_DX:
        return v->cudnnGetConvolutionBackwardDataWorkspaceSize(h, p->w, p->y, p->conv, p->x,
                                                               (cudnnConvolutionBwdDataAlgo_t)id, nbytes);
    default:
        return v->cudnnGetConvolutionBackwardFilterWorkspaceSize(h, p->x, p->y, p->conv, p->w,
                                                                 (cudnnConvolutionBwdFilterAlgo_t)id, nbytes);
    }
}

/* One proposal of the heuristics: keep it when level, precision and workspace permit. */
static void consider(struct cuda *cuda, struct plan *p, int id, cudnnStatus_t status, cudnnMathType_t math,
                     cudnnDeterminism_t determinism)
{
    bool strict = cuda->determinism != BK_FAST;
    if (status || p->n == MAX_ALGORITHMS)
        return;
    if (strict && (determinism != CUDNN_DETERMINISTIC || !is_repeatable(p->key.kind, id)))
        return;
    if (!p->key.bf16 && !cuda->tf32)
        math = CUDNN_FMA_MATH;
    size_t nbytes = 0;
    if (cuda->vendor->cudnnSetConvolutionMathType(p->conv, math) || workspace_size(cuda, p, id, &nbytes) ||
        nbytes > (size_t)cuda->workspace_mib << 20)
        return;
    p->algorithm[p->n++] = (struct algorithm){ id, math, nbytes };
}

static void propose(struct cuda *cuda, struct plan *p)
{
    const struct cuda_vendor *v = cuda->vendor;
    cudnnHandle_t h = cuda->dnn->handle;
    int n = 0;
    if (p->key.kind == CUDA_CONV_FORWARD) {
        cudnnConvolutionFwdAlgoPerf_t found[MAX_ALGORITHMS];
        if (v->cudnnGetConvolutionForwardAlgorithm_v7(h, p->x, p->w, p->conv, p->y, MAX_ALGORITHMS, &n, found))
            n = 0;
        for (int i = 0; i < n; i++)
            consider(cuda, p, (int)found[i].algo, found[i].status, found[i].mathType, found[i].determinism);
    } else if (p->key.kind == CUDA_CONV_DX) {
        cudnnConvolutionBwdDataAlgoPerf_t found[MAX_ALGORITHMS];
        if (v->cudnnGetConvolutionBackwardDataAlgorithm_v7(h, p->w, p->y, p->conv, p->x, MAX_ALGORITHMS, &n, found))
            n = 0;
        for (int i = 0; i < n; i++)
            consider(cuda, p, (int)found[i].algo, found[i].status, found[i].mathType, found[i].determinism);
    } else {
        cudnnConvolutionBwdFilterAlgoPerf_t found[MAX_ALGORITHMS];
        if (v->cudnnGetConvolutionBackwardFilterAlgorithm_v7(h, p->x, p->y, p->conv, p->w, MAX_ALGORITHMS, &n, found))
            n = 0;
        for (int i = 0; i < n; i++)
            consider(cuda, p, (int)found[i].algo, found[i].status, found[i].mathType, found[i].determinism);
    }
    cudaGetLastError();
}

static void log_refusal(const struct plan *p)
{
    static const char *const names[] = { "", "forward", "dx", "dw" };
    const struct cuda_geometry *g = &p->key.g;
    bk_log(BK_LOG_DEBUG, "cuda: cuDNN has no permitted algorithm for convolution %s [%d,%d,%d,%d] -> %d channels, %dx%d, "
           "stride %d, groups %d, %s; an own kernel computes it", names[p->key.kind], g->n, g->h, g->w, g->ci, g->co,
           g->kh, g->kw, g->stride, g->groups, p->key.bf16 ? "bf16" : "f32");
}

static struct plan *new_plan(struct cuda *cuda, const struct key *key)
{
    struct plan *p = bk_zalloc(sizeof *p);
    if (!p)
        return NULL;
    p->key = *key;
    if (describe(cuda, p) == CUDNN_STATUS_SUCCESS)
        propose(cuda, p);
    if (!p->n)
        log_refusal(p);
    return p;
}

static struct plan *get_plan(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, int bf16)
{
    struct cuda_dnn *d = cuda->dnn;
    struct key key;
    memset(&key, 0, sizeof key);
    key.kind = (int32_t)kind;
    key.bf16 = bf16;
    key.g = *g;
    void **at = cuda_plans_place(&d->plans, &key, sizeof key);
    if (!at)
        return NULL;
    if (!*at && (*at = new_plan(cuda, &key)))
        d->plans.n++;
    return *at;
}

/* ---- running ---------------------------------------------------------------------------------------- */

static cudnnStatus_t run(struct cuda *cuda, const struct plan *p, const struct algorithm *a, const void *in0,
                         const void *in1, void *out, void *space)
{
    static const float one = 1, zero = 0;
    const struct cuda_vendor *v = cuda->vendor;
    cudnnHandle_t h = cuda->dnn->handle;
    cudnnStatus_t rc = v->cudnnSetConvolutionMathType(p->conv, a->math);
    if (rc)
        return rc;
    switch (p->key.kind) {
    case CUDA_CONV_FORWARD:     /* x, w -> y */
        return v->cudnnConvolutionForward(h, &one, p->x, in0, p->w, in1, p->conv, (cudnnConvolutionFwdAlgo_t)a->id,
                                          space, a->nbytes, &zero, p->y, out);
    case CUDA_CONV_DX:          /* dy, w -> dx */
        return v->cudnnConvolutionBackwardData(h, &one, p->w, in1, p->y, in0, p->conv,
                                               (cudnnConvolutionBwdDataAlgo_t)a->id, space, a->nbytes, &zero, p->x, out);
    default:                    /* x, dy -> dw */
        return v->cudnnConvolutionBackwardFilter(h, &one, p->x, in0, p->y, in1, p->conv,
                                                 (cudnnConvolutionBwdFilterAlgo_t)a->id, space, a->nbytes, &zero, p->w,
                                                 out);
    }
}

/* "Bad parameter" is how some algorithms refuse a shape: ours were checked, and the next one or our own kernel will do. */
static bool is_refusal(cudnnStatus_t rc)
{
    int category = CUDNN_STATUS_CATEGORY((int)rc);
    return category == CUDNN_STATUS_NOT_SUPPORTED || category == CUDNN_STATUS_BAD_PARAM;
}

int cuda_dnn_conv(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, int bf16, const void *a,
                  const void *b, void *out, bool *taken, struct bk_error *err)
{
    struct plan *p = get_plan(cuda, kind, g, bf16);
    *taken = false;
    if (!p)
        return bk_fail(err, BK_ENOMEM, "no memory for a convolution plan");
    while (p->at < p->n) {
        const struct algorithm *algorithm = &p->algorithm[p->at];
        void *space = NULL;
        if (algorithm->nbytes)
            BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_DNN, algorithm->nbytes, &space, err));
        cudnnStatus_t rc = run(cuda, p, algorithm, a, b, out, space);
        if (rc == CUDNN_STATUS_SUCCESS) {
            if (!p->used && cuda_vendor_check_maps(err))    /* its parts are loaded by now */
                return BK_ENOTSUP;
            p->used = true;
            *taken = true;
            return cuda_launched(cuda, "cudnn convolution", err);
        }
        if (!is_refusal(rc))
            return fail(cuda, rc, "a convolution failed", err);
        cudaGetLastError();
        if (++p->at == p->n)
            log_refusal(p);
    }
    return BK_OK;
}

/* ---- life ------------------------------------------------------------------------------------------- */

int cuda_dnn_open(struct cuda *cuda, struct bk_error *err)
{
    struct cuda_dnn *d = bk_zalloc(sizeof *d);
    if (!d)
        return bk_fail(err, BK_ENOMEM, "no memory for the state of cuDNN");
    cuda->dnn = d;
    cudnnStatus_t rc = cuda->vendor->cudnnCreate(&d->handle);
    if (rc) {
        d->handle = NULL;
        return fail(cuda, rc, "it cannot be started", err);
    }
    rc = cuda->vendor->cudnnSetStream(d->handle, cuda->stream);
    return rc ? fail(cuda, rc, "setting its stream failed", err) : BK_OK;
}

void cuda_dnn_close(struct cuda *cuda)
{
    struct cuda_dnn *d = cuda->dnn;
    if (!d)
        return;
    for (size_t i = 0; i < d->plans.cap; i++)
        free_plan(cuda->vendor, d->plans.at[i]);
    cuda_plans_release(&d->plans);
    if (d->handle)
        cuda->vendor->cudnnDestroy(d->handle);
    bk_free(d);
    cuda->dnn = NULL;
}

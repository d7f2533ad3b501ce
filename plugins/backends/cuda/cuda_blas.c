/*
 * cuda_blas.c: matrix products by cuBLASLt; the only file that calls it.
 *
 * A plan (descriptors and the algorithm that the heuristics rank first) is made once per shape and type. cuBLASLt counts
 * matrices by columns: row-major C = op(A) op(B) is asked for as C' = op(B)' op(A)', with the operands exchanged.
 * Sums are f32, f32 inputs are not rounded to TF32 unless option `tf32` allows it, and a product split over its inner
 * dimension adds its parts in f32 through workspace, never with atomics: the same bits on every run at every level.
 */
#include "cuda_plans.h"
#include "cuda_vendor.h"
#include <string.h>

#define WORKSPACE ((size_t)32 << 20)    /* what NVIDIA recommends on Hopper */

struct key {
    int64_t m, n, k;
    int32_t trans_a, trans_b, bf16, bf16_out;
};

struct plan {
    struct key key;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t first, second, result;
    cublasLtMatmulAlgo_t algorithm;
    bool found;                 /* false: cuBLASLt has nothing for this product */
};

struct cuda_blas {
    cublasLtHandle_t handle;
    struct cuda_plans plans;
};

/* ---- plans ------------------------------------------------------------------------------------------ */

static int fail(struct cuda *cuda, cublasStatus_t rc, const char *what, struct bk_error *err)
{
    cudaGetLastError();
    return bk_fail(err, BK_EPLUGIN, "cuBLASLt: %s: %s", what, cuda->vendor->cublasLtGetStatusString(rc));
}

static void free_plan(const struct cuda_vendor *v, struct plan *p)
{
    if (!p)
        return;
    if (p->operation)
        v->cublasLtMatmulDescDestroy(p->operation);
    if (p->first)
        v->cublasLtMatrixLayoutDestroy(p->first);
    if (p->second)
        v->cublasLtMatrixLayoutDestroy(p->second);
    if (p->result)
        v->cublasLtMatrixLayoutDestroy(p->result);
    bk_free(p);
}

/* A row-major [rows, cols] matrix is a column-major [cols, rows] one. */
static cublasStatus_t layout(const struct cuda_vendor *v, cublasLtMatrixLayout_t *out, bool bf16, int64_t rows, int64_t cols)
{
    return v->cublasLtMatrixLayoutCreate(out, bf16 ? CUDA_R_16BF : CUDA_R_32F, (uint64_t)cols, (uint64_t)rows, cols);
}

static cublasStatus_t describe(struct cuda *cuda, struct plan *p)
{
    const struct cuda_vendor *v = cuda->vendor;
    const struct key *key = &p->key;
    bool tf32 = cuda->tf32 && !key->bf16;
    cublasOperation_t first = key->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, second = key->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t rc = v->cublasLtMatmulDescCreate(&p->operation,
                                                    tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (!rc)
        rc = v->cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
    if (!rc)
        rc = v->cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
    if (!rc)
        rc = layout(v, &p->first, key->bf16, key->trans_b ? key->n : key->k, key->trans_b ? key->k : key->n);
    if (!rc)
        rc = layout(v, &p->second, key->bf16, key->trans_a ? key->k : key->m, key->trans_a ? key->m : key->k);
    return rc ? rc : layout(v, &p->result, key->bf16_out, key->m, key->n);
}

/* Both mean that no algorithm takes the shape (odd leading dimensions in bf16, say); an own kernel will do. */
static bool is_refusal(cublasStatus_t rc)
{
    return rc == CUBLAS_STATUS_NOT_SUPPORTED || rc == CUBLAS_STATUS_INVALID_VALUE;
}

/* The heuristics take operands to be 256-byte aligned, which everything that the backend's memory functions give is. */
static cublasStatus_t choose(struct cuda *cuda, struct plan *p)
{
    const struct cuda_vendor *v = cuda->vendor;
    cublasLtMatmulPreference_t wish = NULL;
    cublasLtMatmulHeuristicResult_t result;
    size_t limit = WORKSPACE;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    int n = 0;
    cublasStatus_t rc = v->cublasLtMatmulPreferenceCreate(&wish);
    if (!rc)
        rc = v->cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &limit, sizeof limit);
    if (!rc)
        rc = v->cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes,
                                                     sizeof schemes);
    memset(&result, 0, sizeof result);
    if (!rc)
        rc = v->cublasLtMatmulAlgoGetHeuristic(cuda->blas->handle, p->operation, p->first, p->second, p->result, p->result,
                                               wish, 1, &result, &n);
    if (!rc && n == 1 && result.state == CUBLAS_STATUS_SUCCESS) {
        p->algorithm = result.algo;
        p->found = true;
    }
    if (wish)
        v->cublasLtMatmulPreferenceDestroy(wish);
    return is_refusal(rc) ? CUBLAS_STATUS_SUCCESS : rc;
}

/* ---- finding a plan ----------------------------------------------------------------------------------- */

static void log_refusal(const struct key *key)
{
    bk_log(BK_LOG_DEBUG, "cuda: cuBLASLt has no algorithm for a product [%lld,%lld] of depth %lld; an own kernel computes it",
           (long long)key->m, (long long)key->n, (long long)key->k);
}

static int get_plan(struct cuda *cuda, const struct key *key, struct plan **out, struct bk_error *err)
{
    struct cuda_blas *b = cuda->blas;
    void **at = cuda_plans_place(&b->plans, key, sizeof *key);
    if (!at)
        return bk_fail(err, BK_ENOMEM, "no memory for the table of matrix products");
    if (!*at) {
        struct plan *p = bk_zalloc(sizeof *p);
        if (!p)
            return bk_fail(err, BK_ENOMEM, "no memory for the plan of a matrix product");
        p->key = *key;
        cublasStatus_t rc = describe(cuda, p);
        if (!rc)
            rc = choose(cuda, p);
        if (rc) {
            free_plan(cuda->vendor, p);
            return fail(cuda, rc, "preparing a product failed", err);
        }
        if (!p->found)
            log_refusal(key);
        *at = p;
        b->plans.n++;
    }
    *out = *at;
    return BK_OK;
}

/* ---- running ---------------------------------------------------------------------------------------- */

int cuda_matmul(struct cuda *cuda, const struct cuda_product *p, struct bk_error *err)
{
    static const float one = 1;
    struct plan *plan = NULL;
    struct key key;
    void *space;
    memset(&key, 0, sizeof key);
    key = (struct key){ p->m, p->n, p->k, p->trans_a, p->trans_b, p->bf16, p->bf16_out };
    BK_TRY(get_plan(cuda, &key, &plan, err));
    if (!plan->found)
        return cuda_direct_matmul(cuda, p, err);
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_BLAS, WORKSPACE, &space, err));
    cublasStatus_t rc = cuda->vendor->cublasLtMatmul(cuda->blas->handle, plan->operation, &one, p->b, plan->first, p->a,
                                                     plan->second, &p->beta, p->c, plan->result, p->c, plan->result,
                                                     &plan->algorithm, space, WORKSPACE, cuda->stream);
    if (is_refusal(rc)) {
        cudaGetLastError();
        plan->found = false;
        log_refusal(&plan->key);
        return cuda_direct_matmul(cuda, p, err);
    }
    if (rc)
        return fail(cuda, rc, "a product failed", err);
    return cuda_launched(cuda, "matrix product", err);
}

/* ---- life ------------------------------------------------------------------------------------------- */

int cuda_blas_open(struct cuda *cuda, struct bk_error *err)
{
    struct cuda_blas *b = bk_zalloc(sizeof *b);
    if (!b)
        return bk_fail(err, BK_ENOMEM, "no memory for the state of cuBLASLt");
    cuda->blas = b;
    cublasStatus_t rc = cuda->vendor->cublasLtCreate(&b->handle);
    if (rc) {
        b->handle = NULL;
        return fail(cuda, rc, "it cannot be started", err);
    }
    return BK_OK;
}

void cuda_blas_close(struct cuda *cuda)
{
    struct cuda_blas *b = cuda->blas;
    if (!b)
        return;
    for (size_t i = 0; i < b->plans.cap; i++)
        free_plan(cuda->vendor, b->plans.at[i]);
    cuda_plans_release(&b->plans);
    if (b->handle)
        cuda->vendor->cublasLtDestroy(b->handle);
    bk_free(b);
    cuda->blas = NULL;
}

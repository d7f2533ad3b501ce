/*
 * cuda_emulation_vendor.c: stands in for cuda_vendor.c, cuda_dnn.c and cuda_blas.c where there are no such libraries: every
 * convolution and product is refused, so that the backend's own kernels compute it.
 */
#include "cuda_state.h"
#include <stdio.h>

struct cuda_vendor {
    int unused;
};

int cuda_vendor_open(struct cuda_vendor **out, struct bk_error *err)
{
    static struct cuda_vendor none;
    (void)err;
    *out = &none;
    return BK_OK;
}

void cuda_vendor_free(struct cuda_vendor *v)
{
    (void)v;
}

void cuda_vendor_versions(const struct cuda_vendor *v, char *buf, size_t n)
{
    (void)v;
    snprintf(buf, n, "no vendor libraries");
}

int cuda_dnn_open(struct cuda *cuda, struct bk_error *err)
{
    (void)cuda, (void)err;
    return BK_OK;
}

void cuda_dnn_close(struct cuda *cuda)
{
    (void)cuda;
}

int cuda_dnn_conv(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, int bf16, const void *a,
                  const void *b, void *out, bool *taken, struct bk_error *err)
{
    (void)cuda, (void)kind, (void)g, (void)bf16, (void)a, (void)b, (void)out, (void)err;
    *taken = false;
    return BK_OK;
}

int cuda_blas_open(struct cuda *cuda, struct bk_error *err)
{
    (void)cuda, (void)err;
    return BK_OK;
}

void cuda_blas_close(struct cuda *cuda)
{
    (void)cuda;
}

int cuda_matmul(struct cuda *cuda, const struct cuda_product *p, struct bk_error *err)
{
    return cuda_direct_matmul(cuda, p, err);
}

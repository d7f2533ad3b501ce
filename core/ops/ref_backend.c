/*
 * ops/ref_backend.c: the reference backend's table, its memory, and the arrays its kernels work on.
 *
 * The kernels are in ref_<operation>.c. There is no state: one instance is as good as another, and every call
 * allocates what it needs.
 */
#include "ops/ref.h"
#include <stdio.h>
#include <string.h>

/* ---- arrays of a call ---------------------------------------------------------------------------- */

double *bk__ref_new(struct bk__ref *r, int64_t n)
{
    double *v = r->n < BK__REF_MAX_ARRAYS ? bk_zalloc((size_t)n * sizeof *v) : NULL;
    if (v)
        r->array[r->n++] = v;
    else
        r->failed = true;
    return v;
}

static double get(const struct bk_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case BK_F32:
        return ((const float *)t->data)[i];
    case BK_BF16:
        return bk_bf16_to_f32(((const uint16_t *)t->data)[i]);
    case BK_F64:
        return ((const double *)t->data)[i];
    default:
        return ((const int32_t *)t->data)[i];
    }
}

static void put(struct bk_tensor *t, int64_t i, double v)
{
    switch (t->dtype) {
    case BK_F32:
        ((float *)t->data)[i] = (float)v;
        break;
    case BK_BF16:
        ((uint16_t *)t->data)[i] = bk_f32_to_bf16((float)v);
        break;
    default:
        ((double *)t->data)[i] = v;
    }
}

double *bk__ref_load(struct bk__ref *r, const struct bk_tensor *t)
{
    return t ? bk__ref_load_sum(r, &t, 1) : NULL;
}

double *bk__ref_load_sum(struct bk__ref *r, const struct bk_tensor *const *t, int n)
{
    int first = 0;
    while (first < n && !t[first])
        first++;
    if (first == n)
        return NULL;
    int64_t numel = bk_tensor_numel(t[first]);
    double *v = bk__ref_new(r, numel);
    for (int k = first; v && k < n; k++)
        for (int64_t i = 0; t[k] && i < numel; i++)
            v[i] += get(t[k], i);
    return v;
}

void bk__ref_store(struct bk_tensor *t, const double *v)
{
    for (int64_t i = 0, n = t ? bk_tensor_numel(t) : 0; i < n; i++)
        put(t, i, v[i]);
}

void bk__ref_accumulate(struct bk_tensor *t, const double *v)
{
    for (int64_t i = 0, n = t ? bk_tensor_numel(t) : 0; i < n; i++)
        put(t, i, get(t, i) + v[i]);
}

int bk__ref_check(struct bk__ref *r)
{
    return r->failed ? bk_fail(r->err, BK_ENOMEM, "no memory for the arrays of a reference kernel") : BK_OK;
}

/* ---- memory -------------------------------------------------------------------------------------- */

static int ref_alloc(void *state, size_t nbytes, void **out, struct bk_error *err)
{
    (void)state;
    void *p = bk_alloc_aligned(nbytes);
    if (!p)
        return bk_fail(err, BK_ENOMEM, "no memory for %zu bytes on ref", nbytes);
    *out = p;
    return BK_OK;
}

static void ref_dealloc(void *state, void *p, size_t nbytes)
{
    (void)state, (void)nbytes;
    bk_free_aligned(p);
}

static int ref_copy(void *state, void *dst, const void *src, size_t nbytes, struct bk_error *err)
{
    (void)state, (void)err;
    memcpy(dst, src, nbytes);
    return BK_OK;
}

static int ref_zero(void *state, void *dst, size_t nbytes, struct bk_error *err)
{
    (void)state, (void)err;
    memset(dst, 0, nbytes);
    return BK_OK;
}

/* ---- the table ----------------------------------------------------------------------------------- */

static const bk__ref_fn kernels[BK_KERNEL_COUNT] = {
#define X(kernel, name) [BK_K_##kernel] = bk__ref_##name,
    BK__REF_KERNELS(X)
#undef X
};

static int ref_open(void *state, int32_t index, uint32_t determinism, int32_t threads, struct bk_error *err)
{
    (void)state, (void)determinism, (void)threads;
    return index ? bk_fail(err, BK_EINVAL, "ref has device 0 only, not %d", index) : BK_OK;
}

static int ref_probe(void *state, struct bk_error *err)
{
    (void)state, (void)err;
    return BK_OK;               /* works everywhere */
}

static void ref_close(void *state)
{
    (void)state;
}

static int ref_synchronize(void *state, struct bk_error *err)
{
    (void)state, (void)err;
    return BK_OK;               /* every call has finished when it returns */
}

static int ref_info(void *state, struct bk_backend_info *out, struct bk_error *err)
{
    (void)state, (void)err;
    out->host_memory = 1;
    snprintf(out->device_name, sizeof out->device_name, "reference loops, one thread");
    snprintf(out->libraries, sizeof out->libraries, "none");
    return BK_OK;
}

static bool ref_supports(void *state, uint32_t kernel, uint32_t dtype)
{
    (void)state;
    return kernel < BK_KERNEL_COUNT && kernels[kernel] && (dtype == BK_F32 || dtype == BK_BF16 || dtype == BK_F64);
}

static int ref_run(void *state, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *err)
{
    (void)state;
    if (kernel >= BK_KERNEL_COUNT || !kernels[kernel])
        return bk_fail(err, BK_ENOTSUP, "ref has no such kernel");
    struct bk__ref r = { .err = err };
    int rc = kernels[kernel](&r, args);
    for (int i = 0; i < r.n; i++)
        bk_free(r.array[i]);
    return rc;
}

const struct bk_backend_iface bk_ref_backend = {
    .struct_size = sizeof(struct bk_backend_iface),
    .probe = ref_probe,
    .open = ref_open,
    .close = ref_close,
    .info = ref_info,
    .alloc = ref_alloc,
    .dealloc = ref_dealloc,
    .copy_in = ref_copy,
    .copy_out = ref_copy,
    .copy = ref_copy,
    .zero = ref_zero,
    .supports = ref_supports,
    .run = ref_run,
    .synchronize = ref_synchronize,
};

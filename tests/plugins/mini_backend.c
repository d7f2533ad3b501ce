/*
 * The smallest backend: host memory and two kernels, ReLU and addition, for f32.
 *
 * A backend need not have every kernel: supports() says which it has, and an operation without one fails with a
 * sentence instead of running somewhere else. Shapes and types were checked before run() is called.
 */
#include <bosskit/backend.h>

#include <bosskit/ops.h>
#include <stdio.h>
#include <string.h>

static int probe(void *state, struct bk_error *err)
{
    (void)state, (void)err;
    return BK_OK;                       /* every machine has memory */
}

static int mini_open(void *state, int32_t index, uint32_t determinism, int32_t threads, struct bk_error *err)
{
    (void)state, (void)determinism, (void)threads;
    if (index != 0)
        return bk_fail(err, BK_ENOTFOUND, "there is one device, number 0, not %d", index);
    return BK_OK;
}

static void mini_close(void *state)
{
    (void)state;
}

static int info(void *state, struct bk_backend_info *out, struct bk_error *err)
{
    (void)state, (void)err;
    out->host_memory = 1;
    snprintf(out->device_name, sizeof out->device_name, "plain C");
    return BK_OK;
}

static int mini_alloc(void *state, size_t nbytes, void **out, struct bk_error *err)
{
    (void)state;
    *out = bk_alloc_aligned(nbytes);
    return *out ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for %zu bytes", nbytes);
}

static void dealloc(void *state, void *p, size_t nbytes)
{
    (void)state, (void)nbytes;
    bk_free_aligned(p);
}

static int copy(void *state, void *dst, const void *src, size_t nbytes, struct bk_error *err)
{
    (void)state, (void)err;
    memcpy(dst, src, nbytes);
    return BK_OK;
}

static int zero(void *state, void *dst, size_t nbytes, struct bk_error *err)
{
    (void)state, (void)err;
    memset(dst, 0, nbytes);
    return BK_OK;
}

static bool supports(void *state, uint32_t kernel, uint32_t dtype)
{
    (void)state;
    return dtype == BK_F32 && (kernel == BK_K_RELU || kernel == BK_K_ADD);
}

/* out[0] = in[0] + ... (absent addends are NULL), then ReLU on demand. */
static void add(const struct bk_kernel_args *args, bool relu)
{
    int64_t n = bk_tensor_numel(args->out[0]);
    float *y = args->out[0]->data;

    for (int64_t i = 0; i < n; i++) {
        float sum = 0;
        for (uint32_t k = 0; k < args->n_in; k++)
            if (args->in[k])
                sum += ((const float *)args->in[k]->data)[i];
        y[i] = relu && sum < 0 ? 0 : sum;
    }
}

static int run(void *state, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_add_attr *attr = args->attr;

    (void)state;
    switch (kernel) {
    case BK_K_RELU:
        add(args, true);
        return BK_OK;
    case BK_K_ADD:
        add(args, attr && attr->relu);
        return BK_OK;
    default:
        return bk_fail(err, BK_ENOTSUP, "backend 'mini' has no kernel '%s'", bk_kernel_name(kernel));
    }
}

static int synchronize(void *state, struct bk_error *err)
{
    (void)state, (void)err;
    return BK_OK;                       /* run() has finished when it returns */
}

static const struct bk_backend_iface iface = {
    .struct_size = sizeof(struct bk_backend_iface),
    .probe = probe,
    .open = mini_open,
    .close = mini_close,
    .info = info,
    .alloc = mini_alloc,
    .dealloc = dealloc,
    .copy_in = copy,
    .copy_out = copy,
    .copy = copy,
    .zero = zero,
    .supports = supports,
    .run = run,
    .synchronize = synchronize,
};

static const struct bk_plugin mini = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_BACKEND,
    .name = "mini",
    .version = "1.0.0",
    .summary = "host memory, ReLU and addition",
    .source_digest = BK_SOURCE_DIGEST,
    .state_size = 1,
    .iface = &iface,
};

BK_MODULE(&mini);

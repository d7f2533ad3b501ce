/*
 * device/device.c: a device is an opened backend.
 *
 * Thin wrappers that give optional backend members a default and put the kernel's name and shapes before a backend's
 * error sentence. Kernels are not here: `ref` is in ops/, everything else is a plugin.
 */
#include "device/device.h"
#include <bosskit/view.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct bk_device {
    const struct bk_backend_iface *backend;
    void *state;
    bool host_memory;
    bool refused, dry;
};

/* ---- kernel names: those of ops.def in lower case ------------------------------------------------ */

static const char *const upper_names[BK_KERNEL_COUNT] = {
#define BK_KERNEL(name) [BK_K_##name] = #name,
#include <bosskit/ops.def>
#undef BK_KERNEL
};

static char kernel_names[BK_KERNEL_COUNT][32];
static pthread_once_t kernel_names_once = PTHREAD_ONCE_INIT;

static void fill_kernel_names(void)
{
    for (int k = 1; k < BK_KERNEL_COUNT; k++)
        for (int i = 0; upper_names[k][i] && i < 31; i++) {
            char c = upper_names[k][i];
            kernel_names[k][i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        }
}

const char *bk_kernel_name(uint32_t kernel)
{
    if (kernel == BK_KERNEL_INVALID || kernel >= BK_KERNEL_COUNT)
        return NULL;
    pthread_once(&kernel_names_once, fill_kernel_names);
    return kernel_names[kernel];
}

/* ---- life ---------------------------------------------------------------------------------------- */

int bk_device_open(const struct bk_backend_iface *backend, void *state, int32_t index, uint32_t determinism,
                   int32_t threads, struct bk_device **out, struct bk_error *err)
{
    if (!backend || !backend->alloc || !backend->dealloc || !backend->copy_in || !backend->copy_out || !backend->run)
        return bk_fail(err, BK_EPLUGIN, "the backend lacks memory functions or run");
    if (backend->probe)
        BK_TRY(backend->probe(state, err));
    struct bk_device *d = bk_zalloc(sizeof *d);
    if (!d)
        return bk_fail(err, BK_ENOMEM, "no memory for a device");
    int rc = backend->open ? backend->open(state, index, determinism, threads, err) : BK_OK;
    if (rc) {
        bk_free(d);
        return rc;
    }
    d->backend = backend;
    d->state = state;
    struct bk_backend_info info;
    rc = bk_device_info(d, &info, err);
    if (rc) {
        bk_device_close(d);
        return rc;
    }
    d->host_memory = info.host_memory != 0;
    *out = d;
    return BK_OK;
}

void bk_device_close(struct bk_device *device)
{
    if (!device)
        return;
    if (device->backend->close)
        device->backend->close(device->state);
    bk_free(device);
}

int bk_device_info(struct bk_device *device, struct bk_backend_info *out, struct bk_error *err)
{
    struct bk_backend_info info = { .struct_size = sizeof info };
    if (device->backend->info)
        BK_TRY(device->backend->info(device->state, &info, err));
    info.struct_size = sizeof info;
    *out = info;
    return BK_OK;
}

bool bk__device_is_host(const struct bk_device *device)
{
    return device->host_memory;
}

bool bk_device_supports(struct bk_device *device, uint32_t kernel, uint32_t dtype)
{
    if (!bk_kernel_name(kernel))
        return false;
    return !device->backend->supports || device->backend->supports(device->state, kernel, dtype);
}

int bk_device_synchronize(struct bk_device *device, struct bk_error *err)
{
    return device->backend->synchronize ? device->backend->synchronize(device->state, err) : BK_OK;
}

/* ---- memory -------------------------------------------------------------------------------------- */

static int note_refusal(struct bk_device *device, int rc)
{
    if (rc == BK_ENOMEM)
        device->refused = true;
    return rc;
}

bool bk__device_take_refusal(struct bk_device *device)
{
    bool refused = device->refused;
    device->refused = false;
    return refused;
}

bool bk__device_available(struct bk_device *device, size_t *available)
{
    const struct bk_backend_iface *backend = device->backend;
    struct bk_error ignored = BK_ERROR_INIT;
    size_t total;
    return BK_HAS(backend, memory) && backend->memory && !backend->memory(device->state, available, &total, &ignored);
}

void bk__device_section(struct bk_device *device)
{
    const struct bk_backend_iface *backend = device->backend;
    if (BK_HAS(backend, section) && backend->section && !device->dry)
        backend->section(device->state);
}

void bk__device_set_dry(struct bk_device *device, bool dry)
{
    device->dry = dry;
}

int bk_device_alloc(struct bk_device *device, size_t nbytes, void **out, struct bk_error *err)
{
    return note_refusal(device, device->backend->alloc(device->state, nbytes ? nbytes : 1, out, err));
}

void bk_device_dealloc(struct bk_device *device, void *p, size_t nbytes)
{
    if (p)
        device->backend->dealloc(device->state, p, nbytes ? nbytes : 1);
}

int bk__device_copy_in(struct bk_device *device, void *dst, const void *src_host, size_t nbytes, struct bk_error *err)
{
    return nbytes && !device->dry ? note_refusal(device, device->backend->copy_in(device->state, dst, src_host, nbytes, err)) : BK_OK;
}

int bk__device_copy_out(struct bk_device *device, void *dst_host, const void *src, size_t nbytes, struct bk_error *err)
{
    if (device->dry)
        memset(dst_host, 0, nbytes);
    return nbytes && !device->dry ? note_refusal(device, device->backend->copy_out(device->state, dst_host, src, nbytes, err)) : BK_OK;
}

/* A backend without `copy` or `zero` gets them by way of the host. */
static int through_host(struct bk_device *device, void *dst, const void *src, size_t nbytes, struct bk_error *err)
{
    void *host = bk_zalloc(nbytes);
    if (!host)
        return bk_fail(err, BK_ENOMEM, "no memory for %zu bytes on the way between tensors", nbytes);
    int rc = src ? bk__device_copy_out(device, host, src, nbytes, err) : BK_OK;
    if (!rc)
        rc = bk__device_copy_in(device, dst, host, nbytes, err);
    bk_free(host);
    return rc;
}

int bk__device_copy(struct bk_device *device, void *dst, const void *src, size_t nbytes, struct bk_error *err)
{
    if (!nbytes || device->dry)
        return BK_OK;
    if (device->backend->copy)
        return note_refusal(device, device->backend->copy(device->state, dst, src, nbytes, err));
    return through_host(device, dst, src, nbytes, err);
}

int bk__device_zero(struct bk_device *device, void *dst, size_t nbytes, struct bk_error *err)
{
    if (!nbytes || device->dry)
        return BK_OK;
    if (device->backend->zero)
        return note_refusal(device, device->backend->zero(device->state, dst, nbytes, err));
    return through_host(device, dst, NULL, nbytes, err);
}

/* ---- kernels ------------------------------------------------------------------------------------- */

/* "conv2d ([2,8,8,3] f32, [4,3,3,3] f32)": the kernel and the inputs that are present, for messages. */
static int add_context(uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *err)
{
    char list[512] = "", one[96];
    size_t len = 0;
    for (uint32_t i = 0; i < args->n_in && len + 100 < sizeof list; i++)
        if (args->in[i])
            len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", len ? ", " : "",
                                    bk_tensor_describe(args->in[i], one));
    return bk_context(err, "kernel %s (%s)", bk_kernel_name(kernel), list);
}

int bk_device_run(struct bk_device *device, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *err)
{
    if (!bk_kernel_name(kernel))
        return bk_fail(err, BK_EINVAL, "there is no kernel number %u", kernel);
    if (device->dry)
        return BK_OK;
    int rc = note_refusal(device, device->backend->run(device->state, kernel, args, err));
    if (rc)
        add_context(kernel, args, err);
    return rc;
}

/* ---- views --------------------------------------------------------------------------------------- */

bool bk_device_makes_views(const struct bk_device *device)
{
    return BK_HAS(device->backend, make_views) && device->backend->make_views;
}

static int check_views(const struct bk_view_plan *plan, int32_t n, const struct bk_tensor *out, struct bk_error *err)
{
    char text[96];
    if (out->dtype != BK_F32 && out->dtype != BK_BF16)
        return bk_fail(err, BK_EINVAL, "views are f32 or bf16, not %s", bk_dtype_name(out->dtype));
    for (int32_t i = 0; i < n; i++)
        if (out->rank != 4 || out->dim[0] != n || out->dim[1] != plan[i].size || out->dim[2] != plan[i].size ||
            out->dim[3] != 3)
            return bk_fail(err, BK_ESHAPE, "view %d of %d with %d pixels a side does not fit %s", (int)i, (int)n,
                           (int)plan[i].size, bk_tensor_describe(out, text));
    return BK_OK;
}

int bk_device_make_views(struct bk_device *device, const struct bk_view_plan *plan, int32_t n, struct bk_tensor *out,
                         struct bk_error *err)
{
    if (!bk_device_makes_views(device))
        return bk_fail(err, BK_ENOTSUP, "the backend makes no views of images");
    BK_TRY(check_views(plan, n, out, err));
    if (device->dry || n < 1)
        return BK_OK;
    return note_refusal(device, device->backend->make_views(device->state, plan, n, out, err));
}

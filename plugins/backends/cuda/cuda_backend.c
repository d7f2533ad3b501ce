/*
 * cuda_backend.c: the CUDA backend: cuDNN convolutions, cuBLASLt products, own kernels for everything else.
 *
 * This file has the descriptor, what makes the backend unavailable, opening and closing, and the table of kernels; see
 * cuda_state.h for how a kernel is built. Without a driver, a GPU or cuDNN the plugin loads all the same (the runtime is
 * linked statically, the vendors' libraries are opened by probe), and the reason is one sentence. One stream computes per open
 * device; an instance drives one device, several instances may drive several. f64 belongs to `ref`.
 */
#include "cuda_state.h"
#include <stdio.h>
#include <string.h>

#ifndef CUDA_PLUGIN_NAME        /* tests build a second one, whose kernels are loops on the host */
#define CUDA_PLUGIN_NAME "cuda"
#endif
#define OLDEST_MAJOR 8          /* sm_80: bf16 on tensor cores */

/* ---- errors ---------------------------------------------------------------------------------------------------- */

/* After these nothing in the process's context works any more. */
static bool is_fatal(cudaError_t rc)
{
    switch (rc) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorLaunchTimeout:
        return true;
    default:
        return false;
    }
}

int cuda_fail(struct cuda *cuda, cudaError_t rc, const char *what, struct bk_error *err)
{
    cudaGetLastError();
    if (!is_fatal(rc))
        return bk_fail(err, BK_EPLUGIN, "CUDA device %d: %s: %s", cuda->device, what, cudaGetErrorString(rc));
    cuda->lost = true;
    return bk_fail(err, BK_EPLUGIN, "CUDA device %d: %s: %s; the kernel at fault may be an earlier one (option 'wait' tells), and "
                   "the device cannot be used again in this process", cuda->device, what, cudaGetErrorString(rc));
}

int cuda_launched(struct cuda *cuda, const char *kernel, struct bk_error *err)
{
    cudaError_t rc = cudaGetLastError();
    if (!rc && cuda->wait)
        rc = cudaStreamSynchronize(cuda->stream);
    return rc ? cuda_fail(cuda, rc, kernel, err) : BK_OK;
}

int cuda_fits(int64_t n, const char *what, struct bk_error *err)
{
    if (n >= 0 && n <= INT32_MAX - 1024)
        return BK_OK;
    return bk_fail(err, BK_ENOTSUP, "%lld %s exceed the 32-bit indices of the kernel", (long long)n, what);
}

/* Make the instance's device the current one of this thread, whichever thread opened it. */
static int enter(struct cuda *cuda, struct bk_error *err)
{
    if (cuda->lost)
        return bk_fail(err, BK_EPLUGIN, "CUDA device %d failed earlier and cannot be used again in this process", cuda->device);
    cudaError_t rc = cudaSetDevice(cuda->device);
    return rc ? cuda_fail(cuda, rc, "selecting the device", err) : BK_OK;
}

/* ---- is it usable here? ------------------------------------------------------------------------------------------ */

static int check_driver(struct bk_error *err)
{
    int driver = 0, runtime = 0, n = 0;
    cudaError_t rc = cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (rc || driver == 0) {
        cudaGetLastError();
        return bk_fail(err, BK_ENOTSUP, "no NVIDIA driver is installed (libcuda.so.1)");
    }
    rc = cudaGetDeviceCount(&n);
    cudaGetLastError();
    if (rc == cudaErrorInsufficientDriver)
        return bk_fail(err, BK_ENOTSUP, "the NVIDIA driver supports CUDA %d.%d, but the plugin needs %d.%d", driver / 1000,
                       driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (rc || n == 0)
        return bk_fail(err, BK_ENOTSUP, "no CUDA device (%s)", rc ? cudaGetErrorString(rc) : "the driver lists none");
    return BK_OK;
}

static int check_device(int device, struct bk_error *err)
{
    int n = 0, major = 0, minor = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);
    if (!rc && (device < 0 || device >= n))
        return bk_fail(err, BK_ENOTSUP, "CUDA device %d does not exist, legal: 0..%d", device, n - 1);
    if (!rc)
        rc = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (!rc)
        rc = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    if (rc) {
        cudaGetLastError();
        return bk_fail(err, BK_ENOTSUP, "CUDA device %d cannot be examined: %s", device, cudaGetErrorString(rc));
    }
    if (major < OLDEST_MAJOR)
        return bk_fail(err, BK_ENOTSUP, "CUDA device %d has compute capability %d.%d, needed is %d.0 or newer", device,
                       major, minor, OLDEST_MAJOR);
    return BK_OK;
}

static int open_vendor(struct cuda *cuda, struct bk_error *err)
{
    return cuda->vendor ? BK_OK : cuda_vendor_open(&cuda->vendor, err);
}

/* The driver first: where there is none, the vendors' libraries (hundreds of MiB) are not even looked at. */
static int probe(void *state, struct bk_error *err)
{
    struct cuda *cuda = state;
    BK_TRY(check_driver(err));
    BK_TRY(check_device((int)cuda->device_option, err));
    return open_vendor(cuda, err);
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static void close_device(void *state)
{
    struct cuda *cuda = state;
    if (!cuda->is_open)
        return;
    cudaSetDevice(cuda->device);
    if (cuda->stream)
        cudaStreamSynchronize(cuda->stream);
    cuda_graphs_close(cuda);
    cuda_dnn_close(cuda);
    cuda_blas_close(cuda);
    cuda_views_close(cuda);
    cuda_memory_close(cuda);
    if (cuda->stream)
        cudaStreamDestroy(cuda->stream);
    cudaGetLastError();
    cuda->stream = NULL;
    cuda->is_open = false;
    cuda->lost = false;
}

static int start(struct cuda *cuda, struct bk_error *err)
{
    BK_TRY(enter(cuda, err));
    cudaError_t rc = cudaDeviceGetAttribute(&cuda->multiprocessors, cudaDevAttrMultiProcessorCount, cuda->device);
    if (!rc)
        rc = cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking);
    if (rc)
        return cuda_fail(cuda, rc, "creating a stream", err);
    BK_TRY(cuda_staging_open(cuda, err));
    BK_TRY(cuda_dnn_open(cuda, err));
    BK_TRY(cuda_blas_open(cuda, err));
    return cuda_graphs_open(cuda, err);
}

static int open_device(void *state, int32_t index, uint32_t determinism, int32_t threads, struct bk_error *err)
{
    struct cuda *cuda = state;
    (void)threads;
    if (determinism == BK_REFERENCE)
        return bk_fail(err, BK_ENOTSUP, "cuda: determinism 'reference' is the backend 'ref'");
    if (cuda->is_open)
        return bk_fail(err, BK_ESTATE, "cuda: this instance has an open device already");
    BK_TRY(open_vendor(cuda, err));
    BK_TRY(check_device((int)cuda->device_option + index, err));
    cuda->device = (int)cuda->device_option + index;
    cuda->determinism = determinism;
    cuda->is_open = true;
    int rc = start(cuda, err);
    if (rc)
        close_device(cuda);
    return rc;
}

static void free_instance(void *state)
{
    struct cuda *cuda = state;
    close_device(cuda);
    cuda_vendor_free(cuda->vendor);
    cuda->vendor = NULL;
}

static int info(void *state, struct bk_backend_info *out, struct bk_error *err)
{
    struct cuda *cuda = state;
    struct cudaDeviceProp p;
    int driver = 0, runtime = 0;
    char vendor[96];
    cudaError_t rc = cudaGetDeviceProperties(&p, cuda->device);
    if (rc)
        return cuda_fail(cuda, rc, "reading the device's properties", err);
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    cuda_vendor_versions(cuda->vendor, vendor, sizeof vendor);
    out->host_memory = 0;
    out->fast_bf16 = 1;
    out->reserved = 0;
    snprintf(out->device_name, sizeof out->device_name, "%.80s, sm_%d%d, %zu GiB", p.name, p.major, p.minor,
             p.totalGlobalMem >> 30);
    snprintf(out->libraries, sizeof out->libraries, "CUDA %d.%d (driver %d.%d), %s", runtime / 1000, runtime % 1000 / 10,
             driver / 1000, driver % 1000 / 10, vendor);
    return BK_OK;
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

static int alloc_memory(void *state, size_t nbytes, void **out, struct bk_error *err)
{
    BK_TRY(enter(state, err));
    return cuda_alloc(state, nbytes, out, err);
}

static void dealloc_memory(void *state, void *p, size_t nbytes)
{
    struct cuda *cuda = state;
    if (cuda->is_open && !cudaSetDevice(cuda->device))
        cuda_dealloc(cuda, p, nbytes);
}

static int free_memory(void *state, size_t *available, size_t *total, struct bk_error *err)
{
    BK_TRY(enter(state, err));
    return cuda_memory(state, available, total, err);
}

static int copy_in(void *state, void *dst, const void *src_host, size_t nbytes, struct bk_error *err)
{
    BK_TRY(enter(state, err));
    BK_TRY(cuda_graphs_flush(state, err));
    return cuda_copy_in(state, dst, src_host, nbytes, err);
}

static int copy_out(void *state, void *dst_host, const void *src, size_t nbytes, struct bk_error *err)
{
    struct cuda *cuda = state;
    BK_TRY(enter(cuda, err));
    BK_TRY(cuda_graphs_flush(cuda, err));
    cudaError_t rc = cudaMemcpyAsync(dst_host, src, nbytes, cudaMemcpyDeviceToHost, cuda->stream);
    if (!rc)
        rc = cudaStreamSynchronize(cuda->stream);
    return rc ? cuda_fail(cuda, rc, "copying to the host", err) : BK_OK;
}

static int copy_memory(void *state, void *dst, const void *src, size_t nbytes, struct bk_error *err)
{
    struct cuda *cuda = state;
    BK_TRY(enter(cuda, err));
    return cuda->graphs ? cuda_graphs_memory(cuda, dst, src, nbytes, err) : cuda_copy(cuda, dst, src, nbytes, err);
}

static int zero_memory(void *state, void *dst, size_t nbytes, struct bk_error *err)
{
    struct cuda *cuda = state;
    BK_TRY(enter(cuda, err));
    return cuda->graphs ? cuda_graphs_memory(cuda, dst, NULL, nbytes, err) : cuda_zero(cuda, dst, nbytes, err);
}

static int synchronize(void *state, struct bk_error *err)
{
    struct cuda *cuda = state;
    BK_TRY(enter(cuda, err));
    BK_TRY(cuda_graphs_flush(cuda, err));
    cudaError_t rc = cudaStreamSynchronize(cuda->stream);
    return rc ? cuda_fail(cuda, rc, "waiting for the device", err) : BK_OK;
}

/* ---- kernels ------------------------------------------------------------------------------------------------------- */

static const cuda_kernel_fn kernels[BK_KERNEL_COUNT] = {
#define CUDA_KERNEL_ENTRY(upper, lower) [BK_K_##upper] = cuda_##lower,
    CUDA_KERNEL_LIST(CUDA_KERNEL_ENTRY)
#undef CUDA_KERNEL_ENTRY
};

static bool supports(void *state, uint32_t kernel, uint32_t dtype)
{
    (void)state;
    return kernel < BK_KERNEL_COUNT && kernels[kernel] && (dtype == BK_F32 || dtype == BK_BF16);
}

int cuda_run_kernel(struct cuda *cuda, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *err)
{
    return kernels[kernel](cuda, args, err);
}

static int run(void *state, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct cuda *cuda = state;
    if (kernel >= BK_KERNEL_COUNT || !kernels[kernel])
        return bk_fail(err, BK_ENOTSUP, "the cuda backend has no such kernel");
    BK_TRY(enter(cuda, err));
    return cuda->graphs ? cuda_graphs_kernel(cuda, kernel, args, err) : cuda_run_kernel(cuda, kernel, args, err);
}

static void section(void *state)
{
    struct cuda *cuda = state;
    if (cuda->graphs && !cuda->lost && !cudaSetDevice(cuda->device))
        cuda_graphs_section(cuda);
}

static int make_views(void *state, const struct bk_view_plan *plan, int32_t n, struct bk_tensor *out, struct bk_error *err)
{
    BK_TRY(enter(state, err));
    BK_TRY(cuda_graphs_flush(state, err));
    return cuda_make_views(state, plan, n, out, err);
}

static const struct bk_backend_iface iface = {
    .struct_size = sizeof iface,
    .probe = probe,
    .open = open_device,
    .close = close_device,
    .info = info,
    .alloc = alloc_memory,
    .dealloc = dealloc_memory,
    .copy_in = copy_in,
    .copy_out = copy_out,
    .copy = copy_memory,
    .zero = zero_memory,
    .supports = supports,
    .run = run,
    .synchronize = synchronize,
    .memory = free_memory,
    .make_views = make_views,
    .section = section,
};

/* clang-format off */
static const struct bk_opt options[] = {
    BK_INT_F("device", struct cuda, device_option, 0, 0, 1023, "", "which of the machine's GPUs, as the driver numbers them", BK_OPT_NOKEY),
    BK_BOOL("tf32", struct cuda, tf32, 0, "let f32 convolutions and products round their inputs to TF32 (10 bits)"),
    BK_INT("workspace_mib", struct cuda, workspace_mib, 1024, 0, 65536, "MiB", "largest workspace a convolution algorithm may take"),
    BK_INT_F("graphs", struct cuda, graphs_option, 0, 0, 4096, "", "most sequences of kernels that are kept as CUDA graphs and replayed when they come again; 0: none. Never measured on a GPU, hence off", BK_OPT_NOKEY),
    { "wait", BK_OPT_BOOL, BK_FIELD(struct cuda, wait, bool), BK_OPT_NOKEY, 0, 0, 0, 1, NULL, NULL, "",
      "wait after every kernel, so that a failure names the kernel at fault (slow)" },
    BK_OPT_END
};
/* clang-format on */

static const struct bk_plugin cuda_plugin = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_BACKEND,
    .name = CUDA_PLUGIN_NAME,
    .version = "1.0.0",
    .summary = "NVIDIA GPUs: cuDNN convolutions, cuBLASLt products, own fused NHWC kernels, f32 and bf16",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct cuda),
    .free = free_instance,
    .iface = &iface,
};

BK_MODULE(&cuda_plugin);

/**
 * bosskit/backend.h: what a compute backend provides, and devices.
 *
 * A backend is a table of memory functions and one function `run` that executes a kernel. The list
 * of kernels is <bosskit/ops.def>: each line names a kernel and documents its inputs, outputs and
 * attribute structure (attributes are in <bosskit/ops.h>). A backend lacking a kernel says so
 * through `supports`; nothing falls back silently.
 *
 * Inside `run` a backend may cache plans (keyed by kernel, shapes, types, attributes), use
 * `workspace` memory of its own, and run asynchronously; `copy_out` waits. Shapes, types and
 * attributes were checked by the operation layer before `run` is called.
 */
#ifndef BOSSKIT_BACKEND_H
#define BOSSKIT_BACKEND_H

#include <bosskit/plugin.h>
#include <bosskit/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

enum bk_kernel {
    BK_KERNEL_INVALID = 0,
#define BK_KERNEL(name) BK_K_##name,
#include <bosskit/ops.def>
#undef BK_KERNEL
    BK_KERNEL_COUNT
};

/** "conv2d", ... in lower case; NULL when out of range. */
BK_API const char *bk_kernel_name(uint32_t kernel);

#define BK_KERNEL_MAX_ARGS 24

/** Arguments of one kernel call; an optional tensor that is absent is NULL. Borrowed for the call. */
struct bk_kernel_args {
    const struct bk_tensor *in[BK_KERNEL_MAX_ARGS];
    struct bk_tensor *out[BK_KERNEL_MAX_ARGS];
    uint32_t n_in, n_out;
    const void *attr;
};

enum bk_determinism { BK_FAST = 1, BK_REPEATABLE = 2, BK_REFERENCE = 3 };

struct bk_view_plan;            /* <bosskit/view.h> */

struct bk_backend_info {
    uint32_t struct_size;
    uint32_t host_memory;       /* 1: bk_tensor.data may be read by the host */
    uint32_t fast_bf16;         /* 1: dtype "auto" means bf16 */
    uint32_t reserved;
    char device_name[128];      /* "AMD EPYC, AVX-512, bf16" */
    char libraries[256];        /* "oneDNN 2.6.3, OpenBLAS 0.3.21 (OpenMP)" */
};

struct bk_backend_iface {
    uint32_t struct_size;
    uint32_t reserved;
    /** Can this backend work on this machine? BK_ENOTSUP with the reason otherwise. Called before open. */
    int (*probe)(void *state, struct bk_error *err);
    /** Take device `index`; `determinism` is an enum bk_determinism; `threads` for CPU backends. */
    int (*open)(void *state, int32_t index, uint32_t determinism, int32_t threads,
                struct bk_error *err);
    void (*close)(void *state);
    int (*info)(void *state, struct bk_backend_info *out, struct bk_error *err);
    /** 64-byte aligned (256 on GPUs) memory; BK_ENOMEM names size and region. */
    int (*alloc)(void *state, size_t nbytes, void **out, struct bk_error *err);
    void (*dealloc)(void *state, void *p, size_t nbytes);
    int (*copy_in)(void *state, void *dst, const void *src_host, size_t nbytes,
                   struct bk_error *err);
    int (*copy_out)(void *state, void *dst_host, const void *src, size_t nbytes,
                    struct bk_error *err);
    int (*copy)(void *state, void *dst, const void *src, size_t nbytes, struct bk_error *err);
    int (*zero)(void *state, void *dst, size_t nbytes, struct bk_error *err);
    /** Is there a kernel for activations of `dtype`? */
    bool (*supports)(void *state, uint32_t kernel, uint32_t dtype);
    int (*run)(void *state, uint32_t kernel, const struct bk_kernel_args *args,
               struct bk_error *err);
    /** Wait until everything submitted has finished. */
    int (*synchronize)(void *state, struct bk_error *err);
    /** Bytes that alloc could still give, and those of the whole device; may be NULL. */
    int (*memory)(void *state, size_t *available, size_t *total, struct bk_error *err);
    /**
     * Make n >= 1 views of images from their plans: out [n,size,size,3] in f32 or bf16, the values of bk_augment_apply() (f32
     * rounded to bf16). Plans and pixels are the caller's again when it returns. NULL: the host makes views.
     */
    int (*make_views)(void *state, const struct bk_view_plan *plan, int32_t n,
                      struct bk_tensor *out, struct bk_error *err);
    /**
     * What was run since the last call is a unit that may come again on the same memory (the tape went back: a path is done).
     * A backend may put off run, copy and zero until then and replay what it knows; what fails is told by the next call.
     * May be NULL.
     */
    void (*section)(void *state);
};

/** The reference backend built into the core: loops a student can check, f32, bf16 and f64. */
BK_API extern const struct bk_backend_iface bk_ref_backend;

/**
 * Open a device on a backend. `state` is the backend instance's state and must outlive the device
 * (NULL for bk_ref_backend). Errors: those of probe and open.
 */
BK_API int bk_device_open(const struct bk_backend_iface *backend, void *state, int32_t index,
                          uint32_t determinism, int32_t threads, struct bk_device **out,
                          struct bk_error *err) BK_MUST_USE;
BK_API void bk_device_close(struct bk_device *device);
BK_API int bk_device_info(struct bk_device *device, struct bk_backend_info *out,
                          struct bk_error *err) BK_MUST_USE;
BK_API bool bk_device_supports(struct bk_device *device, uint32_t kernel, uint32_t dtype);
BK_API int bk_device_synchronize(struct bk_device *device, struct bk_error *err) BK_MUST_USE;
BK_API int bk_device_alloc(struct bk_device *device, size_t nbytes, void **out,
                           struct bk_error *err) BK_MUST_USE;
BK_API void bk_device_dealloc(struct bk_device *device, void *p, size_t nbytes);
/** Does the backend make views? */
BK_API bool bk_device_makes_views(const struct bk_device *device);
/**
 * The views of n plans of one size on the device, for those who have plans: bk_batch_view() is for everybody else.
 * Errors: BK_ESHAPE, BK_EINVAL for a tensor that does not suit them; BK_ENOTSUP when the backend makes none
 */
BK_API int bk_device_make_views(struct bk_device *device, const struct bk_view_plan *plan, int32_t n,
                                struct bk_tensor *out, struct bk_error *err) BK_MUST_USE;
/** Run one kernel; error text gets the kernel's name and shapes as context. */
BK_API int bk_device_run(struct bk_device *device, uint32_t kernel,
                         const struct bk_kernel_args *args, struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

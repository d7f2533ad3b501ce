/**
 * device/device.h: memory transfers of a device, for tensors and tapes inside the core.
 *
 * The public face of a device is <bosskit/backend.h>. Plugins never move raw memory themselves; they go through
 * tensors, which is why these calls are not public.
 */
#ifndef BK_DEVICE_DEVICE_H
#define BK_DEVICE_DEVICE_H

#include <bosskit/backend.h>

int bk__device_copy_in(struct bk_device *device, void *dst, const void *src_host, size_t nbytes, struct bk_error *err)
    BK_MUST_USE;
/** Waits for everything submitted before. */
int bk__device_copy_out(struct bk_device *device, void *dst_host, const void *src, size_t nbytes, struct bk_error *err)
    BK_MUST_USE;
int bk__device_copy(struct bk_device *device, void *dst, const void *src, size_t nbytes, struct bk_error *err)
    BK_MUST_USE;
int bk__device_zero(struct bk_device *device, void *dst, size_t nbytes, struct bk_error *err) BK_MUST_USE;

/** Could the backend not give memory, to alloc or to a kernel, since the last call? */
bool bk__device_take_refusal(struct bk_device *device);
/** Bytes that the backend could still give; false when it cannot say. */
BK_API bool bk__device_available(struct bk_device *device, size_t *available);
/** A unit of kernels that may come again ends here: bk_backend_iface.section. */
void bk__device_section(struct bk_device *device);
/** While dry, kernels and copies do nothing and what is read is zero: for measuring a step (autograd/step_memory.h). */
void bk__device_set_dry(struct bk_device *device, bool dry);
/** May the host touch this device's memory directly (and AddressSanitizer watch it)? */
bool bk__device_is_host(const struct bk_device *device);

#endif

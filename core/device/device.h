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
/** May the host touch this device's memory directly (and AddressSanitizer watch it)? */
bool bk__device_is_host(const struct bk_device *device);

#endif

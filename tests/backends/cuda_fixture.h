/*
 * cuda_fixture.h: the device that suites of the cuda backend use: the GPU's, or the emulated one where BK_TEST_BACKEND names it. A
 * suite includes it once; OPEN_CUDA() skips the test where there is none, close_cuda() ends one that was opened.
 */
#ifndef CUDA_FIXTURE_H
#define CUDA_FIXTURE_H

#include "device/device.h"
#include "plugin/registry.h"
#include "unit.h"

static struct bk_registry *registry;
static struct bk_instance *instance;
static struct bk_device *device;
static struct bk_error err;

static bool open_cuda(void)
{
    const struct bk_found_plugin *found;
    const char *name = *bk_test_env("BK_TEST_BACKEND") ? bk_test_env("BK_TEST_BACKEND") : "cuda";
    int rc = BK_ENOTSUP;
    BK_ASSERT_OK(bk_registry_open(NULL, 0, &registry, &err));
    if (!bk_registry_find(registry, BK_KIND_BACKEND, name, &found, &err)) {
        BK_ASSERT_OK(bk_instance_open(registry, BK_KIND_BACKEND, name, NULL, NULL, "backend", NULL, &instance, &err));
        rc = bk_device_open(bk_instance_iface(instance), instance->state, 0, BK_REPEATABLE, 1, &device, &err);
        if (rc)
            bk_instance_close(instance);
    }
    if (rc)
        bk_registry_close(registry);
    CU_ASSERT_FATAL(rc == BK_OK || rc == BK_ENOTSUP);
    return rc == BK_OK;
}

static void close_cuda(void)
{
    bk_device_close(device);
    bk_instance_close(instance);
    bk_registry_close(registry);
}

#define OPEN_CUDA()                                                                      \
    do {                                                                                 \
        if (!open_cuda())                                                                \
            BK_SKIP("%s", err.text);                                                     \
    } while (0)

#endif

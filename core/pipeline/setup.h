/**
 * pipeline/setup.h: what a row's configuration becomes when it is used: data with its pipelines, a device, a bk_env.
 *
 * Planning opens data alone (for fingerprints); a stage's process opens the device too.
 */
#ifndef BOSSKIT_PIPELINE_SETUP_H
#define BOSSKIT_PIPELINE_SETUP_H

#include "pipeline/experiment.h"
#include <bosskit/backend.h>

struct bk_row_data {
    struct bk_data data;
    struct bk_split full;       /* all training images: stand-alone training */
};

/** Open the row's data set (caches below `cache_dir`) and name its splits and pipelines. Errors: BK_EDATA with what to fetch */
BK_API int bk__row_data_open(const struct bk_row *row, const char *cache_dir, struct bk_row_data *out,
                             struct bk_error *err) BK_MUST_USE;

/** How a row computes: decided once, part of the keys. */
struct bk_setting {
    char backend[64];
    uint32_t dtype, determinism;
    int32_t threads;
    char device[128], libraries[256];
    const struct bk_found_plugin *found;
};

/** The device of a row in this process. `instance` is opened when the row does not name the backend itself. */
struct bk_row_device {
    struct bk_instance *instance;
    struct bk_device *device;
};
BK_API int bk__row_device_open(const struct bk_registry *r, const struct bk_row *row, const char *backend,
                               uint32_t determinism, int32_t threads, struct bk_row_device *out,
                               struct bk_error *err) BK_MUST_USE;
BK_API void bk__row_device_close(struct bk_row_device *d);

#endif

/*
 * Opening a row's data and device. The named augmentation sets are put together here from the core's pipelines and
 * the data set's own normalisation. No training, no rating.
 */
#include "pipeline/setup.h"

#include <stdio.h>
#include <string.h>

static void normalise(struct bk_augment *a, const double mean[3], const double std[3])
{
    memcpy(a->mean, mean, sizeof a->mean);
    memcpy(a->std, std, sizeof a->std);
}

/** Views of training and rating, evaluation, stand-alone training. */
static int name_pipelines(const struct bk_row *row, struct bk_data *d, struct bk_error *err)
{
    static const char *const names[][4] = {
        [BK_AUGMENT_CIFAR] = { "cifar", "cifar", "none", "cifar" },
        [BK_AUGMENT_IMAGENET] = { "imagenet_1", "imagenet_2", "center", "imagenet_1" },
        [BK_AUGMENT_BYOL] = { "byol_1", "byol_2", "center", "byol_1" },
        [BK_AUGMENT_NONE] = { "none", "none", "none", "none" },
    };
    const char *const *name = names[row->data.augment];
    int32_t size = d->info.size ? d->info.size : row->space.info.input_size;

    BK_TRY(bk_augment_named(name[0], size, &d->view1, err));
    BK_TRY(bk_augment_named(name[1], size, &d->view2, err));
    BK_TRY(bk_augment_named(name[2], size, &d->plain, err));
    BK_TRY(bk_augment_named(name[3], size, &d->alone, err));
    normalise(&d->view1, d->info.mean, d->info.std);
    normalise(&d->view2, d->info.mean, d->info.std);
    normalise(&d->plain, d->info.mean, d->info.std);
    normalise(&d->alone, d->info.alone_mean, d->info.alone_std);
    if (row->data.augment == BK_AUGMENT_IMAGENET || row->data.augment == BK_AUGMENT_BYOL) {
        d->alone.jitter = d->alone.grey = d->alone.blur = d->alone.solarize = 0;        /* crop and flip alone */
    }
    return BK_OK;
}

int bk__row_data_open(const struct bk_row *row, const char *cache_dir, struct bk_row_data *out, struct bk_error *err)
{
    const struct bk_instance *i = row->part[BK_SLOT_DATA];
    const struct bk_dataset_iface *iface = bk_instance_iface(i);
    struct bk_row_data d = { .data = { .threads = (int32_t)row->data.loader_threads } };
    int rc = iface->open(i->state, cache_dir, err);

    d.data.info.struct_size = sizeof d.data.info;
    if (!rc)
        rc = iface->info(i->state, &d.data.info, err);
    if (!rc)
        rc = iface->split(i->state, "train", &d.data.train, err);
    if (!rc)
        rc = iface->split(i->state, "val", &d.data.val, err);
    if (!rc)
        rc = iface->split(i->state, "test", &d.data.test, err);
    if (!rc)
        rc = iface->split(i->state, "full", &d.full, err);
    if (!rc)
        rc = name_pipelines(row, &d.data, err);
    if (rc) {
        bk_context(err, "data '%s'", i->found->plugin->name);
        return rc;
    }
    *out = d;
    return BK_OK;
}

int bk__row_device_open(const struct bk_registry *r, const struct bk_row *row, const char *backend,
                        uint32_t determinism, int32_t threads, struct bk_row_device *out, struct bk_error *err)
{
    const struct bk_instance *named = row->part[BK_SLOT_BACKEND];
    const struct bk_value *group = named ? bk_value_find(row->tree, "backend") : NULL;
    struct bk_row_device d = { NULL, NULL };
    int rc;

    if (threads > 0)
        bk_threads_set(threads);
    rc = bk_instance_open(r, BK_KIND_BACKEND, backend, group, NULL, "backend", &row->host, &d.instance, err);
    if (!rc) {
        const struct bk_backend_iface *iface = bk_instance_iface(d.instance);
        rc = iface->probe ? iface->probe(d.instance->state, err) : BK_OK;
        if (!rc)
            rc = bk_device_open(iface, d.instance->state, 0, determinism, threads > 0 ? threads : bk_threads(),
                                &d.device, err);
    }
    if (rc) {
        bk__row_device_close(&d);
        return rc;
    }
    *out = d;
    return BK_OK;
}

void bk__row_device_close(struct bk_row_device *d)
{
    bk_device_close(d->device);
    bk_instance_close(d->instance);
    d->device = NULL;
    d->instance = NULL;
}

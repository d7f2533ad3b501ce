/*
 * cli/cli_backend.c: instances of backends that live just long enough to say what they are.
 */
#include "cli/cli_backend.h"

int bk__cli_probe(const struct bk_registry *r, const char *name, struct bk_error *err)
{
    struct bk_instance *i;
    BK_TRY(bk_instance_open(r, BK_KIND_BACKEND, name, NULL, NULL, "backend", NULL, &i, err));
    const struct bk_backend_iface *table = bk_instance_iface(i);
    int rc = table->probe(i->state, err);
    bk_instance_close(i);
    return rc;
}

int bk__cli_backend_info(const struct bk_registry *r, const char *name, struct bk_backend_info *out,
                         struct bk_error *err)
{
    struct bk_device *device = NULL;
    struct bk_instance *i;
    BK_TRY(bk_instance_open(r, BK_KIND_BACKEND, name, NULL, NULL, "backend", NULL, &i, err));
    int rc = bk_device_open(bk_instance_iface(i), i->state, 0, BK_FAST, bk_threads(), &device, err);
    if (rc == BK_OK) {
        *out = (struct bk_backend_info){ .struct_size = sizeof *out };
        rc = bk_device_info(device, out, err);
        bk_device_close(device);
    }
    bk_instance_close(i);
    return rc;
}

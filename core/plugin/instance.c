/*
 * plugin/instance.c: a plugin's state from an option group: allocate, bind, init; and back.
 */
#include "plugin/registry.h"

#include <string.h>

/* The public part first, so that one pointer serves as both. */
struct instance {
    struct bk_instance pub;
    bool initialised;
};

static void quiet_log(void *ctx, int32_t level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

static void quiet_progress(void *ctx, double done, double total, const char *unit, const char *note)
{
    (void)ctx, (void)done, (void)total, (void)unit, (void)note;
}

static bool never_cancelled(void *ctx)
{
    (void)ctx;
    return false;
}

static const void *no_extension(void *ctx, const char *id)
{
    (void)ctx, (void)id;
    return NULL;
}

static const struct bk_host quiet_host = {
    .struct_size = sizeof(struct bk_host),
    .abi_minor = BK_ABI_MINOR,
    .log = quiet_log,
    .progress = quiet_progress,
    .cancelled = never_cancelled,
    .get_extension = no_extension,
};

#define MAX_ALSO 32

static int bind_options(struct bk_instance *i, const struct bk_value *group,
                        const char *const *also, const char *where, struct bk_error *err)
{
    const char *keys[MAX_ALSO + 2] = { "plugin", NULL };
    size_t n = 1;
    for (; also && *also && n < MAX_ALSO + 1; also++)
        keys[n++] = *also;
    return bk_options_bind(i->found->plugin->options, i->state, group, where, keys, &i->owned, err);
}

int bk_instance_bind(const struct bk_registry *r, uint32_t kind, const char *name,
                     const struct bk_value *group, const char *const *also, const char *where,
                     struct bk_instance **out, struct bk_error *err)
{
    const struct bk_found_plugin *found;
    int rc = bk_registry_find(r, kind, name, &found, err);
    if (rc) {
        const struct bk_value *origin = group ? bk_value_find(group, "plugin") : NULL;
        if (origin)
            bk_context(err, "%s: %s.plugin", origin->origin, where);
        return rc;
    }
    struct instance *i = bk_zalloc(sizeof *i);
    uint32_t size = found->plugin->state_size;
    if (i)
        i->pub.state = bk_alloc_aligned(size ? size : 1);
    if (!i || !i->pub.state) {
        bk_free(i);
        return bk_fail(err, BK_ENOMEM, "out of memory for %s '%s'", bk_kind_name(kind), name);
    }
    memset(i->pub.state, 0, size ? size : 1);
    i->pub.found = found;
    i->pub.host = quiet_host;
    rc = bind_options(&i->pub, group, also, where, err);
    if (rc) {
        bk_instance_close(&i->pub);
        return rc;
    }
    *out = &i->pub;
    return BK_OK;
}

static void take_host(struct bk_instance *i, const struct bk_host *host)
{
    if (!host)
        return;
    memcpy(&i->host, host, host->struct_size < sizeof i->host ? host->struct_size : sizeof i->host);
    i->host.struct_size = sizeof i->host;
    i->host.abi_minor = BK_ABI_MINOR;
}

int bk_instance_open(const struct bk_registry *r, uint32_t kind, const char *name,
                     const struct bk_value *group, const char *const *also, const char *where,
                     const struct bk_host *host, struct bk_instance **out, struct bk_error *err)
{
    struct bk_instance *i;
    int rc = bk_instance_bind(r, kind, name, group, also, where, &i, err);
    if (rc)
        return rc;
    take_host(i, host);
    const struct bk_plugin *p = i->found->plugin;
    rc = p->init ? p->init(i->state, &i->host, err) : BK_OK;
    if (rc) {
        bk_context(err, "%s%s%s: %s '%s'", group ? group->origin : "", group ? ": " : "", where,
                   bk_kind_name(kind), name);
        bk_instance_close(i);
        return rc;
    }
    ((struct instance *)(void *)i)->initialised = true;
    *out = i;
    return BK_OK;
}

void bk_instance_close(struct bk_instance *i)
{
    if (!i)
        return;
    if (((struct instance *)(void *)i)->initialised && i->found->plugin->free)
        i->found->plugin->free(i->state);
    bk_owned_free(i->owned);
    bk_free_aligned(i->state);
    bk_free(i);
}

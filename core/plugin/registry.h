/**
 * plugin/registry.h: finding, checking, listing and instantiating plugins.
 *
 * Search order: explicit directories, BOSSKIT_PLUGIN_PATH (colon separated), <directory of libbosskit.so>/plugins (build
 * tree), <libdir>/bosskit (install prefix). A directory is searched itself and in its subdirectories named after kinds. The built-in `backend/ref` is
 * registered by the core as any other plugin. Files are loaded with RTLD_NOW | RTLD_LOCAL and never closed.
 */
#ifndef BOSSKIT_PLUGIN_REGISTRY_H
#define BOSSKIT_PLUGIN_REGISTRY_H

#include "config/config.h"
#include <bosskit/backend.h>
#include <bosskit/plugin.h>

struct bk_registry;

/** A plugin that was found and passed its checks; `plugin` is the host's zero-extended copy of the descriptor. */
struct bk_found_plugin {
    const struct bk_plugin *plugin;
    const char *path;           /* real path; "built in" for the core's own */
    const char *digest;         /* source digest, or SHA-256 of the file when it has none */
};

/** A file that was refused, with the sentence why. */
struct bk_refused_plugin {
    const char *path, *reason;
};

/** `dirs` (n, may be 0) come first. Refused files are not errors here; they are listed. */
BK_API int bk_registry_open(const char *const *dirs, size_t n, struct bk_registry **out, struct bk_error *err) BK_MUST_USE;
BK_API void bk_registry_close(struct bk_registry *r);
BK_API size_t bk_registry_count(const struct bk_registry *r);
BK_API const struct bk_found_plugin *bk_registry_at(const struct bk_registry *r, size_t i);     /* sorted by kind, name */
BK_API size_t bk_registry_refused_count(const struct bk_registry *r);
BK_API const struct bk_refused_plugin *bk_registry_refused_at(const struct bk_registry *r, size_t i);
/** BK_EPLUGIN names the nearest plugin of the kind, the directories searched, and a refused file of that name with its reason. */
BK_API int bk_registry_find(const struct bk_registry *r, uint32_t kind, const char *name,
                            const struct bk_found_plugin **out, struct bk_error *err) BK_MUST_USE;

/** One instance: zeroed state, options bound, init called. */
struct bk_instance {
    const struct bk_found_plugin *found;
    void *state;
    struct bk_owned *owned;
    struct bk_host host;        /* what init was given */
};

/**
 * Make an instance. `group` holds the options (key "plugin" and those in `also` are ignored); NULL = defaults. `host` is copied; NULL gives a
 * quiet host with seed 0. `where` is used in messages ("trainer").
 */
BK_API int bk_instance_open(const struct bk_registry *r, uint32_t kind, const char *name,
                            const struct bk_value *group, const char *const *also, const char *where,
                            const struct bk_host *host, struct bk_instance **out, struct bk_error *err) BK_MUST_USE;
/** Options bound and checked, but init not called: for keys and `check`. Close as usual. */
BK_API int bk_instance_bind(const struct bk_registry *r, uint32_t kind, const char *name,
                            const struct bk_value *group, const char *const *also, const char *where,
                            struct bk_instance **out, struct bk_error *err) BK_MUST_USE;
BK_API void bk_instance_close(struct bk_instance *i);

/** Kind tables of an instance. */
static inline const void *bk_instance_iface(const struct bk_instance *i)
{
    return i->found->plugin->iface;
}

#endif

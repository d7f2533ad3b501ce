/**
 * bosskit/plugin.h: what a shared object exports, and what the host gives it.
 *
 * A plugin file exports exactly one symbol, the constant `bk_module`. Nothing of the file runs
 * while it is listed: descriptors are data. It links libbosskit for engine calls (tensors, tape,
 * networks, statistics) and receives everything bound to a run through `struct bk_host`.
 *
 * Life cycle of one instance, always on one thread, tagged [stage] below:
 *     host allocates zeroed state -> fills options -> init() -> calls of the kind's table -> free()
 * `free` runs exactly once after an `init` that succeeded. Plugins have no mutable globals and no
 * constructors, and are never unloaded.
 *
 * Structures begin with `struct_size`, are only ever appended to, and unused fields are zero.
 */
#ifndef BOSSKIT_PLUGIN_H
#define BOSSKIT_PLUGIN_H

#include <bosskit/option.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BK_ABI_MAJOR 3
#define BK_ABI_MINOR 0
#define BK_VERSION "0.1.0"

/* X(enum suffix, number, name on the command line and in configs, directory) */
#define BK_KIND_LIST(X)                                                                  \
    X(SPACE, 1, "space", "spaces")                                                       \
    X(TRAINER, 2, "trainer", "trainers")                                                 \
    X(RATER, 3, "rater", "raters")                                                       \
    X(SEARCHER, 4, "searcher", "searchers")                                              \
    X(SAMPLER, 5, "sampler", "samplers")                                                 \
    X(DATASET, 6, "dataset", "datasets")                                                 \
    X(BACKEND, 7, "backend", "backends")

enum bk_kind {
    BK_KIND_INVALID = 0,
#define BK_KIND_ENUM(suffix, number, name, dir) BK_KIND_##suffix = number,
    BK_KIND_LIST(BK_KIND_ENUM)
#undef BK_KIND_ENUM
};

/** "space", "trainer", ...; NULL for an unknown kind. */
BK_API const char *bk_kind_name(uint32_t kind);
/** BK_KIND_INVALID for an unknown name. */
BK_API uint32_t bk_kind_from_name(const char *name);

/**
 * Services of the run for one plugin instance. Valid from init() until free() has returned.
 * Every function pointer is set; `ctx` is passed back as the first argument.
 */
struct bk_host {
    uint32_t struct_size;
    uint32_t abi_minor;
    void *ctx;
    uint64_t seed;                      /* root seed of the experiment row */
    /** [any] One line of log; levels of bk_log(). */
    void (*log)(void *ctx, int32_t level, const char *line);
    /** [stage] Progress: `done` of `total` units ("images", "paths"); `note` (may be NULL) such as "loss -2.31". */
    void (*progress)(void *ctx, double done, double total, const char *unit, const char *note);
    /** [any] True when the run shall stop soon: return BK_EINTERRUPTED at the next clean point. */
    bool (*cancelled)(void *ctx);
    /** [any] Later needs, by id such as "bosskit.xyz/1"; NULL when unknown. */
    const void *(*get_extension)(void *ctx, const char *id);
};

struct bk_plugin {
    uint32_t struct_size;
    uint32_t kind;                      /* enum bk_kind */
    const char *name;                   /* ^[a-z][a-z0-9_]*$, unique within its kind */
    const char *version;                /* "1.0.0" */
    const char *summary;                /* one line */
    const char *help;                   /* longer text or NULL */
    const char *source_digest;          /* over the plugin's sources: BK_SOURCE_DIGEST, set by the build */
    const struct bk_opt *options;       /* ended by BK_OPT_END; NULL = none */
    uint32_t state_size;                /* bytes of zeroed state the host allocates (at least 1) */
    uint32_t flags;                     /* reserved, 0 */
    /** [stage] Options are filled in. May be NULL. */
    int (*init)(void *state, const struct bk_host *host, struct bk_error *err);
    /** [stage] Release what init and later calls acquired. May be NULL. */
    void (*free)(void *state);
    const void *iface;                  /* the kind's table: struct bk_space_iface, ... */
};

struct bk_module {
    uint32_t struct_size;
    uint16_t abi_major, abi_minor;
    const char *built_with;             /* BK_BUILT_WITH: for people */
    const struct bk_plugin *const *plugins;     /* ended by NULL */
};

#ifndef BK_SOURCE_DIGEST
#define BK_SOURCE_DIGEST ""             /* built without the build helper: the host digests the .so instead */
#endif
#define BK_BUILT_WITH "bosskit " BK_VERSION ", " __VERSION__

/** Define the module of a file: BK_MODULE(&my_plugin, &my_other_plugin); */
#define BK_MODULE(...)                                                                   \
    static const struct bk_plugin *const bk_module_plugins[] = { __VA_ARGS__, NULL };    \
    BK_API extern const struct bk_module bk_module;                                      \
    const struct bk_module bk_module = { sizeof(struct bk_module), BK_ABI_MAJOR,         \
                                         BK_ABI_MINOR, BK_BUILT_WITH, bk_module_plugins }

#ifdef __cplusplus
}
#endif
#endif

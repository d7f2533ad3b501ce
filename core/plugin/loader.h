/**
 * plugin/loader.h: from a file to checked descriptors; shared by the files of this module alone.
 */
#ifndef BOSSKIT_PLUGIN_LOADER_H
#define BOSSKIT_PLUGIN_LOADER_H

#include <bosskit/plugin.h>

/** Directory of a kind ("raters"), or NULL. */
const char *bk__kind_dir(uint32_t kind);

/**
 * Load one file and find its module. The file stays loaded for the life of the process.
 * Errors: BK_EPLUGIN, a sentence without the path: not ELF, other machine, truncated, unresolved symbols, no bk_module,
 * other ABI.
 */
int bk__module_load(const char *path, const struct bk_module **out, struct bk_error *err);

/**
 * Check one descriptor and make the host's zero-extended copies of it and of its kind table; *out is freed with
 * bk__plugin_free(). Nothing of the plugin runs. Errors: BK_EPLUGIN, a sentence that begins with what is wrong.
 */
int bk__plugin_check(const struct bk_plugin *theirs, struct bk_plugin **out, struct bk_error *err);
void bk__plugin_free(struct bk_plugin *p);

/** Is the table sane, and do all fields lie in a state of `state_size` bytes? BK_EPLUGIN */
int bk__options_check(const struct bk_opt *table, uint32_t state_size, struct bk_error *err);

/** "^[a-z][a-z0-9_]*$", at most 63 characters. */
bool bk__is_plugin_name(const char *s);

/** Plugins that the core itself provides, ended by NULL. */
extern const struct bk_plugin *const bk__builtin_plugins[];

#endif

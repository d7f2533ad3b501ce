/**
 * plugin/describe.h: a plugin's option table as text: for people, for machines, for pasting into a config.
 */
#ifndef BOSSKIT_PLUGIN_DESCRIBE_H
#define BOSSKIT_PLUGIN_DESCRIBE_H

#include "plugin/registry.h"

/** Name, version, summary, what it needs and gives, and a row an option: type, default, legal values, help. */
BK_API void bk_describe_text(const struct bk_found_plugin *f, struct bk_text *out);
/** The same as one JSON object. */
BK_API void bk_describe_json(const struct bk_found_plugin *f, struct bk_text *out);
/** A commented group with every default, such that reading it back binds to the defaults. */
BK_API void bk_describe_cfg(const struct bk_found_plugin *f, struct bk_text *out);

#endif

/**
 * config/config.h: experiment files as a tree of values that remember where they come from.
 *
 * libconfig is the grammar. On top of it: `@include "file"` relative to the including file, later values overriding
 * earlier ones group by group; integers checked against the literal in the text (libconfig 1.5 wraps silently);
 * `key.sub=value` overrides that may only change or fill a known option. Every value keeps its origin
 * ("file:line", "profile 'small' (file:line)", "command line").
 */
#ifndef BOSSKIT_CONFIG_CONFIG_H
#define BOSSKIT_CONFIG_CONFIG_H

#include <bosskit/option.h>

enum bk_value_type {
    BK_VALUE_INVALID = 0,
    BK_VALUE_GROUP,     /* named children, in order of first appearance */
    BK_VALUE_LIST,      /* libconfig lists ( ) and arrays [ ] */
    BK_VALUE_INT,
    BK_VALUE_REAL,
    BK_VALUE_BOOL,
    BK_VALUE_TEXT,
};

struct bk_value {
    enum bk_value_type type;
    char *name;                 /* key in the parent group; NULL in lists and at the root */
    char *origin;               /* "file:line", ... */
    char *file_dir;             /* directory of the file that set it: base of relative paths; NULL on the command line (= cwd) */
    int64_t i;
    double r;
    bool b;
    char *text;
    struct bk_value **child;
    size_t n;
};

/** Parse a file with its includes. Errors: BK_ECONFIG "file:line: what is wrong and what is legal". */
BK_API int bk_value_read(const char *path, struct bk_value **out, struct bk_error *err) BK_MUST_USE;
BK_API void bk_value_free(struct bk_value *v);
BK_API struct bk_value *bk_value_dup(const struct bk_value *v);       /* NULL when out of memory */

/** Child by dotted path ("trainer.epochs"); NULL when absent. Borrowed. */
BK_API struct bk_value *bk_value_find(const struct bk_value *group, const char *path);
/** Merge `from` over `into`: groups recursively (but replaced when their `plugin` differs), everything else replaced; origins come along, `label` (may be NULL) is put before them. */
BK_API int bk_value_merge(struct bk_value *into, const struct bk_value *from, const char *label,
                          struct bk_error *err) BK_MUST_USE;
/** Set "a.b.c" from the text of a command-line override; the text is parsed as a libconfig value, or taken as a string. Missing groups are made. */
BK_API int bk_value_override(struct bk_value *root, const char *assignment, struct bk_error *err) BK_MUST_USE;
/** libconfig text of the tree with each value's origin as a comment. */
BK_API int bk_value_print(const struct bk_value *v, struct bk_text *out);

/**
 * Bind a group to an option table: defaults, then values; checks types (integer to real if exact, never real to
 * integer), bounds, choices; unknown keys are errors naming the nearest legal one, except those in `also` (NULL-ended,
 * may be NULL). Strings and lists are copied into memory owned by *owner, which is NULL or the
 * chain of earlier calls; free it with bk_owned_free().
 * Errors: BK_ECONFIG "<origin>: <where>.<key>: ..., legal: ...".
 */
struct bk_owned;
BK_API void bk_owned_free(struct bk_owned *owned);
BK_API int bk_options_bind(const struct bk_opt *table, void *state, const struct bk_value *group, const char *where,
                           const char *const *also, struct bk_owned **owner, struct bk_error *err) BK_MUST_USE;

/**
 * Canonical text of bound options for cache keys: one "name=value" line an option, sorted by name, reals as
 * hexadecimal floats, without BK_OPT_NOKEY options (all of them with `all`).
 */
BK_API int bk_options_canonical(const struct bk_opt *table, const void *state, bool all, struct bk_text *out);

#endif

/**
 * config/value.h: what the files of this module share: making values, scanning text, converting libconfig trees.
 *
 * For core/config and the plugin module's option checks and `describe`; everybody else includes config/config.h.
 */
#ifndef BOSSKIT_CONFIG_VALUE_H
#define BOSSKIT_CONFIG_VALUE_H

#include "config/config.h"

/** A new value; `name` may be NULL, origin and file_dir are copied (file_dir may be NULL). NULL when out of memory. */
struct bk_value *bk__value_new(enum bk_value_type type, const char *name, const char *origin,
                               const char *file_dir);
/** Append; on failure (BK_ENOMEM) `child` is freed. */
int bk__value_append(struct bk_value *parent, struct bk_value *child, struct bk_error *err);
/** Direct child with this name of `n` bytes, or NULL. */
struct bk_value *bk__value_child(const struct bk_value *group, const char *name, size_t n);
/** Put `child` into the group in place of the one of its name, or at the end; takes it over, also on failure. */
int bk__value_put(struct bk_value *group, struct bk_value *child, struct bk_error *err);
/** `s` as a quoted libconfig string. */
void bk__value_quote(const char *s, struct bk_text *out);

/** `@include "file"` is handed to libconfig as a setting with this name and a number, so that it keeps its place. */
#define BK__INCLUDE_NAME "*include*"

/**
 * A file's text made safe for libconfig: comments are blanked (line numbers stay), integers are written as checked
 * decimal 64-bit literals, includes become settings. Hexadecimal, malformed and too large literals are BK_ECONFIG.
 */
struct bk__scan {
    struct bk_text text;
    size_t n_includes;
};

/** `label` is the file's name in messages ("label:line: ..."). */
int bk__scan_text(const char *label, const char *text, struct bk__scan *out, struct bk_error *err);
void bk__scan_release(struct bk__scan *s);

/**
 * Check the number at `s` (sign, digits, point, exponent, suffix): its length goes to *len and its kind to *type
 * (BK_VALUE_INT or BK_VALUE_REAL). BK_ECONFIG says what is wrong, without a position; *len = 0: not a number.
 */
int bk__scan_number(const char *s, size_t *len, enum bk_value_type *type, int64_t *i, double *r,
                    struct bk_error *err);

/** "1..64 images", "sum | mean"; nothing for text and paths. */
void bk__option_legal(const struct bk_opt *o, struct bk_text *out);
/** "integer", "real", ... */
const char *bk__option_type_name(uint32_t type);
/** "8,16,24" into at most `cap` integers; BK_EINVAL when it is anything else. NULL and "" are no integers. */
int bk__ints_parse(const char *text, int64_t *out, size_t cap, size_t *n);

#endif

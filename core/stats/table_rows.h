/**
 * stats/table_rows.h: (key, number) rows of CSV, YAML and JSON files, each with its line.
 *
 * Truth tables and block ratings differ in what a key means, not in how files are read. The form follows the file's
 * extension: .csv; .yml, .yaml; .json. Keys are text as written: 08, '08' and "08" are the same key 08.
 */
#ifndef BOSSKIT_STATS_TABLE_ROWS_H
#define BOSSKIT_STATS_TABLE_ROWS_H

#include <bosskit/base.h>

struct bk__rows {
    struct bk__row {
        char *key;
        double value;           /* finite */
        size_t line;            /* 0: not known (JSON) */
    } *row;
    size_t n, cap;
};

/** Which columns of a CSV file; `value` NULL: the only numeric column beside `key` and "index". */
struct bk__row_columns {
    const char *key, *value;
    bool value_fixed;           /* `value` is the format's own name, so files without columns are fine */
};

/** Errors: BK_EIO, BK_ENOMEM; BK_EDATA "file:line: what is wrong, what is legal" */
BK_API int bk__rows_read(const char *path, const struct bk__row_columns *columns, struct bk__rows *out,
                         struct bk_error *err) BK_MUST_USE;
BK_API void bk__rows_release(struct bk__rows *rows);

/** Append a row, taking the number from text. Errors: BK_EDATA when it is not a finite number; BK_ENOMEM */
int bk__rows_add(struct bk__rows *rows, const char *path, size_t line, const char *key, size_t key_length,
                 const char *number, struct bk_error *err) BK_MUST_USE;

/** The readers of one form each; `data` is NUL-terminated and may be changed. */
int bk__rows_read_csv(const char *path, char *data, const struct bk__row_columns *columns, struct bk__rows *rows,
                      struct bk_error *err) BK_MUST_USE;
int bk__rows_read_yaml(const char *path, const char *data, size_t nbytes, struct bk__rows *rows,
                       struct bk_error *err) BK_MUST_USE;
int bk__rows_read_json(const char *path, const char *data, size_t nbytes, struct bk__rows *rows,
                       struct bk_error *err) BK_MUST_USE;

/** BK_EDATA "file:line: ...", or "file: ..." for line 0. */
BK_API int bk__rows_fail(struct bk_error *err, const char *path, size_t line, const char *fmt, ...) BK_PRINTF(4, 5);

#endif

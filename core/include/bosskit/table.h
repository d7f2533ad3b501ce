/**
 * bosskit/table.h: truth tables and block ratings as files.
 *
 * Truth: architecture text -> value. CSV with a header line, or a YAML mapping `'arch': value`.
 * Block ratings: path digits -> score. YAML sequence of `!!python/tuple` pairs as BossNAS releases
 * them (digits quoted or not: "08" stays "08"), CSV `path,score`, or JSON {"74": -3.1, ...}.
 * Errors are BK_EDATA: "file:line: what is wrong, what is legal".
 */
#ifndef BOSSKIT_TABLE_H
#define BOSSKIT_TABLE_H

#include <bosskit/method.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bk_truth {
    size_t n;
    char **arch;                /* architecture text in the space's canonical form */
    struct bk_arch *parsed;
    double *value;
};

/**
 * Read a truth table. `column` names the CSV column of values (NULL: the only numeric column beside the
 * architecture and index; several candidates are an error naming them); the architecture column is `arch`.
 * Every architecture must be legal in `space` and appear once.
 */
BK_API int bk_truth_read(const char *path, const char *column, const struct bk_space *space,
                         struct bk_truth *out, struct bk_error *err) BK_MUST_USE;
BK_API void bk_truth_release(struct bk_truth *t);

/** Read ratings of block `block`. Every path of the block (as entered at `entry`) must appear exactly once. */
BK_API int bk_ratings_read(const char *path, const struct bk_space *space, int32_t block,
                           int32_t entry, struct bk_block_table *out,
                           struct bk_error *err) BK_MUST_USE;
/** Write in the released YAML form, ascending by score (stable); digits always quoted. */
BK_API int bk_ratings_write_yaml(const char *path, const struct bk_block_table *t,
                                 struct bk_error *err) BK_MUST_USE;

/**
 * Score of an architecture: sum over blocks, in order, of weight_k (R_k + offset), in double; round_decimals >= 0
 * rounds the total as printf("%.*f") does (the release: offset 4, 4 decimals). weight NULL = 1. NaN when a
 * path could not be rated because the block was entered otherwise (HyTra: at another scale).
 * Errors: BK_EDATA when a path is missing all the same
 */
BK_API int bk_arch_score(const struct bk_space *space, const struct bk_block_table *tables,
                         const struct bk_arch *arch, const double *weight, double offset,
                         int round_decimals, double *out, struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

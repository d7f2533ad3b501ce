/**
 * bosskit/bundle.h: named tensors and text on the host: checkpoints and artefacts.
 *
 * A bundle is saved as one safetensors file; its text entries go into the `__metadata__` object.
 * Files are written atomically. Reading refuses truncated files, overlapping ranges, unknown types
 * and headers over 64 MiB with one sentence that names file and entry (BK_EDATA).
 */
#ifndef BOSSKIT_BUNDLE_H
#define BOSSKIT_BUNDLE_H

#include <bosskit/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bk_bundle;

struct bk_bundle_entry {
    const char *name;
    uint32_t dtype, rank;
    int64_t dim[BK_MAX_RANK];
    const void *data;           /* host memory, owned by the bundle */
    size_t nbytes;
};

BK_API int bk_bundle_new(struct bk_bundle **out, struct bk_error *err) BK_MUST_USE;
BK_API void bk_bundle_free(struct bk_bundle *b);

/** Copy `data` (host memory) under `name`, replacing an entry of that name. */
BK_API int bk_bundle_put(struct bk_bundle *b, const char *name, uint32_t dtype, uint32_t rank,
                         const int64_t *dim, const void *data,
                         struct bk_error *err) BK_MUST_USE;
/** Copy a device tensor. */
BK_API int bk_bundle_put_tensor(struct bk_bundle *b, const char *name,
                                const struct bk_tensor *t, struct bk_error *err) BK_MUST_USE;
/** Fill a device tensor; BK_EDATA when absent or of another shape or type. */
BK_API int bk_bundle_get_tensor(const struct bk_bundle *b, const char *name,
                                struct bk_tensor *t, struct bk_error *err) BK_MUST_USE;
/** NULL when absent; borrowed. */
BK_API const struct bk_bundle_entry *bk_bundle_find(const struct bk_bundle *b, const char *name);
BK_API size_t bk_bundle_count(const struct bk_bundle *b);
BK_API const struct bk_bundle_entry *bk_bundle_at(const struct bk_bundle *b, size_t i);

BK_API int bk_bundle_put_text(struct bk_bundle *b, const char *key, const char *value,
                              struct bk_error *err) BK_MUST_USE;
BK_API int bk_bundle_put_i64(struct bk_bundle *b, const char *key, int64_t value,
                             struct bk_error *err) BK_MUST_USE;
/** NULL when absent; borrowed. */
BK_API const char *bk_bundle_text(const struct bk_bundle *b, const char *key);
/** BK_EDATA when absent or not an integer. */
BK_API int bk_bundle_i64(const struct bk_bundle *b, const char *key, int64_t *out,
                         struct bk_error *err) BK_MUST_USE;

/** Entries are written in name order, so equal bundles give equal bytes. */
BK_API int bk_bundle_write(const struct bk_bundle *b, const char *path,
                           struct bk_error *err) BK_MUST_USE;
BK_API int bk_bundle_read(const char *path, struct bk_bundle **out,
                          struct bk_error *err) BK_MUST_USE;
/** Files of other programs: tensors of a type that a bundle cannot hold (64-bit counters, f16) are left out. */
BK_API int bk_bundle_read_known(const char *path, struct bk_bundle **out,
                                struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

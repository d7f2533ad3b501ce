/**
 * bosskit/file.h: digests and files that are either complete or absent.
 */
#ifndef BOSSKIT_FILE_H
#define BOSSKIT_FILE_H

#include <bosskit/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** SHA-256 (FIPS 180-4), incremental. */
struct bk_sha256 {
    uint32_t state[8];
    uint64_t nbytes;
    uint8_t block[64];
};

BK_API void bk_sha256_init(struct bk_sha256 *s);
BK_API void bk_sha256_add(struct bk_sha256 *s, const void *data, size_t nbytes);
/** 64 lower-case hexadecimal digits and a NUL. */
BK_API void bk_sha256_hex(struct bk_sha256 *s, char out[65]);
/** Digest of a whole file. Errors: BK_EIO */
BK_API int bk_sha256_file(const char *path, char out[65], struct bk_error *err) BK_MUST_USE;

/** Read a whole file; *data is NUL-terminated (the NUL is not counted), free with bk_free(). Refuses > `max` bytes. */
BK_API int bk_file_read(const char *path, size_t max, char **data, size_t *nbytes,
                        struct bk_error *err) BK_MUST_USE;

/** Write `path` atomically: temporary file beside it, fsync, rename, fsync of the directory. */
BK_API int bk_file_write(const char *path, const void *data, size_t nbytes,
                         struct bk_error *err) BK_MUST_USE;

struct bk_bytes {
    const void *data;
    size_t n;
};

/** The same with parts that are written one after the other. */
BK_API int bk_file_write_parts(const char *path, const struct bk_bytes *part, size_t n_parts,
                               struct bk_error *err) BK_MUST_USE;

/** mkdir -p. */
BK_API int bk_make_dirs(const char *path, struct bk_error *err) BK_MUST_USE;

/** rm -r of `path`, which must exist; does not follow links. */
BK_API int bk_remove_tree(const char *path, struct bk_error *err) BK_MUST_USE;

BK_API bool bk_file_exists(const char *path);

/** Directory of the running executable or of libbosskit.so; borrowed, constant for the process. */
BK_API const char *bk_program_dir(void);
BK_API const char *bk_library_dir(void);

#ifdef __cplusplus
}
#endif
#endif

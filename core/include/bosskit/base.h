/**
 * bosskit/base.h: status codes, errors, memory, text, logging.
 *
 * Every other bosskit header includes this one. Nothing here knows about tensors or plugins.
 *
 * Conventions of all headers
 *   - A function that can fail returns `int`: BK_OK (0) or a negative BK_E... code, and fills
 *     the last argument `struct bk_error *err` (which may be NULL) with one sentence.
 *   - Output arguments are written only on success.
 *   - `init/release` work on the caller's storage, `new/free` on the heap, `open/close` on files,
 *     devices and modules; `free`, `release` and `close` accept NULL.
 *   - Memory is freed by the side that allocated it; what a call hands over says so.
 */
#ifndef BOSSKIT_BASE_H
#define BOSSKIT_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BK_API __attribute__((visibility("default")))
#define BK_MUST_USE __attribute__((warn_unused_result))
#define BK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define BK_API
#define BK_MUST_USE
#define BK_PRINTF(fmt, args)
#endif

/** True when `p->struct_size` covers `field`, i.e. the other side knows that field. */
#define BK_HAS(p, field)                                                                 \
    ((p)->struct_size >= offsetof(__typeof__(*(p)), field) + sizeof((p)->field))

#define BK_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* ---- status ------------------------------------------------------------------------------ */

/* X(name, value, text, exit code of the program when a command ends with this status) */
#define BK_STATUS_LIST(X)                                                                \
    X(BK_EINVAL, -1, "invalid argument", 1)                                              \
    X(BK_ENOMEM, -2, "out of memory", 1)                                                 \
    X(BK_EIO, -3, "input/output error", 1)                                               \
    X(BK_ESHAPE, -4, "shapes do not fit", 1)                                             \
    X(BK_ENOTSUP, -5, "not supported", 1)                                                \
    X(BK_ESTATE, -6, "wrong state", 1)                                                   \
    X(BK_ENUMERIC, -7, "not a finite number", 1)                                         \
    X(BK_ENOTFOUND, -8, "not found", 1)                                                  \
    X(BK_ECHILD, -9, "a child process failed", 1)                                        \
    X(BK_EUSAGE, -20, "wrong usage", 2)                                                  \
    X(BK_ECONFIG, -21, "configuration error", 3)                                         \
    X(BK_EPLUGIN, -22, "plugin error", 4)                                                \
    X(BK_EDATA, -23, "data error", 5)                                                    \
    X(BK_EROWS, -24, "finished with failed rows", 6)                                     \
    X(BK_ETOLERANCE, -25, "outside the declared tolerance", 7)                           \
    X(BK_EINTERRUPTED, -26, "interrupted", 75)

enum bk_status {
    BK_OK = 0,
#define BK_STATUS_ENUM(name, value, text, code) name = value,
    BK_STATUS_LIST(BK_STATUS_ENUM)
#undef BK_STATUS_ENUM
};

/** Constant text of a status; never NULL. */
BK_API const char *bk_status_text(int status);

/** Exit code of the program for a status (0 for BK_OK). */
BK_API int bk_status_exit_code(int status);

/** One sentence about what went wrong: lower case, no full stop, quotes around user strings. */
struct bk_error {
    int code;
    char text[1020];
};

#define BK_ERROR_INIT { 0, "" }

/** Fill `err` (may be NULL) and return `code`, so that `return bk_fail(...)` reads well. */
BK_API int bk_fail(struct bk_error *err, int code, const char *fmt, ...) BK_PRINTF(3, 4);

/** As bk_fail(), with ": <strerror(errno)>" appended. */
BK_API int bk_fail_errno(struct bk_error *err, int code, const char *fmt, ...)
    BK_PRINTF(3, 4);

/** Put "<context>: " before the text that is already in `err`; returns err->code (BK_EINVAL without err). */
BK_API int bk_context(struct bk_error *err, const char *fmt, ...) BK_PRINTF(2, 3);

/** Return from the enclosing function with the status of `expr` unless it is BK_OK. */
#define BK_TRY(expr)                                                                     \
    do {                                                                                 \
        int bk_try_rc_ = (expr);                                                         \
        if (bk_try_rc_)                                                                  \
            return bk_try_rc_;                                                           \
    } while (0)

/* ---- memory -------------------------------------------------------------------------------- */

/** malloc/calloc/realloc through which all host memory goes; NULL when out of memory. */
BK_API void *bk_alloc(size_t nbytes);
BK_API void *bk_zalloc(size_t nbytes);
BK_API void *bk_realloc(void *p, size_t nbytes);
BK_API void bk_free(void *p);
BK_API char *bk_strdup(const char *s);

/** 64-byte aligned memory; release with bk_free_aligned(). */
BK_API void *bk_alloc_aligned(size_t nbytes);
BK_API void bk_free_aligned(void *p);

/** For tests: the n-th allocation from now (1 = the next) and all after it fail; 0 turns it off. */
BK_API void bk_alloc_fail_after(long n);

/* ---- text ---------------------------------------------------------------------------------- */

/**
 * A growing string. `ptr` is NUL-terminated and never NULL after the first addition; once an
 * addition ran out of memory `failed` is set and later additions do nothing.
 */
struct bk_text {
    char *ptr;
    size_t len, cap;
    bool failed;
};

#define BK_TEXT_INIT { NULL, 0, 0, false }

BK_API void bk_text_add(struct bk_text *t, const char *s);
BK_API void bk_text_addn(struct bk_text *t, const char *s, size_t n);
BK_API void bk_text_addf(struct bk_text *t, const char *fmt, ...) BK_PRINTF(2, 3);
/** Borrow the text; "" when nothing was added. */
BK_API const char *bk_text_get(const struct bk_text *t);
/** Transfer the text to the caller (bk_free()); NULL when `failed`. */
BK_API char *bk_text_take(struct bk_text *t);
BK_API void bk_text_release(struct bk_text *t);

/** The candidate nearest to `word` by edit distance, or NULL when none is near (at most 1/3 differs). */
BK_API const char *bk_nearest_word(const char *word, const char *const *candidates, size_t n);

/** Parse all of `s` as a number in the C locale's grammar; false when anything is left over or out of range. */
BK_API bool bk_parse_i64(const char *s, int64_t *out);
BK_API bool bk_parse_f64(const char *s, double *out);

/** Shortest decimal text that reads back as exactly `v` ("nan", "inf", "-inf" for the rest). */
BK_API void bk_format_f64(double v, char buf[32]);

/* ---- log ------------------------------------------------------------------------------------- */

enum bk_log_level { BK_LOG_ERROR = 1, BK_LOG_WARN, BK_LOG_INFO, BK_LOG_DEBUG, BK_LOG_TRACE };

/** Log one line (no newline in it) to the sink; the default sink writes to stderr. */
BK_API void bk_log(enum bk_log_level level, const char *fmt, ...) BK_PRINTF(2, 3);
BK_API void bk_log_set_level(enum bk_log_level level);
BK_API enum bk_log_level bk_log_get_level(void);
typedef void (*bk_log_sink_fn)(void *user, enum bk_log_level level, const char *line);
/** NULL restores the default sink. */
BK_API void bk_log_set_sink(bk_log_sink_fn sink, void *user);

/** Seconds of a monotonic clock. */
BK_API double bk_now(void);

/** Threads that computing code may use (OMP_NUM_THREADS, else the cores this process may run on). */
BK_API int bk_threads(void);
BK_API void bk_threads_set(int n);

#ifdef __cplusplus
}
#endif
#endif

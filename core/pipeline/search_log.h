/**
 * pipeline/search_log.h: what was rated during a search, so that a search that was interrupted rates nothing twice.
 *
 * A searcher is a function of its seed and of the scores it is told. Its state is therefore not saved: a search that goes
 * on is run again from its start, and generations of the log are answered without rating, as long as the searcher asks for
 * what it asked for then.
 */
#ifndef BOSSKIT_PIPELINE_SEARCH_LOG_H
#define BOSSKIT_PIPELINE_SEARCH_LOG_H

#include <bosskit/method.h>

struct bk_search_log {
    struct bk_bundle *bundle;   /* paths and scores of all generations */
    int64_t n_known;            /* generations in it */
    int64_t n_answered;         /* asked for in this run */
    int64_t n_saves;            /* number of the newest checkpoint */
    bool is_saved;              /* the newest checkpoint has all */
};
#define BK_SEARCH_LOG_INIT { NULL, 0, 0, 0, true }

/** Take the newest checkpoint of `dir` in, if there is one. */
BK_API int bk__search_log_open(struct bk_search_log *l, const char *dir, struct bk_error *err) BK_MUST_USE;
BK_API void bk__search_log_release(struct bk_search_log *l);
/**
 * Scores of the next generation, if it is known: *known. Where other paths were rated then (other libraries, another
 * machine), this generation and all after it are forgotten.
 */
BK_API int bk__search_log_answer(struct bk_search_log *l, int32_t block, const struct bk_path *path, size_t n, double *score,
                                 bool *known, struct bk_error *err) BK_MUST_USE;
/** Append the generation that bk__search_log_answer() did not know. */
BK_API int bk__search_log_add(struct bk_search_log *l, int32_t block, const struct bk_path *path, size_t n,
                              const double *score, struct bk_error *err) BK_MUST_USE;
/** Write a checkpoint, unless the newest has it all. */
BK_API int bk__search_log_save(struct bk_search_log *l, const char *dir, struct bk_error *err) BK_MUST_USE;

#endif

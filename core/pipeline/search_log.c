/*
 * Generations of a search as a bundle: for each the text "BLOCK PATH PATH ..." and its scores. When to save is the stage's
 * affair.
 */
#include "pipeline/search_log.h"
#include "pipeline/child.h"

#include <stdio.h>
#include <string.h>

#define COUNT "generations"
#define SAVES "saves"

static void name_of(int64_t generation, const char *what, char out[48])
{
    snprintf(out, 48, "%012lld.%s", (long long)generation, what);
}

static char *text_of(int32_t block, const struct bk_path *path, size_t n)
{
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%d", (int)block);
    for (size_t i = 0; i < n; i++) {
        char one[BK_MAX_LAYERS + 1];
        bk_path_format(&path[i], one);
        bk_text_addf(&t, " %s", one);
    }
    return bk_text_take(&t);
}

/* ---- files -------------------------------------------------------------------------------------------------- */

static int copy_generation(struct bk_bundle *to, const struct bk_bundle *from, int64_t g, struct bk_error *err)
{
    char paths[48], scores[48];
    name_of(g, "paths", paths);
    name_of(g, "scores", scores);
    const struct bk_bundle_entry *p = bk_bundle_find(from, paths), *e = bk_bundle_find(from, scores);
    if (!p || !e || p->dtype != BK_U8 || e->dtype != BK_F64 || p->rank != 1 || e->rank != 1)
        return bk_fail(err, BK_EDATA, "generation %lld is missing", (long long)g);
    BK_TRY(bk_bundle_put(to, paths, BK_U8, 1, p->dim, p->data, err));
    return bk_bundle_put(to, scores, BK_F64, 1, e->dim, e->data, err);
}

static int load(void *user, const struct bk_bundle *b, struct bk_error *err)
{
    struct bk_search_log *l = user;
    struct bk_bundle *copy = NULL;
    int64_t n = 0, saves = 0;

    BK_TRY(bk_bundle_i64(b, COUNT, &n, err));
    BK_TRY(bk_bundle_i64(b, SAVES, &saves, err));
    BK_TRY(bk_bundle_new(&copy, err));
    int rc = BK_OK;
    for (int64_t g = 0; !rc && g < n; g++)
        rc = copy_generation(copy, b, g, err);
    if (rc) {
        bk_bundle_free(copy);
        return rc;
    }
    bk_bundle_free(l->bundle);
    l->bundle = copy;
    l->n_known = n;
    l->n_saves = saves;
    return BK_OK;
}

int bk__search_log_open(struct bk_search_log *l, const char *dir, struct bk_error *err)
{
    bool loaded = false;
    *l = (struct bk_search_log)BK_SEARCH_LOG_INIT;
    BK_TRY(bk__checkpoint_load(dir, load, l, &loaded, err));
    return loaded ? BK_OK : bk_bundle_new(&l->bundle, err);
}

void bk__search_log_release(struct bk_search_log *l)
{
    bk_bundle_free(l->bundle);
    l->bundle = NULL;
}

int bk__search_log_save(struct bk_search_log *l, const char *dir, struct bk_error *err)
{
    if (l->is_saved)
        return BK_OK;
    BK_TRY(bk_bundle_put_i64(l->bundle, COUNT, l->n_known, err));
    BK_TRY(bk_bundle_put_i64(l->bundle, SAVES, l->n_saves + 1, err));
    BK_TRY(bk__checkpoint_save(dir, l->n_saves + 1, l->bundle, err));
    l->n_saves++;
    l->is_saved = true;
    return BK_OK;
}

/* ---- generations ------------------------------------------------------------------------------------------------ */

int bk__search_log_answer(struct bk_search_log *l, int32_t block, const struct bk_path *path, size_t n, double *score,
                          bool *known, struct bk_error *err)
{
    char paths[48], scores[48];

    *known = false;
    if (l->n_answered == l->n_known)
        return BK_OK;
    name_of(l->n_answered, "paths", paths);
    name_of(l->n_answered, "scores", scores);
    const struct bk_bundle_entry *then = bk_bundle_find(l->bundle, paths), *e = bk_bundle_find(l->bundle, scores);
    char *now = text_of(block, path, n);
    if (!now)
        return bk_fail(err, BK_ENOMEM, "out of memory for a search");
    *known = then && e && then->nbytes == strlen(now) && memcmp(then->data, now, then->nbytes) == 0 && e->dim[0] == (int64_t)n;
    bk_free(now);
    if (*known) {
        memcpy(score, e->data, n * sizeof *score);
        l->n_answered++;
        return BK_OK;
    }
    bk_log(BK_LOG_WARN, "generation %lld has other paths than before the interruption; it is rated anew",
           (long long)l->n_answered);
    l->n_known = l->n_answered;
    l->is_saved = false;
    return BK_OK;
}

int bk__search_log_add(struct bk_search_log *l, int32_t block, const struct bk_path *path, size_t n, const double *score,
                       struct bk_error *err)
{
    char paths[48], scores[48], *text = text_of(block, path, n);
    const int64_t n_scores = (int64_t)n, n_bytes = text ? (int64_t)strlen(text) : 0;

    name_of(l->n_known, "paths", paths);
    name_of(l->n_known, "scores", scores);
    int rc = text ? bk_bundle_put(l->bundle, paths, BK_U8, 1, &n_bytes, text, err) : bk_fail(err, BK_ENOMEM, "out of memory for a search");
    bk_free(text);
    if (!rc)
        rc = bk_bundle_put(l->bundle, scores, BK_F64, 1, &n_scores, score, err);
    if (!rc) {
        l->n_answered = ++l->n_known;
        l->is_saved = false;
    }
    return rc;
}

/*
 * Files that stages write and read: numbered checkpoints, and two-column tables. The store deletes checkpoints when a
 * stage is published.
 */
#include "pipeline/child.h"

#include <bosskit/file.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEPT 2

static int is_checkpoint(const struct dirent *e)
{
    size_t n = strlen(e->d_name), suffix = strlen(BK_CHECKPOINT_SUFFIX);
    return n > suffix && strncmp(e->d_name, BK_CHECKPOINT_PREFIX, strlen(BK_CHECKPOINT_PREFIX)) == 0 &&
           strcmp(e->d_name + n - suffix, BK_CHECKPOINT_SUFFIX) == 0;
}

/** Names in ascending order (numbers are zero-padded); each and the array by free(). */
static int list(const char *dir, struct dirent ***entry)
{
    int n = scandir(dir, entry, is_checkpoint, alphasort);
    return n < 0 ? 0 : n;
}

void bk__epoch_file(int64_t epoch, char buf[32])
{
    snprintf(buf, 32, BK_KEPT_PREFIX "%06lld.csv", (long long)epoch);
}

int bk__checkpoint_save(const char *dir, int64_t number, const struct bk_bundle *b, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    struct dirent **entry = NULL;

    bk_text_addf(&path, "%s/" BK_CHECKPOINT_PREFIX "%012lld" BK_CHECKPOINT_SUFFIX, dir, (long long)number);
    int rc = bk_bundle_write(b, bk_text_get(&path), err);
    bk_text_release(&path);
    if (rc)
        return rc;
    int n = list(dir, &entry);
    for (int i = 0; i < n; i++) {
        if (i < n - KEPT) {
            struct bk_text old = BK_TEXT_INIT;
            bk_text_addf(&old, "%s/%s", dir, entry[i]->d_name);
            (void)unlink(bk_text_get(&old));
            bk_text_release(&old);
        }
        free(entry[i]);
    }
    free(entry);
    return BK_OK;
}

int bk__checkpoint_load(const char *dir, int (*load)(void *user, const struct bk_bundle *b, struct bk_error *err),
                        void *user, bool *loaded, struct bk_error *err)
{
    struct dirent **entry = NULL;
    int n = list(dir, &entry), rc = BK_OK;

    *loaded = false;
    for (int i = n; i-- > 0;) {
        struct bk_text path = BK_TEXT_INIT;
        struct bk_bundle *b = NULL;
        struct bk_error why = BK_ERROR_INIT;
        bk_text_addf(&path, "%s/%s", dir, entry[i]->d_name);
        if (!*loaded && !rc) {
            int one = bk_bundle_read(bk_text_get(&path), &b, &why);
            if (!one)
                one = load(user, b, &why);
            *loaded = one == BK_OK;
            if (one == BK_ENOMEM)
                rc = bk_fail(err, one, "%s", why.text);
            else if (one)
                bk_log(BK_LOG_WARN, "checkpoint '%s' cannot be used: %s", entry[i]->d_name, why.text);
        }
        bk_bundle_free(b);
        bk_text_release(&path);
        free(entry[i]);
    }
    free(entry);
    return rc;
}

int bk__pairs_write(const char *path, const char *header, const char *const *name, const double *value, size_t n,
                    struct bk_error *err)
{
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%s\n", header);
    for (size_t i = 0; i < n; i++) {
        char number[32];
        bk_format_f64(value[i], number);
        bk_text_addf(&t, "%s,%s\n", name[i], number);
    }
    int rc = t.failed ? bk_fail(err, BK_ENOMEM, "out of memory for '%s'", path)
                      : bk_file_write(path, bk_text_get(&t), t.len, err);
    bk_text_release(&t);
    return rc;
}

static bool parse_value(const char *s, double *out)
{
    if (strcmp(s, "nan") == 0 || strcmp(s, "inf") == 0 || strcmp(s, "-inf") == 0) {
        *out = NAN;
        return true;
    }
    return bk_parse_f64(s, out);
}

int bk__pairs_read(const char *path, const char *const *name, double *value, size_t n, struct bk_error *err)
{
    char *text = NULL, *save = NULL, *line;
    size_t nbytes = 0, i = 0;
    int rc;

    BK_TRY(bk_file_read(path, (size_t)1 << 30, &text, &nbytes, err));
    line = strtok_r(text, "\n", &save);         /* header */
    rc = line ? BK_OK : bk_fail(err, BK_EDATA, "'%s' is empty", path);
    for (line = strtok_r(NULL, "\n", &save); !rc && line; line = strtok_r(NULL, "\n", &save), i++) {
        char *comma = strrchr(line, ',');
        if (comma)
            *comma = 0;
        if (i >= n || !comma || strcmp(line, name[i]) != 0 || !parse_value(comma + 1, &value[i]))
            rc = bk_fail(err, BK_EDATA, "%s:%zu: is not what was expected there", path, i + 2);
    }
    if (!rc && i != n)
        rc = bk_fail(err, BK_EDATA, "'%s' has %zu values, wanted %zu", path, i, n);
    bk_free(text);
    return rc;
}

/*
 * The manifest of a stage: what files it has, how long they are and what their digests are. Written after all of
 * them, read before any of them. It decides whether a directory is a finished stage; it does not lock or publish.
 */
#include "store/store.h"

#include <bosskit/file.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST_MAX (16u << 20)

static int fsync_path(const char *path, int flags, struct bk_error *err)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return bk_fail_errno(err, BK_EIO, "cannot open '%s'", path);
    int rc = fsync(fd) ? bk_fail_errno(err, BK_EIO, "cannot flush '%s'", path) : BK_OK;
    close(fd);
    return rc;
}

/** Flush one file and append {name, size, sha256}. */
static int add_file(json_t *files, const char *dir, const char *name, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    struct stat st;
    char digest[65];
    int rc = BK_OK;

    bk_text_addf(&path, "%s/%s", dir, name);
    if (stat(bk_text_get(&path), &st))
        rc = bk_fail_errno(err, BK_EIO, "cannot read '%s'", bk_text_get(&path));
    if (!rc && S_ISREG(st.st_mode)) {
        rc = fsync_path(bk_text_get(&path), O_RDONLY, err);
        if (!rc)
            rc = bk_sha256_file(bk_text_get(&path), digest, err);
        if (!rc && json_array_append_new(files, json_pack("{s:s,s:I,s:s}", "name", name, "size",
                                                          (json_int_t)st.st_size, "sha256", digest)))
            rc = bk_fail(err, BK_ENOMEM, "out of memory for a manifest");
    }
    bk_text_release(&path);
    return rc;
}

static int not_hidden(const struct dirent *e)
{
    return e->d_name[0] != '.' && strcmp(e->d_name, BK_MANIFEST) != 0;
}

static int list_files(const char *dir, json_t *files, struct bk_error *err)
{
    struct dirent **entry = NULL;
    int n = scandir(dir, &entry, not_hidden, alphasort), rc = BK_OK;
    if (n < 0)
        return bk_fail_errno(err, BK_EIO, "cannot list '%s'", dir);
    for (int i = 0; i < n; i++) {
        if (!rc)
            rc = add_file(files, dir, entry[i]->d_name, err);
        free(entry[i]);
    }
    free(entry);
    return rc;
}

int bk__manifest_write(const char *dir, const char *kind, const char *key, const json_t *identity,
                       const json_t *made, struct bk_error *err)
{
    json_t *files = json_array();
    struct bk_text path = BK_TEXT_INIT;
    char *text = NULL;
    int rc = files ? list_files(dir, files, err) : bk_fail(err, BK_ENOMEM, "out of memory for a manifest");

    if (!rc) {
        json_t *m = json_pack("{s:i,s:s,s:s,s:O,s:O?,s:O}", "manifest", 1, "kind", kind, "key", key, "identity",
                              identity, "made", made, "files", files);
        text = m ? json_dumps(m, JSON_SORT_KEYS | JSON_INDENT(1)) : NULL;
        json_decref(m);
        bk_text_addf(&path, "%s/" BK_MANIFEST, dir);
        rc = text ? bk_file_write(bk_text_get(&path), text, strlen(text), err)
                  : bk_fail(err, BK_ENOMEM, "out of memory for a manifest");
    }
    if (!rc)
        rc = fsync_path(dir, O_RDONLY | O_DIRECTORY, err);
    free(text);
    json_decref(files);
    bk_text_release(&path);
    return rc;
}

json_t *bk__manifest_read(const char *dir)
{
    struct bk_text path = BK_TEXT_INIT;
    char *text = NULL;
    size_t n = 0;
    json_t *m = NULL;

    bk_text_addf(&path, "%s/" BK_MANIFEST, dir);
    if (bk_file_read(bk_text_get(&path), MANIFEST_MAX, &text, &n, NULL) == BK_OK)
        m = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    bk_free(text);
    bk_text_release(&path);
    return m;
}

static int check_file(const char *dir, const json_t *file, bool digests, struct bk_error *err)
{
    const char *name = json_string_value(json_object_get(file, "name"));
    const char *wanted = json_string_value(json_object_get(file, "sha256"));
    json_int_t size = json_integer_value(json_object_get(file, "size"));
    struct bk_text path = BK_TEXT_INIT;
    struct stat st;
    char digest[65];
    int rc = BK_OK;

    if (!name || !wanted || strchr(name, '/'))
        return bk_fail(err, BK_EDATA, "the manifest of '%s' is damaged", dir);
    bk_text_addf(&path, "%s/%s", dir, name);
    if (stat(bk_text_get(&path), &st))
        rc = bk_fail(err, BK_EDATA, "'%s' is missing", bk_text_get(&path));
    else if (st.st_size != size)
        rc = bk_fail(err, BK_EDATA, "'%s' has %lld bytes, its manifest says %lld", bk_text_get(&path),
                     (long long)st.st_size, (long long)size);
    else if (digests) {
        rc = bk_sha256_file(bk_text_get(&path), digest, err);
        if (!rc && strcmp(digest, wanted) != 0)
            rc = bk_fail(err, BK_EDATA, "'%s' does not match the digest in its manifest", bk_text_get(&path));
    }
    bk_text_release(&path);
    return rc;
}

int bk__manifest_check(const char *dir, const char *key, bool digests, struct bk_error *err)
{
    json_t *m = bk__manifest_read(dir), *file;
    const json_t *files = json_object_get(m, "files");
    const char *noted = json_string_value(json_object_get(m, "key"));
    size_t i;
    int rc = BK_OK;

    if (!json_is_array(files) || !noted || strcmp(noted, key) != 0)
        rc = bk_fail(err, BK_EDATA, "'%s' has no valid manifest", dir);
    json_array_foreach(files, i, file) {
        if (!rc)
            rc = check_file(dir, file, digests, err);
    }
    json_decref(m);
    return rc;
}

/*
 * Listing an image tree <folder>/<class>/...: names, sizes and change times, in a fixed
 * order.
 *
 * The order is by class and then by name in bytes, whatever order the file system has.
 * Hidden files and files with other endings are passed over.
 */
#include "data/image_folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define MAX_DEPTH 8

static char *join(const char *a, const char *b)
{
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%s/%s", a, b);
    char *s = bk_text_take(&t);
    bk_text_release(&t);
    return s;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---- classes --------------------------------------------------------------------- */

static int add_class(struct bk_class_list *c, const char *name, struct bk_error *err)
{
    char **p = bk_realloc(c->name, (c->n + 1) * sizeof *p);
    if (p)
        c->name = p;
    char *s = p ? bk_strdup(name) : NULL;
    if (!s)
        return bk_fail(err, BK_ENOMEM, "out of memory for class '%s'", name);
    c->name[c->n++] = s;
    return BK_OK;
}

static int scan_classes(DIR *dir, const char *folder, struct bk_class_list *c,
                        struct bk_error *err)
{
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        char *path = join(folder, e->d_name);
        if (!path)
            return bk_fail(err, BK_ENOMEM, "out of memory for the classes of '%s'",
                           folder);
        bool is_dir = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
        bk_free(path);
        if (is_dir)
            BK_TRY(add_class(c, e->d_name, err));
    }
    if (c->n == 0)
        return bk_fail(err, BK_EDATA, "'%s' has no class folders", folder);
    qsort(c->name, c->n, sizeof *c->name, compare_names);
    return BK_OK;
}

int bk_class_list_scan(const char *folder, struct bk_class_list *out,
                       struct bk_error *err)
{
    struct bk_class_list c = BK_CLASS_LIST_INIT;
    DIR *dir = opendir(folder);
    if (!dir)
        return bk_fail_errno(err, BK_EDATA, "cannot open the image folder '%s'",
                             folder);
    int rc = scan_classes(dir, folder, &c, err);
    closedir(dir);
    if (rc)
        bk_class_list_release(&c);
    else
        *out = c;
    return rc;
}

void bk_class_list_release(struct bk_class_list *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->n; i++)
        bk_free(c->name[i]);
    bk_free(c->name);
    c->name = NULL;
    c->n = 0;
}

/* ---- files ----------------------------------------------------------------------- */

static bool is_image_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && name[0] != '.' &&
           (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg") ||
            !strcasecmp(dot, ".png"));
}

static int add_file(struct bk__file_list *l, char *path, int32_t label,
                    const struct stat *st, struct bk_error *err)
{
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 256;
        void *p = cap > l->cap ? bk_realloc(l->at, cap * sizeof *l->at) : NULL;
        if (!p)
            return bk_fail(err, BK_ENOMEM, "out of memory for a list of %u files",
                           (unsigned)l->n);
        l->at = p;
        l->cap = cap;
    }
    l->at[l->n++] = (struct bk__file){ path, label, st->st_size, st->st_mtim.tv_sec,
                                       st->st_mtim.tv_nsec };
    return BK_OK;
}

static int scan_dir(struct bk__file_list *l, const char *folder, int32_t label,
                    int depth, struct bk_error *err);

/* Takes `path` over. */
static int scan_entry(struct bk__file_list *l, char *path, const char *name,
                      int32_t label, int depth, struct bk_error *err)
{
    struct stat st;
    int rc = BK_OK;

    if (stat(path, &st))
        rc = bk_fail_errno(err, BK_EDATA, "cannot examine '%s'", path);
    else if (S_ISDIR(st.st_mode) && depth < MAX_DEPTH)
        rc = scan_dir(l, path, label, depth + 1, err);
    else if (S_ISREG(st.st_mode) && is_image_name(name)) {
        rc = add_file(l, path, label, &st, err);
        if (rc == BK_OK)
            return BK_OK;
    }
    bk_free(path);
    return rc;
}

static int scan_dir(struct bk__file_list *l, const char *folder, int32_t label,
                    int depth, struct bk_error *err)
{
    DIR *dir = opendir(folder);
    int rc = BK_OK;

    if (!dir)
        return bk_fail_errno(err, BK_EDATA, "cannot open the class folder '%s'",
                             folder);
    for (struct dirent *e; rc == BK_OK && (e = readdir(dir));) {
        if (e->d_name[0] == '.')
            continue;
        char *path = join(folder, e->d_name);
        rc = path ? scan_entry(l, path, e->d_name, label, depth, err)
                  : bk_fail(err, BK_ENOMEM, "out of memory for the files of '%s'",
                            folder);
    }
    closedir(dir);
    return rc;
}

static int compare_files(const void *pa, const void *pb)
{
    const struct bk__file *a = pa, *b = pb;
    if (a->label != b->label)
        return a->label < b->label ? -1 : 1;
    return strcmp(a->path, b->path);
}

int bk__file_list_scan(const char *folder, const struct bk_class_list *classes,
                       struct bk__file_list *out, struct bk_error *err)
{
    struct bk__file_list l = { 0 };
    int rc = BK_OK;

    for (uint32_t c = 0; rc == BK_OK && c < classes->n; c++) {
        char *path = join(folder, classes->name[c]);
        rc = path ? scan_dir(&l, path, (int32_t)c, 0, err)
                  : bk_fail(err, BK_ENOMEM, "out of memory for the files of '%s'",
                            folder);
        bk_free(path);
    }
    if (rc == BK_OK && l.n == 0)
        rc = bk_fail(err, BK_EDATA,
                     "'%s' has class folders but no JPEG or PNG files in them", folder);
    if (rc) {
        bk__file_list_release(&l);
        return rc;
    }
    qsort(l.at, l.n, sizeof *l.at, compare_files);
    *out = l;
    return BK_OK;
}

void bk__file_list_release(struct bk__file_list *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        bk_free(l->at[i].path);
    bk_free(l->at);
    *l = (struct bk__file_list){ 0 };
}

/*
 * plugin/registry.c: which plugins there are.
 *
 * Opening a registry looks through the search directories once, loads every file and keeps what passed its checks,
 * sorted by kind and name. A file that is refused is listed with the reason and disturbs nobody else. Two files that
 * offer the same plugin make that one name ambiguous: it is refused when it is asked for.
 */
#include "plugin/registry.h"
#include "plugin/loader.h"

#include <bosskit/file.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct entry {
    struct bk_found_plugin pub;
    struct bk_plugin *copy;
    char *path, *rival;         /* rival: another file that offers the same */
    char digest[65];
};

struct refused {
    struct bk_refused_plugin pub;
    char *path, *reason;
};

struct names {
    char **at;
    size_t n;
};

struct bk_registry {
    struct entry **plugin;
    size_t n;
    struct refused **refused;
    size_t n_refused;
    struct names searched;      /* as the user or the rules named them */
    struct names dirs;          /* real paths with the subdirectories of kinds */
};

static int no_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for the plugin registry");
}

/* Append a pointer to an array of pointers. */
static bool grow(void *array, size_t n)
{
    void **p;
    memcpy(&p, array, sizeof p);
    void **grown = bk_realloc(p, (n + 1) * sizeof *grown);
    if (!grown)
        return false;
    memcpy(array, &grown, sizeof grown);
    return true;
}

static int add_name(struct names *l, const char *name, struct bk_error *err)
{
    char *copy = bk_strdup(name);
    if (!copy || !grow(&l->at, l->n)) {
        bk_free(copy);
        return no_memory(err);
    }
    l->at[l->n++] = copy;
    return BK_OK;
}

static bool has_name(const struct names *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->at[i], name) == 0)
            return true;
    return false;
}

static void release_names(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        bk_free(l->at[i]);
    bk_free(l->at);
    *l = (struct names){ NULL, 0 };
}

/* ---- entries ------------------------------------------------------------------------------------ */

static void free_entry(struct entry *e)
{
    if (!e)
        return;
    bk__plugin_free(e->copy);
    bk_free(e->path);
    bk_free(e->rival);
    bk_free(e);
}

static void free_refused(struct refused *f)
{
    if (!f)
        return;
    bk_free(f->path);
    bk_free(f->reason);
    bk_free(f);
}

static int refuse(struct bk_registry *r, const char *path, const char *reason, struct bk_error *err)
{
    struct refused *f = bk_zalloc(sizeof *f);
    if (f) {
        f->path = bk_strdup(path);
        f->reason = bk_strdup(reason);
    }
    if (!f || !f->path || !f->reason || !grow(&r->refused, r->n_refused)) {
        free_refused(f);
        return no_memory(err);
    }
    f->pub = (struct bk_refused_plugin){ f->path, f->reason };
    r->refused[r->n_refused++] = f;
    return BK_OK;
}

static struct entry *find_entry(const struct bk_registry *r, uint32_t kind, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->plugin[i]->copy->kind == kind && strcmp(r->plugin[i]->copy->name, name) == 0)
            return r->plugin[i];
    return NULL;
}

/* The digest that the build put in, else that of the file. */
static int set_digest(struct entry *e, const char *file, struct bk_error *err)
{
    e->pub.digest = e->copy->source_digest;
    if (e->pub.digest && e->pub.digest[0])
        return BK_OK;
    e->pub.digest = e->digest;
    return bk_sha256_file(file, e->digest, err);
}

static int add_entry(struct bk_registry *r, struct bk_plugin *copy, const char *path,
                     const char *file, struct bk_error *err)
{
    struct entry *e = bk_zalloc(sizeof *e);
    int rc = BK_OK;
    if (!e) {
        bk__plugin_free(copy);
        return no_memory(err);
    }
    e->copy = copy;
    e->path = bk_strdup(path);
    if (!e->path || !grow(&r->plugin, r->n))
        rc = no_memory(err);
    if (rc == BK_OK)
        rc = set_digest(e, file, err);
    if (rc) {
        free_entry(e);
        return rc;
    }
    e->pub.plugin = copy;
    e->pub.path = e->path;
    r->plugin[r->n++] = e;
    return BK_OK;
}

static int add_rival(struct bk_registry *r, struct entry *e, const char *path, struct bk_error *err)
{
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "offers %s '%s', which '%s' offers as well", bk_kind_name(e->copy->kind),
                 e->copy->name, e->path);
    int rc = refuse(r, path, bk_text_get(&t), err);
    bk_text_release(&t);
    if (rc == BK_OK && !e->rival) {
        e->rival = bk_strdup(path);
        if (!e->rival)
            rc = no_memory(err);
    }
    return rc;
}

/* ---- one file ------------------------------------------------------------------------------------- */

static int add_plugin(struct bk_registry *r, const struct bk_plugin *theirs, const char *path,
                      struct bk_error *err)
{
    struct bk_error why = BK_ERROR_INIT;
    struct bk_plugin *copy = NULL;
    int rc = bk__plugin_check(theirs, &copy, &why);

    if (rc == BK_ENOMEM)
        return no_memory(err);
    if (rc)
        return refuse(r, path, why.text, err);
    struct entry *same = find_entry(r, copy->kind, copy->name);
    if (!same)
        return add_entry(r, copy, path, path, err);
    bk__plugin_free(copy);
    return add_rival(r, same, path, err);
}

static int add_file(struct bk_registry *r, const char *path, struct bk_error *err)
{
    struct bk_error why = BK_ERROR_INIT;
    const struct bk_module *m;

    if (bk__module_load(path, &m, &why))
        return refuse(r, path, why.text, err);
    for (size_t i = 0; m->plugins[i]; i++)
        BK_TRY(add_plugin(r, m->plugins[i], path, err));
    return BK_OK;
}

/* ---- directories ------------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static bool is_plugin_file(const char *name)
{
    size_t n = strlen(name);
    return n > 3 && name[0] != '.' && strcmp(name + n - 3, ".so") == 0;
}

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Names of plugin files in a directory, sorted so that every machine sees the same order. */
static int list_files(const char *dir, struct names *out, struct bk_error *err)
{
    struct dirent *d;
    int rc = BK_OK;
    DIR *handle = opendir(dir);
    if (!handle)
        return bk_fail_errno(err, BK_EPLUGIN, "cannot read the plugin directory '%s'", dir);
    while (rc == BK_OK && (d = readdir(handle)))
        if (is_plugin_file(d->d_name))
            rc = add_name(out, d->d_name, err);
    closedir(handle);
    if (rc == BK_OK && out->n)
        qsort(out->at, out->n, sizeof *out->at, by_name);
    return rc;
}

static int add_files_of(struct bk_registry *r, const char *dir, struct bk_error *err)
{
    struct names files = { NULL, 0 };
    char path[PATH_MAX], real[PATH_MAX];
    int rc = BK_OK;

    if (!realpath(dir, real) || has_name(&r->dirs, real))
        return BK_OK;                   /* reached twice, by two spellings */
    BK_TRY(add_name(&r->dirs, real, err));
    rc = list_files(real, &files, err);
    for (size_t i = 0; i < files.n && rc == BK_OK; i++) {
        struct stat st;
        int n = snprintf(path, sizeof path, "%s/%s", real, files.at[i]);
        if (n < (int)sizeof path && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            continue;
        rc = add_file(r, path, err);
    }
    release_names(&files);
    return rc;
}

/* The directory itself and its subdirectories named after kinds. */
static int add_dir(struct bk_registry *r, const char *dir, struct bk_error *err)
{
    char path[PATH_MAX];
    if (!has_name(&r->searched, dir))
        BK_TRY(add_name(&r->searched, dir, err));
    BK_TRY(add_files_of(r, dir, err));
    for (uint32_t kind = 1; bk_kind_name(kind); kind++) {
        int n = snprintf(path, sizeof path, "%s/%s", dir, bk__kind_dir(kind));
        if (n < (int)sizeof path && is_dir(path))
            BK_TRY(add_files_of(r, path, err));
    }
    return BK_OK;
}

/* Directories of BOSSKIT_PLUGIN_PATH; those that do not exist are passed over. */
static int add_environment(struct bk_registry *r, struct bk_error *err)
{
    const char *list = getenv("BOSSKIT_PLUGIN_PATH");
    char dir[PATH_MAX];

    for (; list && *list; list += list[0] == ':') {
        size_t n = strcspn(list, ":");
        if (n > 0 && n < sizeof dir) {
            memcpy(dir, list, n);
            dir[n] = '\0';
            if (is_dir(dir))
                BK_TRY(add_dir(r, dir, err));
            else
                bk_log(BK_LOG_WARN, "BOSSKIT_PLUGIN_PATH: '%s' is no directory", dir);
        }
        list += n;
    }
    return BK_OK;
}

/*
 * Beside the library: plugins/ in a build tree (recognised by CMake's cache file, since some other "plugins" may lie
 * in a system's library directory), else bosskit/ of an installation, else the directory fixed at build time.
 */
static int add_default(struct bk_registry *r, struct bk_error *err)
{
    const char *lib = bk_library_dir();
    char dir[PATH_MAX], cache[PATH_MAX];

    snprintf(dir, sizeof dir, "%s/plugins", lib);
    snprintf(cache, sizeof cache, "%s/CMakeCache.txt", lib);
    if (bk_file_exists(cache) && is_dir(dir))
        return add_dir(r, dir, err);
    snprintf(dir, sizeof dir, "%s/bosskit", lib);
    if (is_dir(dir))
        return add_dir(r, dir, err);
    if (is_dir(BK_INSTALL_PLUGIN_DIR))
        return add_dir(r, BK_INSTALL_PLUGIN_DIR, err);
    return BK_OK;
}

/* ---- public ------------------------------------------------------------------------------------------- */

static int add_builtins(struct bk_registry *r, struct bk_error *err)
{
    for (size_t i = 0; bk__builtin_plugins[i]; i++) {
        struct bk_plugin *copy;
        BK_TRY(bk__plugin_check(bk__builtin_plugins[i], &copy, err));
        BK_TRY(add_entry(r, copy, "built in", "", err));
    }
    return BK_OK;
}

static int add_all(struct bk_registry *r, const char *const *dirs, size_t n, struct bk_error *err)
{
    BK_TRY(add_builtins(r, err));
    for (size_t i = 0; i < n; i++) {
        if (!is_dir(dirs[i]))
            return bk_fail(err, BK_EPLUGIN, "plugin path '%s' is no directory", dirs[i]);
        BK_TRY(add_dir(r, dirs[i], err));
    }
    BK_TRY(add_environment(r, err));
    return add_default(r, err);
}

static int by_kind_and_name(const void *a, const void *b)
{
    const struct bk_plugin *x = (*(struct entry *const *)a)->copy;
    const struct bk_plugin *y = (*(struct entry *const *)b)->copy;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return strcmp(x->name, y->name);
}

int bk_registry_open(const char *const *dirs, size_t n, struct bk_registry **out,
                     struct bk_error *err)
{
    struct bk_registry *r = bk_zalloc(sizeof *r);
    if (!r)
        return no_memory(err);
    int rc = add_all(r, dirs, n, err);
    if (rc) {
        bk_registry_close(r);
        return rc;
    }
    if (r->n)
        qsort(r->plugin, r->n, sizeof *r->plugin, by_kind_and_name);
    *out = r;
    return BK_OK;
}

void bk_registry_close(struct bk_registry *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++)
        free_entry(r->plugin[i]);
    for (size_t i = 0; i < r->n_refused; i++)
        free_refused(r->refused[i]);
    bk_free(r->plugin);
    bk_free(r->refused);
    release_names(&r->searched);
    release_names(&r->dirs);
    bk_free(r);
}

size_t bk_registry_count(const struct bk_registry *r)
{
    return r->n;
}

const struct bk_found_plugin *bk_registry_at(const struct bk_registry *r, size_t i)
{
    return &r->plugin[i]->pub;
}

size_t bk_registry_refused_count(const struct bk_registry *r)
{
    return r->n_refused;
}

const struct bk_refused_plugin *bk_registry_refused_at(const struct bk_registry *r, size_t i)
{
    return &r->refused[i]->pub;
}

/* A refused file called <name>.so, or NULL. */
static const struct refused *refused_as(const struct bk_registry *r, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < r->n_refused; i++) {
        const char *base = strrchr(r->refused[i]->path, '/');
        base = base ? base + 1 : r->refused[i]->path;
        if (strncmp(base, name, n) == 0 && strcmp(base + n, ".so") == 0)
            return r->refused[i];
    }
    return NULL;
}

static const char *nearest_plugin(const struct bk_registry *r, uint32_t kind, const char *name)
{
    const char *names[256] = { NULL };
    size_t n = 0;
    for (size_t i = 0; i < r->n && n < BK_ARRAY_LEN(names); i++)
        if (r->plugin[i]->copy->kind == kind)
            names[n++] = r->plugin[i]->copy->name;
    return bk_nearest_word(name, names, n);
}

static int not_found(const struct bk_registry *r, uint32_t kind, const char *name,
                     struct bk_error *err)
{
    const struct refused *f = refused_as(r, name);
    const char *near = nearest_plugin(r, kind, name);
    struct bk_text t = BK_TEXT_INIT;

    bk_text_addf(&t, "no %s '%s'", bk_kind_name(kind), name);
    if (near)
        bk_text_addf(&t, " (nearest: '%s')", near);
    if (f)
        bk_text_addf(&t, "; '%s' was refused: %s", f->path, f->reason);
    bk_text_add(&t, "; searched: ");
    for (size_t i = 0; i < r->searched.n; i++)
        bk_text_addf(&t, "%s%s", i ? ", " : "", r->searched.at[i]);
    if (r->searched.n == 0)
        bk_text_add(&t, "no directory");
    bk_fail(err, BK_EPLUGIN, "%s", bk_text_get(&t));
    bk_text_release(&t);
    return BK_EPLUGIN;
}

int bk_registry_find(const struct bk_registry *r, uint32_t kind, const char *name,
                     const struct bk_found_plugin **out, struct bk_error *err)
{
    if (!bk_kind_name(kind))
        return bk_fail(err, BK_EINVAL, "unknown plugin kind %u", (unsigned)kind);
    const struct entry *e = find_entry(r, kind, name);
    if (!e)
        return not_found(r, kind, name, err);
    if (e->rival)
        return bk_fail(err, BK_EPLUGIN, "%s '%s' is offered by two files, '%s' and '%s'; remove one",
                       bk_kind_name(kind), name, e->path, e->rival);
    *out = &e->pub;
    return BK_OK;
}

/*
 * Claiming, publishing and explaining stages. The lock is flock on the partial directory itself: it travels with the
 * rename, needs no file of its own, and dies with its owner. After waiting for it the path is looked at again, because
 * the directory behind the descriptor may have been published meanwhile.
 */
#include "store/store.h"

#include <bosskit/file.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct bk_store {
    char *root;
};

static char *join(const char *a, const char *b)
{
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%s/%s", a, b);
    return bk_text_take(&t);
}

static char *default_root(void)
{
    const char *env = getenv("BOSSKIT_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (env && env[0])
        return bk_strdup(env);
    if (xdg && xdg[0])
        return join(xdg, "bosskit");
    return join(home && home[0] ? home : "/tmp", ".cache/bosskit");
}

int bk_store_open(const char *root, struct bk_store **out, struct bk_error *err)
{
    struct bk_store *s = bk_zalloc(sizeof *s);
    if (s)
        s->root = root ? bk_strdup(root) : default_root();
    if (!s || !s->root) {
        bk_free(s);
        return bk_fail(err, BK_ENOMEM, "out of memory for the store");
    }
    *out = s;
    return BK_OK;
}

void bk_store_close(struct bk_store *s)
{
    if (s)
        bk_free(s->root);
    bk_free(s);
}

const char *bk_store_root(const struct bk_store *s)
{
    return s->root;
}

const char *bk_stage_state_name(enum bk_stage_state state)
{
    switch (state) {
    case BK_STAGE_HIT:
        return "HIT";
    case BK_STAGE_RESUME:
        return "RESUME";
    case BK_STAGE_RUN:
        return "RUN";
    default:
        return "?";
    }
}

int bk_store_key(const json_t *identity, char key[65], struct bk_error *err)
{
    struct bk_sha256 s;
    char *text = json_dumps(identity, JSON_SORT_KEYS | JSON_COMPACT);
    if (!text)
        return bk_fail(err, BK_ENOMEM, "out of memory for a stage key");
    bk_sha256_init(&s);
    bk_sha256_add(&s, text, strlen(text));
    bk_sha256_hex(&s, key);
    free(text);
    return BK_OK;
}

char *bk_store_path(const struct bk_store *s, const char *kind, const char *key)
{
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%s/store/%s/%s", s->root, kind, key);
    return bk_text_take(&t);
}

static char *partial_path(const struct bk_store *s, const char *kind, const char *key)
{
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%s/store/%s/%s.partial", s->root, kind, key);
    return bk_text_take(&t);
}

static int is_checkpoint(const struct dirent *e)
{
    size_t n = strlen(e->d_name), suffix = strlen(BK_CHECKPOINT_SUFFIX);
    return n > suffix && strncmp(e->d_name, BK_CHECKPOINT_PREFIX, strlen(BK_CHECKPOINT_PREFIX)) == 0 &&
           strcmp(e->d_name + n - suffix, BK_CHECKPOINT_SUFFIX) == 0;
}

static int is_leftover(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !is_checkpoint(e) &&
           strncmp(e->d_name, BK_KEPT_PREFIX, strlen(BK_KEPT_PREFIX)) != 0;
}

/** Number of files in `dir` that `which` selects; with `drop` they are deleted. */
static int count_files(const char *dir, int (*which)(const struct dirent *), bool drop)
{
    struct dirent **entry = NULL;
    int n = scandir(dir, &entry, which, alphasort);
    for (int i = 0; i < n; i++) {
        char *path = drop ? join(dir, entry[i]->d_name) : NULL;
        if (path && bk_remove_tree(path, NULL))
            bk_log(BK_LOG_WARN, "cannot remove '%s'", path);
        bk_free(path);
        free(entry[i]);
    }
    free(entry);
    return n < 0 ? 0 : n;
}

enum bk_stage_state bk_store_look(const struct bk_store *s, const char *kind, const char *key, bool digests)
{
    char *whole = bk_store_path(s, kind, key), *partial = partial_path(s, kind, key);
    enum bk_stage_state state = BK_STAGE_RUN;

    if (whole && bk__manifest_check(whole, key, digests, NULL) == BK_OK)
        state = BK_STAGE_HIT;
    else if (partial && count_files(partial, is_checkpoint, false) > 0)
        state = BK_STAGE_RESUME;
    bk_free(whole);
    bk_free(partial);
    return state;
}

/* ---- why not a hit ----------------------------------------------------------------------------------- */

/** A value in words; of a digest the first digits, as keys are shown. */
static void add_value(struct bk_text *out, const json_t *v)
{
    const char *s = json_string_value(v);
    char *text = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    if (s && strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64)
        bk_text_addf(out, "%.12s", s);
    else
        bk_text_addf(out, "%.60s", text ? text : "absent");
    free(text);
}

/** Count differing leaves; the path and both values of the first go to `first` when it is still empty. */
static int differences(const char *path, const json_t *now, const json_t *was, struct bk_text *first)
{
    if (json_is_object(now) && json_is_object(was)) {
        const char *name;
        json_t *value;
        int n = 0;
        json_object_foreach((json_t *)now, name, value) {
            struct bk_text sub = BK_TEXT_INIT;
            bk_text_addf(&sub, "%s%s%s", path, path[0] ? "." : "", name);
            n += differences(bk_text_get(&sub), value, json_object_get(was, name), first);
            bk_text_release(&sub);
        }
        json_object_foreach((json_t *)was, name, value)
            n += json_object_get(now, name) == NULL;
        return n;
    }
    if (now && was && json_equal(now, was))
        return 0;
    if (first->len == 0) {
        bk_text_addf(first, "%s is ", path);
        add_value(first, now);
        bk_text_add(first, ", was ");
        add_value(first, was);
    }
    return 1;
}

static int is_complete(const struct dirent *e)
{
    return strlen(e->d_name) == 64;
}

void bk_store_scan(const struct bk_store *s, const char *kind,
                   void (*see)(void *user, const json_t *identity, const json_t *made), void *user)
{
    struct bk_text dir = BK_TEXT_INIT;
    struct dirent **entry = NULL;

    bk_text_addf(&dir, "%s/store/%s", s->root, kind);
    int n = scandir(bk_text_get(&dir), &entry, is_complete, alphasort);
    for (int i = 0; i < n; i++) {
        char *path = join(bk_text_get(&dir), entry[i]->d_name);
        json_t *m = path ? bk__manifest_read(path) : NULL;
        if (json_object_get(m, "identity"))
            see(user, json_object_get(m, "identity"), json_object_get(m, "made"));
        json_decref(m);
        bk_free(path);
        free(entry[i]);
    }
    free(entry);
    bk_text_release(&dir);
}

/** The most similar stage so far. */
struct explaining {
    const json_t *identity;
    struct bk_text best;
    int n;
};

static void explain(void *user, const json_t *identity, const json_t *made)
{
    struct explaining *x = user;
    struct bk_text first = BK_TEXT_INIT;
    int d = differences("", x->identity, identity, &first);
    (void)made;
    if (d > 0 && first.len > 0 && (x->n == 0 || d < x->n)) {
        bk_text_release(&x->best);
        x->best = first;
        x->n = d;
    } else {
        bk_text_release(&first);
    }
}

void bk_store_explain(const struct bk_store *s, const char *kind, const json_t *identity, struct bk_text *out)
{
    struct explaining x = { identity, BK_TEXT_INIT, 0 };
    bk_store_scan(s, kind, explain, &x);
    bk_text_add(out, x.n ? bk_text_get(&x.best) : "never made here");
    bk_text_release(&x.best);
}

/* ---- claiming ------------------------------------------------------------------------------------------ */

/** Is the directory behind `fd` still the one at `path`? */
static bool is_same(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int wait_for_lock(int fd, const char *path, bool (*stop)(void), struct bk_error *err)
{
    bool told = false;
    while (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return bk_fail_errno(err, BK_EIO, "cannot lock '%s'", path);
        if (stop && stop())
            return bk_fail(err, BK_EINTERRUPTED, "interrupted while waiting for '%s'", path);
        if (!told)
            bk_log(BK_LOG_INFO, "another process is making '%s'; waiting for it", path);
        told = true;
        usleep(100 * 1000);
    }
    return BK_OK;
}

/** Make and lock the partial directory; the loop ends when what we locked is what lies at the path. */
static int lock_partial(const char *path, bool (*stop)(void), int *out, struct bk_error *err)
{
    for (;;) {
        BK_TRY(bk_make_dirs(path, err));
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            continue;
        if (fd < 0)
            return bk_fail_errno(err, BK_EIO, "cannot open '%s'", path);
        int rc = wait_for_lock(fd, path, stop, err);
        if (!rc && is_same(fd, path)) {
            *out = fd;
            return BK_OK;
        }
        close(fd);
        if (rc)
            return rc;
    }
}

/** A published directory that fails its check goes away, so that the rename of the new one can succeed. */
static int drop_damaged(const char *whole, const struct bk_error *why, struct bk_error *err)
{
    bk_log(BK_LOG_WARN, "%s; the stage is made again", why->text);
    return bk_remove_tree(whole, err);
}

static int claim_locked(struct bk_claim *c, char *whole, char *partial, bool (*stop)(void), struct bk_error *err)
{
    struct bk_error why = BK_ERROR_INIT;
    BK_TRY(lock_partial(partial, stop, &c->lock, err));
    if (bk__manifest_check(whole, c->key, true, &why) == BK_OK) {   /* published while we waited */
        int left = bk_remove_tree(partial, NULL);
        bk_log(BK_LOG_DEBUG, "'%s' %s", partial, left ? "could not be removed" : "was made by another process");
        close(c->lock);
        c->lock = -1;
        c->state = BK_STAGE_HIT;
        return BK_OK;
    }
    if (bk_file_exists(whole))
        BK_TRY(drop_damaged(whole, &why, err));
    count_files(partial, is_leftover, true);
    c->state = count_files(partial, is_checkpoint, false) > 0 ? BK_STAGE_RESUME : BK_STAGE_RUN;
    return BK_OK;
}

int bk_store_claim(const struct bk_store *s, const char *kind, const char *key, bool (*stop)(void),
                   struct bk_claim *out, struct bk_error *err)
{
    struct bk_claim c = BK_CLAIM_INIT;
    char *whole = bk_store_path(s, kind, key), *partial = partial_path(s, kind, key);
    int rc = BK_OK;

    c.store = s;
    c.kind = bk_strdup(kind);
    snprintf(c.key, sizeof c.key, "%s", key);
    if (!whole || !partial || !c.kind)
        rc = bk_fail(err, BK_ENOMEM, "out of memory for a stage");
    else if (bk__manifest_check(whole, key, true, NULL) == BK_OK)
        c.state = BK_STAGE_HIT;
    else
        rc = claim_locked(&c, whole, partial, stop, err);
    if (!rc) {
        c.dir = c.state == BK_STAGE_HIT ? whole : partial;
        *(c.state == BK_STAGE_HIT ? &whole : &partial) = NULL;
        *out = c;
        memset(&c, 0, sizeof c);
        c.lock = -1;
    }
    bk_free(whole);
    bk_free(partial);
    bk_claim_release(&c);
    return rc;
}

static int fsync_parent(const char *path, struct bk_error *err)
{
    char *dir = bk_strdup(path), *slash = dir ? strrchr(dir, '/') : NULL;
    int rc = BK_OK;
    if (!slash) {
        bk_free(dir);
        return bk_fail(err, BK_ENOMEM, "out of memory for a path");
    }
    *slash = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd))
        rc = bk_fail_errno(err, BK_EIO, "cannot flush '%s'", dir);
    if (fd >= 0)
        close(fd);
    bk_free(dir);
    return rc;
}

int bk_store_publish(struct bk_claim *c, const json_t *identity, const json_t *made, struct bk_error *err)
{
    if (c->lock < 0)
        return bk_fail(err, BK_ESTATE, "stage '%s' is not locked", c->key);
    count_files(c->dir, is_checkpoint, true);
    BK_TRY(bk__manifest_write(c->dir, c->kind, c->key, identity, made, err));
    char *whole = bk_store_path(c->store, c->kind, c->key);
    if (!whole)
        return bk_fail(err, BK_ENOMEM, "out of memory for a path");
    if (rename(c->dir, whole)) {
        int rc = bk_fail_errno(err, BK_EIO, "cannot publish '%s'", whole);
        bk_free(whole);
        return rc;
    }
    bk_free(c->dir);
    c->dir = whole;
    c->state = BK_STAGE_HIT;
    close(c->lock);
    c->lock = -1;
    return fsync_parent(whole, err);
}

void bk_claim_release(struct bk_claim *c)
{
    if (c->lock >= 0)
        close(c->lock);
    bk_free(c->dir);
    bk_free(c->kind);
    memset(c, 0, sizeof *c);
    c->lock = -1;
}

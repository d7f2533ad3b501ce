/*
 * base/file.c: whole files in and out, and directory trees.
 *
 * A file that was written is complete or absent whatever moment the power fails: temporary file in the same
 * directory, fsync, rename, fsync of the directory. No streaming and no formats here.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <bosskit/file.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading --------------------------------------------------------------------------------- */

static size_t read_capacity(FILE *f, size_t max)
{
    struct stat st;

    /* One byte more than the size, so that the end is seen without growing; pipes start small. */
    if (!fstat(fileno(f), &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size < max)
        return (size_t)st.st_size + 1;
    return max < 65536 ? max + 1 : 65536;
}

static int read_all(FILE *f, const char *path, size_t max, struct bk_text *t,
                    struct bk_error *err)
{
    size_t cap = read_capacity(f, max), len = 0;

    for (;;) {
        char *p = bk_realloc(t->ptr, cap + 1);
        if (!p)
            return bk_fail(err, BK_ENOMEM, "cannot read '%s': out of memory", path);
        t->ptr = p;
        len += fread(p + len, 1, cap - len, f);
        if (ferror(f))
            return bk_fail_errno(err, BK_EIO, "cannot read '%s'", path);
        if (len > max)
            return bk_fail(err, BK_EIO, "cannot read '%s': larger than %zu bytes", path, max);
        if (len < cap)
            break;
        cap = cap < max / 2 ? cap * 2 : max + 1;
    }
    t->ptr[len] = '\0';
    t->len = len;
    return BK_OK;
}

int bk_file_read(const char *path, size_t max, char **data, size_t *nbytes,
                 struct bk_error *err)
{
    struct bk_text t = BK_TEXT_INIT;

    if (max > SIZE_MAX - 2)
        max = SIZE_MAX - 2;
    FILE *f = fopen(path, "rbe");
    if (!f)
        return bk_fail_errno(err, BK_EIO, "cannot open '%s'", path);
    int rc = read_all(f, path, max, &t, err);
    if (!rc) {
        *data = t.ptr;
        if (nbytes)
            *nbytes = t.len;
        t.ptr = NULL;
    }
    bk_text_release(&t);
    fclose(f);
    return rc;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int write_fully(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int write_parts(int fd, const struct bk_bytes *part, size_t n_parts)
{
    for (size_t i = 0; i < n_parts; i++)
        if (write_fully(fd, part[i].data, part[i].n))
            return -1;
    return fsync(fd);
}

static int sync_parent(const char *path)
{
    struct bk_text dir = BK_TEXT_INIT;
    const char *slash = strrchr(path, '/');

    bk_text_addn(&dir, path, slash ? (size_t)(slash - path) + 1 : 0);
    if (dir.failed) {
        errno = ENOMEM;
        return -1;
    }
    int fd = open(*dir.ptr ? dir.ptr : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bk_text_release(&dir);
    if (fd < 0)
        return -1;
    /* Some file systems cannot sync a directory and say EINVAL; the rename is then as durable as it gets. */
    int rc = fsync(fd) && errno != EINVAL ? -1 : 0;
    int number = errno;
    close(fd);
    errno = number;
    return rc;
}

int bk_file_write(const char *path, const void *data, size_t nbytes, struct bk_error *err)
{
    return bk_file_write_parts(path, &(struct bk_bytes){ data, nbytes }, 1, err);
}

int bk_file_write_parts(const char *path, const struct bk_bytes *part, size_t n_parts, struct bk_error *err)
{
    static atomic_uint counter;
    struct bk_text temporary = BK_TEXT_INIT;
    int rc = BK_OK;

    bk_text_addf(&temporary, "%s.%ld.%u.tmp", path, (long)getpid(),
                 atomic_fetch_add(&counter, 1));
    if (temporary.failed)
        return bk_fail(err, BK_ENOMEM, "cannot write '%s': out of memory", path);
    int fd = open(temporary.ptr, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        rc = bk_fail_errno(err, BK_EIO, "cannot create '%s'", temporary.ptr);
        goto done;
    }
    if (write_parts(fd, part, n_parts))
        rc = bk_fail_errno(err, BK_EIO, "cannot write '%s'", path);
    if (close(fd) && !rc)
        rc = bk_fail_errno(err, BK_EIO, "cannot write '%s'", path);
    if (!rc && rename(temporary.ptr, path))
        rc = bk_fail_errno(err, BK_EIO, "cannot rename '%s' to '%s'", temporary.ptr, path);
    if (rc)
        unlink(temporary.ptr);
    else if (sync_parent(path))
        rc = bk_fail_errno(err, BK_EIO, "cannot sync the directory of '%s'", path);
done:
    bk_text_release(&temporary);
    return rc;
}

/* ---- directories ----------------------------------------------------------------------------- */

static int make_dir(const char *path, struct bk_error *err)
{
    struct stat st;

    if (!mkdir(path, 0777))
        return BK_OK;
    int number = errno;
    if (!stat(path, &st) && S_ISDIR(st.st_mode))
        return BK_OK;
    errno = number;
    return bk_fail_errno(err, BK_EIO, "cannot create directory '%s'", path);
}

int bk_make_dirs(const char *path, struct bk_error *err)
{
    int rc = BK_OK;

    char *copy = bk_strdup(path);
    if (!copy)
        return bk_fail(err, BK_ENOMEM, "cannot create directory '%s': out of memory", path);
    for (char *p = copy; *p && !rc; p++) {
        if (*p != '/' || p == copy)
            continue;
        *p = '\0';
        rc = make_dir(copy, err);
        *p = '/';
    }
    if (!rc)
        rc = make_dir(copy, err);
    bk_free(copy);
    return rc;
}

/* 0, or -1 with errno; `name` is relative to `at`. */
static int remove_at(int at, const char *name)
{
    struct stat st;

    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW))
        return -1;
    if (!S_ISDIR(st.st_mode))
        return unlinkat(at, name, 0);
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return -1;
    }
    int rc = 0, number = 0;
    struct dirent *entry;
    while (!rc && (entry = readdir(dir))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        rc = remove_at(fd, entry->d_name);
        number = errno;
    }
    closedir(dir);
    errno = number;
    return rc ? rc : unlinkat(at, name, AT_REMOVEDIR);
}

int bk_remove_tree(const char *path, struct bk_error *err)
{
    if (remove_at(AT_FDCWD, path))
        return bk_fail_errno(err, BK_EIO, "cannot remove '%s'", path);
    return BK_OK;
}

bool bk_file_exists(const char *path)
{
    struct stat st;

    return !stat(path, &st);
}

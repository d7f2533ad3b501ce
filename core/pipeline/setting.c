/*
 * Choosing how a row computes: backend, type of activations, threads. The device is asked in a child process, so that
 * planning neither initialises a device nor dies with a broken one.
 */
#define _GNU_SOURCE
#include "pipeline/child.h"

#include <bosskit/file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int probe_in(const char *dir, const struct bk_registry *r, const struct bk_row *row, struct bk_setting *s,
                    json_t **info, struct bk_error *err)
{
    json_t *extra = json_pack("{s:s}", "stage", "probe");
    struct bk_child c = { .keep_fd = -1 };
    char *path = NULL;
    int rc = bk__spec_write(dir, r, row, s, "", extra, &path, err);

    json_decref(extra);
    c.spec_path = path;
    if (!rc)
        rc = bk__child_run(&c, err);
    if (!rc) {
        *info = c.result ? json_loads(c.result, 0, NULL) : NULL;
        if (!*info)
            rc = bk_fail(err, BK_ECHILD, "the probe of backend '%s' said nothing", s->backend);
    }
    bk_free(c.result);
    bk_free(path);
    return rc;
}

static int probe(const struct bk_registry *r, const struct bk_row *row, struct bk_setting *s, json_t **info,
                 struct bk_error *err)
{
    const char *tmp = getenv("TMPDIR");
    char dir[1024];

    snprintf(dir, sizeof dir, "%.900s/bosskit-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return bk_fail_errno(err, BK_EIO, "cannot make a directory like '%s'", dir);
    int rc = probe_in(dir, r, row, s, info, err);
    if (bk_remove_tree(dir, NULL))
        bk_log(BK_LOG_DEBUG, "cannot remove '%s'", dir);
    return rc;
}

static void note(char *to, size_t size, const json_t *info, const char *key)
{
    const char *v = json_string_value(json_object_get(info, key));
    snprintf(to, size, "%s", v ? v : "");
}

static int ask(const struct bk_registry *r, const struct bk_row *row, const char *backend, struct bk_setting *s,
               struct bk_error *err)
{
    json_t *info = NULL;

    BK_TRY(bk_registry_find(r, BK_KIND_BACKEND, backend, &s->found, err));
    snprintf(s->backend, sizeof s->backend, "%s", backend);
    s->dtype = BK_F32;
    int rc = probe(r, row, s, &info, err);
    if (rc == BK_EINTERRUPTED)
        return rc;
    if (rc) {
        char why[900];
        snprintf(why, sizeof why, "%.890s", err ? err->text : "");
        return bk_fail(err, BK_EPLUGIN, "backend '%s' is not available: %s", backend, why);
    }
    s->dtype = row->top.dtype ? (uint32_t)row->top.dtype
                              : json_is_true(json_object_get(info, "fast_bf16")) ? BK_BF16 : BK_F32;
    note(s->device, sizeof s->device, info, "device");
    note(s->libraries, sizeof s->libraries, info, "libraries");
    json_decref(info);
    return BK_OK;
}

int bk__setting_choose(const struct bk_registry *r, const struct bk_row *row, struct bk_setting *out,
                       struct bk_error *err)
{
    const struct bk_instance *named = row->part[BK_SLOT_BACKEND];
    struct bk_setting s = { .determinism = (uint32_t)row->top.determinism };
    struct bk_error why = BK_ERROR_INIT;
    const char *fallback = "ref";
    int rc;

    s.threads = row->top.threads > 0 ? (int32_t)row->top.threads : bk_threads();
    if (named || row->top.determinism == BK_REFERENCE) {
        rc = ask(r, row, named ? named->found->plugin->name : fallback, &s, err);
    } else {
        rc = ask(r, row, "cpu", &s, &why);
        if (rc == BK_EINTERRUPTED)
            return bk_fail(err, rc, "%s", why.text);
        if (rc) {
            bk_log(BK_LOG_WARN, "%s; using the slow reference backend '%s'", why.text, fallback);
            rc = ask(r, row, fallback, &s, err);
        }
    }
    if (!rc)
        *out = s;
    return rc;
}

/*
 * events.jsonl of a run directory: one JSON object a line, appended, with the time. It is the only file there that
 * differs between two equal runs.
 */
#include "pipeline/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct bk_events {
    FILE *f;
};

int bk__events_open(const char *dir, struct bk_events **out, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    struct bk_events *e = bk_zalloc(sizeof *e);
    int rc = BK_OK;

    bk_text_addf(&path, "%s/events.jsonl", dir);
    if (!e)
        rc = bk_fail(err, BK_ENOMEM, "out of memory for events");
    else if (!(e->f = fopen(bk_text_get(&path), "ae")))
        rc = bk_fail_errno(err, BK_EIO, "cannot write '%s'", bk_text_get(&path));
    bk_text_release(&path);
    if (rc)
        bk_free(e);
    else
        *out = e;
    return rc;
}

void bk__events_close(struct bk_events *e)
{
    if (e)
        (void)fclose(e->f);
    bk_free(e);
}

void bk__events_add(struct bk_events *e, json_t *o)
{
    char stamp[32] = "";
    time_t now = time(NULL);
    struct tm tm;

    if (e && o) {
        if (gmtime_r(&now, &tm))
            (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &tm);
        json_object_set_new(o, "time", json_string(stamp));
        char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
        if (text) {
            fprintf(e->f, "%s\n", text);
            (void)fflush(e->f);
        }
        free(text);
    }
    json_decref(o);
}

/*
 * stats/table_yaml.c: rows of a YAML file: a mapping `key: number`, or a sequence of [key, number] pairs.
 *
 * The event interface of libyaml is used, because keys must stay text: a loader would turn 08 into a number, and
 * 16:16:16:16:64 into an integer of base 60. Tags such as !!python/tuple are accepted and ignored. Aliases, nested keys
 * and several documents are refused.
 */
#include "stats/table_rows.h"

#include <string.h>
#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    const char *path;
    struct bk__rows *rows;
};

static size_t line_of(const struct reader *r)
{
    return r->event.start_mark.line + 1;
}

static void drop_event(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = false;
}

static int next_event(struct reader *r, struct bk_error *err)
{
    drop_event(r);
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        if (r->parser.error == YAML_MEMORY_ERROR)
            return bk_fail(err, BK_ENOMEM, "cannot read '%s': out of memory", r->path);
        return bk__rows_fail(err, r->path, r->parser.problem_mark.line + 1, "%s",
                             r->parser.problem ? r->parser.problem : "not YAML");
    }
    r->has_event = true;
    return BK_OK;
}

static int expect(struct reader *r, yaml_event_type_t type, const char *legal,
                  struct bk_error *err)
{
    BK_TRY(next_event(r, err));
    if (r->event.type != type)
        return bk__rows_fail(err, r->path, line_of(r), "unexpected YAML, legal: %s", legal);
    return BK_OK;
}

/* The current event is the key's scalar; reads the value's. */
static int read_pair(struct reader *r, const char *legal, struct bk_error *err)
{
    struct bk_text key = BK_TEXT_INIT;
    size_t line = line_of(r);

    bk_text_addn(&key, (const char *)r->event.data.scalar.value, r->event.data.scalar.length);
    int rc = key.failed ? bk_fail(err, BK_ENOMEM, "cannot read '%s': out of memory", r->path)
                        : expect(r, YAML_SCALAR_EVENT, legal, err);
    if (!rc)
        rc = bk__rows_add(r->rows, r->path, line, key.ptr, key.len,
                          (const char *)r->event.data.scalar.value, err);
    bk_text_release(&key);
    return rc;
}

static int read_mapping(struct reader *r, struct bk_error *err)
{
    static const char legal[] = "a mapping of keys to numbers";

    for (;;) {
        BK_TRY(next_event(r, err));
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return BK_OK;
        if (r->event.type != YAML_SCALAR_EVENT)
            return bk__rows_fail(err, r->path, line_of(r), "unexpected YAML, legal: %s", legal);
        BK_TRY(read_pair(r, legal, err));
    }
}

static int read_sequence(struct reader *r, struct bk_error *err)
{
    static const char legal[] = "a sequence of [key, number] pairs";

    for (;;) {
        BK_TRY(next_event(r, err));
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            return BK_OK;
        if (r->event.type != YAML_SEQUENCE_START_EVENT)
            return bk__rows_fail(err, r->path, line_of(r), "unexpected YAML, legal: %s", legal);
        BK_TRY(expect(r, YAML_SCALAR_EVENT, legal, err));
        BK_TRY(read_pair(r, legal, err));
        BK_TRY(expect(r, YAML_SEQUENCE_END_EVENT, legal, err));
    }
}

static int read_document(struct reader *r, struct bk_error *err)
{
    static const char legal[] = "a mapping of keys to numbers, or a sequence of [key, number] pairs";

    BK_TRY(expect(r, YAML_STREAM_START_EVENT, legal, err));
    BK_TRY(expect(r, YAML_DOCUMENT_START_EVENT, legal, err));
    BK_TRY(next_event(r, err));
    if (r->event.type == YAML_MAPPING_START_EVENT)
        BK_TRY(read_mapping(r, err));
    else if (r->event.type == YAML_SEQUENCE_START_EVENT)
        BK_TRY(read_sequence(r, err));
    else
        return bk__rows_fail(err, r->path, line_of(r), "unexpected YAML, legal: %s", legal);
    BK_TRY(expect(r, YAML_DOCUMENT_END_EVENT, "one document", err));
    return expect(r, YAML_STREAM_END_EVENT, "one document", err);
}

int bk__rows_read_yaml(const char *path, const char *data, size_t nbytes, struct bk__rows *rows,
                       struct bk_error *err)
{
    struct reader r = { .path = path, .rows = rows };

    if (!yaml_parser_initialize(&r.parser))
        return bk_fail(err, BK_ENOMEM, "cannot read '%s': out of memory", path);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)data, nbytes);
    int rc = read_document(&r, err);
    drop_event(&r);
    yaml_parser_delete(&r.parser);
    return rc;
}

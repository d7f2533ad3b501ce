/*
 * cli/cli_list.c: `bosskit list [KIND]`: the plugins that were found, those that cannot work here, those refused.
 */
#include "cli/cli.h"
#include "cli/cli_backend.h"
#include "cli/cli_util.h"

#include <string.h>

struct listing {
    const struct bk_registry *r;
    uint32_t kind;              /* 0 = all */
    struct bk_text out;
};

static const struct bk__cli_opt opts[] = {
    { "json", 0, BK__CLI_FLAG, NULL, "print JSON" },
    { 0 },
};

static bool is_wanted(const struct listing *l, const struct bk_plugin *p)
{
    return !l->kind || p->kind == l->kind;
}

static int width_of_names(const struct listing *l)
{
    int width = 0;
    for (size_t i = 0; i < bk_registry_count(l->r); i++) {
        const struct bk_plugin *p = bk_registry_at(l->r, i)->plugin;
        int n = (int)(strlen(bk_kind_name(p->kind)) + 1 + strlen(p->name));
        if (is_wanted(l, p) && n > width)
            width = n;
    }
    return width;
}

/* The reason why a backend cannot work here, or "". */
static const char *unavailable(const struct listing *l, const struct bk_plugin *p, struct bk_error *err)
{
    if (p->kind == BK_KIND_BACKEND && bk__cli_probe(l->r, p->name, err))
        return err->text;
    return "";
}

static void list_text(struct listing *l)
{
    int width = width_of_names(l);
    for (size_t i = 0; i < bk_registry_count(l->r); i++) {
        const struct bk_plugin *p = bk_registry_at(l->r, i)->plugin;
        struct bk_error err = BK_ERROR_INIT;
        if (!is_wanted(l, p))
            continue;
        const char *kind = bk_kind_name(p->kind), *why = unavailable(l, p, &err);
        bk_text_addf(&l->out, "%s/%-*s  %-7s  %s\n", kind, width - (int)strlen(kind) - 1, p->name,
                     p->version, p->summary);
        if (why[0])
            bk_text_addf(&l->out, "%*s  not available here: %s\n", width, "", why);
    }
    for (size_t i = 0; i < bk_registry_refused_count(l->r); i++) {
        const struct bk_refused_plugin *f = bk_registry_refused_at(l->r, i);
        bk_text_addf(&l->out, "refused: %s: %s\n", f->path, f->reason);
    }
}

static void member(struct bk_text *t, const char *name, const char *value, bool first)
{
    bk_text_addf(t, "%s\"%s\": ", first ? "" : ", ", name);
    bk__cli_json_text(t, value);
}

static void list_json(struct listing *l)
{
    struct bk_text *t = &l->out;
    bool first = true;
    bk_text_add(t, "{\n  \"plugins\": [");
    for (size_t i = 0; i < bk_registry_count(l->r); i++) {
        const struct bk_found_plugin *f = bk_registry_at(l->r, i);
        struct bk_error err = BK_ERROR_INIT;
        if (!is_wanted(l, f->plugin))
            continue;
        const char *why = unavailable(l, f->plugin, &err);
        bk_text_add(t, first ? "\n    { " : ",\n    { ");
        first = false;
        member(t, "kind", bk_kind_name(f->plugin->kind), true);
        member(t, "name", f->plugin->name, false);
        member(t, "version", f->plugin->version, false);
        member(t, "summary", f->plugin->summary, false);
        member(t, "path", f->path, false);
        member(t, "digest", f->digest, false);
        bk_text_addf(t, ", \"available\": %s", why[0] ? "false" : "true");
        if (why[0])
            member(t, "reason", why, false);
        bk_text_add(t, " }");
    }
    bk_text_add(t, "\n  ],\n  \"refused\": [");
    for (size_t i = 0; i < bk_registry_refused_count(l->r); i++) {
        const struct bk_refused_plugin *f = bk_registry_refused_at(l->r, i);
        bk_text_add(t, i ? ",\n    { " : "\n    { ");
        member(t, "path", f->path, true);
        member(t, "reason", f->reason, false);
        bk_text_add(t, " }");
    }
    bk_text_add(t, "\n  ]\n}\n");
}

static int list(const struct bk__cli_args *args, struct bk_error *err)
{
    struct listing l = { NULL, 0, BK_TEXT_INIT };
    struct bk_registry *r;

    if (args->n > 1)
        return bk_fail(err, BK_EUSAGE, "list: at most one kind is wanted");
    if (args->n == 1) {
        l.kind = bk_kind_from_name(args->word[0]);
        if (!l.kind)
            return bk_fail(err, BK_EUSAGE, "list: unknown kind '%s', legal: space, trainer, rater, searcher, "
                           "sampler, dataset, backend", args->word[0]);
    }
    BK_TRY(bk__cli_registry(&r, err));
    l.r = r;
    if (bk__cli_count(args, "json"))
        list_json(&l);
    else
        list_text(&l);
    int rc = bk__cli_print(&l.out, err);
    bk_text_release(&l.out);
    bk_registry_close(r);
    return rc;
}

int bk__cli_list(int argc, char **argv, struct bk_error *err)
{
    struct bk__cli_args args;
    int rc = bk__cli_parse(argc, argv, opts, &args, err);
    if (rc == BK_OK && !args.helped)
        rc = list(&args, err);
    bk__cli_release(&args);
    return rc;
}

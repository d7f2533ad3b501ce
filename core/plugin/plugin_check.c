/*
 * plugin/plugin_check.c: is a descriptor complete and credible?
 *
 * Only data is read; nothing of the plugin runs. The host works on zero-extended copies, so that a plugin built
 * against an older minor version looks like one whose newer members are absent. Which members a kind cannot do
 * without is one table below.
 */
#include "plugin/loader.h"

#include <bosskit/backend.h>
#include <bosskit/method.h>
#include <string.h>

#define MAX_STRUCT_SIZE 4096
#define MAX_STATE_SIZE (1u << 28)

struct member {
    uint32_t kind, offset;
    const char *name;
};

#define MEMBER(kind, type, name) { BK_KIND_##kind, offsetof(struct type, name), #name }

/* clang-format off */
static const struct member required[] = {
    MEMBER(SPACE, bk_space_iface, info),        MEMBER(SPACE, bk_space_iface, choices),
    MEMBER(SPACE, bk_space_iface, exit),        MEMBER(SPACE, bk_space_iface, parse),
    MEMBER(SPACE, bk_space_iface, format),      MEMBER(SPACE, bk_space_iface, cost),
    MEMBER(SPACE, bk_space_iface, supernet),    MEMBER(SPACE, bk_space_iface, layer),
    MEMBER(SPACE, bk_space_iface, pool),        MEMBER(SPACE, bk_space_iface, alone),
    MEMBER(SPACE, bk_space_iface, alone_run),
    MEMBER(TRAINER, bk_trainer_iface, begin),   MEMBER(TRAINER, bk_trainer_iface, advance),
    MEMBER(TRAINER, bk_trainer_iface, save),    MEMBER(TRAINER, bk_trainer_iface, load),
    MEMBER(TRAINER, bk_trainer_iface, result),  MEMBER(TRAINER, bk_trainer_iface, end),
    MEMBER(SAMPLER, bk_sampler_iface, sample),
    MEMBER(DATASET, bk_dataset_iface, open),    MEMBER(DATASET, bk_dataset_iface, info),
    MEMBER(DATASET, bk_dataset_iface, split),
    MEMBER(BACKEND, bk_backend_iface, probe),   MEMBER(BACKEND, bk_backend_iface, open),
    MEMBER(BACKEND, bk_backend_iface, close),   MEMBER(BACKEND, bk_backend_iface, info),
    MEMBER(BACKEND, bk_backend_iface, alloc),   MEMBER(BACKEND, bk_backend_iface, dealloc),
    MEMBER(BACKEND, bk_backend_iface, copy_in), MEMBER(BACKEND, bk_backend_iface, copy_out),
    MEMBER(BACKEND, bk_backend_iface, copy),    MEMBER(BACKEND, bk_backend_iface, zero),
    MEMBER(BACKEND, bk_backend_iface, supports), MEMBER(BACKEND, bk_backend_iface, run),
    MEMBER(BACKEND, bk_backend_iface, synchronize),
};

/* Size of each kind's table as this host knows it, by kind number. */
static const size_t table_size[] = {
    [BK_KIND_SPACE] = sizeof(struct bk_space_iface),       [BK_KIND_TRAINER] = sizeof(struct bk_trainer_iface),
    [BK_KIND_RATER] = sizeof(struct bk_rater_iface),       [BK_KIND_SEARCHER] = sizeof(struct bk_searcher_iface),
    [BK_KIND_SAMPLER] = sizeof(struct bk_sampler_iface),   [BK_KIND_DATASET] = sizeof(struct bk_dataset_iface),
    [BK_KIND_BACKEND] = sizeof(struct bk_backend_iface),
};
/* clang-format on */

bool bk__is_plugin_name(const char *s)
{
    size_t n = strlen(s);
    return n >= 1 && n <= 63 && s[0] >= 'a' && s[0] <= 'z' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

/* Bytes that a newer minor version appended must be zero for this host to understand the rest. */
static int check_size(const void *p, size_t known, size_t least, const char *what,
                      struct bk_error *err)
{
    uint32_t size;
    memcpy(&size, p, sizeof size);
    if (size < least || size > MAX_STRUCT_SIZE)
        return bk_fail(err, BK_EPLUGIN, "%s has struct_size %u, wanted %zu..%d", what,
                       (unsigned)size, least, MAX_STRUCT_SIZE);
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)p)[i])
            return bk_fail(err, BK_EPLUGIN, "%s uses members that this bosskit does not know (byte %zu "
                           "of %u); upgrade bosskit", what, i, (unsigned)size);
    return BK_OK;
}

static void copy_struct(void *to, const void *from, size_t known)
{
    uint32_t size;
    memcpy(&size, from, sizeof size);
    memset(to, 0, known);
    memcpy(to, from, size < known ? size : known);
}

static bool is_set(const void *table, uint32_t offset)
{
    void (*member)(void);
    memcpy(&member, (const char *)table + offset, sizeof member);
    return member != NULL;
}

static int missing(const char *what, struct bk_error *err)
{
    return bk_fail(err, BK_EPLUGIN, "its table lacks the required member '%s'", what);
}

static int check_rater(const struct bk_rater_iface *t, struct bk_error *err)
{
    if (!(t->flags & (BK_RATER_BLOCKS | BK_RATER_ARCHS)))
        return bk_fail(err, BK_EPLUGIN, "its flags have neither BK_RATER_BLOCKS nor BK_RATER_ARCHS");
    if (t->better != BK_LOWER_IS_BETTER && t->better != BK_HIGHER_IS_BETTER)
        return bk_fail(err, BK_EPLUGIN, "its member 'better' is %u, legal: BK_LOWER_IS_BETTER | "
                       "BK_HIGHER_IS_BETTER", (unsigned)t->better);
    if ((t->flags & BK_RATER_BLOCKS) && !t->rate_block)
        return missing("rate_block", err);
    if ((t->flags & BK_RATER_ARCHS) && !t->rate_archs)
        return missing("rate_archs", err);
    return BK_OK;
}

static int check_searcher(const struct bk_searcher_iface *t, struct bk_error *err)
{
    bool all = t->begin_block && t->ask_paths && t->tell_paths && t->solve;
    if (!all && (t->begin_block || t->ask_paths || t->tell_paths))
        return missing("all of 'solve, begin_block, ask_paths, tell_paths", err);
    if (t->solve || (t->begin && t->ask && t->tell && t->best))
        return BK_OK;
    return missing("solve' or all of 'begin, ask, tell, best", err);
}

static int check_table(uint32_t kind, const void *table, struct bk_error *err)
{
    for (size_t i = 0; i < BK_ARRAY_LEN(required); i++)
        if (required[i].kind == kind && !is_set(table, required[i].offset))
            return missing(required[i].name, err);
    if (kind == BK_KIND_RATER)
        return check_rater(table, err);
    if (kind == BK_KIND_SEARCHER)
        return check_searcher(table, err);
    return BK_OK;
}

static int check_descriptor(const struct bk_plugin *p, struct bk_error *err)
{
    if (!bk_kind_name(p->kind))
        return bk_fail(err, BK_EPLUGIN, "unknown kind %u, legal: 1..%u", (unsigned)p->kind,
                       (unsigned)BK_KIND_BACKEND);
    if (!p->name || !bk__is_plugin_name(p->name))
        return bk_fail(err, BK_EPLUGIN, "bad %s name '%.80s', legal: a lower-case letter, then letters, "
                       "digits and '_'", bk_kind_name(p->kind), p->name ? p->name : "");
    if (!p->version || !p->summary)
        return bk_fail(err, BK_EPLUGIN, "%s '%s': version or summary is missing",
                       bk_kind_name(p->kind), p->name);
    if (p->state_size > MAX_STATE_SIZE)
        return bk_fail(err, BK_EPLUGIN, "%s '%s': state_size %u is over %u", bk_kind_name(p->kind),
                       p->name, (unsigned)p->state_size, MAX_STATE_SIZE);
    if (p->flags)
        return bk_fail(err, BK_EPLUGIN, "%s '%s': unknown flags %#x", bk_kind_name(p->kind),
                       p->name, (unsigned)p->flags);
    return BK_OK;
}

static int check_iface(struct bk_plugin *p, struct bk_error *err)
{
    size_t known = table_size[p->kind];
    if (!p->iface)
        return bk_fail(err, BK_EPLUGIN, "its table 'iface' is missing");
    BK_TRY(check_size(p->iface, known, 2 * sizeof(uint32_t), "its table", err));
    void *copy = bk_alloc(known);
    if (!copy)
        return bk_fail(err, BK_ENOMEM, "out of memory");
    copy_struct(copy, p->iface, known);
    p->iface = copy;
    return check_table(p->kind, copy, err);
}

int bk__plugin_check(const struct bk_plugin *theirs, struct bk_plugin **out, struct bk_error *err)
{
    BK_TRY(check_size(theirs, sizeof *theirs, sizeof *theirs, "a plugin descriptor", err));
    struct bk_plugin *p = bk_alloc(sizeof *p);
    if (!p)
        return bk_fail(err, BK_ENOMEM, "out of memory");
    copy_struct(p, theirs, sizeof *p);
    int rc = check_descriptor(p, err);
    if (rc == BK_OK) {
        rc = bk__options_check(p->options, p->state_size, err);
        if (rc == BK_OK)
            rc = check_iface(p, err);
        if (rc)
            bk_context(err, "%s '%s'", bk_kind_name(p->kind), p->name);
    }
    if (rc) {
        if (p->iface == theirs->iface)
            p->iface = NULL;
        bk__plugin_free(p);
        return rc;
    }
    *out = p;
    return BK_OK;
}

void bk__plugin_free(struct bk_plugin *p)
{
    if (!p)
        return;
    bk_free((void *)(uintptr_t)p->iface);
    bk_free(p);
}

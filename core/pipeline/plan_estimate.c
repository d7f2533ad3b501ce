/*
 * How long and how large a stage will be, from what its like took before: stages in the store of the same kind, plugin,
 * space, block, backend, device and dtype, of which the one with the fewest different options is taken. Time grows with
 * the stage's work (images and epochs, paths and images, multiply-adds); what else changes it is not known here, so these
 * are orders of magnitude, and "unknown" where nothing like it was made.
 */
#include "pipeline/plan.h"

#include <math.h>
#include <string.h>

/** The part of the identity that does the stage's work. */
static const char *part_of(enum bk_stage_kind kind)
{
    switch (kind) {
    case BK_STAGE_TRAIN:
        return "trainer";
    case BK_STAGE_SEARCH:
        return "searcher";
    case BK_STAGE_ALONE:
    case BK_STAGE_RETRAIN:
    case BK_STAGE_TEST:
        return NULL;
    default:
        return "rater";
    }
}

struct estimating {
    const struct bk_stage *s;
    struct bk_estimate best;
};

static bool same(const json_t *a, const json_t *b, const char *key)
{
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    return x && y ? json_equal(x, y) : !x && !y;
}

static bool same_plugin(const json_t *a, const json_t *b, const char *part)
{
    return same(json_object_get(a, part), json_object_get(b, part), "plugin");
}

/** Options that differ, but for those that `work` accounts for. */
static int different_options(const json_t *a, const json_t *b)
{
    const char *name;
    json_t *value;
    int n = 0;
    json_object_foreach((json_t *)a, name, value) {
        if (strcmp(name, "epochs") != 0)
            n += !json_equal(value, json_object_get(b, name));
    }
    return n;
}

static const json_t *options_of(const json_t *identity, const char *part)
{
    return part ? json_object_get(json_object_get(identity, part), "options") : json_object_get(identity, "recipe");
}

static void see(void *user, const json_t *identity, const json_t *made)
{
    struct estimating *x = user;
    const struct bk_stage *s = x->s;
    const char *part = part_of(s->kind), *device = json_string_value(json_object_get(made, "device"));
    double seconds = json_number_value(json_object_get(made, "seconds"));
    double work = json_number_value(json_object_get(made, "work"));
    double bytes = (double)json_integer_value(json_object_get(made, "peak_bytes"));

    if (work <= 0 || s->work <= 0 || !device || strcmp(device, s->setting->device) != 0)
        return;
    if ((part && !same_plugin(identity, s->identity, part)) || !same_plugin(identity, s->identity, "backend") ||
        !same_plugin(identity, s->identity, "space") || !same(identity, s->identity, "block") ||
        !same(identity, s->identity, "dtype") || !same(identity, s->identity, "rate_every"))
        return;
    if (!same(json_object_get(identity, "space"), json_object_get(s->identity, "space"), "options"))
        return;
    int different = different_options(options_of(s->identity, part), options_of(identity, part));
    if (isfinite(x->best.seconds) && different >= x->best.n_different)
        return;
    x->best = (struct bk_estimate){ seconds * s->work / work, bytes > 0 ? bytes : NAN, different };
}

void bk__stage_estimate(const struct bk_plan *p, const struct bk_stage *s, struct bk_estimate *out)
{
    struct estimating x = { s, { NAN, NAN, 0 } };
    bk_store_scan(p->store, bk_stage_kind_name(s->kind), see, &x);
    *out = x.best;
}

void bk__estimate_text(const struct bk_estimate *e, struct bk_text *out)
{
    double s = e->seconds;
    if (!isfinite(s))
        bk_text_add(out, "time unknown");
    else if (s < 1)
        bk_text_add(out, "under a second");
    else if (s < 100)
        bk_text_addf(out, "about %.0f s", s);
    else if (s < 100 * 60)
        bk_text_addf(out, "about %.0f min", s / 60);
    else
        bk_text_addf(out, "about %.1f h", s / 3600);
    if (isfinite(e->peak_bytes))
        bk_text_addf(out, ", %.0f MiB", e->peak_bytes / (1 << 20));
    if (isfinite(s) && e->n_different)
        bk_text_addf(out, " (by a stage with %d other option%s)", e->n_different, e->n_different > 1 ? "s" : "");
}

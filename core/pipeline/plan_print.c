/*
 * The plan as text: every row with its stages, whether they are in the store, and if not, why. Stages of stand-alone
 * training are many and alike, so they are summed up.
 */
#include "pipeline/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct counts {
    size_t hit, resume, run;
    double seconds;             /* estimate of what runs, without the stages nothing is known of */
    size_t unknown;
};

static void count(struct counts *c, const struct bk_stage *s)
{
    c->hit += s->state == BK_STAGE_HIT;
    c->resume += s->state == BK_STAGE_RESUME;
    c->run += s->state == BK_STAGE_RUN;
}

/** Add the estimate of a stage that will be made; `text` gets it in words. */
static void add_estimate(const struct bk_plan *p, const struct bk_stage *s, struct counts *c, struct bk_text *text)
{
    struct bk_estimate e;
    bk__stage_estimate(p, s, &e);
    if (isfinite(e.seconds))
        c->seconds += e.seconds;
    else
        c->unknown++;
    bk__estimate_text(&e, text);
}

static size_t index_of(const struct bk_plan *p, const struct bk_stage *s)
{
    size_t i = 0;
    while (i < p->n_stages && p->stage[i] != s)
        i++;
    return i;
}

/** "inputs" and other hashes say nothing to a reader. */
static void explain(const struct bk_plan *p, const struct bk_stage *s, struct bk_text *out)
{
    for (int i = s->n_in; i-- > 0;) {   /* the nearest input is the last one */
        if (s->in[i]->state != BK_STAGE_HIT) {
            bk_text_addf(out, "needs '%s'", s->in[i]->label);
            return;
        }
    }
    bk_store_explain(p->store, bk_stage_kind_name(s->kind), s->identity, out);
}

static void print_stage(const struct bk_plan *p, const struct bk_plan_row *r, const bool *needed, const struct bk_stage *s,
                        struct counts *c, struct bk_text *out)
{
    struct bk_text why = BK_TEXT_INIT, time = BK_TEXT_INIT;
    const char *state = bk_stage_state_name(s->state);
    bool first = s->row == r->row, runs = s->state != BK_STAGE_HIT && needed[index_of(p, s)];

    if (s->state == BK_STAGE_RUN && !needed[index_of(p, s)])
        state = "-";
    if (r->pending && s->state == BK_STAGE_RUN)
        bk_text_add(&why, "the images are not imported yet, which the first run does");
    else if (s->state == BK_STAGE_RUN && needed[index_of(p, s)])
        explain(p, s, &why);
    else if (s->state == BK_STAGE_RUN)
        bk_text_add(&why, "not needed: what is made from it is cached");
    else if (s->state == BK_STAGE_RESUME)
        bk_text_add(&why, "a checkpoint is there");
    if (runs && first)
        add_estimate(p, s, c, &time);
    bk_text_addf(out, "  %-6s  %-44s  %.12s  %s%s%s%s%s", state, s->label, r->pending ? "------------" : s->key, s->size,
                 why.len && s->size[0] ? "; " : "", bk_text_get(&why), time.len ? "; " : "", bk_text_get(&time));
    if (first)
        bk_text_add(out, "\n");
    else
        bk_text_addf(out, "  (shared with row '%s')\n", s->row->name);
    bk_text_release(&why);
    bk_text_release(&time);
}

static void print_alone(const struct bk_plan *p, const struct bk_plan_row *r, struct counts *sum, struct bk_text *out)
{
    const struct bk_truth_set *t = r->truth;
    struct counts c = { 0 };
    struct bk_text why = BK_TEXT_INIT;
    const struct bk_stage *first = NULL;
    struct bk_estimate e = { NAN, NAN, 0 };
    double work = 0;

    for (size_t i = 0; i < t->n; i++) {
        count(&c, t->alone[i]);
        if (t->alone[i]->state != BK_STAGE_HIT)
            work += t->alone[i]->work;
        if (!first && t->alone[i]->state != BK_STAGE_HIT)
            first = t->alone[i];
    }
    if (first && first->state == BK_STAGE_RUN)
        explain(p, first, &why);
    if (first) {                /* they are alike: one is looked up, all are scaled */
        bk__stage_estimate(p, first, &e);
        e.seconds *= work / first->work;
        bk_text_add(&why, why.len ? "; " : "");
        bk__estimate_text(&e, &why);
    }
    if (first && first->row == r->row) {
        sum->seconds += isfinite(e.seconds) ? e.seconds : 0;
        sum->unknown += isfinite(e.seconds) ? 0 : c.run + c.resume;
    }
    bk_text_addf(out, "  %-6s  alone: %zu architectures trained alone (%zu cached, %zu to continue, %zu to run",
                 c.run ? "RUN" : c.resume ? "RESUME" : "HIT", t->n, c.hit, c.resume, c.run);
    if (first)
        bk_text_addf(out, "; first %s, %s; %s", first->arch, first->size, bk_text_get(&why));
    bk_text_add(out, ")\n");
    bk_text_release(&why);
}

static void print_row(const struct bk_plan *p, const bool *needed, const struct bk_plan_row *r, struct counts *c,
                      struct bk_text *out)
{
    const struct bk_setting *set = &r->setting;

    if (!bk_row_rates(r->row) && !r->retrain) {
        bk_text_addf(out, "row '%s': %s\n", r->row->name,
                     r->row->top.quoted ? "published values alone" : "architectures to draw and price");
        return;
    }
    bk_text_addf(out, "row '%s': backend %s (%s), %s, seed %lld", r->row->name, set->backend, set->device,
                 bk_dtype_name(set->dtype), (long long)r->row->top.seed);
    if (r->supernet != r)
        bk_text_addf(out, ", supernet of row '%s'", r->supernet->row->name);
    bk_text_add(out, "\n");
    for (int k = 0; k < BK_MAX_BLOCKS; k++) {
        if (r->train[k])
            print_stage(p, r, needed, r->train[k], c, out);
        if (r->rate[k])
            print_stage(p, r, needed, r->rate[k], c, out);
    }
    if (r->score)
        print_stage(p, r, needed, r->score, c, out);
    if (r->search)
        print_stage(p, r, needed, r->search, c, out);
    if (r->truth && r->truth->alone)
        print_alone(p, r, c, out);
    else if (r->truth && r->truth->n)
        bk_text_addf(out, "          truth: %zu architectures from '%s'\n", r->truth->n, r->row->truth.file);
    if (r->retrain) {
        print_stage(p, r, needed, r->retrain, c, out);
        print_stage(p, r, needed, r->test, c, out);
    }
    for (int32_t i = 0; i < r->row->n_baselines; i++) {
        if (r->baseline[i])
            print_stage(p, r, needed, r->baseline[i], c, out);
    }
}

static void print_total(const struct counts *c, struct bk_text *out)
{
    size_t known = c->run + c->resume - c->unknown;
    bk_text_add(out, "estimate: ");
    if (known)
        bk__estimate_text(&(struct bk_estimate){ .seconds = c->seconds, .peak_bytes = NAN }, out);
    if (known && c->unknown)
        bk_text_addf(out, " for %zu of the %zu stages, ", known, known + c->unknown);
    if (c->unknown)
        bk_text_addf(out, "%zu stages unlike anything made here, their time is unknown", c->unknown);
    bk_text_add(out, "\n");
}

int bk_plan_print(const struct bk_plan *p, struct bk_text *out, struct bk_error *err)
{
    struct counts c = { 0 };
    bool *needed = bk_zalloc((p->n_stages + 1) * sizeof *needed);

    if (!needed)
        return bk_fail(err, BK_ENOMEM, "out of memory for the plan");
    bk__plan_needed(p, needed);
    for (size_t i = 0; i < p->n_rows; i++)
        print_row(p, needed, &p->row[i], &c, out);
    for (size_t i = 0; i < p->n_stages; i++) {
        if (needed[i] || p->stage[i]->state == BK_STAGE_HIT)
            count(&c, p->stage[i]);
    }
    bk_text_addf(out, "%zu stages: %zu HIT, %zu RESUME, %zu RUN; store: %s\n", c.hit + c.resume + c.run, c.hit, c.resume,
                 c.run, bk_store_root(p->store));
    if (c.run + c.resume)
        print_total(&c, out);
    bk_free(needed);
    return BK_OK;
}

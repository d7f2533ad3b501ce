/*
 * The plan as text: every row with its stages, whether they are in the store, and if not, why. Stages of stand-alone
 * training are many and alike, so they are summed up.
 */
#include "pipeline/run.h"

#include <stdio.h>
#include <string.h>

struct counts {
    size_t hit, resume, run;
};

static void count(struct counts *c, const struct bk_stage *s)
{
    c->hit += s->state == BK_STAGE_HIT;
    c->resume += s->state == BK_STAGE_RESUME;
    c->run += s->state == BK_STAGE_RUN;
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

static void print_stage(const struct bk_plan *p, const bool *needed, const struct bk_stage *s, const char *shared,
                        struct bk_text *out)
{
    struct bk_text why = BK_TEXT_INIT;
    const char *state = bk_stage_state_name(s->state);

    if (s->state == BK_STAGE_RUN && !needed[index_of(p, s)])
        state = "-";
    if (s->state == BK_STAGE_RUN && needed[index_of(p, s)])
        explain(p, s, &why);
    else if (s->state == BK_STAGE_RUN)
        bk_text_add(&why, "not needed: what is made from it is cached");
    else if (s->state == BK_STAGE_RESUME)
        bk_text_add(&why, "a checkpoint is there");
    bk_text_addf(out, "  %-6s  %-44s  %.12s  %s%s%s%s\n", state, s->label, s->key, s->size,
                 why.len && s->size[0] ? "; " : "", bk_text_get(&why), shared);
    bk_text_release(&why);
}

static void print_alone(const struct bk_plan *p, const struct bk_truth_set *t, struct bk_text *out)
{
    struct counts c = { 0 };
    struct bk_text why = BK_TEXT_INIT;
    const struct bk_stage *first = NULL;

    for (size_t i = 0; i < t->n; i++) {
        count(&c, t->alone[i]);
        if (!first && t->alone[i]->state == BK_STAGE_RUN)
            first = t->alone[i];
    }
    if (first)
        explain(p, first, &why);
    bk_text_addf(out, "  %-6s  alone: %zu architectures trained alone (%zu cached, %zu to continue, %zu to run",
                 c.run ? "RUN" : c.resume ? "RESUME" : "HIT", t->n, c.hit, c.resume, c.run);
    if (first)
        bk_text_addf(out, "; first %s, %s; %s", first->arch, first->size, bk_text_get(&why));
    bk_text_add(out, ")\n");
    bk_text_release(&why);
}

static const char *shared_with(const struct bk_plan_row *r, const struct bk_stage *s, char buf[200])
{
    buf[0] = 0;
    if (s->row != r->row)
        snprintf(buf, 200, "  (shared with row '%.150s')", s->row->name);
    return buf;
}

static void print_row(const struct bk_plan *p, const bool *needed, const struct bk_plan_row *r, struct bk_text *out)
{
    const struct bk_setting *set = &r->setting;
    char buf[200];

    bk_text_addf(out, "row '%s': backend %s (%s), %s, seed %lld\n", r->row->name, set->backend, set->device,
                 bk_dtype_name(set->dtype), (long long)r->row->top.seed);
    for (int k = 0; k < BK_MAX_BLOCKS; k++) {
        if (r->train[k])
            print_stage(p, needed, r->train[k], shared_with(r, r->train[k], buf), out);
        if (r->rate[k])
            print_stage(p, needed, r->rate[k], shared_with(r, r->rate[k], buf), out);
    }
    if (r->score)
        print_stage(p, needed, r->score, shared_with(r, r->score, buf), out);
    if (r->search)
        print_stage(p, needed, r->search, shared_with(r, r->search, buf), out);
    if (r->truth->alone)
        print_alone(p, r->truth, out);
    else
        bk_text_addf(out, "          truth: %zu architectures from '%s'\n", r->truth->n, r->row->truth.file);
    for (int32_t i = 0; i < r->row->n_baselines; i++) {
        if (r->baseline[i])
            print_stage(p, needed, r->baseline[i], shared_with(r, r->baseline[i], buf), out);
    }
}

int bk_plan_print(const struct bk_plan *p, struct bk_text *out, struct bk_error *err)
{
    struct counts c = { 0 };
    bool *needed = bk_zalloc((p->n_stages + 1) * sizeof *needed);

    if (!needed)
        return bk_fail(err, BK_ENOMEM, "out of memory for the plan");
    bk__plan_needed(p, needed);
    for (size_t i = 0; i < p->n_rows; i++)
        print_row(p, needed, &p->row[i], out);
    for (size_t i = 0; i < p->n_stages; i++) {
        if (needed[i] || p->stage[i]->state == BK_STAGE_HIT)
            count(&c, p->stage[i]);
    }
    bk_text_addf(out, "%zu stages: %zu HIT, %zu RESUME, %zu RUN; store: %s\n", c.hit + c.resume + c.run, c.hit, c.resume,
                 c.run, bk_store_root(p->store));
    bk_free(needed);
    return BK_OK;
}

/*
 * The executor: brings stages into the store one after the other, each in a process of its own. Only what the results
 * need is made: a trained supernet whose ratings are cached is not trained again. A failed stage fails what depends on
 * it and nothing else.
 */
#define _GNU_SOURCE
#include "pipeline/child.h"
#include "pipeline/run.h"

#include <bosskit/file.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct runner {
    struct bk_plan *plan;
    struct bk_events *events;
    int n_todo, n_started;
};

/* ---- what a stage reads ------------------------------------------------------------------------------------- */

static bool rater_needs_data(const struct bk_stage *s)
{
    const struct bk_instance *r = s->baseline ? s->baseline->rater : s->row->part[BK_SLOT_RATER];
    const struct bk_rater_iface *iface = bk_instance_iface(r);
    return (iface->flags & (BK_RATER_NEEDS_DATA | BK_RATER_NEEDS_TRAINED)) != 0;
}

static char *output(const struct bk_stage *s, const char *file)
{
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%s/%s", s->dir, file);
    return bk_text_take(&t);
}

static json_t *output_json(const struct bk_stage *s, const char *file)
{
    char *path = output(s, file);
    json_t *o = path ? json_string(path) : NULL;
    bk_free(path);
    return o;
}

/** Best paths of the blocks before, as text: those among the inputs. A search has those that its last table was made behind. */
static json_t *prefix_json(const struct bk_stage *s)
{
    json_t *a = json_array();
    for (int i = s->kind == BK_STAGE_SEARCH ? s->n_in : 0; i-- > 0;) {
        if (s->in[i]->kind == BK_STAGE_RATE) {
            s = s->in[i];
            break;
        }
    }
    for (int i = 0; i < s->n_in; i++) {
        char text[BK_MAX_LAYERS + 1];
        if (s->in[i]->kind != BK_STAGE_RATE)
            continue;
        bk_path_format(&s->in[i]->best, text);
        json_array_append_new(a, json_string(text));
    }
    return a;
}

/** `file` of every input of `kind`, block by block. */
static json_t *outputs_json(const struct bk_stage *s, enum bk_stage_kind kind, const char *file)
{
    json_t *a = json_array();
    for (int i = 0; i < s->n_in; i++) {
        if (s->in[i]->kind == kind)
            json_array_append_new(a, output_json(s->in[i], file));
    }
    return a;
}

static json_t *archs_json(const struct bk_truth_set *t)
{
    json_t *a = json_array();
    for (size_t i = 0; i < t->n; i++)
        json_array_append_new(a, json_string(t->text[i]));
    return a;
}

/** The members of the specification that depend on the stage. */
static json_t *stage_json(const struct bk_stage *s)
{
    bool tables = s->kind == BK_STAGE_SEARCH && s->n_in > 0 && !bk_row_evolves(s->row);      /* no rater is asked */
    bool data = s->kind == BK_STAGE_TRAIN || s->kind == BK_STAGE_ALONE || s->kind == BK_STAGE_RETRAIN ||
                s->kind == BK_STAGE_TEST || (!tables && rater_needs_data(s));
    json_t *o = json_pack("{s:s,s:i,s:i,s:b,s:b,s:o}", "stage", bk_stage_kind_name(s->kind), "block", (int)s->block,
                          "n_classes", (int)s->n_classes, "needs_data", (int)data, "needs_device",
                          (int)!tables, "prefix", prefix_json(s));
    if (!o)
        return NULL;
    for (int i = 0; i < s->n_in && s->kind != BK_STAGE_SEARCH; i++) {
        if (s->in[i]->kind == BK_STAGE_TRAIN)
            json_object_set_new(o, s->kind == BK_STAGE_TRAIN ? "previous" : "trained",
                                output_json(s->in[i], "trained.safetensors"));
    }
    if (s->kind == BK_STAGE_SEARCH) {
        json_object_set_new(o, "ratings", outputs_json(s, BK_STAGE_RATE, "ratings.csv"));
        json_object_set_new(o, "trained", outputs_json(s, BK_STAGE_TRAIN, "trained.safetensors"));
    }
    if (s->kind == BK_STAGE_RETRAIN && !s->arch)
        json_object_set_new(o, "found", output_json(s->in[0], "found.json"));
    if (s->kind == BK_STAGE_TEST)
        json_object_set_new(o, "retrained", json_string(s->in[0]->dir));
    if (s->kind == BK_STAGE_SCORE)
        json_object_set_new(o, "archs", archs_json(s->truth));
    if (s->baseline)
        json_object_set_new(o, "baseline", json_string(s->baseline->name));
    if (s->arch)
        json_object_set_new(o, "arch", json_string(s->arch));
    return o;
}

/* ---- after a stage -------------------------------------------------------------------------------------------- */

static int take_reliability(struct bk_stage *s, struct bk_error *err)
{
    static const char *const name[] = { "reliability" };
    char *path = output(s, BK__RELIABILITY_FILE);
    int rc = path ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for ratings");

    if (!rc && bk_file_exists(path)) {
        rc = bk__pairs_read(path, name, &s->table.reliability, 1, err);
        s->table.has_reliability = !rc;
    }
    bk_free(path);
    return rc;
}

/** Ratings of a block and its best path, of equals the first in order of enumeration; or the path that stands in for it. */
static int take_ratings(struct bk_stage *s, struct bk_error *err)
{
    struct bk_path prefix[BK_MAX_BLOCKS] = { { 0 } };
    uint32_t better = bk_row_rater(s->row)->better;
    char *path = output(s, "ratings.csv");
    size_t best = 0;

    for (int i = 0; i < s->n_in; i++) {
        if (s->in[i]->kind == BK_STAGE_RATE)
            prefix[s->in[i]->block] = s->in[i]->best;
    }
    int rc = path ? bk_ratings_read(path, &s->row->space, s->block, bk_space_entry(&s->row->space, s->block, prefix),
                                    &s->table, err)
                  : bk_fail(err, BK_ENOMEM, "out of memory for ratings");
    bk_free(path);
    if (!rc)
        rc = take_reliability(s, err);
    if (rc)
        return rc;
    for (size_t i = 1; i < s->table.n; i++) {
        double a = s->table.score[i], b = s->table.score[best];
        if (better == BK_HIGHER_IS_BETTER ? a > b : a < b)
            best = i;
    }
    if (s->table.n)
        s->best = s->row->trainer.has_prefix ? s->row->trainer.fixed.block[s->block] : s->table.path[best];
    return BK_OK;
}

static int take_published(struct bk_stage *s, struct bk_claim *c, struct bk_error *err)
{
    s->dir = c->dir;
    c->dir = NULL;
    return s->kind == BK_STAGE_RATE ? take_ratings(s, err) : BK_OK;
}

/* ---- running one stage ------------------------------------------------------------------------------------------ */

/** How the stage was made. One that was resumed took only part of its time here: its work counts for no estimate. */
static json_t *made_json(const struct bk_stage *s, int64_t peak_bytes, bool resumed)
{
    char host[128] = "", date[32] = "";
    time_t now = time(NULL);
    struct tm tm;
    (void)gethostname(host, sizeof host - 1);
    if (gmtime_r(&now, &tm))
        (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_pack("{s:f,s:f,s:I,s:s,s:s,s:s,s:s,s:s}", "seconds", s->seconds, "work", resumed ? 0.0 : s->work,
                     "peak_bytes", (json_int_t)peak_bytes, "host", host, "date", date, "bosskit", BK_VERSION, "device",
                     s->setting->device, "libraries", s->setting->libraries);
}

static int compute(struct runner *r, struct bk_stage *s, struct bk_claim *c, struct bk_error *err)
{
    json_t *extra = stage_json(s);
    bool resumed = c->state == BK_STAGE_RESUME;
    struct bk_meter meter;
    struct bk_child child = { .keep_fd = c->lock, .progress = bk__meter_update, .user = &meter };
    char *spec = NULL, title[200];
    double started = bk_now();
    int rc = extra ? bk__spec_write(c->dir, r->plan->registry, s->row, s->setting, r->plan->data_cache, extra, &spec, err)
                   : bk_fail(err, BK_ENOMEM, "out of memory for a stage");

    json_decref(extra);
    child.spec_path = spec;
    snprintf(title, sizeof title, "[%d/%d] %s", ++r->n_started, r->n_todo, s->label);
    if (!rc) {
        bk_log(BK_LOG_INFO, "%s%s", title, c->state == BK_STAGE_RESUME ? ", from a checkpoint" : "");
        bk__meter_start(&meter, title);
        rc = bk__child_run(&child, err);
        bk__meter_stop(&meter);
    }
    s->seconds = bk_now() - started;
    bk_free(child.result);
    bk_free(spec);
    if (!rc) {
        json_t *made = made_json(s, child.peak_bytes, resumed);
        rc = bk_store_publish(c, s->identity, made, err);
        json_decref(made);
    }
    return rc;
}

static void note_event(struct runner *r, const struct bk_stage *s, enum bk_stage_state state)
{
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:f}", "event", "stage", "stage", s->label, "key", s->key, "state",
                          s->error.code ? "FAILED" : bk_stage_state_name(state), "seconds", s->seconds);
    if (o && s->error.code)
        json_object_set_new(o, "error", json_string(s->error.text));
    bk__events_add(r->events, o);
}

static int ensure(struct runner *r, struct bk_stage *s, struct bk_error *err);

/** Inputs first; a failed one fails this stage with its reason. */
static int ensure_inputs(struct runner *r, struct bk_stage *s, bool all, struct bk_error *err)
{
    for (int i = 0; i < s->n_in; i++) {
        if (!all && s->in[i]->kind == BK_STAGE_TRAIN)
            continue;
        int rc = ensure(r, s->in[i], err);
        if (rc == BK_EINTERRUPTED)
            return rc;
        if (rc)
            return bk_fail(err, rc, "needs '%s', which failed", s->in[i]->label);
    }
    return BK_OK;
}

static int make(struct runner *r, struct bk_stage *s, struct bk_error *err)
{
    struct bk_claim c = BK_CLAIM_INIT;
    const char *kind = bk_stage_kind_name(s->kind);
    bool hit = bk_store_look(r->plan->store, kind, s->key, true) == BK_STAGE_HIT;
    enum bk_stage_state state;

    BK_TRY(ensure_inputs(r, s, !hit, err));
    BK_TRY(bk_store_claim(r->plan->store, kind, s->key, bk__interrupted, &c, err));
    state = c.state;
    s->cached = state == BK_STAGE_HIT;
    int rc = s->cached ? BK_OK : ensure_inputs(r, s, true, err);
    if (!rc && !s->cached)
        rc = compute(r, s, &c, err);
    if (!rc)
        rc = take_published(s, &c, err);
    bk_claim_release(&c);
    if (!rc)
        note_event(r, s, state);
    return rc;
}

static int ensure(struct runner *r, struct bk_stage *s, struct bk_error *err)
{
    if (s->error.code)
        return bk_fail(err, s->error.code, "%s", s->error.text);
    if (s->dir)
        return BK_OK;
    if (bk__interrupted())
        return bk_fail(err, BK_EINTERRUPTED, "interrupted; the same command continues");
    int rc = make(r, s, err);
    if (rc && rc != BK_EINTERRUPTED) {
        s->error.code = rc;
        snprintf(s->error.text, sizeof s->error.text, "%s", err->text);
        bk_log(BK_LOG_ERROR, "%s: %s", s->label, s->error.text);
        note_event(r, s, BK_STAGE_RUN);
    }
    return rc;
}

/* ---- all stages --------------------------------------------------------------------------------------------------- */

void bk__plan_needed(const struct bk_plan *p, bool *needed)
{
    for (size_t i = p->n_stages; i-- > 0;) {
        const struct bk_stage *s = p->stage[i];
        needed[i] = s->kind != BK_STAGE_TRAIN || bk_row_rate_every(s->row);
        for (size_t j = i + 1; j < p->n_stages && !needed[i]; j++) {
            for (int k = 0; k < p->stage[j]->n_in; k++)
                needed[i] = needed[i] || (p->stage[j]->in[k] == s && needed[j] && p->stage[j]->state != BK_STAGE_HIT);
        }
    }
}

static int take_truth(struct bk_plan *p, struct bk_error *err)
{
    for (size_t i = 0; i < p->n_truths; i++) {
        struct bk_truth_set *t = p->truth[i];
        for (size_t j = 0; t->alone && j < t->n; j++) {
            const char *name = t->text[j];
            if (t->alone[j]->error.code)
                continue;
            char *path = output(t->alone[j], "result.csv");
            int rc = path ? bk__pairs_read(path, &name, &t->value[j], 1, err)
                          : bk_fail(err, BK_ENOMEM, "out of memory for the truth table");
            bk_free(path);
            BK_TRY(rc);
        }
    }
    return BK_OK;
}

int bk_plan_run(struct bk_plan *p, struct bk_events *events, struct bk_error *err)
{
    struct runner r = { .plan = p, .events = events };
    struct bk_error scratch = BK_ERROR_INIT;
    bool *needed = bk_zalloc((p->n_stages + 1) * sizeof *needed);

    if (!needed)
        return bk_fail(err, BK_ENOMEM, "out of memory for the plan");
    bk__plan_needed(p, needed);
    for (size_t i = 0; i < p->n_stages; i++)
        r.n_todo += needed[i] && p->stage[i]->state != BK_STAGE_HIT;
    for (size_t i = 0; i < p->n_stages; i++) {
        if (p->stage[i]->kind == BK_STAGE_TRAIN && !bk_row_rate_every(p->stage[i]->row))
            continue;                                   /* made when something asks for it */
        if (ensure(&r, p->stage[i], &scratch) == BK_EINTERRUPTED) {
            bk_free(needed);
            return bk_fail(err, BK_EINTERRUPTED, "%s", scratch.text);
        }
    }
    bk_free(needed);
    return take_truth(p, err);
}

/*
 * The plan as text: every row with its stages, whether they are in the store, and if not, why. Stages of stand-alone
 * training are many and alike, so they are summed up. Lines keep to WIDTH columns: what does not fit goes on below.
 */
#include "pipeline/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 118, INDENT = 10, LABEL = 36 };

/* ---- lines ------------------------------------------------------------------------------------------------- */

/** A line that is being written: pieces with `separator` between them. */
struct line {
    struct bk_text *out;
    const char *separator;
    size_t column;
    bool has_piece;
};

static void add_text(struct line *l, const char *text, size_t n)
{
    bk_text_addn(l->out, text, n);
    l->column += n;
}

static void begin_line(struct line *l, struct bk_text *out, const char *separator, const char *head)
{
    *l = (struct line){ out, separator, 0, false };
    add_text(l, head, strlen(head));
}

static void break_line(struct line *l)
{
    bk_text_addf(l->out, "\n%*s", INDENT, "");
    l->column = INDENT;
}

/** Word by word, for what is longer than a line. */
static void add_words(struct line *l, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, " ");
        bool fits = l->column + 1 + n <= WIDTH || l->column == INDENT;
        if (!fits)
            break_line(l);
        else if (l->column > INDENT)
            add_text(l, " ", 1);
        add_text(l, text, n);
        text += n + strspn(text + n, " ");
    }
}

/** Nothing when `piece` is empty. */
static void add_piece(struct line *l, const char *piece)
{
    const char *before = l->has_piece ? l->separator : "  ";
    if (!piece[0])
        return;
    if (l->column + strlen(before) + strlen(piece) <= WIDTH) {
        add_text(l, before, strlen(before));
        add_text(l, piece, strlen(piece));
    } else {
        if (l->has_piece)
            add_text(l, before, strcspn(before, " "));
        break_line(l);
        add_words(l, piece);
    }
    l->has_piece = true;
}

static void end_line(struct line *l)
{
    bk_text_add(l->out, "\n");
}

/** "shared with row 'a'", for what another row has made its own. */
static void add_shared(struct line *l, const struct bk_stage *s, const struct bk_plan_row *r)
{
    struct bk_text t = BK_TEXT_INIT;
    if (s->row == r->row)
        return;
    bk_text_addf(&t, "shared with row '%s'", s->row->name);
    add_piece(l, bk_text_get(&t));
    bk_text_release(&t);
}

/* ---- stages ------------------------------------------------------------------------------------------------ */

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
    char head[256];
    struct line l;
    bool first = s->row == r->row, runs = s->state != BK_STAGE_HIT && needed[index_of(p, s)];

    if (s->state == BK_STAGE_RUN && !runs) {
        state = "-";
        bk_text_add(&why, "not needed: what is made from it is cached");
    } else if (s->state == BK_STAGE_RUN && !r->pending) {
        explain(p, s, &why);
    } else if (s->state == BK_STAGE_RESUME) {
        bk_text_add(&why, "a checkpoint is there");
    }
    if (runs && first)
        add_estimate(p, s, c, &time);
    snprintf(head, sizeof head, "  %-6s  %-*s  %.12s", state, LABEL, s->label, r->pending ? "------------" : s->key);
    begin_line(&l, out, "; ", head);
    add_piece(&l, s->size);
    add_piece(&l, bk_text_get(&why));
    add_piece(&l, bk_text_get(&time));
    add_shared(&l, s, r);
    end_line(&l);
    bk_text_release(&why);
    bk_text_release(&time);
}

/** Why and how long, from one of those that are to be made: they are alike. */
static void add_alone(const struct bk_plan *p, const struct bk_plan_row *r, const struct bk_stage *one, double work,
                      struct bk_estimate *e, struct line *l)
{
    struct bk_text first = BK_TEXT_INIT, why = BK_TEXT_INIT, time = BK_TEXT_INIT;
    bk_text_addf(&first, "first %s%s%s", one->arch, one->size[0] ? ", " : "", one->size);
    if (one->state == BK_STAGE_RUN && !r->pending)
        explain(p, one, &why);
    bk__stage_estimate(p, one, e);
    e->seconds *= work / one->work;
    bk__estimate_text(e, &time);
    add_piece(l, bk_text_get(&first));
    add_piece(l, bk_text_get(&why));
    add_piece(l, bk_text_get(&time));
    bk_text_release(&first);
    bk_text_release(&why);
    bk_text_release(&time);
}

static void print_alone(const struct bk_plan *p, const struct bk_plan_row *r, struct counts *sum, struct bk_text *out)
{
    const struct bk_truth_set *t = r->truth;
    struct counts c = { 0 };
    const struct bk_stage *first = NULL;
    struct bk_estimate e = { NAN, NAN, 0 };
    char text[128];
    double work = 0;
    struct line l;

    for (size_t i = 0; i < t->n; i++) {
        count(&c, t->alone[i]);
        if (t->alone[i]->state != BK_STAGE_HIT)
            work += t->alone[i]->work;
        if (!first && t->alone[i]->state != BK_STAGE_HIT)
            first = t->alone[i];
    }
    snprintf(text, sizeof text, "  %-6s  alone: %zu architectures trained alone", c.run ? "RUN" : c.resume ? "RESUME" : "HIT", t->n);
    begin_line(&l, out, "; ", text);
    snprintf(text, sizeof text, "%zu cached, %zu to continue, %zu to run", c.hit, c.resume, c.run);
    add_piece(&l, text);
    if (first && first->row == r->row) {
        add_alone(p, r, first, work, &e, &l);
        sum->seconds += isfinite(e.seconds) ? e.seconds : 0;
        sum->unknown += isfinite(e.seconds) ? 0 : c.run + c.resume;
    }
    if (t->n)
        add_shared(&l, t->alone[0], r);
    end_line(&l);
}

static void print_heading(const struct bk_plan_row *r, struct bk_text *out)
{
    const struct bk_setting *set = &r->setting;
    struct bk_text t = BK_TEXT_INIT;
    struct line l;

    bk_text_addf(&t, "row '%s': backend %s (%s), %s, seed %lld", r->row->name, set->backend, set->device,
                 bk_dtype_name(set->dtype), (long long)r->row->top.seed);
    begin_line(&l, out, ", ", bk_text_get(&t));
    bk_text_release(&t);
    l.has_piece = true;
    if (r->supernet != r) {
        bk_text_addf(&t, "supernet of row '%s'", r->supernet->row->name);
        add_piece(&l, bk_text_get(&t));
        bk_text_release(&t);
    }
    end_line(&l);
}

static void print_row(const struct bk_plan *p, const bool *needed, const struct bk_plan_row *r, struct counts *c,
                      struct bk_text *out)
{
    if (!bk_row_rates(r->row) && !r->retrain) {
        bk_text_addf(out, "row '%s': %s\n", r->row->name,
                     r->row->top.quoted ? "published values alone" : "architectures to draw and price");
        return;
    }
    print_heading(r, out);
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
        bk_text_addf(out, "%*struth: %zu architectures from '%s'\n", INDENT, "", r->truth->n, r->row->truth.file);
    if (r->retrain) {
        print_stage(p, r, needed, r->retrain, c, out);
        print_stage(p, r, needed, r->test, c, out);
    }
    for (int32_t i = 0; i < r->row->n_baselines; i++) {
        if (r->baseline[i])
            print_stage(p, r, needed, r->baseline[i], c, out);
    }
}

/** Once for all rows whose images no run has imported yet. */
static void print_pending(const struct bk_plan *p, struct bk_text *out)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_rows; i++)
        n += p->row[i].pending;
    if (!n)
        return;
    bk_text_add(out, "the images are not imported yet, which the first run does");
    if (n < p->n_rows)
        bk_text_addf(out, " (%zu of %zu rows)", n, p->n_rows);
    bk_text_add(out, "; keys of stages (------------) are known after that\n");
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
    print_pending(p, out);
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

/*
 * Training one block: the host's loop around a trainer. Every return from advance() is a place to report, to write a
 * checkpoint, or to stop; going on from a checkpoint gives the bytes of a run that was never interrupted.
 *
 * With rate_every the block is also rated every so many epochs: the artefact of the moment goes to the row's rater, the
 * ratings into a file of their own that survives an interruption. Neither the training nor the prefix learns of it.
 */
#include "pipeline/child.h"

#include <bosskit/file.h>
#include <stdio.h>
#include <string.h>

#define UNRATED "host.unrated"   /* entry of a checkpoint */
#define COLLAPSED 1.5           /* dimensions: hardly more than a line */
#define SLICE_S 1.0             /* longest time between two looks at signals and progress */

struct training {
    struct bk_stage_job *job;
    const struct bk_trainer_iface *iface;
    void *state;
    const char *previous;       /* file of the block before; NULL: none */
    bool begun, dirty;          /* dirty: a load() failed half way */
    int64_t rate_every, epochs; /* rate_every 0: at the end alone, by another stage */
    int64_t unrated;            /* the loaded checkpoint was written before this epoch was rated; 0: none */
    double saved, told;         /* when the last checkpoint and the last progress were */
};

static int begin(struct training *t, struct bk_error *err)
{
    struct bk_bundle *previous = NULL;
    if (t->begun)
        t->iface->end(t->state);
    t->begun = false;
    if (t->previous)
        BK_TRY(bk_bundle_read(t->previous, &previous, err));
    int rc = t->iface->begin(t->state, t->job->env, previous, err);
    bk_bundle_free(previous);
    BK_TRY(rc);
    t->begun = true;
    t->dirty = false;
    return BK_OK;
}

static int load(void *user, const struct bk_bundle *b, struct bk_error *err)
{
    struct training *t = user;
    if (t->dirty)
        BK_TRY(begin(t, err));
    t->dirty = true;
    t->unrated = 0;
    if (bk_bundle_text(b, UNRATED))
        BK_TRY(bk_bundle_i64(b, UNRATED, &t->unrated, err));
    BK_TRY(t->iface->load(t->state, b, err));
    t->dirty = false;
    return BK_OK;
}

/** `unrated`: the epoch that is about to be rated, or 0. */
static int save(struct training *t, int64_t step, int64_t unrated, struct bk_error *err)
{
    struct bk_bundle *b = NULL;
    BK_TRY(bk_bundle_new(&b, err));
    int rc = t->iface->save(t->state, b, err);
    if (!rc && unrated)
        rc = bk_bundle_put_i64(b, UNRATED, unrated, err);
    if (!rc)
        rc = bk__checkpoint_save(t->job->dir, step, b, err);
    bk_bundle_free(b);
    return rc;
}

static void report(const struct bk_progress *p)
{
    char note[96], dimensions[32] = "";
    if (p->dimensions > 0)
        snprintf(dimensions, sizeof dimensions, ", %.1f dimensions", p->dimensions);
    snprintf(note, sizeof note, "loss %.4f%s, %.0f images/s", p->loss, dimensions, p->images_per_s);
    bk__say_progress((double)p->step, (double)p->n_steps, "steps", note);
}

/**
 * Rate the block as it is now. A trainer whose checkpoint lies before the end of the epoch comes by again and the file is
 * written anew.
 */
static int rate_now(struct training *t, int64_t epoch, struct bk_error *err)
{
    struct bk_bundle *b = NULL;
    char file[32];

    BK_TRY(bk_bundle_new(&b, err));
    int rc = t->iface->result(t->state, b, err);
    bk__epoch_file(epoch, file);
    if (!rc)
        rc = bk__rate_block_into(t->job, b, file, NULL, err);
    bk_bundle_free(b);
    return rc;
}

/** Rate the block if an epoch that is to be rated has just ended. */
static int rate_epoch(struct training *t, const struct bk_progress *p, struct bk_error *err)
{
    if (p->n_steps % t->epochs)
        return bk_fail(err, BK_EPLUGIN, "%lld iterations are not %lld epochs of equal length, which rate_every needs",
                       (long long)p->n_steps, (long long)t->epochs);
    int64_t steps = p->n_steps / t->epochs * t->rate_every;
    if (p->step % steps)
        return BK_OK;
    int64_t epoch = p->step / steps * t->rate_every;
    BK_TRY(save(t, p->step, epoch, err));       /* nothing is lost if rating fails or is interrupted */
    t->saved = bk_now();
    return rate_now(t, epoch, err);
}

/** Self-supervised training can end in representations that are nearly the same for all images; its loss is then good. */
static void warn_of_collapse(const struct training *t, const struct bk_progress *p)
{
    if (p->dimensions > 0 && p->dimensions < COLLAPSED)
        bk_log(BK_LOG_WARN, "block %d: representations differ between images in %.1f dimensions alone: training has collapsed, and "
                            "ratings will say little (a lower rate, or a larger batch, may help)",
               (int)t->job->env->block, p->dimensions);
}

static int loop(struct training *t, struct bk_error *err)
{
    double slice = t->job->checkpoint_s < SLICE_S ? (double)t->job->checkpoint_s : SLICE_S;

    if (t->rate_every)
        slice = 0;                      /* one iteration at a time, so that the end of an epoch is not missed */
    t->saved = bk_now();
    for (;;) {
        struct bk_progress p = { .struct_size = sizeof p };
        BK_TRY(t->iface->advance(t->state, slice, &p, err));
        if (p.done || bk_now() - t->told >= SLICE_S / 2) {
            report(&p);
            t->told = bk_now();
        }
        if (p.done) {
            warn_of_collapse(t, &p);
            return BK_OK;
        }
        if (t->rate_every)
            BK_TRY(rate_epoch(t, &p, err));
        bool stop = bk__interrupted();
        if (stop || bk_now() - t->saved >= (double)t->job->checkpoint_s) {
            BK_TRY(save(t, p.step, 0, err));
            t->saved = bk_now();
        }
        if (stop)
            return bk_fail(err, BK_EINTERRUPTED, "interrupted at step %lld of %lld", (long long)p.step,
                           (long long)p.n_steps);
    }
}

static int write_result(struct training *t, struct bk_error *err)
{
    struct bk_bundle *b = NULL;
    struct bk_text path = BK_TEXT_INIT;
    BK_TRY(bk_bundle_new(&b, err));
    int rc = t->iface->result(t->state, b, err);
    bk_text_addf(&path, "%s/trained.safetensors", t->job->dir);
    if (!rc)
        rc = bk_bundle_write(b, bk_text_get(&path), err);
    bk_text_release(&path);
    bk_bundle_free(b);
    return rc;
}

int bk__stage_train(struct bk_stage_job *job, struct bk_error *err)
{
    const struct bk_instance *trainer = job->row->part[BK_SLOT_TRAINER];
    struct training t = { .job = job, .iface = bk_instance_iface(trainer), .state = trainer->state,
                          .previous = json_string_value(json_object_get(job->spec, "previous")),
                          .rate_every = bk_row_rate_every(job->row), .epochs = bk_row_epochs(job->row) };
    bool resumed = false;
    int rc = begin(&t, err);

    if (!rc)
        rc = bk__checkpoint_load(job->dir, load, &t, &resumed, err);
    if (!rc && t.dirty)
        rc = begin(&t, err);
    if (!rc && resumed && t.rate_every && t.unrated)
        rc = rate_now(&t, t.unrated, err);
    if (!rc)
        rc = loop(&t, err);
    if (!rc)
        rc = write_result(&t, err);
    if (t.begun)
        t.iface->end(t.state);
    if (rc)
        bk_context(err, "trainer '%s', block %d", trainer->found->plugin->name, job->env->block);
    return rc;
}

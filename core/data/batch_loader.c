/*
 * Batches of augmented views, made ahead of time by worker threads.
 *
 * A ring of slots holds the batch that is lent to the caller and the ones after it. The
 * caller's thread decides what goes into a slot (position, image numbers, labels) and
 * puts it up for work; workers take chunks of a few images, always of the earliest
 * unfinished slot, and only fill in pixels; who finishes the last one mixes the batch. Since each view is a function of (seed,
 * epoch, image, view), batches do not depend on the number of workers; errors do not
 * either: the one of the first image wins. Where a device makes the pixels, workers only
 * decide views and bring the images into memory.
 *
 * Not here: which images a split has (datasets), what a view looks like (augment.c).
 */
#include "data/augment.h"
#include "data/mix.h"

#include <bosskit/random.h>

#include <pthread.h>
#include <string.h>

#define CHUNK     8 /* images a worker takes at once */
#define MAX_SLOTS 5 /* one lent, the rest ahead */
#define RING_BYTES \
    ((size_t)1 << 30) /* use fewer slots rather than more memory than this */

enum slot_state { SLOT_EMPTY = 0, SLOT_WORK, SLOT_READY };

struct slot {
    enum slot_state state;
    int32_t n, epoch, index;
    int32_t next, left; /* first image nobody has taken; images not finished */
    int32_t bad;        /* position of the first image that failed, INT32_MAX: none */
    struct bk_error error;
    float *view[BK_MAX_VIEWS];
    struct bk_view_plan *plan[BK_MAX_VIEWS]; /* instead of `view` */
    float *target;                           /* NULL without mixing */
    int32_t *label;
    uint32_t *image;
    uint32_t *copy; /* which repetition of the image */
};

struct bk_loader {
    struct bk_loader_config config;
    struct bk_split split;
    uint32_t n_images; /* of the split, after `limit` */
    int32_t n_batches;
    uint32_t *order;     /* permutation of `order_epoch` */
    int32_t order_epoch; /* -1: none yet */

    struct slot slot[MAX_SLOTS];
    int32_t n_slots;
    int32_t head;               /* slot of the batch the caller gets next */
    int32_t lent;               /* slot the caller has, -1: none */
    int32_t epoch, index;       /* position of the next slot to be put up */
    struct bk__scratch scratch; /* of the caller's thread, when there are no workers */

    pthread_mutex_t lock;
    pthread_cond_t work,
        done; /* a slot was put up; a slot was finished or a worker let go */
    pthread_t thread[256];
    int32_t n_threads, n_busy;
    bool stop;
};

/* ---- pixels ---------------------------------------------------------------------- */

/* Pages of the window come from the cache file now, not when somebody packs them. */
static void touch(const struct bk_view_plan *p)
{
    const size_t line = (size_t)p->image.width * 3, end = (size_t)(p->y + p->height) * line;
    const volatile uint8_t *rgb = p->image.rgb;
    for (size_t at = (size_t)p->y * line; at < end; at += 4096)
        (void)rgb[at];
}

static int make_view(struct bk_loader *l, struct bk__scratch *s, struct slot *slot,
                     int32_t i, int32_t v, const struct bk_image *image, uint32_t epoch,
                     struct bk_error *err)
{
    const struct bk_loader_config *c = &l->config;
    const struct bk_augment *a = &c->view[v];
    size_t side = (size_t)a->size;
    uint32_t number = slot->image[i], view = (uint32_t)v + BK_MAX_VIEWS * slot->copy[i];
    if (!slot->plan[v])
        return bk__augment_run(s, a, image, c->seed, epoch, number, view,
                               slot->view[v] + (size_t)i * side * side * 3, err);
    BK_TRY(bk__view_decide(a, image, c->seed, epoch, number, view, &slot->plan[v][i], err));
    touch(&slot->plan[v][i]);
    return BK_OK;
}

static int make_image(struct bk_loader *l, struct bk__scratch *s, struct slot *slot,
                      int32_t i, struct bk_error *err)
{
    const struct bk_loader_config *c = &l->config;
    struct bk_image image;
    uint32_t number = slot->image[i];
    uint32_t epoch = c->fixed_views ? 0 : (uint32_t)slot->epoch;

    bk_images_get(l->split.images, l->split.index[number], &image);
    for (int32_t v = 0; v < c->n_views; v++) {
        int rc = make_view(l, s, slot, i, v, &image, epoch, err);
        if (rc) {
            bk_context(err, "image %u of the split, view %d", (unsigned)number, v);
            return rc;
        }
    }
    return BK_OK;
}

/* Position of the first failure in [lo, hi), INT32_MAX when there is none. */
static int32_t make_images(struct bk_loader *l, struct bk__scratch *s,
                           struct slot *slot, int32_t lo, int32_t hi,
                           struct bk_error *err)
{
    for (int32_t i = lo; i < hi; i++)
        if (make_image(l, s, slot, i, err))
            return i;
    return INT32_MAX;
}

static void mix_slot(const struct bk_loader *l, struct slot *slot)
{
    const struct bk_loader_config *c = &l->config;
    struct bk__mix_draw draw;
    int32_t size = c->view[0].size;
    bk__mix_decide(&c->mix, c->seed, slot->epoch, slot->index, size, &draw);
    bk__mix_images(&draw, slot->n, size, slot->view[0]);
    bk__mix_targets(&c->mix, &draw, slot->label, slot->n, slot->target);
}

/* ---- workers --------------------------------------------------------------------- */

/* The earliest slot with images nobody has taken; called with the lock held. */
static struct slot *find_work(struct bk_loader *l)
{
    for (int32_t k = 0; k < l->n_slots; k++) {
        struct slot *s = &l->slot[(l->head + k) % l->n_slots];
        if (s->state == SLOT_WORK && s->next < s->n)
            return s;
    }
    return NULL;
}

/* Take one chunk, make it with the lock released, account for it. */
static void work_once(struct bk_loader *l, struct bk__scratch *scratch,
                      struct slot *slot)
{
    struct bk_error error = BK_ERROR_INIT;
    int32_t lo = slot->next, hi = lo + CHUNK < slot->n ? lo + CHUNK : slot->n;
    slot->next = hi;
    l->n_busy++;
    pthread_mutex_unlock(&l->lock);
    int32_t bad = make_images(l, scratch, slot, lo, hi, &error);
    pthread_mutex_lock(&l->lock);
    l->n_busy--;
    if (bad < slot->bad) {
        slot->bad = bad;
        slot->error = error;
    }
    slot->left -= hi - lo;
    if (slot->left == 0 && slot->bad == INT32_MAX && slot->target) {
        l->n_busy++;
        pthread_mutex_unlock(&l->lock);
        mix_slot(l, slot);
        pthread_mutex_lock(&l->lock);
        l->n_busy--;
    }
    if (slot->left == 0)
        slot->state = SLOT_READY;
    pthread_cond_broadcast(&l->done);
}

static void *worker(void *arg)
{
    struct bk_loader *l = arg;
    struct bk__scratch scratch = { 0 };

    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        struct slot *slot = find_work(l);
        if (slot)
            work_once(l, &scratch, slot);
        else
            pthread_cond_wait(&l->work, &l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    bk__scratch_release(&scratch);
    return NULL;
}

/* ---- filling slots: caller's thread, lock held ----------------------------------- */

static void make_order(struct bk_loader *l, int32_t epoch)
{
    struct bk_random r;
    if (l->order_epoch == epoch)
        return;
    bk_random_init(&r, l->config.seed, bk_random_stream("shuffle"), (uint64_t)epoch, 0);
    bk_random_permutation(&r, l->n_images, l->order);
    l->order_epoch = epoch;
}

static uint32_t at_least_one(int32_t v)
{
    return v > 1 ? (uint32_t)v : 1;
}

/* Position i of the batch to put up in the order of the epoch, repetitions counted. */
static uint64_t entry_of(const struct bk_loader *l, int32_t i)
{
    uint64_t batch = (uint64_t)l->config.batch, index = (uint64_t)l->index;
    uint64_t group = at_least_one(l->config.interleave);
    return (index / group * batch + (uint64_t)i) * group + index % group;
}

/* A soft target has room for n_classes alone. */
static void check_label(const struct bk_loader *l, struct slot *s, int32_t i)
{
    int32_t n = l->config.mix.n_classes;
    if (!n || (s->label[i] >= 0 && s->label[i] < n) || i >= s->bad)
        return;
    s->bad = i;
    (void)bk_fail(&s->error, BK_EDATA, "image %u of the split: label %d is outside 0..%d",
                  (unsigned)s->image[i], s->label[i], n - 1);
}

static void put_up(struct bk_loader *l, struct slot *s)
{
    uint32_t repeat = at_least_one(l->config.repeat);
    uint32_t rest = l->config.interleave > 1
                        ? (uint32_t)l->config.batch
                        : l->n_images - (uint32_t)l->index * (uint32_t)l->config.batch;

    if (l->config.shuffle)
        make_order(l, l->epoch);
    s->epoch = l->epoch;
    s->index = l->index;
    s->n = rest < (uint32_t)l->config.batch ? (int32_t)rest : l->config.batch;
    s->next = 0;
    s->left = s->n;
    s->bad = INT32_MAX;
    s->state = SLOT_WORK;
    for (int32_t i = 0; i < s->n; i++) {
        struct bk_image image;
        uint64_t entry = entry_of(l, i);
        uint32_t k = (uint32_t)(entry / repeat);
        s->image[i] = l->config.shuffle ? l->order[k] : k;
        s->copy[i] = (uint32_t)(entry % repeat);
        bk_images_get(l->split.images, l->split.index[s->image[i]], &image);
        s->label[i] = image.label;
        check_label(l, s, i);
    }
    if (++l->index == l->n_batches) {
        l->index = 0;
        l->epoch = l->epoch < INT32_MAX ? l->epoch + 1 : 0;
    }
}

/* Put up every empty slot in ring order, so that positions follow each other; none is
 * lent at this point. */
static void put_up_all(struct bk_loader *l)
{
    for (int32_t k = 0; k < l->n_slots; k++) {
        struct slot *s = &l->slot[(l->head + k) % l->n_slots];
        if (s->state == SLOT_EMPTY)
            put_up(l, s);
    }
    pthread_cond_broadcast(&l->work);
}

/* ---- making and freeing ---------------------------------------------------------- */

static int check_config(const struct bk_loader_config *c, struct bk_error *err)
{
    if (!c->split || !c->split->images || !c->split->n)
        return bk_fail(err, BK_EINVAL, "loader: the split has no images");
    if (c->batch < 1 || c->batch > 65536)
        return bk_fail(err, BK_EINVAL, "loader: batch %d is outside 1..65536",
                       c->batch);
    if (c->n_views < 1 || c->n_views > BK_MAX_VIEWS)
        return bk_fail(err, BK_EINVAL, "loader: %d views are outside 1..%d", c->n_views,
                       BK_MAX_VIEWS);
    if (c->threads < 0 || c->threads > 256)
        return bk_fail(err, BK_EINVAL, "loader: %d threads are outside 0..256",
                       c->threads);
    if (c->repeat < 0 || c->repeat > 1024 || c->interleave < 0 || c->interleave > 65536)
        return bk_fail(err, BK_EINVAL,
                       "loader: repeat %d is outside 0..1024, or interleave %d outside "
                       "0..65536",
                       c->repeat, c->interleave);
    BK_TRY(bk__mix_check(&c->mix, err));
    if (c->mix.n_classes && c->n_views > 1)
        return bk_fail(err, BK_EINVAL, "loader: %d views cannot be mixed, legal: 1",
                       c->n_views);
    for (int32_t v = 0; v < c->n_views; v++)
        if (bk__augment_check(&c->view[v], "view", err))
            return bk_context(err, "loader: view %d", v);
    for (uint32_t i = 0; i < c->split->n; i++)
        if (c->split->index[i] >= bk_images_count(c->split->images))
            return bk_fail(err, BK_EINVAL, "loader: the split names image %u of %u",
                           (unsigned)c->split->index[i],
                           (unsigned)bk_images_count(c->split->images));
    return BK_OK;
}

/* Of view v of one image in a slot. */
static size_t view_bytes(const struct bk_loader_config *c, int32_t v)
{
    size_t side = (size_t)c->view[v].size;
    return c->plan_only ? sizeof(struct bk_view_plan) : side * side * 3 * sizeof(float);
}

static size_t slot_bytes(const struct bk_loader_config *c)
{
    size_t nbytes = 0;
    for (int32_t v = 0; v < c->n_views; v++)
        nbytes += view_bytes(c, v) * (size_t)c->batch;
    return nbytes;
}

static int make_slot(const struct bk_loader_config *c, struct slot *s,
                     struct bk_error *err)
{
    size_t batch = (size_t)c->batch;
    s->label = bk_alloc(batch * sizeof *s->label);
    s->image = bk_alloc(batch * sizeof *s->image);
    s->copy = bk_alloc(batch * sizeof *s->copy);
    bool ok = s->label && s->image && s->copy;
    if (ok && c->mix.n_classes) {
        s->target = bk_alloc(batch * (size_t)c->mix.n_classes * sizeof *s->target);
        ok = s->target != NULL;
    }
    for (int32_t v = 0; ok && v < c->n_views; v++) {
        void *room = bk_alloc_aligned(batch * view_bytes(c, v));
        if (c->plan_only)
            s->plan[v] = room;
        else
            s->view[v] = room;
        ok = room != NULL;
    }
    return ok ? BK_OK
              : bk_fail(err, BK_ENOMEM,
                        "loader: out of memory for a batch of %d images with %d "
                        "views",
                        c->batch, c->n_views);
}

static int make_ring(struct bk_loader *l, struct bk_error *err)
{
    size_t each = slot_bytes(&l->config), fit = RING_BYTES / each;
    int32_t wish = l->config.threads ? MAX_SLOTS : 1;
    int32_t least = l->config.threads ? 2 : 1;
    l->n_slots = fit >= (size_t)wish   ? wish
                 : fit < (size_t)least ? least
                                       : (int32_t)fit;
    for (int32_t i = 0; i < l->n_slots; i++)
        BK_TRY(make_slot(&l->config, &l->slot[i], err));
    l->order = bk_alloc(l->n_images * sizeof *l->order);
    if (!l->order)
        return bk_fail(err, BK_ENOMEM,
                       "loader: out of memory for the order of %u images",
                       (unsigned)l->n_images);
    return BK_OK;
}

static int start_workers(struct bk_loader *l, struct bk_error *err)
{
    for (; l->n_threads < l->config.threads; l->n_threads++)
        if (pthread_create(&l->thread[l->n_threads], NULL, worker, l))
            return bk_fail(err, BK_ENOMEM, "loader: cannot start thread %d of %d",
                           l->n_threads + 1, l->config.threads);
    return BK_OK;
}

static int32_t count_batches(const struct bk_loader_config *c, uint32_t n_images)
{
    uint32_t batch = (uint32_t)c->batch;
    uint64_t group = at_least_one(c->interleave);
    if (group > 1)
        return (int32_t)(n_images / (batch * group) * group);
    return (int32_t)(n_images / batch + (!c->drop_last && n_images % batch));
}

int bk_loader_new(const struct bk_loader_config *config, struct bk_loader **out,
                  struct bk_error *err)
{
    struct bk_loader *l;
    int rc;

    BK_TRY(check_config(config, err));
    l = bk_zalloc(sizeof *l);
    if (!l)
        return bk_fail(err, BK_ENOMEM, "loader: out of memory");
    l->config = *config;
    l->config.plan_only = config->plan_only && !config->mix.n_classes;
    l->split = *config->split;
    l->config.split = &l->split;
    l->n_images = l->split.n;
    if (config->limit && config->limit < l->n_images)
        l->n_images = config->limit;
    l->lent = -1;
    l->order_epoch = -1;
    l->n_batches = count_batches(config, l->n_images);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->done, NULL);
    if (l->n_batches == 0) {
        rc = bk_fail(err, BK_EINVAL, "loader: %u images do not fill %u batches of %d",
                     (unsigned)l->n_images, at_least_one(config->interleave),
                     config->batch);
        goto fail;
    }
    rc = make_ring(l, err);
    if (rc == BK_OK)
        rc = start_workers(l, err);
    if (rc)
        goto fail;
    *out = l;
    return BK_OK;
fail:
    bk_loader_free(l);
    return rc;
}

void bk_loader_free(struct bk_loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int32_t i = 0; i < l->n_threads; i++)
        pthread_join(l->thread[i], NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->done);
    for (int32_t i = 0; i < l->n_slots; i++) {
        bk_free(l->slot[i].label);
        bk_free(l->slot[i].image);
        bk_free(l->slot[i].copy);
        bk_free(l->slot[i].target);
        for (int32_t v = 0; v < BK_MAX_VIEWS; v++) {
            bk_free_aligned(l->slot[i].view[v]);
            bk_free_aligned(l->slot[i].plan[v]);
        }
    }
    bk__scratch_release(&l->scratch);
    bk_free(l->order);
    bk_free(l);
}

/* ---- use ------------------------------------------------------------------------- */

int32_t bk_loader_batches(const struct bk_loader *l)
{
    return l->n_batches;
}

/* Take back what was put up: nobody starts on it any more, and those who have are
 * waited for. */
static void recall(struct bk_loader *l)
{
    for (int32_t i = 0; i < l->n_slots; i++)
        l->slot[i].next = l->slot[i].n;
    while (l->n_busy)
        pthread_cond_wait(&l->done, &l->lock);
    for (int32_t i = 0; i < l->n_slots; i++)
        l->slot[i].state = SLOT_EMPTY;
    l->lent = -1;
}

int bk_loader_seek(struct bk_loader *l, int32_t epoch, int32_t index,
                   struct bk_error *err)
{
    if (epoch < 0 || index < 0 || index > l->n_batches)
        return bk_fail(
            err, BK_EINVAL,
            "loader: position (epoch %d, batch %d) is outside epoch 0.. and batch "
            "0..%d",
            epoch, index, l->n_batches);
    if (index == l->n_batches) { /* the end of an epoch is the start of the next */
        epoch++;
        index = 0;
    }
    pthread_mutex_lock(&l->lock);
    recall(l);
    l->epoch = epoch;
    l->index = index;
    pthread_mutex_unlock(&l->lock);
    return BK_OK;
}

static void lend(const struct bk_loader *l, const struct slot *s, struct bk_batch *out)
{
    *out = (struct bk_batch){ .n = s->n,
                              .epoch = s->epoch,
                              .index = s->index,
                              .n_batches = l->n_batches,
                              .label = s->label,
                              .image = s->image,
                              .target = s->target };
    for (int32_t v = 0; v < l->config.n_views; v++) {
        out->view[v] = s->view[v];
        out->plan[v] = s->plan[v];
    }
}

/* Finish the head slot: by the workers, or here when there are none. */
static void complete(struct bk_loader *l, struct slot *s)
{
    while (s->state != SLOT_READY) {
        if (l->n_threads == 0)
            work_once(l, &l->scratch, s);
        else
            pthread_cond_wait(&l->done, &l->lock);
    }
}

/* A batch that failed stays at the head: asking again gives the same sentence, seek()
 * gets past it. */
int bk_loader_next(struct bk_loader *l, struct bk_batch *out, struct bk_error *err)
{
    int rc = BK_OK;

    pthread_mutex_lock(&l->lock);
    if (l->lent >= 0) {
        l->slot[l->lent].state = SLOT_EMPTY;
        l->lent = -1;
    }
    put_up_all(l);
    struct slot *s = &l->slot[l->head];
    complete(l, s);
    if (s->bad != INT32_MAX) {
        rc = bk_fail(err, s->error.code, "%s", s->error.text);
    } else {
        lend(l, s, out);
        l->lent = l->head;
        l->head = (l->head + 1) % l->n_slots;
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/*
 * nn/weights.c: a tensor for every slot of a description: values, gradients, copies in other types, EMA, files. In lazy sets
 * only for the slots that were needed so far.
 *
 * Masters are f32 (f64 for checks). What a convolution multiplies with is a cached copy in the activations' type,
 * refilled after the master changed; its gradient goes to the master. Running the network is in forward.c, stepping
 * it in optim.c.
 */
#include "nn/weight_set.h"

#include <bosskit/random.h>

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- life ---------------------------------------------------------------------------------------------- */

static int check_slot_number(const struct bk_weights *w, int32_t slot, struct bk_error *err)
{
    if (slot < 0 || slot >= w->n)
        return bk_fail(err, BK_EINVAL, "slot %" PRId32 " is outside 0..%" PRId32, slot, w->n - 1);
    return BK_OK;
}

static int new_master(struct bk_weights *w, int32_t slot, struct bk_tensor **out, struct bk_error *err)
{
    const struct bk_slot *s = &w->net->slot[slot];

    if (bk_tensor_new(w->device, w->dtype, s->rank, s->dim, out, err))
        return bk_context(err, "slot '%s'", s->name);
    return BK_OK;
}

/* A set without masters. */
static int new_set(struct bk_device *device, const struct bk_net *net, uint32_t dtype, struct bk_weights **out, struct bk_error *err)
{
    struct bk_weights *w;

    if (dtype != BK_F32 && dtype != BK_F64)
        return bk_fail(err, BK_EINVAL, "weights cannot be kept in %s, legal: f32, f64",
                       bk_dtype_name(dtype));
    w = bk_zalloc(sizeof *w);
    if (!w)
        return bk_fail(err, BK_ENOMEM, "cannot make a weight set: out of memory");
    *w = (struct bk_weights){ .device = device, .net = net, .dtype = dtype, .n = net->n };
    w->slot = bk_zalloc(((size_t)net->n + 1) * sizeof *w->slot);
    if (!w->slot) {
        bk_free(w);
        return bk_fail(err, BK_ENOMEM, "cannot make a weight set: out of memory");
    }
    *out = w;
    return BK_OK;
}

int bk_weights_new(struct bk_device *device, const struct bk_net *net, uint32_t dtype,
                   struct bk_weights **out, struct bk_error *err)
{
    struct bk_weights *w;
    int rc = BK_OK;

    BK_TRY(new_set(device, net, dtype, &w, err));
    for (int32_t i = 0; i < net->n && !rc; i++)
        rc = new_master(w, i, &w->slot[i].as[dtype], err);
    if (rc) {
        bk_weights_free(w);
        return rc;
    }
    *out = w;
    return BK_OK;
}

int bk_weights_new_lazy(struct bk_device *device, const struct bk_net *net, uint32_t dtype, bool draws, uint64_t seed,
                        struct bk_weights **out, struct bk_error *err)
{
    BK_TRY(new_set(device, net, dtype, out, err));
    (*out)->lazy = true;
    (*out)->draws = draws;
    (*out)->seed = seed;
    return BK_OK;
}

void bk_weights_from(struct bk_weights *w, const char *prefix, const struct bk_bundle *b)
{
    w->source = b;
    w->source_prefix = prefix;
}

static void drop_grad(struct bk_weights *w, int32_t slot)
{
    struct bk__weight *p = &w->slot[slot];

    for (uint32_t d = 1; d < BK__N_DTYPES; d++)
        if (p->as[d] && d != w->dtype)
            p->as[d]->grad = NULL;      /* borrowed from the master */
    p->flat.grad = NULL;
    if (p->as[w->dtype])
        bk_tensor_drop_grad(p->as[w->dtype]);
    bk_tensor_free(p->grad);
    p->grad = NULL;
}

void bk_weights_free(struct bk_weights *w)
{
    if (!w)
        return;
    for (int32_t i = 0; i < w->n && w->slot; i++) {
        drop_grad(w, i);
        for (uint32_t d = 1; d < BK__N_DTYPES; d++)
            bk_tensor_free(w->slot[i].as[d]);
    }
    bk_free(w->slot);
    bk_free(w);
}

const struct bk_net *bk_weights_net(const struct bk_weights *w)
{
    return w->net;
}

/* ---- initial values -------------------------------------------------------------------------------------- */

/* FNV-1a, 64 bit: with bk_random_stream() it makes streams of different slots differ in 96 bits. */
static uint64_t name_number(const char *name)
{
    uint64_t h = 14695981039346656037u;

    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 1099511628211u;
    return h;
}

static void draw_values(const struct bk_slot *s, uint64_t seed, double *v, size_t n)
{
    struct bk_random r;

    bk_random_init(&r, seed, bk_random_stream(s->name), name_number(s->name), 0);
    switch (s->init) {
    case BK_INIT_UNIFORM:
        for (size_t i = 0; i < n; i++)
            v[i] = s->init_scale * (2 * bk_random_f64(&r) - 1);
        break;
    case BK_INIT_NORMAL:
        for (size_t i = 0; i < n; i++)
            v[i] = s->init_scale * bk_random_normal(&r);
        break;
    default:
        for (size_t i = 0; i < n; i++)
            v[i] = s->init == BK_INIT_ONE ? 1 : 0;
    }
}

static int init_slot(const struct bk_slot *s, uint64_t seed, struct bk_tensor *t, struct bk_error *err)
{
    size_t n = (size_t)bk_tensor_numel(t);
    double *v = bk_alloc((n ? n : 1) * sizeof *v);

    if (!v)
        return bk_fail(err, BK_ENOMEM, "slot '%s': cannot draw initial values: no memory for %zu values", s->name, n);
    draw_values(s, seed, v, n);
    int rc = bk_tensor_write_f64(t, v, err);
    bk_free(v);
    return rc ? bk_context(err, "slot '%s'", s->name) : BK_OK;
}

int bk_weights_init(struct bk_weights *w, uint64_t seed, struct bk_error *err)
{
    int rc = BK_OK;

    for (int32_t i = 0; i < w->n && !rc; i++)
        if (bk_weights_get(w, i))
            rc = init_slot(&w->net->slot[i], seed, bk_weights_get(w, i), err);
    bk_weights_changed(w);
    return rc;
}

/* ---- lazy sets --------------------------------------------------------------------------------------------- */

static int entry_name(struct bk_text *t, const char *prefix, const char *name, struct bk_error *err)
{
    t->len = 0;
    bk_text_add(t, prefix);
    bk_text_add(t, name);
    return t->failed ? bk_fail(err, BK_ENOMEM, "slot '%s': out of memory", name) : BK_OK;
}

/* Statistics that were never collected have their initial values, which are not random. */
static int fill_slot(struct bk_weights *w, int32_t slot, struct bk_tensor *t, struct bk_error *err)
{
    const struct bk_slot *s = &w->net->slot[slot];
    struct bk_text name = BK_TEXT_INIT;
    int rc = w->source ? entry_name(&name, w->source_prefix, s->name, err) : BK_OK;

    if (!rc && w->source && bk_bundle_find(w->source, bk_text_get(&name)))
        rc = bk_bundle_get_tensor(w->source, bk_text_get(&name), t, err);
    else if (!rc && (w->draws || bk__is_buffer(s)))
        rc = init_slot(s, w->seed, t, err);
    else if (!rc)
        rc = bk_fail(err, BK_EDATA, "slot '%s' is not in the artefact", s->name);
    bk_text_release(&name);
    return rc;
}

static int give_grad(struct bk_weights *w, int32_t slot, struct bk_error *err)
{
    struct bk__weight *p = &w->slot[slot];
    struct bk_tensor *master = p->as[w->dtype];

    BK_TRY(bk_tensor_new(w->device, w->dtype, master->rank, master->dim, &p->grad, err));
    int rc = bk_tensor_set_grad(master, p->grad, err);
    if (rc) {
        bk_tensor_free(p->grad);
        p->grad = NULL;
    }
    return rc;
}

/* The master of a slot that has none; `fill`: with its value, else the caller writes one. */
static int make_slot(struct bk_weights *w, int32_t slot, bool fill, struct bk_error *err)
{
    struct bk__weight *p = &w->slot[slot];

    BK_TRY(new_master(w, slot, &p->as[w->dtype], err));
    int rc = fill ? fill_slot(w, slot, p->as[w->dtype], err) : BK_OK;
    if (!rc && p->learns)
        rc = give_grad(w, slot, err);
    if (rc) {
        bk_tensor_free(p->as[w->dtype]);
        p->as[w->dtype] = NULL;
    }
    return rc;
}

static int need_slot(struct bk_weights *w, int32_t slot, struct bk_error *err)
{
    return w->slot[slot].as[w->dtype] ? BK_OK : make_slot(w, slot, true, err);
}

int bk_weights_need_block(struct bk_weights *w, int32_t block, struct bk_error *err)
{
    for (int32_t i = 0; i < w->n; i++)
        if (w->net->slot[i].block == block)
            BK_TRY(need_slot(w, i, err));
    return BK_OK;
}

/* ---- access ------------------------------------------------------------------------------------------------ */

struct bk_tensor *bk_weights_get(struct bk_weights *w, int32_t slot)
{
    return slot < 0 || slot >= w->n ? NULL : w->slot[slot].as[w->dtype];
}

int bk_weights_as(struct bk_weights *w, int32_t slot, uint32_t dtype, struct bk_tensor **out,
                  struct bk_error *err)
{
    BK_TRY(check_slot_number(w, slot, err));
    struct bk__weight *p = &w->slot[slot];

    if (dtype != BK_F32 && dtype != BK_BF16 && dtype != BK_F64)
        return bk_fail(err, BK_EINVAL, "slot '%s' cannot be had in %s", w->net->slot[slot].name,
                       bk_dtype_name(dtype));
    BK_TRY(need_slot(w, slot, err));
    struct bk_tensor *master = p->as[w->dtype];
    if (dtype == w->dtype) {
        *out = master;
        return BK_OK;
    }
    if (!p->as[dtype]) {
        BK_TRY(bk_tensor_new(w->device, dtype, master->rank, master->dim, &p->as[dtype], err));
        p->stale[dtype] = true;
    }
    if (p->stale[dtype]) {
        BK_TRY(bk_tensor_copy(p->as[dtype], master, err));
        p->stale[dtype] = false;
    }
    bk_tensor_share_grad(p->as[dtype], master);
    *out = p->as[dtype];
    return BK_OK;
}

struct bk_tensor *bk__weights_matrix(struct bk_weights *w, int32_t slot)
{
    struct bk_tensor *master = bk_weights_get(w, slot), *flat = &w->slot[slot].flat;

    if (!flat->data) {
        *flat = *master;
        flat->rank = 2;
        flat->dim[1] = bk_tensor_numel(master) / master->dim[0];
    }
    flat->grad = NULL;
    bk_tensor_share_grad(flat, master);
    return flat;
}

void bk__weights_changed_slot(struct bk_weights *w, int32_t slot)
{
    memset(w->slot[slot].stale, true, sizeof w->slot[slot].stale);
}

void bk_weights_changed(struct bk_weights *w)
{
    for (int32_t i = 0; i < w->n; i++)
        bk__weights_changed_slot(w, i);
}

/* ---- gradients ----------------------------------------------------------------------------------------------- */

int bk_weights_train(struct bk_weights *w, int32_t slot, bool on, struct bk_error *err)
{
    BK_TRY(check_slot_number(w, slot, err));
    struct bk__weight *p = &w->slot[slot];

    p->learns = on && !bk__is_buffer(&w->net->slot[slot]);
    if (!on) {
        drop_grad(w, slot);
        return BK_OK;
    }
    return p->learns && !p->grad && p->as[w->dtype] ? give_grad(w, slot, err) : BK_OK;
}

int bk_weights_train_blocks(struct bk_weights *w, int32_t first, int32_t last, struct bk_error *err)
{
    for (int32_t i = 0; i < w->n; i++) {
        const struct bk_slot *slot = &w->net->slot[i];
        bool learns = slot->part == BK_PART_BACKBONE ? slot->block >= first && slot->block <= last : slot->block == last;
        if (learns)
            BK_TRY(bk_weights_train(w, i, true, err));
    }
    return BK_OK;
}

bool bk_weights_is_trained(const struct bk_weights *w, int32_t slot)
{
    return slot >= 0 && slot < w->n && w->slot[slot].grad;
}

int bk_weights_zero_grad(struct bk_weights *w, struct bk_error *err)
{
    for (int32_t i = 0; i < w->n; i++) {
        struct bk_tensor *master = w->slot[i].as[w->dtype];
        if (!w->slot[i].grad || !bk_tensor_is_touched(master))
            continue;
        BK_TRY(bk_tensor_zero(w->slot[i].grad, err));
        bk_tensor_clear_touched(master);
    }
    return BK_OK;
}

/* ---- two sets -------------------------------------------------------------------------------------------------- */

static int check_pair(const struct bk_weights *a, const struct bk_weights *b, struct bk_error *err)
{
    if (a->net != b->net || a->dtype != b->dtype || a->n != b->n)
        return bk_fail(err, BK_EINVAL, "the weight sets are of different descriptions or types");
    return BK_OK;
}

int bk_weights_copy(struct bk_weights *dst, struct bk_weights *src, struct bk_error *err)
{
    BK_TRY(check_pair(dst, src, err));
    for (int32_t i = 0; i < dst->n; i++) {
        if (!bk_weights_get(src, i))
            continue;
        if (!bk_weights_get(dst, i))
            BK_TRY(make_slot(dst, i, false, err));
        BK_TRY(bk_tensor_copy(bk_weights_get(dst, i), bk_weights_get(src, i), err));
    }
    bk_weights_changed(dst);
    return BK_OK;
}

int bk_weights_ema(struct bk_weights *target, struct bk_weights *online, double m, uint32_t part,
                   int32_t first, int32_t last, struct bk_error *err)
{
    BK_TRY(check_pair(target, online, err));
    if (!(m >= 0 && m <= 1))
        return bk_fail(err, BK_EINVAL, "momentum %g of the moving average is outside 0..1", m);
    for (int32_t i = 0; i < target->n && m < 1; i++) {
        const struct bk_slot *s = &target->net->slot[i];
        if (bk__is_buffer(s) || (part && s->part != part) || s->block < first || s->block > last ||
            (!bk_weights_get(target, i) && !bk_weights_get(online, i)))
            continue;
        BK_TRY(need_slot(target, i, err));
        BK_TRY(need_slot(online, i, err));
        BK_TRY(bk_blend(bk_weights_get(target, i), m, bk_weights_get(online, i), 1 - m, err));
        bk__weights_changed_slot(target, i);
    }
    return BK_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

int bk_weights_save(struct bk_weights *w, const char *prefix, struct bk_bundle *b,
                    struct bk_error *err)
{
    struct bk_text name = BK_TEXT_INIT;
    int rc = BK_OK;

    for (int32_t i = 0; i < w->n && !rc; i++) {
        if (!bk_weights_get(w, i))
            continue;
        rc = entry_name(&name, prefix, w->net->slot[i].name, err);
        if (!rc)
            rc = bk_bundle_put_tensor(b, bk_text_get(&name), bk_weights_get(w, i), err);
    }
    bk_text_release(&name);
    return rc;
}

int bk_weights_load(struct bk_weights *w, const char *prefix, const struct bk_bundle *b,
                    bool partial, struct bk_error *err)
{
    struct bk_text name = BK_TEXT_INIT;
    int rc = BK_OK;

    for (int32_t i = 0; i < w->n && !rc; i++) {
        rc = entry_name(&name, prefix, w->net->slot[i].name, err);
        if (rc || ((partial || !bk_weights_get(w, i)) && !bk_bundle_find(b, bk_text_get(&name))))
            continue;
        if (!bk_weights_get(w, i))
            rc = make_slot(w, i, false, err);
        if (!rc)
            rc = bk_bundle_get_tensor(b, bk_text_get(&name), bk_weights_get(w, i), err);
    }
    bk_text_release(&name);
    bk_weights_changed(w);
    return rc;
}

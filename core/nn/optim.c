/*
 * nn/optim.c: optimisers over a weight set: which slot is stepped with which settings, and their state.
 *
 * The arithmetic is in the *_STEP kernels. State tensors and step counts are per slot, made when a slot first receives
 * a gradient, as PyTorch does: paths of a supernet leave most slots without one.
 */
#include "nn/weight_set.h"

#include <bosskit/backend.h>
#include <bosskit/optim.h>

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define MAX_STATE 2

struct rule {
    uint32_t kernel;
    const char *name;
    int n_state;
    const char *state[MAX_STATE];
    double initial[MAX_STATE];
};

static const struct rule rules[] = {
    [BK_SGD] = { BK_K_SGD_STEP, "sgd", 1, { "buf" }, { 0 } },
    [BK_LARS] = { BK_K_LARS_STEP, "lars", 1, { "buf" }, { 0 } },
    [BK_ADAMW] = { BK_K_ADAMW_STEP, "adamw", 2, { "m", "v" }, { 0, 0 } },
    /* TensorFlow starts the mean square at one. */
    [BK_RMSPROP] = { BK_K_RMSPROP_STEP, "rmsprop", 2, { "sq", "buf" }, { 1, 0 } },
};

struct slot_state {
    struct bk_tensor *t[MAX_STATE];
    int32_t n_steps;
};

struct bk_optim {
    struct bk_weights *w;
    struct bk_optim_config config;
    const struct rule *rule;
    struct slot_state *slot;
};

/* ---- life ------------------------------------------------------------------------------------------------- */

static int check_range(const char *what, double v, double low, double high, struct bk_error *err)
{
    if (v >= low && v < high)
        return BK_OK;
    return bk_fail(err, BK_EINVAL, "optimiser: %s %g is outside %g <= %s < %g", what, v, low, what,
                   high);
}

static int check_config(const struct bk_optim_config *c, struct bk_error *err)
{
    if (c->kind < BK_SGD || c->kind > BK_RMSPROP)
        return bk_fail(err, BK_EINVAL, "optimiser: unknown kind %" PRIu32, c->kind);
    if (c->exclude < BK_EXCLUDE_NONE || c->exclude > BK_EXCLUDE_BY_NAME)
        return bk_fail(err, BK_EINVAL, "optimiser: unknown exclusion %" PRIu32, c->exclude);
    BK_TRY(check_range("momentum", c->momentum, 0, 1, err));
    BK_TRY(check_range("weight decay", c->weight_decay, 0, INFINITY, err));
    if (c->kind == BK_LARS)
        BK_TRY(check_range("trust coefficient", c->trust, 0, INFINITY, err));
    if (c->kind == BK_ADAMW)
        BK_TRY(check_range("beta1", c->beta1, 0, 1, err));
    if (c->kind == BK_ADAMW || c->kind == BK_RMSPROP) {
        BK_TRY(check_range("beta2", c->beta2, 0, 1, err));
        BK_TRY(check_range("eps", c->eps, 0, INFINITY, err));
    }
    return BK_OK;
}

int bk_optim_new(struct bk_weights *w, const struct bk_optim_config *config, struct bk_optim **out,
                 struct bk_error *err)
{
    BK_TRY(check_config(config, err));
    struct bk_optim *o = bk_zalloc(sizeof *o);
    if (!o)
        return bk_fail(err, BK_ENOMEM, "cannot make an optimiser: out of memory");
    *o = (struct bk_optim){ .w = w, .config = *config, .rule = &rules[config->kind] };
    o->slot = bk_zalloc(((size_t)w->n + 1) * sizeof *o->slot);
    if (!o->slot) {
        bk_free(o);
        return bk_fail(err, BK_ENOMEM, "cannot make an optimiser: out of memory");
    }
    *out = o;
    return BK_OK;
}

void bk_optim_free(struct bk_optim *o)
{
    if (!o)
        return;
    for (int32_t i = 0; i < o->w->n; i++)
        for (int k = 0; k < MAX_STATE; k++)
            bk_tensor_free(o->slot[i].t[k]);
    bk_free(o->slot);
    bk_free(o);
}

/* ---- stepping ------------------------------------------------------------------------------------------------ */

static int fill(struct bk_tensor *t, double value, struct bk_error *err)
{
    size_t n = (size_t)bk_tensor_numel(t);
    double *v = bk_alloc(n * sizeof *v);

    if (!v)
        return bk_fail(err, BK_ENOMEM, "no memory for %zu values", n);
    for (size_t i = 0; i < n; i++)
        v[i] = value;
    int rc = bk_tensor_write_f64(t, v, err);
    bk_free(v);
    return rc;
}

static int make_state(struct bk_optim *o, int32_t slot, struct bk_error *err)
{
    struct bk_tensor *w;

    BK_TRY(bk_weights_as(o->w, slot, o->w->dtype, &w, err));
    for (int k = 0; k < o->rule->n_state; k++) {
        struct bk_tensor **t = &o->slot[slot].t[k];
        if (*t)
            continue;
        BK_TRY(bk_tensor_new(o->w->device, w->dtype, w->rank, w->dim, t, err));
        if (o->rule->initial[k] == 0)
            continue;
        int rc = fill(*t, o->rule->initial[k], err);
        if (rc) {
            bk_tensor_free(*t);
            *t = NULL;
            return rc;
        }
    }
    return BK_OK;
}

/* Neither decayed nor scaled by a trust ratio. */
static bool is_excluded(const struct bk_optim_config *c, const struct bk_slot *s)
{
    if (c->exclude == BK_EXCLUDE_NONE || s->role == BK_ROLE_WEIGHT)
        return false;
    return c->exclude == BK_EXCLUDE_BY_TYPE || !(s->flags & BK_SLOT_BY_NAME_ADAPTED);
}

static struct bk_optim_attr attributes(const struct bk_optim *o, int32_t slot, double lr)
{
    const struct bk_optim_config *c = &o->config;
    bool excluded = is_excluded(c, &o->w->net->slot[slot]);
    double t = (double)o->slot[slot].n_steps + 1;

    return (struct bk_optim_attr){
        .lr = lr, .momentum = c->momentum, .weight_decay = excluded ? 0 : c->weight_decay,
        .trust = c->trust, .beta1 = c->beta1, .beta2 = c->beta2, .eps = c->eps,
        .bias1 = 1 - pow(c->beta1, t), .bias2 = 1 - pow(c->beta2, t), .nesterov = c->nesterov,
        .zero_guard = c->zero_guard, .excluded = excluded, .first = o->slot[slot].n_steps == 0,
        .skip_zero = c->kind == BK_LARS,
    };
}

static int step_slot(struct bk_optim *o, int32_t slot, double lr, struct bk_error *err)
{
    struct bk_tensor *list[2 + MAX_STATE] = { bk_weights_get(o->w, slot), o->w->slot[slot].grad };
    struct bk_optim_attr attr = attributes(o, slot, lr);
    struct bk_kernel_args args = { .attr = &attr };

    BK_TRY(make_state(o, slot, err));
    args.n_in = args.n_out = 2 + (uint32_t)o->rule->n_state;
    for (uint32_t k = 0; k < args.n_in; k++) {
        if (k >= 2)
            list[k] = o->slot[slot].t[k - 2];
        args.in[k] = args.out[k] = list[k];
    }
    BK_TRY(bk_device_run(o->w->device, o->rule->kernel, &args, err));
    bk__weights_changed_slot(o->w, slot);
    if (o->slot[slot].n_steps < INT32_MAX)
        o->slot[slot].n_steps++;
    return BK_OK;
}

int bk_optim_step(struct bk_optim *o, double lr, struct bk_error *err)
{
    if (!isfinite(lr) || lr < 0)
        return bk_fail(err, BK_EINVAL, "optimiser: learning rate %g is not a number >= 0", lr);
    for (int32_t i = 0; i < o->w->n; i++) {
        if (!o->w->slot[i].grad || !bk_tensor_is_touched(bk_weights_get(o->w, i)))
            continue;
        if (step_slot(o, i, lr, err))
            return bk_context(err, "step of slot '%s'", o->w->net->slot[i].name);
    }
    return BK_OK;
}

/* ---- files --------------------------------------------------------------------------------------------------- */

static int state_name(struct bk_text *t, const struct bk_optim *o, const char *prefix, int32_t slot,
                      int k, struct bk_error *err)
{
    t->len = 0;
    bk_text_addf(t, "%s%s.%s", prefix, o->w->net->slot[slot].name, o->rule->state[k]);
    return t->failed ? bk_fail(err, BK_ENOMEM, "optimiser: out of memory") : BK_OK;
}

static int whole_name(struct bk_text *t, const char *prefix, const char *name, struct bk_error *err)
{
    t->len = 0;
    bk_text_addf(t, "%s%s", prefix, name);
    return t->failed ? bk_fail(err, BK_ENOMEM, "optimiser: out of memory") : BK_OK;
}

static int save_heads(struct bk_optim *o, const char *prefix, struct bk_text *name,
                      struct bk_bundle *b, struct bk_error *err)
{
    int64_t n = o->w->n;
    int32_t *steps = bk_alloc(((size_t)n + 1) * sizeof *steps);

    if (!steps)
        return bk_fail(err, BK_ENOMEM, "optimiser: out of memory");
    for (int64_t i = 0; i < n; i++)
        steps[i] = o->slot[i].n_steps;
    int rc = whole_name(name, prefix, "steps", err);
    if (!rc)
        rc = bk_bundle_put(b, bk_text_get(name), BK_I32, 1, &n, steps, err);
    bk_free(steps);
    if (!rc)
        rc = whole_name(name, prefix, "kind", err);
    return rc ? rc : bk_bundle_put_text(b, bk_text_get(name), o->rule->name, err);
}

int bk_optim_save(struct bk_optim *o, const char *prefix, struct bk_bundle *b, struct bk_error *err)
{
    struct bk_text name = BK_TEXT_INIT;
    int rc = save_heads(o, prefix, &name, b, err);

    for (int32_t i = 0; i < o->w->n && !rc; i++) {
        for (int k = 0; k < o->rule->n_state && o->slot[i].n_steps && !rc; k++) {
            rc = state_name(&name, o, prefix, i, k, err);
            if (!rc)
                rc = bk_bundle_put_tensor(b, bk_text_get(&name), o->slot[i].t[k], err);
        }
    }
    bk_text_release(&name);
    return rc;
}

static int load_heads(struct bk_optim *o, const char *prefix, struct bk_text *name,
                      const struct bk_bundle *b, struct bk_error *err)
{
    BK_TRY(whole_name(name, prefix, "kind", err));
    const char *kind = bk_bundle_text(b, bk_text_get(name));
    if (!kind || strcmp(kind, o->rule->name))
        return bk_fail(err, BK_EDATA, "the saved optimiser '%s' is not '%s'", kind ? kind : "",
                       o->rule->name);
    BK_TRY(whole_name(name, prefix, "steps", err));
    const struct bk_bundle_entry *e = bk_bundle_find(b, bk_text_get(name));
    if (!e || e->dtype != BK_I32 || e->rank != 1 || e->dim[0] != o->w->n)
        return bk_fail(err, BK_EDATA, "bundle entry '%s' is not an i32 for each of %" PRId32
                       " slots", bk_text_get(name), o->w->n);
    const int32_t *steps = e->data;
    for (int32_t i = 0; i < o->w->n; i++) {
        if (steps[i] < 0)
            return bk_fail(err, BK_EDATA, "bundle entry '%s': %" PRId32 " steps of slot '%s'",
                           bk_text_get(name), steps[i], o->w->net->slot[i].name);
        o->slot[i].n_steps = steps[i];
    }
    return BK_OK;
}

int bk_optim_load(struct bk_optim *o, const char *prefix, const struct bk_bundle *b,
                  struct bk_error *err)
{
    struct bk_text name = BK_TEXT_INIT;
    int rc = load_heads(o, prefix, &name, b, err);

    for (int32_t i = 0; i < o->w->n && !rc; i++) {
        /* Slots that were never stepped when saved start afresh. */
        for (int k = 0; k < MAX_STATE && !o->slot[i].n_steps; k++) {
            bk_tensor_free(o->slot[i].t[k]);
            o->slot[i].t[k] = NULL;
        }
        if (o->slot[i].n_steps)
            rc = make_state(o, i, err);
        for (int k = 0; k < o->rule->n_state && o->slot[i].n_steps && !rc; k++) {
            rc = state_name(&name, o, prefix, i, k, err);
            if (!rc)
                rc = bk_bundle_get_tensor(b, bk_text_get(&name), o->slot[i].t[k], err);
        }
    }
    bk_text_release(&name);
    return rc;
}
